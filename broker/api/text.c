#include "broker/api/text.h"

#include <inttypes.h>
#include <strings.h>

#include "schemas/codec/json.h"

bool view_is_any_case(struct view text, const char *word)
{
    return text.len == strlen(word) && strncasecmp(text.data, word, text.len) == 0;
}

bool view_begins(struct view text, const char *prefix)
{
    size_t len = strlen(prefix);
    return text.len >= len && memcmp(text.data, prefix, len) == 0;
}

bool view_begins_any_case(struct view text, const char *prefix)
{
    size_t len = strlen(prefix);
    return text.len >= len && strncasecmp(text.data, prefix, len) == 0;
}

int hex_digit_of(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

void put_member(struct bytes *out, const char *name, struct view text)
{
    json_put_string(out, view_of(name));
    bytes_put_char(out, ':');
    json_put_string(out, text);
    bytes_put_char(out, ',');
}

void put_member_number(struct bytes *out, const char *name, int64_t number)
{
    json_put_string(out, view_of(name));
    bytes_put_format(out, ":%" PRId64 ",", number);
}

void put_object_end(struct bytes *out)
{
    if (out->len > 0 && out->data[out->len - 1] == ',')
        out->len--;
    bytes_put_char(out, '}');
}

void put_base64(struct bytes *out, struct view bytes)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const uint8_t *at = (const uint8_t *)bytes.data;

    if (!bytes_reserve(out, (bytes.len + 2) / 3 * 4))
        return;
    for (size_t left = bytes.len; left > 0; at += 3, left -= left < 3 ? left : 3) {
        uint32_t group = (uint32_t)at[0] << 16 | (left > 1 ? (uint32_t)at[1] << 8 : 0) | (left > 2 ? at[2] : 0);
        char four[4] = { digits[group >> 18], digits[group >> 12 & 63], left > 1 ? digits[group >> 6 & 63] : '=',
                         left > 2 ? digits[group & 63] : '=' };
        bytes_put(out, four, 4);
    }
}

static int base64_digit(char c)
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
    if ((text.len + padding) % 4 != 0 || text.len % 4 == 1 || !bytes_reserve(out, text.len))
        return false;
    uint32_t group = 0;
    for (size_t i = 0; i < text.len; i++) {
        int digit = base64_digit(text.data[i]);
        if (digit < 0) {
            out->len = start;
            return false;
        }
        group = group << 6 | (uint32_t)digit;
        if (i % 4 == 3) {
            char three[3] = { (char)(group >> 16), (char)(group >> 8), (char)group };
            bytes_put(out, three, 3);
        }
    }
    if (text.len % 4 == 2)
        bytes_put_char(out, (char)(group >> 4));
    if (text.len % 4 == 3) {
        char two[2] = { (char)(group >> 10), (char)(group >> 2) };
        bytes_put(out, two, 2);
    }
    return !out->failed;
}
