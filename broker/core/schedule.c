/* schedule.c - one function's turn: what is too old or too slow, who gets what, how many instances there are, when to look again.
 *
 * An instance's states; the engine moves it, the edge reports what happened to the process:
 *
 *   STARTING ──started / first request──> READY <──last result── BUSY
 *      │                                    └────── lease ───────>┘
 *      └────────────── drain: idle, timeout, new configuration, stop ──> DRAINING ──process gone──> (freed)
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
}

/* In a free list exactly while it has room for work. Put in front: work goes to the most recently busy, so that others age out.
 * Attached ones do not age: they take turns. */
void instance_update_free(struct instance *instance)
{
    bool room = instance->state != INSTANCE_DRAINING && (instance->slots > 0 || instance->wants.count > 0);

    if (room && list_empty(&instance->in_free) && instance->attached)
        list_push(&instance->function->free_attached, &instance->in_free);
    else if (room && list_empty(&instance->in_free))
        list_insert_after(&instance->function->free, &instance->in_free);
    else if (!room)
        list_remove(&instance->in_free);
}

/* ---- leases ---- */

static void lease_place(struct lease *lease, struct mono deadline)
{
    struct list *at = lease->function->leases.previous;

    lease->deadline = deadline;
    while (at != &lease->function->leases && LIST_OWNER(at, struct lease, in_function)->deadline.us > deadline.us)
        at = at->previous;
    list_insert_after(at, &lease->in_function);
}

/* Part of it is done, or its turn in the pipe has come: the rest has its time from now. */
static void lease_progress(struct lease *lease, struct now now)
{
    lease->since = now.mono;
    list_remove(&lease->in_function);
    lease_place(lease, (struct mono){ mono_after(now, lease->timeout_ms) });
}

static bool lease_to(struct engine *engine, struct instance *instance, unsigned max, struct now now)
{
    struct function *function = instance->function;
    unsigned count = queue_take(engine, function, max, now);

    if (count == 0)
        return false;
    struct lease *lease = malloc(sizeof *lease + count * sizeof *lease->items);
    ASSERT(lease != NULL);
    *lease = (struct lease){ .id = ++engine->lease_last, .function = function, .instance = instance, .since = now.mono, .count = count };
    memcpy(lease->items, engine->leasing.items, count * sizeof *lease->items);
    lease->timeout_ms = function->config->timeout_ms;
    lease->partial_failures = function->config->batch_partial_failures;
    /* Lines are worked on one by one: the time of those behind the first lease starts when they come to the front. */
    bool waits = instance->protocol == PROTOCOL_STDIO_LINES && !list_empty(&instance->leases);
    list_push(&instance->leases, &lease->in_instance);
    lease_place(lease, (struct mono){ waits ? MONO_NEVER : mono_after(now, lease->timeout_ms) });
    map_put(&engine->leases, lease->id, (uint64_t)(uintptr_t)lease);
    function->leased += count;
    for (unsigned i = 0; i < count; i++)
        function->leased_exceptions += lease->items[i].exception;
    instance->leased += count;
    switch (instance->protocol) {
    case PROTOCOL_STDIO: instance->slots = 0; break;
    case PROTOCOL_STDIO_LINES: instance->slots -= count; break;
    case PROTOCOL_NATIVE: instance->wants.count--; break;
    }
    if (instance->state == INSTANCE_READY)
        instance_set_state(instance, INSTANCE_BUSY);
    if (instance->attached)
        list_remove(&instance->in_free); /* to the end of its list, if it has more room */
    instance_update_free(instance);
    engine->world.deliver(engine->world.ctx, instance->id, lease->id, now.wall_ms + function->config->timeout_ms,
                          engine->handovers.items, count);
    return true;
}

/* Settled or given back whole: the instance is free for more. */
void lease_end(struct engine *engine, struct lease *lease)
{
    struct instance *instance = lease->instance;
    struct function *function = lease->function;

    (void)map_remove(&engine->leases, lease->id, NULL);
    list_remove(&lease->in_function);
    list_remove(&lease->in_instance);
    free(lease);
    if (instance->attached)
        attached_place_end(instance);
    if (instance->state == INSTANCE_BUSY && list_empty(&instance->leases))
        instance_set_state(instance, INSTANCE_READY);
    function_touch(engine, function);
}

static void leased_out(struct lease *lease, const struct leased *item)
{
    lease->done++;
    lease->function->leased--;
    lease->function->leased_exceptions -= item->exception;
    lease->instance->leased--;
}

