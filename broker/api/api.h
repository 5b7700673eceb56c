/* api.h - the HTTP port for people, SDKs and producers: what comes is told apart (AWS services, CloudEvents, function URLs, metrics, health) and served.
 *
 *   edge/http ──> api.c (which door?) ──> aws/invoke.c, aws/events.c, cloudevents/, routes/, metrics.c ──> struct api_hands ──> the daemon
 *
 * Doors only translate: what may run, wait or is refused is the engine's decision, told by api_*_answered(). On the loop's thread. */
#ifndef SLUICE_API_API_H
#define SLUICE_API_API_H

#include "broker/base/histogram.h"
#include "broker/core/engine.h"
#include "broker/edge/http.h"

struct api;

enum { INVOKE_BYTES_MAX = 6 << 20 };          /* payload of a synchronous Invoke, whichever door it comes by */

#define API_HANDLE_BIT (UINT64_C(1) << 63)   /* set in every reply and invoke handle of this module: the bus door's have it clear */

/* A synchronous invocation that waits or runs. Views live until it is answered. */
struct api_invocation {
    uint64_t invoke;
    uint32_t function;
    char request_id[37];             /* UUID text, unique */
    const char *arn;                 /* as invoked */
    struct view payload;             /* JSON text; never empty: {} stands for none */
    struct view client_context;      /* decoded JSON; data NULL: none */
    struct view trace_id;            /* that came, or was made; NUL-terminated */
    bool streams;                    /* response may be streamed as it comes */
    bool tail;                       /* wants the last 4 KiB of its log */
};

/* What the doors ask of the daemon. */
struct api_hands {
    void *ctx;
    const struct engine *engine;     /* for looking only */
    const struct config *(*config)(void *ctx);  /* the one in force; asked anew for each request */
    /* engine_invoke(): answered by api_invoke_answered(), unless it returns an error. */
    enum sluice_err (*invoke)(void *ctx, uint32_t function, uint64_t invoke, struct sluice_error *reterr);
    void (*invoke_cancel)(void *ctx, uint64_t invoke);
    /* engine_publish() when the turn takes it: answered by api_publish_answered(). publish->events must stay until then. */
    void (*publish)(void *ctx, const struct publish *publish);
    void (*publish_cancel)(void *ctx, uint64_t reply);
    /* The caller of a streamed response takes more again. */
    void (*resume)(void *ctx, uint64_t invoke);
    /* To be called before engine_function_info() and what else reads the store: begins the turn's read. */
    void (*look)(void *ctx);
    /* The daemon's own figures (commits, store, process), in Prometheus text, appended; see api_put_histogram(). */
    void (*metrics)(void *ctx, struct bytes *out);
    bool (*ready)(void *ctx, const char **ret_reason);   /* /readyz */
};

enum sluice_err api_open(struct ev_loop *loop, const char *address, const struct api_hands *hands, struct api **ret_api, struct sluice_error *reterr);
void api_close(struct api *api);     /* NULL is fine; callers are cut off */
uint16_t api_port(const struct api *api);

/* A family of its own: _bucket, _sum and _count. */
void api_put_histogram(struct bytes *out, const char *name, const char *help, const struct histogram *histogram);

void api_publish_answered(struct api *api, uint64_t reply, const struct publish_answer *answer);
/* For the instance that takes it: from now on it counts as running, and is not cancelled when a caller who will ask again hangs up.
 * NULL: its caller is gone (and was cancelled). */
const struct api_invocation *api_invocation_find(const struct api *api, uint64_t invoke);
/* {"errorType": ..., "errorMessage": ...} as Lambda says it for a function that could not answer by itself; appended. */
void api_put_failure(struct bytes *out, const char *request_id, const struct failure *failure);
/* log_tail: of the invocation, from START to REPORT; used if asked for. */
void api_invoke_answered(struct api *api, uint64_t invoke, const struct invoke_answer *answer, struct view log_tail);
/* Streamed response; see runtime_api.h. */
bool api_stream_begin(struct api *api, uint64_t invoke, struct view content_type);
bool api_stream_piece(struct api *api, uint64_t invoke, struct view piece);

#endif
