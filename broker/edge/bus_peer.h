/* bus_peer.h - one connection of the bus, seen from the loop: bytes in, frames to the door; answers gathered, bytes out.
 *
 *            8 bytes greeted           a frame               too much unsent
 *   GREETING ---------------> TAKING -----------> bus_door    TAKING ------> STALLED: reads nothing until its answers went
 *      |                        |                               ^               |
 *      +--- any error, garbage, deadline, bus_peer_doom() ---+  +---------------+  half of it sent
 *                               v
 *                             GONE ---- both transfers have ended ----> freed
 *
 * The streams are nng's; each has one read and one write at a time. Their callbacks come on nng's threads and post mail, nothing
 * else; all of this module runs on the loop. What was answered since the last bus_peers_flush() is one write to each peer. */
#ifndef SLUICE_EDGE_BUS_PEER_H
#define SLUICE_EDGE_BUS_PEER_H

#include <nng/nng.h>
#include <nng/supplemental/util/platform.h>

#include "broker/base/list.h"
#include "broker/edge/bus_input.h"
#include "broker/edge/mailbox.h"
#include "schemas/codec/bytes.h"

enum {
    BUS_GREETING_MS_MAX = 10 * 1000,        /* from accepting to the greeting; over tcp, to a good hello */
    BUS_HELLO_BYTES_MAX = 16 << 10,         /* a frame from a stranger over tcp */
    BUS_UNSENT_BYTES_STALL = 8 << 20,       /* answers that a peer does not read: nothing is read from it any more */
    BUS_UNSENT_BYTES_MAX = 256 << 20,       /* it is cut off: 64 batches of the largest size */
    BUS_OUT_BYTES_KEPT = 64 << 10,          /* a larger buffer is given back when it was sent */
};

struct bus_peer;
struct bus_peers {                          /* what the connections of one door share */
    struct mailbox *mailbox;
    struct list all, dirty;                 /* dirty: with something to send, and no write going on */
    unsigned count;
    unsigned strangers;                     /* of these, over tcp and not greeted */
    size_t input_bytes;                     /* read and not done with, of all */
    uint64_t broken;                        /* cut off for what they sent, or did not read */
    void *ctx;
    /* May answer, at once or later; must not free. */
    void (*on_frame)(void *ctx, struct bus_peer *peer, const struct bus_frame *frame);
    void (*on_gone)(void *ctx, struct bus_peer *peer);   /* once; answers to it go nowhere from here on */
    void (*on_freed)(void *ctx);            /* its descriptor is given back */
};

enum bus_peer_state { PEER_GREETING, PEER_TAKING, PEER_STALLED, PEER_GONE };

struct bus_peer {
    /* Of the door. */
    struct list held;                       /* requests that wait for their answers */
    unsigned held_count;
    bool local;                             /* ipc: same user or root */
    bool greeted;                           /* said a good hello: bus_peer_greeted() */
    struct bus_bond *bond;                  /* NULL: not attached */
    /* Of this module; the door reads `input`. */
    struct bus_peers *peers;
    struct list link, dirty;
    enum bus_peer_state state;
    bool doomed, reading, writing;
    nng_stream *stream;
    nng_aio *read_aio, *write_aio;
    struct mail read_mail, write_mail;
    nng_time greet_by;
    struct bus_input input;
    struct bytes out;                       /* gathering */
    struct bytes sending;                   /* being written, `sent` of it done */
    size_t sent;
    uint64_t sent_before;                   /* bytes of all earlier `sending` */
};

void bus_peers_init(struct bus_peers *peers, struct mailbox *mailbox);
/* Takes the stream. false: out of memory, the stream is freed. */
bool bus_peer_new(struct bus_peers *peers, nng_stream *stream, enum frame_kind kind, bool local);

/* An answer is put between these two. A NULL buffer: the peer is gone, there is nobody to answer. The body may be cut back to
 * `*ret_start` and be written anew. */
struct bytes *bus_peer_answer_begin(struct bus_peer *peer, struct view ids, size_t *ret_start);
void bus_peer_answer_end(struct bus_peer *peer, struct view ids, size_t start);
/* Where in the stream of all bytes to it what was answered so far ends; and how far of it has been given to the system, a write that is
 * going on included. */
uint64_t bus_peer_answered(const struct bus_peer *peer);
uint64_t bus_peer_given(const struct bus_peer *peer);
/* Who it is: "pid 4711" or "192.0.2.7:40112"; "?" when the system does not say. */
void bus_peer_address(const struct bus_peer *peer, char *buffer, size_t buffer_len);
/* It has said a good hello. */
void bus_peer_greeted(struct bus_peer *peer);
/* Cuts it off, soon: on_gone comes from the loop, never from here. */
void bus_peer_doom(struct bus_peer *peer);

void bus_peers_flush(struct bus_peers *peers);
/* Ends all connections and frees them, without on_gone. What was answered is sent as far as sockets take it at once. */
void bus_peers_close(struct bus_peers *peers);

#endif
