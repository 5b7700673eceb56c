#include "producers/client/link.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

#include "sluice/producer.h"

enum {
    PAUSE_MS_FIRST = 10,        /* before the second attempt; twice as long each time */
    PAUSE_MS_LAST = 1000,
    CONNECT_MS_MAX = 10000,     /* for each of dial, greeting and hello: then the peer is no daemon, or hangs */
    READ_BYTES = 64 << 10,
    SEND_IOVS_MAX = 8,          /* what an nng_aio takes */
    SEND_CALLS_MAX = 2,         /* of head and parts each, in one write */
};
_Static_assert(SEND_CALLS_MAX * (1 + LINK_PARTS_MAX) <= SEND_IOVS_MAX, "a write must fit one aio");

enum link_state { LINK_PAUSING, LINK_DIALING, LINK_GREETING, LINK_HELLO, LINK_UP, LINK_CLOSING };

struct calls {
    struct link_call *first, *last;
};

struct link {
    enum frame_kind kind;
    char url[LINK_URL_BYTES_MAX];
    struct link_watch watch;
    struct bytes hello_bytes;
    struct link_call hello;
    nng_stream_dialer *dialer;
    nng_aio *connecting;        /* pause, dial, greeting: one after the other */
    nng_aio *sending;
    nng_aio *receiving;

    pthread_mutex_t mutex;
    enum link_state state;
    bool was_up;                /* this connection has been */
    bool closing;
    struct sluice_error why;
    unsigned pause_ms;          /* of the next pause */
    nng_stream *stream;
    uint8_t greeting[FRAME_GREETING_BYTES];
    size_t greeted;             /* bytes of both greetings done, ours first */

    uint32_t id_next;
    struct calls unsent, waiting;   /* waiting: for their replies */
    bool sending_now;           /* a write is going on, or what it ended is being told */
    unsigned sending_calls;     /* how many calls of `unsent`, from its head, the write holds */
    nng_iov iovs[SEND_IOVS_MAX];
    unsigned iovs_first, iovs_count;

    /* Only the receiving side touches these. */
    bool reading;
    uint8_t *buffer;            /* READ_BYTES */
    size_t buffered;
    nng_msg *message;           /* one that did not fit the buffer, `message_bytes` of it are there */
    uint32_t message_id;
    size_t message_bytes;
};

static void calls_put(struct calls *calls, struct link_call *call)
{
    call->next = NULL;
    if (calls->last != NULL)
        calls->last->next = call;
    else
        calls->first = call;
    calls->last = call;
}

static struct link_call *calls_take_first(struct calls *calls)
{
    struct link_call *call = calls->first;

    if (call != NULL && (calls->first = call->next) == NULL)
        calls->last = NULL;
    return call;
}

/* Windows are short, so a walk is as good as a table. NULL: none of this id. */
static struct link_call *calls_take_id(struct calls *calls, uint32_t id)
{
    struct link_call *before = NULL;

    for (struct link_call *call = calls->first; call != NULL; before = call, call = call->next) {
        if (call->id != id)
            continue;
        if (before != NULL)
            before->next = call->next;
        else
            calls->first = call->next;
        if (calls->last == call)
            calls->last = before;
        return call;
    }
    return NULL;
}

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
    return sluice_fail(reterr, code, "%s at %.200s: %s", what, url, nng_strerror(nng_err));
}

/* Breaks the connection, whatever state it is in; what is going on ends with an error, and the last to end cleans up. */
static void break_off(struct link *link, const struct sluice_error *why)
{
    if (link->state == LINK_CLOSING)
        return;
    link->state = LINK_CLOSING;
    link->why = *why;
    nng_stream_close(link->stream);
}

static void break_off_nng(struct link *link, int nng_err, const char *what)
{
    struct sluice_error why;

    (void)link_nng_error(nng_err, what, link->url, &why);
    break_off(link, &why);
}

static unsigned jittered(unsigned ms)
{
    uint32_t random = 0;

    (void)getrandom(&random, sizeof random, GRND_NONBLOCK); /* none: no jitter, no harm */
    return ms / 2 + random % (ms / 2 + 1);
}

/* After a failed attempt or a lost connection, with the mutex held. */
static void pause_start(struct link *link)
{
    link->state = LINK_PAUSING;
    if (link->closing)
        return;
    nng_aio_set_timeout(link->connecting, NNG_DURATION_INFINITE);
    nng_sleep_aio((nng_duration)jittered(link->pause_ms), link->connecting);
    link->pause_ms = link->pause_ms * 2 > PAUSE_MS_LAST ? PAUSE_MS_LAST : link->pause_ms * 2;
}

