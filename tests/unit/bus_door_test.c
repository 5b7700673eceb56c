/* The bus door on a real loop, with an owner that answers, parks or holds, against nng's own REQ sockets, our client, and raw
 * sockets that say anything. What must hold: each request is answered or gone, once; one connection's requests stay in order; and
 * whatever a peer does, the door goes on, its memory is bounded, and it closes at once. */
#include "broker/edge/bus_door.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <nng/nng.h>
#include <nng/protocol/reqrep0/req.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "broker/base/assert.h"
#include "broker/edge/bus_peer.h"
#include "broker/edge/log.h"
#include "schemas/codec/mpack.h"
#include "sluice/producer.h"
#include "tests/fuzz/bus_fuzz.h"
#include "tests/test.h"

enum { WAIT_MS_MAX = 20000, SEEN_MAX = 200000 };
#define TOKEN "a token of the test"

static int64_t now_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void pause_ms(int64_t ms)
{
    (void)nanosleep(&(struct timespec){ .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 }, NULL);
}

/* ---- the owner of the door, on the loop's thread ---- */

struct counts {
    unsigned sequences, events, gone, controls, attaches, lost;
    uint64_t lost_instance, lost_reached;
    unsigned gone_before_lost;
    size_t publishes, parked, detaching; /* that are held now */
};

struct bench {
    struct ev_loop *loop;
    ev_async stop;
    struct mailbox *mailbox;
    struct bus_door *door;
    pthread_t thread;
    char ipc[128], tcp[64], path[100];
    uint16_t port;
    atomic_uint reply_bytes;    /* of each control answer */
    atomic_bool hold_publishes;

    struct mail ask;            /* see on_loop() */
    void (*asked)(struct bench *bench);
    sem_t answered;
    struct counts seen;         /* as they were when the loop last answered: what the test's own thread may read */
    struct bus_stats stats;

    /* The loop's own, but for a function that runs there, and a test that knows that nothing more can come. */
    struct counts counts;
    VEC(struct publish) publishes;          /* held */
    VEC(uint64_t) parked;                   /* nexts */
    VEC(uint64_t) detaching;
    uint64_t lease_last;
    struct bus_attach attach;               /* the last one; its views are gone */
    char attach_words[64];
    uint64_t sequences[SEEN_MAX];           /* of publishes, as they came */
    uint8_t ends[SEEN_MAX];                 /* per request: how often answered or gone */
    unsigned turn;                          /* see note_turn() */
};

static void end_once(struct bench *bench, uint64_t request)
{
    ASSERT(request < SEEN_MAX);
    EXPECT_EQ(1, ++bench->ends[request]);
}

static void answer_publish(struct bench *bench, const struct publish *publish)
{
    end_once(bench, publish->reply);
    bus_answer_publish(bench->door, publish->reply, &(struct publish_answer){ .code = SLUICE_OK, .accepted = publish->count });
}

static void on_publish(void *ctx, const struct publish *publish)
{
    struct bench *bench = ctx;

    ASSERT(bench->counts.sequences < SEEN_MAX);
    bench->sequences[bench->counts.sequences++] = publish->sequence;
    bench->counts.events += publish->count;
    if (bench->hold_publishes)
        VEC_PUSH(&bench->publishes, *publish);
    else
        answer_publish(bench, publish);
}

static void on_next(void *ctx, uint64_t request, uint64_t instance, unsigned events_max, const struct bus_result *results, unsigned count)
{
    struct bench *bench = ctx;

    (void)instance, (void)events_max, (void)results, (void)count;
    VEC_PUSH(&bench->parked, request);
}

/* Instances 101, 102, ... */
static void on_attach(void *ctx, const struct bus_attach *attach)
{
    struct bench *bench = ctx;

    bench->attach = *attach;
    (void)snprintf(bench->attach_words, sizeof bench->attach_words, "%.*s %.*s %u", VIEW_ARGS(attach->function), VIEW_ARGS(attach->consumer),
                   attach->concurrency);
    end_once(bench, attach->request);
    if (view_is(attach->function, "nobody"))
        bus_answer_attach(bench->door, attach->request, &(struct bus_attached){ .code = SLUICE_ENOTFOUND, .text = "no" });
    else
        bus_answer_attach(bench->door, attach->request, &(struct bus_attached){ .instance = 101 + bench->counts.attaches++,
                                                                                .concurrency = 3, .batch_size = 4, .timeout_ms = 5 });
}

static void on_detach(void *ctx, uint64_t request, uint64_t instance)
{
    struct bench *bench = ctx;

    (void)instance;
    VEC_PUSH(&bench->detaching, request);
}

static void on_lost(void *ctx, uint64_t instance, uint64_t lease_reached)
{
    struct bench *bench = ctx;

    bench->counts.lost++;
    bench->counts.lost_instance = instance;
    bench->counts.lost_reached = lease_reached;
    bench->counts.gone_before_lost = bench->counts.gone;
}

static void on_control(void *ctx, uint64_t request, struct view command, struct view arguments)
{
    struct bench *bench = ctx;

    (void)command;
    bench->counts.controls++;
    end_once(bench, request);
    size_t bytes = bench->reply_bytes;
    char *big = bytes > 0 ? calloc(1, bytes) : NULL;
    bus_answer_control(bench->door, request, SLUICE_OK, NULL, big != NULL ? (struct view){ .data = big, .len = bytes } : arguments);
    free(big);
}

static void on_gone(void *ctx, uint64_t request)
{
    struct bench *bench = ctx;

    end_once(bench, request);
    bench->counts.gone++;
    for (size_t i = 0; i < bench->publishes.count; i++)
        if (bench->publishes.items[i].reply == request)
            bench->publishes.items[i--] = bench->publishes.items[--bench->publishes.count];
    for (size_t i = 0; i < bench->parked.count; i++)
        if (bench->parked.items[i] == request)
            bench->parked.items[i--] = bench->parked.items[--bench->parked.count];
    for (size_t i = 0; i < bench->detaching.count; i++)
        if (bench->detaching.items[i] == request)
            bench->detaching.items[i--] = bench->detaching.items[--bench->detaching.count];
}

static void on_stop(struct ev_loop *loop, ev_async *watcher, int events)
{
    (void)watcher, (void)events;
    ev_break(loop, EVBREAK_ALL);
}

static void *run_loop(void *arg)
{
    ev_run(((struct bench *)arg)->loop, 0);
    return NULL;
}

static void on_asked(struct mail *mail)
{
    struct bench *bench = LIST_OWNER(mail, struct bench, ask);

    bench->asked(bench);
    bus_door_stats(bench->door, &bench->stats);
    bench->seen = bench->counts;
    bench->seen.publishes = bench->publishes.count;
    bench->seen.parked = bench->parked.count;
    bench->seen.detaching = bench->detaching.count;
    sem_post(&bench->answered);
}

