/* producers.h - what each producer has had applied: so that a batch sent twice is applied once.
 * Owns one row a producer: (epoch, highest sequence, a window of the last 1,024), kept 24 h after last use, at most PRODUCERS_MAX;
 * past that the longest unused goes (its late repeats would be applied again; the window of 24 h is the promise). */
#ifndef SLUICE_CORE_PRODUCERS_H
#define SLUICE_CORE_PRODUCERS_H

#include "broker/core/commit.h"

enum { PRODUCERS_MAX = 100000, PRODUCER_WINDOW = 1024 };
#define PRODUCER_KEEP_MS (24LL * 3600 * 1000)

struct producers;
struct producers *producers_new(void);
struct producers *producers_free(struct producers *producers);
size_t producers_count(const struct producers *producers);
bool producers_known(const struct producers *producers, const uint8_t id[16]);
void producers_restore(struct producers *producers, const struct producer_row *row);

enum producer_verdict {
    PRODUCER_APPLY,      /* new, and nothing before it is missing */
    PRODUCER_DUPLICATE,  /* applied already, or so old that it must have been */
    PRODUCER_EARLY,      /* something in [lowest, sequence) has not been applied: wait for it */
    PRODUCER_STALE,      /* a newer epoch of this producer has been seen */
};
/* Looks only. sequence >= 1. */
enum producer_verdict producers_judge(const struct producers *producers, const uint8_t id[16], uint64_t epoch, uint64_t sequence,
                                      uint64_t lowest);
/* Marks it applied; returns the row as it is now, for the commit. Rows dropped to make room, or unused for 24 h, go to `gone`. */
struct producer_row producers_apply(struct producers *producers, const uint8_t id[16], uint64_t epoch, uint64_t sequence,
                                    int64_t wall_ms, struct commit *gone);
/* Takes it back: the commit that held it was refused. */
void producers_undo(struct producers *producers, const uint8_t id[16], uint64_t epoch, uint64_t sequence);

#endif
