/* The inside of an event's detail, and the JSON that functions see. */
#include "schemas/codec/envelope.h"
#include "schemas/codec/ids.h"
#include "schemas/codec/json.h"

enum sluice_err envelope_check_detail(const struct event *event, struct sluice_error *reterr)
{
    bool is_event = event->kind == EVENT_KIND_EVENT;
    struct sluice_error inner = { 0 };
    enum sluice_err err = SLUICE_OK;

    if (event->detail_format == DETAIL_JSON)
        err = json_check(event->detail, is_event ? JSON_OBJECT : JSON_ANY, EVENT_DEPTH_MAX, &inner);
    else if (is_event) /* what is invoked with bytes gets these bytes, whatever they are */
        err = mpack_check_detail(event->detail, EVENT_DEPTH_MAX, &inner);
    return err == SLUICE_OK ? SLUICE_OK : sluice_fail(reterr, err, "detail: %s", inner.text);
}

struct view event_id_text(const struct event *event, char *buffer)
{
    size_t len = event->id.len;

    if (event->id_is_uuid && len == UUID_BYTES) {
        uuid_to_text((const uint8_t *)event->id.data, buffer);
        return (struct view){ .data = buffer, .len = UUID_TEXT_LEN };
    }
    if (len > ENVELOPE_FIELD_BYTES_MAX)
        len = ENVELOPE_FIELD_BYTES_MAX;
    if (len > 0)
        memcpy(buffer, event->id.data, len);
    buffer[len] = '\0';
    return (struct view){ .data = buffer, .len = len };
}

/* `prefix` is the text between the last value and this one, such as `,"source":`. */
static void put_text(struct bytes *out, const char *prefix, struct view text)
{
    bytes_put_text(out, prefix);
    json_put_string(out, text);
}

static void put_id(struct bytes *out, const char *prefix, const struct event *event)
{
    char buffer[ENVELOPE_FIELD_BYTES_MAX + 1];
    put_text(out, prefix, event_id_text(event, buffer));
}

static void put_time(struct bytes *out, const char *prefix, const struct event *event, bool millis)
{
    char text[TIME_TEXT_MAX];

    if (!event->has_time)
        return;
    size_t len = time_to_text(event->time_ms, millis, text);
    put_text(out, prefix, (struct view){ .data = text, .len = len });
}

static void put_detail(struct bytes *out, const struct event *event)
{
    if (event->detail_format == DETAIL_JSON)
        json_put_line(out, event->detail);
    else if (event->kind == EVENT_KIND_INVOKE)
        bytes_put_view(out, event->detail);
    else if (!mpack_to_json(event->detail, out))
        out->failed = true;
}

static void put_resources(struct bytes *out, const struct event *event)
{
    struct mpack_reader reader = mpack_reader_of(event->resources);
    struct mpack_token token;
    uint32_t count = 0;

    bytes_put_char(out, '[');
    if (event->resources.data != NULL && mpack_read_array(&reader, &count))
        for (uint32_t i = 0; i < count && mpack_read(&reader, &token) && token.type == MPACK_STR; i++)
            put_text(out, i == 0 ? "" : ",", token.bytes);
    bytes_put_char(out, ']');
}

static void put_eventbridge(struct bytes *out, const struct event *event)
{
    put_id(out, "{\"version\":\"0\",\"id\":", event);
    put_text(out, ",\"detail-type\":", event->detail_type);
    put_text(out, ",\"source\":", event->source);
    put_text(out, ",\"account\":", event->account.data != NULL ? event->account : VIEW_LITERAL(EVENT_ACCOUNT_DEFAULT));
    put_time(out, ",\"time\":", event, false);
    put_text(out, ",\"region\":", event->region.data != NULL ? event->region : VIEW_LITERAL(EVENT_REGION_DEFAULT));
    bytes_put_text(out, ",\"resources\":");
    put_resources(out, event);
    bytes_put_text(out, ",\"detail\":");
    put_detail(out, event);
    bytes_put_char(out, '}');
}

static void put_extensions(struct bytes *out, const struct event *event)
{
    struct mpack_reader reader = mpack_reader_of(event->extensions);
    struct mpack_token name, value;
    uint32_t count = 0;
    bool has_traceparent = false;

    if (event->extensions.data != NULL && !mpack_read_map(&reader, &count))
        count = 0;
    for (uint32_t i = 0; i < count && mpack_read(&reader, &name) && mpack_read(&reader, &value); i++) {
        has_traceparent |= view_is(name.bytes, "traceparent");
        put_text(out, ",", name.bytes);
        bytes_put_char(out, ':');
        mpack_scalar_to_json(&value, out);
    }
    if (event->traceparent.data != NULL && !has_traceparent)
        put_text(out, ",\"traceparent\":", event->traceparent);
}

static void put_cloudevent(struct bytes *out, const struct event *event)
{
    struct view content_type = VIEW_LITERAL("application/json");
    struct view subject;
    struct mpack_reader resources = mpack_reader_of(event->resources);
    uint32_t count;

    /* MessagePack goes out as JSON, so its own content type does not describe it any more. */
    if (event->content_type.data != NULL && event->detail_format == DETAIL_JSON)
        content_type = event->content_type;
    put_id(out, "{\"specversion\":\"1.0\",\"id\":", event);
    put_text(out, ",\"source\":", event->source);
    put_text(out, ",\"type\":", event->detail_type);
    put_time(out, ",\"time\":", event, true);
    put_text(out, ",\"datacontenttype\":", content_type);
    if (event->resources_count > 0 && mpack_read_array(&resources, &count) && mpack_read_str(&resources, &subject))
        put_text(out, ",\"subject\":", subject);
    put_extensions(out, event);
    bytes_put_text(out, ",\"data\":");
    put_detail(out, event);
    bytes_put_char(out, '}');
}

void event_put_json(struct bytes *out, const struct event *event, enum event_shape shape)
{
    if (event->kind == EVENT_KIND_INVOKE)
        shape = EVENT_SHAPE_DETAIL; /* an Invoke has no envelope */
    switch (shape) {
    case EVENT_SHAPE_EVENTBRIDGE: put_eventbridge(out, event); return;
    case EVENT_SHAPE_CLOUDEVENT: put_cloudevent(out, event); return;
    case EVENT_SHAPE_DETAIL: put_detail(out, event); return;
    }
}
