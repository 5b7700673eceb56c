#include "tests/simulation/model_store.h"

#include "broker/base/assert.h"
#include "broker/core/runs.h"

struct model_store *model_store_new(void)
{
    struct model_store *store = calloc(1, sizeof *store);
    ASSERT(store != NULL);
    store->next_seq = 1;
    return store;
}

static void *copy_of(const void *data, size_t len)
{
    char *copy = malloc(len + 1);
    ASSERT(copy != NULL);
    if (len > 0)
        memcpy(copy, data, len);
    copy[len] = '\0';
    return copy;
}

static struct view view_copy(struct view view)
{
    return view.data == NULL ? view : (struct view){ .data = copy_of(view.data, view.len), .len = view.len };
}

static void view_free(struct view view)
{
    free((void *)(uintptr_t)view.data);
}

struct model_store *model_store_free(struct model_store *store)
{
    if (store == NULL)
        return NULL;
    model_store_turn_end(store);
    for (size_t i = 0; i < store->log.count; i++)
        view_free(store->log.items[i].bytes);
    for (size_t i = 0; i < store->queues.count; i++) {
        struct model_queue *queue = &store->queues.items[i];
        free(queue->name);
        free((void *)(uintptr_t)queue->state.holes);
        for (size_t b = 0; b < queue->batches.count; b++)
            free(queue->batches.items[b].runs);
        for (size_t e = 0; e < queue->parked.count; e++)
            free(queue->parked.items[e].bytes);
        for (size_t e = 0; e < queue->dead.count; e++)
            free(queue->dead.items[e].bytes);
        VEC_DONE(&queue->batches);
        VEC_DONE(&queue->parked);
        VEC_DONE(&queue->dead);
        VEC_DONE(&queue->due);
    }
    for (size_t i = 0; i < store->targets.count; i++) {
        view_free(store->targets.items[i].row.rule);
        view_free(store->targets.items[i].row.text);
    }
    VEC_DONE(&store->log);
    VEC_DONE(&store->queues);
    VEC_DONE(&store->targets);
    VEC_DONE(&store->producers);
    VEC_DONE(&store->lent);
    free(store);
    return NULL;
}

/* ---- reading ---- */

static struct view lend(struct model_store *store, struct view view)
{
    if (view.data == NULL)
        return view;
    struct view copy = view_copy(view);
    VEC_PUSH(&store->lent, (void *)(uintptr_t)copy.data);
    return copy;
}

void model_store_turn_end(struct model_store *store)
{
    for (size_t i = 0; i < store->lent.count; i++)
        free(store->lent.items[i]);
    store->lent.count = 0;
}

static struct model_queue *queue_of(struct model_store *store, uint32_t function)
{
    ASSERT(function >= 1);
    while (store->queues.count < function) {
        uint32_t id = (uint32_t)store->queues.count + 1;
        VEC_PUSH(&store->queues, (struct model_queue){ .state = { .function = id } });
    }
    return &store->queues.items[function - 1];
}

