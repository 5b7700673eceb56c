/* The balance holds on a store of every kind of delivery, and stops holding when any one term is changed behind its back. */
#include <time.h>

#include "tests/test.h"
#include "tests/unit/store_fixture.h"
#include "tests/unit/store_raw.h"

struct balances {
    unsigned count, held;
    struct balance_row first;
};

static void on_row(void *ctx, const struct balance_row *row)
{
    struct balances *balances = ctx;

    if (balances->count++ == 0)
        balances->first = *row;
    balances->held += row->holds;
}

static struct balances balance(struct store *store)
{
    struct balances balances = { 0 };
    struct sluice_error error;

    EXPECT_EQ(SLUICE_OK, store_balance(store, on_row, &balances, &error));
    return balances;
}

static struct balances balance_of_directory(const char *dir)
{
    struct store *store = fixture_open(dir);
    struct balances balances = balance(store);

    store_close(store);
    return balances;
}

/* Function 1, of 40 accepted: records of 10 at 1, 11, 21 and 31; highest settled is 25; below it 3, 4 and 22 are open, 7 failed
 * and waits, 8 and 9 are dead letters, 10 expired, 11 was discarded, the others succeeded. 15 above. Function 2 has nothing. */
static const char *given_balanced(void)
{
    const char *dir = fixture_directory();
    struct store *store = fixture_open(dir);
    struct commit *commit = commit_new();
    static const struct run holes[] = { { 3, 2, 0 }, { 22, 1, 0 } };

    fixture_add_function(commit, 1, "one");
    fixture_add_function(commit, 2, "two");
    for (uint64_t seq = 1; seq <= 40; seq += 10)
        fixture_add_events(commit, (struct fixture_events){ .first_seq = seq, .count = 10, .function = 1, .bytes = 20 });
    struct exception row = fixture_exception(commit->arena, 1, (struct delivery){ 7, 0 }, 500);
    VEC_PUSH(&commit->exceptions, (struct commit_exception){ .table = TABLE_EXCEPTIONS, .row = row });
    for (uint64_t seq = 8; seq <= 9; seq++) {
        row = fixture_exception(commit->arena, 1, (struct delivery){ seq, 0 }, 0);
        VEC_PUSH(&commit->exceptions, (struct commit_exception){ .table = TABLE_DEAD, .row = row });
    }
    fixture_add_queue(
        commit,
        (struct queue_state){
            .function = 1, .highest = { 25, 0 }, .holes = holes, .holes_count = 2, .counters = { 40, 17, 2, 1, 1, 1, 3 } });
    fixture_commit_durable(store, commit);
    commit_free(commit);
    store_close(store);
    return dir;
}

TEST(the_balance_of_every_kind_of_delivery_holds)
{
    struct balances balances = balance_of_directory(given_balanced());

    EXPECT_EQ(2, balances.count);
    EXPECT_EQ(2, balances.held);
    EXPECT_EQ(1, balances.first.function);
    EXPECT_EQ(40, balances.first.accepted);
    EXPECT_EQ(17, balances.first.succeeded);
    EXPECT_EQ(2, balances.first.dead_lettered);
    EXPECT_EQ(1, balances.first.expired);
    EXPECT_EQ(1, balances.first.discarded);
    EXPECT_EQ(19, balances.first.pending);
    EXPECT_EQ(2, balances.first.dead_rows);
}

TEST(the_balance_does_not_hold_when_any_term_is_wrong)
{
    static const uint32_t one = 1, unknown = 99;
    static const uint8_t batch_above[12] = { 0, 0, 0, 1, [11] = 31 }, batch_straddling[12] = { 0, 0, 0, 1, [11] = 21 },
                         delivery_7[16] = { 0, 0, 0, 1, [11] = 7 }, delivery_8[16] = { 0, 0, 0, 1, [11] = 8 },
                         delivery_12[16] = { 0, 0, 0, 1, [11] = 12 }, due_7[24] = { 0, 0, 0, 1, [10] = 1, 244, [19] = 7 };
    static const struct {
        const char *label, *table;
        struct view key;
        enum { ADD, DELETE, PUT } how;
        size_t offset;
        int64_t difference;
        unsigned count;
    } cases[] = {
        { "accepted", "queues", RAW_KEY(one), ADD, 16, 1, 2 },
        { "succeeded", "queues", RAW_KEY(one), ADD, 24, 1, 2 },
        { "succeeded, too few", "queues", RAW_KEY(one), ADD, 24, -1, 2 },
        { "dead-lettered", "queues", RAW_KEY(one), ADD, 32, 1, 2 },
        { "expired", "queues", RAW_KEY(one), ADD, 40, 1, 2 },
        { "discarded", "queues", RAW_KEY(one), ADD, 48, 1, 2 },
        { "exceptions counted", "queues", RAW_KEY(one), ADD, 56, 1, 2 },
        { "highest settled", "queues", RAW_KEY(one), ADD, 0, 1, 2 },
        { "a hole's length", "queues", RAW_KEY(one), ADD, 72 + 8, 1, 2 },
        { "the whole queue row is gone", "queues", RAW_KEY(one), DELETE, 0, 0, 2 },
        { "a queue of nobody", "queues", RAW_KEY(unknown), PUT, 0, 0, 3 },
        { "a batches row above is gone", "batches", RAW_KEY(batch_above), DELETE, 0, 0, 2 },
        { "a batches row above counts wrong", "batches", RAW_KEY(batch_above), ADD, 8, 1, 2 },
        { "the straddling row is gone", "batches", RAW_KEY(batch_straddling), DELETE, 0, 0, 2 },
        { "the straddling row counts wrong", "batches", RAW_KEY(batch_straddling), ADD, 8, 1, 2 },
        { "an exception is gone", "exceptions", RAW_KEY(delivery_7), DELETE, 0, 0, 2 },
        { "an exception too many", "exceptions", RAW_KEY(delivery_12), PUT, 0, 0, 2 },
        { "a due time is gone", "due", RAW_KEY(due_7), DELETE, 0, 0, 2 },
        { "a dead letter is gone", "dead", RAW_KEY(delivery_8), DELETE, 0, 0, 2 },
        { "a dead letter too many", "dead", RAW_KEY(delivery_12), PUT, 0, 0, 2 },
    };
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *dir = given_balanced();
        unsigned flags = strcmp(cases[i].table, "queues") == 0 ? MDB_INTEGERKEY : 0;
        static const char zeros[72];

        test_label(cases[i].label);
        if (cases[i].how == ADD)
            raw_add(dir, cases[i].table, flags, cases[i].key, cases[i].offset, cases[i].difference);
        else if (cases[i].how == DELETE)
            raw_delete(dir, cases[i].table, flags, cases[i].key);
        else
            raw_put(dir, cases[i].table, flags, cases[i].key, (struct view){ zeros, sizeof zeros });
        struct balances balances = balance_of_directory(dir);
        EXPECT_EQ(cases[i].count, balances.count);
        EXPECT_EQ(cases[i].count - 1, balances.held);
    }
}

