/* The access of each conjunction is chosen, and predicates get the lists of what looks at them. */
#include "broker/core/layout.h"

#include <stdlib.h>

#include "broker/base/assert.h"

/* ---- the access of a conjunction ---- */

/* How often a predicate of each kind is true, beside how often rules ask for it: in millionths. What counts is the order. */
enum { FIELD_CERTAIN = 1000000 };
static const uint32_t kind_score[KINDS] = {
    [KIND_TEXT] = 10, [KIND_FOLD] = 20, [KIND_ADDRESS] = 20, [KIND_NUMBER] = 10, [KIND_NUMBER_TEXT] = 10,
    [KIND_PREFIX] = 2000, [KIND_FOLD_PREFIX] = 2000, [KIND_SUFFIX] = 2000, [KIND_FOLD_SUFFIX] = 2000, [KIND_BLOCK] = 2000,
    [KIND_WILDCARD] = 20000, [KIND_RANGE] = 100000, [KIND_TRUE] = 300000, [KIND_FALSE] = 300000, [KIND_NULL] = 300000,
    [KIND_ANY_STRING] = 700000, [KIND_EXISTS] = 800000, [KIND_BUT] = 900000, [KIND_ABSENT] = 950000,
};

static void score_fields(struct compile *compile)
{
    for (size_t i = 0; i < compile->conjunction_fields.count; i++)
        compile->fields.items[compile->conjunction_fields.items[i]].uses++;
    for (size_t f = 0; f < compile->fields.count; f++) {
        const struct field *field = &compile->fields.items[f];
        for (uint32_t i = 0; i < field->predicates_count; i++)
            compile->predicates.items[compile->words.items[field->predicates + i]].uses += field->uses;
    }
    for (size_t f = 0; f < compile->fields.count; f++) {
        struct field *field = &compile->fields.items[f];
        for (uint32_t i = 0; i < field->predicates_count; i++) {
            const struct predicate *predicate = &compile->predicates.items[compile->words.items[field->predicates + i]];
            field->score += kind_score[predicate->kind] + (uint64_t)predicate->uses * FIELD_CERTAIN / compile->conjunctions.count;
        }
    }
}

/* A field that may be absent says nothing about an event in which others of the conjunction come from one array: absent may then
 * mean absent from that item. */
static bool may_be_access(const struct conjunction *conjunction, const struct field *field)
{
    return conjunction->join == IMAGE_NONE || !field->may_be_absent;
}

static void choose_access(struct compile *compile, struct conjunction *conjunction)
{
    const uint32_t *fields = compile->conjunction_fields.items + conjunction->fields;
    uint64_t best = UINT64_MAX;

    conjunction->access = IMAGE_NONE;
    for (uint32_t i = 0; i < conjunction->fields_count; i++) {
        const struct field *field = &compile->fields.items[fields[i]];
        if (!may_be_access(conjunction, field) || field->score >= best)
            continue;
        best = field->score;
        conjunction->access = fields[i];
    }
    compile->list.count = 0; /* the others, what is rarely true first */
    for (uint32_t i = 0; i < conjunction->fields_count; i++) {
        if (fields[i] == conjunction->access)
            continue;
        compile->fields.items[fields[i]].judged = true;
        size_t at = compile->list.count;
        VEC_PUSH(&compile->list, fields[i]);
        uint32_t *list = compile->list.items;
        for (; at > 0 && compile->fields.items[list[at - 1]].score > compile->fields.items[fields[i]].score; at--)
            list[at] = list[at - 1];
        list[at] = fields[i];
    }
    if (compile->list.count > 0)
        conjunction->remainder = compile_remainder(compile, compile->list.items, (uint32_t)compile->list.count);
}

/* ---- who looks at a predicate ---- */

enum access_list { ACCESS_OWN, ACCESS_WEAK, ACCESS_ABSENT };

static enum access_list access_list_of(const struct predicate *predicate)
{
    switch (predicate->kind) {
    case KIND_EXISTS:
    case KIND_BUT: return ACCESS_WEAK;
    case KIND_ABSENT: return ACCESS_ABSENT;
    default: return ACCESS_OWN;
    }
}

/* A rule that asks for no more than that something is there, or is anything but this: such rules match most events, by the
 * thousand, so they are kept as bits. */
static bool is_bulk(const struct compile *compile, const struct conjunction *conjunction)
{
    const struct conjunction *all = compile->conjunctions.items, *end = all + compile->conjunctions.count;
    bool alone = (conjunction == all || conjunction[-1].rule != conjunction->rule) &&
                 (conjunction + 1 == end || conjunction[1].rule != conjunction->rule);

    if (!alone || conjunction->remainder != IMAGE_NONE || conjunction->join != IMAGE_NONE || conjunction->access == IMAGE_NONE)
        return false;
    const struct field *field = &compile->fields.items[conjunction->access];
    return field->predicates_count == 1 &&
           access_list_of(&compile->predicates.items[compile->words.items[field->predicates]]) == ACCESS_WEAK;
}

