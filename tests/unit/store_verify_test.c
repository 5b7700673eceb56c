/* A store with every kind of row verifies clean, each kind of damage is found and named, and a copy of it is the same store. */
#include <sys/stat.h>
#include <unistd.h>

#include "tests/test.h"
#include "tests/unit/store_fixture.h"
#include "tests/unit/store_raw.h"

struct findings {
    unsigned count;
    char text[16][SLUICE_ERROR_TEXT_MAX + 32]; /* "table: text" */
    uint64_t progress, progress_total;
};

static void on_finding(void *ctx, const char *table, const char *text)
{
    struct findings *findings = ctx;

    if (findings->count < 16)
        (void)snprintf(findings->text[findings->count], sizeof findings->text[0], "%s: %s", table, text);
    findings->count++;
}

static void on_progress(void *ctx, const char *table, uint64_t rows, uint64_t rows_total)
{
    struct findings *findings = ctx;

    EXPECT(table != NULL);
    EXPECT(rows >= findings->progress);
    EXPECT(rows <= rows_total);
    findings->progress = rows;
    findings->progress_total = rows_total;
}

static struct store_verified verify(const char *dir, struct findings *findings)
{
    struct store_options options = { .read_only = true, .map_bytes = (uint64_t)1 << 30 };
    struct store_verify verify = { .ctx = findings, .on_finding = on_finding, .on_progress = on_progress };
    struct store_verified counts = { 0 };
    struct sluice_error error;
    struct store *store;

    *findings = (struct findings){ 0 };
    if (store_open(dir, &options, &store, &error) != SLUICE_OK || store_verify(store, &verify, &counts, &error) != SLUICE_OK)
        test_fail(__FILE__, __LINE__, "%s", error.text);
    else
        store_close(store);
    EXPECT_EQ(findings->count, counts.findings);
    return counts;
}

static void add_target(struct commit *commit, uint32_t id, uint32_t function)
{
    VEC_PUSH(&commit->targets,
             (struct target_row){ .id = id, .function = function, .rule = VIEW_LITERAL("rule"), .text = VIEW_LITERAL("") });
}

static struct view envelope_delayed(struct arena *arena, uint64_t seq, int64_t not_before_ms)
{
    struct bytes out = { 0 };
    struct event event;

    EXPECT(envelope_decode_stored(fixture_envelope(arena, seq, 1000, 100), &event));
    event.has_not_before = true;
    event.not_before_ms = not_before_ms;
    envelope_encode(&event, &out);
    struct view copy = arena_dup(arena, bytes_view(&out));
    bytes_done(&out);
    return copy;
}

/* A row as the engine makes it, with the event that the log has. */
static struct exception parked(struct arena *arena, struct delivery delivery, int64_t due_ms)
{
    struct exception row = fixture_exception(arena, 1, delivery, due_ms);

    row.envelope = fixture_envelope(arena, delivery.seq, 0, 20);
    return row;
}

/* Functions 1 and 2. Records of 10 events for function 1 at 1, 11, 21 and 31, as in store_balance_test.c: highest settled is 25;
 * 3, 4 and 22 are open below it, 7 waits for a retry, 8 and 9 are dead. Sequences 41 to 45 were left out by a full disk. The
 * record at 46: 46 goes to 1, 2 and 1 again, 47 to nobody, 48 is delayed for function 2, 49 goes to 2. One producer. */
