#include "broker/base/map.h"

#include <stdlib.h>

#include "broker/base/assert.h"

#define EMPTY UINT64_MAX

void map_done(struct map *map)
{
    free(map->slots);
    *map = (struct map){ 0 };
}

static size_t map_find(const struct map *map, uint64_t key)
{
    size_t at = (size_t)hash_mix(key) & (map->capacity - 1);
    while (map->slots[at].key != key && map->slots[at].key != EMPTY)
        at = (at + 1) & (map->capacity - 1);
    return at;
}

static void map_grow(struct map *map)
{
    struct map old = *map;

    map->capacity = old.capacity == 0 ? 16 : old.capacity * 2;
    map->slots = malloc(map->capacity * sizeof *map->slots);
    ASSERT(map->slots != NULL);
    for (size_t i = 0; i < map->capacity; i++)
        map->slots[i].key = EMPTY;
    for (size_t i = 0; i < old.capacity; i++) {
        if (old.slots[i].key != EMPTY)
            map->slots[map_find(map, old.slots[i].key)] = old.slots[i];
    }
    free(old.slots);
}

void map_put(struct map *map, uint64_t key, uint64_t value)
{
    ASSERT(key != EMPTY);
    if (map->count * 4 >= map->capacity * 3)
        map_grow(map);
    size_t at = map_find(map, key);
    map->count += map->slots[at].key == EMPTY;
    map->slots[at] = (struct map_slot){ .key = key, .value = value };
}

bool map_get(const struct map *map, uint64_t key, uint64_t *ret_value)
{
    if (map->count == 0)
        return false;
    size_t at = map_find(map, key);
    if (map->slots[at].key == EMPTY)
        return false;
    if (ret_value != NULL)
        *ret_value = map->slots[at].value;
    return true;
}

bool map_remove(struct map *map, uint64_t key, uint64_t *ret_value)
{
    if (map->count == 0)
        return false;
    size_t at = map_find(map, key);
    if (map->slots[at].key == EMPTY)
        return false;
    if (ret_value != NULL)
        *ret_value = map->slots[at].value;
    /* Close the gap: move back each follower whose home is not between the gap and itself. */
    size_t mask = map->capacity - 1, gap = at;
    for (size_t next = (at + 1) & mask; map->slots[next].key != EMPTY; next = (next + 1) & mask) {
        size_t home = (size_t)hash_mix(map->slots[next].key) & mask;
        if (((next - home) & mask) >= ((next - gap) & mask)) {
            map->slots[gap] = map->slots[next];
            gap = next;
        }
    }
    map->slots[gap].key = EMPTY;
    map->count--;
    return true;
}

void names_done(struct names *names)
{
    free(names->slots);
    free(names->old);
    *names = (struct names){ 0 };
}

uint64_t hash_bytes(const void *data, size_t len, uint64_t seed)
{
    const char *at = data;
    uint64_t hash = seed ^ (len * 0x9e3779b97f4a7c15u), word;

    for (; len >= 8; len -= 8, at += 8) {
        memcpy(&word, at, 8);
        hash = hash_mix(hash ^ word);
    }
    word = 0;
    if (len != 0)
        memcpy(&word, at, len);
    return hash_mix(hash ^ word);
}

/* The slot with the key, or the free one where it would be. */
static struct names_slot *names_find(struct names_slot *slots, size_t capacity, struct view key, uint64_t hash)
{
    size_t at = (size_t)hash & (capacity - 1);

    while (slots[at].key.data != NULL && (slots[at].hash != hash || !view_equals(slots[at].key, key)))
        at = (at + 1) & (capacity - 1);
    return &slots[at];
}

/* What is moved stays in the old slots too, where others are found by going past it. */
static void names_move(struct names *names, size_t slots_max)
{
    for (; slots_max > 0 && names->moved < names->old_capacity; slots_max--) {
        const struct names_slot *slot = &names->old[names->moved++];
        if (slot->key.data != NULL)
            *names_find(names->slots, names->capacity, slot->key, slot->hash) = *slot;
    }
    if (names->old != NULL && names->moved == names->old_capacity) {
        free(names->old);
        names->old = NULL;
        names->old_capacity = names->moved = 0;
    }
}

static void names_grow(struct names *names)
{
    names_move(names, SIZE_MAX); /* nothing is left: see names_put() */
    names->old = names->slots;
    names->old_capacity = names->capacity;
    names->capacity = names->capacity == 0 ? 16 : names->capacity * 2;
    names->slots = calloc(names->capacity, sizeof *names->slots);
    ASSERT(names->slots != NULL);
}

void names_put(struct names *names, struct view key, uint32_t value)
{
    enum { MOVED_WITH_EACH = 4 }; /* it grows again after puts for three eighths of its slots, and half as many as its slots are old */
    uint64_t hash = hash_bytes(key.data, key.len, 0);

    ASSERT(key.data != NULL);
    if (names->count * 4 >= names->capacity * 3)
        names_grow(names);
    names_move(names, MOVED_WITH_EACH);
    ASSERT(names->old == NULL || names_find(names->old, names->old_capacity, key, hash)->key.data == NULL);
    struct names_slot *slot = names_find(names->slots, names->capacity, key, hash);
    ASSERT(slot->key.data == NULL);
    *slot = (struct names_slot){ .key = key, .hash = hash, .value = value };
    names->count++;
}

bool names_get(const struct names *names, struct view key, uint32_t *ret_value)
{
    if (names->count == 0)
        return false;
    uint64_t hash = hash_bytes(key.data, key.len, 0);
    const struct names_slot *slot = names_find(names->slots, names->capacity, key, hash);
    if (slot->key.data == NULL && names->old != NULL)
        slot = names_find(names->old, names->old_capacity, key, hash);
    if (slot->key.data == NULL)
        return false;
    *ret_value = slot->value;
    return true;
}