/* Runs on the loop's thread, and fetches the stats and the counts. */
static void on_loop(struct bench *bench, void (*function)(struct bench *bench))
{
    bench->asked = function;
    mailbox_post(bench->mailbox, &bench->ask);
    while (sem_wait(&bench->answered) != 0) {
    }
}

static void nothing(struct bench *bench) { (void)bench; }

static void note_turn(struct bench *bench) { bench->turn = ev_iteration(bench->loop); }

static void release_publishes(struct bench *bench)
{
    for (size_t i = 0; i < bench->publishes.count; i++)
        answer_publish(bench, &bench->publishes.items[i]);
    bench->publishes.count = 0;
}

/* Waits until the condition, on what on_loop() fetches, holds. */
#define WAIT_FOR(bench_, condition_)                                                         \
    do {                                                                                     \
        int64_t until_ = now_ms() + WAIT_MS_MAX;                                             \
        for (on_loop(bench_, nothing); !(condition_) && now_ms() < until_; on_loop(bench_, nothing)) \
            pause_ms(1);                                                                     \
        EXPECT(condition_);                                                                  \
    } while (0)

static uint16_t free_port(void)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    ASSERT(bind(fd, (struct sockaddr *)&address, sizeof address) == 0 && getsockname(fd, (struct sockaddr *)&address, &len) == 0);
    close(fd);
    return ntohs(address.sin_port);
}

static struct bench *bench_open(void)
{
    static unsigned number;
    struct bench *bench = calloc(1, sizeof *bench);
    struct sluice_error error;

    bench->loop = ev_loop_new(EVFLAG_AUTO);
    bench->mailbox = mailbox_new(bench->loop);
    bench->ask.deliver = on_asked;
    sem_init(&bench->answered, 0, 0);
    bench->port = free_port();
    (void)snprintf(bench->path, sizeof bench->path, "%s/door%u.sock", test_directory(), ++number);
    (void)snprintf(bench->ipc, sizeof bench->ipc, "ipc://%s", bench->path);
    (void)snprintf(bench->tcp, sizeof bench->tcp, "tcp://127.0.0.1:%u", bench->port);
    const char *listeners[] = { bench->ipc, bench->tcp, NULL };
    struct bus_events events = { .ctx = bench, .on_publish = on_publish, .on_next = on_next, .on_control = on_control, .on_gone = on_gone,
                                 .on_attach = on_attach, .on_detach = on_detach, .on_lost = on_lost };
    if (bus_door_open(bench->mailbox, &(struct bus_options){ .listeners = listeners, .token = TOKEN }, &events, &bench->door, &error) !=
        SLUICE_OK) {
        fprintf(stderr, "%s\n", error.text);
        abort();
    }
    ev_async_init(&bench->stop, on_stop);
    ev_async_start(bench->loop, &bench->stop);
    ASSERT(pthread_create(&bench->thread, NULL, run_loop, bench) == 0);
    return bench;
}

static void bench_close(struct bench *bench)
{
    ev_async_send(bench->loop, &bench->stop);
    (void)pthread_join(bench->thread, NULL);
    int64_t started = now_ms();
    bus_door_close(bench->door);
    EXPECT(now_ms() - started < 1000);
    EXPECT(access(bench->path, F_OK) != 0);
    mailbox_free(bench->mailbox);
    ev_async_stop(bench->loop, &bench->stop);
    ev_loop_destroy(bench->loop);
    sem_destroy(&bench->answered);
    VEC_DONE(&bench->publishes);
    VEC_DONE(&bench->parked);
    VEC_DONE(&bench->detaching);
    free(bench);
}

static unsigned descriptors_count(void)
{
    DIR *folder = opendir("/proc/self/fd");
    unsigned count = 0;

    while (readdir(folder) != NULL)
        count++;
    closedir(folder);
    return count;
}

/* ---- messages ---- */

static void put_call(struct bytes *out, unsigned items, unsigned call)
{
    bytes_clear(out);
    mpack_put_array(out, items);
    mpack_put_uint(out, PROTOCOL_VERSION);
    mpack_put_uint(out, call);
}

static void put_hello(struct bytes *out, const char *token)
{
    put_call(out, 4, CALL_HELLO);
    mpack_put_str(out, VIEW_LITERAL("test"));
    if (token != NULL)
        mpack_put_str(out, view_of(token));
    else
        mpack_put_nil(out);
}

static void put_publish(struct bytes *out, uint64_t sequence, unsigned events_bytes)
{
    put_call(out, 7, CALL_PUBLISH);
    mpack_put_nil(out);
    mpack_put_uint(out, 1);
    mpack_put_uint(out, sequence);
    mpack_put_uint(out, sequence);
    mpack_put_array(out, 1);
    if (events_bytes > 0) {
        char *filler = calloc(1, events_bytes);
        mpack_put_bin(out, (struct view){ .data = filler, .len = events_bytes });
        free(filler);
    } else {
        mpack_put_nil(out);
    }
}

static void put_next(struct bytes *out)
{
    put_call(out, 5, CALL_NEXT);
    mpack_put_str(out, VIEW_LITERAL("7"));
    mpack_put_uint(out, 10);
    mpack_put_array(out, 0);
}

static void put_control(struct bytes *out, const char *arguments)
{
    put_call(out, 4, CALL_CONTROL);
    mpack_put_str(out, VIEW_LITERAL("echo"));
    mpack_put_bin(out, view_of(arguments));
}

static void put_next_of(struct bytes *out, const char *instance)
{
    put_call(out, 5, CALL_NEXT);
    mpack_put_str(out, view_of(instance));
    mpack_put_uint(out, 10);
    mpack_put_array(out, 0);
}

static void put_attach(struct bytes *out, const char *function, const char *consumer, uint64_t concurrency)
{
    put_call(out, 5, CALL_ATTACH);
    mpack_put_str(out, view_of(function));
    mpack_put_str(out, view_of(consumer));
    mpack_put_uint(out, concurrency);
}

static void put_detach(struct bytes *out, const char *instance)
{
    put_call(out, 3, CALL_DETACH);
    mpack_put_str(out, view_of(instance));
}

/* The code of a reply, -1: none can be read. */
static int reply_code(struct view body)
{
    struct mpack_reader reader = mpack_reader_of(body);
    uint32_t items;
    uint64_t version, code;

    if (!mpack_read_array(&reader, &items) || !mpack_read_uint(&reader, 255, &version) || !mpack_read_uint(&reader, 1000, &code))
        return -1;
    return (int)code;
}

