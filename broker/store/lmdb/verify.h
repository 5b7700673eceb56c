/* verify.h - what the files of the verification share; nobody else includes this.
 *
 *   verify.c         one snapshot, table after table; functions, targets, totals, producers; the balance at the end
 *   verify_log.c     records against targets, and the batches rows against the records
 *   verify_queues.c  queues, exceptions, dead letters and due times against rows, records and each other
 *
 * Tables come in the order of dependency: what a later one is compared with has been looked at already. What is known to be bad
 * is not compared with anything: one damage should give one line, not a page of what follows from it. */
#ifndef SLUICE_STORE_LMDB_VERIFY_H
#define SLUICE_STORE_LMDB_VERIFY_H

#include "broker/base/map.h"
#include "broker/base/vec.h"
#include "broker/store/lmdb/lmdb_store.h"

struct verify_event {            /* of the record being looked at */
    uint32_t slot;               /* its first delivery's place in `slots` */
    bool has_not_before;
    int64_t not_before_ms;
};

struct verifying {
    struct store *store;
    MDB_txn *txn;
    const struct store_verify *to;
    struct store_verified counts;
    uint64_t rows_total;         /* of all tables; counts.rows are done */
    int64_t told_us;             /* when progress was told last */
    MDB_cursor *batches, *log;   /* for looking up, beside the one that walks */

    struct totals_row totals;
    struct map functions;        /* id -> 1 */
    struct map targets;          /* id -> function */
    struct names names;          /* of functions, to find the same name twice */
    struct map bad_records;      /* first_seq -> 1: not to be compared with */
    uint64_t log_first;          /* first_seq of the first record; UINT64_MAX: the log is empty */
    uint64_t log_end;            /* one behind the last event so far; 0: not known */
    uint64_t log_gaps;           /* sequences missing between records */
    uint64_t unmatched;          /* events in the log without targets */
    struct map parked, due;      /* function -> rows in exceptions, in due */
    uint32_t queue_function;     /* whose queue row `queue` is; 0: none */
    struct queue_state queue;
    struct view queue_value;     /* its bytes: the holes */
    bool queue_readable;         /* or not there */
    VEC(struct verify_event) events;
    VEC(uint32_t) slots;         /* function of each delivery of the record; 0 once it is accounted for */
};

typedef void verify_row(struct verifying *verifying, const MDB_val *key, const MDB_val *value);
void verify_say(struct verifying *verifying, enum db db, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Each row of a table, in order. What the table says about itself is checked too. */
void verify_walk(struct verifying *verifying, enum db db, verify_row *row);
bool verify_get(struct verifying *verifying, enum db db, MDB_val key, struct view *ret_value);
static inline bool verify_function(const struct verifying *verifying, uint32_t id)
{
    return map_get(&verifying->functions, id, NULL);
}

/* verify_log.c */
verify_row verify_record, verify_batch;
void verify_log_end(struct verifying *verifying); /* after the last record */
/* verify_queues.c */
verify_row verify_queue, verify_exception, verify_dead, verify_due;

#endif
