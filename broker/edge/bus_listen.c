#include "broker/edge/bus_listen.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "broker/base/assert.h"
#include "broker/base/vec.h"
#include "broker/edge/log.h"

enum { ACCEPT_PAUSE_MS = 100 };  /* after a failed accept: out of descriptors, most likely */

struct listener {
    struct bus_listeners *all;
    enum frame_kind kind;
    const char *url;             /* for the log */
    nng_stream_listener *stream_listener;
    nng_aio *aio;
    struct mail mail;
    bool accepting;              /* or pausing; else waits for fewer peers */
    bool pausing, failing;
};

struct bus_listeners {
    struct bus_peers *peers;
    VEC(struct listener *) items;
    bool stopped;
};

/* ---- accepting ---- */

static void accept_completed(void *arg) /* on an nng thread */
{
    struct listener *listener = arg;
    mailbox_post(listener->all->peers->mailbox, &listener->mail);
}

static void accept_start(struct listener *listener)
{
    bool full = listener->all->peers->count >= BUS_PEERS_MAX;

    listener->accepting = !full && (listener->kind == FRAME_IPC || listener->all->peers->strangers < BUS_STRANGERS_MAX);
    if (listener->accepting)
        nng_stream_listener_accept(listener->stream_listener, listener->aio);
    else if (full)
        log_format(LOG_WARN, "event=bus-full peers=%u reason=\"new connections on %s wait until others end\"",
                   listener->all->peers->count, listener->url);
}

static void accept_pause(struct listener *listener, int nng_err)
{
    if (!listener->failing)
        log_format(LOG_ERROR, "event=accept-failed on=%s reason=\"%s\" next=\"tried again every %d ms\"", listener->url,
                   nng_strerror(nng_err), ACCEPT_PAUSE_MS);
    listener->failing = listener->pausing = true;
    nng_sleep_aio(ACCEPT_PAUSE_MS, listener->aio);
}

static void peer_add(struct listener *listener, nng_stream *stream)
{
    uint64_t uid;
    bool local = listener->kind == FRAME_IPC;

    if (local && (nng_stream_get_uint64(stream, NNG_OPT_IPC_PEER_UID, &uid) != 0 || (uid != 0 && uid != geteuid()))) {
        log_format(LOG_WARN, "event=peer-refused reason=\"another user's process on the bus socket\"");
        nng_stream_free(stream);
        return;
    }
    if (!bus_peer_new(listener->all->peers, stream, listener->kind, local))
        log_format(LOG_ERROR, "event=peer-refused reason=\"out of memory\"");
}

static void accept_news(struct mail *mail)
{
    struct listener *listener = LIST_OWNER(mail, struct listener, mail);
    int result = nng_aio_result(listener->aio);
    bool paused = listener->pausing;

    listener->pausing = listener->accepting = false;
    if (listener->all->stopped) {
        if (!paused && result == 0)
            nng_stream_free(nng_aio_get_output(listener->aio, 0));
        return;
    }
    if (!paused && result != 0) {
        accept_pause(listener, result);
        return;
    }
    if (!paused) {
        listener->failing = false;
        peer_add(listener, nng_aio_get_output(listener->aio, 0));
    }
    accept_start(listener);
}

/* ---- listeners ---- */

static void listener_free(struct listener *listener)
{
    if (listener->stream_listener != NULL)
        nng_stream_listener_free(listener->stream_listener);
    if (listener->aio != NULL)
        nng_aio_free(listener->aio);
    free(listener);
}

static int listener_start(struct listener *listener)
{
    int result = nng_stream_listener_alloc(&listener->stream_listener, listener->url);

    if (result == 0)
        result = nng_aio_alloc(&listener->aio, accept_completed, listener);
    if (result == 0 && listener->kind == FRAME_IPC) {
        result = nng_stream_listener_set_int(listener->stream_listener, NNG_OPT_IPC_PERMISSIONS, S_IRUSR | S_IWUSR);
    } else if (result == 0) {
        /* Without it a host that vanished stays "connected". */
        (void)nng_stream_listener_set_bool(listener->stream_listener, NNG_OPT_TCP_KEEPALIVE, true);
        (void)nng_stream_listener_set_bool(listener->stream_listener, NNG_OPT_TCP_NODELAY, true);
    }
    return result == 0 ? nng_stream_listener_listen(listener->stream_listener) : result;
}

struct bus_listeners *bus_listeners_new(struct bus_peers *peers)
{
    struct bus_listeners *listeners = calloc(1, sizeof *listeners);

    ASSERT(listeners != NULL);
    listeners->peers = peers;
    return listeners;
}

enum sluice_err bus_listeners_add(struct bus_listeners *listeners, const char *url, struct sluice_error *reterr)
{
    struct listener *listener = calloc(1, sizeof *listener);
    ASSERT(listener != NULL);

    listener->all = listeners;
    listener->url = url;
    listener->kind = strncmp(url, "ipc://", 6) == 0 ? FRAME_IPC : FRAME_TCP;
    listener->mail.deliver = accept_news;
    int result = listener_start(listener);
    if (result != 0) {
        listener_free(listener);
        return sluice_fail(reterr, SLUICE_EIO, "cannot listen on %s: %s; choose another address under listen.bus", url,
                           nng_strerror(result));
    }
    VEC_PUSH(&listeners->items, listener);
    accept_start(listener);
    return SLUICE_OK;
}

void bus_listeners_again(struct bus_listeners *listeners)
{
    if (listeners->stopped)
        return;
    for (size_t i = 0; i < listeners->items.count; i++) {
        struct listener *listener = listeners->items.items[i];
        if (!listener->accepting && !listener->pausing)
            accept_start(listener);
    }
}

void bus_listeners_stop(struct bus_listeners *listeners)
{
    listeners->stopped = true;
    for (size_t i = 0; i < listeners->items.count; i++) {
        nng_stream_listener_close(listeners->items.items[i]->stream_listener);
        nng_aio_stop(listeners->items.items[i]->aio);
    }
}

void bus_listeners_free(struct bus_listeners *listeners)
{
    for (size_t i = 0; i < listeners->items.count; i++)
        listener_free(listeners->items.items[i]);
    VEC_DONE(&listeners->items);
    free(listeners);
}
