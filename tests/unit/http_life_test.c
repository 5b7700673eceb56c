/* The life of connections and exchanges: who is answered when, what is bounded, who hears of which end. */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "broker/base/assert.h"
#include "tests/test.h"
#include "tests/unit/http_fixture.h"

#if defined(__SANITIZE_ADDRESS__)
size_t __sanitizer_get_current_allocated_bytes(void); /* of libasan, whose headers gcc does not bring */
static size_t allocated_bytes(void) { return __sanitizer_get_current_allocated_bytes(); }
#else
static size_t allocated_bytes(void)
{
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}
#endif

#define H "Host: a\r\n"
#define GET(path) "GET " path " HTTP/1.1\r\n" H "\r\n"
#define OPEN(owner_, ...)                                                                       \
    struct http_limits limits_ = { __VA_ARGS__ };                                               \
    if (!owner_open(&(owner_), "127.0.0.1:0", &limits_)) return test_fail(__FILE__, __LINE__, "no listener")
#define CONNECT(peer_, owner_) if (!peer_open(&(peer_), &(owner_))) return test_fail(__FILE__, __LINE__, "no connection")
/* Last in each test. */
#define DONE(owner_) owner_done(&(owner_)); EXPECT_EQ(0, (owner_).mistakes)

static void answer_parked(struct owner *owner, size_t index, const char *body)
{
    ASSERT(index < owner->parked.count && owner->parked.items[index] != NULL);
    http_respond(owner->parked.items[index], 200, NULL, 0, view_of(body));
}

/* Big enough that it cannot all be in socket buffers. */
static char *zeros(size_t len)
{
    char *data = calloc(1, len);
    ASSERT(data != NULL);
    return data;
}

/* ---- connections ---- */

TEST(a_connection_is_kept_unless_one_side_says_no)
{
    static const struct { const char *label, *request; bool kept; const char *connection; } rows[] = {
        { "HTTP/1.1", GET("/x"), true, NULL },
        { "HTTP/1.1 close", "GET /x HTTP/1.1\r\n" H "Connection: close\r\n\r\n", false, "close" },
        { "HTTP/1.1 other, close", "GET /x HTTP/1.1\r\n" H "Connection: te, Close\r\n\r\n", false, "close" },
        { "HTTP/1.0", "GET /x HTTP/1.0\r\n\r\n", false, "close" },
        { "HTTP/1.0 keep-alive", "GET /x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", true, "keep-alive" },
        { "the owner closes", GET("/close"), false, "close" },
        { "streamed", GET("/source"), true, NULL },
        { "streamed to HTTP/1.0", "GET /source HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", false, "close" },
    };
    struct owner owner;

    OPEN(owner, 0);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct peer peer;
        test_label(rows[i].label);
        CONNECT(peer, owner);
        EXPECT(peer_say(&peer, rows[i].request));
        struct reply reply = peer_reply(&peer);
        EXPECT_EQ(200, reply.status);
        if (rows[i].connection != NULL)
            EXPECT_VIEW(rows[i].connection, reply_field(reply, "Connection"));
        else
            EXPECT(reply_field(reply, "Connection").data == NULL);
        if (rows[i].kept) {
            EXPECT(peer_say(&peer, GET("/again")));
            EXPECT_EQ(200, peer_reply(&peer).status);
        } else {
            EXPECT(peer_waits_for_end(&peer));
            EXPECT(!peer.reset);
        }
        peer_close(&peer);
    }
    test_label(NULL);
    UNTIL(&owner, http_listener_connections(owner.listener) == 0);
    EXPECT_EQ(owner.heads, owner.ends[HTTP_DONE]);
    DONE(owner);
}

TEST(pipelined_requests_are_answered_one_by_one_in_their_order)
{
    struct owner owner;
    struct peer peer;

    OPEN(owner, 0);
    CONNECT(peer, owner);
    EXPECT(peer_say(&peer, GET("/park?1") GET("/park?2") "POST /echo HTTP/1.1\r\n" H "Content-Length: 5\r\n\r\nthree" GET("/park?4")));
    UNTIL(&owner, owner.heads == 1);
    EXPECT_VIEW("GET /park?1", bytes_view(&owner.last));
    answer_parked(&owner, 0, "one");
    EXPECT_VIEW("one", peer_reply(&peer).body);
    UNTIL(&owner, owner.parked.count == 2);
    EXPECT_EQ(2, owner.heads);
    answer_parked(&owner, 1, "two");
    EXPECT_VIEW("two", peer_reply(&peer).body);
    EXPECT_VIEW("three", peer_reply(&peer).body);
    UNTIL(&owner, owner.parked.count == 3);
    answer_parked(&owner, 2, "four");
    EXPECT_VIEW("four", peer_reply(&peer).body);
    peer_close(&peer);
    DONE(owner);
}

TEST(many_pipelined_requests_are_all_answered)
{
    enum { REQUESTS = 20000 };
    struct bytes all = { 0 };
    struct owner owner;
    struct peer peer;

    OPEN(owner, 0);
    CONNECT(peer, owner);
    for (unsigned i = 0; i < REQUESTS; i++)
        bytes_put_format(&all, "POST /echo HTTP/1.1\r\n" H "Content-Length: 5\r\n\r\n%05u", i);
    EXPECT(peer_send(&peer, all.data, all.len));
    for (unsigned i = 0; i < REQUESTS; i++) {
        struct reply reply = peer_reply(&peer);
        if (reply.status != 200 || strtoul(reply.body.data, NULL, 10) != i)
            return test_fail(__FILE__, __LINE__, "answer %u: status %u", i, reply.status);
    }
    bytes_done(&all);
    peer_close(&peer);
    DONE(owner);
}

