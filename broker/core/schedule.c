/* schedule.c - one function's turn: what is too old or too slow, who gets what, how many instances there are, when to look again. */
#include "broker/core/engine_internal.h"

static void wake_by(struct engine *engine, struct function *function, int64_t mono_us)
{
    if (function->wake.place == 0 || function->wake.key > mono_us)
        heap_set(&engine->wakes, &function->wake, mono_us);
}

static void wake_by_wall(struct engine *engine, struct function *function, int64_t wall_ms, struct now now)
{
    int64_t left_ms = wall_ms - now.wall_ms;
    wake_by(engine, function, mono_after(now, left_ms < 1 ? 1 : left_ms));
}

static unsigned lease_size(const struct function *function, const struct instance *instance)
{
    unsigned batch = function->config->batch_size, room = FUNCTION_IN_FLIGHT_MAX - function->leased;
    unsigned size = batch;

    switch (instance->protocol) {
    case PROTOCOL_STDIO: break;
    case PROTOCOL_STDIO_LINES: size = instance->slots; break;
    case PROTOCOL_LAMBDA: size = 1; break;
    case PROTOCOL_NATIVE:
        if (instance->events_max < size)
            size = instance->events_max;
        break;
    }
    return size < room ? size : room;
}

/* May what is ready be handed out now, or does the batch window still gather? */
static bool function_window_open(struct engine *engine, struct function *function, uint64_t available, struct now now)
{
    const struct config_function *config = function->config;

    if (available == 0) {
        function->waiting_since.us = 0;
        return false;
    }
    if (function->waiting_since.us == 0)
        function->waiting_since = now.mono;
    if (config->batch_window_ms == 0 || available >= config->batch_size)
        return true;
    int64_t until = function->waiting_since.us + config->batch_window_ms * 1000;
    if (until <= now.mono.us)
        return true;
    wake_by(engine, function, until);
    return false;
}

static struct instance *function_next_free(struct function *function)
{
    struct list *from = list_empty(&function->free_attached) ? &function->free : &function->free_attached;

    return list_empty(from) ? NULL : LIST_OWNER(from->next, struct instance, in_free);
}

/* Callers who wait go before events, which are patient. */
static void function_lease(struct engine *engine, struct function *function, struct now now)
{
    struct instance *instance;

    while (!list_empty(&function->free) && function->invokes_waiting > 0)
        lease_invoke(engine, LIST_OWNER(function->free.next, struct instance, in_free), now);
    if (function->config->scale_max == 0) /* paused: also those that are there, and cannot be stopped */
        return;
    while ((instance = function_next_free(function)) != NULL && function->leased < FUNCTION_IN_FLIGHT_MAX) {
        if (!function_window_open(engine, function, queue_available(engine, function, now), now))
            return;
        if (!lease_to(engine, instance, lease_size(function, instance), now))
            return;
        function->waiting_since.us = 0;
    }
}

static void function_sample_cpu(struct engine *engine, struct function *function, struct now now)
{
    enum { SAMPLE_US = 250000 };

    if (function->config->protocol == PROTOCOL_STDIO || function->instances_by_state[INSTANCE_BUSY] == 0)
        return;
    int64_t passed = now.mono.us - function->cpu_sampled_at.us;
    if (passed < SAMPLE_US)
        return;
    int64_t used = 0;
    unsigned sampled = 0;
    LIST_EACH(at, &function->instances) {
        struct instance *instance = LIST_OWNER(at, struct instance, in_function);
        int64_t cpu = engine->world.cpu_us(engine->world.ctx, instance->id);
        if (cpu < 0)
            continue;
        if (instance->state == INSTANCE_BUSY && instance->cpu_us > 0) {
            used += cpu - instance->cpu_us;
            sampled++;
        }
        instance->cpu_us = cpu;
    }
    if (sampled > 0 && function->cpu_sampled_at.us != 0 && passed < 4 * (int64_t)SAMPLE_US)
        function->cpu_share = mean_add(function->cpu_share, (double)used / (double)passed / sampled);
    function->cpu_sampled_at = now.mono;
}

static void function_log_target(struct engine *engine, struct function *function, const struct autoscale_input *in, struct now now)
{
    if (function->target.instances == function->target_logged)
        return;
    function->target_logged = function->target.instances;
    function_note(engine, function, LOG_INFO, now,
                  "event=scale target=%u now=%u bound=\"%s\" ready=%llu in_flight=%llu arrivals_per_s=%.1f service_ms=%.2f work=%.2f backlog=%.2f",
                  function->target.instances, function_live(function), autoscale_bound_text(function->target.bound),
                  (unsigned long long)in->ready, (unsigned long long)in->in_flight, in->arrivals_per_s, in->service_s * 1000,
                  function->target.work, function->target.backlog);
}

