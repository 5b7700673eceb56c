/* bench/store - the store alone: events/s on disk by events per commit, beside appending the same bytes to a growing file with
 * one write + fdatasync each, in the same minute on the same disk.
 *   store [--json] [DIR]
 * DIR: where to put the data, removed afterwards (default: the current directory). */
#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "broker/store/store.h"

enum { EVENT_BYTES = 256, ROUNDS = 5, ROUND_MS = 400, KEPT_RECORDS = 200 };

static int64_t now_us(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static _Noreturn void die(const char *what)
{
    (void)fprintf(stderr, "store: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int compare_doubles(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return left < right ? -1 : left > right;
}

static double median(double *values)
{
    qsort(values, ROUNDS, sizeof values[0], compare_doubles);
    return values[ROUNDS / 2];
}

static double floor_round(const char *dir, size_t bytes, uint32_t events)
{
    char path[4096];
    (void)snprintf(path, sizeof path, "%s/floor", dir);
    char *block = calloc(1, bytes);
    int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
    if (fd < 0 || block == NULL)
        die(path);
    memset(block, 'x', bytes);
    int64_t start = now_us(), end;
    unsigned long commits = 0;
    do {
        if (write(fd, block, bytes) != (ssize_t)bytes || fdatasync(fd) != 0)
            die(path);
        commits++;
        end = now_us();
    } while (end - start < ROUND_MS * 1000);
    (void)close(fd);
    (void)unlink(path);
    free(block);
    return (double)commits * events * 1e6 / (double)(end - start);
}

struct publisher {
    struct store *store;
    struct commit *commits[2];
    sem_t done;
    uint64_t next_seq, trim_seq;
    struct record_writer writer;
};

static void commit_done(void *ctx, struct commit *commit, enum commit_outcome outcome, const char *text)
{
    struct publisher *publisher = ctx;
    (void)commit;
    if (outcome != COMMIT_DURABLE) {
        (void)fprintf(stderr, "store: a commit was not durable: %s\n", text);
        exit(1);
    }
    (void)sem_post(&publisher->done);
}

/* What the engine hands over for `events` events that one rule matched, and the acks of as many older ones. */
static void gather(struct publisher *publisher, struct commit *commit, uint32_t events)
{
    static const uint32_t function = 1, target = 1;
    static const char envelope[EVENT_BYTES] = { 0 };
    uint64_t first_seq = publisher->next_seq;

    commit_reset(commit);
    for (uint32_t i = 0; i < events; i++)
        record_writer_add(&publisher->writer, (struct view){ envelope, sizeof envelope }, &target, 1);
    record_writer_finish(&publisher->writer, first_seq, 1, &function, 1, &commit->log);
    VEC_PUSH(&commit->records, (struct commit_record){ first_seq, 0, commit->log.len });
    struct run *run = arena_alloc(commit->arena, sizeof *run);
    *run = (struct run){ .seq = first_seq, .len = events };
    VEC_PUSH(&commit->batches,
             (struct commit_batch){ .function = 1, .first_seq = first_seq, .count = events, .runs = run, .runs_count = 1 });
    VEC_PUSH(&commit->queues, (struct queue_state){ .function = 1, .highest = { first_seq, 0 } });
    publisher->next_seq += events;
    commit->next_seq = publisher->next_seq;
    if (publisher->next_seq - publisher->trim_seq > (uint64_t)KEPT_RECORDS * events) {
        VEC_PUSH(&commit->trims, publisher->trim_seq);
        publisher->trim_seq += events;
    }
}

/* As the daemon does: while one commit is on the disk the next one gathers. */
static double store_round(struct publisher *publisher, uint32_t events, size_t *ret_bytes)
{
    unsigned long commits = 0;
    int64_t start = now_us(), end;

    publisher->trim_seq = publisher->next_seq;
    gather(publisher, publisher->commits[0], events);
    do {
        store_commit_begin(publisher->store, publisher->commits[commits & 1], commit_done, publisher);
        *ret_bytes = publisher->commits[commits & 1]->log.len;
        gather(publisher, publisher->commits[~commits & 1], events);
        while (sem_wait(&publisher->done) != 0)
            ;
        commits++;
        end = now_us();
    } while (end - start < ROUND_MS * 1000);
    /* The gathered one is dropped; sequences may have gaps. */
    return (double)commits * events * 1e6 / (double)(end - start);
}

int main(int argc, char **argv)
{
    static struct publisher publisher;
    static const uint32_t sizes[] = { 1, 16, 128, 1024, 4096 };
    char dir[4096] = ".", path[4200];
    bool json = false;
    struct sluice_error error;

    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--json") == 0)
            json = true;
        else
            (void)snprintf(dir, sizeof dir, "%s", argv[i]);
    size_t len = strlen(dir);
    (void)snprintf(dir + len, sizeof dir - len, "/bench-store.XXXXXX");
    if (mkdtemp(dir) == NULL)
        die(dir);
    if (store_open(dir, NULL, &publisher.store, &error) != SLUICE_OK) {
        (void)fprintf(stderr, "store: %s\n", error.text);
        return 1;
    }
    publisher.commits[0] = commit_new();
    publisher.commits[1] = commit_new();
    publisher.next_seq = 1;
    (void)sem_init(&publisher.done, 0, 0);
    if (!json)
        printf("%-12s %12s %12s %8s   (events/s; floor: write + fdatasync of the same bytes to a growing file)\n", "row", "value",
               "floor", "ratio");
    for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        double values[ROUNDS], floors[ROUNDS];
        size_t bytes = 0;
        for (unsigned round = 0; round < ROUNDS; round++) {
            values[round] = store_round(&publisher, sizes[i], &bytes);
            floors[round] = floor_round(dir, bytes, sizes[i]);
        }
        double value = median(values), floor_value = median(floors), ratio = value / floor_value;
        if (json)
            printf("{\"name\":\"store_%u\",\"value\":%.0f,\"unit\":\"events/s\","
                   "\"floor\":%.0f,\"ratio\":%.3f,\"target\":null,\"met\":null}\n",
                   sizes[i], value, floor_value, ratio);
        else
            printf("store_%-6u %12.0f %12.0f %8.2f\n", sizes[i], value, floor_value, ratio);
        (void)fflush(stdout);
    }
    struct store_usage usage;
    store_usage(publisher.store, &usage);
    if (!json)
        printf("file %.0f MiB, used %.0f MiB, last commits p50 %llu us, p99 %llu us\n", (double)usage.file_bytes / (1 << 20),
               (double)usage.used_bytes / (1 << 20), (unsigned long long)usage.commit_us_p50,
               (unsigned long long)usage.commit_us_p99);
    store_close(publisher.store);
    commit_free(publisher.commits[0]);
    commit_free(publisher.commits[1]);
    bytes_done(&publisher.writer.body);
    static const char *const files[] = { "data.mdb", "lock.mdb", "lock" };
    for (unsigned i = 0; i < 3; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", dir, files[i]);
        (void)unlink(path); /* ours, and new; what is left is left visibly */
    }
    (void)rmdir(dir);
    return 0;
}
