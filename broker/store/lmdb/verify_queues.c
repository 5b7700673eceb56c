/* Queues against batches rows; exceptions, dead letters and due times against records, queues and each other. A delivery is in
 * one place: open in the log's queue (above the highest settled, or a hole below it), parked, dead, or nowhere because it is
 * done. */
#include "broker/store/lmdb/verify.h"

#define REASON_CORRUPT "Sluice.Corrupt" /* of a delivery whose record was unreadable: it has no target and no event */

/* The last batches row of `function` that begins at or below `seq`. */
static bool row_at(struct verifying *verifying, uint32_t function, uint64_t seq, struct batch_row *ret_row)
{
    uint8_t bytes[BATCH_KEY_BYTES];
    MDB_val key = MDB_VAL_OF(bytes), value;
    uint32_t row_function = 0;
    uint64_t first_seq = 0;

    batch_key_encode(bytes, function, seq);
    int rc = mdb_cursor_get(verifying->batches, &key, &value, MDB_SET_RANGE);
    if (rc != 0)
        rc = mdb_cursor_get(verifying->batches, &key, &value, MDB_LAST);
    else if (key.mv_size != sizeof bytes || memcmp(key.mv_data, bytes, sizeof bytes) != 0)
        rc = mdb_cursor_get(verifying->batches, &key, &value, MDB_PREV);
    return rc == 0 && batch_key_decode(view_of_val(&key), &row_function, &first_seq) && row_function == function &&
           !map_get(&verifying->bad_records, first_seq, NULL) && batch_row_decode(view_of_val(&value), first_seq, ret_row) &&
           batch_row_check(ret_row);
}

/* How many deliveries (seq, ordinal), (seq + 1, ordinal) ... the row has in one run; 0: not even the first. */
static uint64_t row_reach(const struct batch_row *row, struct delivery delivery)
{
    for (uint32_t i = 0; i < row->runs_count; i++) {
        struct run run = batch_row_run(row, i);
        if (run.ordinal == delivery.ordinal && run.seq <= delivery.seq && delivery.seq - run.seq < run.len)
            return run.seq + run.len - delivery.seq;
    }
    return 0;
}

/* Is the record that would hold `seq` one that cannot be compared with? */
static bool in_bad_record(struct verifying *verifying, uint64_t seq)
{
    MDB_val key = MDB_VAL_OF(seq), value;
    uint64_t first_seq;

    if (verifying->bad_records.count == 0)
        return false;
    int rc = mdb_cursor_get(verifying->log, &key, &value, MDB_SET_RANGE);
    if (rc != 0)
        rc = mdb_cursor_get(verifying->log, &key, &value, MDB_LAST);
    else if (key_u64(&key, &first_seq) && first_seq != seq)
        rc = mdb_cursor_get(verifying->log, &key, &value, MDB_PREV);
    return rc == 0 && key_u64(&key, &first_seq) && map_get(&verifying->bad_records, first_seq, NULL);
}

/* Every delivery of the hole is in a row: a hole may reach over several. */
static void verify_hole(struct verifying *verifying, uint32_t function, struct run hole)
{
    struct delivery at = { hole.seq, hole.ordinal };
    uint64_t end = hole.seq + hole.len;

    while (at.seq < end) {
        struct batch_row row;
        uint64_t reach = row_at(verifying, function, at.seq, &row) ? row_reach(&row, at) : 0;
        if (reach == 0) {
            if (!in_bad_record(verifying, at.seq))
                verify_say(verifying, DB_QUEUES,
                           "function %u: delivery %llu.%u is open below the highest settled, but in no batches row", function,
                           (unsigned long long)at.seq, at.ordinal);
            return;
        }
        at.seq += reach;
    }
}

static void verify_holes(struct verifying *verifying, const struct queue_state *state, struct view value)
{
    struct map ends = { 0 }; /* ordinal -> one behind the last hole of it */
    struct run before = { 0 };

    for (uint32_t i = 0; i < state->holes_count; i++) {
        struct run hole = queue_row_hole(value, i);
        struct delivery first = { hole.seq, hole.ordinal }, last = { hole.seq + hole.len - 1, hole.ordinal };
        uint64_t end = 0;
        (void)map_get(&ends, hole.ordinal, &end);
        if (i > 0 && delivery_compare((struct delivery){ before.seq, before.ordinal }, first) >= 0)
            verify_say(verifying, DB_QUEUES, "function %u: hole %u is not in order", state->function, i);
        else if (hole.seq < end)
            verify_say(verifying, DB_QUEUES, "function %u: hole %u has deliveries of another", state->function, i);
        if (delivery_compare(last, state->highest) >= 0)
            verify_say(verifying, DB_QUEUES, "function %u: hole %u reaches to %llu.%u, not below the highest settled %llu.%u",
                       state->function, i, (unsigned long long)last.seq, last.ordinal, (unsigned long long)state->highest.seq,
                       state->highest.ordinal);
        map_put(&ends, hole.ordinal, hole.seq + hole.len);
        before = hole;
        verify_hole(verifying, state->function, hole);
    }
    map_done(&ends);
}

