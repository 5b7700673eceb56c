/* events.c - PutEvents: entries become events of kind event, and are answered when they are on disk.
 *
 * Some mistakes are the whole request's (too many entries, too large), some one entry's; the others of such a request are published.
 * Detail is a JSON text inside a JSON string: its bytes, once decoded, are kept as they are. */
#include "broker/api/aws/json_services.h"
#include "broker/api/once.h"
#include "broker/edge/log.h"

#include <math.h>
#include <stdlib.h>

enum {
    ENTRIES_MAX = 10,
    ENTRIES_BYTES_MAX = 1 << 20,         /* of all entries together, as EventBridge counts them */
    ENTRY_TIME_BYTES = 14,               /* what it counts for a time */
    DETAIL_TYPE_BYTES_MAX = 128,
};

enum field { FIELD_SOURCE, FIELD_DETAIL_TYPE, FIELD_DETAIL, FIELD_BUS, FIELD_TRACE, FIELD_TIME, FIELD_RESOURCES, FIELDS };
static const char *const field_names[FIELDS] = { "Source", "DetailType", "Detail", "EventBusName", "TraceHeader", "Time", "Resources" };

struct put {
    struct call *call;
    struct publishing *publishing;
    size_t bytes;                        /* as EventBridge counts */
    struct bytes texts, resources;       /* of the entry at hand */
};

static void invalid(struct put *put, struct publish_entry *entry, const char *name, const char *why)
{
    entry->code = "InvalidArgument";
    entry->text = arena_format(put->publishing->arena, "Parameter %s is not valid. Reason: %s", name, why);
}

static bool too_large(struct put *put)
{
    if (put->bytes <= ENTRIES_BYTES_MAX)
        return false;
    json_service_refuse(put->call, 400, "ValidationException", "Total size of the entries in the request is over the limit.");
    return true;
}

/* Epoch seconds, whole or with a fraction; -1 and a reason otherwise. */
static bool time_of(struct view number, int64_t *ret_ms)
{
    char text[48], *end;

    if (number.len >= sizeof text)
        return false;
    memcpy(text, number.data, number.len);
    text[number.len] = '\0';
    double seconds = strtod(text, &end);
    if (*end != '\0' || !isfinite(seconds) || seconds < -62135596800.0 || seconds > 253402300799.0)
        return false;
    *ret_ms = (int64_t)llround(seconds * 1000);
    return true;
}

/* As the envelope has them: a MessagePack array. false: the request is refused. */
static bool resources_of(struct put *put, struct view array, struct publish_entry *entry, struct event *event)
{
    struct json_walk walk = json_walk_of(array);
    struct view key, value;

    if (array.data[0] != '[') {
        json_service_refuse(put->call, 400, "SerializationException", "'Resources' must be a list of strings");
        return false;
    }
    size_t offset = mpack_put_array_open(&put->resources);
    while (json_walk_next(&walk, &key, &value)) {
        size_t start = put->texts.len;
        if (!json_string_decode(value, &put->texts)) {
            json_service_refuse(put->call, 400, "SerializationException", "'Resources' must be a list of strings");
            return false;
        }
        mpack_put_str(&put->resources, (struct view){ put->texts.data + start, put->texts.len - start });
        put->bytes += put->texts.len - start;
        put->texts.len = start;
        event->resources_count++;
    }
    if (event->resources_count > ENVELOPE_RESOURCES_MAX) {
        invalid(put, entry, "Resources", "more than 100 resources.");
        return true;
    }
    mpack_put_array_close(&put->resources, offset, event->resources_count);
    if (event->resources_count > 0)
        event->resources = bytes_view(&put->resources);
    return true;
}

static void check_text(struct put *put, struct publish_entry *entry, enum field field, struct view text, size_t bytes_max)
{
    if (entry->code != NULL)
        return;
    if (text.len == 0)
        invalid(put, entry, field_names[field], arena_format(put->publishing->arena, "%s is a required argument.", field_names[field]));
    else if (text.len > bytes_max)
        invalid(put, entry, field_names[field], arena_format(put->publishing->arena, "at most %zu bytes are taken.", bytes_max));
}

