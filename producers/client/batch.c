#include "producers/client/batch.h"

#include <stdlib.h>

#include "schemas/codec/envelope.h"
#include "schemas/codec/ids.h"

struct batch *batch_new(size_t bytes)
{
    struct batch *batch = calloc(1, sizeof *batch);

    if (batch != NULL && !bytes_reserve(&batch->envelopes, bytes))
        batch = batch_free(batch);
    return batch;
}

struct batch *batch_free(struct batch *batch)
{
    if (batch == NULL)
        return NULL;
    bytes_done(&batch->envelopes);
    free(batch->acks);
    if (batch->reply != NULL)
        nng_msg_free(batch->reply);
    free(batch);
    return NULL;
}

void batch_reset(struct batch *batch)
{
    struct bytes envelopes = batch->envelopes;
    struct batch_ack *acks = batch->acks;
    uint32_t acks_capacity = batch->acks_capacity;

    if (batch->reply != NULL)
        nng_msg_free(batch->reply);
    bytes_clear(&envelopes);
    *batch = (struct batch){ .state = BATCH_OPEN, .envelopes = envelopes, .acks = acks, .acks_capacity = acks_capacity };
}

/* Text of 1 to 256 bytes into *ret_view; absent stays absent. */
static bool field_fits(const char *text, struct view *ret_view)
{
    *ret_view = view_of(text);
    return text == NULL || (ret_view->len >= 1 && ret_view->len <= ENVELOPE_FIELD_BYTES_MAX);
}

static enum sluice_err bad_field(struct sluice_error *reterr, const char *name)
{
    return sluice_fail(reterr, SLUICE_EINVAL, "event: '%s' must be of 1 to %d bytes", name, ENVELOPE_FIELD_BYTES_MAX);
}

static enum sluice_err put_resources(const char *const *resources, struct bytes *scratch, struct event *event,
                                     struct sluice_error *reterr)
{
    uint32_t count = 0;

    while (resources[count] != NULL)
        if (++count > ENVELOPE_RESOURCES_MAX)
            return sluice_fail(reterr, SLUICE_EINVAL, "event: more than %d resources", ENVELOPE_RESOURCES_MAX);
    bytes_clear(scratch);
    mpack_put_array(scratch, count);
    for (uint32_t i = 0; i < count; i++)
        mpack_put_str(scratch, view_of(resources[i]));
    if (scratch->failed)
        return sluice_fail(reterr, SLUICE_ENOMEM, "event: out of memory");
    event->resources = bytes_view(scratch);
    event->resources_count = count;
    return SLUICE_OK;
}

static enum sluice_err put_detail(const struct sluice_event *from, struct event *event, struct sluice_error *reterr)
{
    if ((from->detail == NULL) == (from->detail_mpack == NULL))
        return sluice_fail(reterr, SLUICE_EINVAL, "event: exactly one of 'detail' and 'detail_mpack' must be set");
    if (from->detail_mpack != NULL) {
        event->detail = (struct view){ .data = from->detail_mpack, .len = from->detail_len };
        event->detail_format = DETAIL_MPACK;
    } else {
        event->detail =
            (struct view){ .data = from->detail, .len = from->detail_len != 0 ? from->detail_len : strlen(from->detail) };
        event->detail_format = DETAIL_JSON;
    }
    return SLUICE_OK;
}

enum sluice_err event_encode(const struct sluice_event *from, const struct event_defaults *defaults, size_t bytes_max,
                             struct bytes *scratch, struct bytes *out, struct sluice_error *reterr)
{
    struct event event = { .kind = EVENT_KIND_EVENT, .has_time = true };
    uint8_t uuid[UUID_BYTES];
    size_t before = out->len;

