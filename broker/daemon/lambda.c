/* lambda.c - functions that speak the Runtime API: what the engine decides becomes an answered `next`, what they post a result.
 *
 *   engine ── world.start ──> runtime_open(), environment, process      world.deliver, world.invoke ──> runtime_deliver()
 *   engine <── wants, result, init failed <── runtime events */
#include "broker/daemon/lambda.h"

#include <stdio.h>
#include <sys/random.h>
#include <time.h>

#include "broker/base/arena.h"
#include "broker/base/trace_id.h"
#include "broker/edge/log.h"
#include "broker/edge/platform_record.h"
#include "schemas/codec/json.h"

enum { ENVIRONMENT_ARENA_BYTES = 16 << 10 };

bool lambda_payload_check(struct view payload, struct sluice_error *reterr)
{
    return json_check(payload, JSON_ANY, JSON_DEPTH_MAX, reterr) == SLUICE_OK;
}

void lambda_arn(const char *function, char ret_arn[LAMBDA_ARN_BYTES])
{
    (void)snprintf(ret_arn, LAMBDA_ARN_BYTES, "arn:aws:lambda:" EVENT_REGION_DEFAULT ":" EVENT_ACCOUNT_DEFAULT ":function:%s", function);
}

/* ---- what the process says ---- */

static void on_wants(void *ctx, uint64_t instance)
{
    struct broker *broker = ctx;

    broker_read(broker);
    invocations_ready(broker->invocations, instance);
    /* It drains: the request stays parked until the process is gone. */
    (void)engine_instance_wants(broker->engine, instance, 1, clock_now());
    VEC_PUSH(&broker->idle, instance);
}

void lambda_freeze_idle(struct broker *broker)
{
    for (size_t i = 0; i < broker->idle.count; i++) {
        struct instance_info info;
        uint32_t id;
        if (!engine_instance_find(broker->engine, broker->idle.items[i], &id, &info) || info.state != INSTANCE_READY || info.parked == 0)
            continue;
        const struct config_function *function = config_function_find(&broker->config->config, engine_function_name(broker->engine, id));
        if (function != NULL && function->idle_freeze)
            instances_freeze(broker->instances, info.id, true);
    }
    broker->idle.count = 0;
}

static void on_wants_cancel(void *ctx, uint64_t instance)
{
    struct broker *broker = ctx;

    broker_read(broker);
    engine_instance_wants_cancel(broker->engine, instance, clock_now());
}

static void on_result(void *ctx, uint64_t instance, uint64_t lease, const struct failure *failure, struct view result, struct view content_type)
{
    struct broker *broker = ctx;
    struct now now = clock_now();

    (void)content_type;
    broker_read(broker);
    (void)instances_log(broker->instances, instance); /* what it wrote comes before END */
    invocations_end(broker->invocations, instance, lease, 1, failure == NULL ? (struct view){ 0 } : failure->type, now);
    (void)engine_result(broker->engine, instance, lease, 0, 1, failure, result, now);
}

static bool on_stream_begin(void *ctx, uint64_t instance, uint64_t lease, struct view content_type)
{
    struct broker *broker = ctx;
    uint64_t invoke;

    (void)instance;
    return engine_lease_invoke(broker->engine, lease, &invoke) && (invoke & API_HANDLE_BIT) != 0 &&
           api_stream_begin(broker->api, invoke, content_type);
}

static bool on_stream_piece(void *ctx, uint64_t instance, uint64_t lease, struct view piece)
{
    struct broker *broker = ctx;
    uint64_t invoke;

    (void)instance;
    return !engine_lease_invoke(broker->engine, lease, &invoke) || api_stream_piece(broker->api, invoke, piece);
}

static void on_init_error(void *ctx, uint64_t instance, const struct failure *failure, struct view body)
{
    struct broker *broker = ctx;

    broker_read(broker);
    (void)instances_log(broker->instances, instance); /* what it wrote comes before INIT_REPORT */
    invocations_init_failed(broker->invocations, instance, REPORT_ERROR, failure->type);
    engine_instance_init_failed(broker->engine, instance, failure, body, clock_now());
}

static void on_extension(void *ctx, uint64_t instance)
{
    instances_hold(((struct broker *)ctx)->instances, instance);
}

static void on_extensions_done(void *ctx, uint64_t instance)
{
    instances_stop_soon(((struct broker *)ctx)->instances, instance);
}

bool lambda_open(struct broker *broker, struct sluice_error *reterr)
{
    struct runtime_events events = {
        .ctx = broker,
        .on_wants = on_wants,
        .on_wants_cancel = on_wants_cancel,
        .on_result = on_result,
        .on_stream_begin = on_stream_begin,
        .on_stream_piece = on_stream_piece,
        .on_init_error = on_init_error,
        .on_extension = on_extension,
        .on_extensions_done = on_extensions_done,
    };

    broker->environment = arena_new(ENVIRONMENT_ARENA_BYTES);
    return runtime_api_new(broker->loop, &events, &broker->runtime, reterr) == SLUICE_OK;
}

void lambda_close(struct broker *broker)
{
    if (broker->runtime != NULL)
        runtime_api_free(broker->runtime);
    VEC_DONE(&broker->idle);
    if (broker->environment != NULL)
        arena_free(broker->environment);
}

void lambda_ended(struct broker *broker, uint64_t instance)
{
    instances_freeze(broker->instances, instance, false); /* extensions work at the end, too */
    if (runtime_shutdown(broker->runtime, instance, "failure", clock_now().wall_ms + STOP_GRACE_MS) != RUNTIME_WAITS)
        instances_kill(broker->instances, instance);
}

