/* extensions.c - the Extensions API (2020-01-01): helpers beside the runtime that hear of each invocation and of the end.
 *
 *   register ──> REGISTERED ──event/next──> WAITING ──INVOKE | SHUTDOWN──> WORKING ──event/next──> WAITING ...
 *                     └── init/error, exit/error ──> FAILED: nobody waits for it any more, nor for one whose process has ended
 *
 * Internal ones are threads of the runtime: they hear INVOKE only, and register before the runtime's first `next` (Go's and Rust's
 * helpers for SIGTERM do, with no event at all). External ones are programs named as AWS names them, in /opt/extensions, or in
 * `extensions` of the function's folder; what starts the function starts them. The function's first invocation, and each one
 * after it, waits until all of them have asked for their next event. */
#include "broker/api/runtime/instance.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "broker/api/runtime/control_bodies.h"
#include "broker/base/assert.h"
#include "broker/edge/log.h"
#include "schemas/codec/ids.h"
#include "schemas/codec/json.h"

enum { EXTENSION_NAME_BYTES_MAX = 128 };
enum extension_state { EXTENSION_REGISTERED, EXTENSION_WAITING, EXTENSION_WORKING, EXTENSION_FAILED };

struct extension {
    char id[UUID_TEXT_LEN + 1];
    char name[EXTENSION_NAME_BYTES_MAX + 1];
    enum extension_state state;
    unsigned hears;                      /* enum extension_event, or-ed */
    struct call *call;                   /* WAITING: its parked request */
    struct runtime_instance *instance;
    pid_t process;                       /* an external one's */
    int pidfd;                           /* of that; -1: not known */
    ev_io ended;
    bool gone;                           /* its process has ended, and nobody has asked in its name since */
    bool told_end;
    bool failed_in_init;                 /* FAILED: by init/error */
    char error_type[ERROR_TYPE_BYTES_MAX + 1]; /* FAILED: of what */
    struct bytes missed; /* the event it was not there for; empty: none. The last one: there is one invocation at a time */
};

struct extensions {
    struct extension *items[RUNTIME_EXTENSIONS_MAX];
    unsigned count;
};

static const char *state_name(const struct extension *extension)
{
    switch (extension->state) {
    case EXTENSION_REGISTERED: return "Registered";
    case EXTENSION_WAITING: return "Ready";
    case EXTENSION_WORKING: return "Running";
    case EXTENSION_FAILED: return extension->failed_in_init ? "InitError" : "ExitError";
    }
    return "?";
}

static void process_forget(struct extension *extension)
{
    if (extension->pidfd < 0)
        return;
    ev_io_stop(extension->instance->api->loop, &extension->ended);
    (void)close(extension->pidfd);
    extension->pidfd = -1;
}

struct extensions *extensions_free(struct extensions *extensions)
{
    for (unsigned i = 0; extensions != NULL && i < extensions->count; i++) {
        if (extensions->items[i]->call != NULL)
            extensions->items[i]->call->extension = NULL;
        process_forget(extensions->items[i]);
        bytes_done(&extensions->items[i]->missed);
        free(extensions->items[i]);
    }
    free(extensions);
    return NULL;
}

static bool uuid_new(char ret_text[UUID_TEXT_LEN + 1])
{
    uint8_t random[UUID_BYTES], uuid[UUID_BYTES];

    if (getrandom(random, sizeof random, 0) != sizeof random)
        return false;
    uuid7_make(clock_now().wall_ms, random, uuid);
    uuid_to_text(uuid, ret_text);
    return true;
}

/* ---- its process ---- */

static void on_ended(struct ev_loop *loop, ev_io *watcher, int revents)
{
    struct extension *extension = watcher->data;
    struct runtime_instance *instance = extension->instance;

    (void)loop, (void)revents;
    process_forget(extension);
    extension->gone = true;
    if (!instance->ending)
        log_format(LOG_WARN, "function=%s instance=%" PRIu64 " event=extension-ended extension=\"%s\" msg=\"it is not waited for any more\"",
                   instance->function, instance->id, extension->name);
    instance_pin(instance);
    instance_announce(instance);
    shutdown_look(instance);
    instance_unpin(instance);
}

