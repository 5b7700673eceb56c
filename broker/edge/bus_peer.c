#include "broker/edge/bus_peer.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

#include "broker/base/assert.h"
#include "schemas/codec/protocol.h"

#define MAIL_PEER(mail_, member_) LIST_OWNER(mail_, struct bus_peer, member_)

/* ---- nng's threads ---- */

static void read_completed(void *arg)
{
    struct bus_peer *peer = arg;
    mailbox_post(peer->peers->mailbox, &peer->read_mail);
}

static void write_completed(void *arg)
{
    struct bus_peer *peer = arg;
    mailbox_post(peer->peers->mailbox, &peer->write_mail);
}

/* ---- the loop: ends ---- */

static void peer_free(struct bus_peer *peer)
{
    ASSERT(list_empty(&peer->held));
    /* Freeing an aio waits for its callback, which has posted all there is: it is about to return. */
    if (peer->read_aio != NULL)
        nng_aio_free(peer->read_aio);
    if (peer->write_aio != NULL)
        nng_aio_free(peer->write_aio);
    nng_stream_free(peer->stream);
    bus_input_done(&peer->input);
    bytes_done(&peer->out);
    bytes_done(&peer->sending);
    list_remove(&peer->dirty);
    list_remove(&peer->link);
    free(peer);
}

/* The transfers that are going on end with an error; the last of them frees the peer (peer_settle()). */
static void peer_gone(struct bus_peer *peer)
{
    if (peer->state == PEER_GONE)
        return;
    peer->state = PEER_GONE;
    nng_stream_close(peer->stream);
    peer->peers->on_gone(peer->peers->ctx, peer);
}

static void peer_broken(struct bus_peer *peer)
{
    peer->peers->broken++;
    peer_gone(peer);
}

static void peer_uncount(struct bus_peer *peer)
{
    peer->peers->count--;
    peer->peers->strangers -= !peer->local && !peer->greeted;
}

void bus_peer_greeted(struct bus_peer *peer)
{
    peer->peers->strangers -= !peer->local && !peer->greeted;
    peer->greeted = true;
}

/* The last thing that a handler of mail does with its peer. */
static void peer_settle(struct bus_peer *peer)
{
    struct bus_peers *peers = peer->peers;

    if (peer->state != PEER_GONE || peer->reading || peer->writing)
        return;
    peer_uncount(peer);
    peer_free(peer);
    peers->on_freed(peers->ctx);
}

void bus_peer_doom(struct bus_peer *peer)
{
    if (peer->doomed || peer->state == PEER_GONE)
        return;
    peer->doomed = true;
    peer->peers->broken++;
    nng_stream_close(peer->stream);
    /* Its read hears of the close. A stalled peer has none, and perhaps no write either: one that fails, then. */
    if (!peer->reading && !peer->writing && list_empty(&peer->dirty))
        list_push(&peer->peers->dirty, &peer->dirty);
}

/* ---- the loop: bytes in ---- */

static size_t frame_bytes_max(const struct bus_peer *peer)
{
    return (size_t)FRAME_IDS_MAX * FRAME_ID_BYTES +
           (peer->local     ? (size_t)PROTOCOL_CONTROL_BYTES_MAX
            : peer->greeted ? (size_t)PROTOCOL_MESSAGE_BYTES_MAX
                            : (size_t)BUS_HELLO_BYTES_MAX);
}

static void read_start(struct bus_peer *peer)
{
    bool stranger = peer->state == PEER_GREETING || (!peer->local && !peer->greeted);
    nng_time now = stranger ? nng_clock() : 0;
    uint8_t *at;
    size_t len;

    if (!bus_input_room(&peer->input, frame_bytes_max(peer), &at, &len) || (stranger && now >= peer->greet_by)) {
        peer_broken(peer);
        return;
    }
    nng_iov iov = { .iov_buf = at, .iov_len = len };
    (void)nng_aio_set_iov(peer->read_aio, 1, &iov); /* fails above 8 only */
    nng_aio_set_timeout(peer->read_aio, stranger ? (nng_duration)(peer->greet_by - now) : NNG_DURATION_INFINITE);
    peer->reading = true;
    nng_stream_recv(peer->stream, peer->read_aio);
}

static size_t unsent_bytes(const struct bus_peer *peer)
{
    return peer->out.len + peer->sending.len - peer->sent;
}

