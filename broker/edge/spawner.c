/* The daemon's end of the spawner.
 *
 *   WAITING --READY--> SERVING --socket closed--> LOST --its process and its orphans are gone, 1 s since start--> WAITING
 *
 * Requests gather in packets; a prepare watcher, which libev runs before it sleeps, sends them once a turn. It is always active and of
 * the lowest priority: one that is started by another prepare watcher would only run after the sleep. */
#include "broker/edge/spawner.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "broker/base/assert.h"
#include "broker/edge/descendants.h"
#include "broker/edge/log.h"
#include "broker/edge/spawner_wire.h"

enum { RECEIVES_PER_TURN_MAX = 16, LOST_SWEEP_MS = 20 };

enum spawner_state { SPAWNER_WAITING, SPAWNER_SERVING, SPAWNER_LOST };

struct queued {                      /* unsent requests, oldest first */
    struct queued *next;
    struct packet packet;
};

struct spawner {
    struct ev_loop *loop;
    char *program, *lock_path;
    struct spawner_events events;
    enum spawner_state state;
    pid_t pid;                       /* 0: none */
    int pidfd, fd;                   /* -1: none */
    struct ev_io readable, writable;
    struct ev_prepare turn_end;
    struct ev_timer sweep;
    ev_tstamp started_at;
    struct queued *queue, **queue_end, *spare;
    unsigned queue_count;
    struct cgroup memory;
    struct packet received;
};

/* ---- process ---- */

/* The spawner gets the socket as descriptor 3, nothing on stdin, our stderr, default signals, and a session of its own: no terminal
 * reaches it, and no instance can move into our process group. */
static int process_spawn(struct spawner *spawner, int socket_fd)
{
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    sigset_t all, none;
    char *arguments[] = { spawner->program, (char *)(uintptr_t) "--spawner", spawner->lock_path, NULL };

    int err = posix_spawn_file_actions_init(&files);
    if (err != 0)
        return err;
    err = posix_spawnattr_init(&attributes);
    if (err != 0) {
        (void)posix_spawn_file_actions_destroy(&files);
        return err;
    }
    (void)sigfillset(&all);
    (void)sigemptyset(&none);
    (void)posix_spawnattr_setsigdefault(&attributes, &all);
    (void)posix_spawnattr_setsigmask(&attributes, &none);
    (void)posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSID);
    err = posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    if (err == 0)
        err = posix_spawn_file_actions_adddup2(&files, STDERR_FILENO, STDOUT_FILENO);
    /* From a number that is not 3: then dup2 takes close-on-exec off. */
    if (err == 0)
        err = posix_spawn_file_actions_adddup2(&files, socket_fd, SPAWNER_SOCKET_FD);
    if (err == 0)
        err = posix_spawn(&spawner->pid, spawner->program, &files, &attributes, arguments, environ);
    (void)posix_spawnattr_destroy(&attributes);
    (void)posix_spawn_file_actions_destroy(&files);
    return err;
}

/* errno of what failed, or 0. */
static int process_start(struct spawner *spawner)
{
    int ends[2];

    spawner->started_at = ev_now(spawner->loop);
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
        return errno;
    if (ends[1] == SPAWNER_SOCKET_FD) {
        int moved = fcntl(ends[1], F_DUPFD_CLOEXEC, SPAWNER_SOCKET_FD + 1);
        if (moved < 0) {
            int err = errno;
            (void)close(ends[0]);
            (void)close(ends[1]);
            return err;
        }
        (void)close(ends[1]);
        ends[1] = moved;
    }
    int err = process_spawn(spawner, ends[1]);
    (void)close(ends[1]);
    if (err != 0) {
        spawner->pid = 0;
        (void)close(ends[0]);
        return err;
    }
    spawner->pidfd = (int)syscall(SYS_pidfd_open, spawner->pid, 0);
    if (spawner->pidfd < 0) {
        err = errno;
        (void)close(ends[0]); /* which ends it */
        return err;
    }
    spawner->fd = ends[0];
    spawner->state = SPAWNER_WAITING;
    ev_io_set(&spawner->readable, spawner->fd, EV_READ);
    ev_io_set(&spawner->writable, spawner->fd, EV_WRITE);
    ev_io_start(spawner->loop, &spawner->readable);
    ev_prepare_start(spawner->loop, &spawner->turn_end);
    return 0;
}

/* Whether the spawner's process has ended; reaps it. The loop's own SIGCHLD handler may have been faster. */
static bool process_ended(struct spawner *spawner)
{
    if (spawner->pid == 0)
        return true;
    pid_t reaped = waitpid(spawner->pid, NULL, WNOHANG);
    if (reaped == 0 || (reaped < 0 && errno == EINTR))
        return false;
    if (spawner->pidfd >= 0)
        (void)close(spawner->pidfd);
    spawner->pidfd = -1;
    spawner->pid = 0;
    return true;
}

