/* Every table: written, read back, and read back again by the next process that opens the store. */
#include "tests/test.h"
#include "tests/unit/store_fixture.h"

static void expect_event(struct store *store, uint64_t seq, uint32_t target)
{
    struct stored_event stored;
    struct event event;
    char text[64];

    (void)snprintf(text, sizeof text, "{\"n\":%llu,", (unsigned long long)seq);
    EXPECT_EQ(SLUICE_OK, store_event(store, seq, &stored));
    EXPECT_EQ(seq, stored.seq);
    EXPECT(envelope_decode_stored(stored.event.envelope, &event));
    EXPECT(event.detail.len > strlen(text) && memcmp(event.detail.data, text, strlen(text)) == 0);
    EXPECT_EQ(1, stored.event.targets_count);
    EXPECT_EQ(target, record_target(&stored.event, 0));
}

TEST(events_of_several_records_in_one_commit_are_read_back_also_after_reopening)
{
    const char *dir = fixture_directory();
    struct store *store = fixture_open(dir);
    struct commit *commit = commit_new();

    fixture_add_events(commit,
                       (struct fixture_events){ .first_seq = 1, .count = 100, .function = 1, .committed_ms = 5, .bytes = 200 });
    fixture_add_events(commit,
                       (struct fixture_events){ .first_seq = 101, .count = 3, .function = 2, .committed_ms = 5, .bytes = 9000 });
    fixture_commit_durable(store, commit);
    fixture_add_events(commit,
                       (struct fixture_events){ .first_seq = 104, .count = 1, .function = 1, .committed_ms = 6, .bytes = 1 });
    fixture_commit_durable(store, commit);
    for (unsigned round = 0; round < 2; round++) {
        struct stored_event stored;
        store_read_begin(store);
        for (uint64_t seq = 1; seq <= 104; seq++)
            expect_event(store, seq, seq >= 101 && seq <= 103 ? 20 : 10);
        expect_event(store, 1, 10); /* backwards, too */
        EXPECT_EQ(SLUICE_ENOTFOUND, store_event(store, 0, &stored));
        EXPECT_EQ(SLUICE_ENOTFOUND, store_event(store, 105, &stored));
        EXPECT_EQ(SLUICE_ENOTFOUND, store_event(store, UINT64_MAX, &stored));
        store_read_end(store);
        store_close(store);
        store = round == 0 ? fixture_open(dir) : NULL;
    }
    commit_free(commit);
}

struct recovered {
    char functions[256], targets[256];
    struct queue_state queue;
    struct run holes[8];
    unsigned queues, producers;
    struct producer_row producer;
    uint64_t revision, next_seq, events_total, unmatched_total;
};

static void on_function(void *ctx, const struct function_row *row)
{
    struct recovered *recovered = ctx;
    size_t len = strlen(recovered->functions);
    (void)snprintf(recovered->functions + len, sizeof recovered->functions - len, "%u=%.*s ", row->id, VIEW_ARGS(row->name));
}

static void on_target(void *ctx, const struct target_row *row)
{
    struct recovered *recovered = ctx;
    size_t len = strlen(recovered->targets);
    (void)snprintf(recovered->targets + len, sizeof recovered->targets - len, "%u:%u %.*s %u '%.*s' ", row->id, row->function,
                   VIEW_ARGS(row->rule), row->input, VIEW_ARGS(row->text));
}

static void on_queue(void *ctx, const struct queue_state *state)
{
    struct recovered *recovered = ctx;
    recovered->queues++;
    recovered->queue = *state;
    EXPECT(state->holes_count <= 8);
    if (state->holes_count != 0)
        memcpy(recovered->holes, state->holes, state->holes_count * sizeof *state->holes);
}

static void on_producer(void *ctx, const struct producer_row *row)
{
    struct recovered *recovered = ctx;
    recovered->producers++;
    recovered->producer = *row;
}

