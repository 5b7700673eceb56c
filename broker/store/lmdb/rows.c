/* The bytes of each table, as schemas/store.md gives them. Exceptions and dead letters hold the only copy of their event once
 * the log record is trimmed, so their rows carry a checksum as log records do; the other rows are numbers whose lies
 * `sluice balance` finds. */
#include "broker/store/lmdb/rows.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "broker/base/assert.h"
#include "schemas/codec/byte_order.h"

/* ---- keys ---- */

void batch_key_encode(uint8_t key[BATCH_KEY_BYTES], uint32_t function, uint64_t first_seq)
{
    store_be32(key, function);
    store_be64(key + 4, first_seq);
}

bool batch_key_decode(struct view key, uint32_t *ret_function, uint64_t *ret_first_seq)
{
    if (key.len != BATCH_KEY_BYTES)
        return false;
    *ret_function = load_be32(key.data);
    *ret_first_seq = load_be64(key.data + 4);
    return true;
}

void delivery_key_encode(uint8_t key[DELIVERY_KEY_BYTES], uint32_t function, struct delivery delivery)
{
    store_be32(key, function);
    store_be64(key + 4, delivery.seq);
    store_be32(key + 12, delivery.ordinal);
}

bool delivery_key_decode(struct view key, uint32_t *ret_function, struct delivery *ret_delivery)
{
    if (key.len != DELIVERY_KEY_BYTES)
        return false;
    *ret_function = load_be32(key.data);
    *ret_delivery = (struct delivery){ .seq = load_be64(key.data + 4), .ordinal = load_be32(key.data + 12) };
    return true;
}

void due_key_encode(uint8_t key[DUE_KEY_BYTES], uint32_t function, struct due_key due)
{
    ASSERT(due.due_ms >= 0); /* a negative one would sort behind all others */
    store_be32(key, function);
    store_be64(key + 4, (uint64_t)due.due_ms);
    store_be64(key + 12, due.delivery.seq);
    store_be32(key + 20, due.delivery.ordinal);
}

bool due_key_decode(struct view key, uint32_t *ret_function, struct due_key *ret_due)
{
    if (key.len != DUE_KEY_BYTES || load_be64(key.data + 4) > INT64_MAX)
        return false;
    *ret_function = load_be32(key.data);
    *ret_due = (struct due_key){
        .due_ms = (int64_t)load_be64(key.data + 4),
        .delivery = { .seq = load_be64(key.data + 12), .ordinal = load_be32(key.data + 20) },
    };
    return true;
}

/* ---- batches: committed_ms i64 | count u32 | runs u32 | runs of (first - first_seq) u16, len u16, ordinal u32 ---- */

_Static_assert(RECORD_EVENTS_MAX <= UINT16_MAX, "a run's place and length within a record are u16");

void batch_row_encode(const struct commit_batch *batch, struct bytes *out)
{
    char head[BATCH_HEAD_BYTES];
    uint64_t sum = 0;

    ASSERT(batch->runs_count >= 1);
    store_le64(head, (uint64_t)batch->committed_ms);
    store_le32(head + 8, batch->count);
    store_le32(head + 12, batch->runs_count);
    bytes_put(out, head, sizeof head);
    for (uint32_t i = 0; i < batch->runs_count; i++) {
        const struct run *run = &batch->runs[i];
        char bytes[BATCH_RUN_BYTES];

        ASSERT(run->len >= 1);
        ASSERT(run->seq >= batch->first_seq);
        ASSERT(run->len <= RECORD_EVENTS_MAX);
        ASSERT(run->seq - batch->first_seq <= RECORD_EVENTS_MAX - run->len);
        store_le16(bytes, (uint16_t)(run->seq - batch->first_seq));
        store_le16(bytes + 2, (uint16_t)run->len);
        store_le32(bytes + 4, run->ordinal);
        bytes_put(out, bytes, sizeof bytes);
        sum += run->len;
    }
    ASSERT(sum == batch->count);
}

bool batch_row_decode(struct view value, uint64_t first_seq, struct batch_row *ret_row)
{
    if (value.len < BATCH_HEAD_BYTES + BATCH_RUN_BYTES || (value.len - BATCH_HEAD_BYTES) % BATCH_RUN_BYTES != 0)
        return false;
    struct batch_row row = {
        .first_seq = first_seq,
        .committed_ms = (int64_t)load_le64(value.data),
        .count = load_le32(value.data + 8),
        .runs_count = load_le32(value.data + 12),
        .runs = value.data + BATCH_HEAD_BYTES,
    };
    if (row.runs_count != (value.len - BATCH_HEAD_BYTES) / BATCH_RUN_BYTES || row.count < row.runs_count)
        return false;
    *ret_row = row;
    return true;
}

