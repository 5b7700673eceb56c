#include "sluice/producer.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

#include "producers/client/window.h"
#include "schemas/codec/envelope.h"

static int64_t wall_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_REALTIME, &now); /* cannot fail with this clock */
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static struct timespec deadline_in(int64_t timeout_ms)
{
    int64_t due_us = window_now_us() + timeout_ms * 1000;

    return (struct timespec){ .tv_sec = due_us / 1000000, .tv_nsec = due_us % 1000000 * 1000 };
}

/* Waits until `deadline` (NULL: for ever). false: it has passed. */
static bool wait_until(struct sluice_producer *producer, pthread_cond_t *cond, const struct timespec *deadline)
{
    if (deadline == NULL)
        return pthread_cond_wait(cond, &producer->mutex) == 0;
    return pthread_cond_timedwait(cond, &producer->mutex, deadline) != ETIMEDOUT;
}

static void cond_init_monotonic(pthread_cond_t *cond)
{
    pthread_condattr_t attributes;

    (void)pthread_condattr_init(&attributes); /* these three cannot fail with glibc */
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_cond_init(cond, &attributes);
    (void)pthread_condattr_destroy(&attributes);
}

static enum sluice_err options_take(struct sluice_producer *producer, const struct sluice_producer_options *options,
                                    struct sluice_error *reterr)
{
    const struct { const char *name; size_t value, max; } limits[] = {
        { "window_batches", options->window_batches, PUBLISH_WINDOW_BATCHES_MAX },
        { "batch_bytes", options->batch_bytes, PUBLISH_BATCH_BYTES_MAX },
        { "batch_events", options->batch_events, PUBLISH_BATCH_EVENTS_MAX },
    };
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++)
        if (limits[i].value > limits[i].max)
            return sluice_fail(reterr, SLUICE_EINVAL, "option %s = %zu: at most %zu", limits[i].name, limits[i].value,
                               limits[i].max);
    if (options->id == NULL && (options->epoch != 0 || options->sequence != 0))
        return sluice_fail(reterr, SLUICE_EINVAL, "options epoch and sequence need an id");

    producer->window_batches = options->window_batches != 0 ? options->window_batches : WINDOW_BATCHES_DEFAULT;
    producer->batch_bytes = options->batch_bytes != 0 ? options->batch_bytes : BATCH_BYTES_DEFAULT;
    producer->batch_events = options->batch_events != 0 ? options->batch_events : BATCH_EVENTS_DEFAULT;
    producer->buffer_bytes = options->buffer_bytes != 0 ? options->buffer_bytes : BUFFER_BYTES_DEFAULT;
    producer->linger_us = options->linger_us != 0 ? options->linger_us : LINGER_US_DEFAULT;
    producer->linger_none = options->linger_none;
    producer->buffer_full_fails = options->buffer_full_fails;
    producer->ack_timeout_ms = options->ack_timeout_ms != 0 ? options->ack_timeout_ms : ACK_TIMEOUT_MS_DEFAULT;
    producer->epoch = options->epoch;
    producer->sequence_next = options->sequence != 0 ? options->sequence : 1;
    producer->sequence_sent = producer->sequence_next - 1;
    producer->limits = (struct wire_limits){ .credit = PUBLISH_WINDOW_BATCHES_MAX, /* until hello says */
                                             .batch_bytes_max = PUBLISH_BATCH_BYTES_MAX,
                                             .batch_events_max = PUBLISH_BATCH_EVENTS_MAX,
                                             .event_bytes_max = EVENT_BYTES_MAX };
    if (getrandom(&producer->random, sizeof producer->random, 0) != sizeof producer->random ||
        getrandom(producer->id, sizeof producer->id, 0) != sizeof producer->id)
        return sluice_fail(reterr, SLUICE_EIO, "no random numbers: %s", strerror(errno));
    if (options->id != NULL)
        memcpy(producer->id, options->id, sizeof producer->id);
    return SLUICE_OK;
}

static enum sluice_err timer_start(struct sluice_producer *producer, struct sluice_error *reterr)
{
    sigset_t all, before;

    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before); /* the program's signals are for its own threads */
    int err = pthread_create(&producer->timer, NULL, window_timer_run, producer);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (err != 0)
        return sluice_fail(reterr, SLUICE_ENOMEM, "start a thread: %s", strerror(err));
    producer->timer_started = true;
    return SLUICE_OK;
}

static enum sluice_err producer_set_up(struct sluice_producer *producer, const struct sluice_producer_options *options,
                                       struct sluice_error *reterr)
{
    const struct link_options link_options = { .url = options->url, .token = options->token, .name = options->name };
    const struct link_watch watch = { .up = window_up, .down = window_down, .user = producer };

