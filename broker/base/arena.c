/* A list of blocks; the newest is filled from its start. Large requests get a block of their own. */
#include "broker/base/arena.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "broker/base/assert.h"

struct arena_block {
    struct arena_block *next;
    size_t used, size;
    _Alignas(16) char data[];
};

struct arena {
    struct arena_block *blocks;
    size_t block_bytes, held_bytes;
};

struct arena *arena_new(size_t block_bytes)
{
    struct arena *arena = calloc(1, sizeof *arena);
    ASSERT(arena != NULL);
    arena->block_bytes = block_bytes;
    return arena;
}

static void blocks_free(struct arena *arena, struct arena_block *block)
{
    while (block != NULL) {
        struct arena_block *next = block->next;
        arena->held_bytes -= block->size;
        free(block);
        block = next;
    }
}

struct arena *arena_free(struct arena *arena)
{
    if (arena != NULL) {
        blocks_free(arena, arena->blocks);
        free(arena);
    }
    return NULL;
}

void arena_reset(struct arena *arena)
{
    struct arena_block *keep = arena->blocks;

    if (keep == NULL)
        return;
    blocks_free(arena, keep->next);
    keep->next = NULL;
    keep->used = 0;
    if (keep->size > 4 * arena->block_bytes) { /* one large turn must not be held for ever */
        blocks_free(arena, keep);
        arena->blocks = NULL;
    }
}

static struct arena_block *block_new(struct arena *arena, size_t size)
{
    struct arena_block *block = malloc(sizeof *block + size);

    ASSERT(block != NULL);
    *block = (struct arena_block){ .next = arena->blocks, .size = size };
    arena->blocks = block;
    arena->held_bytes += size;
    return block;
}

void arena_reuse(struct arena *arena)
{
    size_t held_bytes = arena->held_bytes;

    if (arena->blocks == NULL)
        return;
    if (arena->blocks->next != NULL) {
        blocks_free(arena, arena->blocks);
        arena->blocks = NULL;
        (void)block_new(arena, held_bytes);
    }
    arena->blocks->used = 0;
}

void *arena_alloc(struct arena *arena, size_t len)
{
    ASSERT(len <= SIZE_MAX / 2);
    len = (len + 15) & ~(size_t)15;
    struct arena_block *block = arena->blocks;
    if (block == NULL || block->size - block->used < len)
        block = block_new(arena, len > arena->block_bytes ? len : arena->block_bytes);
    void *memory = block->data + block->used;
    block->used += len;
    return memory;
}

void *arena_zalloc(struct arena *arena, size_t len)
{
    return memset(arena_alloc(arena, len), 0, len);
}

struct view arena_dup(struct arena *arena, struct view view)
{
    char *copy = arena_alloc(arena, view.len + 1);
    if (view.len != 0)
        memcpy(copy, view.data, view.len);
    copy[view.len] = '\0';
    return (struct view){ .data = copy, .len = view.len };
}

char *arena_text(struct arena *arena, struct view view)
{
    return (char *)arena_dup(arena, view).data;
}

char *arena_format(struct arena *arena, const char *format, ...)
{
    va_list args, again;

    va_start(args, format);
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, format, args);
    ASSERT(len >= 0);
    char *text = arena_alloc(arena, (size_t)len + 1);
    (void)vsnprintf(text, (size_t)len + 1, format, again);
    va_end(again);
    va_end(args);
    return text;
}

size_t arena_bytes(const struct arena *arena)
{
    return arena->held_bytes;
}
