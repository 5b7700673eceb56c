#include "broker/edge/bus_door.h"

#include <errno.h>
#include <nng/nng.h>
#include <nng/protocol/reqrep0/rep.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "broker/base/assert.h"
#include "broker/base/map.h"
#include "broker/base/vec.h"
#include "broker/edge/log.h"
#include "schemas/codec/protocol.h"

/* A slot is one context. Its aio is either receiving, or resting while the loop holds the request, or sending; an nng thread and the
 * loop never touch it at the same time, for it changes hands only through the mailbox and nng's own completion. */
enum slot_state { SLOT_RECEIVING, SLOT_HELD, SLOT_SENDING };

struct slot {
    struct mail mail;            /* first: a received message on its way to the loop */
    struct bus_door *door;
    nng_ctx ctx;
    nng_aio *aio;
    nng_msg *msg;                /* while HELD */
    uint32_t pipe;
    uint64_t request;            /* 0 unless HELD */
    _Atomic enum slot_state state;
};

struct peer {
    uint32_t pipe;
    bool local;                  /* ipc: same user or root */
    bool greeted;
    char name[64];
};

struct pipe_mail {               /* a pipe came or went */
    struct mail mail;
    struct bus_door *door;
    uint32_t pipe;
    bool added, local, allowed;
};

struct bus_door {
    struct mailbox *mailbox;
    struct bus_events events;
    nng_socket socket;
    char *token;
    VEC(struct slot *) slots;
    unsigned held;
    struct map peers;            /* pipe -> struct peer * */
    struct map requests;         /* request -> struct slot * */
    uint64_t request_last, refused;
    struct bytes out;
    VEC(struct bus_result) results;
    VEC(struct item_failure) failures;
    bool closing;
};

/* ---- nng threads ---- */

static void slot_message(struct mail *mail);

static void slot_completed(void *arg)
{
    struct slot *slot = arg;
    int result = nng_aio_result(slot->aio);

    if (atomic_load(&slot->state) == SLOT_SENDING) {
        if (result != 0) /* the peer is gone; its lease or its resend says the rest */
            nng_msg_free(nng_aio_get_msg(slot->aio));
        if (result == NNG_ECLOSED || result == NNG_ECANCELED)
            return;
        atomic_store(&slot->state, SLOT_RECEIVING);
        nng_ctx_recv(slot->ctx, slot->aio);
        return;
    }
    if (result == NNG_ECLOSED || result == NNG_ECANCELED)
        return;
    if (result != 0) {
        nng_ctx_recv(slot->ctx, slot->aio);
        return;
    }
    slot->msg = nng_aio_get_msg(slot->aio);
    slot->pipe = (uint32_t)nng_msg_get_pipe(slot->msg).id;
    atomic_store(&slot->state, SLOT_HELD);
    mailbox_post(slot->door->mailbox, &slot->mail);
}

static void pipe_news(struct mail *mail);

static void pipe_changed(nng_pipe pipe, nng_pipe_ev event, void *arg)
{
    struct pipe_mail *news = calloc(1, sizeof *news);
    uint64_t uid;

    if (news == NULL) {
        (void)nng_pipe_close(pipe);
        return;
    }
    news->mail.deliver = pipe_news;
    news->door = arg;
    news->pipe = (uint32_t)nng_pipe_id(pipe);
    news->added = event == NNG_PIPE_EV_ADD_PRE;
    if (news->added) {
        news->local = nng_pipe_get_uint64(pipe, NNG_OPT_IPC_PEER_UID, &uid) == 0;
        news->allowed = !news->local || uid == 0 || uid == geteuid();
        if (!news->allowed)
            (void)nng_pipe_close(pipe);
    }
    mailbox_post(news->door->mailbox, &news->mail);
}

/* ---- the loop ---- */