TEST(what_a_peer_pipelines_behind_a_parked_request_is_bounded)
{
    enum { PIPELINED_BYTES = 32 << 20 };
    char *data = zeros(64 << 10);
    struct owner owner;
    struct peer peer;
    size_t sent = 0;

    OPEN(owner, 0);
    CONNECT(peer, owner);
    EXPECT(peer_say(&peer, GET("/park")));
    UNTIL(&owner, owner.parked.count == 1);
    size_t before = allocated_bytes();
    for (unsigned idle = 0; idle < 50 && sent < PIPELINED_BYTES;) {
        ssize_t count = send(peer.fd, data, 64 << 10, MSG_DONTWAIT | MSG_NOSIGNAL);
        sent += count > 0 ? (size_t)count : 0;
        idle = count > 0 ? 0 : idle + 1;
        step(&owner);
    }
    EXPECT(sent < PIPELINED_BYTES); /* the rest waits in sockets */
    EXPECT(allocated_bytes() - before < 256 << 10);
    answer_parked(&owner, 0, "now for the rest, which is garbage");
    EXPECT_EQ(200, peer_reply(&peer).status);
    EXPECT_EQ(400 + 14, peer_reply(&peer).status); /* of zeros without an end */
    peer_close(&peer);
    free(data);
    DONE(owner);
}

TEST(a_close_behind_pipelined_requests_is_noticed_soon)
{
    enum { PIPELINED_BYTES = 96 << 10 };
    char *data = zeros(PIPELINED_BYTES);
    struct owner owner;
    struct peer peer;

    OPEN(owner, 0);
    CONNECT(peer, owner);
    EXPECT(peer_say(&peer, GET("/park")));
    UNTIL(&owner, owner.parked.count == 1);
    EXPECT(peer_send(&peer, data, PIPELINED_BYTES));
    int64_t closed_at = test_now_ms();
    peer_close(&peer);
    UNTIL(&owner, owner.ends[HTTP_PEER_CLOSED] == 1);
    EXPECT(test_now_ms() - closed_at < 5000);
    free(data);
    DONE(owner);
}

TEST(a_peer_that_closes_while_its_request_is_parked_is_noticed_at_once)
{
    enum { WAYS = 3 };
    struct owner owner;

    OPEN(owner, 0);
    for (unsigned way = 0; way < WAYS; way++) {
        struct peer peer;
        CONNECT(peer, owner);
        EXPECT(peer_say(&peer, GET("/park")));
        UNTIL(&owner, owner.parked.count == way + 1);
        if (way == 1) /* reset */
            (void)setsockopt(peer.fd, SOL_SOCKET, SO_LINGER, &(struct linger){ .l_onoff = 1 }, sizeof(struct linger));
        if (way == 2) /* with something pipelined */
            EXPECT(peer_say(&peer, GET("/x")));
        int64_t closed_at = test_now_ms();
        peer_close(&peer);
        UNTIL(&owner, owner.ends[HTTP_PEER_CLOSED] == way + 1);
        EXPECT(test_now_ms() - closed_at < 500);
        EXPECT(owner.parked.items[way] == NULL);
    }
    EXPECT_EQ(0, http_listener_connections(owner.listener));
    DONE(owner);
}

TEST(a_parked_request_costs_about_a_kilobyte)
{
    enum { WANTED = 2000, BYTES_EACH_MAX = 1400 };
    static struct peer peers[WANTED];
    struct rlimit files;
    struct owner owner;
    unsigned count = WANTED;

    (void)getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &files);
    if (files.rlim_cur < 2 * WANTED + 100)
        count = (unsigned)(files.rlim_cur - 100) / 2;
    OPEN(owner, 0);
    size_t before = allocated_bytes();
    for (unsigned i = 0; i < count; i++) {
        CONNECT(peers[i], owner);
        if (i % 256 == 0)
            step(&owner);
    }
    UNTIL(&owner, http_listener_connections(owner.listener) == count);
    for (unsigned i = 0; i < count; i++) /* as awslambdaric sends it, but for the path */
        EXPECT(peer_say(&peers[i], "GET /park HTTP/1.1\r\nHost: 127.0.0.1:9001\r\nUser-Agent: aws-lambda-python/3.11.7-4.0.1\r\nAccept: */*\r\n\r\n"));
    UNTIL(&owner, owner.parked.count == count);
    size_t parked = allocated_bytes() - before;
    for (unsigned i = 0; i < count; i++)
        answer_parked(&owner, i, "here");
    for (unsigned i = 0; i < count; i++)
        EXPECT_EQ(200, peer_reply(&peers[i]).status);
    for (unsigned i = 0; i < count; i++)
        EXPECT(peer_say(&peers[i], GET("/park")));
    UNTIL(&owner, owner.parked.count == 2 * count);
    size_t parked_again = allocated_bytes() - before;
    for (unsigned i = 0; i < count; i++)
        parked_again -= peers[i].got.capacity; /* the test's own */
    for (unsigned i = 0; i < count; i++)
        peer_close(&peers[i]);
    UNTIL(&owner, owner.ended == 2 * count && http_listener_connections(owner.listener) == 0);
    EXPECT_EQ(0, http_listener_connections(owner.listener));
    (void)printf("     %u parked: %zu B each, %zu B when parked again\n", count, parked / count, parked_again / count);
    EXPECT(parked / count <= BYTES_EACH_MAX);
    EXPECT(parked_again / count <= BYTES_EACH_MAX);
    DONE(owner);
}

TEST(over_the_limit_the_longest_idle_connection_goes_and_busy_ones_stay)
{
    struct owner owner;
    struct peer peers[4];

    OPEN(owner, .connections_max = 3);
    for (unsigned i = 0; i < 3; i++) {
        CONNECT(peers[i], owner);
        EXPECT(peer_say(&peers[i], GET("/x")));
        EXPECT_EQ(200, peer_reply(&peers[i]).status);
    }
    EXPECT(peer_say(&peers[0], GET("/x"))); /* now the second is idle the longest */
    EXPECT_EQ(200, peer_reply(&peers[0]).status);
    CONNECT(peers[3], owner);
    EXPECT(peer_say(&peers[3], GET("/park")));
    UNTIL(&owner, owner.parked.count == 1);
    EXPECT(peer_waits_for_end(&peers[1]));
    EXPECT(!peers[0].ended && !peers[2].ended);
    EXPECT_EQ(3, http_listener_connections(owner.listener));
    peer_close(&peers[1]);
    EXPECT(peer_say(&peers[0], GET("/park")));
    EXPECT(peer_say(&peers[2], GET("/park")));
    UNTIL(&owner, owner.parked.count == 3);
    CONNECT(peers[1], owner); /* all are busy */
    EXPECT(peer_say(&peers[1], GET("/x")));
    struct reply reply = peer_reply(&peers[1]);
    EXPECT_EQ(503, reply.status);
    EXPECT_VIEW("1", reply_field(reply, "Retry-After"));
    EXPECT(peer_waits_for_end(&peers[1]));
    answer_parked(&owner, 0, "still here");
    EXPECT_EQ(200, peer_reply(&peers[3]).status);
    for (unsigned i = 0; i < 4; i++)
        peer_close(&peers[i]);
    DONE(owner);
}

