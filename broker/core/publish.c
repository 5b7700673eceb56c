/* publish.c - from the door into the gathering commit: decode, check, match, append.
 *
 * Refusals are per event; the rest of the batch goes on. A batch of a known producer is applied in order of sequence: one that comes
 * early waits in `early` until those before it have come. A batch that was applied already is answered with the same refusals (they
 * follow from its bytes and the configuration), after the commit that follows, so that its ack too speaks of the disk. */
#include "broker/core/engine_internal.h"

#include "schemas/codec/ids.h"

static void publish_answer_now(struct engine *engine, const struct publish *publish, enum sluice_err code, const char *text)
{
    engine->world.publish_answered(engine->world.ctx, publish->reply, &(struct publish_answer){ .code = code, .text = text });
}

static void record_begin_if_needed(struct engine *engine, size_t envelope_len, size_t targets, struct now now)
{
    if (engine->record.count != 0 && !record_writer_fits(&engine->record, envelope_len, targets))
        record_finish(engine, now);
    if (engine->record.count == 0)
        engine->record_first = engine->next_seq;
}

static int id_compare(const void *a, const void *b)
{
    uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;
    return (left > right) - (left < right);
}

void record_finish(struct engine *engine, struct now now)
{
    struct commit *commit = engine->gathering;
    size_t concerned = engine->record_functions.count;

    if (engine->record.count == 0)
        return;
    uint32_t *ids = arena_alloc(commit->arena, (concerned + 1) * sizeof *ids);
    for (size_t i = 0; i < concerned; i++) {
        struct function *function = engine->record_functions.items[i];
        struct run *runs = arena_alloc(commit->arena, function->row.runs.count * sizeof *runs);
        memcpy(runs, function->row.runs.items, function->row.runs.count * sizeof *runs);
        VEC_PUSH(&commit->batches, (struct commit_batch){
                                       .function = function->id,
                                       .first_seq = engine->record_first,
                                       .committed_ms = now.wall_ms,
                                       .count = (uint32_t)function->row.deliveries,
                                       .runs = runs,
                                       .runs_count = (uint32_t)function->row.runs.count,
                                   });
        function->row.runs.count = 0;
        function->row.deliveries = 0;
        function->in_record = false;
        ids[i] = function->id;
    }
    qsort(ids, concerned, sizeof *ids, id_compare);
    size_t offset = commit->log.len;
    uint64_t first = engine->record_first;
    record_writer_finish(&engine->record, first, now.wall_ms, ids, (uint32_t)concerned, &commit->log);
    ASSERT(!commit->log.failed);
    VEC_PUSH(&commit->records, (struct commit_record){ .first_seq = first, .offset = offset, .len = commit->log.len - offset });
    engine->record_functions.count = 0;
}

/* A delivery that must not start before its time goes to the exception table at once, with its own copy. */
static void publish_delayed(struct engine *engine, struct function *function, struct delivery delivery, uint32_t target,
                            const struct event *event)
{
    struct commit *commit = engine->gathering;

    VEC_PUSH(&commit->exceptions, (struct commit_exception){
                                      .table = TABLE_EXCEPTIONS,
                                      .of_publish = true,
                                      .row = {
                                          .function = function->id,
                                          .delivery = delivery,
                                          .target = target,
                                          .due_ms = event->not_before_ms,
                                          .accepted_ms = event->not_before_ms, /* it ages from when it may start */
                                          .failed_ms = 0,
                                          .reason = VIEW_LITERAL("Delayed"),
                                          .message = VIEW_LITERAL(""),
                                          .output = VIEW_LITERAL(""),
                                          .envelope = arena_dup(commit->arena, event->encoded),
                                      },
                                  });
    map_put(&function->claims, claim_key(delivery), 1);
    function->counters[QUEUE_EXCEPTIONS]++;
}

/* An asynchronous invocation: one function, whatever the rules say. Fills engine->event_targets. */
static enum sluice_err invoke_take_target(struct engine *engine, uint32_t id, struct sluice_error *reterr)
{
    struct function *function = engine_function(engine, id);

    engine->event_targets.count = 0;
    if (function->config == NULL)
        return sluice_fail(reterr, SLUICE_ENOTFOUND, "function '%s' is not in the configuration any more", function->name);
    VEC_PUSH(&engine->event_targets, engine_invoke_target(engine, function));
    return SLUICE_OK;
}

