#include <errno.h>
#include <sys/socket.h>

#include "broker/base/assert.h"
#include "broker/edge/http_internal.h"

void http_connection_dirty(struct http_connection *connection)
{
    struct http_listener *listener = connection->listener;

    if (connection->state == CONNECTION_GONE || !list_empty(&connection->dirty))
        return;
    /* Its reader keeps up, and its writer would write for ever: the rest of the loop has its turn first. */
    if (connection->draining) {
        ev_io_start(listener->loop, &connection->writable);
        return;
    }
    list_push(&listener->dirty, &connection->dirty);
    ev_feed_event(listener->loop, &listener->pass, EV_CUSTOM);
}

static void all_sent(struct http_connection *connection)
{
    bytes_done(&connection->out); /* a connection that waits holds no buffer */
    connection->sent = 0;
    connection->send_by_ms = 0;
    ev_io_stop(connection->listener->loop, &connection->writable);
}

/* A long stream would keep all it ever sent. */
static void forget_sent(struct http_connection *connection)
{
    struct bytes *out = &connection->out;

    if (connection->sent < HTTP_UNSENT_HIGH_BYTES || connection->sent < out->len / 2)
        return;
    memmove(out->data, out->data + connection->sent, out->len - connection->sent);
    out->len -= connection->sent;
    connection->sent = 0;
}

static void send_some(struct http_connection *connection)
{
    const struct bytes *out = &connection->out;
    int64_t send_ms = connection->listener->limits.send_ms;

    if (out->failed) { /* out of memory: what is missing cannot be sent later */
        http_connection_close(connection, HTTP_CLOSED);
        return;
    }
    ssize_t count = send(connection->fd, out->data + connection->sent, out->len - connection->sent, MSG_NOSIGNAL);
    if (count < 0 && errno != EAGAIN && errno != EINTR) {
        http_connection_close(connection, HTTP_PEER_CLOSED);
        return;
    }
    if (count > 0)
        connection->sent += (size_t)count;
    if (connection->sent == out->len) {
        all_sent(connection);
        return;
    }
    if (count > 0 || connection->send_by_ms == 0)
        connection->send_by_ms = http_now_ms() + send_ms;
    forget_sent(connection);
    ev_io_start(connection->listener->loop, &connection->writable);
    http_deadline(connection);
}

static void tell_drained(struct http_connection *connection)
{
    struct http_listener *listener = connection->listener;
    struct http_exchange *exchange = connection->exchange;

    if (exchange == NULL || exchange->answer != ANSWER_BEGUN || !exchange->drain_wanted ||
        http_connection_unsent(connection) > HTTP_UNSENT_HIGH_BYTES / 4)
        return;
    exchange->drain_wanted = false;
    if (listener->handler.on_drained == NULL)
        return;
    connection->draining = true;
    listener->handler.on_drained(listener->handler.ctx, exchange);
    connection->draining = false;
}

void http_connection_send(struct http_connection *connection)
{
    if (connection->aborted) {
        http_connection_close(connection, HTTP_CLOSED);
        return;
    }
    if (http_connection_unsent(connection) > 0 || connection->out.failed)
        send_some(connection);
    else
        ev_io_stop(connection->listener->loop, &connection->writable);
    if (connection->state != CONNECTION_GONE)
        tell_drained(connection);
    if (connection->state != CONNECTION_GONE)
        http_connection_advance(connection);
}

/* What was written since the last pass, mostly in one callback of the loop, goes now: one send a connection. A peer that pipelines has its next
 * request served by it, which makes its connection dirty again; so that many such peers do not keep the loop to themselves, a round of the loop
 * has an end to them. */
static void pass(struct http_listener *listener)
{
    unsigned round = ev_iteration(listener->loop);

    http_enter(listener);
    if (listener->round != round)
        listener->sends = 0;
    listener->round = round;
    for (; listener->sends < HTTP_SENDS_PER_ROUND && !list_empty(&listener->dirty); listener->sends++) {
        struct http_connection *connection = LIST_OWNER(listener->dirty.next, struct http_connection, dirty);
        list_remove(&connection->dirty);
        http_connection_send(connection);
    }
    if (!list_empty(&listener->dirty) && !listener->closed) {
        (void)ev_clear_pending(listener->loop, &listener->pass); /* those served here have fed it again, for now */
        ev_timer_set(&listener->pass_again, 0., 0.);
        ev_timer_start(listener->loop, &listener->pass_again);
    }
    http_leave(listener);
}

void http_pass(struct ev_loop *loop, ev_prepare *watcher, int events)
{
    (void)loop, (void)events;
    pass(watcher->data);
}

void http_pass_again(struct ev_loop *loop, ev_timer *watcher, int events)
{
    (void)loop, (void)events;
    pass(watcher->data);
}
