/* Sets that change, are saved and come back; and saved sets that were damaged. */
#include "broker/core/match.h"

#include <stdlib.h>

#include "broker/core/match_set.h"
#include "broker/core/text_hash.h"
#include "tests/conformance/generator.h"
#include "tests/oracle/oracle.h"
#include "tests/test.h"

/* ---- asking ---- */

/* The ids as text: "3 7 9". */
static const char *ids_of(const struct match_set *set, const char *event)
{
    static char text[256];
    struct match_scratch *scratch = match_scratch_new();
    const uint32_t *ids;
    size_t count = 0, len = 0;

    text[0] = '\0';
    EXPECT_EQ(SLUICE_OK, match_json(set, scratch, view_of(event), &ids, &count, NULL));
    for (size_t i = 0; i < count; i++)
        len += (size_t)snprintf(text + len, sizeof text - len, "%s%u", i == 0 ? "" : " ", ids[i]);
    match_scratch_free(scratch);
    return text;
}

static struct match_set *set_of(const struct match_rule *rules, size_t count)
{
    struct match_set *set = NULL;
    EXPECT_EQ(SLUICE_OK, match_set_new(rules, count, &set, NULL, NULL));
    return set;
}

static struct match_set *updated(struct match_set *set, const struct match_rule *put, size_t put_count, const uint32_t *removed, size_t removed_count)
{
    struct match_set *next = NULL;
    struct sluice_error error = { 0 };
    if (match_set_update(set, put, put_count, removed, removed_count, &next, &error) != SLUICE_OK)
        test_fail(__FILE__, __LINE__, "%s", error.text);
    match_set_free(set);
    return next;
}

#define A1 VIEW_LITERAL("{\"a\":[1]}")
#define A2 VIEW_LITERAL("{\"a\":[2]}")
static const struct match_rule three[] = { { A1, 3 }, { A1, 7 }, { A2, 9 } };

/* ---- changes ---- */

TEST(rules_come_go_change_and_come_back)
{
    struct match_set *set = set_of(three, 3);
    EXPECT_TEXT("3 7", ids_of(set, "{\"a\":1}"));
    set = updated(set, (struct match_rule[]){ { A1, 5 }, { A1, 1 } }, 2, NULL, 0);
    EXPECT_TEXT("1 3 5 7", ids_of(set, "{\"a\":1}"));
    set = updated(set, NULL, 0, (uint32_t[]){ 3, 5 }, 2);
    EXPECT_TEXT("1 7", ids_of(set, "{\"a\":1}"));
    set = updated(set, (struct match_rule[]){ { A2, 7 } }, 1, NULL, 0);
    EXPECT_TEXT("1", ids_of(set, "{\"a\":1}"));
    EXPECT_TEXT("7 9", ids_of(set, "{\"a\":2}"));
    set = updated(set, (struct match_rule[]){ { A1, 3 }, { A1, 7 } }, 2, (uint32_t[]){ 1 }, 1);
    EXPECT_TEXT("3 7", ids_of(set, "{\"a\":1}"));
    EXPECT_TEXT("9", ids_of(set, "{\"a\":2}"));
    EXPECT_EQ(3, match_set_cost(set).rules);
    match_set_free(set);
}

TEST(a_set_lives_on_when_the_one_it_came_from_is_freed_or_stays)
{
    struct match_set *set = set_of(three, 3), *next = NULL;
    EXPECT_EQ(SLUICE_OK, match_set_update(set, NULL, 0, (uint32_t[]){ 7 }, 1, &next, NULL));
    EXPECT_TEXT("3 7", ids_of(set, "{\"a\":1}"));
    match_set_free(set);
    EXPECT_TEXT("3", ids_of(next, "{\"a\":1}"));
    match_set_free(next);
}

TEST(what_cannot_be_changed_is_refused_and_changes_nothing)
{
    struct match_set *set = set_of(three, 3), *next = NULL;
    struct sluice_error error = { 0 };
    EXPECT_EQ(SLUICE_ENOTFOUND, match_set_update(set, NULL, 0, (uint32_t[]){ 4 }, 1, &next, &error));
    EXPECT_EQ(SLUICE_ENOTFOUND, match_set_update(set, NULL, 0, (uint32_t[]){ 3, 3 }, 2, &next, &error));
    EXPECT_EQ(SLUICE_EINVAL, match_set_update(set, (struct match_rule[]){ { VIEW_LITERAL("{}"), 4 } }, 1, NULL, 0, &next, &error));
    struct match_rule many[MATCH_DELTA_MAX + 1];
    for (uint32_t i = 0; i <= MATCH_DELTA_MAX; i++)
        many[i] = (struct match_rule){ A1, 100 + i };
    EXPECT_EQ(SLUICE_OK, match_set_update(set, many, MATCH_DELTA_MAX, NULL, 0, &next, &error));
    next = match_set_free(next);
    EXPECT_EQ(SLUICE_ELIMIT, match_set_update(set, many, MATCH_DELTA_MAX + 1, NULL, 0, &next, &error));
    EXPECT(next == NULL);
    EXPECT_TEXT("3 7", ids_of(set, "{\"a\":1}"));
    match_set_free(set);
}

