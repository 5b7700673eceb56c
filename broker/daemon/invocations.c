#include "broker/daemon/invocations.h"

#include <stdio.h>
#include <stdlib.h>

#include "broker/base/assert.h"
#include "broker/base/map.h"
#include "broker/base/vec.h"
#include "broker/daemon/worker.h"
#include "broker/edge/log.h"
#include "broker/edge/report.h"

/* What a Lambda function without `memory` is told that it has: AWS_LAMBDA_FUNCTION_MEMORY_SIZE says 128. */
#define LAMBDA_MEMORY_BYTES (INT64_C(128) << 20)

enum { ERROR_TYPE_KEPT_BYTES = 64, OPEN_COMPACT_COUNT = 256 };

struct invocation {
    uint64_t lease;
    unsigned left;                   /* deliveries without a result */
    bool failed, reported;
    int64_t begun_us;                /* mono */
    int64_t shared_us, shared_at_us; /* billed to others that began later and have ended, while covered_until_us was shared_at_us */
    int64_t timeout_ms;              /* it has had so long; 0: it was in time */
    char error_type[ERROR_TYPE_KEPT_BYTES + 1];
    char request_id[UUID_TEXT_LEN + 1];
};

struct runner {                      /* one instance; there are thousands that wait: no holes */
    uint64_t instance;
    uint32_t function;               /* in usage */
    uint32_t timeout_ms;             /* the function's, when it was started: CONFIG_TIMEOUT_MS_MAX is less */
    uint32_t open_at;                /* of `open`, its first */
    enum function_protocol protocol : 8;
    enum function_runtime runtime : 8;
    enum log_format format : 8;
    bool reports, ready;
    bool ended;                      /* its end was told */
    bool exited;                     /* stdio: its process has, at `exit_us` */
    bool provisioned, repeats_init;  /* as instance_info */
    bool init_over;                  /* failed, and told; or it was told to end before */
    bool cold;                       /* its init is not billed yet */
    int64_t memory_limit_bytes;
    int64_t started_us, init_us;     /* init once it is ready */
    int64_t covered_until_us;        /* end of the last invocation that was the oldest: since the begin of each open one it is billed to here */
    int64_t exit_us;
    int64_t memory_bytes, memory_looked_us; /* the last peak, and when */
    struct capture *capture;
    VEC(struct invocation) open;     /* from open_at, oldest first */
};

struct invocations {
    struct ev_loop *loop;
    struct instances *instances;
    struct map runners;              /* instance -> struct runner * */
    struct usage *usage;
    struct worker saver;
    struct ev_timer save_soon;
    struct bytes line;               /* what was written last */
    struct {                         /* what ended last: an invocation, or an init that failed, or both */
        uint64_t instance;
        enum log_format format;
        struct report_init_end init; /* duration_us -1: it was none */
        struct report report;        /* of the invocation of request_id; "": it was none */
        int64_t begun_us;            /* mono: it */
        char request_id[UUID_TEXT_LEN + 1], error_type[ERROR_TYPE_KEPT_BYTES + 1];
    } last;
    void (*on_report)(void *ctx, uint64_t instance, const struct report *report);
    void *on_report_ctx;
};

static struct runner *runner_find(const struct invocations *invocations, uint64_t instance)
{
    uint64_t found;

    return map_get(&invocations->runners, instance, &found) ? (struct runner *)(uintptr_t)found : NULL;
}

static void runner_free(struct runner *runner)
{
    if (runner->capture != NULL)
        capture_close(runner->capture);
    VEC_DONE(&runner->open);
    free(runner);
}

/* ---- saving the usage ---- */

static void save_work(void *ctx)
{
    usage_save_work(((struct invocations *)ctx)->usage);
}

static void save_later(struct invocations *invocations)
{
    if (!ev_is_active(&invocations->save_soon) && !invocations->saver.running && usage_unsaved(invocations->usage)) {
        ev_timer_set(&invocations->save_soon, USAGE_SAVE_MS / 1000., 0.);
        ev_timer_start(invocations->loop, &invocations->save_soon);
    }
}

