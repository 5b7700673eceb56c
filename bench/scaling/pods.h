/* pods.h - the machine under the rules of others: one function's queue, first come first served, and its instances.
 *
 * A rule is asked at its ticks (and when something arrives) how many instances there should be. Going down, those that are not up yet
 * go first, then idle ones; busy ones finish what they have: that is kinder than Kubernetes, which knows no idle ones. */
#ifndef SLUICE_BENCH_PODS_H
#define SLUICE_BENCH_PODS_H

#include "bench/scaling/trace.h"

enum { CONCURRENCY_SECONDS = 64 };

struct pods_view {               /* what a rule may look at */
    int64_t now_us;
    unsigned queue;              /* waiting */
    unsigned busy, live;         /* live: busy, idle and starting; not those that only finish */
    unsigned ready;              /* up */
    /* Mean number of deliveries waiting or worked on, in each of the last seconds; [now_s % CONCURRENCY_SECONDS] is in the making. */
    const double *concurrency;
};
struct rule {
    int64_t tick_us;
    bool on_arrival;             /* asked when something arrives as well; `arrival` is then true */
    /* How many there should be; 0 .. INSTANCES_MAX. */
    unsigned (*wanted)(void *ctx, const struct pods_view *view, bool arrival);
    void *ctx;                   /* its state for this function */
};
/* One function of the trace from its first arrival until no instance is left. */
void pods_run(const struct trace *trace, unsigned function, const struct rule *rule, struct outcome *outcome);

#endif
