/* The world's clock: what is to happen stands in a heap by time, and each turn takes the first. */
#include "tests/simulation/world_internal.h"

enum {
    SETTLE_STEPS_MAX = 200000,   /* for all to come to rest after the faults */
    STUCK_MS = 130000,           /* longer than any backoff of a crashing start: then a ready delivery must have an instance */
};

static struct world_sim *running;

unsigned world_step(void) { return running == NULL ? 0 : running->step; }

/* ---- actions ---- */

static bool action_before(const struct action *a, const struct action *b)
{
    return a->at_us != b->at_us ? a->at_us < b->at_us : a->order < b->order;
}

void act_after(struct world_sim *sim, int64_t us, enum action_kind kind, uint64_t a, uint64_t b)
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

/* ---- chaos ---- */

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

static void chaos(struct world_sim *sim)
{
    if (sim->calm)
        return;
    act_after(sim, (int64_t)below(sim, 120000), ACT_CHAOS, 0, 0);
    switch (below(sim, 20)) {
    case 0: case 15: life_crash(sim); return;
    case 1:
        if (!sim->draining) {
            sim->draining = true;
            engine_drain(sim->engine, sim->now);
        }
        return;
    case 2: case 3: world_configure(sim, percent(sim, 50)); return;
    case 4: case 5: case 6: operator_acts(sim); operator_acts(sim); return;
    case 7: case 8: sim->full = !sim->full; return;
    case 9: sim->accepts = !sim->accepts; return;
    case 10:
        sim->spawner = false;
        act_after(sim, (int64_t)below(sim, 300000), ACT_SPAWNER, 0, 0);
        return;
    case 11: case 12: parked_requests_are_lost(sim); return;
    case 13: sim->now.mono.us += (int64_t)below(sim, 10000000); return; /* the machine slept */
    case 14: case 16: consumers_go(sim, 40); return;
    default: return;
    }
}

/* ---- the turn ---- */

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
            commit_ends(sim);
        return;
    case ACT_CALL: caller_asks(sim); return;
    case ACT_LEAVE: caller_leaves(sim); return;
    case ACT_BURIED:
        if (!stale)
            process_buried(sim, action->a);
        return;
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
        unsigned f = function_number(info.name);
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
    rules_work_goes_on(sim);
    if (!sim->draining)
        preparations_go_on(sim);
    engine_tick(sim->engine, sim->now);
    callers_start_failed(sim->callers);
    timeouts_check(sim);
    commit_seal(sim);
    sim->deciding = false;
    model_store_turn_end(sim->store);
    life_restart_if_drained(sim);
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
        world_configure(sim, true);
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
        world_configure(sim, true);
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
    life_begin(&sim);
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
    life_end(&sim);
    callers_free(sim.callers);
    for (size_t i = 0; i < sim.batches.count; i++)
        bytes_done(&sim.batches.items[i].bytes);
    for (size_t p = 0; p < SIM_PRODUCERS; p++)
        VEC_DONE(&sim.producers[p].outstanding);
    VEC_DONE(&sim.actions);
    VEC_DONE(&sim.batches);
    VEC_DONE(&sim.replies);
    VEC_DONE(&sim.processes);
    VEC_DONE(&sim.timed_out);
    oracle_free(sim.oracle);
    model_store_free(sim.store);
    running = NULL;
}
