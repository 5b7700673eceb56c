/* The function library as a consumer daemon, against a fake daemon: it attaches, is refused, loses its connection, is told to end, and
 * never hands in a result where its lease is void. */
#include "sluice/function.h"

#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "tests/test.h"
#include "tests/unit/fake_broker.h"

enum { LEASES_MAX = 64 };

/* One delivery a lease. */
static struct {
    unsigned work, given;           /* leases to hand out in all, handed out */
    unsigned refusals;              /* attaches that are refused first, with `refusal` */
    enum sluice_err refusal;
    unsigned concurrency;           /* in the answer */
    bool broken;                    /* the next answer to attach is nonsense */
    bool over;                      /* `next` without a result says that the instance is to end */

    unsigned asked, attached, parked, settled, stale, strange, detached, last_words;
    unsigned instance;              /* attached as */
    unsigned instance_of[LEASES_MAX];
    char words[256];                /* of the last attach */
} fake;

static void put_head(struct bytes *out, unsigned items, enum sluice_err code)
{
    mpack_put_array(out, items);
    mpack_put_uint(out, PROTOCOL_VERSION);
    mpack_put_uint(out, code);
    if (code == SLUICE_OK)
        mpack_put_nil(out);
    else
        mpack_put_str(out, VIEW_LITERAL("a reason"));
}

static bool answer_attach(struct mpack_reader *arguments, struct bytes *out)
{
    struct view function, consumer;
    uint64_t concurrency;
    char instance[16];

    fake.asked++;
    if (!mpack_read_str(arguments, &function) || !mpack_read_str(arguments, &consumer) || !mpack_read_uint(arguments, 10000, &concurrency))
        fake.strange++;
    (void)snprintf(fake.words, sizeof fake.words, "%.*s %.*s %u", VIEW_ARGS(function), VIEW_ARGS(consumer), (unsigned)concurrency);
    if (fake.refusals > 0) {
        fake.refusals--;
        put_head(out, 3, fake.refusal);
        return true;
    }
    if (fake.broken) {
        fake.broken = false;
        put_head(out, 3, SLUICE_OK);
        return true;
    }
    fake.attached++;
    fake.over = false;
    (void)snprintf(instance, sizeof instance, "%u", ++fake.instance);
    put_head(out, 7, SLUICE_OK);
    mpack_put_str(out, view_of(instance));
    mpack_put_uint(out, fake.concurrency);
    mpack_put_uint(out, 10);
    mpack_put_uint(out, 3000);
    return true;
}

static void put_lease(struct bytes *out, enum sluice_err code, uint64_t lease)
{
    put_head(out, 6, code);
    mpack_put_uint(out, lease);
    mpack_put_int(out, 0);
    mpack_put_array(out, lease != 0);
    if (lease == 0)
        return;
    mpack_put_array(out, 3);
    mpack_put_uint(out, 1);
    mpack_put_uint(out, NEXT_JSON);
    mpack_put_bin(out, VIEW_LITERAL("{}"));
}

static bool answer_next(struct mpack_reader *arguments, struct bytes *out)
{
    struct view instance;
    uint64_t events_max, lease = 0;
    uint32_t results, items;
    char ours[16];

    (void)snprintf(ours, sizeof ours, "%u", fake.instance);
    if (!mpack_read_str(arguments, &instance) || !mpack_read_uint(arguments, 10000, &events_max) || !mpack_read_array(arguments, &results) ||
        results > 1 || (results == 1 && (!mpack_read_array(arguments, &items) || !mpack_read_uint(arguments, LEASES_MAX - 1, &lease)))) {
        fake.strange++;
        put_lease(out, SLUICE_EPROTO, 0);
        return true;
    }
    fake.strange += !view_is(instance, ours);
    if (lease != 0 && fake.instance_of[lease] == fake.instance)
        fake.settled++;
    else if (lease != 0)
        fake.stale++;
    if (events_max == 0) {
        fake.last_words++;
        put_lease(out, SLUICE_OK, 0);
        return true;
    }
    if (fake.over || fake.detached > 0) {
        put_lease(out, SLUICE_EUNAVAILABLE, 0);
        return true;
    }
    if (fake.given == fake.work) {
        fake.parked++;
        return false;
    }
    fake.instance_of[++fake.given] = fake.instance;
    put_lease(out, SLUICE_OK, fake.given);
    return true;
}

