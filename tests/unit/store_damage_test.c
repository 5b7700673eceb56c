/* Directories that are not ours to open, and stored bytes that fail their check. */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/test.h"
#include "tests/unit/store_fixture.h"
#include "tests/unit/store_raw.h"

static const char *given_events(uint64_t records)
{
    const char *dir = fixture_directory();
    struct store *store = fixture_open(dir);
    struct commit *commit = commit_new();

    fixture_add_function(commit, 1, "one");
    for (uint64_t i = 0; i < records; i++)
        fixture_add_events(commit, (struct fixture_events){ .first_seq = 1 + i * 10, .count = 10, .function = 1, .bytes = 500 });
    fixture_commit_durable(store, commit);
    commit_free(commit);
    store_close(store);
    return dir;
}

static struct view file_read(const char *dir, const char *name)
{
    char path[256];
    struct stat info;

    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &info) != 0)
        return (struct view){ 0 };
    char *data = malloc((size_t)info.st_size + 1);
    if (data == NULL || read(fd, data, (size_t)info.st_size) != info.st_size)
        abort();
    (void)close(fd);
    return (struct view){ data, (size_t)info.st_size };
}

static void file_write(const char *dir, const char *name, struct view bytes)
{
    char path[256];

    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, bytes.data, bytes.len) != (ssize_t)bytes.len)
        abort();
    (void)close(fd);
}

TEST(a_directory_that_is_no_store_of_ours_is_refused_and_left_untouched)
{
    static const struct view format = VIEW_LITERAL("format");
    static const char newer[4] = { 2 }, none[4] = { 0 };
    static const char garbage[16384] = "not a database";
    static const struct {
        const char *label, *text;
        enum { NEWER, NO_FORMAT, ZERO_FORMAT, NO_TABLE, OTHER_FILE, FOREIGN_LMDB } how;
    } cases[] = {
        { "a newer format", "format 2, this program reads up to 1", NEWER },
        { "format 0", "format 0", ZERO_FORMAT },
        { "no format", "no format number", NO_FORMAT },
        { "a table is missing", "'dead' is missing", NO_TABLE },
        { "another kind of file", "not an LMDB file", OTHER_FILE },
        { "somebody else's LMDB", "'meta' is missing", FOREIGN_LMDB },
    };
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *dir = cases[i].how == OTHER_FILE || cases[i].how == FOREIGN_LMDB ? fixture_directory() : given_events(3);
        struct store *store = NULL;
        struct sluice_error error = { 0 };

        test_label(cases[i].label);
        switch (cases[i].how) {
        case NEWER: raw_put(dir, "meta", 0, format, (struct view){ newer, 4 }); break;
        case ZERO_FORMAT: raw_put(dir, "meta", 0, format, (struct view){ none, 4 }); break;
        case NO_FORMAT: raw_delete(dir, "meta", 0, format); break;
        case NO_TABLE: raw_drop(dir, "dead"); break;
        case OTHER_FILE:
            EXPECT_EQ(0, mkdir(dir, 0700));
            file_write(dir, "data.mdb", (struct view){ garbage, sizeof garbage });
            break;
        case FOREIGN_LMDB:
            EXPECT_EQ(0, mkdir(dir, 0700));
            raw_put(dir, NULL, 0, VIEW_LITERAL("their key"), VIEW_LITERAL("their value"));
            break;
        }
        struct view before = file_read(dir, "data.mdb");
        EXPECT_EQ(SLUICE_ECORRUPT, store_open(dir, NULL, &store, &error));
        EXPECT(store == NULL);
        if (strstr(error.text, cases[i].text) == NULL)
            test_fail(__FILE__, __LINE__, "text: %s", error.text);
        struct view after = file_read(dir, "data.mdb");
        EXPECT(view_equals(before, after));
        free((char *)(uintptr_t)before.data);
        free((char *)(uintptr_t)after.data);
    }
}

TEST(a_store_whose_maker_died_before_its_first_commit_is_made_again)
{
    const char *dir = fixture_directory();
    MDB_env *env;

    EXPECT_EQ(0, mkdir(dir, 0700));
    EXPECT_EQ(0, mdb_env_create(&env));
    EXPECT_EQ(0, mdb_env_open(env, dir, 0, 0600));
    mdb_env_close(env);
    store_close(fixture_open(dir));
    store_close(fixture_open(dir));
}

