/* api_fuzz.c - what the HTTP port's doors read beyond HTTP and JSON: names and ARNs, CloudEvents in headers and in JSON, what functions return as
 * HTTP responses, paths of routes, base64. The first byte says which. */
#include "broker/api/cloudevents/attributes.h"
#include "broker/api/routes/routes.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void name_is_read(struct view text)
{
    struct function_name name, again;
    struct bytes arn = { 0 };
    struct view bus = bus_name_of(text);

    MUST(bus.len <= text.len);
    if (!function_name_parse(text, &name))
        return;
    MUST(name.name.len >= 1 && name.name.len <= AWS_NAME_BYTES_MAX);
    function_arn_put(&arn, &name);
    MUST(!arn.failed && function_name_parse(bytes_view(&arn), &again));
    MUST(view_equals(name.name, again.name) && view_equals(name.qualifier, again.qualifier));
    bytes_done(&arn);
}

/* What was taken is an event that the engine takes, and functions see JSON; unless it is too large, or has an extension twice. */
static void cloudevent_is_event(const struct cloudevent *event)
{
    struct bytes encoded = { 0 }, json = { 0 };
    struct sluice_error error = { 0 };
    struct event read;

    MUST(event->event.id.len >= 1 && event->event.source.len >= 1 && event->event.detail_type.len >= 1);
    MUST(json_check(event->event.detail, JSON_OBJECT, JSON_DEPTH_MAX, NULL) == SLUICE_OK);
    envelope_encode(&event->event, &encoded);
    struct mpack_reader reader = mpack_reader_of(bytes_view(&encoded));
    if (envelope_decode(&reader, &read, &error) == SLUICE_OK) {
        MUST(view_equals(read.detail, event->event.detail));
        event_put_json(&json, &read, EVENT_SHAPE_CLOUDEVENT);
        MUST(memchr(json.data, '\n', json.len) == NULL);
    } else {
        MUST(error.code == SLUICE_EINVAL && (strstr(error.text, "one name twice") != NULL || encoded.len > EVENT_BYTES_MAX));
    }
    bytes_done(&encoded);
    bytes_done(&json);
}

static void structured_is_read(struct view text)
{
    struct cloudevent event = { .seen = 0 };
    struct sluice_error error;

    if (json_check(text, JSON_ANY, EVENT_DEPTH_MAX - 1, NULL) == SLUICE_OK && cloudevent_object(&event, text, &error) == SLUICE_OK)
        cloudevent_is_event(&event);
    cloudevent_done(&event);
}

static struct view line_next(struct view *text)
{
    const char *end = text->len == 0 ? NULL : memchr(text->data, '\n', text->len);
    struct view line = { text->data, end == NULL ? text->len : (size_t)(end - text->data) };
    size_t taken = line.len + (end != NULL);

    *text = (struct view){ text->data + taken, text->len - taken };
    return line;
}

/* Lines: name, value, name, value ... an empty name, the content type; the rest is the body. */
static void binary_is_read(struct view text)
{
    struct cloudevent event = { .seen = 0 };
    struct sluice_error error;
    enum sluice_err err = SLUICE_OK;
    struct view name;

    cloudevent_begin(&event, text.len);
    while (err == SLUICE_OK && (name = line_next(&text)).len > 0)
        err = cloudevent_header(&event, name, line_next(&text), &error);
    struct view type = line_next(&text);
    if (err == SLUICE_OK && cloudevent_body(&event, type, text, &error) == SLUICE_OK && text.len < 1000)
        cloudevent_is_event(&event);
    cloudevent_done(&event);
}

static void result_is_read(struct view text)
{
    struct web web = { .cors = text.len % 2 == 0 };
    struct http_result result;
    struct sluice_error error = { 0 };

    if (http_result_read(&result, text, &web, &error)) {
        MUST(result.status >= 200 && result.status <= 599 && !result.texts.failed);
        for (unsigned i = 0; i < result.answer.count; i++) {
            const struct http_answer_field *field = &result.answer.fields[i];
            MUST(field->name[0] != '\0' && strpbrk(field->name, "\r\n: ") == NULL);
            for (size_t c = 0; c < field->value.len; c++)
                MUST((unsigned char)field->value.data[c] >= ' ' || field->value.data[c] == '\t');
        }
        uint32_t sum = 0;
        for (size_t i = 0; i < result.body.len; i++)
            sum += (uint8_t)result.body.data[i]; /* it can be read */
        MUST(sum <= result.body.len * 255);
    } else {
        MUST(error.text[0] != '\0');
    }
    http_result_done(&result);
}

static void route_is_met(struct view text)
{
    struct route_parameter parameters[ROUTE_PARAMETERS_MAX];
    char pattern[ROUTE_PATH_BYTES_MAX + 1];
    unsigned count = 0;
    struct view line = line_next(&text);

    if (line.len > ROUTE_PATH_BYTES_MAX || (line.len > 0 && memchr(line.data, '\0', line.len) != NULL))
        return;
    memcpy(pattern, line.data, line.len);
    pattern[line.len] = '\0';
    if (route_path_check(pattern, NULL) != SLUICE_OK)
        return;
    MUST(route_path_compare(pattern, pattern) == 0);
    if (!route_path_match(pattern, text, parameters, &count))
        return;
    MUST(count <= ROUTE_PARAMETERS_MAX);
    for (unsigned i = 0; i < count; i++)
        MUST(parameters[i].value.data >= text.data && parameters[i].value.data + parameters[i].value.len <= text.data + text.len);
}

static void base64_returns(struct view text)
{
    struct bytes decoded = { 0 }, encoded = { 0 }, again = { 0 };

    (void)base64_decode(text, &again);
    bytes_clear(&again);
    put_base64(&encoded, text);
    MUST(encoded.len == (text.len + 2) / 3 * 4);
    MUST(base64_decode(bytes_view(&encoded), &decoded));
    MUST(view_equals(bytes_view(&decoded), text));
    bytes_done(&decoded);
    bytes_done(&encoded);
    bytes_done(&again);
}

/* A walk sees what the cursor sees. */
static void walk_agrees(struct view text)
{
    struct json_walk walk = json_walk_of(text);
    struct view key, value, item;
    size_t index = 0;
    bool object = walk.object, checked = json_check(text, JSON_ANY, JSON_DEPTH_MAX, NULL) == SLUICE_OK;

    for (; json_walk_next(&walk, &key, &value) && index < 1000; index++) {
        MUST(value.data >= text.data && value.data + value.len <= text.data + text.len);
        if (checked)
            MUST(json_check(value, JSON_ANY, JSON_DEPTH_MAX, NULL) == SLUICE_OK && (key.data != NULL) == object);
        if (checked && !object)
            MUST(json_item(text, index, &item) && item.data == value.data && item.len == value.len);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    char *copy = fuzz_copy(data, len);
    struct view text = { .data = copy + 1, .len = len - 1 };

    if (len > 1) {
        switch (copy[0]) {
        case 'n': name_is_read(text); break;
        case 'c': structured_is_read(text); break;
        case 'b': binary_is_read(text); break;
        case 'r': result_is_read(text); break;
        case 'p': route_is_met(text); break;
        case '6': base64_returns(text); break;
        case 'w': walk_agrees(text); break;
        default: break;
        }
    }
    free(copy);
    return 0;
}
