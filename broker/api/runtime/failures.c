/* failures.c - what a runtime's error posts say: their type for logs and counters, their body for the caller.
 * The body goes to the caller byte for byte, whatever it is; we only look. */
#include "broker/api/runtime/instance.h"

#include "schemas/codec/json.h"

#define CAUSE_CONTENT_TYPE "application/vnd.aws.lambda.error.cause+json"

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool starts_with(struct view text, const char *prefix)
{
    size_t len = strlen(prefix);

    return text.len >= len && memcmp(text.data, prefix, len) == 0;
}

/* "Runtime." and "Function." are both followed by [A-Z][a-zA-Z]+ */
static bool is_platform_type(struct view type)
{
    size_t at = starts_with(type, "Runtime.") ? 8 : starts_with(type, "Function.") ? 9 : 0;

    if (at == 0 || type.len < at + 2 || type.data[at] < 'A' || type.data[at] > 'Z')
        return false;
    for (at++; at < type.len; at++)
        if (!is_letter(type.data[at]))
            return false;
    return type.len <= ERROR_TYPE_BYTES_MAX;
}

struct view error_type_of_header(struct view header)
{
    if (is_platform_type(header))
        return header;
    return starts_with(header, "Function.") ? VIEW_LITERAL("Function.Unknown") : VIEW_LITERAL("Runtime.Unknown");
}

/* Decodes member `name` of `object` to the end of `scratch`; returns how many bytes it has there, 0 if it is no text. */
static size_t text_member(struct view object, const char *name, struct bytes *scratch)
{
    size_t start = scratch->len;
    struct view value;

    if (!json_member(object, view_of(name), &value) || !json_string_decode(value, scratch)) {
        scratch->len = start;
        return 0;
    }
    return scratch->len - start;
}

/* The three fields that a caller may see of an error with its cause, as they stand in the body. */
static void put_without_cause(struct view object, struct bytes *out)
{
    static const struct { const char *name, *missing; } fields[] = {
        { "errorMessage", "\"\"" }, { "errorType", "\"\"" }, { "stackTrace", "[]" },
    };

    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        struct view value;
        if (!json_member(object, view_of(fields[i].name), &value))
            value = view_of(fields[i].missing);
        bytes_put_format(out, "%c\"%s\":", i == 0 ? '{' : ',', fields[i].name);
        bytes_put_view(out, value);
    }
    bytes_put_char(out, '}');
}

void posted_error_read(struct view header, struct view content_type, struct view body, struct bytes *scratch,
                       struct posted_error *ret_error)
{
    struct posted_error error = { .failure.type = error_type_of_header(header), .body = body };
    bool object = json_check(body, JSON_OBJECT, JSON_DEPTH_MAX, NULL) == SLUICE_OK;
    size_t filtered_len = 0, type_len = 0, message_len = 0;

    bytes_clear(scratch);
    if (starts_with(content_type, CAUSE_CONTENT_TYPE)) {
        if (object)
            put_without_cause(body, scratch);
        else
            bytes_put_text(scratch, "\"Invalid error body\""); /* AWS's own words for one that cannot be taken apart */
        filtered_len = scratch->len;
    }
    if (object) {
        type_len = text_member(body, "errorType", scratch);
        message_len = text_member(body, "errorMessage", scratch);
    }
    if (scratch->failed) /* out of memory: the body as it came still says it all */
        filtered_len = type_len = message_len = 0;
    /* "Runtime.Unknown" is what most runtimes' errors come to, since they send no such header; the body knows better. */
    if (!is_platform_type(header) && type_len > 0 && type_len <= ERROR_TYPE_BYTES_MAX)
        error.failure.type = (struct view){ scratch->data + filtered_len, type_len };
    if (message_len > 0)
        error.failure.message = (struct view){ scratch->data + filtered_len + type_len,
                                               message_len < MESSAGE_KEPT_BYTES ? message_len : MESSAGE_KEPT_BYTES };
    if (filtered_len > 0)
        error.body = (struct view){ scratch->data, filtered_len };
    *ret_error = error;
}

/* ---- errors in trailers ---- */

static int base64_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Base64, standard alphabet, padding optional. */
bool error_body_decode(struct view text, struct bytes *out)
{
    unsigned bits = 0, held = 0;

    while (text.len > 0 && text.data[text.len - 1] == '=')
        text.len--;
    for (size_t i = 0; i < text.len; i++) {
        int value = base64_value(text.data[i]);
        if (value < 0)
            return false;
        held = (held << 6 | (unsigned)value) & 0xffff;
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            bytes_put_char(out, (char)(held >> bits & 0xff));
        }
    }
    return !out->failed;
}
