#include "broker/api/aws/eventstream.h"

#include <endian.h>

/* Half a byte at a time: the frames are few, and a table of 16 is checked by eye. */
uint32_t eventstream_crc32(uint32_t crc, const void *data, size_t len)
{
    static const uint32_t table[16] = {
        0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
        0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c, 0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
    };
    const uint8_t *at = data;

    crc = ~crc;
    for (size_t i = 0; i < len; i++) {
        crc ^= at[i];
        crc = crc >> 4 ^ table[crc & 15];
        crc = crc >> 4 ^ table[crc & 15];
    }
    return ~crc;
}

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
    if (headers.failed || !bytes_reserve(out, headers.len + payload.len + 16)) {
        out->failed = true;
        bytes_done(&headers);
        return;
    }
    put_u32(out, (uint32_t)(headers.len + payload.len + 16));
    put_u32(out, (uint32_t)headers.len);
    put_u32(out, eventstream_crc32(0, out->data + start, 8));
    bytes_put_view(out, bytes_view(&headers));
    bytes_put_view(out, payload);
    put_u32(out, eventstream_crc32(0, out->data + start, out->len - start));
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
