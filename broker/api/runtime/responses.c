/* responses.c - the end of an invocation, as its runtime posts it: a response, whole or streamed, or an error.
 *
 *                    head: id (400), state (403), mode (400)
 *                      │
 *   length known ──> COLLECTED ──────────────────> on_result, 202
 *   chunked ───────> GATHERED ── too large ──┐         ^
 *   streamed ──────> STREAMED ── too large ──┤     trailers may make it a failure
 *   length too large ────────────────────────┴──> on_result (Function.ResponseSizeTooLarge), rest DROPPED, 413
 *   cut off inside its body ─────────────────────> on_result (Runtime.TruncatedResponse)
 *
 * The caller is told the moment the end is known, before the runtime is: most runtimes die of a 413. */
#include "broker/api/runtime/instance.h"

#include <stdlib.h>

#include "broker/base/assert.h"
#include "schemas/codec/base64.h"
#include "schemas/codec/json.h"

#define ERROR_TYPE_HEADER "Lambda-Runtime-Function-Error-Type"
#define ERROR_BODY_TRAILER "Lambda-Runtime-Function-Error-Body"
#define MODE_HEADER "Lambda-Runtime-Function-Response-Mode"

/* The platform's own word about an invocation. */
static void settle_as(struct runtime_instance *instance, struct invocation *invocation, const char *type, const char *message)
{
    struct failure failure = { .type = view_of(type), .message = view_of(message) };
    struct bytes body = { 0 };

    bytes_put_format(&body, "{\"errorMessage\":\"%s\",\"errorType\":\"%s\"}", message, type);
    invocation_settle(instance, invocation, &failure, bytes_view(&body), VIEW_LITERAL("application/json"));
    bytes_done(&body);
}

_Static_assert(RUNTIME_RESPONSE_BYTES_MAX == 6291556, "the limit stands in a message that clients compare");

static void settle_too_large(struct runtime_instance *instance, struct call *call)
{
    struct invocation *invocation = call->invocation;
    bool streamed = call->mode == BODY_STREAMED;

    call->mode = BODY_DROPPED;
    call->refusal = 413;
    bytes_done(&call->body);
    settle_as(instance, invocation, "Function.ResponseSizeTooLarge",
              streamed ? "Response payload size exceeded maximum allowed payload size (209715200 bytes)."
                       : "Response payload size exceeded maximum allowed payload size (6291556 bytes).");
}
_Static_assert(RUNTIME_STREAM_BYTES_MAX == 209715200, "the limit stands in a message");

/* Absent or empty: buffered. */
static bool mode_read(struct http_exchange *exchange, bool *ret_streaming)
{
    struct view mode = http_header(exchange, MODE_HEADER);

    *ret_streaming = view_is(mode, "streaming");
    return mode.len == 0 || *ret_streaming;
}

/* What Content-Length says, or 0 if there is no body; false: it is chunked. The server has checked that it is a number. */
static bool length_read(struct http_exchange *exchange, uint64_t *ret_len)
{
    struct view text = http_header(exchange, "Content-Length");
    uint64_t len = 0;

    *ret_len = 0;
    if (text.len == 0)
        return http_header(exchange, "Transfer-Encoding").data == NULL;
    for (size_t i = 0; i < text.len && len <= RUNTIME_STREAM_BYTES_MAX; i++)
        len = len * 10 + (uint64_t)(text.data[i] - '0');
    *ret_len = len;
    return true;
}

