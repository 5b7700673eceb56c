/* JSON text along the paths in use. The marks (structure.h) come one by one: brackets, and strings that may be a name in use; what
 * is between two of them is read only where a rule looks. Behind the last string that may be a name in use, marks are looked for only where a
 * value that a rule looks at goes on. The text was checked at the door; if it was not, the answer is odd, but nothing outside of it is read. */
#ifndef WALK_JSON
#define WALK_JSON walk_json_portable /* walk_json_vector.c has this file compiled once more */
#endif

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "broker/base/assert.h"
#include "broker/core/event_state.h"
#include "broker/core/scan.h"
#include "broker/core/walk_names.h"

/* In the loops below this is a local whose address goes nowhere, so that it lives in registers: taking a mark is then a few cycles,
 * and through memory it would be three times as many. Hence INLINE on all that is given its address. */
#define INLINE static inline __attribute__((always_inline))

struct marks {
    const struct structure_block *blocks;
    size_t block, blocks_count;
    uint64_t bits;            /* of this block, those not yet taken */
    size_t behind;            /* the last one taken */
    const char *text;
    size_t len;
};

/* So many blocks at least, if the text has them. Returns how many there are now. */
static __attribute__((noinline)) size_t scan_on(struct match_scratch *state, const char *text, size_t len, size_t count)
{
    structure_scan_on(&state->structure, (struct view){ .data = text, .len = len }, &state->image->names, count);
    return state->structure.count;
}

/* The same if there are marks that matter. No name is there: what is left of objects does not, nor is what is left of arrays of objects; only items
 * that are values themselves do. If they do not once, they never will: what is open only closes. */
static __attribute__((noinline)) size_t scan_on_for_items(struct match_scratch *state, const char *text, size_t len, size_t count)
{
    for (size_t i = state->nothing_follows ? 0 : state->frames.count; i-- > 0;) {
        const struct walk_frame *frame = &state->frames.items[i];
        if (frame->array != STATE_NO_ARRAY && state->image->nodes[frame->node].path != IMAGE_NONE)
            return scan_on(state, text, len, 2 * count); /* so that looking for such an array counts for little */
    }
    state->nothing_follows = true;
    return state->structure.count;
}

/* Whether the next block is there, and matters. */
INLINE bool marks_next_block(struct match_scratch *state, struct marks *marks)
{
    if (__builtin_expect(marks->block + 1 >= marks->blocks_count, 0)) {
        marks->blocks_count = scan_on_for_items(state, marks->text, marks->len, marks->block + 2);
        if (marks->block + 1 >= marks->blocks_count)
            return false;
    }
    marks->block++;
    return true;
}

/* So that the block of `at` is there. */
INLINE void marks_cover(struct match_scratch *state, struct marks *marks, size_t at)
{
    if (__builtin_expect(at / STRUCTURE_BLOCK_BYTES >= marks->blocks_count, 0))
        marks->blocks_count = scan_on(state, marks->text, marks->len, at / STRUCTURE_BLOCK_BYTES + 1);
}

/* Takes the next mark; the length of the text when there is none. */
INLINE size_t marks_take(struct match_scratch *state, struct marks *marks)
{
    size_t at = marks->len;

    while (marks->bits == 0 && marks_next_block(state, marks))
        marks->bits = marks->blocks[marks->block].marks;
    if (marks->bits != 0)
        at = marks->block * STRUCTURE_BLOCK_BYTES + (unsigned)__builtin_ctzll(marks->bits);
    marks->bits &= marks->bits - 1;
    marks->behind = at + 1;
    return at;
}

/* The opening bracket at `at` is the next mark: takes it. */
INLINE void marks_take_open(struct match_scratch *state, struct marks *marks, size_t at)
{
    marks_cover(state, marks, at);
    (void)marks_take(state, marks);
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
        const struct structure_block *block = &marks->blocks[marks->block];
        uint64_t opens = block->opens & below, closes = block->closes & below, may_end = closes_of_more(opens, closes);
        if ((size_t)__builtin_popcountll(may_end) >= depth) {
            for (; may_end != 0; may_end &= may_end - 1) {
                uint64_t upto = may_end ^ (may_end - 1);
                if ((size_t)__builtin_popcountll(closes & upto) == depth + (size_t)__builtin_popcountll(opens & upto)) {
                    marks->bits = block->marks & ~upto;
                    marks->behind = marks->block * STRUCTURE_BLOCK_BYTES + (unsigned)__builtin_ctzll(may_end) + 1;
                    return;
                }
            }
        }
        depth += (size_t)__builtin_popcountll(opens) - (size_t)__builtin_popcountll(closes);
        if (!marks_next_block(state, marks)) {
            marks->bits = 0;
            marks->behind = marks->len;
            return;
        }
        below = ~UINT64_C(0);
    }
}

