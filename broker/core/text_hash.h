/* text_hash.h - the hash of the engine's tables. It takes text word by word, so that the hashes of all beginnings (or all ends)
 * of one text cost one pass. No load leaves the text. */
#ifndef SLUICE_CORE_TEXT_HASH_H
#define SLUICE_CORE_TEXT_HASH_H

#include "schemas/codec/view.h"

__extension__ typedef unsigned __int128 text_hash_wide;

static inline uint64_t text_hash_mix(uint64_t a, uint64_t b)
{
    text_hash_wide product = (text_hash_wide)(a ^ 0x2d358dccaa6c78a5u) * (b ^ 0x8bb84b93962eacc9u);
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline uint64_t text_load8(const char *at)
{
    uint64_t word;
    memcpy(&word, at, 8);
    return word;
}

static inline uint32_t text_load4(const char *at)
{
    uint32_t word;
    memcpy(&word, at, 4);
    return word;
}

/* Up to seven bytes as a word, zeros above them. */
static inline uint64_t text_load_short(const char *at, size_t len)
{
    if (len >= 4)
        return text_load4(at) | (uint64_t)text_load4(at + len - 4) << ((len - 4) * 8);
    if (len == 0)
        return 0;
    const unsigned char *bytes = (const unsigned char *)at;
    return bytes[0] | (uint64_t)bytes[len >> 1] << ((len >> 1) * 8) | (uint64_t)bytes[len - 1] << ((len - 1) * 8);
}

/* The first and the last eight bytes, as far as there are any; two texts of the same length up to 16 that agree in both are
 * equal. */
static inline uint64_t text_head(const char *at, size_t len)
{
    return len >= 8 ? text_load8(at) : text_load_short(at, len);
}
static inline uint64_t text_tail(const char *at, size_t len)
{
    return len >= 8 ? text_load8(at + len - 8) : 0;
}

static inline uint64_t text_hash_begin(void) { return 0x9e3779b97f4a7c15u; }
static inline uint64_t text_hash_word(uint64_t state, uint64_t word) { return text_hash_mix(state ^ word, 0xa0761d6478bd642fu); }
static inline uint64_t text_hash_end(uint64_t state, uint64_t rest, size_t len)
{
    return text_hash_mix(state ^ rest, 0xe7037ed1a0b428dbu ^ len);
}

/* From the front: whole words, then what is left. */
static inline uint64_t text_hash(const char *at, size_t len)
{
    uint64_t state = text_hash_begin();
    size_t left = len;

    for (; left >= 8; left -= 8, at += 8)
        state = text_hash_word(state, text_load8(at));
    return text_hash_end(state, text_load_short(at, left), len);
}

/* From the back: whole words before `end`, then the first few bytes. */
static inline uint64_t text_hash_back(const char *end, size_t len)
{
    uint64_t state = text_hash_begin();
    size_t left = len;

    for (; left >= 8; left -= 8, end -= 8)
        state = text_hash_word(state, text_load8(end - 8));
    return text_hash_end(state, text_load_short(end - left, left), len);
}

#endif
