/* functions: name -> how to run it. */
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "broker/edge/config_sections.h"
#include "broker/edge/yaml_values.h"

enum function_key {
    KEY_COMMAND, KEY_CODE, KEY_ENVIRONMENT, KEY_PROTOCOL, KEY_RUNTIME, KEY_HANDLER, KEY_TIMEOUT, KEY_MEMORY, KEY_CONCURRENCY,
    KEY_BATCH, KEY_SCALE, KEY_RETRY, KEY_INPUT, KEY_LOG, KEY_URL, FUNCTION_KEYS,
};
static const char *const function_keys[FUNCTION_KEYS] = {
    "command", "code", "environment", "protocol", "runtime", "handler", "timeout", "memory", "concurrency",
    "batch", "scale", "retry", "input", "log", "url",
};

static const struct config_function function_defaults = {
    .protocol = PROTOCOL_LAMBDA,
    .timeout_ms = 3000,
    .concurrency = 1,
    .batch_size = 1,
    .scale_min = 0, .scale_max = 10,
    .idle_ms = 60000, .drain_target_ms = 1000,
    .retry_attempts = 3,
    .backoff_min_ms = 1000, .backoff_max_ms = 60000, .max_age_ms = INT64_C(6) * 3600000,
    .input = EVENT_SHAPE_EVENTBRIDGE,
};

/* ---- what runs ---- */

static bool file_is_executable(const char *path, int *ret_error)
{
    struct stat info;

    if (stat(path, &info) != 0) {
        *ret_error = errno;
        return false;
    }
    if (!S_ISREG(info.st_mode) || access(path, X_OK) != 0) {
        *ret_error = S_ISDIR(info.st_mode) ? EISDIR : EACCES;
        return false;
    }
    return true;
}

/* Relative folders in PATH are skipped: what they mean depends on where the daemon was started. */
const char *config_program_in(struct arena *arena, const char *path, const char *name)
{
    char candidate[4096];
    int reason = 0;

    while (path != NULL) {
        const char *colon = strchr(path, ':');
        int len = colon != NULL ? (int)(colon - path) : (int)strlen(path);
        int wanted = snprintf(candidate, sizeof candidate, "%.*s/%s", len, path, name);
        if (path[0] == '/' && wanted < (int)sizeof candidate && file_is_executable(candidate, &reason))
            return arena_text(arena, view_of(candidate));
        path = colon != NULL ? colon + 1 : NULL;
    }
    return NULL;
}

const char *config_program_in_path(struct arena *arena, const char *name)
{
    const char *path = getenv("PATH");

    return config_program_in(arena, path == NULL || path[0] == '\0' ? "/usr/local/bin:/usr/bin:/bin" : path, name);
}

const char *config_program_mistake(const char *path)
{
    int reason = 0;

    if (file_is_executable(path, &reason))
        return NULL;
    return reason == ENOENT   ? "does not exist"
           : reason == EISDIR ? "is a folder"
           : reason == EACCES ? "is not executable; chmod +x it"
                              : strerror(reason);
}

static void program_find(struct loader *loader, const struct yaml_file *file, const struct yaml_node *node, const char *directory,
                         const char **program)
{
    if (strchr(*program, '/') == NULL) {
        const char *found = config_program_in_path(loader->arena, *program);
        if (found == NULL)
            yaml_mistake(file, node, "command '" YAML_SHOWN "' was not found in PATH; a file beside it is ./" YAML_SHOWN,
                         YAML_SHOW(node),
                         YAML_SHOW(node));
        else
            *program = found;
        return;
    }
    const char *path = config_path(loader->arena, directory, *program);
    const char *why = config_program_mistake(path);
    if (why != NULL) {
        yaml_mistake(file, node, "command '" YAML_SHOWN "': %s %s", YAML_SHOW(node), path, why);
        return;
    }
    *program = path;
}

