#include "broker/edge/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "schemas/codec/ids.h"

static enum log_level lowest = LOG_INFO;

void log_set_level(enum log_level level)
{
    lowest = level;
}

struct now clock_now(void)
{
    struct timespec mono, wall;

    (void)clock_gettime(CLOCK_MONOTONIC, &mono);
    (void)clock_gettime(CLOCK_REALTIME, &wall);
    return (struct now){ .mono = { (int64_t)mono.tv_sec * 1000000 + mono.tv_nsec / 1000 },
                         .wall_ms = (int64_t)wall.tv_sec * 1000 + wall.tv_nsec / 1000000 };
}

void log_line(enum log_level level, const char *line)
{
    static const char *const names[] = { "debug", "info", "warn", "error" };
    char text[1024], time[TIME_TEXT_MAX];

    if (level < lowest)
        return;
    (void)time_to_text(clock_now().wall_ms, true, time);
    int len = snprintf(text, sizeof text, "time=%s level=%s %s\n", time, names[level], line);
    if (len >= (int)sizeof text) {
        len = (int)sizeof text;
        text[len - 1] = '\n';
    }
    (void)!write(STDERR_FILENO, text, (size_t)len); /* nobody to tell when stderr is gone */
}

void log_format(enum log_level level, const char *format, ...)
{
    char line[900];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(line, sizeof line, format, args);
    va_end(args);
    log_line(level, line);
}
