/* model_store.h - a store that fits on a page: what LMDB holds, as sorted arrays in memory, behind the engine's struct reader.
 *
 * It applies commits whole, as the real one does. Two things make it a better witness than the real one. What the reader lends
 * is a copy that model_store_turn_end() frees, so that under the address sanitizer a view kept past its turn is found. And
 * model_store_balance() counts pending from rows, as `sluice balance` does. Owns everything it holds; survives the engine. */
#ifndef SLUICE_TESTS_MODEL_STORE_H
#define SLUICE_TESTS_MODEL_STORE_H

#include "broker/core/reader.h"

struct model_record {
    uint64_t first_seq;
    struct view bytes;           /* owned */
};

struct model_batch {
    uint64_t first_seq;
    int64_t committed_ms;
    uint32_t count, runs_count;
    struct run *runs;            /* owned */
};

struct model_exception {
    struct exception row;        /* its views are into `bytes` */
    char *bytes;
};

struct model_queue {             /* all that is kept for one function */
    char *name;                  /* NULL: no row in the functions table */
    struct queue_state state;    /* holes owned */
    VEC(struct model_batch) batches;         /* by first_seq */
    VEC(struct model_exception) parked, dead; /* by delivery */
    VEC(struct due_key) due;     /* of `parked`, by due time, then delivery */
};

struct model_target {
    struct target_row row;       /* views owned */
};

struct model_store {
    VEC(struct model_record) log; /* by first_seq */
    VEC(struct model_queue) queues; /* [function id - 1] */
    VEC(struct model_target) targets; /* [id - 1] */
    VEC(struct producer_row) producers;
    uint64_t revision, next_seq, events_total, unmatched_total, commits;
    VEC(void *) lent;            /* what the reader gave out in this turn */
};

struct model_store *model_store_new(void);
struct model_store *model_store_free(struct model_store *store);
void model_store_reader(struct model_store *store, struct reader *ret_reader);
void model_store_turn_end(struct model_store *store);
/* All of it. Rows that cannot be right (a record out of order, an unknown function) are assertions. */
void model_store_apply(struct model_store *store, const struct commit *commit);

struct model_balance {
    uint64_t above, holes, parked, dead; /* counted */
    bool holds;
};
struct model_balance model_store_balance(const struct model_store *store, uint32_t function);

#endif
