/* source.h - the source `files`: what the tree sees becomes events, each published once.
 *
 *   tree --path--> selected? --> settled? --> known? --no--> complete? --yes--> gathered --> intended (state) --> published
 *          gone, but known: gathered as a deletion                                          known, or no more (state) <--acked
 *
 * What was deleted while nobody looked is found by a scan: it ends with a look for each file that is known.
 * One thread. A batch is published when it is full, or when the kernel has nothing more ready; publishing waits for the daemon,
 * and meanwhile the kernel queues what happens. When its queue overflows the tree is scanned again: so memory is bounded however
 * long the daemon is away. */
#ifndef SLUICE_FILES_SOURCE_H
#define SLUICE_FILES_SOURCE_H

#include "sluice/error.h"
#include "schemas/codec/view.h"

struct source;

struct source_options {
    const char *directory, *bucket, *state_path;
    const char *url, *bus;     /* NULL: the defaults */
    const char *const *ignore; /* further name patterns, NULL-terminated, or NULL */
    const char *const *include, *const *exclude; /* of keys, see name_selected() */
    int64_t settle_ms;         /* how long a file must be left alone before it counts, and a deleted one stay away; 0: not at all */
    /* Asked while waiting for the daemon: true ends the wait, and the call in progress with SLUICE_EUNAVAILABLE. */
    bool (*stopping)(void *ctx);
    /* One `key=value` line a fact, without its line break. */
    void (*log)(void *ctx, const char *line);
    void *ctx;
};

/* Opens state, tree and producer; publishes nothing yet. The options must outlive the source. */
enum sluice_err source_open(const struct source_options *options, struct source **ret_source, struct sluice_error *reterr);
struct source *source_close(struct source *source); /* NULL is fine; returns NULL */

/* First what an earlier run may have left unanswered, then all that lies in the directory and is not known. */
enum sluice_err source_start(struct source *source, struct sluice_error *reterr);
/* What happened since, without waiting for more. Call when source_fd() is readable or source_wait_ms() has passed. */
enum sluice_err source_step(struct source *source, struct sluice_error *reterr);
int source_fd(const struct source *source);
int source_wait_ms(const struct source *source); /* -1: nothing is due */

struct source_stats {
    uint64_t published, refused, scans, known; /* published: deletions too */
    unsigned directories, unconfirmed; /* unconfirmed: published, and no answer yet */
};
enum sluice_err source_stats(struct source *source, struct source_stats *ret_stats, struct sluice_error *reterr);

#endif
