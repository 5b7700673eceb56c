/* disk_faults.c for a program that was not linked with it, by LD_PRELOAD: SIGUSR1 makes the disk refuse what $SLUICE_DISK_FAULT
 * names: "sync", "meta" (both EIO), "write" or "write-short" (ENOSPC); SIGUSR2 makes it whole again. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fault/disk_faults.h"

static enum disk_fault fault = DISK_FAULT_SYNC;
static int fault_error = EIO;

static void on_signal(int number)
{
    disk_fault_set(number == SIGUSR1 ? fault : DISK_FAULT_NONE, fault_error); /* atomics only */
}

__attribute__((constructor)) static void preload(void)
{
    static const struct {
        const char *name;
        enum disk_fault fault;
        int error;
    } faults[] = {
        { "sync", DISK_FAULT_SYNC, EIO },
        { "meta", DISK_FAULT_META, EIO },
        { "write", DISK_FAULT_WRITE, ENOSPC },
        { "write-short", DISK_FAULT_WRITE_SHORT, ENOSPC },
    };
    const char *wanted = getenv("SLUICE_DISK_FAULT");
    struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART };

    for (size_t i = 0; wanted != NULL && i < sizeof faults / sizeof *faults; i++) {
        if (strcmp(wanted, faults[i].name) == 0) {
            fault = faults[i].fault;
            fault_error = faults[i].error;
        }
    }
    (void)sigaction(SIGUSR1, &action, NULL);
    (void)sigaction(SIGUSR2, &action, NULL);
}
