/* The committer: one thread, one commit at a time, each a default LMDB transaction (data, fdatasync, meta page, all before
 * `done`). Between commits it writes zeros ahead (space.c).
 *
 * What a failed commit means. mdb_txn_commit() of LMDB 0.9.24 works in this order, and returns the errno of the step that failed:
 *   1. changed pages, by pwrite or writev; a short write, as when the disk fills up on the way, comes back as EIO
 *   2. fdatasync
 *   3. the meta page, through an O_DSYNC descriptor; a failure also marks the environment, and every later begin gives MDB_PANIC
 * Until 3 nothing refers to the new pages, so after a failure of 1 the store is as it was and the commit may be sent again: that
 * is COMMIT_FULL when the cause was room. After a failure of 2 the kernel may have dropped dirty pages and called them clean:
 * nothing may be guessed. LMDB does not say which step it was, so we ask:
 *   - begin gives MDB_PANIC: it was 3
 *   - fdatasync on our own descriptor of the same file fails: it was 2. Linux reports a failed write-back once to every
 *     descriptor that was open when it happened (errseq, since 4.13), whoever asked first; ours is open from the start
 *   - neither: it was 1. ENOSPC and EDQUOT are "full"; EIO is only if the file system refuses one more page right now
 * Only a commit that failed is looked at this way; no sync that failed is ever repeated to call a commit durable. */
#include "broker/store/lmdb/lmdb_store.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "broker/base/assert.h"

enum { REVIEW_PAUSE_S = 1 };

static bool commit_publishes(const struct commit *commit)
{
    return commit->records.count != 0 || commit->batches.count != 0 || commit->producers.count != 0;
}

static enum commit_outcome fatal(struct store *store, const char *what, int rc)
{
    store->fatal = true;
    (void)snprintf(store->text, sizeof store->text,
                   "%s: %s; nothing after the last acknowledged commit is promised: stop and check the disk", what,
                   mdb_strerror(rc));
    return COMMIT_FATAL;
}

/* Publishing can wait for room. Settling has the reserve; if even that is gone there is nobody left to wait for. */
static enum commit_outcome full(struct store *store, const struct commit *commit, int rc)
{
    if (!commit_publishes(commit))
        return fatal(store, "no room left to settle deliveries, reserve included (free disk space, then start again)", rc);
    (void)snprintf(store->text, sizeof store->text, "no room for new events: %s", mdb_strerror(rc));
    space_met_full(store, rc != MDB_MAP_FULL);
    return COMMIT_FULL;
}

static bool is_room(int rc)
{
    return rc == ENOSPC || rc == EDQUOT || rc == EFBIG;
}

/* Puts failed and the transaction was aborted: no meta page was near, no sync was asked for. */
static enum commit_outcome apply_failed(struct store *store, const struct commit *commit, int rc)
{
    if (rc == MDB_MAP_FULL || is_room(rc) || (rc == EIO && space_is_full(store)))
        return full(store, commit, rc);
    /* store->text says which table and why already. */
    store->fatal = true;
    return COMMIT_FATAL;
}

static enum commit_outcome commit_failed(struct store *store, const struct commit *commit, int rc)
{
    MDB_txn *txn;

    int begun = mdb_txn_begin(store->env, NULL, 0, &txn);
    if (begun != 0)
        return fatal(store, "the disk refused the meta page", rc);
    mdb_txn_abort(txn);
    if (rc == MDB_MAP_FULL)
        return full(store, commit, rc);
    if (fdatasync(store->space.fd) != 0)
        return fatal(store, "the disk refused a sync", rc);
    if (is_room(rc) || (rc == EIO && space_is_full(store)))
        return full(store, commit, rc);
    return fatal(store, "the disk refused a write", rc);
}

static enum commit_outcome commit_execute(struct store *store, struct commit *commit)
{
    MDB_txn *txn;
    uint64_t bytes = 0;

    if (store->fatal)
        return COMMIT_FATAL; /* the text is still that of the first */
    store->text[0] = '\0';
    if (store->space.broken_errno != 0)
        return fatal(store, "the disk refused a write ahead of the data", store->space.broken_errno);
    if (commit_publishes(commit) && !space_take(store, commit)) {
        if (store->space.broken_errno != 0)
            return fatal(store, "the disk refused a write ahead of the data", store->space.broken_errno);
        return full(store, commit, store->space.disk_full ? ENOSPC : MDB_MAP_FULL);
    }
    int rc = mdb_txn_begin(store->env, NULL, 0, &txn);
    if (rc != 0)
        return fatal(store, "the store is broken", rc);
    rc = apply_commit(store, txn, commit, &bytes);
    if (rc != 0) {
        mdb_txn_abort(txn);
        return apply_failed(store, commit, rc);
    }
    rc = mdb_txn_commit(txn);
    if (rc != 0)
        return commit_failed(store, commit, rc);

    if (commit->revision != 0)
        store->revision = commit->revision;
    (void)pthread_mutex_lock(&store->mutex);
    store->latency.commits++;
    store->latency.commit_bytes += bytes;
    store->latency.bytes[store->latency.samples % LATENCY_SAMPLES] = (uint32_t)bytes; /* latency_note() counts the sample */
    (void)pthread_mutex_unlock(&store->mutex);
    space_review(store, true, bytes);
    return COMMIT_DURABLE;
}

