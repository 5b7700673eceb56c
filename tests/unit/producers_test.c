#include "broker/core/producers.h"
#include "tests/test.h"

static const uint8_t somebody[16] = { 1 }, other[16] = { 2 };

static struct producer_row apply(struct producers *producers, const uint8_t id[16], uint64_t epoch, uint64_t sequence, int64_t wall_ms)
{
    struct commit *gone = commit_new();
    struct producer_row row = producers_apply(producers, id, epoch, sequence, wall_ms, gone);
    commit_free(gone);
    return row;
}

TEST(a_batch_is_judged_by_what_was_applied_before)
{
    static const struct { const char *label; uint64_t epoch, sequence, lowest; enum producer_verdict verdict; } cases[] = {
        /* applied in epoch 5: 1 to 10, and 12 */
        { "the next", 5, 13, 13, PRODUCER_APPLY },
        { "repeated", 5, 10, 10, PRODUCER_DUPLICATE },
        { "the first again", 5, 1, 1, PRODUCER_DUPLICATE },
        { "fills the hole", 5, 11, 11, PRODUCER_APPLY },
        { "after the hole, which is outstanding", 5, 13, 11, PRODUCER_EARLY },
        { "after the hole, which was given up", 5, 13, 12, PRODUCER_APPLY },
        { "far ahead, its predecessors outstanding", 5, 100, 13, PRODUCER_EARLY },
        { "far ahead, nothing outstanding", 5, 100, 100, PRODUCER_APPLY },
        { "lowest not said", 5, 13, 0, PRODUCER_EARLY },
        { "an older epoch", 4, 1, 1, PRODUCER_STALE },
        { "a newer epoch", 6, 1, 1, PRODUCER_APPLY },
        { "a newer epoch, not its first", 6, 2, 1, PRODUCER_EARLY },
    };
    struct producers *producers = producers_new();
    for (uint64_t sequence = 1; sequence <= 12; sequence++) {
        if (sequence != 11)
            (void)apply(producers, somebody, 5, sequence, 1000);
    }
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        test_label(cases[i].label);
        EXPECT_EQ(cases[i].verdict, producers_judge(producers, somebody, cases[i].epoch, cases[i].sequence, cases[i].lowest));
    }
    test_label(NULL);
    EXPECT_EQ(PRODUCER_APPLY, producers_judge(producers, other, 1, 1, 1));
    producers_free(producers);
}

TEST(the_window_moves_over_word_borders)
{
    static const uint64_t steps[] = { 1, 2, 63, 64, 65, 127, 128, 500, 800 };
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        struct producers *producers = producers_new();
        for (uint64_t sequence = 1; sequence <= 200; sequence++) {
            if (sequence % 7 != 0)
                (void)apply(producers, somebody, 1, sequence, 1000);
        }
        (void)apply(producers, somebody, 1, 200 + steps[i], 1000);
        for (uint64_t sequence = 1; sequence <= 200 + steps[i]; sequence++) {
            bool applied = sequence == 200 + steps[i] || (sequence <= 200 && sequence % 7 != 0);
            EXPECT_EQ(applied ? PRODUCER_DUPLICATE : PRODUCER_APPLY, producers_judge(producers, somebody, 1, sequence, sequence));
        }
        producers_free(producers);
    }
}

TEST(what_fell_out_of_the_window_counts_as_applied)
{
    struct producers *producers = producers_new();
    (void)apply(producers, somebody, 1, 5000, 1000);
    EXPECT_EQ(PRODUCER_DUPLICATE, producers_judge(producers, somebody, 1, 5000 - PRODUCER_WINDOW, 1));
    EXPECT_EQ(PRODUCER_APPLY, producers_judge(producers, somebody, 1, 5001 - PRODUCER_WINDOW, 5001 - PRODUCER_WINDOW));
    producers_free(producers);
}

TEST(an_undone_batch_is_applied_again)
{
    struct producers *producers = producers_new();
    (void)apply(producers, somebody, 1, 1, 1000);
    (void)apply(producers, somebody, 1, 2, 1000);
    producers_undo(producers, somebody, 1, 2);
    EXPECT_EQ(PRODUCER_DUPLICATE, producers_judge(producers, somebody, 1, 1, 1));
    EXPECT_EQ(PRODUCER_APPLY, producers_judge(producers, somebody, 1, 2, 2));
    EXPECT_EQ(PRODUCER_EARLY, producers_judge(producers, somebody, 1, 3, 2));
    producers_undo(producers, other, 1, 2);    /* nobody knows it: nothing happens */
    producers_undo(producers, somebody, 9, 1); /* nor that epoch */
    EXPECT_EQ(PRODUCER_DUPLICATE, producers_judge(producers, somebody, 1, 1, 1));
    producers_free(producers);
}

TEST(a_restored_row_judges_as_the_one_that_was_stored)
{
    struct producers *before = producers_new(), *after = producers_new();
    struct producer_row row = { 0 };
    for (uint64_t sequence = 1; sequence < 2000; sequence += 1 + sequence % 3)
        row = apply(before, somebody, 3, sequence, 1000);
    producers_restore(after, &row);
    for (uint64_t sequence = 1; sequence < 2010; sequence++)
        EXPECT_EQ(producers_judge(before, somebody, 3, sequence, sequence), producers_judge(after, somebody, 3, sequence, sequence));
    producers_free(before);
    producers_free(after);
}

TEST(a_row_goes_a_day_after_its_last_use)
{
    struct producers *producers = producers_new();
    struct commit *gone = commit_new();
    (void)producers_apply(producers, somebody, 1, 1, 0, gone);
    (void)producers_apply(producers, other, 1, 1, PRODUCER_KEEP_MS - 1, gone);
    EXPECT_EQ(0, gone->producers_gone.count);
    EXPECT_EQ(2, producers_count(producers));
    (void)producers_apply(producers, other, 1, 2, PRODUCER_KEEP_MS, gone);
    EXPECT_EQ(1, gone->producers_gone.count);
    EXPECT_EQ(1, gone->producers_gone.items[0].id[0]);
    EXPECT_EQ(1, producers_count(producers));
    commit_free(gone);
    producers_free(producers);
}

TEST(beyond_the_limit_the_longest_unused_goes)
{
    struct producers *producers = producers_new();
    struct commit *gone = commit_new();
    uint8_t id[16] = { 0 };
    for (uint32_t i = 0; i <= PRODUCERS_MAX; i++) {
        memcpy(id, &i, sizeof i);
        (void)producers_apply(producers, id, 1, 1, 1000 + i / 1000, gone);
    }
    EXPECT_EQ(PRODUCERS_MAX, producers_count(producers));
    EXPECT_EQ(1, gone->producers_gone.count);
    uint32_t first = 1;
    memcpy(&first, gone->producers_gone.items[0].id, sizeof first);
    EXPECT_EQ(0, first);
    commit_free(gone);
    producers_free(producers);
}