static void save_end(struct invocations *invocations)
{
    struct sluice_error error;

    if (usage_save_done(invocations->usage, &error) != SLUICE_OK)
        log_format(LOG_ERROR, "event=usage-not-saved reason=\"%s\" msg=\"tried again; the balance does not depend on it\"", error.text);
}

static void save_done(void *ctx)
{
    save_end(ctx);
    save_later(ctx);
}

static void save_here(struct invocations *invocations)
{
    if (usage_save_begin(invocations->usage)) {
        save_work(invocations);
        save_end(invocations);
    }
}

static void on_save_soon(struct ev_loop *loop, struct ev_timer *watcher, int events)
{
    struct invocations *invocations = watcher->data;

    (void)loop, (void)events;
    if (!usage_save_begin(invocations->usage))
        return;
    if (worker_begin(&invocations->saver))
        return;
    usage_save_work(invocations->usage); /* no thread is to be had: then the loop waits for the disk this once */
    save_done(invocations);
}

/* ---- what is written ---- */

static struct report_log log_of(struct invocations *invocations, const struct runner *runner)
{
    return (struct report_log){ .capture = runner->capture, .instance = runner->instance, .format = runner->format, .text = &invocations->line };
}

static struct report_init init_of(const struct invocations *invocations, const struct runner *runner)
{
    return (struct report_init){ .function = usage_function_name(invocations->usage, runner->function), .runtime = runner->runtime,
                                 .provisioned = runner->provisioned, .again = runner->repeats_init };
}

static void begin_write(struct invocations *invocations, const struct runner *runner, const char *request_id)
{
    struct report_log log = log_of(invocations, runner);

    report_begin(&log, request_id);
}

static void end_write(struct invocations *invocations, const struct runner *runner, const struct report *report)
{
    struct report_log log = log_of(invocations, runner);

    report_end(&log, report);
}

static void last_is_of(struct invocations *invocations, const struct runner *runner)
{
    if (invocations->last.instance != runner->instance || runner->ready)
        invocations->last.init.duration_us = -1;
    invocations->last.instance = runner->instance;
    invocations->last.format = runner->format;
    invocations->last.request_id[0] = '\0';
}

static void last_report_set(struct invocations *invocations, const struct runner *runner, const struct report *report, int64_t begun_us)
{
    last_is_of(invocations, runner);
    invocations->last.report = *report;
    invocations->last.begun_us = begun_us;
    memcpy(invocations->last.request_id, report->request_id, sizeof invocations->last.request_id);
    ASSERT(report->error_type.len < sizeof invocations->last.error_type); /* it is one of an invocation's */
    memmove(invocations->last.error_type, report->error_type.data, report->error_type.len);
    invocations->last.report.request_id = invocations->last.request_id;
    invocations->last.report.error_type.data = invocations->last.error_type;
}

static void last_init_set(struct invocations *invocations, const struct runner *runner, const struct report_init_end *end)
{
    struct view type = end->error_type;

    last_is_of(invocations, runner);
    if (type.len >= sizeof invocations->last.error_type)
        type.len = sizeof invocations->last.error_type - 1;
    if (type.len > 0)
        memcpy(invocations->last.error_type, type.data, type.len);
    invocations->last.init = *end;
    invocations->last.init.error_type = (struct view){ invocations->last.error_type, type.len };
}

/* ---- one invocation's end ---- */

static int64_t memory_look(struct invocations *invocations, struct runner *runner, int64_t now_us)
{
    int64_t every_us = (runner->reports ? INVOCATIONS_LOOK_REPORTED_MS : INVOCATIONS_LOOK_SUMMED_MS) * INT64_C(1000);

    if (runner->memory_bytes > 0 && now_us - runner->memory_looked_us < every_us)
        return runner->memory_bytes;
    int64_t peak = instances_memory_peak(invocations->instances, runner->instance);
    runner->memory_looked_us = now_us;
    if (peak > 0)
        runner->memory_bytes = peak;
    return runner->memory_bytes;
}

