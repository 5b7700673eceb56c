#include "schemas/codec/envelope.h"
#include "schemas/codec/ids.h"
#include "schemas/codec/utf8.h"

#include <inttypes.h>

/* Names for error texts, by key. */
static const char *const field_names[ENVELOPE_KEYS_END] = {
    "id", "kind", "source", "detail-type", "time", "bus", "account", "region", "resources", "detail", "content-type", "key",
    "dedup-id", "not-before", "traceparent", "extensions",
};

/* What is wrong with which key. */
struct fault {
    uint64_t key;
    const char *reason;
};

static bool fault_at(struct fault *fault, uint64_t key, const char *reason)
{
    *fault = (struct fault){ .key = key, .reason = reason };
    return false;
}

#define KEY_NONE UINT64_MAX /* the fault is the envelope's as a whole */
static const char reason_unknown[] = "is not one that this version knows";
static const char reason_text[] = "must be UTF-8 text of 1 to 256 bytes";
static const char reason_time[] = "must be whole milliseconds since 1970, within the years 1 to 9999";

/* Text of stored envelopes was checked at the door. */
static inline bool read_text(struct mpack_reader *reader, bool trusted, struct view *ret_text)
{
    struct mpack_token token;

    if (!mpack_read(reader, &token) || token.type != MPACK_STR)
        return false;
    *ret_text = token.bytes;
    return trusted || (token.bytes.len >= 1 && token.bytes.len <= ENVELOPE_FIELD_BYTES_MAX && utf8_valid(token.bytes));
}

static bool read_time(struct mpack_reader *reader, int64_t *ret_ms)
{
    return mpack_read_int(reader, ret_ms) && *ret_ms >= TIME_MS_MIN && *ret_ms <= TIME_MS_MAX;
}

static bool read_id(struct mpack_reader *reader, bool trusted, struct event *event, struct fault *fault)
{
    struct mpack_token token;

    if (!mpack_read(reader, &token))
        return fault_at(fault, ENVELOPE_ID, "is cut off");
    event->id = token.bytes;
    event->id_is_uuid = token.type == MPACK_BIN;
    if (token.type == MPACK_BIN && token.bytes.len == UUID_BYTES)
        return true;
    if (token.type == MPACK_STR && token.bytes.len >= 1 && token.bytes.len <= ENVELOPE_FIELD_BYTES_MAX
        && (trusted || utf8_valid(token.bytes)))
        return true;
    return fault_at(fault, ENVELOPE_ID, "must be 16 bytes of a UUID, or UTF-8 text of 1 to 256 bytes");
}

static bool read_resources(struct mpack_reader *reader, bool trusted, struct event *event, struct fault *fault)
{
    const uint8_t *start = reader->at;

    if (!mpack_read_array(reader, &event->resources_count))
        return fault_at(fault, ENVELOPE_RESOURCES, "must be an array");
    if (event->resources_count > ENVELOPE_RESOURCES_MAX)
        return fault_at(fault, ENVELOPE_RESOURCES, "must have at most 100 items");
    for (uint32_t i = 0; i < event->resources_count; i++) {
        struct mpack_token token;
        if (!mpack_read(reader, &token) || token.type != MPACK_STR || (!trusted && !utf8_valid(token.bytes)))
            return fault_at(fault, ENVELOPE_RESOURCES, "must hold UTF-8 text only");
    }
    event->resources = (struct view){ .data = (const char *)start, .len = (size_t)(reader->at - start) };
    return true;
}

/* CloudEvents: lower-case letters and digits. The names of its own attributes would stand twice in the JSON. */
static bool extension_name_is_valid(struct view name)
{
    static const char *const taken[] = {
        "specversion", "id", "source", "type", "time", "subject", "datacontenttype", "data", "data_base64", /* dataschema is kept as one of them */
    };
    if (name.len < 1 || name.len > ENVELOPE_FIELD_BYTES_MAX)
        return false;
    for (size_t i = 0; i < name.len; i++)
        if (!((name.data[i] >= 'a' && name.data[i] <= 'z') || (name.data[i] >= '0' && name.data[i] <= '9')))
            return false;
    for (size_t i = 0; i < sizeof taken / sizeof taken[0]; i++)
        if (view_is(name, taken[i]))
            return false;
    return true;
}

