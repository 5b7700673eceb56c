#include "schemas/codec/json_blocks.h"

#include "schemas/codec/string_bits.h"
#include "schemas/codec/utf8.h"

#if defined(__x86_64__)

#define INLINE __attribute__((always_inline)) static inline

enum { BLOCK_BYTES = 64 };

/* A bit per byte of one block for each kind of byte. */
struct kinds {
    uint64_t quotes, backslashes, controls, high;
    uint64_t spaces, commas, colons;
    uint64_t braces, brackets, closes;    /* '{', '[', '}' or ']' */
    uint64_t digits, zeros, minuses, points;
};

/* What the next block has to know of the ones before it. All but the stack, `in_string` and `high` are single bits, bit 0. */
struct check {
    uint64_t escaped;          /* the next byte is */
    uint64_t in_string;        /* all ones: the next block begins inside one */
    uint64_t key;              /* that string may be a key */
    uint64_t high;             /* not zero: there is text that is not ASCII */
    /* behind a token of this kind: the next byte that is no white space is the token behind it */
    uint64_t behind_brace, behind_bracket, behind_comma, behind_colon, behind_value, behind_key;
    /* numbers: what the byte before was */
    uint64_t scalar, exponent, leading_zero, leading_minus, exponent_sign;
    uint64_t wants_digit;      /* it was a point or a sign */
    uint64_t integer, power;   /* the digits before a point, and those of an exponent, go on */
    uint64_t word, words;      /* how the word before the block goes on in it (any bits); whether a word ended at the last byte */
    uint64_t objects;          /* a stack of bits, lowest on top: an object */
    unsigned depth, depth_max;
    uint64_t bad;              /* not zero: it is no JSON */
};

/* The bits one further on; the highest is carried to the next block. */
INLINE uint64_t behind(uint64_t bits, uint64_t *carried)
{
    uint64_t moved = bits << 1 | *carried;

    *carried = bits >> 63;
    return moved;
}

/* Where runs of `run` that have a bit of `starts` as their first one end: the bits behind them. */
INLINE uint64_t behind_runs(uint64_t starts, uint64_t run, uint64_t *carried)
{
    unsigned long long sum, ends;
    bool over = __builtin_uaddll_overflow(run, starts & run, &sum);

    over |= __builtin_uaddll_overflow(sum, *carried, &ends);
    *carried = over;
    return ends & ~run;
}

/* The tokens behind those that end at `bits`: one further on, and then behind white space. */
INLINE uint64_t next_tokens(uint64_t bits, uint64_t spaces, uint64_t *carried)
{
    uint64_t at = bits << 1 | *carried;

    *carried = bits >> 63;
    if (spaces == 0)
        return at;
    unsigned long long ends;
    *carried |= __builtin_uaddll_overflow(spaces, at & spaces, &ends);
    return (ends & ~spaces) | (at & ~spaces);
}

/* The character behind a backslash. */
static bool escape_valid(struct view text, size_t at)
{
    if (at >= text.len)
        return false;
    if (text.data[at] != 'u')
        return text.data[at] != '\0' && strchr("\"\\/bfnrt", text.data[at]) != NULL;
    if (text.len - at < 5)
        return false;
    for (size_t i = at + 1; i < at + 5; i++)
        if (hex_digit(text.data[i]) < 0)
            return false;
    return true;
}

static bool escapes_valid(struct view text, size_t block, uint64_t escaped)
{
    bool valid = true;

    for (; escaped != 0; escaped &= escaped - 1)
        valid &= escape_valid(text, block + (unsigned)__builtin_ctzll(escaped));
    return valid;
}

/* Outside of strings no other control characters have a place. */
static bool line_breaks_or_tabs(struct view text, size_t block, uint64_t controls)
{
    bool valid = true;

    for (; controls != 0; controls &= controls - 1) {
        char c = text.data[block + (unsigned)__builtin_ctzll(controls)];
        valid &= c == '\n' || c == '\r' || c == '\t';
    }
    return valid;
}

