/* From true predicates to rules: each conjunction whose access is true is looked at, and holds if its remainder does. */
#include "broker/core/event_state.h"

static bool remainder_holds(struct match_scratch *state, uint32_t id)
{
    const struct image *image = state->image;
    const struct image_remainder *remainder = &image->remainders[id];
    uint32_t *known = &state->remainders.items[id];

    if (*known >> 1 == state->epoch)
        return *known & 1;
    bool holds = true;
    for (uint32_t i = 0; i < remainder->fields_count && holds; i++)
        holds = state_field(state, image->words[remainder->fields + i]);
    *known = state->epoch << 1 | holds;
    return holds;
}

/* ---- rules found ---- */

static inline bool is_found(const struct match_scratch *state, uint32_t rule)
{
    return state->found[0].items[rule / 64] >> rule % 64 & 1;
}

static inline void found_put(struct match_scratch *state, uint32_t rule)
{
    state->found_any = true;
    for (unsigned level = 0; level < FOUND_LEVELS; level++, rule /= 64) {
        uint64_t *word = &state->found[level].items[rule / 64];
        bool known = *word != 0;
        *word |= UINT64_C(1) << rule % 64;
        if (known)
            break;
    }
}

static inline void found_put_word(struct match_scratch *state, size_t place, uint64_t rules)
{
    uint64_t *word = &state->found[0].items[place];

    if (rules == 0)
        return;
    state->found_any = true;
    if (*word == 0)
        for (unsigned level = 1; level < FOUND_LEVELS; level++, place /= 64)
            state->found[level].items[place / 64] |= UINT64_C(1) << place % 64;
    *word |= rules;
}

/* All rules that ask for nothing but a value at this path, or anything but some: less those of buts that no value passes. */
static void look_at_bulk(struct match_scratch *state, uint32_t id)
{
    const struct image *image = state->image;
    const struct image_path *path = &image->paths[id];
    const uint32_t *triples = image->words + path->bulk;

    if (state->bulk.capacity < path->bulk_count)
        VEC_ROOM(&state->bulk, path->bulk_count);
    uint64_t *bits = state->bulk.items;
    state->steps += path->bulk_count + state->failed.count;
    for (uint32_t i = 0; i < path->bulk_count; i++)
        bits[i] = triples[i * 3 + 1] | (uint64_t)triples[i * 3 + 2] << 32;
    for (size_t i = 0; i < state->failed.count; i++) {
        const struct image_but *but = &image->buts[state->failed.items[i]];
        if (but->path != id || state->buts.items[state->failed.items[i]].fails_count < state->paths.items[id].leaves_count)
            continue;
        state->steps += but->bulk_count;
        for (uint32_t b = 0; b < but->bulk_count; b++)
            bits[image->words[but->bulk + b] / 64] &= ~(UINT64_C(1) << image->words[but->bulk + b] % 64);
    }
    for (uint32_t i = 0; i < path->bulk_count; i++)
        found_put_word(state, triples[(size_t)i * 3], bits[i]);
}

/* Adds their ids, ascending; leaves nothing found. */
static void found_take(struct match_scratch *state)
{
    const uint32_t *rules = state->image->rules;
    uint64_t *words = state->found[0].items, *groups = state->found[1].items, *tops = state->found[2].items;

    size_t tops_count = ((size_t)state->image->rules_count >> 18) + 1;

    if (!state->found_any)
        return;
    state->found_any = false;
    if (state->image->rules_count <= 64) { /* all in one word */
        VEC_ROOM(&state->ids, state->ids.count + 64);
        uint64_t alive = state->dead == NULL ? words[0] : words[0] & ~state->dead[0];
        for (uint64_t left = alive; left != 0; left &= left - 1)
            state->ids.items[state->ids.count++] = rules[(unsigned)__builtin_ctzll(left)];
        words[0] = groups[0] = tops[0] = 0;
        return;
    }
    for (size_t t = 0; t < tops_count; t++) {
        for (; tops[t] != 0; tops[t] &= tops[t] - 1) {
            size_t g = t * 64 + (unsigned)__builtin_ctzll(tops[t]);
            for (; groups[g] != 0; groups[g] &= groups[g] - 1) {
                size_t w = g * 64 + (unsigned)__builtin_ctzll(groups[g]);
                if (state->ids.capacity < state->ids.count + 64)
                    VEC_ROOM(&state->ids, state->ids.count + 64);
                uint32_t *ids = state->ids.items;
                size_t count = state->ids.count;
                uint64_t alive = state->dead == NULL ? words[w] : words[w] & ~state->dead[w];
                for (uint64_t left = alive; left != 0; left &= left - 1)
                    ids[count++] = rules[w * 64 + (unsigned)__builtin_ctzll(left)];
                words[w] = 0;
                state->ids.count = count;
            }
        }
    }
}

