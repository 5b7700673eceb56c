/* telemetry.c - records to subscribers: gathered until there are enough or it is time, then sent; one batch is on its way at a time.
 *
 *   record ──> gathered (at most bytes_max, items_max) ──> sending ──2xx──> gone
 *                 └ full: dropped, counted, and told of ('platform.logsDropped')  └── failed: again, later each time, then dropped
 *
 * Memory of a subscriber: two batches. What is not sent when the instance ends is lost with it. */
#include "broker/api/runtime/instance.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "broker/api/runtime/control_bodies.h"
#include "broker/base/assert.h"
#include "broker/edge/log.h"
#include "schemas/codec/ids.h"
#include "schemas/codec/json.h"

enum { TELEMETRY_TRIES_MAX = 8, TELEMETRY_RETRY_MS_MIN = 100, TELEMETRY_RETRY_MS_MAX = 5000 };

struct subscriber {
    struct ev_loop *loop;
    const char *extension;           /* lives as long as the instance */
    struct subscription wants;
    struct bytes gathered, sending;
    unsigned gathered_items, sending_items, tries;
    uint64_t dropped_records, dropped_bytes;
    struct post *post;
    ev_timer timer;                  /* of the oldest gathered record, or of the next try */
    bool retrying;
};

struct telemetry {
    struct subscriber *subscribers[RUNTIME_EXTENSIONS_MAX];
    unsigned count;
};

static void subscriber_free(struct subscriber *subscriber)
{
    if (subscriber == NULL)
        return;
    ev_timer_stop(subscriber->loop, &subscriber->timer);
    post_free(subscriber->post);
    bytes_done(&subscriber->gathered);
    bytes_done(&subscriber->sending);
    free(subscriber);
}

struct telemetry *telemetry_free(struct telemetry *telemetry)
{
    for (unsigned i = 0; telemetry != NULL && i < telemetry->count; i++)
        subscriber_free(telemetry->subscribers[i]);
    free(telemetry);
    return NULL;
}

/* ---- sending ---- */

static void timer_set(struct subscriber *subscriber, unsigned after_ms)
{
    ev_timer_stop(subscriber->loop, &subscriber->timer);
    ev_timer_set(&subscriber->timer, after_ms / 1e3, 0.);
    ev_timer_start(subscriber->loop, &subscriber->timer);
}

/* Appends {"time":...,"type":...,"record":...}, with what stands between it and the one before: arrays have commas, lines have breaks. */
static void put_record(struct subscriber *subscriber, int64_t time_ms, const char *type, struct view record_json)
{
    struct bytes *out = &subscriber->gathered;
    char time[TIME_TEXT_MAX];

    (void)time_to_text(time_ms, true, time);
    if (!subscriber->wants.tcp)
        bytes_put_char(out, subscriber->gathered_items == 0 ? '[' : ',');
    bytes_put_format(out, "{\"time\":\"%s\",\"type\":\"%s\",\"record\":", time, type);
    if (subscriber->wants.tcp)
        json_put_line(out, record_json);
    else
        bytes_put_view(out, record_json);
    bytes_put_text(out, subscriber->wants.tcp ? "}\n" : "}");
    subscriber->gathered_items++;
}

static void drop(struct subscriber *subscriber, unsigned records, size_t bytes)
{
    subscriber->dropped_records += records;
    subscriber->dropped_bytes += bytes;
}

static void send_gathered(struct subscriber *subscriber)
{
    char dropped[160];

    if (post_busy(subscriber->post) || subscriber->retrying || subscriber->gathered_items == 0)
        return;
    if (subscriber->dropped_records > 0) {
        (void)snprintf(dropped, sizeof dropped,
                       "{\"reason\":\"the subscriber did not take them in time\",\"droppedRecords\":%" PRIu64
                       ",\"droppedBytes\":%" PRIu64 "}",
                       subscriber->dropped_records, subscriber->dropped_bytes);
        put_record(subscriber, clock_now().wall_ms, "platform.logsDropped", view_of(dropped));
        subscriber->dropped_records = subscriber->dropped_bytes = 0;
    }
    if (!subscriber->wants.tcp)
        bytes_put_char(&subscriber->gathered, ']');
    ev_timer_stop(subscriber->loop, &subscriber->timer);
    struct bytes batch = subscriber->gathered;
    subscriber->gathered = subscriber->sending;
    subscriber->sending = batch;
    subscriber->sending_items = subscriber->gathered_items;
    subscriber->gathered_items = 0;
    bytes_clear(&subscriber->gathered);
    subscriber->tries = 1;
    if (subscriber->sending.failed) { /* out of memory: what is torn is not sent */
        drop(subscriber, subscriber->sending_items, subscriber->sending.len);
        bytes_clear(&subscriber->sending);
        return;
    }
    post_send(subscriber->post, bytes_view(&subscriber->sending));
}

