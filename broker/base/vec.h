/* vec.h - a growable array of any type: struct { T *items; size_t count, capacity; }. Growth aborts when out of memory,
 * as arenas do: what is held in these is bounded by named limits. */
#ifndef SLUICE_BASE_VEC_H
#define SLUICE_BASE_VEC_H

#include <stddef.h>
#include <stdlib.h>

#define VEC(type) struct { type *items; size_t count, capacity; }
#define VEC_PUSH(vec, ...) \
    (vec_room((void **)&(vec)->items, &(vec)->capacity, (vec)->count + 1, sizeof *(vec)->items), \
     (vec)->items[(vec)->count++] = (__VA_ARGS__))
#define VEC_ROOM(vec, wanted) vec_room((void **)&(vec)->items, &(vec)->capacity, (wanted), sizeof *(vec)->items)
#define VEC_DONE(vec) (free((vec)->items), (vec)->items = NULL, (vec)->count = (vec)->capacity = 0)

void vec_room(void **items, size_t *capacity, size_t wanted, size_t item_bytes);

#endif
