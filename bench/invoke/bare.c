#include "bench/invoke/bare.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CONNECTIONS_MAX = 512, REQUEST_BYTES_MAX = 16 << 10, EVENTS_MAX = 64 };

struct connection {
    int fd;
    bool listens, runtime;
    struct connection *client;   /* of a function: whom it works for */
    size_t len;
    char request[REQUEST_BYTES_MAX];
};

static struct connection connections[CONNECTIONS_MAX];
static struct connection *parked[CONNECTIONS_MAX], *waiting[CONNECTIONS_MAX]; /* functions without work; clients without a function */
static unsigned used, parked_count, waiting_count;
static int poller;

static struct connection *watch(int fd, bool listens, bool runtime)
{
    if (used == CONNECTIONS_MAX)
        exit(1);
    struct connection *connection = &connections[used++];
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = connection };
    *connection = (struct connection){ .fd = fd, .listens = listens, .runtime = runtime };
    (void)epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
    return connection;
}

static void answer(const struct connection *to, const char *status, const char *more, const char *body, size_t body_len)
{
    char bytes[REQUEST_BYTES_MAX];
    int len = snprintf(bytes, sizeof bytes, "HTTP/1.1 %s\r\nContent-Type: application/json\r\n%sContent-Length: %zu\r\n\r\n%.*s", status, more,
                       body_len, (int)body_len, body);
    (void)!write(to->fd, bytes, (size_t)len);
}

static void hand_over(struct connection *function, struct connection *client)
{
    const char *body = strstr(client->request, "\r\n\r\n") + 4;

    function->client = client;
    answer(function, "200 OK",
           "Lambda-Runtime-Aws-Request-Id: 00000000-0000-4000-8000-000000000000\r\nLambda-Runtime-Deadline-Ms: 1800000000000\r\n"
           "Lambda-Runtime-Invoked-Function-Arn: arn:aws:lambda:us-east-1:000000000000:function:noop\r\n"
           "Lambda-Runtime-Trace-Id: Root=1-00000000-000000000000000000000000;Parent=0000000000000000;Sampled=0\r\n",
           body, client->len - (size_t)(body - client->request));
    client->len = 0;
}

static void serve(struct connection *connection)
{
    const char *end = strstr(connection->request, "\r\n\r\n"), *length = strcasestr(connection->request, "\r\nContent-Length:");

    if (end == NULL)
        return;
    size_t head = (size_t)(end + 4 - connection->request), body = length == NULL || length > end ? 0 : strtoul(length + 17, NULL, 10);
    if (connection->len < head + body)
        return;
    if (!connection->runtime) {
        if (parked_count > 0)
            hand_over(parked[--parked_count], connection);
        else
            waiting[waiting_count++] = connection;
        return;
    }
    if (connection->request[0] == 'G') { /* next */
        connection->len = 0;
        if (waiting_count > 0) {
            struct connection *client = waiting[0];
            memmove(waiting, waiting + 1, --waiting_count * sizeof *waiting);
            hand_over(connection, client);
        } else {
            parked[parked_count++] = connection;
        }
        return;
    }
    answer(connection->client, "200 OK", "", connection->request + head, body);
    answer(connection, "202 Accepted", "", "{\"status\":\"OK\"}", 15);
    connection->len = 0;
}

static void run(int invoke_fd, int runtime_fd)
{
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    poller = epoll_create1(0);
    (void)watch(invoke_fd, true, false);
    (void)watch(runtime_fd, true, true);
    for (;;) {
        struct epoll_event events[EVENTS_MAX];
        int ready = epoll_wait(poller, events, EVENTS_MAX, -1);
        for (int i = 0; i < ready; i++) {
            struct connection *connection = events[i].data.ptr;
            if (connection->listens) {
                int fd = accept(connection->fd, NULL, NULL), on = 1;
                (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
                (void)watch(fd, false, connection->runtime);
                continue;
            }
            ssize_t got = read(connection->fd, connection->request + connection->len, REQUEST_BYTES_MAX - 1 - connection->len);
            if (got <= 0) { /* clients end with their run; the place is not used again */
                (void)close(connection->fd);
                continue;
            }
            connection->len += (size_t)got;
            connection->request[connection->len] = '\0';
            serve(connection);
        }
    }
}

static int listen_any(uint16_t *ret_port)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 1024) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &len) != 0) {
        perror("bench: cannot listen");
        exit(1);
    }
    *ret_port = ntohs(address.sin_port);
    return fd;
}

struct bare bare_start(void)
{
    struct bare bare;
    int invoke_fd = listen_any(&bare.invoke_port), runtime_fd = listen_any(&bare.runtime_port);

    bare.pid = fork();
    if (bare.pid == 0)
        run(invoke_fd, runtime_fd);
    (void)close(invoke_fd);
    (void)close(runtime_fd);
    return bare;
}

void bare_stop(struct bare *bare)
{
    (void)kill(bare->pid, SIGKILL);
    (void)waitpid(bare->pid, NULL, 0);
}
