/* envelope_fuzz.c - a batch of envelopes as a producer sends it: decoded, written again, read back, and shown to functions. */
#include "schemas/codec/envelope.h"
#include "schemas/codec/json.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void functions_see_json(const struct event *event)
{
    struct bytes json = { 0 };

    for (enum event_shape shape = EVENT_SHAPE_EVENTBRIDGE; shape <= EVENT_SHAPE_DETAIL; shape++) {
        bytes_clear(&json);
        event_put_json(&json, event, shape);
        MUST(!json.failed);
        bool bytes_as_they_came = event->kind == EVENT_KIND_INVOKE && event->detail_format == DETAIL_MPACK;
        MUST(bytes_as_they_came || memchr(json.data, '\n', json.len) == NULL);
        /* The envelope is one object around its detail, which may be as deep as any text. */
        if (event->kind == EVENT_KIND_EVENT && json_check(event->detail, JSON_OBJECT, EVENT_DEPTH_MAX - 1, NULL) == SLUICE_OK)
            MUST(json_check(bytes_view(&json), JSON_OBJECT, JSON_DEPTH_MAX, NULL) == SLUICE_OK);
    }
    bytes_done(&json);
}

static void event_returns(const struct event *event)
{
    char id[ENVELOPE_FIELD_BYTES_MAX + 1];
    struct bytes encoded = { 0 };
    struct event again;

    envelope_encode(event, &encoded);
    MUST(!encoded.failed);
    struct mpack_reader reader = mpack_reader_of(bytes_view(&encoded));
    MUST(envelope_decode(&reader, &again, NULL) == SLUICE_OK && mpack_at_end(&reader));
    MUST(view_equals(again.detail, event->detail) && view_equals(again.id, event->id) && again.kind == event->kind);
    MUST(view_equals(again.source, event->source) && again.time_ms == event->time_ms && again.has_time == event->has_time);
    MUST(view_equals(again.resources, event->resources) && view_equals(again.extensions, event->extensions));
    MUST(envelope_decode_stored(bytes_view(&encoded), &again));
    MUST(event_id_text(event, id).len <= ENVELOPE_FIELD_BYTES_MAX);
    bytes_done(&encoded);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    char *copy = fuzz_copy(data, len);
    struct view bytes = { .data = copy, .len = len };
    struct mpack_reader reader = mpack_reader_of(bytes);
    struct sluice_error error;
    struct event event;

    (void)envelope_decode_stored(bytes, &event); /* of our own log, so it may take what the door refuses; within its bounds */
    while (!mpack_at_end(&reader)) {
        const uint8_t *before = reader.at;
        enum sluice_err err = envelope_decode(&reader, &event, &error);
        if (err == SLUICE_EPROTO)
            break; /* where the next one begins cannot be known */
        MUST(reader.at > before);
        if (err == SLUICE_OK) {
            event_returns(&event);
            if (envelope_check_detail(&event, &error) == SLUICE_OK)
                functions_see_json(&event);
        }
    }
    free(copy);
    return 0;
}