/* ---- limits ---- */

/* {"x":{"$or":[ten branches]},"y":..,"z":..}: a thousand combinations, each looked at through one of ten anything-but. */
static void put_dear_pattern(struct bytes *out)
{
    for (int factor = 0; factor < 3; factor++) {
        bytes_put_format(out, "%s\"%c\":{\"$or\":[", factor == 0 ? "{" : ",", 'x' + factor);
        for (int branch = 0; branch < 10; branch++) {
            bytes_put_format(out, "%s{\"%c\":[", branch == 0 ? "" : ",", 'a' + branch);
            for (int term = 0; term < 10; term++)
                bytes_put_format(out, "%s{\"anything-but\":[%d]}", term == 0 ? "" : ",", term);
            bytes_put_text(out, "]}");
        }
        bytes_put_text(out, "]}");
    }
    bytes_put_text(out, "}");
}

TEST(a_set_that_could_make_one_event_too_dear_is_refused_with_its_price)
{
    enum { RULES = MATCH_PRICE_MAX / 10000 + 1 };
    struct bytes pattern = { 0 };
    struct match_rule rules[RULES];
    struct match_set *set = NULL;
    struct sluice_error error = { 0 };

    put_dear_pattern(&pattern);
    for (uint32_t i = 0; i < RULES; i++)
        rules[i] = (struct match_rule){ .pattern = bytes_view(&pattern), .id = i };
    EXPECT_EQ(SLUICE_ELIMIT, match_set_new(rules, RULES, &set, NULL, &error));
    EXPECT(set == NULL);
    EXPECT(strstr(error.text, "make 20100") != NULL);
    EXPECT(strstr(error.text, "2000000") != NULL);
    EXPECT_EQ(SLUICE_OK, match_set_new(rules, 1, &set, NULL, &error));
    EXPECT(match_set_cost(set).price >= 10000 && match_set_cost(set).price < 10010);
    match_set_free(set);
    bytes_done(&pattern);
}

/* ---- saved ---- */

static char *aligned_copy(struct view bytes)
{
    char *copy = aligned_alloc(16, (bytes.len + 15) & ~(size_t)15);
    memcpy(copy, bytes.data, bytes.len);
    return copy;
}

TEST(a_saved_set_answers_as_the_one_it_was)
{
    struct match_set *set = set_of(three, 3), *opened = NULL, *next = NULL;
    struct view image;
    EXPECT_EQ(SLUICE_OK, match_set_image(set, &image, NULL));
    char *copy = aligned_copy(image);
    EXPECT_EQ(SLUICE_OK, match_set_open((struct view){ copy, image.len }, free, copy, &opened, NULL));
    EXPECT_TEXT("3 7", ids_of(opened, "{\"a\":1}"));
    EXPECT_EQ(match_rules_fingerprint(three, 3), match_set_fingerprint(opened));
    EXPECT(match_rules_fingerprint(three, 2) != match_set_fingerprint(opened));
    EXPECT_EQ(SLUICE_OK, match_set_update(opened, NULL, 0, (uint32_t[]){ 7 }, 1, &next, NULL));
    match_set_free(opened); /* the copy lives on in `next` */
    EXPECT_TEXT("3", ids_of(next, "{\"a\":1}"));
    EXPECT_EQ(SLUICE_EINVAL, match_set_image(next, &image, NULL));
    match_set_free(next);
    match_set_free(set);
}

enum { CROWD = 60, EVENTS = 8, DAMAGES = 1200 };

struct crowd {
    struct bytes patterns[CROWD];
    struct match_rule rules[CROWD];
};

static void crowd_make(struct crowd *crowd, struct generator *generator)
{
    for (uint32_t i = 0; i < CROWD; i++) {
        bytes_clear(&crowd->patterns[i]);
        generate_pattern(generator, &crowd->patterns[i]);
        crowd->rules[i] = (struct match_rule){ .pattern = bytes_view(&crowd->patterns[i]), .id = i };
    }
}

static void crowd_done(struct crowd *crowd)
{
    for (size_t i = 0; i < CROWD; i++)
        bytes_done(&crowd->patterns[i]);
}

static void nothing(void *ctx)
{
    (void)ctx;
}

