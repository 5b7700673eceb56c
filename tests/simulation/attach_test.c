/* Consumers that attach, one turn at a time: what they are given, when ours are started beside them, and how they end. */
#include "tests/simulation/bench.h"

static const char *const command[] = { "/bin/true", NULL }, *const nothing[] = { NULL };

static void bench_open_native(struct bench *bench, const char *const *program)
{
    bench_open(bench, 2);
    bench->function.protocol = PROTOCOL_NATIVE;
    bench->function.command = program;
    bench->function.concurrency = 2;
    bench->function.backoff_min_ms = bench->function.backoff_max_ms = 5000;
    bench_configure(bench, true);
}

static enum sluice_err attach(struct bench *bench, const char *name, unsigned concurrency, uint64_t *ret_instance)
{
    struct attached attached = { 0 };
    struct sluice_error error;
    enum sluice_err err =
        engine_attach(bench->engine, &(struct attach){ .function = view_of(name), .concurrency = concurrency }, bench->now, &attached, &error);
    *ret_instance = attached.instance;
    return err;
}

static void consumer_wants(struct bench *bench, uint64_t instance)
{
    EXPECT_EQ(SLUICE_OK, engine_instance_wants(bench->engine, instance, 10, bench->now));
    advance_ms(bench, 0);
}

TEST(a_function_without_command_starts_nothing_and_is_served_by_who_attaches)
{
    struct bench bench;
    uint64_t instance;
    struct function_info info;
    bench_open_native(&bench, nothing);
    publish_one(&bench, 0, 0);
    commit_all(&bench);
    EXPECT_EQ(0, bench.starts);
    EXPECT_EQ(SLUICE_OK, attach(&bench, "f", 0, &instance));
    EXPECT_EQ(0, bench.delivers);
    consumer_wants(&bench, instance);
    EXPECT_EQ(1, bench.delivers);
    EXPECT_EQ(instance, bench.instance);
    advance_ms(&bench, 20);
    EXPECT_EQ(SLUICE_OK, engine_result_batch(bench.engine, instance, bench.lease, NULL, 0, bench.now));
    EXPECT_EQ(1, engine_function_ran(bench.engine, 1)->attempts.count);
    EXPECT_EQ(20, engine_function_ran(bench.engine, 1)->attempts.sum_s * 1000 + 0.5);
    commit_all(&bench);
    advance_ms(&bench, 100000); /* it is never stopped for want of work, or taken for one that hangs at its start */
    EXPECT_EQ(0, bench.stops);
    engine_function_info(bench.engine, 1, bench.now, &info);
    EXPECT_EQ(1, info.attached);
    EXPECT_EQ(1, info.instances[INSTANCE_READY]);
    EXPECT_EQ(1, info.counters[QUEUE_SUCCEEDED]);
    EXPECT_EQ(0, bench.starts);
    bench_close(&bench);
}

TEST(ours_are_started_only_for_what_consumers_have_no_place_for)
{
    struct bench bench;
    uint64_t instance, idle;
    bench_open_native(&bench, command);
    EXPECT_EQ(SLUICE_OK, attach(&bench, "f", 2, &instance));
    EXPECT_EQ(SLUICE_OK, attach(&bench, "f", 100, &idle)); /* has nothing to offer, whatever it says */
    consumer_wants(&bench, instance);
    consumer_wants(&bench, instance);
    EXPECT_EQ(SLUICE_ELIMIT, engine_instance_wants(bench.engine, instance, 10, bench.now));
    for (unsigned i = 0; i < 2; i++) {
        publish_one(&bench, 0, 0);
        commit_all(&bench);
    }
    EXPECT_EQ(2, bench.delivers);
    EXPECT_EQ(0, bench.starts);
    EXPECT_EQ(SLUICE_ELIMIT, engine_instance_wants(bench.engine, instance, 10, bench.now)); /* leases are places too */
    publish_one(&bench, 0, 0);
    commit_all(&bench);
    EXPECT_EQ(1, bench.starts);
    bench_close(&bench);
}

TEST(what_reached_a_lost_consumer_is_tried_again_at_once_and_what_did_not_is_untouched)
{
    struct bench bench;
    uint64_t instance, other;
    struct function_info info;
    bench_open_native(&bench, nothing);
    EXPECT_EQ(SLUICE_OK, attach(&bench, "f", 0, &instance));
    consumer_wants(&bench, instance);
    consumer_wants(&bench, instance);
    publish_one(&bench, 0, 0);
    commit_all(&bench);
    uint64_t first = bench.lease;
    publish_one(&bench, 0, 0);
    commit_all(&bench);
    EXPECT_EQ(2, bench.delivers);
    EXPECT_EQ(SLUICE_OK, attach(&bench, "f", 0, &other));
    consumer_wants(&bench, other);
    consumer_wants(&bench, other);
    engine_attached_lost(bench.engine, instance, first, bench.now);
    advance_ms(&bench, 0);
    EXPECT_EQ(3, bench.delivers); /* the second; the first needs a commit */
    commit_all(&bench);
    EXPECT_EQ(4, bench.delivers);
    engine_function_info(bench.engine, 1, bench.now, &info);
    EXPECT_EQ(1, info.counters[QUEUE_ATTEMPTS_FAILED]);
    EXPECT_EQ(1, engine_function_ran(bench.engine, 1)->attempts.count);
    EXPECT_EQ(1, engine_function_ran(bench.engine, 1)->attempts_failed);
    EXPECT_EQ(1, info.attached);
    EXPECT_EQ(SLUICE_ESTALE, engine_result_batch(bench.engine, instance, first, NULL, 0, bench.now));
    engine_attached_lost(bench.engine, instance, first, bench.now); /* gone is gone */
    engine_attached_lost(bench.engine, other, UINT64_MAX, bench.now);
    commit_all(&bench);
    engine_function_info(bench.engine, 1, bench.now, &info);
    EXPECT_EQ(1, info.counters[QUEUE_DEAD_LETTERED]); /* the first has had its two attempts, the second one of two */
    EXPECT_EQ(1, info.pending);
    bench_close(&bench);
}

