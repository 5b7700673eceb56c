/* engine_internal.h - what the engine's own files share; nobody else includes this.
 *
 *   engine.c    life, commits                                publish.c   from the door into the gathering commit
 *   configure.c a configuration: prepared, bound, put in force
 *   engine_look.c   what can be seen from outside           rules.c     match sets of a configuration, and of the next
 *   queue.c     paging in, what can be leased, expiry        settle.c    results, retries, dead letters
 *   queue_input.c  what templates make, and cannot make
 *   lease.c     what is out with an instance              instance.c  the life of an instance
 *   invoke.c    synchronous invocations                   schedule.c  one function's turn: who gets what, scaling, timers
 *   attach.c    instances that are there by a connection of their own */
#ifndef SLUICE_CORE_ENGINE_INTERNAL_H
#define SLUICE_CORE_ENGINE_INTERNAL_H

#include "broker/base/assert.h"
#include "broker/base/heap.h"
#include "broker/base/list.h"
#include "broker/base/map.h"
#include "broker/core/engine.h"
#include "broker/core/match.h"
#include "broker/core/producers.h"
#include "broker/core/retry.h"
#include "broker/core/runs.h"
#include "broker/core/template.h"

enum {
    BIND_MAX = 512,              /* new functions and targets of a configuration with one commit: those of a million rules would be one of seconds */
    DUE_WINDOW = 512,            /* exceptions known in memory, the next due first */
    START_TOKENS_PER_S = 100,
    CRASH_BACKOFF_MIN_MS = 100, CRASH_BACKOFF_MAX_MS = 60000,
    CIRCUIT_CRASHES = 3,         /* so many starts in a row that did nothing: the circuit is shown as open */
    START_LIMIT_MS = 10000,      /* from start to the first sign of life, as Lambda's INIT */
    START_PROVISIONED_MS = 130000, START_TIMEOUT_MS_MAX = 900000, /* of a lambda instance of scale.min; as much of its timeout counts */
    BURY_BYTES_MAX = 1 << 20,    /* copied of undeliverable events of one function in one turn */
    SWEEP_MAX = 1000,            /* expiries of one function in one turn */
    TRIMS_PER_COMMIT = 16,
    TRIM_IDLE_MS = 1000,         /* after the last commit, records settled since are trimmed by one of their own */
};

struct leased {                  /* one delivery of a lease */
    struct delivery delivery;
    int64_t accepted_ms;
    uint32_t target;
    uint32_t attempts;           /* failed before this one */
    bool exception;              /* it came from the exception table, not from the log */
    bool done;
};

struct invoke {                  /* a synchronous invocation: waits, or is leased */
    uint64_t handle;
    struct list in_function;     /* waiting: in order of arrival; running: in no list */
    struct function *function;
    const struct lease *lease;   /* NULL while it waits */
    struct mono asked, began;
    bool cancelled;              /* its caller is gone while it ran */
};

struct lease {
    uint64_t id;
    struct list in_function;     /* by deadline, the earliest first */
    struct list in_instance;     /* oldest first */
    struct function *function;
    struct instance *instance;
    int64_t timeout_ms;          /* this and partial_failures: of the function when it was handed over; a reload does not change what runs */
    bool partial_failures;
    struct mono deadline, since; /* since: handed over, or the last progress; deadline MONO_NEVER: waits in a pipe behind another */
    struct invoke *invoke;       /* owned; NULL: deliveries */
    unsigned count, places, done; /* deliveries; what it takes of the instance: as many, or 1 for an invocation; how many of these are over */
    struct leased items[];
};

struct instance {
    uint64_t id;
    struct function *function;
    enum instance_state state;
    enum function_protocol protocol;
    struct list in_function;     /* in order of start */
    struct list in_free;         /* has room for work: the most recently busy first; in no list: no room */
    struct list in_silent;       /* lambda, up: nothing is leased to it, and it asks for nothing; until silent_until_us */
    struct list leases;
    unsigned slots;              /* stdio, stdio-lines: deliveries it can still take; native: see wants */
    unsigned wants, events_max;  /* native, lambda: parked requests, and what the most modest of them takes */
    unsigned leased;
    uint64_t done;
    int64_t started_wall_ms;
    struct mono started, idle_since;
    int64_t cpu_us;              /* last sample */
    bool killed;                 /* the end is ours: a timeout or a drain */
    bool timed_out;              /* one of its leases was: it is killed, at once or when the others have ended */
    bool ended;                  /* its process has; others of it have their time */
    bool up, overran;            /* its start is over; has taken too long */
    bool provisioned, repeats_init;
    bool attached;               /* not ours: it came by itself, and goes with its connection (attach.c) */
    int32_t pid;
    unsigned init_left_ms;       /* of the timeout of the invocation that waited for an init to be repeated: for that, once; 0: all */
    int64_t start_limit_ms, silent_until_us;
    unsigned concurrency, places; /* attached: requests and leases it may have at once, and has */
};

