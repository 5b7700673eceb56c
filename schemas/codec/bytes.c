#include "schemas/codec/bytes.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void bytes_done(struct bytes *bytes)
{
    free(bytes->data);
    *bytes = (struct bytes){ 0 };
}

bool bytes_grow(struct bytes *bytes, size_t more)
{
    if (bytes->failed)
        return false;
    size_t capacity = bytes->capacity < 64 ? 64 : bytes->capacity;
    while (capacity - bytes->len < more) {
        if (capacity > SIZE_MAX / 2) {
            bytes->failed = true;
            return false;
        }
        capacity *= 2;
    }
    char *data = realloc(bytes->data, capacity);
    if (data == NULL) {
        bytes->failed = true;
        return false;
    }
    bytes->data = data;
    bytes->capacity = capacity;
    return true;
}

void bytes_put_number(struct bytes *bytes, uint64_t number, unsigned base)
{
    char digits[64];
    size_t at = sizeof digits;

    do {
        /* Almost always 10, by which the compiler multiplies: a division takes as long as all the rest. */
        uint64_t rest = base == 10 ? number / 10 : number / base;
        digits[--at] = "0123456789abcdef"[number - rest * base];
        number = rest;
    } while (number > 0);
    bytes_put(bytes, digits + at, sizeof digits - at);
}

void bytes_put_format(struct bytes *bytes, const char *format, ...)
{
    va_list args, again;

    va_start(args, format);
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, format, args);
    if (len >= 0 && bytes_reserve(bytes, (size_t)len + 1)) {
        (void)vsnprintf(bytes->data + bytes->len, (size_t)len + 1, format, again);
        bytes->len += (size_t)len;
    }
    va_end(again);
    va_end(args);
}
