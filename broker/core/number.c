#include "broker/core/number.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "broker/core/decimal.h"

__extension__ typedef unsigned __int128 wide;

/* ---- the slow way, right for every number: through text and back ---- */

enum { DECIMAL_TEXT_MAX = DECIMAL_DIGITS_MAX + 32 };

/* The digits and exponent as text that strtod reads. */
static double decimal_value(const struct decimal *decimal)
{
    char text[DECIMAL_TEXT_MAX];

    (void)snprintf(text, sizeof text, "%llue%ld", (unsigned long long)decimal->digits, (long)decimal->exponent);
    return strtod(text, NULL); /* no locale is ever set: the point is a point, and there is none here */
}

/* The decimal of `digits_count` digits nearest to the positive double. */
static struct decimal nearest_decimal(double value, unsigned digits_count)
{
    char text[DECIMAL_TEXT_MAX];

    (void)snprintf(text, sizeof text, "%.*e", (int)digits_count - 1, value);
    return decimal_of_text(view_of(text));
}

/* The next larger decimal of the same length as `decimal` would have with `digits_count` digits. */
static struct decimal decimal_above(const struct decimal *decimal, unsigned digits_count)
{
    struct decimal above = *decimal;

    for (unsigned count = decimal_digits_count(above.digits); count < digits_count; count++) {
        above.digits *= 10;
        above.exponent--;
    }
    above.digits++;
    for (; above.digits % 10 == 0; above.digits /= 10)
        above.exponent++;
    return above;
}

/* Whether no shorter text than `decimal` reads back as the positive `value`, as it does, nor a nearer one of the same length. If any
 * text with a digit less does, one of its own two neighbours of that length does, for what reads back as one double is an interval.
 * Rounding to as many digits finds the nearest, but for a power of two: there the gap to the next double below is half of that
 * above, so the nearest text may lie outside and the one above inside. */
static __attribute__((noinline, cold)) bool is_shortest(const struct decimal *decimal, double value)
{
    unsigned count = decimal_digits_count(decimal->digits);
    struct decimal below = { .digits = decimal->digits / 10, .exponent = decimal->exponent + 1 }, above = below;

    above.digits++;
    if (count > 1 && (decimal_value(&below) == value || decimal_value(&above) == value))
        return false;
    struct decimal nearest = nearest_decimal(value, count);
    if (count < DECIMAL_DIGITS_MAX && decimal_value(&nearest) != value)
        nearest = decimal_above(&nearest, count);
    return nearest.digits == decimal->digits && nearest.exponent == decimal->exponent;
}

/* ---- the fast ways ---- */

/* Every decimal of at most 15 digits, away from the ends of the range, is the shortest text of its double; of these the
 * ones with a small power of ten are one exact multiplication or division away from it. */
enum { EXPONENT_ALWAYS = 290, EXPONENT_EXACT = 22 };
static const uint64_t digits_always = 1000000000000000u; /* 10^15 */

static double small_decimal_value(const struct decimal *decimal)
{
    static const double powers[EXPONENT_EXACT + 1] = { 1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                                       1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22 };
    return decimal->exponent < 0 ? (double)decimal->digits / powers[-decimal->exponent]
                                 : (double)decimal->digits * powers[decimal->exponent];
}

/* Sixteen or seventeen digits with a point somewhere, as printed coordinates and measurements have: digits / 10^places,
 * divided as integers and rounded here, mantissa x 2^-scale. */
enum { PLACES_MAX = 27, MANTISSA_BITS = 53, QUOTIENT_BITS = 60 };

struct rounded {
    uint64_t mantissa;
    int scale;
};

static unsigned bits_count(uint64_t word)
{
    return 64 - (unsigned)__builtin_clzll(word);
}

