/* trace_id.h - X-Ray's name of an invocation, as functions and callers see it, and W3C's of the same, as events keep it. Pure.
 *
 *   Root=1-6743a1b2-0123456789abcdef01234567;Parent=0123456789abcdef;Sampled=1       00-6743a1b20123456789abcdef01234567-0123456789abcdef-01
 *
 * One that came without is given one that follows from its request id: who asks for it twice (the door that answers, the Runtime API that hands
 * over, the next attempt of an event) has the same, and nobody keeps it. Unique, not secret. */
#ifndef SLUICE_BASE_TRACE_ID_H
#define SLUICE_BASE_TRACE_ID_H

#include "schemas/codec/ids.h"

enum {
    TRACE_ID_ROOT_LEN = 40,      /* up to the first `;` */
    TRACE_ID_LEN = 74,
    TRACEPARENT_LEN = 55,
};

/* Root's time is the request id's own if that is a UUID of version 7, else `unix_ms`. */
void trace_id_make(struct view request_id, int64_t unix_ms, char ret_text[TRACE_ID_LEN + 1]);
/* One without Parent gets the request id's; false: it has no Root of that form. */
bool trace_id_to_traceparent(struct view trace_id, struct view request_id, char ret_text[TRACEPARENT_LEN + 1]);
bool trace_id_from_traceparent(struct view traceparent, char ret_text[TRACE_ID_LEN + 1]); /* false: it is none */

#endif
