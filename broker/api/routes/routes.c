/* routes.c - which function a request is for, and the answer's way back to whoever asked. */
#include "broker/api/routes/routes.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "broker/edge/log.h"

#define PRELUDE_TYPE "application/vnd.awslambda.http-integration-response"

static const struct config *config_of(const struct call *call)
{
    return call->api->hands.config(call->api->hands.ctx);
}

/* ---- which function ---- */

static bool function_named(struct call *call, struct view name, struct web_target *ret_target)
{
    char text[CONFIG_NAME_BYTES_MAX + 1];

    if (name.len < 1 || name.len > CONFIG_NAME_BYTES_MAX)
        return false;
    memcpy(text, name.data, name.len);
    text[name.len] = '\0';
    const struct config_function *function = config_function_find(config_of(call), text);
    if (function == NULL)
        return false;
    ret_target->function = function->name;
    ret_target->web = &function->url;
    return true;
}

/* "NAME.lambda-url.localhost": NAME; data NULL: another Host. */
static struct view url_host_name(struct view host)
{
    static const char mark[] = ".lambda-url.";

    for (size_t i = 1; i + sizeof mark - 1 < host.len; i++) {
        if (strncasecmp(host.data + i, mark, sizeof mark - 1) == 0)
            return (struct view){ host.data, i };
    }
    return (struct view){ 0 };
}

static bool methods_have(const char *const *methods, struct view method)
{
    if (*methods == NULL)
        return true;
    for (; *methods != NULL; methods++) {
        if (view_is(method, *methods))
            return true;
    }
    return false;
}

/* The route for `method`; NULL: none, and `allowed` has what others of this path take. */
static const struct config_route *route_find(struct call *call, struct view method, struct web_target *ret_target, struct bytes *allowed)
{
    const struct config *config = config_of(call);

    for (unsigned i = 0; i < config->routes_count; i++) {
        const struct config_route *route = &config->routes[i];
        if (!route_path_match(route->path, http_path(call->exchange), ret_target->parameters, &ret_target->parameters_count))
            continue;
        if (methods_have(route->methods, method))
            return route;
        for (const char *const *other = route->methods; *other != NULL; other++)
            bytes_put_format(allowed, "%s%s", allowed->len > 0 ? ", " : "", *other);
    }
    return NULL;
}

enum found { FOUND, FOUND_NOT, FOUND_ANSWERED };

static bool preflight_answered(struct call *call, const struct config_web *web)
{
    if (web->cors == NULL || !cors_is_preflight(call))
        return false;
    cors_preflight(call, web->cors);
    return true;
}

static enum found route_target(struct call *call, struct web_target *ret_target)
{
    struct view method = http_method(call->exchange);
    struct bytes allowed = { 0 };
    enum found found = FOUND;

    if (cors_is_preflight(call)) {
        ret_target->route = route_find(call, http_header(call->exchange, "access-control-request-method"), ret_target, &allowed);
        if (ret_target->route != NULL && preflight_answered(call, &ret_target->route->web)) {
            bytes_done(&allowed);
            return FOUND_ANSWERED;
        }
        bytes_clear(&allowed);
    }
    ret_target->route = route_find(call, method, ret_target, &allowed);
    if (ret_target->route != NULL) {
        ret_target->function = ret_target->route->function;
        ret_target->web = &ret_target->route->web;
        ret_target->raw_path = http_path(call->exchange);
    } else if (allowed.len > 0) {
        bytes_put_char(&allowed, '\0');
        call_refuse_method(call, allowed.data);
        found = FOUND_ANSWERED;
    } else {
        found = FOUND_NOT;
    }
    bytes_done(&allowed);
    return found;
}

/* "/url/NAME/rest": the function sees "/rest". */
static bool url_path(struct call *call, struct view *ret_name, struct view *ret_path)
{
    static const char prefix[] = "/url/";
    struct view path = http_path(call->exchange);

    if (!view_begins(path, prefix))
        return false;
    path = (struct view){ path.data + sizeof prefix - 1, path.len - (sizeof prefix - 1) };
    const char *slash = path.len == 0 ? NULL : memchr(path.data, '/', path.len);
    *ret_name = (struct view){ path.data, slash == NULL ? path.len : (size_t)(slash - path.data) };
    *ret_path = slash == NULL ? VIEW_LITERAL("/") : (struct view){ slash, path.len - ret_name->len };
    return true;
}

