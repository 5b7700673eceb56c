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

static size_t names_find(const struct names *names, struct view key, uint64_t hash)
{
    size_t at = (size_t)hash & (names->capacity - 1);
    while (names->slots[at].key.data != NULL && (names->slots[at].hash != hash || !view_equals(names->slots[at].key, key)))
        at = (at + 1) & (names->capacity - 1);
    return at;
}

void names_put(struct names *names, struct view key, uint32_t value)
{
    ASSERT(key.data != NULL);
    if (names->count * 4 >= names->capacity * 3) {
        struct names old = *names;
        names->capacity = old.capacity == 0 ? 16 : old.capacity * 2;
        names->slots = calloc(names->capacity, sizeof *names->slots);
        ASSERT(names->slots != NULL);
        for (size_t i = 0; i < old.capacity; i++) {
            if (old.slots[i].key.data != NULL)
                names->slots[names_find(names, old.slots[i].key, old.slots[i].hash)] = old.slots[i];
        }
        free(old.slots);
    }
    uint64_t hash = hash_bytes(key.data, key.len, 0);
    size_t at = names_find(names, key, hash);
    ASSERT(names->slots[at].key.data == NULL);
    names->slots[at] = (struct names_slot){ .key = key, .hash = hash, .value = value };
    names->count++;
}

bool names_get(const struct names *names, struct view key, uint32_t *ret_value)
{
    if (names->count == 0)
        return false;
    size_t at = names_find(names, key, hash_bytes(key.data, key.len, 0));
    if (names->slots[at].key.data == NULL)
        return false;
    *ret_value = names->slots[at].value;
    return true;
}
