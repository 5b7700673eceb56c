/* What the functions of a run are, once and for all, and the configurations it has one after the other: some functions are missing, some are
 * paused, most rules stay as they were. */
#include "tests/simulation/world_internal.h"

void functions_make(struct world_sim *sim)
{
    for (unsigned f = 0; f < SIM_FUNCTIONS; f++) {
        struct sim_function *function = &sim->functions[f];
        (void)snprintf(function->name, sizeof function->name, "f%u", f);
        function->protocol = (enum function_protocol)(f % 4);
        function->attempts = 1 + (unsigned)below(sim, 4);
        function->retry_given = percent(sim, 50);
        function->timeout_ms = 100 + (int64_t)below(sim, 1000);
        function->max_age_ms = percent(sim, 30) ? 2000 + (int64_t)below(sim, 5000) : 3600000;
        function->backoff_max_ms = 100 + (int64_t)below(sim, 3000);
        sim->flaky[f] = percent(sim, 20) ? 60 : (unsigned)below(sim, 25);
        sim->protocol_batch[f] = percent(sim, 50) ? 1 : 1 + (unsigned)below(sim, 20);
        sim->concurrency[f] = function->protocol == PROTOCOL_STDIO ? 1 : 1 + (unsigned)below(sim, 6);
        sim->window_ms[f] = percent(sim, 30) ? 1 + (int64_t)below(sim, 200) : 0;
        sim->service_us[f] = 1 + (int64_t)below(sim, percent(sim, 30) ? 80000 : 3000);
    }
    sim->idle_ms = 100 + (int64_t)below(sim, 2000);
    sim->consumers = percent(sim, 40) ? 0 : 10 + (unsigned)below(sim, 90);
}

static void configuration_functions(struct world_sim *sim, struct configuration *made, bool all)
{
    static const char *const command[] = { "/bin/true", NULL }, *const none[] = { NULL };
    struct config_function *functions = arena_zalloc(made->arena, SIM_FUNCTIONS * sizeof *functions);
    unsigned count = 0;

    for (unsigned f = 0; f < SIM_FUNCTIONS; f++) {
        if (!all && f > 0 && percent(sim, 15))
            continue;
        const char **environment = arena_zalloc(made->arena, 2 * sizeof *environment);
        environment[0] = arena_format(made->arena, "VERSION=%u", (unsigned)below(sim, 2));
        bool attach_only = !all && sim->functions[f].protocol == PROTOCOL_NATIVE && percent(sim, 30);
        functions[count++] = (struct config_function){
            .name = sim->functions[f].name, .command = attach_only ? none : command, .directory = "/", .environment = environment,
            .protocol = sim->functions[f].protocol, .timeout_ms = sim->functions[f].timeout_ms, .concurrency = sim->concurrency[f],
            .batch_size = sim->protocol_batch[f], .batch_window_ms = sim->window_ms[f], .batch_partial_failures = f >= 4,
            .scale_min = all ? 0 : (unsigned)below(sim, 2), .scale_max = all ? 4 : (unsigned)below(sim, 6), .idle_ms = sim->idle_ms, .drain_target_ms = 1000,
            .retry_attempts = sim->functions[f].attempts, .retry_given = sim->functions[f].retry_given, .backoff_min_ms = sim->functions[f].backoff_max_ms / 8,
            .backoff_max_ms = sim->functions[f].backoff_max_ms, .max_age_ms = sim->functions[f].max_age_ms,
        };
    }
    made->config.functions = functions;
    made->config.functions_count = count;
}

static const char *rule_pattern(struct arena *arena, unsigned sources)
{
    char *pattern = arena_format(arena, "{\"source\":[%s%s%s%s\"never\"]}", sources & 1 ? "\"s0\"," : "", sources & 2 ? "\"s1\"," : "",
                                 sources & 4 ? "\"s2\"," : "", sources & 8 ? "\"s3\"," : "");
    return pattern;
}

static void configuration_rules(struct world_sim *sim, struct configuration *made)
{
    struct config_rule *rules = arena_zalloc(made->arena, SIM_RULES * sizeof *rules);

    for (unsigned r = 0; r < SIM_RULES; r++) {
        struct sim_rule *rule = &made->rules[r];
        struct config_target *targets = arena_zalloc(made->arena, SIM_TARGETS_PER_RULE * sizeof *targets);
        rule->enabled = percent(sim, 80);
        rule->sources = (unsigned)below(sim, 16) & (unsigned)below(sim, 16); /* s3 of some is in none */
        if (sim->configuration != NULL && percent(sim, 80)) { /* most stay: a small change is another path than a large one */
            rule->enabled = sim->configuration->rules[r].enabled;
            rule->sources = sim->configuration->rules[r].sources;
        }
        for (rule->targets_count = 0; rule->targets_count < 1 + (unsigned)below(sim, SIM_TARGETS_PER_RULE);) {
            const struct config_function *function = &made->config.functions[below(sim, made->config.functions_count)];
            unsigned t = rule->targets_count++;
            rule->targets[t] = (unsigned)(function->name[1] - '0');
            targets[t] = (struct config_target){ .function = function->name };
        }
        rules[r] = (struct config_rule){ .name = arena_format(made->arena, "r%u", r), .bus = "default", .enabled = rule->enabled,
                                         .pattern = rule_pattern(made->arena, rule->sources), .targets = targets,
                                         .targets_count = rule->targets_count, .file = "simulation", .line = 1 };
    }
    made->config.rules = rules;
    made->config.rules_count = SIM_RULES;
}