/* ---- the events of a batch, a few at a time ---- */

struct batch_event {
    struct event event;
    struct sluice_error error;   /* of an event that is refused */
    enum sluice_err err;
    const struct bus *bus;
};

struct batch_group {
    struct batch_event items[MATCH_BATCH_MAX];
    struct match_answer answers[MATCH_BATCH_MAX]; /* of those not refused before */
    unsigned count;
    uint32_t function;           /* of the publish: no rule is asked */
    bool lost;                   /* one could not be read: where the others of the batch begin is not known */
    struct sluice_error lost_error;
};

/* The bus is there, or it is refused. */
static enum sluice_err event_find_bus(const struct engine *engine, struct batch_event *item)
{
    struct view name = item->event.bus.data == NULL ? VIEW_LITERAL(EVENT_BUS_DEFAULT) : item->event.bus;
    uint32_t index;

    if (!names_get(&engine->ruleset->bus_ids, name, &index))
        return sluice_fail(&item->error, SLUICE_ENOTFOUND, "bus '%.*s' does not exist; name it under 'buses' in the configuration",
                           (int)(name.len > 64 ? 64 : name.len), name.data);
    item->bus = &engine->ruleset->buses[index];
    return SLUICE_OK;
}

/* Those of the group from `first` on that go to the same bus, in one call; returns where the next begin. What one call says is gone with
 * the next, so the events are appended before that. */
static unsigned group_match(struct engine *engine, struct batch_group *group, unsigned first, const uint32_t **ret_numbers)
{
    const struct event *events[MATCH_BATCH_MAX];
    struct match_answer answers[MATCH_BATCH_MAX];
    const struct bus *bus = NULL;
    unsigned end = first, count = 0;

    for (; end < group->count; end++) {
        struct batch_event *item = &group->items[end];
        if (item->err != SLUICE_OK)
            continue;
        if (bus != NULL && item->bus != bus)
            break;
        bus = item->bus;
        group->answers[end] = (struct match_answer){ .err = SLUICE_OK };
        events[count++] = &item->event;
    }
    if (bus == NULL || bus->rules == NULL)
        return end;
    match_events(bus->rules->set, engine->scratch, events, count, answers, ret_numbers);
    for (unsigned i = first, answer = 0; i < end; i++)
        if (group->items[i].err == SLUICE_OK)
            group->answers[i] = answers[answer++];
    return end;
}

/* Fills engine->event_targets. What is refused here is refused again when the batch comes again. */
static enum sluice_err event_take_targets(struct engine *engine, const struct bus *bus, const struct match_answer *answer,
                                          const uint32_t *numbers, bool counts, struct sluice_error *reterr)
{
    if (answer->err != SLUICE_OK)
        return sluice_fail(reterr, SLUICE_EINVAL, "matching the event costs more than any event may: its arrays, or its texts, are too large for "
                           "rules that join array items or have wildcards");
    const struct ruleset *ruleset = engine->ruleset;
    VEC_ROOM(&engine->event_rules, answer->count);
    uint32_t *rules = engine->event_rules.items;
    if (answer->count > 0)
        rules_of_numbers(bus->rules, numbers + answer->first, answer->count, rules);
    engine->event_targets.count = 0;
    for (size_t i = 0; i < answer->count; i++) {
        const struct rule *rule = &ruleset->rules[rules[i]];
        for (uint32_t t = 0; t < rule->targets_count; t++)
            VEC_PUSH(&engine->event_targets, ruleset->rule_targets[rule->targets_first + t]);
    }
    size_t targets = engine->event_targets.count;
    if (targets > EVENT_TARGETS_MAX)
        return sluice_fail(reterr, SLUICE_EINVAL, "the event has %zu targets, more than %d; make the rules narrower", targets,
                           EVENT_TARGETS_MAX);
    for (size_t i = 0; counts && i < answer->count; i++)
        engine->matched[ruleset->rules[rules[i]].counter]++;
    return SLUICE_OK;
}

