#include "broker/base/histogram.h"

#include <math.h>

/* 1, 2.5, 5 a decade: a factor of two or so is what a chart can tell. */
static const int64_t bounds_us[HISTOGRAM_BUCKETS - 1] = {
    100, 250, 500, 1000, 2500, 5000, 10000, 25000, 50000, 100000, 250000, 500000,
    1000000, 2500000, 5000000, 10000000, 30000000, 60000000, 300000000, 900000000,
};

void histogram_add(struct histogram *histogram, int64_t us, uint64_t times)
{
    unsigned i = 0;

    while (i < HISTOGRAM_BUCKETS - 1 && us > bounds_us[i])
        i++;
    histogram->buckets[i] += times;
    histogram->count += times;
    histogram->sum_s += (double)us / 1e6 * (double)times;
}

void histogram_sum(struct histogram *histogram, const struct histogram *more)
{
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
        histogram->buckets[i] += more->buckets[i];
    histogram->count += more->count;
    histogram->sum_s += more->sum_s;
}

double histogram_bound_s(unsigned index)
{
    return index < HISTOGRAM_BUCKETS - 1 ? (double)bounds_us[index] / 1e6 : INFINITY;
}
