/* The engine's rarer turns, one by one. */
#include "broker/core/producers.h"
#include "tests/simulation/bench.h"

TEST(the_first_instance_starts_in_the_turn_of_the_commit)
{
    struct bench bench;
    bench_open(&bench, 1);
    publish_one(&bench, 0, 0);
    engine_tick(bench.engine, bench.now);
    EXPECT_EQ(0, bench.starts);
    struct commit *commit = seal_and_apply(&bench);
    engine_tick(bench.engine, bench.now);
    EXPECT_EQ(0, bench.starts);
    EXPECT_EQ(0, bench.answers);
    returned(&bench, commit);
    EXPECT_EQ(1, bench.answers);
    EXPECT_EQ(1, bench.starts);
    EXPECT_EQ(1, bench.delivers);
    bench_close(&bench);
}

/* A resident filter that hangs on its first line: nothing else happens that could remind the engine of the time. */
TEST(what_a_resident_instance_was_just_given_times_out_by_itself)
{
    struct bench bench;
    struct function_info info;
    bench_open(&bench, 1);
    bench.function.protocol = PROTOCOL_STDIO_LINES;
    bench_configure(&bench, true);
    publish_one(&bench, 0, 0);
    commit_all(&bench);
    engine_instance_started(bench.engine, bench.instance, 1, bench.now);
    engine_tick(bench.engine, bench.now);
    model_store_turn_end(bench.store);
    EXPECT_EQ(1, bench.delivers);
    int64_t deadline_us = bench.now.mono.us + 3000 * 1000;
    advance_ms(&bench, 1000); /* the look for records to trim, a second after the commit */
    EXPECT_EQ(deadline_us, engine_wake_us(bench.engine));
    advance_ms(&bench, 2000);
    commit_all(&bench);
    EXPECT_EQ(1, bench.stops);
    engine_function_info(bench.engine, 1, bench.now, &info);
    EXPECT_EQ(1, info.counters[QUEUE_DEAD_LETTERED]);
    bench_close(&bench);
}

/* The store shows the dead letter before the engine has been told; what is done with it then must not be forgotten when it is told. */
TEST(a_dead_letter_whose_commit_has_not_returned_cannot_be_redriven_yet)
{
    struct bench bench;
    bench_open(&bench, 1);
    publish_one(&bench, 0, 0);
    commit_all(&bench);
    fail_last(&bench);
    struct commit *commit = seal_and_apply(&bench);
    EXPECT_EQ(SLUICE_ENOTFOUND, engine_redrive(bench.engine, 1, bench.delivery, bench.now));
    EXPECT_EQ(SLUICE_ENOTFOUND, engine_purge(bench.engine, 1, bench.delivery, bench.now));
    returned(&bench, commit);
    EXPECT_EQ(SLUICE_OK, engine_redrive(bench.engine, 1, bench.delivery, bench.now));
    commit_all(&bench);
    EXPECT_EQ(2, bench.delivers);
    bench_close(&bench);
}

TEST(what_no_template_can_make_an_input_of_is_a_dead_letter_at_once_and_starts_nothing)
{
    static const struct config_target templated = { .function = "f", .input = TARGET_INPUT_TEMPLATE,
                                                    .text = "{\"template\":\"[\\\"<d>\\\"]\",\"paths\":{\"d\":\"$.detail\"}}" };
    struct config_rule with_template = bench_rule;
    struct bench bench;
    struct function_info info;
    bench_open(&bench, 3);
    with_template.targets = &templated;
    bench.config.rules = &with_template;
    bench_take_config(&bench);
    for (unsigned round = 0; round < 2; round++) {
        publish_one(&bench, 0, 0);
        commit_all(&bench);
        engine_function_info(bench.engine, 1, bench.now, &info);
        EXPECT_EQ(round + 1, info.counters[QUEUE_DEAD_LETTERED]);
        EXPECT_EQ(0, info.counters[QUEUE_ATTEMPTS_FAILED]);
        EXPECT_EQ(0, info.pending);
        EXPECT_EQ(0, bench.starts);
    }
    bench_close(&bench);
}

/* Ten thousand small events, each with a constant input of a quarter of a megabyte, would be a lease of gigabytes. */
TEST(a_lease_is_bounded_by_what_is_handed_over_with_its_constant_inputs_and_heads)
{
    static char input[200000];
    struct config_target constant = { .function = "f", .input = TARGET_INPUT_CONSTANT, .text = input };
    struct config_rule with_constant = bench_rule;
    struct bench bench;

    memset(input, '1', sizeof input - 1);
    bench_open(&bench, 1);
    bench.function.batch_size = 1000;
    with_constant.targets = &constant;
    bench.config.rules = &with_constant;
    bench_take_config(&bench);
    for (unsigned i = 0; i < 100; i++)
        publish_one(&bench, 0, 0);
    commit_all(&bench);
    EXPECT_EQ(LEASE_BYTES_MAX / (sizeof input - 1 + LEASE_HEAD_BYTES), bench.handed);
    bench_close(&bench);
}

