/* spawner.h - the process that starts instances: the daemon's own binary, exec'd before nng starts.
 *
 *   daemon ──socketpair (SOCK_SEQPACKET)── spawner ──vfork+exec── instances, each the leader of its process group
 *
 * nng is not fork-safe and leaks descriptors into children, so the daemon itself never forks after start. The spawner is small,
 * single-threaded, links to no foreign code, and holds the lock DATA/spawner.lock: a new daemon starts instances only once the old
 * spawner is gone. On EOF of its socket it kills every instance and what escaped from it (it is subreaper), reaps, and exits.
 * The one gap: daemon and spawner killed in the same moment. Leaders die with their parent (PDEATHSIG), their children are left to the
 * service manager. */
#ifndef SLUICE_EDGE_SPAWNER_H
#define SLUICE_EDGE_SPAWNER_H

#include <ev.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "broker/edge/cgroup.h"
#include "sluice/error.h"
#include "schemas/codec/view.h"

/* main() of `sluiced --spawner LOCKFILE` (its socket is descriptor 3). Waits for the lock, then serves. Returns the exit status.
 * $SLUICE_MEMORY_LIMITS: see cgroup_open(). */
int spawner_main(const char *lock_path);

/* ---- the daemon's end ---- */
struct spawner;

struct spawn_request {
    uint64_t instance;
    const char *const *command;      /* NULL-terminated, [0] absolute */
    const char *const *environment;  /* NULL-terminated, whole: nothing is inherited */
    const char *directory;
    int64_t memory_bytes;            /* 0: no limit; else held as spawner_memory() says */
    /* The child's ends, close-on-exec, not O_NONBLOCK (that would be the child's trouble too). They stay the caller's, open until
     * on_started, on_failed or on_lost: messages leave once a turn, together. */
    int stdin_fd, stdout_fd, stderr_fd;
};

struct spawner_exit {
    int wait_status;
    struct rusage usage;             /* of the leader and what it waited for; ru_maxrss is at least what the spawner itself takes */
    int64_t cgroup_peak_bytes;       /* of the whole instance; 0: not known */
    int64_t exec_us, exit_us;        /* when it was exec'd and when it was reaped, on the monotonic clock */
    bool out_of_memory;              /* the kernel killed a process of it at the limit */
};

struct spawner_events {
    void *ctx;
    void (*on_ready)(void *ctx);                                        /* it holds the lock: instances may be started */
    /* pidfd is now the receiver's; -1: no descriptor was free for it. */
    void (*on_started)(void *ctx, uint64_t instance, pid_t pid, int pidfd);
    /* step: "exec", "chdir", ... ; the instance never ran. */
    void (*on_failed)(void *ctx, uint64_t instance, int error_number, const char *step);
    /* The leader of an instance that is held: its group lives on, until SIGKILL is sent; then on_exited. May be NULL if none ever is. */
    void (*on_ended)(void *ctx, uint64_t instance, const struct spawner_exit *exit);
    void (*on_exited)(void *ctx, uint64_t instance, const struct spawner_exit *exit);
    void (*on_lost)(void *ctx);      /* the spawner died: all its instances die with it; it is started again, then on_ready */
};

enum {
    SPAWNER_QUEUE_PACKETS_MAX = 8,   /* unsent requests, about 128 spawns, tens of ms of its time: more are refused until it has caught up */
    SPAWNER_RESTART_MS = 1000,
    SPAWNER_STOP_MS = 5000,
};

/* Starts the process `program --spawner LOCKFILE` by posix_spawn; /proc/self/exe stays this very program when its file is replaced. Call before the first nng call. Restarts it by itself later, at most
 * once a second, after killing what the lost one left: for that the calling process becomes a subreaper, and children it has beside the
 * spawner must stay in its own process group. All callbacks come from the loop, none from inside a call. */
enum sluice_err spawner_start(struct ev_loop *loop, const char *program, const char *lock_path, const struct spawner_events *events,
                              struct spawner **ret_spawner, struct sluice_error *reterr);
/* SLUICE_EINVAL: the request is over 128 KiB or 4,096 strings; SLUICE_EUNAVAILABLE: not ready; SLUICE_ELIMIT: too much unsent.
 * Never blocks: what the socket cannot take waits in order. */
enum sluice_err spawner_spawn(struct spawner *spawner, const struct spawn_request *request, struct sluice_error *reterr);
/* Sends `signal` to the instance's process group; an instance that is not there (any more) is no error. */
void spawner_signal(struct spawner *spawner, uint64_t instance, int signal);
/* From here on the end of its leader is not that of its group: see on_ended. An instance that is not there (any more) is no error. */
void spawner_hold(struct spawner *spawner, uint64_t instance);
/* How memory is limited: known from on_ready on. */
const struct cgroup *spawner_memory(const struct spawner *spawner);
/* Closes the socket, waits up to 5 s for it to have killed and reaped everything, and frees. NULL is fine. */
void spawner_stop(struct spawner *spawner);

#endif
