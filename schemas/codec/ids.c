#include "schemas/codec/ids.h"

enum { MS_PER_SECOND = 1000, SECONDS_PER_DAY = 86400, DAYS_TO_1970 = 719468 };
static const char hex_digits[] = "0123456789abcdef";

void uuid7_make(int64_t unix_ms, const uint8_t random[UUID_BYTES], uint8_t ret_uuid[UUID_BYTES])
{
    uint64_t ms = unix_ms < 0 ? 0 : (uint64_t)unix_ms;

    memcpy(ret_uuid, random, UUID_BYTES);
    for (int i = 0; i < 6; i++)
        ret_uuid[i] = (uint8_t)(ms >> (40 - 8 * i));
    ret_uuid[6] = (uint8_t)(0x70 | (ret_uuid[6] & 0x0f));
    ret_uuid[8] = (uint8_t)(0x80 | (ret_uuid[8] & 0x3f));
}

int64_t uuid7_time_ms(const uint8_t uuid[UUID_BYTES])
{
    uint64_t ms = 0;
    for (int i = 0; i < 6; i++)
        ms = ms << 8 | uuid[i];
    return (int64_t)ms;
}

bool uuid_is_v7(const uint8_t uuid[UUID_BYTES])
{
    return uuid[6] >> 4 == 7 && uuid[8] >> 6 == 2;
}

/* The four hyphens stand before bytes 4, 6, 8 and 10. */
static bool hyphen_before(int byte)
{
    return byte == 4 || byte == 6 || byte == 8 || byte == 10;
}

void uuid_to_text(const uint8_t uuid[UUID_BYTES], char ret_text[UUID_TEXT_LEN + 1])
{
    char *at = ret_text;
    for (int i = 0; i < UUID_BYTES; i++) {
        if (hyphen_before(i))
            *at++ = '-';
        *at++ = hex_digits[uuid[i] >> 4];
        *at++ = hex_digits[uuid[i] & 15];
    }
    *at = '\0';
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return -1;
}

bool uuid_from_text(struct view text, uint8_t ret_uuid[UUID_BYTES])
{
    uint8_t uuid[UUID_BYTES];

    if (text.len != UUID_TEXT_LEN)
        return false;
    const char *at = text.data;
    for (int i = 0; i < UUID_BYTES; i++) {
        if (hyphen_before(i) && *at++ != '-')
            return false;
        int high = hex_value(at[0]), low = hex_value(at[1]);
        if (high < 0 || low < 0)
            return false;
        uuid[i] = (uint8_t)(high << 4 | low);
        at += 2;
    }
    memcpy(ret_uuid, uuid, UUID_BYTES);
    return true;
}

/* Dates are counted in years that begin on 1 March, so that the leap day comes last, and in cycles of 400 years, which
 * all have 146,097 days. Month m of such a year (0 = March) begins on its day (153 m + 2) / 5. */
struct date {
    int64_t year;
    int month, day;
};

static int64_t days_from_date(struct date date)
{
    int64_t year = date.year - (date.month <= 2);
    int64_t cycle = (year >= 0 ? year : year - 399) / 400;
    int64_t year_of_cycle = year - cycle * 400;
    int64_t day_of_year = (153 * (date.month + (date.month > 2 ? -3 : 9)) + 2) / 5 + date.day - 1;
    return cycle * 146097 + year_of_cycle * 365 + year_of_cycle / 4 - year_of_cycle / 100 + day_of_year - DAYS_TO_1970;
}

static struct date date_from_days(int64_t days)
{
    days += DAYS_TO_1970;
    int64_t cycle = (days >= 0 ? days : days - 146096) / 146097;
    int64_t day = days - cycle * 146097;
    int64_t year = (day - day / 1460 + day / 36524 - day / 146096) / 365;
    int64_t day_of_year = day - (365 * year + year / 4 - year / 100);
    int month = (int)((5 * day_of_year + 2) / 153);
    struct date date = {
        .month = month < 10 ? month + 3 : month - 9,
        .day = (int)(day_of_year - (153 * month + 2) / 5 + 1),
    };
    date.year = year + cycle * 400 + (date.month <= 2);
    return date;
}

static char *put_digits(char *at, int64_t value, int width)
{
    for (int i = width - 1; i >= 0; i--, value /= 10)
        at[i] = (char)('0' + value % 10);
    return at + width;
}

