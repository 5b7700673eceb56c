/* api_fixture.h - the HTTP port on a real socket, over an engine that only is looked at and hands that note what they are asked.
 *
 *   struct client (a socket on the same loop) ──HTTP──> api ──> struct bench: invokes, publishes; the test answers them */
#ifndef SLUICE_API_FIXTURE_H
#define SLUICE_API_FIXTURE_H

#include <ev.h>

#include "broker/api/api.h"
#include "broker/base/arena.h"
#include "broker/base/vec.h"
#include "schemas/codec/bytes.h"
#include "tests/test.h"

enum { BENCH_WAIT_MS_MAX = 20000 };

struct publish_seen {
    struct publish publish;              /* its events live until it is answered */
    bool cancelled;
};
struct bench {
    struct ev_loop *loop;
    struct api *api;
    struct arena *arena;
    struct config config;
    struct engine *engine;
    enum sluice_err invoke_err;          /* what the engine says to the next invokes */
    bool not_ready;
    VEC(uint64_t) invokes;               /* not answered yet */
    VEC(uint32_t) functions;             /* of them */
    VEC(uint64_t) cancelled, resumed;
    VEC(struct publish_seen) publishes;  /* all there were */
};

void bench_open(struct bench *bench);
void bench_close(struct bench *bench);
/* Runs the loop until `true_of(ctx)`; fails the test at the deadline. */
void bench_run(struct bench *bench, bool (*true_of)(void *ctx), void *ctx);
void bench_wait_invokes(struct bench *bench, size_t count);
void bench_wait_publishes(struct bench *bench, size_t count);
void bench_wait_cancelled(struct bench *bench, size_t count);
/* The oldest unanswered invoke: what it brings, then its answer. */
const struct api_invocation *bench_invocation(struct bench *bench);
void bench_answer(struct bench *bench, const char *result);
void bench_fail(struct bench *bench, const char *type, const char *message, const char *result);
void bench_answer_outcome(struct bench *bench, enum invoke_outcome outcome);
/* The last publish: answered as committed, all accepted. */
void bench_committed(struct bench *bench);
/* The index-th event of a publish. */
struct event bench_event(const struct publish_seen *seen, unsigned index);

struct client {
    struct bench *bench;
    int fd;
    ev_io watcher;
    struct bytes out, in;
    size_t sent;
    bool closed;
    bool head;                           /* the answer to come has no body */
};
struct reply {
    unsigned status;
    struct view head, body;              /* the body without its chunks; views into reply.bytes */
    struct bytes bytes;
};
void client_open(struct client *client, struct bench *bench);
void client_close(struct client *client);
void client_send(struct client *client, struct view bytes);
/* What SDKs ask for; EVENT: headers of an asynchronous INVOKE. */
#define INVOKE "POST /2015-03-31/functions/f/invocations"
#define EVENT "X-Amz-Invocation-Type: Event\r\n"
#define JSON11(operation) "Content-Type: application/x-amz-json-1.1\r\nX-Amz-Target: AWSEvents." operation "\r\n"

/* "POST /path" and header lines "Name: value\r\n"; Host and Content-Length are put in. */
void client_ask(struct client *client, const char *line, const char *headers, struct view body);
/* The next whole answer. Free it by reply_done(). */
void client_answer(struct client *client, struct reply *ret_reply);
void reply_done(struct reply *reply);
/* The value of a header; "" when absent. In a static buffer. */
const char *reply_header(const struct reply *reply, const char *name);
/* Both: what was asked is answered without a hand's doing. */
void ask(struct bench *bench, const char *line, const char *headers, struct view body, struct reply *ret_reply);
/* Events as SDKs try them: the first caller gives up before they are committed, a second one asks for the same and waits, and asks once more behind
 * its answer. Both answers, which must be those of one request, and there must be one publish. */
void ask_three_times(struct bench *bench, const char *line, const char *headers, struct view body, struct reply *ret_reply, struct reply *ret_again);

#endif