static bool function_start_one(struct engine *engine, struct function *function, struct now now)
{
    struct instance *instance = instance_new(engine, function, now);

    if (!engine->world.start(engine->world.ctx, instance->id, function->config)) {
        instance_free(engine, instance);
        engine->starts_blocked = true;
        return false;
    }
    if (instance->protocol == PROTOCOL_STDIO) { /* its input waits in the pipe while it starts */
        instance->slots = 1;
        if (function->invokes_waiting > 0) {
            lease_invoke(engine, instance, now);
        } else if (!lease_to(engine, instance, lease_size(function, instance), now)) {
            instance->slots = 0;
            instance_drain(engine, instance, "nothing to do");
            return false;
        }
    }
    return true;
}

static void function_scale(struct engine *engine, struct function *function, struct now now)
{
    const struct config_function *config = function->config;
    if (config->command[0] == NULL) { /* attached ones only */
        function->target = (struct autoscale_target){ 0 };
        return;
    }
    /* Those attached are capacity that is there whatever we do: the bounds are of what comes on top. */
    unsigned cover = attached_cover(function);
    uint64_t available = queue_available(engine, function, now);
    bool window = function_window_open(engine, function, available, now);
    int64_t memory = config->memory_bytes > 0 ? config->memory_bytes : 16 << 20;
    struct autoscale_input in = {
        .ready = config->protocol == PROTOCOL_STDIO && !window ? 0 : available,
        .in_flight = function->leased + function->invokes_running,
        .arrivals_per_s = rate_now(&function->arrivals, now.mono.us),
        .service_s = function->service_s,
        .cpu_share = function->cpu_share,
        .parallel = config->protocol == PROTOCOL_NATIVE || config->protocol == PROTOCOL_LAMBDA ? config->concurrency : 1,
        .min = config->protocol == PROTOCOL_STDIO ? 0 : config->scale_min + cover,
        .max = config->scale_max + cover,
        .drain_target_ms = config->drain_target_ms,
        .cores = engine->options.cores,
        .machine_max = cover + function_live(function) + engine->options.memory_free_bytes / (uint64_t)memory,
    };
    if (config->protocol == PROTOCOL_STDIO && config->batch_size > 1) { /* one process takes a batch */
        in.ready = (in.ready + config->batch_size - 1) / config->batch_size;
        in.in_flight = function->instances_by_state[INSTANCE_BUSY] + function->instances_by_state[INSTANCE_STARTING];
        in.service_s *= config->batch_size;
        in.arrivals_per_s /= config->batch_size;
    }
    in.ready += function->invokes_waiting;
    function_sample_cpu(engine, function, now);
    function->target = autoscale(&in);
    function->target.instances -= cover < function->target.instances ? cover : function->target.instances;
    unsigned live = function_live(function);
    if (function->target.instances > live)
        function_log_target(engine, function, &in, now);
    else if (function->target.instances == 0 && live == 0)
        function->target_logged = 0;

    double passed_s = (double)(now.mono.us - function->start_tokens_at.us) / 1e6;
    function->start_tokens += passed_s * START_TOKENS_PER_S;
    if (function->start_tokens > config->scale_max)
        function->start_tokens = config->scale_max;
    function->start_tokens_at = now.mono;

    /* Who waits for an answer does not wait for the circuit: a start that fails answers them, so they start no more than they ask. */
    unsigned asked_for = invokes_starts_needed(function);
    bool circuit_closed = function->circuit_until.us <= now.mono.us;
    if (!circuit_closed && function->target.instances > live)
        wake_by(engine, function, function->circuit_until.us);
    for (; live < function->target.instances && engine->spawner_ready && !engine->starts_blocked && !engine->draining; live++) {
        /* After a crash one start at a time feels the ground. */
        if (asked_for == 0 && (!circuit_closed || (function->crashes > 0 && live > 0)))
            return;
        if (function->start_tokens < 1) {
            wake_by(engine, function, mono_after(now, 1000 / START_TOKENS_PER_S));
            return;
        }
        function->start_tokens -= 1;
        if (!function_start_one(engine, function, now))
            return;
        asked_for -= asked_for > 0;
    }
}

/* A start that hangs: no exec, or a program that never asks for work. It is killed, and counts as a start that failed. */
static void function_stop_stuck(struct engine *engine, struct function *function, struct now now)
{
    if (function->start_deadline_us <= now.mono.us) {
        function->start_deadline_us = MONO_NEVER;
        LIST_EACH(at, &function->instances) {
            struct instance *instance = LIST_OWNER(at, struct instance, in_function);
            int64_t until_us = instance->started.us + instance->start_limit_ms * 1000;
            if (instance->state != INSTANCE_STARTING)
                continue;
            if (until_us <= now.mono.us)
                instance_overran(engine, instance, now);
            else if (until_us < function->start_deadline_us)
                function->start_deadline_us = until_us;
        }
    }
    if (function->instances_by_state[INSTANCE_STARTING] == 0)
        function->start_deadline_us = MONO_NEVER;
}

