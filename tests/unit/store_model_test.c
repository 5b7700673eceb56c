/* Random commits beside a naive model of what they mean. After every commit the store is asked everything the model knows;
 * now and then it is closed and opened. A failure names its seed: SLUICE_SEED=n runs it again. */
#include <stdlib.h>
#include <unistd.h>

#include "tests/test.h"
#include "tests/unit/store_fixture.h"

enum { FUNCTIONS = 3, RECORDS_MAX = 400, PARKED_SEQS = 24, PARKED_ORDINALS = 2, COMMITS = 250 };

struct model_record {
    uint64_t first_seq;
    uint32_t count, function;
    bool trimmed;
};

struct model {
    uint64_t random, next_seq;
    struct model_record records[RECORDS_MAX];
    size_t records_count, trimmed;
    struct {
        bool there;
        int64_t due_ms;
        uint32_t attempts;
    } parked[2][FUNCTIONS + 1][PARKED_SEQS][PARKED_ORDINALS];
    struct queue_state queues[FUNCTIONS + 1];
};

static uint32_t draw(struct model *model, uint32_t below)
{
    model->random = model->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(model->random >> 33) % below;
}

static void step_publish(struct model *model, struct commit *commit)
{
    for (uint32_t records = draw(model, 4); records > 0 && model->records_count < RECORDS_MAX; records--) {
        struct model_record *record = &model->records[model->records_count++];
        *record = (struct model_record){ .first_seq = model->next_seq,
                                         .count = 1 + draw(model, 60),
                                         .function = 1 + draw(model, FUNCTIONS) };
        fixture_add_events(commit, (struct fixture_events){ .first_seq = record->first_seq,
                                                            .count = record->count,
                                                            .function = record->function,
                                                            .bytes = draw(model, 3000) });
        model->next_seq += record->count;
    }
}

static void step_parked(struct model *model, struct commit *commit)
{
    for (uint32_t changes = draw(model, 6); changes > 0; changes--) {
        struct commit_exception change = { .table = draw(model, 2) ? TABLE_DEAD : TABLE_EXCEPTIONS,
                                           .delete = draw(model, 3) == 0 };
        struct delivery delivery = { .seq = draw(model, PARKED_SEQS), .ordinal = draw(model, PARKED_ORDINALS) };
        uint32_t function = 1 + draw(model, FUNCTIONS);
        change.row = fixture_exception(commit->arena, function, delivery, draw(model, 50));
        change.row.attempts = draw(model, 1000);
        VEC_PUSH(&commit->exceptions, change);
        model->parked[change.table][function][delivery.seq][delivery.ordinal].there = !change.delete;
        model->parked[change.table][function][delivery.seq][delivery.ordinal].due_ms = change.row.due_ms;
        model->parked[change.table][function][delivery.seq][delivery.ordinal].attempts = change.row.attempts;
    }
}

static void step_queues(struct model *model, struct commit *commit)
{
    static const struct run holes[] = { { 1, 1, 0 }, { 2, 1, 0 }, { 3, 1, 0 } };
    struct queue_state *state = &model->queues[1 + draw(model, FUNCTIONS)];

    state->highest.seq = 3 + draw(model, (uint32_t)model->next_seq);
    state->holes_count = draw(model, 4);
    state->holes = holes;
    state->counters[draw(model, QUEUE_COUNTERS)]++;
    fixture_add_queue(commit, *state);
}

static void step_trim(struct model *model, struct commit *commit)
{
    for (uint32_t trims = draw(model, 3); trims > 0 && model->records_count - model->trimmed > 20; trims--) {
        struct model_record *record = &model->records[model->trimmed++];
        record->trimmed = true;
        VEC_PUSH(&commit->trims, record->first_seq);
    }
}

static void check_log(struct model *model, struct store *store)
{
    struct record record;
    uint64_t after = 0;

    for (size_t i = 0; i < model->records_count; i++) {
        struct model_record *expected = &model->records[i];
        struct stored_event event;
        struct batch_row row = { 0 };
        uint64_t inside = expected->first_seq + draw(model, expected->count);
        EXPECT_EQ(expected->trimmed ? SLUICE_ENOTFOUND : SLUICE_OK, store_event(store, inside, &event));
        bool found = store_batch_at(store, expected->function, inside, &row);
        EXPECT_EQ(!expected->trimmed, found && row.first_seq == expected->first_seq);
        if (expected->trimmed)
            continue;
        EXPECT_EQ(expected->count, row.count);
        EXPECT(store_record_after(store, after, &record));
        EXPECT_EQ(expected->first_seq, record.first_seq);
        EXPECT_EQ(expected->count, record.count);
        after = record.first_seq;
    }
    EXPECT(!store_record_after(store, after, &record));
}

