/* A lock-free stack, taken whole and turned round. Only the post that finds it empty wakes the loop. */
#include "broker/edge/mailbox.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "broker/base/assert.h"

struct mailbox {
    struct ev_loop *loop;
    ev_async wake;
    _Atomic(struct mail *) top;
};

static void mailbox_woken(struct ev_loop *loop, ev_async *wake, int events)
{
    (void)loop, (void)events;
    (void)mailbox_drain(wake->data);
}

struct mailbox *mailbox_new(struct ev_loop *loop)
{
    struct mailbox *mailbox = calloc(1, sizeof *mailbox);
    ASSERT(mailbox != NULL);
    mailbox->loop = loop;
    ev_async_init(&mailbox->wake, mailbox_woken);
    mailbox->wake.data = mailbox;
    ev_async_start(loop, &mailbox->wake);
    return mailbox;
}

struct mailbox *mailbox_free(struct mailbox *mailbox)
{
    if (mailbox != NULL) {
        ev_async_stop(mailbox->loop, &mailbox->wake);
        free(mailbox);
    }
    return NULL;
}

void mailbox_post(struct mailbox *mailbox, struct mail *mail)
{
    struct mail *top = atomic_load_explicit(&mailbox->top, memory_order_relaxed);
    do
        mail->next = top;
    while (!atomic_compare_exchange_weak_explicit(&mailbox->top, &top, mail, memory_order_release, memory_order_relaxed));
    if (top == NULL)
        ev_async_send(mailbox->loop, &mailbox->wake);
}

unsigned mailbox_drain(struct mailbox *mailbox)
{
    struct mail *mail = atomic_exchange_explicit(&mailbox->top, NULL, memory_order_acquire), *oldest = NULL;
    unsigned delivered = 0;

    while (mail != NULL) {
        struct mail *next = mail->next;
        mail->next = oldest;
        oldest = mail;
        mail = next;
    }
    while (oldest != NULL) {
        struct mail *next = oldest->next;
        oldest->deliver(oldest);
        oldest = next;
        delivered++;
    }
    return delivered;
}

struct ev_loop *mailbox_loop(const struct mailbox *mailbox)
{
    return mailbox->loop;
}
