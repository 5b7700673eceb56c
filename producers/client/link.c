#include "producers/client/link.h"

#include <errno.h>
#include <fcntl.h>
#include <nng/protocol/reqrep0/req.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "sluice/producer.h"

enum {
    RECONNECT_MS_MIN = 10,
    RECONNECT_MS_MAX = 1000,
    HELLO_REPLY_MS_MAX = 10000, /* then the peer is no daemon, or hangs: ask again */
    HELLO_PAUSE_MS = 500,       /* after a refusal */
};

enum link_state { LINK_DOWN, LINK_HELLO, LINK_REFUSED, LINK_UP };
enum hello_step { HELLO_IDLE, HELLO_SENDING, HELLO_WAITING };

struct link {
    nng_socket socket;
    nng_ctx ctx;
    nng_aio *hello;
    nng_aio *pause;
    struct link_watch watch;
    struct bytes hello_bytes;
    char url[LINK_URL_BYTES_MAX];

    /* Held over watch calls: it is what keeps `up` and `down` in order. Users lock their own mutex inside of it. */
    pthread_mutex_t mutex;
    enum link_state state;
    enum hello_step step;
    uint32_t pipe_id;           /* of the pipe that is there; 0: none */
    uint32_t hello_pipe_id;     /* of the pipe the hello in flight was meant for */
    bool pausing;
    bool closing;

    pthread_mutex_t why_mutex;  /* own one, so that link_fault() may be called from anywhere */
    struct sluice_error why;
};

enum sluice_err link_nng_error(int nng_err, const char *what, const char *url, struct sluice_error *reterr)
{
    enum sluice_err code = SLUICE_EUNAVAILABLE;

    switch (nng_err) {
    case NNG_ENOMEM: code = SLUICE_ENOMEM; break;
    case NNG_ETIMEDOUT: code = SLUICE_ETIMEDOUT; break;
    case NNG_EPERM: code = SLUICE_EACCESS; break;
    case NNG_EINVAL:
    case NNG_EADDRINVAL:
    case NNG_ENOTSUP: code = SLUICE_EINVAL; break;
    default: break;
    }
    return sluice_fail(reterr, code, "%s at %s: %s", what, url, nng_strerror(nng_err));
}

enum sluice_err link_url(const char *option, char ret_url[LINK_URL_BYTES_MAX], struct sluice_error *reterr)
{
    size_t len;

    if (option == NULL)
        len = sluice_url_default(ret_url, LINK_URL_BYTES_MAX);
    else
        len = (size_t)snprintf(ret_url, LINK_URL_BYTES_MAX, "%s", option);
    if (len >= LINK_URL_BYTES_MAX)
        return sluice_fail(reterr, SLUICE_EINVAL, "url of %zu bytes: at most %d", len, LINK_URL_BYTES_MAX - 1);
    return SLUICE_OK;
}

enum sluice_err link_token(const char *option, const char *url, char ret_token[LINK_TOKEN_BYTES_MAX], struct sluice_error *reterr)
{
    ret_token[0] = '\0';
    if (option != NULL) {
        if ((size_t)snprintf(ret_token, LINK_TOKEN_BYTES_MAX, "%s", option) >= LINK_TOKEN_BYTES_MAX)
            return sluice_fail(reterr, SLUICE_EINVAL, "token: at most %d bytes", LINK_TOKEN_BYTES_MAX - 1);
        return SLUICE_OK;
    }
    const char *path = getenv("SLUICE_TOKEN_FILE");
    if (strncmp(url, "ipc:", 4) == 0 || path == NULL)
        return SLUICE_OK; /* on ipc the kernel says who we are */
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t len = fd < 0 ? -1 : read(fd, ret_token, LINK_TOKEN_BYTES_MAX);
    int err = errno;
    if (fd >= 0)
        (void)close(fd); /* only read from */
    if (len < 0) {
        ret_token[0] = '\0';
        return sluice_fail(reterr, SLUICE_EINVAL, "SLUICE_TOKEN_FILE '%s': %s", path, strerror(err));
    }
    if (len == LINK_TOKEN_BYTES_MAX) {
        ret_token[0] = '\0';
        return sluice_fail(reterr, SLUICE_EINVAL, "SLUICE_TOKEN_FILE '%s': over %d bytes", path, LINK_TOKEN_BYTES_MAX - 1);
    }
    while (len > 0 && (ret_token[len - 1] == '\n' || ret_token[len - 1] == '\r'))
        len--;
    ret_token[len] = '\0';
    return SLUICE_OK;
}

enum sluice_err link_socket_open(nng_socket *ret_socket, struct sluice_error *reterr)
{
    nng_socket socket;
    int rv = nng_req0_open(&socket);

