/* Array consistency, where an event has an array that fields of a conjunction share. The fields are taken in the order of their
 * paths, carrying along which items of which arrays the values chosen so far came from: a *state*. Values of later fields must
 * come from the same item of each array they share.
 *
 *     {"l": {"a": [1], "b": [2]}}  on  {"l": [{"a": 1, "b": 3}, {"a": 1, "b": 2}]}
 *     field l.a leaves the states {l[0]}, {l[1]}; field l.b has 2 in l[1] only, which goes with {l[1]}: a match.
 *
 * A field with exists:false holds in a state if no value of its path goes with that state. What no later field can share is
 * dropped from a state and equal states are kept once, so that independent arrays do not multiply. */
#include "broker/core/event_state.h"

/* The pairs (field, node) of a join list (image.h). */
struct join_fields {
    const uint32_t *pairs;
    uint32_t count;
};

/* Whether this event has an array that the field shares with another of the list. If not it is judged as ever. */
static bool shares_array(const struct match_scratch *state, const struct join_fields *join, uint32_t index)
{
    for (uint32_t node = join->pairs[index * 2 + 1]; node != 0; node = state->image->nodes[node].parent)
        if (state->nodes.items[node] == state->epoch)
            return true;
    return false;
}

static const struct image_field *field_at(const struct match_scratch *state, const struct join_fields *join, uint32_t index)
{
    return &state->image->fields[join->pairs[(size_t)index * 2]];
}

bool join_is_needed(const struct match_scratch *state, uint32_t join_list)
{
    const uint32_t *list = state->image->words + join_list;
    struct join_fields join = { .pairs = list + 1, .count = list[0] };

    for (uint32_t i = 0; i < join.count; i++)
        if (shares_array(state, &join, i))
            return true;
    return false;
}

/* ---- leaves ---- */

/* Where the run of ascending contexts that begins at `at` ends. */
static uint32_t run_end(const struct leaf *leaves, uint32_t at, uint32_t count)
{
    if (at == count)
        return count;
    for (at++; at < count && leaves[at - 1].context <= leaves[at].context;)
        at++;
    return at;
}

/* Two runs become one until there is one: they are few, and `spare` is room for as many, so that nothing is allocated. */
static void sort_by_context(struct match_scratch *state, struct leaf *leaves, struct leaf *spare, uint32_t count)
{
    struct leaf *from = leaves, *to = spare;

    while (run_end(from, 0, count) < count) {
        for (uint32_t at = 0, put = 0; at < count;) {
            uint32_t middle = run_end(from, at, count), end = run_end(from, middle, count), second = middle;
            while (put < end)
                to[put++] = second == end || (at < middle && from[at].context <= from[second].context) ? from[at++] : from[second++];
            at = end;
        }
        struct leaf *merged = to;
        to = from;
        from = merged;
        state->steps += count;
    }
    if (from != leaves)
        memcpy(leaves, from, count * sizeof *leaves);
}

/* By path, each path's in the order of their contexts; once per event. */
static void sort_leaves(struct match_scratch *state)
{
    uint32_t first = 0;

    state->sorted = true;
    VEC_ROOM(&state->leaves_sorted, state->leaves.count);
    state->leaves_sorted.count = state->leaves.count;
    for (size_t i = 0; i < state->touched.count; i++) {
        struct path_state *path = &state->paths.items[state->touched.items[i]];
        path->first = first;
        first += path->count;
    }
    for (size_t i = 0; i < state->leaves.count; i++)
        state->leaves_sorted.items[state->paths.items[state->leaves.items[i].path].first++] = state->leaves.items[i];
    for (size_t i = 0; i < state->touched.count; i++) {
        struct path_state *path = &state->paths.items[state->touched.items[i]];
        path->first -= path->count;
        if (path->disordered) /* what was sorted from has served */
            sort_by_context(state, state->leaves_sorted.items + path->first, state->leaves.items + path->first, path->count);
    }
    VEC_ROOM(&state->seen, state->contexts.count);
    for (; state->seen.count < state->contexts.count; state->seen.count++)
        state->seen.items[state->seen.count] = 0;
}

static bool among(const uint32_t *ids, uint32_t count, uint32_t id)
{
    for (uint32_t i = 0; i < count; i++)
        if (ids[i] == id)
            return true;
    return false;
}

