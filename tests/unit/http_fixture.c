#include "tests/unit/http_fixture.h"

#include <arpa/inet.h>
#include <errno.h>
#include <malloc.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "broker/base/assert.h"
#include "broker/edge/http_internal.h"

enum { WAIT_MS = 20000 };

int64_t test_now_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

#if defined(__SANITIZE_ADDRESS__)
size_t __sanitizer_get_current_allocated_bytes(void); /* of libasan, whose headers gcc does not bring */
size_t allocated_bytes(void) { return __sanitizer_get_current_allocated_bytes(); }
#else
size_t allocated_bytes(void)
{
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}
#endif

char *zeros(size_t len)
{
    char *data = calloc(1, len);
    ASSERT(data != NULL);
    return data;
}

/* ---- the owner ---- */

/* What is with an exchange from its head to its end. */
struct seen {
    bool requested;
    size_t body_bytes, sourced;
};

static bool path_is(const struct http_exchange *exchange, const char *path)
{
    return view_is(http_path(exchange), path);
}

static void answer(struct http_exchange *exchange, struct view body)
{
    static const struct http_answer_field fields[] = { { "Content-Type", { "text/plain", 10 } } };
    http_respond(exchange, 200, fields, 1, body);
}

static void owner_close(struct owner *owner)
{
    struct http_listener *listener = owner->listener;

    owner->listener = NULL;
    http_listener_close(listener);
}

/* True: the exchange is not to be touched any more. */
static bool disaster(struct owner *owner, struct http_exchange *exchange, const char *where)
{
    char abort_path[32], close_path[32];

    (void)snprintf(abort_path, sizeof abort_path, "/abort-%s", where);
    (void)snprintf(close_path, sizeof close_path, "/close-%s", where);
    if (path_is(exchange, abort_path)) {
        http_abort(exchange);
        http_abort(exchange); /* the second is nothing */
        return true;
    }
    if (path_is(exchange, close_path)) {
        owner_close(owner);
        return true;
    }
    return false;
}

static void on_head(void *ctx, struct http_exchange *exchange)
{
    struct owner *owner = ctx;
    struct view query = http_query(exchange);
    char address[64];

    owner->heads++;
    owner->mistakes += !http_peer_address(exchange, address, sizeof address) || strcmp(address, "127.0.0.1") != 0;
    owner->mistakes += http_listener_of(exchange) != owner->listener;
    http_set_user(exchange, calloc(1, sizeof(struct seen)));
    bytes_clear(&owner->last);
    bytes_put_view(&owner->last, http_method(exchange));
    bytes_put_char(&owner->last, ' ');
    bytes_put_view(&owner->last, http_path(exchange));
    if (query.data != NULL)
        bytes_put_char(&owner->last, '?');
    bytes_put_view(&owner->last, query);
    if (path_is(exchange, "/head"))
        answer(exchange, VIEW_LITERAL("from on_head"));
    else if (path_is(exchange, "/small"))
        http_limit_body(exchange, 4);
    else if (path_is(exchange, "/stream") || path_is(exchange, "/sink") || path_is(exchange, "/body") || path_is(exchange, "/abort-body") ||
             path_is(exchange, "/close-body") || path_is(exchange, "/pause"))
        http_stream_body(exchange);
    if (path_is(exchange, "/stream"))
        http_begin(exchange, 200, NULL, 0);
    if (path_is(exchange, "/pause")) {
        http_pause_body(exchange, true);
        VEC_PUSH(&owner->parked, exchange);
        if (query.data != NULL)
            answer(exchange, VIEW_LITERAL("while it is paused"));
    }
    (void)disaster(owner, exchange, "head");
}

static void note_unsent(struct owner *owner, const struct http_exchange *exchange)
{
    size_t unsent = http_unsent(exchange), out = exchange->connection->out.capacity;

    owner->unsent_max = unsent > owner->unsent_max ? unsent : owner->unsent_max;
    owner->out_max = out > owner->out_max ? out : owner->out_max;
}

static void on_body(void *ctx, struct http_exchange *exchange, struct view piece)
{
    struct owner *owner = ctx;
    struct seen *seen = http_user(exchange);

    owner->body_bytes += piece.len;
    seen->body_bytes += piece.len;
    owner->mistakes += seen->requested || piece.len == 0;
    if (path_is(exchange, "/body")) {
        answer(exchange, VIEW_LITERAL("from on_body"));
    } else if (path_is(exchange, "/stream")) {
        http_write(exchange, piece);
        note_unsent(owner, exchange);
        http_pause_body(exchange, http_unsent(exchange) >= HTTP_UNSENT_HIGH_BYTES);
    }
    (void)disaster(owner, exchange, "body");
}

