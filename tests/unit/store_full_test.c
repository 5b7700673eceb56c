/* A full disk, a full map and a disk that fails: what is refused, what goes on, what stops the daemon. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tests/fault/disk_faults.h"
#include "tests/test.h"
#include "tests/unit/store_fixture.h"

enum { EVENTS = 100, EVENT_BYTES = 5000 };

/* A commit of half a megabyte of new events, and of the state of their queue. */
static void add_publish(struct commit *commit, uint64_t next_seq)
{
    fixture_add_events(commit,
                       (struct fixture_events){
                           .first_seq = next_seq, .count = EVENTS, .function = 1, .committed_ms = 1, .bytes = EVENT_BYTES });
    fixture_add_queue(commit, (struct queue_state){ .function = 1, .counters[QUEUE_ACCEPTED] = next_seq + EVENTS - 1 });
}

/* Settles everything up to `upto` and trims the record that begins at `trim` (0: none). */
static void add_settle(struct commit *commit, uint64_t accepted, uint64_t upto, uint64_t trim)
{
    commit->next_seq = accepted + 1;
    fixture_add_queue(commit, (struct queue_state){ .function = 1,
                                                    .highest = { upto, 0 },
                                                    .counters[QUEUE_ACCEPTED] = accepted,
                                                    .counters[QUEUE_SUCCEEDED] = upto });
    if (trim != 0)
        VEC_PUSH(&commit->trims, trim);
}

/* Publishes until the store refuses; returns the next sequence. */
static uint64_t fill(struct store *store, uint64_t next_seq, unsigned commits_max)
{
    struct commit *commit = commit_new();

    for (unsigned i = 0; i < commits_max && store_accepts(store, NULL); i++) {
        add_publish(commit, next_seq);
        enum commit_outcome outcome = fixture_commit(store, commit, NULL);
        commit_reset(commit);
        if (outcome == COMMIT_FULL)
            break;
        EXPECT_EQ(COMMIT_DURABLE, outcome);
        next_seq += EVENTS;
    }
    commit_free(commit);
    return next_seq;
}

static bool accepts_within(struct store *store, int64_t ms_max)
{
    struct timespec start, now, pause = { .tv_nsec = 10000000 };

    (void)clock_gettime(CLOCK_MONOTONIC, &start);
    while (!store_accepts(store, NULL)) {
        (void)clock_gettime(CLOCK_MONOTONIC, &now);
        if ((now.tv_sec - start.tv_sec) * 1000 + (now.tv_nsec - start.tv_nsec) / 1000000 > ms_max)
            return false;
        (void)nanosleep(&pause, NULL);
    }
    return true;
}

/* The same life for a disk and for a map that fill up. */
static void expect_full_and_free_again(struct store *store, const char *reason_part)
{
    struct commit *commit = commit_new();
    const char *reason = "";
    char text[SLUICE_ERROR_TEXT_MAX];
    struct stored_event stored;
    struct store_usage usage;

    fixture_add_function(commit, 1, "f");
    fixture_commit_durable(store, commit);
    uint64_t next_seq = fill(store, 1, 1000);
    EXPECT(next_seq > 10 * EVENTS);
    EXPECT(!store_accepts(store, &reason));
    EXPECT(strstr(reason, reason_part) != NULL);

    /* A publish that was gathered before the refusal gets "full", sooner or later, and changes nothing. */
    enum commit_outcome outcome = COMMIT_DURABLE;
    for (unsigned i = 0; i < 200 && outcome == COMMIT_DURABLE; i++) {
        add_publish(commit, next_seq);
        outcome = fixture_commit(store, commit, text);
        commit_reset(commit);
        next_seq += outcome == COMMIT_DURABLE ? EVENTS : 0;
    }
    EXPECT_EQ(COMMIT_FULL, outcome);
    EXPECT(strstr(text, "no room") != NULL);
    store_usage(store, &usage); /* no publish went into the reserve */
    EXPECT(usage.reserve_bytes >= (usage.map_bytes / 10 < 16 << 20 ? usage.map_bytes / 10 : 16 << 20));
    store_read_begin(store);
    EXPECT_EQ(SLUICE_OK, store_event(store, next_seq - 1, &stored));
    EXPECT_EQ(SLUICE_ENOTFOUND, store_event(store, next_seq, &stored));
    store_read_end(store);

    /* Settling goes on: first without freeing anything, with failures that carry their events, then trimming. */
    for (uint32_t i = 0; i < 300; i++) {
        struct exception row = fixture_exception(commit->arena, 1, (struct delivery){ i + 1, 0 }, 1000 + i);
        add_settle(commit, next_seq - 1, 0, 0);
        VEC_PUSH(&commit->exceptions, (struct commit_exception){ .table = TABLE_EXCEPTIONS, .row = row });
        fixture_commit_durable(store, commit);
    }
    for (uint64_t seq = 1; seq < next_seq; seq += EVENTS) {
        add_settle(commit, next_seq - 1, seq + EVENTS - 1, seq);
        fixture_commit_durable(store, commit);
    }
    /* Free pages are counted once a second at most: on a slow machine an old count may refuse once more in between. */
    uint64_t again = next_seq, wanted = next_seq + 8 * EVENTS;
    for (unsigned tries = 0; again < wanted && tries < 100; tries++) {
        EXPECT(accepts_within(store, 10000));
        again = fill(store, again, (unsigned)((wanted - again) / EVENTS));
    }
    EXPECT_EQ(wanted, again);
    commit_free(commit);
}

