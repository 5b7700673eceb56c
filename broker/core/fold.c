#include "broker/core/fold.h"

#include "broker/core/fold_table.h"
#include "schemas/codec/utf8.h"

uint32_t fold_point(uint32_t point)
{
    if (point < 0x80)
        return point >= 'A' && point <= 'Z' ? point + ('a' - 'A') : point;
    size_t low = 0, high = sizeof fold_ranges / sizeof fold_ranges[0];
    while (low < high) { /* the first range that does not end before the point */
        size_t middle = low + (high - low) / 2;
        if (fold_ranges[middle].last < point)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == sizeof fold_ranges / sizeof fold_ranges[0] || point < fold_ranges[low].first ||
        (point - fold_ranges[low].first) % fold_ranges[low].step != 0)
        return point;
    return (uint32_t)((int32_t)point + fold_ranges[low].delta);
}

/* The next code point. A byte that starts no whole sequence counts as a character of its own, above all of Unicode. */
static uint32_t take_point(const char **at, const char *end)
{
    const unsigned char *byte = (const unsigned char *)*at;
    size_t len = byte[0] < 0x80 ? 1 : byte[0] >= 0xF0 ? 4 : byte[0] >= 0xE0 ? 3 : byte[0] >= 0xC0 ? 2 : 0;

    if (len == 0 || len > (size_t)(end - *at)) {
        *at += 1;
        return 0x110000u + byte[0];
    }
    *at += len;
    switch (len) {
    case 1: return byte[0];
    case 2: return (byte[0] & 0x1Fu) << 6 | (byte[1] & 0x3Fu);
    case 3: return (byte[0] & 0x0Fu) << 12 | (byte[1] & 0x3Fu) << 6 | (byte[2] & 0x3Fu);
    }
    return (byte[0] & 0x07u) << 18 | (byte[1] & 0x3Fu) << 12 | (byte[2] & 0x3Fu) << 6 | (byte[3] & 0x3Fu);
}

/* A byte that starts no whole sequence stays as it is. The fold of a character is at most one byte longer than it, and only
 * where it has two. */
size_t fold_write(struct view text, char *ret_text)
{
    const char *at = text.data, *end = text.data + text.len;
    char *out = ret_text;

    while (at < end) {
        if ((unsigned char)*at < 0x80) {
            *out++ = (char)(*at >= 'A' && *at <= 'Z' ? *at + ('a' - 'A') : *at);
            at++;
            continue;
        }
        const char *from = at;
        uint32_t point = take_point(&at, end);
        if (point >= 0x110000)
            *out++ = *from;
        else
            out += utf8_encode(fold_point(point), out);
    }
    return (size_t)(out - ret_text);
}

bool fold_starts(struct view text, struct view prefix)
{
    const char *at = text.data, *end = text.data + text.len;
    const char *wanted = prefix.data, *wanted_end = prefix.data + prefix.len;

    while (wanted < wanted_end)
        if (at == end || fold_point(take_point(&at, end)) != fold_point(take_point(&wanted, wanted_end)))
            return false;
    return true;
}

bool fold_equals(struct view a, struct view b)
{
    const char *at = a.data, *end = a.data + a.len;
    const char *other = b.data, *other_end = b.data + b.len;

    while (at < end && other < other_end)
        if (fold_point(take_point(&at, end)) != fold_point(take_point(&other, other_end)))
            return false;
    return at == end && other == other_end;
}

static size_t points_count(struct view text)
{
    size_t count = 0;
    for (size_t i = 0; i < text.len; i++)
        count += ((unsigned char)text.data[i] & 0xC0) != 0x80;
    return count;
}

/* The last as many characters as the suffix has: a pair may differ in bytes, never in count. */
bool fold_ends(struct view text, struct view suffix)
{
    size_t left = points_count(suffix), at = text.len;

    while (left > 0 && at > 0) {
        at--;
        left -= ((unsigned char)text.data[at] & 0xC0) != 0x80;
    }
    return left == 0 && fold_equals((struct view){ .data = text.data + at, .len = text.len - at }, suffix);
}
