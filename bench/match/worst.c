#include "bench/match/worst.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench/match/rows.h"
#include "broker/core/event_state.h"
#include "broker/core/text_hash.h"
#include "schemas/codec/json.h"

enum { RUNS = 5, EVENT_BYTES = EVENT_BYTES_MAX - 256 };

/* ---- rules ---- */

struct build {
    struct rule_list list;
    size_t capacity;
};

static struct bytes *rule_begin(void)
{
    static struct bytes text;
    bytes_clear(&text);
    return &text;
}

static void rule_end(struct build *build, const struct bytes *text)
{
    if (build->list.count == build->capacity) {
        build->capacity = build->capacity == 0 ? 64 : build->capacity * 2;
        build->list.rules = realloc(build->list.rules, build->capacity * sizeof *build->list.rules);
    }
    char *copy = malloc(text->len);
    if (build->list.rules == NULL || copy == NULL)
        abort();
    memcpy(copy, text->data, text->len);
    build->list.rules[build->list.count] = (struct match_rule){ .pattern = { .data = copy, .len = text->len }, .id = (uint32_t)build->list.count };
    build->list.count++;
}

/* Rules {"a": [term]}; %u in the term is the number of the rule. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
static void rules_of_term(struct build *build, const char *term, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        struct bytes *text = rule_begin();
        bytes_put_text(text, "{\"a\":[");
        bytes_put_format(text, term, i, i);
        bytes_put_text(text, "]}");
        rule_end(build, text);
    }
}
#pragma GCC diagnostic pop

static void every_operator(struct build *build)
{
    static const char *const terms[] = {
        "\"x%u\"", "{\"equals-ignore-case\":\"y%u\"}", "{\"prefix\":\"p%u\"}", "{\"suffix\":\"%us\"}", "{\"prefix\":{\"equals-ignore-case\":\"P%u\"}}",
        "{\"suffix\":{\"equals-ignore-case\":\"%uS\"}}", "\"10.1.2.%u\"", "{\"wildcard\":\"w%u*z\"}", "{\"wildcard\":\"*q%u*r*\"}", "{\"numeric\":[\">\",1e%u]}", "%u.25",
        "{\"anything-but\":[\"x%u\"]}", "{\"anything-but\":{\"wildcard\":\"*k%u*\"}}", "{\"exists\":true}", "9007199254740%u93",
    };
    for (size_t i = 0; i < sizeof terms / sizeof terms[0]; i++)
        rules_of_term(build, terms[i], 200);
    for (unsigned bits = 1; bits <= 32; bits++) {
        struct bytes *text = rule_begin();
        bytes_put_format(text, "{\"a\":[{\"cidr\":\"10.1.2.3/%u\"},{\"cidr\":\"2001:db8::/%u\"}]}", bits, bits * 4);
        rule_end(build, text);
    }
}

static void numeric_bounds(struct build *build) { rules_of_term(build, "{\"numeric\":[\">\",1e-300,\"<\",%u.5e%u]}", 200); }
static void many_bounds(struct build *build)
{
    for (unsigned i = 0; i < 100000; i++) {
        struct bytes *text = rule_begin();
        bytes_put_format(text, "{\"a\":[{\"numeric\":[\">\",%u.25,\"<\",%u.5]}]}", i * 7919 % 100000, i * 7919 % 100000);
        rule_end(build, text);
    }
}
static void many_exact(struct build *build) { rules_of_term(build, "\"a%u\"", 1000000); }
static void many_decimals(struct build *build) { rules_of_term(build, "%u", 1000000); }
static void many_buts(struct build *build) { rules_of_term(build, "{\"anything-but\":[\"x\",\"y%u\"]}", 100000); }
static void wild_letters(struct build *build) { rules_of_term(build, "{\"wildcard\":\"*a*a*a*b%u*\"}", 1000); }
static void wild_ends(struct build *build) { rules_of_term(build, "{\"wildcard\":\"*a*%ub\"}", 10); rules_of_term(build, "{\"wildcard\":\"a*ab*aaaaaaaaaaaaaaaaab%u*a\"}", 1000); }

static void wild_needles(struct build *build) /* needles that the library's search is slow to find not to be there */
{
    for (unsigned i = 0; i < 200; i++) {
        struct bytes *text = rule_begin();
        bytes_put_text(text, "{\"a\":[{\"wildcard\":\"*");
        for (unsigned n = 0; n < 300 + i; n++)
            bytes_put_char(text, n == 150 ? 'b' : 'a');
        bytes_put_text(text, "*\"}]}");
        rule_end(build, text);
    }
}

