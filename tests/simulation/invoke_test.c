/* Synchronous invocations and starts of Lambda functions, turn by turn. */
#include "tests/simulation/bench.h"

static const struct view no_result = { 0 };

static void ended(struct bench *bench, const char *reason)
{
    engine_instance_gone(bench->engine, bench->instance, &(struct instance_gone){ .reason = view_of(reason), .output = VIEW_LITERAL("") },
                         bench->now);
    tick(bench);
}

TEST(a_caller_gets_what_the_function_returned_and_nothing_is_written)
{
    struct bench bench;
    given_protocol(&bench, PROTOCOL_LAMBDA);
    commit_all(&bench);
    EXPECT_EQ(SLUICE_OK, ask(&bench, 7));
    EXPECT_EQ(1, bench.starts);
    engine_instance_started(bench.engine, bench.instance, 99, bench.now);
    tick(&bench);
    EXPECT_EQ(0, bench.invokes);
    advance_ms(&bench, 40);
    wants(&bench);
    EXPECT_EQ(7, bench.invoke);
    EXPECT_EQ(bench.now.wall_ms + 3000, bench.deadline_wall_ms);
    EXPECT_EQ(1, info_of(&bench).invokes_running);
    advance_ms(&bench, 5);
    EXPECT_EQ(SLUICE_OK, engine_result(bench.engine, bench.instance, bench.lease, 0, 1, NULL, VIEW_LITERAL("{\"a\":1}"), bench.now));
    EXPECT_EQ(1, bench.told);
    EXPECT_EQ(7, bench.told_invoke);
    EXPECT_EQ(INVOKE_DONE, bench.outcome);
    EXPECT_TEXT("{\"a\":1}", bench.result);
    EXPECT_EQ(1, info_of(&bench).invokes.done);
    EXPECT_EQ(40000, bench.waited_us);
    EXPECT_EQ(5000, bench.ran_us);
    const struct function_ran *ran = engine_function_ran(bench.engine, 1);
    EXPECT_EQ(1, ran->invokes.count);
    EXPECT_EQ(5, ran->invokes.sum_s * 1000 + 0.5);
    EXPECT_EQ(0, ran->attempts.count);
    EXPECT_EQ(SLUICE_ESTALE, engine_result(bench.engine, bench.instance, bench.lease, 0, 1, NULL, no_result, bench.now));
    tick(&bench);
    EXPECT(!engine_has_commit(bench.engine));
    EXPECT_EQ(0, info_of(&bench).counters[QUEUE_ACCEPTED] + info_of(&bench).counters[QUEUE_SUCCEEDED]);
    bench_close(&bench);
}

TEST(callers_go_before_events_and_in_order)
{
    struct bench bench;
    given_protocol(&bench, PROTOCOL_LAMBDA);
    publish_one(&bench, 0, 0);
    commit_all(&bench);
    EXPECT_EQ(SLUICE_OK, ask(&bench, 1));
    EXPECT_EQ(SLUICE_OK, ask(&bench, 2));
    for (uint64_t invoke = 1; invoke <= 2; invoke++) {
        wants(&bench);
        EXPECT_EQ(invoke, bench.invoke);
        EXPECT_EQ(SLUICE_OK, engine_result(bench.engine, bench.instance, bench.lease, 0, 1, NULL, no_result, bench.now));
    }
    EXPECT_EQ(0, bench.delivers);
    wants(&bench);
    EXPECT_EQ(1, bench.delivers);
    EXPECT_EQ(2, bench.told);
    bench_close(&bench);
}

