/* link.h - one connection to a daemon: dials in the background, and again when it is lost, says hello, carries calls.
 *
 *              pause over       connected       greeted         hello answered
 *     PAUSING ----------> DIALING -------> GREETING -----> HELLO -------------> UP
 *        ^                   |                |              |                   |
 *        +-------------------+----------------+---<-- CLOSING (all I/O ended) ---+      lost, refused, link_fault()
 *
 * The wire is nng's REQ protocol (frame.h), the other end any nng REP socket; the stream below is nng's. Not nng's own REQ
 * socket, because in nng 1.5 a connection that is cut while a message is half read can block the one reaper thread for good
 * (the receive of the pipe is resubmitted on a stopped aio, and never completes): then nothing reconnects, and nng_close()
 * never returns. Seen after a few cuts under load; a stream that we close ourselves has no such state.
 *
 * Owns: dialer, stream, and what is being read. Callbacks come on nng's threads, never with a lock of the link held, so they
 * may call link_send() and link_fault(). Two `done` may run at the same time; `up` and `down` have nothing beside them. */
#ifndef SLUICE_CLIENT_LINK_H
#define SLUICE_CLIENT_LINK_H

#include <nng/nng.h>

#include "schemas/codec/frame.h"
#include "producers/client/wire.h"

struct link;

struct link_watch {
    void (*up)(void *user, const struct wire_limits *limits);
    void (*down)(void *user);   /* before the calls that were out get their NULL */
    void (*failed)(void *user, const struct sluice_error *why); /* an attempt to connect; may be NULL */
    void *user;
};
struct link_options {
    const char *url;            /* NULL: sluice_url_default() */
    const char *token;          /* NULL: for tcp the contents of token_file, or else of $SLUICE_TOKEN_FILE, if set */
    const char *token_file;
    const char *name;           /* NULL: the program's name */
};
enum { LINK_URL_BYTES_MAX = 512, LINK_TOKEN_BYTES_MAX = 4096, LINK_NAME_BYTES_MAX = 128, LINK_PARTS_MAX = 2 };

/* One request, in memory of its sender, untouched from link_send() until `done`. */
struct link_call {
    struct view parts[LINK_PARTS_MAX];  /* the body, in pieces; borrowed */
    /* The reply, which the callee frees; NULL: the connection was lost first. Exactly once for each true link_send(). */
    void (*done)(struct link_call *call, nng_msg *reply);
    void *user;
    /* Of the link: */
    struct link_call *next;
    nng_msg *early;             /* a reply that came before the write was reported as done */
    uint32_t id;
    uint8_t head[FRAME_HEAD_BYTES_MAX];
    size_t head_bytes;
};

/* SLUICE_EINVAL: an option is wrong. A daemon that is not there is no error. Starts to dial at once. */
enum sluice_err link_open(const struct link_options *options, const struct link_watch *watch, struct link **ret_link,
                          struct sluice_error *reterr);
/* Queues the call's bytes; sent in the order of these calls. false: not up, and the call was not taken. Any thread. */
bool link_send(struct link *link, struct link_call *call);
/* The daemon answered nonsense, or forgot our hello: remembers why, drops the connection and makes a new one. Any thread. */
void link_fault(struct link *link, const struct sluice_error *why);
/* Why the link is not up, for people. Any thread. */
void link_reason(struct link *link, struct sluice_error *ret_why);
/* Ends it all. Calls that were out get their NULL on this thread; no watch is called after. Not from a callback. NULL is fine. */
void link_close(struct link *link);

enum sluice_err link_nng_error(int nng_err, const char *what, const char *url, struct sluice_error *reterr);

#endif