/* Kills what a lost spawner left to us: children outside our process group. True when there are none. */
static bool orphans_gone(struct spawner *spawner)
{
    static pid_t pids[DESCENDANTS_MAX];
    size_t count = children_of_process(pids, DESCENDANTS_MAX), orphans = 0;

    for (size_t i = 0; i < count; i++) {
        pid_t group = getpgid(pids[i]);
        if (pids[i] == spawner->pid || group == getpgrp() || group < 0)
            continue;
        (void)kill(pids[i], SIGKILL);
        (void)waitpid(pids[i], NULL, WNOHANG);
        orphans++; /* also when just reaped: its children may be ours by now, so look again */
    }
    return orphans == 0;
}

/* ---- sending ---- */

static void queue_drop(struct spawner *spawner, struct queued *queued)
{
    spawner->queue = queued->next;
    if (spawner->queue == NULL)
        spawner->queue_end = &spawner->queue;
    spawner->queue_count--;
    free(spawner->spare);
    spawner->spare = queued;
}

/* The packet that takes a message of `bytes` with `fds`; NULL: out of memory. */
static struct packet *queue_room(struct spawner *spawner, size_t bytes, unsigned fds)
{
    if (spawner->queue != NULL) {
        struct queued *last = (struct queued *)(void *)((char *)spawner->queue_end - offsetof(struct queued, next));
        if (packet_fits(&last->packet, bytes, fds))
            return &last->packet;
    }
    struct queued *queued = spawner->spare != NULL ? spawner->spare : malloc(sizeof *queued);
    if (queued == NULL)
        return NULL;
    spawner->spare = NULL;
    queued->next = NULL;
    queued->packet.len = 0;
    queued->packet.fds_count = 0;
    *spawner->queue_end = queued;
    spawner->queue_end = &queued->next;
    spawner->queue_count++;
    return &queued->packet;
}

static void queue_send(struct spawner *spawner)
{
    while (spawner->queue != NULL) {
        enum packet_io sent = packet_send(spawner->fd, &spawner->queue->packet);
        if (sent == PACKET_LATER) {
            ev_io_start(spawner->loop, &spawner->writable);
            return;
        }
        if (sent == PACKET_CLOSED)
            break; /* the read watcher sees the same and says what follows */
        queue_drop(spawner, spawner->queue);
    }
    ev_io_stop(spawner->loop, &spawner->writable);
}

static void on_turn_end(struct ev_loop *loop, struct ev_prepare *watcher, int revents)
{
    struct spawner *spawner = watcher->data;

    (void)loop, (void)revents;
    if (spawner->queue != NULL && !ev_is_active(&spawner->writable))
        queue_send(spawner);
}

static void on_writable(struct ev_loop *loop, struct ev_io *watcher, int revents)
{
    (void)loop, (void)revents;
    queue_send(watcher->data);
}

/* ---- receiving ---- */

static void socket_close(struct spawner *spawner)
{
    ev_io_stop(spawner->loop, &spawner->readable);
    ev_io_stop(spawner->loop, &spawner->writable);
    ev_prepare_stop(spawner->loop, &spawner->turn_end);
    while (spawner->queue != NULL)
        queue_drop(spawner, spawner->queue);
    if (spawner->fd >= 0)
        (void)close(spawner->fd);
    spawner->fd = -1;
}

static void lost(struct spawner *spawner)
{
    log_format(LOG_ERROR, "event=spawner-lost pid=%d msg=\"all instances die with it; another is started\"", (int)spawner->pid);
    socket_close(spawner);
    if (spawner->pidfd >= 0)
        (void)syscall(SYS_pidfd_send_signal, spawner->pidfd, SIGKILL, NULL, 0); /* if it only closed its socket */
    spawner->state = SPAWNER_LOST;
    ev_timer_again(spawner->loop, &spawner->sweep);
    spawner->events.on_lost(spawner->events.ctx);
}

static void memory_known(struct spawner *spawner, const struct wire_ready *ready)
{
    struct cgroup *memory = &spawner->memory;
    const char *reason = ready->strings + strlen(ready->strings) + 1;

    memory->limiter = (enum memory_limiter)ready->limiter;
    (void)snprintf(memory->folder, sizeof memory->folder, "%s", ready->strings);
    (void)snprintf(memory->reason, sizeof memory->reason, "%s", reason);
    log_format(LOG_INFO, "event=memory-limits by=%s folder=\"%s\" reason=\"%s\"", memory_limiter_text(memory->limiter), memory->folder,
               memory->reason);
}