static const char *given_store(void)
{
    static struct record_writer writer;
    static const struct run holes[] = { { 3, 2, 0 }, { 22, 1, 0 } };
    static const struct run runs_1[] = { { 46, 1, 0 }, { 46, 1, 2 } }, runs_2[] = { { 46, 1, 1 }, { 49, 1, 0 } };
    static const uint32_t both[] = { 1, 2 }, targets[] = { 10, 20, 11 }, target_2 = 20;
    const char *dir = fixture_directory();
    struct store *store = fixture_open(dir);
    struct commit *commit = commit_new();

    fixture_add_function(commit, 1, "one");
    fixture_add_function(commit, 2, "two");
    add_target(commit, 10, 1);
    add_target(commit, 11, 1);
    add_target(commit, 20, 2);
    for (uint64_t seq = 1; seq <= 40; seq += 10)
        fixture_add_events(commit, (struct fixture_events){ .first_seq = seq, .count = 10, .function = 1, .bytes = 20 });
    size_t offset = commit->log.len;
    struct view delayed = envelope_delayed(commit->arena, 48, 1000000);
    record_writer_add(&writer, fixture_envelope(commit->arena, 46, 0, 20), targets, 3);
    record_writer_add(&writer, fixture_envelope(commit->arena, 47, 0, 20), NULL, 0);
    record_writer_add(&writer, delayed, &target_2, 1);
    record_writer_add(&writer, fixture_envelope(commit->arena, 49, 0, 20), &target_2, 1);
    record_writer_finish(&writer, 46, 0, both, 2, &commit->log);
    VEC_PUSH(&commit->records, (struct commit_record){ 46, offset, commit->log.len - offset });
    VEC_PUSH(&commit->batches,
             (struct commit_batch){ .function = 1, .first_seq = 46, .count = 2, .runs = runs_1, .runs_count = 2 });
    VEC_PUSH(&commit->batches,
             (struct commit_batch){ .function = 2, .first_seq = 46, .count = 2, .runs = runs_2, .runs_count = 2 });
    struct exception row = fixture_exception(commit->arena, 2, (struct delivery){ 48, 0 }, 1000000);
    row.envelope = delayed;
    VEC_PUSH(&commit->exceptions, (struct commit_exception){ .table = TABLE_EXCEPTIONS, .row = row });
    row = parked(commit->arena, (struct delivery){ 7, 0 }, 500);
    VEC_PUSH(&commit->exceptions, (struct commit_exception){ .table = TABLE_EXCEPTIONS, .row = row });
    for (uint64_t seq = 8; seq <= 9; seq++) {
        row = parked(commit->arena, (struct delivery){ seq, 0 }, 0);
        VEC_PUSH(&commit->exceptions, (struct commit_exception){ .table = TABLE_DEAD, .row = row });
    }
    fixture_add_queue(
        commit,
        (struct queue_state){
            .function = 1, .highest = { 25, 0 }, .holes = holes, .holes_count = 2, .counters = { 42, 17, 2, 1, 1, 1, 3 } });
    fixture_add_queue(commit, (struct queue_state){ .function = 2, .counters = { 3, 0, 0, 0, 0, 1, 0 } });
    VEC_PUSH(&commit->producers, (struct producer_row){ .id = { 9 }, .epoch = 1, .highest = 3, .window = { 7 }, .used_ms = 5 });
    commit->next_seq = 50;
    commit->events_total = 44;
    commit->unmatched_total = 1;
    fixture_commit_durable(store, commit);
    commit_free(commit);
    store_close(store);
    return dir;
}

TEST(a_store_of_every_kind_of_row_is_whole)
{
    struct findings findings;
    struct store_verified counts = verify(given_store(), &findings);

    for (unsigned i = 0; i < findings.count && i < 16; i++)
        test_fail(__FILE__, __LINE__, "%s", findings.text[i]);
    EXPECT_EQ(5, counts.records);
    EXPECT_EQ(44, counts.events);
    EXPECT_EQ(45, counts.deliveries);
    EXPECT_EQ(1, counts.producers);
    EXPECT_EQ(2 + 2 + 3 + 5 + 6 + 2 + 2 + 2 + 2 + 1, counts.rows);
    EXPECT_EQ(counts.rows, findings.progress);
    EXPECT_EQ(counts.rows, findings.progress_total);
}

TEST(an_empty_store_is_whole)
{
    const char *dir = fixture_directory();
    struct findings findings;

    store_close(fixture_open(dir));
    EXPECT_EQ(0, verify(dir, &findings).findings);
}

