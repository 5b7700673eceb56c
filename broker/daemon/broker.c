#include "broker/daemon/broker.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "broker/base/assert.h"
#include "broker/daemon/control.h"
#include "broker/daemon/lambda.h"
#include "broker/daemon/reload.h"
#include "broker/daemon/rule_index.h"
#include "broker/edge/log.h"
#include "schemas/codec/address.h"

enum {
    DRAIN_MS = 10000,            /* at a stop, what runs may finish for this long */
    END_REASON_BYTES = 128,
};

/* ---- the turn's read of the store ---- */

void broker_read(struct broker *broker)
{
    if (!broker->reading) {
        store_read_begin(broker->store);
        broker->reading = true;
    }
}

static void broker_read_end(struct broker *broker)
{
    if (broker->reading) {
        store_read_end(broker->store);
        broker->reading = false;
    }
}

/* ---- from the edges into the engine ---- */

void broker_publish(struct broker *broker, const struct publish *publish)
{
    VEC_PUSH(&broker->publishes, *publish); /* the turn takes them as fast as commits go */
}

void broker_publish_cancel(struct broker *broker, uint64_t reply)
{
    engine_publish_cancel(broker->engine, reply);
    for (size_t i = broker->publishes_head; i < broker->publishes.count; i++) {
        if (broker->publishes.items[i].reply != reply)
            continue;
        memmove(&broker->publishes.items[i], &broker->publishes.items[i + 1],
                (broker->publishes.count - i - 1) * sizeof *broker->publishes.items);
        broker->publishes.count--;
        return;
    }
}

static void bus_on_publish(void *ctx, const struct publish *publish)
{
    broker_publish(ctx, publish);
}

static void bus_on_next(void *ctx, uint64_t request, uint64_t instance, unsigned events_max, const struct bus_result *results, unsigned count)
{
    struct broker *broker = ctx;
    struct now now = clock_now();

    broker_read(broker);
    invocations_ready(broker->invocations, instance);
    for (unsigned i = 0; i < count; i++)
        invocations_end(broker->invocations, instance, results[i].lease, UINT_MAX,
                        results[i].failures_count > 0 ? results[i].failures[0].failure.type : (struct view){ 0 }, now);
    for (unsigned i = 0; i < count; i++)
        (void)engine_result_batch(broker->engine, instance, results[i].lease, results[i].failures, results[i].failures_count, now);
    if (events_max == 0) { /* results only: it is leaving */
        bus_answer_next(broker->bus, request, SLUICE_OK, NULL, 0, 0, (struct view){ 0 }, 0);
        if (engine_instance_leaves(broker->engine, instance, now) == SLUICE_OK)
            broker_release_parked(broker, instance);
        return;
    }
    VEC_PUSH(&broker->parked, (struct parked_next){ .request = request, .instance = instance });
    enum sluice_err err = engine_instance_wants(broker->engine, instance, events_max, now);
    if (err != SLUICE_OK) {
        broker->parked.count--;
        if (err == SLUICE_ELIMIT)
            bus_answer_next(broker->bus, request, err, "as many requests and leases are out as the consumer said when it attached", 0, 0,
                            (struct view){ 0 }, 0);
        else
            bus_answer_next(broker->bus, request, SLUICE_EUNAVAILABLE,
                            err == SLUICE_ENOTFOUND ? "no such instance: the daemon has not started it, and nobody is attached as it"
                                                    : "the instance is to end",
                            0, 0, (struct view){ 0 }, 0);
    }
}

static void bus_on_control(void *ctx, uint64_t request, struct view command, struct view arguments)
{
    struct broker *broker = ctx;

    broker_read(broker);
    control_call(broker->control, request, command, arguments);
}

static void bus_on_gone(void *ctx, uint64_t request)
{
    struct broker *broker = ctx;

    control_gone(broker->control, request);
    broker_detach_gone(broker, request);
    broker_publish_cancel(broker, request);
    for (size_t i = 0; i < broker->parked.count; i++) {
        if (broker->parked.items[i].request != request)
            continue;
        engine_instance_wants_cancel(broker->engine, broker->parked.items[i].instance, clock_now());
        broker->parked.items[i] = broker->parked.items[--broker->parked.count];
        return;
    }
}

