#include "broker/daemon/worker.h"

#include <signal.h>

#include "broker/base/assert.h"

static void *worker_main(void *ctx)
{
    struct worker *worker = ctx;

    for (;;) {
        while (sem_wait(&worker->wanted) != 0)
            ; /* interrupted, by a debugger perhaps */
        if (worker->ends)
            return NULL;
        worker->work(worker->ctx);
        mailbox_post(worker->mailbox, &worker->ended);
    }
}

static void worker_ended(struct mail *mail)
{
    struct worker *worker = (struct worker *)(void *)mail;

    worker->running = false;
    worker->done(worker->ctx);
}

void worker_init(struct worker *worker, struct mailbox *mailbox, void (*work)(void *ctx), void (*done)(void *ctx), void *ctx)
{
    *worker = (struct worker){ .mailbox = mailbox, .work = work, .done = done, .ctx = ctx };
    worker->ended.deliver = worker_ended;
}

static bool worker_start(struct worker *worker)
{
    sigset_t all, before;

    if (sem_init(&worker->wanted, 0, 0) != 0)
        return false;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    worker->started = pthread_create(&worker->thread, NULL, worker_main, worker) == 0;
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (worker->started)
        (void)pthread_setname_np(worker->thread, "worker"); /* for people looking at top */
    else
        (void)sem_destroy(&worker->wanted);
    return worker->started;
}

bool worker_begin(struct worker *worker)
{
    ASSERT(!worker->running);
    if (!worker->started && !worker_start(worker))
        return false;
    worker->running = true;
    (void)sem_post(&worker->wanted); /* it holds one at most */
    return true;
}

void worker_stop(struct worker *worker)
{
    if (!worker->started)
        return;
    worker->ends = true; /* looked at before the next piece */
    (void)sem_post(&worker->wanted);
    (void)pthread_join(worker->thread, NULL);
    (void)sem_destroy(&worker->wanted);
    worker->ends = false;
    worker->started = worker->running = false;
}
