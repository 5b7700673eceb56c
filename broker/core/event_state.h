/* event_state.h - what is known about the event at hand: which predicates are true, in which order its arrays were met, and for
 * paths that may have to be joined, which value came from which array item. It is the inside of a match_scratch.
 *
 * Nothing is cleared between events: an entry counts only if it bears the epoch of the event. Arrays grow to the largest rule set
 * and event so far, then nothing is allocated any more.
 *
 * Arrays are transparent: the values of ["a", "b"] at path p are two values of p. An object or array inside an array stands in a
 * *context*, (that array, its index), inside the context of the array itself; context 0 is outside of all arrays. Scalars directly
 * in an array are in the context of the array. Contexts are numbered in the order in which they open, so that a context and all
 * inside it are one range of numbers, and so is an array and all inside it. */
#ifndef SLUICE_CORE_EVENT_STATE_H
#define SLUICE_CORE_EVENT_STATE_H

#include "broker/base/arena.h"
#include "broker/base/vec.h"
#include "broker/core/image.h"
#include "broker/core/match.h"
#include "broker/core/operators.h"
#include "broker/core/structure.h"

struct match_part;

enum { STATE_NO_ARRAY = UINT32_MAX };

struct path_state {
    uint32_t epoch;
    uint32_t leaves_count;
    uint32_t first, count;    /* of those recorded, in leaves_sorted, once sorted; until then first is the latest leaf */
    bool disordered;          /* contexts did not come ascending */
    bool missed;              /* there was a value that matters to joins before recording began */
};

struct but_state {
    uint32_t epoch;
    uint32_t fails_count;     /* values of the path that one of the others is true of */
    uint32_t leaf;            /* the last such, by its number at the path */
};

/* A value at a path that may be joined; the predicates true of it are true_of_leaf[first .. first + count). */
struct leaf {
    uint32_t path, context;
    uint32_t first, count;
};

struct context {
    uint32_t array;           /* it is an item of */
    uint32_t parent;
    uint32_t end;             /* the contexts inside it are those from its own number up to this */
};

struct array {
    uint32_t node;            /* its path */
    uint32_t first, end;      /* its items and all inside them */
};

struct walk_frame {
    uint32_t node, context;
    uint32_t array;           /* STATE_NO_ARRAY: an object */
    uint32_t left;            /* MessagePack: items or members still to come */
};

/* The innermost items of what the values chosen so far came from: none is inside another (join.c). */
struct join_state {
    unsigned items_count;
    uint32_t items[MATCH_STATE_ITEMS_MAX];
};

struct join_states {
    struct join_state *items;
    size_t count, capacity;
};

enum literal { LITERAL_TRUE, LITERAL_FALSE, LITERAL_NULL };

/* A value whose evaluation waits until what it needs has come from memory (match_batch.c). */
enum deferred_kind { DEFERRED_EXACT, DEFERRED_STRING, DEFERRED_NUMBER, DEFERRED_DOUBLE, DEFERRED_LITERAL };
struct deferred {
    enum deferred_kind kind;
    uint32_t path;
    uint64_t hash;            /* EXACT: of the text; the path has no other operator of strings, and its table may hold it */
    struct view text;
    double number;
    enum literal literal;
    uint32_t candidate;       /* EXACT, once looked for: the predicate that it may be, or IMAGE_NONE */
};

/* The fields of an envelope: where they are among the paths is found once for each image. */
enum envelope_node {
    NODE_VERSION, NODE_SOURCE, NODE_DETAIL_TYPE, NODE_ACCOUNT, NODE_REGION, NODE_ID, NODE_TIME, NODE_RESOURCES,
    NODE_DETAIL, ENVELOPE_NODES,
};

/* Rules that match, as bits; summaries have a bit for each word below that is not zero, so that a few among a million are found
 * without looking at all. */
enum { FOUND_LEVELS = 3 };

struct match_scratch {
    uint32_t epoch;
    bool found_any;                /* some rule is found */
    uint64_t grown_for;            /* the number of the image that there is room for; with a larger one before there is more */
    const struct image *image;
    uint32_t envelope[ENVELOPE_NODES]; /* of the image that there is room for: nodes, or IMAGE_NONE where no rule looks */
    const uint64_t *dead;          /* a bit for each rule of the image that was removed; or NULL */
    VEC(uint32_t) predicates;      /* epoch: it is true */
    VEC(uint32_t) remainders;      /* 2 * epoch + truth */
    VEC(struct path_state) paths;
    VEC(struct but_state) buts;
    VEC(uint32_t) nodes;           /* epoch: an array with an object or array in it was met there */
    VEC(uint32_t) touched;         /* paths with values, as far as these count or were looked up */
    VEC(uint32_t) triggered;       /* access of predicates that are true */
    VEC(uint32_t) failed;          /* buts with a value that one of their others is true of */
    VEC(uint64_t) bulk;            /* one path's bits, while those of failed buts are taken out */
    VEC(uint64_t) found[FOUND_LEVELS];
    VEC(uint32_t) ids, merged;

