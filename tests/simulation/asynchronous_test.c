/* Asynchronous invocations, turn by turn: how often they are tried, and what becomes of those that find no place. */
#include "tests/simulation/bench.h"

static enum sluice_err invoke_later(struct bench *bench, uint32_t function)
{
    struct bytes bytes = { 0 };

    envelope_encode(&(struct event){ .kind = EVENT_KIND_INVOKE, .detail = VIEW_LITERAL("[1]") }, &bytes);
    engine_publish(bench->engine, &(struct publish){ .reply = 1, .events = bytes_view(&bytes), .count = 1, .function = function }, true, NULL,
                   bench->now);
    commit_all(bench);
    bytes_done(&bytes);
    return bench->answer;
}

/* What was handed over last fails, and is handed over again `ms` later, not earlier. */
static void expect_again_after_ms(struct bench *bench, int64_t ms)
{
    unsigned delivers = bench->delivers;

    fail_last(bench);
    commit_all(bench);
    advance_ms(bench, ms - 1);
    EXPECT_EQ(delivers, bench->delivers);
    advance_ms(bench, 1);
    EXPECT_EQ(delivers + 1, bench->delivers);
}

TEST(an_asynchronous_invocation_is_tried_after_one_and_two_minutes)
{
    struct bench bench;
    struct target_view target;
    given_protocol(&bench, PROTOCOL_STDIO);
    bench.function.max_age_ms = 3600000;
    bench_configure(&bench, true);
    EXPECT_EQ(SLUICE_OK, invoke_later(&bench, 1));
    EXPECT_EQ(1, bench.delivers);
    EXPECT(engine_target(bench.engine, 2, &target));
    EXPECT_TEXT("", target.rule);
    EXPECT_EQ(TARGET_INPUT_EVENT, target.input);
    expect_again_after_ms(&bench, 60000);
    expect_again_after_ms(&bench, 120000);
    fail_last(&bench);
    commit_all(&bench);
    EXPECT_EQ(1, info_of(&bench).counters[QUEUE_DEAD_LETTERED]);
    EXPECT(model_store_balance(bench.store, 1).holds);
    EXPECT_EQ(SLUICE_OK, engine_redrive(bench.engine, 1, bench.delivery, bench.now));
    commit_all(&bench);
    EXPECT_EQ(4, bench.delivers);
    bench_close(&bench);
}

TEST(a_retry_that_was_given_holds_for_asynchronous_invocations)
{
    struct bench bench;
    given_protocol(&bench, PROTOCOL_STDIO);
    bench.function.retry_given = true;
    bench.function.retry_attempts = 2;
    bench_configure(&bench, true);
    EXPECT_EQ(SLUICE_OK, invoke_later(&bench, 1));
    fail_last(&bench);
    commit_all(&bench);
    advance_ms(&bench, 1);
    EXPECT_EQ(2, bench.delivers);
    fail_last(&bench);
    commit_all(&bench);
    EXPECT_EQ(1, info_of(&bench).counters[QUEUE_DEAD_LETTERED]);
    bench_close(&bench);
}

TEST(an_asynchronous_invocation_of_a_removed_function_is_refused)
{
    struct bench bench;
    given_protocol(&bench, PROTOCOL_STDIO);
    bench_configure(&bench, false);
    EXPECT_EQ(SLUICE_OK, invoke_later(&bench, 1)); /* of the batch; its one event is refused */
    EXPECT_EQ(1, bench.refusals);
    EXPECT_EQ(0, info_of(&bench).counters[QUEUE_ACCEPTED]);
    bench_close(&bench);
}

/* ---- those that find no place: Lambda throttles them and tries them for six hours; here they keep theirs in the queue ---- */

enum { LAMBDA_MAX_AGE_MS = 6 * 3600 * 1000 }; /* the default of retry.max-age, too */

