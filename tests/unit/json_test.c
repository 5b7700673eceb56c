#include "schemas/codec/json.h"
#include "tests/test.h"

#include <stdlib.h>

TEST(json_check_takes_what_rfc_8259_allows)
{
    static const char *const texts[] = {
        "{}", "[]", " \t\r\n{ } \n", "null", "true", "false", "0", "-0", "10", "1.5", "-1.5e+10", "1E5", "1e-5", "0.0", "\"\"",
        "\"plain text that is longer than sixteen bytes\"", "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\"", "\"\\ud83d\\ude00\"",
        "\"\\ud800\"", "\"\\udc00x\"", "\"caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80\"", "\"\x7f\"",
        "[1,2,[3,[]],{\"a\":[{}]}]", "{\"a\":1,\"a\":2}", "{ \"a\" : { \"b\" : [ 1 , 2 ] } , \"c\" : null }", "[[[]],[]]",
        "[{\"a\":[]},[{}]]",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        test_label(texts[i]);
        struct sluice_error err = { 0 };
        EXPECT_EQ(SLUICE_OK, json_check(view_of(texts[i]), JSON_ANY, JSON_DEPTH_MAX, &err));
        EXPECT_TEXT("", err.text);
    }
}

#define T(literal) { .data = (literal), .len = sizeof(literal) - 1 }

