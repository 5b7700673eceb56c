#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>

#include "tests/simulation/world.h"

#include "broker/base/assert.h"
#include "broker/core/engine.h"
#include "broker/core/retry.h"
#include "tests/simulation/callers.h"
#include "tests/simulation/oracle.h"

enum {
    BATCH_EVENTS_MAX = 8, BATCH_EVENTS_BURST = 400,
    OUTSTANDING_MAX = 6,         /* batches of one producer on their way */
    SETTLE_STEPS_MAX = 200000,   /* for all to come to rest after the faults */
    NATIVE_PARKED_MAX = 3,
    INIT_LIMIT_MS = 10000, INIT_PROVISIONED_MS = 130000,
    PREPARATIONS_MAX = 2,        /* at once: all but the first that is put in force are stale */
    STUCK_MS = 130000,           /* longer than any backoff of a crashing start: then a ready delivery must have an instance */
};

enum action_kind {
    ACT_PRODUCE, ACT_ARRIVE, ACT_ANSWER, ACT_APPLY, ACT_COMMITTED, ACT_STARTED, ACT_WORK, ACT_GONE, ACT_WANT, ACT_INIT_ERROR, ACT_SPAWNER, ACT_CHAOS,
    ACT_CALL, ACT_LEAVE, ACT_ATTACH,
};

struct action {
    int64_t at_us;
    uint64_t order;              /* of those at the same time, the first made goes first */
    enum action_kind kind;
    unsigned life;               /* of the engine; an action of an earlier one is void, unless it is the producers' */
    uint64_t a, b;
};

struct batch {                   /* one publish, as bytes; kept until the end of the run */
    int producer;
    uint64_t epoch, sequence;
    uint32_t first_event, count;
    struct bytes bytes;
    int invoked;                 /* a function; -1: by the rules */
    bool settled, repeat;        /* settled: the producer has its answer, or gave up */
};

struct reply {                   /* one publish as it reached the engine */
    size_t batch;
    unsigned life;
    bool answered, cancelled;
};

struct producer_sim {
    uint64_t epoch, sequence;    /* the last ones used */
    VEC(size_t) outstanding;     /* into batches, in order of sequence */
};

struct work { struct delivery delivery; uint64_t lease, invoke; unsigned index; int64_t since_us; }; /* invoke 0: a delivery */

struct process {
    uint64_t id;
    unsigned function;
    enum function_protocol protocol;
    unsigned batch_size;
    int64_t timeout_ms;
    bool partial, started, up, overran, ending, killed, gone, hangs, clean_end;
    unsigned parked;             /* native, lambda: requests the engine holds */
    int64_t began_us;
    bool attached, leaving;      /* a consumer; leaving: it has said so */
    unsigned places;             /* attached: requests and leases it may have */
    VEC(struct work) work;       /* leased to it, oldest first */
};

struct configuration {
    struct arena *arena;
    struct config config;
    struct sim_rule rules[SIM_RULES];
};

/* One on its way, as on a thread that is slow: anything may happen between its steps. */
struct preparing {
    struct preparation *preparation; /* NULL: none */
    struct configuration *configuration; /* NULL: not run yet, or the engine's */
    bool stale;                  /* another was put in force since it began */
    bool over;                   /* configured or refused: to be freed */
};

struct world_sim {
    struct chance chance;
    unsigned step, steps;
    bool calm, verbose;          /* calm: no more faults */
    struct now now;
    unsigned life;
    struct sim_function functions[SIM_FUNCTIONS];
    unsigned flaky[SIM_FUNCTIONS], protocol_batch[SIM_FUNCTIONS], concurrency[SIM_FUNCTIONS];
    int64_t window_ms[SIM_FUNCTIONS], service_us[SIM_FUNCTIONS], idle_ms;
    unsigned consumers;          /* percent: how often one comes */
    bool burst;
    struct configuration *configuration; /* in force; the engine's */
    struct preparing preparing[PREPARATIONS_MAX];
    struct rules_work *rules_work;
    bool rules_work_run, rules_work_ended;

    struct model_store *store;
    struct engine *engine;
    struct oracle *oracle;
    struct callers *callers;
    struct commit *commit;
    bool committing, applied, refuse, accepts, spawner, full;
    bool draining, deciding;

    VEC(struct action) actions;  /* a heap */
    uint64_t actions_made;
    VEC(struct batch) batches;
    VEC(struct reply) replies;
    struct producer_sim producers[SIM_PRODUCERS];
    VEC(struct process) processes; /* of this life */
    VEC(uint64_t) killed;        /* by timeout, in this turn */
    int64_t waiting_since_ms[SIM_FUNCTIONS];
    struct world_report report;
};

static struct world_sim *running;


unsigned world_step(void) { return running == NULL ? 0 : running->step; }

/* ---- chance and time ---- */

static uint64_t below(struct world_sim *sim, uint64_t bound)
{
    return bound == 0 ? 0 : chance_next(&sim->chance) % bound;
}

static bool percent(struct world_sim *sim, unsigned chance)
{
    return below(sim, 100) < chance;
}

static bool action_before(const struct action *a, const struct action *b)
{
    return a->at_us != b->at_us ? a->at_us < b->at_us : a->order < b->order;
}

static void act_after(struct world_sim *sim, int64_t us, enum action_kind kind, uint64_t a, uint64_t b)
{
    VEC_PUSH(&sim->actions, (struct action){ .at_us = sim->now.mono.us + us, .order = sim->actions_made++, .kind = kind, .life = sim->life,
                                             .a = a, .b = b });
    size_t at = sim->actions.count - 1;
    while (at > 0 && action_before(&sim->actions.items[at], &sim->actions.items[(at - 1) / 2])) {
        struct action swap = sim->actions.items[at];
        sim->actions.items[at] = sim->actions.items[(at - 1) / 2];
        sim->actions.items[(at - 1) / 2] = swap;
        at = (at - 1) / 2;
    }
}

static struct action action_take(struct world_sim *sim)
{
    struct action first = sim->actions.items[0];
    struct action last = sim->actions.items[--sim->actions.count];
    size_t at = 0;

    for (;;) {
        size_t child = at * 2 + 1;
        if (child >= sim->actions.count)
            break;
        if (child + 1 < sim->actions.count && action_before(&sim->actions.items[child + 1], &sim->actions.items[child]))
            child++;
        if (!action_before(&sim->actions.items[child], &last))
            break;
        sim->actions.items[at] = sim->actions.items[child];
        at = child;
    }
    if (sim->actions.count > 0)
        sim->actions.items[at] = last;
    return first;
}

/* ---- configurations ---- */

static void functions_make(struct world_sim *sim)
{
    for (unsigned f = 0; f < SIM_FUNCTIONS; f++) {
        struct sim_function *function = &sim->functions[f];
        (void)snprintf(function->name, sizeof function->name, "f%u", f);
        function->protocol = (enum function_protocol)(f % 4);
        function->attempts = 1 + (unsigned)below(sim, 4);
        function->retry_given = percent(sim, 50);
        function->timeout_ms = 100 + (int64_t)below(sim, 1000);
        function->max_age_ms = percent(sim, 30) ? 2000 + (int64_t)below(sim, 5000) : 3600000;
        function->backoff_max_ms = 100 + (int64_t)below(sim, 3000);
        sim->flaky[f] = percent(sim, 20) ? 60 : (unsigned)below(sim, 25);
        sim->protocol_batch[f] = percent(sim, 50) ? 1 : 1 + (unsigned)below(sim, 20);
        sim->concurrency[f] = function->protocol == PROTOCOL_STDIO ? 1 : 1 + (unsigned)below(sim, 6);
        sim->window_ms[f] = percent(sim, 30) ? 1 + (int64_t)below(sim, 200) : 0;
        sim->service_us[f] = 1 + (int64_t)below(sim, percent(sim, 30) ? 80000 : 3000);
    }
    sim->idle_ms = 100 + (int64_t)below(sim, 2000);
    sim->consumers = percent(sim, 40) ? 0 : 10 + (unsigned)below(sim, 90);
}

