#include <inttypes.h>

#include "broker/base/assert.h"
#include "tests/oracle/flatten.h"

/* bin has no JSON form of its own: it is seen as the base64 text that functions get. */
static struct view base64(struct flat *flat, struct view bytes)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t len = (bytes.len + 2) / 3 * 4;
    char *text = arena_alloc(flat->texts, len + 1), *out = text;
    const unsigned char *in = (const unsigned char *)bytes.data;

    for (size_t i = 0; i < bytes.len; i += 3) {
        size_t have = bytes.len - i < 3 ? bytes.len - i : 3;
        uint32_t group = (uint32_t)in[i] << 16 | (have > 1 ? (uint32_t)in[i + 1] << 8 : 0) | (have > 2 ? (uint32_t)in[i + 2] : 0);
        *out++ = alphabet[group >> 18];
        *out++ = alphabet[group >> 12 & 63];
        *out++ = have > 1 ? alphabet[group >> 6 & 63] : '=';
        *out++ = have > 2 ? alphabet[group & 63] : '=';
    }
    return (struct view){ .data = text, .len = len };
}

/* Whole numbers up to 2^53 are doubles; the others are compared as the text they have in JSON. */
static struct value value_of_token(struct flat *flat, const struct mpack_token *token)
{
    static const int64_t exact = (int64_t)1 << 53;

    switch (token->type) {
    case MPACK_BOOL: return (struct value){ .type = token->boolean ? VALUE_TRUE : VALUE_FALSE };
    case MPACK_STR: return (struct value){ .type = VALUE_STRING, .text = token->bytes };
    case MPACK_BIN: return (struct value){ .type = VALUE_STRING, .text = base64(flat, token->bytes) };
    case MPACK_FLOAT:
        return (struct value){ .type = VALUE_NUMBER, .number_known = true, .number = number_of_double(token->real) };
    case MPACK_UINT:
        if (token->uint > (uint64_t)exact)
            return (struct value){ .type = VALUE_NUMBER,
                                   .text = view_of(arena_format(flat->texts, "%" PRIu64, token->uint)) };
        return (struct value){ .type = VALUE_NUMBER, .number_known = true, .number = number_of_double((double)token->uint) };
    case MPACK_INT:
        if (token->sint < -exact)
            return (struct value){ .type = VALUE_NUMBER,
                                   .text = view_of(arena_format(flat->texts, "%" PRId64, token->sint)) };
        return (struct value){ .type = VALUE_NUMBER, .number_known = true, .number = number_of_double((double)token->sint) };
    case MPACK_NIL:
    case MPACK_EXT: /* refused at the door */
    case MPACK_ARRAY:
    case MPACK_MAP: break;
    }
    return (struct value){ .type = VALUE_NULL };
}

/* One value: a scalar is put, an array or map opened. false: the bytes end, which checked ones do not. */
static bool take_value(struct flat *flat, struct mpack_reader *reader, uint32_t node, uint32_t context)
{
    struct mpack_reader before = *reader;
    struct mpack_token token;

    if (!mpack_read(reader, &token))
        return false;
    bool container = token.type == MPACK_ARRAY || token.type == MPACK_MAP;
    if (container && flat->frames.count > 0 && flat->frames.items[flat->frames.count - 1].array != FLAT_NO_ARRAY)
        context = flat_open_item(flat);
    if (token.type == MPACK_ARRAY) {
        flat_open_array(flat, node, context, token.count);
    } else if (token.type == MPACK_MAP && flat_wants_below(flat, node)) {
        flat_open_object(flat, node, context, token.count);
    } else if (token.type == MPACK_MAP) {
        *reader = before;
        return mpack_skip(reader, EVENT_DEPTH_MAX, NULL);
    } else if (flat_wants(flat, node)) {
        flat_put(flat, node, context, value_of_token(flat, &token));
    }
    return true;
}

static bool take_member(struct flat *flat, struct mpack_reader *reader, struct flat_frame map)
{
    struct view name;

    if (!mpack_read_str(reader, &name))
        return false;
    uint32_t node = paths_step(flat->paths, map.node, name);
    return node == PATHS_NONE ? mpack_skip(reader, EVENT_DEPTH_MAX, NULL) : take_value(flat, reader, node, map.context);
}

void flat_mpack(struct flat *flat, uint32_t node, struct view value)
{
    struct mpack_reader reader = mpack_reader_of(value);

    ASSERT(flat->frames.count == 0);
    bool whole = take_value(flat, &reader, node, 0);
    while (flat->frames.count > 0) {
        struct flat_frame *frame = &flat->frames.items[flat->frames.count - 1];
        if (!whole || frame->left == 0) {
            flat_close(flat);
            continue;
        }
        frame->left--;
        whole = frame->array != FLAT_NO_ARRAY ? take_value(flat, &reader, frame->node, frame->context)
                                              : take_member(flat, &reader, *frame);
    }
}
