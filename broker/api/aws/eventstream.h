/* eventstream.h - frames of application/vnd.amazon.eventstream, as InvokeWithResponseStream answers. Pure.
 *
 *   total bytes u32 | bytes of headers u32 | CRC32 of these 8 | headers | payload | CRC32 of all before         big-endian
 *   header: name bytes u8 | name | 7 (text) | value bytes u16 | value */
#ifndef SLUICE_API_AWS_EVENTSTREAM_H
#define SLUICE_API_AWS_EVENTSTREAM_H

#include "schemas/codec/bytes.h"

enum { EVENTSTREAM_CHUNK_BYTES = 256 << 10 };    /* payload of one PayloadChunk that we make */

void eventstream_put_chunk(struct bytes *out, struct view payload);      /* PayloadChunk: raw bytes */
void eventstream_put_complete(struct bytes *out, struct view json);      /* InvokeComplete */
uint32_t eventstream_crc32(uint32_t crc, const void *data, size_t len);  /* of zlib; 0 begins, a sum goes on */

#endif