TEST(a_second_daemon_is_refused_with_the_pid_of_the_first_until_that_is_gone)
{
    const char *dir = given_events(1);
    int ready[2], stop[2];
    char byte = 0;

    EXPECT_EQ(0, pipe(ready));
    EXPECT_EQ(0, pipe(stop));
    (void)fflush(NULL);
    pid_t child = fork();
    if (child == 0) { /* before this process opens the store: an LMDB environment does not survive a fork */
        struct store *store = fixture_open(dir);
        (void)!write(ready[1], "r", 1);
        (void)!read(stop[0], &byte, 1);
        (void)store;
        _exit(0); /* without closing: as a crash would */
    }
    EXPECT_EQ(1, read(ready[0], &byte, 1));
    struct store *store = NULL;
    struct sluice_error error;
    char pid[32];
    (void)snprintf(pid, sizeof pid, "process %ld;", (long)child);
    EXPECT_EQ(SLUICE_EEXISTS, store_open(dir, NULL, &store, &error));
    EXPECT(strstr(error.text, pid) != NULL);

    struct store_options tool = { .read_only = true, .map_bytes = (uint64_t)1 << 30 }; /* takes no lock */
    struct stored_event event;
    EXPECT_EQ(SLUICE_OK, store_open(dir, &tool, &store, &error));
    store_read_begin(store);
    EXPECT_EQ(SLUICE_OK, store_event(store, 10, &event));
    store_read_end(store);
    store_close(store);

    EXPECT_EQ(1, write(stop[1], "s", 1));
    EXPECT_EQ(child, waitpid(child, NULL, 0));
    store_close(fixture_open(dir));
}

TEST(a_directory_that_cannot_be_made_is_named)
{
    struct store *store = NULL;
    struct sluice_error error;

    EXPECT_EQ(SLUICE_EIO, store_open("/proc/nowhere/data", NULL, &store, &error));
    EXPECT(strstr(error.text, "/proc/nowhere/data") != NULL);
    struct store_options tool = { .read_only = true };
    EXPECT(store_open("/nowhere/data", &tool, &store, &error) != SLUICE_OK);
    EXPECT(access("/nowhere", F_OK) != 0);
}

struct lines {
    unsigned count;
    char last[256];
};

static void on_corrupt(void *ctx, const char *text)
{
    struct lines *lines = ctx;

    lines->count++;
    (void)snprintf(lines->last, sizeof lines->last, "%s", text);
}

static struct store *open_listening(const char *dir, struct lines *lines)
{
    struct store_options options = { .map_bytes = (uint64_t)1 << 30, .on_corrupt = on_corrupt, .on_corrupt_ctx = lines };
    struct store *store = NULL;
    struct sluice_error error;

    if (store_open(dir, &options, &store, &error) != SLUICE_OK) {
        (void)fprintf(stderr, "%s\n", error.text);
        exit(1);
    }
    return store;
}

TEST(a_record_with_a_bad_checksum_is_isolated_with_one_line)
{
    static const struct {
        const char *label;
        size_t offset;
    } cases[] = { { "in an event", 4000 }, { "in the header", 16 }, { "in the magic", 0 }, { "in the checksum", 40 } };
    static const uint64_t first_seq = 11;

    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *dir = given_events(3);
        struct lines lines = { 0 };
        struct stored_event event;
        struct record record;
        struct batch_row row;
        uint8_t id[16];
        struct event_search search = { .id = { (char *)id, sizeof id }, .id_is_uuid = true };
        struct event_found found = { 0 };
        struct sluice_error error;

        test_label(cases[i].label);
        raw_add(dir, "log", MDB_INTEGERKEY, RAW_KEY(first_seq), cases[i].offset, 1);
        struct store *store = open_listening(dir, &lines);
        for (unsigned round = 0; round < 2; round++) {
            store_read_begin(store);
            for (uint64_t seq = 1; seq <= 30; seq++)
                EXPECT_EQ(seq >= 11 && seq <= 20 ? SLUICE_ECORRUPT : SLUICE_OK, store_event(store, seq, &event));
            EXPECT_EQ(SLUICE_ECORRUPT, store_event(store, 11, &event));
            EXPECT_EQ(SLUICE_OK, store_event(store, 10, &event));
            store_read_end(store);
        }
        EXPECT_EQ(1, lines.count);
        EXPECT(strstr(lines.last, "sequence 11 ") != NULL);

        store_read_begin(store);
        EXPECT(store_record_after(store, 1, &record));
        EXPECT_EQ(11, record.first_seq);
        EXPECT_EQ(0, record.count);
        EXPECT(store_record_after(store, 11, &record));
        EXPECT_EQ(21, record.first_seq);
        EXPECT_EQ(10, record.count);
        fixture_uuid(id, 25, 0);
        EXPECT_EQ(SLUICE_OK, store_event_search(store, &search, &found, &error));
        EXPECT_EQ(25, found.seq);
        bytes_done(&found.envelope);
        fixture_uuid(id, 15, 0);
        EXPECT_EQ(SLUICE_ENOTFOUND, store_event_search(store, &search, &found, &error));
        store_read_end(store);

        /* And it can be trimmed, with its batches row. */
        struct commit *commit = commit_new();
        VEC_PUSH(&commit->trims, first_seq);
        fixture_commit_durable(store, commit);
        commit_free(commit);
        store_read_begin(store);
        EXPECT_EQ(SLUICE_ENOTFOUND, store_event(store, 15, &event));
        EXPECT(store_batch_after(store, 1, 1, &row));
        EXPECT_EQ(21, row.first_seq);
        store_read_end(store);
        EXPECT_EQ(1, lines.count);
        store_close(store);
    }
}