static bool answer(struct fake_broker *broker, uint64_t call, struct mpack_reader *arguments, struct bytes *out)
{
    struct view instance;

    (void)broker;
    switch (call) {
    case CALL_ATTACH: return answer_attach(arguments, out);
    case CALL_NEXT: return answer_next(arguments, out);
    case CALL_DETACH:
        fake.strange += !mpack_read_str(arguments, &instance);
        fake.detached++;
        put_head(out, 3, SLUICE_OK);
        return true;
    default:
        fake.strange++;
        put_head(out, 3, SLUICE_EPROTO);
        return true;
    }
}

/* A handler that stops at a gate, if it is shut. */
static struct { pthread_mutex_t mutex; pthread_cond_t changed; unsigned entered; bool shut; } gate = {
    PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, false,
};

static enum sluice_err handle(void *user, struct sluice_delivery *delivery)
{
    (void)user, (void)delivery;
    pthread_mutex_lock(&gate.mutex);
    gate.entered++;
    pthread_cond_broadcast(&gate.changed);
    while (gate.shut)
        pthread_cond_wait(&gate.changed, &gate.mutex);
    pthread_mutex_unlock(&gate.mutex);
    return SLUICE_OK;
}

static void gate_set(bool shut)
{
    pthread_mutex_lock(&gate.mutex);
    gate.shut = shut;
    pthread_cond_broadcast(&gate.changed);
    pthread_mutex_unlock(&gate.mutex);
}

static void gate_wait(unsigned entered)
{
    pthread_mutex_lock(&gate.mutex);
    while (gate.entered < entered)
        pthread_cond_wait(&gate.changed, &gate.mutex);
    pthread_mutex_unlock(&gate.mutex);
}

static char url[128];

static struct fake_broker *given(unsigned work, unsigned concurrency)
{
    static unsigned number;

    memset(&fake, 0, sizeof fake);
    fake.work = work;
    fake.concurrency = concurrency;
    gate.entered = 0;
    gate_set(false);
    (void)snprintf(url, sizeof url, "ipc://%s/at%u.sock", test_directory(), ++number);
    struct fake_broker *broker = fake_new(url);
    broker->answer = answer;
    fake_start(broker);
    return broker;
}

struct run { struct sluice_attach attach; pthread_t thread; int status; };

static void *run_thread(void *user)
{
    struct run *run = user;
    run->status = sluice_function_attach(&(struct sluice_function){ .handle = handle }, &run->attach);
    return NULL;
}

static void run_start(struct run *run, unsigned concurrency)
{
    *run = (struct run){ .attach = { .function = "work", .url = url, .consumer = "me@here:1", .concurrency = concurrency } };
    EXPECT_EQ(0, pthread_create(&run->thread, NULL, run_thread, run));
}

static int run_end(struct fake_broker *broker, struct run *run)
{
    (void)pthread_join(run->thread, NULL);
    fake_sync(broker);
    return run->status;
}

/* Once for each run: behind its end, the signal would be the end of this process. */
static int run_stop(struct fake_broker *broker, struct run *run)
{
    EXPECT_EQ(0, kill(getpid(), SIGTERM));
    return run_end(broker, run);
}

TEST(a_consumer_attaches_serves_and_detaches_when_told_to_end)
{
    struct fake_broker *broker = given(20, 3);
    struct run run;

    run_start(&run, 7);
    EXPECT(fake_wait(broker, &fake.parked, 3)); /* as many as the daemon said */
    EXPECT_EQ(0, run_stop(broker, &run));
    EXPECT_TEXT("work me@here:1 7", fake.words);
    EXPECT_EQ(1, fake.attached);
    EXPECT_EQ(20, fake.settled);
    EXPECT_EQ(1, fake.detached);
    EXPECT_EQ(0, fake.stale);
    EXPECT_EQ(0, fake.strange);
    fake_free(broker);
}

TEST(what_it_holds_when_told_to_end_is_handed_in_with_its_last_words)
{
    struct fake_broker *broker = given(2, 2);
    struct run run;

    gate_set(true);
    run_start(&run, 0);
    gate_wait(2);
    EXPECT_EQ(0, kill(getpid(), SIGTERM));
    EXPECT(fake_wait(broker, &fake.detached, 1));
    gate_set(false);
    EXPECT_EQ(0, run_end(broker, &run));
    EXPECT_EQ(2, fake.settled);
    EXPECT_EQ(2, fake.last_words);
    fake_free(broker);
}

TEST(a_refusal_and_nonsense_are_asked_again)
{
    static const enum sluice_err codes[] = { SLUICE_ENOTFOUND, SLUICE_ELIMIT, SLUICE_EACCESS, SLUICE_EPROTO, SLUICE_EUNAVAILABLE };
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        struct fake_broker *broker = given(1, 1);
        struct run run;
        test_label(sluice_err_name(codes[i]));
        fake.refusals = 2;
        fake.refusal = codes[i];
        fake.broken = true;
        run_start(&run, 0);
        EXPECT(fake_wait(broker, &fake.settled, 1));
        EXPECT_EQ(0, run_stop(broker, &run));
        EXPECT_EQ(4, fake.asked);
        EXPECT_EQ(0, fake.strange);
        fake_free(broker);
    }
}

