/* mailbox.h - how other threads speak to the loop: post and wake, nothing else. Many posters, one taker; no lock, no allocation. */
#ifndef SLUICE_EDGE_MAILBOX_H
#define SLUICE_EDGE_MAILBOX_H

#include <ev.h>

struct mail {
    struct mail *next;
    void (*deliver)(struct mail *mail); /* on the loop thread; the mail is the receiver's again */
};

struct mailbox;
struct mailbox *mailbox_new(struct ev_loop *loop);
struct mailbox *mailbox_free(struct mailbox *mailbox);
/* Any thread. Mails of one thread are delivered in the order they were posted. A mail is in at most one mailbox at a time. */
void mailbox_post(struct mailbox *mailbox, struct mail *mail);
/* Delivers what is there; returns how many. The loop does this by itself when woken. */
unsigned mailbox_drain(struct mailbox *mailbox);
struct ev_loop *mailbox_loop(const struct mailbox *mailbox);

#endif
