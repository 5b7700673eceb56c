/* store_raw.h - a hand inside a store that is not open: changes rows behind its back, as a bad disk or a bug would. */
#ifndef SLUICE_TESTS_STORE_RAW_H
#define SLUICE_TESTS_STORE_RAW_H

#include <lmdb.h>

#include "schemas/codec/view.h"

/* Calls `change` with the value of `key` in `table` (copied, may be resized within 4 KiB more), or with NULL when there is none;
 * puts the value back, or deletes the row when change returns false. Exits on any error: tests cannot go on. */
typedef bool raw_change(void *ctx, char *value, size_t *len);
void raw_row(const char *dir, const char *table, unsigned flags, struct view key, raw_change *change, void *ctx);
void raw_delete(const char *dir, const char *table, unsigned flags, struct view key);
void raw_drop(const char *dir, const char *table); /* the table itself */
void raw_put(const char *dir, const char *table, unsigned flags, struct view key, struct view value);
/* Adds `difference` to the little-endian u64 at `offset` of a value. */
void raw_add(const char *dir, const char *table, unsigned flags, struct view key, size_t offset, int64_t difference);
/* Every key of a table, in order. */
void raw_keys(const char *dir, const char *table, unsigned flags, void (*on_key)(void *ctx, struct view key), void *ctx);
#define RAW_KEY(thing) ((struct view){ (const char *)&(thing), sizeof(thing) })

#endif
