#include "broker/core/autoscale.h"

#include <math.h>

#include "broker/base/assert.h"

#define RATE_SECONDS 2.0
/* Until a service time is known, a burst is answered with a few instances only: their first results say how many are needed. */
#define FIRST_INSTANCES_PER_CORE 2

const char *autoscale_bound_text(enum autoscale_bound bound)
{
    switch (bound) {
    case BOUND_NONE: return "need";
    case BOUND_MIN: return "scale.min";
    case BOUND_MAX: return "scale.max";
    case BOUND_MACHINE: return "free memory";
    case BOUND_CORES: return "all cores busy with this function";
    case BOUND_FIRST: return "service time not known yet";
    }
    return "?";
}

struct autoscale_target autoscale(const struct autoscale_input *input)
{
    ASSERT(input->parallel >= 1);
    ASSERT(input->cores >= 1);
    struct autoscale_target target = { 0 };
    uint64_t open = input->ready + input->in_flight;
    double need;

    if (input->service_s > 0) {
        double drain_s = input->drain_target_ms > 0 ? (double)input->drain_target_ms / 1000 : 0.001;
        target.work = input->arrivals_per_s * input->service_s;
        target.backlog = (double)input->ready * input->service_s / drain_s;
        need = ceil((target.work + target.backlog) / input->parallel - 1e-9);
    } else {
        need = ceil((double)open / input->parallel);
        double first = FIRST_INSTANCES_PER_CORE * input->cores;
        if (need > first) {
            need = first;
            target.bound = BOUND_FIRST;
        }
    }
    if (need < 1 && open > 0)
        need = 1;
    /* No more than have something to do. */
    double useful = ceil((double)open / input->parallel);
    if (need > useful)
        need = useful;
    if (input->cpu_share > 0.05) {
        double helpful = ceil((double)input->cores / input->cpu_share - 0.25);
        if (helpful < 1)
            helpful = 1;
        if (need > helpful) {
            need = helpful;
            target.bound = BOUND_CORES;
        }
    }
    if (need < input->min) {
        need = input->min;
        target.bound = BOUND_MIN;
    }
    if (need > (double)input->machine_max) {
        need = (double)input->machine_max;
        target.bound = BOUND_MACHINE;
    }
    if (need > input->max) {
        need = input->max;
        target.bound = BOUND_MAX;
    }
    target.instances = (unsigned)need;
    return target;
}

void rate_add(struct rate *rate, uint64_t count, int64_t now_us)
{
    rate->per_s = rate_now(rate, now_us) + (double)count / RATE_SECONDS;
    rate->at_us = now_us;
}

double rate_now(const struct rate *rate, int64_t now_us)
{
    double seconds = (double)(now_us - rate->at_us) / 1e6;
    return seconds <= 0 ? rate->per_s : rate->per_s * exp(-seconds / RATE_SECONDS);
}

double mean_add(double mean, double sample)
{
    return mean == 0 ? sample : mean + (sample - mean) / 8;
}
