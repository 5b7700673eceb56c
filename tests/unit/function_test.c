/* The function library against a fake daemon: what handlers see, what results go back, and how an instance ends. */
#include "sluice/function.h"

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "schemas/codec/ids.h"
#include "tests/test.h"
#include "tests/unit/fake_broker.h"

enum { DELIVERIES_MAX = 100000 };

/* What the fake daemon hands out: deliveries 0..total-1, `per_batch` at a time; then requests are parked. */
struct work {
    unsigned total, per_batch, given, settled, failed, leases, parked, left, later;
    bool drain;                     /* answer "end" when all is given */
    bool as_input;
    unsigned results[DELIVERIES_MAX];
    uint64_t lease_first[DELIVERIES_MAX];   /* by lease number: its first delivery and count */
    unsigned lease_count[DELIVERIES_MAX];
    unsigned bad_results, failures_seen;
    char failure_type[64], failure_message[64], instance[64];
};
static struct work work;

static void put_delivery(struct bytes *out, unsigned n)
{
    char detail[64], uuid[16] = { 1, 2, 3 };

    (void)snprintf(detail, sizeof detail, "{\"n\":%u}", n);
    mpack_put_array(out, 3);
    mpack_put_uint(out, n % 3 + 1);
    if (work.as_input) {
        mpack_put_uint(out, NEXT_JSON);
        mpack_put_bin(out, view_of(detail));
        return;
    }
    mpack_put_uint(out, NEXT_ENVELOPE);
    uuid[15] = (char)n;
    struct event event = { .id = { .data = uuid, .len = 16 }, .id_is_uuid = true, .has_time = true, .time_ms = 1700000000000,
                           .source = VIEW_LITERAL("shop"), .detail_type = VIEW_LITERAL("order.paid"), .detail = view_of(detail) };
    if (n % 2 == 1) {
        event.id = VIEW_LITERAL("own-id");
        event.id_is_uuid = false;
        event.bus = VIEW_LITERAL("orders");
    }
    envelope_encode(&event, out);
}

static void settle(struct mpack_reader *arguments)
{
    uint32_t results, items, failures = 0;
    uint64_t lease, index;
    struct view type, message;

    if (!mpack_read_array(arguments, &results) || results > 1) {
        work.bad_results++;
        return;
    }
    if (results == 0)
        return;
    if (!mpack_read_array(arguments, &items) || items != 3 || !mpack_read_uint(arguments, DELIVERIES_MAX - 1, &lease) ||
        !(mpack_read_nil(arguments) || mpack_read_array(arguments, &failures))) {
        work.bad_results++;
        return;
    }
    for (uint32_t i = 0; i < failures; i++) {
        if (!mpack_read_array(arguments, &items) || items != 3 || !mpack_read_uint(arguments, DELIVERIES_MAX, &index) ||
            !mpack_read_str(arguments, &type) || !mpack_read_str(arguments, &message) || index >= work.lease_count[lease]) {
            work.bad_results++;
            return;
        }
        (void)snprintf(work.failure_type, sizeof work.failure_type, "%.*s", VIEW_ARGS(type));
        (void)snprintf(work.failure_message, sizeof work.failure_message, "%.*s", VIEW_ARGS(message));
        work.failed++;
    }
    if (!mpack_read_nil(arguments))
        work.bad_results++;
    for (unsigned i = 0; i < work.lease_count[lease]; i++)
        work.results[work.lease_first[lease] + i]++;
    work.settled += work.lease_count[lease];
    work.lease_count[lease] = 0; /* known no more */
}

static void put_nothing(struct bytes *out, enum sluice_err code)
{
    mpack_put_array(out, 6);
    mpack_put_uint(out, PROTOCOL_VERSION);
    mpack_put_uint(out, code);
    mpack_put_nil(out);
    mpack_put_uint(out, 0);
    mpack_put_int(out, 0);
    mpack_put_array(out, 0);
}

