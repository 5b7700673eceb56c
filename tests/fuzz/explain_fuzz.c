/* explain_fuzz.c - a pattern, and after a line break an event. What explain says is what the engine and the oracle say, and when that is
 * no, the sentence names a field of the pattern, is one line of UTF-8, and comes within the bound on its work (search.sh's -timeout). */
#include "broker/core/explain.h"
#include "broker/core/pattern.h"
#include "schemas/codec/utf8.h"
#include "tests/fuzz/fuzz.h"
#include "tests/oracle/oracle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static bool begins_with(const char *text, const char *words)
{
    return strncmp(text, words, strlen(words)) == 0;
}

/* "PATH is ..." or "PATH has ...". The end of a long path is left out. */
static bool names_field(const char *text, struct view path)
{
    enum { SHOWN_BYTES = 190 };
    size_t at = 0;

    for (; at < path.len && at < SHOWN_BYTES; at++)
        if (text[at] != path.data[at] && (unsigned char)path.data[at] >= 0x20)
            return strstr(text, "\xEF\xBF\xBD") != NULL; /* what is not UTF-8 is said otherwise */
    if (path.len > at)
        return strstr(text + at, " is ") != NULL || strstr(text + at, " has ") != NULL;
    return begins_with(text + at, " is ") || begins_with(text + at, " has ");
}

static void must_name_what_failed(struct view pattern, const char *text)
{
    struct arena *arena = arena_new(4 << 10);
    struct pattern parsed;
    bool named = begins_with(text, "no item of one array has all of ");

    MUST(pattern_parse(pattern, arena, &parsed, NULL, NULL) == SLUICE_OK);
    for (unsigned b = 0; b < parsed.branches_count && !named; b++)
        for (unsigned f = 0; f < parsed.branches[b].fields_count && !named; f++)
            named = names_field(text, parsed.branches[b].fields[f]->path);
    MUST(named);
    arena_free(arena);
}

static void must_be_one_line(const char *text)
{
    size_t len = strnlen(text, EXPLANATION_TEXT_MAX);

    MUST(len > 0 && len < EXPLANATION_TEXT_MAX);
    MUST(utf8_valid((struct view){ .data = text, .len = len }));
    for (size_t i = 0; i < len; i++)
        MUST((unsigned char)text[i] >= 0x20);
}

/* What the oracle says; *ret_err SLUICE_ELIMIT where it, which tries everything, gives up. */
static bool oracle_matches(const struct match_rule *rule, struct view event, enum sluice_err *ret_err)
{
    struct oracle_scratch *scratch = oracle_scratch_new();
    struct oracle_set *set = NULL;
    const uint32_t *ids;
    size_t count = 0;

    MUST(oracle_set_new(rule, 1, &set, NULL, NULL) == SLUICE_OK);
    *ret_err = oracle_json(set, scratch, event, &ids, &count, NULL);
    (void)oracle_set_free(set);
    (void)oracle_scratch_free(scratch);
    return *ret_err == SLUICE_OK && count == 1;
}

static void explain_as_matched(const struct match_rule *rule, const struct match_set *set, struct view event)
{
    struct match_scratch *scratch = match_scratch_new();
    struct explanation explanation = { .matches = false };
    struct sluice_error error = { 0 };
    const uint32_t *ids;
    size_t count = 0;
    enum sluice_err expected;

    enum sluice_err err = explain_json(rule->pattern, event, &explanation, &error);
    enum sluice_err match_err = match_json(set, scratch, event, &ids, &count, NULL);
    MUST(err == match_err || (err == SLUICE_ELIMIT && match_err == SLUICE_OK && count == 0));
    MUST(err == SLUICE_OK || error.text[0] != '\0');
    if (err == SLUICE_OK) {
        MUST(explanation.matches == (count == 1));
        bool matches = oracle_matches(rule, event, &expected);
        MUST(expected == SLUICE_ELIMIT || explanation.matches == matches);
        must_be_one_line(explanation.text);
        if (!explanation.matches)
            must_name_what_failed(rule->pattern, explanation.text);
    }
    (void)match_scratch_free(scratch);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    const uint8_t *cut = len > 0 ? memchr(data, '\n', len) : NULL;
    size_t pattern_len = cut == NULL ? len : (size_t)(cut - data), event_len = cut == NULL ? 0 : len - pattern_len - 1;
    char *pattern = fuzz_copy(data, pattern_len), *event = fuzz_copy(event_len > 0 ? cut + 1 : data, event_len);
    struct match_rule rule = { .pattern = { .data = pattern, .len = pattern_len }, .id = 1 };
    struct match_set *set = NULL;

    if (match_set_new(&rule, 1, &set, NULL, NULL) == SLUICE_OK)
        explain_as_matched(&rule, set, (struct view){ .data = event, .len = event_len });
    (void)match_set_free(set);
    free(pattern);
    free(event);
    return 0;
}