static void event_append(struct engine *engine, const struct event *event, struct now now)
{
    size_t targets = engine->event_targets.count;

    record_begin_if_needed(engine, event->encoded.len, targets, now);
    uint64_t seq = engine->next_seq++;
    bool delayed = event->has_not_before && event->not_before_ms > now.wall_ms;
    for (size_t i = 0; i < targets; i++) {
        uint32_t target = engine->event_targets.items[i];
        struct function *function = engine_function(engine, engine->targets.items[target - 1].row.function);
        struct delivery delivery = { .seq = seq, .ordinal = (uint32_t)i };
        function->counters[QUEUE_ACCEPTED]++;
        function_dirty(engine, function);
        if (delayed) {
            publish_delayed(engine, function, delivery, target, event);
            continue;
        }
        function->uncommitted++;
        if (!function->in_record) {
            function->in_record = true;
            VEC_PUSH(&engine->record_functions, function);
        }
        run_builder_add(&function->row, delivery);
    }
    record_writer_add(&engine->record, event->encoded, engine->event_targets.items, (uint32_t)targets);
    engine->events_total++;
    if (targets == 0) {
        engine->unmatched_total++;
        engine->gathering->unmatched++;
    }
}

/* What the producer left out and every event must have: an id and a time. The library fills both in, other doors may not. */
static void event_complete(struct engine *engine, struct event *event, struct bytes *completed, struct now now)
{
    uint8_t id[UUID_BYTES];

    if (event->id.data != NULL && event->has_time)
        return;
    if (event->id.data == NULL) {
        uint64_t random[2] = { chance_next(&engine->chance), chance_next(&engine->chance) };
        uint8_t bits[UUID_BYTES];
        memcpy(bits, random, sizeof bits);
        uuid7_make(now.wall_ms, bits, id);
        event->id = (struct view){ .data = (const char *)id, .len = sizeof id };
        event->id_is_uuid = true;
    }
    if (!event->has_time) {
        event->has_time = true;
        event->time_ms = now.wall_ms;
    }
    bytes_clear(completed);
    envelope_encode(event, completed);
    ASSERT(!completed->failed);
    ASSERT(envelope_decode_stored(bytes_view(completed), event));
}

static void refuse(struct acks *acks, uint32_t index, const struct sluice_error *error)
{
    VEC_PUSH(&acks->refusals, (struct publish_refusal){ .index = index, .error = *error });
}

/* The next events of the batch, from number `first` on, decoded and checked. */
static void group_decode(struct engine *engine, struct batch_group *group, struct mpack_reader *reader, unsigned count, bool duplicate,
                         struct now now)
{
    for (group->count = 0; group->count < count; group->count++) {
        struct batch_event *item = &group->items[group->count];
        if (group->lost) { /* all the rest is refused, each by its place */
            item->err = SLUICE_EPROTO;
            item->error = group->lost_error;
            continue;
        }
        item->err = envelope_decode(reader, &item->event, &item->error);
        group->lost = item->err == SLUICE_EPROTO;
        if (group->lost)
            group->lost_error = item->error;
        if (item->err == SLUICE_OK)
            item->err = envelope_check_detail(&item->event, &item->error);
        if (item->err == SLUICE_OK && !duplicate)
            event_complete(engine, &item->event, &engine->completed[group->count], now);
        if (item->err == SLUICE_OK && group->function == 0)
            item->err = event_find_bus(engine, item);
    }
}

static void group_apply(struct engine *engine, struct batch_group *group, uint32_t first_index, bool duplicate, struct ack *ack, struct now now)
{
    const uint32_t *numbers = NULL;

    for (unsigned i = 0, matched = 0; i < group->count; i++) {
        struct batch_event *item = &group->items[i];
        if (i == matched && group->function == 0)
            matched = group_match(engine, group, i, &numbers);
        if (item->err == SLUICE_OK && group->function != 0)
            item->err = invoke_take_target(engine, group->function, &item->error);
        else if (item->err == SLUICE_OK)
            item->err = event_take_targets(engine, item->bus, &group->answers[i], numbers, !duplicate, &item->error);
        if (item->err == SLUICE_OK && !duplicate)
            event_append(engine, &item->event, now);
        if (item->err == SLUICE_OK)
            ack->accepted++;
        else
            refuse(&engine->acks, first_index + i, &item->error);
    }
}

