/* Consumers on the bus: who attached speaks for its instance, alone; and how its connection ends, and with which leases, is told. */
#include "tests/unit/bus_fixture.h"

#include <unistd.h>

#include "schemas/codec/mpack.h"

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