static void instance_on_started(void *ctx, uint64_t instance, pid_t pid)
{
    struct broker *broker = ctx;
    enum function_protocol protocol;

    broker_read(broker);
    if (engine_instance_protocol(broker->engine, instance, &protocol) && protocol == PROTOCOL_LAMBDA)
        runtime_started(broker->runtime, instance, pid); /* ready with its first request for work */
    else
        invocations_ready(broker->invocations, instance);
    engine_instance_started(broker->engine, instance, pid, clock_now());
}

static void instance_on_result(void *ctx, uint64_t instance, uint64_t lease, unsigned first, unsigned count,
                               const struct invocation_failure *failure, struct view result)
{
    struct broker *broker = ctx;
    struct now now = clock_now();
    struct failure why;

    if (failure != NULL)
        why = (struct failure){ .type = failure->type, .message = failure->message, .output = failure->output };
    broker_read(broker);
    invocations_end(broker->invocations, instance, lease, count, failure == NULL ? (struct view){ 0 } : failure->type, now);
    (void)engine_result(broker->engine, instance, lease, first, count, failure == NULL ? NULL : &why, result, now);
}

/* "killed", as Lambda's messages spell it; the C library says "Killed". */
static void signal_text(int number, char ret_text[64])
{
    (void)snprintf(ret_text, 64, "%s", strsignal(number));
    ret_text[0] = (char)tolower((unsigned char)ret_text[0]);
}

static void instance_on_exited(void *ctx, uint64_t instance, const struct instance_end *end)
{
    struct broker *broker = ctx;

    invocations_exited(broker->invocations, instance, end);
    broker->gone = instance; /* what is told of its results is all there is */
    broker->gone_log = end->output_tail;
}

static void end_reason(const struct instance_end *end, char ret_text[END_REASON_BYTES])
{
    char signal_name[64];

    switch (end->reason) {
    case END_EXITED: (void)snprintf(ret_text, END_REASON_BYTES, "Runtime exited with error: exit status %d", end->code); break;
    case END_SIGNALLED:
        signal_text(end->code, signal_name);
        (void)snprintf(ret_text, END_REASON_BYTES, "Runtime exited with error: signal: %s", signal_name);
        break;
    case END_SPAWN_FAILED:
        (void)snprintf(ret_text, END_REASON_BYTES, "cannot be started: %s: %s", end->step == NULL ? "spawn" : end->step, strerror(end->code));
        break;
    case END_SPAWNER_LOST: (void)snprintf(ret_text, END_REASON_BYTES, "the spawner died, and its instances with it"); break;
    }
    if (end->reason == END_EXITED && end->code == 0)
        (void)snprintf(ret_text, END_REASON_BYTES, "Runtime exited without providing a reason");
    if (end->out_of_memory)
        (void)snprintf(ret_text, END_REASON_BYTES, "Runtime exited with error: signal: killed");
}

static struct instance_gone gone_of(const struct instance_end *end, const char *reason)
{
    return (struct instance_gone){ .reason = view_of(reason),
                                   .output = end->output_tail,
                                   .failed_start = end->reason == END_SPAWN_FAILED,
                                   .clean = end->reason == END_EXITED && end->code == 0,
                                   .input_unread = end->input_unread,
                                   .cpu_us = end->cpu_us };
}

/* Of a Lambda function's instance, whose extensions go on: its callers are not to wait for them. */
static void instance_on_ended(void *ctx, uint64_t instance, const struct instance_end *end)
{
    struct broker *broker = ctx;
    char reason[END_REASON_BYTES];

    end_reason(end, reason);
    struct instance_gone gone = gone_of(end, reason);
    broker_read(broker);
    runtime_cut(broker->runtime, instance);
    gone.output = instances_log(broker->instances, instance); /* that looked at it, too, and may have moved it */
    runtime_ended(broker->runtime, instance);
    invocations_ended(broker->invocations, instance, end);
    engine_instance_ended(broker->engine, instance, &gone, clock_now());
    lambda_ended(broker, instance);
}

static void instance_on_gone(void *ctx, uint64_t instance, const struct instance_end *end)
{
    struct broker *broker = ctx;
    char reason[END_REASON_BYTES];

    end_reason(end, reason);
    struct instance_gone gone = gone_of(end, reason);
    broker_read(broker);
    broker->gone = instance; /* for the log of what ends with it */
    broker->gone_log = end->output_tail;
    runtime_cut(broker->runtime, instance);
    invocations_ended(broker->invocations, instance, end);
    broker_release_parked(broker, instance);
    control_instance_gone(broker->control, instance, end);
    engine_instance_gone(broker->engine, instance, &gone, clock_now());
    broker->gone = 0;
    invocations_gone(broker->invocations, instance);
    runtime_close(broker->runtime, instance);
}

