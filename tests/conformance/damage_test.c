/* Damaged patterns and events are answered or refused, never more: the sanitizers are the judges. SEED sets another course. */
#include <stdlib.h>

#include "broker/core/match.h"
#include "tests/conformance/generator.h"
#include "tests/conformance/json_to_mpack.h"
#include "tests/test.h"

enum { ROUNDS = 30000, DAMAGES_MAX = 3 };

static uint64_t seed(void)
{
    const char *text = getenv("SEED");
    return text == NULL ? 20261121 : strtoull(text, NULL, 10);
}

/* Overwrites, cuts out or repeats a few bytes; exact size on the heap, so that a read behind the end is seen. */
static char *damaged(struct generator *generator, const struct bytes *from, size_t *ret_len)
{
    static const char likely[] = "{}[]\",:\\*0129-+.eEtfnu/ ";
    size_t len = from->len;
    char *copy = malloc(len * 2 + 1);

    memcpy(copy, from->data, len);
    for (uint64_t i = generator_next(generator, DAMAGES_MAX + 1); i > 0 && len > 0; i--) {
        size_t at = generator_next(generator, len), count = 1 + generator_next(generator, 4);
        if (count > len - at)
            count = len - at;
        switch (generator_next(generator, 4)) {
        case 0: copy[at] = likely[generator_next(generator, sizeof likely - 1)]; break;
        case 1: copy[at] = (char)generator_next(generator, 256); break;
        case 2:
            memmove(copy + at, copy + at + count, len - at - count);
            len -= count;
            break;
        case 3:
            if (len + count > from->len * 2)
                break;
            memmove(copy + at + count, copy + at, len - at);
            len += count;
            break;
        }
    }
    char *exact = malloc(len + 1); /* malloc(0) may be NULL */
    memcpy(exact, copy, len);
    exact = realloc(exact, len == 0 ? 1 : len);
    free(copy);
    *ret_len = len;
    return exact;
}

TEST(damaged_patterns_and_events_are_answered_or_refused)
{
    struct generator generator = { .state = seed() };
    struct match_scratch *scratch = match_scratch_new();
    struct bytes pattern = { 0 }, event = { 0 }, packed = { 0 };
    unsigned compiled = 0, answered = 0, unpacked = 0;

    for (int i = 0; i < ROUNDS; i++) {
        const uint32_t *ids;
        size_t count, len;
        struct match_set *set = NULL;
        struct sluice_error error = { 0 };

        bytes_clear(&pattern);
        bytes_clear(&event);
        generate_pattern(&generator, &pattern);
        generate_event(&generator, &event);
        bool packs = json_to_mpack(bytes_view(&event), &packed);
        char *text = damaged(&generator, &pattern, &len);
        struct match_rule rule = { .pattern = { .data = text, .len = len }, .id = 1 };
        enum sluice_err err = match_set_new(&rule, 1, &set, NULL, &error);
        EXPECT(err == SLUICE_OK || err == SLUICE_EINVAL);
        EXPECT((err == SLUICE_OK) == (error.text[0] == '\0'));
        free(text); /* the set keeps nothing of it */
        if (set == NULL)
            continue;
        compiled++;
        text = damaged(&generator, &event, &len);
        answered += match_json(set, scratch, (struct view){ .data = text, .len = len }, &ids, &count, &error) == SLUICE_OK;
        free(text);
        if (packs) {
            text = damaged(&generator, &packed, &len);
            unpacked += match_mpack(set, scratch, (struct view){ .data = text, .len = len }, &ids, &count, &error) == SLUICE_OK;
            free(text);
        }
        match_set_free(set);
    }
    EXPECT(compiled > ROUNDS / 20 && compiled < ROUNDS);
    EXPECT(answered > compiled / 20 && answered < compiled);
    EXPECT(unpacked > compiled / 20 && unpacked < compiled);
    match_scratch_free(scratch);
    bytes_done(&pattern);
    bytes_done(&event);
    bytes_done(&packed);
}
