/* Opening, in an order that leaves a directory untouched until it is known to be ours: the lock, LMDB's own header, the
 * format number, and only then tables and zeros.
 *
 * The lock is a POSIX record lock on DATA/lock: the kernel drops it when the process dies, whatever way, children do not
 * inherit it, and F_GETLK names the holder. Its one trap: closing any descriptor of that file in this process drops it, so
 * nobody else here may open DATA/lock. LMDB's lock.mdb is a different thing (readers and the writer's mutex). */
#include "broker/store/lmdb/lmdb_store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "broker/base/assert.h"

#define STORE_MAP_BYTES_DEFAULT ((uint64_t)64 << 30) /* address space, not disk */
#define STORE_RESERVE_BYTES ((uint64_t)16 << 20)     /* of written zeros, so that settling goes on when the disk is full */

static const struct {
    const char *name;
    unsigned flags;
} tables[DB_COUNT] = {
    [DB_META] = { "meta", 0 },
    [DB_LOG] = { "log", MDB_INTEGERKEY },
    [DB_BATCHES] = { "batches", 0 },
    [DB_QUEUES] = { "queues", MDB_INTEGERKEY },
    [DB_EXCEPTIONS] = { "exceptions", 0 },
    [DB_DEAD] = { "dead", 0 },
    [DB_DUE] = { "due", 0 },
    [DB_PRODUCERS] = { "producers", 0 },
    [DB_FUNCTIONS] = { "functions", MDB_INTEGERKEY },
    [DB_TARGETS] = { "targets", MDB_INTEGERKEY },
};

const char *store_table_name(enum db db)
{
    return tables[db].name;
}