enum holding {
    HELD_BY_CALLER,              /* its one instance runs a synchronous invocation, for hours */
    HELD_BY_DELIVERY,            /* the same with an asynchronous one */
    HELD_BY_PAUSE,               /* scale.max, Lambda's reserved concurrency, is 0 */
    HELD_BY_FULL_MACHINE,        /* no process can be made */
};
static const struct { const char *label; enum holding by; } holdings[] = {
    { "a synchronous invocation runs", HELD_BY_CALLER },
    { "an asynchronous invocation runs", HELD_BY_DELIVERY },
    { "scale.max is 0", HELD_BY_PAUSE },
    { "nothing can be started", HELD_BY_FULL_MACHINE },
};
enum { HOLDINGS = sizeof holdings / sizeof *holdings };

static void take_limits(struct bench *bench, unsigned scale_max)
{
    bench->function.scale_max = scale_max;
    bench_configure(bench, true);
    commit_all(bench);
}

static void hold(struct bench *bench, enum holding by)
{
    switch (by) {
    case HELD_BY_CALLER:
        EXPECT_EQ(SLUICE_OK, ask(bench, 1));
        wants(bench);
        EXPECT_EQ(1, bench->invokes);
        break;
    case HELD_BY_DELIVERY:
        EXPECT_EQ(SLUICE_OK, invoke_later(bench, 1));
        wants(bench);
        EXPECT_EQ(1, bench->delivers);
        break;
    case HELD_BY_PAUSE: take_limits(bench, 0); break;
    case HELD_BY_FULL_MACHINE: bench->full = true; break;
    }
}

/* What held it is over: there is a place. */
static void let_go(struct bench *bench, enum holding by)
{
    switch (by) {
    case HELD_BY_CALLER: case HELD_BY_DELIVERY: answers(bench); break;
    case HELD_BY_PAUSE: take_limits(bench, 1); break;
    case HELD_BY_FULL_MACHINE:
        bench->full = false;
        engine_spawner_ready(bench->engine, bench->now);
        tick(bench);
        break;
    }
    commit_all(bench);
}

/* `ms` later, by way of each time at which the engine asked to be woken. */
static void live_on_ms(struct bench *bench, int64_t ms)
{
    int64_t end_us = bench->now.mono.us + ms * 1000;

    while (bench->now.mono.us < end_us) {
        int64_t next_us = engine_wake_us(bench->engine);
        int64_t step_ms = (next_us < end_us ? next_us - bench->now.mono.us + 999 : end_us - bench->now.mono.us) / 1000;
        advance_ms(bench, step_ms < 1 ? 1 : step_ms);
        commit_all(bench);
    }
}

static void given_one_place(struct bench *bench)
{
    bench_open(bench, 3);
    bench->function.protocol = PROTOCOL_LAMBDA;
    bench->function.timeout_ms = CONFIG_TIMEOUT_MS_MAX;
    bench->function.max_age_ms = LAMBDA_MAX_AGE_MS;
    take_limits(bench, 1);
}

TEST(what_finds_no_place_for_nearly_six_hours_uses_up_no_attempt_and_runs_when_there_is_one)
{
    for (unsigned i = 0; i < HOLDINGS; i++) {
        struct bench bench;
        test_label(holdings[i].label);
        given_one_place(&bench);
        hold(&bench, holdings[i].by);
        unsigned delivers = bench.delivers, held = holdings[i].by == HELD_BY_DELIVERY;
        EXPECT_EQ(SLUICE_OK, invoke_later(&bench, 1));
        live_on_ms(&bench, LAMBDA_MAX_AGE_MS - 1);
        EXPECT_EQ(delivers, bench.delivers);
        EXPECT_EQ(1 + held, info_of(&bench).pending);
        EXPECT_EQ(0, info_of(&bench).counters[QUEUE_ATTEMPTS_FAILED]);
        let_go(&bench, holdings[i].by);
        wants(&bench);
        EXPECT_EQ(delivers + 1, bench.delivers);
        EXPECT_EQ(1, bench.attempt);
        answers(&bench);
        commit_all(&bench);
        EXPECT_EQ(1 + held, info_of(&bench).counters[QUEUE_SUCCEEDED]);
        EXPECT_EQ(0, info_of(&bench).pending);
        EXPECT(model_store_balance(bench.store, 1).holds);
        bench_close(&bench);
    }
}

