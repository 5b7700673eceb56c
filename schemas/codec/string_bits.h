/* string_bits.h - where strings are in JSON text, from one bit per byte, 64 bytes at a time. */
#ifndef SLUICE_CODEC_STRING_BITS_H
#define SLUICE_CODEC_STRING_BITS_H

#include <stdint.h>

#if defined(__x86_64__)
#include <immintrin.h>
#define STRING_BITS_CARRYLESS "pclmul"
#endif

/* Bits of characters behind an odd run of backslashes. `escaped`, in and out: whether the block's first byte is escaped, then whether that
 * of the next one is. Backslashes are rare: run by run. */
static inline uint64_t escaped_bits(uint64_t backslashes, uint64_t *escaped)
{
    uint64_t bits = *escaped;

    backslashes &= ~bits;
    *escaped = 0;
    while (backslashes != 0) {
        unsigned at = (unsigned)__builtin_ctzll(backslashes);
        if (at == 63) {
            *escaped = 1;
            break;
        }
        bits |= UINT64_C(2) << at;
        backslashes &= ~(UINT64_C(3) << at); /* what it escapes is no escape itself */
    }
    return bits;
}

/* From each quote up to the next, the first included: running parity. */
static inline uint64_t between_quotes(uint64_t quotes)
{
    for (unsigned shift = 1; shift < 64; shift *= 2)
        quotes ^= quotes << shift;
    return quotes;
}

#if defined(__x86_64__)
/* Multiplying by all ones without carries is running parity. */
__attribute__((target(STRING_BITS_CARRYLESS), always_inline)) static inline uint64_t between_quotes_carryless(uint64_t quotes)
{
    __m128i product = _mm_clmulepi64_si128(_mm_set_epi64x(0, (long long)quotes), _mm_set1_epi8((char)0xFF), 0);
    return (uint64_t)_mm_cvtsi128_si64(product);
}
#endif

#endif
