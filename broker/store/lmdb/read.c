/* The loop thread's snapshot. One read transaction for the life of the store, reset at the end of a read and renewed at the
 * start of the next (no allocation, no lock), with its cursors, which are renewed when first used. The current record is
 * kept open within a read: deliveries are handed out in order of sequence, so most store_event() calls touch no tree at all.
 *
 * A record's checksum is verified when the record is first read. What was verified is remembered by its first sequence in a
 * small table where each has one place; one pushed out is verified again, which costs time and nothing else. A bad record
 * is reported once and from then on answers SLUICE_ECORRUPT for its events; everything around it stays readable. */
#include "broker/store/lmdb/lmdb_store.h"

#include "broker/base/assert.h"

void store_read_begin(struct store *store)
{
    ASSERT(!store->read.begun);
    store->read.begun = true;
    store->read.failed = mdb_txn_renew(store->read.txn) != 0; /* MDB_PANIC: the committer has said so, the daemon is stopping */
    store->read.renewed = 0;
    store->read.record.count = 0;
}

void store_read_end(struct store *store)
{
    ASSERT(store->read.begun);
    store->read.begun = false;
    if (!store->read.failed)
        mdb_txn_reset(store->read.txn);
}

MDB_cursor *read_cursor(struct store *store, enum db db)
{
    MDB_cursor **cursor = &store->read.cursors[db];
    int rc = 0;

    ASSERT(store->read.begun);
    if (store->read.failed)
        return NULL;
    if (store->read.renewed & 1u << db)
        return *cursor;
    if (*cursor == NULL)
        rc = mdb_cursor_open(store->read.txn, store->dbis[db], cursor);
    else
        rc = mdb_cursor_renew(store->read.txn, *cursor);
    if (rc != 0)
        return NULL;
    store->read.renewed |= 1u << db;
    return *cursor;
}

/* ---- what is known to be good or bad ---- */

static uint64_t *record_place(uint64_t *table, size_t places, uint64_t number)
{
    return &table[(number * UINT64_C(0x9E3779B97F4A7C15) >> 32) & (places - 1)];
}
_Static_assert((VERIFIED_RECORDS_MAX & (VERIFIED_RECORDS_MAX - 1)) == 0, "masked");
_Static_assert((BAD_ROWS_MAX & (BAD_ROWS_MAX - 1)) == 0, "masked");

bool read_first_report(struct store *store, enum db db, uint32_t function, uint64_t seq)
{
    uint64_t place = (seq << 20 ^ (uint64_t)function << 4 ^ db) | UINT64_C(1) << 63; /* no record's first_seq */
    uint64_t *bad = record_place(store->read.bad, BAD_ROWS_MAX, place);

    if (*bad == place)
        return false;
    *bad = place;
    return true;
}

/* ---- batches ---- */

static bool batch_row_of(struct store *store, const MDB_val *key, const MDB_val *value, uint32_t function,
                         struct batch_row *ret_row)
{
    uint32_t row_function;
    uint64_t first_seq;

    if (!batch_key_decode(view_of_val(key), &row_function, &first_seq) || row_function != function)
        return false;
    if (batch_row_decode(view_of_val(value), first_seq, ret_row) && batch_row_check(ret_row))
        return true;
    if (read_first_report(store, DB_BATCHES, function, first_seq))
        store_corrupt(store, "batches row of function %u at sequence %llu fails its check; its deliveries cannot be found",
                      function, (unsigned long long)first_seq);
    *ret_row = (struct batch_row){ .first_seq = first_seq };
    return true;
}

bool store_batch_after(struct store *store, uint32_t function, uint64_t after, struct batch_row *ret_row)
{
    MDB_cursor *cursor = read_cursor(store, DB_BATCHES);
    uint8_t bytes[BATCH_KEY_BYTES];
    MDB_val key = MDB_VAL_OF(bytes), value;

    if (cursor == NULL || after == UINT64_MAX)
        return false;
    batch_key_encode(bytes, function, after + 1);
    return mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE) == 0 && batch_row_of(store, &key, &value, function, ret_row);
}