struct run batch_row_run(const struct batch_row *row, uint32_t index)
{
    ASSERT(index < row->runs_count);
    const char *at = row->runs + (size_t)index * BATCH_RUN_BYTES;
    return (struct run){ .seq = row->first_seq + load_le16(at), .len = load_le16(at + 2), .ordinal = load_le32(at + 4) };
}

bool batch_row_check(const struct batch_row *row)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < row->runs_count; i++) {
        struct run run = batch_row_run(row, i);
        if (run.len == 0 || run.seq - row->first_seq + run.len > RECORD_EVENTS_MAX)
            return false;
        sum += run.len;
    }
    return sum == row->count;
}

/* ---- queues: highest seq u64, ordinal u32 | holes u32 | counters u64 each | holes of seq u64, len u32, ordinal u32 ---- */

void queue_row_encode(const struct queue_state *state, struct bytes *out)
{
    char head[QUEUE_HEAD_BYTES];

    store_le64(head, state->highest.seq);
    store_le32(head + 8, state->highest.ordinal);
    store_le32(head + 12, state->holes_count);
    for (unsigned i = 0; i < QUEUE_COUNTERS; i++)
        store_le64(head + 16 + (size_t)8 * i, state->counters[i]);
    bytes_put(out, head, sizeof head);
    for (uint32_t i = 0; i < state->holes_count; i++) {
        const struct run *hole = &state->holes[i];
        char bytes[QUEUE_HOLE_BYTES];

        ASSERT(hole->len >= 1);
        ASSERT(hole->seq <= state->highest.seq);
        store_le64(bytes, hole->seq);
        store_le32(bytes + 8, hole->len);
        store_le32(bytes + 12, hole->ordinal);
        bytes_put(out, bytes, sizeof bytes);
    }
}

bool queue_row_decode(struct view value, uint32_t function, struct queue_state *ret_state)
{
    if (value.len < QUEUE_HEAD_BYTES || (value.len - QUEUE_HEAD_BYTES) % QUEUE_HOLE_BYTES != 0)
        return false;
    struct queue_state state = {
        .function = function,
        .highest = { .seq = load_le64(value.data), .ordinal = load_le32(value.data + 8) },
        .holes_count = load_le32(value.data + 12),
    };
    if (state.holes_count != (value.len - QUEUE_HEAD_BYTES) / QUEUE_HOLE_BYTES)
        return false;
    for (unsigned i = 0; i < QUEUE_COUNTERS; i++)
        state.counters[i] = load_le64(value.data + 16 + (size_t)8 * i);
    for (uint32_t i = 0; i < state.holes_count; i++) {
        struct run hole = queue_row_hole(value, i);
        if (hole.len == 0 || hole.seq > state.highest.seq)
            return false;
    }
    *ret_state = state;
    return true;
}

struct run queue_row_hole(struct view value, uint32_t index)
{
    ASSERT(index < (value.len - QUEUE_HEAD_BYTES) / QUEUE_HOLE_BYTES);
    const char *at = value.data + QUEUE_HEAD_BYTES + (size_t)index * QUEUE_HOLE_BYTES;
    return (struct run){ .seq = load_le64(at), .len = load_le32(at + 8), .ordinal = load_le32(at + 12) };
}

/* ---- exceptions and dead: checksum u64 | due_ms i64 | accepted_ms i64 | failed_ms i64 | target u32 | attempts u32 |
 *      reason, message, output, envelope bytes: u32 each | those four ---- */

static uint64_t exception_checksum(const char *data, size_t len)
{
    return XXH3_64bits(data + 8, len - 8);
}

void exception_row_encode(const struct exception *row, struct bytes *out)
{
    char head[EXCEPTION_HEAD_BYTES];
    size_t start = out->len;

    ASSERT(row->reason.len <= EXCEPTION_REASON_MAX);
    ASSERT(row->message.len <= EXCEPTION_MESSAGE_MAX);
    ASSERT(row->output.len <= EXCEPTION_OUTPUT_MAX);
    ASSERT(row->envelope.len <= EVENT_BYTES_MAX);
    store_le64(head, 0);
    store_le64(head + 8, (uint64_t)row->due_ms);
    store_le64(head + 16, (uint64_t)row->accepted_ms);
    store_le64(head + 24, (uint64_t)row->failed_ms);
    store_le32(head + 32, row->target);
    store_le32(head + 36, row->attempts);
    store_le32(head + 40, (uint32_t)row->reason.len);
    store_le32(head + 44, (uint32_t)row->message.len);
    store_le32(head + 48, (uint32_t)row->output.len);
    store_le32(head + 52, (uint32_t)row->envelope.len);
    bytes_put(out, head, sizeof head);
    bytes_put_view(out, row->reason);
    bytes_put_view(out, row->message);
    bytes_put_view(out, row->output);
    bytes_put_view(out, row->envelope);
    if (!out->failed)
        store_le64(out->data + start, exception_checksum(out->data + start, out->len - start));
}

