/* hands.c - what the engine can do and see: the store behind struct reader, processes and answers behind struct world. */
#include "broker/daemon/broker.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "broker/base/assert.h"
#include "broker/core/input.h"
#include "broker/daemon/control.h"
#include "broker/daemon/lambda.h"
#include "broker/daemon/rule_index.h"
#include "broker/edge/log.h"
#include "schemas/codec/json.h"

enum { START_AGAIN_MS = 5, START_REFUSED_MS = 1000 };

static bool read_batch_after(void *ctx, uint32_t function, uint64_t after, struct batch_row *ret_row)
{
    return store_batch_after(((struct broker *)ctx)->store, function, after, ret_row);
}
static bool read_batch_at(void *ctx, uint32_t function, uint64_t at_most, struct batch_row *ret_row)
{
    return store_batch_at(((struct broker *)ctx)->store, function, at_most, ret_row);
}
static enum sluice_err read_event(void *ctx, uint64_t seq, struct stored_event *ret_event)
{
    return store_event(((struct broker *)ctx)->store, seq, ret_event);
}
static bool read_record_after(void *ctx, uint64_t after, struct record *ret_record)
{
    return store_record_after(((struct broker *)ctx)->store, after, ret_record);
}
static bool read_due_after(void *ctx, uint32_t function, struct due_key after, struct due_key *ret_key)
{
    return store_due_after(((struct broker *)ctx)->store, function, after, ret_key);
}
static enum sluice_err read_exception(void *ctx, enum exception_table table, uint32_t function, struct delivery delivery,
                                      struct exception *ret_row)
{
    return store_exception(((struct broker *)ctx)->store, table, function, delivery, ret_row);
}
static bool read_exception_after(void *ctx, enum exception_table table, uint32_t function, struct delivery after, struct exception *ret_row)
{
    return store_exception_after(((struct broker *)ctx)->store, table, function, after, ret_row);
}

struct reader broker_reader(struct broker *broker)
{
    return (struct reader){
        .ctx = broker,
        .batch_after = read_batch_after,
        .batch_at = read_batch_at,
        .batch_run = batch_row_run,
        .event = read_event,
        .record_after = read_record_after,
        .due_after = read_due_after,
        .exception = read_exception,
        .exception_after = read_exception_after,
    };
}

static void world_publish_answered(void *ctx, uint64_t reply, const struct publish_answer *answer)
{
    struct broker *broker = ctx;

    if ((reply & API_HANDLE_BIT) != 0)
        api_publish_answered(broker->api, reply, answer);
    else if ((reply & CONTROL_HANDLE_BIT) != 0)
        control_publish_answered(broker->control, reply, answer);
    else
        bus_answer_publish(broker->bus, reply, answer);
}

/* The invocation's own log, as far as the instance has done one at a time: START, its lines, END and REPORT. Of one whose start failed, that one's. */
static struct view invocation_log(struct broker *broker, const struct api_invocation *invocation, const struct invoke_answer *answer)
{
    struct bytes *log = &broker->invocation_log;
    uint64_t instance = answer->instance != 0 ? answer->instance : answer->start;
    struct view output = broker->gone == instance ? broker->gone_log : instances_log(broker->instances, instance);

    bytes_clear(log);
    if (answer->instance != 0)
        invocations_put_log(broker->invocations, instance, invocation->request_id, output, log);
    else
        invocations_put_start_log(broker->invocations, instance, invocation->request_id, output, log);
    return log->failed ? (struct view){ 0 } : bytes_view(log);
}

static const struct api_invocation *invocation_find(const struct broker *broker, uint64_t invoke)
{
    return (invoke & API_HANDLE_BIT) != 0 ? api_invocation_find(broker->api, invoke) : control_invocation(broker->control, invoke);
}