static void calls_end(struct calls *calls)
{
    struct link_call *call;

    while ((call = calls_take_first(calls)) != NULL)
        call->done(call, call->early);
}

/* Called with the mutex held where reading or sending may have been the last thing going on; gives the mutex away meanwhile. */
static void clean_up_if_last(struct link *link)
{
    if (link->state != LINK_CLOSING || link->reading || link->sending_now || link->closing)
        return;
    struct calls lost = link->waiting, unsent = link->unsent;
    struct sluice_error why = link->why;
    bool was_up = link->was_up;
    link->waiting = link->unsent = (struct calls){ 0 };
    link->was_up = false;
    nng_stream_free(link->stream);
    link->stream = NULL;
    if (link->message != NULL)
        nng_msg_free(link->message);
    link->message = NULL;
    pthread_mutex_unlock(&link->mutex);
    if (was_up)
        link->watch.down(link->watch.user);
    else if (link->watch.failed != NULL)
        link->watch.failed(link->watch.user, &why);
    calls_end(&lost);
    calls_end(&unsent);
    pthread_mutex_lock(&link->mutex);
    pause_start(link);
}

/* --- sending ------------------------------------------------------------------------------------------------------------- */

static void iovs_add(struct link *link, const void *data, size_t len)
{
    if (len > 0)
        link->iovs[link->iovs_count++] = (nng_iov){ .iov_buf = (void *)(uintptr_t)data, .iov_len = len };
}

static void send_start(struct link *link)
{
    link->iovs_first = link->iovs_count = link->sending_calls = 0;
    for (struct link_call *call = link->unsent.first; call != NULL && link->sending_calls < SEND_CALLS_MAX; call = call->next) {
        iovs_add(link, call->head, call->head_bytes);
        for (unsigned i = 0; i < LINK_PARTS_MAX; i++)
            iovs_add(link, call->parts[i].data, call->parts[i].len);
        link->sending_calls++;
    }
    if (link->sending_calls == 0)
        return;
    link->sending_now = true;
    (void)nng_aio_set_iov(link->sending, link->iovs_count, link->iovs); /* fails above 8 only */
    nng_stream_send(link->stream, link->sending);
}

static void iovs_advance(struct link *link, size_t bytes)
{
    while (link->iovs_first < link->iovs_count && bytes >= link->iovs[link->iovs_first].iov_len)
        bytes -= link->iovs[link->iovs_first++].iov_len;
    if (link->iovs_first < link->iovs_count) {
        nng_iov *iov = &link->iovs[link->iovs_first];
        iov->iov_buf = (uint8_t *)iov->iov_buf + bytes;
        iov->iov_len -= bytes;
    }
}

/* The write is done: its calls wait for their replies, but those whose reply was faster than the news of the write. */
static void sent(struct link *link)
{
    struct calls answered = { 0 };

    for (; link->sending_calls > 0; link->sending_calls--) {
        struct link_call *call = calls_take_first(&link->unsent);
        calls_put(call->early != NULL ? &answered : &link->waiting, call);
    }
    if (answered.first != NULL) {
        pthread_mutex_unlock(&link->mutex);
        calls_end(&answered);
        pthread_mutex_lock(&link->mutex);
    }
    link->sending_now = false;
    if (link->state != LINK_CLOSING && !link->closing)
        send_start(link);
}

static void send_progressed(void *user)
{
    struct link *link = user;

    pthread_mutex_lock(&link->mutex);
    int rv = nng_aio_result(link->sending);
    if (rv != 0 || link->state == LINK_CLOSING || link->closing) {
        link->sending_now = false;
        link->sending_calls = 0;
        break_off_nng(link, rv, "connection lost");
    } else {
        iovs_advance(link, nng_aio_count(link->sending));
        if (link->iovs_first == link->iovs_count) {
            sent(link);
        } else {
            (void)nng_aio_set_iov(link->sending, link->iovs_count - link->iovs_first, &link->iovs[link->iovs_first]);
            nng_stream_send(link->stream, link->sending);
        }
    }
    clean_up_if_last(link);
    pthread_mutex_unlock(&link->mutex);
}