static void on_totals(void *ctx, uint64_t revision, uint64_t next_seq, uint64_t events_total, uint64_t unmatched_total)
{
    struct recovered *recovered = ctx;
    recovered->revision = revision;
    recovered->next_seq = next_seq;
    recovered->events_total = events_total;
    recovered->unmatched_total = unmatched_total;
}

static struct recovered recover(struct store *store)
{
    struct recovered recovered = { 0 };
    struct store_recovery recovery = { .ctx = &recovered,
                                       .on_function = on_function,
                                       .on_target = on_target,
                                       .on_queue = on_queue,
                                       .on_producer = on_producer,
                                       .on_totals = on_totals };
    struct sluice_error error;

    EXPECT_EQ(SLUICE_OK, store_recover(store, &recovery, &error));
    return recovered;
}

TEST(a_new_store_recovers_to_nothing_and_sequence_1)
{
    struct store *store = fixture_open(fixture_directory());
    struct recovered recovered = recover(store);

    EXPECT_TEXT("", recovered.functions);
    EXPECT_EQ(0, recovered.queues);
    EXPECT_EQ(1, recovered.next_seq);
    EXPECT_EQ(0, recovered.revision);
    store_close(store);
}

TEST(configuration_queues_producers_and_totals_survive_reopening)
{
    const char *dir = fixture_directory();
    struct store *store = fixture_open(dir);
    struct commit *commit = commit_new();
    struct run holes[] = { { .seq = 3, .len = 2, .ordinal = 0 }, { .seq = 4, .len = 1, .ordinal = 7 }, { .seq = 9, .len = 1 } };
    struct producer_row producer = { .id = { 1, 2, 3, [15] = 255 }, .epoch = 7, .highest = 1000, .used_ms = -5 };

    producer.window[0] = 1;
    producer.window[15] = UINT64_MAX;
    fixture_add_function(commit, 2, "second");
    fixture_add_function(commit, 1, "first");
    VEC_PUSH(
        &commit->targets,
        (struct target_row){ .id = 10, .function = 1, .rule = VIEW_LITERAL("r1"), .input = 2, .text = VIEW_LITERAL("$.detail") });
    VEC_PUSH(&commit->targets, (struct target_row){ .id = 11, .function = 2, .rule = VIEW_LITERAL("r2") });
    VEC_PUSH(&commit->producers, producer);
    fixture_add_queue(
        commit,
        (struct queue_state){
            .function = 1, .highest = { 10, 3 }, .holes = holes, .holes_count = 3, .counters = { 100, 90, 5, 1, 0, 2, 8 } });
    commit->revision = 4;
    commit->next_seq = 11;
    commit->events_total = 10;
    commit->unmatched_total = 2;
    fixture_commit_durable(store, commit);
    commit->next_seq = 12; /* revision 0: unchanged */
    commit->events_total = 11;
    commit->unmatched_total = 2;
    fixture_commit_durable(store, commit);

    for (unsigned round = 0; round < 2; round++) {
        struct recovered recovered = recover(store);
        EXPECT_TEXT("1=first 2=second ", recovered.functions);
        EXPECT_TEXT("10:1 r1 2 '$.detail' 11:2 r2 0 '' ", recovered.targets);
        EXPECT_EQ(1, recovered.queues);
        EXPECT_EQ(1, recovered.queue.function);
        EXPECT_EQ(10, recovered.queue.highest.seq);
        EXPECT_EQ(3, recovered.queue.highest.ordinal);
        EXPECT_EQ(3, recovered.queue.holes_count);
        EXPECT(memcmp(holes, recovered.holes, sizeof holes) == 0);
        EXPECT_EQ(100, recovered.queue.counters[QUEUE_ACCEPTED]);
        EXPECT_EQ(8, recovered.queue.counters[QUEUE_ATTEMPTS_FAILED]);
        EXPECT_EQ(1, recovered.producers);
        EXPECT(memcmp(&producer, &recovered.producer, sizeof producer) == 0);
        EXPECT_EQ(4, recovered.revision);
        EXPECT_EQ(12, recovered.next_seq);
        EXPECT_EQ(11, recovered.events_total);
        EXPECT_EQ(2, recovered.unmatched_total);
        store_close(store);
        store = fixture_open(dir);
    }
    VEC_PUSH(&commit->producers_gone, producer);
    fixture_commit_durable(store, commit);
    EXPECT_EQ(0, recover(store).producers);
    store_close(store);
    commit_free(commit);
}

