#include "broker/core/decimal.h"

enum {
    EXPONENT_MAX = 100000,     /* larger ones are as good as this: no double is near */
    DIGITS_ONE_WORD = 19,      /* any so many digits fit in 64 bits */
};
static const uint64_t too_many_digits = 100000000000000000u; /* 10^17 */

static bool is_digit(const char *at, const char *end)
{
    return at < end && (unsigned char)(*at - '0') <= 9;
}

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
static bool are_digits(uint64_t word)
{
    return ((word & 0xF0F0F0F0F0F0F0F0u) | ((word + 0x0606060606060606u) & 0xF0F0F0F0F0F0F0F0u) >> 4) == 0x3333333333333333u;
}

/* Eight digits, the first in the lowest byte, in three multiplications: pairs, fours, all. */
static uint64_t eight_digits(uint64_t word)
{
    word = (word & 0x0F0F0F0F0F0F0F0Fu) * 2561 >> 8;
    word = (word & 0x00FF00FF00FF00FFu) * 6553601 >> 16;
    return (word & 0x0000FFFF0000FFFFu) * 42949672960001 >> 32;
}

/* Digits up to `end`, as far as they come in eights, and the rest if nothing but digits is left: those are the last bytes of the eight
 * before the end, and zeros take the place of what is before them. `text`: where bytes may be read from. */
static void take_digits(const char *text, const char **at, const char *end, uint64_t *digits)
{
    static const uint64_t powers[8] = { 1, 10, 100, 1000, 10000, 100000, 1000000, 10000000 };
    uint64_t word;

    for (; end - *at >= 8; *at += 8) {
        memcpy(&word, *at, sizeof word);
        if (!are_digits(word))
            return;
        *digits = *digits * 100000000 + eight_digits(word);
    }
    size_t left = (size_t)(end - *at);
    if (left == 0 || end - text < 8)
        return;
    memcpy(&word, end - 8, sizeof word);
    uint64_t before = ~UINT64_C(0) >> left * 8;
    word = (word & ~before) | (0x3030303030303030u & before);
    if (!are_digits(word))
        return;
    *digits = *digits * powers[left] + eight_digits(word);
    *at = end;
}
#else
static void take_digits(const char *text, const char **at, const char *end, uint64_t *digits)
{
    (void)text, (void)at, (void)end, (void)digits;
}
#endif

/* The exponent behind "e" or "E"; 0 when there is none. */
static int32_t exponent_of(const char *at, const char *end)
{
    int32_t exponent = 0;
    bool negative = false;

    if (at == end)
        return 0;
    at++;
    if (at < end && (*at == '-' || *at == '+'))
        negative = *at++ == '-';
    for (; is_digit(at, end); at++)
        if (exponent < EXPONENT_MAX)
            exponent = exponent * 10 + (*at - '0');
    return negative ? -exponent : exponent;
}

static struct decimal normal(uint64_t digits, int32_t exponent, bool negative)
{
    if (digits == 0)
        return (struct decimal){ 0 };
    for (; digits % 10 == 0; digits /= 10)
        exponent++;
    return (struct decimal){ .digits = digits, .exponent = exponent, .negative = negative, .too_long = digits >= too_many_digits };
}

/* Any length: zeros count only once a digit that is not one follows. */
static struct decimal long_decimal(const char *at, const char *end, bool negative)
{
    uint64_t digits = 0;
    int64_t scale = 0, zeros = 0;
    unsigned count = 0;
    bool behind_point = false;

    for (; at < end && *at != 'e' && *at != 'E'; at++) {
        if (*at == '.') {
            behind_point = true;
            continue;
        }
        scale += behind_point;
        if (*at == '0') {
            zeros += count != 0;
            continue;
        }
        if (count + zeros + 1 > DECIMAL_DIGITS_MAX)
            return (struct decimal){ .too_long = true, .negative = negative };
        for (; zeros > 0; zeros--, count++)
            digits *= 10;
        digits = digits * 10 + (uint64_t)(*at - '0');
        count++;
    }
    int64_t exponent = exponent_of(at, end) - scale + zeros;
    return normal(digits, (int32_t)exponent, negative);
}

struct decimal decimal_of_text(struct view text)
{
    const char *at = text.data, *end = text.data + text.len;
    uint64_t digits = 0;
    bool negative = at < end && *at == '-';

    at += negative;
    const char *first = at;
    for (; is_digit(at, end); at++)
        digits = digits * 10 + (uint64_t)(*at - '0');
    int64_t count = at - first, scale = 0;
    if (at < end && *at == '.') {
        const char *point = at++;
        take_digits(text.data, &at, end, &digits);
        for (; is_digit(at, end); at++)
            digits = digits * 10 + (uint64_t)(*at - '0');
        scale = at - point - 1;
        count += scale;
    }
    if (count > DIGITS_ONE_WORD)
        return long_decimal(first, end, negative);
    return normal(digits, exponent_of(at, end) - (int32_t)scale, negative);
}

unsigned decimal_digits_count(uint64_t digits)
{
    unsigned count = 0;

    for (; digits > 0; digits /= 10)
        count++;
    return count;
}