TEST(json_check_refuses_with_line_column_and_reason)
{
    static const struct { struct view text; const char *reason; } cases[] = {
        { T(""), "JSON line 1, column 1: expected a value (the text ends here)" },
        { T("  "), "JSON line 1, column 3: expected a value (the text ends here)" },
        { T("{"), "JSON line 1, column 2: expected a key in quotes (the text ends here)" },
        { T("["), "JSON line 1, column 2: expected a value (the text ends here)" },
        { T("]"), "JSON line 1, column 1: not the start of a value" },
        { T("[1,]"), "JSON line 1, column 4: not the start of a value" },
        { T("[1 2]"), "JSON line 1, column 4: expected ',' or ']'" },
        { T("[1}"), "JSON line 1, column 3: expected ',' or ']'" },
        { T("{\"a\":1]"), "JSON line 1, column 7: expected ',' or '}'" },
        { T("[[1],{\"a\":[]}"), "JSON line 1, column 14: an array that does not end (the text ends here)" },
        { T("{\"a\":1,}"), "JSON line 1, column 8: expected a key in quotes" },
        { T("{a:1}"), "JSON line 1, column 2: expected a key in quotes" },
        { T("{\"a\" 1}"), "JSON line 1, column 6: expected ':' after a key" },
        { T("{\"a\":}"), "JSON line 1, column 6: not the start of a value" },
        { T("{\n  \"\xc3\xa9\": tru\n}"), "JSON line 2, column 8: not a value: only true, false and null are bare words" },
        { T("nul"), "JSON line 1, column 1: not a value: only true, false and null are bare words" },
        { T("NaN"), "JSON line 1, column 1: not the start of a value" },
        { T("01"), "JSON line 1, column 2: a number with a leading zero" },
        { T("-"), "JSON line 1, column 2: a number without digits (the text ends here)" },
        { T("+1"), "JSON line 1, column 1: not the start of a value" },
        { T("1."), "JSON line 1, column 3: a number without digits after its point (the text ends here)" },
        { T(".5"), "JSON line 1, column 1: not the start of a value" },
        { T("1e+"), "JSON line 1, column 4: a number without digits in its exponent (the text ends here)" },
        { T("1 1"), "JSON line 1, column 3: something after the value" },
        { T("{} x"), "JSON line 1, column 4: something after the value" },
        { T("\"abc"), "JSON line 1, column 5: a string that does not end (the text ends here)" },
        { T("\"abc\\"), "JSON line 1, column 6: a string that does not end (the text ends here)" },
        { T("\"abc\\\""), "JSON line 1, column 7: a string that does not end (the text ends here)" },
        { T("\"\\x\""), "JSON line 1, column 2: an escape that JSON does not have" },
        { T("\"\\\0\""), "JSON line 1, column 2: an escape that JSON does not have" },
        { T("\"\\u12g4\""), "JSON line 1, column 2: \\u without four hexadecimal digits" },
        { T("\"\\u123"), "JSON line 1, column 2: \\u without four hexadecimal digits" },
        { T("\"a\tb\""), "JSON line 1, column 3: a control character in a string (write it as an escape)" },
        { T("\"a\0b\""), "JSON line 1, column 3: a control character in a string (write it as an escape)" },
        { T("\"0123456789abcdef\n\""), "JSON line 1, column 18: a control character in a string (write it as an escape)" },
        { T("\"\x80\""), "JSON line 1, column 2: bytes that are not UTF-8" },
        { T("\"\xc0\xaf\""), "JSON line 1, column 2: bytes that are not UTF-8" },
        { T("\"\xe0\x80\xaf\""), "JSON line 1, column 2: bytes that are not UTF-8" },
        { T("\"\xf0\x80\x80\xaf\""), "JSON line 1, column 2: bytes that are not UTF-8" },
        { T("\"\xed\xa0\x80\""), "JSON line 1, column 2: bytes that are not UTF-8" },
        { T("\"\xf4\x90\x80\x80\""), "JSON line 1, column 2: bytes that are not UTF-8" },
        { T("\"\xf5\x80\x80\x80\""), "JSON line 1, column 2: bytes that are not UTF-8" },
        { T("\"\xe2\x82\""), "JSON line 1, column 2: bytes that are not UTF-8" },
        { T("\"\xe2\x82"), "JSON line 1, column 2: bytes that are not UTF-8" },
        { T("\xef\xbb\xbf{}"), "JSON line 1, column 1: not the start of a value" },
        { T("{}\0"), "JSON line 1, column 3: something after the value" },
        { T("// x\n{}"), "JSON line 1, column 1: not the start of a value" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        test_label(cases[i].reason);
        struct sluice_error err = { 0 };
        EXPECT_EQ(SLUICE_EINVAL, json_check(cases[i].text, JSON_ANY, JSON_DEPTH_MAX, &err));
        EXPECT_TEXT(cases[i].reason, err.text);
    }
}

TEST(json_check_demands_an_object_when_asked)
{
    struct sluice_error err;
    EXPECT_EQ(SLUICE_OK, json_check(VIEW_LITERAL(" {\"a\":1}"), JSON_OBJECT, 10, NULL));
    EXPECT_EQ(SLUICE_EINVAL, json_check(VIEW_LITERAL("\n [1]"), JSON_OBJECT, 10, &err));
    EXPECT_TEXT("JSON line 2, column 2: expected an object", err.text);
}

/* `depth` times `open`, then the matching brackets. */
static struct view nested(char *buffer, unsigned depth, const char *open, const char *close)
{
    struct bytes bytes = { .data = buffer, .capacity = 16384 };
    for (unsigned i = 0; i < depth; i++)
        bytes_put_text(&bytes, open);
    bytes_put_text(&bytes, "1");
    for (unsigned i = 0; i < depth; i++)
        bytes_put_text(&bytes, close);
    return bytes_view(&bytes);
}

TEST(json_check_keeps_the_depth_limit)
{
    static char buffer[16384];
    struct sluice_error err;
    EXPECT_EQ(SLUICE_OK, json_check(VIEW_LITERAL("1"), JSON_ANY, 0, NULL));
    EXPECT_EQ(SLUICE_EINVAL, json_check(VIEW_LITERAL("[]"), JSON_ANY, 0, NULL));
    EXPECT_EQ(SLUICE_OK, json_check(nested(buffer, 3, "[", "]"), JSON_ANY, 3, NULL));
    EXPECT_EQ(SLUICE_EINVAL, json_check(nested(buffer, 4, "[", "]"), JSON_ANY, 3, &err));
    EXPECT_TEXT("JSON line 1, column 4: nested deeper than 3", err.text);
    EXPECT_EQ(SLUICE_OK, json_check(nested(buffer, JSON_DEPTH_MAX, "{\"a\":", "}"), JSON_ANY, JSON_DEPTH_MAX, NULL));
    EXPECT_EQ(SLUICE_EINVAL, json_check(nested(buffer, JSON_DEPTH_MAX + 1, "[", "]"), JSON_ANY, 5000, NULL));
    /* Brackets of both kinds across the words of the bit stack. */
    EXPECT_EQ(SLUICE_OK, json_check(nested(buffer, 200, "[{\"a\":", "}]"), JSON_ANY, JSON_DEPTH_MAX, NULL));
    EXPECT_EQ(SLUICE_EINVAL, json_check(nested(buffer, 200, "[{\"a\":", "]}"), JSON_ANY, JSON_DEPTH_MAX, NULL));
}

TEST(json_check_finds_a_special_byte_at_every_place_of_a_long_string)
{
    static const char specials[] = { '\0', '\n', 0x1f, '\x80', '\xff' };
    for (size_t len = 1; len < 40; len++)
        for (size_t place = 0; place < len; place++)
            for (size_t i = 0; i < sizeof specials; i++) {
                char *text = malloc(len + 2); /* of its exact size, so that a read too far is seen */
                text[0] = '"';
                memset(text + 1, '!', len); /* 0x21: next to the quote, where borrows would show */
                text[len + 1] = '"';
                EXPECT_EQ(SLUICE_OK, json_check((struct view){ text, len + 2 }, JSON_ANY, 1, NULL));
                text[1 + place] = specials[i];
                EXPECT_EQ(SLUICE_EINVAL, json_check((struct view){ text, len + 2 }, JSON_ANY, 1, NULL));
                free(text);
            }
}

TEST(json_put_line_only_turns_line_breaks_into_spaces)
{
    struct bytes out = { 0 };
    bytes_put_text(&out, "keep\n");
    json_put_line(&out, VIEW_LITERAL("{\r\n\t\"a\\n\": [1,\n2 ]\r}\n"));
    EXPECT_VIEW("keep\n{  \t\"a\\n\": [1, 2 ] } ", bytes_view(&out));
    bytes_done(&out);
}

TEST(json_put_string_escapes_what_must_be_and_replaces_what_is_not_utf8)
{
    static const struct { struct view text; const char *json; } cases[] = {
        { T(""), "\"\"" },
        { { 0 }, "\"\"" },
        { T("plain"), "\"plain\"" },
        { T("a\"b\\c/"), "\"a\\\"b\\\\c/\"" },
        { T("\b\f\n\r\t\x01\x1f\0"), "\"\\b\\f\\n\\r\\t\\u0001\\u001f\\u0000\"" },
        { T("caf\xc3\xa9 \xf0\x9f\x98\x80"), "\"caf\xc3\xa9 \xf0\x9f\x98\x80\"" },
        { T("a\xff\xc3"), "\"a\xef\xbf\xbd\xef\xbf\xbd\"" },
        { T("\xed\xa0\x80"), "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct bytes out = { 0 };
        json_put_string(&out, cases[i].text);
        EXPECT_VIEW(cases[i].json, bytes_view(&out));
        EXPECT_EQ(SLUICE_OK, json_check(bytes_view(&out), JSON_ANY, 1, NULL));
        bytes_done(&out);
    }
}

TEST(json_member_finds_values_and_the_last_of_two)
{
    static const struct { const char *object, *name, *value; } cases[] = {
        { "{\"a\":1}", "a", "1" },
        { " { \"a\" : \"x\\\"}\" , \"b\" : [ {\"a\":2} , \"]\" ] } ", "b", "[ {\"a\":2} , \"]\" ]" },
        { "{\"a\":{\"b\":1},\"c\":true}", "c", "true" },
        { "{\"a\":{\"b\":1}}", "b", NULL },
        { "{\"a\":1,\"a\":2}", "a", "2" },
        { "{\"a\":1,\"ab\":2}", "ab", "2" },
        { "{\"a\":1,\"ab\":2}", "abc", NULL },
        { "{\"\\u0061\\/\\ud83d\\ude00\":-1.5e3 }", "a/\xf0\x9f\x98\x80", "-1.5e3" },
        { "{\"\\ud83d\":1}", "\xef\xbf\xbd", NULL },
        { "{}", "a", NULL },
        { "[\"a\"]", "a", NULL },
        { "{\"\":0}", "", "0" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct view value = { 0 };
        test_label(cases[i].object);
        EXPECT_EQ(cases[i].value != NULL, json_member(view_of(cases[i].object), view_of(cases[i].name), &value));
        if (cases[i].value != NULL)
            EXPECT_VIEW(cases[i].value, value);
    }
}

/* Walks `text` and writes "key=value;" of each, in order. */
static void walked(const char *text, struct bytes *out)
{
    struct json_walk walk = json_walk_of(view_of(text));
    struct view key, value;

    bytes_clear(out);
    bytes_put_text(out, walk.object ? "{" : "");
    while (json_walk_next(&walk, &key, &value))
        bytes_put_format(out, "%.*s=%.*s;", VIEW_ARGS(key), VIEW_ARGS(value));
    EXPECT(!json_walk_next(&walk, &key, &value)); /* and it stays at the end */
    bytes_put_char(out, '\0');
}

TEST(a_walk_sees_members_and_items_in_order)
{
    static const struct { const char *text, *seen; } cases[] = {
        { " { \"a\" : 1 , \"b\\\"\":[2,{}] ,\"a\":\"}\" } ", "{\"a\"=1;\"b\\\"\"=[2,{}];\"a\"=\"}\";" },
        { "[ 1 ,\"a,b\", [ ] , null ]", "=1;=\"a,b\";=[ ];=null;" },
        { "{}", "{" }, { "[ ]", "" }, { "5", "" }, { "\"[1]\"", "" }, { "", "" },
        { "{\"a\"", "{" }, { "{1:2}", "{" }, { "[1", "=1;" }, { "[1 2]", "=1;" }, /* unchecked: something, within bounds */
    };
    struct bytes out = { 0 };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        test_label(cases[i].text);
        walked(cases[i].text, &out);
        EXPECT_TEXT(cases[i].seen, out.data);
    }
    test_label(NULL);
    EXPECT(json_key_is(VIEW_LITERAL("\"\\u0061b\""), VIEW_LITERAL("ab")));
    EXPECT(!json_key_is(VIEW_LITERAL("\"a\""), VIEW_LITERAL("ab")));
    bytes_done(&out);
}

TEST(json_item_counts_from_zero)
{
    struct view array = VIEW_LITERAL(" [ 1 , [2,3], {\"a\":4},\"x,y\" ]"), value;
    static const char *const items[] = { "1", "[2,3]", "{\"a\":4}", "\"x,y\"" };
    for (size_t i = 0; i < 4; i++) {
        EXPECT(json_item(array, i, &value));
        EXPECT_VIEW(items[i], value);
    }
    EXPECT(!json_item(array, 4, &value));
    EXPECT(!json_item(VIEW_LITERAL("[]"), 0, &value));
    EXPECT(!json_item(VIEW_LITERAL("{}"), 0, &value));
}

TEST(json_string_decode_gives_utf8_or_nothing)
{
    static const struct { const char *json, *text; } cases[] = {
        { "\"\"", "" },
        { "\"a\\n\\u00e9\\\\z\"", "a\n\xc3\xa9\\z" },
        { "\"\\ud83d\\ude00!\"", "\xf0\x9f\x98\x80!" },
        { "\"\\u20ac\"", "\xe2\x82\xac" },
        { "\"a\\ud83d\"", NULL },
        { "\"a\\ud83dx\"", NULL },
        { "\"a\\ude00\"", NULL },
        { "\"a\\ud83d\\u0041\"", NULL },
        { "12", NULL },
        { "\"", NULL },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct bytes out = { 0 };
        test_label(cases[i].json);
        bytes_put_text(&out, ">");
        EXPECT_EQ(cases[i].text != NULL, json_string_decode(view_of(cases[i].json), &out));
        EXPECT_EQ('>', out.data[0]);
        EXPECT_VIEW(cases[i].text != NULL ? cases[i].text : "", ((struct view){ out.data + 1, out.len - 1 }));
        bytes_done(&out);
    }
}

/* Bytes that were never checked: wrong answers are fine, reads outside are not (the sanitizer watches). */
TEST(json_walkers_stay_inside_cut_off_text)
{
    static const char whole[] = "{\"a\\u0062\":[{\"x\":\"\\ud83d\\ude00\"},-1.5e9,null],\"z\":\"\\\\\"}";
    for (size_t len = 0; len < sizeof whole - 1; len++) {
        char *text = malloc(len + 1);
        memcpy(text, whole, len);
        text = realloc(text, len == 0 ? 1 : len);
        struct view view = { text, len }, value;
        struct bytes out = { 0 };
        EXPECT_EQ(SLUICE_EINVAL, json_check(view, JSON_ANY, 10, NULL));
        (void)json_member(view, VIEW_LITERAL("z"), &value);
        (void)json_item(view, 1, &value);
        (void)json_string_decode(view, &out);
        bytes_done(&out);
        free(text);
    }
}
