/* The spawner: one small single-threaded process that turns SPAWN messages into instances and their ends into EXITED messages.
 *
 *   poll ── socket: a packet of requests ──┐
 *    ^      signalfd: children changed ────┼── replies gather in one packet ── sent at the end of the turn
 *    └─────────────────────────────────────┘   (while it cannot be sent nothing else is taken: zombies and requests wait)
 *
 * An instance is the leader of a process group. When a leader ends, its group is killed before the leader is reaped, so that its
 * number cannot have been given to others. One that is held is told of (ENDED) and stays a zombie, and its group alive, until KILL comes
 * for it: its extensions have work to do at the end. What left the group (setsid) loses its parents sooner or later and, as this process is a
 * subreaper, becomes its child: a child that is no leader. It belongs to the instance of its group or of the SLUICE_INSTANCE in its
 * environment; when that one is not alive, or there is no telling for a while, it is killed. */
#include "broker/edge/spawner.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "broker/base/assert.h"
#include "broker/base/vec.h"
#include "broker/edge/cgroup.h"
#include "broker/edge/descendants.h"
#include "broker/edge/spawner_wire.h"

enum {
    REAPED_PER_TURN_MAX = 256,       /* their EXITED messages and a full packet's STARTED fit one reply */
    ESCAPED_SCAN_MS = 20,            /* at most so often: a scan reads the list of all children */
    STRANGER_SCANS = 5,              /* after so many, a child that names no instance is nobody's */
    LOCK_RETRY_MS = 20,
    KILL_RETRY_MS = 5,
};
_Static_assert((REAPED_PER_TURN_MAX + PACKET_FDS_MAX) * sizeof(struct wire_exited) <= PACKET_BYTES_MAX, "a turn's replies fit");

struct leader {
    uint64_t instance;
    pid_t pid;
    bool in_cgroup;
    bool held, ended;                /* ended: a zombie that is held */
    int64_t exec_us, exit_us;
};

struct stranger {                    /* a child that is no leader and names no instance */
    pid_t pid;
    unsigned scans;
};

struct spawner_process {
    int signal_fd, lock_fd;
    struct cgroup cgroup;
    VEC(uint64_t) leaving;           /* instances that ended and whose cgroups are not empty yet */
    VEC(struct leader) leaders;      /* in no order; searched, as there are few and an exec costs a thousand times as much */
    unsigned zombies_held;           /* of those */
    VEC(struct stranger) strangers;  /* of the last scan */
    struct packet received, reply;
    bool escaped_possible;           /* a child ended: others may have become ours */
    int64_t escaped_scanned_ms;
};

/* On the daemon's stderr; its reason is in errno. */
static void say(const char *what, const char *path)
{
    (void)fprintf(stderr, "level=error event=spawner-failed path=\"%s\" reason=\"%s\" msg=\"the spawner %s\"\n", path, strerror(errno), what);
}

