#include "tests/simulation/oracle.h"

#include "broker/base/assert.h"
#include "broker/base/map.h"
#include "broker/core/runs.h"

enum { AUDIT_OPEN = 100 };       /* open deliveries for which one commit more passes without an audit */

struct row {
    struct delivery delivery;
    uint32_t function, event;
    enum delivery_state now, durable;
    unsigned attempts, attempts_durable;
    bool lost;                   /* it failed with a consumer's connection: tried again at once */
    int64_t accepted_ms, failed_ms; /* failed_ms: the last failure, or the redrive, that is not sealed yet */
    bool leased, dirty;
    uint64_t seen;               /* the last audit that found it open */
};

struct change { size_t row; enum delivery_state state; unsigned attempts; };

struct rules { struct sim_rule items[SIM_RULES]; };

struct oracle {
    struct model_store *store;
    const struct sim_function *functions;
    VEC(struct sim_event) events;
    VEC(struct row) rows;
    struct map by_delivery;
    size_t told;                 /* rows the engine has been told are durable */
    VEC(size_t) dirty, open;     /* open: durable LOG or PARKED, maybe some that are not any more */
    VEC(struct change) sealed;
    int64_t sealed_wall_ms;
    struct delivery died_last;   /* people look at what has just failed */
    VEC(struct rules) rules;     /* of every configuration of the run */
    size_t rules_gathering, rules_sealed, rules_sealed_end; /* in force while the commits were gathered: the first, and past the last */
    unsigned starts_failed[SIM_FUNCTIONS]; /* and not found in a commit yet */
    uint64_t sequence_last[SIM_PRODUCERS], epoch_last[SIM_PRODUCERS], handed, audits, unaudited;
};

struct oracle *oracle_new(struct model_store *store, const struct sim_function *functions)
{
    struct oracle *oracle = calloc(1, sizeof *oracle);
    ASSERT(oracle != NULL);
    oracle->store = store;
    oracle->functions = functions;
    return oracle;
}

struct oracle *oracle_free(struct oracle *oracle)
{
    if (oracle == NULL)
        return NULL;
    VEC_DONE(&oracle->events);
    VEC_DONE(&oracle->rules);
    VEC_DONE(&oracle->rows);
    VEC_DONE(&oracle->dirty);
    VEC_DONE(&oracle->open);
    VEC_DONE(&oracle->sealed);
    map_done(&oracle->by_delivery);
    free(oracle);
    return NULL;
}

uint32_t oracle_event(struct oracle *oracle, const struct sim_event *event)
{
    VEC_PUSH(&oracle->events, *event);
    return (uint32_t)oracle->events.count - 1;
}

void oracle_event_refusable(struct oracle *oracle, uint32_t number, bool refusable)
{
    oracle->events.items[number].refusable = refusable;
}

const struct sim_event *oracle_event_at(const struct oracle *oracle, uint32_t number)
{
    return &oracle->events.items[number];
}

void oracle_configured(struct oracle *oracle, const struct sim_rule *rules)
{
    struct rules copy;
    memcpy(copy.items, rules, sizeof copy.items);
    VEC_PUSH(&oracle->rules, copy);
}

static uint64_t key_of(struct delivery delivery)
{
    return delivery.seq << 16 | delivery.ordinal;
}

static struct row *row_find(const struct oracle *oracle, struct delivery delivery)
{
    uint64_t index;
    return map_get(&oracle->by_delivery, key_of(delivery), &index) ? &oracle->rows.items[index] : NULL;
}

#define ROW_FORMAT "delivery %llu.%u of function %u"
#define ROW_ARGS(row) (unsigned long long)(row)->delivery.seq, (row)->delivery.ordinal, (row)->function

static struct row *row_get(const struct oracle *oracle, struct delivery delivery, const char *what)
{
    struct row *row = row_find(oracle, delivery);
    if (row == NULL)
        sim_fail("%s: delivery %llu.%u is not in any durable commit", what, (unsigned long long)delivery.seq, delivery.ordinal);
    return row;
}

