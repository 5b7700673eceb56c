/* commit.h - one transaction of the store: everything the engine decided in a turn. Built by the engine on the loop thread,
 * applied by the store's committer thread, then handed back. Nobody writes to it while it is with the committer.
 *
 * Two parts. The publish part (records, rows, producers) takes new events; when the disk is full the store refuses it and the
 * engine rolls it back. The settle part finishes old ones and must get through (from the store's reserve). Queue states are
 * absolute, not differences, and are filled in when the commit is sealed. All pointers are into `arena`. */
#ifndef SLUICE_CORE_COMMIT_H
#define SLUICE_CORE_COMMIT_H

#include "broker/base/arena.h"
#include "broker/base/vec.h"
#include "broker/core/delivery.h"
#include "schemas/codec/record.h"

struct commit_record {           /* `offset`, `len` into commit.log; the committer seals it (checksum) */
    uint64_t first_seq;
    size_t offset, len;
};

/* batches(function, first_seq) -> these runs: which deliveries of one log record are this function's. */
struct commit_batch {
    uint32_t function;
    uint64_t first_seq;
    int64_t committed_ms;
    uint32_t count;              /* deliveries: the sum of the runs' lengths */
    const struct run *runs;
    uint32_t runs_count;
};

struct producer_row {
    uint8_t id[16];
    uint64_t epoch, highest;     /* highest sequence applied in this epoch */
    uint64_t window[16];         /* bit i of the 1,024: sequence highest - i was applied */
    int64_t used_ms;             /* wall clock, last publish */
};

enum queue_counter {             /* the stored terms of the balance, and two more */
    QUEUE_ACCEPTED, QUEUE_SUCCEEDED, QUEUE_DEAD_LETTERED, QUEUE_EXPIRED, QUEUE_DISCARDED, /* balance */
    QUEUE_EXCEPTIONS,            /* rows in the exception table */
    QUEUE_ATTEMPTS_FAILED,       /* for people */
    QUEUE_COUNTERS
};

/* The small record of one function: the highest settled delivery, and the holes (open deliveries) below it. */
struct queue_state {
    uint32_t function;
    struct delivery highest;     /* {0, 0}: none settled yet */
    uint64_t counters[QUEUE_COUNTERS];
    const struct run *holes;
    uint32_t holes_count;
};

/* A delivery that left the log's queue: failed and waiting for its next attempt, delayed, or (in the dead table) given up.
 * Carries its own copy of the event. */
struct exception {
    uint32_t function;
    struct delivery delivery;
    uint32_t target;             /* row of the targets table: how the input is made */
    uint32_t attempts;           /* failed so far; 0 for one that is only delayed or redriven */
    int64_t due_ms;              /* wall clock; unused in the dead table */
    int64_t accepted_ms;         /* of its first commit, or when it may start: max age counts from here */
    int64_t failed_ms;           /* last failure, or when it was given up */
    struct view reason;          /* error type, such as "Runtime.ExitError", "Sandbox.Timedout"; at most 128 bytes */
    struct view message;         /* at most 1 KiB */
    struct view output;          /* last output of the last attempt, at most 4 KiB */
    struct view envelope;
};

enum exception_table { TABLE_EXCEPTIONS, TABLE_DEAD };

struct commit_exception {        /* put replaces a row of the same (function, delivery); `delete` needs only these two */
    enum exception_table table;
    bool delete;
    bool of_publish;             /* a delayed event: belongs to the publish part */
    struct exception row;
};

struct target_row {              /* never changed once written: deliveries keep the target of their revision */
    uint32_t id, function;
    struct view rule;
    uint32_t input;              /* enum target_input */
    struct view text;            /* JSONPath, constant or template: struct config_target */
};

struct function_row {            /* never deleted, so that a function that comes back finds its deliveries */
    uint32_t id;
    struct view name;
};

struct commit {
    struct arena *arena;
    /* publish part */
    struct bytes log;
    VEC(struct commit_record) records;
    VEC(struct commit_batch) batches;
    VEC(struct producer_row) producers;
    uint64_t unmatched;          /* events in it that no rule matched */
    /* settle part */
    VEC(struct queue_state) queues;
    VEC(struct commit_exception) exceptions;   /* applied in order */
    VEC(uint64_t) trims;         /* first_seq of log records to delete, with their batches rows */
    VEC(struct producer_row) producers_gone;   /* only id is read */
    /* configuration part */
    VEC(struct function_row) functions;
    VEC(struct target_row) targets;
    uint64_t revision;           /* 0: unchanged */
    /* totals kept in the meta table, absolute; filled in when sealed */
    uint64_t next_seq, unmatched_total, events_total;
};

struct commit *commit_new(void);
struct commit *commit_free(struct commit *commit);
void commit_reset(struct commit *commit);
bool commit_is_empty(const struct commit *commit);

#endif