static enum found target_find(struct call *call, struct web_target *ret_target)
{
    struct view name = url_host_name(call_host(call)), path = http_path(call->exchange);

    *ret_target = (struct web_target){ .raw_path = path };
    if (name.data == NULL && !url_path(call, &name, &ret_target->raw_path))
        return route_target(call, ret_target);
    if (function_named(call, name, ret_target))
        return preflight_answered(call, ret_target->web) ? FOUND_ANSWERED : FOUND;
    call_refuse(call, 404, "there is no function '%.*s'", name.len > 80 ? 80 : (int)name.len, name.data);
    return FOUND_ANSWERED;
}

/* ---- the answer ---- */

/* What every answer of ours has beside the function's own fields. */
static void web_put(struct call *call, struct answer *answer)
{
    answer_put(answer, "x-amzn-requestid", view_of(call_request_id(call)));
    answer_put(answer, "x-amzn-trace-id", call_trace_id(call, call->web->trace_id));
    cors_put(call->web, answer);
}

static void refuse(struct call *call, unsigned status, const char *text)
{
    struct answer answer = { .count = 0 };

    answer_put(&answer, "content-type", VIEW_LITERAL("application/json"));
    if (status_is_later(status))
        answer_put(&answer, "retry-after", VIEW_LITERAL("1"));
    web_put(call, &answer);
    bytes_clear(&call->api->text);
    bytes_put_char(&call->api->text, '{');
    put_member(&call->api->text, "message", view_of(text));
    put_object_end(&call->api->text);
    call_respond(call, status, &answer, bytes_view(&call->api->text));
}

/* What a function made that is no response is its own mistake; the caller is told no more than on AWS. */
static void refuse_result(struct call *call, const struct sluice_error *error)
{
    log_format(LOG_WARN, "function=%s event=bad-http-response request=%s text=\"%s\"",
               engine_function_name(call->api->hands.engine, call->web->function), call_request_id(call), error->text);
    refuse(call, 502, "Internal Server Error");
}

static void web_refused(struct call *call, enum sluice_err why, const char *text)
{
    unsigned status = status_of(why);

    if (call->status != 0)
        http_abort(call->exchange);
    else if (status == 429)
        refuse(call, 429, "Rate Exceeded.");
    else
        refuse(call, status == 503 || status == 404 ? status : 502, status == 503 || status == 404 ? text : "Internal Server Error");
}

static void respond_result(struct call *call, struct view bytes)
{
    struct http_result result;
    struct sluice_error error;

    if (http_result_read(&result, bytes, call->web, &error)) {
        web_put(call, &result.answer);
        call_respond(call, result.status, &result.answer, result.body);
    } else {
        refuse_result(call, &error);
    }
    http_result_done(&result);
}

/* ---- streamed ---- */

static bool begin_prelude(struct call *call, struct view prelude)
{
    struct http_result result;
    struct sluice_error error;
    bool good = http_result_read_prelude(&result, prelude, call->web, &error);

    if (good) {
        web_put(call, &result.answer);
        call_begin(call, result.status, &result.answer);
        call->web->begun = true;
    } else {
        refuse_result(call, &error);
    }
    http_result_done(&result);
    return good;
}

static void web_begin(struct call *call, struct view content_type)
{
    struct answer answer = { .count = 0 };

    call->web->streaming = true;
    if (view_begins_any_case(content_type, PRELUDE_TYPE))
        return;
    bool good = content_type.len > 0 && http_field_valid(VIEW_LITERAL("content-type"), content_type);
    answer_put(&answer, "content-type", good ? content_type : VIEW_LITERAL("application/octet-stream"));
    web_put(call, &answer);
    call_begin(call, 200, &answer);
    call->web->begun = true;
}