/* ---- raw peers ---- */

struct raw {
    int fd;
    enum frame_kind kind;
};

static struct raw raw_connect(struct bench *bench, enum frame_kind kind)
{
    struct sockaddr_un local = { .sun_family = AF_UNIX };
    struct sockaddr_in remote = { .sin_family = AF_INET, .sin_port = htons(bench->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    struct raw raw = { .fd = socket(kind == FRAME_IPC ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), .kind = kind };
    struct timeval deadline = { .tv_sec = WAIT_MS_MAX / 1000 };

    (void)snprintf(local.sun_path, sizeof local.sun_path, "%s", bench->path);
    (void)setsockopt(raw.fd, SOL_SOCKET, SO_RCVTIMEO, &deadline, sizeof deadline);
    (void)setsockopt(raw.fd, SOL_SOCKET, SO_SNDTIMEO, &deadline, sizeof deadline);
    if (kind == FRAME_TCP)
        (void)setsockopt(raw.fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
    int result = kind == FRAME_IPC ? connect(raw.fd, (struct sockaddr *)&local, sizeof local)
                                   : connect(raw.fd, (struct sockaddr *)&remote, sizeof remote);
    EXPECT_EQ(0, result);
    return raw;
}

static bool raw_write(struct raw raw, const void *data, size_t len)
{
    while (len > 0) {
        ssize_t written = send(raw.fd, data, len, MSG_NOSIGNAL);
        if (written <= 0)
            return false;
        data = (const char *)data + written;
        len -= (size_t)written;
    }
    return true;
}

static bool raw_read(struct raw raw, void *data, size_t len)
{
    while (len > 0) {
        ssize_t count = recv(raw.fd, data, len, 0);
        if (count <= 0)
            return false;
        data = (char *)data + count;
        len -= (size_t)count;
    }
    return true;
}

static void raw_greet(struct raw raw)
{
    uint8_t theirs[FRAME_GREETING_BYTES];

    EXPECT(raw_write(raw, frame_greeting_req, FRAME_GREETING_BYTES));
    EXPECT(raw_read(raw, theirs, sizeof theirs));
    EXPECT(memcmp(theirs, frame_greeting_rep, sizeof theirs) == 0);
}

static bool raw_send(struct raw raw, uint32_t id, const struct bytes *body)
{
    uint8_t head[FRAME_HEAD_BYTES_MAX];
    size_t len = frame_put_head(raw.kind, FRAME_ID_BIT | id, body->len, head);

    return raw_write(raw, head, len) && raw_write(raw, body->data, body->len);
}

/* The code of the next reply; -1: the connection was closed, or says nothing. *ret_id: of which request, may be NULL. */
static int raw_receive(struct raw raw, uint32_t *ret_id)
{
    static uint8_t body[PROTOCOL_MESSAGE_BYTES_MAX];
    uint8_t bytes[FRAME_HEAD_BYTES_MAX];
    struct frame_head head;
    size_t len = frame_put_head(raw.kind, 0, 0, bytes);

    if (!raw_read(raw, bytes, len))
        return -1;
    EXPECT_EQ(FRAME_WHOLE, frame_read_head(raw.kind, bytes, len, sizeof body, &head));
    if (!raw_read(raw, body, head.body_bytes))
        return -1;
    if (ret_id != NULL)
        *ret_id = head.id & ~FRAME_ID_BIT;
    return reply_code((struct view){ .data = (char *)body, .len = head.body_bytes });
}

/* true: closed from the other side, within the deadline, with nothing more said. */
static bool raw_is_closed(struct raw raw)
{
    char byte;
    ssize_t count = recv(raw.fd, &byte, 1, 0);
    return count == 0 || (count < 0 && errno != EAGAIN);
}

static struct raw raw_hello(struct bench *bench, enum frame_kind kind)
{
    struct raw raw = raw_connect(bench, kind);
    struct bytes body = { 0 };

    raw_greet(raw);
    put_hello(&body, kind == FRAME_TCP ? TOKEN : NULL);
    EXPECT(raw_send(raw, 1, &body));
    EXPECT_EQ(SLUICE_OK, raw_receive(raw, NULL));
    bytes_done(&body);
    return raw;
}

/* ---- tests ---- */

static int req_ask(nng_ctx ctx, nng_aio *aio, const struct bytes *body)
{
    nng_msg *msg;

    ASSERT(nng_msg_alloc(&msg, 0) == 0 && nng_msg_append(msg, body->data, body->len) == 0);
    nng_aio_set_msg(aio, msg);
    nng_ctx_send(ctx, aio);
    nng_aio_wait(aio);
    if (nng_aio_result(aio) != 0) {
        nng_msg_free(msg);
        return -1;
    }
    nng_ctx_recv(ctx, aio);
    nng_aio_wait(aio);
    if (nng_aio_result(aio) != 0)
        return -1;
    msg = nng_aio_get_msg(aio);
    int code = reply_code((struct view){ .data = nng_msg_body(msg), .len = nng_msg_len(msg) });
    nng_msg_free(msg);
    return code;
}

TEST(stock_req_sockets_and_contexts_are_served_over_ipc_and_tcp)
{
    for (unsigned tcp = 0; tcp < 2; tcp++) {
        enum { CONTEXTS = 8 };
        struct bench *bench = bench_open();
        struct bytes body = { 0 };
        nng_socket socket;
        nng_ctx ctx[CONTEXTS];
        nng_aio *aio[CONTEXTS];

        test_label(tcp ? "tcp" : "ipc");
        EXPECT_EQ(0, nng_req0_open(&socket));
        EXPECT_EQ(0, nng_dial(socket, tcp ? bench->tcp : bench->ipc, NULL, 0));
        for (unsigned i = 0; i < CONTEXTS; i++) {
            EXPECT_EQ(0, nng_ctx_open(&ctx[i], socket));
            EXPECT_EQ(0, nng_aio_alloc(&aio[i], NULL, NULL));
            nng_aio_set_timeout(aio[i], WAIT_MS_MAX);
        }
        put_hello(&body, tcp ? TOKEN : NULL);
        EXPECT_EQ(SLUICE_OK, req_ask(ctx[0], aio[0], &body));
        put_publish(&body, 1, 1 << 20);
        EXPECT_EQ(SLUICE_OK, req_ask(ctx[1], aio[1], &body));
        put_control(&body, "{}");
        EXPECT_EQ(tcp ? SLUICE_EACCESS : SLUICE_OK, req_ask(ctx[2], aio[2], &body));
        /* All at once, held, and answered in one turn. */
        on_loop(bench, nothing);
        bench->hold_publishes = true;
        for (unsigned i = 0; i < CONTEXTS; i++) {
            nng_msg *msg;
            put_publish(&body, 2 + i, 100);
            ASSERT(nng_msg_alloc(&msg, 0) == 0 && nng_msg_append(msg, body.data, body.len) == 0);
            nng_aio_set_msg(aio[i], msg);
            nng_ctx_send(ctx[i], aio[i]);
        }
        WAIT_FOR(bench, bench->seen.publishes == CONTEXTS);
        on_loop(bench, release_publishes);
        for (unsigned i = 0; i < CONTEXTS; i++) {
            nng_aio_wait(aio[i]);
            EXPECT_EQ(0, nng_aio_result(aio[i]));
            nng_ctx_recv(ctx[i], aio[i]);
            nng_aio_wait(aio[i]);
            EXPECT_EQ(0, nng_aio_result(aio[i]));
            nng_msg_free(nng_aio_get_msg(aio[i]));
            nng_aio_free(aio[i]);
        }
        EXPECT_EQ(0, nng_close(socket));
        WAIT_FOR(bench, bench->stats.peers == 0);
        EXPECT_EQ(0, bench->stats.input_bytes);
        bytes_done(&body);
        bench_close(bench);
    }
}

static void count_ack(void *user, enum sluice_err code, const struct sluice_error *error)
{
    (void)error;
    if (code == SLUICE_OK)
        __atomic_add_fetch((unsigned *)user, 1, __ATOMIC_RELAXED);
}

TEST(our_own_client_is_served_over_ipc_and_tcp)
{
    for (unsigned tcp = 0; tcp < 2; tcp++) {
        struct bench *bench = bench_open();
        struct sluice_producer *producer;
        struct sluice_error error;
        unsigned acked = 0;

        test_label(tcp ? "tcp" : "ipc");
        struct sluice_producer_options options = { .url = tcp ? bench->tcp : bench->ipc, .token = tcp ? TOKEN : NULL, .name = "test" };
        EXPECT_EQ(SLUICE_OK, sluice_producer_open(&options, &producer, &error));
        for (unsigned i = 0; i < 20000; i++) {
            struct sluice_event event = { .source = "test", .type = "t", .detail = "{\"n\":1}", .detail_len = 7 };
            if (sluice_publish_async(producer, &event, count_ack, &acked, &error) != SLUICE_OK) {
                test_fail(__FILE__, __LINE__, "%s", error.text);
                break;
            }
        }
        EXPECT_EQ(SLUICE_OK, sluice_producer_flush(producer, WAIT_MS_MAX, NULL));
        EXPECT_EQ(20000, acked);
        (void)sluice_producer_close(producer, WAIT_MS_MAX, NULL);
        WAIT_FOR(bench, bench->stats.peers == 0);
        EXPECT_EQ(20000, bench->seen.events);
        bench_close(bench);
    }
}

static void put_version_2(struct bytes *out)
{
    bytes_clear(out);
    mpack_put_array(out, 2);
    mpack_put_uint(out, 2);
    mpack_put_uint(out, CALL_HELLO);
}
static void put_hello_right(struct bytes *out) { put_hello(out, TOKEN); }
static void put_hello_wrong(struct bytes *out) { put_hello(out, "a tokem of the test"); }
static void put_hello_longer(struct bytes *out) { put_hello(out, TOKEN "x"); }
static void put_hello_bare(struct bytes *out) { put_hello(out, NULL); }
static void put_small_publish(struct bytes *out) { put_publish(out, 1, 0); }
static void put_echo(struct bytes *out) { put_control(out, "{}"); }

TEST(hello_comes_first_and_over_tcp_with_the_token)
{
    static const struct {
        const char *label;
        enum frame_kind kind;
        void (*first)(struct bytes *out);
        int first_code;
        void (*second)(struct bytes *out);
        int second_code;
    } cases[] = {
        { "ipc needs no token", FRAME_IPC, put_hello_bare, SLUICE_OK, put_small_publish, SLUICE_OK },
        { "ipc takes any token", FRAME_IPC, put_hello_wrong, SLUICE_OK, put_small_publish, SLUICE_OK },
        { "publish before hello", FRAME_IPC, put_small_publish, SLUICE_EPROTO, put_hello_bare, SLUICE_OK },
        { "next before hello", FRAME_IPC, put_next, SLUICE_EPROTO, put_echo, SLUICE_EPROTO },
        { "control over ipc", FRAME_IPC, put_hello_bare, SLUICE_OK, put_echo, SLUICE_OK },
        { "another version", FRAME_IPC, put_version_2, SLUICE_EPROTO, put_hello_bare, SLUICE_OK },
        { "tcp, right token", FRAME_TCP, put_hello_right, SLUICE_OK, put_small_publish, SLUICE_OK },
        { "tcp, wrong token", FRAME_TCP, put_hello_wrong, SLUICE_EACCESS, put_small_publish, SLUICE_EPROTO },
        { "tcp, longer token", FRAME_TCP, put_hello_longer, SLUICE_EACCESS, put_hello_right, SLUICE_OK },
        { "tcp, no token", FRAME_TCP, put_hello_bare, SLUICE_EACCESS, put_next, SLUICE_EPROTO },
        { "control over tcp", FRAME_TCP, put_hello_right, SLUICE_OK, put_echo, SLUICE_EACCESS },
    };
    struct bench *bench = bench_open();
    struct bytes body = { 0 };
    struct stat info;

    EXPECT_EQ(0, stat(bench->path, &info));
    EXPECT_EQ(0600, info.st_mode & 0777);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        test_label(cases[i].label);
        struct raw raw = raw_connect(bench, cases[i].kind);
        raw_greet(raw);
        cases[i].first(&body);
        EXPECT(raw_send(raw, 5, &body));
        EXPECT_EQ(cases[i].first_code, raw_receive(raw, NULL));
        cases[i].second(&body);
        EXPECT(raw_send(raw, 6, &body));
        EXPECT_EQ(cases[i].second_code, raw_receive(raw, NULL));
        close(raw.fd);
    }
    bytes_done(&body);
    bench_close(bench);
}

TEST(nonsense_is_answered_with_an_error_or_hung_up_on)
{
    enum end { ANSWERED, CLOSED };
    static const struct {
        const char *label, *bytes;
        size_t len;
        enum end end;
        bool greeting;          /* the bytes come instead of it */
    } cases[] = {
        { "a request of HTTP", "GET / HTTP/1.1\r\n\r\n", 18, CLOSED, true },
        { "another protocol of nng's", "\0SP\0\0\x50\0\0", 8, CLOSED, true },
        { "a length of 8 GiB", "\1\0\0\0\2\0\0\0\0\x80\0\0\1", 13, CLOSED, false },
        { "a length of all bits", "\1\xff\xff\xff\xff\xff\xff\xff\xff\x80\0\0\1", 13, CLOSED, false },
        { "one byte over the limit", "\1\0\0\0\0\0\x40\x10\x21\x80\0\0\1", 13, CLOSED, false },
        { "no room for an id", "\1\0\0\0\0\0\0\0\3\x80\0\0\1", 13, CLOSED, false },
        { "not an ipc message", "\2\0\0\0\0\0\0\0\4\x80\0\0\1", 13, CLOSED, false },
        { "no id that is the last", "\1\0\0\0\0\0\0\0\10\0\0\0\1\0\0\0\2", 17, CLOSED, false },
        { "an empty body", "\1\0\0\0\0\0\0\0\4\x80\0\0\1", 13, ANSWERED, false },
        { "an array of 4 G items", "\1\0\0\0\0\0\0\0\11\x80\0\0\1\xdd\xff\xff\xff\xff", 18, ANSWERED, false },
        { "a string that is longer than it is", "\1\0\0\0\0\0\0\0\14\x80\0\0\1\x94\1\1\xdb\xff\xff\xff\xff", 21, ANSWERED, false },
        { "not MessagePack", "\1\0\0\0\0\0\0\0\5\x80\0\0\1\xc1", 14, ANSWERED, false },
    };
    struct bench *bench = bench_open();

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        test_label(cases[i].label);
        struct raw raw = raw_connect(bench, FRAME_IPC);
        uint8_t theirs[FRAME_GREETING_BYTES];
        if (cases[i].greeting)
            EXPECT(raw_read(raw, theirs, sizeof theirs));
        else
            raw_greet(raw);
        EXPECT(raw_write(raw, cases[i].bytes, cases[i].len));
        if (cases[i].end == ANSWERED)
            EXPECT_EQ(SLUICE_EPROTO, raw_receive(raw, NULL));
        else
            EXPECT(raw_is_closed(raw));
        close(raw.fd);
    }
    test_label("deep nesting");
    struct raw raw = raw_hello(bench, FRAME_IPC);
    struct bytes deep = { 0 };
    for (unsigned i = 0; i < 1000000; i++)
        bytes_put_char(&deep, '\x91');
    EXPECT(raw_send(raw, 9, &deep));
    EXPECT_EQ(SLUICE_EPROTO, raw_receive(raw, NULL));
    close(raw.fd);
    test_label("a stranger's large frame over tcp");
    raw = raw_connect(bench, FRAME_TCP);
    raw_greet(raw);
    EXPECT(raw_write(raw, "\0\0\0\0\0\2\0\0", 8));
    EXPECT(raw_is_closed(raw));
    close(raw.fd);
    test_label(NULL);
    WAIT_FOR(bench, bench->stats.peers == 0);
    EXPECT_EQ(0, bench->stats.input_bytes);
    bytes_done(&deep);
    bench_close(bench);
}

TEST(the_way_back_is_echoed_up_to_eight_hops)
{
    for (unsigned hops = 1; hops <= FRAME_IDS_MAX + 1; hops++) {
        struct bench *bench = bench_open();
        struct raw raw = raw_hello(bench, FRAME_IPC);
        struct bytes frame = { 0 }, body = { 0 };
        uint8_t length[FRAME_LENGTH_BYTES_MAX], back[(FRAME_IDS_MAX + 1) * FRAME_ID_BYTES];

        put_publish(&body, 1, 0);
        size_t length_bytes = frame_put_length(FRAME_IPC, hops * FRAME_ID_BYTES + body.len, length);
        bytes_put(&frame, length, length_bytes);
        for (unsigned i = 0; i < hops; i++)
            bytes_put(&frame, i + 1 == hops ? "\x80\0\0\7" : "\0\0\0\5", 4);
        bytes_put_view(&frame, bytes_view(&body));
        EXPECT(raw_write(raw, frame.data, frame.len));
        if (hops <= FRAME_IDS_MAX) {
            EXPECT(raw_read(raw, length, sizeof length));
            EXPECT(raw_read(raw, back, hops * FRAME_ID_BYTES));
            EXPECT(memcmp(back, frame.data + sizeof length, hops * FRAME_ID_BYTES) == 0);
        } else {
            EXPECT(raw_is_closed(raw));
        }
        close(raw.fd);
        bytes_done(&frame);
        bytes_done(&body);
        bench_close(bench);
    }
}

TEST(held_requests_are_gone_once_when_their_peer_is)
{
    struct bench *bench = bench_open();
    struct bytes body = { 0 };

    bench->hold_publishes = true;
    struct raw raw = raw_hello(bench, FRAME_IPC), other = raw_hello(bench, FRAME_TCP);
    for (unsigned i = 0; i < 10; i++) {
        put_publish(&body, 1 + i, 10000);
        EXPECT(raw_send(raw, 10 + i, &body));
        put_next(&body);
        EXPECT(raw_send(raw, 30 + i, &body));
    }
    put_publish(&body, 1, 10000);
    EXPECT(raw_send(other, 2, &body));
    WAIT_FOR(bench, bench->seen.publishes == 11 && bench->seen.parked == 10);
    EXPECT_EQ(21, bench->stats.held);
    close(raw.fd);
    WAIT_FOR(bench, bench->seen.gone == 20);
    EXPECT_EQ(1, bench->seen.publishes);
    WAIT_FOR(bench, bench->stats.peers == 1);
    close(other.fd);
    WAIT_FOR(bench, bench->seen.gone == 21 && bench->stats.peers == 0);
    EXPECT_EQ(0, bench->stats.held);
    bytes_done(&body);
    bench_close(bench);
}

TEST(requests_of_a_connection_come_in_order)
{
    enum { REQUESTS = 3000 };
    struct bench *bench = bench_open();
    struct raw raw = raw_hello(bench, FRAME_IPC);
    struct bytes body = { 0 };

    bench->hold_publishes = true;
    for (unsigned i = 0; i < REQUESTS; i++) {
        put_publish(&body, 1 + i, (i * 7919) % 9000);
        EXPECT(raw_send(raw, i, &body));
    }
    WAIT_FOR(bench, bench->seen.sequences == REQUESTS);
    for (unsigned i = 0; i < REQUESTS; i++)
        if (bench->sequences[i] != 1 + i)
            test_fail(__FILE__, __LINE__, "request %u came as number %llu", i, (unsigned long long)bench->sequences[i]);
    /* Held bytes are as they came: nil or zeros, by their length. */
    for (size_t i = 0; i < bench->publishes.count; i++) {
        struct mpack_reader reader = mpack_reader_of(bench->publishes.items[i].events);
        struct view filler = { 0 };
        EXPECT(mpack_read_nil(&reader) || mpack_read_bin(&reader, &filler));
        EXPECT_EQ((i * 7919) % 9000, filler.len);
        EXPECT(mpack_at_end(&reader));
    }
    on_loop(bench, release_publishes);
    for (unsigned i = 0; i < REQUESTS; i++) {
        uint32_t id = 0;
        EXPECT_EQ(SLUICE_OK, raw_receive(raw, &id));
        EXPECT_EQ(i, id);
    }
    close(raw.fd);
    bytes_done(&body);
    bench_close(bench);
}

TEST(more_held_requests_than_allowed_are_refused_for_later)
{
    struct bench *bench = bench_open();
    struct raw raw = raw_hello(bench, FRAME_IPC);
    struct bytes body = { 0 };
    uint32_t id = 0;

    put_next(&body);
    for (unsigned i = 0; i < BUS_PEER_REQUESTS_MAX + 1; i++)
        EXPECT(raw_send(raw, i, &body));
    EXPECT_EQ(SLUICE_ELIMIT, raw_receive(raw, &id));
    EXPECT_EQ(BUS_PEER_REQUESTS_MAX, id);
    WAIT_FOR(bench, bench->stats.held == BUS_PEER_REQUESTS_MAX);
    close(raw.fd);
    WAIT_FOR(bench, bench->seen.gone == BUS_PEER_REQUESTS_MAX);
    bytes_done(&body);
    bench_close(bench);
}

TEST(a_peer_that_never_reads_is_not_read_from_and_others_are_served)
{
    struct bench *bench = bench_open();
    struct bytes body = { 0 };

    bench->reply_bytes = 1 << 20;
    struct raw raw = raw_hello(bench, FRAME_IPC), other = raw_hello(bench, FRAME_TCP);
    struct timeval soon = { .tv_usec = 200 * 1000 };
    (void)setsockopt(raw.fd, SOL_SOCKET, SO_SNDTIMEO, &soon, sizeof soon);
    put_control(&body, "{}");
    unsigned sent = 0;
    while (sent < SEEN_MAX / 2 && raw_send(raw, sent, &body)) /* until the socket takes no more */
        sent++;
    EXPECT(sent < SEEN_MAX / 2);
    on_loop(bench, nothing);
    EXPECT(bench->seen.controls <= BUS_UNSENT_BYTES_STALL / bench->reply_bytes + 2);
    put_publish(&body, 1, 0);
    EXPECT(raw_send(other, 1, &body));
    EXPECT_EQ(SLUICE_OK, raw_receive(other, NULL));
    /* It reads after all, and gets its answers, in order. */
    for (unsigned i = 0; i < 50 && i < sent; i++) {
        uint32_t id = 0;
        EXPECT_EQ(SLUICE_OK, raw_receive(raw, &id));
        EXPECT_EQ(i, id);
    }
    close(raw.fd);
    close(other.fd);
    WAIT_FOR(bench, bench->stats.peers == 0);
    bytes_done(&body);
    bench_close(bench);
}

TEST(an_answer_too_large_for_a_message_becomes_an_error)
{
    struct bench *bench = bench_open();
    struct raw raw = raw_hello(bench, FRAME_IPC);
    struct bytes body = { 0 };

    on_loop(bench, nothing);
    bench->reply_bytes = PROTOCOL_MESSAGE_BYTES_MAX;
    put_control(&body, "{}");
    EXPECT(raw_send(raw, 1, &body));
    EXPECT_EQ(SLUICE_ELIMIT, raw_receive(raw, NULL));
    close(raw.fd);
    bytes_done(&body);
    bench_close(bench);
}

static void cut_in_the_middle(struct bench *bench, unsigned round)
{
    struct raw raw = raw_hello(bench, round % 2 == 0 ? FRAME_IPC : FRAME_TCP);
    struct linger reset = { .l_onoff = 1 };
    struct bytes body = { 0 };
    uint8_t head[FRAME_HEAD_BYTES_MAX];

    for (unsigned i = 0; i < 4; i++) {
        put_publish(&body, 1 + i, 1000 + round * 37);
        (void)raw_send(raw, i, &body);
    }
    put_publish(&body, 9, 200000);
    size_t head_bytes = frame_put_head(raw.kind, FRAME_ID_BIT | 9, body.len, head);
    (void)raw_write(raw, head, round % 3 == 0 ? head_bytes / 2 : head_bytes);
    if (round % 3 == 1)
        (void)raw_write(raw, body.data, body.len / 2);
    if (round % 4 == 1) /* with a reset, unread answers in it */
        (void)setsockopt(raw.fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    close(raw.fd);
    bytes_done(&body);
}

TEST(connections_cut_while_data_moves_leave_nothing_behind)
{
    struct bench *bench = bench_open();
    struct raw first = raw_hello(bench, FRAME_IPC);
    unsigned before = descriptors_count();

    on_loop(bench, nothing);
    for (unsigned round = 0; round < 500; round++) {
        if (round % 100 == 0)
            bench->hold_publishes = round % 200 == 100;
        cut_in_the_middle(bench, round);
    }
    WAIT_FOR(bench, bench->stats.peers == 1);
    EXPECT_EQ(0, bench->stats.held);
    int64_t until = now_ms() + WAIT_MS_MAX;
    while (descriptors_count() != before && now_ms() < until) /* nng closes them on a thread of its own */
        pause_ms(1);
    EXPECT_EQ(before, descriptors_count());
    struct bytes body = { 0 };
    put_control(&body, "{}");
    EXPECT(raw_send(first, 1, &body));
    EXPECT_EQ(SLUICE_OK, raw_receive(first, NULL));
    close(first.fd);
    bytes_done(&body);
    bench_close(bench);
}

TEST(closing_with_connections_in_all_states_takes_no_time)
{
    bench_close(bench_open()); /* nng's own descriptors stay from the first time on */
    unsigned before = descriptors_count();
    struct bench *bench = bench_open();
    struct bytes body = { 0 };
    struct raw silent = raw_connect(bench, FRAME_IPC), half = raw_hello(bench, FRAME_TCP), parked = raw_hello(bench, FRAME_IPC);

    put_next(&body);
    EXPECT(raw_send(parked, 1, &body));
    EXPECT(raw_write(half, "\0\0\0\0\0\1", 6));
    WAIT_FOR(bench, bench->seen.parked == 1);
    bench_close(bench);
    uint8_t greeting[FRAME_GREETING_BYTES];
    EXPECT(raw_read(silent, greeting, sizeof greeting));
    EXPECT(raw_is_closed(silent));
    EXPECT(raw_is_closed(half));
    EXPECT(raw_is_closed(parked));
    close(silent.fd);
    close(half.fd);
    close(parked.fd);
    int64_t until = now_ms() + WAIT_MS_MAX;
    while (descriptors_count() > before && now_ms() < until)
        pause_ms(1);
    EXPECT_EQ(before, descriptors_count());
    bytes_done(&body);
}

TEST(a_thousand_idle_connections_cost_little_and_wake_nobody)
{
    enum { PEERS = 1000 };
    struct rlimit limit;
    static struct raw peers[PEERS];
    struct bench *bench = bench_open();
    struct bytes body = { 0 };
    unsigned opened = 0;

    ASSERT(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    unsigned wanted = limit.rlim_cur > 2 * PEERS + 100 ? PEERS : (unsigned)(limit.rlim_cur / 2 - 50);
    for (; opened < wanted; opened++) {
        peers[opened] = raw_hello(bench, FRAME_IPC);
        put_next(&body);
        EXPECT(raw_send(peers[opened], 2, &body));
    }
    WAIT_FOR(bench, bench->seen.parked == wanted);
    EXPECT_EQ(wanted, bench->stats.peers);
    EXPECT(bench->stats.input_bytes <= (size_t)wanted * 2 * BUS_READ_BYTES_MIN);
    on_loop(bench, note_turn);
    unsigned turn = bench->turn;
    pause_ms(100); /* nothing is waited for: nothing must happen */
    on_loop(bench, note_turn);
    EXPECT_EQ(turn + 1, bench->turn); /* the second question's own */
    put_control(&body, "{}");
    EXPECT(raw_send(peers[0], 3, &body));
    EXPECT_EQ(SLUICE_OK, raw_receive(peers[0], NULL));
    for (unsigned i = 0; i < opened; i++)
        close(peers[i].fd);
    WAIT_FOR(bench, bench->seen.gone == wanted && bench->stats.peers == 0);
    bytes_done(&body);
    bench_close(bench);
}

/* ---- consumers ---- */

/* The code of the answer to `body`; the caller expects one. */
static int raw_ask(struct raw raw, const struct bytes *body)
{
    EXPECT(raw_send(raw, 5, body));
    return raw_receive(raw, NULL);
}

TEST(only_the_connection_that_attached_speaks_for_the_instance)
{
    for (enum frame_kind kind = FRAME_IPC; kind <= FRAME_TCP; kind++) {
        struct bench *bench = bench_open();
        struct raw raw = raw_hello(bench, kind), other = raw_hello(bench, kind);
        struct bytes body = { 0 };

        test_label(kind == FRAME_IPC ? "ipc" : "tcp");
        put_attach(&body, "work", "billing@host-1:77/a+b", 7);
        EXPECT_EQ(SLUICE_OK, raw_ask(raw, &body));
        on_loop(bench, nothing);
        EXPECT_TEXT("work billing@host-1:77/a+b 7", bench->attach_words);
        EXPECT(strncmp(bench->attach.from, kind == FRAME_IPC ? "pid " : "127.0.0.1:", 4) == 0);
        EXPECT_EQ(SLUICE_EEXISTS, raw_ask(raw, &body));
        put_next_of(&body, "101");
        EXPECT_EQ(SLUICE_EACCESS, raw_ask(other, &body));
        EXPECT(raw_send(raw, 6, &body));
        WAIT_FOR(bench, bench->seen.parked == 1);
        put_next_of(&body, "999"); /* over ipc it may be one that we started: that is for the engine to say */
        if (kind == FRAME_TCP)
            EXPECT_EQ(SLUICE_ENOTFOUND, raw_ask(other, &body));
        put_detach(&body, "101");
        EXPECT_EQ(SLUICE_EACCESS, raw_ask(other, &body));
        put_detach(&body, "999");
        EXPECT_EQ(SLUICE_ENOTFOUND, raw_ask(other, &body));
        on_loop(bench, nothing);
        EXPECT_EQ(1, bench->seen.attaches);
        close(raw.fd);
        close(other.fd);
        bytes_done(&body);
        bench_close(bench);
    }
}

TEST(attaching_wants_a_hello_a_fit_name_and_a_function_that_the_owner_knows)
{
    static const struct { const char *function, *consumer; uint64_t concurrency; int code; } cases[] = {
        { "work", "c", ATTACH_CONCURRENCY_MAX, SLUICE_OK },   { "work", "c", ATTACH_CONCURRENCY_MAX + 1, SLUICE_EINVAL },
        { "nobody", "c", 0, SLUICE_ENOTFOUND },               { "work", "", 0, SLUICE_EINVAL },
        { "work", "two words", 0, SLUICE_EINVAL },            { "work", "a\nb", 0, SLUICE_EINVAL },
        { "work", "quote\"", 0, SLUICE_EINVAL },              { "work", "\xc3\xa9", 0, SLUICE_EINVAL },
        { "work", "c", UINT64_MAX, SLUICE_EINVAL },
    };
    struct bench *bench = bench_open();
    struct bytes body = { 0 };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct raw raw = raw_hello(bench, FRAME_TCP);
        test_label(cases[i].consumer);
        put_attach(&body, cases[i].function, cases[i].consumer, cases[i].concurrency);
        EXPECT_EQ(cases[i].code, raw_ask(raw, &body));
        close(raw.fd);
    }
    struct raw stranger = raw_connect(bench, FRAME_TCP);
    raw_greet(stranger);
    put_attach(&body, "work", "c", 0);
    EXPECT_EQ(SLUICE_EPROTO, raw_ask(stranger, &body));
    close(stranger.fd);
    bytes_done(&body);
    bench_close(bench);
}

static void answer_small(struct bench *bench)
{
    uint64_t request = bench->parked.items[0];

    bench->parked.items[0] = bench->parked.items[--bench->parked.count];
    end_once(bench, request);
    bus_answer_next(bench->door, request, SLUICE_OK, NULL, ++bench->lease_last, 0, (struct view){ "\xc0", 1 }, 1);
}

static void answer_big(struct bench *bench)
{
    static char filler[3 << 20];
    struct bytes entry = { 0 };
    uint64_t request = bench->parked.items[0];

    bench->parked.items[0] = bench->parked.items[--bench->parked.count];
    end_once(bench, request);
    mpack_put_bin(&entry, (struct view){ filler, sizeof filler });
    bus_answer_next(bench->door, request, SLUICE_OK, NULL, ++bench->lease_last, 0, bytes_view(&entry), 1);
    bytes_done(&entry);
    note_turn(bench);
}

/* Until what was answered so far has been given to the system, as far as that takes it. */
static void pass_turn(struct bench *bench)
{
    unsigned turn = bench->turn;

    for (on_loop(bench, note_turn); bench->turn <= turn + 1; on_loop(bench, note_turn))
        pause_ms(1);
}

TEST(the_end_of_a_consumers_connection_tells_which_leases_had_left)
{
    struct bench *bench = bench_open();
    struct raw raw = raw_hello(bench, FRAME_IPC);
    struct bytes body = { 0 };

    put_attach(&body, "work", "c", 0);
    EXPECT_EQ(SLUICE_OK, raw_ask(raw, &body));
    put_next_of(&body, "101");
    for (unsigned i = 0; i < 6; i++)
        EXPECT(raw_send(raw, 10 + i, &body));
    WAIT_FOR(bench, bench->seen.parked == 6);
    on_loop(bench, answer_small);
    EXPECT_EQ(SLUICE_OK, raw_receive(raw, NULL));
    on_loop(bench, answer_small);        /* not read, but given to the system */
    on_loop(bench, answer_big);          /* does not fit the socket: its write goes on */
    pass_turn(bench);
    on_loop(bench, answer_small);        /* waits behind it */
    on_loop(bench, answer_small);
    pass_turn(bench);
    EXPECT_EQ(0, bench->seen.lost);
    close(raw.fd);
    WAIT_FOR(bench, bench->seen.lost == 1);
    EXPECT_EQ(101, bench->seen.lost_instance);
    EXPECT_EQ(3, bench->seen.lost_reached);
    EXPECT_EQ(1, bench->seen.gone_before_lost); /* the request that was still parked */
    bytes_done(&body);
    bench_close(bench);
}

static void unbind_and_answer(struct bench *bench)
{
    bus_unbind(bench->door, 101);
    bus_unbind(bench->door, 101);
    EXPECT_EQ(1, bench->detaching.count);
    end_once(bench, bench->detaching.items[0]);
    bus_answer_detach(bench->door, bench->detaching.items[0]);
    bench->detaching.count = 0;
}

static void cut(struct bench *bench) { bus_cut(bench->door, 102); }

TEST(a_detached_connection_may_attach_again_and_one_that_is_cut_is_lost)
{
    struct bench *bench = bench_open();
    struct raw raw = raw_hello(bench, FRAME_TCP);
    struct bytes attach = { 0 }, detach = { 0 };

    put_attach(&attach, "work", "c", 0);
    EXPECT_EQ(SLUICE_OK, raw_ask(raw, &attach));
    put_detach(&detach, "101");
    EXPECT(raw_send(raw, 7, &detach));
    WAIT_FOR(bench, bench->seen.detaching == 1);
    on_loop(bench, unbind_and_answer);
    EXPECT_EQ(SLUICE_OK, raw_receive(raw, NULL));
    EXPECT_EQ(SLUICE_ENOTFOUND, raw_ask(raw, &detach));
    EXPECT_EQ(SLUICE_OK, raw_ask(raw, &attach));
    on_loop(bench, cut);
    EXPECT_EQ(0, bench->seen.lost); /* from the loop, never from within the call */
    EXPECT(raw_is_closed(raw));
    WAIT_FOR(bench, bench->seen.lost == 1);
    EXPECT_EQ(102, bench->seen.lost_instance);
    EXPECT_EQ(0, bench->seen.lost_reached);
    close(raw.fd);
    bytes_done(&attach);
    bytes_done(&detach);
    bench_close(bench);
}

static uint64_t random_next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static void put_attach_right(struct bytes *out) { put_attach(out, "work", "me@here:1", 3); }
static void put_detach_right(struct bytes *out) { put_detach(out, "101"); }

/* Whole frames, then a few bytes of them changed, cut off or doubled. */
TEST(mutated_input_is_read_alike_whatever_the_pieces)
{
    void (*const kinds[])(struct bytes *out) = { put_hello_right, put_small_publish, put_next, put_echo, put_version_2, put_attach_right,
                                                 put_detach_right };
    uint64_t seed = 0x5eed;
    struct bytes input = { 0 }, body = { 0 };
    uint8_t head[FRAME_HEAD_BYTES_MAX];

    for (unsigned round = 0; round < 3000; round++) {
        bytes_clear(&input);
        uint8_t kind = (uint8_t)(random_next(&seed) & 1), cut = (uint8_t)(random_next(&seed) % 3 == 0 ? 0 : random_next(&seed));
        bytes_put(&input, &kind, 1);
        bytes_put(&input, &cut, 1);
        for (unsigned frames = (unsigned)(random_next(&seed) % 12); frames > 0; frames--) {
            if (random_next(&seed) % 4 == 0)
                put_publish(&body, frames, (unsigned)(random_next(&seed) % 20000));
            else
                kinds[random_next(&seed) % 5](&body);
            size_t head_bytes = frame_put_head(kind == 1 ? FRAME_TCP : FRAME_IPC, FRAME_ID_BIT | frames, body.len, head);
            bytes_put(&input, head, head_bytes);
            bytes_put_view(&input, bytes_view(&body));
        }
        for (unsigned changes = (unsigned)(random_next(&seed) % 4); changes > 0 && input.len > 2; changes--)
            input.data[2 + random_next(&seed) % (input.len - 2)] = (char)random_next(&seed);
        if (random_next(&seed) % 4 == 0)
            input.len -= random_next(&seed) % (input.len - 1);
        (void)LLVMFuzzerTestOneInput((const uint8_t *)input.data, input.len);
    }
    bytes_done(&input);
    bytes_done(&body);
}

TEST(strangers_over_tcp_keep_nobody_out)
{
    enum { MORE = 20 };
    static struct raw strangers[BUS_STRANGERS_MAX + MORE];
    struct bench *bench = bench_open();

    for (unsigned i = 0; i < BUS_STRANGERS_MAX + MORE; i++)
        strangers[i] = raw_connect(bench, FRAME_TCP);
    WAIT_FOR(bench, bench->stats.peers == BUS_STRANGERS_MAX);
    struct raw local = raw_hello(bench, FRAME_IPC);
    WAIT_FOR(bench, bench->stats.peers == BUS_STRANGERS_MAX + 1);
    for (unsigned i = 0; i < MORE; i++)
        close(strangers[i].fd); /* those that waited come in */
    WAIT_FOR(bench, bench->stats.peers == BUS_STRANGERS_MAX + 1);
    for (unsigned i = MORE; i < BUS_STRANGERS_MAX + MORE; i++)
        close(strangers[i].fd);
    WAIT_FOR(bench, bench->stats.peers == 1);
    struct raw known = raw_hello(bench, FRAME_TCP);
    close(known.fd);
    close(local.fd);
    WAIT_FOR(bench, bench->stats.peers == 0);
    bench_close(bench);
}