static struct spawner_exit exit_of(const struct wire_exited *exited)
{
    return (struct spawner_exit){ .wait_status = (int)exited->status, .usage = exited->usage, .cgroup_peak_bytes = exited->cgroup_peak_bytes,
                                  .exec_us = exited->exec_us, .exit_us = exited->exit_us, .out_of_memory = exited->out_of_memory != 0 };
}

static void dispatch(struct spawner *spawner, const struct packet *packet)
{
    const struct spawner_events *events = &spawner->events;
    const struct wire_head *head;
    size_t offset = 0;
    unsigned fds_taken = 0;

    while ((head = packet_next(packet, &offset)) != NULL) {
        const void *message = head;
        switch ((enum wire_kind)head->kind) {
        case WIRE_READY:
            spawner->state = SPAWNER_SERVING;
            memory_known(spawner, message);
            events->on_ready(events->ctx);
            break;
        case WIRE_STARTED:
            events->on_started(events->ctx, head->instance, (pid_t)((const struct wire_started *)message)->pid,
                               fds_taken < packet->fds_count ? packet->fds[fds_taken++] : -1);
            break;
        case WIRE_FAILED: {
            const struct wire_failed *failed = message;
            events->on_failed(events->ctx, head->instance, failed->error_number, spawn_step_name(failed->step));
            break;
        }
        case WIRE_ENDED:
        case WIRE_EXITED: {
            struct spawner_exit exit = exit_of(message);
            (head->kind == WIRE_ENDED ? events->on_ended : events->on_exited)(events->ctx, head->instance, &exit);
            break;
        }
        case WIRE_SPAWN:
        case WIRE_SIGNAL:
        case WIRE_HOLD:
            ASSERT(!"requests do not come back");
        }
    }
    ASSERT(fds_taken == packet->fds_count);
}

static void on_readable(struct ev_loop *loop, struct ev_io *watcher, int revents)
{
    struct spawner *spawner = watcher->data;

    (void)loop, (void)revents;
    for (unsigned i = 0; i < RECEIVES_PER_TURN_MAX; i++) {
        enum packet_io got = packet_receive(spawner->fd, &spawner->received);
        if (got == PACKET_LATER)
            return;
        if (got == PACKET_CLOSED) {
            lost(spawner);
            return;
        }
        dispatch(spawner, &spawner->received);
    }
}

static void on_sweep(struct ev_loop *loop, struct ev_timer *watcher, int revents)
{
    struct spawner *spawner = watcher->data;

    (void)revents;
    if (!process_ended(spawner) || !orphans_gone(spawner) || ev_now(loop) - spawner->started_at < SPAWNER_RESTART_MS / 1000.0)
        return;
    int err = process_start(spawner);
    if (err == 0)
        ev_timer_stop(loop, watcher);
    else
        log_format(LOG_ERROR, "event=spawner-refused program=%s reason=\"%s\" msg=\"tried again in %d ms\"", spawner->program, strerror(err),
                   SPAWNER_RESTART_MS);
}

/* ---- the interface ---- */

static void spawner_free(struct spawner *spawner)
{
    socket_close(spawner);
    ev_timer_stop(spawner->loop, &spawner->sweep);
    if (spawner->pidfd >= 0)
        (void)close(spawner->pidfd);
    free(spawner->spare);
    free(spawner->program);
    free(spawner->lock_path);
    free(spawner);
}

enum sluice_err spawner_start(struct ev_loop *loop, const char *program, const char *lock_path, const struct spawner_events *events,
                              struct spawner **ret_spawner, struct sluice_error *reterr)
{
    struct spawner *spawner = calloc(1, sizeof *spawner);

    if (spawner == NULL)
        return sluice_fail(reterr, SLUICE_ENOMEM, "out of memory for the spawner");
    *spawner = (struct spawner){ .loop = loop, .events = *events, .pidfd = -1, .fd = -1, .queue_end = &spawner->queue };
    ev_io_init(&spawner->readable, on_readable, -1, EV_READ);
    ev_io_init(&spawner->writable, on_writable, -1, EV_WRITE);
    ev_set_priority(&spawner->readable, -1); /* what a process has said (its answer, its last words) is read before it is heard that it has ended */
    ev_prepare_init(&spawner->turn_end, on_turn_end);
    ev_set_priority(&spawner->turn_end, EV_MINPRI);
    ev_timer_init(&spawner->sweep, on_sweep, 0, LOST_SWEEP_MS / 1000.0);
    spawner->readable.data = spawner->writable.data = spawner->turn_end.data = spawner->sweep.data = spawner;
    spawner->program = strdup(program);
    spawner->lock_path = strdup(lock_path);
    int err = spawner->program == NULL || spawner->lock_path == NULL ? ENOMEM : 0;
    if (err == 0 && prctl(PR_SET_CHILD_SUBREAPER, 1) != 0)
        err = errno;
    if (err == 0)
        err = process_start(spawner);
    if (err != 0) {
        spawner_free(spawner);
        return sluice_fail(reterr, SLUICE_EIO, "cannot start the spawner '%s': %s", program, strerror(err));
    }
    *ret_spawner = spawner;
    return SLUICE_OK;
}