static void source_more(struct owner *owner, struct http_exchange *exchange)
{
    struct seen *seen = http_user(exchange);
    static const char zeros[SOURCE_PIECE_BYTES];

    while (seen->sourced < SOURCE_BYTES && http_unsent(exchange) < HTTP_UNSENT_HIGH_BYTES) {
        http_write(exchange, (struct view){ .data = zeros, .len = sizeof zeros });
        seen->sourced += sizeof zeros;
        note_unsent(owner, exchange);
    }
    if (seen->sourced == SOURCE_BYTES) {
        seen->sourced++;
        http_finish(exchange);
    }
}

static void answer_fields(struct http_exchange *exchange)
{
    struct bytes text = { 0 };

    for (unsigned i = 0; i < http_headers_count(exchange); i++) {
        struct http_field field = http_header_at(exchange, i);
        bytes_put_view(&text, field.name);
        bytes_put_char(&text, '=');
        bytes_put_view(&text, field.value);
        bytes_put_char(&text, '\n');
    }
    answer(exchange, bytes_view(&text));
    bytes_done(&text);
}

static void on_request(void *ctx, struct http_exchange *exchange)
{
    static const struct http_answer_field close_field[] = { { "connection", { "close", 5 } }, { "Content-Length", { "7", 1 } } };
    static char big[SOURCE_BYTES];
    struct owner *owner = ctx;
    struct seen *seen = http_user(exchange);
    char text[32];

    owner->requests++;
    owner->mistakes += seen->requested || path_is(exchange, "/head");
    seen->requested = true;
    if (disaster(owner, exchange, "request"))
        return;
    if (path_is(exchange, "/park")) {
        VEC_PUSH(&owner->parked, exchange);
    } else if (path_is(exchange, "/begin")) {
        http_begin(exchange, 200, NULL, 0);
        http_write(exchange, VIEW_LITERAL("begun"));
        VEC_PUSH(&owner->parked, exchange);
    } else if (path_is(exchange, "/stream")) {
        http_finish(exchange);
    } else if (path_is(exchange, "/look")) {
        struct pollfd looked_at[] = { { .fd = owner->looked_at[0], .events = POLLIN }, { .fd = owner->looked_at[1], .events = POLLIN } };
        answer(exchange, poll(looked_at, 2, 0) > 0 ? VIEW_LITERAL("yes") : VIEW_LITERAL("no"));
    } else if (path_is(exchange, "/sink") || path_is(exchange, "/pause")) {
        (void)snprintf(text, sizeof text, "%zu", seen->body_bytes);
        answer(exchange, view_of(text));
    } else if (path_is(exchange, "/source") || path_is(exchange, "/abort-drained") || path_is(exchange, "/close-drained")) {
        http_begin(exchange, 200, NULL, 0);
        source_more(owner, exchange);
    } else if (path_is(exchange, "/big")) {
        answer(exchange, (struct view){ .data = big, .len = sizeof big });
    } else if (path_is(exchange, "/trailer")) {
        struct view trailer = http_trailer(exchange, "x-t");
        answer(exchange, trailer.data != NULL ? trailer : VIEW_LITERAL("none"));
    } else if (path_is(exchange, "/header")) {
        struct view header = http_header(exchange, "x-T");
        answer(exchange, header.data != NULL ? header : VIEW_LITERAL("none"));
    } else if (path_is(exchange, "/flood")) {
        http_begin(exchange, 200, NULL, 0);
        for (size_t written = 0; written < 2 * HTTP_UNSENT_BYTES_MAX; written += sizeof big)
            http_write(exchange, (struct view){ .data = big, .len = sizeof big });
    } else if (path_is(exchange, "/fields")) {
        answer_fields(exchange);
    } else if (path_is(exchange, "/204")) {
        http_respond(exchange, 204, NULL, 0, (struct view){ .data = NULL });
    } else if (path_is(exchange, "/close")) {
        http_respond(exchange, 200, close_field, 2, VIEW_LITERAL("last"));
    } else {
        answer(exchange, http_body(exchange));
    }
}

static void on_drained(void *ctx, struct http_exchange *exchange)
{
    struct owner *owner = ctx;

    owner->drained++;
    owner->mistakes += http_unsent(exchange) > HTTP_UNSENT_HIGH_BYTES / 4;
    if (disaster(owner, exchange, "drained"))
        return;
    if (path_is(exchange, "/stream"))
        http_pause_body(exchange, false);
    else if (path_is(exchange, "/source") || path_is(exchange, "/abort-drained") || path_is(exchange, "/close-drained"))
        source_more(owner, exchange);
}

