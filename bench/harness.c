#include "bench/harness.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <sluice/producer.h>

extern char **environ;
static bool below_half;

static void die(const char *what)
{
    (void)fprintf(stderr, "bench: %s: %s\n", what, strerror(errno));
    exit(1);
}

double bench_now(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static int compare(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

double bench_percentile(double *values, size_t count, double percent)
{
    qsort(values, count, sizeof *values, compare);
    size_t at = (size_t)((double)(count - 1) * percent / 100 + 0.5);
    return values[at];
}

double bench_median(double *values, size_t count)
{
    return bench_percentile(values, count, 50);
}

static void machine_line(char *line, size_t len)
{
    char model[128] = "unknown processor", text[256];
    struct utsname kernel;
    FILE *file = fopen("/proc/cpuinfo", "re");

    while (file != NULL && fgets(text, sizeof text, file) != NULL) {
        if (strncmp(text, "model name", 10) == 0 && strchr(text, ':') != NULL) {
            (void)snprintf(model, sizeof model, "%.100s", strchr(text, ':') + 2);
            model[strcspn(model, "\n")] = '\0';
            break;
        }
    }
    if (file != NULL)
        (void)fclose(file);
    (void)uname(&kernel);
    (void)snprintf(line, len, "%ld x %s, Linux %s", sysconf(_SC_NPROCESSORS_ONLN), model, kernel.release);
}

void bench_init(struct bench *bench, int argc, char **argv, const char *what)
{
    *bench = (struct bench){ .rounds = 5 };
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0) {
            bench->json = true;
        } else if (strcmp(argv[i], "--brief") == 0) {
            bench->brief = true;
            bench->rounds = 1;
        } else if (strcmp(argv[i], "--rounds") == 0 && i + 1 < argc && atoi(argv[i + 1]) > 0) {
            bench->rounds = atoi(argv[++i]);
        } else {
            (void)fprintf(stderr, "usage: %s [--json] [--brief] [--rounds N]\n%s\n", argv[0], what);
            exit(2);
        }
    }
    ssize_t len = readlink("/proc/self/exe", bench->build, sizeof bench->build - 1);
    if (len < 0)
        die("/proc/self/exe");
    bench->build[len] = '\0';
    for (int up = 0; up < 2; up++)
        *strrchr(bench->build, '/') = '\0';
    const char *temporary = getenv("TMPDIR");
    (void)snprintf(bench->directory, sizeof bench->directory, "%.200s/sluice-bench.XXXXXX", temporary != NULL ? temporary : "/var/tmp");
    if (mkdtemp(bench->directory) == NULL)
        die(bench->directory);
    char line[512];
    machine_line(line, sizeof line);
    if (!bench->json)
        (void)printf("%s\n%s\nmedian of %d\n\n%-34s %14s %-12s %14s %8s %8s\n", what, line, bench->rounds, "row", "value", "unit", "floor/limit",
                     "ratio", "target");
    (void)fflush(stdout);
}

static int remove_entry(const char *path, const struct stat *info, int type, struct FTW *walk)
{
    (void)info, (void)type, (void)walk;
    return remove(path);
}

