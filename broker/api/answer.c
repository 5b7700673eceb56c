/* answer.c - the forms in which the doors answer. */
#include "broker/api/api_internal.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

const char *call_request_id(struct call *call)
{
    uint8_t id[UUID_BYTES];

    if (call->request_id[0] == '\0') {
        api_uuid(call->api, id);
        uuid_to_text(id, call->request_id);
    }
    return call->request_id;
}

static void call_answered(struct call *call, unsigned status)
{
    ASSERT(call->status == 0);
    ASSERT(status >= 200 && status <= 599);
    call->status = status;
}

void call_respond(struct call *call, unsigned status, const struct answer *answer, struct view body)
{
    call_answered(call, status);
    http_respond(call->exchange, status, answer->fields, answer->count, body);
}

void call_begin(struct call *call, unsigned status, const struct answer *answer)
{
    call_answered(call, status);
    http_begin(call->exchange, status, answer->fields, answer->count);
}

bool status_is_later(unsigned status)
{
    return status == 429 || status == 503;
}

static void respond_as(struct call *call, unsigned status, const char *content_type, struct view body)
{
    struct answer answer = { .count = 0 };

    answer_put(&answer, "content-type", view_of(content_type));
    if (status_is_later(status))
        answer_put(&answer, "retry-after", VIEW_LITERAL("1"));
    call_respond(call, status, &answer, body);
}

void call_respond_text(struct call *call, unsigned status, const char *text)
{
    struct bytes *out = &call->api->text;

    bytes_clear(out);
    bytes_put_text(out, text);
    bytes_put_char(out, '\n');
    respond_as(call, status, "text/plain; charset=utf-8", bytes_view(out));
}

void call_respond_json(struct call *call, unsigned status, struct view json)
{
    respond_as(call, status, "application/json", json);
}

void call_refuse(struct call *call, unsigned status, const char *format, ...)
{
    struct bytes *out = &call->api->text;
    char text[512];
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments); /* cut off when too long */
    va_end(arguments);
    bytes_clear(out);
    bytes_put_char(out, '{');
    put_member(out, "message", view_of(text));
    put_object_end(out);
    bytes_put_char(out, '\n');
    call_respond_json(call, status, bytes_view(out));
}

void call_refuse_method(struct call *call, const char *allowed)
{
    struct answer answer = { .count = 0 };

    answer_put(&answer, "allow", view_of(allowed));
    answer_put(&answer, "content-type", VIEW_LITERAL("text/plain; charset=utf-8"));
    call_respond(call, 405, &answer, VIEW_LITERAL("this path does not take that method\n"));
}

unsigned status_of(enum sluice_err err)
{
    switch (err) {
    case SLUICE_OK: return 200;
    case SLUICE_ELIMIT: return 429;
    case SLUICE_EUNAVAILABLE: return 503;
    case SLUICE_ENOTFOUND: return 404;
    case SLUICE_EINVAL:
    case SLUICE_EPROTO: return 400;
    case SLUICE_EACCESS: return 403;
    case SLUICE_ENOMEM:
    case SLUICE_EIO:
    case SLUICE_EEXISTS:
    case SLUICE_ETIMEDOUT:
    case SLUICE_ESTALE:
    case SLUICE_ECORRUPT: return 500;
    }
    return 500;
}

void put_member(struct bytes *out, const char *name, struct view text)
{
    json_put_string(out, view_of(name));
    bytes_put_char(out, ':');
    json_put_string(out, text);
    bytes_put_char(out, ',');
}

void put_member_number(struct bytes *out, const char *name, int64_t number)
{
    json_put_string(out, view_of(name));
    bytes_put_format(out, ":%" PRId64 ",", number);
}

void put_object_end(struct bytes *out)
{
    if (out->len > 0 && out->data[out->len - 1] == ',')
        out->len--;
    bytes_put_char(out, '}');
}

void put_base64(struct bytes *out, struct view bytes)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const uint8_t *at = (const uint8_t *)bytes.data;

    if (!bytes_reserve(out, (bytes.len + 2) / 3 * 4))
        return;
    for (size_t left = bytes.len; left > 0; at += 3, left -= left < 3 ? left : 3) {
        uint32_t group = (uint32_t)at[0] << 16 | (left > 1 ? (uint32_t)at[1] << 8 : 0) | (left > 2 ? at[2] : 0);
        char four[4] = { digits[group >> 18], digits[group >> 12 & 63], left > 1 ? digits[group >> 6 & 63] : '=',
                         left > 2 ? digits[group & 63] : '=' };
        bytes_put(out, four, 4);
    }
}

static int base64_digit(char c)
{
    return c >= 'A' && c <= 'Z'   ? c - 'A'
           : c >= 'a' && c <= 'z' ? c - 'a' + 26
           : c >= '0' && c <= '9' ? c - '0' + 52
           : c == '+'             ? 62
           : c == '/'             ? 63
                                  : -1;
}

bool base64_decode(struct view text, struct bytes *out)
{
    size_t start = out->len, padding = 0;

    while (padding < 2 && text.len > 0 && text.data[text.len - 1] == '=') {
        text.len--;
        padding++;
    }
    if ((text.len + padding) % 4 != 0 || text.len % 4 == 1 || !bytes_reserve(out, text.len))
        return false;
    uint32_t group = 0;
    for (size_t i = 0; i < text.len; i++) {
        int digit = base64_digit(text.data[i]);
        if (digit < 0) {
            out->len = start;
            return false;
        }
        group = group << 6 | (uint32_t)digit;
        if (i % 4 == 3) {
            char three[3] = { (char)(group >> 16), (char)(group >> 8), (char)group };
            bytes_put(out, three, 3);
        }
    }
    if (text.len % 4 == 2)
        bytes_put_char(out, (char)(group >> 4));
    if (text.len % 4 == 3) {
        char two[2] = { (char)(group >> 10), (char)(group >> 2) };
        bytes_put(out, two, 2);
    }
    return !out->failed;
}
