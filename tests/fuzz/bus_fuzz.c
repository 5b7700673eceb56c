/* What a peer of the bus can send, without its socket: bytes, in pieces of any size, into frames into messages.
 * The first byte chooses the framing, the second how reads are cut. Beside it a reader that has all bytes at once: both must see
 * the same frames, and what is kept must stay as it was. Built by clang with -fsanitize=fuzzer; unit_bus_protocol feeds it too. */
#include "broker/base/assert.h"
#include "broker/edge/bus_input.h"
#include "broker/edge/bus_message.h"
#include "tests/fuzz/bus_fuzz.h"

enum { FUZZ_FRAME_BYTES_MAX = 64 << 10, FUZZ_KEPT_MAX = 4 };

struct kept {
    struct bus_chunk *chunk;
    struct view body;
    size_t offset;              /* of the body in the whole input */
};

/* Keeps the last few frames as held requests do, checks them against the input, and reads them as messages. */
static void take_frames(struct bus_input *input, struct view whole, size_t *at, struct kept kept[], unsigned *count, bool *broken)
{
    struct bus_message message = { 0 };
    struct sluice_error error;
    struct frame_length length;
    struct bus_frame frame;

    while (!*broken) {
        enum frame_result result = bus_input_take(input, FUZZ_FRAME_BYTES_MAX, &frame);
        *broken = result == FRAME_BROKEN;
        if (result != FRAME_WHOLE)
            break;
        ASSERT(frame_read_length(input->kind, (const uint8_t *)whole.data + *at, whole.len - *at, FUZZ_FRAME_BYTES_MAX, &length) ==
               FRAME_WHOLE);
        *at += length.length_bytes;
        ASSERT(frame.ids.len + frame.body.len == length.bytes);
        ASSERT(memcmp(frame.ids.data, whole.data + *at, frame.ids.len) == 0);
        struct kept *slot = &kept[(*count)++ % FUZZ_KEPT_MAX];
        if (slot->chunk != NULL)
            ASSERT(memcmp(slot->body.data, whole.data + slot->offset, slot->body.len) == 0);
        bus_chunk_free(slot->chunk);
        *slot = (struct kept){ bus_chunk_keep(input->chunk), frame.body, *at + frame.ids.len };
        *at += length.bytes;
        (void)bus_message_read(&message, frame.body, &error);
    }
    bus_message_done(&message);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct kept kept[FUZZ_KEPT_MAX] = { 0 };
    struct bus_input input;
    size_t total = 0, at = 0;
    unsigned count = 0;
    bool broken = false;

    if (size < 2)
        return 0;
    bus_input_init(&input, data[0] & 1 ? FRAME_TCP : FRAME_IPC, &total);
    unsigned cut = data[1];
    struct view whole = { .data = (const char *)data + 2, .len = size - 2 };
    for (size_t fed = 0; fed < whole.len && !broken;) {
        uint8_t *room;
        size_t len, piece = cut == 0 ? SIZE_MAX : 1 + (fed * 31 + cut * 17) % (cut * 4);
        ASSERT(bus_input_room(&input, FUZZ_FRAME_BYTES_MAX, &room, &len));
        ASSERT(len > 0);
        len = len < piece ? len : piece;
        len = len < whole.len - fed ? len : whole.len - fed;
        memcpy(room, whole.data + fed, len);
        bus_input_filled(&input, len);
        fed += len;
        take_frames(&input, whole, &at, kept, &count, &broken);
        ASSERT(total <= (FUZZ_KEPT_MAX + 1) * ((size_t)BUS_READ_BYTES_MAX + FUZZ_FRAME_BYTES_MAX));
    }
    for (unsigned i = 0; i < FUZZ_KEPT_MAX; i++)
        bus_chunk_free(kept[i].chunk);
    bus_input_done(&input);
    ASSERT(total == 0);
    return 0;
}
