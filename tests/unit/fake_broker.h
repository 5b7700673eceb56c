/* fake_broker.h - the daemon's end of the bus protocol for tests of the client library, with faults on demand.
 * It keeps what a daemon keeps (which batches of a producer were applied, and each event once) in memory, so that a test can
 * compare what the library said with what "the disk" holds. One thread of its own, on plain sockets: nng 1.5's REP socket may
 * never finish closing a connection that was cut under load, and this one is there to be cut. Requests are handled strictly in
 * the order of arrival. */
#ifndef SLUICE_FAKE_BROKER_H
#define SLUICE_FAKE_BROKER_H

#include <pthread.h>

#include "schemas/codec/envelope.h"
#include "schemas/codec/protocol.h"
#include "sluice/error.h"

enum { FAKE_EVENTS_MAX = 200000, FAKE_BATCHES_MAX = 65536, FAKE_CONNECTIONS_MAX = 64, FAKE_REQUESTS_MAX = 64 };

enum fake_action {
    FAKE_OK,            /* apply and answer */
    FAKE_LATER,         /* SLUICE_ELIMIT, not applied */
    FAKE_DROP_BEFORE,   /* hang up without applying */
    FAKE_DROP_AFTER,    /* apply, then hang up without an answer */
    FAKE_GARBAGE,       /* apply, then answer with bytes that are no MessagePack */
    FAKE_OTHER_VERSION, /* apply, then answer in protocol version 2 */
    FAKE_LYING,         /* apply, then answer with results for events that are not there */
    FAKE_MALFORMED,     /* SLUICE_EPROTO, not applied */
    FAKE_STALE,         /* SLUICE_ESTALE for the whole batch */
    FAKE_HOLD,          /* neither, until fake_release() */
};

struct fake_publish {
    uint64_t epoch, sequence, lowest;
    uint32_t events;
    unsigned nth;       /* publish requests so far, this one included: 1, 2, ... */
    unsigned attempt;   /* of this batch number: 1, 2, ... */
};

struct fake_broker {
    char url[128];
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    /* Script; NULL: always FAKE_OK. Called with the mutex held. */
    enum fake_action (*decide)(struct fake_broker *broker, const struct fake_publish *publish);
    enum sluice_err hello_code;
    unsigned hello_version;
    unsigned credit;
    /* Called for `next` and control requests with the mutex held; puts the reply into `out`, or false: park. */
    bool (*answer)(struct fake_broker *broker, uint64_t call, struct mpack_reader *arguments, struct bytes *out);
    void *user;

    /* What happened. */
    unsigned publishes, hellos, without_hello, malformed, applied_batches, duplicates, out_of_order, lowest_wrong;
    unsigned held_now, outstanding_max;
    uint64_t sequence_last, epoch_last;
    char client[128], token[128];
    unsigned event_count[FAKE_EVENTS_MAX]; /* by the number n in detail {"n":…} */
    unsigned events_applied;
    bool batch_applied[FAKE_BATCHES_MAX];
    bool batch_resolved[FAKE_BATCHES_MAX]; /* applied or refused for good: `lowest` may pass it */
    uint8_t batch_attempts[FAKE_BATCHES_MAX];
    struct event last_event;    /* views into last_bytes */
    struct bytes last_bytes;

    /* Connections, and requests that wait for fake_release() or fake_wake_parked(). */
    struct fake_connection { int fd; bool greeting_read, greeted; struct bytes in; } connections[FAKE_CONNECTIONS_MAX];
    struct fake_request {
        struct fake_connection *connection;
        uint32_t id;
        struct bytes body;
        bool parked;
    } requests[FAKE_REQUESTS_MAX];
    unsigned requests_count;
    int listener, wake[2];
    pthread_t thread;
    bool running;
};

struct fake_broker *fake_new(const char *url);
void fake_start(struct fake_broker *broker);
void fake_stop(struct fake_broker *broker);     /* like a crash: unanswered requests are lost; what was applied stays */
void fake_release(struct fake_broker *broker);  /* answers all that is held, applied now */
void fake_wake_parked(struct fake_broker *broker); /* asks `answer` again for all that is parked */
/* What the library has heard of has happened here too: nng's own order is invisible to thread sanitizers. */
void fake_sync(struct fake_broker *broker);
void fake_free(struct fake_broker *broker);
/* Waits until the number at `counter` (one of the fields above) is at least `least`; false after 20 s. */
bool fake_wait(struct fake_broker *broker, const unsigned *counter, unsigned least);

#endif
