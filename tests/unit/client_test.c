/* The producer library against a fake daemon that refuses, delays, lies and dies. What must hold every time: each event is
 * applied once, each ack is called once, and an ack of SLUICE_OK is only called for what was applied. */
#include "sluice/producer.h"

#include <nng/nng.h>
#include <nng/protocol/reqrep0/rep.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "schemas/codec/frame.h"
#include "schemas/codec/ids.h"
#include "tests/test.h"
#include "tests/unit/fake_broker.h"

static struct fake_broker *broker_new(void)
{
    static unsigned number;
    char url[128];

    (void)snprintf(url, sizeof url, "ipc://%s/bus%u.sock", test_directory(), ++number);
    return fake_new(url);
}

static void fake_set_decide(struct fake_broker *broker,
                            enum fake_action (*decide)(struct fake_broker *, const struct fake_publish *))
{
    pthread_mutex_lock(&broker->mutex);
    broker->decide = decide;
    pthread_mutex_unlock(&broker->mutex);
}

static struct fake_broker *given_broker(enum fake_action (*decide)(struct fake_broker *, const struct fake_publish *))
{
    struct fake_broker *broker = broker_new();

    broker->decide = decide;
    fake_start(broker);
    return broker;
}

#define GIVEN_PRODUCER(broker_, ...) \
    producer_open(&(struct sluice_producer_options){ .url = (broker_)->url, .name = "test", __VA_ARGS__ })

static struct sluice_producer *producer_open(const struct sluice_producer_options *options)
{
    struct sluice_producer *producer = NULL;
    struct sluice_error error;

    if (sluice_producer_open(options, &producer, &error) != SLUICE_OK) {
        fprintf(stderr, "%s\n", error.text);
        abort();
    }
    return producer;
}

/* What acks said, by event number. Acks never overlap, so plain counters do. */
struct acks {
    unsigned ok[FAKE_EVENTS_MAX], other[FAKE_EVENTS_MAX];
    unsigned ok_count, other_count, out_of_order;
    int64_t last;
    enum sluice_err last_code;
    char last_text[SLUICE_ERROR_TEXT_MAX];
    bool inside;
    unsigned overlaps;
};
static struct acks acks;

static void count_ack(void *user, enum sluice_err code, const struct sluice_error *error)
{
    uintptr_t number = (uintptr_t)user;

    acks.overlaps += __atomic_exchange_n(&acks.inside, true, __ATOMIC_ACQ_REL);
    if ((int64_t)number < acks.last)
        acks.out_of_order++;
    acks.last = (int64_t)number;
    if (code == SLUICE_OK) {
        acks.ok[number]++;
        acks.ok_count++;
    } else {
        acks.other[number]++;
        acks.other_count++;
        acks.last_code = code;
        memcpy(acks.last_text, error->text, sizeof acks.last_text);
    }
    __atomic_store_n(&acks.inside, false, __ATOMIC_RELEASE);
}

static enum sluice_err publish_number(struct sluice_producer *producer, unsigned number, const char *type,
                                      struct sluice_error *error)
{
    char detail[64];

    (void)snprintf(detail, sizeof detail, "{\"n\":%u}", number);
    struct sluice_event event = { .source = "test", .type = type, .detail = detail };
    return sluice_publish_async(producer, &event, count_ack, (void *)(uintptr_t)number, error);
}

static void publish_numbers(struct sluice_producer *producer, unsigned from, unsigned count)
{
    struct sluice_error error;

    for (unsigned i = from; i < from + count; i++)
        if (publish_number(producer, i, "numbered", &error) != SLUICE_OK) {
            test_fail(__FILE__, __LINE__, "publish %u: %s", i, error.text);
            return;
        }
}

static void acks_clear(void)
{
    memset(&acks, 0, sizeof acks);
    acks.last = -1;
}

/* The invariant: events 0..count-1 were each applied once and acked once. */
static void expect_all_once(struct fake_broker *broker, unsigned count)
{
    unsigned lost = 0, doubled = 0, unacked = 0, acked_twice = 0;

    fake_sync(broker);
    for (unsigned i = 0; i < count; i++) {
        lost += broker->event_count[i] == 0;
        doubled += broker->event_count[i] > 1;
        unacked += acks.ok[i] + acks.other[i] == 0;
        acked_twice += acks.ok[i] + acks.other[i] > 1;
    }
    EXPECT_EQ(0, lost);
    EXPECT_EQ(0, doubled);
    EXPECT_EQ(0, unacked);
    EXPECT_EQ(0, acked_twice);
    EXPECT_EQ(count, acks.ok_count);
    EXPECT_EQ(0, acks.overlaps);
    EXPECT_EQ(0, broker->malformed);
    EXPECT_EQ(0, broker->without_hello);
    EXPECT_EQ(0, broker->lowest_wrong);
}

