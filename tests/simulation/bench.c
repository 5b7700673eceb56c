#include "tests/simulation/bench.h"

#include "broker/base/assert.h"

static void bench_answered(void *ctx, uint64_t reply, const struct publish_answer *answer)
{
    struct bench *bench = ctx;
    (void)reply;
    bench->answers++;
    bench->answer = answer->code;
    bench->refusals = answer->refusals_count;
}

static void bench_invoke(void *ctx, uint64_t instance, uint64_t lease, int64_t deadline_wall_ms, uint64_t invoke)
{
    struct bench *bench = ctx;
    bench->invokes++;
    bench->instance = instance;
    bench->lease = lease;
    bench->invoke = invoke;
    bench->deadline_wall_ms = deadline_wall_ms;
}

static void bench_invoke_answered(void *ctx, uint64_t invoke, const struct invoke_answer *answer)
{
    struct bench *bench = ctx;
    const struct failure *failure = answer->failure;
    bench->told++;
    bench->told_invoke = invoke;
    bench->outcome = answer->outcome;
    bench->waited_us = answer->waited_us;
    bench->ran_us = answer->ran_us;
    (void)snprintf(bench->result, sizeof bench->result, "%.*s", VIEW_ARGS(answer->result));
    (void)snprintf(bench->type, sizeof bench->type, "%.*s", failure == NULL ? 0 : (int)failure->type.len, failure == NULL ? "" : failure->type.data);
    (void)snprintf(bench->message, sizeof bench->message, "%.*s", failure == NULL ? 0 : (int)failure->message.len,
                   failure == NULL ? "" : failure->message.data);
}

static bool bench_start(void *ctx, uint64_t instance, const struct config_function *function)
{
    struct bench *bench = ctx;
    (void)function;
    if (bench->full)
        return false;
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
    bench->handed = count;
    bench->attempt = handovers[0].attempt;
    bench->instance = instance;
    bench->lease = lease;
    bench->delivery = handovers[0].delivery;
}

static void bench_timed_out(void *ctx, uint64_t instance, uint64_t lease, int64_t timeout_ms)
{
    struct bench *bench = ctx;
    EXPECT_EQ(bench->function.timeout_ms, timeout_ms);
    (void)instance, (void)lease;
    bench->timed_out++;
}

static void bench_stop(void *ctx, uint64_t instance, const char *reason)
{
    struct bench *bench = ctx;
    (void)instance;
    (void)snprintf(bench->reason, sizeof bench->reason, "%s", reason);
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
const struct config_rule bench_rule = { .name = "r", .bus = "default", .pattern = "{\"source\":[\"s\"]}", .enabled = true,
                                         .targets = &target, .targets_count = 1, .file = "test", .line = 1 };

const struct config *bench_config_dup(const struct bench *bench)
{
    struct config *config = malloc(sizeof *config);

    ASSERT(config != NULL);
    *config = bench->config;
    return config;
}

void bench_take_config(struct bench *bench)
{
    const struct config *config = bench_config_dup(bench);
    struct sluice_error error;

    EXPECT_EQ(SLUICE_OK, engine_configure_at_once(bench->engine, config, free, (void *)(uintptr_t)config, bench->now, &error));
}

void bench_configure(struct bench *bench, bool with_function)
{
    bench->config = (struct config){ .buses = buses, .buses_count = 1, .functions = &bench->function, .functions_count = with_function,
                                     .rules = &bench_rule, .rules_count = with_function };
    bench_take_config(bench);
}

void bench_open(struct bench *bench, unsigned attempts)
{
    struct world world = { .ctx = bench, .publish_answered = bench_answered, .start = bench_start, .deliver = bench_deliver,
                           .invoke = bench_invoke, .invoke_answered = bench_invoke_answered,
                           .timed_out = bench_timed_out, .stop = bench_stop, .kill = bench_stop, .log = bench_log, .cpu_us = bench_cpu_us };

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

void bench_close(struct bench *bench)
{
    engine_free(bench->engine);
    model_store_free(bench->store);
}

struct commit *seal_and_apply(struct bench *bench)
{
    struct commit *commit = engine_seal(bench->engine, bench->now);
    model_store_apply(bench->store, commit);
    return commit;
}

void returned(struct bench *bench, struct commit *commit)
{
    engine_committed(bench->engine, commit, true, bench->now);
    engine_tick(bench->engine, bench->now);
    model_store_turn_end(bench->store);
}

void commit_all(struct bench *bench)
{
    while (engine_has_commit(bench->engine))
        returned(bench, seal_and_apply(bench));
}

void tick(struct bench *bench)
{
    engine_tick(bench->engine, bench->now);
    model_store_turn_end(bench->store);
}

void advance_ms(struct bench *bench, int64_t ms)
{
    bench->now.mono.us += ms * 1000;
    bench->now.wall_ms += ms;
    tick(bench);
}

void publish_one(struct bench *bench, uint8_t producer, uint64_t sequence)
{
    struct bytes bytes = { 0 };

    envelope_encode(&(struct event){ .source = VIEW_LITERAL("s"), .detail_type = VIEW_LITERAL("t"), .detail = VIEW_LITERAL("{}") }, &bytes);
    engine_publish(bench->engine, &(struct publish){ .reply = 1, .has_producer = producer != 0, .producer = { producer }, .epoch = 1,
                                                     .sequence = sequence, .lowest = 1, .events = bytes_view(&bytes), .count = 1 },
                   true, NULL, bench->now);
    bytes_done(&bytes);
}

const struct failure said_no = { .type = VIEW_LITERAL("No"), .message = VIEW_LITERAL("no"), .output = VIEW_LITERAL("") };

void fail_last(struct bench *bench)
{
    uint64_t instance = bench->instance;
    EXPECT_EQ(SLUICE_OK, engine_result(bench->engine, instance, bench->lease, 0, 1, &said_no, (struct view){ 0 }, bench->now));
    engine_instance_gone(bench->engine, instance, &(struct instance_gone){ .reason = VIEW_LITERAL("exit status 1"), .output = VIEW_LITERAL("") },
                         bench->now);
    engine_tick(bench->engine, bench->now);
    model_store_turn_end(bench->store);
}

/* ---- of functions that are invoked ---- */

void given_protocol(struct bench *bench, enum function_protocol protocol)
{
    bench_open(bench, 3);
    bench->function.protocol = protocol;
    bench_configure(bench, true);
}

enum sluice_err ask(struct bench *bench, uint64_t invoke)
{
    enum sluice_err err = engine_invoke(bench->engine, 1, invoke, bench->now, NULL);
    tick(bench);
    return err;
}

void wants(struct bench *bench)
{
    EXPECT_EQ(SLUICE_OK, engine_instance_wants(bench->engine, bench->instance, 1, bench->now));
    tick(bench);
}

struct function_info info_of(struct bench *bench)
{
    struct function_info info;
    engine_function_info(bench->engine, 1, bench->now, &info);
    model_store_turn_end(bench->store);
    return info;
}

void answers(struct bench *bench)
{
    EXPECT_EQ(SLUICE_OK, engine_result(bench->engine, bench->instance, bench->lease, 0, 1, NULL, (struct view){ 0 }, bench->now));
    tick(bench);
}
