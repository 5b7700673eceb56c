/* lease.c - what is out with an instance, until when, and how it comes back. */
#include "broker/core/engine_internal.h"

#include <inttypes.h>
#include <stdio.h>

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

/* Of the `count` deliveries in engine->leasing, or of an invocation. */
static struct lease *lease_new(struct engine *engine, struct instance *instance, unsigned count, struct invoke *invoke, struct now now)
{
    struct function *function = instance->function;
    struct lease *lease = malloc(sizeof *lease + count * sizeof *lease->items);

    ASSERT(lease != NULL);
    ASSERT((count == 0) == (invoke != NULL));
    *lease = (struct lease){ .id = ++engine->lease_last, .function = function, .instance = instance, .since = now.mono, .invoke = invoke,
                             .count = count, .places = invoke != NULL ? 1 : count };
    lease->timeout_ms = function->config->timeout_ms;
    int64_t left_ms = instance->init_left_ms > 0 ? instance->init_left_ms : lease->timeout_ms;
    instance->init_left_ms = 0;
    lease->partial_failures = function->config->batch_partial_failures;
    /* Lines are worked on one by one: the time of those behind the first lease starts when they come to the front. */
    bool waits = instance->protocol == PROTOCOL_STDIO_LINES && !list_empty(&instance->leases);
    list_push(&instance->leases, &lease->in_instance);
    lease_place(lease, (struct mono){ waits ? MONO_NEVER : mono_after(now, left_ms) });
    map_put(&engine->leases, lease->id, (uint64_t)(uintptr_t)lease);
    instance->leased += lease->places;
    switch (instance->protocol) {
    case PROTOCOL_STDIO: instance->slots = 0; break;
    case PROTOCOL_STDIO_LINES: instance->slots -= lease->places; break;
    case PROTOCOL_NATIVE: case PROTOCOL_LAMBDA: instance->wants--; break;
    }
    if (instance->state == INSTANCE_READY)
        instance_set_state(instance, INSTANCE_BUSY);
    if (instance->attached)
        list_remove(&instance->in_free); /* to the end of its list, if it has more room */
    instance_update_free(instance);
    return lease;
}

/* As its process is told: of one that waits behind another, as if it did not. */
static int64_t deadline_wall_ms(const struct lease *lease, struct now now)
{
    return now.wall_ms + (lease->deadline.us == MONO_NEVER ? lease->timeout_ms : (lease->deadline.us - now.mono.us) / 1000);
}

bool lease_to(struct engine *engine, struct instance *instance, unsigned max, struct now now)
{
    struct function *function = instance->function;
    unsigned count = queue_take(engine, function, max, now);

    if (count == 0)
        return false;
    struct lease *lease = lease_new(engine, instance, count, NULL, now);
    memcpy(lease->items, engine->leasing.items, count * sizeof *lease->items);
    function->leased += count;
    for (unsigned i = 0; i < count; i++)
        function->leased_exceptions += lease->items[i].exception;
    engine->world.deliver(engine->world.ctx, instance->id, lease->id, deadline_wall_ms(lease, now), engine->handovers.items, count);
    return true;
}

void lease_invoke(struct engine *engine, struct instance *instance, struct now now)
{
    struct invoke *invoke = invoke_take(instance->function, now);

    ASSERT(invoke != NULL);
    const struct lease *lease = lease_new(engine, instance, 0, invoke, now);
    invoke->lease = lease;
    engine->world.invoke(engine->world.ctx, instance->id, lease->id, deadline_wall_ms(lease, now), invoke->handle);
}

/* Settled, answered or given back whole: the instance is free for more. */
void lease_end(struct engine *engine, struct lease *lease, struct now now)
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
    instance_look_silent(instance, now);
    function_touch(engine, function);
}

static void answer_invoke(struct engine *engine, struct lease *lease, const struct failure *failure, struct view result, struct now now)
{
    ASSERT(lease->done == 0);
    lease->done = 1;
    lease->instance->leased--;
    invoke_answer(engine, lease->invoke, failure == NULL ? INVOKE_DONE : INVOKE_FAILED, failure, result, now);
    lease->invoke = NULL;
}

static void leased_out(struct lease *lease, const struct leased *item)
{
    lease->done++;
    lease->function->leased--;
    lease->function->leased_exceptions -= item->exception;
    lease->instance->leased--;
}

static int64_t took_us(const struct lease *lease, struct now now)
{
    return now.mono.us - lease->since.us;
}

/* The process is gone (or stopped) with the lease: each open delivery failed if it had been read, else it goes back untouched. An invocation
 * has failed either way: what it was for is known to its caller alone. */
