/* instance.c - the life of an instance. The engine moves it, the edge reports what happened to the process:
 *
 *   STARTING ──started / first request──> READY <──last result── BUSY
 *      │                                    └────── lease ───────>┘
 *      └───────── drain: idle, timeout, silence, new configuration, stop ──> DRAINING ──process gone──> (freed)
 */
#include "broker/core/engine_internal.h"

#include <inttypes.h>
#include <stdio.h>

const char *instance_state_text(enum instance_state state)
{
    switch (state) {
    case INSTANCE_STARTING: return "starting";
    case INSTANCE_READY: return "ready";
    case INSTANCE_BUSY: return "busy";
    case INSTANCE_DRAINING: return "draining";
    }
    return "?";
}

struct instance *instance_find(const struct engine *engine, uint64_t id)
{
    uint64_t pointer;
    return map_get(&engine->instances, id, &pointer) ? (struct instance *)(uintptr_t)pointer : NULL;
}

bool engine_instance_is_native(const struct engine *engine, uint64_t id)
{
    const struct instance *instance = instance_find(engine, id);
    return instance != NULL && instance->protocol == PROTOCOL_NATIVE;
}

bool engine_instance_protocol(const struct engine *engine, uint64_t id, enum function_protocol *ret_protocol)
{
    const struct instance *instance = instance_find(engine, id);

    if (instance != NULL)
        *ret_protocol = instance->protocol;
    return instance != NULL;
}

unsigned function_ours(const struct function *function, enum instance_state state)
{
    return function->instances_by_state[state] - function->attached_by_state[state];
}

unsigned function_live(const struct function *function)
{
    return function_ours(function, INSTANCE_STARTING) + function_ours(function, INSTANCE_READY) + function_ours(function, INSTANCE_BUSY);
}

void instance_set_state(struct instance *instance, enum instance_state state)
{
    struct function *function = instance->function;

    ASSERT(function->instances_by_state[instance->state] > 0);
    ASSERT(instance->state != INSTANCE_DRAINING || state == INSTANCE_DRAINING);
    attached_count(instance, -1);
    function->instances_by_state[instance->state]--;
    function->instances_by_state[state]++;
    instance->state = state;
    attached_count(instance, +1);
    if (state == INSTANCE_DRAINING)
        list_remove(&instance->in_silent);
}

/* See "instances that fall silent" in engine.h. Each invocation makes its instance silent between the answer and the next request. */
void instance_look_silent(struct instance *instance, struct now now)
{
    struct function *function = instance->function;

    if (instance->protocol != PROTOCOL_LAMBDA || instance->state != INSTANCE_READY || instance->wants > 0)
        return;
    instance->silent_until_us = mono_after(now, function->config->timeout_ms);
    list_remove(&instance->in_silent);
    struct list *at = function->silent.previous; /* at its end, but where the timeout has become shorter */
    while (at != &function->silent && LIST_OWNER(at, struct instance, in_silent)->silent_until_us > instance->silent_until_us)
        at = at->previous;
    list_insert_after(at, &instance->in_silent);
}

/* In a free list exactly while it has room for work. Put in front: work goes to the most recently busy, so that others age out.
 * Attached ones do not age: they take turns. */
void instance_update_free(struct instance *instance)
{
    bool room = instance->state != INSTANCE_DRAINING && (instance->slots > 0 || instance->wants > 0);

    if (room && list_empty(&instance->in_free) && instance->attached)
        list_push(&instance->function->free_attached, &instance->in_free);
    else if (room && list_empty(&instance->in_free))
        list_insert_after(&instance->function->free, &instance->in_free);
    else if (!room)
        list_remove(&instance->in_free);
}

/* From its start until it is up; see "starts that fail" in engine.h. */
static int64_t start_limit_ms(const struct config_function *config, const struct instance *instance)
{
    if (instance->protocol != PROTOCOL_LAMBDA)
        return START_LIMIT_MS;
    if (instance->provisioned) {
        int64_t timeout_ms = config->timeout_ms < START_TIMEOUT_MS_MAX ? config->timeout_ms : START_TIMEOUT_MS_MAX;
        return timeout_ms > START_PROVISIONED_MS ? timeout_ms : START_PROVISIONED_MS;
    }
    return instance->repeats_init ? config->timeout_ms : START_LIMIT_MS;
}

