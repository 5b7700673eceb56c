/* instance.h - one process, as the files of this module share it: instances.c (life), pipes.c, environment.c, and
 * stdio.c and stdio_lines.c (protocols).
 *
 *   STARTING ── on_started ──> RUNNING ── instances_stop() ──> STOPPING ── exited ──> GONE
 *       └──────── failed ──────────┴────────── exited ─────────────────────────────────^
 *
 * An instance leaves the table when it becomes GONE and is freed once its last callbacks have returned. */
#ifndef SLUICE_EDGE_INSTANCE_H
#define SLUICE_EDGE_INSTANCE_H

#include "broker/base/list.h"
#include "broker/base/vec.h"
#include "broker/edge/capture.h"
#include "broker/edge/instances.h"
#include "broker/edge/memory.h"

enum { READ_BYTES = 64 << 10, READS_PER_TURN_MAX = 4 }; /* a pipe holds 64 KiB; 256 KiB a turn, then the others' turn */

enum instance_state { INSTANCE_STARTING, INSTANCE_RUNNING, INSTANCE_STOPPING, INSTANCE_GONE };

struct leased { uint64_t lease; unsigned count, done; bool result_wanted; };

struct stdio {                       /* of an instance that is spoken to by way of stdin and stdout */
    struct ev_io input, output;      /* watch our ends of the pipes; .fd -1: closed */
    int child_stdout_fd;             /* the child's end, until it has it */
    int child_stdin_fd;              /* kept, never read from: it tells how much the process has not read. So no EPIPE either */
    struct bytes unwritten;          /* input, from unwritten_at */
    size_t unwritten_at;
    uint64_t written_bytes;
    VEC(struct leased) leases;       /* outstanding ones from leases_at, in order */
    size_t leases_at;
    struct bytes answer;             /* stdio: the tail of stdout, or all of it if its result is wanted; stdio-lines: a line begun */
    uint64_t answer_bytes;           /* stdio: all of stdout */
    bool input_ends;                 /* close stdin when all is written: see input_end() */
    bool too_large;                  /* its answer: killed, further output ignored */
};

struct instance {
    struct instances *all;
    struct ev_loop *loop;
    struct instance *next;           /* in its bucket */
    uint64_t id;
    enum function_protocol protocol;
    enum instance_state state;
    pid_t pid;                       /* 0 until started */
    int pidfd;
    int64_t memory_bytes;            /* its limit; 0: none */
    struct memory_meter meter;       /* open once it was asked for */
    int child_stderr_fd;             /* the child's end, until it has it */
    struct ev_io errors;             /* watches our end; .fd -1: closed */
    struct ev_io *ended;             /* the pidfd, watched once the spawner is lost; NULL before */
    struct list in_grace;            /* of those that are killed at `grace_until`; in no list: it has not begun, or is over */
    ev_tstamp grace_until;
    struct capture *capture;
    struct captured captured;
    struct stdio *stdio;             /* NULL: native and lambda functions are spoken to elsewhere; both outputs are log */
    bool frozen;                     /* see instances_freeze() */
    bool leader_ended;               /* the others live on: see instances_hold() */
};

/* ---- instances.c, for the protocols ---- */
void instance_signal(struct instance *instance, int signal);
void instance_grace_start(struct instance *instance);                                   /* KILL after STOP_GRACE_MS */
const struct instances_events *instance_events(const struct instance *instance);
/* What explains a failure best: the last of stderr, or `other` where that is silent. */
struct view instance_output(const struct instance *instance, struct view other);

/* ---- pipes.c ---- */
bool pipes_make(struct instance *instance);          /* false: errno says why; what was made is the instance's */
void watched_close(struct instance *instance, struct ev_io *watcher);
void input_put(struct instance *instance, const struct view *lines, unsigned count);   /* each with its '\n' */
void input_write(struct instance *instance);         /* what the pipe takes now; the rest by itself */
/* EOF, but only behind the last byte put: half an event with an end looks like a whole one. */
void input_end(struct instance *instance);
bool input_unread(const struct instance *instance);
void on_input(struct ev_loop *loop, struct ev_io *watcher, int revents);
typedef void take_fn(struct instance *instance, struct view data);
/* Up to `reads_max` reads, each given to `take`. False: the other side is closed. */
bool pipe_read(struct instance *instance, const struct ev_io *watcher, char scratch[READ_BYTES], unsigned reads_max, take_fn *take);
/* What the process left in a pipe is read, and no more is waited for: something that outlives it may hold the other end. */
void pipe_finish(struct instance *instance, const struct ev_io *watcher, char scratch[READ_BYTES], take_fn *take);

/* ---- environment.c ---- */
struct arena;
const char *const *environment_make(struct arena *arena, const char *bus_url, uint64_t instance, const struct config_function *function);

/* ---- protocols: what to do with stdout, and at the end ---- */
void stdio_read(struct instance *instance, struct view data);
struct view stdio_tail(const struct instance *instance);   /* the last of its stdout */
void stdio_exited(struct instance *instance, const struct instance_end *end);
void stdio_lines_read(struct instance *instance, struct view data);
void stdio_lines_closed(struct instance *instance);  /* its stdout: no answer can come any more */
void stdio_lines_exited(struct instance *instance);

/* "Response payload size exceeded..." as Lambda says it; the output is the caller's. */
struct invocation_failure failure_too_large(struct view output);

#endif