static void configuration_functions(struct world_sim *sim, struct configuration *made, bool all)
{
    static const char *const command[] = { "/bin/true", NULL }, *const none[] = { NULL };
    struct config_function *functions = arena_zalloc(made->arena, SIM_FUNCTIONS * sizeof *functions);
    unsigned count = 0;

    for (unsigned f = 0; f < SIM_FUNCTIONS; f++) {
        if (!all && f > 0 && percent(sim, 15))
            continue;
        const char **environment = arena_zalloc(made->arena, 2 * sizeof *environment);
        environment[0] = arena_format(made->arena, "VERSION=%u", (unsigned)below(sim, 2));
        bool attach_only = !all && sim->functions[f].protocol == PROTOCOL_NATIVE && percent(sim, 30);
        functions[count++] = (struct config_function){
            .name = sim->functions[f].name, .command = attach_only ? none : command, .directory = "/", .environment = environment,
            .protocol = sim->functions[f].protocol, .timeout_ms = sim->functions[f].timeout_ms, .concurrency = sim->concurrency[f],
            .batch_size = sim->protocol_batch[f], .batch_window_ms = sim->window_ms[f], .batch_partial_failures = f >= 4,
            .scale_min = all ? 0 : (unsigned)below(sim, 2), .scale_max = all ? 4 : (unsigned)below(sim, 6), .idle_ms = sim->idle_ms, .drain_target_ms = 1000,
            .retry_attempts = sim->functions[f].attempts, .retry_given = sim->functions[f].retry_given, .backoff_min_ms = sim->functions[f].backoff_max_ms / 8,
            .backoff_max_ms = sim->functions[f].backoff_max_ms, .max_age_ms = sim->functions[f].max_age_ms,
        };
    }
    made->config.functions = functions;
    made->config.functions_count = count;
}

static const char *rule_pattern(struct arena *arena, unsigned sources)
{
    char *pattern = arena_format(arena, "{\"source\":[%s%s%s%s\"never\"]}", sources & 1 ? "\"s0\"," : "", sources & 2 ? "\"s1\"," : "",
                                 sources & 4 ? "\"s2\"," : "", sources & 8 ? "\"s3\"," : "");
    return pattern;
}

static void configuration_rules(struct world_sim *sim, struct configuration *made)
{
    struct config_rule *rules = arena_zalloc(made->arena, SIM_RULES * sizeof *rules);

    for (unsigned r = 0; r < SIM_RULES; r++) {
        struct sim_rule *rule = &made->rules[r];
        struct config_target *targets = arena_zalloc(made->arena, SIM_TARGETS_PER_RULE * sizeof *targets);
        rule->enabled = percent(sim, 80);
        rule->sources = (unsigned)below(sim, 16) & (unsigned)below(sim, 16); /* s3 of some is in none */
        if (sim->configuration != NULL && percent(sim, 80)) { /* most stay: a small change is another path than a large one */
            rule->enabled = sim->configuration->rules[r].enabled;
            rule->sources = sim->configuration->rules[r].sources;
        }
        for (rule->targets_count = 0; rule->targets_count < 1 + (unsigned)below(sim, SIM_TARGETS_PER_RULE);) {
            const struct config_function *function = &made->config.functions[below(sim, made->config.functions_count)];
            unsigned t = rule->targets_count++;
            rule->targets[t] = (unsigned)(function->name[1] - '0');
            targets[t] = (struct config_target){ .function = function->name };
        }
        rules[r] = (struct config_rule){ .name = arena_format(made->arena, "r%u", r), .bus = "default", .enabled = rule->enabled,
                                         .pattern = rule_pattern(made->arena, rule->sources), .targets = targets,
                                         .targets_count = rule->targets_count, .file = "simulation", .line = 1 };
    }
    made->config.rules = rules;
    made->config.rules_count = SIM_RULES;
}

static struct configuration *configuration_new(struct world_sim *sim, bool all)
{
    static const char *const buses[] = { "default", NULL };
    struct configuration *made = calloc(1, sizeof *made);
    ASSERT(made != NULL);
    made->arena = arena_new(4096);
    made->config.buses = buses;
    made->config.buses_count = 1;
    configuration_functions(sim, made, all);
    configuration_rules(sim, made);
    return made;
}

static void configuration_free(void *ctx)
{
    struct configuration *configuration = ctx;

    arena_free(configuration->arena);
    free(configuration);
}

/* About to be put in force: what the engine says meanwhile is by the new one. */
static void takes_effect(struct world_sim *sim, struct configuration *configuration)
{
    sim->configuration = configuration;
    oracle_configured(sim->oracle, configuration->rules);
    for (size_t i = 0; i < PREPARATIONS_MAX; i++)
        sim->preparing[i].stale = true;
}

static void configure(struct world_sim *sim, bool all)
{
    struct sluice_error error;
    struct configuration *made = configuration_new(sim, all);

    takes_effect(sim, made);
    if (engine_configure_at_once(sim->engine, &made->config, configuration_free, made, sim->now, &error) != SLUICE_OK)
        sim_fail("a configuration was refused: %s", error.text);
}

static void prepared(struct world_sim *sim, struct preparing *preparing)
{
    struct sluice_error error = { .code = SLUICE_OK };
    bool stale = preparing->stale;

    if (!stale)
        takes_effect(sim, preparing->configuration);
    enum sluice_err err = engine_configure(sim->engine, preparing->preparation, sim->now, &error);
    if (err != (stale ? SLUICE_ESTALE : SLUICE_OK))
        sim_fail("a configuration that is %s was answered %d: %s", stale ? "stale" : "not stale", (int)err, error.text);
    sim->report.stale += stale;
    sim->report.prepared += !stale;
    preparing->over = true;
}

/* The next step of one, or another begins. */
static void prepare(struct world_sim *sim)
{
    struct preparing *preparing = &sim->preparing[below(sim, PREPARATIONS_MAX)];
    struct sluice_error error;

    if (!percent(sim, preparing->preparation == NULL ? 1 : 20) || (sim->calm && preparing->preparation == NULL))
        return;
    if (preparing->preparation == NULL) {
        *preparing = (struct preparing){ .preparation = engine_prepare(sim->engine) };
    } else if (preparing->over || percent(sim, 5)) { /* given up, at any step */
        preparing->preparation = preparation_free(preparing->preparation);
    } else if (preparing->configuration == NULL) {
        preparing->configuration = configuration_new(sim, sim->calm || percent(sim, 50));
        if (preparation_run(preparing->preparation, &preparing->configuration->config, configuration_free, preparing->configuration, &error) != SLUICE_OK)
            sim_fail("a configuration was refused: %s", error.text);
    } else if (percent(sim, 50) || engine_bind(sim->engine, preparing->preparation)) {
        prepared(sim, preparing);
    }
}

/* Changed rules are made whole in the background: other configurations may come before it is done. */
static void rules_work(struct world_sim *sim)
{
    if (!percent(sim, 20))
        return;
    if (sim->rules_work == NULL) {
        sim->rules_work = engine_rules_work(sim->engine);
        sim->rules_work_run = sim->rules_work_ended = false;
        sim->report.rules_works += sim->rules_work != NULL;
    } else if (sim->rules_work_ended) {
        rules_work_free(sim->rules_work);
        sim->rules_work = NULL;
    } else if (sim->rules_work_run || percent(sim, 5)) {
        engine_rules_work_end(sim->engine, sim->rules_work);
        sim->rules_work_ended = true;
    } else {
        rules_work_run(sim->rules_work);
        sim->rules_work_run = true;
    }
}

/* ---- processes ---- */

static struct process *process_find(struct world_sim *sim, uint64_t id)
{
    return id >= 1 && id <= sim->processes.count ? &sim->processes.items[id - 1] : NULL;
}

static bool asks_for_work(const struct process *process)
{
    return process->protocol == PROTOCOL_NATIVE || process->protocol == PROTOCOL_LAMBDA;
}

static unsigned function_of(const char *name)
{
    return (unsigned)(name[1] - '0');
}

/* NULL: it is not in the configuration. */
static const struct config_function *configured(const struct world_sim *sim, unsigned function)
{
    return config_function_find(&sim->configuration->config, sim->functions[function].name);
}

