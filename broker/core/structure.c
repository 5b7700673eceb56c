#include "broker/core/structure.h"

#include <stdlib.h>

#include "broker/base/vec.h"
#include "schemas/codec/string_bits.h"

#if defined(__x86_64__)
#define HAVE_VECTORS 1
#endif

/* What one block looks like before strings are known. */
struct raw {
    uint64_t quotes, backslashes, opens, closes;
    uint64_t firsts;          /* bytes that a name in use begins with */
};

/* A quote that ends the block may begin a name: what follows is not in sight. */
static inline __attribute__((always_inline)) struct structure_block block_of(struct raw raw, uint64_t *in_string, uint64_t inside)
{
    inside ^= *in_string;
    *in_string = (uint64_t)((int64_t)inside >> 63);
    uint64_t opens = raw.opens & ~inside, closes = raw.closes & ~inside;
    uint64_t names = raw.quotes & inside & (raw.firsts >> 1 | UINT64_C(1) << 63);
    return (struct structure_block){ .quotes = raw.quotes, .marks = names | opens | closes, .opens = opens, .closes = closes };
}

#define SCAN_BLOCK(raw_of, parity_of, left)                                                                              \
    do {                                                                                                                 \
        struct raw raw = raw_of(text.data + i * STRUCTURE_BLOCK_BYTES, left, names);                                     \
        any |= raw.backslashes;                                                                                          \
        if (__builtin_expect((raw.backslashes | escaped) != 0, 0))                                                       \
            raw.quotes &= ~escaped_bits(raw.backslashes, &escaped);                                                      \
        structure->blocks[i] = block_of(raw, &in_string, parity_of(raw.quotes));                                         \
    } while (0)

/* From the first block not yet scanned up to `end`. Nothing behind the text is read: `raw_of` is given where a block begins and how many bytes are
 * left. The last block of the text is a part of one; the rest of it counts as spaces. */
#define SCAN_BODY(raw_of, parity_of)                                                                                     \
    uint64_t escaped = structure->escaped, in_string = structure->in_string, any = 0;                                    \
    size_t i = structure->count, last = text.len / STRUCTURE_BLOCK_BYTES;                                                \
    for (; i < end && i < last; i++)                                                                                     \
        SCAN_BLOCK(raw_of, parity_of, STRUCTURE_BLOCK_BYTES);                                                            \
    if (i < end)                                                                                                         \
        SCAN_BLOCK(raw_of, parity_of, text.len % STRUCTURE_BLOCK_BYTES);                                                 \
    structure->escaped = escaped;                                                                                        \
    structure->in_string = in_string;                                                                                    \
    structure->escapes |= any != 0;                                                                                      \
    structure->count = end;

/* The last block with a quote that a byte follows with which a name in use begins; the first one if there is none. What is inside strings is
 * not known here, so it may be one too late. */
#define LAST_BODY(raw_of)                                                                                                \
    size_t i = text.len / STRUCTURE_BLOCK_BYTES;                                                                         \
    struct raw raw = raw_of(text.data + i * STRUCTURE_BLOCK_BYTES, text.len % STRUCTURE_BLOCK_BYTES, names);             \
    uint64_t candidates = raw.quotes & raw.firsts >> 1;                                                                  \
    while (candidates == 0 && i > 0) {                                                                                   \
        uint64_t behind = raw.firsts << 63; /* of the quote that ends the block before */                                \
        raw = raw_of(text.data + --i * STRUCTURE_BLOCK_BYTES, STRUCTURE_BLOCK_BYTES, names);                             \
        candidates = raw.quotes & (raw.firsts >> 1 | behind);                                                            \
    }                                                                                                                    \
    return i;

/* For those that cannot read a part of a block. */
static inline const char *whole_block(const char *at, size_t left, char room[STRUCTURE_BLOCK_BYTES])
{
    if (left >= STRUCTURE_BLOCK_BYTES)
        return at;
    memset(room, ' ', STRUCTURE_BLOCK_BYTES);
    memcpy(room, at, left);
    return room;
}

/* ---- eight bytes at a time, anywhere ---- */

/* A bit for each byte of `word` that equals `c`. */
static uint64_t equal_bytes(uint64_t word, unsigned char c)
{
    const uint64_t low = UINT64_C(0x7F7F7F7F7F7F7F7F);
    uint64_t off = word ^ UINT64_C(0x0101010101010101) * c;
    uint64_t zero = ~(((off & low) + low) | off | low); /* 0x80 where the byte is zero */
    return (zero >> 7) * UINT64_C(0x0102040810204080) >> 56;
}

static struct raw raw_portable(const char *at, size_t left, const struct structure_names *names)
{
    char room[STRUCTURE_BLOCK_BYTES];
    struct raw raw = { 0 };

