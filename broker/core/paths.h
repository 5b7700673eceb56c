/* paths.h - the paths that any pattern of a rule set looks at, as a tree of names. An event is read along this tree: what is
 * not in it is skipped unread.
 *
 * Paths are dotted strings on both sides, so the tree splits at every dot: {"a.b": 1} in an event walks a, then b. */
#ifndef SLUICE_CORE_PATHS_H
#define SLUICE_CORE_PATHS_H

#include "broker/base/arena.h"
#include "broker/base/vec.h"

enum { PATHS_ROOT = 0, PATHS_NONE = UINT32_MAX };

struct path_node {
    struct view name;
    uint32_t parent;
    uint32_t depth;
    uint32_t leaf;      /* number of the path that ends here, or PATHS_NONE */
    bool has_children;
};

enum { PATHS_PROBES_MAX = 512 }; /* half full, a table of a million needs some 70 */

struct paths {
    VEC(struct path_node) nodes;
    uint32_t *slots;    /* node numbers by (parent, name), open addressing, at most half full; PATHS_NONE is free */
    size_t slots_count; /* a power of two */
    uint32_t leaves_count;
    bool crowded;       /* names fall into one place, as if chosen to: what was added since may be wrong, and is to be refused */
};

void paths_init(struct paths *paths);
void paths_done(struct paths *paths);
/* The node at which `path` ends, made as needed, with a leaf number. Names are copied to `arena`. */
uint32_t paths_add(struct paths *paths, struct arena *arena, struct view path);
/* From `node` down by a name of an event, which may hold dots. PATHS_NONE: no pattern looks there. */
uint32_t paths_step(const struct paths *paths, uint32_t node, struct view name);
/* `node` is `below` or above it. */
bool paths_above(const struct paths *paths, uint32_t node, uint32_t below);

#endif
