/* wildcard.h - many wildcards on one value: first the few that can hold are found, then each of those is tried.
 *
 * A wildcard with a fixed beginning or end is found by these, at most eight bytes of each (its *shape* says how many). One
 * without, or one of many with the same ends, is found by two bytes in a row that it holds somewhere, a *gram*: the grams of a
 * value are a bit set of GRAM_PAIRS bits by hash, and a wildcard waits in the bucket of its rarest gram and names up to
 * WILDCARD_GRAMS more that must be there. A wildcard all of whose parts are single bytes waits in the bucket of one of these.
 *
 * A wildcard's operand: WILDCARD_GRAMS numbers of grams (16 bits, GRAM_NONE behind the last), the count of its parts (32 bits),
 * then for each its length (32 bits) and bytes. Trying it takes time linear in the value. */
#ifndef SLUICE_CORE_WILDCARD_H
#define SLUICE_CORE_WILDCARD_H

#include "broker/core/text_hash.h"

enum {
    GRAM_PAIRS = 1024,
    GRAM_BUCKETS = GRAM_PAIRS + 256, /* and one for each single byte */
    GRAM_WORDS = GRAM_BUCKETS / 64,
    GRAM_NONE = 0xFFFF,
    WILDCARD_GRAMS = 4,
    WILDCARD_END_BYTES = 8,
    WILDCARD_SHAPES = (WILDCARD_END_BYTES + 1) * (WILDCARD_END_BYTES + 1),
};

static inline unsigned gram_of_pair(unsigned char first, unsigned char second)
{
    return ((unsigned)first | (unsigned)second << 8) * 40503u >> 6 & (GRAM_PAIRS - 1);
}
static inline unsigned gram_of_byte(unsigned char byte)
{
    return GRAM_PAIRS + byte;
}

/* `operand` without its grams and count: the parts. */
bool wildcard_matches(const char *parts, uint32_t parts_count, struct view text);
void gram_set_of(struct view text, uint64_t ret_set[GRAM_WORDS]);

static inline uint64_t wildcard_ends_hash(uint64_t head, uint64_t tail, unsigned head_len, unsigned tail_len)
{
    uint64_t low = head_len == 8 ? head : head & ((UINT64_C(1) << head_len * 8) - 1);
    uint64_t high = tail_len == 8 ? tail : tail_len == 0 ? 0 : tail >> (8 - tail_len) * 8;
    return text_hash_end(text_hash_word(text_hash_begin(), low), high, head_len * 16 + tail_len);
}

#endif
