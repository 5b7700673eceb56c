#include "broker/edge/report.h"

#include <stdarg.h>
#include <stdio.h>

#include "broker/base/assert.h"
#include "broker/edge/log.h"
#include "broker/edge/platform_record.h"

static int64_t divide_up(int64_t value, int64_t by)
{
    return value <= 0 ? 0 : (value - 1) / by + 1;
}

int64_t report_billed_ms(const struct report *report)
{
    int64_t billed_ms = divide_up(report->duration_us + (report->init_us > 0 ? report->init_us : 0), 1000);

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

static size_t text_add(char text[REPORT_TEXT_MAX], size_t len, const char *format, ...) __attribute__((format(printf, 3, 4)));
static size_t text_add(char text[REPORT_TEXT_MAX], size_t len, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    int added = vsnprintf(text + len, REPORT_TEXT_MAX - len, format, args);
    va_end(args);
    ASSERT(added >= 0 && len + (size_t)added < REPORT_TEXT_MAX);
    return len + (size_t)added;
}

size_t report_text(const struct report *report, char ret_text[REPORT_TEXT_MAX])
{
    size_t len = text_add(ret_text, 0,
                          "REPORT RequestId: %.*s\tDuration: %.2f ms\tBilled Duration: %lld ms\tMemory Size: %lld MB\tMax Memory Used: %lld MB\t",
                          UUID_TEXT_LEN, report->request_id, (double)report->duration_us / 1000, (long long)report_billed_ms(report),
                          (long long)report_memory_size_mib(report), (long long)report_memory_used_mib(report));

    if (report->init_us >= 0)
        len = text_add(ret_text, len, "Init Duration: %.2f ms\t", (double)report->init_us / 1000);
    switch (report->status) {
    case REPORT_SUCCESS: break;
    case REPORT_TIMEOUT: len = text_add(ret_text, len, "Status: timeout\t"); break;
    case REPORT_ERROR: {
        struct view type = report_error_type(report->error_type);
        len = text_add(ret_text, len, "Status: error\tError Type: %.*s\t", VIEW_ARGS(type));
        break;
    }
    }
    return len;
}

/* ---- lines, as text or as records ---- */

static void put_record_head(struct bytes *out, const char *type)
{
    char time[TIME_TEXT_MAX];

    (void)time_to_text(clock_now().wall_ms, true, time);
    bytes_put_format(out, "{\"time\":\"%s\",\"type\":\"%s\",\"record\":", time, type);
}

static void put_record_end(struct bytes *out)
{
    bytes_put_text(out, "}\n");
}

void report_put_begin(struct bytes *out, enum log_format format, const char *request_id)
{
    if (format == LOG_FORMAT_TEXT) {
        bytes_put_format(out, "START RequestId: %.*s Version: $LATEST\n", UUID_TEXT_LEN, request_id);
        return;
    }
    put_record_head(out, "platform.start");
    platform_record_start(out, (struct view){ request_id, UUID_TEXT_LEN }, (struct view){ 0 });
    put_record_end(out);
}

void report_put_end(struct bytes *out, enum log_format format, const char *request_id, const struct report *report)
{
    char text[REPORT_TEXT_MAX];

    if (format == LOG_FORMAT_TEXT)
        bytes_put_format(out, "END RequestId: %.*s\n", UUID_TEXT_LEN, request_id);
    if (report == NULL)
        return;
    if (format == LOG_FORMAT_TEXT) {
        bytes_put(out, text, report_text(report, text));
        bytes_put_char(out, '\n');
        return;
    }
    put_record_head(out, "platform.report");
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
    put_record_head(out, "platform.initStart");
    platform_record_init_start(out, init);
    put_record_end(out);
}

const char *report_phase(const struct report_init *init)
{
    return init->again ? "invoke" : "init";
}

static void put_init_failed(struct bytes *out, enum log_format format, const struct report_init *init, enum report_status status,
                            struct view error_type, int64_t duration_us)
{
    bool timeout = status == REPORT_TIMEOUT;
    struct view type = timeout ? (struct view){ 0 } : report_error_type(error_type);

    if (format == LOG_FORMAT_TEXT) {
        bytes_put_format(out, "INIT_REPORT Init Duration: %.2f ms\tPhase: %s\tStatus: %s", (double)duration_us / 1000, report_phase(init),
                         timeout ? "timeout" : "error");
        if (type.len > 0)
            bytes_put_format(out, "\tError Type: %.*s", VIEW_ARGS(type));
        bytes_put_char(out, '\n');
        return;
    }
    put_record_head(out, "platform.initReport");
    platform_record_init_report(out, init, timeout ? "timeout" : "error", type, duration_us);
    put_record_end(out);
}

/* ---- into the log ---- */

enum { LINES_MAX = 2 };

static void write_lines(const struct report_log *log)
{
    struct view lines[LINES_MAX];
    unsigned count = 0;

    ASSERT(!log->text->failed);
    for (const char *at = log->text->data, *end = at + log->text->len; at < end;) {
        const char *line_break = memchr(at, '\n', (size_t)(end - at));
        ASSERT(line_break != NULL);
        ASSERT(count < LINES_MAX);
        lines[count++] = (struct view){ at, (size_t)(line_break - at) };
        at = line_break + 1;
    }
    capture_lines(log->capture, log->instance, lines, count);
}

void report_init_start(const struct report_log *log, const struct report_init *init)
{
    if (init->again)
        return;
    bytes_clear(log->text);
    put_init_start(log->text, log->format, init);
    write_lines(log);
}

void report_init_failed(const struct report_log *log, const struct report_init *init, enum report_status status, struct view error_type,
                        int64_t duration_us)
{
    bytes_clear(log->text);
    put_init_failed(log->text, log->format, init, status, error_type, duration_us);
    write_lines(log);
}

void report_begin(const struct report_log *log, const char *request_id)
{
    bytes_clear(log->text);
    report_put_begin(log->text, log->format, request_id);
    write_lines(log);
}

void report_end(const struct report_log *log, const struct report *report)
{
    bytes_clear(log->text);
    report_put_end(log->text, log->format, report->request_id, report);
    write_lines(log);
}
