/* retry.h - when a failed delivery is tried again. */
#ifndef SLUICE_CORE_RETRY_H
#define SLUICE_CORE_RETRY_H

#include <stdint.h>

/* A small seeded generator (splitmix64): the core's only source of chance. */
struct chance { uint64_t state; };
uint64_t chance_next(struct chance *chance);

/* Exponential with jitter: between half and all of min * 2^(failed - 1), at most max. failed >= 1; ms. */
int64_t retry_delay_ms(unsigned failed, int64_t min_ms, int64_t max_ms, struct chance *chance);

#endif
