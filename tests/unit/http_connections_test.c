/* Connections: which are kept, in which order their requests are answered, who hears that a peer has gone, and what one costs. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "broker/edge/http_internal.h"
#include "tests/test.h"
#include "tests/unit/http_fixture.h"

TEST(a_connection_is_kept_unless_one_side_says_no)
{
    static const struct { const char *label, *request; bool kept; const char *connection; } rows[] = {
        { "HTTP/1.1", GET("/x"), true, NULL },
        { "HTTP/1.1 close", "GET /x HTTP/1.1\r\n" H "Connection: close\r\n\r\n", false, "close" },
        { "HTTP/1.1 other, close", "GET /x HTTP/1.1\r\n" H "Connection: te, Close\r\n\r\n", false, "close" },
        { "HTTP/1.1 closed, which is no close", "GET /x HTTP/1.1\r\n" H "Connection: closed, clos, close;x, x close\r\n\r\n", true, NULL },
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

/* Both requests are served in one round of the loop. */
TEST(an_answer_leaves_before_the_next_request_of_the_round_is_served)
{
    struct owner owner;
    struct peer peers[2];
    unsigned answered = 0;

    OPEN(owner, 0);
    for (unsigned i = 0; i < 2; i++)
        CONNECT(peers[i], owner);
    UNTIL(&owner, http_listener_connections(owner.listener) == 2);
    for (unsigned i = 0; i < 2; i++) {
        owner.looked_at[i] = peers[i].fd;
        EXPECT_EQ(sizeof GET("/look") - 1, send(peers[i].fd, GET("/look"), sizeof GET("/look") - 1, 0));
    }
    for (unsigned i = 0; i < 2; i++)
        answered += view_is(peer_reply(&peers[i]).body, "yes");
    EXPECT_EQ(1, answered);
    for (unsigned i = 0; i < 2; i++)
        peer_close(&peers[i]);
    DONE(owner);
}

TEST(peers_that_pipeline_do_not_keep_the_loop_to_themselves)
{
    enum { PEERS = 8, REQUESTS = 1000 };
    struct bytes all = { 0 };
    struct owner owner;
    struct peer peers[PEERS];
    unsigned served_max = 0;

    OPEN(owner, 0);
    for (unsigned i = 0; i < REQUESTS; i++)
        bytes_put_text(&all, GET("/x"));
    for (unsigned i = 0; i < PEERS; i++)
        CONNECT(peers[i], owner);
    UNTIL(&owner, http_listener_connections(owner.listener) == PEERS);
    for (unsigned i = 0; i < PEERS; i++)
        EXPECT_EQ(all.len, send(peers[i].fd, all.data, all.len, MSG_DONTWAIT));
    for (int64_t deadline = test_now_ms() + 20000; owner.ended < PEERS * REQUESTS && test_now_ms() < deadline;) {
        unsigned before = owner.requests;
        step(&owner);
        served_max = owner.requests - before > served_max ? owner.requests - before : served_max;
    }
    EXPECT_EQ(PEERS * REQUESTS, owner.ended);
    EXPECT(served_max <= HTTP_SENDS_PER_ROUND + PEERS);
    for (unsigned i = 0; i < PEERS; i++)
        peer_close(&peers[i]);
    bytes_done(&all);
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
    owner.admit = admit_second;
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

TEST(while_the_listener_pauses_peers_wait_in_the_kernels_queue)
{
    struct owner owner;
    struct peer peer;

    OPEN(owner, 0);
    http_listener_pause(owner.listener, true);
    CONNECT(peer, owner);
    EXPECT(peer_say(&peer, GET("/x")));
    for (unsigned i = 0; i < 5; i++)
        step(&owner);
    EXPECT_EQ(0, http_listener_connections(owner.listener));
    http_listener_pause(owner.listener, false);
    EXPECT_EQ(200, peer_reply(&peer).status);
    peer_close(&peer);
    DONE(owner);
}

TEST(a_peer_over_ipv4_has_an_ipv4_address_also_at_an_ipv6_listener)
{
    struct owner owner;
    struct peer peer;

    if (!owner_open(&owner, "[::]:0", NULL)) /* a host may be without IPv6 */
        return ev_loop_destroy(owner.loop);
    CONNECT(peer, owner);
    EXPECT(peer_say(&peer, GET("/x")));
    EXPECT_EQ(200, peer_reply(&peer).status);
    peer_close(&peer);
    DONE(owner); /* the owner has compared it */
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
    struct owner owner;

    OPEN(owner, 0);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct http_listener *listener = NULL;
        struct sluice_error error = { 0 };
        test_label(rows[i].address);
        enum sluice_err err = http_listen(owner.server, rows[i].address, &owner, &listener, &error);
        EXPECT(err == rows[i].err || (err == SLUICE_EIO && rows[i].address[0] == '[')); /* a host may be without IPv6 */
        EXPECT_EQ(err == SLUICE_OK, listener != NULL);
        EXPECT_EQ(err != SLUICE_OK, error.text[0] != '\0');
        if (listener != NULL)
            EXPECT(http_listener_port(listener) != 0);
        http_listener_close(listener);
    }
    char taken[32];
    struct http_listener *listener = NULL;
    struct sluice_error error;
    (void)snprintf(taken, sizeof taken, "127.0.0.1:%u", http_listener_port(owner.listener));
    test_label("a port in use");
    EXPECT_EQ(SLUICE_EIO, http_listen(owner.server, taken, &owner, &listener, &error));
    test_label(NULL);
    DONE(owner);
}
