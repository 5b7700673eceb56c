/* bus_fixture.h - the bus door on a real loop in a thread of its own, with an owner that answers, parks or holds, and raw sockets that
 * say anything to it.
 *
 * The owner answers all at once but `next` and detach, which it parks, and publishes while hold_publishes is set. What must hold in each
 * test: every request is answered or gone, once; the socket is gone after the end, and closing takes no time. */
#ifndef SLUICE_TESTS_BUS_FIXTURE_H
#define SLUICE_TESTS_BUS_FIXTURE_H

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

#include "broker/base/vec.h"
#include "broker/edge/bus_door.h"
#include "schemas/codec/frame.h"
#include "tests/test.h"

enum { WAIT_MS_MAX = 20000, SEEN_MAX = 200000 };
#define TOKEN "a token of the test"

int64_t now_ms(void);
void pause_ms(int64_t ms);
unsigned descriptors_count(void);        /* of this process */

struct counts {
    unsigned sequences, events, gone, controls, attaches, lost;
    uint64_t lost_instance, lost_reached;
    unsigned gone_before_lost;
    size_t publishes, parked, detaching; /* that are held now */
};

struct bench {
    struct ev_loop *loop;
    ev_async stop;
    struct mailbox *mailbox;
    struct bus_door *door;
    pthread_t thread;
    char ipc[128], tcp[64], path[100];
    uint16_t port;
    atomic_uint reply_bytes;    /* of each control answer */
    atomic_bool hold_publishes;

    struct mail ask;            /* see on_loop() */
    void (*asked)(struct bench *bench);
    sem_t answered;
    struct counts seen;         /* as they were when the loop last answered: what the test's own thread may read */
    struct bus_stats stats;

    /* The loop's own, but for a function that runs there, and a test that knows that nothing more can come. */
    struct counts counts;
    VEC(struct publish) publishes;          /* held */
    VEC(uint64_t) parked;                   /* nexts */
    VEC(uint64_t) detaching;
    uint64_t lease_last;
    struct bus_attach attach;               /* the last one; its views are gone */
    char attach_words[64];
    uint64_t sequences[SEEN_MAX];           /* of publishes, as they came */
    uint8_t ends[SEEN_MAX];                 /* per request: how often answered or gone */
    unsigned turn;                          /* see note_turn() */
};

struct bench *bench_open(void);
void bench_close(struct bench *bench);
/* Runs `function` on the loop's thread, and fetches the stats and the counts. */
void on_loop(struct bench *bench, void (*function)(struct bench *bench));
void nothing(struct bench *bench);
void note_turn(struct bench *bench);
void release_publishes(struct bench *bench);
/* For functions there that answer a request themselves. */
void end_once(struct bench *bench, uint64_t request);

/* Waits until the condition, on what on_loop() fetches, holds. */
#define WAIT_FOR(bench_, condition_)                                                         \
    do {                                                                                     \
        int64_t until_ = now_ms() + WAIT_MS_MAX;                                             \
        for (on_loop(bench_, nothing); !(condition_) && now_ms() < until_; on_loop(bench_, nothing)) \
            pause_ms(1);                                                                     \
        EXPECT(condition_);                                                                  \
    } while (0)

/* ---- messages: `out` is emptied first ---- */

void put_hello(struct bytes *out, const char *token);            /* token NULL: nil */
void put_publish(struct bytes *out, uint64_t sequence, unsigned events_bytes);   /* one event: nil, or so many zeros */
void put_next(struct bytes *out);                                /* of an instance that nobody has */
void put_next_of(struct bytes *out, const char *instance);
void put_control(struct bytes *out, const char *arguments);
void put_attach(struct bytes *out, const char *function, const char *consumer, uint64_t concurrency);
void put_detach(struct bytes *out, const char *instance);
/* The code of a reply, -1: none can be read. */
int reply_code(struct view body);

/* ---- raw peers ---- */

struct raw {
    int fd;
    enum frame_kind kind;
};

struct raw raw_connect(struct bench *bench, enum frame_kind kind);
void raw_greet(struct raw raw);                                  /* both ways */
struct raw raw_hello(struct bench *bench, enum frame_kind kind); /* connected, greeted, and known by the token */
bool raw_write(struct raw raw, const void *data, size_t len);
bool raw_read(struct raw raw, void *data, size_t len);
bool raw_send(struct raw raw, uint32_t id, const struct bytes *body);
/* The code of the next reply; -1: the connection was closed, or says nothing. *ret_id: of which request, may be NULL. */
int raw_receive(struct raw raw, uint32_t *ret_id);
/* Sends and receives: the code of the answer to `body`; the caller expects one. */
int raw_ask(struct raw raw, const struct bytes *body);
/* true: closed from the other side, within the deadline, with nothing more said. */
bool raw_is_closed(struct raw raw);

#endif
