/* A copy of a live store. LMDB walks one snapshot and writes it, compacted, to a descriptor: ours is a pipe, so that each step
 * can be counted, and so that a copy that fails can be given up at any point by closing our end.
 *
 *      thread: mdb_env_copyfd2 ──pipe──> here: write, progress ──> TARGET.partial/data.mdb
 *                                              then: fsync, open once, rename to TARGET, sync the directory above
 *
 * The snapshot is a reader like any other: commits go on beside it, but pages freed after it began are not reused until it ends.
 */
#include "broker/store/lmdb/lmdb_store.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    STEP_BYTES = 1 << 20, /* between two calls of on_progress; also asked for as the size of the pipe */
    PATH_BYTES_MAX = 4096,
};

struct copying {
    struct store *store;
    const char *target;
    const struct store_backup *backup;
    char partial[PATH_BYTES_MAX], file[PATH_BYTES_MAX]; /* TARGET.partial, and data.mdb in it */
    int fd;                                             /* of the file; -1 */
    int pipe[2];                                        /* read, write; -1 */
    pthread_t thread;
    int rc; /* of mdb_env_copyfd2: the thread's until it is joined */
    uint64_t bytes, bytes_total;
    char *step;
};

/* Pages that a compacted copy has: those of all tables, LMDB's own two included, and the meta pages. */
static int pages_count(const struct store *store, uint64_t *ret_pages)
{
    MDB_txn *txn;
    MDB_stat stat;
    MDB_dbi main_dbi;
    uint64_t pages = 2;

    int rc = mdb_txn_begin(store->env, NULL, MDB_RDONLY, &txn);
    if (rc != 0)
        return rc;
    rc = mdb_dbi_open(txn, NULL, 0, &main_dbi);
    for (unsigned i = 0; rc == 0 && i <= DB_COUNT; i++) {
        rc = mdb_stat(txn, i < DB_COUNT ? store->dbis[i] : main_dbi, &stat);
        if (rc == 0)
            pages += stat.ms_branch_pages + stat.ms_leaf_pages + stat.ms_overflow_pages;
    }
    mdb_txn_abort(txn);
    *ret_pages = pages;
    return rc;
}

static uint64_t end_bytes(const struct store *store)
{
    MDB_envinfo info;

    (void)mdb_env_info(store->env, &info); /* cannot fail on an open environment */
    return (info.me_last_pgno + 1) * store->page_bytes;
}

static void *copy_main(void *ctx)
{
    struct copying *copying = ctx;

    copying->rc = mdb_env_copyfd2(copying->store->env, copying->pipe[1], MDB_CP_COMPACT);
    (void)close(copying->pipe[1]); /* the end of the copy, for the one who reads */
    return NULL;
}

static bool write_whole(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t written = write(fd, data, len);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return false;
        data += written;
        len -= (size_t)written;
    }
    return true;
}

/* From the pipe to the file. 0, or the errno of the write (or read) that failed. */
static int copy_receive(struct copying *copying)
{
    for (;;) {
        ssize_t got = read(copying->pipe[0], copying->step, STEP_BYTES);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return errno;
        if (got == 0)
            return 0;
        if (!write_whole(copying->fd, copying->step, (size_t)got))
            return errno;
        copying->bytes += (uint64_t)got;
        /* What is written meanwhile belongs to a later snapshot, or to a reader's estimate: never more than all. */
        if (copying->bytes_total < copying->bytes)
            copying->bytes_total = copying->bytes;
        if (copying->backup != NULL && copying->backup->on_progress != NULL)
            copying->backup->on_progress(copying->backup->ctx, copying->bytes, copying->bytes_total);
    }
}

/* Both ends at work. SIGPIPE is kept from the threads (LMDB starts one more): when writing fails here, they shall get EPIPE. */
static enum sluice_err copy_run(struct copying *copying, struct sluice_error *reterr)
{
    sigset_t all, before;

    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&copying->thread, NULL, copy_main, copying);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc != 0) {
        (void)close(copying->pipe[1]);
        copying->pipe[1] = -1;
        return sluice_fail(reterr, SLUICE_EUNAVAILABLE, "backup: cannot start a thread: %s", strerror(rc));
    }
    int error = copy_receive(copying);
    (void)close(copying->pipe[0]); /* if it is early, the thread's next write says EPIPE */
    copying->pipe[0] = -1;
    (void)pthread_join(copying->thread, NULL);
    copying->pipe[1] = -1;
    if (error != 0)
        return sluice_fail(reterr, SLUICE_EIO, "backup: writing '%s': %s", copying->file, strerror(error));
    if (copying->rc == MDB_INCOMPATIBLE || copying->rc == MDB_CORRUPTED || copying->rc == MDB_PAGE_NOTFOUND)
        return sluice_fail(reterr, SLUICE_ECORRUPT, "backup: the store's pages are damaged: %s; run: sluice store verify",
                           mdb_strerror(copying->rc));
    if (copying->rc != 0)
        return sluice_fail(reterr, SLUICE_EIO, "backup: reading the store: %s", mdb_strerror(copying->rc));
    return SLUICE_OK;
}

static enum sluice_err copy_open(struct copying *copying, struct sluice_error *reterr)
{
    struct stat info;

    if (strlen(copying->target) == 0 || strlen(copying->target) + sizeof ".partial/data.mdb" > PATH_BYTES_MAX)
        return sluice_fail(reterr, SLUICE_EINVAL, "backup: the target's path is empty or too long");
    if (lstat(copying->target, &info) == 0)
        return sluice_fail(reterr, SLUICE_EEXISTS, "backup: '%s' exists already; name a directory that does not",
                           copying->target);
    if (mkdir(copying->partial, 0700) != 0)
        return errno == EEXIST
                   ? sluice_fail(reterr, SLUICE_EEXISTS,
                                 "backup: '%s' is there: another backup is writing it, or one was cut off; then remove it",
                                 copying->partial)
                   : sluice_fail(reterr, SLUICE_EIO, "backup: cannot make '%s': %s", copying->partial, strerror(errno));
    return SLUICE_OK;
}

