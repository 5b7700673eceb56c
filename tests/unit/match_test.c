#include "broker/core/match.h"

#include <stdlib.h>

#include "broker/core/fold.h"
#include "broker/core/ip.h"
#include "broker/core/number.h"
#include "tests/test.h"

enum { RULES_MAX = 16 };

/* ---- asking ---- */

/* A bit for each of the patterns, NULL-terminated, that `event` satisfies; -1: a pattern or the event was refused. */
static int matched(const char *const *patterns, const char *event)
{
    struct match_rule rules[RULES_MAX];
    struct match_set *set = NULL;
    struct match_scratch *scratch = match_scratch_new();
    const uint32_t *ids;
    size_t count = 0, rules_count = 0;
    int bits = 0;

    for (; patterns[rules_count] != NULL; rules_count++)
        rules[rules_count] = (struct match_rule){ .pattern = view_of(patterns[rules_count]), .id = (uint32_t)rules_count };
    if (match_set_new(rules, rules_count, &set, NULL, NULL) != SLUICE_OK ||
        match_json(set, scratch, view_of(event), &ids, &count, NULL) != SLUICE_OK)
        bits = -1;
    for (size_t i = 0; i < count; i++)
        bits |= 1 << ids[i];
    match_set_free(set);
    match_scratch_free(scratch);
    return bits;
}

static bool matches(const char *pattern, const char *event)
{
    return matched((const char *const[]){ pattern, NULL }, event) == 1;
}

/* ---- what other engines get wrong ---- */

TEST(three_plain_rules_on_one_field_lose_no_match)
{
    const char *const rules[] = { "{\"d\":[\"xyz\"]}", "{\"d\":[{\"numeric\":[\">\",-1.0,\"<\",1.0]}]}", "{\"d\":[\"xab\"]}", NULL };
    EXPECT_EQ(1, matched(rules, "{\"d\":\"xyz\"}"));
    EXPECT_EQ(2, matched(rules, "{\"d\":0.5}"));
    EXPECT_EQ(4, matched(rules, "{\"d\":\"xab\"}"));
}

TEST(a_suffix_beside_a_wildcard_does_not_match_half_a_character)
{
    const char *const rules[] = { "{\"a\":[{\"wildcard\":\"*x*\"}]}", "{\"a\":[{\"suffix\":\"\xF0\x9F\x98\x81\"}]}", NULL };
    EXPECT_EQ(1, matched(rules, "{\"a\":\"x\xF0\x9F\x98\x80\"}"));
    EXPECT_EQ(3, matched(rules, "{\"a\":\"x\xF0\x9F\x98\x81\"}"));
}

TEST(ten_rules_of_anything_but_all_match_another_value)
{
    char texts[10][64];
    const char *rules[11] = { NULL };
    for (int i = 0; i < 10; i++) {
        (void)snprintf(texts[i], sizeof texts[i], "{\"a\":[{\"anything-but\":[\"%d\"]}]}", i);
        rules[i] = texts[i];
    }
    EXPECT_EQ(0x3FF, matched(rules, "{\"a\":\"zz\"}"));
    EXPECT_EQ(0x3FF & ~(1 << 4), matched(rules, "{\"a\":\"4\"}"));
}