static int64_t mono_us(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail with this clock */
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static int64_t mono_ms(void)
{
    return mono_us() / 1000;
}

/* ---- starting ---- */

struct child {                       /* what the vforked child needs, made before, and what it leaves: they share their memory */
    char **arguments, **variables;
    const char *directory;
    int64_t memory_bytes;            /* by RLIMIT_DATA; 0: not so */
    int enter_fd;                    /* of its cgroup; -1: none */
    int fds[3];
    pid_t parent;
    volatile int error_number;       /* 0: exec'd */
    volatile enum spawn_step step;
    bool in_cgroup;                  /* here, where no register holds it: vfork returns twice */
};

/* Runs between vfork and exec on the parent's stack and memory: only system calls, never returning. Descriptors need no closing,
 * all are close-on-exec from birth; handlers need no resetting, there are none. */
#define CHILD_TRY(step_, call) do { if ((call) != 0) { child->step = (step_); child->error_number = errno; _exit(127); } } while (0)
__attribute__((noinline, noreturn, no_sanitize("address", "undefined"))) static void child_run(struct child *child)
{
    CHILD_TRY(STEP_GROUP, setpgid(0, 0));
    CHILD_TRY(STEP_GROUP, prctl(PR_SET_PDEATHSIG, SIGKILL));
    if (getppid() != child->parent)
        _exit(127); /* it died before the line above: nobody waits for us */
    if (child->enter_fd >= 0)
        CHILD_TRY(STEP_CGROUP, write(child->enter_fd, "0", 1) != 1); /* what it uses from here on counts */
    for (int fd = 0; fd < 3; fd++)
        CHILD_TRY(STEP_DESCRIPTORS, dup2(child->fds[fd], fd) != fd);
    CHILD_TRY(STEP_DIRECTORY, chdir(child->directory));
    if (child->memory_bytes > 0) {
        struct rlimit limit = { .rlim_cur = (rlim_t)child->memory_bytes, .rlim_max = (rlim_t)child->memory_bytes };
        CHILD_TRY(STEP_MEMORY, setrlimit(RLIMIT_DATA, &limit));
    }
    sigset_t none;
    (void)sigemptyset(&none);
    CHILD_TRY(STEP_EXEC, sigprocmask(SIG_SETMASK, &none, NULL));
    CHILD_TRY(STEP_EXEC, execve(child->arguments[0], child->arguments, child->variables));
    _exit(127);
}

static const char *take_string(const char **at, const char *end)
{
    const char *string = *at;
    const char *nul = memchr(string, '\0', (size_t)(end - string));

    ASSERT(nul != NULL);
    *at = nul + 1;
    return string;
}

static void reply_failed(struct spawner_process *spawner, uint64_t instance, int error_number, enum spawn_step step)
{
    struct wire_failed *failed = packet_add(&spawner->reply, WIRE_FAILED, instance, sizeof *failed);

    failed->error_number = error_number;
    failed->step = step;
}

/* Its processes have ended, or are about to. */
static void cgroup_leave(struct spawner_process *spawner, bool in_cgroup, uint64_t instance)
{
    if (!in_cgroup || cgroup_remove(&spawner->cgroup, instance))
        return;
    VEC_PUSH(&spawner->leaving, instance);
    spawner->escaped_possible = true; /* so that it is looked at again soon */
}

static void cgroups_leave(struct spawner_process *spawner)
{
    size_t left = 0;

    for (size_t i = 0; i < spawner->leaving.count; i++)
        if (!cgroup_remove(&spawner->cgroup, spawner->leaving.items[i]))
            spawner->leaving.items[left++] = spawner->leaving.items[i];
    spawner->leaving.count = left;
}

static void spawn(struct spawner_process *spawner, const struct wire_spawn *request, const int fds[3])
{
    static char *strings[SPAWN_STRINGS_MAX + 2]; /* with both NULLs; too large for the stack the child shares */
    const char *at = request->strings, *end = (const char *)request + request->head.bytes;
    struct child child = { .in_cgroup = request->memory_bytes > 0 && spawner->cgroup.limiter != MEMORY_BY_RLIMIT, .enter_fd = -1, .fds = { fds[0], fds[1], fds[2] }, .parent = getpid() };

    ASSERT(request->arguments >= 1 && request->arguments + request->variables <= SPAWN_STRINGS_MAX);
    child.memory_bytes = child.in_cgroup ? 0 : request->memory_bytes;
    child.directory = take_string(&at, end);
    child.arguments = strings;
    for (uint32_t i = 0; i < request->arguments; i++)
        strings[i] = (char *)(uintptr_t)take_string(&at, end);
    strings[request->arguments] = NULL;
    child.variables = strings + request->arguments + 1;
    for (uint32_t i = 0; i < request->variables; i++)
        child.variables[i] = (char *)(uintptr_t)take_string(&at, end);
    child.variables[request->variables] = NULL;

    if (child.in_cgroup) {
        int err = cgroup_make(&spawner->cgroup, request->head.instance, request->memory_bytes, &child.enter_fd);
        if (err != 0) {
            reply_failed(spawner, request->head.instance, err, STEP_CGROUP);
            return;
        }
    }
    /* NOLINTNEXTLINE(clang-analyzer-security.insecureAPI.vfork): child_run() is made for it, and never returns */
    pid_t pid = vfork();
    if (pid == 0)
        /* NOLINTNEXTLINE(clang-analyzer-unix.Vfork): as said above */
        child_run(&child);
    int fork_error = errno;
    if (child.enter_fd >= 0)
        (void)close(child.enter_fd);
    if (pid < 0) {
        cgroup_leave(spawner, child.in_cgroup, request->head.instance);
        reply_failed(spawner, request->head.instance, fork_error, STEP_FORK);
        return;
    }
    if (child.error_number != 0) {
        (void)waitpid(pid, NULL, 0); /* it has called _exit */
        cgroup_leave(spawner, child.in_cgroup, request->head.instance);
        reply_failed(spawner, request->head.instance, child.error_number, child.step);
        return;
    }
    int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (pidfd < 0) {
        int error_number = errno;
        (void)kill(-pid, SIGKILL);
        (void)waitpid(pid, NULL, 0);
        spawner->escaped_possible = true;
        cgroup_leave(spawner, child.in_cgroup, request->head.instance);
        reply_failed(spawner, request->head.instance, error_number, STEP_PIDFD);
        return;
    }
    VEC_PUSH(&spawner->leaders, (struct leader){ .instance = request->head.instance, .pid = pid, .in_cgroup = child.in_cgroup, .exec_us = mono_us() });
    struct wire_started *started = packet_add(&spawner->reply, WIRE_STARTED, request->head.instance, sizeof *started);
    started->pid = pid;
    packet_add_fd(&spawner->reply, pidfd);
}

static struct leader *leader_of(const struct spawner_process *spawner, uint64_t instance)
{
    for (size_t i = 0; i < spawner->leaders.count; i++)
        if (spawner->leaders.items[i].instance == instance)
            return &spawner->leaders.items[i];
    return NULL;
}

/* A zombie is reaped with the others, in reap(), as soon as it is let go. */
static void hold_end(struct spawner_process *spawner, struct leader *leader)
{
    leader->held = false;
    if (!leader->ended)
        return;
    leader->ended = false;
    spawner->zombies_held--;
    (void)kill(getpid(), SIGCHLD);
}

static void signal_group(struct spawner_process *spawner, const struct wire_signal *request)
{
    struct leader *leader = leader_of(spawner, request->head.instance);

    if (leader == NULL)
        return;
    (void)kill(-leader->pid, (int)request->signal); /* not reaped by us, so it is there */
    if (request->signal == SIGKILL)
        hold_end(spawner, leader);
}

static void hold(const struct spawner_process *spawner, uint64_t instance)
{
    struct leader *leader = leader_of(spawner, instance);

    if (leader != NULL)
        leader->held = true;
}

static void serve_requests(struct spawner_process *spawner)
{
    const struct packet *packet = &spawner->received;
    const struct wire_head *head;
    size_t offset = 0;
    unsigned fds_taken = 0;

    while ((head = packet_next(packet, &offset)) != NULL) {
        if (head->kind == WIRE_SPAWN) {
            if (fds_taken + 3 <= packet->fds_count)
                spawn(spawner, (const struct wire_spawn *)(const void *)head, packet->fds + fds_taken);
            else
                reply_failed(spawner, head->instance, EMFILE, STEP_DESCRIPTORS);
            fds_taken += 3;
        } else if (head->kind == WIRE_HOLD) {
            hold(spawner, head->instance);
        } else {
            ASSERT(head->kind == WIRE_SIGNAL);
            signal_group(spawner, (const struct wire_signal *)(const void *)head);
        }
    }
    for (unsigned i = 0; i < packet->fds_count; i++)
        (void)close(packet->fds[i]);
}

/* ---- ending ---- */

static size_t leader_find(const struct spawner_process *spawner, pid_t pid)
{
    size_t i = 0;

    while (i < spawner->leaders.count && spawner->leaders.items[i].pid != pid)
        i++;
    return i;
}

static void reply_end(struct spawner_process *spawner, enum wire_kind kind, const struct leader *leader, int status, const struct rusage *usage)
{
    struct wire_exited *exited = packet_add(&spawner->reply, kind, leader->instance, sizeof *exited);
    struct cgroup_use use = { 0 };

    if (leader->in_cgroup)
        use = cgroup_look(&spawner->cgroup, leader->instance);
    exited->status = status;
    exited->out_of_memory = use.out_of_memory;
    exited->cgroup_peak_bytes = use.peak_bytes;
    exited->exec_us = leader->exec_us;
    exited->exit_us = leader->exit_us;
    exited->usage = *usage;
}

/* As wait4() would put it. */
static int wait_status(const siginfo_t *ended)
{
    if (ended->si_code == CLD_EXITED)
        return W_EXITCODE(ended->si_status, 0);
    return W_EXITCODE(0, ended->si_status) | (ended->si_code == CLD_DUMPED ? WCOREFLAG : 0);
}

static void leader_hold(struct spawner_process *spawner, struct leader *leader)
{
    siginfo_t ended = { 0 };
    struct rusage usage = { 0 };

    /* The system call tells the usage, too, which the C library's does not. */
    ASSERT(syscall(SYS_waitid, P_PID, leader->pid, &ended, WEXITED | WNOHANG | WNOWAIT, &usage) == 0);
    leader->ended = true;
    leader->exit_us = mono_us();
    spawner->zombies_held++;
    reply_end(spawner, WIRE_ENDED, leader, wait_status(&ended), &usage);
}

static void leader_reap(struct spawner_process *spawner, struct leader *leader)
{
    struct rusage usage;
    int status;

    (void)kill(-leader->pid, SIGKILL); /* the leader is a zombie still, so the group is there and ours */
    ASSERT(wait4(leader->pid, &status, 0, &usage) == leader->pid);
    if (leader->exit_us == 0)
        leader->exit_us = mono_us();
    reply_end(spawner, WIRE_EXITED, leader, status, &usage);
    cgroup_leave(spawner, leader->in_cgroup, leader->instance);
    *leader = spawner->leaders.items[--spawner->leaders.count];
}

static void child_ended(struct spawner_process *spawner, pid_t pid)
{
    size_t i = leader_find(spawner, pid);

    spawner->escaped_possible = true;
    if (i == spawner->leaders.count)
        (void)waitpid(pid, NULL, 0);
    else if (spawner->leaders.items[i].held)
        leader_hold(spawner, &spawner->leaders.items[i]);
    else
        leader_reap(spawner, &spawner->leaders.items[i]);
}

/* A child that ended, still a zombie; 0: none has. `pid` 0: any of them. */
static pid_t zombie(pid_t pid)
{
    siginfo_t ended = { 0 };

    return waitid(pid == 0 ? P_ALL : P_PID, (id_t)pid, &ended, WEXITED | WNOHANG | WNOWAIT) == 0 ? ended.si_pid : 0;
}

/* With a zombie that is held, "any" is that one again and again: so each child is asked for, except those. In all, `max` at most. */
static unsigned reap_around_held(struct spawner_process *spawner, unsigned max)
{
    static pid_t pids[DESCENDANTS_MAX];
    size_t count = children_of_thread(pids, DESCENDANTS_MAX);
    unsigned reaped = 0;

    for (size_t i = 0; i < count && reaped < max; i++) {
        size_t leader = leader_find(spawner, pids[i]);
        bool held = leader < spawner->leaders.count && spawner->leaders.items[leader].ended;
        if (held || zombie(pids[i]) == 0)
            continue;
        child_ended(spawner, pids[i]);
        reaped++;
    }
    return reaped;
}

static void reap(struct spawner_process *spawner)
{
    struct signalfd_siginfo drained;
    pid_t ended;

    while (read(spawner->signal_fd, &drained, sizeof drained) > 0)
        continue;
    unsigned reaped = 0;
    while (reaped < REAPED_PER_TURN_MAX && spawner->zombies_held == 0 && (ended = zombie(0)) != 0) {
        child_ended(spawner, ended);
        reaped++;
    }
    if (spawner->zombies_held > 0)
        reaped += reap_around_held(spawner, REAPED_PER_TURN_MAX - reaped);
    /* Signals of one number do not queue: for those left over there may come no other. */
    if (reaped == REAPED_PER_TURN_MAX)
        (void)kill(getpid(), SIGCHLD);
}

enum owner { OWNER_ALIVE, OWNER_GONE, OWNER_UNKNOWN };

static enum owner escaped_owner(const struct spawner_process *spawner, pid_t pid)
{
    uint64_t instance;
    pid_t group = getpgid(pid);

    if (group > 0 && leader_find(spawner, group) < spawner->leaders.count)
        return OWNER_ALIVE;
    if (!process_instance(pid, &instance))
        return OWNER_UNKNOWN;
    return leader_of(spawner, instance) != NULL ? OWNER_ALIVE : OWNER_GONE;
}

/* In how many scans, this one included, `pid` has been without a known owner. */
static unsigned stranger_scans(const struct spawner_process *spawner, pid_t pid)
{
    for (size_t i = 0; i < spawner->strangers.count; i++)
        if (spawner->strangers.items[i].pid == pid)
            return spawner->strangers.items[i].scans + 1;
    return 1;
}

/* In the midst of an exec a process has no environment to be read, so that one look is not enough to call it nobody's. */
static void kill_escaped(struct spawner_process *spawner)
{
    static pid_t pids[DESCENDANTS_MAX];
    static struct stranger strangers[DESCENDANTS_MAX];
    size_t count = children_of_thread(pids, DESCENDANTS_MAX), strangers_count = 0;

    for (size_t i = 0; i < count; i++) {
        if (leader_find(spawner, pids[i]) < spawner->leaders.count)
            continue;
        enum owner owner = escaped_owner(spawner, pids[i]);
        unsigned scans = owner == OWNER_UNKNOWN ? stranger_scans(spawner, pids[i]) : 0;
        if (owner == OWNER_GONE || scans >= STRANGER_SCANS)
            (void)kill(pids[i], SIGKILL); /* our child, not reaped yet */
        else if (owner == OWNER_UNKNOWN)
            strangers[strangers_count++] = (struct stranger){ .pid = pids[i], .scans = scans };
    }
    spawner->strangers.count = 0;
    for (size_t i = 0; i < strangers_count; i++)
        VEC_PUSH(&spawner->strangers, strangers[i]);
    cgroups_leave(spawner);
    spawner->escaped_possible = strangers_count > 0 || spawner->leaving.count > 0;
    spawner->escaped_scanned_ms = mono_ms();
}

/* The daemon is gone: nothing of it may stay, however long the kernel takes to let go. The lock is held until then. */
static void kill_and_reap_all(struct spawner_process *spawner)
{
    struct pollfd ended = { .fd = spawner->signal_fd, .events = POLLIN };

    for (;;) {
        for (size_t i = 0; i < spawner->leaders.count; i++) {
            (void)kill(-spawner->leaders.items[i].pid, SIGKILL);
            hold_end(spawner, &spawner->leaders.items[i]);
        }
        kill_escaped(spawner);
        (void)poll(&ended, 1, KILL_RETRY_MS);
        do {
            spawner->reply.len = 0; /* nobody reads it */
            reap(spawner);
        } while (spawner->reply.len > 0);
        siginfo_t left;
        if (waitid(P_ALL, 0, &left, WEXITED | WNOHANG | WNOWAIT) != 0 && errno == ECHILD)
            return;
    }
}

/* ---- life ---- */

static bool reply_flush(struct packet *reply)
{
    if (reply->len == 0)
        return true;
    /* A closed socket is seen by the next receive; until then there is nobody to tell. */
    if (packet_send(SPAWNER_SOCKET_FD, reply) == PACKET_LATER)
        return false;
    for (unsigned i = 0; i < reply->fds_count; i++)
        (void)close(reply->fds[i]);
    reply->len = 0;
    reply->fds_count = 0;
    return true;
}

static int escaped_wait_ms(const struct spawner_process *spawner)
{
    if (!spawner->escaped_possible)
        return -1;
    int64_t left = spawner->escaped_scanned_ms + ESCAPED_SCAN_MS - mono_ms();
    return left < 0 ? 0 : (int)left;
}

static void serve(struct spawner_process *spawner)
{
    for (;;) {
        bool sent = reply_flush(&spawner->reply);
        struct pollfd fds[2] = {
            { .fd = SPAWNER_SOCKET_FD, .events = sent ? POLLIN : POLLOUT },
            { .fd = sent ? spawner->signal_fd : -1, .events = POLLIN },
        };
        /* An unsent reply may wait for descriptors in flight, of which no poll tells. */
        if (poll(fds, 2, sent ? escaped_wait_ms(spawner) : ESCAPED_SCAN_MS) < 0 && errno != EINTR) {
            say("cannot wait for its work, ends", "");
            return;
        }
        if (!sent) {
            if (fds[0].revents & (POLLHUP | POLLERR))
                return;
            continue;
        }
        if (fds[0].revents != 0) {
            enum packet_io got = packet_receive(SPAWNER_SOCKET_FD, &spawner->received);
            if (got == PACKET_CLOSED)
                return;
            if (got == PACKET_DONE)
                serve_requests(spawner);
        }
        if (fds[1].revents != 0)
            reap(spawner);
        if (escaped_wait_ms(spawner) == 0)
            kill_escaped(spawner);
    }
}

/* Also those two that belong to the C library, which posix_spawn leaves ignored and sigaction() refuses: hence the system call. */
static void signals_default(void)
{
    static const uint64_t by_default[4]; /* the kernel's struct sigaction: all zero is SIG_DFL */

    for (int signal = 1; signal <= 64; signal++)
        (void)syscall(SYS_rt_sigaction, signal, by_default, NULL, sizeof(uint64_t)); /* KILL and STOP refuse, and need none */
}

/* Waits until no spawner of an earlier daemon holds the lock; -1: the daemon left, or the file cannot be locked. */
static int lock_take(const char *path)
{
    struct flock whole = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
    struct pollfd daemon_end = { .fd = SPAWNER_SOCKET_FD, .events = 0 };
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600); /* stays open: closing it would give up the lock */

    if (fd < 0) {
        say("cannot open its lock", path);
        return -1;
    }
    while (fcntl(fd, F_SETLK, &whole) != 0) {
        if (errno != EACCES && errno != EAGAIN && errno != EINTR) {
            say("cannot take its lock", path);
            return -1;
        }
        if (poll(&daemon_end, 1, LOCK_RETRY_MS) > 0)
            return -1;
    }
    return fd;
}

