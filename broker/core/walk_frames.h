/* walk_frames.h - the objects and arrays that a walk is in, one frame each: every walk opens and closes many, hence in place. */
#ifndef SLUICE_CORE_WALK_FRAMES_H
#define SLUICE_CORE_WALK_FRAMES_H

#include "broker/base/assert.h"
#include "broker/core/event_state.h"

static inline struct walk_frame *walk_frame_top(const struct match_scratch *state)
{
    return &state->frames.items[state->frames.count - 1];
}

static inline void walk_open_object(struct match_scratch *state, uint32_t node, uint32_t context, uint32_t left)
{
    STATE_PUSH(&state->frames, (struct walk_frame){ .node = node, .context = context, .array = STATE_NO_ARRAY, .left = left });
}

static inline void walk_open_array(struct match_scratch *state, uint32_t node, uint32_t context, uint32_t left)
{
    uint32_t array = (uint32_t)state->arrays.count;

    STATE_PUSH(&state->arrays, (struct array){ .node = node, .first = (uint32_t)state->contexts.count });
    STATE_PUSH(&state->frames, (struct walk_frame){ .node = node, .context = context, .array = array, .left = left });
}

/* The context of a container that is an item of the array on top. */
static inline uint32_t walk_open_item(struct match_scratch *state)
{
    const struct walk_frame *frame = walk_frame_top(state);

    ASSERT(frame->array != STATE_NO_ARRAY);
    uint32_t number = (uint32_t)state->contexts.count;
    state->nodes.items[frame->node] = state->epoch;
    state->record |= state->image->nodes[frame->node].joined != 0;
    STATE_PUSH(&state->contexts, (struct context){ .array = frame->array, .parent = frame->context, .end = number + 1 });
    return number;
}

/* An item's context ends with the container that is the item. Those inside it set the same end on the way, too early, and the
 * last one to close, the item, sets it right. */
static inline void walk_close(struct match_scratch *state)
{
    const struct walk_frame *frame = walk_frame_top(state);
    uint32_t end = (uint32_t)state->contexts.count;

    if (frame->array != STATE_NO_ARRAY)
        state->arrays.items[frame->array].end = end;
    if (frame->context != 0)
        state->contexts.items[frame->context].end = end;
    state->frames.count--;
}

/* The object on top, an item of an array, ends, and the next item takes its place: what was open inside it has set the end of its context
 * when it closed. */
static inline void walk_next_item(struct match_scratch *state)
{
    struct walk_frame *frame = walk_frame_top(state);
    const struct context *before = &state->contexts.items[frame->context];
    uint32_t number = (uint32_t)state->contexts.count, array = before->array, parent = before->parent;

    frame->context = number;
    STATE_PUSH(&state->contexts, (struct context){ .array = array, .parent = parent, .end = number + 1 });
}

#endif