static bool admit_second(void *ctx, int fd)
{
    struct owner *owner = ctx;

    EXPECT(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    return ++owner->admits == 2;
}

TEST(only_admitted_connections_are_read)
{
    struct owner owner;
    struct peer peers[2];

    OPEN(owner, 0);
    http_listener_admit(owner.listener, admit_second, &owner);
    for (unsigned i = 0; i < 2; i++) {
        CONNECT(peers[i], owner);
        (void)peer_say(&peers[i], GET("/x"));
    }
    EXPECT(peer_waits_for_end(&peers[0]));
    EXPECT_EQ(200, peer_reply(&peers[1]).status);
    EXPECT_EQ(2, owner.admits);
    EXPECT_EQ(1, owner.heads);
    for (unsigned i = 0; i < 2; i++)
        peer_close(&peers[i]);
    DONE(owner);
}

TEST(an_address_is_a_number_and_a_free_port)
{
    static const struct { const char *address; enum sluice_err err; } rows[] = {
        { "127.0.0.1:0", SLUICE_OK }, { "localhost:0", SLUICE_OK }, { "[::1]:0", SLUICE_OK }, { "0.0.0.0:0", SLUICE_OK }, { "127.0.0.1", SLUICE_EINVAL },
        { "127.0.0.1:", SLUICE_EINVAL }, { "127.0.0.1:65536", SLUICE_EINVAL }, { "127.0.0.1:-1", SLUICE_EINVAL }, { "127.0.0.1: 1", SLUICE_EINVAL },
        { "127.0.0.1:1x", SLUICE_EINVAL }, { "::1:0", SLUICE_EINVAL }, { "[::1:0", SLUICE_EINVAL }, { "example.com:80", SLUICE_EINVAL }, { "", SLUICE_EINVAL },
        { "192.0.2.1:0", SLUICE_EIO },
        { "1111111111111111111111111111111111111111111111111111111111111111111111111111:80", SLUICE_EINVAL },
    };
    struct ev_loop *loop = ev_loop_new(EVFLAG_AUTO);
    struct owner owner;

    OPEN(owner, 0);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct http_handler handler = { .on_request = (void (*)(void *, struct http_exchange *))(void *)abort };
        struct http_listener *listener = NULL;
        struct sluice_error error = { 0 };
        test_label(rows[i].address);
        EXPECT_EQ(rows[i].err, http_listen(loop, rows[i].address, NULL, &handler, &listener, &error));
        EXPECT_EQ(rows[i].err == SLUICE_OK, listener != NULL);
        EXPECT_EQ(rows[i].err != SLUICE_OK, error.text[0] != '\0');
        if (listener != NULL)
            EXPECT(http_listener_port(listener) != 0);
        http_listener_close(listener);
    }
    char taken[32];
    struct http_handler handler = { .on_request = (void (*)(void *, struct http_exchange *))(void *)abort };
    struct http_listener *listener = NULL;
    struct sluice_error error;
    (void)snprintf(taken, sizeof taken, "127.0.0.1:%u", http_listener_port(owner.listener));
    test_label("a port in use");
    EXPECT_EQ(SLUICE_EIO, http_listen(loop, taken, NULL, &handler, &listener, &error));
    test_label(NULL);
    ev_loop_destroy(loop);
    DONE(owner);
}

/* ---- limits ---- */

TEST(lines_heads_and_bodies_are_bounded)
{
    enum { LINE = 1000, HEAD = 3000, BODY = 100 };
    static const struct { const char *label; unsigned target, header, headers, body, chunked; unsigned status; } rows[] = {
        { "the longest target", LINE - 16, 1, 1, 0, 0, 200 },
        { "a target too long", LINE - 15, 1, 1, 0, 0, 414 },
        { "the longest header", 1, LINE - 5, 1, 0, 0, 200 },
        { "a header too long", 1, LINE - 4, 1, 0, 0, 431 },
        { "as many headers as may be", 1, 1, HTTP_HEADERS_MAX - 1, 0, 0, 200 },
        { "one header more", 1, 1, HTTP_HEADERS_MAX, 0, 0, 431 },
        { "a head too long", 1, 900, 4, 0, 0, 431 },
        { "the longest body", 1, 1, 1, BODY, 0, 200 },
        { "a body too long", 1, 1, 1, BODY + 1, 0, 413 },
        { "the longest body in chunks", 1, 1, 1, BODY, 1, 200 },
        { "a body in chunks too long", 1, 1, 1, BODY + 1, 1, 413 },
    };
    struct owner owner;

    OPEN(owner, .line_bytes_max = LINE, .head_bytes_max = HEAD, .body_bytes_max = BODY);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[2001];
        struct bytes request = { 0 };
        struct peer peer;
        test_label(rows[i].label);
        memset(text, 'a', sizeof text - 1);
        text[sizeof text - 1] = '\0';
        bytes_put_format(&request, "POST /%.*s HTTP/1.1\r\n" H, (int)rows[i].target - 1, text); /* 16 bytes beside it */
        for (unsigned j = 0; j + (rows[i].body > 0) < rows[i].headers; j++)
            bytes_put_format(&request, "X: %.*s\r\n", (int)rows[i].header, text);
        if (rows[i].body > 0 && !rows[i].chunked)
            bytes_put_format(&request, "Content-Length: %u\r\n\r\n%.*s", rows[i].body, (int)rows[i].body, text);
        else if (rows[i].body > 0)
            bytes_put_format(&request, "Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n%x\r\n%.*s\r\n0\r\n\r\n", rows[i].body - 1, (int)rows[i].body - 1, text);
        else
            bytes_put_text(&request, "\r\n");
        CONNECT(peer, owner);
        EXPECT(peer_send(&peer, request.data, request.len));
        EXPECT_EQ(rows[i].status, peer_reply(&peer).status);
        if (rows[i].status != 200)
            EXPECT(peer_waits_for_end(&peer));
        peer_close(&peer);
        bytes_done(&request);
    }
    test_label(NULL);
    UNTIL(&owner, owner.ended == owner.heads);
    EXPECT_EQ(2, owner.ends[HTTP_REFUSED]);
    DONE(owner);
}

