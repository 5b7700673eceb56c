/* bytes.h - a growable buffer that its holder owns and frees.
 * After a failed growth the buffer is `failed` and ignores further puts: check once, at the end. */
#ifndef SLUICE_CODEC_BYTES_H
#define SLUICE_CODEC_BYTES_H

#include "schemas/codec/view.h"

struct bytes {
    char *data;
    size_t len;
    size_t capacity;
    bool failed;
};

void bytes_done(struct bytes *bytes);                       /* frees; leaves an empty buffer */
static inline void bytes_clear(struct bytes *bytes) { bytes->len = 0; bytes->failed = false; }
bool bytes_grow(struct bytes *bytes, size_t more);          /* the slow half of bytes_reserve() */
/* Room for `more` bytes after len; false: out of memory, now or before. */
static inline bool bytes_reserve(struct bytes *bytes, size_t more)
{
    return (!bytes->failed && bytes->capacity - bytes->len >= more) || bytes_grow(bytes, more);
}
static inline void bytes_put(struct bytes *bytes, const void *data, size_t len)
{
    if (len == 0 || !bytes_reserve(bytes, len))
        return;
    memcpy(bytes->data + bytes->len, data, len);
    bytes->len += len;
}
static inline void bytes_put_view(struct bytes *bytes, struct view view) { bytes_put(bytes, view.data, view.len); }
static inline void bytes_put_text(struct bytes *bytes, const char *text) { bytes_put(bytes, text, strlen(text)); }
static inline void bytes_put_char(struct bytes *bytes, char c) { bytes_put(bytes, &c, 1); }
void bytes_put_number(struct bytes *bytes, uint64_t number, unsigned base); /* base: 2 to 16; many times cheaper than by way of a format */
void bytes_put_format(struct bytes *bytes, const char *format, ...) __attribute__((format(printf, 2, 3)));
static inline struct view bytes_view(const struct bytes *bytes)
{
    return (struct view){ .data = bytes->data, .len = bytes->len };
}

#endif
