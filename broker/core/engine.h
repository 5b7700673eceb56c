/* engine.h - everything the broker decides: what is accepted, who gets it, when again, how many instances there are.
 *
 * Owns functions, queues, leases, instances, producers and the commit being gathered. Pure: time, chance, committed state and hands
 * come from outside (struct world), so the simulator drives the same code. One thread.
 *
 *   publish ──> match ──> gathering commit ──engine_seal──> store ──engine_committed──> acks, queues ──> leases ──> deliver
 *                                   ^                                                                       │
 *                                   └── settle, retry, dead letter <── engine_result / instance_gone <──────┘
 *
 * Only committed deliveries are ever leased (queues page in what the store has), and acks leave from engine_committed(): both
 * are promises about the disk. Leases live in memory and die with the process; their deliveries are open on disk.
 * The world's functions must not call back into the engine. */
#ifndef SLUICE_CORE_ENGINE_H
#define SLUICE_CORE_ENGINE_H

#include "broker/base/clock.h"
#include "broker/base/histogram.h"
#include "broker/core/autoscale.h"
#include "broker/core/config.h"
#include "broker/core/match.h"
#include "broker/core/reader.h"

enum {
    COMMIT_BYTES_MAX = 1 << 20,          /* gather no more than this into one commit: larger ones cost more than they save */
    LEASE_BYTES_MAX = 4 << 20,           /* of one lease, unless it is a single event: each the larger of envelope and input, and a head */
    LEASE_HEAD_BYTES = 16,               /* what a message puts around each */
    EVENT_TARGETS_MAX = 65535,           /* deliveries of one event; over it the event is refused */
    FUNCTION_IN_FLIGHT_MAX = 65536,      /* leased deliveries of one function */
    READY_PAGE = 4096,                   /* deliveries of a backlog held ready in memory, about */
    PUBLISHES_EARLY_MAX = 4096,          /* batches waiting for their predecessor, all producers together */
    INVOKE_WAIT_MS_MAX = 10000,          /* a synchronous invocation waits so long for a place, then INVOKE_THROTTLED */
    INVOKE_ATTEMPTS = 3, INVOKE_BACKOFF_MS = 60000, /* asynchronous ones: tries in all; the first pause, then doubled, without jitter */
    OUTPUT_KEPT_BYTES = 4096, MESSAGE_KEPT_BYTES = 1024, REASON_KEPT_BYTES = 128,
    RULES_SAVED_MIN = 4096,              /* rules of one bus: with fewer, compiling anew at the start is as fast as reading what was saved */
    FUNCTION_NOTES = 16,                 /* decisions kept in memory for `function show` */
};

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

/* One delivery of a lease, as handed to its instance. Views die with the call. */
struct handover {
    struct delivery delivery;
    struct view envelope;
    uint32_t target;             /* engine_target() says how the input is made */
    unsigned attempt;            /* 1 for the first */
    struct view input;           /* made by the target's template; absent: it has none. A text template may give several lines, and no JSON */
};

struct publish_refusal {
    uint32_t index;
    struct sluice_error error;
};

/* The answer to one publish. refusals is in order of index. */
struct publish_answer {
    enum sluice_err code;        /* of the batch */
    const char *text;            /* NULL with SLUICE_OK */
    uint32_t accepted;
    bool duplicate;
    const struct publish_refusal *refusals;
    size_t refusals_count;
};

struct failure {
    struct view type, message, output;
    bool at_once;                /* the next attempt needs no pause: not the function failed, but the way to it */
};

/* How a synchronous invocation ended. */
enum invoke_outcome {
    INVOKE_DONE,                 /* result: what the function returned */
    INVOKE_FAILED,               /* failure says why; result: the error as the runtime posted it, byte for byte; empty: it posted none */
    INVOKE_THROTTLED,            /* no place became free within INVOKE_WAIT_MS_MAX */
    INVOKE_STOPPED,              /* the daemon stops, or the function was removed */
};
struct invoke_answer {
    enum invoke_outcome outcome;
    const struct failure *failure; /* NULL unless FAILED */
    struct view result;
    int64_t waited_us, ran_us;   /* until a place was found; from then on */
    uint64_t instance;           /* that had it; 0: none, it never began */
    uint64_t start;              /* the instance whose start it was that failed; 0: it was not that */
};

