/* routes.c - which call is it? A table of paths, the answers that all calls share, and the life of a call. */
#include "broker/api/runtime/instance.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "schemas/codec/json.h"

#define RUNTIME_PREFIX "/2018-06-01/runtime"
#define EXTENSION_PREFIX "/2020-01-01/extension"

/* ---- answers ---- */

void answer_json(struct http_exchange *exchange, unsigned status, const struct http_answer_field *more, struct view body)
{
    struct http_answer_field fields[2] = { { "Content-Type", VIEW_LITERAL("application/json") } };

    if (more != NULL)
        fields[1] = *more;
    http_respond(exchange, status, fields, more != NULL ? 2 : 1, body);
}

static void put_error(struct bytes *body, const char *type, const char *message)
{
    bytes_put_text(body, "{\"errorMessage\":");
    json_put_string(body, view_of(message));
    bytes_put_format(body, ",\"errorType\":\"%s\"}", type);
}

void answer_error(struct http_exchange *exchange, unsigned status, const char *type, const char *format, ...)
{
    char message[512];
    struct bytes body = { 0 };
    va_list args;

    va_start(args, format);
    (void)vsnprintf(message, sizeof message, format, args);
    va_end(args);
    put_error(&body, type, message);
    answer_json(exchange, status, NULL, bytes_view(&body)); /* out of memory: the status alone */
    bytes_done(&body);
}

/* A path that is there, for `allowed` alone. */
static void answer_method(struct http_exchange *exchange, const char *allowed)
{
    struct view path = http_path(exchange), method = http_method(exchange);
    char message[200];
    struct bytes body = { 0 };

    (void)snprintf(message, sizeof message, "'%.*s' is called with %s, not with %.*s", (int)(path.len < 100 ? path.len : 100), path.data, allowed,
                   (int)(method.len < 20 ? method.len : 20), method.data);
    put_error(&body, "MethodNotAllowed", message);
    answer_json(exchange, 405, &(struct http_answer_field){ "Allow", view_of(allowed) }, bytes_view(&body));
    bytes_done(&body);
}

void answer_status(struct http_exchange *exchange, unsigned status)
{
    static const struct { unsigned status; const char *type, *message; } words[] = {
        { 400, "InvalidRequestID", "Invalid request ID" },
        { 413, "RequestEntityTooLarge", "Exceeded maximum allowed payload size (6291556 bytes)." },
        { 500, "InternalServerError", "Internal Server Error" },
    };
    size_t i = 0;

    while (i + 1 < sizeof words / sizeof *words && words[i].status != status)
        i++;
    answer_error(exchange, words[i].status, words[i].type, "%s", words[i].message);
}

/* 202 exactly, with this body: several clients take nothing else. */
void answer_accepted(struct http_exchange *exchange)
{
    answer_json(exchange, 202, NULL, VIEW_LITERAL("{\"status\":\"OK\"}"));
}

/* ---- the calls ---- */

struct call *call_new(struct http_exchange *exchange, enum call_kind kind)
{
    struct call *call = malloc(sizeof *call); /* calloc() takes nothing of what free() has laid aside for the next one */

    if (call == NULL) {
        answer_status(exchange, 500);
        return NULL;
    }
    *call = (struct call){ .exchange = exchange, .kind = kind };
    list_init(&call->link);
    http_set_user(exchange, call);
    return call;
}

/* Calls that are answered from their head alone. */
static void ping(struct http_exchange *exchange)
{
    http_respond(exchange, 200, &(struct http_answer_field){ "Content-Type", VIEW_LITERAL("text/plain") }, 1, VIEW_LITERAL("pong"));
}

/* restore/next and restore/error: not there without SnapStart, as on AWS (whose 403 is that of a wrong state with it), and said so: a runtime
 * that asks was told by nobody to. */
static void restore_absent(struct http_exchange *exchange)
{
    answer_error(exchange, 404, "NotFound",
                 "there is no SnapStart here: nothing is restored, and AWS_LAMBDA_INITIALIZATION_TYPE never says so");
}

struct route {
    const char *method, *path;                       /* method NULL: any */
    void (*answer)(struct http_exchange *exchange);  /* NULL: a call of its own, by kind */
    enum call_kind kind;
};

static const struct route routes[] = {
    { "GET", RUNTIME_PREFIX "/invocation/next", NULL, CALL_NEXT },
    { "POST", RUNTIME_PREFIX "/init/error", NULL, CALL_INIT_ERROR },
    { NULL, RUNTIME_PREFIX "/restore/next", restore_absent, 0 },
    { NULL, RUNTIME_PREFIX "/restore/error", restore_absent, 0 },
    { "GET", "/2018-06-01/ping", ping, 0 },
    { "POST", EXTENSION_PREFIX "/register", NULL, CALL_REGISTER },
    { "GET", EXTENSION_PREFIX "/event/next", NULL, CALL_EXTENSION_NEXT },
    { "POST", EXTENSION_PREFIX "/init/error", NULL, CALL_EXTENSION_INIT_ERROR },
    { "POST", EXTENSION_PREFIX "/exit/error", NULL, CALL_EXTENSION_EXIT_ERROR },
    { "PUT", "/2022-07-01/telemetry", NULL, CALL_TELEMETRY },
    { "PUT", TELEMETRY_LOGS_PATH, NULL, CALL_TELEMETRY },
};

