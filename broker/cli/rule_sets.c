#include "broker/cli/rule_sets.h"

#include "broker/base/vec.h"

enum sluice_err rule_set_of_bus(const struct config *config, const char *bus, struct match_set **ret_set, struct sluice_error *reterr)
{
    VEC(struct match_rule) rules = { 0 };
    struct sluice_error error;

    for (uint32_t r = 0; r < config->rules_count; r++)
        if (config->rules[r].enabled && strcmp(config->rules[r].bus, bus) == 0)
            VEC_PUSH(&rules, (struct match_rule){ .pattern = view_of(config->rules[r].pattern), .id = r });
    enum sluice_err err = match_set_new(rules.items, rules.count, ret_set, NULL, &error);
    VEC_DONE(&rules);
    return err == SLUICE_OK ? err : sluice_fail(reterr, err, "bus '%s': %s", bus, error.text);
}