TEST(a_line_of_a_mebibyte_is_taken_where_it_is_allowed)
{
    enum { LINE = 1 << 20 };
    struct bytes request = { 0 };
    struct owner owner;
    struct peer peer;

    OPEN(owner, .line_bytes_max = LINE);
    bytes_put_text(&request, "GET /fields HTTP/1.1\r\n" H "Lambda-Runtime-Function-XRay-Error-Cause: ");
    bytes_reserve(&request, LINE);
    memset(request.data + request.len, 'x', LINE - 100);
    request.len += LINE - 100;
    bytes_put_text(&request, "\r\n\r\n");
    CONNECT(peer, owner);
    EXPECT(peer_send(&peer, request.data, request.len));
    struct reply reply = peer_reply(&peer);
    EXPECT_EQ(200, reply.status);
    EXPECT(reply.body.len > LINE - 100);
    peer_close(&peer);
    bytes_done(&request);
    DONE(owner);
}

TEST(a_body_limit_of_one_request_and_one_of_all)
{
    struct owner owner;
    struct peer peers[3];

    OPEN(owner, .body_bytes_max = 100000, .bodies_bytes_max = 300000);
    CONNECT(peers[0], owner);
    EXPECT(peer_say(&peers[0], "POST /small HTTP/1.1\r\n" H "Content-Length: 4\r\n\r\nabcd" "POST /small HTTP/1.1\r\n" H "Content-Length: 5\r\n\r\n"));
    EXPECT_EQ(200, peer_reply(&peers[0]).status);
    EXPECT_EQ(413, peer_reply(&peers[0]).status);
    peer_close(&peers[0]);
    char *body = zeros(100000);
    for (unsigned i = 0; i < 3; i++) {
        CONNECT(peers[i], owner);
        EXPECT(peer_say(&peers[i], "POST /park HTTP/1.1\r\n" H "Content-Length: 100000\r\n\r\n"));
        EXPECT(peer_send(&peers[i], body, 100000));
        if (i < 2)
            UNTIL(&owner, owner.parked.count == i + 1);
    }
    EXPECT_EQ(503, peer_reply(&peers[2]).status);
    peer_close(&peers[2]);
    answer_parked(&owner, 0, "ok");
    EXPECT_EQ(200, peer_reply(&peers[0]).status);
    CONNECT(peers[2], owner); /* there is room again */
    EXPECT(peer_say(&peers[2], "POST /echo HTTP/1.1\r\n" H "Content-Length: 100000\r\n\r\n"));
    EXPECT(peer_send(&peers[2], body, 100000));
    EXPECT_EQ(200, peer_reply(&peers[2]).status);
    for (unsigned i = 0; i < 3; i++)
        peer_close(&peers[i]);
    free(body);
    DONE(owner);
}

TEST(a_refusal_reaches_a_peer_that_is_still_sending)
{
    enum { SENT = 4 << 20 };
    char *body = zeros(SENT);
    struct owner owner;
    struct peer peer;

    OPEN(owner, .body_bytes_max = 1000);
    CONNECT(peer, owner);
    EXPECT(peer_say(&peer, "POST /echo HTTP/1.1\r\n" H "Content-Length: 4194304\r\n\r\n"));
    peer_stall(&peer, true); /* as clients do that read the answer after they have sent all */
    EXPECT(peer_send(&peer, body, SENT));
    peer_stall(&peer, false);
    EXPECT_EQ(413, peer_reply(&peer).status);
    EXPECT(peer_waits_for_end(&peer));
    EXPECT(!peer.reset);
    peer_close(&peer);
    free(body);
    UNTIL(&owner, http_listener_connections(owner.listener) == 0);
    DONE(owner);
}

/* ---- time ---- */

TEST(slow_senders_are_told_and_cut_off)
{
    static const struct { const char *label, *sent; unsigned status; enum http_end end; bool told; } rows[] = {
        { "nothing at all", "", 0, HTTP_DONE, false },
        { "half a request line", "GET /x HT", 408, HTTP_DONE, false },
        { "half a head", "GET /x HTTP/1.1\r\nHost: a\r\n", 408, HTTP_DONE, false },
        { "half a body", "POST /echo HTTP/1.1\r\n" H "Content-Length: 5\r\n\r\nab", 408, HTTP_TIMED_OUT, true },
        { "half a chunk's size", "POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n1", 408, HTTP_TIMED_OUT, true },
        { "half the trailers", "POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n0\r\nX:", 408, HTTP_TIMED_OUT, true },
        { "half a streamed body", "POST /sink HTTP/1.1\r\n" H "Content-Length: 5\r\n\r\nab", 408, HTTP_TIMED_OUT, true },
        { "half a body of an answer that is begun", "POST /stream HTTP/1.1\r\n" H "Content-Length: 5\r\n\r\nab", 0, HTTP_TIMED_OUT, true },
        { "half a body nobody wants", "POST /head HTTP/1.1\r\n" H "Content-Length: 5\r\n\r\nab", 200, HTTP_DONE, true },
    };
    struct owner owner;

    OPEN(owner, .idle_ms = 60, .request_ms = 60);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        unsigned ended = owner.ended, ends = owner.ends[rows[i].end];
        struct peer peer;
        test_label(rows[i].label);
        CONNECT(peer, owner);
        int64_t start = test_now_ms();
        EXPECT(peer_say(&peer, rows[i].sent));
        struct reply reply = peer_reply(&peer);
        EXPECT_EQ(rows[i].status, reply.status);
        EXPECT(peer_waits_for_end(&peer));
        EXPECT(test_now_ms() - start >= 55);
        EXPECT_EQ(rows[i].told, owner.ended - ended);
        EXPECT_EQ(rows[i].told, owner.ends[rows[i].end] - ends);
        peer_close(&peer);
    }
    test_label(NULL);
    DONE(owner);
}

