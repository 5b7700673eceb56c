#include "broker/edge/cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    PROC_BYTES_MAX = 1 << 20,        /* of /proc/self/mountinfo; mounts beyond it are not seen */
    KILLED_PER_ROUND_MAX = 512,
    LEFTOVER_ROUNDS_MAX = 400, LEFTOVER_WAIT_MS = 5, /* 2 s for what a dead daemon left to end */
    VALUE_BYTES_MAX = 4096, NAME_BYTES_MAX = 48,
    FOLDERS_DEPTH_MAX = 8,           /* of groups within an instance's; deeper ones are left, and said */
};
#define DAEMON_FOLDER "/sluice-daemon"
#define CGROUP1_MAGIC 0x27e0eb
#define CGROUP2_MAGIC 0x63677270

static const struct {
    const char *name;
    const char *limit, *swap, *together;     /* files; swap and together may be missing */
    bool swap_is_sum;                        /* of memory and swap, so the same limit means no swap */
    const char *peak, *events;
} kinds[] = {
    [MEMORY_BY_RLIMIT] = { .name = "rlimit" },
    [MEMORY_BY_CGROUP1] = { .name = "cgroup1", .limit = "memory.limit_in_bytes", .swap = "memory.memsw.limit_in_bytes", .swap_is_sum = true,
                            .peak = "memory.max_usage_in_bytes", .events = "memory.oom_control" },
    [MEMORY_BY_CGROUP2] = { .name = "cgroup2", .limit = "memory.max", .swap = "memory.swap.max", .together = "memory.oom.group",
                            .peak = "memory.peak", .events = "memory.events" },
};

const char *memory_limiter_text(enum memory_limiter limiter)
{
    return kinds[limiter].name;
}

/* ---- files ---- */

struct path { char text[CGROUP_PATH_MAX + 64]; };

__attribute__((format(printf, 1, 2))) static struct path path_of(const char *format, ...)
{
    struct path path;
    va_list args;

    va_start(args, format);
    (void)vsnprintf(path.text, sizeof path.text, format, args); /* folders are at most CGROUP_PATH_MAX, the names we add short */
    va_end(args);
    return path;
}

/* errno or 0. */
static int value_write(const char *folder, const char *file, const char *value)
{
    struct path path = path_of("%s/%s", folder, file);
    int fd = open(path.text, O_WRONLY | O_CLOEXEC);

    if (fd < 0)
        return errno;
    int err = write(fd, value, strlen(value)) < 0 ? errno : 0;
    (void)close(fd);
    return err;
}

/* Up to size - 1 bytes, NUL-terminated; false: errno says why. */
static bool text_read(const char *path, char *text, size_t size)
{
    size_t len = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return false;
    while (len + 1 < size) {
        ssize_t got = read(fd, text + len, size - 1 - len);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        len += (size_t)got;
    }
    text[len] = '\0';
    (void)close(fd);
    return true;
}

static bool value_read(const char *folder, const char *file, char value[VALUE_BYTES_MAX])
{
    struct path path = path_of("%s/%s", folder, file);

    return text_read(path.text, value, VALUE_BYTES_MAX);
}

static bool words_have(const char *words, const char *wanted)
{
    size_t len = strlen(wanted);

    for (const char *at = words; (at = strstr(at, wanted)) != NULL; at += len)
        if ((at == words || at[-1] == ' ') && (at[len] == ' ' || at[len] == '\n' || at[len] == '\0'))
            return true;
    return false;
}

/* ---- what a dead daemon left ---- */

struct pids { pid_t of[KILLED_PER_ROUND_MAX]; size_t count; };

static void pids_read(const char *folder, struct pids *pids)
{
    char text[KILLED_PER_ROUND_MAX * 8];
    struct path path = path_of("%s/cgroup.procs", folder);

    pids->count = 0;
    if (!text_read(path.text, text, sizeof text))
        return;
    char *end = strrchr(text, '\n'); /* a number that was cut is another's */
    for (char *at = text; end != NULL && at < end && pids->count < KILLED_PER_ROUND_MAX; at = strchr(at, '\n') + 1)
        pids->of[pids->count++] = (pid_t)strtol(at, NULL, 10);
}

/* A number may go to another process between our look and the signal: so a descriptor of it is taken, and then looked again. */
static void kill_one(const char *folder, pid_t pid)
{
    static struct pids again;
    int pidfd = pid > 0 ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;

    if (pidfd < 0)
        return;
    pids_read(folder, &again);
    for (size_t i = 0; i < again.count; i++)
        if (again.of[i] == pid)
            (void)syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
    (void)close(pidfd);
}

