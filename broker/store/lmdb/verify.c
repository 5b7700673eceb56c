/* Every record, every counter, every table against each other, from one snapshot. Reads all there is once, and looks up beside
 * it: the time is that of reading the file. Memory: a number for each function and target, and what one record holds. Works on
 * stored bytes as they are: nothing here believes a length, an id or an order before it was looked at. */
#include "broker/store/lmdb/verify.h"

#include <stdarg.h>
#include <stdio.h>

#include "broker/core/config.h"
#include "broker/core/producers.h"

enum { PROGRESS_PAUSE_US = 100 * 1000 };

void verify_say(struct verifying *verifying, enum db db, const char *format, ...)
{
    char text[SLUICE_ERROR_TEXT_MAX];
    va_list args;

    if (verifying->counts.findings++ >= VERIFY_LISTED_MAX)
        return;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    verifying->to->on_finding(verifying->to->ctx, store_table_name(db), text);
}

static void tell_progress(struct verifying *verifying, enum db db, bool now)
{
    const struct store_verify *to = verifying->to;

    if (to->on_progress == NULL || (!now && verifying->counts.rows % 64 != 0))
        return;
    int64_t us = store_mono_us();
    if (!now && us - verifying->told_us < PROGRESS_PAUSE_US)
        return;
    verifying->told_us = us;
    to->on_progress(to->ctx, store_table_name(db), verifying->counts.rows, verifying->rows_total);
}

bool verify_get(struct verifying *verifying, enum db db, MDB_val key, struct view *ret_value)
{
    MDB_val value;

    if (mdb_get(verifying->txn, verifying->store->dbis[db], &key, &value) != 0)
        return false;
    *ret_value = view_of_val(&value);
    return true;
}

