/* What explain says of random patterns and events is true: it matches exactly when the oracle (tests/oracle) does; the field that it names does
 * not hold by itself either, and those before it do; and it speaks of arrays only where every field holds by itself. SEED sets another course. */
#include <stdlib.h>

#include "broker/base/vec.h"
#include "broker/core/explain.h"
#include "schemas/codec/json.h"
#include "tests/conformance/generator.h"
#include "tests/oracle/oracle.h"
#include "tests/test.h"

enum { PAIRS = 8000, PATH_TEXT_MAX = 64 };

static uint64_t seed(void)
{
    const char *text = getenv("SEED");
    return text == NULL ? 20261122 : strtoull(text, NULL, 10);
}

/* ---- the pattern taken apart ---- */

struct field {
    char path[PATH_TEXT_MAX];
    struct view alternatives; /* the list as it stands in the pattern */
};

struct fields {
    VEC(struct field) items;
    bool either;              /* there is an $or */
};

/* By recursion to the small depth that generated patterns have. */
static void fields_add(struct fields *fields, struct view object, const char *above)
{
    struct json_walk walk = json_walk_of(object);
    struct view key, value, branch;

    while (json_walk_next(&walk, &key, &value)) {
        struct field field = { .alternatives = value };
        if (view_is(key, "\"$or\"")) {
            fields->either = true;
            for (size_t i = 0; json_item(value, i, &branch); i++)
                fields_add(fields, branch, above);
            continue;
        }
        (void)snprintf(field.path, sizeof field.path, "%s%s%.*s", above, *above == '\0' ? "" : ".", (int)key.len - 2, key.data + 1);
        if (value.data[0] == '{')
            fields_add(fields, value, field.path);
        else
            VEC_PUSH(&fields->items, field);
    }
}

static bool oracle_matches(struct view pattern, struct view event)
{
    struct match_rule rule = { .pattern = pattern, .id = 1 };
    struct oracle_scratch *scratch = oracle_scratch_new();
    struct oracle_set *set = NULL;
    const uint32_t *ids;
    size_t count = 0;

    EXPECT_EQ(SLUICE_OK, oracle_set_new(&rule, 1, &set, NULL, NULL));
    EXPECT_EQ(SLUICE_OK, oracle_json(set, scratch, event, &ids, &count, NULL));
    oracle_set_free(set);
    oracle_scratch_free(scratch);
    return count == 1;
}

static bool holds_alone(const struct field *field, struct view event)
{
    struct bytes pattern = { 0 };

    bytes_put_format(&pattern, "{\"%s\":%.*s}", field->path, VIEW_ARGS(field->alternatives));
    bool holds = oracle_matches(bytes_view(&pattern), event);
    bytes_done(&pattern);
    return holds;
}

/* ---- the sentence ---- */

static bool is_named(const struct field *field, const char *text)
{
    size_t len = strlen(field->path);

    return strncmp(text, field->path, len) == 0 && (strncmp(text + len, " is ", 4) == 0 || strncmp(text + len, " has ", 5) == 0);
}

/* A path set again behind it takes its place. */
static bool is_replaced(const struct fields *fields, size_t f)
{
    for (size_t later = f + 1; later < fields->items.count; later++)
        if (strcmp(fields->items.items[f].path, fields->items.items[later].path) == 0)
            return true;
    return false;
}

struct counts { unsigned matches, named, arrays; };

/* NULL, or what is wrong with it. Of several $or combinations any may be the one that is told. */
static const char *untrue(const struct fields *fields, const char *text, struct view event, struct counts *counts)
{
    bool arrays = strncmp(text, "no item of one array has all of ", 32) == 0;
    const struct field *named = NULL;

    for (size_t f = 0; f < fields->items.count && !arrays; f++)
        if (is_named(&fields->items.items[f], text) && (fields->either || !is_replaced(fields, f)) && !holds_alone(&fields->items.items[f], event))
            named = &fields->items.items[f];
    counts->arrays += arrays;
    counts->named += named != NULL;
    if (!arrays && named == NULL)
        return "it names no field that fails by itself";
    for (size_t f = 0; f < fields->items.count && !fields->either; f++)
        if (!is_replaced(fields, f) && (arrays || strcmp(fields->items.items[f].path, named->path) < 0) &&
            !holds_alone(&fields->items.items[f], event))
            return arrays ? "it speaks of arrays, but a field fails by itself" : "a field before it fails too";
    return NULL;
}

static void explain_one(struct view pattern, struct view event, struct counts *counts)
{
    struct fields fields = { .either = false };
    struct explanation explanation = { .matches = false };
    struct sluice_error error = { 0 };
    bool matches = oracle_matches(pattern, event);

    EXPECT_EQ(SLUICE_OK, explain_json(pattern, event, &explanation, &error));
    fields_add(&fields, pattern, "");
    const char *wrong = explanation.matches != matches ? "the oracle says otherwise" : matches ? NULL : untrue(&fields, explanation.text, event, counts);
    if (wrong != NULL)
        test_fail(__FILE__, __LINE__, "SEED=%llu: %s: \"%s\": pattern %.*s event %.*s", (unsigned long long)seed(), wrong, explanation.text,
                  VIEW_ARGS(pattern), VIEW_ARGS(event));
    counts->matches += matches;
    VEC_DONE(&fields.items);
}

/* Two fields, and items that mostly have one of them right: the generators seldom come upon that. */
static void generate_items(struct generator *generator, struct bytes *pattern, struct bytes *event)
{
    uint64_t count = 1 + generator_next(generator, 4);

    bytes_put_format(pattern, "{\"d\":{\"l\":{\"a\":[%d],\"b\":[%s]}}}", (int)generator_next(generator, 2), generator_next(generator, 4) == 0 ? "{\"exists\":false}" : "1");
    bytes_put_text(event, "{\"d\":{\"l\":[");
    for (uint64_t i = 0; i < count; i++) {
        bytes_put_format(event, "%s{\"a\":%d", i == 0 ? "" : ",", (int)generator_next(generator, 2));
        if (generator_next(generator, 2) == 0)
            bytes_put_format(event, ",\"b\":%d", (int)generator_next(generator, 2));
        bytes_put_char(event, '}');
    }
    bytes_put_text(event, "]}}");
}

TEST(what_explain_says_is_true)
{
    struct generator generator = { .state = seed() };
    struct bytes pattern = { 0 }, event = { 0 };
    struct counts counts = { 0 };

    for (int i = 0; i < PAIRS; i++) {
        bytes_clear(&pattern);
        bytes_clear(&event);
        switch (i % 4) {
        case 0:
        case 1:
            generate_pattern(&generator, &pattern);
            generate_event(&generator, &event);
            break;
        case 2:
            generate_consistency_pattern(&generator, &pattern);
            generate_consistency_event(&generator, &event);
            break;
        case 3: generate_items(&generator, &pattern, &event); break;
        }
        explain_one(bytes_view(&pattern), bytes_view(&event), &counts);
    }
    EXPECT(counts.matches > PAIRS / 50);
    EXPECT(counts.named > PAIRS / 4);
    EXPECT(counts.arrays > PAIRS / 100);
    bytes_done(&pattern);
    bytes_done(&event);
}