/* Its invocation is answered, but it is not over: see "instances that fall silent" in engine.h. */
static void function_stop_silent(struct engine *engine, struct function *function, struct now now)
{
    while (!list_empty(&function->silent)) {
        struct instance *instance = LIST_OWNER(function->silent.next, struct instance, in_silent);
        if (instance->silent_until_us > now.mono.us)
            return;
        instance_was_silent(engine, instance, now); /* and is in the list no more */
    }
}

/* The longest idle are at the end of the free list; a native one that asks for nothing is in none. */
static struct instance *longest_idle(struct function *function)
{
    for (struct list *at = function->free.previous; at != &function->free; at = at->previous) {
        struct instance *instance = LIST_OWNER(at, struct instance, in_free);
        if (instance->state == INSTANCE_READY)
            return instance;
    }
    if (function_ours(function, INSTANCE_READY) > 0) {
        LIST_EACH(at, &function->instances) {
            struct instance *instance = LIST_OWNER(at, struct instance, in_function);
            if (instance->state == INSTANCE_READY && !instance->attached)
                return instance;
        }
    }
    return NULL;
}

static void function_stop_idle(struct engine *engine, struct function *function, struct now now)
{
    const struct config_function *config = function->config;

    while (function_live(function) > config->scale_min) {
        struct instance *oldest = longest_idle(function);
        if (oldest == NULL)
            return;
        int64_t until = oldest->idle_since.us + config->idle_ms * 1000;
        if (until > now.mono.us) {
            wake_by(engine, function, until);
            return;
        }
        function_note(engine, function, LOG_INFO, now, "event=idle-stop instance=%llu idle_ms=%lld left=%u",
                      (unsigned long long)oldest->id, (long long)config->idle_ms, function_live(function) - 1);
        instance_drain(engine, oldest, "idle");
    }
}

static void function_stop_drained(struct engine *engine, struct function *function)
{
    if (function->instances_by_state[INSTANCE_DRAINING] == 0)
        return;
    LIST_EACH(at, &function->instances) {
        struct instance *instance = LIST_OWNER(at, struct instance, in_function);
        if (instance->state != INSTANCE_DRAINING || instance->killed || instance->overran || instance->ended || !list_empty(&instance->leases))
            continue;
        if (instance->timed_out)
            instance_kill(engine, instance, "timeout");
        else
            instance_stop(engine, instance, "drained");
    }
}

/* Behind the starts of the turn: an invocation for which one is on its way waits for it. */
static void function_throttle(struct engine *engine, struct function *function, struct now now)
{
    int64_t again_us = invokes_throttle(engine, function, now);

    if (again_us != MONO_NEVER)
        wake_by(engine, function, again_us);
}

/* Behind the leasing of the turn: what was leased just now may be the first to time out, and nothing else may happen until then. */
static void wake_by_first_deadline(struct engine *engine, struct function *function)
{
    if (!list_empty(&function->leases))
        wake_by(engine, function, LIST_OWNER(function->leases.next, struct lease, in_function)->deadline.us);
}

void function_turn(struct engine *engine, struct function *function, struct now now)
{
    heap_remove(&engine->wakes, &function->wake);
    lease_timeouts(engine, function, now);
    function_stop_drained(engine, function);
    function_stop_stuck(engine, function, now);
    function_stop_silent(engine, function, now);
    if (!engine->recovered)
        return;
    queue_sweep(engine, function, now);
    if (function->config != NULL && !engine->draining) {
        queue_bury(engine, function, now);
        function_lease(engine, function, now);
        function_scale(engine, function, now);
        function_stop_idle(engine, function, now);
        function_throttle(engine, function, now);
    }
    if (function->start_deadline_us != MONO_NEVER)
        wake_by(engine, function, function->start_deadline_us);
    if (!list_empty(&function->silent))
        wake_by(engine, function, LIST_OWNER(function->silent.next, struct instance, in_silent)->silent_until_us);
    wake_by_first_deadline(engine, function);
    int64_t due = queue_due_ms(function), expiry = queue_expiry_ms(engine, function);
    if (due > now.wall_ms && function->config != NULL)
        wake_by_wall(engine, function, due, now);
    if (expiry != 0)
        wake_by_wall(engine, function, expiry, now);
}
