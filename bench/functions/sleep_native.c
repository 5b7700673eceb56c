/* A native function that waits: SLEEP_MS (default 50) per event, without a core; so that how many run at once is all that counts. */
#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include <sluice/function.h>

static enum sluice_err handle(void *user, struct sluice_delivery *delivery)
{
    struct timespec left = *(const struct timespec *)user;

    (void)delivery;
    while (nanosleep(&left, &left) != 0 && errno == EINTR)
        ;
    return SLUICE_OK;
}

int main(void)
{
    const char *text = getenv("SLEEP_MS");
    long ms = text == NULL ? 50 : strtol(text, NULL, 10);
    struct timespec time = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };

    return sluice_function_run(&(struct sluice_function){ .handle = handle, .user = &time });
}
