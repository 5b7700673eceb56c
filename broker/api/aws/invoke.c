/* invoke.c - Invoke: RequestResponse waits for the function, Event for the disk, DryRun for nothing; the older InvokeAsync; and
 * InvokeWithResponseStream, whose answer is a stream of frames (eventstream.h). */
#include "broker/api/aws/eventstream.h"
#include "broker/api/aws/lambda.h"
#include "broker/api/once.h"

enum { CLIENT_CONTEXT_BYTES_MAX = 3583 };

enum invoke_type { INVOKE_REQUEST_RESPONSE, INVOKE_EVENT, INVOKE_DRY_RUN };
static const struct {
    const char *name;
    size_t bytes_max;
} types[] = {
    [INVOKE_REQUEST_RESPONSE] = { "RequestResponse", INVOKE_BYTES_MAX },
    [INVOKE_EVENT] = { "Event", INVOKE_ASYNC_BYTES_MAX },
    [INVOKE_DRY_RUN] = { "DryRun", INVOKE_BYTES_MAX },
};

/* false: refused. */
static bool type_of(struct call *call, enum invoke_type *ret_type)
{
    struct view given = http_header(call->exchange, "x-amz-invocation-type");
    struct view log = http_header(call->exchange, "x-amz-log-type");

    if (log.len > 0 && !view_is(log, "Tail") && !view_is(log, "None")) {
        lambda_refuse(call, AWS_VALIDATION,
                      "1 validation error detected: Value '%.*s' at 'logType' failed to satisfy constraint: Member must satisfy enum value set: "
                      "[None, Tail]", log.len > 80 ? 80 : (int)log.len, log.data);
        return false;
    }
    for (unsigned type = 0; type < sizeof types / sizeof *types; type++) {
        if (given.len == 0 || view_is(given, types[type].name)) {
            *ret_type = (enum invoke_type)type;
            return true;
        }
    }
    lambda_refuse(call, AWS_VALIDATION,
                  "1 validation error detected: Value '%.*s' at 'invocationType' failed to satisfy constraint: Member must satisfy enum value set: "
                  "[Event, DryRun, RequestResponse]", given.len > 80 ? 80 : (int)given.len, given.data);
    return false;
}

static size_t bytes_max_of(void (*serve)(struct call *call), enum invoke_type type)
{
    return serve == invoke_async_old_serve ? INVOKE_ASYNC_OLD_BYTES_MAX : types[type].bytes_max;
}

/* One that comes without a length is refused by the server, when it is over. */
void invoke_head(struct call *call, void (*serve)(struct call *call))
{
    enum invoke_type type;

    if (!type_of(call, &type))
        return;
    size_t bytes_max = bytes_max_of(serve, type), announced = call_body_announced(call);
    if (announced > bytes_max)
        lambda_refuse(call, AWS_REQUEST_TOO_LARGE, "%zu byte payload is too large for the %s invocation type (limit %zu bytes)", announced,
                      serve == invoke_async_old_serve ? "Event" : types[type].name, bytes_max);
    else
        call_serve(call, serve, bytes_max);
}

/* ---- what is common ---- */

/* The payload as the function gets it; false: refused. */
static bool payload_of(struct call *call, struct view *ret_payload)
{
    struct view body = http_body(call->exchange);
    struct sluice_error error;

    if (body.len == 0)
        body = VIEW_LITERAL("{}");
    if (json_check(body, JSON_ANY, JSON_DEPTH_MAX, &error) != SLUICE_OK) {
        lambda_refuse(call, AWS_INVALID_REQUEST_CONTENT, "Could not parse request body into json: %s", error.text);
        return false;
    }
    *ret_payload = body;
    return true;
}

/* Decoded into `out`; false: refused. */
static bool client_context_of(struct call *call, struct bytes *out, struct view *ret_context)
{
    struct view encoded = http_header(call->exchange, "x-amz-client-context");
    struct sluice_error error;

    *ret_context = (struct view){ 0 };
    if (encoded.len == 0)
        return true;
    if (encoded.len > CLIENT_CONTEXT_BYTES_MAX) {
        lambda_refuse(call, AWS_VALIDATION, "1 validation error detected: the client context has %zu bytes; at most %d are taken", encoded.len,
                      CLIENT_CONTEXT_BYTES_MAX);
        return false;
    }
    if (!base64_decode(encoded, out) || json_check(bytes_view(out), JSON_OBJECT, JSON_DEPTH_MAX, &error) != SLUICE_OK) {
        lambda_refuse(call, AWS_INVALID_REQUEST_CONTENT, "Client context must be a valid Base64-encoded JSON object.");
        return false;
    }
    *ret_context = bytes_view(out);
    return true;
}

