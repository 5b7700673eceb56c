/* view.h - a borrowed range of bytes. Never owns; never outlives the call, arena or transaction it came from. */
#ifndef SLUICE_CODEC_VIEW_H
#define SLUICE_CODEC_VIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct view {
    const char *data; /* NULL only when absent */
    size_t len;
};

#define VIEW_LITERAL(text) ((struct view){ .data = (text), .len = sizeof(text) - 1 })
/* For printf("%.*s"): VIEW_ARGS(v). Callers bound what they print. */
#define VIEW_ARGS(v) (int)(v).len, (v).data

static inline struct view view_of(const char *text)
{
    return (struct view){ .data = text, .len = text == NULL ? 0 : strlen(text) };
}

static inline bool view_equals(struct view a, struct view b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

static inline bool view_is(struct view a, const char *text)
{
    return view_equals(a, view_of(text));
}

static inline bool view_begins(struct view text, const char *prefix)
{
    size_t len = strlen(prefix);
    return text.len >= len && memcmp(text.data, prefix, len) == 0;
}

/* 0 to 15; -1: not a hexadecimal digit. */
static inline int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

#endif
