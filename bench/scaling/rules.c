/* rules.c - KEDA with the pod autoscaler of Kubernetes, and Knative's: see ways.h for where each comes from. */
#include "bench/scaling/ways.h"

#include <math.h>
#include <stdlib.h>

#include "bench/scaling/pods.h"
#include "broker/base/assert.h"

static unsigned bounded(double wanted)
{
    return wanted < 0 ? 0 : wanted > INSTANCES_MAX ? INSTANCES_MAX : (unsigned)wanted;
}

/* ---- KEDA ---- */

enum { RECOMMENDATIONS = 512 };
#define TOLERANCE 0.1 /* of the pod autoscaler: a ratio so near to 1 changes nothing */

struct keda_state {
    const struct keda *keda;
    int64_t active_us;           /* the last poll that found something; -1: none yet */
    struct { int64_t at_us; unsigned wanted; } said[RECOMMENDATIONS]; /* ring */
    size_t said_count;
};

static unsigned keda_sync(struct keda_state *state, const struct pods_view *view, double length)
{
    const struct keda *keda = state->keda;
    double ratio = length / (keda->target * view->live);
    double wanted = fabs(ratio - 1) <= TOLERANCE ? view->live : ceil(length / keda->target);

    if (wanted < 1)
        wanted = 1; /* only KEDA goes to zero */
    if (keda->limited && wanted > fmax(2 * view->live, view->live + 4))
        wanted = fmax(2 * view->live, view->live + 4);
    unsigned said = bounded(wanted);
    state->said[state->said_count % RECOMMENDATIONS].at_us = view->now_us;
    state->said[state->said_count++ % RECOMMENDATIONS].wanted = said;
    if (said >= view->live)
        return said;
    unsigned highest = said;
    for (size_t i = 1; i <= state->said_count && i <= RECOMMENDATIONS; i++) {
        size_t at = (state->said_count - i) % RECOMMENDATIONS;
        if (state->said[at].at_us < view->now_us - keda->stabilization_us)
            break;
        if (state->said[at].wanted > highest)
            highest = state->said[at].wanted;
    }
    return highest < view->live ? highest : view->live;
}

static unsigned keda_wanted(void *ctx, const struct pods_view *view, bool arrival)
{
    struct keda_state *state = ctx;
    const struct keda *keda = state->keda;
    double length = view->queue + view->busy;

    (void)arrival;
    if (view->now_us % keda->poll_us == 0) {
        if (length > 0) {
            state->active_us = view->now_us;
            if (view->live == 0) {
                state->said_count = 0;
                return 1;
            }
        } else if (view->live > 0 && view->now_us - state->active_us >= keda->cooldown_us) {
            return 0;
        }
    }
    return view->live > 0 && view->now_us % keda->sync_us == 0 ? keda_sync(state, view, length) : view->live;
}

void keda_run(const struct trace *trace, const struct keda *keda, struct outcome *ret_outcome)
{
    ASSERT(keda->poll_us % keda->sync_us == 0);
    outcome_init(ret_outcome, trace);
    for (unsigned f = 0; f < trace->functions; f++) {
        struct keda_state state = { .keda = keda, .active_us = -1 };
        pods_run(trace, f, &(struct rule){ .tick_us = keda->sync_us, .wanted = keda_wanted, .ctx = &state }, ret_outcome);
    }
}

/* ---- Knative ---- */

struct knative_state {
    const struct knative *knative;
    int64_t panic_us;            /* when the threshold was last passed; -1: no panic */
    unsigned panic_most;
    int64_t zero_us;             /* since when the rule says zero; -1: it does not */
};

static double mean_over(const struct pods_view *view, int64_t window_us)
{
    int64_t second = view->now_us / SECOND_US, seconds = (window_us + SECOND_US - 1) / SECOND_US;
    double sum = 0;

    ASSERT(seconds < CONCURRENCY_SECONDS);
    for (int64_t s = second - seconds; s < second; s++) /* whole seconds only */
        sum += s < 0 ? 0 : view->concurrency[s % CONCURRENCY_SECONDS];
    return sum / (double)seconds;
}

static unsigned knative_tick(struct knative_state *state, const struct pods_view *view)
{
    const struct knative *knative = state->knative;
    double ready = view->ready < 1 ? 1 : view->ready;
    double most = ceil(knative->scale_up_rate * ready), least = floor(ready / 2);
    double stable = ceil(mean_over(view, knative->stable_us) / knative->utilization - 1e-9);
    double panic = ceil(mean_over(view, knative->panic_us) / knative->utilization - 1e-9);
    bool over = panic / ready >= knative->panic_threshold;

    stable = fmin(fmax(stable, least), most);
    panic = fmin(fmax(panic, least), most);
    if (over) {
        state->panic_us = view->now_us;
    } else if (state->panic_us >= 0 && state->panic_us + knative->stable_us < view->now_us) {
        state->panic_us = -1;
        state->panic_most = 0;
    }
    if (state->panic_us < 0)
        return bounded(stable);
    unsigned wanted = bounded(fmax(stable, panic));
    if (wanted > state->panic_most)
        state->panic_most = wanted;
    return state->panic_most;
}

static unsigned knative_wanted(void *ctx, const struct pods_view *view, bool arrival)
{
    struct knative_state *state = ctx;

    if (arrival) /* the activator */
        return view->live == 0 ? 1 : view->live;
    unsigned wanted = knative_tick(state, view);
    if (wanted > 0 || view->queue + view->busy > 0) {
        state->zero_us = -1;
        return wanted > 0 ? wanted : 1;
    }
    if (view->live == 0)
        return 0;
    if (state->zero_us < 0)
        state->zero_us = view->now_us;
    return view->now_us - state->zero_us >= state->knative->grace_us ? 0 : 1;
}

void knative_run(const struct trace *trace, const struct knative *knative, struct outcome *ret_outcome)
{
    outcome_init(ret_outcome, trace);
    for (unsigned f = 0; f < trace->functions; f++) {
        struct knative_state state = { .knative = knative, .panic_us = -1, .zero_us = -1 };
        pods_run(trace, f, &(struct rule){ .tick_us = knative->tick_us, .on_arrival = true, .wanted = knative_wanted, .ctx = &state },
                 ret_outcome);
    }
}
