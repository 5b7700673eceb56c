/* What is said on the bus: nng's own REQ sockets and our client are served, hello comes first, nonsense is answered or hung up on, and
 * mutated bytes are read alike whatever the pieces they come in. */
#include "tests/unit/bus_fixture.h"

#include <nng/nng.h>
#include <nng/protocol/reqrep0/req.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "broker/base/assert.h"
#include "schemas/codec/mpack.h"
#include "sluice/producer.h"
#include "tests/fuzz/bus_fuzz.h"

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
        { "one byte over the limit", "\1\0\0\0\0\0\xc1\0\x21\x80\0\0\1", 13, CLOSED, false },
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
                kinds[random_next(&seed) % (sizeof kinds / sizeof *kinds)](&body);
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
