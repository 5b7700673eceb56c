/* The Runtime API under a seeded storm: clients that send, stop, close and lie at random, an owner that delivers, forgets and pauses at
 * random. Whatever happens: no more is asked for than there are places, each lease ends at most once, and what is closed is taken back.
 * A failure prints its seed: SEED=n runs that one alone. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "broker/api/runtime/runtime_api.h"
#include "broker/base/assert.h"
#include "schemas/codec/bytes.h"
#include "tests/test.h"

enum { SEEDS = 120, SEEDS_LONG = 1000, STEPS = 250, CLIENTS = 6, LEASES_MAX = 1024, INSTANCE = 1 };

enum lease_state { LEASE_NONE, LEASE_RUNNING, LEASE_STREAMING, LEASE_OVER };

struct client {
    int fd;                          /* -1: none */
    bool open;                       /* inside a chunked body */
};

struct storm {
    uint64_t random;
    struct ev_loop *loop;
    struct runtime_api *api;
    uint16_t port;
    struct client clients[CLIENTS];
    unsigned concurrency, wants, running;
    enum lease_state leases[LEASES_MAX];
    bool streams[LEASES_MAX], paused[LEASES_MAX];
    unsigned leases_count;           /* ids 1 .. count */
    unsigned results, failures, wants_total, begins, pieces; /* of all seeds: that the storm reaches what it is for */
    bool init_failed, shut, closed;
};

static unsigned pick(struct storm *storm, unsigned below)
{
    storm->random ^= storm->random << 13;
    storm->random ^= storm->random >> 7;
    storm->random ^= storm->random << 17;
    return (unsigned)(storm->random >> 33) % below;
}

/* ---- the owner ---- */

static void on_wants(void *ctx, uint64_t instance)
{
    struct storm *storm = ctx;

    EXPECT_EQ(INSTANCE, instance);
    EXPECT(!storm->closed && !storm->shut && !storm->init_failed);
    storm->wants++;
    storm->wants_total++;
    EXPECT(storm->wants + storm->running <= storm->concurrency);
}

static void on_wants_cancel(void *ctx, uint64_t instance)
{
    struct storm *storm = ctx;

    EXPECT_EQ(INSTANCE, instance);
    EXPECT(!storm->closed && !storm->shut && storm->wants > 0);
    storm->wants--;
}

static void on_result(void *ctx, uint64_t instance, uint64_t lease, const struct failure *failure, struct view result,
                      struct view content_type)
{
    struct storm *storm = ctx;

    (void)instance, (void)content_type;
    EXPECT(!storm->closed && lease <= storm->leases_count);
    EXPECT(storm->leases[lease] == LEASE_RUNNING || storm->leases[lease] == LEASE_STREAMING);
    EXPECT(failure == NULL || failure->type.len > 0);
    EXPECT(result.len == 0 || result.data != NULL);
    storm->leases[lease] = LEASE_OVER;
    storm->running--;
    storm->results++;
    storm->failures += failure != NULL;
}

static bool on_stream_begin(void *ctx, uint64_t instance, uint64_t lease, struct view content_type)
{
    struct storm *storm = ctx;

    (void)instance, (void)content_type;
    EXPECT(storm->streams[lease] && storm->leases[lease] == LEASE_RUNNING);
    storm->leases[lease] = LEASE_STREAMING;
    storm->begins++;
    return pick(storm, 5) > 0;
}

static bool on_stream_piece(void *ctx, uint64_t instance, uint64_t lease, struct view piece)
{
    struct storm *storm = ctx;

    (void)instance;
    EXPECT(storm->leases[lease] == LEASE_STREAMING && !storm->paused[lease] && piece.len > 0);
    storm->paused[lease] = pick(storm, 2) == 0;
    storm->pieces++;
    return !storm->paused[lease];
}

static void on_init_error(void *ctx, uint64_t instance, const struct failure *failure, struct view body)
{
    struct storm *storm = ctx;

    (void)instance, (void)failure, (void)body;
    EXPECT(!storm->init_failed && storm->wants_total == 0);
    storm->init_failed = true;
}

static void on_extension(void *ctx, uint64_t instance)
{
    (void)ctx, (void)instance;
}

static void on_extensions_done(void *ctx, uint64_t instance)
{
    (void)ctx, (void)instance; /* there are none */
    EXPECT(false);
}

