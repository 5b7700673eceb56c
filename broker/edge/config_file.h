/* config_file.h - YAML (or JSON) files to a checked config (core/config.h), by libfyaml. Errors as compilers print them:
 *   file:line:col: error: what, and what to do
 * with the offending line below and a caret. All mistakes that can be found are printed, not only the first. */
#ifndef SLUICE_EDGE_CONFIG_FILE_H
#define SLUICE_EDGE_CONFIG_FILE_H

#include <stdatomic.h>
#include <stdio.h>

#include "broker/base/arena.h"
#include "broker/core/config.h"

enum { CONFIG_PATH_BYTES_MAX = 4096 };
/* Where the bootstraps of `runtime` lie, by where this program lies: in ../share/sluice/runtimes when it is installed, or in the build tree.
 * Into buffer, and returned; it need not be there. */
const char *config_runtimes_find(char buffer[CONFIG_PATH_BYTES_MAX]);

struct config_file {             /* owned; free with config_file_free() */
    struct arena *arena;
    struct config config;
    const char *const *paths;    /* the files read, NULL-terminated; for watching */
};

/* `path`: a file, or a folder whose *.yaml are merged by name as if they were one (what two of them both set is refused). Errors
 * go to `errors` (one text, lines; MISTAKES_PRINTED_MAX are shown) and NULL is returned; ret_errors_count (may be NULL) says how many
 * there were. `runtimes`: see above; NULL: nothing of it will be run, and they are not looked for. Every key: schemas/config.md.
 *
 * Checks: names, types, unknown keys (with the nearest known one), limits, that functions named by targets exist, that commands
 * can be found and executed, folders read, patterns compile (core/match), paths of inputs parse (core/input), that the token file
 * is private.
 * Relative paths start from the configuration's folder and come out absolute. Reads no network and starts nothing; may block on the
 * disk, some 20 us a rule. */
struct config_file *config_file_load(const char *path, const char *runtimes, FILE *errors, unsigned *ret_errors_count);
/* The same; NULL also, soon, once *given_up is true. */
struct config_file *config_file_load_until(const atomic_bool *given_up, const char *path, const char *runtimes, FILE *errors,
                                           unsigned *ret_errors_count);
struct config_file *config_file_free(struct config_file *file);

#endif
