/* A MessagePack detail: the check at the door, and the JSON that functions see. */
#include "schemas/codec/base64.h"
#include "schemas/codec/json.h"
#include "schemas/codec/mpack.h"
#include "schemas/codec/utf8.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* An open map or array: values still to come. In a map the even ones left are keys. */
struct level {
    uint64_t open;
    bool is_map;
};

static bool at_key(const struct level *level)
{
    return level->is_map && level->open % 2 == 0;
}

static const char *reason_refused(const struct mpack_token *token, bool is_key)
{
    if (is_key && token->type != MPACK_STR)
        return "a map key that is not a string";
    if (token->type == MPACK_STR && !utf8_valid(token->bytes))
        return "a string that is not UTF-8";
    if (token->type == MPACK_EXT)
        return "an ext value";
    if (token->type == MPACK_FLOAT && !isfinite(token->real))
        return "a NaN or infinity";
    return NULL;
}

enum sluice_err mpack_check_detail(struct view bytes, unsigned depth_max, struct sluice_error *reterr)
{
    struct level levels[MPACK_DEPTH_MAX + 1];
    unsigned depth = 0;
    struct mpack_reader reader = mpack_reader_of(bytes);
    struct mpack_token token;

    if (depth_max > MPACK_DEPTH_MAX)
        depth_max = MPACK_DEPTH_MAX;
    if (depth_max == 0 || !mpack_read(&reader, &token) || token.type != MPACK_MAP)
        return sluice_fail(reterr, SLUICE_EINVAL, "byte 0: a detail in MessagePack must be one map");
    levels[++depth] = (struct level){ .open = (uint64_t)token.count * 2, .is_map = true };
    while (depth > 0) {
        if (levels[depth].open == 0) {
            depth--;
            continue;
        }
        size_t offset = (size_t)((const char *)reader.at - bytes.data);
        bool is_key = at_key(&levels[depth]);
        levels[depth].open--;
        if (!mpack_read(&reader, &token))
            return sluice_fail(reterr, SLUICE_EINVAL, "byte %zu: cut off, or not MessagePack", offset);
        const char *reason = reason_refused(&token, is_key);
        if (reason != NULL)
            return sluice_fail(reterr, SLUICE_EINVAL, "byte %zu: %s has no JSON form", offset, reason);
        if (token.type == MPACK_ARRAY || token.type == MPACK_MAP) {
            if (depth == depth_max)
                return sluice_fail(reterr, SLUICE_EINVAL, "byte %zu: nested deeper than %u", offset, depth_max);
            bool is_map = token.type == MPACK_MAP;
            levels[++depth] = (struct level){ .open = (uint64_t)token.count * (is_map ? 2 : 1), .is_map = is_map };
        }
    }
    if (!mpack_at_end(&reader))
        return sluice_fail(reterr, SLUICE_EINVAL, "byte %zu: bytes after the map",
                           (size_t)((const char *)reader.at - bytes.data));
    return SLUICE_OK;
}

static void put_bin(struct bytes *out, struct view bytes)
{
    size_t len = base64_len(bytes.len) + 2;

    if (!bytes_reserve(out, len))
        return;
    char *to = out->data + out->len;
    *to++ = '"';
    *base64_encode(bytes, to) = '"';
    out->len += len;
}

/* Below a power of two doubles lie twice as close as above it, so that the shortest text that reads back as one may be the next above the
 * nearest of its length. false: that one does not read back either. */
static bool text_above(double value, int digits, char text[40])
{
    char nearest[40], *at = nearest;
    unsigned long long number = 0;
    int half;

    if (frexp(fabs(value), &half) != 0.5)
        return false;
    (void)snprintf(nearest, sizeof nearest, "%.*e", digits - 1, fabs(value));
    for (; *at != 'e'; at++)
        if (*at >= '0' && *at <= '9')
            number = number * 10 + (unsigned)(*at - '0');
    long exponent = strtol(at + 1, NULL, 10);
    int len = snprintf(nearest, sizeof nearest, "%llue%ld", number + 1, exponent - (digits - 1)); /* no point: in any locale the same */
    if (len != digits + (int)strlen(strchr(nearest, 'e')) || strtod(nearest, NULL) != fabs(value))
        return false;
    (void)snprintf(text, 40, "%s%c.%.*se%+03ld", value < 0 ? "-" : "", nearest[0], digits - 1, nearest + 1, exponent);
    return true;
}

/* The fewest digits that read back as the same double. A decimal of up to 15 digits survives the way to a double and
 * back, and %g drops its trailing zeros, so 15, 16, 17 is all there is to try, except for subnormals, which have fewer. */
static void put_real(struct bytes *out, double value)
{
    char text[40];

    for (int digits = fpclassify(value) == FP_SUBNORMAL ? 1 : 15; digits <= 17; digits++) {
        (void)snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value || text_above(value, digits, text))
            break;
    }
    /* printf writes the decimal point of the process's locale, which the host of this library may have set. */
    size_t len = strlen(text);
    size_t before = strspn(text, "-0123456789");
    size_t point = strcspn(text + before, "e0123456789");
    bytes_put(out, text, before);
    if (point > 0)
        bytes_put_char(out, '.');
    bytes_put(out, text + before + point, len - before - point);
}

void mpack_scalar_to_json(const struct mpack_token *token, struct bytes *out)
{
    switch (token->type) {
    case MPACK_NIL: bytes_put_text(out, "null"); return;
    case MPACK_BOOL: bytes_put_text(out, token->boolean ? "true" : "false"); return;
    case MPACK_INT: bytes_put_format(out, "%" PRId64, token->sint); return;
    case MPACK_UINT: bytes_put_format(out, "%" PRIu64, token->uint); return;
    case MPACK_FLOAT: put_real(out, token->real); return;
    case MPACK_STR: json_put_string(out, token->bytes); return;
    case MPACK_BIN: put_bin(out, token->bytes); return;
    case MPACK_ARRAY:
    case MPACK_MAP:
    case MPACK_EXT: return; /* heads are the caller's; ext was refused by the check */
    }
}

bool mpack_to_json(struct view checked, struct bytes *out)
{
    struct level levels[MPACK_DEPTH_MAX + 1];
    unsigned depth = 0;
    struct mpack_reader reader = mpack_reader_of(checked);
    struct mpack_token token;

    levels[0] = (struct level){ .open = 1 };
    bool first = true; /* no comma before the first item of a level */
    for (;;) {
        while (levels[depth].open == 0) {
            if (depth == 0)
                return !out->failed;
            bytes_put_char(out, levels[depth--].is_map ? '}' : ']');
            first = false;
        }
        struct level *level = &levels[depth];
        bool is_value = level->is_map && !at_key(level);
        if (is_value)
            bytes_put_char(out, ':');
        else if (!first)
            bytes_put_char(out, ',');
        level->open--;
        if (!mpack_read(&reader, &token))
            return false;
        if (token.type != MPACK_ARRAY && token.type != MPACK_MAP) {
            mpack_scalar_to_json(&token, out);
            first = false;
            continue;
        }
        if (depth == MPACK_DEPTH_MAX)
            return false;
        bool is_map = token.type == MPACK_MAP;
        bytes_put_char(out, is_map ? '{' : '[');
        levels[++depth] = (struct level){ .open = (uint64_t)token.count * (is_map ? 2 : 1), .is_map = is_map };
        first = true;
    }
}
