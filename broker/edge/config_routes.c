/* routes: name -> which HTTP requests go to which function. */
#include <stdlib.h>

#include "broker/core/route_path.h"
#include "broker/edge/config_sections.h"
#include "broker/edge/yaml_values.h"

/* Paths that other doors of the port answer before any route is looked at. */
static bool path_is_taken(const char *path)
{
    static const char *const taken[] = { "/events", "/metrics", "/healthz", "/readyz" };

    for (size_t i = 0; i < sizeof taken / sizeof *taken; i++) {
        if (strcmp(path, taken[i]) == 0)
            return true;
    }
    static const char date[] = "/dddd-dd-dd/";
    size_t same = 0;
    while (same < sizeof date - 1 && (date[same] == 'd' ? path[same] >= '0' && path[same] <= '9' : path[same] == date[same]))
        same++;
    return same == sizeof date - 1 || strncmp(path, "/url/", 5) == 0;
}

static void path_read(struct loader *loader, const struct config_entry *entry, const struct yaml_node *node, struct config_route *route)
{
    struct sluice_error error;

    route->path = "/";
    if (node == NULL) {
        yaml_mistake(entry->file, entry->key, "route '%s' has no 'path'", entry->name);
        return;
    }
    if (!yaml_get_text(entry->file, node, "path", ROUTE_PATH_BYTES_MAX, loader->arena, &route->path))
        return;
    if (route_path_check(route->path, &error) != SLUICE_OK) {
        yaml_mistake(entry->file, node, "'path': %s", error.text);
        route->path = "/"; /* so that it can be compared */
    } else if (path_is_taken(route->path)) {
        yaml_mistake(entry->file, node, "'path': " YAML_SHOWN " is answered by the daemon itself", YAML_SHOW(node));
    }
}

static void function_find(struct loader *loader, const struct config_entry *entry, const struct yaml_node *node, const char **names,
                          struct config_route *route)
{
    const char *name = NULL;
    char hint[HINT_BYTES_MAX];

    if (node == NULL) {
        yaml_mistake(entry->file, entry->key, "route '%s' has no 'function'", entry->name);
        return;
    }
    if (!yaml_get_text(entry->file, node, "function", CONFIG_NAME_BYTES_MAX, loader->arena, &name))
        return;
    const struct config_function *function = config_function_find(loader->config, name);
    if (function == NULL)
        yaml_mistake(entry->file, node, "route '%s': there is no function '%s'%s", entry->name, name,
                     hint_nearest(view_of(name), names, loader->config->functions_count, hint));
    else if (function->protocol == PROTOCOL_NATIVE)
        yaml_mistake(entry->file, node, "route '%s': function '%s' has protocol native, which returns nothing to a caller", entry->name, name);
    else
        route->function = function->name;
}

static void route_read(struct loader *loader, const struct config_entry *entry, const char **names, struct config_route *route)
{
    enum { KEY_PATH, KEY_METHODS, KEY_FUNCTION, KEY_CORS, KEY_STREAM, ROUTE_KEYS };
    static const char *const keys[ROUTE_KEYS] = { "path", "methods", "function", "cors", "stream" };
    const struct yaml_node *values[ROUTE_KEYS];
    char what[CONFIG_NAME_BYTES_MAX * 2];

    *route = (struct config_route){ .name = entry->name, .path = "/", .methods = config_no_texts, .file = entry->file->source.path, .line = entry->key->line };
    (void)snprintf(what, sizeof what, "route '%s'", entry->name);
    (void)yaml_map_spread(entry->file, entry->value, what, keys, ROUTE_KEYS, values);
    if (entry->value->kind != YAML_MAP)
        return;
    path_read(loader, entry, values[KEY_PATH], route);
    route->methods = config_texts_read(loader, entry->file, values[KEY_METHODS], "methods", config_is_method, "a method like GET");
    function_find(loader, entry, values[KEY_FUNCTION], names, route);
    config_web_read(loader, entry->file, values[KEY_CORS], values[KEY_STREAM], "stream", &route->web);
}

static bool methods_meet(const struct config_route *a, const struct config_route *b)
{
    if (a->methods[0] == NULL || b->methods[0] == NULL)
        return a->methods[0] == b->methods[0]; /* one that takes all stands behind those that name theirs */
    for (const char *const *method = a->methods; *method != NULL; method++) {
        for (const char *const *other = b->methods; *other != NULL; other++) {
            if (strcmp(*method, *other) == 0)
                return true;
        }
    }
    return false;
}

static int routes_compare(const void *left, const void *right)
{
    const struct config_route *a = left, *b = right;
    int order = route_path_compare(a->path, b->path);

    if (order != 0)
        return order;
    if ((a->methods[0] == NULL) != (b->methods[0] == NULL))
        return a->methods[0] == NULL ? 1 : -1;
    return strcmp(a->name, b->name);
}

/* Those of one path stand side by side. */
static void routes_check(const struct config_entry *entries, unsigned count, const struct config_route *routes)
{
    for (unsigned i = 1; i < count; i++) {
        for (unsigned j = i; j-- > 0 && route_path_compare(routes[j].path, routes[i].path) == 0;) {
            if (!methods_meet(&routes[i], &routes[j]))
                continue;
            for (unsigned e = 0; e < count; e++) {
                if (strcmp(entries[e].name, routes[i].name) == 0)
                    yaml_mistake(entries[e].file, entries[e].key, "route '%s' takes the same requests as route '%s' at %s:%u", routes[i].name,
                                 routes[j].name, routes[j].file, routes[j].line);
            }
            break;
        }
    }
}

void config_routes_read(struct loader *loader, const struct config_entry *entries, unsigned count)
{
    struct config_route *routes = arena_zalloc(loader->arena, (count + 1) * sizeof *routes);
    const char **names = arena_zalloc(loader->arena, (loader->config->functions_count + 1) * sizeof *names);

    for (unsigned i = 0; i < loader->config->functions_count; i++)
        names[i] = loader->config->functions[i].name;
    for (unsigned i = 0; i < count; i++)
        route_read(loader, &entries[i], names, &routes[i]);
    if (count > 0)
        qsort(routes, count, sizeof *routes, routes_compare);
    if (count <= CONFIG_ROUTES_MAX)
        routes_check(entries, count, routes);
    loader->config->routes = routes;
    loader->config->routes_count = count;
}
