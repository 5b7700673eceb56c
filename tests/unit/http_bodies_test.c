/* Bodies both ways: streamed, paused, cut off, expected, unwanted. */
#include <stdlib.h>
#include <sys/socket.h>

#include "broker/base/assert.h"
#include "tests/test.h"
#include "tests/unit/http_fixture.h"

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

static bool admit_with_little_room(void *ctx, int fd)
{
    (void)ctx;
    return setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &(int){ 16 << 10 }, sizeof(int)) == 0;
}

/* With so little room in the socket some of it is always unsent. */
TEST(what_is_sent_of_a_long_stream_is_forgotten)
{
    static char buffer[32 << 10];
    struct owner owner;
    struct peer peer;
    size_t got = 0;

    OPEN(owner, 0);
    owner.admit = admit_with_little_room;
    CONNECT(peer, owner);
    peer_stall(&peer, true);
    EXPECT(peer_say(&peer, GET("/source")));
    for (int64_t deadline = test_now_ms() + 20000; got < SOURCE_BYTES && test_now_ms() < deadline;) {
        ssize_t count = recv(peer.fd, buffer, sizeof buffer, MSG_DONTWAIT);
        got += count > 0 ? (size_t)count : 0;
        step(&owner);
    }
    EXPECT(got >= SOURCE_BYTES);
    EXPECT(owner.out_max <= 4 * HTTP_UNSENT_HIGH_BYTES);
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

TEST(an_answer_ends_the_pause)
{
    struct owner owner;
    struct peer peer;

    OPEN(owner, 0);
    CONNECT(peer, owner);
    EXPECT(peer_say(&peer, "POST /pause? HTTP/1.1\r\n" H "Content-Length: 3\r\n\r\n"));
    EXPECT_EQ(200, peer_reply(&peer).status);
    EXPECT(peer_say(&peer, "abc" GET("/x")));
    EXPECT_EQ(200, peer_reply(&peer).status);
    EXPECT_EQ(0, owner.body_bytes);
    peer_close(&peer);
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

TEST(nobody_is_told_to_continue_in_the_middle_of_an_answer)
{
    struct owner owner;
    struct peer peer;

    OPEN(owner, 0);
    CONNECT(peer, owner);
    EXPECT(peer_say(&peer, "POST /stream HTTP/1.1\r\n" H "Expect: 100-continue\r\nContent-Length: 3\r\n\r\n"));
    UNTIL(&owner, peer.got.len > 0);
    EXPECT(peer_say(&peer, "abc"));
    struct reply reply = peer_reply(&peer);
    EXPECT_EQ(200, reply.status);
    EXPECT_VIEW("abc", reply.body);
    EXPECT_EQ(peer.at, peer.got.len);
    peer_close(&peer);
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