struct instance *instance_new(struct engine *engine, struct function *function, struct now now)
{
    struct instance *instance = calloc(1, sizeof *instance);
    ASSERT(instance != NULL);
    instance->id = ++engine->instance_last;
    instance->function = function;
    instance->protocol = function->config->protocol;
    instance->state = INSTANCE_STARTING;
    instance->started = instance->idle_since = now.mono;
    instance->started_wall_ms = now.wall_ms;
    instance->provisioned = instance->protocol != PROTOCOL_STDIO && function_live(function) < function->config->scale_min;
    instance->repeats_init = function->init_failed;
    instance->start_limit_ms = start_limit_ms(function->config, instance);
    if (function->start_deadline_us > mono_after(now, instance->start_limit_ms))
        function->start_deadline_us = mono_after(now, instance->start_limit_ms);
    list_init(&instance->leases);
    list_init(&instance->in_free);
    list_init(&instance->in_silent);
    list_push(&function->instances, &instance->in_function);
    function->instances_by_state[INSTANCE_STARTING]++;
    map_put(&engine->instances, instance->id, (uint64_t)(uintptr_t)instance);
    return instance;
}

void instance_free(struct engine *engine, struct instance *instance)
{
    ASSERT(list_empty(&instance->leases));
    ASSERT(instance->leased == 0);
    attached_count(instance, -1);
    instance->function->instances_by_state[instance->state]--;
    list_remove(&instance->in_function);
    list_remove(&instance->in_free);
    list_remove(&instance->in_silent);
    (void)map_remove(&engine->instances, instance->id, NULL);
    free(instance);
}

/* A process is gone when the edge says so; an attached instance with the word. */
void instance_stop(struct engine *engine, struct instance *instance, const char *reason)
{
    instance->killed = true;
    engine->world.stop(engine->world.ctx, instance->id, reason);
    if (instance->attached)
        instance_free(engine, instance);
}

void instance_kill(struct engine *engine, struct instance *instance, const char *reason)
{
    instance->killed = true;
    engine->world.kill(engine->world.ctx, instance->id, reason);
}

/* No new work. Idle: it is stopped now; else when its last lease has ended. */
void instance_drain(struct engine *engine, struct instance *instance, const char *reason)
{
    if (instance->state == INSTANCE_DRAINING)
        return;
    instance_set_state(instance, INSTANCE_DRAINING);
    instance->slots = 0;
    instance_update_free(instance);
    if (list_empty(&instance->leases))
        instance_stop(engine, instance, reason);
}

void engine_spawner_ready(struct engine *engine, struct now now)
{
    (void)now;
    engine->spawner_ready = true;
    engine->starts_blocked = false;
    for (size_t i = 0; i < engine->functions.count; i++)
        function_touch(engine, engine->functions.items[i]);
}

static void instance_is_up(struct engine *engine, struct instance *instance, struct now now)
{
    if (instance->state != INSTANCE_STARTING)
        return;
    instance->up = true;
    if (instance->protocol == PROTOCOL_LAMBDA && instance->repeats_init && !instance->provisioned) {
        int64_t left_ms = instance->start_limit_ms - (now.mono.us - instance->started.us) / 1000;
        instance->init_left_ms = left_ms > 1 ? (unsigned)left_ms : 1;
    }
    instance->function->init_failed = false;
    instance->function->start_s = mean_add(instance->function->start_s, (double)(now.mono.us - instance->started.us) / 1e6);
    instance->idle_since = now.mono;
    instance_set_state(instance, list_empty(&instance->leases) ? INSTANCE_READY : INSTANCE_BUSY);
    function_touch(engine, instance->function);
}

void engine_instance_started(struct engine *engine, uint64_t id, int64_t pid, struct now now)
{
    struct instance *instance = instance_find(engine, id);

    if (instance == NULL)
        return;
    instance->pid = (int32_t)pid;
    switch (instance->protocol) {
    case PROTOCOL_NATIVE: case PROTOCOL_LAMBDA: return; /* up with its first request */
    case PROTOCOL_STDIO_LINES:
        if (instance->state == INSTANCE_STARTING)
            instance->slots = instance->function->config == NULL ? 0 : instance->function->config->concurrency;
        break;
    case PROTOCOL_STDIO: break;
    }
    instance_is_up(engine, instance, now);
    instance_update_free(instance);
}

enum sluice_err engine_instance_wants(struct engine *engine, uint64_t id, unsigned events_max, struct now now)
{
    struct instance *instance = instance_find(engine, id);