static void command_read(struct loader *loader, const struct config_entry *entry, const struct yaml_node *node,
                         struct config_function *function)
{
    const struct yaml_file *file = entry->file;
    bool good = true;

    if (node == NULL && function->protocol == PROTOCOL_NATIVE) { /* none is started: consumers attach */
        function->command = arena_zalloc(loader->arena, sizeof *function->command);
        return;
    }
    if (node == NULL) {
        yaml_mistake(file, entry->key, "function '%s' has no 'command'; only with protocol native may it be left out", entry->name);
        return;
    }
    if (node->kind == YAML_SCALAR && !yaml_is_empty(node)) {
        yaml_mistake(file, node, "'command' must be a list: [\"" YAML_SHOWN "\"]; no shell takes it apart", YAML_SHOW(node));
        return;
    }
    if (!yaml_expect(file, node, "command", YAML_LIST))
        return;
    if (node->count == 0 || node->count > CONFIG_ARGUMENTS_MAX) {
        yaml_mistake(file, node, "'command' must have from 1 to %d items, not %u", CONFIG_ARGUMENTS_MAX, node->count);
        return;
    }
    const char **command = arena_zalloc(loader->arena, (node->count + 1) * sizeof *command);
    const struct yaml_node *item = yaml_first(node);
    for (uint32_t i = 0; i < node->count; i++, item = yaml_next(item))
        good = yaml_get_words(file, item, "command", CONFIG_ARGUMENT_BYTES_MAX, loader->arena, &command[i]) && good;
    if (good && command[0][0] == '\0') {
        yaml_mistake(file, yaml_first(node), "the first item of 'command' must name a program");
        good = false;
    }
    if (good && function->directory != NULL)
        program_find(loader, file, yaml_first(node), function->directory, &command[0]);
    function->command = command;
}

/* NULL after a mistake: then nothing relative can be looked up. */
static const char *code_read(struct loader *loader, const struct yaml_file *file, const struct yaml_node *node)
{
    const char *code = NULL;
    struct stat info;

    if (node == NULL)
        return loader->folder;
    if (!yaml_get_text(file, node, "code", 4095, loader->arena, &code))
        return NULL;
    const char *path = config_path(loader->arena, loader->folder, code);
    const char *why = stat(path, &info) != 0                ? strerror(errno)
                      : !S_ISDIR(info.st_mode)              ? "not a folder"
                      : access(path, R_OK | X_OK) != 0      ? strerror(errno)
                                                            : NULL;
    if (why != NULL) {
        yaml_mistake(file, node, "'code' must be a readable folder; %s: %s", path, why);
        return NULL;
    }
    return path;
}

static void environment_read(struct loader *loader, const struct yaml_file *file, const struct yaml_node *node,
                             struct config_function *function)
{
    static const char *const none[] = { NULL };

    function->environment = none;
    if (node == NULL || !yaml_expect(file, node, "environment", YAML_MAP))
        return;
    if (node->count > CONFIG_ARGUMENTS_MAX) {
        yaml_mistake(file, node, "'environment' has %u variables; at most %d are taken", node->count, CONFIG_ARGUMENTS_MAX);
        return;
    }
    const char **environment = arena_zalloc(loader->arena, (node->count + 1) * sizeof *environment);
    const struct yaml_node *key = yaml_first(node);
    for (uint32_t i = 0; i < node->count; i++, key = yaml_next(yaml_next(key))) {
        const char *name = "", *value = "";
        if (key->len == 0 || memchr(key->text, '=', key->len) != NULL || memchr(key->text, '\0', key->len) != NULL)
            yaml_mistake(file, key, "'" YAML_SHOWN "' cannot be the name of a variable: it is empty or contains '='",
                         YAML_SHOW(key));
        else if (function->protocol == PROTOCOL_LAMBDA && config_variable_is_reserved(yaml_text(key)))
            yaml_mistake(file, key, "'" YAML_SHOWN "' is set for each Lambda function by the daemon; it cannot be given", YAML_SHOW(key));
        else if (yaml_get_words(file, key, "environment", (size_t)CONFIG_NAME_BYTES_MAX * 4, loader->arena, &name))
            (void)yaml_get_words(file, yaml_next(key), name, CONFIG_ARGUMENT_BYTES_MAX - 1 - key->len, loader->arena, &value);
        environment[i] = arena_format(loader->arena, "%s=%s", name, value);
    }
    function->environment = environment;
}