/* The process is gone (or stopped) with the lease: each open delivery failed if it had been read, else it goes back untouched. */
void lease_lost(struct engine *engine, struct lease *lease, bool attempted, const struct failure *failure, struct now now)
{
    for (unsigned i = 0; i < lease->count; i++) {
        struct leased *item = &lease->items[i];
        if (item->done)
            continue;
        leased_out(lease, item);
        if (attempted) {
            settle_failure(engine, lease->function, item, failure, true, now);
        } else {
            item->done = true;
            queue_give_back(engine, lease->function, item);
        }
    }
    lease_end(engine, lease);
}

static void learn_service(struct lease *lease, unsigned count, struct now now)
{
    double seconds = (double)(now.mono.us - lease->since.us) / 1e6 / count;
    lease->function->service_s = mean_add(lease->function->service_s, seconds > 1e-6 ? seconds : 1e-6);
}

static struct lease *lease_find(const struct engine *engine, uint64_t instance, uint64_t id)
{
    uint64_t pointer;

    if (!map_get(&engine->leases, id, &pointer))
        return NULL;
    struct lease *lease = (struct lease *)(uintptr_t)pointer;
    return lease->instance->id == instance ? lease : NULL;
}

enum sluice_err engine_result(struct engine *engine, uint64_t instance_id, uint64_t lease_id, unsigned first, unsigned count,
                              const struct failure *failure, struct now now)
{
    struct lease *lease = lease_find(engine, instance_id, lease_id);

    if (lease == NULL || count == 0 || first >= lease->count || count > lease->count - first)
        return SLUICE_ESTALE;
    struct instance *instance = lease->instance;
    struct function *function = lease->function;
    unsigned settled = 0;
    for (unsigned i = first; i < first + count; i++) {
        struct leased *item = &lease->items[i];
        if (item->done)
            continue;
        settled++;
        leased_out(lease, item);
        if (failure == NULL)
            settle_success(engine, function, item);
        else
            settle_failure(engine, function, item, failure, true, now);
    }
    if (settled == 0)
        return SLUICE_ESTALE;
    instance->done += settled;
    instance->idle_since = now.mono;
    if (failure == NULL)
        function->crashes = 0;
    learn_service(lease, settled, now);
    if (instance->protocol == PROTOCOL_STDIO_LINES && instance->state != INSTANCE_DRAINING)
        instance->slots += settled;
    if (lease->done == lease->count)
        lease_end(engine, lease);
    else
        lease_progress(lease, now);
    /* The next line in the pipe is worked on from now. */
    if (instance->protocol == PROTOCOL_STDIO_LINES && !list_empty(&instance->leases))
        lease_progress(LIST_OWNER(instance->leases.next, struct lease, in_instance), now);
    instance_update_free(instance);
    function_touch(engine, function);
    return SLUICE_OK;
}

enum sluice_err engine_result_batch(struct engine *engine, uint64_t instance, uint64_t lease_id, const struct item_failure *failures,
                                    unsigned count, struct now now)
{
    struct lease *lease = lease_find(engine, instance, lease_id);

    if (lease == NULL)
        return SLUICE_ESTALE;
    unsigned total = lease->count;
    if (count > 0 && !lease->partial_failures)
        return engine_result(engine, instance, lease_id, 0, total, &failures[0].failure, now);
    for (unsigned i = 0; i < count; i++) {
        if (failures[i].index < total)
            (void)engine_result(engine, instance, lease_id, failures[i].index, 1, &failures[i].failure, now);
    }
    if (lease_find(engine, instance, lease_id) != NULL) /* not all failed */
        return engine_result(engine, instance, lease_id, 0, total, NULL, now);
    return SLUICE_OK;
}

/* ---- instances ---- */

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
    list_init(&instance->leases);
    list_init(&instance->in_free);
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
    (void)map_remove(&engine->instances, instance->id, NULL);
    VEC_DONE(&instance->wants);
    free(instance);
}