static void call_queue(struct link *link, struct link_call *call)
{
    size_t body_bytes = 0;

    for (unsigned i = 0; i < LINK_PARTS_MAX; i++)
        body_bytes += call->parts[i].len;
    call->early = NULL;
    call->id = FRAME_ID_BIT | link->id_next++;
    call->head_bytes = frame_put_head(link->kind, call->id, body_bytes, call->head);
    calls_put(&link->unsent, call);
    if (!link->sending_now)
        send_start(link);
}

bool link_send(struct link *link, struct link_call *call)
{
    pthread_mutex_lock(&link->mutex);
    bool up = link->state == LINK_UP && !link->closing;
    if (up)
        call_queue(link, call);
    pthread_mutex_unlock(&link->mutex);
    return up;
}

/* --- receiving ----------------------------------------------------------------------------------------------------------- */

static void receive_start(struct link *link)
{
    nng_iov iov = { .iov_buf = link->buffer + link->buffered, .iov_len = READ_BYTES - link->buffered };

    if (link->message != NULL)
        iov = (nng_iov){ .iov_buf = (uint8_t *)nng_msg_body(link->message) + link->message_bytes,
                         .iov_len = nng_msg_len(link->message) - link->message_bytes };
    link->reading = true;
    nng_aio_set_timeout(link->receiving, link->state == LINK_HELLO ? CONNECT_MS_MAX : NNG_DURATION_INFINITE);
    (void)nng_aio_set_iov(link->receiving, 1, &iov);
    nng_stream_recv(link->stream, link->receiving);
}

/* Among what is being written: its memory is still in use, so its reply must wait for the end of the write. */
static struct link_call *call_being_sent(struct link *link, uint32_t id)
{
    struct link_call *call = link->unsent.first;

    for (unsigned i = 0; i < link->sending_calls; i++, call = call->next)
        if (call->id == id && call->early == NULL)
            return call;
    return NULL;
}

/* A reply to nothing is dropped, as REQ does. */
static void reply_came(struct link *link, uint32_t id, nng_msg *reply)
{
    pthread_mutex_lock(&link->mutex);
    struct link_call *call = calls_take_id(&link->waiting, id), *sending = call == NULL ? call_being_sent(link, id) : NULL;
    if (sending != NULL)
        sending->early = reply;
    pthread_mutex_unlock(&link->mutex);
    if (call != NULL)
        call->done(call, reply);
    else if (sending == NULL)
        nng_msg_free(reply);
}

static bool message_start(struct link *link, const struct frame_head *head)
{
    if (nng_msg_alloc(&link->message, head->body_bytes) != 0)
        return false;
    link->message_id = head->id;
    link->message_bytes = 0;
    return true;
}

/* Takes out of the buffer what belongs to `message`, and hands it on when it is whole. Returns the bytes taken. */
static size_t message_fill(struct link *link, const uint8_t *data, size_t len)
{
    size_t missing = nng_msg_len(link->message) - link->message_bytes, taken = len < missing ? len : missing;

    if (taken > 0)
        memcpy((uint8_t *)nng_msg_body(link->message) + link->message_bytes, data, taken);
    link->message_bytes += taken;
    if (taken == missing) {
        nng_msg *whole = link->message;
        link->message = NULL;
        reply_came(link, link->message_id, whole);
    }
    return taken;
}

/* All messages in the buffer; what is left of a head moves to its front. Without the mutex. SLUICE_OK, or why to break off. */
static enum sluice_err buffer_read(struct link *link, struct sluice_error *reterr)
{
    size_t at = 0;

    for (;;) {
        struct frame_head head;
        switch (frame_read_head(link->kind, link->buffer + at, link->buffered - at, PROTOCOL_CONTROL_BYTES_MAX, &head)) {
        case FRAME_BROKEN:
            return sluice_fail(reterr, SLUICE_EPROTO, "what answers at %.200s is no daemon: broken frame", link->url);
        case FRAME_SHORT:
            link->buffered -= at;
            memmove(link->buffer, link->buffer + at, link->buffered);
            return SLUICE_OK;
        case FRAME_WHOLE:
            break;
        }
        if (!message_start(link, &head))
            return sluice_fail(reterr, SLUICE_ENOMEM, "out of memory for an answer of %zu bytes", head.body_bytes);
        at += head.head_bytes;
        at += message_fill(link, link->buffer + at, link->buffered - at);
        if (link->message != NULL) { /* the rest is read straight into it */
            link->buffered = 0;
            return SLUICE_OK;
        }
    }
}

