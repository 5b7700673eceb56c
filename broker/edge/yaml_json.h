/* yaml_json.h - a node as JSON text on one line: patterns and constant inputs.
 * Plain scalars that are JSON numbers, true, false or null are those, digit for digit; all others, and all quoted ones, are
 * strings. Keys are strings. */
#ifndef SLUICE_EDGE_YAML_JSON_H
#define SLUICE_EDGE_YAML_JSON_H

#include "broker/base/vec.h"
#include "broker/edge/yaml.h"
#include "schemas/codec/bytes.h"

/* Where each node came to stand in the text, in ascending order: what finds the node of a mistake in the text. */
struct json_place {
    size_t offset;
    const struct yaml_node *node;
};

struct json_text {          /* reused from rule to rule; free with json_text_done() */
    struct bytes bytes;
    VEC(struct json_place) places;
};

/* Replaces what `text` held. False: a mistake was told (a value left out: null or "" must be said). */
bool json_text_make(const struct yaml_file *file, const struct yaml_node *node, struct json_text *text);
/* The last node that begins at or before `offset`. */
const struct yaml_node *json_text_place(const struct json_text *text, size_t offset);
void json_text_done(struct json_text *text);

#endif