static size_t strings_bytes(const char *const *strings)
{
    size_t bytes = 0;

    for (size_t i = 0; strings != NULL && strings[i] != NULL; i++)
        bytes += strlen(strings[i]) + 1;
    return bytes;
}

/* Else every start of it would fail; what the daemon adds has room in the rest of a spawn request. */
static void process_check(const struct config_entry *entry, const struct config_function *function)
{
    size_t command = strings_bytes(function->command), environment = strings_bytes(function->environment);

    if (command + environment > CONFIG_PROCESS_BYTES_MAX)
        yaml_mistake(entry->file, entry->key, "function '%s': 'command' (%zu bytes) and 'environment' (%zu) are more than %d together; put what is "
                     "large into a file", entry->name, command, environment, CONFIG_PROCESS_BYTES_MAX);
}

/* ---- how it is spoken to ---- */

static void protocol_read(const struct config_entry *entry, const struct yaml_node *const *values,
                          struct config_function *function)
{
    static const char *const names[] = { "stdio", "stdio-lines", "native", "lambda" };
    unsigned choice = function->protocol;

    _Static_assert(PROTOCOL_STDIO == 0 && PROTOCOL_STDIO_LINES == 1 && PROTOCOL_NATIVE == 2 && PROTOCOL_LAMBDA == 3, "the order above");
    if (yaml_get_choice(entry->file, values[KEY_PROTOCOL], "protocol", names, 4, &choice))
        function->protocol = (enum function_protocol)choice;
    for (unsigned key = KEY_RUNTIME; key <= KEY_HANDLER; key++) {
        if (values[key] != NULL && function->protocol != PROTOCOL_LAMBDA)
            yaml_mistake(entry->file, values[key], "'%s' belongs to protocol lambda; this function speaks %s", function_keys[key],
                         names[function->protocol]);
    }
}

static void batch_read(const struct yaml_file *file, const struct yaml_node *node, struct config_function *function)
{
    static const char *const keys[] = { "size", "window", "partial-failures" };
    const struct yaml_node *values[3];

    if (node == NULL)
        return;
    (void)yaml_map_spread(file, node, "'batch'", keys, 3, values);
    (void)yaml_get_unsigned(file, values[0], "batch.size", 1, CONFIG_BATCH_MAX, &function->batch_size);
    (void)yaml_get_duration(file, values[1], "batch.window", 0, CONFIG_BATCH_WINDOW_MS_MAX, &function->batch_window_ms);
    (void)yaml_get_bool(file, values[2], "batch.partial-failures", &function->batch_partial_failures);
    if (function->protocol == PROTOCOL_LAMBDA && function->batch_size > 1)
        yaml_mistake(file, values[0], "'batch.size' must be 1 with protocol lambda: it gets one event at a time; 'concurrency' has several at once");
}

