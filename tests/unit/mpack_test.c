#include "schemas/codec/mpack.h"
#include "schemas/codec/utf8.h"
#include "tests/test.h"

#include <math.h>
#include <stdlib.h>

#define T(literal) { .data = (literal), .len = sizeof(literal) - 1 }

TEST(mpack_reads_every_form)
{
    static const struct { struct view bytes; enum mpack_type type; int64_t number; const char *payload; } cases[] = {
        { T("\xc0"), MPACK_NIL, 0, NULL },
        { T("\xc2"), MPACK_BOOL, 0, NULL },
        { T("\xc3"), MPACK_BOOL, 1, NULL },
        { T("\x00"), MPACK_UINT, 0, NULL },
        { T("\x7f"), MPACK_UINT, 127, NULL },
        { T("\xcc\xff"), MPACK_UINT, 255, NULL },
        { T("\xcd\x01\x02"), MPACK_UINT, 258, NULL },
        { T("\xce\xff\xff\xff\xff"), MPACK_UINT, 4294967295, NULL },
        { T("\xcf\x7f\xff\xff\xff\xff\xff\xff\xff"), MPACK_UINT, INT64_MAX, NULL },
        { T("\xff"), MPACK_INT, -1, NULL },
        { T("\xe0"), MPACK_INT, -32, NULL },
        { T("\xd0\x80"), MPACK_INT, -128, NULL },
        { T("\xd0\x05"), MPACK_UINT, 5, NULL },
        { T("\xd1\x80\x00"), MPACK_INT, -32768, NULL },
        { T("\xd2\x80\x00\x00\x00"), MPACK_INT, INT32_MIN, NULL },
        { T("\xd3\x80\x00\x00\x00\x00\x00\x00\x00"), MPACK_INT, INT64_MIN, NULL },
        { T("\xca\x3f\xc0\x00\x00"), MPACK_FLOAT, 1500, NULL },
        { T("\xcb\x3f\xf8\x00\x00\x00\x00\x00\x00"), MPACK_FLOAT, 1500, NULL },
        { T("\xa0"), MPACK_STR, 0, "" },
        { T("\xa3" "abc"), MPACK_STR, 0, "abc" },
        { T("\xd9\x03" "abc"), MPACK_STR, 0, "abc" },
        { T("\xda\x00\x03" "abc"), MPACK_STR, 0, "abc" },
        { T("\xdb\x00\x00\x00\x03" "abc"), MPACK_STR, 0, "abc" },
        { T("\xc4\x03" "abc"), MPACK_BIN, 0, "abc" },
        { T("\xc5\x00\x03" "abc"), MPACK_BIN, 0, "abc" },
        { T("\xc6\x00\x00\x00\x03" "abc"), MPACK_BIN, 0, "abc" },
        { T("\xc7\x03\xfe" "abc"), MPACK_EXT, -2, "abc" },
        { T("\xc8\x00\x03\xfe" "abc"), MPACK_EXT, -2, "abc" },
        { T("\xc9\x00\x00\x00\x03\xfe" "abc"), MPACK_EXT, -2, "abc" },
        { T("\xd4\x07" "a"), MPACK_EXT, 7, "a" },
        { T("\xd5\x07" "ab"), MPACK_EXT, 7, "ab" },
        { T("\xd6\x07" "abcd"), MPACK_EXT, 7, "abcd" },
        { T("\xd7\x07" "abcdefgh"), MPACK_EXT, 7, "abcdefgh" },
        { T("\xd8\x07" "abcdefghabcdefgh"), MPACK_EXT, 7, "abcdefghabcdefgh" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct mpack_token token;
        char label[32];
        (void)snprintf(label, sizeof label, "case %zu", i);
        test_label(label);
        struct mpack_reader reader = mpack_reader_of(cases[i].bytes);
        EXPECT(mpack_read(&reader, &token));
        EXPECT(mpack_at_end(&reader));
        EXPECT_EQ(cases[i].type, token.type);
        if (cases[i].payload != NULL)
            EXPECT_VIEW(cases[i].payload, token.bytes);
        if (token.type == MPACK_INT || token.type == MPACK_UINT)
            EXPECT_EQ(cases[i].number, token.sint);
        if (token.type == MPACK_BOOL)
            EXPECT_EQ(cases[i].number, token.boolean);
        if (token.type == MPACK_FLOAT)
            EXPECT_EQ(cases[i].number, (int64_t)(token.real * 1000));
        if (token.type == MPACK_EXT)
            EXPECT_EQ(cases[i].number, token.ext_type);
        /* Each shorter prefix, in memory of its exact size, is refused and moves nothing. */
        for (size_t len = 0; len < cases[i].bytes.len; len++) {
            char *copy = malloc(len == 0 ? 1 : len);
            memcpy(copy, cases[i].bytes.data, len);
            reader = mpack_reader_of((struct view){ copy, len });
            EXPECT(!mpack_read(&reader, &token));
            EXPECT(!mpack_skip(&reader, 5, NULL));
            EXPECT(reader.at == (const uint8_t *)copy);
            free(copy);
        }
        test_label(NULL);
    }
}

TEST(mpack_refuses_counts_that_cannot_be_true)
{
    static const struct view lies[] = {
        T("\xdd\xff\xff\xff\xff"), T("\xdf\xff\xff\xff\xff"), T("\xdf\x80\x00\x00\x00\x01\x01"), T("\x92\x01"), T("\x81\x01"),
        T("\xdc\x00\x03\x01\x02"), T("\xdb\xff\xff\xff\xff" "abc"), T("\xc6\x00\x00\x00\x04" "abc"),
        T("\xc1"), T("\xc9\xff\xff\xff\xff\x01"),
    };
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        struct mpack_token token;
        struct mpack_reader reader = mpack_reader_of(lies[i]);
        EXPECT(!mpack_read(&reader, &token));
        EXPECT(!mpack_skip(&reader, 10, NULL));
        EXPECT(reader.at == (const uint8_t *)lies[i].data);
    }
}

