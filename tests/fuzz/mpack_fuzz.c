/* mpack_fuzz.c - MessagePack from outside: the walker, the typed reads, the check of a detail and its way to JSON. */
#include "schemas/codec/envelope.h"
#include "schemas/codec/json.h"
#include "schemas/codec/utf8.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* Token by token, as one value: how many bytes it has; 0 when it is broken. A second opinion on mpack_skip(). */
static size_t value_bytes(struct view bytes)
{
    struct mpack_reader reader = mpack_reader_of(bytes);
    struct mpack_token token;

    for (uint64_t left = 1; left > 0; left--) {
        if (!mpack_read(&reader, &token))
            return 0;
        if (token.type == MPACK_ARRAY)
            left += token.count;
        if (token.type == MPACK_MAP)
            left += 2 * (uint64_t)token.count;
    }
    return (size_t)((const char *)reader.at - bytes.data);
}

static void typed_reads_stay(struct view bytes)
{
    struct mpack_reader reader = mpack_reader_of(bytes);
    const uint8_t *start = reader.at;
    struct view view;
    uint32_t count;
    uint64_t uint;
    int64_t sint;
    bool flag;

    /* The first that fits moves on; one that fails must not. */
    if (mpack_read_uint(&reader, 1000, &uint))
        MUST(uint <= 1000);
    else if (!mpack_read_int(&reader, &sint) && !mpack_read_bool(&reader, &flag) && !mpack_read_bin(&reader, &view) &&
             !mpack_read_array(&reader, &count) && !mpack_read_map(&reader, &count) && !mpack_read_nil(&reader)) {
        MUST(reader.at == start);
        if (mpack_read_str(&reader, &view))
            MUST(utf8_valid(view));
    }
    MUST(reader.at <= reader.end);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    char *copy = fuzz_copy(data, len);
    struct view bytes = { .data = copy, .len = len }, value;
    struct mpack_reader reader = mpack_reader_of(bytes);
    struct bytes json = { 0 };
    struct sluice_error error;

    if (mpack_skip(&reader, MPACK_DEPTH_MAX, &value))
        MUST(value.data == copy && value.len == value_bytes(bytes));
    else
        MUST(reader.at == (const uint8_t *)copy);
    typed_reads_stay(bytes);

    if (mpack_check_detail(bytes, EVENT_DEPTH_MAX, &error) == SLUICE_OK) {
        MUST(value_bytes(bytes) == len);
        MUST(mpack_to_json(bytes, &json));
        MUST(json_check(bytes_view(&json), JSON_OBJECT, EVENT_DEPTH_MAX, NULL) == SLUICE_OK);
    }
    bytes_done(&json);
    free(copy);
    return 0;
}