    at = whole_block(at, left, room);
    for (unsigned i = 0; i < STRUCTURE_BLOCK_BYTES; i += 8) {
        const unsigned char *bytes = (const unsigned char *)at + i;
        uint64_t word = 0;
        for (unsigned b = 0; b < 8; b++) {
            word |= (uint64_t)bytes[b] << b * 8;
            raw.firsts |= (uint64_t)structure_begins_name(names, bytes[b]) << (i + b);
        }
        uint64_t folded = word | UINT64_C(0x2020202020202020); /* [ and { differ in this bit only, ] and } too */
        raw.quotes |= equal_bytes(word, '"') << i;
        raw.backslashes |= equal_bytes(word, '\\') << i;
        raw.opens |= equal_bytes(folded, '{') << i;
        raw.closes |= equal_bytes(folded, '}') << i;
    }
    return raw;
}

static void scan_portable(struct structure *structure, struct view text, const struct structure_names *names, size_t end)
{
    SCAN_BODY(raw_portable, between_quotes)
}

static size_t last_portable(struct view text, const struct structure_names *names)
{
    LAST_BODY(raw_portable)
}

#ifdef HAVE_VECTORS

/* ---- 16, 32, 64 bytes at a time ---- */

static inline struct raw raw_sse2(const char *at, size_t left, const struct structure_names *names)
{
    const __m128i quote = _mm_set1_epi8('"'), backslash = _mm_set1_epi8('\\'), fold = _mm_set1_epi8(0x20);
    const __m128i open = _mm_set1_epi8('{'), close = _mm_set1_epi8('}');
    char room[STRUCTURE_BLOCK_BYTES];
    struct raw raw = { 0 };

    at = whole_block(at, left, room);
    for (unsigned i = 0; i < STRUCTURE_BLOCK_BYTES; i += 16) {
        __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)(at + i)), folded = _mm_or_si128(bytes, fold);
        raw.quotes |= (uint64_t)(uint16_t)_mm_movemask_epi8(_mm_cmpeq_epi8(bytes, quote)) << i;
        raw.backslashes |= (uint64_t)(uint16_t)_mm_movemask_epi8(_mm_cmpeq_epi8(bytes, backslash)) << i;
        raw.opens |= (uint64_t)(uint16_t)_mm_movemask_epi8(_mm_cmpeq_epi8(folded, open)) << i;
        raw.closes |= (uint64_t)(uint16_t)_mm_movemask_epi8(_mm_cmpeq_epi8(folded, close)) << i;
    }
    /* There is no table lookup for vectors at this level: byte by byte, where a string may begin. The first is for a quote that ends the
     * block before. */
    raw.firsts = (uint64_t)structure_begins_name(names, (unsigned char)at[0]);
    for (uint64_t quotes = raw.quotes & ~(UINT64_C(1) << 63); quotes != 0; quotes &= quotes - 1) {
        unsigned behind = (unsigned)__builtin_ctzll(quotes) + 1;
        raw.firsts |= (uint64_t)structure_begins_name(names, (unsigned char)at[behind]) << behind;
    }
    return raw;
}

static void scan_sse2(struct structure *structure, struct view text, const struct structure_names *names, size_t end)
{
    SCAN_BODY(raw_sse2, between_quotes)
}

static size_t last_sse2(struct view text, const struct structure_names *names)
{
    LAST_BODY(raw_sse2)
}

static inline __attribute__((target("avx2"), always_inline)) struct raw raw_avx2(const char *at, size_t left, const struct structure_names *names)
{
    const __m256i low = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)names->low));
    const __m256i high = _mm256_broadcastsi128_si256(_mm_setr_epi8(1, 2, 4, 8, 16, 32, 64, (char)128, 0, 0, 0, 0, 0, 0, 0, 0));
    const __m256i nibble = _mm256_set1_epi8(15);
    const __m256i quote = _mm256_set1_epi8('"'), backslash = _mm256_set1_epi8('\\'), fold = _mm256_set1_epi8(0x20);
    const __m256i open = _mm256_set1_epi8('{'), close = _mm256_set1_epi8('}');
    char room[STRUCTURE_BLOCK_BYTES];
    struct raw raw = { 0 };

    at = whole_block(at, left, room);
    for (unsigned i = 0; i < STRUCTURE_BLOCK_BYTES; i += 32) {
        __m256i bytes = _mm256_loadu_si256((const __m256i *)(const void *)(at + i)), folded = _mm256_or_si256(bytes, fold);
        raw.quotes |= (uint64_t)(uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(bytes, quote)) << i;
        raw.backslashes |= (uint64_t)(uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(bytes, backslash)) << i;
        raw.opens |= (uint64_t)(uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(folded, open)) << i;
        raw.closes |= (uint64_t)(uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(folded, close)) << i;
        __m256i groups = _mm256_shuffle_epi8(high, _mm256_and_si256(_mm256_srli_epi16(bytes, 4), nibble));
        __m256i none = _mm256_cmpeq_epi8(_mm256_and_si256(_mm256_shuffle_epi8(low, bytes), groups), _mm256_setzero_si256());
        raw.firsts |= (uint64_t)(uint32_t)(~_mm256_movemask_epi8(none) | _mm256_movemask_epi8(bytes)) << i;
    }
    return raw;
}

