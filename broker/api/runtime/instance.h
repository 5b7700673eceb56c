/* instance.h - one instance's side of the Runtime API, as the files of this folder share it:
 *
 *   runtime_api.c   life: listener, admission, what the daemon calls        routes.c      which call is it? and its refusals
 *   invocations.c   next: parked, handed over, read again                   responses.c   response and error posts, whole and streamed
 *   failures.c      error types and error bodies                            extensions.c  register, event/next, errors
 *   control_bodies.c  what extensions send, as data                         telemetry.c   records, bounded, on their way to subscribers
 *   platform_records.c  INIT and invocations, as telemetry                  post.c        one HTTP POST or TCP write to a loopback port
 *   peer.c          whose process is at the other end?                      shutdown.c    the end: first its extensions, then its runtime
 *
 * The runtime's states, and those of each invocation. With `concurrency` 1 they are AWS's one machine (Ready -> Running ->
 * InvocationResponse -> ResponseSent -> Ready); with more, several invocations go through it at once:
 *
 *   STARTED ──next──> READY                  RUNNING ──response | error──> RESPONDING ──settled──> SPENT ──next──> (forgotten)
 *      └──init/error──> INIT_FAILED             └── its id is current from hand-over to here ──────────┘
 *
 * A SPENT invocation keeps its id current until the runtime asks for the next one: a second answer is a wrong state (403), not
 * a wrong id (400). With more than one, the process goes on when the time of one of them is over, which is LATE from then on: its answer is
 * taken (202) and dropped, since most runtimes die of a refusal, and the others with them. */
#ifndef SLUICE_API_RUNTIME_INSTANCE_H
#define SLUICE_API_RUNTIME_INSTANCE_H

#include "broker/api/runtime/peer.h"
#include "broker/api/runtime/runtime_api.h"
#include "broker/base/list.h"
#include "broker/base/map.h"
#include "broker/edge/report.h"
#include "schemas/codec/bytes.h"

enum {
    RUNTIME_CONTROL_BYTES_MAX = 64 << 10, /* bodies of register and of telemetry subscriptions */
    RUNTIME_DRAIN_BYTES_MAX = 64 << 20,   /* read and thrown away of a body that is too large, so that its sender reads the 413 */
    RUNTIME_ID_BYTES_MAX = 256,           /* of a request id in a path */
};

struct runtime_api {
    struct ev_loop *loop;
    struct runtime_events events;
    struct map instances;                    /* id -> struct runtime_instance * */
    struct peer_finder *peers;
    struct http_server *http;                /* whose listeners the instances have */
    struct list resting;                     /* instances that have used up their looks of this second: see admit() */
    ev_timer rested;
};

enum runtime_state { RUNTIME_STARTED, RUNTIME_READY, RUNTIME_INIT_FAILED };
enum invocation_state { INVOCATION_RUNNING, INVOCATION_RESPONDING, INVOCATION_SPENT, INVOCATION_LATE };

struct call;
struct extensions;
struct telemetry;

struct invocation {
    struct list link;                        /* of the instance's, oldest first */
    uint64_t lease;
    enum invocation_state state;
    bool error_posted;                       /* /error and not /response: for what the state is called */
    bool streams;
    bool lost;                               /* its hand-over did not reach the runtime: the next `next` gets it again */
    struct call *handing;                    /* the `next` whose answer is on its way; NULL: it has left */
    struct call *posting;                    /* the response being read; NULL: none */
    int64_t deadline_ms;
    int64_t begun_us;                        /* mono; 0: nobody asked for telemetry then */
    struct view request_id, arn, trace_id, client_context, payload; /* in `text`; client_context.len 0: none */
    char text[];
};

