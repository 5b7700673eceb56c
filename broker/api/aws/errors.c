#include "broker/api/aws/errors.h"

#include <stdarg.h>
#include <stdio.h>

enum { TEXT_BYTES_MAX = 1024 };

static const struct {
    const char *name, *type, *message;   /* type NULL: it has none */
    unsigned status;
} errors[AWS_ERRORS] = {
    [AWS_RESOURCE_NOT_FOUND] = { "ResourceNotFoundException", "User", "Message", 404 },
    [AWS_INVALID_REQUEST_CONTENT] = { "InvalidRequestContentException", "User", "message", 400 },
    [AWS_INVALID_PARAMETER_VALUE] = { "InvalidParameterValueException", "User", "message", 400 },
    [AWS_VALIDATION] = { "ValidationException", NULL, "message", 400 },
    [AWS_TOO_MANY_REQUESTS] = { "TooManyRequestsException", "User", "message", 429 },
    [AWS_REQUEST_TOO_LARGE] = { "RequestEntityTooLargeException", "User", "message", 413 },
    [AWS_RESOURCE_CONFLICT] = { "ResourceConflictException", "User", "message", 409 },
    [AWS_ACCESS_DENIED] = { "AccessDeniedException", "User", "Message", 403 },
    [AWS_SERVICE] = { "ServiceException", "Service", "Message", 500 },
    [AWS_UNKNOWN_OPERATION] = { "UnknownOperationException", NULL, "message", 404 },
};

void aws_answer_put(struct call *call, struct answer *answer, const char *content_type)
{
    if (content_type != NULL)
        answer_put(answer, "content-type", view_of(content_type));
    answer_put(answer, "x-amzn-requestid", view_of(call_request_id(call)));
}

static void refuse(struct call *call, enum aws_error error, unsigned status, const char *reason, const char *text)
{
    struct answer answer = { .count = 0 };
    struct bytes *out = &call->api->text;

    bytes_clear(out);
    bytes_put_char(out, '{');
    if (reason != NULL)
        put_member(out, "Reason", view_of(reason));
    if (errors[error].type != NULL)
        put_member(out, "Type", view_of(errors[error].type));
    put_member(out, errors[error].message, view_of(text));
    put_object_end(out);
    aws_answer_put(call, &answer, "application/json");
    answer_put(&answer, "x-amzn-errortype", view_of(errors[error].name));
    if (status_is_later(status))
        answer_put(&answer, "retry-after", VIEW_LITERAL("1"));
    call_respond(call, status, &answer, bytes_view(out));
}

void lambda_refuse(struct call *call, enum aws_error error, const char *format, ...)
{
    char text[TEXT_BYTES_MAX];
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments); /* cut off when too long */
    va_end(arguments);
    refuse(call, error, errors[error].status, NULL, text);
}

void lambda_throttle(struct call *call, const char *reason, const char *text)
{
    refuse(call, AWS_TOO_MANY_REQUESTS, 429, reason, text);
}

void lambda_refuse_as(struct call *call, enum sluice_err err, const char *text)
{
    switch (status_of(err)) {
    case 429: lambda_throttle(call, "ReservedFunctionConcurrentInvocationLimitExceeded", "Rate Exceeded."); return;
    case 404: refuse(call, AWS_RESOURCE_NOT_FOUND, 404, NULL, text); return;
    case 400: refuse(call, AWS_INVALID_PARAMETER_VALUE, 400, NULL, text); return;
    case 409: refuse(call, AWS_RESOURCE_CONFLICT, 409, NULL, text); return;
    case 503: refuse(call, AWS_SERVICE, 503, NULL, text); return;
    default: refuse(call, AWS_SERVICE, 500, NULL, text); return;
    }
}

static void json_service_answer(struct call *call, unsigned status, const char *type, struct view json)
{
    struct answer answer = { .count = 0 };
    struct view asked = http_header(call->exchange, "content-type");
    bool old = view_begins(asked, "application/x-amz-json-1.0");

    aws_answer_put(call, &answer, old ? "application/x-amz-json-1.0" : "application/x-amz-json-1.1");
    if (type != NULL)
        answer_put(&answer, "x-amzn-errortype", view_of(type));
    if (type != NULL && (status_is_later(status) || strcmp(type, "ThrottlingException") == 0))
        answer_put(&answer, "retry-after", VIEW_LITERAL("1"));
    call_respond(call, status, &answer, json);
}

void json_service_refuse(struct call *call, unsigned status, const char *type, const char *format, ...)
{
    struct bytes *out = &call->api->text;
    char text[TEXT_BYTES_MAX];
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments); /* cut off when too long */
    va_end(arguments);
    bytes_clear(out);
    bytes_put_char(out, '{');
    put_member(out, "__type", view_of(type));
    put_member(out, "message", view_of(text));
    put_object_end(out);
    json_service_answer(call, status, type, bytes_view(out));
}

void json_service_respond(struct call *call, struct view json)
{
    json_service_answer(call, 200, NULL, json);
}
