/* An event by its id. There is no index by id: a row per event would cost more than all other tables together, and people
 * ask rarely. A UUIDv7 begins with the millisecond it was made, and the log is in order of commit time, so a binary search
 * finds the records in question. What it misses (another kind of id, a clock that jumped, an event that lay in its
 * producer's outbox for hours) is found by reading: exceptions, dead letters, then the whole log.
 * Bytes are looked for before anything is decoded: a record without the id costs one memmem().
 *
 * The loop thread does the first, and only a few records of it. Reading on is for a thread that may take its time. */
#include "broker/store/lmdb/lmdb_store.h"

#include "broker/base/assert.h"

enum {
    BEFORE_MS_MAX = 5 * 1000,      /* committed before it was made: clocks differ */
    AFTER_MS_MAX = 10 * 60 * 1000, /* committed after it was made: the producer was cut off */
    LOOP_RECORDS_MAX = 32,         /* read on the loop thread: at most 32 MiB, a few ms */
};

struct finding {
    struct store *store;
    MDB_txn *txn;
    struct view id;
    bool is_uuid;
    const atomic_bool *cancelled;
};

static bool is_cancelled(const struct finding *finding)
{
    return finding->cancelled != NULL && atomic_load(finding->cancelled);
}

static bool envelope_has_id(struct view envelope, const struct finding *finding)
{
    struct event event;

    return memmem(envelope.data, envelope.len, finding->id.data, finding->id.len) != NULL &&
           envelope_decode_stored(envelope, &event) && event.id_is_uuid == finding->is_uuid && view_equals(event.id, finding->id);
}

