#include "schemas/codec/json.h"
#include "schemas/codec/utf8.h"

/* The check is one loop over tokens. What is open is a stack of single bits (1: object, 0: array), so depth costs no
 * memory worth naming. Inside strings, where most bytes are, it goes eight at a time: a byte that needs a look is a
 * control character, a quote, a backslash or not ASCII, and arithmetic on the whole word finds the first of them. */

#define ONES UINT64_C(0x0101010101010101)

struct scan {
    const uint8_t *at, *end;
    const char *reason; /* set where the scan stopped; `at` stands there */
};

static bool stop(struct scan *scan, const uint8_t *at, const char *reason)
{
    scan->at = at;
    scan->reason = reason;
    return false;
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
    while (at != end && is_space(*at))
        at++;
    return at;
}

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The value of the four digits of \uXXXX; -1: not four hexadecimal digits. */
static int32_t hex4(const uint8_t *at, const uint8_t *end)
{
    int32_t value = 0;

    if (end - at < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        int digit = hex_digit(at[i]);
        if (digit < 0)
            return -1;
        value = value << 4 | digit;
    }
    return value;
}

/* at: behind the opening quote. */
static inline bool scan_string(struct scan *scan, const uint8_t *at)
{
    const uint8_t *end = scan->end;

    for (;;) {
        at = skip_plain(at, end);
        if (at == end)
            return stop(scan, at, "a string that does not end");
        if (*at == '"') {
            scan->at = at + 1;
            return true;
        }
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

static bool scan_number(struct scan *scan, const uint8_t *at)
{
    const uint8_t *end = scan->end;

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
    scan->at = at;
    return true;
}

static bool scan_literal(struct scan *scan, const uint8_t *at, const char *literal, size_t len)
{
    if ((size_t)(scan->end - at) < len || memcmp(at, literal, len) != 0)
        return stop(scan, at, "not a value: only true, false and null are bare words");
    scan->at = at + len;
    return true;
}

static inline bool scan_scalar(struct scan *scan, const uint8_t *at)
{
    switch (*at) {
    case '"': return scan_string(scan, at + 1);
    case 't': return scan_literal(scan, at, "true", 4);
    case 'f': return scan_literal(scan, at, "false", 5);
    case 'n': return scan_literal(scan, at, "null", 4);
    case '-': case '0': case '1': case '2': case '3': case '4':
    case '5': case '6': case '7': case '8': case '9': return scan_number(scan, at);
    default: return stop(scan, at, "not the start of a value");
    }
}

/* at: where the key should be. Leaves the scan at the first byte of the value. */
static inline bool scan_key(struct scan *scan, const uint8_t *at)
{
    if (at == scan->end || *at != '"')
        return stop(scan, at, "expected a key in quotes");
    if (!scan_string(scan, at + 1))
        return false;
    at = skip_space(scan->at, scan->end);
    if (at == scan->end || *at != ':')
        return stop(scan, at, "expected ':' after a key");
    scan->at = skip_space(at + 1, scan->end);
    return true;
}

static bool scan_value(struct scan *scan, unsigned depth_max)
{
    uint64_t objects[JSON_DEPTH_MAX / 64 + 1]; /* bit d: the level d is an object */
    unsigned depth = 0;
    bool in_object = false;
    const uint8_t *at = scan->at, *end = scan->end;

    for (;;) {
        /* A value begins here. */
        if (at == end)
            return stop(scan, at, "expected a value");
        if (*at == '{' || *at == '[') {
            if (depth == depth_max)
                return stop(scan, at, "nested too deep");
            in_object = *at == '{';
            uint64_t bit = UINT64_C(1) << (depth & 63);
            objects[depth >> 6] = (depth & 63) == 0 ? in_object : in_object ? objects[depth >> 6] | bit : objects[depth >> 6] & ~bit;
            depth++;
            at = skip_space(at + 1, end);
            if (at == end || *at != (in_object ? '}' : ']')) {
                if (in_object) {
                    if (!scan_key(scan, at))
                        return false;
                    at = scan->at;
                }
                continue;
            }
        } else {
            if (!scan_scalar(scan, at))
                return false;
            at = scan->at;
        }
        /* A value, or an empty object or array up to its closing bracket, ended here. */
        for (;;) {
            if (depth == 0) {
                scan->at = at;
                return true;
            }
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
        if (in_object) {
            if (!scan_key(scan, at))
                return false;
            at = scan->at;
        }
    }
}

/* Lines and columns count from 1, columns in characters. Only looked for once something is wrong. */
static enum sluice_err fail_at(struct view text, const struct scan *scan, unsigned depth_max, struct sluice_error *reterr)
{
    unsigned long line = 1, column = 1;

    for (const char *at = text.data; at != (const char *)scan->at; at++) {
        if (*at == '\n')
            line++, column = 1;
        else if ((*at & 0xc0) != 0x80)
            column++;
    }
    if (strcmp(scan->reason, "nested too deep") == 0)
        return sluice_fail(reterr, SLUICE_EINVAL, "JSON line %lu, column %lu: nested deeper than %u", line, column, depth_max);
    return sluice_fail(reterr, SLUICE_EINVAL, "JSON line %lu, column %lu: %s%s", line, column, scan->reason,
                       scan->at == scan->end ? " (the text ends here)" : "");
}

enum sluice_err json_check(struct view text, enum json_kind kind, unsigned depth_max, struct sluice_error *reterr)
{
    struct scan scan = { .at = (const uint8_t *)text.data, .end = (const uint8_t *)text.data + text.len };

    if (depth_max > JSON_DEPTH_MAX)
        depth_max = JSON_DEPTH_MAX;
    scan.at = skip_space(scan.at, scan.end);
    if (kind == JSON_OBJECT && (scan.at == scan.end || *scan.at != '{')) {
        scan.reason = "expected an object";
        return fail_at(text, &scan, depth_max, reterr);
    }
    if (!scan_value(&scan, depth_max))
        return fail_at(text, &scan, depth_max, reterr);
    scan.at = skip_space(scan.at, scan.end);
    if (scan.at != scan.end) {
        scan.reason = "something after the value";
        return fail_at(text, &scan, depth_max, reterr);
    }
    return SLUICE_OK;
}

/* In checked JSON a raw line break can only stand between tokens. */
void json_put_line(struct bytes *out, struct view checked)
{
    size_t start = out->len;

    bytes_put_view(out, checked);
    if (out->failed)
        return;
    for (size_t i = start; i < out->len; i++)
        if (out->data[i] == '\n' || out->data[i] == '\r')
            out->data[i] = ' ';
}

void json_put_string(struct bytes *out, struct view text)
{
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
