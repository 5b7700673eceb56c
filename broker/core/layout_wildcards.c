/* Which wildcards are found by their ends and which by what they hold: wildcard.h. */
#include <stdlib.h>

#include "broker/base/assert.h"
#include "broker/core/layout.h"
#include "broker/core/wildcard.h"

enum { SHARED_ENDS_MAX = 16 }; /* more wildcards than these with the same ends are better told apart by a gram */

struct wildcard {
    uint64_t ends;            /* the hash of its ends */
    uint32_t id;
    uint8_t head_len, tail_len;
    bool by_gram;
    uint16_t bucket;
};

struct parts {
    const char *at;
    uint32_t count;
};

static struct parts parts_of(const struct layout *layout, uint32_t id)
{
    struct parts parts = { .at = layout_text(layout, id).data + WILDCARD_GRAMS * sizeof(uint16_t) };

    memcpy(&parts.count, parts.at, sizeof parts.count);
    parts.at += sizeof parts.count;
    return parts;
}

static struct view part_next(struct parts *parts)
{
    struct view part = { .data = parts->at + 4, .len = text_load4(parts->at) };
    parts->at += 4 + part.len;
    parts->count--;
    return part;
}

static struct wildcard wildcard_of(const struct layout *layout, uint32_t id)
{
    struct parts parts = parts_of(layout, id);
    struct view first = part_next(&parts), last = first;

    while (parts.count > 0)
        last = part_next(&parts);
    unsigned head_len = first.len < WILDCARD_END_BYTES ? (unsigned)first.len : WILDCARD_END_BYTES;
    unsigned tail_len = last.len < WILDCARD_END_BYTES ? (unsigned)last.len : WILDCARD_END_BYTES;
    uint64_t head = text_head(first.data, first.len);
    uint64_t tail = last.len >= 8 ? text_tail(last.data, last.len) : last.len == 0 ? 0 : text_load_short(last.data, last.len) << (8 - last.len) * 8;
    return (struct wildcard){ .id = id, .head_len = (uint8_t)head_len, .tail_len = (uint8_t)tail_len,
                              .ends = wildcard_ends_hash(head, tail, head_len, tail_len) };
}

/* Its grams, in no order, repeated as they are. When there is no pair, the single bytes. */
static void grams_of(struct layout *layout, uint32_t id)
{
    bool any = false;

    layout->compile->list.count = 0;
    for (int singles = 0; singles < 2 && !any; singles++) {
        struct parts parts = parts_of(layout, id);
        while (parts.count > 0) {
            struct view part = part_next(&parts);
            for (size_t i = 0; i + (singles == 0) < part.len; i++) {
                const unsigned char *at = (const unsigned char *)part.data + i;
                uint32_t gram = singles == 0 ? gram_of_pair(at[0], at[1]) : gram_of_byte(at[0]);
                VEC_PUSH(&layout->compile->list, gram);
                any = true;
            }
        }
    }
    ASSERT(any);
}

/* The bucket of its rarest gram; the next rare ones are written into its operand. */
static void choose_grams(struct layout *layout, struct wildcard *wildcard, const uint32_t *frequency)
{
    uint16_t chosen[WILDCARD_GRAMS + 1] = { 0 };
    unsigned count = 0;

    grams_of(layout, wildcard->id);
    for (size_t i = 0; i < layout->compile->list.count; i++) {
        uint16_t gram = (uint16_t)layout->compile->list.items[i];
        unsigned place = 0;
        bool known = false;
        for (unsigned c = 0; c < count; c++)
            known |= chosen[c] == gram;
        if (known)
            continue;
        while (place < count && frequency[chosen[place]] <= frequency[gram])
            place++;
        if (place > WILDCARD_GRAMS)
            continue;
        count += count <= WILDCARD_GRAMS;
        memmove(chosen + place + 1, chosen + place, (count - place - 1) * sizeof chosen[0]);
        chosen[place] = gram;
    }
    wildcard->bucket = chosen[0];
    uint16_t others[WILDCARD_GRAMS];
    for (unsigned i = 0; i < WILDCARD_GRAMS; i++)
        others[i] = i + 1 < count ? chosen[i + 1] : GRAM_NONE;
    char *operand = layout->compile->texts.data + layout_predicate(layout, wildcard->id)->text + sizeof(uint32_t);
    memcpy(operand, others, sizeof others);
}

static int compare_ends(const void *left, const void *right)
{
    const struct wildcard *a = left, *b = right;

    if (a->ends != b->ends)
        return a->ends < b->ends ? -1 : 1;
    return (a->id > b->id) - (a->id < b->id);
}