/* Rows of function 1 at 1 (two targets an event), 50, 100; of function 2 at 60; of function 3 none. */
static void given_batches(struct store *store)
{
    struct commit *commit = commit_new();
    static const struct run both[] = { { 1, 10, 0 }, { 1, 10, 1 }, { 3, 1, 2 } }, some[] = { { 52, 1, 0 }, { 57, 2, 4 } },
                            last[] = { { 100, 4096, 0 } }, other[] = { { 60, 1, 0 } };
    const struct commit_batch rows[] = {
        { .function = 1, .first_seq = 1, .committed_ms = 11, .count = 21, .runs = both, .runs_count = 3 },
        { .function = 1, .first_seq = 50, .committed_ms = 12, .count = 3, .runs = some, .runs_count = 2 },
        { .function = 1, .first_seq = 100, .committed_ms = 13, .count = 4096, .runs = last, .runs_count = 1 },
        { .function = 2, .first_seq = 60, .committed_ms = 14, .count = 1, .runs = other, .runs_count = 1 }
    };

    for (unsigned i = 0; i < sizeof rows / sizeof rows[0]; i++)
        VEC_PUSH(&commit->batches, rows[i]);
    fixture_commit_durable(store, commit);
    commit_free(commit);
}

TEST(batches_are_found_after_and_at_a_sequence)
{
    static const struct {
        const char *label;
        uint32_t function;
        uint64_t at, after_row, at_row; /* 0: none */
    } cases[] = {
        { "before all", 1, 0, 1, 0 },
        { "on the first", 1, 1, 50, 1 },
        { "inside the first", 1, 9, 50, 1 },
        { "just before the second", 1, 49, 50, 1 },
        { "on the second", 1, 50, 100, 50 },
        { "just behind the second", 1, 51, 100, 50 },
        { "on the last", 1, 100, 0, 100 },
        { "behind all, not the next function's", 1, 101, 0, 100 },
        { "the end of all numbers", 1, UINT64_MAX, 0, 100 },
        { "the next function from its start, not the one before", 2, 0, 60, 0 },
        { "the next function, before its row", 2, 59, 60, 0 },
        { "the next function, on its row", 2, 60, 0, 60 },
        { "the next function, at the end", 2, UINT64_MAX, 0, 60 },
        { "a function without rows behind all", 3, 70, 0, 0 },
        { "a function without rows before all", 0, 70, 0, 0 },
        { "the last function there can be", UINT32_MAX, UINT64_MAX, 0, 0 },
    };
    struct store *store = fixture_open(fixture_directory());

    given_batches(store);
    store_read_begin(store);
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct batch_row row = { 0 };
        test_label(cases[i].label);
        EXPECT_EQ(cases[i].after_row != 0, store_batch_after(store, cases[i].function, cases[i].at, &row));
        EXPECT_EQ(cases[i].after_row, row.first_seq);
        row.first_seq = 0;
        EXPECT_EQ(cases[i].at_row != 0, store_batch_at(store, cases[i].function, cases[i].at, &row));
        EXPECT_EQ(cases[i].at_row, row.first_seq);
    }
    store_read_end(store);
    store_close(store);
}

