/* consumer FILE [HOLD]: a native function that writes a line "ID ATTEMPT begin" when it gets an event and "ID ATTEMPT end" when it is done
 * with it; while a file HOLD is there, it is not. Run by hand it attaches. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <sluice/function.h>

static int fd;
static const char *hold;

static bool note(const struct sluice_delivery *delivery, const char *what)
{
    char line[256];
    int len = snprintf(line, sizeof line, "%.150s %u %s\n", delivery->id, delivery->attempt, what);

    return write(fd, line, (size_t)len) == len;
}

static enum sluice_err handle(void *user, struct sluice_delivery *delivery)
{
    (void)user;
    bool noted = note(delivery, "begin");
    while (hold != NULL && access(hold, F_OK) == 0)
        (void)nanosleep(&(struct timespec){ .tv_nsec = 2000000 }, NULL);
    return noted && note(delivery, "end") ? SLUICE_OK : SLUICE_EIO;
}

int main(int argc, char **argv)
{
    fd = argc >= 2 ? open(argv[1], O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600) : -1;
    hold = argc >= 3 ? argv[2] : NULL;
    if (fd < 0) {
        perror("consumer");
        return 1;
    }
    return sluice_function_run(&(struct sluice_function){ .handle = handle });
}
