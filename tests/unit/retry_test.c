#include "broker/core/retry.h"
#include "tests/test.h"

TEST(delays_double_from_the_least_to_the_most_with_jitter_below)
{
    static const struct { const char *label; unsigned failed; int64_t min, max, from, to; } cases[] = {
        { "first", 1, 1000, 60000, 500, 1000 },
        { "second", 2, 1000, 60000, 1000, 2000 },
        { "sixth", 6, 1000, 60000, 16000, 32000 },
        { "at the most", 7, 1000, 60000, 30000, 60000 },
        { "long after", 1000, 1000, 60000, 30000, 60000 },
        { "least is most", 3, 500, 500, 250, 500 },
        { "least above most", 1, 5000, 500, 250, 500 },
        { "none", 5, 0, 0, 0, 0 },
        { "one", 1, 1, 1, 1, 1 },
        { "a day, many times", 1000, 86400000, 86400000, 43200000, 86400000 },
    };
    struct chance chance = { 1 };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t least = INT64_MAX, most = -1;
        test_label(cases[i].label);
        for (int n = 0; n < 1000; n++) {
            int64_t delay = retry_delay_ms(cases[i].failed, cases[i].min, cases[i].max, &chance);
            least = delay < least ? delay : least;
            most = delay > most ? delay : most;
        }
        EXPECT(least >= cases[i].from);
        EXPECT(most <= cases[i].to);
        EXPECT(least <= cases[i].from + (cases[i].to - cases[i].from) / 10); /* the whole range is used */
        EXPECT(most >= cases[i].to - (cases[i].to - cases[i].from) / 10);
    }
    test_label(NULL);
}

TEST(the_same_seed_gives_the_same_delays)
{
    struct chance a = { 42 }, b = { 42 };
    for (unsigned failed = 1; failed < 20; failed++)
        EXPECT_EQ(retry_delay_ms(failed, 1000, 60000, &a), retry_delay_ms(failed, 1000, 60000, &b));
}
