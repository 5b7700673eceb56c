/* publish: 256-byte events, one rule that matches each to one paused function. The floor is the disk's own: appending to a growing file,
 * one write + fdatasync at a time, in blocks of the median bytes per commit of the measured run. */
#include <fcntl.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <sluice/producer.h>

#include "bench/harness.h"

extern char **environ;
enum { EVENT_BYTES = 256, RULES_MANY = 100000, RULES_BRIEF = 10000 };

static const char yaml[] = "functions:\n  sink: {command: [/bin/true], protocol: stdio, scale: {max: 0}}\n"
                           "rules:\n  all: {pattern: {source: [{prefix: \"\"}]}, targets: [{function: sink}]}\n";

static _Atomic uint64_t acked;

static void on_ack(void *user, enum sluice_err code, const struct sluice_error *error)
{
    (void)user;
    if (code == SLUICE_OK)
        atomic_fetch_add_explicit(&acked, 1, memory_order_relaxed);
    else
        (void)fprintf(stderr, "bench: refused: %s\n", error->text);
}

/* A detail so long that the encoded event has EVENT_BYTES. */
static char *event_detail(void)
{
    static char detail[EVENT_BYTES];
    enum { ENVELOPE_OVERHEAD = 52 }; /* id, source, type, time and their heads */
    size_t len = EVENT_BYTES - ENVELOPE_OVERHEAD;

    memset(detail, 'x', len);
    memcpy(detail, "{\"order\":7,\"note\":\"", 19);
    memcpy(detail + len - 2, "\"}", 3);
    return detail;
}

static struct sluice_producer *open_producer(const struct sluice_producer_options *options)
{
    struct sluice_producer *producer;
    struct sluice_error error;

    if (sluice_producer_open(options, &producer, &error) != SLUICE_OK) {
        (void)fprintf(stderr, "bench: %s\n", error.text);
        exit(1);
    }
    return producer;
}

/* One producer process (nng must not be forked, so it is this program started anew): `seconds` of publishing after all are
 * connected; reads its start from descriptor 0, writes one byte when it is ready and then its acked count to descriptor 1. */
static void produce(double seconds, size_t batch_bytes, unsigned window)
{
    const int go = 0, out = 1;
    struct sluice_producer *producer = open_producer(
        &(struct sluice_producer_options){ .batch_bytes = batch_bytes, .batch_events = 10000, .window_batches = window });
    struct sluice_event event = { .source = "bench", .type = "order.paid", .detail = event_detail() };
    struct sluice_error error;
    char byte = 'r';

    if (sluice_publish(producer, &event, &error) != SLUICE_OK) { /* connected, warm */
        (void)fprintf(stderr, "bench: %s\n", error.text);
        _exit(1);
    }
    (void)!write(out, &byte, 1);
    (void)!read(go, &byte, 1);
    double end = bench_now() + seconds;
    for (unsigned i = 0; (i & 255) != 0 || bench_now() < end; i++) {
        if (sluice_publish_async(producer, &event, on_ack, NULL, &error) != SLUICE_OK)
            _exit(1);
    }
    uint64_t count = acked; /* those acked in time: what is still under way does not count */
    (void)!write(out, &count, sizeof count);
    (void)sluice_producer_close(producer, 30000, NULL);
    _exit(0);
}

struct measured {
    double per_s, bytes_per_commit;
};

static struct measured run(struct bench *bench, const char *configuration, unsigned producers, double seconds, size_t batch_bytes, unsigned window)
{
    struct bench_daemon daemon;
    struct measured measured = { 0 };
    int go[2], out[2];
    char byte;
    pid_t pids[64];