static bool slot_add(struct bus_door *door)
{
    struct slot *slot = calloc(1, sizeof *slot);

    if (slot == NULL)
        return false;
    slot->mail.deliver = slot_message;
    slot->door = door;
    if (nng_ctx_open(&slot->ctx, door->socket) != 0) {
        free(slot);
        return false;
    }
    if (nng_aio_alloc(&slot->aio, slot_completed, slot) != 0) {
        (void)nng_ctx_close(slot->ctx);
        free(slot);
        return false;
    }
    VEC_PUSH(&door->slots, slot);
    atomic_store(&slot->state, SLOT_RECEIVING);
    nng_ctx_recv(slot->ctx, slot->aio);
    return true;
}

static struct peer *peer_find(const struct bus_door *door, uint32_t pipe)
{
    uint64_t pointer;
    return map_get(&door->peers, pipe, &pointer) ? (struct peer *)(uintptr_t)pointer : NULL;
}

/* Back to receiving without an answer: the context forgets its peer. */
static void slot_drop(struct slot *slot)
{
    struct bus_door *door = slot->door;

    if (slot->request != 0) {
        (void)map_remove(&door->requests, slot->request, NULL);
        slot->request = 0;
        door->held--;
    }
    nng_msg_free(slot->msg);
    slot->msg = NULL;
    atomic_store(&slot->state, SLOT_RECEIVING);
    nng_ctx_recv(slot->ctx, slot->aio);
}

static void slot_send(struct slot *slot, struct view bytes)
{
    struct bus_door *door = slot->door;

    if (slot->request != 0) {
        (void)map_remove(&door->requests, slot->request, NULL);
        slot->request = 0;
        door->held--;
    }
    nng_msg_clear(slot->msg); /* the request's own message carries the answer back */
    if (nng_msg_append(slot->msg, bytes.data, bytes.len) != 0) {
        slot_drop(slot);
        return;
    }
    nng_aio_set_msg(slot->aio, slot->msg);
    slot->msg = NULL;
    atomic_store(&slot->state, SLOT_SENDING);
    nng_ctx_send(slot->ctx, slot->aio);
}

static void out_begin(struct bus_door *door, unsigned items, enum sluice_err code, const char *text)
{
    bytes_clear(&door->out);
    mpack_put_array(&door->out, items);
    mpack_put_uint(&door->out, PROTOCOL_VERSION);
    mpack_put_uint(&door->out, (uint64_t)code);
    if (text == NULL)
        mpack_put_nil(&door->out);
    else
        mpack_put_str(&door->out, view_of(text));
}

static void slot_refuse(struct slot *slot, enum sluice_err code, const char *text)
{
    slot->door->refused++;
    out_begin(slot->door, 3, code, text);
    slot_send(slot, bytes_view(&slot->door->out));
}

static uint64_t slot_hold(struct slot *slot)
{
    struct bus_door *door = slot->door;

    slot->request = ++door->request_last;
    map_put(&door->requests, slot->request, (uint64_t)(uintptr_t)slot);
    door->held++;
    return slot->request;
}

static bool token_equals(const char *expected, struct view token)
{
    size_t len = strlen(expected);
    unsigned char differs = token.len != len;

    for (size_t i = 0; i < token.len && i < len; i++) /* in constant time for a given length */
        differs |= (unsigned char)(expected[i] ^ token.data[i]);
    return differs == 0;
}

static void take_hello(struct slot *slot, struct peer *peer, struct mpack_reader *reader)
{
    struct bus_door *door = slot->door;
    struct view client, token = { 0 };

    if (!mpack_read_str(reader, &client) || (!mpack_read_nil(reader) && !mpack_read_str(reader, &token)) || !mpack_at_end(reader)) {
        slot_refuse(slot, SLUICE_EPROTO, "hello: expected [1, 1, client name, token or nil]");
        return;
    }
    if (!peer->local && (door->token == NULL || token.data == NULL || !token_equals(door->token, token))) {
        slot_refuse(slot, SLUICE_EACCESS, "the token is missing or wrong; give the contents of the daemon's listen.token-file");
        return;
    }
    peer->greeted = true;
    (void)snprintf(peer->name, sizeof peer->name, "%.*s", (int)(client.len > 60 ? 60 : client.len), client.data);
    out_begin(door, 8, SLUICE_OK, NULL);
    mpack_put_uint(&door->out, PUBLISH_WINDOW_BATCHES_MAX);
    mpack_put_uint(&door->out, PUBLISH_BATCH_BYTES_MAX);
    mpack_put_uint(&door->out, PUBLISH_BATCH_EVENTS_MAX);
    mpack_put_uint(&door->out, EVENT_BYTES_MAX);
    mpack_put_str(&door->out, VIEW_LITERAL("sluiced"));
    slot_send(slot, bytes_view(&door->out));
}

