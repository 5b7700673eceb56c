/* runtime_api.c - the life of an instance's Runtime API: its port, who is let in, and what the daemon calls. */
#include "broker/api/runtime/instance.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/resource.h>

#include "broker/base/assert.h"
#include "broker/edge/log.h"

/* A runtime is silent for as long as its handler runs and its process is frozen: nothing of it is ever too slow. Its connections end with it. */
#define RUNTIME_PATIENCE_MS (CONFIG_TIMEOUT_MS_MAX * 52)
enum { RUNTIME_NAME_ROOM = 256 /* of the name of that longest header */, RUNTIME_HEAD_ROOM = 64 << 10 };

/* The second of those that rest is over: see admit(). */
static void on_rested(struct ev_loop *loop, ev_timer *watcher, int events)
{
    struct runtime_api *api = watcher->data;

    (void)loop, (void)events;
    while (!list_empty(&api->resting)) {
        struct runtime_instance *instance = LIST_OWNER(api->resting.next, struct runtime_instance, in_resting);
        list_remove(&instance->in_resting);
        http_listener_pause(instance->listener, false);
    }
}

enum sluice_err runtime_api_new(struct ev_loop *loop, const struct runtime_events *events, struct runtime_api **ret_api,
                                struct sluice_error *reterr)
{
    const struct http_limits limits = {
        .line_bytes_max = RUNTIME_LINE_BYTES_MAX + RUNTIME_NAME_ROOM,
        .head_bytes_max = RUNTIME_LINE_BYTES_MAX + RUNTIME_NAME_ROOM + RUNTIME_HEAD_ROOM,
        .body_bytes_max = RUNTIME_RESPONSE_BYTES_MAX,
        .idle_ms = RUNTIME_PATIENCE_MS, .request_ms = RUNTIME_PATIENCE_MS, .send_ms = RUNTIME_PATIENCE_MS,
    };
    struct runtime_api *api = calloc(1, sizeof *api);

    if (api == NULL)
        return sluice_fail(reterr, SLUICE_ENOMEM, "Runtime API: out of memory");
    api->loop = loop;
    api->events = *events;
    api->peers = peer_finder_new();
    api->http = http_server_new(loop, &limits, &runtime_handler);
    if (api->peers == NULL || api->http == NULL) {
        peer_finder_free(api->peers);
        http_server_free(api->http);
        free(api);
        return sluice_fail(reterr, SLUICE_ENOMEM, "Runtime API: out of memory");
    }
    list_init(&api->resting);
    ev_timer_init(&api->rested, on_rested, 1., 0.);
    api->rested.data = api;
    *ret_api = api;
    return SLUICE_OK;
}

static struct runtime_instance *instance_find(const struct runtime_api *api, uint64_t id)
{
    uint64_t found;

    return map_get(&api->instances, id, &found) ? (struct runtime_instance *)(uintptr_t)found : NULL;
}

/* ---- who is let in ---- */

/* Who connects is looked for on the loop, which is everybody's: beyond its share of a second an instance's port rests until the next. */
static void count_looks(struct runtime_instance *instance, unsigned looks)
{
    struct runtime_api *api = instance->api;
    int64_t second = clock_now().mono.us / 1000000;

    if (instance->looks_s != second)
        instance->looks = 0;
    instance->looks_s = second;
    instance->looks += looks;
    if (instance->looks < RUNTIME_LOOKS_PER_S || !list_empty(&instance->in_resting))
        return;
    http_listener_pause(instance->listener, true);
    list_push(&api->resting, &instance->in_resting);
    if (!ev_is_active(&api->rested)) {
        ev_timer_set(&api->rested, 1., 0.);
        ev_timer_start(api->loop, &api->rested);
    }
}

bool runtime_admit(void *ctx, int fd)
{
    struct runtime_instance *instance = ctx;
    struct sluice_error error;

    pid_t extensions[RUNTIME_EXTENSIONS_MAX];
    unsigned extensions_count = extensions_processes(instance->extensions, extensions);
    enum sluice_err err = peer_check(instance->api->peers, fd, instance->pid, extensions, extensions_count, &error);
    count_looks(instance, peer_looks(instance->api->peers));
    if (err == SLUICE_OK || err == SLUICE_ENOTFOUND)
        return err == SLUICE_OK;
    if (!instance->stranger_logged) /* once: somebody who tries is not to fill the log */
        log_format(LOG_WARN, "function=%s instance=%llu event=runtime-api-refused address=127.0.0.1:%u reason=\"%s\"", instance->function,
                   (unsigned long long)instance->id, http_listener_port(instance->listener), error.text);
    instance->stranger_logged = true;
    return false;
}

/* ---- open, close ---- */

static char *put_text(char **at, const char *text)
{
    char *start = *at;
    size_t size = strlen(text) + 1;

    memcpy(start, text, size);
    *at += size;
    return start;
}

