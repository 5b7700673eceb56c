/* names.h - which names are not objects: what editors, browsers and copiers call a file they have not finished. */
#ifndef SLUICE_FILES_NAMES_H
#define SLUICE_FILES_NAMES_H

#include <stdbool.h>
#include <stddef.h>

/* Always left out, files and folders alike; more are given with --ignore. Shell patterns, matched against the last part. */
extern const char *const names_ignored_always[]; /* NULL-terminated */

/* `more`: further patterns, NULL-terminated, or NULL. */
bool name_ignored(const char *name, const char *const *more);

/* Is any part of the path ignored? */
bool name_ignored_anywhere(const char *path, const char *const *more);

/* Is the file at `key` (its path in the directory) an object? `include`, `exclude`: NULL-terminated shell patterns, or NULL. It matches
 * one of the first, if there are any, and none of the second. A pattern without '/' is matched against the last part of the key, one
 * with '/' against the whole key; '*' matches '/' too. */
bool name_selected(const char *key, const char *const *include, const char *const *exclude);

#endif
