/* Each path gets its tables. */
#include "broker/core/layout.h"

#include <stdlib.h>

#include "broker/base/assert.h"
#include "broker/core/text_hash.h"

enum {
    SHAPES_COUNT_MAX = 12, /* operands: of other values some one in six then looks like one of them */
    FILTER_BITS = 16,      /* for each entry of a table: of what it does not hold, one in fifty seems to be in it */
};

/* ---- slots ---- */

void layout_table(struct layout *layout, struct image_operator *operator, size_t count)
{
    struct compile *compile = layout->compile;
    size_t room = count + count / 5 + 1; /* five sixths full; one is free */

    operator->slots = (uint32_t)layout->slots.count;
    operator->slots_count = (uint32_t)room;
    VEC_ROOM(&layout->slots, operator->slots + room);
    memset(layout->slots.items + operator->slots, 0xFF, room * sizeof *layout->slots.items);
    layout->slots.count += room;
    operator->filter_count = (uint32_t)(count * FILTER_BITS / 32) + 1;
    operator->filter = layout_words(layout, operator->filter_count);
    memset(compile->words.items + operator->filter, 0, operator->filter_count * sizeof *compile->words.items);
}

void layout_table_put(struct layout *layout, const struct image_operator *operator, uint64_t hash, uint32_t value)
{
    struct image_slot *slots = layout->slots.items + operator->slots;
    uint32_t at = image_slot_of(hash, operator->slots_count);

    for (uint32_t probes = 0; slots[at].value != IMAGE_NONE; at = at + 1 == operator->slots_count ? 0 : at + 1) {
        layout->crowded |= ++probes == PROBES_MAX;
        if (layout->crowded)
            return;
    }
    slots[at] = (struct image_slot){ .tag = (uint32_t)(hash >> 32), .value = value };
    layout->compile->words.items[operator->filter + image_filter_word_of(hash, operator->filter_count)] |= image_filter_bits_of(hash);
}

static uint64_t hash_from_front(struct view text) { return text_hash(text.data, text.len); }
static uint64_t hash_from_back(struct view text) { return text_hash_back(text.data + text.len, text.len); }
static uint64_t hash_of_decimal(struct view operand) { return text_hash(operand.data, offsetof(struct number_operand, value)); }
static uint64_t hash_of_double(struct view operand)
{
    return text_hash(operand.data + offsetof(struct number_operand, value), sizeof(double));
}

static struct image_operator *put_table(struct layout *layout, enum image_operator_kind kind, const uint32_t *ids, size_t count,
                                        uint64_t (*hash)(struct view operand))
{
    struct image_operator operator = { .kind = kind };

    layout_table(layout, &operator, count);
    for (size_t i = 0; i < count; i++)
        layout_table_put(layout, &operator, hash(layout_text(layout, ids[i])), ids[i]);
    VEC_PUSH(&layout->operators, operator);
    return &layout->operators.items[layout->operators.count - 1];
}

/* The distinct ones among as many lengths, ascending, as the operator's list. */
static void put_lengths(struct layout *layout, struct image_operator *operator, const uint32_t *lengths, size_t count)
{
    struct compile *compile = layout->compile;
    uint32_t max = 0;

    for (size_t i = 0; i < count; i++)
        max = lengths[i] > max ? lengths[i] : max;
    uint8_t *seen = calloc(max + 1, 1);
    ASSERT(seen != NULL);
    for (size_t i = 0; i < count; i++)
        seen[lengths[i]] = 1;
    operator->list = (uint32_t)compile->words.count;
    for (uint32_t length = 0; length <= max; length++)
        if (seen[length] != 0)
            VEC_PUSH(&compile->words, length);
    operator->list_count = (uint32_t)compile->words.count - operator->list;
    free(seen);
}

static void put_affixes(struct layout *layout, enum image_operator_kind kind, const uint32_t *ids, size_t count,
                        uint64_t (*hash)(struct view operand))
{
    uint32_t *lengths = malloc(count * sizeof *lengths);

    ASSERT(lengths != NULL);
    for (size_t i = 0; i < count; i++) {
        lengths[i] = (uint32_t)layout_text(layout, ids[i]).len;
        layout_charge(layout, ids[i]);
    }
    put_lengths(layout, put_table(layout, kind, ids, count, hash), lengths, count);
    free(lengths);
}

/* An operand of BLOCK is the network and a byte for the mask's length. */
static void put_blocks(struct layout *layout, uint32_t *ids, size_t count)
{
    uint32_t *own = malloc(count * sizeof *own), *lengths = malloc(count * sizeof *lengths);

    ASSERT(own != NULL && lengths != NULL);
    for (size_t bytes = 4; bytes <= 16; bytes += 12) {
        size_t own_count = 0;
        for (size_t i = 0; i < count; i++) {
            struct view operand = layout_text(layout, ids[i]);
            if (operand.len != bytes + 1)
                continue;
            lengths[own_count] = (unsigned char)operand.data[bytes];
            own[own_count++] = ids[i];
            layout_charge(layout, ids[i]);
        }
        if (own_count > 0)
            put_lengths(layout, put_table(layout, bytes == 4 ? OPERATOR_BLOCKS4 : OPERATOR_BLOCKS6, own, own_count, hash_from_front),
                        lengths, own_count);
    }
    free(own);
    free(lengths);
}

/* ---- the tables of a path ---- */

