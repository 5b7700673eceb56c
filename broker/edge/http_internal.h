/* http_internal.h - what the files of the HTTP server share; its users see http.h.
 *
 *   http_server.c       what listeners share: life, deadlines; entering and leaving
 *   http_listener.c     accepts, admits, bounds the number of connections
 *   http_connection.c   bytes in, deadlines, ends; from one request to the next
 *   http_take.c         requests out of bytes, and to the owner
 *   http_send.c         bytes out: behind each of the loop's callbacks, one send a connection
 *   http_exchange.c     http.h's calls on a request and its answer
 *   http_parse.c, http_guard.c   bytes to messages; http_text.c: names and escapes
 *
 * The input side of a connection:
 *
 *            first byte          head whole           body whole        answer sent, peer keeps it
 *    IDLE ──────────────> HEAD ──────────────> BODY ──────────────> WHOLE ──────────────> IDLE
 *      └── refused, or the last answer of this connection ──> LINGER: what comes is thrown away ──> GONE (from everywhere)
 *
 * and of an exchange's answer: NONE ──http_begin──> BEGUN ──http_finish──> FINISHED (http_respond: both), ABORTED from both.
 *
 * Callbacks may do anything, http_listener_close() included. So nothing is freed while one of the loop's calls is under way: a GONE connection waits
 * in server->dead for http_leave(); and after each callback its caller asks whether the connection is GONE. Calls never call back: they put the
 * connection on server->dirty, and the server's `pass` watcher, fed by hand with the highest priority, runs as soon as the loop's callback
 * that made the call has returned: peers work on their answers, on other cores, while the rest of the round is served. */
#ifndef SLUICE_EDGE_HTTP_INTERNAL_H
#define SLUICE_EDGE_HTTP_INTERNAL_H

#include <time.h>

#include "broker/base/heap.h"
#include "broker/base/list.h"
#include "broker/edge/http_parse.h"
#include "schemas/codec/bytes.h"

enum {
    HTTP_READ_BYTES = 64 << 10,          /* at once, to the stack: a connection that waits holds no buffer */
    HTTP_PEEK_MS = 1000,                 /* how often a connection that is not read is asked whether its peer is still there */
    /* A last answer is followed by the end of what we send, and by close() when the peer has ended, too: unread bytes would turn close() into a reset,
     * which takes the answer from a peer that still sends. Until that was quiet for so long, and at most: */
    HTTP_LINGER_QUIET_MS = 2000, HTTP_LINGER_MS = 30000,
    HTTP_ACCEPT_PAUSE_MS = 100,          /* after a failed accept: out of descriptors, most likely */
    HTTP_ACCEPTS_PER_PASS = 64, HTTP_SENDS_PER_ROUND = 512, /* then the rest of the loop has its turn */
    HTTP_SPARE_BYTES_MAX = 4 << 10,      /* a larger buffer is not kept */
    HTTP_UNSENT_BYTES_MAX = 64 << 20,    /* of a streamed answer whose writer does not heed http_unsent(): cut off */
    HTTP_BODY_PROVEN_BYTES = 256 << 10,  /* before so much of a body has come, its declared length is not believed */
};

/* A head or trailers, kept: spans of the text that follows them in the same block. */
struct http_span { uint32_t at, len; };
struct http_section {
    unsigned count;
    struct { struct http_span name, value; } fields[];
};

enum http_answer_state { ANSWER_NONE, ANSWER_BEGUN, ANSWER_FINISHED, ANSWER_ABORTED };

/* There is one for each instance that waits, as there is of each of the structs below but the server's: small ones are together, without holes. Its
 * head is behind it, in its block. */
struct http_exchange {
    struct http_connection *connection;
    void *user;
    struct http_section *trailers;           /* NULL: none */
    struct http_span method, path, query;
    uint32_t head_bytes;                     /* counted in listener->bodies_bytes */
    enum http_answer_state answer : 8;
    bool has_query, old, head_only;          /* head_only: HEAD */
    bool chunked_body, expects_continue;
    bool streamed, paused;
    bool chunked_answer, no_body;            /* of the answer */
    bool drain_wanted;
    uint64_t length;
    size_t body_bytes_max;
    struct bytes body;
};

enum http_connection_state { CONNECTION_IDLE, CONNECTION_HEAD, CONNECTION_BODY, CONNECTION_WHOLE, CONNECTION_LINGER, CONNECTION_GONE };

struct http_connection {
    struct list link;                        /* in listener->idle or ->busy; GONE: in server->dead */
    struct list dirty;                       /* in server->dirty, or in none */
    struct http_listener *listener;
    struct http_exchange *exchange;          /* NULL: none, or its answer has left and the rest of its body is thrown away */
    enum http_connection_state state;
    int fd;
    bool closing;                            /* after the answer at hand */
    bool ended, shut;                        /* the peer sends no more; we do not */
    bool aborted;                            /* by http_abort(): closed at the end of the pass */
    bool draining;                           /* inside on_drained */
    struct http_parse parse;
    size_t drop_left;                        /* of a body that nobody wants */
    struct bytes input;                      /* read; taken up to input_at */
    size_t input_at;
    struct bytes out;
    size_t sent;                             /* of out */
    size_t unsent_counted;                   /* in listener->unsent_bytes */
    int64_t read_by_ms, send_by_ms;          /* 0: no deadline */
    union {
        int64_t body_from_ms;                /* BODY: when its head was whole */
        int64_t linger_until_ms;             /* LINGER, shut */
    };
    ev_io socket;                            /* see http_watch() */
    struct heap_node deadline;               /* in server->deadlines; may be early, never late: see http_deadline() */
};