static const struct sim_function *function_of(const struct oracle *oracle, uint32_t function)
{
    return &oracle->functions[oracle->store->queues.items[function - 1].name[1] - '0'];
}

static bool has_invoke_policy(const struct oracle *oracle, const struct row *row)
{
    return oracle->events.items[row->event].invoked >= 0 && !function_of(oracle, row->function)->retry_given;
}

static unsigned attempts_of(const struct oracle *oracle, const struct row *row)
{
    return has_invoke_policy(oracle, row) ? 3 : function_of(oracle, row->function)->attempts;
}

/* The longest pause after the attempt that failed last. */
static int64_t pause_ms(const struct oracle *oracle, const struct row *row)
{
    if (row->lost)
        return 0;
    return has_invoke_policy(oracle, row) ? (row->attempts == 1 ? 60000 : 120000) : function_of(oracle, row->function)->backoff_max_ms;
}

static void row_dirty(struct oracle *oracle, struct row *row)
{
    if (!row->dirty)
        VEC_PUSH(&oracle->dirty, (size_t)(row - oracle->rows.items));
    row->dirty = true;
}

/* ---- the life of a delivery ---- */

static uint32_t event_number(struct view envelope)
{
    struct event event;
    char text[16] = { 0 };

    if (!envelope_decode_stored(envelope, &event) || event.id.len < 2 || event.id.len >= sizeof text || event.id.data[0] != 'e')
        sim_fail("an envelope came back changed: id '%.*s'", (int)event.id.len, event.id.data);
    memcpy(text, event.id.data + 1, event.id.len - 1);
    return (uint32_t)strtoul(text, NULL, 10);
}

void oracle_handed(struct oracle *oracle, uint64_t instance, const struct handover *handover, unsigned function)
{
    struct row *row = row_get(oracle, handover->delivery, "handed over before its commit");
    const struct sim_function *of = function_of(oracle, row->function);

    if ((size_t)(row - oracle->rows.items) >= oracle->told)
        sim_fail(ROW_FORMAT " was handed over before its commit had returned", ROW_ARGS(row));
    if (of != &oracle->functions[function])
        sim_fail(ROW_FORMAT " was handed to instance %llu of f%u", ROW_ARGS(row), (unsigned long long)instance, function);
    if (row->leased)
        sim_fail(ROW_FORMAT " was handed to instance %llu while its lease lives", ROW_ARGS(row), (unsigned long long)instance);
    if (row->now != STATE_LOG && row->now != STATE_PARKED)
        sim_fail(ROW_FORMAT " was handed over again, in state %d", ROW_ARGS(row), row->now);
    if (handover->attempt != row->attempts + 1)
        sim_fail(ROW_FORMAT ": attempt %u, expected %u", ROW_ARGS(row), handover->attempt, row->attempts + 1);
    if (handover->attempt > attempts_of(oracle, row))
        sim_fail(ROW_FORMAT ": attempt %u of at most %u", ROW_ARGS(row), handover->attempt, attempts_of(oracle, row));
    if (event_number(handover->envelope) != row->event)
        sim_fail(ROW_FORMAT " came with the event of another", ROW_ARGS(row));
    row->leased = true;
    oracle->handed++;
}

bool oracle_leased(const struct oracle *oracle, struct delivery delivery)
{
    const struct row *row = row_find(oracle, delivery);
    return row != NULL && row->leased;
}

static struct row *row_unlease(struct oracle *oracle, struct delivery delivery)
{
    struct row *row = row_get(oracle, delivery, "settled");
    ASSERT(row->leased);
    row->leased = false;
    return row;
}

void oracle_succeeded(struct oracle *oracle, struct delivery delivery)
{
    struct row *row = row_unlease(oracle, delivery);
    row->now = STATE_SUCCEEDED;
    row_dirty(oracle, row);
}

void oracle_failed(struct oracle *oracle, struct delivery delivery, struct now now)
{
    struct row *row = row_unlease(oracle, delivery);
    row->now = STATE_FAILED;
    row->attempts++;
    row->failed_ms = now.wall_ms;
    row->lost = false;
    row_dirty(oracle, row);
}

