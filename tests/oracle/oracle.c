/* Read the event once for all rules, then try every rule by itself. A rule holds if one of its branches
 * does. The fields of a branch are taken in the order of their paths, carrying along which items of which arrays the values
 * chosen so far came from: a *state*. Values of later fields must come from the same item of each array they share.
 *
 *     {"l": {"a": [1], "b": [2]}}  on  {"l": [{"a": 1, "b": 3}, {"a": 1, "b": 2}]}
 *     field l.a leaves the states {l[0]}, {l[1]}; field l.b has 2 in l[1] only, which goes with {l[1]}: a match.
 *
 * A field with exists:false holds in a state if no value of its path goes with that state. What no later field can share is
 * dropped from a state and equal states are kept once, so that independent arrays do not multiply. */
#include "tests/oracle/oracle.h"

#include <stdlib.h>

#include "broker/base/assert.h"
#include "broker/base/vec.h"
#include "tests/oracle/flatten.h"
#include "broker/core/pattern.h"
#include "schemas/codec/json.h"

enum { ORACLE_STEPS_MAX = 1 << 22 }; /* values looked at for one rule */

struct field {
    uint32_t node;
    uint32_t path;
    const struct term *terms;
    unsigned terms_count;
    bool may_be_absent; /* exists:false is among the terms */
};

struct branch {
    const struct field *fields;
    unsigned fields_count;
};

struct rule {
    uint32_t id;
    unsigned branches_count;
    const struct branch *branches;
};

struct oracle_set {
    struct arena *arena;
    struct paths paths;
    struct rule *rules; /* by id */
    size_t rules_count;
};

/* The innermost items of what the values chosen so far came from: none is inside another. Two or more only where one path
 * leads to several arrays (a name given twice, or written with dots). */
struct state {
    unsigned items_count;
    uint32_t items[MATCH_STATE_ITEMS_MAX];
};

struct states {
    struct state *items;
    size_t count, capacity;
};

struct oracle_scratch {
    struct flat flat;
    VEC(uint32_t) ids;
    struct states now, next;
    VEC(uint64_t) seen;   /* by context: the round in which the state of it alone was last added */
    uint64_t round;
    size_t steps;         /* values looked at for the rule at hand */
};

/* ---- compiling ---- */

static struct branch compile_branch(struct oracle_set *set, const struct pattern_branch *from)
{
    struct field *fields = arena_alloc(set->arena, from->fields_count * sizeof *fields);

    for (unsigned i = 0; i < from->fields_count; i++) {
        const struct pattern_field *field = from->fields[i];
        uint32_t node = paths_add(&set->paths, set->arena, field->path);
        fields[i] = (struct field){ .node = node, .path = set->paths.nodes.items[node].leaf,
                                    .terms = field->terms, .terms_count = field->terms_count };
        for (unsigned t = 0; t < field->terms_count; t++)
            fields[i].may_be_absent |= field->terms[t].op == TERM_ABSENT;
    }
    return (struct branch){ .fields = fields, .fields_count = from->fields_count };
}

static enum sluice_err compile_rule(struct oracle_set *set, const struct match_rule *from, struct rule *ret_rule,
                                    struct sluice_error *reterr)
{
    struct pattern pattern;
    enum sluice_err err = pattern_parse(from->pattern, set->arena, &pattern, NULL, reterr);

    if (err != SLUICE_OK)
        return err;
    struct branch *branches = arena_alloc(set->arena, pattern.branches_count * sizeof *branches);
    for (unsigned i = 0; i < pattern.branches_count; i++)
        branches[i] = compile_branch(set, &pattern.branches[i]);
    *ret_rule = (struct rule){ .id = from->id, .branches = branches, .branches_count = pattern.branches_count };
    return SLUICE_OK;
}

static int compare_ids(const void *left, const void *right)
{
    const struct rule *a = left, *b = right;

    return (a->id > b->id) - (a->id < b->id);
}

enum sluice_err oracle_set_new(const struct match_rule *rules, size_t rules_count, struct oracle_set **ret_set,
                              size_t *ret_rule, struct sluice_error *reterr)
{
    enum { ARENA_BLOCK_BYTES = 64 << 10 };
    struct oracle_set *set = calloc(1, sizeof *set);

    if (set == NULL)
        return sluice_fail(reterr, SLUICE_ENOMEM, "out of memory for %zu rules", rules_count);
    set->arena = arena_new(ARENA_BLOCK_BYTES);
    paths_init(&set->paths);
    set->rules = arena_alloc(set->arena, (rules_count + 1) * sizeof *set->rules);
    for (; set->rules_count < rules_count; set->rules_count++) {
        enum sluice_err err = compile_rule(set, &rules[set->rules_count], &set->rules[set->rules_count], reterr);
        if (err == SLUICE_OK)
            continue;
        if (ret_rule != NULL)
            *ret_rule = set->rules_count;
        oracle_set_free(set);
        return err;
    }
    qsort(set->rules, rules_count, sizeof *set->rules, compare_ids);
    for (size_t i = 1; i < rules_count; i++)
        ASSERT(set->rules[i - 1].id != set->rules[i].id);
    *ret_set = set;
    return SLUICE_OK;
}