/* A file system of 48 MiB that only this process sees. */
static bool given_small_disk(char dir[256])
{
    (void)snprintf(dir, 256, "%s", fixture_directory());
    EXPECT_EQ(0, mkdir(dir, 0700));
    if ((unshare(CLONE_NEWNS) == 0 || unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0) &&
        mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 && mount("tmpfs", dir, "tmpfs", 0, "size=48m") == 0)
        return true;
    test_skip("no right to mount a small file system: %s", strerror(errno));
    return false;
}

TEST(a_full_disk_refuses_publishes_and_lets_settling_go_on_until_there_is_room)
{
    char dir[256];

    if (!given_small_disk(dir))
        return;
    struct store *store = fixture_open(dir);
    expect_full_and_free_again(store, "disk is full");
    store_close(store);
    store = fixture_open(dir); /* and is still a store */
    store_close(store);
    EXPECT_EQ(0, umount(dir));
}

TEST(room_that_others_make_is_noticed_without_a_commit)
{
    char dir[256], filler[300];

    if (!given_small_disk(dir))
        return;
    (void)snprintf(filler, sizeof filler, "%s/filler", dir);
    int fd = open(filler, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    EXPECT_EQ(0, posix_fallocate(fd, 0, 40 << 20));
    (void)close(fd);
    struct store *store = fixture_open(dir);
    const char *reason = "";
    EXPECT(!store_accepts(store, &reason)); /* not even the reserve fits */
    EXPECT(strstr(reason, "disk is full") != NULL);
    EXPECT_EQ(0, unlink(filler));
    EXPECT(accepts_within(store, 10000));
    EXPECT_EQ(1 + 3 * EVENTS, fill(store, 1, 3));
    store_close(store);
    EXPECT_EQ(0, umount(dir));
}

TEST(a_full_map_refuses_publishes_and_lets_settling_go_on_until_there_is_room)
{
    struct store *store = fixture_open_map(fixture_directory(), 40 << 20);
    struct store_usage usage;

    expect_full_and_free_again(store, "size limit");
    store_usage(store, &usage);
    EXPECT_EQ(40 << 20, usage.map_bytes);
    EXPECT(usage.used_bytes <= usage.map_bytes);
    EXPECT(usage.file_bytes <= usage.map_bytes);
    store_close(store);
}

TEST(a_failing_disk_is_told_apart_by_what_failed)
{
    static const struct {
        const char *label;
        enum disk_fault fault;
        int error;
        bool publishes;
        enum commit_outcome outcome;
        const char *text;
    } cases[] = {
        { "no space in a data write of a publish", DISK_FAULT_WRITE, ENOSPC, true, COMMIT_FULL, "no room for new events" },
        { "quota in a data write of a publish", DISK_FAULT_WRITE, EDQUOT, true, COMMIT_FULL, "no room for new events" },
        { "no space even for settling", DISK_FAULT_WRITE, ENOSPC, false, COMMIT_FATAL, "no room left to settle" },
        { "a data write fails", DISK_FAULT_WRITE, EIO, true, COMMIT_FATAL, "refused a write" },
        { "a sync fails", DISK_FAULT_SYNC, EIO, true, COMMIT_FATAL, "refused a sync" },
        { "a sync fails for want of space", DISK_FAULT_SYNC, ENOSPC, true, COMMIT_FATAL, "refused a sync" },
        { "a settling sync fails", DISK_FAULT_SYNC, EIO, false, COMMIT_FATAL, "refused a sync" },
        { "the meta page fails", DISK_FAULT_META, EIO, true, COMMIT_FATAL, "refused the meta page" },
        { "the meta page finds no space", DISK_FAULT_META, ENOSPC, false, COMMIT_FATAL, "refused the meta page" },
    };
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *dir = fixture_directory();
        struct store *store = fixture_open(dir);
        struct commit *commit = commit_new();
        char text[SLUICE_ERROR_TEXT_MAX] = "";
        struct stored_event stored;

        test_label(cases[i].label);
        uint64_t next_seq = fill(store, 1, 3);
        disk_fault_set(cases[i].fault, cases[i].error);
        if (cases[i].publishes)
            add_publish(commit, next_seq);
        else
            add_settle(commit, next_seq - 1, 50, 0);
        EXPECT_EQ(cases[i].outcome, fixture_commit(store, commit, text));
        disk_fault_set(DISK_FAULT_NONE, 0);
        EXPECT(strstr(text, cases[i].text) != NULL);
        if (cases[i].outcome == COMMIT_FULL)
            EXPECT(accepts_within(store, 10000));
        /* Full: the same commit passes once there is room. Fatal: nothing passes any more, not even on a disk that works again.
         */
        EXPECT_EQ(cases[i].outcome == COMMIT_FULL ? COMMIT_DURABLE : COMMIT_FATAL, fixture_commit(store, commit, text));
        store_close(store);

        store = fixture_open(dir);
        store_read_begin(store);
        EXPECT_EQ(SLUICE_OK, store_event(store, next_seq - 1, &stored));
        EXPECT_EQ(cases[i].outcome == COMMIT_FULL ? SLUICE_OK : SLUICE_ENOTFOUND, store_event(store, next_seq, &stored));
        store_read_end(store);
        store_close(store);
        commit_free(commit);
    }
}

TEST(done_comes_after_both_syncs)
{
    struct store *store = fixture_open(fixture_directory());
    unsigned long before = disk_syncs();

    fill(store, 1, 20);
    EXPECT(disk_syncs() >= before + 20); /* the meta page's is part of its write: O_DSYNC */
    store_close(store);
}