/* A program beside the runtime: what the function's command has started. Of a script it is the script, not the client that it runs. */
static void process_watch(struct extension *extension, struct http_exchange *exchange)
{
    struct runtime_instance *instance = extension->instance;
    struct sluice_error error;

    if (peer_check(instance->api->peers, http_socket(exchange), instance->pid, NULL, 0, &error) != SLUICE_OK)
        return; /* it has closed its connection: its end is not noticed, no more */
    extension->process = peer_branch(peer_process(instance->api->peers), instance->pid);
    extension->pidfd = extension->process > 0 ? (int)syscall(SYS_pidfd_open, extension->process, 0) : -1;
    if (extension->pidfd < 0)
        return;
    ev_io_init(&extension->ended, on_ended, extension->pidfd, EV_READ);
    extension->ended.data = extension;
    ev_io_start(instance->api->loop, &extension->ended);
}

/* By the descriptor, which names the process whatever has become of its number. */
unsigned extensions_processes(const struct extensions *extensions, pid_t ret_processes[RUNTIME_EXTENSIONS_MAX])
{
    unsigned count = 0;

    for (unsigned i = 0; extensions != NULL && i < extensions->count; i++) {
        const struct extension *extension = extensions->items[i];
        if (extension->pidfd >= 0 && syscall(SYS_pidfd_send_signal, extension->pidfd, 0, NULL, 0) == 0)
            ret_processes[count++] = extension->process;
    }
    return count;
}

/* ---- register ---- */

/* A file's name, AWS says. Ours stand in log lines, too: printable, without what would end a quoted value there. */
static bool name_is_valid(struct view name)
{
    for (size_t i = 0; i < name.len; i++)
        if (name.data[i] < ' ' || name.data[i] > '~' || name.data[i] == '"' || name.data[i] == '\\')
            return false;
    return name.len > 0 && name.len <= EXTENSION_NAME_BYTES_MAX;
}

/* External: an executable of that name stands where AWS looks for extensions. */
static bool is_external(const struct runtime_instance *instance, const char *name)
{
    char path[4096];

    if (strchr(name, '/') != NULL)
        return false;
    (void)snprintf(path, sizeof path, "/opt/extensions/%s", name);
    if (access(path, X_OK) == 0)
        return true;
    int len = snprintf(path, sizeof path, "%s/extensions/%s", instance->directory, name);
    return len > 0 && (size_t)len < sizeof path && access(path, X_OK) == 0;
}

/* The events asked for, those that this extension may hear; false: answered. */
static bool events_read(struct runtime_instance *instance, struct http_exchange *exchange, const char *name, unsigned *ret_hears)
{
    struct sluice_error error;
    enum sluice_err err = registration_parse(http_body(exchange), ret_hears, &error);

    if (err == SLUICE_OK && (*ret_hears & HEARS_INVOKE) != 0 && instance->concurrency > 1)
        err = sluice_fail(&error, SLUICE_EINVAL, "INVOKE: not told to extensions of functions with several invocations at once");
    if (err == SLUICE_OK && (*ret_hears & HEARS_SHUTDOWN) != 0 && !is_external(instance, name))
        err = sluice_fail(&error, SLUICE_EINVAL,
                          "SHUTDOWN: for external extensions only, which are executables of that name in /opt/extensions, "
                          "or in 'extensions' of the function's folder");
    if (err != SLUICE_OK)
        answer_error(exchange, 403, err == SLUICE_EPROTO ? "InvalidRequestFormat" : "Extension.InvalidEventType", "%s", error.text);
    return err == SLUICE_OK;
}

static struct extension *extension_add(struct runtime_instance *instance, struct view name, unsigned hears)
{
    if (instance->extensions == NULL)
        instance->extensions = calloc(1, sizeof *instance->extensions);
    struct extension *extension = instance->extensions != NULL ? calloc(1, sizeof *extension) : NULL;
    if (extension == NULL || !uuid_new(extension->id)) {
        free(extension);
        return NULL;
    }
    memcpy(extension->name, name.data, name.len);
    extension->instance = instance;
    extension->pidfd = -1;
    extension->hears = hears;
    instance->extensions->items[instance->extensions->count++] = extension;
    return extension;
}

