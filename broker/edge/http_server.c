#include <stdlib.h>

#include "broker/base/assert.h"
#include "broker/edge/http_internal.h"

/* ---- entering and leaving ---- */

void http_enter(struct http_server *server)
{
    server->entered++;
}

void http_leave(struct http_server *server)
{
    ASSERT(server->entered > 0);
    if (--server->entered > 0)
        return;
    while (!list_empty(&server->dead))
        http_connection_free(LIST_OWNER(server->dead.next, struct http_connection, link));
    while (!list_empty(&server->closed)) {
        struct http_listener *listener = LIST_OWNER(server->closed.next, struct http_listener, link);
        /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): the one freed before has left the list */
        ASSERT(listener->count == 0);
        ASSERT(listener->bodies_bytes == 0);
        ASSERT(listener->unsent_bytes == 0);
        list_remove(&listener->link);
        free(listener);
    }
}

/* ---- deadlines ---- */

/* Of the last tick of the kernel, at most 10 ms old: deadlines are of seconds, and this is asked several times a request. */
int64_t http_now_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC_COARSE, &now); /* cannot fail with this clock */
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void timer_set(struct http_server *server)
{
    const struct heap_node *first = heap_first(&server->deadlines);

    ev_timer_stop(server->loop, &server->deadline);
    if (first == NULL)
        return;
    int64_t after_ms = first->key - http_now_ms();
    ev_timer_set(&server->deadline, after_ms > 0 ? (double)after_ms / 1000. : 0., 0.);
    ev_timer_start(server->loop, &server->deadline);
}

/* Moved only if it would come too late: a request that follows another costs no work on deadlines at all. */
void http_deadline(struct http_connection *connection)
{
    struct http_server *server = http_server_of(connection);
    struct heap_node *node = &connection->deadline;
    int64_t by_ms = connection->read_by_ms;

    if (connection->send_by_ms != 0 && (by_ms == 0 || connection->send_by_ms < by_ms))
        by_ms = connection->send_by_ms;
    if (by_ms == 0 || (node->place != 0 && node->key <= by_ms))
        return;
    heap_set(&server->deadlines, node, by_ms);
    if (heap_first(&server->deadlines) == node)
        timer_set(server);
}

static void on_deadline(struct ev_loop *loop, ev_timer *watcher, int events)
{
    struct http_server *server = watcher->data;
    int64_t now_ms = http_now_ms();
    struct heap_node *first;

    (void)loop, (void)events;
    http_enter(server);
    while ((first = heap_first(&server->deadlines)) != NULL && first->key <= now_ms) {
        heap_remove(&server->deadlines, first);
        http_deadline_passed(LIST_OWNER(first, struct http_connection, deadline), now_ms);
    }
    timer_set(server);
    http_leave(server);
}

/* ---- life ---- */

static struct http_limits limits_or_defaults(const struct http_limits *given)
{
    struct http_limits limits = given != NULL ? *given : (struct http_limits){ 0 };

    if (limits.connections_max == 0)
        limits.connections_max = HTTP_CONNECTIONS_MAX;
    if (limits.line_bytes_max == 0)
        limits.line_bytes_max = HTTP_LINE_BYTES_MAX;
    if (limits.head_bytes_max == 0)
        limits.head_bytes_max = limits.line_bytes_max > HTTP_LINE_BYTES_MAX ? limits.line_bytes_max + HTTP_HEAD_BYTES_MAX : (size_t)HTTP_HEAD_BYTES_MAX;
    if (limits.body_bytes_max == 0)
        limits.body_bytes_max = HTTP_BODY_BYTES_MAX;
    if (limits.bodies_bytes_max == 0)
        limits.bodies_bytes_max = HTTP_BODIES_BYTES_MAX;
    if (limits.unsent_bytes_max == 0)
        limits.unsent_bytes_max = HTTP_UNSENT_SUM_MAX;
    if (limits.idle_ms == 0)
        limits.idle_ms = HTTP_IDLE_MS;
    if (limits.request_ms == 0)
        limits.request_ms = HTTP_REQUEST_MS;
    if (limits.send_ms == 0)
        limits.send_ms = HTTP_SEND_MS;
    if (limits.line_bytes_max > limits.head_bytes_max)
        limits.line_bytes_max = limits.head_bytes_max;
    ASSERT(limits.head_bytes_max <= UINT32_MAX / 2); /* spans count in 32 bits, and so does the parser */
    return limits;
}

struct http_server *http_server_new(struct ev_loop *loop, const struct http_limits *limits, const struct http_handler *handler)
{
    struct http_server *server = calloc(1, sizeof *server);

    ASSERT(handler->on_request != NULL);
    if (server == NULL)
        return NULL;
    server->loop = loop;
    server->handler = *handler;
    server->limits = limits_or_defaults(limits);
    list_init(&server->listeners);
    list_init(&server->closed);
    list_init(&server->dirty);
    list_init(&server->dead);
    ev_prepare_init(&server->pass, http_pass);
    ev_set_priority(&server->pass, EV_MAXPRI);
    ev_timer_init(&server->pass_again, http_pass_again, 0., 0.);
    ev_set_priority(&server->pass_again, EV_MINPRI);
    ev_timer_init(&server->deadline, on_deadline, 0., 0.);
    ev_set_priority(&server->deadline, EV_MINPRI + 1); /* after a stall of ours: what has come meanwhile is not late */
    ev_timer_init(&server->accept_again, http_accept_again, 0., 0.);
    server->pass.data = server->pass_again.data = server->deadline.data = server->accept_again.data = server;
    return server;
}

struct http_server *http_server_free(struct http_server *server)
{
    if (server == NULL)
        return NULL;
    ASSERT(server->entered == 0);
    ASSERT(list_empty(&server->listeners));
    (void)ev_clear_pending(server->loop, &server->pass);
    ev_timer_stop(server->loop, &server->pass_again);
    ev_timer_stop(server->loop, &server->deadline);
    ev_timer_stop(server->loop, &server->accept_again);
    heap_done(&server->deadlines);
    bytes_done(&server->spare);
    free(server);
    return NULL;
}
