/* Values that wait until what they need has come from memory (match_batch.c): kept while an event is walked, asked for, and evaluated at last. What
 * is watched instead is shown on the way. */
#include "broker/core/event_state.h"
#include "broker/core/text_hash.h"

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

bool defer_string(struct match_scratch *state, uint32_t path, struct view text)
{
    const struct image *image = state->image;
    struct deferred deferred = { .kind = DEFERRED_STRING, .path = path, .candidate = IMAGE_NONE };

    if (!state->deferring) {
        state->watch(state->watch_ctx, path, &(struct value){ .type = VALUE_STRING, .text = text });
        return false;
    }
    if (!may_defer(state))
        return true;
    deferred.text = text_that_stays(state, text);
    if (image->paths[path].exact != IMAGE_NONE) {
        const struct image_operator *operator = exact_of(image, path);
        deferred.kind = DEFERRED_EXACT;
        deferred.hash = text_hash(text.data, text.len);
        __builtin_prefetch(&image->slots[operator->slots + image_slot_of(deferred.hash, operator->slots_count)]);
    }
    STATE_PUSH(&state->deferred, deferred);
    return true;
}

bool defer_value(struct match_scratch *state, uint32_t path, struct value value)
{
    struct deferred deferred = { .path = path, .candidate = IMAGE_NONE };

    if (!state->deferring) {
        state->watch(state->watch_ctx, path, &value);
        return false;
    }
    if (!may_defer(state))
        return true;
    if (value.type != VALUE_NUMBER) {
        deferred.kind = DEFERRED_LITERAL;
        deferred.literal = value.type;
    } else if (value.number_known) {
        deferred.kind = DEFERRED_DOUBLE;
        deferred.number = value.number.value;
    } else {
        deferred.kind = DEFERRED_NUMBER;
        deferred.text = text_that_stays(state, value.text);
    }
    STATE_PUSH(&state->deferred, deferred);
    return true;
}

/* ---- asked for ---- */

void defer_fetch_predicate(struct match_scratch *state, struct deferred *deferred)
{
    const struct image *image = state->image;
    const struct image_operator *operator = exact_of(image, deferred->path);
    const struct image_slot *slots = image->slots + operator->slots;
    uint32_t at = image_slot_of(deferred->hash, operator->slots_count), tag = (uint32_t)(deferred->hash >> 32);

    while (slots[at].value != IMAGE_NONE && slots[at].tag != tag)
        at = at + 1 == operator->slots_count ? 0 : at + 1;
    deferred->candidate = slots[at].value;
    if (deferred->candidate != IMAGE_NONE)
        __builtin_prefetch(&image->predicates[deferred->candidate]);
}

void defer_fetch_access(struct match_scratch *state, const struct deferred *deferred)
{
    const struct image *image = state->image;

    if (deferred->candidate == IMAGE_NONE)
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
    case DEFERRED_EXACT:
        if (deferred->candidate == IMAGE_NONE) /* outside of all arrays, so that nothing is recorded of it */
            evaluate_nothing(state, deferred->path, &state->image->paths[deferred->path]);
        else
            evaluate_exact(state, deferred->path, 0, deferred->text, deferred->hash);
        break;
    case DEFERRED_STRING: evaluate_tables(state, deferred->path, 0, deferred->text); break;
    case DEFERRED_NUMBER: evaluate_number_text(state, deferred->path, 0, deferred->text); break;
    case DEFERRED_DOUBLE: evaluate_double(state, deferred->path, 0, deferred->number); break;
    case DEFERRED_LITERAL:
        evaluate_literal(state, deferred->path, 0,
                         deferred->literal == VALUE_TRUE ? LITERAL_TRUE : deferred->literal == VALUE_FALSE ? LITERAL_FALSE : LITERAL_NULL);
        break;
    }
}
