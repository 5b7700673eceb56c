/* stuck_disk.c - a disk that does not come back: preloaded into the daemon, its fdatasync() waits while the file $STUCK_DISK is
 * there, as a call to a hanging disk or a lost network mount does. */
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int fdatasync(int fd);

int fdatasync(int fd)
{
    const char *path = getenv("STUCK_DISK");

    while (path != NULL && access(path, F_OK) == 0)
        (void)nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
    return (int)syscall(SYS_fdatasync, fd);
}
