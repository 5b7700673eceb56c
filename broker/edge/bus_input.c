#include "broker/edge/bus_input.h"

#include <stdlib.h>

#include "broker/base/assert.h"

struct bus_chunk *bus_chunk_keep(struct bus_chunk *chunk)
{
    chunk->keepers++;
    return chunk;
}

void bus_chunk_free(struct bus_chunk *chunk)
{
    if (chunk == NULL || --chunk->keepers > 0)
        return;
    chunk->input->total -= chunk->capacity;
    *chunk->input->total_of_all -= chunk->capacity;
    free(chunk);
}

static struct bus_chunk *chunk_new(struct bus_input *input, size_t capacity)
{
    struct bus_chunk *chunk = malloc(sizeof *chunk + capacity);

    if (chunk == NULL)
        return NULL;
    *chunk = (struct bus_chunk){ .keepers = 1, .input = input, .capacity = capacity };
    input->total += capacity;
    *input->total_of_all += capacity;
    return chunk;
}

void bus_input_init(struct bus_input *input, enum frame_kind kind, size_t *total_of_all)
{
    *input = (struct bus_input){ .kind = kind, .read_bytes = BUS_READ_BYTES_MIN };
    input->total_of_all = total_of_all;
}

void bus_input_done(struct bus_input *input)
{
    bus_chunk_free(input->chunk);
    input->chunk = NULL;
    ASSERT(input->total == 0);
}

/* How much is needed in one piece from `at` on: the frame, or, while its length is not there yet, enough to be worth a read. */
static size_t frame_wanted(const struct bus_input *input, size_t frame_bytes_max)
{
    const struct bus_chunk *chunk = input->chunk;
    struct frame_length length;

    if (frame_read_length(input->kind, chunk->data + input->at, chunk->len - input->at, frame_bytes_max, &length) != FRAME_WHOLE)
        return chunk->len - input->at + BUS_READ_ROOM_MIN;
    return length.length_bytes + length.bytes;
}

bool bus_input_room(struct bus_input *input, size_t frame_bytes_max, uint8_t **ret_at, size_t *ret_len)
{
    struct bus_chunk *chunk = input->chunk;
    size_t left = chunk != NULL ? chunk->len - input->at : 0;
    size_t wanted = chunk != NULL ? frame_wanted(input, frame_bytes_max) : 0;

    if (chunk != NULL && left == 0 && chunk->keepers == 1)
        chunk->len = input->at = 0;
    /* Too little room; or far too much, after a burst, for what reads are now. */
    if (chunk == NULL || chunk->capacity - input->at < wanted ||
        (left == 0 && chunk->keepers == 1 && chunk->capacity > 2 * input->read_bytes)) {
        struct bus_chunk *next = chunk_new(input, wanted > input->read_bytes ? wanted : input->read_bytes);
        if (next == NULL)
            return false;
        if (left > 0)
            memcpy(next->data, chunk->data + input->at, left);
        next->len = left;
        input->at = 0;
        bus_chunk_free(chunk);
        input->chunk = chunk = next;
    }
    ASSERT(chunk->len < chunk->capacity);
    *ret_at = chunk->data + chunk->len;
    *ret_len = chunk->capacity - chunk->len;
    return true;
}

void bus_input_filled(struct bus_input *input, size_t count)
{
    struct bus_chunk *chunk = input->chunk;

    ASSERT(count <= chunk->capacity - chunk->len);
    chunk->len += count;
    if (chunk->len == chunk->capacity && input->read_bytes < BUS_READ_BYTES_MAX)
        input->read_bytes *= 2;
    else if (count < input->read_bytes / 4 && input->read_bytes > BUS_READ_BYTES_MIN)
        input->read_bytes /= 2;
}

enum frame_result bus_input_greeting(struct bus_input *input, const uint8_t expected[FRAME_GREETING_BYTES])
{
    struct bus_chunk *chunk = input->chunk;

    if (chunk == NULL || chunk->len < FRAME_GREETING_BYTES)
        return FRAME_SHORT;
    input->at = FRAME_GREETING_BYTES;
    return memcmp(chunk->data, expected, FRAME_GREETING_BYTES) == 0 ? FRAME_WHOLE : FRAME_BROKEN;
}

enum frame_result bus_input_take(struct bus_input *input, size_t frame_bytes_max, struct bus_frame *ret_frame)
{
    const struct bus_chunk *chunk = input->chunk;
    struct frame_length length;

    if (chunk == NULL)
        return FRAME_SHORT;
    const uint8_t *at = chunk->data + input->at;
    size_t left = chunk->len - input->at;
    enum frame_result result = frame_read_length(input->kind, at, left, frame_bytes_max, &length);
    if (result != FRAME_WHOLE)
        return result;
    if (left - length.length_bytes < length.bytes)
        return FRAME_SHORT;
    at += length.length_bytes;
    size_t ids_bytes = frame_ids_bytes(at, length.bytes);
    if (ids_bytes == 0)
        return FRAME_BROKEN;
    ret_frame->ids = (struct view){ .data = (const char *)at, .len = ids_bytes };
    ret_frame->body = (struct view){ .data = (const char *)at + ids_bytes, .len = length.bytes - ids_bytes };
    input->at += length.length_bytes + length.bytes;
    return FRAME_WHOLE;
}
