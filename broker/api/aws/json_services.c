#include "broker/api/aws/json_services.h"

enum { JSON_SERVICE_BODY_BYTES_MAX = 8 << 20 };  /* PutEvents: 1 MiB of details, with every quote in them escaped, and more */

static void configured(struct call *call, struct view object)
{
    (void)object;
    json_service_refuse(call, 400, "OperationDisabledException",
                        "Rules, targets and buses are defined in the configuration files of sluiced, under 'rules' and 'buses'; edit them, and the "
                        "daemon reads them again.");
}

static const struct {
    const char *target;
    json_operation *run;
} operations[] = {
    { "AWSEvents.PutEvents", events_put },
    { "AWSEvents.TestEventPattern", events_test_pattern },
    { "AWSEvents.ListRules", events_list_rules },
    { "AWSEvents.DescribeRule", events_describe_rule },
    { "AWSEvents.ListTargetsByRule", events_list_targets },
    { "AWSEvents.ListEventBuses", events_list_buses },
    { "AWSEvents.DescribeEventBus", events_describe_bus },
    { "AWSEvents.PutRule", configured },
    { "AWSEvents.DeleteRule", configured },
    { "AWSEvents.EnableRule", configured },
    { "AWSEvents.DisableRule", configured },
    { "AWSEvents.PutTargets", configured },
    { "AWSEvents.RemoveTargets", configured },
    { "AWSEvents.CreateEventBus", configured },
    { "AWSEvents.UpdateEventBus", configured },
    { "AWSEvents.DeleteEventBus", configured },
};

static json_operation *operation_find(struct view target)
{
    for (size_t i = 0; i < sizeof operations / sizeof *operations; i++) {
        if (view_is(target, operations[i].target))
            return operations[i].run;
    }
    return NULL;
}

static void serve(struct call *call)
{
    json_operation *run = operation_find(http_header(call->exchange, "x-amz-target"));
    struct view body = http_body(call->exchange);
    struct sluice_error error;

    if (body.len == 0)
        body = VIEW_LITERAL("{}");
    if (json_check(body, JSON_OBJECT, JSON_DEPTH_MAX, &error) != SLUICE_OK)
        json_service_refuse(call, 400, "SerializationException", "the body is not a JSON object: %s", error.text);
    else
        run(call, body);
}

void json_services_head(struct call *call, struct view target)
{
    if (!view_is(http_method(call->exchange), "POST") || !view_is(http_path(call->exchange), "/"))
        json_service_refuse(call, 400, "UnknownOperationException", "X-Amz-Target belongs to POST /");
    else if (operation_find(target) == NULL)
        json_service_refuse(call, 400, "UnknownOperationException", "%.*s is not served here", target.len > 100 ? 100 : (int)target.len, target.data);
    else if (call_body_announced(call) > JSON_SERVICE_BODY_BYTES_MAX)
        json_service_refuse(call, 413, "RequestEntityTooLargeException", "the body has %zu bytes; at most %d are taken", call_body_announced(call),
                            JSON_SERVICE_BODY_BYTES_MAX);
    else
        call_serve(call, serve, JSON_SERVICE_BODY_BYTES_MAX);
}

bool json_text_member(struct call *call, struct view object, const char *name, struct bytes *out, struct view *ret_text)
{
    struct view value;
    size_t start = out->len;

    *ret_text = (struct view){ 0 };
    if (!json_member(object, view_of(name), &value) || view_is(value, "null"))
        return true;
    if (!bytes_reserve(out, value.len) || !json_string_decode(value, out)) {
        json_service_refuse(call, 400, "SerializationException", "'%s' must be a string", name);
        return false;
    }
    *ret_text = (struct view){ out->data + start, out->len - start };
    return true;
}
