/* White space, and members that no rule looks at, change no answer, however far they move what a rule looks at: an event is pulled apart over many
 * blocks of the scan, and every width of it must say what it says of the event as it was. Random, but the same each time: set SEED to try others. */
#include <stdlib.h>

#include "broker/core/event_state.h"
#include "tests/conformance/generator.h"
#include "tests/test.h"

enum { RULES_MAX = 6, SETS = 1500, EVENTS = 12, STRETCHES = 3 };
static const char *const level_names[STRUCTURE_LEVELS] = { "portable", "SSE2", "AVX2", "AVX-512" };

static uint64_t seed(void)
{
    const char *text = getenv("SEED");
    return text == NULL ? 20261122 : strtoull(text, NULL, 10);
}

/* Mostly none or little, sometimes more than a block. */
static void put_space(struct generator *generator, struct bytes *out)
{
    uint64_t kind = generator_next(generator, 12);
    uint64_t count = kind < 8 ? 0 : kind < 11 ? generator_next(generator, 8) : generator_next(generator, 150);

    for (; count > 0; count--)
        bytes_put_char(out, " \t\n\r"[generator_next(generator, 4)]);
}

/* A member whose name no rule has, and a comma if others follow. */
static void put_member(struct generator *generator, struct bytes *out, bool more)
{
    static const char *const values[] = { "[]", "{}", "[[],{\"q\":[1,{\"a\":2}]},\"]\"]", "-1.5e10", "{\"q\":{\"b\":\"}\"}}", "\"\\\"{[\"", "true" };

    bytes_put_text(out, generator_next(generator, 6) == 0 ? "\"\\u007az\\\\\":" : "\"zz\":");
    if (generator_next(generator, 2) == 0) {
        bytes_put_char(out, '"');
        for (uint64_t count = generator_next(generator, 200); count > 0; count--)
            bytes_put_char(out, "abcdlmz{}[]:, "[generator_next(generator, 14)]);
        bytes_put_char(out, '"');
    } else {
        bytes_put_text(out, values[generator_next(generator, sizeof values / sizeof values[0])]);
    }
    if (more)
        bytes_put_char(out, ',');
}

/* Around everything outside of strings, and at the beginning of objects. */
static void stretch(struct generator *generator, struct view event, struct bytes *out)
{
    bool in_string = false;

    bytes_clear(out);
    put_space(generator, out);
    for (size_t i = 0; i < event.len; i++) {
        char c = event.data[i];
        bytes_put_char(out, c);
        if (in_string && c == '\\') {
            bytes_put_char(out, event.data[++i]);
            continue;
        }
        if (c == '"')
            in_string = !in_string;
        if (in_string || memchr("{}[],:\"", c, 7) == NULL)
            continue;
        put_space(generator, out);
        size_t next = i + 1;
        while (next < event.len && memchr(" \t\n\r", event.data[next], 4) != NULL)
            next++;
        if (c == '{' && generator_next(generator, 3) == 0)
            put_member(generator, out, next < event.len && event.data[next] != '}');
    }
    put_space(generator, out);
}

static void expect_alike(const struct match_set *set, struct match_scratch *scratch, struct view event, struct view stretched)
{
    uint32_t expected[RULES_MAX];
    const uint32_t *ids;
    size_t expected_count = 0, count = 0;

    scratch->structure.level = structure_level_max();
    EXPECT_EQ(SLUICE_OK, match_json(set, scratch, event, &ids, &expected_count, NULL));
    if (expected_count > 0)
        memcpy(expected, ids, expected_count * sizeof *ids);
    for (unsigned level = 0; level <= structure_level_max(); level++) {
        scratch->structure.level = level;
        EXPECT_EQ(SLUICE_OK, match_json(set, scratch, stretched, &ids, &count, NULL));
        if (count != expected_count || (count > 0 && memcmp(ids, expected, count * sizeof *ids) != 0))
            test_fail(__FILE__, __LINE__, "SEED=%llu: %s: %zu rules match %.*s but %zu match %.*s", (unsigned long long)seed(), level_names[level],
                      expected_count, VIEW_ARGS(event), count, VIEW_ARGS(stretched));
    }
}