static void answer_registered(struct runtime_instance *instance, struct http_exchange *exchange, const struct extension *extension)
{
    struct http_answer_field identifier = { "Lambda-Extension-Identifier", view_of(extension->id) };
    struct bytes body = { 0 };

    bytes_put_text(&body, "{\"functionName\":");
    json_put_string(&body, view_of(instance->function));
    bytes_put_text(&body, ",\"functionVersion\":\"$LATEST\",\"handler\":");
    json_put_string(&body, view_of(instance->handler_name));
    if (view_is(http_header(exchange, "Lambda-Extension-Accept-Feature"), "accountId"))
        bytes_put_text(&body, ",\"accountId\":\"" EVENT_ACCOUNT_DEFAULT "\"");
    bytes_put_char(&body, '}');
    answer_json(exchange, 200, &identifier, bytes_view(&body));
    bytes_done(&body);
}

void extension_register(struct runtime_instance *instance, struct http_exchange *exchange)
{
    struct view name = http_header(exchange, "Lambda-Extension-Name");
    struct extensions *extensions = instance->extensions;
    const struct runtime_events *events = &instance->api->events;
    char text[EXTENSION_NAME_BYTES_MAX + 1] = "";
    unsigned hears;

    if (!name_is_valid(name)) {
        answer_error(exchange, 403, "Extension.InvalidExtensionName",
                     name.len == 0 ? "Empty extension name" : "Extension name over 128 bytes, or not printable");
        return;
    }
    memcpy(text, name.data, name.len);
    if (!events_read(instance, exchange, text, &hears))
        return;
    if (instance->state != RUNTIME_STARTED) {
        answer_error(exchange, 403, "Extension.RegistrationClosed", "Extension registration closed already");
        return;
    }
    for (unsigned i = 0; extensions != NULL && i < extensions->count; i++) {
        if (view_is(name, extensions->items[i]->name)) {
            answer_error(exchange, 403, "Extension.InvalidExtensionState", "Extension with this name already registered");
            return;
        }
    }
    if (extensions != NULL && extensions->count == RUNTIME_EXTENSIONS_MAX) {
        answer_error(exchange, 403, "Extension.TooManyExtensions", "Extension limit (%d) reached", RUNTIME_EXTENSIONS_MAX);
        return;
    }
    struct extension *extension = extension_add(instance, name, hears);
    if (extension == NULL) {
        answer_status(exchange, 500);
        return;
    }
    process_watch(extension, exchange);
    if ((hears & HEARS_SHUTDOWN) != 0)
        events->on_extension(events->ctx, instance->id);
    answer_registered(instance, exchange, extension);
}

/* ---- who asks? ---- */

/* The extension that the request names; NULL: answered with why not. */
static struct extension *extension_of(struct runtime_instance *instance, struct http_exchange *exchange)
{
    struct view id = http_header(exchange, "Lambda-Extension-Identifier");
    uint8_t uuid[UUID_BYTES];

    if (id.len == 0) {
        answer_error(exchange, 403, "Extension.MissingExtensionIdentifier", "Missing Lambda-Extension-Identifier header");
        return NULL;
    }
    if (!uuid_from_text(id, uuid)) {
        answer_error(exchange, 403, "Extension.InvalidExtensionIdentifier", "Invalid Lambda-Extension-Identifier");
        return NULL;
    }
    for (unsigned i = 0; instance->extensions != NULL && i < instance->extensions->count; i++)
        if (view_is(id, instance->extensions->items[i]->id))
            return instance->extensions->items[i];
    answer_error(exchange, 403, "Extension.UnknownExtensionIdentifier", "Unknown extension %.*s", (int)id.len, id.data);
    return NULL;
}

void telemetry_request(struct runtime_instance *instance, struct http_exchange *exchange)
{
    struct extension *extension = extension_of(instance, exchange);

    if (extension != NULL)
        telemetry_subscribe(instance, exchange, extension->name);
}

/* ---- events ---- */

