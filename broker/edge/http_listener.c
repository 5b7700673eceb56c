#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "broker/base/assert.h"
#include "broker/edge/http_internal.h"
#include "broker/edge/log.h"

/* ---- accepting ---- */

static bool make_room(struct http_listener *listener)
{
    if (listener->count < listener->connections_max)
        return true;
    if (list_empty(&listener->idle))
        return false;
    http_connection_close(LIST_OWNER(listener->idle.next, struct http_connection, link), HTTP_CLOSED);
    return listener->count < listener->connections_max;
}

static void connection_add(struct http_listener *listener, int fd)
{
    int on = 1;
    const struct http_handler *handler = &listener->server->handler;

    if ((handler->admit != NULL && !handler->admit(listener->ctx, fd)) || listener->closed) {
        (void)close(fd); /* it was never ours */
        return;
    }
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* if not, answers are late, that is all */
    bool room = make_room(listener);
    struct http_connection *connection = http_connection_new(listener, fd);
    if (connection == NULL) {
        log_format(LOG_ERROR, "event=http-refused reason=\"out of memory\"");
        (void)close(fd);
    } else if (!room) {
        http_connection_refuse(connection, 503, "too many connections; try again later", HTTP_REFUSED);
    }
}

static void accept_pause(struct http_listener *listener)
{
    struct http_server *server = listener->server;

    if (!listener->failing)
        log_format(LOG_ERROR, "event=accept-failed on=http port=%u reason=\"%s\" next=\"tried again every %d ms%s\"", listener->port,
                   strerror(errno), HTTP_ACCEPT_PAUSE_MS, errno == EMFILE ? "; if it lasts, raise the limit (LimitNOFILE=, ulimit -n)" : "");
    listener->failing = true;
    ev_io_stop(server->loop, &listener->acceptable);
    if (!ev_is_active(&server->accept_again)) {
        ev_timer_set(&server->accept_again, HTTP_ACCEPT_PAUSE_MS / 1000., 0.);
        ev_timer_start(server->loop, &server->accept_again);
    }
}

static void on_acceptable(struct ev_loop *loop, ev_io *watcher, int events)
{
    struct http_listener *listener = watcher->data;
    struct http_server *server = listener->server;

    (void)loop, (void)events;
    http_enter(server);
    for (unsigned i = 0; i < HTTP_ACCEPTS_PER_PASS && !listener->closed && !listener->paused; i++) {
        int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            listener->failing = false;
            connection_add(listener, fd);
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            accept_pause(listener);
            break;
        } else if (errno == EAGAIN) {
            break;
        } /* else that one peer is gone already */
    }
    http_leave(server);
}

void http_accept_again(struct ev_loop *loop, ev_timer *watcher, int events)
{
    struct http_server *server = watcher->data;

    (void)events;
    LIST_EACH(at, &server->listeners) {
        struct http_listener *listener = LIST_OWNER(at, struct http_listener, link);
        if (listener->failing && !listener->paused)
            ev_io_start(loop, &listener->acceptable);
    }
}

/* ---- opening ---- */

struct address {
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } socket;
    socklen_t len;
};

static bool parse_port(const char *text, in_port_t *ret_port)
{
    char *end;
    unsigned long port = strtoul(text, &end, 10);

    if (*text < '0' || *text > '9' || *end != '\0' || port > UINT16_MAX)
        return false;
    *ret_port = htons((uint16_t)port);
    return true;
}

/* HOST:PORT, the host a number, in brackets if it is IPv6, or localhost: names may need a resolver, which blocks. */
static bool parse_address(const char *text, struct address *ret)
{
    const char *colon = strrchr(text, ':');
    char host[64];

    if (colon == NULL || (size_t)(colon - text) >= sizeof host)
        return false;
    memcpy(host, text, (size_t)(colon - text));
    host[colon - text] = '\0';
    *ret = (struct address){ .len = 0 };
    size_t len = strlen(host);
    if (len > 2 && host[0] == '[' && host[len - 1] == ']') {
        host[len - 1] = '\0';
        ret->socket.v6.sin6_family = AF_INET6;
        ret->len = sizeof ret->socket.v6;
        return inet_pton(AF_INET6, host + 1, &ret->socket.v6.sin6_addr) == 1 && parse_port(colon + 1, &ret->socket.v6.sin6_port);
    }
    ret->socket.v4.sin_family = AF_INET;
    ret->len = sizeof ret->socket.v4;
    const char *number = strcmp(host, "localhost") == 0 ? "127.0.0.1" : host;
    return inet_pton(AF_INET, number, &ret->socket.v4.sin_addr) == 1 && parse_port(colon + 1, &ret->socket.v4.sin_port);
}

