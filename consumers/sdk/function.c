/* function.c - the life of a native instance, one that the daemon started or one that attaches (attach.c).
 *
 *   Each of `concurrency` workers asks for work by calls of its own, with the results of what it had before:
 *
 *      next(result of lease 7) ---->  parked until there is work
 *                              <----  lease 9, deliveries        -> handler -> next(result of lease 9) ...
 *
 *   The main thread waits for what ends it: SIGTERM, SIGINT, the last worker's return, or, if the daemon started us, a daemon that is
 *   gone for 5 s. On a signal it says that we leave, by `detach` or by one `next` with events_max 0: the daemon answers parked
 *   requests with nothing, and workers in the middle of a batch hand in its result with events_max 0 and return. */
#include "sluice/function.h"

#include <errno.h>
#include <nng/nng.h>
#include <nng/supplemental/util/platform.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "consumers/sdk/runner.h"

enum {
    DAEMON_GONE_MS_MAX = 5000,  /* of one that started us */
    LEAVE_REPLY_MS_MAX = 1000,  /* how long parked requests may stay parked once we have said that we leave */
    LATER_PAUSE_MS = 100,       /* after "later" */
};

/* All that a signal handler can reach. Set while sluice_function_run() runs. Any thread may take the signal: lock-free atomics. */
static atomic_int signal_fd = -1;
static atomic_bool signalled;
static atomic_int signal_handlers;       /* that may write to it: it is not closed before they are done */

static void wake(int fd)
{
    const uint64_t one = 1;

    if (write(fd, &one, sizeof one) < 0)
        return; /* EAGAIN: it is awake as it is */
}

static void signal_came(int number)
{
    int saved = errno;

    (void)number;
    signal_handlers++;
    signalled = true;
    wake(signal_fd);
    signal_handlers--;
    errno = saved;
}

void runner_wake(const struct runner *runner)
{
    wake(runner->wake_fd);
}

static void runner_up(void *user, const struct wire_limits *limits)
{
    struct runner *runner = user;

    (void)limits; /* of publishing */
    pthread_mutex_lock(&runner->mutex);
    runner->up = true;
    pthread_cond_broadcast(&runner->changed);
    pthread_mutex_unlock(&runner->mutex);
    wake(runner->wake_fd);
}

static void runner_down(void *user)
{
    struct runner *runner = user;

    pthread_mutex_lock(&runner->mutex);
    runner->up = false;
    attach_lost(runner);
    pthread_cond_broadcast(&runner->changed);
    pthread_mutex_unlock(&runner->mutex);
    wake(runner->wake_fd);
}

static void runner_not_up(void *user, const struct sluice_error *why)
{
    struct runner *runner = user;

    pthread_mutex_lock(&runner->mutex);
    attach_say(runner, why->text);
    pthread_mutex_unlock(&runner->mutex);
}

static void runner_fail(struct runner *runner, const struct sluice_error *why)
{
    pthread_mutex_lock(&runner->mutex);
    if (!runner->failed)
        (void)fprintf(stderr, "sluice: %s\n", why->text);
    runner->failed = true;
    pthread_cond_broadcast(&runner->changed);
    pthread_mutex_unlock(&runner->mutex);
    wake(runner->wake_fd);
}

static void worker_call_done(struct link_call *call, nng_msg *reply)
{
    struct worker *worker = call->user;
    struct runner *runner = worker->runner;

    pthread_mutex_lock(&runner->mutex);
    worker->reply = reply;
    worker->out = false;
    pthread_cond_broadcast(&runner->changed);
    pthread_mutex_unlock(&runner->mutex);
}

/* A lease lives as long as the attachment that it came by. */
static void drop_void_result(struct worker *worker)
{
    if (worker->result.len > 0 && worker->generation != worker->runner->attachment.generation)
        bytes_clear(&worker->result);
}

/* Nothing more is to be asked, or there is nobody to be asked any more. */
static bool is_to_end(struct worker *worker)
{
    drop_void_result(worker);
    return worker->runner->failed || (worker->runner->leaving && worker->result.len == 0);
}

static bool may_ask(const struct worker *worker)
{
    return worker->runner->up && attach_may_ask(worker->runner, worker);
}

enum asked { ASKED_ANSWERED, ASKED_LOST, ASKED_END };

/* Waits until it may ask, or is to end: false. */
static bool worker_wait(struct worker *worker)
{
    struct runner *runner = worker->runner;

    while (!is_to_end(worker) && !may_ask(worker)) {
        runner->waiting++;
        wake(runner->wake_fd); /* an attachment that is over ends when all wait */
        (void)pthread_cond_wait(&runner->changed, &runner->mutex);
        runner->waiting--;
    }
    return !is_to_end(worker);
}