static bool leaf_predicate(struct match_scratch *state, const struct leaf *leaf, uint32_t id)
{
    const struct image *image = state->image;
    const struct image_predicate *predicate = &image->predicates[id];
    const uint32_t *true_of_leaf = state->true_of_leaf.items + leaf->first;

    switch (predicate->meta & PREDICATE_KIND_MASK) {
    case PREDICATE_PLAIN: state->steps += leaf->count; return among(true_of_leaf, leaf->count, id);
    case PREDICATE_EXISTS: return true;
    case PREDICATE_ABSENT: return false;
    }
    const struct image_but *but = &image->buts[predicate->text];
    state->steps += (uint64_t)leaf->count * but->others_count;
    for (uint32_t i = 0; i < leaf->count; i++)
        if (among(image->words + but->others, but->others_count, true_of_leaf[i]))
            return false;
    return true;
}

static bool leaf_field(struct match_scratch *state, const struct leaf *leaf, const struct image_field *field)
{
    for (uint32_t i = 0; i < field->predicates_count; i++, state->steps++)
        if (leaf_predicate(state, leaf, state->image->words[field->predicates + i]))
            return true;
    return false;
}

/* ---- contexts ---- */

static bool inside(const struct match_scratch *state, uint32_t context, uint32_t of)
{
    return context >= of && context < state->contexts.items[of].end;
}

/* Whether a value in `context` goes with `item`: at each array on the way up from the item it is in the same item, or not in
 * that array. When not, *ret_skip is the first context behind `context` that might, for values come in their order. */
static bool goes_with(struct match_scratch *state, uint32_t item, uint32_t context, uint32_t *ret_skip)
{
    bool goes = true;

    for (; item != 0 && !inside(state, context, item); item = state->contexts.items[item].parent, state->steps++) {
        const struct array *array = &state->arrays.items[state->contexts.items[item].array];
        if (context < array->first || context >= array->end)
            continue;
        goes = false; /* and the outermost array that says so allows the widest skip */
        *ret_skip = context < item ? item : array->end;
    }
    return goes;
}

static bool goes_with_all(struct match_scratch *state, const struct join_state *chosen, uint32_t context, uint32_t *ret_skip)
{
    for (unsigned i = 0; i < chosen->items_count; i++)
        if (!goes_with(state, chosen->items[i], context, ret_skip))
            return false;
    return true;
}

static bool node_is_above(struct match_scratch *state, uint32_t node, uint32_t below)
{
    for (; below != 0; below = state->image->nodes[below].parent, state->steps++)
        if (below == node)
            return true;
    return false;
}

/* The innermost item from `context` outwards in whose array a later field may also be. */
static uint32_t shared_item(struct match_scratch *state, const struct join_fields *join, uint32_t later, uint32_t context)
{
    const struct image *image = state->image;

    for (; context != 0; context = state->contexts.items[context].parent) {
        uint32_t node = state->arrays.items[state->contexts.items[context].array].node;
        for (uint32_t i = later; i < join->count; i++)
            if (join->pairs[(size_t)i * 2 + 1] != 0 && node_is_above(state, node, image->paths[field_at(state, join, i)->path].node))
                return context;
    }
    return 0;
}

/* ---- states ---- */

/* false: over MATCH_STATE_ITEMS_MAX. */
static bool item_add(const struct match_scratch *state, struct join_state *chosen, uint32_t item)
{
    unsigned kept = 0;

    if (item == 0)
        return true;
    for (unsigned i = 0; i < chosen->items_count; i++) {
        if (inside(state, chosen->items[i], item))
            return true;
        if (!inside(state, item, chosen->items[i]))
            chosen->items[kept++] = chosen->items[i];
    }
    if (kept == MATCH_STATE_ITEMS_MAX)
        return false;
    chosen->items[kept++] = item;
    chosen->items_count = kept;
    return true;
}

static bool states_equal(const struct join_state *a, const struct join_state *b)
{
    return a->items_count == b->items_count && memcmp(a->items, b->items, a->items_count * sizeof a->items[0]) == 0;
}

/* Adds to `next` what is left of `chosen` with a value from `context` once the fields from `later` on are still to come. */
static bool next_add(struct match_scratch *state, const struct join_fields *join, uint32_t later, const struct join_state *chosen,
                     uint32_t context)
{
    struct join_state next = { 0 };

    for (unsigned i = 0; i < chosen->items_count; i++)
        if (!item_add(state, &next, shared_item(state, join, later, chosen->items[i])))
            return false;
    if (!item_add(state, &next, shared_item(state, join, later, context)))
        return false;
    if (next.items_count <= 1) {
        uint64_t *seen = &state->seen.items[next.items_count == 0 ? 0 : next.items[0]];
        if (*seen == state->round)
            return true;
        *seen = state->round;
    } else {
        for (size_t i = 0; i < state->next->count; i++, state->steps++)
            if (states_equal(&state->next->items[i], &next))
                return true;
    }
    STATE_PUSH(state->next, next);
    return true;
}

