/* MessagePack along the paths in use. Bytes are checked as they are read, so that what is not whole ends the walk. */
#include <inttypes.h>
#include <stdio.h>

#include "broker/base/assert.h"
#include "broker/core/event_state.h"
#include "broker/core/walk_frames.h"
#include "broker/core/walk_names.h"
#include "schemas/codec/base64.h"

/* bin has no JSON form of its own: it is seen as the base64 text that functions get. */
static struct view text_of_bin(struct match_scratch *state, struct view bytes)
{
    size_t len = base64_len(bytes.len);
    char *text = state_text(state, len);

    (void)base64_encode(bytes, text);
    return (struct view){ .data = text, .len = len };
}

/* Whole numbers up to 2^53 are doubles; the others are compared as the text they have in JSON. */
static void take_integer(struct match_scratch *state, uint32_t path, uint32_t context, const struct mpack_token *token)
{
    static const int64_t exact = (int64_t)1 << 53;
    char text[24];
    int len;

    if (token->type == MPACK_UINT && token->uint <= (uint64_t)exact) {
        evaluate_double(state, path, context, (double)token->uint);
        return;
    }
    if (token->type == MPACK_INT && token->sint >= -exact) {
        evaluate_double(state, path, context, (double)token->sint);
        return;
    }
    if (token->type == MPACK_UINT)
        len = snprintf(text, sizeof text, "%" PRIu64, token->uint);
    else
        len = snprintf(text, sizeof text, "%" PRId64, token->sint);
    evaluate_number_text(state, path, context, (struct view){ .data = text, .len = (size_t)len });
}

static void take_scalar(struct match_scratch *state, uint32_t path, uint32_t context, const struct mpack_token *token)
{
    switch (token->type) {
    case MPACK_BOOL: evaluate_literal(state, path, context, token->boolean ? LITERAL_TRUE : LITERAL_FALSE); break;
    case MPACK_STR: evaluate_string(state, path, context, token->bytes); break;
    case MPACK_BIN: evaluate_string(state, path, context, text_of_bin(state, token->bytes)); break;
    case MPACK_FLOAT: evaluate_double(state, path, context, token->real); break;
    case MPACK_UINT:
    case MPACK_INT: take_integer(state, path, context, token); break;
    case MPACK_NIL:
    case MPACK_EXT: /* refused at the door */
    case MPACK_ARRAY:
    case MPACK_MAP: evaluate_literal(state, path, context, LITERAL_NULL); break;
    }
}

/* One value: a scalar is evaluated, an array or map opened. false: the bytes end, which checked ones do not. */
static bool take_value(struct match_scratch *state, struct mpack_reader *reader, uint32_t node, uint32_t context)
{
    const struct image_node *here = &state->image->nodes[node];
    struct mpack_reader before = *reader;
    struct mpack_token token;

    if (!mpack_read(reader, &token))
        return false;
    if (token.type == MPACK_MAP && here->children_count == 0) {
        *reader = before;
        return mpack_skip(reader, EVENT_DEPTH_MAX, NULL);
    }
    bool container = token.type == MPACK_ARRAY || token.type == MPACK_MAP;
    if (container && state->frames.count > 0 && walk_frame_top(state)->array != STATE_NO_ARRAY)
        context = walk_open_item(state);
    if (token.type == MPACK_ARRAY)
        walk_open_array(state, node, context, token.count);
    else if (token.type == MPACK_MAP)
        walk_open_object(state, node, context, token.count);
    else if (here->path != IMAGE_NONE)
        take_scalar(state, here->path, context, &token);
    return true;
}

static bool take_member(struct match_scratch *state, struct mpack_reader *reader, struct walk_frame map)
{
    struct view name;

    if (!mpack_read_str(reader, &name))
        return false;
    uint32_t node = walk_step(state->image, map.node, name);
    return node == IMAGE_NONE ? mpack_skip(reader, EVENT_DEPTH_MAX, NULL) : take_value(state, reader, node, map.context);
}

void walk_mpack(struct match_scratch *state, uint32_t node, struct view value)
{
    struct mpack_reader reader = mpack_reader_of(value);

    ASSERT(state->frames.count == 0);
    bool whole = take_value(state, &reader, node, 0);
    while (state->frames.count > 0) {
        struct walk_frame *frame = walk_frame_top(state);
        if (!whole || frame->left == 0) {
            walk_close(state);
            continue;
        }
        frame->left--;
        whole = frame->array != STATE_NO_ARRAY ? take_value(state, &reader, frame->node, frame->context)
                                               : take_member(state, &reader, *frame);
    }
}
