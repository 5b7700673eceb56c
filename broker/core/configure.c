/* configure.c - a configuration takes the place of another.
 *
 *   engine's thread           any thread                       engine's thread                              any thread
 *   engine_prepare()   ──>    preparation_run()          ──>   engine_bind() ... engine_configure()   ──>   preparation_free()
 *   holds what is             compares, compiles, finds        gives ids to what is new; then              the memory of the
 *   in force                  the ids of targets known         one pointer for another                     old one
 *
 * What takes longer the more rules there are is done where it keeps nobody waiting. That is safe because a ruleset does not change once
 * it is in force (but for the pointers of its buses, of which the preparation has copies), and stays as long as anybody holds it. What
 * the engine alone may touch is left to it: ids of functions and targets, which are rows of the next commit, and the counts of matches.
 * Those are not part of a ruleset, but an array in which each rule has a place that it keeps: nothing is copied. */
#include "broker/core/engine_internal.h"

/* ---- rulesets, held ---- */

struct ruleset *ruleset_hold(struct ruleset *ruleset)
{
    if (ruleset != NULL)
        (void)__atomic_add_fetch(&ruleset->holders, 1, __ATOMIC_RELAXED);
    return ruleset;
}

struct ruleset *ruleset_release(struct ruleset *ruleset)
{
    if (ruleset == NULL || __atomic_sub_fetch(&ruleset->holders, 1, __ATOMIC_ACQ_REL) > 0)
        return NULL;
    for (size_t b = 0; b < ruleset->buses_count; b++)
        bus_rules_release(ruleset->buses[b].rules);
    names_done(&ruleset->bus_ids);
    if (ruleset->release != NULL)
        ruleset->release(ruleset->ctx);
    arena_free(ruleset->arena);
    free(ruleset);
    return NULL;
}

static struct ruleset *ruleset_new(const struct config *config)
{
    struct ruleset *ruleset = malloc(sizeof *ruleset);

    ASSERT(ruleset != NULL);
    *ruleset = (struct ruleset){ .config = config, .arena = arena_new(64 << 10), .holders = 1 };
    return ruleset;
}

/* ---- prepared ---- */

struct preparation *engine_prepare(struct engine *engine)
{
    struct preparation *preparation = malloc(sizeof *preparation);
    size_t count = engine->ruleset == NULL ? 0 : engine->ruleset->buses_count;

    ASSERT(preparation != NULL);
    *preparation = (struct preparation){ .world = engine->world, .base = ruleset_hold(engine->ruleset),
                                         .before = calloc(count + 1, sizeof *preparation->before) };
    ASSERT(preparation->before != NULL);
    for (size_t b = 0; b < count; b++) {
        preparation->before[b] = engine->ruleset->buses[b];
        (void)bus_rules_hold(preparation->before[b].rules);
    }
    return preparation;
}

