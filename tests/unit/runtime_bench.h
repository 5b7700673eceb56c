/* runtime_bench.h - a Runtime API on a real loop, an owner that notes what it is told, and raw HTTP clients in the same process. */
#ifndef SLUICE_TESTS_RUNTIME_BENCH_H
#define SLUICE_TESTS_RUNTIME_BENCH_H

#include <ev.h>

#include "broker/api/runtime/runtime_api.h"
#include "schemas/codec/bytes.h"

enum { BENCH_INSTANCE = 5, BENCH_WAIT_MS_MAX = 20000 };

struct bench {
    struct ev_loop *loop;
    struct runtime_api *api;
    struct config_function function;
    uint16_t port;
    bool begin_refused, piece_refused;   /* what on_stream_begin and on_stream_piece answer */
    size_t pieces_bytes;                 /* of a stream; its pieces are not noted beyond some */
    bool close_in_result;                /* runtime_close() from within on_result */
    struct bytes heard;                  /* "wants ok7:{} fail7:Type:{...}": a word a callback, a space behind each */
};

struct bench_options {
    unsigned concurrency;                /* 0: 1 */
    const char *directory;
    bool provisioned;
    bool not_started;                    /* runtime_started() is left to the test */
    pid_t pid;                           /* 0: the test's own process */
};
struct bench *bench_open(struct bench_options options);
void bench_close(struct bench *bench);
void bench_deliver(struct bench *bench, uint64_t lease, const char *payload);        /* request id "id-LEASE" */
void bench_deliver_streamed(struct bench *bench, uint64_t lease, const char *payload);
/* What was heard since the last call. */
const char *bench_heard(struct bench *bench);
/* Runs the loop until `done(ctx)`; false: not within BENCH_WAIT_MS_MAX. */
bool bench_until(struct bench *bench, bool (*done)(void *ctx), void *ctx);
/* Runs the loop until `text` was heard; what was heard stays. */
bool bench_until_heard(struct bench *bench, const char *text);
void bench_pass(struct bench *bench);    /* what can happen without waiting, happens */

struct client {
    struct bench *bench;
    int fd;
    struct bytes in;
    size_t taken;                        /* bytes of `in` that belong to earlier answers */
};
struct answer {
    int status;                          /* 0: the connection was closed without one */
    char head[4096];
    struct view body;                    /* in the client's buffer, until its next answer */
};
void client_open(struct client *client, struct bench *bench);
void client_open_port(struct client *client, struct bench *bench, uint16_t port);
void client_close(struct client *client);
void client_send(struct client *client, struct view bytes);      /* all of it; the loop runs meanwhile */
void client_send_text(struct client *client, const char *text);
/* METHOD PATH with a body and further header lines, each ended by \r\n (NULL: none). */
void client_request(struct client *client, const char *method, const char *path, const char *headers, struct view body);
struct answer client_answer(struct client *client);
bool client_waits(struct client *client);                        /* after a pass of the loop it is open, and has no answer */
bool client_closed(struct client *client);                       /* by the server, within the deadline */
/* The value of a header line; static buffer; NULL: absent. */
const char *answer_header(const struct answer *answer, const char *name);
/* One request on a connection of its own. */
struct answer ask(struct client *client, struct bench *bench, const char *method, const char *path, const char *headers, const char *body);

#define NEXT_PATH "/2018-06-01/runtime/invocation/next"
#define INIT_ERROR_PATH "/2018-06-01/runtime/init/error"
#define RESPONSE_PATH(id) "/2018-06-01/runtime/invocation/" id "/response"
#define ERROR_PATH(id) "/2018-06-01/runtime/invocation/" id "/error"

#endif
