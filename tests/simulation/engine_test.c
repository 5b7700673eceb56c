/* The engine's rarer turns, one by one: what chance seldom brings together. A world of one function over the model store, where
 * each commit is applied and reported by hand. */
#include "broker/core/engine.h"
#include "broker/core/producers.h"
#include "tests/simulation/model_store.h"
#include "tests/test.h"

struct bench {
    struct model_store *store;
    struct engine *engine;
    struct config config;
    struct config_function function;
    struct now now;
    unsigned starts, delivers, stops, answers;
    enum sluice_err answer;
    uint64_t instance, lease;
    struct delivery delivery;
};

static void bench_answered(void *ctx, uint64_t reply, const struct publish_answer *answer)
{
    struct bench *bench = ctx;
    (void)reply;
    bench->answers++;
    bench->answer = answer->code;
}

static bool bench_start(void *ctx, uint64_t instance, const struct config_function *function)
{
    struct bench *bench = ctx;
    (void)function;
    bench->starts++;
    bench->instance = instance;
    return true;
}

static void bench_deliver(void *ctx, uint64_t instance, uint64_t lease, int64_t deadline_wall_ms, const struct handover *handovers,
                          unsigned count)
{
    struct bench *bench = ctx;
    (void)deadline_wall_ms;
    bench->delivers += count;
    bench->instance = instance;
    bench->lease = lease;
    bench->delivery = handovers[0].delivery;
}

static void bench_stop(void *ctx, uint64_t instance, const char *reason)
{
    struct bench *bench = ctx;
    (void)instance, (void)reason;
    bench->stops++;
}

static void bench_log(void *ctx, enum log_level level, const char *line)
{
    (void)ctx, (void)level, (void)line;
}

static int64_t bench_cpu_us(void *ctx, uint64_t instance)
{
    (void)ctx, (void)instance;
    return -1;
}

static const char *const buses[] = { "default", NULL }, *const command[] = { "/bin/true", NULL }, *const nothing[] = { NULL };
static const struct config_target target = { .function = "f" };
static const struct config_rule rule = { .name = "r", .bus = "default", .pattern = "{\"source\":[\"s\"]}", .enabled = true,
                                         .targets = &target, .targets_count = 1, .file = "test", .line = 1 };

static void bench_configure(struct bench *bench, bool with_function)
{
    struct sluice_error error;

    bench->config = (struct config){ .buses = buses, .buses_count = 1, .functions = &bench->function, .functions_count = with_function,
                                     .rules = &rule, .rules_count = with_function };
    EXPECT_EQ(SLUICE_OK, engine_configure(bench->engine, &bench->config, bench->now, &error));
}

/* One stdio function without retries; `attempts` tries in all. */
static void bench_open(struct bench *bench, unsigned attempts)
{
    struct world world = { .ctx = bench, .publish_answered = bench_answered, .start = bench_start, .deliver = bench_deliver,
                           .stop = bench_stop, .kill = bench_stop, .log = bench_log, .cpu_us = bench_cpu_us };

    *bench = (struct bench){ .now = { .mono = { 1000000 }, .wall_ms = 1700000000000 } };
    bench->function = (struct config_function){ .name = "f", .command = command, .directory = "/", .environment = nothing,
                                                .protocol = PROTOCOL_STDIO, .timeout_ms = 3000, .concurrency = 1, .batch_size = 1,
                                                .scale_max = 4, .idle_ms = 1000, .drain_target_ms = 1000, .retry_attempts = attempts,
                                                .backoff_min_ms = 1, .backoff_max_ms = 1, .max_age_ms = 10000 };
    bench->store = model_store_new();
    model_store_reader(bench->store, &world.reader);
    bench->engine = engine_new(&(struct engine_options){ .seed = 1, .cores = 1, .memory_free_bytes = 1 << 30 }, &world);
    bench_configure(bench, true);
    engine_recovered(bench->engine, bench->now);
    engine_spawner_ready(bench->engine, bench->now);
}

static void bench_close(struct bench *bench)
{
    engine_free(bench->engine);
    model_store_free(bench->store);
}

static struct commit *seal_and_apply(struct bench *bench)
{
    struct commit *commit = engine_seal(bench->engine, bench->now);
    model_store_apply(bench->store, commit);
    return commit;
}

