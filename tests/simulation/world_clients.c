/* Who asks from outside. Callers wait for an answer or leave. Producers number their batches and send them over a network that loses, doubles
 * and delays, until each is answered; now and then one begins a new life. */
#include "tests/simulation/world_internal.h"

enum {
    BATCH_EVENTS_MAX = 8, BATCH_EVENTS_BURST = 400,
    OUTSTANDING_MAX = 6,         /* batches of one producer on their way */
};

/* ---- callers ---- */

void caller_asks(struct world_sim *sim)
{
    unsigned f = (unsigned)below(sim, SIM_FUNCTIONS), count = 1 + (unsigned)below(sim, percent(sim, 10) ? 20 : 2);
    uint32_t function;

    if (sim->calm)
        return;
    act_after(sim, (int64_t)below(sim, 60000), ACT_CALL, 0, 0);
    if (!engine_function_find(sim->engine, view_of(sim->functions[f].name), &function))
        return;
    for (unsigned i = 0; i < count; i++) {
        uint64_t handle = callers_next(sim->callers);
        enum sluice_err said = engine_invoke(sim->engine, function, handle, sim->now, NULL);
        callers_asked(sim->callers, f, said, function_configured(sim, f), sim->draining, sim->now);
        if (percent(sim, 20))
            act_after(sim, (int64_t)below(sim, 200000), ACT_LEAVE, 0, 0);
    }
}

void caller_leaves(struct world_sim *sim)
{
    uint64_t handle = callers_any(sim->callers, chance_next(&sim->chance) >> 20);

    if (handle == 0)
        return;
    engine_invoke_cancel(sim->engine, handle);
    callers_left(sim->callers, handle);
}

void world_invoke_answered(void *ctx, uint64_t invoke, const struct invoke_answer *answer)
{
    struct world_sim *sim = ctx;
    callers_answered(sim->callers, invoke, answer, function_configured(sim, callers_function(sim->callers, invoke)), sim->draining, sim->now);
}

/* ---- producers ---- */

/* What the producer says with a batch: all before this one are settled. */
static uint64_t lowest_outstanding(const struct world_sim *sim, const struct batch *batch)
{
    uint64_t lowest = batch->sequence;

    if (batch->producer < 0)
        return 0;
    const struct producer_sim *producer = &sim->producers[batch->producer];
    for (size_t i = 0; i < producer->outstanding.count; i++) {
        uint64_t sequence = sim->batches.items[producer->outstanding.items[i]].sequence;
        if (sequence < lowest)
            lowest = sequence;
    }
    return lowest;
}

static void batch_send(struct world_sim *sim, size_t batch)
{
    /* Lost one time in ten, twice one time in ten; late by up to 30 ms, so that batches overtake each other. */
    unsigned copies = sim->calm || percent(sim, 80) ? 1 : percent(sim, 50) ? 0 : 2;

    for (unsigned i = 0; i < copies; i++)
        act_after(sim, (int64_t)below(sim, 30000), ACT_ARRIVE, batch, lowest_outstanding(sim, &sim->batches.items[batch]));
}

/* An asynchronous invocation is a publish of its own. */
static void batch_make(struct world_sim *sim, int producer, int invoked)
{
    struct batch batch = { .producer = producer };
    unsigned max = sim->burst && !sim->calm && percent(sim, 40) ? BATCH_EVENTS_BURST : BATCH_EVENTS_MAX;

    batch.count = 1 + (uint32_t)below(sim, invoked >= 0 ? 1 : max);
    batch.invoked = invoked;
    if (producer >= 0) {
        batch.epoch = sim->producers[producer].epoch;
        batch.sequence = ++sim->producers[producer].sequence;
    }
    for (uint32_t i = 0; i < batch.count; i++) {
        struct sim_event made = { .source = (unsigned)below(sim, SIM_SOURCES), .refusable = invoked < 0 && percent(sim, 3), .invoked = invoked,
                                  .producer = producer,
                                  .epoch = batch.epoch, .sequence = batch.sequence };
        if (percent(sim, 4))
            made.not_before_ms = sim->now.wall_ms + (int64_t)below(sim, 3000);
        uint32_t number = oracle_event(sim->oracle, &made);
        if (i == 0)
            batch.first_event = number;
        char id[16], source[8];
        (void)snprintf(id, sizeof id, "e%u", number);
        (void)snprintf(source, sizeof source, "s%u", made.source);
        struct event event = { .id = view_of(id), .source = view_of(source), .detail_type = VIEW_LITERAL("Simulated"),
                               .detail = VIEW_LITERAL("{}"), .has_time = percent(sim, 50), .time_ms = sim->now.wall_ms,
                               .has_not_before = made.not_before_ms != 0, .not_before_ms = made.not_before_ms };
        if (invoked >= 0)
            event.kind = EVENT_KIND_INVOKE;
        if (made.refusable)
            event.bus = VIEW_LITERAL("nowhere");
        envelope_encode(&event, &batch.bytes);
    }
    VEC_PUSH(&sim->batches, batch);
    if (producer >= 0)
        VEC_PUSH(&sim->producers[producer].outstanding, sim->batches.count - 1);
    batch_send(sim, sim->batches.count - 1);
}