    enum sluice_err err = options_take(producer, options, reterr);
    if (err != SLUICE_OK)
        return err;
    producer->slots_count = producer->window_batches;
    for (unsigned i = 0; i < producer->slots_count; i++) {
        struct slot *slot = &producer->slots[i];
        slot->producer = producer;
        slot->call.done = window_answered;
        slot->call.user = slot;
    }
    /* The mutex keeps `up` back until the link is known here. */
    pthread_mutex_lock(&producer->mutex);
    err = link_open(&link_options, &watch, &producer->link, reterr);
    pthread_mutex_unlock(&producer->mutex);
    return err == SLUICE_OK ? timer_start(producer, reterr) : err;
}

static void batches_free(struct batch *batch)
{
    while (batch != NULL) {
        struct batch *next = batch->next;
        (void)batch_free(batch);
        batch = next;
    }
}

static void producer_free(struct sluice_producer *producer)
{
    batches_free(producer->spare);
    (void)batch_free(producer->open);
    bytes_done(&producer->scratch);
    for (unsigned i = 0; i < producer->slots_count; i++)
        bytes_done(&producer->slots[i].head);
    pthread_cond_destroy(&producer->drained);
    pthread_cond_destroy(&producer->timer_changed);
    pthread_cond_destroy(&producer->room);
    pthread_mutex_destroy(&producer->mutex);
    free(producer);
}

/* Afterwards no other thread is in our code, nor will be. Without the mutex. */
static void producer_stop(struct sluice_producer *producer)
{
    pthread_mutex_lock(&producer->mutex);
    producer->closing = true;
    pthread_cond_broadcast(&producer->room);
    pthread_cond_broadcast(&producer->timer_changed);
    pthread_mutex_unlock(&producer->mutex);
    if (producer->timer_started)
        (void)pthread_join(producer->timer, NULL);
    link_close(producer->link);
}

enum sluice_err sluice_producer_open(const struct sluice_producer_options *options, struct sluice_producer **ret_producer,
                                     struct sluice_error *reterr)
{
    static const struct sluice_producer_options defaults = { 0 };
    struct sluice_producer *producer = calloc(1, sizeof *producer);

    if (producer == NULL)
        return sluice_fail(reterr, SLUICE_ENOMEM, "out of memory for a producer");
    (void)pthread_mutex_init(&producer->mutex, NULL); /* a plain mutex: cannot fail */
    cond_init_monotonic(&producer->room);
    cond_init_monotonic(&producer->drained);
    cond_init_monotonic(&producer->timer_changed);
    enum sluice_err err = producer_set_up(producer, options != NULL ? options : &defaults, reterr);
    if (err != SLUICE_OK) {
        producer_stop(producer);
        producer_free(producer);
        return err;
    }
    *ret_producer = producer;
    return SLUICE_OK;
}

static enum sluice_err closed_error(struct sluice_error *reterr)
{
    return sluice_fail(reterr, SLUICE_EUNAVAILABLE, "the producer is being closed");
}

/* Waits for room in the buffer, with the mutex held. */
static enum sluice_err room_wait(struct sluice_producer *producer, const struct timespec *deadline, struct sluice_error *reterr)
{
    enum sluice_err err = SLUICE_OK;

    producer->callers++;
    while (producer->held_bytes >= producer->buffer_bytes && !producer->closing && err == SLUICE_OK) {
        if (producer->buffer_full_fails)
            err = sluice_fail(reterr, SLUICE_ELIMIT, "buffer_bytes: %zu bytes wait for the daemon; publish again later",
                              producer->held_bytes);
        else if (!wait_until(producer, &producer->room, deadline))
            err = sluice_fail(reterr, SLUICE_ETIMEDOUT, "buffer_bytes: %zu bytes have waited for the daemon for %u ms",
                              producer->held_bytes, producer->ack_timeout_ms);
    }
    if (err == SLUICE_OK && producer->closing)
        err = closed_error(reterr);
    producer->callers--;
    pthread_cond_broadcast(&producer->drained);
    return err;
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* The event just encoded makes the open batch too large to be sent: it becomes the first of the next one. */
static enum sluice_err open_split(struct sluice_producer *producer, size_t before, struct sluice_error *reterr)
{
    struct batch *full = producer->open;
    size_t len = full->envelopes.len - before;