static bool answer_next(struct fake_broker *broker, uint64_t call, struct mpack_reader *arguments, struct bytes *out)
{
    struct view instance;
    uint64_t events_max;

    (void)broker;
    if (call != CALL_NEXT || !mpack_read_str(arguments, &instance) || !mpack_read_uint(arguments, NEXT_EVENTS_MAX, &events_max)) {
        work.bad_results++;
        put_nothing(out, SLUICE_EPROTO);
        return true;
    }
    (void)snprintf(work.instance, sizeof work.instance, "%.*s", VIEW_ARGS(instance));
    settle(arguments);
    if (work.later > 0) {
        work.later--;
        put_nothing(out, SLUICE_ELIMIT);
        return true;
    }
    if (events_max == 0 || work.left > 0) {
        work.left += events_max == 0;
        put_nothing(out, SLUICE_OK);
        return true;
    }
    unsigned count = work.total - work.given;
    if (count == 0) {
        if (work.drain)
            put_nothing(out, SLUICE_EUNAVAILABLE);
        else
            work.parked++;
        return work.drain;
    }
    count = count > work.per_batch ? work.per_batch : count;
    count = count > events_max ? (unsigned)events_max : count;
    uint64_t lease = ++work.leases;
    work.lease_first[lease] = work.given;
    work.lease_count[lease] = count;
    mpack_put_array(out, 6);
    mpack_put_uint(out, PROTOCOL_VERSION);
    mpack_put_uint(out, SLUICE_OK);
    mpack_put_nil(out);
    mpack_put_uint(out, lease);
    mpack_put_int(out, 1800000000000);
    mpack_put_array(out, count);
    for (unsigned i = 0; i < count; i++)
        put_delivery(out, work.given++);
    return true;
}

static struct fake_broker *given_work(const struct work *given, unsigned concurrency)
{
    static unsigned number;
    char url[128], text[16];

    work = *given;
    (void)snprintf(url, sizeof url, "ipc://%s/fn%u.sock", test_directory(), ++number);
    struct fake_broker *broker = fake_new(url);
    broker->answer = answer_next;
    fake_start(broker);
    (void)setenv("SLUICE_BUS", url, 1);
    (void)setenv("SLUICE_INSTANCE", "i-1", 1);
    (void)snprintf(text, sizeof text, "%u", concurrency);
    (void)setenv("SLUICE_CONCURRENCY", text, 1);
    (void)setenv("SLUICE_BATCH_SIZE", "1000", 1);
    return broker;
}

struct run { struct sluice_function function; pthread_t thread; int status; };

static void *run_thread(void *user)
{
    struct run *run = user;

    run->status = sluice_function_run(&run->function);
    return NULL;
}

static void run_start(struct run *run)
{
    EXPECT_EQ(0, pthread_create(&run->thread, NULL, run_thread, run));
}

static int serve(struct fake_broker *broker, const struct sluice_function *function)
{
    int status = sluice_function_run(function);

    fake_sync(broker);
    return status;
}

static int run_end(struct fake_broker *broker, struct run *run)
{
    (void)pthread_join(run->thread, NULL);
    fake_sync(broker);
    return run->status;
}

static enum sluice_err count_one(void *user, struct sluice_delivery *delivery)
{
    unsigned n = 0;

    if (delivery->detail_len < 6 || sscanf(delivery->detail, "{\"n\":%u", &n) != 1)
        return SLUICE_EINVAL;
    (void)__atomic_add_fetch((unsigned *)user, 1, __ATOMIC_RELAXED);
    return SLUICE_OK;
}

static void expect_each_settled_once(unsigned total)
{
    unsigned wrong = 0;

    for (unsigned i = 0; i < total; i++)
        wrong += work.results[i] != 1;
    EXPECT_EQ(0, wrong);
    EXPECT_EQ(0, work.bad_results);
}

TEST(every_delivery_is_handled_and_settled_once)
{
    static const struct { unsigned concurrency, per_batch; } cases[] = { { 1, 1 }, { 1, 100 }, { 8, 7 } };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        unsigned handled = 0;
        struct fake_broker *broker =
            given_work(&(struct work){ .total = 500, .per_batch = cases[i].per_batch, .drain = true }, cases[i].concurrency);
        EXPECT_EQ(0, serve(broker, &(struct sluice_function){ .handle = count_one, .user = &handled }));
        EXPECT_EQ(500, handled);
        EXPECT_EQ(0, work.failed);
        expect_each_settled_once(500);
        EXPECT_TEXT("i-1", work.instance);
        EXPECT_EQ(0, broker->without_hello);
        fake_free(broker);
    }
}

