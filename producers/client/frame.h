/* frame.h - how nng's REQ socket looks on a byte stream (SP over ipc and tcp). Pure.
 *
 *   greeting   00 'S' 'P' 00 | protocol u16 | 00 00         both ways, once; REQ 0x0030, REP 0x0031
 *   ipc        01 | length u64 | id u32 | body               big-endian; length counts id and body
 *   tcp             length u64 | id u32 | body
 *   id         of the request, top bit set; the reply carries the same */
#ifndef SLUICE_CLIENT_FRAME_H
#define SLUICE_CLIENT_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum frame_kind { FRAME_IPC, FRAME_TCP };
enum { FRAME_GREETING_BYTES = 8, FRAME_HEAD_BYTES_MAX = 1 + 8 + 4 };
#define FRAME_ID_BIT 0x80000000u

extern const uint8_t frame_greeting_req[FRAME_GREETING_BYTES];
extern const uint8_t frame_greeting_rep[FRAME_GREETING_BYTES];

/* All of a message before its body; returns its length. */
size_t frame_put_head(enum frame_kind kind, uint32_t id, size_t body_bytes, uint8_t ret_head[FRAME_HEAD_BYTES_MAX]);

enum frame_result { FRAME_WHOLE, FRAME_SHORT, FRAME_BROKEN };
struct frame_head { size_t head_bytes, body_bytes; uint32_t id; };
/* FRAME_SHORT: the head is not all there yet. FRAME_BROKEN: not this format, or a body over `body_bytes_max`. */
enum frame_result frame_read_head(enum frame_kind kind, const uint8_t *data, size_t len, size_t body_bytes_max,
                                  struct frame_head *ret_head);

#endif
