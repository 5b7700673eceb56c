/* control.h - the control calls of schemas/control.md: JSON in, JSON out, by jansson. Answers through the bus door.
 *
 * A call is answered inside the turn it came in, or it is parked: a tail until there is an event or its time is over, a change until
 * the commit that holds it is durable, a balance until a thread has counted it, an event of a foreign id until a thread has read the
 * log for it, a reload until a thread has prepared it. At most CONTROL_PARKED_MAX are.
 *
 *   control.c               the table of commands, their arguments, parking and answering
 *   control_status.c        status, balance                    control_events.c         event.tail, event.show
 *   control_search.c        the log read for one event
 *   control_functions.c     function.list, .show, .logs    control_invoke.c         function.invoke
 *         control_rules.c          rule.list, reload
 *   control_dead_letters.c  dead-letter.list, .show, .redrive, .purge */
#ifndef SLUICE_DAEMON_CONTROL_H
#define SLUICE_DAEMON_CONTROL_H

#include "broker/daemon/broker.h"

enum {
    CONTROL_PARKED_MAX = 4096,           /* over it: SLUICE_ELIMIT */
    CONTROL_ARGUMENTS_BYTES_MAX = 64 << 10,
    CONTROL_ENDS_KEPT = 8,               /* ends of instances, of each function */
};

struct control *control_new(struct broker *broker);
/* Waits for what worker threads still do with the store: before that is closed. Answers nothing any more. */
struct control *control_free(struct control *control);
/* Inside the turn's store read, like all below. Answers `request` now or later. */
void control_call(struct control *control, uint64_t request, struct view command, struct view arguments);
/* The peer is gone; nothing may be answered any more. */
void control_gone(struct control *control, uint64_t request);
/* After each commit: answers what waited for it, and tails. */
void control_committed(struct control *control);
/* Reload `number` is over: answers those who asked for it. */
void control_reloaded(struct control *control, uint64_t number, bool loaded, struct view errors);
/* Invocations and events of calls of function.invoke: handles with CONTROL_HANDLE_BIT. */
struct api_invocation;
const struct api_invocation *control_invocation(const struct control *control, uint64_t invoke);
void control_publish_answered(struct control *control, uint64_t reply, const struct publish_answer *answer);
void control_invoke_answered(struct control *control, uint64_t invoke, const struct invoke_answer *answer, struct view log);
/* The daemon is to stop: what is parked is told so, and nothing is parked from now on. */
void control_stop(struct control *control);
/* An instance was told to end, and why; then it ended (before the engine hears of it): kept for `function.show`. */
void control_instance_stopped(struct control *control, uint64_t instance, const char *reason);
void control_instance_gone(struct control *control, uint64_t instance, const struct instance_end *end);

#endif