TEST(a_slow_head_is_cut_off_however_steadily_it_comes)
{
    struct owner owner;
    struct peer peer;
    int64_t start = test_now_ms();

    OPEN(owner, .request_ms = 100);
    CONNECT(peer, owner);
    EXPECT(peer_say(&peer, "GET /x HTTP/1.1\r\nX: "));
    while (test_now_ms() - start < 5000 && peer.got.len == 0) {
        (void)send(peer.fd, "x", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
        step(&owner);
    }
    EXPECT_EQ(408, peer_reply(&peer).status);
    EXPECT(test_now_ms() - start < 3000);
    peer_close(&peer);
    DONE(owner);
}

TEST(a_body_that_keeps_coming_may_take_longer_than_one_wait)
{
    struct owner owner;
    struct peer peer;

    OPEN(owner, .request_ms = 200);
    CONNECT(peer, owner);
    EXPECT(peer_say(&peer, "POST /echo HTTP/1.1\r\n" H "Content-Length: 10\r\n\r\n"));
    for (unsigned i = 0; i < 10; i++) {
        for (int64_t until = test_now_ms() + 50; test_now_ms() < until;) /* of the loop's own time: what is tested is a clock */
            step(&owner);
        EXPECT(peer_say(&peer, "x"));
    }
    EXPECT_VIEW("xxxxxxxxxx", peer_reply(&peer).body);
    peer_close(&peer);
    DONE(owner);
}

TEST(a_parked_request_waits_longer_than_any_limit)
{
    struct owner owner;
    struct peer peer;

    OPEN(owner, .idle_ms = 20, .request_ms = 20, .send_ms = 20);
    CONNECT(peer, owner);
    EXPECT(peer_say(&peer, GET("/park")));
    for (int64_t until = test_now_ms() + 200; test_now_ms() < until;)
        step(&owner);
    EXPECT_EQ(0, owner.ended);
    EXPECT_EQ(1, owner.parked.count);
    answer_parked(&owner, 0, "at last");
    EXPECT_VIEW("at last", peer_reply(&peer).body);
    peer_close(&peer);
    DONE(owner);
}

TEST(a_peer_that_does_not_read_its_answer_is_cut_off)
{
    struct owner owner;
    struct peer peer;

    OPEN(owner, .send_ms = 100);
    CONNECT(peer, owner);
    peer_stall(&peer, true);
    EXPECT(peer_say(&peer, GET("/big")));
    UNTIL(&owner, owner.ends[HTTP_TIMED_OUT] == 1);
    EXPECT_EQ(0, http_listener_connections(owner.listener));
    peer_stall(&peer, false);
    EXPECT(peer_waits_for_end(&peer));
    EXPECT(peer.reset); /* what is missing must not look like the end */
    peer_close(&peer);
    DONE(owner);
}

/* ---- bodies and answers ---- */

TEST(head_gets_the_head_only)
{
    static const char *const paths[] = { "/park?now", "/source", "/big", "/204" };
    struct owner owner;
    struct peer peer;

    OPEN(owner, 0);
    CONNECT(peer, owner);
    for (size_t i = 1; i < sizeof paths / sizeof *paths; i++) {
        char text[100];
        (void)snprintf(text, sizeof text, "HEAD %s HTTP/1.1\r\n" H "\r\n", paths[i]);
        test_label(paths[i]);
        EXPECT(peer_say(&peer, text));
        struct reply reply = peer_reply_to_head(&peer);
        EXPECT_EQ(i == 3 ? 204 : 200, reply.status);
        EXPECT_EQ(peer.at, peer.got.len);
        if (i == 2)
            EXPECT_VIEW("8388608", reply_field(reply, "Content-Length"));
        if (i == 3)
            EXPECT(reply_field(reply, "Content-Length").data == NULL);
    }
    test_label(NULL);
    EXPECT(peer_say(&peer, GET("/x")));
    EXPECT_EQ(200, peer_reply(&peer).status);
    peer_close(&peer);
    DONE(owner);
}

TEST(the_server_says_how_long_an_answer_is_and_the_owner_cannot)
{
    struct owner owner;
    struct peer peer;

    OPEN(owner, 0);
    CONNECT(peer, owner);
    EXPECT(peer_say(&peer, GET("/close")));
    struct reply reply = peer_reply(&peer);
    EXPECT_VIEW("4", reply_field(reply, "Content-Length"));
    EXPECT_VIEW("last", reply.body);
    struct view date = reply_field(reply, "Date");
    EXPECT_EQ(29, date.len);
    EXPECT(memcmp(date.data + 26, "GMT", 3) == 0);
    peer_close(&peer);
    DONE(owner);
}

TEST(a_body_streams_both_ways_and_neither_side_holds_much_of_it)
{
    enum { TOTAL = 24 << 20, PIECE = 60000 };
    char *data = zeros(PIECE);
    struct owner owner;
    struct peer peer;
    size_t sent = 0;

    for (size_t i = 0; i < PIECE; i++)
        data[i] = (char)(i * 7 + i / 251);
    OPEN(owner, .request_ms = 60000);
    CONNECT(peer, owner);
    EXPECT(peer_say(&peer, "POST /stream HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n"));
    size_t before = allocated_bytes();
    peer_stall(&peer, true); /* nothing is read: the server stops reading, too */
    bool blocked = false;
    char head[16];
    while (sent < TOTAL) {
        struct bytes chunk = { 0 };
        (void)snprintf(head, sizeof head, "%x\r\n", PIECE);
        bytes_put_text(&chunk, head);
        bytes_put(&chunk, data, PIECE);
        bytes_put_text(&chunk, "\r\n");
        for (size_t at = 0, idle = 0; at < chunk.len;) {
            ssize_t count = send(peer.fd, chunk.data + at, chunk.len - at, MSG_DONTWAIT | MSG_NOSIGNAL);
            at += count > 0 ? (size_t)count : 0;
            idle = count > 0 ? 0 : idle + 1;
            if (idle == 20 && !blocked) {
                blocked = true;
                EXPECT(owner.unsent_max <= HTTP_UNSENT_HIGH_BYTES + (64 << 10) + 100);
                EXPECT(allocated_bytes() - before < 2 << 20);
                peer_stall(&peer, false);
            }
            step(&owner);
        }
        sent += PIECE;
        bytes_done(&chunk);
    }
    EXPECT(blocked);
    EXPECT(peer_say(&peer, "0\r\n\r\n"));
    struct reply reply = peer_reply(&peer);
    EXPECT_EQ(200, reply.status);
    EXPECT_EQ(sent, reply.body.len);
    for (size_t at = 0; at + PIECE <= reply.body.len; at += PIECE)
        if (memcmp(reply.body.data + at, data, PIECE) != 0)
            return test_fail(__FILE__, __LINE__, "other bytes came back at %zu", at);
    EXPECT(owner.drained > 0);
    EXPECT(owner.unsent_max <= HTTP_UNSENT_HIGH_BYTES + (64 << 10) + 100);
    EXPECT(peer_say(&peer, GET("/x")));
    EXPECT_EQ(200, peer_reply(&peer).status);
    peer_close(&peer);
    free(data);
    DONE(owner);
}

TEST(a_streamed_answer_waits_for_its_reader)
{
    struct owner owner;
    struct peer peer;

    OPEN(owner, 0);
    CONNECT(peer, owner);
    peer_stall(&peer, true);
    EXPECT(peer_say(&peer, GET("/source")));
    UNTIL(&owner, owner.unsent_max > HTTP_UNSENT_HIGH_BYTES / 2);
    peer_stall(&peer, false);
    struct reply reply = peer_reply(&peer);
    EXPECT_EQ(SOURCE_BYTES, reply.body.len);
    EXPECT(owner.drained > 0);
    EXPECT(owner.unsent_max <= HTTP_UNSENT_HIGH_BYTES + SOURCE_PIECE_BYTES + 100);
    peer_close(&peer);
    DONE(owner);
}

TEST(nothing_is_read_of_a_paused_body)
{
    enum { TOTAL = 32 << 20 };
    char *body = zeros(TOTAL);
    struct owner owner;
    struct peer peer;
    size_t sent = 0;

    OPEN(owner, .request_ms = 50);
    CONNECT(peer, owner);
    EXPECT(peer_say(&peer, "POST /pause HTTP/1.1\r\n" H "Content-Length: 33554432\r\n\r\n"));
    for (int64_t until = test_now_ms() + 300; test_now_ms() < until;) { /* longer than request_ms: the wait is ours */
        ssize_t count = send(peer.fd, body, TOTAL - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
        sent += count > 0 ? (size_t)count : 0;
        step(&owner);
    }
    EXPECT(sent < TOTAL);
    EXPECT_EQ(0, owner.body_bytes);
    EXPECT_EQ(0, owner.ended);
    EXPECT_EQ(1, owner.parked.count);
    http_pause_body(owner.parked.items[0], false);
    EXPECT(peer_send(&peer, body, TOTAL - sent));
    EXPECT_VIEW("33554432", peer_reply(&peer).body);
    peer_close(&peer);
    free(body);
    DONE(owner);
}

TEST(a_peer_that_breaks_off_while_its_body_is_paused_is_noticed)
{
    struct owner owner;
    struct peer peer;

    OPEN(owner, 0);
    CONNECT(peer, owner);
    EXPECT(peer_say(&peer, "POST /pause HTTP/1.1\r\n" H "Content-Length: 10\r\n\r\nabc"));
    UNTIL(&owner, owner.parked.count == 1);
    (void)setsockopt(peer.fd, SOL_SOCKET, SO_LINGER, &(struct linger){ .l_onoff = 1 }, sizeof(struct linger));
    peer_close(&peer);
    UNTIL(&owner, owner.ends[HTTP_TRUNCATED] == 1);
    DONE(owner);
}

TEST(a_body_that_ends_too_soon_is_no_request)
{
    static const char *const rows[] = {
        "POST /echo HTTP/1.1\r\n" H "Content-Length: 5\r\n\r\nab",
        "POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n",
        "POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n2\r\nab",
        "POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
        "POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n",
        "POST /sink HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
    };
    enum { ROWS = sizeof rows / sizeof *rows };
    struct owner owner;

    OPEN(owner, 0);
    for (unsigned i = 0; i < ROWS; i++) {
        struct peer peer;
        test_label(rows[i]);
        CONNECT(peer, owner);
        EXPECT(peer_say(&peer, rows[i]));
        UNTIL(&owner, owner.heads == i + 1);
        (void)shutdown(peer.fd, SHUT_WR);
        EXPECT_EQ(400, peer_reply(&peer).status);
        EXPECT(peer_waits_for_end(&peer));
        EXPECT_EQ(i + 1, owner.ends[HTTP_TRUNCATED]);
        peer_close(&peer);
    }
    test_label(NULL);
    EXPECT_EQ(0, owner.requests);
    DONE(owner);
}

TEST(who_expects_100_continue_is_told_unless_the_answer_is_there)
{
    static const struct { const char *label, *head; unsigned first; bool kept; } rows[] = {
        { "a length", "POST /echo HTTP/1.1\r\n" H "Expect: 100-continue\r\nContent-Length: 3\r\n\r\n", 100, true },
        { "any case", "POST /echo HTTP/1.1\r\n" H "expect: 100-Continue\r\nContent-Length: 3\r\n\r\n", 100, true },
        { "streamed", "POST /sink HTTP/1.1\r\n" H "Expect: 100-continue\r\nContent-Length: 3\r\n\r\n", 100, true },
        { "an answer from on_head", "POST /head HTTP/1.1\r\n" H "Expect: 100-continue\r\nContent-Length: 3\r\n\r\n", 200, false },
        { "too long", "POST /small HTTP/1.1\r\n" H "Expect: 100-continue\r\nContent-Length: 5\r\n\r\n", 413, false },
        { "no body to wait for", "POST /echo HTTP/1.1\r\n" H "Expect: 100-continue\r\nContent-Length: 0\r\n\r\n", 200, true },
    };
    struct owner owner;

    OPEN(owner, 0);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct peer peer;
        test_label(rows[i].label);
        CONNECT(peer, owner);
        EXPECT(peer_say(&peer, rows[i].head));
        struct reply reply = peer_reply(&peer);
        EXPECT_EQ(rows[i].first, reply.status);
        if (rows[i].first == 100) {
            EXPECT(peer_say(&peer, "abc"));
            EXPECT_EQ(200, peer_reply(&peer).status);
        }
        if (rows[i].kept) {
            EXPECT(peer_say(&peer, GET("/x")));
            EXPECT_EQ(200, peer_reply(&peer).status);
        } else {
            EXPECT_VIEW("close", reply_field(reply, "Connection"));
            EXPECT(peer_waits_for_end(&peer));
        }
        peer_close(&peer);
    }
    test_label(NULL);
    DONE(owner);
}

TEST(an_early_answer_is_followed_by_the_next_request)
{
    static const struct { const char *request; bool kept; const char *body; } rows[] = {
        { "POST /head HTTP/1.1\r\n" H "Content-Length: 3\r\n\r\nabc", true, "from on_head" },
        { "POST /head HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n", true, "from on_head" },
        { "POST /body HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\nabc\r\n0\r\n\r\n", true, "from on_body" },
        { "POST /head HTTP/1.1\r\n" H "Content-Length: 1001\r\n\r\n", false, "from on_head" },
    };
    struct owner owner;

    OPEN(owner, .body_bytes_max = 1000);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        size_t len = strlen(rows[i].request);
        for (size_t cut = rows[i].kept ? 1 : len; cut <= len; cut++) {
            struct peer peer;
            CONNECT(peer, owner);
            EXPECT(peer_send(&peer, rows[i].request, cut));
            EXPECT(peer_send(&peer, rows[i].request + cut, len - cut));
            if (rows[i].kept)
                EXPECT(peer_say(&peer, GET("/second")));
            EXPECT_VIEW(rows[i].body, peer_reply(&peer).body);
            if (rows[i].kept)
                EXPECT_EQ(200, peer_reply(&peer).status);
            else
                EXPECT(peer_waits_for_end(&peer));
            peer_close(&peer);
        }
    }
    UNTIL(&owner, owner.ended == owner.heads);
    EXPECT_EQ(owner.heads, owner.ends[HTTP_DONE]);
    DONE(owner);
}

