/* Instances: started late or never, told to stop, killed, gone with or without what they were given; and consumers, which nobody started. Each
 * end is told to the models before the engine hears of it. */
#include "tests/simulation/world_internal.h"

enum { INIT_LIMIT_MS = 10000 };

struct process *process_find(struct world_sim *sim, uint64_t id)
{
    return id >= 1 && id <= sim->processes.count ? &sim->processes.items[id - 1] : NULL;
}

bool asks_for_work(const struct process *process)
{
    return process->protocol == PROTOCOL_NATIVE || process->protocol == PROTOCOL_LAMBDA;
}

bool world_start(void *ctx, uint64_t instance, const struct config_function *function)
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
    *process = (struct process){ .id = instance, .function = function_number(function->name), .protocol = function->protocol,
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

void world_stop(void *ctx, uint64_t instance, const char *reason)
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

/* The first piece of that lease has had its time: timeouts_check(). */
void world_timed_out(void *ctx, uint64_t instance, uint64_t lease, int64_t timeout_ms)
{
    struct world_sim *sim = ctx;
    struct process *process = process_find(sim, instance);
    size_t at = 0;

    if (process == NULL || process->gone)
        sim_fail("instance %" PRIu64 " timed out after its end", instance);
    while (at < process->work.count && process->work.items[at].lease != lease)
        at++;
    if (at == process->work.count)
        sim_fail("lease %" PRIu64 " timed out at instance %" PRIu64 ", which has it not", lease, instance);
    if (process->work.items[at].since_us + process->work.items[at].time_ms * 1000 > sim->now.mono.us || timeout_ms <= 0)
        sim_fail("lease %" PRIu64 " timed out before its time, of %" PRId64 " ms", lease, timeout_ms);
    process->timed_out = true;
    for (size_t i = 0; i < sim->timed_out.count; i++) {
        if (sim->timed_out.items[i] == instance)
            return;
    }
    VEC_PUSH(&sim->timed_out, instance);
}

void world_kill(void *ctx, uint64_t instance, const char *reason)
{
    struct world_sim *sim = ctx;
    struct process *process = process_find(sim, instance);

    if (process == NULL || process->gone)
        sim_fail("instance %" PRIu64 " was killed after its end", instance);
    bool silent = strcmp(reason, "silent") == 0;
    if (silent && (process->protocol != PROTOCOL_LAMBDA || !process->up || process->parked > 0 || process->work.count > 0))
        sim_fail("instance %" PRIu64 " was killed for its silence, with %u requests and %zu pieces of work", instance, process->parked,
                 process->work.count);
    bool timeout = strcmp(reason, "timeout") == 0;
    if (timeout && !process->timed_out)
        sim_fail("instance %" PRIu64 " was killed for a timeout, and nothing of it had timed out", instance);
    if (!timeout && !silent)
        start_timeout(sim, process);
    if (process->killed)
        return; /* those of a pipe, and consumers, are killed for each of their leases */
    process->killed = process->ending = process->hangs = true;
    act_after(sim, 1 + (int64_t)below(sim, 5000), ACT_GONE, instance, 0);
}

/* ---- timeouts ---- */

/* Is the lease of this piece of work over? Nobody can tell of an invocation whose caller has left: its time says so. */
static bool work_is_over(struct world_sim *sim, const struct process *process, const struct work *work, bool first)
{
    uint32_t function;
    uint64_t holder;

    if (work->invoke != 0 && callers_has_left(sim->callers, work->invoke))
        return work->since_us + work->time_ms * 1000 <= sim->now.mono.us && (first || process->protocol != PROTOCOL_STDIO_LINES);
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

/* A lease of it timed out: what did that fail, had that had its time, and is it killed? */
void timeouts_check(struct world_sim *sim)
{
    for (size_t k = 0; k < sim->timed_out.count; k++) {
        struct process *process = process_find(sim, sim->timed_out.items[k]);
        unsigned failed = 0;
        for (size_t i = 0; i < process->work.count;) {
            const struct work *work = &process->work.items[i];
            if (!work_is_over(sim, process, work, i == 0 && failed == 0)) {
                i++;
                continue;
            }
            if (work->since_us + work->time_ms * 1000 > sim->now.mono.us)
                sim_fail("delivery %" PRIu64 ".%u timed out after %" PRId64 " of %" PRId64 " ms", work->delivery.seq, work->delivery.ordinal,
                         (sim->now.mono.us - work->since_us) / 1000, work->time_ms);
            work_failed(sim, work);
            work_drop(process, i);
            failed++;
            if (process->protocol == PROTOCOL_STDIO_LINES && process->work.count > 0)
                process->work.items[0].since_us = sim->now.mono.us;
        }
        if (failed == 0)
            sim_fail("a lease of instance %" PRIu64 " timed out, and nothing of it failed", process->id);
        bool at_once = process->protocol == PROTOCOL_STDIO_LINES || process->attached || process->work.count == 0;
        if (process->killed != at_once)
            sim_fail("instance %" PRIu64 " timed out, has %zu other pieces of work, and was%s killed", process->id, process->work.count,
                     process->killed ? "" : " not");
    }
    sim->timed_out.count = 0;
}

/* ---- their end ---- */

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

void process_end(struct world_sim *sim, struct process *process, bool failed_start)
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
    if (process->protocol == PROTOCOL_LAMBDA && process->started && percent(sim, 40)) { /* its extensions have their time */
        engine_instance_ended(sim->engine, process->id, &gone, sim->now);
        act_after(sim, (int64_t)below(sim, 2000000), ACT_BURIED, process->id, 0);
    } else {
        engine_instance_gone(sim->engine, process->id, &gone, sim->now);
    }
    callers_start_failed(sim->callers);
    for (size_t i = 0; i < invokes.count; i++)
        callers_over(sim->callers, invokes.items[i]);
    VEC_DONE(&invokes);
}

void process_buried(struct world_sim *sim, uint64_t instance)
{
    engine_instance_gone(sim->engine, instance, &(struct instance_gone){ .reason = VIEW_LITERAL("exit status 1"), .output = VIEW_LITERAL("") },
                         sim->now);
}

/* ---- what they want ---- */

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

void process_wants(struct world_sim *sim, struct process *process)
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

void parked_requests_are_lost(struct world_sim *sim)
{
    for (size_t i = 0; i < sim->processes.count; i++) {
        struct process *process = &sim->processes.items[i];
        if (!asks_for_work(process) || process->gone || process->parked == 0 || !percent(sim, 30))
            continue;
        process->parked--; /* a parked request is lost with its connection, and comes again */
        engine_instance_wants_cancel(sim->engine, process->id, sim->now);
        act_after(sim, (int64_t)below(sim, 50000), ACT_WANT, process->id, 0);
    }
}

/* ---- their start ---- */

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

void process_init_error(struct world_sim *sim, struct process *process)
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

void process_started(struct world_sim *sim, struct process *process)
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
        work_begin(sim, process, process->work.items[0].lease);
    }
}

/* ---- consumers ---- */

void consumer_attaches(struct world_sim *sim)
{
    unsigned f = percent(sim, 50) ? 2 : 6, places = (unsigned)below(sim, 6);
    const struct config_function *function = function_configured(sim, f);
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
void consumers_go(struct world_sim *sim, unsigned chance)
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
