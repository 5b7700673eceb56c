#include "broker/core/route_path.h"

enum segment_kind { SEGMENT_LITERAL, SEGMENT_ONE, SEGMENT_REST };

struct segment {
    enum segment_kind kind;
    struct view text;                    /* of a parameter: its name */
};

/* The segment behind the slash at *at; moves *at to the next slash, or to the end. */
static struct view segment_next(const char **at, const char *end)
{
    const char *start = *at + 1;
    const char *slash = memchr(start, '/', (size_t)(end - start));

    *at = slash == NULL ? end : slash;
    return (struct view){ .data = start, .len = (size_t)(*at - start) };
}

static struct segment segment_of(struct view text)
{
    if (text.len < 2 || text.data[0] != '{' || text.data[text.len - 1] != '}')
        return (struct segment){ .kind = SEGMENT_LITERAL, .text = text };
    struct view name = { .data = text.data + 1, .len = text.len - 2 };
    if (name.len > 0 && name.data[name.len - 1] == '+')
        return (struct segment){ .kind = SEGMENT_REST, .text = { name.data, name.len - 1 } };
    return (struct segment){ .kind = SEGMENT_ONE, .text = name };
}

static bool name_is_good(struct view name)
{
    for (size_t i = 0; i < name.len; i++) {
        char c = name.data[i];
        if (!((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-'))
            return false;
    }
    return name.len >= 1;
}

static bool literal_is_good(struct view text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] <= ' ' || text.data[i] == 0x7f || strchr("{}?#%", text.data[i]) != NULL)
            return false;
    }
    return true;
}

enum sluice_err route_path_check(const char *pattern, struct sluice_error *reterr)
{
    struct view names[ROUTE_PARAMETERS_MAX];
    size_t len = strlen(pattern);
    unsigned count = 0, segments = 0;

    if (pattern[0] != '/' || len > ROUTE_PATH_BYTES_MAX)
        return sluice_fail(reterr, SLUICE_EINVAL, "a path begins with '/' and has at most %d bytes", ROUTE_PATH_BYTES_MAX);
    for (const char *at = pattern, *end = pattern + len; at < end;) {
        struct segment segment = segment_of(segment_next(&at, end));
        if (++segments > ROUTE_SEGMENTS_MAX)
            return sluice_fail(reterr, SLUICE_EINVAL, "a path has at most %d segments", ROUTE_SEGMENTS_MAX);
        if (segment.kind == SEGMENT_LITERAL) {
            if (!literal_is_good(segment.text))
                return sluice_fail(reterr, SLUICE_EINVAL, "a segment is a {name} or has printable characters other than { } ? # %% (write them decoded)");
            continue;
        }
        if (!name_is_good(segment.text))
            return sluice_fail(reterr, SLUICE_EINVAL, "the name in braces must be letters, digits, dots, underscores, dashes");
        if (segment.kind == SEGMENT_REST && at < end)
            return sluice_fail(reterr, SLUICE_EINVAL, "{%.*s+} must be the last segment", VIEW_ARGS(segment.text));
        if (count == ROUTE_PARAMETERS_MAX)
            return sluice_fail(reterr, SLUICE_EINVAL, "a path has at most %d names", ROUTE_PARAMETERS_MAX);
        for (unsigned i = 0; i < count; i++) {
            if (view_equals(names[i], segment.text))
                return sluice_fail(reterr, SLUICE_EINVAL, "the name {%.*s} is there twice", VIEW_ARGS(segment.text));
        }
        names[count++] = segment.text;
    }
    return SLUICE_OK;
}

/* Whether the percent-encoded text reads `literal`. */
static bool segment_reads(struct view encoded, struct view literal)
{
    size_t at = 0;

    for (size_t i = 0; i < literal.len; i++) {
        char c = at < encoded.len ? encoded.data[at] : '\0';
        if (at >= encoded.len)
            return false;
        if (c == '%' && encoded.len - at > 2 && hex_digit(encoded.data[at + 1]) >= 0 && hex_digit(encoded.data[at + 2]) >= 0) {
            c = (char)(hex_digit(encoded.data[at + 1]) << 4 | hex_digit(encoded.data[at + 2]));
            at += 2;
        }
        if (c != literal.data[i])
            return false;
        at++;
    }
    return at == encoded.len;
}

bool route_path_match(const char *pattern, struct view path, struct route_parameter ret_parameters[ROUTE_PARAMETERS_MAX], unsigned *ret_count)
{
    const char *wanted = pattern, *wanted_end = pattern + strlen(pattern), *at = path.data, *end = path.data + path.len;
    unsigned count = 0;

    while (wanted < wanted_end) {
        struct segment segment = segment_of(segment_next(&wanted, wanted_end));
        if (at >= end || *at != '/')
            return false;
        const char *start = at + 1;
        struct view text = segment_next(&at, end);
        if (segment.kind == SEGMENT_LITERAL) {
            if (!segment_reads(text, segment.text))
                return false;
            continue;
        }
        if (segment.kind == SEGMENT_REST) {
            text = (struct view){ .data = start, .len = (size_t)(end - start) };
            at = end;
        }
        if (text.len == 0 || count == ROUTE_PARAMETERS_MAX)
            return false;
        ret_parameters[count++] = (struct route_parameter){ .name = segment.text, .value = text };
    }
    *ret_count = count;
    return at == end;
}

int route_path_compare(const char *a, const char *b)
{
    const char *at = a, *end = a + strlen(a), *other = b, *other_end = b + strlen(b);

    while (at < end && other < other_end) {
        struct segment left = segment_of(segment_next(&at, end)), right = segment_of(segment_next(&other, other_end));
        if (left.kind != right.kind)
            return left.kind < right.kind ? -1 : 1;
        if (left.kind != SEGMENT_LITERAL)
            continue;
        int order = memcmp(left.text.data, right.text.data, left.text.len < right.text.len ? left.text.len : right.text.len);
        if (order != 0 || left.text.len != right.text.len)
            return order != 0 ? order : left.text.len < right.text.len ? -1 : 1;
    }
    return (at < end) - (other < other_end);
}
