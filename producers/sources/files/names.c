#include "producers/sources/files/names.h"

#include <fnmatch.h>
#include <limits.h>
#include <string.h>

const char *const names_ignored_always[] = { ".*", "*~", "*.swp", "*.part", "*.tmp", NULL };

static bool any_matches(const char *const *patterns, const char *name)
{
    for (; patterns != NULL && *patterns != NULL; patterns++) {
        if (fnmatch(*patterns, name, 0) == 0)
            return true;
    }
    return false;
}

bool name_ignored(const char *name, const char *const *more)
{
    return any_matches(names_ignored_always, name) || any_matches(more, name);
}

bool name_ignored_anywhere(const char *path, const char *const *more)
{
    char name[NAME_MAX + 1];

    for (const char *at = path; *at != '\0';) {
        size_t len = strcspn(at, "/");
        if (len < sizeof name) { /* longer ones do not exist */
            memcpy(name, at, len);
            name[len] = '\0';
            if (name_ignored(name, more))
                return true;
        }
        at += len + (at[len] == '/');
    }
    return false;
}

static bool any_matches_key(const char *const *patterns, const char *key)
{
    const char *slash = strrchr(key, '/'), *name = slash == NULL ? key : slash + 1;

    for (; patterns != NULL && *patterns != NULL; patterns++) {
        if (fnmatch(*patterns, strchr(*patterns, '/') == NULL ? name : key, 0) == 0)
            return true;
    }
    return false;
}

bool name_selected(const char *key, const char *const *include, const char *const *exclude)
{
    bool all = include == NULL || *include == NULL;
    return (all || any_matches_key(include, key)) && !any_matches_key(exclude, key);
}
