/* runtime_api.h - the Lambda Runtime API (2018-06-01), the Extensions and the Telemetry API: what a function's process finds at
 * AWS_LAMBDA_RUNTIME_API. Facts: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
 *
 *   runtime_open() ──> its own loopback port ──> process started with it in its environment, runtime_started()
 *   GET next ──on_wants──> (the engine finds work) ──runtime_deliver()──> answered ──POST response | error──on_result──> GET next ...
 *
 * One port an instance: clients need host:port, and the port says who speaks. A connection is admitted only from a process of the instance's
 * process group. An id belongs to the instance, never to a connection: runtimes use one to five of them.
 * Translates and bounds; decides nothing. On the loop's thread; callbacks come from the loop, never from inside a call but runtime_cut(). */
#ifndef SLUICE_API_RUNTIME_API_H
#define SLUICE_API_RUNTIME_API_H

#include "broker/core/engine.h"
#include "broker/edge/http.h"

struct runtime_api;

enum {
    RUNTIME_RESPONSE_BYTES_MAX = 6291556,    /* 6 MiB + 100: over it 413, and the caller gets Function.ResponseSizeTooLarge */
    RUNTIME_STREAM_BYTES_MAX = 200 << 20,    /* of a streamed response */
    RUNTIME_LINE_BYTES_MAX = 1 << 20,        /* one header line: X-Ray error causes are that long */
    RUNTIME_CONNECTIONS_MAX = 256,           /* of one instance; more if its function has more than a hundred at once: see connections_max() */
    RUNTIME_EXTENSIONS_MAX = 10,
    RUNTIME_LOOKS_PER_S = 20000,             /* of an instance: descriptors looked at to know who connects, some 20 ms; beyond, its port rests */
};

/* One invocation, as it is handed over. Copied. */
struct runtime_invocation {
    uint64_t lease;
    const char *request_id;          /* UUID text */
    const char *arn;                 /* as invoked */
    const char *trace_id;            /* "Root=1-...;Parent=...;Sampled=0"; NULL: the request id's (broker/base/trace_id.h) */
    int64_t deadline_ms;             /* wall */
    struct view payload;             /* a JSON text */
    struct view client_context;      /* JSON; data NULL: none */
    bool streams;                    /* the caller takes a streamed response as it comes: on_stream_* instead of one whole on_result */
};

struct runtime_events {
    void *ctx;
    /* A request for work is parked: engine_instance_wants(). The first ends INIT. */
    void (*on_wants)(void *ctx, uint64_t instance);
    void (*on_wants_cancel)(void *ctx, uint64_t instance);   /* it went away unanswered */
    /* The invocation of `lease` ended. failure NULL: `result` is the function's response; else `result` is the error's body as it was
     * posted, byte for byte. `content_type` of a response as the runtime sent it; data NULL: none. */
    void (*on_result)(void *ctx, uint64_t instance, uint64_t lease, const struct failure *failure, struct view result, struct view content_type);
    /* A streamed response of an invocation with `streams`: begins once, pieces, and then on_result with the end (result empty; failure from
     * the trailers). begin returns false if the caller is gone: the rest is read and dropped. piece returns true while more may come at once;
     * false: reading stops until runtime_resume(). */
    bool (*on_stream_begin)(void *ctx, uint64_t instance, uint64_t lease, struct view content_type);
    bool (*on_stream_piece)(void *ctx, uint64_t instance, uint64_t lease, struct view piece);
    /* init/error was posted; body as it came. The process ends by itself soon. */
    void (*on_init_error)(void *ctx, uint64_t instance, const struct failure *failure, struct view body);
    /* An extension has registered that will work at the end: the end of the runtime must not be its own. May come again. */
    void (*on_extension)(void *ctx, uint64_t instance);
    /* What runtime_shutdown() was waiting for has come. */
    void (*on_extensions_done)(void *ctx, uint64_t instance);
};