TEST(mpack_skip_takes_one_whole_value_within_its_depth)
{
    static const struct view bytes = T("\x82\xa1" "a\x93\x01\x90\x80\xa1" "b\x81\x01\xc0" "\x07");
    struct mpack_reader reader = mpack_reader_of(bytes);
    struct view value;
    EXPECT(!mpack_skip(&reader, 2, &value));
    EXPECT(mpack_skip(&reader, 3, &value));
    EXPECT_EQ(bytes.len - 1, value.len);
    EXPECT(!mpack_at_end(&reader));
    EXPECT(mpack_skip(&reader, 0, &value));
    EXPECT_EQ(1, value.len);
    EXPECT(mpack_at_end(&reader));

    char deep[MPACK_DEPTH_MAX + 2];
    memset(deep, '\x91', sizeof deep);
    deep[MPACK_DEPTH_MAX] = deep[MPACK_DEPTH_MAX + 1] = '\x01';
    reader = mpack_reader_of((struct view){ deep, MPACK_DEPTH_MAX + 1 });
    EXPECT(mpack_skip(&reader, MPACK_DEPTH_MAX, NULL));
    deep[MPACK_DEPTH_MAX] = '\x91';
    reader = mpack_reader_of((struct view){ deep, MPACK_DEPTH_MAX + 2 });
    EXPECT(!mpack_skip(&reader, MPACK_DEPTH_MAX + 1000, NULL));
}

TEST(mpack_typed_reads_leave_other_types_alone)
{
    static const struct view bytes =
        T("\x05\xfb\xc3\xa2\xc3\xa9\xc4\x01x\x91\x81\x01\x02\xc0\xcf\xff\xff\xff\xff\xff\xff\xff\xff");
    struct mpack_reader reader = mpack_reader_of(bytes);
    uint64_t uint;
    int64_t sint;
    uint32_t count;
    bool boolean;
    struct view view;

    EXPECT(!mpack_read_uint(&reader, 4, &uint));
    EXPECT(!mpack_read_bool(&reader, &boolean));
    EXPECT(!mpack_read_nil(&reader));
    EXPECT(mpack_read_uint(&reader, 5, &uint));
    EXPECT_EQ(5, uint);
    EXPECT(!mpack_read_uint(&reader, UINT64_MAX, &uint));
    EXPECT(mpack_read_int(&reader, &sint));
    EXPECT_EQ(-5, sint);
    EXPECT(!mpack_read_int(&reader, &sint));
    EXPECT(mpack_read_bool(&reader, &boolean));
    EXPECT(boolean);
    EXPECT(!mpack_read_bin(&reader, &view));
    EXPECT(mpack_read_str(&reader, &view));
    EXPECT_VIEW("\xc3\xa9", view);
    EXPECT(!mpack_read_str(&reader, &view));
    EXPECT(mpack_read_bin(&reader, &view));
    EXPECT_VIEW("x", view);
    EXPECT(!mpack_read_map(&reader, &count));
    EXPECT(mpack_read_array(&reader, &count));
    EXPECT_EQ(1, count);
    EXPECT(!mpack_read_array(&reader, &count));
    EXPECT(mpack_read_map(&reader, &count));
    EXPECT_EQ(1, count);
    EXPECT(mpack_read_uint(&reader, 1, &uint));
    EXPECT(mpack_read_uint(&reader, 2, &uint));
    EXPECT(mpack_read_nil(&reader));
    EXPECT(!mpack_read_int(&reader, &sint));
    EXPECT(mpack_read_uint(&reader, UINT64_MAX, &uint));
    EXPECT(uint == UINT64_MAX);
    EXPECT(mpack_at_end(&reader));
    EXPECT(!mpack_read_nil(&reader));

    reader = mpack_reader_of((struct view)T("\xa2\xc3("));
    EXPECT(!mpack_read_str(&reader, &view));
}