static void instance_on_spawner_ready(void *ctx)
{
    struct broker *broker = ctx;
    broker_read(broker);
    engine_spawner_ready(broker->engine, clock_now());
}

/* ---- the turn ---- */

/* On the committer thread. */
static void commit_done(void *ctx, struct commit *commit, enum commit_outcome outcome, const char *text)
{
    struct broker *broker = ctx;

    ASSERT(commit == broker->commit);
    broker->outcome = outcome;
    (void)snprintf(broker->outcome_text, sizeof broker->outcome_text, "%s", text == NULL ? "" : text);
    mailbox_post(broker->mailbox, &broker->committed);
}

/* An ack is a promise about the disk: no reply and no delivery leaves before its commit has returned. */
static void broker_committed(struct mail *mail)
{
    struct broker *broker = (struct broker *)(void *)((char *)mail - offsetof(struct broker, committed));

    broker->committing = false;
    histogram_add(&broker->commits, clock_now().mono.us - broker->commit_began.us, 1);
    if (broker->outcome == COMMIT_FATAL) {
        log_format(LOG_ERROR, "event=commit-refused action=stop reason=\"%s\" msg=\"the disk refused a commit; nothing of it was acked\"",
                   broker->outcome_text);
        broker->fatal = true;
        ev_break(broker->loop, EVBREAK_ALL);
        return;
    }
    if (broker->outcome == COMMIT_FULL)
        log_format(LOG_WARN, "event=disk-full action=\"publishes are told to come later\" reason=\"%s\"", broker->outcome_text);
    broker_read_end(broker); /* the next read sees this commit */
    broker_read(broker);
    engine_committed(broker->engine, broker->commit, broker->outcome == COMMIT_DURABLE, clock_now());
    broker->commit = NULL;
    control_committed(broker->control);
}

/* Publishes are taken while the commit being gathered has room; the rest waits here, and their producers with it. */
static void take_publishes(struct broker *broker, struct now now)
{
    const char *reason = NULL;
    bool accepts = store_accepts(broker->store, &reason);

    while (broker->publishes_head < broker->publishes.count && engine_gathered_bytes(broker->engine) < COMMIT_BYTES_MAX)
        engine_publish(broker->engine, &broker->publishes.items[broker->publishes_head++], accepts, reason, now);
    if (broker->publishes_head == broker->publishes.count)
        broker->publishes_head = broker->publishes.count = 0;
}

static void broker_sleep_until_work(struct broker *broker, struct now now)
{
    int64_t wake_us = engine_wake_us(broker->engine);

    ev_timer_stop(broker->loop, &broker->wake);
    if (wake_us == MONO_NEVER)
        return;
    double seconds = (double)(wake_us - now.mono.us) / 1e6;
    ev_now_update(broker->loop);
    ev_timer_set(&broker->wake, seconds < 0 ? 0 : seconds + 0.0002, 0.);
    ev_timer_start(broker->loop, &broker->wake);
}

static void broker_turn(struct broker *broker)
{
    struct now now = clock_now();

    broker_read(broker);
    take_publishes(broker, now);
    engine_tick(broker->engine, now);
    reload_turn(broker->reload);
    /* One commit is on the disk at a time; what arrives meanwhile is the next one. */
    if (!broker->committing && engine_has_commit(broker->engine)) {
        broker->commit = engine_seal(broker->engine, now);
        broker->committing = true;
        broker->commit_began = now.mono;
        broker_read_end(broker);
        store_commit_begin(broker->store, broker->commit, commit_done, broker);
        broker_read(broker);
        take_publishes(broker, now); /* the next commit starts with what waited for room in this one */
    }
    broker_read_end(broker);
    rule_index_turn(broker->rule_index);
    lambda_freeze_idle(broker);
    broker_sleep_until_work(broker, now);
    (void)notify_turn(&broker->notify, now.mono, broker->committing ? broker->commit_began.us : MONO_NEVER);
    if (broker->stopping && engine_drained(broker->engine) && !broker->committing && !engine_has_commit(broker->engine))
        ev_break(broker->loop, EVBREAK_ALL);
}

static void on_prepare(struct ev_loop *loop, ev_prepare *watcher, int events)
{
    (void)loop, (void)events;
    broker_turn(watcher->data);
}

