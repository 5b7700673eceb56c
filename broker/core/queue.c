/* queue.c - one function's queue. On disk: rows (what each log record holds for it), the highest settled delivery and the holes below
 * it, and the exceptions. In memory: a page of what is ready, and the next due exceptions; the rest is a number.
 *
 *      settled ........ highest          rows after paged_row
 *   ----o--o-------o------|==========|----------------------->  sequence
 *       holes: ready or leased  ready      unpaged (counted)
 *
 * Deliveries are always leased from the lowest, so every open one below `highest` is in memory, and the holes that the next commit
 * writes can be listed from `ready` and the leases. */
#include "broker/core/engine_internal.h"

static int run_compare(const void *a, const void *b)
{
    const struct run *left = a, *right = b;
    return delivery_compare((struct delivery){ left->seq, left->ordinal }, (struct delivery){ right->seq, right->ordinal });
}

/* The row that holds the highest settled delivery: what it has above is open too. Cut at `highest`, two runs of different ordinals may
 * change places. */
static void recover_straddling(struct function *function, const struct reader *reader, const struct batch_row *row)
{
    VEC(struct run) open = { 0 };

    for (uint32_t i = 0; i < row->runs_count; i++) {
        struct run above;
        if (run_above(reader->batch_run(row, i), function->highest, &above))
            VEC_PUSH(&open, above);
    }
    if (open.count > 1)
        qsort(open.items, open.count, sizeof *open.items, run_compare);
    for (size_t i = 0; i < open.count; i++) {
        runs_push(&function->ready, open.items[i]);
        function->unpaged -= function->unpaged < open.items[i].len ? function->unpaged : open.items[i].len;
    }
    VEC_DONE(&open);
}

void queue_recover(struct engine *engine, struct function *function)
{
    const struct reader *reader = &engine->world.reader;
    struct batch_row row;
    uint64_t holes = 0;

    for (uint32_t i = 0; i < function->restored_holes_count; i++) {
        runs_push(&function->ready, function->restored_holes[i]);
        holes += function->restored_holes[i].len;
    }
    free(function->restored_holes);
    function->restored_holes = NULL;
    uint64_t open = function_pending(function) - function->counters[QUEUE_EXCEPTIONS];
    function->unpaged = open >= holes ? open - holes : 0;
    function->due_stale = true;
    if (function->highest.seq == 0 || !reader->batch_at(reader->ctx, function->id, function->highest.seq, &row))
        return;
    function->paged_row = row.first_seq;
    recover_straddling(function, reader, &row);
}

void queue_page(struct engine *engine, struct function *function)
{
    const struct reader *reader = &engine->world.reader;
    struct batch_row row;

    while (function->unpaged > 0 && function->ready.deliveries < READY_PAGE) {
        if (!reader->batch_after(reader->ctx, function->id, function->paged_row, &row)) {
            engine_log(engine, LOG_ERROR, "event=rows-missing function=%s after=%llu missing=%llu msg=\"the log has fewer deliveries than "
                       "the counters say; run: sluice balance\"", function->name, (unsigned long long)function->paged_row,
                       (unsigned long long)function->unpaged);
            function->unpaged = 0;
            return;
        }
        function->paged_row = row.first_seq;
        for (uint32_t i = 0; i < row.runs_count; i++)
            runs_push(&function->ready, reader->batch_run(&row, i));
        function->unpaged -= function->unpaged < row.count ? function->unpaged : row.count;
    }
}

static void due_load(struct engine *engine, struct function *function)
{
    const struct reader *reader = &engine->world.reader;
    struct due_key key = { 0 };

    function->due.count = function->due_head = 0;
    function->due_stale = false;
    while (function->due.count < DUE_WINDOW) {
        if (!reader->due_after(reader->ctx, function->id, key, &key)) {
            function->due_complete = true;
            return;
        }
        if (!map_get(&function->claims, claim_key(key.delivery), NULL))
            VEC_PUSH(&function->due, key);
    }
    function->due_complete = false;
}

