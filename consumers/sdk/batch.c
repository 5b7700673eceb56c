#include "consumers/sdk/batch.h"

#include <stdlib.h>

#include "producers/client/wire.h"

static bool batch_reserve(struct sdk_batch *batch, uint32_t count)
{
    if (count <= batch->capacity)
        return true;
    struct sdk_delivery *deliveries = realloc(batch->deliveries, count * sizeof *deliveries);
    if (deliveries == NULL)
        return false;
    memset(deliveries + batch->capacity, 0, (count - batch->capacity) * sizeof *deliveries);
    batch->deliveries = deliveries;
    struct sluice_delivery **shown = realloc(batch->shown, count * sizeof *shown);
    if (shown != NULL)
        batch->shown = shown;
    enum sluice_err *codes = realloc(batch->codes, count * sizeof *codes);
    if (codes != NULL)
        batch->codes = codes;
    /* The deliveries hold buffers of their own, so what has grown must be remembered even if the rest did not. */
    batch->capacity = count;
    return shown != NULL && codes != NULL;
}

static const char *delivery_json(struct sluice_delivery *shown)
{
    struct sdk_delivery *delivery = shown->internal;

    if (delivery->json.len > 0)
        return delivery->json.data;
    if (shown->detail_is_input)
        bytes_put(&delivery->json, shown->detail, shown->detail_len);
    else
        event_put_json(&delivery->json, &delivery->event, EVENT_SHAPE_EVENTBRIDGE);
    bytes_put_char(&delivery->json, '\0');
    if (delivery->json.failed) {
        bytes_clear(&delivery->json);
        return "";
    }
    return delivery->json.data;
}

/* The text must stand in a reply that is ours, with a byte behind it that nobody reads any more. */
static const char *end_in_place(struct view text)
{
    if (text.data == NULL)
        return "";
    char *at = (char *)(uintptr_t)text.data;
    at[text.len] = '\0';
    return at;
}

static void delivery_show(struct sdk_delivery *delivery)
{
    const struct event *event = &delivery->event;
    struct sluice_delivery *shown = &delivery->shown;

    shown->internal = delivery;
    shown->envelope_json = delivery_json;
    if (shown->detail_is_input) {
        shown->id = shown->source = shown->type = shown->bus = "";
        return;
    }
    if (event->id_is_uuid) {
        uuid_to_text((const uint8_t *)event->id.data, delivery->id_text);
        shown->id = delivery->id_text;
    } else {
        shown->id = end_in_place(event->id);
    }
    shown->source = end_in_place(event->source);
    shown->type = end_in_place(event->detail_type);
    shown->bus = event->bus.data != NULL ? end_in_place(event->bus) : EVENT_BUS_DEFAULT;
    shown->time_ms = event->time_ms;
    shown->detail = event->detail.data;
    shown->detail_len = event->detail.len;
    shown->detail_is_mpack = event->detail_format == DETAIL_MPACK;
}

static bool read_delivery(struct mpack_reader *reader, struct sdk_delivery *delivery)
{
    uint32_t items;
    uint64_t attempt, shape;
    struct view input;

    bytes_clear(&delivery->json);
    delivery->type_len = delivery->message_len = 0;
    delivery->shown = (struct sluice_delivery){ 0 };
    if (!mpack_read_array(reader, &items) || items != 3 || !mpack_read_uint(reader, UINT32_MAX, &attempt) ||
        !mpack_read_uint(reader, NEXT_JSON, &shape))
        return false;
    delivery->shown.attempt = (unsigned)attempt;
    if (shape == NEXT_ENVELOPE)
        return envelope_decode(reader, &delivery->event, NULL) == SLUICE_OK;
    if (!mpack_read_bin(reader, &input))
        return false;
    delivery->shown.detail = input.data;
    delivery->shown.detail_len = input.len;
    delivery->shown.detail_is_input = true;
    return true;
}

/* The list of deliveries, behind lease and deadline. */
static enum sluice_err read_deliveries(struct sdk_batch *batch, struct wire_head *head, int64_t deadline_ms,
                                       struct sluice_error *reterr)
{
    uint32_t count;

    if (!mpack_read_array(&head->rest, &count) || count > NEXT_EVENTS_MAX || (batch->lease == 0) != (count == 0))
        return sluice_fail(reterr, SLUICE_EPROTO, "the daemon's answer to `next` has no list of deliveries");
    if (!batch_reserve(batch, count))
        return sluice_fail(reterr, SLUICE_ENOMEM, "out of memory for %u deliveries", count);
    for (uint32_t i = 0; i < count; i++) {
        struct sdk_delivery *delivery = &batch->deliveries[i];
        if (!read_delivery(&head->rest, delivery))
            return sluice_fail(reterr, SLUICE_EPROTO, "the daemon's answer to `next` is broken at delivery %u of %u", i, count);
        delivery->batch = batch;
        delivery->shown.deadline_ms = deadline_ms;
        batch->shown[i] = &delivery->shown;
        batch->codes[i] = SLUICE_OK;
    }
    batch->count = count;
    for (uint32_t i = 0; i < count; i++)
        delivery_show(&batch->deliveries[i]); /* writes into the reply: all of it has been read now */
    return SLUICE_OK;
}

