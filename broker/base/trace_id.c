#include "broker/base/trace_id.h"

#include <string.h>

#include "broker/base/map.h"

static const char form[] = "Root=1-tttttttt-rrrrrrrrrrrrrrrrrrrrrrrr;Parent=pppppppppppppppp;Sampled=0";
enum { TIME_AT = 7, RANDOM_AT = 16, PARENT_AT = 48 };        /* in it */
_Static_assert(sizeof form == TRACE_ID_LEN + 1, "TRACE_ID_LEN is its length");

/* The lowest `digits` of it. */
static void put_hex(char *at, uint64_t number, unsigned digits)
{
    for (; digits > 0; number >>= 4)
        at[--digits] = "0123456789abcdef"[number & 15];
}

/* Of a UUID of version 7 the first twelve digits, as text: 01234567-89ab-7... Reading all of it would be the most of what is done here. */
static int64_t time_of(struct view id, int64_t otherwise_ms)
{
    uint64_t unix_ms = 0;

    if (id.len != UUID_TEXT_LEN || id.data[8] != '-' || id.data[14] != '7')
        return otherwise_ms;
    for (unsigned i = 0; i < 13; i++) {
        unsigned char c = (unsigned char)id.data[i];
        if (c != '-') /* a letter of either case has bit 6, and 1 to 6 in the lowest four */
            unix_ms = unix_ms << 4 | ((c & 15u) + (c >> 6) * 9u);
    }
    return (int64_t)unix_ms;
}

void trace_id_make(struct view request_id, int64_t unix_ms, char ret_text[TRACE_ID_LEN + 1])
{
    uint64_t high = hash_bytes(request_id.data, request_id.len, 1), low = hash_mix(high + UINT64_C(0x9e3779b97f4a7c15));

    unix_ms = time_of(request_id, unix_ms);
    memcpy(ret_text, form, sizeof form);
    put_hex(ret_text + TIME_AT, (uint64_t)(unix_ms / 1000), 8);
    put_hex(ret_text + RANDOM_AT, high, 16);
    put_hex(ret_text + RANDOM_AT + 16, low, 8);
    put_hex(ret_text + PARENT_AT, hash_mix(low), 16);
}