static void on_wake(struct ev_loop *loop, ev_timer *watcher, int events)
{
    (void)loop, (void)watcher, (void)events; /* the turn follows */
}

static void on_start_again(struct ev_loop *loop, ev_timer *watcher, int events)
{
    struct broker *broker = watcher->data;

    (void)events;
    ev_timer_stop(loop, watcher);
    broker_read(broker);
    engine_spawner_ready(broker->engine, clock_now());
}

static uint64_t memory_free(void)
{
    char line[128];
    unsigned long long kilobytes = 0;
    FILE *file = fopen("/proc/meminfo", "re");

    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        if (sscanf(line, "MemAvailable: %llu kB", &kilobytes) == 1)
            break;
    }
    if (file != NULL)
        (void)fclose(file);
    return kilobytes == 0 ? UINT64_MAX / 2 : kilobytes * 1024;
}

/* ---- stop ---- */

static void on_drain_over(struct ev_loop *loop, ev_timer *watcher, int events)
{
    (void)watcher, (void)events;
    log_format(LOG_WARN, "event=drain-over after_ms=%d msg=\"what still runs is stopped; its deliveries stay pending\"", DRAIN_MS);
    ev_break(loop, EVBREAK_ALL);
}

static void on_stop(struct ev_loop *loop, ev_signal *watcher, int events)
{
    struct broker *broker = watcher->data;

    (void)events;
    if (broker->stopping) { /* asked twice: at once */
        ev_break(loop, EVBREAK_ALL);
        return;
    }
    log_format(LOG_INFO, "event=stopping signal=%d", watcher->signum);
    broker->stopping = true;
    notify_stopping(&broker->notify);
    broker_read(broker);
    engine_drain(broker->engine, clock_now());
    control_stop(broker->control);
    ev_timer_stop(loop, &broker->start_again); /* nothing is started any more */
    ev_timer_init(&broker->start_again, on_drain_over, DRAIN_MS / 1000., 0.);
    ev_timer_start(loop, &broker->start_again);
}

/* ---- open ---- */

static bool say(const char *what, const struct sluice_error *error)
{
    log_format(LOG_ERROR, "event=%s reason=\"%s\"", what, error->text);
    return false;
}

static void recover_function(void *ctx, const struct function_row *row)
{
    engine_restore_function(ctx, row);
}
static void recover_target(void *ctx, const struct target_row *row)
{
    engine_restore_target(ctx, row);
}
static void recover_queue(void *ctx, const struct queue_state *state)
{
    engine_restore_queue(ctx, state);
}
static void recover_producer(void *ctx, const struct producer_row *row)
{
    engine_restore_producer(ctx, row);
}
static void recover_totals(void *ctx, uint64_t revision, uint64_t next_seq, uint64_t events_total, uint64_t unmatched_total)
{
    engine_restore_totals(ctx, revision, next_seq, events_total, unmatched_total);
}

static void config_release(void *file)
{
    config_file_free(file);
}

static bool open_engine(struct broker *broker)
{
    struct sluice_error error;
    uint64_t seed;

    if (getrandom(&seed, sizeof seed, 0) != (ssize_t)sizeof seed)
        seed = (uint64_t)clock_now().wall_ms;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    struct world world = broker_world(broker);
    broker->engine = engine_new(
        &(struct engine_options){ .seed = seed, .cores = cores < 1 ? 1 : (unsigned)cores, .memory_free_bytes = memory_free() }, &world);
    struct store_recovery recovery = {
        .ctx = broker->engine,
        .on_function = recover_function,
        .on_target = recover_target,
        .on_queue = recover_queue,
        .on_producer = recover_producer,
        .on_totals = recover_totals,
    };
    broker_read(broker);
    if (store_recover(broker->store, &recovery, &error) != SLUICE_OK)
        return say("recovery-failed", &error);
    if (engine_configure_at_once(broker->engine, &broker->config->config, config_release, broker->config, clock_now(), &error) != SLUICE_OK)
        return say("configuration-refused", &error);
    broker->config_taken = true;
    engine_recovered(broker->engine, clock_now());
    broker_read_end(broker);
    return true;
}