bool exception_row_decode(struct view value, uint32_t function, struct delivery delivery, struct exception *ret_row)
{
    if (value.len < EXCEPTION_HEAD_BYTES || load_le64(value.data) != exception_checksum(value.data, value.len))
        return false;
    size_t reason = load_le32(value.data + 40), message = load_le32(value.data + 44), output = load_le32(value.data + 48),
           envelope = load_le32(value.data + 52);
    if (EXCEPTION_HEAD_BYTES + reason + message + output + envelope != value.len)
        return false;
    const char *at = value.data + EXCEPTION_HEAD_BYTES;
    *ret_row = (struct exception){
        .function = function,
        .delivery = delivery,
        .due_ms = (int64_t)load_le64(value.data + 8),
        .accepted_ms = (int64_t)load_le64(value.data + 16),
        .failed_ms = (int64_t)load_le64(value.data + 24),
        .target = load_le32(value.data + 32),
        .attempts = load_le32(value.data + 36),
        .reason = { at, reason },
        .message = { at + reason, message },
        .output = { at + reason + message, output },
        .envelope = { at + reason + message + output, envelope },
    };
    return true;
}

/* ---- producers: epoch u64 | highest u64 | used_ms i64 | window u64 x 16 ---- */

void producer_row_encode(const struct producer_row *row, struct bytes *out)
{
    char bytes[PRODUCER_ROW_BYTES];

    store_le64(bytes, row->epoch);
    store_le64(bytes + 8, row->highest);
    store_le64(bytes + 16, (uint64_t)row->used_ms);
    for (unsigned i = 0; i < 16; i++)
        store_le64(bytes + 24 + (size_t)8 * i, row->window[i]);
    bytes_put(out, bytes, sizeof bytes);
}

bool producer_row_decode(struct view key, struct view value, struct producer_row *ret_row)
{
    if (key.len != PRODUCER_KEY_BYTES || value.len != PRODUCER_ROW_BYTES)
        return false;
    memcpy(ret_row->id, key.data, PRODUCER_KEY_BYTES);
    ret_row->epoch = load_le64(value.data);
    ret_row->highest = load_le64(value.data + 8);
    ret_row->used_ms = (int64_t)load_le64(value.data + 16);
    for (unsigned i = 0; i < 16; i++)
        ret_row->window[i] = load_le64(value.data + 24 + (size_t)8 * i);
    return true;
}

/* ---- targets: function u32 | input u32 | rule bytes u32 | rule | text ---- */

void target_row_encode(const struct target_row *row, struct bytes *out)
{
    char head[TARGET_HEAD_BYTES];

    ASSERT(row->rule.len <= UINT32_MAX);
    store_le32(head, row->function);
    store_le32(head + 4, row->input);
    store_le32(head + 8, (uint32_t)row->rule.len);
    bytes_put(out, head, sizeof head);
    bytes_put_view(out, row->rule);
    bytes_put_view(out, row->text);
}

bool target_row_decode(struct view value, uint32_t id, struct target_row *ret_row)
{
    if (value.len < TARGET_HEAD_BYTES || load_le32(value.data + 8) > value.len - TARGET_HEAD_BYTES)
        return false;
    size_t rule = load_le32(value.data + 8);
    *ret_row = (struct target_row){
        .id = id,
        .function = load_le32(value.data),
        .input = load_le32(value.data + 4),
        .rule = { value.data + TARGET_HEAD_BYTES, rule },
        .text = { value.data + TARGET_HEAD_BYTES + rule, value.len - TARGET_HEAD_BYTES - rule },
    };
    return true;
}

/* ---- meta "totals": revision | next_seq | events_total | unmatched_total, u64 each ---- */

void totals_row_encode(const struct totals_row *row, struct bytes *out)
{
    char bytes[TOTALS_ROW_BYTES];

    store_le64(bytes, row->revision);
    store_le64(bytes + 8, row->next_seq);
    store_le64(bytes + 16, row->events_total);
    store_le64(bytes + 24, row->unmatched_total);
    bytes_put(out, bytes, sizeof bytes);
}

bool totals_row_decode(struct view value, struct totals_row *ret_row)
{
    if (value.len != TOTALS_ROW_BYTES)
        return false;
    *ret_row = (struct totals_row){
        .revision = load_le64(value.data),
        .next_seq = load_le64(value.data + 8),
        .events_total = load_le64(value.data + 16),
        .unmatched_total = load_le64(value.data + 24),
    };
    return true;
}