void oracle_lost(struct oracle *oracle, struct delivery delivery, struct now now)
{
    oracle_failed(oracle, delivery, now);
    row_find(oracle, delivery)->lost = true;
}

void oracle_returned(struct oracle *oracle, struct delivery delivery)
{
    (void)row_unlease(oracle, delivery);
}

void oracle_start_failed(struct oracle *oracle, unsigned function)
{
    oracle->starts_failed[function]++;
}

bool oracle_any_dead(struct oracle *oracle, uint64_t chance, struct delivery *ret_delivery, uint32_t *ret_function)
{
    const struct row *last = row_find(oracle, oracle->died_last);

    if (last != NULL && last->now == STATE_DEAD && chance % 2 == 0)
        chance = (size_t)(last - oracle->rows.items);
    for (size_t i = 0; i < oracle->rows.count; i++) {
        const struct row *row = &oracle->rows.items[(i + chance) % oracle->rows.count];
        if (row->now == STATE_DEAD) {
            *ret_delivery = row->delivery;
            *ret_function = row->function;
            return true;
        }
    }
    return false;
}

void oracle_redriven(struct oracle *oracle, struct delivery delivery, bool discard, struct now now)
{
    struct row *row = row_get(oracle, delivery, "redriven");
    row->now = discard ? STATE_DISCARDED : STATE_PARKED;
    row->attempts = 0;
    row->accepted_ms = now.wall_ms;
    row_dirty(oracle, row);
}

/* ---- commits ---- */

/* It has an attempt more, and nobody had it: only a start that failed may have done that. */
static void sealed_start_failure(struct oracle *oracle, struct row *row, const struct commit_exception *op)
{
    unsigned function = (unsigned)(function_of(oracle, row->function) - oracle->functions);

    if (oracle->starts_failed[function] == 0 || row->leased || (row->now != STATE_LOG && row->now != STATE_PARKED))
        sim_fail(ROW_FORMAT " failed in state %d without having been handed to anybody, and no start had failed", ROW_ARGS(row), row->now);
    oracle->starts_failed[function]--;
    row->attempts++;
    row->now = STATE_FAILED;
    row->failed_ms = op->row.failed_ms;
    row_dirty(oracle, row);
}

static void sealed_exception(struct oracle *oracle, const struct commit_exception *op, struct now now)
{
    if (op->of_publish) {
        if (op->row.due_ms != op->row.accepted_ms || op->row.attempts != 0)
            sim_fail("a delayed event ages from another time than its start");
        return;
    }
    struct row *row = row_get(oracle, op->row.delivery, "parked or buried");
    unsigned attempts_max = attempts_of(oracle, row);
    if (op->delete)
        return; /* the audit sees whether it should have gone */
    if (op->row.attempts == row->attempts + 1)
        sealed_start_failure(oracle, row, op);
    if (op->row.function != row->function || event_number(op->row.envelope) != row->event)
        sim_fail(ROW_FORMAT " was parked with the event of another", ROW_ARGS(row));
    if (op->row.attempts != row->attempts)
        sim_fail(ROW_FORMAT " was parked with %u attempts, it has had %u", ROW_ARGS(row), op->row.attempts, row->attempts);
    if (op->table == TABLE_EXCEPTIONS) {
        if (row->now != STATE_FAILED && row->now != STATE_PARKED)
            sim_fail(ROW_FORMAT " was parked in state %d", ROW_ARGS(row), row->now);
        if (row->attempts >= attempts_max)
            sim_fail(ROW_FORMAT " was parked after its last attempt (%u)", ROW_ARGS(row), row->attempts);
        int64_t wait_ms = op->row.due_ms - row->failed_ms;
        if (row->now == STATE_FAILED && (wait_ms > pause_ms(oracle, row) || (has_invoke_policy(oracle, row) && wait_ms != pause_ms(oracle, row))))
            sim_fail(ROW_FORMAT " is tried again after %lld ms, not %lld", ROW_ARGS(row), (long long)wait_ms, (long long)pause_ms(oracle, row));
        row->now = STATE_PARKED;
    } else {
        int64_t again_ms = row->now == STATE_FAILED ? row->failed_ms + pause_ms(oracle, row) : now.wall_ms;
        if (row->leased || (row->now != STATE_FAILED && row->now != STATE_PARKED && row->now != STATE_DEAD))
            sim_fail(ROW_FORMAT " was given up in state %d", ROW_ARGS(row), row->now);
        if (row->now != STATE_DEAD && row->attempts != attempts_max && again_ms < row->accepted_ms + function_of(oracle, row->function)->max_age_ms)
            sim_fail(ROW_FORMAT " was given up after %u of %u attempts", ROW_ARGS(row), row->attempts, attempts_max);
        row->now = STATE_DEAD;
        row_dirty(oracle, row);
        oracle->died_last = row->delivery;
    }
}