size_t time_to_text(int64_t unix_ms, bool millis, char ret_text[TIME_TEXT_MAX])
{
    if (unix_ms < TIME_MS_MIN)
        unix_ms = TIME_MS_MIN;
    if (unix_ms > TIME_MS_MAX)
        unix_ms = TIME_MS_MAX;
    int64_t ms = unix_ms % MS_PER_SECOND;
    int64_t seconds = unix_ms / MS_PER_SECOND;
    if (ms < 0)
        ms += MS_PER_SECOND, seconds--;
    int64_t second = seconds % SECONDS_PER_DAY;
    int64_t days = seconds / SECONDS_PER_DAY;
    if (second < 0)
        second += SECONDS_PER_DAY, days--;
    struct date date = date_from_days(days);

    char *at = put_digits(ret_text, date.year, 4);
    *at++ = '-';
    at = put_digits(at, date.month, 2);
    *at++ = '-';
    at = put_digits(at, date.day, 2);
    *at++ = 'T';
    at = put_digits(at, second / 3600, 2);
    *at++ = ':';
    at = put_digits(at, second / 60 % 60, 2);
    *at++ = ':';
    at = put_digits(at, second % 60, 2);
    if (millis) {
        *at++ = '.';
        at = put_digits(at, ms, 3);
    }
    *at++ = 'Z';
    *at = '\0';
    return (size_t)(at - ret_text);
}

/* Takes exactly `width` digits from the front; -1 when they are not there. */
static int take_digits(struct view *text, size_t width)
{
    int value = 0;

    if (text->len < width)
        return -1;
    for (size_t i = 0; i < width; i++) {
        if (text->data[i] < '0' || text->data[i] > '9')
            return -1;
        value = value * 10 + (text->data[i] - '0');
    }
    text->data += width, text->len -= width;
    return value;
}

/* Takes one byte that is among `wanted`; 0 when it is not there. */
static char take_one_of(struct view *text, const char *wanted)
{
    if (text->len == 0 || text->data[0] == '\0' || strchr(wanted, text->data[0]) == NULL)
        return 0;
    char c = text->data[0];
    text->data++, text->len--;
    return c;
}

static int days_in_month(int year, int month)
{
    static const int days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return days[month - 1] + (month == 2 && leap);
}

bool time_from_text(struct view text, int64_t *ret_unix_ms)
{
    int year = take_digits(&text, 4);
    if (year < 0 || !take_one_of(&text, "-"))
        return false;
    int month = take_digits(&text, 2);
    if (month < 1 || month > 12 || !take_one_of(&text, "-"))
        return false;
    int day = take_digits(&text, 2);
    if (day < 1 || day > days_in_month(year, month) || !take_one_of(&text, "Tt "))
        return false;
    int hour = take_digits(&text, 2);
    if (hour < 0 || hour > 23 || !take_one_of(&text, ":"))
        return false;
    int minute = take_digits(&text, 2);
    if (minute < 0 || minute > 59 || !take_one_of(&text, ":"))
        return false;
    int second = take_digits(&text, 2); /* 60 is a leap second: Unix time counts it as the second after */
    if (second < 0 || second > 60)
        return false;

    int ms = 0;
    if (take_one_of(&text, ".")) {
        int digits = 0;
        for (int digit; (digit = take_digits(&text, 1)) >= 0; digits++)
            if (digits < 3)
                ms = ms * 10 + digit;
        if (digits == 0)
            return false;
        for (; digits < 3; digits++)
            ms *= 10;
    }

    int offset_minutes = 0;
    char sign = take_one_of(&text, "Zz+-");
    if (sign == 0)
        return false;
    if (sign == '+' || sign == '-') {
        int offset_hour = take_digits(&text, 2);
        if (offset_hour < 0 || offset_hour > 23 || !take_one_of(&text, ":"))
            return false;
        int offset_minute = take_digits(&text, 2);
        if (offset_minute < 0 || offset_minute > 59)
            return false;
        offset_minutes = (offset_hour * 60 + offset_minute) * (sign == '-' ? -1 : 1);
    }
    if (text.len != 0)
        return false;

    int64_t days = days_from_date((struct date){ .year = year, .month = month, .day = day });
    int64_t seconds = days * SECONDS_PER_DAY + hour * 3600L + (minute - offset_minutes) * 60L + second;
    int64_t unix_ms = seconds * MS_PER_SECOND + ms;
    if (unix_ms < TIME_MS_MIN || unix_ms > TIME_MS_MAX)
        return false;
    *ret_unix_ms = unix_ms;
    return true;
}