    if (rv != 0)
        return link_nng_error(rv, "open a socket", "this end", reterr);
    /* nng's defaults: any size is accepted, and a request not answered for a minute is sent twice. */
    if ((rv = nng_socket_set_size(socket, NNG_OPT_RECVMAXSZ, PROTOCOL_MESSAGE_BYTES_MAX)) != 0 ||
        (rv = nng_socket_set_ms(socket, NNG_OPT_REQ_RESENDTIME, NNG_DURATION_INFINITE)) != 0 ||
        (rv = nng_socket_set_ms(socket, NNG_OPT_RECONNMINT, RECONNECT_MS_MIN)) != 0 ||
        (rv = nng_socket_set_ms(socket, NNG_OPT_RECONNMAXT, RECONNECT_MS_MAX)) != 0) {
        (void)nng_close(socket); /* nothing is on it yet */
        return link_nng_error(rv, "set up a socket", "this end", reterr);
    }
    *ret_socket = socket;
    return SLUICE_OK;
}

static void remember_why(struct link *link, const struct sluice_error *why)
{
    pthread_mutex_lock(&link->why_mutex);
    link->why = *why;
    pthread_mutex_unlock(&link->why_mutex);
}

static void link_refused(struct link *link, const struct sluice_error *why)
{
    remember_why(link, why);
    link->state = LINK_REFUSED;
    if (!link->pausing) {
        link->pausing = true;
        nng_sleep_aio(HELLO_PAUSE_MS, link->pause);
    }
}

static void hello_start(struct link *link)
{
    nng_msg *msg;
    struct sluice_error why;

    link->state = LINK_HELLO;
    if (link->step != HELLO_IDLE)
        return; /* the one for the old pipe is being cancelled; its callback comes back here */
    if (nng_msg_alloc(&msg, 0) != 0 || nng_msg_append(msg, link->hello_bytes.data, link->hello_bytes.len) != 0) {
        (void)sluice_fail(&why, SLUICE_ENOMEM, "out of memory for hello");
        link_refused(link, &why);
        return;
    }
    link->step = HELLO_SENDING;
    link->hello_pipe_id = link->pipe_id;
    nng_aio_set_msg(link->hello, msg);
    nng_ctx_send(link->ctx, link->hello);
}

static void hello_answered(struct link *link, nng_msg *reply)
{
    struct wire_limits limits;
    struct sluice_error why;
    struct view message = { .data = nng_msg_body(reply), .len = nng_msg_len(reply) };

    if (wire_read_hello(message, &limits, &why) != SLUICE_OK) {
        link_refused(link, &why);
        return;
    }
    remember_why(link, &(struct sluice_error){ .code = SLUICE_OK });
    link->state = LINK_UP;
    link->watch.up(link->watch.user, &limits);
}

/* One aio for send, then receive: nng 1.5 asserts when a send is cancelled while a receive is posted on the same context. */
static void hello_progressed(void *user)
{
    struct link *link = user;
    struct sluice_error why;

    pthread_mutex_lock(&link->mutex);
    int rv = nng_aio_result(link->hello);
    bool current = link->state == LINK_HELLO && link->hello_pipe_id == link->pipe_id && !link->closing;
    if (link->step == HELLO_SENDING && rv == 0 && current) {
        link->step = HELLO_WAITING;
        nng_ctx_recv(link->ctx, link->hello);
        pthread_mutex_unlock(&link->mutex);
        return;
    }
    bool sent = link->step == HELLO_WAITING;
    nng_msg *msg = sent == (rv == 0) ? nng_aio_get_msg(link->hello) : NULL; /* the reply, or what could not be sent */
    link->step = HELLO_IDLE;
    if (!link->closing && link->state == LINK_HELLO) {
        if (!current) {
            hello_start(link); /* for the pipe that came meanwhile */
        } else if (rv == 0) {
            hello_answered(link, msg);
        } else {
            (void)link_nng_error(rv, "no answer to hello", link->url, &why);
            link_refused(link, &why);
        }
    }
    pthread_mutex_unlock(&link->mutex);
    if (msg != NULL)
        nng_msg_free(msg);
}

static void pause_ended(void *user)
{
    struct link *link = user;

    pthread_mutex_lock(&link->mutex);
    link->pausing = false;
    if (link->state == LINK_REFUSED && !link->closing)
        hello_start(link);
    pthread_mutex_unlock(&link->mutex);
}

static void pipe_changed(nng_pipe pipe, nng_pipe_ev event, void *user)
{
    struct link *link = user;
    uint32_t id = (uint32_t)nng_pipe_id(pipe);

    pthread_mutex_lock(&link->mutex);
    if (link->closing) {
        pthread_mutex_unlock(&link->mutex);
        return;
    }
    if (event == NNG_PIPE_EV_ADD_POST) {
        link->pipe_id = id;
        if (link->pausing)
            link->state = LINK_REFUSED; /* a daemon that refuses and hangs up is asked once a pause, not once a redial */
        else
            hello_start(link);
    } else if (id == link->pipe_id) {
        bool was_up = link->state == LINK_UP;
        link->state = LINK_DOWN;
        link->pipe_id = 0;
        if (link->step != HELLO_IDLE)
            nng_aio_cancel(link->hello);
        if (was_up)
            link->watch.down(link->watch.user);
    }
    pthread_mutex_unlock(&link->mutex);
}

