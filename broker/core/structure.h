/* structure.h - where the quotes and brackets of a JSON text are, one bit per byte, 64 bytes at a time with the widest vectors
 * the processor has. Brackets inside strings and escaped quotes are left out, so that with these bits alone keys and strings are
 * found without looking at their bytes, and what no rule looks at is skipped by counting brackets.
 *
 * Of the strings that begin, those that cannot be a name in use are left out too: a string whose first byte begins none of the names
 * has no mark. So most members of an object are not even passed by. Whether a marked string is a name or a value is seen behind it.
 *
 *     text      {"a":"x\"}","b":[1]}       names in use begin with b
 *     quotes     1 1 1    1 1 1
 *     marks     1           1   1 11
 *     opens     1               1
 *     closes                      11
 */
#ifndef SLUICE_CORE_STRUCTURE_H
#define SLUICE_CORE_STRUCTURE_H

#include "schemas/codec/view.h"

enum { STRUCTURE_BLOCK_BYTES = 64 };

struct structure_block {
    uint64_t quotes, opens, closes;
    uint64_t marks;                 /* brackets, and the quotes that begin strings that may be names in use */
};

/* Each is right on its own, and tested on its own. */
enum structure_level { STRUCTURE_PORTABLE, STRUCTURE_SSE2, STRUCTURE_AVX2, STRUCTURE_AVX512, STRUCTURE_LEVELS };

/* Bytes that names in use begin with: bit (byte >> 4) of low[byte & 15]. Those beyond ASCII always count as such. */
struct structure_names {
    uint8_t low[16];
};

static inline bool structure_begins_name(const struct structure_names *names, unsigned char byte)
{
    return byte >= 0x80 || (names->low[byte & 15] >> (byte >> 4 & 7) & 1) != 0;
}

struct structure {
    enum structure_level level;
    struct structure_block *blocks; /* owned; grows */
    size_t capacity;
    size_t count;                   /* those scanned */
    bool escapes;                   /* there is a backslash in those scanned */
    uint64_t escaped, in_string;    /* of the block after those scanned: bit 0: its first byte is escaped; all ones: it begins inside a string */
};

enum structure_level structure_level_max(void); /* what this processor has */
void structure_init(struct structure *structure);
void structure_done(struct structure *structure);
/* As far as the last block in which a string may be a name in use: behind it is nothing that a rule could look at by its name. Where that
 * is, is found from the end, which costs a fraction of a scan. */
void structure_scan(struct structure *structure, struct view text, const struct structure_names *names);
/* Goes on, for what has no name: the end of a string, the items of an array. Up to so many blocks, or the end of the text. */
void structure_scan_on(struct structure *structure, struct view text, const struct structure_names *names, size_t count);

static inline size_t structure_blocks_of(struct view text)
{
    return text.len / STRUCTURE_BLOCK_BYTES + 1;
}

#endif
