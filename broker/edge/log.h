/* log.h - one key=value line per fact on stderr, with its time and level. Never blocks for long: a line is one write(2). */
#ifndef SLUICE_EDGE_LOG_H
#define SLUICE_EDGE_LOG_H

#include "broker/core/engine.h"

void log_line(enum log_level level, const char *line);
void log_format(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Lines below this level are dropped; default LOG_INFO. */
void log_set_level(enum log_level level);
struct now clock_now(void);

#endif