/* A process is gone when the edge says so; an attached instance with the word. */
static void instance_stop(struct engine *engine, struct instance *instance, const char *reason)
{
    instance->killed = true;
    engine->world.stop(engine->world.ctx, instance->id, reason);
    if (instance->attached)
        instance_free(engine, instance);
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
    instance->pid = pid;
    switch (instance->protocol) {
    case PROTOCOL_NATIVE: return; /* up with its first request */
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

    if (instance == NULL || instance->protocol != PROTOCOL_NATIVE)
        return SLUICE_ENOTFOUND;
    if (instance->state == INSTANCE_DRAINING)
        return SLUICE_EUNAVAILABLE;
    if (instance->attached && instance->places == instance->concurrency)
        return SLUICE_ELIMIT;
    if (instance->attached)
        attached_place_add(instance);
    VEC_PUSH(&instance->wants, events_max);
    instance_is_up(engine, instance, now);
    instance_update_free(instance);
    function_touch(engine, instance->function);
    return SLUICE_OK;
}

void engine_instance_wants_cancel(struct engine *engine, uint64_t id)
{
    struct instance *instance = instance_find(engine, id);

    if (instance == NULL || instance->wants.count == 0)
        return;
    instance->wants.count--;
    if (instance->attached)
        attached_place_end(instance);
    instance_update_free(instance);
}

/* A start that did nothing: the next waits, twice as long each time; after a few the circuit is shown open. */
static void function_crashed(struct engine *engine, struct function *function, const struct instance_gone *gone, struct now now)
{
    int64_t pause_ms = CRASH_BACKOFF_MIN_MS;

    for (unsigned i = 0; i < function->crashes && pause_ms < CRASH_BACKOFF_MAX_MS; i++)
        pause_ms *= 2;
    if (pause_ms > CRASH_BACKOFF_MAX_MS)
        pause_ms = CRASH_BACKOFF_MAX_MS;
    function->crashes++;
    function->circuit_until = (struct mono){ mono_after(now, pause_ms) };
    struct view last = gone->output;
    while (last.len > 0 && (last.data[last.len - 1] == '\n' || last.data[last.len - 1] == '\r'))
        last.len--;
    for (size_t i = last.len; i > 0; i--) {
        if (last.data[i - 1] == '\n') {
            last.data += i;
            last.len -= i;
            break;
        }
    }
    function_note(engine, function, LOG_WARN, now, "event=start-failed times=%u circuit=%s again_in_ms=%" PRId64 " reason=\"%.*s\" output=\"%.*s\"",
                  function->crashes, function->crashes >= CIRCUIT_CRASHES ? "open" : "closed", pause_ms, VIEW_ARGS(gone->reason),
                  (int)(last.len > 80 ? 80 : last.len), last.data);
}

void engine_instance_gone(struct engine *engine, uint64_t id, const struct instance_gone *gone, struct now now)
{
    struct instance *instance = instance_find(engine, id);

    if (instance == NULL)
        return;
    struct function *function = instance->function;
    bool had_lease = !list_empty(&instance->leases);
    bool attempted = had_lease && !gone->failed_start && !gone->input_unread;
    struct failure failure = { .type = VIEW_LITERAL("Runtime.ExitError"), .message = gone->reason, .output = gone->output };

    while (!list_empty(&instance->leases))
        lease_lost(engine, LIST_OWNER(instance->leases.next, struct lease, in_instance), attempted, &failure, now);
    if (gone->cpu_us > 0 && instance->done > 0) {
        double wall_us = (double)(now.mono.us - instance->started.us);
        function->cpu_share = mean_add(function->cpu_share, wall_us > 0 ? (double)gone->cpu_us / wall_us : 0);
    }
    if (!instance->killed && instance->done == 0 && !attempted && (!gone->clean || instance->protocol != PROTOCOL_STDIO || gone->failed_start))
        function_crashed(engine, function, gone, now);
    else if (!instance->killed && !gone->clean && instance->protocol != PROTOCOL_STDIO)
        function_note(engine, function, LOG_WARN, now, "event=instance-ended instance=%llu done=%llu reason=\"%.*s\"",
                      (unsigned long long)id, (unsigned long long)instance->done, VIEW_ARGS(gone->reason));
    else if (function->config != NULL && function->start_tokens < function->config->scale_max)
        function->start_tokens += 1; /* an orderly end gives its token back: replacing it is no growth */
    instance_free(engine, instance);
    function_touch(engine, function);
}

/* ---- the turn of one function ---- */

static unsigned function_ours(const struct function *function, enum instance_state state)
{
    return function->instances_by_state[state] - function->attached_by_state[state];
}

static unsigned function_live(const struct function *function)
{
    return function_ours(function, INSTANCE_STARTING) + function_ours(function, INSTANCE_READY) + function_ours(function, INSTANCE_BUSY);
}

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

static void function_timeouts(struct engine *engine, struct function *function, struct now now)
{
    while (!list_empty(&function->leases)) {
        struct lease *lease = LIST_OWNER(function->leases.next, struct lease, in_function);
        if (lease->deadline.us > now.mono.us)
            return;
        struct instance *instance = lease->instance;
        double seconds = (double)(lease->deadline.us - lease->since.us) / 1e6;
        char message[96];
        (void)snprintf(message, sizeof message, "Task timed out after %.2f seconds", seconds);
        struct failure failure = { .type = VIEW_LITERAL("Sandbox.Timedout"), .message = view_of(message), .output = VIEW_LITERAL("") };
        uint64_t id = instance->id;
        function_note(engine, function, LOG_WARN, now, "event=timeout instance=%llu seconds=%.2f action=kill", (unsigned long long)id,
                      seconds);
        if (instance->state != INSTANCE_DRAINING) {
            instance_set_state(instance, INSTANCE_DRAINING);
            instance->slots = 0;
            instance_update_free(instance);
        }
        instance->killed = true;
        instance->done++; /* it worked, too long: no crashing start */
        if (instance->protocol == PROTOCOL_STDIO_LINES) {
            /* Only the line it hangs on has timed out. What waits behind it in the pipe comes back when the process is gone. */
            unsigned i = 0;
            while (lease->items[i].done)
                i++;
            leased_out(lease, &lease->items[i]);
            settle_failure(engine, function, &lease->items[i], &failure, true, now);
            if (lease->done == lease->count) {
                lease_end(engine, lease);
            } else {
                lease_progress(lease, now);
            }
        } else {
            lease_lost(engine, lease, true, &failure, now);
        }
        engine->world.kill(engine->world.ctx, id, "timeout");
    }
}

static unsigned lease_size(const struct function *function, const struct instance *instance)
{
    unsigned batch = function->config->batch_size, room = FUNCTION_IN_FLIGHT_MAX - function->leased;
    unsigned size = batch;

    switch (instance->protocol) {
    case PROTOCOL_STDIO: break;
    case PROTOCOL_STDIO_LINES: size = instance->slots; break;
    case PROTOCOL_NATIVE:
        if (instance->wants.items[instance->wants.count - 1] < size)
            size = instance->wants.items[instance->wants.count - 1];
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

static void function_lease(struct engine *engine, struct function *function, struct now now)
{
    struct instance *instance;

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
        if (!lease_to(engine, instance, lease_size(function, instance), now)) {
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
        .in_flight = function->leased,
        .arrivals_per_s = rate_now(&function->arrivals, now.mono.us),
        .service_s = function->service_s,
        .cpu_share = function->cpu_share,
        .parallel = config->protocol == PROTOCOL_NATIVE ? config->concurrency : 1,
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

    if (function->circuit_until.us > now.mono.us) {
        if (function->target.instances > live)
            wake_by(engine, function, function->circuit_until.us);
        return;
    }
    for (; live < function->target.instances && engine->spawner_ready && !engine->starts_blocked && !engine->draining; live++) {
        /* After a crash one start at a time feels the ground. */
        if (function->crashes > 0 && live > 0)
            return;
        if (function->start_tokens < 1) {
            wake_by(engine, function, mono_after(now, 1000 / START_TOKENS_PER_S));
            return;
        }
        function->start_tokens -= 1;
        if (!function_start_one(engine, function, now))
            return;
    }
}

/* A start that hangs: no exec, or a native program that never asks for work. It is killed, and counts as a start that failed. */
static void function_stop_stuck(struct engine *engine, struct function *function, struct now now)
{
    if (function->instances_by_state[INSTANCE_STARTING] == 0)
        return;
    LIST_EACH(at, &function->instances) { /* in order of start */
        struct instance *instance = LIST_OWNER(at, struct instance, in_function);
        if (instance->state != INSTANCE_STARTING)
            continue;
        int64_t until = instance->started.us + START_LIMIT_MS * 1000LL;
        if (until > now.mono.us) {
            wake_by(engine, function, until);
            return;
        }
        function_note(engine, function, LOG_WARN, now, "event=start-timeout instance=%llu after_ms=%d action=kill reason=\"%s\"",
                      (unsigned long long)instance->id, START_LIMIT_MS,
                      instance->protocol == PROTOCOL_NATIVE ? "it has not asked for work on the bus" : "it has not been started");
        instance_set_state(instance, INSTANCE_DRAINING);
        instance->slots = 0;
        instance_update_free(instance);
        engine->world.kill(engine->world.ctx, instance->id, "start timeout");
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
        if (instance->state == INSTANCE_DRAINING && !instance->killed && list_empty(&instance->leases))
            instance_stop(engine, instance, "drained");
    }
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
    function_timeouts(engine, function, now);
    function_stop_drained(engine, function);
    function_stop_stuck(engine, function, now);
    if (!engine->recovered)
        return;
    queue_sweep(engine, function, now);
    if (function->config != NULL && !engine->draining) {
        queue_bury(engine, function, now);
        function_lease(engine, function, now);
        function_scale(engine, function, now);
        function_stop_idle(engine, function, now);
    }
    wake_by_first_deadline(engine, function);
    int64_t due = queue_due_ms(function), expiry = queue_expiry_ms(engine, function);
    if (due > now.wall_ms && function->config != NULL)
        wake_by_wall(engine, function, due, now);
    if (expiry != 0)
        wake_by_wall(engine, function, expiry, now);
}
