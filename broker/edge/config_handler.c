/* Where a handler's module is, as the bootstraps (consumers/runtimes) will look for it, so that a slip of the pen is told by `config check` and not
 * by each start.
 *
 *   nodejs   a/b.fn      CODE/a/b, b.js, b.mjs, b.cjs; else the package b: node_modules of CODE/a and of each folder above it, and AWS's layers
 *   python   a/b.c.fn    CODE/a/b/c: each a folder, or the last a module: c.py, c.pyc, c.*.so
 *
 * Only what cannot be there is refused. Where modules are found elsewhere nothing is said: a function with NODE_PATH, NODE_OPTIONS or PYTHONPATH of
 * its own, or with AWS_LAMBDA_EXEC_WRAPPER, which may set them; and a python module in a package (pkg.mod.fn) of which CODE has nothing: it may be installed. */
#include <dirent.h>
#include <sys/stat.h>

#include "broker/edge/config_sections.h"
#include "broker/edge/yaml_values.h"

static bool exists(struct arena *arena, const char *folder, const char *name, size_t name_len, const char *ending)
{
    struct stat info;

    return stat(arena_format(arena, "%s/%.*s%s", folder, (int)name_len, name, ending), &info) == 0;
}

static bool exists_with_any(struct arena *arena, const char *folder, const char *name, size_t name_len, const char *const *endings)
{
    for (; *endings != NULL; endings++) {
        if (exists(arena, folder, name, name_len, *endings))
            return true;
    }
    return false;
}

/* ---- nodejs ---- */

static bool node_package_is_there(struct loader *loader, const char *folder, const char *name, size_t name_len)
{
    static const char *const endings[] = { "", ".js", ".json", ".node", NULL };
    static const char *const layers[] = { "/opt/nodejs/node_modules" };
    char *above = arena_format(loader->arena, "%s", folder);

    for (size_t i = 0; i < sizeof layers / sizeof *layers; i++) {
        if (exists_with_any(loader->arena, layers[i], name, name_len, endings))
            return true;
    }
    for (;;) {
        if (exists_with_any(loader->arena, arena_format(loader->arena, "%s/node_modules", above), name, name_len, endings))
            return true;
        char *slash = strrchr(above, '/');
        if (slash == NULL)
            return false;
        *slash = '\0';
    }
}

static bool node_module_is_there(struct loader *loader, const char *code, const char *handler)
{
    static const char *const endings[] = { "", ".js", ".mjs", ".cjs", NULL };
    const char *slash = strrchr(handler, '/'), *name = slash != NULL ? slash + 1 : handler;
    size_t name_len = strcspn(name, ".");
    const char *folder = slash == NULL ? code : config_path(loader->arena, code, arena_format(loader->arena, "%.*s", (int)(slash - handler), handler));

    return exists_with_any(loader->arena, folder, name, name_len, endings) || node_package_is_there(loader, folder, name, name_len);
}

/* ---- python ---- */

/* An extension: NAME.so, NAME.abi3.so, NAME.cpython-311-x86_64-linux-gnu.so. */
static bool python_extension_is_there(const char *folder, const char *name, size_t name_len)
{
    DIR *entries = opendir(folder);
    bool found = false;

    if (entries == NULL)
        return false;
    for (struct dirent *entry = readdir(entries); entry != NULL && !found; entry = readdir(entries)) {
        size_t len = strlen(entry->d_name);
        found = len > name_len + 3 && memcmp(entry->d_name, name, name_len) == 0 && entry->d_name[name_len] == '.' &&
                strcmp(entry->d_name + len - 3, ".so") == 0;
    }
    (void)closedir(entries); /* only read from */
    return found;
}

static bool python_module_is_there(struct loader *loader, const char *code, const char *handler)
{
    static const char *const endings[] = { ".py", ".pyc", NULL };
    const char *folder = code, *at = handler, *end = strrchr(handler, '.');

    for (bool first = true;; first = false) {
        size_t len = strcspn(at, "./");
        bool last = at + len >= end;
        struct stat info;
        const char *below = arena_format(loader->arena, "%s/%.*s", folder, (int)len, at);
        bool is_folder = stat(below, &info) == 0 && S_ISDIR(info.st_mode);
        if (last)
            return is_folder || exists_with_any(loader->arena, folder, at, len, endings) || python_extension_is_there(folder, at, len);
        if (!is_folder)
            return first && memchr(handler, '/', (size_t)(end - handler)) == NULL; /* a package from elsewhere, perhaps */
        folder = below;
        at += len + 1;
    }
}

/* ---- the interface ---- */

static bool has_one_of(const struct config_function *function, const char *const *names)
{
    for (; *names != NULL; names++) {
        if (config_variable(function, *names) != NULL)
            return true;
    }
    return false;
}

void config_handler_check(struct loader *loader, const struct yaml_file *file, const struct yaml_node *node, const struct config_function *function)
{
    static const char *const looks_elsewhere[] = { "AWS_LAMBDA_EXEC_WRAPPER", "NODE_PATH", "NODE_OPTIONS", "PYTHONPATH", NULL };
    const char *code = function->directory, *handler = function->handler;

    if (loader->runtimes == NULL || code == NULL || node == NULL || handler == NULL || has_one_of(function, looks_elsewhere))
        return; /* nothing is to be run; or a mistake was told; or nobody knows */
    switch (function->runtime) {
    case RUNTIME_NONE: case RUNTIME_PROVIDED: return;
    case RUNTIME_NODEJS:
        if (strstr(handler, "..") != NULL)
            yaml_mistake(file, node, "'handler' must not have '..' in it: set 'code' to the folder that holds the file");
        else if (!node_module_is_there(loader, code, handler))
            yaml_mistake(file, node, "handler '" YAML_SHOWN "': there is no such file (.js, .mjs or .cjs) in %s, and no such package", YAML_SHOW(node), code);
        return;
    case RUNTIME_PYTHON:
        if (!python_module_is_there(loader, code, handler))
            yaml_mistake(file, node, "handler '" YAML_SHOWN "': there is no such module (.py) in %s; if it is elsewhere, say where by PYTHONPATH in 'environment'",
                         YAML_SHOW(node), code);
        return;
    }
}
