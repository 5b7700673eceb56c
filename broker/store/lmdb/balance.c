/* The balance, from one snapshot: accepted = succeeded + dead-lettered + expired + discarded + pending, for every function.
 *
 * The five on the left and right are stored counters. Pending is not: it is counted from what is there,
 *
 *      batches rows of the function:   [--- all below ---][-- straddles --][--- all above ---][--- all above ---]
 *                                                      highest settled
 *      pending = deliveries above highest (whole rows by their count, the straddling one run by run)
 *              + holes (deliveries below highest, still open)
 *              + rows of the exception table (deliveries that left the log's queue)
 *
 * so a lost row, a lost hole or a wrong counter shows as a sum that does not come out. Beside it the dead table must have as
 * many rows as were dead-lettered, and each exception exactly one due key, or it would never be tried again. */
#include "broker/store/lmdb/lmdb_store.h"

struct balancing {
    struct store *store;
    MDB_txn *txn;
    MDB_cursor *batches, *exceptions, *dead, *due;
};

static uint64_t run_above(struct run run, struct delivery highest)
{
    uint64_t end = run.seq + run.len;                                               /* one behind its last */
    uint64_t first = run.ordinal > highest.ordinal ? highest.seq : highest.seq + 1; /* the first sequence that counts */

    if (run.seq >= first)
        return run.len;
    return end > first ? end - first : 0;
}

/* false: a row is unreadable. Starts at the row that can straddle: the last one beginning at or below highest. */
static bool count_above(struct balancing *balancing, uint32_t function, struct delivery highest, uint64_t *ret_count)
{
    uint8_t bytes[BATCH_KEY_BYTES];
    MDB_val key = MDB_VAL_OF(bytes), value;
    uint32_t row_function;
    uint64_t first_seq, count = 0;
    bool readable = true;

    batch_key_encode(bytes, function, highest.seq);
    int rc = mdb_cursor_get(balancing->batches, &key, &value, MDB_SET_RANGE);
    if (rc != 0 || !batch_key_decode(view_of_val(&key), &row_function, &first_seq) || row_function != function ||
        first_seq != highest.seq) {
        rc = mdb_cursor_get(balancing->batches, &key, &value, rc == 0 ? MDB_PREV : MDB_LAST);
        if (rc != 0) /* all rows are behind the key */
            rc = mdb_cursor_get(balancing->batches, &key, &value, MDB_FIRST);
        else if (!batch_key_decode(view_of_val(&key), &row_function, &first_seq) || row_function != function)
            rc = mdb_cursor_get(balancing->batches, &key, &value, MDB_NEXT);
    }
    for (; rc == 0; rc = mdb_cursor_get(balancing->batches, &key, &value, MDB_NEXT)) {
        struct batch_row row;
        if (!batch_key_decode(view_of_val(&key), &row_function, &first_seq) || row_function != function)
            break;
        if (!batch_row_decode(view_of_val(&value), first_seq, &row)) {
            readable = false;
        } else if (first_seq > highest.seq) {
            count += row.count;
        } else if (!batch_row_check(&row)) {
            readable = false;
        } else {
            for (uint32_t i = 0; i < row.runs_count; i++)
                count += run_above(batch_row_run(&row, i), highest);
        }
    }
    *ret_count = count;
    return readable && (rc == 0 || rc == MDB_NOTFOUND);
}

/* Rows whose key begins with the function's number. */
static uint64_t count_rows(MDB_cursor *cursor, uint32_t function)
{
    uint8_t bytes[DELIVERY_KEY_BYTES];
    MDB_val key = { .mv_size = sizeof function, .mv_data = bytes }, value;
    uint64_t count = 0;

    delivery_key_encode(bytes, function, (struct delivery){ 0 });
    for (int rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE); rc == 0;
         rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) {
        if (key.mv_size < sizeof function || memcmp(key.mv_data, bytes, sizeof function) != 0)
            break;
        count++;
    }
    return count;
}

static struct balance_row balance_of(struct balancing *balancing, uint32_t function, struct view name)
{
    struct balance_row row = { .function = function, .name = name };
    struct queue_state state = { 0 };
    MDB_val key = MDB_VAL_OF(function), value;
    uint64_t above = 0, holes = 0;

