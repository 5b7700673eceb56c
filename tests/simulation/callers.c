#include "tests/simulation/callers.h"

#include <stdio.h>

#include "broker/base/assert.h"

enum { LATE_MS = 200000 };       /* the wait, two starts, a timeout, and the machine asleep on the way */

enum caller_state { CALLER_WAITS, CALLER_RUNS, CALLER_GONE };

struct caller {
    unsigned function;
    enum caller_state state;
    bool answered, left, ending, posted;
    enum invoke_outcome end;
    int64_t asked_us;
};

struct callers {
    VEC(struct caller) items;    /* [handle - 1] */
    VEC(uint64_t) open;          /* waiting or running, in order of arrival */
    unsigned waiting[SIM_FUNCTIONS], running[SIM_FUNCTIONS];
    int failing;                 /* the function whose start fails now; -1: none */
    bool failing_posted;
    struct callers_figures figures;
};

struct callers *callers_new(void)
{
    struct callers *callers = calloc(1, sizeof *callers);
    ASSERT(callers != NULL);
    callers->failing = -1;
    return callers;
}

struct callers *callers_free(struct callers *callers)
{
    if (callers == NULL)
        return NULL;
    VEC_DONE(&callers->items);
    VEC_DONE(&callers->open);
    free(callers);
    return NULL;
}

static struct caller *caller_at(const struct callers *callers, uint64_t handle)
{
    ASSERT(handle >= 1 && handle <= callers->items.count);
    return &callers->items.items[handle - 1];
}

static void closed(struct callers *callers, uint64_t handle)
{
    size_t at = 0;

    while (callers->open.items[at] != handle)
        at++;
    memmove(&callers->open.items[at], &callers->open.items[at + 1], (callers->open.count - at - 1) * sizeof *callers->open.items);
    callers->open.count--;
    caller_at(callers, handle)->state = CALLER_GONE;
}

uint64_t callers_next(const struct callers *callers)
{
    return callers->items.count + 1;
}

static enum sluice_err should_say(const struct callers *callers, unsigned function, const struct config_function *config, bool draining)
{
    if (draining)
        return SLUICE_EUNAVAILABLE;
    if (config == NULL)
        return SLUICE_ENOTFOUND;
    if (config->protocol == PROTOCOL_NATIVE)
        return SLUICE_EINVAL;
    unsigned places = config->scale_max * (config->protocol == PROTOCOL_STDIO ? 1 : config->concurrency);
    return callers->waiting[function] + callers->running[function] >= places ? SLUICE_ELIMIT : SLUICE_OK;
}

void callers_asked(struct callers *callers, unsigned function, enum sluice_err said, const struct config_function *config, bool draining,
                   struct now now)
{
    enum sluice_err should = should_say(callers, function, config, draining);

    if (said != should)
        sim_fail("an invocation of f%u was answered %s instead of %s, with %u waiting and %u running", function, sluice_err_name(said),
                 sluice_err_name(should), callers->waiting[function], callers->running[function]);
    callers->figures.asked++;
    if (said != SLUICE_OK) {
        callers->figures.refused++;
        return;
    }
    VEC_PUSH(&callers->items, (struct caller){ .function = function, .asked_us = now.mono.us });
    VEC_PUSH(&callers->open, callers->items.count);
    callers->waiting[function]++;
}

uint64_t callers_any(const struct callers *callers, uint64_t chance)
{
    return callers->open.count == 0 ? 0 : callers->open.items[chance % callers->open.count];
}

void callers_left(struct callers *callers, uint64_t handle)
{
    struct caller *caller = caller_at(callers, handle);

    callers->figures.left += !caller->left;
    caller->left = true;
    if (caller->state != CALLER_WAITS)
        return;
    callers->waiting[caller->function]--;
    closed(callers, handle);
}

bool callers_waiting(const struct callers *callers, unsigned function)
{
    return callers->waiting[function] > 0;
}

