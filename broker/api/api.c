/* api.c - one port for everything on HTTP: whom may speak, and which door is meant.
 *
 *   Host NAME.lambda-url.*               routes/       the function's URL, whatever the path
 *   X-Amz-Target: AWSEvents.PutEvents    aws/          AWS JSON 1.1
 *   /2015-03-31/functions/...            aws/          Lambda's REST API: a path that begins with a date
 *   /events                              cloudevents/
 *   /metrics /healthz /readyz
 *   /url/NAME/...                        routes/       the function's URL where names under localhost are not resolved
 *   anything else                        routes/       the routes of the configuration
 *
 * Browsers. Any page the user looks at can make his browser send requests to a loopback port, and no password stands before this one.
 * What keeps pages out: (1) on a loopback address the Host must be an IP address, localhost, a name under it or a configured one (`listen.http`, `listen.http-hosts`); a
 * page that has its own name resolve to 127.0.0.1 (DNS rebinding) is refused. (2) A request with an Origin of another host than the Host is
 * refused by every door but routes and function URLs, where the function and its `cors` decide, as they do on AWS. */
#include "broker/api/once.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

#include "broker/api/routes/routes.h"
#include "broker/core/match.h"
#include "broker/edge/log.h"

/* ---- ids ---- */

void api_uuid(struct api *api, uint8_t ret_uuid[UUID_BYTES])
{
    uint8_t random[UUID_BYTES];

    if (api->random_left < sizeof random) {
        ASSERT(getrandom(api->random, sizeof api->random, 0) == (ssize_t)sizeof api->random); /* 256 bytes at a time always come whole */
        api->random_left = sizeof api->random;
    }
    api->random_left -= sizeof random;
    memcpy(random, api->random + api->random_left, sizeof random);
    uuid7_make(clock_now().wall_ms, random, ret_uuid);
}

uint64_t api_handle(struct api *api)
{
    return API_HANDLE_BIT | ++api->handle_last;
}

/* ---- texts ---- */

static bool view_ends_any_case(struct view text, const char *suffix)
{
    size_t len = strlen(suffix);
    return text.len > len && strncasecmp(text.data + text.len - len, suffix, len) == 0;
}

/* "host:port", "[::1]:port" or "host": without the port and the brackets. */
static struct view host_of(struct view authority)
{
    if (authority.len == 0)
        return authority;
    const char *end = authority.data + authority.len;
    if (authority.data[0] == '[') {
        const char *bracket = memchr(authority.data, ']', authority.len);
        return bracket == NULL ? authority : (struct view){ authority.data + 1, (size_t)(bracket - authority.data) - 1 };
    }
    const char *colon = memchr(authority.data, ':', authority.len);
    return (struct view){ authority.data, (size_t)((colon == NULL ? end : colon) - authority.data) };
}

struct view call_host(const struct call *call)
{
    return host_of(http_header(call->exchange, "host"));
}

/* ---- who may speak ---- */

static bool is_ip_address(struct view host)
{
    char text[64];
    uint8_t address[16];

    if (host.len >= sizeof text)
        return false;
    memcpy(text, host.data, host.len);
    text[host.len] = '\0';
    return inet_pton(AF_INET, text, address) == 1 || inet_pton(AF_INET6, text, address) == 1;
}

static bool host_is_ours(const struct api *api, struct view host)
{
    if (!api->loopback || host.data == NULL) /* reached by names we cannot know; HTTP/1.0, and so no browser */
        return true;
    const struct config *config = api->hands.config(api->hands.ctx);
    for (const char *const *name = config->http_hosts; name != NULL && *name != NULL; name++) {
        if (view_is_any_case(host, *name))
            return true;
    }
    return is_ip_address(host) || view_is_any_case(host, "localhost") || view_ends_any_case(host, ".localhost") || view_is_any_case(host, api->host);
}

/* true: none, or the same host and port as the request was sent to, perhaps through a proxy that speaks TLS. */
static bool origin_is_ours(const struct call *call)
{
    struct view origin = http_header(call->exchange, "origin"), host = http_header(call->exchange, "host");

    if (origin.data == NULL)
        return true;
    size_t scheme = view_begins(origin, "http://") ? 7 : view_begins(origin, "https://") ? 8 : 0;
    origin = (struct view){ origin.data + scheme, origin.len - scheme };
    return origin.len == host.len && strncasecmp(origin.data, host.data, host.len) == 0;
}

static bool address_is_loopback(const char *host)
{
    return strncmp(host, "127.", 4) == 0 || strcmp(host, "::1") == 0 || strcasecmp(host, "localhost") == 0;
}

/* ---- which door ---- */

/* "/2015-03-31/..." */
static bool path_begins_with_date(struct view path)
{
    static const char shape[] = "/dddd-dd-dd/";

    if (path.len < sizeof shape - 1)
        return false;
    for (size_t i = 0; i < sizeof shape - 1; i++) {
        bool digit = path.data[i] >= '0' && path.data[i] <= '9';
        if (shape[i] == 'd' ? !digit : path.data[i] != shape[i])
            return false;
    }
    return true;
}

static bool call_is_read(const struct call *call)
{
    struct view method = http_method(call->exchange);
    return view_is(method, "GET") || view_is(method, "HEAD");
}

static void healthz_head(struct call *call)
{
    if (!call_is_read(call))
        call_refuse_method(call, "GET, HEAD");
    else
        call_respond_text(call, 200, "ok");
}

static void readyz_head(struct call *call)
{
    const char *reason = "not ready";

    if (!call_is_read(call))
        call_refuse_method(call, "GET, HEAD");
    else if (call->api->hands.ready(call->api->hands.ctx, &reason))
        call_respond_text(call, 200, "ready");
    else
        call_respond_text(call, 503, reason);
}