static void put_shapes(struct layout *layout, const struct wildcard *wildcards, size_t count, size_t groups)
{
    struct compile *compile = layout->compile;
    struct image_operator operator = { .kind = OPERATOR_SHAPES };
    bool shapes[WILDCARD_SHAPES] = { false };

    if (groups == 0)
        return;
    layout_table(layout, &operator, groups);
    for (size_t i = 0; i < count;) {
        size_t end = i;
        while (end < count && wildcards[end].ends == wildcards[i].ends)
            end++;
        if (!wildcards[i].by_gram) {
            layout_table_put(layout, &operator, wildcards[i].ends, (uint32_t)compile->words.count);
            VEC_PUSH(&compile->words, (uint32_t)(end - i));
            for (size_t w = i; w < end; w++)
                VEC_PUSH(&compile->words, wildcards[w].id);
            shapes[wildcards[i].head_len * (WILDCARD_END_BYTES + 1) + wildcards[i].tail_len] = true;
        }
        i = end;
    }
    operator.list = (uint32_t)compile->words.count;
    for (uint32_t shape = 0; shape < WILDCARD_SHAPES; shape++)
        if (shapes[shape])
            VEC_PUSH(&compile->words, shape / (WILDCARD_END_BYTES + 1) | shape % (WILDCARD_END_BYTES + 1) << 8);
    operator.list_count = (uint32_t)compile->words.count - operator.list;
    VEC_PUSH(&layout->operators, operator);
}

/* The list: a bit for each bucket with anything in it, where each bucket begins, and the buckets one after the other. */
static void put_grams(struct layout *layout, const struct wildcard *wildcards, size_t count, size_t by_gram_count)
{
    struct compile *compile = layout->compile;
    uint32_t list = (uint32_t)compile->words.count, starts = list + GRAM_WORDS * 2, at = starts + GRAM_BUCKETS + 1;

    if (by_gram_count == 0)
        return;
    VEC_ROOM(&compile->words, at + by_gram_count);
    uint32_t *words = compile->words.items;
    memset(words + list, 0, (at - list) * sizeof *words);
    compile->words.count = at + by_gram_count;
    for (size_t i = 0; i < count; i++) {
        if (!wildcards[i].by_gram)
            continue;
        words[starts + wildcards[i].bucket]++;
        words[list + wildcards[i].bucket / 32] |= 1u << wildcards[i].bucket % 32;
    }
    for (uint32_t b = 0; b <= GRAM_BUCKETS; b++) {
        at += words[starts + b];
        words[starts + b] = at;
    }
    for (size_t i = count; i-- > 0;)
        if (wildcards[i].by_gram)
            words[--words[starts + wildcards[i].bucket]] = wildcards[i].id;
    VEC_PUSH(&layout->operators, (struct image_operator){ .kind = OPERATOR_GRAMS, .list = list, .list_count = at - list });
}

void layout_wildcards(struct layout *layout, uint32_t *ids, size_t count)
{
    VEC(struct wildcard) wildcards = { 0 };
    uint32_t *frequency = calloc(GRAM_BUCKETS, sizeof *frequency);
    size_t groups = 0, by_gram_count = 0;

    ASSERT(frequency != NULL);
    for (size_t i = 0; i < count; i++) {
        VEC_PUSH(&wildcards, wildcard_of(layout, ids[i]));
        grams_of(layout, ids[i]);
        for (size_t g = 0; g < layout->compile->list.count; g++)
            frequency[layout->compile->list.items[g]]++;
        layout_charge(layout, ids[i]);
    }
    qsort(wildcards.items, count, sizeof *wildcards.items, compare_ends);
    for (size_t i = 0; i < count;) {
        size_t end = i;
        while (end < count && wildcards.items[end].ends == wildcards.items[i].ends)
            end++;
        bool by_gram = end - i > SHARED_ENDS_MAX || wildcards.items[i].head_len + wildcards.items[i].tail_len == 0;
        for (size_t w = i; w < end; w++) {
            wildcards.items[w].by_gram = by_gram;
            choose_grams(layout, &wildcards.items[w], frequency);
        }
        groups += !by_gram;
        by_gram_count += by_gram ? end - i : 0;
        i = end;
    }
    put_shapes(layout, wildcards.items, count, groups);
    put_grams(layout, wildcards.items, count, by_gram_count);
    VEC_DONE(&wildcards);
    free(frequency);
}