void response_head(struct runtime_instance *instance, struct call *call, struct view id)
{
    struct http_exchange *exchange = call->exchange;
    struct invocation *invocation = invocation_by_id(instance, id);
    bool streaming = false, error = call->kind == CALL_ERROR;
    uint64_t len;

    http_limit_body(exchange, RUNTIME_RESPONSE_BYTES_MAX); /* of one that is refused here: it is read and thrown away */
    if (invocation == NULL) {
        call->kind = CALL_ANSWERED;
        answer_status(exchange, 400);
        return;
    }
    if (invocation->state == INVOCATION_LATE && invocation->posting == NULL) {
        invocation->posting = call;
        call->invocation = invocation;
        call->mode = BODY_DROPPED;
        http_stream_body(exchange);
        return;
    }
    if (invocation->state != INVOCATION_RUNNING) {
        call->kind = CALL_ANSWERED;
        answer_error(exchange, 403, "InvalidStateTransition",
                     "State transition from %s to %s failed for runtime. Error: State transition is not allowed",
                     invocation_state_name(invocation), error ? "InvocationErrorResponse" : "InvocationResponse");
        return;
    }
    if (!error && !mode_read(exchange, &streaming)) {
        call->kind = CALL_ANSWERED;
        settle_as(instance, invocation, "Runtime.InvalidResponseModeHeader", "Invalid function response mode");
        if (!instance->closed)
            answer_error(exchange, 400, "InvalidFunctionResponseMode", "Invalid function response mode");
        return;
    }
    invocation->state = INVOCATION_RESPONDING;
    invocation->error_posted = error;
    invocation->posting = call;
    call->invocation = invocation;
    bool sized = length_read(exchange, &len);
    if (streaming && invocation->streams) {
        const struct runtime_events *events = &instance->api->events;
        call->mode = BODY_STREAMED;
        http_stream_body(exchange);
        if (!events->on_stream_begin(events->ctx, instance->id, invocation->lease, http_header(exchange, "Content-Type")) &&
            !instance->closed)
            call->mode = BODY_DROPPED; /* the caller is gone; the runtime is not to notice */
    } else if (!sized) {
        call->mode = BODY_GATHERED;
        http_stream_body(exchange);
    } else if (len > RUNTIME_RESPONSE_BYTES_MAX) {
        http_stream_body(exchange);
        settle_too_large(instance, call);
    }
}

void response_piece(struct runtime_instance *instance, struct call *call, struct view piece)
{
    const struct runtime_events *events = &instance->api->events;

    call->body_bytes += piece.len;
    switch (call->mode) {
    case BODY_COLLECTED:
        break;
    case BODY_GATHERED:
        if (call->invocation == NULL)
            call->mode = BODY_DROPPED;   /* forgotten meanwhile: its time is over */
        else if (call->body_bytes > RUNTIME_RESPONSE_BYTES_MAX)
            settle_too_large(instance, call);
        else
            bytes_put_view(&call->body, piece);
        break;
    case BODY_STREAMED:
        if (call->invocation == NULL)
            call->mode = BODY_DROPPED;
        else if (call->body_bytes > RUNTIME_STREAM_BYTES_MAX)
            settle_too_large(instance, call);
        else if (!events->on_stream_piece(events->ctx, instance->id, call->invocation->lease, piece) && !instance->closed)
            http_pause_body(call->exchange, true);
        break;
    case BODY_DROPPED:
        if (call->body_bytes > RUNTIME_STREAM_BYTES_MAX + (size_t)RUNTIME_DRAIN_BYTES_MAX)
            http_abort(call->exchange);
        break;
    }
}

/* ---- trailers ---- */

/* A response that failed after it had begun says so behind its body; what it sent before is not what the caller of a whole response gets. */
static bool settle_by_trailers(struct runtime_instance *instance, struct call *call)
{
    struct view type = http_trailer(call->exchange, ERROR_TYPE_HEADER), text = http_trailer(call->exchange, ERROR_BODY_TRAILER);
    struct bytes body = { 0 }, scratch = { 0 };
    struct posted_error error;

    if (type.len == 0 && text.len == 0)
        return false;
    if (!base64_decode(text, &body) || body.len == 0) {
        bytes_clear(&body);
        bytes_put_text(&body, "{\"errorMessage\":\"\",\"errorType\":");
        json_put_string(&body, type);
        bytes_put_char(&body, '}');
    }
    posted_error_read(type, (struct view){ 0 }, bytes_view(&body), &scratch, &error);
    invocation_settle(instance, call->invocation, &error.failure, error.body, VIEW_LITERAL("application/json"));
    bytes_done(&scratch);
    bytes_done(&body);
    return true;
}

/* ---- the body is whole ---- */