    full->envelopes.len = before; /* its bytes beyond stay readable until the batch is reset */
    window_seal(producer);
    struct batch *batch = window_open_batch(producer);
    if (batch != NULL)
        bytes_put(&batch->envelopes, full->envelopes.data + before, len);
    if (batch == NULL || batch->envelopes.failed)
        return sluice_fail(reterr, SLUICE_ENOMEM, "out of memory for a batch");
    return SLUICE_OK;
}

/* An open batch is never empty when the mutex is given away. */
static void open_drop_if_empty(struct sluice_producer *producer)
{
    if (producer->open == NULL || producer->open->count > 0)
        return;
    (void)batch_free(producer->open);
    producer->open = NULL;
}

/* Encodes into the open batch and lets it go if it may; with the mutex held. *ret_batch and *ret_index: where its ack stands. */
static enum sluice_err event_queue(struct sluice_producer *producer, const struct sluice_event *event, sluice_ack *ack,
                                   void *user, struct batch **ret_batch, uint32_t *ret_index, struct sluice_error *reterr)
{
    const uint64_t random[2] = { random_next(&producer->random), random_next(&producer->random) };
    const struct event_defaults defaults = { .now_ms = wall_ms(), .random = (const uint8_t *)random };
    struct batch *batch = window_open_batch(producer);

    if (batch == NULL)
        return sluice_fail(reterr, SLUICE_ENOMEM, "out of memory for a batch");
    size_t before = batch->envelopes.len;
    enum sluice_err err =
        event_encode(event, &defaults, producer->limits.event_bytes_max, &producer->scratch, &batch->envelopes, reterr);
    if (err == SLUICE_OK && batch->count > 0 && batch->envelopes.len > producer->limits.batch_bytes_max) {
        err = open_split(producer, before, reterr);
        batch = producer->open;
        before = 0;
    }
    if (err == SLUICE_OK && !batch_add(batch, batch->envelopes.len - before, ack, user)) {
        batch->envelopes.len = before;
        err = sluice_fail(reterr, SLUICE_ENOMEM, "out of memory for an event");
    }
    if (err != SLUICE_OK) {
        open_drop_if_empty(producer);
        window_pump(producer);
        return err;
    }
    producer->held_bytes += batch->envelopes.len - before + sizeof(struct batch_ack);
    *ret_batch = batch;
    *ret_index = batch->count - 1;
    if (batch->envelopes.len >= smaller(producer->batch_bytes, producer->limits.batch_bytes_max) ||
        batch->count >= smaller(producer->batch_events, producer->limits.batch_events_max))
        window_seal(producer);
    /* What changes later (an answer, the timer) pumps by itself: only a new batch can make a difference here. */
    if (*ret_index == 0 || producer->open == NULL || producer->linger_none)
        window_pump(producer);
    return SLUICE_OK;
}

enum sluice_err sluice_publish_async(struct sluice_producer *producer, const struct sluice_event *event, sluice_ack *ack,
                                     void *user, struct sluice_error *reterr)
{
    struct batch *batch;
    uint32_t index;
    enum sluice_err err = SLUICE_OK;

    pthread_mutex_lock(&producer->mutex);
    if (producer->held_bytes >= producer->buffer_bytes)
        err = room_wait(producer, NULL, reterr);
    if (err == SLUICE_OK)
        err = producer->closing ? closed_error(reterr) : event_queue(producer, event, ack, user, &batch, &index, reterr);
    pthread_mutex_unlock(&producer->mutex);
    return err;
}

/* One blocking publish, on its caller's stack. */
struct waiter {
    struct sluice_producer *producer;
    pthread_cond_t answered;
    bool done;
    struct sluice_error error;
};

static void waiter_answered(void *user, enum sluice_err code, const struct sluice_error *error)
{
    struct waiter *waiter = user;
    struct sluice_producer *producer = waiter->producer;

    pthread_mutex_lock(&producer->mutex);
    waiter->error = *error;
    waiter->error.code = code;
    waiter->done = true;
    pthread_cond_signal(&waiter->answered);
    pthread_mutex_unlock(&producer->mutex);
}

static enum sluice_err publish_timed_out(struct sluice_producer *producer, struct sluice_error *reterr)
{
    struct sluice_error why;

    if (producer->up)
        return sluice_fail(reterr, SLUICE_ETIMEDOUT, "no answer within %u ms; the event stays queued", producer->ack_timeout_ms);
    link_reason(producer->link, &why);
    return sluice_fail(reterr, SLUICE_ETIMEDOUT, "not connected within %u ms: %.180s", producer->ack_timeout_ms, why.text);
}

/* With the mutex held: the answer to the event at `index` of `batch`. */
static enum sluice_err waiter_wait(struct waiter *waiter, struct batch *batch, uint32_t index, const struct timespec *deadline,
                                   struct sluice_error *reterr)
{
    struct sluice_producer *producer = waiter->producer;