struct oracle_set *oracle_set_free(struct oracle_set *set)
{
    if (set == NULL)
        return NULL;
    paths_done(&set->paths);
    arena_free(set->arena);
    free(set);
    return NULL;
}

struct oracle_scratch *oracle_scratch_new(void)
{
    struct oracle_scratch *scratch = calloc(1, sizeof *scratch);

    if (scratch != NULL)
        flat_init(&scratch->flat);
    return scratch;
}

struct oracle_scratch *oracle_scratch_free(struct oracle_scratch *scratch)
{
    if (scratch == NULL)
        return NULL;
    flat_done(&scratch->flat);
    VEC_DONE(&scratch->ids);
    VEC_DONE(&scratch->now);
    VEC_DONE(&scratch->next);
    VEC_DONE(&scratch->seen);
    free(scratch);
    return NULL;
}

/* ---- array consistency ---- */

static bool inside(const struct flat *flat, uint32_t context, uint32_t of)
{
    return context >= of && context < flat->contexts.items[of].end;
}

/* Whether a value in `context` goes with `item`: at each array on the way up from the item it is in the same item, or not in
 * that array. When not, *ret_skip is the first context behind `context` that might, for values come in their order. */
static bool goes_with(const struct flat *flat, uint32_t item, uint32_t context, uint32_t *ret_skip)
{
    bool goes = true;

    for (; item != 0 && !inside(flat, context, item); item = flat->contexts.items[item].parent) {
        const struct array *array = &flat->arrays.items[flat->contexts.items[item].array];
        if (context < array->first || context >= array->end)
            continue;
        goes = false; /* and the outermost array that says so allows the widest skip */
        *ret_skip = context < item ? item : array->end;
    }
    return goes;
}

static bool goes_with_all(const struct flat *flat, const struct state *state, uint32_t context, uint32_t *ret_skip)
{
    for (unsigned i = 0; i < state->items_count; i++)
        if (!goes_with(flat, state->items[i], context, ret_skip))
            return false;
    return true;
}

/* The innermost item from `context` outwards in whose array a later field of the branch may also be. */
static uint32_t shared_item(const struct oracle_set *set, const struct flat *flat, const struct branch *branch, unsigned later,
                            uint32_t context)
{
    for (; context != 0; context = flat->contexts.items[context].parent) {
        uint32_t node = flat->arrays.items[flat->contexts.items[context].array].node;
        for (unsigned i = later; i < branch->fields_count; i++)
            if (paths_above(&set->paths, node, branch->fields[i].node))
                return context;
    }
    return 0;
}

/* false: over MATCH_STATE_ITEMS_MAX. */
static bool state_add(const struct flat *flat, struct state *state, uint32_t item)
{
    unsigned kept = 0;

    if (item == 0)
        return true;
    for (unsigned i = 0; i < state->items_count; i++) {
        if (inside(flat, state->items[i], item))
            return true;
        if (!inside(flat, item, state->items[i]))
            state->items[kept++] = state->items[i];
    }
    if (kept == MATCH_STATE_ITEMS_MAX)
        return false;
    state->items[kept++] = item;
    state->items_count = kept;
    return true;
}

static bool states_equal(const struct state *a, const struct state *b)
{
    return a->items_count == b->items_count && memcmp(a->items, b->items, a->items_count * sizeof a->items[0]) == 0;
}

/* Adds to `next` what is left of `state` with a value from `context` once the fields from `later` on are still to come. */
static bool next_add(const struct oracle_set *set, struct oracle_scratch *scratch, const struct branch *branch, unsigned later,
                     const struct state *state, uint32_t context)
{
    const struct flat *flat = &scratch->flat;
    struct state next = { 0 };

    for (unsigned i = 0; i < state->items_count; i++)
        if (!state_add(flat, &next, shared_item(set, flat, branch, later, state->items[i])))
            return false;
    if (!state_add(flat, &next, shared_item(set, flat, branch, later, context)))
        return false;
    if (next.items_count <= 1) {
        uint64_t *seen = &scratch->seen.items[next.items_count == 0 ? 0 : next.items[0]];
        if (*seen == scratch->round)
            return true;
        *seen = scratch->round;
    } else {
        for (size_t i = 0; i < scratch->next.count; i++, scratch->steps++)
            if (states_equal(&scratch->next.items[i], &next))
                return true;
    }
    VEC_PUSH(&scratch->next, next);
    return true;
}

/* ---- matching ---- */

static bool field_has(const struct field *field, struct value *value)
{
    for (unsigned i = 0; i < field->terms_count; i++)
        if (term_matches(&field->terms[i], value))
            return true;
    return false;
}

/* The first of the sorted leaves at or behind `at` whose context is not before `context`. */
static uint32_t leaf_from(const struct flat *flat, uint32_t at, uint32_t end, uint32_t context)
{
    while (at < end) {
        uint32_t middle = at + (end - at) / 2;
        if (flat->sorted.items[middle].context < context)
            at = middle + 1;
        else
            end = middle;
    }
    return at;
}

