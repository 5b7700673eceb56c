/* A commit into one write transaction. Everything or nothing: the first error is returned and the caller aborts.
 * The order is that of dependency: names before what mentions them, the log before its batches, trims last. */
#include "broker/store/lmdb/lmdb_store.h"

#include <errno.h>
#include <stdio.h>

#include "broker/base/assert.h"

struct applying {
    struct store *store;
    MDB_txn *txn;
    uint64_t bytes;
};

static int fail(struct applying *applying, enum db db, int rc)
{
    if (rc != 0)
        (void)snprintf(applying->store->text, sizeof applying->store->text, "writing table '%s': %s",
                       store_table_name(db), mdb_strerror(rc));
    return rc;
}

static int put(struct applying *applying, enum db db, MDB_val key, struct view row, unsigned flags)
{
    MDB_val value = mdb_val_of(row);

    applying->bytes += key.mv_size + row.len;
    return fail(applying, db, mdb_put(applying->txn, applying->store->dbis[db], &key, &value, flags));
}

/* Puts what an encoder left in the scratch buffer. */
static int put_scratch(struct applying *applying, enum db db, MDB_val key)
{
    struct bytes *scratch = &applying->store->scratch;

    if (scratch->failed)
        return fail(applying, db, ENOMEM);
    return put(applying, db, key, bytes_view(scratch), 0);
}

/* A row that is not there is not an error: deletes say how things should be, not what they were. */
static int row_delete(struct applying *applying, enum db db, MDB_val key)
{
    int rc = mdb_del(applying->txn, applying->store->dbis[db], &key, NULL);
    return rc == MDB_NOTFOUND ? 0 : fail(applying, db, rc);
}

static int put_configuration(struct applying *applying, struct commit *commit)
{
    struct bytes *scratch = &applying->store->scratch;

    for (size_t i = 0; i < commit->functions.count; i++) {
        struct function_row *row = &commit->functions.items[i];
        int rc = put(applying, DB_FUNCTIONS, MDB_VAL_OF(row->id), row->name, 0);
        if (rc != 0)
            return rc;
    }
    for (size_t i = 0; i < commit->targets.count; i++) {
        struct target_row *row = &commit->targets.items[i];
        bytes_clear(scratch);
        target_row_encode(row, scratch);
        int rc = put_scratch(applying, DB_TARGETS, MDB_VAL_OF(row->id));
        if (rc != 0)
            return rc;
    }
    return 0;
}

static int put_records(struct applying *applying, struct commit *commit)
{
    for (size_t i = 0; i < commit->records.count; i++) {
        struct commit_record *record = &commit->records.items[i];
        MDB_val key = MDB_VAL_OF(record->first_seq), value = { .mv_size = record->len };

        ASSERT(record->first_seq >= 1);
        ASSERT(record->offset <= commit->log.len);
        ASSERT(record->len <= commit->log.len - record->offset);
        int rc = mdb_put(applying->txn, applying->store->dbis[DB_LOG], &key, &value, MDB_APPEND | MDB_RESERVE);
        if (rc != 0)
            return fail(applying, DB_LOG, rc);
        /* Sealed where it lands: the commit stays as it was, should it have to be sent again. */
        memcpy(value.mv_data, commit->log.data + record->offset, record->len);
        record_seal(value.mv_data, record->len);
        applying->bytes += record->len;
    }
    return 0;
}

static int put_batches(struct applying *applying, struct commit *commit)
{
    struct bytes *scratch = &applying->store->scratch;

    for (size_t i = 0; i < commit->batches.count; i++) {
        struct commit_batch *batch = &commit->batches.items[i];
        uint8_t key[BATCH_KEY_BYTES];

        batch_key_encode(key, batch->function, batch->first_seq);
        bytes_clear(scratch);
        batch_row_encode(batch, scratch);
        int rc = put_scratch(applying, DB_BATCHES, MDB_VAL_OF(key));
        if (rc != 0)
            return rc;
    }
    return 0;
}

