#include "broker/daemon/worker.h"

#include <signal.h>

#include "broker/base/assert.h"

static void *worker_main(void *ctx)
{
    struct worker *worker = ctx;

    worker->work(worker->ctx);
    mailbox_post(worker->mailbox, &worker->ended);
    return NULL;
}

static void worker_ended(struct mail *mail)
{
    struct worker *worker = (struct worker *)(void *)mail;

    (void)pthread_join(worker->thread, NULL); /* its last act was the post */
    worker->running = false;
    worker->done(worker->ctx);
}

void worker_init(struct worker *worker, struct mailbox *mailbox, void (*work)(void *ctx), void (*done)(void *ctx), void *ctx)
{
    *worker = (struct worker){ .mailbox = mailbox, .work = work, .done = done, .ctx = ctx };
    worker->ended.deliver = worker_ended;
}

bool worker_begin(struct worker *worker)
{
    sigset_t all, before;

    ASSERT(!worker->running);
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    worker->running = pthread_create(&worker->thread, NULL, worker_main, worker) == 0;
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (worker->running)
        (void)pthread_setname_np(worker->thread, "worker"); /* for people looking at top */
    return worker->running;
}

void worker_stop(struct worker *worker)
{
    if (worker->running)
        (void)pthread_join(worker->thread, NULL);
    worker->running = false;
}
