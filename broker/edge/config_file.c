/* Read all files, spread their top level, sort functions, rules and routes by name over all of them, read each section, and hand out the
 * config only if no mistake was told. */
#include "broker/edge/config_file.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "broker/base/assert.h"
#include "broker/base/vec.h"
#include "broker/edge/config_sections.h"
#include "broker/edge/yaml_values.h"

enum { CONFIG_FILES_MAX = 1000 };

enum slot { SLOT_BUS, SLOT_HTTP, SLOT_HTTP_HOSTS, SLOT_TOKEN_FILE, SLOT_DATA, SLOTS };
static const char *const slot_names[SLOTS] = { "listen.bus", "listen.http", "listen.http-hosts", "listen.token-file", "data" };

enum section { SECTION_FUNCTIONS, SECTION_RULES, SECTION_ROUTES, SECTIONS };
static const struct {
    const char *key, *what;
    size_t entries_max;
} sections[SECTIONS] = {
    [SECTION_FUNCTIONS] = { "functions", "function", CONFIG_FUNCTIONS_MAX },
    [SECTION_RULES] = { "rules", "rule", CONFIG_RULES_MAX },
    [SECTION_ROUTES] = { "routes", "route", CONFIG_ROUTES_MAX },
};

struct reading {
    struct loader loader;
    VEC(const char *) paths;
    VEC(struct yaml_file *) files;
    VEC(struct config_entry) entries[SECTIONS];
    VEC(const char *) buses;
    struct config_slot slots[SLOTS];
};

/* ---- shared with the sections ---- */

const char *config_path(struct arena *arena, const char *folder, const char *path)
{
    if (path[0] == '/')
        return path;
    while (path[0] == '.' && path[1] == '/') {
        path += 2;
        path += strspn(path, "/");
    }
    return arena_format(arena, "%s/%s", strcmp(folder, "/") == 0 ? "" : folder, path);
}

bool config_name_check(const struct yaml_file *file, const struct yaml_node *node, const char *what, size_t bytes_max,
                       const char *also)
{
    const char *extra = also[0] != '\0' ? ", slashes" : "";

    if (node->kind != YAML_SCALAR) {
        yaml_mistake(file, node, "'%s' must be a name", what);
        return false;
    }
    bool good = node->len >= 1 && node->len <= bytes_max;
    for (uint32_t i = 0; good && i < node->len; i++) {
        char c = node->text[i];
        good = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-'
               || (c != '\0' && strchr(also, c) != NULL);
    }
    if (!good)
        yaml_mistake(file, node, "%s '" YAML_SHOWN "': a name is 1 to %zu letters, digits, dots, underscores, dashes%s", what,
                     YAML_SHOW(node), bytes_max, extra);
    return good;
}

/* ---- which files ---- */

static int texts_compare(const void *left, const void *right)
{
    return strcmp(*(const char *const *)left, *(const char *const *)right);
}

static void folder_list(struct reading *reading, const char *path)
{
    DIR *folder = opendir(path);
    struct dirent *entry;

    if (folder == NULL) {
        mistake_of_file(reading->loader.mistakes, path, "cannot be read: %s", strerror(errno));
        return;
    }
    while ((errno = 0, entry = readdir(folder)) != NULL) {
        size_t len = strlen(entry->d_name);
        if (entry->d_name[0] != '.' && len > 5 && strcmp(entry->d_name + len - 5, ".yaml") == 0)
            VEC_PUSH(&reading->paths, arena_format(reading->loader.arena, "%s%s%s", path,
                                                   path[strlen(path) - 1] == '/' ? "" : "/",
                                                   entry->d_name));
    }
    if (errno != 0)
        mistake_of_file(reading->loader.mistakes, path, "cannot be read: %s", strerror(errno));
    else if (reading->paths.count == 0)
        mistake_of_file(reading->loader.mistakes, path, "there is no *.yaml in this folder");
    else if (reading->paths.count > CONFIG_FILES_MAX)
        mistake_of_file(reading->loader.mistakes, path, "%zu files; at most %d are taken", reading->paths.count,
                        CONFIG_FILES_MAX);
    if (reading->paths.count > 0)
        qsort(reading->paths.items, reading->paths.count, sizeof *reading->paths.items, texts_compare);
    (void)closedir(folder); /* only read */
}

/* The absolute folder that relative paths start from. */
static void folder_find(struct reading *reading, const char *path, bool is_folder)
{
    const char *slash = strrchr(path, '/');
    const char *folder = is_folder     ? path
                         : slash == NULL ? "."
                         : slash == path ? "/"
                                         : arena_text(reading->loader.arena, (struct view){ path, (size_t)(slash - path) });
    char *real = realpath(folder, NULL);

    if (real == NULL) {
        mistake_of_file(reading->loader.mistakes, path, "cannot be read: %s", strerror(errno));
        return;
    }
    reading->loader.folder = arena_text(reading->loader.arena, view_of(real));
    free(real);
}