struct strings { size_t count, bytes; };

static struct strings strings_measure(const char *const *strings)
{
    struct strings measured = { 0 };

    for (; strings[measured.count] != NULL; measured.count++)
        measured.bytes += strlen(strings[measured.count]) + 1;
    return measured;
}

static char *strings_put(char *at, const char *const *strings)
{
    for (; *strings != NULL; strings++)
        at = stpcpy(at, *strings) + 1;
    return at;
}

enum sluice_err spawner_spawn(struct spawner *spawner, const struct spawn_request *request, struct sluice_error *reterr)
{
    struct strings arguments = strings_measure(request->command), variables = strings_measure(request->environment);
    size_t strings_bytes = strlen(request->directory) + 1 + arguments.bytes + variables.bytes;
    size_t bytes = sizeof(struct wire_spawn) + strings_bytes;

    ASSERT(arguments.count >= 1);
    if (strings_bytes > SPAWN_BYTES_MAX || arguments.count + variables.count > SPAWN_STRINGS_MAX)
        return sluice_fail(reterr, SLUICE_EINVAL, "command and environment of '%s' are %zu bytes in %zu strings; at most %d in %d",
                           request->command[0], strings_bytes, arguments.count + variables.count, SPAWN_BYTES_MAX, SPAWN_STRINGS_MAX);
    if (spawner->state != SPAWNER_SERVING)
        return sluice_fail(reterr, SLUICE_EUNAVAILABLE, "the spawner is not ready; an earlier one may still be ending");
    if (spawner->queue_count >= SPAWNER_QUEUE_PACKETS_MAX)
        return sluice_fail(reterr, SLUICE_ELIMIT, "%u packets wait for the spawner; try again later", spawner->queue_count);
    struct packet *packet = queue_room(spawner, bytes, 3);
    if (packet == NULL)
        return sluice_fail(reterr, SLUICE_ENOMEM, "out of memory to start '%s'", request->command[0]);
    struct wire_spawn *message = packet_add(packet, WIRE_SPAWN, request->instance, bytes);
    message->memory_bytes = request->memory_bytes;
    message->arguments = (uint32_t)arguments.count;
    message->variables = (uint32_t)variables.count;
    char *at = stpcpy(message->strings, request->directory) + 1;
    (void)strings_put(strings_put(at, request->command), request->environment);
    packet_add_fd(packet, request->stdin_fd);
    packet_add_fd(packet, request->stdout_fd);
    packet_add_fd(packet, request->stderr_fd);
    return SLUICE_OK;
}

void spawner_signal(struct spawner *spawner, uint64_t instance, int signal)
{
    if (spawner->state != SPAWNER_SERVING)
        return; /* what it had started is dying with it */
    struct packet *packet = queue_room(spawner, sizeof(struct wire_signal), 0);
    ASSERT(packet != NULL); /* 136 KiB; a stop that is forgotten would be worse than a stop of all */
    struct wire_signal *message = packet_add(packet, WIRE_SIGNAL, instance, sizeof *message);
    message->signal = signal;
}

void spawner_hold(struct spawner *spawner, uint64_t instance)
{
    if (spawner->state != SPAWNER_SERVING)
        return;
    struct packet *packet = queue_room(spawner, sizeof(struct wire_hold), 0);
    ASSERT(packet != NULL); /* as above */
    (void)packet_add(packet, WIRE_HOLD, instance, sizeof(struct wire_hold));
}

const struct cgroup *spawner_memory(const struct spawner *spawner)
{
    return &spawner->memory;
}

void spawner_stop(struct spawner *spawner)
{
    if (spawner == NULL)
        return;
    socket_close(spawner);
    struct pollfd ended = { .fd = spawner->pidfd, .events = POLLIN };
    if (spawner->pid != 0 && spawner->pidfd >= 0)
        (void)poll(&ended, 1, SPAWNER_STOP_MS);
    bool gone = process_ended(spawner);
    if (!gone)
        log_format(LOG_ERROR, "event=spawner-slow pid=%d msg=\"it still ends its instances; left to that\"", (int)spawner->pid);
    for (int waited_ms = 0; !orphans_gone(spawner) && waited_ms < SPAWNER_STOP_MS; waited_ms += LOST_SWEEP_MS)
        (void)poll(NULL, 0, LOST_SWEEP_MS); /* only after a loss is there anything to wait for */
    if (gone)
        cgroup_clear(&spawner->memory); /* it did so itself, unless it was killed */
    spawner_free(spawner);
}
