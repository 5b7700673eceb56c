/* rules: name -> which events of a bus go to which functions. */
#include "broker/edge/config_sections.h"

#include "broker/core/input.h"
#include "broker/core/match.h"
#include "broker/core/template.h"
#include "broker/edge/yaml_json.h"
#include "broker/edge/yaml_values.h"

struct rules_reader {
    struct loader *loader;
    const char **function_names;    /* for hints */
    struct json_text json;          /* reused from rule to rule */
};

/* ---- patterns ---- */

/* Where in the file the mistake at byte `offset` of the pattern's JSON text stands. */
static size_t pattern_place(const struct rules_reader *reader, const struct yaml_file *file, const struct yaml_node *node,
                            size_t offset)
{
    if (node->kind == YAML_SCALAR)
        return yaml_offset_of(file, node, offset);
    return json_text_place(&reader->json, offset)->offset;
}

/* Cuts " (1:17)" off the end: the line and column within the JSON text say nothing beside those of the file. */
static void text_place_cut(char *text)
{
    char *open = strrchr(text, '(');

    if (open != NULL && open > text && open[-1] == ' ' && open[1 + strspn(open + 1, "0123456789:")] == ')')
        open[-1] = '\0';
}

static const char *pattern_read(struct rules_reader *reader, const struct config_entry *entry, const struct yaml_node *node)
{
    const struct yaml_file *file = entry->file;
    struct sluice_error error;
    size_t offset = 0;

    if (node == NULL) {
        yaml_mistake(file, entry->key, "rule '%s' has no 'pattern'", entry->name);
        return NULL;
    }
    bool is_text = node->kind == YAML_SCALAR && !yaml_is_empty(node) && !yaml_is_json_literal(node);
    if (node->kind != YAML_MAP && !is_text) {
        yaml_mistake(file, node, "'pattern' must be a map, or text that holds JSON");
        return NULL;
    }
    if (node->kind == YAML_MAP && !json_text_make(file, node, &reader->json))
        return NULL;
    struct view text = is_text ? yaml_text(node) : bytes_view(&reader->json.bytes);
    enum sluice_err err = pattern_check(text, &offset, &error);
    if (err != SLUICE_OK) {
        text_place_cut(error.text);
        mistake_at(file->mistakes, &file->source, pattern_place(reader, file, node, offset), "rule '%s': %s", entry->name,
                   error.text);
        return NULL;
    }
    return arena_text(reader->loader->arena, text);
}

/* ---- targets ---- */

enum target_key { KEY_FUNCTION, KEY_INPUT_PATH, KEY_INPUT, KEY_INPUT_TEMPLATE, KEY_INPUT_PATHS_MAP, TARGET_KEYS };
static const char *const target_keys[TARGET_KEYS] = { "function", "input-path", "input", "input-template", "input-paths-map" };

static void target_function_read(struct rules_reader *reader, const struct config_entry *entry, const struct yaml_node *item,
                                 const struct yaml_node *node, struct config_target *target)
{
    const struct config *config = reader->loader->config;
    const char *name = NULL;
    char hint[HINT_BYTES_MAX];

    if (node == NULL) {
        yaml_mistake(entry->file, item, "a target of rule '%s' has no 'function'", entry->name);
        return;
    }
    if (!yaml_get_text(entry->file, node, "function", CONFIG_NAME_BYTES_MAX, reader->loader->arena, &name))
        return;
    const struct config_function *function = config_function_find(config, name);
    if (function == NULL) {
        yaml_mistake(entry->file, node, "rule '%s': there is no function '%s'%s", entry->name, name,
                     mistakes_full(reader->loader->mistakes)
                         ? "" : hint_nearest(view_of(name), reader->function_names, config->functions_count, hint));
        return;
    }
    target->function = function->name;
}

static void target_path_read(struct rules_reader *reader, const struct yaml_file *file, const struct yaml_node *path,
                             struct config_target *target)
{
    struct sluice_error error;

    if (!yaml_get_text(file, path, "input-path", INPUT_PATH_BYTES_MAX, reader->loader->arena, &target->text))
        return;
    target->input = TARGET_INPUT_PATH;
    if (input_path_check(view_of(target->text), &error) != SLUICE_OK)
        yaml_mistake(file, path, "'input-path': %s", error.text);
}

