/* Crashes the source at every point where a crash can make a difference, one run after the other: before and after each commit of
 * its state, before and after the daemon takes an event (every sixteenth, to be done in seconds). Then lets it finish, and looks
 * in the daemon's log: each file once. */
#include <lmdb.h>
#include <sys/wait.h>

#include "tests/sources/files_bench.h"

enum { FILES = 300 /* written down in three batches */, CRASHED = 99, POINTS_MAX = 200 };

static unsigned crash_at, points;

static void point(void)
{
    if (++points == crash_at)
        _exit(CRASHED); /* nothing is flushed, closed or freed */
}

int __real_mdb_txn_commit(MDB_txn *txn);
int __wrap_mdb_txn_commit(MDB_txn *txn);
int __wrap_mdb_txn_commit(MDB_txn *txn)
{
    point();
    int rc = __real_mdb_txn_commit(txn);
    point();
    return rc;
}

static void daemon_point(bool taken)
{
    (void)taken;
    point();
}

static bool never(void *ctx)
{
    (void)ctx;
    return false;
}

static void quiet(void *ctx, const char *line)
{
    (void)ctx;
    (void)line;
}

/* Runs the source in a process of its own. The exit status: CRASHED, or 0 when it got to its end. */
static int run(const struct place *place, unsigned at)
{
    int status = -1;
    pid_t child = fork();

    if (child == 0) {
        const struct source_options options = {
            .directory = place->watched, .bucket = "b", .state_path = place->state, .stopping = never, .log = quiet
        };
        struct source *source = NULL;
        struct sluice_error error = { 0 };
        crash_at = at;
        points = 0;
        fake_daemon_hook = daemon_point;
        fake_daemon_open(place->log);
        enum sluice_err err = source_open(&options, &source, &error);
        if (err == SLUICE_OK)
            err = source_start(source, &error);
        if (err != SLUICE_OK)
            (void)fprintf(stderr, "%s\n", error.text);
        source_close(source);
        _exit(err == SLUICE_OK ? 0 : 1);
    }
    EXPECT(child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void fill(const struct place *place, unsigned from, unsigned to)
{
    char name[32];
    for (unsigned i = from; i < to; i++) {
        (void)snprintf(name, sizeof name, "f%u", i);
        place_write(place, name, name);
    }
}

TEST(a_crash_at_any_point_neither_loses_nor_repeats_an_event)
{
    char label[64], name[32];
    unsigned at = 1;

    for (; at < POINTS_MAX; at++) {
        struct place place = place_new();
        (void)snprintf(label, sizeof label, "crash at point %u", at);
        test_label(label);
        fill(&place, 0, FILES);
        int status = run(&place, at);
        EXPECT_EQ(0, run(&place, 0));
        EXPECT_EQ(FILES, daemon_events(&place));
        for (unsigned i = 0; i < FILES; i += 37) {
            (void)snprintf(name, sizeof name, "f%u", i);
            EXPECT_EQ(1, daemon_has_key(&place, name));
        }
        if (status == 0)
            break; /* fewer points than `at`: all were tried */
        EXPECT_EQ(CRASHED, status);
    }
    EXPECT(at > 3 * 4 + 2 * FILES / FAKE_DAEMON_HOOK_EVERY && at < POINTS_MAX);
}

TEST(crash_after_crash_while_files_keep_coming_still_ends_with_each_once)
{
    struct place place = place_new();
    unsigned files = 0;

    for (unsigned round = 0; round < 60; round++) {
        fill(&place, files, files + 7);
        files += 7;
        (void)run(&place, 1 + round % 9);
    }
    test_label("at the end");
    EXPECT_EQ(0, run(&place, 0));
    EXPECT_EQ(files, daemon_events(&place));
}

TEST(a_crash_at_any_point_neither_loses_nor_repeats_a_deletion)
{
    enum { DELETED = 200 /* of 300: two batches */ };
    char label[64], name[32], part[64];
    unsigned at = 1;

    for (; at < POINTS_MAX; at++) {
        struct place place = place_new();
        (void)snprintf(label, sizeof label, "crash at point %u of the deletions", at);
        test_label(label);
        fill(&place, 0, FILES);
        EXPECT_EQ(0, run(&place, 0));
        for (unsigned i = 0; i < DELETED; i++) {
            (void)snprintf(name, sizeof name, "f%u", i);
            EXPECT(unlink(place_path(&place, name)) == 0);
        }
        int status = run(&place, at);
        EXPECT_EQ(0, run(&place, 0));
        EXPECT_EQ(FILES + DELETED, daemon_events(&place));
        EXPECT_EQ(DELETED, daemon_has(&place, "\"reason\":\"DeleteObject\""));
        for (unsigned i = 0; i < DELETED; i += 37) {
            (void)snprintf(part, sizeof part, "\"key\":\"f%u\",\"sequencer\"", i);
            EXPECT_EQ(1, daemon_has(&place, part));
        }
        if (status == 0)
            break; /* fewer points than `at`: all were tried */
        EXPECT_EQ(CRASHED, status);
    }
    EXPECT(at > 2 * 4 + 2 * DELETED / FAKE_DAEMON_HOOK_EVERY && at < POINTS_MAX);
}