/* Lambda calls it EventAgeExceeded. Never tried, it is no dead letter but expired, a term of the balance of its own. */
TEST(what_finds_no_place_for_six_hours_expires_untried)
{
    for (unsigned i = 0; i < HOLDINGS; i++) {
        struct bench bench;
        struct function_note note;
        test_label(holdings[i].label);
        given_one_place(&bench);
        hold(&bench, holdings[i].by);
        unsigned delivers = bench.delivers, held = holdings[i].by == HELD_BY_DELIVERY;
        EXPECT_EQ(SLUICE_OK, invoke_later(&bench, 1));
        live_on_ms(&bench, LAMBDA_MAX_AGE_MS - 1);
        EXPECT_EQ(0, info_of(&bench).counters[QUEUE_EXPIRED]);
        EXPECT_EQ(bench.now.mono.us + 1000, engine_wake_us(bench.engine));
        live_on_ms(&bench, 1);
        EXPECT_EQ(1, info_of(&bench).counters[QUEUE_EXPIRED]);
        EXPECT_EQ(held, info_of(&bench).pending);
        EXPECT(engine_function_notes(bench.engine, 1, &note, 1) > 0);
        EXPECT(strstr(note.text, "expired=1 reason=max-age max_age_ms=21600000") != NULL);
        unsigned starts = bench.starts;
        let_go(&bench, holdings[i].by);
        EXPECT_EQ(starts, bench.starts);
        EXPECT_EQ(delivers, bench.delivers);
        EXPECT_EQ(0, info_of(&bench).counters[QUEUE_ATTEMPTS_FAILED] + info_of(&bench).counters[QUEUE_DEAD_LETTERED]);
        EXPECT(model_store_balance(bench.store, 1).holds);
        bench_close(&bench);
    }
}

/* It failed once, and its next try finds no place: until there is one, or it is too old, and its last failure says why it is dead. */
TEST(a_retry_that_finds_no_place_waits_for_one_until_its_event_is_too_old)
{
    for (unsigned late = 0; late < 2; late++) {
        struct bench bench;
        test_label(late ? "too late" : "in time");
        given_one_place(&bench);
        EXPECT_EQ(SLUICE_OK, invoke_later(&bench, 1));
        wants(&bench);
        EXPECT_EQ(SLUICE_OK, engine_result(bench.engine, bench.instance, bench.lease, 0, 1, &said_no, (struct view){ 0 }, bench.now));
        tick(&bench);
        commit_all(&bench);
        take_limits(&bench, 0);
        live_on_ms(&bench, LAMBDA_MAX_AGE_MS - 1 + late);
        EXPECT_EQ(1, info_of(&bench).counters[QUEUE_ATTEMPTS_FAILED]);
        EXPECT_EQ(late, info_of(&bench).counters[QUEUE_DEAD_LETTERED]);
        take_limits(&bench, 1);
        if (late) {
            const struct model_queue *queue = &bench.store->queues.items[0];
            EXPECT_EQ(1, queue->dead.count);
            EXPECT(queue->dead.count == 1 && queue->dead.items[0].row.attempts == 1 && view_is(queue->dead.items[0].row.reason, "No"));
            EXPECT_EQ(0, info_of(&bench).pending);
        } else {
            tick(&bench);
            wants(&bench);
            EXPECT_EQ(2, bench.delivers);
            EXPECT_EQ(2, bench.attempt);
        }
        EXPECT(model_store_balance(bench.store, 1).holds);
        bench_close(&bench);
    }
}
