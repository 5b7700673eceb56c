/* ways.h - the ways of scaling that are compared: ours (the real engine), the rules of others, and one that knows the future. */
#ifndef SLUICE_BENCH_WAYS_H
#define SLUICE_BENCH_WAYS_H

#include "bench/scaling/trace.h"

/* The real engine (broker/core) over the model store of the simulation: its matching, queue, leases, start tokens, autoscale(), its
 * choice of instances and its idle stop. `idle_us` as in `scale: {idle: ...}`. */
void engine_run(const struct trace *trace, int64_t idle_us, struct outcome *ret_outcome);

/* The Horizontal Pod Autoscaler fed by KEDA from a queue's length, as documented (keda.sh, "ScaledObject specification" and "Scaling
 * Deployments"; kubernetes.io, "Horizontal Pod Autoscaling"). From zero to one and back KEDA itself decides, at its polls: one when
 * the queue is not empty, zero when it has been empty for the cooldown. In between, at each sync: desired = ceil(queue / target),
 * unchanged within the tolerance of 10 %; the highest of the last `stabilization_us` counts when that is less than there are; and up by
 * no more than what doubles, or four, a sync. The queue's length counts what is worked on too, as KEDA's scalers do by default. */
struct keda {
    int64_t poll_us, cooldown_us, sync_us, stabilization_us;
    double target;
    bool limited;                /* the default scale-up policies: double, or four more, in 15 s */
};
/* Knative's pod autoscaler on concurrency, as documented (knative.dev, "Configuring scale bounds", "Concurrency", "config-autoscaler")
 * and as its source decides (knative/serving, pkg/autoscaler/scaling/autoscaler.go): each tick, desired = ceil(mean concurrency over
 * the stable window / (container concurrency * utilization)); when the same over the panic window is at least `panic_threshold` times
 * what is ready, it panics: the higher of both, and no way down, until a stable window has passed without. Up by at most
 * `scale_up_rate` times, down by at most half a tick. From zero the activator asks for one at the first request. The last
 * instance goes `grace_us` after the rule said zero. */
struct knative {
    int64_t tick_us, stable_us, panic_us, grace_us;
    double utilization, panic_threshold, scale_up_rate;
};
void keda_run(const struct trace *trace, const struct keda *keda, struct outcome *ret_outcome);
void knative_run(const struct trace *trace, const struct knative *knative, struct outcome *ret_outcome);

/* Least instance-seconds found that begin each delivery within the drain target (or, where INSTANCES_MAX cannot, as near to it as they
 * can), all arrivals known before: instances are started ahead of need, stopped at once, and deliveries put off within the target so
 * that one instance does them one after the other. */
void clairvoyant_run(const struct trace *trace, struct outcome *ret_outcome);

#endif