/* ---- what several at once are billed ----
 * The time during which one or more ran, each moment of it once, to who was the first to end of those that ran: what all are billed is what the
 * instance was busy. Open ones are in the order of their begins. When one ends, all since its begin is billed: for who began later that is all its
 * time so far; for who began earlier it is more of it, by what the one that ended is billed. Mostly the oldest ends, and only covered_until_us moves. */

static int64_t free_from(const struct runner *runner, const struct invocation *invocation)
{
    return invocation->begun_us > runner->covered_until_us ? invocation->begun_us : runner->covered_until_us;
}

static int64_t billed_of(const struct runner *runner, const struct invocation *invocation, int64_t now_us)
{
    int64_t shared_us = invocation->shared_at_us == runner->covered_until_us ? invocation->shared_us : 0;
    int64_t billed_us = now_us - free_from(runner, invocation) - shared_us;

    return billed_us > 0 ? billed_us : 0;
}

static void bill(struct runner *runner, size_t at, int64_t now_us)
{
    struct invocation *items = runner->open.items;
    int64_t billed_us = billed_of(runner, &items[at], now_us);

    if (at == runner->open_at) {
        runner->covered_until_us = now_us;
        return;
    }
    for (size_t i = runner->open_at; i < runner->open.count; i++) {
        struct invocation *other = &items[i];
        if (i > at)
            other->shared_us = now_us - free_from(runner, other);
        else if (other->shared_at_us != runner->covered_until_us)
            other->shared_us = billed_us;
        else
            other->shared_us += billed_us;
        other->shared_at_us = runner->covered_until_us;
    }
}

static struct report report_of(struct runner *runner, const struct invocation *invocation, int64_t now_us, int64_t memory_bytes)
{
    /* What was begun behind others (lines of a pipe, deliveries that a native function asked for ahead) runs when they have ended; what a Lambda
     * function has at once runs at once. */
    int64_t from_us = runner->protocol == PROTOCOL_LAMBDA ? invocation->begun_us : free_from(runner, invocation);
    int64_t timeout_us = invocation->timeout_ms * 1000;

    if (timeout_us > 0 && now_us + 1000 > from_us + timeout_us && runner->protocol != PROTOCOL_STDIO_LINES) /* of which each line has its time */
        now_us = from_us + timeout_us; /* what comes on top is our being late, and up to a millisecond less is how the engine counts */
    if (now_us < from_us)
        now_us = from_us;
    return (struct report){
        .request_id = invocation->request_id,
        .duration_us = now_us - from_us,
        .billed_us = billed_of(runner, invocation, now_us),
        .init_us = runner->cold ? runner->init_us : -1,
        .memory_limit_bytes = runner->memory_limit_bytes,
        .memory_used_bytes = memory_bytes,
        .status = !invocation->failed ? REPORT_SUCCESS : invocation->timeout_ms > 0 ? REPORT_TIMEOUT : REPORT_ERROR,
        .error_type = view_of(invocation->error_type),
        .timeout_ms = invocation->timeout_ms,
    };
}

/* What stands in the log is billed as it stands there. What does not is summed to the microsecond: where thousands of small invocations
 * run in a millisecond, a millisecond for each would be a bill for others' time. */
static struct usage_sums sums_of(const struct report *report, bool reported)
{
    int64_t init_us = report->init_us > 0 ? report->init_us : 0;
    int64_t billed_us = reported ? report_billed_ms(report) * 1000 : report->billed_us + init_us;

    return (struct usage_sums){
        .invocations = 1,
        .failures = report->status != REPORT_SUCCESS,
        .duration_us = (uint64_t)report->duration_us,
        .billed_us = (uint64_t)billed_us,
        .memory_mib_us = (uint64_t)billed_us * (uint64_t)report_memory_size_mib(report),
        .memory_peak_bytes = (uint64_t)report->memory_used_bytes,
        .cold_starts = report->init_us >= 0,
        .init_us = (uint64_t)init_us,
    };
}

