#include "producers/sources/files/settling.h"

#include <stdlib.h>
#include <string.h>

/* FNV-1a: so that looking for a path compares numbers. */
static uint64_t hash_of(const char *path)
{
    uint64_t hash = UINT64_C(14695981039346656037);

    for (; *path != '\0'; path++)
        hash = (hash ^ (unsigned char)*path) * UINT64_C(1099511628211);
    return hash;
}

bool settling_put(struct settling *settling, const char *path, int64_t due_ms)
{
    uint64_t hash = hash_of(path);

    for (size_t i = 0; i < settling->count; i++) {
        struct settling_path *item = &settling->items[i];
        if (item->hash == hash && strcmp(item->path, path) == 0) {
            item->due_ms = due_ms;
            return true;
        }
    }
    if (settling->items == NULL)
        settling->items = calloc(SETTLING_MAX, sizeof *settling->items);
    if (settling->items == NULL || settling->count == SETTLING_MAX)
        return false;
    char *copy = strdup(path);
    if (copy == NULL)
        return false;
    settling->items[settling->count++] = (struct settling_path){ .path = copy, .hash = hash, .due_ms = due_ms };
    return true;
}

int64_t settling_due_ms(const struct settling *settling)
{
    int64_t due_ms = -1;

    for (size_t i = 0; i < settling->count; i++) {
        if (due_ms < 0 || settling->items[i].due_ms < due_ms)
            due_ms = settling->items[i].due_ms;
    }
    return due_ms;
}

char *settling_take(struct settling *settling, int64_t now_ms)
{
    for (size_t i = 0; i < settling->count; i++) {
        if (settling->items[i].due_ms > now_ms)
            continue;
        char *path = settling->items[i].path;
        settling->items[i] = settling->items[--settling->count]; /* the order means nothing */
        return path;
    }
    return NULL;
}

void settling_done(struct settling *settling)
{
    for (size_t i = 0; i < settling->count; i++)
        free(settling->items[i].path);
    free(settling->items);
    *settling = (struct settling){ 0 };
}