static bool is_first_waiting(const struct callers *callers, uint64_t handle)
{
    const struct caller *caller = caller_at(callers, handle);

    for (size_t i = 0; i < callers->open.count; i++) {
        const struct caller *other = caller_at(callers, callers->open.items[i]);
        if (other->function == caller->function && other->state == CALLER_WAITS)
            return other == caller;
    }
    return false;
}

void callers_began(struct callers *callers, uint64_t handle, unsigned function)
{
    struct caller *caller = caller_at(callers, handle);

    if (caller->state != CALLER_WAITS || caller->left || caller->answered)
        sim_fail("invocation %llu was handed over in state %d", (unsigned long long)handle, caller->state);
    if (caller->function != function)
        sim_fail("invocation %llu of f%u was handed to an instance of f%u", (unsigned long long)handle, caller->function, function);
    if (!is_first_waiting(callers, handle))
        sim_fail("invocation %llu began before one that has waited longer", (unsigned long long)handle);
    caller->state = CALLER_RUNS;
    callers->waiting[function]--;
    callers->running[function]++;
}

struct view callers_result(uint64_t handle, char text[24])
{
    (void)snprintf(text, 24, "%llu", (unsigned long long)handle);
    return view_of(text);
}

void callers_ends(struct callers *callers, uint64_t handle, enum invoke_outcome outcome, bool posted)
{
    struct caller *caller = caller_at(callers, handle);

    ASSERT(caller->state == CALLER_RUNS);
    caller->ending = true;
    caller->end = outcome;
    caller->posted = posted;
}

void callers_start_fails(struct callers *callers, unsigned function, bool posted)
{
    callers->failing = (int)function;
    callers->failing_posted = posted;
}

void callers_start_failed(struct callers *callers)
{
    callers->failing = -1;
}

static void check_result(const struct callers *callers, uint64_t handle, const struct invoke_answer *answer)
{
    const struct caller *caller = caller_at(callers, handle);
    bool posted = caller->state == CALLER_RUNS ? caller->ending && caller->posted : callers->failing >= 0 && callers->failing_posted;
    char text[24];
    struct view expected = !posted ? (struct view){ 0 } : caller->state == CALLER_RUNS ? callers_result(handle, text) : VIEW_LITERAL("init");

    if (answer->result.len != expected.len || (expected.len > 0 && memcmp(answer->result.data, expected.data, expected.len) != 0))
        sim_fail("invocation %llu was answered '%.*s' instead of '%.*s'", (unsigned long long)handle, VIEW_ARGS(answer->result),
                 VIEW_ARGS(expected));
}

static void check_failed(const struct callers *callers, uint64_t handle, const struct failure *failure)
{
    const struct caller *caller = caller_at(callers, handle);

    if (failure == NULL || failure->type.len == 0)
        sim_fail("invocation %llu failed for no reason", (unsigned long long)handle);
    if (caller->state == CALLER_WAITS && (callers->failing != (int)caller->function || !is_first_waiting(callers, handle)))
        sim_fail("invocation %llu failed while it waited: %.*s", (unsigned long long)handle, VIEW_ARGS(failure->type));
    bool timed_out = failure->type.len == 16 && memcmp(failure->type.data, "Sandbox.Timedout", 16) == 0;
    if (caller->state == CALLER_RUNS && !timed_out && (!caller->ending || caller->end != INVOKE_FAILED))
        sim_fail("invocation %llu failed by itself: %.*s", (unsigned long long)handle, VIEW_ARGS(failure->type));
}