static size_t word_len(struct view at)
{
    static const char *const words[] = { "true", "false", "null" };

    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (view_begins(at, words[i]))
            return strlen(words[i]);
    return 0;
}

/* What is in numbers and words beside digits, '-' and '.': words by their whole text, 'e' and '+' by their places. */
struct letters {
    uint64_t words, exponents, pluses;
    uint64_t word;             /* in the next block */
    bool bad;
};

static struct letters read_letters(struct view text, size_t block, uint64_t letters, uint64_t starts, uint64_t word)
{
    struct letters found = { .words = word };

    for (letters &= ~word; letters != 0;) {
        unsigned place = (unsigned)__builtin_ctzll(letters);
        uint64_t bit = letters & -letters;
        char c = text.data[block + place]; /* the padding has no letters */
        letters ^= bit;
        if ((starts & bit) != 0) {
            size_t len = word_len((struct view){ .data = text.data + block + place, .len = text.len - block - place });
            uint64_t mask = (UINT64_C(1) << len) - 1;
            found.bad |= len == 0;
            found.words |= mask << place;
            found.word = place == 0 ? 0 : mask >> (BLOCK_BYTES - place);
            letters &= ~found.words;
        } else if ((c | 0x20) == 'e') {
            found.exponents |= bit;
        } else {
            found.pluses |= bit;
            found.bad |= c != '+';
        }
    }
    return found;
}

/* Numbers, -?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?, and words. `scalars`: all bytes of them; `starts`: their first ones. A letter
 * that is one of these was read as a word, so that a number begins with a digit, a minus or a point, and an exponent stands behind a digit
 * or behind something that wants one. */
INLINE void check_scalars(struct check *check, struct view text, size_t block, const struct kinds *kinds, uint64_t scalars, uint64_t starts)
{
    uint64_t digits = kinds->digits & scalars, signs = kinds->minuses & scalars, points = kinds->points & scalars;
    uint64_t letters = scalars & ~(digits | signs | points), exponents = 0, bad = 0;

    if (__builtin_expect((letters | check->word | check->words) != 0, 0)) {
        struct letters found = read_letters(text, block, letters, starts, check->word);
        bad = found.bad | (behind(found.words, &check->words) & scalars & ~found.words);
        check->word = found.word;
        starts &= ~found.words;
        exponents = found.exponents;
        signs |= found.pluses;
    }
    uint64_t inner_signs = signs & ~(starts & kinds->minuses);
    bad |= behind(points | signs, &check->wants_digit) & ~digits;
    /* the digits before a point: of several the first is not 0; and a point is nowhere else but behind them */
    uint64_t first = digits & (starts | behind(signs & starts, &check->leading_minus));
    bad |= behind(kinds->zeros & first, &check->leading_zero) & digits;
    bad |= points & ~behind_runs(first, digits, &check->integer);
    if (__builtin_expect((exponents | inner_signs | check->exponent | check->exponent_sign | check->power) != 0, 0)) {
        uint64_t after_exponent = behind(exponents, &check->exponent);
        bad |= (after_exponent & ~(digits | signs)) | (inner_signs & ~after_exponent);
        uint64_t power = after_exponent | behind(inner_signs & after_exponent, &check->exponent_sign);
        bad |= behind_runs(power & digits, digits, &check->power) & exponents;
    }
    check->bad |= bad;
}

