/* control_bodies.c - POST /2020-01-01/extension/register:
 *   {"events":["INVOKE","SHUTDOWN"]}
 * PUT /2022-07-01/telemetry and /2020-08-15/logs:
 *   {"schemaVersion":"2022-07-01","destination":{"protocol":"HTTP","URI":"http://sandbox.localdomain:8080/x"},
 *    "types":["platform","function"],"buffering":{"maxItems":1000,"maxBytes":262144,"timeoutMs":100}}
 * A destination is a port of this machine's loopback address: what asks for another is refused, so that a function cannot have the
 * daemon speak to hosts that the function itself might not reach. */
#include "broker/api/runtime/control_bodies.h"

#include <jansson.h>
#include <stdio.h>

enum {
    ITEMS_MIN = 1000, ITEMS_MAX = 10000, ITEMS_DEFAULT = 10000,
    BYTES_MIN = 262144, BYTES_MAX = 1048576, BYTES_DEFAULT = 262144,
    TIMEOUT_MS_MIN = 25, TIMEOUT_MS_MAX = 30000, TIMEOUT_MS_DEFAULT = 1000,
};

/* ---- register ---- */

static enum sluice_err parse_events(json_t *events, unsigned *ret_hears, struct sluice_error *reterr)
{
    unsigned hears = 0;
    size_t index;
    json_t *event;

    json_array_foreach(events, index, event) {
        const char *text = json_is_string(event) ? json_string_value(event) : "";
        if (strcmp(text, "INVOKE") == 0)
            hears |= HEARS_INVOKE;
        else if (strcmp(text, "SHUTDOWN") == 0)
            hears |= HEARS_SHUTDOWN;
        else
            return sluice_fail(reterr, SLUICE_EINVAL, "%.40s: there are the events INVOKE and SHUTDOWN", text);
    }
    *ret_hears = hears;
    return SLUICE_OK;
}

enum sluice_err registration_parse(struct view body, unsigned *ret_hears, struct sluice_error *reterr)
{
    json_error_t error;
    json_t *json = json_loadb(body.data != NULL ? body.data : "", body.len, 0, &error), *events = json_object_get(json, "events");
    bool good = json_is_object(json) && json_array_size(json_object_get(json, "configurationKeys")) == 0;
    enum sluice_err err;

    if (good && (events == NULL || json_is_null(events) || json_is_array(events)))
        err = parse_events(events, ret_hears, reterr);
    else
        err = sluice_fail(reterr, SLUICE_EPROTO, "the body must be {\"events\":[\"INVOKE\",\"SHUTDOWN\"]}, or fewer of them%s%s",
                          json == NULL ? ": " : "", json == NULL ? error.text : "");
    json_decref(json);
    return err;
}

/* ---- subscribe ---- */

static enum sluice_err parse_types(json_t *types, struct subscription *subscription, struct sluice_error *reterr)
{
    static const struct { const char *name; enum telemetry_type type; } names[] = {
        { "platform", TELEMETRY_PLATFORM }, { "function", TELEMETRY_FUNCTION }, { "extension", TELEMETRY_EXTENSION },
    };
    size_t index;
    json_t *item;

    json_array_foreach(types, index, item) {
        const char *text = json_is_string(item) ? json_string_value(item) : "";
        unsigned type = 0;
        for (size_t i = 0; i < sizeof names / sizeof *names; i++)
            if (strcmp(text, names[i].name) == 0)
                type = names[i].type;
        if (type == 0)
            return sluice_fail(reterr, SLUICE_EINVAL, "types[%zu] is none of platform, function, extension", index);
        subscription->types |= type;
    }
    return subscription->types != 0
               ? SLUICE_OK
               : sluice_fail(reterr, SLUICE_EINVAL, "types must name at least one of platform, function, extension");
}

static enum sluice_err parse_version(json_t *version, struct subscription *subscription, struct sluice_error *reterr)
{
    static const char *const known[] = { "2020-08-15", "2021-03-18", "2022-07-01", "2022-12-13", "2025-01-29" };

    if (version == NULL)
        return SLUICE_OK;
    for (size_t i = 0; json_is_string(version) && i < sizeof known / sizeof *known; i++)
        if (strcmp(json_string_value(version), known[i]) == 0) {
            subscription->runtime_done = i > 0;
            return SLUICE_OK;
        }
    return sluice_fail(reterr, SLUICE_EINVAL, "schemaVersion is none that is known; 2022-07-01 is");
}

static bool is_loopback(struct view host)
{
    static const char *const names[] = { "sandbox.localdomain", "sandbox", "localhost", "127.0.0.1" };

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (view_is(host, names[i]))
            return true;
    return false;
}

/* http://HOST[:PORT][/PATH] */
static enum sluice_err parse_uri(json_t *json, struct subscription *subscription, struct sluice_error *reterr)
{
    struct view uri =
        json_is_string(json) ? (struct view){ json_string_value(json), json_string_length(json) } : (struct view){ 0 };
    const struct view scheme = VIEW_LITERAL("http://");
    unsigned long port = 80;