TEST(each_kind_of_damage_is_found_and_named)
{
    static const uint64_t record_1 = 1, record_11 = 11, record_46 = 46;
    static const uint32_t one = 1, two = 2, target_10 = 10, target_20 = 20, unknown = 99;
    static const uint8_t batch_31[12] = { 0, 0, 0, 1, [11] = 31 }, batch_46[12] = { 0, 0, 0, 1, [11] = 46 },
                         batch_12[12] = { 0, 0, 0, 1, [11] = 12 }, batch_of_2[12] = { 0, 0, 0, 2, [11] = 11 },
                         delivery_7[16] = { 0, 0, 0, 1, [11] = 7 }, delivery_8[16] = { 0, 0, 0, 1, [11] = 8 },
                         due_7[24] = { 0, 0, 0, 1, [10] = 1, 244, [19] = 7 }, due_6[24] = { 0, 0, 0, 1, [10] = 1, 244, [19] = 6 },
                         producer[16] = { 9 };
    static const char zeros[72];
    static const struct {
        const char *label, *table;
        struct view key;
        enum { ADD, DELETE, PUT } how;
        size_t offset;
        int64_t difference;
        const char *text; /* in one of the findings */
        unsigned most;    /* findings; what follows from one damage is not to fill a page */
    } cases[] = {
        { "a bit of an event", "log", RAW_KEY(record_11), ADD, 200, 1, "log: record at sequence 11 (", 1 },
        { "a bit of a header", "log", RAW_KEY(record_11), ADD, 16, 1, "log: record at sequence 11 (", 1 },
        { "a record is gone", "log", RAW_KEY(record_11), DELETE, 0, 0, "log: 15 sequences are missing", 2 },
        { "the first record is gone", "log", RAW_KEY(record_1), DELETE, 0, 0,
          "batches: function 1: its row at sequence 1 has no record", 2 },
        { "the last record is gone", "log", RAW_KEY(record_46), DELETE, 0, 0, "log: 9 sequences are missing", 4 },
        { "a batches row is gone", "batches", RAW_KEY(batch_31), DELETE, 0, 0,
          "batches: function 1 has no row for the record at sequence 31", 2 },
        { "a batches row counts wrong", "batches", RAW_KEY(batch_31), ADD, 8, 1,
          "batches: function 1: its row at sequence 31 fails", 2 },
        { "a batches row of another time", "batches", RAW_KEY(batch_31), ADD, 0, 1, "has another time", 1 },
        { "a run of another ordinal", "batches", RAW_KEY(batch_46), ADD, 16, INT64_C(1) << 32, "deliveries that are not its own",
          3 },
        { "a run of another event", "batches", RAW_KEY(batch_46), ADD, 16, 1,
          "log: record at sequence 46: 1 events have deliveries in no", 3 },
        { "a batches row without a record", "batches", RAW_KEY(batch_12), PUT, 24, 0, "row at sequence 12 has no record", 3 },
        { "a batches row the record does not name", "batches", RAW_KEY(batch_of_2), PUT, 24, 0, "does not name it", 3 },
        { "next sequence", "meta", VIEW_LITERAL("totals"), ADD, 8, -5,
          "totals: the next sequence is 45, but the log reaches to 49", 4 },
        { "events taken", "meta", VIEW_LITERAL("totals"), ADD, 16, 10, "totals: 54 events were taken", 2 },
        { "events taken, too few", "meta", VIEW_LITERAL("totals"), ADD, 16, -44, "totals: 1 events of 0 were unmatched", 2 },
        { "unmatched", "meta", VIEW_LITERAL("totals"), ADD, 24, -1, "the log has 1 of them", 1 },
        { "a key nobody knows", "meta", VIEW_LITERAL("other"), PUT, 4, 0, "does not know", 1 },
        { "a function is gone", "functions", RAW_KEY(two), DELETE, 0, 0, "which does not exist", 8 },
        { "a function without a name", "functions", RAW_KEY(unknown), PUT, 0, 0, "has no name", 1 },
        { "a target is gone", "targets", RAW_KEY(target_20), DELETE, 0, 0, "name targets that do not exist", 4 },
        { "a target of another function", "targets", RAW_KEY(target_10), ADD, 0, 1, "are not its own", 16 },
        { "a target of no function", "targets", RAW_KEY(unknown), PUT, 12, 0, "target 99 is of function 0", 1 },
        { "a target with an unknown input", "targets", RAW_KEY(target_10), ADD, 4, 9, "input 9", 1 },
        { "a target row cut short", "targets", RAW_KEY(unknown), PUT, 5, 0, "target 99 fails its check", 1 },
        { "a queue row cut short", "queues", RAW_KEY(one), PUT, 40, 0, "function 1: its row fails its check", 1 },
        { "a queue of nobody", "queues", RAW_KEY(unknown), PUT, 72, 0, "which does not exist", 1 },
        { "accepted", "queues", RAW_KEY(one), ADD, 16, 1, "function 'one': accepted 43", 1 },
        { "succeeded", "queues", RAW_KEY(one), ADD, 24, 1, "function 'one': accepted 42", 1 },
        { "dead-lettered", "queues", RAW_KEY(one), ADD, 32, 1, "dead-lettered 3, but table 'dead' has 2 rows", 2 },
        { "exceptions counted", "queues", RAW_KEY(one), ADD, 56, 1, "exceptions 2, but that table has 1 rows", 1 },
        { "highest in no row", "queues", RAW_KEY(one), ADD, 0, 16, "the highest settled 41.0 is in no batches row", 2 },
        { "highest in the future", "queues", RAW_KEY(one), ADD, 0, 1000, "the highest settled is 1025.0, but the next", 2 },
        { "highest below a hole", "queues", RAW_KEY(one), ADD, 0, -3, "not below the highest settled 22.0", 2 },
        { "a hole in another", "queues", RAW_KEY(one), ADD, 88, -18, "hole 1 has deliveries of another", 1 },
        { "holes out of order", "queues", RAW_KEY(one), ADD, 72, 20, "hole 1 is not in order", 3 },
        { "a hole of an ordinal there is not", "queues", RAW_KEY(one), ADD, 96, INT64_C(5) << 32,
          "22.5 is open below the highest settled", 1 },
        { "a parked delivery is open too", "queues", RAW_KEY(one), ADD, 72, 4,
          "delivery 7.0: it is open in the log's queue as well", 4 },
        { "an exception is gone", "exceptions", RAW_KEY(delivery_7), DELETE, 0, 0, "it is due, but not in table 'exceptions'",
          4 },
        { "a bit of an exception", "exceptions", RAW_KEY(delivery_7), ADD, 60, 1, "7.0: it fails its checksum", 1 },
        { "a due time is gone", "due", RAW_KEY(due_7), DELETE, 0, 0, "7.0: it has no due time", 2 },
        { "a due time of nothing", "due", RAW_KEY(due_6), PUT, 0, 0, "6.0: it is due, but not in", 2 },
        { "a due time with a value", "due", RAW_KEY(due_7), PUT, 3, 0, "bytes where none belong", 1 },
        { "a dead letter is gone", "dead", RAW_KEY(delivery_8), DELETE, 0, 0, "but table 'dead' has 1 rows", 1 },
        { "a bit of a dead letter", "dead", RAW_KEY(delivery_8), ADD, 30, 1, "8.0: it fails its checksum", 1 },
        { "a producer that applied nothing", "producers", RAW_KEY(producer), ADD, 24, -7, "none of its window was applied", 1 },
        { "a producer's sequence 0", "producers", RAW_KEY(producer), ADD, 24, 8, "one below 1 was applied", 1 },
        { "a producer row cut short", "producers", RAW_KEY(producer), PUT, 20, 0, "row 1 fails its check", 1 },
    };
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        static const char *const integer[] = { "log", "queues", "functions", "targets" };
        const char *dir = given_store();
        struct findings findings;
        unsigned flags = 0;
        bool found = false;

        for (unsigned k = 0; k < 4; k++)
            flags |= strcmp(cases[i].table, integer[k]) == 0 ? MDB_INTEGERKEY : 0;
        test_label(cases[i].label);
        if (cases[i].how == ADD)
            raw_add(dir, cases[i].table, flags, cases[i].key, cases[i].offset, cases[i].difference);
        else if (cases[i].how == DELETE)
            raw_delete(dir, cases[i].table, flags, cases[i].key);
        else
            raw_put(dir, cases[i].table, flags, cases[i].key, (struct view){ zeros, cases[i].offset });
        (void)verify(dir, &findings);
        for (unsigned k = 0; k < findings.count && k < 16; k++)
            found = found || strstr(findings.text[k], cases[i].text) != NULL;
        if (!found || findings.count > cases[i].most) {
            test_fail(__FILE__, __LINE__, "%s: %u findings, wanted: %s", cases[i].label, findings.count, cases[i].text);
            for (unsigned k = 0; k < findings.count && k < 16; k++)
                printf("     %s\n", findings.text[k]);
        }
    }
}

