/* json_services.h - operations of AWS JSON 1.1 (POST /, X-Amz-Target: SERVICE.Operation). For aws/ alone.
 * Each gets the request's object, strictly checked, and answers. */
#ifndef SLUICE_API_AWS_JSON_SERVICES_H
#define SLUICE_API_AWS_JSON_SERVICES_H

#include "broker/api/aws/errors.h"

typedef void json_operation(struct call *call, struct view object);

/* events.c */
json_operation events_put;
/* events_look.c: what can be seen; the configuration files say what is there */
json_operation events_test_pattern, events_list_rules, events_describe_rule, events_list_targets, events_list_buses, events_describe_bus;

/* A member that is a string, decoded into `out` (appended; the view holds until `out` grows). True also when it is absent or null: data NULL.
 * false: of another type, or with a lone surrogate: refused. */
bool json_text_member(struct call *call, struct view object, const char *name, struct bytes *out, struct view *ret_text);

#endif