static bool process_works(const struct process *process)
{
    return process->started && !process->gone && !process->hangs;
}

static bool world_start(void *ctx, uint64_t instance, const struct config_function *function)
{
    struct world_sim *sim = ctx;

    ASSERT(sim->deciding);
    if (function->command[0] == NULL)
        sim_fail("an instance of %s was started, which has no command", function->name);
    while (sim->processes.count < instance)
        VEC_PUSH(&sim->processes, (struct process){ .gone = true });
    if (!sim->spawner)
        return false;
    struct process *process = &sim->processes.items[instance - 1];
    *process = (struct process){ .id = instance, .function = function_of(function->name), .protocol = function->protocol,
                                 .batch_size = function->batch_size, .timeout_ms = function->timeout_ms,
                                 .partial = function->batch_partial_failures, .began_us = sim->now.mono.us };
    if (sim->draining)
        sim_fail("an instance of %s was started while the engine drains", function->name);
    if (!sim->calm && percent(sim, 4))
        act_after(sim, (int64_t)below(sim, 20000), ACT_GONE, instance, 1); /* cannot be exec'd */
    else
        act_after(sim, (int64_t)below(sim, 50000), ACT_STARTED, instance, 0);
    return true;
}

static int64_t service_us(struct world_sim *sim, const struct process *process)
{
    return 1 + (int64_t)below(sim, (uint64_t)sim->service_us[process->function] * 2);
}

/* Has it room for so many more? */
static void room_check(struct world_sim *sim, struct process *process, uint64_t lease, unsigned count, int64_t deadline_wall_ms)
{
    if (process == NULL || process->gone || process->ending)
        sim_fail("lease %" PRIu64 " was delivered to an instance that is gone or ending", lease);
    if (deadline_wall_ms < sim->now.wall_ms || count == 0)
        sim_fail("lease %" PRIu64 ": %u deliveries, deadline %" PRId64 " ms", lease, count, deadline_wall_ms - sim->now.wall_ms);
    switch (process->protocol) {
    case PROTOCOL_STDIO:
        if (process->work.count != 0 || count > process->batch_size)
            sim_fail("a stdio process got %u deliveries on top of %zu", count, process->work.count);
        break;
    case PROTOCOL_STDIO_LINES:
        if (process->work.count + count > sim->concurrency[process->function])
            sim_fail("a stdio-lines process has %zu lines and got %u more, of %u", process->work.count, count,
                     sim->concurrency[process->function]);
        break;
    case PROTOCOL_NATIVE:
        if (process->parked == 0 || count > process->batch_size)
            sim_fail("a native instance got %u deliveries for %u parked requests", count, process->parked);
        process->parked--;
        break;
    case PROTOCOL_LAMBDA:
        if (process->parked == 0 || count > 1)
            sim_fail("a lambda instance got %u deliveries for %u parked requests", count, process->parked);
        process->parked--;
        break;
    }
}

static void world_deliver(void *ctx, uint64_t instance, uint64_t lease, int64_t deadline_wall_ms, const struct handover *handovers,
                          unsigned count)
{
    struct world_sim *sim = ctx;
    struct process *process = process_find(sim, instance);

    room_check(sim, process, lease, count, deadline_wall_ms);
    const struct config_function *function = config_function_find(&sim->configuration->config, sim->functions[process->function].name);
    if (process->leaving || function == NULL || function->scale_max == 0)
        sim_fail("lease %" PRIu64 " of f%u was delivered to one that leaves, or though it is paused", lease, process->function);
    if (callers_waiting(sim->callers, process->function))
        sim_fail("f%u got an event while a caller waits", process->function);
    bool idle = process->work.count == 0;
    for (unsigned i = 0; i < count; i++) {
        oracle_handed(sim->oracle, instance, &handovers[i], process->function);
        VEC_PUSH(&process->work, (struct work){ .delivery = handovers[i].delivery, .lease = lease, .index = i, .since_us = sim->now.mono.us });
    }
    if (process->started && (asks_for_work(process) || idle))
        act_after(sim, service_us(sim, process), ACT_WORK, instance, lease);
}

static void world_invoke(void *ctx, uint64_t instance, uint64_t lease, int64_t deadline_wall_ms, uint64_t invoke)
{
    struct world_sim *sim = ctx;
    struct process *process = process_find(sim, instance);

    room_check(sim, process, lease, 1, deadline_wall_ms);
    callers_began(sim->callers, invoke, process->function);
    bool idle = process->work.count == 0;
    VEC_PUSH(&process->work, (struct work){ .lease = lease, .invoke = invoke, .since_us = sim->now.mono.us });
    if (process->started && (asks_for_work(process) || idle))
        act_after(sim, service_us(sim, process), ACT_WORK, instance, lease);
}

static void world_invoke_answered(void *ctx, uint64_t invoke, const struct invoke_answer *answer)
{
    struct world_sim *sim = ctx;
    callers_answered(sim->callers, invoke, answer, configured(sim, callers_function(sim->callers, invoke)), sim->draining, sim->now);
}

static void world_stop(void *ctx, uint64_t instance, const char *reason)
{
    struct world_sim *sim = ctx;
    struct process *process = process_find(sim, instance);

    (void)reason;
    if (process == NULL || process->gone || process->ending || process->work.count != 0)
        sim_fail("instance %" PRIu64 " was stopped while it ends or works", instance);
    process->ending = true;
    process->parked = 0;
    if (process->attached) { /* the engine has forgotten it */
        process->gone = true;
        return;
    }
    act_after(sim, 1 + (int64_t)below(sim, 50000), ACT_GONE, instance, 0);
}

/* Killed because it was not up in time: had it had its time? What it was started for may fail with it, before anything else happens. */
static void start_timeout(struct world_sim *sim, struct process *process)
{
    int64_t took_ms = (sim->now.mono.us - process->began_us) / 1000, limit_ms = INIT_LIMIT_MS;

    if (process->protocol == PROTOCOL_LAMBDA && process->timeout_ms < limit_ms)
        limit_ms = process->timeout_ms; /* of a repeated INIT */
    if (process->up || took_ms < limit_ms)
        sim_fail("instance %" PRIu64 " was killed for a slow start after %" PRId64 " ms", process->id, took_ms);
    process->overran = true;
    callers_start_fails(sim->callers, process->function, false);
    if (process->protocol == PROTOCOL_LAMBDA)
        oracle_start_failed(sim->oracle, process->function);
}

static void world_kill(void *ctx, uint64_t instance, const char *reason)
{
    struct world_sim *sim = ctx;
    struct process *process = process_find(sim, instance);

    if (process == NULL || process->gone)
        sim_fail("instance %" PRIu64 " was killed after its end", instance);
    bool known = strcmp(reason, "timeout") != 0; /* it is killed once for each of its leases */
    if (known)
        start_timeout(sim, process);
    for (size_t i = 0; i < sim->killed.count; i++)
        known |= sim->killed.items[i] == instance;
    if (!known)
        VEC_PUSH(&sim->killed, instance);
    if (process->killed)
        return;
    process->killed = process->ending = process->hangs = true;
    act_after(sim, 1 + (int64_t)below(sim, 5000), ACT_GONE, instance, 0);
}

static void work_drop(struct process *process, size_t at)
{
    memmove(&process->work.items[at], &process->work.items[at + 1], (process->work.count - at - 1) * sizeof *process->work.items);
    process->work.count--;
}

/* Is the lease of this piece of work over? Nobody can tell of an invocation whose caller has left: its time says so. */
static bool work_is_over(struct world_sim *sim, const struct process *process, const struct work *work, bool first)
{
    uint32_t function;
    uint64_t holder;

    if (work->invoke != 0 && callers_has_left(sim->callers, work->invoke))
        return work->since_us + process->timeout_ms * 1000 <= sim->now.mono.us && (first || process->protocol != PROTOCOL_STDIO_LINES);
    if (work->invoke != 0)
        return !callers_runs_unanswered(sim->callers, work->invoke);
    ASSERT(engine_function_find(sim->engine, view_of(sim->functions[process->function].name), &function));
    return !engine_delivery_leased(sim->engine, function, work->delivery, &holder);
}