/* false: the request is refused. */
static bool entry_read(struct put *put, struct view object, struct publish_entry *entry)
{
    struct event event = { .kind = EVENT_KIND_EVENT, .detail_format = DETAIL_JSON };
    struct view values[FIELDS] = { 0 }, texts[FIELDS] = { 0 }, key, value;
    struct json_walk walk = json_walk_of(object);
    char id[UUID_TEXT_LEN + 1], traceparent[TRACEPARENT_LEN + 1];

    if (!walk.object) {
        json_service_refuse(put->call, 400, "SerializationException", "'Entries' must be a list of objects");
        return false;
    }
    while (json_walk_next(&walk, &key, &value)) {
        for (unsigned field = 0; field < FIELDS; field++) {
            if (json_key_is(key, view_of(field_names[field])) && !view_is(value, "null"))
                values[field] = value;
        }
    }
    bytes_clear(&put->texts);
    bytes_clear(&put->resources);
    if (!bytes_reserve(&put->texts, object.len)) /* so that the views below stay */
        ASSERT(!"memory for one request");
    for (unsigned field = FIELD_SOURCE; field <= FIELD_TRACE; field++) {
        size_t start = put->texts.len;
        if (values[field].data == NULL)
            continue;
        if (!json_string_decode(values[field], &put->texts)) {
            json_service_refuse(put->call, 400, "SerializationException", "'%s' must be a string", field_names[field]);
            return false;
        }
        texts[field] = (struct view){ put->texts.data + start, put->texts.len - start };
    }
    put->bytes += texts[FIELD_SOURCE].len + texts[FIELD_DETAIL_TYPE].len + texts[FIELD_DETAIL].len;
    if (values[FIELD_TIME].data != NULL) {
        put->bytes += ENTRY_TIME_BYTES;
        event.has_time = time_of(values[FIELD_TIME], &event.time_ms);
        if (!event.has_time)
            invalid(put, entry, "Time", "it must be a number of seconds since 1970, within the years 1 to 9999.");
    }
    if (values[FIELD_RESOURCES].data != NULL && !resources_of(put, values[FIELD_RESOURCES], entry, &event))
        return false;
    if (too_large(put))
        return false;
    check_text(put, entry, FIELD_SOURCE, texts[FIELD_SOURCE], ENVELOPE_FIELD_BYTES_MAX);
    check_text(put, entry, FIELD_DETAIL_TYPE, texts[FIELD_DETAIL_TYPE], DETAIL_TYPE_BYTES_MAX);
    check_text(put, entry, FIELD_DETAIL, texts[FIELD_DETAIL], SIZE_MAX);
    event.source = texts[FIELD_SOURCE];
    event.detail_type = texts[FIELD_DETAIL_TYPE];
    event.detail = texts[FIELD_DETAIL];
    uuid_to_text(entry->id, id);
    if (trace_id_to_traceparent(texts[FIELD_TRACE], view_of(id), traceparent))
        event.traceparent = (struct view){ traceparent, TRACEPARENT_LEN };
    if (texts[FIELD_BUS].len > 0) {
        event.bus = bus_name_of(texts[FIELD_BUS]);
        check_text(put, entry, FIELD_BUS, event.bus, ENVELOPE_FIELD_BYTES_MAX);
    }
    if (entry->code == NULL && view_begins(event.source, "aws.")) {
        entry->code = "NotAuthorizedForSourceException";
        entry->text = "Not authorized for the source.";
    }
    if (entry->code == NULL && json_check(event.detail, JSON_OBJECT, EVENT_DEPTH_MAX, NULL) != SLUICE_OK) {
        entry->code = "MalformedDetail";
        entry->text = "Detail is malformed.";
    }
    if (entry->code == NULL)
        publishing_put(put->publishing, entry, &event);
    return true;
}

/* ---- the answer ---- */