static void on_end(void *ctx, struct http_exchange *exchange, enum http_end end)
{
    struct owner *owner = ctx;

    owner->ended++;
    owner->ends[end]++;
    owner->mistakes += http_user(exchange) == NULL || http_path(exchange).data[0] != '/';
    free(http_user(exchange));
    http_set_user(exchange, NULL);
    http_abort(exchange); /* too late for anything: nothing happens */
    http_respond(exchange, 200, NULL, 0, VIEW_LITERAL("too late"));
    for (size_t i = 0; i < owner->parked.count; i++)
        if (owner->parked.items[i] == exchange)
            owner->parked.items[i] = NULL;
    if (owner->close_in_end && owner->listener != NULL)
        owner_close(owner);
}

static bool on_admit(void *ctx, int fd)
{
    struct owner *owner = ctx;

    return owner->admit == NULL || owner->admit(ctx, fd);
}

static void on_tick(struct ev_loop *loop, ev_timer *watcher, int events)
{
    (void)loop, (void)watcher, (void)events;
}

void answer_parked(struct owner *owner, size_t index, const char *body)
{
    ASSERT(index < owner->parked.count && owner->parked.items[index] != NULL);
    http_respond(owner->parked.items[index], 200, NULL, 0, view_of(body));
}

bool owner_open(struct owner *owner, const char *address, const struct http_limits *limits)
{
    struct http_handler handler = { .admit = on_admit, .on_head = on_head, .on_body = on_body, .on_request = on_request,
                                    .on_drained = on_drained, .on_end = on_end };
    struct sluice_error error;

    *owner = (struct owner){ .loop = ev_loop_new(EVFLAG_AUTO) };
    ASSERT(owner->loop != NULL);
    ev_timer_init(&owner->tick, on_tick, 0.002, 0.002); /* no step waits longer */
    ev_timer_start(owner->loop, &owner->tick);
    owner->server = http_server_new(owner->loop, limits, &handler);
    ASSERT(owner->server != NULL);
    if (http_listen(owner->server, address, owner, &owner->listener, &error) == SLUICE_OK)
        return true;
    (void)fprintf(stderr, "%s\n", error.text);
    return false;
}

void owner_done(struct owner *owner)
{
    owner_close(owner);
    (void)http_server_free(owner->server);
    owner->mistakes += owner->heads != owner->ended;
    VEC_DONE(&owner->parked);
    bytes_done(&owner->last);
    ev_timer_stop(owner->loop, &owner->tick);
    ev_loop_destroy(owner->loop);
    owner->loop = NULL;
}

/* ---- peers ---- */

static void on_peer(struct ev_loop *loop, ev_io *watcher, int events)
{
    struct peer *peer = watcher->data;
    char buffer[64 << 10];

    (void)events;
    ssize_t count = recv(peer->fd, buffer, sizeof buffer, MSG_DONTWAIT);
    if (count > 0) {
        bytes_put(&peer->got, buffer, (size_t)count);
    } else if (count == 0 || errno != EAGAIN) {
        peer->ended = count == 0;
        peer->reset = count < 0;
        ev_io_stop(loop, watcher);
    }
}

void peer_stall(struct peer *peer, bool stalled)
{
    if (stalled)
        ev_io_stop(peer->owner->loop, &peer->readable);
    else if (!peer->ended && !peer->reset)
        ev_io_start(peer->owner->loop, &peer->readable);
}

void step(struct owner *owner)
{
    ev_run(owner->loop, EVRUN_ONCE);
}

bool peer_open(struct peer *peer, struct owner *owner)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(http_listener_port(owner->listener)),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

    *peer = (struct peer){ .owner = owner, .fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0) };
    /* Small and fixed: how much is in sockets when a side does not read must not depend on the day. */
    (void)setsockopt(peer->fd, SOL_SOCKET, SO_RCVBUF, &(int){ 64 << 10 }, sizeof(int));
    (void)setsockopt(peer->fd, SOL_SOCKET, SO_SNDBUF, &(int){ 64 << 10 }, sizeof(int));
    if (peer->fd < 0 || connect(peer->fd, (struct sockaddr *)&address, sizeof address) != 0) {
        perror("peer");
        return false;
    }
    (void)setsockopt(peer->fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
    ev_io_init(&peer->readable, on_peer, peer->fd, EV_READ);
    peer->readable.data = peer;
    ev_io_start(owner->loop, &peer->readable);
    return true;
}

void peer_close(struct peer *peer)
{
    ev_io_stop(peer->owner->loop, &peer->readable);
    (void)close(peer->fd);
    bytes_done(&peer->got);
    bytes_done(&peer->decoded);
}

