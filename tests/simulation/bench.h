/* bench.h - the engine in a world of one function over the model store, where each commit is applied and reported by hand: for turns that
 * chance seldom brings together. */
#ifndef SLUICE_TESTS_BENCH_H
#define SLUICE_TESTS_BENCH_H

#include <stdio.h>

#include "broker/core/engine.h"
#include "tests/simulation/model_store.h"
#include "tests/test.h"

struct bench {
    struct model_store *store;
    struct engine *engine;
    struct config config;
    struct config_function function;
    struct now now;
    unsigned starts, delivers, stops, answers, timed_out;
    bool full;                   /* nothing can be started; engine_spawner_ready() when it can again */
    unsigned handed, attempt;    /* of the last lease of deliveries: how many, and which try of the first of them it is */
    enum sluice_err answer;
    size_t refusals;
    uint64_t instance, lease;
    struct delivery delivery;
    /* The last synchronous invocation that was handed over, and the last answer. */
    unsigned invokes, told;
    uint64_t invoke, told_invoke;
    int64_t deadline_wall_ms, waited_us, ran_us;
    enum invoke_outcome outcome;
    char result[64], type[64], message[96];
    char reason[32];             /* of the last stop */
};

extern const struct config_rule bench_rule; /* every event of source "s" to function "f" */
extern const struct failure said_no;

/* One stdio function "f", id 1; `attempts` tries in all. Change bench->function, then bench_configure() for another. */
void bench_open(struct bench *bench, unsigned attempts);
void bench_configure(struct bench *bench, bool with_function);
void bench_take_config(struct bench *bench);     /* bench->config as it is now; what it points to must stay */
const struct config *bench_config_dup(const struct bench *bench); /* free(), or the engine's */
void bench_close(struct bench *bench);

struct commit *seal_and_apply(struct bench *bench);
void returned(struct bench *bench, struct commit *commit);
void commit_all(struct bench *bench);
void tick(struct bench *bench);
void advance_ms(struct bench *bench, int64_t ms);
void publish_one(struct bench *bench, uint8_t producer, uint64_t sequence);
void fail_last(struct bench *bench);             /* the last delivery, and its process ends */

/* Of functions that are invoked; each but the first with a turn behind it. */
void given_protocol(struct bench *bench, enum function_protocol protocol); /* bench_open() with it, and three tries */
enum sluice_err ask(struct bench *bench, uint64_t invoke);                 /* synchronously */
void wants(struct bench *bench);                 /* the instance of the last start or lease asks for work */
void answers(struct bench *bench);               /* it has done what it was handed last */
struct function_info info_of(struct bench *bench);

#endif