struct function {
    uint32_t id;
    char *name;
    const struct config_function *config; /* NULL: removed, or not configured yet */
    /* Of the last configuration that had it: a removed function's deliveries keep their policy. */
    int64_t max_age_ms, backoff_min_ms, backoff_max_ms;
    unsigned attempts_max;
    bool retry_given;
    enum event_shape shape;

    /* The queue. Deliveries in the log are either settled, or in `ready`, or leased, or in rows after `paged_row` (unpaged). */
    struct delivery highest;
    uint64_t counters[QUEUE_COUNTERS];
    struct runs ready;
    uint64_t paged_row, unpaged;
    uint64_t uncommitted;        /* accepted, their commit not durable yet */
    struct list leases;
    unsigned leased, leased_exceptions;
    struct map claims;           /* exceptions that are leased or being changed by a commit not yet durable: not to be leased */
    VEC(struct due_key) due;     /* the next ones, unclaimed, in order; valid unless due_stale */
    size_t due_head;
    bool due_stale, due_complete;
    bool dirty;                  /* its queue state goes into the next commit */
    bool touched;                /* its turn is due */
    struct run_builder row;      /* of the log record in the making */
    bool in_record;
    struct run *restored_holes;  /* between restore and recovery */
    uint32_t restored_holes_count;

    struct list instances, free;
    unsigned instances_by_state[INSTANCE_STATES]; /* the attached ones too */
    struct list free_attached;   /* with room for work: who waits longest first; served before `free` */
    unsigned attached_by_state[INSTANCE_STATES], attached_places; /* places: of those that do not drain */
    struct rate arrivals;
    double service_s, start_s, cpu_share;
    struct autoscale_target target;
    unsigned target_logged;
    double start_tokens;
    struct mono start_tokens_at, cpu_sampled_at;
    unsigned crashes;
    struct mono circuit_until, waiting_since; /* us 0: closed, nothing waits */
    struct heap_node wake;
    bool init_failed;            /* the last start that ended did so by failing */
    struct list silent;          /* who has to ask for work again the first */
    int64_t start_deadline_us;   /* none of those that start is too late before this; it may come too early */
    struct list invokes;         /* waiting */
    unsigned invokes_waiting, invokes_running;
    struct invoke_counters invoke_counters;
    uint32_t invoke_target;      /* of asynchronous invocations; 0: not looked up yet */
    struct function_ran *ran;    /* NULL until something has run */
    struct function_note *notes; /* ring of FUNCTION_NOTES, NULL until the first */
    size_t notes_count;
};

struct rule {
    const struct config_rule *config;
    uint32_t targets_first, targets_count; /* into ruleset.rule_targets */
    uint32_t counter;            /* into engine.matched; a rule keeps it from one configuration to the next */
};

struct bus_rules {               /* the rules of one bus, compiled. Never changes; stays while anybody holds it, on any thread */
    struct match_set *set;
    uint32_t *places;            /* by number in the set, the place in the configuration; UINT32_MAX: the rule is gone */
    size_t count;                /* of numbers */
    bool in_order;               /* numbers ascend as places do */
    uint32_t holders;            /* atomic */
};

struct bus {
    const char *name;
    struct bus_rules *rules;     /* held; NULL: no enabled rule */
    bool unsaved;                /* made anew, and large enough to be saved */
};

/* A configuration, compiled. Once it is in force only its buses change, on the engine's thread, when a merge puts the same rules in the
 * place of those in two parts; so a preparation on another thread holds what each bus had when it began, and reads the rest as it is. */
