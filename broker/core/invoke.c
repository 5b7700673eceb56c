/* invoke.c - synchronous invocations: those that wait for a place, and the answers.
 *
 *   engine_invoke ──> waiting ──a place is free──> running (a lease of its own, see lease.c) ──result, timeout, death──> DONE | FAILED
 *                        │ └── a second start failed ────────────────────────────────────────────────────────────────> FAILED
 *                        └── no place in time ──> THROTTLED     └── drain, function removed ──> STOPPED
 *
 * Nothing here touches the store, a counter of the balance or a retry: the caller is there, and it is for it to ask again. */
#include "broker/core/engine_internal.h"

unsigned function_places(const struct config_function *config)
{
    return config->protocol == PROTOCOL_STDIO ? 1 : config->concurrency;
}

static struct invoke *first_waiting(const struct function *function)
{
    return list_empty(&function->invokes) ? NULL : LIST_OWNER(function->invokes.next, struct invoke, in_function);
}

static enum sluice_err invoke_refuse(const struct engine *engine, struct function *function, struct sluice_error *reterr)
{
    const struct config_function *config = function->config;

    if (engine->draining)
        return sluice_fail(reterr, SLUICE_EUNAVAILABLE, "the daemon is stopping");
    if (config == NULL)
        return sluice_fail(reterr, SLUICE_ENOTFOUND, "function '%s' is not in the configuration any more", function->name);
    if (config->protocol == PROTOCOL_NATIVE)
        return sluice_fail(reterr, SLUICE_EINVAL, "function '%s' is native: it returns nothing that a caller could wait for; invoke it "
                           "asynchronously", function->name);
    function->invoke_counters.throttled++;
    if (config->scale_max == 0)
        return sluice_fail(reterr, SLUICE_ELIMIT, "function '%s' is paused: its scale.max is 0", function->name);
    return sluice_fail(reterr, SLUICE_ELIMIT, "function '%s' has all it may: %u instances (scale.max) of %u (concurrency); ask again",
                       function->name, config->scale_max, function_places(config));
}

enum sluice_err engine_invoke(struct engine *engine, uint32_t id, uint64_t handle, struct now now, struct sluice_error *reterr)
{
    struct function *function = engine_function(engine, id);
    const struct config_function *config = function->config;

    ASSERT(engine->recovered);
    ASSERT(!map_get(&engine->invokes, handle, NULL));
    if (engine->draining || config == NULL || config->protocol == PROTOCOL_NATIVE ||
        function->invokes_waiting + function->invokes_running >= (uint64_t)config->scale_max * function_places(config))
        return invoke_refuse(engine, function, reterr);
    struct invoke *invoke = malloc(sizeof *invoke);
    ASSERT(invoke != NULL);
    *invoke = (struct invoke){ .handle = handle, .function = function, .asked = now.mono };
    list_push(&function->invokes, &invoke->in_function);
    function->invokes_waiting++;
    map_put(&engine->invokes, handle, (uint64_t)(uintptr_t)invoke);
    rate_add(&function->arrivals, 1, now.mono.us);
    function_touch(engine, function);
    return SLUICE_OK;
}

void engine_invoke_cancel(struct engine *engine, uint64_t handle)
{
    uint64_t pointer;

    if (!map_remove(&engine->invokes, handle, &pointer))
        return;
    struct invoke *invoke = (struct invoke *)(uintptr_t)pointer;
    if (list_empty(&invoke->in_function)) {
        invoke->cancelled = true;
        return;
    }
    list_remove(&invoke->in_function);
    invoke->function->invokes_waiting--;
    free(invoke);
}

bool engine_invoke_place(const struct engine *engine, uint64_t handle, uint64_t *ret_instance, uint64_t *ret_lease)
{
    uint64_t pointer;

    if (!map_get(&engine->invokes, handle, &pointer))
        return false;
    const struct lease *lease = ((const struct invoke *)(uintptr_t)pointer)->lease;
    if (lease == NULL)
        return false;
    *ret_instance = lease->instance->id;
    *ret_lease = lease->id;
    return true;
}

bool engine_lease_invoke(const struct engine *engine, uint64_t id, uint64_t *ret_invoke)
{
    uint64_t pointer;

    if (!map_get(&engine->leases, id, &pointer))
        return false;
    const struct invoke *invoke = ((const struct lease *)(uintptr_t)pointer)->invoke;
    if (invoke == NULL || invoke->cancelled)
        return false;
    *ret_invoke = invoke->handle;
    return true;
}

struct invoke *invoke_take(struct function *function, struct now now)
{
    struct invoke *invoke = first_waiting(function);

