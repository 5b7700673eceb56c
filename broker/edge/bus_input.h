/* bus_input.h - the bytes of one connection as they come in, cut into frames without moving them.
 *
 *   chunk   |frame|frame|frame|fra        |       bytes are read in behind `len`, frames are taken from `at`
 *                             at  len   capacity
 *
 * A frame stays where it was read, so a held request keeps its chunk (bus_chunk_keep()) and no batch is copied. Only a frame that
 * does not fit what is left of its chunk moves, once, to a new chunk that it fits. A chunk that nobody keeps is used again.
 * Memory: a chunk is as large as reads have lately been, from BUS_READ_BYTES_MIN to _MAX, or as one larger frame, for whose claimed
 * length nothing is allocated before it has passed its limit. Pure, but for malloc(). */
#ifndef SLUICE_EDGE_BUS_INPUT_H
#define SLUICE_EDGE_BUS_INPUT_H

#include "schemas/codec/frame.h"
#include "schemas/codec/view.h"

enum {
    BUS_READ_BYTES_MIN = 4 << 10,    /* what an idle connection costs */
    BUS_READ_BYTES_MAX = 256 << 10,  /* more than a socket holds at once */
    BUS_READ_ROOM_MIN = 1 << 10,     /* a read into less is not worth its cost: a new chunk */
};

struct bus_chunk {
    unsigned keepers;            /* the input, while it reads into it, and each held request */
    struct bus_input *input;     /* outlives its chunks */
    size_t capacity, len;
    uint8_t data[];
};
struct bus_chunk *bus_chunk_keep(struct bus_chunk *chunk);
void bus_chunk_free(struct bus_chunk *chunk);   /* one keeper less; NULL is fine */

struct bus_input {
    enum frame_kind kind;
    struct bus_chunk *chunk;     /* NULL before the first read */
    size_t at;                   /* in the chunk: what is before it has been taken */
    size_t read_bytes;           /* of the next chunk */
    size_t total;                /* bytes of all chunks of this input that are still kept */
    size_t *total_of_all;        /* the same over all inputs */
};
void bus_input_init(struct bus_input *input, enum frame_kind kind, size_t *total_of_all);
void bus_input_done(struct bus_input *input);   /* held requests must have freed theirs */

/* Where to read to. Only when all that is whole was taken. false: out of memory. */
bool bus_input_room(struct bus_input *input, size_t frame_bytes_max, uint8_t **ret_at, size_t *ret_len);
void bus_input_filled(struct bus_input *input, size_t count);

/* The other side's greeting. FRAME_WHOLE: it was right, and is taken. */
enum frame_result bus_input_greeting(struct bus_input *input, const uint8_t expected[FRAME_GREETING_BYTES]);
struct bus_frame {
    struct view ids, body;       /* in input->chunk */
};
/* FRAME_BROKEN: not a frame, of no known way back, or above `frame_bytes_max` (ids and body). */
enum frame_result bus_input_take(struct bus_input *input, size_t frame_bytes_max, struct bus_frame *ret_frame);

#endif