TEST(each_refusal_says_why)
{
    static const struct {
        const char *label;
        enum function_protocol protocol;
        unsigned max, concurrency, asked; /* asked: callers who wait already */
        bool removed, drained;
        enum sluice_err code;
        const char *text;
    } cases[] = {
        { "paused", PROTOCOL_LAMBDA, 0, 1, 0, false, false, SLUICE_ELIMIT, "function 'f' is paused: its scale.max is 0" },
        { "full", PROTOCOL_LAMBDA, 1, 2, 2, false, false, SLUICE_ELIMIT,
          "function 'f' has all it may: 1 instances (scale.max) of 2 (concurrency); ask again" },
        { "not full yet", PROTOCOL_LAMBDA, 1, 2, 1, false, false, SLUICE_OK, "" },
        { "stdio has one place", PROTOCOL_STDIO, 1, 5, 1, false, false, SLUICE_ELIMIT,
          "function 'f' has all it may: 1 instances (scale.max) of 1 (concurrency); ask again" },
        { "native", PROTOCOL_NATIVE, 1, 1, 0, false, false, SLUICE_EINVAL,
          "function 'f' is native: it returns nothing that a caller could wait for; invoke it asynchronously" },
        { "removed", PROTOCOL_LAMBDA, 1, 1, 0, true, false, SLUICE_ENOTFOUND, "function 'f' is not in the configuration any more" },
        { "stopping", PROTOCOL_LAMBDA, 1, 1, 0, false, true, SLUICE_EUNAVAILABLE, "the daemon is stopping" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bench bench;
        struct sluice_error error = { .text = "" };
        test_label(cases[i].label);
        bench_open(&bench, 1);
        bench.function.protocol = cases[i].protocol;
        bench.function.scale_max = cases[i].max;
        bench.function.concurrency = cases[i].concurrency;
        bench_configure(&bench, true);
        for (unsigned n = 1; n <= cases[i].asked; n++)
            EXPECT_EQ(SLUICE_OK, ask(&bench, n));
        if (cases[i].removed)
            bench_configure(&bench, false);
        if (cases[i].drained)
            engine_drain(bench.engine, bench.now);
        EXPECT_EQ(cases[i].code, engine_invoke(bench.engine, 1, 100, bench.now, &error));
        EXPECT_TEXT(cases[i].text, error.text);
        tick(&bench);
        bench_close(&bench);
    }
}

TEST(a_caller_for_whom_no_place_becomes_free_is_throttled_after_ten_seconds)
{
    struct bench bench;
    given_protocol(&bench, PROTOCOL_LAMBDA);
    bench.function.scale_max = 1;
    bench.function.timeout_ms = 60000;
    bench_configure(&bench, true);
    publish_one(&bench, 0, 0);
    commit_all(&bench);
    wants(&bench);
    EXPECT_EQ(1, bench.delivers);
    EXPECT_EQ(SLUICE_OK, ask(&bench, 1));
    int64_t until_us = bench.now.mono.us + 10000 * 1000;
    advance_ms(&bench, 9999);
    EXPECT_EQ(0, bench.told);
    EXPECT_EQ(until_us, engine_wake_us(bench.engine));
    advance_ms(&bench, 1);
    EXPECT_EQ(1, bench.told);
    EXPECT_EQ(INVOKE_THROTTLED, bench.outcome);
    EXPECT_EQ(10000000, bench.waited_us);
    EXPECT_EQ(1, info_of(&bench).invokes.throttled);
    EXPECT_EQ(0, info_of(&bench).invokes_waiting);
    bench_close(&bench);
}

TEST(an_invocation_ends_with_its_timeout_and_its_process_with_it)
{
    struct bench bench;
    given_protocol(&bench, PROTOCOL_LAMBDA);
    EXPECT_EQ(SLUICE_OK, ask(&bench, 1));
    wants(&bench);
    advance_ms(&bench, 2999);
    EXPECT_EQ(0, bench.told);
    advance_ms(&bench, 1);
    EXPECT_EQ(1, bench.told);
    EXPECT_EQ(INVOKE_FAILED, bench.outcome);
    EXPECT_TEXT("Sandbox.Timedout", bench.type);
    EXPECT_TEXT("Task timed out after 3.00 seconds", bench.message);
    EXPECT_EQ(1, bench.timed_out);
    EXPECT_EQ(1, bench.stops);
    EXPECT_EQ(SLUICE_ESTALE, engine_result(bench.engine, bench.instance, bench.lease, 0, 1, NULL, no_result, bench.now));
    bench_close(&bench);
}

/* One process, two things at once: the one that is in time has its answer, whichever of them it is, and the process ends after it. */
TEST(a_timeout_is_of_one_invocation_and_the_process_ends_after_the_others)
{
    static const struct { const char *label; bool in_time; } cases[] = {
        { "the other one answers", true }, { "the other one times out, too", false },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bench bench;
        uint64_t first, instance;
        test_label(cases[i].label);
        given_protocol(&bench, PROTOCOL_LAMBDA);
        bench.function.concurrency = 2;
        bench_configure(&bench, true);
        EXPECT_EQ(SLUICE_OK, ask(&bench, 1));
        wants(&bench);
        first = bench.lease;
        instance = bench.instance;
        advance_ms(&bench, 1000);
        EXPECT_EQ(SLUICE_OK, ask(&bench, 2));
        bench.instance = instance;
        wants(&bench);
        EXPECT_EQ(2, bench.invokes);
        advance_ms(&bench, 2000);
        EXPECT_EQ(1, bench.told);
        EXPECT_EQ(1, bench.told_invoke);
        EXPECT_EQ(INVOKE_FAILED, bench.outcome);
        EXPECT_TEXT("Sandbox.Timedout", bench.type);
        EXPECT_EQ(0, bench.stops);
        EXPECT_EQ(1, info_of(&bench).instances[INSTANCE_DRAINING]);
        EXPECT_EQ(SLUICE_ESTALE, engine_result(bench.engine, instance, first, 0, 1, NULL, no_result, bench.now));
        EXPECT_EQ(SLUICE_EUNAVAILABLE, engine_instance_wants(bench.engine, instance, 1, bench.now)); /* no new work */
        advance_ms(&bench, 999);
        bench.instance = instance; /* and not of the one that takes its place */
        if (cases[i].in_time)
            answers(&bench);
        else
            advance_ms(&bench, 1);
        tick(&bench);
        EXPECT_EQ(2, bench.told);
        EXPECT_EQ(2, bench.told_invoke);
        EXPECT_EQ(cases[i].in_time ? INVOKE_DONE : INVOKE_FAILED, bench.outcome);
        EXPECT_EQ(1, bench.stops);
        EXPECT_TEXT("timeout", bench.reason);
        bench.instance = instance;
        ended(&bench, "signal: killed");
        EXPECT_EQ(0, info_of(&bench).crashes);
        bench_close(&bench);
    }
}

/* Nothing is stopped for being idle. */
static void given_patience(struct bench *bench, enum function_protocol protocol)
{
    given_protocol(bench, protocol);
    bench->function.idle_ms = 3600000;
    bench_configure(bench, true);
}

/* Its caller has the answer; who comes after waits for another instance, not for this one. */
TEST(an_instance_that_answers_and_does_not_ask_again_is_killed_after_its_timeout)
{
    struct bench bench;
    given_patience(&bench, PROTOCOL_LAMBDA);
    EXPECT_EQ(SLUICE_OK, ask(&bench, 1));
    wants(&bench);
    advance_ms(&bench, 2000);
    answers(&bench);
    EXPECT_EQ(INVOKE_DONE, bench.outcome);
    advance_ms(&bench, 2999);
    EXPECT_EQ(0, bench.stops);
    EXPECT(engine_wake_us(bench.engine) <= bench.now.mono.us + 1000);
    advance_ms(&bench, 1);
    EXPECT_EQ(1, bench.stops);
    EXPECT_EQ(1, info_of(&bench).instances[INSTANCE_DRAINING]);
    EXPECT_EQ(SLUICE_EUNAVAILABLE, engine_instance_wants(bench.engine, bench.instance, 1, bench.now));
    ended(&bench, "signal: killed");
    EXPECT_EQ(0, info_of(&bench).crashes);
    EXPECT_EQ(SLUICE_OK, ask(&bench, 2));
    EXPECT_EQ(2, bench.starts);
    bench_close(&bench);
}

TEST(a_request_that_goes_away_is_to_come_again_within_the_timeout)
{
    struct bench bench;
    given_patience(&bench, PROTOCOL_LAMBDA);
    EXPECT_EQ(SLUICE_OK, ask(&bench, 1));
    wants(&bench);
    answers(&bench);
    wants(&bench);
    advance_ms(&bench, 20000); /* idle, which is no silence */
    EXPECT_EQ(0, bench.stops);
    for (int i = 0; i < 2; i++) {
        engine_instance_wants_cancel(bench.engine, bench.instance, bench.now);
        tick(&bench);
        advance_ms(&bench, 2999);
        EXPECT_EQ(0, bench.stops);
        wants(&bench);
    }
    engine_instance_wants_cancel(bench.engine, bench.instance, bench.now);
    tick(&bench);
    advance_ms(&bench, 3000);
    EXPECT_EQ(1, bench.stops);
    bench_close(&bench);
}

/* It asks when it likes, for as many as it likes. */
TEST(a_native_instance_may_be_silent)
{
    struct bench bench;
    given_patience(&bench, PROTOCOL_NATIVE);
    publish_one(&bench, 1, 1);
    commit_all(&bench);
    tick(&bench);
    wants(&bench);
    answers(&bench);
    advance_ms(&bench, 3000);
    EXPECT_EQ(0, bench.stops);
    bench_close(&bench);
}

TEST(a_process_that_dies_answers_its_caller_and_is_not_started_again_for_it)
{
    struct bench bench;
    given_protocol(&bench, PROTOCOL_LAMBDA);
    EXPECT_EQ(SLUICE_OK, ask(&bench, 1));
    wants(&bench);
    ended(&bench, "Runtime exited with error: exit status 3");
    EXPECT_EQ(INVOKE_FAILED, bench.outcome);
    EXPECT_TEXT("Runtime.ExitError", bench.type);
    EXPECT_TEXT("Runtime exited with error: exit status 3", bench.message);
    EXPECT_EQ(1, bench.starts);
    EXPECT_EQ(0, info_of(&bench).crashes);
    bench_close(&bench);
}

TEST(the_error_a_function_posts_is_its_answer_byte_for_byte)
{
    struct bench bench;
    given_protocol(&bench, PROTOCOL_LAMBDA);
    EXPECT_EQ(SLUICE_OK, ask(&bench, 1));
    wants(&bench);
    EXPECT_EQ(SLUICE_OK, engine_result(bench.engine, bench.instance, bench.lease, 0, 1, &said_no, VIEW_LITERAL("{ \"errorType\" : 1 }"), bench.now));
    EXPECT_EQ(INVOKE_FAILED, bench.outcome);
    EXPECT_TEXT("No", bench.type);
    EXPECT_TEXT("{ \"errorType\" : 1 }", bench.result);
    bench_close(&bench);
}

TEST(a_caller_who_leaves_is_forgotten_while_it_waits_and_told_nothing_when_it_ran)
{
    struct bench bench;
    given_protocol(&bench, PROTOCOL_LAMBDA);
    bench.function.scale_max = 2;
    bench_configure(&bench, true);
    EXPECT_EQ(SLUICE_OK, ask(&bench, 1));
    EXPECT_EQ(SLUICE_OK, ask(&bench, 2));
    engine_invoke_cancel(bench.engine, 1);
    wants(&bench);
    EXPECT_EQ(2, bench.invoke);
    engine_invoke_cancel(bench.engine, 2);
    EXPECT_EQ(1, info_of(&bench).invokes_running);
    EXPECT_EQ(SLUICE_OK, engine_result(bench.engine, bench.instance, bench.lease, 0, 1, NULL, no_result, bench.now));
    EXPECT_EQ(0, bench.told);
    EXPECT_EQ(0, info_of(&bench).invokes_running + info_of(&bench).invokes_waiting);
    engine_invoke_cancel(bench.engine, 2); /* too late: nothing */
    bench_close(&bench);
}

TEST(an_init_that_crashes_is_repeated_once_for_the_caller)
{
    struct bench bench;
    given_protocol(&bench, PROTOCOL_LAMBDA);
    EXPECT_EQ(SLUICE_OK, ask(&bench, 1));
    ended(&bench, "Runtime exited without providing a reason");
    EXPECT_EQ(0, bench.told);
    EXPECT_EQ(2, bench.starts); /* at once: a caller does not wait for the circuit */
    ended(&bench, "Runtime exited with error: exit status 1");
    EXPECT_EQ(1, bench.told);
    EXPECT_EQ(INVOKE_FAILED, bench.outcome);
    EXPECT_TEXT("Runtime.ExitError", bench.type);
    EXPECT_TEXT("Runtime exited with error: exit status 1", bench.message);
    EXPECT_EQ(2, bench.starts);
    EXPECT_EQ(2, info_of(&bench).crashes);
    /* The next caller's environment is known to be broken: its one start is the repeated one. */
    EXPECT_EQ(SLUICE_OK, ask(&bench, 2));
    EXPECT_EQ(3, bench.starts);
    ended(&bench, "Runtime exited with error: exit status 1");
    EXPECT_EQ(2, bench.told);
    EXPECT_EQ(2, engine_function_ran(bench.engine, 1)->invokes.count);
    /* Until one comes up. */
    EXPECT_EQ(SLUICE_OK, ask(&bench, 3));
    wants(&bench);
    EXPECT_EQ(3, bench.invoke);
    bench_close(&bench);
}

TEST(an_init_error_that_is_posted_is_the_answer_at_once)
{
    struct bench bench;
    given_protocol(&bench, PROTOCOL_LAMBDA);
    EXPECT_EQ(SLUICE_OK, ask(&bench, 1));
    engine_instance_init_failed(bench.engine, bench.instance, &said_no, VIEW_LITERAL("{\"errorType\":\"No\"}"), bench.now);
    EXPECT_EQ(1, bench.told);
    EXPECT_EQ(INVOKE_FAILED, bench.outcome);
    EXPECT_TEXT("No", bench.type);
    EXPECT_TEXT("{\"errorType\":\"No\"}", bench.result);
    EXPECT_EQ(1, bench.stops);
    ended(&bench, "Runtime exited with error: exit status 1");
    EXPECT_EQ(1, info_of(&bench).crashes); /* one failed start, not two */
    EXPECT_EQ(1, bench.starts);
    EXPECT_EQ(SLUICE_OK, ask(&bench, 2)); /* its start is a repeated one: it has the function's timeout */
    EXPECT_EQ(2, bench.starts);
    advance_ms(&bench, 3000);
    EXPECT_EQ(2, bench.told);
    EXPECT_TEXT("Sandbox.Timedout", bench.type);
    bench_close(&bench);
}

TEST(an_init_that_takes_too_long_is_repeated_under_the_timeout_of_the_function)
{
    struct bench bench;
    given_protocol(&bench, PROTOCOL_LAMBDA);
    EXPECT_EQ(SLUICE_OK, ask(&bench, 1));
    uint64_t first = bench.instance;
    advance_ms(&bench, 9999);
    EXPECT_EQ(0, bench.stops);
    advance_ms(&bench, 1);
    EXPECT_EQ(1, bench.stops);
    EXPECT_EQ(2, bench.starts);
    EXPECT_EQ(0, bench.told); /* though it has waited ten seconds: its place is on the way */
    uint64_t second = bench.instance;
    bench.instance = first;
    ended(&bench, "signal: killed");
    EXPECT_EQ(0, bench.told);
    bench.instance = second;
    advance_ms(&bench, 2999);
    EXPECT_EQ(1, bench.stops);
    advance_ms(&bench, 1);
    EXPECT_EQ(2, bench.stops);
    EXPECT_EQ(1, bench.told); /* and no third one was started for it */
    EXPECT_EQ(2, bench.starts);
    EXPECT_TEXT("Sandbox.Timedout", bench.type);
    EXPECT_TEXT("Task timed out after 3.00 seconds", bench.message);
    bench_close(&bench);
}

TEST(an_invocation_has_what_the_repeated_init_has_left_of_its_timeout)
{
    struct bench bench;
    given_protocol(&bench, PROTOCOL_LAMBDA);
    EXPECT_EQ(SLUICE_OK, ask(&bench, 1));
    uint64_t first = bench.instance;
    advance_ms(&bench, 10000);
    EXPECT_EQ(2, bench.starts);
    uint64_t second = bench.instance;
    bench.instance = first;
    ended(&bench, "signal: killed");
    bench.instance = second;
    advance_ms(&bench, 2000);
    wants(&bench);
    advance_ms(&bench, 999);
    EXPECT_EQ(0, bench.told);
    advance_ms(&bench, 1);
    EXPECT_EQ(1, bench.told);
    EXPECT_TEXT("Sandbox.Timedout", bench.type);
    EXPECT_TEXT("Task timed out after 3.00 seconds", bench.message);
    bench_close(&bench);
}

/* Not the 10 s of its start: only Lambda's INIT is part of the invocation. */
TEST(a_line_of_a_process_that_was_started_again_has_the_timeout_of_its_function)
{
    struct bench bench;
    given_protocol(&bench, PROTOCOL_STDIO_LINES);
    publish_one(&bench, 0, 0);
    commit_all(&bench);
    EXPECT_EQ(1, bench.starts);
    ended(&bench, "exit status 1");
    advance_ms(&bench, 1000); /* the circuit's pause */
    EXPECT_EQ(2, bench.starts);
    engine_instance_started(bench.engine, bench.instance, 99, bench.now);
    tick(&bench);
    EXPECT_EQ(1, bench.delivers);
    advance_ms(&bench, 2999);
    EXPECT_EQ(0, bench.timed_out);
    advance_ms(&bench, 1);
    EXPECT_EQ(1, bench.timed_out);
    bench_close(&bench);
}

/* Else one failed start long ago would keep a function whose every invocation fails at one instance. */
TEST(an_error_of_a_lambda_function_shows_that_it_starts)
{
    struct bench bench;
    given_protocol(&bench, PROTOCOL_LAMBDA);
    EXPECT_EQ(SLUICE_OK, ask(&bench, 1));
    ended(&bench, "Runtime exited with error: exit status 1");
    EXPECT_EQ(1, info_of(&bench).crashes);
    wants(&bench);
    EXPECT_EQ(SLUICE_OK, engine_result(bench.engine, bench.instance, bench.lease, 0, 1, &said_no, no_result, bench.now));
    EXPECT_EQ(0, info_of(&bench).crashes);
    EXPECT_EQ(1, info_of(&bench).invokes.failed);
    bench_close(&bench);
}

TEST(provisioned_instances_have_130_s_to_start)
{
    struct bench bench;
    uint32_t function;
    struct instance_info info;
    bench_open(&bench, 3);
    bench.function.protocol = PROTOCOL_LAMBDA;
    bench.function.scale_min = 1;
    bench_configure(&bench, true);
    tick(&bench);
    EXPECT_EQ(1, bench.starts);
    EXPECT(engine_instance_find(bench.engine, bench.instance, &function, &info) && info.provisioned);
    EXPECT_EQ(SLUICE_OK, ask(&bench, 1)); /* there is one that starts: no other is needed for one caller */
    advance_ms(&bench, 10000);
    EXPECT_EQ(1, bench.starts);
    EXPECT_EQ(1, bench.told);
    EXPECT_EQ(INVOKE_THROTTLED, bench.outcome); /* who is not kept for two minutes */
    advance_ms(&bench, 119999);
    EXPECT_EQ(0, bench.stops);
    advance_ms(&bench, 1);
    EXPECT_EQ(1, bench.stops);
    bench_close(&bench);
}

/* So that a function that can never start does not keep its events for ever. */
TEST(a_second_start_that_fails_is_an_attempt_of_the_delivery_at_the_front)
{
    struct bench bench;
    struct model_balance balance;
    given_protocol(&bench, PROTOCOL_LAMBDA);
    bench.function.max_age_ms = 3600000;
    bench_configure(&bench, true);
    publish_one(&bench, 0, 0);
    commit_all(&bench);
    for (unsigned start = 1; start <= 4; start++) {
        EXPECT_EQ(start, bench.starts);
        EXPECT_EQ(start < 2 ? 0 : start - 2, info_of(&bench).counters[QUEUE_ATTEMPTS_FAILED]);
        ended(&bench, "Runtime exited with error: exit status 1");
        commit_all(&bench);
        advance_ms(&bench, 1000); /* longer than the circuit's pause */
        commit_all(&bench);
    }
    EXPECT_EQ(4, bench.starts);
    EXPECT_EQ(0, bench.delivers);
    EXPECT_EQ(1, info_of(&bench).counters[QUEUE_DEAD_LETTERED]);
    EXPECT_EQ(0, info_of(&bench).pending);
    EXPECT_EQ(3, engine_function_ran(bench.engine, 1)->attempts.count);
    EXPECT_EQ(3, engine_function_ran(bench.engine, 1)->attempts_failed);
    balance = model_store_balance(bench.store, 1);
    EXPECT(balance.holds);
    EXPECT_EQ(1, balance.dead);
    bench_close(&bench);
}

TEST(those_who_wait_are_told_when_no_place_will_come)
{
    static const struct { const char *label; enum { DRAINED, REMOVED, PAUSED, NATIVE } how; enum invoke_outcome outcome; } cases[] = {
        { "drained", DRAINED, INVOKE_STOPPED }, { "removed", REMOVED, INVOKE_STOPPED }, { "paused", PAUSED, INVOKE_THROTTLED },
        { "native now", NATIVE, INVOKE_STOPPED },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bench bench;
        test_label(cases[i].label);
        given_protocol(&bench, PROTOCOL_LAMBDA);
        EXPECT_EQ(SLUICE_OK, ask(&bench, 1));
        EXPECT_EQ(SLUICE_OK, ask(&bench, 2));
        wants(&bench); /* 1 runs */
        if (cases[i].how == PAUSED)
            bench.function.scale_max = 0;
        if (cases[i].how == NATIVE)
            bench.function.protocol = PROTOCOL_NATIVE;
        if (cases[i].how == DRAINED)
            engine_drain(bench.engine, bench.now);
        else
            bench_configure(&bench, cases[i].how != REMOVED);
        EXPECT_EQ(1, bench.told);
        EXPECT_EQ(2, bench.told_invoke);
        EXPECT_EQ(cases[i].outcome, bench.outcome);
        EXPECT_EQ(SLUICE_OK, engine_result(bench.engine, bench.instance, bench.lease, 0, 1, NULL, VIEW_LITERAL("r"), bench.now));
        EXPECT_EQ(INVOKE_DONE, bench.outcome);
        bench_close(&bench);
    }
}

TEST(a_caller_of_a_stdio_function_has_a_process_of_its_own)
{
    struct bench bench;
    given_protocol(&bench, PROTOCOL_STDIO);
    EXPECT_EQ(SLUICE_OK, ask(&bench, 1));
    EXPECT_EQ(1, bench.starts);
    EXPECT_EQ(1, bench.invokes);
    engine_instance_gone(bench.engine, bench.instance, &(struct instance_gone){ .reason = VIEW_LITERAL("cannot be started: exec"),
                                                                                 .output = VIEW_LITERAL(""), .failed_start = true }, bench.now);
    tick(&bench);
    EXPECT_EQ(INVOKE_FAILED, bench.outcome);
    EXPECT_TEXT("Runtime.InvalidEntrypoint", bench.type);
    EXPECT_EQ(1, bench.starts);
    bench_close(&bench);
}