TEST(a_body_nobody_wants_is_read_up_to_its_limit_only)
{
    char chunk[600];
    struct owner owner;
    struct peer peer;

    OPEN(owner, .body_bytes_max = 1000);
    CONNECT(peer, owner);
    EXPECT(peer_say(&peer, "POST /head HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n"));
    EXPECT_EQ(200, peer_reply(&peer).status);
    (void)snprintf(chunk, 6, "251\r\n");
    memset(chunk + 5, 'x', 593);
    memcpy(chunk + 598, "\r\n", 2);
    EXPECT(peer_send(&peer, chunk, sizeof chunk));
    EXPECT(!peer.ended);
    (void)peer_send(&peer, chunk, sizeof chunk);
    EXPECT(peer_waits_for_end(&peer));
    peer_close(&peer);
    DONE(owner);
}

/* ---- ends ---- */

static const struct { const char *label, *sent; const char *until; } states[] = {
    { "nothing sent", "", "" },
    { "half a head", "GET /x HT", "" },
    { "half a collected body", "POST /echo HTTP/1.1\r\n" H "Content-Length: 5\r\n\r\nab", "head" },
    { "half a streamed body", "POST /sink HTTP/1.1\r\n" H "Content-Length: 5\r\n\r\nab", "head" },
    { "a paused body", "POST /pause HTTP/1.1\r\n" H "Content-Length: 5\r\n\r\nab", "parked" },
    { "parked", GET("/park"), "parked" },
    { "parked, with something behind it", GET("/park") GET("/park") "GET /half", "parked" },
    { "begun", GET("/begin"), "parked" },
    { "both ways", "POST /stream HTTP/1.1\r\n" H "Content-Length: 5\r\n\r\nab", "head" },
    { "an answer that is not read", GET("/big"), "request" },
    { "a streamed answer that is not read", GET("/source"), "request" },
    { "an early answer", "POST /head HTTP/1.1\r\n" H "Content-Length: 5\r\n\r\nab", "ended" },
    { "idle after an answer", GET("/x"), "ended" },
    { "lingering", "GET /x HTTP/9.9\r\n\r\n", "refused" },
    { "lingering after a body too long", "POST /small HTTP/1.1\r\n" H "Content-Length: 5\r\n\r\n", "ended" },
};
enum { STATES = sizeof states / sizeof *states };

