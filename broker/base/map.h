/* map.h - two hash maps, open addressing: numbers to numbers, and texts to numbers. Growth aborts when out of memory, as arenas do. */
#ifndef SLUICE_BASE_MAP_H
#define SLUICE_BASE_MAP_H

#include "schemas/codec/view.h"

/* uint64_t -> uint64_t with deletion. Key UINT64_MAX is not allowed. */
struct map_slot {
    uint64_t key, value;
};
struct map {
    struct map_slot *slots; /* NULL until the first put */
    size_t capacity, count; /* capacity: a power of two */
};
void map_done(struct map *map);
void map_put(struct map *map, uint64_t key, uint64_t value);             /* replaces */
bool map_get(const struct map *map, uint64_t key, uint64_t *ret_value);  /* ret_value may be NULL */
bool map_remove(struct map *map, uint64_t key, uint64_t *ret_value);     /* false: was not there */

/* text -> uint32_t, never deleted from. Keys are borrowed: they must outlive the map.
 * It grows a little with each put: of a million targets, all at once would keep the loop for a tenth of a second. */
struct names_slot {
    struct view key;
    uint64_t hash;
    uint32_t value;
};
struct names {
    struct names_slot *slots;
    size_t capacity, count;      /* count: in both */
    struct names_slot *old;      /* before it grew; NULL: all of it has been moved */
    size_t old_capacity, moved;  /* moved: so many slots, from the first */
};
void names_done(struct names *names);
void names_put(struct names *names, struct view key, uint32_t value);    /* the key must not be there (asserted) */
bool names_get(const struct names *names, struct view key, uint32_t *ret_value);

uint64_t hash_bytes(const void *data, size_t len, uint64_t seed);
static inline uint64_t hash_mix(uint64_t x)
{
    x ^= x >> 32;
    x *= 0xd6e8feb86659fd93u;
    x ^= x >> 32;
    x *= 0xd6e8feb86659fd93u;
    return x ^ (x >> 32);
}

#endif
