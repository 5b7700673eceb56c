/* settle.c - how a delivery leaves the queue, each way with its counter, so that the balance holds:
 *   success             succeeded                      too old, never tried    expired
 *   failed, tries left  exception (pending)            failed, no tries left   dead letter, with reason, output and event
 *   no input can be made                dead letter at once
 *   no instance could be started        as one that failed
 * and what people do with dead letters: redrive (pending again), purge (discarded). */
#include "broker/core/engine_internal.h"

static void exception_op(struct engine *engine, struct function *function, enum exception_table table, bool delete,
                         const struct exception *row)
{
    VEC_PUSH(&engine->gathering->exceptions,
             (struct commit_exception){ .table = table, .delete = delete, .row = *row });
    map_put(&function->claims, claim_key(row->delivery), 1); /* until the engine is told that the commit is durable */
}

static void exception_delete(struct engine *engine, struct function *function, struct delivery delivery)
{
    exception_op(engine, function, TABLE_EXCEPTIONS, true, &(struct exception){ .function = function->id, .delivery = delivery });
    function->counters[QUEUE_EXCEPTIONS]--;
}

void settle_success(struct engine *engine, struct function *function, struct leased *item)
{
    ASSERT(!item->done);
    item->done = true;
    function->counters[QUEUE_SUCCEEDED]++;
    if (item->exception)
        exception_delete(engine, function, item->delivery);
    else
        queue_settled(function, item->delivery);
    function_dirty(engine, function);
}

void settle_expired(struct engine *engine, struct function *function, struct delivery delivery)
{
    function->counters[QUEUE_EXPIRED]++;
    queue_settled(function, delivery);
    function_dirty(engine, function);
}

static struct view kept(struct arena *arena, struct view text, size_t max, bool tail)
{
    if (text.len > max) {
        if (tail)
            text.data += text.len - max;
        text.len = max;
    }
    return arena_dup(arena, text);
}

void settle_corrupt(struct engine *engine, struct function *function, struct delivery delivery, struct now now)
{
    struct exception row = {
        .function = function->id,
        .delivery = delivery,
        .accepted_ms = now.wall_ms,
        .failed_ms = now.wall_ms,
        .reason = VIEW_LITERAL("Sluice.Corrupt"),
        .message = VIEW_LITERAL("the stored event fails its check; its bytes are lost"),
        .output = VIEW_LITERAL(""),
        .envelope = VIEW_LITERAL(""),
    };
    exception_op(engine, function, TABLE_DEAD, false, &row);
    function->counters[QUEUE_DEAD_LETTERED]++;
    queue_settled(function, delivery);
    function_dirty(engine, function);
    function_note(engine, function, LOG_ERROR, now, "event=corrupt seq=%llu ordinal=%u action=dead-letter",
                  (unsigned long long)delivery.seq, delivery.ordinal);
}

/* The event's bytes, for the copy that an exception carries; views of this turn. */
static struct view delivery_envelope(struct engine *engine, const struct function *function, const struct leased *item)
{
    const struct reader *reader = &engine->world.reader;
    struct stored_event event;
    struct exception row;

    if (item->exception)
        return reader->exception(reader->ctx, TABLE_EXCEPTIONS, function->id, item->delivery, &row) == SLUICE_OK ? row.envelope
                                                                                                                : VIEW_LITERAL("");
    return reader->event(reader->ctx, item->delivery.seq, &event) == SLUICE_OK ? event.event.envelope : VIEW_LITERAL("");
}

/* The row of a delivery that failed now: for the exception table, or the dead one. */
static struct exception failed_row(struct engine *engine, const struct function *function, const struct leased *item,
                                   const struct failure *failure, struct now now)
{
    struct arena *arena = engine->gathering->arena;

    return (struct exception){
        .function = function->id,
        .delivery = item->delivery,
        .target = item->target,
        .attempts = item->attempts,
        .accepted_ms = item->accepted_ms,
        .failed_ms = now.wall_ms,
        .reason = kept(arena, failure->type, REASON_KEPT_BYTES, false),
        .message = kept(arena, failure->message, MESSAGE_KEPT_BYTES, false),
        .output = kept(arena, failure->output, OUTPUT_KEPT_BYTES, true),
        .envelope = arena_dup(arena, delivery_envelope(engine, function, item)),
    };
}

