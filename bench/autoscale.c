/* autoscale: our scaling and that of others on the same arrivals, in simulated time: how long deliveries wait, and what it costs.
 *
 * "sluice" is the real engine with its defaults; the others are written after their documentation (scaling/ways.h). All start
 * instances equally fast, so only the rules differ. Nothing is measured: the same figures come out on every machine.
 *
 *     autoscale [--json] [--brief] [--svg FILE]
 *
 * Exit 1 when a delivery was not done, a row costs less than the work itself, or the clairvoyant plan costs more than we do. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/scaling/picture.h"
#include "bench/scaling/ways.h"

enum way { WAY_CLAIRVOYANT, WAY_SLUICE, WAY_SLUICE_SHORT, WAY_KEDA, WAY_KEDA_QUICK, WAY_KNATIVE, WAY_KNATIVE_QUICK, WAYS };

static const struct { const char *name, *id, *color, *settings; } ways[WAYS] = {
    { "clairvoyant", "clairvoyant", "#999999", "knows all arrivals; begins each within 1 s" },
    { "sluice", "sluice", "#0060d0", "the defaults: drain-target 1 s, idle 60 s" },
    { "sluice, idle 5 s", "sluice_short", NULL, "drain-target 1 s, idle 5 s" },
    { "KEDA", "keda", "#d06000", "the defaults: poll 30 s, cooldown 300 s, sync 15 s, stabilization 300 s; 5 in the queue per instance" },
    { "KEDA, quick", "keda_quick", NULL, "poll 1 s, sync 1 s, cooldown and stabilization 60 s, 5 per instance, no limit upwards" },
    { "Knative", "knative", "#008050", "the defaults: stable 60 s, panic 6 s at 200 %, utilization 70 %, tick 2 s, grace 30 s" },
    { "Knative, quick", "knative_quick", NULL, "stable 6 s, panic 1 s at 110 %, utilization 100 %, grace 0" },
};
static const struct keda keda_default = { .poll_us = 30 * SECOND_US, .cooldown_us = 300 * SECOND_US, .sync_us = 15 * SECOND_US,
                                          .stabilization_us = 300 * SECOND_US, .target = 5, .limited = true };
static const struct keda keda_quick = { .poll_us = SECOND_US, .cooldown_us = 60 * SECOND_US, .sync_us = SECOND_US,
                                        .stabilization_us = 60 * SECOND_US, .target = 5 };
static const struct knative knative_default = { .tick_us = 2 * SECOND_US, .stable_us = 60 * SECOND_US, .panic_us = 6 * SECOND_US,
                                                .grace_us = 30 * SECOND_US, .utilization = 0.7, .panic_threshold = 2, .scale_up_rate = 1000 };
static const struct knative knative_quick = { .tick_us = 2 * SECOND_US, .stable_us = 6 * SECOND_US, .panic_us = SECOND_US, .utilization = 1,
                                              .panic_threshold = 1.1, .scale_up_rate = 1000 };

static void run(enum way way, const struct trace *trace, struct outcome *ret_outcome)
{
    switch (way) {
    case WAY_CLAIRVOYANT: clairvoyant_run(trace, ret_outcome); return;
    case WAY_SLUICE: engine_run(trace, 60 * SECOND_US, ret_outcome); return;
    case WAY_SLUICE_SHORT: engine_run(trace, 5 * SECOND_US, ret_outcome); return;
    case WAY_KEDA: keda_run(trace, &keda_default, ret_outcome); return;
    case WAY_KEDA_QUICK: keda_run(trace, &keda_quick, ret_outcome); return;
    case WAY_KNATIVE: knative_run(trace, &knative_default, ret_outcome); return;
    case WAY_KNATIVE_QUICK: knative_run(trace, &knative_quick, ret_outcome); return;
    case WAYS: return;
    }
}

struct figures {
    double p50_s, p99_s, drain_s, within, instance_s, ratio;
};

static int compare(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;
    return (left > right) - (left < right);
}

static struct figures figures_of(const struct trace *trace, struct outcome *outcome, double optimum_s)
{
    size_t count = trace->arrivals.count, within = 0;

    qsort(outcome->waited_us, count, sizeof *outcome->waited_us, compare);
    while (within < count && outcome->waited_us[within] <= DRAIN_TARGET_US)
        within++;
    double instance_s = (double)outcome->instance_us / 1e6;
    return (struct figures){ .p50_s = (double)outcome->waited_us[count / 2] / 1e6, .p99_s = (double)outcome->waited_us[count * 99 / 100] / 1e6,
                             .drain_s = (double)outcome->waited_us[count - 1] / 1e6, .within = 100.0 * (double)within / (double)count,
                             .instance_s = instance_s, .ratio = instance_s / optimum_s };
}

static bool sane(const struct trace *trace, const struct outcome *outcome, enum way way, double optimum_s)
{
    double instance_s = (double)outcome->instance_us / 1e6;

    if (outcome->done != trace->arrivals.count)
        (void)fprintf(stderr, "bench: %s on %s: %llu of %zu deliveries were done\n", ways[way].name, trace->name,
                      (unsigned long long)outcome->done, trace->arrivals.count);
    else if (outcome->instance_us < trace->work_us)
        (void)fprintf(stderr, "bench: %s on %s: %.1f instance-seconds for %.1f s of work\n", ways[way].name, trace->name, instance_s,
                      (double)trace->work_us / 1e6);
    else if (way == WAY_SLUICE && instance_s < optimum_s)
        (void)fprintf(stderr, "bench: on %s the clairvoyant plan costs %.1f instance-seconds, more than our %.1f\n", trace->name, optimum_s,
                      instance_s);
    else
        return true;
    return false;
}

static void print_head(bool json, const struct trace *trace)
{
    if (json)
        return;
    double floor_s = (double)trace->work_us / 1e6 + (double)(START_US * trace->functions) / 1e6;
    (void)printf("\n%s: %s; %zu deliveries, %.0f s of work, with one start per function %.0f s\n", trace->name, trace->what,
                 trace->arrivals.count, (double)trace->work_us / 1e6, floor_s);
    (void)printf("  %-18s %9s %9s %9s %9s %13s %9s %8s\n", "", "p50 s", "p99 s", "drain s", "within 1s", "instance-s", "optimum x", "starts");
}

static void print_row(bool json, const struct trace *trace, enum way way, const struct outcome *outcome, const struct figures *figures)
{
    if (json)
        (void)printf("{\"name\":\"autoscale\",\"trace\":\"%s\",\"way\":\"%s\",\"wait_p50_s\":%.3f,\"wait_p99_s\":%.3f,\"drain_s\":%.3f,"
                     "\"within_target_percent\":%.2f,\"instance_s\":%.1f,\"optimum_ratio\":%.2f,\"starts\":%llu}\n", trace->name, ways[way].id,
                     figures->p50_s, figures->p99_s, figures->drain_s, figures->within, figures->instance_s, figures->ratio,
                     (unsigned long long)outcome->starts);
    else
        (void)printf("  %-18s %9.2f %9.2f %9.2f %8.1f%% %13.0f %9.2f %8llu\n", ways[way].name, figures->p50_s, figures->p99_s,
                     figures->drain_s, figures->within, figures->instance_s, figures->ratio, (unsigned long long)outcome->starts);
    (void)fflush(stdout);
}

static bool picture(const char *path, const struct trace *traces, struct outcome outcomes[WAYS][TRACES])
{
    struct line lines[WAYS];
    size_t count = 0;
    FILE *file = fopen(path, "we");

    if (file == NULL) {
        (void)fprintf(stderr, "bench: %s: %s\n", path, strerror(errno));
        return false;
    }
    for (int way = WAYS - 1; way >= 0; way--) { /* ours on top */
        if (ways[way].color != NULL)
            lines[count++] = (struct line){ .name = ways[way].name, .color = ways[way].color, .outcome = outcomes[way] };
    }
    picture_write(file, traces, lines, count);
    bool written = ferror(file) == 0;
    return fclose(file) == 0 && written;
}

