/* http_result.c - what a function returned, as an HTTP response.
 *
 *   {"statusCode": ..., "headers": {}, "cookies": [], "body": "...", "isBase64Encoded": false}    format 2.0
 *   any other JSON         inferred: 200, application/json, the value as it stands; a string without its quotes
 *   {...} NUL*8 body       of a function that streams, on a route that does not: the prelude, then the body
 *
 * Header fields that belong to the connection, or name the request, are left out; so are those for browsers when the route has `cors`. */
#include "broker/api/routes/routes.h"

enum { FIELDS_MAX = 100, NAME_BYTES_MAX = 256 };

static const char prelude_end[PRELUDE_END_BYTES];

static bool fail(struct sluice_error *reterr, const char *text)
{
    (void)sluice_fail(reterr, SLUICE_EINVAL, "%s", text);
    return false;
}

void http_result_done(struct http_result *result)
{
    bytes_done(&result->texts);
}

/* ---- header fields ---- */

static bool is_left_out(struct view name, const struct web *web)
{
    static const char *const ours[] = { "connection", "keep-alive", "transfer-encoding", "content-length", "trailer", "upgrade", "date", "te",
                                       "x-amzn-requestid", "x-amzn-trace-id" };

    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++) {
        if (view_is_any_case(name, ours[i]))
            return true;
    }
    return web->cors && view_begins_any_case(name, "access-control-");
}

/* A string, a number or a boolean as text; the view is into `texts`, followed by a NUL. false: something else. */
static bool scalar_text(struct http_result *result, struct view value, struct view *ret_text)
{
    size_t start = result->texts.len;

    if (value.len > 0 && value.data[0] == '"') {
        if (!json_string_decode(value, &result->texts))
            return false;
    } else if (value.len > 0 && value.data[0] != '{' && value.data[0] != '[') {
        bytes_put_view(&result->texts, value);
    } else {
        return false;
    }
    *ret_text = (struct view){ result->texts.data + start, result->texts.len - start };
    bytes_put_char(&result->texts, '\0');
    return true;
}

static bool field_put(struct http_result *result, struct view name, struct view value, struct sluice_error *reterr)
{
    struct view text;

    if (result->answer.count == FIELDS_MAX)
        return fail(reterr, "more than 100 header fields");
    if (!scalar_text(result, value, &text) || !http_field_valid(name, text))
        return fail(reterr, "a header's value is not text, or has a control character");
    answer_put(&result->answer, name.data, text);
    return true;
}

static bool headers_read(struct http_result *result, struct view headers, const struct web *web, struct sluice_error *reterr)
{
    struct json_walk walk = json_walk_of(headers), items;
    struct view key, value, name, none;

    if (view_is(headers, "null"))
        return true;
    if (!walk.object)
        return fail(reterr, "'headers' is not an object");
    while (json_walk_next(&walk, &key, &value)) {
        if (!scalar_text(result, key, &name) || name.len > NAME_BYTES_MAX || !http_field_valid(name, VIEW_LITERAL("")))
            return fail(reterr, "a name of 'headers' is not the name of a header");
        if (is_left_out(name, web) || view_is(value, "null"))
            continue;
        if (value.data[0] != '[') {
            if (!field_put(result, name, value, reterr))
                return false;
            continue;
        }
        for (items = json_walk_of(value); json_walk_next(&items, &none, &value);) {
            if (!field_put(result, name, value, reterr))
                return false;
        }
    }
    return true;
}

static bool cookies_read(struct http_result *result, struct view cookies, struct sluice_error *reterr)
{
    struct json_walk walk = json_walk_of(cookies);
    struct view none, value;

    if (view_is(cookies, "null"))
        return true;
    if (cookies.data[0] != '[')
        return fail(reterr, "'cookies' is not a list");
    while (json_walk_next(&walk, &none, &value)) {
        if (!field_put(result, VIEW_LITERAL("set-cookie"), value, reterr))
            return false;
    }
    return true;
}

/* ---- the object ---- */

static bool status_read(struct http_result *result, struct view value, struct sluice_error *reterr)
{
    unsigned status = 0;

    if (value.len == 5 && value.data[0] == '"' && value.data[4] == '"')
        value = (struct view){ value.data + 1, 3 };
    for (size_t i = 0; value.len == 3 && i < 3; i++)
        status = value.data[i] >= '0' && value.data[i] <= '9' ? status * 10 + (unsigned)(value.data[i] - '0') : 9999;
    result->status = status;
    return status >= 200 && status <= 599 ? true : fail(reterr, "'statusCode' is not a status from 200 to 599");
}

