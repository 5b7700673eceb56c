/* cgroup.h - memory limits that the kernel holds for all processes of an instance together.
 *
 *   our own cgroup (of the daemon)          cgroup v2: memory.max, memory.swap.max, memory.oom.group
 *     └─ sluice-DEV-INO                     cgroup v1: memory.limit_in_bytes, memory.memsw.limit_in_bytes
 *          ├─ 17                            one folder an instance, from before its exec until its last process is gone
 *          └─ 18
 *
 * Which way: cgroup v2 if its memory controller is given to us, else v1 if we may write there, else RLIMIT_DATA, which bounds each
 * process by itself. Never RLIMIT_AS: runtimes that reserve address space hang under it.
 * In v2 a cgroup with children that have limits must hold no process itself, so daemon and spawner move to `sluice-daemon` below it; if
 * other processes are there it was not given to us alone, and is left as it is.
 * DEV-INO is the identity of the lock file that the spawner holds, so a folder of that name which is there at a start was left by a
 * daemon that is dead: what runs in it is killed, and it is removed. Wherever it was: its path is kept in the lock file (and believed only
 * if it ends in that name, for data directories are copied).
 * Used by the spawner, which alone makes them; the daemon reads (memory.h), and clears up when it outlives its spawner. Links to nothing foreign. */
#ifndef SLUICE_EDGE_CGROUP_H
#define SLUICE_EDGE_CGROUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { CGROUP_PATH_MAX = 1024, CGROUP_REASON_MAX = 256 }; /* a deeper folder is not used */

enum memory_limiter { MEMORY_BY_RLIMIT, MEMORY_BY_CGROUP1, MEMORY_BY_CGROUP2 };
const char *memory_limiter_text(enum memory_limiter limiter);

struct cgroup {
    enum memory_limiter limiter;
    char folder[CGROUP_PATH_MAX];    /* sluice-DEV-INO; "" with MEMORY_BY_RLIMIT */
    char reason[CGROUP_REASON_MAX];  /* why not a better way; "" for the best */
};

/* Removes what an earlier daemon with this lock left, chooses, and makes our folder. `lock_fd`: the lock, held. `daemon`: the process
 * that moves with us. `wanted` NULL or "auto": as above; "rlimit": no cgroup. */
void cgroup_open(struct cgroup *cgroup, int lock_fd, pid_t daemon, const char *wanted);
void cgroup_close(struct cgroup *cgroup, int lock_fd);
/* Kills what is in our folder and removes it, if it is there: also for the daemon, when its spawner died before it. */
void cgroup_clear(const struct cgroup *cgroup);

/* An instance's folder with its limit. Returns errno or 0, and then the file into which the child writes "0" to enter. */
int cgroup_make(const struct cgroup *cgroup, uint64_t instance, int64_t memory_bytes, int *ret_enter_fd);
struct cgroup_use {
    int64_t peak_bytes;              /* 0: not known */
    bool out_of_memory;              /* the kernel killed one of its processes at the limit */
};
struct cgroup_use cgroup_look(const struct cgroup *cgroup, uint64_t instance);
/* False: processes that are on their way out are still in it; ask again. */
bool cgroup_remove(const struct cgroup *cgroup, uint64_t instance);

/* Where the cgroup of a process lies in the file system: `cgroups` and `mounts` are /proc/PID/cgroup and /proc/PID/mountinfo. False: not
 * mounted, or the mount does not show it. */
bool cgroup_find(enum memory_limiter version, const char *cgroups, const char *mounts, char ret_folder[CGROUP_PATH_MAX]);

#endif