/* What an exchange is about; its user pointer. */
enum call_kind {
    CALL_NEXT, CALL_RESPONSE, CALL_ERROR, CALL_INIT_ERROR,
    CALL_REGISTER, CALL_EXTENSION_NEXT, CALL_EXTENSION_INIT_ERROR, CALL_EXTENSION_EXIT_ERROR, CALL_TELEMETRY,
    CALL_ANSWERED,                           /* refused from its head: nothing more is done about it */
};
enum body_mode {
    BODY_COLLECTED,                          /* by the HTTP server */
    BODY_GATHERED,                           /* by us, piece by piece: its length was not said */
    BODY_STREAMED,                           /* to the caller as it comes */
    BODY_DROPPED,                            /* it was over its limit, or nobody wants it */
};
struct call {
    struct list link;                        /* CALL_NEXT: of the parked ones, oldest first; else in no list */
    struct http_exchange *exchange;
    enum call_kind kind : 8;
    enum body_mode mode : 8;
    bool unnamed;                            /* BODY_STREAMED, and its runtime did not say so: it may be as long as a whole one, not longer */
    unsigned refusal;                        /* status to answer with once the body is read; 0: none */
    struct invocation *invocation;           /* handed over, or being answered; NULL: none, or forgotten meanwhile */
    struct extension *extension;             /* CALL_EXTENSION_NEXT: it waits for its next event */
    size_t body_bytes;
    struct bytes body;                       /* BODY_GATHERED */
};

struct runtime_instance {
    struct runtime_api *api;
    uint64_t id;
    struct http_listener *listener;
    pid_t pid;                               /* 0: not told yet */
    unsigned pins;                           /* callbacks on the stack that still look at it */
    bool closed;                             /* runtime_close() was called: freed with the last pin */
    bool ending;                             /* runtime_shutdown() was called: no more work */
    bool ended;                              /* its process has, and its extensions have not */
    bool stranger_logged;
    bool init_done;                          /* the runtime and all its extensions have asked for something to do */
    bool provisioned;
    enum function_runtime runtime : 8;
    enum runtime_state state : 8;
    ev_timer *extensions_late;               /* runs while extensions are waited for; NULL: they are not */
    struct list in_resting;
    int64_t looks_s;                         /* the second in which `looks` descriptors were looked at for it */
    int64_t opened_us;                       /* mono: INIT began */
    unsigned looks;
    unsigned concurrency;
    unsigned running;                        /* invocations RUNNING and RESPONDING */
    unsigned parked_count, announced;        /* `next` requests that wait; how many of them the engine was told of */
    struct list parked, invocations;
    struct extensions *extensions;           /* NULL: none registered */
    struct telemetry *telemetry;             /* NULL: nobody subscribed */
    const char *function, *handler_name, *directory; /* in `text` */
    char text[];
};

static inline void instance_pin(struct runtime_instance *instance) { instance->pins++; }
void instance_unpin(struct runtime_instance *instance);

/* ---- runtime_api.c ---- */
bool runtime_admit(void *ctx, int fd);

