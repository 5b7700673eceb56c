#include "broker/edge/bus_door.h"

#include <ev.h>
#include <stdio.h>
#include <stdlib.h>

#include "broker/base/assert.h"
#include "broker/base/map.h"
#include "broker/edge/bus_listen.h"
#include "schemas/codec/mpack.h"

/* A held request. */
struct request {
    struct list link;            /* in peer->held */
    uint64_t id;
    struct bus_peer *peer;
    struct bus_chunk *chunk;     /* keeps the bytes that its views point into */
    size_t ids_bytes;
    char ids[FRAME_IDS_MAX * FRAME_ID_BYTES];
};

struct handed {                  /* a lease, and where its answer ends: bus_peer_answered() */
    uint64_t lease, end;
};

/* A connection and the instance that is attached by it. */
struct bus_bond {
    uint64_t instance;
    struct bus_peer *peer;
    uint64_t reached;            /* the last lease that was given to the system whole, as far as that was looked at */
    VEC(struct handed) handed;   /* those after it, in order */
};

struct bus_door {
    struct bus_events events;
    struct bus_peers peers;
    char *token;
    struct bus_listeners *listeners;
    struct map requests;         /* id -> struct request * */
    struct map bonds;            /* instance -> struct bus_bond * */
    uint64_t request_last, refused;
    struct bus_message message;
    ev_prepare turn_begin, turn_end;
    bool closing;
};

/* ---- requests ---- */

static struct request *request_find(const struct bus_door *door, uint64_t id)
{
    uint64_t pointer;
    return map_get(&door->requests, id, &pointer) ? (struct request *)(uintptr_t)pointer : NULL;
}

/* Its views die here. */
static void request_free(struct bus_door *door, struct request *request)
{
    (void)map_remove(&door->requests, request->id, NULL);
    list_remove(&request->link);
    request->peer->held_count--;
    bus_chunk_free(request->chunk);
    free(request);
}

/* What the request needs of a frame that is to be answered later. NULL: out of memory. */
static struct request *request_hold(struct bus_door *door, struct bus_peer *peer, const struct bus_frame *frame)
{
    struct request *request = malloc(sizeof *request);

    if (request == NULL)
        return NULL;
    *request = (struct request){ .id = ++door->request_last, .peer = peer, .chunk = bus_chunk_keep(peer->input.chunk),
                                 .ids_bytes = frame->ids.len };
    memcpy(request->ids, frame->ids.data, frame->ids.len);
    map_put(&door->requests, request->id, (uint64_t)(uintptr_t)request);
    list_push(&peer->held, &request->link);
    peer->held_count++;
    return request;
}

/* ---- answers ---- */

struct answer {
    struct bus_peer *peer;
    struct view ids;
    struct bytes *out;
    size_t start;
};

/* false: nobody is there to hear it. */
static bool answer_begin(struct answer *answer, struct bus_peer *peer, struct view ids, unsigned items, enum sluice_err code,
                         const char *text)
{
    *answer = (struct answer){ .peer = peer, .ids = ids };
    answer->out = bus_peer_answer_begin(peer, ids, &answer->start);
    if (answer->out == NULL)
        return false;
    mpack_put_array(answer->out, items);
    mpack_put_uint(answer->out, PROTOCOL_VERSION);
    mpack_put_uint(answer->out, (uint64_t)code);
    if (text == NULL)
        mpack_put_nil(answer->out);
    else
        mpack_put_str(answer->out, view_of(text));
    return true;
}

static void answer_end_within(struct answer *answer, size_t bytes_max)
{
    if (!answer->out->failed && answer->out->len - answer->start > bytes_max) {
        answer->out->len = answer->start; /* the peer would take it for a broken frame, and hang up */
        mpack_put_array(answer->out, 3);
        mpack_put_uint(answer->out, PROTOCOL_VERSION);
        mpack_put_uint(answer->out, SLUICE_ELIMIT);
        mpack_put_str(answer->out, VIEW_LITERAL("the answer is larger than a bus message can be; ask for less at once"));
    }
    bus_peer_answer_end(answer->peer, answer->ids, answer->start);
}

