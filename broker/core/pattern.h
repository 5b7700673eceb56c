/* pattern.h - an event pattern read and checked: a list of branches of which one must hold; a branch is a list of fields
 * that must hold together; a field is a list of alternatives of which one must be true.
 *
 *     {"a": ["x"], "$or": [{"b": [1]}, {"c": [2]}]}   is   (a is x and b is 1) or (a is x and c is 2)
 *
 * Names are joined with dots to one path, so {"a": {"b": ..}} and {"a.b": ..} are the same pattern. A path set twice has its
 * last meaning only; a branch of $or may so replace what stood before it. */
#ifndef SLUICE_CORE_PATTERN_H
#define SLUICE_CORE_PATTERN_H

#include "broker/base/arena.h"
#include "broker/core/match.h"
#include "broker/core/operators.h"

enum {
    /* Fields of all branches together while $or is multiplied out, replaced ones included: bounds time and memory. */
    PATTERN_ASSIGNMENTS_MAX = PATTERN_BRANCHES_MAX * PATTERN_FIELDS_MAX,
};

struct pattern_field {
    struct view path;
    const struct term *terms;
    unsigned terms_count;
};

struct pattern_branch {
    const struct pattern_field *const *fields; /* in the order of their paths' bytes: array consistency follows it */
    unsigned fields_count;
};

struct pattern {
    const struct pattern_branch *branches;
    unsigned branches_count;
};

/* Everything in *ret_pattern lives in `arena`; nothing of it points into `text`. SLUICE_EINVAL as pattern_check() says. */
enum sluice_err pattern_parse(struct view text, struct arena *arena, struct pattern *ret_pattern, size_t *ret_offset,
                              struct sluice_error *reterr);

#endif