/* All states that follow from `state` by the values of field number `index`. */
static enum sluice_err step(const struct oracle_set *set, struct oracle_scratch *scratch, const struct branch *branch,
                            unsigned index, const struct state *state)
{
    const struct field *field = &branch->fields[index];
    struct flat *flat = &scratch->flat;
    struct path_leaves leaves = flat_leaves(flat, field->path);
    uint32_t end = leaves.first + leaves.count, skip = 0;
    bool absent = true, fits = true;

    for (uint32_t i = leaves.first; i < end && fits; scratch->steps++) {
        struct leaf *leaf = &flat->sorted.items[i];
        if (!goes_with_all(flat, state, leaf->context, &skip)) {
            i = leaf_from(flat, i, end, skip);
            continue;
        }
        absent = false;
        if (field_has(field, &leaf->value))
            fits = next_add(set, scratch, branch, index + 1, state, leaf->context);
        i++;
    }
    if (absent && field->may_be_absent)
        fits = next_add(set, scratch, branch, index + 1, state, 0);
    return fits && scratch->steps <= ORACLE_STEPS_MAX ? SLUICE_OK : SLUICE_ELIMIT;
}

static enum sluice_err branch_match(const struct oracle_set *set, struct oracle_scratch *scratch, const struct branch *branch,
                                    bool *ret_matches)
{
    scratch->now.count = 0;
    VEC_PUSH(&scratch->now, (struct state){ 0 });
    for (unsigned i = 0; i < branch->fields_count && scratch->now.count > 0; i++) {
        scratch->next.count = 0;
        scratch->round++;
        for (size_t s = 0; s < scratch->now.count; s++) {
            enum sluice_err err = step(set, scratch, branch, i, &scratch->now.items[s]);
            if (err != SLUICE_OK)
                return err;
        }
        struct states swapped = scratch->now;
        scratch->now = scratch->next;
        scratch->next = swapped;
    }
    *ret_matches = scratch->now.count > 0;
    return SLUICE_OK;
}

static enum sluice_err rules_match(const struct oracle_set *set, struct oracle_scratch *scratch, const uint32_t **ret_ids,
                                   size_t *ret_count)
{
    VEC_ROOM(&scratch->seen, scratch->flat.contexts.count);
    if (scratch->seen.count < scratch->flat.contexts.count) {
        memset(scratch->seen.items + scratch->seen.count, 0,
               (scratch->flat.contexts.count - scratch->seen.count) * sizeof *scratch->seen.items);
        scratch->seen.count = scratch->flat.contexts.count;
    }
    scratch->ids.count = 0;
    for (size_t r = 0; r < set->rules_count; r++) {
        const struct rule *rule = &set->rules[r];
        bool matches = false;
        scratch->steps = 0;
        for (unsigned b = 0; b < rule->branches_count && !matches; b++) {
            enum sluice_err err = branch_match(set, scratch, &rule->branches[b], &matches);
            if (err != SLUICE_OK)
                return err;
        }
        if (matches)
            VEC_PUSH(&scratch->ids, rule->id);
    }
    *ret_ids = scratch->ids.items;
    *ret_count = scratch->ids.count;
    return SLUICE_OK;
}

enum sluice_err oracle_event(const struct oracle_set *set, struct oracle_scratch *scratch, const struct event *event,
                            const uint32_t **ret_ids, size_t *ret_count)
{
    flat_begin(&scratch->flat, &set->paths);
    flat_event(&scratch->flat, event);
    flat_end(&scratch->flat);
    return rules_match(set, scratch, ret_ids, ret_count);
}

static enum sluice_err report(enum sluice_err err, struct sluice_error *reterr)
{
    return err == SLUICE_OK ? err : sluice_fail(reterr, err, "the event has more than %d combinations of array items for one rule",
                                                ORACLE_STEPS_MAX);
}

enum sluice_err oracle_json(const struct oracle_set *set, struct oracle_scratch *scratch, struct view object,
                           const uint32_t **ret_ids, size_t *ret_count, struct sluice_error *reterr)
{
    enum sluice_err err = json_check(object, JSON_OBJECT, EVENT_DEPTH_MAX, reterr);

    if (err != SLUICE_OK)
        return err;
    flat_begin(&scratch->flat, &set->paths);
    flat_json(&scratch->flat, PATHS_ROOT, object);
    flat_end(&scratch->flat);
    return report(rules_match(set, scratch, ret_ids, ret_count), reterr);
}

enum sluice_err oracle_mpack(const struct oracle_set *set, struct oracle_scratch *scratch, struct view map,
                            const uint32_t **ret_ids, size_t *ret_count, struct sluice_error *reterr)
{
    enum sluice_err err = mpack_check_detail(map, EVENT_DEPTH_MAX, reterr);

    if (err != SLUICE_OK)
        return err;
    flat_begin(&scratch->flat, &set->paths);
    flat_mpack(&scratch->flat, PATHS_ROOT, map);
    flat_end(&scratch->flat);
    return report(rules_match(set, scratch, ret_ids, ret_count), reterr);
}
