/* control_json.c - the values that control's answers are made of. */
#include "broker/daemon/control_internal.h"

#include <inttypes.h>
#include <stdio.h>

#include "schemas/codec/utf8.h"

/* jansson takes strict UTF-8 only. Functions print what they like. */
static json_t *json_repaired(struct view view)
{
    const uint8_t *at = (const uint8_t *)view.data, *end = at + view.len;
    struct bytes text = { 0 };

    while (at < end) {
        unsigned len = *at < 0x80 ? 1 : utf8_sequence(at, end);
        if (len > 0)
            bytes_put(&text, at, len);
        else
            bytes_put_text(&text, "\xef\xbf\xbd"); /* U+FFFD */
        at += len > 0 ? len : 1;
    }
    ASSERT(!text.failed);
    json_t *value = json_stringn(text.data, text.len);
    ASSERT(value != NULL);
    bytes_done(&text);
    return value;
}

json_t *json_view(struct view view)
{
    if (view.data == NULL)
        return json_null();
    json_t *value = json_stringn(view.data, view.len);
    return value != NULL ? value : json_repaired(view);
}

json_t *json_text(const char *text)
{
    return json_view(view_of(text));
}

json_t *json_when(bool there, int64_t value)
{
    return there ? json_integer(value) : json_null();
}

size_t json_bytes(const json_t *value)
{
    return json_dumpb(value, NULL, 0, JSON_COMPACT | JSON_ENCODE_ANY);
}

json_t *json_event(struct control *control, struct view envelope)
{
    struct event event;

    if (envelope.len == 0 || !envelope_decode_stored(envelope, &event))
        return json_null();
    bytes_clear(&control->text);
    event_put_json(&control->text, &event, EVENT_SHAPE_EVENTBRIDGE);
    if (control->text.failed)
        return json_null();
    json_t *text = json_view(bytes_view(&control->text));
    if (json_bytes(text) <= ROW_BYTES_MAX)
        return text;
    json_decref(text);
    return json_null();
}

json_t *json_delivery(struct delivery delivery)
{
    char text[40];

    (void)snprintf(text, sizeof text, "%" PRIu64 ".%" PRIu32, delivery.seq, delivery.ordinal);
    return json_string(text);
}

/* Digits of a number up to `max`; moves *at past them. */
static bool number_parse(const char **at, uint64_t max, uint64_t *ret_number)
{
    uint64_t number = 0;
    const char *start = *at;

    for (; **at >= '0' && **at <= '9'; (*at)++) {
        uint64_t digit = (uint64_t)(**at - '0');
        if (number > (max - digit) / 10)
            return false;
        number = number * 10 + digit;
    }
    *ret_number = number;
    return *at > start;
}

bool delivery_parse(const char *text, struct delivery *ret_delivery)
{
    uint64_t seq, ordinal;

    if (!number_parse(&text, INT64_MAX, &seq) || *text++ != '.' || !number_parse(&text, UINT32_MAX, &ordinal) || *text != '\0')
        return false;
    *ret_delivery = (struct delivery){ .seq = seq, .ordinal = (uint32_t)ordinal };
    return true;
}

json_t *json_instances(const unsigned counts[INSTANCE_STATES])
{
    json_t *object = json_object();

    for (int state = 0; state < INSTANCE_STATES; state++)
        (void)json_object_set_new(object, instance_state_text((enum instance_state)state), json_integer(counts[state]));
    return object;
}

/* ---- pages ---- */

struct page page_new(const struct call *call)
{
    return (struct page){ .rows = json_array(), .rows_max = (size_t)call_number(call, "limit") };
}

bool page_full(const struct page *page)
{
    return json_array_size(page->rows) >= page->rows_max || page->bytes >= PAGE_BYTES_MAX;
}

void page_put(struct page *page, json_t *row)
{
    ASSERT(row != NULL);
    page->bytes += json_bytes(row) + 1;
    (void)json_array_append_new(page->rows, row);
}

json_t *page_done(struct page *page, const char *name, const char *cursor)
{
    json_t *result = json_pack("{s:o,s:o}", name, page->rows, "cursor", json_text(cursor));

    ASSERT(result != NULL);
    page->rows = NULL;
    return result;
}

/* ---- functions in order ---- */

static int compare_names(const void *a, const void *b, void *engine)
{
    return strcmp(engine_function_name(engine, *(const uint32_t *)a), engine_function_name(engine, *(const uint32_t *)b));
}

size_t functions_by_name(const struct control *control, uint32_t **ret_ids)
{
    struct engine *engine = control->broker->engine;
    size_t count = engine_functions_count(engine);
    uint32_t *ids = malloc((count + 1) * sizeof *ids);

    ASSERT(ids != NULL);
    for (size_t i = 0; i < count; i++)
        ids[i] = (uint32_t)i + 1;
    qsort_r(ids, count, sizeof *ids, compare_names, engine);
    *ret_ids = ids;
    return count;
}