static void kill_all(const char *folder)
{
    static struct pids pids;

    if (value_write(folder, "cgroup.kill", "1") == 0)
        return;
    pids_read(folder, &pids);
    for (size_t i = 0; i < pids.count; i++)
        kill_one(folder, pids.of[i]);
}

/* A group that could not be removed for what is in it. If not now, then the next time: what was killed takes a moment to go. */
static void group_end(const char *folder)
{
    kill_all(folder);
    (void)rmdir(folder);
}

/* The groups in `folder`, the deepest first: a function may have made some in its own. */
static void folder_empty(const char *folder)
{
    struct { DIR *directory; size_t path_len; } levels[FOLDERS_DEPTH_MAX];
    struct path path = path_of("%s", folder);
    unsigned depth = 0;

    levels[0].directory = opendir(path.text);
    levels[0].path_len = strlen(path.text);
    depth += levels[0].directory != NULL;
    while (depth > 0) {
        size_t len = levels[depth - 1].path_len;
        const struct dirent *entry = readdir(levels[depth - 1].directory);
        path.text[len] = '\0';
        if (entry == NULL) {
            (void)closedir(levels[--depth].directory);
            if (depth > 0)
                group_end(path.text);
            continue;
        }
        if (entry->d_type != DT_DIR || entry->d_name[0] == '.' ||
            snprintf(path.text + len, sizeof path.text - len, "/%s", entry->d_name) >= (int)(sizeof path.text - len) ||
            rmdir(path.text) == 0 || errno != EBUSY)
            continue;
        DIR *inner = depth < FOLDERS_DEPTH_MAX ? opendir(path.text) : NULL;
        if (inner == NULL) {
            group_end(path.text);
            continue;
        }
        levels[depth].directory = inner;
        levels[depth++].path_len = strlen(path.text);
    }
}

/* Only a folder of ours in a cgroup file system: the name came from a file. */
static bool is_leftover(const char *folder)
{
    const char *name = strrchr(folder, '/');
    struct statfs info;

    return folder[0] == '/' && name != NULL && strncmp(name, "/sluice-", 8) == 0 && statfs(folder, &info) == 0 &&
           (info.f_type == CGROUP1_MAGIC || info.f_type == CGROUP2_MAGIC);
}

static void leftover_remove(const char *folder)
{
    if (!is_leftover(folder))
        return;
    for (unsigned round = 0; round < LEFTOVER_ROUNDS_MAX; round++) {
        folder_empty(folder);
        if (rmdir(folder) == 0 || errno == ENOENT)
            return;
        (void)poll(NULL, 0, LEFTOVER_WAIT_MS); /* killed processes take a moment to go */
    }
}

/* "sluice-DEV-INO"; false: errno says why. */
static bool folder_name(int lock_fd, char ret_name[NAME_BYTES_MAX])
{
    struct stat lock;

    if (fstat(lock_fd, &lock) != 0)
        return false;
    (void)snprintf(ret_name, NAME_BYTES_MAX, "sluice-%llx-%llx", (unsigned long long)lock.st_dev, (unsigned long long)lock.st_ino);
    return true;
}

/* Its name must be of this very lock: the note in a copy of a data directory speaks of a daemon that may well be alive. */
static void leftover_remove_noted(int lock_fd)
{
    char folder[CGROUP_PATH_MAX], name[NAME_BYTES_MAX];
    ssize_t len = pread(lock_fd, folder, sizeof folder - 1, 0);

    if (len <= 0 || !folder_name(lock_fd, name))
        return;
    folder[len] = '\0';
    const char *last = strrchr(folder, '/');
    if (last != NULL && strcmp(last + 1, name) == 0)
        leftover_remove(folder);
}

/* A note that fails to be written costs no more than a leftover that is not found. */
static void folder_note(int lock_fd, const char *folder)
{
    (void)!ftruncate(lock_fd, 0);
    (void)!pwrite(lock_fd, folder, strlen(folder), 0);
}

/* ---- choosing ---- */

static bool refuse(char reason[CGROUP_REASON_MAX], const char *format, ...) __attribute__((format(printf, 2, 3)));
static bool refuse(char reason[CGROUP_REASON_MAX], const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(reason, CGROUP_REASON_MAX, format, args);
    va_end(args);
    return false;
}