/* To the last key <= `key`, which is overwritten with what was found. */
static bool cursor_at_most(MDB_cursor *cursor, MDB_val *key, MDB_val *value, int (*compare)(const MDB_val *, const MDB_val *))
{
    MDB_val wanted = *key;

    int rc = mdb_cursor_get(cursor, key, value, MDB_SET_RANGE);
    if (rc == MDB_NOTFOUND)
        return mdb_cursor_get(cursor, key, value, MDB_LAST) == 0;
    if (rc != 0)
        return false;
    return compare(key, &wanted) == 0 || mdb_cursor_get(cursor, key, value, MDB_PREV) == 0;
}

static int compare_bytes(const MDB_val *a, const MDB_val *b)
{
    return a->mv_size != b->mv_size || memcmp(a->mv_data, b->mv_data, a->mv_size) != 0;
}

bool store_batch_at(struct store *store, uint32_t function, uint64_t at_most, struct batch_row *ret_row)
{
    MDB_cursor *cursor = read_cursor(store, DB_BATCHES);
    uint8_t bytes[BATCH_KEY_BYTES];
    MDB_val key = MDB_VAL_OF(bytes), value;

    if (cursor == NULL)
        return false;
    batch_key_encode(bytes, function, at_most);
    return cursor_at_most(cursor, &key, &value, compare_bytes) && batch_row_of(store, &key, &value, function, ret_row);
}

/* ---- records ---- */

/* false: the record fails its check. */
bool read_record_at(struct store *store, const MDB_val *key, const MDB_val *value, struct record *ret_record)
{
    uint64_t first_seq;
    struct record record;

    if (!key_u64(key, &first_seq))
        return false;
    uint64_t *verified = record_place(store->read.verified, VERIFIED_RECORDS_MAX, first_seq);
    uint64_t *bad = record_place(store->read.bad, BAD_ROWS_MAX, first_seq);
    if (*bad == first_seq)
        return false;
    if (record_open(view_of_val(value), *verified != first_seq, &record) && record.first_seq == first_seq) {
        *verified = first_seq;
        *ret_record = record;
        return true;
    }
    *bad = first_seq;
    store_corrupt(store,
                  "log record at sequence %llu (%zu bytes) fails its checksum: its events cannot be delivered, all others can",
                  (unsigned long long)first_seq, value->mv_size);
    return false;
}

static int compare_numbers(const MDB_val *a, const MDB_val *b)
{
    uint64_t left, right;
    return !key_u64(a, &left) || !key_u64(b, &right) || left != right;
}

enum sluice_err store_event(struct store *store, uint64_t seq, struct stored_event *ret_event)
{
    struct record *record = &store->read.record;

    ASSERT(store->read.begun);
    if (record->count == 0 || seq < record->first_seq || seq - record->first_seq >= record->count) {
        MDB_cursor *cursor = read_cursor(store, DB_LOG);
        MDB_val key = MDB_VAL_OF(seq), value;
        record->count = 0;
        if (cursor == NULL)
            return SLUICE_EIO;
        if (!cursor_at_most(cursor, &key, &value, compare_numbers))
            return SLUICE_ENOTFOUND;
        if (!read_record_at(store, &key, &value, record)) {
            record->count = 0;
            return SLUICE_ECORRUPT;
        }
        if (seq - record->first_seq >= record->count)
            return SLUICE_ENOTFOUND;
    }
    struct record_event event;
    if (!record_event(record, (uint32_t)(seq - record->first_seq), &event))
        return SLUICE_ECORRUPT;
    *ret_event = (struct stored_event){ .seq = seq, .committed_ms = record->committed_ms, .event = event };
    return SLUICE_OK;
}

bool store_record_after(struct store *store, uint64_t after, struct record *ret_record)
{
    MDB_cursor *cursor = read_cursor(store, DB_LOG);
    uint64_t wanted = after + 1;
    MDB_val key = MDB_VAL_OF(wanted), value;

    if (cursor == NULL || after == UINT64_MAX || mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE) != 0)
        return false;
    if (!read_record_at(store, &key, &value, ret_record)) {
        *ret_record = (struct record){ .bytes = view_of_val(&value) };
        memcpy(&ret_record->first_seq, key.mv_data, sizeof ret_record->first_seq);
    }
    return true;
}