static struct rounded divide(uint64_t digits, uint64_t power_of_five, unsigned places)
{
    unsigned shift = QUOTIENT_BITS - bits_count(digits) + bits_count(power_of_five);
    wide numerator = (wide)digits << shift;
    uint64_t quotient = (uint64_t)(numerator / power_of_five);
    bool exact = (wide)quotient * power_of_five == numerator;
    unsigned drop = bits_count(quotient) - MANTISSA_BITS;
    uint64_t mantissa = quotient >> drop, dropped = quotient & ((UINT64_C(1) << drop) - 1), half = UINT64_C(1) << (drop - 1);

    if (dropped > half || (dropped == half && (!exact || (mantissa & 1) != 0)))
        mantissa++;
    if (mantissa >> MANTISSA_BITS != 0) {
        mantissa >>= 1;
        drop++;
    }
    return (struct rounded){ .mantissa = mantissa, .scale = (int)(shift + places) - (int)drop };
}

/* Whether digits / 10^places rounds to the same double as what `exact` is the numerator of, both over 5^places x 2^gap, where one more in the
 * last place of that double is a power_of_five. That is odd, so nothing lies half way. Not for powers of two, whose neighbour below is nearer. */
static bool rounds_to(uint64_t digits, int gap, wide exact, uint64_t power_of_five)
{
    wide written = (wide)digits << gap;
    return 2 * (exact > written ? exact - written : written - exact) < power_of_five;
}

/* false: the slow way has to tell. Comparable: no decimal with a digit less rounds to the same double (if any does, one of the
 * two nearest does), and no other decimal of the same length is nearer to it. */
static bool fractional_decimal_value(const struct decimal *decimal, double *ret_value, bool *ret_comparable)
{
    unsigned places = (unsigned)-decimal->exponent;
    uint64_t power_of_five = 1;

    if (decimal->exponent >= 0 || decimal->exponent < -PLACES_MAX)
        return false;
    for (unsigned i = 0; i < places; i++)
        power_of_five *= 5;
    struct rounded rounded = divide(decimal->digits, power_of_five, places);
    int gap = rounded.scale - (int)places;
    if (rounded.mantissa == UINT64_C(1) << (MANTISSA_BITS - 1) || gap < 2)
        return false;
    *ret_value = ldexp((double)rounded.mantissa, -rounded.scale);
    uint64_t shorter = decimal->digits / 10 * 10;
    wide exact = (wide)rounded.mantissa * power_of_five, written = (wide)decimal->digits << gap;
    *ret_comparable = false;
    if (rounds_to(shorter, gap, exact, power_of_five) || rounds_to(shorter + 10, gap, exact, power_of_five))
        return true;
    wide off = exact > written ? exact - written : written - exact, half = (wide)1 << (gap - 1);
    *ret_comparable = off < half;
    return off != half;
}

struct number number_of_decimal(const struct decimal *decimal, struct view text, bool *ret_slow)
{
    struct number number = { .text = text };

    *ret_slow = false;
    if (decimal->too_long)
        return number;
    if (decimal->digits == 0) {
        number.comparable = true; /* zero in any spelling, -0 too */
        return number;
    }
    if (decimal->digits < digits_always && decimal->exponent >= -EXPONENT_EXACT && decimal->exponent <= EXPONENT_EXACT) {
        number.value = small_decimal_value(decimal);
        number.comparable = true;
    } else if (decimal->digits < digits_always || !fractional_decimal_value(decimal, &number.value, &number.comparable)) {
        number.value = decimal_value(decimal);
        number.comparable = decimal->digits < digits_always && labs(decimal->exponent) <= EXPONENT_ALWAYS;
        if (!number.comparable && number.value != 0 && isfinite(number.value))
            number.comparable = is_shortest(decimal, number.value);
        *ret_slow = true;
    }
    if (decimal->negative)
        number.value = -number.value;
    return number;
}

struct number number_of_text(struct view text)
{
    struct decimal decimal = decimal_of_text(text);
    bool slow;

    return number_of_decimal(&decimal, text, &slow);
}

struct number number_of_double(double value)
{
    return (struct number){ .comparable = true, .value = value == 0 ? 0 : value };
}