static void content_type_default(struct http_result *result, const char *type)
{
    for (unsigned i = 0; i < result->answer.count; i++) {
        if (view_is_any_case(view_of(result->answer.fields[i].name), "content-type"))
            return;
    }
    answer_put(&result->answer, "content-type", view_of(type));
}

static bool body_read(struct http_result *result, struct view body, bool base64, struct sluice_error *reterr)
{
    size_t start = result->texts.len;

    if (body.data[0] != '"') { /* as it stands: JSON text */
        result->body = view_is(body, "null") ? (struct view){ 0 } : body;
        return true;
    }
    if (!json_string_decode(body, &result->texts))
        return fail(reterr, "'body' has half a surrogate pair");
    result->body = (struct view){ result->texts.data + start, result->texts.len - start };
    if (!base64)
        return true;
    size_t decoded = result->texts.len;
    if (!base64_decode(result->body, &result->texts)) /* there is room: nothing moves */
        return fail(reterr, "'body' is not base64");
    result->body = (struct view){ result->texts.data + decoded, result->texts.len - decoded };
    return true;
}

/* Everything but the body. */
static bool head_read(struct http_result *result, struct view object, const struct web *web, const char *content_type, struct sluice_error *reterr)
{
    struct view value;

    if (json_member(object, VIEW_LITERAL("headers"), &value) && !headers_read(result, value, web, reterr))
        return false;
    if (json_member(object, VIEW_LITERAL("cookies"), &value) && !cookies_read(result, value, reterr))
        return false;
    content_type_default(result, content_type);
    return true;
}

static bool object_read(struct http_result *result, struct view object, struct view status, const struct web *web, struct sluice_error *reterr)
{
    struct view body, encoded;
    bool base64 = json_member(object, VIEW_LITERAL("isBase64Encoded"), &encoded) && view_is(encoded, "true");

    return status_read(result, status, reterr) && head_read(result, object, web, "application/json", reterr) &&
           (!json_member(object, VIEW_LITERAL("body"), &body) || body_read(result, body, base64, reterr));
}

static void result_begin(struct http_result *result, size_t bytes)
{
    *result = (struct http_result){ .status = 200 };
    bool room = bytes_reserve(&result->texts, (bytes + FIELDS_MAX + 1) * 2); /* so that views into it stay: text, its base64 decoded, NULs */
    ASSERT(room);
}

bool http_result_read_prelude(struct http_result *ret_result, struct view prelude, const struct web *web, struct sluice_error *reterr)
{
    struct view status;

    result_begin(ret_result, prelude.len);
    if (json_check(prelude, JSON_OBJECT, JSON_DEPTH_MAX, NULL) != SLUICE_OK)
        return fail(reterr, "the prelude of the response is not a JSON object");
    if (json_member(prelude, VIEW_LITERAL("statusCode"), &status) && !status_read(ret_result, status, reterr))
        return false;
    return head_read(ret_result, prelude, web, "application/octet-stream", reterr);
}

bool http_result_read(struct http_result *ret_result, struct view result, const struct web *web, struct sluice_error *reterr)
{
    struct view status;

    if (json_check(result, JSON_ANY, JSON_DEPTH_MAX, NULL) != SLUICE_OK) {
        size_t looked = result.len < PRELUDE_BYTES_MAX ? result.len : PRELUDE_BYTES_MAX;
        const char *end = looked == 0 ? NULL : memmem(result.data, looked, prelude_end, sizeof prelude_end);
        if (end == NULL) {
            result_begin(ret_result, 0);
            return fail(reterr, "the response is not JSON");
        }
        struct view prelude = { result.data, (size_t)(end - result.data) };
        if (!http_result_read_prelude(ret_result, prelude, web, reterr))
            return false;
        ret_result->body = (struct view){ end + sizeof prelude_end, result.len - prelude.len - sizeof prelude_end };
        return true;
    }
    result_begin(ret_result, result.len);
    while (result.len > 0 && strchr(" \t\r\n", result.data[0]) != NULL)
        result = (struct view){ result.data + 1, result.len - 1 };
    while (result.len > 0 && strchr(" \t\r\n", result.data[result.len - 1]) != NULL)
        result.len--;
    if (json_member(result, VIEW_LITERAL("statusCode"), &status))
        return object_read(ret_result, result, status, web, reterr);
    content_type_default(ret_result, "application/json");
    if (result.data[0] == '"')
        return body_read(ret_result, result, false, reterr);
    ret_result->body = result;
    return true;
}
