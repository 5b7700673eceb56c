/* What was gathered becomes an image: the access of each conjunction is chosen, predicates get the lists of what looks at them,
 * and each path its tables. */
#include "broker/core/layout.h"

#include <stdlib.h>

#include "broker/base/assert.h"
#include "broker/core/ip.h"
#include "broker/core/text_hash.h"

/* ---- the access of a conjunction ---- */

/* How often a predicate of each kind is true, beside how often rules ask for it: in millionths. What counts is the order. */
enum {
    FIELD_CERTAIN = 1000000,
    SHAPES_COUNT_MAX = 12, /* operands: of other values some one in six then looks like one of them */
    SPARSE_COUNT_MAX = 64, SPARSE_SLOTS = 8, /* in a table of so few, slots for each: mostly a lookup meets an empty one, as the processor expects */
};
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

static uint32_t words_skip(struct compile *compile, size_t count)
{
    uint32_t first = (uint32_t)compile->words.count;

    VEC_ROOM(&compile->words, first + count);
    compile->words.count += count;
    return first;
}

static void reserve_lists(struct layout *layout)
{
    struct compile *compile = layout->compile;

    layout->always = words_skip(compile, layout->always_count);
    layout->always_count = 0;
    layout->absent_paths = (uint32_t)compile->words.count;
    for (uint32_t p = 0; p < layout->paths.count; p++)
        if (layout->paths.items[p].absent_count > 0)
            VEC_PUSH(&compile->words, p);
    layout->absent_paths_count = (uint32_t)compile->words.count - layout->absent_paths;
    for (size_t p = 0; p < layout->paths.count; p++) {
        struct image_path *path = &layout->paths.items[p];
        layout->price += path->weak_count + path->absent_count;
        path->weak = words_skip(compile, (size_t)path->weak_count * 2);
        path->absent = words_skip(compile, (size_t)path->absent_count * 2);
        path->weak_count = path->absent_count = 0;
    }
    for (size_t p = 0; p < compile->predicates.count; p++) {
        struct predicate *predicate = &compile->predicates.items[p];
        if (access_list_of(predicate) == ACCESS_OWN && predicate->accesses_count > 1) {
            predicate->access = IMAGE_LIST | words_skip(compile, predicate->accesses_count + 1);
            compile->words.items[predicate->access & ~IMAGE_LIST] = 0;
            predicate->marked = true;
        }
        if (predicate->fails_count > 0) {
            predicate->fails = words_skip(compile, predicate->fails_count + 1);
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
        compile->buts.items[b].bulk = words_skip(compile, compile->buts.items[b].bulk_count);
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

/* ---- slots ---- */

uint32_t layout_slots(struct layout *layout, size_t count, uint32_t *ret_slots_count)
{
    uint32_t first = (uint32_t)layout->slots.count;
    size_t room = 1 + (count <= SPARSE_COUNT_MAX ? SPARSE_SLOTS * count : count + count / 3); /* or three quarters full; one is free */

    VEC_ROOM(&layout->slots, first + room);
    memset(layout->slots.items + first, 0xFF, room * sizeof *layout->slots.items);
    layout->slots.count += room;
    *ret_slots_count = (uint32_t)room;
    return first;
}

void layout_slot_put(struct layout *layout, uint32_t slots, uint32_t slots_count, uint64_t hash, uint32_t value)
{
    uint32_t at = image_slot_of(hash, slots_count);

    for (uint32_t probes = 0; layout->slots.items[slots + at].value != IMAGE_NONE; at = at + 1 == slots_count ? 0 : at + 1) {
        layout->crowded |= ++probes == PROBES_MAX;
        if (layout->crowded)
            return;
    }
    layout->slots.items[slots + at] = (struct image_slot){ .tag = (uint32_t)(hash >> 32), .value = value };
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

    operator.slots = layout_slots(layout, count, &operator.slots_count);
    for (size_t i = 0; i < count; i++)
        layout_slot_put(layout, operator.slots, operator.slots_count, hash(layout_text(layout, ids[i])), ids[i]);
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

static void put_operators(struct layout *layout)
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

/* ---- names ---- */

static void put_paths(struct layout *layout)
{
    const struct compile *compile = layout->compile;

    for (size_t p = 0; p < compile->leaf_nodes.count; p++)
        VEC_PUSH(&layout->paths, (struct image_path){ .node = compile->leaf_nodes.items[p], .literals = { IMAGE_NONE, IMAGE_NONE, IMAGE_NONE },
                                                      .joined = compile->joined.items[p] != 0 ? PATH_JOINED_IF_TRUE : PATH_ALONE });
    for (size_t p = 0; p < compile->predicates.count; p++) { /* these are true of values that no table finds */
        const struct predicate *predicate = &compile->predicates.items[p];
        ASSERT(predicate->path < layout->paths.count && layout->paths.items != NULL);
        struct image_path *path = &layout->paths.items[predicate->path];
        if (path->joined != PATH_ALONE && predicate->kind >= KIND_EXISTS)
            path->joined = PATH_JOINED;
    }
}

static void name_begins(struct layout *layout, unsigned char byte)
{
    if (byte < 0x80)
        layout->names.low[byte & 15] |= (uint8_t)(1 << (byte >> 4));
}

static void put_nodes(struct layout *layout)
{
    struct compile *compile = layout->compile;
    const struct path_node *nodes = compile->paths.nodes.items;
    size_t count = compile->paths.nodes.count;

    for (size_t n = 0; n < count; n++) {
        uint32_t len = (uint32_t)nodes[n].name.len;
        VEC_PUSH(&layout->nodes, (struct image_node){ .name = (uint32_t)compile->texts.len, .parent = n == 0 ? IMAGE_NONE : nodes[n].parent,
                                                      .path = nodes[n].leaf == PATHS_NONE ? IMAGE_NONE : nodes[n].leaf });
        bytes_put(&compile->texts, &len, sizeof len);
        bytes_put_view(&compile->texts, nodes[n].name);
        if (n == 0)
            continue;
        name_begins(layout, len == 0 ? '"' : (unsigned char)nodes[n].name.data[0]);
        if (len == 0)
            name_begins(layout, '.'); /* {".b": ..} is below the empty name */
        layout->nodes.items[nodes[n].parent].children_count++;
        layout->nodes.items[nodes[n].parent].children_lengths |= UINT64_C(1) << (len < 63 ? len : 63);
    }
    name_begins(layout, '\\');
    for (size_t c = 0; c < compile->conjunctions.count; c++) {
        const uint32_t *join = compile->conjunctions.items[c].join == IMAGE_NONE ? NULL : compile->words.items + compile->conjunctions.items[c].join;
        ASSERT(join == NULL || (nodes != NULL && layout->nodes.items != NULL));
        for (uint32_t i = 0; join != NULL && i < join[0]; i++)
            for (uint32_t node = join[2 + (size_t)i * 2]; node != 0 && layout->nodes.items[node].joined == 0; node = nodes[node].parent)
                layout->nodes.items[node].joined = 1;
    }
    for (size_t n = 0; n < count; n++) {
        struct image_node *node = &layout->nodes.items[n];
        uint32_t room = 1, wanted = node->children_count * 2;
        while (room < wanted)
            room *= 2;
        node->children = (uint32_t)layout->children.count;
        node->children_count = node->children_count == 0 ? 0 : room;
        for (uint32_t i = 0; i < node->children_count; i++)
            VEC_PUSH(&layout->children, (struct image_child){ .node = IMAGE_NONE });
    }
    for (uint32_t n = 1; n < count; n++) {
        const struct image_node *parent = &layout->nodes.items[nodes[n].parent];
        struct view name = nodes[n].name;
        uint64_t head = text_head(name.data, name.len), tail = text_tail(name.data, name.len);
        struct image_child *slots = layout->children.items + parent->children;
        uint32_t mask = parent->children_count - 1, at = image_child_of(head, tail, name.len, parent->children_count);
        for (uint32_t probes = 0; slots[at].node != IMAGE_NONE && !layout->crowded; at = (at + 1) & mask)
            layout->crowded = ++probes == CHILD_PROBES_MAX;
        slots[at] = (struct image_child){ .head = head, .tail = tail, .len = (uint32_t)name.len, .node = n };
    }
}

/* ---- all together ---- */

static void put_records(struct layout *layout)
{
    const struct compile *compile = layout->compile;

    for (size_t p = 0; p < compile->predicates.count; p++) {
        const struct predicate *from = &compile->predicates.items[p];
        uint32_t kind = from->kind == KIND_EXISTS ? PREDICATE_EXISTS : from->kind == KIND_ABSENT ? PREDICATE_ABSENT
                        : from->kind == KIND_BUT  ? PREDICATE_BUT : PREDICATE_PLAIN;
        VEC_PUSH(&layout->predicates,
                 (struct image_predicate){ .text = from->kind == KIND_BUT ? from->but : from->text, .access = from->access,
                                           .fails = from->fails,
                                           .meta = kind | (from->marked ? PREDICATE_MARKED : 0) | from->path << PREDICATE_PATH_SHIFT });
    }
    for (size_t f = 0; f < compile->fields.count; f++) {
        const struct field *from = &compile->fields.items[f];
        VEC_PUSH(&layout->fields, (struct image_field){ .predicates = from->predicates, .predicates_count = from->predicates_count,
                                                        .path = from->path, .may_be_absent = from->may_be_absent });
    }
    for (size_t r = 0; r < compile->remainders.count; r++)
        VEC_PUSH(&layout->remainders, (struct image_remainder){ .fields = compile->remainders.items[r].fields,
                                                                .fields_count = compile->remainders.items[r].fields_count });
    for (size_t c = 0; c < compile->conjunctions.count; c++) {
        const struct conjunction *from = &compile->conjunctions.items[c];
        VEC_PUSH(&layout->conjunctions, (struct image_conjunction){ .rule = from->rule, .remainder = from->remainder, .join = from->join });
    }
}

/* Of exact operators only one predicate is true of a value: the one with the longest list counts. */
static void price_exact(struct layout *layout)
{
    uint64_t most = 0, most_steps = 0;

    for (uint32_t p = 0; p < layout->compile->predicates.count; p++) {
        enum predicate_kind kind = layout_predicate(layout, p)->kind;
        bool exact = kind == KIND_TEXT || kind == KIND_FOLD || kind == KIND_ADDRESS || kind == KIND_NUMBER || kind == KIND_NUMBER_TEXT ||
                     kind == KIND_ANY_STRING || (kind >= KIND_TRUE && kind <= KIND_NULL);
        if (exact && layout_price(layout, p) > most)
            most = layout_price(layout, p);
        if (exact && layout_predicate(layout, p)->join_steps > most_steps)
            most_steps = layout_predicate(layout, p)->join_steps;
    }
    layout->price += most;
    layout->join_steps += most_steps;
}

static void *layout_write(const struct layout *layout, size_t *ret_bytes)
{
    const struct compile *compile = layout->compile;
#define OWN(name) .name = layout->name.items, .name##_count = layout->name.count
#define GATHERED(name) .name = compile->name.items, .name##_count = compile->name.count
    struct image_parts parts = {
        OWN(nodes), OWN(children), OWN(paths), OWN(operators), OWN(slots), OWN(predicates), GATHERED(buts), OWN(fields),
        OWN(remainders), OWN(conjunctions), GATHERED(rules), GATHERED(words), OWN(numbers),
        .texts = compile->texts.data, .texts_count = compile->texts.len,
        .absent_paths = layout->absent_paths, .absent_paths_count = layout->absent_paths_count,
        .always = layout->always, .always_count = layout->always_count, .price = layout->price, .join_steps = layout->join_steps,
        .fingerprint = compile->fingerprint, .names = layout->names,
    };
#undef OWN
#undef GATHERED
    return image_write(&parts, ret_bytes);
}

static void layout_done(struct layout *layout)
{
    VEC_DONE(&layout->nodes);
    VEC_DONE(&layout->children);
    VEC_DONE(&layout->paths);
    VEC_DONE(&layout->operators);
    VEC_DONE(&layout->slots);
    VEC_DONE(&layout->predicates);
    VEC_DONE(&layout->fields);
    VEC_DONE(&layout->remainders);
    VEC_DONE(&layout->conjunctions);
    VEC_DONE(&layout->numbers);
}

enum sluice_err compile_finish(struct compile *compile, void **ret_base, size_t *ret_bytes, struct sluice_error *reterr)
{
    struct layout layout = { .compile = compile };
    enum sluice_err err = SLUICE_OK;

    score_fields(compile);
    put_paths(&layout);
    count_accesses(&layout);
    mark_judged(compile);
    reserve_lists(&layout);
    fill_lists(&layout);
    put_bulk(&layout);
    put_operators(&layout);
    put_nodes(&layout);
    price_exact(&layout);
    put_records(&layout);
    if (layout.crowded)
        err = compile_crowded(reterr);
    else if (layout.price > MATCH_PRICE_MAX)
        err = sluice_fail(reterr, SLUICE_ELIMIT,
                          "one event could make %llu rules be looked at, over the limit of %d: fewer rules of only exists, anything-but, "
                          "numeric, prefix, suffix or wildcard; add a field with exact values to them",
                          (unsigned long long)layout.price, MATCH_PRICE_MAX);
    else if (layout.join_steps > MATCH_STEPS_MAX)
        err = sluice_fail(reterr, SLUICE_ELIMIT,
                          "an event with arrays of %d items could take %llu steps to join them, over the limit of %d: fewer rules of several "
                          "fields below one array, or add a field with exact values to them",
                          MATCH_ITEMS_USUAL, (unsigned long long)layout.join_steps, MATCH_STEPS_MAX);
    else if (compile->words.count >= IMAGE_LIST || compile->texts.failed)
        err = sluice_fail(reterr, SLUICE_ELIMIT, "the rules are too large together: their index would pass 8 GiB");
    if (err == SLUICE_OK) {
        *ret_base = layout_write(&layout, ret_bytes);
        if (*ret_base == NULL)
            err = sluice_fail(reterr, SLUICE_ENOMEM, "out of memory for the index of %zu rules", compile->rules.count);
    }
    layout_done(&layout);
    return err;
}
