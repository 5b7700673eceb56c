/* rules: name -> which events of a bus go to which functions. */
#include "broker/edge/config_sections.h"

#include "broker/core/input.h"
#include "broker/core/match.h"
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

static void target_input_read(struct rules_reader *reader, const struct yaml_file *file, const struct yaml_node *const *values,
                              struct config_target *target)
{
    const struct yaml_node *path = values[KEY_INPUT_PATH], *input = values[KEY_INPUT];
    struct arena *arena = reader->loader->arena;
    struct sluice_error error;

    for (unsigned key = KEY_INPUT_TEMPLATE; key < TARGET_KEYS; key++) {
        if (values[key] != NULL)
            yaml_mistake(file, values[key], "'%s' is not supported in this version; supported are 'input-path' and 'input'",
                         target_keys[key]);
    }
    if (path != NULL && input != NULL) {
        yaml_mistake(file, input, "a target takes 'input-path' or 'input', not both");
    } else if (path != NULL) {
        if (!yaml_get_text(file, path, "input-path", INPUT_PATH_BYTES_MAX, arena, &target->text))
            return;
        target->input = TARGET_INPUT_PATH;
        if (input_path_check(view_of(target->text), &error) != SLUICE_OK)
            yaml_mistake(file, path, "'input-path': %s", error.text);
    } else if (input != NULL) {
        if (!json_text_make(file, input, &reader->json))
            return;
        if (reader->json.bytes.len > CONFIG_INPUT_BYTES_MAX)
            yaml_mistake(file, input, "'input' is %zu bytes of JSON; at most %d are taken", reader->json.bytes.len,
                         CONFIG_INPUT_BYTES_MAX);
        target->input = TARGET_INPUT_CONSTANT;
        target->text = arena_text(arena, bytes_view(&reader->json.bytes));
    }
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
        target_input_read(reader, file, values, &targets[i]);
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
    for (unsigned i = 0; i < count; i++) {
        rules[i] = (struct config_rule){ .name = entries[i].name, .bus = EVENT_BUS_DEFAULT, .enabled = true,
                                         .file = entries[i].file->source.path, .line = entries[i].key->line };
        rule_read(&reader, &entries[i], &rules[i]);
    }
    config->rules = rules;
    config->rules_count = count;
    json_text_done(&reader.json);
    VEC_DONE(&names);
}