TEST(mpack_writers_choose_the_shortest_form)
{
    struct bytes out = { 0 };
    mpack_put_nil(&out);
    mpack_put_bool(&out, false);
    mpack_put_bool(&out, true);
    mpack_put_uint(&out, 127);
    mpack_put_uint(&out, 128);
    mpack_put_uint(&out, UINT64_MAX);
    mpack_put_int(&out, -32);
    mpack_put_int(&out, -33);
    mpack_put_int(&out, 7);
    mpack_put_int(&out, INT64_MIN);
    mpack_put_str(&out, VIEW_LITERAL("ab"));
    mpack_put_bin(&out, VIEW_LITERAL("ab"));
    mpack_put_array(&out, 15);
    mpack_put_array(&out, 16);
    mpack_put_map(&out, 15);
    mpack_put_map(&out, 65536);
    size_t offset = mpack_put_array_open(&out);
    mpack_put_array_close(&out, offset, 258);
    static const struct view expected =
        T("\xc0\xc2\xc3\x7f\xcc\x80\xcf\xff\xff\xff\xff\xff\xff\xff\xff\xe0\xd0\xdf\x07\xd3\x80\0\0\0\0\0\0\0\xa2" "ab\xc4\x02"
          "ab\x9f\xdc\x00\x10\x8f\xdf\x00\x01\x00\x00\xdd\x00\x00\x01\x02");
    EXPECT(view_equals(expected, bytes_view(&out)));
    bytes_done(&out);
}

TEST(mpack_writers_and_reader_agree_at_every_edge)
{
    static const size_t lens[] = { 0, 31, 32, 255, 256, 65535, 65536 };
    char *text = malloc(65536);
    memset(text, 'x', 65536);
    for (size_t i = 0; i < sizeof lens / sizeof lens[0]; i++) {
        struct bytes out = { 0 };
        struct view str, bin;
        mpack_put_str(&out, (struct view){ text, lens[i] });
        mpack_put_bin(&out, (struct view){ text, lens[i] });
        struct mpack_reader reader = mpack_reader_of(bytes_view(&out));
        EXPECT(mpack_read_str(&reader, &str) && mpack_read_bin(&reader, &bin) && mpack_at_end(&reader));
        EXPECT_EQ(lens[i], str.len);
        EXPECT_EQ(lens[i], bin.len);
        bytes_done(&out);
    }
    free(text);
    for (int shift = 0; shift < 64; shift++)
        for (int step = -1; step <= 1; step++) {
            struct bytes out = { 0 };
            int64_t written = (int64_t)((UINT64_C(1) << shift) + (uint64_t)step), back = 0;
            mpack_put_int(&out, written);
            struct mpack_reader reader = mpack_reader_of(bytes_view(&out));
            EXPECT(mpack_read_int(&reader, &back) && mpack_at_end(&reader));
            EXPECT_EQ(written, back);
            bytes_done(&out);
        }
}

