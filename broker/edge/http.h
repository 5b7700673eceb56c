/* http.h - HTTP/1.1 on the loop: one server for every door that speaks HTTP.
 *
 *   head parsed ──on_head──> body ──on_body (streamed) or collected──> on_request ──> http_respond(), or http_begin() http_write()* http_end()
 *                                                                          └── may answer at once, or any time later: parked
 *
 * An exchange is one request and its answer. A connection has one exchange at a time: what a peer pipelines behind it waits in a bounded
 * buffer and then in the socket, so answers keep the order of requests and nobody can make us hold more than one body.
 * Translates and bounds; knows no path and no JSON. Strict where smuggling begins: Content-Length with Transfer-Encoding, two lengths, a bare
 * LF, "Host :", no Host, obs-fold, a bad chunk size are 400 and the end of the connection (http_guard.h). The parser sits behind http_parse.h.
 * A connection that waits holds no buffer: a parked request is its head and some 450 bytes. A listener is 170: an instance has one each.
 *
 * A server is what ports of one kind share: limits, handler, timer. Each port is a listener of its own, with its own ctx.
 * All calls and callbacks on the loop's thread. Callbacks come from the loop, and once more from http_listener_close() (on_end). Calls may be made
 * from inside a callback. Views of a request (method, path, headers, body) live until its exchange ends. */
#ifndef SLUICE_EDGE_HTTP_H
#define SLUICE_EDGE_HTTP_H

#include <ev.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "schemas/codec/view.h"
#include "sluice/error.h"

struct http_server;
struct http_listener;
struct http_exchange;

struct http_limits {                 /* 0: the default named here */
    unsigned connections_max;        /* HTTP_CONNECTIONS_MAX; over it the longest idle one goes, else the new one is refused with 503 */
    size_t line_bytes_max;           /* HTTP_LINE_BYTES_MAX: the request line (414), and each header line (431), CRLF included */
    size_t head_bytes_max;           /* HTTP_HEAD_BYTES_MAX, more where lines may be longer: all of them together, and trailers again; 431 */
    size_t body_bytes_max;           /* HTTP_BODY_BYTES_MAX, of a body that is collected; 413. on_head may set another */
    size_t bodies_bytes_max;         /* HTTP_BODIES_BYTES_MAX, of all requests that are held: collected bodies, heads, what is read ahead; 503 */
    size_t unsent_bytes_max;         /* HTTP_UNSENT_SUM_MAX, of all answers that peers do not take; beyond, who took nothing for longest is cut off */
    int64_t idle_ms;                 /* HTTP_IDLE_MS: a kept connection between requests */
    int64_t request_ms;              /* HTTP_REQUEST_MS: from the first byte of a head to its end, and between two pieces of a body; a collected
                                      * body has HTTP_BODY_WAITS of these and a second for each HTTP_BODY_RATE_MIN bytes in all; 408 */
    int64_t send_ms;                 /* HTTP_SEND_MS: a peer that takes nothing of its answer for so long is cut off */
};
enum {
    HTTP_CONNECTIONS_MAX = 4096,
    HTTP_LINE_BYTES_MAX = 16 << 10, HTTP_HEAD_BYTES_MAX = 64 << 10, HTTP_HEADERS_MAX = 100,
    HTTP_BODY_BYTES_MAX = 6 << 20, HTTP_BODIES_BYTES_MAX = 256 << 20, HTTP_UNSENT_SUM_MAX = 256 << 20,
    HTTP_BODY_WAITS = 4, HTTP_BODY_RATE_MIN = 1024,
    HTTP_IDLE_MS = 75000, HTTP_REQUEST_MS = 20000, HTTP_SEND_MS = 60000,
    HTTP_PIPELINED_BYTES_MAX = 16 << 10, /* behind a request that is not answered yet: what is more stays in the socket */
    HTTP_UNSENT_HIGH_BYTES = 256 << 10, /* of a streamed answer: stop writing; on_drained says when it is below a quarter of it */
};

enum http_end {
    HTTP_DONE,                       /* answered, and the answer has left for the socket, perhaps before all of the body came */
    HTTP_PEER_CLOSED,                /* the peer closed, or the connection broke, before that */
    HTTP_TRUNCATED,                  /* the peer closed inside its own body, or sent a body that is no HTTP: on_request was not called */
    HTTP_TIMED_OUT,                  /* the peer was too slow; it was told if it can be */
    HTTP_REFUSED,                    /* the server answered by itself after on_head: the body is over its limit */
    HTTP_CLOSED,                     /* by http_abort() or http_listener_close() */
};