void verify_queue(struct verifying *verifying, const MDB_val *key, const MDB_val *value)
{
    struct queue_state state;
    struct batch_row row;
    uint32_t function;

    if (!key_u32(key, &function)) {
        verify_say(verifying, DB_QUEUES, "a key has %zu bytes", key->mv_size);
        return;
    }
    if (!verify_function(verifying, function))
        verify_say(verifying, DB_QUEUES, "a row is of function %u, which does not exist", function);
    if (!queue_row_decode(view_of_val(value), function, &state)) {
        verify_say(verifying, DB_QUEUES, "function %u: its row fails its check", function);
        return;
    }
    if (state.highest.seq >= verifying->totals.next_seq)
        verify_say(verifying, DB_QUEUES, "function %u: the highest settled is %llu.%u, but the next sequence is %llu", function,
                   (unsigned long long)state.highest.seq, state.highest.ordinal, (unsigned long long)verifying->totals.next_seq);
    else if (state.highest.seq >= verifying->log_first && !in_bad_record(verifying, state.highest.seq) &&
             !(row_at(verifying, function, state.highest.seq, &row) && row_reach(&row, state.highest) != 0))
        verify_say(verifying, DB_QUEUES, "function %u: the highest settled %llu.%u is in no batches row", function,
                   (unsigned long long)state.highest.seq, state.highest.ordinal);
    verify_holes(verifying, &state, view_of_val(value));
}

/* ---- parked and dead ---- */

/* Rows come function by function: its queue row is looked up once. */
static void queue_of(struct verifying *verifying, uint32_t function)
{
    if (verifying->queue_function == function)
        return;
    verifying->queue_function = function;
    verifying->queue = (struct queue_state){ 0 };
    verifying->queue_readable =
        !verify_get(verifying, DB_QUEUES, MDB_VAL_OF(function), &verifying->queue_value) || /* all is open */
        queue_row_decode(verifying->queue_value, function, &verifying->queue);
}

/* Does the log's queue still hold it? */
static bool is_open(struct verifying *verifying, uint32_t function, struct delivery delivery)
{
    struct batch_row row;

    queue_of(verifying, function);
    if (!verifying->queue_readable)
        return false; /* nobody knows */
    if (delivery_compare(delivery, verifying->queue.highest) > 0)
        return row_at(verifying, function, delivery.seq, &row) && row_reach(&row, delivery) != 0;
    for (uint32_t i = 0; i < verifying->queue.holes_count; i++) {
        struct run hole = queue_row_hole(verifying->queue_value, i);
        if (hole.seq > delivery.seq)
            return false;
        if (hole.ordinal == delivery.ordinal && delivery.seq - hole.seq < hole.len)
            return true;
    }
    return false;
}

/* The copy against the log, as long as that still has the event. NULL: they agree. */
static const char *unlike_log(struct verifying *verifying, const struct exception *row)
{
    uint64_t seq = row->delivery.seq, first_seq;
    MDB_val key = MDB_VAL_OF(seq), value;
    struct record record;
    struct record_event event;

    if (seq < verifying->log_first || in_bad_record(verifying, seq))
        return NULL;
    int rc = mdb_cursor_get(verifying->log, &key, &value, MDB_SET_RANGE);
    if (rc != 0)
        rc = mdb_cursor_get(verifying->log, &key, &value, MDB_LAST);
    else if (key_u64(&key, &first_seq) && first_seq != seq)
        rc = mdb_cursor_get(verifying->log, &key, &value, MDB_PREV);
    if (rc != 0 || !record_open(view_of_val(&value), false, &record) || seq - record.first_seq >= record.count ||
        !record_event(&record, (uint32_t)(seq - record.first_seq), &event))
        return "its event is not in the log, which has those before it";
    if (row->delivery.ordinal >= event.targets_count)
        return "its event has fewer targets in the log";
    if (row->target != 0 && record_target(&event, row->delivery.ordinal) != row->target)
        return "its target is another in the log";
    if (row->envelope.len != 0 && !view_equals(row->envelope, event.envelope))
        return "its event is not what the log has";
    return NULL;
}

