/* The check 64 bytes at a time against the one token by token: they must agree on every text, wherever in a block something stands. */
#include "schemas/codec/json.h"
#include "schemas/codec/json_blocks.h"
#include "tests/test.h"

#include <stdlib.h>

static uint64_t random_state = 88172645463325252u;

static unsigned below(unsigned limit)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (unsigned)(random_state >> 33) % limit;
}

static bool is_container(struct view text)
{
    size_t at = 0;

    while (at < text.len && strchr(" \t\r\n", text.data[at]) != NULL)
        at++;
    return at < text.len && (text.data[at] == '{' || text.data[at] == '[');
}

/* In memory of exactly its size, where the sanitizer sees the first byte read beyond it. */
static void agree(struct view text, unsigned depth_max)
{
    char *copy = malloc(text.len + 1);
    struct view exact = { .data = copy + 1, .len = text.len };

    memcpy(copy + 1, text.data, text.len);
    bool valid = json_check_tokens(exact, JSON_ANY, depth_max < JSON_BLOCKS_DEPTH_MAX ? depth_max : JSON_BLOCKS_DEPTH_MAX, NULL) == SLUICE_OK &&
                 is_container(exact);
    for (enum json_blocks_level level = JSON_BLOCKS_AVX2; level <= json_blocks_level_max(); level++)
        if (json_blocks_valid(level, exact, depth_max) != valid)
            test_fail(__FILE__, __LINE__, "level %d, %s: %.*s", (int)level, valid ? "valid, but refused" : "not valid, but taken", (int)text.len, text.data);
    free(copy);
}

/* What a value may be, and what it may not, by itself. */
static const char *const values[] = {
    "0", "-0", "10", "1.5", "-1.5e+10", "1E5", "1e-5", "0.0", "123456789012345678901234567890.5", "true", "false", "null", "\"\"", "\"a\"",
    "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\"", "\"\\\\\"", "\"caf\xc3\xa9 \xf0\x9f\x98\x80\"", "{}", "[]", "{\"a\":1}", "[1,2]", "{ \"a\" : [ ] }", "\"{[,:]}\"",
    "01", "-", "+1", "1.", ".5", "1e", "1e+", "1e+-5", "--1", "-+1", "1.2.3", "1e5.2", "1e5e2", "1e+5e2", "1e+5.2", "1ee5", "1.e5", "-e5", ".", ".e1", "-.5", "1..5", "1-", "1.5e3.2", "00", "-00", "-01.5", "0x1", "1-2", "1+2", "e5",
    "tru", "truee", "true1", "1true", "truefalse", "nul", "NaN", "True", "\"a", "\"a\"b", "\"a\"\"b\"", "\"\\x\"", "\"\\u12g4\"", "\"\\\"", "\"a\tb\"", "\"\x01\"",
    "\"\xff\"", "\"\xed\xa0\x80\"", "\xc3\xa9", "\x7f", "\x01", "\f", "'a'", "{a:1}", "{\"a\"}", "{\"a\",\"b\":1}", "{\"a\":}", "{:1}", "{\"a\":1,}", "{\"a\":1 \"b\":2}", "{,}", "{1:2}", "{\"a\":\"b\":1}",
    "{\"a\":1:2}", "{[]:1}", "{\"a\" \"b\"}", "[1,]", "[,1]", "[1 2]", "[\"a\":1]", "[\"a\",\"b\":1]", "[1}", "{\"a\":1]", "[", "]", "{", "}", "[[]", "[]]", ",", ":", "1,2", "1 2", "", " ",
};

TEST(values_are_judged_alike_wherever_in_a_block_they_stand)
{
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        for (unsigned before = 0; before < 130; before++) {
            for (unsigned behind = 0; behind < 3; behind++) {
                static const char *const ends[] = { "", " ", "\n, 7 ,\"x\"" };
                struct bytes array = { 0 }, object = { 0 }, spaced = { 0 };
                bytes_put_format(&array, "[\"%0*d\",%s%s]", (int)before, 0, values[i], ends[behind]);
                bytes_put_format(&object, "{\"%0*d\":%s%s}", (int)before, 0, values[i], behind < 2 ? ends[behind] : ", \"k\" : 1");
                bytes_put_format(&spaced, "%*s%s%s", (int)before, "", values[i], ends[behind]);
                agree(bytes_view(&array), JSON_DEPTH_MAX);
                agree(bytes_view(&object), JSON_DEPTH_MAX);
                agree(bytes_view(&spaced), JSON_DEPTH_MAX);
                bytes_done(&array);
                bytes_done(&object);
                bytes_done(&spaced);
            }
        }
    }
}