/* The first of the sorted leaves at or behind `at` whose context is not before `context`. States come in the order of their items, as
 * values do: so it is mostly near the one found last, and longer and longer steps from there find it sooner than halving all. */
static uint32_t leaf_from(struct match_scratch *state, uint32_t at, uint32_t end, uint32_t context)
{
    const struct leaf *leaves = state->leaves_sorted.items;
    uint32_t stride = 1;

    if (state->leaf_found > at && state->leaf_found < end && leaves[state->leaf_found].context < context)
        at = state->leaf_found;
    for (; end - at > stride && leaves[at + stride].context < context; stride *= 2, state->steps++)
        at += stride;
    if (end - at > stride)
        end = at + stride;
    while (at < end) {
        state->steps++;
        uint32_t middle = at + (end - at) / 2;
        if (state->leaves_sorted.items[middle].context < context)
            at = middle + 1;
        else
            end = middle;
    }
    state->leaf_found = at;
    return at;
}

/* All states that follow from `chosen` by the values of field number `index`. */
static enum sluice_err step(struct match_scratch *state, const struct join_fields *join, uint32_t index, const struct join_state *chosen)
{
    const struct image_field *field = field_at(state, join, index);
    const struct path_state *path = &state->paths.items[field->path];
    bool present = path->epoch == state->epoch, absent = true, fits = true;
    uint32_t first = present ? path->first : 0, end = present ? first + path->count : 0, skip = 0;

    for (uint32_t i = first; i < end && fits && !state_over(state); state->steps++) {
        const struct leaf *leaf = &state->leaves_sorted.items[i];
        if (!goes_with_all(state, chosen, leaf->context, &skip)) {
            i = leaf_from(state, i, end, skip);
            continue;
        }
        absent = false;
        if (leaf_field(state, leaf, field))
            fits = next_add(state, join, index + 1, chosen, leaf->context);
        i++;
    }
    if (absent && field->may_be_absent)
        fits = next_add(state, join, index + 1, chosen, 0);
    return fits && !state_over(state) ? SLUICE_OK : SLUICE_ELIMIT;
}

/* What must hold whatever the items: fields that share nothing are judged as ever, and every other one needs a value somewhere
 * unless it may be absent. */
static bool may_hold(struct match_scratch *state, const struct join_fields *join)
{
    for (uint32_t i = 0; i < join->count; i++) {
        bool may_be_absent = field_at(state, join, i)->may_be_absent && shares_array(state, join, i);
        if (!may_be_absent && !state_field(state, join->pairs[(size_t)i * 2]))
            return false;
    }
    return true;
}

/* Whether the values of the fields that share arrays are all there. A name given twice, first without an array, is how not. */
static bool is_recorded(const struct match_scratch *state, const struct join_fields *join)
{
    for (uint32_t i = 0; i < join->count; i++) {
        const struct path_state *path = &state->paths.items[field_at(state, join, i)->path];
        if (path->epoch == state->epoch && path->missed && shares_array(state, join, i))
            return false;
    }
    return true;
}

enum sluice_err join_conjunction(struct match_scratch *state, uint32_t join_list, bool *ret_true, bool *ret_again)
{
    const uint32_t *list = state->image->words + join_list;
    struct join_fields join = { .pairs = list + 1, .count = list[0] };

    *ret_true = false;
    if (!may_hold(state, &join))
        return SLUICE_OK;
    if (!is_recorded(state, &join)) {
        *ret_again = true;
        return SLUICE_OK;
    }
    if (!state->sorted)
        sort_leaves(state);
    state->now = &state->states[0]; /* in this order each time, so that the same event needs no more room */
    state->next = &state->states[1];
    state->now->count = 0;
    STATE_PUSH(state->now, (struct join_state){ 0 });
    for (uint32_t i = 0; i < join.count && state->now->count > 0; i++) {
        if (!shares_array(state, &join, i))
            continue;
        state->next->count = 0;
        state->round++;
        for (size_t s = 0; s < state->now->count; s++) {
            enum sluice_err err = step(state, &join, i, &state->now->items[s]);
            if (err != SLUICE_OK)
                return err;
        }
        struct join_states *before = state->now;
        state->now = state->next;
        state->next = before;
    }
    *ret_true = state->now->count > 0;
    return SLUICE_OK;
}
