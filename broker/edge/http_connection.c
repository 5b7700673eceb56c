#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "broker/base/assert.h"
#include "broker/edge/http_internal.h"

/* ---- what is awaited of it ---- */

static bool is_watched(const struct http_connection *connection, int event)
{
    return ev_is_active(&connection->socket) && (connection->socket.events & event) != 0;
}

void http_watch(struct http_connection *connection, int event, bool wanted)
{
    struct ev_loop *loop = http_server_of(connection)->loop;
    int events = ev_is_active(&connection->socket) ? connection->socket.events & (EV_READ | EV_WRITE) : 0;

    if (wanted == ((events & event) != 0))
        return;
    events = wanted ? events | event : events & ~event;
    ev_io_stop(loop, &connection->socket);
    ev_io_modify(&connection->socket, events);
    if (events != 0)
        ev_io_start(loop, &connection->socket);
}

static void read_within(struct http_connection *connection, int64_t ms)
{
    connection->read_by_ms = http_now_ms() + ms;
    http_deadline(connection);
}

void http_connection_busy(struct http_connection *connection)
{
    ASSERT(connection->state != CONNECTION_GONE);
    list_remove(&connection->link);
    list_push(&connection->listener->busy, &connection->link);
}

/* ---- ends ---- */

static void exchange_end(struct http_connection *connection, enum http_end end)
{
    const struct http_handler *handler = &http_server_of(connection)->handler;
    struct http_exchange *exchange = connection->exchange;

    if (exchange == NULL)
        return;
    connection->exchange = NULL;
    exchange->answer = ANSWER_ABORTED; /* its calls do nothing from here on */
    if (handler->on_end != NULL)
        handler->on_end(connection->listener->ctx, exchange, end);
    http_exchange_free(exchange);
}

void http_connection_close(struct http_connection *connection, enum http_end end)
{
    struct http_server *server = http_server_of(connection);
    struct linger reset = { .l_onoff = 1, .l_linger = 0 };

    if (connection->state == CONNECTION_GONE)
        return;
    /* An answer that ends with its connection must not look ended. */
    bool cut = http_connection_unsent(connection) > 0 ||
               (connection->exchange != NULL && connection->exchange->answer != ANSWER_NONE && !connection->exchange->chunked_answer && end != HTTP_DONE);
    connection->state = CONNECTION_GONE;
    ev_io_stop(server->loop, &connection->socket);
    heap_remove(&server->deadlines, &connection->deadline);
    list_remove(&connection->dirty);
    list_remove(&connection->link);
    list_push(&server->dead, &connection->link);
    connection->listener->count--;
    http_unsent_count(connection, 0);
    exchange_end(connection, end);
    if (cut)
        (void)setsockopt(connection->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset); /* if not, it ends as well, only less truthfully */
    (void)close(connection->fd); /* nothing is left to lose */
    connection->fd = -1;
}

void http_connection_part(struct http_connection *connection)
{
    struct http_exchange *exchange = connection->exchange;
    enum http_end end = HTTP_CLOSED;

    if (exchange != NULL && exchange->answer == ANSWER_FINISHED && !connection->out.failed) {
        ssize_t count = send(connection->fd, connection->out.data + connection->sent, http_connection_unsent(connection), MSG_NOSIGNAL);
        if (count == (ssize_t)http_connection_unsent(connection)) {
            connection->sent = connection->out.len;
            end = HTTP_DONE;
        }
    }
    http_connection_close(connection, end);
}

/* The connection broke, or its peer is gone. */
static void connection_lost(struct http_connection *connection)
{
    http_connection_close(connection, connection->state == CONNECTION_BODY && !http_answer_is_whole(connection) ? HTTP_TRUNCATED : HTTP_PEER_CLOSED);
}

void http_stop_taking(struct http_connection *connection)
{
    connection->closing = true;
    connection->state = CONNECTION_LINGER;
    connection->read_by_ms = 0; /* until the answer is sent, that has its own deadline */
    http_connection_busy(connection);
    http_connection_dirty(connection);
}

void http_connection_refuse(struct http_connection *connection, unsigned status, const char *reason, enum http_end end)
{
    bool begun = connection->exchange != NULL && connection->exchange->answer == ANSWER_BEGUN;

    if (begun) { /* what the peer has of it cannot be taken back */
        http_connection_close(connection, end);
        return;
    }
    if (connection->exchange == NULL || connection->exchange->answer == ANSWER_NONE) {
        exchange_end(connection, end);
        if (connection->state == CONNECTION_GONE)
            return;
        http_put_own_answer(connection, status, reason);
    }
    http_stop_taking(connection);
}

/* ---- from one thing to the next ---- */

static void linger(struct http_connection *connection)
{
    if (connection->ended) {
        http_connection_close(connection, HTTP_DONE);
        return;
    }
    if (connection->shut)
        return;
    connection->shut = true;
    (void)shutdown(connection->fd, SHUT_WR); /* fails if the peer is gone, which its read says, too */
    connection->linger_until_ms = http_now_ms() + HTTP_LINGER_MS;
    read_within(connection, HTTP_LINGER_QUIET_MS);
    list_remove(&connection->link);
    list_insert_after(&connection->listener->idle, &connection->link); /* the first to go when there are too many */
}