static void work_failed(struct world_sim *sim, const struct work *work)
{
    if (work->invoke != 0)
        callers_over(sim->callers, work->invoke);
    else
        oracle_failed(sim->oracle, work->delivery, sim->now);
}

/* The engine killed it for a timeout: what did it fail, and had that had its time? */
static void timeouts_check(struct world_sim *sim)
{
    for (size_t k = 0; k < sim->killed.count; k++) {
        struct process *process = process_find(sim, sim->killed.items[k]);
        unsigned failed = 0;
        for (size_t i = 0; i < process->work.count;) {
            const struct work *work = &process->work.items[i];
            if (!work_is_over(sim, process, work, i == 0 && failed == 0)) {
                i++;
                continue;
            }
            if (work->since_us + process->timeout_ms * 1000 > sim->now.mono.us)
                sim_fail("delivery %" PRIu64 ".%u timed out after %" PRId64 " of %" PRId64 " ms", work->delivery.seq, work->delivery.ordinal,
                         (sim->now.mono.us - work->since_us) / 1000, process->timeout_ms);
            work_failed(sim, work);
            work_drop(process, i);
            failed++;
            if (process->protocol == PROTOCOL_STDIO_LINES && process->work.count > 0)
                process->work.items[0].since_us = sim->now.mono.us;
        }
        if (failed == 0)
            sim_fail("instance %" PRIu64 " was killed for a timeout, and nothing of it failed", process->id);
    }
    sim->killed.count = 0;
}

/* Of the leases that are out, those from some point on were never sent whole. */
static void connection_end(struct world_sim *sim, struct process *process)
{
    uint64_t reached = percent(sim, 60) ? UINT64_MAX : 0;

    if (process->work.count > 0 && percent(sim, 50))
        reached = process->work.items[below(sim, process->work.count)].lease;
    process->gone = true;
    for (size_t i = 0; i < process->work.count; i++) {
        if (process->work.items[i].lease <= reached)
            oracle_lost(sim->oracle, process->work.items[i].delivery, sim->now);
        else
            oracle_returned(sim->oracle, process->work.items[i].delivery);
    }
    process->work.count = 0;
    engine_attached_lost(sim->engine, process->id, reached, sim->now);
}

static void process_end(struct world_sim *sim, struct process *process, bool failed_start)
{
    if (process->attached) {
        connection_end(sim, process);
        return;
    }
    bool unread = failed_start || !process->started || (!process->killed && percent(sim, 10));
    struct instance_gone gone = { .reason = VIEW_LITERAL("exit status 1"), .output = VIEW_LITERAL("last words\n"),
                                  .failed_start = failed_start, .clean = process->clean_end, .input_unread = unread };
    VEC(uint64_t) invokes = { 0 };

    process->gone = true;
    for (size_t i = 0; i < process->work.count; i++) {
        const struct work *work = &process->work.items[i];
        if (work->invoke != 0) {
            callers_ends(sim->callers, work->invoke, INVOKE_FAILED, false);
            VEC_PUSH(&invokes, work->invoke);
        } else if (unread) {
            oracle_returned(sim->oracle, work->delivery);
        } else {
            oracle_failed(sim->oracle, work->delivery, sim->now);
        }
    }
    if (!process->up && !process->overran && process->work.count == 0) {
        callers_start_fails(sim->callers, process->function, false);
        if (process->protocol == PROTOCOL_LAMBDA)
            oracle_start_failed(sim->oracle, process->function);
    }
    process->work.count = 0;
    engine_instance_gone(sim->engine, process->id, &gone, sim->now);
    callers_start_failed(sim->callers);
    for (size_t i = 0; i < invokes.count; i++)
        callers_over(sim->callers, invokes.items[i]);
    VEC_DONE(&invokes);
}

static unsigned process_leases(const struct process *process)
{
    unsigned leases = 0;

    for (size_t i = 0; i < process->work.count; i++) {
        size_t first = 0;
        while (process->work.items[first].lease != process->work.items[i].lease)
            first++;
        leases += first == i;
    }
    return leases;
}

static void process_wants(struct world_sim *sim, struct process *process)
{
    bool lambda = process->protocol == PROTOCOL_LAMBDA;
    unsigned max = lambda ? 1 : 1 + (unsigned)below(sim, process->batch_size * 2);

    if (process->parked >= (lambda ? sim->concurrency[process->function] : NATIVE_PARKED_MAX))
        return;
    bool room = !process->attached || process->parked + process_leases(process) < process->places;
    process->up = true;
    process->parked++;
    enum sluice_err err = engine_instance_wants(sim->engine, process->id, max > process->batch_size ? process->batch_size : max, sim->now);
    if (err != SLUICE_OK)
        process->parked--;
    if ((err == SLUICE_ELIMIT) == room && (err == SLUICE_ELIMIT || err == SLUICE_OK))
        sim_fail("a consumer with %u requests and %u leases of %u places was answered %s", process->parked, process_leases(process),
                 process->places, sluice_err_name(err));
}

/* ---- consumers ---- */

static void consumer_attaches(struct world_sim *sim)
{
    unsigned f = percent(sim, 50) ? 2 : 6, places = (unsigned)below(sim, 6);
    const struct config_function *function = config_function_find(&sim->configuration->config, sim->functions[f].name);
    struct attached attached;
    struct sluice_error error;

    enum sluice_err err = engine_attach(sim->engine, &(struct attach){ .function = view_of(sim->functions[f].name), .concurrency = places },
                                        sim->now, &attached, &error);
    enum sluice_err expected = sim->draining ? SLUICE_EUNAVAILABLE : function == NULL ? SLUICE_ENOTFOUND : SLUICE_OK;
    if (err != expected)
        sim_fail("a consumer of %s was answered %s, not %s", sim->functions[f].name, sluice_err_name(err), sluice_err_name(expected));
    if (err != SLUICE_OK)
        return;
    while (sim->processes.count < attached.instance)
        VEC_PUSH(&sim->processes, (struct process){ .gone = true });
    struct process *process = &sim->processes.items[attached.instance - 1];
    *process = (struct process){ .id = attached.instance, .function = f, .protocol = PROTOCOL_NATIVE, .batch_size = function->batch_size,
                                 .timeout_ms = function->timeout_ms, .partial = function->batch_partial_failures, .started = true,
                                 .attached = true, .places = places == 0 ? function->concurrency : places };
    for (unsigned wants = (unsigned)below(sim, NATIVE_PARKED_MAX + 1); wants > 0; wants--)
        process_wants(sim, process);
}

/* Some go, with a word or without. */
static void consumers_go(struct world_sim *sim, unsigned chance)
{
    for (size_t i = 0; i < sim->processes.count; i++) {
        struct process *process = &sim->processes.items[i];
        if (!process->attached || process->gone || !percent(sim, chance))
            continue;
        if (process->leaving || process->ending || percent(sim, 50)) {
            process_end(sim, process, false);
            continue;
        }
        process->leaving = true;
        if (engine_instance_leaves(sim->engine, process->id, sim->now) != SLUICE_OK)
            sim_fail("a consumer that is attached may not leave");
    }
}

/* A lambda function's own INIT: now and then it exits, says that it cannot, or hangs. */
static void process_init(struct world_sim *sim, struct process *process)
{
    unsigned flaky = sim->calm ? 0 : sim->flaky[process->function];
    int64_t took_us = (int64_t)below(sim, 100000);

    if (percent(sim, flaky)) {
        switch (below(sim, 5)) {
        case 0: return; /* until it is killed */
        case 1: case 2: act_after(sim, took_us, ACT_GONE, process->id, 0); return;
        default: act_after(sim, took_us, ACT_INIT_ERROR, process->id, 0); return;
        }
    }
    for (unsigned i = 0; i < sim->concurrency[process->function]; i++)
        act_after(sim, took_us + (int64_t)below(sim, 1000), ACT_WANT, process->id, 0);
}

