#include "broker/core/number.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* A decimal as its significant digits, without zeros at either end, and the power of ten of the last one:
 * 12.50 is 125 x 10^-1. No digits: zero. */
enum { DIGITS_MAX = 17, EXPONENT_MAX = 100000 };

struct decimal {
    bool negative;
    bool too_long; /* over DIGITS_MAX digits: no shortest text is as long */
    unsigned digits_count;
    char digits[DIGITS_MAX];
    long exponent;
};

static struct decimal decimal_of(struct view text)
{
    struct decimal decimal = { 0 };
    const char *at = text.data, *end = text.data + text.len;
    unsigned long zeros = 0; /* seen since the last significant digit, not yet known to be inside the number */
    long scale = 0;          /* digits behind the point, and minus the zeros before it */
    bool behind_point = false;

    if (at < end && *at == '-') {
        decimal.negative = true;
        at++;
    }
    for (; at < end && *at != 'e' && *at != 'E'; at++) {
        if (*at == '.') {
            behind_point = true;
            continue;
        }
        scale += behind_point;
        if (*at == '0') {
            zeros += decimal.digits_count != 0;
            continue;
        }
        if (decimal.digits_count + zeros + 1 > DIGITS_MAX) {
            decimal.too_long = true;
            return decimal;
        }
        for (; zeros > 0; zeros--)
            decimal.digits[decimal.digits_count++] = '0';
        decimal.digits[decimal.digits_count++] = *at;
    }
    long exponent = 0;
    if (at < end) {
        bool negative = false;
        at++;
        if (at < end && (*at == '-' || *at == '+'))
            negative = *at++ == '-';
        for (; at < end; at++)
            if (exponent < EXPONENT_MAX)
                exponent = exponent * 10 + (*at - '0');
        exponent = negative ? -exponent : exponent;
    }
    decimal.exponent = exponent - scale + (long)zeros;
    return decimal;
}

/* The digits and exponent as text that strtod reads. */
enum { DECIMAL_TEXT_MAX = DIGITS_MAX + 32 };

static double decimal_value(const struct decimal *decimal)
{
    char text[DECIMAL_TEXT_MAX];

    (void)snprintf(text, sizeof text, "%.*se%ld", (int)decimal->digits_count, decimal->digits, decimal->exponent);
    return strtod(text, NULL); /* no locale is ever set: the point is a point, and there is none here */
}

/* The decimal of `digits_count` digits nearest to the positive double. */
static struct decimal nearest_decimal(double value, unsigned digits_count)
{
    char text[DECIMAL_TEXT_MAX];

    (void)snprintf(text, sizeof text, "%.*e", (int)digits_count - 1, value);
    return decimal_of(view_of(text));
}

/* The next larger decimal of the same length as `decimal` would have with `digits_count` digits. */
static struct decimal decimal_above(const struct decimal *decimal, unsigned digits_count)
{
    struct decimal above = *decimal;

    while (above.digits_count < digits_count) {
        above.digits[above.digits_count++] = '0';
        above.exponent--;
    }
    while (above.digits_count > 0 && above.digits[above.digits_count - 1] == '9') {
        above.digits_count--;
        above.exponent++;
    }
    if (above.digits_count == 0)
        above.digits[above.digits_count++] = '1';
    else
        above.digits[above.digits_count - 1]++;
    return above;
}

/* The shortest text that reads back as the positive `value`. Rounding to n digits finds it, but for a power of two: there
 * the gap to the next double below is half of that above, so the nearest text may lie outside and the one above inside. */
static struct decimal shortest_decimal(double value)
{
    for (unsigned count = 1; count < DIGITS_MAX; count++) {
        struct decimal nearest = nearest_decimal(value, count);
        if (decimal_value(&nearest) == value)
            return nearest;
        struct decimal above = decimal_above(&nearest, count);
        if (decimal_value(&above) == value)
            return above;
    }
    return nearest_decimal(value, DIGITS_MAX);
}

/* Every decimal of at most 15 digits, away from the ends of the range, is the shortest text of its double; of these the
 * ones with a small power of ten are one exact multiplication or division away from it. */
enum { DIGITS_ALWAYS = 15, EXPONENT_ALWAYS = 290, EXPONENT_EXACT = 22 };

static double small_decimal_value(const struct decimal *decimal)
{
    static const double powers[EXPONENT_EXACT + 1] = { 1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                                       1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22 };
    uint64_t digits = 0;

    for (unsigned i = 0; i < decimal->digits_count; i++)
        digits = digits * 10 + (uint64_t)(decimal->digits[i] - '0');
    return decimal->exponent < 0 ? (double)digits / powers[-decimal->exponent] : (double)digits * powers[decimal->exponent];
}

struct number number_of_text(struct view text)
{
    struct number number = { .text = text };
    struct decimal decimal = decimal_of(text);

    if (decimal.too_long)
        return number;
    if (decimal.digits_count == 0) {
        number.comparable = true; /* zero in any spelling, -0 too */
        return number;
    }
    if (decimal.digits_count <= DIGITS_ALWAYS && labs(decimal.exponent) <= EXPONENT_EXACT) {
        number.value = small_decimal_value(&decimal);
        number.comparable = true;
    } else {
        number.value = decimal_value(&decimal);
        number.comparable = decimal.digits_count <= DIGITS_ALWAYS && labs(decimal.exponent) <= EXPONENT_ALWAYS;
        if (!number.comparable && number.value != 0 && isfinite(number.value)) {
            struct decimal shortest = shortest_decimal(number.value);
            number.comparable = shortest.digits_count == decimal.digits_count && shortest.exponent == decimal.exponent &&
                                memcmp(shortest.digits, decimal.digits, decimal.digits_count) == 0;
        }
    }
    if (decimal.negative)
        number.value = -number.value;
    return number;
}

struct number number_of_double(double value)
{
    return (struct number){ .comparable = true, .value = value == 0 ? 0 : value };
}