struct world {
    void *ctx;
    struct reader reader;
    void (*publish_answered)(void *ctx, uint64_t reply, const struct publish_answer *answer);
    /* false: cannot be started now (no spawner); the engine asks again after engine_spawner_ready(). */
    bool (*start)(void *ctx, uint64_t instance, const struct config_function *function);
    void (*deliver)(void *ctx, uint64_t instance, uint64_t lease, int64_t deadline_wall_ms, const struct handover *handovers,
                    unsigned count);
    /* One synchronous invocation, by the handle it came with. */
    void (*invoke)(void *ctx, uint64_t instance, uint64_t lease, int64_t deadline_wall_ms, uint64_t invoke);
    void (*invoke_answered)(void *ctx, uint64_t invoke, const struct invoke_answer *answer);
    /* The lease, whoever's it is, has had its time; it fails, or its answer goes, right after this, and kill() comes then, or when others have ended. */
    void (*timed_out)(void *ctx, uint64_t instance, uint64_t lease, int64_t timeout_ms);
    void (*stop)(void *ctx, uint64_t instance, const char *reason); /* attached: the engine has forgotten it */
    void (*kill)(void *ctx, uint64_t instance, const char *reason); /* attached: its connection, then engine_attached_lost() */
    void (*log)(void *ctx, enum log_level level, const char *line); /* key=value pairs */
    int64_t (*cpu_us)(void *ctx, uint64_t instance);        /* used so far; -1: not known */
    /* The match set of `bus` that was saved (rules_work_saves()) if it was made of rules with this fingerprint; else NULL: it is made
     * anew. Asked by preparation_run(), so on any thread, for RULES_SAVED_MIN rules and more. NULL: nothing is ever saved. */
    struct match_set *(*rules_open)(void *ctx, const char *bus, uint64_t fingerprint);
};

struct engine_options {
    uint64_t seed;
    unsigned cores;
    uint64_t memory_free_bytes;
};

struct engine;
struct engine *engine_new(const struct engine_options *options, const struct world *world);
struct engine *engine_free(struct engine *engine);

/* ---- start: rows of the store, then the configuration, then engine_recovered() ---- */
void engine_restore_function(struct engine *engine, const struct function_row *row);
void engine_restore_target(struct engine *engine, const struct target_row *row);
void engine_restore_queue(struct engine *engine, const struct queue_state *state);
void engine_restore_producer(struct engine *engine, const struct producer_row *row);
void engine_restore_totals(struct engine *engine, uint64_t revision, uint64_t next_seq, uint64_t events_total, uint64_t unmatched_total);
void engine_recovered(struct engine *engine, struct now now);

/* ---- a configuration: the first, or a new one ----
 * Prepared on any thread, put in force on the engine's, between two events: each is matched wholly by the old or by the new rules. What
 * the engine's thread does costs the same for ten rules and a million of which ten are new (configure.c). Anything may happen in the
 * engine between begin and end, another preparation too. */
struct preparation;
struct preparation *engine_prepare(struct engine *engine);   /* holds what is in force */
/* Once; any thread. From here on the configuration is the preparation's, later the engine's, until release(ctx), on any thread (may be
 * NULL), is called; it must not change. On an error it remains the caller's. Errors as match_set_new(). Seconds for a million rules. */
enum sluice_err preparation_run(struct preparation *preparation, const struct config *config, void (*release)(void *ctx), void *ctx,
                                struct sluice_error *reterr);
/* Before engine_configure(), turn by turn: gives what is new its ids, a few at a time, and no more than that with one commit. True: nothing is
 * left to do; false: once more, in a moment. What is left, engine_configure() does; what was done does no harm if it is never called. */