TEST(mpack_detail_check_says_what_and_where)
{
    static const struct { struct view bytes; const char *reason; } cases[] = {
        { T("\x80"), "" },
        { T("\x83\xa1" "a\x92\x01\x80\xa1" "b\xcb\x3f\xf8\0\0\0\0\0\0\xa1" "c\xc4\x01\xff"), "" },
        { T(""), "byte 0: a detail in MessagePack must be one map" },
        { T("\x90"), "byte 0: a detail in MessagePack must be one map" },
        { T("\x81\x01\x02"), "byte 1: a map key that is not a string has no JSON form" },
        { T("\x81\xa1" "a\x81\xc0\x01"), "byte 4: a map key that is not a string has no JSON form" },
        { T("\x81\xa1\xff\x01"), "byte 1: a string that is not UTF-8 has no JSON form" },
        { T("\x81\xa1" "a\xa1\xff"), "byte 3: a string that is not UTF-8 has no JSON form" },
        { T("\x81\xa1" "a\xd4\x01\x02"), "byte 3: an ext value has no JSON form" },
        { T("\x81\xa1" "a\xcb\x7f\xf8\0\0\0\0\0\0"), "byte 3: a NaN or infinity has no JSON form" },
        { T("\x81\xa1" "a\xca\xff\x80\0\0"), "byte 3: a NaN or infinity has no JSON form" },
        { T("\x81\xa1" "a"), "byte 3: cut off, or not MessagePack" },
        { T("\x81\xa1" "a\xc1"), "byte 3: cut off, or not MessagePack" },
        { T("\x81\xa1" "a\x91\x91\x91\x01"), "byte 5: nested deeper than 3" },
        { T("\x80\x80"), "byte 1: bytes after the map" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct sluice_error err = { 0 };
        EXPECT_EQ(cases[i].reason[0] == '\0' ? SLUICE_OK : SLUICE_EINVAL, mpack_check_detail(cases[i].bytes, 3, &err));
        EXPECT_TEXT(cases[i].reason, err.text);
    }
}

TEST(mpack_becomes_json)
{
    static const struct { struct view bytes; const char *json; } cases[] = {
        { T("\x80"), "{}" },
        { T("\x90"), "[]" },
        { T("\x93\x90\x80\x91\x90"), "[[],{},[[]]]" },
        { T("\x83\xa1" "a\x01\xa1" "b\x92\xc0\xc3\xa1" "c\x81\xa1\"\xc2"), "{\"a\":1,\"b\":[null,true],\"c\":{\"\\\"\":false}}" },
        { T("\x92\xcf\xff\xff\xff\xff\xff\xff\xff\xff\xd3\x80\0\0\0\0\0\0\0"), "[18446744073709551615,-9223372036854775808]" },
        { T("\x95\xc4\0\xc4\x01\xff\xc4\x02\xff\xfe\xc4\x03\0\x01\x02\xc4\x04\xfb\xff\xff\xff"),
          "[\"\",\"/w==\",\"//4=\",\"AAEC\",\"+////w==\"]" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct bytes out = { 0 };
        EXPECT(mpack_to_json(cases[i].bytes, &out));
        EXPECT_VIEW(cases[i].json, bytes_view(&out));
        bytes_done(&out);
    }
}

TEST(mpack_doubles_take_the_fewest_digits_that_read_back)
{
    static const struct { double value; const char *json; } cases[] = {
        { 0x1p-1007, "7.291122019556398e-304" }, { -0x1p-1007, "-7.291122019556398e-304" }, { 0x1p-44, "5.684341886080802e-14" },
        { 0.1, "0.1" }, { 1.0, "1" }, { -0.0, "-0" }, { 1.5, "1.5" }, { 0.1 + 0.2, "0.30000000000000004" }, { 1e21, "1e+21" },
        { 5e-324, "5e-324" }, { 1.7976931348623157e308, "1.7976931348623157e+308" },
        { 123456789012345680.0, "1.2345678901234568e+17" },
        { 2.2250738585072014e-308, "2.2250738585072014e-308" }, { 1.0 / 3, "0.3333333333333333" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct bytes out = { 0 };
        struct mpack_token token = { .type = MPACK_FLOAT, .real = cases[i].value };
        mpack_scalar_to_json(&token, &out);
        EXPECT_VIEW(cases[i].json, bytes_view(&out));
        bytes_done(&out);
    }
}

TEST(utf8_valid_is_strict)
{
    static const struct { struct view text; bool valid; } cases[] = {
        { T(""), true }, { T("0123456789abcdef"), true }, { T("01234567\xc3\xa9"), true },
        { T("\xed\x9f\xbf\xee\x80\x80"), true },
        { T("\xf4\x8f\xbf\xbf"), true }, { T("0123456\xc3"), false }, { T("\xed\xa0\x80"), false },
        { T("\xf4\x90\x80\x80"), false },
        { T("\xc1\xbf"), false }, { T("\xe0\x9f\xbf"), false }, { T("\xf0\x8f\xbf\xbf"), false },
        { T("\x80"), false }, { T("\xfe"), false },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        EXPECT_EQ(cases[i].valid, utf8_valid(cases[i].text));

    static const struct view sequences[] = { T("\xc3\xa9"), T("\xe2\x82\xac"), T("\xf0\x9f\x98\x80") };
    for (size_t i = 0; i < sizeof sequences / sizeof sequences[0]; i++)
        for (size_t len = 1; len <= sequences[i].len; len++) {
            char *cut = malloc(len); /* of its exact size, so that a read too far is seen */
            memcpy(cut, sequences[i].data, len);
            EXPECT_EQ(len == sequences[i].len, utf8_valid((struct view){ cut, len }));
            free(cut);
        }
}