static int put_producers(struct applying *applying, struct commit *commit)
{
    struct bytes *scratch = &applying->store->scratch;

    for (size_t i = 0; i < commit->producers.count; i++) {
        struct producer_row *row = &commit->producers.items[i];
        bytes_clear(scratch);
        producer_row_encode(row, scratch);
        int rc = put_scratch(applying, DB_PRODUCERS, MDB_VAL_OF(row->id));
        if (rc != 0)
            return rc;
    }
    for (size_t i = 0; i < commit->producers_gone.count; i++) {
        int rc = row_delete(applying, DB_PRODUCERS, MDB_VAL_OF(commit->producers_gone.items[i].id));
        if (rc != 0)
            return rc;
    }
    return 0;
}

static int put_queues(struct applying *applying, struct commit *commit)
{
    struct bytes *scratch = &applying->store->scratch;

    for (size_t i = 0; i < commit->queues.count; i++) {
        struct queue_state *state = &commit->queues.items[i];
        bytes_clear(scratch);
        queue_row_encode(state, scratch);
        int rc = put_scratch(applying, DB_QUEUES, MDB_VAL_OF(state->function));
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* The row to be replaced is unreadable, so its due time is unknown: look through the function's due keys for the delivery. */
static int due_forget_by_scan(struct applying *applying, uint32_t function, struct delivery delivery)
{
    uint8_t bytes[DUE_KEY_BYTES];
    MDB_val key = MDB_VAL_OF(bytes), value;
    MDB_cursor *cursor;
    uint32_t found_function;
    struct due_key found;

    int rc = mdb_cursor_open(applying->txn, applying->store->dbis[DB_DUE], &cursor);
    if (rc != 0)
        return fail(applying, DB_DUE, rc);
    due_key_encode(bytes, function, (struct due_key){ 0 });
    for (rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE); rc == 0; rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) {
        if (!due_key_decode(view_of_val(&key), &found_function, &found))
            continue;
        if (found_function != function)
            break;
        if (delivery_compare(found.delivery, delivery) == 0) {
            rc = mdb_cursor_del(cursor, 0);
            break;
        }
    }
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? 0 : fail(applying, DB_DUE, rc);
}

/* The due index follows the exception table by itself: the row that goes says which due key goes with it. */
static int due_forget(struct applying *applying, uint32_t function, struct delivery delivery, MDB_val row_key)
{
    uint8_t due[DUE_KEY_BYTES];
    struct exception old;
    MDB_val value;

    int rc = mdb_get(applying->txn, applying->store->dbis[DB_EXCEPTIONS], &row_key, &value);
    if (rc == MDB_NOTFOUND)
        return 0;
    if (rc != 0)
        return fail(applying, DB_EXCEPTIONS, rc);
    if (!exception_row_decode(view_of_val(&value), function, delivery, &old) || old.due_ms < 0)
        return due_forget_by_scan(applying, function, delivery);
    due_key_encode(due, function, (struct due_key){ .due_ms = old.due_ms, .delivery = delivery });
    return row_delete(applying, DB_DUE, MDB_VAL_OF(due));
}

static int put_exception(struct applying *applying, const struct commit_exception *change)
{
    struct bytes *scratch = &applying->store->scratch;
    const struct exception *row = &change->row;
    enum db db = change->table == TABLE_DEAD ? DB_DEAD : DB_EXCEPTIONS;
    uint8_t key[DELIVERY_KEY_BYTES], due[DUE_KEY_BYTES];
    int rc;

    delivery_key_encode(key, row->function, row->delivery);
    if (change->table == TABLE_EXCEPTIONS && (rc = due_forget(applying, row->function, row->delivery, MDB_VAL_OF(key))) != 0)
        return rc;
    if (change->delete)
        return row_delete(applying, db, MDB_VAL_OF(key));
    bytes_clear(scratch);
    exception_row_encode(row, scratch);
    rc = put_scratch(applying, db, MDB_VAL_OF(key));
    if (rc != 0 || change->table == TABLE_DEAD)
        return rc;
    due_key_encode(due, row->function, (struct due_key){ .due_ms = row->due_ms, .delivery = row->delivery });
    return put(applying, DB_DUE, MDB_VAL_OF(due), VIEW_LITERAL(""), 0);
}

static int delete_batch(struct applying *applying, uint32_t function, uint64_t first_seq)
{
    uint8_t key[BATCH_KEY_BYTES];

    batch_key_encode(key, function, first_seq);
    return row_delete(applying, DB_BATCHES, MDB_VAL_OF(key));
}

/* A record too broken to say whom it concerned: its batches row is looked for with every function there ever was. */
static int delete_batches_of_all(struct applying *applying, uint64_t first_seq)
{
    MDB_cursor *cursor;
    MDB_val key, value;
    uint32_t function;

    int rc = mdb_cursor_open(applying->txn, applying->store->dbis[DB_FUNCTIONS], &cursor);
    if (rc != 0)
        return fail(applying, DB_FUNCTIONS, rc);
    for (rc = mdb_cursor_get(cursor, &key, &value, MDB_FIRST); rc == 0; rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) {
        if (!key_u32(&key, &function))
            continue;
        rc = delete_batch(applying, function, first_seq);
        if (rc != 0)
            break;
    }
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

static int trim(struct applying *applying, uint64_t first_seq)
{
    struct store *store = applying->store;
    MDB_val key = MDB_VAL_OF(first_seq), value;
    struct record record;

    int rc = mdb_get(applying->txn, store->dbis[DB_LOG], &key, &value);
    if (rc == MDB_NOTFOUND)
        return 0;
    if (rc != 0)
        return fail(applying, DB_LOG, rc);
    if (!record_open(view_of_val(&value), false, &record)) {
        rc = delete_batches_of_all(applying, first_seq);
    } else {
        /* Copied: a view into the map is good only until the next write of its transaction. */
        bytes_clear(&store->scratch);
        for (uint32_t i = 0; i < record.functions_count; i++) {
            uint32_t function = record_function(&record, i);
            bytes_put(&store->scratch, &function, sizeof function);
        }
        if (store->scratch.failed)
            return fail(applying, DB_BATCHES, ENOMEM);
        for (uint32_t i = 0; rc == 0 && i < record.functions_count; i++) {
            uint32_t function;
            memcpy(&function, store->scratch.data + (size_t)i * sizeof function, sizeof function);
            rc = delete_batch(applying, function, first_seq);
        }
    }
    return rc != 0 ? rc : row_delete(applying, DB_LOG, key);
}

static int put_totals(struct applying *applying, struct commit *commit)
{
    struct bytes *scratch = &applying->store->scratch;
    struct totals_row totals = {
        .revision = commit->revision != 0 ? commit->revision : applying->store->revision,
        .next_seq = commit->next_seq,
        .events_total = commit->events_total,
        .unmatched_total = commit->unmatched_total,
    };

    bytes_clear(scratch);
    totals_row_encode(&totals, scratch);
    return put_scratch(applying, DB_META, mdb_val_of(VIEW_LITERAL("totals")));
}

int apply_commit(struct store *store, MDB_txn *txn, struct commit *commit, uint64_t *ret_bytes)
{
    struct applying applying = { .store = store, .txn = txn };

    int rc = put_configuration(&applying, commit);
    if (rc == 0)
        rc = put_records(&applying, commit);
    if (rc == 0)
        rc = put_batches(&applying, commit);
    if (rc == 0)
        rc = put_producers(&applying, commit);
    if (rc == 0)
        rc = put_queues(&applying, commit);
    for (size_t i = 0; rc == 0 && i < commit->exceptions.count; i++)
        rc = put_exception(&applying, &commit->exceptions.items[i]);
    for (size_t i = 0; rc == 0 && i < commit->trims.count; i++)
        rc = trim(&applying, commit->trims.items[i]);
    if (rc == 0)
        rc = put_totals(&applying, commit);
    if (rc == 0)
        *ret_bytes = applying.bytes;
    return rc;
}