/* Goes through the brackets. `in_object`, `in_array`: what is wrong if it stands there. true: the value has ended, at `*ret_end`. */
INLINE bool check_brackets(struct check *check, struct view text, size_t block, uint64_t opens, uint64_t closes, uint64_t in_object,
                           uint64_t in_array, size_t *ret_end)
{
    const uint64_t wrong[2] = { in_array, in_object };
    uint64_t objects = check->objects, bad = 0, rest = ~UINT64_C(0);
    const unsigned char *at = (const unsigned char *)text.data + block;
    unsigned depth = check->depth;

    for (uint64_t left = opens | closes; left != 0; left &= left - 1) {
        unsigned place = (unsigned)__builtin_ctzll(left), kind = at[place] >> 5; /* '[' and ']': 2; '{' and '}': 3 */
        uint64_t upto = left ^ (left - 1);
        bad |= wrong[objects & 1] & upto & rest;
        rest = ~upto;
        if ((opens >> place & 1) != 0) {
            objects = objects * 2 + (kind & 1);
            bad |= ++depth > check->depth_max;
        } else {
            bad |= (objects ^ kind) & 1;
            objects >>= 1;
            if (--depth == 0) {
                check->bad |= bad;
                *ret_end = block + place + 1;
                return true;
            }
        }
    }
    check->bad |= bad | (wrong[objects & 1] & rest);
    check->objects = objects;
    check->depth = depth;
    return false;
}

/* The bytes outside of strings, and the quotes around them. */
struct tokens {
    uint64_t opening, inside, closing; /* `inside`: from the opening quote up to the closing one, which is not in it */
    uint64_t commas, colons, braces, brackets, closes;
    uint64_t starts, ends;             /* of numbers and words; ends: their last bytes */
};

/* What may stand behind what. Keys are strings behind '{' and ',', with a colon behind them; without one, a string behind ',' is an item.
 * Returns what is wrong in an object. */
INLINE uint64_t check_order(struct check *check, const struct tokens *tokens, uint64_t spaces)
{
    uint64_t values = tokens->opening | tokens->starts | tokens->braces | tokens->brackets;
    uint64_t behind_brace = next_tokens(tokens->braces, spaces, &check->behind_brace);
    uint64_t behind_bracket = next_tokens(tokens->brackets, spaces, &check->behind_bracket);
    uint64_t behind_comma = next_tokens(tokens->commas, spaces, &check->behind_comma);
    uint64_t behind_colon = next_tokens(tokens->colons, spaces, &check->behind_colon);
    uint64_t behind_value = next_tokens(tokens->closing | tokens->closes | tokens->ends, spaces, &check->behind_value);
    uint64_t keys = behind_runs(tokens->opening & (behind_brace | behind_comma), tokens->inside, &check->key);
    uint64_t behind_key = next_tokens(keys, spaces, &check->behind_key);

    check->bad |= ((behind_comma | behind_colon) & ~values) | (behind_bracket & ~(values | tokens->closes)) |
                  (behind_brace & ~(tokens->opening | tokens->closes)) |
                  (behind_value & ~(tokens->commas | tokens->colons | tokens->closes)) | (tokens->colons & ~behind_key);
    return (behind_key & ~tokens->colons) | (behind_comma & ~tokens->opening);
}

/* `parity`: of the quotes that are not escaped, which are all that `kinds` has. */
INLINE bool check_block(struct check *check, struct view text, size_t block, const struct kinds *kinds, uint64_t parity, size_t *ret_end)
{
    struct tokens tokens = { .inside = parity ^ check->in_string };

    check->in_string = (uint64_t)((int64_t)tokens.inside >> 63);
    tokens.opening = kinds->quotes & tokens.inside;
    tokens.closing = kinds->quotes & ~tokens.inside;
    uint64_t outside = ~(tokens.inside | tokens.closing), spaces = kinds->spaces & outside, controls = kinds->controls & outside;
    check->bad |= kinds->controls & tokens.inside;
    if (__builtin_expect(controls != 0, 0)) {
        check->bad |= !line_breaks_or_tabs(text, block, controls);
        spaces |= controls;
    }
    tokens.commas = kinds->commas & outside;
    tokens.colons = kinds->colons & outside;
    tokens.braces = kinds->braces & outside;
    tokens.brackets = kinds->brackets & outside;
    tokens.closes = kinds->closes & outside;
    uint64_t scalars = outside & ~(spaces | tokens.commas | tokens.colons | tokens.braces | tokens.brackets | tokens.closes);
    uint64_t scalar_before = check->scalar, after_scalar = behind(scalars, &check->scalar);
    tokens.starts = scalars & ~after_scalar;
    tokens.ends = (after_scalar & ~scalars) >> 1;            /* known by what is behind them: that of the last byte */
    check->behind_value |= scalar_before & ~scalars;         /* only in the next block */
    if ((scalars | scalar_before) != 0)
        check_scalars(check, text, block, kinds, scalars, tokens.starts);
    uint64_t in_object = spaces == 0 ? check_order(check, &tokens, 0) : check_order(check, &tokens, spaces);
    return check_brackets(check, text, block, tokens.braces | tokens.brackets, tokens.closes, in_object, tokens.colons, ret_end);
}