static void scale_read(const struct yaml_file *file, const struct yaml_node *node, struct config_function *function)
{
    static const char *const keys[] = { "min", "max", "idle", "drain-target", "idle-freeze" };
    const struct yaml_node *values[5];

    if (node == NULL)
        return;
    (void)yaml_map_spread(file, node, "'scale'", keys, 5, values);
    bool bounds = yaml_get_unsigned(file, values[0], "scale.min", 0, CONFIG_INSTANCES_MAX, &function->scale_min);
    bounds = yaml_get_unsigned(file, values[1], "scale.max", 0, CONFIG_INSTANCES_MAX, &function->scale_max) && bounds;
    if (bounds && function->scale_min > function->scale_max)
        yaml_mistake(file, values[0], "'scale.min' is %u, more than 'scale.max', which is %u%s", function->scale_min,
                     function->scale_max, values[1] == NULL ? " unless given" : "");
    (void)yaml_get_duration(file, values[2], "scale.idle", 0, CONFIG_IDLE_MS_MAX, &function->idle_ms);
    (void)yaml_get_duration(file, values[3], "scale.drain-target", 1, CONFIG_DRAIN_TARGET_MS_MAX, &function->drain_target_ms);
    (void)yaml_get_bool(file, values[4], "scale.idle-freeze", &function->idle_freeze);
    if (function->idle_freeze && function->protocol != PROTOCOL_LAMBDA)
        yaml_mistake(file, values[4], "'scale.idle-freeze' belongs to protocol lambda: of others it is not known when they have nothing to do");
}

static void retry_read(const struct yaml_file *file, const struct yaml_node *node, struct config_function *function)
{
    static const char *const keys[] = { "attempts", "backoff", "max-age" };
    const struct yaml_node *values[3];

    if (node == NULL)
        return;
    function->retry_given = true;
    (void)yaml_map_spread(file, node, "'retry'", keys, 3, values);
    (void)yaml_get_unsigned(file, values[0], "retry.attempts", 1, CONFIG_ATTEMPTS_MAX, &function->retry_attempts);
    (void)yaml_get_duration_range(file, values[1], "retry.backoff", 1, CONFIG_BACKOFF_MS_MAX, &function->backoff_min_ms,
                                  &function->backoff_max_ms);
    (void)yaml_get_duration(file, values[2], "retry.max-age", 1000, CONFIG_MAX_AGE_MS_MAX, &function->max_age_ms);
}

/* A filter or a native function may run a million invocations a second: their lines would be the greater part of the work. */
static bool reports_by_default(enum function_protocol protocol)
{
    return protocol != PROTOCOL_STDIO_LINES && protocol != PROTOCOL_NATIVE;
}

static void log_read(const struct yaml_file *file, const struct yaml_node *node, struct config_function *function)
{
    enum { KEY_REPORT, KEY_FORMAT, KEY_LEVEL, LOG_KEYS };
    static const char *const keys[LOG_KEYS] = { "report", "format", "level" };
    static const char *const reports[] = { "none", "all" };
    static const char *const formats[] = { [LOG_FORMAT_TEXT] = "text", [LOG_FORMAT_JSON] = "json" };
    static const char *const levels[] = { "trace", "debug", "info", "warn", "error", "fatal" };
    static const char *const level_values[] = { "TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL" };
    const struct yaml_node *values[LOG_KEYS] = { NULL };
    unsigned report = reports_by_default(function->protocol), format = LOG_FORMAT_TEXT, level = 0;

    if (node != NULL)
        (void)yaml_map_spread(file, node, "'log'", keys, LOG_KEYS, values);
    (void)yaml_get_choice(file, values[KEY_REPORT], "log.report", reports, 2, &report);
    (void)yaml_get_choice(file, values[KEY_FORMAT], "log.format", formats, 2, &format);
    function->report = report == 1;
    function->log_format = (enum log_format)format;
    if (function->log_format == LOG_FORMAT_JSON && function->protocol == PROTOCOL_LAMBDA)
        function->log_level = "INFO"; /* as on Lambda; a text log has none */
    if (values[KEY_LEVEL] == NULL || !yaml_get_choice(file, values[KEY_LEVEL], "log.level", levels, 6, &level))
        return;
    function->log_level = level_values[level];
    if (function->protocol != PROTOCOL_LAMBDA)
        yaml_mistake(file, values[KEY_LEVEL], "'log.level' belongs to protocol lambda: what others log is their own affair");
    else if (function->log_format != LOG_FORMAT_JSON)
        yaml_mistake(file, values[KEY_LEVEL], "'log.level' needs 'log.format: json', as on Lambda");
}

