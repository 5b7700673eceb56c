/* Log records against the configuration, and batches rows against log records.
 *
 * A record's target lists say who gets what. Laid out one after the other they are its slots, each with the function that the
 * target names; every run of every batches row crosses off its own:
 *
 *      events        0          1       2              (ordinals within)
 *      slots       f1 f2    f1 f1 f2   f3        rows: f1 -> (0..1, ordinal 0) (1, ordinal 1)   f2 -> (0, 1) (1, 2)   f3 -> (2,
 * 0) left         .  .     .  .  .    .
 *
 * What is crossed off twice, or is not the function's, is wrong in the row; what is left at the end is in no row, and would never
 * be delivered. Delayed events are the exception: theirs go to the exception table at once, and to no row. */
#include "broker/store/lmdb/verify.h"

enum {
    /* An event is delayed or not as it is gathered; its record bears the time at which it was finished, a commit later. Within
     * this much either is right, if it is the same for all its deliveries. */
    DELAY_DOUBT_MS = 60 * 1000,
};

struct tally { /* deliveries that are wrong in the same way: one line for all of them */
    uint64_t count;
    struct delivery first;
};

static void tally_add(struct tally *tally, struct delivery delivery)
{
    if (tally->count++ == 0)
        tally->first = delivery;
}

/* Sets verifying->events and ->slots. false: the record's inside is broken, and that was said. */
static bool record_lay_out(struct verifying *verifying, const struct record *record)
{
    const char *end = NULL;
    struct tally unknown = { 0 }, unreadable = { 0 };

    verifying->events.count = verifying->slots.count = 0;
    for (uint32_t i = 0; i < record->count; i++) {
        uint64_t seq = record->first_seq + i;
        struct verify_event row = { .slot = (uint32_t)verifying->slots.count };
        struct record_event stored;
        struct event event;
        if (!record_event(record, i, &stored) || (end != NULL && stored.targets - 4 != end)) {
            verify_say(verifying, DB_LOG, "event at sequence %llu: it does not begin where the one before it ends, or is cut off",
                       (unsigned long long)seq);
            return false;
        }
        end = stored.envelope.data + stored.envelope.len;
        if (!envelope_decode_stored(stored.envelope, &event)) {
            tally_add(&unreadable, (struct delivery){ seq, 0 });
        } else if (event.has_not_before) {
            row.has_not_before = true;
            row.not_before_ms = event.not_before_ms;
        }
        for (uint32_t ordinal = 0; ordinal < stored.targets_count; ordinal++) {
            uint64_t function = 0;
            if (!map_get(&verifying->targets, record_target(&stored, ordinal), &function))
                tally_add(&unknown, (struct delivery){ seq, ordinal });
            VEC_PUSH(&verifying->slots, (uint32_t)function);
        }
        verifying->unmatched += stored.targets_count == 0;
        verifying->counts.deliveries += stored.targets_count;
        VEC_PUSH(&verifying->events, row);
    }
    VEC_PUSH(&verifying->events, (struct verify_event){ .slot = (uint32_t)verifying->slots.count });
    if (end != record->bytes.data + record->bytes.len)
        verify_say(verifying, DB_LOG, "record at sequence %llu: bytes behind its last event",
                   (unsigned long long)record->first_seq);
    if (unreadable.count != 0)
        verify_say(verifying, DB_LOG, "record at sequence %llu: the envelopes of %llu events cannot be read, the first at %llu",
                   (unsigned long long)record->first_seq, (unsigned long long)unreadable.count,
                   (unsigned long long)unreadable.first.seq);
    if (unknown.count != 0)
        verify_say(verifying, DB_LOG,
                   "record at sequence %llu: %llu deliveries name targets that do not exist, the first is %llu.%u",
                   (unsigned long long)record->first_seq, (unsigned long long)unknown.count,
                   (unsigned long long)unknown.first.seq, unknown.first.ordinal);
    return true;
}

static void slots_forget(struct verifying *verifying, uint32_t function)
{
    for (size_t i = 0; i < verifying->slots.count; i++)
        if (verifying->slots.items[i] == function)
            verifying->slots.items[i] = 0;
}

