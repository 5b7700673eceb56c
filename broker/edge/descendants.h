/* descendants.h - which processes are our children, and whose they were: for what leaves its process group and loses its parent.
 * A process whose parent dies becomes the child of the nearest subreaper above it: the spawner, or, once that is lost, the daemon. */
#ifndef SLUICE_EDGE_DESCENDANTS_H
#define SLUICE_EDGE_DESCENDANTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { DESCENDANTS_MAX = 4096 };     /* looked at in one pass; callers pass again while there are any */

/* The children of the calling thread (which is the whole process, for the spawner), zombies included; at most `max`. From
 * /proc/thread-self/children, or, where the kernel lacks that, as children_of_process(). */
size_t children_of_thread(pid_t *pids, size_t max);
/* The children of all threads, by a walk through /proc: some milliseconds, for rare use. */
size_t children_of_process(pid_t *pids, size_t max);
/* The instance named by SLUICE_INSTANCE in the environment `pid` was exec'd with; false: none, or not to be read. */
bool process_instance(pid_t pid, uint64_t *ret_instance);

#endif
