#include "broker/edge/http_guard.h"
#include "broker/edge/http_internal.h"

bool http_unescape(struct view text, struct bytes *out)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];
        if (c == '%') {
            int high = i + 2 < text.len ? hex_digit(text.data[i + 1]) : -1, low = i + 2 < text.len ? hex_digit(text.data[i + 2]) : -1;
            if (high < 0 || low < 0)
                return false;
            c = (char)(high * 16 + low);
            i += 2;
        }
        if (c == '\0')
            return false;
        bytes_put_char(out, c);
    }
    return true;
}

struct view http_query_value(struct view query, const char *name)
{
    size_t name_len = strlen(name);

    while (query.len > 0) {
        const char *ampersand = memchr(query.data, '&', query.len);
        size_t len = ampersand != NULL ? (size_t)(ampersand - query.data) : query.len;
        struct view pair = { .data = query.data, .len = len };
        if (pair.len >= name_len && memcmp(pair.data, name, name_len) == 0 && (pair.len == name_len || pair.data[name_len] == '=')) {
            size_t value_at = pair.len == name_len ? name_len : name_len + 1;
            return (struct view){ .data = pair.data + value_at, .len = pair.len - value_at };
        }
        size_t step = ampersand != NULL ? len + 1 : len;
        query.data += step;
        query.len -= step;
    }
    return (struct view){ .data = NULL };
}

/* RFC 9110 15, and what came before and after it. */
static const struct { unsigned status; const char *text; } phrases[] = {
    { 200, "OK" }, { 201, "Created" }, { 202, "Accepted" }, { 203, "Non-Authoritative Information" }, { 204, "No Content" }, { 205, "Reset Content" },
    { 206, "Partial Content" }, { 207, "Multi-Status" }, { 208, "Already Reported" }, { 226, "IM Used" },
    { 300, "Multiple Choices" }, { 301, "Moved Permanently" }, { 302, "Found" }, { 303, "See Other" }, { 304, "Not Modified" }, { 305, "Use Proxy" },
    { 307, "Temporary Redirect" }, { 308, "Permanent Redirect" },
    { 400, "Bad Request" }, { 401, "Unauthorized" }, { 402, "Payment Required" }, { 403, "Forbidden" }, { 404, "Not Found" },
    { 405, "Method Not Allowed" }, { 406, "Not Acceptable" }, { 407, "Proxy Authentication Required" }, { 408, "Request Timeout" }, { 409, "Conflict" },
    { 410, "Gone" }, { 411, "Length Required" }, { 412, "Precondition Failed" }, { 413, "Payload Too Large" }, { 414, "URI Too Long" },
    { 415, "Unsupported Media Type" }, { 416, "Range Not Satisfiable" }, { 417, "Expectation Failed" }, { 418, "I'm a teapot" },
    { 421, "Misdirected Request" }, { 422, "Unprocessable Entity" }, { 423, "Locked" }, { 424, "Failed Dependency" }, { 425, "Too Early" },
    { 426, "Upgrade Required" }, { 428, "Precondition Required" }, { 429, "Too Many Requests" }, { 431, "Request Header Fields Too Large" },
    { 451, "Unavailable For Legal Reasons" },
    { 500, "Internal Server Error" }, { 501, "Not Implemented" }, { 502, "Bad Gateway" }, { 503, "Service Unavailable" }, { 504, "Gateway Timeout" },
    { 505, "HTTP Version Not Supported" }, { 506, "Variant Also Negotiates" }, { 507, "Insufficient Storage" }, { 508, "Loop Detected" },
    { 510, "Not Extended" }, { 511, "Network Authentication Required" },
};

const char *http_status_text(unsigned status)
{
    for (size_t i = 0; i < sizeof phrases / sizeof *phrases; i++)
        if (phrases[i].status == status)
            return phrases[i].text;
    return "Status"; /* RFC 9112 4: the phrase may be anything */
}
