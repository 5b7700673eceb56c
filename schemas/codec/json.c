#include "schemas/codec/json.h"
#include "schemas/codec/json_blocks.h"
#include "schemas/codec/utf8.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* The check is one loop over tokens. What is open is a stack of single bits (1: object, 0: array), so depth costs no
 * memory worth naming. Inside strings, where most bytes are, it goes sixteen or eight at a time: a byte that needs a
 * look is a control character, a quote, a backslash or not ASCII, and arithmetic on the whole word finds the first one. */

/* Shorter text is done sooner token by token. */
enum { BLOCKS_BYTES_MIN = 64 };

#define ONES UINT64_C(0x0101010101010101)

/* The scanners take the place where something begins and return the place behind it; NULL: stopped, and why is here. */
struct scan {
    const uint8_t *end;
    const uint8_t *stopped_at;
    const char *reason;
};

static const char reason_depth[] = "nested too deep";

static const uint8_t *stop(struct scan *scan, const uint8_t *at, const char *reason)
{
    scan->stopped_at = at;
    scan->reason = reason;
    return NULL;
}

/* High bit set in each byte that ends a run of plain string bytes. Above the first such byte there may be false ones
 * (borrows), never below it. */
static uint64_t special_bytes(uint64_t word)
{
    uint64_t quote = word ^ ONES * '"';
    uint64_t backslash = word ^ ONES * '\\';
    return (((word - ONES * 0x20) & ~word) | ((quote - ONES) & ~quote) | ((backslash - ONES) & ~backslash) | word)
           & UTF8_HIGH_BITS;
}

static inline const uint8_t *skip_plain(const uint8_t *at, const uint8_t *end)
{
#ifdef __SSE2__
    /* As signed bytes, what is not ASCII is negative: one comparison with the space finds it and the control characters. */
    const __m128i space = _mm_set1_epi8(' '), quote = _mm_set1_epi8('"'), backslash = _mm_set1_epi8('\\');
    while (end - at >= 16) {
        __m128i word = _mm_loadu_si128((const __m128i *)at);
        __m128i special = _mm_or_si128(_mm_cmplt_epi8(word, space),
                                       _mm_or_si128(_mm_cmpeq_epi8(word, quote), _mm_cmpeq_epi8(word, backslash)));
        int places = _mm_movemask_epi8(special);
        if (places != 0)
            return at + __builtin_ctz((unsigned)places);
        at += 16;
    }
#endif
    while (end - at >= 8) {
        uint64_t special = special_bytes(utf8_load8(at));
        if (special != 0)
            return at + (__builtin_ctzll(special) >> 3);
        at += 8;
    }
    while (at != end && *at >= 0x20 && *at < 0x80 && *at != '"' && *at != '\\')
        at++;
    return at;
}

static inline bool is_space(uint8_t c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static inline const uint8_t *skip_space(const uint8_t *at, const uint8_t *end)
{
    while (at != end && *at <= ' ' && is_space(*at))
        at++;
    return at;
}

/* The value of the four digits of \uXXXX; -1: not four hexadecimal digits. */
static int32_t hex4(const uint8_t *at, const uint8_t *end)
{
    int32_t value = 0;

    if (end - at < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        int digit = hex_digit((char)at[i]);
        if (digit < 0)
            return -1;
        value = value << 4 | digit;
    }
    return value;
}

/* at: behind the opening quote. */
static inline const uint8_t *scan_string(struct scan *scan, const uint8_t *at, const uint8_t *end)
{
    for (;;) {
        at = skip_plain(at, end);
        if (at == end)
            return stop(scan, at, "a string that does not end");
        if (*at == '"')
            return at + 1;
        if (*at == '\\') {
            if (end - at < 2)
                return stop(scan, end, "a string that does not end");
            if (at[1] == 'u') {
                if (hex4(at + 2, end) < 0)
                    return stop(scan, at, "\\u without four hexadecimal digits");
                at += 6;
            } else if (at[1] != '\0' && strchr("\"\\/bfnrt", at[1]) != NULL) {
                at += 2;
            } else {
                return stop(scan, at, "an escape that JSON does not have");
            }
            continue;
        }
        if (*at < 0x20)
            return stop(scan, at, "a control character in a string (write it as an escape)");
        do { /* text that is not ASCII comes in runs */
            unsigned len = utf8_sequence(at, end);
            if (len == 0)
                return stop(scan, at, "bytes that are not UTF-8");
            at += len;
        } while (at != end && *at >= 0x80);
    }
}

static inline bool is_digit(const uint8_t *at, const uint8_t *end)
{
    return at != end && (uint8_t)(*at - '0') <= 9;
}

#ifdef __SSE2__
/* A bit for each of the 32 bytes that is a digit. */
static inline uint64_t digit_places(const uint8_t *at)
{
    const __m128i zero = _mm_set1_epi8('0'), nine = _mm_set1_epi8(9);
    __m128i low = _mm_sub_epi8(_mm_loadu_si128((const __m128i *)at), zero);
    __m128i high = _mm_sub_epi8(_mm_loadu_si128((const __m128i *)(at + 16)), zero);
    unsigned low_places = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(_mm_min_epu8(low, nine), low));
    unsigned high_places = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(_mm_min_epu8(high, nine), high));
    return (uint64_t)high_places << 16 | low_places;
}