TEST(a_damaged_image_is_refused)
{
    struct match_set *set = set_of(three, 3), *opened = NULL;
    struct view image;
    struct sluice_error error = { 0 };
    EXPECT_EQ(SLUICE_OK, match_set_image(set, &image, NULL));
    for (size_t at = 0; at < image.len; at++) {
        char *copy = aligned_copy(image);
        copy[at] ^= 1;
        EXPECT_EQ(SLUICE_ECORRUPT, match_set_open((struct view){ copy, image.len }, nothing, NULL, &opened, &error));
        free(copy);
    }
    for (size_t len = 0; len < image.len; len += 16)
        EXPECT_EQ(SLUICE_ECORRUPT, match_set_open((struct view){ image.data, len }, nothing, NULL, &opened, &error));
    match_set_free(set);
}

/* Even a damaged image with a checksum to match is refused or answers something: never a read or write outside. */
TEST(an_image_made_to_harm_does_none)
{
    struct generator generator = { .state = 77 };
    struct crowd crowd = { 0 };
    struct bytes events[EVENTS] = { 0 };
    struct match_scratch *scratch = match_scratch_new();
    unsigned taken = 0, refused = 0;

    crowd_make(&crowd, &generator);
    for (int e = 0; e < EVENTS; e++)
        generate_event(&generator, &events[e]);
    struct match_set *set = set_of(crowd.rules, CROWD);
    struct view whole;
    EXPECT_EQ(SLUICE_OK, match_set_image(set, &whole, NULL));
    for (int d = 0; d < DAMAGES; d++) {
        char *copy = aligned_copy(whole);
        struct match_set *opened = NULL;
        for (uint64_t i = generator_next(&generator, 3); i < 3; i++) {
            size_t at = 48 + generator_next(&generator, whole.len / 4 - 12) * 4; /* behind what says what it is */
            uint32_t value = generator_next(&generator, 2) == 0 ? (uint32_t)generator_next(&generator, 300) : (uint32_t)generator_next(&generator, UINT32_MAX);
            memcpy(copy + at, &value, sizeof value);
        }
        image_reseal(copy, whole.len);
        if (match_set_open((struct view){ copy, whole.len }, free, copy, &opened, NULL) != SLUICE_OK) {
            refused++;
            free(copy);
            continue;
        }
        taken++;
        for (int e = 0; e < EVENTS; e++) {
            const uint32_t *ids;
            size_t count;
            (void)match_json(opened, scratch, bytes_view(&events[e]), &ids, &count, NULL);
        }
        match_set_free(opened);
    }
    EXPECT(taken > DAMAGES / 20);
    EXPECT(refused > DAMAGES / 20);
    match_set_free(set);
    match_scratch_free(scratch);
    crowd_done(&crowd);
    for (int e = 0; e < EVENTS; e++)
        bytes_done(&events[e]);
}

/* Where a path says its tables are, far behind all there are: refused without a look there. */
TEST(an_image_whose_path_has_tables_far_outside_is_refused)
{
    enum { OUTSIDE = 1 << 28 };
    struct match_set *set = set_of(three, 3), *opened = NULL;
    struct image image;
    struct view whole;
    EXPECT_EQ(SLUICE_OK, match_set_image(set, &whole, NULL));
    char *copy = aligned_copy(whole);
    image_bind_own(copy, whole.len, &image);
    for (uint32_t p = 0; p < image.paths_count; p++) {
        struct image_path *path = (struct image_path *)(uintptr_t)&image.paths[p];
        struct image_path before = *path;
        path->string_operators = path->exact = OUTSIDE;
        path->number_operators = path->operators_end = OUTSIDE + 1;
        image_reseal(copy, whole.len);
        EXPECT_EQ(SLUICE_ECORRUPT, match_set_open((struct view){ copy, whole.len }, nothing, NULL, &opened, NULL));
        *path = before;
    }
    free(copy);
    match_set_free(set);
}

/* Nor where a table says that its filter is; and each has one. */
TEST(an_image_whose_table_has_no_filter_inside_is_refused)
{
    struct match_set *set = set_of(three, 3), *opened = NULL;
    struct image image;
    struct view whole;
    unsigned filters = 0;
    EXPECT_EQ(SLUICE_OK, match_set_image(set, &whole, NULL));
    char *copy = aligned_copy(whole);
    image_bind_own(copy, whole.len, &image);
    for (uint32_t o = 0; o < image.operators_count; o++) {
        struct image_operator *operator = (struct image_operator *)(uintptr_t)&image.operators[o];
        struct image_operator before = *operator;
        if (operator->filter_count == 0)
            continue;
        filters++;
        const struct { uint32_t filter, count; } bad[] = { { before.filter, 0 }, { image.words_count - before.filter_count + 1, before.filter_count },
                                                           { before.filter, image.words_count - before.filter + 1 }, { 1u << 28, UINT32_MAX } };
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
            operator->filter = bad[i].filter;
            operator->filter_count = bad[i].count;
            image_reseal(copy, whole.len);
            EXPECT_EQ(SLUICE_ECORRUPT, match_set_open((struct view){ copy, whole.len }, nothing, NULL, &opened, NULL));
        }
        *operator = before;
    }
    EXPECT(filters > 0);
    free(copy);
    match_set_free(set);
}