struct ruleset {
    const struct config *config;
    void (*release)(void *ctx);  /* of the configuration, with the last holder; may be NULL */
    void *ctx;
    struct arena *arena;         /* of all that follows */
    struct bus *buses;
    size_t buses_count;
    struct names bus_ids;
    struct rule *rules;
    uint32_t *rule_targets;      /* ids; complete when it is in force */
    uint32_t holders;            /* atomic */
};

struct unbound {                 /* a target that the configuration in force has not: its id is found, or given, by the engine */
    uint32_t rule, target;       /* its place in the rule */
};

struct preparation {
    struct world world;          /* for rules_open() alone */
    struct ruleset *base;        /* held: what was in force when it began, or, once it was configured, until then. NULL: nothing */
    struct bus *before;          /* of the base, as they were when it began */
    struct ruleset *next;        /* NULL: not made, or in force */
    VEC(struct unbound) unbound;
    VEC(uint32_t) fresh;         /* counters of rules that have come */
    size_t functions_bound, targets_bound;
};

struct target {
    struct target_row row;       /* in engine.names_arena */
    bool is_invoke;              /* of asynchronous invocations, not of a rule */
    struct template *template;   /* of a TEMPLATE; NULL: its stored text is damaged */
};

/* What waits for the gathering commit: answers to publishes. */
struct ack {
    uint64_t reply;
    uint32_t accepted;
    bool duplicate, has_producer;
    uint8_t producer[16];
    uint64_t epoch, sequence;    /* applied by this commit, to be undone if it is refused; 0: nothing applied */
    size_t refusals_first, refusals_count;
};
struct acks {
    VEC(struct ack) items;
    VEC(struct publish_refusal) refusals;
};

struct early {                   /* a batch that waits for its predecessor */
    struct list link;
    struct publish publish;
};

struct engine {
    struct engine_options options;
    struct world world;
    struct chance chance;
    struct arena *names_arena;   /* names and texts of functions and targets: as long as the engine */
    VEC(struct function *) functions; /* [id - 1] */
    VEC(struct target) targets;  /* [id - 1] */
    struct names function_ids, target_ids;
    struct map instances, leases; /* id -> pointer */
    struct map invokes;          /* handle -> pointer; those to be answered */
    uint64_t instance_last, lease_last;

    struct ruleset *ruleset;     /* in force; NULL before the first */
    uint64_t *matched;           /* CONFIG_RULES_MAX: see rule.counter */
    uint64_t revision;
    uint64_t rules_unmergeable;  /* the revision whose rules are over a limit when they are put together, though not apart; 0: none */
    bool rules_working;          /* a struct rules_work is out */
    bool rules_settled;          /* there is none to begin */
    bool recovered, draining, spawner_ready, starts_blocked;
    bool accepts;
    const char *full_reason;

    struct producers *producers;
    struct list early;
    size_t early_count;
    struct match_scratch *scratch;

    struct commit *gathering, *sealed, *spare;
    struct acks acks, sealed_acks;
    struct record_writer record;
    uint64_t record_first;
    VEC(struct function *) record_functions; /* concerned by the record in the making */
    VEC(uint32_t) event_targets;
    VEC(uint32_t) event_rules;
    uint64_t next_seq, events_total, unmatched_total;
    uint64_t commits_sealed, commit_durable, committed_seq; /* commit_durable: the number of the last one that was */
    int64_t trim_at_us;          /* when to look for records to trim though nothing else happens; 0: no need */
    uint64_t trim_after;         /* first_seq of the last record trimmed or found still needed */
    VEC(struct function *) dirty, touched;
    struct heap wakes;
    VEC(struct handover) handovers;
    VEC(struct leased) leasing;
    struct bytes completed[MATCH_BATCH_MAX]; /* envelopes to which id or time was added, of the events at hand */
    struct bytes line;           /* log line in the making */
    struct bytes inputs;         /* of the lease in the making: what templates made, in the order of handovers */
};

