/* walk_names.h - from a node down by a name: the step that every walk takes for every name, hence in place. */
#ifndef SLUICE_CORE_WALK_NAMES_H
#define SLUICE_CORE_WALK_NAMES_H

#include "broker/core/event_state.h"
#include "broker/core/text_hash.h"

uint32_t walk_step_dotted(const struct image *image, uint32_t node, struct view name);

static inline uint32_t walk_child(const struct image *image, const struct image_node *node, struct view name, uint64_t head, uint64_t tail)
{
    const struct image_child *slots = image->children + node->children;
    uint32_t mask = node->children_count - 1, at = image_child_of(head, tail, name.len, node->children_count);

    for (; slots[at].node != IMAGE_NONE; at = (at + 1) & mask) {
        if (slots[at].head != head || slots[at].tail != tail || slots[at].len != name.len)
            continue;
        if (name.len <= 16 || view_equals(image_text(image, image->nodes[slots[at].node].name), name))
            return slots[at].node;
    }
    return IMAGE_NONE;
}

static inline bool walk_has_dot(uint64_t word)
{
    uint64_t off = word ^ UINT64_C(0x2E2E2E2E2E2E2E2E);

    return ((off - UINT64_C(0x0101010101010101)) & ~off & UINT64_C(0x8080808080808080)) != 0;
}

/* `here`, which has children, is `node`; the name's first and last bytes (text_hash.h) are known. */
static inline uint32_t walk_step_known(const struct image *image, const struct image_node *here, uint32_t node, struct view name,
                                       uint64_t head, uint64_t tail)
{
    if ((here->children_lengths >> (name.len < 63 ? name.len : 63) & 1) != 0) {
        uint32_t child = walk_child(image, here, name, head, tail);
        if (child != IMAGE_NONE) /* no node has a dot in its name */
            return child;
    }
    bool dotted = name.len <= 16 ? walk_has_dot(head) || walk_has_dot(tail) : memchr(name.data, '.', name.len) != NULL;
    return dotted ? walk_step_dotted(image, node, name) : IMAGE_NONE;
}

/* The name may hold dots. IMAGE_NONE: no rule looks there. */
static inline uint32_t walk_step(const struct image *image, uint32_t node, struct view name)
{
    const struct image_node *here = &image->nodes[node];

    return here->children_count == 0
               ? IMAGE_NONE
               : walk_step_known(image, here, node, name, text_head(name.data, name.len), text_tail(name.data, name.len));
}

#endif