/* The answer has left, and so has its request. */
static void next_request(struct http_connection *connection)
{
    if (connection->closing || connection->ended) {
        http_stop_taking(connection);
        return;
    }
    connection->state = CONNECTION_IDLE;
    http_parse_init(&connection->parse);
    list_remove(&connection->link);
    list_push(&connection->listener->idle, &connection->link);
    read_within(connection, http_server_of(connection)->limits.idle_ms);
}

static void forget_input(struct http_connection *connection)
{
    connection->listener->bodies_bytes -= connection->input.capacity;
    bytes_done(&connection->input); /* a connection that waits holds no buffer */
    connection->input_at = 0;
}

/* For the next piece of a body: one that is collected must get on, too, or a byte now and then would keep a connection for ever. What a handler
 * takes as it comes may come as slowly as it likes between two waits. */
static int64_t body_wait_ms(const struct http_connection *connection)
{
    const struct http_exchange *exchange = connection->exchange;
    int64_t wait_ms = http_server_of(connection)->limits.request_ms;

    if (exchange == NULL || exchange->streamed)
        return wait_ms;
    int64_t until_ms = connection->body_from_ms + HTTP_BODY_WAITS * wait_ms + (int64_t)(exchange->body.len * 1000 / HTTP_BODY_RATE_MIN);
    int64_t left_ms = until_ms - http_now_ms();
    return left_ms < 1 ? 1 : left_ms < wait_ms ? left_ms : wait_ms;
}

/* Starts or stops reading, and sets the time by which there must be something to read. */
static void await_input(struct http_connection *connection)
{
    const struct http_limits *limits = &http_server_of(connection)->limits;
    bool read = !connection->ended;

    switch (connection->state) {
    case CONNECTION_IDLE:
        if (http_connection_kept(connection) > 0) {
            connection->state = CONNECTION_HEAD;
            http_connection_busy(connection);
            read_within(connection, limits->request_ms);
        }
        break;
    case CONNECTION_HEAD:
        break;
    case CONNECTION_LINGER:
        forget_input(connection);
        break;
    case CONNECTION_BODY:
        read = read && http_may_take(connection);
        if (connection->read_by_ms == 0)
            read_within(connection, read ? body_wait_ms(connection) : HTTP_PEEK_MS);
        break;
    case CONNECTION_WHOLE:
        read = read && http_connection_kept(connection) < HTTP_PIPELINED_BYTES_MAX;
        connection->read_by_ms = 0;
        if (!read && !connection->ended)
            read_within(connection, HTTP_PEEK_MS);
        break;
    case CONNECTION_GONE:
        return;
    }
    http_watch(connection, EV_READ, read);
}

static void take_kept_input(struct http_connection *connection)
{
    struct view kept = { .data = connection->input.data + connection->input_at, .len = http_connection_kept(connection) };

    connection->input_at += http_take(connection, kept);
    if (connection->input_at == connection->input.len || connection->state == CONNECTION_LINGER)
        forget_input(connection);
}

static void keep_input(struct http_connection *connection, struct view came)
{
    struct http_listener *listener = connection->listener;
    struct bytes *input = &connection->input;
    size_t before = input->capacity;

    if (connection->input_at > 0) {
        memmove(input->data, input->data + connection->input_at, http_connection_kept(connection));
        input->len -= connection->input_at;
        connection->input_at = 0;
    }
    bytes_put_view(input, came);
    listener->bodies_bytes += input->capacity - before;
    if (input->failed || listener->bodies_bytes > listener->bodies_bytes_max)
        http_connection_refuse(connection, 503, "too many bytes of requests are held here; try again later", HTTP_REFUSED);
}

void http_connection_advance(struct http_connection *connection)
{
    for (bool again = true; again && connection->state != CONNECTION_GONE;) {
        enum http_connection_state before = connection->state;
        bool unsent = http_connection_unsent(connection) > 0;

        if (connection->exchange != NULL && connection->exchange->answer == ANSWER_FINISHED && !unsent)
            exchange_end(connection, HTTP_DONE);
        bool done = connection->exchange == NULL && !unsent && !connection->aborted;
        if (connection->state == CONNECTION_WHOLE && done)
            next_request(connection);
        else if (connection->state == CONNECTION_BODY && done && connection->closing)
            http_stop_taking(connection);
        else if (connection->state == CONNECTION_LINGER && done)
            linger(connection);
        if (http_connection_kept(connection) > 0 && http_may_take(connection))
            take_kept_input(connection);
        again = connection->state != before;
    }
    if (connection->state != CONNECTION_GONE)
        await_input(connection);
}

/* ---- the loop's calls ---- */

