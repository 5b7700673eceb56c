/* cloudevents.c - POST /events: CloudEvents 1.0 in the three modes of its HTTP binding, answered when they are on disk.
 *
 *   Content-Type: application/cloudevents-batch+json   a list of events; what is wrong with one does not keep the others back
 *   Content-Type: application/cloudevents+json         one event
 *   ce-specversion, or ce-id                           binary: the attributes are headers, the body is the data
 *
 * /events?bus=NAME puts them on another bus than the default one. 202 {"accepted": N, "refused": [{"index", "code", "message"}]}; if none was
 * accepted, the status says why. OPTIONS with WebHook-Request-Origin is answered as the webhook specification wants. */
#include "schemas/codec/utf8.h"
#include "broker/api/cloudevents/attributes.h"

#include <stdio.h>

#include "broker/api/api_internal.h"

enum mode { MODE_BATCH, MODE_STRUCTURED, MODE_BINARY, MODE_OTHER };

static enum mode mode_of(const struct call *call)
{
    static const char batch[] = "application/cloudevents-batch", one[] = "application/cloudevents";
    struct view type = http_header(call->exchange, "content-type");
    bool is_batch = view_begins_any_case(type, batch);

    if (view_begins_any_case(type, one)) {
        size_t len = is_batch ? sizeof batch - 1 : sizeof one - 1;
        struct view rest = { type.data + len, type.len - len };
        if (rest.len > 0 && rest.data[0] != ';' && rest.data[0] != ' ' && !view_begins_any_case(rest, "+json"))
            return MODE_OTHER;
        return is_batch ? MODE_BATCH : MODE_STRUCTURED;
    }
    bool binary = http_header(call->exchange, "ce-specversion").data != NULL || http_header(call->exchange, "ce-id").data != NULL;
    return binary ? MODE_BINARY : MODE_OTHER;
}

/* ---- the answer ---- */

static bool entry_is_refused(const struct publish_entry *entry)
{
    return entry->err != SLUICE_OK;
}

static void put_refusal(struct bytes *out, size_t index, const struct publish_entry *entry)
{
    bytes_put_char(out, '{');
    put_member_number(out, "index", (int64_t)index);
    put_member(out, "code", view_of(sluice_err_name(entry->err)));
    put_member(out, "message", view_of(entry->text));
    put_object_end(out);
    bytes_put_char(out, ',');
}

static void answered(struct call *call, const struct publishing *publishing, enum sluice_err err, const char *text)
{
    struct bytes *out = &call->api->text;
    unsigned refused = 0, status = 202;

    if (err != SLUICE_OK) {
        call_refuse(call, status_of(err), "%s", text);
        return;
    }
    for (size_t i = 0; i < publishing->entries.count; i++) {
        const struct publish_entry *entry = &publishing->entries.items[i];
        if (entry_is_refused(entry) && refused++ == 0)
            status = status_of(entry->err);
    }
    bytes_clear(out);
    bytes_put_format(out, "{\"accepted\":%zu,\"refused\":[", publishing->entries.count - refused);
    for (size_t i = 0; refused > 0 && i < publishing->entries.count; i++) {
        if (entry_is_refused(&publishing->entries.items[i]))
            put_refusal(out, i, &publishing->entries.items[i]);
    }
    out->len -= refused > 0; /* the last comma */
    bytes_put_text(out, "]}\n");
    if (out->failed)
        call_refuse(call, 500, "out of memory");
    else
        call_respond_json(call, refused > 0 && refused == publishing->entries.count ? status : 202, bytes_view(out));
}

/* ---- the request ---- */

struct reading {
    struct publishing *publishing;
    struct cloudevent event;
    struct view bus;                     /* data NULL: the default one */
};

static void entry_put(struct reading *reading, enum sluice_err err, const struct sluice_error *error)
{
    struct publishing *publishing = reading->publishing;
    struct publish_entry entry = { .err = err };

    if (err != SLUICE_OK) {
        entry.code = sluice_err_name(err);
        entry.text = arena_text(publishing->arena, view_of(error->text));
    } else {
        struct event *event = &reading->event.event;
        event->bus = reading->bus;
        if (event->id_is_uuid)
            memcpy(entry.id, event->id.data, sizeof entry.id);
        else
            entry.id_text = event->id;
        publishing_put(publishing, &entry, event);
        entry.id_text = (struct view){ 0 }; /* it was of the request */
    }
    VEC_PUSH(&publishing->entries, entry);
}

