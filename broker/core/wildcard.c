#include "broker/core/wildcard.h"

static struct view take_part(const char **at)
{
    uint32_t len = text_load4(*at);
    struct view part = { .data = *at + 4, .len = len };
    *at += 4 + len;
    return part;
}

static bool has_at(const char *at, struct view part)
{
    return part.len == 0 || memcmp(at, part.data, part.len) == 0;
}

/* The first part is anchored at the start and the last at the end; each one between them may as well be found as far left as
 * possible, for that leaves the most to the others. No step ever goes back, so any pattern takes linear time. There are two
 * parts or more. */
bool wildcard_matches(const char *parts, uint32_t parts_count, struct view text)
{
    struct view first = take_part(&parts);

    if (text.len < first.len || !has_at(text.data, first))
        return false;
    const char *at = text.data + first.len, *end = text.data + text.len;
    for (uint32_t i = 1; i + 1 < parts_count; i++) {
        struct view part = take_part(&parts);
        const char *found = part.len == 1 ? memchr(at, part.data[0], (size_t)(end - at))
                                          : memmem(at, (size_t)(end - at), part.data, part.len);
        if (found == NULL)
            return false;
        at = found + part.len;
    }
    struct view last = take_part(&parts);
    return (size_t)(end - at) >= last.len && has_at(end - last.len, last);
}

void gram_set_of(struct view text, uint64_t ret_set[GRAM_WORDS])
{
    const unsigned char *at = (const unsigned char *)text.data;

    memset(ret_set, 0, GRAM_WORDS * sizeof ret_set[0]);
    for (size_t i = 0; i < text.len; i++) {
        unsigned byte = gram_of_byte(at[i]);
        ret_set[byte / 64] |= UINT64_C(1) << byte % 64;
        if (i + 1 == text.len)
            break;
        unsigned pair = gram_of_pair(at[i], at[i + 1]);
        ret_set[pair / 64] |= UINT64_C(1) << pair % 64;
    }
}