/* RUNTIME_PREFIX/invocation/ID/response or /error. *ret_id as it stands in the path. */
static bool is_answer_path(struct view path, struct view *ret_id, enum call_kind *ret_kind)
{
    static const struct { struct view tail; enum call_kind kind; } tails[] = {
        { VIEW_LITERAL("/response"), CALL_RESPONSE }, { VIEW_LITERAL("/error"), CALL_ERROR },
    };
    const struct view prefix = VIEW_LITERAL(RUNTIME_PREFIX "/invocation/");

    if (path.len < prefix.len || memcmp(path.data, prefix.data, prefix.len) != 0)
        return false;
    path.data += prefix.len;
    path.len -= prefix.len;
    for (size_t i = 0; i < sizeof tails / sizeof *tails; i++) {
        struct view tail = tails[i].tail;
        if (path.len < tail.len || memcmp(path.data + path.len - tail.len, tail.data, tail.len) != 0)
            continue;
        *ret_id = (struct view){ path.data, path.len - tail.len };
        *ret_kind = tails[i].kind;
        return memchr(ret_id->data, '/', ret_id->len) == NULL;
    }
    return false;
}

static const struct route *route_find(struct http_exchange *exchange)
{
    struct view path = http_path(exchange);

    for (size_t i = 0; i < sizeof routes / sizeof *routes; i++) { /* each path has one method */
        if (!view_is(path, routes[i].path))
            continue;
        if (routes[i].method == NULL || view_is(http_method(exchange), routes[i].method))
            return &routes[i];
        answer_method(exchange, routes[i].method);
        return NULL;
    }
    answer_error(exchange, 404, "NotFound", "nothing is called '%.*s' here: this is the Lambda Runtime API, version 2018-06-01",
                 (int)(path.len < 100 ? path.len : 100), path.data);
    return NULL;
}

static void route_head(struct runtime_instance *instance, struct http_exchange *exchange)
{
    enum call_kind kind;
    struct view id;
    struct call *call;

    http_limit_body(exchange, RUNTIME_CONTROL_BYTES_MAX);
    if (is_answer_path(http_path(exchange), &id, &kind)) {
        if (!view_is(http_method(exchange), "POST")) {
            answer_method(exchange, "POST");
            return;
        }
        call = call_new(exchange, kind);
        if (call != NULL)
            response_head(instance, call, id);
        return;
    }
    const struct route *route = route_find(exchange);
    if (route == NULL)
        return;
    if (route->answer != NULL) {
        route->answer(exchange);
        return;
    }
    call = call_new(exchange, route->kind);
    if (call != NULL && route->kind == CALL_INIT_ERROR)
        init_error_head(instance, call);
}

static void route_request(struct runtime_instance *instance, struct call *call)
{
    switch (call->kind) {
    case CALL_NEXT: next_request(instance, call); break;
    case CALL_RESPONSE:
    case CALL_ERROR: response_request(instance, call); break;
    case CALL_INIT_ERROR: init_error_request(instance, call); break;
    case CALL_REGISTER: extension_register(instance, call->exchange); break;
    case CALL_EXTENSION_NEXT: extension_next(instance, call); break;
    case CALL_EXTENSION_INIT_ERROR: extension_error(instance, call->exchange, true); break;
    case CALL_EXTENSION_EXIT_ERROR: extension_error(instance, call->exchange, false); break;
    case CALL_TELEMETRY: telemetry_request(instance, call->exchange); break;
    case CALL_ANSWERED: break;
    }
}

/* ---- what the HTTP server calls ---- */

static void on_head(void *ctx, struct http_exchange *exchange)
{
    struct runtime_instance *instance = ctx;

    instance_pin(instance);
    route_head(instance, exchange);
    instance_unpin(instance);
}

static void on_body(void *ctx, struct http_exchange *exchange, struct view piece)
{
    struct runtime_instance *instance = ctx;
    struct call *call = http_user(exchange);

    if (call == NULL)
        return;
    instance_pin(instance);
    response_piece(instance, call, piece);
    instance_unpin(instance);
}

static void on_request(void *ctx, struct http_exchange *exchange)
{
    struct runtime_instance *instance = ctx;
    struct call *call = http_user(exchange);

    if (call == NULL)
        return; /* answered from its head */
    instance_pin(instance);
    route_request(instance, call);
    instance_unpin(instance);
}

static void on_end(void *ctx, struct http_exchange *exchange, enum http_end end)
{
    struct runtime_instance *instance = ctx;
    struct call *call = http_user(exchange);

    if (call == NULL)
        return;
    http_set_user(exchange, NULL);
    instance_pin(instance);
    if (call->kind == CALL_NEXT)
        next_end(instance, call, end);
    else if (call->kind == CALL_RESPONSE || call->kind == CALL_ERROR)
        response_end(instance, call);
    else if (call->kind == CALL_EXTENSION_NEXT)
        extension_next_end(instance, call);
    bytes_done(&call->body);
    free(call);
    instance_unpin(instance);
}

const struct http_handler runtime_handler = {
    .admit = runtime_admit, .on_head = on_head, .on_body = on_body, .on_request = on_request, .on_end = on_end,
};
