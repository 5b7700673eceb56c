/* lambda_environment.c - what a Lambda function's process finds in its environment, as AWS documents it, on a host.
 *
 * Three layers; the first that names a variable has it:
 *   1. what belongs to the platform: a function cannot say otherwise
 *   2. the function's own `environment`
 *   3. defaults: AWS's own (PATH, LANG, TZ, LD_LIBRARY_PATH, NODE_PATH, PYTHONPATH), with our folders where AWS has its own, placeholders that send the
 *      function's SDK back to us, and the daemon's HOME
 * Nothing else is inherited: not the daemon's AWS credentials, either. AWS's PATH has the folders of node and python3 in front of it, where they
 * lie elsewhere. Of LD_LIBRARY_PATH what the loader looks at by itself (/lib64, /usr/lib64) is left out: before an interpreter's own folders it
 * would be wrong for those that bring their libraries along. */
#include "broker/api/runtime/runtime_api.h"

#include <inttypes.h>
#include <stdlib.h>

#include "broker/base/arena.h"
#include "broker/base/assert.h"
#include "schemas/codec/protocol.h"

enum { VARIABLES_OURS_MAX = 48, MEMORY_MB_DEFAULT = 128 };

struct variables {
    struct arena *arena;
    const char **items;
    size_t count, room;
};

static bool variables_has(const struct variables *variables, const char *name, size_t name_len)
{
    for (size_t i = 0; i < variables->count; i++)
        if (strncmp(variables->items[i], name, name_len) == 0 && variables->items[i][name_len] == '=')
            return true;
    return false;
}

static void put(struct variables *variables, const char *name, const char *value)
{
    if (variables_has(variables, name, strlen(name)))
        return;
    ASSERT(variables->count < variables->room);
    variables->items[variables->count++] = arena_format(variables->arena, "%s=%s", name, value);
}

static void put_inherited(struct variables *variables, const char *name)
{
    const char *value = getenv(name);

    if (value != NULL)
        put(variables, name, value);
}

/* The folder of our bootstrap, which is the last word of the command; else, as the function brings its own runtime, its own. */
static const char *runtime_directory(struct arena *arena, const struct config_function *function)
{
    bool ours = function->runtime == RUNTIME_NODEJS || function->runtime == RUNTIME_PYTHON;
    const char *bootstrap = NULL;
    for (const char *const *word = function->command; ours && *word != NULL; word++)
        bootstrap = *word;
    const char *slash = bootstrap != NULL ? strrchr(bootstrap, '/') : NULL;

    if (slash == NULL || slash == bootstrap)
        return function->directory;
    return arena_format(arena, "%.*s", (int)(slash - bootstrap), bootstrap);
}

static void put_platform(struct variables *variables, const struct config_function *function, const struct lambda_process *process)
{
    static const char *const executions[] = { [RUNTIME_NODEJS] = "AWS_Lambda_nodejs", [RUNTIME_PYTHON] = "AWS_Lambda_python" };
    struct arena *arena = variables->arena;
    int64_t memory_mb = function->memory_bytes > 0 ? function->memory_bytes >> 20 : MEMORY_MB_DEFAULT;

    put(variables, "AWS_LAMBDA_RUNTIME_API", arena_format(arena, "127.0.0.1:%u", process->runtime_port));
    put(variables, "_HANDLER", function->handler != NULL ? function->handler : "bootstrap");
    put(variables, "LAMBDA_TASK_ROOT", function->directory);
    put(variables, "LAMBDA_RUNTIME_DIR", runtime_directory(arena, function));
    put(variables, "AWS_LAMBDA_FUNCTION_NAME", function->name);
    put(variables, "AWS_LAMBDA_FUNCTION_VERSION", "$LATEST");
    put(variables, "AWS_LAMBDA_FUNCTION_MEMORY_SIZE", arena_format(arena, "%" PRId64, memory_mb));
    put(variables, "AWS_LAMBDA_LOG_GROUP_NAME", arena_format(arena, "/aws/lambda/%s", function->name));
    put(variables, "AWS_LAMBDA_LOG_STREAM_NAME", process->log_stream);
    put(variables, "AWS_LAMBDA_INITIALIZATION_TYPE", process->provisioned ? "provisioned-concurrency" : "on-demand");
    if (function->concurrency > 1)
        put(variables, "AWS_LAMBDA_MAX_CONCURRENCY", arena_format(arena, "%u", function->concurrency));
    if (function->runtime == RUNTIME_NODEJS || function->runtime == RUNTIME_PYTHON)
        put(variables, "AWS_EXECUTION_ENV", executions[function->runtime]);
}

