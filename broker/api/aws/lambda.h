/* lambda.h - Lambda's REST API: which operation a path means, and the function that is meant. For aws/ alone. */
#ifndef SLUICE_API_AWS_LAMBDA_H
#define SLUICE_API_AWS_LAMBDA_H

#include "broker/api/aws/errors.h"

/* The function of call->name and the Qualifier of the query, which is in the configuration; false: refused, answered. */
struct lambda_target {
    uint32_t function;
    const struct config_function *config;
    struct view arn;                     /* as invoked: with the qualifier if the caller named one; in api->scratch */
};
bool lambda_target_find(struct call *call, struct lambda_target *ret_target);

/* invoke.c */
void invoke_serve(struct call *call);
void invoke_stream_serve(struct call *call);
void invoke_async_old_serve(struct call *call);
/* What an Invoke may bring, by its type. */
void invoke_head(struct call *call, void (*serve)(struct call *call));
/* functions.c: what can be seen of functions */
void functions_list_serve(struct call *call);
void function_get_serve(struct call *call);
void function_configuration_serve(struct call *call);
void function_versions_serve(struct call *call);
void function_aliases_serve(struct call *call);
void function_concurrency_serve(struct call *call);
void function_url_serve(struct call *call);
void function_policy_serve(struct call *call);
void function_tags_serve(struct call *call);
void function_nothing_serve(struct call *call);   /* {}: the function has none of it */

#endif
