/* api_internal.h - what the doors of the HTTP port share; nobody outside broker/api includes this.
 *
 *   struct call        one HTTP exchange, from its head to its end
 *   struct invocation  a synchronous invocation and the calls that wait for it (invocations.c)
 *   struct publishing  a batch of events on its way to the disk and the calls that wait for it (publishing.c)
 *
 * A call waits for one thing at most. What is waited for outlives its calls: a peer that closes only leaves. */
#ifndef SLUICE_API_API_INTERNAL_H
#define SLUICE_API_API_INTERNAL_H

#include "broker/api/api.h"
#include "broker/api/aws/names.h"
#include "broker/api/text.h"
#include "broker/base/arena.h"
#include "broker/base/assert.h"
#include "broker/base/histogram.h"
#include "broker/base/list.h"
#include "broker/base/map.h"
#include "broker/base/trace_id.h"
#include "broker/base/vec.h"
#include "schemas/codec/bytes.h"
#include "schemas/codec/ids.h"
#include "schemas/codec/json.h"

enum {
    API_DRAIN_BYTES = 32 << 20,          /* of a body nobody wants is read and thrown away, so that the peer reads why */
    API_EVENTS_BYTES_MAX = 128 << 20,    /* envelopes waiting for their commit, all doors together; over it 429 */
    INVOKE_ASYNC_BYTES_MAX = EVENT_BYTES_MAX - 256, /* of an asynchronous one: with its envelope it is one event */
    INVOKE_ASYNC_OLD_BYTES_MAX = 256 << 10, /* of InvokeAsync, the call of 2014 */
    LOG_TAIL_BYTES = 4 << 10,
    TRACE_ID_BYTES_MAX = 1024,           /* of a request; one that is longer is none */
    ANSWER_FIELDS_MAX = 120,             /* header fields of one answer: a function may bring HTTP_HEADERS_MAX of them */
};

struct call;
struct invocation;
struct publishing;
struct once;

struct api {
    struct ev_loop *loop;
    struct api_hands hands;
    struct http_server *http;
    struct http_listener *listener;
    char host[256];                      /* of its address, as configured */
    bool loopback;
    uint16_t port;
    int64_t opened_ms;                   /* wall */
    struct list calls;
    struct map invocations;              /* handle -> struct invocation * */
    struct map publishings;              /* handle -> struct publishing * */
    uint64_t handle_last;
    size_t events_bytes;                 /* of envelopes waiting for their commit */
    struct once *once;                   /* of Invoke */
    struct once *once_events;            /* of PutEvents: many small ones are not to push out the others */
    struct bytes text, scratch;          /* an answer in the making; within one callback */
    struct match_scratch *match;         /* of TestEventPattern; made when it is first asked */
    uint8_t random[256];
    size_t random_left;
    struct histogram invoke_waited, invoke_ran;
    struct {
        uint64_t requests[6];            /* by the first digit of the status; [0]: cut off before an answer */
        uint64_t unknown_bus;            /* events dropped for naming a bus that is not there, as EventBridge does */
        uint64_t attached;               /* repeated requests that got the first one's answer */
    } counts;
};

/* ---- a call ---- */

struct web;
struct call {
    struct list link;                    /* in api->calls */
    struct api *api;
    struct http_exchange *exchange;
    void (*serve)(struct call *call);    /* the request is whole: answer, or wait */
    char request_id[UUID_TEXT_LEN + 1];
    unsigned status;                     /* answered with; 0: not yet */
    struct invocation *invocation;       /* waits for it, or streams its response */
    struct publishing *publishing;       /* waits for it */
    struct list waiting;                 /* in one of them */
    struct view name;                    /* of the function, from the path, still percent-encoded */
    struct web *web;                     /* of routes/: what its answer needs; NULL: another door's */
};

struct answer {
    struct http_answer_field fields[ANSWER_FIELDS_MAX];
    unsigned count;
};
static inline void answer_put(struct answer *answer, const char *name, struct view value)
{
    ASSERT(answer->count < ANSWER_FIELDS_MAX);
    answer->fields[answer->count++] = (struct http_answer_field){ .name = name, .value = value };
}

/* answer.c */
const char *call_request_id(struct call *call);                           /* made when it is first asked for */
/* The request's X-Amzn-Trace-Id, or the one of its request id, in `made`. */
struct view call_trace_id(struct call *call, char made[TRACE_ID_LEN + 1]);
void call_respond(struct call *call, unsigned status, const struct answer *answer, struct view body);
void call_begin(struct call *call, unsigned status, const struct answer *answer);
void call_respond_text(struct call *call, unsigned status, const char *text); /* a line for people; a line break is added */
void call_respond_json(struct call *call, unsigned status, struct view json);
/* {"message": ...}, of the doors that are not AWS's. */
void call_refuse(struct call *call, unsigned status, const char *format, ...) __attribute__((format(printf, 3, 4)));
void call_refuse_method(struct call *call, const char *allowed);          /* 405 */
/* What an error is on HTTP: 429, 503, 404, 409, 403, 400 or 500. */
unsigned status_of(enum sluice_err err);
bool status_is_later(unsigned status);                                    /* ask again after a pause: Retry-After */

