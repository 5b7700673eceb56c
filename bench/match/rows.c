#include "bench/match/rows.h"

#include <stdio.h>
#include <stdlib.h>

/* The classes over the city lots are the rule sets that event-ruler's own benchmark runs. */
#define STREET(term) "{\"properties\":{\"STREET\":[" term "]}}"
#define KIND(term) "{\"properties\":{\"ST_TYPE\":[" term "]}}"
#define LOT(term) "{\"properties\":{\"MAPBLKLOT\":[" term "]}}"
#define FROM(term) "{\"properties\":{\"FROM_ST\":[" term "]}}"
#define SHAPE(term) "{\"geometry\":{\"type\":[" term "]}}"
#define FIRST(type, axis, numeric) "{\"geometry\":{" type "\"firstCoordinates\":{\"" axis "\":[{\"numeric\":[" numeric "]}]}}}"
#define ALL(type, axis, numeric) "{\"geometry\":{" type "\"coordinates\":{\"" axis "\":[{\"numeric\":[" numeric "]}]}}}"
#define POLYGON "\"type\":[\"Polygon\"],"
#define MULTI "\"type\":[\"MultiPolygon\"],"

enum { CLASS_RULES = 5 };
static const struct { const char *name; const char *rules[CLASS_RULES]; } classes[] = {
    { "EXACT", { LOT("\"1430022\""), LOT("\"2607117\""), LOT("\"2607218\""), LOT("\"3745012\""), LOT("\"VACSTWIL\"") } },
    { "WILDCARD", { LOT("{\"wildcard\":\"143*\"}"), LOT("{\"wildcard\":\"2*0*1*7\"}"), LOT("{\"wildcard\":\"*218\"}"),
                    LOT("{\"wildcard\":\"3*5*2\"}"), LOT("{\"wildcard\":\"VA*IL\"}") } },
    { "PREFIX", { STREET("{\"prefix\":\"AC\"}"), STREET("{\"prefix\":\"BL\"}"), STREET("{\"prefix\":\"DR\"}"),
                  STREET("{\"prefix\":\"FU\"}"), STREET("{\"prefix\":\"RH\"}") } },
    { "PREFIX_IGNORE_CASE",
      { STREET("{\"prefix\":{\"equals-ignore-case\":\"Ac\"}}"), STREET("{\"prefix\":{\"equals-ignore-case\":\"bL\"}}"),
        STREET("{\"prefix\":{\"equals-ignore-case\":\"dR\"}}"), STREET("{\"prefix\":{\"equals-ignore-case\":\"Fu\"}}"),
        STREET("{\"prefix\":{\"equals-ignore-case\":\"rH\"}}") } },
    { "SUFFIX", { STREET("{\"suffix\":\"ON\"}"), STREET("{\"suffix\":\"KE\"}"), STREET("{\"suffix\":\"MM\"}"),
                  STREET("{\"suffix\":\"ING\"}"), STREET("{\"suffix\":\"GO\"}") } },
    { "SUFFIX_IGNORE_CASE",
      { STREET("{\"suffix\":{\"equals-ignore-case\":\"oN\"}}"), STREET("{\"suffix\":{\"equals-ignore-case\":\"ke\"}}"),
        STREET("{\"suffix\":{\"equals-ignore-case\":\"mM\"}}"), STREET("{\"suffix\":{\"equals-ignore-case\":\"InG\"}}"),
        STREET("{\"suffix\":{\"equals-ignore-case\":\"gO\"}}") } },
    { "EQUALS_IGNORE_CASE",
      { STREET("{\"equals-ignore-case\":\"jefferson\"}"), STREET("{\"equals-ignore-case\":\"bEaCh\"}"),
        STREET("{\"equals-ignore-case\":\"HyDe\"}"), STREET("{\"equals-ignore-case\":\"CHESTNUT\"}"),
        KIND("{\"equals-ignore-case\":\"st\"}") } },
    { "NUMERIC", { FIRST(POLYGON, "x", "\"=\",-122.42916360922355"), FIRST(MULTI, "z", "\"=\",0"),
                   FIRST("", "x", "\"<\",-122.41600944012424"), FIRST("", "x", "\">\",-122.41600944012424"),
                   FIRST("", "x", "\">\",-122.46471267081272,\"<\",-122.4063085128395") } },
    { "ANYTHING_BUT", { STREET("{\"anything-but\":[\"FULTON\"]}"), STREET("{\"anything-but\":[\"MASON\"]}"),
                        KIND("{\"anything-but\":[\"ST\"]}"), SHAPE("{\"anything-but\":[\"Polygon\"]}"),
                        FROM("{\"anything-but\":[\"441\"]}") } },
    { "ANYTHING_BUT_IGNORE_CASE",
      { STREET("{\"anything-but\":{\"equals-ignore-case\":[\"Fulton\"]}}"), STREET("{\"anything-but\":{\"equals-ignore-case\":[\"Mason\"]}}"),
        KIND("{\"anything-but\":{\"equals-ignore-case\":[\"st\"]}}"), SHAPE("{\"anything-but\":{\"equals-ignore-case\":[\"polygon\"]}}"),
        FROM("{\"anything-but\":{\"equals-ignore-case\":[\"441\"]}}") } },
    { "ANYTHING_BUT_PREFIX",
      { STREET("{\"anything-but\":{\"prefix\":\"FULTO\"}}"), STREET("{\"anything-but\":{\"prefix\":\"MASO\"}}"),
        KIND("{\"anything-but\":{\"prefix\":\"S\"}}"), SHAPE("{\"anything-but\":{\"prefix\":\"Poly\"}}"),
        FROM("{\"anything-but\":{\"prefix\":\"44\"}}") } },
    { "ANYTHING_BUT_SUFFIX",
      { STREET("{\"anything-but\":{\"suffix\":\"ULTON\"}}"), STREET("{\"anything-but\":{\"suffix\":\"ASON\"}}"),
        KIND("{\"anything-but\":{\"suffix\":\"ST\"}}"), SHAPE("{\"anything-but\":{\"suffix\":\"olygon\"}}"),
        FROM("{\"anything-but\":{\"suffix\":\"41\"}}") } },
    { "ANYTHING_BUT_WILDCARD",
      { STREET("{\"anything-but\":{\"wildcard\":\"F*LT*N\"}}"), STREET("{\"anything-but\":{\"wildcard\":\"*ASO*\"}}"),
        KIND("{\"anything-but\":{\"wildcard\":\"*Z*T\"}}"), SHAPE("{\"anything-but\":{\"wildcard\":\"M*Poly*n\"}}"),
        FROM("{\"anything-but\":{\"wildcard\":\"4*41\"}}") } },
    { "COMPLEX_ARRAYS", { ALL(POLYGON, "x", "\"=\",-122.42916360922355"), ALL(MULTI, "y", "\"=\",37.729900216217324"),
                          ALL("", "x", "\"<\",-122.41600944012424"), ALL("", "x", "\">\",-122.41600944012424"),
                          ALL("", "x", "\">\",-122.46471267081272,\"<\",-122.4063085128395") } },
};
enum { CLASSES = sizeof classes / sizeof classes[0] };

