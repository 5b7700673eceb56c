/* Lives of the engine: each begins with what the store shows, and ends with a crash or, drained, in good order. And its commits, which are sealed
 * in one turn, on the disk some time later, and told of later still; a crash in between leaves the commit there or not. */
#include "tests/simulation/world_internal.h"

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

void life_begin(struct world_sim *sim)
{
    struct world world = { .ctx = sim, .publish_answered = world_publish_answered, .start = world_start, .deliver = world_deliver,
                           .invoke = world_invoke, .invoke_answered = world_invoke_answered,
                           .timed_out = world_timed_out, .stop = world_stop, .kill = world_kill, .log = world_log, .cpu_us = world_cpu_us };
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
    world_configure(sim, sim->calm);
    engine_recovered(sim->engine, sim->now);
    engine_spawner_ready(sim->engine, sim->now);
    sim->spawner = true;
    oracle_crashed(sim->oracle);
}

void life_end(struct world_sim *sim)
{
    configurations_end(sim);
    sim->commit = NULL;
    sim->committing = sim->applied = false;
    for (size_t i = 0; i < sim->processes.count; i++)
        VEC_DONE(&sim->processes.items[i].work);
    sim->processes.count = 0;
    sim->timed_out.count = 0;
    callers_crashed(sim->callers);
}

/* ---- commits ---- */

void commit_apply(struct world_sim *sim)
{
    if (sim->refuse)
        return;
    model_store_apply(sim->store, sim->commit);
    oracle_applied(sim->oracle, sim->commit);
    sim->applied = true;
}

void commit_ends(struct world_sim *sim)
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

void commit_seal(struct world_sim *sim)
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

/* ---- ends of a life ---- */

void life_crash(struct world_sim *sim)
{
    /* A commit on its way is there or not; nobody can tell before looking. */
    if (sim->committing && !sim->applied && percent(sim, 50))
        commit_apply(sim);
    life_end(sim);
    sim->now.mono.us += 1000 + (int64_t)below(sim, 2000000);
    sim->now.wall_ms = 1700000000000 + sim->now.mono.us / 1000;
    life_begin(sim);
    sim->report.crashes++;
}

void life_restart_if_drained(struct world_sim *sim)
{
    if (!sim->draining || !engine_drained(sim->engine) || sim->committing || engine_has_commit(sim->engine))
        return;
    replies_check(sim);
    callers_drained(sim->callers);
    life_end(sim);
    life_begin(sim);
}
