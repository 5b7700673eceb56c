/* Room: zeros written ahead of use, the reserve, and when publishes are refused.
 *
 *      0 ............... used_end ............. zeroed_end        map_bytes
 *      | pages, some free | written zeros: tail | nothing         |
 *
 * Zeros ahead make commits cheaper (an overwrite needs no allocation, so the sync that ends a commit finds no file metadata
 * to journal: measured 1.35 to 1.5 times) and are the reserve: blocks the file system has already given us, so that settling
 * goes on when the disk is full. fallocate() gives neither; its blocks are converted at first write, through the journal.
 *
 * Zeros are written only beyond used_end and only while no transaction writes. LMDB never looks at the size of the file: it
 * maps map_bytes whatever the size, and allocates by the last page number of its newest meta page, which is where used_end
 * comes from. Readers see older meta pages, whose last page is lower. So nobody can look at what is written here.
 *
 * The file never shrinks; trimmed records become free pages below used_end. They are counted (one word per row of LMDB's
 * own free table) only under pressure, when they decide whether publishes can go on, and then at most once a second. */
#include "broker/store/lmdb/lmdb_store.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    ZERO_WRITE_BYTES = 1 << 20,  /* between two commits, when there is time: about 0.2 ms */
    ZERO_STEP_BYTES = 4 << 20,   /* at once, when the reserve is short; and the least worth starting for */
    ZERO_AHEAD_BYTES = 64 << 20, /* at most, beyond the reserve */
    COUNT_PAUSE_MS = 1000,
    SOFT_LIMIT_PERCENT = 90,     /* of the map: publishes are refused from here, */
    SOFT_RESUME_PERCENT = 85,    /* and taken again below this */
    LMDB_FREE_DBI = 0,           /* LMDB's table of free pages: value = count, then page numbers (as mdb_stat reads it) */
};

static const char reason_disk[] = "the disk is full: publishes wait until there is room again; events in the queues go on";
static const char reason_map[] = "the store is over 90 % of its size limit: publishes wait until events are done and trimmed";

/* Never written to, so it costs no memory: the kernel maps its one page of zeros. */
static const char zeros[ZERO_WRITE_BYTES];

static uint64_t tail_bytes(const struct store *store)
{
    return store->space.zeroed_end - store->space.used_end;
}

static void publish_ends(struct store *store)
{
    atomic_store(&store->used_end_seen, store->space.used_end);
    atomic_store(&store->zeroed_end_seen, store->space.zeroed_end);
}

static void used_end_look(struct store *store)
{
    MDB_envinfo info;

    (void)mdb_env_info(store->env, &info); /* cannot fail on an open environment */
    store->space.used_end = (info.me_last_pgno + 1) * store->page_bytes;
    if (store->space.zeroed_end < store->space.used_end)
        store->space.zeroed_end = store->space.used_end;
    publish_ends(store);
}

/* What settling could live on: the tail, and free pages. Those count half, because a long row wants its pages in one piece. */
static uint64_t reserve_held(const struct store *store)
{
    return tail_bytes(store) + store->space.free_bytes / 2;
}

/* Where publishes wait already, more is asked for than where they do not: else the answer would change with every commit. */
static uint64_t reserve_to_hold(const struct store *store)
{
    return store->space.refusing ? store->reserve_bytes + store->reserve_bytes / 4 : store->reserve_bytes;
}

/* How far ahead zeros are wanted: the reserve, and as much again as was written since the store was opened, so that a store
 * with little to do stays small. Free pages below used_end serve as well, but only their count is known, not their use. */
static uint64_t tail_wanted(const struct store *store)
{
    uint64_t grown = store->space.used_end - store->space.opened_end;
    uint64_t ahead = grown < ZERO_AHEAD_BYTES ? grown : ZERO_AHEAD_BYTES;
    uint64_t room = store->map_bytes - store->space.used_end;
    return store->reserve_bytes + ahead < room ? store->reserve_bytes + ahead : room;
}

/* Up to `bytes` of zeros at the end of the tail. Stops at the map's end and at the first refusal of the file system. */
static void zeros_write(struct store *store, uint64_t bytes)
{
    struct space *space = &store->space;
    uint64_t start = space->zeroed_end;
    uint64_t end = start + bytes < store->map_bytes ? start + bytes : store->map_bytes;

    while (space->zeroed_end < end) {
        uint64_t len = end - space->zeroed_end < ZERO_WRITE_BYTES ? end - space->zeroed_end : ZERO_WRITE_BYTES;
        ssize_t written = pwrite(space->fd, zeros, len, (off_t)space->zeroed_end);
        if (written > 0) {
            space->zeroed_end += (uint64_t)written;
            space->disk_full = false;
            continue;
        }
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0 && errno != ENOSPC && errno != EDQUOT && errno != EFBIG)
            space->broken_errno = errno;
        space->disk_full = true;
        break;
    }
    /* Lets the disk begin now rather than in the next commit's sync. Only a hint: what fails here fails there too. */
    if (space->zeroed_end > start)
        (void)sync_file_range(space->fd, (off_t)start, (off_t)(space->zeroed_end - start), SYNC_FILE_RANGE_WRITE);
    publish_ends(store);
}

static uint64_t free_pages_count(struct store *store)
{
    MDB_txn *txn;
    MDB_cursor *cursor;
    MDB_val key, value;
    uint64_t pages = 0;

    if (mdb_txn_begin(store->env, NULL, MDB_RDONLY, &txn) != 0)
        return 0; /* "none" is the careful answer */
    if (mdb_cursor_open(txn, LMDB_FREE_DBI, &cursor) == 0) {
        while (mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0) {
            size_t count;
            if (value.mv_size < sizeof count)
                continue;
            memcpy(&count, value.mv_data, sizeof count);
            pages += count;
        }
        mdb_cursor_close(cursor);
    }
    mdb_txn_abort(txn);
    return pages;
}

