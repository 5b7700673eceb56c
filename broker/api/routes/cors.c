/* cors.c - what browsers are told of a route or function URL with `cors`. Preflights are answered here; the function sees none, and its own headers of this
 * kind are left out. */
#include "broker/api/routes/routes.h"

#include <stdio.h>

bool cors_is_preflight(const struct call *call)
{
    return view_is(http_method(call->exchange), "OPTIONS") && http_header(call->exchange, "origin").data != NULL &&
           http_header(call->exchange, "access-control-request-method").data != NULL;
}

static bool list_has(const char *const *list, struct view word, bool *ret_all)
{
    bool there = false;

    *ret_all = false;
    for (; *list != NULL; list++) {
        *ret_all = *ret_all || strcmp(*list, "*") == 0;
        there = there || view_is_any_case(word, *list);
    }
    return there || *ret_all;
}

static void put_field(struct bytes *out, const char *name, struct view value)
{
    bytes_put_text(out, name);
    bytes_put_char(out, '\0');
    bytes_put_view(out, value);
    bytes_put_char(out, '\n'); /* no value has one */
}

static void put_list(struct bytes *out, const char *name, const char *const *list)
{
    if (*list == NULL)
        return;
    bytes_put_text(out, name);
    for (char separator = '\0'; *list != NULL; list++, separator = ',') {
        bytes_put_char(out, separator);
        bytes_put_text(out, *list);
    }
    bytes_put_char(out, '\n');
}

/* false: this origin is not to read the answer. */
static bool origin_note(struct call *call, const struct config_cors *cors, struct web *web)
{
    struct view origin = http_header(call->exchange, "origin");
    bool all, allowed = list_has(cors->allow_origins, origin, &all);

    if (!all || cors->allow_credentials) /* the next one may get another answer */
        put_field(&web->fields, "vary", VIEW_LITERAL("Origin"));
    if (origin.data == NULL || !allowed)
        return false;
    /* With credentials a browser takes no "*". */
    put_field(&web->fields, "access-control-allow-origin", all && !cors->allow_credentials ? VIEW_LITERAL("*") : origin);
    if (cors->allow_credentials)
        put_field(&web->fields, "access-control-allow-credentials", VIEW_LITERAL("true"));
    return true;
}

void cors_note(struct call *call, const struct config_cors *cors, struct web *web)
{
    web->cors = true;
    if (origin_note(call, cors, web))
        put_list(&web->fields, "access-control-expose-headers", cors->expose_headers);
}

void cors_put(const struct web *web, struct answer *answer)
{
    for (const char *at = web->fields.data, *end = at + web->fields.len; at < end;) {
        const char *value = at + strlen(at) + 1, *line_end = memchr(value, '\n', (size_t)(end - value));
        answer_put(answer, at, (struct view){ value, (size_t)(line_end - value) });
        at = line_end + 1;
    }
}

void cors_preflight(struct call *call, const struct config_cors *cors)
{
    struct view method = http_header(call->exchange, "access-control-request-method");
    struct view headers = http_header(call->exchange, "access-control-request-headers");
    struct answer answer = { .count = 0 };
    struct web web = { .cors = true };
    char age[24];
    bool all;

    if (origin_note(call, cors, &web) && (cors->allow_methods[0] == NULL || list_has(cors->allow_methods, method, &all))) {
        /* Without a list, and for "*" (which is a name beside credentials), what is asked is allowed. */
        bool all_methods = cors->allow_methods[0] == NULL, all_headers = cors->allow_headers[0] == NULL;
        if (!all_methods)
            (void)list_has(cors->allow_methods, VIEW_LITERAL(""), &all_methods);
        if (all_methods)
            put_field(&web.fields, "access-control-allow-methods", method);
        else
            put_list(&web.fields, "access-control-allow-methods", cors->allow_methods);
        if (!all_headers)
            (void)list_has(cors->allow_headers, VIEW_LITERAL(""), &all_headers);
        if (all_headers && headers.len > 0)
            put_field(&web.fields, "access-control-allow-headers", headers);
        else if (!all_headers)
            put_list(&web.fields, "access-control-allow-headers", cors->allow_headers);
        if (cors->max_age_ms > 0) {
            (void)snprintf(age, sizeof age, "%lld", (long long)cors->max_age_ms / 1000);
            put_field(&web.fields, "access-control-max-age", view_of(age));
        }
    }
    cors_put(&web, &answer);
    call_respond(call, 204, &answer, VIEW_LITERAL(""));
    bytes_done(&web.fields);
}
