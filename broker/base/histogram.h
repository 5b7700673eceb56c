/* histogram.h - how long things took: counts in fixed buckets, of 100 us to 15 min. Costs no allocation and one addition a sample. */
#ifndef SLUICE_BASE_HISTOGRAM_H
#define SLUICE_BASE_HISTOGRAM_H

#include <stdint.h>

enum { HISTOGRAM_BUCKETS = 21 };     /* the last holds what is over all bounds */

struct histogram {
    uint64_t buckets[HISTOGRAM_BUCKETS];
    uint64_t count;
    double sum_s;
};

/* `times` samples of `us` each. */
void histogram_add(struct histogram *histogram, int64_t us, uint64_t times);
/* Adds all samples of another. */
void histogram_sum(struct histogram *histogram, const struct histogram *more);
/* Upper bound of bucket `index`, seconds, its own value included; of the last one: infinity. */
double histogram_bound_s(unsigned index);

#endif
