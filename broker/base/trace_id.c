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

void trace_id_make(struct view request_id, int64_t unix_ms, char ret_text[TRACE_ID_LEN + 1])
{
    uint64_t high = hash_bytes(request_id.data, request_id.len, 1), low = hash_mix(high ^ hash_bytes(request_id.data, request_id.len, 2));
    uint8_t uuid[UUID_BYTES];

    if (uuid_from_text(request_id, uuid) && uuid_is_v7(uuid))
        unix_ms = uuid7_time_ms(uuid);
    memcpy(ret_text, form, sizeof form);
    put_hex(ret_text + TIME_AT, (uint64_t)(unix_ms / 1000), 8);
    put_hex(ret_text + RANDOM_AT, high, 16);
    put_hex(ret_text + RANDOM_AT + 16, low, 8);
    put_hex(ret_text + PARENT_AT, hash_mix(low), 16);
}
