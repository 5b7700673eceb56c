#include "broker/api/cloudevents/attributes.h"

#include <strings.h>

#include "broker/api/text.h"
#include "broker/base/assert.h"
#include "schemas/codec/ids.h"
#include "schemas/codec/json.h"
#include "schemas/codec/utf8.h"

enum attribute { SPECVERSION, ID, SOURCE, TYPE, TIME, SUBJECT, DATACONTENTTYPE, TRACEPARENT, DATA, DATA_BASE64, ATTRIBUTES };
static const char *const attribute_names[ATTRIBUTES] = {
    "specversion", "id", "source", "type", "time", "subject", "datacontenttype", "traceparent", "data", "data_base64",
};
enum { SHOWN_MAX = 60, NUMBER_BYTES_MAX = 11, SUBJECT_BYTES_MAX = 64 << 10 };

#define SHOW(view) ((view).len > SHOWN_MAX ? SHOWN_MAX : (int)(view).len), (view).data

void cloudevent_done(struct cloudevent *event)
{
    bytes_done(&event->texts);
    bytes_done(&event->pairs);
    bytes_done(&event->extensions);
    bytes_done(&event->resources);
    bytes_done(&event->detail);
}

void cloudevent_begin(struct cloudevent *event, size_t headers_bytes)
{
    struct bytes *buffers[] = { &event->texts, &event->pairs, &event->extensions, &event->resources, &event->detail };

    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
        bytes_clear(buffers[i]);
    event->event = (struct event){ .kind = EVENT_KIND_EVENT, .detail_format = DETAIL_JSON };
    event->seen = 0;
    event->extensions_count = 0;
    bool room = bytes_reserve(&event->texts, headers_bytes + 1); /* so that views into it stay */
    ASSERT(room);
}

static unsigned attribute_find(struct view name)
{
    unsigned attribute = 0;

    while (attribute < ATTRIBUTES && !view_is(name, attribute_names[attribute]))
        attribute++;
    return attribute;
}

static enum sluice_err attribute_text(struct cloudevent *event, unsigned attribute, struct view text, struct sluice_error *reterr)
{
    const char *name = attribute_names[attribute];
    size_t bytes_max = attribute == SUBJECT ? SUBJECT_BYTES_MAX : ENVELOPE_FIELD_BYTES_MAX;

    if ((event->seen & 1u << attribute) != 0)
        return sluice_fail(reterr, SLUICE_EINVAL, "'%s' is there twice", name);
    event->seen |= 1u << attribute;
    if (text.len < 1 || text.len > bytes_max)
        return sluice_fail(reterr, SLUICE_EINVAL, "'%s' must be text of 1 to %zu bytes", name, bytes_max);
    switch ((enum attribute)attribute) {
    case SPECVERSION:
        return view_is(text, "1.0") ? SLUICE_OK : sluice_fail(reterr, SLUICE_EINVAL, "'specversion' must be 1.0, not '%.*s'", SHOW(text));
    case ID:
        event->event.id_is_uuid = uuid_from_text(text, event->uuid);
        event->event.id = event->event.id_is_uuid ? (struct view){ (const char *)event->uuid, sizeof event->uuid } : text;
        return SLUICE_OK;
    case SOURCE:
        event->event.source = text;
        return view_begins(text, "aws.") ? sluice_fail(reterr, SLUICE_EINVAL, "sources that begin with 'aws.' are reserved") : SLUICE_OK;
    case TYPE: event->event.detail_type = text; return SLUICE_OK;
    case TIME:
        event->event.has_time = time_from_text(text, &event->event.time_ms);
        return event->event.has_time ? SLUICE_OK : sluice_fail(reterr, SLUICE_EINVAL, "'time' must be RFC 3339, not '%.*s'", SHOW(text));
    case SUBJECT:
        mpack_put_array(&event->resources, 1);
        mpack_put_str(&event->resources, text);
        event->event.resources_count = 1;
        return SLUICE_OK;
    case DATACONTENTTYPE: event->event.content_type = text; return SLUICE_OK;
    case TRACEPARENT: event->event.traceparent = text; return SLUICE_OK;
    case DATA:
    case DATA_BASE64:
    case ATTRIBUTES: break;
    }
    return sluice_fail(reterr, SLUICE_EINVAL, "'%s' is not an attribute here", name);
}

