/* state.h - what sluice-files remembers, so that a file is published once however often the program stops, crashes or rescans.
 *
 *   gathered --state_intend--> intended (sequence N, N+1, ...) --published, acked--> --state_confirm--> known
 *
 * Files are written down with their sequence numbers before they are published. After a crash they are published again, byte for
 * byte, under the same numbers, and the daemon drops those it has. One batch of files is intended at a time.
 * Owns: one LMDB file, locked for as long as it is open. Each call that writes is one transaction, on disk when it returns.
 * Memory does not grow with the number of files known. */
#ifndef SLUICE_FILES_STATE_H
#define SLUICE_FILES_STATE_H

#include "producers/sources/files/object.h"

enum {
    STATE_VERSION = 2, /* 2: deletions may be intended. 1 is read, and becomes 2 */
    STATE_BATCH_FILES_MAX = 128, /* files written down at once: two commits of the state */
};

/* One file's event, from being seen to being acked. */
struct intent {
    char *path; /* relative to the watched directory; owned */
    struct file_identity identity; /* unused of a deletion */
    bool deleted;
    int64_t time_ms;
    struct bytes detail; /* JSON; owned */
};
struct batch {
    struct intent intents[STATE_BATCH_FILES_MAX];
    unsigned count;
};
void batch_clear(struct batch *batch);

struct state_producer { /* as sluice_producer_options has them */
    uint8_t id[16];
    uint64_t epoch, sequence; /* sequence: of the first intended file, else of the next one */
};

struct state;

/* Makes the file if it is not there. SLUICE_EEXISTS: another process has it open. SLUICE_EINVAL: it is of another bucket.
 * SLUICE_ECORRUPT: not a state file, or of a newer version. */
enum sluice_err state_open(const char *path, const char *bucket, struct state **ret_state, struct sluice_error *reterr);
struct state *state_close(struct state *state); /* NULL is fine; returns NULL */

struct state_producer state_producer(const struct state *state);
/* A number above all given before, also across restarts; near `now_ns` unless the clock went back. Lasts from state_intend(). */
uint64_t state_sequencer_next(struct state *state, uint64_t now_ns);

/* Was this very file published (or refused for good)? */
enum sluice_err state_knows(struct state *state, const char *path, struct file_identity identity, bool *ret_known,
                            struct sluice_error *reterr);
/* Is any version of it known? */
enum sluice_err state_has(struct state *state, const char *path, bool *ret_has, struct sluice_error *reterr);
/* Nothing may be intended yet. */
enum sluice_err state_intend(struct state *state, const struct batch *batch, struct sluice_error *reterr);
/* What was intended and not confirmed, into an empty batch: after a crash. */
enum sluice_err state_intended(struct state *state, struct batch *ret_batch, struct sluice_error *reterr);
/* The batch was answered: its files are known from now on, its deleted ones no more; but nothing changes of those marked in `forget`. */
enum sluice_err state_confirm(struct state *state, const struct batch *batch, const bool forget[STATE_BATCH_FILES_MAX],
                              uint64_t sequence_next, struct sluice_error *reterr);
/* Walks over all known files, in an order of its own, one a call; the state may change in between. Begin with a cursor of zeros.
 * *ret_found: false at the end. */
enum { STATE_PATH_BYTES = 4096 + 1, STATE_CURSOR_BYTES = 32 };
struct state_cursor {
    bool began;
    uint8_t last[STATE_CURSOR_BYTES];
};
enum sluice_err state_next(struct state *state, struct state_cursor *cursor, char ret_path[STATE_PATH_BYTES], bool *ret_found,
                           struct sluice_error *reterr);
/* Without an event. No error if it is not known. */
enum sluice_err state_forget(struct state *state, const char *path, struct sluice_error *reterr);
enum sluice_err state_count(struct state *state, uint64_t *ret_files, struct sluice_error *reterr);

#endif
