/* batch.h - events encoded back to back, with whom to tell about each: the unit that is sent, answered and resent.
 *
 *             seal              send             answer          acks called
 *     OPEN ---------> QUEUED ---------> SENT ------------> DONE ------------> (reused)
 *                       ^                 |
 *                       +-----------------+  connection lost, or the daemon said "later"
 *
 * A batch keeps its number and its bytes until it is answered, so that a repeat is the same batch to the daemon.
 * Nothing here locks; producer.c holds its mutex, except around batch_call_acks() on a batch that is DONE. */
#ifndef SLUICE_CLIENT_BATCH_H
#define SLUICE_CLIENT_BATCH_H

#include <nng/nng.h>

#include "producers/client/wire.h"
#include "sluice/producer.h"

enum batch_state { BATCH_OPEN, BATCH_QUEUED, BATCH_SENT, BATCH_DONE };

struct batch_ack {
    sluice_ack *ack;            /* NULL: nobody asks */
    void *user;
};

struct batch {
    struct batch *next, *previous;  /* by number: producer.c's list of what is not answered */
    struct batch *done_next;
    enum batch_state state;
    uint64_t sequence;          /* 0 while open */
    int64_t opened_us;          /* monotonic, when its first event came */
    struct bytes envelopes;
    struct batch_ack *acks;
    uint32_t count, acks_capacity;
    unsigned sent_count;        /* times it went out */
    unsigned protocol_errors;   /* times the daemon called it malformed */
    nng_msg *reply;             /* owned; `published` points into it */
    struct wire_published published;
    size_t held_bytes;          /* what it counts against buffer_bytes */
};

struct batch *batch_new(size_t bytes);          /* NULL: out of memory */
struct batch *batch_free(struct batch *batch);  /* NULL is fine; returns NULL */
/* For reuse: empty and open, memory kept. */
void batch_reset(struct batch *batch);

/* What event_encode() adds where the caller left it out. */
struct event_defaults {
    int64_t now_ms;
    const uint8_t *random;      /* 16 bytes, for the id */
};
/* Appends the envelope of `event`; `scratch` is for its resources. SLUICE_EINVAL: which field and why; `out` is as before. */
enum sluice_err event_encode(const struct sluice_event *event, const struct event_defaults *defaults, size_t bytes_max,
                             struct bytes *scratch, struct bytes *out, struct sluice_error *reterr);
/* Notes whom to tell about the event encoded last, which took `bytes`. false: out of memory, nothing changed. */
bool batch_add(struct batch *batch, size_t bytes, sluice_ack *ack, void *user);

struct batch_totals { uint64_t acked, refused, unconfirmed; };
/* Tells every event's outcome, in their order, from `published` (or SLUICE_EUNAVAILABLE without a reply). */
void batch_call_acks(struct batch *batch, struct batch_totals *totals);

#endif