/* Its index; open.count: it is none of them. */
static size_t open_find(const struct runner *runner, uint64_t lease)
{
    size_t at = runner->open_at;

    while (at < runner->open.count && runner->open.items[at].lease != lease)
        at++;
    return at;
}

/* Mostly the oldest: then nothing is moved but the beginning. */
static void open_remove(struct runner *runner, size_t at)
{
    struct invocation *items = runner->open.items;

    if (at > runner->open_at) {
        runner->open.count--;
        memmove(items + at, items + at + 1, (runner->open.count - at) * sizeof *items);
    } else if (++runner->open_at == runner->open.count) {
        runner->open.count = runner->open_at = 0;
    } else if (runner->open_at >= OPEN_COMPACT_COUNT && runner->open_at >= runner->open.count / 2) {
        runner->open.count -= runner->open_at;
        memmove(items, items + runner->open_at, runner->open.count * sizeof *items);
        runner->open_at = 0;
    }
}

/* `at` is an index into its open ones, which then is another's. */
static void invocation_close(struct invocations *invocations, struct runner *runner, size_t at, struct now now, int64_t memory_bytes)
{
    struct invocation *invocation = &runner->open.items[at];
    struct report report = report_of(runner, invocation, now.mono.us, memory_bytes);
    struct usage_sums sums = sums_of(&report, invocation->reported);

    if (invocation->reported)
        end_write(invocations, runner, &report);
    if (invocation->request_id[0] != '\0') {
        last_report_set(invocations, runner, &report, invocation->begun_us);
        if (invocations->on_report != NULL)
            invocations->on_report(invocations->on_report_ctx, runner->instance, &report);
    }
    usage_add(invocations->usage, runner->function, now.wall_ms, &sums);
    runner->cold = false;
    bill(runner, at, now.mono.us);
    open_remove(runner, at);
    save_later(invocations);
}

static void invocation_fail(struct invocation *invocation, struct view error_type)
{
    if (!invocation->failed)
        (void)snprintf(invocation->error_type, sizeof invocation->error_type, "%.*s",
                       error_type.len < ERROR_TYPE_KEPT_BYTES ? (int)error_type.len : ERROR_TYPE_KEPT_BYTES, error_type.data);
    invocation->failed = true;
}

/* ---- the interface ---- */

void invocations_started(struct invocations *invocations, uint64_t instance, const struct config_function *function, const struct instance_info *info)
{
    struct runner *runner = calloc(1, sizeof *runner);

    ASSERT(runner != NULL);
    bool told = function->memory_bytes == 0 && function->protocol == PROTOCOL_LAMBDA;
    *runner = (struct runner){ .instance = instance, .protocol = function->protocol, .runtime = function->runtime,
                               .provisioned = info->provisioned, .repeats_init = info->repeats_init,
                               .memory_limit_bytes = told ? LAMBDA_MEMORY_BYTES : function->memory_bytes, .timeout_ms = (uint32_t)function->timeout_ms,
                               .reports = function->report, .format = function->log_format, .cold = true, .started_us = clock_now().mono.us };
    runner->function = usage_function(invocations->usage, function->name);
    runner->capture = capture_open(instances_captures(invocations->instances), function->name);
    ASSERT(runner->capture != NULL);
    map_put(&invocations->runners, instance, (uint64_t)(uintptr_t)runner);
    if (!runner->reports || runner->protocol != PROTOCOL_LAMBDA)
        return;
    struct report_log log = log_of(invocations, runner);
    struct report_init init = init_of(invocations, runner);
    report_init_start(&log, &init);
}