static void settle_response(struct runtime_instance *instance, struct call *call, struct view body)
{
    struct view content_type = http_header(call->exchange, "Content-Type");

    if (!settle_by_trailers(instance, call))
        invocation_settle(instance, call->invocation, NULL, body, content_type); /* streamed or dropped: nothing was collected */
}

static void settle_error(struct runtime_instance *instance, struct call *call, struct view body)
{
    struct view content_type = http_header(call->exchange, "Content-Type");
    struct bytes scratch = { 0 };
    struct posted_error error;

    posted_error_read(http_header(call->exchange, ERROR_TYPE_HEADER), content_type, body, &scratch, &error);
    invocation_settle(instance, call->invocation, &error.failure, error.body, content_type);
    bytes_done(&scratch);
}

/* true: what came was of an invocation whose time is over. */
static bool end_late(struct runtime_instance *instance, struct call *call)
{
    if (call->invocation == NULL || call->invocation->state != INVOCATION_LATE)
        return false;
    invocation_free(instance, call->invocation);
    return true;
}

void response_request(struct runtime_instance *instance, struct call *call)
{
    struct http_exchange *exchange = call->exchange;

    if (end_late(instance, call)) {
        answer_accepted(exchange);
        return;
    }
    if (call->refusal == 0 && call->invocation == NULL)
        call->refusal = 400; /* its time ended while it was being read */
    if (call->refusal != 0) {
        answer_status(exchange, call->refusal);
        return;
    }
    struct view body = call->mode == BODY_GATHERED ? bytes_view(&call->body) : http_body(exchange);
    if (call->body.failed) {
        settle_as(instance, call->invocation, "Runtime.TruncatedResponse", "The daemon had no memory for the response");
        if (!instance->closed)
            answer_status(exchange, 500);
        return;
    }
    if (call->kind == CALL_ERROR)
        settle_error(instance, call, body);
    else
        settle_response(instance, call, body);
    if (!instance->closed)
        answer_accepted(exchange);
}

void response_drop(struct call *call)
{
    if (call->mode == BODY_COLLECTED) /* the server has most of it */
        return;
    call->mode = BODY_DROPPED;
    bytes_done(&call->body);
}

/* However it ended: what is still being posted is not whole. */
void response_end(struct runtime_instance *instance, struct call *call)
{
    if (call->invocation == NULL)
        return;
    ASSERT(call->invocation->posting == call);
    if (end_late(instance, call))
        return;
    if (instance->closed) { /* nobody listens any more */
        call->invocation->posting = NULL;
        return;
    }
    settle_as(instance, call->invocation, "Runtime.TruncatedResponse", "The connection was closed before the response was whole");
}

/* ---- init/error ---- */

void init_error_head(struct runtime_instance *instance, struct call *call)
{
    http_limit_body(call->exchange, RUNTIME_RESPONSE_BYTES_MAX);
    if (instance->state == RUNTIME_STARTED)
        return;
    call->kind = CALL_ANSWERED;
    answer_error(call->exchange, 403, "InvalidStateTransition",
                 "State transition from %s to InitError failed for runtime. Error: State transition is not allowed",
                 instance->state == RUNTIME_INIT_FAILED ? "InitError"
                 : instance->running > 0                ? "Running"
                                                        : "Ready");
}

void init_error_request(struct runtime_instance *instance, struct call *call)
{
    const struct runtime_events *events = &instance->api->events;
    struct bytes scratch = { 0 };
    struct posted_error error;

    if (instance->state != RUNTIME_STARTED) { /* another connection was quicker */
        init_error_head(instance, call);
        return;
    }
    instance->state = RUNTIME_INIT_FAILED;
    platform_init_done(instance, "error");
    posted_error_read(http_header(call->exchange, ERROR_TYPE_HEADER), http_header(call->exchange, "Content-Type"),
                      http_body(call->exchange), &scratch, &error);
    events->on_init_error(events->ctx, instance->id, &error.failure, error.body);
    bytes_done(&scratch);
    if (!instance->closed)
        answer_accepted(call->exchange);
}