/* One `next` with the pending result. ASKED_LOST: no connection any more; the same again. */
static enum asked worker_ask(struct worker *worker, nng_msg **ret_reply)
{
    struct runner *runner = worker->runner;

    pthread_mutex_lock(&runner->mutex);
    bool end = !worker_wait(worker), taken = false;
    if (!end) {
        bool last = runner->leaving || attach_is_over(runner);
        bytes_clear(&worker->request);
        sdk_put_next(&worker->request, runner->instance, last ? 0 : runner->batch_size, bytes_view(&worker->result));
        worker->generation = runner->attachment.generation;
        worker->call.parts[0] = bytes_view(&worker->request);
        worker->out = taken = !worker->request.failed && link_send(runner->link, &worker->call);
    }
    while (worker->out && !runner->forced)
        (void)pthread_cond_wait(&runner->changed, &runner->mutex);
    end = end || worker->out;
    nng_msg *reply = worker->reply;
    worker->reply = NULL;
    pthread_mutex_unlock(&runner->mutex);
    if (end)
        return ASKED_END;
    if (!taken) /* the connection is being cleaned up; `down` comes right away. Or memory may come back: the result must be handed in */
        nng_msleep(worker->request.failed ? LATER_PAUSE_MS : 1);
    if (reply == NULL)
        return ASKED_LOST;
    *ret_reply = reply;
    return ASKED_ANSWERED;
}

/* false: the worker is to end. */
static bool worker_answered(struct worker *worker, nng_msg *reply)
{
    struct runner *runner = worker->runner;
    struct sluice_error why;

    switch (sdk_batch_open(&worker->batch, reply, &why)) {
    case SLUICE_OK:
        bytes_clear(&worker->result); /* handed in */
        return true;
    case SLUICE_EUNAVAILABLE: /* drain */
        bytes_clear(&worker->result);
        return attach_over(runner, worker->generation);
    case SLUICE_ESTALE: /* the result came too late; others have the deliveries now */
        bytes_clear(&worker->result);
        return true;
    case SLUICE_EPROTO:
        link_fault(runner->link, &why);
        return true;
    case SLUICE_ELIMIT:
    case SLUICE_ENOMEM:
    case SLUICE_EIO:
    case SLUICE_ETIMEDOUT:
        nng_msleep(LATER_PAUSE_MS);
        return true;
    case SLUICE_ENOTFOUND:
    case SLUICE_EEXISTS:
    case SLUICE_EINVAL:
    case SLUICE_ECORRUPT:
    case SLUICE_EACCESS:
        bytes_clear(&worker->result);
        if (attach_over(runner, worker->generation)) /* of an attachment that the daemon has ended, most likely */
            return true;
        break;
    }
    runner_fail(runner, &why);
    return false;
}

static void *worker_run(void *user)
{
    struct worker *worker = user;
    struct runner *runner = worker->runner;
    nng_msg *reply;
    bool go = true;

    while (go) {
        enum asked asked = worker_ask(worker, &reply);
        if (asked == ASKED_LOST)
            continue; /* the same again: it waits for the connection, and sees when to end */
        if (asked == ASKED_END)
            break;
        go = worker_answered(worker, reply);
        if (go && worker->batch.lease != 0) {
            sdk_batch_handle(&worker->batch, runner->function);
            sdk_batch_put_result(&worker->batch, &worker->result);
            worker->batch.lease = 0;
        }
    }
    pthread_mutex_lock(&runner->mutex);
    runner->running--;
    pthread_mutex_unlock(&runner->mutex);
    wake(runner->wake_fd);
    return NULL;
}

static void leave_done(struct link_call *call, nng_msg *reply)
{
    struct runner *runner = call->user;

    if (reply != NULL)
        nng_msg_free(reply); /* the workers' own replies say the same */
    pthread_mutex_lock(&runner->mutex);
    runner->leave_out = false;
    pthread_mutex_unlock(&runner->mutex);
}

/* "We are leaving". If it does not get there, the workers end a little later, without the daemon's help. */
static void leave_start(struct runner *runner)
{
    pthread_mutex_lock(&runner->mutex);
    runner->leaving = true;
    pthread_cond_broadcast(&runner->changed);
    if (!attach_put_leave(runner, &runner->leave_request)) {
        pthread_mutex_unlock(&runner->mutex);
        return;
    }
    runner->leave = (struct link_call){ .parts = { bytes_view(&runner->leave_request) }, .done = leave_done, .user = runner };
    if (!runner->leave_request.failed)
        runner->leave_out = link_send(runner->link, &runner->leave);
    pthread_mutex_unlock(&runner->mutex);
}