static const struct { const char *label, *pattern, *event; bool match; } cases[] = {
    { "v4 block, v6 value beginning alike", "{\"a\":[{\"cidr\":\"10.0.0.0/8\"}]}", "{\"a\":\"0a01::5\"}", false },
    { "v6 block, v4 value beginning alike", "{\"a\":[{\"cidr\":\"2001::/16\"}]}", "{\"a\":\"32.1.13.184\"}", false },
    { "v4 block of everything", "{\"a\":[{\"cidr\":\"0.0.0.0/0\"}]}", "{\"a\":\"::1\"}", false },
    { "v6 block of everything", "{\"a\":[{\"cidr\":\"::/0\"}]}", "{\"a\":\"1.2.3.4\"}", false },
    { "v4 block of one", "{\"a\":[{\"cidr\":\"10.0.0.1/32\"}]}", "{\"a\":\"10.0.0.1\"}", true },
    { "v4 block of one, next", "{\"a\":[{\"cidr\":\"10.0.0.1/32\"}]}", "{\"a\":\"10.0.0.2\"}", false },
    { "v6 block of one", "{\"a\":[{\"cidr\":\"fe80::1/128\"}]}", "{\"a\":\"FE80:0:0::0001\"}", true },
    { "v6 block of one, next", "{\"a\":[{\"cidr\":\"fe80::1/128\"}]}", "{\"a\":\"fe80::2\"}", false },
    { "address in other words", "{\"a\":[\"10.1.2.3\"]}", "{\"a\":\"10.01.2.3\"}", true },
    { "exactly means the text", "{\"a\":[{\"exactly\":\"10.1.2.3\"}]}", "{\"a\":\"10.01.2.3\"}", false },
    { "letters beyond U+FFFF have cases", "{\"a\":[{\"equals-ignore-case\":\"\xF0\x90\x90\x80\"}]}",
      "{\"a\":\"\xF0\x90\x90\xA8\"}", true },
    { "emoji equal themselves", "{\"a\":[{\"equals-ignore-case\":\"\xF0\x9F\x98\x80\"}]}", "{\"a\":\"\xF0\x9F\x98\x80\"}", true },
    { "the lowest double is a bound", "{\"a\":[{\"numeric\":[\"<\",-1.7976931348623157e308]}]}", "{\"a\":-1e300}", false },
    { "2e23 is comparable", "{\"a\":[2e23]}", "{\"a\":200000000000000000000000}", true },
    { "the least double is comparable", "{\"a\":[{\"numeric\":[\">\",0]}]}", "{\"a\":5e-324}", true },
    { "a lone surrogate is itself", "{\"a\":[\"\\ud83d\"]}", "{\"a\":\"\\uD83D\"}", true },
    { "a lone surrogate is no other", "{\"a\":[\"\\ud83d\"]}", "{\"a\":\"\\ud83e\"}", false },
    { "escapes in names", "{\"a\\u002eb\":[1]}", "{\"a\":{\"b\":1}}", true },
    { "either of two values of a name", "{\"a\":[1]}", "{\"a\":1,\"a\":2}", true },
    { "the last of two fields of a name", "{\"a\":[1],\"a\":[2]}", "{\"a\":1}", false },
    { "objects of one name add up", "{\"a\":{\"b\":[1]},\"a\":{\"c\":[2]}}", "{\"a\":{\"b\":1,\"c\":3}}", false },
    { "$or inside an object keeps its path", "{\"a\":{\"$or\":[{\"b\":[1]},{\"c\":{\"d\":[2]}}]}}", "{\"a\":{\"c\":{\"d\":2}}}", true },
    { "a branch replaces what stood before", "{\"a\":[1],\"$or\":[{\"a\":[2]},{\"b\":[3]}]}", "{\"a\":2}", true },
    { "and only in that branch", "{\"a\":[1],\"$or\":[{\"a\":[2]},{\"b\":[3]}]}", "{\"a\":2,\"b\":3}", true },
    { "and not elsewhere", "{\"a\":[1],\"$or\":[{\"a\":[2]},{\"b\":[3]}]}", "{\"a\":5,\"b\":3}", false },
    { "what follows a $or replaces its branches", "{\"$or\":[{\"a\":[2]},{\"b\":[3]}],\"a\":[1]}", "{\"a\":2}", false },
    { "items of independent arrays", "{\"l\":{\"a\":[1]},\"m\":{\"a\":[2]}}", "{\"l\":[{\"a\":0},{\"a\":1}],\"m\":[{\"a\":2}]}", true },
    { "three fields in one item", "{\"l\":{\"a\":[1],\"b\":[2],\"c\":[3]}}",
      "{\"l\":[{\"a\":1,\"b\":2},{\"a\":1,\"c\":3},{\"b\":2,\"c\":3}]}", false },
    { "outer item holds across inner arrays", "{\"l\":{\"m\":{\"a\":[1]},\"z\":[2]}}",
      "{\"l\":[{\"m\":[{\"a\":1}],\"z\":0},{\"m\":[{\"a\":0}],\"z\":2}]}", false },
    { "two arrays by a name given twice are independent", "{\"l\":{\"a\":[1],\"b\":[2]}}", "{\"l\":[{\"a\":1}],\"l\":[{\"b\":2}]}", true },
    { "nested arrays, same inner item", "{\"l\":{\"a\":[1],\"b\":[2]}}", "{\"l\":[[{\"a\":1},{\"b\":2}]]}", false },
    { "a scalar beside nested items goes with all", "{\"l\":[7],\"l.k\":[1]}", "{\"l\":[[7],{\"k\":1}]}", false },
    { "a value outside the array goes with every item", "{\"l\":{\"a\":[1],\"k\":[5]}}", "{\"l\":[{\"k\":1},{\"a\":1}],\"l.k\":5}", true },
    { "a number at the end of an array that is text", "{\"a\":[1e400]}", "{\"a\":[1e400],\"a_long_name_behind_it\":\"and a value\"}", true },
    { "a text before the array that no table has goes with every item", "{\"l\":{\"a\":[{\"anything-but\":[\"x\"]}],\"b\":[\"y\"]}}",
      "{\"l.a\":\"zz\",\"l\":[{\"a\":\"x\",\"b\":\"y\"}]}", true },
    { "values after the items still count", "{\"l\":[7],\"l.k\":[1]}", "{\"l\":[[8],{\"k\":1},7]}", true },
};

