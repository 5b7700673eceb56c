/* Life of instances: start, stop, end, and who hears of it. Their descriptors are in pipes.c, what the bytes on stdout mean in stdio.c
 * and stdio_lines.c. */
#include "broker/edge/instances.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "broker/base/arena.h"
#include "broker/base/assert.h"
#include "broker/edge/instance.h"

enum { TABLE_BUCKETS = 4096, ENVIRONMENT_ARENA_BYTES = 16 << 10 };

enum grace_length { GRACE_FULL, GRACE_SOON, GRACE_LENGTHS };
static const unsigned grace_ms[GRACE_LENGTHS] = { [GRACE_FULL] = STOP_GRACE_MS, [GRACE_SOON] = STOP_SOON_MS };

struct grace {                                   /* of one length: so who came first is killed first */
    struct list instances;
    struct ev_timer over;                        /* the first one's */
};

struct instances {
    struct ev_loop *loop;
    struct spawner *spawner;
    struct instances_events events;
    struct captures *captures;
    char *bus_url;
    int null_fd;                                 /* stdin of native and lambda instances */
    struct arena *arena;                         /* of one start */
    struct grace graces[GRACE_LENGTHS];
    struct ev_prepare pass_end;                  /* what was captured goes to the log files; of the lowest priority, as spawner.c's */
    struct instance *buckets[TABLE_BUCKETS];     /* by id, which the engine counts up */
    char scratch[READ_BYTES];                    /* what pipe_read() reads into, on behalf of all */
};

const struct instances_events *instance_events(const struct instance *instance)
{
    return &instance->all->events;
}

static struct instance *table_find(const struct instances *instances, uint64_t id)
{
    struct instance *instance = instances->buckets[id % TABLE_BUCKETS];

    while (instance != NULL && instance->id != id)
        instance = instance->next;
    return instance;
}

static void table_remove(struct instance *instance)
{
    struct instance **link = &instance->all->buckets[instance->id % TABLE_BUCKETS];

    while (*link != instance)
        link = &(*link)->next;
    *link = instance->next;
}

/* ---- output ---- */

struct view instance_output(const struct instance *instance, struct view other)
{
    struct view tail = tail_view(&instance->captured.tail);

    return tail.len > 0 ? tail : other;
}

static void output_take(struct instance *instance, struct view data)
{
    if (instance->stdio->too_large)
        return;
    if (instance->protocol == PROTOCOL_STDIO)
        stdio_read(instance, data);
    else if (instance->protocol == PROTOCOL_STDIO_LINES)
        stdio_lines_read(instance, data);
}

static void errors_take(struct instance *instance, struct view data)
{
    capture_feed(instance->capture, &instance->captured, instance->id, data);
}

static void on_output(struct ev_loop *loop, struct ev_io *watcher, int revents)
{
    struct instance *instance = watcher->data;

    (void)loop, (void)revents;
    if (pipe_read(instance, watcher, instance->all->scratch, READS_PER_TURN_MAX, output_take))
        return;
    watched_close(instance, watcher);
    if (instance->protocol == PROTOCOL_STDIO_LINES)
        stdio_lines_closed(instance);
}

static void on_errors(struct ev_loop *loop, struct ev_io *watcher, int revents)
{
    struct instance *instance = watcher->data;

    (void)loop, (void)revents;
    if (!pipe_read(instance, watcher, instance->all->scratch, READS_PER_TURN_MAX, errors_take))
        watched_close(instance, watcher);
}

/* ---- end ---- */

static void fd_close(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
    *fd = -1;
}

static void stdio_free(struct instance *instance)
{
    struct stdio *stdio = instance->stdio;

    if (stdio == NULL)
        return;
    watched_close(instance, &stdio->input);
    watched_close(instance, &stdio->output);
    fd_close(&stdio->child_stdin_fd);
    fd_close(&stdio->child_stdout_fd);
    bytes_done(&stdio->unwritten);
    bytes_done(&stdio->answer);
    VEC_DONE(&stdio->leases);
    free(stdio);
}