/* The head of a pair; its value follows. */
static enum sluice_err extension_begin(struct cloudevent *event, struct view name, struct sluice_error *reterr)
{
    bool good = name.len >= 1 && name.len <= ENVELOPE_FIELD_BYTES_MAX;

    for (size_t i = 0; good && i < name.len; i++)
        good = (name.data[i] >= 'a' && name.data[i] <= 'z') || (name.data[i] >= '0' && name.data[i] <= '9');
    if (!good)
        return sluice_fail(reterr, SLUICE_EINVAL, "'%.*s' is not the name of an extension: lower-case letters and digits", SHOW(name));
    if (event->extensions_count >= ENVELOPE_EXTENSIONS_MAX)
        return sluice_fail(reterr, SLUICE_EINVAL, "more than %d extensions", ENVELOPE_EXTENSIONS_MAX);
    event->extensions_count++;
    mpack_put_str(&event->pairs, name);
    return SLUICE_OK;
}

/* ---- the data ---- */

static bool is_media_type(struct view type, const char *word)
{
    size_t len = strlen(word);
    return type.len >= len && strncasecmp(type.data, word, len) == 0 && (type.len == len || type.data[len] == ';' || type.data[len] == ' ');
}

static struct view media_type_of(struct view content_type)
{
    const char *end = content_type.len == 0 ? NULL : memchr(content_type.data, ';', content_type.len);
    struct view type = { content_type.data, end == NULL ? content_type.len : (size_t)(end - content_type.data) };

    while (type.len > 0 && type.data[type.len - 1] == ' ')
        type.len--;
    return type;
}

/* No type stands for JSON. */
static bool is_json(struct view content_type)
{
    if (content_type.data == NULL)
        return true;
    struct view type = media_type_of(content_type);
    return is_media_type(type, "application/json") || is_media_type(type, "text/json") ||
           (type.len > 5 && strncasecmp(type.data + type.len - 5, "+json", 5) == 0);
}

static bool is_text(struct view content_type)
{
    return view_begins_any_case(content_type, "text/") || is_media_type(media_type_of(content_type), "application/xml");
}

static void wrap_begin(struct cloudevent *event, const char *member)
{
    bytes_put_char(&event->detail, '{');
    if (!is_json(event->event.content_type))
        put_member(&event->detail, "datacontenttype", event->event.content_type);
    bytes_put_format(&event->detail, "\"%s\":", member);
    event->event.content_type = (struct view){ 0 }; /* the detail is JSON now */
}

static void wrap_end(struct cloudevent *event)
{
    bytes_put_char(&event->detail, '}');
    event->event.detail = bytes_view(&event->detail);
}

/* JSON text, checked. */
static void data_json(struct cloudevent *event, struct view json)
{
    size_t at = 0;

    while (at < json.len && strchr(" \t\r\n", json.data[at]) != NULL)
        at++;
    if (at < json.len && json.data[at] == '{' && is_json(event->event.content_type)) {
        event->event.detail = json;
        return;
    }
    wrap_begin(event, "data");
    bytes_put_view(&event->detail, json);
    wrap_end(event);
}

static enum sluice_err data_bytes(struct cloudevent *event, struct view data, struct sluice_error *reterr)
{
    struct sluice_error error;

    if (is_json(event->event.content_type)) {
        if (json_check(data, JSON_ANY, EVENT_DEPTH_MAX - 1, &error) != SLUICE_OK)
            return sluice_fail(reterr, SLUICE_EINVAL, "data: %s", error.text);
        data_json(event, data);
    } else if (is_text(event->event.content_type) && utf8_valid(data)) {
        wrap_begin(event, "data");
        json_put_string(&event->detail, data);
        wrap_end(event);
    } else {
        wrap_begin(event, "data_base64");
        bytes_put_char(&event->detail, '"');
        put_base64(&event->detail, data);
        bytes_put_char(&event->detail, '"');
        wrap_end(event);
    }
    return SLUICE_OK;
}

static enum sluice_err finish(struct cloudevent *event, struct sluice_error *reterr)
{
    static const enum attribute required[] = { SPECVERSION, ID, SOURCE, TYPE };

