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
    STATE_VERSION = 1,
    STATE_BATCH_FILES_MAX = 128, /* files written down at once: two commits of the state */
};

/* One file's event, from being seen to being acked. */
struct intent {
    char *path; /* relative to the watched directory; owned */
    struct file_identity identity;
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
/* Nothing may be intended yet. */
enum sluice_err state_intend(struct state *state, const struct batch *batch, struct sluice_error *reterr);
/* What was intended and not confirmed, into an empty batch: after a crash. */
enum sluice_err state_intended(struct state *state, struct batch *ret_batch, struct sluice_error *reterr);
/* The batch was answered: its files are known from now on, but for those marked in `forget`. */
enum sluice_err state_confirm(struct state *state, const struct batch *batch, const bool forget[STATE_BATCH_FILES_MAX],
                              uint64_t sequence_next, struct sluice_error *reterr);
/* Forgets every file for which `gone` says true, so that the state does not outgrow the directory. */
enum sluice_err state_sweep(struct state *state, bool (*gone)(void *ctx, const char *path), void *ctx, uint64_t *ret_forgotten,
                            struct sluice_error *reterr);
enum sluice_err state_count(struct state *state, uint64_t *ret_files, struct sluice_error *reterr);

#endif
