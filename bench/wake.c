/* wake: from the publish call to the first instruction of main() in a cold stdio function. The limit is what it cannot avoid: the
 * commit, and a bare posix_spawn of the same program, measured in the same run, plus 1 ms. */
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <sluice/producer.h>

#include "bench/harness.h"

extern char **environ;
enum { SAMPLES_MAX = 1000 };

static double began(int fifo)
{
    int64_t ns;
    if (read(fifo, &ns, sizeof ns) != (ssize_t)sizeof ns)
        exit(1);
    return (double)ns / 1e9;
}

int main(int argc, char **argv)
{
    struct bench bench;
    struct bench_daemon daemon;
    struct sluice_producer *producer;
    struct sluice_error error;
    struct sluice_event event = { .source = "bench", .type = "wake", .detail = "{}" };
    char yaml[16384], program[8192], fifo_path[512];
    static double wakes[SAMPLES_MAX], spawns[SAMPLES_MAX];

    bench_init(&bench, argc, argv, "wake: publish to the first instruction of a cold stdio function");
    int samples = bench.brief ? 100 : 200 * bench.rounds > SAMPLES_MAX ? SAMPLES_MAX : 200 * bench.rounds;
    (void)snprintf(program, sizeof program, "%s/bench/functions/noop_stdio", bench.build);
    (void)snprintf(fifo_path, sizeof fifo_path, "%s/began", bench.directory);
    if (mkfifo(fifo_path, 0600) != 0)
        exit(1);
    int fifo = open(fifo_path, O_RDWR | O_CLOEXEC); /* both ways, so that it never ends */
    (void)snprintf(yaml, sizeof yaml,
                   "functions:\n  cold: {command: [%s, %s], protocol: stdio}\n"
                   "rules:\n  all: {pattern: {source: [bench]}, targets: [{function: cold}]}\n",
                   program, fifo_path);
    bench_daemon_start(&bench, &daemon, "wake", yaml);
    if (sluice_producer_open(NULL, &producer, &error) != SLUICE_OK)
        exit(1);
    for (int i = -20; i < samples; i++) {
        double start = bench_now();
        if (sluice_publish(producer, &event, &error) != SLUICE_OK)
            exit(1);
        double wake = began(fifo) - start;

        char *const arguments[] = { program, fifo_path, NULL };
        posix_spawn_file_actions_t actions;
        (void)posix_spawn_file_actions_init(&actions);
        (void)posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
        pid_t pid;
        start = bench_now();
        if (posix_spawn(&pid, program, &actions, NULL, arguments, environ) != 0)
            exit(1);
        double spawn = began(fifo) - start;
        (void)waitpid(pid, NULL, 0);
        (void)posix_spawn_file_actions_destroy(&actions);
        if (i >= 0) {
            wakes[i] = wake * 1e6;
            spawns[i] = spawn * 1e6;
        }
    }
    char *status = bench_control(&daemon, "status", "{}");
    double commit = bench_number(status, "\"commit_us\"", "p50");
    free(status);
    double spawn = bench_median(spawns, (size_t)samples);
    bench_note(&bench, "commit p50 %.0f us, bare spawn p50 %.0f us, wake p99 %.0f us", commit, spawn,
               bench_percentile(wakes, (size_t)samples, 99));
    bench_at_most(&bench, "wake_p50", bench_median(wakes, (size_t)samples), "us", commit + spawn + 1000);
    (void)sluice_producer_close(producer, 5000, NULL);
    bench_daemon_stop(&daemon);
    return bench_done(&bench);
}
