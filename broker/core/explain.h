/* explain.h - why a pattern does or does not match an event, in one sentence: the first field that failed, in the order of the
 * fields' names, what the event has there and what the pattern wants.
 *
 *     detail.amount is the string "12", and the pattern wants a number > 10
 *     no item of one array has all of items.qty, items.sku as the pattern wants them
 *
 * Of several $or combinations the one that got furthest is told. It compiles the pattern anew: for people, not for every event. */
#ifndef SLUICE_CORE_EXPLAIN_H
#define SLUICE_CORE_EXPLAIN_H

#include "broker/core/match.h"

enum { EXPLANATION_TEXT_MAX = 512 };

struct explanation {
    bool matches;
    char text[EXPLANATION_TEXT_MAX]; /* UTF-8, one line, without a full stop */
};

/* SLUICE_EINVAL: the pattern or the event is wrong, and why. SLUICE_ELIMIT as match_event(), and where saying why would take that long. */
enum sluice_err explain_json(struct view pattern, struct view object, struct explanation *ret_explanation, struct sluice_error *reterr);
enum sluice_err explain_event(struct view pattern, const struct event *event, struct explanation *ret_explanation,
                              struct sluice_error *reterr);

#endif
