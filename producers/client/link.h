/* link.h - one connection to a daemon: dials in the background, and again when it is lost, and says hello on every new pipe.
 *
 *            pipe is there            hello answered
 *     DOWN ----------------> HELLO -------------------> UP
 *      ^                      | ^                        |
 *      |        hello refused | | after a pause          |
 *      |                      v |      link_fault()      |
 *      +------------------- REFUSED <--------------------+
 *      +------------------------------ pipe is gone -----+    (from every state)
 *
 * Owns: the nng socket, its one dialer, the context that hello uses. Whoever uses the link opens contexts of its own on
 * link_socket() and sends on them only between `up` and `down`.
 * What nng does by itself is not relied on: requests are never resent by nng (NNG_OPT_REQ_RESENDTIME infinite), so the
 * user takes its unanswered requests back at `down` (nng_aio_cancel) and sends them again after the next `up`. nng redials
 * only when the REM_POST of the old pipe has returned, so nothing cancelled there can overtake hello on the new pipe. */
#ifndef SLUICE_CLIENT_LINK_H
#define SLUICE_CLIENT_LINK_H

#include <nng/nng.h>

#include "producers/client/wire.h"

struct link;

/* Called on nng's threads, one at a time, `up` and `down` in turn; must not block, and must not call link_close(). */
struct link_watch {
    void (*up)(void *user, const struct wire_limits *limits);
    void (*down)(void *user);
    void *user;
};
struct link_options {
    const char *url;        /* NULL: sluice_url_default() */
    const char *token;      /* NULL: for tcp the contents of $SLUICE_TOKEN_FILE, if set */
    const char *name;       /* NULL: the program's name */
};
enum { LINK_URL_BYTES_MAX = 512, LINK_TOKEN_BYTES_MAX = 4096, LINK_NAME_BYTES_MAX = 128 };

/* Makes the link without dialling, so that contexts can be opened first. SLUICE_EINVAL: an option is wrong. */
enum sluice_err link_open(const struct link_options *options, const struct link_watch *watch, struct link **ret_link,
                          struct sluice_error *reterr);
/* Starts to dial. SLUICE_EINVAL: the URL is wrong. A daemon that is not there is no error. */
enum sluice_err link_start(struct link *link, struct sluice_error *reterr);
nng_socket link_socket(const struct link *link);
/* The daemon answered nonsense, or forgot our hello: `down`, and a new hello after a pause. Called without any mutex that a
 * watch takes. The pipe is not closed, because the framing below is whole, and because nng 1.5 may hang in nng_pipe_close()
 * for good (its one reaper thread waits for a receive that nobody completes) when data is arriving at that moment. */
void link_fault(struct link *link, const struct sluice_error *why);
/* Why the link is not up, for people: the last refusal, else that nobody answers at the URL. Any thread, not within a watch. */
void link_reason(struct link *link, struct sluice_error *ret_why);
/* Ends it all; the user has stopped its own operations before. No watch is called afterwards. NULL is fine. */
void link_close(struct link *link);

/* The parts that a one-shot call needs as well. */
enum sluice_err link_url(const char *option, char ret_url[LINK_URL_BYTES_MAX], struct sluice_error *reterr);
/* Leaves an empty text when there is no token. */
enum sluice_err link_token(const char *option, const char *url, char ret_token[LINK_TOKEN_BYTES_MAX], struct sluice_error *reterr);
/* A REQ socket with the limits and times of this protocol. */
enum sluice_err link_socket_open(nng_socket *ret_socket, struct sluice_error *reterr);
enum sluice_err link_nng_error(int nng_err, const char *what, const char *url, struct sluice_error *reterr);

#endif
