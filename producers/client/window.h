/* window.h - the producer's state, and its sending side: which batch goes out when, and what an answer means for it.
 *
 * One list holds every batch that is sealed and not yet told of, by number; `open` is the one being filled. The window is a
 * few slots, each with one request. A batch goes out when the link is up, a slot is free, and
 *   - it is sealed (full), or
 *   - it is the open one and nothing else is on its way, or it lingered long enough, or somebody flushes.
 * So a lone publish is sent at once, and the busier the daemon, the fuller the batches.
 * "Later" (SLUICE_ELIMIT and other passing states) puts the batch back and pauses all sending, twice as long each time; the
 * list's order makes the lowest number go first again. At the loss of the connection all that is out is put back the same way.
 * Unless said otherwise the functions are called with the mutex held. */
#ifndef SLUICE_CLIENT_WINDOW_H
#define SLUICE_CLIENT_WINDOW_H

#include <pthread.h>

#include "producers/client/batch.h"
#include "producers/client/link.h"

enum {
    LINGER_US_DEFAULT = 1000,
    WINDOW_BATCHES_DEFAULT = 8,
    BATCH_BYTES_DEFAULT = 64 << 10,
    BATCH_EVENTS_DEFAULT = 1000,
    ACK_TIMEOUT_MS_DEFAULT = 30000,
    BUFFER_BYTES_DEFAULT = 32 << 20,
    PAUSE_MS_MIN = 10,
    PAUSE_MS_MAX = 1000,
    PROTOCOL_ERRORS_MAX = 4,    /* a batch called malformed this often, on a new connection each time, never passes */
    BATCHES_SPARE_MAX = PUBLISH_WINDOW_BATCHES_MAX + 2,
};

struct random { uint64_t state[4]; };

/* A place in the window: one request, its head here, its events in the batch. */
struct slot {
    struct link_call call;
    struct sluice_producer *producer;
    struct batch *batch;        /* NULL: free */
    struct bytes head;
};

struct sluice_producer {
    /* Set once by open. */
    uint8_t id[PRODUCER_ID_BYTES];
    uint64_t epoch;
    unsigned window_batches, batch_events, ack_timeout_ms;
    size_t batch_bytes, buffer_bytes;
    int64_t linger_us;
    bool linger_none, buffer_full_fails;
    struct link *link;
    pthread_t timer;
    bool timer_started;

    pthread_mutex_t mutex;
    pthread_cond_t room;        /* bytes were released, or closing */
    pthread_cond_t timer_changed;
    pthread_cond_t drained;     /* a batch is told of, or a call has ended */
    struct random random;
    struct bytes scratch;

    struct batch *open;         /* NULL or not empty */
    bool open_urgent;           /* somebody flushes */
    struct batch *first, *last; /* sealed, by number */
    struct batch *done_first, *done_last;
    struct batch *spare;
    unsigned spare_count;
    uint64_t sequence_next;     /* of the next batch to be sealed */
    uint64_t sequence_sent;     /* the highest that ever went out */
    size_t held_bytes;
    bool delivering;            /* one thread calls acks, so that they never overlap */

    struct slot slots[PUBLISH_WINDOW_BATCHES_MAX];
    unsigned slots_count, slots_busy;
    bool up;
    bool was_up;
    struct wire_limits limits;
    int64_t pause_until_us;
    unsigned pause_ms;          /* the last pause; 0 after a success */
    int64_t timer_due_us;       /* 0: nothing to wait for */

    bool closing;
    unsigned callers;           /* calls that wait inside the library */
    struct sluice_producer_stats stats;
};

int64_t window_now_us(void);    /* monotonic */
uint64_t random_next(struct random *random);

/* The batch to encode the next event into; NULL: out of memory. */
struct batch *window_open_batch(struct sluice_producer *producer);
/* Gives the open batch its number; there is none then. */
void window_seal(struct sluice_producer *producer);
/* Sends what may go now, and sets the timer for what may go later. */
void window_pump(struct sluice_producer *producer);
/* Calls the acks of what is answered; gives the mutex away meanwhile. */
void window_deliver(struct sluice_producer *producer);
/* The oldest number without an answer; that of the next batch if there is none. */
uint64_t window_lowest(const struct sluice_producer *producer);

/* The timer's thread, until closing. nng's own sleep would spin a thread for most of a linger time (1.5 counts in ms). */
void *window_timer_run(void *producer);
/* Callbacks, without the mutex. */
void window_up(void *producer, const struct wire_limits *limits);
void window_down(void *producer);
void window_answered(struct link_call *call, nng_msg *reply);

#endif