    if (instance == NULL || (instance->protocol != PROTOCOL_NATIVE && instance->protocol != PROTOCOL_LAMBDA))
        return SLUICE_ENOTFOUND;
    if (instance->state == INSTANCE_DRAINING)
        return SLUICE_EUNAVAILABLE;
    if (instance->attached && instance->places == instance->concurrency)
        return SLUICE_ELIMIT;
    if (instance->attached)
        attached_place_add(instance);
    if (instance->wants++ == 0 || events_max < instance->events_max)
        instance->events_max = events_max;
    list_remove(&instance->in_silent);
    instance_is_up(engine, instance, now);
    instance_update_free(instance);
    function_touch(engine, instance->function);
    return SLUICE_OK;
}

void engine_instance_wants_cancel(struct engine *engine, uint64_t id, struct now now)
{
    struct instance *instance = instance_find(engine, id);

    if (instance == NULL || instance->wants == 0)
        return;
    instance->wants--;
    if (instance->attached)
        attached_place_end(instance);
    instance_update_free(instance);
    instance_look_silent(instance, now);
    function_touch(engine, instance->function);
}

/* The last line that is not empty. */
static struct view last_line(struct view output)
{
    while (output.len > 0 && (output.data[output.len - 1] == '\n' || output.data[output.len - 1] == '\r'))
        output.len--;
    for (size_t i = output.len; i > 0; i--) {
        if (output.data[i - 1] == '\n')
            return (struct view){ .data = output.data + i, .len = output.len - i };
    }
    return output;
}

/* A start that did nothing: the next waits, twice as long each time; after a few the circuit is shown open. */
static void function_crashed(struct engine *engine, struct function *function, struct view reason, struct view output, struct now now)
{
    int64_t pause_ms = CRASH_BACKOFF_MIN_MS;
    struct view last = last_line(output);

    for (unsigned i = 0; i < function->crashes && pause_ms < CRASH_BACKOFF_MAX_MS; i++)
        pause_ms *= 2;
    if (pause_ms > CRASH_BACKOFF_MAX_MS)
        pause_ms = CRASH_BACKOFF_MAX_MS;
    function->crashes++;
    function->circuit_until = (struct mono){ mono_after(now, pause_ms) };
    function_note(engine, function, LOG_WARN, now, "event=start-failed times=%u circuit=%s again_in_ms=%" PRId64 " reason=\"%.*s\" output=\"%.*s\"",
                  function->crashes, function->crashes >= CIRCUIT_CRASHES ? "open" : "closed", pause_ms, VIEW_ARGS(reason),
                  (int)(last.len > 80 ? 80 : last.len), last.data);
}

/* What it was started for has failed with it. Who that is: "starts that fail" in engine.h. */
static void start_failed(struct engine *engine, const struct instance *instance, const struct failure *failure, struct view body, struct now now)
{
    struct function *function = instance->function;
    bool none_is_up = function->instances_by_state[INSTANCE_READY] + function->instances_by_state[INSTANCE_BUSY] == 0;

    if (invoke_fail_first(engine, instance, failure, body, now))
        return;
    if (instance->protocol == PROTOCOL_LAMBDA && none_is_up)
        settle_front(engine, function, failure, now);
}

void engine_instance_init_failed(struct engine *engine, uint64_t id, const struct failure *failure, struct view body, struct now now)
{
    struct instance *instance = instance_find(engine, id);

    if (instance == NULL || instance->state != INSTANCE_STARTING)
        return; /* too late: it is ending, and its end will be booked */
    struct function *function = instance->function;
    ASSERT(!instance->attached); /* those are not started: a drain does not free it */
    function->init_failed = true;
    function_crashed(engine, function, failure->message, failure->output, now);
    instance_drain(engine, instance, "init error");
    start_failed(engine, instance, failure, body, now);
    function_touch(engine, function);
}

