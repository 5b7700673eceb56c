/* peer.h - whose process is at the other end of a loopback TCP connection?
 * A port on 127.0.0.1 is open to every process of the machine; each instance's Runtime API is for that instance alone. The kernel
 * names the socket at the other end by its inode (sock_diag, else /proc/net/tcp), and /proc/PID/fd says who holds it. */
#ifndef SLUICE_API_RUNTIME_PEER_H
#define SLUICE_API_RUNTIME_PEER_H

#include <stdbool.h>
#include <sys/types.h>

#include "sluice/error.h"

struct peer_finder;

enum {
    PEER_PROCESSES_MAX = 512,            /* descendants of an instance that are looked at */
    PEER_DESCRIPTORS_MAX = 16384,        /* descriptors looked at for one connection, all processes together: a bound on the loop's time */
    PEER_SCANS_PER_S = 10,               /* looks at all processes of the machine; beyond, only a leader and its descendants are let in */
};

/* NULL only when out of memory. */
struct peer_finder *peer_finder_new(void);
struct peer_finder *peer_finder_free(struct peer_finder *finder);    /* NULL is fine; returns NULL */
/* SLUICE_OK: `fd`, an accepted connection, comes from a process of the group `leader`, from a descendant of that process, or from one of the
 * `others`, which are known to live, and their descendants: what has left the group is found by its parents no more once the leader has ended.
 * SLUICE_ENOTFOUND: whoever connected has left already. SLUICE_EACCESS: from another, or from one that cannot be found: the reason.
 * SLUICE_ELIMIT: the daemon has no descriptor left to look with. */
enum sluice_err peer_check(struct peer_finder *finder, int fd, pid_t leader, const pid_t *others, unsigned others_count, struct sluice_error *reterr);
/* Which process the last check that was SLUICE_OK has found. */
pid_t peer_process(const struct peer_finder *finder);
/* The child of `leader` that `pid` is, or descends from; where its parents are gone, the topmost of the leader's group. 0: `pid` is the leader. */
pid_t peer_branch(pid_t pid, pid_t leader);
/* What the last check has cost, in descriptors looked at. */
unsigned peer_looks(const struct peer_finder *finder);

#endif