static void returned(struct bench *bench, struct commit *commit)
{
    engine_committed(bench->engine, commit, true, bench->now);
    engine_tick(bench->engine, bench->now);
    model_store_turn_end(bench->store);
}

static void commit_all(struct bench *bench)
{
    while (engine_has_commit(bench->engine))
        returned(bench, seal_and_apply(bench));
}

static void advance_ms(struct bench *bench, int64_t ms)
{
    bench->now.mono.us += ms * 1000;
    bench->now.wall_ms += ms;
    engine_tick(bench->engine, bench->now);
    model_store_turn_end(bench->store);
}

static void publish_one(struct bench *bench, uint8_t producer, uint64_t sequence)
{
    struct bytes bytes = { 0 };

    envelope_encode(&(struct event){ .source = VIEW_LITERAL("s"), .detail_type = VIEW_LITERAL("t"), .detail = VIEW_LITERAL("{}") }, &bytes);
    engine_publish(bench->engine, &(struct publish){ .reply = 1, .has_producer = producer != 0, .producer = { producer }, .epoch = 1,
                                                     .sequence = sequence, .lowest = 1, .events = bytes_view(&bytes), .count = 1 },
                   true, NULL, bench->now);
    bytes_done(&bytes);
}

static const struct failure said_no = { .type = VIEW_LITERAL("No"), .message = VIEW_LITERAL("no"), .output = VIEW_LITERAL("") };

static void fail_last(struct bench *bench)
{
    uint64_t instance = bench->instance;
    EXPECT_EQ(SLUICE_OK, engine_result(bench->engine, instance, bench->lease, 0, 1, &said_no, bench->now));
    engine_instance_gone(bench->engine, instance, &(struct instance_gone){ .reason = VIEW_LITERAL("exit status 1"), .output = VIEW_LITERAL("") },
                         bench->now);
    engine_tick(bench->engine, bench->now);
    model_store_turn_end(bench->store);
}

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
    struct config_rule with_template = rule;
    struct bench bench;
    struct function_info info;
    bench_open(&bench, 3);
    with_template.targets = &templated;
    bench.config.rules = &with_template;
    EXPECT_EQ(SLUICE_OK, engine_configure(bench.engine, &bench.config, bench.now, NULL));
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
    advance_ms(&bench, 9999);
    EXPECT_EQ(0, bench.stops);
    EXPECT(engine_wake_us(bench.engine) <= bench.now.mono.us + 1000);
    advance_ms(&bench, 1);
    EXPECT_EQ(1, bench.stops);
    engine_instance_gone(bench.engine, bench.instance,
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

/* ---- consumers ---- */

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

static void wants(struct bench *bench, uint64_t instance)
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
    wants(&bench, instance);
    EXPECT_EQ(1, bench.delivers);
    EXPECT_EQ(instance, bench.instance);
    EXPECT_EQ(SLUICE_OK, engine_result_batch(bench.engine, instance, bench.lease, NULL, 0, bench.now));
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
    wants(&bench, instance);
    wants(&bench, instance);
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
    wants(&bench, instance);
    wants(&bench, instance);
    publish_one(&bench, 0, 0);
    commit_all(&bench);
    uint64_t first = bench.lease;
    publish_one(&bench, 0, 0);
    commit_all(&bench);
    EXPECT_EQ(2, bench.delivers);
    EXPECT_EQ(SLUICE_OK, attach(&bench, "f", 0, &other));
    wants(&bench, other);
    wants(&bench, other);
    engine_attached_lost(bench.engine, instance, first, bench.now);
    advance_ms(&bench, 0);
    EXPECT_EQ(3, bench.delivers); /* the second; the first needs a commit */
    commit_all(&bench);
    EXPECT_EQ(4, bench.delivers);
    engine_function_info(bench.engine, 1, bench.now, &info);
    EXPECT_EQ(1, info.counters[QUEUE_ATTEMPTS_FAILED]);
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
    wants(&bench, instance);
    publish_one(&bench, 0, 0);
    commit_all(&bench);
    wants(&bench, instance);
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
    wants(&bench, instance);
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
