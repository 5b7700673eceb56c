#include "tests/conformance/generator.h"

enum { DEPTH_MAX = 4, CONSISTENCY_DEPTH_MAX = 7 };

/* Values as they stand in JSON: numbers in several spellings, addresses, case pairs, escapes. */
static const char *const strings[] = {
    "\"\"", "\"a\"", "\"A\"", "\"ab\"", "\"aB\"", "\"abc\"", "\"xyz\"", "\"xab\"", "\"a*b\"", "\"\\u0061b\"", "\"\xC3\xA9t\xC3\xA9\"",
    "\"\xC3\x89T\xC3\x89\"", "\"\xC3\x9F\"", "\"\xF0\x9F\x98\x80\"", "\"x\xF0\x9F\x98\x81\"", "\"10.1.2.3\"", "\"10.01.2.3\"", "\"0a01::5\"",
    "\"2001:db8::1\"", "\"5\"", "\"true\"", "\"a\\\\b\"",
    "\"abcdefgh\"", "\"abcdefghijklmnop\"", "\"abcdefghijklmnopqrstuvwxyz\"", "\"ABCDEFGHIJKLMNOPQRSTUVWXYZ\"", "\"xyzabcdefghijklmnopqxyz\"",
};
static const char *const numbers[] = {
    "0", "-0", "1", "1.0", "5", "5e0", "-1", "0.1", "300", "3e2", "9007199254740993", "9007199254740992", "1e23", "0.30000000000000004", "-7.5",
};
static const char *const others[] = { "true", "false", "null" };
static const char *const names[] = { "a", "b", "c", "d", "l", "m" };
static const char *const numerics[] = {
    "[\"=\",5]", "[\">\",0]", "[\">=\",1]", "[\"<\",0.1]", "[\"<=\",300]", "[\">\",-1,\"<\",1]", "[\">=\",0,\"<=\",5]", "[\">\",9007199254740991]",
};
static const char *const wildcards[] = {
    "\"*\"", "\"a*\"", "\"*b\"", "\"*b*\"", "\"a*b\"", "\"\"", "\"a\\\\*b\"", "\"*x*\"", "\"x*b\"", "\"a*b*c\"", "\"\xC3\xA9*\"", "\"abcdefgh*mnop\"", "\"*cd*kl*yz\"",
    "\"abcdefghij*\"", "\"*qrstuvwxyz\"", "\"*c*d*e*\"", "\"abc*xyz\"", "\"*xyz*\"", "\"*fghijklmno*\"",
};
static const char *const affixes[] = { "\"a\"", "\"b\"", "\"x\"", "\"ab\"", "\"\xC3\xA9\"", "\"1\"", "\"\xF0\x9F\x98\x81\"", "\"abcdefgh\"", "\"abcdefghijk\"", "\"ABCDEFGHIJ\"", "\"xyz\"",
    "\"rstuvwxyz\"", "\"qrstuvwxyz\"",
};
static const char *const blocks[] = {
    "\"10.0.0.0/8\"", "\"10.1.2.3/32\"", "\"0.0.0.0/0\"", "\"::/0\"", "\"2001:db8::/32\"", "\"0a00::/8\"", "\"2001:db8::1/128\"",
};
/* A third of the names, so that the fields of a pattern often share an array. */
enum { NAMES = sizeof names / sizeof names[0], CONSISTENCY_NAMES = 2 };
#define PICK(generator, table) (table)[generator_next(generator, sizeof(table) / sizeof((table)[0]))]

uint64_t generator_next(struct generator *generator, uint64_t below)
{
    generator->state = generator->state * 6364136223846793005u + 1442695040888963407u;
    uint64_t mixed = generator->state ^ generator->state >> 33;
    return (mixed * 0xFF51AFD7ED558CCDu >> 16) % below;
}

static const char *scalar(struct generator *generator)
{
    switch (generator_next(generator, 5)) {
    case 0:
    case 1: return PICK(generator, strings);
    case 2:
    case 3: return PICK(generator, numbers);
    }
    return PICK(generator, others);
}

static void put_operator(struct generator *generator, struct bytes *out)
{
    switch (generator_next(generator, 21)) {
    case 0: bytes_put_format(out, "{\"prefix\":%s}", PICK(generator, affixes)); break;
    case 1: bytes_put_format(out, "{\"suffix\":%s}", PICK(generator, affixes)); break;
    case 2: bytes_put_format(out, "{\"equals-ignore-case\":%s}", PICK(generator, strings)); break;
    case 3: bytes_put_format(out, "{\"prefix\":{\"equals-ignore-case\":%s}}", PICK(generator, affixes)); break;
    case 4: bytes_put_format(out, "{\"suffix\":{\"equals-ignore-case\":%s}}", PICK(generator, affixes)); break;
    case 5: bytes_put_format(out, "{\"wildcard\":%s}", PICK(generator, wildcards)); break;
    case 6: bytes_put_format(out, "{\"numeric\":%s}", PICK(generator, numerics)); break;
    case 7: bytes_put_format(out, "{\"cidr\":%s}", PICK(generator, blocks)); break;
    case 8: bytes_put_text(out, "{\"exists\":true}"); break;
    case 9: bytes_put_text(out, "{\"exists\":false}"); break;
    case 10: bytes_put_format(out, "{\"anything-but\":%s}", PICK(generator, strings)); break;
    case 11: bytes_put_format(out, "{\"anything-but\":[%s,%s]}", PICK(generator, strings), PICK(generator, strings)); break;
    case 12: bytes_put_format(out, "{\"anything-but\":{\"prefix\":%s}}", PICK(generator, affixes)); break;
    case 13: bytes_put_format(out, "{\"anything-but\":{\"wildcard\":%s}}", PICK(generator, wildcards)); break;
    case 14: bytes_put_format(out, "{\"anything-but\":{\"suffix\":[%s,%s]}}", PICK(generator, affixes), PICK(generator, affixes)); break;
    case 15: bytes_put_format(out, "{\"anything-but\":{\"equals-ignore-case\":[%s,%s]}}", PICK(generator, strings), PICK(generator, strings)); break;
    case 16: bytes_put_format(out, "{\"anything-but\":[%u,%u]}", (unsigned)generator_next(generator, 6), 300); break;
    case 17: bytes_put_format(out, "{\"exactly\":%s}", PICK(generator, strings)); break;
    case 18: bytes_put_text(out, generator_next(generator, 2) == 0 ? "{\"prefix\":\"\"}" : "{\"suffix\":{\"equals-ignore-case\":\"\"}}"); break;
    case 19: bytes_put_format(out, "{\"numeric\":[\">=\",%d,\"<\",%d.5]}", (int)generator_next(generator, 20) - 10, (int)generator_next(generator, 20) + 10); break;
    case 20: bytes_put_format(out, "{\"wildcard\":%s}", PICK(generator, wildcards)); break;
    }
}

