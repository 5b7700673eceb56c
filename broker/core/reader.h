/* reader.h - committed state as the engine may look at it: the store behind a table of functions, so that the simulator can
 * stand in its place. Everything returned is a view that dies with the turn. Nothing here waits. */
#ifndef SLUICE_CORE_READER_H
#define SLUICE_CORE_READER_H

#include "broker/core/commit.h"

struct batch_row {
    uint64_t first_seq;
    int64_t committed_ms;
    uint32_t count, runs_count;
    const char *runs;            /* encoded; reader.batch_run decodes the i-th */
};

struct stored_event {
    uint64_t seq;
    int64_t committed_ms;
    struct record_event event;
};

struct due_key {
    int64_t due_ms;
    struct delivery delivery;
};

struct reader {
    void *ctx;
    /* The first row of `function` with first_seq > after (after 0: the first). false: none. */
    bool (*batch_after)(void *ctx, uint32_t function, uint64_t after, struct batch_row *ret_row);
    /* The last row of `function` with first_seq <= at_most. false: none. */
    bool (*batch_at)(void *ctx, uint32_t function, uint64_t at_most, struct batch_row *ret_row);
    struct run (*batch_run)(const struct batch_row *row, uint32_t index);
    enum sluice_err (*event)(void *ctx, uint64_t seq, struct stored_event *ret_event);
    bool (*record_after)(void *ctx, uint64_t after, struct record *ret_record);
    /* Exceptions of `function` in order of due time, after `after`. false: none. */
    bool (*due_after)(void *ctx, uint32_t function, struct due_key after, struct due_key *ret_key);
    enum sluice_err (*exception)(void *ctx, enum exception_table table, uint32_t function, struct delivery delivery,
                                 struct exception *ret_row);
    bool (*exception_after)(void *ctx, enum exception_table table, uint32_t function, struct delivery after,
                            struct exception *ret_row);
};

#endif