TEST(what_a_removed_function_has_waiting_for_a_retry_is_given_up_at_its_max_age)
{
    struct bench bench;
    struct function_info info;
    bench_open(&bench, 3);
    publish_one(&bench, 0, 0);
    commit_all(&bench);
    fail_last(&bench);
    bench_configure(&bench, false);
    commit_all(&bench);
    advance_ms(&bench, 9000);
    engine_function_info(bench.engine, 1, bench.now, &info);
    EXPECT_EQ(1, info.pending);
    EXPECT(engine_wake_us(bench.engine) < MONO_NEVER);
    advance_ms(&bench, 2000);
    commit_all(&bench);
    engine_function_info(bench.engine, 1, bench.now, &info);
    EXPECT_EQ(0, info.pending);
    EXPECT_EQ(1, info.counters[QUEUE_DEAD_LETTERED]);
    EXPECT(model_store_balance(bench.store, 1).holds);
    bench_close(&bench);
}

TEST(a_producer_that_comes_back_in_the_commit_that_forgets_it_is_kept)
{
    struct bench bench;
    bench_open(&bench, 1);
    publish_one(&bench, 1, 1);
    publish_one(&bench, 2, 1);
    commit_all(&bench);
    EXPECT_EQ(2, bench.store->producers.count);
    advance_ms(&bench, PRODUCER_KEEP_MS);
    publish_one(&bench, 3, 1); /* forgets both */
    publish_one(&bench, 1, 1);
    commit_all(&bench);
    EXPECT_EQ(2, bench.store->producers.count); /* 1 and 3 */
    bench_close(&bench);
}

TEST(a_native_program_that_never_asks_for_work_is_stopped_and_counts_as_a_failed_start)
{
    struct bench bench;
    struct function_info info;
    bench_open(&bench, 1);
    bench.function.protocol = PROTOCOL_NATIVE;
    bench_configure(&bench, true);
    publish_one(&bench, 0, 0);
    commit_all(&bench);
    EXPECT_EQ(1, bench.starts);
    uint64_t first = bench.instance;
    advance_ms(&bench, 9999);
    EXPECT_EQ(0, bench.stops);
    EXPECT(engine_wake_us(bench.engine) <= bench.now.mono.us + 1000);
    advance_ms(&bench, 1);
    EXPECT_EQ(1, bench.stops);
    publish_one(&bench, 0, 0); /* another turn before its end is told: it must not be stopped twice, and then taken for an orderly end */
    commit_all(&bench);
    EXPECT_EQ(1, bench.stops);
    engine_instance_gone(bench.engine, first,
                         &(struct instance_gone){ .reason = VIEW_LITERAL("signal: killed"), .output = VIEW_LITERAL("") }, bench.now);
    engine_function_info(bench.engine, 1, bench.now, &info);
    EXPECT_EQ(1, info.crashes);
    bench_close(&bench);
}

TEST(a_native_instance_that_asks_for_nothing_more_is_stopped_when_idle)
{
    struct bench bench;
    bench_open(&bench, 1);
    bench.function.protocol = PROTOCOL_NATIVE;
    bench_configure(&bench, true);
    publish_one(&bench, 0, 0);
    commit_all(&bench);
    EXPECT_EQ(SLUICE_OK, engine_instance_wants(bench.engine, bench.instance, 10, bench.now));
    advance_ms(&bench, 1);
    EXPECT_EQ(1, bench.delivers);
    EXPECT_EQ(SLUICE_OK, engine_result_batch(bench.engine, bench.instance, bench.lease, NULL, 0, bench.now));
    advance_ms(&bench, 999);
    EXPECT_EQ(0, bench.stops);
    advance_ms(&bench, 1);
    EXPECT_EQ(1, bench.stops);
    bench_close(&bench);
}

TEST(what_no_rule_matched_is_trimmed_though_nothing_else_happens)
{
    struct bench bench;
    bench_open(&bench, 1);
    bench_configure(&bench, false);
    publish_one(&bench, 0, 0);
    commit_all(&bench);
    EXPECT_EQ(1, bench.store->log.count);
    EXPECT(engine_wake_us(bench.engine) <= bench.now.mono.us + 1000000);
    advance_ms(&bench, 1000);
    commit_all(&bench);
    EXPECT_EQ(0, bench.store->log.count);
    advance_ms(&bench, 1000); /* one more look, which finds nothing and asks for no other */
    EXPECT(!engine_has_commit(bench.engine));
    EXPECT(engine_wake_us(bench.engine) == MONO_NEVER);
    bench_close(&bench);
}