struct flip {
    size_t offset;
    bool past_end;
};

static bool change_flip(void *ctx, char *value, size_t *len)
{
    struct flip *flip = ctx;

    flip->past_end = flip->offset >= *len;
    if (!flip->past_end)
        value[flip->offset] ^= (char)0x80;
    return true;
}

/* But for what nothing else repeats: names, rules, revisions, and numbers that could have been so. */
TEST(a_changed_byte_of_any_row_is_found)
{
    static const uint64_t record_1 = 1, record_46 = 46;
    static const uint32_t one = 1, target_10 = 10;
    static const uint8_t batch_1[12] = { 0, 0, 0, 1, [11] = 1 }, batch_46[12] = { 0, 0, 0, 1, [11] = 46 },
                         delivery_7[16] = { 0, 0, 0, 1, [11] = 7 }, delivery_8[16] = { 0, 0, 0, 1, [11] = 8 },
                         producer[16] = { 9 };
    static const struct {
        const char *table;
        unsigned flags;
        struct view key;
        size_t from, to, step; /* to: 0 is the row's end */
        size_t unseen_from, unseen_to;
    } rows[] = {
        { "log", MDB_INTEGERKEY, RAW_KEY(record_1), 0, 0, 23, 0, 0 },
        { "log", MDB_INTEGERKEY, RAW_KEY(record_46), 0, 0, 11, 0, 0 },
        { "batches", 0, RAW_KEY(batch_1), 0, 0, 1, 0, 0 },
        { "batches", 0, RAW_KEY(batch_46), 0, 0, 1, 0, 0 },
        { "queues", MDB_INTEGERKEY, RAW_KEY(one), 0, 0, 1, 64, 72 },
        { "exceptions", 0, RAW_KEY(delivery_7), 0, 0, 7, 0, 0 },
        { "dead", 0, RAW_KEY(delivery_8), 0, 0, 7, 0, 0 },
        { "targets", MDB_INTEGERKEY, RAW_KEY(target_10), 0, 8, 1, 0, 0 },
        { "producers", 0, RAW_KEY(producer), 24, 0, 5, 0, 0 },
        { "meta", 0, VIEW_LITERAL("totals"), 16, 0, 1, 0, 0 },
    };
    char dir[256];
    unsigned flips = 0;

    (void)snprintf(dir, sizeof dir, "%s", given_store());
    for (unsigned i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct flip flip = { .offset = rows[i].from };
        test_label(rows[i].table);
        for (; rows[i].to == 0 || flip.offset < rows[i].to; flip.offset += rows[i].step) {
            struct findings findings;
            if (flip.offset >= rows[i].unseen_from && flip.offset < rows[i].unseen_to)
                continue;
            raw_row(dir, rows[i].table, rows[i].flags, rows[i].key, change_flip, &flip);
            if (flip.past_end)
                break;
            if (verify(dir, &findings).findings == 0)
                test_fail(__FILE__, __LINE__, "table '%s', row %u: byte %zu was changed and nobody saw it", rows[i].table, i,
                          flip.offset);
            raw_row(dir, rows[i].table, rows[i].flags, rows[i].key, change_flip, &flip);
            flips++;
        }
    }
    struct findings findings;
    EXPECT_EQ(0, verify(dir, &findings).findings); /* all of them were put back */
    EXPECT(flips > 300);
}

