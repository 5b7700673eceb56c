#include "tests/sources/fake_producer.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sluice/producer.h"

enum { QUEUE_MAX = 128, SEQUENCES_MAX = 1 << 16 };

struct queued {
    char *detail;
    sluice_ack *ack;
    void *user;
};
struct sluice_producer {
    struct queued queue[QUEUE_MAX];
    unsigned count;
    uint64_t sequence;
};

static struct {
    char path[4096];
    bool taken[SEQUENCES_MAX];
    int away;
    const char *refused;
    int refused_code;
} daemon_;
void (*fake_daemon_hook)(bool taken);

void fake_daemon_open(const char *path)
{
    char *line = NULL;
    size_t capacity = 0;

    memset(&daemon_, 0, sizeof daemon_);
    (void)snprintf(daemon_.path, sizeof daemon_.path, "%s", path);
    FILE *log = fopen(path, "a+");
    while (log != NULL && getline(&line, &capacity, log) > 0)
        daemon_.taken[strtoull(line, NULL, 10) % SEQUENCES_MAX] = true;
    free(line);
    if (log != NULL)
        (void)fclose(log);
}

void fake_daemon_away(int flushes)
{
    daemon_.away = flushes;
}

void fake_daemon_refuses(const char *part, int code)
{
    daemon_.refused = part;
    daemon_.refused_code = code;
}

enum sluice_err sluice_producer_open(const struct sluice_producer_options *options, struct sluice_producer **ret_producer,
                                     struct sluice_error *reterr)
{
    (void)reterr;
    *ret_producer = calloc(1, sizeof **ret_producer);
    if (*ret_producer == NULL || options->batch_events != 1)
        abort();
    (*ret_producer)->sequence = options->sequence;
    return SLUICE_OK;
}

enum sluice_err sluice_publish_async(struct sluice_producer *producer, const struct sluice_event *event, sluice_ack *ack,
                                     void *user, struct sluice_error *reterr)
{
    (void)reterr;
    if (producer->count == QUEUE_MAX)
        abort(); /* the source publishes no more than this between two flushes */
    producer->queue[producer->count++] = (struct queued){ strndup(event->detail, event->detail_len), ack, user };
    return SLUICE_OK;
}

static bool refused(const struct queued *event)
{
    return daemon_.refused != NULL && strstr(event->detail, daemon_.refused) != NULL;
}

static void take_event(FILE *log, const struct queued *event, uint64_t sequence)
{
    bool *taken = &daemon_.taken[sequence % SEQUENCES_MAX];
    if (!*taken && !refused(event))
        (void)fprintf(log, "%" PRIu64 "\t%s\n", sequence, event->detail);
    *taken = true;
}

static void take_all(struct sluice_producer *producer)
{
    FILE *log = fopen(daemon_.path, "a");

    if (log == NULL)
        abort();
    for (unsigned i = 0; i < producer->count; i++) {
        bool hook = fake_daemon_hook != NULL && i % FAKE_DAEMON_HOOK_EVERY == FAKE_DAEMON_HOOK_EVERY / 2;
        if (hook)
            fake_daemon_hook(false);
        take_event(log, &producer->queue[i], producer->sequence++);
        if (fflush(log) != 0)
            abort();
        if (hook)
            fake_daemon_hook(true);
    }
    (void)fclose(log);
}

static void answer(struct sluice_producer *producer, enum sluice_err all)
{
    struct sluice_error error = { .code = (enum sluice_err)daemon_.refused_code, .text = "as the test wants it" };
    for (unsigned i = 0; i < producer->count; i++) {
        struct queued *event = &producer->queue[i];
        bool no = refused(event);
        event->ack(event->user, all != SLUICE_OK ? all : no ? error.code : SLUICE_OK, no ? &error : NULL);
        free(event->detail);
    }
    producer->count = 0;
}

enum sluice_err sluice_producer_flush(struct sluice_producer *producer, int timeout_ms, uint64_t *ret_unconfirmed)
{
    (void)timeout_ms;
    if (daemon_.away != 0) {
        daemon_.away -= daemon_.away > 0;
        if (ret_unconfirmed != NULL)
            *ret_unconfirmed = producer->count;
        return SLUICE_ETIMEDOUT;
    }
    if (producer->count == 0)
        return SLUICE_OK;
    take_all(producer);
    answer(producer, SLUICE_OK);
    return SLUICE_OK;
}

enum sluice_err sluice_producer_close(struct sluice_producer *producer, int timeout_ms, uint64_t *ret_unconfirmed)
{
    (void)timeout_ms;
    (void)ret_unconfirmed;
    answer(producer, SLUICE_EUNAVAILABLE);
    free(producer);
    return SLUICE_OK;
}

void sluice_producer_stats(struct sluice_producer *producer, struct sluice_producer_stats *ret_stats)
{
    *ret_stats = (struct sluice_producer_stats){ .sequence_next = producer->sequence };
}