/* Blocks with nothing but a string's inside are passed over; one that holds any of these is not. */
TEST(long_strings_are_judged_alike_whatever_they_hold_wherever)
{
    static const char *const held[] = { "", "\\n", "\\x", "\\\"", "\\\\", "\\u00e9", "\\u00", "\x01", "\n", "\xc3\xa9", "\xff", "\"" };

    for (size_t i = 0; i < sizeof held / sizeof held[0]; i++) {
        for (unsigned before = 1; before < 200; before++) {
            for (unsigned behind = 1; behind < 200; behind += 66) {
                struct bytes value = { 0 }, key = { 0 };
                bytes_put_format(&value, "{\"k\":\"%0*d%s%0*d\"}", (int)before, 0, held[i], (int)behind, 0);
                bytes_put_format(&key, "{\"%0*d%s%0*d\":[]}", (int)before, 0, held[i], (int)behind, 0);
                agree(bytes_view(&value), JSON_DEPTH_MAX);
                agree(bytes_view(&key), JSON_DEPTH_MAX);
                bytes_done(&value);
                bytes_done(&key);
            }
        }
    }
}

static void put_space(struct bytes *out, unsigned spaced)
{
    while (below(100) < spaced)
        bytes_put_char(out, " \n\t\r"[below(8) < 5 ? 0 : below(4)]);
}

/* Valid but for what `values` has that is not. */
static void put_random(struct bytes *out, unsigned depth, unsigned spaced, unsigned good)
{
    unsigned kind = depth == 0 ? 2 : below(depth > 3 ? 3 : 5);

    put_space(out, spaced);
    if (kind >= 3 || depth > 6) {
        bytes_put_text(out, values[below(100) < good ? below(23) : below(sizeof values / sizeof values[0])]);
    } else {
        bool object = below(2) == 0;
        bytes_put_char(out, object ? '{' : '[');
        for (unsigned i = 0, count = below(5); i < count; i++) {
            if (i > 0)
                bytes_put_char(out, ',');
            put_space(out, spaced);
            if (object)
                bytes_put_format(out, "\"%.*s\"", (int)below(12), "key \\\\ \\n name");
            put_space(out, spaced);
            if (object)
                bytes_put_char(out, ':');
            put_random(out, depth + 1, spaced, good);
        }
        put_space(out, spaced);
        bytes_put_char(out, object ? '}' : ']');
    }
    put_space(out, spaced);
}

TEST(random_texts_and_their_damages_are_judged_alike)
{
    static const char damage[] = "{}[],:\"\\ \n0123-+.eEtfnu\x01\x80\xc3/";

    for (unsigned round = 0; round < 20000; round++) {
        struct bytes text = { 0 };
        put_random(&text, 0, round % 3 == 0 ? 0 : 30, round % 2 == 0 ? 100 : 97);
        agree(bytes_view(&text), JSON_DEPTH_MAX);
        for (unsigned i = 0; i < 4 && text.len > 0; i++) {
            unsigned at = below((unsigned)text.len);
            text.data[at] = damage[below(sizeof damage - 1)];
            agree(bytes_view(&text), JSON_DEPTH_MAX);
        }
        agree((struct view){ .data = text.data, .len = below((unsigned)text.len + 1) }, JSON_DEPTH_MAX);
        bytes_done(&text);
    }
}

TEST(depth_is_bounded_and_beyond_a_limit_left_to_the_tokens)
{
    for (unsigned depth = 1; depth <= JSON_BLOCKS_DEPTH_MAX + 2; depth++) {
        struct bytes text = { 0 };
        for (unsigned i = 0; i < depth; i++)
            bytes_put_text(&text, i % 3 == 2 ? "[" : "{\"a\":");
        bytes_put_text(&text, "1");
        for (unsigned i = depth; i > 0; i--)
            bytes_put_text(&text, i % 3 == 0 ? "]" : "}");
        for (unsigned limit = depth - 1; limit <= depth + 1; limit++) {
            agree(bytes_view(&text), limit);
            EXPECT_EQ(depth <= limit, json_check(bytes_view(&text), JSON_OBJECT, limit, NULL) == SLUICE_OK);
        }
        EXPECT_EQ(SLUICE_OK, json_check(bytes_view(&text), JSON_OBJECT, JSON_DEPTH_MAX, NULL));
        bytes_done(&text);
    }
}