TEST(blocking_publish_returns_when_the_event_is_applied)
{
    struct fake_broker *broker = given_broker(NULL);
    struct sluice_producer *producer = GIVEN_PRODUCER(broker);
    struct sluice_error error = { 0 };
    static const char *const resources[] = { "arn:a", "arn:b", NULL };
    struct sluice_event event = { .source = "shop", .type = "order.paid", .detail = "{\"order\":7}", .resources = resources,
                                  .key = "k", .time_ms = 1700000000123, .not_before_ms = 1700000000456, .bus = "default" };

    EXPECT_EQ(SLUICE_OK, sluice_publish(producer, &event, &error));
    EXPECT_TEXT("", error.text);
    fake_sync(broker);
    EXPECT_EQ(1, broker->events_applied);
    EXPECT_VIEW("shop", broker->last_event.source);
    EXPECT_VIEW("order.paid", broker->last_event.detail_type);
    EXPECT_VIEW("{\"order\":7}", broker->last_event.detail);
    EXPECT_VIEW("k", broker->last_event.key);
    EXPECT(broker->last_event.bus.data == NULL);
    EXPECT_EQ(1700000000123, broker->last_event.time_ms);
    EXPECT_EQ(1700000000456, broker->last_event.not_before_ms);
    EXPECT_EQ(2, broker->last_event.resources_count);
    EXPECT(broker->last_event.id_is_uuid && uuid_is_v7((const uint8_t *)broker->last_event.id.data));
    EXPECT_TEXT("test", broker->client);
    EXPECT_EQ(SLUICE_OK, sluice_producer_close(producer, 1000, NULL));
    fake_free(broker);
}

TEST(events_that_can_never_pass_are_refused_at_once)
{
    static char long_text[300], large[EVENT_BYTES_MAX + 10];
    memset(long_text, 'x', sizeof long_text - 1);
    memset(large, 'x', sizeof large - 1);
    const struct { const char *label; struct sluice_event event; const char *text;
    } cases[] = {
        { "no source", { .type = "t", .detail = "{}" }, "event: 'source' is missing" },
        { "no type", { .source = "s", .detail = "{}" }, "event: 'type' is missing" },
        { "no detail", { .source = "s", .type = "t" }, "event: exactly one of 'detail' and 'detail_mpack' must be set" },
        { "two details",
          { .source = "s", .type = "t", .detail = "{}", .detail_mpack = "\x80", .detail_len = 1 },
          "event: exactly one of 'detail' and 'detail_mpack' must be set" },
        { "empty key", { .source = "s", .type = "t", .detail = "{}", .key = "" }, "event: 'key' must be of 1 to 256 bytes" },
        { "long bus",
          { .source = "s", .type = "t", .detail = "{}", .bus = long_text },
          "event: 'bus' must be of 1 to 256 bytes" },
        { "too large", { .source = "s", .type = "t", .detail = large }, NULL },
    };
    struct fake_broker *broker = given_broker(NULL);
    struct sluice_producer *producer = GIVEN_PRODUCER(broker);
    struct sluice_error error;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        test_label(cases[i].label);
        EXPECT_EQ(SLUICE_EINVAL, sluice_publish(producer, &cases[i].event, &error));
        if (cases[i].text != NULL)
            EXPECT_TEXT(cases[i].text, error.text);
        EXPECT_EQ(SLUICE_EINVAL, sluice_publish_async(producer, &cases[i].event, count_ack, NULL, NULL));
    }
    test_label(NULL);
    EXPECT_EQ(SLUICE_OK, sluice_producer_close(producer, 1000, NULL));
    EXPECT_EQ(0, broker->publishes);
    fake_free(broker);
}

TEST(wrong_options_are_refused_with_their_names)
{
    const struct { const char *label; struct sluice_producer_options options; const char *text; } cases[] = {
        { "window", { .window_batches = 17 }, "option window_batches = 17: at most 16" },
        { "bytes", { .batch_bytes = (4 << 20) + 1 }, "option batch_bytes = 4194305: at most 4194304" },
        { "events", { .batch_events = 10001 }, "option batch_events = 10001: at most 10000" },
        { "epoch", { .epoch = 1 }, "options epoch and sequence need an id" },
        { "url", { .url = "carrier-pigeon://x" }, NULL },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct sluice_producer *producer = NULL;
        struct sluice_error error;
        test_label(cases[i].label);
        EXPECT_EQ(SLUICE_EINVAL, sluice_producer_open(&cases[i].options, &producer, &error));
        if (cases[i].text != NULL)
            EXPECT_TEXT(cases[i].text, error.text);
        EXPECT(producer == NULL);
    }
}