bool engine_bind(struct engine *engine, struct preparation *preparation);
/* In force. SLUICE_ESTALE: another has been put in force since engine_prepare(); nothing changed. */
enum sluice_err engine_configure(struct engine *engine, struct preparation *preparation, struct now now, struct sluice_error *reterr);
/* Any thread; NULL is fine; returns NULL. After engine_configure() it frees what was in force before: as long as compiling took, nearly. */
struct preparation *preparation_free(struct preparation *preparation);
/* All of it, one after the other. */
enum sluice_err engine_configure_at_once(struct engine *engine, const struct config *config, void (*release)(void *ctx), void *ctx, struct now now,
                                         struct sluice_error *reterr);

/* ---- rules: work for the background ----
 * A configuration that changed a few rules is in force at once, as a small change to the match set, and every event pays a little for
 * that until the set is made whole; a set made anew wants to be saved. One piece of either is out at a time: begin and end on the
 * engine's thread, run and free on any. NULL: there is nothing to do, or a piece is out. It holds the configuration in force; when another
 * has come at its end, what was made is thrown away. */
struct rules_work;
struct rules_work *engine_rules_work(struct engine *engine);
void rules_work_run(struct rules_work *work);            /* pure; seconds for a million rules */
/* After the run, on any thread: what is to be saved for `bus`; it is the work's own. NULL: nothing. */
struct match_set *rules_work_saves(const struct rules_work *work, const char **ret_bus);
/* If it was run, the set is in force; if not, it will be begun again. */
void engine_rules_work_end(struct engine *engine, struct rules_work *work);
void rules_work_free(struct rules_work *work);           /* NULL is fine. After the end: with what the set has taken the place of */

/* ---- inputs; each inside the turn's store read ---- */
struct publish {
    uint64_t reply;              /* the door's handle for the answer; unique */
    bool has_producer;           /* false: no deduplication */
    uint8_t producer[16];
    uint64_t epoch, sequence, lowest;
    struct view events;          /* `count` envelopes, one after the other; must stay until answered or cancelled */
    uint32_t count;
    uint32_t function;           /* 0: by the rules; else all go to this function and no rule is asked: asynchronous invocations. Without `retry`
                                  * in its configuration their policy is INVOKE_ATTEMPTS, INVOKE_BACKOFF_MS. Target: rule "", input EVENT */
};
/* Always answered once through publish_answered(): at once when nothing was taken, else from engine_committed(). */
void engine_publish(struct engine *engine, const struct publish *publish, bool accepts, const char *full_reason, struct now now);
/* The peer is gone: if the batch still waits for its predecessor, forget it (no answer). */
void engine_publish_cancel(struct engine *engine, uint64_t reply);

/* A synchronous invocation: never on disk, never tried again, in no balance. It waits in order of arrival, before the events of the queue,
 * for a place in an instance, at most INVOKE_WAIT_MS_MAX, or as long as one that is being started for it takes (see "starts that fail"), and is
 * answered once through invoke_answered(), never from inside this call. `invoke` is the door's handle: unique, not UINT64_MAX.
 * An error, and no answer:
 * SLUICE_ELIMIT: as many as scale.max * concurrency run and wait already, so with scale.max 0 always. SLUICE_ENOTFOUND: the function was
 * removed. SLUICE_EINVAL: a native function, which returns nothing. SLUICE_EUNAVAILABLE: the daemon stops. */
enum sluice_err engine_invoke(struct engine *engine, uint32_t function, uint64_t invoke, struct now now, struct sluice_error *reterr);
/* The caller is gone: one that waits is forgotten, one that runs runs to its end; neither is answered. */
void engine_invoke_cancel(struct engine *engine, uint64_t invoke);
/* Where it runs; false: it waits, or is over. And back: whose invocation a lease is; false: it is over, cancelled, or one of deliveries. */
bool engine_invoke_place(const struct engine *engine, uint64_t invoke, uint64_t *ret_instance, uint64_t *ret_lease);
bool engine_lease_invoke(const struct engine *engine, uint64_t lease, uint64_t *ret_invoke);