static void dead_letter(struct engine *engine, struct function *function, const struct leased *item, const struct exception *row,
                        const char *cause, struct now now)
{
    if (item->exception)
        exception_delete(engine, function, item->delivery);
    else
        queue_settled(function, item->delivery);
    exception_op(engine, function, TABLE_DEAD, false, row);
    function->counters[QUEUE_DEAD_LETTERED]++;
    function_dirty(engine, function);
    function_note(engine, function, LOG_WARN, now, "event=dead-letter seq=%llu attempts=%u cause=%s reason=%.*s message=\"%.*s\"",
                  (unsigned long long)item->delivery.seq, row->attempts, cause, VIEW_ARGS(row->reason),
                  (int)(row->message.len > 100 ? 100 : row->message.len), row->message.data);
}

void settle_undeliverable(struct engine *engine, struct function *function, const struct leased *item, const struct failure *failure,
                          struct now now)
{
    struct exception row = failed_row(engine, function, item, failure, now);

    ASSERT(!item->done);
    dead_letter(engine, function, item, &row, "undeliverable", now);
}

struct function_ran *function_ran(struct function *function)
{
    if (function->ran == NULL) {
        function->ran = calloc(1, sizeof *function->ran);
        ASSERT(function->ran != NULL);
    }
    return function->ran;
}

void attempts_ended(struct function *function, unsigned count, bool failed, int64_t took_us)
{
    struct function_ran *ran = function_ran(function);

    histogram_add(&ran->attempts, took_us, count);
    ran->attempts_failed += failed ? count : 0;
}

/* An asynchronous invocation has a policy of its own, as on Lambda, unless its function was given one. The default max age is the same. */
static bool has_invoke_policy(const struct engine *engine, const struct function *function, uint32_t target)
{
    return !function->retry_given && target >= 1 && target <= engine->targets.count && engine->targets.items[target - 1].is_invoke;
}

static int64_t pause_ms(struct engine *engine, const struct function *function, uint32_t target, unsigned failed)
{
    if (has_invoke_policy(engine, function, target))
        return failed < INVOKE_ATTEMPTS ? (int64_t)INVOKE_BACKOFF_MS << (failed - 1) : 0;
    return retry_delay_ms(failed, function->backoff_min_ms, function->backoff_max_ms, &engine->chance);
}

void settle_failure(struct engine *engine, struct function *function, struct leased *item, const struct failure *failure, struct now now)
{
    ASSERT(!item->done);
    unsigned attempts_max = has_invoke_policy(engine, function, item->target) ? INVOKE_ATTEMPTS : function->attempts_max;
    struct exception row = failed_row(engine, function, item, failure, now);
    row.attempts++;
    row.due_ms = now.wall_ms + (failure->at_once ? 0 : pause_ms(engine, function, item->target, row.attempts));
    bool too_old = row.due_ms >= item->accepted_ms + function->max_age_ms;
    item->done = true;
    function->counters[QUEUE_ATTEMPTS_FAILED]++;
    if (row.attempts >= attempts_max || too_old) {
        dead_letter(engine, function, item, &row, too_old && row.attempts < attempts_max ? "max-age" : "attempts", now);
        return;
    }
    exception_op(engine, function, TABLE_EXCEPTIONS, false, &row);
    function->counters[QUEUE_EXCEPTIONS] += item->exception ? 0 : 1;
    if (!item->exception)
        queue_settled(function, item->delivery);
    function_dirty(engine, function);
    function_note(engine, function, LOG_INFO, now, "event=retry seq=%llu attempt=%u of=%u in_ms=%lld reason=%.*s message=\"%.*s\"",
                  (unsigned long long)item->delivery.seq, row.attempts, attempts_max, (long long)(row.due_ms - now.wall_ms),
                  VIEW_ARGS(row.reason), (int)(row.message.len > 100 ? 100 : row.message.len), row.message.data);
}

