/* Lambda functions: what runs them, and which variables are not theirs to set.
 *
 *   runtime nodejs     node RUNTIMES/nodejs/bootstrap.cjs       handler FILE.FUNCTION
 *   runtime python     python3 RUNTIMES/python/bootstrap.py     handler FILE.FUNCTION
 *   runtime provided   CODE/bootstrap                           handler as it likes
 *   command            that: it speaks the Runtime API itself   handler as it likes
 *
 * With AWS_LAMBDA_EXEC_WRAPPER in its environment a runtime of ours is run by RUNTIMES/wrapped.sh, which runs it through that program. */
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "broker/base/assert.h"
#include "broker/edge/config_file.h"
#include "broker/edge/config_sections.h"
#include "broker/edge/yaml_values.h"

enum { HANDLER_BYTES_MAX = 1024 };

static const char wrapper_name[] = "AWS_LAMBDA_EXEC_WRAPPER";

/* In the order of enum function_runtime. */
static const struct runtime {
    const char *name, *interpreter, *bootstrap;
} runtimes[] = {
    [RUNTIME_NODEJS] = { "nodejs", "node", "nodejs/bootstrap.cjs" },
    [RUNTIME_PYTHON] = { "python", "python3", "python/bootstrap.py" },
    [RUNTIME_PROVIDED] = { "provided", NULL, "bootstrap" },
};

const char *config_runtimes_find(char buffer[CONFIG_PATH_BYTES_MAX])
{
    static const char installed[] = "../share/sluice/runtimes", in_build_tree[] = "../../share/sluice/runtimes";
    char program[CONFIG_PATH_BYTES_MAX - 64], *found;

    ssize_t len = readlink("/proc/self/exe", program, sizeof program - 1);
    program[len > 0 ? len : 0] = '\0';
    char *slash = strrchr(program, '/');
    if (slash != NULL)
        *slash = '\0';
    (void)snprintf(buffer, CONFIG_PATH_BYTES_MAX, "%s/%s", program, installed);
    found = realpath(buffer, NULL);
    if (found == NULL) {
        (void)snprintf(buffer, CONFIG_PATH_BYTES_MAX, "%s/%s", program, in_build_tree);
        found = realpath(buffer, NULL);
    }
    (void)snprintf(buffer, CONFIG_PATH_BYTES_MAX, "%s%s", found != NULL ? found : program, found != NULL ? "" : "/../share/sluice/runtimes");
    free(found);
    return buffer;
}

bool config_variable_is_reserved(struct view name)
{
    static const char *const reserved[] = {
        "_HANDLER", "_X_AMZN_TRACE_ID", "LAMBDA_TASK_ROOT", "LAMBDA_RUNTIME_DIR",
        "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_EXECUTION_ENV",
        "AWS_LAMBDA_FUNCTION_NAME", "AWS_LAMBDA_FUNCTION_VERSION", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "AWS_LAMBDA_LOG_GROUP_NAME",
        "AWS_LAMBDA_LOG_STREAM_NAME", "AWS_LAMBDA_INITIALIZATION_TYPE", "AWS_LAMBDA_RUNTIME_API", "AWS_LAMBDA_MAX_CONCURRENCY",
        "AWS_LAMBDA_METADATA_API", "AWS_LAMBDA_METADATA_TOKEN",
    };

    for (size_t i = 0; i < sizeof reserved / sizeof *reserved; i++) {
        if (name.len == strlen(reserved[i]) && memcmp(name.data, reserved[i], name.len) == 0)
            return true;
    }
    return false;
}

/* FILE.FUNCTION; FILE may have folders: src/index.handler. */
static bool handler_is_whole(const char *handler)
{
    const char *dot = strrchr(handler, '.');
    return dot != NULL && dot != handler && dot[-1] != '/' && dot[1] != '\0' && strchr(dot, '/') == NULL;
}

static void handler_read(struct loader *loader, const struct yaml_file *file, const struct config_lambda *lambda,
                         struct config_function *function)
{
    bool needs = lambda->runtime != NULL && (function->runtime == RUNTIME_NODEJS || function->runtime == RUNTIME_PYTHON);

    if (lambda->handler == NULL && needs)
        yaml_mistake(file, lambda->runtime, "runtime " YAML_SHOWN " needs 'handler': FILE.FUNCTION, like index.handler",
                     YAML_SHOW(lambda->runtime));
    else if (yaml_get_text(file, lambda->handler, "handler", HANDLER_BYTES_MAX, loader->arena, &function->handler) &&
             needs && !handler_is_whole(function->handler)) {
        yaml_mistake(file, lambda->handler, "'handler' must be FILE.FUNCTION, like index.handler, not '" YAML_SHOWN "'",
                     YAML_SHOW(lambda->handler));
        function->handler = NULL; /* one mistake is enough: its file is not looked for */
    }
}

/* One of the configuration's own makes: the interpreter from PATH, the bootstrap from where ours lie. */
static void command_of_runtime(struct loader *loader, const struct yaml_file *file, const struct yaml_node *node,
                               struct config_function *function)
{
    const struct runtime *runtime = &runtimes[function->runtime];
    bool ours = runtime->interpreter != NULL;
    const char *folder = ours ? loader->runtimes : function->directory;
    const char **command = arena_zalloc(loader->arena, 3 * sizeof *command);
    struct stat info;

