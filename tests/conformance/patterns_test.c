/* Every line of patterns.jsonl, in every form an event can come in. */
#include <jansson.h>
#include <stdlib.h>

#include "broker/core/match.h"
#include "tests/conformance/json_to_mpack.h"
#include "tests/test.h"

enum answer { ANSWER_NO, ANSWER_YES, ANSWER_PATTERN_ERROR, ANSWER_EVENT_ERROR, ANSWER_PATTERN_FINE, ANSWER_NONE };
static const char *const answer_names[] = { "no match", "match", "pattern refused", "event refused", "pattern accepted", "none" };

/* Where we differ from the reference engine; broker/core/README.md says why. */
static const struct { const char *name; enum answer answer; } differing[] = {
    { "cidr/exact-v4-vs-v6-same-leading-bytes", ANSWER_NO },
    { "cidr/v4-0-mask-vs-v6", ANSWER_NO },
    { "cidr/v4-pattern-v6-value-same-leading-bytes", ANSWER_NO },
    { "cidr/v6-compressed-vs-full", ANSWER_PATTERN_FINE },
    { "cidr/v6-loopback", ANSWER_PATTERN_FINE },
    { "format/duplicate-braces-after", ANSWER_EVENT_ERROR },
    { "format/event-two-docs", ANSWER_EVENT_ERROR },
    { "ignore-case/deseret-surrogates", ANSWER_YES },
    { "ignore-case/ligature-fi", ANSWER_NO },
    { "ignore-case/sharp-s-expansion", ANSWER_NO },
    { "numeric/lt-min-negative", ANSWER_PATTERN_FINE },
    { "pattern-odd/trailing-brace", ANSWER_PATTERN_ERROR },
    { "pattern-odd/trailing-garbage", ANSWER_PATTERN_ERROR },
    { "prefix-ignore-case/sharp-s", ANSWER_NO },
    { "unicode/key-empty-nested", ANSWER_YES },
};
enum { DIFFERING_COUNT = sizeof differing / sizeof differing[0] };

/* ---- the forms ---- */

static enum answer answer_of(enum sluice_err err, const size_t *count)
{
    return err != SLUICE_OK ? ANSWER_EVENT_ERROR : *count == 1 ? ANSWER_YES : ANSWER_NO;
}

static struct match_set *compile(struct view pattern)
{
    struct match_set *set = NULL;
    struct match_rule rule = { .pattern = pattern, .id = 7 };

    return match_set_new(&rule, 1, &set, NULL, NULL) == SLUICE_OK ? set : NULL;
}

static enum answer ask_json(struct match_scratch *scratch, struct view pattern, struct view event)
{
    const uint32_t *ids;
    size_t count = 0;
    struct match_set *set = compile(pattern);

    if (set == NULL)
        return ANSWER_PATTERN_ERROR;
    enum answer answer = ANSWER_PATTERN_FINE;
    if (event.data != NULL)
        answer = answer_of(match_json(set, scratch, event, &ids, &count, NULL), &count);
    match_set_free(set);
    return answer;
}

/* The same as MessagePack, and as the detail of an event for a pattern under "detail". */
static void expect_other_forms_agree(struct match_scratch *scratch, struct view pattern, struct view event, enum answer answer)
{
    struct bytes packed = { 0 }, wrapped = { 0 };
    const uint32_t *ids;
    size_t count = 0;
    struct match_set *set = compile(pattern);
    bool packs = json_to_mpack(event, &packed);

    if (packs)
        EXPECT_TEXT(answer_names[answer], answer_names[answer_of(
            match_mpack(set, scratch, bytes_view(&packed), &ids, &count, NULL), &count)]);
    match_set_free(set);

    bytes_put_text(&wrapped, "{\"detail\":");
    bytes_put_view(&wrapped, pattern);
    bytes_put_text(&wrapped, "}");
    set = compile(bytes_view(&wrapped));
    EXPECT(set != NULL);
    struct event whole = { .source = VIEW_LITERAL("s"), .detail_type = VIEW_LITERAL("t"), .id = VIEW_LITERAL("i"),
                           .detail = event, .detail_format = DETAIL_JSON };
    if (set != NULL) {
        EXPECT_TEXT(answer_names[answer], answer_names[answer_of(match_event(set, scratch, &whole, &ids, &count), &count)]);
        whole.detail = bytes_view(&packed);
        whole.detail_format = DETAIL_MPACK;
        if (packs)
            EXPECT_TEXT(answer_names[answer], answer_names[answer_of(match_event(set, scratch, &whole, &ids, &count), &count)]);
    }
    match_set_free(set);
    bytes_done(&packed);
    bytes_done(&wrapped);
}

