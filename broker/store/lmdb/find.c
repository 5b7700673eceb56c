/* An event by its id. There is no index by id: a row per event would cost more than all other tables together, and people
 * ask rarely. A UUIDv7 begins with the millisecond it was made, and the log is in order of commit time, so a binary search
 * finds the records in question. What it misses (another kind of id, a clock that jumped, an event that lay in its
 * producer's outbox for hours) is found by reading: exceptions, dead letters, then the whole log.
 * Bytes are looked for before anything is decoded: a record without the id costs one memmem(). */
#include "broker/store/lmdb/lmdb_store.h"

#include "broker/base/assert.h"

enum {
    BEFORE_MS_MAX = 5 * 1000,      /* committed before it was made: clocks differ */
    AFTER_MS_MAX = 10 * 60 * 1000, /* committed after it was made: the producer was cut off */
};

struct wanted {
    struct view id;
    bool is_uuid;
};

static bool envelope_has_id(struct view envelope, const struct wanted *wanted)
{
    struct event event;

    return memmem(envelope.data, envelope.len, wanted->id.data, wanted->id.len) != NULL &&
           envelope_decode_stored(envelope, &event) && event.id_is_uuid == wanted->is_uuid && view_equals(event.id, wanted->id);
}

static bool record_find(struct store *store, const MDB_val *key, const MDB_val *value, const struct wanted *wanted,
                        struct stored_event *ret_event)
{
    struct record record;
    struct record_event event;

    if (memmem(value->mv_data, value->mv_size, wanted->id.data, wanted->id.len) == NULL ||
        !read_record_at(store, key, value, &record))
        return false;
    for (uint32_t i = 0; i < record.count; i++)
        if (record_event(&record, i, &event) && envelope_has_id(event.envelope, wanted)) {
            *ret_event =
                (struct stored_event){ .seq = record.first_seq + i, .committed_ms = record.committed_ms, .event = event };
            return true;
        }
    return false;
}

/* Of the record under `value`, from its header alone; INT64_MAX when it cannot be read, so that searches begin before it. */
static int64_t committed_ms(const MDB_val *value)
{
    struct record record;
    return record_open(view_of_val(value), false, &record) ? record.committed_ms : INT64_MAX;
}

/* To the first record committed at `from_ms` or later, by halving the range of sequences. */
static int log_seek_time(MDB_cursor *cursor, int64_t from_ms, MDB_val *key, MDB_val *value)
{
    uint64_t low, high; /* the answer is the first record with first_seq >= low; all at or behind high are late enough */

    int rc = mdb_cursor_get(cursor, key, value, MDB_FIRST);
    if (rc != 0)
        return rc;
    if (!key_u64(key, &low))
        return MDB_NOTFOUND;
    rc = mdb_cursor_get(cursor, key, value, MDB_LAST);
    if (rc != 0)
        return rc;
    if (!key_u64(key, &high) || committed_ms(value) < from_ms)
        return MDB_NOTFOUND;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2, found;
        MDB_val at = MDB_VAL_OF(middle);
        rc = mdb_cursor_get(cursor, &at, value, MDB_SET_RANGE);
        if (rc != 0)
            return rc;
        if (!key_u64(&at, &found))
            return MDB_NOTFOUND;
        if (committed_ms(value) >= from_ms)
            high = middle; /* no record begins between middle and the one found */
        else
            low = found + 1;
    }
    *key = MDB_VAL_OF(low);
    return mdb_cursor_get(cursor, key, value, MDB_SET_RANGE);
}

static bool log_find_by_time(struct store *store, const struct wanted *wanted, struct stored_event *ret_event)
{
    MDB_cursor *cursor = read_cursor(store, DB_LOG);
    MDB_val key, value;
    int64_t made_ms = 0;

    for (unsigned i = 0; i < 6; i++)
        made_ms = made_ms << 8 | (uint8_t)wanted->id.data[i];
    if (cursor == NULL)
        return false;
    for (int rc = log_seek_time(cursor, made_ms - BEFORE_MS_MAX, &key, &value); rc == 0;
         rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) {
        int64_t at_ms = committed_ms(&value);
        if (at_ms != INT64_MAX && at_ms > made_ms + AFTER_MS_MAX)
            return false;
        if (record_find(store, &key, &value, wanted, ret_event))
            return true;
    }
    return false;
}

static bool log_find_by_scan(struct store *store, const struct wanted *wanted, struct stored_event *ret_event)
{
    MDB_cursor *cursor = read_cursor(store, DB_LOG);
    MDB_val key, value;

    if (cursor == NULL)
        return false;
    for (int rc = mdb_cursor_get(cursor, &key, &value, MDB_FIRST); rc == 0; rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT))
        if (record_find(store, &key, &value, wanted, ret_event))
            return true;
    return false;
}

static bool parked_find(struct store *store, enum db db, const struct wanted *wanted, struct stored_event *ret_event)
{
    MDB_cursor *cursor = read_cursor(store, db);
    MDB_val key, value;

    if (cursor == NULL)
        return false;
    for (int rc = mdb_cursor_get(cursor, &key, &value, MDB_FIRST); rc == 0; rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) {
        uint32_t function;
        struct delivery delivery;
        struct exception row;
        if (memmem(value.mv_data, value.mv_size, wanted->id.data, wanted->id.len) == NULL ||
            !delivery_key_decode(view_of_val(&key), &function, &delivery) ||
            !exception_row_decode(view_of_val(&value), function, delivery, &row) || !envelope_has_id(row.envelope, wanted))
            continue;
        *ret_event =
            (struct stored_event){ .seq = delivery.seq, .committed_ms = row.accepted_ms, .event = { .envelope = row.envelope } };
        return true;
    }
    return false;
}

enum sluice_err store_event_by_id(struct store *store, struct view id, bool id_is_uuid, struct stored_event *ret_event,
                                  bool *ret_scanned)
{
    struct wanted wanted = { .id = id, .is_uuid = id_is_uuid };
    bool is_v7 = id_is_uuid && (uint8_t)id.data[6] >> 4 == 7;

    ASSERT(id.len > 0);
    ASSERT(!id_is_uuid || id.len == 16);
    *ret_scanned = false;
    if (is_v7 && log_find_by_time(store, &wanted, ret_event))
        return SLUICE_OK;
    *ret_scanned = true;
    if (parked_find(store, DB_EXCEPTIONS, &wanted, ret_event) || parked_find(store, DB_DEAD, &wanted, ret_event) ||
        log_find_by_scan(store, &wanted, ret_event))
        return SLUICE_OK;
    return SLUICE_ENOTFOUND;
}
