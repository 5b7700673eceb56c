/* bus_listen.h - where the bus listens, and which connections are let in when.
 *
 *   ACCEPTING ──── a connection: bus_peer_new() ────> ACCEPTING
 *       │ └─────── accept failed ───> PAUSING ──────> ACCEPTING
 *       └── BUS_PEERS_MAX, or over tcp BUS_STRANGERS_MAX ──> WAITING ── bus_listeners_again() ──> ACCEPTING
 *
 * Owns nng's listeners; a connection belongs to struct bus_peers, which counts them. Over ipc only processes of the same user and of root
 * are let in. nng accepts on threads of its own, which post mail and nothing else; all of this runs on the loop.
 * Who comes while nothing is accepted waits in the system's queue. */
#ifndef SLUICE_EDGE_BUS_LISTEN_H
#define SLUICE_EDGE_BUS_LISTEN_H

#include "broker/edge/bus_peer.h"
#include "sluice/error.h"

enum {
    BUS_STRANGERS_MAX = 128,                /* over tcp and without a good hello yet; others wait, and keep nobody out */
    BUS_PEERS_MAX = 16384,
};

struct bus_listeners;

struct bus_listeners *bus_listeners_new(struct bus_peers *peers);
/* ipc sockets are 0600. `url`, in nng's words, must live as long as the listeners. SLUICE_EIO: why not. */
enum sluice_err bus_listeners_add(struct bus_listeners *listeners, const char *url, struct sluice_error *reterr);
/* A connection has ended or is no stranger any more: there may be room for one that waits. */
void bus_listeners_again(struct bus_listeners *listeners);
/* Nobody comes in any more. Mail that is on its way must be delivered before they are freed: bus_peers_close() sees to it. */
void bus_listeners_stop(struct bus_listeners *listeners);
void bus_listeners_free(struct bus_listeners *listeners);

#endif