/* Calls that stay parked are not waited for: the daemon did not hear that we leave, or there is nothing to wait for. */
static void leave_force(struct runner *runner)
{
    pthread_mutex_lock(&runner->mutex);
    runner->forced = true;
    pthread_cond_broadcast(&runner->changed);
    pthread_mutex_unlock(&runner->mutex);
}

static int64_t now_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail with this clock */
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void daemon_is_gone(struct runner *runner)
{
    struct sluice_error reason, why;

    link_reason(runner->link, &reason);
    (void)sluice_fail(&why, SLUICE_EUNAVAILABLE, "gave up after %d ms: %.200s", DAEMON_GONE_MS_MAX, reason.text);
    runner_fail(runner, &why);
}

/* Starts workers until there are `count`. */
static void runner_start(struct runner *runner, unsigned count)
{
    struct sluice_error why;

    while (runner->workers_count < count) {
        struct worker *worker = &runner->workers[runner->workers_count];
        *worker = (struct worker){ .runner = runner, .index = runner->workers_count,
                                   .call = { .done = worker_call_done, .user = worker } };
        pthread_mutex_lock(&runner->mutex);
        runner->running++;
        pthread_mutex_unlock(&runner->mutex);
        int err = pthread_create(&worker->thread, NULL, worker_run, worker);
        if (err == 0) {
            runner->workers_count++;
            continue;
        }
        pthread_mutex_lock(&runner->mutex);
        runner->running--;
        pthread_mutex_unlock(&runner->mutex);
        (void)sluice_fail(&why, SLUICE_ENOMEM, "start worker %u of %u: %s", runner->workers_count + 1, count, strerror(err));
        runner_fail(runner, &why);
        return;
    }
}

/* Returns when no worker runs any more, and none will. */
static void runner_watch(struct runner *runner)
{
    int64_t down_since_ms = now_ms(), leaving_since_ms = 0;

    for (;;) {
        struct pollfd fd = { .fd = runner->wake_fd, .events = POLLIN };
        uint64_t count;
        int64_t now = now_ms(), wait_ms = -1;
        pthread_mutex_lock(&runner->mutex);
        int64_t attach_ms = attach_turn(runner, now);
        unsigned start = runner->failed || runner->leaving ? 0 : runner->concurrency;
        pthread_mutex_unlock(&runner->mutex);
        runner_start(runner, start);
        pthread_mutex_lock(&runner->mutex);
        bool gives_up = !runner->up && !attach_is_used(runner), failed = runner->failed;
        bool ended = runner->running == 0 && (!attach_is_used(runner) || failed || runner->leaving);
        pthread_mutex_unlock(&runner->mutex);
        if (ended)
            return;
        if (!gives_up)
            down_since_ms = 0;
        else if (down_since_ms == 0)
            down_since_ms = now;
        if (gives_up && !failed && now - down_since_ms >= DAEMON_GONE_MS_MAX) {
            daemon_is_gone(runner);
            continue;
        }
        if (signalled && leaving_since_ms == 0) {
            leaving_since_ms = now;
            leave_start(runner);
            continue;
        }
        bool force = failed || (leaving_since_ms != 0 && now - leaving_since_ms >= LEAVE_REPLY_MS_MAX);
        if (force)
            leave_force(runner);
        if (gives_up && !failed)
            wait_ms = down_since_ms + DAEMON_GONE_MS_MAX - now;
        if (!force && leaving_since_ms != 0 && (wait_ms < 0 || wait_ms > LEAVE_REPLY_MS_MAX))
            wait_ms = leaving_since_ms + LEAVE_REPLY_MS_MAX - now;
        if (attach_ms >= 0 && (wait_ms < 0 || attach_ms < wait_ms))
            wait_ms = attach_ms;
        if (poll(&fd, 1, (int)wait_ms) > 0 && read(runner->wake_fd, &count, sizeof count) < 0)
            continue; /* another reader cannot be: EINTR */
    }
}

bool runner_number(const char *name, unsigned max, unsigned *ret_number, struct sluice_error *reterr)
{
    const char *text = getenv(name);
    char *end;

    if (text == NULL)
        return true;
    errno = 0;
    unsigned long number = strtoul(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || number < 1 || number > max) {
        (void)sluice_fail(reterr, SLUICE_EINVAL, "%s='%.50s' in the environment: a number from 1 to %u", name, text, max);
        return false;
    }
    *ret_number = (unsigned)number;
    return true;
}

