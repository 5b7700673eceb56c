/* autoscale.h - how many instances a function should have: a pure function of what is known now.
 *
 *   work in hand   = arrival rate * service time             keeps up with what comes
 *   backlog        = ready * service time / drain target     gets rid of what waits
 *   target         = ceil((work + backlog) / parallel), within [min, max], what the machine can hold, and what helps
 *
 * Event-driven: called when something changed, not on a poll. Starts are rate-limited by the caller's tokens. */
#ifndef SLUICE_CORE_AUTOSCALE_H
#define SLUICE_CORE_AUTOSCALE_H

#include <stdint.h>

struct autoscale_input {
    uint64_t ready, in_flight;       /* deliveries */
    double arrivals_per_s;
    double service_s;                /* per delivery, in one of `parallel` places; 0: not known yet */
    double cpu_share;                /* cores one busy instance uses, 0..; 0: not known */
    unsigned parallel;               /* deliveries one instance works on at once */
    unsigned min, max;
    int64_t drain_target_ms;
    unsigned cores;
    uint64_t machine_max;            /* instances of this function that fit the free memory, those there are included */
};

enum autoscale_bound { BOUND_NONE, BOUND_MIN, BOUND_MAX, BOUND_MACHINE, BOUND_CORES, BOUND_FIRST };

struct autoscale_target {
    unsigned instances;
    enum autoscale_bound bound;      /* what decided the figure */
    double work, backlog;            /* in instances * parallel: the two sums above, for the reason line */
};
struct autoscale_target autoscale(const struct autoscale_input *input);
const char *autoscale_bound_text(enum autoscale_bound bound);

/* A rate that forgets: mean events per second with time constant RATE_SECONDS. */
struct rate {
    double per_s;
    int64_t at_us;
};
void rate_add(struct rate *rate, uint64_t count, int64_t now_us);
double rate_now(const struct rate *rate, int64_t now_us);
/* A mean that forgets: weight 1/8 for each new sample; the first sample counts whole. */
double mean_add(double mean, double sample);

#endif
