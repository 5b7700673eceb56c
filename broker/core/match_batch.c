/* Several events at once. Most events match none of many rules, and that is seen by a few of their values. So the values of an event that may make a
 * predicate true are first only kept (defer.c), and evaluated only if one of them may lead to a rule: then the event is *awake*. One that is not
 * matches nothing, and would not be over MATCH_STEPS_MAX: what is asleep costs little, by its length and kind, and the rest is counted.
 *
 * What an event costs on a large set is mostly waiting, for the line of a table, then for the predicate that it names, then for the rule: these are
 * asked for in memory while the other events are walked. */
#include "broker/base/assert.h"
#include "broker/core/event_state.h"
#include "broker/core/match_set.h"

enum {
    LINE_BYTES = 64,
    FETCH_AHEAD = 2,             /* events whose text is on its way while one is matched */
    FETCH_BYTES_MAX = 4096,      /* of the next event's text: beyond that the processor has seen where it goes */
    DEFER_RULES_MIN = 64,        /* of fewer an event costs little but its walk */
    WAIT_SLOTS_MIN = 1 << 18,    /* 2 MiB: of fewer slots what is used is in the core's own memory, and deferring pays only where most events sleep */
    VALUES_MAX = 256,            /* of one event; with so many it is matched as ever, and memory stays small */
    PLAIN_EVENTS = 256,          /* so many are not deferred after one that was not fit for it (what is deferred has no place in an array), or when
                                  * most are awake and there is little to wait for */
};

static struct view text_of(const struct source *source)
{
    if (source->event == NULL)
        return source->json;
    return source->event->encoded.data != NULL ? source->event->encoded : source->event->detail;
}

/* In place: gcc 12 takes a function that only prefetches for one that does nothing, and leaves the call out. */
static inline __attribute__((always_inline)) void fetch_text(const struct source *source)
{
    struct view text = text_of(source);

    for (size_t at = 0; at < text.len && at < FETCH_BYTES_MAX; at += LINE_BYTES)
        __builtin_prefetch(text.data + at);
}

static void answer(struct match_scratch *state, enum sluice_err err, const uint32_t *ids, size_t count, struct match_answer *ret_answer)
{
    *ret_answer = (struct match_answer){ .err = err, .first = state->batch_ids.count };
    if (err != SLUICE_OK || count == 0)
        return;
    VEC_ROOM(&state->batch_ids, state->batch_ids.count + count);
    memcpy(state->batch_ids.items + state->batch_ids.count, ids, count * sizeof *ids);
    state->batch_ids.count += count;
    ret_answer->count = count;
}

static void match_plain(const struct match_set *set, struct match_scratch *state, const struct source *source, struct match_answer *ret_answer)
{
    const uint32_t *ids = NULL;
    size_t count = 0;
    enum sluice_err err = match_source(set, state, source, &ids, &count);

    answer(state, err, ids, count, ret_answer);
}

/* ---- deferred ---- */

struct pending {
    size_t first, end;           /* in state->deferred */
    bool whole;                  /* to be matched in the ordinary way */
    bool awake;                  /* a rule may match */
    uint64_t steps;              /* those taken for values that were not kept */
};

static struct pending defer_event(const struct image *image, struct match_scratch *state, const struct source *source)
{
    struct pending pending = { .first = state->deferred.count };

    state_begin(state, image);
    state->deferred_from = text_of(source);
    state->deferred_left = VALUES_MAX;
    state->steps = 0;
    state->deferring = state->attention = true;
    state->awake = image->always_count > 0 || image->absent_paths_count > 0;
    match_walk(state, source);
    state->deferring = state->attention = false;
    pending.whole = state->contexts.count > 1 || state->deferred_left == 0;
    pending.awake = state->awake;
    pending.steps = state->steps;
    if (pending.whole) {
        state->deferred.count = pending.first;
        state->plain_left = PLAIN_EVENTS;
    }
    pending.end = state->deferred.count;
    return pending;
}