/* Now and then: a new batch, or the old ones again, or a new life of the producer, which forgets what it had sent. */
void produce(struct world_sim *sim, uint64_t index)
{
    struct producer_sim *producer = &sim->producers[index];

    bool waits = producer->outstanding.count > 0;
    act_after(sim, (int64_t)below(sim, !sim->calm ? 60000 : waits ? 200000 : 5000000), ACT_PRODUCE, index, 0);
    if (!sim->calm && percent(sim, 1)) {
        for (size_t i = 0; i < producer->outstanding.count; i++)
            sim->batches.items[producer->outstanding.items[i]].settled = true;
        producer->outstanding.count = 0;
        producer->epoch++;
        producer->sequence = 0;
    }
    if (!sim->calm && percent(sim, 25))
        batch_make(sim, -1, percent(sim, 80) ? (int)below(sim, SIM_FUNCTIONS) : -1);
    if (producer->outstanding.count < OUTSTANDING_MAX && !sim->calm)
        batch_make(sim, (int)index, -1);
    else
        for (size_t i = 0; i < producer->outstanding.count; i++)
            batch_send(sim, producer->outstanding.items[i]);
}

void batch_arrives(struct world_sim *sim, size_t index, uint64_t lowest)
{
    const struct batch *batch = &sim->batches.items[index];
    struct publish publish = { .reply = sim->replies.count + 1, .has_producer = batch->producer >= 0, .epoch = batch->epoch,
                               .sequence = batch->sequence, .lowest = lowest, .events = bytes_view(&batch->bytes),
                               .count = batch->count };

    if (batch->producer < 0 && batch->repeat)
        return; /* without a producer's number a repeat is another event; the sender knows and sends once */
    sim->batches.items[index].repeat = true;
    if (batch->invoked >= 0) {
        if (!engine_function_find(sim->engine, view_of(sim->functions[batch->invoked].name), &publish.function))
            return;
        oracle_event_refusable(sim->oracle, batch->first_event, function_configured(sim, (unsigned)batch->invoked) == NULL);
    }
    publish.producer[0] = (uint8_t)(batch->producer + 1);
    VEC_PUSH(&sim->replies, (struct reply){ .batch = index, .life = sim->life });
    engine_publish(sim->engine, &publish, sim->accepts, "the simulated store is nearly full", sim->now);
    if (!sim->calm && percent(sim, 2)) {
        sim->replies.items[publish.reply - 1].cancelled = true;
        engine_publish_cancel(sim->engine, publish.reply);
    }
}

/* ---- answers ---- */

static void answer_check(const struct world_sim *sim, const struct batch *batch, const struct publish_answer *answer)
{
    size_t refused = 0;

    for (uint32_t i = 0; i < batch->count; i++) {
        const struct sim_event *event = oracle_event_at(sim->oracle, batch->first_event + i);
        if (refused < answer->refusals_count && answer->refusals[refused].index == i) {
            if (!event->refusable)
                sim_fail("event e%u was refused: %s", batch->first_event + i, answer->refusals[refused].error.text);
            refused++;
        } else if (event->refusable) {
            sim_fail("event e%u, on a bus that does not exist, was accepted%s", batch->first_event + i,
                     answer->duplicate ? " when it was repeated" : "");
        } else if (event->seq == 0) {
            sim_fail("event e%u was acked before it was on the disk", batch->first_event + i);
        }
    }
    if (answer->accepted + answer->refusals_count != batch->count || refused != answer->refusals_count)
        sim_fail("%u accepted and %zu refused of %u", answer->accepted, answer->refusals_count, batch->count);
}

void world_publish_answered(void *ctx, uint64_t number, const struct publish_answer *answer)
{
    struct world_sim *sim = ctx;
    struct reply *reply = &sim->replies.items[number - 1];
    const struct batch *batch = &sim->batches.items[reply->batch];

    if (reply->answered)
        sim_fail("publish %" PRIu64 " was answered twice", number);
    if (reply->life != sim->life)
        sim_fail("publish %" PRIu64 " of an earlier life was answered", number);
    reply->answered = true;
    if (answer->code == SLUICE_OK)
        answer_check(sim, batch, answer);
    else if (answer->code == SLUICE_ESTALE && batch->epoch >= sim->producers[batch->producer].epoch)
        sim_fail("the newest epoch of producer %d was called stale", batch->producer);
    if (!reply->cancelled && (sim->calm || percent(sim, 90)) && answer->code == SLUICE_OK)
        act_after(sim, (int64_t)below(sim, 10000), ACT_ANSWER, reply->batch, 0);
}

void answer_arrives(struct world_sim *sim, size_t index)
{
    struct batch *batch = &sim->batches.items[index];

    if (batch->settled || batch->producer < 0)
        return;
    batch->settled = true;
    struct producer_sim *producer = &sim->producers[batch->producer];
    for (size_t i = 0; i < producer->outstanding.count; i++) {
        if (producer->outstanding.items[i] != index)
            continue;
        memmove(&producer->outstanding.items[i], &producer->outstanding.items[i + 1],
                (producer->outstanding.count - i - 1) * sizeof *producer->outstanding.items);
        producer->outstanding.count--;
        return;
    }
}

/* All publishes of a life that ended in an orderly way have their answer. */
void replies_check(const struct world_sim *sim)
{
    for (size_t i = 0; i < sim->replies.count; i++) {
        const struct reply *reply = &sim->replies.items[i];
        if (reply->life == sim->life && !reply->answered && !reply->cancelled)
            sim_fail("publish %zu was never answered", i + 1);
    }
}