/* `ctx` is the listener's. */
struct http_handler {
    /* Asked once for each accepted connection, before anything is read; false: it is closed. For listeners that serve one process only. NULL: all
     * are let in. */
    bool (*admit)(void *ctx, int fd);
    /* The request's line and headers are here, the body is not. May set http_set_user(), http_limit_body(), http_stream_body(), or answer:
     * then on_request is not called, the body is read and thrown away up to its limit, or the connection closed. An answer that is only begun
     * changes nothing: body and on_request come. NULL: every body is collected. "Expect: 100-continue" is answered after it, unless it answered. */
    void (*on_head)(void *ctx, struct http_exchange *exchange);
    /* A piece of a streamed body, as it comes. */
    void (*on_body)(void *ctx, struct http_exchange *exchange, struct view piece);
    /* The request is whole; trailers are among its headers by http_trailer(). Answer now or later. */
    void (*on_request)(void *ctx, struct http_exchange *exchange);
    /* Streamed answer: unsent bytes were more than a quarter of HTTP_UNSENT_HIGH_BYTES, and no longer are. May be NULL. */
    void (*on_drained)(void *ctx, struct http_exchange *exchange);
    /* The last word about the exchange, exactly once, whether answered or not; only for those that on_head (or on_request) was told of. Views are still
     * good, calls do nothing. A peer that closes, or only its sending side, is noticed at once, also while its request is parked; behind more than
     * HTTP_PIPELINED_BYTES_MAX of pipelined requests, within a second or so; while its body is paused, only when the connection breaks. May be NULL. */
    void (*on_end)(void *ctx, struct http_exchange *exchange, enum http_end end);
};

/* Limits (NULL: the defaults) and handler are copied. NULL: out of memory. */
struct http_server *http_server_new(struct ev_loop *loop, const struct http_limits *limits, const struct http_handler *handler);
struct http_server *http_server_free(struct http_server *server);       /* its listeners are closed; not from a callback. NULL is fine; returns NULL */
/* `address`: "127.0.0.1:4566", "[::1]:0"; port 0: any free one, http_listener_port() tells. SLUICE_EINVAL: no such address; SLUICE_EIO. */
enum sluice_err http_listen(struct http_server *server, const char *address, void *ctx, struct http_listener **ret_listener,
                            struct sluice_error *reterr);
/* Other bounds than the server's limits say, for this listener. `bytes_max`: of requests, and of answers. */
void http_listener_bound(struct http_listener *listener, unsigned connections_max, size_t bytes_max);
/* Stops listening and closes its connections; what they had parked ends with HTTP_CLOSED. NULL is fine. */
void http_listener_close(struct http_listener *listener);
uint16_t http_listener_port(const struct http_listener *listener);
unsigned http_listener_connections(const struct http_listener *listener);
/* Who connects meanwhile waits in the kernel's queue, and is accepted later. */
void http_listener_pause(struct http_listener *listener, bool paused);

/* ---- the request ---- */
struct view http_method(const struct http_exchange *exchange);          /* "GET" */
struct view http_path(const struct http_exchange *exchange);            /* as it came, percent-encoded, without the query; begins with '/' */
struct view http_query(const struct http_exchange *exchange);           /* without '?'; data NULL: none */
/* Value of the first header of that name (any case); data NULL: none. */
struct view http_header(const struct http_exchange *exchange, const char *name);
struct http_field { struct view name, value; };
unsigned http_headers_count(const struct http_exchange *exchange);
struct http_field http_header_at(const struct http_exchange *exchange, unsigned index);
struct view http_trailer(const struct http_exchange *exchange, const char *name);   /* from on_request on */
struct view http_body(const struct http_exchange *exchange);            /* collected; from on_request on, until the callback that answers has returned */
bool http_peer_address(const struct http_exchange *exchange, char *buffer, size_t size); /* "127.0.0.1" */
int http_socket(const struct http_exchange *exchange);                  /* to ask the kernel who is at its other end; not to be read or written */
void http_set_user(struct http_exchange *exchange, void *user);
void *http_user(const struct http_exchange *exchange);
struct http_listener *http_listener_of(const struct http_exchange *exchange);

/* ---- while the body comes; from on_head ---- */
void http_limit_body(struct http_exchange *exchange, size_t bytes_max);
void http_stream_body(struct http_exchange *exchange);                  /* on_body instead of collecting; no limit but the handler's own */
void http_pause_body(struct http_exchange *exchange, bool paused);      /* of a streamed one: nothing more is read while paused */

/* ---- the answer ---- */
struct http_answer_field { const char *name; struct view value; };      /* value without CR, LF: asserted */
/* Whole answer. Content-Length, Date, Connection and the like are ours, and left out if given, but for "Connection: close", which is done. HEAD, 204 and 304
 * get no body. Copies all. Once an exchange. */
void http_respond(struct http_exchange *exchange, unsigned status, const struct http_answer_field *fields, unsigned count, struct view body);
/* Streamed: chunked (to HTTP/1.0 until the connection closes). */
void http_begin(struct http_exchange *exchange, unsigned status, const struct http_answer_field *fields, unsigned count);
void http_write(struct http_exchange *exchange, struct view piece);     /* an empty one is nothing; all of one callback of the loop leave together */
size_t http_unsent(const struct http_exchange *exchange);
void http_finish(struct http_exchange *exchange);
/* Cuts the connection: what is begun cannot be ended truthfully. on_end comes from the loop, soon. */
void http_abort(struct http_exchange *exchange);

/* ---- helpers that more than one door needs ---- */
/* %41 -> A, appended to out; false: a bad escape, or a NUL. */
struct bytes;
bool http_unescape(struct view text, struct bytes *out);
/* The raw value of `name` in a query; data NULL: not there. */
struct view http_query_value(struct view query, const char *name);
const char *http_status_text(unsigned status);
/* May be given as a field of an answer: the name is a token, the value without control bytes. For fields that came from outside. */
bool http_field_valid(struct view name, struct view value);

#endif
