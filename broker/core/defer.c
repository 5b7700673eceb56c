/* Values that wait (match_batch.c): those that may make a predicate true, or are counted, are kept while an event is walked; the lines of memory
 * that they need are asked for; and if one of them may lead to a rule, all of the event's are evaluated. What is watched instead is shown on the
 * way. */
#include "broker/core/event_state.h"
#include "broker/core/text_hash.h"

enum {
    FILTERED_MAX = 1 << 18, /* slots: the filter of a larger table would have to be waited for itself */
    ASLEEP_BYTES_MAX = 64,  /* a longer text could be dear to look up: whether an event is refused must not depend on who looks */
};

static const struct image_operator *exact_of(const struct image *image, uint32_t path)
{
    return &image->operators[image->paths[path].exact];
}

/* ---- kept ---- */

/* The text where it will still be when the walk is over. */
static struct view text_that_stays(struct match_scratch *state, struct view text)
{
    const struct view *from = &state->deferred_from;

    if (text.data >= from->data && text.data + text.len <= from->data + from->len)
        return text;
    return arena_dup(state->deferred_texts, text);
}

/* false: the event has as many values as are kept, and will be matched as ever. */
static bool may_defer(struct match_scratch *state)
{
    state->deferred_left -= state->deferred_left > 0;
    return state->deferred_left > 0;
}

/* Room for one more, or NULL. Written in place: copying what was just written in parts would wait for all of it. */
static struct deferred *keep(struct match_scratch *state, enum deferred_kind kind, uint32_t path, bool wakes)
{
    if (!may_defer(state))
        return NULL;
    if (__builtin_expect(state->deferred.count == state->deferred.capacity, 0))
        VEC_ROOM(&state->deferred, state->deferred.count + 1);
    struct deferred *deferred = &state->deferred.items[state->deferred.count++];
    deferred->kind = kind;
    deferred->path = path;
    state->awake |= wakes;
    return deferred;
}

/* `plain`: a few lookups are all that it could take. */
static void keep_text(struct match_scratch *state, enum deferred_kind kind, uint32_t path, struct view text, bool plain)
{
    bool wakes = !plain || text.len > ASLEEP_BYTES_MAX || state->image->paths[path].asks != 0;
    struct deferred *deferred = keep(state, kind, path, wakes);

    if (deferred != NULL)
        deferred->text = text_that_stays(state, text);
}

/* Whether it is in the table, and so wakes the event, is seen once the line of that is there. */
static void keep_exact(struct match_scratch *state, uint32_t path, struct view text)
{
    const struct image *image = state->image;
    const struct image_operator *operator = exact_of(image, path);
    uint64_t hash = text_hash(text.data, text.len);

    if (operator->slots_count < FILTERED_MAX && !image_may_hold(image, operator, hash)) {
        state->steps += VALUE_STEPS + OPERATOR_STEPS;
        return;
    }
    __builtin_prefetch(&image->slots[operator->slots + image_slot_of(hash, operator->slots_count)]);
    struct deferred *deferred = keep(state, DEFERRED_EXACT, path, false);
    if (deferred != NULL) {
        deferred->text = text_that_stays(state, text);
        deferred->hash = hash;
    }
}

bool defer_string(struct match_scratch *state, uint32_t path, struct view text)
{
    const struct image_path *tables = &state->image->paths[path];

    if (!state->deferring) {
        state->watch(state->watch_ctx, path, &(struct value){ .type = VALUE_STRING, .text = text });
        return false;
    }
    bool counts = (tables->asks & PATH_COUNTS) != 0, may_be_true = (tables->shapes >> image_shape_of(text) & 1) != 0;
    if (!may_be_true && !counts)
        state->steps += VALUE_STEPS;
    else if (tables->exact != IMAGE_NONE && tables->asks == PATH_TRIGGERS)
        keep_exact(state, path, text);
    else
        keep_text(state, DEFERRED_STRING, path, text, tables->exact != IMAGE_NONE);
    return true;
}