/* Sets of classes. */
static const struct { const char *name; const char *classes[10]; } combinations[] = {
    { "PARTIAL_COMBO", { "NUMERIC", "EXACT", "PREFIX", "ANYTHING_BUT", "ANYTHING_BUT_IGNORE_CASE", "ANYTHING_BUT_PREFIX",
                         "ANYTHING_BUT_SUFFIX", "ANYTHING_BUT_WILDCARD" } },
    { "COMBO", { "NUMERIC", "EXACT", "PREFIX", "ANYTHING_BUT", "ANYTHING_BUT_IGNORE_CASE", "ANYTHING_BUT_PREFIX",
                 "ANYTHING_BUT_SUFFIX", "ANYTHING_BUT_WILDCARD", "COMPLEX_ARRAYS" } },
};

#define K 1000.0
#define LOTS(name_, target_, ruler_, quamina_)                                                                          \
    { .section = "1a", .name = name_, .events = EVENTS_LOTS, .generator = name_, .target = (target_) * K,               \
      .ruler = (ruler_) * K, .quamina = (quamina_) * K, .floor = ((quamina_) * 3 > (ruler_) * 10 ? (quamina_) * 3 : (ruler_) * 10) * K, \
      .brief = true }
#define MANY(name_, generator_, count_, target_, bytes_, ruler_, quamina_)                                              \
    { .section = "1c", .name = name_, .events = EVENTS_ORDERS, .generator = generator_, .count = count_,                \
      .target = (target_) * K, .bytes_target = bytes_, .ruler = (ruler_) * K, .quamina = (quamina_) * K,                \
      .floor = (count_) >= 100000 ? ((quamina_) > (ruler_) ? (quamina_) : (ruler_)) * 10 * K : 0, .brief = (count_) <= 10000 }
