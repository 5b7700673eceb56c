/* control_functions.c - functions as they are: configuration, counters, queue, instances, why they ended, what they print. */
#include "broker/daemon/control_internal.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>

/* ---- names ---- */

static const char *protocol_text(enum function_protocol protocol)
{
    switch (protocol) {
    case PROTOCOL_STDIO: return "stdio";
    case PROTOCOL_STDIO_LINES: return "stdio-lines";
    case PROTOCOL_NATIVE: return "native";
    case PROTOCOL_LAMBDA: return "lambda";
    }
    return NULL;
}

static const char *runtime_text(enum function_runtime runtime)
{
    switch (runtime) {
    case RUNTIME_NONE: return NULL;
    case RUNTIME_NODEJS: return "nodejs";
    case RUNTIME_PYTHON: return "python";
    case RUNTIME_PROVIDED: return "provided";
    }
    return NULL;
}

static const char *shape_text(enum event_shape shape)
{
    switch (shape) {
    case EVENT_SHAPE_EVENTBRIDGE: return "event";
    case EVENT_SHAPE_CLOUDEVENT: return "cloudevent";
    case EVENT_SHAPE_DETAIL: return "detail";
    }
    return NULL;
}

static const char *end_text(enum end_reason reason)
{
    switch (reason) {
    case END_EXITED: return "exited";
    case END_SIGNALLED: return "signalled";
    case END_SPAWN_FAILED: return "spawn-failed";
    case END_SPAWNER_LOST: return "spawner-lost";
    }
    return NULL;
}

static bool is_paused(const struct function_info *info)
{
    return info->config != NULL && info->config->scale_max == 0;
}

/* ---- function.list ---- */

static json_t *list_row(const struct function_info *info)
{
    json_t *row = json_pack("{s:o,s:o,s:b,s:b,s:I,s:I,s:I,s:I,s:o,s:I,s:I,s:s,s:o,s:f,s:o,s:I,s:I}", "name", json_text(info->name), "protocol",
                            json_text(info->config == NULL ? NULL : protocol_text(info->config->protocol)), "orphaned",
                            (int)(info->config == NULL), "paused", (int)is_paused(info), "ready", (json_int_t)info->ready, "leased",
                            (json_int_t)info->leased, "retry", (json_int_t)info->retrying, "dead",
                            (json_int_t)info->counters[QUEUE_DEAD_LETTERED], "instances", json_instances(info->instances), "attached",
                            (json_int_t)info->attached, "target", (json_int_t)info->target.instances, "circuit", info->circuit_open ? "open" : "closed", "oldest_ms",
                            json_when(info->oldest_ms > 0, info->oldest_ms), "arrivals_per_s", info->arrivals_per_s, "service_us",
                            json_when(info->service_s > 0, (int64_t)(info->service_s * 1e6)), "succeeded",
                            (json_int_t)info->counters[QUEUE_SUCCEEDED], "attempts_failed",
                            (json_int_t)info->counters[QUEUE_ATTEMPTS_FAILED]);
    ASSERT(row != NULL);
    return row;
}

json_t *control_function_list(struct call *call)
{
    struct control *control = call->control;
    const char *cursor = call_text(call, "cursor"), *last = NULL;
    struct page page = page_new(call);
    bool more = false;
    uint32_t *ids;
    size_t count = functions_by_name(control, &ids);

    for (size_t i = 0; i < count && !more; i++) {
        struct function_info info;
        const char *name = engine_function_name(control->broker->engine, ids[i]);
        if (cursor != NULL && strcmp(name, cursor) <= 0)
            continue;
        engine_function_info(control->broker->engine, ids[i], call->now, &info);
        if (info.config == NULL && info.pending == 0 && info.counters[QUEUE_DEAD_LETTERED] == 0)
            continue; /* removed, and nothing of it is left */
        more = page_full(&page);
        if (!more) {
            page_put(&page, list_row(&info));
            last = name;
        }
    }
    free(ids);
    return page_done(&page, "functions", more ? last : NULL);
}