TEST(async_events_are_applied_and_acked_once_in_order)
{
    struct fake_broker *broker = broker_new();
    fake_start(broker);
    struct sluice_producer *producer = GIVEN_PRODUCER(broker);
    struct sluice_producer_stats stats;
    uint64_t unconfirmed = 99;

    acks_clear();
    publish_numbers(producer, 0, 20000);
    EXPECT_EQ(SLUICE_OK, sluice_producer_flush(producer, 20000, &unconfirmed));
    EXPECT_EQ(0, unconfirmed);
    expect_all_once(broker, 20000);
    EXPECT_EQ(0, broker->out_of_order);
    sluice_producer_stats(producer, &stats);
    EXPECT_EQ(20000, stats.acked);
    EXPECT_EQ(0, stats.unconfirmed);
    EXPECT_EQ(0, stats.resends);
    EXPECT_EQ(broker->applied_batches, stats.batches);
    EXPECT_EQ(broker->sequence_last + 1, stats.sequence_next);
    EXPECT(stats.connected);
    EXPECT_EQ(SLUICE_OK, sluice_producer_close(producer, 1000, NULL));
    fake_free(broker);
}

TEST(refusals_reach_their_events_and_no_others)
{
    struct fake_broker *broker = given_broker(NULL);
    struct sluice_producer *producer = GIVEN_PRODUCER(broker);

    acks_clear();
    for (unsigned i = 0; i < 3000; i++)
        EXPECT_EQ(SLUICE_OK, publish_number(producer, i, i % 7 == 3 ? "refuse" : "numbered", NULL));
    EXPECT_EQ(SLUICE_OK, sluice_producer_flush(producer, 20000, NULL));
    unsigned wrong = 0;
    for (unsigned i = 0; i < 3000; i++)
        wrong += i % 7 == 3 ? acks.ok[i] != 0 || acks.other[i] != 1 : acks.ok[i] != 1 || acks.other[i] != 0;
    EXPECT_EQ(0, wrong);
    EXPECT_EQ(SLUICE_ENOTFOUND, acks.last_code);
    EXPECT_TEXT("no such bus", acks.last_text);

    struct sluice_error error;
    struct sluice_event event = { .source = "s", .type = "refuse", .detail = "{}" };
    EXPECT_EQ(SLUICE_ENOTFOUND, sluice_publish(producer, &event, &error));
    EXPECT_TEXT("no such bus", error.text);
    EXPECT_EQ(SLUICE_OK, sluice_producer_close(producer, 1000, NULL));
    fake_free(broker);
}

/* The fault hits every third request; dropped connections and garbage make every other batch of the window come again. */
static enum fake_action fault_of_this_test;
static enum fake_action every_third(struct fake_broker *broker, const struct fake_publish *publish)
{
    (void)broker;
    if (fault_of_this_test == FAKE_MALFORMED && publish->attempt > 1)
        return FAKE_OK; /* the same batch called malformed again and again is given up, rightly */
    return publish->nth % 3 == 0 ? fault_of_this_test : FAKE_OK;
}