/* Who we are, as the daemon that started us says. */
static bool runner_spawned(struct runner *runner, struct sluice_error *reterr)
{
    runner->url = getenv(SLUICE_ENV_BUS);
    runner->instance = getenv(SLUICE_ENV_INSTANCE);
    if (runner->url == NULL || runner->instance == NULL) {
        (void)sluice_fail(reterr, SLUICE_EINVAL,
                          "%s is not in the environment: either the daemon starts this program, as the command of a function with "
                          "`protocol: native`, or it attaches to the function that %s names",
                          runner->url == NULL ? SLUICE_ENV_BUS : SLUICE_ENV_INSTANCE, SLUICE_ENV_FUNCTION);
        return false;
    }
    return runner_number(SLUICE_ENV_CONCURRENCY, CONCURRENCY_MAX, &runner->concurrency, reterr) &&
           runner_number(SLUICE_ENV_BATCH_SIZE, NEXT_EVENTS_MAX, &runner->batch_size, reterr);
}

static bool runner_open(struct runner *runner, const struct sluice_attach *attach, struct sluice_error *reterr)
{
    const struct link_watch watch = { .up = runner_up, .down = runner_down, .failed = runner_not_up, .user = runner };

    runner->concurrency = runner->batch_size = 1;
    if (attach == NULL ? !runner_spawned(runner, reterr) : !attach_open(runner, attach, reterr))
        return false;
    runner->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    runner->workers = calloc(attach == NULL ? runner->concurrency : CONCURRENCY_MAX, sizeof *runner->workers);
    if (runner->wake_fd < 0 || runner->workers == NULL) {
        (void)sluice_fail(reterr, SLUICE_ENOMEM, "set up workers: %s", strerror(errno));
        return false;
    }
    struct link_options options = { .url = runner->url, .name = attach == NULL ? runner->instance : runner->attachment.consumer,
                                    .token_file = attach == NULL ? NULL : attach->token_file };
    return link_open(&options, &watch, &runner->link, reterr) == SLUICE_OK;
}

static void runner_close(struct runner *runner)
{
    link_close(runner->link); /* calls that are still out end here */
    for (unsigned i = 0; i < runner->workers_count; i++) {
        struct worker *worker = &runner->workers[i];
        if (worker->reply != NULL)
            nng_msg_free(worker->reply);
        sdk_batch_done(&worker->batch);
        bytes_done(&worker->request);
        bytes_done(&worker->result);
    }
    bytes_done(&runner->leave_request);
    attach_done(runner);
    free(runner->workers);
    if (runner->wake_fd >= 0)
        (void)close(runner->wake_fd); /* nothing is behind it */
}

static void runner_serve(struct runner *runner)
{
    struct sigaction action = { .sa_handler = signal_came, .sa_flags = SA_RESTART }, term_before, int_before;

    signalled = false;
    signal_fd = runner->wake_fd;
    (void)sigemptyset(&action.sa_mask);
    (void)sigaction(SIGTERM, &action, &term_before); /* valid numbers and pointers: cannot fail */
    (void)sigaction(SIGINT, &action, &int_before);
    runner_watch(runner);
    for (unsigned i = 0; i < runner->workers_count; i++)
        (void)pthread_join(runner->workers[i].thread, NULL);
    (void)sigaction(SIGTERM, &term_before, NULL);
    (void)sigaction(SIGINT, &int_before, NULL);
    signal_fd = -1;
    while (signal_handlers > 0) /* on other threads, and soon done: one of ours has returned */
        (void)sched_yield();
}

static int run(const struct sluice_function *function, const struct sluice_attach *attach)
{
    struct runner runner = { .function = function, .wake_fd = -1 };
    struct sluice_error why;

    (void)pthread_mutex_init(&runner.mutex, NULL); /* plain ones: cannot fail */
    (void)pthread_cond_init(&runner.changed, NULL);
    bool opened = runner_open(&runner, attach, &why);
    if (opened)
        runner_serve(&runner);
    else
        (void)fprintf(stderr, "sluice: %s\n", why.text);
    runner_close(&runner);
    pthread_cond_destroy(&runner.changed);
    pthread_mutex_destroy(&runner.mutex);
    return opened && !runner.failed ? 0 : 1;
}

int sluice_function_run(const struct sluice_function *function)
{
    bool attaches = getenv(SLUICE_ENV_INSTANCE) == NULL && getenv(SLUICE_ENV_FUNCTION) != NULL;

    return run(function, attaches ? &(struct sluice_attach){ 0 } : NULL);
}

int sluice_function_attach(const struct sluice_function *function, const struct sluice_attach *attach)
{
    return run(function, attach != NULL ? attach : &(struct sluice_attach){ 0 });
}
