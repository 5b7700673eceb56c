/* store.h - what is on disk, behind one narrow interface (LMDB in store/lmdb/; another engine could stand behind it).
 *
 * Writing: one commit at a time, applied whole or not at all by the committer thread. When `done` is called with SLUICE_OK the
 * commit is durable: LMDB's default flags, both syncs have returned.
 * Reading: on the loop thread between store_read_begin() and store_read_end(), never across turns; sees the last finished
 * commit. Views returned are into the map and die with the read. One read at a time; begin and end do not nest.
 * Limits: MAP_BYTES address space; publishes are refused from 90 % of it or when the reserve cannot be kept (store_accepts). */
#ifndef SLUICE_STORE_STORE_H
#define SLUICE_STORE_STORE_H

#include <stdatomic.h>

#include "broker/core/reader.h"

struct store;

struct store_options {
    uint64_t map_bytes;          /* 0: STORE_MAP_BYTES_DEFAULT */
    bool read_only;              /* for tools: takes no lock, cannot commit */
    /* A line for the log about stored bytes that fail their check, once per record; NULL: silence. The calling thread. */
    void (*on_corrupt)(void *ctx, const char *text);
    void *on_corrupt_ctx;
};

/* Makes `dir` (0700) if it is not there, takes its lock, checks the format version, starts the committer.
 * SLUICE_EEXISTS: another daemon holds it (the text names its pid). SLUICE_ECORRUPT: not a store, or of a newer format; untouched. */
enum sluice_err store_open(const char *dir, const struct store_options *options, struct store **ret_store, struct sluice_error *reterr);
void store_close(struct store *store); /* waits for a commit under way */

/* What the engine starts from: calls back once per row; any callback may be NULL. */
struct store_recovery {
    void *ctx;
    void (*on_function)(void *ctx, const struct function_row *row);
    void (*on_target)(void *ctx, const struct target_row *row);
    void (*on_queue)(void *ctx, const struct queue_state *state);
    void (*on_producer)(void *ctx, const struct producer_row *row);
    void (*on_totals)(void *ctx, uint64_t revision, uint64_t next_seq, uint64_t events_total, uint64_t unmatched_total);
};
enum sluice_err store_recover(struct store *store, const struct store_recovery *recovery, struct sluice_error *reterr);

enum commit_outcome {
    COMMIT_DURABLE,
    COMMIT_FULL,                 /* no room: nothing was written; the engine rolls the publish part back and sends the rest again */
    COMMIT_FATAL,                /* the disk refused a sync or the meta page, or the store is broken: stop the daemon, guess nothing */
};
/* Calls done(ctx, commit, outcome, text) on the committer thread: post to the mailbox, nothing else. One at a time (asserted). */
typedef void store_done(void *ctx, struct commit *commit, enum commit_outcome outcome, const char *text);
void store_commit_begin(struct store *store, struct commit *commit, store_done *done, void *ctx);
/* Room for new events? false from the soft limit (or a full disk) until enough is free again; reason: static text. Loop thread. */
bool store_accepts(struct store *store, const char **ret_reason);

void store_read_begin(struct store *store);
void store_read_end(struct store *store);

struct run batch_row_run(const struct batch_row *row, uint32_t index);
/* The first row of `function` with first_seq > after (after 0: the first). false: none. A row that fails its check is given
 * with no runs, so that the reader goes on behind it (reported through on_corrupt). */
bool store_batch_after(struct store *store, uint32_t function, uint64_t after, struct batch_row *ret_row);
/* The last row of `function` with first_seq <= at_most. false: none. */
bool store_batch_at(struct store *store, uint32_t function, uint64_t at_most, struct batch_row *ret_row);

/* SLUICE_ENOTFOUND: trimmed or never there; SLUICE_ECORRUPT: its record fails its check (logged once per record). */
enum sluice_err store_event(struct store *store, uint64_t seq, struct stored_event *ret_event);
/* The first log record with first_seq > after; for trimming and for tails. One that fails its check has count 0 and no functions:
 * tails pass over it, trimming by its first_seq removes it with its batches rows. */
bool store_record_after(struct store *store, uint64_t after, struct record *ret_record);

