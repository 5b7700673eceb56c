#include "broker/base/heap.h"

#include <stdlib.h>

#include "broker/base/vec.h"

void heap_done(struct heap *heap)
{
    free(heap->nodes);
    *heap = (struct heap){ 0 };
}

static void heap_place(struct heap *heap, size_t at, struct heap_node *node)
{
    heap->nodes[at] = node;
    node->place = at + 1;
}

static void heap_settle(struct heap *heap, size_t at)
{
    struct heap_node *node = heap->nodes[at];

    while (at > 0 && heap->nodes[(at - 1) / 2]->key > node->key) {
        heap_place(heap, at, heap->nodes[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= heap->count)
            break;
        if (child + 1 < heap->count && heap->nodes[child + 1]->key < heap->nodes[child]->key)
            child++;
        if (heap->nodes[child]->key >= node->key)
            break;
        heap_place(heap, at, heap->nodes[child]);
        at = child;
    }
    heap_place(heap, at, node);
}

void heap_set(struct heap *heap, struct heap_node *node, int64_t key)
{
    if (node->place == 0) {
        vec_room((void **)&heap->nodes, &heap->capacity, heap->count + 1, sizeof *heap->nodes);
        heap_place(heap, heap->count++, node);
    }
    node->key = key;
    heap_settle(heap, node->place - 1);
}

void heap_remove(struct heap *heap, struct heap_node *node)
{
    if (node->place == 0)
        return;
    size_t at = node->place - 1;
    node->place = 0;
    struct heap_node *last = heap->nodes[--heap->count];
    if (last != node) {
        heap_place(heap, at, last);
        heap_settle(heap, at);
    }
}
