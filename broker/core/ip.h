/* ip.h - addresses as patterns compare them: IPv4 in four decimal parts, IPv6 in hexadecimal groups with at most one "::".
 * The two families never match each other; IPv6 text with an IPv4 tail or a zone is not an address. */
#ifndef SLUICE_CORE_IP_H
#define SLUICE_CORE_IP_H

#include "schemas/codec/view.h"

struct ip {
    uint8_t len; /* 4 or 16 */
    uint8_t bytes[16];
};

struct ip_block {
    struct ip base; /* host bits as written: only the first `bits` count */
    unsigned bits;
};

bool ip_of_text(struct view text, struct ip *ret_ip);
static inline bool ip_equals(const struct ip *a, const struct ip *b)
{
    return a->len == b->len && memcmp(a->bytes, b->bytes, a->len) == 0;
}

struct ip ip_masked(const struct ip *ip, unsigned bits); /* the host bits zero */

/* NULL and *ret_block, or what is wrong with "ADDRESS/BITS" in EventBridge's words. Static text. */
const char *ip_block_of_text(struct view text, struct ip_block *ret_block);
bool ip_block_has(const struct ip_block *block, const struct ip *ip);

#endif