static void instance_free(struct instance *instance)
{
    stdio_free(instance);
    watched_close(instance, &instance->errors);
    if (instance->ended != NULL)
        ev_io_stop(instance->loop, instance->ended);
    free(instance->ended);
    list_remove(&instance->in_grace);
    fd_close(&instance->child_stderr_fd);
    fd_close(&instance->pidfd);
    memory_close(&instance->meter);
    if (instance->capture != NULL)
        capture_close(instance->capture);
    captured_done(&instance->captured);
    free(instance);
}

static void errors_finish(struct instance *instance)
{
    pipe_finish(instance, &instance->errors, instance->all->scratch, errors_take);
    capture_end(instance->capture, &instance->captured, instance->id);
}

static void instance_gone(struct instance *instance, struct instance_end *end)
{
    const struct instances_events *events = instance_events(instance);

    /* From here on calls with this id find nothing, whatever the callbacks do. */
    table_remove(instance);
    instance->state = INSTANCE_GONE;
    if (instance->pid != 0 && instance->stdio != NULL)
        pipe_finish(instance, &instance->stdio->output, instance->all->scratch, output_take);
    if (instance->pid != 0)
        errors_finish(instance);
    if (end->out_of_memory)
        capture_note(instance->capture, instance->id, "sluice: out of memory: killed at its limit of %lld MiB",
                     (long long)(instance->memory_bytes >> 20));
    end->input_unread = input_unread(instance);
    if (instance->protocol == PROTOCOL_STDIO && instance->pid != 0 && events->on_exited != NULL) {
        end->output_tail = tail_view(&instance->captured.tail);
        events->on_exited(events->ctx, instance->id, end);
    }
    if (instance->protocol == PROTOCOL_STDIO)
        stdio_exited(instance, end);
    else if (instance->protocol == PROTOCOL_STDIO_LINES)
        stdio_lines_exited(instance);
    end->output_tail = instance_output(instance, instance->protocol == PROTOCOL_STDIO ? stdio_tail(instance) : VIEW_LITERAL(""));
    events->on_gone(events->ctx, instance->id, end);
    instance_free(instance);
}

/* ---- what the spawner says ---- */

static void on_spawner_ready(void *ctx)
{
    struct instances *instances = ctx;

    instances->events.on_spawner_ready(instances->events.ctx);
}

static void on_started(void *ctx, uint64_t id, pid_t pid, int pidfd)
{
    struct instances *instances = ctx;
    struct instance *instance = table_find(instances, id);

    ASSERT(instance != NULL && instance->pid == 0); /* it leaves the table by the spawner's word only */
    instance->pid = pid;
    instance->pidfd = pidfd;
    fd_close(&instance->child_stderr_fd);
    if (instance->stdio != NULL) {
        fd_close(&instance->stdio->child_stdout_fd);
        ev_io_start(instances->loop, &instance->stdio->output);
    }
    ev_io_start(instances->loop, &instance->errors);
    if (instance->state == INSTANCE_STARTING)
        instance->state = INSTANCE_RUNNING;
    if (instance->protocol != PROTOCOL_NATIVE)
        instances->events.on_started(instances->events.ctx, id, pid);
}

static void on_failed(void *ctx, uint64_t id, int error_number, const char *step)
{
    struct instance *instance = table_find(ctx, id);
    struct instance_end end = { .reason = END_SPAWN_FAILED, .code = error_number, .step = step };

    ASSERT(instance != NULL);
    instance_gone(instance, &end);
}

static int64_t time_us(struct timeval time)
{
    return (int64_t)time.tv_sec * 1000000 + time.tv_usec;
}

/* A death at the limit is one even where a shell, which stood above the process that was killed, said so by an exit status. A process that
 * lost a child to it and still ended well is left its success. */
static bool ended_out_of_memory(const struct spawner_exit *exit)
{
    return exit->out_of_memory && exit->wait_status != 0;
}

static struct instance_end end_of(const struct spawner_exit *exit)
{
    const struct rusage *usage = &exit->usage;
    int wait_status = exit->wait_status;