static void due_refresh(struct engine *engine, struct function *function)
{
    if (function->counters[QUEUE_EXCEPTIONS] == 0) {
        function->due.count = function->due_head = 0;
        function->due_stale = false;
        function->due_complete = true;
    } else if (function->due_stale || (function->due_head == function->due.count && !function->due_complete)) {
        due_load(engine, function);
    }
}

uint64_t queue_available(struct engine *engine, struct function *function, struct now now)
{
    uint64_t due = 0;

    due_refresh(engine, function);
    for (size_t i = function->due_head; i < function->due.count && function->due.items[i].due_ms <= now.wall_ms; i++)
        due++;
    return function->ready.deliveries + function->unpaged + due;
}

int64_t queue_due_ms(const struct function *function)
{
    return function->due_head < function->due.count ? function->due.items[function->due_head].due_ms : 0;
}

static int64_t parked_expiry_ms(struct engine *engine, const struct function *function)
{
    struct exception row;

    if (function->due_head == function->due.count)
        return 0;
    const struct due_key *first = &function->due.items[function->due_head];
    if (engine->world.reader.exception(engine->world.reader.ctx, TABLE_EXCEPTIONS, function->id, first->delivery, &row) != SLUICE_OK)
        return 0;
    int64_t expiry_ms = row.accepted_ms + function->max_age_ms;
    return expiry_ms > first->due_ms ? expiry_ms : first->due_ms;
}

int64_t queue_expiry_ms(struct engine *engine, struct function *function)
{
    int64_t parked_ms = parked_expiry_ms(engine, function);
    struct delivery first;
    struct stored_event event;

    if (!runs_first(&function->ready, &first) ||
        engine->world.reader.event(engine->world.reader.ctx, first.seq, &event) != SLUICE_OK)
        return parked_ms;
    int64_t expiry_ms = event.committed_ms + function->max_age_ms;
    return parked_ms != 0 && parked_ms < expiry_ms ? parked_ms : expiry_ms;
}

/* What waits for a retry that nobody takes, because the function is removed, paused or busy, does not wait longer than its max age. */
static void sweep_parked(struct engine *engine, struct function *function, struct now now)
{
    for (unsigned swept = 0; swept < SWEEP_MAX; swept++) {
        struct exception row;
        due_refresh(engine, function);
        if (function->due_head == function->due.count)
            return;
        const struct due_key *first = &function->due.items[function->due_head];
        if (first->due_ms > now.wall_ms ||
            engine->world.reader.exception(engine->world.reader.ctx, TABLE_EXCEPTIONS, function->id, first->delivery, &row) != SLUICE_OK ||
            row.accepted_ms + function->max_age_ms > now.wall_ms)
            return; /* one that cannot be read: taking it will say what is wrong */
        function->due_head++;
        settle_too_old(engine, function, &row, now);
    }
    function_touch(engine, function);
}

void queue_sweep(struct engine *engine, struct function *function, struct now now)
{
    struct delivery first;
    struct stored_event event;
    unsigned swept = 0;

    sweep_parked(engine, function, now);
    queue_page(engine, function);
    for (; swept < SWEEP_MAX && runs_first(&function->ready, &first); swept++) {
        enum sluice_err err = engine->world.reader.event(engine->world.reader.ctx, first.seq, &event);
        if (err != SLUICE_OK)
            break; /* taking it will say what is wrong */
        if (event.committed_ms + function->max_age_ms > now.wall_ms)
            break;
        runs_pop(&function->ready);
        settle_expired(engine, function, first);
        if (runs_empty(&function->ready))
            queue_page(engine, function);
    }
    if (swept == 0)
        return;
    function_note(engine, function, LOG_WARN, now, "expired=%u reason=max-age max_age_ms=%lld first_seq=%llu", swept,
                  (long long)function->max_age_ms, (unsigned long long)first.seq);
    if (swept == SWEEP_MAX)
        function_touch(engine, function);
}