static void receive_progressed(void *user)
{
    struct link *link = user;
    struct sluice_error why;
    int rv = nng_aio_result(link->receiving);
    size_t count = nng_aio_count(link->receiving);
    enum sluice_err err = SLUICE_OK;

    if (rv != 0) {
        err = link_nng_error(rv, "connection lost", link->url, &why);
    } else if (link->message != NULL) {
        link->message_bytes += count;
        if (link->message_bytes == nng_msg_len(link->message))
            (void)message_fill(link, NULL, 0);
    } else {
        link->buffered += count;
        err = buffer_read(link, &why);
    }
    pthread_mutex_lock(&link->mutex);
    link->reading = false;
    if (err != SLUICE_OK)
        break_off(link, &why);
    if (link->state != LINK_CLOSING && !link->closing)
        receive_start(link);
    clean_up_if_last(link);
    pthread_mutex_unlock(&link->mutex);
}

/* --- connecting ---------------------------------------------------------------------------------------------------------- */

static void hello_done(struct link_call *call, nng_msg *reply)
{
    struct link *link = call->user;
    struct wire_limits limits;
    struct sluice_error why;

    if (reply == NULL)
        return; /* the connection is being cleaned up */
    enum sluice_err err = wire_read_hello((struct view){ .data = nng_msg_body(reply), .len = nng_msg_len(reply) }, &limits, &why);
    nng_msg_free(reply);
    pthread_mutex_lock(&link->mutex);
    bool up = err == SLUICE_OK && link->state == LINK_HELLO;
    if (up) {
        link->state = LINK_UP;
        link->was_up = true;
        link->why.code = SLUICE_OK;
        link->pause_ms = PAUSE_MS_FIRST;
    } else if (err != SLUICE_OK) {
        break_off(link, &why);
        link->pause_ms = PAUSE_MS_LAST; /* it will say the same again */
    }
    pthread_mutex_unlock(&link->mutex);
    if (up)
        link->watch.up(link->watch.user, &limits);
}

static void greeting_go_on(struct link *link)
{
    bool ours = link->greeted < FRAME_GREETING_BYTES;
    size_t done = link->greeted % FRAME_GREETING_BYTES;
    const uint8_t *from = ours ? frame_greeting_req : link->greeting;
    nng_iov iov = { .iov_buf = (void *)(uintptr_t)(from + done), .iov_len = FRAME_GREETING_BYTES - done };

    (void)nng_aio_set_iov(link->connecting, 1, &iov);
    if (ours)
        nng_stream_send(link->stream, link->connecting);
    else
        nng_stream_recv(link->stream, link->connecting);
}

static void greeted(struct link *link)
{
    struct sluice_error why;

    link->buffered = 0;
    if (memcmp(link->greeting, frame_greeting_rep, FRAME_GREETING_BYTES) != 0) {
        (void)sluice_fail(&why, SLUICE_EPROTO, "what answers at %.200s is no daemon: it does not speak REP", link->url);
        break_off(link, &why);
        return;
    }
    link->state = LINK_HELLO;
    link->hello.parts[0] = bytes_view(&link->hello_bytes);
    call_queue(link, &link->hello);
    receive_start(link);
}

/* A failure before there is anything to clean up but the stream. Gives the mutex away. */
static void connect_failed(struct link *link, int nng_err)
{
    struct sluice_error why;

    if (nng_err == NNG_ECONNREFUSED || nng_err == NNG_ENOENT)
        (void)sluice_fail(&why, SLUICE_EUNAVAILABLE, "no daemon answers at %.200s", link->url);
    else
        (void)link_nng_error(nng_err, "cannot connect to the daemon", link->url, &why);
    if (link->stream != NULL) {
        break_off(link, &why);
        clean_up_if_last(link);
        return;
    }
    link->why = why;
    pthread_mutex_unlock(&link->mutex);
    if (link->watch.failed != NULL)
        link->watch.failed(link->watch.user, &why);
    pthread_mutex_lock(&link->mutex);
    pause_start(link);
}

