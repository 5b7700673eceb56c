/* picture.h - how many instances each way had over the time of each trace, as one SVG of small panels. */
#ifndef SLUICE_BENCH_PICTURE_H
#define SLUICE_BENCH_PICTURE_H

#include <stdio.h>

#include "bench/scaling/trace.h"

struct line {
    const char *name, *color;
    const struct outcome *outcome; /* [trace] */
};
void picture_write(FILE *file, const struct trace *traces, const struct line *lines, size_t lines_count);

#endif