static bool extension_value_is_valid(const struct mpack_token *token)
{
    switch (token->type) {
    case MPACK_STR: return utf8_valid(token->bytes);
    case MPACK_BOOL:
    case MPACK_INT:
    case MPACK_UINT:
    case MPACK_BIN: return true;
    case MPACK_NIL:
    case MPACK_FLOAT:
    case MPACK_ARRAY:
    case MPACK_MAP:
    case MPACK_EXT: return false;
    }
    return false;
}

static bool read_extensions(struct mpack_reader *reader, struct event *event, struct fault *fault)
{
    const uint8_t *start = reader->at;
    struct view names[ENVELOPE_EXTENSIONS_MAX];
    uint32_t count;

    if (!mpack_read_map(reader, &count) || count > ENVELOPE_EXTENSIONS_MAX)
        return fault_at(fault, ENVELOPE_EXTENSIONS, "must be a map of at most 64 members");
    for (uint32_t i = 0; i < count; i++) {
        struct mpack_token token;
        if (!mpack_read(reader, &token) || token.type != MPACK_STR || !extension_name_is_valid(token.bytes))
            return fault_at(fault, ENVELOPE_EXTENSIONS, "names must be lower-case letters and digits, and not CloudEvents' own");
        for (uint32_t j = 0; j < i; j++)
            if (view_equals(names[j], token.bytes))
                return fault_at(fault, ENVELOPE_EXTENSIONS, "has one name twice");
        names[i] = token.bytes;
        if (!mpack_read(reader, &token) || !extension_value_is_valid(&token))
            return fault_at(fault, ENVELOPE_EXTENSIONS, "values must be text, integers, booleans or bytes");
    }
    event->extensions = (struct view){ .data = (const char *)start, .len = (size_t)(reader->at - start) };
    return true;
}

/* The inside of a detail is envelope_check_detail()'s, which also looks at its UTF-8. */
static bool read_detail(struct mpack_reader *reader, struct event *event, struct fault *fault)
{
    struct mpack_token token;

    if (!mpack_read(reader, &token) || (token.type != MPACK_STR && token.type != MPACK_BIN))
        return fault_at(fault, ENVELOPE_DETAIL, "must be text (JSON) or bytes (MessagePack)");
    event->detail = token.bytes;
    event->detail_format = token.type == MPACK_STR ? DETAIL_JSON : DETAIL_MPACK;
    return true;
}

static bool read_field(struct mpack_reader *reader, unsigned key, bool trusted, struct event *event, struct fault *fault)
{
    struct view *text = NULL;
    uint64_t kind;

    switch ((enum envelope_key)key) {
    case ENVELOPE_ID: return read_id(reader, trusted, event, fault);
    case ENVELOPE_KIND:
        if (!mpack_read_uint(reader, EVENT_KIND_INVOKE, &kind))
            return fault_at(fault, key, "must be 0 (event) or 1 (invoke)");
        event->kind = (enum event_kind)kind;
        return true;
    case ENVELOPE_TIME:
        event->has_time = true;
        return read_time(reader, &event->time_ms) || fault_at(fault, key, reason_time);
    case ENVELOPE_NOT_BEFORE:
        event->has_not_before = true;
        return read_time(reader, &event->not_before_ms) || fault_at(fault, key, reason_time);
    case ENVELOPE_RESOURCES: return read_resources(reader, trusted, event, fault);
    case ENVELOPE_DETAIL: return read_detail(reader, event, fault);
    case ENVELOPE_EXTENSIONS: return read_extensions(reader, event, fault);
    case ENVELOPE_SOURCE: text = &event->source; break;
    case ENVELOPE_DETAIL_TYPE: text = &event->detail_type; break;
    case ENVELOPE_BUS: text = &event->bus; break;
    case ENVELOPE_ACCOUNT: text = &event->account; break;
    case ENVELOPE_REGION: text = &event->region; break;
    case ENVELOPE_CONTENT_TYPE: text = &event->content_type; break;
    case ENVELOPE_KEY: text = &event->key; break;
    case ENVELOPE_DEDUP_ID: text = &event->dedup_id; break;
    case ENVELOPE_TRACEPARENT: text = &event->traceparent; break;
    case ENVELOPE_KEYS_END: break;
    }
    if (text == NULL)
        return fault_at(fault, key, reason_unknown);
    return read_text(reader, trusted, text) || fault_at(fault, key, reason_text);
}