    bench_daemon_start(bench, &daemon, "publish", configuration);
    if (pipe2(go, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0)
        exit(1);
    for (unsigned i = 0; i < producers; i++) {
        char text[3][32];
        (void)snprintf(text[0], sizeof text[0], "%f", seconds);
        (void)snprintf(text[1], sizeof text[1], "%zu", batch_bytes);
        (void)snprintf(text[2], sizeof text[2], "%u", window);
        char *const arguments[] = { "publish", "--produce", text[0], text[1], text[2], NULL };
        posix_spawn_file_actions_t actions;
        (void)posix_spawn_file_actions_init(&actions);
        (void)posix_spawn_file_actions_adddup2(&actions, go[0], 0);
        (void)posix_spawn_file_actions_adddup2(&actions, out[1], 1);
        if (posix_spawn(&pids[i], "/proc/self/exe", &actions, NULL, arguments, environ) != 0)
            exit(1);
        (void)posix_spawn_file_actions_destroy(&actions);
    }
    for (unsigned i = 0; i < producers; i++)
        (void)!read(out[0], &byte, 1);
    for (unsigned i = 0; i < producers; i++)
        (void)!write(go[1], "g", 1);
    uint64_t total = 0, count;
    for (unsigned i = 0; i < producers; i++) {
        if (read(out[0], &count, sizeof count) == (ssize_t)sizeof count)
            total += count;
    }
    for (unsigned i = 0; i < producers; i++)
        (void)waitpid(pids[i], NULL, 0);
    measured.per_s = (double)total / seconds;
    char *status = bench_control(&daemon, "status", "{}");
    measured.bytes_per_commit = bench_number(status, "\"commit_bytes\"", "p50");
    free(status);
    bench_daemon_stop(&daemon);
    (void)close(go[0]), (void)close(go[1]), (void)close(out[0]), (void)close(out[1]);
    return measured;
}

static void rate_row(struct bench *bench, const char *name, unsigned producers, size_t batch_bytes, unsigned window)
{
    double rates[64], ratios[64], floors[64], seconds = bench->brief ? 1 : 3;
    int rounds = bench->rounds > 64 ? 64 : bench->rounds;

    for (int i = 0; i < rounds; i++) {
        struct measured measured = run(bench, yaml, producers, seconds, batch_bytes, window);
        struct bench_floor floor = bench_fdatasync(bench, (size_t)measured.bytes_per_commit, bench->brief ? 0.5 : 1.5);
        rates[i] = measured.per_s;
        floors[i] = floor.per_s * measured.bytes_per_commit / EVENT_BYTES;
        ratios[i] = rates[i] / floors[i];
        bench_note(bench, "%s round %d: %.0f events/s, %.0f bytes a commit, floor %.0f events/s", name, i + 1, rates[i],
                   measured.bytes_per_commit, floors[i]);
    }
    double ratio = bench_median(ratios, (size_t)rounds), rate = bench_median(rates, (size_t)rounds);
    bench_rate(bench, name, rate, "events/s", rate / ratio, 0.5);
    if (producers == 8)
        bench_at_least(bench, "publish_8_absolute", rate, "events/s", 500000);
}

/* The one rule, and many beside it that ask for other orders of the same source and type. */
static char *many_rules(unsigned count)
{
    enum { RULE_BYTES = 160 };
    size_t room = sizeof yaml + (size_t)count * RULE_BYTES, len = sizeof yaml - 1;
    char *text = malloc(room);

    if (text == NULL)
        exit(1);
    memcpy(text, yaml, sizeof yaml);
    for (unsigned i = 0; i < count; i++)
        len += (size_t)snprintf(text + len, room - len, "  r%06u: {pattern: {source: [bench], detail-type: [order.paid], detail: {order: [%u]}}, "
                                "targets: [{function: sink}]}\n", i, i + 1000);
    return text;
}

/* The rate with many rules by the rate with one, measured in turns. */
static void many_rules_row(struct bench *bench)
{
    double rates[64], ratios[64], seconds = bench->brief ? 1 : 3;
    int rounds = bench->rounds > 64 ? 64 : bench->rounds;
    char *many = many_rules(bench->brief ? RULES_BRIEF : RULES_MANY);

    for (int i = 0; i < rounds; i++) {
        struct measured one = run(bench, yaml, 8, seconds, 64 << 10, 2);
        struct measured all = run(bench, many, 8, seconds, 64 << 10, 2);
        rates[i] = all.per_s;
        ratios[i] = all.per_s / one.per_s;
        bench_note(bench, "%d rules round %d: %.0f events/s, with one rule %.0f", bench->brief ? RULES_BRIEF : RULES_MANY, i + 1, all.per_s, one.per_s);
    }
    double ratio = bench_median(ratios, (size_t)rounds), rate = bench_median(rates, (size_t)rounds);
    bench_rate(bench, bench->brief ? "publish_8_rules_10k" : "publish_8_rules_100k", rate, "events/s", rate / ratio, 0.8);
    free(many);
}

static void one_at_a_time(struct bench *bench)
{
    enum { SAMPLES = 2000 };
    double medians[64], limits[64], samples[SAMPLES];
    int rounds = bench->rounds > 64 ? 64 : bench->rounds;

    for (int i = 0; i < rounds; i++) {
        struct bench_daemon daemon;
        bench_daemon_start(bench, &daemon, "single", yaml);
        struct sluice_producer *producer = open_producer(NULL);
        struct sluice_event event = { .source = "bench", .type = "order.paid", .detail = event_detail() };
        struct sluice_error error;
        int count = bench->brief ? 500 : SAMPLES;
        for (int n = -100; n < count; n++) {
            double start = bench_now();
            if (sluice_publish(producer, &event, &error) != SLUICE_OK)
                exit(1);
            if (n >= 0)
                samples[n] = (bench_now() - start) * 1e6;
        }
        medians[i] = bench_median(samples, (size_t)count);
        (void)sluice_producer_close(producer, 5000, NULL);
        bench_daemon_stop(&daemon);
        struct bench_floor floor = bench_fdatasync(bench, 4096, 0.5);
        limits[i] = 2.5 * floor.p50_s * 1e6 + 250;
        bench_note(bench, "one at a time, round %d: p50 %.0f us, fdatasync of 4 KiB p50 %.0f us", i + 1, medians[i], floor.p50_s * 1e6);
    }
    bench_at_most(bench, "publish_one_at_a_time_p50", bench_median(medians, (size_t)rounds), "us", bench_median(limits, (size_t)rounds));
}

int main(int argc, char **argv)
{
    struct bench bench;

    if (argc == 5 && strcmp(argv[1], "--produce") == 0)
        produce(atof(argv[2]), (size_t)atol(argv[3]), (unsigned)atoi(argv[4]));
    bench_init(&bench, argc, argv, "publish: 256-byte events, one rule that matches each, one paused function");
    rate_row(&bench, "publish_1", 1, 256 << 10, 8);
    rate_row(&bench, "publish_8", 8, 64 << 10, 2);
    many_rules_row(&bench);
    one_at_a_time(&bench);
    return bench_done(&bench);
}