/* Takes what is there, as long as it may, and reads on. */
static void peer_take(struct bus_peer *peer)
{
    for (;;) {
        enum frame_result result = FRAME_SHORT;
        struct bus_frame frame;
        switch (peer->state) {
        case PEER_GREETING:
            result = bus_input_greeting(&peer->input, frame_greeting_req);
            if (result == FRAME_WHOLE)
                peer->state = PEER_TAKING;
            break;
        case PEER_TAKING:
            result = bus_input_take(&peer->input, frame_bytes_max(peer), &frame);
            if (result == FRAME_WHOLE)
                peer->peers->on_frame(peer->peers->ctx, peer, &frame);
            if (peer->state == PEER_TAKING && unsent_bytes(peer) >= BUS_UNSENT_BYTES_STALL)
                peer->state = PEER_STALLED;
            break;
        case PEER_STALLED:
        case PEER_GONE:
            return;
        }
        switch (result) {
        case FRAME_WHOLE:
            break;
        case FRAME_SHORT:
            if (peer->state != PEER_STALLED)
                read_start(peer);
            return;
        case FRAME_BROKEN:
            peer_broken(peer);
            return;
        }
    }
}

static void read_news(struct mail *mail)
{
    struct bus_peer *peer = MAIL_PEER(mail, read_mail);

    peer->reading = false;
    if (peer->state == PEER_GONE || peer->doomed || nng_aio_result(peer->read_aio) != 0) {
        peer_gone(peer);
    } else {
        bus_input_filled(&peer->input, nng_aio_count(peer->read_aio));
        peer_take(peer);
    }
    peer_settle(peer);
}

/* ---- the loop: bytes out ---- */

static void write_start(struct bus_peer *peer)
{
    nng_iov iov;

    if (!peer->doomed)
        iov = (nng_iov){ .iov_buf = peer->sending.data + peer->sent, .iov_len = peer->sending.len - peer->sent };
    else /* closed already: nothing of it is sent */
        iov = (nng_iov){ .iov_buf = (void *)(uintptr_t)frame_greeting_rep, .iov_len = FRAME_GREETING_BYTES };
    (void)nng_aio_set_iov(peer->write_aio, 1, &iov);
    peer->writing = true;
    nng_stream_send(peer->stream, peer->write_aio);
}

static void write_news(struct mail *mail)
{
    struct bus_peer *peer = MAIL_PEER(mail, write_mail);

    peer->writing = false;
    if (peer->state == PEER_GONE || peer->doomed || nng_aio_result(peer->write_aio) != 0) {
        peer_gone(peer);
        peer_settle(peer);
        return;
    }
    peer->sent += nng_aio_count(peer->write_aio);
    if (peer->sent < peer->sending.len) {
        write_start(peer);
    } else {
        peer->sent_before += peer->sending.len;
        bytes_clear(&peer->sending);
        peer->sent = 0;
        if (peer->sending.capacity > BUS_OUT_BYTES_KEPT)
            bytes_done(&peer->sending);
        if (peer->out.len > 0)
            list_push(&peer->peers->dirty, &peer->dirty);
    }
    if (peer->state == PEER_STALLED && unsent_bytes(peer) <= BUS_UNSENT_BYTES_STALL / 2) {
        peer->state = PEER_TAKING;
        if (!peer->reading)
            peer_take(peer);
    }
    peer_settle(peer);
}

void bus_peers_flush(struct bus_peers *peers)
{
    while (!list_empty(&peers->dirty)) {
        struct bus_peer *peer = LIST_OWNER(peers->dirty.next, struct bus_peer, dirty);
        list_remove(&peer->dirty);
        if (peer->state == PEER_GONE || (peer->out.len == 0 && !peer->doomed))
            continue;
        ASSERT(!peer->writing);
        ASSERT(peer->sending.len == 0);
        struct bytes empty = peer->sending;
        peer->sending = peer->out;
        peer->out = empty;
        write_start(peer);
    }
}

struct bytes *bus_peer_answer_begin(struct bus_peer *peer, struct view ids, size_t *ret_start)
{
    static const uint8_t later[FRAME_LENGTH_BYTES_MAX];
    uint8_t length[FRAME_LENGTH_BYTES_MAX];

    if (peer->state == PEER_GONE || peer->doomed)
        return NULL;
    bytes_put(&peer->out, later, frame_put_length(peer->input.kind, 0, length));
    bytes_put_view(&peer->out, ids);
    *ret_start = peer->out.len;
    return &peer->out;
}

