/* invocations.c - `next`: requests for work are parked until the engine has some, and what was handed over can be read again.
 *
 * The engine is told of as many parked requests as the instance has free places: a runtime that calls `next` from more threads than
 * its function's `concurrency` has the others wait, and one whose extensions still work on the last invocation is not asked either. */
#include "broker/api/runtime/instance.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "broker/base/assert.h"
#include "broker/base/trace_id.h"
#include "broker/edge/log.h"

struct invocation *invocation_by_lease(const struct runtime_instance *instance, uint64_t lease)
{
    LIST_EACH(at, &instance->invocations) {
        struct invocation *invocation = LIST_OWNER(at, struct invocation, link);
        if (invocation->lease == lease)
            return invocation;
    }
    return NULL;
}

struct invocation *invocation_by_id(const struct runtime_instance *instance, struct view id)
{
    struct bytes decoded = { 0 };
    struct invocation *found = NULL;

    if (id.len == 0 || id.len > RUNTIME_ID_BYTES_MAX)
        return NULL;
    if (memchr(id.data, '%', id.len) != NULL) {
        bool valid = http_unescape(id, &decoded) && !decoded.failed;
        id = valid ? bytes_view(&decoded) : (struct view){ 0 };
    }
    /* The newest: an event that is tried again may be beside its last attempt, SPENT until a `next` forgets it. */
    for (struct list *at = instance->invocations.previous; at != &instance->invocations; at = at->previous) {
        struct invocation *invocation = LIST_OWNER(at, struct invocation, link);
        if (id.len > 0 && view_equals(invocation->request_id, id)) {
            found = invocation;
            break;
        }
    }
    bytes_done(&decoded);
    return found;
}

const char *invocation_state_name(const struct invocation *invocation)
{
    switch (invocation->state) {
    case INVOCATION_RUNNING: return "Running";
    case INVOCATION_RESPONDING: return invocation->error_posted ? "InvocationErrorResponse" : "InvocationResponse";
    case INVOCATION_SPENT: return "ResponseSent";
    case INVOCATION_LATE: return "Late";
    }
    return "?";
}

bool invocation_is_open(const struct invocation *invocation)
{
    return invocation->state == INVOCATION_RUNNING || invocation->state == INVOCATION_RESPONDING;
}

void invocation_free(struct runtime_instance *instance, struct invocation *invocation)
{
    if (invocation->handing != NULL)
        invocation->handing->invocation = NULL;
    if (invocation->posting != NULL)
        invocation->posting->invocation = NULL;
    instance->running -= invocation_is_open(invocation);
    list_remove(&invocation->link);
    free(invocation);
}

/* ---- handing over ---- */

static struct view put_text(char **at, struct view text)
{
    char *start = *at;

    if (text.len > 0)
        memcpy(start, text.data, text.len);
    *at += text.len;
    return (struct view){ start, text.len };
}

/* What is to stand in a header: line breaks of a client's JSON are white space, and a header has none of them. */
static struct view put_value(char **at, struct view value)
{
    struct view put = put_text(at, value);

    for (char *c = *at - put.len; c < *at; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            *c = ' ';
    return put;
}

struct invocation *invocation_add(struct runtime_instance *instance, const struct runtime_invocation *from)
{
    char made[TRACE_ID_LEN + 1];
    struct view trace = view_of(from->trace_id), id = view_of(from->request_id), arn = view_of(from->arn);