void settle_front(struct engine *engine, struct function *function, const struct failure *failure, struct now now)
{
    if (!engine->recovered || function->config == NULL || queue_take(engine, function, 1, now) == 0)
        return;
    settle_failure(engine, function, &engine->leasing.items[0], failure, now);
    attempts_ended(function, 1, true, 0);
}

/* A copy in the gathering commit of a row that the reader has lent for this turn. */
static struct exception exception_kept(struct engine *engine, const struct exception *row)
{
    struct arena *arena = engine->gathering->arena;
    struct exception copy = *row;

    copy.reason = arena_dup(arena, row->reason);
    copy.message = arena_dup(arena, row->message);
    copy.output = arena_dup(arena, row->output);
    copy.envelope = arena_dup(arena, row->envelope);
    return copy;
}

void settle_too_old(struct engine *engine, struct function *function, const struct exception *row, struct now now)
{
    exception_delete(engine, function, row->delivery);
    if (row->attempts == 0) {
        function->counters[QUEUE_EXPIRED]++;
    } else {
        struct exception dead = exception_kept(engine, row);
        dead.failed_ms = now.wall_ms;
        exception_op(engine, function, TABLE_DEAD, false, &dead);
        function->counters[QUEUE_DEAD_LETTERED]++;
    }
    function_dirty(engine, function);
    function_note(engine, function, LOG_WARN, now, "event=%s seq=%llu attempts=%u cause=max-age max_age_ms=%lld reason=%.*s",
                  row->attempts == 0 ? "expired" : "dead-letter", (unsigned long long)row->delivery.seq, row->attempts,
                  (long long)function->max_age_ms, VIEW_ARGS(row->reason));
}

enum sluice_err engine_redrive(struct engine *engine, uint32_t id, struct delivery delivery, struct now now)
{
    struct function *function = engine_function(engine, id);
    struct exception row;

    if (map_get(&function->claims, claim_key(delivery), NULL) ||
        engine->world.reader.exception(engine->world.reader.ctx, TABLE_DEAD, id, delivery, &row) != SLUICE_OK)
        return SLUICE_ENOTFOUND;
    row = exception_kept(engine, &row);
    row.attempts = 0;
    row.due_ms = now.wall_ms;
    row.accepted_ms = now.wall_ms; /* its age counts anew, or it would die again at once */
    exception_op(engine, function, TABLE_DEAD, true, &row);
    exception_op(engine, function, TABLE_EXCEPTIONS, false, &row);
    function->counters[QUEUE_DEAD_LETTERED]--;
    function->counters[QUEUE_EXCEPTIONS]++;
    function_dirty(engine, function);
    function_note(engine, function, LOG_INFO, now, "event=redrive seq=%llu", (unsigned long long)delivery.seq);
    return SLUICE_OK;
}

enum sluice_err engine_purge(struct engine *engine, uint32_t id, struct delivery delivery, struct now now)
{
    struct function *function = engine_function(engine, id);
    struct exception row;

    if (map_get(&function->claims, claim_key(delivery), NULL) ||
        engine->world.reader.exception(engine->world.reader.ctx, TABLE_DEAD, id, delivery, &row) != SLUICE_OK)
        return SLUICE_ENOTFOUND;
    exception_op(engine, function, TABLE_DEAD, true, &(struct exception){ .function = id, .delivery = delivery });
    function->counters[QUEUE_DEAD_LETTERED]--;
    function->counters[QUEUE_DISCARDED]++;
    function_dirty(engine, function);
    function_note(engine, function, LOG_INFO, now, "event=purge seq=%llu reason=operator", (unsigned long long)delivery.seq);
    return SLUICE_OK;
}