/* Nothing is behind the text. */
INLINE unsigned char text_at(const struct marks *marks, size_t at)
{
    return at < marks->len ? (unsigned char)marks->text[at] : '\0';
}

static inline bool is_space(char c)
{
    return (unsigned char)c <= ' ' && (c == ' ' || c == '\n' || c == '\t' || c == '\r'); /* mostly one comparison tells */
}

static struct view decoded(struct match_scratch *state, struct view raw)
{
    char *text = state_text(state, raw.len);
    return (struct view){ .data = text, .len = scan_unescape(raw, text) };
}

/* The next quote behind `at`; the length of the text when there is none. In a long string the scan goes on by as much as it has been long, so that it
 * is called a few times, not for every block. */
INLINE size_t quote_behind(struct match_scratch *state, struct marks *marks, size_t at)
{
    size_t first = at / STRUCTURE_BLOCK_BYTES, block = first;

    marks_cover(state, marks, at);
    uint64_t bits = marks->blocks[block].quotes & ~((UINT64_C(2) << at % STRUCTURE_BLOCK_BYTES) - 1);
    while (bits == 0) {
        if (__builtin_expect(++block >= marks->blocks_count, 0)) {
            marks->blocks_count = scan_on(state, marks->text, marks->len, 2 * block - first + 1);
            if (block >= marks->blocks_count)
                return marks->len;
        }
        bits = marks->blocks[block].quotes;
    }
    return block * STRUCTURE_BLOCK_BYTES + (unsigned)__builtin_ctzll(bits);
}

/* The string whose quotes are at `open` and `close`. */
INLINE struct view string_between(struct match_scratch *state, const struct marks *marks, size_t open, size_t close)
{
    struct view raw = { .data = marks->text + open + 1, .len = close - open - 1 };

    if (__builtin_expect(state->structure.escapes, 0) && raw.len > 0 && memchr(raw.data, '\\', raw.len) != NULL)
        return decoded(state, raw);
    return raw;
}

/* From `from` by the name whose quotes are at `open` and `close`. With eight bytes of text behind its beginning and before its
 * end, the name's first and last ones are had without a branch on how long it is. */
INLINE uint32_t step(struct match_scratch *state, const struct marks *marks, uint32_t from, size_t open, size_t close)
{
    const struct image_node *here = &state->image->nodes[from];
    size_t len = close - open - 1;

    if (here->children_count == 0)
        return IMAGE_NONE;
    if (__builtin_expect(state->structure.escapes || marks->len - open < 9 || close < 8, 0))
        return walk_step(state->image, from, string_between(state, marks, open, close));
    uint64_t head = text_load8(marks->text + open + 1), tail = text_load8(marks->text + close - 8);
    head = len < 8 ? head & ((UINT64_C(1) << len % 8 * 8) - 1) : head;
    tail = len < 8 ? 0 : tail;
    return walk_step_known(state->image, here, from, (struct view){ .data = marks->text + open + 1, .len = len }, head, tail);
}

/* A number or literal at `at`: up to a comma, bracket or white space. Sixteen bytes at a time where they are: how long a number is
 * cannot be predicted, so a step per byte costs more than the number's value. */
INLINE struct view scalar_text(const struct marks *marks, size_t at)
{
    size_t stop = at;

#if defined(__SSE2__)
    const __m128i comma = _mm_set1_epi8(','), close = _mm_set1_epi8('}'), space = _mm_set1_epi8(' ');
    for (; marks->len - stop >= 16; stop += 16) {
        __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)(marks->text + stop));
        __m128i ends = _mm_or_si128(_mm_cmpeq_epi8(bytes, comma), _mm_cmpeq_epi8(_mm_or_si128(bytes, space), close));
        unsigned found = (unsigned)_mm_movemask_epi8(_mm_or_si128(ends, _mm_cmpeq_epi8(_mm_min_epu8(bytes, space), bytes)));
        if (found != 0)
            return (struct view){ .data = marks->text + at, .len = stop - at + (unsigned)__builtin_ctz(found) };
    }
#endif
    while (stop < marks->len && marks->text[stop] != ',' && !is_space(marks->text[stop]) && marks->text[stop] != ']' &&
           marks->text[stop] != '}')
        stop++;
    return (struct view){ .data = marks->text + at, .len = stop - at };
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

