/* The door to the engine: a set is an image (image.h) made by compile.c, and a second, small one with what changed since
 * (match_set.c). An event goes through an image in two steps: its values become true predicates (walk_*.c, evaluate.c) and these
 * become rules (resolve.c, join.c). */
#include "broker/core/match.h"

#include <stdlib.h>

#include "broker/base/assert.h"
#include "broker/core/event_state.h"
#include "broker/core/match_set.h"
#include "broker/core/pattern.h"
#include "schemas/codec/json.h"

enum sluice_err pattern_check(struct view pattern, size_t *ret_offset, struct sluice_error *reterr)
{
    enum { ARENA_BLOCK_BYTES = 4 << 10 };
    struct arena *arena = arena_new(ARENA_BLOCK_BYTES);
    struct pattern parsed;
    enum sluice_err err = pattern_parse(pattern, arena, &parsed, ret_offset, reterr);

    arena_free(arena);
    return err;
}

/* ---- scratch ---- */

enum { TEXTS_BLOCK_BYTES = 64 << 10, EPOCHS_END = INT32_MAX };

struct match_scratch *match_scratch_new(void)
{
    struct match_scratch *scratch = calloc(1, sizeof *scratch);

    if (scratch == NULL)
        return NULL;
    scratch->deferred_texts = arena_new(TEXTS_BLOCK_BYTES);
    structure_init(&scratch->structure);
    return scratch;
}

struct match_scratch *match_scratch_free(struct match_scratch *scratch)
{
    if (scratch == NULL)
        return NULL;
    VEC_DONE(&scratch->predicates);
    VEC_DONE(&scratch->remainders);
    VEC_DONE(&scratch->paths);
    VEC_DONE(&scratch->buts);
    VEC_DONE(&scratch->nodes);
    VEC_DONE(&scratch->touched);
    VEC_DONE(&scratch->triggered);
    VEC_DONE(&scratch->failed);
    VEC_DONE(&scratch->bulk);
    for (unsigned level = 0; level < FOUND_LEVELS; level++)
        VEC_DONE(&scratch->found[level]);
    VEC_DONE(&scratch->ids);
    VEC_DONE(&scratch->merged);
    VEC_DONE(&scratch->leaves);
    VEC_DONE(&scratch->leaves_sorted);
    VEC_DONE(&scratch->true_of_leaf);
    VEC_DONE(&scratch->contexts);
    VEC_DONE(&scratch->arrays);
    VEC_DONE(&scratch->frames);
    VEC_DONE(&scratch->states[0]);
    VEC_DONE(&scratch->states[1]);
    VEC_DONE(&scratch->seen);
    VEC_DONE(&scratch->text);
    VEC_DONE(&scratch->folded);
    VEC_DONE(&scratch->deferred);
    VEC_DONE(&scratch->batch_ids);
    structure_done(&scratch->structure);
    arena_free(scratch->deferred_texts);
    free(scratch);
    return NULL;
}

/* Room for `wanted` items and half as many more, all zero: no epoch is zero, and nothing is kept from one event to the next. Large ones are
 * the kernel's zeros, which cost something only where they are used: an event does not wait for a megabyte to be cleared. */
#define ZEROED_ROOM(vec, wanted)                                                                                          \
    do {                                                                                                                  \
        if ((vec)->count < (wanted)) {                                                                                    \
            free((vec)->items);                                                                                           \
            (vec)->count = (vec)->capacity = (wanted) + (wanted) / 2 + 8;                                                 \
            (vec)->items = calloc((vec)->count, sizeof *(vec)->items);                                                    \
            ASSERT((vec)->items != NULL);                                                                                 \
        }                                                                                                                 \
    } while (0)

static void forget(struct match_scratch *state)
{
    memset(state->predicates.items, 0, state->predicates.count * sizeof *state->predicates.items);
    memset(state->remainders.items, 0, state->remainders.count * sizeof *state->remainders.items);
    memset(state->paths.items, 0, state->paths.count * sizeof *state->paths.items);
    memset(state->buts.items, 0, state->buts.count * sizeof *state->buts.items);
    memset(state->nodes.items, 0, state->nodes.count * sizeof *state->nodes.items);
    state->epoch = 0;
}

/* Room for what the image has. */
static __attribute__((noinline)) void state_grow(struct match_scratch *state, const struct image *image)
{
    size_t found = image->rules_count;

    ZEROED_ROOM(&state->predicates, (size_t)image->predicates_count + 1);
    ZEROED_ROOM(&state->remainders, (size_t)image->remainders_count + 1);
    ZEROED_ROOM(&state->paths, (size_t)image->paths_count + 1);
    VEC_ROOM(&state->touched, (size_t)image->paths_count + 1); /* each at most once in an event */
    ZEROED_ROOM(&state->buts, (size_t)image->buts_count + 1);
    ZEROED_ROOM(&state->nodes, (size_t)image->nodes_count + 1);
    for (unsigned level = 0; level < FOUND_LEVELS; level++) {
        found = found / 64 + 1;
        ZEROED_ROOM(&state->found[level], found);
    }
    walk_find_envelope(image, state->envelope);
    state->grown_for = image->number;
}