/* api.c */
void api_uuid(struct api *api, uint8_t ret_uuid[UUID_BYTES]);
uint64_t api_handle(struct api *api);
/* For a door's head: `serve` is called when the body is here. Longer ones are refused, at once when they are announced. */
void call_serve(struct call *call, void (*serve)(struct call *call), size_t body_bytes_max);
size_t call_body_announced(const struct call *call);                      /* Content-Length; 0: none */
struct view call_host(const struct call *call);                           /* the Host, without its port */

/* ---- invocations.c: RequestResponse ---- */

struct invoke_result {
    bool failed;
    struct view body;                    /* what the function returned, or the error as it posted it, or as we say it */
    struct view type;                    /* of the failure; data NULL unless failed */
    struct view log_tail;
};
/* How a caller is told. Each ends the wait: the call is answered, or streams to its end. */
struct invoke_form {
    void (*done)(struct call *call, const struct invoke_result *result);
    /* SLUICE_ELIMIT: no place for it; SLUICE_EUNAVAILABLE: the daemon stops; and what engine_invoke() refuses. */
    void (*refused)(struct call *call, enum sluice_err why, const char *text);
    /* Of a streamed response; NULL: it comes whole. */
    void (*begin)(struct call *call, struct view content_type);
    void (*piece)(struct call *call, struct view piece);
};
struct invoke_request {
    const struct invoke_form *form;
    uint32_t function;
    struct view arn;                     /* as invoked */
    struct view payload, client_context, trace_id;
    bool streams, tail;
    const char *door;                    /* whose requests may come several times and are executed once (once.h); NULL: each is executed */
};
/* Begins the invocation for the call, or lets the call wait for the one that an earlier try of the same request began. Copies all. */
void invocation_begin(struct call *call, const struct invoke_request *request);
void invocation_leave(struct call *call);                                 /* its peer is gone */
void invocation_drained(struct call *call);                               /* its peer takes more of a streamed response */
void invocations_close(struct api *api);

/* ---- publishing.c: events ---- */

struct publish_entry {                   /* one event as the request named it */
    uint8_t id[UUID_BYTES];
    struct view id_text;                 /* data NULL: `id` is the id */
    const char *code, *text;             /* refused by the door or the engine; NULL: it was not */
    enum sluice_err err;                 /* of the engine's refusal */
};
struct publishing {
    struct api *api;
    uint64_t reply;
    struct list calls;
    struct arena *arena;                 /* entries and their texts */
    struct bytes events;                 /* envelopes of the entries without a code, in their order */
    uint32_t function;                   /* deliver to this function alone; 0: by the rules */
    VEC(struct publish_entry) entries;
    /* Tells a call how it went. SLUICE_OK: entries say the rest. */
    void (*answered)(struct call *call, const struct publishing *publishing, enum sluice_err err, const char *text);
    /* Appends what all of its calls are answered, before the first is told SLUICE_OK: once, into `answer`, which later tries get, too. NULL: `answered`
     * makes its own, and later tries are told nothing but that it was accepted. */
    void (*answer_put)(struct publishing *publishing, struct bytes *out);
    struct bytes answer;
    struct once *once_of;                /* whose `once` is */
    struct once_entry *once;             /* NULL: no further try is held against it */
};
struct publishing *publishing_new(struct call *call);                     /* the call waits for it */
void publishing_attach(struct publishing *publishing, struct call *call); /* it waits too */
/* The event, into publishing->events. Its id is entry->id unless it has one. */
void publishing_put(struct publishing *publishing, struct publish_entry *entry, const struct event *event);
/* The request may come again: it is noted under `key` before it is begun. */
struct once_key;
void publishing_once(struct publishing *publishing, struct once *once, const struct once_key *key);
/* On its way; answered at once if there is nothing to publish or no room. */
void publishing_begin(struct publishing *publishing);
void publishing_leave(struct call *call);
void publishings_close(struct api *api);
struct publishing *publishing_free(struct publishing *publishing);        /* before it was begun */

/* ---- the doors: choose call->serve, or answer ---- */
void lambda_head(struct call *call);                                      /* aws/lambda.c: /2015-03-31/functions/... */
void json_services_head(struct call *call, struct view target);           /* aws/json_services.c: X-Amz-Target */
void cloudevents_head(struct call *call);
void metrics_head(struct call *call);

#endif