void engine_spawner_ready(struct engine *engine, struct now now);
/* stdio, stdio-lines: it runs. native, lambda: its pid; it is up with its first engine_instance_wants(). */
void engine_instance_started(struct engine *engine, uint64_t instance, int64_t pid, struct now now);
/* native, lambda: one more request for work is parked, for at most events_max (lambda: one). The first ends the start. SLUICE_ENOTFOUND: no
 * such instance; SLUICE_EUNAVAILABLE: it drains; SLUICE_ELIMIT: an attached one has as many requests and leases as it said it would. */
enum sluice_err engine_instance_wants(struct engine *engine, uint64_t instance, unsigned events_max, struct now now);
void engine_instance_wants_cancel(struct engine *engine, uint64_t instance, struct now now); /* a parked request went away unanswered */

/* lambda: its start failed and it said so (init/error); `body` as it was posted. The instance is stopped. See "starts that fail". */
void engine_instance_init_failed(struct engine *engine, uint64_t instance, const struct failure *failure, struct view body, struct now now);

/* ---- consumers: native instances that come by themselves (attach.c) ---- */
struct attach {
    struct view function;
    unsigned concurrency;        /* requests for work and leases at once; 0: what the function says */
};
struct attached {                /* views and numbers of the configuration in force */
    uint64_t instance;
    uint32_t function;
    unsigned concurrency, batch_size;
    int64_t timeout_ms;
};
/* From now on it is an instance like others, but for its start and its end. SLUICE_ENOTFOUND: no such function; SLUICE_EINVAL: not a
 * native one; SLUICE_ELIMIT: CONFIG_ATTACHED_MAX of them; SLUICE_EUNAVAILABLE: the daemon stops. */
enum sluice_err engine_attach(struct engine *engine, const struct attach *attach, struct now now, struct attached *ret_attached,
                              struct sluice_error *reterr);
/* It leaves in good order, attached or not: it gets no more work, and is stopped once it has settled what it holds: perhaps within this
 * call. SLUICE_ENOTFOUND: no such native instance. */
enum sluice_err engine_instance_leaves(struct engine *engine, uint64_t instance, struct now now);
/* Its connection has ended. Leases up to `lease_reached` were sent whole, and have failed: an attempt, the next without a pause. Those
 * after it go back untouched. */
void engine_attached_lost(struct engine *engine, uint64_t instance, uint64_t lease_reached, struct now now);

/* Deliveries first .. first+count-1 of the lease: done, or failed. An invocation is number 0 of its lease; its caller gets `result` (of a
 * failure: the error as it was posted), which deliveries ignore. SLUICE_ESTALE: no such lease or settled before. */
enum sluice_err engine_result(struct engine *engine, uint64_t instance, uint64_t lease, unsigned first, unsigned count,
                              const struct failure *failure, struct view result, struct now now);
/* native: the answer to a whole lease of deliveries; deliveries not in `failures` succeeded. Without batch partial-failures one failure fails all. */
struct item_failure {
    unsigned index;
    struct failure failure;
};
enum sluice_err engine_result_batch(struct engine *engine, uint64_t instance, uint64_t lease, const struct item_failure *failures,
                                    unsigned count, struct now now);
struct instance_gone {
    struct view reason;          /* "exit status 3", "signal: killed" */
    struct view output;          /* last captured output */
    bool failed_start;           /* it could not be exec'd */
    bool clean;                  /* exit status 0 */
    bool input_unread;
    int64_t cpu_us;              /* of a stdio process; 0: not known */
};
/* Its process has ended, and others of the instance (extensions) have some time still: what it had leased is lost, its place is taken until it is gone. */
void engine_instance_ended(struct engine *engine, uint64_t instance, const struct instance_gone *gone, struct now now);
void engine_instance_gone(struct engine *engine, uint64_t instance, const struct instance_gone *gone, struct now now);
/* Earliest mono time at which engine_tick() has something to do; MONO_NEVER: nothing. */
int64_t engine_wake_us(const struct engine *engine);
void engine_tick(struct engine *engine, struct now now);
/* Take no new work, finish what is held, stop instances; `engine_drained()` once none is left. */
void engine_drain(struct engine *engine, struct now now);
bool engine_drained(const struct engine *engine);