static void answer_end(struct answer *answer)
{
    answer_end_within(answer, PROTOCOL_MESSAGE_BYTES_MAX);
}

static void refuse(struct bus_door *door, struct bus_peer *peer, const struct bus_frame *frame, enum sluice_err code,
                   const char *text)
{
    struct answer answer;

    door->refused++;
    if (answer_begin(&answer, peer, frame->ids, 3, code, text))
        answer_end(&answer);
}

static bool request_answer_begin(struct request *request, struct answer *answer, unsigned items, enum sluice_err code,
                                 const char *text)
{
    struct view ids = { .data = request->ids, .len = request->ids_bytes };

    return answer_begin(answer, request->peer, ids, items, code, text);
}

/* ---- attached instances ---- */

static struct bus_bond *bond_find(const struct bus_door *door, uint64_t instance)
{
    uint64_t pointer;
    return map_get(&door->bonds, instance, &pointer) ? (struct bus_bond *)(uintptr_t)pointer : NULL;
}

static void bond_new(struct bus_door *door, struct bus_peer *peer, uint64_t instance)
{
    struct bus_bond *bond = calloc(1, sizeof *bond);

    ASSERT(bond != NULL);
    ASSERT(peer->bond == NULL);
    bond->instance = instance;
    bond->peer = peer;
    peer->bond = bond;
    map_put(&door->bonds, instance, (uint64_t)(uintptr_t)bond);
}

static void bond_free(struct bus_door *door, struct bus_bond *bond)
{
    (void)map_remove(&door->bonds, bond->instance, NULL);
    bond->peer->bond = NULL;
    VEC_DONE(&bond->handed);
    free(bond);
}

static void bond_look(struct bus_bond *bond)
{
    uint64_t given = bus_peer_given(bond->peer);
    size_t gone = 0;

    while (gone < bond->handed.count && bond->handed.items[gone].end <= given)
        bond->reached = bond->handed.items[gone++].lease;
    if (gone == 0)
        return;
    memmove(bond->handed.items, bond->handed.items + gone, (bond->handed.count - gone) * sizeof *bond->handed.items);
    bond->handed.count -= gone;
}

static void bond_handed(struct bus_bond *bond, uint64_t lease)
{
    bond_look(bond);
    VEC_PUSH(&bond->handed, (struct handed){ .lease = lease, .end = bond->peer->doomed ? UINT64_MAX : bus_peer_answered(bond->peer) });
}

void bus_unbind(struct bus_door *door, uint64_t instance)
{
    struct bus_bond *bond = bond_find(door, instance);

    if (bond != NULL)
        bond_free(door, bond);
}

void bus_cut(struct bus_door *door, uint64_t instance)
{
    struct bus_bond *bond = bond_find(door, instance);

    if (bond != NULL)
        bus_peer_doom(bond->peer);
}

/* May this peer speak for the instance? NULL: yes; else why not. */
static const char *stranger_to(const struct bus_door *door, const struct bus_peer *peer, uint64_t instance, bool may_be_ours,
                               enum sluice_err *ret_code)
{
    const struct bus_bond *bond = bond_find(door, instance);

    *ret_code = bond == NULL ? SLUICE_ENOTFOUND : SLUICE_EACCESS;
    if (bond != NULL && bond->peer != peer)
        return "another connection is attached as this instance";
    if (bond == NULL && !(may_be_ours && peer->local))
        return "this connection is not attached as this instance, or not any more";
    return NULL;
}

/* ---- frames ---- */

static bool token_equals(const char *expected, struct view token)
{
    size_t len = strlen(expected);
    unsigned char differs = token.len != len;

    for (size_t i = 0; i < token.len && i < len; i++) /* in constant time for a given length */
        differs |= (unsigned char)(expected[i] ^ token.data[i]);
    return differs == 0;
}