static void take_publish(struct slot *slot, struct mpack_reader *reader)
{
    struct bus_door *door = slot->door;
    struct publish publish = { 0 };
    struct view producer;
    uint32_t count;

    publish.has_producer = !mpack_read_nil(reader);
    if ((publish.has_producer && (!mpack_read_bin(reader, &producer) || producer.len != sizeof publish.producer)) ||
        !mpack_read_uint(reader, UINT64_MAX, &publish.epoch) || !mpack_read_uint(reader, UINT64_MAX >> 1, &publish.sequence) ||
        !mpack_read_uint(reader, UINT64_MAX >> 1, &publish.lowest) || !mpack_read_array(reader, &count)) {
        slot_refuse(slot, SLUICE_EPROTO, "publish: expected [1, 2, producer of 16 bytes or nil, epoch, sequence, lowest, [events]]");
        return;
    }
    publish.events = (struct view){ (const char *)reader->at, (size_t)(reader->end - reader->at) };
    if (count > PUBLISH_BATCH_EVENTS_MAX || publish.events.len > PUBLISH_BATCH_BYTES_MAX) {
        slot_refuse(slot, SLUICE_EINVAL, "publish: more than 10,000 events or 4 MiB in one batch; send smaller batches");
        return;
    }
    if (publish.has_producer)
        memcpy(publish.producer, producer.data, sizeof publish.producer);
    publish.count = count;
    publish.reply = slot_hold(slot);
    door->events.on_publish(door->events.ctx, &publish);
}

/* [lease, nil | [[index, type, message] ...], output | nil] */
static bool take_result(struct bus_door *door, struct mpack_reader *reader, size_t *failures_first)
{
    struct bus_result result = { 0 };
    struct view output = { 0 };
    uint32_t items, failures = 0;
    uint64_t index;

    *failures_first = door->failures.count;
    if (!mpack_read_array(reader, &items) || items != 3 || !mpack_read_uint(reader, UINT64_MAX, &result.lease))
        return false;
    if (!mpack_read_nil(reader) && (!mpack_read_array(reader, &failures) || failures > NEXT_EVENTS_MAX))
        return false;
    for (uint32_t i = 0; i < failures; i++) {
        struct item_failure failure = { 0 };
        if (!mpack_read_array(reader, &items) || items != 3 || !mpack_read_uint(reader, NEXT_EVENTS_MAX, &index) ||
            !mpack_read_str(reader, &failure.failure.type) || !mpack_read_str(reader, &failure.failure.message))
            return false;
        failure.index = (unsigned)index;
        VEC_PUSH(&door->failures, failure);
    }
    if (!mpack_read_nil(reader) && (!mpack_read_bin(reader, &output) || output.len > NEXT_OUTPUT_BYTES_MAX))
        return false;
    for (size_t i = *failures_first; i < door->failures.count; i++)
        door->failures.items[i].failure.output = output;
    result.failures_count = failures;
    VEC_PUSH(&door->results, result);
    return true;
}

