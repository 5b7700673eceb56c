#include "broker/edge/yaml_json.h"

#include "broker/base/assert.h"
#include "schemas/codec/json.h"

/* An open container, its end known beforehand: nodes are in document order, so it ends where its span does. */
struct level {
    const struct yaml_node *end;
    char closing;
    uint32_t written;   /* items, or keys and values */
};

static bool scalar_put(const struct yaml_file *file, const struct yaml_node *node, struct bytes *out, bool is_key)
{
    if (node->style == YAML_PLAIN && node->len == 0 && !is_key) {
        yaml_mistake(file, node, "a value is missing; write null, \"\" or []");
        return false;
    }
    if (!is_key && yaml_is_json_literal(node))
        bytes_put_view(out, yaml_text(node));
    else
        json_put_string(out, yaml_text(node));
    return true;
}

bool json_text_make(const struct yaml_file *file, const struct yaml_node *node, struct json_text *text)
{
    struct level levels[YAML_DEPTH_MAX];
    const struct yaml_node *end = yaml_next(node);
    unsigned depth = 0;
    bool good = true;

    bytes_clear(&text->bytes);
    text->places.count = 0;
    for (const struct yaml_node *at = node; at < end; at++) {
        bool is_key = false;
        if (depth > 0) {
            struct level *level = &levels[depth - 1];
            is_key = level->closing == '}' && level->written % 2 == 0;
            if (level->written > 0)
                bytes_put_char(&text->bytes, level->closing == '}' && !is_key ? ':' : ',');
            level->written++;
        }
        VEC_PUSH(&text->places, (struct json_place){ .offset = text->bytes.len, .node = at });
        if (at->kind == YAML_SCALAR) {
            good = scalar_put(file, at, &text->bytes, is_key) && good;
        } else {
            ASSERT(depth < YAML_DEPTH_MAX); /* yaml_file_read() refused it */
            bytes_put_char(&text->bytes, at->kind == YAML_MAP ? '{' : '[');
            levels[depth++] = (struct level){ .end = yaml_next(at), .closing = at->kind == YAML_MAP ? '}' : ']' };
        }
        while (depth > 0 && levels[depth - 1].end == at + 1)
            bytes_put_char(&text->bytes, levels[--depth].closing);
    }
    ASSERT(depth == 0);
    ASSERT(!text->bytes.failed); /* no larger than a few times the file that is in memory already */
    return good;
}

const struct yaml_node *json_text_place(const struct json_text *text, size_t offset)
{
    size_t low = 0, high = text->places.count;

    ASSERT(high > 0);
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (text->places.items[middle].offset <= offset)
            low = middle;
        else
            high = middle;
    }
    return text->places.items[low].node;
}

void json_text_done(struct json_text *text)
{
    bytes_done(&text->bytes);
    VEC_DONE(&text->places);
}
