/* control_events.c - the log as it grows, and one event with its deliveries. */
#include "broker/daemon/control_internal.h"

#include "schemas/codec/ids.h"

static struct view bus_of(const struct event *event)
{
    return event->bus.data == NULL ? VIEW_LITERAL(EVENT_BUS_DEFAULT) : event->bus;
}

/* ---- event.tail ---- */

static json_t *tail_row(struct control *control, const struct stored_event *stored)
{
    struct event event;
    bool whole = envelope_decode_stored(stored->event.envelope, &event);
    json_t *row = json_pack("{s:I,s:o,s:o}", "seq", (json_int_t)stored->seq, "bus", whole ? json_view(bus_of(&event)) : json_null(), "event",
                            json_event(control, stored->event.envelope));
    ASSERT(row != NULL);
    return row;
}

static void on_tail_waited(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct call *call = timer->data;

    (void)events;
    ev_timer_stop(loop, timer);
    broker_read(call->control->broker);
    call_run(call);
}

/* Waits for events, unless its time is over. */
static bool tail_wait(struct call *call)
{
    struct ev_loop *loop = call->control->broker->loop;
    json_int_t wait_ms = call_number(call, "wait_ms");

    if (wait_ms == 0 || (call->again && !ev_is_active(&call->timer)))
        return false;
    (void)call_park(call, PARKED_COMMIT);
    if (call->error.code == SLUICE_OK && !call->again) {
        ev_now_update(loop);
        ev_timer_init(&call->timer, on_tail_waited, (double)wait_ms / 1000, 0.);
        call->timer.data = call;
        ev_timer_start(loop, &call->timer);
    }
    return true;
}

json_t *control_event_tail(struct call *call)
{
    struct broker *broker = call->control->broker;
    struct engine_totals totals;
    struct stored_event event;
    struct record record;

    engine_totals(broker->engine, &totals);
    uint64_t end = totals.committed_seq;
    if (!call->again)
        call->after_seq = call_number_is(call, "after_seq") ? (uint64_t)call_number(call, "after_seq") : end - 1;
    uint64_t next = call->after_seq + 1, first = 0;
    struct page page = { .rows = json_array(), .rows_max = (size_t)call_number(call, "max") };
    while (next < end && !page_full(&page)) {
        enum sluice_err err = store_event(broker->store, next, &event);
        if (err == SLUICE_OK) {
            first = first == 0 ? next : first;
            page_put(&page, tail_row(call->control, &event));
            next++;
        } else if (err == SLUICE_EIO) {
            json_decref(page.rows);
            return call_fail(call, err, "event.tail: the store cannot be read");
        } else { /* trimmed, or its record fails its check: on to the next record */
            next = store_record_after(broker->store, next, &record) ? record.first_seq : end;
        }
    }
    if (first == 0 && tail_wait(call)) {
        json_decref(page.rows);
        return NULL;
    }
    json_t *result = json_pack("{s:o,s:I,s:I}", "events", page.rows, "next_seq", (json_int_t)next, "gap",
                               (json_int_t)((first == 0 ? next : first) - call->after_seq - 1));
    ASSERT(result != NULL);
    return result;
}

/* ---- event.show ---- */

struct standing {                /* where one delivery stands */
    const char *state;
    json_int_t attempts;
    json_t *due_ms, *instance, *reason, *message;
};

/* false: it is in no table and in no queue. Either it is settled, or what became of it is in a commit that is not durable yet. */
static bool delivery_standing(const struct broker *broker, uint32_t function, struct delivery delivery, struct standing *ret_standing)
{
    struct exception row;
    uint64_t instance;
    struct standing standing = { .state = "settled", .due_ms = json_null(), .instance = json_null(), .reason = json_null(),
                                 .message = json_null() };
    bool retry = store_exception(broker->store, TABLE_EXCEPTIONS, function, delivery, &row) == SLUICE_OK;
    bool dead = !retry && store_exception(broker->store, TABLE_DEAD, function, delivery, &row) == SLUICE_OK;
    bool known = true;

    if (retry || dead)
        standing.attempts = row.attempts;
    if (!dead && engine_delivery_leased(broker->engine, function, delivery, &instance)) {
        standing.state = "leased";
        standing.instance = json_integer((json_int_t)instance);
    } else if (retry || dead) {
        standing.state = dead ? "dead" : "retry";
        if (retry)
            standing.due_ms = json_integer(row.due_ms);
        if (dead || row.attempts > 0) {
            standing.reason = json_view(row.reason);
            standing.message = json_view(row.message);
        }
    } else if (engine_delivery_ready(broker->engine, function, delivery)) {
        standing.state = "ready";
    } else {
        known = false;
    }
    *ret_standing = standing;
    return known;
}