static void match_pending(const struct match_set *set, struct match_scratch *state, const struct pending *pending, struct match_answer *ret_answer)
{
    bool again = false;

    state->ids.count = 0;
    state->steps = pending->steps;
    state_begin(state, &set->base->image);
    state->dead = set->dead;
    for (size_t i = pending->first; i < pending->end; i++)
        defer_evaluate(state, &state->deferred.items[i]);
    enum sluice_err err = resolve(state, &again);
    ASSERT(!again); /* there was no array */
    answer(state, err, state->ids.items, state->ids.count, ret_answer);
}

static void match_deferred(const struct match_set *set, struct match_scratch *state, const struct source *sources, size_t count,
                           struct match_answer *ret_answers)
{
    struct pending pending[MATCH_BATCH_MAX];
    size_t awake_count = 0;

    state->deferred.count = 0;
    arena_reuse(state->deferred_texts);
    for (size_t i = 0; i < count; i++) {
        if (i + FETCH_AHEAD < count)
            fetch_text(&sources[i + FETCH_AHEAD]);
        pending[i] = defer_event(&set->base->image, state, &sources[i]);
    }
    for (size_t i = 0; i < count; i++) {
        state->awake = pending[i].awake;
        for (size_t d = pending[i].first; d < pending[i].end; d++)
            defer_fetch_predicate(state, &state->deferred.items[d]);
        pending[i].awake = state->awake;
        awake_count += state->awake;
    }
    for (size_t i = 0; i < count; i++)
        for (size_t d = pending[i].first; pending[i].awake && d < pending[i].end; d++)
            defer_fetch_access(state, &state->deferred.items[d]);
    if (awake_count * 2 > count && set->base->image.slots_count < WAIT_SLOTS_MIN)
        state->plain_left = PLAIN_EVENTS;
    for (size_t i = 0; i < count; i++) {
        if (pending[i].whole)
            match_plain(set, state, &sources[i], &ret_answers[i]);
        else if (pending[i].awake)
            match_pending(set, state, &pending[i], &ret_answers[i]);
        else
            answer(state, SLUICE_OK, NULL, 0, &ret_answers[i]);
    }
}

static bool deferring_pays(const struct match_set *set, struct match_scratch *state, size_t count)
{
    if (set->delta != NULL || set->base->image.rules_count < DEFER_RULES_MIN || count < 2)
        return false;
    if (state->plain_left == 0)
        return true;
    state->plain_left = state->plain_left < count ? 0 : state->plain_left - (unsigned)count;
    return false;
}

static void match_all(const struct match_set *set, struct match_scratch *state, const struct source *sources, size_t count,
                      struct match_answer *ret_answers)
{
    state->batch_ids.count = 0;
    if (deferring_pays(set, state, count)) {
        match_deferred(set, state, sources, count, ret_answers);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        if (i + FETCH_AHEAD < count)
            fetch_text(&sources[i + FETCH_AHEAD]);
        match_plain(set, state, &sources[i], &ret_answers[i]);
    }
}

/* ---- the door ---- */

void match_events(const struct match_set *set, struct match_scratch *state, const struct event *const *events, size_t count,
                  struct match_answer *ret_answers, const uint32_t **ret_ids)
{
    struct source sources[MATCH_BATCH_MAX];

    ASSERT(count <= MATCH_BATCH_MAX);
    for (size_t i = 0; i < count; i++)
        sources[i] = (struct source){ .event = events[i] };
    match_all(set, state, sources, count, ret_answers);
    *ret_ids = state->batch_ids.items;
}

void match_json_batch(const struct match_set *set, struct match_scratch *state, const struct view *objects, size_t count,
                      struct match_answer *ret_answers, const uint32_t **ret_ids)
{
    struct source sources[MATCH_BATCH_MAX];

    ASSERT(count <= MATCH_BATCH_MAX);
    for (size_t i = 0; i < count; i++)
        sources[i] = (struct source){ .json = objects[i] };
    match_all(set, state, sources, count, ret_answers);
    *ret_ids = state->batch_ids.items;
}
