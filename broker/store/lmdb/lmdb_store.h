/* lmdb_store.h - what the files of this folder share. Nobody outside it includes this.
 *
 *   open.c       the lock, the format, the tables; open and close         rows.c    the bytes of every table
 *   committer.c  the thread: one commit at a time, and what its errors mean
 *   apply.c      a commit into one transaction                            space.c   zeros ahead, the reserve, "no room"
 *   read.c       the loop thread's snapshot: batches, records, events     parked.c  the same: exceptions, dead letters, due times
 *   recover.c    what the engine starts from                              find.c    an event by its id
 *   balance.c    the balance, counted from one snapshot                 verify*.c  all against all, from one snapshot
 *   backup.c     a copy of it all
 *
 * Threads: `read` and what is under it belong to the loop thread, `work` and `space` to the committer; what both look at
 * is atomic or under `mutex`. LMDB itself is safe between one writer and any number of readers. */
#ifndef SLUICE_STORE_LMDB_LMDB_STORE_H
#define SLUICE_STORE_LMDB_LMDB_STORE_H

#include <lmdb.h>
#include <pthread.h>
#include <stdatomic.h>

#include "broker/store/lmdb/rows.h"

enum db {
    DB_META, DB_LOG, DB_BATCHES, DB_QUEUES, DB_EXCEPTIONS, DB_DEAD, DB_DUE, DB_PRODUCERS, DB_FUNCTIONS, DB_TARGETS, DB_COUNT
};

enum {
    STORE_FORMAT = 1,            /* of every table and the log record together; a store with a higher one is refused */
    VERIFIED_RECORDS_MAX = 4096, /* remembered as checked: 4 GiB of log in 1 MiB records, for 32 KiB of memory */
    BAD_ROWS_MAX = 256,          /* remembered as reported; one pushed out may be reported again */
    LATENCY_SAMPLES = 1000,
};

/* What is known of the room in the file and the map. Bytes; written by the committer (and by open, before it runs). */
struct space {
    int fd;                      /* data.mdb, a descriptor of our own, never closed before LMDB's */
    uint64_t used_end;           /* end of the highest page any commit used */
    uint64_t zeroed_end;         /* up to here blocks are known to be written */
    uint64_t opened_end;         /* used_end at open: how much was written since decides how far ahead zeros go */
    uint64_t free_bytes;         /* free pages below used_end, when last counted, less what was committed since */
    int64_t counted_ms;          /* monotonic; 0: not counted */
    int64_t held_until_us;       /* monotonic; refusing until then without another look */
    bool growing;                /* more zeros are being written, a step at a time */
    bool disk_full;              /* the last zeros did not fit */
    bool refusing;
    int broken_errno;            /* writing zeros failed for another reason: the next commit says so */
};

struct store {
    MDB_env *env;
    MDB_dbi dbis[DB_COUNT];
    bool read_only;
    int lock_fd;
    uint64_t map_bytes, page_bytes, reserve_bytes;
    void (*on_corrupt)(void *ctx, const char *text);
    void *on_corrupt_ctx;

    struct {
        MDB_txn *txn;            /* kept for ever, renewed for each read */
        bool begun, failed;      /* failed: LMDB refuses reads (after a panic); everything reads as absent */
        MDB_cursor *cursors[DB_COUNT];
        uint32_t renewed;        /* bit i: cursor i belongs to this read */
        struct record record;    /* the one store_event() looked at last in this read; count 0: none */
        uint64_t verified[VERIFIED_RECORDS_MAX]; /* first_seq, placed by its hash; 0: empty */
        uint64_t bad[BAD_ROWS_MAX];              /* likewise; of rows of other tables, the hash of their place */
    } read;