static void check_outcome(struct callers *callers, uint64_t handle, const struct invoke_answer *answer, const struct config_function *config,
                          bool draining)
{
    const struct caller *caller = caller_at(callers, handle);
    bool waits = caller->state == CALLER_WAITS;

    switch (answer->outcome) {
    case INVOKE_DONE:
        if (waits || !caller->ending || caller->end != INVOKE_DONE)
            sim_fail("invocation %llu is done by itself", (unsigned long long)handle);
        callers->figures.done++;
        return;
    case INVOKE_FAILED:
        check_failed(callers, handle, answer->failure);
        callers->figures.failed++;
        return;
    case INVOKE_THROTTLED:
        if (!waits || (answer->waited_us < INVOKE_WAIT_MS_MAX * 1000LL && config != NULL && config->scale_max > 0))
            sim_fail("invocation %llu was throttled after %lld us", (unsigned long long)handle, (long long)answer->waited_us);
        callers->figures.throttled++;
        return;
    case INVOKE_STOPPED:
        if (!waits || !(draining || config == NULL))
            sim_fail("invocation %llu was stopped", (unsigned long long)handle);
        callers->figures.stopped++;
        return;
    }
}

void callers_answered(struct callers *callers, uint64_t handle, const struct invoke_answer *answer, const struct config_function *config,
                      bool draining, struct now now)
{
    struct caller *caller = caller_at(callers, handle);

    if (caller->answered || caller->left || caller->state == CALLER_GONE)
        sim_fail("invocation %llu was answered%s", (unsigned long long)handle, caller->answered ? " twice" : ", and nobody is there");
    if (answer->waited_us < 0 || answer->ran_us < 0 || answer->waited_us + answer->ran_us != now.mono.us - caller->asked_us)
        sim_fail("invocation %llu: %lld us of waiting and %lld us of running are not %lld us", (unsigned long long)handle,
                 (long long)answer->waited_us, (long long)answer->ran_us, (long long)(now.mono.us - caller->asked_us));
    check_outcome(callers, handle, answer, config, draining);
    check_result(callers, handle, answer);
    caller->answered = true;
    if (caller->state != CALLER_WAITS)
        return;
    callers->waiting[caller->function]--;
    closed(callers, handle);
}

bool callers_runs_unanswered(const struct callers *callers, uint64_t handle)
{
    const struct caller *caller = caller_at(callers, handle);
    return !caller->answered && !caller->left;
}

unsigned callers_function(const struct callers *callers, uint64_t handle)
{
    return caller_at(callers, handle)->function;
}

bool callers_has_left(const struct callers *callers, uint64_t handle)
{
    return caller_at(callers, handle)->left;
}

void callers_over(struct callers *callers, uint64_t handle)
{
    struct caller *caller = caller_at(callers, handle);

    if (caller->state != CALLER_RUNS || callers_runs_unanswered(callers, handle))
        sim_fail("invocation %llu is over and its caller was told nothing", (unsigned long long)handle);
    callers->running[caller->function]--;
    closed(callers, handle);
}

void callers_crashed(struct callers *callers)
{
    for (size_t i = 0; i < callers->open.count; i++)
        caller_at(callers, callers->open.items[i])->state = CALLER_GONE;
    callers->open.count = 0;
    memset(callers->waiting, 0, sizeof callers->waiting);
    memset(callers->running, 0, sizeof callers->running);
}

void callers_drained(const struct callers *callers)
{
    if (callers->open.count > 0)
        sim_fail("invocation %llu was never answered", (unsigned long long)callers->open.items[0]);
}

void callers_compare(const struct callers *callers, unsigned function, const struct function_info *info, struct now now)
{
    if (info->invokes_waiting != callers->waiting[function] || info->invokes_running != callers->running[function])
        sim_fail("f%u: %u invocations wait and %u run, should be %u and %u", function, info->invokes_waiting, info->invokes_running,
                 callers->waiting[function], callers->running[function]);
    if (callers->open.count > 0 && now.mono.us - caller_at(callers, callers->open.items[0])->asked_us > LATE_MS * 1000LL)
        sim_fail("invocation %llu has been open for %lld ms", (unsigned long long)callers->open.items[0],
                 (long long)(now.mono.us - caller_at(callers, callers->open.items[0])->asked_us) / 1000);
}

uint64_t callers_open(const struct callers *callers)
{
    return callers->open.count;
}

void callers_figures(const struct callers *callers, struct callers_figures *ret_figures)
{
    *ret_figures = callers->figures;
}