static void say_ready(struct spawner_process *spawner)
{
    const struct cgroup *cgroup = &spawner->cgroup;
    size_t folder_bytes = strlen(cgroup->folder) + 1, reason_bytes = strlen(cgroup->reason) + 1; /* with their NULs */
    struct wire_ready *ready = packet_add(&spawner->reply, WIRE_READY, 0, sizeof *ready + folder_bytes + reason_bytes);

    ready->limiter = cgroup->limiter;
    memcpy(ready->strings, cgroup->folder, folder_bytes);
    memcpy(ready->strings + folder_bytes, cgroup->reason, reason_bytes);
}

int spawner_main(const char *lock_path)
{
    static struct spawner_process spawner; /* zero; too large for a stack */
    sigset_t all;

    /* Whatever else was inherited would be inherited on. Signals are blocked, not ignored: what is ignored stays so across exec. The
     * daemon alone decides when we end, so a ^C or a stop of the whole unit does not. */
    (void)syscall(SYS_close_range, SPAWNER_SOCKET_FD + 1, ~0U, 0);
    (void)fcntl(SPAWNER_SOCKET_FD, F_SETFD, FD_CLOEXEC);
    signals_default();
    (void)sigfillset(&all);
    (void)sigprocmask(SIG_SETMASK, &all, NULL);
    (void)prctl(PR_SET_NAME, "sluice-spawner");
    sigset_t children;
    (void)sigemptyset(&children);
    (void)sigaddset(&children, SIGCHLD);
    spawner.signal_fd = signalfd(-1, &children, SFD_CLOEXEC | SFD_NONBLOCK);
    if (spawner.signal_fd < 0 || prctl(PR_SET_CHILD_SUBREAPER, 1) != 0) {
        say("cannot set up signals and children", "");
        return 1;
    }
    spawner.lock_fd = lock_take(lock_path);
    if (spawner.lock_fd < 0)
        return 1;
    cgroup_open(&spawner.cgroup, spawner.lock_fd, getppid(), getenv("SLUICE_MEMORY_LIMITS"));
    say_ready(&spawner);
    serve(&spawner);
    kill_and_reap_all(&spawner);
    cgroup_close(&spawner.cgroup, spawner.lock_fd);
    VEC_DONE(&spawner.leaving);
    VEC_DONE(&spawner.leaders);
    VEC_DONE(&spawner.strangers);
    return 0;
}
