/* failures.c - what a runtime's error posts say: their type for logs and counters, their body for the caller.
 * The body goes to the caller byte for byte, whatever it is; we only look. */
#include "broker/api/runtime/instance.h"

#include "schemas/codec/json.h"

#define CAUSE_CONTENT_TYPE "application/vnd.aws.lambda.error.cause+json"

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
    struct posted_error error = { .failure.type = report_error_type(header), .body = body };
    bool object = json_check(body, JSON_OBJECT, JSON_DEPTH_MAX, NULL) == SLUICE_OK;
    size_t filtered_len = 0, type_len = 0, message_len = 0;

    bytes_clear(scratch);
    if (view_begins(content_type, CAUSE_CONTENT_TYPE)) {
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
    if (!report_error_is_known(header) && type_len > 0 && type_len <= ERROR_TYPE_BYTES_MAX)
        error.failure.type = (struct view){ scratch->data + filtered_len, type_len };
    if (message_len > 0)
        error.failure.message = (struct view){ scratch->data + filtered_len + type_len,
                                               message_len < MESSAGE_KEPT_BYTES ? message_len : MESSAGE_KEPT_BYTES };
    if (filtered_len > 0)
        error.body = (struct view){ scratch->data, filtered_len };
    *ret_error = error;
}