static void world_invoke_answered(void *ctx, uint64_t invoke, const struct invoke_answer *answer)
{
    struct broker *broker = ctx;
    const struct api_invocation *invocation = (answer->instance | answer->start) == 0 ? NULL : invocation_find(broker, invoke);

    if (invocation != NULL && answer->start != 0)
        invocations_start_failed(broker->invocations, answer->start, invocation->request_id);
    struct view log = invocation == NULL || !invocation->tail ? (struct view){ 0 } : invocation_log(broker, invocation, answer);
    if ((invoke & API_HANDLE_BIT) != 0)
        api_invoke_answered(broker->api, invoke, answer, log);
    else
        control_invoke_answered(broker->control, invoke, answer, log);
}

static void world_invoke(void *ctx, uint64_t instance, uint64_t lease, int64_t deadline_ms, uint64_t invoke)
{
    struct broker *broker = ctx;
    const struct api_invocation *invocation = invocation_find(broker, invoke);
    enum function_protocol protocol;

    ASSERT(invocation != NULL); /* one whose caller is gone was cancelled, and is not handed over */
    invocations_begin(broker->invocations, instance, lease, 1, invocation->request_id);
    if (invocation->tail)
        instances_log_begin(broker->instances, instance);
    if (engine_instance_protocol(broker->engine, instance, &protocol) && protocol == PROTOCOL_LAMBDA) {
        lambda_invoke(broker, instance, lease, deadline_ms, invocation);
        return;
    }
    bytes_clear(&broker->handover);
    json_put_line(&broker->handover, invocation->payload);
    instances_invoke(broker->instances, instance, lease, bytes_view(&broker->handover));
}

static bool world_start(void *ctx, uint64_t instance, const struct config_function *function)
{
    struct broker *broker = ctx;
    struct sluice_error error;
    enum sluice_err err = function->protocol == PROTOCOL_LAMBDA ? lambda_start(broker, instance, function, &error)
                                                                : instances_start(broker->instances, instance, function, NULL, &error);

    if (err == SLUICE_OK) {
        struct instance_info info = { 0 };
        uint32_t id;
        (void)engine_instance_find(broker->engine, instance, &id, &info); /* it has just named it */
        invocations_started(broker->invocations, instance, function, &info);
        return true;
    }
    if (err == SLUICE_EUNAVAILABLE)
        return false; /* until the spawner is ready */
    /* The spawner has enough to do: come back in a moment. What else it is, nobody says when it is over, and until then nothing is started for
     * any function: it is looked at again, too. */
    broker->start_again.repeat = err == SLUICE_ELIMIT ? START_AGAIN_MS / 1000. : START_REFUSED_MS / 1000.;
    ev_timer_again(broker->loop, &broker->start_again);
    if (err != SLUICE_ELIMIT)
        log_format(LOG_ERROR, "function=%s event=start-refused reason=\"%s\" again_ms=%d", function->name, error.text, START_REFUSED_MS);
    return false;
}

/* What a text template made may have several lines, and then says so to nobody whose lines are inputs: there a line break is a space. */
static void put_made_line(struct bytes *out, struct view made)
{
    size_t start = out->len;

    bytes_put_view(out, made);
    for (size_t i = start; i < out->len; i++) {
        if (out->data[i] == '\n' || out->data[i] == '\r')
            out->data[i] = ' ';
    }
}

void broker_put_input(struct broker *broker, const struct handover *handover, struct bytes *out)
{
    struct target_view target;
    struct event event;

    if (handover->input.data != NULL) {
        put_made_line(out, handover->input);
        return;
    }
    if (!engine_target(broker->engine, handover->target, &target))
        target = (struct target_view){ .input = TARGET_INPUT_EVENT, .shape = EVENT_SHAPE_EVENTBRIDGE };
    if (!envelope_decode_stored(handover->envelope, &event)) {
        bytes_put_text(out, "null"); /* its record passed its check, so this does not happen; a function is not left hanging */
        return;
    }
    (void)input_make(target.input, view_of(target.text), target.shape, &event, out);
    ASSERT(!out->failed);
}

