/* kill -9 in the middle of commits: whatever `done` was called for is there afterwards, whole, and the balance holds. */
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/test.h"
#include "tests/unit/store_fixture.h"

enum { ROUNDS = 20, EVENTS = 40 };

static void on_totals(void *ctx, uint64_t revision, uint64_t next_seq, uint64_t events_total, uint64_t unmatched_total)
{
    (void)revision, (void)events_total, (void)unmatched_total;
    *(uint64_t *)ctx = next_seq;
}

static uint64_t next_seq_of(struct store *store)
{
    uint64_t next_seq = 0;
    struct store_recovery recovery = { .ctx = &next_seq, .on_totals = on_totals };

    return store_recover(store, &recovery, NULL) == SLUICE_OK ? next_seq : 0;
}

/* Commits until it is killed: a record of new events, everything of the record before it settled, one failure parked, the
 * record before that trimmed. Writes the next sequence into the pipe when, and only when, its commit was said to be durable. */
static void child_run(const char *dir, int acks)
{
    struct store *store = fixture_open(dir);
    struct commit *commit = commit_new();
    uint64_t seq = next_seq_of(store);
    uint64_t parked = (seq - 1) / EVENTS;

    for (;; seq += EVENTS, parked++) {
        fixture_add_function(commit, 1, "one");
        fixture_add_events(commit, (struct fixture_events){ .first_seq = seq, .count = EVENTS, .function = 1, .bytes = 3000 });
        if (seq > EVENTS) {
            struct exception row = fixture_exception(commit->arena, 1, (struct delivery){ seq - 1, 0 }, 1);
            VEC_PUSH(&commit->exceptions, (struct commit_exception){ .row = row });
            VEC_PUSH(&commit->trims, seq - EVENTS);
        }
        fixture_add_queue(commit, (struct queue_state){
                                      .function = 1,
                                      .highest = { seq - 1, 0 },
                                      .counters = { [QUEUE_ACCEPTED] = seq - 1 + EVENTS, [QUEUE_SUCCEEDED] = seq - 1 - parked,
                                                    [QUEUE_EXCEPTIONS] = parked },
                                  });
        if (fixture_commit(store, commit, NULL) != COMMIT_DURABLE)
            _exit(1);
        commit_reset(commit);
        uint64_t next = seq + EVENTS;
        if (write(acks, &next, sizeof next) != sizeof next)
            _exit(1);
    }
}

static void on_row(void *ctx, const struct balance_row *row)
{
    *(bool *)ctx = row->holds;
    if (!row->holds)
        test_fail(__FILE__, __LINE__, "accepted %llu succeeded %llu pending %llu", (unsigned long long)row->accepted,
                  (unsigned long long)row->succeeded, (unsigned long long)row->pending);
}

TEST(what_was_called_durable_survives_kill_9)
{
    char dir[128], label[32];

    (void)snprintf(dir, sizeof dir, "%s", fixture_directory());
    srandom((unsigned)getpid());
    for (unsigned round = 0; round < ROUNDS; round++) {
        int acks[2];
        uint64_t next = 0, acked = 0;
        (void)snprintf(label, sizeof label, "round %u", round);
        test_label(label);
        EXPECT_EQ(0, pipe(acks));
        (void)fflush(NULL);
        pid_t child = fork();
        if (child == 0) {
            (void)close(acks[0]);
            child_run(dir, acks[1]);
        }
        (void)close(acks[1]);
        for (long wanted = 1 + random() % 60; wanted > 0 && read(acks[0], &next, sizeof next) == sizeof next; wanted--)
            acked = next;
        /* Somewhere within the next commits. */
        (void)nanosleep(&(struct timespec){ .tv_nsec = random() % 3000000 }, NULL);
        EXPECT_EQ(0, kill(child, SIGKILL));
        EXPECT_EQ(child, waitpid(child, NULL, 0));
        while (read(acks[0], &next, sizeof next) == sizeof next)
            acked = next;
        (void)close(acks[0]);

        struct store *store = fixture_open(dir);
        struct stored_event event;
        bool holds = false;
        uint64_t found = next_seq_of(store);
        EXPECT(acked > EVENTS);
        EXPECT(found >= acked);
        EXPECT(found <= acked + EVENTS); /* at most the one that was under way */
        store_read_begin(store);
        for (uint64_t seq = found - EVENTS; seq < found; seq++)
            EXPECT_EQ(SLUICE_OK, store_event(store, seq, &event));
        EXPECT_EQ(SLUICE_ENOTFOUND, store_event(store, found, &event));
        store_read_end(store);
        EXPECT_EQ(SLUICE_OK, store_balance(store, on_row, &holds, NULL));
        EXPECT(holds);
        store_close(store);
    }
}
