#include "producers/sources/files/names.h"

#include <fnmatch.h>

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
