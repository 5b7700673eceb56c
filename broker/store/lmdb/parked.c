/* Reads of what left the log's queue: the exception and dead tables, and the index of exceptions by due time. */
#include "broker/store/lmdb/lmdb_store.h"

static enum db db_of(enum exception_table table)
{
    return table == TABLE_DEAD ? DB_DEAD : DB_EXCEPTIONS;
}

bool store_due_after(struct store *store, uint32_t function, struct due_key after, struct due_key *ret_key)
{
    MDB_cursor *cursor = read_cursor(store, DB_DUE);
    uint8_t bytes[DUE_KEY_BYTES];
    MDB_val key = MDB_VAL_OF(bytes), value;
    uint32_t row_function;
    struct due_key row;

    if (cursor == NULL)
        return false;
    if (after.due_ms < 0)
        after = (struct due_key){ 0 };
    due_key_encode(bytes, function, after);
    int rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
    if (rc == 0 && key.mv_size == sizeof bytes && memcmp(key.mv_data, bytes, sizeof bytes) == 0)
        rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
    if (rc != 0 || !due_key_decode(view_of_val(&key), &row_function, &row) || row_function != function)
        return false;
    *ret_key = row;
    return true;
}

static bool row_read(struct store *store, enum exception_table table, const MDB_val *value, uint32_t function,
                     struct delivery delivery, struct exception *ret_row)
{
    if (exception_row_decode(view_of_val(value), function, delivery, ret_row))
        return true;
    if (read_first_report(store, db_of(table), function, delivery.seq))
        store_corrupt(store, "%s row of function %u, delivery %llu.%u fails its checksum; it is left where it is",
                      table == TABLE_DEAD ? "dead letter" : "exception", function, (unsigned long long)delivery.seq,
                      delivery.ordinal);
    return false;
}

enum sluice_err store_exception(struct store *store, enum exception_table table, uint32_t function, struct delivery delivery,
                                struct exception *ret_row)
{
    MDB_cursor *cursor = read_cursor(store, db_of(table));
    uint8_t bytes[DELIVERY_KEY_BYTES];
    MDB_val key = MDB_VAL_OF(bytes), value;

    if (cursor == NULL)
        return SLUICE_EIO;
    delivery_key_encode(bytes, function, delivery);
    if (mdb_cursor_get(cursor, &key, &value, MDB_SET_KEY) != 0)
        return SLUICE_ENOTFOUND;
    return row_read(store, table, &value, function, delivery, ret_row) ? SLUICE_OK : SLUICE_ECORRUPT;
}

bool store_exception_after(struct store *store, enum exception_table table, uint32_t function, struct delivery after,
                           struct exception *ret_row)
{
    MDB_cursor *cursor = read_cursor(store, db_of(table));
    uint8_t bytes[DELIVERY_KEY_BYTES];
    MDB_val key = MDB_VAL_OF(bytes), value;
    uint32_t row_function;
    struct delivery delivery;

    if (cursor == NULL)
        return false;
    delivery_key_encode(bytes, function, after);
    int rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
    if (rc == 0 && key.mv_size == sizeof bytes && memcmp(key.mv_data, bytes, sizeof bytes) == 0)
        rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
    /* A row that cannot be read is passed over, having been reported: the ones behind it can. */
    for (; rc == 0; rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) {
        if (!delivery_key_decode(view_of_val(&key), &row_function, &delivery) || row_function != function)
            return false;
        if (row_read(store, table, &value, function, delivery, ret_row))
            return true;
    }
    return false;
}