static void process_init_error(struct world_sim *sim, struct process *process)
{
    static const struct failure failure = { .type = VIEW_LITERAL("Runtime.ImportModuleError"), .message = VIEW_LITERAL("no module"),
                                            .output = VIEW_LITERAL("") };

    if (process->up)
        return;
    bool ending = process->ending;
    if (!ending) { /* else it is killed already, and its last word changes nothing */
        callers_start_fails(sim->callers, process->function, true);
        oracle_start_failed(sim->oracle, process->function);
    }
    engine_instance_init_failed(sim->engine, process->id, &failure, VIEW_LITERAL("init"), sim->now);
    callers_start_failed(sim->callers);
    if (!ending && !process->ending)
        sim_fail("instance %" PRIu64 " said that it cannot start, and is kept", process->id);
}

static void process_started(struct world_sim *sim, struct process *process)
{
    if (process->gone || process->started)
        return;
    process->started = true;
    process->up |= !asks_for_work(process);
    engine_instance_started(sim->engine, process->id, (int64_t)process->id, sim->now);
    if (process->protocol == PROTOCOL_NATIVE) {
        unsigned wants = 1 + (unsigned)below(sim, NATIVE_PARKED_MAX);
        for (unsigned i = 0; i < wants; i++)
            process_wants(sim, process);
    } else if (process->protocol == PROTOCOL_LAMBDA) {
        process_init(sim, process);
    } else if (process->work.count > 0) {
        act_after(sim, service_us(sim, process), ACT_WORK, process->id, process->work.items[0].lease);
    }
}

static const struct failure function_error = { .type = VIEW_LITERAL("Function.Error"), .message = VIEW_LITERAL("it said no"),
                                               .output = VIEW_LITERAL("output") };

static void result_again(struct world_sim *sim, uint64_t instance, uint64_t lease, unsigned first, unsigned count)
{
    if (percent(sim, 5) && engine_result(sim->engine, instance, lease, first, count, NULL, (struct view){ 0 }, sim->now) == SLUICE_OK)
        sim_fail("a result was taken twice");
}

static void invoke_result(struct world_sim *sim, struct process *process, size_t at, bool failed)
{
    const struct work work = process->work.items[at];
    bool posted = !failed || percent(sim, 50);
    char text[24];

    work_drop(process, at);
    callers_ends(sim->callers, work.invoke, failed ? INVOKE_FAILED : INVOKE_DONE, posted);
    uint64_t id = process->id;
    struct view result = posted ? callers_result(work.invoke, text) : (struct view){ 0 };
    enum sluice_err err = engine_result(sim->engine, id, work.lease, 0, 1, failed ? &function_error : NULL, result, sim->now);
    if (err != SLUICE_OK)
        sim_fail("the live lease of an invocation was refused its result: %s", sluice_err_name(err));
    callers_over(sim->callers, work.invoke);
    result_again(sim, id, work.lease, 0, 1);
}

/* One result for `count` deliveries of the work, all of one lease, or for an invocation. */
static void result_of(struct world_sim *sim, struct process *process, size_t at, size_t count, bool failed)
{
    uint64_t lease = process->work.items[at].lease;
    unsigned first = process->work.items[at].index;

    if (process->work.items[at].invoke != 0) {
        ASSERT(count == 1);
        invoke_result(sim, process, at, failed);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        if (failed)
            oracle_failed(sim->oracle, process->work.items[at].delivery, sim->now);
        else
            oracle_succeeded(sim->oracle, process->work.items[at].delivery);
        work_drop(process, at);
    }
    uint64_t id = process->id;
    enum sluice_err err = engine_result(sim->engine, id, lease, first, (unsigned)count, failed ? &function_error : NULL, (struct view){ 0 },
                                        sim->now);
    if (err != SLUICE_OK)
        sim_fail("a live lease was refused its result: %s", sluice_err_name(err));
    result_again(sim, id, lease, first, (unsigned)count);
}

static void lambda_result(struct world_sim *sim, struct process *process, uint64_t lease, bool failed)
{
    size_t at = 0;

    while (at < process->work.count && process->work.items[at].lease != lease)
        at++;
    if (at == process->work.count)
        return;
    result_of(sim, process, at, 1, failed);
    if (percent(sim, 90))
        process_wants(sim, process);
    else
        act_after(sim, (int64_t)below(sim, 100000), ACT_WANT, process->id, 0);
}

static void native_result(struct world_sim *sim, struct process *process, uint64_t lease)
{
    struct item_failure failures[64];
    unsigned failed = 0, count = 0;

    for (size_t i = 0; i < process->work.count; i++) {
        if (process->work.items[i].lease != lease)
            continue;
        if (failed < 64 && percent(sim, sim->calm ? 0 : sim->flaky[process->function] / 2))
            failures[failed++] = (struct item_failure){ .index = process->work.items[i].index, .failure = function_error };
        count++;
    }
    if (count == 0)
        return;
    for (size_t i = 0; i < process->work.count;) {
        const struct work *work = &process->work.items[i];
        bool fails = failed > 0 && !process->partial;
        if (work->lease != lease) {
            i++;
            continue;
        }
        for (unsigned f = 0; f < failed; f++)
            fails |= failures[f].index == work->index;
        if (fails)
            oracle_failed(sim->oracle, work->delivery, sim->now);
        else
            oracle_succeeded(sim->oracle, work->delivery);
        work_drop(process, i);
    }
    if (engine_result_batch(sim->engine, process->id, lease, failures, failed, sim->now) != SLUICE_OK)
        sim_fail("a live native lease was refused its result");
    if (percent(sim, 90))
        process_wants(sim, process);
    else
        act_after(sim, (int64_t)below(sim, 100000), ACT_WANT, process->id, 0);
}

static void process_works_on(struct world_sim *sim, struct process *process, uint64_t lease)
{
    unsigned flaky = sim->calm ? 0 : sim->flaky[process->function];

    if (!process_works(process) || process->work.count == 0)
        return;
    if (percent(sim, flaky / 8)) { /* never again, until it is killed */
        process->hangs = true;
        return;
    }
    if (percent(sim, flaky / 6)) {
        process->clean_end = percent(sim, 30);
        process_end(sim, process, false);
        return;
    }
    switch (process->protocol) {
    case PROTOCOL_STDIO:
        process->clean_end = !percent(sim, flaky);
        result_of(sim, process, 0, process->work.count, !process->clean_end);
        act_after(sim, (int64_t)below(sim, 1000), ACT_GONE, process->id, 0);
        break;
    case PROTOCOL_STDIO_LINES: {
        size_t count = 1, most = 1 + (size_t)below(sim, 3);
        while (count < most && count < process->work.count && process->work.items[count].lease == process->work.items[0].lease)
            count++;
        result_of(sim, process, 0, count, percent(sim, flaky));
        if (process->work.count > 0) {
            process->work.items[0].since_us = sim->now.mono.us;
            act_after(sim, service_us(sim, process), ACT_WORK, process->id, process->work.items[0].lease);
        }
        break;
    }
    case PROTOCOL_NATIVE: native_result(sim, process, lease); break;
    case PROTOCOL_LAMBDA: lambda_result(sim, process, lease, percent(sim, flaky)); break;
    }
}

/* ---- callers ---- */

static void call(struct world_sim *sim)
{
    unsigned f = (unsigned)below(sim, SIM_FUNCTIONS), count = 1 + (unsigned)below(sim, percent(sim, 10) ? 20 : 2);
    uint32_t function;

    if (sim->calm)
        return;
    act_after(sim, (int64_t)below(sim, 60000), ACT_CALL, 0, 0);
    if (!engine_function_find(sim->engine, view_of(sim->functions[f].name), &function))
        return;
    for (unsigned i = 0; i < count; i++) {
        uint64_t handle = callers_next(sim->callers);
        enum sluice_err said = engine_invoke(sim->engine, function, handle, sim->now, NULL);
        callers_asked(sim->callers, f, said, configured(sim, f), sim->draining, sim->now);
        if (percent(sim, 20))
            act_after(sim, (int64_t)below(sim, 200000), ACT_LEAVE, 0, 0);
    }
}

static void leave(struct world_sim *sim)
{
    uint64_t handle = callers_any(sim->callers, chance_next(&sim->chance) >> 20);

    if (handle == 0)
        return;
    engine_invoke_cancel(sim->engine, handle);
    callers_left(sim->callers, handle);
}