static bool slot_take(struct verifying *verifying, const struct record *record, uint32_t function, struct delivery delivery)
{
    uint64_t index = delivery.seq - record->first_seq;

    if (index >= record->count)
        return false;
    const struct verify_event *event = &verifying->events.items[index];
    if (delivery.ordinal >= event[1].slot - event[0].slot)
        return false;
    uint32_t *slot = &verifying->slots.items[event->slot + delivery.ordinal];
    if (*slot != function)
        return false;
    *slot = 0;
    return true;
}

/* The batches row of a function that the record names, crossed off against the slots. */
static void record_row(struct verifying *verifying, const struct record *record, uint32_t function)
{
    uint8_t key[BATCH_KEY_BYTES];
    struct batch_row row;
    struct view value;
    struct tally wrong = { 0 };
    struct delivery before = { 0 };
    bool sorted = true;
    unsigned long long first_seq = record->first_seq;

    batch_key_encode(key, function, record->first_seq);
    if (!verify_get(verifying, DB_BATCHES, MDB_VAL_OF(key), &value)) {
        verify_say(verifying, DB_BATCHES, "function %u has no row for the record at sequence %llu, which names it", function,
                   first_seq);
        slots_forget(verifying, function);
        return;
    }
    if (!batch_row_decode(value, record->first_seq, &row) || !batch_row_check(&row)) {
        verify_say(verifying, DB_BATCHES, "function %u: its row at sequence %llu fails its check", function, first_seq);
        slots_forget(verifying, function);
        return;
    }
    if (row.committed_ms != record->committed_ms)
        verify_say(verifying, DB_BATCHES, "function %u: its row at sequence %llu has another time than the record", function,
                   first_seq);
    for (uint32_t i = 0; i < row.runs_count; i++) {
        struct run run = batch_row_run(&row, i);
        struct delivery delivery = { run.seq, run.ordinal };
        sorted = sorted && (i == 0 || delivery_compare(before, delivery) < 0);
        before = delivery;
        for (; delivery.seq < run.seq + run.len; delivery.seq++)
            if (!slot_take(verifying, record, function, delivery))
                tally_add(&wrong, delivery);
    }
    if (!sorted)
        verify_say(verifying, DB_BATCHES, "function %u: the runs of its row at sequence %llu are not in order", function,
                   first_seq);
    if (wrong.count != 0)
        verify_say(
            verifying, DB_BATCHES,
            "function %u: its row at sequence %llu has %llu deliveries that are not its own, or twice, the first is %llu.%u",
            function, first_seq, (unsigned long long)wrong.count, (unsigned long long)wrong.first.seq, wrong.first.ordinal);
}

/* What no row crossed off. */
static void record_left(struct verifying *verifying, const struct record *record)
{
    struct tally missing = { 0 }, early = { 0 }, partly = { 0 };

    for (uint32_t i = 0; i < record->count; i++) {
        const struct verify_event *event = &verifying->events.items[i];
        uint32_t all = event[1].slot - event[0].slot, left = 0, first = 0;
        for (uint32_t ordinal = 0; ordinal < all; ordinal++)
            if (verifying->slots.items[event->slot + ordinal] != 0 && left++ == 0)
                first = ordinal;
        struct delivery delivery = { record->first_seq + i, first };
        int64_t ahead_ms = event->has_not_before ? event->not_before_ms - record->committed_ms : INT64_MIN;
        if (ahead_ms < -DELAY_DOUBT_MS && left != 0)
            tally_add(&missing, delivery);
        else if (ahead_ms > DELAY_DOUBT_MS && left != all)
            tally_add(&early, delivery);
        else if (left != 0 && left != all)
            tally_add(&partly, delivery);
    }
    const struct {
        const struct tally *tally;
        const char *what;
    } lines[] = {
        { &missing, "have deliveries in no batches row" },
        { &early, "are to wait for their time, but are in a batches row" },
        { &partly, "are delayed for some of their targets only" },
    };
    for (unsigned i = 0; i < sizeof lines / sizeof lines[0]; i++)
        if (lines[i].tally->count != 0)
            verify_say(verifying, DB_LOG, "record at sequence %llu: %llu events %s, the first delivery is %llu.%u",
                       (unsigned long long)record->first_seq, (unsigned long long)lines[i].tally->count, lines[i].what,
                       (unsigned long long)lines[i].tally->first.seq, lines[i].tally->first.ordinal);
}