/* ---- several at once ---- */

enum { LARGE = 220000, LARGE_BYTES = 32, GROUPS = 150 };

/* Rules enough that a batch defers its values: one exact text each, and some of every kind among them. */
struct large {
    struct match_rule *rules;
    char *texts;
    struct crowd crowd;
    struct match_set *set;
};

static void large_make(struct large *large, struct generator *generator)
{
    *large = (struct large){ .rules = malloc((LARGE + CROWD + 2) * sizeof *large->rules), .texts = malloc((size_t)LARGE * LARGE_BYTES) };
    for (uint32_t i = 0; i < LARGE; i++) {
        char *text = large->texts + (size_t)i * LARGE_BYTES;
        size_t len = (size_t)snprintf(text, LARGE_BYTES, "{\"%c\":[\"u%u\"]}", "kz"[i % 50 == 0], i);
        large->rules[i] = (struct match_rule){ .pattern = { .data = text, .len = len }, .id = i };
    }
    crowd_make(&large->crowd, generator);
    for (uint32_t i = 0; i < CROWD; i++) {
        large->rules[LARGE + i] = large->crowd.rules[i];
        large->rules[LARGE + i].id = LARGE + i;
    }
    large->rules[LARGE + CROWD] = (struct match_rule){
        .pattern = VIEW_LITERAL("{\"id\":[\"0198c7d2-0000-7000-8000-00000000002a\"],\"time\":[\"2026-11-21T22:58:34Z\"]}"), .id = LARGE + CROWD };
    large->rules[LARGE + CROWD + 1] = (struct match_rule){ .pattern = VIEW_LITERAL("{\"k\":[{\"exists\":true}]}"), .id = LARGE + CROWD + 1 };
    large->set = set_of(large->rules, LARGE + CROWD + 2);
}

static void large_done(struct large *large)
{
    match_set_free(large->set);
    crowd_done(&large->crowd);
    free(large->rules);
    free(large->texts);
}

/* A generated object, a member more before its last bracket: known texts, unknown ones, escaped ones, several, more than are deferred. */
static void put_large_event(struct bytes *out, struct generator *generator)
{
    bytes_clear(out);
    generate_event(generator, out);
    while (out->len > 0 && out->data[out->len - 1] != '}')
        out->len--;
    out->len -= out->len > 0;
    unsigned number = (unsigned)generator_next(generator, LARGE * 2);
    const char *comma = memchr(out->data, ':', out->len) == NULL ? "" : ",";
    switch (generator_next(generator, 6)) {
    case 0: bytes_put_format(out, "%s\"k\":[\"u%u\",\"\\u0075%u\",7,true]}", comma, number, number / 2); break;
    case 1: bytes_put_format(out, "%s\"k\":[{\"x\":1},\"u%u\"]}", comma, number); break;
    case 2:
        bytes_put_format(out, "%s\"k\":[\"u%u\"", comma, number);
        for (int i = 0; i < 400; i++)
            bytes_put_format(out, ",\"u%d\"", i);
        bytes_put_text(out, "]}");
        break;
    case 3: bytes_put_format(out, "%s\"z\":\"u%u\"}", comma, number / 50 * 50); break;
    default: bytes_put_format(out, "%s\"k\":\"u%u\"}", comma, number); break;
    }
}

TEST(several_events_at_once_are_answered_as_each_alone)
{
    struct generator generator = { .state = 99 };
    struct large large;
    struct match_scratch *scratch = match_scratch_new(), *alone = match_scratch_new();
    struct bytes texts[MATCH_BATCH_MAX] = { 0 };
    size_t hits = 0;

    large_make(&large, &generator);
    for (int g = 0; g < GROUPS; g++) {
        struct view events[MATCH_BATCH_MAX];
        struct match_answer answers[MATCH_BATCH_MAX];
        const uint32_t *ids, *expected;
        size_t count = 1 + generator_next(&generator, MATCH_BATCH_MAX), expected_count = 0;
        for (size_t e = 0; e < count; e++) {
            put_large_event(&texts[e], &generator);
            events[e] = bytes_view(&texts[e]);
        }
        match_json_batch(large.set, scratch, events, count, answers, &ids);
        for (size_t e = 0; e < count; e++) {
            EXPECT_EQ(SLUICE_OK, match_json(large.set, alone, events[e], &expected, &expected_count, NULL));
            EXPECT_EQ(SLUICE_OK, answers[e].err);
            if (answers[e].count != expected_count || (expected_count > 0 && memcmp(ids + answers[e].first, expected, expected_count * sizeof *ids) != 0))
                test_fail(__FILE__, __LINE__, "group %d: %zu rules, alone %zu, for %.*s", g, answers[e].count, expected_count, VIEW_ARGS(events[e]));
            hits += expected_count;
        }
    }
    EXPECT(hits > GROUPS * 8);
    for (int e = 0; e < MATCH_BATCH_MAX; e++)
        bytes_done(&texts[e]);
    match_scratch_free(scratch);
    match_scratch_free(alone);
    large_done(&large);
}