/* ---- producers ---- */

/* What the producer says with a batch: all before this one are settled. */
static uint64_t lowest_outstanding(const struct world_sim *sim, const struct batch *batch)
{
    uint64_t lowest = batch->sequence;

    if (batch->producer < 0)
        return 0;
    const struct producer_sim *producer = &sim->producers[batch->producer];
    for (size_t i = 0; i < producer->outstanding.count; i++) {
        uint64_t sequence = sim->batches.items[producer->outstanding.items[i]].sequence;
        if (sequence < lowest)
            lowest = sequence;
    }
    return lowest;
}

static void batch_send(struct world_sim *sim, size_t batch)
{
    /* Lost one time in ten, twice one time in ten; late by up to 30 ms, so that batches overtake each other. */
    unsigned copies = sim->calm || percent(sim, 80) ? 1 : percent(sim, 50) ? 0 : 2;

    for (unsigned i = 0; i < copies; i++)
        act_after(sim, (int64_t)below(sim, 30000), ACT_ARRIVE, batch, lowest_outstanding(sim, &sim->batches.items[batch]));
}

/* An asynchronous invocation is a publish of its own. */
static void batch_make(struct world_sim *sim, int producer, int invoked)
{
    struct batch batch = { .producer = producer };
    unsigned max = sim->burst && !sim->calm && percent(sim, 40) ? BATCH_EVENTS_BURST : BATCH_EVENTS_MAX;

    batch.count = 1 + (uint32_t)below(sim, invoked >= 0 ? 1 : max);
    batch.invoked = invoked;
    if (producer >= 0) {
        batch.epoch = sim->producers[producer].epoch;
        batch.sequence = ++sim->producers[producer].sequence;
    }
    for (uint32_t i = 0; i < batch.count; i++) {
        struct sim_event made = { .source = (unsigned)below(sim, SIM_SOURCES), .refusable = invoked < 0 && percent(sim, 3), .invoked = invoked,
                                  .producer = producer,
                                  .epoch = batch.epoch, .sequence = batch.sequence };
        if (percent(sim, 4))
            made.not_before_ms = sim->now.wall_ms + (int64_t)below(sim, 3000);
        uint32_t number = oracle_event(sim->oracle, &made);
        if (i == 0)
            batch.first_event = number;
        char id[16], source[8];
        (void)snprintf(id, sizeof id, "e%u", number);
        (void)snprintf(source, sizeof source, "s%u", made.source);
        struct event event = { .id = view_of(id), .source = view_of(source), .detail_type = VIEW_LITERAL("Simulated"),
                               .detail = VIEW_LITERAL("{}"), .has_time = percent(sim, 50), .time_ms = sim->now.wall_ms,
                               .has_not_before = made.not_before_ms != 0, .not_before_ms = made.not_before_ms };
        if (invoked >= 0)
            event.kind = EVENT_KIND_INVOKE;
        if (made.refusable)
            event.bus = VIEW_LITERAL("nowhere");
        envelope_encode(&event, &batch.bytes);
    }
    VEC_PUSH(&sim->batches, batch);
    if (producer >= 0)
        VEC_PUSH(&sim->producers[producer].outstanding, sim->batches.count - 1);
    batch_send(sim, sim->batches.count - 1);
}

/* Now and then: a new batch, or the old ones again, or a new life of the producer, which forgets what it had sent. */
static void produce(struct world_sim *sim, uint64_t index)
{
    struct producer_sim *producer = &sim->producers[index];

    bool waits = producer->outstanding.count > 0;
    act_after(sim, (int64_t)below(sim, !sim->calm ? 60000 : waits ? 200000 : 5000000), ACT_PRODUCE, index, 0);
    if (!sim->calm && percent(sim, 1)) {
        for (size_t i = 0; i < producer->outstanding.count; i++)
            sim->batches.items[producer->outstanding.items[i]].settled = true;
        producer->outstanding.count = 0;
        producer->epoch++;
        producer->sequence = 0;
    }
    if (!sim->calm && percent(sim, 25))
        batch_make(sim, -1, percent(sim, 80) ? (int)below(sim, SIM_FUNCTIONS) : -1);
    if (producer->outstanding.count < OUTSTANDING_MAX && !sim->calm)
        batch_make(sim, (int)index, -1);
    else
        for (size_t i = 0; i < producer->outstanding.count; i++)
            batch_send(sim, producer->outstanding.items[i]);
}

static void batch_arrives(struct world_sim *sim, size_t index, uint64_t lowest)
{
    const struct batch *batch = &sim->batches.items[index];
    struct publish publish = { .reply = sim->replies.count + 1, .has_producer = batch->producer >= 0, .epoch = batch->epoch,
                               .sequence = batch->sequence, .lowest = lowest, .events = bytes_view(&batch->bytes),
                               .count = batch->count };

    if (batch->producer < 0 && batch->repeat)
        return; /* without a producer's number a repeat is another event; the sender knows and sends once */
    sim->batches.items[index].repeat = true;
    if (batch->invoked >= 0) {
        if (!engine_function_find(sim->engine, view_of(sim->functions[batch->invoked].name), &publish.function))
            return;
        oracle_event_refusable(sim->oracle, batch->first_event, configured(sim, (unsigned)batch->invoked) == NULL);
    }
    publish.producer[0] = (uint8_t)(batch->producer + 1);
    VEC_PUSH(&sim->replies, (struct reply){ .batch = index, .life = sim->life });
    engine_publish(sim->engine, &publish, sim->accepts, "the simulated store is nearly full", sim->now);
    if (!sim->calm && percent(sim, 2)) {
        sim->replies.items[publish.reply - 1].cancelled = true;
        engine_publish_cancel(sim->engine, publish.reply);
    }
}

static void answer_check(const struct world_sim *sim, const struct batch *batch, const struct publish_answer *answer)
{
    size_t refused = 0;

    for (uint32_t i = 0; i < batch->count; i++) {
        const struct sim_event *event = oracle_event_at(sim->oracle, batch->first_event + i);
        if (refused < answer->refusals_count && answer->refusals[refused].index == i) {
            if (!event->refusable)
                sim_fail("event e%u was refused: %s", batch->first_event + i, answer->refusals[refused].error.text);
            refused++;
        } else if (event->refusable) {
            sim_fail("event e%u, on a bus that does not exist, was accepted%s", batch->first_event + i,
                     answer->duplicate ? " when it was repeated" : "");
        } else if (event->seq == 0) {
            sim_fail("event e%u was acked before it was on the disk", batch->first_event + i);
        }
    }
    if (answer->accepted + answer->refusals_count != batch->count || refused != answer->refusals_count)
        sim_fail("%u accepted and %zu refused of %u", answer->accepted, answer->refusals_count, batch->count);
}

static void world_answered(void *ctx, uint64_t number, const struct publish_answer *answer)
{
    struct world_sim *sim = ctx;
    struct reply *reply = &sim->replies.items[number - 1];
    const struct batch *batch = &sim->batches.items[reply->batch];

    if (reply->answered)
        sim_fail("publish %" PRIu64 " was answered twice", number);
    if (reply->life != sim->life)
        sim_fail("publish %" PRIu64 " of an earlier life was answered", number);
    reply->answered = true;
    if (answer->code == SLUICE_OK)
        answer_check(sim, batch, answer);
    else if (answer->code == SLUICE_ESTALE && batch->epoch >= sim->producers[batch->producer].epoch)
        sim_fail("the newest epoch of producer %d was called stale", batch->producer);
    if (!reply->cancelled && (sim->calm || percent(sim, 90)) && answer->code == SLUICE_OK)
        act_after(sim, (int64_t)below(sim, 10000), ACT_ANSWER, reply->batch, 0);
}