    if (trace.len == 0) {
        trace_id_make(id, clock_now().wall_ms, made);
        trace = view_of(made);
    }
    struct invocation *invocation =
        malloc(sizeof *invocation + id.len + arn.len + trace.len + from->client_context.len + from->payload.len);
    ASSERT(invocation != NULL); /* as arenas: what is held is bounded by the engine's limits */
    *invocation = (struct invocation){ .lease = from->lease, .streams = from->streams, .deadline_ms = from->deadline_ms };
    char *at = invocation->text;
    invocation->request_id = put_value(&at, id);
    invocation->arn = put_value(&at, arn);
    invocation->trace_id = put_value(&at, trace);
    invocation->client_context = put_value(&at, from->client_context);
    invocation->payload = put_text(&at, from->payload);
    list_push(&instance->invocations, &invocation->link);
    instance->running++;
    return invocation;
}

/* Empty values: the header is left out, not sent empty. */
static void put_field(struct http_answer_field *fields, unsigned *count, const char *name, struct view value)
{
    if (value.len > 0)
        fields[(*count)++] = (struct http_answer_field){ name, value };
}

void invocation_hand_over(struct runtime_instance *instance, struct invocation *invocation, struct call *call)
{
    struct http_answer_field fields[6];
    unsigned count = 0;
    char deadline[24];

    (void)instance;
    ASSERT(invocation->state == INVOCATION_RUNNING);
    (void)snprintf(deadline, sizeof deadline, "%" PRId64, invocation->deadline_ms);
    put_field(fields, &count, "Content-Type", VIEW_LITERAL("application/json"));
    put_field(fields, &count, "Lambda-Runtime-Aws-Request-Id", invocation->request_id);
    put_field(fields, &count, "Lambda-Runtime-Deadline-Ms", view_of(deadline));
    put_field(fields, &count, "Lambda-Runtime-Invoked-Function-Arn", invocation->arn);
    put_field(fields, &count, "Lambda-Runtime-Trace-Id", invocation->trace_id);
    put_field(fields, &count, "Lambda-Runtime-Client-Context", invocation->client_context);
    if (invocation->handing != NULL) /* a second reader: the first one's end is no longer the hand-over's */
        invocation->handing->invocation = NULL;
    invocation->handing = call;
    invocation->lost = false;
    call->invocation = invocation;
    http_respond(call->exchange, 200, fields, count, invocation->payload);
}

/* ---- next ---- */

static unsigned places_wanted(const struct runtime_instance *instance)
{
    unsigned places = instance->concurrency - instance->running;

    if (instance->state != RUNTIME_READY || instance->ending || !extensions_ready(instance->extensions))
        return 0;
    return instance->parked_count < places ? instance->parked_count : places;
}

void instance_announce(struct runtime_instance *instance)
{
    const struct runtime_events *events = &instance->api->events;

    ASSERT(instance->pins > 0);
    if (!instance->init_done && instance->state == RUNTIME_READY && extensions_ready(instance->extensions)) {
        instance->init_done = true;
        platform_init_done(instance, "success");
    }
    while (!instance->closed) { /* each callback may deliver, forget or close */
        unsigned wanted = places_wanted(instance);
        if (instance->announced == wanted)
            return;
        if (instance->announced < wanted) {
            instance->announced++;
            events->on_wants(events->ctx, instance->id);
        } else {
            instance->announced--;
            events->on_wants_cancel(events->ctx, instance->id);
        }
    }
}

static void forget_spent(struct runtime_instance *instance)
{
    LIST_EACH(at, &instance->invocations) {
        struct invocation *invocation = LIST_OWNER(at, struct invocation, link);
        if (invocation->state == INVOCATION_SPENT) {
            invocation_free(instance, invocation);
            return;
        }
    }
}

/* What `next` gives again instead of waiting: an invocation that never reached the runtime; or, when all places are taken, the one that
 * was handed over last (with one place: the current one). NULL: it waits. */
static struct invocation *read_again(const struct runtime_instance *instance)
{
    struct invocation *last = NULL;

    /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): forget_spent() took it out of the list before it freed it */
    LIST_EACH(at, &instance->invocations) {
        struct invocation *invocation = LIST_OWNER(at, struct invocation, link);
        if (invocation->state == INVOCATION_RUNNING && invocation->lost)
            return invocation;
        if (invocation->state == INVOCATION_RUNNING)
            last = invocation;
    }
    return instance->running == instance->concurrency ? last : NULL;
}

void next_request(struct runtime_instance *instance, struct call *call)
{
    if (instance->state == RUNTIME_INIT_FAILED) {
        answer_error(call->exchange, 403, "InvalidStateTransition",
                     "State transition from InitError to Ready failed for runtime. Error: State transition is not allowed");
        return;
    }
    instance->state = RUNTIME_READY;
    forget_spent(instance);
    struct invocation *again = read_again(instance);
    if (again != NULL) {
        invocation_hand_over(instance, again, call);
        return;
    }
    if (instance->running == instance->concurrency) { /* all of them are being answered right now */
        answer_error(
            call->exchange, 403, "InvalidStateTransition",
            "State transition from InvocationResponse to Ready failed for runtime. Error: State transition is not allowed");
        return;
    }
    list_push(&instance->parked, &call->link);
    instance->parked_count++;
    instance_announce(instance);
}

void next_end(struct runtime_instance *instance, struct call *call, enum http_end end)
{
    if (!list_empty(&call->link)) {
        list_remove(&call->link);
        instance->parked_count--;
        instance_announce(instance);
    } else if (call->invocation != NULL) {
        call->invocation->handing = NULL;
        call->invocation->lost = end != HTTP_DONE && call->invocation->state == INVOCATION_RUNNING;
    }
}

/* ---- the end ---- */

void invocation_settle(struct runtime_instance *instance, struct invocation *invocation, const struct failure *failure,
                       struct view result, struct view content_type)
{
    const struct runtime_events *events = &instance->api->events;

    ASSERT(instance->pins > 0);
    ASSERT(invocation_is_open(invocation));
    size_t produced_bytes = result.len;
    if (invocation->posting != NULL && invocation->posting->mode == BODY_STREAMED)
        produced_bytes = invocation->posting->body_bytes;
    platform_runtime_done(instance, invocation, failure == NULL ? "success" : "error",
                          failure == NULL ? (struct view){ 0 } : failure->type, produced_bytes);
    if (invocation->posting != NULL)
        invocation->posting->invocation = NULL;
    invocation->posting = NULL;
    invocation->state = INVOCATION_SPENT;
    instance->running--;
    events->on_result(events->ctx, instance->id, invocation->lease, failure, result, content_type);
    instance_announce(instance);
}