static void take_next(struct slot *slot, struct mpack_reader *reader)
{
    enum { RESULTS_MAX = 1024 };
    struct bus_door *door = slot->door;
    struct view instance;
    uint64_t id = 0, events_max;
    uint32_t count;
    size_t first;

    if (!mpack_read_str(reader, &instance) || instance.len == 0 || instance.len > 19 ||
        !mpack_read_uint(reader, NEXT_EVENTS_MAX, &events_max) || !mpack_read_array(reader, &count) || count > RESULTS_MAX) {
        slot_refuse(slot, SLUICE_EPROTO, "next: expected [1, 3, instance, events_max, [[lease, failures, output] ...]]");
        return;
    }
    for (size_t i = 0; i < instance.len; i++) {
        if (instance.data[i] < '0' || instance.data[i] > '9') {
            slot_refuse(slot, SLUICE_EPROTO, "next: the instance is the number in $SLUICE_INSTANCE");
            return;
        }
        id = id * 10 + (uint64_t)(instance.data[i] - '0');
    }
    door->results.count = door->failures.count = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (!take_result(door, reader, &first)) {
            slot_refuse(slot, SLUICE_EPROTO, "next: a result is not [lease, nil or [[index, type, message] ...], output or nil]");
            return;
        }
    }
    first = 0; /* the array may have moved while it grew: point into it now */
    for (size_t i = 0; i < door->results.count; i++) {
        door->results.items[i].failures = door->failures.items + first;
        first += door->results.items[i].failures_count;
    }
    uint64_t request = slot_hold(slot);
    door->events.on_next(door->events.ctx, request, id, (unsigned)events_max, door->results.items, (unsigned)door->results.count);
}

static void take_control(struct slot *slot, const struct peer *peer, struct mpack_reader *reader)
{
    struct bus_door *door = slot->door;
    struct view command, arguments;

    if (!peer->local) {
        slot_refuse(slot, SLUICE_EACCESS, "control calls go over ipc only");
        return;
    }
    if (!mpack_read_str(reader, &command) || !mpack_read_bin(reader, &arguments)) {
        slot_refuse(slot, SLUICE_EPROTO, "control: expected [1, 16, command, arguments as JSON bytes]");
        return;
    }
    uint64_t request = slot_hold(slot);
    door->events.on_control(door->events.ctx, request, command, arguments);
}

static void slot_message(struct mail *mail)
{
    struct slot *slot = (struct slot *)mail;
    struct bus_door *door = slot->door;
    struct peer *peer = peer_find(door, slot->pipe);
    struct mpack_reader reader =
        mpack_reader_of((struct view){ .data = nng_msg_body(slot->msg), .len = nng_msg_len(slot->msg) });
    uint32_t items;
    uint64_t version, call;

    if (door->closing)
        return;
    /* A request that is held keeps its context: replace it, so that enough can always receive. */
    if (door->slots.count - door->held <= BUS_CONTEXTS_SPARE && door->slots.count < BUS_CONTEXTS_MAX)
        (void)slot_add(door);
    if (peer == NULL) { /* it left while its message was on the way */
        slot_drop(slot);
        return;
    }
    if (!mpack_read_array(&reader, &items) || !mpack_read_uint(&reader, 255, &version)) {
        slot_refuse(slot, SLUICE_EPROTO, "not a bus message: expected a MessagePack array [version, call, ...]");
        return;
    }
    if (version != PROTOCOL_VERSION) {
        char text[96];
        (void)snprintf(text, sizeof text, "bus protocol version %u is not spoken here; this daemon speaks version %d",
                       (unsigned)version, PROTOCOL_VERSION);
        slot_refuse(slot, SLUICE_EPROTO, text);
        return;
    }
    if (!mpack_read_uint(&reader, UINT32_MAX, &call)) {
        slot_refuse(slot, SLUICE_EPROTO, "the call is not a number");
        return;
    }
    if (call == CALL_HELLO && items == 4) {
        take_hello(slot, peer, &reader);
        return;
    }
    if (!peer->greeted) {
        slot_refuse(slot, SLUICE_EPROTO, "say hello first");
        return;
    }
    if (call == CALL_PUBLISH && items == 7)
        take_publish(slot, &reader);
    else if (call == CALL_NEXT && items == 5)
        take_next(slot, &reader);
    else if (call == CALL_CONTROL && items == 4)
        take_control(slot, peer, &reader);
    else
        slot_refuse(slot, SLUICE_EPROTO, "unknown call, or a wrong number of fields for it");
}

