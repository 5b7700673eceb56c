#include "schemas/codec/record.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "schemas/codec/byte_order.h"

enum {
    AT_MAGIC = 0, AT_VERSION = 4, AT_FLAGS = 6, AT_FIRST_SEQ = 8, AT_COMMITTED_MS = 16, AT_COUNT = 24, AT_FUNCTIONS = 28,
    AT_BODY_BYTES = 32, AT_RESERVED = 36, AT_CHECKSUM = 40,
    CHECKSUM_BYTES = 8,
    EVENT_HEAD_BYTES = 8, /* count of targets, length of envelope */
};
static const char magic[4] = { 'S', 'L', 'R', 'C' };
_Static_assert(AT_CHECKSUM + CHECKSUM_BYTES == RECORD_HEADER_BYTES, "the checksum ends the header");

/* How many functions the record will name is known only at its end: at most one a target, and at most all there can be. */
bool record_writer_fits(const struct record_writer *writer, size_t envelope_len, size_t targets)
{
    if (writer->count == 0)
        return true;
    if (writer->count == RECORD_EVENTS_MAX)
        return false;
    size_t functions = writer->targets_count + targets;
    if (functions > RECORD_FUNCTIONS_MAX)
        functions = RECORD_FUNCTIONS_MAX;
    size_t head = RECORD_HEADER_BYTES + 4 * functions + 4 * ((size_t)writer->count + 1);
    return head + writer->body.len + EVENT_HEAD_BYTES + 4 * targets + envelope_len <= RECORD_BYTES_MAX;
}

void record_writer_add(struct record_writer *writer, struct view envelope, const uint32_t *targets, uint32_t targets_count)
{
    size_t len = EVENT_HEAD_BYTES + 4 * (size_t)targets_count + envelope.len;

    if (!bytes_reserve(&writer->body, len))
        return;
    char *at = writer->body.data + writer->body.len;
    store_le32(at, targets_count);
    at += 4;
    for (uint32_t i = 0; i < targets_count; i++, at += 4)
        store_le32(at, targets[i]);
    store_le32(at, (uint32_t)envelope.len);
    memcpy(at + 4, envelope.data, envelope.len);
    writer->offsets[writer->count++] = (uint32_t)writer->body.len;
    writer->targets_count += targets_count;
    writer->body.len += len;
}

void record_writer_finish(struct record_writer *writer, uint64_t first_seq, int64_t committed_ms,
                          const uint32_t *functions, uint32_t functions_count, struct bytes *out)
{
    size_t head_len = RECORD_HEADER_BYTES + 4 * (size_t)functions_count + 4 * (size_t)writer->count;

    if (writer->body.failed)
        out->failed = true;
    if (bytes_reserve(out, head_len + writer->body.len)) {
        char *head = out->data + out->len;
        memset(head, 0, RECORD_HEADER_BYTES);
        memcpy(head + AT_MAGIC, magic, sizeof magic);
        store_le16(head + AT_VERSION, RECORD_VERSION);
        store_le64(head + AT_FIRST_SEQ, first_seq);
        store_le64(head + AT_COMMITTED_MS, (uint64_t)committed_ms);
        store_le32(head + AT_COUNT, writer->count);
        store_le32(head + AT_FUNCTIONS, functions_count);
        store_le32(head + AT_BODY_BYTES, (uint32_t)writer->body.len);
        char *at = head + RECORD_HEADER_BYTES;
        for (uint32_t i = 0; i < functions_count; i++, at += 4)
            store_le32(at, functions[i]);
        for (uint32_t i = 0; i < writer->count; i++, at += 4)
            store_le32(at, (uint32_t)head_len + writer->offsets[i]);
        memcpy(at, writer->body.data, writer->body.len);
        out->len += head_len + writer->body.len;
    }
    bytes_clear(&writer->body);
    writer->count = 0;
    writer->targets_count = 0;
}

void record_seal(char *record, size_t len)
{
    memset(record + AT_CHECKSUM, 0, CHECKSUM_BYTES);
    store_le64(record + AT_CHECKSUM, XXH3_64bits(record, len));
}

/* In pieces, because stored bytes are read-only and their checksum field counts as zero. */
static uint64_t checksum_of(struct view bytes)
{
    static const char zeros[CHECKSUM_BYTES];
    XXH3_state_t state;

    (void)XXH3_64bits_reset(&state);
    (void)XXH3_64bits_update(&state, bytes.data, AT_CHECKSUM);
    (void)XXH3_64bits_update(&state, zeros, CHECKSUM_BYTES);
    (void)XXH3_64bits_update(&state, bytes.data + RECORD_HEADER_BYTES, bytes.len - RECORD_HEADER_BYTES);
    return XXH3_64bits_digest(&state);
}

bool record_open(struct view bytes, bool checksum, struct record *ret_record)
{
    if (bytes.len < RECORD_HEADER_BYTES || memcmp(bytes.data + AT_MAGIC, magic, sizeof magic) != 0)
        return false;
    if (load_le16(bytes.data + AT_VERSION) != RECORD_VERSION || load_le16(bytes.data + AT_FLAGS) != 0)
        return false;
    uint32_t count = load_le32(bytes.data + AT_COUNT);
    uint32_t functions = load_le32(bytes.data + AT_FUNCTIONS);
    uint32_t body = load_le32(bytes.data + AT_BODY_BYTES);
    if (count < 1 || count > RECORD_EVENTS_MAX || functions > RECORD_FUNCTIONS_MAX || load_le32(bytes.data + AT_RESERVED) != 0)
        return false;
    if ((uint64_t)RECORD_HEADER_BYTES + 4 * (uint64_t)functions + 4 * (uint64_t)count + body != bytes.len)
        return false;
    if (checksum && checksum_of(bytes) != load_le64(bytes.data + AT_CHECKSUM))
        return false;
    *ret_record = (struct record){
        .bytes = bytes,
        .first_seq = load_le64(bytes.data + AT_FIRST_SEQ),
        .committed_ms = (int64_t)load_le64(bytes.data + AT_COMMITTED_MS),
        .count = count,
        .functions_count = functions,
        .functions = bytes.data + RECORD_HEADER_BYTES,
        .offsets = bytes.data + RECORD_HEADER_BYTES + 4 * (size_t)functions,
    };
    return true;
}

bool record_event(const struct record *record, uint32_t index, struct record_event *ret_event)
{
    if (index >= record->count)
        return false;
    size_t head_len = (size_t)(record->offsets - record->bytes.data) + 4 * (size_t)record->count;
    size_t offset = load_le32(record->offsets + 4 * (size_t)index);
    if (offset < head_len || offset > record->bytes.len || record->bytes.len - offset < EVENT_HEAD_BYTES)
        return false;
    const char *at = record->bytes.data + offset;
    size_t left = record->bytes.len - offset - EVENT_HEAD_BYTES;
    uint32_t targets_count = load_le32(at);
    if (targets_count > left / 4)
        return false;
    left -= 4 * (size_t)targets_count;
    const char *targets = at + 4;
    const char *envelope = targets + 4 * (size_t)targets_count;
    uint32_t envelope_len = load_le32(envelope);
    if (envelope_len > left)
        return false;
    *ret_event = (struct record_event){
        .envelope = { .data = envelope + 4, .len = envelope_len },
        .targets_count = targets_count,
        .targets = targets,
    };
    return true;
}

uint32_t record_target(const struct record_event *event, uint32_t ordinal)
{
    return load_le32(event->targets + 4 * (size_t)ordinal);
}

uint32_t record_function(const struct record *record, uint32_t index)
{
    return load_le32(record->functions + 4 * (size_t)index);
}
