/* frame.h - how nng's REQ and REP look on a byte stream (SP over ipc and tcp). Pure.
 *
 *   greeting   00 'S' 'P' 00 | protocol u16 | 00 00         both ways, once; REQ 0x0030, REP 0x0031
 *   ipc        01 | length u64 | ids | body                 big-endian; length counts ids and body
 *   tcp             length u64 | ids | body
 *   ids        1 to 8 times u32: the way back. Only the last, the request's own, has the top bit set; those before it are
 *              devices it came through. The reply carries the same. Between two neighbours there is one. */
#ifndef SLUICE_CODEC_FRAME_H
#define SLUICE_CODEC_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum frame_kind { FRAME_IPC, FRAME_TCP };
enum {
    FRAME_GREETING_BYTES = 8,
    FRAME_LENGTH_BYTES_MAX = 1 + 8,     /* what is before the ids */
    FRAME_ID_BYTES = 4,
    FRAME_HEAD_BYTES_MAX = FRAME_LENGTH_BYTES_MAX + FRAME_ID_BYTES,
    FRAME_IDS_MAX = 8,                  /* nng's own default limit of hops */
};
#define FRAME_ID_BIT 0x80000000u

extern const uint8_t frame_greeting_req[FRAME_GREETING_BYTES];
extern const uint8_t frame_greeting_rep[FRAME_GREETING_BYTES];

/* What is before the ids, for `bytes` of ids and body; returns its length, which depends on the kind only. */
size_t frame_put_length(enum frame_kind kind, size_t bytes, uint8_t ret_length[FRAME_LENGTH_BYTES_MAX]);
/* All of a message with one id before its body; returns its length. */
size_t frame_put_head(enum frame_kind kind, uint32_t id, size_t body_bytes, uint8_t ret_head[FRAME_HEAD_BYTES_MAX]);

enum frame_result { FRAME_WHOLE, FRAME_SHORT, FRAME_BROKEN };
struct frame_length { size_t length_bytes, bytes; };    /* bytes: of ids and body */
/* FRAME_SHORT: the length is not all there yet. FRAME_BROKEN: not this format, or more than `bytes_max`. */
enum frame_result frame_read_length(enum frame_kind kind, const uint8_t *data, size_t len, size_t bytes_max,
                                    struct frame_length *ret_length);
/* How long the ids at the head of `data` are; 0: there is no last one among the first FRAME_IDS_MAX. */
size_t frame_ids_bytes(const uint8_t *data, size_t len);

/* The same for a message with one id, whatever its top bit: a reply to what we sent. */
struct frame_head { size_t head_bytes, body_bytes; uint32_t id; };
enum frame_result frame_read_head(enum frame_kind kind, const uint8_t *data, size_t len, size_t body_bytes_max,
                                  struct frame_head *ret_head);

#endif