TEST(runs_that_overlap_in_sequence_come_back_as_they_were)
{
    struct store *store = fixture_open(fixture_directory());
    struct batch_row row;

    given_batches(store);
    store_read_begin(store);
    EXPECT(store_batch_at(store, 1, 10, &row));
    EXPECT_EQ(11, row.committed_ms);
    EXPECT_EQ(21, row.count);
    EXPECT_EQ(3, row.runs_count);
    static const struct run wanted[] = { { 1, 10, 0 }, { 1, 10, 1 }, { 3, 1, 2 } };
    for (uint32_t i = 0; i < 3; i++) {
        struct run run = batch_row_run(&row, i);
        EXPECT(memcmp(&wanted[i], &run, sizeof run) == 0);
    }
    EXPECT(store_batch_after(store, 1, 50, &row));
    EXPECT_EQ(4096, batch_row_run(&row, 0).len);
    store_read_end(store);
    store_close(store);
}

TEST(trimming_takes_the_record_and_its_batches_and_nothing_else)
{
    struct store *store = fixture_open(fixture_directory());
    struct commit *commit = commit_new();
    struct stored_event event;
    struct batch_row row;
    struct record record;

    for (uint64_t seq = 1; seq <= 30; seq += 10)
        fixture_add_events(
            commit, (struct fixture_events){ .first_seq = seq, .count = 10, .function = 1, .committed_ms = 1, .bytes = 50 });
    fixture_commit_durable(store, commit);
    VEC_PUSH(&commit->trims, 11);
    VEC_PUSH(&commit->trims, 12); /* begins no record: nothing to do */
    commit->next_seq = 31;
    fixture_commit_durable(store, commit);

    store_read_begin(store);
    EXPECT_EQ(SLUICE_OK, store_event(store, 10, &event));
    EXPECT_EQ(SLUICE_ENOTFOUND, store_event(store, 11, &event));
    EXPECT_EQ(SLUICE_ENOTFOUND, store_event(store, 20, &event));
    EXPECT_EQ(SLUICE_OK, store_event(store, 21, &event));
    EXPECT(store_batch_after(store, 1, 1, &row));
    EXPECT_EQ(21, row.first_seq);
    EXPECT(store_record_after(store, 1, &record));
    EXPECT_EQ(21, record.first_seq);
    EXPECT_EQ(10, record.count);
    EXPECT(!store_record_after(store, 21, &record));
    EXPECT(!store_record_after(store, UINT64_MAX, &record));
    store_read_end(store);

    VEC_PUSH(&commit->trims, 1);
    VEC_PUSH(&commit->trims, 21);
    commit->next_seq = 31;
    fixture_commit_durable(store, commit);
    store_read_begin(store);
    EXPECT(!store_record_after(store, 0, &record));
    EXPECT(!store_batch_after(store, 1, 0, &row));
    EXPECT_EQ(SLUICE_ENOTFOUND, store_event(store, 5, &event));
    store_read_end(store);
    commit_free(commit);
    store_close(store);
}

static void change_exception(struct commit *commit, enum exception_table table, bool delete, struct exception row)
{
    VEC_PUSH(&commit->exceptions, (struct commit_exception){ .table = table, .delete = delete, .row = row });
}