static void deliver(struct storm *storm)
{
    char id[24];

    if (storm->wants == 0 || storm->leases_count + 1 >= LEASES_MAX)
        return;
    uint64_t lease = ++storm->leases_count;
    (void)snprintf(id, sizeof id, "id-%" PRIu64, lease);
    storm->leases[lease] = LEASE_RUNNING;
    storm->streams[lease] = pick(storm, 2) == 0;
    storm->wants--;
    storm->running++;
    runtime_deliver(
        storm->api, INSTANCE,
        &(struct runtime_invocation){
            .lease = lease, .request_id = id, .arn = "arn", .payload = VIEW_LITERAL("{}"), .streams = storm->streams[lease] });
}

static uint64_t recent_lease(struct storm *storm)
{
    unsigned back = pick(storm, 3) == 0 ? 1 + pick(storm, 3) : 0;

    return storm->leases_count > back ? storm->leases_count - back : 1;
}

static void forget(struct storm *storm, uint64_t lease)
{
    if (storm->leases[lease] == LEASE_RUNNING || storm->leases[lease] == LEASE_STREAMING)
        storm->running--;
    storm->leases[lease] = LEASE_OVER;
    runtime_forget(storm->api, INSTANCE, lease);
}

static void resume(struct storm *storm)
{
    uint64_t lease = recent_lease(storm);

    storm->paused[lease] = false;
    runtime_resume(storm->api, INSTANCE, lease);
}

/* ---- the clients ---- */

static void client_connect(struct storm *storm, struct client *client)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_port = htons(storm->port),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

    *client = (struct client){ .fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0) };
    ASSERT(client->fd >= 0 && connect(client->fd, (struct sockaddr *)&address, sizeof address) == 0);
    (void)fcntl(client->fd, F_SETFL, O_NONBLOCK);
}

static void client_close(struct storm *storm, struct client *client)
{
    if (client->fd >= 0 && pick(storm, 2) == 0) /* with a reset */
        (void)setsockopt(client->fd, SOL_SOCKET, SO_LINGER, &(struct linger){ .l_onoff = 1 }, sizeof(struct linger));
    if (client->fd >= 0)
        (void)close(client->fd);
    client->fd = -1;
}

/* What is not taken is lost: torn requests are part of the storm. */
static void client_send(struct client *client, const char *text)
{
    char buffer[4096];
    ssize_t got;

    (void)!send(client->fd, text, strlen(text), MSG_NOSIGNAL);
    do
        got = recv(client->fd, buffer, sizeof buffer, 0);
    while (got > 0);
    if (got == 0 || errno != EAGAIN) { /* the server has closed it */
        (void)close(client->fd);
        client->fd = -1;
    }
}

static void client_next(struct client *client)
{
    client_send(client, "GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: x\r\n\r\n");
}

static void client_post(struct storm *storm, struct client *client)
{
    static const struct { const char *text; bool open; } heads[] = {
        { "Content-Length: 2\r\n\r\n{}", false },
        { "Transfer-Encoding: chunked\r\n\r\n", true },
        { "Transfer-Encoding: chunked\r\nLambda-Runtime-Function-Response-Mode: streaming\r\n\r\n2\r\n{}\r\n", true },
        { "Transfer-Encoding: chunked\r\nLambda-Runtime-Function-Response-Mode: streaming\r\n\r\n2\r\n{}\r\n0\r\n\r\n", false },
        { "Content-Length: 200\r\n\r\n{", false },
        { "Lambda-Runtime-Function-Response-Mode: odd\r\nContent-Length: 0\r\n\r\n", false },
        { "Content-Length: 7000000\r\n\r\n{", false },
    };
    unsigned head = pick(storm, pick(storm, 3) == 0 ? sizeof heads / sizeof *heads : 4);
    char text[512];

    (void)snprintf(text, sizeof text, "POST /2018-06-01/runtime/invocation/id-%" PRIu64 "/%s HTTP/1.1\r\nHost: x\r\n%s",
                   recent_lease(storm), pick(storm, 4) == 0 ? "error" : "response", heads[head].text);
    client->open = heads[head].open;
    client_send(client, text);
}

/* Of a chunked body. */
static void client_piece(struct storm *storm, struct client *client)
{
    static const struct { const char *text; bool open;
    } pieces[] = {
        { "4\r\ntext\r\n", true },
        { "4\r\ntext\r\n", true },
        { "0\r\n\r\n", false },
        { "0\r\nLambda-Runtime-Function-Error-Type: Function.X\r\nLambda-Runtime-Function-Error-Body: e30=\r\n\r\n", false },
        { "zz\r\n", false },
    };
    unsigned piece = pick(storm, sizeof pieces / sizeof *pieces);

    client->open = pieces[piece].open;
    client_send(client, pieces[piece].text);
}

