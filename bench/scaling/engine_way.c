/* engine_way.c - the real engine on a trace: a clock that jumps, the model store with commits of COMMIT_US, and native instances
 * (concurrency 1, batch 1) that start, ask, work and stop as the trace says. Nothing is lost and nothing fails here; the simulation
 * in tests/ is where that happens. */
#include "bench/scaling/ways.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/base/arena.h"
#include "broker/base/assert.h"
#include "broker/core/engine.h"
#include "tests/simulation/model_store.h"

#define COMMIT_US INT64_C(1000)
#define BEGIN_US SECOND_US           /* the engine's clock at the start of the trace: 0 would mean "never" in places */
#define WALL_MS INT64_C(1700000000000)
enum { CORES = 2, MEMORY_GIB = 64 };

enum action_kind { ACT_UP, ACT_RESULT, ACT_GONE, ACT_COMMITTED };
struct action {
    int64_t at_us;
    uint64_t order;              /* of those at the same time, the first made goes first */
    enum action_kind kind;
    uint64_t instance, lease;
};

struct way {
    const struct trace *trace;
    struct outcome *outcome;
    struct arena *arena;
    struct config config;
    struct model_store *store;
    struct engine *engine;
    struct commit *commit;       /* the one that is out */
    struct now now;
    size_t arrived;
    VEC(struct action) actions;  /* a heap */
    uint64_t actions_made;
    VEC(int64_t) started_us;     /* [instance - 1] */
    VEC(struct bytes) published; /* [reply - 1], until answered */
};

/* ---- the clock ---- */

static bool before(const struct action *a, const struct action *b)
{
    return a->at_us != b->at_us ? a->at_us < b->at_us : a->order < b->order;
}

static void act_after(struct way *way, int64_t us, enum action_kind kind, uint64_t instance, uint64_t lease)
{
    VEC_PUSH(&way->actions, (struct action){ .at_us = way->now.mono.us + us, .order = way->actions_made++, .kind = kind,
                                             .instance = instance, .lease = lease });
    struct action *heap = way->actions.items;
    for (size_t at = way->actions.count - 1; at > 0 && before(&heap[at], &heap[(at - 1) / 2]); at = (at - 1) / 2) {
        struct action swap = heap[at];
        heap[at] = heap[(at - 1) / 2];
        heap[(at - 1) / 2] = swap;
    }
}

static struct action action_take(struct way *way)
{
    struct action *heap = way->actions.items, first = heap[0], last = heap[--way->actions.count];
    size_t at = 0;

    for (size_t child; (child = 2 * at + 1) < way->actions.count; at = child) {
        if (child + 1 < way->actions.count && before(&heap[child + 1], &heap[child]))
            child++;
        if (!before(&heap[child], &last))
            break;
        heap[at] = heap[child];
    }
    heap[at] = last;
    return first;
}

static int64_t trace_us(const struct way *way)
{
    return way->now.mono.us - BEGIN_US;
}

/* ---- the engine's world ---- */

static void way_answered(void *ctx, uint64_t reply, const struct publish_answer *answer)
{
    struct way *way = ctx;

    ASSERT(answer->code == SLUICE_OK);
    ASSERT(answer->refusals_count == 0);
    bytes_done(&way->published.items[reply - 1]);
}

static bool way_start(void *ctx, uint64_t instance, const struct config_function *function)
{
    struct way *way = ctx;

    (void)function;
    while (way->started_us.count < instance)
        VEC_PUSH(&way->started_us, 0);
    way->started_us.items[instance - 1] = trace_us(way);
    act_after(way, START_US, ACT_UP, instance, 0);
    return true;
}

static void way_deliver(void *ctx, uint64_t instance, uint64_t lease, int64_t deadline_wall_ms, const struct handover *handovers,
                        unsigned count)
{
    struct way *way = ctx;
    struct event event;
    char id[24];

    (void)deadline_wall_ms;
    ASSERT(count == 1);
    bool decoded = envelope_decode_stored(handovers[0].envelope, &event);
    ASSERT(decoded);
    ASSERT(event.id.len < sizeof id);
    memcpy(id, event.id.data, event.id.len);
    id[event.id.len] = '\0';
    size_t arrival = strtoul(id, NULL, 10);
    outcome_begun(way->outcome, way->trace, arrival, trace_us(way));
    act_after(way, way->trace->arrivals.items[arrival].service_us, ACT_RESULT, instance, lease);
}

