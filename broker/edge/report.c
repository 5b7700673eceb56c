#include "broker/edge/report.h"

#include <string.h>

#include "broker/base/assert.h"
#include "broker/edge/log.h"
#include "broker/edge/platform_record.h"

static int64_t divide_up(int64_t value, int64_t by)
{
    return value <= 0 ? 0 : (value - 1) / by + 1;
}

int64_t report_billed_ms(const struct report *report)
{
    int64_t billed_ms = divide_up(report->billed_us + (report->init_us > 0 ? report->init_us : 0), 1000);

    return billed_ms > 0 ? billed_ms : 1;
}

int64_t report_memory_used_mib(const struct report *report)
{
    return divide_up(report->memory_used_bytes, 1 << 20);
}

int64_t report_memory_size_mib(const struct report *report)
{
    int64_t mib = report->memory_limit_bytes > 0 ? divide_up(report->memory_limit_bytes, 1 << 20) : report_memory_used_mib(report);

    return mib > 0 ? mib : 1;
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* A function chooses it, and it stands between TABs. */
bool report_error_is_known(struct view type)
{
    size_t at = view_begins(type, "Runtime.") ? 8 : view_begins(type, "Function.") ? 9 : type.len;

    if (type.len > ERROR_TYPE_BYTES_MAX || at + 2 > type.len || type.data[at] < 'A' || type.data[at] > 'Z')
        return false;
    while (at < type.len && is_letter(type.data[at]))
        at++;
    return at == type.len;
}

struct view report_error_type(struct view type)
{
    if (report_error_is_known(type))
        return type;
    return view_begins(type, "Function.") ? VIEW_LITERAL("Function.Unknown") : VIEW_LITERAL("Runtime.Unknown");
}

/* Lines go into every log by the thousand: numbers not by way of a format. */
static void put_amount(struct bytes *out, const char *name, int64_t amount, const char *unit)
{
    bytes_put_text(out, name);
    bytes_put_number(out, (uint64_t)amount, 10);
    bytes_put_text(out, unit);
}

/* Milliseconds with two decimals, rounded. */
static void put_duration(struct bytes *out, const char *name, int64_t us)
{
    uint64_t hundredths = ((uint64_t)us + 5) / 10;
    const char decimals[] = { '.', (char)('0' + hundredths / 10 % 10), (char)('0' + hundredths % 10) };

    bytes_put_text(out, name);
    bytes_put_number(out, hundredths / 100, 10);
    bytes_put(out, decimals, sizeof decimals);
    bytes_put_text(out, " ms\t");
}

static void put_id(struct bytes *out, const char *before, const char *request_id)
{
    bytes_put_text(out, before);
    bytes_put(out, request_id, strnlen(request_id, UUID_TEXT_LEN));
}

void report_put(const struct report *report, struct bytes *out)
{
    put_id(out, "REPORT RequestId: ", report->request_id);
    put_duration(out, "\tDuration: ", report->duration_us);
    put_amount(out, "Billed Duration: ", report_billed_ms(report), " ms\t");
    put_amount(out, "Memory Size: ", report_memory_size_mib(report), " MB\t");
    put_amount(out, "Max Memory Used: ", report_memory_used_mib(report), " MB\t");
    if (report->init_us >= 0)
        put_duration(out, "Init Duration: ", report->init_us);
    switch (report->status) {
    case REPORT_SUCCESS: break;
    case REPORT_TIMEOUT: bytes_put_text(out, "Status: timeout\t"); break;
    case REPORT_ERROR:
        bytes_put_text(out, "Status: error\tError Type: ");
        bytes_put_view(out, report_error_type(report->error_type));
        bytes_put_char(out, '\t');
        break;
    }
}

/* ---- lines, as text or as records ---- */

static void put_record_head(struct bytes *out, const char *type, int64_t wall_ms)
{
    char time[TIME_TEXT_MAX];

    (void)time_to_text(wall_ms, true, time);
    bytes_put_format(out, "{\"time\":\"%s\",\"type\":\"%s\",\"record\":", time, type);
}

static void put_record_end(struct bytes *out)
{
    bytes_put_text(out, "}\n");
}

void report_put_begin(struct bytes *out, enum log_format format, const char *request_id, int64_t wall_ms)
{
    if (format == LOG_FORMAT_TEXT) {
        put_id(out, "START RequestId: ", request_id);
        bytes_put_text(out, " Version: $LATEST\n");
        return;
    }
    put_record_head(out, "platform.start", wall_ms);
    platform_record_start(out, (struct view){ request_id, UUID_TEXT_LEN }, (struct view){ 0 });
    put_record_end(out);
}

static void put_timed_out(struct bytes *out, const struct report *report)
{
    char time[TIME_TEXT_MAX];

    (void)time_to_text(clock_now().wall_ms, true, time);
    bytes_put_format(out, "%s %s Task timed out after %.2f seconds\n", time, report->request_id, (double)report->timeout_ms / 1000);
}

void report_put_end(struct bytes *out, enum log_format format, const char *request_id, const struct report *report)
{
    if (format == LOG_FORMAT_TEXT) {
        if (report != NULL && report->status == REPORT_TIMEOUT)
            put_timed_out(out, report);
        put_id(out, "END RequestId: ", request_id);
        bytes_put_char(out, '\n');
    }
    if (report == NULL)
        return;
    if (format == LOG_FORMAT_TEXT) {
        report_put(report, out);
        bytes_put_char(out, '\n');
        return;
    }
    put_record_head(out, "platform.report", clock_now().wall_ms);
    platform_record_report(out, report);
    put_record_end(out);
}

static void put_init_start(struct bytes *out, enum log_format format, const struct report_init *init)
{
    if (format == LOG_FORMAT_TEXT) {
        struct runtime_version version = runtime_version(init->runtime);
        bytes_put_format(out, "INIT_START Runtime Version: %s\tRuntime Version ARN: %s\n", version.text, version.arn);
        return;
    }
    put_record_head(out, "platform.initStart", clock_now().wall_ms);
    platform_record_init_start(out, init);
    put_record_end(out);
}

const char *report_phase(const struct report_init *init)
{
    return init->again ? "invoke" : "init";
}

void report_put_init_failed(struct bytes *out, enum log_format format, const struct report_init *init, const struct report_init_end *end)
{
    bool timeout = end->status == REPORT_TIMEOUT;
    struct view type = timeout ? (struct view){ 0 } : report_error_type(end->error_type);

    if (format == LOG_FORMAT_TEXT) {
        put_duration(out, "INIT_REPORT Init Duration: ", end->duration_us);
        bytes_put_format(out, "Phase: %s\tStatus: %s", report_phase(init), timeout ? "timeout" : "error");
        if (type.len > 0)
            bytes_put_format(out, "\tError Type: %.*s", VIEW_ARGS(type));
        bytes_put_char(out, '\n');
        return;
    }
    put_record_head(out, "platform.initReport", clock_now().wall_ms);
    platform_record_init_report(out, init, timeout ? "timeout" : "error", type, end->duration_us);
    put_record_end(out);
}

/* ---- into the log ---- */

/* Out of memory: they are lost, as output is. */
static void write_lines(const struct report_log *log)
{
    if (!log->text->failed)
        capture_lines(log->capture, log->instance, bytes_view(log->text));
}

void report_init_start(const struct report_log *log, const struct report_init *init)
{
    if (init->again)
        return;
    bytes_clear(log->text);
    put_init_start(log->text, log->format, init);
    write_lines(log);
}

void report_init_failed(const struct report_log *log, const struct report_init *init, const struct report_init_end *end)
{
    bytes_clear(log->text);
    report_put_init_failed(log->text, log->format, init, end);
    write_lines(log);
}

void report_begin(const struct report_log *log, const char *request_id)
{
    bytes_clear(log->text);
    report_put_begin(log->text, log->format, request_id, log->format == LOG_FORMAT_TEXT ? 0 : clock_now().wall_ms); /* text: the line has it */
    write_lines(log);
}

void report_end(const struct report_log *log, const struct report *report)
{
    bytes_clear(log->text);
    report_put_end(log->text, log->format, report->request_id, report);
    write_lines(log);
}
