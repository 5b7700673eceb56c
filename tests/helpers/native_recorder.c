/* native_recorder FILE: a native function that writes down the number of each event it gets, a batch in one write(2). */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sluice/function.h>

static int fd;

static void handle_batch(void *user, struct sluice_delivery *const *deliveries, size_t count, enum sluice_err *codes)
{
    (void)user;
    char *text = malloc(count * 24 + 1), detail[64];
    size_t len = 0;
    for (size_t i = 0; text != NULL && i < count; i++) {
        size_t take = deliveries[i]->detail_len < sizeof detail - 1 ? deliveries[i]->detail_len : sizeof detail - 1;
        memcpy(detail, deliveries[i]->detail, take);
        detail[take] = '\0';
        const char *at = strstr(detail, "\"n\":");
        len += (size_t)snprintf(text + len, 24, "%lld\n", at == NULL ? -1 : atoll(at + 4));
    }
    if (text == NULL || write(fd, text, len) != (ssize_t)len) {
        for (size_t i = 0; i < count; i++)
            codes[i] = SLUICE_EIO;
    }
    free(text);
}

int main(int argc, char **argv)
{
    fd = argc == 2 ? open(argv[1], O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600) : -1;
    if (fd < 0) {
        perror("native_recorder");
        return 1;
    }
    return sluice_function_run(&(struct sluice_function){ .handle_batch = handle_batch });
}
