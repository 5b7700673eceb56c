#include "tests/processes.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/edge/descendants.h"

enum { DEADLINE_S = 30 };
static const double tick_s = 0.005;

static void on_tick(struct ev_loop *loop, struct ev_timer *timer, int revents)
{
    (void)loop, (void)timer, (void)revents;
}

void deadline_start(struct ev_loop *loop, struct deadline *deadline)
{
    deadline->loop = loop;
    deadline->over_at = ev_time() + DEADLINE_S;
    ev_timer_init(&deadline->tick, on_tick, tick_s, tick_s);
    ev_timer_start(loop, &deadline->tick);
}

bool deadline_turn(struct deadline *deadline)
{
    (void)ev_run(deadline->loop, EVRUN_ONCE);
    return ev_time() < deadline->over_at;
}

void deadline_stop(struct deadline *deadline)
{
    ev_timer_stop(deadline->loop, &deadline->tick);
}

unsigned fds_open(void)
{
    DIR *fds = opendir("/proc/self/fd");
    unsigned count = 0;

    while (readdir(fds) != NULL)
        count++;
    (void)closedir(fds);
    return count;
}

/* One word of /proc/PID/FILE after `before`. */
static bool proc_word(pid_t pid, const char *file, const char *before, char *ret_word, size_t room)
{
    char path[64], text[4096];

    (void)snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, file);
    FILE *in = fopen(path, "re");
    if (in == NULL)
        return false;
    size_t len = fread(text, 1, sizeof text - 1, in);
    (void)fclose(in);
    text[len] = '\0';
    const char *at = strstr(text, before);
    if (at == NULL)
        return false;
    at += strlen(before) + strspn(at + strlen(before), " \t");
    (void)snprintf(ret_word, room, "%.*s", (int)strcspn(at, " \t\n"), at);
    return true;
}

bool process_gone(pid_t pid)
{
    char state[8];

    return !proc_word(pid, "status", "State:", state, sizeof state) || state[0] == 'Z' || state[0] == 'X';
}

bool parent_of_process(pid_t pid, pid_t *ret_parent)
{
    char parent[16];

    if (!proc_word(pid, "status", "PPid:", parent, sizeof parent))
        return false;
    *ret_parent = atoi(parent);
    return true;
}

int number_in(const char *path)
{
    FILE *in = fopen(path, "re");
    int number = 0;

    if (in == NULL)
        return 0;
    if (fscanf(in, "%d%*1[\n]", &number) != 1)
        number = 0;
    (void)fclose(in);
    return number;
}

pid_t spawner_pid(void)
{
    pid_t pids[256];
    size_t count = children_of_process(pids, 256);
    char name[32];

    for (size_t i = 0; i < count; i++)
        if (proc_word(pids[i], "status", "Name:", name, sizeof name) && strcmp(name, "sluice-spawner") == 0)
            return pids[i];
    return 0;
}