static void files_find(struct reading *reading, const char *path)
{
    struct stat info;

    if (path[0] == '\0' || stat(path, &info) != 0) {
        mistake_of_file(reading->loader.mistakes, path, "cannot be read: %s", strerror(path[0] == '\0' ? ENOENT : errno));
        return;
    }
    folder_find(reading, path, S_ISDIR(info.st_mode));
    if (S_ISDIR(info.st_mode))
        folder_list(reading, path);
    else
        VEC_PUSH(&reading->paths, arena_text(reading->loader.arena, view_of(path)));
}

/* ---- the top level ---- */

static void slot_put(struct reading *reading, enum slot which, const struct yaml_file *file, const struct yaml_node *node)
{
    struct config_slot *slot = &reading->slots[which];

    if (node == NULL)
        return;
    if (slot->node != NULL) {
        yaml_mistake(file, node, "'%s' is already set at %s:%u", slot_names[which], slot->file->source.path, slot->node->line);
        return;
    }
    *slot = (struct config_slot){ .file = file, .node = node };
}

/* A section that was left empty, its entries commented out perhaps, is no mistake. */
static bool section_is_there(const struct yaml_node *node)
{
    return node != NULL && !yaml_is_empty(node);
}

static void buses_read(struct reading *reading, const struct yaml_file *file, const struct yaml_node *node)
{
    if (!section_is_there(node) || !yaml_expect(file, node, "buses", YAML_LIST))
        return;
    const struct yaml_node *item = yaml_first(node);
    for (uint32_t i = 0; i < node->count; i++, item = yaml_next(item)) {
        if (config_name_check(file, item, "bus", CONFIG_BUS_NAME_BYTES_MAX, "/"))
            VEC_PUSH(&reading->buses, arena_text(reading->loader.arena, yaml_text(item)));
    }
}

/* An entry with a bad name is read all the same, for its other mistakes. */
static void entries_gather(struct reading *reading, enum section section, const struct yaml_file *file,
                           const struct yaml_node *node)
{
    if (!section_is_there(node) || !yaml_expect(file, node, sections[section].key, YAML_MAP))
        return;
    const struct yaml_node *key = yaml_first(node);
    for (uint32_t i = 0; i < node->count; i++, key = yaml_next(yaml_next(key))) {
        (void)config_name_check(file, key, sections[section].what, CONFIG_NAME_BYTES_MAX, "");
        VEC_PUSH(&reading->entries[section], (struct config_entry){ .name = arena_text(reading->loader.arena, yaml_text(key)),
                                                                    .file = file, .key = key, .value = yaml_next(key) });
    }
}

static void file_spread(struct reading *reading, const struct yaml_file *file)
{
    enum { TOP_LISTEN, TOP_DATA, TOP_BUSES, TOP_FUNCTIONS, TOP_RULES, TOP_ROUTES, TOP_KEYS };
    static const char *const top_keys[TOP_KEYS] = { "listen", "data", "buses", "functions", "rules", "routes" };
    static const char *const listen_keys[] = { "bus", "http", "http-hosts", "token-file" };
    const struct yaml_node *top[TOP_KEYS], *listen[4];

    if (file->nodes_count == 0 || yaml_is_empty(&file->nodes[0])) /* nothing but comments: all defaults */
        return;
    (void)yaml_map_spread(file, &file->nodes[0], "the configuration", top_keys, TOP_KEYS, top);
    if (top[TOP_LISTEN] != NULL) {
        (void)yaml_map_spread(file, top[TOP_LISTEN], "'listen'", listen_keys, 4, listen);
        for (unsigned i = 0; i < 4; i++)
            slot_put(reading, (enum slot)(SLOT_BUS + i), file, listen[i]);
    }
    slot_put(reading, SLOT_DATA, file, top[TOP_DATA]);
    buses_read(reading, file, top[TOP_BUSES]);
    entries_gather(reading, SECTION_FUNCTIONS, file, top[TOP_FUNCTIONS]);
    entries_gather(reading, SECTION_RULES, file, top[TOP_RULES]);
    entries_gather(reading, SECTION_ROUTES, file, top[TOP_ROUTES]);
}

/* ---- functions and rules over all files ---- */

static int entries_compare(const void *left, const void *right)
{
    const struct config_entry *a = left, *b = right;
    int order = strcmp(a->name, b->name);

    if (order != 0)
        return order;
    if (a->file != b->file)
        return a->file->source.order < b->file->source.order ? -1 : 1;
    return a->key < b->key ? -1 : a->key > b->key;
}

static void entries_sort(struct reading *reading, enum section section)
{
    struct config_entry *entries = reading->entries[section].items;
    size_t count = reading->entries[section].count, count_max = sections[section].entries_max;
    const char *what = sections[section].what;

    if (count == 0)
        return;
    if (count > count_max)
        yaml_mistake(entries[count_max].file, entries[count_max].key, "%zu %ss; at most %zu are taken", count, what, count_max);
    qsort(entries, count, sizeof *entries, entries_compare);
    for (size_t i = 1; i < count; i++) {
        const struct config_entry *first = &entries[i - 1], *again = &entries[i];
        if (first->file != again->file && strcmp(first->name, again->name) == 0) /* within one file: a duplicate key, told already */
            yaml_mistake(again->file, again->key, "%s '%s' is already defined at %s:%u", what, again->name,
                         first->file->source.path,
                         first->key->line);
    }
}

