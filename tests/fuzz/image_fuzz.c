/* image_fuzz.c - a saved rule index. The input is either such an index, or, when it begins with 'P', changes to a good one: four bytes
 * where, four bytes what. The checksum is made right, so that what is behind it is reached. An index that is opened must answer. */
#include "broker/core/image.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/rules.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static const char *const fuzz_events[] = {
    "{\"a\":\"abcd\",\"b\":\"y\",\"l\":[{\"a\":1,\"b\":2},{\"a\":1,\"m\":[{\"a\":1},{\"b\":2}],\"z\":3}]}",
    "{\"a\":[1,2.5,-3e7,-122.42916360922355,9007199254740993,true,null],\"l\":[7,[8,{\"a\":1}]]}",
    "{\"a\":[\"10.1.2.3\",\"2001:db8::5\",\"\\u00e9T\",\"xbcxd\",\"q-r\",\"abcdefghijklmnopqrstuvwxyz\"],\"a.b\":{\"c\":\"deep\"}}",
    "{\"l\":{\"a\":1},\"l\":[{\"b\":2},{\"a\":1}],\"abcdefghijklmnopqrstuvwxyz\":\"long name\",\"source\":\"s\",\"detail\":{\"a\":\"x\"}}",
};

static void nothing(void *ctx)
{
    (void)ctx;
}

static void open_and_match(char *image, size_t len)
{
    struct match_scratch *scratch = match_scratch_new();
    struct match_set *set = NULL;
    struct sluice_error error = { 0 };

    enum sluice_err err = match_set_open((struct view){ .data = image, .len = len }, nothing, NULL, &set, &error);
    MUST(err == SLUICE_OK || (err == SLUICE_ECORRUPT && error.text[0] != '\0'));
    for (size_t i = 0; set != NULL && i < sizeof fuzz_events / sizeof fuzz_events[0]; i++) {
        const uint32_t *ids;
        size_t count;
        err = match_json(set, scratch, view_of(fuzz_events[i]), &ids, &count, NULL);
        MUST(err == SLUICE_OK || err == SLUICE_ELIMIT);
        for (size_t r = 1; err == SLUICE_OK && r < count; r++)
            MUST(ids[r - 1] < ids[r]);
    }
    (void)match_set_free(set);
    (void)match_scratch_free(scratch);
}

static void change(char *image, size_t image_len, const uint8_t *data, size_t len)
{
    for (; len >= 8; len -= 8, data += 8) {
        uint32_t where, what;
        memcpy(&where, data, sizeof where);
        memcpy(&what, data + 4, sizeof what);
        memcpy(image + where % (image_len / 4) * 4, &what, sizeof what);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    enum { ALIGNMENT = 16, CHECKSUM_END = 40 };
    struct match_set *good = NULL;
    struct match_rule rules[FUZZ_RULES];
    struct view whole = { .data = (const char *)data, .len = len };
    bool changes = len > 0 && data[0] == 'P';

    if (changes) {
        fuzz_rules(rules);
        MUST(match_set_new(rules, FUZZ_RULES, &good, NULL, NULL) == SLUICE_OK);
        MUST(match_set_image(good, &whole, NULL) == SLUICE_OK);
    }
    char *image = aligned_alloc(ALIGNMENT, (whole.len / ALIGNMENT + 1) * ALIGNMENT);
    MUST(image != NULL);
    if (whole.len > 0)
        memcpy(image, whole.data, whole.len);
    if (changes)
        change(image, whole.len, data + 1, len - 1);
    if (whole.len >= CHECKSUM_END)
        image_reseal(image, whole.len);
    open_and_match(image, whole.len);
    (void)match_set_free(good);
    free(image);
    return 0;
}
