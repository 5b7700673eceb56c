#include "broker/core/autoscale.h"
#include "tests/test.h"

TEST(the_target_is_the_least_that_keeps_up_and_drains_within_bounds)
{
    static const struct { const char *label; struct autoscale_input in; unsigned instances; enum autoscale_bound bound; } cases[] = {
        { "nothing to do", { .parallel = 1, .max = 10, .cores = 2, .machine_max = 100 }, 0, BOUND_NONE },
        { "nothing to do, a least number", { .parallel = 1, .min = 2, .max = 10, .cores = 2, .machine_max = 100 }, 2, BOUND_MIN },
        { "from zero", { .ready = 1, .parallel = 1, .max = 10, .cores = 2, .machine_max = 100 }, 1, BOUND_NONE },
        { "service time not known: two a core", { .ready = 100, .parallel = 1, .max = 50, .cores = 2, .machine_max = 100 }, 4, BOUND_FIRST },
        { "backlog: 100 of 50 ms in 1 s", { .ready = 100, .service_s = 0.05, .parallel = 1, .max = 50, .drain_target_ms = 1000, .cores = 2,
          .machine_max = 100 }, 5, BOUND_NONE },
        { "arrivals: 100/s of 50 ms and as many in hand", { .in_flight = 9, .arrivals_per_s = 100, .service_s = 0.05, .parallel = 1, .max = 50,
          .drain_target_ms = 1000, .cores = 2, .machine_max = 100 }, 5, BOUND_NONE },
        { "parallel places divide", { .ready = 100, .service_s = 0.05, .parallel = 5, .max = 50, .drain_target_ms = 1000, .cores = 2,
          .machine_max = 100 }, 1, BOUND_NONE },
        { "no more than have something to do", { .ready = 2, .service_s = 60, .parallel = 1, .max = 50, .drain_target_ms = 1000, .cores = 2,
          .machine_max = 100 }, 2, BOUND_NONE },
        { "never zero while something is open", { .ready = 1, .service_s = 1e-6, .parallel = 1, .max = 50, .drain_target_ms = 86400000, .cores = 2,
          .machine_max = 100 }, 1, BOUND_NONE },
        { "max", { .ready = 1000, .service_s = 1, .parallel = 1, .max = 7, .drain_target_ms = 1000, .cores = 2, .machine_max = 100 }, 7, BOUND_MAX },
        { "paused", { .ready = 1000, .parallel = 1, .max = 0, .cores = 2, .machine_max = 100 }, 0, BOUND_MAX },
        { "memory", { .ready = 1000, .service_s = 1, .parallel = 1, .max = 70, .drain_target_ms = 1000, .cores = 2, .machine_max = 3 }, 3,
          BOUND_MACHINE },
        { "cores all busy", { .ready = 1000, .service_s = 1, .cpu_share = 1, .parallel = 1, .max = 70, .drain_target_ms = 1000, .cores = 2,
          .machine_max = 100 }, 2, BOUND_CORES },
        { "waiting, not computing", { .ready = 1000, .service_s = 1, .cpu_share = 0.01, .parallel = 1, .max = 70, .drain_target_ms = 1000,
          .cores = 2, .machine_max = 100 }, 70, BOUND_MAX },
        { "a least number beats the cores", { .ready = 10, .service_s = 1, .cpu_share = 2, .parallel = 1, .min = 4, .max = 70,
          .drain_target_ms = 1000, .cores = 2, .machine_max = 100 }, 4, BOUND_MIN },
        { "no drain target", { .ready = 3, .service_s = 0.001, .parallel = 1, .max = 70, .drain_target_ms = 0, .cores = 2, .machine_max = 100 }, 3,
          BOUND_NONE },
        { "a backlog beyond all numbers", { .ready = UINT64_MAX / 2, .service_s = 3600, .parallel = 1, .max = 10000, .drain_target_ms = 1,
          .cores = 2, .machine_max = UINT64_MAX }, 10000, BOUND_MAX },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        test_label(cases[i].label);
        struct autoscale_target target = autoscale(&cases[i].in);
        EXPECT_EQ(cases[i].instances, target.instances);
        EXPECT_EQ(cases[i].bound, target.bound);
    }
    test_label(NULL);
}

TEST(a_rate_forgets)
{
    struct rate rate = { 0 };
    for (int64_t ms = 0; ms < 20000; ms++)
        rate_add(&rate, 1, ms * 1000);
    double steady = rate_now(&rate, 20000 * 1000);
    EXPECT(steady > 990 && steady < 1010);
    double later = rate_now(&rate, 22000 * 1000); /* one time constant */
    EXPECT(later > steady * 0.35 && later < steady * 0.39);
    EXPECT(rate_now(&rate, 120LL * 1000 * 1000) < 0.001);
    EXPECT_EQ((int)rate_now(&rate, 19999 * 1000), (int)rate_now(&rate, 0)); /* a time before the last: as it was then */
}

TEST(a_mean_takes_its_first_sample_whole_and_then_an_eighth)
{
    double mean = mean_add(0, 8);
    EXPECT_EQ(8, (int)mean);
    EXPECT_EQ(9, (int)mean_add(mean, 16));
}