/* ---- telemetry ---- */

void lambda_line(void *ctx, uint64_t instance, struct view line)
{
    struct broker *broker = ctx;
    struct bytes record = { 0 };

    if (!runtime_telemetry_wanted(broker->runtime, instance))
        return;
    json_put_string(&record, line);
    if (!record.failed)
        runtime_telemetry(broker->runtime, instance, "function", bytes_view(&record));
    bytes_done(&record);
}

void lambda_report(void *ctx, uint64_t instance, const struct report *report)
{
    struct broker *broker = ctx;
    struct bytes record = { 0 };

    if (!runtime_telemetry_wanted(broker->runtime, instance))
        return;
    platform_record_report(&record, report);
    if (!record.failed)
        runtime_telemetry(broker->runtime, instance, "platform.report", bytes_view(&record));
    bytes_done(&record);
}

/* ---- what the engine wants ---- */

/* "2026/11/22/[$LATEST]" and 32 hexadecimal digits, as CloudWatch's streams are called: one an instance. */
static void log_stream_name(char *out, size_t size)
{
    uint64_t random[2] = { 0 };
    time_t now = (time_t)(clock_now().wall_ms / 1000);
    struct tm date;

    (void)!getrandom(random, sizeof random, 0); /* a name; too little randomness makes a poorer one */
    (void)gmtime_r(&now, &date);
    (void)snprintf(out, size, "%04d/%02d/%02d/[$LATEST]%016llx%016llx", date.tm_year + 1900, date.tm_mon + 1, date.tm_mday,
                   (unsigned long long)random[0], (unsigned long long)random[1]);
}

enum sluice_err lambda_start(struct broker *broker, uint64_t instance, const struct config_function *function, struct sluice_error *reterr)
{
    struct lambda_process process = { .instance = instance, .endpoint_url = broker->http_url[0] == '\0' ? NULL : broker->http_url };
    struct instance_info info;
    uint32_t id;
    char stream[96];

    process.provisioned = engine_instance_find(broker->engine, instance, &id, &info) && info.provisioned;
    enum sluice_err err = runtime_open(broker->runtime, instance, function, process.provisioned, &process.runtime_port, reterr);
    if (err != SLUICE_OK)
        return err;
    arena_reset(broker->environment);
    log_stream_name(stream, sizeof stream);
    process.log_stream = stream;
    const char *const *environment = lambda_environment(broker->environment, function, &process);
    err = instances_start(broker->instances, instance, function, environment, reterr);
    if (err != SLUICE_OK)
        runtime_close(broker->runtime, instance);
    return err;
}

/* Of an asynchronous Invoke it is what its caller was told. */
struct request_id lambda_request_id(const struct handover *handover)
{
    struct request_id id = { "" };
    struct event event;

    if (!envelope_decode_stored(handover->envelope, &event))
        return id; /* its record passed its check, so this does not happen */
    if (event.kind != EVENT_KIND_INVOKE || !event.id_is_uuid)
        return request_id_of_delivery(event.id, handover->delivery);
    uuid_to_text((const uint8_t *)event.id.data, id.text);
    return id;
}

/* The event's own, else one that is the same on every attempt. */
static void trace_id_of(const struct handover *handover, struct view request_id, char ret_text[TRACE_ID_LEN + 1])
{
    struct event event;
    int64_t unix_ms = 0;

    if (envelope_decode_stored(handover->envelope, &event)) {
        if (trace_id_from_traceparent(event.traceparent, ret_text))
            return;
        bool dated = event.id_is_uuid && uuid_is_v7((const uint8_t *)event.id.data);
        unix_ms = dated ? uuid7_time_ms((const uint8_t *)event.id.data) : event.has_time ? event.time_ms : 0;
    }
    trace_id_make(request_id, unix_ms, ret_text);
}

void lambda_deliver(struct broker *broker, uint64_t instance, uint64_t lease, int64_t deadline_ms, const struct handover *handover)
{
    struct request_id id = lambda_request_id(handover);
    char arn[LAMBDA_ARN_BYTES], trace_id[TRACE_ID_LEN + 1];
    struct instance_info info;
    uint32_t function;

    if (!engine_instance_find(broker->engine, instance, &function, &info))
        return; /* the engine has just named it */
    trace_id_of(handover, view_of(id.text), trace_id);
    lambda_arn(engine_function_name(broker->engine, function), arn);
    bytes_clear(&broker->handover);
    broker_put_input(broker, handover, &broker->handover);
    instances_freeze(broker->instances, instance, false);
    runtime_deliver(broker->runtime, instance, &(struct runtime_invocation){
        .lease = lease, .request_id = id.text, .arn = arn, .trace_id = trace_id, .deadline_ms = deadline_ms,
        .payload = bytes_view(&broker->handover) });
}

void lambda_invoke(struct broker *broker, uint64_t instance, uint64_t lease, int64_t deadline_ms, const struct api_invocation *invocation)
{
    instances_freeze(broker->instances, instance, false);
    runtime_deliver(broker->runtime, instance, &(struct runtime_invocation){
        .lease = lease,
        .request_id = invocation->request_id,
        .arn = invocation->arn,
        .trace_id = invocation->trace_id.data, /* NUL-terminated */
        .deadline_ms = deadline_ms,
        .payload = invocation->payload,
        .client_context = invocation->client_context,
        .streams = invocation->streams,
    });
}
