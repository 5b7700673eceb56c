#include "schemas/codec/mpack.h"

#include <msgpack/pack.h>

#include "schemas/codec/byte_order.h"
#include "schemas/codec/utf8.h"

enum { MPACK_HEAD_BYTES_MAX = 9 };

static double load_f32(const uint8_t *at)
{
    uint32_t bits = load_be32(at);
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static double load_f64(const uint8_t *at)
{
    uint64_t bits = load_be64(at);
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* What follows a first byte of 0xc0..0xdf: how many bytes of head, the first one included. 0: never used (0xc1). */
static const uint8_t head_bytes[32] = {
    1, 0, 1, 1, 2, 3, 5, 3, 4, 6, 5, 9, 2, 3, 5, 9, /* nil - false true | bin 8 16 32 | ext 8 16 32 | float 32 64 | uint 8..64 */
    2, 3, 5, 9, 2, 2, 2, 2, 2, 2, 3, 5, 3, 5, 3, 5, /* int 8..64 | fixext 1 2 4 8 16 | str 8 16 32 | array 16 32 | map 16 32 */
};

/* The payload of str, bin or ext: `len` bytes behind the head. */
static bool take_payload(struct mpack_reader *reader, const uint8_t *at, uint32_t len, struct mpack_token *token)
{
    if ((size_t)(reader->end - at) < len)
        return false;
    token->bytes = (struct view){ .data = (const char *)at, .len = len };
    reader->at = at + len;
    return true;
}

/* An item is at least one byte: a count above what is left is a lie, and refusing it here bounds every loop over items. */
static bool take_count(struct mpack_reader *reader, const uint8_t *at, uint32_t count, unsigned values_each,
                       struct mpack_token *token)
{
    if ((uint64_t)count * values_each > (uint64_t)(reader->end - at))
        return false;
    token->count = count;
    reader->at = at;
    return true;
}

static bool take_signed(struct mpack_reader *reader, const uint8_t *at, int64_t value, struct mpack_token *token)
{
    token->type = value < 0 ? MPACK_INT : MPACK_UINT;
    token->sint = value;
    reader->at = at;
    return true;
}

static bool take_unsigned(struct mpack_reader *reader, const uint8_t *at, uint64_t value, struct mpack_token *token)
{
    token->type = MPACK_UINT;
    token->uint = value;
    reader->at = at;
    return true;
}

static bool take_real(struct mpack_reader *reader, const uint8_t *at, double value, struct mpack_token *token)
{
    token->type = MPACK_FLOAT;
    token->real = value;
    reader->at = at;
    return true;
}

static bool take_simple(struct mpack_reader *reader, const uint8_t *at, enum mpack_type type, bool boolean,
                        struct mpack_token *token)
{
    token->type = type;
    token->boolean = boolean;
    reader->at = at;
    return true;
}

bool mpack_read_slow(struct mpack_reader *reader, struct mpack_token *ret_token)
{
    struct mpack_token *token = ret_token;

    if (reader->at == reader->end)
        return false;
    const uint8_t *head = reader->at;
    uint8_t first = *head;
    if (first < 0x80)
        return take_unsigned(reader, head + 1, first, token);
    if (first >= 0xe0)
        return take_signed(reader, head + 1, (int8_t)first, token);
    if (first >= 0xa0 && first < 0xc0)
        return token->type = MPACK_STR, take_payload(reader, head + 1, first & 0x1f, token);
    if (first < 0x90)
        return token->type = MPACK_MAP, take_count(reader, head + 1, first & 0x0f, 2, token);
    if (first < 0xa0)
        return token->type = MPACK_ARRAY, take_count(reader, head + 1, first & 0x0f, 1, token);

    unsigned len = head_bytes[first - 0xc0];
    if (len == 0 || (size_t)(reader->end - head) < len)
        return false;
    const uint8_t *at = head + len;
    switch (first) {
    case 0xc0: return take_simple(reader, at, MPACK_NIL, false, token);
    case 0xc2: return take_simple(reader, at, MPACK_BOOL, false, token);
    case 0xc3: return take_simple(reader, at, MPACK_BOOL, true, token);
    case 0xc4: return token->type = MPACK_BIN, take_payload(reader, at, head[1], token);
    case 0xc5: return token->type = MPACK_BIN, take_payload(reader, at, load_be16(head + 1), token);
    case 0xc6: return token->type = MPACK_BIN, take_payload(reader, at, load_be32(head + 1), token);
    case 0xc7:
    case 0xc8:
    case 0xc9:
        token->type = MPACK_EXT;
        token->ext_type = (int8_t)at[-1];
        return take_payload(reader, at, first == 0xc7 ? head[1] : first == 0xc8 ? load_be16(head + 1) : load_be32(head + 1), token);
    case 0xca: return take_real(reader, at, load_f32(head + 1), token);
    case 0xcb: return take_real(reader, at, load_f64(head + 1), token);
    case 0xcc: return take_unsigned(reader, at, head[1], token);
    case 0xcd: return take_unsigned(reader, at, load_be16(head + 1), token);
    case 0xce: return take_unsigned(reader, at, load_be32(head + 1), token);
    case 0xcf: return take_unsigned(reader, at, load_be64(head + 1), token);
    case 0xd0: return take_signed(reader, at, (int8_t)head[1], token);
    case 0xd1: return take_signed(reader, at, (int16_t)load_be16(head + 1), token);
    case 0xd2: return take_signed(reader, at, (int32_t)load_be32(head + 1), token);
    case 0xd3: return take_signed(reader, at, (int64_t)load_be64(head + 1), token);
    case 0xd9: return token->type = MPACK_STR, take_payload(reader, at, head[1], token);
    case 0xda: return token->type = MPACK_STR, take_payload(reader, at, load_be16(head + 1), token);
    case 0xdb: return token->type = MPACK_STR, take_payload(reader, at, load_be32(head + 1), token);
    case 0xdc: return token->type = MPACK_ARRAY, take_count(reader, at, load_be16(head + 1), 1, token);
    case 0xdd: return token->type = MPACK_ARRAY, take_count(reader, at, load_be32(head + 1), 1, token);
    case 0xde: return token->type = MPACK_MAP, take_count(reader, at, load_be16(head + 1), 2, token);
    case 0xdf: return token->type = MPACK_MAP, take_count(reader, at, load_be32(head + 1), 2, token);
    default: /* 0xd4..0xd8: fixext of 1, 2, 4, 8, 16 */
        token->type = MPACK_EXT;
        token->ext_type = (int8_t)head[1];
        return take_payload(reader, at, 1u << (first - 0xd4), token);
    }
}

/* One count of open values a level: no recursion, no allocation, and a million siblings cost nothing. */
bool mpack_skip(struct mpack_reader *reader, unsigned depth_max, struct view *ret_value)
{
    uint64_t open[MPACK_DEPTH_MAX + 1];
    unsigned depth = 0;
    struct mpack_reader cursor = { .at = reader->at, .end = reader->end };
    struct mpack_token token;

    if (depth_max > MPACK_DEPTH_MAX)
        depth_max = MPACK_DEPTH_MAX;
    open[0] = 1;
    for (;;) {
        while (open[depth] == 0) {
            if (depth == 0) {
                if (ret_value != NULL)
                    *ret_value = (struct view){ .data = (const char *)reader->at, .len = (size_t)(cursor.at - reader->at) };
                reader->at = cursor.at;
                return true;
            }
            depth--;
        }
        open[depth]--;
        if (!mpack_read(&cursor, &token))
            return false;
        if (token.type == MPACK_ARRAY || token.type == MPACK_MAP) {
            if (depth == depth_max)
                return false;
            open[++depth] = (uint64_t)token.count * (token.type == MPACK_MAP ? 2 : 1);
        }
    }
}

/* A typed read that fails puts `at` back. Copying the whole reader instead would load 16 bytes over the 8 just stored, which
 * stalls the store buffer: it made decoding an envelope twice as slow. */
static bool put_back(struct mpack_reader *reader, const uint8_t *start)
{
    reader->at = start;
    return false;
}

bool mpack_read_uint_slow(struct mpack_reader *reader, uint64_t max, uint64_t *ret_value)
{
    const uint8_t *start = reader->at;
    struct mpack_token token;

    if (!mpack_read(reader, &token) || token.type != MPACK_UINT || token.uint > max)
        return put_back(reader, start);
    *ret_value = token.uint;
    return true;
}

bool mpack_read_int(struct mpack_reader *reader, int64_t *ret_value)
{
    const uint8_t *start = reader->at;
    struct mpack_token token;

    if (!mpack_read(reader, &token))
        return false;
    if (token.type != MPACK_INT && (token.type != MPACK_UINT || token.uint > INT64_MAX))
        return put_back(reader, start);
    *ret_value = token.sint;
    return true;
}

static inline bool read_typed(struct mpack_reader *reader, enum mpack_type type, struct mpack_token *token)
{
    const uint8_t *start = reader->at;

    return (mpack_read(reader, token) && token->type == type) || put_back(reader, start);
}

bool mpack_read_bool(struct mpack_reader *reader, bool *ret_value)
{
    struct mpack_token token;
    if (!read_typed(reader, MPACK_BOOL, &token))
        return false;
    *ret_value = token.boolean;
    return true;
}

bool mpack_read_str(struct mpack_reader *reader, struct view *ret_text)
{
    const uint8_t *start = reader->at;
    struct mpack_token token;

    if (!read_typed(reader, MPACK_STR, &token) || !utf8_valid(token.bytes))
        return put_back(reader, start);
    *ret_text = token.bytes;
    return true;
}

bool mpack_read_bin(struct mpack_reader *reader, struct view *ret_bytes)
{
    struct mpack_token token;
    if (!read_typed(reader, MPACK_BIN, &token))
        return false;
    *ret_bytes = token.bytes;
    return true;
}

bool mpack_read_array(struct mpack_reader *reader, uint32_t *ret_count)
{
    struct mpack_token token;
    if (!read_typed(reader, MPACK_ARRAY, &token))
        return false;
    *ret_count = token.count;
    return true;
}

bool mpack_read_map(struct mpack_reader *reader, uint32_t *ret_count)
{
    struct mpack_token token;
    if (!read_typed(reader, MPACK_MAP, &token))
        return false;
    *ret_count = token.count;
    return true;
}

bool mpack_read_nil(struct mpack_reader *reader)
{
    struct mpack_token token;
    return read_typed(reader, MPACK_NIL, &token);
}

static int packer_put(void *out, const char *data, size_t len)
{
    bytes_put(out, data, len);
    return 0; /* the buffer remembers a failed growth */
}

static msgpack_packer packer_of(struct bytes *out)
{
    return (msgpack_packer){ .data = out, .callback = packer_put };
}

void mpack_put_nil(struct bytes *out)
{
    msgpack_packer packer = packer_of(out);
    (void)msgpack_pack_nil(&packer);
}

void mpack_put_bool(struct bytes *out, bool value)
{
    msgpack_packer packer = packer_of(out);
    (void)(value ? msgpack_pack_true(&packer) : msgpack_pack_false(&packer));
}

void mpack_put_uint(struct bytes *out, uint64_t value)
{
    msgpack_packer packer = packer_of(out);
    (void)msgpack_pack_uint64(&packer, value);
}

void mpack_put_int(struct bytes *out, int64_t value)
{
    msgpack_packer packer = packer_of(out);
    (void)msgpack_pack_int64(&packer, value);
}

void mpack_put_str(struct bytes *out, struct view text)
{
    if (!bytes_reserve(out, text.len + MPACK_HEAD_BYTES_MAX))
        return;
    msgpack_packer packer = packer_of(out);
    (void)msgpack_pack_str(&packer, text.len);
    bytes_put_view(out, text);
}

void mpack_put_bin(struct bytes *out, struct view bytes)
{
    if (!bytes_reserve(out, bytes.len + MPACK_HEAD_BYTES_MAX))
        return;
    msgpack_packer packer = packer_of(out);
    (void)msgpack_pack_bin(&packer, bytes.len);
    bytes_put_view(out, bytes);
}

void mpack_put_array(struct bytes *out, uint32_t count)
{
    msgpack_packer packer = packer_of(out);
    (void)msgpack_pack_array(&packer, count);
}

void mpack_put_map(struct bytes *out, uint32_t count)
{
    msgpack_packer packer = packer_of(out);
    (void)msgpack_pack_map(&packer, count);
}

size_t mpack_put_array_open(struct bytes *out)
{
    size_t offset = out->len;
    bytes_put(out, "\xdd\0\0\0", 5);
    return offset;
}

void mpack_put_array_close(struct bytes *out, size_t offset, uint32_t count)
{
    if (!out->failed)
        store_be32(out->data + offset + 1, count);
}