/* ---- ends of instances ---- */

enum { STOP_REASONS_MAX = 32, END_TEXT_MAX = 160, FAILURE_TEXT_MAX = 1024 };

struct end {
    uint64_t instance;
    int64_t at_ms;
    enum end_reason reason;
    int code;
    char text[END_TEXT_MAX];
};
struct function_ends {
    struct end ring[CONTROL_ENDS_KEPT];
    size_t count;
    char failure[FAILURE_TEXT_MAX]; /* what the last one that went wrong had to say */
    size_t failure_len;
};
struct ends {
    VEC(struct function_ends *) functions; /* [id - 1]; NULL: none ended yet */
    struct map stopped;          /* instances that were told to end -> index into reasons */
    char reasons[STOP_REASONS_MAX][END_TEXT_MAX / 4]; /* the engine knows few */
    size_t reasons_count;
};

struct ends *ends_new(void)
{
    struct ends *ends = calloc(1, sizeof *ends);

    ASSERT(ends != NULL);
    return ends;
}

struct ends *ends_free(struct ends *ends)
{
    if (ends == NULL)
        return NULL;
    for (size_t i = 0; i < ends->functions.count; i++)
        free(ends->functions.items[i]);
    VEC_DONE(&ends->functions);
    map_done(&ends->stopped);
    free(ends);
    return NULL;
}

void control_instance_stopped(struct control *control, uint64_t instance, const char *reason)
{
    struct ends *ends = control->ends;
    size_t i = 0;

    while (i < ends->reasons_count && strcmp(ends->reasons[i], reason) != 0)
        i++;
    if (i == STOP_REASONS_MAX || map_get(&ends->stopped, instance, NULL)) /* the first reason is the true one */
        return;
    if (i == ends->reasons_count)
        (void)snprintf(ends->reasons[ends->reasons_count++], sizeof ends->reasons[0], "%s", reason);
    map_put(&ends->stopped, instance, i);
}

static struct function_ends *function_ends(struct ends *ends, uint32_t function)
{
    while (ends->functions.count < function)
        VEC_PUSH(&ends->functions, NULL);
    struct function_ends **of = &ends->functions.items[function - 1];
    if (*of == NULL)
        *of = calloc(1, sizeof **of);
    ASSERT(*of != NULL);
    return *of;
}

static void end_describe(struct end *end, const struct instance_end *why, int64_t lived_ms, const char *stopped)
{
    char lived[32], cause[64];

    (void)snprintf(lived, sizeof lived, lived_ms < 10000 ? "%.0f ms" : "%.1f s", lived_ms < 10000 ? (double)lived_ms : (double)lived_ms / 1000);
    (void)snprintf(cause, sizeof cause, stopped == NULL ? "%s" : "; told to end: %s", stopped == NULL ? "" : stopped);
    switch (why->reason) {
    case END_EXITED: (void)snprintf(end->text, sizeof end->text, "exit status %d after %s%s", why->code, lived, cause); break;
    case END_SIGNALLED:
        (void)snprintf(end->text, sizeof end->text, "signal %d (%s) after %s%s", why->code, strsignal(why->code), lived, cause);
        break;
    case END_SPAWN_FAILED:
        (void)snprintf(end->text, sizeof end->text, "cannot be started: %s: %s", why->step == NULL ? "spawn" : why->step,
                       strerror(why->code));
        break;
    case END_SPAWNER_LOST: (void)snprintf(end->text, sizeof end->text, "the spawner died after %s, and its instances with it", lived); break;
    }
}