void oracle_sealed(struct oracle *oracle, const struct commit *commit, struct now now)
{
    for (size_t i = 0; i < commit->exceptions.count; i++)
        sealed_exception(oracle, &commit->exceptions.items[i], now);
    oracle->sealed.count = 0;
    for (size_t i = 0; i < oracle->dirty.count; i++) {
        struct row *row = &oracle->rows.items[oracle->dirty.items[i]];
        if (row->now == STATE_FAILED)
            sim_fail(ROW_FORMAT " failed and was neither parked nor buried", ROW_ARGS(row));
        row->dirty = false;
        VEC_PUSH(&oracle->sealed, (struct change){ .row = oracle->dirty.items[i], .state = row->now, .attempts = row->attempts });
    }
    oracle->dirty.count = 0;
    memset(oracle->starts_failed, 0, sizeof oracle->starts_failed);
    oracle->sealed_wall_ms = now.wall_ms;
    oracle->rules_sealed = oracle->rules_gathering;
    oracle->rules_sealed_end = oracle->rules.count;
    oracle->rules_gathering = oracle->rules.count - 1;
}

/* An asynchronous invocation has one target, which is of no rule. */
static bool target_is(const struct oracle *oracle, int function, const struct record_event *event)
{
    if (event->targets_count != 1)
        return false;
    const struct target_row *target = &oracle->store->targets.items[record_target(event, 0) - 1].row;
    return target->rule.len == 0 && oracle->store->queues.items[target->function - 1].name[1] == (char)('0' + function);
}

static bool targets_are(const struct oracle *oracle, const struct sim_rule *rules, unsigned source, const struct record_event *event)
{
    uint32_t ordinal = 0;

    for (unsigned r = 0; r < SIM_RULES; r++) {
        if (!rules[r].enabled || (rules[r].sources >> source & 1) == 0)
            continue;
        for (unsigned t = 0; t < rules[r].targets_count; t++, ordinal++) {
            if (ordinal == event->targets_count)
                return false;
            const struct target_row *target = &oracle->store->targets.items[record_target(event, ordinal) - 1].row;
            if (target->rule.len == 0 || target->rule.data[1] != (char)('0' + r) ||
                oracle->store->queues.items[target->function - 1].name[1] != (char)('0' + rules[r].targets[t]))
                return false;
        }
    }
    return ordinal == event->targets_count;
}