TEST(no_fault_loses_or_doubles_an_event)
{
    static const struct { const char *label; enum fake_action fault; unsigned events; } cases[] = {
        { "later", FAKE_LATER, 5000 },
        { "connection lost before it was applied", FAKE_DROP_BEFORE, 2000 },
        { "connection lost after it was applied", FAKE_DROP_AFTER, 2000 },
        { "garbage", FAKE_GARBAGE, 600 },
        { "another version", FAKE_OTHER_VERSION, 600 },
        { "results that lie", FAKE_LYING, 600 },
        { "called malformed once", FAKE_MALFORMED, 600 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        test_label(cases[i].label);
        fault_of_this_test = cases[i].fault;
        struct fake_broker *broker = given_broker(every_third);
        struct sluice_producer *producer = GIVEN_PRODUCER(broker, .batch_events = 100);
        struct sluice_producer_stats stats;
        uint64_t unconfirmed = 99;
        acks_clear();
        publish_numbers(producer, 0, cases[i].events);
        EXPECT_EQ(SLUICE_OK, sluice_producer_flush(producer, 60000, &unconfirmed));
        EXPECT_EQ(0, unconfirmed);
        expect_all_once(broker, cases[i].events);
        sluice_producer_stats(producer, &stats);
        EXPECT(stats.resends > 0);
        EXPECT_EQ(cases[i].events, stats.acked);
        if (cases[i].fault == FAKE_LATER)
            EXPECT(stats.backpressure > 0 && stats.reconnects == 0);
        else
            EXPECT(stats.reconnects > 0);
        EXPECT_EQ(SLUICE_OK, sluice_producer_close(producer, 1000, NULL));
        fake_free(broker);
    }
}

TEST(events_wait_for_a_daemon_that_comes_later_and_comes_again)
{
    struct fake_broker *broker = broker_new();
    struct sluice_producer *producer = GIVEN_PRODUCER(broker, .batch_events = 50);

    acks_clear();
    publish_numbers(producer, 0, 1000);
    for (unsigned round = 1; round <= 5; round++) {
        fake_start(broker);
        EXPECT(fake_wait(broker, &broker->publishes, round));
        fake_stop(broker); /* in the middle of whatever it was doing */
        publish_numbers(producer, round * 1000, 1000);
    }
    fake_start(broker);
    EXPECT_EQ(SLUICE_OK, sluice_producer_flush(producer, 20000, NULL));
    expect_all_once(broker, 6000);
    EXPECT(broker->hellos >= 2);
    EXPECT_EQ(SLUICE_OK, sluice_producer_close(producer, 1000, NULL));
    fake_free(broker);
}

static enum fake_action hold_all(struct fake_broker *broker, const struct fake_publish *publish)
{
    (void)broker, (void)publish;
    return FAKE_HOLD;
}

TEST(at_most_window_batches_are_out_and_never_more_than_the_credit)
{
    static const struct {
        unsigned window, credit, expected;
    } cases[] = { { 0, 16, 8 }, { 16, 16, 16 }, { 1, 16, 1 }, { 8, 3, 3 } };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct fake_broker *broker = broker_new();
        broker->decide = hold_all;
        broker->credit = cases[i].credit;
        fake_start(broker);
        struct sluice_producer *producer = GIVEN_PRODUCER(broker, .window_batches = cases[i].window, .batch_events = 10);
        acks_clear();
        publish_numbers(producer, 0, 500);
        EXPECT(fake_wait(broker, &broker->held_now, cases[i].expected));
        fake_set_decide(broker, NULL);
        fake_release(broker);
        EXPECT_EQ(SLUICE_OK, sluice_producer_flush(producer, 20000, NULL));
        EXPECT_EQ(cases[i].expected, broker->outstanding_max);
        expect_all_once(broker, 500);
        EXPECT_EQ(SLUICE_OK, sluice_producer_close(producer, 1000, NULL));
        fake_free(broker);
    }
}

/* The daemon applies in order: it takes 1 and cuts the credit to one batch, turns 2 away, and holds 3 and later back. */
static enum fake_action second_is_put_off(struct fake_broker *broker, const struct fake_publish *publish)
{
    broker->credit = 1;
    if (publish->sequence > 2 && !broker->batch_applied[2])
        return FAKE_HOLD;
    return publish->sequence == 2 && publish->attempt < 3 ? FAKE_LATER : FAKE_OK;
}

TEST(a_batch_put_off_goes_again_though_later_ones_fill_the_credit)
{
    struct fake_broker *broker = broker_new();
    struct sluice_producer *producer = GIVEN_PRODUCER(broker, .batch_events = 10);

    acks_clear();
    publish_numbers(producer, 0, 40); /* four batches, which go out together when the daemon comes */
    broker->decide = second_is_put_off;
    fake_start(broker);
    EXPECT(fake_wait(broker, &broker->applied_batches, 2));
    fake_release(broker);
    EXPECT_EQ(SLUICE_OK, sluice_producer_flush(producer, 20000, NULL));
    expect_all_once(broker, 40);
    EXPECT_EQ(SLUICE_OK, sluice_producer_close(producer, 1000, NULL));
    fake_free(broker);
}

TEST(a_full_buffer_fails_or_waits_as_asked)
{
    struct fake_broker *broker = given_broker(hold_all);
    struct sluice_producer *producer = GIVEN_PRODUCER(broker, .buffer_bytes = 10000, .buffer_full_fails = true);
    struct sluice_error error;
    unsigned taken = 0;

    acks_clear();
    while (taken < 1000 && publish_number(producer, taken, "numbered", &error) == SLUICE_OK)
        taken++;
    EXPECT(taken > 50 && taken < 1000);
    EXPECT_EQ(SLUICE_ELIMIT, error.code);
    EXPECT(fake_wait(broker, &broker->held_now, 1));
    fake_set_decide(broker, NULL);
    fake_release(broker);
    EXPECT_EQ(SLUICE_OK, sluice_producer_flush(producer, 20000, NULL));
    EXPECT_EQ(SLUICE_OK, publish_number(producer, taken, "numbered", &error));
    EXPECT_EQ(SLUICE_OK, sluice_producer_close(producer, 20000, NULL));
    expect_all_once(broker, taken + 1);

    fake_free(broker);

    broker = given_broker(NULL);
    producer = GIVEN_PRODUCER(broker, .buffer_bytes = 2000);
    acks_clear();
    publish_numbers(producer, 0, 2000); /* many times the buffer */
    EXPECT_EQ(SLUICE_OK, sluice_producer_close(producer, 20000, NULL));
    expect_all_once(broker, 2000);
    fake_free(broker);
}

