#include "producers/sources/files/tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "producers/sources/files/names.h"

/* IN_CREATE tells of new folders, and of files that were linked into place instead of moved. IN_MOVED_FROM tells that the watch
 * on a folder no longer stands for the path we know it by; the ..._SELF events tell the same of the root. */
#define WATCHED                                                                                                                  \
    (IN_CLOSE_WRITE | IN_MOVED_TO | IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR |            \
     IN_DONT_FOLLOW | IN_EXCL_UNLINK)
#define ROOT_LOST (IN_DELETE_SELF | IN_MOVE_SELF | IN_IGNORED | IN_UNMOUNT)

enum { READ_BYTES = 64 << 10 };
_Static_assert(READ_BYTES >= sizeof(struct inotify_event) + NAME_MAX + 1, "one event must fit, or the kernel gives none");

/* Sorted by wd: the kernel counts them upwards, so a new one nearly always goes to the end. */
struct watch {
    int wd;
    uint32_t scan; /* the last scan that met this directory */
    char *path;    /* "" for the root; owned */
};

struct tree {
    struct tree_options options;
    /* Absolute; owned. Its path and no descriptor of it, which would keep the kernel from telling that it was removed. */
    char *root;
    int inotify_fd, root_wd;
    struct watch *watches;
    size_t watches_count, watches_capacity;
    uint32_t scan;
    char **pending; /* folders found and not listed yet: a scan's stack; owned */
    size_t pending_count, pending_capacity;
    char *buffer; /* READ_BYTES, aligned by malloc as inotify wants it */
};

static enum sluice_err out_of_memory(struct sluice_error *reterr)
{
    return sluice_fail(reterr, SLUICE_ENOMEM, "out of memory watching directories");
}

