/* Connections of the bus: their requests stay in order and are bounded, one that does not read or says nothing costs little, and whichever way
 * they end, nothing is left. */
#include "tests/unit/bus_fixture.h"

#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "broker/base/assert.h"
#include "broker/edge/bus_listen.h"
#include "schemas/codec/mpack.h"

/* ---- requests that are held ---- */

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

/* ---- answers that are not read, or too large ---- */

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

TEST(only_a_control_call_may_be_larger_than_a_batch)
{
    struct bench *bench = bench_open();
    struct raw raw = raw_hello(bench, FRAME_IPC);
    struct bytes body = { 0 };
    char *arguments = malloc(PROTOCOL_CONTROL_BYTES_MAX);

    on_loop(bench, nothing);
    put_publish(&body, 1, PROTOCOL_MESSAGE_BYTES_MAX);
    EXPECT(raw_send(raw, 1, &body));
    EXPECT_EQ(SLUICE_EINVAL, raw_receive(raw, NULL));
    memset(arguments, ' ', PROTOCOL_CONTROL_BYTES_MAX);
    arguments[0] = '{', arguments[PROTOCOL_CONTROL_BYTES_MAX - 100] = '}', arguments[PROTOCOL_CONTROL_BYTES_MAX - 99] = '\0';
    bytes_clear(&body);
    put_control(&body, arguments);
    EXPECT(raw_send(raw, 2, &body));
    EXPECT_EQ(SLUICE_OK, raw_receive(raw, NULL));
    close(raw.fd);
    free(arguments);
    bytes_done(&body);
    bench_close(bench);
}

TEST(an_answer_too_large_for_a_message_becomes_an_error)
{
    struct bench *bench = bench_open();
    struct raw raw = raw_hello(bench, FRAME_IPC);
    struct bytes body = { 0 };

    on_loop(bench, nothing);
    bench->reply_bytes = PROTOCOL_CONTROL_BYTES_MAX;
    put_control(&body, "{}");
    EXPECT(raw_send(raw, 1, &body));
    EXPECT_EQ(SLUICE_ELIMIT, raw_receive(raw, NULL));
    close(raw.fd);
    bytes_done(&body);
    bench_close(bench);
}

/* ---- ends ---- */

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

/* ---- crowds ---- */

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