TEST(the_due_index_follows_the_exception_table)
{
    struct store *store = fixture_open(fixture_directory());
    struct commit *commit = commit_new();
    struct arena *arena = arena_new(4096);
    struct due_key due = { 0 };
    struct exception row;

    change_exception(commit, TABLE_EXCEPTIONS, false, fixture_exception(arena, 1, (struct delivery){ 5, 0 }, 300));
    change_exception(commit, TABLE_EXCEPTIONS, false, fixture_exception(arena, 1, (struct delivery){ 6, 2 }, 200));
    change_exception(commit, TABLE_EXCEPTIONS, false, fixture_exception(arena, 1, (struct delivery){ 6, 1 }, 200));
    change_exception(commit, TABLE_EXCEPTIONS, false, fixture_exception(arena, 1, (struct delivery){ 7, 0 }, 0));
    change_exception(commit, TABLE_EXCEPTIONS, false, fixture_exception(arena, 2, (struct delivery){ 1, 0 }, 1));
    change_exception(commit, TABLE_EXCEPTIONS, false, fixture_exception(arena, 1, (struct delivery){ 5, 0 }, 400)); /* replaced */
    change_exception(commit, TABLE_EXCEPTIONS, true,
                     fixture_exception(arena, 1, (struct delivery){ 99, 0 }, 1)); /* never there */
    fixture_commit_durable(store, commit);
    static const struct due_key wanted[] = { { 0, { 7, 0 } }, { 200, { 6, 1 } }, { 200, { 6, 2 } }, { 400, { 5, 0 } } };
    store_read_begin(store);
    for (unsigned i = 0; i < 4; i++) {
        EXPECT(store_due_after(store, 1, due, &due));
        EXPECT_EQ(wanted[i].due_ms, due.due_ms);
        EXPECT_EQ(0, delivery_compare(wanted[i].delivery, due.delivery));
    }
    EXPECT(!store_due_after(store, 1, due, &due));
    EXPECT(!store_due_after(store, 3, (struct due_key){ 0 }, &due));
    EXPECT_EQ(SLUICE_OK, store_exception(store, TABLE_EXCEPTIONS, 1, (struct delivery){ 6, 2 }, &row));
    EXPECT_VIEW("Runtime.ExitError", row.reason);
    EXPECT_VIEW("exit status 3", row.message);
    EXPECT_VIEW("last words", row.output);
    EXPECT_EQ(10, row.target);
    EXPECT_EQ(2, row.attempts);
    EXPECT_EQ(200, row.due_ms);
    EXPECT_EQ(1000, row.accepted_ms);
    EXPECT_EQ(2000, row.failed_ms);
    struct view envelope = fixture_envelope(arena, 6, 1000, 100);
    EXPECT(view_equals(envelope, row.envelope));
    EXPECT_EQ(SLUICE_ENOTFOUND, store_exception(store, TABLE_EXCEPTIONS, 1, (struct delivery){ 6, 3 }, &row));
    EXPECT_EQ(SLUICE_ENOTFOUND, store_exception(store, TABLE_DEAD, 1, (struct delivery){ 6, 2 }, &row));
    store_read_end(store);

    /* Given up: from one table into the other; the due key goes. */
    change_exception(commit, TABLE_EXCEPTIONS, true, (struct exception){ .function = 1, .delivery = { 7, 0 } });
    change_exception(commit, TABLE_DEAD, false, fixture_exception(arena, 1, (struct delivery){ 7, 0 }, -1));
    fixture_commit_durable(store, commit);
    store_read_begin(store);
    EXPECT(store_due_after(store, 1, (struct due_key){ 0 }, &due));
    EXPECT_EQ(6, due.delivery.seq);
    EXPECT(store_exception_after(store, TABLE_DEAD, 1, (struct delivery){ 0 }, &row));
    EXPECT_EQ(7, row.delivery.seq);
    EXPECT(!store_exception_after(store, TABLE_DEAD, 1, row.delivery, &row));
    struct delivery at = { 0 };
    for (unsigned i = 0; i < 3; i++) {
        static const struct delivery order[] = { { 5, 0 }, { 6, 1 }, { 6, 2 } };
        EXPECT(store_exception_after(store, TABLE_EXCEPTIONS, 1, at, &row));
        EXPECT_EQ(0, delivery_compare(order[i], row.delivery));
        at = row.delivery;
    }
    EXPECT(!store_exception_after(store, TABLE_EXCEPTIONS, 1, at, &row)); /* not function 2's */
    store_read_end(store);
    arena_free(arena);
    commit_free(commit);
    store_close(store);
}

