#include "broker/core/ip.h"

#include <endian.h>

enum { IP_V4_PARTS = 4, IP_V6_GROUPS = 8, IP_TEXT_MAX = 39 /* eight groups of four and seven colons */ };

/* Leading zeros are decimal, as the reference engine reads them, not octal. */
static bool v4_of_text(struct view text, struct ip *ret_ip)
{
    struct ip ip = { .len = 4 };
    unsigned parts = 0, digits = 0, value = 0;

    for (size_t i = 0; i <= text.len; i++) {
        char c = i < text.len ? text.data[i] : '.';
        if (c >= '0' && c <= '9' && digits < 3) {
            value = value * 10 + (unsigned)(c - '0');
            digits++;
            continue;
        }
        if (c != '.' || digits == 0 || value > 255 || parts == IP_V4_PARTS)
            return false;
        ip.bytes[parts++] = (uint8_t)value;
        digits = value = 0;
    }
    if (parts != IP_V4_PARTS)
        return false;
    *ret_ip = ip;
    return true;
}

/* "::" stands for as many zero groups as are missing, at least one; the groups behind it move to the end. */
static bool v6_of_text(struct view text, struct ip *ret_ip)
{
    unsigned groups[IP_V6_GROUPS];
    unsigned count = 0, gap = IP_V6_GROUPS;
    bool has_gap = false;
    size_t at = 0;

    while (at < text.len) {
        if (text.data[at] == ':') { /* a separator, or the first half of a leading "::" */
            bool doubled = at + 1 < text.len && text.data[at + 1] == ':';
            if (doubled) {
                if (has_gap)
                    return false;
                has_gap = true;
                gap = count;
                at += 2;
                continue;
            }
            if (count == 0 || at + 1 == text.len || (has_gap && gap == count))
                return false;
            at++;
        } else if (count > 0 && !(has_gap && gap == count)) {
            return false; /* two groups without a colon: a group of five digits */
        }
        unsigned value = 0, digits = 0;
        for (; at < text.len && hex_digit(text.data[at]) >= 0 && digits < 4; at++, digits++)
            value = value * 16 + (unsigned)hex_digit(text.data[at]);
        if (digits == 0 || count == IP_V6_GROUPS)
            return false;
        groups[count++] = value;
    }
    if (has_gap ? count >= IP_V6_GROUPS : count != IP_V6_GROUPS)
        return false;

    struct ip ip = { .len = 16 };
    for (unsigned i = 0; i < count; i++) {
        size_t place = i < gap ? i : IP_V6_GROUPS - count + i;
        ip.bytes[place * 2] = (uint8_t)(groups[i] >> 8);
        ip.bytes[place * 2 + 1] = (uint8_t)(groups[i] & 0xFF);
    }
    *ret_ip = ip;
    return true;
}

bool ip_of_text(struct view text, struct ip *ret_ip)
{
    if (text.len < 2 || text.len > IP_TEXT_MAX)
        return false;
    return memchr(text.data, ':', text.len) != NULL ? v6_of_text(text, ret_ip) : v4_of_text(text, ret_ip);
}

const char *ip_block_of_text(struct view text, struct ip_block *ret_block)
{
    const char *slash = text.len == 0 ? NULL : memchr(text.data, '/', text.len);

    if (slash == NULL || memchr(slash + 1, '/', (size_t)(text.data + text.len - slash - 1)) != NULL)
        return "Malformed CIDR, one '/' required";
    struct ip_block block;
    if (!ip_of_text((struct view){ .data = text.data, .len = (size_t)(slash - text.data) }, &block.base))
        return "Nonstandard IP address";
    const char *digits = slash + 1, *end = text.data + text.len;
    if (digits == end || end - digits > 3)
        return "Malformed CIDR, mask bits must be an integer";
    block.bits = 0;
    for (; digits < end; digits++) {
        if (*digits < '0' || *digits > '9')
            return "Malformed CIDR, mask bits must be an integer";
        block.bits = block.bits * 10 + (unsigned)(*digits - '0');
    }
    if (block.base.len == 4 && block.bits > 32)
        return "IPv4 mask bits must be <= 32";
    if (block.base.len == 16 && block.bits > 128)
        return "IPv6 mask bits must be <= 128";
    *ret_block = block;
    return NULL;
}

struct ip ip_masked(const struct ip *ip, unsigned bits)
{
    uint64_t high, low, all = ~UINT64_C(0);
    struct ip masked = { .len = ip->len };

    memcpy(&high, ip->bytes, sizeof high);
    memcpy(&low, ip->bytes + sizeof high, sizeof low);
    high &= bits == 0 ? 0 : bits >= 64 ? all : htobe64(all << (64 - bits));
    low &= bits <= 64 ? 0 : bits >= 128 ? all : htobe64(all << (128 - bits));
    memcpy(masked.bytes, &high, sizeof high);
    memcpy(masked.bytes + sizeof high, &low, sizeof low);
    return masked;
}

bool ip_block_has(const struct ip_block *block, const struct ip *ip)
{
    size_t whole = block->bits / 8;
    unsigned rest = block->bits % 8;

    if (block->base.len != ip->len || memcmp(block->base.bytes, ip->bytes, whole) != 0)
        return false;
    return rest == 0 || (block->base.bytes[whole] ^ ip->bytes[whole]) >> (8 - rest) == 0;
}