static void connecting_progressed(void *user)
{
    struct link *link = user;
    int rv = nng_aio_result(link->connecting);

    pthread_mutex_lock(&link->mutex);
    if (link->closing) {
        if (rv == 0 && link->state == LINK_DIALING)
            link->stream = nng_aio_get_output(link->connecting, 0);
        pthread_mutex_unlock(&link->mutex);
        return;
    }
    switch (link->state) {
    case LINK_PAUSING:
        link->state = LINK_DIALING;
        nng_aio_set_timeout(link->connecting, CONNECT_MS_MAX);
        nng_stream_dialer_dial(link->dialer, link->connecting);
        break;
    case LINK_DIALING:
        if (rv != 0) {
            connect_failed(link, rv);
            break;
        }
        link->stream = nng_aio_get_output(link->connecting, 0);
        link->state = LINK_GREETING;
        link->greeted = 0;
        greeting_go_on(link);
        break;
    case LINK_GREETING:
        if (rv != 0) {
            connect_failed(link, rv);
            break;
        }
        link->greeted += nng_aio_count(link->connecting);
        if (link->greeted < (size_t)2 * FRAME_GREETING_BYTES) {
            greeting_go_on(link);
            break;
        }
        greeted(link);
        clean_up_if_last(link);
        break;
    case LINK_HELLO:
    case LINK_UP:
    case LINK_CLOSING:
        break;
    }
    pthread_mutex_unlock(&link->mutex);
}

/* --- life ---------------------------------------------------------------------------------------------------------------- */

static enum sluice_err take_url(struct link *link, const char *option, struct sluice_error *reterr)
{
    static const struct { const char *prefix; enum frame_kind kind; } schemes[] = {
        { "ipc://", FRAME_IPC }, { "abstract://", FRAME_IPC }, { "tcp://", FRAME_TCP }, { "tls+tcp://", FRAME_TCP },
    };
    size_t len = option != NULL ? (size_t)snprintf(link->url, sizeof link->url, "%s", option)
                                : sluice_url_default(link->url, sizeof link->url);

    if (len >= sizeof link->url)
        return sluice_fail(reterr, SLUICE_EINVAL, "url of %zu bytes: at most %zu", len, sizeof link->url - 1);
    for (size_t i = 0; i < sizeof schemes / sizeof schemes[0]; i++)
        if (strncmp(link->url, schemes[i].prefix, strlen(schemes[i].prefix)) == 0) {
            link->kind = schemes[i].kind;
            return SLUICE_OK;
        }
    return sluice_fail(reterr, SLUICE_EINVAL, "url '%.200s': must begin with ipc://, tcp:// or tls+tcp://", link->url);
}

static enum sluice_err read_token(const struct link_options *options, enum frame_kind kind, char ret_token[LINK_TOKEN_BYTES_MAX],
                                  struct sluice_error *reterr)
{
    const char *option = options->token;

    ret_token[0] = '\0';
    if (option != NULL) {
        if ((size_t)snprintf(ret_token, LINK_TOKEN_BYTES_MAX, "%s", option) >= LINK_TOKEN_BYTES_MAX)
            return sluice_fail(reterr, SLUICE_EINVAL, "token: at most %d bytes", LINK_TOKEN_BYTES_MAX - 1);
        return SLUICE_OK;
    }
    const char *path = options->token_file != NULL ? options->token_file : getenv("SLUICE_TOKEN_FILE");
    if (kind == FRAME_IPC || path == NULL)
        return SLUICE_OK; /* on ipc the kernel says who we are */
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t len = fd < 0 ? -1 : read(fd, ret_token, LINK_TOKEN_BYTES_MAX);
    int err = errno;
    if (fd >= 0)
        (void)close(fd); /* only read from */
    if (len < 0)
        return sluice_fail(reterr, SLUICE_EINVAL, "token file '%.150s' (SLUICE_TOKEN_FILE): %s", path, strerror(err));
    if (len == LINK_TOKEN_BYTES_MAX)
        return sluice_fail(reterr, SLUICE_EINVAL, "token file '%.150s' (SLUICE_TOKEN_FILE): over %d bytes", path, LINK_TOKEN_BYTES_MAX - 1);
    while (len > 0 && (ret_token[len - 1] == '\n' || ret_token[len - 1] == '\r'))
        len--;
    ret_token[len] = '\0';
    return SLUICE_OK;
}

static enum sluice_err take_options(struct link *link, const struct link_options *options, struct sluice_error *reterr)
{
    char token[LINK_TOKEN_BYTES_MAX];
    const char *name = options->name != NULL ? options->name : program_invocation_short_name;