static void put_alternatives(struct generator *generator, struct bytes *out)
{
    uint64_t count = 1 + generator_next(generator, 3);

    for (uint64_t i = 0; i < count; i++) {
        bytes_put_char(out, i == 0 ? '[' : ',');
        if (generator_next(generator, 2) == 0)
            bytes_put_text(out, scalar(generator));
        else
            put_operator(generator, out);
    }
    bytes_put_char(out, ']');
}

/* Objects are written by recursion to a small fixed depth: this is no foreign input. */
static void put_pattern_object(struct generator *generator, struct bytes *out, int depth, bool consistency)
{
    uint64_t names_count = consistency ? CONSISTENCY_NAMES : NAMES;
    uint64_t count = 1 + generator_next(generator, consistency ? CONSISTENCY_NAMES : 3), first = generator_next(generator, names_count);

    bytes_put_char(out, '{');
    for (uint64_t i = 0; i < count; i++) {
        if (i > 0)
            bytes_put_char(out, ',');
        const char *name = names[(first + i) % names_count];
        uint64_t form = generator_next(generator, 8);
        if (depth < DEPTH_MAX && form == 0 && !consistency) {
            bytes_put_text(out, "\"$or\":[");
            put_pattern_object(generator, out, depth + 2, false);
            bytes_put_char(out, ',');
            put_pattern_object(generator, out, depth + 2, false);
            bytes_put_char(out, ']');
        } else if (form == 1 && !consistency) {
            bytes_put_format(out, "\"%s.%s\":", name, PICK(generator, names));
            put_alternatives(generator, out);
        } else if (depth < DEPTH_MAX && form < 5) {
            bytes_put_format(out, "\"%s\":", name);
            put_pattern_object(generator, out, depth + 1, consistency);
        } else if (consistency) {
            bytes_put_format(out, "\"%s\":", name);
            uint64_t wanted = generator_next(generator, 6);
            if (wanted == 5)
                bytes_put_text(out, "[{\"exists\":false}]");
            else
                bytes_put_format(out, "[%u]", (unsigned)wanted % 2);
        } else {
            bytes_put_format(out, "\"%s\":", name);
            put_alternatives(generator, out);
        }
    }
    bytes_put_char(out, '}');
}

static void put_event_object(struct generator *generator, struct bytes *out, int depth, bool consistency);

static void put_event_value(struct generator *generator, struct bytes *out, int depth, bool consistency)
{
    uint64_t form = depth < (consistency ? CONSISTENCY_DEPTH_MAX : DEPTH_MAX) ? generator_next(generator, 6) : 5;

    if (form < 2) {
        put_event_object(generator, out, depth + 1, consistency);
    } else if (form < 4) {
        uint64_t count = generator_next(generator, 4);
        bytes_put_char(out, '[');
        for (uint64_t i = 0; i < count; i++) {
            if (i > 0)
                bytes_put_char(out, ',');
            put_event_value(generator, out, depth + 1, consistency);
        }
        bytes_put_char(out, ']');
    } else if (consistency) {
        bytes_put_format(out, "%u", (unsigned)generator_next(generator, 2));
    } else {
        bytes_put_text(out, scalar(generator));
    }
}

static void put_event_object(struct generator *generator, struct bytes *out, int depth, bool consistency)
{
    uint64_t names_count = consistency ? CONSISTENCY_NAMES : NAMES;
    uint64_t count = consistency ? 1 + generator_next(generator, CONSISTENCY_NAMES) : generator_next(generator, 5) + (depth == 0);
    uint64_t first = generator_next(generator, names_count);

    bytes_put_char(out, '{');
    for (uint64_t i = 0; i < count; i++) {
        const char *name = names[(first + i) % names_count];
        if (i > 0)
            bytes_put_char(out, ',');
        if (!consistency && generator_next(generator, 8) == 0)
            bytes_put_format(out, "\"%s.%s\":", name, PICK(generator, names));
        else
            bytes_put_format(out, "\"%s\":", consistency ? name : generator_next(generator, 8) == 0 ? PICK(generator, names) : name);
        put_event_value(generator, out, depth + 1, consistency);
    }
    bytes_put_char(out, '}');
}

void generate_pattern(struct generator *generator, struct bytes *out)
{
    put_pattern_object(generator, out, 1, false);
}

void generate_event(struct generator *generator, struct bytes *out)
{
    put_event_object(generator, out, 0, false);
}

void generate_consistency_pattern(struct generator *generator, struct bytes *out)
{
    put_pattern_object(generator, out, 1, true);
}

void generate_consistency_event(struct generator *generator, struct bytes *out)
{
    put_event_object(generator, out, 0, true);
}
