/* answer.c - the forms in which the doors answer. */
#include "broker/api/api_internal.h"

#include <stdarg.h>
#include <stdio.h>

#include "broker/edge/log.h"

const char *call_request_id(struct call *call)
{
    uint8_t id[UUID_BYTES];

    if (call->request_id[0] == '\0') {
        api_uuid(call->api, id);
        uuid_to_text(id, call->request_id);
    }
    return call->request_id;
}

struct view call_trace_id(struct call *call, char made[TRACE_ID_LEN + 1])
{
    struct view came = http_header(call->exchange, "x-amzn-trace-id");

    if (came.len >= 1 && came.len <= TRACE_ID_BYTES_MAX)
        return came;
    trace_id_make(view_of(call_request_id(call)), clock_now().wall_ms, made);
    return (struct view){ made, TRACE_ID_LEN };
}

static void call_answered(struct call *call, unsigned status)
{
    ASSERT(call->status == 0);
    ASSERT(status >= 200 && status <= 599);
    call->status = status;
}

void call_respond(struct call *call, unsigned status, const struct answer *answer, struct view body)
{
    call_answered(call, status);
    http_respond(call->exchange, status, answer->fields, answer->count, body);
}

void call_begin(struct call *call, unsigned status, const struct answer *answer)
{
    call_answered(call, status);
    http_begin(call->exchange, status, answer->fields, answer->count);
}

bool status_is_later(unsigned status)
{
    return status == 429 || status == 503;
}

static void respond_as(struct call *call, unsigned status, const char *content_type, struct view body)
{
    struct answer answer = { .count = 0 };

    answer_put(&answer, "content-type", view_of(content_type));
    if (status_is_later(status))
        answer_put(&answer, "retry-after", VIEW_LITERAL("1"));
    call_respond(call, status, &answer, body);
}

void call_respond_text(struct call *call, unsigned status, const char *text)
{
    struct bytes *out = &call->api->text;

    bytes_clear(out);
    bytes_put_text(out, text);
    bytes_put_char(out, '\n');
    respond_as(call, status, "text/plain; charset=utf-8", bytes_view(out));
}

void call_respond_json(struct call *call, unsigned status, struct view json)
{
    respond_as(call, status, "application/json", json);
}

void call_refuse(struct call *call, unsigned status, const char *format, ...)
{
    struct bytes *out = &call->api->text;
    char text[512];
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments); /* cut off when too long */
    va_end(arguments);
    bytes_clear(out);
    bytes_put_char(out, '{');
    put_member(out, "message", view_of(text));
    put_object_end(out);
    bytes_put_char(out, '\n');
    call_respond_json(call, status, bytes_view(out));
}

void call_refuse_method(struct call *call, const char *allowed)
{
    struct answer answer = { .count = 0 };

    answer_put(&answer, "allow", view_of(allowed));
    answer_put(&answer, "content-type", VIEW_LITERAL("text/plain; charset=utf-8"));
    call_respond(call, 405, &answer, VIEW_LITERAL("this path does not take that method\n"));
}

unsigned status_of(enum sluice_err err)
{
    switch (err) {
    case SLUICE_OK: return 200;
    case SLUICE_ELIMIT: return 429;
    case SLUICE_EUNAVAILABLE: return 503;
    case SLUICE_ENOTFOUND: return 404;
    case SLUICE_EINVAL:
    case SLUICE_EPROTO: return 400;
    case SLUICE_EACCESS: return 403;
    case SLUICE_EEXISTS: return 409;
    case SLUICE_ENOMEM:
    case SLUICE_EIO:
    case SLUICE_ETIMEDOUT:
    case SLUICE_ESTALE:
    case SLUICE_ECORRUPT: return 500;
    }
    return 500;
}