/* Under the mutex. */
static void latency_note(struct store *store, int64_t begun_us)
{
    int64_t us = store_mono_us() - begun_us;
    store->latency.us[store->latency.samples++ % LATENCY_SAMPLES] = us < UINT32_MAX ? (uint32_t)us : UINT32_MAX;
}

/* Under the mutex, which is given up while it works or waits. Returns when there is a commit, or nothing to do but stop. */
static void committer_idle(struct store *store)
{
    while (store->work.commit == NULL && !store->work.stopping) {
        if (space_wants_more(store)) {
            (void)pthread_mutex_unlock(&store->mutex);
            space_step(store);
            (void)pthread_mutex_lock(&store->mutex);
        } else if (store->space.refusing) {
            struct timespec until;
            (void)clock_gettime(CLOCK_MONOTONIC, &until);
            until.tv_sec += REVIEW_PAUSE_S;
            if (pthread_cond_timedwait(&store->wake, &store->mutex, &until) != ETIMEDOUT)
                continue;
            (void)pthread_mutex_unlock(&store->mutex);
            space_review(store, true, 0);
            (void)pthread_mutex_lock(&store->mutex);
        } else {
            (void)pthread_cond_wait(&store->wake, &store->mutex);
        }
    }
}

static void *committer_run(void *arg)
{
    struct store *store = arg;

    (void)pthread_mutex_lock(&store->mutex);
    for (;;) {
        committer_idle(store);
        struct commit *commit = store->work.commit;
        if (commit == NULL)
            break;
        (void)pthread_mutex_unlock(&store->mutex);
        enum commit_outcome outcome = commit_execute(store, commit);
        (void)pthread_mutex_lock(&store->mutex);
        latency_note(store, store->work.begun_us);
        store_done *done = store->work.done;
        void *ctx = store->work.ctx;
        store->work.commit = NULL; /* before done: the loop may answer with the next one at once */
        (void)pthread_mutex_unlock(&store->mutex);
        done(ctx, commit, outcome, store->text);
        (void)pthread_mutex_lock(&store->mutex);
    }
    (void)pthread_mutex_unlock(&store->mutex);
    return NULL;
}

enum sluice_err committer_start(struct store *store, struct sluice_error *reterr)
{
    sigset_t all, before;

    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the loop thread's */
    int rc = pthread_create(&store->thread, NULL, committer_run, store);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc != 0)
        return sluice_fail(reterr, SLUICE_EUNAVAILABLE, "cannot start the committer thread: %s", strerror(rc));
    (void)pthread_setname_np(store->thread, "committer"); /* for people looking at top */
    store->thread_started = true;
    return SLUICE_OK;
}

void committer_stop(struct store *store)
{
    if (!store->thread_started)
        return;
    (void)pthread_mutex_lock(&store->mutex);
    store->work.stopping = true;
    (void)pthread_cond_signal(&store->wake);
    (void)pthread_mutex_unlock(&store->mutex);
    (void)pthread_join(store->thread, NULL);
    store->thread_started = false;
}

void store_commit_begin(struct store *store, struct commit *commit, store_done *done, void *ctx)
{
    ASSERT(store->thread_started);
    (void)pthread_mutex_lock(&store->mutex);
    ASSERT(store->work.commit == NULL);
    ASSERT(!store->work.stopping);
    store->work.commit = commit;
    store->work.done = done;
    store->work.ctx = ctx;
    store->work.begun_us = store_mono_us();
    (void)pthread_cond_signal(&store->wake);
    (void)pthread_mutex_unlock(&store->mutex);
}

static int compare_number(const void *a, const void *b)
{
    uint32_t left, right;

    memcpy(&left, a, sizeof left);
    memcpy(&right, b, sizeof right);
    return left < right ? -1 : left > right;
}

void store_usage(struct store *store, struct store_usage *ret_usage)
{
    uint32_t us[LATENCY_SAMPLES], written[LATENCY_SAMPLES];
    uint64_t used_end = atomic_load(&store->used_end_seen), zeroed_end = atomic_load(&store->zeroed_end_seen);
    struct store_usage usage = {
        .map_bytes = store->map_bytes,
        .used_bytes = used_end,
        .file_bytes = zeroed_end,
        .reserve_bytes = zeroed_end > used_end ? zeroed_end - used_end : 0,
    };

    (void)pthread_mutex_lock(&store->mutex);
    usage.commits = store->latency.commits;
    usage.commit_bytes = store->latency.commit_bytes;
    size_t count = store->latency.samples < LATENCY_SAMPLES ? (size_t)store->latency.samples : LATENCY_SAMPLES;
    memcpy(us, store->latency.us, count * sizeof us[0]);
    memcpy(written, store->latency.bytes, count * sizeof written[0]);
    (void)pthread_mutex_unlock(&store->mutex);
    if (count != 0) {
        qsort(us, count, sizeof us[0], compare_number);
        usage.commit_us_p50 = us[(count - 1) / 2];
        usage.commit_us_p99 = us[(count - 1) * 99 / 100];
        qsort(written, count, sizeof written[0], compare_number);
        usage.commit_bytes_p50 = written[(count - 1) / 2];
    }
    *ret_usage = usage;
}
