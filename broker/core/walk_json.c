/* JSON text along the paths in use. The marks (structure.h) come one by one: brackets, and strings that may be a name in use; what
 * is between two of them is read only where a rule looks. Behind the last string that may be a name in use, marks are looked for only where a
 * value that a rule looks at goes on. The text was checked at the door; if it was not, the answer is odd, but nothing outside of it is read. */
#ifndef WALK_JSON
#define WALK_JSON walk_json_portable /* walk_json_vector.c has this file compiled once more */
#endif

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "broker/core/scan.h"
#include "broker/core/walk_frames.h"
#include "broker/core/walk_names.h"

/* In the loops below this is a local whose address goes nowhere, so that it lives in registers: taking a mark is then a few cycles,
 * and through memory it would be three times as many. Hence INLINE on all that is given its address. */
#define INLINE static inline __attribute__((always_inline))

struct marks {
    const struct structure_block *block; /* at hand: nothing before it matters any more */
    const char *bytes;        /* of it */
    uint64_t bits;            /* its marks, those not yet taken */
    const char *behind;       /* the last bracket that opened or closed something */
    struct view text;
};

/* So many blocks at least, if the text has them. */
static __attribute__((noinline)) void scan_on(struct match_scratch *state, struct view text, size_t count)
{
    structure_scan_on(&state->structure, text, &state->image->names, count);
}

/* The same if there are marks that matter. No name is there: what is left of objects does not, nor is what is left of arrays of objects; only items
 * that are values themselves do. If they do not once, they never will: what is open only closes. */
static __attribute__((noinline)) void scan_on_for_items(struct match_scratch *state, struct view text, size_t count)
{
    for (size_t i = state->nothing_follows ? 0 : state->frames.count; i-- > 0;) {
        const struct walk_frame *frame = &state->frames.items[i];
        if (frame->array != STATE_NO_ARRAY && state->image->nodes[frame->node].path != IMAGE_NONE) {
            scan_on(state, text, 2 * count); /* so that looking for such an array counts for little */
            return;
        }
    }
    state->nothing_follows = true;
}

INLINE size_t block_number(const struct match_scratch *state, const struct structure_block *block)
{
    return (size_t)(block - state->structure.blocks);
}

/* Whether the next block is there, and matters. */
INLINE bool marks_next_block(struct match_scratch *state, struct marks *marks)
{
    size_t next = block_number(state, marks->block) + 1;

    if (__builtin_expect(next >= state->structure.count, 0)) {
        scan_on_for_items(state, marks->text, next + 1);
        if (next >= state->structure.count)
            return false;
    }
    marks->block++;
    marks->bytes += STRUCTURE_BLOCK_BYTES;
    return true;
}

INLINE const char *text_end(const struct marks *marks)
{
    return marks->text.data + marks->text.len;
}

/* Takes the next mark; the end of the text when there is none. */
INLINE const char *marks_take(struct match_scratch *state, struct marks *marks)
{
    while (marks->bits == 0) {
        if (!marks_next_block(state, marks))
            return text_end(marks);
        marks->bits = marks->block->marks;
    }
    const char *at = marks->bytes + (unsigned)__builtin_ctzll(marks->bits);
    marks->bits &= marks->bits - 1;
    return at;
}

/* So that the block of `at` is there. Returns its number. */
INLINE size_t marks_cover(struct match_scratch *state, const struct marks *marks, const char *at)
{
    size_t block = (size_t)(at - marks->text.data) / STRUCTURE_BLOCK_BYTES;

    if (__builtin_expect(block >= state->structure.count, 0))
        scan_on(state, marks->text, block + 1);
    return block;
}

/* The opening bracket at `at` is the next mark: takes it. */
INLINE void marks_take_open(struct match_scratch *state, struct marks *marks, const char *at)
{
    (void)marks_cover(state, marks, at);
    (void)marks_take(state, marks);
    marks->behind = at + 1;
}

/* Closing brackets whose opening one is not the bracket right before them. A pair with nothing nested in it cannot end what is around it, and most
 * pairs are such: adding carries a bit from each opening bracket over what is between to the next bracket. */
INLINE uint64_t closes_of_more(uint64_t opens, uint64_t closes)
{
    return closes & ~(opens + (opens | ~(opens | closes)));
}