TEST(cases_of_the_language_beyond_the_conformance_lines)
{
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        test_label(cases[i].label);
        EXPECT_EQ(cases[i].match, matches(cases[i].pattern, cases[i].event));
    }
}

/* Of a few texts it is told by their looks what is none of them, of many it is not. */
TEST(every_text_of_a_path_is_found_however_few_or_many_there_are)
{
    enum { TEXTS_MAX = 40 };
    struct match_rule rules[TEXTS_MAX];
    char patterns[TEXTS_MAX][32], event[32];
    struct match_scratch *scratch = match_scratch_new();

    for (uint32_t count = 1; count <= TEXTS_MAX; count++) {
        struct match_set *set = NULL;
        const uint32_t *ids = NULL;
        size_t found = 0;
        (void)snprintf(patterns[count - 1], sizeof patterns[0], "{\"a\":[\"t%u\"]}", count * 7919);
        rules[count - 1] = (struct match_rule){ .pattern = view_of(patterns[count - 1]), .id = count };
        EXPECT_EQ(SLUICE_OK, match_set_new(rules, count, &set, NULL, NULL));
        for (uint32_t i = 1; i <= count; i++) {
            (void)snprintf(event, sizeof event, "{\"a\":\"t%u\"}", i * 7919);
            EXPECT_EQ(SLUICE_OK, match_json(set, scratch, view_of(event), &ids, &found, NULL));
            EXPECT_EQ(1, found);
            if (found == 1)
                EXPECT_EQ(i, ids[0]);
        }
        match_set_free(set);
    }
    match_scratch_free(scratch);
}

TEST(ids_come_ascending_and_once)
{
    struct match_rule rules[] = { { VIEW_LITERAL("{\"a\":[1]}"), 900 }, { VIEW_LITERAL("{\"a\":[2]}"), 5 },
                                  { VIEW_LITERAL("{\"$or\":[{\"a\":[1]},{\"b\":[1]}]}"), 7 } };
    struct match_set *set = NULL;
    struct match_scratch *scratch = match_scratch_new();
    const uint32_t *ids = NULL;
    size_t count = 0;

    EXPECT_EQ(SLUICE_OK, match_set_new(rules, 3, &set, NULL, NULL));
    EXPECT_EQ(SLUICE_OK, match_json(set, scratch, VIEW_LITERAL("{\"a\":1,\"b\":1}"), &ids, &count, NULL));
    EXPECT_EQ(2, count);
    EXPECT_EQ(7, ids[0]);
    EXPECT_EQ(900, ids[1]);
    match_set_free(set);
    match_scratch_free(scratch);
}

TEST(no_rules_match_nothing)
{
    const char *const none[] = { NULL };
    EXPECT_EQ(0, matched(none, "{\"a\":1}"));
    EXPECT_EQ(-1, matched(none, "[1]"));
}

/* ---- the envelope ---- */

static const struct { const char *pattern; bool match; } envelope_cases[] = {
    { "{\"version\":[\"0\"]}", true },
    { "{\"id\":[\"0198c7d2-0000-7000-8000-00000000002a\"]}", true },
    { "{\"source\":[\"shop\"],\"detail-type\":[\"Order\"]}", true },
    { "{\"account\":[\"000000000000\"],\"region\":[\"us-east-1\"]}", true },
    { "{\"time\":[\"2026-11-21T22:58:34Z\"]}", true },
    { "{\"resources\":[\"r2\"]}", true },
    { "{\"resources\":[{\"exists\":false}]}", false },
    { "{\"bus\":[{\"exists\":false}]}", true },
    { "{\"detail\":{\"n\":[300]}}", true },
    { "{\"detail.n\":[300]}", true },
    { "{\"detail\":{\"n\":[301]}}", false },
    { "{\"source\":[\"shop\"],\"detail\":{\"m\":[{\"exists\":false}]}}", true },
};