void invocations_init_failed(struct invocations *invocations, uint64_t instance, enum report_status status, struct view error_type)
{
    struct runner *runner = runner_find(invocations, instance);

    if (runner == NULL || runner->ready || runner->init_over || runner->protocol != PROTOCOL_LAMBDA)
        return;
    struct report_init_end end = { .status = status, .error_type = error_type, .duration_us = clock_now().mono.us - runner->started_us };
    runner->init_over = true;
    last_init_set(invocations, runner, &end);
    if (!runner->reports)
        return;
    struct report_log log = log_of(invocations, runner);
    struct report_init init = init_of(invocations, runner);
    report_init_failed(&log, &init, &end);
}

/* Nothing of another instance ended in between. As on Lambda, what the init took is the invocation's, and on its bill. */
void invocations_start_failed(struct invocations *invocations, uint64_t instance, const char *request_id)
{
    struct runner *runner = runner_find(invocations, instance);
    const struct report_init_end *end = &invocations->last.init;

    if (runner == NULL || !runner->init_over || invocations->last.instance != instance || end->duration_us < 0)
        return;
    struct now now = clock_now();
    struct report report = { .request_id = request_id, .duration_us = end->duration_us, .billed_us = end->duration_us, .init_us = -1, .memory_limit_bytes = runner->memory_limit_bytes,
                             .memory_used_bytes = memory_look(invocations, runner, now.mono.us), .status = end->status, .error_type = end->error_type,
                             .timeout_ms = runner->timeout_ms };
    struct usage_sums sums = sums_of(&report, runner->reports);
    if (runner->reports) {
        begin_write(invocations, runner, request_id);
        end_write(invocations, runner, &report);
    }
    last_report_set(invocations, runner, &report, now.mono.us);
    usage_add(invocations->usage, runner->function, now.wall_ms, &sums);
    save_later(invocations);
}

void invocations_stopped(struct invocations *invocations, uint64_t instance)
{
    struct runner *runner = runner_find(invocations, instance);

    if (runner != NULL)
        runner->init_over = true;
}

void invocations_ready(struct invocations *invocations, uint64_t instance)
{
    struct runner *runner = runner_find(invocations, instance);

    if (runner == NULL || runner->ready)
        return;
    int64_t now_us = clock_now().mono.us;
    runner->ready = true;
    runner->init_us = now_us - runner->started_us;
    for (size_t i = runner->open_at; i < runner->open.count; i++) { /* handed over while it was being started */
        runner->open.items[i].begun_us = now_us;
        if (runner->open.items[i].reported)
            begin_write(invocations, runner, runner->open.items[i].request_id);
    }
}

bool invocations_reported(const struct invocations *invocations, uint64_t instance)
{
    const struct runner *runner = runner_find(invocations, instance);

    return runner != NULL && (runner->reports || runner->protocol == PROTOCOL_LAMBDA); /* whose subscribers are told of it all the same */
}

void invocations_begin(struct invocations *invocations, uint64_t instance, uint64_t lease, unsigned count, const char *request_id)
{
    struct runner *runner = runner_find(invocations, instance);
    struct invocation *invocation;

    ASSERT(count > 0);
    if (runner == NULL)
        return;
    VEC_ROOM(&runner->open, runner->open.count + 1);
    invocation = &runner->open.items[runner->open.count++];
    invocation->lease = lease;
    invocation->left = count;
    invocation->failed = false;
    invocation->reported = runner->reports && request_id != NULL;
    invocation->begun_us = clock_now().mono.us;
    invocation->shared_us = invocation->shared_at_us = 0;
    invocation->timeout_ms = 0;
    invocation->error_type[0] = '\0';
    invocation->request_id[0] = '\0';
    if (request_id != NULL) {
        size_t id_len = strlen(request_id);
        ASSERT(id_len < sizeof invocation->request_id);
        memcpy(invocation->request_id, request_id, id_len + 1);
    }
    if (invocation->reported && runner->ready)
        begin_write(invocations, runner, request_id);
}

