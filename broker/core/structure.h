/* structure.h - where the quotes and brackets of a JSON text are, one bit per byte, 64 bytes at a time with the widest vectors
 * the processor has. Brackets inside strings and escaped quotes are left out, so that with these bits alone keys and strings are
 * found without looking at their bytes, and what no rule looks at is skipped by counting brackets.
 *
 *     text      {"a":"x\"}","b":[1]}
 *     marks     11 11 1     11 11 1 1 1        quotes and brackets
 *     opens     1                   1
 *     closes                          1 1
 */
#ifndef SLUICE_CORE_STRUCTURE_H
#define SLUICE_CORE_STRUCTURE_H

#include "schemas/codec/view.h"

enum { STRUCTURE_BLOCK_BYTES = 64 };

struct structure_block {
    uint64_t marks, opens, closes;
};

/* Each is right on its own, and tested on its own. */
enum structure_level { STRUCTURE_PORTABLE, STRUCTURE_SSE2, STRUCTURE_AVX2, STRUCTURE_AVX512, STRUCTURE_LEVELS };

struct structure {
    enum structure_level level;
    struct structure_block *blocks; /* owned; grows */
    size_t capacity;
    size_t count;
    bool escapes;                   /* there is a backslash somewhere */
};

enum structure_level structure_level_max(void); /* what this processor has */
void structure_init(struct structure *structure);
void structure_done(struct structure *structure);
void structure_scan(struct structure *structure, struct view text);

#endif
