#include "schemas/codec/utf8.h"

bool utf8_valid(struct view text)
{
    const uint8_t *at = (const uint8_t *)text.data, *end = at + text.len;

    while (at != end) {
        if (end - at >= 8 && (utf8_load8(at) & UTF8_HIGH_BITS) == 0) {
            at += 8;
            continue;
        }
        if (*at < 0x80) {
            at++;
            continue;
        }
        unsigned len = utf8_sequence(at, end);
        if (len == 0)
            return false;
        at += len;
    }
    return true;
}