enum sluice_err runtime_api_new(struct ev_loop *loop, const struct runtime_events *events, struct runtime_api **ret_api, struct sluice_error *reterr);
void runtime_api_free(struct runtime_api *api);

/* Before the process is started: clients that find nobody listening exit. *ret_port: on 127.0.0.1, of this instance.
 * `function` is copied. provisioned: one of those that keep scale.min, as INIT records say. SLUICE_ELIMIT: no descriptor or port. */
enum sluice_err runtime_open(struct runtime_api *api, uint64_t instance, const struct config_function *function, bool provisioned,
                             uint16_t *ret_port, struct sluice_error *reterr);
void runtime_started(struct runtime_api *api, uint64_t instance, pid_t pid);    /* leader of its process group */
/* Answers a parked `next` of the instance; there is one (the engine counts them). */
void runtime_deliver(struct runtime_api *api, uint64_t instance, const struct runtime_invocation *invocation);
/* The lease is over without the runtime's word (timeout): its id is no longer current. Where others run beside it, its answer is taken and dropped. */
void runtime_forget(struct runtime_api *api, uint64_t instance, uint64_t lease);
void runtime_resume(struct runtime_api *api, uint64_t instance, uint64_t lease);
/* Its process has ended, and is the first to be heard of, or its connections are: what it was still posting is not whole, and ends so now, by on_result
 * from inside this call. */
void runtime_cut(struct runtime_api *api, uint64_t instance);
/* Its process has ended, extensions live: what it had been handed has failed, and runtime_shutdown() comes next. */
void runtime_ended(struct runtime_api *api, uint64_t instance);
/* The instance is to end: extensions get SHUTDOWN (reason "spindown", "timeout", "failure"). Those that hear of it work until they ask for their next
 * event, their process ends, or RUNTIME_PART_MS before the deadline; then, or at once if there are none, the runtime is to be told by its signal.
 * Where the runtime has ended they have the time until the deadline, or what is left of what they had been given before.
 * Its parked `next` requests stay, and get nothing more, until runtime_close(), as do those that come now. A second call ends their time. */
enum { RUNTIME_PART_MS = 300 };          /* what the runtime has to end by itself, as on Lambda */
enum runtime_ending {
    RUNTIME_NO_EXTENSIONS,               /* nobody else has to end */
    RUNTIME_HAS_EXTENSIONS,              /* some are registered: let its processes end in good order */
    RUNTIME_WAITS,                       /* some are at work: on_extensions_done says when its processes are to end */
};
enum runtime_ending runtime_shutdown(struct runtime_api *api, uint64_t instance, const char *reason, int64_t deadline_ms);
void runtime_close(struct runtime_api *api, uint64_t instance);                 /* it is gone */

/* Records for telemetry subscribers of the instance. platform.initStart, initRuntimeDone, initReport, start, runtimeDone, extension and
 * telemetrySubscription are made here; platform.report (it has memory and bills in it) is the daemon's to give, and "function", a JSON string
 * for each line or piece of output. */
bool runtime_telemetry_wanted(const struct runtime_api *api, uint64_t instance);
void runtime_telemetry(struct runtime_api *api, uint64_t instance, const char *type, struct view record_json);

/* What a process is told of itself, beside its function. */
struct lambda_process {
    uint64_t instance;
    bool provisioned;                /* as for runtime_open(), which gave the port, too */
    uint16_t runtime_port;
    const char *log_stream;
    const char *endpoint_url;        /* our own HTTP port, for AWS_ENDPOINT_URL; NULL: there is none */
};

/* lambda_environment.c: the whole environment of a Lambda function's process (documented variables, then the function's own; and whose
 * process it is, by which the spawner finds what left its group), NULL-terminated, in the arena. */
struct arena;
const char *const *lambda_environment(struct arena *arena, const struct config_function *function, const struct lambda_process *process);

#endif
