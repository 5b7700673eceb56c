/* names.h - which names are not objects: what editors, browsers and copiers call a file they have not finished. */
#ifndef SLUICE_FILES_NAMES_H
#define SLUICE_FILES_NAMES_H

#include <stdbool.h>
#include <stddef.h>

/* Always left out, files and folders alike; more are given with --ignore. Shell patterns, matched against the last part. */
extern const char *const names_ignored_always[]; /* NULL-terminated */

/* `more`: further patterns, NULL-terminated, or NULL. */
bool name_ignored(const char *name, const char *const *more);

#endif