    for (size_t i = 0; i < sizeof required / sizeof *required; i++) {
        if ((event->seen & 1u << required[i]) == 0)
            return sluice_fail(reterr, SLUICE_EINVAL, "'%s' is missing", attribute_names[required[i]]);
    }
    if (event->extensions_count > 0) {
        mpack_put_map(&event->extensions, event->extensions_count);
        bytes_put_view(&event->extensions, bytes_view(&event->pairs));
        event->event.extensions = bytes_view(&event->extensions);
    }
    if (event->event.resources_count > 0)
        event->event.resources = bytes_view(&event->resources);
    if (event->event.detail.data == NULL)
        event->event.detail = VIEW_LITERAL("{}");
    if (event->texts.failed || event->pairs.failed || event->extensions.failed || event->resources.failed || event->detail.failed)
        return sluice_fail(reterr, SLUICE_ENOMEM, "out of memory");
    return SLUICE_OK;
}

/* ---- binary mode ---- */

/* Strips the quotes of a quoted-string, then decodes %XX; no other byte changes. */
static bool header_decode(struct view value, struct bytes *out)
{
    bool quoted = value.len >= 2 && value.data[0] == '"' && value.data[value.len - 1] == '"';
    const char *at = value.data + quoted, *end = value.data + value.len - quoted;
    size_t start = out->len;

    for (; at < end; at++) {
        int high = end - at > 2 && *at == '%' ? hex_digit(at[1]) : -1, low = high < 0 ? -1 : hex_digit(at[2]);
        if (quoted && *at == '\\' && end - at > 1) {
            bytes_put_char(out, *++at);
        } else if (low >= 0) {
            bytes_put_char(out, (char)(high << 4 | low));
            at += 2;
        } else {
            bytes_put_char(out, *at);
        }
    }
    return utf8_valid((struct view){ out->data + start, out->len - start });
}

enum sluice_err cloudevent_header(struct cloudevent *event, struct view name, struct view value, struct sluice_error *reterr)
{
    char lower[ENVELOPE_FIELD_BYTES_MAX];
    size_t start = event->texts.len;

    if (name.len > sizeof lower)
        return sluice_fail(reterr, SLUICE_EINVAL, "a name of %zu bytes is none of an attribute", name.len);
    for (size_t i = 0; i < name.len; i++)
        lower[i] = name.data[i] >= 'A' && name.data[i] <= 'Z' ? (char)(name.data[i] | 0x20) : name.data[i];
    name.data = lower;
    if (!header_decode(value, &event->texts))
        return sluice_fail(reterr, SLUICE_EINVAL, "'%.*s' is not UTF-8 once decoded", SHOW(name));
    struct view text = { event->texts.data + start, event->texts.len - start };
    unsigned attribute = attribute_find(name);
    if (attribute == DATACONTENTTYPE)
        return sluice_fail(reterr, SLUICE_EINVAL, "'datacontenttype' is the header Content-Type in this mode, not ce-datacontenttype");
    if (attribute < ATTRIBUTES)
        return attribute_text(event, attribute, text, reterr);
    if (extension_begin(event, name, reterr) != SLUICE_OK)
        return SLUICE_EINVAL;
    mpack_put_str(&event->pairs, text);
    return SLUICE_OK;
}

enum sluice_err cloudevent_body(struct cloudevent *event, struct view content_type, struct view body, struct sluice_error *reterr)
{
    if (content_type.len > 0 && attribute_text(event, DATACONTENTTYPE, content_type, reterr) != SLUICE_OK)
        return SLUICE_EINVAL;
    if (content_type.len > 0 && !utf8_valid(content_type))
        return sluice_fail(reterr, SLUICE_EINVAL, "Content-Type is not UTF-8");
    if (body.len > 0 && data_bytes(event, body, reterr) != SLUICE_OK)
        return SLUICE_EINVAL;
    return finish(event, reterr);
}

/* ---- structured mode ---- */

/* An extension that is an integer, as CloudEvents has them: 32 bits. */
static bool integer_parse(struct view text, int64_t *ret_value)
{
    bool negative = text.len > 0 && text.data[0] == '-';
    int64_t value = 0;

    if (text.len > NUMBER_BYTES_MAX || text.len == (size_t)negative)
        return false;
    for (size_t i = negative; i < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '9')
            return false;
        value = value * 10 + (text.data[i] - '0');
    }
    *ret_value = negative ? -value : value;
    return *ret_value >= INT32_MIN && *ret_value <= INT32_MAX;
}