/* Brings a fresh owner and peer to a state. */
static bool given_state(struct owner *owner, struct peer *peer, unsigned state)
{
    const char *until = states[state].until;

    if (!owner_open(owner, "127.0.0.1:0", NULL) || !peer_open(peer, owner)) {
        test_fail(__FILE__, __LINE__, "no connection");
        return false;
    }
    peer_stall(peer, strstr(states[state].label, "not read") != NULL);
    EXPECT(peer_say(peer, states[state].sent));
    UNTIL(owner, http_listener_connections(owner->listener) == 1);
    for (unsigned i = 0; i < 3; i++)
        step(owner);
    if (strcmp(until, "head") == 0)
        UNTIL(owner, owner->heads == 1);
    else if (strcmp(until, "parked") == 0)
        UNTIL(owner, owner->parked.count == 1);
    else if (strcmp(until, "request") == 0)
        UNTIL(owner, owner->requests == 1);
    else if (strcmp(until, "ended") == 0)
        UNTIL(owner, owner->ended == 1);
    else if (strcmp(until, "refused") == 0)
        EXPECT_EQ(505, peer_reply(peer).status);
    return true;
}

TEST(a_listener_closes_in_every_state)
{
    for (unsigned state = 0; state < STATES; state++) {
        struct owner owner;
        struct peer peer;
        test_label(states[state].label);
        if (!given_state(&owner, &peer, state))
            return;
        unsigned open = owner.heads - owner.ended;
        http_listener_close(owner.listener);
        owner.listener = NULL;
        EXPECT_EQ(owner.heads, owner.ended);
        EXPECT_EQ(open, owner.ends[HTTP_CLOSED]);
        peer_stall(&peer, false);
        EXPECT(peer_waits_for_end(&peer));
        peer_close(&peer);
        DONE(owner);
    }
    test_label(NULL);
}

TEST(a_peer_may_go_in_every_state)
{
    for (unsigned way = 0; way < 4 * STATES; way++) {
        struct owner owner;
        struct peer peer;
        unsigned state = way / 4;
        bool reset = way % 2 == 1;
        if (strcmp(states[state].label, "a paused body") == 0 && !reset)
            continue; /* what it sent before is not read yet */
        test_label(states[state].label);
        if (!given_state(&owner, &peer, state))
            return;
        owner.close_in_end = way % 4 >= 2; /* and the owner closes in on_end */
        if (reset)
            (void)setsockopt(peer.fd, SOL_SOCKET, SO_LINGER, &(struct linger){ .l_onoff = 1 }, sizeof(struct linger));
        peer_close(&peer);
        UNTIL(&owner, owner.heads == owner.ended && (owner.listener == NULL || http_listener_connections(owner.listener) == 0));
        DONE(owner);
    }
    test_label(NULL);
}