static bool own_folder(enum memory_limiter version, char ret_folder[CGROUP_PATH_MAX])
{
    char cgroups[VALUE_BYTES_MAX], *mounts = malloc(PROC_BYTES_MAX);

    bool found = mounts != NULL && text_read("/proc/self/cgroup", cgroups, sizeof cgroups) &&
                 text_read("/proc/self/mountinfo", mounts, PROC_BYTES_MAX) && cgroup_find(version, cgroups, mounts, ret_folder);
    free(mounts);
    return found && strlen(ret_folder) < CGROUP_PATH_MAX - 64;
}

/* Our folder in `parent`. */
static bool folder_make(struct cgroup *cgroup, const char *parent, int lock_fd, char reason[CGROUP_REASON_MAX])
{
    char name[NAME_BYTES_MAX];

    if (!folder_name(lock_fd, name))
        return refuse(reason, "the lock has no identity: %s", strerror(errno));
    struct path folder = path_of("%s/%s", parent, name);
    leftover_remove(folder.text);
    if (mkdir(folder.text, 0700) != 0)
        return refuse(reason, "cannot make a folder in %.120s: %s", parent, strerror(errno));
    (void)snprintf(cgroup->folder, sizeof cgroup->folder, "%.*s", (int)sizeof cgroup->folder - 1, folder.text);
    return true;
}

static bool cgroup1_open(struct cgroup *cgroup, int lock_fd, char reason[CGROUP_REASON_MAX])
{
    char own[CGROUP_PATH_MAX];

    if (!own_folder(MEMORY_BY_CGROUP1, own))
        return refuse(reason, "no memory controller is mounted");
    if (!folder_make(cgroup, own, lock_fd, reason))
        return false;
    struct path limit = path_of("%s/%s", cgroup->folder, kinds[MEMORY_BY_CGROUP1].limit);
    if (access(limit.text, W_OK) == 0)
        return true;
    (void)refuse(reason, "cannot write %.150s: %s", limit.text, strerror(errno));
    (void)rmdir(cgroup->folder);
    return false;
}

/* Daemon and spawner leave `parent` for a folder in it, so that its other folders may have limits. */
static bool make_way(const char *parent, pid_t daemon, char reason[CGROUP_REASON_MAX])
{
    static struct pids pids;
    const pid_t ours[] = { daemon, getpid() };

    pids_read(parent, &pids);
    for (size_t i = 0; i < pids.count; i++)
        if (pids.of[i] != ours[0] && pids.of[i] != ours[1])
            return refuse(reason, "process %d, which is not ours, is in %.120s; let the service manager delegate a cgroup", (int)pids.of[i],
                          parent);
    struct path own = path_of("%s" DAEMON_FOLDER, parent);
    int err = mkdir(own.text, 0755) != 0 && errno != EEXIST ? errno : 0;
    for (unsigned i = 0; err == 0 && i < 2; i++) {
        char number[24];
        (void)snprintf(number, sizeof number, "%d", (int)ours[i]);
        err = value_write(own.text, "cgroup.procs", number);
    }
    return err == 0 ? true : refuse(reason, "cannot move to %.150s: %s", own.text, strerror(err));
}

static bool cgroup2_open(struct cgroup *cgroup, int lock_fd, pid_t daemon, char reason[CGROUP_REASON_MAX])
{
    char own[CGROUP_PATH_MAX], words[VALUE_BYTES_MAX];
    int err;

    if (!own_folder(MEMORY_BY_CGROUP2, own))
        return refuse(reason, "it is not mounted");
    char *last = strrchr(own, '/'); /* after a restart of the spawner we are there */
    if (last != NULL && last != own && strcmp(last, DAEMON_FOLDER) == 0)
        *last = '\0';
    if (!value_read(own, "cgroup.controllers", words) || !words_have(words, "memory"))
        return refuse(reason, "no memory controller is delegated to %.150s", own);
    if (!value_read(own, "cgroup.subtree_control", words) || !words_have(words, "memory")) {
        if (!make_way(own, daemon, reason))
            return false;
        err = value_write(own, "cgroup.subtree_control", "+memory");
        if (err != 0)
            return refuse(reason, "cannot pass on the memory controller of %.120s: %s", own, strerror(err));
    }
    if (!folder_make(cgroup, own, lock_fd, reason))
        return false;
    err = value_write(cgroup->folder, "cgroup.subtree_control", "+memory");
    if (err == 0)
        return true;
    (void)rmdir(cgroup->folder);
    return refuse(reason, "cannot pass on the memory controller of %.120s: %s", own, strerror(err));
}