static void skipped(const struct tree *tree, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void skipped(const struct tree *tree, const char *format, ...)
{
    char text[PATH_MAX + 256];
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    tree->options.on_skipped(tree->options.ctx, text);
}

/* ---- the table of watches ---- */

static size_t watch_position(const struct tree *tree, int wd)
{
    size_t low = 0, high = tree->watches_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (tree->watches[middle].wd < wd)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct watch *watch_find(const struct tree *tree, int wd)
{
    size_t at = watch_position(tree, wd);
    return at < tree->watches_count && tree->watches[at].wd == wd ? &tree->watches[at] : NULL;
}

static bool watch_put(struct tree *tree, int wd, const char *path)
{
    char *copy = strdup(path);
    struct watch *watch = watch_find(tree, wd);

    if (copy == NULL)
        return false;
    if (watch == NULL) {
        if (tree->watches_count == tree->watches_capacity) {
            size_t capacity = tree->watches_capacity == 0 ? 64 : tree->watches_capacity * 2;
            struct watch *grown = realloc(tree->watches, capacity * sizeof *grown);
            if (grown == NULL) {
                free(copy);
                return false;
            }
            tree->watches = grown;
            tree->watches_capacity = capacity;
        }
        size_t at = watch_position(tree, wd);
        memmove(&tree->watches[at + 1], &tree->watches[at], (tree->watches_count - at) * sizeof *tree->watches);
        tree->watches_count++;
        watch = &tree->watches[at];
        *watch = (struct watch){ .wd = wd };
    }
    free(watch->path);
    watch->path = copy;
    watch->scan = tree->scan;
    return true;
}

/* Drops the watches for which `path` is the directory or above it; NULL: those that the current scan did not meet. */
static void watches_drop(struct tree *tree, const char *path)
{
    size_t path_len = path == NULL ? 0 : strlen(path), kept = 0;

    for (size_t i = 0; i < tree->watches_count; i++) {
        struct watch *watch = &tree->watches[i];
        bool drop = path == NULL ? watch->scan != tree->scan
                                 : strncmp(watch->path, path, path_len) == 0 &&
                                       (watch->path[path_len] == '\0' || watch->path[path_len] == '/');
        if (drop) {
            (void)inotify_rm_watch(tree->inotify_fd, watch->wd); /* EINVAL: the kernel dropped it first */
            free(watch->path);
        } else {
            tree->watches[kept++] = *watch;
        }
    }
    tree->watches_count = kept;
}

static void watch_forget(struct tree *tree, int wd)
{
    struct watch *watch = watch_find(tree, wd);
    if (watch == NULL)
        return;
    free(watch->path);
    size_t at = (size_t)(watch - tree->watches);
    memmove(watch, watch + 1, (tree->watches_count - at - 1) * sizeof *watch);
    tree->watches_count--;
}

/* ---- scanning ---- */

static bool pending_push(struct tree *tree, const char *path)
{
    if (tree->pending_count == tree->pending_capacity) {
        size_t capacity = tree->pending_capacity == 0 ? 64 : tree->pending_capacity * 2;
        char **grown = realloc(tree->pending, capacity * sizeof *grown);
        if (grown == NULL)
            return false;
        tree->pending = grown;
        tree->pending_capacity = capacity;
    }
    tree->pending[tree->pending_count] = strdup(path);
    return tree->pending[tree->pending_count] != NULL && ++tree->pending_count > 0;
}

/* false: too long for the kernel. */
static bool path_join(char out[PATH_MAX], const char *folder, const char *name)
{
    int len = snprintf(out, PATH_MAX, "%s%s%s", folder, *folder == '\0' ? "" : "/", name);
    return len > 0 && len < PATH_MAX;
}

/* false: too long for the kernel. */
static bool path_full(char out[PATH_MAX], const struct tree *tree, const char *path)
{
    int len = snprintf(out, PATH_MAX, "%s%s%s", tree->root, *path == '\0' ? "" : "/", path);
    return len > 0 && len < PATH_MAX;
}

/* *ret_there: false when the directory vanished or may not be read, which is no failure of ours. */
static enum sluice_err watch_directory(struct tree *tree, const char *path, bool *ret_there, struct sluice_error *reterr)
{
    char full[PATH_MAX];

    *ret_there = false;
    if (!path_full(full, tree, path)) {
        skipped(tree, "folder '%s' is left out: its path is longer than %d bytes", path, PATH_MAX - 1);
        return SLUICE_OK;
    }
    int wd = inotify_add_watch(tree->inotify_fd, full, WATCHED);
    if (wd < 0 && errno == ENOSPC)
        return sluice_fail(reterr, SLUICE_ELIMIT,
                           "the kernel lets this user watch no more directories (%zu are watched): raise it with "
                           "`sysctl fs.inotify.max_user_watches=...`",
                           tree->watches_count);
    if (wd < 0) {
        if (errno != ENOENT && errno != ENOTDIR)
            skipped(tree, "folder '%s' is left out: cannot watch it: %s", path, strerror(errno));
        return SLUICE_OK;
    }
    if (!watch_put(tree, wd, path))
        return out_of_memory(reterr);
    if (*path == '\0')
        tree->root_wd = wd;
    *ret_there = true;
    return SLUICE_OK;
}

static unsigned char type_of(const struct tree *tree, const char *path, unsigned char type)
{
    char full[PATH_MAX];
    struct stat status;

    if (type != DT_UNKNOWN)
        return type; /* the file system has it in its directory entries, as nearly all do */
    if (!path_full(full, tree, path) || lstat(full, &status) != 0)
        return DT_UNKNOWN;
    return S_ISDIR(status.st_mode) ? DT_DIR : S_ISREG(status.st_mode) ? DT_REG : DT_UNKNOWN;
}

static enum sluice_err found(struct tree *tree, const char *folder, const struct dirent *entry, struct sluice_error *reterr)
{
    char path[PATH_MAX];

    if (name_ignored(entry->d_name, tree->options.ignore))
        return SLUICE_OK;
    if (!path_join(path, folder, entry->d_name)) {
        skipped(tree, "'%s' in folder '%s' is left out: its path is longer than %d bytes", entry->d_name, folder, PATH_MAX - 1);
        return SLUICE_OK;
    }
    switch (type_of(tree, path, entry->d_type)) {
    case DT_DIR: return pending_push(tree, path) ? SLUICE_OK : out_of_memory(reterr);
    case DT_REG: return tree->options.on_file(tree->options.ctx, path, OBJECT_SEEN_LYING, reterr);
    default: return SLUICE_OK;
    }
}

static enum sluice_err list_directory(struct tree *tree, const char *path, struct sluice_error *reterr)
{
    char full[PATH_MAX];
    enum sluice_err err = SLUICE_OK;
    struct dirent *entry;

    if (!path_full(full, tree, path))
        return SLUICE_OK; /* watch_directory() said so */
    int fd = open(full, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *directory = fd < 0 ? NULL : fdopendir(fd);
    if (directory == NULL) {
        if (errno != ENOENT && errno != ENOTDIR && errno != ELOOP)
            skipped(tree, "folder '%s' is left out: cannot list it: %s", path, strerror(errno));
        if (fd >= 0)
            (void)close(fd);
        return SLUICE_OK;
    }
    while (err == SLUICE_OK && (errno = 0, entry = readdir(directory)) != NULL)
        err = found(tree, path, entry, reterr);
    if (err == SLUICE_OK && errno != 0)
        skipped(tree, "folder '%s' is left out in part: cannot list it: %s", path, strerror(errno));
    (void)closedir(directory); /* read only: nothing to lose */
    return err;
}

static enum sluice_err scan_from(struct tree *tree, const char *path, struct sluice_error *reterr)
{
    enum sluice_err err = pending_push(tree, path) ? SLUICE_OK : out_of_memory(reterr);

    while (tree->pending_count > 0) {
        char *folder = tree->pending[--tree->pending_count];
        bool there = false;
        if (err == SLUICE_OK)
            err = watch_directory(tree, folder, &there, reterr);
        if (err == SLUICE_OK && there)
            err = list_directory(tree, folder, reterr);
        free(folder); /* after an error the loop only empties the stack */
    }
    return err;
}

enum sluice_err tree_scan(struct tree *tree, struct sluice_error *reterr)
{
    tree->scan++;
    enum sluice_err err = scan_from(tree, "", reterr);
    if (err == SLUICE_OK)
        watches_drop(tree, NULL);
    return err;
}

/* ---- events ---- */

static enum sluice_err handle_event(struct tree *tree, const struct inotify_event *event, struct sluice_error *reterr)
{
    char path[PATH_MAX];

    if (event->wd == tree->root_wd && (event->mask & ROOT_LOST) != 0)
        return sluice_fail(reterr, SLUICE_ENOTFOUND, "directory '%s' was removed, renamed or unmounted: nothing is left to watch",
                           tree->root);
    if ((event->mask & IN_IGNORED) != 0) {
        watch_forget(tree, event->wd);
        return SLUICE_OK;
    }
    const struct watch *watch = watch_find(tree, event->wd);
    /* An event of a watch that was dropped while it waited in the queue: the scan that followed has seen what it tells. */
    if (watch == NULL || event->len == 0 || name_ignored(event->name, tree->options.ignore))
        return SLUICE_OK;
    if (!path_join(path, watch->path, event->name)) {
        skipped(tree, "'%s' in folder '%s' is left out: its path is longer than %d bytes", event->name, watch->path,
                PATH_MAX - 1);
        return SLUICE_OK;
    }
    if ((event->mask & IN_ISDIR) != 0) {
        /* A folder moved away takes its watches along, under a path that is no longer ours. If it only moved within the tree, its
         * arrival is the next event, and a scan under the new name. */
        if ((event->mask & IN_MOVED_FROM) != 0) {
            watches_drop(tree, path);
            tree->options.on_folder_gone(tree->options.ctx);
        }
        return (event->mask & (IN_CREATE | IN_MOVED_TO)) != 0 ? scan_from(tree, path, reterr) : SLUICE_OK;
    }
    if ((event->mask & (IN_CLOSE_WRITE | IN_MOVED_TO)) != 0)
        return tree->options.on_file(tree->options.ctx, path, OBJECT_SEEN_CLOSED, reterr);
    if ((event->mask & (IN_DELETE | IN_MOVED_FROM)) != 0)
        return tree->options.on_gone(tree->options.ctx, path, reterr);
    if ((event->mask & IN_CREATE) != 0)
        return tree->options.on_file(tree->options.ctx, path, OBJECT_SEEN_LYING, reterr);
    return SLUICE_OK;
}

enum sluice_err tree_read(struct tree *tree, bool *ret_more, bool *ret_overflowed, struct sluice_error *reterr)
{
    *ret_more = *ret_overflowed = false;
    ssize_t len = read(tree->inotify_fd, tree->buffer, READ_BYTES);
    if (len < 0 && (errno == EAGAIN || errno == EINTR))
        return SLUICE_OK;
    if (len < 0)
        return sluice_fail(reterr, SLUICE_EIO, "cannot read inotify events: %m");
    for (const char *at = tree->buffer; at < tree->buffer + len;) {
        const struct inotify_event *event = (const struct inotify_event *)(const void *)at;
        at += sizeof *event + event->len;
        if ((event->mask & IN_Q_OVERFLOW) != 0) {
            *ret_overflowed = true;
            continue;
        }
        enum sluice_err err = handle_event(tree, event, reterr);
        if (err != SLUICE_OK)
            return err;
    }
    *ret_more = true;
    return SLUICE_OK;
}

/* ---- life ---- */

static enum sluice_err open_root(struct tree *tree, const char *directory, struct sluice_error *reterr)
{
    struct stat status;

    tree->root = realpath(directory, NULL);
    if (tree->root == NULL)
        return sluice_fail(reterr, SLUICE_ENOTFOUND, "cannot watch '%s': %m", directory);
    if (stat(tree->root, &status) != 0 || !S_ISDIR(status.st_mode))
        return sluice_fail(reterr, SLUICE_ENOTFOUND, "cannot watch '%s': not a directory", directory);
    tree->inotify_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (tree->inotify_fd < 0 && errno == EMFILE)
        return sluice_fail(reterr, SLUICE_ELIMIT,
                           "this user has no inotify instance left: raise it with "
                           "`sysctl fs.inotify.max_user_instances=...`");
    if (tree->inotify_fd < 0)
        return sluice_fail(reterr, SLUICE_EIO, "cannot start inotify: %m");
    return SLUICE_OK;
}

enum sluice_err tree_open(const struct tree_options *options, struct tree **ret_tree, struct sluice_error *reterr)
{
    struct tree *tree = calloc(1, sizeof *tree);
    if (tree != NULL) {
        tree->inotify_fd = tree->root_wd = -1;
        tree->options = *options;
        tree->buffer = malloc(READ_BYTES);
    }
    if (tree == NULL || tree->buffer == NULL) {
        tree_close(tree);
        return out_of_memory(reterr);
    }
    enum sluice_err err = open_root(tree, options->directory, reterr);
    if (err != SLUICE_OK) {
        tree_close(tree);
        return err;
    }
    *ret_tree = tree;
    return SLUICE_OK;
}

struct tree *tree_close(struct tree *tree)
{
    if (tree == NULL)
        return NULL;
    for (size_t i = 0; i < tree->watches_count; i++)
        free(tree->watches[i].path);
    free(tree->watches);
    free(tree->pending); /* empty between scans */
    if (tree->inotify_fd >= 0)
        (void)close(tree->inotify_fd); /* takes the watches along */
    free(tree->root);
    free(tree->buffer);
    free(tree);
    return NULL;
}

const char *tree_root(const struct tree *tree)
{
    return tree->root;
}

int tree_fd(const struct tree *tree)
{
    return tree->inotify_fd;
}

unsigned tree_directories(const struct tree *tree)
{
    return (unsigned)tree->watches_count;
}