static void applied_event(struct oracle *oracle, uint64_t seq, int64_t committed_ms, const struct record_event *stored)
{
    uint32_t number = event_number(stored->envelope);
    struct sim_event *event = &oracle->events.items[number];

    if (event->refusable)
        sim_fail("event e%u should have been refused, and is in the log as %llu", number, (unsigned long long)seq);
    if (event->seq != 0)
        sim_fail("event e%u is in the log twice, as %llu and %llu", number, (unsigned long long)event->seq, (unsigned long long)seq);
    event->seq = seq;
    if (event->producer >= 0) {
        uint64_t *epoch = &oracle->epoch_last[event->producer], *sequence = &oracle->sequence_last[event->producer];
        if (event->epoch < *epoch || (event->epoch == *epoch && event->sequence < *sequence))
            sim_fail("producer %d: batch %llu.%llu was applied after %llu.%llu", event->producer, (unsigned long long)event->epoch,
                     (unsigned long long)event->sequence, (unsigned long long)*epoch, (unsigned long long)*sequence);
        *epoch = event->epoch;
        *sequence = event->sequence;
    }
    size_t version = oracle->rules_sealed;
    while (version < oracle->rules_sealed_end && event->invoked < 0 && !targets_are(oracle, oracle->rules.items[version].items, event->source, stored))
        version++;
    if (event->invoked >= 0 ? !target_is(oracle, event->invoked, stored) : version == oracle->rules_sealed_end)
        sim_fail("event e%u has the wrong targets", number);
    for (uint32_t ordinal = 0; ordinal < stored->targets_count; ordinal++) {
        struct delivery delivery = { .seq = seq, .ordinal = ordinal };
        uint32_t function = oracle->store->targets.items[record_target(stored, ordinal) - 1].row.function;
        map_put(&oracle->by_delivery, key_of(delivery), oracle->rows.count);
        VEC_PUSH(&oracle->open, oracle->rows.count);
        VEC_PUSH(&oracle->rows, (struct row){ .delivery = delivery, .function = function, .event = number, .accepted_ms = committed_ms });
    }
}

static void applied_delayed(struct oracle *oracle, const struct commit *commit)
{
    for (size_t i = 0; i < commit->exceptions.count; i++) {
        const struct commit_exception *op = &commit->exceptions.items[i];
        if (!op->of_publish)
            continue;
        struct row *row = row_get(oracle, op->row.delivery, "delayed");
        if (oracle->events.items[row->event].not_before_ms != op->row.due_ms)
            sim_fail(ROW_FORMAT " was delayed until the wrong time", ROW_ARGS(row));
        row->now = row->durable = STATE_PARKED;
        row->accepted_ms = op->row.accepted_ms;
    }
}

static void audit_open(struct oracle *oracle, uint32_t function, struct delivery delivery, enum delivery_state state)
{
    struct row *row = row_get(oracle, delivery, "open in the store");

    if (row->function != function || row->durable != state)
        sim_fail(ROW_FORMAT " is in the store's state %d of function %u, but should be in %d", ROW_ARGS(row), state, function, row->durable);
    if (row->seen == oracle->audits)
        sim_fail(ROW_FORMAT " is in the store twice", ROW_ARGS(row));
    row->seen = oracle->audits;
}

static void audit_run(struct oracle *oracle, uint32_t function, struct run run)
{
    for (uint32_t i = 0; i < run.len; i++) {
        struct delivery delivery = { .seq = run.seq + i, .ordinal = run.ordinal };
        struct stored_event event;
        struct reader reader;
        audit_open(oracle, function, delivery, STATE_LOG);
        if (i % 64 != 0) /* each record of a run, about */
            continue;
        model_store_reader(oracle->store, &reader);
        if (reader.event(reader.ctx, delivery.seq, &event) != SLUICE_OK)
            sim_fail("delivery %llu.%u is open and its event was trimmed", (unsigned long long)delivery.seq, delivery.ordinal);
    }
}

