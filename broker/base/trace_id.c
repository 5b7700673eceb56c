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

/* ---- W3C's form ---- */

enum { W3C_TRACE_AT = 3, W3C_PARENT_AT = 36, W3C_FLAGS_AT = 53, ROOT_TIME_LEN = 8, ROOT_RANDOM_LEN = 24, PARENT_LEN = 16 };

/* Digits, in lower case: what X-Ray and W3C have. All zeros name nothing. */
static bool is_name(const char *text, size_t len)
{
    char sum = 0;

    for (size_t i = 0; i < len; i++) {
        if (!((text[i] >= '0' && text[i] <= '9') || (text[i] >= 'a' && text[i] <= 'f')))
            return false;
        sum |= (char)(text[i] ^ '0');
    }
    return sum != 0;
}

/* The value of "Name=" among the fields, which `;` parts. */
static struct view field_of(struct view fields, const char *name)
{
    size_t name_len = strlen(name);

    while (fields.len > 0) {
        const char *stop = memchr(fields.data, ';', fields.len);
        size_t len = stop == NULL ? fields.len : (size_t)(stop - fields.data);
        struct view field = { fields.data, len };
        for (; field.len > 0 && field.data[0] == ' '; field.len--)
            field.data++;
        if (field.len > name_len && memcmp(field.data, name, name_len) == 0)
            return (struct view){ field.data + name_len, field.len - name_len };
        len += stop != NULL;
        fields = (struct view){ fields.data + len, fields.len - len };
    }
    return (struct view){ 0 };
}

bool trace_id_to_traceparent(struct view trace_id, struct view request_id, char ret_text[TRACEPARENT_LEN + 1])
{
    struct view root = field_of(trace_id, "Root="), parent = field_of(trace_id, "Parent="), sampled = field_of(trace_id, "Sampled=");
    char made[TRACE_ID_LEN + 1];

    if (root.len != TRACE_ID_ROOT_LEN - 5 || root.data[0] != '1' || root.data[1] != '-' || root.data[2 + ROOT_TIME_LEN] != '-' ||
        !is_name(root.data + 2, ROOT_TIME_LEN) || !is_name(root.data + 3 + ROOT_TIME_LEN, ROOT_RANDOM_LEN))
        return false;
    if (parent.len != PARENT_LEN || !is_name(parent.data, PARENT_LEN)) {
        trace_id_make(request_id, 0, made);
        parent = (struct view){ made + PARENT_AT, PARENT_LEN };
    }
    memcpy(ret_text, "00-tttttttttttttttttttttttttttttttt-pppppppppppppppp-00", TRACEPARENT_LEN + 1);
    memcpy(ret_text + W3C_TRACE_AT, root.data + 2, ROOT_TIME_LEN);
    memcpy(ret_text + W3C_TRACE_AT + ROOT_TIME_LEN, root.data + 3 + ROOT_TIME_LEN, ROOT_RANDOM_LEN);
    memcpy(ret_text + W3C_PARENT_AT, parent.data, PARENT_LEN);
    if (view_is(sampled, "1"))
        ret_text[W3C_FLAGS_AT + 1] = '1';
    return true;
}

bool trace_id_from_traceparent(struct view traceparent, char ret_text[TRACE_ID_LEN + 1])
{
    const char *text = traceparent.data;

    if (traceparent.len != TRACEPARENT_LEN || memcmp(text, "00-", 3) != 0 || text[W3C_PARENT_AT - 1] != '-' || text[W3C_FLAGS_AT - 1] != '-' ||
        !is_name(text + W3C_TRACE_AT, ROOT_TIME_LEN + ROOT_RANDOM_LEN) || !is_name(text + W3C_PARENT_AT, PARENT_LEN) || text[W3C_FLAGS_AT] != '0' ||
        (text[W3C_FLAGS_AT + 1] != '0' && text[W3C_FLAGS_AT + 1] != '1'))
        return false;
    memcpy(ret_text, form, sizeof form);
    memcpy(ret_text + TIME_AT, text + W3C_TRACE_AT, ROOT_TIME_LEN);
    memcpy(ret_text + RANDOM_AT, text + W3C_TRACE_AT + ROOT_TIME_LEN, ROOT_RANDOM_LEN);
    memcpy(ret_text + PARENT_AT, text + W3C_PARENT_AT, PARENT_LEN);
    ret_text[TRACE_ID_LEN - 1] = text[W3C_FLAGS_AT + 1];
    return true;
}
