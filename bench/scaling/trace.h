/* trace.h - what arrives when, and what a way of scaling made of it. Times in microseconds from the start of the trace.
 *
 * All ways have the same machine: an instance takes START_US from its start until it can work, works on one delivery at a time for as
 * long as the trace says, and costs from its start until it is gone. So a difference between two rows comes from the rules alone. */
#ifndef SLUICE_BENCH_TRACE_H
#define SLUICE_BENCH_TRACE_H

#include <stdbool.h>
#include <stdint.h>

#include "broker/base/vec.h"

#define SECOND_US INT64_C(1000000)
#define START_US (200 * INT64_C(1000))   /* of an instance: between a native program (2 ms) and a large Python one (1 s) */
#define SERVICE_US (100 * INT64_C(1000)) /* the mean; each delivery has between half and one and a half of it */
#define DRAIN_TARGET_US SECOND_US        /* our default; what the clairvoyant plan keeps as well */

enum { INSTANCES_MAX = 64, OUTCOME_BINS = 300 };

struct arrival {
    int64_t at_us, service_us;
    unsigned function;
};
struct trace {
    const char *name, *what;
    unsigned functions;
    int64_t end_us;              /* nothing arrives from here on */
    VEC(struct arrival) arrivals; /* in order of time */
    int64_t work_us;             /* the sum of service times: what no way can do with less */
};
enum { TRACES = 5 };
/* Always the same for the same index and form. */
void trace_make(unsigned index, bool brief, struct trace *ret_trace);
void trace_done(struct trace *trace);

struct outcome {
    int64_t instance_us;
    uint64_t starts, done;
    int64_t *waited_us;          /* per arrival, until it is begun; -1: never */
    int64_t span_us;             /* of the bins: the trace, and a tail in which instances go */
    double bins[OUTCOME_BINS];   /* mean number of instances */
};
void outcome_init(struct outcome *outcome, const struct trace *trace);
void outcome_done(struct outcome *outcome);
void outcome_instance(struct outcome *outcome, int64_t from_us, int64_t until_us); /* one life */
void outcome_begun(struct outcome *outcome, const struct trace *trace, size_t arrival, int64_t at_us);

#endif