static void audit_queue(struct oracle *oracle, uint32_t function)
{
    const struct model_queue *queue = &oracle->store->queues.items[function - 1];
    struct model_balance balance = model_store_balance(oracle->store, function);

    for (uint32_t i = 0; i < queue->state.holes_count; i++)
        audit_run(oracle, function, queue->state.holes[i]);
    for (size_t b = 0; b < queue->batches.count; b++) {
        const struct model_batch *batch = &queue->batches.items[b];
        for (uint32_t i = 0; i < batch->runs_count; i++) {
            struct run above;
            if (run_above(batch->runs[i], queue->state.highest, &above))
                audit_run(oracle, function, above);
        }
    }
    for (size_t i = 0; i < queue->parked.count; i++) {
        audit_open(oracle, function, queue->parked.items[i].row.delivery, STATE_PARKED);
        const struct row *row = row_find(oracle, queue->parked.items[i].row.delivery);
        if (row->attempts_durable != queue->parked.items[i].row.attempts)
            sim_fail(ROW_FORMAT " is parked with the wrong attempts", ROW_ARGS(row));
    }
    for (size_t i = 0; i < queue->dead.count; i++)
        audit_open(oracle, function, queue->dead.items[i].row.delivery, STATE_DEAD);
    if (queue->state.holes_count > FUNCTION_IN_FLIGHT_MAX)
        sim_fail("function %u has %u holes", function, queue->state.holes_count);
    if (!balance.holds)
        sim_fail("the balance of function %u does not hold: accepted %llu, succeeded %llu, dead %llu (%llu rows), expired %llu, discarded "
                 "%llu, above %llu, holes %llu, exceptions %llu (%llu rows)", function,
                 (unsigned long long)queue->state.counters[QUEUE_ACCEPTED], (unsigned long long)queue->state.counters[QUEUE_SUCCEEDED],
                 (unsigned long long)queue->state.counters[QUEUE_DEAD_LETTERED], (unsigned long long)balance.dead,
                 (unsigned long long)queue->state.counters[QUEUE_EXPIRED], (unsigned long long)queue->state.counters[QUEUE_DISCARDED],
                 (unsigned long long)balance.above, (unsigned long long)balance.holes,
                 (unsigned long long)queue->state.counters[QUEUE_EXCEPTIONS], (unsigned long long)balance.parked);
}

/* What should be open and is not: only age may have taken it. */
static void audit_missing(struct oracle *oracle)
{
    size_t kept = 0;

    for (size_t i = 0; i < oracle->open.count; i++) {
        size_t index = oracle->open.items[i];
        struct row *row = &oracle->rows.items[index];
        bool open = row->durable == STATE_LOG || row->durable == STATE_PARKED;
        if (open && row->seen != oracle->audits) {
            const struct sim_function *function = function_of(oracle, row->function);
            if (row->leased || row->now != row->durable || oracle->sealed_wall_ms < row->accepted_ms + function->max_age_ms)
                sim_fail(ROW_FORMAT " is lost: on disk it is neither open nor settled (durable %d, now %d)", ROW_ARGS(row), row->durable,
                         row->now);
            row->now = row->durable = STATE_EXPIRED;
            open = false;
        }
        if (open || row->now == STATE_PARKED)
            oracle->open.items[kept++] = index;
    }
    oracle->open.count = kept;
}

static void audit_counters(const struct oracle *oracle)
{
    static const struct { enum delivery_state state; enum queue_counter counter; } counted[] = {
        { STATE_SUCCEEDED, QUEUE_SUCCEEDED }, { STATE_DEAD, QUEUE_DEAD_LETTERED }, { STATE_EXPIRED, QUEUE_EXPIRED },
        { STATE_DISCARDED, QUEUE_DISCARDED }, { STATE_PARKED, QUEUE_EXCEPTIONS },
    };
    uint64_t figures[SIM_FUNCTIONS + 1][DELIVERY_STATES] = { 0 }, accepted[SIM_FUNCTIONS + 1] = { 0 };

    for (size_t i = 0; i < oracle->rows.count; i++) {
        figures[oracle->rows.items[i].function][oracle->rows.items[i].durable]++;
        accepted[oracle->rows.items[i].function]++;
    }
    for (uint32_t function = 1; function <= oracle->store->queues.count; function++) {
        const uint64_t *counters = oracle->store->queues.items[function - 1].state.counters;
        if (counters[QUEUE_ACCEPTED] != accepted[function])
            sim_fail("function %u accepted %llu, the log held %llu", function, (unsigned long long)counters[QUEUE_ACCEPTED],
                     (unsigned long long)accepted[function]);
        for (size_t i = 0; i < sizeof counted / sizeof *counted; i++) {
            if (counters[counted[i].counter] != figures[function][counted[i].state])
                sim_fail("function %u: stored counter %d is %llu, the model counts %llu", function, counted[i].counter,
                         (unsigned long long)counters[counted[i].counter], (unsigned long long)figures[function][counted[i].state]);
        }
    }
}

void oracle_audit(struct oracle *oracle)
{
    oracle->unaudited = 0;
    oracle->audits++;
    for (uint32_t function = 1; function <= oracle->store->queues.count; function++)
        audit_queue(oracle, function);
    audit_missing(oracle);
    audit_counters(oracle);
    model_store_turn_end(oracle->store);
}

