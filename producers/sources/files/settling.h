/* settling.h - files to look at again when they have been left alone for a while: each path once.
 * Owns its paths. At most SETTLING_MAX: what does not fit is for the caller to find by a scan. */
#ifndef SLUICE_FILES_SETTLING_H
#define SLUICE_FILES_SETTLING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SETTLING_MAX = 4096 };

struct settling {
    struct settling_path {
        char *path;
        uint64_t hash;
        int64_t due_ms;
    } *items;
    size_t count;
};

/* Again if it is there already. False: full, or out of memory. */
bool settling_put(struct settling *settling, const char *path, int64_t due_ms);
/* The earliest; -1: none. */
int64_t settling_due_ms(const struct settling *settling);
/* One that is due, owned by the caller now; NULL: none. */
char *settling_take(struct settling *settling, int64_t now_ms);
void settling_done(struct settling *settling);

#endif
