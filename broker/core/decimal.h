/* decimal.h - the decimal value a JSON number spells: 12.50 and 125e-1 are both 125 x 10^-1. Two comparable numbers (number.h)
 * are equal exactly if their decimals are, so looking one up takes no conversion to a double. */
#ifndef SLUICE_CORE_DECIMAL_H
#define SLUICE_CORE_DECIMAL_H

#include "schemas/codec/view.h"

/* No shortest text of a double has more digits. */
enum { DECIMAL_DIGITS_MAX = 17 };

struct decimal {
    uint64_t digits;    /* without zeros at either end; 0 for every zero, which then has exponent 0 and no sign */
    int32_t exponent;   /* of ten, of the last digit */
    bool negative;
    bool too_long;      /* over DECIMAL_DIGITS_MAX digits: the rest means nothing */
};

struct decimal decimal_of_text(struct view text); /* a JSON number */
unsigned decimal_digits_count(uint64_t digits);

static inline bool decimal_equals(const struct decimal *a, const struct decimal *b)
{
    return a->digits == b->digits && a->exponent == b->exponent && a->negative == b->negative;
}

#endif
