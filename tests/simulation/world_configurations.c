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
        if (sim->configuration_before != NULL && percent(sim, 80)) { /* most stay: a small change is another path than a large one */
            rule->enabled = sim->configuration_before->rules[r].enabled;
            rule->sources = sim->configuration_before->rules[r].sources;
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

void configuration_free(struct configuration *configuration)
{
    if (configuration == NULL)
        return;
    arena_free(configuration->arena);
    free(configuration);
}

void world_configure(struct world_sim *sim, bool all)
{
    struct sluice_error error;

    configuration_free(sim->configuration_before);
    sim->configuration_before = sim->configuration;
    sim->configuration = configuration_new(sim, all);
    oracle_configured(sim->oracle, sim->configuration->rules);
    if (engine_configure(sim->engine, &sim->configuration->config, sim->now, &error) != SLUICE_OK)
        sim_fail("a configuration was refused: %s", error.text);
}

/* Changed rules are made whole in the background: other configurations may come before it is done. */
void rules_work_goes_on(struct world_sim *sim)
{
    if (sim->rules_work != NULL && percent(sim, 20)) {
        engine_rules_work_end(sim->engine, sim->rules_work);
        sim->rules_work = NULL;
    } else if (sim->rules_work == NULL && percent(sim, 20)) {
        sim->rules_work = engine_rules_work(sim->engine);
        if (sim->rules_work != NULL)
            rules_work_run(sim->rules_work);
        sim->report.rules_works += sim->rules_work != NULL;
    }
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