void oracle_applied(struct oracle *oracle, const struct commit *commit)
{
    for (size_t i = 0; i < commit->records.count; i++) {
        struct record record;
        struct record_event event;
        ASSERT(record_open((struct view){ commit->log.data + commit->records.items[i].offset, commit->records.items[i].len }, false, &record));
        for (uint32_t e = 0; e < record.count; e++) {
            ASSERT(record_event(&record, e, &event));
            applied_event(oracle, record.first_seq + e, record.committed_ms, &event);
        }
    }
    applied_delayed(oracle, commit);
    for (size_t i = 0; i < oracle->sealed.count; i++) {
        const struct change *change = &oracle->sealed.items[i];
        struct row *row = &oracle->rows.items[change->row];
        if (change->state == STATE_PARKED && row->durable == STATE_DEAD) /* redriven: open again */
            VEC_PUSH(&oracle->open, change->row);
        row->durable = change->state;
        row->attempts_durable = change->attempts;
    }
    oracle->sealed.count = 0;
    /* A deep backlog is looked through less often: what is wrong in it stays wrong. */
    if (++oracle->unaudited * AUDIT_OPEN >= oracle->open.count)
        oracle_audit(oracle);
}

void oracle_durable(struct oracle *oracle)
{
    oracle->told = oracle->rows.count;
}

void oracle_refused(struct oracle *oracle)
{
    for (size_t i = 0; i < oracle->sealed.count; i++)
        row_dirty(oracle, &oracle->rows.items[oracle->sealed.items[i].row]);
    oracle->sealed.count = 0;
}

void oracle_crashed(struct oracle *oracle)
{
    for (size_t i = 0; i < oracle->rows.count; i++) {
        struct row *row = &oracle->rows.items[i];
        row->now = row->durable;
        row->attempts = row->attempts_durable;
        row->leased = row->dirty = false;
    }
    oracle->told = oracle->rows.count;
    oracle->dirty.count = oracle->sealed.count = 0;
    oracle->rules_gathering = oracle->rules.count - 1;
}

/* ---- looking ---- */

void oracle_compare(const struct oracle *oracle, const struct engine *engine, struct now now)
{
    for (uint32_t id = 1; id <= engine_functions_count(engine); id++) {
        struct function_info info;
        engine_function_info(engine, id, now, &info);
        if (info.pending < info.ready + info.leased + info.retrying)
            sim_fail("function %s: pending %llu is less than ready %llu + leased %llu + retrying %llu", info.name,
                     (unsigned long long)info.pending, (unsigned long long)info.ready, (unsigned long long)info.leased,
                     (unsigned long long)info.retrying);
        if (info.leased > FUNCTION_IN_FLIGHT_MAX)
            sim_fail("function %s: %llu leased", info.name, (unsigned long long)info.leased);
    }
    model_store_turn_end(oracle->store);
}

static bool row_is_open(const struct row *row)
{
    return row->now == STATE_LOG || row->now == STATE_PARKED || row->now == STATE_FAILED;
}

uint64_t oracle_open(const struct oracle *oracle)
{
    uint64_t open = 0;

    for (size_t i = 0; i < oracle->open.count; i++)
        open += row_is_open(&oracle->rows.items[oracle->open.items[i]]);
    return open;
}

uint64_t oracle_open_of(const struct oracle *oracle, const char *function)
{
    uint64_t open = 0;

    for (size_t i = 0; i < oracle->open.count; i++) {
        const struct row *row = &oracle->rows.items[oracle->open.items[i]];
        open += row_is_open(row) && strcmp(function_of(oracle, row->function)->name, function) == 0;
    }
    return open;
}

void oracle_figures(const struct oracle *oracle, struct oracle_figures *ret_figures)
{
    *ret_figures = (struct oracle_figures){ .events = oracle->events.count, .deliveries = oracle->rows.count, .handed = oracle->handed };
    for (size_t i = 0; i < oracle->rows.count; i++)
        ret_figures->by_state[oracle->rows.items[i].now]++;
}