static struct configuration *configuration_new(struct world_sim *sim, bool all)
{
    static const char *const buses[] = { "default", NULL };
    struct configuration *made = calloc(1, sizeof *made);
    ASSERT(made != NULL);
    made->arena = arena_new(4096);
    made->config.buses = buses;
    made->config.buses_count = 1;
    configuration_functions(sim, made, all);
    configuration_rules(sim, made);
    return made;
}

static void configuration_free(void *ctx)
{
    struct configuration *configuration = ctx;

    arena_free(configuration->arena);
    free(configuration);
}

/* About to be put in force: what the engine says meanwhile is by the new one. */
static void takes_effect(struct world_sim *sim, struct configuration *configuration)
{
    sim->configuration = configuration;
    oracle_configured(sim->oracle, configuration->rules);
    for (size_t i = 0; i < PREPARATIONS_MAX; i++)
        sim->preparing[i].stale = true;
}

void world_configure(struct world_sim *sim, bool all)
{
    struct sluice_error error;
    struct configuration *made = configuration_new(sim, all);

    takes_effect(sim, made);
    if (engine_configure_at_once(sim->engine, &made->config, configuration_free, made, sim->now, &error) != SLUICE_OK)
        sim_fail("a configuration was refused: %s", error.text);
}

/* ---- prepared, while other things happen ---- */

static void prepared(struct world_sim *sim, struct preparing *preparing)
{
    struct sluice_error error = { .code = SLUICE_OK };
    bool stale = preparing->stale;

    if (!stale)
        takes_effect(sim, preparing->configuration);
    enum sluice_err err = engine_configure(sim->engine, preparing->preparation, sim->now, &error);
    if (err != (stale ? SLUICE_ESTALE : SLUICE_OK))
        sim_fail("a configuration that is %s was answered %d: %s", stale ? "stale" : "not stale", (int)err, error.text);
    sim->report.stale += stale;
    sim->report.prepared += !stale;
    preparing->over = true;
}

/* The next step of one, or another begins. */
void preparations_go_on(struct world_sim *sim)
{
    struct preparing *preparing = &sim->preparing[below(sim, PREPARATIONS_MAX)];
    struct sluice_error error;

    if (!percent(sim, preparing->preparation == NULL ? 1 : 20) || (sim->calm && preparing->preparation == NULL))
        return;
    if (preparing->preparation == NULL) {
        *preparing = (struct preparing){ .preparation = engine_prepare(sim->engine) };
    } else if (preparing->over || percent(sim, 5)) { /* or given up, at any step */
        preparing->preparation = preparation_free(preparing->preparation);
    } else if (preparing->configuration == NULL) {
        struct configuration *made = preparing->configuration = configuration_new(sim, sim->calm || percent(sim, 50));
        if (preparation_run(preparing->preparation, &made->config, configuration_free, made, &error) != SLUICE_OK)
            sim_fail("a configuration was refused: %s", error.text);
    } else if (percent(sim, 50) || engine_bind(sim->engine, preparing->preparation)) {
        prepared(sim, preparing);
    }
}

/* Changed rules are made whole in the background: other configurations may come before it is done. */
void rules_work_goes_on(struct world_sim *sim)
{
    if (!percent(sim, 20))
        return;
    if (sim->rules_work == NULL) {
        sim->rules_work = engine_rules_work(sim->engine);
        sim->rules_work_run = sim->rules_work_ended = false;
        sim->report.rules_works += sim->rules_work != NULL;
    } else if (sim->rules_work_ended) {
        rules_work_free(sim->rules_work);
        sim->rules_work = NULL;
    } else if (sim->rules_work_run || percent(sim, 5)) {
        engine_rules_work_end(sim->engine, sim->rules_work);
        sim->rules_work_ended = true;
    } else {
        rules_work_run(sim->rules_work);
        sim->rules_work_run = true;
    }
}

void configurations_end(struct world_sim *sim)
{
    if (sim->rules_work != NULL && !sim->rules_work_ended)
        engine_rules_work_end(sim->engine, sim->rules_work);
    sim->engine = engine_free(sim->engine); /* what others hold stays */
    rules_work_free(sim->rules_work);
    sim->rules_work = NULL;
    for (size_t i = 0; i < PREPARATIONS_MAX; i++)
        sim->preparing[i].preparation = preparation_free(sim->preparing[i].preparation);
    sim->configuration = NULL;
}

unsigned function_number(const char *name)
{
    return (unsigned)(name[1] - '0');
}

/* NULL: it is not in the configuration. */
const struct config_function *function_configured(const struct world_sim *sim, unsigned function)
{
    return config_function_find(&sim->configuration->config, sim->functions[function].name);
}
