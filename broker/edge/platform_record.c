#include "broker/edge/platform_record.h"

#include <inttypes.h>
#include <stdio.h>

#include "broker/base/map.h"
#include "schemas/codec/json.h"

struct runtime_version runtime_version(enum function_runtime runtime)
{
    static const char *const names[] = { [RUNTIME_NONE] = "provided", [RUNTIME_NODEJS] = "nodejs", [RUNTIME_PYTHON] = "python", [RUNTIME_PROVIDED] = "provided" };
    struct runtime_version version;

    (void)snprintf(version.text, sizeof version.text, "%s:sluice.v" SLUICE_VERSION, names[runtime]);
    /* AWS's ends in a digest of 64 digits: here one of the text, so that it is another one when that is. */
    int len = snprintf(version.arn, sizeof version.arn, "arn:aws:lambda:" EVENT_REGION_DEFAULT "::runtime:");
    uint64_t hash = hash_bytes(version.text, strlen(version.text), 0);
    for (int word = 0; word < 4; word++, hash = hash_mix(hash + 1))
        len += snprintf(version.arn + len, sizeof version.arn - (size_t)len, "%016" PRIx64, hash);
    return version;
}

const char *platform_initialization_type(bool provisioned)
{
    return provisioned ? "provisioned-concurrency" : "on-demand";
}

void platform_put_tracing(struct bytes *out, struct view trace_id)
{
    bytes_put_text(out, ",\"tracing\":{\"type\":\"X-Amzn-Trace-Id\",\"value\":");
    json_put_string(out, trace_id);
    bytes_put_char(out, '}');
}

void platform_put_ms(struct bytes *out, const char *name, int64_t us)
{
    if (us < 0)
        us = 0;
    bytes_put_format(out, "\"%s\":%" PRId64 ".%03" PRId64, name, us / 1000, us % 1000);
}

static void put_init(struct bytes *out, const struct report_init *init)
{
    bytes_put_format(out, "{\"initializationType\":\"%s\",\"phase\":\"%s\"", platform_initialization_type(init->provisioned), report_phase(init));
}

static void put_error_type(struct bytes *out, struct view type)
{
    if (type.len == 0)
        return;
    bytes_put_text(out, ",\"errorType\":");
    json_put_string(out, report_error_type(type));
}

void platform_record_init_start(struct bytes *out, const struct report_init *init)
{
    struct runtime_version version = runtime_version(init->runtime);

    put_init(out, init);
    bytes_put_format(out, ",\"runtimeVersion\":\"%s\",\"runtimeVersionArn\":\"%s\",\"functionName\":", version.text, version.arn);
    json_put_string(out, view_of(init->function));
    bytes_put_text(out, ",\"functionVersion\":\"$LATEST\"}");
}

void platform_record_init_report(struct bytes *out, const struct report_init *init, const char *status, struct view error_type, int64_t duration_us)
{
    put_init(out, init);
    bytes_put_format(out, ",\"status\":\"%s\"", status);
    put_error_type(out, error_type);
    bytes_put_text(out, ",\"metrics\":{");
    platform_put_ms(out, "durationMs", duration_us);
    bytes_put_text(out, "}}");
}

void platform_record_start(struct bytes *out, struct view request_id, struct view trace_id)
{
    bytes_put_text(out, "{\"requestId\":");
    json_put_string(out, request_id);
    bytes_put_text(out, ",\"version\":\"$LATEST\"");
    if (trace_id.len > 0)
        platform_put_tracing(out, trace_id);
    bytes_put_char(out, '}');
}

void platform_record_report(struct bytes *out, const struct report *report)
{
    static const char *const statuses[] = { [REPORT_SUCCESS] = "success", [REPORT_ERROR] = "error", [REPORT_TIMEOUT] = "timeout" };

    bytes_put_format(out, "{\"requestId\":\"%.*s\",\"status\":\"%s\",\"metrics\":{", UUID_TEXT_LEN, report->request_id, statuses[report->status]);
    platform_put_ms(out, "durationMs", report->duration_us);
    bytes_put_format(out, ",\"billedDurationMs\":%" PRId64 ",\"memorySizeMB\":%" PRId64 ",\"maxMemoryUsedMB\":%" PRId64, report_billed_ms(report),
                     report_memory_size_mib(report), report_memory_used_mib(report));
    if (report->init_us >= 0) {
        bytes_put_char(out, ',');
        platform_put_ms(out, "initDurationMs", report->init_us);
    }
    bytes_put_char(out, '}');
    if (report->status == REPORT_ERROR)
        put_error_type(out, report->error_type.len > 0 ? report->error_type : VIEW_LITERAL("Runtime.Unknown"));
    bytes_put_char(out, '}');
}
