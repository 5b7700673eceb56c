#include <errno.h>
#include <sys/socket.h>

#include "broker/base/assert.h"
#include "broker/edge/http_internal.h"
#include "broker/edge/log.h"

void http_connection_dirty(struct http_connection *connection)
{
    struct http_server *server = http_server_of(connection);

    if (connection->state == CONNECTION_GONE || !list_empty(&connection->dirty))
        return;
    /* Its reader keeps up, and its writer would write for ever: the rest of the loop has its turn first. */
    if (connection->draining) {
        http_watch(connection, EV_WRITE, true);
        return;
    }
    list_push(&server->dirty, &connection->dirty);
    ev_feed_event(server->loop, &server->pass, EV_CUSTOM);
}

/* ---- answers that peers do not take ---- */

/* What is sent of an answer is held with the rest of it. */
void http_unsent_count(struct http_connection *connection, size_t held)
{
    struct http_listener *listener = connection->listener;

    ASSERT(listener->unsent_bytes >= connection->unsent_counted);
    listener->unsent_bytes = listener->unsent_bytes - connection->unsent_counted + held;
    connection->unsent_counted = held;
}

static struct http_connection *slowest_of(const struct list *connections, struct http_connection *slowest)
{
    LIST_EACH(at, connections) {
        struct http_connection *connection = LIST_OWNER(at, struct http_connection, link);
        if (connection->unsent_counted > 0 && (slowest == NULL || connection->send_by_ms < slowest->send_by_ms))
            slowest = connection;
    }
    return slowest;
}

/* A peer that asks, and does not read, has us hold its answers: so much, of all of them, and no more. Who still takes some is the last to go. */
static void unsent_bound(struct http_listener *listener)
{
    while (listener->unsent_bytes > listener->unsent_bytes_max) {
        struct http_connection *slowest = slowest_of(&listener->idle, slowest_of(&listener->busy, NULL));
        uint32_t now_s = (uint32_t)(http_now_ms() / 1000);
        ASSERT(slowest != NULL);
        if (now_s != listener->cut_logged_s) {
            log_format(LOG_WARN, "event=http-cut port=%u held=%zu limit=%zu reason=\"peers do not read their answers; who took nothing for longest is cut off\"",
                       listener->port, listener->unsent_bytes, listener->unsent_bytes_max);
            listener->cut_logged_s = now_s;
        }
        http_connection_close(slowest, HTTP_TIMED_OUT);
    }
}

/* ---- sending ---- */

/* A connection that waits holds no buffer. Answers mostly leave before the next one is made, so that one is enough for all. */
static void buffer_give_back(struct http_connection *connection)
{
    struct bytes *spare = &http_server_of(connection)->spare, *out = &connection->out;

    if (spare->data == NULL && out->capacity <= HTTP_SPARE_BYTES_MAX) {
        *spare = *out;
        bytes_clear(spare);
        *out = (struct bytes){ 0 };
    }
    bytes_done(out);
}

static void all_sent(struct http_connection *connection)
{
    http_unsent_count(connection, 0);
    buffer_give_back(connection);
    connection->sent = 0;
    connection->send_by_ms = 0;
    http_watch(connection, EV_WRITE, false);
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
    int64_t send_ms = http_server_of(connection)->limits.send_ms;

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
    http_watch(connection, EV_WRITE, true);
    http_deadline(connection);
    http_unsent_count(connection, out->len);
    if (connection->exchange != NULL && connection->exchange->answer == ANSWER_FINISHED)
        http_exchange_forget_body(connection->exchange); /* slow readers are not to take the room of those who ask */
    unsent_bound(connection->listener); /* it may be this one */
}

static void tell_drained(struct http_connection *connection)
{
    const struct http_handler *handler = &http_server_of(connection)->handler;
    struct http_exchange *exchange = connection->exchange;

    if (exchange == NULL || exchange->answer != ANSWER_BEGUN || !exchange->drain_wanted ||
        http_connection_unsent(connection) > HTTP_UNSENT_HIGH_BYTES / 4)
        return;
    exchange->drain_wanted = false;
    if (handler->on_drained == NULL)
        return;
    connection->draining = true;
    handler->on_drained(connection->listener->ctx, exchange);
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
        http_watch(connection, EV_WRITE, false);
    if (connection->state != CONNECTION_GONE)
        tell_drained(connection);
    if (connection->state != CONNECTION_GONE)
        http_connection_advance(connection);
}

/* What was written since the last pass, mostly in one callback of the loop, goes now: one send a connection. A peer that pipelines has its next
 * request served by it, which makes its connection dirty again; so that many such peers do not keep the loop to themselves, a round of the loop
 * has an end to them. */
static void pass(struct http_server *server)
{
    unsigned round = ev_iteration(server->loop);

    http_enter(server);
    if (server->round != round)
        server->sends = 0;
    server->round = round;
    for (; server->sends < HTTP_SENDS_PER_ROUND && !list_empty(&server->dirty); server->sends++) {
        struct http_connection *connection = LIST_OWNER(server->dirty.next, struct http_connection, dirty);
        list_remove(&connection->dirty);
        http_connection_send(connection);
    }
    if (!list_empty(&server->dirty)) {
        (void)ev_clear_pending(server->loop, &server->pass); /* those served here have fed it again, for now */
        ev_timer_set(&server->pass_again, 0., 0.);
        ev_timer_start(server->loop, &server->pass_again);
    }
    http_leave(server);
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