int64_t store_mono_us(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail with this clock */
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

void store_corrupt(const struct store *store, const char *format, ...)
{
    char text[SLUICE_ERROR_TEXT_MAX];
    va_list args;

    if (store->on_corrupt == NULL)
        return;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    store->on_corrupt(store->on_corrupt_ctx, text);
}

static enum sluice_err lock_take(struct store *store, const char *dir, const char *path, struct sluice_error *reterr)
{
    struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

    store->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (store->lock_fd < 0)
        return sluice_fail(reterr, SLUICE_EIO, "data directory '%s': cannot open its lock file: %s", dir, strerror(errno));
    if (fcntl(store->lock_fd, F_SETLK, &lock) == 0)
        return SLUICE_OK;
    if (errno != EACCES && errno != EAGAIN)
        return sluice_fail(reterr, SLUICE_EIO, "data directory '%s': cannot lock '%s': %s", dir, path, strerror(errno));
    lock = (struct flock){ .l_type = F_WRLCK, .l_whence = SEEK_SET };
    if (fcntl(store->lock_fd, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK)
        return sluice_fail(reterr, SLUICE_EEXISTS,
                           "data directory '%s' is in use by process %ld; stop it, or name another directory", dir,
                           (long)lock.l_pid);
    return sluice_fail(reterr, SLUICE_EEXISTS, "data directory '%s' was in use a moment ago; try again", dir);
}

/* LMDB's refusals of a file it does not know, told from the disk's. */
static enum sluice_err env_fail(const char *dir, int rc, struct sluice_error *reterr)
{
    switch (rc) {
    case MDB_INVALID: return sluice_fail(reterr, SLUICE_ECORRUPT, "'%s/data.mdb' is not an LMDB file; left untouched", dir);
    case MDB_VERSION_MISMATCH:
        return sluice_fail(reterr, SLUICE_ECORRUPT, "'%s/data.mdb' has another LMDB format than this library's; left untouched",
                           dir);
    default: return sluice_fail(reterr, SLUICE_EIO, "data directory '%s': cannot open the store: %s", dir, mdb_strerror(rc));
    }
}

static enum sluice_err table_fail(const char *dir, const char *name, int rc, struct sluice_error *reterr)
{
    if (rc == MDB_NOTFOUND || rc == MDB_INCOMPATIBLE)
        return sluice_fail(reterr, SLUICE_ECORRUPT, "'%s' is not a store of sluice: table '%s' is %s; left untouched", dir, name,
                           rc == MDB_NOTFOUND ? "missing" : "of another kind");
    return sluice_fail(reterr, SLUICE_EIO, "data directory '%s': table '%s': %s", dir, name, mdb_strerror(rc));
}

/* Opens all tables in `txn`; the handles outlive it once it is committed. */
static enum sluice_err tables_open(struct store *store, MDB_txn *txn, const char *dir, unsigned create,
                                   struct sluice_error *reterr)
{
    for (unsigned i = 0; i < DB_COUNT; i++) {
        int rc = mdb_dbi_open(txn, tables[i].name, tables[i].flags | create, &store->dbis[i]);
        if (rc != 0)
            return table_fail(dir, tables[i].name, rc, reterr);
    }
    return SLUICE_OK;
}

static enum sluice_err format_check(struct store *store, MDB_txn *txn, const char *dir, struct sluice_error *reterr)
{
    MDB_val key = mdb_val_of(VIEW_LITERAL("format")), value;
    MDB_dbi meta;
    uint8_t bytes[4];

    int rc = mdb_dbi_open(txn, tables[DB_META].name, 0, &meta);
    if (rc != 0)
        return table_fail(dir, tables[DB_META].name, rc, reterr);
    rc = mdb_get(txn, meta, &key, &value);
    if (rc != 0 || value.mv_size != sizeof bytes)
        return sluice_fail(reterr, SLUICE_ECORRUPT, "'%s' is not a store of sluice: it has no format number; left untouched",
                           dir);
    memcpy(bytes, value.mv_data, sizeof bytes);
    uint32_t format = bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
    if (format > STORE_FORMAT || format == 0)
        return sluice_fail(reterr, SLUICE_ECORRUPT,
                           "'%s' has store format %u, this program reads up to %d; left untouched: use a newer sluiced", dir,
                           format, STORE_FORMAT);
    return tables_open(store, txn, dir, 0, reterr);
}

static enum sluice_err tables_make(struct store *store, const char *dir, struct sluice_error *reterr)
{
    static const uint8_t format[4] = { STORE_FORMAT };
    MDB_val key = mdb_val_of(VIEW_LITERAL("format")), value = { .mv_size = sizeof format, .mv_data = (void *)(uintptr_t)format };
    MDB_txn *txn;

    int rc = mdb_txn_begin(store->env, NULL, 0, &txn);
    if (rc != 0)
        return sluice_fail(reterr, SLUICE_EIO, "data directory '%s': cannot make the store: %s", dir, mdb_strerror(rc));
    enum sluice_err err = tables_open(store, txn, dir, MDB_CREATE, reterr);
    if (err == SLUICE_OK) {
        rc = mdb_put(txn, store->dbis[DB_META], &key, &value, 0);
        if (rc != 0)
            err = sluice_fail(reterr, SLUICE_EIO, "data directory '%s': cannot make the store: %s", dir, mdb_strerror(rc));
    }
    if (err != SLUICE_OK) {
        mdb_txn_abort(txn);
        return err;
    }
    rc = mdb_txn_commit(txn);
    if (rc != 0)
        return sluice_fail(reterr, SLUICE_EIO, "data directory '%s': cannot make the store: %s", dir, mdb_strerror(rc));
    return SLUICE_OK;
}

/* A new LMDB file has an empty main table; so has one whose maker died before its first commit. */
static enum sluice_err store_check(struct store *store, const char *dir, bool *ret_new, struct sluice_error *reterr)
{
    MDB_txn *txn;
    MDB_dbi main_dbi;
    MDB_stat stat;

    int rc = mdb_txn_begin(store->env, NULL, MDB_RDONLY, &txn);
    if (rc != 0)
        return sluice_fail(reterr, SLUICE_EIO, "data directory '%s': cannot read the store: %s", dir, mdb_strerror(rc));
    rc = mdb_dbi_open(txn, NULL, 0, &main_dbi);
    if (rc == 0)
        rc = mdb_stat(txn, main_dbi, &stat);
    enum sluice_err err = SLUICE_OK;
    if (rc != 0)
        err = sluice_fail(reterr, SLUICE_EIO, "data directory '%s': cannot read the store: %s", dir, mdb_strerror(rc));
    else if (stat.ms_entries == 0)
        *ret_new = true;
    else
        err = format_check(store, txn, dir, reterr);
    if (err == SLUICE_OK)
        rc = mdb_txn_commit(txn); /* keeps the table handles */
    else
        mdb_txn_abort(txn);
    if (err == SLUICE_OK && rc != 0)
        err = sluice_fail(reterr, SLUICE_EIO, "data directory '%s': cannot read the store: %s", dir, mdb_strerror(rc));
    return err;
}

enum sluice_err directory_sync(const char *dir, const char *suffix, struct sluice_error *reterr)
{
    char path[4096];

    (void)snprintf(path, sizeof path, "%s%s", dir, suffix);
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) != 0) {
        int error = errno;
        if (fd >= 0)
            (void)close(fd); /* only read */
        return sluice_fail(reterr, SLUICE_EIO, "cannot sync directory '%s': %s", path, strerror(error));
    }
    (void)close(fd); /* only read */
    return SLUICE_OK;
}

static enum sluice_err env_open(struct store *store, const char *dir, struct sluice_error *reterr)
{
    int rc = mdb_env_create(&store->env);
    if (rc == 0)
        rc = mdb_env_set_mapsize(store->env, store->map_bytes);
    if (rc == 0)
        rc = mdb_env_set_maxdbs(store->env, DB_COUNT);
    if (rc == 0) /* default flags: both syncs. NOTLS ties readers to their transaction object, not to the thread */
        rc = mdb_env_open(store->env, dir, MDB_NOTLS | (store->read_only ? MDB_RDONLY : 0), 0600);
    if (rc != 0)
        return env_fail(dir, rc, reterr);