/* One field that tells the rules apart, and others that ask the same in many, of which only some are allowed. */
static void put_sleeper(struct bytes *out, struct generator *generator, unsigned number, uint64_t allowed)
{
    static const char *const others[] = {
        "\"m\":[\"x\",\"y\"]", "\"m\":[\"x\"]", "\"n\":[7]", "\"n\":[7,8,true]", "\"l\":[null]", "\"p\":[{\"prefix\":\"a\"}]", "\"d\":{\"q\":[\"x\"],\"r\":[1]}",
        "\"d\":{\"q\":[\"x\"]}", "\"n\":[{\"numeric\":[\">\",5]}]", "\"m\":[{\"exists\":true}]", "\"m\":[{\"anything-but\":\"x\"}]", "\"p\":[{\"exists\":false}]",
    };
    enum { OTHERS = sizeof others / sizeof *others };
    unsigned other = (unsigned)generator_next(generator, OTHERS + 4);

    bytes_clear(out);
    switch (number % 8) {
    case 0: bytes_put_format(out, "{\"n\":[%u]", 100 + number); break;
    case 1: bytes_put_format(out, "{\"d\":{\"k\":[\"u%u\"],\"q\":[\"x\"]}", number); break;
    default: bytes_put_format(out, "{\"k\":[\"u%u\"%s]", number, number % 8 == 2 ? ",true" : ""); break;
    }
    bool taken = (allowed >> other & 1) == 0;
    taken |= number % 8 == 0 ? other < OTHERS && others[other][1] == 'n' : number % 8 == 1 && other < OTHERS && others[other][1] == 'd'; /* a name once */
    if (other < OTHERS && !taken)
        bytes_put_format(out, ",%s", others[other]);
    bytes_put_char(out, '}');
}

static void put_sleepers_event(struct bytes *out, struct generator *generator, unsigned rules_count)
{
    static const char *const others[] = { "\"m\":\"x\"", "\"m\":[\"y\",\"z\"]", "\"n\":7", "\"n\":[8.0,true]", "\"l\":null", "\"p\":\"ab\"", "\"p\":\"b\"",
                                          "\"d\":{\"q\":\"x\",\"r\":1}", "\"d\":[{\"q\":\"x\"},{\"r\":1}]", "\"d\":{\"k\":\"u9\",\"q\":\"x\"}", "\"k\":true", "\"j\":5" };
    enum { OTHERS = sizeof others / sizeof *others };

    bytes_clear(out);
    bytes_put_format(out, "{\"z\":0");
    for (unsigned i = 0; i < OTHERS; i++)
        if (generator_next(generator, strchr(others[i], '{') != strrchr(others[i], '{') ? 400 : 8) == 0) /* then it cannot wait, nor those after it */
            bytes_put_format(out, ",%s", others[i]);
    switch (generator_next(generator, 4)) {
    case 0: bytes_put_format(out, ",\"k\":\"u%u\"", (unsigned)generator_next(generator, rules_count * 2)); break;
    case 1: bytes_put_format(out, ",\"n\":%u", 100 + (unsigned)generator_next(generator, rules_count * 2)); break;
    default: break;
    }
    bytes_put_char(out, '}');
}