    VEC(struct leaf) leaves, leaves_sorted;
    VEC(uint32_t) true_of_leaf;
    bool sorted;
    VEC(struct context) contexts;
    VEC(struct array) arrays;
    VEC(struct walk_frame) frames;
    bool record;                   /* an array was met that fields may share: values at joined paths are recorded from here on */
    bool recording;                /* the value at hand is one of them */
    uint32_t leaf;                 /* the number of the value at hand at its path */
    uint32_t context;              /* and its context */
    uint32_t true_first;           /* and the first in true_of_leaf that is its own */

    struct join_states states[2], *now, *next; /* field by field those of one become those of the other */
    uint32_t leaf_found;           /* where join.c last found one, as a place to begin */
    VEC(uint64_t) seen;            /* by context: the round in which the state of it alone was last added */
    uint64_t round;
    uint64_t steps;                /* of this event, both parts of the set together (MATCH_STEPS_MAX) */

    struct structure structure;
    bool nothing_follows;          /* the walk is behind all that a rule looks at */
    VEC(char) text, folded;        /* a string of the event decoded, and one in one case: of the name or value at hand */

    bool attention;                /* values are watched or deferred */
    void (*watch)(void *ctx, uint32_t path, const struct value *value); /* sees every value at a path; NULL: nobody */
    void *watch_ctx;

    bool deferring;                /* match_batch.c: values are kept for later */
    bool awake;                    /* one of them may lead to a rule */
    struct view deferred_from;     /* where texts need no copy: they stay */
    VEC(struct deferred) deferred;
    struct arena *deferred_texts;  /* and texts that were decoded, until all events of the batch are matched */
    unsigned deferred_left;        /* of this event, until it is one to be matched as ever */
    VEC(uint32_t) batch_ids;
    unsigned plain_left;           /* so many events are not worth deferring */
};

/* VEC_PUSH for what runs per value: the call to grow is out of the way. */
#define STATE_PUSH(vec, ...)                                                                              \
    do {                                                                                                  \
        if (__builtin_expect((vec)->count == (vec)->capacity, 0))                                         \
            VEC_ROOM(vec, (vec)->count + 1);                                                              \
        (vec)->items[(vec)->count++] = (__VA_ARGS__);                                                     \
    } while (0)

/* Room for a name or value, until the next one. */
static inline char *state_text(struct match_scratch *state, size_t len)
{
    VEC_ROOM(&state->text, len + 1);
    return state->text.items;
}

/* ---- an event goes in: walk_json.c, walk_mpack.c, walk_event.c ---- */

void state_begin(struct match_scratch *state, const struct image *image);
/* The values at and below `node`; checked text and bytes. */
void walk_json(struct match_scratch *state, uint32_t node, struct view text);
void walk_json_portable(struct match_scratch *state, uint32_t node, struct view text);
void walk_json_vector(struct match_scratch *state, uint32_t node, struct view text);
void walk_mpack(struct match_scratch *state, uint32_t node, struct view value);
void walk_event(struct match_scratch *state, const struct event *event);
void walk_find_envelope(const struct image *image, uint32_t ret_nodes[ENVELOPE_NODES]);

/* ---- values become true predicates: evaluate.c ---- */

static inline void evaluate_string(struct match_scratch *state, uint32_t path, uint32_t context, struct view text);
void evaluate_tables(struct match_scratch *state, uint32_t path, uint32_t context, struct view text); /* one that may make something true */
/* One at a path with `exact`, whose filter need not be asked any more. */
void evaluate_exact(struct match_scratch *state, uint32_t path, uint32_t context, struct view text, uint64_t hash);
void evaluate_number_text(struct match_scratch *state, uint32_t path, uint32_t context, struct view text);
void evaluate_double(struct match_scratch *state, uint32_t path, uint32_t context, double value);
void evaluate_literal(struct match_scratch *state, uint32_t path, uint32_t context, enum literal literal);

/* ---- values that wait: defer.c ---- */

