/* envelope.h - the event: its fields, and its MessagePack form on the bus and on disk (schemas/envelope.md).
 * A map with small integer keys in ascending order. detail is kept byte for byte as it came. */
#ifndef SLUICE_CODEC_ENVELOPE_H
#define SLUICE_CODEC_ENVELOPE_H

#include "schemas/codec/mpack.h"

enum envelope_key {
    ENVELOPE_ID = 0,          /* bin of 16: a UUID; str of 1..256: any other id */
    ENVELOPE_KIND = 1,        /* uint, enum event_kind; absent = event */
    ENVELOPE_SOURCE = 2,      /* str 1..256 */
    ENVELOPE_DETAIL_TYPE = 3, /* str 1..256 */
    ENVELOPE_TIME = 4,        /* int, ms since 1970-01-01 UTC, years 1 to 9999 */
    ENVELOPE_BUS = 5,         /* str 1..256; absent = "default" */
    ENVELOPE_ACCOUNT = 6,     /* str 1..256 */
    ENVELOPE_REGION = 7,      /* str 1..256 */
    ENVELOPE_RESOURCES = 8,   /* array of at most 100 str */
    ENVELOPE_DETAIL = 9,      /* str: JSON text; bin: MessagePack, or any bytes for kind invoke */
    ENVELOPE_CONTENT_TYPE = 10, /* str; absent = application/json for str, application/msgpack for bin */
    ENVELOPE_KEY = 11,        /* str 1..256: order per key */
    ENVELOPE_DEDUP_ID = 12,   /* str 1..256 */
    ENVELOPE_NOT_BEFORE = 13, /* int, ms since 1970 */
    ENVELOPE_TRACEPARENT = 14,/* str 1..256 */
    ENVELOPE_EXTENSIONS = 15, /* map str -> str, int, bool or bin: CloudEvents extensions;
                                 names of lower-case letters and digits, not CloudEvents' own */
    ENVELOPE_KEYS_END
};

enum event_kind { EVENT_KIND_EVENT = 0, EVENT_KIND_INVOKE = 1 };
enum detail_type_of { DETAIL_JSON = 0, DETAIL_MPACK = 1 };

enum {
    ENVELOPE_FIELD_BYTES_MAX = 256,
    ENVELOPE_RESOURCES_MAX = 100,
    ENVELOPE_EXTENSIONS_MAX = 64,
    EVENT_BYTES_MAX = 1 << 20,      /* the encoded envelope; over it the event is refused with SLUICE_EINVAL */
    EVENT_DEPTH_MAX = 1000,
    PUBLISH_BATCH_BYTES_MAX = 4 << 20,
    PUBLISH_BATCH_EVENTS_MAX = 10000,
};
#define EVENT_BUS_DEFAULT "default"
#define EVENT_ACCOUNT_DEFAULT "000000000000"
#define EVENT_REGION_DEFAULT "us-east-1"

/* Views into the bytes it was decoded from, or of the caller when it is about to be encoded. Absent text: data == NULL. */
struct event {
    enum event_kind kind;
    struct view id;           /* 16 raw bytes of a UUID when id_is_uuid, else text */
    bool id_is_uuid;
    bool has_time, has_not_before;
    int64_t time_ms, not_before_ms;
    struct view source, detail_type, bus, account, region, content_type, key, dedup_id, traceparent;
    struct view resources;    /* the MessagePack array, head included */
    uint32_t resources_count;
    struct view detail;
    enum detail_type_of detail_format;
    struct view extensions;   /* the MessagePack map, head included */
    struct view encoded;      /* the whole envelope; set by decode */
};

/* Reads one envelope and checks its structure and limits, not the inside of detail. The reader moves past it.
 * SLUICE_EPROTO: not a MessagePack map of bounds (the rest of a batch cannot be found either).
 * SLUICE_EINVAL: a whole map, but a field is missing, unknown, of the wrong type or too long; the reader still moved past it. */
enum sluice_err envelope_decode(struct mpack_reader *reader, struct event *ret_event, struct sluice_error *reterr);
/* Trusted bytes of our own log: no checks beyond bounds. false: corrupt. */
bool envelope_decode_stored(struct view bytes, struct event *ret_event);
void envelope_encode(const struct event *event, struct bytes *out);
/* The inside of detail: json_check or mpack_check_detail by its format; kind event demands an object. */
enum sluice_err envelope_check_detail(const struct event *event, struct sluice_error *reterr);

enum event_shape { EVENT_SHAPE_EVENTBRIDGE, EVENT_SHAPE_CLOUDEVENT, EVENT_SHAPE_DETAIL };
/* The JSON a function sees, on one line, without a line break at its end: the EventBridge envelope (version, id,
 * detail-type, source, account, time, region, resources, detail), a structured CloudEvent, or only the detail. */
void event_put_json(struct bytes *out, const struct event *event, enum event_shape shape);
/* "0198c7d2-…" for a UUID, else the text itself; into buffer[ENVELOPE_FIELD_BYTES_MAX + 1], returns its view. */
struct view event_id_text(const struct event *event, char *buffer);

#endif
