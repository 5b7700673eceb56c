/* A rule alone answers as it does among a thousand, over JSON as over MessagePack, and as the oracle (tests/oracle) does; and array consistency is what a model of
 * twenty lines, which tries every choice of values, says it is. Random, but the same each time: set SEED to try others. */
#include <jansson.h>
#include <stdlib.h>

#include "broker/core/match.h"
#include "tests/conformance/generator.h"
#include "tests/conformance/json_to_mpack.h"
#include "tests/oracle/oracle.h"
#include "tests/test.h"

enum { CROWD = 1001, EVENTS = 60, CONSISTENCY_PAIRS = 20000 };

static uint64_t seed(void)
{
    const char *text = getenv("SEED");
    return text == NULL ? 20261121 : strtoull(text, NULL, 10);
}

static bool among(const uint32_t *ids, size_t count, uint32_t id)
{
    for (size_t i = 0; i < count; i++)
        if (ids[i] == id)
            return true;
    return false;
}

TEST(a_rule_alone_answers_as_it_does_among_a_thousand)
{
    struct generator generator = { .state = seed() };
    static struct match_rule rules[CROWD];
    static struct match_set *alone[CROWD];
    struct bytes patterns[CROWD] = { 0 }, event = { 0 }, packed = { 0 };
    struct match_set *crowd = NULL;
    struct oracle_set *oracle = NULL;
    struct oracle_scratch *oracle_scratch = oracle_scratch_new();
    struct match_scratch *scratch = match_scratch_new(), *other = match_scratch_new();
    const uint32_t *ids, *mpack_ids, *one;
    size_t count = 0, mpack_count = 0, one_count = 0, hits = 0;
    struct sluice_error error = { 0 };

    for (uint32_t i = 0; i < CROWD; i++) {
        generate_pattern(&generator, &patterns[i]);
        rules[i] = (struct match_rule){ .pattern = bytes_view(&patterns[i]), .id = i * 3 };
        if (match_set_new(&rules[i], 1, &alone[i], NULL, &error) != SLUICE_OK)
            test_fail(__FILE__, __LINE__, "%.*s: %s", VIEW_ARGS(rules[i].pattern), error.text);
    }
    EXPECT_EQ(SLUICE_OK, match_set_new(rules, CROWD, &crowd, NULL, &error));
    EXPECT_EQ(SLUICE_OK, oracle_set_new(rules, CROWD, &oracle, NULL, &error));
    for (int e = 0; e < EVENTS && crowd != NULL; e++) {
        bytes_clear(&event);
        generate_event(&generator, &event);
        EXPECT_EQ(SLUICE_OK, match_json(crowd, scratch, bytes_view(&event), &ids, &count, &error));
        for (uint32_t i = 0; i < CROWD; i++) {
            EXPECT_EQ(SLUICE_OK, match_json(alone[i], other, bytes_view(&event), &one, &one_count, &error));
            if (among(ids, count, i * 3) != (one_count == 1))
                test_fail(__FILE__, __LINE__, "SEED=%llu: %s alone, not so in the crowd: pattern %.*s event %.*s",
                          (unsigned long long)seed(), one_count == 1 ? "matches" : "no match", VIEW_ARGS(rules[i].pattern),
                          VIEW_ARGS(event));
        }
        hits += count;
        const uint32_t *expected;
        size_t expected_count = 0;
        EXPECT_EQ(SLUICE_OK, oracle_json(oracle, oracle_scratch, bytes_view(&event), &expected, &expected_count, &error));
        if (count != expected_count || (count > 0 && memcmp(ids, expected, count * sizeof *ids) != 0))
            test_fail(__FILE__, __LINE__, "SEED=%llu: the oracle differs for %.*s", (unsigned long long)seed(), VIEW_ARGS(event));
        EXPECT(json_to_mpack(bytes_view(&event), &packed));
        EXPECT_EQ(SLUICE_OK, match_mpack(crowd, other, bytes_view(&packed), &mpack_ids, &mpack_count, &error));
        if (count != mpack_count || (count > 0 && memcmp(ids, mpack_ids, count * sizeof *ids) != 0))
            test_fail(__FILE__, __LINE__, "SEED=%llu: MessagePack differs for %.*s", (unsigned long long)seed(), VIEW_ARGS(event));
    }
    EXPECT(hits > EVENTS * 20); /* the generators meet */
    for (uint32_t i = 0; i < CROWD; i++) {
        match_set_free(alone[i]);
        bytes_done(&patterns[i]);
    }
    match_set_free(crowd);
    oracle_set_free(oracle);
    oracle_scratch_free(oracle_scratch);
    match_scratch_free(scratch);
    match_scratch_free(other);
    bytes_done(&event);
    bytes_done(&packed);
}

/* ---- the oracle ---- */

enum { SMALL_CROWD = 40, SMALL_CROWDS = 300, SMALL_CROWD_EVENTS = 40 };

