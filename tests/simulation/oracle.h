/* oracle.h - the naive model: one row per delivery, what it is now, and what it is on the disk; and what must always hold.
 *
 * The world tells it what the engine did (handed over, sealed, answered) and what happened to it (settled, applied, crashed).
 * Each delivery is in one state `now`, as the engine must see it, and in one state `durable`, as the store must show it:
 *
 *   LOG ──handed, succeeded──> SUCCEEDED          LOG ──too old──> EXPIRED
 *    └──handed, failed──> FAILED ──seal──> PARKED (tried again) or DEAD     DEAD ──operator──> PARKED or DISCARDED
 *
 * A crash makes `now` what `durable` is. After each applied commit all rows of the store are compared, one to one, with the durable
 * states, and the stored counters with their numbers. A broken invariant ends the program with the seed and the command to rerun. */
#ifndef SLUICE_TESTS_ORACLE_H
#define SLUICE_TESTS_ORACLE_H

#include "broker/core/engine.h"
#include "tests/simulation/model_store.h"

_Noreturn void sim_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

enum { SIM_FUNCTIONS = 8, SIM_SOURCES = 4, SIM_RULES = 8, SIM_TARGETS_PER_RULE = 3, SIM_PRODUCERS = 4 };

/* What a run says about a function once and for all; reloads change only whether it is there, its environment and its limits. */
struct sim_function {
    char name[8];
    enum function_protocol protocol;
    unsigned attempts;
    bool retry_given;            /* its policy holds for asynchronous invocations too */
    int64_t timeout_ms, max_age_ms, backoff_max_ms;
};

struct sim_rule {
    bool enabled;
    unsigned sources;            /* bit s: events of source s match */
    unsigned targets_count, targets[SIM_TARGETS_PER_RULE]; /* into sim_function */
};

struct sim_event {
    unsigned source;
    bool refusable;              /* its bus does not exist, or its function is not there: must be refused, always */
    int invoked;                 /* the function of an asynchronous invocation; -1: an event, which goes by the rules */
    int64_t not_before_ms;       /* 0: none */
    int producer;                /* -1: none */
    uint64_t epoch, sequence, seq; /* seq: 0 until it is in the store */
};

enum delivery_state { STATE_LOG, STATE_PARKED, STATE_FAILED, STATE_SUCCEEDED, STATE_DEAD, STATE_EXPIRED, STATE_DISCARDED, DELIVERY_STATES };

struct oracle;
struct oracle *oracle_new(struct model_store *store, const struct sim_function *functions);
struct oracle *oracle_free(struct oracle *oracle);
uint32_t oracle_event(struct oracle *oracle, const struct sim_event *event); /* returns its number */
void oracle_event_refusable(struct oracle *oracle, uint32_t number, bool refusable); /* as it arrives */
const struct sim_event *oracle_event_at(const struct oracle *oracle, uint32_t number);
void oracle_configured(struct oracle *oracle, const struct sim_rule *rules);

void oracle_handed(struct oracle *oracle, uint64_t instance, const struct handover *handover, unsigned function);
bool oracle_leased(const struct oracle *oracle, struct delivery delivery);
void oracle_succeeded(struct oracle *oracle, struct delivery delivery);
void oracle_failed(struct oracle *oracle, struct delivery delivery, struct now now);
void oracle_lost(struct oracle *oracle, struct delivery delivery, struct now now); /* failed, with a consumer's connection */
void oracle_returned(struct oracle *oracle, struct delivery delivery); /* the lease was lost and nobody had read the event */
/* A start of a lambda function's instance failed: at most one delivery may have an attempt more without having been handed to anybody. */
void oracle_start_failed(struct oracle *oracle, unsigned function);
/* A dead letter, as the engine sees it now, every other time the last one that died. false: there is none. */
bool oracle_any_dead(struct oracle *oracle, uint64_t chance, struct delivery *ret_delivery, uint32_t *ret_function);
void oracle_redriven(struct oracle *oracle, struct delivery delivery, bool discard, struct now now);

void oracle_sealed(struct oracle *oracle, const struct commit *commit, struct now now);
void oracle_applied(struct oracle *oracle, const struct commit *commit);
void oracle_audit(struct oracle *oracle);    /* the whole store against the model; oracle_applied() does so too, mostly */
void oracle_durable(struct oracle *oracle);  /* the engine was told */
void oracle_refused(struct oracle *oracle);
void oracle_crashed(struct oracle *oracle);
/* The engine's own figures against the model's. */
void oracle_compare(const struct oracle *oracle, const struct engine *engine, struct now now);
uint64_t oracle_open(const struct oracle *oracle);               /* deliveries that are neither settled nor dead, now */
uint64_t oracle_open_of(const struct oracle *oracle, const char *function);

struct oracle_figures {
    uint64_t events, deliveries, handed, by_state[DELIVERY_STATES];
};
void oracle_figures(const struct oracle *oracle, struct oracle_figures *ret_figures);

#endif
