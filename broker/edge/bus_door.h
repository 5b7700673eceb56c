/* bus_door.h - the bus: requests in, answers out (schemas/protocol.md). Translates and bounds; decides nothing.
 *
 *   peer ── nng stream ── [nng thread: mail] ── loop: bus_peer: frames ── here: hello, limits ── on_publish, _next, _attach, ...
 *                                                     one write a turn <── answers: bus_answer_*()
 *
 * The wire is nng's REQ/REP (schemas/codec/frame.h), so any nng REQ socket can be a peer, but of nng only the streams are used: its
 * own REP socket can block nng's one reaper thread for good when a connection is cut while data moves (1.5.2), and then no dead
 * peer is noticed any more and closing never returns. It also costs several thread changes a message, where a read here brings many.
 *
 * Always: the requests of a connection come in the order in which they were sent. A request is named by a number that is never used
 * again, and is held from its event to its answer or on_gone, one of the two, once. A peer's end is noticed at once.
 * A consumer that attached is bound to its connection: only that one may ask for its work, hand in its results, or detach; and over tcp
 * nothing else is served to a `next`.
 * At a limit: too many held requests or bytes of one peer or of all: SLUICE_ELIMIT to the peer, nothing taken. A peer that does not
 * read its answers is not read from (bus_peer.h). Of connections there are no more than bus_listen.h lets in. */
#ifndef SLUICE_EDGE_BUS_DOOR_H
#define SLUICE_EDGE_BUS_DOOR_H

#include "broker/edge/bus_message.h"
#include "broker/edge/mailbox.h"

struct bus_door;

enum {
    BUS_PEER_REQUESTS_MAX = 4096,           /* held, of one peer; its credit is PUBLISH_WINDOW_BATCHES_MAX */
    BUS_PEER_BYTES_MAX = 128 << 20,         /* of held requests, and what is between them; twice the credit of largest batches */
    BUS_REQUESTS_MAX = 65536,               /* held, of all */
    BUS_BYTES_MAX = 1 << 30,
};

struct bus_attach {
    uint64_t request;
    struct view function, consumer; /* consumer: fit for a log line */
    unsigned concurrency;        /* 0: what the function says */
    char from[64];               /* who it is, for people */
};

struct bus_events {
    void *ctx;
    /* publish->reply is the request. Views stay until it is answered or gone. */
    void (*on_publish)(void *ctx, const struct publish *publish);
    void (*on_next)(void *ctx, uint64_t request, uint64_t instance, unsigned events_max, const struct bus_result *results, unsigned count);
    /* Answered at once, by bus_answer_attach(). */
    void (*on_attach)(void *ctx, const struct bus_attach *attach);
    /* Answered when the instance has settled all that it holds. */
    void (*on_detach)(void *ctx, uint64_t request, uint64_t instance);
    /* The connection of an attached instance is gone; after on_gone of its requests. Leases after `lease_reached` never left this process. */
    void (*on_lost)(void *ctx, uint64_t instance, uint64_t lease_reached);
    void (*on_control)(void *ctx, uint64_t request, struct view command, struct view arguments);
    /* The peer of a held request is gone: it must not be answered any more. */
    void (*on_gone)(void *ctx, uint64_t request);
};

struct bus_options {
    const char *const *listeners; /* nng URLs, NULL-terminated */
    const char *token;            /* for tcp; NULL: no tcp */
};

/* Listens on all, ipc sockets 0600 and for processes of the same user and root only. Call after the spawner was started: nng starts
 * threads. SLUICE_EIO: which listener and why. */
enum sluice_err bus_door_open(struct mailbox *mailbox, const struct bus_options *options, const struct bus_events *events,
                              struct bus_door **ret_door, struct sluice_error *reterr);
/* Answers given are still sent, as far as sockets take them at once; held requests end without on_gone. Never waits for a peer.
 * Delivers the mailbox's other mail too. NULL is fine. */
void bus_door_close(struct bus_door *door);

void bus_answer_publish(struct bus_door *door, uint64_t request, const struct publish_answer *answer);
/* One entry of a next answer, encoded as it goes on the wire. */
void bus_put_handover(struct bytes *out, unsigned attempt, struct view envelope);            /* the envelope itself */
void bus_put_handover_json(struct bytes *out, unsigned attempt, struct view json);           /* the rule target's input */
/* `entries`: what the two above appended, `count` of them. code SLUICE_EUNAVAILABLE with count 0: the instance is to end. */
void bus_answer_next(struct bus_door *door, uint64_t request, enum sluice_err code, const char *text, uint64_t lease, int64_t deadline_ms,
                     struct view entries, unsigned count);
struct bus_attached {
    enum sluice_err code;        /* SLUICE_OK: the connection is bound to `instance` from now on */
    const char *text;
    uint64_t instance;
    unsigned concurrency, batch_size;
    int64_t timeout_ms;
};
void bus_answer_attach(struct bus_door *door, uint64_t request, const struct bus_attached *attached);
/* The instance is over: its connection is free to attach again. No on_lost any more. */
void bus_unbind(struct bus_door *door, uint64_t instance);
/* Cuts off the connection of an attached instance; on_lost follows. */
void bus_cut(struct bus_door *door, uint64_t instance);
void bus_answer_detach(struct bus_door *door, uint64_t request);
void bus_answer_control(struct bus_door *door, uint64_t request, enum sluice_err code, const char *text, struct view result);

struct bus_stats {
    unsigned held, peers;
    size_t input_bytes;          /* what was read and is still held, and the buffers to read into */
    uint64_t refused;            /* malformed, unauthorised, or at a limit: messages answered with an error here */
    uint64_t broken;             /* connections cut off for what came, or was not read, on them */
};
void bus_door_stats(const struct bus_door *door, struct bus_stats *ret_stats);

#endif