static struct runtime_instance *instance_new(struct runtime_api *api, uint64_t id, const struct config_function *function, bool provisioned)
{
    const char *handler = function->handler != NULL ? function->handler : "",
               *directory = function->directory != NULL ? function->directory : "/";
    struct runtime_instance *instance =
        calloc(1, sizeof *instance + strlen(function->name) + strlen(handler) + strlen(directory) + 3);

    if (instance == NULL)
        return NULL;
    instance->api = api;
    instance->id = id;
    instance->concurrency = function->concurrency;
    instance->provisioned = provisioned;
    instance->runtime = function->runtime;
    instance->opened_us = clock_now().mono.us;
    list_init(&instance->parked);
    list_init(&instance->in_resting);
    list_init(&instance->invocations);
    char *at = instance->text;
    instance->function = put_text(&at, function->name);
    instance->handler_name = put_text(&at, handler);
    instance->directory = put_text(&at, directory);
    return instance;
}

static void instance_free(struct runtime_instance *instance)
{
    LIST_EACH(at, &instance->invocations)
        invocation_free(instance, LIST_OWNER(at, struct invocation, link));
    ASSERT(list_empty(&instance->parked));
    ASSERT(instance->running == 0);
    extensions_free(instance->extensions);
    telemetry_free(instance->telemetry);
    free(instance);
}

void instance_unpin(struct runtime_instance *instance)
{
    ASSERT(instance->pins > 0);
    if (--instance->pins == 0 && instance->closed)
        instance_free(instance);
}

/* No more than an instance has use for: each is a descriptor of ours, and may hold a head of a mebibyte before anybody has looked at it (the sum of those
 * is bounded beside). But never fewer than a runtime needs that opens one for each invocation at once, or two: one to ask by, one to answer by. */
static unsigned connections_max(const struct config_function *function)
{
    enum { OTHERS = 32 /* extensions, telemetry, what is closed and not noticed yet */, WANTED = 4, NEEDED = 2 };
    unsigned wanted = OTHERS + WANTED * function->concurrency, needed = OTHERS + NEEDED * function->concurrency,
             most = needed > RUNTIME_CONNECTIONS_MAX ? needed : RUNTIME_CONNECTIONS_MAX;

    return wanted < most ? wanted : most;
}

/* A runtime that may not connect ends, and its next instance does, too: whoever has to raise the limit is to read of it. */
static void check_descriptors(const struct config_function *function, uint64_t id)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && function->concurrency >= limit.rlim_cur)
        log_format(LOG_WARN, "function=%s instance=%llu event=descriptors-short concurrency=%u limit=%llu "
                   "next=\"each takes a connection, here and in its process: raise the limit (LimitNOFILE=, ulimit -n) or lower concurrency\"",
                   function->name, (unsigned long long)id, function->concurrency, (unsigned long long)limit.rlim_cur);
}

enum sluice_err runtime_open(struct runtime_api *api, uint64_t id, const struct config_function *function, bool provisioned,
                             uint16_t *ret_port, struct sluice_error *reterr)
{
    ASSERT(instance_find(api, id) == NULL);
    struct runtime_instance *instance = instance_new(api, id, function, provisioned);
    if (instance == NULL)
        return sluice_fail(reterr, SLUICE_ENOMEM, "function '%s': out of memory for a Runtime API", function->name);
    enum sluice_err err = http_listen(api->http, "127.0.0.1:0", instance, &instance->listener, reterr);
    if (err != SLUICE_OK) {
        instance_free(instance);
        return err == SLUICE_EIO ? SLUICE_ELIMIT : err; /* on loopback nothing else goes wrong: no descriptor or port is left */
    }
    check_descriptors(function, id);
    http_listener_bound(instance->listener, connections_max(function), ((size_t)function->concurrency + 1) * RUNTIME_RESPONSE_BYTES_MAX);
    http_listener_pause(instance->listener, true); /* until it is known whose process may connect */
    map_put(&api->instances, id, (uint64_t)(uintptr_t)instance);
    *ret_port = http_listener_port(instance->listener);
    return SLUICE_OK;
}

void runtime_started(struct runtime_api *api, uint64_t id, pid_t pid)
{
    struct runtime_instance *instance = instance_find(api, id);

    if (instance == NULL)
        return;
    instance->pid = pid;
    http_listener_pause(instance->listener, false);
}

/* Its port goes at once, itself with the last callback that is on the stack. */
static void instance_close(struct runtime_instance *instance)
{
    instance->closed = true;
    shutdown_forget(instance);
    list_remove(&instance->in_resting);
    instance_pin(instance);
    http_listener_close(instance->listener);
    instance_unpin(instance);
}

void runtime_close(struct runtime_api *api, uint64_t id)
{
    uint64_t found;

    if (map_remove(&api->instances, id, &found))
        instance_close((struct runtime_instance *)(uintptr_t)found);
}