enum sluice_err sdk_batch_open(struct sdk_batch *batch, nng_msg *reply, struct sluice_error *reterr)
{
    struct wire_head head;
    int64_t deadline_ms;

    if (batch->reply != NULL)
        nng_msg_free(batch->reply);
    batch->reply = reply;
    batch->lease = 0;
    batch->count = 0;
    bytes_clear(&batch->notes);
    enum sluice_err err = wire_read_head((struct view){ .data = nng_msg_body(reply), .len = nng_msg_len(reply) }, &head, reterr);
    if (err != SLUICE_OK)
        return err;
    if (head.code != SLUICE_OK)
        return wire_refusal(&head, "`next`", reterr);
    if (head.items < 6 || !mpack_read_uint(&head.rest, UINT64_MAX, &batch->lease) || !mpack_read_int(&head.rest, &deadline_ms)) {
        batch->lease = 0;
        return sluice_fail(reterr, SLUICE_EPROTO, "the daemon's answer to `next` has no lease");
    }
    err = read_deliveries(batch, &head, deadline_ms, reterr);
    if (err != SLUICE_OK)
        batch->lease = 0;
    return err;
}

void sdk_batch_handle(struct sdk_batch *batch, const struct sluice_function *function)
{
    if (function->handle_batch != NULL) {
        function->handle_batch(function->user, batch->shown, batch->count, batch->codes);
        return;
    }
    for (uint32_t i = 0; i < batch->count; i++)
        batch->codes[i] = function->handle(function->user, batch->shown[i]);
}

void sluice_function_fail(struct sluice_delivery *shown, const char *type, const char *message)
{
    struct sdk_delivery *delivery = shown->internal;
    struct bytes *notes = &delivery->batch->notes;

    delivery->type_at = notes->len;
    delivery->type_len = strnlen(type != NULL ? type : "", SDK_TYPE_BYTES_MAX);
    bytes_put(notes, type, delivery->type_len);
    delivery->message_at = notes->len;
    delivery->message_len = strnlen(message != NULL ? message : "", SDK_MESSAGE_BYTES_MAX);
    bytes_put(notes, message, delivery->message_len);
    if (notes->failed) { /* the failure itself is still told, by its code */
        notes->failed = false;
        delivery->type_len = delivery->message_len = 0;
    }
}

static void put_failure(const struct sdk_batch *batch, uint32_t index, struct bytes *out)
{
    const struct sdk_delivery *delivery = &batch->deliveries[index];
    struct view type = view_of(sluice_err_name(batch->codes[index])), message = { .data = "", .len = 0 };

    if (delivery->type_len > 0)
        type = (struct view){ .data = batch->notes.data + delivery->type_at, .len = delivery->type_len };
    if (delivery->message_len > 0)
        message = (struct view){ .data = batch->notes.data + delivery->message_at, .len = delivery->message_len };
    mpack_put_array(out, 3);
    mpack_put_uint(out, index);
    mpack_put_str(out, type);
    mpack_put_str(out, message);
}

void sdk_batch_put_result(const struct sdk_batch *batch, struct bytes *out)
{
    uint32_t failed = 0;

    for (uint32_t i = 0; i < batch->count; i++)
        failed += batch->codes[i] != SLUICE_OK;
    mpack_put_array(out, 3);
    mpack_put_uint(out, batch->lease);
    if (failed == 0) {
        mpack_put_nil(out);
    } else {
        mpack_put_array(out, failed);
        for (uint32_t i = 0; i < batch->count; i++)
            if (batch->codes[i] != SLUICE_OK)
                put_failure(batch, i, out);
    }
    mpack_put_nil(out); /* a C function has no output but its log */
}

void sdk_batch_done(struct sdk_batch *batch)
{
    for (uint32_t i = 0; i < batch->capacity; i++)
        bytes_done(&batch->deliveries[i].json);
    free(batch->deliveries);
    free(batch->shown);
    free(batch->codes);
    bytes_done(&batch->notes);
    if (batch->reply != NULL)
        nng_msg_free(batch->reply);
    *batch = (struct sdk_batch){ 0 };
}

void sdk_put_next(struct bytes *out, const char *instance, unsigned events_max, struct view result)
{
    mpack_put_array(out, 5);
    mpack_put_uint(out, PROTOCOL_VERSION);
    mpack_put_uint(out, CALL_NEXT);
    mpack_put_str(out, view_of(instance));
    mpack_put_uint(out, events_max);
    mpack_put_array(out, result.len > 0 ? 1 : 0);
    bytes_put_view(out, result);
}
