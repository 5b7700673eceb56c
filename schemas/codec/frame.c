#include "schemas/codec/frame.h"

const uint8_t frame_greeting_req[FRAME_GREETING_BYTES] = { 0, 'S', 'P', 0, 0x00, 0x30, 0, 0 };
const uint8_t frame_greeting_rep[FRAME_GREETING_BYTES] = { 0, 'S', 'P', 0, 0x00, 0x31, 0, 0 };

enum { COUNT_BYTES = 8, IPC_MESSAGE = 1 };

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

size_t frame_put_length(enum frame_kind kind, size_t bytes, uint8_t ret_length[FRAME_LENGTH_BYTES_MAX])
{
    size_t len = 0;

    if (kind == FRAME_IPC)
        ret_length[len++] = IPC_MESSAGE;
    return len + put_big_endian(ret_length + len, bytes, COUNT_BYTES);
}

size_t frame_put_head(enum frame_kind kind, uint32_t id, size_t body_bytes, uint8_t ret_head[FRAME_HEAD_BYTES_MAX])
{
    size_t len = frame_put_length(kind, FRAME_ID_BYTES + body_bytes, ret_head);

    return len + put_big_endian(ret_head + len, id, FRAME_ID_BYTES);
}

enum frame_result frame_read_length(enum frame_kind kind, const uint8_t *data, size_t len, size_t bytes_max,
                                    struct frame_length *ret_length)
{
    size_t before = kind == FRAME_IPC ? 1 : 0;

    if (before == 1 && len > 0 && data[0] != IPC_MESSAGE)
        return FRAME_BROKEN;
    if (len < before + COUNT_BYTES)
        return FRAME_SHORT;
    uint64_t bytes = read_big_endian(data + before, COUNT_BYTES);
    if (bytes < FRAME_ID_BYTES || bytes > bytes_max)
        return FRAME_BROKEN;
    *ret_length = (struct frame_length){ .length_bytes = before + COUNT_BYTES, .bytes = (size_t)bytes };
    return FRAME_WHOLE;
}

size_t frame_ids_bytes(const uint8_t *data, size_t len)
{
    for (size_t end = FRAME_ID_BYTES; end <= len && end <= (size_t)FRAME_IDS_MAX * FRAME_ID_BYTES; end += FRAME_ID_BYTES)
        if ((data[end - FRAME_ID_BYTES] & FRAME_ID_BIT >> 24) != 0)
            return end;
    return 0;
}

enum frame_result frame_read_head(enum frame_kind kind, const uint8_t *data, size_t len, size_t body_bytes_max,
                                  struct frame_head *ret_head)
{
    struct frame_length length;
    enum frame_result result = frame_read_length(kind, data, len, FRAME_ID_BYTES + body_bytes_max, &length);

    if (result != FRAME_WHOLE)
        return result;
    if (len < length.length_bytes + FRAME_ID_BYTES)
        return FRAME_SHORT;
    *ret_head = (struct frame_head){ .head_bytes = length.length_bytes + FRAME_ID_BYTES,
                                     .body_bytes = length.bytes - FRAME_ID_BYTES,
                                     .id = (uint32_t)read_big_endian(data + length.length_bytes, FRAME_ID_BYTES) };
    return FRAME_WHOLE;
}
