#include "broker/core/commit.h"

#include "broker/base/assert.h"

struct commit *commit_new(void)
{
    struct commit *commit = calloc(1, sizeof *commit);
    ASSERT(commit != NULL);
    commit->arena = arena_new(64 << 10);
    return commit;
}

struct commit *commit_free(struct commit *commit)
{
    if (commit == NULL)
        return NULL;
    arena_free(commit->arena);
    bytes_done(&commit->log);
    VEC_DONE(&commit->records);
    VEC_DONE(&commit->batches);
    VEC_DONE(&commit->producers);
    VEC_DONE(&commit->queues);
    VEC_DONE(&commit->exceptions);
    VEC_DONE(&commit->trims);
    VEC_DONE(&commit->producers_gone);
    VEC_DONE(&commit->functions);
    VEC_DONE(&commit->targets);
    free(commit);
    return NULL;
}

void commit_reset(struct commit *commit)
{
    arena_reset(commit->arena);
    bytes_clear(&commit->log);
    commit->records.count = commit->batches.count = commit->producers.count = 0;
    commit->queues.count = commit->exceptions.count = commit->trims.count = commit->producers_gone.count = 0;
    commit->functions.count = commit->targets.count = 0;
    commit->unmatched = commit->revision = 0;
}

bool commit_is_empty(const struct commit *commit)
{
    return commit->records.count == 0 && commit->producers.count == 0 && commit->queues.count == 0 &&
           commit->exceptions.count == 0 && commit->trims.count == 0 && commit->producers_gone.count == 0 &&
           commit->functions.count == 0 && commit->targets.count == 0 && commit->revision == 0;
}