static void input_ended(struct http_connection *connection)
{
    connection->ended = true;
    switch (connection->state) {
    case CONNECTION_IDLE:
    case CONNECTION_HEAD:
        http_connection_close(connection, HTTP_PEER_CLOSED);
        break;
    case CONNECTION_BODY:
        if (http_answer_is_whole(connection))
            http_stop_taking(connection);
        else
            http_connection_refuse(connection, 400, "the body ends before its length", HTTP_TRUNCATED);
        break;
    case CONNECTION_WHOLE:
        if (!http_answer_is_whole(connection))
            http_connection_close(connection, HTTP_PEER_CLOSED);
        break;
    case CONNECTION_LINGER:
    case CONNECTION_GONE:
        break;
    }
    if (connection->state != CONNECTION_GONE)
        http_connection_advance(connection);
}

static void input_came(struct http_connection *connection, struct view came)
{
    if (connection->state == CONNECTION_LINGER) {
        if (connection->shut && http_now_ms() + HTTP_LINGER_QUIET_MS < connection->linger_until_ms)
            read_within(connection, HTTP_LINGER_QUIET_MS);
        return;
    }
    if (http_connection_kept(connection) > 0) {
        keep_input(connection, came);
        take_kept_input(connection);
        return;
    }
    size_t taken = http_take(connection, came);
    if (taken < came.len && connection->state != CONNECTION_GONE && connection->state != CONNECTION_LINGER)
        keep_input(connection, (struct view){ .data = came.data + taken, .len = came.len - taken });
}

static void read_some(struct http_connection *connection)
{
    char buffer[HTTP_READ_BYTES];

    ssize_t count = recv(connection->fd, buffer, sizeof buffer, 0);
    if (count == 0) {
        input_ended(connection);
    } else if (count > 0) {
        input_came(connection, (struct view){ .data = buffer, .len = (size_t)count });
        if (connection->state != CONNECTION_GONE)
            http_connection_advance(connection);
    } else if (errno != EAGAIN && errno != EINTR) {
        connection_lost(connection);
    }
}

static void on_socket(struct ev_loop *loop, ev_io *watcher, int events)
{
    struct http_connection *connection = watcher->data;
    struct http_server *server = http_server_of(connection);

    (void)loop;
    http_enter(server);
    if ((events & EV_WRITE) != 0)
        http_connection_send(connection);
    if ((events & EV_READ) != 0 && is_watched(connection, EV_READ)) /* what was sent may have changed that */
        read_some(connection);
    http_leave(server);
}

/* It is not read now, so nothing says that the peer has gone, but asking does. Inside a body that waits, an end of what the peer sends is none of
 * the body that is already here: then only a broken connection counts. */
static void peek(struct http_connection *connection, short gone)
{
    struct pollfd ask = { .fd = connection->fd, .events = POLLRDHUP };

    if (poll(&ask, 1, 0) == 1 && (ask.revents & gone) != 0)
        connection_lost(connection);
    else
        read_within(connection, HTTP_PEEK_MS);
}

static void read_too_late(struct http_connection *connection)
{
    switch (connection->state) {
    case CONNECTION_HEAD:
        http_connection_refuse(connection, 408, "the head did not come in time", HTTP_TIMED_OUT);
        break;
    case CONNECTION_BODY:
        if (!http_may_take(connection))
            peek(connection, POLLERR | POLLHUP);
        else if (http_answer_is_whole(connection))
            http_stop_taking(connection);
        else
            http_connection_refuse(connection, 408, "the body did not come in time", HTTP_TIMED_OUT);
        break;
    case CONNECTION_WHOLE:
        peek(connection, POLLERR | POLLHUP | POLLRDHUP);
        break;
    case CONNECTION_IDLE:
    case CONNECTION_LINGER:
        http_connection_close(connection, HTTP_DONE);
        break;
    case CONNECTION_GONE:
        break;
    }
}

void http_deadline_passed(struct http_connection *connection, int64_t now_ms)
{
    if (connection->send_by_ms != 0 && now_ms >= connection->send_by_ms)
        http_connection_close(connection, HTTP_TIMED_OUT);
    else if (connection->read_by_ms != 0 && now_ms >= connection->read_by_ms)
        read_too_late(connection);
    if (connection->state != CONNECTION_GONE)
        http_deadline(connection);
}

/* ---- life ---- */

struct http_connection *http_connection_new(struct http_listener *listener, int fd)
{
    struct http_connection *connection = calloc(1, sizeof *connection);

    if (connection == NULL)
        return NULL;
    connection->listener = listener;
    connection->fd = fd;
    list_init(&connection->link);
    list_init(&connection->dirty);
    http_parse_init(&connection->parse);
    ev_io_init(&connection->socket, on_socket, fd, 0);
    connection->socket.data = connection;
    list_push(&listener->idle, &connection->link);
    listener->count++;
    read_within(connection, http_server_of(connection)->limits.idle_ms);
    await_input(connection);
    return connection;
}

void http_connection_free(struct http_connection *connection)
{
    ASSERT(connection->state == CONNECTION_GONE);
    ASSERT(connection->exchange == NULL);
    forget_input(connection);
    bytes_done(&connection->out);
    list_remove(&connection->link);
    free(connection);
}