static bool same_text(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static bool same_target(const struct config_target *a, const struct config_target *b)
{
    return a->input == b->input && strcmp(a->function, b->function) == 0 && same_text(a->text, b->text);
}

/* The id of a target that the rule had before; 0: it had none like it. */
static uint32_t target_before(const struct ruleset *base, const struct rule *old, const struct config_target *target, uint32_t place)
{
    for (uint32_t i = 0; i < old->targets_count; i++) {
        uint32_t t = (place + i) % old->targets_count; /* mostly it is where it was */
        if (same_target(&old->config->targets[t], target))
            return base->rule_targets[old->targets_first + t];
    }
    return 0;
}

static void rules_bind(struct preparation *preparation, const uint32_t *places_before)
{
    struct ruleset *next = preparation->next;
    const struct ruleset *base = preparation->base;
    const struct config *config = next->config;
    uint32_t targets = 0;

    for (uint32_t r = 0; r < config->rules_count; r++)
        targets += config->rules[r].targets_count;
    next->rules = arena_zalloc(next->arena, (config->rules_count + 1) * sizeof *next->rules);
    next->rule_targets = arena_alloc(next->arena, (targets + 1) * sizeof *next->rule_targets);
    targets = 0;
    for (uint32_t r = 0; r < config->rules_count; r++) {
        const struct config_rule *rule = &config->rules[r];
        const struct rule *old = places_before[r] == UINT32_MAX ? NULL : &base->rules[places_before[r]];
        next->rules[r] = (struct rule){ .config = rule, .targets_first = targets, .targets_count = rule->targets_count };
        for (uint32_t t = 0; t < rule->targets_count; t++) {
            uint32_t id = old == NULL ? 0 : target_before(base, old, &rule->targets[t], t);
            if (id == 0)
                VEC_PUSH(&preparation->unbound, (struct unbound){ .rule = r, .target = t });
            next->rule_targets[targets++] = id;
        }
    }
}

/* A rule that stays keeps its counter; one that has come gets one that no other has, zero when it is in force. */
static void rules_count_matches(struct preparation *preparation, const uint32_t *places_before)
{
    struct ruleset *next = preparation->next;
    uint32_t count = next->config->rules_count, free_from = 0;
    uint64_t *taken = calloc(CONFIG_RULES_MAX / 64 + 1, sizeof *taken);

    ASSERT(taken != NULL);
    ASSERT(count <= CONFIG_RULES_MAX);
    for (uint32_t r = 0; r < count; r++) {
        if (places_before[r] == UINT32_MAX)
            continue;
        uint32_t counter = next->rules[r].counter = preparation->base->rules[places_before[r]].counter;
        ASSERT((taken[counter / 64] >> counter % 64 & 1) == 0);
        taken[counter / 64] |= UINT64_C(1) << counter % 64;
    }
    for (uint32_t r = 0; r < count; r++) {
        if (places_before[r] != UINT32_MAX)
            continue;
        while ((taken[free_from / 64] >> free_from % 64 & 1) != 0)
            free_from++;
        ASSERT(free_from < CONFIG_RULES_MAX);
        next->rules[r].counter = free_from;
        VEC_PUSH(&preparation->fresh, free_from++);
    }
    free(taken);
}

enum sluice_err preparation_run(struct preparation *preparation, const struct config *config, void (*release)(void *ctx), void *ctx,
                                struct sluice_error *reterr)
{
    ASSERT(preparation->next == NULL);
    preparation->next = ruleset_new(config);
    uint32_t *places_before = rules_places_before(preparation);
    enum sluice_err err = rules_compile(preparation, places_before, reterr);

    if (err == SLUICE_OK) {
        rules_bind(preparation, places_before);
        rules_count_matches(preparation, places_before);
        preparation->next->release = release;
        preparation->next->ctx = ctx;
    } else {
        preparation->next = ruleset_release(preparation->next); /* the configuration stays the caller's */
    }
    free(places_before);
    return err;
}

struct preparation *preparation_free(struct preparation *preparation)
{
    if (preparation == NULL)
        return NULL;
    for (size_t b = 0; preparation->base != NULL && b < preparation->base->buses_count; b++)
        bus_rules_release(preparation->before[b].rules);
    free(preparation->before);
    ruleset_release(preparation->next);
    ruleset_release(preparation->base);
    VEC_DONE(&preparation->unbound);
    VEC_DONE(&preparation->fresh);
    free(preparation);
    return NULL;
}

/* ---- put in force ---- */

/* The same program, so that running instances may go on serving. */
static bool same_program(const struct config_function *a, const struct config_function *b)
{
    const char *const *lists[][2] = { { a->command, b->command }, { a->environment, b->environment } };

    for (size_t l = 0; l < 2; l++) {
        size_t i = 0;
        for (; lists[l][0][i] != NULL && lists[l][1][i] != NULL; i++) {
            if (strcmp(lists[l][0][i], lists[l][1][i]) != 0)
                return false;
        }
        if (lists[l][0][i] != lists[l][1][i])
            return false;
    }
    return strcmp(a->directory, b->directory) == 0 && same_text(a->handler, b->handler) && a->runtime == b->runtime && a->protocol == b->protocol &&
           a->memory_bytes == b->memory_bytes && a->concurrency == b->concurrency && a->batch_size == b->batch_size &&
           a->log_format == b->log_format && same_text(a->log_level, b->log_level) && same_text(a->path, b->path);
}

static void function_configure(struct engine *engine, struct function *function, const struct config_function *config, struct now now)
{
    const struct config_function *old = function->config;

    if (old != NULL && (config == NULL || !same_program(old, config))) {
        LIST_EACH(at, &function->instances)
            instance_drain(engine, LIST_OWNER(at, struct instance, in_function), config == NULL ? "function removed" : "new configuration");
        function->crashes = 0;
        function->init_failed = false;
        function->circuit_until.us = 0;
    }
    if (config == NULL || config->protocol == PROTOCOL_NATIVE)
        invokes_answer_waiting(engine, function, INVOKE_STOPPED, now);
    else if (config->scale_max == 0)
        invokes_answer_waiting(engine, function, INVOKE_THROTTLED, now);
    if (config != NULL) {
        function->max_age_ms = config->max_age_ms;
        function->attempts_max = config->retry_attempts;
        function->backoff_min_ms = config->backoff_min_ms;
        function->backoff_max_ms = config->backoff_max_ms;
        function->retry_given = config->retry_given;
        function->shape = config->input;
        if (old == NULL)
            function->start_tokens = config->scale_max;
    }
    function->config = config;
    function_touch(engine, function);
}

static void target_bind(struct engine *engine, struct ruleset *next, const struct unbound *unbound)
{
    const struct rule *rule = &next->rules[unbound->rule];
    const struct config_target *target = &rule->config->targets[unbound->target];
    uint32_t function = 0;
    bool known = names_get(&engine->function_ids, view_of(target->function), &function);
    ASSERT(known); /* the configuration check saw to it */
    struct target_row row = { .function = function, .rule = view_of(rule->config->name), .input = (uint32_t)target->input, .text = view_of(target->text) };

    next->rule_targets[rule->targets_first + unbound->target] = engine_target_id(engine, &row);
}

/* At most `max` at a time; true: all have their ids. */
static bool bind(struct engine *engine, struct preparation *preparation, size_t max)
{
    struct ruleset *next = preparation->next;

    for (; preparation->functions_bound < next->config->functions_count && max > 0; max--)
        (void)engine_function_add(engine, view_of(next->config->functions[preparation->functions_bound++].name));
    for (; preparation->targets_bound < preparation->unbound.count && max > 0; max--)
        target_bind(engine, next, &preparation->unbound.items[preparation->targets_bound++]);
    return preparation->functions_bound == next->config->functions_count && preparation->targets_bound == preparation->unbound.count;
}

bool engine_bind(struct engine *engine, struct preparation *preparation)
{
    size_t gathered = engine->gathering->functions.count + engine->gathering->targets.count;

    return bind(engine, preparation, gathered < BIND_MAX ? BIND_MAX - gathered : 0);
}

enum sluice_err engine_configure(struct engine *engine, struct preparation *preparation, struct now now, struct sluice_error *reterr)
{
    struct ruleset *next = preparation->next;

    ASSERT(next != NULL); /* it was run, and is not in force already */
    if (preparation->base != engine->ruleset) /* it is held, so no other can be where it was */
        return sluice_fail(reterr, SLUICE_ESTALE, "another configuration has come since this one was prepared; prepare it again");
    (void)bind(engine, preparation, SIZE_MAX);
    for (size_t i = 0; i < engine->functions.count; i++) {
        struct function *function = engine->functions.items[i];
        function_configure(engine, function, config_function_find(next->config, function->name), now);
    }
    for (size_t i = 0; i < preparation->fresh.count; i++)
        engine->matched[preparation->fresh.items[i]] = 0;
    ruleset_release(engine->ruleset); /* the preparation holds it: nothing is freed here */
    engine->ruleset = next;
    engine->rules_settled = false;
    preparation->next = NULL;
    engine->gathering->revision = ++engine->revision;
    return SLUICE_OK;
}

enum sluice_err engine_configure_at_once(struct engine *engine, const struct config *config, void (*release)(void *ctx), void *ctx, struct now now,
                                         struct sluice_error *reterr)
{
    struct preparation *preparation = engine_prepare(engine);
    enum sluice_err err = preparation_run(preparation, config, release, ctx, reterr);

    if (err == SLUICE_OK)
        err = engine_configure(engine, preparation, now, reterr);
    ASSERT(err != SLUICE_ESTALE);
    preparation_free(preparation);
    return err;
}