    bool new = false;
    enum sluice_err err = store_check(store, dir, &new, reterr);
    if (err == SLUICE_OK && new) {
        if (store->read_only)
            return sluice_fail(reterr, SLUICE_ECORRUPT, "'%s' holds no store", dir);
        err = tables_make(store, dir, reterr);
        if (err == SLUICE_OK)
            err = directory_sync(dir, "", reterr);
        if (err == SLUICE_OK)
            err = directory_sync(dir, "/..", reterr);
    }
    if (err != SLUICE_OK)
        return err;

    MDB_stat stat;
    MDB_envinfo info;
    (void)mdb_env_stat(store->env, &stat); /* neither can fail on an open environment */
    (void)mdb_env_info(store->env, &info);
    store->page_bytes = stat.ms_psize;
    store->map_bytes = info.me_mapsize; /* LMDB enlarges it to what the file uses */
    uint64_t tenth = store->map_bytes / 10;
    store->reserve_bytes = tenth < STORE_RESERVE_BYTES ? tenth : STORE_RESERVE_BYTES;
    atomic_store(&store->used_end_seen, (info.me_last_pgno + 1) * store->page_bytes); /* all that a read-only one ever says */
    return SLUICE_OK;
}

static enum sluice_err open_all(struct store *store, const char *dir, struct sluice_error *reterr)
{
    char path[4096];

    if (strlen(dir) + sizeof "/data.mdb" > sizeof path)
        return sluice_fail(reterr, SLUICE_EINVAL, "data directory: its path has %zu bytes, over the limit of %zu", strlen(dir),
                           sizeof path - sizeof "/data.mdb");
    if (!store->read_only) {
        if (mkdir(dir, 0700) != 0 && errno != EEXIST)
            return sluice_fail(reterr, SLUICE_EIO, "data directory '%s': cannot make it: %s", dir, strerror(errno));
        (void)snprintf(path, sizeof path, "%s/lock", dir);
        enum sluice_err err = lock_take(store, dir, path, reterr);
        if (err != SLUICE_OK)
            return err;
    }
    enum sluice_err err = env_open(store, dir, reterr);
    if (err != SLUICE_OK)
        return err;
    int dead;
    (void)mdb_reader_check(store->env, &dead); /* frees the reader slots of processes that died; a failure only leaves them */
    int rc = mdb_txn_begin(store->env, NULL, MDB_RDONLY, &store->read.txn);
    if (rc != 0)
        return sluice_fail(reterr, SLUICE_EIO, "data directory '%s': cannot read the store: %s", dir, mdb_strerror(rc));
    struct totals_row totals;
    err = totals_read(store, store->read.txn, &totals, reterr);
    mdb_txn_reset(store->read.txn);
    if (err != SLUICE_OK || store->read_only)
        return err;
    store->revision = totals.revision;
    (void)snprintf(path, sizeof path, "%s/data.mdb", dir);
    if (!space_open(store, path, reterr))
        return SLUICE_EIO;
    return committer_start(store, reterr);
}

enum sluice_err store_open(const char *dir, const struct store_options *options, struct store **ret_store,
                           struct sluice_error *reterr)
{
    struct store *store = calloc(1, sizeof *store);
    if (store == NULL)
        return sluice_fail(reterr, SLUICE_ENOMEM, "data directory '%s': out of memory", dir);
    store->lock_fd = store->space.fd = -1;
    store->map_bytes = STORE_MAP_BYTES_DEFAULT;
    if (options != NULL) {
        store->read_only = options->read_only;
        store->on_corrupt = options->on_corrupt;
        store->on_corrupt_ctx = options->on_corrupt_ctx;
        if (options->map_bytes != 0)
            store->map_bytes = options->map_bytes;
    }
    (void)pthread_mutex_init(&store->mutex, NULL); /* glibc: cannot fail with default attributes */
    pthread_condattr_t attributes;
    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&store->wake, &attributes);
    (void)pthread_condattr_destroy(&attributes);

    enum sluice_err err = open_all(store, dir, reterr);
    if (err != SLUICE_OK) {
        store_close(store);
        return err;
    }
    *ret_store = store;
    return SLUICE_OK;
}

void store_close(struct store *store)
{
    if (store == NULL)
        return;
    committer_stop(store);
    for (unsigned i = 0; i < DB_COUNT; i++)
        if (store->read.cursors[i] != NULL)
            mdb_cursor_close(store->read.cursors[i]);
    if (store->read.txn != NULL)
        mdb_txn_abort(store->read.txn);
    if (store->env != NULL)
        mdb_env_close(store->env);
    /* Neither has unwritten data of ours: commits were synced, zeros need not last. The lock goes last. */
    if (store->space.fd >= 0)
        (void)close(store->space.fd);
    if (store->lock_fd >= 0)
        (void)close(store->lock_fd);
    (void)pthread_cond_destroy(&store->wake);
    (void)pthread_mutex_destroy(&store->mutex);
    bytes_done(&store->scratch);
    free(store);
}
