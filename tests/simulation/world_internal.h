/* world_internal.h - what the files of the world share; who runs it sees world.h.
 *
 *   world.c                  the heap of actions, the turn, chaos, and how all comes to rest
 *   world_configurations.c   what the functions are, and which functions and rules are configured at the moment
 *   world_processes.c        instances from start to end, and consumers, which attach and vanish
 *   world_work.c             what an instance got, and what becomes of it: results, failures, silence
 *   world_clients.c          who asks from outside: producers behind their network, callers of synchronous invocations
 *   world_lives.c            lives of the engine, from one crash or drain to the next; commits on their way to the disk
 *
 * All chance comes from one generator, in the order of the calls: whoever adds a throw of the dice changes every run. */
#ifndef SLUICE_TESTS_WORLD_INTERNAL_H
#define SLUICE_TESTS_WORLD_INTERNAL_H

#include <inttypes.h>
#include <stdio.h>

#include "broker/base/assert.h"
#include "broker/core/engine.h"
#include "broker/core/retry.h"
#include "tests/simulation/callers.h"
#include "tests/simulation/oracle.h"
#include "tests/simulation/world.h"

enum { NATIVE_PARKED_MAX = 3 };

enum action_kind {
    ACT_PRODUCE, ACT_ARRIVE, ACT_ANSWER, ACT_APPLY, ACT_COMMITTED, ACT_STARTED, ACT_WORK, ACT_GONE, ACT_BURIED, ACT_WANT, ACT_INIT_ERROR, ACT_SPAWNER, ACT_CHAOS,
    ACT_CALL, ACT_LEAVE, ACT_ATTACH,
};

struct action {
    int64_t at_us;
    uint64_t order;              /* of those at the same time, the first made goes first */
    enum action_kind kind;
    unsigned life;               /* of the engine; an action of an earlier one is void, unless it is the producers' */
    uint64_t a, b;
};

struct batch {                   /* one publish, as bytes; kept until the end of the run */
    int producer;
    uint64_t epoch, sequence;
    uint32_t first_event, count;
    struct bytes bytes;
    int invoked;                 /* a function; -1: by the rules */
    bool settled, repeat;        /* settled: the producer has its answer, or gave up */
};

struct reply {                   /* one publish as it reached the engine */
    size_t batch;
    unsigned life;
    bool answered, cancelled;
};

struct producer_sim {
    uint64_t epoch, sequence;    /* the last ones used */
    VEC(size_t) outstanding;     /* into batches, in order of sequence */
};

/* invoke 0: a delivery. time_ms: that it was told it has. */
struct work { struct delivery delivery; uint64_t lease, invoke; unsigned index; int64_t since_us, time_ms; };

struct process {
    uint64_t id;
    unsigned function;
    enum function_protocol protocol;
    unsigned batch_size;
    int64_t timeout_ms;
    bool partial, started, up, overran, ending, timed_out, killed, gone, hangs, clean_end;
    unsigned parked;             /* native, lambda: requests the engine holds */
    int64_t began_us;
    bool attached, leaving;      /* a consumer; leaving: it has said so */
    unsigned places;             /* attached: requests and leases it may have */
    VEC(struct work) work;       /* leased to it, oldest first */
};

struct configuration {
    struct arena *arena;
    struct config config;
    struct sim_rule rules[SIM_RULES];
};

enum { PREPARATIONS_MAX = 2 };   /* at once: all but the first that is put in force are stale */
/* One on its way, as on a thread that is slow: anything may happen between its steps. */
struct preparing {
    struct preparation *preparation; /* NULL: none */
    struct configuration *configuration; /* NULL: not run yet */
    bool stale;                  /* another was put in force since it began */
    bool over;                   /* configured or refused: to be freed */
};

struct world_sim {
    struct chance chance;
    unsigned step, steps;
    bool calm, verbose;          /* calm: no more faults */
    struct now now;
    unsigned life;
    struct sim_function functions[SIM_FUNCTIONS];
    unsigned flaky[SIM_FUNCTIONS], protocol_batch[SIM_FUNCTIONS], concurrency[SIM_FUNCTIONS];
    int64_t window_ms[SIM_FUNCTIONS], service_us[SIM_FUNCTIONS], idle_ms;
    unsigned consumers;          /* percent: how often one comes */
    bool burst;
    struct configuration *configuration; /* in force, and the engine's; NULL between two lives */
    struct preparing preparing[PREPARATIONS_MAX];
    struct rules_work *rules_work;
    bool rules_work_run, rules_work_ended;