/* Each of its fields with a value in each item of an array that they share. */
static uint64_t join_steps(const struct conjunction *conjunction)
{
    return conjunction->join == IMAGE_NONE ? 0 : (uint64_t)conjunction->fields_count * MATCH_ITEMS_USUAL;
}

static void count_accesses(struct layout *layout)
{
    struct compile *compile = layout->compile;

    for (size_t c = 0; c < compile->conjunctions.count; c++) {
        struct conjunction *conjunction = &compile->conjunctions.items[c];
        choose_access(compile, conjunction);
        if (conjunction->access == IMAGE_NONE) {
            layout->always_count++;
            layout->price++;
            layout->join_steps += join_steps(conjunction);
            continue;
        }
        const struct field *field = &compile->fields.items[conjunction->access];
        conjunction->bulk = is_bulk(compile, conjunction);
        for (uint32_t i = 0; i < field->predicates_count; i++) {
            struct predicate *predicate = &compile->predicates.items[compile->words.items[field->predicates + i]];
            ASSERT(predicate->path < layout->paths.count && layout->paths.items != NULL);
            struct image_path *path = &layout->paths.items[predicate->path];
            predicate->accesses_count++;
            predicate->join_steps += join_steps(conjunction);
            if (access_list_of(predicate) != ACCESS_OWN)
                layout->join_steps += join_steps(conjunction);
            switch (access_list_of(predicate)) {
            case ACCESS_WEAK: path->weak_count += !conjunction->bulk; break;
            case ACCESS_ABSENT: path->absent_count++; break;
            case ACCESS_OWN:
                /* A range may hold for many values of one event: it is enough to learn it from the first. */
                predicate->marked |= conjunction->remainder != IMAGE_NONE || conjunction->join != IMAGE_NONE || predicate->kind == KIND_RANGE;
                break;
            }
        }
    }
}

static void reserve_lists(struct layout *layout)
{
    struct compile *compile = layout->compile;

    layout->always = layout_words(layout, layout->always_count);
    layout->always_count = 0;
    layout->absent_paths = (uint32_t)compile->words.count;
    for (uint32_t p = 0; p < layout->paths.count; p++)
        if (layout->paths.items[p].absent_count > 0)
            VEC_PUSH(&compile->words, p);
    layout->absent_paths_count = (uint32_t)compile->words.count - layout->absent_paths;
    for (size_t p = 0; p < layout->paths.count; p++) {
        struct image_path *path = &layout->paths.items[p];
        layout->price += path->weak_count + path->absent_count;
        path->weak = layout_words(layout, (size_t)path->weak_count * 2);
        path->absent = layout_words(layout, (size_t)path->absent_count * 2);
        path->weak_count = path->absent_count = 0;
    }
    for (size_t p = 0; p < compile->predicates.count; p++) {
        struct predicate *predicate = &compile->predicates.items[p];
        if (access_list_of(predicate) == ACCESS_OWN && predicate->accesses_count > 1) {
            predicate->access = IMAGE_LIST | layout_words(layout, predicate->accesses_count + 1);
            compile->words.items[predicate->access & ~IMAGE_LIST] = 0;
            predicate->marked = true;
        }
        if (predicate->fails_count > 0) {
            predicate->fails = layout_words(layout, predicate->fails_count + 1);
            compile->words.items[predicate->fails] = 0;
        }
    }
}

static void pair_put(struct compile *compile, uint32_t first, uint32_t *count, uint32_t conjunction, uint32_t predicate)
{
    compile->words.items[first + *count * 2] = conjunction;
    compile->words.items[first + *count * 2 + 1] = predicate;
    ++*count;
}