static void deliver_native(struct broker *broker, uint64_t instance, uint64_t lease, int64_t deadline_ms, const struct handover *handovers,
                           unsigned count)
{
    size_t at = broker->parked.count;

    while (at > 0 && broker->parked.items[at - 1].instance != instance)
        at--;
    ASSERT(at > 0); /* the engine counts the parked requests */
    uint64_t request = broker->parked.items[at - 1].request;
    broker->parked.items[at - 1] = broker->parked.items[--broker->parked.count];
    bytes_clear(&broker->handover);
    struct bytes json = { 0 };
    for (unsigned i = 0; i < count; i++) {
        struct target_view target;
        if (handovers[i].input.data != NULL) {
            bus_put_handover_json(&broker->handover, handovers[i].attempt, handovers[i].input);
        } else if (engine_target(broker->engine, handovers[i].target, &target) && target.input != TARGET_INPUT_EVENT) {
            bytes_clear(&json);
            broker_put_input(broker, &handovers[i], &json);
            bus_put_handover_json(&broker->handover, handovers[i].attempt, bytes_view(&json));
        } else {
            bus_put_handover(&broker->handover, handovers[i].attempt, handovers[i].envelope);
        }
    }
    bytes_done(&json);
    ASSERT(!broker->handover.failed);
    bus_answer_next(broker->bus, request, SLUICE_OK, NULL, lease, deadline_ms, bytes_view(&broker->handover), count);
}

/* The id is made for those who see it. */
static void invocation_begin(struct broker *broker, uint64_t instance, uint64_t lease, const struct handover *first, unsigned count)
{
    struct request_id id;
    bool reported = invocations_reported(broker->invocations, instance);

    if (reported)
        id = lambda_request_id(first);
    invocations_begin(broker->invocations, instance, lease, count, reported ? id.text : NULL);
}

static void world_deliver(void *ctx, uint64_t instance, uint64_t lease, int64_t deadline_ms, const struct handover *handovers, unsigned count)
{
    struct broker *broker = ctx;

    enum function_protocol protocol = PROTOCOL_STDIO;

    (void)engine_instance_protocol(broker->engine, instance, &protocol);
    invocation_begin(broker, instance, lease, &handovers[0], count);
    if (protocol == PROTOCOL_NATIVE) {
        deliver_native(broker, instance, lease, deadline_ms, handovers, count);
        return;
    }
    if (protocol == PROTOCOL_LAMBDA) {
        ASSERT(count == 1);
        lambda_deliver(broker, instance, lease, deadline_ms, handovers);
        return;
    }
    size_t offsets[64], *at = offsets;
    if (count + 1 > sizeof offsets / sizeof *offsets) {
        at = malloc((count + 1) * sizeof *at);
        ASSERT(at != NULL);
    }
    bytes_clear(&broker->handover);
    for (unsigned i = 0; i < count; i++) {
        at[i] = broker->handover.len;
        broker_put_input(broker, &handovers[i], &broker->handover);
    }
    at[count] = broker->handover.len;
    broker->inputs.count = 0;
    for (unsigned i = 0; i < count; i++)
        VEC_PUSH(&broker->inputs, (struct view){ broker->handover.data + at[i], at[i + 1] - at[i] });
    instances_deliver(broker->instances, instance, lease, broker->inputs.items, count);
    if (at != offsets)
        free(at);
}

/* A native instance that is to end is told by the answer to its parked requests; the signal follows for those that do not listen. */
void broker_release_parked(struct broker *broker, uint64_t instance)
{
    for (size_t i = 0; i < broker->parked.count;) {
        if (broker->parked.items[i].instance != instance) {
            i++;
            continue;
        }
        bus_answer_next(broker->bus, broker->parked.items[i].request, SLUICE_EUNAVAILABLE, "the instance is to end", 0, 0,
                        (struct view){ 0 }, 0);
        broker->parked.items[i] = broker->parked.items[--broker->parked.count];
    }
}