static void pipe_news(struct mail *mail)
{
    struct pipe_mail *news = (struct pipe_mail *)mail;
    struct bus_door *door = news->door;
    struct peer *peer = peer_find(door, news->pipe);

    if (news->added && !news->allowed) {
        log_format(LOG_WARN, "event=peer-refused reason=\"another user's process on the bus socket\"");
    } else if (news->added && peer == NULL) {
        peer = calloc(1, sizeof *peer);
        ASSERT(peer != NULL);
        *peer = (struct peer){ .pipe = news->pipe, .local = news->local };
        map_put(&door->peers, news->pipe, (uint64_t)(uintptr_t)peer);
    } else if (!news->added && peer != NULL) {
        (void)map_remove(&door->peers, news->pipe, NULL);
        free(peer);
        for (size_t i = 0; i < door->slots.count; i++) {
            struct slot *slot = door->slots.items[i];
            if (slot->request == 0 || slot->pipe != news->pipe)
                continue;
            door->events.on_gone(door->events.ctx, slot->request);
            slot_drop(slot);
        }
    }
    free(news);
}

/* ---- open and close ---- */

static enum sluice_err listen_on(struct bus_door *door, const char *url, struct sluice_error *reterr)
{
    nng_listener listener;
    int result = nng_listener_create(&listener, door->socket, url);

    if (result == 0 && strncmp(url, "ipc://", 6) == 0) {
        result = nng_listener_set_int(listener, NNG_OPT_IPC_PERMISSIONS, S_IRUSR | S_IWUSR);
    } else if (result == 0) {
        (void)nng_listener_set_bool(listener, NNG_OPT_TCP_KEEPALIVE, true);
        (void)nng_listener_set_bool(listener, NNG_OPT_TCP_NODELAY, true);
    }
    if (result == 0)
        result = nng_listener_start(listener, 0);
    if (result != 0)
        return sluice_fail(reterr, SLUICE_EIO, "cannot listen on %s: %s; choose another address under listen.bus", url, nng_strerror(result));
    return SLUICE_OK;
}

enum sluice_err bus_door_open(struct mailbox *mailbox, const struct bus_options *options, const struct bus_events *events,
                              struct bus_door **ret_door, struct sluice_error *reterr)
{
    struct bus_door *door = calloc(1, sizeof *door);
    ASSERT(door != NULL);
    door->mailbox = mailbox;
    door->events = *events;
    door->token = options->token == NULL ? NULL : strdup(options->token);
    int result = nng_rep0_open(&door->socket);
    if (result != 0) {
        free(door->token);
        free(door);
        return sluice_fail(reterr, SLUICE_EIO, "cannot open the bus socket: %s", nng_strerror(result));
    }
    (void)nng_socket_set_size(door->socket, NNG_OPT_RECVMAXSZ, PROTOCOL_MESSAGE_BYTES_MAX);
    /* Not ADD_POST: that one may come after the pipe's first message, which would then be a stranger's and be dropped unanswered. */
    (void)nng_pipe_notify(door->socket, NNG_PIPE_EV_ADD_PRE, pipe_changed, door);
    (void)nng_pipe_notify(door->socket, NNG_PIPE_EV_REM_POST, pipe_changed, door);
    for (unsigned i = 0; i < 2 * BUS_CONTEXTS_SPARE; i++) {
        if (!slot_add(door)) {
            bus_door_close(door);
            return sluice_fail(reterr, SLUICE_ENOMEM, "no memory for the bus contexts");
        }
    }
    for (size_t i = 0; options->listeners[i] != NULL; i++) {
        enum sluice_err err = listen_on(door, options->listeners[i], reterr);
        if (err != SLUICE_OK) {
            bus_door_close(door);
            return err;
        }
    }
    *ret_door = door;
    return SLUICE_OK;
}