/* So many that the values of a batch wait, of which mostly none wakes an event. */
TEST(events_that_mostly_match_nothing_are_answered_at_once_as_by_the_oracle)
{
    enum { SETS = 160, RULES = 97, BATCHES = 12 };
    static const char *const wakers[] = { /* by there being something, or nothing */
        "{\"m\":[{\"exists\":true}]}", "{\"j\":[{\"exists\":true}]}", "{\"n\":[{\"exists\":true}]}", "{\"l\":[{\"exists\":true}]}", "{\"p\":[{\"anything-but\":\"b\"}]}", "{\"m\":[{\"exists\":false}]}",
        "{\"d\":{\"q\":[{\"exists\":false}],\"r\":[{\"exists\":false}]}}",
    };
    struct generator generator = { .state = 4711 };
    struct oracle_scratch *oracle_scratch = oracle_scratch_new();
    struct bytes patterns[RULES] = { 0 }, texts[MATCH_BATCH_MAX] = { 0 };
    size_t hits = 0, none = 0;

    for (int s = 0; s < SETS; s++) {
        struct match_scratch *scratch = match_scratch_new();
        struct match_rule rules[RULES];
        struct oracle_set *oracle = NULL;
        uint64_t allowed = generator_next(&generator, 1 << 12) & (s % 2 == 0 ? 0x1FF : 0xFFF); /* without those that ask whether something is there */
        for (unsigned r = 0; r < RULES - 1; r++) {
            put_sleeper(&patterns[r], &generator, r, allowed);
            rules[r] = (struct match_rule){ .pattern = bytes_view(&patterns[r]), .id = r };
        }
        bool last = s % 4 == 2;
        rules[RULES - 1] = (struct match_rule){ .pattern = view_of(wakers[(unsigned)s / 4 % (sizeof wakers / sizeof *wakers)]), .id = RULES - 1 };
        struct match_set *set = set_of(rules, RULES - !last);
        EXPECT_EQ(SLUICE_OK, oracle_set_new(rules, RULES - !last, &oracle, NULL, NULL));
        for (int b = 0; b < BATCHES; b++) {
            struct view events[MATCH_BATCH_MAX];
            struct match_answer answers[MATCH_BATCH_MAX];
            const uint32_t *ids, *expected;
            size_t expected_count = 0;
            for (size_t e = 0; e < MATCH_BATCH_MAX; e++) {
                put_sleepers_event(&texts[e], &generator, RULES);
                events[e] = bytes_view(&texts[e]);
            }
            match_json_batch(set, scratch, events, MATCH_BATCH_MAX, answers, &ids);
            for (size_t e = 0; e < MATCH_BATCH_MAX; e++) {
                EXPECT_EQ(SLUICE_OK, oracle_json(oracle, oracle_scratch, events[e], &expected, &expected_count, NULL));
                EXPECT_EQ(SLUICE_OK, answers[e].err);
                if (answers[e].count != expected_count || (expected_count > 0 && memcmp(ids + answers[e].first, expected, expected_count * sizeof *ids) != 0))
                    test_fail(__FILE__, __LINE__, "set %d: %zu rules, the oracle %zu, for %.*s", s, answers[e].count, expected_count, VIEW_ARGS(events[e]));
                hits += expected_count;
                none += expected_count == 0;
            }
        }
        match_set_free(set);
        match_scratch_free(scratch);
        oracle_set_free(oracle);
    }
    EXPECT(hits > SETS * BATCHES);
    EXPECT(none > SETS * BATCHES);
    for (unsigned r = 0; r < RULES; r++)
        bytes_done(&patterns[r]);
    for (int e = 0; e < MATCH_BATCH_MAX; e++)
        bytes_done(&texts[e]);
    oracle_scratch_free(oracle_scratch);
}

/* It shares a field with many rules, which is dear to judge, and has none of their own. */
TEST(an_event_over_the_limit_is_refused_among_others_as_alone)
{
    enum { RULES = 17000, TEXT_BYTES = 16000, AT_ONCE = 4 };
    struct match_rule *rules = malloc(RULES * sizeof *rules);
    struct bytes *patterns = calloc(RULES, sizeof *patterns), text = { 0 };
    struct match_scratch *scratch = match_scratch_new();
    struct match_answer answers[AT_ONCE];
    const uint32_t *ids;
    size_t count = 0;

    for (unsigned r = 0; r < RULES; r++) {
        bytes_put_format(&patterns[r], "{\"k\":[\"u%u\"],\"p\":[{\"wildcard\":\"*%c*%c*%c*\"}]}", r, 'a' + r % 26, 'a' + r / 26 % 26, 'a' + r / 676);
        rules[r] = (struct match_rule){ .pattern = bytes_view(&patterns[r]), .id = r };
    }
    struct match_set *set = set_of(rules, RULES);
    bytes_put_text(&text, "{\"k\":\"none\",\"p\":\"");
    for (int i = 0; i < TEXT_BYTES; i++)
        bytes_put_char(&text, (char)('z' - i / (TEXT_BYTES / 26 + 1)));
    bytes_put_text(&text, "\"}");
    EXPECT_EQ(SLUICE_ELIMIT, match_json(set, scratch, bytes_view(&text), &ids, &count, NULL));
    struct view events[AT_ONCE] = { VIEW_LITERAL("{}"), bytes_view(&text), VIEW_LITERAL("{}"), VIEW_LITERAL("{\"k\":\"u7\",\"p\":\"hab\"}") };
    match_json_batch(set, scratch, events, AT_ONCE, answers, &ids);
    EXPECT_EQ(SLUICE_OK, answers[0].err);
    EXPECT_EQ(SLUICE_ELIMIT, answers[1].err);
    EXPECT_EQ(SLUICE_OK, answers[3].err);
    for (unsigned r = 0; r < RULES; r++)
        bytes_done(&patterns[r]);
    free(patterns);
    free(rules);
    bytes_done(&text);
    match_set_free(set);
    match_scratch_free(scratch);
}

