/* http_event.c - an HTTP request as a function gets it: the payload format 2.0 of function URLs and HTTP APIs.
 *
 * Members that would be empty are left out. Header names are in lower case, values of one name are joined by commas; cookies stand apart, and
 * what is about the connection alone is left out. A body is text if its type says so and it is UTF-8; else base64. */
#include "schemas/codec/utf8.h"
#include "broker/api/routes/routes.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "broker/edge/log.h"

static void put_name(struct bytes *out, const char *name)
{
    json_put_string(out, view_of(name));
    bytes_put_char(out, ':');
}

/* ---- headers and cookies ---- */

static bool names_equal(struct view a, struct view b)
{
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++) {
        if (tolower((unsigned char)a.data[i]) != tolower((unsigned char)b.data[i]))
            return false;
    }
    return true;
}

static void put_lower(struct bytes *out, struct view name)
{
    for (size_t i = 0; i < name.len; i++)
        bytes_put_char(out, name.data[i] >= 'A' && name.data[i] <= 'Z' ? (char)(name.data[i] | 0x20) : name.data[i]);
}

/* What the service adds, in place of or behind what the request has. */
static void forwarded_for(struct call *call, struct bytes *out)
{
    struct view came = http_header(call->exchange, "x-forwarded-for");
    char peer[64];

    if (came.len > 0) {
        bytes_put_view(out, came);
        bytes_put_text(out, ", ");
    }
    if (http_peer_address(call->exchange, peer, sizeof peer))
        bytes_put_text(out, peer);
}

static bool is_listed(struct view name, const char *const *names)
{
    for (; *names != NULL; names++) {
        if (view_is_any_case(name, *names))
            return true;
    }
    return false;
}

static bool header_is_ours(struct view name)
{
    static const char *const ours[] = { "cookie", "x-forwarded-for", "x-forwarded-port", "x-forwarded-proto", "x-amzn-trace-id", NULL };

    return is_listed(name, ours);
}

/* Whether one of the request's Connection headers names it. */
static bool connection_names(const struct call *call, struct view name)
{
    for (unsigned i = 0; i < http_headers_count(call->exchange); i++) {
        struct http_field field = http_header_at(call->exchange, i);
        if (!view_is_any_case(field.name, "connection"))
            continue;
        for (const char *at = field.value.data, *end = at + field.value.len; at < end;) {
            const char *comma = memchr(at, ',', (size_t)(end - at)), *stop = comma == NULL ? end : comma, *last = stop;
            while (at < last && (*at == ' ' || *at == '\t'))
                at++;
            while (last > at && (last[-1] == ' ' || last[-1] == '\t'))
                last--;
            if (names_equal((struct view){ at, (size_t)(last - at) }, name))
                return true;
            at = stop + 1;
        }
    }
    return false;
}

/* Said of the connection it came by, which ends here: RFC 9110 7.6.1. Trailers are not passed on, so neither is their announcement. */
static bool header_is_of_the_connection(const struct call *call, struct view name)
{
    static const char *const always[] = { "connection", "proxy-connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", NULL };

    return is_listed(name, always) || connection_names(call, name);
}

static void put_headers(struct call *call, struct bytes *out)
{
    unsigned count = http_headers_count(call->exchange);
    struct bytes value = { 0 };

    put_name(out, "headers");
    bytes_put_char(out, '{');
    for (unsigned i = 0; i < count; i++) {
        struct http_field field = http_header_at(call->exchange, i);
        bool skip = header_is_ours(field.name) || header_is_of_the_connection(call, field.name);
        for (unsigned j = 0; !skip && j < i; j++) /* it was told with the first of its name */
            skip = names_equal(http_header_at(call->exchange, j).name, field.name);
        if (skip)
            continue;
        bytes_clear(&value);
        bytes_put_view(&value, field.value);
        for (unsigned j = i + 1; j < count; j++) {
            struct http_field other = http_header_at(call->exchange, j);
            if (!names_equal(other.name, field.name))
                continue;
            bytes_put_char(&value, ',');
            bytes_put_view(&value, other.value);
        }
        bytes_put_char(out, '"');
        put_lower(out, field.name); /* a token: it needs no escape */
        bytes_put_text(out, "\":");
        json_put_string(out, bytes_view(&value));
        bytes_put_char(out, ',');
    }
    char made[TRACE_ID_LEN + 1];
    struct view trace_id = call_trace_id(call, made);
    put_member(out, "x-amzn-trace-id", trace_id.data != made ? trace_id : (struct view){ made, TRACE_ID_ROOT_LEN }); /* as AWS's say it */
    bytes_clear(&value);
    forwarded_for(call, &value);
    put_member(out, "x-forwarded-for", bytes_view(&value));
    bytes_put_format(out, "\"x-forwarded-port\":\"%u\",", call->api->port);
    put_member(out, "x-forwarded-proto", VIEW_LITERAL("http"));
    put_object_end(out);
    bytes_put_char(out, ',');
    bytes_done(&value);
}

