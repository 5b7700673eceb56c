/* world.h - everything around the engine, under one seed: a clock, a slow store, a network that loses, repeats and reorders, and
 * processes that are late, fail, hang and die.
 *
 * Time jumps from one action to the next; actions stand in a heap by time, and the engine's own wake is one of them. Each step is
 * one turn of the daemon: an input, engine_tick(), and a seal when no commit is out. The oracle watches all of it.
 *
 *   callers ──ask, leave──> engine ──invoke, answer──> instances, callers
 *   chaos  ──> crash, drain and restart, reload, redrive, a full store, no spawner
 *   producers ──send──> [network] ──> engine ──answer──> [network] ──> producers
 *   engine ──start, deliver, stop, kill──> instances ──started, wants, results, gone──> engine
 *   consumers ──attach, wants, results, leaves, lost──> engine
 *   engine ──seal──> [apply later] ──> model store ──> [return later] ──> engine */
#ifndef SLUICE_TESTS_WORLD_H
#define SLUICE_TESTS_WORLD_H

#include "tests/simulation/callers.h"

struct world_options {
    uint64_t seed;
    unsigned steps;              /* then the faults stop, and all must come to rest */
    bool verbose;                /* the engine's log lines on stderr */
};

struct world_report {
    uint64_t events, deliveries, handed, succeeded, dead, expired, discarded, crashes, commits, refused, rules_works, prepared, stale;
    struct callers_figures callers;
};
/* Ends the program when an invariant is broken. */
void world_run(const struct world_options *options, struct world_report *ret_report);
/* For the failure report: where the run in progress is. */
unsigned world_step(void);

#endif