static void way_stop(void *ctx, uint64_t instance, const char *reason)
{
    (void)reason;
    act_after(ctx, 0, ACT_GONE, instance, 0);
}

static void way_kill(void *ctx, uint64_t instance, const char *reason)
{
    (void)ctx;
    (void)fprintf(stderr, "bench: instance %llu was killed: %s\n", (unsigned long long)instance, reason);
    abort(); /* nothing hangs here */
}

static void way_log(void *ctx, enum log_level level, const char *line)
{
    const struct way *way = ctx;

    if (level >= LOG_WARN)
        (void)fprintf(stderr, "bench: at %.3f s: %s\n", (double)trace_us(way) / 1e6, line);
}

static int64_t way_cpu_us(void *ctx, uint64_t instance)
{
    (void)ctx, (void)instance;
    return -1; /* the deliveries wait for something outside; cores are never the bound */
}

static void way_configure(struct way *way, int64_t idle_us)
{
    static const char *const buses[] = { "default", NULL }, *const command[] = { "/bin/true", NULL }, *const nothing[] = { NULL };
    unsigned count = way->trace->functions;
    struct config_function *functions = arena_zalloc(way->arena, count * sizeof *functions);
    struct config_rule *rules = arena_zalloc(way->arena, count * sizeof *rules);
    struct config_target *targets = arena_zalloc(way->arena, count * sizeof *targets);
    struct sluice_error error = { 0 };

    for (unsigned f = 0; f < count; f++) {
        const char *name = arena_format(way->arena, "f%04u", f); /* in order of name */
        functions[f] = (struct config_function){ .name = name, .command = command, .directory = "/", .environment = nothing,
                                                 .protocol = PROTOCOL_NATIVE, .timeout_ms = 60000, .concurrency = 1, .batch_size = 1,
                                                 .scale_max = INSTANCES_MAX, .idle_ms = idle_us / 1000,
                                                 .drain_target_ms = DRAIN_TARGET_US / 1000, .retry_attempts = 1, .backoff_min_ms = 1000,
                                                 .backoff_max_ms = 1000, .max_age_ms = INT64_C(86400000) };
        targets[f] = (struct config_target){ .function = name };
        rules[f] = (struct config_rule){ .name = name, .bus = "default", .enabled = true, .targets = &targets[f], .targets_count = 1,
                                         .pattern = arena_format(way->arena, "{\"detail-type\":[\"%s\"]}", name), .file = "bench",
                                         .line = 1 };
    }
    way->config = (struct config){ .buses = buses, .buses_count = 1, .functions = functions, .functions_count = count, .rules = rules,
                                   .rules_count = count };
    enum sluice_err err = engine_configure_at_once(way->engine, &way->config, NULL, NULL, way->now, &error);
    if (err != SLUICE_OK)
        (void)fprintf(stderr, "bench: the configuration was refused: %s\n", error.text);
    ASSERT(err == SLUICE_OK);
}

/* ---- a turn ---- */

/* All that arrive now come as one batch. */
static void publish(struct way *way)
{
    struct bytes bytes = { 0 };
    uint32_t count = 0;

    for (; way->arrived < way->trace->arrivals.count && count < PUBLISH_BATCH_EVENTS_MAX; way->arrived++, count++) {
        const struct arrival *arrival = &way->trace->arrivals.items[way->arrived];
        char id[24], type[16];
        if (arrival->at_us > trace_us(way))
            break;
        (void)snprintf(id, sizeof id, "%zu", way->arrived);
        (void)snprintf(type, sizeof type, "f%04u", arrival->function);
        struct event event = { .id = view_of(id), .source = VIEW_LITERAL("bench"), .detail_type = view_of(type),
                               .detail = VIEW_LITERAL("{}") };
        envelope_encode(&event, &bytes);
    }
    ASSERT(!bytes.failed);
    VEC_PUSH(&way->published, bytes);
    engine_publish(way->engine, &(struct publish){ .reply = way->published.count, .events = bytes_view(&bytes), .count = count }, true, NULL,
                   way->now);
}