bool peer_send(struct peer *peer, const void *data, size_t len)
{
    const char *at = data;
    int64_t stuck_at = test_now_ms() + WAIT_MS;

    while (len > 0 && test_now_ms() < stuck_at) {
        ssize_t count = send(peer->fd, at, len, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (count < 0 && errno != EAGAIN)
            return false;
        if (count > 0) {
            at += count;
            len -= (size_t)count;
            stuck_at = test_now_ms() + WAIT_MS;
        }
        ev_run(peer->owner->loop, count > 0 ? EVRUN_NOWAIT : EVRUN_ONCE);
    }
    return len == 0;
}

bool peer_say(struct peer *peer, const char *text)
{
    return peer_send(peer, text, strlen(text));
}

bool peer_dribble(struct peer *peer, const void *data, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (send(peer->fd, (const char *)data + i, 1, MSG_DONTWAIT | MSG_NOSIGNAL) != 1)
            return false;
        ev_run(peer->owner->loop, EVRUN_NOWAIT);
        ev_run(peer->owner->loop, EVRUN_NOWAIT);
    }
    return true;
}

struct view reply_field(struct reply reply, const char *name)
{
    const char *at = reply.head.data, *end = at + reply.head.len;
    size_t name_len = strlen(name);

    while (at != NULL && at < end) {
        const char *next = memmem(at, (size_t)(end - at), "\r\n", 2);
        if (next == NULL)
            break;
        if ((size_t)(next - at) > name_len + 1 && strncasecmp(at, name, name_len) == 0 && at[name_len] == ':')
            return (struct view){ .data = at + name_len + 2, .len = (size_t)(next - at) - name_len - 2 };
        at = next + 2;
    }
    return (struct view){ .data = NULL };
}

/* Into peer->decoded, from where the last call stopped; the length of what it was read from, 0: not whole yet. */
static size_t decode_chunks(struct peer *peer, struct view text)
{
    const char *at = text.data + peer->chunks_at, *end = text.data + text.len;

    if (peer->chunks_at == 0)
        bytes_clear(&peer->decoded);
    for (;;) {
        const char *line_end = at < end ? memmem(at, (size_t)(end - at), "\r\n", 2) : NULL;
        if (line_end == NULL)
            return 0;
        size_t size = strtoul(at, NULL, 16);
        at = line_end + 2;
        if ((size_t)(end - at) < size + 2)
            return 0;
        bytes_put(&peer->decoded, at, size);
        at += size;
        ASSERT(memcmp(at, "\r\n", 2) == 0);
        at += 2;
        peer->chunks_at = size == 0 ? 0 : (size_t)(at - text.data);
        if (size == 0)
            return (size_t)(at - text.data);
    }
}

static struct reply reply_take(struct peer *peer, bool to_head)
{
    struct view all = { .data = peer->got.data + peer->at, .len = peer->got.len - peer->at };
    const char *head_end = all.len > 0 ? memmem(all.data, all.len, "\r\n\r\n", 4) : NULL;
    struct reply reply = { .status = 0 };

    if (head_end == NULL)
        return reply;
    size_t head_len = (size_t)(head_end + 4 - all.data), body_len = 0, taken = head_len;
    struct view rest = { .data = all.data + head_len, .len = all.len - head_len };
    reply.head = (struct view){ .data = all.data, .len = head_len - 2 };
    unsigned status = (unsigned)strtoul(all.data + sizeof "HTTP/1.1", NULL, 10);
    struct view length = reply_field(reply, "Content-Length");
    reply.body = (struct view){ .data = rest.data, .len = 0 };
    if (status == 100 || status == 204 || to_head) {
        body_len = 0;
    } else if (length.data != NULL) {
        body_len = strtoul(length.data, NULL, 10);
        if (rest.len < body_len)
            return reply;
        reply.body.len = body_len;
        taken += body_len;
    } else if (reply_field(reply, "Transfer-Encoding").data != NULL) {
        size_t encoded = decode_chunks(peer, rest);
        if (encoded == 0)
            return reply;
        reply.body = bytes_view(&peer->decoded);
        taken += encoded;
    } else {
        if (!peer->ended)
            return reply;
        reply.body = rest;
        taken += rest.len;
    }
    reply.status = status;
    peer->at += taken;
    return reply;
}

static struct reply reply_wait(struct peer *peer, bool to_head)
{
    struct reply reply = { .status = 0 };

    for (int64_t deadline = test_now_ms() + WAIT_MS; test_now_ms() < deadline;) {
        reply = reply_take(peer, to_head);
        if (reply.status != 0 || peer->ended || peer->reset)
            break;
        step(peer->owner);
    }
    return reply;
}

struct reply peer_reply(struct peer *peer)
{
    return reply_wait(peer, false);
}

struct reply peer_reply_to_head(struct peer *peer)
{
    return reply_wait(peer, true);
}

bool peer_waits_for_end(struct peer *peer)
{
    for (int64_t deadline = test_now_ms() + WAIT_MS; !peer->ended && !peer->reset && test_now_ms() < deadline;)
        step(peer->owner);
    return peer->ended || peer->reset;
}