bool extensions_ready(const struct extensions *extensions)
{
    for (unsigned i = 0; extensions != NULL && i < extensions->count; i++) {
        const struct extension *extension = extensions->items[i];
        bool waited_for = !extension->gone && (extension->state == EXTENSION_REGISTERED ||
                                               (extension->state == EXTENSION_WORKING && (extension->hears & HEARS_INVOKE) != 0));
        if (waited_for)
            return false;
    }
    return true;
}

static void answer_event(struct extension *extension, struct view event)
{
    struct call *call = extension->call;
    char id[UUID_TEXT_LEN + 1] = "00000000-0000-0000-0000-000000000000"; /* it tells events apart in logs, no more */

    (void)uuid_new(id);
    struct http_answer_field identifier = { "Lambda-Extension-Event-Identifier", view_of(id) };
    extension->state = EXTENSION_WORKING;
    extension->call = NULL;
    call->extension = NULL;
    answer_json(call->exchange, 200, &identifier, event);
}

static void tell(struct extension *extension, unsigned event, const struct bytes *text)
{
    if ((extension->hears & event) == 0 || extension->state == EXTENSION_FAILED)
        return;
    if (extension->state == EXTENSION_WAITING) {
        extension->told_end = event == HEARS_SHUTDOWN;
        answer_event(extension, bytes_view(text));
        return;
    }
    bytes_clear(&extension->missed);
    bytes_put_view(&extension->missed, bytes_view(text));
}

void extensions_invoke(struct runtime_instance *instance, const struct invocation *invocation)
{
    struct extensions *extensions = instance->extensions;
    struct bytes event = { 0 };

    if (extensions == NULL)
        return;
    bytes_put_format(&event, "{\"eventType\":\"INVOKE\",\"deadlineMs\":%" PRId64 ",\"requestId\":", invocation->deadline_ms);
    json_put_string(&event, invocation->request_id);
    bytes_put_text(&event, ",\"invokedFunctionArn\":");
    json_put_string(&event, invocation->arn);
    bytes_put_text(&event, ",\"tracing\":{\"type\":\"X-Amzn-Trace-Id\",\"value\":");
    json_put_string(&event, invocation->trace_id);
    bytes_put_text(&event, "}}");
    for (unsigned i = 0; i < extensions->count; i++)
        tell(extensions->items[i], HEARS_INVOKE, &event);
    bytes_done(&event);
}

void extensions_shutdown(struct runtime_instance *instance, const char *reason, int64_t deadline_ms)
{
    struct extensions *extensions = instance->extensions;
    struct bytes event = { 0 };

    bytes_put_format(&event, "{\"eventType\":\"SHUTDOWN\",\"shutdownReason\":\"%s\",\"deadlineMs\":%" PRId64 "}", reason,
                     deadline_ms);
    for (unsigned i = 0; extensions != NULL && i < extensions->count; i++)
        tell(extensions->items[i], HEARS_SHUTDOWN, &event);
    bytes_done(&event);
}

bool extensions_alive(const struct extensions *extensions)
{
    for (unsigned i = 0; extensions != NULL && i < extensions->count; i++) {
        if (extensions->items[i]->state != EXTENSION_FAILED)
            return true;
    }
    return false;
}

bool extensions_at_work(const struct extensions *extensions)
{
    for (unsigned i = 0; extensions != NULL && i < extensions->count; i++) {
        const struct extension *extension = extensions->items[i];
        bool done = extension->gone || extension->state == EXTENSION_FAILED || (extension->told_end && extension->state == EXTENSION_WAITING);
        if ((extension->hears & HEARS_SHUTDOWN) != 0 && !done)
            return true;
    }
    return false;
}

static void telemetry_extension(struct runtime_instance *instance, const struct extension *extension)
{
    struct bytes record = { 0 };

    bytes_put_text(&record, "{\"name\":");
    json_put_string(&record, view_of(extension->name));
    bytes_put_format(&record, ",\"state\":\"%s\",\"events\":[%s%s%s]", state_name(extension),
                     (extension->hears & HEARS_INVOKE) != 0 ? "\"INVOKE\"" : "",
                     extension->hears == (HEARS_INVOKE | HEARS_SHUTDOWN) ? "," : "",
                     (extension->hears & HEARS_SHUTDOWN) != 0 ? "\"SHUTDOWN\"" : "");
    if (extension->state == EXTENSION_FAILED) {
        bytes_put_text(&record, ",\"errorType\":");
        json_put_string(&record, view_of(extension->error_type));
    }
    bytes_put_char(&record, '}');
    if (!record.failed)
        telemetry_record(instance, "platform.extension", bytes_view(&record));
    bytes_done(&record);
}