static void web_piece(struct call *call, struct view piece)
{
    static const char end_mark[PRELUDE_END_BYTES];
    struct bytes *prelude = &call->web->prelude;

    if (call->web->begun) {
        http_write(call->exchange, piece);
        return;
    }
    if (call->status != 0) /* refused for its prelude: what still comes is dropped */
        return;
    bytes_put_view(prelude, piece);
    const char *end = prelude->len == 0 ? NULL : memmem(prelude->data, prelude->len, end_mark, sizeof end_mark);
    struct sluice_error error;
    size_t len = end == NULL ? prelude->len : (size_t)(end - prelude->data);
    if (len > PRELUDE_BYTES_MAX) {
        (void)sluice_fail(&error, SLUICE_EINVAL, "the prelude of the response has more than %d bytes", PRELUDE_BYTES_MAX);
        refuse_result(call, &error);
        return;
    }
    if (end == NULL || !begin_prelude(call, (struct view){ prelude->data, len }))
        return;
    const char *body = end + sizeof end_mark;
    http_write(call->exchange, (struct view){ body, (size_t)(prelude->data + prelude->len - body) });
    bytes_done(prelude);
}

static void web_done(struct call *call, const struct invoke_result *result)
{
    struct web *web = call->web;
    struct sluice_error error;

    if (web->begun && result->failed) {
        http_abort(call->exchange); /* what is sent looks whole until the connection breaks */
    } else if (web->begun) {
        http_finish(call->exchange);
    } else if (call->status != 0) {
        return;
    } else if (result->failed) {
        refuse(call, 502, "Internal Server Error");
    } else if (web->streaming) {
        (void)sluice_fail(&error, SLUICE_EINVAL, "the response has ended before its prelude did");
        refuse_result(call, &error);
    } else {
        respond_result(call, result->body);
    }
}

static const struct invoke_form whole_form = { .done = web_done, .refused = web_refused };
static const struct invoke_form stream_form = { .done = web_done, .refused = web_refused, .begin = web_begin, .piece = web_piece };

/* ---- the request ---- */

void web_free(struct web *web)
{
    if (web == NULL)
        return;
    bytes_done(&web->fields);
    bytes_done(&web->prelude);
    free(web);
}

static void web_invoke(struct call *call, const struct web_target *target, struct view payload)
{
    struct function_name name = { .name = view_of(target->function) };
    struct bytes *arn = &call->api->scratch;
    char trace_id[TRACE_ID_LEN + 1];
    bool streams = target->web->stream;
    uint32_t function;

    bytes_clear(arn);
    function_arn_put(arn, &name);
    if (!engine_function_find(call->api->hands.engine, view_of(target->function), &function)) {
        refuse(call, 404, "the function was removed");
        return;
    }
    call->web->function = function;
    invocation_begin(call, &(struct invoke_request){
                               .form = streams ? &stream_form : &whole_form,
                               .function = function,
                               .arn = bytes_view(arn),
                               .payload = payload,
                               .trace_id = call_trace_id(call, trace_id),
                               .streams = streams,
                           });
}

/* The configuration may be another one than when the head came: it is looked at again. */
static void serve(struct call *call)
{
    struct web_target target;
    struct bytes payload = { 0 };

    call->web = calloc(1, sizeof *call->web);
    ASSERT(call->web != NULL);
    enum found found = target_find(call, &target);
    if (found == FOUND_NOT)
        call_refuse(call, 404, "the route was removed");
    if (found != FOUND)
        return;
    if (target.web->cors != NULL)
        cors_note(call, target.web->cors, call->web);
    if (http_event_put(call, &target, &payload)) {
        if (payload.failed || payload.len > INVOKE_BYTES_MAX)
            refuse(call, 413, "the request is too large: as a payload for the function it has more than 6 MiB");
        else
            web_invoke(call, &target, bytes_view(&payload));
    }
    bytes_done(&payload);
}

static bool head(struct call *call)
{
    struct web_target target;

    switch (target_find(call, &target)) {
    case FOUND: call_serve(call, serve, INVOKE_BYTES_MAX); return true;
    case FOUND_ANSWERED: return true;
    case FOUND_NOT: return false;
    }
    return false;
}

bool routes_host_head(struct call *call)
{
    return url_host_name(call_host(call)).data != NULL && head(call);
}

bool routes_path_head(struct call *call)
{
    return head(call);
}