    if (invoke == NULL)
        return NULL;
    list_remove(&invoke->in_function);
    invoke->began = now.mono;
    function->invokes_waiting--;
    function->invokes_running++;
    return invoke;
}

static void answer(struct engine *engine, struct invoke *invoke, const struct invoke_answer *how, struct now now)
{
    bool waits = !list_empty(&invoke->in_function);
    struct mono began = waits ? now.mono : invoke->began;
    struct invoke_answer answer = *how;

    ASSERT((how->outcome == INVOKE_FAILED) == (how->failure != NULL));
    if (how->outcome == INVOKE_DONE) ASSERT(!waits);
    answer.waited_us = began.us - invoke->asked.us;
    answer.ran_us = now.mono.us - began.us;
    answer.instance = waits ? 0 : invoke->lease->instance->id;
    struct invoke_counters *counters = &invoke->function->invoke_counters;
    counters->done += how->outcome == INVOKE_DONE;
    counters->failed += how->outcome == INVOKE_FAILED;
    counters->throttled += how->outcome == INVOKE_THROTTLED;
    if (how->outcome == INVOKE_DONE || how->outcome == INVOKE_FAILED)
        histogram_add(&function_ran(invoke->function)->invokes, answer.ran_us, 1);
    if (waits) {
        list_remove(&invoke->in_function);
        invoke->function->invokes_waiting--;
    } else {
        invoke->function->invokes_running--;
    }
    if (!invoke->cancelled) {
        bool known = map_remove(&engine->invokes, invoke->handle, NULL);
        ASSERT(known);
        engine->world.invoke_answered(engine->world.ctx, invoke->handle, &answer);
    }
    free(invoke);
}

void invoke_answer(struct engine *engine, struct invoke *invoke, enum invoke_outcome outcome, const struct failure *failure, struct view result,
                   struct now now)
{
    answer(engine, invoke, &(struct invoke_answer){ .outcome = outcome, .failure = failure, .result = result }, now);
}

void invokes_answer_waiting(struct engine *engine, struct function *function, enum invoke_outcome outcome, struct now now)
{
    struct invoke *invoke;

    while ((invoke = first_waiting(function)) != NULL)
        invoke_answer(engine, invoke, outcome, NULL, (struct view){ 0 }, now);
}

bool invoke_fail_first(struct engine *engine, const struct instance *start, const struct failure *failure, struct view result, struct now now)
{
    struct invoke *invoke = first_waiting(start->function);

    if (invoke != NULL)
        answer(engine, invoke, &(struct invoke_answer){ .outcome = INVOKE_FAILED, .failure = failure, .result = result, .start = start->id }, now);
    return invoke != NULL;
}

/* Callers for whom an instance is being started. One of scale.min may take minutes, which is why it is started ahead: nobody waits for it. */
static uint64_t starting_places(const struct function *function)
{
    uint64_t instances = 0;

    LIST_EACH(at, &function->instances) {
        const struct instance *instance = LIST_OWNER(at, struct instance, in_function);
        instances += instance->state == INSTANCE_STARTING && !instance->provisioned;
    }
    return instances * function_places(function->config);
}

/* A place that is on its way ends the waiting of the first ones: if the start fails, they hear why. */
int64_t invokes_throttle(struct engine *engine, struct function *function, struct now now)
{
    const int64_t wait_us = INVOKE_WAIT_MS_MAX * 1000LL;
    const struct invoke *first = first_waiting(function);

    if (first == NULL)
        return MONO_NEVER;
    if (first->asked.us + wait_us > now.mono.us)
        return first->asked.us + wait_us;
    uint64_t covered = starting_places(function);
    unsigned throttled = 0;
    int64_t again_us = MONO_NEVER;
    LIST_EACH(at, &function->invokes) {
        struct invoke *invoke = LIST_OWNER(at, struct invoke, in_function);
        if (covered > 0) {
            covered--;
            continue;
        }
        if (invoke->asked.us + wait_us > now.mono.us) {
            again_us = invoke->asked.us + wait_us;
            break;
        }
        throttled++;
        invoke_answer(engine, invoke, INVOKE_THROTTLED, NULL, (struct view){ 0 }, now);
    }
    if (throttled > 0)
        function_note(engine, function, LOG_WARN, now, "event=throttled invocations=%u waited_ms=%d instances=%u of=%u", throttled,
                      INVOKE_WAIT_MS_MAX, function_live(function), function->config->scale_max);
    return again_us;
}

unsigned invokes_starts_needed(const struct function *function)
{
    if (function->invokes_waiting == 0)
        return 0;
    unsigned places = function_places(function->config), starting = function->instances_by_state[INSTANCE_STARTING];
    unsigned needed = (function->invokes_waiting + places - 1) / places;
    return needed > starting ? needed - starting : 0;
}