/* The token's file was checked with the configuration; its first line is the token. */
static char *token_read(const char *path)
{
    static char token[512];
    FILE *file = path == NULL ? NULL : fopen(path, "re");

    if (file == NULL)
        return NULL;
    if (fgets(token, sizeof token, file) == NULL)
        token[0] = '\0';
    (void)fclose(file);
    token[strcspn(token, "\r\n")] = '\0';
    return token[0] == '\0' ? NULL : token;
}

/* The folder of an ipc socket: made, for us alone, if it is not there. */
static void listener_folder(const char *url)
{
    char folder[512];

    if (strncmp(url, "ipc://", 6) != 0)
        return;
    (void)snprintf(folder, sizeof folder, "%s", url + 6);
    char *slash = strrchr(folder, '/');
    if (slash != NULL && slash != folder) {
        *slash = '\0';
        (void)mkdir(folder, 0700); /* there already: fine; cannot: the listener says so */
    }
}

static const char *bus_url_of_functions(const struct broker *broker)
{
    for (size_t i = 0; broker->listeners[i] != NULL; i++) {
        if (strncmp(broker->listeners[i], "ipc://", 6) == 0)
            return broker->listeners[i];
    }
    return broker->listeners[0];
}

static bool open_edges(struct broker *broker)
{
    struct sluice_error error;
    struct instances_events instance_events = {
        .ctx = broker,
        .on_started = instance_on_started,
        .on_result = instance_on_result,
        .on_exited = instance_on_exited,
        .on_ended = instance_on_ended,
        .on_gone = instance_on_gone,
        .on_spawner_ready = instance_on_spawner_ready,
        .on_line = lambda_line,
    };
    struct bus_events bus_events = {
        .ctx = broker,
        .on_publish = bus_on_publish,
        .on_next = bus_on_next,
        .on_attach = broker_on_attach,
        .on_detach = broker_on_detach,
        .on_lost = broker_on_lost,
        .on_control = bus_on_control,
        .on_gone = bus_on_gone,
    };
    /* The spawner first: nng starts threads. */
    if (instances_new(broker->loop, broker->options.program, broker->data, bus_url_of_functions(broker), &instance_events,
                      &broker->instances, &error) != SLUICE_OK)
        return say("spawner-failed", &error);
    if (!lambda_open(broker, &error))
        return say("runtime-api-failed", &error);
    if (invocations_new(broker->loop, broker->mailbox, broker->instances, broker->data, &broker->invocations, &error) != SLUICE_OK)
        return say("usage-refused", &error);
    invocations_on_report(broker->invocations, lambda_report, broker);
    for (size_t i = 0; broker->listeners[i] != NULL; i++)
        listener_folder(broker->listeners[i]);
    struct bus_options options = { .listeners = (const char *const *)broker->listeners,
                                   .token = token_read(broker->config->config.token_file) };
    if (bus_door_open(broker->mailbox, &options, &bus_events, &broker->bus, &error) != SLUICE_OK)
        return say("bus-failed", &error);
    if (!broker_open_http(broker, &error))
        return say("http-failed", &error);
    return true;
}

static void store_corrupt(void *ctx, const char *text)
{
    (void)ctx;
    log_format(LOG_ERROR, "event=corrupt msg=\"%s\"", text);
}

static void choose_listeners(struct broker *broker)
{
    const char *const *configured = broker->config->config.bus_listeners;
    char fallback[512];
    size_t count = 0;

    for (; configured != NULL && configured[count] != NULL && count < CONFIG_LISTENERS_MAX; count++)
        broker->listeners[count] = strdup(configured[count]);
    if (count == 0) {
        (void)address_default(fallback, sizeof fallback);
        broker->listeners[count++] = strdup(fallback);
    }
    for (size_t i = 0; i < count; i++)
        ASSERT(broker->listeners[i] != NULL);
}