#define HOSTILE(name_, events_, generator_, count_, target_, ruler_, quamina_)                                          \
    { .section = "1d", .name = name_, .events = events_, .generator = generator_, .count = count_, .target = target_,   \
      .ruler = ruler_, .quamina = quamina_, .floor = (target_) / 2, .brief = true }

const struct row rows[] = {
    LOTS("EXACT", 4000, 347, 1793),
    LOTS("WILDCARD", 3500, 276, 1538),
    LOTS("PREFIX", 4000, 378, 1590),
    LOTS("PREFIX_IGNORE_CASE", 3500, 408, 0),
    LOTS("SUFFIX", 3500, 374, 0),
    LOTS("SUFFIX_IGNORE_CASE", 3500, 342, 0),
    LOTS("EQUALS_IGNORE_CASE", 3500, 303, 1191),
    LOTS("NUMERIC", 2500, 171, 0),
    LOTS("ANYTHING_BUT", 2500, 180, 521),
    LOTS("ANYTHING_BUT_IGNORE_CASE", 2000, 154, 0),
    LOTS("ANYTHING_BUT_PREFIX", 2000, 189, 0),
    LOTS("ANYTHING_BUT_SUFFIX", 2000, 201, 0),
    LOTS("ANYTHING_BUT_WILDCARD", 2000, 174, 0),
    LOTS("COMPLEX_ARRAYS", 500, 36, 0),
    LOTS("PARTIAL_COMBO", 600, 51, 0),
    LOTS("COMBO", 300, 22, 0),
    MANY("exact 1", "exact", 1, 4000, 0, 341, 989),
    MANY("exact 100", "exact", 100, 4000, 0, 325, 1004),
    MANY("exact 10k", "exact", 10000, 3500, 64, 182, 463),
    MANY("exact 100k", "exact", 100000, 2500, 64, 152, 371),
    MANY("exact 1M", "exact", 1000000, 1500, 64, 87, 162),
    MANY("multi-field 1k", "multi", 1000, 2500, 120, 101, 660),
    MANY("multi-field 10k", "multi", 10000, 2500, 120, 4.4, 486),
    MANY("multi-field 100k", "multi", 100000, 2000, 120, 0.197, 241),
    MANY("prefix 10k", "prefix", 10000, 2500, 0, 158, 684),
    MANY("suffix 10k", "suffix", 10000, 2500, 0, 233, 0),
    MANY("equals-ignore-case 10k", "eic", 10000, 2500, 0, 216, 347),
    MANY("wildcard 100", "wildcard", 100, 2500, 0, 190, 534),
    MANY("wildcard 1k", "wildcard", 1000, 1500, 0, 175, 112),
    MANY("numeric ranges 1k", "numeric", 1000, 2500, 0, 179, 0),
    MANY("numeric ranges 10k", "numeric", 10000, 1500, 0, 95, 0),
    MANY("cidr /24 10k", "cidr", 10000, 2500, 0, 213, 0),
    MANY("anything-but 1k", "anybut", 1000, 300, 0, 1.05, 11.2),
    HOSTILE("wildcards x 4", EVENTS_LETTERS, "hostile", 4, 3e6, 31127, 233582),
    HOSTILE("wildcards x 16", EVENTS_LETTERS, "hostile", 16, 2e6, 13355, 52671),
    HOSTILE("wildcards x 64", EVENTS_LETTERS, "hostile", 64, 1e6, 3362, 10251),
    HOSTILE("wildcards x 256", EVENTS_LETTERS, "hostile", 256, 3e5, 650, 2152),
    HOSTILE("array of 100 objects", EVENTS_ITEMS_100, "item", 1, 2e5, 6495, 7726),
    HOSTILE("array of 1,000 objects", EVENTS_ITEMS_1000, "item", 1, 2e4, 844, 115),
    HOSTILE("array of 5,000 objects", EVENTS_ITEMS_5000, "item", 1, 4e3, 162, 6),
};
const size_t rows_count = sizeof rows / sizeof rows[0];

