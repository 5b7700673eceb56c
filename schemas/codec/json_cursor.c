/* Walking checked JSON without a tree. Bounds are kept all the same: bytes that were not checked give wrong answers,
 * never a read outside. */
#include "schemas/codec/json.h"
#include "schemas/codec/utf8.h"

static const char *skip_space(const char *at, const char *end)
{
    while (at != end && (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t'))
        at++;
    return at;
}

/* at: the opening quote. Returns the byte behind the closing one. */
static const char *skip_string(const char *at, const char *end)
{
    for (at++; at < end; at++) {
        if (*at == '"')
            return at + 1;
        if (*at == '\\' && end - at > 1)
            at++;
    }
    return end;
}

/* Brackets match in checked JSON, so counting them is enough. */
static const char *skip_value(const char *at, const char *end)
{
    size_t depth = 0;

    while (at != end) {
        switch (*at) {
        case '"':
            at = skip_string(at, end);
            if (depth == 0)
                return at;
            continue;
        case '{':
        case '[':
            depth++;
            break;
        case '}':
        case ']':
            if (depth == 0)
                return at; /* the end of what holds this value */
            if (--depth == 0)
                return at + 1;
            break;
        case ',':
        case ' ':
        case '\t':
        case '\n':
        case '\r':
            if (depth == 0)
                return at;
            break;
        default:
            break;
        }
        at++;
    }
    return end;
}

/* at: behind "\u". -1: not four digits. */
static int32_t hex4(const char *at, const char *end)
{
    int32_t value = 0;

    if (end - at < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        if (hex_digit(at[i]) < 0)
            return -1;
        value = value << 4 | hex_digit(at[i]);
    }
    return value;
}

/* Decodes one escape at `*at` (the backslash) and moves behind it, both halves of a surrogate pair at once.
 * Returns the length of the UTF-8 in ret_bytes; 0: a lone surrogate or not an escape. */
static size_t decode_escape(const char **at, const char *end, char ret_bytes[4])
{
    static const char letters[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    const char *from = *at;

    if (end - from < 2)
        return 0;
    if (from[1] != 'u') {
        const char *letter = from[1] == '\0' ? NULL : strchr(letters, from[1]);
        if (letter == NULL)
            return 0;
        ret_bytes[0] = meanings[letter - letters];
        *at = from + 2;
        return 1;
    }
    int32_t unit = hex4(from + 2, end);
    from += 6;
    if (unit < 0 || (unit >= 0xdc00 && unit <= 0xdfff))
        return 0;
    if (unit >= 0xd800 && unit <= 0xdbff) {
        if (end - from < 6 || from[0] != '\\' || from[1] != 'u')
            return 0;
        int32_t low = hex4(from + 2, end);
        if (low < 0xdc00 || low > 0xdfff)
            return 0;
        unit = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
        from += 6;
    }
    *at = from;
    return utf8_encode((uint32_t)unit, ret_bytes);
}

bool json_key_is(struct view key, struct view name)
{
    if (key.len < 2)
        return false;
    const char *at = key.data + 1, *end = key.data + key.len - 1;
    size_t same = 0;

    while (at < end) {
        char decoded[4];
        size_t len = 1;
        if (*at == '\\') {
            len = decode_escape(&at, end, decoded);
            if (len == 0)
                return false;
        } else {
            decoded[0] = *at++;
        }
        if (name.len - same < len || memcmp(name.data + same, decoded, len) != 0)
            return false;
        same += len;
    }
    return same == name.len;
}

struct json_walk json_walk_of(struct view checked)
{
    const char *end = checked.data + checked.len;
    const char *at = skip_space(checked.data, end);
    bool holds = at != end && (*at == '{' || *at == '[');

    return (struct json_walk){ .at = holds ? at + 1 : end, .end = end, .object = holds && *at == '{' };
}

bool json_walk_next(struct json_walk *walk, struct view *ret_key, struct view *ret_value)
{
    const char *end = walk->end, *at = skip_space(walk->at, end);
    struct view key = { 0 };

    walk->at = end; /* unless there is more */
    if (at == end || *at == ']' || *at == '}')
        return false;
    if (walk->object) {
        if (*at != '"')
            return false;
        key.data = at;
        at = skip_string(at, end);
        key.len = (size_t)(at - key.data);
        at = skip_space(at, end);
        if (at == end || *at != ':')
            return false;
        at = skip_space(at + 1, end);
    }
    *ret_key = key;
    ret_value->data = at;
    at = skip_value(at, end);
    ret_value->len = (size_t)(at - ret_value->data);
    at = skip_space(at, end);
    if (at != end && *at == ',')
        walk->at = at + 1;
    return true;
}

bool json_member(struct view object, struct view name, struct view *ret_value)
{
    struct json_walk walk = json_walk_of(object);
    struct view key, value;
    bool found = false;

    if (!walk.object)
        return false;
    while (json_walk_next(&walk, &key, &value)) {
        if (!json_key_is(key, name))
            continue;
        *ret_value = value;
        found = true;
    }
    return found;
}

bool json_item(struct view array, size_t index, struct view *ret_value)
{
    struct json_walk walk = json_walk_of(array);
    struct view key, value;

    if (walk.object)
        return false;
    while (json_walk_next(&walk, &key, &value)) {
        if (index-- == 0) {
            *ret_value = value;
            return true;
        }
    }
    return false;
}

bool json_string_decode(struct view value, struct bytes *out)
{
    if (value.len < 2 || value.data[0] != '"' || value.data[value.len - 1] != '"')
        return false;
    const char *at = value.data + 1, *end = value.data + value.len - 1;
    size_t start = out->len;

    while (at < end) {
        const char *escape = memchr(at, '\\', (size_t)(end - at));
        const char *plain_end = escape == NULL ? end : escape;
        bytes_put(out, at, (size_t)(plain_end - at));
        at = plain_end;
        if (escape == NULL)
            break;
        char decoded[4];
        size_t len = decode_escape(&at, end, decoded);
        if (len == 0) {
            out->len = start;
            return false;
        }
        bytes_put(out, decoded, len);
    }
    return !out->failed;
}