    enum sluice_err err = take_url(link, options->url, reterr);
    if (err == SLUICE_OK)
        err = read_token(options, link->kind, token, reterr);
    if (err != SLUICE_OK)
        return err;
    if (strlen(name) >= LINK_NAME_BYTES_MAX)
        return sluice_fail(reterr, SLUICE_EINVAL, "name: at most %d bytes", LINK_NAME_BYTES_MAX - 1);
    wire_put_hello(&link->hello_bytes, name, token[0] != '\0' ? token : NULL);
    link->buffer = malloc(READ_BYTES);
    if (link->hello_bytes.failed || link->buffer == NULL)
        return sluice_fail(reterr, SLUICE_ENOMEM, "out of memory for a connection");
    return SLUICE_OK;
}

static enum sluice_err link_set_up(struct link *link, const struct link_options *options, struct sluice_error *reterr)
{
    int rv;

    enum sluice_err err = take_options(link, options, reterr);
    if (err != SLUICE_OK)
        return err;
    if ((rv = nng_aio_alloc(&link->connecting, connecting_progressed, link)) != 0 ||
        (rv = nng_aio_alloc(&link->sending, send_progressed, link)) != 0 ||
        (rv = nng_aio_alloc(&link->receiving, receive_progressed, link)) != 0 ||
        (rv = nng_stream_dialer_alloc(&link->dialer, link->url)) != 0)
        return link_nng_error(rv, "cannot dial", link->url, reterr);
    /* Without it a host that vanished stays "connected". ipc does not know the options, and needs them not. */
    (void)nng_stream_dialer_set_bool(link->dialer, NNG_OPT_TCP_KEEPALIVE, true);
    (void)nng_stream_dialer_set_bool(link->dialer, NNG_OPT_TCP_NODELAY, true);
    return SLUICE_OK;
}

enum sluice_err link_open(const struct link_options *options, const struct link_watch *watch, struct link **ret_link,
                          struct sluice_error *reterr)
{
    struct link *link = calloc(1, sizeof *link);

    if (link == NULL)
        return sluice_fail(reterr, SLUICE_ENOMEM, "out of memory for a connection");
    link->watch = *watch;
    link->pause_ms = PAUSE_MS_FIRST;
    link->hello.done = hello_done;
    link->hello.user = link;
    (void)pthread_mutex_init(&link->mutex, NULL); /* a plain one: cannot fail */
    enum sluice_err err = link_set_up(link, options, reterr);
    if (err != SLUICE_OK) {
        link_close(link);
        return err;
    }
    *ret_link = link; /* callbacks may come from here on */
    nng_sleep_aio(0, link->connecting);
    return SLUICE_OK;
}

void link_fault(struct link *link, const struct sluice_error *why)
{
    pthread_mutex_lock(&link->mutex);
    if (link->state == LINK_UP && !link->closing)
        break_off(link, why);
    pthread_mutex_unlock(&link->mutex);
}

void link_reason(struct link *link, struct sluice_error *ret_why)
{
    pthread_mutex_lock(&link->mutex);
    *ret_why = link->why;
    pthread_mutex_unlock(&link->mutex);
    if (ret_why->code == SLUICE_OK)
        (void)sluice_fail(ret_why, SLUICE_EUNAVAILABLE, "no daemon answers at %.200s", link->url);
}

static void aio_end(nng_aio *aio)
{
    if (aio != NULL)
        nng_aio_stop(aio);
}

void link_close(struct link *link)
{
    if (link == NULL)
        return;
    pthread_mutex_lock(&link->mutex);
    link->closing = true;
    pthread_mutex_unlock(&link->mutex);
    aio_end(link->connecting); /* afterwards nobody starts reading or makes a stream */
    if (link->stream != NULL)
        nng_stream_close(link->stream);
    aio_end(link->sending);
    aio_end(link->receiving);
    calls_end(&link->waiting);
    calls_end(&link->unsent);
    if (link->stream != NULL)
        nng_stream_free(link->stream);
    if (link->dialer != NULL)
        nng_stream_dialer_free(link->dialer);
    nng_aio *const aios[] = { link->connecting, link->sending, link->receiving };
    for (size_t i = 0; i < sizeof aios / sizeof aios[0]; i++)
        if (aios[i] != NULL)
            nng_aio_free(aios[i]);
    if (link->message != NULL)
        nng_msg_free(link->message);
    free(link->buffer);
    bytes_done(&link->hello_bytes);
    pthread_mutex_destroy(&link->mutex);
    free(link);
}