static enum sluice_err look(void *user, struct sluice_delivery *delivery)
{
    unsigned *seen = user;
    bool odd = *seen % 2 == 1;
    char detail[64], id[UUID_TEXT_LEN + 1];

    (void)snprintf(detail, sizeof detail, "{\"n\":%u}", *seen);
    (void)snprintf(id, sizeof id, "01020300-0000-0000-0000-0000000000%02x", *seen);
    EXPECT_TEXT(odd ? "own-id" : id, delivery->id);
    EXPECT_TEXT("shop", delivery->source);
    EXPECT_TEXT("order.paid", delivery->type);
    EXPECT_TEXT(odd ? "orders" : "default", delivery->bus);
    EXPECT_EQ(1700000000000, delivery->time_ms);
    EXPECT_EQ(1800000000000, delivery->deadline_ms);
    EXPECT_EQ(*seen % 3 + 1, delivery->attempt);
    EXPECT_EQ(strlen(detail), delivery->detail_len);
    EXPECT(memcmp(detail, delivery->detail, delivery->detail_len) == 0);
    EXPECT(!delivery->detail_is_mpack && !delivery->detail_is_input);
    const char *json = delivery->envelope_json(delivery);
    EXPECT(strstr(json, detail) != NULL && strstr(json, "\"detail-type\":\"order.paid\"") != NULL &&
           strstr(json, delivery->id) != NULL);
    EXPECT(json == delivery->envelope_json(delivery));
    ++*seen;
    return SLUICE_OK;
}

TEST(handlers_see_the_event_and_its_json)
{
    unsigned seen = 0;
    struct fake_broker *broker = given_work(&(struct work){ .total = 9, .per_batch = 4, .drain = true }, 1);

    EXPECT_EQ(0, serve(broker, &(struct sluice_function){ .handle = look, .user = &seen }));
    EXPECT_EQ(9, seen);
    fake_free(broker);
}

static enum sluice_err look_at_input(void *user, struct sluice_delivery *delivery)
{
    ++*(unsigned *)user;
    EXPECT(delivery->detail_is_input);
    EXPECT_TEXT("", delivery->id);
    EXPECT_TEXT("{\"n\":0}", delivery->envelope_json(delivery));
    return SLUICE_OK;
}

TEST(input_of_the_rules_target_comes_as_it_is)
{
    unsigned seen = 0;
    struct fake_broker *broker = given_work(&(struct work){ .total = 1, .per_batch = 1, .drain = true, .as_input = true }, 1);

    EXPECT_EQ(0, serve(broker, &(struct sluice_function){ .handle = look_at_input, .user = &seen }));
    EXPECT_EQ(1, seen);
    fake_free(broker);
}

static void fail_every_third(void *user, struct sluice_delivery *const *deliveries, size_t count, enum sluice_err *codes)
{
    (void)user;
    for (size_t i = 0; i < count; i++)
        if (i % 3 == 2) {
            codes[i] = SLUICE_EIO;
            sluice_function_fail(deliveries[i], "DiskFull", "no room for it");
        }
}

static enum sluice_err fail_silently(void *user, struct sluice_delivery *delivery)
{
    (void)user, (void)delivery;
    return SLUICE_ETIMEDOUT;
}

TEST(failures_are_told_with_their_reason)
{
    struct fake_broker *broker = given_work(&(struct work){ .total = 30, .per_batch = 10, .drain = true }, 1);
    EXPECT_EQ(0, serve(broker, &(struct sluice_function){ .handle_batch = fail_every_third }));
    EXPECT_EQ(9, work.failed);
    EXPECT_TEXT("DiskFull", work.failure_type);
    EXPECT_TEXT("no room for it", work.failure_message);
    expect_each_settled_once(30);
    fake_free(broker);

    broker = given_work(&(struct work){ .total = 1, .per_batch = 1, .drain = true }, 1);
    EXPECT_EQ(0, serve(broker, &(struct sluice_function){ .handle = fail_silently }));
    EXPECT_TEXT("SLUICE_ETIMEDOUT", work.failure_type);
    EXPECT_TEXT("", work.failure_message);
    fake_free(broker);
}

