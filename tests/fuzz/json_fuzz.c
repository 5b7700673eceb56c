/* json_fuzz.c - JSON text at the door: what json_check() passes, the readers and writers behind it must bear. */
#include "schemas/codec/json.h"
#include "schemas/codec/json_blocks.h"
#include "schemas/codec/mpack.h"
#include "schemas/codec/utf8.h"
#include "tests/fuzz/fuzz.h"

enum { SHALLOW = 5 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* Any bytes, put as a string, are JSON; and where they were UTF-8, they are the same bytes when decoded. */
static void string_returns(struct view text)
{
    struct bytes json = { 0 }, decoded = { 0 };

    json_put_string(&json, text);
    MUST(json_check(bytes_view(&json), JSON_ANY, 1, NULL) == SLUICE_OK);
    MUST(json_string_decode(bytes_view(&json), &decoded));
    if (utf8_valid(text))
        MUST(view_equals(bytes_view(&decoded), text));
    bytes_done(&json);
    bytes_done(&decoded);
}

/* Both ways of checking agree, whatever the processor has. */
static void ways_agree(struct view text)
{
    bool container = json_check_tokens(text, JSON_ANY, JSON_BLOCKS_DEPTH_MAX, NULL) == SLUICE_OK &&
                     memchr("{[", text.data[strspn(text.data, " \t\r\n")], 2) != NULL;

    for (enum json_blocks_level level = JSON_BLOCKS_AVX2; level <= json_blocks_level_max(); level++)
        for (unsigned depth = SHALLOW; depth <= JSON_DEPTH_MAX; depth += JSON_DEPTH_MAX - SHALLOW)
            MUST(json_blocks_valid(level, text, depth) == (container && json_check_tokens(text, JSON_ANY, depth, NULL) == SLUICE_OK));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    char *copy = fuzz_copy(data, len);
    struct view text = { .data = copy, .len = len }, value;
    struct bytes line = { 0 }, decoded = { 0 };
    struct sluice_error error;

    enum sluice_err object = json_check(text, JSON_OBJECT, JSON_DEPTH_MAX, &error);
    enum sluice_err any = json_check(text, JSON_ANY, JSON_DEPTH_MAX, &error);
    if (json_check(text, JSON_ANY, SHALLOW, NULL) == SLUICE_OK)
        MUST(any == SLUICE_OK);
    if (any == SLUICE_OK) {
        json_put_line(&line, text);
        MUST(memchr(line.data, '\n', line.len) == NULL);
        MUST(json_check(bytes_view(&line), JSON_ANY, JSON_DEPTH_MAX, NULL) == SLUICE_OK);
    }
    if (object == SLUICE_OK) {
        MUST(any == SLUICE_OK);
        if (json_member(text, VIEW_LITERAL("a"), &value)) {
            MUST(json_check(value, JSON_ANY, JSON_DEPTH_MAX, NULL) == SLUICE_OK);
            if (value.data[0] == '[' && json_item(value, 1, &value))
                MUST(json_check(value, JSON_ANY, JSON_DEPTH_MAX, NULL) == SLUICE_OK);
            (void)json_string_decode(value, &decoded); /* false is an answer too */
        }
    }
    ways_agree(text);
    string_returns(text);
    bytes_done(&line);
    bytes_done(&decoded);
    free(copy);
    return 0;
}
