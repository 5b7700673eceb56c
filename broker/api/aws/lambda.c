/* lambda.c - Lambda's REST API: paths to operations, names to functions.
 *
 * Paths begin with the date of an operation's version, and every client sends the date it was built with; only what follows it is looked
 * at. A slash at the end counts as none: older clients send it. Functions are what the configuration files say, so what would change them
 * is refused with that advice. */
#include "broker/api/aws/lambda.h"

#include <stdio.h>

enum { PATH_DATE_BYTES = sizeof "/2015-03-31/" - 1, SEGMENTS_MAX = 4, CONTROL_BODY_BYTES_MAX = 1 << 20 };

static const char name_pattern[] = "(arn:(aws[a-zA-Z-]*)?:lambda:)?([a-z]{2}(-gov)?-[a-z]+-\\d{1}:)?(\\d{12}:)?(function:)?"
                                   "([a-zA-Z0-9-_\\.]+)(:(\\$LATEST|[a-zA-Z0-9-_]+))?";

static void configured_head(struct call *call)
{
    lambda_refuse(call, AWS_ACCESS_DENIED,
                  "Functions are defined in the configuration files of sluiced, under 'functions'; edit them, and the daemon reads them again.");
}

static void plain_head(struct call *call, void (*serve)(struct call *call))
{
    call_serve(call, serve, CONTROL_BODY_BYTES_MAX);
}

/* `*`: one segment. The first `*` behind functions or tags is the function's name. */
static const struct operation {
    const char *method, *path;
    void (*head)(struct call *call, void (*serve)(struct call *call));
    void (*serve)(struct call *call);    /* NULL: the configuration's */
} operations[] = {
    { "POST", "functions/*/invocations", invoke_head, invoke_serve },
    { "POST", "functions/*/response-streaming-invocations", invoke_head, invoke_stream_serve },
    { "POST", "functions/*/invoke-async", invoke_head, invoke_async_old_serve },
    { "GET", "functions", plain_head, functions_list_serve },
    { "GET", "functions/*", plain_head, function_get_serve },
    { "GET", "functions/*/configuration", plain_head, function_configuration_serve },
    { "GET", "functions/*/versions", plain_head, function_versions_serve },
    { "GET", "functions/*/aliases", plain_head, function_aliases_serve },
    { "GET", "functions/*/concurrency", plain_head, function_concurrency_serve },
    { "GET", "functions/*/url", plain_head, function_url_serve },
    { "GET", "functions/*/policy", plain_head, function_policy_serve },
    { "GET", "functions/*/code-signing-config", plain_head, function_nothing_serve },
    { "GET", "functions/*/recursion-config", plain_head, function_nothing_serve },
    { "GET", "tags/*", plain_head, function_tags_serve },
};

static struct view segment_next(struct view *path)
{
    const char *slash = path->len == 0 ? NULL : memchr(path->data, '/', path->len);
    struct view segment = { .data = path->data, .len = slash == NULL ? path->len : (size_t)(slash - path->data) };
    size_t taken = segment.len + (slash != NULL);

    *path = (struct view){ path->data + taken, path->len - taken };
    return segment;
}

static bool path_matches(const char *pattern, struct view path, struct view *ret_name)
{
    struct view wanted = view_of(pattern);

    while (wanted.len > 0) {
        struct view word = segment_next(&wanted), segment = segment_next(&path);
        if (view_is(word, "*") ? segment.len == 0 : !view_equals(word, segment))
            return false;
        if (view_is(word, "*"))
            *ret_name = segment;
    }
    return path.len == 0;
}

void lambda_head(struct call *call)
{
    struct view path = http_path(call->exchange), method = http_method(call->exchange);

    path = (struct view){ path.data + PATH_DATE_BYTES, path.len - PATH_DATE_BYTES };
    if (path.len > 0 && path.data[path.len - 1] == '/')
        path.len--;
    for (size_t i = 0; i < sizeof operations / sizeof *operations; i++) {
        struct view name = { 0 };
        if (!view_is(method, operations[i].method) || !path_matches(operations[i].path, path, &name))
            continue;
        call->name = name;
        operations[i].head(call, operations[i].serve);
        return;
    }
    if (view_is(path, "functions") || view_begins(path, "functions/") || view_begins(path, "event-source-mappings") || view_begins(path, "tags/") ||
        view_begins(path, "layers"))
        configured_head(call);
    else
        lambda_refuse(call, AWS_UNKNOWN_OPERATION, "This operation of Lambda is not served here.");
}

/* ---- which function ---- */

static void refuse_value(struct call *call, struct view value, const char *name, const char *pattern)
{
    lambda_refuse(call, AWS_VALIDATION,
                  "1 validation error detected: Value '%.*s' at '%s' failed to satisfy constraint: Member must satisfy regular expression pattern: %s",
                  value.len > 170 ? 170 : (int)value.len, value.data == NULL ? "" : value.data, name, pattern);
}

/* The name and the qualifier, which may stand in the name, in the query, or in both and then alike. Views into `decoded`. */
static bool target_parse(struct call *call, struct bytes *decoded, struct function_name *ret_name)
{
    struct view qualifier = http_query_value(http_query(call->exchange), "Qualifier"), text;

    if (!bytes_reserve(decoded, call->name.len + qualifier.len) || !http_unescape(call->name, decoded) ||
        !function_name_parse(bytes_view(decoded), ret_name)) {
        refuse_value(call, call->name, "functionName", name_pattern);
        return false;
    }
    if (qualifier.data == NULL || qualifier.len == 0)
        return true;
    size_t start = decoded->len;
    if (!http_unescape(qualifier, decoded)) {
        refuse_value(call, qualifier, "qualifier", "(|[a-zA-Z0-9$_-]+)");
        return false;
    }
    text = (struct view){ decoded->data + start, decoded->len - start };
    if (!qualifier_is_valid(text)) {
        refuse_value(call, text, "qualifier", "(|[a-zA-Z0-9$_-]+)");
        return false;
    }
    if (ret_name->qualifier.data != NULL && !view_equals(ret_name->qualifier, text)) {
        lambda_refuse(call, AWS_INVALID_PARAMETER_VALUE,
                      "The derived qualifier from the function name does not match the specified qualifier.");
        return false;
    }
    ret_name->qualifier = text;
    return true;
}

bool lambda_target_find(struct call *call, struct lambda_target *ret_target)
{
    const struct config *config = call->api->hands.config(call->api->hands.ctx);
    struct bytes decoded = { 0 }, *arn = &call->api->scratch;
    char text[AWS_NAME_BYTES_MAX + 1];
    struct function_name name;

    if (!target_parse(call, &decoded, &name)) {
        bytes_done(&decoded);
        return false;
    }
    memcpy(text, name.name.data, name.name.len);
    text[name.name.len] = '\0';
    bool qualified = name.qualifier.data != NULL, latest = !qualified || view_is(name.qualifier, "$LATEST");
    bytes_clear(arn);
    function_arn_put(arn, &name);
    bytes_done(&decoded);
    ret_target->config = config_function_find(config, text);
    ret_target->arn = bytes_view(arn);
    if (ret_target->config != NULL && latest && engine_function_find(call->api->hands.engine, view_of(text), &ret_target->function))
        return true;
    lambda_refuse(call, AWS_RESOURCE_NOT_FOUND, "Function not found: %.*s%s", (int)arn->len, arn->data, qualified ? "" : ":$LATEST");
    return false;
}
