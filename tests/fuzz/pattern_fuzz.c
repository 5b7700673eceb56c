/* pattern_fuzz.c - a pattern as a rule brings it, and after a line break an event to try it on. A pattern that was found good
 * must compile, and answer the same in a crowd as alone, and as the oracle (tests/oracle) does. */
#include "tests/fuzz/fuzz.h"
#include "tests/oracle/oracle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static const char *const COMPANION = "{\"detail\": {\"a\": [{\"prefix\": \"x\"}, 1]}}";

/* The engine may answer where the oracle, which tries everything, gives up. */
static void must_agree_with_oracle(const struct match_rule *rule, struct view event, enum sluice_err err, bool matches)
{
    struct oracle_scratch *scratch = oracle_scratch_new();
    struct oracle_set *set = NULL;
    const uint32_t *ids;
    size_t count = 0;

    MUST(oracle_set_new(rule, 1, &set, NULL, NULL) == SLUICE_OK);
    enum sluice_err expected = oracle_json(set, scratch, event, &ids, &count, NULL);
    MUST(expected == SLUICE_ELIMIT || (expected == err && (err != SLUICE_OK || matches == (count == 1))));
    (void)oracle_set_free(set);
    (void)oracle_scratch_free(scratch);
}

static void match_alone_and_in_company(struct view pattern, struct view event)
{
    const struct match_rule rules[] = {
        { .pattern = pattern, .id = 3 }, { .pattern = view_of(COMPANION), .id = 5 }, { .pattern = pattern, .id = 7 }
    };
    struct match_scratch *scratch = match_scratch_new();
    struct match_set *alone = NULL, *company = NULL;
    const uint32_t *ids;
    size_t count;

    MUST(scratch != NULL);
    enum sluice_err err = match_set_new(rules, 1, &alone, NULL, NULL);
    MUST(err == SLUICE_OK || err == SLUICE_ELIMIT);
    if (err == SLUICE_OK && match_set_new(rules, 3, &company, NULL, NULL) == SLUICE_OK) {
        err = match_json(alone, scratch, event, &ids, &count, NULL);
        bool matches = err == SLUICE_OK && count == 1;
        MUST(err != SLUICE_OK || count == 0 || ids[0] == 3);
        must_agree_with_oracle(&rules[0], event, err, matches);
        enum sluice_err err_company = match_json(company, scratch, event, &ids, &count, NULL);
        MUST((err == SLUICE_EINVAL) == (err_company == SLUICE_EINVAL));
        if (err == SLUICE_OK && err_company == SLUICE_OK) {
            bool first = false, last = false;
            for (size_t i = 0; i < count; i++) {
                MUST(i == 0 || ids[i - 1] < ids[i]);
                first = first || ids[i] == 3;
                last = last || ids[i] == 7;
            }
            MUST(first == matches && last == matches);
        }
    }
    (void)match_set_free(alone);
    (void)match_set_free(company);
    (void)match_scratch_free(scratch);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    const uint8_t *cut = len > 0 ? memchr(data, '\n', len) : NULL;
    size_t pattern_len = cut == NULL ? len : (size_t)(cut - data);
    char *pattern_copy = fuzz_copy(data, pattern_len);
    struct view pattern = { .data = pattern_copy, .len = pattern_len };
    size_t event_len = cut == NULL ? 0 : len - pattern_len - 1;
    char *event_copy = fuzz_copy(event_len > 0 ? cut + 1 : data, event_len);
    struct sluice_error error;
    size_t offset = SIZE_MAX;

    enum sluice_err err = pattern_check(pattern, &offset, &error);
    if (err == SLUICE_OK)
        match_alone_and_in_company(pattern, (struct view){ .data = event_copy, .len = event_len });
    else
        MUST(err == SLUICE_ELIMIT || err == SLUICE_ENOMEM || (err == SLUICE_EINVAL && offset <= pattern_len));
    free(pattern_copy);
    free(event_copy);
    return 0;
}