/* A handler that SIGTERM finds at work. */
struct gate { pthread_mutex_t mutex; pthread_cond_t changed; bool entered, open; };

static enum sluice_err wait_at_gate(void *user, struct sluice_delivery *delivery)
{
    struct gate *gate = user;

    (void)delivery;
    pthread_mutex_lock(&gate->mutex);
    gate->entered = true;
    pthread_cond_broadcast(&gate->changed);
    while (!gate->open)
        pthread_cond_wait(&gate->changed, &gate->mutex);
    pthread_mutex_unlock(&gate->mutex);
    return SLUICE_OK;
}

TEST(sigterm_finishes_the_batch_hands_in_its_result_and_ends)
{
    struct gate gate = { .mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };
    struct run run = { .function = { .handle = wait_at_gate, .user = &gate } };
    struct fake_broker *broker = given_work(&(struct work){ .total = 3, .per_batch = 3 }, 4);

    run_start(&run);
    pthread_mutex_lock(&gate.mutex);
    while (!gate.entered)
        pthread_cond_wait(&gate.changed, &gate.mutex);
    pthread_mutex_unlock(&gate.mutex);
    EXPECT(fake_wait(broker, &work.parked, 3)); /* the other workers */
    EXPECT_EQ(0, kill(getpid(), SIGTERM));
    EXPECT(fake_wait(broker, &work.left, 1));
    fake_wake_parked(broker);
    pthread_mutex_lock(&gate.mutex);
    gate.open = true;
    pthread_cond_broadcast(&gate.changed);
    pthread_mutex_unlock(&gate.mutex);
    EXPECT_EQ(0, run_end(broker, &run));
    expect_each_settled_once(3);
    EXPECT_EQ(2, work.left);
    fake_free(broker);
}

TEST(sigterm_ends_parked_workers_without_the_daemons_help)
{
    unsigned handled = 0;
    struct run run = { .function = { .handle = count_one, .user = &handled } };
    struct fake_broker *broker = given_work(&(struct work){ .total = 2, .per_batch = 1 }, 2);

    run_start(&run);
    EXPECT(fake_wait(broker, &work.parked, 2));
    EXPECT_EQ(0, kill(getpid(), SIGTERM));
    EXPECT_EQ(0, run_end(broker, &run));
    expect_each_settled_once(2);
    fake_free(broker);
}

TEST(a_lost_connection_is_made_again_and_later_is_waited_for)
{
    unsigned handled = 0;
    struct run run = { .function = { .handle = count_one, .user = &handled } };
    struct fake_broker *broker = given_work(&(struct work){ .total = 10, .per_batch = 2, .later = 2 }, 1);

    run_start(&run);
    EXPECT(fake_wait(broker, &work.parked, 1));
    fake_stop(broker);
    pthread_mutex_lock(&broker->mutex);
    work.total = 20;
    work.drain = true;
    pthread_mutex_unlock(&broker->mutex);
    fake_start(broker);
    EXPECT_EQ(0, run_end(broker, &run));
    EXPECT_EQ(20, handled);
    expect_each_settled_once(20);
    EXPECT_EQ(0, broker->without_hello);
    fake_free(broker);
}

TEST(an_instance_that_cannot_serve_says_why_and_ends_with_1)
{
    struct sluice_function function = { .handle = fail_silently };
    struct fake_broker *broker = given_work(&(struct work){ .total = 0 }, 2);

    fake_stop(broker); /* nobody there for five seconds */
    EXPECT_EQ(1, sluice_function_run(&function));
    (void)setenv("SLUICE_CONCURRENCY", "many", 1);
    EXPECT_EQ(1, sluice_function_run(&function));
    (void)unsetenv("SLUICE_BUS");
    EXPECT_EQ(1, sluice_function_run(&function));
    fake_free(broker);
}