static void long_affixes(struct build *build, const char *operator, bool fold, unsigned count)
{
    for (unsigned len = 1; len <= count; len++) {
        struct bytes *text = rule_begin();
        bytes_put_format(text, "{\"a\":[{\"%s\":%s\"", operator, fold ? "{\"equals-ignore-case\":" : "");
        for (unsigned n = 0; n < len; n++)
            bytes_put_char(text, 'x');
        bytes_put_format(text, "\"%s}]}", fold ? "}" : "");
        rule_end(build, text);
    }
}

static void affixes(struct build *build)
{
    long_affixes(build, "prefix", false, 4000);
    long_affixes(build, "suffix", false, 4000);
    long_affixes(build, "prefix", true, 4000);
    long_affixes(build, "suffix", true, 4000);
}

/* Names that all begin looking in the same place of a table of so many: name number `index` of these, of eight bytes. */
enum { CROWD = 200, CROWD_SLOTS = 512 };
static void crowd_name(unsigned index, char ret_name[9])
{
    static unsigned next, count;
    static char known[CROWD + 100][9];

    for (; count <= index; next++) {
        (void)snprintf(known[count], sizeof known[count], "n%07u", next);
        uint64_t word = text_load8(known[count]);
        count += image_child_of(word, word, sizeof word, CROWD_SLOTS) == 7;
    }
    memcpy(ret_name, known[index], 9);
}

static void crowd(struct build *build)
{
    char name[9];
    struct bytes *text = rule_begin();
    for (unsigned i = 0; i < CROWD; i++) {
        crowd_name(i, name);
        bytes_put_format(text, "%s\"%s\":[1]", i == 0 ? "{" : ",", name);
    }
    bytes_put_char(text, '}');
    rule_end(build, text);
}

static void names(struct build *build)
{
    for (unsigned i = 0; i < 200; i++) {
        struct bytes *text = rule_begin();
        bytes_put_text(text, "{");
        for (unsigned f = 0; f < 200; f++)
            bytes_put_format(text, "%s\"n%u-%u\":[1]", f == 0 ? "" : ",", i, f);
        bytes_put_text(text, "}");
        rule_end(build, text);
    }
}

static void one_deep(struct build *build)
{
    struct bytes *text = rule_begin();
    for (unsigned i = 0; i < 120; i++)
        bytes_put_text(text, "{\"a\":");
    bytes_put_text(text, "[1]");
    for (unsigned i = 0; i < 120; i++)
        bytes_put_char(text, '}');
    rule_end(build, text);
}

static void joined(struct build *build, unsigned count, unsigned fields)
{
    for (unsigned i = 0; i < count; i++) {
        struct bytes *text = rule_begin();
        bytes_put_text(text, "{\"a\":{");
        for (unsigned f = 0; f < fields; f++)
            bytes_put_format(text, "%s\"f%u\":[%u]", f == 0 ? "" : ",", f, f + 1 == fields ? 1000 + i : 1);
        bytes_put_text(text, "}}");
        rule_end(build, text);
    }
}
static void joins(struct build *build) { joined(build, 100, 3); }
static void wide_joins(struct build *build) { joined(build, 10, 250); }
static void many_joins(struct build *build)
{
    for (unsigned i = 0; i < 50000; i++) {
        struct bytes *text = rule_begin();
        bytes_put_format(text, "{\"a\":{\"f0\":[1],\"f1\":[{\"exists\":false},%u],\"f2\":[{\"anything-but\":[%u]}]}}", i, i);
        rule_end(build, text);
    }
}

static void deep_joins(struct build *build) /* fields far below what they might share */
{
    for (unsigned i = 0; i < 60; i++) {
        struct bytes *text = rule_begin();
        bytes_put_text(text, "{\"z\":[1],\"a\":");
        for (unsigned d = 0; d < 100; d++)
            bytes_put_text(text, "{\"d\":");
        bytes_put_char(text, '{');
        for (unsigned f = 0; f < 250; f++)
            bytes_put_format(text, "%s\"f%u\":[{\"exists\":false},%u]", f == 0 ? "" : ",", f, i);
        for (unsigned d = 0; d < 102; d++)
            bytes_put_char(text, '}');
        rule_end(build, text);
    }
}

/* As many branches as a rule may have, each of fields that hold up to the last. */
static void either(struct build *build)
{
    for (unsigned i = 0; i < 1000; i++) {
        struct bytes *text = rule_begin();
        bytes_put_text(text, "{\"a\":[{\"exists\":true}],\"$or\":[");
        for (unsigned b = 0; b < 900; b++)
            bytes_put_format(text, "%s{\"b\":[{\"anything-but\":[\"x%u\"]}],\"c\":[\"%u-%u\"]}", b == 0 ? "" : ",", b, i, b);
        bytes_put_text(text, "]}");
        rule_end(build, text);
    }
}