static void client_act(struct storm *storm, struct client *client)
{
    unsigned what = pick(storm, 12);

    if (client->fd < 0)
        client_connect(storm, client);
    if (what == 0)
        client_close(storm, client);
    else if (client->open && what < 10)
        client_piece(storm, client);
    else if (what < 6)
        client_next(client);
    else if (what < 11)
        client_post(storm, client);
    else
        client_send(client, pick(storm, 8) > 0
                                ? ""
                                : "POST /2018-06-01/runtime/init/error HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}");
}

/* ---- the storm ---- */

static void pass(struct storm *storm)
{
    for (unsigned i = 0; i < 4; i++)
        ev_run(storm->loop, EVRUN_NOWAIT);
}

static void step(struct storm *storm)
{
    switch (pick(storm, 16)) {
    case 0: forget(storm, recent_lease(storm)); break;
    case 1: resume(storm); break;
    case 2:
    case 3:
    case 4:
    case 5: deliver(storm); break;
    case 6:
        switch (pick(storm, 60)) {
        case 0:
            storm->shut = true;
            storm->wants = 0;
            (void)runtime_shutdown(storm->api, INSTANCE, "spindown", 0);
            break;
        case 1:
        case 2: runtime_cut(storm->api, INSTANCE); break;
        default: break;
        }
        break;
    default: client_act(storm, &storm->clients[pick(storm, CLIENTS)]);
    }
    if (pick(storm, 3) > 0)
        ev_run(storm->loop, EVRUN_NOWAIT);
}

static void storm_run(uint64_t seed, struct storm *totals)
{
    static struct storm storm;
    struct sluice_error error;

    storm = (struct storm){ .random = seed * UINT64_C(0x9e3779b97f4a7c15) + 1, .concurrency = 1 + (unsigned)(seed % 3) };
    storm.loop = ev_loop_new(0);
    struct runtime_events events = { .ctx = &storm,
                                     .on_wants = on_wants,
                                     .on_wants_cancel = on_wants_cancel,
                                     .on_result = on_result,
                                     .on_stream_begin = on_stream_begin,
                                     .on_stream_piece = on_stream_piece,
                                     .on_init_error = on_init_error,
                                     .on_extension = on_extension, .on_extensions_done = on_extensions_done };
    struct config_function function = { .name = "f", .directory = "/", .concurrency = storm.concurrency };
    ASSERT(runtime_api_new(storm.loop, &events, &storm.api, &error) == SLUICE_OK);
    ASSERT(runtime_open(storm.api, INSTANCE, &function, false, &storm.port, &error) == SLUICE_OK);
    runtime_started(storm.api, INSTANCE, getpid());
    for (unsigned i = 0; i < CLIENTS; i++)
        storm.clients[i].fd = -1;
    for (unsigned i = 0; i < STEPS; i++)
        step(&storm);
    for (unsigned i = 0; i < CLIENTS; i++)
        client_close(&storm, &storm.clients[i]);
    for (uint64_t lease = 1; lease <= storm.leases_count;
         lease++) { /* none stays paused: what is not read is not seen to be closed, either */
        storm.paused[lease] = false;
        runtime_resume(storm.api, INSTANCE, lease);
    }
    pass(&storm);
    EXPECT_EQ(0, storm.wants);
    storm.closed = pick(&storm, 2) == 0;
    if (storm.closed)
        runtime_close(storm.api, INSTANCE);
    storm.closed = true;
    runtime_api_free(storm.api);
    ev_loop_destroy(storm.loop);
    totals->results += storm.results, totals->failures += storm.failures, totals->wants_total += storm.wants_total;
    totals->begins += storm.begins, totals->pieces += storm.pieces;
}

TEST(a_storm_breaks_nothing)
{
    const char *only = getenv("SEED");
    struct storm totals = { 0 };
    char label[64];

    uint64_t first = only != NULL ? strtoull(only, NULL, 10) : 1, last = only != NULL                    ? first
                                                                         : getenv("SLUICE_LONG") != NULL ? SEEDS_LONG
                                                                                                         : SEEDS;
    for (uint64_t seed = first; seed <= last; seed++) {
        (void)snprintf(label, sizeof label, "SEED=%" PRIu64, seed);
        test_label(label);
        storm_run(seed, &totals);
    }
    test_label(NULL);
    printf("     %u wants, %u results, %u failures, %u streams, %u pieces\n", totals.wants_total, totals.results, totals.failures,
           totals.begins, totals.pieces);
    if (only != NULL)
        return;
    EXPECT(totals.results > SEEDS && totals.failures > SEEDS / 2 && totals.wants_total > totals.results);
    EXPECT(totals.begins > SEEDS / 4 && totals.pieces > SEEDS / 4);
}
