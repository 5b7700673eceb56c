/* platform_records.c - what the platform itself tells telemetry subscribers of an instance's life, as far as this module sees it:
 *
 *   platform.initStart ... platform.initRuntimeDone, platform.extension of each, platform.initReport ...
 *   platform.start, platform.runtimeDone ... platform.start ...
 *
 * platform.report has memory and bills in it, and comes from the daemon. Nothing is made while nobody listens. */
#include "broker/api/runtime/instance.h"

#include "broker/edge/log.h"
#include "broker/edge/platform_record.h"
#include "schemas/codec/json.h"

static struct report_init init_of(const struct runtime_instance *instance)
{
    return (struct report_init){ .function = instance->function, .runtime = instance->runtime, .provisioned = instance->provisioned };
}

/* What a subscriber missed, since it was started later than the instance. */
void platform_init_start(const struct runtime_instance *instance, struct bytes *record)
{
    struct report_init init = init_of(instance);

    platform_record_init_start(record, &init);
}

static void record_put(struct runtime_instance *instance, const char *type, struct bytes *record)
{
    if (!record->failed)
        telemetry_record(instance, type, bytes_view(record));
    bytes_done(record);
}

void platform_init_done(struct runtime_instance *instance, const char *status)
{
    struct report_init init = init_of(instance);
    struct bytes done = { 0 }, report = { 0 };

    if (instance->telemetry == NULL)
        return;
    bytes_put_format(&done, "{\"initializationType\":\"%s\",\"phase\":\"%s\",\"status\":\"%s\"}", platform_initialization_type(init.provisioned),
                     report_phase(&init), status);
    record_put(instance, "platform.initRuntimeDone", &done);
    extensions_init_done(instance);
    platform_record_init_report(&report, &init, status, (struct view){ 0 }, clock_now().mono.us - instance->opened_us);
    record_put(instance, "platform.initReport", &report);
}

void platform_start(struct runtime_instance *instance, struct invocation *invocation)
{
    struct bytes record = { 0 };

    if (instance->telemetry == NULL)
        return;
    invocation->begun_us = clock_now().mono.us;
    platform_record_start(&record, invocation->request_id, invocation->trace_id);
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
    platform_put_tracing(&record, invocation->trace_id);
    bytes_put_text(&record, ",\"metrics\":{");
    platform_put_ms(&record, "durationMs", invocation->begun_us > 0 ? clock_now().mono.us - invocation->begun_us : 0);
    bytes_put_format(&record, ",\"producedBytes\":%zu}}", produced_bytes);
    record_put(instance, "platform.runtimeDone", &record);
    struct bytes end = { 0 };
    bytes_put_text(&end, "{\"requestId\":");
    json_put_string(&end, invocation->request_id);
    bytes_put_char(&end, '}');
    record_put(instance, "platform.end", &end); /* of the Logs API */
}
