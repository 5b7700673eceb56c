#include "tests/unit/store_fixture.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

#include "tests/test.h"

const char *fixture_directory(void)
{
    static char path[128];
    static unsigned count;

    (void)snprintf(path, sizeof path, "%s/store%u", test_directory(), ++count);
    return path;
}

struct store *fixture_open_map(const char *dir, uint64_t map_bytes)
{
    struct store_options options = { .map_bytes = map_bytes };
    struct store *store = NULL;
    struct sluice_error error;

    if (store_open(dir, &options, &store, &error) != SLUICE_OK) {
        (void)fprintf(stderr, "store_open: %s\n", error.text);
        exit(1);
    }
    return store;
}

struct store *fixture_open(const char *dir)
{
    return fixture_open_map(dir, (uint64_t)1 << 30);
}

struct waiting {
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    bool done;
    enum commit_outcome outcome;
    char text[SLUICE_ERROR_TEXT_MAX];
};

static void commit_done(void *ctx, struct commit *commit, enum commit_outcome outcome, const char *text)
{
    struct waiting *waiting = ctx;

    (void)commit;
    (void)pthread_mutex_lock(&waiting->mutex);
    waiting->done = true;
    waiting->outcome = outcome;
    (void)snprintf(waiting->text, sizeof waiting->text, "%s", text);
    (void)pthread_cond_signal(&waiting->cond);
    (void)pthread_mutex_unlock(&waiting->mutex);
}

enum commit_outcome fixture_commit(struct store *store, struct commit *commit, char *text)
{
    struct waiting waiting = { .mutex = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER };
    struct timespec until;

    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 60;
    store_commit_begin(store, commit, commit_done, &waiting);
    (void)pthread_mutex_lock(&waiting.mutex);
    while (!waiting.done)
        if (pthread_cond_timedwait(&waiting.cond, &waiting.mutex, &until) == ETIMEDOUT) {
            (void)fprintf(stderr, "a commit did not end within 60 s\n");
            abort();
        }
    (void)pthread_mutex_unlock(&waiting.mutex);
    if (text != NULL)
        (void)snprintf(text, SLUICE_ERROR_TEXT_MAX, "%s", waiting.text);
    return waiting.outcome;
}

void fixture_commit_durable(struct store *store, struct commit *commit)
{
    char text[SLUICE_ERROR_TEXT_MAX];

    enum commit_outcome outcome = fixture_commit(store, commit, text);
    if (outcome != COMMIT_DURABLE)
        test_fail(__FILE__, __LINE__, "commit: outcome %d: %s", (int)outcome, text);
    commit_reset(commit);
}

void fixture_uuid(uint8_t id[16], uint64_t seq, int64_t made_ms)
{
    memset(id, 0, 16);
    for (unsigned i = 0; i < 6; i++)
        id[i] = (uint8_t)((uint64_t)made_ms >> (40 - 8 * i));
    id[6] = 0x70;
    for (unsigned i = 0; i < 8; i++)
        id[8 + i] = (uint8_t)(seq >> (56 - 8 * i));
    id[8] |= 0x80;
}

struct view fixture_envelope(struct arena *arena, uint64_t seq, int64_t made_ms, size_t bytes)
{
    uint8_t id[16];
    struct bytes out = { 0 };

    fixture_uuid(id, seq, made_ms);
    char *detail = arena_zalloc(arena, bytes + 32);
    int len = snprintf(detail, 32, "{\"n\":%llu,\"x\":\"", (unsigned long long)seq);
    while ((size_t)len + 2 < bytes)
        detail[len++] = 'x';
    detail[len++] = '"';
    detail[len++] = '}';
    struct event event = {
        .id = { (const char *)id, sizeof id },
        .id_is_uuid = true,
        .has_time = true,
        .time_ms = made_ms,
        .source = VIEW_LITERAL("test"),
        .detail_type = VIEW_LITERAL("Test"),
        .detail = { detail, (size_t)len },
        .detail_format = DETAIL_JSON,
    };
    envelope_encode(&event, &out);
    struct view copy = arena_dup(arena, bytes_view(&out));
    bytes_done(&out);
    return copy;
}

void fixture_add_events(struct commit *commit, struct fixture_events events)
{
    static struct record_writer writer;
    uint32_t target = events.function * 10;
    size_t offset = commit->log.len;

    for (uint32_t i = 0; i < events.count; i++) {
        struct view envelope = fixture_envelope(commit->arena, events.first_seq + i, events.committed_ms, events.bytes);
        record_writer_add(&writer, envelope, &target, 1);
    }
    record_writer_finish(&writer, events.first_seq, events.committed_ms, &events.function, 1, &commit->log);
    VEC_PUSH(&commit->records, (struct commit_record){ events.first_seq, offset, commit->log.len - offset });
    struct run *run = arena_alloc(commit->arena, sizeof *run);
    *run = (struct run){ .seq = events.first_seq, .len = events.count };
    VEC_PUSH(&commit->batches, (struct commit_batch){ .function = events.function, .first_seq = events.first_seq,
                                                      .committed_ms = events.committed_ms, .count = events.count, .runs = run,
                                                      .runs_count = 1 });
    commit->next_seq = events.first_seq + events.count;
}

void fixture_add_queue(struct commit *commit, struct queue_state state)
{
    if (state.holes_count != 0) {
        struct run *holes = arena_alloc(commit->arena, state.holes_count * sizeof *holes);
        memcpy(holes, state.holes, state.holes_count * sizeof *holes);
        state.holes = holes;
    }
    VEC_PUSH(&commit->queues, state);
}

void fixture_add_function(struct commit *commit, uint32_t id, const char *name)
{
    VEC_PUSH(&commit->functions, (struct function_row){ .id = id, .name = arena_dup(commit->arena, view_of(name)) });
}

struct exception fixture_exception(struct arena *arena, uint32_t function, struct delivery delivery, int64_t due_ms)
{
    return (struct exception){
        .function = function,
        .delivery = delivery,
        .target = function * 10,
        .attempts = 2,
        .due_ms = due_ms,
        .accepted_ms = 1000,
        .failed_ms = 2000,
        .reason = VIEW_LITERAL("Runtime.ExitError"),
        .message = VIEW_LITERAL("exit status 3"),
        .output = VIEW_LITERAL("last words"),
        .envelope = fixture_envelope(arena, delivery.seq, 1000, 100),
    };
}