static enum sluice_err link_set_up(struct link *link, const struct link_options *options, struct sluice_error *reterr)
{
    char token[LINK_TOKEN_BYTES_MAX];
    int rv;

    enum sluice_err err = link_url(options->url, link->url, reterr);
    if (err == SLUICE_OK)
        err = link_token(options->token, link->url, token, reterr);
    if (err != SLUICE_OK)
        return err;
    const char *name = options->name != NULL ? options->name : program_invocation_short_name;
    if (strlen(name) >= LINK_NAME_BYTES_MAX)
        return sluice_fail(reterr, SLUICE_EINVAL, "name: at most %d bytes", LINK_NAME_BYTES_MAX - 1);
    wire_put_hello(&link->hello_bytes, name, token[0] != '\0' ? token : NULL);
    if (link->hello_bytes.failed)
        return sluice_fail(reterr, SLUICE_ENOMEM, "out of memory for a connection to %s", link->url);

    err = link_socket_open(&link->socket, reterr);
    if (err != SLUICE_OK)
        return err;
    if ((rv = nng_ctx_open(&link->ctx, link->socket)) != 0 || (rv = nng_aio_alloc(&link->hello, hello_progressed, link)) != 0 ||
        (rv = nng_aio_alloc(&link->pause, pause_ended, link)) != 0 ||
        (rv = nng_pipe_notify(link->socket, NNG_PIPE_EV_ADD_POST, pipe_changed, link)) != 0 ||
        (rv = nng_pipe_notify(link->socket, NNG_PIPE_EV_REM_POST, pipe_changed, link)) != 0)
        return link_nng_error(rv, "set up a connection", link->url, reterr);
    nng_aio_set_timeout(link->hello, HELLO_REPLY_MS_MAX);
    return SLUICE_OK;
}

enum sluice_err link_open(const struct link_options *options, const struct link_watch *watch, struct link **ret_link,
                          struct sluice_error *reterr)
{
    struct link *link = calloc(1, sizeof *link);

    if (link == NULL)
        return sluice_fail(reterr, SLUICE_ENOMEM, "out of memory for a connection");
    link->watch = *watch;
    (void)pthread_mutex_init(&link->mutex, NULL);     /* plain mutexes: these cannot fail */
    (void)pthread_mutex_init(&link->why_mutex, NULL);
    enum sluice_err err = link_set_up(link, options, reterr);
    if (err != SLUICE_OK) {
        link_close(link);
        return err;
    }
    *ret_link = link;
    return SLUICE_OK;
}

enum sluice_err link_start(struct link *link, struct sluice_error *reterr)
{
    nng_dialer dialer;
    int rv = nng_dialer_create(&dialer, link->socket, link->url);

    if (rv != 0)
        return link_nng_error(rv, "cannot dial", link->url, reterr);
    /* Without it a host that vanished stays "connected". Other transports do not know the option, and need it not. */
    (void)nng_dialer_set_bool(dialer, NNG_OPT_TCP_KEEPALIVE, true);
    rv = nng_dialer_start(dialer, NNG_FLAG_NONBLOCK);
    return rv == 0 ? SLUICE_OK : link_nng_error(rv, "cannot dial", link->url, reterr);
}

nng_socket link_socket(const struct link *link)
{
    return link->socket;
}

void link_fault(struct link *link, const struct sluice_error *why)
{
    pthread_mutex_lock(&link->mutex);
    if (link->state == LINK_UP && !link->closing) {
        link->watch.down(link->watch.user);
        link_refused(link, why);
    }
    pthread_mutex_unlock(&link->mutex);
}

void link_reason(struct link *link, struct sluice_error *ret_why)
{
    pthread_mutex_lock(&link->why_mutex);
    *ret_why = link->why;
    pthread_mutex_unlock(&link->why_mutex);
    if (ret_why->code == SLUICE_OK)
        (void)sluice_fail(ret_why, SLUICE_EUNAVAILABLE, "no daemon answers at %.200s", link->url);
}

void link_close(struct link *link)
{
    if (link == NULL)
        return;
    pthread_mutex_lock(&link->mutex);
    link->closing = true;
    pthread_mutex_unlock(&link->mutex);
    if (link->hello != NULL)
        nng_aio_stop(link->hello);
    if (link->pause != NULL)
        nng_aio_stop(link->pause);
    if (nng_socket_id(link->socket) > 0)
        (void)nng_close(link->socket); /* with its contexts; waits for its pipes */
    nng_aio_free(link->hello);
    nng_aio_free(link->pause);
    bytes_done(&link->hello_bytes);
    pthread_mutex_destroy(&link->why_mutex);
    pthread_mutex_destroy(&link->mutex);
    free(link);
}