static void target_constant_read(struct rules_reader *reader, const struct yaml_file *file, const struct yaml_node *input,
                                 struct config_target *target)
{
    if (!json_text_make(file, input, &reader->json))
        return;
    if (reader->json.bytes.len > CONFIG_INPUT_BYTES_MAX)
        yaml_mistake(file, input, "'input' is %zu bytes of JSON; at most %d are taken", reader->json.bytes.len, CONFIG_INPUT_BYTES_MAX);
    target->input = TARGET_INPUT_CONSTANT;
    target->text = arena_text(reader->loader->arena, bytes_view(&reader->json.bytes));
}

/* False: a mistake was told. The views are into the file. */
static bool paths_map_read(struct rules_reader *reader, const struct yaml_file *file, const struct yaml_node *map,
                           struct template_path *ret_paths, unsigned *ret_count)
{
    struct sluice_error error;
    bool fine = true;

    *ret_count = 0;
    if (map == NULL)
        return true;
    if (!yaml_expect(file, map, "input-paths-map", YAML_MAP))
        return false;
    if (map->count > TEMPLATE_NAMES_MAX) {
        yaml_mistake(file, map, "'input-paths-map' has %u names; at most %d are taken", map->count, TEMPLATE_NAMES_MAX);
        return false;
    }
    const struct yaml_node *key = yaml_first(map);
    for (uint32_t i = 0; i < map->count; i++, key = yaml_next(yaml_next(key))) {
        const struct yaml_node *value = yaml_next(key);
        const char *path = NULL;
        if (template_name_check(yaml_text(key), &error) != SLUICE_OK) {
            yaml_mistake(file, key, "'input-paths-map': %s", error.text);
            fine = false;
        } else if (!yaml_get_text(file, value, "input-paths-map", INPUT_PATH_BYTES_MAX, reader->loader->arena, &path)) {
            fine = false;
        } else if (input_path_check(view_of(path), &error) != SLUICE_OK) {
            yaml_mistake(file, value, "'input-paths-map': %s", error.text);
            fine = false;
        }
        ret_paths[(*ret_count)++] = (struct template_path){ .name = yaml_text(key), .path = view_of(path) };
    }
    return fine;
}

static void target_template_read(struct rules_reader *reader, const struct config_entry *entry, const struct yaml_node *node,
                                 const struct yaml_node *map, struct config_target *target)
{
    enum { TEMPLATE_BYTES_MAX = TEMPLATE_CHARACTERS_MAX * 4 };
    const struct yaml_file *file = entry->file;
    struct template_path paths[TEMPLATE_NAMES_MAX];
    struct template *template = NULL;
    struct bytes encoded = { 0 };
    struct sluice_error error;
    const char *text = NULL;
    unsigned count = 0;
    size_t offset = 0;

    if (node->kind == YAML_MAP || node->kind == YAML_LIST) {
        yaml_mistake(file, node, "'input-template' must be text: put it in quotes, or after '|'");
        return;
    }
    bool fine = yaml_get_text(file, node, "input-template", TEMPLATE_BYTES_MAX, reader->loader->arena, &text);
    fine = paths_map_read(reader, file, map, paths, &count) && fine;
    if (!fine)
        return; /* what the placeholders mean cannot be judged */
    template_encode(&encoded, view_of(text), paths, count);
    if (template_new(bytes_view(&encoded), &template, &offset, &error) != SLUICE_OK)
        mistake_at(file->mistakes, &file->source, yaml_offset_of(file, node, offset), "rule '%s': 'input-template': %s", entry->name,
                   error.text);
    template_free(template);
    target->input = TARGET_INPUT_TEMPLATE;
    target->text = arena_text(reader->loader->arena, bytes_view(&encoded));
    bytes_done(&encoded);
}

/* At most one of the three is there; the map belongs to the template. */
static void target_input_read(struct rules_reader *reader, const struct config_entry *entry, const struct yaml_node *const *values,
                              struct config_target *target)
{
    const struct yaml_node *path = values[KEY_INPUT_PATH], *input = values[KEY_INPUT], *template = values[KEY_INPUT_TEMPLATE];
    const struct yaml_node *map = values[KEY_INPUT_PATHS_MAP];
    const struct yaml_file *file = entry->file;