static void check_batches(struct model *model, struct store *store, uint32_t function)
{
    struct batch_row row;
    uint64_t after = 0;

    for (size_t i = 0; i < model->records_count; i++) {
        if (model->records[i].trimmed || model->records[i].function != function)
            continue;
        EXPECT(store_batch_after(store, function, after, &row));
        EXPECT_EQ(model->records[i].first_seq, row.first_seq);
        after = row.first_seq;
    }
    EXPECT(!store_batch_after(store, function, after, &row));
}

static void check_parked(struct model *model, struct store *store, enum exception_table table, uint32_t function)
{
    struct exception row;
    struct delivery after = { 0, 0 };
    unsigned count = 0;

    for (uint32_t seq = 0; seq < PARKED_SEQS; seq++)
        for (uint32_t ordinal = 0; ordinal < PARKED_ORDINALS; ordinal++) {
            struct delivery delivery = { seq, ordinal };
            bool there = model->parked[table][function][seq][ordinal].there;
            EXPECT_EQ(there ? SLUICE_OK : SLUICE_ENOTFOUND, store_exception(store, table, function, delivery, &row));
            if (!there || (seq == 0 && ordinal == 0)) /* {0, 0} is "from the first": no delivery has it */
                continue;
            count++;
            EXPECT(store_exception_after(store, table, function, after, &row));
            EXPECT_EQ(0, delivery_compare(delivery, row.delivery));
            EXPECT_EQ(model->parked[table][function][seq][ordinal].attempts, row.attempts);
            after = delivery;
        }
    EXPECT(!store_exception_after(store, table, function, after, &row));
    if (table == TABLE_DEAD)
        return;
    struct due_key due = { 0 }, last = { .due_ms = -1 };
    unsigned dues = 0;
    bool origin = false; /* a due key of {0, {0, 0}} cannot be come to either */
    while (store_due_after(store, function, due, &due)) {
        EXPECT(due.due_ms >= last.due_ms);
        EXPECT_EQ(model->parked[table][function][due.delivery.seq][due.delivery.ordinal].due_ms, due.due_ms);
        EXPECT(model->parked[table][function][due.delivery.seq][due.delivery.ordinal].there);
        origin = origin || (due.delivery.seq == 0 && due.delivery.ordinal == 0);
        last = due;
        dues++;
    }
    EXPECT_EQ(count, dues - origin);
}

struct queue_check {
    struct model *model;
    unsigned seen;
};

static void on_queue(void *ctx, const struct queue_state *state)
{
    struct queue_check *check = ctx;
    struct queue_state *expected = &check->model->queues[state->function];

    check->seen++;
    EXPECT_EQ(expected->highest.seq, state->highest.seq);
    EXPECT_EQ(expected->holes_count, state->holes_count);
    EXPECT(memcmp(expected->counters, state->counters, sizeof state->counters) == 0);
}

static void on_totals(void *ctx, uint64_t revision, uint64_t next_seq, uint64_t events_total, uint64_t unmatched_total)
{
    struct queue_check *check = ctx;

    (void)revision, (void)events_total, (void)unmatched_total;
    EXPECT_EQ(check->model->next_seq, next_seq);
}

static void check_all(struct model *model, struct store *store)
{
    struct queue_check check = { .model = model };
    struct store_recovery recovery = { .ctx = &check, .on_queue = on_queue, .on_totals = on_totals };
    struct sluice_error error;

    store_read_begin(store);
    check_log(model, store);
    for (uint32_t function = 1; function <= FUNCTIONS; function++) {
        check_batches(model, store, function);
        check_parked(model, store, TABLE_EXCEPTIONS, function);
        check_parked(model, store, TABLE_DEAD, function);
    }
    store_read_end(store);
    EXPECT_EQ(SLUICE_OK, store_recover(store, &recovery, &error));
}

TEST(random_commits_mean_what_a_naive_model_says)
{
    static struct model model;
    const char *given = getenv("SLUICE_SEED");
    char label[64], dir[128];

    uint64_t seed = given != NULL ? strtoull(given, NULL, 10) : (uint64_t)getpid();
    model = (struct model){ .random = seed, .next_seq = 1 };
    (void)snprintf(dir, sizeof dir, "%s", fixture_directory());
    struct store *store = fixture_open(dir);
    struct commit *commit = commit_new();
    for (uint32_t function = 1; function <= FUNCTIONS; function++)
        model.queues[function].function = function;
    for (unsigned i = 0; i < COMMITS; i++) {
        (void)snprintf(label, sizeof label, "SLUICE_SEED=%llu commit %u", (unsigned long long)seed, i);
        test_label(label);
        step_publish(&model, commit);
        step_parked(&model, commit);
        step_queues(&model, commit);
        step_trim(&model, commit);
        commit->next_seq = model.next_seq;
        fixture_commit_durable(store, commit);
        if (draw(&model, 25) == 0) {
            store_close(store);
            store = fixture_open(dir);
        }
        check_all(&model, store);
    }
    store_close(store);
    commit_free(commit);
}