/* The end of a number of less than 32 bytes without an exponent, by its runs of digits: how many there are cannot be predicted, so that a
 * branch for each costs more than all of this. NULL: not such a number, or none at all. */
static inline const uint8_t *short_number_end(const uint8_t *at)
{
    uint64_t digits = digit_places(at);
    unsigned first = *at == '-', point = first + (unsigned)__builtin_ctzll(~(digits >> first));

    if (point == first || point >= 31 || (at[first] == '0' && point - first > 1))
        return NULL;
    if (at[point] == '.') {
        unsigned behind = point + 1 + (unsigned)__builtin_ctzll(~(digits >> (point + 1)));
        if (behind == point + 1 || behind >= 32)
            return NULL;
        point = behind;
    }
    return (at[point] | 0x20) == 'e' ? NULL : at + point;
}
#endif

static inline const uint8_t *scan_number(struct scan *scan, const uint8_t *at, const uint8_t *end)
{
#ifdef __SSE2__
    const uint8_t *behind = end - at > 32 ? short_number_end(at) : NULL;
    if (behind != NULL)
        return behind;
#endif
    at += *at == '-';
    if (!is_digit(at, end))
        return stop(scan, at, "a number without digits");
    if (*at == '0') {
        at++;
        if (is_digit(at, end))
            return stop(scan, at, "a number with a leading zero");
    }
    while (is_digit(at, end))
        at++;
    if (at != end && *at == '.') {
        at++;
        if (!is_digit(at, end))
            return stop(scan, at, "a number without digits after its point");
        while (is_digit(at, end))
            at++;
    }
    if (at != end && (*at | 0x20) == 'e') {
        at++;
        if (at != end && (*at == '+' || *at == '-'))
            at++;
        if (!is_digit(at, end))
            return stop(scan, at, "a number without digits in its exponent");
        while (is_digit(at, end))
            at++;
    }
    return at;
}

static const uint8_t *scan_literal(struct scan *scan, const uint8_t *at, const char *literal, size_t len)
{
    if ((size_t)(scan->end - at) < len || memcmp(at, literal, len) != 0)
        return stop(scan, at, "not a value: only true, false and null are bare words");
    return at + len;
}

static inline const uint8_t *scan_scalar(struct scan *scan, const uint8_t *at, const uint8_t *end)
{
    switch (*at) {
    case '"': return scan_string(scan, at + 1, end);
    case 't': return scan_literal(scan, at, "true", 4);
    case 'f': return scan_literal(scan, at, "false", 5);
    case 'n': return scan_literal(scan, at, "null", 4);
    case '-': case '0': case '1': case '2': case '3': case '4':
    case '5': case '6': case '7': case '8': case '9': return scan_number(scan, at, end);
    default: return stop(scan, at, "not the start of a value");
    }
}

/* at: where the key should be. Returns the first byte of the value. */
static inline const uint8_t *scan_key(struct scan *scan, const uint8_t *at, const uint8_t *end)
{
    if (at == end || *at != '"')
        return stop(scan, at, "expected a key in quotes");
    at = scan_string(scan, at + 1, end);
    if (at == NULL)
        return NULL;
    if (at == end || *at != ':') { /* mostly it is the next byte: then nothing has to be skipped */
        at = skip_space(at, end);
        if (at == end || *at != ':')
            return stop(scan, at, "expected ':' after a key");
    }
    return skip_space(at + 1, end);
}

static const uint8_t *scan_value(struct scan *scan, const uint8_t *at, unsigned depth_max)
{
    uint64_t objects[JSON_DEPTH_MAX / 64 + 1]; /* bit d: the level d is an object */
    unsigned depth = 0;
    bool in_object = false;
    const uint8_t *end = scan->end;

    for (;;) {
        /* A value begins here. */
        if (at == end)
            return stop(scan, at, "expected a value");
        if (*at == '{' || *at == '[') {
            if (depth == depth_max)
                return stop(scan, at, reason_depth);
            in_object = *at == '{';
            uint64_t bit = UINT64_C(1) << (depth & 63);
            uint64_t above = (depth & 63) == 0 ? 0 : objects[depth >> 6] & (bit - 1);
            objects[depth >> 6] = above | (in_object ? bit : 0);
            depth++;
            at = skip_space(at + 1, end);
            if (at == end || *at != (in_object ? '}' : ']')) {
                if (in_object && (at = scan_key(scan, at, end)) == NULL)
                    return NULL;
                continue;
            }
        } else {
            at = scan_scalar(scan, at, end);
            if (at == NULL)
                return NULL;
        }
        /* A value, or an empty object or array up to its closing bracket, ended here. */
        for (;;) {
            if (depth == 0)
                return at;
            if (at != end && *at == ',')
                break;
            at = skip_space(at, end);
            if (at == end)
                return stop(scan, at, in_object ? "an object that does not end" : "an array that does not end");
            if (*at != (in_object ? '}' : ']'))
                break;
            at++;
            depth--;
            if (depth > 0)
                in_object = objects[(depth - 1) >> 6] >> ((depth - 1) & 63) & 1;
        }
        if (*at != ',')
            return stop(scan, at, in_object ? "expected ',' or '}'" : "expected ',' or ']'");
        at = skip_space(at + 1, end);
        if (in_object && (at = scan_key(scan, at, end)) == NULL)
            return NULL;
    }
}

