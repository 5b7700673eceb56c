#include "broker/api/aws/eventstream.h"

#include <endian.h>

/* Eight bytes at a time ("slicing by 8"): byte by byte, the sum is most of what a streamed response costs. Sums are linear: that of
 * eight bytes is the XOR of what each of them makes alone, with zeros for those behind it. after[n][b]: byte b, n zeros behind it. */
enum { SLICES = 8 };

static void tables_make(uint32_t after[SLICES][256])
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t sum = byte;
        for (unsigned bit = 0; bit < 8; bit++)
            sum = sum >> 1 ^ ((sum & 1) != 0 ? 0xedb88320 : 0); /* the polynomial, lowest bit first */
        after[0][byte] = sum;
    }
    for (unsigned zeros = 1; zeros < SLICES; zeros++)
        for (unsigned byte = 0; byte < 256; byte++)
            after[zeros][byte] = after[zeros - 1][byte] >> 8 ^ after[0][after[zeros - 1][byte] & 255];
}

uint32_t eventstream_crc32(uint32_t crc, const void *data, size_t len)
{
    static uint32_t after[SLICES][256]; /* constant from its first use on */
    const uint8_t *at = data;

    if (after[0][1] == 0)
        tables_make(after);
    crc = ~crc;
    for (; len >= SLICES; len -= SLICES, at += SLICES) {
        uint32_t low, high;
        memcpy(&low, at, sizeof low);
        memcpy(&high, at + sizeof low, sizeof high);
        low = le32toh(low) ^ crc;
        high = le32toh(high);
        crc = after[7][low & 255] ^ after[6][low >> 8 & 255] ^ after[5][low >> 16 & 255] ^ after[4][low >> 24] ^
              after[3][high & 255] ^ after[2][high >> 8 & 255] ^ after[1][high >> 16 & 255] ^ after[0][high >> 24];
    }
    for (; len > 0; len--, at++)
        crc = crc >> 8 ^ after[0][(crc ^ *at) & 255];
    return ~crc;
}

enum { PRELUDE_BYTES = 8, FRAME_BYTES = PRELUDE_BYTES + 4 + 4 }; /* around headers and payload: the prelude, its sum, the frame's */

static void put_u32(struct bytes *out, uint32_t value)
{
    uint32_t big = htobe32(value);
    bytes_put(out, &big, sizeof big);
}

static void put_header(struct bytes *out, const char *name, const char *value)
{
    uint16_t len = htobe16((uint16_t)strlen(value));

    bytes_put_char(out, (char)strlen(name));
    bytes_put_text(out, name);
    bytes_put_char(out, 7);
    bytes_put(out, &len, sizeof len);
    bytes_put_text(out, value);
}

static void put_frame(struct bytes *out, const char *type, const char *content_type, struct view payload)
{
    struct bytes headers = { 0 };
    size_t start = out->len;

    put_header(&headers, ":message-type", "event");
    put_header(&headers, ":event-type", type);
    put_header(&headers, ":content-type", content_type);
    if (headers.failed || !bytes_reserve(out, headers.len + payload.len + FRAME_BYTES)) {
        out->failed = true;
        bytes_done(&headers);
        return;
    }
    put_u32(out, (uint32_t)(headers.len + payload.len + FRAME_BYTES));
    put_u32(out, (uint32_t)headers.len);
    uint32_t prelude = eventstream_crc32(0, out->data + start, PRELUDE_BYTES);
    put_u32(out, prelude);
    bytes_put_view(out, bytes_view(&headers));
    bytes_put_view(out, payload);
    size_t summed = start + PRELUDE_BYTES;
    put_u32(out, eventstream_crc32(prelude, out->data + summed, out->len - summed));
    bytes_done(&headers);
}

void eventstream_put_chunk(struct bytes *out, struct view payload)
{
    put_frame(out, "PayloadChunk", "application/octet-stream", payload);
}

void eventstream_put_complete(struct bytes *out, struct view json)
{
    put_frame(out, "InvokeComplete", "application/json", json);
}
