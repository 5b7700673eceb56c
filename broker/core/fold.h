/* fold.h - comparing text without case, one Unicode character at a time.
 *
 * Two characters are the same without case if one is the other's simple upper- or lower-case form and the way back leads
 * home: a pair. E and e, the accented, Greek, Cyrillic, Georgian and full-width letters, and those beyond U+FFFF pair up; a
 * title-case letter (U+01C5) joins the pair it belongs to. What has no pair of its own equals only itself: sharp s never
 * becomes SS, and final sigma, the Kelvin sign, long s, dotless and dotted i stay apart. Text is not normalised.
 * The pairs are in fold_table.h, made by fold_table.py from the Unicode Character Database. */
#ifndef SLUICE_CORE_FOLD_H
#define SLUICE_CORE_FOLD_H

#include "schemas/codec/view.h"

uint32_t fold_point(uint32_t point); /* the lower-case half of its pair; itself when it has none */

/* Writes the text with each character replaced by its fold_point(): at most FOLD_GROWTH_MAX times its length. Two texts are
 * equal without case if these are equal, and likewise their beginnings and ends. Returns the length. */
enum { FOLD_GROWTH_MAX = 2 };
size_t fold_write(struct view text, char *ret_text);

bool fold_equals(struct view a, struct view b);
bool fold_starts(struct view text, struct view prefix);
bool fold_ends(struct view text, struct view suffix);

#endif
