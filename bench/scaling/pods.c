#include "bench/scaling/pods.h"

#include <stdlib.h>
#include <string.h>

#include "broker/base/assert.h"

enum pod_state { POD_NONE, POD_STARTING, POD_IDLE, POD_BUSY, POD_LAST }; /* LAST: busy, and goes when it has finished */
enum { PODS_MAX = 4 * INSTANCES_MAX }; /* those that finish are not counted against the limit */

struct pod {
    enum pod_state state;
    int64_t from_us, until_us;   /* until_us: up, or finished */
};

struct pods {
    const struct trace *trace;
    struct outcome *outcome;
    VEC(size_t) queue;           /* indexes of arrivals */
    size_t queue_head;
    struct pod pods[PODS_MAX];
    unsigned count[POD_LAST + 1];
    int64_t now_us;
    double concurrency[CONCURRENCY_SECONDS];
};

static void pod_set(struct pods *pods, struct pod *pod, enum pod_state state)
{
    pods->count[pod->state]--;
    pods->count[state]++;
    pod->state = state;
}

static void pod_gone(struct pods *pods, struct pod *pod)
{
    outcome_instance(pods->outcome, pod->from_us, pods->now_us);
    pod_set(pods, pod, POD_NONE);
}

static unsigned waiting(const struct pods *pods)
{
    return (unsigned)(pods->queue.count - pods->queue_head);
}

static unsigned live(const struct pods *pods)
{
    return pods->count[POD_STARTING] + pods->count[POD_IDLE] + pods->count[POD_BUSY];
}

/* To `at_us`, adding to the mean concurrency of each second on the way. */
static void pass(struct pods *pods, int64_t at_us)
{
    double now = waiting(pods) + pods->count[POD_BUSY] + pods->count[POD_LAST];

    if (at_us - pods->now_us > 2 * CONCURRENCY_SECONDS * SECOND_US) { /* long ago: only the end of it is looked at */
        memset(pods->concurrency, 0, sizeof pods->concurrency);
        pods->now_us = at_us - (at_us % SECOND_US) - (CONCURRENCY_SECONDS - 1) * SECOND_US;
    }
    while (pods->now_us < at_us) {
        int64_t second = pods->now_us / SECOND_US, end = (second + 1) * SECOND_US;
        if (pods->now_us % SECOND_US == 0)
            pods->concurrency[second % CONCURRENCY_SECONDS] = 0;
        if (end > at_us)
            end = at_us;
        pods->concurrency[second % CONCURRENCY_SECONDS] += now * (double)(end - pods->now_us) / 1e6;
        pods->now_us = end;
    }
    if (at_us % SECOND_US == 0)
        pods->concurrency[at_us / SECOND_US % CONCURRENCY_SECONDS] = 0;
}

static void work(struct pods *pods)
{
    for (int i = 0; i < PODS_MAX && waiting(pods) > 0 && pods->count[POD_IDLE] > 0; i++) {
        struct pod *pod = &pods->pods[i];
        if (pod->state != POD_IDLE)
            continue;
        size_t arrival = pods->queue.items[pods->queue_head++];
        outcome_begun(pods->outcome, pods->trace, arrival, pods->now_us);
        pod->until_us = pods->now_us + pods->trace->arrivals.items[arrival].service_us;
        pod_set(pods, pod, POD_BUSY);
    }
}

static void pods_advance(struct pods *pods)
{
    for (int i = 0; i < PODS_MAX; i++) {
        struct pod *pod = &pods->pods[i];
        if (pod->state == POD_NONE || pod->state == POD_IDLE || pod->until_us > pods->now_us)
            continue;
        if (pod->state == POD_LAST)
            pod_gone(pods, pod);
        else
            pod_set(pods, pod, POD_IDLE);
    }
}

static void take_away(struct pods *pods, enum pod_state state, unsigned wanted)
{
    for (int i = PODS_MAX - 1; i >= 0 && live(pods) > wanted; i--) {
        if (pods->pods[i].state != state)
            continue;
        if (state == POD_BUSY)
            pod_set(pods, &pods->pods[i], POD_LAST);
        else
            pod_gone(pods, &pods->pods[i]);
    }
}

static void scale(struct pods *pods, unsigned wanted)
{
    ASSERT(wanted <= INSTANCES_MAX);
    for (int i = 0; i < PODS_MAX && live(pods) < wanted; i++) {
        struct pod *pod = &pods->pods[i];
        if (pod->state != POD_NONE)
            continue;
        pod_set(pods, pod, POD_STARTING);
        pod->from_us = pods->now_us;
        pod->until_us = pods->now_us + START_US;
    }
    take_away(pods, POD_STARTING, wanted);
    take_away(pods, POD_IDLE, wanted);
    take_away(pods, POD_BUSY, wanted);
}

static void ask(struct pods *pods, const struct rule *rule, bool arrival)
{
    struct pods_view view = { .now_us = pods->now_us, .queue = waiting(pods), .busy = pods->count[POD_BUSY] + pods->count[POD_LAST],
                              .live = live(pods), .ready = pods->count[POD_IDLE] + pods->count[POD_BUSY],
                              .concurrency = pods->concurrency };
    scale(pods, rule->wanted(rule->ctx, &view, arrival));
}

static int64_t pods_next_us(const struct pods *pods)
{
    int64_t next = INT64_MAX;

    for (int i = 0; i < PODS_MAX; i++) {
        const struct pod *pod = &pods->pods[i];
        if (pod->state != POD_NONE && pod->state != POD_IDLE && pod->until_us < next)
            next = pod->until_us;
    }
    return next;
}

void pods_run(const struct trace *trace, unsigned function, const struct rule *rule, struct outcome *outcome)
{
    struct pods *pods = calloc(1, sizeof *pods);
    size_t arrived = 0;
    int64_t tick_us = 0;

    ASSERT(pods != NULL);
    pods->trace = trace;
    pods->outcome = outcome;
    pods->count[POD_NONE] = PODS_MAX;
    for (;;) {
        while (arrived < trace->arrivals.count && trace->arrivals.items[arrived].function != function)
            arrived++;
        bool more = arrived < trace->arrivals.count, quiet = waiting(pods) == 0 && pods->count[POD_NONE] == PODS_MAX;
        if (!more && quiet)
            break;
        int64_t at_us = more ? trace->arrivals.items[arrived].at_us : INT64_MAX;
        /* With nothing there a tick says nothing: go on with the first one at or after the next arrival. */
        if (quiet && tick_us < at_us)
            tick_us = (at_us + rule->tick_us - 1) / rule->tick_us * rule->tick_us;
        int64_t pod_us = pods_next_us(pods);
        if (pod_us < at_us)
            at_us = pod_us;
        if (tick_us < at_us)
            at_us = tick_us;
        pass(pods, at_us);
        pods_advance(pods);
        for (; arrived < trace->arrivals.count && trace->arrivals.items[arrived].at_us <= at_us; arrived++) {
            if (trace->arrivals.items[arrived].function != function)
                continue;
            VEC_PUSH(&pods->queue, arrived);
            if (rule->on_arrival)
                ask(pods, rule, true);
        }
        work(pods);
        if (tick_us == at_us) {
            ask(pods, rule, false);
            tick_us += rule->tick_us;
        }
    }
    VEC_DONE(&pods->queue);
    free(pods);
}
