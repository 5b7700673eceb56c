#include "tests/unit/bus_fixture.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "broker/base/assert.h"
#include "broker/base/list.h"
#include "schemas/codec/mpack.h"

int64_t now_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void pause_ms(int64_t ms)
{
    (void)nanosleep(&(struct timespec){ .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 }, NULL);
}

unsigned descriptors_count(void)
{
    DIR *folder = opendir("/proc/self/fd");
    unsigned count = 0;

    while (readdir(folder) != NULL)
        count++;
    closedir(folder);
    return count;
}

/* ---- the owner of the door, on the loop's thread ---- */

void end_once(struct bench *bench, uint64_t request)
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

/* ---- the loop, and what is asked of it ---- */

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

void on_loop(struct bench *bench, void (*function)(struct bench *bench))
{
    bench->asked = function;
    mailbox_post(bench->mailbox, &bench->ask);
    while (sem_wait(&bench->answered) != 0) {
    }
}

void nothing(struct bench *bench) { (void)bench; }

void note_turn(struct bench *bench) { bench->turn = ev_iteration(bench->loop); }

void release_publishes(struct bench *bench)
{
    for (size_t i = 0; i < bench->publishes.count; i++)
        answer_publish(bench, &bench->publishes.items[i]);
    bench->publishes.count = 0;
}

static uint16_t free_port(void)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    ASSERT(bind(fd, (struct sockaddr *)&address, sizeof address) == 0 && getsockname(fd, (struct sockaddr *)&address, &len) == 0);
    close(fd);
    return ntohs(address.sin_port);
}

struct bench *bench_open(void)
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

void bench_close(struct bench *bench)
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

/* ---- messages ---- */

static void put_call(struct bytes *out, unsigned items, unsigned call)
{
    bytes_clear(out);
    mpack_put_array(out, items);
    mpack_put_uint(out, PROTOCOL_VERSION);
    mpack_put_uint(out, call);
}

void put_hello(struct bytes *out, const char *token)
{
    put_call(out, 4, CALL_HELLO);
    mpack_put_str(out, VIEW_LITERAL("test"));
    if (token != NULL)
        mpack_put_str(out, view_of(token));
    else
        mpack_put_nil(out);
}

void put_publish(struct bytes *out, uint64_t sequence, unsigned events_bytes)
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

void put_next(struct bytes *out)
{
    put_call(out, 5, CALL_NEXT);
    mpack_put_str(out, VIEW_LITERAL("7"));
    mpack_put_uint(out, 10);
    mpack_put_array(out, 0);
}

void put_control(struct bytes *out, const char *arguments)
{
    put_call(out, 4, CALL_CONTROL);
    mpack_put_str(out, VIEW_LITERAL("echo"));
    mpack_put_bin(out, view_of(arguments));
}

void put_next_of(struct bytes *out, const char *instance)
{
    put_call(out, 5, CALL_NEXT);
    mpack_put_str(out, view_of(instance));
    mpack_put_uint(out, 10);
    mpack_put_array(out, 0);
}

void put_attach(struct bytes *out, const char *function, const char *consumer, uint64_t concurrency)
{
    put_call(out, 5, CALL_ATTACH);
    mpack_put_str(out, view_of(function));
    mpack_put_str(out, view_of(consumer));
    mpack_put_uint(out, concurrency);
}

void put_detach(struct bytes *out, const char *instance)
{
    put_call(out, 3, CALL_DETACH);
    mpack_put_str(out, view_of(instance));
}

int reply_code(struct view body)
{
    struct mpack_reader reader = mpack_reader_of(body);
    uint32_t items;
    uint64_t version, code;

    if (!mpack_read_array(&reader, &items) || !mpack_read_uint(&reader, 255, &version) || !mpack_read_uint(&reader, 1000, &code))
        return -1;
    return (int)code;
}

/* ---- raw peers ---- */

struct raw raw_connect(struct bench *bench, enum frame_kind kind)
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

bool raw_write(struct raw raw, const void *data, size_t len)
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

bool raw_read(struct raw raw, void *data, size_t len)
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

void raw_greet(struct raw raw)
{
    uint8_t theirs[FRAME_GREETING_BYTES];

    EXPECT(raw_write(raw, frame_greeting_req, FRAME_GREETING_BYTES));
    EXPECT(raw_read(raw, theirs, sizeof theirs));
    EXPECT(memcmp(theirs, frame_greeting_rep, sizeof theirs) == 0);
}

bool raw_send(struct raw raw, uint32_t id, const struct bytes *body)
{
    uint8_t head[FRAME_HEAD_BYTES_MAX];
    size_t len = frame_put_head(raw.kind, FRAME_ID_BIT | id, body->len, head);

    return raw_write(raw, head, len) && raw_write(raw, body->data, body->len);
}

int raw_receive(struct raw raw, uint32_t *ret_id)
{
    static uint8_t body[PROTOCOL_CONTROL_BYTES_MAX];
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

bool raw_is_closed(struct raw raw)
{
    char byte;
    ssize_t count = recv(raw.fd, &byte, 1, 0);
    return count == 0 || (count < 0 && errno != EAGAIN);
}

struct raw raw_hello(struct bench *bench, enum frame_kind kind)
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

int raw_ask(struct raw raw, const struct bytes *body)
{
    EXPECT(raw_send(raw, 5, body));
    return raw_receive(raw, NULL);
}
