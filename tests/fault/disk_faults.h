/* disk_faults.h - a disk that refuses on command. Link disk_faults.c into a test program: its pwrite, writev and fdatasync take
 * the place of the C library's for everything in the process, shared libraries included, and pass through until told otherwise.
 * As on Linux, a failed write-back is reported by fdatasync once to every descriptor of the file that was open then. */
#ifndef SLUICE_TESTS_DISK_FAULTS_H
#define SLUICE_TESTS_DISK_FAULTS_H

enum disk_fault {
    DISK_FAULT_NONE,
    DISK_FAULT_WRITE,        /* data writes at or above DISK_META_BYTES fail */
    DISK_FAULT_WRITE_SHORT,  /* they write half */
    DISK_FAULT_SYNC,         /* the next write-back fails */
    DISK_FAULT_META,         /* writes into the two meta pages fail */
};
enum { DISK_META_BYTES = 2 * 4096 };

/* For files whose name ends in "data.mdb". Any thread; from then on. */
void disk_fault_set(enum disk_fault fault, int error);
/* Calls of fdatasync that passed, since the program began. */
unsigned long disk_syncs(void);

#endif