static bool decode_fields(struct mpack_reader *reader, bool trusted, struct event *event, struct fault *fault)
{
    const uint8_t *start = reader->at;
    uint32_t count;
    unsigned next = 0; /* keys ascend, so none comes twice */

    if (!mpack_read_map(reader, &count))
        return fault_at(fault, KEY_NONE, "the envelope is not a map");
    for (uint32_t i = 0; i < count; i++) {
        uint64_t key;
        if (!mpack_read_uint(reader, KEY_NONE - 1, &key))
            return fault_at(fault, KEY_NONE, "a key of the envelope is not a small integer");
        if (key >= ENVELOPE_KEYS_END)
            return fault_at(fault, key, reason_unknown);
        if (key < next)
            return fault_at(fault, key, "stands twice, or its key is out of order");
        if (!read_field(reader, (unsigned)key, trusted, event, fault))
            return false;
        next = (unsigned)key + 1;
    }
    event->encoded = (struct view){ .data = (const char *)start, .len = (size_t)(reader->at - start) };
    return true;
}

static bool check_required(const struct event *event, struct fault *fault)
{
    if (event->detail.data == NULL)
        return fault_at(fault, ENVELOPE_DETAIL, "is missing");
    if (event->kind == EVENT_KIND_INVOKE)
        return true;
    if (event->source.data == NULL)
        return fault_at(fault, ENVELOPE_SOURCE, "is missing");
    if (event->detail_type.data == NULL)
        return fault_at(fault, ENVELOPE_DETAIL_TYPE, "is missing");
    return true;
}

enum sluice_err envelope_decode(struct mpack_reader *reader, struct event *ret_event, struct sluice_error *reterr)
{
    const uint8_t *start = reader->at;
    struct event event = { 0 };
    struct fault fault;

    if (decode_fields(reader, false, &event, &fault) && check_required(&event, &fault)) {
        if (event.encoded.len > EVENT_BYTES_MAX)
            return sluice_fail(reterr, SLUICE_EINVAL, "event: %zu bytes encoded, the limit is %d; publish a reference instead",
                               event.encoded.len, EVENT_BYTES_MAX);
        *ret_event = event;
        return SLUICE_OK;
    }
    /* Refused; but where it ends must be known, or nothing behind it can be read. */
    reader->at = start;
    if (!mpack_read_map(reader, &(uint32_t){ 0 }))
        return sluice_fail(reterr, SLUICE_EPROTO, "event: not a MessagePack map");
    reader->at = start;
    if (!mpack_skip(reader, EVENT_DEPTH_MAX, NULL))
        return sluice_fail(reterr, SLUICE_EPROTO, "event: the MessagePack is cut off, broken or nested deeper than %d",
                           EVENT_DEPTH_MAX);
    if (fault.key == KEY_NONE)
        return sluice_fail(reterr, SLUICE_EINVAL, "event: %s", fault.reason);
    if (fault.key >= ENVELOPE_KEYS_END)
        return sluice_fail(reterr, SLUICE_EINVAL, "event: key %" PRIu64 " %s", fault.key, fault.reason);
    return sluice_fail(reterr, SLUICE_EINVAL, "event: '%s' (key %" PRIu64 ") %s", field_names[fault.key], fault.key,
                       fault.reason);
}

