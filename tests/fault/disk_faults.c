#include "tests/fault/disk_faults.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { FDS_MAX = 1024 };

static atomic_int fault_now, fault_errno, writeback_errors;
static atomic_int seen[FDS_MAX]; /* write-back errors this descriptor has reported */
static atomic_ulong syncs;

ssize_t pwrite(int fd, const void *data, size_t len, off_t offset);
ssize_t writev(int fd, const struct iovec *parts, int count);
int fdatasync(int fd);

void disk_fault_set(enum disk_fault fault, int error)
{
    fault_errno = error;
    fault_now = fault;
    if (fault == DISK_FAULT_SYNC)
        writeback_errors++;
}

unsigned long disk_syncs(void)
{
    return syncs;
}

static int is_store(int fd)
{
    char link[64], path[4096];

    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, path, sizeof path);
    return len >= 8 && memcmp(path + len - 8, "data.mdb", 8) == 0;
}

/* How much of a write may pass; -1: it fails. */
static ssize_t allowed(int fd, size_t len, off_t offset)
{
    enum disk_fault fault = (enum disk_fault)atomic_load(&fault_now);

    if (fault == DISK_FAULT_NONE || fault == DISK_FAULT_SYNC || !is_store(fd) ||
        (offset < DISK_META_BYTES) != (fault == DISK_FAULT_META))
        return (ssize_t)len;
    if (fault == DISK_FAULT_WRITE_SHORT)
        return (ssize_t)len / 2;
    errno = fault_errno;
    return -1;
}

ssize_t pwrite(int fd, const void *data, size_t len, off_t offset)
{
    ssize_t pass = allowed(fd, len, offset);
    return pass < 0 ? pass : syscall(SYS_pwrite64, fd, data, (size_t)pass, offset);
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    size_t len = 0;

    for (int i = 0; i < count; i++)
        len += parts[i].iov_len;
    ssize_t pass = allowed(fd, len, lseek(fd, 0, SEEK_CUR));
    if (pass < 0)
        return pass;
    if ((size_t)pass == len)
        return syscall(SYS_writev, fd, parts, count);
    return syscall(SYS_write, fd, parts[0].iov_base, parts[0].iov_len / 2);
}

int fdatasync(int fd)
{
    if (fd >= 0 && fd < FDS_MAX && is_store(fd) && atomic_exchange(&seen[fd], writeback_errors) != writeback_errors) {
        errno = fault_errno;
        return -1;
    }
    syncs++;
    return (int)syscall(SYS_fdatasync, fd);
}