static void read_binary(struct call *call, struct reading *reading)
{
    struct sluice_error error;
    enum sluice_err err = SLUICE_OK;

    cloudevent_begin(&reading->event, HTTP_HEAD_BYTES_MAX);
    for (unsigned i = 0; err == SLUICE_OK && i < http_headers_count(call->exchange); i++) {
        struct http_field field = http_header_at(call->exchange, i);
        if (view_begins_any_case(field.name, "ce-"))
            err = cloudevent_header(&reading->event, (struct view){ field.name.data + 3, field.name.len - 3 }, field.value, &error);
    }
    if (err == SLUICE_OK)
        err = cloudevent_body(&reading->event, http_header(call->exchange, "content-type"), http_body(call->exchange), &error);
    entry_put(reading, err, &error);
}

/* false: refused as a whole. */
static bool read_json(struct call *call, struct reading *reading, bool batch)
{
    struct view body = http_body(call->exchange), key, value;
    struct sluice_error error;

    if (json_check(body, JSON_ANY, JSON_DEPTH_MAX, &error) != SLUICE_OK) {
        call_refuse(call, 400, "the body is not JSON: %s", error.text);
        return false;
    }
    struct json_walk walk = json_walk_of(body);
    if (!batch) {
        enum sluice_err err = cloudevent_object(&reading->event, body, &error);
        entry_put(reading, err, &error);
        return true;
    }
    if (walk.object || walk.at == walk.end) {
        call_refuse(call, 400, "a batch is a JSON list");
        return false;
    }
    while (json_walk_next(&walk, &key, &value)) {
        if (reading->publishing->entries.count == PUBLISH_BATCH_EVENTS_MAX) {
            call_refuse(call, 413, "a batch has at most %d events", PUBLISH_BATCH_EVENTS_MAX);
            return false;
        }
        enum sluice_err err = cloudevent_object(&reading->event, value, &error);
        entry_put(reading, err, &error);
    }
    return true;
}

static void serve(struct call *call)
{
    struct view bus = http_query_value(http_query(call->exchange), "bus");
    struct bytes decoded = { 0 };
    struct reading reading = { .publishing = NULL };
    enum mode mode = mode_of(call);
    bool good = true;

    if (bus.data != NULL && (!http_unescape(bus, &decoded) || decoded.len < 1 || decoded.len > ENVELOPE_FIELD_BYTES_MAX ||
                             !utf8_valid(bytes_view(&decoded)))) {
        bytes_done(&decoded);
        call_refuse(call, 400, "'bus' must be the name of a bus");
        return;
    }
    if (bus.data != NULL)
        reading.bus = bytes_view(&decoded);
    reading.publishing = publishing_new(call);
    reading.publishing->answered = answered;
    if (mode == MODE_BINARY)
        read_binary(call, &reading);
    else
        good = read_json(call, &reading, mode == MODE_BATCH);
    cloudevent_done(&reading.event);
    bytes_done(&decoded);
    if (good)
        publishing_begin(reading.publishing);
    else
        (void)publishing_free(reading.publishing);
}

/* A sender that asks whether it may: anyone may who reaches this port. */
static void options(struct call *call)
{
    struct view origin = http_header(call->exchange, "webhook-request-origin");
    struct answer answer = { .count = 0 };

    answer_put(&answer, "allow", VIEW_LITERAL("POST, OPTIONS"));
    if (origin.len > 0) {
        answer_put(&answer, "webhook-allowed-origin", origin);
        answer_put(&answer, "webhook-allowed-rate", VIEW_LITERAL("*"));
    }
    call_respond(call, 200, &answer, VIEW_LITERAL(""));
}

void cloudevents_head(struct call *call)
{
    struct view method = http_method(call->exchange);

    if (view_is(method, "OPTIONS"))
        options(call);
    else if (!view_is(method, "POST"))
        call_refuse_method(call, "POST, OPTIONS");
    else if (mode_of(call) == MODE_OTHER)
        call_refuse(call, 415, "not a CloudEvent: Content-Type application/cloudevents+json or application/cloudevents-batch+json, or headers ce-id, "
                               "ce-source, ce-specversion and ce-type");
    else
        call_serve(call, serve, PUBLISH_BATCH_BYTES_MAX);
}
