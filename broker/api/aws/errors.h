/* errors.h - AWS's errors: their names, status, and the two forms in which services tell them.
 *   Lambda (REST)   header x-amzn-ErrorType, {"Type":"User","Message"|"message":...}: which of the two depends on the error
 *   JSON 1.1        400 for all that the client can mend, {"__type":NAME,"message":...}; the header too, which does no harm */
#ifndef SLUICE_API_AWS_ERRORS_H
#define SLUICE_API_AWS_ERRORS_H

#include "broker/api/api_internal.h"

enum aws_error {
    AWS_RESOURCE_NOT_FOUND, AWS_INVALID_REQUEST_CONTENT, AWS_INVALID_PARAMETER_VALUE, AWS_VALIDATION, AWS_TOO_MANY_REQUESTS,
    AWS_REQUEST_TOO_LARGE, AWS_RESOURCE_CONFLICT, AWS_ACCESS_DENIED, AWS_SERVICE, AWS_UNKNOWN_OPERATION, AWS_ERRORS,
};

void lambda_refuse(struct call *call, enum aws_error error, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* 429, with the Reason that SDKs and people read. */
void lambda_throttle(struct call *call, const char *reason, const char *text);
/* What the engine, the daemon or once.h refused. */
void lambda_refuse_as(struct call *call, enum sluice_err err, const char *text);

void json_service_refuse(struct call *call, unsigned status, const char *type, const char *format, ...) __attribute__((format(printf, 4, 5)));
/* 200 and the JSON. */
void json_service_respond(struct call *call, struct view json);

/* Fields that every AWS answer has. */
void aws_answer_put(struct call *call, struct answer *answer, const char *content_type);

#endif