/* Exceptions of `function` in order of due time, after `after`. false: none. */
bool store_due_after(struct store *store, uint32_t function, struct due_key after, struct due_key *ret_key);
enum sluice_err store_exception(struct store *store, enum exception_table table, uint32_t function, struct delivery delivery,
                                struct exception *ret_row);
/* Rows of `function` in order of delivery, after `after` ({0,0}: from the first). false: none. */
bool store_exception_after(struct store *store, enum exception_table table, uint32_t function, struct delivery after,
                           struct exception *ret_row);
/* By id, if a UUIDv7, where its time says: reads a few records. SLUICE_ENOTFOUND: not there; store_event_search() looks on. */
enum sluice_err store_event_by_id(struct store *store, struct view id, bool id_is_uuid, struct stored_event *ret_event);

/* By any id, everywhere: near its time, in exceptions and dead letters, then the whole log, which takes as long as reading it.
 * On any thread (opens a read transaction of its own). SLUICE_ENOTFOUND; SLUICE_ETIMEDOUT: *cancelled became true. */
struct event_search {
    struct view id;
    bool id_is_uuid;
    const atomic_bool *cancelled; /* looked at between records; NULL: never */
};
struct event_found {
    uint64_t seq;
    int64_t committed_ms;
    struct bytes envelope;       /* a copy: the caller's to free */
    bool scanned;                /* it was not where its time says */
};
enum sluice_err store_event_search(struct store *store, const struct event_search *search, struct event_found *ret_found,
                                   struct sluice_error *reterr);

struct store_usage {
    uint64_t map_bytes, used_bytes, file_bytes, reserve_bytes;
    uint64_t commits, commit_bytes;      /* since open */
    uint64_t commit_us_p50, commit_us_p99, commit_bytes_p50; /* of the last 1,000 */
};
void store_usage(struct store *store, struct store_usage *ret_usage);

/* The balance, proved from stored state in one snapshot, on any thread (opens a read transaction of its own). */
struct balance_row {
    uint32_t function;
    struct view name;            /* valid during the callback */
    uint64_t accepted, succeeded, dead_lettered, expired, discarded;
    uint64_t pending;            /* counted: rows above the highest settled + holes + exceptions */
    uint64_t dead_rows;          /* counted rows of the dead table: must equal dead_lettered */
    bool holds;
};
enum sluice_err store_balance(struct store *store, void (*on_row)(void *ctx, const struct balance_row *row), void *ctx, struct sluice_error *reterr);

/* Every record, every counter, every table against each other, from one snapshot, on any thread. The error is about reading; what
 * is wrong with the store comes through on_finding. Holds its snapshot to the end: meanwhile a live store cannot reuse pages. */
enum { VERIFY_LISTED_MAX = 1000 };       /* findings given to on_finding; those beyond are counted only */
struct store_verify {
    void *ctx;
    void (*on_finding)(void *ctx, const char *table, const char *text);
    /* A few times a second; NULL: not wanted. */
    void (*on_progress)(void *ctx, const char *table, uint64_t rows, uint64_t rows_total);
};
struct store_verified {
    uint64_t findings;           /* 0: all is well */
    uint64_t rows, records, events, deliveries, producers; /* looked at; events and deliveries of the log */
};
enum sluice_err store_verify(struct store *store, const struct store_verify *verify, struct store_verified *ret_counts,
                             struct sluice_error *reterr);

/* A consistent copy of a store, live or not, into the directory `target`, which must not exist: SLUICE_EEXISTS. Compacted:
 * without free pages and zeros. Written to `target`.partial, synced and opened once, then renamed, so that a `target` that is there is whole.
 * Blocks. Holds a snapshot to the end: what a live store grows by meanwhile, because it cannot reuse pages, is reported. */
struct store_backup {
    void *ctx;
    void (*on_progress)(void *ctx, uint64_t bytes, uint64_t bytes_total); /* after each step of writing; NULL: not wanted */
};
struct store_backed_up {
    uint64_t bytes;              /* of the copy */
    uint64_t grown_bytes;        /* by which the store's use of its file grew */
    uint64_t next_seq;           /* of the copy: it has all events below */
};
enum sluice_err store_backup(struct store *store, const char *target, const struct store_backup *backup,
                             struct store_backed_up *ret_result, struct sluice_error *reterr);

#endif