static enum sluice_err copy_write(struct copying *copying, struct sluice_error *reterr)
{
    uint64_t pages;

    int rc = pages_count(copying->store, &pages);
    if (rc != 0)
        return sluice_fail(reterr, SLUICE_EIO, "backup: reading the store: %s", mdb_strerror(rc));
    copying->bytes_total = pages * copying->store->page_bytes;
    copying->step = malloc(STEP_BYTES);
    if (copying->step == NULL)
        return sluice_fail(reterr, SLUICE_ENOMEM, "backup: out of memory");
    copying->fd = open(copying->file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (copying->fd < 0 || pipe2(copying->pipe, O_CLOEXEC) != 0)
        return sluice_fail(reterr, SLUICE_EIO, "backup: cannot make '%s': %s", copying->file, strerror(errno));
    (void)fcntl(copying->pipe[1], F_SETPIPE_SZ, STEP_BYTES); /* refused: the steps are smaller */
    enum sluice_err err = copy_run(copying, reterr);
    if (err == SLUICE_OK && fsync(copying->fd) != 0)
        err = sluice_fail(reterr, SLUICE_EIO, "backup: the disk refused to keep '%s': %s", copying->file, strerror(errno));
    return err;
}

/* A copy that nobody could open would be found out when it is needed. */
static enum sluice_err copy_check(struct copying *copying, struct totals_row *ret_totals, struct sluice_error *reterr)
{
    struct store_options options = { .read_only = true };
    char lock[PATH_BYTES_MAX + sizeof "/lock.mdb"];
    struct store *copy;
    MDB_txn *txn;

    enum sluice_err err = store_open(copying->partial, &options, &copy, reterr);
    if (err != SLUICE_OK)
        return err;
    int rc = mdb_txn_begin(copy->env, NULL, MDB_RDONLY, &txn);
    if (rc == 0) {
        err = totals_read(copy, txn, ret_totals, reterr);
        mdb_txn_abort(txn);
    } else {
        err = sluice_fail(reterr, SLUICE_EIO, "backup: cannot read '%s': %s", copying->partial, mdb_strerror(rc));
    }
    store_close(copy);
    (void)snprintf(lock, sizeof lock, "%s/lock.mdb", copying->partial);
    (void)unlink(lock); /* LMDB makes it anew with each opening */
    return err;
}

static enum sluice_err copy_rename(struct copying *copying, struct sluice_error *reterr)
{
    int rc = renameat2(AT_FDCWD, copying->partial, AT_FDCWD, copying->target, RENAME_NOREPLACE);
    if (rc != 0 && (errno == EINVAL || errno == ENOSYS)) /* a file system without it: the target was not there when we began */
        rc = rename(copying->partial, copying->target);
    if (rc != 0)
        return sluice_fail(reterr, errno == EEXIST ? SLUICE_EEXISTS : SLUICE_EIO, "backup: cannot rename '%s' to '%s': %s",
                           copying->partial, copying->target, strerror(errno));
    return directory_sync(copying->target, "/..", reterr);
}

static enum sluice_err copy_all(struct copying *copying, struct store_backed_up *ret_result, struct sluice_error *reterr)
{
    struct totals_row totals = { 0 };
    uint64_t end_before = end_bytes(copying->store);

    enum sluice_err err = copy_write(copying, reterr);
    uint64_t end_after = end_bytes(copying->store);
    if (err == SLUICE_OK)
        err = copy_check(copying, &totals, reterr);
    if (err == SLUICE_OK)
        err = directory_sync(copying->partial, "", reterr);
    if (err == SLUICE_OK)
        err = copy_rename(copying, reterr);
    if (err == SLUICE_OK)
        *ret_result = (struct store_backed_up){ .bytes = copying->bytes,
                                                .grown_bytes = end_after - end_before,
                                                .next_seq = totals.next_seq };
    return err;
}

enum sluice_err store_backup(struct store *store, const char *target, const struct store_backup *backup,
                             struct store_backed_up *ret_result, struct sluice_error *reterr)
{
    struct copying copying = { .store = store, .backup = backup, .fd = -1, .pipe = { -1, -1 } };
    char path[PATH_BYTES_MAX];

    /* Without slashes at the end: the name beside it is made of it. */
    size_t len = strlen(target);
    while (len > 1 && target[len - 1] == '/')
        len--;
    (void)snprintf(path, sizeof path, "%.*s", (int)(len < sizeof path ? len : sizeof path - 1), target);
    copying.target = path;
    (void)snprintf(copying.partial, sizeof copying.partial, "%.*s.partial", PATH_BYTES_MAX - 32, path);
    (void)snprintf(copying.file, sizeof copying.file, "%.*s.partial/data.mdb", PATH_BYTES_MAX - 32, path);
    enum sluice_err err = copy_open(&copying, reterr);
    if (err != SLUICE_OK)
        return err;
    err = copy_all(&copying, ret_result, reterr);
    if (copying.fd >= 0)
        (void)close(copying.fd); /* synced, or given up */
    for (unsigned i = 0; i < 2; i++)
        if (copying.pipe[i] >= 0)
            (void)close(copying.pipe[i]);
    free(copying.step);
    if (err != SLUICE_OK) { /* what is left of it is of no use; if it was renamed already, these find nothing */
        (void)unlink(copying.file);
        (void)rmdir(copying.partial);
    }
    return err;
}