void invocations_end(struct invocations *invocations, uint64_t instance, uint64_t lease, unsigned count, struct view error_type, struct now now)
{
    struct runner *runner = runner_find(invocations, instance);

    if (runner == NULL)
        return;
    size_t at = open_find(runner, lease);
    if (at == runner->open.count)
        return;
    struct invocation *invocation = &runner->open.items[at];
    if (error_type.data != NULL)
        invocation_fail(invocation, error_type);
    invocation->left -= count < invocation->left ? count : invocation->left;
    if (invocation->left > 0 || (runner->protocol == PROTOCOL_STDIO && !runner->exited))
        return;
    if (runner->exited) {
        now.mono.us = runner->exit_us;
        invocation_close(invocations, runner, at, now, runner->memory_bytes);
        return;
    }
    invocation_close(invocations, runner, at, now, memory_look(invocations, runner, now.mono.us));
}

void invocations_timed_out(struct invocations *invocations, uint64_t instance, uint64_t lease, int64_t timeout_ms)
{
    struct runner *runner = runner_find(invocations, instance);

    if (runner == NULL)
        return;
    size_t at = open_find(runner, lease);
    if (at == runner->open.count)
        return;
    invocation_fail(&runner->open.items[at], VIEW_LITERAL("Sandbox.Timedout"));
    runner->open.items[at].timeout_ms = timeout_ms;
    if (!runner->ready) /* it has run nothing; if it does before the kill comes, its end says why */
        return;
    struct now now = clock_now();
    invocation_close(invocations, runner, at, now, memory_look(invocations, runner, now.mono.us));
}

void invocations_exited(struct invocations *invocations, uint64_t instance, const struct instance_end *end)
{
    struct runner *runner = runner_find(invocations, instance);

    if (runner == NULL || !runner->ready || runner->protocol != PROTOCOL_STDIO)
        return;
    runner->exited = true;
    runner->exit_us = clock_now().mono.us;
    if (end->memory_peak_bytes > 0)
        runner->memory_bytes = end->memory_peak_bytes;
    if (end->exec_us == 0)
        return;
    runner->exit_us = end->exit_us;
    runner->init_us = end->exec_us > runner->started_us ? end->exec_us - runner->started_us : 0;
    for (size_t i = runner->open_at; i < runner->open.count; i++)
        runner->open.items[i].begun_us = end->exec_us;
}

static void runner_ended(struct invocations *invocations, struct runner *runner, const struct instance_end *end)
{
    struct now now = clock_now();

    if (runner->exited)
        now.mono.us = runner->exit_us;
    if (end->out_of_memory)
        log_format(LOG_WARN, "function=%s event=out-of-memory instance=%llu limit_bytes=%lld action=killed",
                   usage_function_name(invocations->usage, runner->function), (unsigned long long)runner->instance,
                   (long long)runner->memory_limit_bytes);
    if (end->reason != END_SPAWNER_LOST)
        invocations_init_failed(invocations, runner->instance, REPORT_ERROR,
                                end->reason == END_SPAWN_FAILED ? VIEW_LITERAL("Runtime.InvalidEntrypoint") : VIEW_LITERAL("Runtime.ExitError"));
    int64_t memory_bytes = end->memory_peak_bytes > 0 ? end->memory_peak_bytes : runner->memory_bytes;
    while (runner->ready && runner->open.count > 0) {
        struct invocation *oldest = &runner->open.items[runner->open_at];
        if (oldest->left > 0)
            invocation_fail(oldest, VIEW_LITERAL("Runtime.ExitError"));
        invocation_close(invocations, runner, runner->open_at, now, memory_bytes);
    }
    runner->memory_bytes = memory_bytes;
    runner->ended = true;
}

void invocations_ended(struct invocations *invocations, uint64_t instance, const struct instance_end *end)
{
    struct runner *runner = runner_find(invocations, instance);

    if (runner != NULL && !runner->ended)
        runner_ended(invocations, runner, end);
}

void invocations_gone(struct invocations *invocations, uint64_t instance)
{
    struct runner *runner = runner_find(invocations, instance);

    if (runner == NULL)
        return;
    (void)map_remove(&invocations->runners, instance, NULL);
    runner_free(runner);
}

