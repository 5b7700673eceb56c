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
    const char *runtimes;           /* absolute: where our bootstraps lie; NULL: nothing will be run, they are not looked for */
    const char *lambda_path;        /* PATH of Lambda functions; NULL: not made yet */
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
/* After the functions. */
void config_routes_read(struct loader *loader, const struct config_entry *entries, unsigned count);
void config_listen_read(struct loader *loader, const struct config_slot *bus, const struct config_slot *http,
                        const struct config_slot *http_hosts, const struct config_slot *token_file);

/* ---- config_lambda.c ---- */
struct config_lambda {              /* what a function of protocol lambda says of itself; NULL: nothing */
    const struct yaml_node *command, *runtime, *handler, *environment;
};
/* Runtime, handler, and the command of a runtime. True: it has a command of its own, which is still to be read. */
bool config_lambda_read(struct loader *loader, const struct config_entry *entry, const struct config_lambda *lambda,
                        struct config_function *function);
/* PATH, as Lambda has it, behind the folders in which this process finds node and python3, where that would find others, or none. */
const char *config_lambda_path(struct loader *loader);
/* Once its environment is read: what AWS_LAMBDA_EXEC_WRAPPER does to the command, and whether it and the handler's file are there. */
void config_lambda_finish(struct loader *loader, const struct config_entry *entry, const struct config_lambda *lambda, struct config_function *function);
/* The value of a variable of its own; NULL: it has none of that name. */
const char *config_variable(const struct config_function *function, const char *name);
bool config_variable_is_reserved(struct view name);

/* ---- config_handler.c ---- */
/* Tells when the handler's module cannot be where the bootstrap looks for it. */
void config_handler_check(struct loader *loader, const struct yaml_file *file, const struct yaml_node *node, const struct config_function *function);

/* ---- config_web.c ---- */
extern const char *const config_no_texts[];       /* the list that is empty */
/* A list of texts, or one text, each of them good(); `kind` is what else it should have been. */
const char *const *config_texts_read(struct loader *loader, const struct yaml_file *file, const struct yaml_node *node, const char *what,
                                     bool (*good)(const char *text), const char *kind);
bool config_is_method(const char *text);
void config_web_read(struct loader *loader, const struct yaml_file *file, const struct yaml_node *cors, const struct yaml_node *stream,
                     const char *stream_key, struct config_web *web);

/* A bare name, by the PATH of this process; NULL: in none of its folders. */
const char *config_program_in_path(struct arena *arena, const char *name);
/* The same, by another PATH. */
const char *config_program_in(struct arena *arena, const char *path, const char *name);
/* Why it cannot be executed: "does not exist"; NULL: it can. */
const char *config_program_mistake(const char *path);
/* [A-Za-z0-9._-]{1,64} of functions and rules; buses may also have slashes and 256 bytes. Tells the mistake. */
bool config_name_check(const struct yaml_file *file, const struct yaml_node *node, const char *what, size_t bytes_max,
                       const char *also);
/* `path` as it is when absolute, else below `folder`. */
const char *config_path(struct arena *arena, const char *folder, const char *path);

#endif
