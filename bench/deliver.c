/* deliver: a backlog of events drained by a function that does nothing, in each protocol. A delivery counts when its ack is booked. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sluice/producer.h>

#include "bench/harness.h"

enum { LOOK_MS_MIN = 2, LOOK_MS_MAX = 200 }; /* between two looks at what is left */

static const char rules[] = "rules:\n  all: {pattern: {source: [{prefix: \"\"}]}, targets: [{function: noop}]}\n";

static void publish(uint64_t events)
{
    struct sluice_producer *producer;
    struct sluice_error error;
    struct sluice_event event = { .source = "bench", .type = "order.paid", .detail = "{\"order\":7,\"note\":\"a detail of about the usual size: "
                                  "some hundred and fifty bytes of text that a function would look at, and this one does not\"}" };

    if (sluice_producer_open(NULL, &producer, &error) != SLUICE_OK)
        exit(1);
    for (uint64_t i = 0; i < events; i++) {
        if (sluice_publish_async(producer, &event, NULL, NULL, &error) != SLUICE_OK)
            exit(1);
    }
    uint64_t unconfirmed;
    if (sluice_producer_close(producer, 60000, &unconfirmed) != SLUICE_OK || unconfirmed != 0) {
        (void)fprintf(stderr, "bench: %llu events were not acked\n", (unsigned long long)unconfirmed);
        exit(1);
    }
}

/* Events per second from the moment the function may run until the last ack. */
static double drain(struct bench *bench, const char *function, unsigned instances, uint64_t events)
{
    struct bench_daemon daemon;
    char paused[20000], running[20000];

    (void)snprintf(paused, sizeof paused, "functions:\n  noop: {%s, scale: {max: 0}}\n%s", function, rules);
    (void)snprintf(running, sizeof running, "listen: {bus: \"ipc://%s/deliver.sock\"}\nfunctions:\n  noop: {%s, scale: {max: %u}}\n%s",
                   bench->directory, function, instances, rules);
    bench_daemon_start(bench, &daemon, "deliver", paused);
    publish(events);
    FILE *file = fopen(daemon.config, "we");
    if (file == NULL || fputs(running, file) < 0 || fclose(file) != 0)
        exit(1);
    double start = bench_now(), pending = (double)events;
    int pause_ms = LOOK_MS_MIN;
    free(bench_control(&daemon, "reload", "{}"));
    do {
        (void)poll(NULL, 0, pause_ms);
        char *status = bench_control(&daemon, "status", "{}");
        pending = bench_number(status, NULL, "pending");
        free(status);
        /* A look costs the daemon a connection and a sorted histogram: the farther the end, the rarer. */
        double left_ms = pending * (bench_now() - start) * 1000 / ((double)events - pending + 1);
        pause_ms = left_ms / 4 > LOOK_MS_MAX ? LOOK_MS_MAX : left_ms / 4 < LOOK_MS_MIN ? LOOK_MS_MIN : (int)(left_ms / 4);
        if (bench_now() - start > 120) {
            (void)fprintf(stderr, "bench: %.0f of %llu are still pending after 120 s; see %s\n", pending, (unsigned long long)events, daemon.log);
            exit(1);
        }
    } while (pending > 0);
    /* Handed out and answered; now the last settling commit must be on the disk. */
    char *balance = bench_control(&daemon, "balance", "{}");
    while (bench_number(balance, "\"noop\"", "pending") != 0 && bench_now() - start < 120) {
        free(balance);
        balance = bench_control(&daemon, "balance", "{}");
    }
    double rate = (double)events / (bench_now() - start);
    if (bench_number(balance, "\"noop\"", "succeeded") != (double)events || strstr(balance, "\"holds\":true") == NULL) {
        (void)fprintf(stderr, "bench: not every delivery succeeded: %s\n", balance);
        exit(1);
    }
    free(balance);
    bench_daemon_stop(&daemon);
    return rate;
}

static double median_drain(struct bench *bench, const char *name, const char *function, uint64_t events)
{
    double rates[64];
    int rounds = bench->rounds > 64 ? 64 : bench->rounds;

    for (int i = 0; i < rounds; i++) {
        rates[i] = drain(bench, function, 2, events);
        bench_note(bench, "%s round %d: %.0f/s", name, i + 1, rates[i]);
    }
    return bench_median(rates, (size_t)rounds);
}

int main(int argc, char **argv)
{
    struct bench bench;
    char function[16384], program[8192];

    bench_init(&bench, argc, argv, "deliver: a backlog drained by functions that do nothing");
    (void)snprintf(function, sizeof function, "command: [%s/bench/functions/noop_native], protocol: native, batch: {size: 1000}, concurrency: 2",
                   bench.build);
    bench_at_least(&bench, "deliver_native", median_drain(&bench, "native", function, bench.brief ? 200000 : 1000000), "deliveries/s", 200000);
    (void)snprintf(function, sizeof function, "command: [%s/bench/functions/noop_lines], protocol: stdio-lines, concurrency: 1000", bench.build);
    bench_at_least(&bench, "deliver_stdio_lines", median_drain(&bench, "stdio-lines", function, bench.brief ? 50000 : 300000), "deliveries/s",
                   50000);

    (void)snprintf(program, sizeof program, "%s/bench/functions/noop_stdio", bench.build);
    char *const floor_argv[] = { program, NULL };
    (void)snprintf(function, sizeof function, "command: [%s], protocol: stdio", program);
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    double rates[64], floors[64], ratios[64];
    int rounds = bench.rounds > 64 ? 64 : bench.rounds;
    for (int i = 0; i < rounds; i++) {
        floors[i] = bench_spawn_rate(floor_argv, (unsigned)cores, bench.brief ? 1 : 3); /* as many at once as is fastest: one a core */
        rates[i] = drain(&bench, function, 2 * (unsigned)cores, bench.brief ? 1000 : 5000);
        ratios[i] = rates[i] / floors[i];
        bench_note(&bench, "stdio round %d: %.0f/s, bare posix_spawn %.0f/s", i + 1, rates[i], floors[i]);
    }
    double ratio = bench_median(ratios, (size_t)rounds), rate = bench_median(rates, (size_t)rounds);
    bench_rate(&bench, "deliver_stdio", rate, "invocations/s", rate / ratio, 0.6);
    return bench_done(&bench);
}