static void take_hello(struct bus_door *door, struct bus_peer *peer, const struct bus_frame *frame)
{
    struct view token = door->message.hello.token;
    struct answer answer;

    if (!peer->local && (door->token == NULL || token.data == NULL || !token_equals(door->token, token))) {
        refuse(door, peer, frame, SLUICE_EACCESS,
               "the token is missing or wrong; give the contents of the daemon's listen.token-file");
        return;
    }
    bus_peer_greeted(peer);
    bus_listeners_again(door->listeners);
    if (!answer_begin(&answer, peer, frame->ids, 8, SLUICE_OK, NULL))
        return;
    mpack_put_uint(answer.out, PUBLISH_WINDOW_BATCHES_MAX);
    mpack_put_uint(answer.out, PUBLISH_BATCH_BYTES_MAX);
    mpack_put_uint(answer.out, PUBLISH_BATCH_EVENTS_MAX);
    mpack_put_uint(answer.out, EVENT_BYTES_MAX);
    mpack_put_str(answer.out, VIEW_LITERAL("sluiced"));
    answer_end(&answer);
}

/* Why one more may not be held; NULL: it may. */
static const char *limit_reached(const struct bus_door *door, const struct bus_peer *peer)
{
    if (peer->held_count >= BUS_PEER_REQUESTS_MAX || peer->input.total > BUS_PEER_BYTES_MAX)
        return "this connection has more requests, or bytes of them, unanswered than one may; wait for answers";
    if (door->requests.count >= BUS_REQUESTS_MAX || door->peers.input_bytes > BUS_BYTES_MAX)
        return "the daemon holds as many requests, or bytes of them, as it may; wait and send it again";
    return NULL;
}

/* Why a call of a peer that said hello is not taken; NULL: it is. */
static const char *call_refused(const struct bus_door *door, const struct bus_peer *peer, enum sluice_err *ret_code)
{
    const struct bus_message *message = &door->message;
    const char *why = NULL;

    switch (message->call) {
    case CALL_HELLO:
    case CALL_PUBLISH:
        break;
    case CALL_NEXT:
        why = stranger_to(door, peer, message->next.instance, true, ret_code);
        break;
    case CALL_ATTACH:
        *ret_code = SLUICE_EEXISTS;
        why = peer->bond != NULL ? "this connection is attached already; use another one for another function" : NULL;
        break;
    case CALL_DETACH:
        why = stranger_to(door, peer, message->detach.instance, false, ret_code);
        break;
    case CALL_CONTROL:
        *ret_code = SLUICE_EACCESS;
        why = peer->local ? NULL : "control calls go over ipc only";
        break;
    }
    return why;
}

static void take_attach(struct bus_door *door, const struct request *request)
{
    struct bus_attach attach = { .request = request->id, .function = door->message.attach.function,
                                 .consumer = door->message.attach.consumer, .concurrency = door->message.attach.concurrency };

    bus_peer_address(request->peer, attach.from, sizeof attach.from);
    door->events.on_attach(door->events.ctx, &attach);
}

static void take_frame(void *ctx, struct bus_peer *peer, const struct bus_frame *frame)
{
    struct bus_door *door = ctx;
    struct bus_message *message = &door->message;
    struct sluice_error error;

    enum sluice_err err = bus_message_read(message, frame->body, &error);
    if (err == SLUICE_OK && message->call != CALL_CONTROL && frame->body.len > PROTOCOL_MESSAGE_BYTES_MAX)
        err = sluice_fail(&error, SLUICE_EINVAL, "the message has %zu bytes; but for control calls it may have %d", frame->body.len, PROTOCOL_MESSAGE_BYTES_MAX);
    if (err != SLUICE_OK) {
        refuse(door, peer, frame, err, error.text);
        return;
    }
    if (message->call == CALL_HELLO) {
        take_hello(door, peer, frame);
        return;
    }
    if (!peer->greeted) {
        refuse(door, peer, frame, SLUICE_EPROTO, "say hello first");
        return;
    }
    const char *refused = call_refused(door, peer, &err);
    if (refused != NULL) {
        refuse(door, peer, frame, err, refused);
        return;
    }
    const char *limit = limit_reached(door, peer);
    struct request *request = limit == NULL ? request_hold(door, peer, frame) : NULL;
    if (request == NULL) {
        refuse(door, peer, frame, SLUICE_ELIMIT, limit != NULL ? limit : "the daemon is out of memory; wait and send it again");
        return;
    }
    switch (message->call) {
    case CALL_HELLO:
        break;
    case CALL_PUBLISH:
        message->publish.reply = request->id;
        door->events.on_publish(door->events.ctx, &message->publish);
        break;
    case CALL_NEXT:
        door->events.on_next(door->events.ctx, request->id, message->next.instance, message->next.events_max,
                             message->results.items, (unsigned)message->results.count);
        break;
    case CALL_ATTACH:
        take_attach(door, request);
        break;
    case CALL_DETACH:
        door->events.on_detach(door->events.ctx, request->id, message->detach.instance);
        break;
    case CALL_CONTROL:
        door->events.on_control(door->events.ctx, request->id, message->control.command, message->control.arguments);
        break;
    }
}