/* ---- routes.c ---- */
extern const struct http_handler runtime_handler;
struct call *call_new(struct http_exchange *exchange, enum call_kind kind);
/* {"errorMessage":...,"errorType":...} */
void answer_error(struct http_exchange *exchange, unsigned status, const char *type, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void answer_status(struct http_exchange *exchange, unsigned status);    /* 400, 413, 500 with AWS's own words for them */
void answer_accepted(struct http_exchange *exchange);                   /* 202 {"status":"OK"} */
void answer_json(struct http_exchange *exchange, unsigned status, const struct http_answer_field *more, struct view body);

/* ---- invocations.c ---- */
bool invocation_is_open(const struct invocation *invocation);    /* RUNNING or RESPONDING */
void invocation_free(struct runtime_instance *instance, struct invocation *invocation);
struct invocation *invocation_by_lease(const struct runtime_instance *instance, uint64_t lease);
/* id: as it stands in the path, percent-encoded. */
struct invocation *invocation_by_id(const struct runtime_instance *instance, struct view id);
struct invocation *invocation_add(struct runtime_instance *instance, const struct runtime_invocation *from);
void invocation_hand_over(struct runtime_instance *instance, struct invocation *invocation, struct call *call);
const char *invocation_state_name(const struct invocation *invocation);
void next_request(struct runtime_instance *instance, struct call *call);
void next_end(struct runtime_instance *instance, struct call *call, enum http_end end);
/* Tells the engine of more or fewer parked requests than it knows of. May call back: the instance must be pinned. */
void instance_announce(struct runtime_instance *instance);
/* The invocation ended. Calls back; `invocation` is not to be used after it. */
void invocation_settle(struct runtime_instance *instance, struct invocation *invocation, const struct failure *failure,
                       struct view result, struct view content_type);

/* ---- responses.c ---- */
void response_head(struct runtime_instance *instance, struct call *call, struct view id);
void response_piece(struct runtime_instance *instance, struct call *call, struct view piece);
void response_request(struct runtime_instance *instance, struct call *call);
void response_end(struct runtime_instance *instance, struct call *call);
void response_drop(struct call *call);       /* its invocation is LATE: what is being posted has come in vain */
void init_error_head(struct runtime_instance *instance, struct call *call);
void init_error_request(struct runtime_instance *instance, struct call *call);

/* ---- failures.c ---- */
/* What a posted error says. Views into `body`, `header` and `scratch`. */
struct posted_error {
    struct failure failure;
    struct view body;                        /* what the caller gets */
};
void posted_error_read(struct view header, struct view content_type, struct view body, struct bytes *scratch,
                       struct posted_error *ret_error);

/* ---- extensions.c ---- */
void extension_register(struct runtime_instance *instance, struct http_exchange *exchange);
void telemetry_request(struct runtime_instance *instance, struct http_exchange *exchange);
void extension_next(struct runtime_instance *instance, struct call *call);
void extension_next_end(struct runtime_instance *instance, struct call *call);
void extension_error(struct runtime_instance *instance, struct http_exchange *exchange, bool init);
/* All that registered have asked for their next event (for the first, or since the last invocation). */
bool extensions_ready(const struct extensions *extensions);
/* Tells subscribers how each of them has come out of INIT: they may have subscribed later. */
void extensions_init_done(struct runtime_instance *instance);
void extensions_invoke(struct runtime_instance *instance, const struct invocation *invocation);
/* Tells those that hear of it. */
void extensions_shutdown(struct runtime_instance *instance, const char *reason, int64_t deadline_ms);
bool extensions_alive(const struct extensions *extensions);     /* one or more that did not fail */
bool extensions_at_work(const struct extensions *extensions);   /* one or more that hear SHUTDOWN have not come to their end */
unsigned extensions_processes(const struct extensions *extensions, pid_t ret_processes[RUNTIME_EXTENSIONS_MAX]); /* that live; returns their number */
struct extensions *extensions_free(struct extensions *extensions);

/* ---- shutdown.c ---- */
enum runtime_ending shutdown_begin(struct runtime_instance *instance, const char *reason, int64_t deadline_ms);
/* An extension may have come to its end. May call back: the instance must be pinned. */
void shutdown_look(struct runtime_instance *instance);
void shutdown_forget(struct runtime_instance *instance);        /* its extensions are waited for no longer */

/* ---- platform_records.c ---- */
void platform_init_start(const struct runtime_instance *instance, struct bytes *record);
void platform_init_done(struct runtime_instance *instance, const char *status);
void platform_start(struct runtime_instance *instance, struct invocation *invocation);
/* status: "success", "error", "failure", "timeout" */
void platform_runtime_done(struct runtime_instance *instance, const struct invocation *invocation, const char *status,
                           struct view error_type, size_t produced_bytes);

/* ---- telemetry.c ---- */
#define TELEMETRY_LOGS_PATH "/2020-08-15/logs"
void telemetry_subscribe(struct runtime_instance *instance, struct http_exchange *exchange, const char *extension);
void telemetry_record(struct runtime_instance *instance, const char *type, struct view record_json);
void telemetry_flush(struct telemetry *telemetry);
struct telemetry *telemetry_free(struct telemetry *telemetry);

#endif