/* What the function of an event will see: the caller's, as far as an event can keep it, else the one of the request id. */
static struct view event_trace_id(struct call *call, char ret_traceparent[TRACEPARENT_LEN + 1], char ret_text[TRACE_ID_LEN + 1])
{
    struct view id = view_of(call_request_id(call));

    if (trace_id_to_traceparent(http_header(call->exchange, "x-amzn-trace-id"), id, ret_traceparent)) {
        (void)trace_id_from_traceparent((struct view){ ret_traceparent, TRACEPARENT_LEN }, ret_text);
        return (struct view){ ret_traceparent, TRACEPARENT_LEN };
    }
    trace_id_make(id, 0, ret_text);
    return (struct view){ 0 };
}

static void respond_empty(struct call *call, unsigned status)
{
    struct answer answer = { .count = 0 };
    char traceparent[TRACEPARENT_LEN + 1], trace_id[TRACE_ID_LEN + 1];

    aws_answer_put(call, &answer, NULL);
    if (status == 202) {
        (void)event_trace_id(call, traceparent, trace_id);
        answer_put(&answer, "x-amzn-trace-id", (struct view){ trace_id, TRACE_ID_LEN });
    }
    answer_put(&answer, "x-amzn-remapped-content-length", VIEW_LITERAL("0"));
    call_respond(call, status, &answer, VIEW_LITERAL(""));
}

/* ---- RequestResponse ---- */

static void invoke_done(struct call *call, const struct invoke_result *result)
{
    struct answer answer = { .count = 0 };
    struct bytes *log = &call->api->text;
    char trace_id[TRACE_ID_LEN + 1];

    aws_answer_put(call, &answer, "application/json");
    answer_put(&answer, "x-amzn-remapped-content-length", VIEW_LITERAL("0"));
    answer_put(&answer, "x-amz-executed-version", VIEW_LITERAL("$LATEST"));
    if (result->failed)
        answer_put(&answer, "x-amz-function-error", VIEW_LITERAL("Unhandled"));
    if (view_is(http_header(call->exchange, "x-amz-log-type"), "Tail")) {
        bytes_clear(log);
        put_base64(log, result->log_tail);
        answer_put(&answer, "x-amz-log-result", bytes_view(log));
    }
    answer_put(&answer, "x-amzn-trace-id", call_trace_id(call, trace_id));
    call_respond(call, 200, &answer, result->body);
}

static const struct invoke_form invoke_form = { .done = invoke_done, .refused = lambda_refuse_as };

static void invoke_wait(struct call *call, const struct lambda_target *target, struct view payload, const struct invoke_form *form)
{
    struct bytes decoded = { 0 };
    struct view context;
    char trace_id[TRACE_ID_LEN + 1];

    if (client_context_of(call, &decoded, &context))
        invocation_begin(call, &(struct invoke_request){
                                   .form = form,
                                   .function = target->function,
                                   .arn = target->arn,
                                   .payload = payload,
                                   .client_context = context,
                                   .trace_id = call_trace_id(call, trace_id),
                                   .streams = form->begin != NULL,
                                   .tail = view_is(http_header(call->exchange, "x-amz-log-type"), "Tail"),
                                   .door = form->begin != NULL ? "stream" : "invoke",
                               });
    bytes_done(&decoded);
}

/* ---- Event ---- */

static void event_answered(struct call *call, const struct publishing *publishing, enum sluice_err err, const char *text)
{
    const struct publish_entry *entry = &publishing->entries.items[0];

    if (err == SLUICE_ELIMIT)
        lambda_throttle(call, "CallerRateLimitExceeded", text);
    else if (err != SLUICE_OK)
        lambda_refuse_as(call, err, text);
    else if (entry->err == SLUICE_OK)
        respond_empty(call, 202);
    else
        lambda_refuse_as(call, entry->err, entry->text);
}

/* The event's id is the request's, so that what was asked can be found again. */
static void event_publish(struct call *call, const struct lambda_target *target, struct view payload)
{
    struct api *api = call->api;
    struct event event = { .kind = EVENT_KIND_INVOKE, .detail = payload, .detail_format = DETAIL_JSON };
    struct publish_entry entry = { .code = NULL };
    struct once_entry *seen = NULL;
    struct once_key key;
    char traceparent[TRACEPARENT_LEN + 1], trace_id[TRACE_ID_LEN + 1];

    bool has_key = once_key_of(call, "event", target->function, payload, &key);
    if (has_key)
        seen = once_find(api->once, &key);
    if (seen != NULL) {
        api->counts.attached++;
        memcpy(call->request_id, seen->request_id, sizeof call->request_id);
        if (seen->publishing != NULL)
            publishing_attach(seen->publishing, call);
        else
            respond_empty(call, 202);
        return;
    }
    struct publishing *publishing = publishing_new(call);
    bool good = uuid_from_text(view_of(call_request_id(call)), entry.id);
    ASSERT(good);
    publishing->function = target->function;
    publishing->answered = event_answered;
    event.traceparent = event_trace_id(call, traceparent, trace_id);
    VEC_PUSH(&publishing->entries, entry);
    publishing_put(publishing, &publishing->entries.items[0], &event);
    if (has_key)
        publishing_once(publishing, api->once, &key);
    publishing_begin(publishing);
}