/* The lease in the making. */
struct taking {
    size_t bytes;                /* of what is handed over: of each the larger of envelope and input, and a head */
    size_t buried_bytes;         /* of what was found undeliverable on the way */
};

/* What a target with a constant input hands over, whatever the event; 0: another target. */
static size_t constant_len(const struct engine *engine, uint32_t target)
{
    if (target < 1 || target > engine->targets.count)
        return 0;
    const struct target_row *row = &engine->targets.items[target - 1].row;
    return row->input == TARGET_INPUT_CONSTANT ? row->text.len : 0;
}

/* Makes the input of what was found at the front. False: it does not fit any more, and stays. */
static bool take_input(struct engine *engine, struct taking *taking, const struct leased *item, struct view envelope, bool *ret_deliverable,
                       struct sluice_error *reterr)
{
    size_t inputs_len = engine->inputs.len;
    bool deliverable = delivery_input(engine, item->target, envelope, item->accepted_ms, reterr);
    size_t input_len = engine->inputs.len - inputs_len + constant_len(engine, item->target);
    size_t size = (envelope.len > input_len ? envelope.len : input_len) + LEASE_HEAD_BYTES;

    if (deliverable && taking->bytes != 0 && taking->bytes + size > LEASE_BYTES_MAX) {
        engine->inputs.len = inputs_len;
        return false;
    }
    if (deliverable)
        taking->bytes += size;
    else
        taking->buried_bytes += envelope.len + MESSAGE_KEPT_BYTES;
    *ret_deliverable = deliverable;
    return true;
}

/* After take_input(), in the same order: handovers and the bytes in engine->inputs belong together. */
static void take(struct engine *engine, const struct leased *item, struct view envelope, size_t input_len)
{
    VEC_PUSH(&engine->leasing, *item);
    VEC_PUSH(&engine->handovers, (struct handover){ .delivery = item->delivery,
                                                    .envelope = envelope,
                                                    .target = item->target,
                                                    .attempt = item->attempts + 1,
                                                    .input = { .len = input_len } });
}

static bool take_exception(struct engine *engine, struct function *function, struct taking *taking, struct now now)
{
    bool deliverable;
    struct sluice_error reason;
    size_t inputs_len = engine->inputs.len;

    if (function->due_head == function->due.count || function->due.items[function->due_head].due_ms > now.wall_ms)
        return false;
    struct exception row;
    struct delivery delivery = function->due.items[function->due_head].delivery;
    enum sluice_err err = engine->world.reader.exception(engine->world.reader.ctx, TABLE_EXCEPTIONS, function->id, delivery, &row);
    if (err != SLUICE_OK) {
        engine_log(engine, LOG_ERROR, "event=exception-unreadable function=%s seq=%llu ordinal=%u code=%s", function->name,
                   (unsigned long long)delivery.seq, delivery.ordinal, sluice_err_name(err));
        function->due_head++;
        return true;
    }
    const struct leased item = { .delivery = delivery,
                                 .accepted_ms = row.accepted_ms,
                                 .target = row.target,
                                 .attempts = row.attempts,
                                 .exception = true };
    if (!take_input(engine, taking, &item, row.envelope, &deliverable, &reason))
        return false;
    function->due_head++;
    if (!deliverable) {
        delivery_bury(engine, function, &item, &reason, now);
        return true;
    }
    map_put(&function->claims, claim_key(delivery), 1);
    take(engine, &item, row.envelope, engine->inputs.len - inputs_len);
    return true;
}

