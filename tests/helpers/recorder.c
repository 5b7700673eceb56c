/* recorder FILE: a stdio-lines function that writes down the number of each event it gets, one write(2) a line, and answers {}. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    char *line = NULL, text[64];
    size_t capacity = 0;

    int fd = argc == 2 ? open(argv[1], O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600) : -1;
    if (fd < 0) {
        perror("recorder");
        return 1;
    }
    while (getline(&line, &capacity, stdin) > 0) {
        const char *at = strstr(line, "\"n\":");
        int len = snprintf(text, sizeof text, "%lld\n", at == NULL ? -1 : atoll(at + 4));
        if (write(fd, text, (size_t)len) != len || fputs("{}\n", stdout) < 0)
            return 1;
        if (fflush(stdout) != 0)
            return 1;
    }
    free(line);
    return 0;
}
