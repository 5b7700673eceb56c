#include "broker/core/config.h"

/* All three lists are sorted by strcmp(): the loader sorts them, and the tests hold it to that. */

const struct config_function *config_function_find(const struct config *config, const char *name)
{
    unsigned low = 0, high = config->functions_count;

    while (low < high) {
        unsigned middle = low + (high - low) / 2;
        int order = strcmp(name, config->functions[middle].name);
        if (order == 0)
            return &config->functions[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

const struct config_rule *config_rule_find(const struct config *config, const char *name)
{
    unsigned low = 0, high = config->rules_count;

    while (low < high) {
        unsigned middle = low + (high - low) / 2;
        int order = strcmp(name, config->rules[middle].name);
        if (order == 0)
            return &config->rules[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

/* The order of strcmp() for a name that is not NUL-terminated: it comes off a wire and may hold NULs. */
static int name_compare(struct view name, const char *known)
{
    size_t known_len = strlen(known);
    int order = memcmp(name.data, known, name.len < known_len ? name.len : known_len);

    if (order == 0 && name.len != known_len)
        return name.len < known_len ? -1 : 1;
    return order;
}

bool config_bus_known(const struct config *config, struct view bus)
{
    unsigned low = 0, high = config->buses_count;

    if (bus.len == 0) /* no bus is called "", and memcmp() wants no NULL */
        return false;
    while (low < high) {
        unsigned middle = low + (high - low) / 2;
        int order = name_compare(bus, config->buses[middle]);
        if (order == 0)
            return true;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return false;
}
