/* heap.h - a binary min-heap of nodes embedded in their owners. A node is in at most one heap. */
#ifndef SLUICE_BASE_HEAP_H
#define SLUICE_BASE_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct heap_node {
    int64_t key;
    size_t place; /* index + 1 in its heap; 0: in none */
};
struct heap {
    struct heap_node **nodes;
    size_t count, capacity;
};
void heap_done(struct heap *heap);
void heap_set(struct heap *heap, struct heap_node *node, int64_t key); /* puts in, or moves to the new key */
void heap_remove(struct heap *heap, struct heap_node *node);           /* in none is fine */
static inline struct heap_node *heap_first(const struct heap *heap) { return heap->count == 0 ? NULL : heap->nodes[0]; }

#endif
