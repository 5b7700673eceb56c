/* pattern_terms.h - inside the pattern compiler: reads the list of alternatives that ends a path. */
#ifndef SLUICE_CORE_PATTERN_TERMS_H
#define SLUICE_CORE_PATTERN_TERMS_H

#include "broker/base/vec.h"
#include "broker/core/pattern.h"
#include "broker/core/scan.h"
#include "schemas/codec/bytes.h"

struct pattern_reader {
    struct scan scan;
    struct view text;
    struct arena *arena;       /* the pattern's home */
    struct bytes path;         /* where the reader is: names joined with dots */
    size_t item;               /* and which alternative there; PATTERN_NO_ITEM outside a list */
    size_t *ret_offset;
    struct sluice_error *reterr;
};
#define PATTERN_NO_ITEM SIZE_MAX

/* "Event pattern is not valid. Reason: … at detail.size[1] (line 3, column 14)": the mistake is the token at `at`.
 * Always SLUICE_EINVAL. */
enum sluice_err pattern_fail(struct pattern_reader *reader, const char *at, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The string under the cursor, decoded, in the arena. */
struct view pattern_take_text(struct pattern_reader *reader);

/* The cursor stands on the list's opening bracket and is left behind its end. */
enum sluice_err pattern_take_terms(struct pattern_reader *reader, const struct term **ret_terms, unsigned *ret_count);

bool pattern_is_operator(struct view name); /* "prefix", "numeric" and so on */

#endif