void bus_peer_answer_end(struct bus_peer *peer, struct view ids, size_t start)
{
    uint8_t length[FRAME_LENGTH_BYTES_MAX];

    if (peer->out.failed || unsent_bytes(peer) > BUS_UNSENT_BYTES_MAX) {
        bytes_done(&peer->out);
        bus_peer_doom(peer);
        return;
    }
    size_t length_bytes = frame_put_length(peer->input.kind, peer->out.len - start + ids.len, length);
    memcpy(peer->out.data + start - ids.len - length_bytes, length, length_bytes);
    if (!peer->writing && list_empty(&peer->dirty))
        list_push(&peer->peers->dirty, &peer->dirty);
}

uint64_t bus_peer_answered(const struct bus_peer *peer)
{
    return peer->sent_before + peer->sending.len + peer->out.len;
}

uint64_t bus_peer_given(const struct bus_peer *peer)
{
    return peer->sent_before + (peer->writing ? peer->sending.len : peer->sent);
}

void bus_peer_address(const struct bus_peer *peer, char *buffer, size_t buffer_len)
{
    char host[INET6_ADDRSTRLEN] = "?";
    nng_sockaddr address;
    uint64_t pid;

    (void)snprintf(buffer, buffer_len, "?");
    if (peer->local) {
        if (nng_stream_get_uint64(peer->stream, NNG_OPT_IPC_PEER_PID, &pid) == 0)
            (void)snprintf(buffer, buffer_len, "pid %llu", (unsigned long long)pid);
        return;
    }
    if (nng_stream_get_addr(peer->stream, NNG_OPT_REMADDR, &address) != 0)
        return;
    if (address.s_family == NNG_AF_INET && inet_ntop(AF_INET, &address.s_in.sa_addr, host, sizeof host) != NULL)
        (void)snprintf(buffer, buffer_len, "%s:%u", host, ntohs(address.s_in.sa_port));
    else if (address.s_family == NNG_AF_INET6 && inet_ntop(AF_INET6, address.s_in6.sa_addr, host, sizeof host) != NULL)
        (void)snprintf(buffer, buffer_len, "[%s]:%u", host, ntohs(address.s_in6.sa_port));
}

/* ---- life ---- */

void bus_peers_init(struct bus_peers *peers, struct mailbox *mailbox)
{
    peers->mailbox = mailbox;
    list_init(&peers->all);
    list_init(&peers->dirty);
}

bool bus_peer_new(struct bus_peers *peers, nng_stream *stream, enum frame_kind kind, bool local)
{
    struct bus_peer *peer = calloc(1, sizeof *peer);

    if (peer == NULL) {
        nng_stream_free(stream);
        return false;
    }
    peer->peers = peers;
    peer->stream = stream;
    peer->local = local;
    peer->read_mail.deliver = read_news;
    peer->write_mail.deliver = write_news;
    list_init(&peer->held);
    list_init(&peer->link);
    list_init(&peer->dirty);
    bus_input_init(&peer->input, kind, &peers->input_bytes);
    bytes_put(&peer->out, frame_greeting_rep, FRAME_GREETING_BYTES);
    if (peer->out.failed || nng_aio_alloc(&peer->read_aio, read_completed, peer) != 0 ||
        nng_aio_alloc(&peer->write_aio, write_completed, peer) != 0) {
        peer_free(peer);
        return false;
    }
    list_push(&peers->all, &peer->link);
    list_push(&peers->dirty, &peer->dirty);
    peers->count++;
    peers->strangers += !local;
    peer->greet_by = nng_clock() + BUS_GREETING_MS_MAX;
    read_start(peer);
    if (peer->state != PEER_GONE)
        return true;
    peer_settle(peer); /* no memory to read into */
    return false;
}

void bus_peers_close(struct bus_peers *peers)
{
    bus_peers_flush(peers);
    LIST_EACH(at, &peers->all) {
        struct bus_peer *peer = LIST_OWNER(at, struct bus_peer, link);
        peer->state = PEER_GONE;
        nng_stream_close(peer->stream);
        nng_aio_stop(peer->read_aio);
        nng_aio_stop(peer->write_aio);
    }
    /* What the callbacks posted before they were stopped frees peers; nothing is posted after. */
    (void)mailbox_drain(peers->mailbox);
    LIST_EACH(at, &peers->all) {
        struct bus_peer *peer = LIST_OWNER(at, struct bus_peer, link);
        peer_uncount(peer);
        peer_free(peer);
    }
}
