/* json_blocks.h - whether JSON text is valid, 64 bytes at a time.
 *
 * Nearly all of JSON's grammar is about neighbours: what may stand behind a comma, a point, a closing quote. With one bit per byte for each
 * kind of byte, a rule about neighbours is a shift and a mask for 64 bytes at once, whatever stands there, so that no branch depends on how
 * long a number or a name is. Only brackets are gone through one by one: they say whether commas separate members or items.
 *
 * It needs vectors of 32 bytes or more: with those of 16, that all x86-64 processors have, sorting a block's bytes into fourteen kinds takes so many instructions
 * that it was measured at 0.8 times the speed of going token by token, which is what such processors, and all others, do. */
#ifndef SLUICE_CODEC_JSON_BLOCKS_H
#define SLUICE_CODEC_JSON_BLOCKS_H

#include "schemas/codec/view.h"

/* Each is right on its own, and tested on its own. */
enum json_blocks_level { JSON_BLOCKS_NONE, JSON_BLOCKS_AVX2, JSON_BLOCKS_AVX512, JSON_BLOCKS_LEVELS };

enum json_blocks_level json_blocks_level_max(void); /* what this processor has */

/* Deeper than this is left to the check that goes token by token. */
enum { JSON_BLOCKS_DEPTH_MAX = 64 };

/* true: `text` is one JSON object or array, as json_check() would have it, nested at most `depth_max` deep. false: it is not, or it is a value
 * that this is not for (a bare string, number or word; deeper than JSON_BLOCKS_DEPTH_MAX; JSON_BLOCKS_NONE). */
bool json_blocks_valid(enum json_blocks_level level, struct view text, unsigned depth_max);

#endif
