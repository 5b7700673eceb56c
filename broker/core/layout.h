/* layout.h - the inside of compile_finish(): an image in the making. */
#ifndef SLUICE_CORE_LAYOUT_H
#define SLUICE_CORE_LAYOUT_H

#include "broker/core/compile_internal.h"

struct layout {
    struct compile *compile;
    VEC(struct image_node) nodes;
    VEC(struct image_child) children;
    VEC(struct image_path) paths;
    VEC(struct image_operator) operators;
    VEC(struct image_slot) slots;
    VEC(struct image_predicate) predicates;
    VEC(struct image_field) fields;
    VEC(struct image_remainder) remainders;
    VEC(struct image_conjunction) conjunctions;
    VEC(double) numbers;
    uint32_t absent_paths, absent_paths_count;
    uint32_t always, always_count;
    uint64_t price, join_steps;
    struct structure_names names;
    bool crowded;             /* some table is: PROBES_MAX */
};

/* layout_access.c: the paths are there. */
void layout_accesses(struct layout *layout);

/* layout_tables.c: predicates of one path and kind become one operator, or two. */
void layout_operators(struct layout *layout);
/* A table for `count` entries, with nothing in it. */
void layout_table(struct layout *layout, struct image_operator *operator, size_t count);
void layout_table_put(struct layout *layout, const struct image_operator *operator, uint64_t hash, uint32_t value);

/* layout_ranges.c and layout_wildcards.c. `ids`: predicates of one path and one kind. */
void layout_ranges(struct layout *layout, const uint32_t *ids, size_t count);
void layout_wildcards(struct layout *layout, uint32_t *ids, size_t count);

/* The first of so many words, with anything in them. */
static inline uint32_t layout_words(struct layout *layout, size_t count)
{
    struct compile *compile = layout->compile;
    uint32_t first = (uint32_t)compile->words.count;

    VEC_ROOM(&compile->words, first + count);
    compile->words.count += count;
    return first;
}
static inline const struct predicate *layout_predicate(const struct layout *layout, uint32_t id)
{
    return &layout->compile->predicates.items[id];
}
static inline struct view layout_text(const struct layout *layout, uint32_t id)
{
    return compile_text(layout->compile, layout_predicate(layout, id)->text);
}
/* How many conjunctions are looked at when this predicate is true. */
static inline uint64_t layout_price(const struct layout *layout, uint32_t id)
{
    return 1 + layout_predicate(layout, id)->accesses_count + layout_predicate(layout, id)->fails_count;
}
/* A predicate that may be true of a value whatever others are. */
static inline void layout_charge(struct layout *layout, uint32_t id)
{
    layout->price += layout_price(layout, id);
    layout->join_steps += layout_predicate(layout, id)->join_steps;
}

#endif
