/* shutdown.c - the end of an instance: first its extensions, then its runtime.
 *
 *   runtime_shutdown() ──SHUTDOWN──> extensions at work ──all have ended, or it is late──> on_extensions_done() ──> SIGTERM
 *          └── none hear of it ──────────────────────────────────────────────────────────────> at once
 *
 * A runtime that ends by itself leaves its extensions the same time: runtime_ended(), runtime_shutdown(), and KILL in the place of TERM.
 *
 * The runtime hears of its end by the signal alone: its `next` stays parked, and gets nothing more, until the process is gone. A request that is
 * closed before the signal comes is an error to it, of which it complains.
 *
 * Lambda ends the runtime first. Here the function's runtime is the leader of the process group, and with it goes the group: so it stays parked until
 * its extensions are done. */
#include "broker/api/runtime/instance.h"

#include <stdlib.h>

#include "broker/base/assert.h"
#include "broker/edge/log.h"

void shutdown_forget(struct runtime_instance *instance)
{
    if (instance->extensions_late == NULL)
        return;
    ev_timer_stop(instance->api->loop, instance->extensions_late);
    free(instance->extensions_late);
    instance->extensions_late = NULL;
}

static void over_and_tell(struct runtime_instance *instance)
{
    const struct runtime_events *events = &instance->api->events;

    shutdown_forget(instance);
    events->on_extensions_done(events->ctx, instance->id);
}

static void on_late(struct ev_loop *loop, ev_timer *watcher, int revents)
{
    struct runtime_instance *instance = watcher->data;

    (void)loop, (void)revents;
    log_format(LOG_WARN, "function=%s instance=%llu event=extensions-late action=stop msg=\"they have not come to their end in their time\"",
               instance->function, (unsigned long long)instance->id);
    instance_pin(instance);
    over_and_tell(instance);
    instance_unpin(instance);
}

/* False: out of memory. Most instances never need the timer, so none has it from its start. */
static bool wait_begin(struct runtime_instance *instance, int64_t left_ms)
{
    instance->extensions_late = malloc(sizeof *instance->extensions_late);
    if (instance->extensions_late == NULL)
        return false;
    ev_timer_init(instance->extensions_late, on_late, (double)left_ms / 1000, 0.);
    instance->extensions_late->data = instance;
    ev_timer_start(instance->api->loop, instance->extensions_late);
    return true;
}

enum runtime_ending shutdown_begin(struct runtime_instance *instance, const char *reason, int64_t deadline_ms)
{
    int64_t left_ms = deadline_ms - clock_now().wall_ms - (instance->ended ? 0 : RUNTIME_PART_MS);
    bool first = !instance->ending;

    if (instance->ended && instance->extensions_late != NULL)
        return RUNTIME_WAITS; /* it has ended while it was to wait for them */
    instance->ending = true;
    instance->announced = 0; /* the engine asks for nothing more of it */
    if (instance->telemetry != NULL)
        telemetry_flush(instance->telemetry);
    if (first)
        extensions_shutdown(instance, reason, deadline_ms);
    if (first && left_ms > 0 && extensions_at_work(instance->extensions) && wait_begin(instance, left_ms))
        return RUNTIME_WAITS;
    shutdown_forget(instance);
    return extensions_alive(instance->extensions) ? RUNTIME_HAS_EXTENSIONS : RUNTIME_NO_EXTENSIONS;
}

void shutdown_look(struct runtime_instance *instance)
{
    ASSERT(instance->pins > 0);
    if (!instance->closed && instance->extensions_late != NULL && !extensions_at_work(instance->extensions))
        over_and_tell(instance);
}
