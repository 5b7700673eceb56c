#include "schemas/codec/ids.h"
#include "tests/test.h"

TEST(uuid7_holds_its_time_version_and_variant)
{
    uint8_t random[UUID_BYTES], uuid[UUID_BYTES];
    char text[UUID_TEXT_LEN + 1];

    memset(random, 0xff, sizeof random);
    uuid7_make(0x0123456789ab, random, uuid);
    uuid_to_text(uuid, text);
    EXPECT_TEXT("01234567-89ab-7fff-bfff-ffffffffffff", text);
    EXPECT_EQ(0x0123456789ab, uuid7_time_ms(uuid));
    EXPECT(uuid_is_v7(uuid));
    memset(random, 0, sizeof random);
    uuid7_make(-1, random, uuid);
    uuid_to_text(uuid, text);
    EXPECT_TEXT("00000000-0000-7000-8000-000000000000", text);
    uuid[6] = 0x40;
    EXPECT(!uuid_is_v7(uuid));
    uuid[6] = 0x70, uuid[8] = 0x00;
    EXPECT(!uuid_is_v7(uuid));
}

TEST(uuid_text_is_read_in_its_canonical_form_only)
{
    static const struct { const char *text; bool valid; } cases[] = {
        { "01234567-89ab-7fff-bfff-ffffffffffff", true },
        { "01234567-89AB-7fff-bfff-ffffffffffff", false },
        { "0123456789ab7fffbfffffffffffffff", false },
        { "01234567-89ab-7fff-bfff-fffffffffff", false },
        { "01234567-89ab-7fff-bfff-fffffffffffff", false },
        { "01234567089ab-7fff-bfff-ffffffffffff", false },
        { "0123456g-89ab-7fff-bfff-ffffffffffff", false },
        { "", false },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint8_t uuid[UUID_BYTES] = { 0 };
        char text[UUID_TEXT_LEN + 1];
        test_label(cases[i].text);
        EXPECT_EQ(cases[i].valid, uuid_from_text(view_of(cases[i].text), uuid));
        uuid_to_text(uuid, text);
        EXPECT_TEXT(cases[i].valid ? cases[i].text : "00000000-0000-0000-0000-000000000000", text);
    }
}

TEST(time_is_written_and_read_back)
{
    static const struct { int64_t ms; const char *seconds, *millis; } cases[] = {
        { 0, "1970-01-01T00:00:00Z", "1970-01-01T00:00:00.000Z" },
        { 1, "1970-01-01T00:00:00Z", "1970-01-01T00:00:00.001Z" },
        { -1, "1969-12-31T23:59:59Z", "1969-12-31T23:59:59.999Z" },
        { 951782400000, "2000-02-29T00:00:00Z", "2000-02-29T00:00:00.000Z" },
        { 951868799999, "2000-02-29T23:59:59Z", "2000-02-29T23:59:59.999Z" },
        { 4107542400000, "2100-03-01T00:00:00Z", "2100-03-01T00:00:00.000Z" },
        { 1795301914123, "2026-11-21T22:58:34Z", "2026-11-21T22:58:34.123Z" },
        { TIME_MS_MIN, "0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000Z" },
        { TIME_MS_MAX, "9999-12-31T23:59:59Z", "9999-12-31T23:59:59.999Z" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[TIME_TEXT_MAX];
        int64_t ms = 0;
        EXPECT_EQ(strlen(cases[i].seconds), time_to_text(cases[i].ms, false, text));
        EXPECT_TEXT(cases[i].seconds, text);
        EXPECT_EQ(strlen(cases[i].millis), time_to_text(cases[i].ms, true, text));
        EXPECT_TEXT(cases[i].millis, text);
        EXPECT(time_from_text(view_of(cases[i].millis), &ms));
        EXPECT_EQ(cases[i].ms, ms);
    }
}

TEST(every_day_of_four_centuries_survives_the_way_to_text_and_back)
{
    char text[TIME_TEXT_MAX], before[TIME_TEXT_MAX] = "";
    for (int64_t day = -200000; day < 146097; day++) {
        int64_t ms = 0;
        size_t len = time_to_text(day * 86400000, false, text);
        if (!time_from_text((struct view){ text, len }, &ms) || ms != day * 86400000 || strcmp(before, text) >= 0)
            EXPECT_TEXT("the same day", text);
        memcpy(before, text, sizeof before);
    }
}

TEST(times_outside_four_digit_years_stop_at_the_bounds)
{
    char text[TIME_TEXT_MAX];
    (void)time_to_text(INT64_MIN, true, text);
    EXPECT_TEXT("0001-01-01T00:00:00.000Z", text);
    (void)time_to_text(INT64_MAX, true, text);
    EXPECT_TEXT("9999-12-31T23:59:59.999Z", text);
}

TEST(time_from_text_takes_rfc_3339)
{
    static const struct { const char *text; int64_t ms; } cases[] = {
        { "2026-11-21T22:58:34Z", 1795301914000 },
        { "2026-11-21t22:58:34z", 1795301914000 },
        { "2026-11-21 22:58:34Z", 1795301914000 },
        { "2026-11-21T23:58:34+01:00", 1795301914000 },
        { "2026-11-21T17:28:34-05:30", 1795301914000 },
        { "2026-11-21T22:58:34.1Z", 1795301914100 },
        { "2026-11-21T22:58:34.1239999Z", 1795301914123 },
        { "2016-12-31T23:59:60Z", 1483228800000 },
    };
    static const char *const refused[] = {
        "", "2026-11-21", "2026-11-21T22:58:34", "2026-11-21T22:58Z", "2026-13-21T22:58:34Z", "2026-00-21T22:58:34Z",
        "2026-02-29T22:58:34Z", "2100-02-29T00:00:00Z", "2026-11-31T22:58:34Z", "2026-11-00T22:58:34Z", "2026-11-21T24:00:00Z",
        "2026-11-21T22:60:34Z", "2026-11-21T22:58:61Z", "2026-11-21T22:58:34.Z", "2026-11-21T22:58:34+0100",
        "2026-11-21T22:58:34+24:00", "2026-11-21T22:58:34+01:60", "2026-11-21T22:58:34Zx", " 2026-11-21T22:58:34Z",
        "0000-01-01T00:00:00Z", "9999-12-31T23:59:59-00:01", "1795301914", "+026-11-21T22:58:34Z",
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int64_t ms = 0;
        test_label(cases[i].text);
        EXPECT(time_from_text(view_of(cases[i].text), &ms));
        EXPECT_EQ(cases[i].ms, ms);
    }
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        int64_t ms = 42;
        test_label(refused[i]);
        EXPECT(!time_from_text(view_of(refused[i]), &ms));
        EXPECT_EQ(42, ms);
    }
}
