/* invocations.h - invocations as they run: their START, END and REPORT lines, and what they cost.
 *
 *   started ──> ready ──> begin ... end ──> begin ... end ──> gone          of one instance, in the order of the engine's decisions
 *      └─ init ──┘          └─ busy ─┘
 *
 * Owns: an entry for each instance that the daemon started, with the leases that are out; the usage of functions (edge/usage.h).
 * An invocation is a lease, whatever its number of deliveries. Where an instance has several at once, each moment is billed to one of them:
 * what they add up to is what the instance was busy. An instance that never became ready has run
 * nothing, but a failed init was the time of the invocation that failed with it.
 * Memory is looked at no more often than every LOOK_MS: an invocation that ends in between is told the last peak. A stdio process is one
 * invocation: closed by its end, and what it took is what the process took, by the spawner's clock (ours is late when there is much to do).
 * Calls for instances that the daemon did not start (consumers that attached) do nothing: they run at the cost of others. */
#ifndef SLUICE_DAEMON_INVOCATIONS_H
#define SLUICE_DAEMON_INVOCATIONS_H

#include "broker/core/engine.h"
#include "broker/edge/instances.h"
#include "broker/edge/mailbox.h"
#include "broker/edge/report.h"
#include "broker/edge/usage.h"

struct invocations;

enum { INVOCATIONS_LOOK_REPORTED_MS = 100, INVOCATIONS_LOOK_SUMMED_MS = 1000 };

enum sluice_err invocations_new(struct ev_loop *loop, struct mailbox *mailbox, struct instances *instances, const char *data,
                                struct invocations **ret_invocations, struct sluice_error *reterr);
/* Saves the usage; what still runs is in none. Before the instances. NULL is fine. */
void invocations_free(struct invocations *invocations);

/* protocol lambda: its INIT_START. */
void invocations_started(struct invocations *invocations, uint64_t instance, const struct config_function *function, const struct instance_info *info);
/* protocol lambda: INIT_REPORT, unless it has become ready, or this was told. Gone before it was ready is an error, too. status ERROR or TIMEOUT. */
void invocations_init_failed(struct invocations *invocations, uint64_t instance, enum report_status status, struct view error_type);
void invocations_stopped(struct invocations *invocations, uint64_t instance);               /* told to end: if it never was ready, that is no failure */
void invocations_ready(struct invocations *invocations, uint64_t instance);                 /* init is over; again: nothing */
/* Whether somebody is told of its invocations, so that they need a request id. */
bool invocations_reported(const struct invocations *invocations, uint64_t instance);
/* `request_id` NULL: none was made, and no lines are written. */
void invocations_begin(struct invocations *invocations, uint64_t instance, uint64_t lease, unsigned count, const char *request_id);
/* `count` deliveries of the lease are done; error_type absent: well. The invocation ends with the last of them. */
void invocations_end(struct invocations *invocations, uint64_t instance, uint64_t lease, unsigned count, struct view error_type, struct now now);
/* It has had its time, of `timeout_ms`, and ends here: its process is killed next; if that has not begun yet, with its process.
 * Before anything is told of that to others. */
void invocations_timed_out(struct invocations *invocations, uint64_t instance, uint64_t lease, int64_t timeout_ms);
/* stdio: what its process took is known before its result. Those of others are known by invocations_gone(). */
void invocations_exited(struct invocations *invocations, uint64_t instance, const struct instance_end *end);
/* Its process has ended: what it had not answered has failed. Before anything is told of that to others. Again: nothing. */
void invocations_ended(struct invocations *invocations, uint64_t instance, const struct instance_end *end);
void invocations_gone(struct invocations *invocations, uint64_t instance);                  /* nothing more is asked about it */
/* An invocation that never began has failed, since the start of this instance did, just now. Protocol lambda: its init was that invocation's time. */
void invocations_start_failed(struct invocations *invocations, uint64_t instance, const char *request_id);

/* Told of each report of an invocation that has a request id, as it is made; must not call back. */
void invocations_on_report(struct invocations *invocations, void (*on_report)(void *ctx, uint64_t instance, const struct report *report), void *ctx);

/* The log of an invocation of this instance that has just been answered: START, `output`, END, and REPORT if it had begun. Appended. */
void invocations_put_log(const struct invocations *invocations, uint64_t instance, const char *request_id, struct view output, struct bytes *out);

/* The same of one that never began: what the start printed, INIT_REPORT, START, END and REPORT. After invocations_start_failed(). */
void invocations_put_start_log(const struct invocations *invocations, uint64_t instance, const char *request_id, struct view output, struct bytes *out);

const struct usage *invocations_usage(const struct invocations *invocations);

#endif
