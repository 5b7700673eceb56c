/* What the engine starts from. Reads the small tables only: functions, targets, one queue row a function, producers. Neither
 * the log nor the exceptions are touched, so the depth of the backlog makes no difference to how long a start takes. */
#include "broker/store/lmdb/lmdb_store.h"

#include <stdlib.h>

#include "broker/base/vec.h"

struct recovering {
    struct store *store;
    const struct store_recovery *to;
    VEC(struct run) holes;
};

/* Each returns false when the row fails its check. */
static bool recover_function(struct recovering *recovering, const MDB_val *key, const MDB_val *value)
{
    struct function_row row = { .name = view_of_val(value) };

    if (!key_u32(key, &row.id))
        return false;
    recovering->to->on_function(recovering->to->ctx, &row);
    return true;
}

static bool recover_target(struct recovering *recovering, const MDB_val *key, const MDB_val *value)
{
    struct target_row row;
    uint32_t id;

    if (!key_u32(key, &id) || !target_row_decode(view_of_val(value), id, &row))
        return false;
    recovering->to->on_target(recovering->to->ctx, &row);
    return true;
}

static bool recover_queue(struct recovering *recovering, const MDB_val *key, const MDB_val *value)
{
    struct queue_state state;
    uint32_t function;

    if (!key_u32(key, &function) || !queue_row_decode(view_of_val(value), function, &state))
        return false;
    recovering->holes.count = 0;
    for (uint32_t i = 0; i < state.holes_count; i++)
        VEC_PUSH(&recovering->holes, queue_row_hole(view_of_val(value), i));
    state.holes = recovering->holes.items;
    recovering->to->on_queue(recovering->to->ctx, &state);
    return true;
}

static bool recover_producer(struct recovering *recovering, const MDB_val *key, const MDB_val *value)
{
    struct producer_row row;

    if (!producer_row_decode(view_of_val(key), view_of_val(value), &row))
        return false;
    recovering->to->on_producer(recovering->to->ctx, &row);
    return true;
}

static enum sluice_err recover_table(struct recovering *recovering, MDB_txn *txn, enum db db, const char *name,
                                     bool (*row)(struct recovering *, const MDB_val *, const MDB_val *),
                                     struct sluice_error *reterr)
{
    MDB_cursor *cursor;
    MDB_val key, value;
    uint64_t place = 0;

    int rc = mdb_cursor_open(txn, recovering->store->dbis[db], &cursor);
    if (rc != 0)
        return sluice_fail(reterr, SLUICE_EIO, "store: reading table '%s': %s", name, mdb_strerror(rc));
    while ((rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0) {
        if (!row(recovering, &key, &value))
            break;
        place++;
    }
    mdb_cursor_close(cursor);
    if (rc == 0)
        return sluice_fail(reterr, SLUICE_ECORRUPT,
                           "store: row %llu of table '%s' fails its check; restore the data directory from a backup",
                           (unsigned long long)place, name);
    if (rc != MDB_NOTFOUND)
        return sluice_fail(reterr, SLUICE_EIO, "store: reading table '%s': %s", name, mdb_strerror(rc));
    return SLUICE_OK;
}

enum sluice_err totals_read(struct store *store, MDB_txn *txn, struct totals_row *ret_totals, struct sluice_error *reterr)
{
    MDB_val key = mdb_val_of(VIEW_LITERAL("totals")), value;

    int rc = mdb_get(txn, store->dbis[DB_META], &key, &value);
    if (rc == MDB_NOTFOUND) { /* no commit yet */
        *ret_totals = (struct totals_row){ .next_seq = 1 };
        return SLUICE_OK;
    }
    if (rc != 0)
        return sluice_fail(reterr, SLUICE_EIO, "store: reading table 'meta': %s", mdb_strerror(rc));
    if (!totals_row_decode(view_of_val(&value), ret_totals))
        return sluice_fail(reterr, SLUICE_ECORRUPT, "store: the totals in table 'meta' have %zu bytes instead of %d",
                           value.mv_size, TOTALS_ROW_BYTES);
    return SLUICE_OK;
}

enum sluice_err store_recover(struct store *store, const struct store_recovery *recovery, struct sluice_error *reterr)
{
    struct recovering recovering = { .store = store, .to = recovery };
    struct totals_row totals;
    MDB_txn *txn;

    int rc = mdb_txn_begin(store->env, NULL, MDB_RDONLY, &txn);
    if (rc != 0)
        return sluice_fail(reterr, SLUICE_EIO, "store: cannot read: %s", mdb_strerror(rc));
    enum sluice_err err = SLUICE_OK;
    if (recovery->on_function != NULL)
        err = recover_table(&recovering, txn, DB_FUNCTIONS, "functions", recover_function, reterr);
    if (err == SLUICE_OK && recovery->on_target != NULL)
        err = recover_table(&recovering, txn, DB_TARGETS, "targets", recover_target, reterr);
    if (err == SLUICE_OK && recovery->on_queue != NULL)
        err = recover_table(&recovering, txn, DB_QUEUES, "queues", recover_queue, reterr);
    if (err == SLUICE_OK && recovery->on_producer != NULL)
        err = recover_table(&recovering, txn, DB_PRODUCERS, "producers", recover_producer, reterr);
    if (err == SLUICE_OK && recovery->on_totals != NULL) {
        err = totals_read(store, txn, &totals, reterr);
        if (err == SLUICE_OK)
            recovery->on_totals(recovery->ctx, totals.revision, totals.next_seq, totals.events_total, totals.unmatched_total);
    }
    mdb_txn_abort(txn);
    VEC_DONE(&recovering.holes);
    return err;
}
