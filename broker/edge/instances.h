/* instances.h - the processes that run functions: their pipes, their protocol, their captured output.
 *
 *   instances_start()  ->  STARTING --on_ready--> READY/BUSY  ->  instances_stop() --TERM, grace, KILL--> on_gone
 *
 * Translates and bounds; decides nothing: which instance runs what, for how long, and what a failure means is the engine's.
 * All calls and callbacks on the loop thread; no callback is made from inside a call of this module, they come from the loop. */
#ifndef SLUICE_EDGE_INSTANCES_H
#define SLUICE_EDGE_INSTANCES_H

#include "broker/core/config.h"
#include "broker/edge/spawner.h"

struct instances;

enum {
    RESULT_BYTES_MAX = 6291556,          /* stdout of one stdio invocation, one answer line; more: Function.ResponseSizeTooLarge */
    OUTPUT_TAIL_BYTES = 4096,            /* last output kept for reasons and dead letters */
    STOP_GRACE_MS = 2000, STOP_SOON_MS = 300,
    LOG_LINE_BYTES_MAX = 64 << 10,
    LOG_FILE_BYTES_MAX = 8 << 20, LOG_FILES_KEPT = 3,
};

enum end_reason { END_EXITED, END_SIGNALLED, END_SPAWN_FAILED, END_SPAWNER_LOST };

struct instance_end {
    enum end_reason reason;
    int code;                            /* exit status, signal or errno */
    const char *step;                    /* of END_SPAWN_FAILED */
    bool input_unread;                   /* not a byte of what we wrote was read */
    struct view output_tail;             /* last captured output, at most OUTPUT_TAIL_BYTES */
    bool out_of_memory;                  /* the kernel killed it, or one of its processes, at its limit */
    int64_t cpu_us, memory_peak_bytes;
    int64_t exec_us, exit_us;            /* as spawner_exit; 0: it did not run, or the spawner could not say */
};

struct invocation_failure {
    struct view type, message, output;   /* "Runtime.ExitError", ... */
};

struct instances_events {
    void *ctx;
    /* The process runs (stdio, stdio-lines, lambda). Lambda and native instances become ready by their first request for work, elsewhere. */
    void (*on_started)(void *ctx, uint64_t instance, pid_t pid);
    /* Deliveries first .. first+count-1 of the lease are done; failure NULL: succeeded. stdio: one call for the whole lease, at exit.
     * stdio-lines: in order, consecutive successes together. May deliver more to the same instance from within.
     * result: what it returned, if it was asked for by instances_invoke(). */
    void (*on_result)(void *ctx, uint64_t instance, uint64_t lease, unsigned first, unsigned count,
                      const struct invocation_failure *failure, struct view result);
    /* stdio, before its results: the process that was the invocation has ended, all it wrote is read; output_tail is what it wrote as its log. May be NULL. */
    void (*on_exited)(void *ctx, uint64_t instance, const struct instance_end *end);
    /* Its process has ended, and it is held: others of it still run, until they are killed. May be NULL if none ever is. */
    void (*on_ended)(void *ctx, uint64_t instance, const struct instance_end *end);
    /* The last word about an instance. What it still had leased is lost (the engine knows what that was). */
    void (*on_gone)(void *ctx, uint64_t instance, const struct instance_end *end);
    void (*on_spawner_ready)(void *ctx);
    /* A line that a Lambda function printed. Comes from within instances_log(), too, and must not call back. May be NULL. */
    void (*on_line)(void *ctx, uint64_t instance, struct view line);
};

/* Logs go to DATA/logs, made if missing. `bus_url`: given to native functions. `program`: as spawner_start(). */
enum sluice_err instances_new(struct ev_loop *loop, const char *program, const char *data_dir, const char *bus_url,
                              const struct instances_events *events, struct instances **ret_instances, struct sluice_error *reterr);
void instances_free(struct instances *instances); /* kills and reaps everything first (spawner_stop); no more callbacks */

/* `function` must outlive the instance's start only (copied). `environment`: the whole of it, ready-made; NULL: made here, of the function's own
 * and what is inherited. SLUICE_EUNAVAILABLE: the spawner is not ready. */
enum sluice_err instances_start(struct instances *instances, uint64_t instance, const struct config_function *function,
                                const char *const *environment, struct sluice_error *reterr);
/* stdio: once per instance, may come right after instances_start(): the lines, then EOF. stdio-lines: appended to what is
 * outstanding. inputs: one line of JSON each, without its line break; copied. Never for native and lambda. */
void instances_deliver(struct instances *instances, uint64_t instance, uint64_t lease, const struct view *inputs, unsigned count);
/* The same for one input whose result somebody waits for: it is kept whole. */
void instances_invoke(struct instances *instances, uint64_t instance, uint64_t lease, struct view input);
/* Orderly end: stdin closed behind what was delivered, TERM to the group, KILL after STOP_GRACE_MS. Takes no more deliveries. */
void instances_stop(struct instances *instances, uint64_t instance);
void instances_stop_soon(struct instances *instances, uint64_t instance);      /* the same, KILL after STOP_SOON_MS */
void instances_kill(struct instances *instances, uint64_t instance); /* KILL to the group at once (timeouts) */
/* From here on the end of its process is not that of those it has started: on_ended, and on_gone only once it is killed, or told to stop. */
void instances_hold(struct instances *instances, uint64_t instance);
/* Its processes stop where they are (SIGSTOP to the group), or go on. What is so already is left so; instances_stop() lets them go on. */
void instances_freeze(struct instances *instances, uint64_t instance, bool frozen);
/* Process memory and CPU right now, for status; false: gone. */
bool instances_pid(const struct instances *instances, uint64_t instance, pid_t *ret_pid);

/* The end of an instance's captured output, what is in its pipe now included; until the loop comes round. Empty: gone. */
struct view instances_log(struct instances *instances, uint64_t instance);
void instances_log_begin(struct instances *instances, uint64_t instance);      /* what was captured before is no part of it */
/* The most memory it used since this was last asked (memory.h); 0: not known. */
int64_t instances_memory_peak(struct instances *instances, uint64_t instance);
const struct cgroup *instances_memory_limits(const struct instances *instances);   /* known from on_spawner_ready on */

/* Where captured output goes: for lines of our own in a function's log. */
struct captures *instances_captures(const struct instances *instances);
/* Captured output of a function, oldest first: captures_tail() of its log files. SLUICE_ENOTFOUND: none yet. */
enum sluice_err instances_log_tail(const struct instances *instances, const char *function, size_t bytes_max, struct bytes *out);
/* A count of captured bytes up to the end of that tail: grows by one with each for as long as the daemon runs. */
uint64_t instances_log_position(const struct instances *instances, const char *function);

#endif