void control_instance_gone(struct control *control, uint64_t instance, const struct instance_end *why)
{
    struct ends *ends = control->ends;
    struct instance_info info;
    uint32_t function;
    uint64_t reason;
    int64_t now_ms = clock_now().wall_ms;

    bool stopped = map_remove(&ends->stopped, instance, &reason);
    if (!engine_instance_find(control->broker->engine, instance, &function, &info))
        return;
    struct function_ends *of = function_ends(ends, function);
    struct end *end = &of->ring[of->count++ % CONTROL_ENDS_KEPT];
    *end = (struct end){ .instance = instance, .at_ms = now_ms, .reason = why->reason, .code = why->code };
    end_describe(end, why, now_ms > info.started_wall_ms ? now_ms - info.started_wall_ms : 0, stopped ? ends->reasons[reason] : NULL);
    if (stopped)
        return;
    struct view said = why->output_tail.len > 0 ? why->output_tail : view_of(end->text);
    if (said.len > sizeof of->failure) {
        said.data += said.len - sizeof of->failure;
        said.len = sizeof of->failure;
    }
    memcpy(of->failure, said.data, said.len);
    of->failure_len = said.len;
}

static json_t *show_ends(const struct function_ends *of)
{
    json_t *rows = json_array();
    size_t kept = of == NULL ? 0 : of->count < CONTROL_ENDS_KEPT ? of->count : CONTROL_ENDS_KEPT;

    for (size_t i = 0; i < kept; i++) {
        const struct end *end = &of->ring[(of->count - 1 - i) % CONTROL_ENDS_KEPT];
        json_t *row = json_pack("{s:I,s:I,s:s,s:i,s:o}", "instance", (json_int_t)end->instance, "at_ms", (json_int_t)end->at_ms, "reason",
                                end_text(end->reason), "code", end->code, "text", json_text(end->text));
        ASSERT(row != NULL);
        (void)json_array_append_new(rows, row);
    }
    return rows;
}

/* ---- function.show ---- */

static json_t *show_texts(const char *const *texts, bool names_only)
{
    json_t *array = json_array();

    for (; *texts != NULL; texts++) {
        struct view text = { .data = *texts, .len = names_only ? strcspn(*texts, "=") : strlen(*texts) };
        (void)json_array_append_new(array, json_view(text));
    }
    return array;
}

static json_t *show_retry(unsigned attempts, int64_t backoff_min_ms, int64_t backoff_max_ms, int64_t max_age_ms)
{
    return json_pack("{s:I,s:I,s:I,s:I}", "attempts", (json_int_t)attempts, "backoff_min_ms", (json_int_t)backoff_min_ms, "backoff_max_ms",
                     (json_int_t)backoff_max_ms, "max_age_ms", (json_int_t)max_age_ms);
}

/* Of asynchronous invocations: Lambda's, unless the function was given one. The last pause is that before the last attempt. */
static json_t *show_retry_invoke(const struct config_function *config)
{
    if (config->retry_given)
        return show_retry(config->retry_attempts, config->backoff_min_ms, config->backoff_max_ms, config->max_age_ms);
    return show_retry(INVOKE_ATTEMPTS, INVOKE_BACKOFF_MS, (int64_t)INVOKE_BACKOFF_MS << (INVOKE_ATTEMPTS - 2), config->max_age_ms);
}

static json_t *show_configuration(const struct config_function *config)
{
    if (config == NULL)
        return json_null();
    json_t *value = json_pack(
        "{s:o,s:o,s:o,s:s,s:o,s:o,s:I,s:o,s:I,s:{s:I,s:I,s:b},s:{s:I,s:I,s:I,s:I},s:o,s:o,s:s,s:b}", "command",
        show_texts(config->command, false), "directory", json_text(config->directory), "environment", show_texts(config->environment, true),
        "protocol", protocol_text(config->protocol), "runtime", json_text(runtime_text(config->runtime)), "handler", json_text(config->handler),
        "timeout_ms", (json_int_t)config->timeout_ms, "memory_bytes",
        json_when(config->memory_bytes > 0, config->memory_bytes), "concurrency", (json_int_t)config->concurrency, "batch", "size",
        (json_int_t)config->batch_size, "window_ms", (json_int_t)config->batch_window_ms, "partial_failures",
        (int)config->batch_partial_failures, "scale", "min", (json_int_t)config->scale_min, "max", (json_int_t)config->scale_max, "idle_ms",
        (json_int_t)config->idle_ms, "drain_target_ms", (json_int_t)config->drain_target_ms, "retry",
        show_retry(config->retry_attempts, config->backoff_min_ms, config->backoff_max_ms, config->max_age_ms), "retry_invoke",
        show_retry_invoke(config), "input", shape_text(config->input), "report", (int)config->report);
    ASSERT(value != NULL);
    return value;
}