int bench_done(struct bench *bench)
{
    (void)nftw(bench->directory, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    return below_half ? 1 : 0;
}

static void row(struct bench *bench, const char *name, double value, const char *unit, double floor, double ratio, double target)
{
    bool met = ratio >= target;

    below_half = below_half || ratio < target / 2;
    if (bench->json)
        (void)printf("{\"name\":\"%s\",\"value\":%.6g,\"unit\":\"%s\",\"floor\":%.6g,\"ratio\":%.4g,\"target\":%.4g,\"met\":%s}\n", name, value,
                     unit, floor, ratio, target, met ? "true" : "false");
    else
        (void)printf("%-34s %14.1f %-12s %14.1f %8.2f %8.2f %s\n", name, value, unit, floor, ratio, target, met ? "met" : "MISSED");
    (void)fflush(stdout);
}

void bench_rate(struct bench *bench, const char *name, double value, const char *unit, double floor, double target)
{
    row(bench, name, value, unit, floor, value / floor, target);
}

void bench_at_least(struct bench *bench, const char *name, double value, const char *unit, double target)
{
    row(bench, name, value, unit, target, value / target, 1);
}

void bench_at_most(struct bench *bench, const char *name, double value, const char *unit, double limit)
{
    row(bench, name, value, unit, limit, value > 0 ? limit / value : 1e9, 1);
}

void bench_note(struct bench *bench, const char *format, ...)
{
    va_list args;

    if (bench->json)
        return;
    va_start(args, format);
    (void)printf("  ");
    (void)vprintf(format, args);
    (void)printf("\n");
    va_end(args);
    (void)fflush(stdout);
}

/* ---- the daemon ---- */

static void daemon_run(struct bench *bench, struct bench_daemon *daemon, const char *yaml)
{
    char program[4200];
    FILE *file = fopen(daemon->config, "we");

    if (file == NULL)
        die(daemon->config);
    (void)fprintf(file, "%s%s", daemon->listen, yaml);
    (void)fclose(file);
    (void)snprintf(program, sizeof program, "%s/broker/daemon/sluiced", bench->build);
    char *argv[] = { program, "--config", daemon->config, "--data", daemon->data, NULL };
    posix_spawn_file_actions_t actions;
    (void)posix_spawn_file_actions_init(&actions);
    (void)posix_spawn_file_actions_addopen(&actions, 2, daemon->log, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0600);
    (void)unlink(daemon->log);
    double started = bench_now();
    errno = posix_spawn(&daemon->pid, program, &actions, NULL, argv, environ);
    (void)posix_spawn_file_actions_destroy(&actions);
    if (errno != 0)
        die(program);
    while (bench_now() - started < 30) {
        char text[8192] = "";
        int fd = open(daemon->log, O_RDONLY | O_CLOEXEC);
        ssize_t len = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
        if (fd >= 0)
            (void)close(fd);
        text[len < 0 ? 0 : len] = '\0';
        char *ready = strncmp(text, "ready ", 6) == 0 ? text : strstr(text, "\nready ");
        if (ready != NULL && strchr(ready + 1, '\n') != NULL) {
            daemon->ready_s = bench_now() - started;
            const char *http = strstr(ready, " http=127.0.0.1:");
            daemon->http_port = http == NULL ? 0 : (unsigned)atoi(http + strlen(" http=127.0.0.1:"));
            (void)setenv("SLUICE_URL", daemon->url, 1);
            return;
        }
        if (waitpid(daemon->pid, NULL, WNOHANG) == daemon->pid) {
            (void)fprintf(stderr, "bench: sluiced ended:\n%s\n", text);
            exit(1);
        }
        (void)poll(NULL, 0, 1); /* between two looks at the log */
    }
    (void)fprintf(stderr, "bench: sluiced is not ready within 30 s; see %s\n", daemon->log);
    exit(1);
}

static void daemon_start(struct bench *bench, struct bench_daemon *daemon, const char *name, const char *http, const char *yaml)
{
    (void)snprintf(daemon->url, sizeof daemon->url, "ipc://%s/%s.sock", bench->directory, name);
    (void)snprintf(daemon->data, sizeof daemon->data, "%s/%s.data", bench->directory, name);
    (void)snprintf(daemon->config, sizeof daemon->config, "%s/%s.yaml", bench->directory, name);
    (void)snprintf(daemon->log, sizeof daemon->log, "%s/%s.log", bench->directory, name);
    (void)snprintf(daemon->listen, sizeof daemon->listen, "listen: {bus: \"%s\"%s}\n", daemon->url, http);
    (void)nftw(daemon->data, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    daemon_run(bench, daemon, yaml);
}

void bench_daemon_start(struct bench *bench, struct bench_daemon *daemon, const char *name, const char *yaml)
{
    daemon_start(bench, daemon, name, "", yaml);
}

void bench_daemon_start_http(struct bench *bench, struct bench_daemon *daemon, const char *name, const char *yaml)
{
    daemon_start(bench, daemon, name, ", http: \"127.0.0.1:0\"", yaml);
    if (daemon->http_port == 0) {
        (void)fprintf(stderr, "bench: sluiced says no HTTP port when it is ready; see %s\n", daemon->log);
        exit(1);
    }
}

void bench_daemon_again(struct bench *bench, struct bench_daemon *daemon, const char *yaml)
{
    daemon_run(bench, daemon, yaml);
}

void bench_daemon_stop(struct bench_daemon *daemon)
{
    int status;

    (void)kill(daemon->pid, SIGTERM);
    if (waitpid(daemon->pid, &status, 0) != daemon->pid || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        (void)fprintf(stderr, "bench: sluiced did not stop cleanly; see %s\n", daemon->log);
        exit(1);
    }
}

char *bench_control(const struct bench_daemon *daemon, const char *command, const char *arguments)
{
    struct sluice_error error;
    char *result;

    if (sluice_control(daemon->url, command, arguments, 30000, &result, &error) != SLUICE_OK) {
        (void)fprintf(stderr, "bench: %s: %s\n", command, error.text);
        exit(1);
    }
    return result;
}

double bench_number(const char *json, const char *from, const char *name)
{
    char key[80];

    (void)snprintf(key, sizeof key, "\"%s\":", name);
    const char *at = from == NULL ? json : strstr(json, from);
    at = at == NULL ? NULL : strstr(at, key);
    return at == NULL ? -1 : atof(at + strlen(key));
}

double bench_rss(const struct bench_daemon *daemon, double *ret_file)
{
    char path[64], line[128];
    double kilobytes = 0, total = 0;

    (void)snprintf(path, sizeof path, "/proc/%d/status", (int)daemon->pid);
    FILE *file = fopen(path, "re");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        if (sscanf(line, "RssAnon: %lf", &kilobytes) == 1 || sscanf(line, "RssShmem: %lf", &kilobytes) == 1)
            total += kilobytes;
        else if (sscanf(line, "RssFile: %lf", &kilobytes) == 1)
            *ret_file = kilobytes * 1024;
    }
    if (file != NULL)
        (void)fclose(file);
    return total * 1024;
}

/* ---- floors ---- */

struct bench_floor bench_fdatasync(struct bench *bench, size_t block, double seconds)
{
    enum { SAMPLES = 100000 };
    char path[512];
    char *bytes = malloc(block);
    double *samples = malloc(SAMPLES * sizeof *samples);
    size_t count = 0;

    if (bytes == NULL || samples == NULL)
        die("floor");
    memset(bytes, 'x', block);
    (void)snprintf(path, sizeof path, "%s/floor", bench->directory);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        die(path);
    double start = bench_now(), at = start;
    while (at - start < seconds && count < SAMPLES) {
        if (write(fd, bytes, block) != (ssize_t)block || fdatasync(fd) != 0)
            die(path);
        double now = bench_now();
        samples[count++] = now - at;
        at = now;
    }
    struct bench_floor floor = { .per_s = (double)count / (at - start), .p50_s = bench_median(samples, count) };
    (void)close(fd);
    (void)unlink(path);
    free(bytes);
    free(samples);
    return floor;
}

struct floor_process {
    pid_t pid;
    int in, out;
};

static void floor_start(struct floor_process *process, char *const argv[])
{
    int in[2], out[2];
    posix_spawn_file_actions_t actions;

    if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0)
        die("pipe");
    (void)posix_spawn_file_actions_init(&actions);
    (void)posix_spawn_file_actions_adddup2(&actions, in[0], 0);
    (void)posix_spawn_file_actions_adddup2(&actions, out[1], 1);
    errno = posix_spawn(&process->pid, argv[0], &actions, NULL, argv, environ);
    (void)posix_spawn_file_actions_destroy(&actions);
    if (errno != 0)
        die(argv[0]);
    (void)close(in[0]);
    (void)close(out[1]);
    process->in = in[1];
    process->out = out[0];
    (void)!write(process->in, "{}\n", 3);
    (void)close(process->in);
}

double bench_spawn_rate(char *const argv[], unsigned parallel, double seconds)
{
    struct floor_process processes[64];
    unsigned count = 0;
    double start = bench_now();

    for (unsigned i = 0; i < parallel; i++)
        floor_start(&processes[i], argv);
    while (bench_now() - start < seconds) {
        int status;
        pid_t pid = wait(&status);
        for (unsigned i = 0; i < parallel; i++) {
            char bytes[4096];
            if (processes[i].pid != pid)
                continue;
            while (read(processes[i].out, bytes, sizeof bytes) > 0)
                ;
            (void)close(processes[i].out);
            count++;
            floor_start(&processes[i], argv);
        }
    }
    double passed = bench_now() - start;
    for (unsigned i = 0; i < parallel; i++) {
        (void)close(processes[i].out);
        (void)waitpid(processes[i].pid, NULL, 0);
    }
    return count / passed;
}