/* Rows that pass their own checksum and are wrong all the same, put by a program that is. */
TEST(a_parked_row_that_contradicts_the_rest_is_found)
{
    static const struct {
        const char *label, *text;
        enum exception_table table;
        struct delivery delivery;
        uint32_t target;
        uint64_t event; /* whose envelope it carries; 0: none that can be read */
    } cases[] = {
        { "of a sequence never given", "2.0: that sequence was never given", TABLE_DEAD, { 1042, 0 }, 10, 42 },
        { "of a target that is not there", "10.0: its target does not exist", TABLE_DEAD, { 10, 0 }, 12, 10 },
        { "of another function's target", "10.0: its target does not exist, or is of another", TABLE_DEAD, { 10, 0 }, 20, 10 },
        { "of another target in the log", "10.0: its target is another in the log", TABLE_DEAD, { 10, 0 }, 11, 10 },
        { "of an ordinal there is not", "10.3: its event has fewer targets", TABLE_DEAD, { 10, 3 }, 10, 10 },
        { "with another event", "10.0: its event is not what the log has", TABLE_DEAD, { 10, 0 }, 10, 12 },
        { "without an event", "10.0: the envelope of its event cannot be read", TABLE_DEAD, { 10, 0 }, 10, 0 },
        { "of a sequence left out", "43.0: its event is not in the log", TABLE_DEAD, { 43, 0 }, 10, 43 },
        { "in both tables", "7.0: it waits in table 'exceptions' as well", TABLE_DEAD, { 7, 0 }, 10, 7 },
        { "open above the highest", "30.0: it is open in the log's queue", TABLE_EXCEPTIONS, { 30, 0 }, 10, 30 },
        { "open in a hole", "4.0: it is open in the log's queue", TABLE_EXCEPTIONS, { 4, 0 }, 10, 4 },
    };
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *dir = given_store();
        struct store *store = fixture_open(dir);
        struct commit *commit = commit_new();
        struct findings findings;
        bool found = false;

        test_label(cases[i].label);
        struct exception row = parked(commit->arena, cases[i].delivery, 700);
        row.target = cases[i].target;
        row.envelope = cases[i].event == 0 ? VIEW_LITERAL("\x93") : fixture_envelope(commit->arena, cases[i].event, 0, 20);
        VEC_PUSH(&commit->exceptions, (struct commit_exception){ .table = cases[i].table, .row = row });
        commit->next_seq = 50;
        commit->events_total = 44;
        commit->unmatched_total = 1;
        fixture_commit_durable(store, commit);
        commit_free(commit);
        store_close(store);
        (void)verify(dir, &findings);
        for (unsigned k = 0; k < findings.count && k < 16; k++)
            found = found || strstr(findings.text[k], cases[i].text) != NULL;
        if (!found)
            test_fail(__FILE__, __LINE__, "%u findings, the first: %s", findings.count, findings.text[0]);
    }
}

