/* config_sections.h - the parts of a configuration file, for config_file.c alone: each section reads its nodes into the config
 * and tells every mistake it finds. All results live in loader->arena. */
#ifndef SLUICE_EDGE_CONFIG_SECTIONS_H
#define SLUICE_EDGE_CONFIG_SECTIONS_H

#include "broker/core/config.h"
#include "broker/edge/yaml.h"

struct loader {
    struct arena *arena;            /* of the result */
    struct mistakes *mistakes;
    struct config *config;
    const char *folder;             /* absolute: where the configuration stands; relative paths start here */
};

/* A function or a rule of any of the files, before it is read. */
struct config_entry {
    const char *name;
    const struct yaml_file *file;
    const struct yaml_node *key, *value;
};

/* A value set at most once among all files; node NULL: nowhere. */
struct config_slot {
    const struct yaml_file *file;
    const struct yaml_node *node;
};

/* `entries` are sorted by name. What is wrong with one does not keep the others from being read. */
void config_functions_read(struct loader *loader, const struct config_entry *entries, unsigned count);
/* After the functions: targets name them. Buses named by rules are not added to config->buses here. */
void config_rules_read(struct loader *loader, const struct config_entry *entries, unsigned count);
void config_listen_read(struct loader *loader, const struct config_slot *bus, const struct config_slot *http,
                        const struct config_slot *token_file);

/* [A-Za-z0-9._-]{1,64} of functions and rules; buses may also have slashes and 256 bytes. Tells the mistake. */
bool config_name_check(const struct yaml_file *file, const struct yaml_node *node, const char *what, size_t bytes_max,
                       const char *also);
/* `path` as it is when absolute, else below `folder`. */
const char *config_path(struct arena *arena, const char *folder, const char *path);

#endif
