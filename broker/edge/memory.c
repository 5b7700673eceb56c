#include "broker/edge/memory.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { STATUS_BYTES_MAX = 4096 };

void memory_open(struct memory_meter *meter, const struct cgroup *cgroup, uint64_t instance, pid_t pid, bool limited)
{
    char path[CGROUP_PATH_MAX + 64];

    *meter = (struct memory_meter){ .open = true, .peak_fd = -1, .pid = pid };
    if (!limited || cgroup->limiter == MEMORY_BY_RLIMIT)
        return;
    (void)snprintf(path, sizeof path, "%s/%llu/%s", cgroup->folder, (unsigned long long)instance,
                   cgroup->limiter == MEMORY_BY_CGROUP1 ? "memory.max_usage_in_bytes" : "memory.peak");
    meter->peak_fd = open(path, O_RDWR | O_CLOEXEC);
    if (meter->peak_fd < 0)
        meter->peak_fd = open(path, O_RDONLY | O_CLOEXEC); /* an older kernel's cannot be written */
}

void memory_close(struct memory_meter *meter)
{
    if (meter->open && meter->peak_fd >= 0)
        (void)close(meter->peak_fd);
    *meter = (struct memory_meter){ 0 };
}

static int64_t cgroup_peak(int fd)
{
    char text[32];
    ssize_t len = pread(fd, text, sizeof text - 1, 0);

    if (len <= 0)
        return 0;
    text[len] = '\0';
    (void)!pwrite(fd, "0", 1, 0); /* refused: it goes on from where it was */
    return strtoll(text, NULL, 10);
}

static int64_t process_peak(pid_t pid)
{
    char path[64], text[STATUS_BYTES_MAX];
    long long kilobytes = 0;

    (void)snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t len = read(fd, text, sizeof text - 1);
    (void)close(fd);
    if (len <= 0)
        return 0;
    text[len] = '\0';
    const char *line = strstr(text, "\nVmHWM:");
    if (line == NULL || sscanf(line, "\nVmHWM: %lld kB", &kilobytes) != 1)
        return 0; /* a zombie has none */
    (void)snprintf(path, sizeof path, "/proc/%d/clear_refs", (int)pid);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd >= 0) {
        (void)!write(fd, "5", 1); /* refused: as above */
        (void)close(fd);
    }
    return kilobytes * 1024;
}

int64_t memory_peak(const struct memory_meter *meter)
{
    if (!meter->open)
        return 0;
    return meter->peak_fd >= 0 ? cgroup_peak(meter->peak_fd) : process_peak(meter->pid);
}
