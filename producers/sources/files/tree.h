/* tree.h - a directory with all its sub-directories, watched by inotify.
 *
 * A directory is watched first and listed then, so what arrives while we look is seen at least once; that it may be seen twice
 * is no harm, for the state knows it. The same holds for new sub-directories, and after an overflow of the kernel's queue, when
 * the whole tree is to be scanned again.
 * Owns: the inotify descriptor, one entry per watched directory (the only memory that grows, limited by the kernel's
 * fs.inotify.max_user_watches). Symbolic links are not followed. */
#ifndef SLUICE_FILES_TREE_H
#define SLUICE_FILES_TREE_H

#include "producers/sources/files/object.h"

struct tree;

struct tree_options {
    const char *directory;
    const char *const *ignore; /* further name patterns, NULL-terminated, or NULL */
    /* A file was seen, `path` relative to the directory. Anything but SLUICE_OK ends the call in progress with that code. */
    enum sluice_err (*on_file)(void *ctx, const char *path, enum object_seen seen, struct sluice_error *reterr);
    /* A file was removed or moved away; by the time it is told, there may be another under its name. */
    enum sluice_err (*on_gone)(void *ctx, const char *path, struct sluice_error *reterr);
    /* A folder was moved away with all that is in it; which files that were, the kernel does not say. */
    void (*on_folder_gone)(void *ctx);
    /* A folder or a name is left out, and why; the rest goes on. */
    void (*on_skipped)(void *ctx, const char *text);
    void *ctx;
};

/* Watches nothing yet: tree_scan() is next. SLUICE_ENOTFOUND: not a directory. SLUICE_ELIMIT: the kernel's inotify limit. */
enum sluice_err tree_open(const struct tree_options *options, struct tree **ret_tree, struct sluice_error *reterr);
struct tree *tree_close(struct tree *tree);     /* NULL is fine; returns NULL */
const char *tree_root(const struct tree *tree); /* absolute; what paths are relative to */
int tree_fd(const struct tree *tree);           /* readable: call tree_read() */
unsigned tree_directories(const struct tree *tree);

/* Watches every directory and reports every file in them. SLUICE_ELIMIT: more directories than the kernel lets us watch. */
enum sluice_err tree_scan(struct tree *tree, struct sluice_error *reterr);
/* Takes what the kernel has ready, at most one buffer of it, without waiting. *ret_more: there may be more at once.
 * *ret_overflowed: events were lost, scan again. SLUICE_ENOTFOUND: the directory itself is gone. */
enum sluice_err tree_read(struct tree *tree, bool *ret_more, bool *ret_overflowed, struct sluice_error *reterr);

#endif