    if (map != NULL && template == NULL)
        yaml_mistake(file, map, "'input-paths-map' has no 'input-template' beside it");
    if (path != NULL && input != NULL)
        yaml_mistake(file, input, "a target takes 'input-path' or 'input', not both");
    else if (template != NULL && (path != NULL || input != NULL))
        yaml_mistake(file, template, "a target takes '%s' or 'input-template', not both", path != NULL ? "input-path" : "input");
    else if (path != NULL)
        target_path_read(reader, file, path, target);
    else if (input != NULL)
        target_constant_read(reader, file, input, target);
    else if (template != NULL)
        target_template_read(reader, entry, template, map, target);
}

static void targets_read(struct rules_reader *reader, const struct config_entry *entry, const struct yaml_node *node,
                         struct config_rule *rule)
{
    const struct yaml_file *file = entry->file;
    const struct yaml_node *values[TARGET_KEYS];

    if (node == NULL) {
        yaml_mistake(file, entry->key, "rule '%s' has no 'targets'", entry->name);
        return;
    }
    if (!yaml_expect(file, node, "targets", YAML_LIST))
        return;
    if (node->count == 0 || node->count > CONFIG_TARGETS_PER_RULE_MAX) {
        yaml_mistake(file, node, "'targets' must have from 1 to %d items, not %u%s", CONFIG_TARGETS_PER_RULE_MAX, node->count,
                     node->count == 0 ? "; a rule is switched off by enabled: false" : "");
        return;
    }
    struct config_target *targets = arena_zalloc(reader->loader->arena, node->count * sizeof *targets);
    const struct yaml_node *item = yaml_first(node);
    for (uint32_t i = 0; i < node->count; i++, item = yaml_next(item)) {
        (void)yaml_map_spread(file, item, "a target", target_keys, TARGET_KEYS, values);
        if (item->kind != YAML_MAP)
            continue;
        target_function_read(reader, entry, item, values[KEY_FUNCTION], &targets[i]);
        target_input_read(reader, entry, values, &targets[i]);
    }
    rule->targets = targets;
    rule->targets_count = node->count;
}

/* ---- rules ---- */

static void rule_read(struct rules_reader *reader, const struct config_entry *entry, struct config_rule *rule)
{
    enum { KEY_BUS, KEY_PATTERN, KEY_ENABLED, KEY_TARGETS, KEY_DESCRIPTION, RULE_KEYS };
    static const char *const keys[RULE_KEYS] = { "bus", "pattern", "enabled", "targets", "description" };
    const struct yaml_node *values[RULE_KEYS];
    const struct yaml_file *file = entry->file;
    struct arena *arena = reader->loader->arena;
    const char *description = NULL;
    char what[CONFIG_NAME_BYTES_MAX * 2];

    (void)snprintf(what, sizeof what, "rule '%s'", entry->name);
    (void)yaml_map_spread(file, entry->value, what, keys, RULE_KEYS, values);
    if (entry->value->kind != YAML_MAP)
        return;
    if (values[KEY_BUS] != NULL && config_name_check(file, values[KEY_BUS], "bus", CONFIG_BUS_NAME_BYTES_MAX, "/"))
        rule->bus = arena_text(arena, yaml_text(values[KEY_BUS]));
    rule->pattern = pattern_read(reader, entry, values[KEY_PATTERN]);
    (void)yaml_get_bool(file, values[KEY_ENABLED], "enabled", &rule->enabled);
    targets_read(reader, entry, values[KEY_TARGETS], rule);
    (void)yaml_get_text(file, values[KEY_DESCRIPTION], "description", CONFIG_DESCRIPTION_BYTES_MAX, arena, &description);
}

void config_rules_read(struct loader *loader, const struct config_entry *entries, unsigned count)
{
    struct config *config = loader->config;
    struct rules_reader reader = { .loader = loader };
    struct config_rule *rules = arena_zalloc(loader->arena, (count + 1) * sizeof *rules);
    VEC(const char *) names = { 0 };

    for (unsigned i = 0; i < config->functions_count; i++)
        VEC_PUSH(&names, config->functions[i].name);
    reader.function_names = names.items;
    for (unsigned i = 0; i < count && !mistakes_given_up(loader->mistakes); i++, config->rules_count++) {
        rules[i] = (struct config_rule){ .name = entries[i].name, .bus = EVENT_BUS_DEFAULT, .enabled = true,
                                         .file = entries[i].file->source.path, .line = entries[i].key->line };
        rule_read(&reader, &entries[i], &rules[i]);
    }
    config->rules = rules;
    json_text_done(&reader.json);
    VEC_DONE(&names);
}