/* Lines and columns count from 1, columns in characters. Only looked for once something is wrong. */
static enum sluice_err fail_at(struct view text, const struct scan *scan, unsigned depth_max, struct sluice_error *reterr)
{
    unsigned long line = 1, column = 1;

    for (const char *at = text.data; at != (const char *)scan->stopped_at; at++) {
        if (*at == '\n')
            line++, column = 1;
        else if ((*at & 0xc0) != 0x80)
            column++;
    }
    if (scan->reason == reason_depth)
        return sluice_fail(reterr, SLUICE_EINVAL, "JSON line %lu, column %lu: nested deeper than %u", line, column, depth_max);
    return sluice_fail(reterr, SLUICE_EINVAL, "JSON line %lu, column %lu: %s%s", line, column, scan->reason,
                       scan->stopped_at == scan->end ? " (the text ends here)" : "");
}

enum sluice_err json_check_tokens(struct view text, enum json_kind kind, unsigned depth_max, struct sluice_error *reterr)
{
    struct scan scan = { .end = (const uint8_t *)text.data + text.len };
    const uint8_t *at = skip_space((const uint8_t *)text.data, scan.end);

    if (depth_max > JSON_DEPTH_MAX)
        depth_max = JSON_DEPTH_MAX;
    if (kind == JSON_OBJECT && (at == scan.end || *at != '{'))
        at = stop(&scan, at, "expected an object");
    else
        at = scan_value(&scan, at, depth_max);
    if (at != NULL) {
        at = skip_space(at, scan.end);
        if (at == scan.end)
            return SLUICE_OK;
        (void)stop(&scan, at, "something after the value");
    }
    return fail_at(text, &scan, depth_max, reterr);
}

/* Text that is valid, as nearly all is, is known to be so 64 bytes at a time; of other text the tokens tell what is wrong where. */
enum sluice_err json_check(struct view text, enum json_kind kind, unsigned depth_max, struct sluice_error *reterr)
{
    if (text.len >= BLOCKS_BYTES_MIN && (kind == JSON_ANY || text.data[0] == '{') &&
        json_blocks_valid(json_blocks_level_max(), text, depth_max))
        return SLUICE_OK;
    return json_check_tokens(text, kind, depth_max, reterr);
}

/* In checked JSON a raw line break can only stand between tokens. */
void json_put_line(struct bytes *out, struct view checked)
{
    size_t start = out->len;

    bytes_put_view(out, checked);
    if (out->failed || checked.len == 0)
        return;
    char *end = out->data + out->len;
    for (char *at = out->data + start; (at = memchr(at, '\n', (size_t)(end - at))) != NULL;)
        *at++ = ' ';
    for (char *at = out->data + start; (at = memchr(at, '\r', (size_t)(end - at))) != NULL;)
        *at++ = ' ';
}

void json_put_string(struct bytes *out, struct view text)
{
    if (text.len == 0) { /* its data may be NULL */
        bytes_put(out, "\"\"", 2);
        return;
    }
    const uint8_t *at = (const uint8_t *)text.data, *end = at + text.len;
    bytes_put_char(out, '"');
    for (;;) {
        const uint8_t *plain = at;
        at = skip_plain(at, end);
        bytes_put(out, plain, (size_t)(at - plain));
        if (at == end)
            break;
        unsigned len = 1;
        switch (*at) {
        case '"': bytes_put_text(out, "\\\""); break;
        case '\\': bytes_put_text(out, "\\\\"); break;
        case '\b': bytes_put_text(out, "\\b"); break;
        case '\f': bytes_put_text(out, "\\f"); break;
        case '\n': bytes_put_text(out, "\\n"); break;
        case '\r': bytes_put_text(out, "\\r"); break;
        case '\t': bytes_put_text(out, "\\t"); break;
        default:
            if (*at < 0x20) {
                bytes_put_format(out, "\\u%04x", *at);
                break;
            }
            len = utf8_sequence(at, end);
            if (len > 0) {
                bytes_put(out, at, len);
            } else {
                bytes_put_text(out, "\xef\xbf\xbd");
                len = 1;
            }
        }
        at += len;
    }
    bytes_put_char(out, '"');
}
