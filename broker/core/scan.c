#include "broker/core/scan.h"
#include "schemas/codec/utf8.h"

struct scan_string scan_take_string(struct scan *scan)
{
    const char *start = ++scan->at;
    bool escaped = false;

    while (scan->at < scan->end && *scan->at != '"') {
        if (*scan->at == '\\') {
            escaped = true;
            scan->at++;
            if (scan->at == scan->end)
                break;
        }
        scan->at++;
    }
    struct scan_string string = { .raw = { .data = start, .len = (size_t)(scan->at - start) }, .escaped = escaped };
    if (scan->at < scan->end)
        scan->at++;
    return string;
}

struct view scan_take_scalar(struct scan *scan)
{
    const char *start = scan->at;

    while (scan->at < scan->end && strchr(",]} \n\t\r", *scan->at) == NULL)
        scan->at++;
    if (scan->at == start && scan->at < scan->end)
        scan->at++; /* unchecked text only: always move on */
    return (struct view){ .data = start, .len = (size_t)(scan->at - start) };
}

struct view scan_take_value(struct scan *scan)
{
    (void)scan_next(scan);
    const char *start = scan->at;
    size_t depth = 0;

    while (scan->at < scan->end) {
        char c = *scan->at;
        if (c == '"') {
            (void)scan_take_string(scan);
        } else if (c == '{' || c == '[') {
            depth++;
            scan->at++;
            continue;
        } else if (c == '}' || c == ']') {
            if (depth == 0)
                break;
            depth--;
            scan->at++;
        } else if (depth == 0) {
            (void)scan_take_scalar(scan);
        } else {
            scan->at++;
            continue;
        }
        if (depth == 0)
            break;
    }
    return (struct view){ .data = start, .len = (size_t)(scan->at - start) };
}

/* Four hexadecimal digits; -1 when they are not there. */
static int32_t hex4(const char *at, const char *end)
{
    int32_t value = 0;

    if (end - at < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        char c = at[i];
        int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
        if (digit < 0)
            return -1;
        value = value * 16 + digit;
    }
    return value;
}

/* The code point of \uXXXX at `at` (after "\u"), a following low surrogate joined to it. */
static uint32_t take_point(const char **at, const char *end)
{
    int32_t high = hex4(*at, end);

    if (high < 0) /* unchecked text only */
        return 0xFFFD;
    *at += 4;
    if (high < 0xD800 || high > 0xDBFF || end - *at < 6 || (*at)[0] != '\\' || (*at)[1] != 'u')
        return (uint32_t)high;
    int32_t low = hex4(*at + 2, end);
    if (low < 0xDC00 || low > 0xDFFF)
        return (uint32_t)high;
    *at += 6;
    return 0x10000 + ((uint32_t)(high - 0xD800) << 10) + (uint32_t)(low - 0xDC00);
}

size_t scan_unescape(struct view raw, char *ret_text)
{
    const char *at = raw.data, *end = raw.data + raw.len;
    char *out = ret_text;

    while (at < end) {
        if (*at != '\\' || end - at < 2) {
            *out++ = *at++;
            continue;
        }
        char c = at[1];
        at += 2;
        switch (c) {
        case 'b': *out++ = '\b'; break;
        case 'f': *out++ = '\f'; break;
        case 'n': *out++ = '\n'; break;
        case 'r': *out++ = '\r'; break;
        case 't': *out++ = '\t'; break;
        case 'u': {
            char bytes[4]; /* six source bytes at least for each three written, but a bad escape has fewer */
            size_t len = utf8_encode(take_point(&at, end), bytes);
            size_t room = (size_t)(ret_text + raw.len - out);
            memcpy(out, bytes, len < room ? len : room);
            out += len < room ? len : room;
            break;
        }
        default: *out++ = c; break;
        }
    }
    return (size_t)(out - ret_text);
}