bool broker_open(struct broker *broker, const struct broker_options *options)
{
    struct sluice_error error;

    *broker = (struct broker){ .options = *options, .started = clock_now() };
    list_init(&broker->consumers_all);
    notify_open(&broker->notify);
    broker->config = config_file_load(options->config_path, options->runtimes, stderr, NULL);
    if (broker->config == NULL)
        return false;
    const char *data = options->data != NULL ? options->data : broker->config->config.data;
    if (data == NULL) {
        log_format(LOG_ERROR, "event=no-data-directory msg=\"say where events are kept: --data DIR, or data: in the configuration\"");
        return false;
    }
    (void)snprintf(broker->data, sizeof broker->data, "%s", data);
    choose_listeners(broker);
    broker->loop = ev_default_loop(EVFLAG_AUTO | EVFLAG_NOSIGMASK);
    ASSERT(broker->loop != NULL);
    broker->mailbox = mailbox_new(broker->loop);
    broker->committed.deliver = broker_committed;
    struct store_options store_options = { .on_corrupt = store_corrupt, .on_corrupt_ctx = broker };
    if (store_open(broker->data, &store_options, &broker->store, &error) != SLUICE_OK)
        return say("store-refused", &error);
    broker->control = control_new(broker);
    broker->rule_index = rule_index_new(broker);
    broker->reload = reload_new(broker);
    rule_index_tidy(broker);
    ev_timer_init(&broker->wake, on_wake, 0., 0.);
    ev_timer_init(&broker->start_again, on_start_again, 0., 0.);
    broker->wake.data = broker->start_again.data = broker;
    return open_engine(broker) && open_edges(broker);
}

static void watch_signal(struct broker *broker, ev_signal *watcher, int number, void (*handler)(struct ev_loop *, ev_signal *, int))
{
    ev_signal_init(watcher, handler, number);
    watcher->data = broker;
    ev_signal_start(broker->loop, watcher);
}

/* The turn that follows says that we live; without work there would be none. */
static void on_watchdog(struct ev_loop *loop, ev_timer *watcher, int events)
{
    (void)loop, (void)watcher, (void)events;
}

static void watch_watchdog(struct broker *broker)
{
    double wake_s = notify_wake_s(&broker->notify);

    if (wake_s == 0)
        return;
    ev_timer_init(&broker->watchdog, on_watchdog, wake_s, wake_s);
    ev_timer_start(broker->loop, &broker->watchdog);
}

int broker_run(struct broker *broker)
{
    struct engine_totals totals;

    (void)signal(SIGPIPE, SIG_IGN);
    /* Nobody cancels this thread. The C library, not told so, makes ready for it around every read and send: two atomic operations a call. */
    (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    /* NOLINTNEXTLINE(cert-pos47-c): it never takes effect, the line above sees to that */
    (void)pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
    watch_signal(broker, &broker->term, SIGTERM, on_stop);
    watch_signal(broker, &broker->interrupt, SIGINT, on_stop);
    ev_prepare_init(&broker->turn, on_prepare);
    broker->turn.data = broker;
    ev_prepare_start(broker->loop, &broker->turn);
    reload_watch(broker->reload);
    watch_watchdog(broker);
    broker_read(broker);
    engine_totals(broker->engine, &totals);
    broker_read_end(broker);
    char line[1024];
    int len = snprintf(line, sizeof line, "ready pid=%d bus=%s http=%s pending=%llu recovered_ms=%lld\n", (int)getpid(), broker->listeners[0], broker->http[0] == '\0' ? "-" : broker->http,
                       (unsigned long long)totals.pending,
                       (long long)((clock_now().mono.us - broker->started.mono.us) / 1000));
    (void)!write(STDERR_FILENO, line, (size_t)len);
    notify_ready(&broker->notify, "%u functions, %u rules", broker->config->config.functions_count, broker->config->config.rules_count);
    ev_run(broker->loop, 0);
    return broker->fatal ? 1 : 0;
}

void broker_close(struct broker *broker)
{
    if (broker->bus != NULL)
        bus_door_close(broker->bus);
    api_close(broker->api);
    invocations_free(broker->invocations);
    instances_free(broker->instances);
    lambda_close(broker);
    broker_read_end(broker);
    control_free(broker->control); /* a worker may still read the store */
    store_close(broker->store);
    rule_index_free(broker->rule_index);
    reload_free(broker->reload);
    engine_free(broker->engine);
    mailbox_free(broker->mailbox);
    if (!broker->config_taken)
        config_file_free(broker->config);
    for (size_t i = 0; broker->listeners[i] != NULL; i++)
        free(broker->listeners[i]);
    VEC_DONE(&broker->publishes);
    VEC_DONE(&broker->parked);
    VEC_DONE(&broker->leaving);
    broker_consumers_done(broker);
    VEC_DONE(&broker->inputs);
    bytes_done(&broker->handover);
    bytes_done(&broker->invocation_log);
    if (!broker->fatal && broker->store != NULL)
        log_format(LOG_INFO, "event=stopped");
    notify_close(&broker->notify);
    if (broker->loop != NULL)
        ev_loop_destroy(broker->loop);
}