    pthread_t thread;
    bool thread_started;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    struct {                     /* under mutex */
        struct commit *commit;
        store_done *done;
        void *ctx;
        int64_t begun_us;
        bool stopping;
    } work;
    struct {                     /* under mutex */
        uint64_t commits, commit_bytes;
        uint64_t samples;        /* ever taken; the last LATENCY_SAMPLES are kept */
        uint32_t us[LATENCY_SAMPLES];
        uint32_t bytes[LATENCY_SAMPLES]; /* written by each of them */
    } latency;
    struct space space;
    struct bytes scratch;        /* the committer's, for one row */
    uint64_t revision;           /* the committer's: as stored */
    bool fatal;                  /* the committer's: a commit was COMMIT_FATAL, all others will be */
    char text[SLUICE_ERROR_TEXT_MAX]; /* the committer's: of the last failed commit */

    _Atomic(const char *) refusal; /* NULL: publishes are taken */
    _Atomic uint64_t used_end_seen, zeroed_end_seen; /* copies of space's, for store_usage() */
};

static inline MDB_val mdb_val_of(struct view view)
{
    return (MDB_val){ .mv_size = view.len, .mv_data = (void *)(uintptr_t)view.data };
}

static inline struct view view_of_val(const MDB_val *val)
{
    return (struct view){ .data = val->mv_data, .len = val->mv_size };
}

static inline bool key_u32(const MDB_val *key, uint32_t *ret_value)
{
    if (key->mv_size != sizeof *ret_value)
        return false;
    memcpy(ret_value, key->mv_data, sizeof *ret_value);
    return true;
}

static inline bool key_u64(const MDB_val *key, uint64_t *ret_value)
{
    if (key->mv_size != sizeof *ret_value)
        return false;
    memcpy(ret_value, key->mv_data, sizeof *ret_value);
    return true;
}

#define MDB_VAL_OF(thing) ((MDB_val){ .mv_size = sizeof(thing), .mv_data = &(thing) })

int64_t store_mono_us(void);
/* The one way the store says that stored bytes are wrong: a line for the log, through the hook of store_options. */
void store_corrupt(const struct store *store, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* open.c */
const char *store_table_name(enum db db);
/* LMDB syncs its file, not the directory entries that lead to it. `suffix`: "", or "/.." for the directory above. */
enum sluice_err directory_sync(const char *dir, const char *suffix, struct sluice_error *reterr);

/* balance.c: store_balance() in a transaction of the caller's. 0 or an LMDB error. */
int balance_rows(struct store *store, MDB_txn *txn, void (*on_row)(void *ctx, const struct balance_row *row), void *ctx);

/* committer.c */
enum sluice_err committer_start(struct store *store, struct sluice_error *reterr);
void committer_stop(struct store *store);

/* apply.c: 0 or an LMDB error; `store->text` names the table. *ret_bytes: keys and values put. */
int apply_commit(struct store *store, MDB_txn *txn, struct commit *commit, uint64_t *ret_bytes);

/* space.c */
bool space_open(struct store *store, const char *path, struct sluice_error *reterr);
/* Is there room for a commit that takes new events, without touching the reserve? Writes zeros ahead if that helps. */
bool space_take(struct store *store, const struct commit *commit);
/* After each commit, and once a second while refusing: looks at the room again, sets `refusal`. `grow`: zeros may be written. */
void space_review(struct store *store, bool grow, uint64_t committed_bytes);
/* More zeros are wanted and can be had: the committer, when idle, goes on with space_step(). */
bool space_wants_more(struct store *store);
void space_step(struct store *store);
/* Asks the file system for one more page. */
bool space_is_full(struct store *store);
/* A publish found no room on the disk, or in the map: refuse for a second, then look again. */
void space_met_full(struct store *store, bool disk);

/* recover.c; all zero but next_seq 1 when nothing was ever committed */
enum sluice_err totals_read(struct store *store, MDB_txn *txn, struct totals_row *ret_totals, struct sluice_error *reterr);

/* read.c */
MDB_cursor *read_cursor(struct store *store, enum db db);   /* of this read; NULL: reads fail */
bool read_record_at(struct store *store, const MDB_val *key, const MDB_val *value, struct record *ret_record);
/* true once for each bad row: report it now. */
bool read_first_report(struct store *store, enum db db, uint32_t function, uint64_t seq);

#endif