static void shuffle(struct generator *generator, struct match_rule *rules, size_t count)
{
    for (size_t i = count; i > 1; i--) {
        size_t other = generator_next(generator, i);
        struct match_rule rule = rules[i - 1];
        rules[i - 1] = rules[other];
        rules[other] = rule;
    }
}

static void expect_same_answer(const struct match_set *set, struct match_scratch *scratch, const struct oracle_set *oracle,
                               struct oracle_scratch *oracle_scratch, struct view event, struct view packed, size_t *hits)
{
    const uint32_t *ids, *expected;
    size_t count = 0, expected_count = 0;
    enum sluice_err err = match_json(set, scratch, event, &ids, &count, NULL);
    enum sluice_err oracle_err = oracle_json(oracle, oracle_scratch, event, &expected, &expected_count, NULL);

    /* The engine may answer where the oracle, which tries everything, gives up; never the other way round. */
    if (oracle_err == SLUICE_ELIMIT)
        return;
    if (err != oracle_err || count != expected_count || (count > 0 && memcmp(ids, expected, count * sizeof *ids) != 0))
        test_fail(__FILE__, __LINE__, "SEED=%llu: the oracle differs (%zu rules, here %zu) for %.*s", (unsigned long long)seed(),
                  expected_count, count, VIEW_ARGS(event));
    *hits += count;
    if (packed.data == NULL)
        return;
    err = match_mpack(set, scratch, packed, &ids, &count, NULL);
    if (err != oracle_err || count != expected_count || (count > 0 && memcmp(ids, expected, count * sizeof *ids) != 0))
        test_fail(__FILE__, __LINE__, "SEED=%llu: the oracle differs over MessagePack for %.*s", (unsigned long long)seed(), VIEW_ARGS(event));
}

/* Any rule mix, in any order; and with every third rule taken away, as if it had never been there. */
TEST(any_mix_of_rules_answers_as_trying_each_would)
{
    struct generator generator = { .state = seed() * 31 };
    struct match_rule rules[SMALL_CROWD];
    struct bytes patterns[SMALL_CROWD] = { 0 }, event = { 0 }, packed = { 0 };
    struct match_scratch *scratch = match_scratch_new();
    struct oracle_scratch *oracle_scratch = oracle_scratch_new();
    size_t hits = 0;

    for (int c = 0; c < SMALL_CROWDS; c++) {
        struct match_set *set = NULL;
        struct oracle_set *oracle = NULL;
        size_t count = c % 3 == 0 ? SMALL_CROWD * 2 / 3 : SMALL_CROWD;
        for (uint32_t i = 0; i < SMALL_CROWD; i++) {
            bytes_clear(&patterns[i]);
            if (c % 2 == 0)
                generate_pattern(&generator, &patterns[i]);
            else
                generate_consistency_pattern(&generator, &patterns[i]);
            rules[i] = (struct match_rule){ .pattern = bytes_view(&patterns[i]), .id = i * 7 };
        }
        shuffle(&generator, rules, SMALL_CROWD);
        EXPECT_EQ(SLUICE_OK, match_set_new(rules, count, &set, NULL, NULL));
        shuffle(&generator, rules, count);
        EXPECT_EQ(SLUICE_OK, oracle_set_new(rules, count, &oracle, NULL, NULL));
        for (int e = 0; e < SMALL_CROWD_EVENTS; e++) {
            bytes_clear(&event);
            if (c % 2 == 0)
                generate_event(&generator, &event);
            else
                generate_consistency_event(&generator, &event);
            bool packs = json_to_mpack(bytes_view(&event), &packed);
            expect_same_answer(set, scratch, oracle, oracle_scratch, bytes_view(&event),
                               packs ? bytes_view(&packed) : (struct view){ 0 }, &hits);
        }
        match_set_free(set);
        oracle_set_free(oracle);
    }
    EXPECT(hits > SMALL_CROWDS * SMALL_CROWD_EVENTS);
    for (uint32_t i = 0; i < SMALL_CROWD; i++)
        bytes_done(&patterns[i]);
    bytes_done(&event);
    bytes_done(&packed);
    match_scratch_free(scratch);
    oracle_scratch_free(oracle_scratch);
}

/* ---- the model ---- */

enum { MODEL_LEAVES_MAX = 4096, MODEL_MEMBERS_MAX = 16, MODEL_PATH_MAX = 64, MODEL_FIELDS_MAX = 256 };

struct members {
    int count;
    struct { const json_t *array; size_t index; } items[MODEL_MEMBERS_MAX];
};
struct model_leaf {
    char path[MODEL_PATH_MAX];
    long long value;
    struct members members;
};
struct model_field {
    char path[MODEL_PATH_MAX];
    long long wanted; /* -1: exists false */
};
static struct model_leaf model_leaves[MODEL_LEAVES_MAX];
static struct model_field model_fields[MODEL_FIELDS_MAX];
static int model_leaves_count, model_fields_count;