static void put_kind(struct layout *layout, enum predicate_kind kind, uint32_t path, uint32_t *ids, size_t count)
{
    switch (kind) {
    case KIND_TEXT: put_table(layout, OPERATOR_EXACT, ids, count, hash_from_front); break;
    case KIND_FOLD: put_table(layout, OPERATOR_FOLD_EXACT, ids, count, hash_from_front); break;
    case KIND_PREFIX: put_affixes(layout, OPERATOR_PREFIX, ids, count, hash_from_front); break;
    case KIND_FOLD_PREFIX: put_affixes(layout, OPERATOR_FOLD_PREFIX, ids, count, hash_from_front); break;
    case KIND_SUFFIX: put_affixes(layout, OPERATOR_SUFFIX, ids, count, hash_from_back); break;
    case KIND_FOLD_SUFFIX: put_affixes(layout, OPERATOR_FOLD_SUFFIX, ids, count, hash_from_back); break;
    case KIND_ADDRESS: put_table(layout, OPERATOR_ADDRESS, ids, count, hash_from_front); break;
    case KIND_BLOCK: put_blocks(layout, ids, count); break;
    case KIND_WILDCARD: layout_wildcards(layout, ids, count); break;
    case KIND_ANY_STRING: VEC_PUSH(&layout->operators, (struct image_operator){ .kind = OPERATOR_ANY_STRING, .extra = ids[0] }); break;
    case KIND_NUMBER:
        put_table(layout, OPERATOR_DECIMAL, ids, count, hash_of_decimal);
        put_table(layout, OPERATOR_DOUBLE, ids, count, hash_of_double);
        break;
    case KIND_NUMBER_TEXT: put_table(layout, OPERATOR_NUMBER_TEXT, ids, count, hash_from_front); break;
    case KIND_RANGE: layout_ranges(layout, ids, count); break;
    case KIND_TRUE:
    case KIND_FALSE:
    case KIND_NULL: layout->paths.items[path].literals[kind - KIND_TRUE] = ids[0]; break;
    case KIND_EXISTS:
    case KIND_ABSENT:
    case KIND_BUT:
    case KINDS: break;
    }
}

/* Predicates sorted by path, then by kind, by counting. */
static uint32_t *sorted_predicates(const struct layout *layout)
{
    const struct predicate *items = layout->compile->predicates.items;
    size_t count = layout->compile->predicates.count, paths = layout->paths.count;
    uint32_t *by_kind = malloc((count + 1) * sizeof *by_kind), *by_path = malloc((count + 1) * sizeof *by_path);
    uint32_t kinds[KINDS + 1] = { 0 }, *starts = calloc(paths + 1, sizeof *starts);

    ASSERT(by_kind != NULL && by_path != NULL && starts != NULL);
    for (size_t i = 0; i < count; i++) {
        kinds[items[i].kind + 1]++;
        starts[items[i].path + 1]++;
    }
    for (size_t k = 1; k <= KINDS; k++)
        kinds[k] += kinds[k - 1];
    for (size_t p = 1; p <= paths; p++)
        starts[p] += starts[p - 1];
    for (uint32_t i = 0; i < count; i++)
        by_kind[kinds[items[i].kind]++] = i;
    for (size_t i = 0; i < count; i++)
        by_path[starts[items[by_kind[i]].path]++] = by_kind[i];
    free(by_kind);
    free(starts);
    return by_path;
}

/* What the operators for strings of a path are told apart by before any is asked. `ids`: its predicates, those of texts first. */
static void put_shapes(const struct layout *layout, const uint32_t *ids, size_t count, struct image_path *path)
{
    uint32_t operators = path->number_operators - path->string_operators;

    path->exact = operators == 1 && layout->operators.items[path->string_operators].kind == OPERATOR_EXACT ? path->string_operators : IMAGE_NONE;
    path->shapes = operators == 0 ? 0 : ~UINT64_C(0);
    if (path->exact == IMAGE_NONE || (count > SHAPES_COUNT_MAX && layout_predicate(layout, ids[SHAPES_COUNT_MAX])->kind == KIND_TEXT))
        return;
    path->shapes = 0;
    for (size_t i = 0; i < count && layout_predicate(layout, ids[i])->kind == KIND_TEXT; i++)
        path->shapes |= UINT64_C(1) << image_shape_of(layout_text(layout, ids[i]));
}

void layout_operators(struct layout *layout)
{
    const struct predicate *items = layout->compile->predicates.items;
    size_t count = layout->compile->predicates.count, at = 0;
    uint32_t *ids = sorted_predicates(layout);

    for (uint32_t p = 0; p < layout->paths.count; p++) {
        struct image_path *path = &layout->paths.items[p];
        path->string_operators = (uint32_t)layout->operators.count;
        path->number_operators = UINT32_MAX;
        size_t first = at;
        while (at < count && items[ids[at]].path == p) {
            size_t end = at;
            while (end < count && items[ids[end]].path == p && items[ids[end]].kind == items[ids[at]].kind)
                end++;
            if (path->number_operators == UINT32_MAX && items[ids[at]].kind >= KIND_NUMBER)
                path->number_operators = (uint32_t)layout->operators.count;
            put_kind(layout, items[ids[at]].kind, p, ids + at, end - at);
            at = end;
        }
        path->operators_end = (uint32_t)layout->operators.count;
        if (path->number_operators == UINT32_MAX)
            path->number_operators = path->operators_end;
        put_shapes(layout, ids + first, at - first, path);
    }
    free(ids);
}
