/* lambda.h - invocations and functions that speak the Runtime API, between the engine, broker/api and broker/edge. */
#ifndef SLUICE_DAEMON_LAMBDA_H
#define SLUICE_DAEMON_LAMBDA_H

#include "broker/api/api.h"
#include "broker/api/runtime/runtime_api.h"
#include "broker/daemon/broker.h"
#include "broker/daemon/request_id.h"

enum { LAMBDA_ARN_BYTES = 160 };

bool lambda_open(struct broker *broker, struct sluice_error *reterr);
void lambda_close(struct broker *broker);
/* For those that subscribed to the instance's telemetry: a line it printed, and what an invocation of it took. */
struct report;
void lambda_line(void *ctx, uint64_t instance, struct view line);
void lambda_report(void *ctx, uint64_t instance, const struct report *report);
/* Its runtime has ended by itself: its extensions hear of it, and have their time. */
void lambda_ended(struct broker *broker, uint64_t instance);
/* At the end of a turn: what is idle now and whose function says scale.idle-freeze. */
void lambda_freeze_idle(struct broker *broker);
/* "arn:aws:lambda:REGION:ACCOUNT:function:NAME" */
void lambda_arn(const char *function, char ret_arn[LAMBDA_ARN_BYTES]);

/* A JSON text; SLUICE_EINVAL with its place if not. */
bool lambda_payload_check(struct view payload, struct sluice_error *reterr);

struct request_id lambda_request_id(const struct handover *handover);
/* world.start, .deliver and .invoke for an instance of protocol lambda. */
enum sluice_err lambda_start(struct broker *broker, uint64_t instance, const struct config_function *function, struct sluice_error *reterr);
void lambda_deliver(struct broker *broker, uint64_t instance, uint64_t lease, int64_t deadline_ms, const struct handover *handover);
void lambda_invoke(struct broker *broker, uint64_t instance, uint64_t lease, int64_t deadline_ms, const struct api_invocation *invocation);

#endif
