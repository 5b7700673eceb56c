#include "broker/base/assert.h"
#include "tests/oracle/flatten.h"
#include "broker/core/scan.h"

static struct view decoded(struct flat *flat, struct scan_string string)
{
    if (!string.escaped)
        return string.raw;
    char *text = arena_alloc(flat->texts, string.raw.len);
    return (struct view){ .data = text, .len = scan_unescape(string.raw, text) };
}

static void take_string(struct flat *flat, struct scan *scan, uint32_t node, uint32_t context)
{
    struct scan_string string = scan_take_string(scan);

    if (flat_wants(flat, node))
        flat_put(flat, node, context, (struct value){ .type = VALUE_STRING, .text = decoded(flat, string) });
}

static void take_scalar(struct flat *flat, struct scan *scan, uint32_t node, uint32_t context)
{
    struct view text = scan_take_scalar(scan);
    char first = text.len == 0 ? 'n' : text.data[0];
    enum value_type type = first == 't' ? VALUE_TRUE : first == 'f' ? VALUE_FALSE : first == 'n' ? VALUE_NULL : VALUE_NUMBER;

    flat_put(flat, node, context, (struct value){ .type = type, .text = text });
}

/* One value: a scalar is put, an object or array opened. */
static void take_value(struct flat *flat, struct scan *scan, uint32_t node, uint32_t context)
{
    switch (scan_next(scan)) {
    case '"':
        take_string(flat, scan, node, context);
        break;
    case '{':
        if (!flat_wants_below(flat, node)) { /* an object is no value: only what is inside counts */
            (void)scan_take_value(scan);
            break;
        }
        scan->at++;
        flat_open_object(flat, node, context, 0);
        break;
    case '[':
        scan->at++;
        flat_open_array(flat, node, context, 0);
        break;
    default:
        take_scalar(flat, scan, node, context);
        break;
    }
}

static void take_member(struct flat *flat, struct scan *scan, struct flat_frame object)
{
    struct view name = decoded(flat, scan_take_string(scan));

    (void)scan_take(scan, ':');
    uint32_t node = paths_step(flat->paths, object.node, name);
    if (node == PATHS_NONE)
        (void)scan_take_value(scan);
    else
        take_value(flat, scan, node, object.context);
}

void flat_json(struct flat *flat, uint32_t node, struct view text)
{
    struct scan scan = scan_of(text);
    ASSERT(flat->frames.count == 0);

    take_value(flat, &scan, node, 0);
    while (flat->frames.count > 0) {
        struct flat_frame frame = flat->frames.items[flat->frames.count - 1];
        char c = scan_next(&scan);
        if (c == ',') {
            scan.at++;
        } else if (c == '}' || c == ']') {
            scan.at++;
            flat_close(flat);
        } else if (c == '\0') { /* checked text has no end inside a value */
            flat_close(flat);
        } else if (frame.array != FLAT_NO_ARRAY) {
            uint32_t context = c == '{' || c == '[' ? flat_open_item(flat) : frame.context;
            take_value(flat, &scan, frame.node, context);
        } else {
            take_member(flat, &scan, frame);
        }
    }
}
