#include "producers/client/frame.h"

const uint8_t frame_greeting_req[FRAME_GREETING_BYTES] = { 0, 'S', 'P', 0, 0x00, 0x30, 0, 0 };
const uint8_t frame_greeting_rep[FRAME_GREETING_BYTES] = { 0, 'S', 'P', 0, 0x00, 0x31, 0, 0 };

enum { ID_BYTES = 4, LENGTH_BYTES = 8, IPC_MESSAGE = 1 };

static size_t put_big_endian(uint8_t *at, uint64_t value, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        at[i] = (uint8_t)(value >> (8 * (bytes - 1 - i)));
    return bytes;
}

static uint64_t read_big_endian(const uint8_t *at, size_t bytes)
{
    uint64_t value = 0;

    for (size_t i = 0; i < bytes; i++)
        value = value << 8 | at[i];
    return value;
}

size_t frame_put_head(enum frame_kind kind, uint32_t id, size_t body_bytes, uint8_t ret_head[FRAME_HEAD_BYTES_MAX])
{
    size_t len = 0;

    if (kind == FRAME_IPC)
        ret_head[len++] = IPC_MESSAGE;
    len += put_big_endian(ret_head + len, ID_BYTES + body_bytes, LENGTH_BYTES);
    len += put_big_endian(ret_head + len, id, ID_BYTES);
    return len;
}

enum frame_result frame_read_head(enum frame_kind kind, const uint8_t *data, size_t len, size_t body_bytes_max,
                                  struct frame_head *ret_head)
{
    size_t before = kind == FRAME_IPC ? 1 : 0;

    if (len < before + LENGTH_BYTES + ID_BYTES)
        return FRAME_SHORT;
    uint64_t length = read_big_endian(data + before, LENGTH_BYTES);
    if ((kind == FRAME_IPC && data[0] != IPC_MESSAGE) || length < ID_BYTES || length - ID_BYTES > body_bytes_max)
        return FRAME_BROKEN;
    ret_head->head_bytes = before + LENGTH_BYTES + ID_BYTES;
    ret_head->body_bytes = (size_t)length - ID_BYTES;
    ret_head->id = (uint32_t)read_big_endian(data + before + LENGTH_BYTES, ID_BYTES);
    return FRAME_WHOLE;
}