/* Decodes and checks every event; appends those that pass unless it is a duplicate. */
static void batch_apply(struct engine *engine, const struct publish *publish, bool duplicate, struct now now)
{
    struct mpack_reader reader = mpack_reader_of(publish->events);
    struct ack ack = { .reply = publish->reply, .duplicate = duplicate, .refusals_first = engine->acks.refusals.count };
    struct batch_group group;

    group.function = publish->function;
    group.lost = false; /* the rest of it is large, and written before it is read */
    for (uint32_t index = 0; index < publish->count; index += group.count) {
        uint32_t left = publish->count - index;
        group_decode(engine, &group, &reader, left < MATCH_BATCH_MAX ? left : MATCH_BATCH_MAX, duplicate, now);
        group_apply(engine, &group, index, duplicate, &ack, now);
    }
    ack.refusals_count = engine->acks.refusals.count - ack.refusals_first;
    if (publish->has_producer && !duplicate) {
        struct producer_row row = producers_apply(engine->producers, publish->producer, publish->epoch, publish->sequence, now.wall_ms,
                                                  engine->gathering);
        VEC_PUSH(&engine->gathering->producers, row);
        ack.has_producer = true;
        memcpy(ack.producer, publish->producer, sizeof ack.producer);
        ack.epoch = publish->epoch;
        ack.sequence = publish->sequence;
    }
    VEC_PUSH(&engine->acks.items, ack);
}

static void publish_judge(struct engine *engine, const struct publish *publish, struct now now)
{
    enum producer_verdict verdict = PRODUCER_APPLY;

    if (publish->has_producer) {
        if (publish->sequence < 1) {
            publish_answer_now(engine, publish, SLUICE_EPROTO, "batch sequences count from 1");
            return;
        }
        verdict = producers_judge(engine->producers, publish->producer, publish->epoch, publish->sequence, publish->lowest);
    }
    switch (verdict) {
    case PRODUCER_STALE:
        publish_answer_now(engine, publish, SLUICE_ESTALE, "a newer epoch of this producer has published; this one must stop");
        return;
    case PRODUCER_DUPLICATE:
        batch_apply(engine, publish, true, now);
        return;
    case PRODUCER_EARLY:
        if (engine->early_count >= PUBLISHES_EARLY_MAX) {
            publish_answer_now(engine, publish, SLUICE_ELIMIT, "too many batches wait for the ones before them; send again in order");
            return;
        }
        struct early *early = malloc(sizeof *early);
        ASSERT(early != NULL);
        early->publish = *publish;
        list_push(&engine->early, &early->link);
        engine->early_count++;
        return;
    case PRODUCER_APPLY:
        if (!engine->accepts)
            publish_answer_now(engine, publish, SLUICE_ELIMIT, engine->full_reason);
        else
            batch_apply(engine, publish, false, now);
        return;
    }
}

static void early_forget(struct engine *engine, struct early *early)
{
    list_remove(&early->link);
    engine->early_count--;
    free(early);
}

void engine_publish(struct engine *engine, const struct publish *publish, bool accepts, const char *full_reason, struct now now)
{
    ASSERT(engine->recovered);
    engine->accepts = accepts;
    engine->full_reason = full_reason;
    if (engine->draining) {
        publish_answer_now(engine, publish, SLUICE_EUNAVAILABLE, "the daemon is stopping");
        return;
    }
    publish_judge(engine, publish, now);
    /* Did this one open the way for others of the same producer? Each that goes may open it for the next. */
    for (bool again = publish->has_producer && engine->early_count != 0; again;) {
        again = false;
        /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): the one forgotten before has left the list, which is begun anew */
        LIST_EACH(at, &engine->early) {
            struct early *early = LIST_OWNER(at, struct early, link);
            if (memcmp(early->publish.producer, publish->producer, 16) != 0 ||
                producers_judge(engine->producers, early->publish.producer, early->publish.epoch, early->publish.sequence,
                                early->publish.lowest) == PRODUCER_EARLY)
                continue;
            struct publish ready = early->publish;
            early_forget(engine, early);
            publish_judge(engine, &ready, now);
            again = true;
            break;
        }
    }
}

/* What they wait for is not taken any more. */
void publish_drain(struct engine *engine)
{
    LIST_EACH(at, &engine->early) {
        struct early *early = LIST_OWNER(at, struct early, link);
        publish_answer_now(engine, &early->publish, SLUICE_EUNAVAILABLE, "the daemon is stopping");
        early_forget(engine, early);
    }
}

void engine_publish_cancel(struct engine *engine, uint64_t reply)
{
    LIST_EACH(at, &engine->early) {
        struct early *early = LIST_OWNER(at, struct early, link);
        if (early->publish.reply == reply)
            early_forget(engine, early);
    }
}