static const struct {
    const char *path;
    void (*head)(struct call *call);
} paths[] = {
    { "/events", cloudevents_head },
    { "/metrics", metrics_head },
    { "/healthz", healthz_head },
    { "/readyz", readyz_head },
};

static void door_choose(struct call *call)
{
    struct view path = http_path(call->exchange), target = http_header(call->exchange, "x-amz-target");

    if (!host_is_ours(call->api, call_host(call))) {
        struct view host = call_host(call);
        call_refuse(call, 403, "the Host '%.*s' is not one of this loopback listener; use its IP address or localhost, or add the name to "
                               "'listen.http-hosts'",
                    host.len > 80 ? 80 : (int)host.len, host.data);
        return;
    }
    if (routes_host_head(call))
        return;
    bool own = target.data != NULL || path_begins_with_date(path);
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        own = own || view_is(path, paths[i].path);
    if (own && !origin_is_ours(call)) {
        call_refuse(call, 403, "requests made by pages of other origins are refused here");
        return;
    }
    if (target.data != NULL) {
        json_services_head(call, target);
        return;
    }
    if (path_begins_with_date(path)) {
        lambda_head(call);
        return;
    }
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        if (view_is(path, paths[i].path)) {
            paths[i].head(call);
            return;
        }
    }
    if (routes_path_head(call))
        return;
    call_refuse(call, 404, "nothing is served at '%.*s'; see sluiced(8) for the paths of this port, and 'routes' in sluice.yaml(5)",
                path.len > 200 ? 200 : (int)path.len, path.data);
}

/* ---- bodies ---- */

size_t call_body_announced(const struct call *call)
{
    struct view text = http_header(call->exchange, "content-length");
    size_t len = 0;

    for (size_t i = 0; i < text.len && text.data[i] >= '0' && text.data[i] <= '9'; i++)
        len = len > SIZE_MAX / 16 ? len : len * 10 + (size_t)(text.data[i] - '0');
    return len;
}

void call_serve(struct call *call, void (*serve)(struct call *call), size_t body_bytes_max)
{
    if (call_body_announced(call) > body_bytes_max) {
        call_refuse(call, 413, "the body has %zu bytes; at most %zu are taken here", call_body_announced(call), body_bytes_max);
        return;
    }
    http_limit_body(call->exchange, body_bytes_max);
    call->serve = serve;
}

/* ---- one exchange ---- */

static void api_head(void *ctx, struct http_exchange *exchange)
{
    struct api *api = ctx;
    struct call *call = malloc(sizeof *call); /* calloc() takes nothing of what free() has laid aside for the next one */

    ASSERT(call != NULL);
    *call = (struct call){ .api = api, .exchange = exchange };
    list_init(&call->waiting);
    list_push(&api->calls, &call->link);
    http_set_user(exchange, call);
    http_limit_body(exchange, API_DRAIN_BYTES);
    door_choose(call);
    ASSERT((call->status != 0) != (call->serve != NULL));
}

static void api_request(void *ctx, struct http_exchange *exchange)
{
    struct call *call = http_user(exchange);

    (void)ctx;
    if (call->status == 0)
        call->serve(call);
}

static void api_drained(void *ctx, struct http_exchange *exchange)
{
    struct call *call = http_user(exchange);

    (void)ctx;
    if (call->invocation != NULL)
        invocation_drained(call);
}

static void api_end(void *ctx, struct http_exchange *exchange, enum http_end end)
{
    struct api *api = ctx;
    struct call *call = http_user(exchange);

    (void)end;
    if (call->invocation != NULL)
        invocation_leave(call);
    if (call->publishing != NULL)
        publishing_leave(call);
    web_free(call->web);
    api->counts.requests[call->status / 100]++;
    list_remove(&call->link);
    free(call);
}

/* ---- the port ---- */

enum sluice_err api_open(struct ev_loop *loop, const char *address, const struct api_hands *hands, struct api **ret_api, struct sluice_error *reterr)
{
    struct api *api = calloc(1, sizeof *api);
    struct view host = host_of(view_of(address));

    ASSERT(api != NULL);
    *api = (struct api){ .loop = loop, .hands = *hands, .opened_ms = clock_now().wall_ms };
    if (host.len >= sizeof api->host) {
        free(api);
        return sluice_fail(reterr, SLUICE_EINVAL, "the host of the HTTP address is longer than %zu bytes", sizeof api->host - 1);
    }
    memcpy(api->host, host.data, host.len);
    api->loopback = address_is_loopback(api->host);
    list_init(&api->calls);
    api->once = once_new(loop);
    api->once_events = once_new(loop);
    api->http = http_server_new(loop, NULL, &(struct http_handler){
        .on_head = api_head, .on_request = api_request, .on_drained = api_drained, .on_end = api_end });
    ASSERT(api->http != NULL);
    enum sluice_err err = http_listen(api->http, address, api, &api->listener, reterr);
    if (err != SLUICE_OK) {
        api_close(api);
        return err;
    }
    api->port = http_listener_port(api->listener);
    *ret_api = api;
    return SLUICE_OK;
}

void api_close(struct api *api)
{
    if (api == NULL)
        return;
    http_listener_close(api->listener);
    api->http = http_server_free(api->http);
    ASSERT(list_empty(&api->calls));
    publishings_close(api);
    invocations_close(api);
    (void)once_free(api->once);
    (void)once_free(api->once_events);
    (void)match_scratch_free(api->match);
    bytes_done(&api->text);
    bytes_done(&api->scratch);
    free(api);
}

uint16_t api_port(const struct api *api)
{
    return api->port;
}