/* ---- rules ---- */

static uint64_t random_next(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return *state >> 33;
}

static void put_rule(struct rule_list *list, const struct bytes *text)
{
    char *copy = malloc(text->len + 1);

    if (copy == NULL)
        abort();
    memcpy(copy, text->data, text->len);
    copy[text->len] = '\0';
    list->rules[list->count] = (struct match_rule){ .pattern = { .data = copy, .len = text->len }, .id = (uint32_t)list->count };
    list->count++;
}

static void put_class(struct rule_list *list, const char *name)
{
    struct bytes text = { 0 };

    for (size_t c = 0; c < CLASSES; c++)
        for (size_t r = 0; strcmp(classes[c].name, name) == 0 && r < CLASS_RULES; r++) {
            bytes_clear(&text);
            bytes_put_text(&text, classes[c].rules[r]);
            put_rule(list, &text);
        }
    bytes_done(&text);
}

/* Rule number i of `count` over the orders; the same texts as the peers are given. */
static void put_generated(struct bytes *text, const char *generator, unsigned i, unsigned count, uint64_t *random)
{
    char letter = (char)('a' + i % 16);

    if (strcmp(generator, "exact") == 0)
        bytes_put_format(text, "{\"detail\":{\"userId\":[\"u-%07u\"]}}", i * (1000000 / count));
    else if (strcmp(generator, "multi") == 0)
        bytes_put_format(text, "{\"source\":[\"com.example.orders\"],\"detail-type\":[\"Order Paid\",\"Order Shipped\"],"
                         "\"detail\":{\"userId\":[\"u-%07u\"],\"currency\":[\"EUR\"]}}", i * (1000000 / count));
    else if (strcmp(generator, "prefix") == 0)
        bytes_put_format(text, "{\"detail\":{\"path\":[{\"prefix\":\"/%c/%04u\"}]}}", letter, i % 10000);
    else if (strcmp(generator, "suffix") == 0)
        bytes_put_format(text, "{\"detail\":{\"path\":[{\"suffix\":\"%04x.json\"}]}}", i * 6);
    else if (strcmp(generator, "wildcard") == 0)
        bytes_put_format(text, "{\"detail\":{\"path\":[{\"wildcard\":\"/%c/*%02u/*%x.json\"}]}}", letter, i % 100, i / 100 % 16);
    else if (strcmp(generator, "eic") == 0)
        bytes_put_format(text, "{\"detail\":{\"userId\":[{\"equals-ignore-case\":\"U-%07u\"}]}}", i * (1000000 / count));
    else if (strcmp(generator, "numeric") == 0)
        bytes_put_format(text, "{\"detail\":{\"amount\":[{\"numeric\":[\">=\",%u,\"<\",%u.5]}]}}", i * 5000 / count, i * 5000 / count + 5);
    else if (strcmp(generator, "cidr") == 0)
        bytes_put_format(text, "{\"detail\":{\"ip\":[{\"cidr\":\"10.%u.%u.0/24\"}]}}", i / 256 % 256, i % 256);
    else if (strcmp(generator, "anybut") == 0)
        bytes_put_format(text, "{\"detail\":{\"userId\":[{\"anything-but\":\"u-%07u\"}]}}", i);
    else if (strcmp(generator, "item") == 0)
        bytes_put_text(text, "{\"items\":{\"a\":[\"x3\"],\"b\":[\"y5\"],\"c\":[\"z7\"]}}");
    else {
        char letters[6];
        for (size_t l = 0; l < sizeof letters; l++)
            letters[l] = (char)('a' + random_next(random) % 26);
        bytes_put_format(text, "{\"s\":[{\"wildcard\":\"*%c%c*%c%c*%c%c*\"}]}", letters[0], letters[1], letters[2], letters[3],
                         letters[4], letters[5]);
    }
}

