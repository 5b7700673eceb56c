/* Each exchange that its owner was told of ends once, whoever ends it, in whatever state. */
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "broker/base/assert.h"
#include "tests/test.h"
#include "tests/unit/http_fixture.h"

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

TEST(a_half_closed_peer_that_breaks_off_then_is_noticed_by_sending)
{
    struct owner owner;
    struct peer peer;

    OPEN(owner, 0);
    CONNECT(peer, owner);
    peer_stall(&peer, true);
    EXPECT(peer_say(&peer, GET("/big")));
    UNTIL(&owner, owner.requests == 1);
    (void)shutdown(peer.fd, SHUT_WR);
    for (unsigned i = 0; i < 5; i++)
        step(&owner);
    EXPECT_EQ(0, owner.ended);
    peer_close(&peer);
    UNTIL(&owner, owner.ends[HTTP_PEER_CLOSED] == 1);
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
    owner.admit = no_more_files;
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
