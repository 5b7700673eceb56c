#include "schemas/codec/base64.h"

char *base64_encode(struct view bytes, char *to)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const uint8_t *at = (const uint8_t *)bytes.data;

    for (size_t left = bytes.len; left > 0; at += 3, left -= left < 3 ? left : 3) {
        uint32_t group = (uint32_t)at[0] << 16 | (left > 1 ? (uint32_t)at[1] << 8 : 0) | (left > 2 ? at[2] : 0);
        *to++ = alphabet[group >> 18];
        *to++ = alphabet[group >> 12 & 63];
        *to++ = left > 1 ? alphabet[group >> 6 & 63] : '=';
        *to++ = left > 2 ? alphabet[group & 63] : '=';
    }
    return to;
}

static int digit_of(char c)
{
    return c >= 'A' && c <= 'Z'   ? c - 'A'
           : c >= 'a' && c <= 'z' ? c - 'a' + 26
           : c >= '0' && c <= '9' ? c - '0' + 52
           : c == '+'             ? 62
           : c == '/'             ? 63
                                  : -1;
}

bool base64_decode(struct view text, struct bytes *out)
{
    size_t start = out->len, padding = 0;

    while (padding < 2 && text.len > 0 && text.data[text.len - 1] == '=') {
        text.len--;
        padding++;
    }
    if ((padding > 0 && (text.len + padding) % 4 != 0) || text.len % 4 == 1 || !bytes_reserve(out, text.len))
        return false;
    uint32_t group = 0;
    for (size_t i = 0; i < text.len; i++) {
        int digit = digit_of(text.data[i]);
        if (digit < 0) {
            out->len = start;
            return false;
        }
        group = group << 6 | (uint32_t)digit;
        if (i % 4 == 3)
            bytes_put(out, (char[]){ (char)(group >> 16), (char)(group >> 8), (char)group }, 3);
    }
    if (text.len % 4 == 2)
        bytes_put_char(out, (char)(group >> 4));
    if (text.len % 4 == 3)
        bytes_put(out, (char[]){ (char)(group >> 10), (char)(group >> 2) }, 2);
    return !out->failed;
}
