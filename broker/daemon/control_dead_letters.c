/* control_dead_letters.c - what was given up: looked at, put back on its queue, thrown away. */
#include "broker/daemon/control_internal.h"

#include <inttypes.h>
#include <stdio.h>

enum { CURSOR_BYTES_MAX = CONFIG_NAME_BYTES_MAX + 48 };

/* "FUNCTION/SEQ.ORDINAL": behind this one. */
static void cursor_put(char cursor[CURSOR_BYTES_MAX], const char *function, struct delivery delivery)
{
    (void)snprintf(cursor, CURSOR_BYTES_MAX, "%s/%" PRIu64 ".%" PRIu32, function, delivery.seq, delivery.ordinal);
}

static bool cursor_parse(struct call *call, char ret_function[CONFIG_NAME_BYTES_MAX + 1], struct delivery *ret_delivery)
{
    const char *cursor = call_text(call, "cursor"), *slash = strchr(cursor, '/');

    if (slash == NULL || slash - cursor > CONFIG_NAME_BYTES_MAX || !delivery_parse(slash + 1, ret_delivery)) {
        (void)call_fail(call, SLUICE_EINVAL, "%s: '%.100s' is no cursor of this command", call->command->name, cursor);
        return false;
    }
    (void)snprintf(ret_function, CONFIG_NAME_BYTES_MAX + 1, "%.*s", (int)(slash - cursor), cursor);
    return true;
}

/* ---- looking ---- */

static json_t *dead_letter_row(const struct control *control, const struct exception *dead)
{
    const struct engine *engine = control->broker->engine;
    struct target_view target = { 0 };
    struct event event = { 0 };
    char id[ENVELOPE_FIELD_BYTES_MAX + 1];

    (void)engine_target(engine, dead->target, &target);
    bool whole = dead->envelope.len > 0 && envelope_decode_stored(dead->envelope, &event); /* its bytes may have been lost */
    struct view bus = whole && event.bus.data == NULL ? VIEW_LITERAL(EVENT_BUS_DEFAULT) : event.bus;
    bool sourced = whole && event.kind == EVENT_KIND_EVENT;
    json_t *row = json_pack("{s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:I,s:I,s:I,s:o,s:o}", "function",
                            json_text(engine_function_name(engine, dead->function)), "delivery", json_delivery(dead->delivery), "id",
                            whole ? json_view(event_id_text(&event, id)) : json_null(), "bus", json_view(bus), "source",
                            sourced ? json_view(event.source) : json_null(), "detail_type",
                            sourced ? json_view(event.detail_type) : json_null(), "rule", json_text(target.rule), "attempts",
                            (json_int_t)dead->attempts, "accepted_ms", (json_int_t)dead->accepted_ms, "failed_ms",
                            (json_int_t)dead->failed_ms, "reason", json_view(dead->reason), "message", json_view(dead->message));
    ASSERT(row != NULL);
    return row;
}

/* Adds dead letters of one function behind `after`. false: the page is full, and there are more. */
static bool list_function(const struct control *control, struct page *page, uint32_t function, struct delivery after,
                          char cursor[CURSOR_BYTES_MAX])
{
    struct exception row = { .delivery = after };

    while (store_exception_after(control->broker->store, TABLE_DEAD, function, row.delivery, &row)) {
        if (page_full(page))
            return false;
        page_put(page, dead_letter_row(control, &row));
        cursor_put(cursor, engine_function_name(control->broker->engine, function), row.delivery);
    }
    return true;
}

json_t *control_dead_letter_list(struct call *call)
{
    const struct control *control = call->control;
    char cursor[CURSOR_BYTES_MAX] = "", from[CONFIG_NAME_BYTES_MAX + 1] = "";
    struct delivery after = { 0 };
    uint32_t only = 0, *ids;
    bool whole = true;

    if (call_text(call, "function") != NULL && !call_function(call, "function", &only))
        return NULL;
    if (call_text(call, "cursor") != NULL && !cursor_parse(call, from, &after))
        return NULL;
    struct page page = page_new(call);
    size_t count = functions_by_name(control, &ids);
    for (size_t i = 0; i < count && whole; i++) {
        int order = strcmp(engine_function_name(control->broker->engine, ids[i]), from);
        if (order < 0 || (only != 0 && ids[i] != only))
            continue;
        whole = list_function(control, &page, ids[i], order == 0 ? after : (struct delivery){ 0 }, cursor);
    }
    free(ids);
    return page_done(&page, "dead_letters", whole ? NULL : cursor);
}