/* Counts, or takes off the last count what a commit may have used since. */
static void free_pages_look(struct store *store, bool count, uint64_t committed_bytes)
{
    struct space *space = &store->space;
    int64_t now_ms = store_mono_us() / 1000;

    if (count && (space->counted_ms == 0 || now_ms - space->counted_ms >= COUNT_PAUSE_MS)) {
        space->free_bytes = free_pages_count(store) * store->page_bytes;
        space->counted_ms = now_ms;
        return;
    }
    space->free_bytes -= committed_bytes < space->free_bytes ? committed_bytes : space->free_bytes;
}

bool space_open(struct store *store, const char *path, struct sluice_error *reterr)
{
    struct space *space = &store->space;

    space->fd = open(path, O_RDWR | O_CLOEXEC);
    if (space->fd < 0) {
        (void)sluice_fail(reterr, SLUICE_EIO, "cannot open '%s': %s", path, strerror(errno));
        return false;
    }
    used_end_look(store);
    space->opened_end = space->used_end;
    /* The tail of last time, if it is still there: a file restored from a sparse copy has the size but not the blocks. */
    off_t hole = lseek(space->fd, (off_t)space->used_end, SEEK_HOLE);
    if (hole > 0 && (uint64_t)hole > space->zeroed_end)
        space->zeroed_end = (uint64_t)hole < store->map_bytes ? (uint64_t)hole : store->map_bytes;
    while (tail_bytes(store) < tail_wanted(store) && !space->disk_full)
        zeros_write(store, tail_wanted(store) - tail_bytes(store));
    space_review(store, false, 0);
    return true;
}

/* Pages a publish may take at most: its records, each with the rest of its last page; a leaf for every row of it (rows of
 * many functions lie far apart); and the inner pages above them with LMDB's own list of free pages. */
static uint64_t commit_room(const struct store *store, const struct commit *commit)
{
    uint64_t bytes = 64 * store->page_bytes;

    for (size_t i = 0; i < commit->records.count; i++)
        bytes += commit->records.items[i].len + 2 * store->page_bytes;
    return bytes + (commit->batches.count + commit->producers.count) * store->page_bytes;
}

bool space_take(struct store *store, const struct commit *commit)
{
    uint64_t needed = store->reserve_bytes + commit_room(store, commit);

    if (tail_bytes(store) < needed && !store->space.refusing) {
        uint64_t missing = needed - tail_bytes(store);
        zeros_write(store, missing > ZERO_STEP_BYTES ? missing : ZERO_STEP_BYTES);
    }
    if (tail_bytes(store) >= needed)
        return true;
    free_pages_look(store, true, 0); /* no new blocks: free pages must do */
    return !store->space.refusing && reserve_held(store) >= needed;
}

/* Why publishes must wait, or NULL. */
static const char *refusal_now(const struct store *store)
{
    const struct space *space = &store->space;
    const char *before = atomic_load(&store->refusal);
    uint64_t used = space->used_end - (space->free_bytes < space->used_end ? space->free_bytes : space->used_end);
    uint64_t percent = before == reason_map ? SOFT_RESUME_PERCENT : SOFT_LIMIT_PERCENT;

    if (used >= store->map_bytes / 100 * percent)
        return reason_map;
    if (reserve_held(store) < reserve_to_hold(store))
        return space->disk_full ? reason_disk : reason_map;
    return NULL;
}

void space_review(struct store *store, bool grow, uint64_t committed_bytes)
{
    struct space *space = &store->space;

    used_end_look(store);
    if (space->held_until_us > store_mono_us())
        return;
    if (grow && reserve_held(store) < reserve_to_hold(store))
        zeros_write(store, ZERO_STEP_BYTES);
    bool pressed = space->refusing || tail_bytes(store) < store->reserve_bytes ||
                   space->used_end >= store->map_bytes / 100 * SOFT_LIMIT_PERCENT;
    free_pages_look(store, pressed, committed_bytes);
    const char *refusal = refusal_now(store);
    space->refusing = refusal != NULL;
    atomic_store(&store->refusal, refusal);
}

/* Starts late and then goes on to the end: zeros after every commit would give each sync a new file size to journal. */
bool space_wants_more(struct store *store)
{
    struct space *space = &store->space;
    uint64_t wanted = tail_wanted(store), tail = tail_bytes(store);

    if (tail >= wanted)
        space->growing = false;
    else if (wanted - tail >= ZERO_STEP_BYTES)
        space->growing = true;
    return space->growing && !space->disk_full;
}

void space_step(struct store *store)
{
    uint64_t wanted = tail_wanted(store), tail = tail_bytes(store);

    if (tail < wanted)
        zeros_write(store, wanted - tail < ZERO_WRITE_BYTES ? wanted - tail : ZERO_WRITE_BYTES);
}

bool space_is_full(struct store *store)
{
    zeros_write(store, store->page_bytes);
    return store->space.disk_full && store->space.broken_errno == 0;
}

void space_met_full(struct store *store, bool disk)
{
    store->space.disk_full = disk;
    store->space.refusing = true;
    store->space.free_bytes = 0;
    store->space.counted_ms = 0;
    store->space.held_until_us = store_mono_us() + (int64_t)COUNT_PAUSE_MS * 1000;
    atomic_store(&store->refusal, disk ? reason_disk : reason_map);
}

bool store_accepts(struct store *store, const char **ret_reason)
{
    const char *refusal = atomic_load(&store->refusal);

    if (refusal != NULL && ret_reason != NULL)
        *ret_reason = refusal;
    return refusal == NULL;
}