/* ---- backup ---- */

static void on_backup_progress(void *ctx, uint64_t bytes, uint64_t bytes_total)
{
    struct findings *findings = ctx;

    EXPECT(bytes > findings->progress);
    EXPECT(bytes <= bytes_total);
    findings->progress = bytes;
    findings->progress_total = bytes_total;
}

TEST(a_backup_is_the_same_store_and_verifies)
{
    char dir[256], target[300], partial[320];
    struct findings findings = { 0 };
    struct store_backup backup = { .ctx = &findings, .on_progress = on_backup_progress };
    struct store_backed_up result;
    struct sluice_error error;
    struct stat info;

    (void)snprintf(dir, sizeof dir, "%s", given_store());
    (void)snprintf(target, sizeof target, "%s.copy", dir);
    (void)snprintf(partial, sizeof partial, "%s.partial", target);
    struct store *store = fixture_open(dir);
    if (store_backup(store, target, &backup, &result, &error) != SLUICE_OK)
        test_fail(__FILE__, __LINE__, "%s", error.text);
    EXPECT_EQ(50, result.next_seq);
    EXPECT_EQ(result.bytes, findings.progress);
    EXPECT_EQ(findings.progress_total, findings.progress); /* it was known from the start how much there would be */
    EXPECT(stat(partial, &info) != 0);

    EXPECT_EQ(SLUICE_EEXISTS, store_backup(store, target, &backup, &result, &error));
    EXPECT(strstr(error.text, target) != NULL);
    char other[300];
    (void)snprintf(other, sizeof other, "%s.other", dir);
    (void)snprintf(partial, sizeof partial, "%s.other.partial", dir);
    EXPECT_EQ(0, mkdir(partial, 0700));
    EXPECT_EQ(SLUICE_EEXISTS, store_backup(store, other, &backup, &result, &error));
    EXPECT(strstr(error.text, "was cut off") != NULL);
    EXPECT_EQ(SLUICE_EIO, store_backup(store, "/nowhere/at/all", &backup, &result, &error));
    store_close(store);

    struct store_verified counts = verify(target, &findings);
    EXPECT_EQ(0, counts.findings);
    EXPECT_EQ(44, counts.events);
    store_close(fixture_open(target)); /* to be written to, too */
}