/* The opening bracket was taken: takes all up to its closing one. */
INLINE void skip_container(struct match_scratch *state, struct marks *marks)
{
    uint64_t below = marks->bits; /* what is not yet taken of this block */
    size_t depth = 1;

    for (;;) {
        const struct structure_block *block = marks->block;
        uint64_t opens = block->opens & below, closes = block->closes & below, may_end = closes_of_more(opens, closes);
        if ((size_t)__builtin_popcountll(may_end) >= depth) {
            for (; may_end != 0; may_end &= may_end - 1) {
                uint64_t upto = may_end ^ (may_end - 1);
                if ((size_t)__builtin_popcountll(closes & upto) == depth + (size_t)__builtin_popcountll(opens & upto)) {
                    marks->bits = block->marks & ~upto;
                    marks->behind = marks->bytes + (unsigned)__builtin_ctzll(may_end) + 1;
                    return;
                }
            }
        }
        depth += (size_t)__builtin_popcountll(opens) - (size_t)__builtin_popcountll(closes);
        if (!marks_next_block(state, marks)) {
            marks->bits = 0;
            marks->behind = text_end(marks);
            return;
        }
        below = ~UINT64_C(0);
    }
}

static inline bool is_space(char c)
{
    return (unsigned char)c <= ' ' && (c == ' ' || c == '\n' || c == '\t' || c == '\r'); /* mostly one comparison tells */
}

INLINE const char *skip_space(const struct marks *marks, const char *at)
{
    while (at < text_end(marks) && is_space(*at))
        at++;
    return at;
}

/* ---- strings ---- */

static struct view decoded(struct match_scratch *state, struct view raw)
{
    char *text = state_text(state, raw.len);
    return (struct view){ .data = text, .len = scan_unescape(raw, text) };
}

/* The first quote in the blocks from `block` on; the end of the text when there is none. In a long string the scan goes on by as much as it has
 * been long, so that it is called a few times, not for every block. */
static __attribute__((noinline)) const char *quote_from(struct match_scratch *state, struct view text, size_t block)
{
    const struct structure *structure = &state->structure;

    for (size_t first = block;; block++) {
        if (block >= structure->count)
            scan_on(state, text, 2 * block - first + 2);
        if (block >= structure->count)
            return text.data + text.len;
        if (structure->blocks[block].quotes != 0)
            return text.data + block * STRUCTURE_BLOCK_BYTES + (unsigned)__builtin_ctzll(structure->blocks[block].quotes);
    }
}

/* Of a block, the bits behind the one of `at`. */
INLINE uint64_t bits_behind(const char *block, const char *at)
{
    return ~UINT64_C(1) << (at - block);
}

/* The next quote behind `at`, wherever that is; the end of the text when there is none. */
INLINE const char *quote_behind(struct match_scratch *state, const struct marks *marks, const char *at)
{
    size_t block = marks_cover(state, marks, at);
    const char *bytes = marks->text.data + block * STRUCTURE_BLOCK_BYTES;
    uint64_t quotes = state->structure.blocks[block].quotes & bits_behind(bytes, at);

    return quotes != 0 ? bytes + (unsigned)__builtin_ctzll(quotes) : quote_from(state, marks->text, block + 1);
}

/* The string whose quotes are at `open` and `close`. */
INLINE struct view string_between(struct match_scratch *state, const char *open, const char *close)
{
    struct view raw = { .data = open + 1, .len = (size_t)(close - open) - 1 };

    if (__builtin_expect(state->structure.escapes, 0) && raw.len > 0 && memchr(raw.data, '\\', raw.len) != NULL)
        return decoded(state, raw);
    return raw;
}

/* From `node`, which has children, by the name whose quotes are at `open` and `close`. With eight bytes of text behind its beginning the
 * first ones of a short name are had without a branch on how long it is. */
INLINE uint32_t step(struct match_scratch *state, const struct marks *marks, uint32_t node, const char *open, const char *close)
{
    size_t len = (size_t)(close - open) - 1;

    if (__builtin_expect(state->structure.escapes || text_end(marks) - open < 9, 0))
        return walk_step(state->image, node, string_between(state, open, close));
    const struct image_node *here = &state->image->nodes[node];
    struct view name = { .data = open + 1, .len = len };
    uint64_t head = text_load8(open + 1);
    if (len < 8)
        return walk_step_known(state->image, here, node, name, head & ((UINT64_C(1) << len * 8) - 1), 0);
    return walk_step_known(state->image, here, node, name, head, text_load8(close - 8));
}

/* ---- values ---- */

/* A number or literal at `at`: up to a comma, bracket or white space. Sixteen bytes at a time where they are: how long a number is
 * cannot be predicted, so a step per byte costs more than the number's value. */