TEST(envelope_fields_are_seen_as_a_function_would_see_them)
{
    static const uint8_t uuid[16] = { 0x01, 0x98, 0xC7, 0xD2, 0, 0, 0x70, 0, 0x80, 0, 0, 0, 0, 0, 0, 0x2A };
    struct event event = { .source = VIEW_LITERAL("shop"), .detail_type = VIEW_LITERAL("Order"), .id_is_uuid = true,
                           .id = { .data = (const char *)uuid, .len = 16 }, .has_time = true, .time_ms = 1795301914999,
                           .resources = VIEW_LITERAL("\x92\xA2r1\xA2r2"), .resources_count = 2,
                           .detail = VIEW_LITERAL("{\"n\":3.0e2}") };
    struct match_scratch *scratch = match_scratch_new();

    for (size_t i = 0; i < sizeof envelope_cases / sizeof envelope_cases[0]; i++) {
        struct match_rule rule = { .pattern = view_of(envelope_cases[i].pattern), .id = 1 };
        struct match_set *set = NULL;
        const uint32_t *ids;
        size_t count = 0;
        test_label(envelope_cases[i].pattern);
        EXPECT_EQ(SLUICE_OK, match_set_new(&rule, 1, &set, NULL, NULL));
        EXPECT_EQ(SLUICE_OK, match_event(set, scratch, &event, &ids, &count));
        EXPECT_EQ(envelope_cases[i].match, count);
        match_set_free(set);
    }
    match_scratch_free(scratch);
}

static const struct { const char *pattern; struct view map; bool match; } mpack_cases[] = {
    { "{\"a\":[300]}", { "\x81\xA1" "a\xCA\x43\x96\0\0", 8 }, true },             /* float 300 */
    { "{\"a\":[9007199254740993]}", { "\x81\xA1" "a\xCF\0\x20\0\0\0\0\0\1", 12 }, true },
    { "{\"a\":[9007199254740992]}", { "\x81\xA1" "a\xCF\0\x20\0\0\0\0\0\1", 12 }, false },
    { "{\"a\":[18446744073709551615]}", { "\x81\xA1" "a\xCF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF", 12 }, true },
    { "{\"a\":[-5]}", { "\x81\xA1" "a\xFB", 4 }, true },
    { "{\"a\":[\"AQID\"]}", { "\x81\xA1" "a\xC4\3\1\2\3", 8 }, true },            /* bin 1 2 3 */
    { "{\"a\":[\"AQ==\"]}", { "\x81\xA1" "a\xC4\1\1", 6 }, true },
    { "{\"a\":[null]}", { "\x81\xA1" "a\xC0", 4 }, true },
    { "{\"a\":{\"b\":[true]}}", { "\x81\xA1" "a\x92\1\x81\xA1" "b\xC3", 9 }, true },
    { "{\"c\":[1]}", { "\x82\xA1" "a\x81\xA1" "c\2\xA1" "c\1", 10 }, true },        /* a's map is skipped */
    { "{\"a\":[1],\"c\":[1]}", { "\x82\xA1" "a\x81\xA1" "c\2\xA1" "c\1", 10 }, false },
};

TEST(messagepack_values_compare_as_their_json_text_would)
{
    struct match_scratch *scratch = match_scratch_new();

    for (size_t i = 0; i < sizeof mpack_cases / sizeof mpack_cases[0]; i++) {
        struct match_rule rule = { .pattern = view_of(mpack_cases[i].pattern), .id = 1 };
        struct match_set *set = NULL;
        const uint32_t *ids;
        size_t count = 0;
        test_label(mpack_cases[i].pattern);
        EXPECT_EQ(SLUICE_OK, match_set_new(&rule, 1, &set, NULL, NULL));
        EXPECT_EQ(SLUICE_OK, match_mpack(set, scratch, mpack_cases[i].map, &ids, &count, NULL));
        EXPECT_EQ(mpack_cases[i].match, count);
        match_set_free(set);
    }
    match_scratch_free(scratch);
}

/* ---- hostile events ---- */

static enum sluice_err match_generated(const char *pattern, const struct bytes *event, size_t *ret_count)
{
    struct match_rule rule = { .pattern = view_of(pattern), .id = 1 };
    struct match_set *set = NULL;
    struct match_scratch *scratch = match_scratch_new();
    const uint32_t *ids;

    EXPECT_EQ(SLUICE_OK, match_set_new(&rule, 1, &set, NULL, NULL));
    enum sluice_err err = match_json(set, scratch, bytes_view(event), &ids, ret_count, NULL);
    match_set_free(set);
    match_scratch_free(scratch);
    return err;
}

TEST(the_largest_array_of_objects_costs_no_more_than_its_length)
{
    struct bytes event = { 0 };
    size_t count = 9;

    bytes_put_text(&event, "{\"l\":[");
    while (event.len < EVENT_BYTES_MAX - 100)
        bytes_put_text(&event, "{\"a\":1,\"b\":1,\"c\":0},");
    bytes_put_text(&event, "{\"a\":1}]}");
    EXPECT_EQ(SLUICE_OK, match_generated("{\"l\":{\"a\":[1],\"b\":[1],\"c\":[1]}}", &event, &count));
    EXPECT_EQ(0, count);
    bytes_done(&event);
}

