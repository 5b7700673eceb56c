/* flatten.h - an event as patterns see it: for each path in use the scalar values found there, in one pass over the bytes.
 *
 * Arrays are transparent: the values of ["a", "b"] at path p are two values of p. An object or array inside an array stands
 * in a context, (that array, its index), inside the context of the array itself; context 0 is outside of all arrays.
 * Scalars directly in an array are in the context of the array. Contexts are numbered in the order in which they open, so
 * that a context and all inside it are one range of numbers, and so is an array and all inside it. */
#ifndef SLUICE_ORACLE_FLATTEN_H
#define SLUICE_ORACLE_FLATTEN_H

#include "broker/base/arena.h"
#include "broker/base/vec.h"
#include "broker/core/operators.h"
#include "broker/core/paths.h"
#include "schemas/codec/envelope.h"

enum { FLAT_NO_ARRAY = UINT32_MAX };

struct leaf {
    struct value value;
    uint32_t context;
    uint32_t path;      /* leaf number in struct paths */
};

struct context {
    uint32_t array;     /* it is an item of */
    uint32_t parent;
    uint32_t end;       /* the contexts inside it are those from its own number up to this */
};

struct array {
    uint32_t node;      /* its path */
    uint32_t first, end; /* its items and all inside them */
};

/* Leaves of one path: flat->sorted[first .. first + count), in the order of their contexts. */
struct path_leaves {
    uint32_t first, count;
    bool disordered;    /* as they came */
};

struct flat_frame {
    uint32_t node, context;
    uint32_t array;     /* FLAT_NO_ARRAY: an object */
    uint32_t left;      /* MessagePack: items or members still to come */
};

struct flat {
    const struct paths *paths;
    VEC(struct leaf) leaves;      /* as they came */
    VEC(struct leaf) sorted;      /* by path */
    VEC(struct context) contexts;
    VEC(struct array) arrays;
    VEC(struct path_leaves) by_path;
    VEC(uint32_t) touched;        /* paths with leaves: only these are cleared for the next event */
    VEC(struct flat_frame) frames; /* containers open now; never those that nothing looks into */
    struct arena *texts;          /* decoded strings */
};

void flat_init(struct flat *flat);
void flat_done(struct flat *flat);

void flat_begin(struct flat *flat, const struct paths *paths);
/* The values at and below `node`. Checked JSON or MessagePack only. The leaves keep views into `text`. */
void flat_json(struct flat *flat, uint32_t node, struct view text);
void flat_mpack(struct flat *flat, uint32_t node, struct view value);
/* The fields of the EventBridge envelope, those absent filled in as EventBridge does. */
void flat_event(struct flat *flat, const struct event *event);
void flat_end(struct flat *flat); /* sorts by path; then by_path is right */

static inline struct path_leaves flat_leaves(const struct flat *flat, uint32_t path)
{
    return flat->by_path.items[path];
}

/* For the readers of one format each: flatten_json.c, flatten_mpack.c. */
static inline bool flat_wants(const struct flat *flat, uint32_t node)
{
    return flat->paths->nodes.items[node].leaf != PATHS_NONE;
}
static inline bool flat_wants_below(const struct flat *flat, uint32_t node)
{
    return flat->paths->nodes.items[node].has_children;
}
void flat_put(struct flat *flat, uint32_t node, uint32_t context, struct value value);
/* An array or object opens. `left`: items or members still to come, where the format says so. */
void flat_open_array(struct flat *flat, uint32_t node, uint32_t context, uint32_t left);
void flat_open_object(struct flat *flat, uint32_t node, uint32_t context, uint32_t left);
void flat_close(struct flat *flat);
/* The context of a container that is an item of the array on top. */
uint32_t flat_open_item(struct flat *flat);

#endif
