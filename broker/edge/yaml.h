/* yaml.h - a YAML or JSON file as flat nodes, and typed getters that say what is wrong and where.
 *
 * libfyaml reads the file as events; the tree is ours: one array in document order, in which a map's or list's children follow it.
 *
 *   scale: {min: 0, max: 8}        index  0    1      2    3    4    5    6
 *                                  kind   MAP  scale  MAP  min  0    max  8
 *                                  span   7    1      5    1    1    1    1       next sibling = node + span
 *
 * libfyaml's own documents are not used: they find duplicate keys by comparing all pairs, which takes minutes for 100,000 rules,
 * they recurse, and they keep some 500 bytes a node.
 *
 * Cost: 32 bytes a node beside the source; 100,000 rules in 26 MB load in about 2 s with a peak of 170 MB. libfyaml holds back the
 * tokens of a flow map until its line ends (it could be a key), so JSON without line breaks takes some 80 times its size.
 *
 * Refused everywhere, with the place: duplicate keys, anchors and aliases, tags, keys that are not scalars, a second document,
 * bytes that are not UTF-8 (libfyaml silently ends the file there), control characters, nesting deeper than YAML_DEPTH_MAX.
 * Scalars are text; what they mean is decided by the getter that is used, so `no` is never false and `0o17` never 15. */
#ifndef SLUICE_EDGE_YAML_H
#define SLUICE_EDGE_YAML_H

#include "broker/base/arena.h"
#include "broker/edge/mistakes.h"

enum {
    YAML_FILE_BYTES_MAX = 1 << 29,  /* a million rules of 500 bytes */
    YAML_DEPTH_MAX = 256,           /* twice the nesting of the deepest pattern */
    YAML_SHOWN_BYTES_MAX = 80,      /* of a text quoted in a message */
};

enum yaml_kind { YAML_SCALAR, YAML_LIST, YAML_MAP };
enum yaml_style { YAML_PLAIN, YAML_QUOTED, YAML_LITERAL, YAML_FOLDED };

struct yaml_node {
    const char *text;       /* scalars only; not NUL-terminated */
    uint32_t len;
    uint32_t offset;        /* first byte in the source; of a value left out: its key */
    uint32_t line;
    uint32_t span;          /* nodes of this subtree, itself included */
    uint32_t count;         /* items of a list, pairs of a map */
    uint8_t kind, style;
};

struct yaml_file {
    struct source source;
    struct mistakes *mistakes;
    struct arena *arena;          /* texts that are not in the source as they stand */
    char *buffer;
    struct yaml_node *nodes;      /* [0]: the root; NULL when the file holds nothing but comments */
    size_t nodes_count;
};

/* Reads a file; JSON when its name ends in .json. Mistakes of reading and of syntax go to `mistakes`, and NULL is returned.
 * `path` and `mistakes` outlive the file. */
struct yaml_file *yaml_file_read(const char *path, unsigned order, struct mistakes *mistakes); /* owned */
struct yaml_file *yaml_file_free(struct yaml_file *file); /* NULL is fine; returns NULL */

static inline const struct yaml_node *yaml_first(const struct yaml_node *node) { return node + 1; }
static inline const struct yaml_node *yaml_next(const struct yaml_node *node) { return node + node->span; }
static inline struct view yaml_text(const struct yaml_node *scalar)
{
    return (struct view){ .data = scalar->text, .len = scalar->len };
}
/* A plain scalar without text, or `null`: a key whose value was left out. */
bool yaml_is_empty(const struct yaml_node *node);
/* A plain scalar that is a JSON number, true, false or null: what a pattern takes as that, and a text key refuses. */
bool yaml_is_json_literal(const struct yaml_node *node);

/* The source offset of byte `at` of a scalar's text, so that a mistake inside it can be shown there; the scalar's first byte
 * where the text is not in the source as it stands (escapes, folded lines). */
size_t yaml_offset_of(const struct yaml_file *file, const struct yaml_node *scalar, size_t at);

void yaml_mistake(const struct yaml_file *file, const struct yaml_node *node, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* For quoting foreign text in a message: YAML_SHOWN in the format, YAML_SHOW(node) as its arguments. */
#define YAML_SHOWN "%.*s"
#define YAML_SHOW(node) yaml_shown_len(node), (node)->text
int yaml_shown_len(const struct yaml_node *scalar); /* at most YAML_SHOWN_BYTES_MAX, whole characters */

#endif
