/* callers.h - the naive model of synchronous invocations: who waits, who runs, and what each may be answered.
 *
 *   asked ──> WAITS ──began──> RUNS ──over──> (gone)      the engine answers each exactly once, unless its caller has left
 *               └── a start fails, no place in time, drain, removed ──> answered from there
 *
 * The world tells it what it is about to tell the engine (ends, start_fails), so that an answer that comes by itself is found. What a
 * crash of the daemon leaves is nobody's. A broken invariant ends the program, as in oracle.h. */
#ifndef SLUICE_TESTS_CALLERS_H
#define SLUICE_TESTS_CALLERS_H

#include "tests/simulation/oracle.h"

struct callers;
struct callers *callers_new(void);
struct callers *callers_free(struct callers *callers);

uint64_t callers_next(const struct callers *callers);            /* the handle to ask with */
/* The engine was asked and said so. config NULL: the function is not there. */
void callers_asked(struct callers *callers, unsigned function, enum sluice_err said, const struct config_function *config, bool draining,
                   struct now now);
uint64_t callers_any(const struct callers *callers, uint64_t chance); /* one that waits or runs; 0: there is none */
void callers_left(struct callers *callers, uint64_t handle);
bool callers_waiting(const struct callers *callers, unsigned function);
void callers_began(struct callers *callers, uint64_t handle, unsigned function);

/* What is about to be told of it: the answer must be this one, with the handle as text as its result if it is DONE or `posted`. */
void callers_ends(struct callers *callers, uint64_t handle, enum invoke_outcome outcome, bool posted);
/* A start of the function is about to fail (posted: by its own word), or that is over. */
void callers_start_fails(struct callers *callers, unsigned function, bool posted);
void callers_start_failed(struct callers *callers);
void callers_answered(struct callers *callers, uint64_t handle, const struct invoke_answer *answer, const struct config_function *config,
                      bool draining, struct now now);
bool callers_runs_unanswered(const struct callers *callers, uint64_t handle); /* its caller is there and has heard nothing */
unsigned callers_function(const struct callers *callers, uint64_t handle);
bool callers_has_left(const struct callers *callers, uint64_t handle);
void callers_over(struct callers *callers, uint64_t handle);     /* the process has no more to do with it */
struct view callers_result(uint64_t handle, char text[24]);

void callers_crashed(struct callers *callers);
void callers_drained(const struct callers *callers);             /* nobody is left */
void callers_compare(const struct callers *callers, unsigned function, const struct function_info *info, struct now now);
uint64_t callers_open(const struct callers *callers);

struct callers_figures {
    uint64_t asked, done, failed, throttled, stopped, left, refused;
};
void callers_figures(const struct callers *callers, struct callers_figures *ret_figures);

#endif