/* NULL: nothing is wrong with it. */
static const char *exception_wrong(struct verifying *verifying, const struct exception *row)
{
    uint64_t function = 0;
    struct event event;
    bool lost = row->target == 0 && view_is(row->reason, REASON_CORRUPT);

    if (row->delivery.seq == 0 || row->delivery.seq >= verifying->totals.next_seq)
        return "that sequence was never given";
    if (!lost && (!map_get(&verifying->targets, row->target, &function) || function != row->function))
        return "its target does not exist, or is of another function";
    if (row->reason.len > EXCEPTION_REASON_MAX || row->message.len > EXCEPTION_MESSAGE_MAX ||
        row->output.len > EXCEPTION_OUTPUT_MAX)
        return "its reason, message or output is longer than any may be";
    if (!lost && !envelope_decode_stored(row->envelope, &event))
        return "the envelope of its event cannot be read";
    if (is_open(verifying, row->function, row->delivery))
        return "it is open in the log's queue as well";
    return unlike_log(verifying, row);
}

static bool parked_row(struct verifying *verifying, enum db db, const MDB_val *key, const MDB_val *value,
                       struct exception *ret_row)
{
    struct delivery delivery;
    uint32_t function;

    if (!delivery_key_decode(view_of_val(key), &function, &delivery)) {
        verify_say(verifying, db, "a key has %zu bytes", key->mv_size);
        return false;
    }
    if (db == DB_EXCEPTIONS) {
        uint64_t count = 0;
        (void)map_get(&verifying->parked, function, &count);
        map_put(&verifying->parked, function, count + 1);
    }
    if (!verify_function(verifying, function))
        verify_say(verifying, db, "delivery %llu.%u is of function %u, which does not exist", (unsigned long long)delivery.seq,
                   delivery.ordinal, function);
    if (!exception_row_decode(view_of_val(value), function, delivery, ret_row)) {
        verify_say(verifying, db, "function %u, delivery %llu.%u: it fails its checksum", function,
                   (unsigned long long)delivery.seq, delivery.ordinal);
        return false;
    }
    const char *wrong = exception_wrong(verifying, ret_row);
    if (wrong != NULL)
        verify_say(verifying, db, "function %u, delivery %llu.%u: %s", function, (unsigned long long)delivery.seq,
                   delivery.ordinal, wrong);
    return true;
}

void verify_exception(struct verifying *verifying, const MDB_val *key, const MDB_val *value)
{
    uint8_t due[DUE_KEY_BYTES];
    struct exception row;
    struct view nothing;

    if (!parked_row(verifying, DB_EXCEPTIONS, key, value, &row))
        return;
    if (row.due_ms >= 0) {
        due_key_encode(due, row.function, (struct due_key){ .due_ms = row.due_ms, .delivery = row.delivery });
        if (verify_get(verifying, DB_DUE, MDB_VAL_OF(due), &nothing))
            return;
    }
    verify_say(verifying, DB_EXCEPTIONS, "function %u, delivery %llu.%u: it has no due time, and would never be tried again",
               row.function, (unsigned long long)row.delivery.seq, row.delivery.ordinal);
}

void verify_dead(struct verifying *verifying, const MDB_val *key, const MDB_val *value)
{
    struct exception row;
    struct view parked;

    if (parked_row(verifying, DB_DEAD, key, value, &row) && verify_get(verifying, DB_EXCEPTIONS, *key, &parked))
        verify_say(verifying, DB_DEAD, "function %u, delivery %llu.%u: it waits in table 'exceptions' as well", row.function,
                   (unsigned long long)row.delivery.seq, row.delivery.ordinal);
}

void verify_due(struct verifying *verifying, const MDB_val *key, const MDB_val *value)
{
    uint8_t bytes[DELIVERY_KEY_BYTES];
    struct exception row;
    struct due_key due;
    struct view parked;
    uint32_t function;
    uint64_t count = 0;

    if (!due_key_decode(view_of_val(key), &function, &due)) {
        verify_say(verifying, DB_DUE, "a key of %zu bytes is no due time", key->mv_size);
        return;
    }
    (void)map_get(&verifying->due, function, &count);
    map_put(&verifying->due, function, count + 1);
    delivery_key_encode(bytes, function, due.delivery);
    bool found = verify_get(verifying, DB_EXCEPTIONS, MDB_VAL_OF(bytes), &parked);
    if (!found || (exception_row_decode(parked, function, due.delivery, &row) && row.due_ms != due.due_ms))
        verify_say(verifying, DB_DUE, "function %u, delivery %llu.%u: %s", function, (unsigned long long)due.delivery.seq,
                   due.delivery.ordinal, found ? "it is due at another time" : "it is due, but not in table 'exceptions'");
    if (value->mv_size != 0)
        verify_say(verifying, DB_DUE, "function %u, delivery %llu.%u: bytes where none belong", function,
                   (unsigned long long)due.delivery.seq, due.delivery.ordinal);
}