TEST(what_no_rule_looks_at_changes_no_answer)
{
    struct generator generator = { .state = seed() };
    struct match_rule rules[RULES_MAX];
    struct bytes patterns[RULES_MAX] = { 0 }, event = { 0 }, stretched = { 0 };
    struct match_scratch *scratch = match_scratch_new();

    for (int s = 0; s < SETS; s++) {
        struct match_set *set = NULL;
        size_t count = 1 + generator_next(&generator, RULES_MAX);
        for (uint32_t i = 0; i < count; i++) {
            bytes_clear(&patterns[i]);
            if (s % 2 == 0)
                generate_pattern(&generator, &patterns[i]);
            else
                generate_consistency_pattern(&generator, &patterns[i]);
            rules[i] = (struct match_rule){ .pattern = bytes_view(&patterns[i]), .id = i };
        }
        EXPECT_EQ(SLUICE_OK, match_set_new(rules, count, &set, NULL, NULL));
        for (int e = 0; e < EVENTS && set != NULL; e++) {
            bytes_clear(&event);
            if (s % 2 == 0)
                generate_event(&generator, &event);
            else
                generate_consistency_event(&generator, &event);
            for (int i = 0; i < STRETCHES; i++) {
                stretch(&generator, bytes_view(&event), &stretched);
                expect_alike(set, scratch, bytes_view(&event), bytes_view(&stretched));
            }
        }
        match_set_free(set);
    }
    match_scratch_free(scratch);
    for (uint32_t i = 0; i < RULES_MAX; i++)
        bytes_done(&patterns[i]);
    bytes_done(&event);
    bytes_done(&stretched);
}

/* Objects that follow each other in an array are gone through in one loop; a string between them that begins like a name ends it. Either way each is
 * in the same place. */
TEST(an_item_that_follows_another_has_the_place_it_would_have_alone)
{
    static const struct { const char *label, *following, *apart; } cases[] = {
        { "plain", "{\"l\":[{\"a\":1},{\"a\":2},{\"b\":3}]}", "{\"l\":[{\"a\":1},\"a\",{\"a\":2},\"a\",{\"b\":3}]}" },
        { "below an item", "{\"l\":[{\"m\":[{\"a\":1},{\"a\":2}]},{\"m\":[{\"a\":1},{\"b\":2}],\"a\":1}]}",
          "{\"l\":[{\"m\":[{\"a\":1},\"a\",{\"a\":2}]},\"a\",{\"m\":[{\"a\":1},\"a\",{\"b\":2}],\"a\":1}]}" },
        { "array in array", "{\"l\":[[{\"a\":1},{\"b\":1}],[{\"a\":2},{\"b\":2}]]}", "{\"l\":[[{\"a\":1},\"a\",{\"b\":1}],[{\"a\":2},\"a\",{\"b\":2}]]}" },
        { "empty ones", "{\"l\":[{},{},{\"m\":[]},{\"a\":1}]}", "{\"l\":[{},\"a\",{},\"a\",{\"m\":[]},\"a\",{\"a\":1}]}" },
    };
    const struct match_rule rule = { .pattern = VIEW_LITERAL("{\"l\":{\"a\":[1],\"b\":[2],\"m\":{\"a\":[1],\"b\":[2]}}}"), .id = 1 };
    struct match_scratch *following = match_scratch_new(), *apart = match_scratch_new();
    struct match_set *set = NULL;
    const uint32_t *ids;
    size_t count;

    EXPECT_EQ(SLUICE_OK, match_set_new(&rule, 1, &set, NULL, NULL));
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        test_label(cases[c].label);
        EXPECT_EQ(SLUICE_OK, match_json(set, following, view_of(cases[c].following), &ids, &count, NULL));
        EXPECT_EQ(SLUICE_OK, match_json(set, apart, view_of(cases[c].apart), &ids, &count, NULL));
        EXPECT_EQ(apart->contexts.count, following->contexts.count);
        EXPECT(memcmp(apart->contexts.items, following->contexts.items, apart->contexts.count * sizeof *apart->contexts.items) == 0);
        EXPECT_EQ(apart->arrays.count, following->arrays.count);
        EXPECT(memcmp(apart->arrays.items, following->arrays.items, apart->arrays.count * sizeof *apart->arrays.items) == 0);
    }
    test_label(NULL);
    match_set_free(set);
    match_scratch_free(following);
    match_scratch_free(apart);
}
