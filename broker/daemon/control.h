/* control.h - the control calls of schemas/control.md: JSON in, JSON out, by jansson. Answers through the bus door. */
#ifndef SLUICE_DAEMON_CONTROL_H
#define SLUICE_DAEMON_CONTROL_H

#include "broker/daemon/broker.h"

struct control *control_new(struct broker *broker);
struct control *control_free(struct control *control);
/* Answers `request` now or later (a tail that waits, a change that must be durable first, a balance that counts on a thread). */
void control_call(struct control *control, uint64_t request, struct view command, struct view arguments);
/* The peer is gone; nothing may be answered any more. */
void control_gone(struct control *control, uint64_t request);
/* After each commit: answers what waited for it, and tails. */
void control_committed(struct control *control);
/* An instance ended: kept for `function.show`. */
void control_instance_gone(struct control *control, uint64_t instance, const struct instance_end *end);

#endif
