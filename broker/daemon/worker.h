/* worker.h - work that takes longer than a turn may, on a thread of its own: one piece at a time, its end told to the loop.
 * `work` touches nothing of the loop's; whatever it leaves behind is looked at in `done`, which runs on the loop thread. Signals are
 * blocked in the thread: they are the loop's.
 * The thread comes with the first piece and then waits for the next: the loop would have to wait for the end of one to join it, which
 * on a busy machine, and at a low priority, may take longer than a turn. */
#ifndef SLUICE_DAEMON_WORKER_H
#define SLUICE_DAEMON_WORKER_H

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "broker/edge/mailbox.h"

struct worker {
    struct mail ended;           /* first: posted by the thread when the piece is done */
    struct mailbox *mailbox;
    void (*work)(void *ctx);
    void (*done)(void *ctx);
    void *ctx;
    pthread_t thread;
    sem_t wanted;                /* a piece is to be done, or the thread is to end */
    bool started;
    atomic_bool ends;
    bool running;                /* from worker_begin() to `done` */
};

void worker_init(struct worker *worker, struct mailbox *mailbox, void (*work)(void *ctx), void (*done)(void *ctx), void *ctx);
/* None may be running (asserted). false: no thread is to be had; nothing was begun. */
bool worker_begin(struct worker *worker);
/* Waits for what is running, if anything. `done` is not called any more: the mailbox must not be drained after this. */
void worker_stop(struct worker *worker);

#endif
