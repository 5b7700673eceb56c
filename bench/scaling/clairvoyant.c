/* clairvoyant.c - a plan for one function with all arrivals known.
 *
 * An instance's life is a chain of deliveries. Taking them in order of arrival, each goes to the chain where it costs least:
 *
 *   1. a chain that ends within [arrival, arrival + target]: costs nothing more; of several the one that ends last, for the
 *      others may still serve who comes later... or end, and cost no more;
 *   2. a chain that ended before, if keeping it idle until now costs no more than a start: costs the gap;
 *   3. a new chain, begun `put_off` after the arrival: costs a start, which happens ahead so that it is ready in time;
 *   4. all INSTANCES_MAX in use: behind the chain that ends first.
 *
 * A late begin lets a chain collect more, an early one keeps a full machine from falling behind: which is better depends on the trace,
 * so the plan is made for several `put_off` and the cheapest of those that keep the target counts; if none does, the one with the least
 * lateness. Greedy, not proven least; the table prints the floor (the work itself and one start) beside it. */
#include "bench/scaling/ways.h"

#include <stdlib.h>
#include <string.h>

#include "broker/base/assert.h"

enum { PUT_OFF_STEPS = 10 };

struct chain {
    int64_t from_us, end_us;     /* from_us: its start, START_US before its first delivery */
};

struct plan {
    const struct trace *trace;
    const size_t *indexes;       /* of one function */
    size_t count;
    int64_t *begins;             /* per index */
    VEC(struct chain) chains;
    int64_t cost_us, late_us;
};

static struct chain *cheapest(struct chain *chains, size_t count, int64_t at_us, int64_t latest_us)
{
    struct chain *found = NULL;

    for (size_t i = 0; i < count; i++) { /* no cost: it ends while the delivery may wait */
        struct chain *chain = &chains[i];
        if (chain->end_us >= at_us && chain->end_us <= latest_us && (found == NULL || chain->end_us > found->end_us))
            found = chain;
    }
    if (found != NULL)
        return found;
    for (size_t i = 0; i < count; i++) { /* a gap shorter than a start */
        struct chain *chain = &chains[i];
        if (chain->end_us < at_us && at_us - chain->end_us <= START_US && (found == NULL || chain->end_us > found->end_us))
            found = chain;
    }
    return found;
}

static struct chain *first_to_end(struct chain *chains, size_t count)
{
    struct chain *first = &chains[0];

    for (size_t i = 1; i < count; i++) {
        if (chains[i].end_us < first->end_us)
            first = &chains[i];
    }
    return first;
}

/* The chains that can still be appended to, or still run, stand at the end of the array, from *first on. */
static void chains_pass(struct plan *plan, size_t *first, int64_t at_us)
{
    for (size_t i = *first; i < plan->chains.count; i++) {
        if (plan->chains.items[i].end_us + START_US >= at_us)
            continue;
        struct chain over = plan->chains.items[i];
        plan->chains.items[i] = plan->chains.items[*first];
        plan->chains.items[(*first)++] = over;
    }
}

static void plan_make(struct plan *plan, int64_t put_off_us)
{
    size_t first = 0;

    plan->chains.count = 0;
    plan->cost_us = plan->late_us = 0;
    for (size_t i = 0; i < plan->count; i++) {
        const struct arrival *arrival = &plan->trace->arrivals.items[plan->indexes[i]];
        chains_pass(plan, &first, arrival->at_us);
        size_t live = plan->chains.count - first;
        struct chain *chain = cheapest(&plan->chains.items[first], live, arrival->at_us, arrival->at_us + DRAIN_TARGET_US);
        if (chain == NULL && live < INSTANCES_MAX) {
            int64_t begin = arrival->at_us + put_off_us;
            VEC_PUSH(&plan->chains, (struct chain){ .from_us = begin - START_US, .end_us = begin });
            chain = &plan->chains.items[plan->chains.count - 1];
        } else if (chain == NULL) {
            chain = first_to_end(&plan->chains.items[first], live);
        }
        int64_t begin = chain->end_us > arrival->at_us ? chain->end_us : arrival->at_us;
        plan->begins[i] = begin;
        chain->end_us = begin + arrival->service_us;
        if (begin - arrival->at_us - DRAIN_TARGET_US > plan->late_us)
            plan->late_us = begin - arrival->at_us - DRAIN_TARGET_US;
    }
    for (size_t i = 0; i < plan->chains.count; i++)
        plan->cost_us += plan->chains.items[i].end_us - plan->chains.items[i].from_us;
}

static void plan_best(struct plan *plan, struct outcome *outcome)
{
    int64_t best_us = 0, best_cost = INT64_MAX, best_late = INT64_MAX;

    for (int step = 0; step <= PUT_OFF_STEPS; step++) {
        int64_t put_off_us = DRAIN_TARGET_US * step / PUT_OFF_STEPS;
        plan_make(plan, put_off_us);
        if (plan->late_us < best_late || (plan->late_us == best_late && plan->cost_us < best_cost)) {
            best_us = put_off_us;
            best_cost = plan->cost_us;
            best_late = plan->late_us;
        }
    }
    plan_make(plan, best_us);
    for (size_t i = 0; i < plan->chains.count; i++)
        outcome_instance(outcome, plan->chains.items[i].from_us, plan->chains.items[i].end_us);
    for (size_t i = 0; i < plan->count; i++)
        outcome_begun(outcome, plan->trace, plan->indexes[i], plan->begins[i]);
}

void clairvoyant_run(const struct trace *trace, struct outcome *ret_outcome)
{
    size_t *indexes = malloc((trace->arrivals.count + 1) * sizeof *indexes);
    struct plan plan = { .trace = trace, .indexes = indexes };

    outcome_init(ret_outcome, trace);
    plan.begins = malloc((trace->arrivals.count + 1) * sizeof *plan.begins);
    ASSERT(indexes != NULL);
    ASSERT(plan.begins != NULL);
    for (unsigned f = 0; f < trace->functions; f++) {
        plan.count = 0;
        for (size_t i = 0; i < trace->arrivals.count; i++) {
            if (trace->arrivals.items[i].function == f)
                indexes[plan.count++] = i;
        }
        plan_best(&plan, ret_outcome);
    }
    VEC_DONE(&plan.chains);
    free(plan.begins);
    free(indexes);
}
