/* rows.h - the bytes of every table's keys and values: encoders, and decoders that check what they read.
 * Knows no LMDB: keys are fixed arrays, values are views. Layouts with offsets: schemas/store.md.
 * Values are little-endian; keys that are compared byte by byte are big-endian, so that byte order is number order. */
#ifndef SLUICE_STORE_LMDB_ROWS_H
#define SLUICE_STORE_LMDB_ROWS_H

#include "broker/store/store.h"

enum {
    BATCH_KEY_BYTES = 12,        /* function u32 | first_seq u64, big-endian */
    DELIVERY_KEY_BYTES = 16,     /* function u32 | seq u64 | ordinal u32, big-endian */
    DUE_KEY_BYTES = 24,          /* function u32 | due_ms u64 | seq u64 | ordinal u32, big-endian */
    PRODUCER_KEY_BYTES = 16,

    BATCH_HEAD_BYTES = 16,
    BATCH_RUN_BYTES = 8,
    QUEUE_HEAD_BYTES = 16 + 8 * QUEUE_COUNTERS,
    QUEUE_HOLE_BYTES = 16,
    EXCEPTION_HEAD_BYTES = 56,
    PRODUCER_ROW_BYTES = 8 + 8 + 8 + 8 * 16,
    TARGET_HEAD_BYTES = 12,
    TOTALS_ROW_BYTES = 32,

    EXCEPTION_REASON_MAX = 128,
    EXCEPTION_MESSAGE_MAX = 1 << 10,
    EXCEPTION_OUTPUT_MAX = 4 << 10,
};

struct totals_row {
    uint64_t revision, next_seq, events_total, unmatched_total;
};

void batch_key_encode(uint8_t key[BATCH_KEY_BYTES], uint32_t function, uint64_t first_seq);
bool batch_key_decode(struct view key, uint32_t *ret_function, uint64_t *ret_first_seq);
void delivery_key_encode(uint8_t key[DELIVERY_KEY_BYTES], uint32_t function, struct delivery delivery);
bool delivery_key_decode(struct view key, uint32_t *ret_function, struct delivery *ret_delivery);
void due_key_encode(uint8_t key[DUE_KEY_BYTES], uint32_t function, struct due_key due);
bool due_key_decode(struct view key, uint32_t *ret_function, struct due_key *ret_due);

/* Encoders append to `out`. What they assert are promises of the engine, never facts about foreign bytes. */
void batch_row_encode(const struct commit_batch *batch, struct bytes *out);
bool batch_row_decode(struct view value, uint64_t first_seq, struct batch_row *ret_row);
/* Every run inside the record's sequences, their sum the count: for a row whose runs are about to be believed. */
bool batch_row_check(const struct batch_row *row);

void queue_row_encode(const struct queue_state *state, struct bytes *out);
/* Holes stay encoded: queue_row_hole() decodes the i-th into a run; ret_state->holes is NULL. */
bool queue_row_decode(struct view value, uint32_t function, struct queue_state *ret_state);
struct run queue_row_hole(struct view value, uint32_t index);

void exception_row_encode(const struct exception *row, struct bytes *out);
bool exception_row_decode(struct view value, uint32_t function, struct delivery delivery, struct exception *ret_row);

void producer_row_encode(const struct producer_row *row, struct bytes *out);
bool producer_row_decode(struct view key, struct view value, struct producer_row *ret_row);
void target_row_encode(const struct target_row *row, struct bytes *out);
bool target_row_decode(struct view value, uint32_t id, struct target_row *ret_row);
void totals_row_encode(const struct totals_row *row, struct bytes *out);
bool totals_row_decode(struct view value, struct totals_row *ret_row);

#endif