    return (struct instance_end){
        .reason = WIFSIGNALED(wait_status) ? END_SIGNALLED : END_EXITED,
        .code = WIFSIGNALED(wait_status) ? WTERMSIG(wait_status) : WEXITSTATUS(wait_status),
        .cpu_us = time_us(usage->ru_utime) + time_us(usage->ru_stime),
        .memory_peak_bytes = exit->cgroup_peak_bytes > 0 ? exit->cgroup_peak_bytes : (int64_t)usage->ru_maxrss * 1024,
        .exec_us = exit->exec_us,
        .exit_us = exit->exit_us,
        .out_of_memory = ended_out_of_memory(exit),
    };
}

static void on_leader_ended(void *ctx, uint64_t id, const struct spawner_exit *exit)
{
    struct instance *instance = table_find(ctx, id);
    struct instance_end end = end_of(exit);

    ASSERT(instance != NULL);
    ASSERT(instance->stdio == NULL); /* whose results are those of its process */
    instance->leader_ended = true;
    end.output_tail = instances_log(ctx, id);
    instance->all->events.on_ended(instance->all->events.ctx, id, &end);
}

static void on_exited(void *ctx, uint64_t id, const struct spawner_exit *exit)
{
    struct instance *instance = table_find(ctx, id);
    struct instance_end end = end_of(exit);

    ASSERT(instance != NULL);
    instance_gone(instance, &end);
}

static void instance_lost(struct instance *instance)
{
    struct instance_end end = { .reason = END_SPAWNER_LOST };

    instance_gone(instance, &end);
}

static void on_ended(struct ev_loop *loop, struct ev_io *watcher, int revents)
{
    (void)loop, (void)revents;
    instance_lost(watcher->data);
}

/* False: there is nothing to watch, or no memory to do so. */
static bool watch_end(struct instance *instance)
{
    ASSERT(instance->ended == NULL); /* no instance outlives two spawners */
    instance->ended = instance->pidfd < 0 ? NULL : malloc(sizeof *instance->ended);
    if (instance->ended == NULL)
        return false;
    ev_io_init(instance->ended, on_ended, instance->pidfd, EV_READ);
    ev_set_priority(instance->ended, -1); /* as what the spawner says: after what the process has said */
    instance->ended->data = instance;
    ev_io_start(instance->loop, instance->ended);
    return true;
}

/* Its instances die with the spawner (PDEATHSIG). Each is gone when its pidfd says so, not before; where there is none, at once: no other
 * is started before the last process is gone. */
static void on_spawner_lost(void *ctx)
{
    struct instances *instances = ctx;
    VEC(uint64_t) unwatched = { 0 };

    for (size_t i = 0; i < TABLE_BUCKETS; i++)
        for (struct instance *instance = instances->buckets[i]; instance != NULL; instance = instance->next) {
            if (instance->pidfd >= 0)
                (void)syscall(SYS_pidfd_send_signal, instance->pidfd, SIGKILL, NULL, 0); /* exec of a setuid program clears PDEATHSIG */
            if (!watch_end(instance))
                VEC_PUSH(&unwatched, instance->id);
        }
    for (size_t i = 0; i < unwatched.count; i++)
        instance_lost(table_find(instances, unwatched.items[i]));
    VEC_DONE(&unwatched);
}

/* ---- start ---- */

void instance_signal(struct instance *instance, int signal)
{
    spawner_signal(instance->all->spawner, instance->id, signal);
}

static void grace_start(struct instance *instance, enum grace_length length)
{
    struct grace *grace = &instance->all->graces[length];

    if (!list_empty(&instance->in_grace))
        return;
    instance->grace_until = ev_now(instance->loop) + grace_ms[length] / 1000.0;
    list_push(&grace->instances, &instance->in_grace);
    if (!ev_is_active(&grace->over)) {
        ev_timer_set(&grace->over, grace_ms[length] / 1000.0, 0);
        ev_timer_start(instance->loop, &grace->over);
    }
}