static inline struct function *engine_function(const struct engine *engine, uint32_t id)
{
    ASSERT(id >= 1);
    ASSERT(id <= engine->functions.count);
    return engine->functions.items[id - 1];
}
static inline const struct config *engine_config(const struct engine *engine) /* in force; NULL before the first */
{
    return engine->ruleset == NULL ? NULL : engine->ruleset->config;
}
static inline uint64_t claim_key(struct delivery delivery) { return delivery.seq << 16 | delivery.ordinal; }
static inline int64_t mono_after(struct now now, int64_t ms) { return now.mono.us + ms * 1000; }
static inline uint64_t function_pending(const struct function *function)
{
    const uint64_t *c = function->counters;
    return c[QUEUE_ACCEPTED] - c[QUEUE_SUCCEEDED] - c[QUEUE_DEAD_LETTERED] - c[QUEUE_EXPIRED] - c[QUEUE_DISCARDED];
}

/* engine.c */
void function_dirty(struct engine *engine, struct function *function);
void function_touch(struct engine *engine, struct function *function);
void engine_log(struct engine *engine, enum log_level level, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Logs the line and keeps its text among the function's notes. */
void function_note(struct engine *engine, struct function *function, enum log_level level, struct now now, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
struct function *engine_function_add(struct engine *engine, struct view name);
uint32_t engine_target_id(struct engine *engine, struct target_row *row);
uint32_t engine_invoke_target(struct engine *engine, struct function *function);
/* Below it everything is settled: the lowest sequence that is open in the log for any function, else next_seq. */
uint64_t engine_watermark(const struct engine *engine);
void engine_trim(struct engine *engine);

/* configure.c */
struct ruleset *ruleset_hold(struct ruleset *ruleset);          /* NULL is fine; returns it */
struct ruleset *ruleset_release(struct ruleset *ruleset);       /* NULL is fine; returns NULL */

/* rules.c; all of it but the last on any thread */
struct bus_rules *bus_rules_hold(struct bus_rules *rules);      /* NULL is fine; returns it */
void bus_rules_release(struct bus_rules *rules);                /* NULL is fine */
/* Where each rule of the next configuration was in the base's, by name; UINT32_MAX: nowhere. Free it. */
uint32_t *rules_places_before(const struct preparation *preparation);
/* The buses of preparation->next: from the sets before where little has changed. */
enum sluice_err rules_compile(struct preparation *preparation, const uint32_t *places_before, struct sluice_error *reterr);
/* The places of matched rules in the configuration, ascending. */
void rules_of_numbers(const struct bus_rules *rules, const uint32_t *numbers, size_t count, uint32_t *ret_rules);

/* publish.c */
void record_finish(struct engine *engine, struct now now);
void publish_drain(struct engine *engine);                      /* answers the batches that wait for their predecessor */

/* queue.c */
void queue_recover(struct engine *engine, struct function *function);
void queue_page(struct engine *engine, struct function *function);
uint64_t queue_available(struct engine *engine, struct function *function, struct now now); /* ready, unpaged and due */
void queue_sweep(struct engine *engine, struct function *function, struct now now);         /* expires what is too old, at the fronts */
int64_t queue_expiry_ms(struct engine *engine, struct function *function);                  /* wall time of the next expiry; 0: none */
int64_t queue_due_ms(const struct function *function);                                      /* wall time of the next due exception; 0: none */
/* Fills engine->leasing and engine->handovers with at most max deliveries, which leave the queue. */
unsigned queue_take(struct engine *engine, struct function *function, unsigned max, struct now now);
void queue_give_back(struct engine *engine, struct function *function, const struct leased *item);
void queue_settled(struct function *function, struct delivery delivery);                    /* one of the log's left it */
/* The lowest open delivery's sequence in the log; UINT64_MAX: none. */
uint64_t queue_watermark(const struct function *function);
/* Fills ret_runs with the open deliveries below `highest`: the holes. */
void queue_holes(const struct function *function, struct run_builder *ret_runs);

/* queue_input.c */
/* Appends to engine->inputs what the target's template makes; nothing if it has none. False: no instance will ever get it, and why. */
bool delivery_input(struct engine *engine, uint32_t target, struct view envelope, int64_t accepted_ms, struct sluice_error *reterr);
/* It left the queue: a dead letter. */
void delivery_bury(struct engine *engine, struct function *function, const struct leased *item, const struct sluice_error *reason,
                   struct now now);
/* Those at the front that no instance will ever get, so that none is started for them. */
void queue_bury(struct engine *engine, struct function *function, struct now now);

/* settle.c */
/* No instance will ever get it: a dead letter, whatever is left of its attempts. */
void settle_undeliverable(struct engine *engine, struct function *function, const struct leased *item, const struct failure *failure,
                          struct now now);
void settle_success(struct engine *engine, struct function *function, struct leased *item);
void settle_failure(struct engine *engine, struct function *function, struct leased *item, const struct failure *failure, struct now now);
/* Of a function that runs something: made when it is first asked for. */
struct function_ran *function_ran(struct function *function);
/* `count` attempts have had their result `took_us` after they were handed over. */
void attempts_ended(struct function *function, unsigned count, bool failed, int64_t took_us);
/* The delivery at the front of the queue has failed, though no instance was there that could take it. */
void settle_front(struct engine *engine, struct function *function, const struct failure *failure, struct now now);
void settle_expired(struct engine *engine, struct function *function, struct delivery delivery);
/* It waited in the exception table beyond its max age: expired when it was never tried, else a dead letter. */
void settle_too_old(struct engine *engine, struct function *function, const struct exception *row, struct now now);
/* The stored event cannot be read: a dead letter without its event. */
void settle_corrupt(struct engine *engine, struct function *function, struct delivery delivery, struct now now);

/* lease.c */
bool lease_to(struct engine *engine, struct instance *instance, unsigned max, struct now now);
void lease_invoke(struct engine *engine, struct instance *instance, struct now now);     /* the one that waits longest; one waits */
void lease_end(struct engine *engine, struct lease *lease, struct now now); /* all of it is settled, answered or given back */
void lease_lost(struct engine *engine, struct lease *lease, bool attempted, const struct failure *failure, struct now now);
void lease_timeouts(struct engine *engine, struct function *function, struct now now);

/* instance.c */
struct instance *instance_find(const struct engine *engine, uint64_t id);
struct instance *instance_new(struct engine *engine, struct function *function, struct now now);
void instance_free(struct engine *engine, struct instance *instance);
void instance_drain(struct engine *engine, struct instance *instance, const char *reason);
void instance_kill(struct engine *engine, struct instance *instance, const char *reason); /* ours; it drains */
void instance_stop(struct engine *engine, struct instance *instance, const char *reason); /* it drains and holds nothing; frees an attached one */
void instance_overran(struct engine *engine, struct instance *instance, struct now now); /* its start has taken too long */
void instance_set_state(struct instance *instance, enum instance_state state);
void instance_update_free(struct instance *instance);
void instance_look_silent(struct instance *instance, struct now now); /* it has answered, or asks for less: nothing holds or awaits it? */
void instance_was_silent(struct engine *engine, struct instance *instance, struct now now); /* for all its timeout */
unsigned function_ours(const struct function *function, enum instance_state state); /* instances but the attached ones */
unsigned function_live(const struct function *function);        /* of these, those that are not draining */
unsigned function_places(const struct config_function *config); /* invocations at once in one instance */

/* invoke.c */
struct invoke *invoke_take(struct function *function, struct now now); /* the one that waits longest begins; NULL: none waits */
/* Frees it. `failure` NULL unless FAILED. */
void invoke_answer(struct engine *engine, struct invoke *invoke, enum invoke_outcome outcome, const struct failure *failure, struct view result,
                   struct now now);
/* The one that waits longest has failed before it began, with the start of this instance. false: none waits. */
bool invoke_fail_first(struct engine *engine, const struct instance *start, const struct failure *failure, struct view result, struct now now);
void invokes_answer_waiting(struct engine *engine, struct function *function, enum invoke_outcome outcome, struct now now);
/* Those that have waited too long and for which none starts. The mono time at which to look again; MONO_NEVER: none. */
int64_t invokes_throttle(struct engine *engine, struct function *function, struct now now);
unsigned invokes_starts_needed(const struct function *function); /* instances that those who wait need beside those that start */

/* attach.c */
/* One more request or one less request or lease of an attached instance. */
void attached_place_add(struct instance *instance);
void attached_place_end(struct instance *instance);
/* Counts its state and, unless it drains, its places among its function's: by +1 or -1. */
void attached_count(const struct instance *instance, int by);
/* So many instances of ours need not be there, since attached ones have as many places. */
unsigned attached_cover(const struct function *function);

/* schedule.c */
void function_turn(struct engine *engine, struct function *function, struct now now);

#endif