static void answer_arrives(struct world_sim *sim, size_t index)
{
    struct batch *batch = &sim->batches.items[index];

    if (batch->settled || batch->producer < 0)
        return;
    batch->settled = true;
    struct producer_sim *producer = &sim->producers[batch->producer];
    for (size_t i = 0; i < producer->outstanding.count; i++) {
        if (producer->outstanding.items[i] != index)
            continue;
        memmove(&producer->outstanding.items[i], &producer->outstanding.items[i + 1],
                (producer->outstanding.count - i - 1) * sizeof *producer->outstanding.items);
        producer->outstanding.count--;
        return;
    }
}

/* ---- lives of the engine ---- */

static void world_log(void *ctx, enum log_level level, const char *line)
{
    const struct world_sim *sim = ctx;

    if (sim->verbose)
        (void)fprintf(stderr, "%" PRId64 " %s\n", sim->now.mono.us, line);
    if (level == LOG_ERROR)
        sim_fail("the engine logged an error: %s", line);
}

static int64_t world_cpu_us(void *ctx, uint64_t instance)
{
    struct world_sim *sim = ctx;
    const struct process *process = process_find(sim, instance);
    return process == NULL || process->gone ? -1 : sim->now.mono.us / 20; /* a twentieth of a core: never the bound */
}

static void engine_begin(struct world_sim *sim)
{
    struct world world = { .ctx = sim, .publish_answered = world_answered, .start = world_start, .deliver = world_deliver,
                           .invoke = world_invoke, .invoke_answered = world_invoke_answered,
                           .stop = world_stop, .kill = world_kill, .log = world_log, .cpu_us = world_cpu_us };
    const struct model_store *store = sim->store;

    sim->life++;
    sim->draining = false;
    model_store_reader(sim->store, &world.reader);
    sim->engine = engine_new(&(struct engine_options){ .seed = chance_next(&sim->chance), .cores = 2, .memory_free_bytes = 1ULL << 34 }, &world);
    size_t known = 0; /* the reader was asked about others before their names were durable */
    while (known < store->queues.count && store->queues.items[known].name != NULL)
        known++;
    for (size_t i = 0; i < known; i++)
        engine_restore_function(sim->engine, &(struct function_row){ .id = (uint32_t)i + 1, .name = view_of(store->queues.items[i].name) });
    for (size_t i = 0; i < store->targets.count; i++)
        engine_restore_target(sim->engine, &store->targets.items[i].row);
    for (size_t i = 0; i < known; i++)
        engine_restore_queue(sim->engine, &store->queues.items[i].state);
    for (size_t i = 0; i < store->producers.count; i++)
        engine_restore_producer(sim->engine, &store->producers.items[i]);
    engine_restore_totals(sim->engine, store->revision, store->next_seq, store->events_total, store->unmatched_total);
    configure(sim, sim->calm);
    engine_recovered(sim->engine, sim->now);
    engine_spawner_ready(sim->engine, sim->now);
    sim->spawner = true;
    oracle_crashed(sim->oracle);
}

static void engine_end(struct world_sim *sim)
{
    if (sim->rules_work != NULL && !sim->rules_work_ended)
        engine_rules_work_end(sim->engine, sim->rules_work);
    sim->engine = engine_free(sim->engine); /* what others hold stays */
    rules_work_free(sim->rules_work);
    sim->rules_work = NULL;
    for (size_t i = 0; i < PREPARATIONS_MAX; i++)
        sim->preparing[i].preparation = preparation_free(sim->preparing[i].preparation);
    sim->configuration = NULL;
    sim->commit = NULL;
    sim->committing = sim->applied = false;
    for (size_t i = 0; i < sim->processes.count; i++)
        VEC_DONE(&sim->processes.items[i].work);
    sim->processes.count = 0;
    sim->killed.count = 0;
    callers_crashed(sim->callers);
}

static void commit_apply(struct world_sim *sim)
{
    if (sim->refuse)
        return;
    model_store_apply(sim->store, sim->commit);
    oracle_applied(sim->oracle, sim->commit);
    sim->applied = true;
}

static void crash(struct world_sim *sim)
{
    /* A commit on its way is there or not; nobody can tell before looking. */
    if (sim->committing && !sim->applied && percent(sim, 50))
        commit_apply(sim);
    engine_end(sim);
    sim->now.mono.us += 1000 + (int64_t)below(sim, 2000000);
    sim->now.wall_ms = 1700000000000 + sim->now.mono.us / 1000;
    engine_begin(sim);
    sim->report.crashes++;
}

static void committed(struct world_sim *sim)
{
    bool durable = sim->applied;

    sim->committing = sim->applied = false;
    if (durable)
        oracle_durable(sim->oracle);
    else
        oracle_refused(sim->oracle);
    sim->report.refused += !durable;
    engine_committed(sim->engine, sim->commit, durable, sim->now);
    sim->commit = NULL;
}

static void seal(struct world_sim *sim)
{
    if (sim->committing || !engine_has_commit(sim->engine))
        return;
    sim->commit = engine_seal(sim->engine, sim->now);
    oracle_sealed(sim->oracle, sim->commit, sim->now);
    sim->committing = true;
    sim->refuse = !sim->calm && sim->full && percent(sim, 60);
    int64_t took = 100 + (int64_t)below(sim, 10000);
    act_after(sim, took, ACT_APPLY, 0, 0);
    act_after(sim, took + (int64_t)below(sim, percent(sim, 10) ? 60000 : 2000), ACT_COMMITTED, 0, 0);
}

/* All publishes of a life that ended in an orderly way have their answer. */
static void replies_check(const struct world_sim *sim)
{
    for (size_t i = 0; i < sim->replies.count; i++) {
        const struct reply *reply = &sim->replies.items[i];
        if (reply->life == sim->life && !reply->answered && !reply->cancelled)
            sim_fail("publish %zu was never answered", i + 1);
    }
}

static void restart_if_drained(struct world_sim *sim)
{
    if (!sim->draining || !engine_drained(sim->engine) || sim->committing || engine_has_commit(sim->engine))
        return;
    replies_check(sim);
    callers_drained(sim->callers);
    engine_end(sim);
    engine_begin(sim);
}

static void operator_acts(struct world_sim *sim)
{
    struct delivery delivery;
    uint32_t function;
    bool discard = percent(sim, 40);

    if (!oracle_any_dead(sim->oracle, chance_next(&sim->chance) >> 20, &delivery, &function))
        return;
    enum sluice_err err = discard ? engine_purge(sim->engine, function, delivery, sim->now)
                                  : engine_redrive(sim->engine, function, delivery, sim->now);
    if (err == SLUICE_OK)
        oracle_redriven(sim->oracle, delivery, discard, sim->now);
}

static void native_mood(struct world_sim *sim)
{
    for (size_t i = 0; i < sim->processes.count; i++) {
        struct process *process = &sim->processes.items[i];
        if (!asks_for_work(process) || process->gone || process->parked == 0 || !percent(sim, 30))
            continue;
        process->parked--; /* a parked request is lost with its connection, and comes again */
        engine_instance_wants_cancel(sim->engine, process->id);
        act_after(sim, (int64_t)below(sim, 50000), ACT_WANT, process->id, 0);
    }
}

static void chaos(struct world_sim *sim)
{
    if (sim->calm)
        return;
    act_after(sim, (int64_t)below(sim, 120000), ACT_CHAOS, 0, 0);
    switch (below(sim, 20)) {
    case 0: case 15: crash(sim); return;
    case 1:
        if (!sim->draining) {
            sim->draining = true;
            engine_drain(sim->engine, sim->now);
        }
        return;
    case 2: case 3: configure(sim, percent(sim, 50)); return;
    case 4: case 5: case 6: operator_acts(sim); operator_acts(sim); return;
    case 7: case 8: sim->full = !sim->full; return;
    case 9: sim->accepts = !sim->accepts; return;
    case 10:
        sim->spawner = false;
        act_after(sim, (int64_t)below(sim, 300000), ACT_SPAWNER, 0, 0);
        return;
    case 11: case 12: native_mood(sim); return;
    case 13: sim->now.mono.us += (int64_t)below(sim, 10000000); return; /* the machine slept */
    case 14: case 16: consumers_go(sim, 40); return;
    default: return;
    }
}