/* From the head anew each time: what on_gone makes the owner do may answer others of them. */
static void peer_gone(void *ctx, struct bus_peer *peer)
{
    struct bus_door *door = ctx;

    while (!list_empty(&peer->held)) {
        struct request *request = LIST_OWNER(peer->held.next, struct request, link);
        /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): request_free() takes it out of the list */
        (void)map_remove(&door->requests, request->id, NULL);
        if (!door->closing)
            door->events.on_gone(door->events.ctx, request->id);
        request_free(door, request);
    }
    if (peer->bond == NULL)
        return;
    bond_look(peer->bond);
    uint64_t instance = peer->bond->instance, reached = peer->bond->reached;
    bond_free(door, peer->bond);
    if (!door->closing)
        door->events.on_lost(door->events.ctx, instance, reached);
}

/* ---- open and close ---- */

static void peer_freed(void *ctx)
{
    struct bus_door *door = ctx;
    bus_listeners_again(door->listeners);
}

/* Twice: acks of a commit do not wait for the work that the owner's turn does next; what that turn answers goes at its end. */
static void on_turn(struct ev_loop *loop, ev_prepare *watcher, int events)
{
    struct bus_door *door = watcher->data;

    (void)loop, (void)events;
    bus_peers_flush(&door->peers);
}

enum sluice_err bus_door_open(struct mailbox *mailbox, const struct bus_options *options, const struct bus_events *events,
                              struct bus_door **ret_door, struct sluice_error *reterr)
{
    struct bus_door *door = calloc(1, sizeof *door);
    ASSERT(door != NULL);