TEST(independent_arrays_do_not_multiply)
{
    struct bytes event = { 0 };
    size_t count = 9;

    bytes_put_text(&event, "{\"z\":0");
    for (int a = 0; a < 8; a++) {
        bytes_put_format(&event, ",\"l%d\":[{\"a\":1}", a);
        for (int i = 0; i < 2000; i++)
            bytes_put_text(&event, ",{\"a\":1}");
        bytes_put_text(&event, "]");
    }
    bytes_put_text(&event, "}");
    EXPECT_EQ(SLUICE_OK, match_generated("{\"l0\":{\"a\":[1]},\"l1\":{\"a\":[1]},\"l2\":{\"a\":[1]},\"l3\":{\"a\":[1]},"
                                         "\"l4\":{\"a\":[1]},\"l5\":{\"a\":[1]},\"l6\":{\"a\":[1]},\"l7\":{\"a\":[2]}}", &event, &count));
    EXPECT_EQ(0, count);
    bytes_done(&event);
}

#define X40 "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
#define X640 X40 X40 X40 X40 X40 X40 X40 X40 X40 X40 X40 X40 X40 X40 X40 X40

TEST(one_path_to_many_arrays_ends_at_the_limit)
{
    struct bytes event = { 0 };
    size_t count = 9;

    bytes_put_text(&event, "{\"z\":0");
    for (int a = 0; a < 4; a++) {
        bytes_put_text(&event, ",\"l\":[{\"z\":1}");
        for (int i = 0; i < 1000; i++)
            bytes_put_text(&event, ",{\"a\":1,\"b\":1,\"c\":1,\"d\":1}");
        bytes_put_text(&event, "]");
    }
    bytes_put_text(&event, ",\"l.d\":2}");
    EXPECT_EQ(SLUICE_ELIMIT, match_generated("{\"l\":{\"a\":[1],\"b\":[1],\"c\":[1],\"d\":[2]}}", &event, &count));
    bytes_done(&event);
}

/* What one event may cost has an end, however many rules it is dear for. */
enum hostile { HOSTILE_JOIN, HOSTILE_WILDCARDS, HOSTILE_BUTS, HOSTILE_RANGES };
enum { HOSTILE_RULES = 2000, HOSTILE_BYTES = 1000000 };
static const struct { const char *label; enum hostile kind; } hostile_cases[] = {
    { "a large array on rules that join its items", HOSTILE_JOIN },
    { "a long text on wildcards that have to read it", HOSTILE_WILDCARDS },
    { "the same value again and again, which many anything-but forbid", HOSTILE_BUTS },
    { "numbers that many ranges hold", HOSTILE_RANGES },
};

static void put_hostile_rule(struct bytes *out, enum hostile kind, unsigned i)
{
    switch (kind) {
    case HOSTILE_JOIN: bytes_put_format(out, "{\"l\":{\"a\":[1],\"b\":[{\"exists\":true}],\"c\":[%u,2]}}", i + 10); break;
    case HOSTILE_WILDCARDS: bytes_put_format(out, "{\"l\":[{\"wildcard\":\"*ab*b%ua*\"}]}", i + 100000); break;
    case HOSTILE_BUTS: bytes_put_format(out, "{\"l\":[{\"anything-but\":[1,%u]}]}", i + 10); break;
    case HOSTILE_RANGES: bytes_put_format(out, "{\"l\":[{\"anything-but\":[5]},{\"numeric\":[\"<\",%u]}],\"k\":[1]}", i + 10); break;
    }
}

static void put_hostile_event(struct bytes *out, enum hostile kind)
{
    bytes_put_text(out, "{\"l\":[");
    for (unsigned i = 0; out->len < HOSTILE_BYTES; i++) {
        bytes_put_text(out, i == 0 ? "" : ",");
        switch (kind) {
        case HOSTILE_JOIN: bytes_put_format(out, "{\"a\":1,\"b\":%u,\"c\":%u}", i, i + 100); break;
        case HOSTILE_WILDCARDS:
            bytes_put_char(out, '"');
            for (uint32_t random = 1; out->len < HOSTILE_BYTES; random = random * 1103515245 + 12345)
                bytes_put_char(out, "ab0123456789"[(random >> 16) % 12]); /* every pair that the wildcards hold */
            bytes_put_char(out, '"');
            break;
        case HOSTILE_BUTS:
        case HOSTILE_RANGES: bytes_put_text(out, "1"); break;
        }
    }
    bytes_put_text(out, "]}");
}