void extensions_init_done(struct runtime_instance *instance)
{
    for (unsigned i = 0; instance->extensions != NULL && i < instance->extensions->count; i++)
        telemetry_extension(instance, instance->extensions->items[i]);
}

void extension_next(struct runtime_instance *instance, struct call *call)
{
    struct extension *extension = extension_of(instance, call->exchange);

    if (extension == NULL)
        return;
    if (extension->state == EXTENSION_WAITING || extension->state == EXTENSION_FAILED) {
        answer_error(call->exchange, 403, "Extension.InvalidExtensionState",
                     "State transition from %s to Ready failed for extension %s. Error: State transition is not allowed",
                     state_name(extension), extension->id);
        return;
    }
    extension->state = EXTENSION_WAITING;
    extension->gone = false;
    extension->call = call;
    call->extension = extension;
    if (extension->missed.len > 0) {
        extension->told_end = instance->ending;
        answer_event(extension, bytes_view(&extension->missed));
        bytes_clear(&extension->missed);
    }
    instance_announce(instance);
    shutdown_look(instance);
}

/* Its request went away unanswered: it is at work, as far as anybody can tell; unless the end of its process was heard of before the request, its
 * last word, was read. */
void extension_next_end(struct runtime_instance *instance, struct call *call)
{
    if (call->extension == NULL)
        return;
    ASSERT(call->extension->call == call);
    call->extension->call = NULL;
    call->extension->state = EXTENSION_WORKING;
    call->extension->gone = call->extension->process > 0 && call->extension->pidfd < 0;
    instance_announce(instance);
}

/* ---- errors ---- */

void extension_error(struct runtime_instance *instance, struct http_exchange *exchange, bool init)
{
    struct view type = http_header(exchange, "Lambda-Extension-Function-Error-Type");
    struct extension *extension = extension_of(instance, exchange);
    const struct runtime_events *events = &instance->api->events;

    if (extension == NULL)
        return;
    if (type.len == 0) {
        answer_error(exchange, 403, "Extension.MissingHeader", "Lambda-Extension-Function-Error-Type not found");
        return;
    }
    if (extension->state == EXTENSION_FAILED || (init && extension->state != EXTENSION_REGISTERED)) {
        answer_error(exchange, 403, "Extension.InvalidExtensionState",
                     "State transition from %s to %s failed for extension %s. Error: State transition is not allowed",
                     state_name(extension), init ? "InitError" : "ExitError", extension->id);
        return;
    }
    if (extension->call != NULL)
        extension->call->extension = NULL; /* nothing comes any more; the connection is its own to close */
    extension->call = NULL;
    extension->state = EXTENSION_FAILED;
    extension->failed_in_init = init;
    if (type.len > ERROR_TYPE_BYTES_MAX)
        type.len = ERROR_TYPE_BYTES_MAX;
    memcpy(extension->error_type, type.data, type.len);
    struct bytes quoted = { 0 };
    json_put_string(&quoted, type);
    log_format(LOG_WARN, "function=%s instance=%" PRIu64 " event=extension-failed extension=\"%s\" phase=%s type=%.*s",
               instance->function, instance->id, extension->name, init ? "init" : "exit", VIEW_ARGS(quoted));
    bytes_done(&quoted);
    if (instance->init_done && instance->telemetry != NULL)
        telemetry_extension(instance, extension);
    if (init && instance->state == RUNTIME_STARTED) {
        struct failure failure = { .type = type, .message = VIEW_LITERAL("an extension failed to start") };
        instance->state = RUNTIME_INIT_FAILED;
        platform_init_done(instance, "error");
        events->on_init_error(events->ctx, instance->id, &failure, http_body(exchange));
        if (instance->closed)
            return;
    }
    answer_accepted(exchange);
    instance_announce(instance);
    shutdown_look(instance);
}