static void put_cookies(struct call *call, struct bytes *out)
{
    bool any = false;

    for (unsigned i = 0; i < http_headers_count(call->exchange); i++) {
        struct http_field field = http_header_at(call->exchange, i);
        if (!view_is_any_case(field.name, "cookie"))
            continue;
        for (const char *at = field.value.data, *end = at + field.value.len; at < end;) {
            const char *semicolon = memchr(at, ';', (size_t)(end - at)), *stop = semicolon == NULL ? end : semicolon;
            while (at < stop && *at == ' ')
                at++;
            if (at < stop) {
                if (!any)
                    put_name(out, "cookies");
                bytes_put_char(out, any ? ',' : '[');
                json_put_string(out, (struct view){ at, (size_t)(stop - at) });
                any = true;
            }
            at = stop + 1;
        }
    }
    if (any)
        bytes_put_text(out, "],");
}

/* ---- the query ---- */

struct parameter {
    struct view name, value;
    bool told;
};

/* '+' is a space in a query; a bad escape stands as it is. */
static struct view query_decode(struct view text, struct bytes *out)
{
    size_t start = out->len;

    for (size_t i = 0; i < text.len; i++) {
        int high = text.data[i] == '%' && text.len - i > 2 ? hex_digit(text.data[i + 1]) : -1, low = high < 0 ? -1 : hex_digit(text.data[i + 2]);
        if (low >= 0) {
            bytes_put_char(out, (char)(high << 4 | low));
            i += 2;
        } else {
            bytes_put_char(out, text.data[i] == '+' ? ' ' : text.data[i]);
        }
    }
    return (struct view){ out->data + start, out->len - start };
}

/* How many; QUERY_PARAMETERS_MAX + 1 for too many. */
static unsigned query_split(struct view query, struct parameter parameters[QUERY_PARAMETERS_MAX], struct bytes *texts)
{
    unsigned count = 0;

    for (const char *at = query.data, *end = at + query.len; at < end;) {
        const char *stop = memchr(at, '&', (size_t)(end - at));
        stop = stop == NULL ? end : stop;
        if (at < stop) {
            const char *equals = memchr(at, '=', (size_t)(stop - at)), *name_end = equals == NULL ? stop : equals;
            if (count == QUERY_PARAMETERS_MAX)
                return QUERY_PARAMETERS_MAX + 1;
            struct view value = { equals == NULL ? stop : equals + 1, 0 };
            value.len = (size_t)(stop - value.data);
            parameters[count].name = query_decode((struct view){ at, (size_t)(name_end - at) }, texts);
            parameters[count].value = query_decode(value, texts);
            parameters[count++].told = false;
        }
        at = stop + 1;
    }
    return count;
}

static void put_parameters(struct bytes *out, struct parameter *parameters, unsigned count)
{
    struct bytes value = { 0 };

    put_name(out, "queryStringParameters");
    bytes_put_char(out, '{');
    for (unsigned i = 0; i < count; i++) {
        if (parameters[i].told)
            continue;
        bytes_clear(&value);
        bytes_put_view(&value, parameters[i].value);
        for (unsigned j = i + 1; j < count; j++) {
            if (parameters[j].told || !view_equals(parameters[i].name, parameters[j].name))
                continue;
            parameters[j].told = true;
            bytes_put_char(&value, ',');
            bytes_put_view(&value, parameters[j].value);
        }
        json_put_string(out, parameters[i].name);
        bytes_put_char(out, ':');
        json_put_string(out, bytes_view(&value));
        bytes_put_char(out, ',');
    }
    put_object_end(out);
    bytes_put_char(out, ',');
    bytes_done(&value);
}

/* false: refused. */
static bool put_query(struct call *call, struct bytes *out)
{
    struct view query = http_query(call->exchange);
    struct bytes texts = { 0 };

    put_member(out, "rawQueryString", query);
    if (query.len == 0)
        return true;
    struct parameter *parameters = malloc(QUERY_PARAMETERS_MAX * sizeof *parameters);
    bool room = parameters != NULL && bytes_reserve(&texts, query.len + 1); /* so that views into it stay */
    ASSERT(room);
    unsigned count = query_split(query, parameters, &texts);
    if (count > 0 && count <= QUERY_PARAMETERS_MAX)
        put_parameters(out, parameters, count);
    free(parameters);
    bytes_done(&texts);
    if (count > QUERY_PARAMETERS_MAX)
        call_refuse(call, 400, "more than %d parameters in the query", QUERY_PARAMETERS_MAX);
    return count <= QUERY_PARAMETERS_MAX;
}

/* ---- the body ---- */

