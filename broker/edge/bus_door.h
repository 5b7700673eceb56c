/* bus_door.h - the bus: nng REQ/REP in, requests out (schemas/protocol.md). Translates and bounds; decides nothing.
 *
 *   peer ── nng context ── [nng thread: post to mailbox] ── loop: parse, hello, limits ── on_publish / on_next / on_control
 *                                                              replies: bus_answer_*() ── nng context ── peer
 *
 * One context a request: it is held from arrival until its answer, and spare ones are always kept, for nng sees a peer's death only
 * while a context can take from it. A request is named by a number that is never used again. */
#ifndef SLUICE_EDGE_BUS_DOOR_H
#define SLUICE_EDGE_BUS_DOOR_H

#include "broker/core/engine.h"
#include "broker/edge/mailbox.h"

struct bus_door;

enum {
    BUS_CONTEXTS_SPARE = 16,     /* free contexts kept above the held ones */
    BUS_CONTEXTS_MAX = 20000,    /* held requests; over it peers wait in their sockets */
};

struct bus_result {              /* one lease's outcome, from a native function */
    uint64_t lease;
    const struct item_failure *failures;
    unsigned failures_count;
};

struct bus_events {
    void *ctx;
    /* publish->reply is the request. Views stay until it is answered or gone. */
    void (*on_publish)(void *ctx, const struct publish *publish);
    void (*on_next)(void *ctx, uint64_t request, uint64_t instance, unsigned events_max, const struct bus_result *results, unsigned count);
    void (*on_control)(void *ctx, uint64_t request, struct view command, struct view arguments);
    /* The peer of a held request is gone: it must not be answered any more. */
    void (*on_gone)(void *ctx, uint64_t request);
};

struct bus_options {
    const char *const *listeners; /* nng URLs, NULL-terminated */
    const char *token;            /* for tcp; NULL: no tcp */
};

/* Listens on all, ipc sockets 0600. Call after the spawner was started: nng starts threads. SLUICE_EIO: which listener and why. */
enum sluice_err bus_door_open(struct mailbox *mailbox, const struct bus_options *options, const struct bus_events *events,
                              struct bus_door **ret_door, struct sluice_error *reterr);
void bus_door_close(struct bus_door *door);

void bus_answer_publish(struct bus_door *door, uint64_t request, const struct publish_answer *answer);
/* One entry of a next answer, encoded as it goes on the wire. */
void bus_put_handover(struct bytes *out, unsigned attempt, struct view envelope);            /* the envelope itself */
void bus_put_handover_json(struct bytes *out, unsigned attempt, struct view json);           /* the rule target's input */
/* `entries`: what the two above appended, `count` of them. code SLUICE_EUNAVAILABLE with count 0: the instance is to end. */
void bus_answer_next(struct bus_door *door, uint64_t request, enum sluice_err code, const char *text, uint64_t lease, int64_t deadline_ms,
                     struct view entries, unsigned count);
void bus_answer_control(struct bus_door *door, uint64_t request, enum sluice_err code, const char *text, struct view result);

struct bus_stats {
    unsigned contexts, held, peers;
    uint64_t refused;            /* malformed or unauthorised messages */
};
void bus_door_stats(const struct bus_door *door, struct bus_stats *ret_stats);

#endif
