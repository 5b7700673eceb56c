/* request_id.h - what an invocation is called: in START, END and REPORT lines, and by the functions themselves.
 * Of an event's delivery it is a UUID made from (event id, sequence, ordinal): the same on every attempt, as Lambda's is, and another for
 * each target of one event. It has the form of version 4, which Lambda's have. A batch is called after its first delivery. */
#ifndef SLUICE_DAEMON_REQUEST_ID_H
#define SLUICE_DAEMON_REQUEST_ID_H

#include "broker/core/delivery.h"
#include "schemas/codec/ids.h"

struct request_id { char text[UUID_TEXT_LEN + 1]; };

struct request_id request_id_of_delivery(struct view event_id, struct delivery delivery);

#endif
