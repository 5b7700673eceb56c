/* mpack.h - MessagePack: a validating walker and reader for foreign bytes, and writers on msgpack-c's packer.
 *
 * msgpack-c's unpacker trusts counts (a 6-byte array header makes it allocate gigabytes) and nests at most 32 deep,
 * so bytes from outside are read only here: iterative, no allocation, every length checked against what is left.
 * A reader is a cursor over bytes that need not have been walked before: each call checks what it reads. */
#ifndef SLUICE_CODEC_MPACK_H
#define SLUICE_CODEC_MPACK_H

#include "schemas/codec/bytes.h"
#include "sluice/error.h"

enum mpack_type {
    MPACK_NIL, MPACK_BOOL, MPACK_INT, MPACK_UINT, MPACK_FLOAT, MPACK_STR, MPACK_BIN, MPACK_ARRAY, MPACK_MAP, MPACK_EXT,
};

/* One token: a scalar whole, or the head of an array or map (its items follow). */
struct mpack_token {
    enum mpack_type type;
    union {
        bool boolean;
        int64_t sint;       /* MPACK_INT: negative numbers only; MPACK_UINT: all others, in `uint` */
        uint64_t uint;
        double real;
        struct view bytes;  /* STR, BIN, EXT payload */
        uint32_t count;     /* ARRAY: items; MAP: pairs */
    };
    int8_t ext_type;
};

enum { MPACK_DEPTH_MAX = 1000 };  /* what a walk can follow; `depth_max` arguments above it count as it */

struct mpack_reader {
    const uint8_t *at;
    const uint8_t *end;
};

static inline struct mpack_reader mpack_reader_of(struct view bytes)
{
    const uint8_t *at = (const uint8_t *)bytes.data;

    return (struct mpack_reader){ .at = at, .end = at == NULL ? at : at + bytes.len }; /* of an absent value: at its end */
}

/* false: truncated or an illegal byte; the reader stays where it was. Counts that cannot fit in the bytes left are false too. */
static inline bool mpack_read(struct mpack_reader *reader, struct mpack_token *ret_token);
/* Skips one whole value of any nesting up to `depth_max`, iteratively. ret_value (may be NULL): the value's bytes. */
bool mpack_skip(struct mpack_reader *reader, unsigned depth_max, struct view *ret_value);
static inline bool mpack_at_end(const struct mpack_reader *reader) { return reader->at == reader->end; }

/* Typed reads: false when the next token is of another type or out of range; the reader stays where it was. */
static inline bool mpack_read_uint(struct mpack_reader *reader, uint64_t max, uint64_t *ret_value);
bool mpack_read_int(struct mpack_reader *reader, int64_t *ret_value);
bool mpack_read_bool(struct mpack_reader *reader, bool *ret_value);
bool mpack_read_str(struct mpack_reader *reader, struct view *ret_text);   /* checks UTF-8 */
bool mpack_read_bin(struct mpack_reader *reader, struct view *ret_bytes);
bool mpack_read_array(struct mpack_reader *reader, uint32_t *ret_count);
bool mpack_read_map(struct mpack_reader *reader, uint32_t *ret_count);
bool mpack_read_nil(struct mpack_reader *reader);                          /* consumes nil if it is next */

/* The check at the door for a MessagePack `detail`: one map, keys are UTF-8 strings, no ext, no NaN or infinity,
 * nesting at most `depth_max`, nothing after it. SLUICE_EINVAL with the reason and the byte offset. */
enum sluice_err mpack_check_detail(struct view bytes, unsigned depth_max, struct sluice_error *reterr);
/* Writes a checked detail as JSON (bin becomes base64 text; numbers in shortest form). false: out of memory. */
bool mpack_to_json(struct view checked, struct bytes *out);
void mpack_scalar_to_json(const struct mpack_token *token, struct bytes *out); /* not for array, map and ext: writes nothing */

/* Writers, on msgpack-c's packer. A failed growth marks the buffer. */
void mpack_put_nil(struct bytes *out);
void mpack_put_bool(struct bytes *out, bool value);
void mpack_put_uint(struct bytes *out, uint64_t value);
void mpack_put_int(struct bytes *out, int64_t value);
void mpack_put_str(struct bytes *out, struct view text);
void mpack_put_bin(struct bytes *out, struct view bytes);
void mpack_put_array(struct bytes *out, uint32_t count);
void mpack_put_map(struct bytes *out, uint32_t count);
/* An array head of fixed size (5 bytes) at the returned offset, whose count is filled in later. */
size_t mpack_put_array_open(struct bytes *out);
void mpack_put_array_close(struct bytes *out, size_t offset, uint32_t count);

/* Most tokens of a message are small integers and short text: these are read in place, all others by the slow half. */
bool mpack_read_slow(struct mpack_reader *reader, struct mpack_token *ret_token);
static inline bool mpack_read(struct mpack_reader *reader, struct mpack_token *ret_token)
{
    const uint8_t *at = reader->at;
    size_t left = (size_t)(reader->end - at);
    uint8_t first = left > 0 ? *at : 0xc1; /* 0xc1 is never used: the slow half refuses it */

    if (first < 0x80) {
        ret_token->type = MPACK_UINT;
        ret_token->uint = first;
        reader->at = at + 1;
        return true;
    }
    size_t head = (first & 0xe0) == 0xa0 ? 1 : first == 0xd9 || first == 0xc4 ? 2 : 0;
    if (head == 0 || left < head)
        return mpack_read_slow(reader, ret_token);
    size_t len = head == 1 ? first & 0x1f : at[1];
    if (left - head < len)
        return false;
    ret_token->type = first == 0xc4 ? MPACK_BIN : MPACK_STR;
    ret_token->bytes.data = (const char *)at + head;
    ret_token->bytes.len = len;
    reader->at = at + head + len;
    return true;
}

bool mpack_read_uint_slow(struct mpack_reader *reader, uint64_t max, uint64_t *ret_value);
static inline bool mpack_read_uint(struct mpack_reader *reader, uint64_t max, uint64_t *ret_value)
{
    if (reader->at == reader->end || *reader->at >= 0x80 || *reader->at > max)
        return mpack_read_uint_slow(reader, max, ret_value);
    *ret_value = *reader->at++;
    return true;
}

#endif
