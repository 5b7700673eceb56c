/* http_fixture.h - an HTTP server whose owner does what the path of a request says, and peers that send any bytes, on one thread and one
 * loop: a step of the test is one round of it. */
#ifndef SLUICE_TESTS_HTTP_FIXTURE_H
#define SLUICE_TESTS_HTTP_FIXTURE_H

#include <ev.h>

#include "broker/base/vec.h"
#include "broker/edge/http.h"
#include "schemas/codec/bytes.h"
#include "tests/test.h"

enum { HTTP_ENDS = HTTP_CLOSED + 1, SOURCE_BYTES = 8 << 20, SOURCE_PIECE_BYTES = 16 << 10 };

struct owner {
    struct ev_loop *loop;
    ev_timer tick;
    struct http_server *server;
    struct http_listener *listener;      /* NULL: closed */
    bool (*admit)(void *ctx, int fd);    /* NULL: all */
    bool close_in_end;                   /* http_listener_close() from on_end */
    int looked_at[2];                    /* of peers: see /look */
    /* What it saw. */
    unsigned heads, requests, drained, ended, ends[HTTP_ENDS], admits;
    unsigned mistakes;                   /* callbacks that should not have come */
    size_t body_bytes, unsent_max;
    size_t out_max;                      /* the largest buffer of a streamed answer */
    struct bytes last;                   /* "METHOD path?query", of the last head */
    VEC(struct http_exchange *) parked;  /* answered by the test */
};

/*  path              the owner
 *  /echo             answers with the collected body               /stream     sends back the body as it comes, heeding backpressure
 *  /park             leaves it in owner->parked                    /sink       streams the body and answers with its length
 *  /head /body       answers from on_head, or from on_body         /source     streams SOURCE_BYTES
 *  /begin            begins, never ends; in owner->parked          /big        answers with SOURCE_BYTES at once
 *  /pause            streams, pauses in on_head; in ->parked       /small      limits the body to 4 bytes
 *  /pause?           and answers there                             /flood      streams, and does not heed backpressure
 *  /header           answers with header X-T                       /look         answers whether one of looked_at has something to read
 *  /trailer          answers with trailer X-T                      /fields     answers with "name=value\n" of each header
 *  /abort-head /abort-body /abort-request /abort-drained, /close-...: does that there
 *  /204 /close       no content; asks for the connection's end    */
bool owner_open(struct owner *owner, const char *address, const struct http_limits *limits);
void owner_done(struct owner *owner);    /* also says whether each head ended once: mistakes stay 0 */

struct peer {
    struct owner *owner;
    int fd;
    struct bytes got;
    size_t at;                           /* replies before it were taken */
    bool ended, reset;
    struct bytes decoded;                /* of a chunked body, up to chunks_at */
    size_t chunks_at;
    ev_io readable;
};
struct reply {
    unsigned status;                     /* 0: none came */
    struct view head, body;
};

bool peer_open(struct peer *peer, struct owner *owner);
void peer_close(struct peer *peer);      /* before its owner is done */
void peer_stall(struct peer *peer, bool stalled);   /* does not read */
/* As much as the socket takes while the loop runs; false: the server does not read on, or closed. */
bool peer_send(struct peer *peer, const void *data, size_t len);
bool peer_say(struct peer *peer, const char *text);
/* Byte by byte, the loop running between. */
bool peer_dribble(struct peer *peer, const void *data, size_t len);
/* Waits for the next whole answer. */
struct reply peer_reply(struct peer *peer);
struct reply peer_reply_to_head(struct peer *peer);
bool peer_waits_for_end(struct peer *peer);   /* false: the connection is still there after the deadline */
struct view reply_field(struct reply reply, const char *name);

/* Answers owner->parked. */
void answer_parked(struct owner *owner, size_t index, const char *body);
char *zeros(size_t len);                 /* freed by the caller */
size_t allocated_bytes(void);            /* by the whole program */

#define H "Host: a\r\n"
#define GET(path) "GET " path " HTTP/1.1\r\n" H "\r\n"
/* First in each test, with limits that are not the default. */
#define OPEN(owner_, ...)                                                                       \
    struct http_limits limits_ = { __VA_ARGS__ };                                               \
    if (!owner_open(&(owner_), "127.0.0.1:0", &limits_)) return test_fail(__FILE__, __LINE__, "no listener")
#define CONNECT(peer_, owner_) if (!peer_open(&(peer_), &(owner_))) return test_fail(__FILE__, __LINE__, "no connection")
/* Last in each test. */
#define DONE(owner_) owner_done(&(owner_)); EXPECT_EQ(0, (owner_).mistakes)

void step(struct owner *owner);          /* waits at most a few ms */
int64_t test_now_ms(void);
/* Steps until the condition holds, or fails the test by its value. */
#define UNTIL_WITHIN(owner_, ms_, condition_)                                                                     \
    do {                                                                                                          \
        for (int64_t deadline_ = test_now_ms() + (ms_); !(condition_) && test_now_ms() < deadline_;) step(owner_); \
        EXPECT(condition_);                                                                                       \
    } while (0)
#define UNTIL(owner_, condition_) UNTIL_WITHIN(owner_, 20000, condition_)

#endif