/* "delivery": a dead letter of the function, or fails. */
static bool dead_letter_find(struct call *call, uint32_t function, struct delivery *ret_delivery, struct exception *ret_row)
{
    const char *text = call_text(call, "delivery");
    struct delivery delivery;

    if (!delivery_parse(text, &delivery)) {
        (void)call_fail(call, SLUICE_EINVAL, "%s: '%.64s' is no delivery; expected SEQ.ORDINAL, such as 1042.0", call->command->name, text);
        return false;
    }
    enum sluice_err err = store_exception(call->control->broker->store, TABLE_DEAD, function, delivery, ret_row);
    if (err == SLUICE_ENOTFOUND)
        (void)call_fail(call, err, "function '%s' has no dead letter %s; see sluice dead-letter list",
                        engine_function_name(call->control->broker->engine, function), text);
    else if (err != SLUICE_OK)
        (void)call_fail(call, err, "the dead letter %s cannot be read: its stored bytes fail their check", text);
    *ret_delivery = delivery;
    return err == SLUICE_OK;
}

json_t *control_dead_letter_show(struct call *call)
{
    struct delivery delivery;
    struct exception row;
    uint32_t id;

    if (!call_function(call, "function", &id) || !dead_letter_find(call, id, &delivery, &row))
        return NULL;
    json_t *result = dead_letter_row(call->control, &row);
    (void)json_object_set_new(result, "event", json_event(call->control, row.envelope));
    (void)json_object_set_new(result, "output", json_view(row.output.data == NULL ? VIEW_LITERAL("") : row.output));
    return result;
}

/* ---- changing ---- */

typedef enum sluice_err dead_letter_change(struct engine *engine, uint32_t function, struct delivery delivery, struct now now);

/* Limited by rows, and by what one commit takes: each redriven delivery carries its event. */
static json_t *change_many(struct call *call, uint32_t function, const char *done, dead_letter_change *change)
{
    struct broker *broker = call->control->broker;
    char cursor[CURSOR_BYTES_MAX], from[CONFIG_NAME_BYTES_MAX + 1];
    const char *name = engine_function_name(broker->engine, function);
    struct exception row = { 0 };
    json_int_t limit = call_number(call, "limit"), seen = 0, changed = 0;
    bool more;

    if (call_text(call, "cursor") != NULL) {
        if (!cursor_parse(call, from, &row.delivery))
            return NULL;
        if (strcmp(from, name) != 0)
            return call_fail(call, SLUICE_EINVAL, "%s: the cursor is of function '%s', not of '%s'", call->command->name, from, name);
    }
    cursor_put(cursor, name, row.delivery); /* a commit that is full already takes none */
    while ((more = store_exception_after(broker->store, TABLE_DEAD, function, row.delivery, &row))) {
        if (seen == limit || engine_gathered_bytes(broker->engine) >= COMMIT_BYTES_MAX)
            break;
        seen++;
        changed += change(broker->engine, function, row.delivery, call->now) == SLUICE_OK; /* else another call is at it */
        cursor_put(cursor, name, row.delivery);
    }
    json_t *result = json_pack("{s:I,s:o}", done, changed, "cursor", json_text(more ? cursor : NULL));
    ASSERT(result != NULL);
    return call_when_durable(call, result);
}

static json_t *change_dead_letters(struct call *call, const char *done, dead_letter_change *change)
{
    struct delivery delivery;
    struct exception row;
    uint32_t id;

    if (!call_function(call, "function", &id))
        return NULL;
    if (call_text(call, "delivery") == NULL)
        return change_many(call, id, done, change);
    if (!dead_letter_find(call, id, &delivery, &row))
        return NULL;
    if (change(call->control->broker->engine, id, delivery, call->now) != SLUICE_OK)
        return call_fail(call, SLUICE_ENOTFOUND, "the dead letter %s is being redriven or purged already", call_text(call, "delivery"));
    return call_when_durable(call, json_pack("{s:i,s:n}", done, 1, "cursor"));
}

json_t *control_dead_letter_redrive(struct call *call)
{
    return change_dead_letters(call, "redriven", engine_redrive);
}

json_t *control_dead_letter_purge(struct call *call)
{
    return change_dead_letters(call, "purged", engine_purge);
}