    bus_peers_init(&door->peers, mailbox);
    door->listeners = bus_listeners_new(&door->peers);
    door->peers.ctx = door;
    door->peers.on_frame = take_frame;
    door->peers.on_gone = peer_gone;
    door->peers.on_freed = peer_freed;
    door->events = *events;
    ev_prepare_init(&door->turn_begin, on_turn);
    ev_prepare_init(&door->turn_end, on_turn);
    ev_set_priority(&door->turn_begin, EV_MAXPRI);
    ev_set_priority(&door->turn_end, EV_MINPRI);
    door->turn_begin.data = door->turn_end.data = door;
    ev_prepare_start(mailbox_loop(mailbox), &door->turn_begin);
    ev_prepare_start(mailbox_loop(mailbox), &door->turn_end);
    if (options->token != NULL) {
        door->token = strdup(options->token);
        ASSERT(door->token != NULL);
    }
    for (size_t i = 0; options->listeners[i] != NULL; i++) {
        enum sluice_err err = bus_listeners_add(door->listeners, options->listeners[i], reterr);
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
    struct mailbox *mailbox = door->peers.mailbox;

    door->closing = true;
    bus_listeners_stop(door->listeners);
    bus_peers_flush(&door->peers);
    LIST_EACH(at, &door->peers.all)
        peer_gone(door, LIST_OWNER(at, struct bus_peer, link));
    bus_peers_close(&door->peers);
    ev_prepare_stop(mailbox_loop(mailbox), &door->turn_begin);
    ev_prepare_stop(mailbox_loop(mailbox), &door->turn_end);
    bus_listeners_free(door->listeners);
    ASSERT(door->requests.count == 0);
    ASSERT(door->bonds.count == 0);
    ASSERT(door->peers.input_bytes == 0);
    map_done(&door->requests);
    map_done(&door->bonds);
    bus_message_done(&door->message);
    free(door->token);
    free(door);
}

/* ---- answers of the owner ---- */

void bus_answer_publish(struct bus_door *door, uint64_t id, const struct publish_answer *published)
{
    struct request *request = request_find(door, id);
    struct answer answer;

    if (request == NULL)
        return;
    if (request_answer_begin(request, &answer, 7, published->code, published->text)) {
        mpack_put_uint(answer.out, published->accepted);
        mpack_put_bool(answer.out, published->duplicate);
        mpack_put_uint(answer.out, PUBLISH_WINDOW_BATCHES_MAX);
        mpack_put_array(answer.out, (uint32_t)published->refusals_count);
        for (size_t i = 0; i < published->refusals_count; i++) {
            const struct publish_refusal *refusal = &published->refusals[i];
            mpack_put_array(answer.out, 3);
            mpack_put_uint(answer.out, refusal->index);
            mpack_put_uint(answer.out, (uint64_t)refusal->error.code);
            mpack_put_str(answer.out, view_of(refusal->error.text));
        }
        answer_end(&answer);
    }
    request_free(door, request);
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

void bus_answer_next(struct bus_door *door, uint64_t id, enum sluice_err code, const char *text, uint64_t lease, int64_t deadline_ms,
                     struct view entries, unsigned count)
{
    struct request *request = request_find(door, id);
    struct answer answer;

    if (request == NULL)
        return;
    if (request_answer_begin(request, &answer, 6, code, text)) {
        mpack_put_uint(answer.out, lease);
        mpack_put_int(answer.out, deadline_ms);
        mpack_put_array(answer.out, count);
        bytes_put_view(answer.out, entries);
        answer_end(&answer);
    }
    if (lease != 0 && request->peer->bond != NULL)
        bond_handed(request->peer->bond, lease);
    request_free(door, request);
}

void bus_answer_attach(struct bus_door *door, uint64_t id, const struct bus_attached *attached)
{
    struct request *request = request_find(door, id);
    struct answer answer;
    char instance[24];

    ASSERT(request != NULL); /* answered at once: its peer cannot have gone */
    (void)snprintf(instance, sizeof instance, "%llu", (unsigned long long)attached->instance);
    if (request_answer_begin(request, &answer, 7, attached->code, attached->text)) {
        mpack_put_str(answer.out, view_of(attached->code == SLUICE_OK ? instance : ""));
        mpack_put_uint(answer.out, attached->concurrency);
        mpack_put_uint(answer.out, attached->batch_size);
        mpack_put_uint(answer.out, (uint64_t)attached->timeout_ms);
        answer_end(&answer);
    }
    if (attached->code == SLUICE_OK)
        bond_new(door, request->peer, attached->instance);
    request_free(door, request);
}

void bus_answer_detach(struct bus_door *door, uint64_t id)
{
    struct request *request = request_find(door, id);
    struct answer answer;

    if (request == NULL)
        return;
    if (request_answer_begin(request, &answer, 3, SLUICE_OK, NULL))
        answer_end(&answer);
    request_free(door, request);
}

void bus_answer_control(struct bus_door *door, uint64_t id, enum sluice_err code, const char *text, struct view result)
{
    struct request *request = request_find(door, id);
    struct answer answer;

    if (request == NULL)
        return;
    if (request_answer_begin(request, &answer, 4, code, text)) {
        mpack_put_bin(answer.out, result);
        answer_end_within(&answer, PROTOCOL_CONTROL_BYTES_MAX);
    }
    request_free(door, request);
}

void bus_door_stats(const struct bus_door *door, struct bus_stats *ret_stats)
{
    *ret_stats = (struct bus_stats){ .held = (unsigned)door->requests.count,
                                     .peers = door->peers.count,
                                     .input_bytes = door->peers.input_bytes,
                                     .refused = door->refused,
                                     .broken = door->peers.broken };
}