static void world_stop(void *ctx, uint64_t instance, const char *reason)
{
    struct broker *broker = ctx;

    log_format(LOG_DEBUG, "event=instance-stop instance=%llu reason=\"%s\"", (unsigned long long)instance, reason);
    broker_release_parked(broker, instance);
    if (engine_instance_is_attached(broker->engine, instance)) {
        broker_consumer_stopped(broker, instance, reason);
        return;
    }
    control_instance_stopped(broker->control, instance, reason);
    invocations_stopped(broker->invocations, instance);
    instances_freeze(broker->instances, instance, false); /* extensions work at the end, too */
    const char *why = strcmp(reason, "init error") == 0 ? "failure" : "spindown";
    if (runtime_shutdown(broker->runtime, instance, why, clock_now().wall_ms + STOP_GRACE_MS) != RUNTIME_WAITS)
        instances_stop(broker->instances, instance);
}

static void world_timed_out(void *ctx, uint64_t instance, uint64_t lease, int64_t timeout_ms)
{
    struct broker *broker = ctx;

    (void)instances_log(broker->instances, instance); /* what it wrote comes before END */
    runtime_forget(broker->runtime, instance, lease);
    invocations_timed_out(broker->invocations, instance, lease, timeout_ms);
}

static void world_kill(void *ctx, uint64_t instance, const char *reason)
{
    struct broker *broker = ctx;

    log_format(LOG_DEBUG, "event=instance-kill instance=%llu reason=\"%s\"", (unsigned long long)instance, reason);
    if (engine_instance_is_attached(broker->engine, instance)) { /* not ours to kill */
        bus_cut(broker->bus, instance);
        return;
    }
    bool timeout = strcmp(reason, "timeout") == 0 || strcmp(reason, "silent") == 0;
    if (!timeout) {
        (void)instances_log(broker->instances, instance); /* what it wrote comes before INIT_REPORT */
        invocations_init_failed(broker->invocations, instance, REPORT_TIMEOUT, (struct view){ 0 });
    }
    control_instance_stopped(broker->control, instance, reason);
    /* Extensions hear of the end and have the time of an orderly one, as Lambda's have. */
    switch (runtime_shutdown(broker->runtime, instance, timeout ? "timeout" : "failure", clock_now().wall_ms + STOP_GRACE_MS)) {
    case RUNTIME_WAITS: break;
    case RUNTIME_HAS_EXTENSIONS: instances_stop(broker->instances, instance); break;
    case RUNTIME_NO_EXTENSIONS: instances_kill(broker->instances, instance); break;
    }
}

static void world_log(void *ctx, enum log_level level, const char *line)
{
    (void)ctx;
    log_line(level, line);
}

/* utime + stime of /proc/PID/stat, which counts in clock ticks. */
static int64_t world_cpu_us(void *ctx, uint64_t instance)
{
    struct broker *broker = ctx;
    char path[64], text[512];
    unsigned long user, system;
    pid_t pid;

    if (!instances_pid(broker->instances, instance, &pid))
        return -1;
    (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    ssize_t len = read(fd, text, sizeof text - 1);
    (void)close(fd);
    if (len <= 0)
        return -1;
    text[len] = '\0';
    const char *after_name = strrchr(text, ')'); /* a process may call itself anything */
    if (after_name == NULL || sscanf(after_name + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) != 2)
        return -1;
    return (int64_t)(user + system) * (1000000 / sysconf(_SC_CLK_TCK));
}

static struct match_set *world_rules_open(void *ctx, const char *bus, uint64_t fingerprint)
{
    return rule_index_open(ctx, bus, fingerprint);
}

struct world broker_world(struct broker *broker)
{
    return (struct world){
        .ctx = broker,
        .reader = broker_reader(broker),
        .publish_answered = world_publish_answered,
        .start = world_start,
        .deliver = world_deliver,
        .timed_out = world_timed_out,
        .stop = world_stop,
        .kill = world_kill,
        .invoke = world_invoke,
        .invoke_answered = world_invoke_answered,
        .log = world_log,
        .cpu_us = world_cpu_us,
        .rules_open = world_rules_open,
    };
}
