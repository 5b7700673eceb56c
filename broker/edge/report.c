#include "broker/edge/report.h"

#include <string.h>

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

void report_begin(struct capture *capture, uint64_t instance, const char *request_id)
{
    char line[sizeof "START RequestId:  Version: $LATEST" + UUID_TEXT_LEN];
    char *at = stpcpy(line, "START RequestId: ");

    at = stpncpy(at, request_id, UUID_TEXT_LEN);
    at = stpcpy(at, " Version: $LATEST");
    capture_line(capture, instance, (struct view){ .data = line, .len = (size_t)(at - line) });
}

void report_end(struct capture *capture, uint64_t instance, const struct report *report, struct bytes *ret_lines)
{
    bytes_clear(ret_lines);
    put_id(ret_lines, "END RequestId: ", report->request_id);
    bytes_put_char(ret_lines, '\n');
    size_t second = ret_lines->len;
    report_put(report, ret_lines);
    bytes_put_char(ret_lines, '\n');
    if (ret_lines->failed)
        return;
    capture_line(capture, instance, (struct view){ .data = ret_lines->data, .len = second - 1 });
    capture_line(capture, instance, (struct view){ .data = ret_lines->data + second, .len = ret_lines->len - second - 1 });
}
