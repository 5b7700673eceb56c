/* arena.h - memory that is freed all at once: for one turn, one commit, one configuration.
 * Allocation never returns NULL: an arena that cannot grow aborts the process (base/assert), for what lives in arenas is
 * bounded by named limits already, and a daemon without memory for one turn can promise nothing. */
#ifndef SLUICE_BASE_ARENA_H
#define SLUICE_BASE_ARENA_H

#include "schemas/codec/view.h"

struct arena;
struct arena *arena_new(size_t block_bytes);             /* owned */
struct arena *arena_free(struct arena *arena);           /* NULL is fine; returns NULL */
void arena_reset(struct arena *arena);                   /* keeps one block */
/* Keeps room for as much again, in one block: what asks for no more than ever before allocates nothing. */
void arena_reuse(struct arena *arena);
void *arena_alloc(struct arena *arena, size_t len);      /* aligned to 16, not zeroed */
void *arena_zalloc(struct arena *arena, size_t len);
struct view arena_dup(struct arena *arena, struct view view);          /* followed by a NUL that is not counted */
char *arena_text(struct arena *arena, struct view view);               /* the same, as a C string */
char *arena_format(struct arena *arena, const char *format, ...) __attribute__((format(printf, 2, 3)));
size_t arena_bytes(const struct arena *arena);           /* held from the system */

#endif
