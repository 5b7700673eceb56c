/* What the readers of both formats share: names with dots, and the fields of an envelope. */
#include "broker/core/event_state.h"
#include "broker/core/walk_names.h"
#include "schemas/codec/ids.h"

/* ---- names ---- */

/* One part of a name at a time: {"a.b": 1} walks a, then b. */
uint32_t walk_step_dotted(const struct image *image, uint32_t node, struct view name)
{
    bool more = true;

    while (more && node != IMAGE_NONE) {
        const char *dot = name.len == 0 ? NULL : memchr(name.data, '.', name.len);
        struct view first = { .data = name.data, .len = dot == NULL ? name.len : (size_t)(dot - name.data) };
        more = dot != NULL;
        if (image->nodes[node].children_count == 0)
            return IMAGE_NONE;
        node = walk_child(image, &image->nodes[node], first, text_head(first.data, first.len), text_tail(first.data, first.len));
        if (more)
            name = (struct view){ .data = dot + 1, .len = name.len - first.len - 1 };
    }
    return node;
}

void walk_json(struct match_scratch *state, uint32_t node, struct view text)
{
#if defined(__x86_64__)
    if (state->structure.level >= STRUCTURE_AVX2) {
        walk_json_vector(state, node, text);
        return;
    }
#endif
    walk_json_portable(state, node, text);
}

/* ---- the envelope ---- */

static const char *const envelope_names[ENVELOPE_NODES] = {
    [NODE_VERSION] = "version", [NODE_SOURCE] = "source", [NODE_DETAIL_TYPE] = "detail-type", [NODE_ACCOUNT] = "account",
    [NODE_REGION] = "region", [NODE_ID] = "id", [NODE_TIME] = "time", [NODE_RESOURCES] = "resources", [NODE_DETAIL] = "detail",
};

void walk_find_envelope(const struct image *image, uint32_t ret_nodes[ENVELOPE_NODES])
{
    for (size_t i = 0; i < ENVELOPE_NODES; i++)
        ret_nodes[i] = walk_step(image, 0, view_of(envelope_names[i]));
}

static void put_text(struct match_scratch *state, enum envelope_node field, struct view text, const char *otherwise)
{
    uint32_t node = state->envelope[field];

    if (node != IMAGE_NONE && state->image->nodes[node].path != IMAGE_NONE)
        evaluate_string(state, state->image->nodes[node].path, 0, text.data != NULL ? text : view_of(otherwise));
}

void walk_event(struct match_scratch *state, const struct event *event)
{
    char buffer[ENVELOPE_FIELD_BYTES_MAX + 1], time[TIME_TEXT_MAX];
    const uint32_t *nodes = state->envelope;

    put_text(state, NODE_VERSION, VIEW_LITERAL("0"), "");
    put_text(state, NODE_SOURCE, event->source, "");
    put_text(state, NODE_DETAIL_TYPE, event->detail_type, "");
    put_text(state, NODE_ACCOUNT, event->account, EVENT_ACCOUNT_DEFAULT);
    put_text(state, NODE_REGION, event->region, EVENT_REGION_DEFAULT);
    if (nodes[NODE_ID] != IMAGE_NONE)
        put_text(state, NODE_ID, event_id_text(event, buffer), "");
    if (event->has_time && nodes[NODE_TIME] != IMAGE_NONE)
        put_text(state, NODE_TIME, (struct view){ .data = time, .len = time_to_text(event->time_ms, false, time) }, "");
    if (event->resources.data != NULL && nodes[NODE_RESOURCES] != IMAGE_NONE)
        walk_mpack(state, nodes[NODE_RESOURCES], event->resources);
    if (event->detail.data == NULL || nodes[NODE_DETAIL] == IMAGE_NONE)
        return;
    if (event->detail_format == DETAIL_JSON)
        walk_json(state, nodes[NODE_DETAIL], event->detail);
    else
        walk_mpack(state, nodes[NODE_DETAIL], event->detail);
}