/* Many rules with no field that is rare. */
static void common(struct build *build)
{
    for (unsigned i = 0; i < 900000; i++) {
        struct bytes *text = rule_begin();
        bytes_put_format(text, "{\"a\":[\"x\"],\"b\":[\"y\",\"z%u\"],\"c\":[{\"anything-but\":[\"c%u\"]}]}", i, i % 1000);
        rule_end(build, text);
    }
}

/* ---- events ---- */

/* `begin`, then `unit` as often as there is room, then `end`; %u in the unit is its number. Without `begin` the unit is MessagePack, items
 * of an array at "a". */
struct text_of { const char *begin, *unit, *between, *end; };

static void packed_put(struct bytes *out, const char *unit, size_t unit_len)
{
    size_t count = EVENT_BYTES / unit_len;
    const unsigned char head[] = { 0x81, 0xA1, 'a', 0xDD, (unsigned char)(count >> 24), (unsigned char)(count >> 16),
                                   (unsigned char)(count >> 8), (unsigned char)count };

    bytes_put(out, head, sizeof head);
    for (size_t i = 0; i < count; i++)
        bytes_put(out, unit, unit_len);
}

/* Names that no rule has, but in the place where many are. */
static void crowded_put(struct bytes *out)
{
    char name[9];

    bytes_put_char(out, '{');
    for (unsigned i = 0; out->len < EVENT_BYTES - 16; i++) {
        crowd_name(CROWD + i % 100, name);
        bytes_put_format(out, "%s\"%s\":1", i == 0 ? "" : ",", name);
    }
    bytes_put_char(out, '}');
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
static void event_put(struct bytes *out, const struct text_of *event)
{
    bytes_put_text(out, event->begin);
    size_t before = out->len, end_len = strlen(event->end);
    for (unsigned i = 0; out->len + end_len < EVENT_BYTES; i++) {
        before = out->len;
        bytes_put_text(out, i == 0 ? "" : event->between);
        bytes_put_format(out, event->unit, i, i);
    }
    out->len = before;
    bytes_put_text(out, event->end);
}
#pragma GCC diagnostic pop

#define PACKED(unit) { NULL, unit, NULL, NULL }
#define CROWDED { NULL, NULL, NULL, NULL }
#define ARRAY(unit) { "{\"a\":[", unit, ",", "]}" }
#define REPEATED(unit) { "{", "\"a\":" unit, ",", "}" }
#define X16 "xxxxxxxxxxxxxxxx"
#define X256 X16 X16 X16 X16 X16 X16 X16 X16 X16 X16 X16 X16 X16 X16 X16 X16
#define X4096 X256 X256 X256 X256 X256 X256 X256 X256 X256 X256 X256 X256 X256 X256 X256 X256
#define FIELD9(n) "\"f" n "1\":1,\"f" n "2\":1,\"f" n "3\":1,\"f" n "4\":1,\"f" n "5\":1,\"f" n "6\":1,\"f" n "7\":1,\"f" n "8\":1,\"f" n "9\":1,\"f" n "0\":1,"
#define FIELD99(n) FIELD9(n "0") FIELD9(n "1") FIELD9(n "2") FIELD9(n "3") FIELD9(n "4") FIELD9(n "5") FIELD9(n "6") FIELD9(n "7") FIELD9(n "8") FIELD9(n "9")
#define FIELDS "{" FIELD9("") FIELD9("1") FIELD9("2") FIELD9("3") FIELD9("4") FIELD9("5") FIELD9("6") FIELD9("7") FIELD9("8") FIELD9("9") FIELD99("1") FIELD9("20") FIELD9("21") FIELD9("22") FIELD9("23") "\"f240\":1}"
#define NEST10(x) x x x x x x x x x x
#define NEST900(x) NEST10(NEST10(x)) NEST10(NEST10(x)) NEST10(NEST10(x)) NEST10(NEST10(x)) NEST10(NEST10(x)) NEST10(NEST10(x)) NEST10(NEST10(x)) NEST10(NEST10(x)) NEST10(NEST10(x))

static const struct shape {
    const char *name;
    void (*rules)(struct build *build);
    struct text_of event;
} shapes[] = {
    { "every operator: empty strings", every_operator, ARRAY("\"\"") },
    { "every operator: strings of a letter", every_operator, ARRAY("\"q\"") },
    { "every operator: strings of 8 bytes", every_operator, ARRAY("\"q%07u\"") },
    { "every operator: strings of 64 bytes", every_operator, ARRAY("\"q" X16 X16 X16 "%015u\"") },
    { "every operator: escapes", every_operator, ARRAY("\"\\u0071\"") },
    { "every operator: addresses", every_operator, ARRAY("\"10.1.2.3\"") },
    { "every operator: short addresses", every_operator, ARRAY("\"::\"") },
    { "every operator: digits", every_operator, ARRAY("1") },
    { "every operator: numbers", every_operator, ARRAY("%u") },
    { "every operator: a name repeated", every_operator, REPEATED("\"q\"") },
    { "every operator: a name with an escape", every_operator, { "{", "\"\\u0061\":\"q\"", ",", "}" } },
    { "every operator: MessagePack strings", every_operator, PACKED("\xA0") },
    { "every operator: MessagePack letters", every_operator, PACKED("\xA1q") },
    { "every operator: MessagePack digits", every_operator, PACKED("\x01") },
    { "every operator: MessagePack nulls", every_operator, PACKED("\xC0") },
    { "every operator: MessagePack bytes", every_operator, PACKED("\xC4\x01q") },
    { "many bounds, MessagePack", many_bounds, PACKED("\x05") },
    { "many bounds, MessagePack floats", many_bounds, PACKED("\xCB\x40\xC3\x88\x80\x00\x00\x00\x00") },
    { "MessagePack maps", one_deep, PACKED("\x80") },
    { "MessagePack arrays, joined", joins, PACKED("\x90") },
    { "names in one place", crowd, CROWDED },
    { "numbers of 17 digits, small", numeric_bounds, ARRAY("1234567890%07ue-310") },
    { "numbers of 17 digits, large", numeric_bounds, ARRAY("9234567890%07ue280") },
    { "numbers of 17 digits, no point", numeric_bounds, ARRAY("9234567890%07u") },
    { "numbers of 17 digits", numeric_bounds, ARRAY("92345678.90%07u") },
    { "numbers of three digits, large", numeric_bounds, ARRAY("1e305") },
    { "the smallest number", numeric_bounds, ARRAY("5e-324") },
    { "many bounds, digits", many_bounds, ARRAY("1") },
    { "many bounds, numbers", many_bounds, ARRAY("%u") },
    { "a million texts, found", many_exact, ARRAY("\"a%u\"") },
    { "a million numbers, found", many_decimals, ARRAY("%u") },
    { "anything-but, all fail", many_buts, ARRAY("\"x\"") },
    { "wildcards of letters", wild_letters, { "{\"a\":\"", "a%u", "", "\"}" } },
    { "wildcards, short texts", wild_letters, ARRAY("\"aaaab%u\"") },
    { "wildcards with ends", wild_ends, { "{\"a\":\"a", "aaaaaaaaab%u", "", "a\"}" } },
    { "wildcards of long parts", wild_needles, { "{\"a\":\"b", "aaaaaaaaaaaaaaaa", "", "ba\"}" } },
    { "beginnings and ends, 4 KiB", affixes, ARRAY("\"" X4096 "\"") },
    { "beginnings and ends, 256 bytes", affixes, ARRAY("\"" X256 "\"") },
    { "beginnings and ends, 16 bytes", affixes, ARRAY("\"" X16 "\"") },
    { "40,000 names, unknown ones", names, { "{", "\"n%u\":1", ",", "}" } },
    { "40,000 names, known ones", names, { "{", "\"n%u-7\":1", ",", "}" } },
    { "a name of many parts", one_deep, { "{\"a", ".a", "", "\":1}" } },
    { "names of two parts", one_deep, { "{", "\"a.a\":1", ",", "}" } },
    { "deep: objects", one_deep, { "{\"b\":[", "{\"a\":{\"a\":{\"a\":{\"a\":1}}}}", ",", "]}" } },
    { "deep: arrays", joins, { "{\"a\":[", NEST900("[") "{\"f0\":1,\"f1\":1,\"f2\":1}" NEST900("]"), ",", "]}" } },
    { "joins: empty items", joins, ARRAY("{}") },
    { "joins: all but one field", joins, ARRAY("{\"f0\":1,\"f1\":1}") },
    { "joins: fields in different items", joins, ARRAY("{\"f0\":1},{\"f1\":1},{\"f2\":1000}") },
    { "joins: inside out", joins, { "{\"a\":[", "[{\"f0\":1}],{\"f0\":1,\"f0\":[[{}]]}", ",", "]}" } },
    { "joins: names repeated", joins, { "{", "\"a\":[{\"f0\":1},{\"f1\":1}]", ",", "}" } },
    { "joins: 250 fields", wide_joins, ARRAY("{\"f0\":1,\"f1\":1,\"f2\":1,\"f3\":1,\"f4\":1,\"f5\":1}") },
    { "joins: many rules, two items", many_joins, { "{\"a\":[{\"f0\":1},{\"f2\":0}],\"b\":\"", "x", "", "\"}" } },
    { "joins: deep fields", deep_joins, { "{\"z\":1,\"a\":[{}],\"b\":\"", "x", "", "\"}" } },
    { "joins: many rules, all but one field", many_joins, ARRAY("{\"f0\":1,\"f2\":-1}") },
    { "joins: many rules, nothing fits", many_joins, ARRAY("{\"f0\":1},{\"f1\":-1},{\"f2\":-1}") },
    { "joins: deep arrays", joins, { "{\"a\":", NEST900("[{\"f0\":1,\"f1\":1},") "{\"f2\":1}" NEST900("]"), ",\"a\":", "}" } },
    { "joins: 250 fields in deep arrays", wide_joins, { "{\"a\":", NEST900("[{\"f0\":1,\"f1\":1,\"f2\":1},") "{\"f3\":1}" NEST900("]"), ",\"a\":", "}" } },
    { "joins: 250 fields, all there", wide_joins, { "{\"a\":[", FIELDS, ",", "]}" } },
    { "$or: all branches", either, { "{\"a\":1,\"b\":[\"q\"],\"c\":[", "\"%u-7\"", ",", "]}" } },
    { "900,000 rules, all looked at", common, { "{\"a\":\"x\",\"b\":\"y\",\"c\":[", "\"c%u\"", ",", "]}" } },
};

/* ---- measuring ---- */

static double cpu_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static double measure(const struct shape *shape, bool json)
{
    struct build build = { .capacity = 0 };
    struct match_scratch *scratch = match_scratch_new();
    struct match_set *set = NULL;
    struct bytes event = { 0 };
    struct sluice_error error = { .text = "" };
    const uint32_t *ids;
    size_t count = 0;
    double best = 1e9;
    enum sluice_err err = SLUICE_OK;

    shape->rules(&build);
    bool packed = shape->event.begin == NULL && shape->event.unit != NULL;
    if (packed)
        packed_put(&event, shape->event.unit, strlen(shape->event.unit) + (shape->event.unit[0] == '\xCB' ? 9 - strlen(shape->event.unit) : 0));
    else if (shape->event.unit == NULL)
        crowded_put(&event);
    else
        event_put(&event, &shape->event);
    struct source source = { .json = packed ? (struct view){ 0 } : bytes_view(&event), .mpack = bytes_view(&event) };
    if (scratch == NULL || (!packed && json_check(bytes_view(&event), JSON_OBJECT, EVENT_DEPTH_MAX, &error) != SLUICE_OK) ||
        match_set_new(build.list.rules, build.list.count, &set, NULL, &error) != SLUICE_OK) {
        fprintf(stderr, "match: %s: %s\n", shape->name, error.text);
        exit(2);
    }
    for (int r = 0; r < RUNS; r++) {
        double began = cpu_ms();
        err = match_source(set, scratch, &source, &ids, &count);
        double ms = cpu_ms() - began;
        best = ms < best ? ms : best;
    }
    if (json)
        printf("{\"name\":\"worst: %s\",\"value\":%.3f,\"unit\":\"ms\",\"steps\":%llu,\"refused\":%s}\n", shape->name, best,
               (unsigned long long)scratch->steps, err == SLUICE_ELIMIT ? "true" : "false");
    else
        printf("%-40s %8.1f ms  %5.1f M steps  %5.1f ns a step  %s\n", shape->name, best, (double)scratch->steps / 1e6,
               scratch->steps > 0 ? best * 1e6 / (double)scratch->steps : 0, err == SLUICE_ELIMIT ? "refused" : "");
    (void)fflush(stdout);
    match_set_free(set);
    match_scratch_free(scratch);
    rule_list_done(&build.list);
    bytes_done(&event);
    return best;
}

void worst_measure(const char *name, bool json)
{
    const struct shape *slowest = NULL;
    double slowest_ms = 0;

    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
        if (name != NULL && strncmp(shapes[s].name, name, strlen(name)) != 0)
            continue;
        double ms = measure(&shapes[s], json);
        if (slowest == NULL || ms > slowest_ms) {
            slowest = &shapes[s];
            slowest_ms = ms;
        }
    }
    if (slowest != NULL && !json)
        printf("the slowest: %s, %.1f ms\n", slowest->name, slowest_ms);
}
