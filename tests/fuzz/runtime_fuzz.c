/* runtime_fuzz.c - what processes post to the Runtime API beside payloads: error bodies, their trailers, registrations and subscriptions. The first
 * byte says which of them the rest is. */
#include "broker/api/runtime/control_bodies.h"
#include "broker/api/runtime/instance.h"
#include "schemas/codec/json.h"
#include "tests/fuzz/fuzz.h"
#include "schemas/codec/base64.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* A line of headers, then the body: the type's header value, up to a line break. */
static void try_error(struct view text, const char *content_type)
{
    const char *end = text.len > 0 ? memchr(text.data, '\n', text.len) : NULL;
    struct view header = { text.data, end != NULL ? (size_t)(end - text.data) : 0 }, body = end != NULL ? (struct view){ end + 1, text.len - header.len - 1 } : text;
    struct bytes scratch = { 0 };
    struct posted_error error;

    posted_error_read(header, view_of(content_type), body, &scratch, &error);
    MUST(error.failure.type.len > 0 && error.failure.type.len <= ERROR_TYPE_BYTES_MAX);
    MUST(error.failure.message.len <= MESSAGE_KEPT_BYTES);
    if (content_type[0] == '\0')
        MUST(error.body.data == body.data && error.body.len == body.len);
    else
        MUST(json_check(error.body, JSON_ANY, JSON_DEPTH_MAX, NULL) == SLUICE_OK);
    bytes_done(&scratch);
}

static void try_trailer(struct view text)
{
    struct bytes body = { 0 };

    if (base64_decode(text, &body))
        MUST(body.len <= text.len);
    bytes_done(&body);
}

static void try_registration(struct view text)
{
    struct sluice_error error = { .text = "" };
    unsigned hears = 0;

    if (registration_parse(text, &hears, &error) == SLUICE_OK)
        MUST(hears <= (HEARS_INVOKE | HEARS_SHUTDOWN));
    else
        MUST(error.text[0] != '\0');
}

static void try_subscription(struct view text)
{
    struct sluice_error error = { .text = "" };
    struct subscription subscription;

    if (subscription_parse(text, text.len % 2 == 0, &subscription, &error) != SLUICE_OK) {
        MUST(error.text[0] != '\0');
        return;
    }
    MUST(subscription.port > 0 && subscription.types != 0);
    MUST(subscription.tcp || subscription.path[0] == '/');
    for (const char *at = subscription.path; !subscription.tcp && *at != '\0'; at++)
        MUST(*at > ' ' && *at <= '~'); /* it stands in a request line */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (len == 0)
        return 0;
    struct view rest = { (const char *)data + 1, len - 1 };
    switch (data[0]) {
    case 'e': try_error(rest, ""); break;
    case 'c': try_error(rest, "application/vnd.aws.lambda.error.cause+json"); break;
    case 't': try_trailer(rest); break;
    case 'r': try_registration(rest); break;
    default: try_subscription(rest); break;
    }
    return 0;
}