void state_begin(struct match_scratch *state, const struct image *image)
{
    if (__builtin_expect(state->grown_for != image->number, 0))
        state_grow(state, image);
    if (state->epoch == EPOCHS_END)
        forget(state);
    state->epoch++;
    state->image = image;
    state->touched.count = state->triggered.count = state->failed.count = state->leaves.count = state->true_of_leaf.count = 0;
    state->contexts.count = state->arrays.count = state->frames.count = 0;
    state->sorted = state->record = false;
    STATE_PUSH(&state->contexts, (struct context){ .array = STATE_NO_ARRAY, .end = UINT32_MAX });
}

/* ---- events ---- */

void match_walk(struct match_scratch *scratch, const struct source *source)
{
    if (source->event != NULL)
        walk_event(scratch, source->event);
    else if (source->json.data != NULL)
        walk_json(scratch, 0, source->json);
    else
        walk_mpack(scratch, 0, source->mpack);
}

enum sluice_err match_part(const struct match_part *part, const uint64_t *dead, struct match_scratch *scratch,
                                  const struct source *source)
{
    size_t before = scratch->ids.count;
    bool again = false;

    state_begin(scratch, &part->image);
    scratch->dead = dead;
    match_walk(scratch, source);
    enum sluice_err err = resolve(scratch, &again);
    if (err == SLUICE_OK && again) {
        scratch->ids.count = before;
        state_begin(scratch, &part->image);
        scratch->record = true;
        match_walk(scratch, source);
        err = resolve(scratch, &again);
        ASSERT(!again);
    }
    return err;
}

/* ids holds two ascending lists, the second from `middle` on. */
static void merge(struct match_scratch *scratch, size_t middle)
{
    const uint32_t *ids = scratch->ids.items;
    size_t a = 0, b = middle, end = scratch->ids.count;

    VEC_ROOM(&scratch->merged, end);
    scratch->merged.count = 0;
    while (a < middle || b < end)
        scratch->merged.items[scratch->merged.count++] = b == end || (a < middle && ids[a] < ids[b]) ? ids[a++] : ids[b++];
}

enum sluice_err match_source(const struct match_set *set, struct match_scratch *scratch, const struct source *source,
                             const uint32_t **ret_ids, size_t *ret_count)
{
    scratch->ids.count = 0;
    scratch->steps = 0;
    enum sluice_err err = match_part(set->base, set->dead, scratch, source);
    size_t middle = scratch->ids.count;
    if (err == SLUICE_OK && set->delta != NULL)
        err = match_part(set->delta, NULL, scratch, source);
    if (err != SLUICE_OK)
        return err;
    *ret_ids = scratch->ids.items;
    *ret_count = scratch->ids.count;
    if (middle > 0 && middle < scratch->ids.count) {
        merge(scratch, middle);
        *ret_ids = scratch->merged.items;
    }
    return SLUICE_OK;
}

enum sluice_err match_event(const struct match_set *set, struct match_scratch *scratch, const struct event *event,
                            const uint32_t **ret_ids, size_t *ret_count)
{
    return match_source(set, scratch, &(struct source){ .event = event }, ret_ids, ret_count);
}

enum sluice_err match_watched(const struct match_set *set, struct match_scratch *scratch, const struct event *event, struct view json,
                              void (*watch)(void *ctx, uint32_t path, const struct value *value), void *ctx, bool *ret_matches)
{
    const uint32_t *ids;
    size_t count = 0;

    scratch->watch = watch;
    scratch->attention = true;
    scratch->watch_ctx = ctx;
    enum sluice_err err = match_source(set, scratch, &(struct source){ .event = event, .json = json }, &ids, &count);
    scratch->watch = NULL;
    scratch->attention = false;
    *ret_matches = count > 0;
    return err;
}

static enum sluice_err report(enum sluice_err err, struct sluice_error *reterr)
{
    return err == SLUICE_OK ? err : sluice_fail(reterr, err, "the event takes more than %d steps to match: its arrays, on the rules that join their items, "
                                                "or its texts, on wildcards, are too large", MATCH_STEPS_MAX);
}

enum sluice_err match_json_checked(const struct match_set *set, struct match_scratch *scratch, struct view object,
                                   const uint32_t **ret_ids, size_t *ret_count, struct sluice_error *reterr)
{
    return report(match_source(set, scratch, &(struct source){ .json = object }, ret_ids, ret_count), reterr);
}

enum sluice_err match_json(const struct match_set *set, struct match_scratch *scratch, struct view object,
                           const uint32_t **ret_ids, size_t *ret_count, struct sluice_error *reterr)
{
    enum sluice_err err = json_check(object, JSON_OBJECT, EVENT_DEPTH_MAX, reterr);

    return err != SLUICE_OK ? err : match_json_checked(set, scratch, object, ret_ids, ret_count, reterr);
}

enum sluice_err match_mpack(const struct match_set *set, struct match_scratch *scratch, struct view map,
                            const uint32_t **ret_ids, size_t *ret_count, struct sluice_error *reterr)
{
    enum sluice_err err = mpack_check_detail(map, EVENT_DEPTH_MAX, reterr);

    if (err != SLUICE_OK)
        return err;
    return report(match_source(set, scratch, &(struct source){ .mpack = map }, ret_ids, ret_count), reterr);
}