TEST(an_exchange_is_aborted_in_every_state)
{
    for (unsigned state = 0; state < STATES; state++) {
        struct owner owner;
        struct peer peer;
        if (strcmp(states[state].until, "parked") != 0)
            continue;
        test_label(states[state].label);
        if (!given_state(&owner, &peer, state))
            return;
        struct http_exchange *exchange = owner.parked.items[0];
        http_abort(exchange);
        EXPECT_EQ(0, owner.ended); /* calls do not call back */
        http_write(exchange, VIEW_LITERAL("too late"));
        http_finish(exchange);
        UNTIL(&owner, owner.ends[HTTP_CLOSED] == 1);
        EXPECT(peer_waits_for_end(&peer));
        EXPECT_EQ(1, owner.ended);
        EXPECT_EQ(1, owner.heads); /* what was pipelined behind it is gone with it */
        peer_close(&peer);
        DONE(owner);
    }
    test_label(NULL);
}

TEST(callbacks_may_abort_and_close)
{
    static const char *const wheres[] = { "head", "body", "request", "drained" };

    for (unsigned i = 0; i < 8; i++) {
        struct owner owner;
        struct peer peer, other;
        char text[200];
        OPEN(owner, 0);
        CONNECT(peer, owner);
        CONNECT(other, owner);
        EXPECT(peer_say(&other, GET("/park")));
        UNTIL(&owner, owner.parked.count == 1);
        (void)snprintf(text, sizeof text, "POST /%s-%s HTTP/1.1\r\n" H "Content-Length: 3\r\n\r\nabc" GET("/park"), i < 4 ? "abort" : "close", wheres[i % 4]);
        test_label(text);
        peer_stall(&peer, i % 4 == 3);
        EXPECT(peer_say(&peer, text));
        if (i % 4 == 3)
            UNTIL(&owner, owner.unsent_max > HTTP_UNSENT_HIGH_BYTES / 2);
        peer_stall(&peer, false);
        UNTIL(&owner, owner.ends[HTTP_CLOSED] == (i < 4 ? 1 : 2));
        EXPECT_EQ(2, owner.heads);
        EXPECT(peer_waits_for_end(&peer));
        EXPECT_EQ(i < 4, !other.ended);
        peer_close(&peer);
        peer_close(&other);
        DONE(owner);
    }
    test_label(NULL);
}

TEST(what_is_answered_as_the_listener_closes_still_leaves)
{
    struct owner owner;
    struct peer peer;

    OPEN(owner, 0);
    CONNECT(peer, owner);
    EXPECT(peer_say(&peer, GET("/park")));
    UNTIL(&owner, owner.parked.count == 1);
    answer_parked(&owner, 0, "farewell");
    http_listener_close(owner.listener);
    owner.listener = NULL;
    EXPECT_EQ(1, owner.ends[HTTP_DONE]);
    EXPECT_VIEW("farewell", peer_reply(&peer).body);
    peer_close(&peer);
    DONE(owner);
}

TEST(a_broken_off_stream_does_not_look_whole)
{
    static const struct { const char *request; bool reset; } rows[] = {
        { GET("/begin"), false },                       /* its last chunk is missing */
        { "GET /begin HTTP/1.0\r\n\r\n", true },        /* its end would be the connection's */
    };

    for (unsigned i = 0; i < 2; i++) {
        struct owner owner;
        struct peer peer;
        OPEN(owner, 0);
        CONNECT(peer, owner);
        EXPECT(peer_say(&peer, rows[i].request));
        UNTIL(&owner, peer.got.len > 0 && memmem(peer.got.data, peer.got.len, "begun", 5) != NULL);
        http_abort(owner.parked.items[0]);
        EXPECT(peer_waits_for_end(&peer));
        EXPECT_EQ(rows[i].reset, peer.reset);
        EXPECT(memmem(peer.got.data, peer.got.len, "\r\n0\r\n", 5) == NULL);
        peer_close(&peer);
        DONE(owner);
    }
}

TEST(a_half_closed_peer_gets_what_can_be_answered_at_once)
{
    struct owner owner;
    struct peer peer;

    OPEN(owner, 0);
    CONNECT(peer, owner);
    EXPECT_EQ((ssize_t)strlen(GET("/x") GET("/big")), send(peer.fd, GET("/x") GET("/big"), strlen(GET("/x") GET("/big")), 0));
    (void)shutdown(peer.fd, SHUT_WR);
    EXPECT_EQ(200, peer_reply(&peer).status);
    EXPECT_EQ(SOURCE_BYTES, peer_reply(&peer).body.len);
    EXPECT(peer_waits_for_end(&peer));
    EXPECT_EQ(2, owner.ends[HTTP_DONE]);
    peer_close(&peer);
    DONE(owner);
}

static bool no_more_files(void *ctx, int fd)
{
    (void)ctx, (void)fd;
    return true;
}

TEST(out_of_descriptors_new_connections_wait)
{
    struct rlimit files, few;
    struct owner owner;
    struct peer peer;
    int highest;

    OPEN(owner, 0);
    http_listener_admit(owner.listener, no_more_files, NULL);
    CONNECT(peer, owner);
    ASSERT(getrlimit(RLIMIT_NOFILE, &files) == 0);
    highest = dup(0);
    ASSERT(highest >= 0);
    (void)close(highest);
    few = (struct rlimit){ .rlim_cur = (rlim_t)highest, .rlim_max = files.rlim_max };
    ASSERT(setrlimit(RLIMIT_NOFILE, &few) == 0);
    for (unsigned i = 0; i < 3; i++)
        step(&owner);
    EXPECT_EQ(0, http_listener_connections(owner.listener));
    ASSERT(setrlimit(RLIMIT_NOFILE, &files) == 0);
    EXPECT(peer_say(&peer, GET("/x")));
    EXPECT_EQ(200, peer_reply(&peer).status);
    peer_close(&peer);
    DONE(owner);
}