/* ---- the operations ---- */

void invoke_serve(struct call *call)
{
    struct lambda_target target;
    enum invoke_type type;
    struct view payload;

    if (!type_of(call, &type) || !lambda_target_find(call, &target) || !payload_of(call, &payload))
        return;
    switch (type) {
    case INVOKE_REQUEST_RESPONSE: invoke_wait(call, &target, payload, &invoke_form); return;
    case INVOKE_EVENT: event_publish(call, &target, payload); return;
    case INVOKE_DRY_RUN: respond_empty(call, 204); return;
    }
}

void invoke_async_old_serve(struct call *call)
{
    struct lambda_target target;
    struct view payload;

    if (lambda_target_find(call, &target) && payload_of(call, &payload))
        event_publish(call, &target, payload);
}

/* ---- InvokeWithResponseStream ---- */

static void stream_begin(struct call *call, struct view content_type)
{
    struct answer answer = { .count = 0 };
    char trace_id[TRACE_ID_LEN + 1];

    (void)content_type; /* of the function's response; the frames are told nothing of it */
    aws_answer_put(call, &answer, "application/vnd.amazon.eventstream");
    answer_put(&answer, "x-amz-executed-version", VIEW_LITERAL("$LATEST"));
    answer_put(&answer, "x-amzn-trace-id", call_trace_id(call, trace_id));
    call_begin(call, 200, &answer);
}

static void stream_piece(struct call *call, struct view piece)
{
    struct bytes *out = &call->api->text;

    while (piece.len > 0) {
        struct view part = { piece.data, piece.len < EVENTSTREAM_CHUNK_BYTES ? piece.len : EVENTSTREAM_CHUNK_BYTES };
        bytes_clear(out);
        eventstream_put_chunk(out, part);
        http_write(call->exchange, bytes_view(out));
        piece = (struct view){ piece.data + part.len, piece.len - part.len };
    }
}

/* {"ErrorCode","ErrorDetails","LogResult"}, each only if there is something to say. */
static void stream_complete(struct call *call, const struct invoke_result *result)
{
    bool tail = view_is(http_header(call->exchange, "x-amz-log-type"), "Tail");
    struct bytes json = { 0 }, log = { 0 }, *out = &call->api->text;

    bytes_put_char(&json, '{');
    if (result->failed) {
        put_member(&json, "ErrorCode", result->type);
        put_member(&json, "ErrorDetails", result->body);
    }
    if (tail) {
        put_base64(&log, result->log_tail);
        put_member(&json, "LogResult", bytes_view(&log));
    }
    put_object_end(&json);
    bytes_clear(out);
    eventstream_put_complete(out, bytes_view(&json));
    http_write(call->exchange, bytes_view(out));
    bytes_done(&json);
    bytes_done(&log);
}

static void stream_done(struct call *call, const struct invoke_result *result)
{
    if (call->status == 0)
        stream_begin(call, (struct view){ 0 });
    if (!result->failed)
        stream_piece(call, result->body);
    stream_complete(call, result);
    http_finish(call->exchange);
}

static void stream_refused(struct call *call, enum sluice_err why, const char *text)
{
    if (call->status == 0)
        lambda_refuse_as(call, why, text);
    else
        http_abort(call->exchange);
}

static const struct invoke_form stream_form = {
    .done = stream_done, .refused = stream_refused, .begin = stream_begin, .piece = stream_piece,
};

void invoke_stream_serve(struct call *call)
{
    struct lambda_target target;
    enum invoke_type type;
    struct view payload;

    if (!type_of(call, &type) || !lambda_target_find(call, &target) || !payload_of(call, &payload))
        return;
    if (type == INVOKE_DRY_RUN)
        respond_empty(call, 204);
    else if (type == INVOKE_EVENT)
        lambda_refuse(call, AWS_INVALID_PARAMETER_VALUE, "InvokeWithResponseStream takes the invocation types RequestResponse and DryRun.");
    else
        invoke_wait(call, &target, payload, &stream_form);
}
