#include "tests/conformance/json_to_mpack.h"

#include <stdlib.h>

#include "broker/core/number.h"
#include "broker/core/scan.h"
#include "schemas/codec/mpack.h"
#include "schemas/codec/utf8.h"

static bool put_string(struct scan *scan, struct bytes *out)
{
    char buffer[1 << 16];
    struct scan_string string = scan_take_string(scan);
    struct view text = { .data = buffer };

    if (string.raw.len > sizeof buffer)
        return false;
    text.len = scan_unescape(string.raw, buffer);
    mpack_put_str(out, text);
    return utf8_valid(text);
}

static bool put_number(struct view text, struct bytes *out)
{
    char copy[512], *end;
    struct number number = number_of_text(text);

    if (text.len >= sizeof copy)
        return false;
    memcpy(copy, text.data, text.len);
    copy[text.len] = '\0';
    if (strpbrk(copy, ".eE") == NULL && text.len < 19) {
        mpack_put_int(out, strtoll(copy, &end, 10));
        return true;
    }
    if (!number.comparable)
        return false;
    uint64_t bits;
    memcpy(&bits, &number.value, sizeof bits);
    bytes_put_char(out, (char)0xCB);
    for (int shift = 56; shift >= 0; shift -= 8)
        bytes_put_char(out, (char)(bits >> shift & 0xFF));
    return true;
}

static void put_head32(struct bytes *out, bool is_map)
{
    bytes_put(out, is_map ? "\xDF\0\0\0\0" : "\xDD\0\0\0\0", 5);
}

bool json_to_mpack(struct view json, struct bytes *out)
{
    struct { size_t head; uint32_t count; bool is_map; } open[1100];
    size_t depth = 0;
    struct scan scan = scan_of(json);
    bool fine = true;

    bytes_clear(out);
    do {
        char c = scan_next(&scan);
        if (c == '\0')
            return false;
        if (c == ',') {
            scan.at++;
        } else if (c == '}' || c == ']') {
            scan.at++;
            depth--;
            for (int i = 0; i < 4; i++)
                out->data[open[depth].head + 1 + (size_t)i] = (char)(open[depth].count >> (24 - 8 * i) & 0xFF);
        } else {
            if (depth > 0)
                open[depth - 1].count++;
            if (depth > 0 && open[depth - 1].is_map) {
                fine &= put_string(&scan, out);
                (void)scan_take(&scan, ':');
                c = scan_next(&scan);
            }
            if (c == '{' || c == '[') {
                scan.at++;
                open[depth].head = out->len;
                open[depth].count = 0;
                open[depth++].is_map = c == '{';
                put_head32(out, c == '{');
            } else if (c == '"') {
                fine &= put_string(&scan, out);
            } else {
                struct view text = scan_take_scalar(&scan);
                if (c == 't' || c == 'f')
                    mpack_put_bool(out, c == 't');
                else if (c == 'n')
                    mpack_put_nil(out);
                else
                    fine &= put_number(text, out);
            }
        }
    } while (depth > 0 && fine);
    return fine && !out->failed;
}