void instance_grace_start(struct instance *instance)
{
    grace_start(instance, GRACE_FULL);
}

static void on_grace_over(struct ev_loop *loop, struct ev_timer *watcher, int revents)
{
    struct grace *grace = watcher->data;

    (void)revents;
    while (!list_empty(&grace->instances)) {
        struct instance *instance = LIST_OWNER(grace->instances.next, struct instance, in_grace);
        ev_tstamp left = instance->grace_until - ev_now(loop);
        if (left > 0) {
            ev_timer_set(watcher, left, 0);
            ev_timer_start(loop, watcher);
            return;
        }
        list_remove(&instance->in_grace);
        instance_signal(instance, SIGKILL);
    }
}

/* native and lambda functions have none. False: out of memory. */
static bool stdio_new(struct instance *instance)
{
    if (instance->protocol == PROTOCOL_NATIVE || instance->protocol == PROTOCOL_LAMBDA)
        return true;
    instance->stdio = calloc(1, sizeof *instance->stdio);
    if (instance->stdio == NULL)
        return false;
    instance->stdio->child_stdin_fd = instance->stdio->child_stdout_fd = -1;
    ev_io_init(&instance->stdio->input, on_input, -1, EV_WRITE);
    ev_io_init(&instance->stdio->output, on_output, -1, EV_READ);
    instance->stdio->input.data = instance->stdio->output.data = instance;
    return true;
}

static struct instance *instance_new(struct instances *instances, uint64_t id, const struct config_function *function)
{
    struct instance *instance = calloc(1, sizeof *instance);

    if (instance == NULL)
        return NULL;
    instance->all = instances;
    instance->loop = instances->loop;
    instance->id = id;
    instance->protocol = function->protocol;
    instance->memory_bytes = function->memory_bytes;
    instance->pidfd = instance->child_stderr_fd = -1;
    ev_io_init(&instance->errors, on_errors, -1, EV_READ);
    instance->errors.data = instance;
    list_init(&instance->in_grace);
    instance->capture = capture_open(instances->captures, function->name);
    instance->captured.told = function->protocol == PROTOCOL_LAMBDA;
    return instance;
}

static enum sluice_err instance_spawn(struct instance *instance, const struct config_function *function, const char *const *environment,
                                      struct sluice_error *reterr)
{
    struct instances *instances = instance->all;

    if (instance->capture == NULL || !stdio_new(instance))
        return sluice_fail(reterr, SLUICE_ENOMEM, "function '%s': out of memory for an instance", function->name);
    if (!pipes_make(instance))
        return sluice_fail(reterr, SLUICE_ELIMIT, "function '%s': no pipe for another instance: %s; raise the limit of open files",
                           function->name, strerror(errno));
    const struct stdio *stdio = instance->stdio;
    arena_reset(instances->arena);
    struct spawn_request request = {
        .instance = instance->id,
        .command = function->command,
        .environment = environment != NULL ? environment
                                           : environment_make(instances->arena, instances->bus_url, instance->id, function),
        .directory = function->directory,
        .memory_bytes = function->memory_bytes,
        .stdin_fd = stdio != NULL ? stdio->child_stdin_fd : instances->null_fd,
        .stdout_fd = stdio != NULL ? stdio->child_stdout_fd : instance->child_stderr_fd,
        .stderr_fd = instance->child_stderr_fd,
    };
    return spawner_spawn(instances->spawner, &request, reterr);
}

/* ---- the interface ---- */

enum sluice_err instances_start(struct instances *instances, uint64_t id, const struct config_function *function,
                                const char *const *environment, struct sluice_error *reterr)
{
    ASSERT(table_find(instances, id) == NULL);
    struct instance *instance = instance_new(instances, id, function);
    if (instance == NULL)
        return sluice_fail(reterr, SLUICE_ENOMEM, "function '%s': out of memory for an instance", function->name);
    enum sluice_err err = instance_spawn(instance, function, environment, reterr);
    if (err != SLUICE_OK) {
        instance_free(instance);
        return err;
    }
    instance->next = instances->buckets[id % TABLE_BUCKETS];
    instances->buckets[id % TABLE_BUCKETS] = instance;
    return SLUICE_OK;
}

