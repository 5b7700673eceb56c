/* record.h - the log record: one commit's events (or part of them), with each event's target list. Bytes in schemas/store.md.
 *
 *   0 magic "SLRC" | 4 version u16 | 6 flags u16 | 8 first_seq u64 | 16 committed_ms i64 | 24 count u32 | 28 functions u32
 *   32 body bytes u32 | 36 reserved u32 = 0 | 40 checksum u64: XXH3-64 of the record with this field zero
 *   48 function ids u32 x functions (ascending: whom the record concerns) | offsets u32 x count (from the record's start)
 *   then each event: targets u32 | target ids u32 x targets | envelope bytes u32 | envelope
 * Little-endian. count is 1..RECORD_EVENTS_MAX; a record is at most RECORD_BYTES_MAX unless it holds a single event. */
#ifndef SLUICE_CODEC_RECORD_H
#define SLUICE_CODEC_RECORD_H

#include "schemas/codec/envelope.h"

enum { RECORD_VERSION = 1, RECORD_EVENTS_MAX = 4096, RECORD_BYTES_MAX = 1 << 20, RECORD_HEADER_BYTES = 48,
       RECORD_FUNCTIONS_MAX = 10000 };

/* Writer: bodies first, head put in front by finish. One record at a time; reusable after finish. */
struct record_writer {
    struct bytes body;           /* events, offsets relative to its start */
    uint32_t offsets[RECORD_EVENTS_MAX];
    uint32_t count;
    size_t targets_count;        /* of all events: bounds the functions the head will name */
};
bool record_writer_fits(const struct record_writer *writer, size_t envelope_len, size_t targets); /* else finish first */
void record_writer_add(struct record_writer *writer, struct view envelope, const uint32_t *targets, uint32_t targets_count);
/* Appends the whole record to `out`, without its checksum (record_seal() computes it, later and on any thread), and empties
 * the writer. */
void record_writer_finish(struct record_writer *writer, uint64_t first_seq, int64_t committed_ms,
                          const uint32_t *functions, uint32_t functions_count, struct bytes *out);
void record_seal(char *record, size_t len);

struct record {                  /* a checked view of one */
    struct view bytes;
    uint64_t first_seq;
    int64_t committed_ms;
    uint32_t count, functions_count;
    const char *functions, *offsets; /* unaligned u32 */
};
struct record_event {
    struct view envelope;
    uint32_t targets_count;
    const char *targets;         /* unaligned u32 */
};
/* Structure and version; `checksum` also verifies the bytes (once per record read from disk is enough). false: corrupt. */
bool record_open(struct view bytes, bool checksum, struct record *ret_record);
bool record_event(const struct record *record, uint32_t index, struct record_event *ret_event); /* bounds-checked */
uint32_t record_target(const struct record_event *event, uint32_t ordinal);
uint32_t record_function(const struct record *record, uint32_t index);

#endif