/* By bytes already at half of what a batch may hold: so the rest takes what comes while one is on its way. */
static bool is_full(const struct subscriber *subscriber)
{
    return subscriber->gathered_items >= subscriber->wants.items_max || subscriber->gathered.len >= subscriber->wants.bytes_max / 2;
}

static void on_sent(void *ctx, bool sent)
{
    struct subscriber *subscriber = ctx;

    if (!sent && subscriber->tries < TELEMETRY_TRIES_MAX) {
        unsigned pause_ms = TELEMETRY_RETRY_MS_MIN << (subscriber->tries - 1);
        subscriber->tries++;
        subscriber->retrying = true;
        timer_set(subscriber, pause_ms < TELEMETRY_RETRY_MS_MAX ? pause_ms : TELEMETRY_RETRY_MS_MAX);
        return;
    }
    if (!sent)
        drop(subscriber, subscriber->sending_items, subscriber->sending.len);
    bytes_clear(&subscriber->sending);
    if (is_full(subscriber))
        send_gathered(subscriber);
    else if (subscriber->gathered_items > 0)
        timer_set(subscriber, subscriber->wants.timeout_ms);
}

static void on_timer(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct subscriber *subscriber = timer->data;

    (void)loop;
    (void)events;
    if (subscriber->retrying) {
        subscriber->retrying = false;
        post_send(subscriber->post, bytes_view(&subscriber->sending));
    } else {
        send_gathered(subscriber);
    }
}

static void subscriber_record(struct subscriber *subscriber, int64_t time_ms, const char *type, struct view record_json)
{
    enum { FRAME_BYTES = 128 };          /* around a record: its time, its type, punctuation */
    size_t len = record_json.len + FRAME_BYTES;

    if (subscriber->gathered_items >= subscriber->wants.items_max || subscriber->gathered.len + len > subscriber->wants.bytes_max) {
        drop(subscriber, 1, record_json.len);
        return;
    }
    bool first = subscriber->gathered_items == 0;
    put_record(subscriber, time_ms, type, record_json);
    if (is_full(subscriber))
        send_gathered(subscriber);
    else if (first && !post_busy(subscriber->post) && !subscriber->retrying)
        timer_set(subscriber, subscriber->wants.timeout_ms);
}

/* What a record is called where it goes; NULL: it is none there. The Logs API has no inits, and an `end`, and of a subscription its own word:
 * its clients refuse a batch in which there is a type they do not know. */
static const char *type_for(const struct subscriber *subscriber, const char *type)
{
    if (!subscriber->wants.logs)
        return strcmp(type, "platform.end") == 0 ? NULL : type;
    if (strncmp(type, "platform.init", 13) == 0)
        return NULL;
    if (strcmp(type, "platform.telemetrySubscription") == 0)
        return "platform.logsSubscription";
    return strcmp(type, "platform.runtimeDone") == 0 && !subscriber->wants.runtime_done ? NULL : type;
}

static unsigned type_of(const char *type)
{
    if (strncmp(type, "platform.", 9) == 0)
        return TELEMETRY_PLATFORM;
    return strcmp(type, "function") == 0 ? TELEMETRY_FUNCTION : TELEMETRY_EXTENSION;
}

void telemetry_record(struct runtime_instance *instance, const char *type, struct view record_json)
{
    struct telemetry *telemetry = instance->telemetry;
    int64_t now_ms = clock_now().wall_ms;

    for (unsigned i = 0; i < telemetry->count; i++)
        if ((telemetry->subscribers[i]->wants.types & type_of(type)) != 0 && type_for(telemetry->subscribers[i], type) != NULL)
            subscriber_record(telemetry->subscribers[i], now_ms, type_for(telemetry->subscribers[i], type), record_json);
}