/* ---- starts that fail ----
 * An instance starts until it is up: stdio and stdio-lines when the process runs, native and lambda with the first request for work. It has
 * 10 s; a lambda instance of scale.min 130 s, or its function's timeout where that is longer (900 s at most). What exits before, or is killed
 * because its time is over, was a failed start: the next waits, 100 ms and then twice as long each time (starts for waiting invocations do not).
 * INIT of protocol lambda, as there, is then tried once more inside the first invocation: the second start has the function's timeout, and
 * when that fails too, it has failed what it was for, as does the first one that says so by engine_instance_init_failed():
 *   the synchronous invocation that waits longest, if one waits: INVOKE_FAILED, with the body posted (this holds for every protocol);
 *   else, if no instance is up, the delivery at the front of the queue: an attempt, so that a function that can never start ends in dead letters.
 * Where it differs from Lambda: an invocation has its whole timeout after INIT, not what INIT has left of it. */

/* ---- timeouts ----
 * What an instance was handed and has not answered within its function's timeout has failed, and the instance is killed. A native or lambda
 * instance of ours that works on other things beside it (`concurrency`) gets nothing new and is killed when these have ended, by their answers or
 * their own timeouts: nobody fails because of a neighbour. Lines of a pipe wait for the one that hangs: they go back untouched. */

/* ---- instances that fall silent ----
 * Once up, a lambda instance holds an invocation or asks for the next. One that does neither for its function's timeout (it answered, or its
 * request went away, and no other came) is killed, as Lambda does, where INVOKE lasts until the next request: what it was asked for has been
 * answered, and another takes its place. Where it differs from Lambda: the timeout counts from the answer, not from the hand-over. */

/* ---- commits ---- */
bool engine_has_commit(const struct engine *engine);
size_t engine_gathered_bytes(const struct engine *engine);
/* Seals what was gathered and hands it over; the engine gathers into another. At most one is out. */
struct commit *engine_seal(struct engine *engine, struct now now);
/* The sealed commit came back. durable false: there was no room; nothing of it was written. Its publishes, and those gathered since,
 * are answered SLUICE_ELIMIT; all that settles goes into the next commit. */
void engine_committed(struct engine *engine, struct commit *commit, bool durable, struct now now);

/* ---- dead letters ---- */
/* Puts the dead letter back on its queue (attempts from 0), or discards it. SLUICE_ENOTFOUND. Durable with the next commit. */
enum sluice_err engine_redrive(struct engine *engine, uint32_t function, struct delivery delivery, struct now now);
enum sluice_err engine_purge(struct engine *engine, uint32_t function, struct delivery delivery, struct now now);
/* Commits are numbered as they are sealed. What was asked while number N was being gathered is durable once the last durable commit is
 * N or a later one: what a refused commit held is in the next. */
uint64_t engine_commit_gathering(const struct engine *engine);
uint64_t engine_commit_durable(const struct engine *engine);

/* ---- looking ---- */
enum instance_state { INSTANCE_STARTING, INSTANCE_READY, INSTANCE_BUSY, INSTANCE_DRAINING };
enum { INSTANCE_STATES = 4 };
const char *instance_state_text(enum instance_state state);

struct target_view {
    uint32_t function;
    const char *rule;            /* "": an asynchronous invocation */
    enum target_input input;
    const char *text;            /* NULL when none */
    enum event_shape shape;      /* of the function */
};
bool engine_target(const struct engine *engine, uint32_t target, struct target_view *ret_target);

