/* histogram.h - counts of durations by size, for /metrics. Cheap enough for every invocation. */
#ifndef SLUICE_API_HISTOGRAM_H
#define SLUICE_API_HISTOGRAM_H

#include <stdint.h>

enum { HISTOGRAM_BUCKETS = 18 };         /* bounds in metrics.c: 0.5 ms to 15 min */

struct histogram {
    uint64_t counts[HISTOGRAM_BUCKETS + 1]; /* not cumulated; the last: above all bounds */
    double sum_s;
};
void histogram_add(struct histogram *histogram, int64_t us);

#endif
