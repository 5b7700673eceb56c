/* runs.h - a sorted list of runs of deliveries that is taken from at the front: what is ready in a queue, in little memory.
 * Sorted by the first delivery of each run; no two runs share a delivery. */
#ifndef SLUICE_CORE_RUNS_H
#define SLUICE_CORE_RUNS_H

#include "broker/base/vec.h"
#include "broker/core/delivery.h"

struct runs {
    struct run *items;
    size_t head, count, capacity; /* items[head .. count - 1] are the list */
    uint64_t deliveries;
};
void runs_done(struct runs *runs);
void runs_clear(struct runs *runs);
static inline bool runs_empty(const struct runs *runs) { return runs->head == runs->count; }
void runs_push(struct runs *runs, struct run run);               /* its first delivery is after all in the list (asserted) */
void runs_insert(struct runs *runs, struct delivery delivery);   /* anywhere; joins neighbours where they touch */
bool runs_first(const struct runs *runs, struct delivery *ret_delivery);
void runs_pop(struct runs *runs);                                /* removes the first delivery */

/* Appends `delivery` to a run array being built in ascending order, joining it to a recent run that it continues. */
struct run_builder {
    VEC(struct run) runs;
    uint64_t deliveries;
};
void run_builder_add(struct run_builder *builder, struct delivery delivery);
/* Adds the part of `run` that lies below `highest` (all but deliveries >= highest). */
void run_builder_add_below(struct run_builder *builder, struct run run, struct delivery highest);
/* The part of `run` above `highest`; false: nothing. */
bool run_above(struct run run, struct delivery highest, struct run *ret_run);

#endif