void cgroup_open(struct cgroup *cgroup, int lock_fd, pid_t daemon, const char *wanted)
{
    char no_cgroup2[CGROUP_REASON_MAX], no_cgroup1[CGROUP_REASON_MAX];

    *cgroup = (struct cgroup){ .limiter = MEMORY_BY_RLIMIT };
    leftover_remove_noted(lock_fd);
    if (wanted != NULL && strcmp(wanted, "rlimit") == 0) {
        (void)refuse(cgroup->reason, "asked for");
    } else if (cgroup2_open(cgroup, lock_fd, daemon, no_cgroup2)) {
        cgroup->limiter = MEMORY_BY_CGROUP2;
    } else if (cgroup1_open(cgroup, lock_fd, no_cgroup1)) {
        cgroup->limiter = MEMORY_BY_CGROUP1;
        (void)refuse(cgroup->reason, "cgroup v2: %.200s", no_cgroup2);
    } else {
        (void)refuse(cgroup->reason, "cgroup v2: %.110s; v1: %.110s", no_cgroup2, no_cgroup1);
    }
    if (cgroup->limiter == MEMORY_BY_RLIMIT)
        cgroup->folder[0] = '\0';
    folder_note(lock_fd, cgroup->folder);
}

void cgroup_clear(const struct cgroup *cgroup)
{
    if (cgroup->folder[0] != '\0')
        leftover_remove(cgroup->folder);
}

void cgroup_close(struct cgroup *cgroup, int lock_fd)
{
    cgroup_clear(cgroup);
    folder_note(lock_fd, "");
}

/* ---- instances ---- */

static struct path instance_folder(const struct cgroup *cgroup, uint64_t instance)
{
    return path_of("%s/%llu", cgroup->folder, (unsigned long long)instance);
}

static int limits_write(const struct cgroup *cgroup, const char *folder, int64_t memory_bytes)
{
    char limit[24];

    (void)snprintf(limit, sizeof limit, "%lld", (long long)memory_bytes);
    int err = value_write(folder, kinds[cgroup->limiter].limit, limit);
    if (err != 0)
        return err;
    /* Swap is not always counted: then there is no such file, and no swap is the administrator's choice. */
    err = value_write(folder, kinds[cgroup->limiter].swap, kinds[cgroup->limiter].swap_is_sum ? limit : "0");
    if (err != 0 && err != ENOENT)
        return err;
    /* One process killed and the others left is no state for a function to be in; v1 does not know this, see spawner_process.c. */
    if (kinds[cgroup->limiter].together != NULL)
        err = value_write(folder, kinds[cgroup->limiter].together, "1");
    return err == ENOENT ? 0 : err;
}

int cgroup_make(const struct cgroup *cgroup, uint64_t instance, int64_t memory_bytes, int *ret_enter_fd)
{
    struct path folder = instance_folder(cgroup, instance);

    if (mkdir(folder.text, 0700) != 0)
        return errno;
    int err = limits_write(cgroup, folder.text, memory_bytes);
    if (err == 0) {
        struct path enter = path_of("%s/cgroup.procs", folder.text);
        *ret_enter_fd = open(enter.text, O_WRONLY | O_CLOEXEC);
        err = *ret_enter_fd < 0 ? errno : 0;
    }
    if (err != 0)
        (void)rmdir(folder.text); /* nothing is in it */
    return err;
}

struct cgroup_use cgroup_look(const struct cgroup *cgroup, uint64_t instance)
{
    struct path folder = instance_folder(cgroup, instance);
    char text[VALUE_BYTES_MAX];
    struct cgroup_use use = { 0 };

    if (value_read(folder.text, kinds[cgroup->limiter].peak, text)) /* v2: not before Linux 5.19 */
        use.peak_bytes = strtoll(text, NULL, 10);
    if (!value_read(folder.text, kinds[cgroup->limiter].events, text))
        return use;
    for (const char *line = text; line != NULL; line = strchr(line, '\n'), line += line != NULL) {
        long long kills;
        if (sscanf(line, "oom_kill %lld", &kills) == 1)
            use.out_of_memory = kills > 0;
    }
    return use;
}

bool cgroup_remove(const struct cgroup *cgroup, uint64_t instance)
{
    struct path folder = instance_folder(cgroup, instance);

    if (rmdir(folder.text) == 0 || errno != EBUSY)
        return true;
    folder_empty(folder.text);
    return rmdir(folder.text) == 0 || errno != EBUSY;
}