struct http_server {
    struct ev_loop *loop;
    struct http_handler handler;
    struct http_limits limits;
    struct list listeners, closed;           /* closed: freed by http_leave() */
    struct list dirty, dead;                 /* connections */
    struct bytes spare;                      /* the buffer of the last answer sent, for the next one's */
    ev_prepare pass;                         /* never started: fed */
    ev_timer pass_again;
    unsigned round, sends;                   /* of the loop; and how much was sent in it */
    struct heap deadlines;                   /* of connections, ms */
    ev_timer deadline;                       /* the first of them */
    ev_timer accept_again;                   /* of all that fail to */
    unsigned entered;
    time_t date_s;
    char date[40];
};

struct http_listener {
    struct http_server *server;
    void *ctx;
    struct list link;                        /* in server->listeners, or ->closed */
    struct list idle, busy;                  /* connections; idle: the longest first */
    ev_io acceptable;
    int fd;
    uint16_t port;
    bool closed, failing, paused;
    unsigned count, connections_max;
    uint32_t cut_logged_s;                   /* when it was last said that a peer was cut off for unsent bytes; once in a second */
    size_t bodies_bytes, bodies_bytes_max;   /* of all connections: collected, heads, and input that is kept */
    size_t unsent_bytes, unsent_bytes_max;   /* of answers whose peer did not take all at once, wholly */
};

static inline struct http_server *http_server_of(const struct http_connection *connection) { return connection->listener->server; }
static inline size_t http_connection_kept(const struct http_connection *connection) { return connection->input.len - connection->input_at; }
static inline size_t http_connection_unsent(const struct http_connection *connection) { return connection->out.len - connection->sent; }

/* http_server.c */
int64_t http_now_ms(void);
void http_enter(struct http_server *server);
void http_leave(struct http_server *server);         /* the last thing of a call from the loop: connections and listeners may be freed by it */
void http_deadline(struct http_connection *connection); /* after one of its deadlines was set */
void http_deadline_passed(struct http_connection *connection, int64_t now_ms);     /* http_connection.c */

/* http_listener.c */
void http_accept_again(struct ev_loop *loop, ev_timer *watcher, int events);

/* http_connection.c */
struct http_connection *http_connection_new(struct http_listener *listener, int fd);   /* NULL: out of memory, fd is still the caller's */
void http_connection_free(struct http_connection *connection);
void http_connection_busy(struct http_connection *connection);
void http_connection_close(struct http_connection *connection, enum http_end end);  /* on_end, if there is an exchange; GONE */
/* Answers by itself, ends the exchange, and closes when that is sent. */
void http_connection_refuse(struct http_connection *connection, unsigned status, const char *reason, enum http_end end);
/* After anything was sent, resumed, aborted: goes on to what can be done now. */
void http_connection_advance(struct http_connection *connection);
/* As the listener closes: an answer that is whole is sent as far as the socket takes it at once. */
void http_connection_part(struct http_connection *connection);
/* Starts or stops to be told that it can be read, or written (EV_READ, EV_WRITE). */
void http_watch(struct http_connection *connection, int event, bool wanted);

/* No more of this connection: what still comes is thrown away, and once all is sent the connection ends. */
void http_stop_taking(struct http_connection *connection);

/* http_take.c */
static inline bool http_answer_is_whole(const struct http_connection *connection)
{
    return connection->exchange == NULL || connection->exchange->answer == ANSWER_FINISHED;
}
bool http_may_take(const struct http_connection *connection);
size_t http_take(struct http_connection *connection, struct view input);    /* returns how much of it is done with */

/* http_send.c */
void http_unsent_count(struct http_connection *connection, size_t held);
void http_connection_dirty(struct http_connection *connection);
void http_connection_send(struct http_connection *connection);
void http_pass(struct ev_loop *loop, ev_prepare *watcher, int events);
void http_pass_again(struct ev_loop *loop, ev_timer *watcher, int events);

/* http_exchange.c */
struct http_exchange *http_exchange_new(struct http_connection *connection, const struct http_head *head);  /* NULL: out of memory */
bool http_exchange_trailers(struct http_exchange *exchange, const struct http_head *trailers);
void http_exchange_free(struct http_exchange *exchange);
void http_exchange_forget_body(struct http_exchange *exchange);
bool http_exchange_collect(struct http_exchange *exchange, struct view piece);
void http_put_own_answer(struct http_connection *connection, unsigned status, const char *reason);

#endif