static void defer_literal(struct match_scratch *state, uint32_t path, enum literal literal)
{
    const struct image_path *tables = &state->image->paths[path];
    struct deferred *deferred = NULL;

    if (tables->literals[literal] == IMAGE_NONE && (tables->asks & PATH_COUNTS) == 0)
        state->steps += VALUE_STEPS;
    else
        deferred = keep(state, DEFERRED_LITERAL, path, tables->asks != 0);
    if (deferred != NULL)
        deferred->literal = literal;
}

static void defer_number(struct match_scratch *state, uint32_t path, const struct value *value)
{
    const struct image_path *tables = &state->image->paths[path];
    bool looked_up = tables->number_operators < tables->operators_end;
    bool plain = !looked_up || state->image->operators[tables->operators_end - 1].kind != OPERATOR_RANGES; /* which come last */

    if (!looked_up && (tables->asks & PATH_COUNTS) == 0) {
        state->steps += VALUE_STEPS;
    } else if (value->number_known) {
        struct deferred *deferred = keep(state, DEFERRED_DOUBLE, path, !plain || tables->asks != 0);
        if (deferred != NULL)
            deferred->number = value->number.value;
    } else {
        keep_text(state, DEFERRED_NUMBER, path, value->text, plain);
    }
}

bool defer_value(struct match_scratch *state, uint32_t path, struct value value)
{
    if (!state->deferring) {
        state->watch(state->watch_ctx, path, &value);
        return false;
    }
    if (value.type == VALUE_NUMBER)
        defer_number(state, path, &value);
    else
        defer_literal(state, path, value.type == VALUE_TRUE ? LITERAL_TRUE : value.type == VALUE_FALSE ? LITERAL_FALSE : LITERAL_NULL);
    return true;
}

/* ---- asked for ---- */

void defer_fetch_predicate(struct match_scratch *state, struct deferred *deferred)
{
    const struct image *image = state->image;

    if (deferred->kind != DEFERRED_EXACT)
        return;
    const struct image_operator *operator = exact_of(image, deferred->path);
    const struct image_slot *slots = image->slots + operator->slots;
    uint32_t at = image_slot_of(deferred->hash, operator->slots_count), tag = (uint32_t)(deferred->hash >> 32);

    while (slots[at].value != IMAGE_NONE && slots[at].tag != tag)
        at = at + 1 == operator->slots_count ? 0 : at + 1;
    deferred->candidate = slots[at].value;
    if (deferred->candidate == IMAGE_NONE)
        return;
    __builtin_prefetch(&image->predicates[deferred->candidate]);
    state->awake = true;
}

void defer_fetch_access(struct match_scratch *state, const struct deferred *deferred)
{
    const struct image *image = state->image;

    if (deferred->kind != DEFERRED_EXACT || deferred->candidate == IMAGE_NONE)
        return;
    const struct image_predicate *predicate = &image->predicates[deferred->candidate];
    __builtin_prefetch(image->texts + predicate->text);
    if ((predicate->meta & PREDICATE_MARKED) != 0)
        __builtin_prefetch(&state->predicates.items[deferred->candidate]);
    if (predicate->access == IMAGE_NONE)
        return;
    if ((predicate->access & IMAGE_LIST) != 0)
        __builtin_prefetch(image->words + (predicate->access & ~IMAGE_LIST));
    else if ((predicate->access & IMAGE_RULE) != 0) {
        __builtin_prefetch(&image->rules[predicate->access & ~IMAGE_RULE]);
        __builtin_prefetch(&state->found[0].items[(predicate->access & ~IMAGE_RULE) / 64]);
    } else {
        __builtin_prefetch(&image->conjunctions[predicate->access]);
    }
}

/* ---- evaluated ---- */

void defer_evaluate(struct match_scratch *state, const struct deferred *deferred)
{
    switch (deferred->kind) {
    case DEFERRED_EXACT: evaluate_exact(state, deferred->path, 0, deferred->text, deferred->hash); break;
    case DEFERRED_STRING: evaluate_tables(state, deferred->path, 0, deferred->text); break;
    case DEFERRED_NUMBER: evaluate_number_text(state, deferred->path, 0, deferred->text); break;
    case DEFERRED_DOUBLE: evaluate_double(state, deferred->path, 0, deferred->number); break;
    case DEFERRED_LITERAL: evaluate_literal(state, deferred->path, 0, deferred->literal); break;
    }
}
