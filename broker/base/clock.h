/* clock.h - two kinds of time that must not be mixed, as two types. Nothing here reads a clock. */
#ifndef SLUICE_BASE_CLOCK_H
#define SLUICE_BASE_CLOCK_H

#include <stdint.h>

struct mono { int64_t us; };  /* since some moment of this boot; for durations and deadlines of this process */
struct now {
    struct mono mono;
    int64_t wall_ms;          /* since 1970 UTC; for what is stored or shown */
};
#define MONO_NEVER INT64_MAX

#endif
