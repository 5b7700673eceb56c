/* attributes.h - a CloudEvent 1.0 as our event. Pure.
 *
 *   id -> id                  subject -> the first resource           extensions, dataschema -> extensions
 *   source -> source          datacontenttype -> content-type         traceparent -> traceparent
 *   type -> detail-type       time -> time                            data -> detail
 *
 * A detail is a JSON object, so that patterns can look into it: data that is one is kept byte for byte. Other JSON becomes {"data": ...}, text
 * {"datacontenttype": ..., "data": "..."}, and other bytes {"datacontenttype": ..., "data_base64": "..."}; no data is {}. */
#ifndef SLUICE_API_CLOUDEVENTS_ATTRIBUTES_H
#define SLUICE_API_CLOUDEVENTS_ATTRIBUTES_H

#include "schemas/codec/envelope.h"

/* One at a time; reused. The event's views point into its buffers, or into what it was read from. */
struct cloudevent {
    struct event event;
    unsigned seen;                       /* bits of the attributes that came */
    uint8_t uuid[16];
    struct bytes texts, pairs, extensions, resources, detail;
    uint32_t extensions_count;
};
void cloudevent_done(struct cloudevent *event);

/* Binary mode: begin, each header whose name begins with "ce-" (without that), then the body. `headers_bytes`: of all their values. */
void cloudevent_begin(struct cloudevent *event, size_t headers_bytes);
enum sluice_err cloudevent_header(struct cloudevent *event, struct view name, struct view value, struct sluice_error *reterr);
enum sluice_err cloudevent_body(struct cloudevent *event, struct view content_type, struct view body, struct sluice_error *reterr);
/* Structured mode: an object, checked. */
enum sluice_err cloudevent_object(struct cloudevent *event, struct view object, struct sluice_error *reterr);

#endif
