/* bus_message.h - the requests of the bus protocol (schemas/protocol.md), read and checked as far as their frame goes. Pure.
 * What a message holds for the engine (the envelopes, a control call's JSON) is passed on as bytes, checked there. */
#ifndef SLUICE_EDGE_BUS_MESSAGE_H
#define SLUICE_EDGE_BUS_MESSAGE_H

#include "broker/base/vec.h"
#include "broker/core/engine.h"
#include "schemas/codec/protocol.h"

enum { NEXT_RESULTS_MAX = 1024 };   /* in one next: an instance holds a few leases at a time */

struct bus_result {              /* one lease's outcome, from a native function */
    uint64_t lease;
    const struct item_failure *failures;
    unsigned failures_count;
};

/* One message after the other is read into the same struct; views point into the message. Zeroed at first. */
struct bus_message {
    enum protocol_call call;
    union {
        struct { struct view client, token; } hello;            /* token.data NULL: none */
        struct publish publish;                                 /* reply 0 */
        struct { uint64_t instance; unsigned events_max; } next;
        struct { struct view function, consumer; unsigned concurrency; } attach; /* consumer: checked, fit for a log line */
        struct { uint64_t instance; } detach;
        struct { struct view command, arguments; } control;
    };
    VEC(struct bus_result) results;     /* of next */
    VEC(struct item_failure) failures;
};
/* SLUICE_EPROTO, SLUICE_EINVAL: not a message, with what was expected; then *message holds nothing of use. */
enum sluice_err bus_message_read(struct bus_message *message, struct view body, struct sluice_error *reterr);
void bus_message_done(struct bus_message *message);

#endif