void bus_door_close(struct bus_door *door)
{
    if (door == NULL)
        return;
    door->closing = true;
    (void)nng_close(door->socket);
    for (size_t i = 0; i < door->slots.count; i++)
        nng_aio_stop(door->slots.items[i]->aio);
    (void)mailbox_drain(door->mailbox); /* what was posted before the stop: nothing comes after */
    for (size_t i = 0; i < door->slots.count; i++) {
        struct slot *slot = door->slots.items[i];
        if (slot->msg != NULL)
            nng_msg_free(slot->msg);
        nng_aio_free(slot->aio);
        free(slot);
    }
    for (size_t i = 0; i < door->peers.capacity; i++) {
        if (door->peers.slots[i].key != UINT64_MAX)
            free((void *)(uintptr_t)door->peers.slots[i].value);
    }
    map_done(&door->peers);
    map_done(&door->requests);
    bytes_done(&door->out);
    VEC_DONE(&door->slots);
    VEC_DONE(&door->results);
    VEC_DONE(&door->failures);
    free(door->token);
    free(door);
}

/* ---- answers ---- */

static struct slot *request_slot(struct bus_door *door, uint64_t request)
{
    uint64_t pointer;
    return map_get(&door->requests, request, &pointer) ? (struct slot *)(uintptr_t)pointer : NULL;
}

void bus_answer_publish(struct bus_door *door, uint64_t request, const struct publish_answer *answer)
{
    struct slot *slot = request_slot(door, request);

    if (slot == NULL)
        return;
    out_begin(door, 7, answer->code, answer->text);
    mpack_put_uint(&door->out, answer->accepted);
    mpack_put_bool(&door->out, answer->duplicate);
    mpack_put_uint(&door->out, PUBLISH_WINDOW_BATCHES_MAX);
    mpack_put_array(&door->out, (uint32_t)answer->refusals_count);
    for (size_t i = 0; i < answer->refusals_count; i++) {
        const struct publish_refusal *refusal = &answer->refusals[i];
        mpack_put_array(&door->out, 3);
        mpack_put_uint(&door->out, refusal->index);
        mpack_put_uint(&door->out, (uint64_t)refusal->error.code);
        mpack_put_str(&door->out, view_of(refusal->error.text));
    }
    slot_send(slot, bytes_view(&door->out));
}

void bus_put_handover(struct bytes *out, unsigned attempt, struct view envelope)
{
    mpack_put_array(out, 3);
    mpack_put_uint(out, attempt);
    mpack_put_uint(out, NEXT_ENVELOPE);
    bytes_put_view(out, envelope);
}

void bus_put_handover_json(struct bytes *out, unsigned attempt, struct view json)
{
    mpack_put_array(out, 3);
    mpack_put_uint(out, attempt);
    mpack_put_uint(out, NEXT_JSON);
    mpack_put_bin(out, json);
}

void bus_answer_next(struct bus_door *door, uint64_t request, enum sluice_err code, const char *text, uint64_t lease, int64_t deadline_ms,
                     struct view entries, unsigned count)
{
    struct slot *slot = request_slot(door, request);

    if (slot == NULL)
        return;
    out_begin(door, 6, code, text);
    mpack_put_uint(&door->out, lease);
    mpack_put_int(&door->out, deadline_ms);
    mpack_put_array(&door->out, count);
    bytes_put_view(&door->out, entries);
    slot_send(slot, bytes_view(&door->out));
}

void bus_answer_control(struct bus_door *door, uint64_t request, enum sluice_err code, const char *text, struct view result)
{
    struct slot *slot = request_slot(door, request);

    if (slot == NULL)
        return;
    out_begin(door, 4, code, text);
    mpack_put_bin(&door->out, result);
    slot_send(slot, bytes_view(&door->out));
}

void bus_door_stats(const struct bus_door *door, struct bus_stats *ret_stats)
{
    *ret_stats = (struct bus_stats){ .contexts = (unsigned)door->slots.count,
                                     .held = door->held,
                                     .peers = (unsigned)door->peers.count,
                                     .refused = door->refused };
}
