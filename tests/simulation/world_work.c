/* What an instance got, checked against the room it had, and what it makes of it, by protocol: results one by one or together, failures,
 * an exit in the middle, or nothing ever again. */
#include "tests/simulation/world_internal.h"

void work_begin(struct world_sim *sim, const struct process *process, uint64_t lease)
{
    act_after(sim, 1 + (int64_t)below(sim, (uint64_t)sim->service_us[process->function] * 2), ACT_WORK, process->id, lease);
}

void work_drop(struct process *process, size_t at)
{
    memmove(&process->work.items[at], &process->work.items[at + 1], (process->work.count - at - 1) * sizeof *process->work.items);
    process->work.count--;
}

/* ---- handed over ---- */

/* Has it room for so many more? */
static void room_check(struct world_sim *sim, struct process *process, uint64_t lease, unsigned count, int64_t deadline_wall_ms)
{
    if (process == NULL || process->gone || process->ending || process->timed_out)
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

void world_deliver(void *ctx, uint64_t instance, uint64_t lease, int64_t deadline_wall_ms, const struct handover *handovers,
                   unsigned count)
{
    struct world_sim *sim = ctx;
    struct process *process = process_find(sim, instance);

    room_check(sim, process, lease, count, deadline_wall_ms);
    const struct config_function *function = function_configured(sim, process->function);
    if (process->leaving || function == NULL || function->scale_max == 0)
        sim_fail("lease %" PRIu64 " of f%u was delivered to one that leaves, or though it is paused", lease, process->function);
    if (callers_waiting(sim->callers, process->function))
        sim_fail("f%u got an event while a caller waits", process->function);
    bool idle = process->work.count == 0;
    for (unsigned i = 0; i < count; i++) {
        oracle_handed(sim->oracle, instance, &handovers[i], process->function);
        VEC_PUSH(&process->work, (struct work){ .delivery = handovers[i].delivery, .lease = lease, .index = i, .since_us = sim->now.mono.us,
                                               .time_ms = deadline_wall_ms - sim->now.wall_ms });
    }
    if (process->started && (asks_for_work(process) || idle))
        work_begin(sim, process, lease);
}

void world_invoke(void *ctx, uint64_t instance, uint64_t lease, int64_t deadline_wall_ms, uint64_t invoke)
{
    struct world_sim *sim = ctx;
    struct process *process = process_find(sim, instance);

    room_check(sim, process, lease, 1, deadline_wall_ms);
    callers_began(sim->callers, invoke, process->function);
    bool idle = process->work.count == 0;
    VEC_PUSH(&process->work, (struct work){ .lease = lease, .invoke = invoke, .since_us = sim->now.mono.us, .time_ms = deadline_wall_ms - sim->now.wall_ms });
    if (process->started && (asks_for_work(process) || idle))
        work_begin(sim, process, lease);
}

/* ---- results ---- */

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

static bool process_works(const struct process *process)
{
    return process->started && !process->gone && !process->hangs;
}

void process_works_on(struct world_sim *sim, struct process *process, uint64_t lease)
{
    unsigned flaky = sim->calm ? 0 : sim->flaky[process->function];

    if (!process_works(process) || process->work.count == 0)
        return;
    if (percent(sim, flaky / 8)) { /* never again, until it is killed: the process, or one of its threads */
        process->hangs = !asks_for_work(process) || percent(sim, 50);
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
            work_begin(sim, process, process->work.items[0].lease);
        }
        break;
    }
    case PROTOCOL_NATIVE: native_result(sim, process, lease); break;
    case PROTOCOL_LAMBDA: lambda_result(sim, process, lease, percent(sim, flaky)); break;
    }
}
