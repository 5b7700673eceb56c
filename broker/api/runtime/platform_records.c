/* platform_records.c - what the platform itself tells telemetry subscribers of an instance's life, as far as this module sees it:
 *
 *   platform.initStart ... platform.initRuntimeDone, platform.initReport ... platform.start, platform.runtimeDone ... platform.start ...
 *
 * platform.report has memory and bills in it, and comes from the daemon. Nothing is made while nobody listens. */
#include "broker/api/runtime/instance.h"

#include <inttypes.h>

#include "broker/edge/log.h"
#include "schemas/codec/json.h"

static const char *initialization_type(const struct runtime_instance *instance)
{
    return instance->provisioned ? "provisioned-concurrency" : "on-demand";
}

static void put_tracing(struct bytes *record, const struct invocation *invocation)
{
    bytes_put_text(record, ",\"tracing\":{\"type\":\"X-Amzn-Trace-Id\",\"value\":");
    json_put_string(record, invocation->trace_id);
    bytes_put_char(record, '}');
}

/* "2.345" for 2345 us. */
static void put_ms(struct bytes *record, const char *name, int64_t us)
{
    if (us < 0)
        us = 0;
    bytes_put_format(record, "\"%s\":%" PRId64 ".%03" PRId64, name, us / 1000, us % 1000);
}

/* What a subscriber missed, since it was started later than the instance. */
void platform_init_start(const struct runtime_instance *instance, struct bytes *record)
{
    bytes_put_format(record, "{\"initializationType\":\"%s\",\"phase\":\"init\",\"functionName\":", initialization_type(instance));
    json_put_string(record, view_of(instance->function));
    bytes_put_text(record, ",\"functionVersion\":\"$LATEST\"}");
}

static void record_put(struct runtime_instance *instance, const char *type, struct bytes *record)
{
    bytes_put_char(record, '}');
    if (!record->failed)
        telemetry_record(instance, type, bytes_view(record));
    bytes_done(record);
}

void platform_init_done(struct runtime_instance *instance, const char *status)
{
    struct bytes done = { 0 }, report = { 0 };

    if (instance->telemetry == NULL)
        return;
    bytes_put_format(&done, "{\"initializationType\":\"%s\",\"phase\":\"init\",\"status\":\"%s\"", initialization_type(instance),
                     status);
    record_put(instance, "platform.initRuntimeDone", &done);
    bytes_put_format(&report, "{\"initializationType\":\"%s\",\"phase\":\"init\",\"status\":\"%s\",\"metrics\":{",
                     initialization_type(instance), status);
    put_ms(&report, "durationMs", clock_now().mono.us - instance->opened_us);
    bytes_put_char(&report, '}');
    record_put(instance, "platform.initReport", &report);
}

void platform_start(struct runtime_instance *instance, struct invocation *invocation)
{
    struct bytes record = { 0 };

    if (instance->telemetry == NULL)
        return;
    invocation->begun_us = clock_now().mono.us;
    bytes_put_text(&record, "{\"requestId\":");
    json_put_string(&record, invocation->request_id);
    bytes_put_text(&record, ",\"version\":\"$LATEST\"");
    put_tracing(&record, invocation);
    record_put(instance, "platform.start", &record);
}

void platform_runtime_done(struct runtime_instance *instance, const struct invocation *invocation, const char *status,
                           struct view error_type, size_t produced_bytes)
{
    struct bytes record = { 0 };

    if (instance->telemetry == NULL)
        return;
    bytes_put_text(&record, "{\"requestId\":");
    json_put_string(&record, invocation->request_id);
    bytes_put_format(&record, ",\"status\":\"%s\"", status);
    if (error_type.len > 0) {
        bytes_put_text(&record, ",\"errorType\":");
        json_put_string(&record, error_type);
    }
    put_tracing(&record, invocation);
    bytes_put_text(&record, ",\"metrics\":{");
    put_ms(&record, "durationMs", invocation->begun_us > 0 ? clock_now().mono.us - invocation->begun_us : 0);
    bytes_put_format(&record, ",\"producedBytes\":%zu}", produced_bytes);
    record_put(instance, "platform.runtimeDone", &record);
}