    struct model_store *store;
    struct engine *engine;
    struct oracle *oracle;
    struct callers *callers;
    struct commit *commit;
    bool committing, applied, refuse, accepts, spawner, full;
    bool draining, deciding;

    VEC(struct action) actions;  /* a heap */
    uint64_t actions_made;
    VEC(struct batch) batches;
    VEC(struct reply) replies;
    struct producer_sim producers[SIM_PRODUCERS];
    VEC(struct process) processes; /* of this life */
    VEC(uint64_t) timed_out;     /* instances, in this turn */
    int64_t waiting_since_ms[SIM_FUNCTIONS];
    struct world_report report;
};

/* ---- chance ---- */

static inline uint64_t below(struct world_sim *sim, uint64_t bound)
{
    return bound == 0 ? 0 : chance_next(&sim->chance) % bound;
}

static inline bool percent(struct world_sim *sim, unsigned chance)
{
    return below(sim, 100) < chance;
}

/* ---- world.c ---- */

void act_after(struct world_sim *sim, int64_t us, enum action_kind kind, uint64_t a, uint64_t b);

/* ---- world_configurations.c ---- */

void functions_make(struct world_sim *sim);                      /* once a run */
void world_configure(struct world_sim *sim, bool all);           /* anew; all: every function is there and may run */
void preparations_go_on(struct world_sim *sim);
void rules_work_goes_on(struct world_sim *sim);
void configurations_end(struct world_sim *sim);                  /* with the engine, which is freed here */
unsigned function_number(const char *name);                      /* into sim->functions */
const struct config_function *function_configured(const struct world_sim *sim, unsigned function);   /* NULL: it is not */

/* ---- world_processes.c; the hooks of struct world here and below have a world_sim as ctx ---- */

struct process *process_find(struct world_sim *sim, uint64_t id);
bool asks_for_work(const struct process *process);               /* its protocol has it say when it wants more */
bool world_start(void *ctx, uint64_t instance, const struct config_function *function);
void world_stop(void *ctx, uint64_t instance, const char *reason);
void world_timed_out(void *ctx, uint64_t instance, uint64_t lease, int64_t timeout_ms);
void world_kill(void *ctx, uint64_t instance, const char *reason);
void timeouts_check(struct world_sim *sim);                      /* of what timed out in this turn */
void process_started(struct world_sim *sim, struct process *process);
void process_init_error(struct world_sim *sim, struct process *process);
void process_wants(struct world_sim *sim, struct process *process);
void process_end(struct world_sim *sim, struct process *process, bool failed_start);
void process_buried(struct world_sim *sim, uint64_t instance);
void parked_requests_are_lost(struct world_sim *sim);
void consumer_attaches(struct world_sim *sim);
void consumers_go(struct world_sim *sim, unsigned chance);

/* ---- world_work.c ---- */

void world_deliver(void *ctx, uint64_t instance, uint64_t lease, int64_t deadline_wall_ms, const struct handover *handovers,
                   unsigned count);
void world_invoke(void *ctx, uint64_t instance, uint64_t lease, int64_t deadline_wall_ms, uint64_t invoke);
void work_begin(struct world_sim *sim, const struct process *process, uint64_t lease);    /* what it makes of it comes later */
void work_drop(struct process *process, size_t at);
void process_works_on(struct world_sim *sim, struct process *process, uint64_t lease);

/* ---- world_clients.c ---- */

void caller_asks(struct world_sim *sim);
void caller_leaves(struct world_sim *sim);
void world_invoke_answered(void *ctx, uint64_t invoke, const struct invoke_answer *answer);
void produce(struct world_sim *sim, uint64_t producer);
void batch_arrives(struct world_sim *sim, size_t batch, uint64_t lowest);
void world_publish_answered(void *ctx, uint64_t reply, const struct publish_answer *answer);
void answer_arrives(struct world_sim *sim, size_t batch);
void replies_check(const struct world_sim *sim);                 /* at the orderly end of a life */

/* ---- world_lives.c ---- */

void life_begin(struct world_sim *sim);
void life_end(struct world_sim *sim);
void life_crash(struct world_sim *sim);
void life_restart_if_drained(struct world_sim *sim);
void commit_seal(struct world_sim *sim);                         /* if there is one to make and none is out */
void commit_apply(struct world_sim *sim);                        /* it is on the disk... */
void commit_ends(struct world_sim *sim);                         /* ...and the engine hears of it, or that it is not */

#endif
