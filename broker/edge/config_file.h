/* config_file.h - YAML (or JSON) files to a checked config (core/config.h), by libfyaml. Errors as compilers print them:
 *   file:line:col: error: what, and what to do
 * with the offending line below and a caret. All mistakes that can be found are printed, not only the first. */
#ifndef SLUICE_EDGE_CONFIG_FILE_H
#define SLUICE_EDGE_CONFIG_FILE_H

#include <stdio.h>

#include "broker/base/arena.h"
#include "broker/core/config.h"

struct config_file {             /* owned; free with config_file_free() */
    struct arena *arena;
    struct config config;
    const char *const *paths;    /* the files read, NULL-terminated; for watching */
};

/* `path`: a file, or a folder whose *.yaml are merged by name (duplicates refused). Errors go to `errors` (one text, lines) and
 * NULL is returned; errors_count (may be NULL) says how many. Checks: names, types, unknown keys (with the nearest known one),
 * limits, that functions named by targets exist, that commands can be found and executed, folders read, patterns compile
 * (core/match), paths of inputs parse (core/input). Reads no network and starts nothing. */
struct config_file *config_file_load(const char *path, FILE *errors, unsigned *ret_errors_count);
struct config_file *config_file_free(struct config_file *file);

#endif