TEST(what_one_event_may_cost_has_an_end_whatever_the_rules)
{
    for (size_t c = 0; c < sizeof hostile_cases / sizeof *hostile_cases; c++) {
        enum hostile kind = hostile_cases[c].kind;
        static struct match_rule rules[HOSTILE_RULES];
        static struct bytes patterns[HOSTILE_RULES];
        struct bytes event = { 0 };
        struct match_set *set = NULL;
        struct match_scratch *scratch = match_scratch_new();
        struct sluice_error error = { 0 };
        const uint32_t *ids;
        size_t count = 0;
        for (unsigned i = 0; i < HOSTILE_RULES; i++) {
            bytes_clear(&patterns[i]);
            put_hostile_rule(&patterns[i], kind, i);
            rules[i] = (struct match_rule){ .pattern = bytes_view(&patterns[i]), .id = i };
        }
        EXPECT_EQ(SLUICE_OK, match_set_new(rules, HOSTILE_RULES, &set, NULL, &error));
        put_hostile_event(&event, kind);
        if (match_json(set, scratch, bytes_view(&event), &ids, &count, &error) != SLUICE_ELIMIT)
            test_fail(__FILE__, __LINE__, "%s: answered", hostile_cases[c].label);
        EXPECT(strstr(error.text, "steps to match") != NULL);
        EXPECT_EQ(SLUICE_OK, match_json(set, scratch, VIEW_LITERAL("{\"l\":7}"), &ids, &count, &error)); /* the next one is none the worse */
        (void)match_set_free(set);
        (void)match_scratch_free(scratch);
        bytes_done(&event);
        for (unsigned i = 0; c + 1 == sizeof hostile_cases / sizeof *hostile_cases && i < HOSTILE_RULES; i++)
            bytes_done(&patterns[i]);
    }
}

/* What is dear in one value adds up over an event full of them: a number that takes microseconds to compare, an address against a mask of
 * every length, a text with all the beginnings and ends that rules ask for. */
TEST(an_event_full_of_dear_values_is_refused_and_one_with_many_is_matched)
{
    enum { LENGTHS = 640 };
    struct bytes masks = { 0 }, beginnings = { 0 }, text = { 0 };
    bytes_put_text(&masks, "{\"a\":[{\"cidr\":\"10.0.0.0/0\"}");
    for (unsigned bits = 1; bits <= 128; bits++)
        bytes_put_format(&masks, ",{\"cidr\":\"2001:db8::/%u\"}", bits);
    bytes_put_text(&masks, "]}");
    for (unsigned len = 1; len <= LENGTHS; len++)
        bytes_put_format(&beginnings, "%s{\"prefix\":\"%.*s\"},{\"suffix\":\"%.*s\"},{\"prefix\":{\"equals-ignore-case\":\"%.*s\"}}",
                         len == 1 ? "{\"a\":[" : ",", (int)len, X640, (int)len, X640, (int)len, X640);
    bytes_put_text(&beginnings, "]}");
    bytes_put_format(&text, "\"%s\"", X640);
    const struct { const char *label; struct view pattern, value; unsigned many, full; } dear[] = {
        { "numbers", VIEW_LITERAL("{\"a\":[{\"numeric\":[\">\",1e-315,\"<\",2e-315]}]}"), VIEW_LITERAL("12345678901234567e-310"), 20000, 45000 },
        { "addresses", bytes_view(&masks), VIEW_LITERAL("\"::\""), 10000, 200000 },
        { "beginnings", bytes_view(&beginnings), bytes_view(&text), 100, 1600 },
    };
    for (size_t i = 0; i < sizeof dear / sizeof dear[0]; i++)
        for (int full = 0; full < 2; full++) {
            struct bytes event = { 0 }, pattern = { 0 };
            size_t count = 9;
            test_label(dear[i].label);
            for (unsigned v = 0; v < (full ? dear[i].full : dear[i].many); v++) {
                bytes_put_text(&event, v == 0 ? "{\"a\":[" : ",");
                bytes_put_view(&event, dear[i].value);
            }
            bytes_put_text(&event, "]}");
            bytes_put_view(&pattern, dear[i].pattern);
            bytes_put_char(&pattern, '\0');
            EXPECT(event.len <= EVENT_BYTES_MAX + EVENT_BYTES_MAX / 8);
            EXPECT_EQ(full ? SLUICE_ELIMIT : SLUICE_OK, match_generated(pattern.data, &event, &count));
            bytes_done(&event);
            bytes_done(&pattern);
        }
    test_label(NULL);
    bytes_done(&masks);
    bytes_done(&beginnings);
    bytes_done(&text);
}