void telemetry_flush(struct telemetry *telemetry)
{
    for (unsigned i = 0; i < telemetry->count; i++)
        send_gathered(telemetry->subscribers[i]);
}

/* ---- subscribing ---- */

static struct subscriber *subscriber_new(struct ev_loop *loop, const struct subscription *wants, const char *extension)
{
    struct subscriber *subscriber = calloc(1, sizeof *subscriber);

    if (subscriber == NULL)
        return NULL;
    subscriber->loop = loop;
    subscriber->wants = *wants;
    subscriber->extension = extension;
    ev_init(&subscriber->timer, on_timer);
    subscriber->timer.data = subscriber;
    subscriber->post = post_new(loop, wants->port, wants->tcp ? NULL : subscriber->wants.path, on_sent, subscriber);
    if (subscriber->post == NULL) {
        free(subscriber);
        return NULL;
    }
    return subscriber;
}

/* One subscription an extension: a second one takes the place of the first. NULL: out of memory. */
static struct subscriber *subscriber_put(struct runtime_instance *instance, const struct subscription *wants, const char *extension)
{
    struct subscriber *subscriber = subscriber_new(instance->api->loop, wants, extension);

    if (instance->telemetry == NULL)
        instance->telemetry = calloc(1, sizeof *instance->telemetry);
    if (subscriber == NULL || instance->telemetry == NULL) {
        subscriber_free(subscriber);
        return NULL;
    }
    struct telemetry *telemetry = instance->telemetry;
    unsigned at = 0;
    while (at < telemetry->count && telemetry->subscribers[at]->extension != extension)
        at++;
    if (at == telemetry->count)
        telemetry->count++;
    else
        subscriber_free(telemetry->subscribers[at]);
    ASSERT(at < RUNTIME_EXTENSIONS_MAX); /* one of each extension */
    telemetry->subscribers[at] = subscriber;
    return subscriber;
}

/* INIT began before anybody could subscribe: its time is not now's. */
static void record_init_start(const struct runtime_instance *instance, struct subscriber *subscriber)
{
    struct bytes record = { 0 };
    struct now now = clock_now();
    int64_t began_ms = now.wall_ms - (now.mono.us - instance->opened_us) / 1000;

    platform_init_start(instance, &record);
    if ((subscriber->wants.types & TELEMETRY_PLATFORM) != 0 && !subscriber->wants.logs && !record.failed)
        subscriber_record(subscriber, began_ms, "platform.initStart", bytes_view(&record));
    bytes_done(&record);
}

static void record_subscribed(struct runtime_instance *instance, const struct subscription *wants, const char *extension)
{
    static const char *const names[] = { "platform", "function", "extension" };
    struct bytes record = { 0 };
    const char *comma = "";

    bytes_put_text(&record, "{\"name\":");
    json_put_string(&record, view_of(extension));
    bytes_put_text(&record, ",\"state\":\"Subscribed\",\"types\":[");
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
        if ((wants->types & 1u << i) == 0)
            continue;
        bytes_put_format(&record, "%s\"%s\"", comma, names[i]);
        comma = ",";
    }
    bytes_put_text(&record, "]}");
    telemetry_record(instance, "platform.telemetrySubscription", bytes_view(&record));
    bytes_done(&record);
}

void telemetry_subscribe(struct runtime_instance *instance, struct http_exchange *exchange, const char *extension)
{
    struct subscription wants;
    struct sluice_error error;

    if (instance->state != RUNTIME_STARTED) {
        answer_error(exchange, 403, "Telemetry.SubscriptionClosed", "Telemetry API subscription is closed");
        return;
    }
    if (subscription_parse(http_body(exchange), view_is(http_path(exchange), TELEMETRY_LOGS_PATH), &wants, &error) != SLUICE_OK) {
        answer_error(exchange, 400, "ValidationError", "%s", error.text);
        return;
    }
    struct subscriber *subscriber = subscriber_put(instance, &wants, extension);
    if (subscriber == NULL) {
        answer_status(exchange, 500);
        return;
    }
    answer_json(exchange, 200, NULL, VIEW_LITERAL("\"OK\""));
    record_init_start(instance, subscriber);
    record_subscribed(instance, &wants, extension);
}
