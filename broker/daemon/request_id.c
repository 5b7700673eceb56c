#include "broker/daemon/request_id.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

enum { SEQ_AT = 16, ORDINAL_AT = 24, NAME_BYTES = 28 };

static void number_put(uint8_t *to, uint64_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        to[i] = (uint8_t)(value >> 8 * i);
}

/* Of the event id's own hash first, so that what follows stands at a fixed place, however long the id is. */
struct request_id request_id_of_delivery(struct view event_id, struct delivery delivery)
{
    uint8_t name[NAME_BYTES];
    XXH128_canonical_t hash;
    struct request_id id;

    XXH128_canonicalFromHash(&hash, XXH3_128bits(event_id.data, event_id.len));
    memcpy(name, hash.digest, SEQ_AT);
    number_put(name + SEQ_AT, delivery.seq, 8);
    number_put(name + ORDINAL_AT, delivery.ordinal, 4);
    XXH128_canonicalFromHash(&hash, XXH3_128bits(name, sizeof name));
    hash.digest[6] = (uint8_t)((hash.digest[6] & 0x0f) | 0x40); /* version 4 */
    hash.digest[8] = (uint8_t)((hash.digest[8] & 0x3f) | 0x80); /* RFC 9562's variant */
    uuid_to_text(hash.digest, id.text);
    return id;
}