/* The place in the histogram of what took so long, and how many are there. */
static void expect_took(const struct histogram *histogram, double seconds, uint64_t count)
{
    unsigned i = 0;

    while (histogram_bound_s(i) < seconds)
        i++;
    EXPECT_EQ(count, histogram->buckets[i]);
}

TEST(an_attempt_takes_from_its_handing_over_to_its_result_each_of_a_batch_the_same)
{
    struct bench bench;
    static const struct item_failure second = { .index = 1, .failure = { .type = VIEW_LITERAL("No"), .message = VIEW_LITERAL("no"), .output = VIEW_LITERAL("") } };
    bench_open(&bench, 3);
    bench.function.protocol = PROTOCOL_NATIVE;
    bench.function.batch_size = 3;
    bench.function.batch_partial_failures = true;
    bench.function.backoff_min_ms = bench.function.backoff_max_ms = 100;
    bench_configure(&bench, true);
    for (int i = 0; i < 3; i++)
        publish_one(&bench, 0, 0);
    commit_all(&bench);
    EXPECT_EQ(NULL, (void *)engine_function_ran(bench.engine, 1));
    EXPECT_EQ(SLUICE_OK, engine_instance_wants(bench.engine, bench.instance, 3, bench.now));
    tick(&bench);
    EXPECT_EQ(3, bench.handed);
    advance_ms(&bench, 40);
    EXPECT_EQ(SLUICE_OK, engine_result_batch(bench.engine, bench.instance, bench.lease, &second, 1, bench.now));
    commit_all(&bench);
    const struct function_ran *ran = engine_function_ran(bench.engine, 1);
    EXPECT_EQ(3, ran->attempts.count);
    EXPECT_EQ(1, ran->attempts_failed);
    expect_took(&ran->attempts, 0.040, 3);
    EXPECT_EQ(120, ran->attempts.sum_s * 1000 + 0.5); /* rounded to ms */
    /* The one that failed again, until its time is over. */
    advance_ms(&bench, 101);
    wants(&bench);
    EXPECT_EQ(1, bench.handed);
    advance_ms(&bench, 3000);
    EXPECT_EQ(1, bench.timed_out);
    EXPECT_EQ(4, ran->attempts.count);
    EXPECT_EQ(2, ran->attempts_failed);
    expect_took(&ran->attempts, 3, 1);
    EXPECT_EQ(ran->attempts.count, info_of(&bench).counters[QUEUE_SUCCEEDED] + info_of(&bench).counters[QUEUE_ATTEMPTS_FAILED]);
    EXPECT_EQ(0, ran->invokes.count);
    bench_close(&bench);
}

TEST(what_goes_back_unread_was_no_attempt_and_a_line_takes_from_its_turn_in_the_pipe)
{
    struct bench bench;
    bench_open(&bench, 3);
    bench.function.protocol = PROTOCOL_STDIO_LINES;
    bench.function.concurrency = 2;
    bench.function.scale_max = 1;
    bench_configure(&bench, true);
    publish_one(&bench, 0, 0);
    commit_all(&bench);
    engine_instance_gone(bench.engine, bench.instance, &(struct instance_gone){ .reason = VIEW_LITERAL("gone"), .output = VIEW_LITERAL(""),
                                                                                .input_unread = true }, bench.now);
    tick(&bench);
    EXPECT_EQ(NULL, (void *)engine_function_ran(bench.engine, 1));
    advance_ms(&bench, 1000);
    engine_instance_started(bench.engine, bench.instance, 1, bench.now);
    tick(&bench);
    uint64_t first = bench.lease;
    publish_one(&bench, 0, 0);
    commit_all(&bench);
    EXPECT(bench.lease != first);
    advance_ms(&bench, 40);
    EXPECT_EQ(SLUICE_OK, engine_result(bench.engine, bench.instance, first, 0, 1, NULL, (struct view){ 0 }, bench.now));
    advance_ms(&bench, 4);
    answers(&bench);
    const struct function_ran *ran = engine_function_ran(bench.engine, 1);
    EXPECT_EQ(2, ran->attempts.count);
    EXPECT_EQ(0, ran->attempts_failed);
    expect_took(&ran->attempts, 0.040, 1);
    expect_took(&ran->attempts, 0.004, 1);
    bench_close(&bench);
}