/* Returns where the value ends; 0: it does not, or it is no JSON. Nothing behind the text is read: `kinds_of` is given where a block begins and how
 * many bytes are left; where those are fewer than a block, the rest counts as spaces. */
#define CHECK_BODY(kinds_of)                                                                                                 \
    struct check check = { .depth_max = depth_max };                                                                         \
    for (size_t block = 0; block <= text.len && check.bad == 0; block += BLOCK_BYTES) {                                      \
        struct kinds kinds = kinds_of(text.data + block, text.len - block);                                                  \
        check.high |= kinds.high;                                                                                            \
        if (check.in_string != 0 && (kinds.quotes | kinds.backslashes | kinds.controls | check.escaped) == 0)                 \
            continue; /* nothing but a string's inside */                                                                    \
        if (__builtin_expect((kinds.backslashes | check.escaped) != 0, 0)) {                                                 \
            uint64_t escaped = escaped_bits(kinds.backslashes, &check.escaped);                                              \
            check.bad |= !escapes_valid(text, block, escaped);                                                               \
            kinds.quotes &= ~escaped;                                                                                        \
        }                                                                                                                    \
        size_t end;                                                                                                          \
        if (check_block(&check, text, block, &kinds, between_quotes_carryless(kinds.quotes), &end)) {                        \
            *ret_ascii = check.high == 0;                                                                                    \
            return check.bad == 0 ? end : 0;                                                                                 \
        }                                                                                                                    \
    }                                                                                                                        \
    return 0;

#define EQUAL256(c) \
    ((uint64_t)(uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(low, _mm256_set1_epi8(c))) | \
     (uint64_t)(uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(high, _mm256_set1_epi8(c))) << 32)
#define AT_MOST256(low_, high_, c) \
    ((uint64_t)(uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(_mm256_min_epu8(low_, _mm256_set1_epi8(c)), low_)) | \
     (uint64_t)(uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(_mm256_min_epu8(high_, _mm256_set1_epi8(c)), high_)) << 32)

__attribute__((target("avx2"), always_inline)) static inline struct kinds kinds_avx2(const char *at, size_t left)
{
    char padded[BLOCK_BYTES];
    if (left < BLOCK_BYTES) {
        memset(padded, ' ', sizeof padded);
        memcpy(padded, at, left);
        at = padded;
    }
    __m256i low = _mm256_loadu_si256((const __m256i *)(const void *)at), high = _mm256_loadu_si256((const __m256i *)(const void *)(at + 32));
    __m256i low_digit = _mm256_sub_epi8(low, _mm256_set1_epi8('0')), high_digit = _mm256_sub_epi8(high, _mm256_set1_epi8('0'));

    return (struct kinds){
        .quotes = EQUAL256('"'), .backslashes = EQUAL256('\\'), .controls = AT_MOST256(low, high, 0x1f),
        .high = (uint64_t)(uint32_t)_mm256_movemask_epi8(_mm256_or_si256(low, high)),
        .spaces = EQUAL256(' '), .commas = EQUAL256(','), .colons = EQUAL256(':'), .braces = EQUAL256('{'), .brackets = EQUAL256('['),
        .closes = EQUAL256('}') | EQUAL256(']'), .digits = AT_MOST256(low_digit, high_digit, 9), .zeros = EQUAL256('0'),
        .minuses = EQUAL256('-'), .points = EQUAL256('.'),
    };
}

