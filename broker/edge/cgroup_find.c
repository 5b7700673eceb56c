/* Where our own cgroup lies.
 *
 *   /proc/self/cgroup       4:memory:/system.slice/sluiced.service       v1: of the controllers named, in the hierarchy that has `memory`
 *                           0::/system.slice/sluiced.service             v2
 *   /proc/self/mountinfo    36 25 0:31 ROOT MOUNTED-AT options ... - cgroup2 cgroup2 rw,...
 *
 * ROOT is which cgroup the mount shows at its top: in a container often not "/". Then the part of the path below it counts. */
#include <stdio.h>
#include <string.h>

#include "broker/edge/cgroup.h"

struct span { const char *at; size_t len; };

static bool span_is(struct span span, const char *text)
{
    return span.len == strlen(text) && memcmp(span.at, text, span.len) == 0;
}

/* The next word of *at up to `separator` or the line's end, moving behind it. */
static struct span word_take(const char **at, char separator)
{
    struct span word = { .at = *at };

    while (**at != separator && **at != '\n' && **at != '\0')
        (*at)++;
    word.len = (size_t)(*at - word.at);
    if (**at == separator)
        (*at)++;
    return word;
}

static const char *line_after(const char *at)
{
    const char *line_break = strchr(at, '\n');

    return line_break != NULL ? line_break + 1 : at + strlen(at);
}

static bool list_has(struct span list, const char *wanted)
{
    const char *at = list.at, *end = list.at + list.len;

    while (at < end) {
        const char *comma = memchr(at, ',', (size_t)(end - at));
        struct span one = { .at = at, .len = (size_t)((comma != NULL ? comma : end) - at) };
        if (span_is(one, wanted))
            return true;
        at += one.len + 1;
    }
    return false;
}

static bool path_of(enum memory_limiter version, const char *cgroups, struct span *ret_path)
{
    for (const char *line = cgroups; *line != '\0'; line = line_after(line)) {
        const char *at = line;
        struct span number = word_take(&at, ':'), controllers = word_take(&at, ':'), path = word_take(&at, '\n');
        bool found = version == MEMORY_BY_CGROUP2 ? span_is(number, "0") && controllers.len == 0 : list_has(controllers, "memory");
        if (found && path.len > 0 && path.at[0] == '/') {
            *ret_path = path;
            return true;
        }
    }
    return false;
}

/* mountinfo writes space, tab, line break and backslash as \040 and so on. False: too long. */
static bool unescape(struct span text, char *to, size_t size)
{
    size_t len = 0;

    for (size_t i = 0; i < text.len && len + 1 < size; i++) {
        const char *at = text.at + i;
        if (*at == '\\' && i + 3 < text.len) {
            to[len++] = (char)(((at[1] - '0') << 6) | ((at[2] - '0') << 3) | (at[3] - '0'));
            i += 3;
        } else {
            to[len++] = *at;
        }
        if (i + 1 == text.len) {
            to[len] = '\0';
            return true;
        }
    }
    return false;
}

/* `path` below `root`, with its leading '/' or empty; false: outside. */
static bool path_below(struct span path, const char *root, struct span *ret_below)
{
    size_t root_len = strcmp(root, "/") == 0 ? 0 : strlen(root);

    if (path.len < root_len || memcmp(path.at, root, root_len) != 0)
        return false;
    *ret_below = (struct span){ .at = path.at + root_len, .len = path.len - root_len };
    if (memmem(path.at, path.len, "/..", 3) != NULL)
        return false; /* outside of our cgroup namespace */
    if (ret_below->len > 0 && ret_below->at[0] != '/')
        return false;
    if (ret_below->len == 1)
        ret_below->len = 0; /* "/" alone: the top itself */
    return true;
}

static bool mount_shows(enum memory_limiter version, const char *line, struct span path, char ret_folder[CGROUP_PATH_MAX])
{
    char root[CGROUP_PATH_MAX], mounted_at[CGROUP_PATH_MAX];
    struct span below, word, rooted, at_folder;
    const char *at = line;

    for (unsigned skipped = 0; skipped < 3; skipped++)
        (void)word_take(&at, ' ');
    rooted = word_take(&at, ' ');
    at_folder = word_take(&at, ' ');
    do
        word = word_take(&at, ' ');
    while (word.len > 0 && !span_is(word, "-"));
    struct span type = word_take(&at, ' ');
    (void)word_take(&at, ' ');
    struct span options = word_take(&at, ' ');
    if (!span_is(type, version == MEMORY_BY_CGROUP2 ? "cgroup2" : "cgroup"))
        return false;
    if (version == MEMORY_BY_CGROUP1 && !list_has(options, "memory"))
        return false;
    if (!unescape(rooted, root, sizeof root) || !unescape(at_folder, mounted_at, sizeof mounted_at) || !path_below(path, root, &below))
        return false;
    return snprintf(ret_folder, CGROUP_PATH_MAX, "%s%.*s", mounted_at, (int)below.len, below.at) < CGROUP_PATH_MAX;
}

bool cgroup_find(enum memory_limiter version, const char *cgroups, const char *mounts, char ret_folder[CGROUP_PATH_MAX])
{
    struct span path;

    if (!path_of(version, cgroups, &path))
        return false;
    for (const char *line = mounts; *line != '\0'; line = line_after(line))
        if (mount_shows(version, line, path, ret_folder))
            return true;
    return false;
}