/* Commits go on while a copy is made, and what they write is not in it. */
enum { BACKED_RECORDS = 40, BACKED_EVENTS = 1000 };

struct writing {
    struct store *store;
    struct commit *commit;
    uint64_t records;
};

static void writing_commit(struct writing *writing)
{
    uint64_t first_seq = 1 + writing->records++ * BACKED_EVENTS;

    fixture_add_events(writing->commit,
                       (struct fixture_events){ .first_seq = first_seq, .count = BACKED_EVENTS, .function = 1, .bytes = 500 });
    fixture_add_queue(writing->commit, (struct queue_state){ .function = 1, .counters = { writing->records * BACKED_EVENTS } });
    writing->commit->events_total = writing->records * BACKED_EVENTS;
    fixture_commit_durable(writing->store, writing->commit);
}

static void on_step(void *ctx, uint64_t bytes, uint64_t bytes_total)
{
    struct writing *writing = ctx;

    (void)bytes, (void)bytes_total;
    if (writing->records < 2 * BACKED_RECORDS)
        writing_commit(writing);
}

TEST(a_backup_of_a_store_that_is_written_to_has_what_was_there_when_it_began)
{
    char dir[256], target[300];
    struct findings findings;
    struct store_backed_up result = { 0 };
    struct sluice_error error;

    (void)snprintf(dir, sizeof dir, "%s", fixture_directory());
    (void)snprintf(target, sizeof target, "%s.copy", dir);
    struct writing writing = { .store = fixture_open(dir), .commit = commit_new() };
    fixture_add_function(writing.commit, 1, "one");
    add_target(writing.commit, 10, 1);
    while (writing.records < BACKED_RECORDS)
        writing_commit(&writing);
    struct store_backup backup = { .ctx = &writing, .on_progress = on_step };
    EXPECT_EQ(SLUICE_OK, store_backup(writing.store, target, &backup, &result, &error));
    EXPECT_EQ(BACKED_RECORDS * BACKED_EVENTS + 1, result.next_seq);
    EXPECT(writing.records > BACKED_RECORDS);
    EXPECT(result.grown_bytes >= (writing.records - BACKED_RECORDS) * BACKED_EVENTS * 500);
    commit_free(writing.commit);
    store_close(writing.store);
    struct store_verified counts = verify(target, &findings);
    EXPECT_EQ(0, counts.findings);
    EXPECT_EQ(BACKED_RECORDS * BACKED_EVENTS, counts.deliveries);
    EXPECT_EQ(0, verify(dir, &findings).findings);
}
