/* worst.h - match --worst: what the dearest event costs. Rules and events made to be slow, each event as large as the door lets it in. */
#ifndef SLUICE_BENCH_MATCH_WORST_H
#define SLUICE_BENCH_MATCH_WORST_H

#include <stdbool.h>

/* A line (or, with `json`, an object) a shape: CPU time of one event, the best of a few, steps counted, and whether it was refused for them;
 * at last the slowest. `name`: only shapes whose name begins so; NULL: all. */
void worst_measure(const char *name, bool json);

#endif