/* The index of the first batch with first_seq > seq. */
static size_t batch_place(const struct model_queue *queue, uint64_t seq)
{
    size_t low = 0, high = queue->batches.count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (queue->batches.items[middle].first_seq <= seq)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void batch_lend(struct model_store *store, const struct model_batch *batch, struct batch_row *ret_row)
{
    struct view runs = { .data = (const char *)batch->runs, .len = batch->runs_count * sizeof *batch->runs };

    *ret_row = (struct batch_row){ .first_seq = batch->first_seq,
                                   .committed_ms = batch->committed_ms,
                                   .count = batch->count,
                                   .runs_count = batch->runs_count,
                                   .runs = lend(store, runs).data };
}

static bool read_batch_after(void *ctx, uint32_t function, uint64_t after, struct batch_row *ret_row)
{
    struct model_queue *queue = queue_of(ctx, function);
    size_t at = batch_place(queue, after);

    if (at == queue->batches.count)
        return false;
    batch_lend(ctx, &queue->batches.items[at], ret_row);
    return true;
}

static bool read_batch_at(void *ctx, uint32_t function, uint64_t at_most, struct batch_row *ret_row)
{
    struct model_queue *queue = queue_of(ctx, function);
    size_t at = batch_place(queue, at_most);

    if (at == 0)
        return false;
    batch_lend(ctx, &queue->batches.items[at - 1], ret_row);
    return true;
}

static struct run read_batch_run(const struct batch_row *row, uint32_t index)
{
    struct run run;

    ASSERT(index < row->runs_count);
    memcpy(&run, row->runs + index * sizeof run, sizeof run);
    return run;
}

/* The index of the first record with first_seq > seq. */
static size_t record_place(const struct model_store *store, uint64_t seq)
{
    size_t low = 0, high = store->log.count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (store->log.items[middle].first_seq <= seq)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static enum sluice_err read_event(void *ctx, uint64_t seq, struct stored_event *ret_event)
{
    struct model_store *store = ctx;
    size_t at = record_place(store, seq);
    struct record record;
    struct record_event event;

    if (at == 0)
        return SLUICE_ENOTFOUND;
    ASSERT(record_open(store->log.items[at - 1].bytes, false, &record));
    if (seq - record.first_seq >= record.count)
        return SLUICE_ENOTFOUND;
    ASSERT(record_event(&record, (uint32_t)(seq - record.first_seq), &event));
    event.envelope = lend(store, event.envelope);
    event.targets = lend(store, (struct view){ event.targets, event.targets_count * sizeof(uint32_t) }).data;
    *ret_event = (struct stored_event){ .seq = seq, .committed_ms = record.committed_ms, .event = event };
    return SLUICE_OK;
}

static bool read_record_after(void *ctx, uint64_t after, struct record *ret_record)
{
    struct model_store *store = ctx;
    size_t at = record_place(store, after);

    return at < store->log.count && record_open(store->log.items[at].bytes, false, ret_record);
}

static int due_compare(struct due_key a, struct due_key b)
{
    if (a.due_ms != b.due_ms)
        return a.due_ms < b.due_ms ? -1 : 1;
    return delivery_compare(a.delivery, b.delivery);
}

/* The index of the first due key > key. */
static size_t due_place(const struct model_queue *queue, struct due_key key)
{
    size_t low = 0, high = queue->due.count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (due_compare(queue->due.items[middle], key) <= 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool read_due_after(void *ctx, uint32_t function, struct due_key after, struct due_key *ret_key)
{
    struct model_queue *queue = queue_of(ctx, function);
    size_t at = due_place(queue, after);

    if (at == queue->due.count)
        return false;
    *ret_key = queue->due.items[at];
    return true;
}

/* The index of the first row with a delivery >= delivery; ret_there: it is that one. */
static size_t exception_place(const struct model_exception *rows, size_t count, struct delivery delivery, bool *ret_there)
{
    size_t low = 0, high = count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (delivery_compare(rows[middle].row.delivery, delivery) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    *ret_there = low < count && delivery_compare(rows[low].row.delivery, delivery) == 0;
    return low;
}

static void exception_lend(struct model_store *store, const struct exception *row, struct exception *ret_row)
{
    *ret_row = *row;
    ret_row->reason = lend(store, row->reason);
    ret_row->message = lend(store, row->message);
    ret_row->output = lend(store, row->output);
    ret_row->envelope = lend(store, row->envelope);
}

static enum sluice_err read_exception(void *ctx, enum exception_table table, uint32_t function, struct delivery delivery,
                                      struct exception *ret_row)
{
    struct model_queue *queue = queue_of(ctx, function);
    const struct model_exception *rows = table == TABLE_DEAD ? queue->dead.items : queue->parked.items;
    bool there;
    size_t at = exception_place(rows, table == TABLE_DEAD ? queue->dead.count : queue->parked.count, delivery, &there);

    if (!there)
        return SLUICE_ENOTFOUND;
    exception_lend(ctx, &rows[at].row, ret_row);
    return SLUICE_OK;
}

static bool read_exception_after(void *ctx, enum exception_table table, uint32_t function, struct delivery after,
                                 struct exception *ret_row)
{
    struct model_queue *queue = queue_of(ctx, function);
    const struct model_exception *rows = table == TABLE_DEAD ? queue->dead.items : queue->parked.items;
    size_t count = table == TABLE_DEAD ? queue->dead.count : queue->parked.count;
    bool there;
    size_t at = exception_place(rows, count, after, &there);

    at += there;
    if (at == count)
        return false;
    exception_lend(ctx, &rows[at].row, ret_row);
    return true;
}

void model_store_reader(struct model_store *store, struct reader *ret_reader)
{
    *ret_reader = (struct reader){ .ctx = store,
                                   .batch_after = read_batch_after,
                                   .batch_at = read_batch_at,
                                   .batch_run = read_batch_run,
                                   .event = read_event,
                                   .record_after = read_record_after,
                                   .due_after = read_due_after,
                                   .exception = read_exception,
                                   .exception_after = read_exception_after };
}

/* ---- applying ---- */

static void apply_names(struct model_store *store, const struct commit *commit)
{
    for (size_t i = 0; i < commit->functions.count; i++) {
        const struct function_row *row = &commit->functions.items[i];
        struct model_queue *queue = queue_of(store, row->id);
        if (queue->name == NULL)
            queue->name = copy_of(row->name.data, row->name.len);
    }
    for (size_t i = 0; i < commit->targets.count; i++) {
        const struct target_row *row = &commit->targets.items[i];
        while (store->targets.count < row->id)
            VEC_PUSH(&store->targets, (struct model_target){ 0 });
        ASSERT(store->targets.items[row->id - 1].row.id == 0); /* never changed once written */
        store->targets.items[row->id - 1].row = *row;
        store->targets.items[row->id - 1].row.rule = view_copy(row->rule);
        store->targets.items[row->id - 1].row.text = view_copy(row->text);
    }
}

static void apply_log(struct model_store *store, const struct commit *commit)
{
    for (size_t i = 0; i < commit->records.count; i++) {
        const struct commit_record *at = &commit->records.items[i];
        struct record record;
        struct view bytes = view_copy((struct view){ commit->log.data + at->offset, at->len });
        record_seal((char *)(uintptr_t)bytes.data, bytes.len);
        ASSERT(record_open(bytes, true, &record));
        ASSERT(record.first_seq == at->first_seq);
        ASSERT(store->log.count == 0 || store->log.items[store->log.count - 1].first_seq < at->first_seq);
        VEC_PUSH(&store->log, (struct model_record){ .first_seq = at->first_seq, .bytes = bytes });
    }
    for (size_t i = 0; i < commit->batches.count; i++) {
        const struct commit_batch *batch = &commit->batches.items[i];
        struct model_queue *queue = queue_of(store, batch->function);
        ASSERT(queue->batches.count == 0 || queue->batches.items[queue->batches.count - 1].first_seq < batch->first_seq);
        VEC_PUSH(&queue->batches, (struct model_batch){ .first_seq = batch->first_seq,
                                                        .committed_ms = batch->committed_ms,
                                                        .count = batch->count,
                                                        .runs_count = batch->runs_count,
                                                        .runs = copy_of(batch->runs, batch->runs_count * sizeof *batch->runs) });
    }
}

static size_t producer_place(const struct model_store *store, const uint8_t id[16])
{
    size_t at = 0;

    while (at < store->producers.count && memcmp(store->producers.items[at].id, id, 16) != 0)
        at++;
    return at;
}

/* Puts, then deletes: the order of the real one. */
static void apply_producers(struct model_store *store, const struct commit *commit)
{
    for (size_t i = 0; i < commit->producers.count; i++) {
        size_t at = producer_place(store, commit->producers.items[i].id);
        if (at == store->producers.count)
            VEC_PUSH(&store->producers, commit->producers.items[i]);
        else
            store->producers.items[at] = commit->producers.items[i];
    }
    for (size_t i = 0; i < commit->producers_gone.count; i++) {
        size_t at = producer_place(store, commit->producers_gone.items[i].id);
        if (at < store->producers.count)
            store->producers.items[at] = store->producers.items[--store->producers.count];
    }
}

static void apply_queues(struct model_store *store, const struct commit *commit)
{
    for (size_t i = 0; i < commit->queues.count; i++) {
        const struct queue_state *state = &commit->queues.items[i];
        struct model_queue *queue = queue_of(store, state->function);
        free((void *)(uintptr_t)queue->state.holes);
        queue->state = *state;
        queue->state.holes = copy_of(state->holes, state->holes_count * sizeof *state->holes);
    }
}

static void due_forget(struct model_queue *queue, const struct exception *row)
{
    size_t at = due_place(queue, (struct due_key){ .due_ms = row->due_ms, .delivery = row->delivery });

    ASSERT(at > 0);
    memmove(&queue->due.items[at - 1], &queue->due.items[at], (queue->due.count - at) * sizeof *queue->due.items);
    queue->due.count--;
}

static void due_put(struct model_queue *queue, const struct exception *row)
{
    struct due_key key = { .due_ms = row->due_ms, .delivery = row->delivery };
    size_t at = due_place(queue, key);

    VEC_PUSH(&queue->due, key);
    memmove(&queue->due.items[at + 1], &queue->due.items[at], (queue->due.count - 1 - at) * sizeof *queue->due.items);
    queue->due.items[at] = key;
}

static struct model_exception exception_copy(const struct exception *row)
{
    struct model_exception copy = { .row = *row };
    struct view *const views[] = { &copy.row.reason, &copy.row.message, &copy.row.output, &copy.row.envelope };
    size_t len = 0;

    for (size_t i = 0; i < 4; i++)
        len += views[i]->len;
    copy.bytes = malloc(len + 1);
    ASSERT(copy.bytes != NULL);
    char *at = copy.bytes;
    for (size_t i = 0; i < 4; i++) {
        if (views[i]->len > 0)
            memcpy(at, views[i]->data, views[i]->len);
        views[i]->data = at;
        at += views[i]->len;
    }
    return copy;
}

static void apply_exceptions(struct model_store *store, const struct commit *commit)
{
    for (size_t i = 0; i < commit->exceptions.count; i++) {
        const struct commit_exception *op = &commit->exceptions.items[i];
        struct model_queue *queue = queue_of(store, op->row.function);
        bool parked = op->table == TABLE_EXCEPTIONS, there;
        struct model_exception **rows = parked ? &queue->parked.items : &queue->dead.items;
        size_t *count = parked ? &queue->parked.count : &queue->dead.count;
        size_t at = exception_place(*rows, *count, op->row.delivery, &there);
        if (there) {
            if (parked)
                due_forget(queue, &(*rows)[at].row);
            free((*rows)[at].bytes);
            memmove(&(*rows)[at], &(*rows)[at + 1], (*count - at - 1) * sizeof **rows);
            --*count;
        }
        if (op->delete)
            continue;
        if (parked) {
            VEC_ROOM(&queue->parked, queue->parked.count + 1);
            due_put(queue, &op->row);
        } else {
            VEC_ROOM(&queue->dead, queue->dead.count + 1);
        }
        memmove(&(*rows)[at + 1], &(*rows)[at], (*count - at) * sizeof **rows);
        (*rows)[at] = exception_copy(&op->row);
        ++*count;
    }
}

static void apply_trims(struct model_store *store, const struct commit *commit)
{
    for (size_t i = 0; i < commit->trims.count; i++) {
        uint64_t first_seq = commit->trims.items[i];
        size_t at = record_place(store, first_seq);
        if (at == 0 || store->log.items[at - 1].first_seq != first_seq)
            continue;
        at--;
        view_free(store->log.items[at].bytes);
        memmove(&store->log.items[at], &store->log.items[at + 1], (store->log.count - at - 1) * sizeof *store->log.items);
        store->log.count--;
        for (size_t q = 0; q < store->queues.count; q++) {
            struct model_queue *queue = &store->queues.items[q];
            size_t b = batch_place(queue, first_seq);
            if (b == 0 || queue->batches.items[b - 1].first_seq != first_seq)
                continue;
            free(queue->batches.items[b - 1].runs);
            memmove(&queue->batches.items[b - 1], &queue->batches.items[b], (queue->batches.count - b) * sizeof *queue->batches.items);
            queue->batches.count--;
        }
    }
}

void model_store_apply(struct model_store *store, const struct commit *commit)
{
    apply_names(store, commit);
    apply_log(store, commit);
    apply_producers(store, commit);
    apply_queues(store, commit);
    apply_exceptions(store, commit);
    apply_trims(store, commit);
    if (commit->revision != 0)
        store->revision = commit->revision;
    store->next_seq = commit->next_seq;
    store->events_total = commit->events_total;
    store->unmatched_total = commit->unmatched_total;
    store->commits++;
}

struct model_balance model_store_balance(const struct model_store *store, uint32_t function)
{
    const struct model_queue *queue = &store->queues.items[function - 1];
    const struct queue_state *state = &queue->state;
    const uint64_t *counters = state->counters;
    struct model_balance balance = { .parked = queue->parked.count, .dead = queue->dead.count };

    for (uint32_t i = 0; i < state->holes_count; i++)
        balance.holes += state->holes[i].len;
    for (size_t b = 0; b < queue->batches.count; b++) {
        const struct model_batch *batch = &queue->batches.items[b];
        for (uint32_t i = 0; i < batch->runs_count; i++) {
            struct run above;
            balance.above += run_above(batch->runs[i], state->highest, &above) ? above.len : 0;
        }
    }
    balance.holds = counters[QUEUE_ACCEPTED] == counters[QUEUE_SUCCEEDED] + counters[QUEUE_DEAD_LETTERED] + counters[QUEUE_EXPIRED] +
                                                    counters[QUEUE_DISCARDED] + balance.above + balance.holes + balance.parked &&
                    counters[QUEUE_EXCEPTIONS] == balance.parked && counters[QUEUE_DEAD_LETTERED] == balance.dead &&
                    queue->due.count == balance.parked;
    return balance;
}