TEST(envelopes_at_once_are_answered_as_each_alone)
{
    static const uint8_t uuid[16] = { 0x01, 0x98, 0xC7, 0xD2, 0, 0, 0x70, 0, 0x80, 0, 0, 0, 0, 0, 0, 0x2A };
    struct generator generator = { .state = 5 };
    struct large large;
    struct match_scratch *scratch = match_scratch_new();
    struct event event = { .source = VIEW_LITERAL("shop"), .detail_type = VIEW_LITERAL("Order"), .id_is_uuid = true,
                           .id = { .data = (const char *)uuid, .len = 16 }, .has_time = true, .time_ms = 1795301914999, .detail = VIEW_LITERAL("{}") };
    struct event other = event;
    const struct event *events[] = { &event, &other, &event };
    struct match_answer answers[3];
    const uint32_t *ids;

    other.time_ms += 1000;
    large_make(&large, &generator);
    match_events(large.set, scratch, events, 3, answers, &ids);
    for (int e = 0; e < 3; e++) {
        bool found = false;
        for (size_t i = 0; i < answers[e].count; i++)
            found |= ids[answers[e].first + i] == LARGE + CROWD;
        EXPECT_EQ(e != 1, found);
    }
    match_scratch_free(scratch);
    large_done(&large);
}

/* ---- any course of changes ---- */

enum { COURSES = 30, STEPS = 20 };

TEST(after_any_changes_a_set_answers_as_one_made_whole)
{
    struct generator generator = { .state = 4711 };
    struct crowd crowd = { 0 };
    struct match_scratch *scratch = match_scratch_new();
    struct oracle_scratch *oracle_scratch = oracle_scratch_new();
    struct bytes event = { 0 };
    size_t hits = 0;

    for (int c = 0; c < COURSES; c++) {
        bool there[CROWD];
        struct match_rule rules[CROWD];
        crowd_make(&crowd, &generator);
        for (int i = 0; i < CROWD; i++)
            there[i] = i < CROWD / 2;
        struct match_set *set = set_of(crowd.rules, CROWD / 2);
        for (int s = 0; s < STEPS; s++) {
            uint32_t id = (uint32_t)generator_next(&generator, CROWD);
            if (there[id] && generator_next(&generator, 3) == 0) { /* another pattern under the same id */
                bytes_clear(&crowd.patterns[id]);
                generate_pattern(&generator, &crowd.patterns[id]);
                crowd.rules[id].pattern = bytes_view(&crowd.patterns[id]);
                there[id] = false;
            }
            set = there[id] ? updated(set, NULL, 0, &id, 1) : updated(set, &crowd.rules[id], 1, NULL, 0);
            there[id] = !there[id];

            size_t count = 0, expected_count = 0, rules_count = 0;
            const uint32_t *ids, *expected;
            struct oracle_set *oracle = NULL;
            for (int i = 0; i < CROWD; i++)
                if (there[i])
                    rules[rules_count++] = crowd.rules[i];
            EXPECT_EQ(SLUICE_OK, oracle_set_new(rules, rules_count, &oracle, NULL, NULL));
            bytes_clear(&event);
            generate_event(&generator, &event);
            EXPECT_EQ(SLUICE_OK, match_json(set, scratch, bytes_view(&event), &ids, &count, NULL));
            EXPECT_EQ(SLUICE_OK, oracle_json(oracle, oracle_scratch, bytes_view(&event), &expected, &expected_count, NULL));
            if (count != expected_count || (count > 0 && memcmp(ids, expected, count * sizeof *ids) != 0))
                test_fail(__FILE__, __LINE__, "course %d, step %d: %zu rules, the oracle %zu, for %.*s", c, s, count, expected_count, VIEW_ARGS(event));
            hits += count;
            oracle_set_free(oracle);
        }
        match_set_free(set);
    }
    EXPECT(hits > COURSES * STEPS / 4);
    crowd_done(&crowd);
    bytes_done(&event);
    match_scratch_free(scratch);
    oracle_scratch_free(oracle_scratch);
}

/* Appends `count` strings whose hashes begin alike, so that they fall into one place of any table, the first after the *from'th tried; with an
 * image, such as its only table seems to hold. */