static void act(struct way *way, const struct action *action)
{
    enum sluice_err err;

    switch (action->kind) {
    case ACT_UP:
        engine_instance_started(way->engine, action->instance, (int64_t)action->instance, way->now);
        (void)engine_instance_wants(way->engine, action->instance, 1, way->now); /* it may have been stopped meanwhile */
        return;
    case ACT_RESULT:
        err = engine_result_batch(way->engine, action->instance, action->lease, NULL, 0, way->now);
        ASSERT(err == SLUICE_OK);
        (void)engine_instance_wants(way->engine, action->instance, 1, way->now);
        return;
    case ACT_GONE:
        outcome_instance(way->outcome, way->started_us.items[action->instance - 1], trace_us(way));
        engine_instance_gone(way->engine, action->instance,
                             &(struct instance_gone){ .reason = VIEW_LITERAL("exit status 0"), .output = VIEW_LITERAL(""), .clean = true },
                             way->now);
        return;
    case ACT_COMMITTED: {
        struct commit *commit = way->commit;
        way->commit = NULL;
        model_store_apply(way->store, commit);
        engine_committed(way->engine, commit, true, way->now);
        return;
    }
    }
}

static int64_t next_us(const struct way *way)
{
    int64_t next = engine_wake_us(way->engine);

    if (way->arrived < way->trace->arrivals.count && way->trace->arrivals.items[way->arrived].at_us + BEGIN_US < next)
        next = way->trace->arrivals.items[way->arrived].at_us + BEGIN_US;
    if (way->actions.count > 0 && way->actions.items[0].at_us < next)
        next = way->actions.items[0].at_us;
    return next;
}

static void turn(struct way *way, int64_t at_us)
{
    if (at_us > way->now.mono.us)
        way->now.mono.us = at_us;
    way->now.wall_ms = WALL_MS + way->now.mono.us / 1000;
    if (way->arrived < way->trace->arrivals.count && way->trace->arrivals.items[way->arrived].at_us <= trace_us(way))
        publish(way);
    while (way->actions.count > 0 && way->actions.items[0].at_us <= way->now.mono.us) {
        struct action action = action_take(way);
        act(way, &action);
    }
    engine_tick(way->engine, way->now);
    if (way->commit == NULL && engine_has_commit(way->engine)) {
        way->commit = engine_seal(way->engine, way->now);
        act_after(way, COMMIT_US, ACT_COMMITTED, 0, 0);
    }
    model_store_turn_end(way->store);
}

static bool over(const struct way *way)
{
    struct engine_totals totals;

    if (way->arrived < way->trace->arrivals.count || way->actions.count > 0)
        return false;
    engine_totals(way->engine, &totals);
    for (int state = 0; state < INSTANCE_STATES; state++) {
        if (totals.instances[state] > 0)
            return false;
    }
    return totals.pending == 0 && !engine_has_commit(way->engine);
}

void engine_run(const struct trace *trace, int64_t idle_us, struct outcome *ret_outcome)
{
    struct way way = { .trace = trace, .outcome = ret_outcome, .now = { .mono = { BEGIN_US }, .wall_ms = WALL_MS + BEGIN_US / 1000 } };
    struct world world = { .ctx = &way, .publish_answered = way_answered, .start = way_start, .deliver = way_deliver, .stop = way_stop,
                           .kill = way_kill, .log = way_log, .cpu_us = way_cpu_us };

    outcome_init(ret_outcome, trace);
    way.arena = arena_new(1 << 16);
    way.store = model_store_new();
    model_store_reader(way.store, &world.reader);
    way.engine = engine_new(&(struct engine_options){ .seed = 1, .cores = CORES, .memory_free_bytes = (uint64_t)MEMORY_GIB << 30 }, &world);
    way_configure(&way, idle_us);
    engine_recovered(way.engine, way.now);
    engine_spawner_ready(way.engine, way.now);
    turn(&way, way.now.mono.us);
    while (!over(&way)) {
        int64_t at_us = next_us(&way);
        ASSERT(at_us != MONO_NEVER);
        turn(&way, at_us);
    }
    engine_free(way.engine);
    model_store_free(way.store);
    arena_free(way.arena);
    VEC_DONE(&way.actions);
    VEC_DONE(&way.started_us);
    VEC_DONE(&way.published);
}