/* A value at `at` that a rule looks at or into. The mark of a string needs no taking: it will be seen to be no name. */
INLINE void take_value(struct match_scratch *state, struct marks *marks, uint32_t node, uint32_t context, size_t at)
{
    const struct image_node *here = &state->image->nodes[node];

    switch (at < marks->len ? marks->text[at] : '\0') {
    case '"':
        if (here->path != IMAGE_NONE)
            evaluate_string(state, here->path, context, string_between(state, marks, at, quote_behind(state, marks, at)));
        break;
    case '{':
        marks_take_open(state, marks, at);
        if (here->children_count == 0) /* an object is no value: only what is inside counts */
            skip_container(state, marks);
        else
            walk_open_object(state, node, context, 0);
        break;
    case '[':
        marks_take_open(state, marks, at);
        walk_open_array(state, node, context, 0);
        break;
    default:
        if (here->path != IMAGE_NONE)
            take_scalar(state, here->path, context, scalar_text(marks, at));
        break;
    }
}

/* At the end of all that matters. */
static void close_all(struct match_scratch *state)
{
    while (state->frames.count > 0)
        walk_close(state);
}

/* The members of the object on top until it ends or one that is looked into opens. */
static void take_members(struct match_scratch *state, struct marks *ret_marks)
{
    struct marks local = *ret_marks, *marks = &local;
    const struct walk_frame frame = state->frames.items[state->frames.count - 1];
    size_t frames_count = state->frames.count;

    while (state->frames.count == frames_count) {
        size_t at = marks_take(state, marks);
        if (at >= marks->len) {
            close_all(state);
            break;
        }
        char c = marks->text[at];
        if (c == '"') {
            bool last = at % STRUCTURE_BLOCK_BYTES == STRUCTURE_BLOCK_BYTES - 1; /* of its block: marked whatever it begins */
            if (__builtin_expect(last, 0) && !structure_begins_name(&state->image->names, text_at(marks, at + 1)))
                continue;
            size_t close = quote_behind(state, marks, at), value = close + 1;
            while (value < marks->len && is_space(marks->text[value]))
                value++;
            if (value >= marks->len || marks->text[value] != ':')
                continue; /* a value that begins like a name */
            uint32_t node = step(state, marks, frame.node, at, close);
            if (node == IMAGE_NONE)
                continue;
            do
                value++;
            while (value < marks->len && is_space(marks->text[value]));
            take_value(state, marks, node, frame.context, value);
        } else if (c == '{' || c == '[') {
            skip_container(state, marks);
        } else {
            walk_close(state);
        }
    }
    *ret_marks = local;
}

/* Strings, numbers and literals in an array, from `at` up to the bracket at `end`. */
INLINE void take_plain_items(struct match_scratch *state, struct marks *marks, uint32_t path, uint32_t context, size_t at, size_t end)
{
    while (at < end) {
        if (marks->text[at] == ',' || is_space(marks->text[at])) {
            at++;
        } else if (marks->text[at] == '"') {
            size_t close = quote_behind(state, marks, at);
            evaluate_string(state, path, context, string_between(state, marks, at, close));
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
    const struct walk_frame frame = state->frames.items[state->frames.count - 1];
    const struct image_node *here = &state->image->nodes[frame.node];
    size_t frames_count = state->frames.count;

    while (state->frames.count == frames_count) {
        size_t behind = marks->behind, at;
        do
            at = marks_take(state, marks);
        while (at < marks->len && marks->text[at] == '"'); /* a string that begins like a name */
        if (here->path != IMAGE_NONE)
            take_plain_items(state, marks, here->path, frame.context, behind, at);
        if (at >= marks->len) {
            close_all(state);
            break;
        }
        switch (marks->text[at]) {
        case '{':
            if (here->children_count == 0)
                skip_container(state, marks);
            else
                walk_open_object(state, frame.node, walk_open_item(state), 0);
            break;
        case '[':
            walk_open_array(state, frame.node, walk_open_item(state), 0);
            break;
        default:
            walk_close(state);
            break;
        }
    }
    *ret_marks = local;
}

void WALK_JSON(struct match_scratch *state, uint32_t node, struct view text)
{
    struct structure *structure = &state->structure;

    ASSERT(state->frames.count == 0);
    structure_scan(structure, text, &state->image->names);
    state->nothing_follows = false;
    struct marks marks = { .blocks = structure->blocks, .blocks_count = structure->count, .bits = structure->blocks[0].marks,
                           .text = text.data, .len = text.len };
    size_t at = 0;
    while (at < text.len && is_space(text.data[at]))
        at++;
    take_value(state, &marks, node, 0, at);
    while (state->frames.count > 0) {
        if (state->frames.items[state->frames.count - 1].array == STATE_NO_ARRAY)
            take_members(state, &marks);
        else
            take_items(state, &marks);
    }
}
