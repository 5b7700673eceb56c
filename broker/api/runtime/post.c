/* post.c - a POST's life: CONNECTING -> WRITING (head, then body) -> READING (until the peer closes) -> done. */
#include "broker/api/runtime/post.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "broker/base/assert.h"

struct post {
    struct ev_loop *loop;
    ev_io io;                            /* active: something is awaited of the socket */
    ev_timer timer;                      /* the time limit; also brings a failure at once to the loop */
    int fd;                              /* -1: none */
    uint16_t port;
    bool http, busy, connected;
    char status[16];                     /* the first bytes of the answer: "HTTP/1.1 200 OK" */
    size_t status_len, answer_bytes;
    char head[POST_PATH_BYTES_MAX + 256];
    size_t head_len, written;            /* of head and body together */
    struct view body;
    void (*on_sent)(void *ctx, bool sent);
    void *ctx;
    char path[];
};

static void post_disconnect(struct post *post)
{
    ev_io_stop(post->loop, &post->io);
    if (post->fd >= 0)
        (void)close(post->fd); /* nothing is to be learnt from a close of a socket */
    post->fd = -1;
    post->connected = false;
}

static void post_done(struct post *post, bool sent)
{
    ev_timer_stop(post->loop, &post->timer);
    if (post->http || !sent)
        post_disconnect(post);
    else
        ev_io_stop(post->loop, &post->io);
    post->busy = false;
    post->body = (struct view){ 0 };
    post->on_sent(post->ctx, sent);
}

static void await(struct post *post, int events)
{
    if (ev_is_active(&post->io) && (post->io.events & (EV_READ | EV_WRITE)) == events)
        return;
    ev_io_stop(post->loop, &post->io);
    ev_io_set(&post->io, post->fd, events);
    ev_io_start(post->loop, &post->io);
}

/* "HTTP/1.x 2" */
static bool answered_2xx(const struct post *post)
{
    return post->status_len >= 10 && memcmp(post->status, "HTTP/1.", 7) == 0 && post->status[8] == ' ' && post->status[9] == '2';
}

/* Reads to the end, so that the peer's answer is not cut off: some log that as an error. */
static void post_read(struct post *post)
{
    char buffer[4096];

    for (;;) {
        ssize_t got = read(post->fd, buffer, sizeof buffer);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && errno == EAGAIN) {
            await(post, EV_READ);
            return;
        }
        if (got <= 0)
            break;
        size_t more = sizeof post->status - post->status_len;
        if (more > (size_t)got)
            more = (size_t)got;
        memcpy(post->status + post->status_len, buffer, more);
        post->status_len += more;
        post->answer_bytes += (size_t)got;
        if (post->answer_bytes > POST_ANSWER_BYTES_MAX)
            break;
    }
    post_done(post, answered_2xx(post));
}

/* True: all is written. */
static bool post_write(struct post *post)
{
    size_t total = post->head_len + post->body.len;

    while (post->written < total) {
        size_t in_head = post->written < post->head_len ? post->written : post->head_len, in_body = post->written - in_head;
        struct iovec parts[2] = {
            { post->head + in_head, post->head_len - in_head },
            { (char *)post->body.data + in_body, post->body.len - in_body },
        };
        struct msghdr message = { .msg_iov = parts, .msg_iovlen = 2 };
        ssize_t written = sendmsg(post->fd, &message, MSG_NOSIGNAL);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0 && errno == EAGAIN) {
            await(post, EV_WRITE);
            return false;
        }
        if (written < 0) {
            post_done(post, false);
            return false;
        }
        post->written += (size_t)written;
    }
    return true;
}

static void post_step(struct post *post)
{
    int error = 0;
    socklen_t len = sizeof error;

    if (!post->connected && (getsockopt(post->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0 || error != 0)) {
        post_done(post, false);
        return;
    }
    post->connected = true;
    if (post->written < post->head_len + post->body.len && !post_write(post))
        return;
    if (post->http)
        post_read(post);
    else
        post_done(post, true);
}

static void on_io(struct ev_loop *loop, ev_io *io, int events)
{
    (void)loop;
    (void)events;
    post_step(io->data);
}

static void on_timer(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct post *post = timer->data;

    (void)loop;
    (void)events;
    /* The status has come, and the peer only does not close: it was told to, but it has what it was sent. */
    post_done(post, post->http && answered_2xx(post));
}

/* false: it cannot even be tried. */
static bool post_connect(struct post *post)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_port = htons(post->port),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

    post->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    return post->fd >= 0 && (connect(post->fd, (struct sockaddr *)&address, sizeof address) == 0 || errno == EINPROGRESS);
}

struct post *post_new(struct ev_loop *loop, uint16_t port, const char *path, void (*on_sent)(void *ctx, bool sent), void *ctx)
{
    size_t len = path != NULL ? strlen(path) : 0;
    struct post *post = calloc(1, sizeof *post + len + 1);

    ASSERT(len <= POST_PATH_BYTES_MAX);
    if (post == NULL)
        return NULL;
    post->loop = loop;
    post->port = port;
    post->http = path != NULL;
    post->fd = -1;
    post->on_sent = on_sent;
    post->ctx = ctx;
    if (len > 0)
        memcpy(post->path, path, len);
    ev_init(&post->io, on_io);
    ev_init(&post->timer, on_timer);
    post->io.data = post->timer.data = post;
    return post;
}

struct post *post_free(struct post *post)
{
    if (post == NULL)
        return NULL;
    ev_timer_stop(post->loop, &post->timer);
    post_disconnect(post);
    free(post);
    return NULL;
}

bool post_busy(const struct post *post)
{
    return post->busy;
}

void post_send(struct post *post, struct view body)
{
    ASSERT(!post->busy);
    post->busy = true;
    post->body = body;
    post->written = post->status_len = post->answer_bytes = post->head_len = 0;
    if (post->http)
        post->head_len = (size_t)snprintf(post->head, sizeof post->head,
                                          "POST %s HTTP/1.1\r\nHost: sandbox.localdomain:%u\r\nContent-Type: application/json\r\n"
                                          "Content-Length: %zu\r\nConnection: close\r\n\r\n", post->path, post->port, body.len);
    ASSERT(post->head_len < sizeof post->head);
    bool possible = post->fd >= 0 || post_connect(post);
    ev_timer_set(&post->timer, possible ? POST_TIMEOUT_MS / 1e3 : 0., 0.);
    ev_timer_start(post->loop, &post->timer);
    if (possible)
        await(post, EV_WRITE);
}