TEST(a_bad_row_of_another_table_is_passed_over_with_one_line)
{
    static const uint8_t batch[12] = { 0, 0, 0, 1, [11] = 11 }, delivery_2[16] = { 0, 0, 0, 1, [11] = 2 };
    const char *dir = given_events(3);
    struct store *store = fixture_open(dir);
    struct commit *commit = commit_new();
    struct lines lines = { 0 };

    for (uint64_t seq = 1; seq <= 3; seq++)
        VEC_PUSH(
            &commit->exceptions,
            (struct commit_exception){ .row = fixture_exception(commit->arena, 1, (struct delivery){ seq, 0 }, (int64_t)seq) });
    fixture_commit_durable(store, commit);
    store_close(store);
    raw_add(dir, "batches", 0, RAW_KEY(batch), 8, 1);
    raw_add(dir, "exceptions", 0, RAW_KEY(delivery_2), 100, 1);

    store = open_listening(dir, &lines);
    for (unsigned round = 0; round < 2; round++) {
        struct batch_row row;
        struct exception exception;
        store_read_begin(store);
        EXPECT(store_batch_after(store, 1, 1, &row));
        EXPECT_EQ(11, row.first_seq);
        EXPECT_EQ(0, row.count);
        EXPECT_EQ(0, row.runs_count);
        EXPECT(store_batch_after(store, 1, 11, &row));
        EXPECT_EQ(10, row.count);
        EXPECT_EQ(SLUICE_ECORRUPT, store_exception(store, TABLE_EXCEPTIONS, 1, (struct delivery){ 2, 0 }, &exception));
        EXPECT(store_exception_after(store, TABLE_EXCEPTIONS, 1, (struct delivery){ 1, 0 }, &exception));
        EXPECT_EQ(3, exception.delivery.seq);
        store_read_end(store);
    }
    EXPECT_EQ(2, lines.count);

    /* Deleting it takes its due key along, though the row no longer says which. */
    struct due_key due = { 0 };
    VEC_PUSH(&commit->exceptions, (struct commit_exception){ .delete = true, .row = { .function = 1, .delivery = { 2, 0 } } });
    fixture_commit_durable(store, commit);
    store_read_begin(store);
    EXPECT(store_due_after(store, 1, due, &due));
    EXPECT_EQ(1, due.delivery.seq);
    EXPECT(store_due_after(store, 1, due, &due));
    EXPECT_EQ(3, due.delivery.seq);
    store_read_end(store);
    store_close(store);
    commit_free(commit);
}

static void on_queue_never(void *ctx, const struct queue_state *state)
{
    (void)ctx;
    test_fail(__FILE__, __LINE__, "function %u's bad queue row was given", state->function);
}

TEST(a_bad_row_of_what_the_engine_starts_from_stops_the_recovery)
{
    static const uint32_t one = 1;
    const char *dir = given_events(1);
    struct sluice_error error;
    struct balance_row ignored;
    struct store_recovery recovery = { .ctx = &ignored };

    raw_put(dir, "queues", MDB_INTEGERKEY, RAW_KEY(one), VIEW_LITERAL("short"));
    struct store *store = fixture_open(dir);
    EXPECT_EQ(SLUICE_OK, store_recover(store, &recovery, &error)); /* nobody asked for queues */
    recovery.on_queue = on_queue_never;
    EXPECT_EQ(SLUICE_ECORRUPT, store_recover(store, &recovery, &error));
    EXPECT(strstr(error.text, "'queues'") != NULL);
    store_close(store);
}
