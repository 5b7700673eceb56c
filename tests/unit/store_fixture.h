/* store_fixture.h - what the store tests share: a store in a fresh directory, commits that are waited for, small events. */
#ifndef SLUICE_TESTS_STORE_FIXTURE_H
#define SLUICE_TESTS_STORE_FIXTURE_H

#include "broker/store/store.h"

/* A directory of its own below test_directory(); static text, valid until the next call. */
const char *fixture_directory(void);
struct store *fixture_open(const char *dir);
struct store *fixture_open_map(const char *dir, uint64_t map_bytes);

/* The commit's outcome, waited for with a deadline of 60 s. text: of SLUICE_ERROR_TEXT_MAX bytes, or NULL. */
enum commit_outcome fixture_commit(struct store *store, struct commit *commit, char *text);
/* Expects COMMIT_DURABLE, then resets the commit. */
void fixture_commit_durable(struct store *store, struct commit *commit);

/* A record of `count` events with `bytes` of detail each, made of their numbers, all for `function` (ordinal 0, target
 * `function` * 10), with its batches row; next_seq follows. */
struct fixture_events {
    uint64_t first_seq;
    uint32_t count, function;
    int64_t committed_ms;
    size_t bytes;
};
void fixture_add_events(struct commit *commit, struct fixture_events events);
/* The same event alone: its envelope, in the commit's arena. */
struct view fixture_envelope(struct arena *arena, uint64_t seq, int64_t made_ms, size_t bytes);
void fixture_uuid(uint8_t id[16], uint64_t seq, int64_t made_ms);
void fixture_add_queue(struct commit *commit, struct queue_state state); /* holes are copied */
void fixture_add_function(struct commit *commit, uint32_t id, const char *name);
struct exception fixture_exception(struct arena *arena, uint32_t function, struct delivery delivery, int64_t due_ms);

#endif