TEST(flush_and_close_count_what_has_no_answer)
{
    struct fake_broker *broker = given_broker(hold_all);
    struct sluice_producer *producer = GIVEN_PRODUCER(broker, .batch_events = 10);
    struct sluice_producer_stats stats;
    uint64_t unconfirmed = 0;

    acks_clear();
    publish_numbers(producer, 0, 105);
    EXPECT(fake_wait(broker, &broker->held_now, 8));
    EXPECT_EQ(SLUICE_ETIMEDOUT, sluice_producer_flush(producer, 10, &unconfirmed));
    EXPECT_EQ(105, unconfirmed);
    sluice_producer_stats(producer, &stats);
    EXPECT_EQ(105, stats.unconfirmed);
    EXPECT_EQ(0, acks.ok_count + acks.other_count);
    EXPECT_EQ(SLUICE_ETIMEDOUT, sluice_producer_close(producer, 10, &unconfirmed));
    EXPECT_EQ(105, unconfirmed);
    EXPECT_EQ(105, acks.other_count);
    EXPECT_EQ(SLUICE_EUNAVAILABLE, acks.last_code);
    EXPECT_EQ(0, acks.out_of_order);
    fake_free(broker);
}

TEST(blocking_publish_gives_up_in_time_and_says_why)
{
    struct fake_broker *broker = broker_new();
    struct sluice_producer *producer = GIVEN_PRODUCER(broker, .ack_timeout_ms = 50);
    struct sluice_event event = { .source = "s", .type = "t", .detail = "{\"n\":1}" };
    struct sluice_error error;
    char expected[256];
    uint64_t unconfirmed = 0;

    EXPECT_EQ(SLUICE_ETIMEDOUT, sluice_publish(producer, &event, &error));
    (void)snprintf(expected, sizeof expected, "not connected within 50 ms: no daemon answers at %s", broker->url);
    EXPECT_TEXT(expected, error.text);
    fake_start(broker);
    EXPECT(fake_wait(broker, &broker->events_applied, 1)); /* "it may still get there" */
    EXPECT_EQ(SLUICE_OK, sluice_producer_close(producer, 5000, &unconfirmed));
    EXPECT_EQ(0, unconfirmed);
    fake_free(broker);

    broker = broker_new();
    broker->hello_version = 2;
    fake_start(broker);
    producer = GIVEN_PRODUCER(broker, .ack_timeout_ms = 500);
    EXPECT_EQ(SLUICE_ETIMEDOUT, sluice_publish(producer, &event, &error));
    EXPECT(strstr(error.text, "protocol version 2, this library version 1") != NULL);
    EXPECT_EQ(SLUICE_ETIMEDOUT, sluice_producer_close(producer, 0, &unconfirmed));
    EXPECT_EQ(1, unconfirmed);
    fake_sync(broker);
    EXPECT(broker->hellos <= 2); /* a refusal is not answered with a storm of attempts */
    EXPECT_EQ(0, broker->publishes);
    fake_free(broker);

    broker = broker_new();
    broker->hello_code = SLUICE_EACCESS;
    fake_start(broker);
    producer = GIVEN_PRODUCER(broker, .ack_timeout_ms = 200, .token = "wrong");
    EXPECT_EQ(SLUICE_ETIMEDOUT, sluice_publish(producer, &event, &error));
    EXPECT(strstr(error.text, "hello refused by the test") != NULL);
    fake_sync(broker);
    EXPECT_TEXT("wrong", broker->token);
    EXPECT_EQ(SLUICE_ETIMEDOUT, sluice_producer_close(producer, 0, NULL));
    fake_free(broker);
}

static enum fake_action always_stale(struct fake_broker *broker, const struct fake_publish *publish)
{
    (void)broker, (void)publish;
    return FAKE_STALE;
}
static enum fake_action always_malformed(struct fake_broker *broker, const struct fake_publish *publish)
{
    (void)broker, (void)publish;
    return FAKE_MALFORMED;
}

