/* What is bounded, in bytes and in time, and what a peer is told at each bound. */
#include <stdlib.h>
#include <sys/socket.h>

#include "broker/base/assert.h"
#include "tests/test.h"
#include "tests/unit/http_fixture.h"

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

TEST(what_peers_do_not_read_is_bounded_and_the_slowest_goes_first)
{
    enum { PEERS = 6 };
    struct owner owner;
    struct peer peers[PEERS];

    OPEN(owner, .unsent_bytes_max = SOURCE_BYTES + 1000);
    for (unsigned i = 0; i < PEERS; i++) {
        CONNECT(peers[i], owner);
        peer_stall(&peers[i], true);
        EXPECT(peer_say(&peers[i], "GET /big HTTP/1.1\r\n" H "\r\n"));
        UNTIL(&owner, owner.requests == i + 1);
    }
    UNTIL(&owner, owner.ends[HTTP_TIMED_OUT] > 0);
    peer_stall(&peers[0], false);
    EXPECT(peer_waits_for_end(&peers[0]));
    EXPECT(peers[0].reset);
    peer_stall(&peers[PEERS - 1], false);
    struct reply reply = peer_reply(&peers[PEERS - 1]);
    EXPECT_EQ(200, reply.status);
    EXPECT_EQ(SOURCE_BYTES, reply.body.len);
    for (unsigned i = 0; i < PEERS; i++)
        peer_close(&peers[i]);
    DONE(owner);
}

TEST(heads_count_as_what_is_held)
{
    enum { LINE = 1 << 20, PEERS = 5 };
    struct bytes request = { 0 }, half = { 0 };
    struct owner owner;
    struct peer peers[PEERS];

    OPEN(owner, .line_bytes_max = LINE, .bodies_bytes_max = 7 * LINE / 2);
    bytes_put_text(&request, "GET /park HTTP/1.1\r\n" H "X: ");
    bytes_reserve(&request, LINE);
    memset(request.data + request.len, 'x', LINE - 100);
    request.len += LINE - 100;
    bytes_put_view(&half, bytes_view(&request));
    bytes_put_text(&request, "\r\n\r\n");
    for (unsigned i = 0; i < PEERS; i++) {
        CONNECT(peers[i], owner);
        if (i >= 3) { /* what is no whole head yet counts, too */
            EXPECT(peer_send(&peers[i], half.data, half.len));
            continue;
        }
        EXPECT(peer_send(&peers[i], request.data, request.len));
        if (i < 2)
            UNTIL(&owner, owner.parked.count == i + 1);
    }
    EXPECT_EQ(503, peer_reply(&peers[2]).status);
    EXPECT_EQ(503, peer_reply(&peers[4]).status);
    for (unsigned i = 2; i < PEERS; i++)
        peer_close(&peers[i]);
    answer_parked(&owner, 0, "ok");
    EXPECT_EQ(200, peer_reply(&peers[0]).status);
    UNTIL(&owner, http_listener_connections(owner.listener) == 2);
    CONNECT(peers[2], owner); /* there is room again */
    EXPECT(peer_send(&peers[2], request.data, request.len));
    UNTIL(&owner, owner.parked.count == 2);
    for (unsigned i = 0; i < 3; i++)
        peer_close(&peers[i]);
    bytes_done(&request);
    bytes_done(&half);
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

TEST(a_writer_that_does_not_heed_backpressure_is_cut_off)
{
    struct owner owner;
    struct peer peer;

    OPEN(owner, 0);
    CONNECT(peer, owner);
    peer_stall(&peer, true);
    EXPECT(peer_say(&peer, GET("/flood")));
    UNTIL(&owner, owner.ends[HTTP_CLOSED] == 1);
    peer_close(&peer);
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
    int64_t start = test_now_ms(), sent_ms = 0;

    OPEN(owner, .request_ms = 100);
    CONNECT(peer, owner);
    EXPECT(peer_say(&peer, "GET /x HTTP/1.1\r\nX: "));
    while (test_now_ms() - start < 5000 && peer.got.len == 0) {
        if (test_now_ms() > sent_ms) /* a byte a millisecond: the line does not become too long however fast we are */
            (void)send(peer.fd, "x", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
        sent_ms = test_now_ms();
        step(&owner);
    }
    EXPECT_EQ(408, peer_reply(&peer).status);
    EXPECT(test_now_ms() - start < 3000);
    peer_close(&peer);
    DONE(owner);
}

static void let_pass(struct owner *owner, int64_t ms) /* of the loop's own time: what is tested is a clock */
{
    for (int64_t until = test_now_ms() + ms; test_now_ms() < until;)
        step(owner);
}

TEST(head_and_body_have_each_their_own_time)
{
    struct owner owner;
    struct peer peer;

    OPEN(owner, .request_ms = 1000);
    CONNECT(peer, owner);
    EXPECT(peer_say(&peer, "POST /echo HTTP/1.1\r\n" H));
    let_pass(&owner, 600);
    EXPECT(peer_say(&peer, "Content-Length: 2\r\n\r\n"));
    let_pass(&owner, 600);
    EXPECT(peer_say(&peer, "ab"));
    EXPECT_VIEW("ab", peer_reply(&peer).body);
    peer_close(&peer);
    DONE(owner);
}

TEST(a_body_that_keeps_coming_may_take_longer_than_one_wait)
{
    struct owner owner;
    struct peer peer;

    OPEN(owner, .request_ms = 400);
    CONNECT(peer, owner);
    EXPECT(peer_say(&peer, "POST /echo HTTP/1.1\r\n" H "Content-Length: 10\r\n\r\n"));
    for (unsigned i = 0; i < 10; i++) {
        let_pass(&owner, 50);
        EXPECT(peer_say(&peer, "x"));
    }
    EXPECT_VIEW("xxxxxxxxxx", peer_reply(&peer).body);
    peer_close(&peer);
    DONE(owner);
}

TEST(a_body_that_trickles_is_cut_off_however_steadily_it_comes)
{
    struct owner owner;
    struct peer peer;
    int64_t start = test_now_ms(), sent_ms = 0;

    OPEN(owner, .request_ms = 100);
    CONNECT(peer, owner);
    EXPECT(peer_say(&peer, "POST /echo HTTP/1.1\r\n" H "Content-Length: 100000\r\n\r\n"));
    while (test_now_ms() - start < 5000 && peer.got.len == 0) {
        if (test_now_ms() > sent_ms + 10)
            (void)send(peer.fd, "x", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (test_now_ms() > sent_ms + 10)
            sent_ms = test_now_ms();
        step(&owner);
    }
    EXPECT_EQ(408, peer_reply(&peer).status);
    EXPECT(test_now_ms() - start < 3000);
    peer_close(&peer);
    DONE(owner);
}

TEST(after_a_pause_the_sender_has_all_its_time_again)
{
    struct owner owner;
    struct peer peer;

    OPEN(owner, .request_ms = 20000);
    CONNECT(peer, owner);
    EXPECT(peer_say(&peer, "POST /pause HTTP/1.1\r\n" H "Content-Length: 2\r\n\r\n"));
    UNTIL(&owner, owner.parked.count == 1);
    http_pause_body(owner.parked.items[0], false);
    let_pass(&owner, 1200); /* longer than a paused one is left alone */
    EXPECT(peer_say(&peer, "ab"));
    EXPECT_VIEW("2", peer_reply(&peer).body);
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
    let_pass(&owner, 200);
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
