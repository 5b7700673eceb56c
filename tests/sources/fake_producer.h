/* fake_producer.h - stands in for libsluice and the daemon behind it: an event a sequence number, each taken once, in a log that
 * outlives a crash of the program (a file), as the daemon's does. */
#ifndef SLUICE_TESTS_FAKE_PRODUCER_H
#define SLUICE_TESTS_FAKE_PRODUCER_H

#include <stdbool.h>

/* The daemon's log: one line an event, "sequence<TAB>detail". Kept open; starts empty unless the file has lines. */
void fake_daemon_open(const char *path);
/* The daemon is away: flushes time out until `flushes` of them were tried; -1: for ever. */
void fake_daemon_away(int flushes);
/* Events whose detail holds `part` are refused with `code` (an enum sluice_err). NULL: none. */
void fake_daemon_refuses(const char *part, int code);
/* Called before (taken = false) and after some events got into the log, and before their acks: a place to crash at. */
enum { FAKE_DAEMON_HOOK_EVERY = 16 };
extern void (*fake_daemon_hook)(bool taken);

#endif
