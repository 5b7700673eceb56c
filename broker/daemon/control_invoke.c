/* control_invoke.c - `sluice function invoke`: one invocation for a control call, waited for, or put on disk and left to the function's queue.
 *
 * Its handle is the call's request with CONTROL_HANDLE_BIT, so that whoever hears of it knows that it is ours. */
#include "broker/daemon/control_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include "broker/daemon/lambda.h"
#include "schemas/codec/ids.h"

struct invocation {
    struct api_invocation asked; /* views into the call's arguments */
    char arn[LAMBDA_ARN_BYTES];
    uint8_t id[UUID_BYTES];
    bool asynchronous;
    struct bytes envelope;       /* asynchronous: the event, until it is acked */
};

static struct call *call_of(const struct control *control, uint64_t handle)
{
    LIST_EACH(at, &control->parked) {
        struct call *call = LIST_OWNER(at, struct call, link);
        if (call->parked_for == PARKED_INVOKE && call->request == (handle & ~CONTROL_HANDLE_BIT))
            return call;
    }
    return NULL;
}

const struct api_invocation *control_invocation(const struct control *control, uint64_t invoke)
{
    struct call *call = call_of(control, invoke);

    return call == NULL ? NULL : &call->invocation->asked;
}

/* An event of kind invoke for this function alone; acked when it is on the disk. */
static json_t *invoke_later(struct call *call, uint32_t function)
{
    struct invocation *invocation = call->invocation;
    struct event event = { .kind = EVENT_KIND_INVOKE, .id = { (const char *)invocation->id, UUID_BYTES }, .id_is_uuid = true,
                           .detail = invocation->asked.payload };

    envelope_encode(&event, &invocation->envelope);
    if (invocation->envelope.failed)
        return call_fail(call, SLUICE_ENOMEM, "function.invoke: out of memory for the event");
    if (call_park(call, PARKED_INVOKE), call->error.code != SLUICE_OK)
        return NULL;
    broker_publish(call->control->broker, &(struct publish){ .reply = call->request | CONTROL_HANDLE_BIT, .events = bytes_view(&invocation->envelope),
                                                             .count = 1, .function = function });
    return NULL;
}

json_t *control_function_invoke(struct call *call)
{
    struct broker *broker = call->control->broker;
    const char *payload = call_text(call, "payload");
    uint32_t function;

    if (!call_function(call, "name", &function))
        return NULL;
    if (payload == NULL)
        payload = "{}";
    if (strlen(payload) > INVOKE_BYTES_MAX)
        return call_fail(call, SLUICE_EINVAL, "function.invoke: the payload has %zu bytes; at most %d are taken", strlen(payload), INVOKE_BYTES_MAX);
    if (!lambda_payload_check(view_of(payload), &call->error))
        return NULL;
    struct invocation *invocation = call->invocation = calloc(1, sizeof *invocation);
    ASSERT(invocation != NULL);
    invocation->asynchronous = call_number(call, "async") != 0;
    invocation->asked.tail = call_number(call, "log") != 0;
    uint8_t random[UUID_BYTES] = { 0 };
    (void)!getrandom(random, sizeof random, 0); /* too little randomness makes a poorer id */
    uuid7_make(call->now.wall_ms, random, invocation->id);
    uuid_to_text(invocation->id, invocation->asked.request_id);
    lambda_arn(engine_function_name(broker->engine, function), invocation->arn);
    invocation->asked.invoke = call->request | CONTROL_HANDLE_BIT;
    invocation->asked.function = function;
    invocation->asked.arn = invocation->arn;
    invocation->asked.payload = view_of(payload);
    if (invocation->asynchronous)
        return invoke_later(call, function);
    if (call_park(call, PARKED_INVOKE), call->error.code != SLUICE_OK)
        return NULL;
    (void)engine_invoke(broker->engine, function, invocation->asked.invoke, call->now, &call->error);
    return NULL; /* an error unparks it: see call_run() */
}

void invocation_forget(struct call *call)
{
    struct broker *broker = call->control->broker;
    struct invocation *invocation = call->invocation;

    if (invocation == NULL)
        return;
    if (invocation->asynchronous)
        broker_publish_cancel(broker, call->request | CONTROL_HANDLE_BIT);
    else
        engine_invoke_cancel(broker->engine, call->request | CONTROL_HANDLE_BIT);
    bytes_done(&invocation->envelope);
    free(invocation);
    call->invocation = NULL;
}

void control_publish_answered(struct control *control, uint64_t reply, const struct publish_answer *answer)
{
    struct call *call = call_of(control, reply);

    if (call == NULL)
        return;
    if (answer->code != SLUICE_OK)
        (void)call_fail(call, answer->code, "%s", answer->text == NULL ? "the event was not taken" : answer->text);
    else if (answer->refusals_count > 0)
        (void)call_fail(call, answer->refusals[0].error.code, "%s", answer->refusals[0].error.text);
    call_finish(call, call->error.code != SLUICE_OK ? NULL : json_pack("{s:s,s:s}", "request_id", call->invocation->asked.request_id,
                                                                       "outcome", "accepted"));
}

void control_invoke_answered(struct control *control, uint64_t invoke, const struct invoke_answer *answer, struct view log_text)
{
    struct call *call = call_of(control, invoke);

    if (call == NULL)
        return;
    const char *id = call->invocation->asked.request_id;
    json_t *log = call->invocation->asked.tail ? json_view(log_text) : json_null(), *result = NULL;
    struct bytes error = { 0 };
    switch (answer->outcome) {
    case INVOKE_DONE:
        result = json_pack("{s:s,s:s,s:o,s:o,s:I}", "request_id", id, "outcome", "done", "payload", json_view(answer->result), "log", log, "ran_us",
                           (json_int_t)answer->ran_us);
        break;
    case INVOKE_FAILED:
        if (answer->result.len == 0)
            api_put_failure(&error, id, answer->failure);
        result = json_pack("{s:s,s:s,s:o,s:o,s:I}", "request_id", id, "outcome", "failed", "payload", json_view(answer->result.len > 0 ? answer->result : bytes_view(&error)), "log", log,
                           "ran_us", (json_int_t)answer->ran_us);
        break;
    case INVOKE_THROTTLED:
        (void)call_fail(call, SLUICE_ELIMIT, "no instance became free within %d s; raise the function's scale.max", INVOKE_WAIT_MS_MAX / 1000);
        break;
    case INVOKE_STOPPED: (void)call_fail(call, SLUICE_EUNAVAILABLE, "the daemon is shutting down, or the function was removed"); break;
    }
    if (result == NULL)
        json_decref(log);
    bytes_done(&error);
    call_finish(call, result);
}