    if (uri.len < scheme.len || memcmp(uri.data, scheme.data, scheme.len) != 0)
        return sluice_fail(reterr, SLUICE_EINVAL,
                           "destination.URI must be http://sandbox.localdomain:PORT, with a path if need be");
    size_t at = scheme.len, host_at = at;
    while (at < uri.len && uri.data[at] != ':' && uri.data[at] != '/')
        at++;
    if (!is_loopback((struct view){ uri.data + host_at, at - host_at }))
        return sluice_fail(
            reterr, SLUICE_EINVAL,
            "destination.URI must name sandbox.localdomain, localhost or 127.0.0.1: telemetry stays on this machine");
    if (at < uri.len && uri.data[at] == ':') {
        size_t digits = 0;
        for (at++, port = 0; at < uri.len && uri.data[at] >= '0' && uri.data[at] <= '9' && digits < 6; at++, digits++)
            port = port * 10 + (unsigned long)(uri.data[at] - '0');
        if (digits == 0)
            port = 0;
    }
    if (port == 0 || port > UINT16_MAX || (at < uri.len && uri.data[at] != '/'))
        return sluice_fail(reterr, SLUICE_EINVAL, "destination.URI has no port between 1 and 65535");
    size_t path_len = uri.len - at;
    if (path_len > POST_PATH_BYTES_MAX)
        return sluice_fail(reterr, SLUICE_EINVAL, "destination.URI has a path of %zu bytes; at most %d are taken", path_len,
                           POST_PATH_BYTES_MAX);
    for (size_t i = at; i < uri.len; i++)
        if (uri.data[i] <= ' ' || uri.data[i] > '~' || uri.data[i] == '#') /* it stands in a request line */
            return sluice_fail(reterr, SLUICE_EINVAL, "destination.URI has a character in its path that must be percent-encoded");
    subscription->port = (uint16_t)port;
    (void)snprintf(subscription->path, sizeof subscription->path, "%.*s", (int)(path_len > 0 ? path_len : 1),
                   path_len > 0 ? uri.data + at : "/");
    return SLUICE_OK;
}

static enum sluice_err parse_destination(json_t *destination, struct subscription *subscription, struct sluice_error *reterr)
{
    json_t *protocol = json_object_get(destination, "protocol"), *port = json_object_get(destination, "port");
    const char *name = json_is_string(protocol) ? json_string_value(protocol) : "";

    if (strcmp(name, "HTTP") == 0)
        return parse_uri(json_object_get(destination, "URI"), subscription, reterr);
    if (strcmp(name, "TCP") != 0)
        return sluice_fail(reterr, SLUICE_EINVAL, "destination.protocol must be HTTP or TCP");
    if (!json_is_integer(port) || json_integer_value(port) < 1 || json_integer_value(port) > UINT16_MAX)
        return sluice_fail(reterr, SLUICE_EINVAL, "destination.port must be a number from 1 to 65535");
    subscription->tcp = true;
    subscription->port = (uint16_t)json_integer_value(port);
    return SLUICE_OK;
}

struct bound {
    const char *name;
    unsigned min, max;
};

static enum sluice_err parse_number(json_t *buffering, const struct bound *bound, unsigned *value, struct sluice_error *reterr)
{
    json_t *number = json_object_get(buffering, bound->name);

    if (number == NULL)
        return SLUICE_OK;
    if (!json_is_integer(number) || json_integer_value(number) < bound->min || json_integer_value(number) > bound->max)
        return sluice_fail(reterr, SLUICE_EINVAL, "buffering.%s must be a number from %u to %u", bound->name, bound->min,
                           bound->max);
    *value = (unsigned)json_integer_value(number);
    return SLUICE_OK;
}

static enum sluice_err parse_all(json_t *json, struct subscription *subscription, struct sluice_error *reterr)
{
    static const struct bound items = { "maxItems", ITEMS_MIN, ITEMS_MAX }, bytes = { "maxBytes", BYTES_MIN, BYTES_MAX },
                              timeout = { "timeoutMs", TIMEOUT_MS_MIN, TIMEOUT_MS_MAX };
    json_t *buffering = json_object_get(json, "buffering");
    enum sluice_err err = parse_version(json_object_get(json, "schemaVersion"), subscription, reterr);

    if (err == SLUICE_OK)
        err = parse_types(json_object_get(json, "types"), subscription, reterr);
    if (err == SLUICE_OK)
        err = parse_destination(json_object_get(json, "destination"), subscription, reterr);
    if (err == SLUICE_OK)
        err = parse_number(buffering, &items, &subscription->items_max, reterr);
    if (err == SLUICE_OK)
        err = parse_number(buffering, &bytes, &subscription->bytes_max, reterr);
    if (err == SLUICE_OK)
        err = parse_number(buffering, &timeout, &subscription->timeout_ms, reterr);
    return err;
}

enum sluice_err subscription_parse(struct view body, bool logs, struct subscription *ret_subscription, struct sluice_error *reterr)
{
    struct subscription subscription = { .logs = logs, .items_max = ITEMS_DEFAULT, .bytes_max = BYTES_DEFAULT, .timeout_ms = TIMEOUT_MS_DEFAULT };
    json_error_t error;
    json_t *json = json_loadb(body.data != NULL ? body.data : "", body.len, 0, &error);
    enum sluice_err err = json_is_object(json) ? parse_all(json, &subscription, reterr)
                                               : sluice_fail(reterr, SLUICE_EINVAL, "the body is no JSON object%s%s",
                                                             json == NULL ? ": " : "", json == NULL ? error.text : "");

    json_decref(json);
    if (err == SLUICE_OK)
        *ret_subscription = subscription;
    return err;
}
