#include "broker/edge/report.h"

#include <stdarg.h>
#include <stdio.h>

#include "broker/base/assert.h"

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

void report_begin(struct capture *capture, uint64_t instance, const char *request_id)
{
    capture_note(capture, instance, "START RequestId: %.*s Version: $LATEST", UUID_TEXT_LEN, request_id);
}

void report_end(struct capture *capture, uint64_t instance, const struct report *report, char ret_text[2 * REPORT_TEXT_MAX])
{
    char end[REPORT_TEXT_MAX], text[REPORT_TEXT_MAX];
    size_t end_len = text_add(end, 0, "END RequestId: %.*s", UUID_TEXT_LEN, report->request_id);
    size_t text_len = report_text(report, text);
    const struct view lines[] = { { .data = end, .len = end_len }, { .data = text, .len = text_len } };

    capture_lines(capture, instance, lines, 2);
    if (ret_text != NULL)
        (void)snprintf(ret_text, 2 * REPORT_TEXT_MAX, "%.*s\n%.*s\n", (int)end_len, end, (int)text_len, text);
}