__attribute__((target("avx2,bmi,bmi2," STRING_BITS_CARRYLESS))) static size_t check_avx2(struct view text, unsigned depth_max, bool *ret_ascii)
{
    CHECK_BODY(kinds_avx2)
}

#define EQUAL512(c) _mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8(c))

__attribute__((target("avx512bw,avx512f"), always_inline)) static inline struct kinds kinds_avx512(const char *at, size_t left)
{
    __mmask64 there = left >= BLOCK_BYTES ? ~UINT64_C(0) : (UINT64_C(1) << left) - 1;
    __m512i bytes = _mm512_mask_loadu_epi8(_mm512_set1_epi8(' '), there, at);

    return (struct kinds){
        .quotes = EQUAL512('"'), .backslashes = EQUAL512('\\'), .controls = _mm512_cmple_epu8_mask(bytes, _mm512_set1_epi8(0x1f)),
        .high = _mm512_movepi8_mask(bytes),
        .spaces = EQUAL512(' '), .commas = EQUAL512(','), .colons = EQUAL512(':'), .braces = EQUAL512('{'), .brackets = EQUAL512('['),
        .closes = _mm512_cmpeq_epi8_mask(_mm512_or_si512(bytes, _mm512_set1_epi8(0x20)), _mm512_set1_epi8('}')),
        .digits = _mm512_cmple_epu8_mask(_mm512_sub_epi8(bytes, _mm512_set1_epi8('0')), _mm512_set1_epi8(9)), .zeros = EQUAL512('0'),
        .minuses = EQUAL512('-'), .points = EQUAL512('.'),
    };
}

__attribute__((target("avx512bw,avx512f,bmi,bmi2," STRING_BITS_CARRYLESS))) static size_t check_avx512(struct view text, unsigned depth_max, bool *ret_ascii)
{
    CHECK_BODY(kinds_avx512)
}

enum json_blocks_level json_blocks_level_max(void)
{
    if (!__builtin_cpu_supports("pclmul") || !__builtin_cpu_supports("bmi") || !__builtin_cpu_supports("bmi2"))
        return JSON_BLOCKS_NONE;
    if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512f"))
        return JSON_BLOCKS_AVX512;
    return __builtin_cpu_supports("avx2") ? JSON_BLOCKS_AVX2 : JSON_BLOCKS_NONE;
}

static size_t skip_space(struct view text, size_t at)
{
    while (at < text.len && (text.data[at] == ' ' || text.data[at] == '\n' || text.data[at] == '\r' || text.data[at] == '\t'))
        at++;
    return at;
}

bool json_blocks_valid(enum json_blocks_level level, struct view text, unsigned depth_max)
{
    size_t begin = skip_space(text, 0);

    if (level == JSON_BLOCKS_NONE || begin == text.len || (text.data[begin] != '{' && text.data[begin] != '['))
        return false;
    struct view value = { .data = text.data + begin, .len = text.len - begin };
    bool ascii = false;
    depth_max = depth_max < JSON_BLOCKS_DEPTH_MAX ? depth_max : JSON_BLOCKS_DEPTH_MAX;
    size_t end = level == JSON_BLOCKS_AVX512 ? check_avx512(value, depth_max, &ascii) : check_avx2(value, depth_max, &ascii);
    return end != 0 && skip_space(value, end) == value.len && (ascii || utf8_valid(value));
}

#else

enum json_blocks_level json_blocks_level_max(void)
{
    return JSON_BLOCKS_NONE;
}

bool json_blocks_valid(enum json_blocks_level level, struct view text, unsigned depth_max)
{
    (void)level, (void)text, (void)depth_max;
    return false;
}

#endif