void row_rules(const struct row *row, size_t most, struct rule_list *ret_list)
{
    size_t count = row->count < most ? row->count : most;
    struct rule_list list = { .rules = calloc(count + CLASS_RULES * CLASSES, sizeof *list.rules) };
    struct bytes text = { 0 };
    uint64_t random = 20261121;

    if (list.rules == NULL)
        abort();
    if (row->count == 0) {
        put_class(&list, row->generator);
        for (size_t c = 0; c < sizeof combinations / sizeof combinations[0]; c++)
            for (size_t i = 0; strcmp(combinations[c].name, row->generator) == 0 && combinations[c].classes[i] != NULL; i++)
                put_class(&list, combinations[c].classes[i]);
    }
    for (unsigned i = 0; i < count; i++) {
        bytes_clear(&text);
        put_generated(&text, row->generator, i, (unsigned)row->count, &random);
        put_rule(&list, &text);
    }
    bytes_done(&text);
    *ret_list = list;
}

void rule_list_done(struct rule_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free((char *)(uintptr_t)list->rules[i].pattern.data);
    free(list->rules);
    *list = (struct rule_list){ 0 };
}

/* ---- events ---- */

enum { LETTERS_EVENTS = 10000, LETTERS = 100 };

static void put_letters(struct bytes *out)
{
    uint64_t random = 7;

    for (int e = 0; e < LETTERS_EVENTS; e++) {
        bytes_put_text(out, "{\"s\":\"");
        for (int l = 0; l < LETTERS; l++)
            bytes_put_char(out, (char)('a' + random_next(&random) % 26));
        bytes_put_text(out, "\"}\n");
    }
}

/* Each value of a, b and c is in many items, the three of the rule together in one of a thousand. */
static void put_items(struct bytes *out, unsigned items, unsigned events)
{
    for (unsigned e = 0; e < events; e++) {
        bytes_put_format(out, "{\"id\":%u,\"items\":[", e);
        for (unsigned i = 0; i < items; i++)
            bytes_put_format(out, "%s{\"a\":\"x%u\",\"b\":\"y%u\",\"c\":\"z%u\",\"n\":1}", i == 0 ? "" : ",", (i + e) % 10, (i + e) / 10 % 10,
                             (i + e) / 100 % 10);
        bytes_put_text(out, "]}\n");
    }
}

void row_events_write(enum row_events events, struct bytes *out)
{
    switch (events) {
    case EVENTS_LETTERS: put_letters(out); break;
    case EVENTS_ITEMS_100: put_items(out, 100, 1000); break;
    case EVENTS_ITEMS_1000: put_items(out, 1000, 100); break;
    case EVENTS_ITEMS_5000: put_items(out, 5000, 20); break;
    case EVENTS_LOTS:
    case EVENTS_ORDERS:
    case EVENTS_KINDS: break;
    }
}