struct function_note {
    int64_t wall_ms;
    char text[200];
};
struct invoke_counters {         /* synchronous invocations since the daemon started, also those whose caller had left when they ended */
    uint64_t done, failed, throttled; /* throttled: also those that were refused with SLUICE_ELIMIT */
};
struct function_info {
    uint32_t id;
    const char *name;
    const struct config_function *config; /* NULL: removed; its open deliveries are orphaned */
    uint64_t counters[QUEUE_COUNTERS];
    uint64_t pending, ready, leased, retrying; /* pending = ready + leased + retrying (+ not committed yet) */
    unsigned invokes_waiting, invokes_running; /* synchronous ones; not among `leased` */
    struct invoke_counters invokes;
    unsigned instances[INSTANCE_STATES]; /* the attached ones too */
    unsigned attached;
    struct autoscale_target target; /* of those that we start */
    double arrivals_per_s, service_s, start_s;
    bool circuit_open;
    unsigned crashes;
    int64_t circuit_left_ms;
    int64_t oldest_ms;           /* wall time of the oldest ready delivery's commit; 0: none */
};
/* How long its work took, since the start. An attempt is a delivery handed over once, from then to its result, whatever the batch; what goes
 * back unread is none. Those that failed because no instance could be started took no time. */
struct function_ran {
    struct histogram invokes;    /* synchronous invocations: invokes.done + invokes.failed of them */
    struct histogram attempts;
    uint64_t attempts_failed;    /* of these */
};
size_t engine_functions_count(const struct engine *engine);        /* ids are 1 .. count */
void engine_function_info(const struct engine *engine, uint32_t function, struct now now, struct function_info *ret_info);
const struct function_ran *engine_function_ran(const struct engine *engine, uint32_t function); /* NULL: nothing yet */
bool engine_function_find(const struct engine *engine, struct view name, uint32_t *ret_function);
const char *engine_function_name(const struct engine *engine, uint32_t function); /* as long as the engine */
/* Newest first; returns how many there are. */
size_t engine_function_notes(const struct engine *engine, uint32_t function, struct function_note *ret_notes, size_t max);

struct instance_info {
    uint64_t id;
    enum instance_state state;
    int64_t pid, started_wall_ms;
    struct mono since;           /* idle since; busy: the oldest lease's last progress; else since it was started */
    unsigned leased;             /* deliveries and invocations */
    unsigned parked;             /* native, lambda: requests for work that wait */
    uint64_t done;
    bool provisioned;            /* started to keep scale.min; known from its start on */
    bool repeats_init;           /* lambda: a start before it failed ("starts that fail"); likewise */
    bool attached;
    unsigned concurrency;        /* of an attached one; else 0 */
};
void engine_each_instance(const struct engine *engine, uint32_t function, void (*each)(void *ctx, const struct instance_info *info), void *ctx);
bool engine_instance_find(const struct engine *engine, uint64_t instance, uint32_t *ret_function, struct instance_info *ret_info);
bool engine_instance_is_native(const struct engine *engine, uint64_t instance);
bool engine_instance_is_attached(const struct engine *engine, uint64_t instance);
bool engine_instance_protocol(const struct engine *engine, uint64_t instance, enum function_protocol *ret_protocol); /* false: no such instance */
/* Whether `delivery` is leased right now, and to which instance. */
bool engine_delivery_leased(const struct engine *engine, uint32_t function, struct delivery delivery, uint64_t *ret_instance);
/* Whether it waits in the log's queue: committed, neither leased nor settled nor an exception. */
bool engine_delivery_ready(const struct engine *engine, uint32_t function, struct delivery delivery);

struct rule_info {
    const struct config_rule *config;
    uint64_t matched;            /* since start */
};
size_t engine_rules_count(const struct engine *engine);
void engine_rule_info(const struct engine *engine, size_t index, struct rule_info *ret_info);

struct engine_totals {
    uint64_t committed_seq;      /* the sequence number that comes after the last durable commit */
    uint64_t revision, next_seq, events_total, unmatched_total, pending, producers;
    unsigned instances[INSTANCE_STATES], attached;
    uint64_t oldest_open_seq;    /* the watermark: below it all is settled */
};
void engine_totals(const struct engine *engine, struct engine_totals *ret_totals);

#endif
