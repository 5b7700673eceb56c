/* Ranges of numbers as a segment tree. The bounds of all ranges of a path, sorted, cut the numbers into intervals that no bound
 * divides: open gaps and single points in turn.
 *
 *     bounds 1, 5:    0: below 1   1: at 1   2: between   3: at 5   4: above 5          [1, 5) is the intervals 1 and 2
 *
 * The intervals are the leaves of a binary tree in one array, node n above 2n and 2n + 1. Each range is written at the few nodes
 * that together cover it, so that a number finds all its ranges on the way from its leaf to the root, however they overlap. */
#include <stdlib.h>

#include "broker/core/layout.h"

static struct range_operand operand_of(const struct layout *layout, uint32_t id)
{
    struct range_operand operand;
    memcpy(&operand, layout_text(layout, id).data, sizeof operand);
    return operand;
}

static int compare_doubles(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;

    return (a > b) - (a < b);
}

static bool is_finite(double bound)
{
    return bound - bound == 0;
}

static uint32_t bound_find(const double *bounds, uint32_t count, double bound)
{
    uint32_t low = 0, high = count;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (bounds[middle] < bound)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct span {
    uint32_t first, end; /* leaves */
};

static struct span span_of(const struct range_operand *range, const double *bounds, uint32_t count)
{
    struct span span = { .first = 0, .end = 2 * count + 1 };

    if (is_finite(range->low))
        span.first = 2 * bound_find(bounds, count, range->low) + (range->low_included ? 1 : 2);
    if (is_finite(range->high))
        span.end = 2 * bound_find(bounds, count, range->high) + (range->high_included ? 2 : 1);
    return span;
}

/* The nodes that cover `span`, written to ret_nodes; two per level at most. */
enum { COVER_MAX = 64 };

static unsigned cover(struct span span, uint32_t leaves, uint32_t ret_nodes[COVER_MAX])
{
    unsigned count = 0;

    for (uint32_t low = span.first + leaves, high = span.end + leaves; low < high; low >>= 1, high >>= 1) {
        if ((low & 1) != 0)
            ret_nodes[count++] = low++;
        if ((high & 1) != 0)
            ret_nodes[count++] = --high;
    }
    return count;
}

void layout_ranges(struct layout *layout, const uint32_t *ids, size_t count)
{
    uint32_t first = (uint32_t)layout->numbers.count, bounds_count = 0, leaves = 1, nodes[COVER_MAX];

    for (size_t i = 0; i < count; i++) {
        struct range_operand range = operand_of(layout, ids[i]);
        if (is_finite(range.low))
            VEC_PUSH(&layout->numbers, range.low);
        if (is_finite(range.high))
            VEC_PUSH(&layout->numbers, range.high);
    }
    double *bounds = layout->numbers.items + first;
    qsort(bounds, layout->numbers.count - first, sizeof *bounds, compare_doubles);
    for (size_t i = 0; i < layout->numbers.count - first; i++)
        if (bounds_count == 0 || bounds[bounds_count - 1] != bounds[i])
            bounds[bounds_count++] = bounds[i];
    layout->numbers.count = first + bounds_count;
    while (leaves < 2 * bounds_count + 1)
        leaves *= 2;

    /* Two rounds over the ranges: how many at each node, then which. words[starts + n] is where the list of node n begins. */
    uint32_t starts = (uint32_t)layout->compile->words.count, starts_count = 2 * leaves + 1;
    VEC_ROOM(&layout->compile->words, starts + starts_count);
    memset(layout->compile->words.items + starts, 0, starts_count * sizeof(uint32_t));
    layout->compile->words.count += starts_count;
    uint32_t *words = layout->compile->words.items;
    for (size_t i = 0; i < count; i++) {
        struct range_operand range = operand_of(layout, ids[i]);
        unsigned covers = cover(span_of(&range, bounds, bounds_count), leaves, nodes);
        for (unsigned c = 0; c < covers; c++)
            words[starts + nodes[c]]++;
    }
    uint32_t at = starts + starts_count;
    for (uint32_t n = 0; n < starts_count; n++) { /* each to its end; filling moves it down to its beginning */
        at += words[starts + n];
        words[starts + n] = at;
    }
    VEC_ROOM(&layout->compile->words, at);
    words = layout->compile->words.items;
    layout->compile->words.count = at;
    for (size_t i = 0; i < count; i++) {
        struct range_operand range = operand_of(layout, ids[i]);
        unsigned covers = cover(span_of(&range, bounds, bounds_count), leaves, nodes);
        for (unsigned c = 0; c < covers; c++)
            words[--words[starts + nodes[c]]] = ids[i];
        layout_charge(layout, ids[i]);
    }
    VEC_PUSH(&layout->operators, (struct image_operator){ .kind = OPERATOR_RANGES, .slots = first, .slots_count = bounds_count,
                                                          .list = starts, .list_count = starts_count, .extra = leaves });
}
