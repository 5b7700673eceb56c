#include "producers/client/window.h"

#include <time.h>

#include "schemas/codec/envelope.h"

int64_t window_now_us(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail with this clock */
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* xoshiro256++ (Blackman, Vigna): ids need to be unlikely to meet, not secret. */
uint64_t random_next(struct random *random)
{
    uint64_t *s = random->state, sum = s[0] + s[3], result = ((sum << 23) | (sum >> 41)) + s[0], shifted = s[1] << 17;

    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= shifted;
    s[3] = (s[3] << 45) | (s[3] >> 19);
    return result;
}

struct batch *window_open_batch(struct sluice_producer *producer)
{
    if (producer->open != NULL)
        return producer->open;
    struct batch *batch = producer->spare;
    if (batch != NULL) {
        producer->spare = batch->next;
        producer->spare_count--;
        batch_reset(batch);
    } else {
        batch = batch_new(producer->batch_bytes);
    }
    if (batch != NULL)
        batch->opened_us = window_now_us();
    producer->open = batch;
    producer->open_urgent = false;
    return batch;
}

static void batch_retire(struct sluice_producer *producer, struct batch *batch)
{
    /* One that a large event has blown up is not kept. */
    if (producer->spare_count >= BATCHES_SPARE_MAX || batch->envelopes.capacity > 4 * producer->batch_bytes) {
        (void)batch_free(batch);
        return;
    }
    batch->next = producer->spare;
    producer->spare = batch;
    producer->spare_count++;
}

void window_seal(struct sluice_producer *producer)
{
    struct batch *batch = producer->open;

    producer->open = NULL;
    producer->open_urgent = false;
    batch->state = BATCH_QUEUED;
    batch->sequence = producer->sequence_next++;
    batch->next = NULL;
    batch->previous = producer->last;
    if (producer->last != NULL)
        producer->last->next = batch;
    else
        producer->first = batch;
    producer->last = batch;
}

uint64_t window_lowest(const struct sluice_producer *producer)
{
    for (const struct batch *batch = producer->first; batch != NULL; batch = batch->next)
        if (batch->state != BATCH_DONE)
            return batch->sequence;
    return producer->sequence_next;
}

static unsigned window_size(const struct sluice_producer *producer)
{
    return producer->limits.credit < producer->slots_count ? producer->limits.credit : producer->slots_count;
}

static void timer_set(struct sluice_producer *producer, int64_t due_us)
{
    if (producer->timer_due_us != 0 && producer->timer_due_us <= due_us)
        return; /* it wakes earlier, and looks again then */
    producer->timer_due_us = due_us;
    pthread_cond_signal(&producer->timer_changed);
}

/* The lowest number that waits to be sent. What stands before it is out (a window's worth) or about to be told of. */
static struct batch *next_queued(const struct sluice_producer *producer)
{
    struct batch *batch = producer->first;

    while (batch != NULL && batch->state != BATCH_QUEUED)
        batch = batch->next;
    return batch;
}

static bool open_may_go(struct sluice_producer *producer, int64_t now_us)
{
    if (producer->open == NULL)
        return false;
    if (producer->slots_busy == 0 || producer->linger_none || producer->open_urgent)
        return true;
    int64_t due_us = producer->open->opened_us + producer->linger_us;
    if (now_us >= due_us)
        return true;
    timer_set(producer, due_us);
    return false;
}

static bool put_head(const struct sluice_producer *producer, const struct batch *batch, struct bytes *out)
{
    const struct wire_publish publish = { .producer_id = producer->id,
                                          .epoch = producer->epoch,
                                          .sequence = batch->sequence,
                                          .lowest = window_lowest(producer),
                                          .events_count = batch->count };

    bytes_clear(out);
    wire_put_publish_head(out, &publish);
    return !out->failed;
}

static struct slot *free_slot(struct sluice_producer *producer)
{
    struct slot *slot = producer->slots;

    while (slot->batch != NULL)
        slot++;
    return slot;
}

static void pause_sending(struct sluice_producer *producer)
{
    int64_t now_us = window_now_us();

    if (now_us < producer->pause_until_us)
        return; /* the other batches of this window hear the same; it counts once */
    unsigned next_ms = producer->pause_ms * 2 > PAUSE_MS_MAX ? PAUSE_MS_MAX : producer->pause_ms * 2;
    producer->pause_ms = producer->pause_ms == 0 ? PAUSE_MS_MIN : next_ms;
    /* Half of it at random, so that producers turned away together do not come back together. */
    int64_t pause_us = (int64_t)producer->pause_ms * 500;
    producer->pause_until_us = now_us + pause_us + (int64_t)(random_next(&producer->random) % (uint64_t)pause_us);
}

static bool batch_send(struct sluice_producer *producer, struct batch *batch)
{
    struct slot *slot = free_slot(producer);

    if (!put_head(producer, batch, &slot->head)) { /* memory may come back; nothing is lost by waiting for it */
        pause_sending(producer);
        timer_set(producer, producer->pause_until_us);
        return false;
    }
    slot->call.parts[0] = bytes_view(&slot->head);
    slot->call.parts[1] = bytes_view(&batch->envelopes);
    slot->batch = batch;
    if (!link_send(producer->link, &slot->call)) { /* lost just now: `down` is on its way */
        slot->batch = NULL;
        return false;
    }
    producer->slots_busy++;
    batch->state = BATCH_SENT;
    if (batch->sent_count++ > 0)
        producer->stats.resends++;
    else
        producer->stats.batches++;
    if (batch->sequence > producer->sequence_sent)
        producer->sequence_sent = batch->sequence;
    return true;
}

/* One that was out before may always go again: the daemon may be holding the ones after it back until it comes, so that no
 * answer would ever make room for it under a smaller credit. Its slot was freed when it came back. */
static bool window_has_room(const struct sluice_producer *producer, const struct batch *batch)
{
    unsigned size = batch != NULL && batch->sent_count > 0 ? producer->slots_count : window_size(producer);

    return producer->slots_busy < size;
}

void window_pump(struct sluice_producer *producer)
{
    if (!producer->up || producer->closing)
        return;
    for (;;) {
        struct batch *batch = next_queued(producer);
        if (!window_has_room(producer, batch))
            return;
        int64_t now_us = batch != NULL || producer->open != NULL ? window_now_us() : 0;
        if (now_us == 0)
            return;
        if (now_us < producer->pause_until_us) {
            timer_set(producer, producer->pause_until_us);
            return;
        }
        if (batch == NULL) {
            if (!open_may_go(producer, now_us))
                return;
            window_seal(producer);
            batch = producer->last;
        }
        if (!batch_send(producer, batch))
            return;
    }
}

static void batch_finish(struct sluice_producer *producer, struct batch *batch)
{
    batch->state = BATCH_DONE;
    batch->done_next = NULL;
    if (producer->done_last != NULL)
        producer->done_last->done_next = batch;
    else
        producer->done_first = batch;
    producer->done_last = batch;
}

static void batch_unlink(struct sluice_producer *producer, struct batch *batch)
{
    if (batch->previous != NULL)
        batch->previous->next = batch->next;
    else
        producer->first = batch->next;
    if (batch->next != NULL)
        batch->next->previous = batch->previous;
    else
        producer->last = batch->previous;
}

void window_deliver(struct sluice_producer *producer)
{
    struct batch *batch;

    if (producer->delivering)
        return;
    producer->delivering = true;
    while ((batch = producer->done_first) != NULL) {
        struct batch_totals totals = { 0 };
        producer->done_first = batch->done_next;
        if (producer->done_first == NULL)
            producer->done_last = NULL;
        pthread_mutex_unlock(&producer->mutex);
        batch_call_acks(batch, &totals);
        pthread_mutex_lock(&producer->mutex);
        producer->stats.acked += totals.acked;
        producer->stats.refused += totals.refused;
        producer->held_bytes -= batch->held_bytes;
        batch_unlink(producer, batch);
        batch_retire(producer, batch);
        pthread_cond_broadcast(&producer->room);
        pthread_cond_broadcast(&producer->drained);
    }
    producer->delivering = false;
}

/* What a code of a whole batch asks of us. */
enum verdict { VERDICT_DONE, VERDICT_LATER, VERDICT_FAULT };

static enum verdict verdict_of(enum sluice_err code)
{
    switch (code) {
    case SLUICE_ELIMIT:
    case SLUICE_EUNAVAILABLE:
    case SLUICE_ETIMEDOUT:
    case SLUICE_ENOMEM:
    case SLUICE_EIO:
        return VERDICT_LATER;
    case SLUICE_EPROTO: /* also "no hello on this pipe": a new connection repairs that */
        return VERDICT_FAULT;
    case SLUICE_OK:
    case SLUICE_ENOTFOUND:
    case SLUICE_EEXISTS:
    case SLUICE_EINVAL:
    case SLUICE_ESTALE:
    case SLUICE_ECORRUPT:
    case SLUICE_EACCESS:
        return VERDICT_DONE;
    }
    return VERDICT_DONE; /* a code of a later version: it said no, and we cannot know that it will say yes */
}

/* false: the link must be told of a fault, `ret_why`. */
static bool batch_answered(struct sluice_producer *producer, struct batch *batch, nng_msg *reply, struct sluice_error *ret_why)
{
    struct wire_published published;
    struct view message = { .data = nng_msg_body(reply), .len = nng_msg_len(reply) };
    enum sluice_err err = wire_read_published(message, batch->count, &published, ret_why);
    enum verdict verdict = err != SLUICE_OK ? VERDICT_FAULT : verdict_of(published.code);

    if (err == SLUICE_OK && verdict == VERDICT_FAULT) {
        const struct wire_head head = { .code = published.code, .text = published.text };
        (void)wire_refusal(&head, "a batch", ret_why);
        if (++batch->protocol_errors >= PROTOCOL_ERRORS_MAX)
            verdict = VERDICT_DONE;
    }
    switch (verdict) {
    case VERDICT_DONE:
        batch->reply = reply;
        batch->published = published;
        producer->pause_ms = 0;
        if (published.code == SLUICE_OK && published.credit != 0)
            producer->limits.credit = published.credit;
        batch_finish(producer, batch);
        return true;
    case VERDICT_LATER:
        producer->stats.backpressure++;
        break;
    case VERDICT_FAULT:
        break;
    }
    batch->state = BATCH_QUEUED;
    pause_sending(producer);
    nng_msg_free(reply);
    return verdict == VERDICT_LATER;
}

void window_answered(struct link_call *call, nng_msg *reply)
{
    struct slot *slot = call->user;
    struct sluice_producer *producer = slot->producer;
    struct sluice_error why;
    bool sound = true;

    pthread_mutex_lock(&producer->mutex);
    struct batch *batch = slot->batch;
    slot->batch = NULL;
    producer->slots_busy--;
    if (reply != NULL)
        sound = batch_answered(producer, batch, reply, &why);
    else
        batch->state = BATCH_QUEUED;
    if (sound)
        window_pump(producer);
    window_deliver(producer);
    pthread_mutex_unlock(&producer->mutex);
    if (!sound)
        link_fault(producer->link, &why);
}

void *window_timer_run(void *user)
{
    struct sluice_producer *producer = user;

    pthread_mutex_lock(&producer->mutex);
    while (!producer->closing) {
        int64_t due_us = producer->timer_due_us;
        const struct timespec due = { .tv_sec = due_us / 1000000, .tv_nsec = due_us % 1000000 * 1000 };
        if (due_us == 0) {
            (void)pthread_cond_wait(&producer->timer_changed, &producer->mutex);
        } else if (window_now_us() < due_us) {
            (void)pthread_cond_timedwait(&producer->timer_changed, &producer->mutex, &due);
        } else {
            producer->timer_due_us = 0;
            window_pump(producer);
        }
    }
    pthread_mutex_unlock(&producer->mutex);
    return NULL;
}

void window_up(void *user, const struct wire_limits *limits)
{
    struct sluice_producer *producer = user;

    pthread_mutex_lock(&producer->mutex);
    producer->up = true;
    producer->limits = *limits;
    producer->stats.reconnects += producer->was_up;
    producer->was_up = true;
    window_pump(producer);
    pthread_mutex_unlock(&producer->mutex);
}

/* What was out comes back through window_answered(), without a reply. */
void window_down(void *user)
{
    struct sluice_producer *producer = user;

    pthread_mutex_lock(&producer->mutex);
    producer->up = false;
    pthread_mutex_unlock(&producer->mutex);
}