static enum sluice_err extension_json(struct cloudevent *event, struct view name, struct view value, struct sluice_error *reterr)
{
    size_t start = event->texts.len;
    int64_t number;

    if (extension_begin(event, name, reterr) != SLUICE_OK)
        return SLUICE_EINVAL;
    if (json_string_decode(value, &event->texts))
        mpack_put_str(&event->pairs, (struct view){ event->texts.data + start, event->texts.len - start });
    else if (view_is(value, "true") || view_is(value, "false"))
        mpack_put_bool(&event->pairs, value.data[0] == 't');
    else if (integer_parse(value, &number))
        mpack_put_int(&event->pairs, number);
    else
        return sluice_fail(reterr, SLUICE_EINVAL, "extension '%.*s' must be text, a boolean or an integer of 32 bits", SHOW(name));
    return SLUICE_OK;
}

static enum sluice_err member_put(struct cloudevent *event, struct view key, struct view value, struct view *data, struct sluice_error *reterr)
{
    size_t start = event->texts.len;
    if (!json_string_decode(key, &event->texts))
        return sluice_fail(reterr, SLUICE_EINVAL, "the name of a member is not text");
    struct view name = { event->texts.data + start, event->texts.len - start };
    unsigned attribute = attribute_find(name);

    if (attribute == DATA || attribute == DATA_BASE64) {
        if ((event->seen & (1u << DATA | 1u << DATA_BASE64)) != 0)
            return sluice_fail(reterr, SLUICE_EINVAL, "data is there twice");
        event->seen |= 1u << attribute;
        *data = value;
        return SLUICE_OK;
    }
    if (view_is(value, "null")) /* not set */
        return SLUICE_OK;
    if (attribute == ATTRIBUTES)
        return extension_json(event, name, value, reterr);
    start = event->texts.len;
    if (!json_string_decode(value, &event->texts))
        return sluice_fail(reterr, SLUICE_EINVAL, "'%s' must be text", attribute_names[attribute]);
    return attribute_text(event, attribute, (struct view){ event->texts.data + start, event->texts.len - start }, reterr);
}

/* Of a type that is JSON, the decoded bytes are the data; of another, the base64 stays as it came. */
static enum sluice_err data_base64(struct cloudevent *event, struct view value, struct sluice_error *reterr)
{
    size_t start = event->texts.len;
    struct view text;

    if (!json_string_decode(value, &event->texts))
        return sluice_fail(reterr, SLUICE_EINVAL, "'data_base64' must be text");
    text = (struct view){ event->texts.data + start, event->texts.len - start };
    struct bytes decoded = { 0 };
    enum sluice_err err = SLUICE_OK;
    if (!base64_decode(text, &decoded)) {
        err = sluice_fail(reterr, SLUICE_EINVAL, "'data_base64' is not base64");
    } else if (event->event.content_type.data != NULL && is_json(event->event.content_type)) {
        err = data_bytes(event, bytes_view(&decoded), reterr);
        if (err == SLUICE_OK && event->event.detail.data == decoded.data) { /* kept as it is: keep its bytes too */
            bytes_put_view(&event->detail, bytes_view(&decoded));
            event->event.detail = bytes_view(&event->detail);
        }
    } else {
        wrap_begin(event, "data_base64");
        bytes_put_view(&event->detail, value);
        wrap_end(event);
    }
    bytes_done(&decoded);
    return err;
}

enum sluice_err cloudevent_object(struct cloudevent *event, struct view object, struct sluice_error *reterr)
{
    struct json_walk walk = json_walk_of(object);
    struct view key, value, data = { 0 };

    cloudevent_begin(event, object.len);
    if (!walk.object)
        return sluice_fail(reterr, SLUICE_EINVAL, "a CloudEvent is a JSON object");
    while (json_walk_next(&walk, &key, &value)) {
        if (member_put(event, key, value, &data, reterr) != SLUICE_OK)
            return SLUICE_EINVAL;
    }
    if ((event->seen & 1u << DATA_BASE64) != 0 && data_base64(event, data, reterr) != SLUICE_OK)
        return SLUICE_EINVAL;
    if ((event->seen & 1u << DATA) != 0)
        data_json(event, data);
    return finish(event, reterr);
}
