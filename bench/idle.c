/* idle: what a daemon costs that has nothing to do, and one that starts with 1,000,000 pending events. */
#include <dirent.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sluice/producer.h>

#include "bench/harness.h"

static const char yaml[] = "functions:\n  sink: {command: [/bin/true], protocol: stdio, scale: {max: 0}}\n"
                           "rules:\n  all: {pattern: {source: [{prefix: \"\"}]}, targets: [{function: sink}]}\n";

/* Voluntary and other context switches of all threads: each is a wake-up. */
static double switches(pid_t pid)
{
    char path[128], line[128];
    double total = 0, count;

    (void)snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    DIR *folder = opendir(path);
    for (struct dirent *entry; folder != NULL && (entry = readdir(folder)) != NULL;) {
        if (entry->d_name[0] == '.')
            continue;
        (void)snprintf(path, sizeof path, "/proc/%d/task/%.20s/status", (int)pid, entry->d_name);
        FILE *file = fopen(path, "re");
        while (file != NULL && fgets(line, sizeof line, file) != NULL) {
            if (sscanf(line, "voluntary_ctxt_switches: %lf", &count) == 1 || sscanf(line, "nonvoluntary_ctxt_switches: %lf", &count) == 1)
                total += count;
        }
        if (file != NULL)
            (void)fclose(file);
    }
    if (folder != NULL)
        (void)closedir(folder);
    return total;
}

static double wakeups_per_s(struct bench *bench, const struct bench_daemon *daemon)
{
    int seconds = bench->brief ? 4 : 10;

    (void)poll(NULL, 0, 2000); /* what follows the start is not idling yet */
    double before = switches(daemon->pid);
    (void)poll(NULL, 0, seconds * 1000);
    return (switches(daemon->pid) - before) / seconds;
}

int main(int argc, char **argv)
{
    struct bench bench;
    struct bench_daemon daemon;
    struct sluice_producer *producer;
    struct sluice_error error;
    struct sluice_event event = { .source = "bench", .type = "order.paid", .detail = "{\"order\":7,\"note\":\"a detail of about the usual size: "
                                  "some hundred and fifty bytes of text that a function would look at, and this one does not\"}" };
    double file = 0, ready[64];

    bench_init(&bench, argc, argv, "idle: memory and wake-ups of a daemon at rest, and with 1,000,000 pending events");
    bench_daemon_start(&bench, &daemon, "idle", yaml);
    bench_at_most(&bench, "idle_wakeups", wakeups_per_s(&bench, &daemon), "per second", 2);
    bench_at_most(&bench, "idle_rss", bench_rss(&daemon, &file) / 1e6, "MB", 10);
    bench_note(&bench, "beside it, mapped from files (LMDB's map, libraries): %.1f MB", file / 1e6);

    if (sluice_producer_open(NULL, &producer, &error) != SLUICE_OK)
        exit(1);
    for (int i = 0; i < 1000000; i++) {
        if (sluice_publish_async(producer, &event, NULL, NULL, &error) != SLUICE_OK)
            exit(1);
    }
    (void)sluice_producer_close(producer, 60000, NULL);
    int rounds = bench.rounds > 64 ? 64 : bench.rounds;
    for (int i = 0; i < rounds; i++) {
        bench_daemon_stop(&daemon);
        bench_daemon_again(&bench, &daemon, yaml);
        ready[i] = daemon.ready_s * 1000;
    }
    char *status = bench_control(&daemon, "status", "{}");
    if (bench_number(status, NULL, "pending") != 1000000) {
        (void)fprintf(stderr, "bench: expected 1,000,000 pending: %s\n", status);
        return 1;
    }
    free(status);
    bench_at_most(&bench, "pending_ready", bench_median(ready, (size_t)rounds), "ms", 300);
    bench_at_most(&bench, "pending_rss", bench_rss(&daemon, &file) / 1e6, "MB", 64);
    bench_note(&bench, "beside it, mapped from files: %.1f MB", file / 1e6);
    bench_at_most(&bench, "pending_wakeups", wakeups_per_s(&bench, &daemon), "per second", 2);
    bench_daemon_stop(&daemon);
    return bench_done(&bench);
}