static int socket_listen(struct address *address)
{
    int on = 1;
    int fd = socket(address->socket.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -1;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 || bind(fd, &address->socket.any, address->len) != 0 ||
        listen(fd, SOMAXCONN) != 0 || getsockname(fd, &address->socket.any, &address->len) != 0) {
        int error = errno;
        (void)close(fd); /* nothing was sent to it */
        errno = error;
        return -1;
    }
    return fd;
}

enum sluice_err http_listen(struct http_server *server, const char *text, void *ctx, struct http_listener **ret_listener,
                            struct sluice_error *reterr)
{
    struct address address;

    if (!parse_address(text, &address))
        return sluice_fail(reterr, SLUICE_EINVAL, "cannot listen on '%s': it is not ADDRESS:PORT, like 127.0.0.1:4566 or [::1]:4566", text);
    struct http_listener *listener = calloc(1, sizeof *listener);
    if (listener == NULL)
        return sluice_fail(reterr, SLUICE_ENOMEM, "cannot listen on %s: out of memory", text);
    listener->fd = socket_listen(&address);
    if (listener->fd < 0) {
        free(listener);
        return sluice_fail(reterr, SLUICE_EIO, "cannot listen on %s: %s; choose another address", text, strerror(errno));
    }
    listener->server = server;
    listener->ctx = ctx;
    listener->connections_max = server->limits.connections_max;
    listener->bodies_bytes_max = server->limits.bodies_bytes_max;
    listener->unsent_bytes_max = server->limits.unsent_bytes_max;
    listener->port = ntohs(address.socket.any.sa_family == AF_INET ? address.socket.v4.sin_port : address.socket.v6.sin6_port);
    list_init(&listener->link);
    list_init(&listener->idle);
    list_init(&listener->busy);
    list_push(&server->listeners, &listener->link);
    ev_io_init(&listener->acceptable, on_acceptable, listener->fd, EV_READ);
    listener->acceptable.data = listener;
    ev_io_start(server->loop, &listener->acceptable);
    *ret_listener = listener;
    return SLUICE_OK;
}

void http_listener_bound(struct http_listener *listener, unsigned connections_max, size_t bytes_max)
{
    listener->connections_max = connections_max;
    listener->bodies_bytes_max = listener->unsent_bytes_max = bytes_max;
}

static void part_all(struct list *connections)
{
    while (!list_empty(connections))
        http_connection_part(LIST_OWNER(connections->next, struct http_connection, link));
}

void http_listener_close(struct http_listener *listener)
{
    if (listener == NULL || listener->closed)
        return;
    struct http_server *server = listener->server;
    http_enter(server);
    listener->closed = true;
    ev_io_stop(server->loop, &listener->acceptable);
    (void)close(listener->fd); /* nothing was sent to it */
    part_all(&listener->busy);
    part_all(&listener->idle);
    list_remove(&listener->link);
    list_push(&server->closed, &listener->link);
    http_leave(server);
}

uint16_t http_listener_port(const struct http_listener *listener)
{
    return listener->port;
}

unsigned http_listener_connections(const struct http_listener *listener)
{
    return listener->count;
}

void http_listener_pause(struct http_listener *listener, bool paused)
{
    struct ev_loop *loop = listener->server->loop;

    listener->paused = paused;
    if (paused)
        ev_io_stop(loop, &listener->acceptable);
    else if (!listener->failing || !ev_is_active(&listener->server->accept_again))
        ev_io_start(loop, &listener->acceptable);
}