static void hand_over(struct instances *instances, uint64_t id, const struct leased *leased, const struct view *inputs, unsigned count)
{
    struct instance *instance = table_find(instances, id);

    ASSERT(count > 0);
    if (instance == NULL || instance->state == INSTANCE_STOPPING)
        return; /* on_gone says so, or has */
    ASSERT(instance->stdio != NULL);
    VEC_PUSH(&instance->stdio->leases, *leased);
    input_put(instance, inputs, count);
    if (instance->protocol == PROTOCOL_STDIO)
        input_end(instance);
    else
        input_write(instance);
}

void instances_deliver(struct instances *instances, uint64_t id, uint64_t lease, const struct view *inputs, unsigned count)
{
    hand_over(instances, id, &(struct leased){ .lease = lease, .count = count }, inputs, count);
}

void instances_invoke(struct instances *instances, uint64_t id, uint64_t lease, struct view input)
{
    hand_over(instances, id, &(struct leased){ .lease = lease, .count = 1, .result_wanted = true }, &input, 1);
}

static void stop_within(struct instances *instances, uint64_t id, enum grace_length length)
{
    struct instance *instance = table_find(instances, id);

    if (instance == NULL || instance->state == INSTANCE_STOPPING)
        return;
    instance->state = INSTANCE_STOPPING;
    if (instance->leader_ended) { /* nobody is left whom a signal would tell anything */
        instance_signal(instance, SIGKILL);
        return;
    }
    if (instance->stdio != NULL)
        input_end(instance);
    instance_signal(instance, SIGTERM);
    if (instance->frozen)
        instance_signal(instance, SIGCONT);
    grace_start(instance, length);
}

void instances_stop(struct instances *instances, uint64_t id)
{
    stop_within(instances, id, GRACE_FULL);
}

void instances_stop_soon(struct instances *instances, uint64_t id)
{
    stop_within(instances, id, GRACE_SOON);
}

void instances_kill(struct instances *instances, uint64_t id)
{
    struct instance *instance = table_find(instances, id);

    if (instance != NULL)
        instance_signal(instance, SIGKILL);
}

void instances_hold(struct instances *instances, uint64_t id)
{
    if (table_find(instances, id) != NULL)
        spawner_hold(instances->spawner, id);
}

void instances_freeze(struct instances *instances, uint64_t id, bool frozen)
{
    struct instance *instance = table_find(instances, id);

    if (instance == NULL || instance->state != INSTANCE_RUNNING || instance->frozen == frozen)
        return;
    instance->frozen = frozen;
    instance_signal(instance, frozen ? SIGSTOP : SIGCONT);
}

bool instances_pid(const struct instances *instances, uint64_t id, pid_t *ret_pid)
{
    const struct instance *instance = table_find(instances, id);

    if (instance == NULL || instance->pid == 0)
        return false;
    *ret_pid = instance->pid;
    return true;
}

struct view instances_log(struct instances *instances, uint64_t id)
{
    struct instance *instance = table_find(instances, id);

    if (instance == NULL)
        return VIEW_LITERAL("");
    /* What was written before the answer that asks for it has arrived is in the pipe by now. */
    if (instance->errors.fd >= 0)
        (void)pipe_read(instance, &instance->errors, instances->scratch, READS_PER_TURN_MAX, errors_take);
    return tail_view(&instance->captured.tail);
}

void instances_log_begin(struct instances *instances, uint64_t id)
{
    struct instance *instance = table_find(instances, id);

    if (instance == NULL)
        return;
    (void)instances_log(instances, id);
    bytes_clear(&instance->captured.tail);
}

int64_t instances_memory_peak(struct instances *instances, uint64_t id)
{
    struct instance *instance = table_find(instances, id);

    if (instance == NULL || instance->pid == 0)
        return 0;
    if (!instance->meter.open)
        memory_open(&instance->meter, spawner_memory(instances->spawner), id, instance->pid, instance->memory_bytes > 0);
    return memory_peak(&instance->meter);
}