    function->command = command;
    if (folder == NULL) /* nothing is to be run, or a mistake was told */
        return;
    const char *bootstrap = config_path(loader->arena, folder, runtime->bootstrap);
    if (!ours) {
        const char *why = config_program_mistake(bootstrap);
        if (why != NULL)
            yaml_mistake(file, node, "runtime provided runs %s, which %s", bootstrap, why);
        command[0] = bootstrap;
        return;
    }
    command[0] = config_program_in_path(loader->arena, runtime->interpreter);
    command[1] = bootstrap;
    if (command[0] == NULL)
        yaml_mistake(file, node, "runtime %s needs '%s', which was not found in PATH; install it", runtime->name, runtime->interpreter);
    if (stat(bootstrap, &info) != 0)
        yaml_mistake(file, node, "runtime %s needs %s, which is not there; install sluice again", runtime->name, bootstrap);
}

bool config_lambda_read(struct loader *loader, const struct config_entry *entry, const struct config_lambda *lambda,
                        struct config_function *function)
{
    static const char *const names[] = { "nodejs", "python", "provided" };
    unsigned choice = 0;

    function->path = config_lambda_path(loader);
    if (lambda->runtime != NULL && lambda->command != NULL)
        yaml_mistake(entry->file, lambda->command, "'command' and 'runtime' both say what runs; leave one of them out");
    if (lambda->runtime == NULL && lambda->command == NULL)
        yaml_mistake(entry->file, entry->key, "function '%s' needs a 'runtime' (nodejs, python, provided), or a 'command'", entry->name);
    if (lambda->runtime != NULL) {
        if (!yaml_get_choice(entry->file, lambda->runtime, "runtime", names, 3, &choice))
            return false;
        function->runtime = (enum function_runtime)(RUNTIME_NODEJS + choice);
    }
    handler_read(loader, entry->file, lambda, function);
    if (lambda->runtime != NULL)
        command_of_runtime(loader, entry->file, lambda->runtime, function);
    return lambda->runtime == NULL && lambda->command != NULL;
}

static bool same_file(const char *a, const char *b)
{
    struct stat first, second;

    return stat(a, &first) == 0 && stat(b, &second) == 0 && first.st_dev == second.st_dev && first.st_ino == second.st_ino;
}

const char *config_lambda_path(struct loader *loader)
{
    static const char lambdas[] = "/var/lang/bin:/usr/local/bin:/usr/bin/:/bin:/opt/bin";
    static const char *const interpreters[] = { "python3", "node" };
    const char *path = lambdas;

    if (loader->lambda_path != NULL)
        return loader->lambda_path;
    for (size_t i = 0; i < sizeof interpreters / sizeof *interpreters; i++) {
        const char *ours = config_program_in_path(loader->arena, interpreters[i]), *found = config_program_in(loader->arena, path, interpreters[i]);
        if (ours == NULL || (found != NULL && same_file(ours, found)))
            continue;
        const char *name = strrchr(ours, '/');
        ASSERT(name != NULL); /* it was found in a folder */
        path = arena_format(loader->arena, "%.*s:%s", (int)(name - ours), ours, path);
    }
    loader->lambda_path = path;
    return path;
}

const char *config_variable(const struct config_function *function, const char *name)
{
    size_t len = strlen(name);

    for (const char *const *variable = function->environment; *variable != NULL; variable++) {
        if (strncmp(*variable, name, len) == 0 && (*variable)[len] == '=')
            return *variable + len + 1;
    }
    return NULL;
}

static const struct yaml_node *value_of(const struct yaml_node *map, const char *name)
{
    const struct yaml_node *key = yaml_first(map);

    for (uint32_t i = 0; i < map->count; i++, key = yaml_next(yaml_next(key))) {
        if (view_is(yaml_text(key), name))
            return yaml_next(key);
    }
    return map;
}

/* As wrapped.sh looks for it: a bare name, too, is in the function's folder. */
static void wrapper_check(struct loader *loader, const struct config_entry *entry, const struct config_lambda *lambda, const struct config_function *function,
                          const char *wrapper)
{
    if (loader->runtimes == NULL || function->directory == NULL)
        return;
    const char *path = config_path(loader->arena, function->directory, wrapper), *why = config_program_mistake(path);
    if (why != NULL)
        yaml_mistake(entry->file, value_of(lambda->environment, wrapper_name), "AWS_LAMBDA_EXEC_WRAPPER is %s, which %s", path, why);
}

static void wrap(struct loader *loader, struct config_function *function)
{
    const char *const *inner = function->command;

    if (inner[0] == NULL || inner[1] == NULL)
        return; /* not to be run */
    const char **command = arena_zalloc(loader->arena, 5 * sizeof *command);
    command[0] = "/bin/sh";
    command[1] = config_path(loader->arena, loader->runtimes, "wrapped.sh");
    command[2] = inner[0];
    command[3] = inner[1];
    function->command = command;
}

void config_lambda_finish(struct loader *loader, const struct config_entry *entry, const struct config_lambda *lambda, struct config_function *function)
{
    const char *wrapper = config_variable(function, wrapper_name);
    bool ours = runtimes[function->runtime].interpreter != NULL;

    if (ours && wrapper != NULL && wrapper[0] != '\0') {
        wrapper_check(loader, entry, lambda, function, wrapper);
        wrap(loader, function);
    }
    config_handler_check(loader, entry->file, lambda->handler, function);
}
