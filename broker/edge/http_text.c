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

const char *http_status_text(unsigned status)
{
    switch (status) {
#define STATUS_TEXT(number_, name_, text_) case number_: return #text_;
    HTTP_STATUS_MAP(STATUS_TEXT)
#undef STATUS_TEXT
    }
    return "Status"; /* RFC 9112 4: the phrase may be anything */
}