    /* No queue row: nothing was ever accepted for it. */
    int rc = mdb_get(balancing->txn, balancing->store->dbis[DB_QUEUES], &key, &value);
    bool readable = rc == MDB_NOTFOUND || (rc == 0 && queue_row_decode(view_of_val(&value), function, &state));
    if (!readable)
        return row;
    for (uint32_t i = 0; i < state.holes_count; i++)
        holes += queue_row_hole(view_of_val(&value), i).len;
    readable = count_above(balancing, function, state.highest, &above);
    uint64_t exceptions = count_rows(balancing->exceptions, function);

    row.accepted = state.counters[QUEUE_ACCEPTED];
    row.succeeded = state.counters[QUEUE_SUCCEEDED];
    row.dead_lettered = state.counters[QUEUE_DEAD_LETTERED];
    row.expired = state.counters[QUEUE_EXPIRED];
    row.discarded = state.counters[QUEUE_DISCARDED];
    row.pending = above + holes + exceptions;
    row.dead_rows = count_rows(balancing->dead, function);
    row.holds = readable && row.accepted == row.succeeded + row.dead_lettered + row.expired + row.discarded + row.pending &&
                row.dead_rows == row.dead_lettered && exceptions == state.counters[QUEUE_EXCEPTIONS] &&
                exceptions == count_rows(balancing->due, function);
    return row;
}

/* Functions by their names, then queue rows whose function nobody knows: those never hold. */
static int balance_all(struct balancing *balancing, void (*on_row)(void *ctx, const struct balance_row *row), void *ctx)
{
    MDB_cursor *functions = NULL, *queues = NULL;
    MDB_val key, value;
    uint32_t function;

    int rc = mdb_cursor_open(balancing->txn, balancing->store->dbis[DB_FUNCTIONS], &functions);
    while (rc == 0 && (rc = mdb_cursor_get(functions, &key, &value, MDB_NEXT)) == 0)
        if (key_u32(&key, &function)) {
            struct balance_row row = balance_of(balancing, function, view_of_val(&value));
            on_row(ctx, &row);
        }
    if (rc == MDB_NOTFOUND)
        rc = mdb_cursor_open(balancing->txn, balancing->store->dbis[DB_QUEUES], &queues);
    while (rc == 0 && (rc = mdb_cursor_get(queues, &key, &value, MDB_NEXT)) == 0)
        if (key_u32(&key, &function) &&
            mdb_get(balancing->txn, balancing->store->dbis[DB_FUNCTIONS], &key, &value) == MDB_NOTFOUND) {
            struct balance_row row = balance_of(balancing, function, VIEW_LITERAL("(unknown)"));
            row.holds = false;
            on_row(ctx, &row);
        }
    if (functions != NULL)
        mdb_cursor_close(functions);
    if (queues != NULL)
        mdb_cursor_close(queues);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

int balance_rows(struct store *store, MDB_txn *txn, void (*on_row)(void *ctx, const struct balance_row *row), void *ctx)
{
    struct balancing balancing = { .store = store, .txn = txn };
    int rc = 0;

    struct {
        enum db db;
        MDB_cursor **cursor;
    } const cursors[] = {
        { DB_BATCHES, &balancing.batches },
        { DB_EXCEPTIONS, &balancing.exceptions },
        { DB_DEAD, &balancing.dead },
        { DB_DUE, &balancing.due },
    };
    for (unsigned i = 0; rc == 0 && i < sizeof cursors / sizeof cursors[0]; i++)
        rc = mdb_cursor_open(txn, store->dbis[cursors[i].db], cursors[i].cursor);
    if (rc == 0)
        rc = balance_all(&balancing, on_row, ctx);
    for (unsigned i = 0; i < sizeof cursors / sizeof cursors[0]; i++)
        if (*cursors[i].cursor != NULL)
            mdb_cursor_close(*cursors[i].cursor);
    return rc;
}

enum sluice_err store_balance(struct store *store, void (*on_row)(void *ctx, const struct balance_row *row), void *ctx,
                              struct sluice_error *reterr)
{
    MDB_txn *txn;

    int rc = mdb_txn_begin(store->env, NULL, MDB_RDONLY, &txn);
    if (rc != 0)
        return sluice_fail(reterr, SLUICE_EIO, "balance: cannot read the store: %s", mdb_strerror(rc));
    rc = balance_rows(store, txn, on_row, ctx);
    mdb_txn_abort(txn);
    if (rc != 0)
        return sluice_fail(reterr, SLUICE_EIO, "balance: reading the store: %s", mdb_strerror(rc));
    return SLUICE_OK;
}
