#include "tests/oracle/flatten.h"

#include <stdlib.h>

#include "broker/base/assert.h"
#include "schemas/codec/ids.h"

enum { TEXTS_BLOCK_BYTES = 64 << 10 };

void flat_init(struct flat *flat)
{
    *flat = (struct flat){ .texts = arena_new(TEXTS_BLOCK_BYTES) };
}

void flat_done(struct flat *flat)
{
    VEC_DONE(&flat->leaves);
    VEC_DONE(&flat->sorted);
    VEC_DONE(&flat->contexts);
    VEC_DONE(&flat->arrays);
    VEC_DONE(&flat->by_path);
    VEC_DONE(&flat->touched);
    VEC_DONE(&flat->frames);
    flat->texts = arena_free(flat->texts);
}

void flat_begin(struct flat *flat, const struct paths *paths)
{
    for (size_t i = 0; i < flat->touched.count; i++)
        flat->by_path.items[flat->touched.items[i]] = (struct path_leaves){ 0 };
    VEC_ROOM(&flat->by_path, paths->leaves_count);
    while (flat->by_path.count < paths->leaves_count)
        VEC_PUSH(&flat->by_path, (struct path_leaves){ 0 });
    flat->paths = paths;
    flat->leaves.count = flat->sorted.count = flat->contexts.count = flat->arrays.count = 0;
    flat->touched.count = flat->frames.count = 0;
    VEC_PUSH(&flat->contexts, (struct context){ .array = FLAT_NO_ARRAY, .end = UINT32_MAX });
    arena_reset(flat->texts);
}

void flat_put(struct flat *flat, uint32_t node, uint32_t context, struct value value)
{
    uint32_t path = flat->paths->nodes.items[node].leaf;

    if (path == PATHS_NONE)
        return;
    struct path_leaves *leaves = &flat->by_path.items[path];
    if (leaves->count == 0)
        VEC_PUSH(&flat->touched, path);
    else
        leaves->disordered |= flat->leaves.items[leaves->first].context > context;
    leaves->first = (uint32_t)flat->leaves.count; /* the latest one, until flat_end() */
    leaves->count++;
    VEC_PUSH(&flat->leaves, (struct leaf){ .value = value, .context = context, .path = path });
}

void flat_open_object(struct flat *flat, uint32_t node, uint32_t context, uint32_t left)
{
    VEC_PUSH(&flat->frames, (struct flat_frame){ .node = node, .context = context, .array = FLAT_NO_ARRAY, .left = left });
}

void flat_open_array(struct flat *flat, uint32_t node, uint32_t context, uint32_t left)
{
    uint32_t array = (uint32_t)flat->arrays.count;

    VEC_PUSH(&flat->arrays, (struct array){ .node = node, .first = (uint32_t)flat->contexts.count });
    VEC_PUSH(&flat->frames, (struct flat_frame){ .node = node, .context = context, .array = array, .left = left });
}

/* An item's context ends with the container that is the item. Those inside it set the same end on the way, too early, and the
 * last one to close, the item, sets it right. */
void flat_close(struct flat *flat)
{
    struct flat_frame *frame = &flat->frames.items[flat->frames.count - 1];
    uint32_t end = (uint32_t)flat->contexts.count;

    if (frame->array != FLAT_NO_ARRAY)
        flat->arrays.items[frame->array].end = end;
    if (frame->context != 0)
        flat->contexts.items[frame->context].end = end;
    flat->frames.count--;
}

uint32_t flat_open_item(struct flat *flat)
{
    const struct flat_frame *frame = &flat->frames.items[flat->frames.count - 1];

    ASSERT(frame->array != FLAT_NO_ARRAY);
    uint32_t number = (uint32_t)flat->contexts.count;
    VEC_PUSH(&flat->contexts, (struct context){ .array = frame->array, .parent = frame->context, .end = number + 1 });
    return number;
}

static int compare_contexts(const void *left, const void *right)
{
    const struct leaf *a = left, *b = right;

    return (a->context > b->context) - (a->context < b->context);
}

/* Counting sort over the paths that have leaves. */
void flat_end(struct flat *flat)
{
    uint32_t first = 0;

    VEC_ROOM(&flat->sorted, flat->leaves.count);
    flat->sorted.count = flat->leaves.count;
    for (size_t i = 0; i < flat->touched.count; i++) {
        struct path_leaves *leaves = &flat->by_path.items[flat->touched.items[i]];
        leaves->first = first;
        first += leaves->count;
    }
    for (size_t i = 0; i < flat->leaves.count; i++)
        flat->sorted.items[flat->by_path.items[flat->leaves.items[i].path].first++] = flat->leaves.items[i];
    for (size_t i = 0; i < flat->touched.count; i++) {
        struct path_leaves *leaves = &flat->by_path.items[flat->touched.items[i]];
        leaves->first -= leaves->count;
        if (leaves->disordered)
            qsort(flat->sorted.items + leaves->first, leaves->count, sizeof(struct leaf), compare_contexts);
    }
}

/* The node of an envelope field if any pattern looks at it. */
static bool wanted(const struct flat *flat, const char *name, uint32_t *ret_node)
{
    *ret_node = paths_step(flat->paths, PATHS_ROOT, view_of(name));
    return *ret_node != PATHS_NONE;
}

static void put_text(struct flat *flat, const char *name, struct view text, const char *otherwise)
{
    uint32_t node;

    if (wanted(flat, name, &node))
        flat_put(flat, node, 0, (struct value){ .type = VALUE_STRING, .text = text.data != NULL ? text : view_of(otherwise) });
}

void flat_event(struct flat *flat, const struct event *event)
{
    char buffer[ENVELOPE_FIELD_BYTES_MAX + 1], time[TIME_TEXT_MAX];
    uint32_t node;

    put_text(flat, "version", VIEW_LITERAL("0"), "");
    put_text(flat, "source", event->source, "");
    put_text(flat, "detail-type", event->detail_type, "");
    put_text(flat, "account", event->account, EVENT_ACCOUNT_DEFAULT);
    put_text(flat, "region", event->region, EVENT_REGION_DEFAULT);
    if (wanted(flat, "id", &node)) {
        struct view text = arena_dup(flat->texts, event_id_text(event, buffer));
        flat_put(flat, node, 0, (struct value){ .type = VALUE_STRING, .text = text });
    }
    if (event->has_time && wanted(flat, "time", &node)) {
        struct view text = { .data = time, .len = time_to_text(event->time_ms, false, time) };
        flat_put(flat, node, 0, (struct value){ .type = VALUE_STRING, .text = arena_dup(flat->texts, text) });
    }
    if (event->resources.data != NULL && wanted(flat, "resources", &node))
        flat_mpack(flat, node, event->resources);
    if (event->detail.data != NULL && wanted(flat, "detail", &node)) {
        if (event->detail_format == DETAIL_JSON)
            flat_json(flat, node, event->detail);
        else
            flat_mpack(flat, node, event->detail);
    }
}
