/* files_bench.h - what the tests of the source `files` share: a fresh place with a watched folder, a state and a daemon's log. */
#ifndef SLUICE_TESTS_FILES_BENCH_H
#define SLUICE_TESTS_FILES_BENCH_H

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "producers/sources/files/source.h"
#include "tests/sources/fake_producer.h"
#include "tests/test.h"

struct place {
    char root[PATH_MAX / 4], watched[PATH_MAX / 2], state[PATH_MAX / 2], log[PATH_MAX / 2];
};

static inline struct place place_new(void)
{
    static unsigned number;
    struct place place;

    (void)snprintf(place.root, sizeof place.root, "%s/%u", test_directory(), number++);
    (void)snprintf(place.watched, sizeof place.watched, "%s/watched", place.root);
    (void)snprintf(place.state, sizeof place.state, "%s/state", place.root);
    (void)snprintf(place.log, sizeof place.log, "%s/daemon", place.root);
    EXPECT(mkdir(place.root, 0700) == 0 && mkdir(place.watched, 0700) == 0);
    fake_daemon_open(place.log);
    return place;
}

static inline const char *place_path(const struct place *place, const char *name)
{
    static char paths[4][PATH_MAX];
    static unsigned next;
    char *path = paths[next++ % 4];
    (void)snprintf(path, PATH_MAX, "%s/%s", place->watched, name);
    return path;
}

static inline void place_write(const struct place *place, const char *name, const char *text)
{
    FILE *file = fopen(place_path(place, name), "w");
    EXPECT(file != NULL && fputs(text, file) >= 0 && fclose(file) == 0);
}

static inline void place_mkdir(const struct place *place, const char *name)
{
    EXPECT(mkdir(place_path(place, name), 0700) == 0);
}

static inline void place_rename(const struct place *place, const char *from, const char *to)
{
    EXPECT(rename(place_path(place, from), place_path(place, to)) == 0);
}

/* How many lines of the daemon's log hold `part`. */
static inline unsigned daemon_has(const struct place *place, const char *part)
{
    char *line = NULL;
    size_t capacity = 0;
    unsigned count = 0;
    FILE *log = fopen(place->log, "r");

    EXPECT(log != NULL);
    while (log != NULL && getline(&line, &capacity, log) > 0)
        count += strstr(line, part) != NULL;
    free(line);
    if (log != NULL)
        (void)fclose(log);
    return count;
}
static inline unsigned daemon_has_key(const struct place *place, const char *key)
{
    char part[PATH_MAX];
    (void)snprintf(part, sizeof part, "\"key\":\"%s\"", key);
    return daemon_has(place, part);
}
static inline unsigned daemon_events(const struct place *place)
{
    return daemon_has(place, "");
}

#endif
