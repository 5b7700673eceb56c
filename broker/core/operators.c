#include "broker/core/operators.h"

#include "broker/base/assert.h"
#include "broker/core/fold.h"

static bool starts(struct view text, struct view prefix)
{
    return text.len >= prefix.len && (prefix.len == 0 || memcmp(text.data, prefix.data, prefix.len) == 0);
}

static bool ends(struct view text, struct view suffix)
{
    return text.len >= suffix.len &&
           (suffix.len == 0 || memcmp(text.data + text.len - suffix.len, suffix.data, suffix.len) == 0);
}

/* The first segment is anchored at the start and the last at the end; each one between them may as well be found as far
 * left as possible, for that leaves the most to the others. No step ever goes back, so any pattern takes linear time. */
static bool wildcard_matches(const struct view *segments, unsigned count, struct view text)
{
    struct view first = segments[0], last = segments[count - 1];

    if (count == 1)
        return view_equals(text, first);
    if (text.len < first.len + last.len || !starts(text, first) || !ends(text, last))
        return false;
    const char *at = text.data + first.len, *end = text.data + text.len - last.len;
    for (unsigned i = 1; i + 1 < count; i++) {
        const char *found = memmem(at, (size_t)(end - at), segments[i].data, segments[i].len);
        if (found == NULL)
            return false;
        at = found + segments[i].len;
    }
    return true;
}

static const struct number *value_number(struct value *value)
{
    if (!value->number_known) {
        value->number = number_of_text(value->text);
        value->number_known = true;
    }
    return &value->number;
}

static bool range_has(const struct term_range *range, const struct number *number)
{
    if (!number->comparable)
        return false;
    bool above = range->low_included ? number->value >= range->low : number->value > range->low;
    bool below = range->high_included ? number->value <= range->high : number->value < range->high;
    return above && below;
}

static bool address_in(const struct term *term, struct view text)
{
    struct ip ip;

    if (!ip_of_text(text, &ip))
        return false;
    return term->op == TERM_CIDR ? ip_block_has(&term->block, &ip) : ip_equals(&term->address, &ip);
}

/* Any term but anything-but. */
static bool simple_term_matches(const struct term *term, struct value *value)
{
    bool string = value->type == VALUE_STRING;

    switch (term->op) {
    case TERM_STRING: return string && view_equals(value->text, term->text);
    case TERM_IP: return string && (view_equals(value->text, term->address_text) || address_in(term, value->text));
    case TERM_NUMBER: return value->type == VALUE_NUMBER && number_equals(&term->number, value_number(value));
    case TERM_TRUE: return value->type == VALUE_TRUE;
    case TERM_FALSE: return value->type == VALUE_FALSE;
    case TERM_NULL: return value->type == VALUE_NULL;
    case TERM_PREFIX: return string && starts(value->text, term->text);
    case TERM_SUFFIX: return string && ends(value->text, term->text);
    case TERM_IGNORE_CASE: return string && fold_equals(value->text, term->text);
    case TERM_PREFIX_IGNORE_CASE: return string && fold_starts(value->text, term->text);
    case TERM_SUFFIX_IGNORE_CASE: return string && fold_ends(value->text, term->text);
    case TERM_WILDCARD: return string && wildcard_matches(term->segments, term->segments_count, value->text);
    case TERM_RANGE: return value->type == VALUE_NUMBER && range_has(&term->range, value_number(value));
    case TERM_CIDR: return string && address_in(term, value->text);
    case TERM_EXISTS: return true;
    case TERM_ABSENT: return false;
    case TERM_ANYTHING_BUT: break;
    }
    ASSERT(term->op != TERM_ANYTHING_BUT); /* it does not nest */
    return false;
}

bool term_matches(const struct term *term, struct value *value)
{
    if (term->op != TERM_ANYTHING_BUT)
        return simple_term_matches(term, value);
    for (unsigned i = 0; i < term->others_count; i++)
        if (simple_term_matches(&term->others[i], value))
            return false;
    return true;
}
