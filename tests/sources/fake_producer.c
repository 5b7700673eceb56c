#include "tests/sources/fake_producer.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sluice/producer.h"

enum { QUEUE_MAX = 128, BATCHES_MAX = 4096 };

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
    bool taken[BATCHES_MAX];
    int away;
    const char *refused;
    int refused_code;
} daemon_;
void (*fake_daemon_hook)(bool accepted);

void fake_daemon_open(const char *path)
{
    char *line = NULL;
    size_t capacity = 0;

    memset(&daemon_, 0, sizeof daemon_);
    (void)snprintf(daemon_.path, sizeof daemon_.path, "%s", path);
    FILE *log = fopen(path, "a+");
    while (log != NULL && getline(&line, &capacity, log) > 0)
        daemon_.taken[strtoull(line, NULL, 10) % BATCHES_MAX] = true;
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
    if (*ret_producer == NULL)
        abort();
    (*ret_producer)->sequence = options->sequence;
    return SLUICE_OK;
}

enum sluice_err sluice_publish_async(struct sluice_producer *producer, const struct sluice_event *event, sluice_ack *ack, void *user,
                                     struct sluice_error *reterr)
{
    (void)reterr;
    if (producer->count == QUEUE_MAX)
        abort(); /* the source promises one batch between two flushes */
    producer->queue[producer->count++] = (struct queued){ strndup(event->detail, event->detail_len), ack, user };
    return SLUICE_OK;
}

static bool refused(const struct queued *event)
{
    return daemon_.refused != NULL && strstr(event->detail, daemon_.refused) != NULL;
}

/* The whole batch in one write, as a commit is. */
static void take_batch(const struct sluice_producer *producer)
{
    char *text = NULL;
    size_t len = 0;
    FILE *memory = open_memstream(&text, &len);

    for (unsigned i = 0; i < producer->count; i++) {
        if (!refused(&producer->queue[i]))
            (void)fprintf(memory, "%" PRIu64 "\t%s\n", producer->sequence, producer->queue[i].detail);
    }
    (void)fclose(memory);
    FILE *log = fopen(daemon_.path, "a");
    if (log == NULL || fwrite(text, 1, len, log) != len || fclose(log) != 0)
        abort();
    free(text);
    daemon_.taken[producer->sequence % BATCHES_MAX] = true;
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
    if (fake_daemon_hook != NULL)
        fake_daemon_hook(false);
    if (!daemon_.taken[producer->sequence % BATCHES_MAX])
        take_batch(producer);
    if (fake_daemon_hook != NULL)
        fake_daemon_hook(true);
    answer(producer, SLUICE_OK);
    producer->sequence++;
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