TEST(a_result_whose_connection_is_gone_is_not_handed_in_to_the_next)
{
    struct fake_broker *broker = given(2, 2);
    struct run run;

    gate_set(true);
    run_start(&run, 0);
    gate_wait(2);
    fake_stop(broker);
    gate_set(false);
    fake_start(broker);
    EXPECT(fake_wait(broker, &fake.attached, 2));
    EXPECT(fake_wait(broker, &fake.parked, 2));
    EXPECT_EQ(0, run_stop(broker, &run));
    EXPECT_EQ(0, fake.settled);
    EXPECT_EQ(0, fake.stale);
    EXPECT_EQ(0, fake.strange);
    fake_free(broker);
}

/* The daemon ends the attachment, as a reload does: the worker that holds something hands it in as the old instance, and only then all of
 * them go on as a new one, more of them if the daemon says so. */
TEST(an_attachment_that_is_over_is_wound_up_before_the_next_begins)
{
    struct fake_broker *broker = given(1, 2);
    struct run run;

    gate_set(true);
    run_start(&run, 0);
    gate_wait(1);
    EXPECT(fake_wait(broker, &fake.parked, 1));
    pthread_mutex_lock(&broker->mutex);
    fake.over = true;
    fake.concurrency = 4;
    fake.parked = 0;
    pthread_mutex_unlock(&broker->mutex);
    fake_wake_parked(broker);
    (void)nanosleep(&(struct timespec){ .tv_nsec = 300000000 }, NULL); /* longer than its pause: nothing must happen meanwhile */
    fake_sync(broker);
    EXPECT_EQ(1, fake.asked);
    gate_set(false);
    EXPECT(fake_wait(broker, &fake.attached, 2));
    EXPECT(fake_wait(broker, &fake.parked, 4));
    EXPECT_EQ(0, run_stop(broker, &run));
    EXPECT_EQ(1, fake.settled);
    EXPECT_EQ(1, fake.last_words);
    EXPECT_EQ(0, fake.stale);
    EXPECT_EQ(0, fake.strange);
    EXPECT_EQ(1, broker->hellos);
    fake_free(broker);
}

TEST(a_daemon_that_is_not_there_is_waited_for_until_told_to_end)
{
    struct fake_broker *broker = given(0, 1);
    struct run run;

    fake_stop(broker);
    run_start(&run, 0);
    fake_start(broker);
    EXPECT(fake_wait(broker, &fake.attached, 1));
    fake_stop(broker);
    EXPECT_EQ(0, run_stop(broker, &run));
    fake_free(broker);
}

TEST(the_environment_says_that_and_where_to_attach)
{
    struct fake_broker *broker = given(1, 1);
    struct run run = { .attach = { .url = NULL } };

    (void)setenv("SLUICE_URL", url, 1);
    (void)setenv("SLUICE_FUNCTION", "named", 1);
    (void)setenv("SLUICE_CONCURRENCY", "5", 1);
    EXPECT_EQ(0, pthread_create(&run.thread, NULL, run_thread, &run));
    EXPECT(fake_wait(broker, &fake.settled, 1));
    EXPECT_EQ(0, run_stop(broker, &run));
    EXPECT(strncmp("named ", fake.words, 6) == 0 && strchr(fake.words, '@') != NULL);
    EXPECT(strcmp(" 5", fake.words + strlen(fake.words) - 2) == 0);
    (void)setenv("SLUICE_CONCURRENCY", "none", 1);
    EXPECT_EQ(1, sluice_function_run(&(struct sluice_function){ .handle = handle }));
    (void)unsetenv("SLUICE_CONCURRENCY");
    (void)setenv("SLUICE_TOKEN_FILE", "/nowhere/at/all", 1);
    EXPECT_EQ(1, sluice_function_attach(&(struct sluice_function){ .handle = handle }, &(struct sluice_attach){ .url = "tcp://127.0.0.1:1" }));
    (void)unsetenv("SLUICE_FUNCTION");
    EXPECT_EQ(1, sluice_function_attach(&(struct sluice_function){ .handle = handle }, NULL));
    EXPECT_EQ(1, sluice_function_attach(&(struct sluice_function){ .handle = handle },
                                        &(struct sluice_attach){ .function = "f", .concurrency = 1025 }));
    fake_free(broker);
}