void invocations_on_report(struct invocations *invocations, void (*on_report)(void *ctx, uint64_t instance, const struct report *report), void *ctx)
{
    invocations->on_report = on_report;
    invocations->on_report_ctx = ctx;
}

static void put_output(struct bytes *out, struct view output)
{
    bytes_put_view(out, output);
    if (output.len > 0 && output.data[output.len - 1] != '\n')
        bytes_put_char(out, '\n');
}

void invocations_put_start_log(const struct invocations *invocations, uint64_t instance, const char *request_id, struct view output, struct bytes *out)
{
    const struct runner *runner = runner_find(invocations, instance);
    bool init = runner != NULL && invocations->last.instance == instance && strcmp(invocations->last.request_id, request_id) == 0;

    if (!init) { /* it could not be started at all */
        invocations_put_log(invocations, instance, request_id, output, out);
        return;
    }
    struct report_init of = init_of(invocations, runner);
    put_output(out, output);
    report_put_init_failed(out, runner->format, &of, &invocations->last.init);
    report_put_begin(out, runner->format, request_id, clock_now().wall_ms);
    report_put_end(out, runner->format, request_id, &invocations->last.report);
}

void invocations_put_log(const struct invocations *invocations, uint64_t instance, const char *request_id, struct view output, struct bytes *out)
{
    const struct runner *runner = runner_find(invocations, instance);
    bool last = instance != 0 && invocations->last.instance == instance;
    enum log_format format = last ? invocations->last.format : runner != NULL ? runner->format : LOG_FORMAT_TEXT;

    bool ended = last && strcmp(invocations->last.request_id, request_id) == 0;
    struct now now = clock_now();
    int64_t ago_ms = ended ? (now.mono.us - invocations->last.begun_us + 999) / 1000 : 0; /* rounded up: START is not later than what follows it */
    report_put_begin(out, format, request_id, now.wall_ms - ago_ms);
    put_output(out, output);
    report_put_end(out, format, request_id, ended ? &invocations->last.report : NULL);
}

const struct usage *invocations_usage(const struct invocations *invocations)
{
    return invocations->usage;
}

enum sluice_err invocations_new(struct ev_loop *loop, struct mailbox *mailbox, struct instances *instances, const char *data,
                                struct invocations **ret_invocations, struct sluice_error *reterr)
{
    struct invocations *invocations = calloc(1, sizeof *invocations);

    if (invocations == NULL)
        return sluice_fail(reterr, SLUICE_ENOMEM, "out of memory for invocations");
    enum sluice_err err = usage_open(data, clock_now().wall_ms, &invocations->usage, reterr);
    if (err != SLUICE_OK) {
        free(invocations);
        return err;
    }
    invocations->last.init.duration_us = -1;
    invocations->loop = loop;
    invocations->instances = instances;
    worker_init(&invocations->saver, mailbox, save_work, save_done, invocations);
    ev_timer_init(&invocations->save_soon, on_save_soon, 0., 0.);
    invocations->save_soon.data = invocations;
    *ret_invocations = invocations;
    return SLUICE_OK;
}

void invocations_free(struct invocations *invocations)
{
    if (invocations == NULL)
        return;
    ev_timer_stop(invocations->loop, &invocations->save_soon);
    if (invocations->saver.running) {
        worker_stop(&invocations->saver);
        save_end(invocations);
    }
    for (unsigned day = 0; day < 2; day++) /* the one that is over, if it was not saved, and the present one */
        save_here(invocations);
    for (size_t i = 0; i < invocations->runners.capacity; i++) {
        struct map_slot slot = invocations->runners.slots[i];
        if (slot.key != UINT64_MAX)
            runner_free((struct runner *)(uintptr_t)slot.value);
    }
    map_done(&invocations->runners);
    bytes_done(&invocations->line);
    usage_free(invocations->usage);
    free(invocations);
}