static json_t *show_counters(const uint64_t counters[QUEUE_COUNTERS])
{
    return json_pack("{s:I,s:I,s:I,s:I,s:I,s:I}", "accepted", (json_int_t)counters[QUEUE_ACCEPTED], "succeeded",
                     (json_int_t)counters[QUEUE_SUCCEEDED], "dead_lettered", (json_int_t)counters[QUEUE_DEAD_LETTERED], "expired",
                     (json_int_t)counters[QUEUE_EXPIRED], "discarded", (json_int_t)counters[QUEUE_DISCARDED], "attempts_failed",
                     (json_int_t)counters[QUEUE_ATTEMPTS_FAILED]);
}

static json_t *show_invokes(const struct function_info *info)
{
    return json_pack("{s:I,s:I,s:I,s:I,s:I}", "waiting", (json_int_t)info->invokes_waiting, "running", (json_int_t)info->invokes_running,
                     "done", (json_int_t)info->invokes.done, "failed", (json_int_t)info->invokes.failed, "throttled",
                     (json_int_t)info->invokes.throttled);
}

struct instances_shown {
    const struct broker *broker;
    json_t *rows;
    struct now now;
};

static void show_instance(void *ctx, const struct instance_info *info)
{
    struct instances_shown *shown = ctx;
    int64_t since_ms = shown->now.wall_ms - (shown->now.mono.us - info->since.us) / 1000;
    pid_t pid = 0;
    const char *consumer = NULL, *from = NULL;
    bool runs = instances_pid(shown->broker->instances, info->id, &pid); /* the engine knows those of native ones by their requests only */
    if (info->attached)
        (void)broker_consumer(shown->broker, info->id, &consumer, &from);
    json_t *row = json_pack("{s:I,s:s,s:o,s:I,s:I,s:I,s:I,s:o,s:o,s:o}", "instance", (json_int_t)info->id, "state",
                            instance_state_text(info->state), "pid", json_when(runs, pid), "since_ms", (json_int_t)since_ms, "leased",
                            (json_int_t)info->leased, "parked", (json_int_t)info->parked, "done", (json_int_t)info->done, "consumer", json_text(consumer), "from",
                            json_text(from), "concurrency", json_when(info->attached, info->concurrency));
    ASSERT(row != NULL);
    (void)json_array_append_new(shown->rows, row);
}

/* The autoscaler's sum in words. */
static json_t *show_scaling(const struct function_info *info)
{
    const struct config_function *config = info->config;
    char inputs[160], bound[64] = "", text[320];
    bool at_once = config != NULL && (config->protocol == PROTOCOL_NATIVE || config->protocol == PROTOCOL_LAMBDA);
    unsigned parallel = at_once ? config->concurrency : 1;
    double wanted = ceil((info->target.work + info->target.backlog) / parallel);

    int len = snprintf(inputs, sizeof inputs, "ready %llu, in flight %llu, %.1f/s arriving",
                       (unsigned long long)info->ready + info->invokes_waiting, (unsigned long long)info->leased + info->invokes_running,
                       info->arrivals_per_s);
    if (info->service_s > 0)
        (void)snprintf(inputs + len, sizeof inputs - (size_t)len, ", %.3g ms each: %.0f wanted", info->service_s * 1000, wanted);
    switch (info->target.bound) {
    case BOUND_NONE: break;
    case BOUND_MIN: (void)snprintf(bound, sizeof bound, ", scale.min is %u", config == NULL ? 0 : config->scale_min); break;
    case BOUND_MAX: (void)snprintf(bound, sizeof bound, ", scale.max is %u", config == NULL ? 0 : config->scale_max); break;
    case BOUND_MACHINE:
    case BOUND_CORES:
    case BOUND_FIRST: (void)snprintf(bound, sizeof bound, ", %s", autoscale_bound_text(info->target.bound)); break;
    }
    if (config == NULL)
        (void)snprintf(text, sizeof text, "not in the configuration: nothing is started");
    else if (config->command[0] == NULL)
        (void)snprintf(text, sizeof text, "no command, so none is started; %u attached%s: %s", info->attached,
                       is_paused(info) ? ", but scale.max is 0" : "", inputs);
    else if (is_paused(info))
        (void)snprintf(text, sizeof text, "paused, scale.max is 0: %s", inputs);
    else
        (void)snprintf(text, sizeof text, "%s%s", inputs, bound);
    return json_pack("{s:I,s:o}", "target", (json_int_t)info->target.instances, "reason", json_text(text));
}