static void buses_finish(struct reading *reading)
{
    struct config *config = reading->loader.config;

    VEC_PUSH(&reading->buses, EVENT_BUS_DEFAULT);
    for (unsigned i = 0; i < config->rules_count; i++) {
        if (strcmp(config->rules[i].bus, EVENT_BUS_DEFAULT) != 0)
            VEC_PUSH(&reading->buses, config->rules[i].bus);
    }
    qsort(reading->buses.items, reading->buses.count, sizeof *reading->buses.items, texts_compare);
    unsigned kept = 0;
    for (size_t i = 0; i < reading->buses.count; i++) {
        if (kept == 0 || strcmp(reading->buses.items[i], reading->buses.items[kept - 1]) != 0)
            reading->buses.items[kept++] = reading->buses.items[i];
    }
    if (kept > CONFIG_BUSES_MAX)
        mistake_of_file(reading->loader.mistakes, reading->paths.items[0], "%u buses; at most %d are taken", kept,
                        CONFIG_BUSES_MAX);
    const char **buses = arena_zalloc(reading->loader.arena, (kept + 1) * sizeof *buses);
    memcpy(buses, reading->buses.items, kept * sizeof *buses);
    config->buses = buses;
    config->buses_count = kept;
}

static void data_read(struct reading *reading)
{
    const struct config_slot *slot = &reading->slots[SLOT_DATA];
    const char *data = NULL;

    if (slot->node != NULL && yaml_get_text(slot->file, slot->node, "data", PATH_MAX - 1, reading->loader.arena, &data))
        reading->loader.config->data = config_path(reading->loader.arena, reading->loader.folder, data);
}

static void read_all(struct reading *reading, const char *path)
{
    struct loader *loader = &reading->loader;

    files_find(reading, path);
    if (mistakes_count(loader->mistakes) > 0)
        return;
    for (size_t i = 0; i < reading->paths.count; i++) {
        struct yaml_file *file = yaml_file_read(reading->paths.items[i], (unsigned)i, loader->mistakes);
        if (file != NULL)
            VEC_PUSH(&reading->files, file);
    }
    /* A file that could not be read takes its functions with it: rules of the others that name them are not to blame. */
    if (reading->files.count < reading->paths.count)
        return;
    for (size_t i = 0; i < reading->files.count; i++)
        file_spread(reading, reading->files.items[i]);
    for (unsigned section = 0; section < SECTIONS; section++)
        entries_sort(reading, (enum section)section);
    config_listen_read(loader, &reading->slots[SLOT_BUS], &reading->slots[SLOT_HTTP], &reading->slots[SLOT_HTTP_HOSTS],
                       &reading->slots[SLOT_TOKEN_FILE]);
    data_read(reading);
    config_functions_read(loader, reading->entries[SECTION_FUNCTIONS].items, (unsigned)reading->entries[SECTION_FUNCTIONS].count);
    config_rules_read(loader, reading->entries[SECTION_RULES].items, (unsigned)reading->entries[SECTION_RULES].count);
    config_routes_read(loader, reading->entries[SECTION_ROUTES].items, (unsigned)reading->entries[SECTION_ROUTES].count);
    buses_finish(reading);
}

struct config_file *config_file_load(const char *path, const char *runtimes, FILE *errors, unsigned *ret_errors_count)
{
    return config_file_load_until(NULL, path, runtimes, errors, ret_errors_count);
}

struct config_file *config_file_load_until(const atomic_bool *given_up, const char *path, const char *runtimes, FILE *errors,
                                           unsigned *ret_errors_count)
{
    struct arena *arena = arena_new(1 << 16);
    struct config_file *file = arena_zalloc(arena, sizeof *file);
    struct reading reading = { .loader = { .arena = arena, .mistakes = mistakes_new(), .config = &file->config, .runtimes = runtimes } };

    file->arena = arena;
    mistakes_until(reading.loader.mistakes, given_up);
    read_all(&reading, path);
    bool whole = !mistakes_given_up(reading.loader.mistakes);
    unsigned count = mistakes_count(reading.loader.mistakes);
    mistakes_print(reading.loader.mistakes, errors);
    const char **paths = arena_zalloc(arena, (reading.paths.count + 1) * sizeof *paths);
    if (reading.paths.count > 0)
        memcpy(paths, reading.paths.items, reading.paths.count * sizeof *paths);
    file->paths = paths;

    for (size_t i = 0; i < reading.files.count; i++)
        (void)yaml_file_free(reading.files.items[i]);
    (void)mistakes_free(reading.loader.mistakes);
    VEC_DONE(&reading.paths);
    VEC_DONE(&reading.files);
    for (unsigned section = 0; section < SECTIONS; section++)
        VEC_DONE(&reading.entries[section]);
    VEC_DONE(&reading.buses);
    if (ret_errors_count != NULL)
        *ret_errors_count = count;
    return count == 0 && whole ? file : config_file_free(file);
}

struct config_file *config_file_free(struct config_file *file)
{
    if (file != NULL)
        (void)arena_free(file->arena);
    return NULL;
}