TEST(a_batch_that_can_never_pass_is_refused_whole)
{
    static const struct {
        enum fake_action (*decide)(struct fake_broker *, const struct fake_publish *);
        enum sluice_err code;
        const char *text;
    } cases[] = {
        { always_stale, SLUICE_ESTALE, "a newer epoch is known" },
        { always_malformed, SLUICE_EPROTO, "I do not like it" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct fake_broker *broker = given_broker(cases[i].decide);
        struct sluice_producer *producer = GIVEN_PRODUCER(broker);
        struct sluice_error error;
        struct sluice_event event = { .source = "s", .type = "t", .detail = "{}" };
        EXPECT_EQ(cases[i].code, sluice_publish(producer, &event, &error));
        EXPECT_TEXT(cases[i].text, error.text);
        EXPECT_EQ(SLUICE_OK, sluice_producer_close(producer, 1000, NULL));
        fake_free(broker);
    }
}

TEST(large_events_stay_within_the_batch_limit)
{
    struct fake_broker *broker = given_broker(NULL);
    struct sluice_producer *producer = GIVEN_PRODUCER(broker, .batch_bytes = 4 << 20);
    static char detail[900 << 10];

    acks_clear();
    for (unsigned i = 0; i < 12; i++) {
        int len = snprintf(detail, sizeof detail, "{\"n\":%u,\"x\":\"", i);
        memset(detail + len, 'x', sizeof detail - (size_t)len);
        memcpy(detail + sizeof detail - 3, "\"}", 3);
        struct sluice_event event = { .source = "s", .type = "t", .detail = detail };
        EXPECT_EQ(SLUICE_OK, sluice_publish_async(producer, &event, count_ack, (void *)(uintptr_t)i, NULL));
    }
    EXPECT_EQ(SLUICE_OK, sluice_producer_close(producer, 20000, NULL));
    expect_all_once(broker, 12);
    fake_free(broker);
}

TEST(a_durable_producer_continues_its_numbering)
{
    struct fake_broker *broker = given_broker(NULL);
    const uint8_t *id = (const uint8_t *)"0123456789abcdef";
    struct sluice_producer *producer = GIVEN_PRODUCER(broker, .id = id, .epoch = 3, .sequence = 41);
    struct sluice_producer_stats stats;
    struct sluice_event event = { .source = "s", .type = "t", .detail = "{}" };

    EXPECT_EQ(SLUICE_OK, sluice_publish(producer, &event, NULL));
    fake_sync(broker);
    EXPECT_EQ(41, broker->sequence_last);
    EXPECT_EQ(3, broker->epoch_last);
    sluice_producer_stats(producer, &stats);
    EXPECT_EQ(42, stats.sequence_next);
    EXPECT_EQ(SLUICE_OK, sluice_producer_close(producer, 1000, NULL));
    fake_free(broker);
}

/* Several threads, both ways of publishing, while the daemon is lost again and again. */
struct crowd_member { struct sluice_producer *producer; unsigned from, count; bool blocking; unsigned failed; };

static void *crowd_run(void *user)
{
    struct crowd_member *member = user;
    char detail[64];

    for (unsigned i = member->from; i < member->from + member->count; i++) {
        (void)snprintf(detail, sizeof detail, "{\"n\":%u}", i);
        struct sluice_event event = { .source = "test", .type = "numbered", .detail = detail };
        member->failed += (member->blocking ? sluice_publish(member->producer, &event, NULL)
                                            : sluice_publish_async(member->producer, &event, NULL, NULL, NULL)) != SLUICE_OK;
    }
    return NULL;
}

static enum fake_action drop_sometimes(struct fake_broker *broker, const struct fake_publish *publish)
{
    (void)broker;
    return publish->nth % 50 == 20 ? FAKE_DROP_BEFORE : publish->nth % 50 == 45 ? FAKE_DROP_AFTER : FAKE_OK;
}

TEST(threads_share_a_producer)
{
    enum { MEMBERS = 6, EACH = 300 };
    struct fake_broker *broker = given_broker(drop_sometimes);
    struct sluice_producer *producer = GIVEN_PRODUCER(broker);
    struct crowd_member members[MEMBERS];
    pthread_t threads[MEMBERS];
    unsigned failed = 0, wrong = 0;

    for (unsigned i = 0; i < MEMBERS; i++) {
        members[i] = (struct crowd_member){ .producer = producer, .from = i * EACH, .count = EACH, .blocking = i % 2 == 0 };
        EXPECT_EQ(0, pthread_create(&threads[i], NULL, crowd_run, &members[i]));
    }
    for (unsigned i = 0; i < MEMBERS; i++) {
        (void)pthread_join(threads[i], NULL);
        failed += members[i].failed;
    }
    EXPECT_EQ(SLUICE_OK, sluice_producer_close(producer, 20000, NULL));
    for (unsigned i = 0; i < MEMBERS * EACH; i++)
        wrong += broker->event_count[i] != 1;
    EXPECT_EQ(0, failed);
    EXPECT_EQ(0, wrong);
    fake_free(broker);
}

static bool answer_control(struct fake_broker *broker, uint64_t call, struct mpack_reader *arguments, struct bytes *out)
{
    struct view command, text;

    if (call != CALL_CONTROL || !mpack_read_str(arguments, &command) || !mpack_read_bin(arguments, &text))
        return false;
    bool known = view_is(command, "echo");
    (void)broker;
    mpack_put_array(out, 4);
    mpack_put_uint(out, PROTOCOL_VERSION);
    mpack_put_uint(out, known ? SLUICE_OK : SLUICE_ENOTFOUND);
    if (known)
        mpack_put_nil(out);
    else
        mpack_put_str(out, VIEW_LITERAL("no command of that name"));
    mpack_put_bin(out, text);
    return true;
}

TEST(control_calls_bring_the_result_or_the_reason)
{
    struct fake_broker *broker = broker_new();
    struct sluice_error error;
    char *result = NULL;

    EXPECT_EQ(SLUICE_EUNAVAILABLE, sluice_control(broker->url, "echo", "{}", 1000, &result, &error));
    EXPECT(strstr(error.text, "no daemon answers at ipc://") != NULL);
    broker->answer = answer_control;
    fake_start(broker);
    EXPECT_EQ(SLUICE_OK, sluice_control(broker->url, "echo", "{\"a\":1}", 5000, &result, &error));
    EXPECT_TEXT("{\"a\":1}", result);
    free(result);
    EXPECT_EQ(SLUICE_ENOTFOUND, sluice_control(broker->url, "dance", "{}", 5000, &result, &error));
    EXPECT_TEXT("no command of that name", error.text);
    EXPECT_EQ(SLUICE_EINVAL, sluice_control("tcp://127.0.0.1:1", "echo", "{}", 5000, &result, &error));
    fake_free(broker);
}

TEST(default_url_follows_the_environment)
{
    enum { NOBODY = 65534 };
    char url[128], expected[64];
    bool root = geteuid() == 0;

    (void)setenv("SLUICE_URL", "ipc:///somewhere", 1);
    EXPECT_EQ(strlen("ipc:///somewhere"), sluice_url_default(url, sizeof url));
    EXPECT_TEXT("ipc:///somewhere", url);
    EXPECT_EQ(strlen("ipc:///somewhere"), sluice_url_default(url, 5));
    EXPECT_TEXT("ipc:", url);
    (void)unsetenv("SLUICE_URL");
    if (root) {
        (void)sluice_url_default(url, sizeof url);
        EXPECT_TEXT("ipc:///run/sluice/bus.sock", url);
        EXPECT_EQ(0, syscall(SYS_setresuid, -1, NOBODY, -1)); /* this thread alone */
    }
    (void)setenv("XDG_RUNTIME_DIR", "/run/user/7", 1);
    (void)sluice_url_default(url, sizeof url);
    EXPECT_TEXT("ipc:///run/user/7/sluice/bus.sock", url);
    (void)setenv("XDG_RUNTIME_DIR", "relative", 1);
    (void)setenv("TMPDIR", "/var/tmp", 1);
    (void)sluice_url_default(url, sizeof url);
    (void)snprintf(expected, sizeof expected, "ipc:///var/tmp/sluice-%u/bus.sock", (unsigned)geteuid());
    EXPECT_TEXT(expected, url);
    (void)unsetenv("XDG_RUNTIME_DIR");
    (void)unsetenv("TMPDIR");
    (void)sluice_url_default(url, sizeof url);
    (void)snprintf(expected, sizeof expected, "ipc:///tmp/sluice-%u/bus.sock", (unsigned)geteuid());
    EXPECT_TEXT(expected, url);
    if (root)
        EXPECT_EQ(0, syscall(SYS_setresuid, -1, 0, -1));
}

TEST(frames_are_read_only_whole_and_within_their_limit)
{
    static const struct {
        const char *label;
        enum frame_kind kind;
        const char *bytes;
        size_t len;
        enum frame_result result;
        size_t body;
    } cases[] = {
        { "ipc", FRAME_IPC, "\1\0\0\0\0\0\0\0\7\x80\0\0\5abc", 16, FRAME_WHOLE, 3 },
        { "tcp", FRAME_TCP, "\0\0\0\0\0\0\0\7\x80\0\0\5abc", 15, FRAME_WHOLE, 3 },
        { "empty body", FRAME_TCP, "\0\0\0\0\0\0\0\4\x80\0\0\5", 12, FRAME_WHOLE, 0 },
        { "cut head", FRAME_IPC, "\1\0\0\0\0\0\0\0\7\x80\0\0", 12, FRAME_SHORT, 0 },
        { "no ipc message", FRAME_IPC, "\2\0\0\0\0\0\0\0\7\x80\0\0\5", 13, FRAME_BROKEN, 0 },
        { "no room for the id", FRAME_TCP, "\0\0\0\0\0\0\0\3\x80\0\0\5", 12, FRAME_BROKEN, 0 },
        { "largest body", FRAME_TCP, "\0\0\0\0\0\0\0\x0e\x80\0\0\5", 12, FRAME_WHOLE, 10 },
        { "too large", FRAME_TCP, "\0\0\0\0\0\0\0\x0f\x80\0\0\5", 12, FRAME_BROKEN, 0 },
        { "huge", FRAME_TCP, "\xff\xff\xff\xff\xff\xff\xff\xff\x80\0\0\5", 12, FRAME_BROKEN, 0 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct frame_head head = { 0 };
        uint8_t again[FRAME_HEAD_BYTES_MAX];
        test_label(cases[i].label);
        EXPECT_EQ(cases[i].result, frame_read_head(cases[i].kind, (const uint8_t *)cases[i].bytes, cases[i].len, 10, &head));
        if (cases[i].result != FRAME_WHOLE)
            continue;
        EXPECT_EQ(cases[i].body, head.body_bytes);
        EXPECT_EQ(0x80000005u, head.id);
        EXPECT_EQ(head.head_bytes, frame_put_head(cases[i].kind, head.id, head.body_bytes, again));
        EXPECT(memcmp(again, cases[i].bytes, head.head_bytes) == 0);
    }
}

/* The real other end: nng's REP socket. Answers hello, then every publish with "accepted". */
static void *rep_run(void *user)
{
    nng_socket socket = *(nng_socket *)user;
    nng_msg *msg;

    while (nng_recvmsg(socket, &msg, 0) == 0) {
        struct mpack_reader reader = mpack_reader_of((struct view){ .data = nng_msg_body(msg), .len = nng_msg_len(msg) });
        struct bytes out = { 0 };
        struct view producer;
        uint64_t version, call = 0, epoch, sequence, lowest;
        uint32_t items, events = 0;
        bool sound =
            mpack_read_array(&reader, &items) && mpack_read_uint(&reader, 1, &version) && mpack_read_uint(&reader, 100, &call);
        if (call == CALL_PUBLISH)
            sound = sound && mpack_read_bin(&reader, &producer) && mpack_read_uint(&reader, UINT64_MAX, &epoch) &&
                    mpack_read_uint(&reader, UINT64_MAX, &sequence) && mpack_read_uint(&reader, UINT64_MAX, &lowest) &&
                    mpack_read_array(&reader, &events);
        EXPECT(sound);
        mpack_put_array(&out, call == CALL_HELLO ? 8 : 7);
        mpack_put_uint(&out, PROTOCOL_VERSION);
        mpack_put_uint(&out, SLUICE_OK);
        mpack_put_nil(&out);
        if (call == CALL_HELLO) {
            mpack_put_uint(&out, 4);
            mpack_put_uint(&out, PUBLISH_BATCH_BYTES_MAX);
            mpack_put_uint(&out, PUBLISH_BATCH_EVENTS_MAX);
            mpack_put_uint(&out, EVENT_BYTES_MAX);
            mpack_put_str(&out, VIEW_LITERAL("rep"));
        } else {
            mpack_put_uint(&out, events);
            mpack_put_bool(&out, false);
            mpack_put_uint(&out, 4);
            mpack_put_array(&out, 0);
        }
        nng_msg_clear(msg);
        EXPECT_EQ(0, nng_msg_append(msg, out.data, out.len));
        bytes_done(&out);
        EXPECT_EQ(0, nng_sendmsg(socket, msg, 0));
    }
    return NULL;
}

TEST(any_nng_rep_socket_can_be_the_other_end)
{
    for (unsigned i = 0; i < 2; i++) {
        nng_socket socket;
        nng_listener listener;
        pthread_t thread;
        char url[128];
        int port = 0;
        struct sluice_event event = { .source = "s", .type = "t", .detail = "{}" };

        (void)snprintf(url, sizeof url, "ipc://%s/rep.sock", test_directory());
        EXPECT_EQ(0, nng_rep0_open(&socket));
        EXPECT_EQ(0, nng_listen(socket, i == 0 ? url : "tcp://127.0.0.1:0", &listener, 0));
        if (i == 1) {
            EXPECT_EQ(0, nng_listener_get_int(listener, NNG_OPT_TCP_BOUND_PORT, &port));
            (void)snprintf(url, sizeof url, "tcp://127.0.0.1:%d", port);
        }
        test_label(url);
        EXPECT_EQ(0, pthread_create(&thread, NULL, rep_run, &socket));
        struct sluice_producer *producer = producer_open(&(struct sluice_producer_options){ .url = url });
        EXPECT_EQ(SLUICE_OK, sluice_publish(producer, &event, NULL));
        acks_clear();
        publish_numbers(producer, 0, 5000);
        EXPECT_EQ(SLUICE_OK, sluice_producer_close(producer, 20000, NULL));
        EXPECT_EQ(5000, acks.ok_count);
        EXPECT_EQ(0, nng_close(socket));
        (void)pthread_join(thread, NULL);
    }
}
