/* Runs of deliveries against the plain list of deliveries they stand for. */
#include "broker/core/retry.h"
#include "broker/core/runs.h"
#include "tests/test.h"

static void expect_first(const struct runs *runs, uint64_t seq, uint32_t ordinal)
{
    struct delivery first = { 0 };
    EXPECT(runs_first(runs, &first));
    EXPECT_EQ(seq, first.seq);
    EXPECT_EQ(ordinal, first.ordinal);
}

TEST(two_targets_of_one_function_pop_in_order_of_deliveries)
{
    struct runs runs = { 0 };
    runs_push(&runs, (struct run){ .seq = 1, .len = 3, .ordinal = 0 });
    runs_push(&runs, (struct run){ .seq = 1, .len = 3, .ordinal = 4 });
    for (uint64_t seq = 1; seq <= 3; seq++) {
        expect_first(&runs, seq, 0);
        runs_pop(&runs);
        expect_first(&runs, seq, 4);
        runs_pop(&runs);
    }
    EXPECT(runs_empty(&runs));
    EXPECT_EQ(0, runs.deliveries);
    runs_done(&runs);
}

TEST(a_returned_delivery_joins_the_run_it_touches)
{
    static const struct { const char *label; struct delivery back; size_t runs; struct delivery first; } cases[] = {
        { "behind a run", { 13, 0 }, 1, { 10, 0 } },
        { "before a run", { 9, 0 }, 1, { 9, 0 } },
        { "apart, in front", { 5, 0 }, 2, { 5, 0 } },
        { "apart, behind", { 20, 0 }, 2, { 10, 0 } },
        { "of another ordinal", { 13, 1 }, 2, { 10, 0 } },
        { "of another ordinal, same sequence", { 10, 1 }, 2, { 10, 0 } },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct runs runs = { 0 };
        test_label(cases[i].label);
        runs_push(&runs, (struct run){ .seq = 10, .len = 3, .ordinal = 0 });
        runs_insert(&runs, cases[i].back);
        EXPECT_EQ(4, runs.deliveries);
        EXPECT_EQ(cases[i].runs, runs.count - runs.head);
        expect_first(&runs, cases[i].first.seq, cases[i].first.ordinal);
        runs_done(&runs);
    }
    test_label(NULL);
}

/* Takes and returns at random, beside a bitmap: always the lowest, never one twice, none lost. */
TEST(taken_and_returned_at_random_the_lowest_always_comes_first)
{
    enum { SEQS = 64, ORDINALS = 3 };
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct chance chance = { seed };
        struct runs runs = { 0 };
        bool in[SEQS * ORDINALS] = { 0 };
        uint64_t count = 0;
        for (uint32_t ordinal = 0; ordinal < ORDINALS; ordinal++)
            runs_push(&runs, (struct run){ .seq = 1, .len = SEQS - 1, .ordinal = ordinal });
        for (size_t i = ORDINALS; i < SEQS * ORDINALS; i++, count++)
            in[i] = true;
        for (int step = 0; step < 300; step++) {
            size_t at = chance_next(&chance) % (SEQS * ORDINALS), lowest = 0;
            if (at >= ORDINALS && !in[at] && chance_next(&chance) % 2 == 0) {
                runs_insert(&runs, (struct delivery){ .seq = at / ORDINALS, .ordinal = (uint32_t)(at % ORDINALS) });
                in[at] = true;
                count++;
            } else if (count > 0) {
                while (!in[lowest])
                    lowest++;
                expect_first(&runs, lowest / ORDINALS, (uint32_t)(lowest % ORDINALS));
                runs_pop(&runs);
                in[lowest] = false;
                count--;
            }
            EXPECT_EQ(count, runs.deliveries);
        }
        runs_done(&runs);
    }
}

TEST(a_run_is_cut_at_the_highest_settled_delivery)
{
    static const struct { const char *label; struct run run; struct delivery highest; uint64_t below, above, above_seq; } cases[] = {
        { "wholly above", { 10, 5, 0 }, { 9, 0 }, 0, 5, 10 },
        { "its first is the highest", { 10, 5, 0 }, { 10, 0 }, 0, 4, 11 },
        { "its last is the highest", { 10, 5, 0 }, { 14, 0 }, 4, 0, 0 },
        { "wholly below", { 10, 5, 0 }, { 15, 0 }, 5, 0, 0 },
        { "lower ordinal in the middle", { 10, 5, 0 }, { 12, 1 }, 3, 2, 13 },
        { "higher ordinal in the middle", { 10, 5, 2 }, { 12, 1 }, 2, 3, 12 },
        { "none settled yet", { 1, 5, 0 }, { 0, 0 }, 0, 5, 1 },
        { "lower ordinal at its end", { 10, 5, 0 }, { 14, 1 }, 5, 0, 0 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct run_builder below = { 0 };
        struct run above = { 0 };
        test_label(cases[i].label);
        run_builder_add_below(&below, cases[i].run, cases[i].highest);
        EXPECT_EQ(cases[i].below, below.deliveries);
        EXPECT_EQ(cases[i].above > 0, run_above(cases[i].run, cases[i].highest, &above));
        EXPECT_EQ(cases[i].above, above.len);
        if (cases[i].above > 0)
            EXPECT_EQ(cases[i].above_seq, above.seq);
        VEC_DONE(&below.runs);
    }
    test_label(NULL);
}

TEST(interleaved_targets_build_one_run_each)
{
    struct run_builder builder = { 0 };
    for (uint64_t seq = 1; seq <= 100; seq++) {
        for (uint32_t ordinal = 0; ordinal < 8; ordinal++)
            run_builder_add(&builder, (struct delivery){ .seq = seq, .ordinal = ordinal });
    }
    EXPECT_EQ(8, builder.runs.count);
    EXPECT_EQ(800, builder.deliveries);
    VEC_DONE(&builder.runs);
}