static void put_entry(struct api *api, struct bytes *out, const struct publish_entry *entry, unsigned *failed)
{
    char id[UUID_TEXT_LEN + 1];

    bytes_put_char(out, '{');
    if (entry->code != NULL || (entry->err != SLUICE_OK && entry->err != SLUICE_ENOTFOUND)) {
        (*failed)++;
        put_member(out, "ErrorCode", view_of(entry->code != NULL ? entry->code : "InvalidArgument"));
        put_member(out, "ErrorMessage", view_of(entry->text));
    } else {
        /* EventBridge takes an event for a bus that is not there, and drops it. */
        if (entry->err == SLUICE_ENOTFOUND && api->counts.unknown_bus++ == 0)
            log_format(LOG_WARN, "event=unknown-bus door=PutEvents text=\"%s\" more=\"counted in sluice_http_events_unknown_bus_total\"", entry->text);
        uuid_to_text(entry->id, id);
        put_member(out, "EventId", view_of(id));
    }
    put_object_end(out);
}

static void put_answer(struct publishing *publishing, struct bytes *out)
{
    unsigned failed = 0;

    bytes_put_text(out, "{\"Entries\":[");
    for (size_t i = 0; i < publishing->entries.count; i++) {
        if (i > 0)
            bytes_put_char(out, ',');
        put_entry(publishing->api, out, &publishing->entries.items[i], &failed);
    }
    bytes_put_format(out, "],\"FailedEntryCount\":%u}", failed);
}

static void put_answered(struct call *call, const struct publishing *publishing, enum sluice_err err, const char *text)
{
    if (err == SLUICE_ELIMIT) {
        json_service_refuse(call, 400, "ThrottlingException", "Rate exceeded: %s", text);
        return;
    }
    if (err != SLUICE_OK) {
        json_service_refuse(call, err == SLUICE_EUNAVAILABLE ? 503 : 500, err == SLUICE_EUNAVAILABLE ? "ServiceUnavailable" : "InternalException", "%s",
                            text);
        return;
    }
    json_service_respond(call, bytes_view(&publishing->answer));
}

/* A further try of a request that was seen: it gets the same answer, with the same ids, now or when it comes. */
static void put_repeat(struct call *call, struct once_entry *seen)
{
    call->api->counts.attached++;
    memcpy(call->request_id, seen->request_id, sizeof call->request_id);
    if (seen->publishing != NULL)
        publishing_attach(seen->publishing, call);
    else
        json_service_respond(call, bytes_view(&seen->body));
}

void events_put(struct call *call, struct view object)
{
    struct put put = { .call = call };
    struct view entries, key, value;
    struct once_entry *seen = NULL;
    struct once_key once;
    bool good = true;

    if (!json_member(object, VIEW_LITERAL("Entries"), &entries) || entries.data[0] != '[') {
        json_service_refuse(call, 400, "ValidationException",
                            "1 validation error detected: Value null at 'entries' failed to satisfy constraint: Member must not be null");
        return;
    }
    size_t count = 0;
    for (struct json_walk walk = json_walk_of(entries); count <= ENTRIES_MAX && json_walk_next(&walk, &key, &value);)
        count++;
    if (count < 1 || count > ENTRIES_MAX) {
        json_service_refuse(call, 400, "ValidationException",
                            "1 validation error detected: Value '[%s]' at 'entries' failed to satisfy constraint: Member must have length %s",
                            count < 1 ? "" : "PutEventsRequestEntry, ...", count < 1 ? "greater than or equal to 1" : "less than or equal to 10");
        return;
    }
    bool has_key = once_key_of(call, "put-events", 0, object, &once);
    if (has_key)
        seen = once_find(call->api->once_events, &once);
    if (seen != NULL && !seen->lost) { /* so many that one is lost are never kept: it would be published again */
        put_repeat(call, seen);
        return;
    }
    put.publishing = publishing_new(call);
    put.publishing->answered = put_answered;
    put.publishing->answer_put = put_answer;
    VEC_ROOM(&put.publishing->entries, count);
    for (struct json_walk walk = json_walk_of(entries); good && json_walk_next(&walk, &key, &value);) {
        struct publish_entry entry = { .code = NULL };
        api_uuid(call->api, entry.id);
        good = entry_read(&put, value, &entry);
        VEC_PUSH(&put.publishing->entries, entry);
    }
    bytes_done(&put.texts);
    bytes_done(&put.resources);
    if (good && has_key)
        publishing_once(put.publishing, call->api->once_events, &once);
    if (good)
        publishing_begin(put.publishing);
    else
        (void)publishing_free(put.publishing);
}
