/* number.h - JSON numbers as patterns compare them.
 *
 * A number is *comparable* if its decimal value is exactly what the shortest text of its nearest double says: 300, 300.0
 * and 3.0e2 are all the double 300, whose shortest text is 300. 2^53 + 1, 0.1234567890123456789, 1e400 and 1e-400 are not:
 * a double cannot tell them from their neighbours. Comparable numbers compare by value, all others by their source text. */
#ifndef SLUICE_CORE_NUMBER_H
#define SLUICE_CORE_NUMBER_H

#include "schemas/codec/view.h"

struct number {
    bool comparable;
    double value;     /* when comparable; never -0 */
    struct view text; /* the source */
};

struct number number_of_text(struct view text); /* a JSON number */
struct decimal;
/* Of that decimal, spelt so. *ret_slow: it took microseconds, as few numbers do: very large or small ones, and most of 16 digits or more
 * without a point. */
struct number number_of_decimal(const struct decimal *decimal, struct view text, bool *ret_slow);
struct number number_of_double(double value);   /* finite; comparable by definition, so its text is not needed */

static inline bool number_equals(const struct number *a, const struct number *b)
{
    if (a->comparable != b->comparable)
        return false;
    return a->comparable ? a->value == b->value : view_equals(a->text, b->text);
}

#endif
