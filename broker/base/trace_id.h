/* trace_id.h - X-Ray's name of an invocation that came without one, as functions and callers see it. Pure.
 *
 *   Root=1-6743a1b2-0123456789abcdef01234567;Parent=0123456789abcdef;Sampled=0
 *
 * It follows from the request id: who asks for it twice (the door that answers, the Runtime API that hands over, the next attempt of an event)
 * has the same, and nobody keeps it. Unique, not secret. */
#ifndef SLUICE_BASE_TRACE_ID_H
#define SLUICE_BASE_TRACE_ID_H

#include "schemas/codec/ids.h"

enum {
    TRACE_ID_ROOT_LEN = 40,      /* up to the first `;` */
    TRACE_ID_LEN = 74,
};

/* Root's time is the request id's own if that is a UUID of version 7, else `unix_ms`. */
void trace_id_make(struct view request_id, int64_t unix_ms, char ret_text[TRACE_ID_LEN + 1]);

#endif