INLINE struct view scalar_text(const struct marks *marks, const char *at)
{
    const char *stop = at, *end = text_end(marks);

#if defined(__SSE2__)
    const __m128i comma = _mm_set1_epi8(','), close = _mm_set1_epi8('}'), space = _mm_set1_epi8(' ');
    for (; end - stop >= 16; stop += 16) {
        __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)stop);
        __m128i ends = _mm_or_si128(_mm_cmpeq_epi8(bytes, comma), _mm_cmpeq_epi8(_mm_or_si128(bytes, space), close));
        unsigned found = (unsigned)_mm_movemask_epi8(_mm_or_si128(ends, _mm_cmpeq_epi8(_mm_min_epu8(bytes, space), bytes)));
        if (found != 0)
            return (struct view){ .data = at, .len = (size_t)(stop - at) + (unsigned)__builtin_ctz(found) };
    }
#endif
    while (stop < end && *stop != ',' && !is_space(*stop) && *stop != ']' && *stop != '}')
        stop++;
    return (struct view){ .data = at, .len = (size_t)(stop - at) };
}

static void take_scalar(struct match_scratch *state, uint32_t path, uint32_t context, struct view text)
{
    switch (text.len == 0 ? 'n' : text.data[0]) {
    case 't': evaluate_literal(state, path, context, LITERAL_TRUE); break;
    case 'f': evaluate_literal(state, path, context, LITERAL_FALSE); break;
    case 'n': evaluate_literal(state, path, context, LITERAL_NULL); break;
    default: evaluate_number_text(state, path, context, text); break;
    }
}

/* The value of a member, or the event itself: a string, whose closing quote is known or NULL, is evaluated like a number or literal; what
 * a rule looks into is opened. Returns whether it was. The mark of a string needs no taking: it will be seen to be no name. */
INLINE bool take_value(struct match_scratch *state, struct marks *marks, uint32_t node, uint32_t context, const char *at, const char *close)
{
    const struct image_node *here = &state->image->nodes[node];

    switch (*at) {
    case '"':
        if (here->path != IMAGE_NONE)
            evaluate_string(state, here->path, context, string_between(state, at, close != NULL ? close : quote_behind(state, marks, at)));
        return false;
    case '{':
        marks_take_open(state, marks, at);
        if (here->children_count == 0) { /* an object is no value: only what is inside counts */
            skip_container(state, marks);
            return false;
        }
        walk_open_object(state, node, context, 0);
        return true;
    case '[':
        marks_take_open(state, marks, at);
        walk_open_array(state, node, context, 0);
        return true;
    default:
        if (here->path != IMAGE_NONE)
            take_scalar(state, here->path, context, scalar_text(marks, at));
        return false;
    }
}

/* At the end of all that matters. */
static void close_all(struct match_scratch *state)
{
    while (state->frames.count > 0)
        walk_close(state);
}

/* The value of the name that ends at `close`; NULL where no colon follows, or nothing behind that. */
INLINE const char *value_behind(const struct marks *marks, const char *close)
{
    if (__builtin_expect(text_end(marks) - close > 2 && close[1] == ':' && !is_space(close[2]), 1))
        return close + 2;
    const char *colon = skip_space(marks, close + 1), *end = text_end(marks);
    const char *value = colon < end && *colon == ':' ? skip_space(marks, colon + 1) : end;
    return value < end ? value : NULL;
}

/* A string at `open`, its mark just taken, that may be a name in an object at `node`. Returns whether its value was opened. */
INLINE bool take_member(struct match_scratch *state, struct marks *marks, uint32_t node, uint32_t context, const char *open)
{
    uint64_t quotes = marks->block->quotes & bits_behind(marks->bytes, open);
    const char *close, *value_close = NULL;

    if (__builtin_expect(quotes != 0, 1)) {
        close = marks->bytes + (unsigned)__builtin_ctzll(quotes);
    } else {
        bool last = open == marks->bytes + STRUCTURE_BLOCK_BYTES - 1; /* of its block: marked whatever it begins */
        if (last && !structure_begins_name(&state->image->names, open + 1 < text_end(marks) ? (unsigned char)open[1] : '\0'))
            return false;
        close = quote_from(state, marks->text, block_number(state, marks->block) + 1);
    }
    const char *value = value_behind(marks, close);
    if (value == NULL)
        return false; /* a value that begins like a name */
    uint32_t member = step(state, marks, node, open, close);
    if (member == IMAGE_NONE)
        return false;
    quotes &= quotes - 1; /* if the value is a string, its opening quote is the next one, then comes its closing one */
    quotes &= quotes - 1;
    if (quotes != 0) {
        value_close = marks->bytes + (unsigned)__builtin_ctzll(quotes);
        if (*value == '"')
            marks->bits &= bits_behind(marks->bytes, value_close);
    }
    return take_value(state, marks, member, context, value, value_close);
}

