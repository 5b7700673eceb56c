/* The simulation: `simulation_test [--seed N | --first N --seeds COUNT] [--steps M] [--verbose]`. Each seed is one run of its own; the same seed
 * and steps give the same run, to the last bit. SLUICE_LONG=1 runs more seeds and longer ones. */
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/simulation/oracle.h"
#include "tests/simulation/world.h"

enum { SEEDS = 100, STEPS = 2000, SEEDS_LONG = 3000, STEPS_LONG = 10000 };

static uint64_t seed_now;
static unsigned steps_now;

static void rerun_print(void)
{
    (void)fprintf(stderr, "seed %" PRIu64 ", step %u; rerun: simulation_test --seed %" PRIu64 " --steps %u --verbose\n", seed_now, world_step(),
                  seed_now, steps_now);
}

void sim_fail(const char *format, ...)
{
    va_list args;

    (void)fprintf(stderr, "simulation: ");
    va_start(args, format);
    (void)vfprintf(stderr, format, args);
    va_end(args);
    (void)fprintf(stderr, "\n");
    rerun_print();
    _Exit(1);
}

/* An assertion of the engine, or a finding of a sanitizer. */
static void on_abort(int number)
{
    (void)number;
    rerun_print();
    _Exit(1);
}

void __asan_on_error(void);
void __asan_on_error(void)
{
    rerun_print();
}

static bool number_take(int argc, char **argv, int *at, const char *name, uint64_t *ret_number)
{
    char *end;

    if (strcmp(argv[*at], name) != 0 || *at + 1 == argc)
        return false;
    *ret_number = strtoull(argv[++*at], &end, 10);
    if (*end != '\0') {
        (void)fprintf(stderr, "%s wants a number, not '%s'\n", name, argv[*at]);
        exit(2);
    }
    return true;
}

int main(int argc, char **argv)
{
    const char *longer = getenv("SLUICE_LONG");
    bool is_long = longer != NULL && strcmp(longer, "1") == 0, verbose = false;
    uint64_t first = 1, seeds = is_long ? SEEDS_LONG : SEEDS, steps = is_long ? STEPS_LONG : STEPS;
    struct world_report total = { 0 };

    for (int at = 1; at < argc; at++) {
        if (number_take(argc, argv, &at, "--seed", &first)) {
            seeds = 1;
        } else if (strcmp(argv[at], "--verbose") == 0) {
            verbose = true;
        } else if (!number_take(argc, argv, &at, "--first", &first) && !number_take(argc, argv, &at, "--seeds", &seeds) &&
                   !number_take(argc, argv, &at, "--steps", &steps)) {
            (void)fprintf(stderr, "usage: simulation_test [--seed N | --first N] [--seeds COUNT] [--steps M] [--verbose]\n");
            return 2;
        }
    }
    (void)signal(SIGABRT, on_abort);
    for (uint64_t seed = first; seed < first + seeds; seed++) {
        struct world_report report;
        seed_now = seed;
        steps_now = (unsigned)steps;
        world_run(&(struct world_options){ .seed = seed, .steps = steps_now, .verbose = verbose }, &report);
        total.events += report.events;
        total.deliveries += report.deliveries;
        total.handed += report.handed;
        total.succeeded += report.succeeded;
        total.dead += report.dead;
        total.expired += report.expired;
        total.discarded += report.discarded;
        total.crashes += report.crashes;
        total.commits += report.commits;
        total.refused += report.refused;
        total.rules_works += report.rules_works;
        total.prepared += report.prepared;
        total.stale += report.stale;
        total.callers.asked += report.callers.asked;
        total.callers.done += report.callers.done;
        total.callers.failed += report.callers.failed;
        total.callers.throttled += report.callers.throttled;
        total.callers.stopped += report.callers.stopped;
        total.callers.left += report.callers.left;
        total.callers.refused += report.callers.refused;
    }
    printf("%" PRIu64 " runs of %" PRIu64 " steps: %" PRIu64 " events, %" PRIu64 " deliveries, %" PRIu64 " handed over; %" PRIu64 " succeeded, %" PRIu64
           " dead, %" PRIu64 " expired, %" PRIu64 " discarded; %" PRIu64 " crashes, %" PRIu64 " commits, %" PRIu64 " refused; rules merged %" PRIu64
           " times, %" PRIu64 " configurations prepared, %" PRIu64 " stale\n",
           seeds, steps, total.events, total.deliveries, total.handed, total.succeeded, total.dead, total.expired, total.discarded,
           total.crashes, total.commits, total.refused, total.rules_works, total.prepared, total.stale);
    printf("%" PRIu64 " calls: %" PRIu64 " refused, %" PRIu64 " done, %" PRIu64 " failed, %" PRIu64 " throttled, %" PRIu64 " stopped, %" PRIu64
           " callers left\n", total.callers.asked, total.callers.refused, total.callers.done, total.callers.failed, total.callers.throttled,
           total.callers.stopped, total.callers.left);
    return 0;
}
