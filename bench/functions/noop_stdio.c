/* A stdio function that does nothing. With an argument (a fifo) it first writes down when its main() began: CLOCK_MONOTONIC, ns. */
#include <fcntl.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    struct timespec now;
    char bytes[4096];

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    if (argc > 1) {
        int64_t ns = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
        int fd = open(argv[1], O_WRONLY);
        if (fd < 0 || write(fd, &ns, sizeof ns) != (ssize_t)sizeof ns)
            return 1;
    }
    while (read(0, bytes, sizeof bytes) > 0)
        ;
    return 0;
}