/* ---- looking ---- */

static inline enum sluice_err look_at(struct match_scratch *state, uint32_t id, bool *ret_again)
{
    const struct image_conjunction *conjunction = &state->image->conjunctions[id];

    if (++state->steps > MATCH_STEPS_MAX)
        return SLUICE_ELIMIT;
    if (is_found(state, conjunction->rule))
        return SLUICE_OK;
    if (conjunction->join != IMAGE_NONE && state->contexts.count > 1 && join_is_needed(state, conjunction->join)) {
        bool holds = false;
        enum sluice_err err = join_conjunction(state, conjunction->join, &holds, ret_again);
        if (err != SLUICE_OK)
            return err;
        if (holds)
            found_put(state, conjunction->rule);
    } else if (conjunction->remainder == IMAGE_NONE || remainder_holds(state, conjunction->remainder)) {
        found_put(state, conjunction->rule);
    }
    return SLUICE_OK;
}

static enum sluice_err look_at_list(struct match_scratch *state, const uint32_t *conjunctions, uint32_t count, bool *ret_again)
{
    enum sluice_err err = SLUICE_OK;

    for (uint32_t i = 0; i < count && err == SLUICE_OK; i++)
        err = look_at(state, conjunctions[i], ret_again);
    return err;
}

static enum sluice_err look_at_pairs(struct match_scratch *state, uint32_t first, uint32_t count, bool *ret_again)
{
    const uint32_t *pairs = state->image->words + first;
    enum sluice_err err = SLUICE_OK;

    state->steps += count;
    for (uint32_t i = 0; i < count && err == SLUICE_OK; i++)
        if (state_predicate(state, pairs[(size_t)i * 2 + 1]))
            err = look_at(state, pairs[(size_t)i * 2], ret_again);
    return err;
}

enum sluice_err resolve(struct match_scratch *state, bool *ret_again)
{
    const struct image *image = state->image;
    enum sluice_err err = SLUICE_OK;

    *ret_again = false;
    for (size_t i = 0; i < state->triggered.count && err == SLUICE_OK; i++) {
        uint32_t access = state->triggered.items[i];
        if ((access & IMAGE_LIST) != 0) {
            const uint32_t *list = image->words + (access & ~IMAGE_LIST);
            err = look_at_list(state, list + 1, list[0], ret_again);
        } else if ((access & IMAGE_RULE) != 0) {
            found_put(state, access & ~IMAGE_RULE);
        } else {
            err = look_at(state, access, ret_again);
        }
    }
    for (size_t i = 0; i < state->touched.count && err == SLUICE_OK; i++) {
        const struct image_path *path = &image->paths[state->touched.items[i]];
        if (path->bulk_count > 0 && !state_over(state))
            look_at_bulk(state, state->touched.items[i]);
        if (path->weak_count > 0)
            err = look_at_pairs(state, path->weak, path->weak_count, ret_again);
    }
    for (uint32_t i = 0; i < image->absent_paths_count && err == SLUICE_OK; i++) {
        uint32_t path = image->words[image->absent_paths + i];
        if (state_leaves_count(state, path) == 0)
            err = look_at_pairs(state, image->paths[path].absent, image->paths[path].absent_count, ret_again);
    }
    if (err == SLUICE_OK)
        err = look_at_list(state, image->words + image->always, image->always_count, ret_again);
    if (state_over(state))
        err = SLUICE_ELIMIT;
    found_take(state); /* in any case: nothing may be left for the next event */
    return err;
}