bool envelope_decode_stored(struct view bytes, struct event *ret_event)
{
    struct mpack_reader reader = mpack_reader_of(bytes);
    struct event event = { 0 };
    struct fault fault;

    if (!decode_fields(&reader, true, &event, &fault) || !mpack_at_end(&reader))
        return false;
    *ret_event = event;
    return true;
}

enum { FIELD_HEAD_BYTES_MAX = 1 + 9 }; /* a key, and the longest head or number; the map itself has one too */

static void put_text_field(struct bytes *out, enum envelope_key key, struct view text)
{
    if (text.data == NULL)
        return;
    mpack_put_uint(out, key);
    mpack_put_str(out, text);
}

static void put_time_field(struct bytes *out, enum envelope_key key, bool present, int64_t ms)
{
    if (!present)
        return;
    mpack_put_uint(out, key);
    mpack_put_int(out, ms);
}

static void put_raw_field(struct bytes *out, enum envelope_key key, struct view encoded)
{
    if (encoded.data == NULL)
        return;
    mpack_put_uint(out, key);
    bytes_put_view(out, encoded);
}

void envelope_encode(const struct event *event, struct bytes *out)
{
    const struct view *texts[] = {
        &event->id, &event->source, &event->detail_type, &event->bus, &event->account, &event->region, &event->content_type,
        &event->key, &event->dedup_id, &event->traceparent, &event->resources, &event->extensions, &event->detail,
    };
    uint32_t count = (uint32_t)event->has_time + event->has_not_before + (event->kind != EVENT_KIND_EVENT);
    size_t len = 0;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        count += texts[i]->data != NULL;
        len += texts[i]->len;
    }
    if (!bytes_reserve(out, len + (size_t)FIELD_HEAD_BYTES_MAX * (ENVELOPE_KEYS_END + 1))) /* grow once, not a field at a time */
        return;

    mpack_put_map(out, count);
    if (event->id.data != NULL) {
        mpack_put_uint(out, ENVELOPE_ID);
        if (event->id_is_uuid)
            mpack_put_bin(out, event->id);
        else
            mpack_put_str(out, event->id);
    }
    if (event->kind != EVENT_KIND_EVENT) {
        mpack_put_uint(out, ENVELOPE_KIND);
        mpack_put_uint(out, event->kind);
    }
    put_text_field(out, ENVELOPE_SOURCE, event->source);
    put_text_field(out, ENVELOPE_DETAIL_TYPE, event->detail_type);
    put_time_field(out, ENVELOPE_TIME, event->has_time, event->time_ms);
    put_text_field(out, ENVELOPE_BUS, event->bus);
    put_text_field(out, ENVELOPE_ACCOUNT, event->account);
    put_text_field(out, ENVELOPE_REGION, event->region);
    put_raw_field(out, ENVELOPE_RESOURCES, event->resources);
    if (event->detail.data != NULL) {
        mpack_put_uint(out, ENVELOPE_DETAIL);
        if (event->detail_format == DETAIL_JSON)
            mpack_put_str(out, event->detail);
        else
            mpack_put_bin(out, event->detail);
    }
    put_text_field(out, ENVELOPE_CONTENT_TYPE, event->content_type);
    put_text_field(out, ENVELOPE_KEY, event->key);
    put_text_field(out, ENVELOPE_DEDUP_ID, event->dedup_id);
    put_time_field(out, ENVELOPE_NOT_BEFORE, event->has_not_before, event->not_before_ms);
    put_text_field(out, ENVELOPE_TRACEPARENT, event->traceparent);
    put_raw_field(out, ENVELOPE_EXTENSIONS, event->extensions);
}