void instance_overran(struct engine *engine, struct instance *instance, struct now now)
{
    struct function *function = instance->function;
    char message[96];

    function_note(engine, function, LOG_WARN, now, "event=start-timeout instance=%llu after_ms=%lld action=kill reason=\"%s\"",
                  (unsigned long long)instance->id, (long long)instance->start_limit_ms,
                  instance->protocol == PROTOCOL_LAMBDA   ? "it has not asked for work (next)"
                  : instance->protocol == PROTOCOL_NATIVE ? "it has not asked for work on the bus"
                                                          : "it has not been started");
    instance->overran = true;
    function->init_failed = true;
    instance_set_state(instance, INSTANCE_DRAINING);
    instance->slots = 0;
    instance_update_free(instance);
    engine->world.kill(engine->world.ctx, instance->id, "start timeout");
    if (!instance->repeats_init || !list_empty(&instance->leases))
        return;
    (void)snprintf(message, sizeof message, "Task timed out after %.2f seconds", (double)instance->start_limit_ms / 1000);
    struct failure failure = { .type = VIEW_LITERAL("Sandbox.Timedout"), .message = view_of(message), .output = VIEW_LITERAL("") };
    start_failed(engine, instance, &failure, (struct view){ 0 }, now);
}

void instance_was_silent(struct engine *engine, struct instance *instance, struct now now)
{
    struct function *function = instance->function;

    function_note(engine, function, LOG_WARN, now, "event=instance-silent instance=%llu done=%llu action=kill reason=\"it %s, and has not asked for "
                  "the next invocation within the function's timeout of %g s; a runtime and its extensions call next again at once\"",
                  (unsigned long long)instance->id, (unsigned long long)instance->done,
                  instance->done > 0 ? "answered or closed its request" : "closed its request", (double)function->config->timeout_ms / 1000);
    instance_set_state(instance, INSTANCE_DRAINING);
    instance_update_free(instance);
    instance_kill(engine, instance, "silent");
}

/* Once in its life. It stands for no work from here on. */
static void instance_ended(struct engine *engine, struct instance *instance, const struct instance_gone *gone, struct now now)
{
    struct function *function = instance->function;
    bool had_lease = !list_empty(&instance->leases);
    bool attempted = had_lease && !gone->failed_start && !gone->input_unread;
    struct failure failure = { .type = VIEW_LITERAL("Runtime.ExitError"), .message = gone->reason, .output = gone->output };

    instance->ended = true;
    instance_set_state(instance, INSTANCE_DRAINING);
    instance->slots = 0;
    instance_update_free(instance);
    if (gone->failed_start)
        failure.type = VIEW_LITERAL("Runtime.InvalidEntrypoint");
    while (!list_empty(&instance->leases))
        lease_lost(engine, LIST_OWNER(instance->leases.next, struct lease, in_instance), attempted, &failure, now);
    if (gone->cpu_us > 0 && instance->done > 0) {
        double wall_us = (double)(now.mono.us - instance->started.us);
        function->cpu_share = mean_add(function->cpu_share, wall_us > 0 ? (double)gone->cpu_us / wall_us : 0);
    }
    bool crashed = !instance->killed && instance->done == 0 && !attempted &&
                   (!gone->clean || instance->protocol != PROTOCOL_STDIO || gone->failed_start);
    bool failed_again = crashed && !instance->up && !instance->overran && !had_lease && instance->repeats_init;
    if (crashed)
        function->init_failed |= !instance->up;
    if (crashed)
        function_crashed(engine, function, gone->reason, gone->output, now);
    else if (!instance->killed && !gone->clean && instance->protocol != PROTOCOL_STDIO)
        function_note(engine, function, LOG_WARN, now, "event=instance-ended instance=%llu done=%llu reason=\"%.*s\"",
                      (unsigned long long)instance->id, (unsigned long long)instance->done, VIEW_ARGS(gone->reason));
    else if (function->config != NULL && function->start_tokens < function->config->scale_max)
        function->start_tokens += 1; /* an orderly end gives its token back: replacing it is no growth */
    if (failed_again)
        start_failed(engine, instance, &failure, (struct view){ 0 }, now);
}

void engine_instance_ended(struct engine *engine, uint64_t id, const struct instance_gone *gone, struct now now)
{
    struct instance *instance = instance_find(engine, id);

    if (instance == NULL || instance->ended)
        return;
    instance_ended(engine, instance, gone, now);
    function_touch(engine, instance->function);
}

void engine_instance_gone(struct engine *engine, uint64_t id, const struct instance_gone *gone, struct now now)
{
    struct instance *instance = instance_find(engine, id);

    if (instance == NULL)
        return;
    struct function *function = instance->function;
    if (!instance->ended)
        instance_ended(engine, instance, gone, now);
    instance_free(engine, instance);
    function_touch(engine, function);
}
