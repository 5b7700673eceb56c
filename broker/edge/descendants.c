#include "broker/edge/descendants.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "schemas/codec/protocol.h"

size_t children_of_thread(pid_t *pids, size_t max)
{
    FILE *list = fopen("/proc/thread-self/children", "re");
    size_t count = 0;
    int pid;

    if (list == NULL)
        return children_of_process(pids, max);
    while (count < max && fscanf(list, "%d", &pid) == 1)
        pids[count++] = pid;
    (void)fclose(list); /* read only: nothing can be lost */
    return count;
}

/* The parent in /proc/PID/stat, "PID (name) S PPID ...": the name may hold anything, so from its last parenthesis on. */
static pid_t parent_of(const char *pid_text)
{
    char path[64], line[512];

    (void)snprintf(path, sizeof path, "/proc/%.20s/stat", pid_text);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1; /* it is gone already */
    ssize_t len = read(fd, line, sizeof line - 1);
    (void)close(fd);
    if (len <= 0)
        return -1;
    line[len] = '\0';
    const char *name_end = strrchr(line, ')');
    int parent;
    return name_end != NULL && sscanf(name_end + 1, " %*c %d", &parent) == 1 ? parent : -1;
}

size_t children_of_process(pid_t *pids, size_t max)
{
    DIR *proc = opendir("/proc");
    size_t count = 0;

    if (proc == NULL)
        return 0;
    for (struct dirent *entry = readdir(proc); entry != NULL && count < max; entry = readdir(proc))
        if (isdigit((unsigned char)entry->d_name[0]) && parent_of(entry->d_name) == getpid())
            pids[count++] = atoi(entry->d_name);
    (void)closedir(proc);
    return count;
}

bool process_instance(pid_t pid, uint64_t *ret_instance)
{
    static const char key[] = SLUICE_ENV_INSTANCE "=";
    char path[64], *variable = NULL;
    size_t capacity = 0;
    bool found = false;

    (void)snprintf(path, sizeof path, "/proc/%d/environ", (int)pid);
    FILE *environment = fopen(path, "re");
    if (environment == NULL)
        return false;
    while (!found && getdelim(&variable, &capacity, '\0', environment) > 0) {
        if (strncmp(variable, key, sizeof key - 1) != 0)
            continue;
        char *end;
        *ret_instance = strtoull(variable + sizeof key - 1, &end, 10);
        found = end != variable + sizeof key - 1 && *end == '\0';
    }
    free(variable);
    (void)fclose(environment);
    return found;
}