/* A record that fails its checksum is passed over: the loop reports it when it reads it. */
static bool record_find(const struct finding *finding, const MDB_val *value, struct stored_event *ret_event)
{
    struct record record;
    struct record_event event;

    if (memmem(value->mv_data, value->mv_size, finding->id.data, finding->id.len) == NULL ||
        !record_open(view_of_val(value), true, &record))
        return false;
    for (uint32_t i = 0; i < record.count; i++)
        if (record_event(&record, i, &event) && envelope_has_id(event.envelope, finding)) {
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

/* At most `records_max` records; 0: all that come into question. */
static bool log_find_by_time(const struct finding *finding, MDB_cursor *cursor, unsigned records_max,
                             struct stored_event *ret_event)
{
    MDB_val key, value;
    int64_t made_ms = 0;
    unsigned records = 0;

    for (unsigned i = 0; i < 6; i++)
        made_ms = made_ms << 8 | (uint8_t)finding->id.data[i];
    for (int rc = log_seek_time(cursor, made_ms - BEFORE_MS_MAX, &key, &value); rc == 0 && !is_cancelled(finding);
         rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) {
        int64_t at_ms = committed_ms(&value);
        if ((at_ms != INT64_MAX && at_ms > made_ms + AFTER_MS_MAX) || (records_max != 0 && records++ == records_max))
            return false;
        if (record_find(finding, &value, ret_event))
            return true;
    }
    return false;
}

static bool is_v7(struct view id, bool id_is_uuid)
{
    ASSERT(id.len > 0);
    ASSERT(!id_is_uuid || id.len == 16);
    return id_is_uuid && (uint8_t)id.data[6] >> 4 == 7;
}

enum sluice_err store_event_by_id(struct store *store, struct view id, bool id_is_uuid, struct stored_event *ret_event)
{
    struct finding finding = { .store = store, .txn = store->read.txn, .id = id, .is_uuid = id_is_uuid };

    if (!is_v7(id, id_is_uuid))
        return SLUICE_ENOTFOUND;
    MDB_cursor *cursor = read_cursor(store, DB_LOG);
    return cursor != NULL && log_find_by_time(&finding, cursor, LOOP_RECORDS_MAX, ret_event) ? SLUICE_OK : SLUICE_ENOTFOUND;
}

/* ---- everywhere ---- */

static bool log_row_find(const struct finding *finding, const MDB_val *key, const MDB_val *value, struct stored_event *ret_event)
{
    (void)key;
    return record_find(finding, value, ret_event);
}

static bool parked_row_find(const struct finding *finding, const MDB_val *key, const MDB_val *value,
                            struct stored_event *ret_event)
{
    uint32_t function;
    struct delivery delivery;
    struct exception row;

    if (memmem(value->mv_data, value->mv_size, finding->id.data, finding->id.len) == NULL ||
        !delivery_key_decode(view_of_val(key), &function, &delivery) ||
        !exception_row_decode(view_of_val(value), function, delivery, &row) || !envelope_has_id(row.envelope, finding))
        return false;
    *ret_event =
        (struct stored_event){ .seq = delivery.seq, .committed_ms = row.accepted_ms, .event = { .envelope = row.envelope } };
    return true;
}

typedef bool row_find(const struct finding *finding, const MDB_val *key, const MDB_val *value, struct stored_event *ret_event);

/* 0: found; MDB_NOTFOUND: to the end, or cancelled; else LMDB's error. */
static int table_find(const struct finding *finding, enum db db, row_find *find, struct stored_event *ret_event)
{
    MDB_cursor *cursor;
    MDB_val key, value;

    int rc = mdb_cursor_open(finding->txn, finding->store->dbis[db], &cursor);
    if (rc != 0)
        return rc;
    while ((rc = is_cancelled(finding) ? MDB_NOTFOUND : mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0)
        if (find(finding, &key, &value, ret_event))
            break;
    mdb_cursor_close(cursor);
    return rc;
}

static int find_by_time(const struct finding *finding, struct stored_event *ret_event)
{
    MDB_cursor *cursor;

    int rc = mdb_cursor_open(finding->txn, finding->store->dbis[DB_LOG], &cursor);
    if (rc != 0)
        return rc;
    bool found = log_find_by_time(finding, cursor, 0, ret_event);
    mdb_cursor_close(cursor);
    return found ? 0 : MDB_NOTFOUND;
}

static int find_everywhere(const struct finding *finding, struct stored_event *ret_event, bool *ret_scanned)
{
    static const struct {
        enum db db;
        row_find *find;
    } tables[] = { { DB_EXCEPTIONS, parked_row_find }, { DB_DEAD, parked_row_find }, { DB_LOG, log_row_find } };
    int rc = MDB_NOTFOUND;

    *ret_scanned = false;
    if (is_v7(finding->id, finding->is_uuid))
        rc = find_by_time(finding, ret_event);
    for (unsigned i = 0; rc == MDB_NOTFOUND && i < sizeof tables / sizeof tables[0]; i++) {
        *ret_scanned = true;
        rc = table_find(finding, tables[i].db, tables[i].find, ret_event);
    }
    return rc;
}

enum sluice_err store_event_search(struct store *store, const struct event_search *search, struct event_found *ret_found,
                                   struct sluice_error *reterr)
{
    struct finding finding = { .store = store, .id = search->id, .is_uuid = search->id_is_uuid, .cancelled = search->cancelled };
    struct stored_event event;
    struct event_found found = { 0 };

    int rc = mdb_txn_begin(store->env, NULL, MDB_RDONLY, &finding.txn);
    if (rc != 0)
        return sluice_fail(reterr, SLUICE_EIO, "search: cannot read the store: %s", mdb_strerror(rc));
    rc = find_everywhere(&finding, &event, &found.scanned);
    if (rc == 0) {
        found.seq = event.seq;
        found.committed_ms = event.committed_ms;
        bytes_put_view(&found.envelope, event.event.envelope);
    }
    mdb_txn_abort(finding.txn);
    if (rc == MDB_NOTFOUND && is_cancelled(&finding))
        return sluice_fail(reterr, SLUICE_ETIMEDOUT, "search: given up by the one who asked");
    if (rc == MDB_NOTFOUND)
        return sluice_fail(reterr, SLUICE_ENOTFOUND, "search: no such event");
    if (rc != 0)
        return sluice_fail(reterr, SLUICE_EIO, "search: reading the store: %s", mdb_strerror(rc));
    if (found.envelope.failed) {
        bytes_done(&found.envelope);
        return sluice_fail(reterr, SLUICE_ENOMEM, "search: out of memory for the event");
    }
    *ret_found = found;
    return SLUICE_OK;
}