__attribute__((target("avx2," STRING_BITS_CARRYLESS)))
static void scan_avx2(struct structure *structure, struct view text, const struct structure_names *names, size_t end)
{
    SCAN_BODY(raw_avx2, between_quotes_carryless)
}

__attribute__((target("avx2")))
static size_t last_avx2(struct view text, const struct structure_names *names)
{
    LAST_BODY(raw_avx2)
}

static inline __attribute__((target("avx512bw,avx512f"), always_inline)) struct raw raw_avx512(const char *at, size_t left, const struct structure_names *names)
{
    const __m512i low = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(const void *)names->low));
    const __m512i high = _mm512_broadcast_i32x4(_mm_setr_epi8(1, 2, 4, 8, 16, 32, 64, (char)128, 0, 0, 0, 0, 0, 0, 0, 0));
    __mmask64 there = left >= STRUCTURE_BLOCK_BYTES ? ~UINT64_C(0) : (UINT64_C(1) << left) - 1;
    __m512i bytes = _mm512_mask_loadu_epi8(_mm512_set1_epi8(' '), there, at), folded = _mm512_or_si512(bytes, _mm512_set1_epi8(0x20));

    __m512i groups = _mm512_shuffle_epi8(high, _mm512_and_si512(_mm512_srli_epi16(bytes, 4), _mm512_set1_epi8(15)));
    return (struct raw){ .quotes = _mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8('"')),
                         .backslashes = _mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8('\\')),
                         .opens = _mm512_cmpeq_epi8_mask(folded, _mm512_set1_epi8('{')),
                         .closes = _mm512_cmpeq_epi8_mask(folded, _mm512_set1_epi8('}')),
                         .firsts = _mm512_test_epi8_mask(_mm512_shuffle_epi8(low, bytes), groups) | _mm512_movepi8_mask(bytes) };
}

__attribute__((target("avx512bw,avx512f," STRING_BITS_CARRYLESS)))
static void scan_avx512(struct structure *structure, struct view text, const struct structure_names *names, size_t end)
{
    SCAN_BODY(raw_avx512, between_quotes_carryless)
}

__attribute__((target("avx512bw,avx512f")))
static size_t last_avx512(struct view text, const struct structure_names *names)
{
    LAST_BODY(raw_avx512)
}

enum structure_level structure_level_max(void)
{
    bool carryless = __builtin_cpu_supports("pclmul") != 0;

    if (carryless && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512f"))
        return STRUCTURE_AVX512;
    return carryless && __builtin_cpu_supports("avx2") ? STRUCTURE_AVX2 : STRUCTURE_SSE2;
}

#else

enum structure_level structure_level_max(void)
{
    return STRUCTURE_PORTABLE;
}

#endif

void structure_init(struct structure *structure)
{
    *structure = (struct structure){ .level = structure_level_max() };
}

void structure_done(struct structure *structure)
{
    free(structure->blocks);
    *structure = (struct structure){ 0 };
}

static const struct width {
    void (*scan)(struct structure *structure, struct view text, const struct structure_names *names, size_t end);
    size_t (*last)(struct view text, const struct structure_names *names);
} widths[STRUCTURE_LEVELS] = {
    [STRUCTURE_PORTABLE] = { scan_portable, last_portable },
#ifdef HAVE_VECTORS
    [STRUCTURE_SSE2] = { scan_sse2, last_sse2 },
    [STRUCTURE_AVX2] = { scan_avx2, last_avx2 },
    [STRUCTURE_AVX512] = { scan_avx512, last_avx512 },
#endif
};

void structure_scan(struct structure *structure, struct view text, const struct structure_names *names)
{
    const struct width *width = &widths[structure->level];

    vec_room((void **)&structure->blocks, &structure->capacity, structure_blocks_of(text), sizeof *structure->blocks);
    structure->count = 0;
    structure->escapes = false;
    structure->escaped = structure->in_string = 0;
    width->scan(structure, text, names, width->last(text, names) + 1);
}

void structure_scan_on(struct structure *structure, struct view text, const struct structure_names *names, size_t count)
{
    size_t whole = structure_blocks_of(text), end = count < whole ? count : whole;

    if (end > structure->count)
        widths[structure->level].scan(structure, text, names, end);
}