static bool type_is_text(struct view type)
{
    static const char *const texts[] = { "application/json", "application/xml", "application/javascript", "application/x-www-form-urlencoded" };
    const char *semicolon = type.len == 0 ? NULL : memchr(type.data, ';', type.len);

    if (semicolon != NULL)
        type.len = (size_t)(semicolon - type.data);
    while (type.len > 0 && type.data[type.len - 1] == ' ')
        type.len--;
    if (view_begins_any_case(type, "text/"))
        return true;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        if (view_is_any_case(type, texts[i]))
            return true;
    }
    const char *plus = type.len == 0 ? NULL : memrchr(type.data, '+', type.len);
    struct view suffix = { plus, plus == NULL ? 0 : (size_t)(type.data + type.len - plus) };
    return view_is_any_case(suffix, "+json") || view_is_any_case(suffix, "+xml");
}

static void put_body(struct call *call, struct bytes *out)
{
    struct view body = http_body(call->exchange);
    bool text = type_is_text(http_header(call->exchange, "content-type")) && utf8_valid(body);

    if (body.len > 0) {
        put_name(out, "body");
        if (text) {
            json_put_string(out, body);
        } else {
            bytes_put_char(out, '"');
            put_base64(out, body);
            bytes_put_char(out, '"');
        }
        bytes_put_char(out, ',');
    }
    bytes_put_format(out, "\"isBase64Encoded\":%s", body.len > 0 && !text ? "true" : "false");
}

/* ---- the rest ---- */

/* "$default", or the method and the path of the route that was met. */
static void put_route_key(struct call *call, const struct web_target *target, struct bytes *out)
{
    struct bytes key = { 0 };

    if (target->route == NULL) {
        bytes_put_text(&key, "$default");
    } else {
        bytes_put_view(&key, target->route->methods[0] == NULL ? VIEW_LITERAL("ANY") : http_method(call->exchange));
        bytes_put_char(&key, ' ');
        bytes_put_text(&key, target->route->path);
    }
    put_member(out, "routeKey", bytes_view(&key));
    bytes_done(&key);
}

static void put_path_parameters(const struct web_target *target, struct bytes *out)
{
    struct bytes value = { 0 };

    if (target->parameters_count == 0)
        return;
    put_name(out, "pathParameters");
    bytes_put_char(out, '{');
    for (unsigned i = 0; i < target->parameters_count; i++) {
        bytes_clear(&value);
        if (!http_unescape(target->parameters[i].value, &value)) { /* not an escape, or a NUL: as it came */
            bytes_clear(&value);
            bytes_put_view(&value, target->parameters[i].value);
        }
        json_put_string(out, target->parameters[i].name);
        bytes_put_char(out, ':');
        json_put_string(out, bytes_view(&value));
        bytes_put_char(out, ',');
    }
    put_object_end(out);
    bytes_put_char(out, ',');
    bytes_done(&value);
}

static void put_context(struct call *call, const struct web_target *target, struct bytes *out)
{
    struct view host = call_host(call), agent = http_header(call->exchange, "user-agent");
    const char *dot = host.len == 0 ? NULL : memchr(host.data, '.', host.len);
    int64_t now_ms = clock_now().wall_ms;
    time_t seconds = (time_t)(now_ms / 1000);
    char peer[64], time[40];
    struct tm tm;

    if (!http_peer_address(call->exchange, peer, sizeof peer))
        peer[0] = '\0';
    (void)strftime(time, sizeof time, "%d/%b/%Y:%H:%M:%S +0000", gmtime_r(&seconds, &tm));
    bytes_put_text(out, "\"requestContext\":{");
    put_member(out, "accountId", VIEW_LITERAL(EVENT_ACCOUNT_DEFAULT));
    put_member(out, "apiId", view_of(target->route == NULL ? target->function : target->route->name));
    put_member(out, "domainName", host);
    put_member(out, "domainPrefix", (struct view){ host.data, dot == NULL ? host.len : (size_t)(dot - host.data) });
    bytes_put_text(out, "\"http\":{");
    put_member(out, "method", http_method(call->exchange));
    put_member(out, "path", target->raw_path);
    put_member(out, "protocol", VIEW_LITERAL("HTTP/1.1"));
    put_member(out, "sourceIp", view_of(peer));
    put_member(out, "userAgent", agent);
    put_object_end(out);
    bytes_put_char(out, ',');
    put_member(out, "requestId", view_of(call_request_id(call)));
    put_route_key(call, target, out);
    put_member(out, "stage", VIEW_LITERAL("$default"));
    put_member(out, "time", view_of(time));
    put_member_number(out, "timeEpoch", now_ms);
    put_object_end(out);
    bytes_put_char(out, ',');
}

bool http_event_put(struct call *call, const struct web_target *target, struct bytes *out)
{
    bytes_put_text(out, "{\"version\":\"2.0\",");
    put_route_key(call, target, out);
    put_member(out, "rawPath", target->raw_path);
    if (!put_query(call, out))
        return false;
    put_cookies(call, out);
    put_headers(call, out);
    put_path_parameters(target, out);
    put_context(call, target, out);
    put_body(call, out);
    bytes_put_char(out, '}');
    return true;
}