static struct view text_of(const json_t *line, const char *key)
{
    const json_t *text = json_object_get(line, key);
    return (struct view){ .data = json_string_value(text), .len = json_string_length(text) };
}

static enum answer expected_answer(const json_t *line)
{
    if (json_is_true(json_object_get(line, "event_error")))
        return ANSWER_EVENT_ERROR;
    if (json_object_get(line, "match") != NULL)
        return json_is_true(json_object_get(line, "match")) ? ANSWER_YES : ANSWER_NO;
    return json_is_true(json_object_get(line, "error")) ? ANSWER_PATTERN_ERROR : ANSWER_PATTERN_FINE;
}

static enum answer documented_difference(const char *name, unsigned *seen)
{
    for (size_t i = 0; i < DIFFERING_COUNT; i++)
        if (strcmp(name, differing[i].name) == 0) {
            seen[i]++;
            return differing[i].answer;
        }
    return ANSWER_NONE;
}

TEST(every_line_is_answered_as_the_reference_engine_does_or_the_difference_is_documented)
{
    FILE *file = fopen("conformance/patterns.jsonl", "r");
    struct match_scratch *scratch = match_scratch_new();
    unsigned seen[DIFFERING_COUNT] = { 0 }, lines = 0;
    char *text = NULL;
    size_t capacity = 0;

    EXPECT(file != NULL);
    while (file != NULL && getline(&text, &capacity, file) > 0) {
        json_t *line = json_loads(text, JSON_ALLOW_NUL, NULL);
        EXPECT(line != NULL);
        const char *name = json_string_value(json_object_get(line, "name"));
        struct view pattern = text_of(line, "pattern"), event = text_of(line, "event");
        enum answer expected = expected_answer(line);

        test_label(name);
        enum answer answer = ask_json(scratch, pattern, event), difference = documented_difference(name, seen);
        if (difference != ANSWER_NONE) {
            EXPECT(json_is_true(json_object_get(line, "quirk")));
            EXPECT(difference != expected);
            expected = difference;
        }
        EXPECT_TEXT(answer_names[expected], answer_names[answer]);
        if (answer == ANSWER_YES || answer == ANSWER_NO)
            expect_other_forms_agree(scratch, pattern, event, answer);
        json_decref(line);
        lines++;
    }
    test_label(NULL);
    EXPECT_EQ(523, lines);
    for (size_t i = 0; i < DIFFERING_COUNT; i++)
        EXPECT_EQ(1, seen[i]);
    free(text);
    if (file != NULL)
        (void)fclose(file);
    match_scratch_free(scratch);
}

TEST(every_difference_is_in_the_readme)
{
    static char readme[1 << 16];
    FILE *file = fopen("../broker/core/README.md", "r");

    EXPECT(file != NULL);
    if (file == NULL)
        return;
    size_t len = fread(readme, 1, sizeof readme - 1, file);
    readme[len] = '\0';
    (void)fclose(file);
    for (size_t i = 0; i < DIFFERING_COUNT; i++) {
        char name[128];
        (void)snprintf(name, sizeof name, "`%s`", differing[i].name);
        test_label(name);
        EXPECT(strstr(readme, name) != NULL);
    }
}