TEST(an_event_is_found_by_its_id_by_time_or_by_scanning)
{
    struct store *store = fixture_open(fixture_directory());
    struct commit *commit = commit_new();
    struct arena *arena = arena_new(4096);
    uint64_t seq = 1;

    for (unsigned i = 0; i < 200; i++, seq += 3) { /* a record a minute; the events' ids carry the record's time */
        fixture_add_events(
            commit,
            (struct fixture_events){
                .first_seq = seq, .count = 3, .function = 1, .committed_ms = 1000000000 + (int64_t)i * 60000, .bytes = 30 });
        fixture_commit_durable(store, commit);
    }
    change_exception(commit, TABLE_DEAD, false, fixture_exception(arena, 1, (struct delivery){ 7777, 0 }, 0));
    commit->next_seq = seq;
    fixture_commit_durable(store, commit);

    static const struct {
        const char *label;
        uint64_t seq;
        int64_t made_ms;
        enum sluice_err err;     /* of a search everywhere */
        bool scanned;            /* what its time says does not lead to it */
    } cases[] = {
        { "the first", 1, 1000000000, SLUICE_OK, false },
        { "one in the middle", 302, 1000000000 + 100 * 60000, SLUICE_OK, false },
        { "the last", 600, 1000000000 + 199 * 60000, SLUICE_OK, false },
        { "a dead letter, trimmed from the log", 7777, 1000, SLUICE_OK, true },
        { "none", 601, 1000000000 + 100 * 60000, SLUICE_ENOTFOUND, true },
        { "none, made after all", 601, INT64_C(1) << 46, SLUICE_ENOTFOUND, true },
    };
    store_read_begin(store);
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint8_t id[16];
        struct stored_event event = { 0 };
        struct event_found found = { 0 };
        struct sluice_error error;
        atomic_bool cancelled = false;
        test_label(cases[i].label);
        fixture_uuid(id, cases[i].seq, cases[i].made_ms);
        struct event_search search = { .id = { (const char *)id, 16 }, .id_is_uuid = true, .cancelled = &cancelled };
        EXPECT_EQ(cases[i].scanned ? SLUICE_ENOTFOUND : SLUICE_OK, store_event_by_id(store, search.id, true, &event));
        EXPECT_EQ(cases[i].scanned ? 0 : cases[i].seq, event.seq);
        EXPECT_EQ(cases[i].err, store_event_search(store, &search, &found, &error));
        EXPECT_EQ(cases[i].err == SLUICE_OK ? cases[i].seq : 0, found.seq);
        EXPECT_EQ(cases[i].err == SLUICE_OK && cases[i].scanned, found.scanned);
        EXPECT_EQ(cases[i].err == SLUICE_OK, found.envelope.len != 0);
        bytes_done(&found.envelope);
        cancelled = true;
        EXPECT_EQ(SLUICE_ETIMEDOUT, store_event_search(store, &search, &found, &error));
    }
    store_read_end(store);
    arena_free(arena);
    commit_free(commit);
    store_close(store);
}

TEST(usage_counts_commits_and_their_latency)
{
    struct store *store = fixture_open(fixture_directory());
    struct commit *commit = commit_new();
    struct store_usage usage;

    store_usage(store, &usage);
    EXPECT_EQ(0, usage.commits);
    EXPECT_EQ(0, usage.commit_us_p50);
    for (unsigned i = 0; i < 10; i++) {
        fixture_add_events(commit, (struct fixture_events){ .first_seq = 1 + i * 10, .count = 10, .function = 1, .bytes = 1000 });
        fixture_commit_durable(store, commit);
    }
    store_usage(store, &usage);
    EXPECT_EQ(10, usage.commits);
    EXPECT(usage.commit_bytes > 10 * 10 * 1000);
    EXPECT(usage.commit_us_p50 > 0);
    EXPECT(usage.commit_us_p99 >= usage.commit_us_p50);
    EXPECT(usage.used_bytes > 100000);
    EXPECT(usage.reserve_bytes >= 16 << 20);
    EXPECT_EQ(usage.file_bytes, usage.used_bytes + usage.reserve_bytes);
    commit_free(commit);
    store_close(store);
}