static void model_read_event(json_t *value, const char *path, struct members members)
{
    char below[MODEL_PATH_MAX];
    const char *name;
    json_t *item;
    size_t index;

    json_object_foreach(value, name, item) {
        (void)snprintf(below, sizeof below, "%s%s%s", path, *path == '\0' ? "" : ".", name);
        model_read_event(item, below, members);
    }
    json_array_foreach(value, index, item) {
        struct members inside = members;
        if (!json_is_integer(item)) {
            inside.items[inside.count].array = value;
            inside.items[inside.count++].index = index;
        }
        model_read_event(item, path, inside);
    }
    if (json_is_integer(value)) {
        struct model_leaf *leaf = &model_leaves[model_leaves_count++];
        *leaf = (struct model_leaf){ .value = json_integer_value(value), .members = members };
        (void)snprintf(leaf->path, sizeof leaf->path, "%s", path);
    }
}

static void model_read_pattern(json_t *pattern, const char *path)
{
    char below[MODEL_PATH_MAX];
    const char *name;
    json_t *item;

    json_object_foreach(pattern, name, item) {
        (void)snprintf(below, sizeof below, "%s%s%s", path, *path == '\0' ? "" : ".", name);
        if (json_is_object(item)) {
            model_read_pattern(item, below);
            continue;
        }
        json_t *wanted = json_array_get(item, 0);
        struct model_field *field = &model_fields[model_fields_count++];
        field->wanted = json_is_integer(wanted) ? json_integer_value(wanted) : -1;
        (void)snprintf(field->path, sizeof field->path, "%s", below);
    }
}

static bool model_join(struct members *to, const struct members *from)
{
    for (int i = 0; i < from->count; i++) {
        bool known = false;
        for (int k = 0; k < to->count; k++)
            if (to->items[k].array == from->items[i].array) {
                if (to->items[k].index != from->items[i].index)
                    return false;
                known = true;
            }
        if (!known)
            to->items[to->count++] = from->items[i];
    }
    return true;
}

static bool model_holds(int field, struct members so_far)
{
    bool absent = true;

    if (field == model_fields_count)
        return true;
    for (int i = 0; i < model_leaves_count; i++) {
        struct members joined = so_far;
        if (strcmp(model_leaves[i].path, model_fields[field].path) != 0 || !model_join(&joined, &model_leaves[i].members))
            continue;
        absent = false;
        if (model_leaves[i].value == model_fields[field].wanted && model_holds(field + 1, joined))
            return true;
    }
    return absent && model_fields[field].wanted == -1 && model_holds(field + 1, so_far);
}

static int compare_model_fields(const void *left, const void *right)
{
    return strcmp(((const struct model_field *)left)->path, ((const struct model_field *)right)->path);
}

static bool model_matches(const struct bytes *pattern, const struct bytes *event)
{
    json_t *read_pattern = json_loadb(pattern->data, pattern->len, 0, NULL), *read_event = json_loadb(event->data, event->len, 0, NULL);

    model_leaves_count = model_fields_count = 0;
    model_read_pattern(read_pattern, "");
    model_read_event(read_event, "", (struct members){ 0 });
    qsort(model_fields, (size_t)model_fields_count, sizeof model_fields[0], compare_model_fields);
    bool holds = model_holds(0, (struct members){ 0 });
    json_decref(read_pattern);
    json_decref(read_event);
    return holds;
}

TEST(array_consistency_is_what_trying_every_choice_says)
{
    struct generator generator = { .state = seed() };
    struct bytes pattern = { 0 }, event = { 0 };
    struct match_scratch *scratch = match_scratch_new();
    unsigned hits = 0, misses = 0;

    for (int i = 0; i < CONSISTENCY_PAIRS; i++) {
        struct match_set *set = NULL;
        const uint32_t *ids;
        size_t count = 0;
        bytes_clear(&pattern);
        bytes_clear(&event);
        generate_consistency_pattern(&generator, &pattern);
        generate_consistency_event(&generator, &event);
        struct match_rule rule = { .pattern = bytes_view(&pattern), .id = 1 };
        EXPECT_EQ(SLUICE_OK, match_set_new(&rule, 1, &set, NULL, NULL));
        EXPECT_EQ(SLUICE_OK, match_json(set, scratch, bytes_view(&event), &ids, &count, NULL));
        bool holds = model_matches(&pattern, &event);
        if (holds != (count == 1))
            test_fail(__FILE__, __LINE__, "SEED=%llu: the model says %s: pattern %.*s event %.*s", (unsigned long long)seed(),
                      holds ? "match" : "no match", VIEW_ARGS(pattern), VIEW_ARGS(event));
        hits += holds;
        misses += !holds;
        match_set_free(set);
    }
    EXPECT(hits > CONSISTENCY_PAIRS / 50);
    EXPECT(misses > CONSISTENCY_PAIRS / 50);
    match_scratch_free(scratch);
    bytes_done(&pattern);
    bytes_done(&event);
}