    while (!waiter->done) {
        if (wait_until(producer, &waiter->answered, deadline) || waiter->done)
            continue;
        /* Not answered: the batch is alive. Unless its acks are being called right now, we can take ours back. */
        if (batch->state != BATCH_DONE) {
            batch->acks[index].ack = NULL;
            return publish_timed_out(producer, reterr);
        }
        deadline = NULL;
    }
    if (waiter->error.code != SLUICE_OK && reterr != NULL)
        *reterr = waiter->error;
    return waiter->error.code;
}

enum sluice_err sluice_publish(struct sluice_producer *producer, const struct sluice_event *event, struct sluice_error *reterr)
{
    struct waiter waiter = { .producer = producer };
    struct timespec deadline = deadline_in(producer->ack_timeout_ms);
    struct batch *batch;
    uint32_t index;
    enum sluice_err err = SLUICE_OK;

    cond_init_monotonic(&waiter.answered);
    pthread_mutex_lock(&producer->mutex);
    if (producer->held_bytes >= producer->buffer_bytes)
        err = room_wait(producer, &deadline, reterr);
    if (err == SLUICE_OK)
        err = producer->closing ? closed_error(reterr)
                                : event_queue(producer, event, waiter_answered, &waiter, &batch, &index, reterr);
    if (err == SLUICE_OK) {
        producer->callers++;
        err = waiter_wait(&waiter, batch, index, &deadline, reterr);
        producer->callers--;
        pthread_cond_broadcast(&producer->drained);
    }
    pthread_mutex_unlock(&producer->mutex);
    pthread_cond_destroy(&waiter.answered);
    return err;
}

static uint64_t unconfirmed_until(const struct sluice_producer *producer, uint64_t sequence)
{
    uint64_t count = 0;

    for (const struct batch *batch = producer->first; batch != NULL && batch->sequence <= sequence; batch = batch->next)
        if (batch->state != BATCH_DONE)
            count += batch->count;
    return count;
}

enum sluice_err sluice_producer_flush(struct sluice_producer *producer, int timeout_ms, uint64_t *ret_unconfirmed)
{
    struct timespec deadline = deadline_in(timeout_ms < 0 ? 0 : timeout_ms);
    bool in_time = true;

    pthread_mutex_lock(&producer->mutex);
    producer->callers++;
    /* The open batch will have the next number; once it has one, it is counted with the others. */
    uint64_t until = producer->open != NULL ? producer->sequence_next : producer->sequence_next - 1;
    producer->open_urgent = producer->open != NULL;
    window_pump(producer);
    while (in_time && ((producer->first != NULL && producer->first->sequence <= until) || producer->sequence_next <= until))
        in_time = wait_until(producer, &producer->drained, timeout_ms < 0 ? NULL : &deadline);
    uint64_t unconfirmed = unconfirmed_until(producer, until);
    if (producer->sequence_next <= until && producer->open != NULL)
        unconfirmed += producer->open->count;
    producer->callers--;
    pthread_cond_broadcast(&producer->drained);
    pthread_mutex_unlock(&producer->mutex);
    if (ret_unconfirmed != NULL)
        *ret_unconfirmed = unconfirmed;
    return unconfirmed == 0 ? SLUICE_OK : SLUICE_ETIMEDOUT;
}

enum sluice_err sluice_producer_close(struct sluice_producer *producer, int timeout_ms, uint64_t *ret_unconfirmed)
{
    struct batch_totals totals = { 0 };

    if (producer == NULL)
        return SLUICE_OK;
    (void)sluice_producer_flush(producer, timeout_ms, NULL); /* what it missed is counted below */
    producer_stop(producer);
    if (producer->open != NULL)
        window_seal(producer);
    while (producer->first != NULL) {
        struct batch *batch = producer->first;
        producer->first = batch->next;
        batch->state = BATCH_DONE;
        batch_call_acks(batch, &totals);
        (void)batch_free(batch);
    }
    /* Calls that waited got their answer above, and need the mutex once more to leave. */
    pthread_mutex_lock(&producer->mutex);
    while (producer->callers > 0)
        (void)wait_until(producer, &producer->drained, NULL);
    pthread_mutex_unlock(&producer->mutex);
    producer_free(producer);
    if (ret_unconfirmed != NULL)
        *ret_unconfirmed = totals.unconfirmed;
    return totals.unconfirmed == 0 ? SLUICE_OK : SLUICE_ETIMEDOUT;
}

void sluice_producer_stats(struct sluice_producer *producer, struct sluice_producer_stats *ret_stats)
{
    pthread_mutex_lock(&producer->mutex);
    *ret_stats = producer->stats;
    ret_stats->unconfirmed = unconfirmed_until(producer, UINT64_MAX) + (producer->open != NULL ? producer->open->count : 0);
    ret_stats->sequence_next = producer->sequence_sent + 1;
    ret_stats->connected = producer->up;
    pthread_mutex_unlock(&producer->mutex);
}