    if (from->source == NULL || from->type == NULL)
        return sluice_fail(reterr, SLUICE_EINVAL, "event: '%s' is missing", from->source == NULL ? "source" : "type");
    const struct { const char *name, *text; struct view *view; } fields[] = {
        { "source", from->source, &event.source },    { "type", from->type, &event.detail_type },
        { "bus", from->bus, &event.bus },             { "id", from->id, &event.id },
        { "account", from->account, &event.account }, { "region", from->region, &event.region },
        { "key", from->key, &event.key },             { "dedup_id", from->dedup_id, &event.dedup_id },
        { "traceparent", from->traceparent, &event.traceparent },
    };
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
        if (!field_fits(fields[i].text, fields[i].view))
            return bad_field(reterr, fields[i].name);
    enum sluice_err err = put_detail(from, &event, reterr);
    if (err == SLUICE_OK && from->resources != NULL)
        err = put_resources(from->resources, scratch, &event, reterr);
    if (err != SLUICE_OK)
        return err;

    event.time_ms = from->time_ms != 0 ? from->time_ms : defaults->now_ms;
    event.has_not_before = from->not_before_ms != 0;
    event.not_before_ms = from->not_before_ms;
    if (from->id == NULL)
        uuid7_make(defaults->now_ms, defaults->random, uuid);
    event.id_is_uuid = from->id == NULL || uuid_from_text(event.id, uuid);
    if (event.id_is_uuid)
        event.id = (struct view){ .data = (const char *)uuid, .len = UUID_BYTES };
    if (view_is(event.bus, EVENT_BUS_DEFAULT))
        event.bus = (struct view){ 0 };

    envelope_encode(&event, out);
    if (out->failed) {
        out->failed = false; /* what it held before is whole */
        out->len = before;
        return sluice_fail(reterr, SLUICE_ENOMEM, "event: out of memory");
    }
    if (out->len - before > bytes_max) {
        err = sluice_fail(reterr, SLUICE_EINVAL,
                          "event: %zu bytes encoded, at most %zu; keep large data elsewhere and send its address",
                          out->len - before, bytes_max);
        out->len = before;
        return err;
    }
    return SLUICE_OK;
}

bool batch_add(struct batch *batch, size_t bytes, sluice_ack *ack, void *user)
{
    if (batch->count == batch->acks_capacity) {
        uint32_t capacity = batch->acks_capacity == 0 ? 64 : batch->acks_capacity * 2;
        struct batch_ack *acks = realloc(batch->acks, capacity * sizeof *acks);
        if (acks == NULL)
            return false;
        batch->acks = acks;
        batch->acks_capacity = capacity;
    }
    batch->acks[batch->count++] = (struct batch_ack){ .ack = ack, .user = user };
    batch->held_bytes += bytes + sizeof *batch->acks;
    return true;
}

static void call_ack(const struct batch_ack *to, enum sluice_err code, struct view text)
{
    static const struct sluice_error none = { .code = SLUICE_OK };
    struct sluice_error error;

    if (to->ack == NULL)
        return;
    if (code == SLUICE_OK) {
        to->ack(to->user, code, &none);
        return;
    }
    if (text.len == 0)
        text = view_of(sluice_err_name(code));
    (void)sluice_fail(&error, code, "%.*s", text.len < SLUICE_ERROR_TEXT_MAX ? (int)text.len : SLUICE_ERROR_TEXT_MAX, text.data);
    to->ack(to->user, code, &error);
}

void batch_call_acks(struct batch *batch, struct batch_totals *totals)
{
    struct wire_refused refused;
    enum sluice_err code = batch->published.code;
    struct view text = batch->published.text;

    if (batch->reply == NULL) {
        code = SLUICE_EUNAVAILABLE;
        text = VIEW_LITERAL("the producer was closed before the daemon answered");
        totals->unconfirmed += batch->count;
    }
    bool more = batch->reply != NULL && code == SLUICE_OK && wire_next_refused(&batch->published, &refused);
    for (uint32_t i = 0; i < batch->count; i++) {
        if (more && refused.index == i) {
            call_ack(&batch->acks[i], refused.code, refused.text);
            more = wire_next_refused(&batch->published, &refused);
            totals->refused++;
            continue;
        }
        call_ack(&batch->acks[i], code, text);
        if (batch->reply != NULL && code == SLUICE_OK)
            totals->acked++;
        else if (batch->reply != NULL)
            totals->refused++;
    }
}
