/* scale: a burst on a function of which nothing runs and nothing is known: 2,000 native deliveries of 50 ms each, at most 64 at once.
 *
 * The ideal is all 64 at work from one start on: 2000 * 50 ms / 64 + one start. The start is measured in the same round: one event
 * for a second function of the same program, from its publish until its result is booked, less the 50 ms. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sluice/producer.h>

#include "bench/harness.h"

enum { EVENTS = 2000, SLEEP_MS = 50, INSTANCES = 64, LIMIT_S = 60 };
#define LIMIT_RATIO 1.3

struct round {
    double start_s, drain_s;
};

static double number_of(const struct bench_daemon *daemon, const char *function, const char *name)
{
    char key[40];
    char *balance = bench_control(daemon, "balance", "{}");

    (void)snprintf(key, sizeof key, "\"%s\"", function);
    double number = bench_number(balance, key, name);
    free(balance);
    return number;
}

/* From the first publish until the last result is booked. */
static double drain(const struct bench_daemon *daemon, struct sluice_producer *producer, const char *function, int events)
{
    struct sluice_error error;
    struct sluice_event event = { .source = "bench", .type = function, .detail = "{}" };
    double start = bench_now();

    for (int i = 0; i < events; i++) {
        if (sluice_publish_async(producer, &event, NULL, NULL, &error) != SLUICE_OK) {
            (void)fprintf(stderr, "bench: publish: %s\n", error.text);
            exit(1);
        }
    }
    while (number_of(daemon, function, "succeeded") < events) {
        if (bench_now() - start > LIMIT_S) {
            (void)fprintf(stderr, "bench: %d events for '%s' are not done after %d s; see %s\n", events, function, LIMIT_S, daemon->log);
            exit(1);
        }
        (void)poll(NULL, 0, 5); /* between two looks; the time of a look is part of the figure */
    }
    return bench_now() - start;
}

static struct round run(struct bench *bench)
{
    struct bench_daemon daemon;
    struct sluice_producer *producer;
    struct sluice_error error;
    struct round round;
    char yaml[16384];

    (void)snprintf(yaml, sizeof yaml,
                   "functions:\n"
                   "  one: {command: [%s/bench/functions/sleep_native], protocol: native}\n"
                   "  burst: {command: [%s/bench/functions/sleep_native], protocol: native, scale: {max: %d}}\n"
                   "rules:\n"
                   "  one: {pattern: {detail-type: [one]}, targets: [{function: one}]}\n"
                   "  burst: {pattern: {detail-type: [burst]}, targets: [{function: burst}]}\n",
                   bench->build, bench->build, INSTANCES);
    bench_daemon_start(bench, &daemon, "scale", yaml);
    if (sluice_producer_open(NULL, &producer, &error) != SLUICE_OK) {
        (void)fprintf(stderr, "bench: %s\n", error.text);
        exit(1);
    }
    round.start_s = drain(&daemon, producer, "one", 1) - SLEEP_MS / 1e3;
    round.drain_s = drain(&daemon, producer, "burst", EVENTS);
    (void)sluice_producer_close(producer, 5000, NULL);
    bench_daemon_stop(&daemon);
    return round;
}

int main(int argc, char **argv)
{
    struct bench bench;
    double drains[64], limits[64], ratios[64];

    bench_init(&bench, argc, argv, "scale: a burst from zero to 64 native instances");
    int rounds = bench.rounds > 64 ? 64 : bench.rounds;
    double work_s = EVENTS * (SLEEP_MS / 1e3) / INSTANCES;
    for (int i = 0; i < rounds; i++) {
        struct round round = run(&bench);
        double ideal_s = work_s + round.start_s;
        drains[i] = round.drain_s * 1e3;
        limits[i] = LIMIT_RATIO * ideal_s * 1e3;
        ratios[i] = round.drain_s / ideal_s;
        bench_note(&bench, "round %d: %d drained in %.0f ms; one start %.1f ms, ideal %.0f ms, %.2f times", i + 1, EVENTS, drains[i],
                   round.start_s * 1e3, ideal_s * 1e3, ratios[i]);
    }
    bench_note(&bench, "median %.2f times the ideal", bench_median(ratios, (size_t)rounds));
    bench_at_most(&bench, "scale_burst", bench_median(drains, (size_t)rounds), "ms",
                  bench_median(limits, (size_t)rounds));
    return bench_done(&bench);
}
