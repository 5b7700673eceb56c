/* notify.h - tells the service manager how the daemon is: sd_notify(3)'s protocol, which is a datagram of VARIABLE=VALUE lines to
 * the socket that $NOTIFY_SOCKET names, and so needs no libsystemd.
 *
 * Without the variable (not started by systemd, or by a unit without Type=notify) every call does nothing.
 * The watchdog ($WATCHDOG_USEC, $WATCHDOG_PID): a ping leaves only from notify_turn(), that is at the end of a turn that happened,
 * and only while no commit has been on the disk for as long as the watchdog's time. A loop that hangs, or a disk that does not
 * come back, so ends in silence; then systemd kills the daemon (SIGABRT) and starts it anew, and recovery does its one job.
 * Time: monotonic. Loop thread only. A datagram that cannot be sent is dropped, with one line in the log: never waits. */
#ifndef SLUICE_EDGE_NOTIFY_H
#define SLUICE_EDGE_NOTIFY_H

#include <stdbool.h>

#include "broker/base/clock.h"

enum { NOTIFY_TEXT_MAX = 512 };  /* of one datagram; a longer status is cut */

struct notify {
    int fd;                      /* connected; -1: nobody to tell */
    int64_t watchdog_us;         /* 0: no watchdog */
    struct mono pinged;
    bool failed;                 /* said once */
};

/* Reads the environment, and removes what it read from it: it is not meant for our children. */
void notify_open(struct notify *notify);
void notify_close(struct notify *notify);

/* `status` is a printf format of what `systemctl status` shows. */
void notify_ready(struct notify *notify, const char *status, ...) __attribute__((format(printf, 2, 3)));
/* A reload begins; notify_ready() ends it, also when it was refused. */
void notify_reloading(struct notify *notify, struct mono now);
void notify_stopping(struct notify *notify);

/* How often the loop must wake so that pings are in time, in seconds; 0: no watchdog. */
double notify_wake_s(const struct notify *notify);
/* At the end of each turn. `commit_since_us`: monotonic, when the commit that is on the disk was begun; MONO_NEVER: none is.
 * True: a ping left. */
bool notify_turn(struct notify *notify, struct mono now, int64_t commit_since_us);

#endif