static void act(struct world_sim *sim, const struct action *action)
{
    struct process *process;
    bool stale = action->life != sim->life;

    switch (action->kind) {
    case ACT_PRODUCE: produce(sim, action->a); return;
    case ACT_ARRIVE: batch_arrives(sim, action->a, action->b); return;
    case ACT_ANSWER: answer_arrives(sim, action->a); return;
    case ACT_CHAOS: chaos(sim); return;
    case ACT_ATTACH:
        if (sim->calm)
            return;
        act_after(sim, (int64_t)below(sim, 200000), ACT_ATTACH, 0, 0);
        if (percent(sim, sim->consumers))
            consumer_attaches(sim);
        return;
    case ACT_SPAWNER:
        sim->spawner = true;
        engine_spawner_ready(sim->engine, sim->now);
        return;
    case ACT_APPLY:
        if (stale)
            return;
        commit_apply(sim);
        if (!sim->calm && percent(sim, 20)) /* the reader shows what the engine has not been told yet */
            operator_acts(sim);
        return;
    case ACT_COMMITTED:
        if (!stale)
            committed(sim);
        return;
    case ACT_CALL: call(sim); return;
    case ACT_LEAVE: leave(sim); return;
    case ACT_STARTED: case ACT_WORK: case ACT_GONE: case ACT_WANT: case ACT_INIT_ERROR:
        process = stale ? NULL : process_find(sim, action->a);
        if (process == NULL || process->gone)
            return;
        if (action->kind == ACT_STARTED)
            process_started(sim, process);
        else if (action->kind == ACT_WORK)
            process_works_on(sim, process, action->b);
        else if (action->kind == ACT_GONE)
            process_end(sim, process, action->b != 0);
        else if (action->kind == ACT_INIT_ERROR)
            process_init_error(sim, process);
        else if (!process->ending && !process->hangs)
            process_wants(sim, process);
        return;
    }
}

/* A delivery that is ready, of a function that may run, does not wait for ever. */
static void stuck_check(struct world_sim *sim)
{
    for (uint32_t id = 1; id <= engine_functions_count(sim->engine); id++) {
        struct function_info info;
        engine_function_info(sim->engine, id, sim->now, &info);
        unsigned f = function_of(info.name);
        callers_compare(sim->callers, f, &info, sim->now);
        unsigned live = info.instances[INSTANCE_STARTING] + info.instances[INSTANCE_READY] + info.instances[INSTANCE_BUSY];
        if (info.ready == 0 || live > info.attached || info.config == NULL || info.config->scale_max == 0 || info.config->command[0] == NULL || sim->draining || !sim->spawner)
            sim->waiting_since_ms[f] = sim->now.wall_ms;
        if (sim->now.wall_ms - sim->waiting_since_ms[f] > STUCK_MS)
            sim_fail("function %s has %llu ready, no instance, and starts none", info.name, (unsigned long long)info.ready);
    }
}

static void turn(struct world_sim *sim)
{
    int64_t wake_us = engine_wake_us(sim->engine);
    bool wakes = sim->actions.count == 0 || wake_us <= sim->actions.items[0].at_us;
    int64_t next_us = wakes ? wake_us : sim->actions.items[0].at_us;

    if (next_us > sim->now.mono.us)
        sim->now.mono.us = next_us;
    sim->now.wall_ms = 1700000000000 + sim->now.mono.us / 1000;
    sim->deciding = true;
    if (!wakes) {
        struct action action = action_take(sim);
        act(sim, &action);
    }
    rules_work(sim);
    if (!sim->draining)
        prepare(sim);
    engine_tick(sim->engine, sim->now);
    callers_start_failed(sim->callers);
    timeouts_check(sim);
    seal(sim);
    sim->deciding = false;
    model_store_turn_end(sim->store);
    restart_if_drained(sim);
    stuck_check(sim);
    oracle_compare(sim->oracle, sim->engine, sim->now);
    sim->step++;
}

/* ---- coming to rest ---- */

static bool at_rest(const struct world_sim *sim)
{
    struct engine_totals totals;

    engine_totals(sim->engine, &totals);
    for (int state = 0; state < INSTANCE_STATES; state++) {
        if (totals.instances[state] != 0)
            return false;
    }
    for (size_t p = 0; p < SIM_PRODUCERS; p++) {
        if (sim->producers[p].outstanding.count != 0)
            return false;
    }
    if (totals.pending != 0 || callers_open(sim->callers) != 0 || sim->committing || engine_has_commit(sim->engine))
        return false;
    oracle_audit(sim->oracle);
    return oracle_open(sim->oracle) == 0;
}

static void settle(struct world_sim *sim)
{
    sim->calm = sim->accepts = true;
    sim->full = false;
    consumers_go(sim, 100); /* those that only say so are gone when the work they hold is done, or timed out */
    if (sim->draining) { /* it ends, and the next one serves */
        while (sim->draining)
            turn(sim);
    } else {
        configure(sim, true);
    }
    if (!sim->spawner) {
        sim->spawner = true;
        engine_spawner_ready(sim->engine, sim->now);
    }
    for (unsigned i = 0; !at_rest(sim); i++) {
        if (i == SETTLE_STEPS_MAX)
            sim_fail("after %d steps without a fault %" PRIu64 " deliveries are still open", SETTLE_STEPS_MAX, oracle_open(sim->oracle));
        turn(sim);
    }
    replies_check(sim);
}

/* Nothing is needed any more: a few more commits must empty the log. */
static void trims_check(struct world_sim *sim)
{
    size_t commits_max = sim->store->log.count / 16 + 3;

    for (size_t i = 0; sim->store->log.count > 2; i++) {
        if (i > commits_max)
            sim_fail("all is settled, %zu commits later the log holds %zu records", i, sim->store->log.count);
        uint64_t commits = engine_commit_durable(sim->engine);
        configure(sim, true);
        while (engine_commit_durable(sim->engine) == commits)
            turn(sim);
    }
}

void world_run(const struct world_options *options, struct world_report *ret_report)
{
    struct world_sim sim = { .chance = { options->seed }, .steps = options->steps, .verbose = options->verbose, .accepts = true };

    running = &sim;
    sim.now = (struct now){ .mono = { 1000000 }, .wall_ms = 1700000001000 };
    functions_make(&sim);
    sim.burst = percent(&sim, 6);
    sim.store = model_store_new();
    sim.oracle = oracle_new(sim.store, sim.functions);
    sim.callers = callers_new();
    engine_begin(&sim);
    for (unsigned p = 0; p < SIM_PRODUCERS; p++) {
        sim.producers[p].epoch = 1;
        act_after(&sim, (int64_t)below(&sim, 20000), ACT_PRODUCE, p, 0);
    }
    act_after(&sim, 50000, ACT_CHAOS, 0, 0);
    act_after(&sim, 10000, ACT_ATTACH, 0, 0);
    act_after(&sim, 10000, ACT_CALL, 0, 0);
    while (sim.step < sim.steps)
        turn(&sim);
    settle(&sim);
    trims_check(&sim);

    struct oracle_figures figures;
    oracle_figures(sim.oracle, &figures);
    *ret_report = sim.report;
    ret_report->events = figures.events;
    ret_report->deliveries = figures.deliveries;
    ret_report->handed = figures.handed;
    ret_report->succeeded = figures.by_state[STATE_SUCCEEDED];
    ret_report->dead = figures.by_state[STATE_DEAD];
    ret_report->expired = figures.by_state[STATE_EXPIRED];
    ret_report->discarded = figures.by_state[STATE_DISCARDED];
    ret_report->commits = sim.store->commits;
    callers_figures(sim.callers, &ret_report->callers);
    engine_end(&sim);
    callers_free(sim.callers);
    for (size_t i = 0; i < sim.batches.count; i++)
        bytes_done(&sim.batches.items[i].bytes);
    for (size_t p = 0; p < SIM_PRODUCERS; p++)
        VEC_DONE(&sim.producers[p].outstanding);
    VEC_DONE(&sim.actions);
    VEC_DONE(&sim.batches);
    VEC_DONE(&sim.replies);
    VEC_DONE(&sim.processes);
    VEC_DONE(&sim.killed);
    oracle_free(sim.oracle);
    model_store_free(sim.store);
    running = NULL;
}
