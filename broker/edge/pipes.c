/* The pipes between us and an instance. None of our ends ever blocks, and no turn reads more than its share of one. */
#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "broker/base/assert.h"
#include "broker/edge/instance.h"

enum { LAST_READS_MAX = 16 };        /* 1 MiB: the largest a pipe can be made */

/* Our end does not block, the child's does: O_NONBLOCK belongs to the end, not to the descriptor, so the child would have it too. */
static bool pipe_make(bool we_write, int *ret_ours, int *ret_childs)
{
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) != 0)
        return false;
    *ret_ours = ends[we_write];
    *ret_childs = ends[!we_write];
    (void)fcntl(*ret_ours, F_SETFL, O_NONBLOCK); /* cannot fail on a fresh pipe */
    return true;
}

bool pipes_make(struct instance *instance)
{
    int ours;

    if (!pipe_make(false, &ours, &instance->child_stderr_fd))
        return false;
    ev_io_set(&instance->errors, ours, EV_READ);
    if (instance->stdio == NULL)
        return true; /* stdin is /dev/null, stdout goes where stderr goes */
    if (!pipe_make(false, &ours, &instance->stdio->child_stdout_fd))
        return false;
    ev_io_set(&instance->stdio->output, ours, EV_READ);
    if (!pipe_make(true, &ours, &instance->stdio->child_stdin_fd))
        return false;
    ev_io_set(&instance->stdio->input, ours, EV_WRITE);
    return true;
}

void watched_close(struct instance *instance, struct ev_io *watcher)
{
    if (watcher->fd < 0)
        return;
    ev_io_stop(instance->loop, watcher);
    (void)close(watcher->fd);
    ev_io_set(watcher, -1, watcher->events);
}

void input_put(struct instance *instance, const struct view *lines, unsigned count)
{
    struct bytes *unwritten = &instance->stdio->unwritten;
    bool framed = count > 1 || instance->protocol == PROTOCOL_STDIO_LINES; /* it is line breaks that part the inputs */

    for (unsigned i = 0; i < count; i++) {
        size_t start = unwritten->len;
        bytes_put_view(unwritten, lines[i]);
        /* JSON comes on one line; an invocation may be of any bytes. As two lines it would answer for its successors. */
        for (char *at; framed && (at = memchr(unwritten->data + start, '\n', unwritten->len - start)) != NULL;)
            *at = ' ';
        bytes_put_char(unwritten, '\n');
    }
    ASSERT(!unwritten->failed); /* bounded by the engine's concurrency and batch; without it the leases would hang */
}

void input_write(struct instance *instance)
{
    struct bytes *unwritten = &instance->stdio->unwritten;

    while (instance->stdio->input.fd >= 0 && instance->stdio->unwritten_at < unwritten->len) {
        ssize_t written = write(instance->stdio->input.fd, unwritten->data + instance->stdio->unwritten_at, unwritten->len - instance->stdio->unwritten_at);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0 && errno == EAGAIN) {
            ev_io_start(instance->loop, &instance->stdio->input);
            return;
        }
        ASSERT(written > 0); /* we hold the other end, too */
        instance->stdio->unwritten_at += (size_t)written;
        instance->stdio->written_bytes += (uint64_t)written;
    }
    ev_io_stop(instance->loop, &instance->stdio->input);
    bytes_clear(unwritten);
    instance->stdio->unwritten_at = 0;
    if (unwritten->capacity > READ_BYTES)
        bytes_done(unwritten);
    if (instance->stdio->input_ends)
        watched_close(instance, &instance->stdio->input);
}

void on_input(struct ev_loop *loop, struct ev_io *watcher, int revents)
{
    (void)loop, (void)revents;
    input_write(watcher->data);
}

void input_end(struct instance *instance)
{
    instance->stdio->input_ends = true;
    input_write(instance);
}

bool input_unread(const struct instance *instance)
{
    int waiting = 0;

    if (instance->stdio == NULL || ioctl(instance->stdio->child_stdin_fd, FIONREAD, &waiting) != 0)
        return false;
    return (uint64_t)waiting == instance->stdio->written_bytes;
}

bool pipe_read(struct instance *instance, const struct ev_io *watcher, char scratch[READ_BYTES], unsigned reads_max, take_fn *take)
{
    for (unsigned reads = 0; reads < reads_max; reads++) {
        ssize_t len = read(watcher->fd, scratch, READ_BYTES);
        if (len < 0 && errno == EINTR)
            continue;
        if (len < 0)
            return true; /* EAGAIN; a pipe knows no other error */
        if (len == 0)
            return false;
        take(instance, (struct view){ .data = scratch, .len = (size_t)len });
        if ((size_t)len < READ_BYTES)
            return true; /* most likely empty; else the loop comes back */
    }
    return true;
}

void pipe_finish(struct instance *instance, const struct ev_io *watcher, char scratch[READ_BYTES], take_fn *take)
{
    for (unsigned reads = 0; watcher->fd >= 0 && reads < LAST_READS_MAX; reads++)
        if (!pipe_read(instance, watcher, scratch, 1, take))
            break;
}