int main(int argc, char **argv)
{
    static struct trace traces[TRACES];
    static struct outcome outcomes[WAYS][TRACES];
    const char *svg = NULL;
    bool json = false, brief = false, good = true;

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0) {
            json = true;
        } else if (strcmp(argv[i], "--brief") == 0) {
            brief = true;
        } else if (strcmp(argv[i], "--svg") == 0 && i + 1 < argc) {
            svg = argv[++i];
        } else {
            (void)fprintf(stderr, "usage: %s [--json] [--brief] [--svg FILE]\nautoscale: ways of scaling on the same arrivals, simulated\n",
                          argv[0]);
            return 2;
        }
    }
    if (!json) {
        if (brief)
            (void)printf("brief: a fifth of the time, 100 rare functions\n");
        (void)printf("autoscale: simulated; starts take %.1f s, work %.1f s in the mean, at most %d instances\n"
                     "p50, p99, drain: from arrival until begun (drain: the longest); instance-seconds until the last one is gone\n",
                     (double)START_US / 1e6, (double)SERVICE_US / 1e6, INSTANCES_MAX);
        for (int way = 0; way < WAYS; way++)
            (void)printf("  %-18s %s\n", ways[way].name, ways[way].settings);
    }
    for (unsigned t = 0; t < TRACES; t++) {
        trace_make(t, brief, &traces[t]);
        print_head(json, &traces[t]);
        double optimum_s = 0;
        for (enum way way = 0; way < WAYS; way++) {
            struct outcome *outcome = &outcomes[way][t];
            run(way, &traces[t], outcome);
            if (way == WAY_CLAIRVOYANT)
                optimum_s = (double)outcome->instance_us / 1e6;
            good = sane(&traces[t], outcome, way, optimum_s) && good;
            struct figures figures = figures_of(&traces[t], outcome, optimum_s);
            print_row(json, &traces[t], way, outcome, &figures);
            outcome_done(outcome);
        }
    }
    if (svg != NULL)
        good = picture(svg, traces, outcomes) && good;
    for (unsigned t = 0; t < TRACES; t++)
        trace_done(&traces[t]);
    return good ? 0 : 1;
}
