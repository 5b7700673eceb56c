/* The inputs that templates make, on a delivery's way from the queue into a lease. One that cannot be made never will be: the event and
 * the target's text do not change. So its delivery is a dead letter at once, and no attempt is counted. */
#include "broker/core/engine_internal.h"

bool delivery_input(struct engine *engine, uint32_t target_id, struct view envelope, int64_t accepted_ms, struct sluice_error *reterr)
{
    struct event event;

    if (target_id < 1 || target_id > engine->targets.count)
        return true;
    const struct target *target = &engine->targets.items[target_id - 1];
    if (target->row.input != TARGET_INPUT_TEMPLATE)
        return true;
    if (target->template == NULL)
        return sluice_fail(reterr, SLUICE_ECORRUPT, "the stored template is damaged") == SLUICE_OK;
    if (!envelope_decode_stored(envelope, &event))
        return sluice_fail(reterr, SLUICE_ECORRUPT, "the stored event cannot be read") == SLUICE_OK;
    const struct template_context context = { .event = &event, .rule = target->row.rule.data, .accepted_ms = accepted_ms };
    enum sluice_err err = template_render(target->template, &context, &engine->inputs, reterr);
    ASSERT(!engine->inputs.failed);
    return err == SLUICE_OK;
}

void delivery_bury(struct engine *engine, struct function *function, const struct leased *item, const struct sluice_error *reason,
                   struct now now)
{
    const struct failure failure = { .type = VIEW_LITERAL("Input.InvalidTemplate"), .message = view_of(reason->text),
                                     .output = VIEW_LITERAL("") };
    settle_undeliverable(engine, function, item, &failure, now);
}

void queue_bury(struct engine *engine, struct function *function, struct now now)
{
    struct delivery first;
    struct stored_event event;
    struct sluice_error reason;
    size_t bytes = 0;

    queue_page(engine, function);
    while (runs_first(&function->ready, &first) &&
           engine->world.reader.event(engine->world.reader.ctx, first.seq, &event) == SLUICE_OK &&
           first.ordinal < event.event.targets_count) {
        uint32_t target = record_target(&event.event, first.ordinal);
        bytes_clear(&engine->inputs);
        if (delivery_input(engine, target, event.event.envelope, event.committed_ms, &reason))
            return;
        if (bytes > BURY_BYTES_MAX) {
            function_touch(engine, function);
            return;
        }
        bytes += event.event.envelope.len + MESSAGE_KEPT_BYTES;
        runs_pop(&function->ready);
        const struct leased item = { .delivery = first, .accepted_ms = event.committed_ms, .target = target };
        delivery_bury(engine, function, &item, &reason, now);
        if (runs_empty(&function->ready))
            queue_page(engine, function);
    }
}