/* With `attention`: the value is shown to who watches, or is kept for later if it matters; true: not to be evaluated now. */
bool defer_string(struct match_scratch *state, uint32_t path, struct view text);
bool defer_value(struct match_scratch *state, uint32_t path, struct value value);
/* Asks memory for what an EXACT one will need: first the predicate, which wakes the event if there is one, then what is behind that. */
void defer_fetch_predicate(struct match_scratch *state, struct deferred *deferred);
void defer_fetch_access(struct match_scratch *state, const struct deferred *deferred);
/* As it would have been, at context 0. */
void defer_evaluate(struct match_scratch *state, const struct deferred *deferred);

/* ---- match.c and match_batch.c ---- */

/* One of the three is there. */
struct source {
    const struct event *event;
    struct view json, mpack;
};
void match_walk(struct match_scratch *state, const struct source *source);
/* Appends to state->ids; the walk is done, or is done here. */
enum sluice_err match_part(const struct match_part *part, const uint64_t *dead, struct match_scratch *state, const struct source *source);
enum sluice_err match_source(const struct match_set *set, struct match_scratch *state, const struct source *source,
                             const uint32_t **ret_ids, size_t *ret_count);

/* For a value's being there, and for each table of its path: one lookup, or where a number falls (evaluate.c). */
enum { VALUE_STEPS = 3, OPERATOR_STEPS = 4 };

/* The path, as one that has a value in this event. state_begin() has seen to it that there is room. */
static inline struct path_state *state_touch(struct match_scratch *state, uint32_t path)
{
    struct path_state *at = &state->paths.items[path];

    if (at->epoch != state->epoch) {
        *at = (struct path_state){ .epoch = state->epoch };
        state->touched.items[state->touched.count++] = path;
    }
    return at;
}

/* A string that makes nothing true: all there is to note is that the path has one, if that matters. */
static inline void evaluate_nothing(struct match_scratch *state, uint32_t path, const struct image_path *tables)
{
    state->steps += VALUE_STEPS;
    if ((tables->asks & PATH_COUNTS) == 0)
        return;
    struct path_state *at = state_touch(state, path);
    at->leaves_count++;
    if (!state->record && tables->joined != PATH_ALONE)
        at->missed = true;
}

/* Mostly a value does not even look like one that would make something true. */
static inline void evaluate_string(struct match_scratch *state, uint32_t path, uint32_t context, struct view text)
{
    const struct image_path *tables = &state->image->paths[path];
    bool looks_true = (tables->shapes >> image_shape_of(text) & 1) != 0;

    if (__builtin_expect(state->attention, 0) && defer_string(state, path, text))
        return;
    if (looks_true || (state->record && tables->joined == PATH_JOINED))
        evaluate_tables(state, path, context, text);
    else
        evaluate_nothing(state, path, tables);
}

/* ---- true predicates become rules: resolve.c, join.c ---- */

/* *ret_again: values were needed that were not recorded: walk the event again with `record` set from the start. */
enum sluice_err resolve(struct match_scratch *state, bool *ret_again);
/* Whether some choice of values satisfies the conjunction whose join list is given, arrays considered. */
enum sluice_err join_conjunction(struct match_scratch *state, uint32_t join, bool *ret_true, bool *ret_again);
bool join_is_needed(const struct match_scratch *state, uint32_t join);

static inline uint32_t state_leaves_count(const struct match_scratch *state, uint32_t path)
{
    const struct path_state *at = &state->paths.items[path];
    return at->epoch == state->epoch ? at->leaves_count : 0;
}

/* Array items aside. */
static inline bool state_predicate(const struct match_scratch *state, uint32_t id)
{
    const struct image_predicate *predicate = &state->image->predicates[id];
    uint32_t path = predicate->meta >> PREDICATE_PATH_SHIFT;

    switch (predicate->meta & PREDICATE_KIND_MASK) {
    case PREDICATE_PLAIN: return state->predicates.items[id] == state->epoch;
    case PREDICATE_EXISTS: return state_leaves_count(state, path) > 0;
    case PREDICATE_ABSENT: return state_leaves_count(state, path) == 0;
    }
    const struct but_state *but = &state->buts.items[predicate->text];
    uint32_t leaves_count = state_leaves_count(state, path);
    return leaves_count > 0 && (but->epoch != state->epoch || but->fails_count < leaves_count);
}

static inline bool state_over(const struct match_scratch *state)
{
    return state->steps > MATCH_STEPS_MAX;
}

static inline bool state_field(struct match_scratch *state, uint32_t id)
{
    const struct image_field *field = &state->image->fields[id];
    const uint32_t *predicates = state->image->words + field->predicates;

    for (uint32_t i = 0; i < field->predicates_count; i++, state->steps++)
        if (state_predicate(state, predicates[i]))
            return true;
    return false;
}

#endif