void runtime_api_free(struct runtime_api *api)
{
    if (api == NULL)
        return;
    for (size_t i = 0; i < api->instances.capacity; i++)
        if (api->instances.slots[i].key != UINT64_MAX)
            instance_close((struct runtime_instance *)(uintptr_t)api->instances.slots[i].value);
    ev_timer_stop(api->loop, &api->rested);
    map_done(&api->instances);
    http_server_free(api->http);
    peer_finder_free(api->peers);
    free(api);
}

/* ---- invocations ---- */

void runtime_deliver(struct runtime_api *api, uint64_t id, const struct runtime_invocation *from)
{
    struct runtime_instance *instance = instance_find(api, id);

    ASSERT(instance != NULL);
    ASSERT(instance->announced > 0);
    ASSERT(instance->parked_count >= instance->announced);
    struct call *call = LIST_OWNER(instance->parked.next, struct call, link);
    list_remove(&call->link);
    instance->parked_count--;
    instance->announced--;
    struct invocation *invocation = invocation_add(instance, from);
    platform_start(instance, invocation);
    invocation_hand_over(instance, invocation, call);
    extensions_invoke(instance, invocation);
}

/* It ends without the runtime's word. */
static void invocation_lost(struct runtime_instance *instance, struct invocation *invocation, const char *status, struct view error_type)
{
    if (invocation->posting != NULL &&
        invocation->posting->mode == BODY_STREAMED) /* it may be paused, and nobody will resume it now */
        http_pause_body(invocation->posting->exchange, false);
    if (invocation_is_open(invocation))
        platform_runtime_done(instance, invocation, status, error_type, 0);
}

void runtime_forget(struct runtime_api *api, uint64_t id, uint64_t lease)
{
    struct runtime_instance *instance = instance_find(api, id);
    struct invocation *invocation = instance != NULL ? invocation_by_lease(instance, lease) : NULL;

    if (invocation == NULL)
        return;
    invocation_lost(instance, invocation, "timeout", (struct view){ 0 });
    if (instance->concurrency == 1 || !invocation_is_open(invocation)) {
        invocation_free(instance, invocation);
        return;
    }
    invocation->state = INVOCATION_LATE;
    instance->running--;
    if (invocation->posting != NULL)
        response_drop(invocation->posting);
}

void runtime_resume(struct runtime_api *api, uint64_t id, uint64_t lease)
{
    struct runtime_instance *instance = instance_find(api, id);
    struct invocation *invocation = instance != NULL ? invocation_by_lease(instance, lease) : NULL;

    if (invocation != NULL && invocation->posting != NULL && invocation->posting->mode == BODY_STREAMED)
        http_pause_body(invocation->posting->exchange, false);
}

static struct call *posting_first(const struct runtime_instance *instance)
{
    LIST_EACH(at, &instance->invocations) {
        struct invocation *invocation = LIST_OWNER(at, struct invocation, link);
        if (invocation->posting != NULL)
            return invocation->posting;
    }
    return NULL;
}

void runtime_cut(struct runtime_api *api, uint64_t id)
{
    struct runtime_instance *instance = instance_find(api, id);
    struct call *posting;

    if (instance == NULL)
        return;
    instance_pin(instance);
    while (!instance->closed && (posting = posting_first(instance)) != NULL) {
        if (posting->mode == BODY_STREAMED) /* as in invocation_lost() */
            http_pause_body(posting->exchange, false);
        response_end(instance, posting);
    }
    instance_unpin(instance);
}

void runtime_ended(struct runtime_api *api, uint64_t id)
{
    struct runtime_instance *instance = instance_find(api, id);

    if (instance == NULL)
        return;
    instance->ended = true;
    if (instance->state == RUNTIME_STARTED)
        platform_init_done(instance, "error");
    LIST_EACH(at, &instance->invocations) {
        struct invocation *invocation = LIST_OWNER(at, struct invocation, link);
        invocation_lost(instance, invocation, "error", VIEW_LITERAL("Runtime.ExitError"));
        invocation_free(instance, invocation);
    }
}

enum runtime_ending runtime_shutdown(struct runtime_api *api, uint64_t id, const char *reason, int64_t deadline_ms)
{
    struct runtime_instance *instance = instance_find(api, id);

    return instance == NULL ? RUNTIME_NO_EXTENSIONS : shutdown_begin(instance, reason, deadline_ms);
}

/* ---- telemetry ---- */

bool runtime_telemetry_wanted(const struct runtime_api *api, uint64_t id)
{
    const struct runtime_instance *instance = instance_find(api, id);

    return instance != NULL && instance->telemetry != NULL;
}

void runtime_telemetry(struct runtime_api *api, uint64_t id, const char *type, struct view record_json)
{
    struct runtime_instance *instance = instance_find(api, id);

    if (instance != NULL && instance->telemetry != NULL)
        telemetry_record(instance, type, record_json);
}