static bool show_delivery(const struct broker *broker, struct page *page, struct delivery delivery, uint32_t target_id)
{
    struct target_view target;
    struct standing standing;

    if (!engine_target(broker->engine, target_id, &target))
        return true; /* of a corrupt record: nobody's */
    bool known = delivery_standing(broker, target.function, delivery, &standing);
    json_t *row = json_pack("{s:o,s:o,s:o,s:s,s:I,s:o,s:o,s:o,s:o}", "delivery", json_delivery(delivery), "function",
                            json_text(engine_function_name(broker->engine, target.function)), "rule", json_text(target.rule), "state",
                            standing.state, "attempts", standing.attempts, "due_ms", standing.due_ms, "instance", standing.instance, "reason",
                            standing.reason, "message", standing.message);
    page_put(page, row);
    return known;
}

/* Of the log's target list. Returns false when what became of one is not durable yet. */
static bool show_logged(const struct broker *broker, const struct stored_event *event, struct page *page)
{
    bool known = true;

    for (uint32_t i = 0; i < event->event.targets_count && !page_full(page); i++)
        known = show_delivery(broker, page, (struct delivery){ event->seq, i }, record_target(&event->event, i)) && known;
    return known;
}

/* The log's record is gone, for all but these: an exception or a dead letter keeps its own copy of the event. */
static void show_kept(const struct broker *broker, uint64_t seq, struct page *page)
{
    static const enum exception_table tables[] = { TABLE_EXCEPTIONS, TABLE_DEAD };
    const struct delivery before = { .seq = seq - 1, .ordinal = UINT32_MAX };

    for (uint32_t id = 1; id <= engine_functions_count(broker->engine); id++) {
        for (size_t t = 0; t < sizeof tables / sizeof *tables; t++) {
            struct exception row = { .delivery = before };
            while (!page_full(page) && store_exception_after(broker->store, tables[t], id, row.delivery, &row) && row.delivery.seq == seq)
                (void)show_delivery(broker, page, row.delivery, row.target);
        }
    }
}

json_t *control_event_show(struct call *call)
{
    struct broker *broker = call->control->broker;
    const char *id = call_text(call, "id");
    char id_text[ENVELOPE_FIELD_BYTES_MAX + 1];
    uint8_t uuid[UUID_BYTES];
    struct stored_event stored, logged;
    struct event event;
    bool known = true;

    if (id[0] == '\0' || strlen(id) > ENVELOPE_FIELD_BYTES_MAX)
        return call_fail(call, SLUICE_EINVAL, "event.show: an id has 1 to %d bytes", ENVELOPE_FIELD_BYTES_MAX);
    bool is_uuid = uuid_from_text(view_of(id), uuid);
    struct view wanted = is_uuid ? (struct view){ (const char *)uuid, UUID_BYTES } : view_of(id);
    if (call->found != NULL)
        stored = (struct stored_event){ .seq = call->found->seq, .committed_ms = call->found->committed_ms,
                                        .event = { .envelope = bytes_view(&call->found->envelope) } };
    else if (store_event_by_id(broker->store, wanted, is_uuid, &stored) != SLUICE_OK)
        return search_begin(call); /* run again with what it finds */
    enum sluice_err err = store_event(broker->store, stored.seq, &logged);
    if (err == SLUICE_ECORRUPT || !envelope_decode_stored(stored.event.envelope, &event))
        return call_fail(call, SLUICE_ECORRUPT, "event '%.100s', sequence %llu: its log record fails its check", id,
                         (unsigned long long)stored.seq);
    struct page page = { .rows = json_array(), .rows_max = EVENT_TARGETS_MAX };
    if (err == SLUICE_OK)
        known = show_logged(broker, &logged, &page);
    else
        show_kept(broker, stored.seq, &page);
    json_int_t omitted = err == SLUICE_OK ? logged.event.targets_count - (json_int_t)json_array_size(page.rows) : 0;
    if (!known && (broker->committing || engine_has_commit(broker->engine)) &&
        !(call->again && engine_commit_durable(broker->engine) >= call->commit)) {
        json_decref(page.rows);
        return call_park(call, PARKED_COMMIT);
    }
    json_t *result = json_pack("{s:o,s:I,s:o,s:I,s:o,s:b,s:o,s:I}", "id", json_view(event_id_text(&event, id_text)), "seq",
                               (json_int_t)stored.seq, "bus", json_view(bus_of(&event)), "committed_ms",
                               (json_int_t)(err == SLUICE_OK ? logged.committed_ms : stored.committed_ms), "event",
                               json_event(call->control, stored.event.envelope), "scanned", (int)(call->found != NULL && call->found->scanned), "deliveries", page.rows,
                               "deliveries_omitted", omitted);
    ASSERT(result != NULL);
    return result;
}
