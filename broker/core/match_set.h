/* match_set.h - the inside of a match_set: a large part that stays, which of its rules are gone, and a small part with those that
 * came. Parts are shared by the sets that descend from each other. */
#ifndef SLUICE_CORE_MATCH_SET_H
#define SLUICE_CORE_MATCH_SET_H

#include "broker/base/arena.h"
#include "broker/core/image.h"
#include "broker/core/match.h"
#include "broker/core/operators.h"

struct match_part {
    struct image image;
    void (*release)(void *ctx); /* with the last set that has this part */
    void *ctx;
    uint32_t sets_count;        /* atomic: sets may be freed on any thread */
};

struct match_set {
    struct match_part *base;
    uint64_t *dead;             /* by rule of the base; NULL: none */
    size_t dead_count;
    struct match_part *delta;   /* NULL: none */
    struct match_rule *put;     /* the rules of the delta, ascending; their patterns are in the arena */
    size_t put_count;
    struct arena *arena;        /* NULL without a delta */
    uint32_t more_owners;       /* atomic: besides the one it was made for */
};

/* match.c: like match_event() and match_json_checked(), `watch` (event_state.h) seeing the values. One of the two is there. */
enum sluice_err match_watched(const struct match_set *set, struct match_scratch *scratch, const struct event *event, struct view json,
                              void (*watch)(void *ctx, uint32_t path, const struct value *value), void *ctx, bool *ret_matches);

#endif
