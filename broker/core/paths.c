#include "broker/core/paths.h"

#include "broker/base/assert.h"

enum { SLOTS_MIN = 64 };

/* FNV-1a over the name, begun with the parent. */
static size_t slot_of(const struct paths *paths, uint32_t parent, struct view name)
{
    uint64_t hash = (0xCBF29CE484222325u ^ parent) * 0x100000001B3u;

    for (size_t i = 0; i < name.len; i++)
        hash = (hash ^ (unsigned char)name.data[i]) * 0x100000001B3u;
    return (size_t)(hash ^ hash >> 32) & (paths->slots_count - 1);
}

/* Where the child is, or the free slot where it would be. `probes` are left of as many as may be made: 0 then, and the slot is any. */
static size_t slot_find(const struct paths *paths, uint32_t parent, struct view name, size_t *probes)
{
    size_t slot = slot_of(paths, parent, name);

    for (;; slot = (slot + 1) & (paths->slots_count - 1)) {
        uint32_t node = paths->slots[slot];
        if (node == PATHS_NONE)
            return slot;
        if (paths->nodes.items[node].parent == parent && view_equals(paths->nodes.items[node].name, name))
            return slot;
        if (--*probes == 0)
            return slot;
    }
}

static void slots_grow(struct paths *paths, size_t count)
{
    free(paths->slots);
    paths->slots = malloc(count * sizeof *paths->slots);
    ASSERT(paths->slots != NULL);
    memset(paths->slots, 0xFF, count * sizeof *paths->slots);
    paths->slots_count = count;
    for (uint32_t node = 1; node < paths->nodes.count; node++) {
        size_t probes = PATHS_PROBES_MAX;
        paths->slots[slot_find(paths, paths->nodes.items[node].parent, paths->nodes.items[node].name, &probes)] = node;
        paths->crowded |= probes == 0;
    }
}

void paths_init(struct paths *paths)
{
    *paths = (struct paths){ 0 };
    VEC_PUSH(&paths->nodes, (struct path_node){ .name = VIEW_LITERAL(""), .parent = PATHS_NONE, .leaf = PATHS_NONE });
    slots_grow(paths, SLOTS_MIN);
}

void paths_done(struct paths *paths)
{
    VEC_DONE(&paths->nodes);
    free(paths->slots);
    paths->slots = NULL;
}

static uint32_t child_add(struct paths *paths, struct arena *arena, uint32_t parent, struct view name)
{
    size_t probes = PATHS_PROBES_MAX, slot = slot_find(paths, parent, name, &probes);

    paths->crowded |= probes == 0;
    if (paths->slots[slot] != PATHS_NONE)
        return paths->slots[slot];
    uint32_t node = (uint32_t)paths->nodes.count;
    paths->nodes.items[parent].has_children = true;
    VEC_PUSH(&paths->nodes, (struct path_node){ .name = arena_dup(arena, name), .parent = parent, .leaf = PATHS_NONE,
                                                .depth = paths->nodes.items[parent].depth + 1 });
    paths->slots[slot] = node;
    if (paths->nodes.count * 2 > paths->slots_count)
        slots_grow(paths, paths->slots_count * 2);
    return node;
}

/* Cuts the first name off: up to the first dot, which goes too. false: it was the last. */
static bool take_name(struct view *path, struct view *ret_name)
{
    const char *dot = path->len == 0 ? NULL : memchr(path->data, '.', path->len);

    if (dot == NULL) {
        *ret_name = *path;
        return false;
    }
    *ret_name = (struct view){ .data = path->data, .len = (size_t)(dot - path->data) };
    *path = (struct view){ .data = dot + 1, .len = path->len - ret_name->len - 1 };
    return true;
}

uint32_t paths_add(struct paths *paths, struct arena *arena, struct view path)
{
    uint32_t node = PATHS_ROOT;
    struct view name;
    bool more;

    do {
        more = take_name(&path, &name);
        node = child_add(paths, arena, node, name);
    } while (more);
    if (paths->nodes.items[node].leaf == PATHS_NONE)
        paths->nodes.items[node].leaf = paths->leaves_count++;
    return node;
}

uint32_t paths_step(const struct paths *paths, uint32_t node, struct view name)
{
    size_t probes = SIZE_MAX;
    struct view first;
    bool more;

    do {
        if (!paths->nodes.items[node].has_children)
            return PATHS_NONE;
        more = take_name(&name, &first);
        node = paths->slots[slot_find(paths, node, first, &probes)];
    } while (more && node != PATHS_NONE);
    return node;
}

bool paths_above(const struct paths *paths, uint32_t node, uint32_t below)
{
    const struct path_node *nodes = paths->nodes.items;

    while (nodes[below].depth > nodes[node].depth)
        below = nodes[below].parent;
    return below == node;
}