TEST(pending_is_counted_where_runs_overlap_and_the_highest_lies_between_ordinals)
{
    static const struct run runs[] = { { 10, 5, 0 }, { 10, 5, 1 }, { 12, 1, 2 } };
    static const struct {
        const char *label;
        struct delivery highest;
        uint64_t pending;
    } cases[] = {
        { "nothing settled", { 0, 0 }, 11 },
        { "before the record", { 9, 5 }, 11 },
        { "the first delivery", { 10, 0 }, 10 },
        { "both of the first", { 10, 1 }, 9 },
        { "12.0", { 12, 0 }, 6 },
        { "12.1", { 12, 1 }, 5 },
        { "12.2", { 12, 2 }, 4 },
        { "an ordinal nobody has", { 13, 9 }, 2 },
        { "the last", { 14, 1 }, 0 },
        { "behind the record", { 20, 0 }, 0 },
    };
    struct store *store = fixture_open(fixture_directory());
    struct commit *commit = commit_new();

    fixture_add_function(commit, 1, "one");
    VEC_PUSH(&commit->batches,
             (struct commit_batch){ .function = 1, .first_seq = 10, .count = 11, .runs = runs, .runs_count = 3 });
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        test_label(cases[i].label);
        fixture_add_queue(commit, (struct queue_state){
                                      .function = 1, .highest = cases[i].highest, .counters = { 11, 11 - cases[i].pending } });
        fixture_commit_durable(store, commit);
        struct balances balances = balance(store);
        EXPECT_EQ(cases[i].pending, balances.first.pending);
        EXPECT_EQ(1, balances.held);
    }
    commit_free(commit);
    store_close(store);
}

static void on_queue(void *ctx, const struct queue_state *state)
{
    *(uint64_t *)ctx += state->counters[QUEUE_ACCEPTED];
}

/* What opening and recovering read must not grow with the backlog; the limit is far above what it takes, for slow machines. */
TEST(a_million_pending_events_make_opening_no_slower)
{
    enum { EVENTS = 4000, RECORDS = 250, OPEN_MS_MAX = 300 };
    char dir[128];
    uint64_t accepted = 0;
    struct store_recovery recovery = { .ctx = &accepted, .on_queue = on_queue };
    struct timespec start, end;

    (void)snprintf(dir, sizeof dir, "%s", fixture_directory());
    struct store *store = fixture_open(dir);
    struct commit *commit = commit_new();
    fixture_add_function(commit, 1, "one");
    for (uint64_t i = 0; i < RECORDS; i++) {
        fixture_add_events(commit,
                           (struct fixture_events){ .first_seq = 1 + i * EVENTS, .count = EVENTS, .function = 1, .bytes = 20 });
        fixture_add_queue(commit, (struct queue_state){ .function = 1, .counters = { (i + 1) * EVENTS } });
        fixture_commit_durable(store, commit);
    }
    commit_free(commit);
    store_close(store);

    (void)clock_gettime(CLOCK_MONOTONIC, &start);
    store = fixture_open(dir);
    EXPECT_EQ(SLUICE_OK, store_recover(store, &recovery, NULL));
    (void)clock_gettime(CLOCK_MONOTONIC, &end);
    long ms = (end.tv_sec - start.tv_sec) * 1000 + (end.tv_nsec - start.tv_nsec) / 1000000;
    EXPECT_EQ(1000000, accepted);
    EXPECT(ms <= OPEN_MS_MAX);
    struct balances balances = balance(store);
    EXPECT_EQ(1, balances.held);
    EXPECT_EQ(1000000, balances.first.pending);
    printf("     open and recover: %ld ms\n", ms);
    store_close(store);
}