TEST(rules_that_usual_arrays_would_make_too_dear_are_refused_with_their_price)
{
    enum { FIELDS = 2, RULES = MATCH_STEPS_MAX / (FIELDS * MATCH_ITEMS_USUAL) + 1 };
    struct match_rule *rules = malloc(RULES * sizeof *rules);
    struct match_set *set = NULL;
    struct sluice_error error = { 0 };

    for (uint32_t i = 0; i < RULES; i++)
        rules[i] = (struct match_rule){ .pattern = VIEW_LITERAL("{\"l\":{\"a\":[1],\"b\":[2]}}"), .id = i };
    EXPECT_EQ(SLUICE_ELIMIT, match_set_new(rules, RULES, &set, NULL, &error));
    EXPECT(strstr(error.text, "arrays of 100 items could take 16777400 steps") != NULL);
    EXPECT_EQ(SLUICE_OK, match_set_new(rules, RULES - 1, &set, NULL, &error));
    EXPECT_EQ((uint64_t)(RULES - 1) * FIELDS * MATCH_ITEMS_USUAL, match_set_cost(set).join_steps);
    (void)match_set_free(set);
    free(rules);
}

TEST(an_event_nested_to_the_limit_is_matched)
{
    struct bytes event = { 0 };
    size_t count = 9;

    bytes_put_text(&event, "{\"a\":");
    for (int i = 0; i < EVENT_DEPTH_MAX - 1; i++)
        bytes_put_char(&event, '[');
    bytes_put_text(&event, "1");
    for (int i = 0; i < EVENT_DEPTH_MAX - 1; i++)
        bytes_put_char(&event, ']');
    bytes_put_text(&event, "}");
    EXPECT_EQ(SLUICE_OK, match_generated("{\"a\":[1]}", &event, &count));
    EXPECT_EQ(1, count);
    bytes_done(&event);
}

/* ---- values ---- */

static const struct { const char *a, *b; bool equal; } numbers[] = {
    { "300", "3.0e2", true }, { "300", "300.0", true }, { "300", "301", false }, { "0", "-0.0e9", true }, { "-1", "1", false },
    { "1e-1", "0.1", true }, { "100000000000000000000000000000", "1e29", true }, { "9007199254740993", "9007199254740992", false },
    { "9007199254740993", "9007199254740993", true }, { "9007199254740993", "9007199254740993.0", false },
    { "1e400", "1e400", true }, { "1e400", "10e399", false }, { "1e-400", "0", false }, { "1e999999999999999999999", "1e400", false },
    { "1.7976931348623157e308", "17976931348623157E292", true }, { "0.1234567890123456789", "0.1234567890123456788", false },
    { "9007199254740992", "9.007199254740992E15", true }, { "5e-324", "0.5e-323", true }, { "4.9e-324", "5e-324", false },
    { "2e23", "200000000000000000000000", true }, { "0.30000000000000004", "3.0000000000000004e-1", true },
    { "9.5367431640625e-7", "0.00000095367431640625", true }, { "7.07096883205E18", "7070968832050000000", true },
};

TEST(numbers_compare_by_value_where_a_double_holds_them_and_by_text_elsewhere)
{
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        struct number a = number_of_text(view_of(numbers[i].a)), b = number_of_text(view_of(numbers[i].b));
        test_label(numbers[i].a);
        EXPECT_EQ(numbers[i].equal, number_equals(&a, &b));
    }
}

/* %.17g always reads back; the shortest form of it must be comparable and nothing else with as many digits. */
TEST(the_shortest_text_of_any_double_is_comparable)
{
    uint64_t random = 12345;

    for (int i = 0; i < 20000; i++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        uint64_t bits = i % 8 == 0 ? random & 0x7FF0000000000000u : random & 0x7FFFFFFFFFFFFFFFu; /* powers of two too */
        double value;
        char text[64];
        int precision = 0;
        memcpy(&value, &bits, sizeof value);
        if (value != value || value * 0 != 0)
            continue;
        do
            (void)snprintf(text, sizeof text, "%.*e", precision, value);
        while (strtod(text, NULL) != value && ++precision < 17);
        struct number number = number_of_text(view_of(text));
        test_label(text);
        /* At a power of two a text above may be shorter than the nearest one of this length. */
        if (i % 8 != 0)
            EXPECT(number.comparable);
        if (number.comparable)
            EXPECT(number.value == value);
    }
}

/* The shortest text of `value` that reads back: its digits without the point, zeros at the end left out, and the exponent of the last. */
static void shortest_of(double value, char digits[20], int *ret_exponent)
{
    char text[64];
    int precision = 0;
    size_t len = 0;

    do
        (void)snprintf(text, sizeof text, "%.*e", precision, value);
    while (strtod(text, NULL) != value && ++precision < 17);
    for (const char *at = text; *at != 'e'; at++)
        if (*at != '.')
            digits[len++] = *at;
    *ret_exponent = atoi(strchr(text, 'e') + 1) - precision;
    for (; len > 1 && digits[len - 1] == '0'; len--)
        ++*ret_exponent;
    digits[len] = '\0';
}

