/* post.h - records on their way to a port of this machine: an HTTP POST each, or text on a connection that stays.
 * Only 127.0.0.1. One send at a time; nothing blocks; what takes longer than POST_TIMEOUT_MS has failed. On the loop's thread; on_sent comes from
 * the loop, never from inside a call. */
#ifndef SLUICE_API_RUNTIME_POST_H
#define SLUICE_API_RUNTIME_POST_H

#include <ev.h>
#include <stdbool.h>
#include <stdint.h>

#include "schemas/codec/view.h"

struct post;

enum {
    POST_TIMEOUT_MS = 5000,
    POST_ANSWER_BYTES_MAX = 64 << 10,    /* read of an answer, to let the peer finish; its status line is all that counts */
    POST_PATH_BYTES_MAX = 256,
};

/* path: of HTTP POSTs, "/..." of printable characters without spaces; NULL: plain TCP. Copied. NULL when out of memory. */
struct post *post_new(struct ev_loop *loop, uint16_t port, const char *path, void (*on_sent)(void *ctx, bool sent), void *ctx);
struct post *post_free(struct post *post);           /* NULL is fine; a send in progress is given up, on_sent is not called */
/* `body` must stay until on_sent. sent: an answer 2xx came; for TCP: the kernel took all of it. */
void post_send(struct post *post, struct view body);
bool post_busy(const struct post *post);

#endif
