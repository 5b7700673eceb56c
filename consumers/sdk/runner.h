/* runner.h - what the files of the function library share: an instance, its workers, and how it is attached. One mutex guards all that
 * changes; the link's callbacks come on nng's threads, and wake the main thread, which alone decides about attaching. */
#ifndef SLUICE_SDK_RUNNER_H
#define SLUICE_SDK_RUNNER_H

#include <pthread.h>

#include "consumers/sdk/batch.h"
#include "producers/client/link.h"

enum { CONCURRENCY_MAX = 1024 };

/* How a program that the daemon did not start becomes an instance, again and again:
 *
 *   PAUSING ──up, pause over──> ASKING ──instance──> ON ──"is to end"──> OVER ──all results handed in──> PAUSING
 *      ^                          │                  │                    │
 *      └──── refused, lost ───────┴────── lost ──────┴────────────────────┘       UNUSED: the daemon started us */
enum attach_state { ATTACH_UNUSED, ATTACH_PAUSING, ATTACH_ASKING, ATTACH_ON, ATTACH_OVER };

struct attachment {
    enum attach_state state;
    unsigned generation;        /* one more with each that ended: leases, and results of them, of an earlier one are void */
    const char *function;
    char consumer[ATTACH_CONSUMER_BYTES_MAX + 1];
    unsigned concurrency;       /* asked for; 0: what the function says */
    char instance[32];
    struct link_call call;
    struct bytes request;
    nng_msg *reply;             /* to it; NULL: lost */
    bool answered;
    int64_t again_ms;           /* PAUSING: until then */
    unsigned pause_ms;          /* the next one */
    char said[SLUICE_ERROR_TEXT_MAX]; /* the last reason on stderr: the same is not said again */
};

struct runner;
struct worker {
    struct runner *runner;
    unsigned index;
    pthread_t thread;
    struct link_call call;
    bool out;                   /* the call is; its memory is not ours */
    nng_msg *reply;             /* to it; NULL: lost */
    unsigned generation;        /* of the attachment that it asked by */
    struct sdk_batch batch;
    struct bytes request, result;
};

struct runner {
    const struct sluice_function *function;
    const char *url, *instance;
    unsigned concurrency, batch_size; /* workers with an index below `concurrency` ask for work */
    struct link *link;
    int wake_fd;

    pthread_mutex_t mutex;
    pthread_cond_t changed;     /* any of what follows, or of the workers */
    bool up;
    bool leaving;
    bool forced;                /* what is parked is not waited for any more */
    bool failed;                /* the exit status is 1; said why already */
    unsigned running, waiting;  /* waiting: of those running, for a connection or an attachment */
    struct attachment attachment;
    struct link_call leave;
    bool leave_out;
    struct bytes leave_request;

    struct worker *workers;     /* this and their count: of the main thread */
    unsigned workers_count;
};

void runner_wake(const struct runner *runner);
/* A number from 1 to max in the environment; absent: *ret_number stays as it is. */
bool runner_number(const char *name, unsigned max, unsigned *ret_number, struct sluice_error *reterr);

/* ---- attach.c; with the mutex held but for the first and the last ---- */
bool attach_open(struct runner *runner, const struct sluice_attach *options, struct sluice_error *reterr);
static inline bool attach_is_used(const struct runner *runner) { return runner->attachment.state != ATTACH_UNUSED; }
static inline bool attach_is_over(const struct runner *runner) { return runner->attachment.state == ATTACH_OVER; }
bool attach_may_ask(const struct runner *runner, const struct worker *worker);
void attach_lost(struct runner *runner);
/* Takes the mutex: the daemon says that the instance of this generation is to end. false: of one that it started. */
bool attach_over(struct runner *runner, unsigned generation);
/* Does what there is to do; returns in how many ms there is more, -1: when woken. */
int64_t attach_turn(struct runner *runner, int64_t now_ms);
/* The call by which we leave; false: there is nobody to hear it. */
bool attach_put_leave(const struct runner *runner, struct bytes *out);
void attach_say(struct runner *runner, const char *why);
void attach_done(struct runner *runner);

#endif