void verify_walk(struct verifying *verifying, enum db db, verify_row *row)
{
    MDB_cursor *cursor;
    MDB_val key, value;
    MDB_stat stat = { 0 };
    uint64_t rows = 0;

    int rc = mdb_stat(verifying->txn, verifying->store->dbis[db], &stat);
    if (rc == 0)
        rc = mdb_cursor_open(verifying->txn, verifying->store->dbis[db], &cursor);
    if (rc != 0) {
        verify_say(verifying, db, "the table cannot be read: %s", mdb_strerror(rc));
        return;
    }
    while ((rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0) {
        row(verifying, &key, &value);
        rows++;
        verifying->counts.rows++;
        tell_progress(verifying, db, false);
    }
    mdb_cursor_close(cursor);
    if (rc != MDB_NOTFOUND)
        verify_say(verifying, db, "reading it ended after %llu of %llu rows: %s", (unsigned long long)rows,
                   (unsigned long long)stat.ms_entries, mdb_strerror(rc));
    else if (rows != stat.ms_entries)
        verify_say(verifying, db, "it has %llu rows, and says that it has %llu", (unsigned long long)rows,
                   (unsigned long long)stat.ms_entries);
}

/* ---- functions, targets, meta, producers ---- */

static void verify_function_row(struct verifying *verifying, const MDB_val *key, const MDB_val *value)
{
    struct view name = view_of_val(value);
    uint32_t id, other;

    if (!key_u32(key, &id) || id == 0) {
        verify_say(verifying, DB_FUNCTIONS, "a key is no function id");
        return;
    }
    map_put(&verifying->functions, id, 1);
    if (name.len == 0)
        verify_say(verifying, DB_FUNCTIONS, "function %u has no name", id);
    else if (names_get(&verifying->names, name, &other))
        verify_say(verifying, DB_FUNCTIONS, "functions %u and %u have the same name '%.*s'", other, id,
                   (int)(name.len > 64 ? 64 : name.len), name.data);
    else
        names_put(&verifying->names, name, id);
}

static void verify_target_row(struct verifying *verifying, const MDB_val *key, const MDB_val *value)
{
    struct target_row row;
    uint32_t id;

    if (!key_u32(key, &id) || id == 0) {
        verify_say(verifying, DB_TARGETS, "a key is no target id");
        return;
    }
    if (!target_row_decode(view_of_val(value), id, &row)) {
        verify_say(verifying, DB_TARGETS, "target %u fails its check", id);
        return;
    }
    map_put(&verifying->targets, id, row.function);
    if (!verify_function(verifying, row.function))
        verify_say(verifying, DB_TARGETS, "target %u is of function %u, which does not exist", id, row.function);
    if (row.input > TARGET_INPUT_CONSTANT)
        verify_say(verifying, DB_TARGETS, "target %u has input %u, which this program does not know", id, row.input);
}

static void verify_meta_row(struct verifying *verifying, const MDB_val *key, const MDB_val *value)
{
    struct view name = view_of_val(key);

    (void)value; /* both were read when the store was opened, which refuses what is wrong with them */
    if (!view_is(name, "format") && !view_is(name, "totals"))
        verify_say(verifying, DB_META, "it has a key of %zu bytes that this program does not know", name.len);
}

/* The window says which of the sequences 1 .. highest were applied; the row was written because one was. */
static void verify_producer_row(struct verifying *verifying, const MDB_val *key, const MDB_val *value)
{
    struct producer_row row;
    bool any = false, before_first = false;

    verifying->counts.producers++;
    if (!producer_row_decode(view_of_val(key), view_of_val(value), &row)) {
        verify_say(verifying, DB_PRODUCERS, "row %llu fails its check", (unsigned long long)verifying->counts.producers);
        return;
    }
    for (unsigned i = 0; i < PRODUCER_WINDOW; i++) {
        bool applied = (row.window[i / 64] >> (i % 64) & 1) != 0;
        any = any || applied;
        before_first = before_first || (applied && i >= row.highest);
    }
    if (row.highest == 0 || !any || before_first)
        verify_say(verifying, DB_PRODUCERS, "row %llu: highest sequence %llu, but %s was applied",
                   (unsigned long long)verifying->counts.producers, (unsigned long long)row.highest,
                   before_first ? "one below 1" : "none of its window");
}

static void verify_totals(struct verifying *verifying)
{
    const struct totals_row *totals = &verifying->totals;

    if (totals->next_seq == 0 || totals->events_total > totals->next_seq - 1)
        verify_say(verifying, DB_META, "totals: %llu events were taken, but the next sequence is %llu",
                   (unsigned long long)totals->events_total, (unsigned long long)totals->next_seq);
    if (totals->unmatched_total > totals->events_total)
        verify_say(verifying, DB_META, "totals: %llu events of %llu were unmatched", (unsigned long long)totals->unmatched_total,
                   (unsigned long long)totals->events_total);
    if (verifying->unmatched > totals->unmatched_total)
        verify_say(verifying, DB_META, "totals: %llu events were unmatched, but the log has %llu of them",
                   (unsigned long long)totals->unmatched_total, (unsigned long long)verifying->unmatched);
}

/* ---- counters against what was counted ---- */

static uint64_t counted(const struct map *counts, uint32_t function)
{
    uint64_t count = 0;

    (void)map_get(counts, function, &count);
    return count;
}

static void verify_balance(void *ctx, const struct balance_row *row)
{
    struct verifying *verifying = ctx;
    struct queue_state state = { 0 };
    struct view value;
    uint64_t right = row->succeeded + row->dead_lettered + row->expired + row->discarded + row->pending;
    int name_len = (int)(row->name.len > 64 ? 64 : row->name.len);
    uint32_t function = row->function;

    if (!verify_function(verifying, function))
        return; /* its queue row was reported */
    if (verify_get(verifying, DB_QUEUES, MDB_VAL_OF(function), &value) && !queue_row_decode(value, function, &state))
        return; /* likewise */
    uint64_t parked = counted(&verifying->parked, function), due = counted(&verifying->due, function);
    uint64_t before = verifying->counts.findings;
    if (row->accepted != right)
        verify_say(
            verifying, DB_QUEUES,
            "function '%.*s': accepted %llu, but succeeded %llu + dead-lettered %llu + expired %llu + discarded %llu + pending "
            "%llu are %llu",
            name_len, row->name.data, (unsigned long long)row->accepted, (unsigned long long)row->succeeded,
            (unsigned long long)row->dead_lettered, (unsigned long long)row->expired, (unsigned long long)row->discarded,
            (unsigned long long)row->pending, (unsigned long long)right);
    if (row->dead_lettered != row->dead_rows)
        verify_say(verifying, DB_QUEUES, "function '%.*s': dead-lettered %llu, but table 'dead' has %llu rows of it", name_len,
                   row->name.data, (unsigned long long)row->dead_lettered, (unsigned long long)row->dead_rows);
    if (state.counters[QUEUE_EXCEPTIONS] != parked)
        verify_say(verifying, DB_QUEUES, "function '%.*s': exceptions %llu, but that table has %llu rows of it", name_len,
                   row->name.data, (unsigned long long)state.counters[QUEUE_EXCEPTIONS], (unsigned long long)parked);
    if (parked != due)
        verify_say(verifying, DB_DUE, "function '%.*s': %llu exceptions, but %llu due times", name_len, row->name.data,
                   (unsigned long long)parked, (unsigned long long)due);
    if (!row->holds && verifying->counts.findings == before)
        verify_say(verifying, DB_QUEUES, "function '%.*s': pending cannot be counted, a row of batches is unreadable", name_len,
                   row->name.data);
}

/* ---- all of it ---- */

static void verify_tables(struct verifying *verifying)
{
    static const struct {
        enum db db;
        verify_row *row;
        void (*end)(struct verifying *verifying); /* after its last row */
    } order[] = {
        { DB_FUNCTIONS, verify_function_row, NULL },
        { DB_TARGETS, verify_target_row, NULL },
        { DB_LOG, verify_record, verify_log_end },
        { DB_META, verify_meta_row, verify_totals },
        { DB_BATCHES, verify_batch, NULL },
        { DB_QUEUES, verify_queue, NULL },
        { DB_EXCEPTIONS, verify_exception, NULL },
        { DB_DEAD, verify_dead, NULL },
        { DB_DUE, verify_due, NULL },
        { DB_PRODUCERS, verify_producer_row, NULL },
    };
    _Static_assert(sizeof order / sizeof order[0] == DB_COUNT, "every table is walked");
    MDB_stat stat;

    for (unsigned i = 0; i < DB_COUNT; i++)
        if (mdb_stat(verifying->txn, verifying->store->dbis[order[i].db], &stat) == 0)
            verifying->rows_total += stat.ms_entries;
    for (unsigned i = 0; i < DB_COUNT; i++) {
        tell_progress(verifying, order[i].db, true);
        verify_walk(verifying, order[i].db, order[i].row);
        if (order[i].end != NULL)
            order[i].end(verifying);
    }
    tell_progress(verifying, order[DB_COUNT - 1].db, true);
}

static enum sluice_err verify_all(struct verifying *verifying, struct sluice_error *reterr)
{
    struct store *store = verifying->store;

    enum sluice_err err = totals_read(store, verifying->txn, &verifying->totals, reterr);
    if (err != SLUICE_OK)
        return err;
    int rc = mdb_cursor_open(verifying->txn, store->dbis[DB_BATCHES], &verifying->batches);
    if (rc == 0)
        rc = mdb_cursor_open(verifying->txn, store->dbis[DB_LOG], &verifying->log);
    if (rc == 0) {
        verify_tables(verifying);
        rc = balance_rows(store, verifying->txn, verify_balance, verifying);
    }
    if (rc != 0)
        return sluice_fail(reterr, SLUICE_EIO, "verify: reading the store: %s", mdb_strerror(rc));
    return SLUICE_OK;
}

enum sluice_err store_verify(struct store *store, const struct store_verify *verify, struct store_verified *ret_counts,
                             struct sluice_error *reterr)
{
    struct verifying verifying = { .store = store, .to = verify, .log_first = UINT64_MAX };

    int rc = mdb_txn_begin(store->env, NULL, MDB_RDONLY, &verifying.txn);
    if (rc != 0)
        return sluice_fail(reterr, SLUICE_EIO, "verify: cannot read the store: %s", mdb_strerror(rc));
    enum sluice_err err = verify_all(&verifying, reterr);
    if (verifying.batches != NULL)
        mdb_cursor_close(verifying.batches);
    if (verifying.log != NULL)
        mdb_cursor_close(verifying.log);
    mdb_txn_abort(verifying.txn);
    struct map *maps[] = { &verifying.functions, &verifying.targets, &verifying.bad_records, &verifying.parked, &verifying.due };
    for (unsigned i = 0; i < sizeof maps / sizeof maps[0]; i++)
        map_done(maps[i]);
    names_done(&verifying.names);
    VEC_DONE(&verifying.events);
    VEC_DONE(&verifying.slots);
    if (err == SLUICE_OK)
        *ret_counts = verifying.counts;
    return err;
}