TEST(a_consumer_that_leaves_gets_no_more_and_is_told_when_all_is_settled)
{
    struct bench bench;
    uint64_t instance;
    bench_open_native(&bench, nothing);
    EXPECT_EQ(SLUICE_OK, attach(&bench, "f", 0, &instance));
    consumer_wants(&bench, instance);
    publish_one(&bench, 0, 0);
    commit_all(&bench);
    consumer_wants(&bench, instance);
    EXPECT_EQ(SLUICE_OK, engine_instance_leaves(bench.engine, instance, bench.now));
    EXPECT_EQ(SLUICE_OK, engine_instance_leaves(bench.engine, instance, bench.now));
    publish_one(&bench, 0, 0);
    commit_all(&bench);
    EXPECT_EQ(1, bench.delivers);
    EXPECT_EQ(0, bench.stops);
    EXPECT_EQ(SLUICE_EUNAVAILABLE, engine_instance_wants(bench.engine, instance, 10, bench.now));
    EXPECT_EQ(SLUICE_OK, engine_result_batch(bench.engine, instance, bench.lease, NULL, 0, bench.now));
    advance_ms(&bench, 0);
    EXPECT_EQ(1, bench.stops);
    EXPECT(!engine_instance_is_attached(bench.engine, instance));
    EXPECT_EQ(SLUICE_ENOTFOUND, engine_instance_leaves(bench.engine, instance, bench.now));
    commit_all(&bench);
    bench_close(&bench);
}

TEST(a_consumer_that_takes_too_long_is_cut_off_and_a_paused_function_gives_it_nothing)
{
    struct bench bench;
    uint64_t instance;
    struct function_info info;
    bench_open_native(&bench, nothing);
    EXPECT_EQ(SLUICE_OK, attach(&bench, "f", 0, &instance));
    consumer_wants(&bench, instance);
    bench.function.scale_max = 0;
    bench_configure(&bench, true);
    publish_one(&bench, 0, 0);
    commit_all(&bench);
    EXPECT_EQ(0, bench.delivers);
    bench.function.scale_max = 1;
    bench_configure(&bench, true);
    commit_all(&bench);
    advance_ms(&bench, 0);
    EXPECT_EQ(1, bench.delivers);
    advance_ms(&bench, 3000);
    EXPECT_EQ(1, bench.stops);
    engine_function_info(bench.engine, 1, bench.now, &info);
    EXPECT_EQ(1, info.counters[QUEUE_ATTEMPTS_FAILED]);
    EXPECT_EQ(1, info.instances[INSTANCE_DRAINING]);
    engine_attached_lost(bench.engine, instance, UINT64_MAX, bench.now);
    engine_function_info(bench.engine, 1, bench.now, &info);
    EXPECT_EQ(0, info.attached);
    EXPECT_EQ(0, info.crashes);
    commit_all(&bench);
    bench_close(&bench);
}

TEST(who_may_not_attach_is_told_why)
{
    struct bench bench;
    uint64_t instance;
    bench_open(&bench, 1);
    EXPECT_EQ(SLUICE_EINVAL, attach(&bench, "f", 0, &instance)); /* stdio */
    EXPECT_EQ(SLUICE_ENOTFOUND, attach(&bench, "g", 0, &instance));
    EXPECT_EQ(SLUICE_ENOTFOUND, attach(&bench, "", 0, &instance));
    bench_close(&bench);
    bench_open_native(&bench, nothing);
    for (unsigned i = 0; i < CONFIG_ATTACHED_MAX; i++)
        EXPECT_EQ(SLUICE_OK, attach(&bench, "f", 0, &instance));
    EXPECT_EQ(SLUICE_ELIMIT, attach(&bench, "f", 0, &instance));
    bench_configure(&bench, false);
    EXPECT_EQ(CONFIG_ATTACHED_MAX, bench.stops);
    EXPECT_EQ(SLUICE_ENOTFOUND, attach(&bench, "f", 0, &instance));
    bench_configure(&bench, true);
    EXPECT_EQ(SLUICE_OK, attach(&bench, "f", 0, &instance));
    engine_drain(bench.engine, bench.now);
    EXPECT(engine_drained(bench.engine));
    EXPECT_EQ(SLUICE_EUNAVAILABLE, attach(&bench, "f", 0, &instance));
    commit_all(&bench);
    bench_close(&bench);
}