/* Placeholders, and only where the function says nothing of its own: what comes from the environment goes before profiles and roles,
 * and a session token beside a function's own keys would make them wrong. */
static void put_credentials(struct variables *variables)
{
    static const char *const own[] = {
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_PROFILE",
        "AWS_SHARED_CREDENTIALS_FILE",
        "AWS_CONFIG_FILE",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    };

    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (variables_has(variables, own[i], strlen(own[i])))
            return;
    put(variables, "AWS_ACCESS_KEY_ID", "test");
    put(variables, "AWS_SECRET_ACCESS_KEY", "test");
    put(variables, "AWS_SESSION_TOKEN", "test");
}

static void put_search_paths(struct variables *variables, const struct config_function *function)
{
    struct arena *arena = variables->arena;
    const char *task = function->directory;

    put(variables, "LD_LIBRARY_PATH", arena_format(arena, "%s:%s/lib:/opt/lib", task, task));
    if (function->runtime == RUNTIME_NODEJS)
        put(variables, "NODE_PATH", arena_format(arena, "/opt/nodejs/node_modules:%s/node_modules", runtime_directory(arena, function)));
    if (function->runtime == RUNTIME_PYTHON)
        put(variables, "PYTHONPATH", runtime_directory(arena, function));
}

static void put_defaults(struct variables *variables, const struct config_function *function, const char *endpoint_url)
{
    put(variables, "PATH", function->path);
    put_inherited(variables, "HOME");
    put(variables, "LANG", "en_US.UTF-8");
    put(variables, "TZ", ":UTC");
    put_search_paths(variables, function);
    put(variables, "AWS_REGION", EVENT_REGION_DEFAULT);
    put(variables, "AWS_DEFAULT_REGION", EVENT_REGION_DEFAULT);
    put_credentials(variables);
    if (endpoint_url != NULL)
        put(variables, "AWS_ENDPOINT_URL", endpoint_url);
    put(variables, "AWS_LAMBDA_LOG_FORMAT", function->log_format == LOG_FORMAT_JSON ? "JSON" : "Text");
    if (function->log_level != NULL)
        put(variables, "AWS_LAMBDA_LOG_LEVEL", function->log_level);
    /* There is no X-Ray daemon; its SDKs are to go on without, and send their datagrams to nobody. */
    put(variables, "AWS_XRAY_CONTEXT_MISSING", "LOG_ERROR");
    put(variables, "AWS_XRAY_DAEMON_ADDRESS", "127.0.0.1:2000");
    put(variables, "_AWS_XRAY_DAEMON_ADDRESS", "127.0.0.1");
    put(variables, "_AWS_XRAY_DAEMON_PORT", "2000");
}

const char *const *lambda_environment(struct arena *arena, const struct config_function *function, const struct lambda_process *process)
{
    size_t given = 0;

    while (function->environment != NULL && function->environment[given] != NULL)
        given++;
    struct variables variables = { .arena = arena, .room = given + VARIABLES_OURS_MAX };
    variables.items = arena_alloc(arena, (variables.room + 1) * sizeof *variables.items);
    put(&variables, SLUICE_ENV_FUNCTION, function->name);
    put(&variables, SLUICE_ENV_INSTANCE, arena_format(arena, "%" PRIu64, process->instance));
    put_platform(&variables, function, process);
    for (size_t i = 0; i < given; i++) {
        const char *variable = function->environment[i], *equals = strchr(variable, '=');
        if (equals != NULL && !variables_has(&variables, variable, (size_t)(equals - variable)))
            variables.items[variables.count++] = variable;
    }
    put_defaults(&variables, function, process->endpoint_url);
    variables.items[variables.count] = NULL;
    return variables.items;
}