void lease_lost(struct engine *engine, struct lease *lease, bool attempted, const struct failure *failure, struct now now)
{
    unsigned failed = 0;

    if (lease->invoke != NULL)
        answer_invoke(engine, lease, failure, (struct view){ 0 }, now);
    for (unsigned i = 0; i < lease->count; i++) {
        struct leased *item = &lease->items[i];
        if (item->done)
            continue;
        leased_out(lease, item);
        if (attempted) {
            failed++;
            settle_failure(engine, lease->function, item, failure, now);
        } else {
            item->done = true;
            queue_give_back(engine, lease->function, item);
        }
    }
    if (failed > 0)
        attempts_ended(lease->function, failed, true, took_us(lease, now));
    lease_end(engine, lease, now);
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

/* Deliveries first .. first+count-1: settles those that are not yet. Returns how many these were. */
static unsigned settle(struct engine *engine, struct lease *lease, unsigned first, unsigned count, const struct failure *failure, struct now now)
{
    unsigned settled = 0;

    for (unsigned i = first; i < first + count; i++) {
        struct leased *item = &lease->items[i];
        if (item->done)
            continue;
        settled++;
        leased_out(lease, item);
        if (failure == NULL)
            settle_success(engine, lease->function, item);
        else
            settle_failure(engine, lease->function, item, failure, now);
    }
    return settled;
}

/* Part of a lease, or all of it, has its result. Of all parts that are told at once, it took `us`. */
static enum sluice_err lease_result(struct engine *engine, struct lease *lease, unsigned first, unsigned count, const struct failure *failure,
                                    struct view result, int64_t us, struct now now)
{
    unsigned settled = 1;

    if (lease == NULL || count == 0 || first >= lease->places || count > lease->places - first)
        return SLUICE_ESTALE;
    struct instance *instance = lease->instance;
    struct function *function = lease->function;
    if (lease->invoke != NULL)
        answer_invoke(engine, lease, failure, result, now);
    else
        settled = settle(engine, lease, first, count, failure, now);
    if (settled == 0)
        return SLUICE_ESTALE;
    if (lease->count > 0)
        attempts_ended(function, settled, failure != NULL, us);
    instance->done += settled;
    instance->idle_since = now.mono;
    if (failure == NULL || instance->protocol == PROTOCOL_LAMBDA) /* an error that it says is a sign of life; a pipe's may be its death */
        function->crashes = 0;
    learn_service(lease, settled, now);
    if (instance->protocol == PROTOCOL_STDIO_LINES && instance->state != INSTANCE_DRAINING)
        instance->slots += settled;
    if (lease->done == lease->places)
        lease_end(engine, lease, now);
    else
        lease_progress(lease, now);
    /* The next line in the pipe is worked on from now. */
    if (instance->protocol == PROTOCOL_STDIO_LINES && !list_empty(&instance->leases))
        lease_progress(LIST_OWNER(instance->leases.next, struct lease, in_instance), now);
    instance_update_free(instance);
    function_touch(engine, function);
    return SLUICE_OK;
}

enum sluice_err engine_result(struct engine *engine, uint64_t instance, uint64_t lease_id, unsigned first, unsigned count,
                              const struct failure *failure, struct view result, struct now now)
{
    struct lease *lease = lease_find(engine, instance, lease_id);

    return lease_result(engine, lease, first, count, failure, result, lease == NULL ? 0 : took_us(lease, now), now);
}

enum sluice_err engine_result_batch(struct engine *engine, uint64_t instance, uint64_t lease_id, const struct item_failure *failures,
                                    unsigned count, struct now now)
{
    const struct view nothing = { 0 };
    struct lease *lease = lease_find(engine, instance, lease_id);

    if (lease == NULL)
        return SLUICE_ESTALE;
    unsigned total = lease->places;
    int64_t us = took_us(lease, now); /* before any of it is progress */
    if (count > 0 && !lease->partial_failures)
        return lease_result(engine, lease, 0, total, &failures[0].failure, nothing, us, now);
    for (unsigned i = 0; i < count && lease != NULL; i++) {
        if (failures[i].index < total)
            (void)lease_result(engine, lease, failures[i].index, 1, &failures[i].failure, nothing, us, now);
        lease = lease_find(engine, instance, lease_id); /* NULL: all have failed */
    }
    return lease == NULL ? SLUICE_OK : lease_result(engine, lease, 0, total, NULL, nothing, us, now);
}

/* A process that works on several things at once goes on with the others, which have their own time, and is killed after them (schedule.c).
 * Not that of a pipe, where those behind wait for the one that hangs; and an attached consumer's connection is cut: it is for the consumer to
 * begin anew. */
static bool works_on_others(const struct instance *instance)
{
    bool several = instance->leases.next != instance->leases.previous;
    return several && instance->protocol != PROTOCOL_STDIO_LINES && !instance->attached;
}

void lease_timeouts(struct engine *engine, struct function *function, struct now now)
{
    while (!list_empty(&function->leases)) {
        struct lease *lease = LIST_OWNER(function->leases.next, struct lease, in_function);
        if (lease->deadline.us > now.mono.us)
            return;
        struct instance *instance = lease->instance;
        double seconds = (double)lease->timeout_ms / 1000;
        char message[96];
        (void)snprintf(message, sizeof message, "Task timed out after %.2f seconds", seconds);
        struct failure failure = { .type = VIEW_LITERAL("Sandbox.Timedout"), .message = view_of(message), .output = VIEW_LITERAL("") };
        uint64_t id = instance->id;
        bool others = works_on_others(instance);
        function_note(engine, function, LOG_WARN, now, "event=timeout instance=%llu seconds=%.2f action=%s", (unsigned long long)id, seconds,
                      others ? "kill-after-others" : "kill");
        if (instance->state != INSTANCE_DRAINING) {
            instance_set_state(instance, INSTANCE_DRAINING);
            instance->slots = 0;
            instance_update_free(instance);
        }
        engine->world.timed_out(engine->world.ctx, id, lease->id, lease->timeout_ms);
        instance->timed_out = true;
        instance->killed = !others;
        instance->done++; /* it worked, too long: no crashing start */
        if (instance->protocol == PROTOCOL_STDIO_LINES && lease->invoke == NULL) {
            /* Only the line it hangs on has timed out. What waits behind it in the pipe comes back when the process is gone. */
            unsigned i = 0;
            while (lease->items[i].done)
                i++;
            leased_out(lease, &lease->items[i]);
            settle_failure(engine, function, &lease->items[i], &failure, now);
            attempts_ended(function, 1, true, took_us(lease, now));
            if (lease->done == lease->places) {
                lease_end(engine, lease, now);
            } else {
                lease_progress(lease, now);
            }
        } else {
            lease_lost(engine, lease, true, &failure, now);
        }
        if (!others)
            engine->world.kill(engine->world.ctx, id, "timeout");
    }
}
