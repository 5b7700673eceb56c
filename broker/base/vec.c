#include "broker/base/vec.h"

#include <stdint.h>

#include "broker/base/assert.h"

void vec_room(void **items, size_t *capacity, size_t wanted, size_t item_bytes)
{
    if (wanted <= *capacity)
        return;
    size_t grown = *capacity < 8 ? 8 : *capacity * 2;
    if (grown < wanted)
        grown = wanted;
    ASSERT(grown <= SIZE_MAX / item_bytes);
    void *moved = realloc(*items, grown * item_bytes);
    ASSERT(moved != NULL);
    *items = moved;
    *capacity = grown;
}
