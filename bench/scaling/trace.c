#include "bench/scaling/trace.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "broker/base/assert.h"
#include "broker/core/retry.h"

#define TAIL_US (400 * SECOND_US) /* longer than the longest cooldown */

static double uniform(struct chance *chance) /* above 0, below 1 */
{
    return ((double)(chance_next(chance) >> 11) + 0.5) / 9007199254740992.0;
}

static void arrive(struct trace *trace, struct chance *chance, double at_s, unsigned function)
{
    int64_t service = (int64_t)((double)SERVICE_US * (0.5 + uniform(chance)));

    VEC_PUSH(&trace->arrivals, (struct arrival){ .at_us = (int64_t)(at_s * 1e6), .service_us = service, .function = function });
    trace->work_us += service;
}

/* Poisson between two moments; the rate goes from one to the other in a straight line (by thinning the higher one). */
static void arrive_between(struct trace *trace, struct chance *chance, double from_s, double until_s, double first_per_s, double last_per_s,
                           unsigned function)
{
    double most = fmax(first_per_s, last_per_s), at_s = from_s;

    for (;;) {
        at_s -= log(uniform(chance)) / most;
        if (at_s >= until_s)
            return;
        double rate = first_per_s + (last_per_s - first_per_s) * (at_s - from_s) / (until_s - from_s);
        if (uniform(chance) * most < rate)
            arrive(trace, chance, at_s, function);
    }
}

static int earlier(const void *a, const void *b)
{
    const struct arrival *left = a, *right = b;
    if (left->at_us != right->at_us)
        return left->at_us < right->at_us ? -1 : 1;
    return (left->function > right->function) - (left->function < right->function);
}

void trace_make(unsigned index, bool brief, struct trace *ret_trace)
{
    static const struct { const char *name, *what; } rows[TRACES] = {
        { "steady", "40 a second for 10 min" },
        { "burst", "2,000 at once" },
        { "ramp", "0 to 200 a second in 10 min" },
        { "on-off", "100 a second for a minute, nothing for a minute, five times" },
        { "rare", "1,000 functions, each once in 10 min, for an hour" },
    };
    struct chance chance = { 1 + index };
    double shorter = brief ? 0.2 : 1, minute = 60 * shorter;
    double end_s = 10 * minute;

    ASSERT(index < TRACES);
    *ret_trace = (struct trace){ .name = rows[index].name, .what = rows[index].what, .functions = 1 };
    switch (index) {
    case 0: arrive_between(ret_trace, &chance, 0, end_s, 40, 40, 0); break;
    case 1: /* half way between two polls of 30 s, and between two of 1 s: neither luck nor the worst for those that poll */
        for (int i = 0; i < 2000; i++)
            arrive(ret_trace, &chance, 75.5, 0);
        break;
    case 2: arrive_between(ret_trace, &chance, 0, end_s, 0, 200, 0); break;
    case 3:
        for (int i = 0; i < 5; i++)
            arrive_between(ret_trace, &chance, 2 * i * minute, (2 * i + 1) * minute, 100, 100, 0);
        break;
    case 4:
        ret_trace->functions = brief ? 100 : 1000;
        end_s = 60 * minute;
        for (unsigned f = 0; f < ret_trace->functions; f++)
            arrive_between(ret_trace, &chance, 0, end_s, 1.0 / 600, 1.0 / 600, f);
        break;
    }
    ret_trace->end_us = (int64_t)(end_s * 1e6);
    if (ret_trace->arrivals.count > 1)
        qsort(ret_trace->arrivals.items, ret_trace->arrivals.count, sizeof *ret_trace->arrivals.items, earlier);
}

void trace_done(struct trace *trace)
{
    VEC_DONE(&trace->arrivals);
}

void outcome_init(struct outcome *outcome, const struct trace *trace)
{
    memset(outcome, 0, sizeof *outcome);
    outcome->span_us = trace->end_us + TAIL_US;
    outcome->waited_us = malloc((trace->arrivals.count + 1) * sizeof *outcome->waited_us);
    ASSERT(outcome->waited_us != NULL);
    for (size_t i = 0; i < trace->arrivals.count; i++)
        outcome->waited_us[i] = -1;
}

void outcome_done(struct outcome *outcome)
{
    free(outcome->waited_us);
    outcome->waited_us = NULL;
}

void outcome_instance(struct outcome *outcome, int64_t from_us, int64_t until_us)
{
    int64_t bin_us = outcome->span_us / OUTCOME_BINS;

    ASSERT(until_us >= from_us);
    outcome->instance_us += until_us - from_us;
    outcome->starts++;
    for (int64_t at = from_us < 0 ? 0 : from_us; at < until_us && at / bin_us < OUTCOME_BINS;) {
        int64_t bin = at / bin_us, next = (bin + 1) * bin_us;
        if (next > until_us)
            next = until_us;
        outcome->bins[bin] += (double)(next - at) / (double)bin_us;
        at = next;
    }
}

void outcome_begun(struct outcome *outcome, const struct trace *trace, size_t arrival, int64_t at_us)
{
    ASSERT(arrival < trace->arrivals.count);
    ASSERT(outcome->waited_us[arrival] == -1);
    ASSERT(at_us >= trace->arrivals.items[arrival].at_us);
    outcome->waited_us[arrival] = at_us - trace->arrivals.items[arrival].at_us;
    outcome->done++;
}