static void url_read(struct loader *loader, const struct yaml_file *file, const struct yaml_node *node, struct config_function *function)
{
    static const char *const keys[] = { "cors", "stream" };
    const struct yaml_node *values[2];

    if (node == NULL)
        return;
    (void)yaml_map_spread(file, node, "'url'", keys, 2, values);
    config_web_read(loader, file, values[0], values[1], "url.stream", &function->url);
    if (function->protocol == PROTOCOL_NATIVE)
        yaml_mistake(file, node, "'url' is of no use: function '%s' has protocol native, which returns nothing to a caller", function->name);
}

static void function_read(struct loader *loader, const struct config_entry *entry, struct config_function *function)
{
    static const char *const shapes[] = {
        [EVENT_SHAPE_EVENTBRIDGE] = "event", [EVENT_SHAPE_CLOUDEVENT] = "cloudevent", [EVENT_SHAPE_DETAIL] = "detail",
    };
    const struct yaml_node *values[FUNCTION_KEYS];
    const struct yaml_file *file = entry->file;
    unsigned shape = EVENT_SHAPE_EVENTBRIDGE;
    char what[CONFIG_NAME_BYTES_MAX * 2];

    (void)snprintf(what, sizeof what, "function '%s'", entry->name);
    (void)yaml_map_spread(file, entry->value, what, function_keys, FUNCTION_KEYS, values);
    if (entry->value->kind != YAML_MAP) /* one mistake is enough: no keys, no command */
        return;
    function->directory = code_read(loader, file, values[KEY_CODE]);
    protocol_read(entry, values, function);
    const struct config_lambda lambda = { .command = values[KEY_COMMAND], .runtime = values[KEY_RUNTIME], .handler = values[KEY_HANDLER],
                                          .environment = values[KEY_ENVIRONMENT] };
    if (function->protocol != PROTOCOL_LAMBDA || config_lambda_read(loader, entry, &lambda, function))
        command_read(loader, entry, values[KEY_COMMAND], function);
    environment_read(loader, file, values[KEY_ENVIRONMENT], function);
    if (function->protocol == PROTOCOL_LAMBDA)
        config_lambda_finish(loader, entry, &lambda, function);
    process_check(entry, function);
    (void)yaml_get_duration(file, values[KEY_TIMEOUT], "timeout", 1, CONFIG_TIMEOUT_MS_MAX, &function->timeout_ms);
    (void)yaml_get_size(file, values[KEY_MEMORY], "memory", CONFIG_MEMORY_BYTES_MIN, CONFIG_MEMORY_BYTES_MAX,
                        &function->memory_bytes);
    (void)yaml_get_unsigned(file, values[KEY_CONCURRENCY], "concurrency", 1, CONFIG_CONCURRENCY_MAX, &function->concurrency);
    batch_read(file, values[KEY_BATCH], function);
    scale_read(file, values[KEY_SCALE], function);
    if (function->command != NULL && function->command[0] == NULL && function->scale_min > 0)
        yaml_mistake(file, entry->key, "function '%s' has no 'command', so that 'scale.min' cannot be kept", entry->name);
    retry_read(file, values[KEY_RETRY], function);
    log_read(file, values[KEY_LOG], function);
    url_read(loader, file, values[KEY_URL], function);
    if (yaml_get_choice(file, values[KEY_INPUT], "input", shapes, 3, &shape))
        function->input = (enum event_shape)shape;
}

void config_functions_read(struct loader *loader, const struct config_entry *entries, unsigned count)
{
    struct config_function *functions = arena_zalloc(loader->arena, (count + 1) * sizeof *functions);

    for (unsigned i = 0; i < count; i++) {
        functions[i] = function_defaults;
        functions[i].name = entries[i].name;
        function_read(loader, &entries[i], &functions[i]);
    }
    loader->config->functions = functions;
    loader->config->functions_count = count;
}
