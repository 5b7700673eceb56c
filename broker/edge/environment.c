/* What an instance finds in its environment: ours first, so that none of them can be replaced; then the function's; then the few that
 * are inherited. */
#include <inttypes.h>
#include <stdlib.h>

#include "broker/base/arena.h"
#include "broker/edge/instance.h"
#include "schemas/codec/protocol.h"

static const char *variable_value(const char *variable)
{
    const char *equals = strchr(variable, '=');

    return equals != NULL ? equals + 1 : variable + strlen(variable);
}

static bool variable_is_in(const char *variable, const char *const *variables, size_t count)
{
    size_t name_len = (size_t)(variable_value(variable) - variable);

    for (size_t i = 0; i < count; i++)
        if (strncmp(variables[i], variable, name_len) == 0)
            return true;
    return false;
}

const char *const *environment_make(struct arena *arena, const char *bus_url, uint64_t instance,
                                    const struct config_function *function)
{
    static const char *const inherited[] = { "PATH", "HOME", "LANG", "TZ" };
    size_t given = 0, count = 0;

    while (function->environment != NULL && function->environment[given] != NULL)
        given++;
    const char **variables = arena_alloc(arena, (given + 5 + sizeof inherited / sizeof *inherited + 1) * sizeof *variables);
    variables[count++] = arena_format(arena, SLUICE_ENV_FUNCTION "=%s", function->name);
    variables[count++] = arena_format(arena, SLUICE_ENV_INSTANCE "=%" PRIu64, instance);
    if (function->protocol == PROTOCOL_NATIVE) {
        variables[count++] = arena_format(arena, SLUICE_ENV_BUS "=%s", bus_url);
        variables[count++] = arena_format(arena, SLUICE_ENV_CONCURRENCY "=%u", function->concurrency);
        variables[count++] = arena_format(arena, SLUICE_ENV_BATCH_SIZE "=%u", function->batch_size);
    }
    size_t ours = count;
    for (size_t i = 0; i < given; i++)
        if (!variable_is_in(function->environment[i], variables, ours))
            variables[count++] = function->environment[i];
    for (size_t i = 0; i < sizeof inherited / sizeof *inherited; i++) {
        const char *value = getenv(inherited[i]);
        char *variable = value != NULL ? arena_format(arena, "%s=%s", inherited[i], value) : NULL;
        if (variable != NULL && !variable_is_in(variable, variables, count))
            variables[count++] = variable;
    }
    variables[count] = NULL;
    return variables;
}