TEST(a_fraction_of_sixteen_or_seventeen_digits_is_comparable_exactly_if_it_is_the_shortest_text)
{
    uint64_t random = 54321;
    unsigned comparable = 0, not_comparable = 0;

    for (int i = 0; i < 100000; i++) {
        char text[64], written[20], digits[20];
        int places, exponent, shortest_exponent;
        random = random * 6364136223846793005u + 1442695040888963407u;
        uint64_t number = 1000000000000000u + (random >> 7) % (i % 2 == 0 ? 9000000000000000u : 99000000000000000u);
        places = 1 + (int)(random % 27);
        number -= number % 10 == 0;
        (void)snprintf(written, sizeof written, "%llu", (unsigned long long)number);
        exponent = -places;
        (void)snprintf(text, sizeof text, "%se%d", written, exponent);
        double value = strtod(text, NULL);
        shortest_of(value, digits, &shortest_exponent);
        if (i % 4 == 3) { /* the shortest itself, mostly of sixteen or seventeen digits */
            (void)snprintf(written, sizeof written, "%s", digits);
            exponent = shortest_exponent;
            (void)snprintf(text, sizeof text, "%se%d", written, exponent);
        }
        struct number judged = number_of_text(view_of(text));
        bool expected = strcmp(written, digits) == 0 && exponent == shortest_exponent;
        test_label(text);
        EXPECT_EQ(expected, judged.comparable);
        if (judged.comparable)
            EXPECT(judged.value == value);
        comparable += judged.comparable;
        not_comparable += !judged.comparable;
    }
    test_label("of both there were many");
    EXPECT(comparable > 10000 && not_comparable > 10000);
}

static const struct { const char *text; bool valid; } addresses[] = {
    { "1.2.3.4", true }, { "255.255.255.255", true }, { "001.02.3.4", true }, { "1.2.3", false }, { "1.2.3.4.5", false },
    { "1.2.3.256", false }, { "1..3.4", false }, { "1.2.3.4 ", false }, { "0001.2.3.4", false }, { "::", true }, { "::1", true },
    { "1::", true }, { "1:2:3:4:5:6:7:8", true }, { "1:2:3:4:5:6:7", false }, { "1:2:3:4:5:6:7:8:9", false },
    { "1:2:3:4:5:6:7::", true }, { "::2:3:4:5:6:7:8", true }, { "1::2::3", false }, { ":1:2:3:4:5:6:7", false },
    { "1:2:3:4:5:6:7:", false }, { ":::", false }, { "1:::2", false }, { "12345::", false }, { "::ffff:1.2.3.4", false },
    { "fe80::1%eth0", false }, { "g::", false }, { ":", false }, { "", false }, { "1:2:3:4::5:6:7:8", false },
};

TEST(addresses_are_told_from_other_text)
{
    struct ip ip;
    for (size_t i = 0; i < sizeof addresses / sizeof addresses[0]; i++) {
        test_label(addresses[i].text);
        EXPECT_EQ(addresses[i].valid, ip_of_text(view_of(addresses[i].text), &ip));
    }
}

static const struct { uint32_t a, b; bool same; } pairs[] = {
    { 'a', 'A', true }, { 'z', 'Z', true }, { '[', '{', false }, { 0xE9, 0xC9, true }, { 0xFF, 0x178, true }, { 0x3C3, 0x3A3, true },
    { 0x3C2, 0x3A3, false }, { 0x3C2, 0x3C3, false }, { 0x43F, 0x41F, true }, { 's', 0x17F, false }, { 'k', 0x212A, false },
    { 'i', 0x130, false }, { 'I', 0x131, false }, { 0xB5, 0x3BC, false }, { 0x1C5, 0x1C4, true }, { 0x1C5, 0x1C6, true },
    { 0x10D0, 0x1C90, true }, { 0x10400, 0x10428, true }, { 0x2160, 0x2170, true }, { 0xFF21, 0xFF41, true },
    { 0xDF, 0x1E9E, false }, { 0x1F88, 0x1F80, true }, { 0xD7, 0xF7, false },
};

TEST(characters_are_the_same_without_case_if_they_are_a_pair)
{
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        char label[32];
        (void)snprintf(label, sizeof label, "U+%04X U+%04X", pairs[i].a, pairs[i].b);
        test_label(label);
        EXPECT_EQ(pairs[i].same, fold_point(pairs[i].a) == fold_point(pairs[i].b));
    }
    test_label("folding twice is folding once");
    for (uint32_t point = 0; point < 0x110000; point++)
        if (fold_point(fold_point(point)) != fold_point(point))
            test_fail(__FILE__, __LINE__, "U+%04X", point);
}
