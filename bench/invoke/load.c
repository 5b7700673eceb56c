#include "bench/invoke/load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "bench/harness.h"

enum { CLIENTS_MAX = 64, SAMPLES_MAX = 1 << 20, ANSWER_BYTES_MAX = 16 << 10 };

struct client {
    int fd;
    double sent_at;
    size_t len;
    char answer[ANSWER_BYTES_MAX];
};

static double cpu_now(void)
{
    struct timespec cpu;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
    return (double)cpu.tv_sec + (double)cpu.tv_nsec / 1e9;
}

static void fail(const char *what, const char *detail)
{
    (void)fprintf(stderr, "bench: %s: %s\n", what, detail);
    exit(1);
}

static int request_make(char *request, size_t size, const char *path)
{
    return snprintf(request, size, "POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 14\r\n\r\n{\"key\":\"text\"}", path);
}

static void client_open(struct client *client, uint16_t port)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int on = 1;

    client->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (client->fd < 0 || connect(client->fd, (struct sockaddr *)&address, sizeof address) != 0)
        fail("cannot connect", strerror(errno));
    (void)setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

/* True: one whole answer is here, and was a 200. */
static bool client_receive(struct client *client)
{
    ssize_t got = read(client->fd, client->answer + client->len, sizeof client->answer - 1 - client->len);

    if (got <= 0)
        fail("the server closed the connection", "an answer was awaited");
    client->len += (size_t)got;
    client->answer[client->len] = '\0';
    const char *end = strstr(client->answer, "\r\n\r\n"), *length = strcasestr(client->answer, "\r\nContent-Length:");
    if (end == NULL)
        return false;
    if (strncmp(client->answer, "HTTP/1.1 200", 12) != 0 || length == NULL || length > end)
        fail("an invoke failed", client->answer);
    return client->len >= (size_t)(end + 4 - client->answer) + strtoul(length + 17, NULL, 10);
}

struct load_result load_run(uint16_t port, const char *path, unsigned clients, double seconds)
{
    static struct client all[CLIENTS_MAX];
    static double samples[SAMPLES_MAX];
    struct load_result result = { 0 };
    char request[512];
    int poll = epoll_create1(EPOLL_CLOEXEC);
    int request_len = request_make(request, sizeof request, path);

    double cpu = cpu_now(), start = bench_now(), end = start + seconds, now = start;
    for (unsigned i = 0; i < clients; i++) {
        struct epoll_event event = { .events = EPOLLIN, .data.ptr = &all[i] };
        client_open(&all[i], port);
        (void)epoll_ctl(poll, EPOLL_CTL_ADD, all[i].fd, &event);
        all[i].len = 0;
        all[i].sent_at = bench_now();
        if (write(all[i].fd, request, (size_t)request_len) != request_len)
            fail("cannot send", strerror(errno));
    }
    for (unsigned running = clients; running > 0;) {
        struct epoll_event events[CLIENTS_MAX];
        int ready = epoll_wait(poll, events, CLIENTS_MAX, 30000);
        if (ready <= 0)
            fail("no answer within 30 s", path);
        for (int i = 0; i < ready; i++) {
            struct client *client = events[i].data.ptr;
            if (!client_receive(client))
                continue;
            now = bench_now();
            if (result.invokes < SAMPLES_MAX)
                samples[result.invokes] = (now - client->sent_at) * 1e6;
            result.invokes++;
            client->len = 0;
            if (now >= end) {
                (void)close(client->fd);
                running--;
                continue;
            }
            client->sent_at = now;
            if (write(client->fd, request, (size_t)request_len) != request_len)
                fail("cannot send", strerror(errno));
        }
    }
    (void)close(poll);
    size_t count = result.invokes < SAMPLES_MAX ? (size_t)result.invokes : SAMPLES_MAX;
    result.per_s = (double)result.invokes / (now - start);
    result.cpu_us = (cpu_now() - cpu) * 1e6 / (double)result.invokes;
    result.p50_us = bench_percentile(samples, count, 50);
    result.p99_us = bench_percentile(samples, count, 99);
    return result;
}

int load_send(uint16_t port, const char *path)
{
    struct client client = { .fd = -1 };
    char request[512];
    int len = request_make(request, sizeof request, path);

    client_open(&client, port);
    if (write(client.fd, request, (size_t)len) != len)
        fail("cannot send", strerror(errno));
    return client.fd;
}

void load_wait(int fd)
{
    struct client client = { .fd = fd };

    while (!client_receive(&client))
        continue;
    (void)close(fd);
}