/* Sequences count on from record to record; only a commit that was refused for want of room leaves some out. */
static void record_place(struct verifying *verifying, uint64_t first_seq, uint32_t count)
{
    if (verifying->log_first == UINT64_MAX)
        verifying->log_first = first_seq;
    if (verifying->log_end > first_seq)
        verify_say(verifying, DB_LOG, "record at sequence %llu: the one before it reaches to %llu", (unsigned long long)first_seq,
                   (unsigned long long)verifying->log_end - 1);
    else if (verifying->log_end != 0)
        verifying->log_gaps += first_seq - verifying->log_end;
    verifying->log_end = count == 0 ? 0 : first_seq + count;
}

void verify_record(struct verifying *verifying, const MDB_val *key, const MDB_val *value)
{
    struct record record;
    uint64_t first_seq;
    uint32_t before = 0;

    verifying->counts.records++;
    if (!key_u64(key, &first_seq)) {
        verify_say(verifying, DB_LOG, "a key has %zu bytes", key->mv_size);
        return;
    }
    if (!record_open(view_of_val(value), true, &record) || record.first_seq != first_seq) {
        verify_say(verifying, DB_LOG, "record at sequence %llu (%zu bytes) fails its checksum or its structure",
                   (unsigned long long)first_seq, value->mv_size);
        map_put(&verifying->bad_records, first_seq, 1);
        record_place(verifying, first_seq, 0);
        return;
    }
    record_place(verifying, first_seq, record.count);
    verifying->counts.events += record.count;
    if (!record_lay_out(verifying, &record)) {
        map_put(&verifying->bad_records, first_seq, 1);
        return;
    }
    for (uint32_t i = 0; i < record.functions_count; i++) {
        uint32_t function = record_function(&record, i);
        if (function <= before || !verify_function(verifying, function))
            verify_say(verifying, DB_LOG, "record at sequence %llu names function %u, which %s", (unsigned long long)first_seq,
                       function, function <= before ? "is out of order" : "does not exist");
        before = function;
        record_row(verifying, &record, function);
    }
    record_left(verifying, &record);
}

void verify_log_end(struct verifying *verifying)
{
    const struct totals_row *totals = &verifying->totals;

    if (verifying->log_end > totals->next_seq)
        verify_say(verifying, DB_META, "totals: the next sequence is %llu, but the log reaches to %llu",
                   (unsigned long long)totals->next_seq, (unsigned long long)verifying->log_end - 1);
    else if (verifying->log_end != 0)
        verifying->log_gaps += totals->next_seq - verifying->log_end;
    uint64_t skipped = totals->next_seq - 1 >= totals->events_total ? totals->next_seq - 1 - totals->events_total : 0;
    if (verifying->log_gaps > skipped)
        verify_say(verifying, DB_LOG,
                   "%llu sequences are missing between its records, but only %llu were ever left out: records are lost",
                   (unsigned long long)verifying->log_gaps, (unsigned long long)skipped);
}

/* The other way round: each row has a record that names its function. What is in it was looked at with the record. */
void verify_batch(struct verifying *verifying, const MDB_val *key, const MDB_val *value)
{
    struct record record;
    struct view stored;
    uint64_t first_seq;
    uint32_t function;

    (void)value;
    if (!batch_key_decode(view_of_val(key), &function, &first_seq)) {
        verify_say(verifying, DB_BATCHES, "a key has %zu bytes", key->mv_size);
        return;
    }
    if (!verify_function(verifying, function))
        verify_say(verifying, DB_BATCHES, "the row at sequence %llu is of function %u, which does not exist",
                   (unsigned long long)first_seq, function);
    if (map_get(&verifying->bad_records, first_seq, NULL))
        return;
    if (!verify_get(verifying, DB_LOG, MDB_VAL_OF(first_seq), &stored) || !record_open(stored, false, &record)) {
        verify_say(verifying, DB_BATCHES, "function %u: its row at sequence %llu has no record in the log", function,
                   (unsigned long long)first_seq);
        return;
    }
    for (uint32_t i = 0; i < record.functions_count; i++)
        if (record_function(&record, i) == function)
            return;
    verify_say(verifying, DB_BATCHES,
               "function %u: the record at sequence %llu does not name it, so this row would stay for ever", function,
               (unsigned long long)first_seq);
}