const struct cgroup *instances_memory_limits(const struct instances *instances)
{
    return spawner_memory(instances->spawner);
}

struct captures *instances_captures(const struct instances *instances)
{
    return instances->captures;
}

enum sluice_err instances_log_tail(const struct instances *instances, const char *function, size_t bytes_max, struct bytes *out)
{
    captures_flush(instances->captures);
    return captures_tail(instances->captures, function, bytes_max, out);
}

uint64_t instances_log_position(const struct instances *instances, const char *function)
{
    captures_flush(instances->captures);
    return captures_position(instances->captures, function);
}

static void on_pass_end(struct ev_loop *loop, struct ev_prepare *watcher, int revents)
{
    struct instances *instances = watcher->data;

    (void)loop, (void)revents;
    captures_flush(instances->captures);
}

enum sluice_err instances_new(struct ev_loop *loop, const char *program, const char *data_dir, const char *bus_url,
                              const struct instances_events *events, struct instances **ret_instances, struct sluice_error *reterr)
{
    struct instances *instances = calloc(1, sizeof *instances);

    if (instances == NULL)
        return sluice_fail(reterr, SLUICE_ENOMEM, "out of memory for instances");
    instances->loop = loop;
    instances->events = *events;
    instances->arena = arena_new(ENVIRONMENT_ARENA_BYTES);
    instances->bus_url = strdup(bus_url);
    instances->null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    char *logs = arena_format(instances->arena, "%s/logs", data_dir), *lock = arena_format(instances->arena, "%s/spawner.lock", data_dir);
    struct spawner_events spawner_events = {
        .ctx = instances, .on_ready = on_spawner_ready, .on_started = on_started,
        .on_failed = on_failed, .on_ended = on_leader_ended, .on_exited = on_exited, .on_lost = on_spawner_lost,
    };
    enum sluice_err err = SLUICE_OK;
    if (instances->bus_url == NULL || instances->null_fd < 0)
        err = sluice_fail(reterr, SLUICE_EIO, "cannot set up instances: %s", strerror(errno));
    if (err == SLUICE_OK)
        err = captures_new(logs, &instances->captures, reterr);
    if (err == SLUICE_OK)
        err = spawner_start(loop, program, lock, &spawner_events, &instances->spawner, reterr);
    if (err != SLUICE_OK) {
        instances_free(instances);
        return err;
    }
    captures_listen(instances->captures, events->on_line, events->ctx);
    for (unsigned i = 0; i < GRACE_LENGTHS; i++) {
        list_init(&instances->graces[i].instances);
        ev_timer_init(&instances->graces[i].over, on_grace_over, 0, 0);
        instances->graces[i].over.data = &instances->graces[i];
    }
    ev_prepare_init(&instances->pass_end, on_pass_end);
    ev_set_priority(&instances->pass_end, EV_MINPRI);
    instances->pass_end.data = instances;
    ev_prepare_start(loop, &instances->pass_end);
    *ret_instances = instances;
    return SLUICE_OK;
}

void instances_free(struct instances *instances)
{
    if (instances == NULL)
        return;
    ev_prepare_stop(instances->loop, &instances->pass_end);
    for (unsigned i = 0; i < GRACE_LENGTHS; i++)
        ev_timer_stop(instances->loop, &instances->graces[i].over);
    spawner_stop(instances->spawner);
    for (size_t i = 0; i < TABLE_BUCKETS; i++)
        while (instances->buckets[i] != NULL) {
            struct instance *instance = instances->buckets[i];
            /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): the one freed before has left the bucket */
            table_remove(instance);
            if (instance->pid != 0)
                errors_finish(instance);
            instance_free(instance);
        }
    captures_free(instances->captures);
    fd_close(&instances->null_fd);
    arena_free(instances->arena);
    free(instances->bus_url);
    free(instances);
}