/* Whether the object on top, whose end was just taken, is followed by another one as the next item of an array of which nothing else
 * counts. That takes its place, so that an array of many is gone through in one loop. */
INLINE bool take_next_item(struct match_scratch *state, struct marks *marks)
{
    if (state->frames.count < 2 || marks->bits == 0 || marks->bytes[__builtin_ctzll(marks->bits)] != '{')
        return false;
    const struct walk_frame *array = walk_frame_top(state) - 1;
    if (array->array == STATE_NO_ARRAY || state->image->nodes[array->node].path != IMAGE_NONE)
        return false;
    marks->bits &= marks->bits - 1;
    walk_next_item(state);
    return true;
}

/* The members of the object on top until it ends or one that is looked into opens. */
static void take_members(struct match_scratch *state, struct marks *ret_marks)
{
    struct marks local = *ret_marks, *marks = &local;
    uint32_t node = walk_frame_top(state)->node, context = walk_frame_top(state)->context;

    for (bool more = true; more;) {
        const char *at = marks_take(state, marks);
        if (__builtin_expect(at == text_end(marks), 0)) {
            close_all(state);
            break;
        }
        if (*at == '"') {
            more = !take_member(state, marks, node, context, at);
        } else if (*at == '{' || *at == '[') {
            skip_container(state, marks);
        } else if (take_next_item(state, marks)) {
            context = walk_frame_top(state)->context;
        } else {
            walk_close(state);
            marks->behind = at + 1;
            more = false;
        }
    }
    *ret_marks = local;
}

/* Strings, numbers and literals in an array, from `at` up to the bracket at `end`. */
INLINE void take_plain_items(struct match_scratch *state, struct marks *marks, uint32_t path, uint32_t context, const char *at, const char *end)
{
    while (at < end) {
        if (*at == ',' || is_space(*at)) {
            at++;
        } else if (*at == '"') {
            const char *close = quote_behind(state, marks, at);
            evaluate_string(state, path, context, string_between(state, at, close));
            at = close + 1;
        } else {
            struct view text = scalar_text(marks, at);
            if (text.len == 0) /* unchecked text only */
                break;
            take_scalar(state, path, context, text);
            at += text.len;
        }
    }
}

/* The items of the array on top until it ends or one that is looked into opens. */
static void take_items(struct match_scratch *state, struct marks *ret_marks)
{
    struct marks local = *ret_marks, *marks = &local;
    uint32_t node = walk_frame_top(state)->node, context = walk_frame_top(state)->context;
    const struct image_node *here = &state->image->nodes[node];

    for (bool more = true; more;) {
        const char *from = marks->behind, *at;
        do
            at = marks_take(state, marks);
        while (at < text_end(marks) && *at == '"'); /* a string that begins like a name */
        if (here->path != IMAGE_NONE)
            take_plain_items(state, marks, here->path, context, from, at);
        if (at == text_end(marks)) {
            close_all(state);
            break;
        }
        marks->behind = at + 1;
        if (*at == '{' && here->children_count == 0) {
            skip_container(state, marks);
            continue;
        }
        if (*at == '{')
            walk_open_object(state, node, walk_open_item(state), 0);
        else if (*at == '[')
            walk_open_array(state, node, walk_open_item(state), 0);
        else
            walk_close(state);
        more = false;
    }
    *ret_marks = local;
}

void WALK_JSON(struct match_scratch *state, uint32_t node, struct view text)
{
    struct structure *structure = &state->structure;

    ASSERT(state->frames.count == 0);
    structure_scan(structure, text, &state->image->names);
    state->nothing_follows = false;
    struct marks marks = { .block = structure->blocks, .bytes = text.data, .bits = structure->blocks[0].marks, .text = text };
    const char *first = skip_space(&marks, text.data);
    if (first < text_end(&marks))
        (void)take_value(state, &marks, node, 0, first, NULL);
    while (state->frames.count > 0) {
        if (walk_frame_top(state)->array == STATE_NO_ARRAY)
            take_members(state, &marks);
        else
            take_items(state, &marks);
    }
}