static void put_colliding(struct bytes *out, size_t count, const struct image *image, uint64_t *from)
{
    enum { LETTERS = 7 };
    static const char alphabet[] = "abcdefghijklmnopqrstuvwxyz012345";

    for (size_t put = 0; put < count; ++*from) {
        char text[LETTERS];
        for (size_t i = 0; i < LETTERS; i++)
            text[i] = alphabet[*from >> i * 5 & 31];
        uint64_t hash = text_hash(text, LETTERS);
        if ((uint32_t)hash >= 1u << 23 || (image != NULL && !image_may_hold(image, &image->operators[0], hash)))
            continue;
        bytes_put_format(out, "%s\"%.*s\"", put++ == 0 ? "" : ",", LETTERS, text);
    }
}

TEST(rules_of_texts_made_to_collide_are_refused_when_put)
{
    struct bytes pattern = { 0 };
    struct match_set *set = NULL;
    struct sluice_error error;
    uint64_t from = 0;

    bytes_put_text(&pattern, "{\"f\":[");
    put_colliding(&pattern, 4000, NULL, &from);
    bytes_put_text(&pattern, "]}");
    EXPECT_EQ(SLUICE_ELIMIT, match_set_new(&(struct match_rule){ .pattern = bytes_view(&pattern), .id = 1 }, 1, &set, NULL, &error));
    EXPECT(strstr(error.text, "same place of a table") != NULL);
    bytes_done(&pattern);
}

TEST(an_event_of_texts_made_to_collide_is_refused_and_not_slow)
{
    struct bytes pattern = { 0 }, event = { 0 };
    struct match_set *set = NULL;
    struct match_scratch *scratch = match_scratch_new();
    struct sluice_error error = { 0 };
    const uint32_t *ids;
    size_t count;
    uint64_t from = 0;

    bytes_put_text(&pattern, "{\"f\":[");
    put_colliding(&pattern, 2000, NULL, &from);
    bytes_put_text(&pattern, "]}");
    EXPECT_EQ(SLUICE_OK, match_set_new(&(struct match_rule){ .pattern = bytes_view(&pattern), .id = 1 }, 1, &set, NULL, &error));
    bytes_put_text(&event, "{\"f\":[");
    put_colliding(&event, 300, &set->base->image, &from);
    EXPECT_EQ(SLUICE_OK, match_json(set, scratch, VIEW_LITERAL("{\"f\":\"x\"}"), &ids, &count, &error));
    size_t one = event.len - 6;
    EXPECT(bytes_reserve(&event, 200 * (one + 1))); /* so that what is copied does not move */
    for (size_t copies = 0; copies < 200; copies++) {
        bytes_put_char(&event, ',');
        bytes_put(&event, event.data + 6, one);
    }
    bytes_put_text(&event, "]}");
    EXPECT_EQ(SLUICE_ELIMIT, match_json(set, scratch, bytes_view(&event), &ids, &count, &error));
    match_set_free(set);
    match_scratch_free(scratch);
    bytes_done(&pattern);
    bytes_done(&event);
}

/* Names that are counted differ in their last bytes only. */
TEST(rules_of_any_number_of_counted_names_are_put_and_match)
{
    enum { NAMES = 3000, NAME_BYTES = 32 };
    static const char *const forms[] = { "%u", "f%u", "field%u", "name_%04u", "property%u", "a_rather_long_name_%u", "%u_last" };
    static struct match_rule rules[NAMES];
    struct bytes patterns[NAMES] = { 0 }, event = { 0 };
    struct match_scratch *scratch = match_scratch_new();

    for (size_t f = 0; f < sizeof forms / sizeof forms[0]; f++) {
        struct match_set *set = NULL;
        const uint32_t *ids;
        size_t count = 0;
        test_label(forms[f]);
        bytes_clear(&event);
        for (uint32_t i = 0; i < NAMES; i++) {
            char name[NAME_BYTES];
            (void)snprintf(name, sizeof name, forms[f], i);
            bytes_clear(&patterns[i]);
            bytes_put_format(&patterns[i], "{\"%s\":[1]}", name);
            bytes_put_format(&event, "%s\"%s\":1", i == 0 ? "{" : ",", name);
            rules[i] = (struct match_rule){ .pattern = bytes_view(&patterns[i]), .id = i };
        }
        bytes_put_char(&event, '}');
        EXPECT_EQ(SLUICE_OK, match_set_new(rules, NAMES, &set, NULL, NULL));
        if (set != NULL)
            EXPECT_EQ(SLUICE_OK, match_json(set, scratch, bytes_view(&event), &ids, &count, NULL));
        EXPECT_EQ(NAMES, count);
        match_set_free(set);
    }
    test_label(NULL);
    for (uint32_t i = 0; i < NAMES; i++)
        bytes_done(&patterns[i]);
    bytes_done(&event);
    match_scratch_free(scratch);
}