static json_t *show_circuit(const struct function_info *info, const struct function_ends *of, struct now now)
{
    bool failed = info->crashes > 0;
    struct view said = { 0 };

    if (failed && of != NULL)
        said = (struct view){ of->failure, of->failure_len };
    return json_pack("{s:s,s:I,s:o,s:o}", "state", info->circuit_open ? "open" : "closed", "failures", (json_int_t)info->crashes, "until_ms",
                     json_when(failed && info->circuit_left_ms > 0, now.wall_ms + info->circuit_left_ms), "text", json_view(said));
}

json_t *control_function_show(struct call *call)
{
    const struct control *control = call->control;
    struct instances_shown shown = { .now = call->now, .broker = control->broker };
    struct function_info info;
    uint32_t id;

    if (!call_function(call, "name", &id))
        return NULL;
    engine_function_info(control->broker->engine, id, call->now, &info);
    shown.rows = json_array();
    engine_each_instance(control->broker->engine, id, show_instance, &shown);
    const struct function_ends *of = id <= control->ends->functions.count ? control->ends->functions.items[id - 1] : NULL;
    json_t *result = json_pack("{s:o,s:b,s:b,s:o,s:o,s:{s:I,s:I,s:I,s:I},s:o,s:o,s:o,s:o,s:o,s:o}", "name", json_text(info.name), "orphaned",
                               (int)(info.config == NULL), "paused", (int)is_paused(&info), "configuration",
                               show_configuration(info.config), "counters", show_counters(info.counters), "queue", "ready",
                               (json_int_t)info.ready, "leased", (json_int_t)info.leased, "retry", (json_int_t)info.retrying, "dead",
                               (json_int_t)info.counters[QUEUE_DEAD_LETTERED], "invokes", show_invokes(&info), "instances", shown.rows, "ends", show_ends(of), "scaling",
                               show_scaling(&info), "circuit", show_circuit(&info, of, call->now), "usage",
                               control_usage(call, info.name));
    ASSERT(result != NULL);
    return result;
}

/* ---- function.logs ---- */

json_t *control_function_logs(struct call *call)
{
    const struct control *control = call->control;
    struct bytes text = { 0 };
    uint32_t id;

    if (!call_function(call, "name", &id))
        return NULL;
    const char *name = engine_function_name(control->broker->engine, id);
    enum sluice_err err = instances_log_tail(control->broker->instances, name, (size_t)call_number(call, "bytes_max"), &text);
    json_t *result = NULL;
    if (err != SLUICE_OK && err != SLUICE_ENOTFOUND) /* there is none before the first line */
        (void)call_fail(call, err, "the captured output of function '%s' cannot be read: %s", name, strerror(errno));
    else
        result = json_pack("{s:o,s:o,s:I}", "name", json_text(name), "text", json_view(text.len == 0 ? VIEW_LITERAL("") : bytes_view(&text)),
                           "position", (json_int_t)instances_log_position(control->broker->instances, name));
    bytes_done(&text);
    return result;
}