static void fill_lists(struct layout *layout)
{
    struct compile *compile = layout->compile;
    uint32_t *words = compile->words.items;

    for (uint32_t c = 0; c < compile->conjunctions.count; c++) {
        const struct conjunction *conjunction = &compile->conjunctions.items[c];
        if (conjunction->access == IMAGE_NONE) {
            words[layout->always + layout->always_count++] = c;
            continue;
        }
        const struct field *field = &compile->fields.items[conjunction->access];
        for (uint32_t i = 0; i < field->predicates_count; i++) {
            uint32_t id = words[field->predicates + i];
            struct predicate *predicate = &compile->predicates.items[id];
            ASSERT(predicate->path < layout->paths.count && layout->paths.items != NULL);
            struct image_path *path = &layout->paths.items[predicate->path];
            switch (access_list_of(predicate)) {
            case ACCESS_WEAK:
                if (!conjunction->bulk)
                    pair_put(compile, path->weak, &path->weak_count, c, id);
                break;
            case ACCESS_ABSENT: pair_put(compile, path->absent, &path->absent_count, c, id); break;
            case ACCESS_OWN:
                if (predicate->accesses_count == 1) {
                    bool alone = conjunction->remainder == IMAGE_NONE && conjunction->join == IMAGE_NONE;
                    predicate->access = alone ? IMAGE_RULE | conjunction->rule : c;
                } else {
                    uint32_t *list = words + (predicate->access & ~IMAGE_LIST);
                    list[++list[0]] = c;
                }
                break;
            }
        }
    }
    for (size_t p = 0; p < compile->predicates.count; p++) {
        const struct predicate *predicate = &compile->predicates.items[p];
        if (predicate->kind != KIND_BUT)
            continue;
        const struct image_but *but = &compile->buts.items[predicate->but];
        for (uint32_t i = 0; i < but->others_count; i++) {
            uint32_t *list = words + compile->predicates.items[words[but->others + i]].fails;
            list[++list[0]] = predicate->but;
        }
    }
}

/* ---- rules as bits ---- */

struct bulk_entry {
    uint32_t path, rule, but; /* but: IMAGE_NONE for exists */
};

static int compare_bulk(const void *left, const void *right)
{
    const struct bulk_entry *a = left, *b = right;

    if (a->path != b->path)
        return a->path < b->path ? -1 : 1;
    return (a->rule > b->rule) - (a->rule < b->rule);
}

/* The triples of each path, and the place of each entry in them: returned by entry. */
static uint32_t *bulk_triples(struct layout *layout, const struct bulk_entry *entries, size_t count)
{
    struct compile *compile = layout->compile;
    uint32_t *places = malloc((count + 1) * sizeof *places);

    ASSERT(places != NULL);
    ASSERT(count == 0 || layout->paths.items != NULL);
    for (size_t i = 0; i < count; i++) {
        struct image_path *path = &layout->paths.items[entries[i].path];
        uint32_t word = entries[i].rule / 64, bit = entries[i].rule % 64;
        if (path->bulk_count == 0)
            path->bulk = (uint32_t)compile->words.count;
        if (path->bulk_count == 0 || compile->words.items[compile->words.count - 3] != word) {
            VEC_PUSH(&compile->words, word);
            VEC_PUSH(&compile->words, 0);
            VEC_PUSH(&compile->words, 0);
            path->bulk_count++;
        }
        compile->words.items[compile->words.count - 2 + bit / 32] |= 1u << bit % 32;
        places[i] = (path->bulk_count - 1) * 64 + bit;
    }
    return places;
}

static void put_bulk(struct layout *layout)
{
    struct compile *compile = layout->compile;
    VEC(struct bulk_entry) entries = { 0 };

    for (size_t c = 0; c < compile->conjunctions.count; c++) {
        const struct conjunction *conjunction = &compile->conjunctions.items[c];
        if (!conjunction->bulk)
            continue;
        const struct predicate *predicate =
            &compile->predicates.items[compile->words.items[compile->fields.items[conjunction->access].predicates]];
        VEC_PUSH(&entries, (struct bulk_entry){ .path = predicate->path, .rule = conjunction->rule,
                                                .but = predicate->kind == KIND_BUT ? predicate->but : IMAGE_NONE });
    }
    if (entries.count > 1)
        qsort(entries.items, entries.count, sizeof *entries.items, compare_bulk);
    uint32_t *places = bulk_triples(layout, entries.items, entries.count);
    for (size_t i = 0; i < entries.count; i++)
        if (entries.items[i].but != IMAGE_NONE)
            compile->buts.items[entries.items[i].but].bulk_count++;
    for (size_t b = 0; b < compile->buts.count; b++) {
        compile->buts.items[b].bulk = layout_words(layout, compile->buts.items[b].bulk_count);
        compile->buts.items[b].bulk_count = 0;
    }
    for (size_t i = 0; i < entries.count; i++) {
        struct image_but *but = entries.items[i].but == IMAGE_NONE ? NULL : &compile->buts.items[entries.items[i].but];
        if (but != NULL)
            compile->words.items[but->bulk + but->bulk_count++] = places[i];
    }
    layout->price += entries.count;
    free(places);
    VEC_DONE(&entries);
}

static void mark_judged(struct compile *compile)
{
    for (size_t f = 0; f < compile->fields.count; f++) {
        const struct field *field = &compile->fields.items[f];
        for (uint32_t i = 0; field->judged && i < field->predicates_count; i++)
            compile->predicates.items[compile->words.items[field->predicates + i]].marked = true;
    }
}

void layout_accesses(struct layout *layout)
{
    score_fields(layout->compile);
    count_accesses(layout);
    mark_judged(layout->compile);
    reserve_lists(layout);
    fill_lists(layout);
    put_bulk(layout);
}
