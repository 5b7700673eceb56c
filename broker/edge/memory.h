/* memory.h - the most memory that a living instance used, from one look to the next.
 *
 *   in a cgroup v2   memory.peak of all its processes; the look begins a new peak where the kernel can (Linux 6.12)
 *   in a cgroup v1   memory.max_usage_in_bytes, likewise
 *   else             VmHWM of its first process only; begins anew by writing 5 to clear_refs
 * Where it cannot begin anew, the peak since the start is told, which is never too little.
 * A look costs two system calls in a cgroup and six elsewhere: callers bound how often. */
#ifndef SLUICE_EDGE_MEMORY_H
#define SLUICE_EDGE_MEMORY_H

#include "broker/edge/cgroup.h"

struct memory_meter {                /* zero at first */
    bool open;
    int peak_fd;                     /* of its cgroup; -1: none, by `pid` */
    pid_t pid;
};

/* `limited`: the instance has a cgroup, if `cgroup` says that there are any. */
void memory_open(struct memory_meter *meter, const struct cgroup *cgroup, uint64_t instance, pid_t pid, bool limited);
void memory_close(struct memory_meter *meter);
/* In bytes; 0: not known, such as that of a process that has ended. */
int64_t memory_peak(const struct memory_meter *meter);

#endif