static bool take_logged(struct engine *engine, struct function *function, struct taking *taking, struct now now)
{
    struct delivery delivery;
    struct stored_event event;
    bool deliverable;
    struct sluice_error reason;
    size_t inputs_len = engine->inputs.len;

    if (runs_empty(&function->ready))
        queue_page(engine, function);
    if (!runs_first(&function->ready, &delivery))
        return false;
    enum sluice_err err = engine->world.reader.event(engine->world.reader.ctx, delivery.seq, &event);
    if (err != SLUICE_OK || delivery.ordinal >= event.event.targets_count) {
        runs_pop(&function->ready);
        settle_corrupt(engine, function, delivery, now);
        return true;
    }
    if (event.committed_ms + function->max_age_ms <= now.wall_ms)
        return false; /* the sweep of the next turn takes it */
    const struct leased item = { .delivery = delivery, .accepted_ms = event.committed_ms,
                                 .target = record_target(&event.event, delivery.ordinal) };
    if (!take_input(engine, taking, &item, event.event.envelope, &deliverable, &reason))
        return false;
    runs_pop(&function->ready);
    if (deliverable)
        take(engine, &item, event.event.envelope, engine->inputs.len - inputs_len);
    else
        delivery_bury(engine, function, &item, &reason, now);
    return true;
}

unsigned queue_take(struct engine *engine, struct function *function, unsigned max, struct now now)
{
    struct taking taking = { 0 };

    engine->leasing.count = engine->handovers.count = 0;
    bytes_clear(&engine->inputs);
    due_refresh(engine, function);
    while (engine->leasing.count < max && taking.buried_bytes <= BURY_BYTES_MAX && take_exception(engine, function, &taking, now))
        ;
    while (engine->leasing.count < max && taking.buried_bytes <= BURY_BYTES_MAX && take_logged(engine, function, &taking, now))
        ;
    if (taking.buried_bytes > 0)
        function_touch(engine, function); /* there may be more, which nobody else comes back for */
    size_t at = 0;
    for (size_t i = 0; i < engine->handovers.count; i++) {
        struct handover *handover = &engine->handovers.items[i];
        if (handover->input.len == 0)
            continue;
        handover->input.data = engine->inputs.data + at;
        at += handover->input.len;
    }
    ASSERT(at == engine->inputs.len);
    return (unsigned)engine->leasing.count;
}

void queue_give_back(struct engine *engine, struct function *function, const struct leased *item)
{
    if (item->exception) {
        (void)map_remove(&function->claims, claim_key(item->delivery), NULL);
        function->due_stale = true;
    } else {
        runs_insert(&function->ready, item->delivery);
    }
    function_touch(engine, function);
}

void queue_settled(struct function *function, struct delivery delivery)
{
    if (delivery_compare(delivery, function->highest) > 0)
        function->highest = delivery;
}

uint64_t queue_watermark(const struct function *function)
{
    uint64_t lowest = UINT64_MAX;
    struct delivery first;

    if (runs_first(&function->ready, &first))
        lowest = first.seq;
    LIST_EACH(at, &function->leases) {
        const struct lease *lease = LIST_OWNER(at, struct lease, in_function);
        for (unsigned i = 0; i < lease->count; i++) {
            if (!lease->items[i].exception && !lease->items[i].done && lease->items[i].delivery.seq < lowest)
                lowest = lease->items[i].delivery.seq;
        }
    }
    if (function->unpaged + function->uncommitted > 0 && function->paged_row + 1 < lowest)
        lowest = function->paged_row + 1;
    return lowest;
}

void queue_holes(const struct function *function, struct run_builder *ret_runs)
{
    ret_runs->runs.count = 0;
    ret_runs->deliveries = 0;
    LIST_EACH(at, &function->leases) {
        const struct lease *lease = LIST_OWNER(at, struct lease, in_function);
        for (unsigned i = 0; i < lease->count; i++) {
            const struct leased *item = &lease->items[i];
            if (!item->exception && !item->done && delivery_compare(item->delivery, function->highest) < 0)
                run_builder_add(ret_runs, item->delivery);
        }
    }
    for (size_t i = function->ready.head; i < function->ready.count; i++)
        run_builder_add_below(ret_runs, function->ready.items[i], function->highest);
    if (ret_runs->runs.count > 1)
        qsort(ret_runs->runs.items, ret_runs->runs.count, sizeof *ret_runs->runs.items, run_compare);
}
