/* invoke: RequestResponse through a resident C function that speaks the Runtime API, beside a bare loop that passes the same two HTTP exchanges
 * through; what a parked instance costs; and how much a cold start adds to the bare interpreter's.
 *
 * CPU per invoke is that of all processes: server, functions and clients; the note beside it gives the server's own. */
#include <dirent.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/harness.h"
#include "bench/invoke/bare.h"
#include "bench/invoke/load.h"

enum { CLIENTS_MANY = 16, PARKED = 2000, STARTS_MAX = 64 };
#define INVOKE_PATH(name_) "/2015-03-31/functions/" name_ "/invocations"

struct measured {
    struct load_result load;
    double server_us, functions_us;  /* of CPU, per invoke */
};

/* CPU time of a process so far, all its threads, us; 0: gone. */
static double cpu_of(pid_t pid)
{
    char path[64];
    double total_ns = 0;

    (void)snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    DIR *threads = opendir(path);
    for (struct dirent *thread; threads != NULL && (thread = readdir(threads)) != NULL;) {
        unsigned long long ns;
        char stat[384];
        (void)snprintf(stat, sizeof stat, "/proc/%d/task/%s/schedstat", (int)pid, thread->d_name);
        FILE *file = thread->d_name[0] == '.' ? NULL : fopen(stat, "re");
        if (file != NULL && fscanf(file, "%llu", &ns) == 1)
            total_ns += (double)ns;
        if (file != NULL)
            (void)fclose(file);
    }
    if (threads != NULL)
        (void)closedir(threads);
    return total_ns / 1000;
}

/* Of all processes called noop_runtime. */
static double cpu_of_functions(void)
{
    double total = 0;
    DIR *processes = opendir("/proc");

    for (struct dirent *process; (process = readdir(processes)) != NULL;) {
        char path[300], name[32] = "";
        (void)snprintf(path, sizeof path, "/proc/%s/comm", process->d_name);
        FILE *file = process->d_name[0] < '1' || process->d_name[0] > '9' ? NULL : fopen(path, "re");
        if (file == NULL)
            continue;
        if (fscanf(file, "%31s", name) == 1 && strcmp(name, "noop_runtime") == 0)
            total += cpu_of((pid_t)atoi(process->d_name));
        (void)fclose(file);
    }
    (void)closedir(processes);
    return total;
}

static struct measured measure(pid_t server, uint16_t port, const char *path, unsigned clients, double seconds)
{
    struct measured measured;

    (void)load_run(port, path, clients, 0.2); /* warm */
    double server_us = cpu_of(server), functions_us = cpu_of_functions();
    measured.load = load_run(port, path, clients, seconds);
    measured.server_us = (cpu_of(server) - server_us) / (double)measured.load.invokes;
    measured.functions_us = (cpu_of_functions() - functions_us) / (double)measured.load.invokes;
    return measured;
}

static double cpu_per_invoke(const struct measured *measured)
{
    return measured->server_us + measured->functions_us + measured->load.cpu_us;
}

static pid_t function_start(const struct bench *bench, uint16_t port)
{
    char program[4200], variable[64];
    pid_t pid;

    (void)snprintf(program, sizeof program, "%s/bench/functions/noop_runtime", bench->build);
    (void)snprintf(variable, sizeof variable, "AWS_LAMBDA_RUNTIME_API=127.0.0.1:%u", port);
    char *const arguments[] = { program, NULL }, *const environment[] = { variable, NULL };
    if (posix_spawn(&pid, program, NULL, NULL, arguments, environment) != 0)
        exit(1);
    return pid;
}

static struct measured measure_bare(const struct bench *bench, unsigned clients, double seconds)
{
    struct bare bare = bare_start();
    pid_t functions[CLIENTS_MANY];

    for (unsigned i = 0; i < clients; i++)
        functions[i] = function_start(bench, bare.runtime_port);
    struct measured measured = measure(bare.pid, bare.invoke_port, "/", clients, seconds);
    bare_stop(&bare); /* the functions end with their connection */
    for (unsigned i = 0; i < clients; i++)
        (void)waitpid(functions[i], NULL, 0);
    return measured;
}

static struct measured measure_sluice(struct bench *bench, unsigned clients, double seconds)
{
    struct bench_daemon daemon;
    char yaml[8192];

    (void)snprintf(yaml, sizeof yaml,
                   "functions:\n  noop: {command: [%s/bench/functions/noop_runtime], timeout: 60s, scale: {min: %u, max: %u}}\n", bench->build,
                   clients, clients);
    bench_daemon_start_http(bench, &daemon, "invoke", yaml);
    struct measured measured = measure(daemon.pid, (uint16_t)daemon.http_port, INVOKE_PATH("noop"), clients, seconds);
    bench_daemon_stop(&daemon);
    return measured;
}

static void rows_of(struct bench *bench, unsigned clients)
{
    double cpu[64], cpu_floor[64], p50[64], p50_floor[64], rate[64], ratios[64];
    int rounds = bench->rounds > 64 ? 64 : bench->rounds;
    double seconds = bench->brief ? 0.5 : 3;
    char name[64];

    for (int i = 0; i < rounds; i++) {
        struct measured floor = measure_bare(bench, clients, seconds), ours = measure_sluice(bench, clients, seconds);
        cpu[i] = cpu_per_invoke(&ours);
        cpu_floor[i] = cpu_per_invoke(&floor);
        ratios[i] = cpu[i] / cpu_floor[i];
        p50[i] = ours.load.p50_us;
        p50_floor[i] = floor.load.p50_us;
        rate[i] = ours.load.per_s;
        bench_note(bench, "%u clients, round %d: %.0f/s p50 %.0f us p99 %.0f us, CPU %.1f us (server %.1f, function %.1f, client %.1f)", clients, i + 1,
                   ours.load.per_s, ours.load.p50_us, ours.load.p99_us, cpu[i], ours.server_us, ours.functions_us, ours.load.cpu_us);
        bench_note(bench, "%u clients, bare     : %.0f/s p50 %.0f us p99 %.0f us, CPU %.1f us (server %.1f, function %.1f, client %.1f)", clients,
                   floor.load.per_s, floor.load.p50_us, floor.load.p99_us, cpu_floor[i], floor.server_us, floor.functions_us, floor.load.cpu_us);
    }
    double cpu_median = bench_median(cpu, (size_t)rounds), ratio = bench_median(ratios, (size_t)rounds);
    (void)snprintf(name, sizeof name, "invoke_%u_cpu", clients);
    bench_at_most(bench, name, cpu_median, "us", cpu_median / ratio * 2.2);
    (void)snprintf(name, sizeof name, "invoke_%u_p50", clients);
    bench_at_most(bench, name, bench_median(p50, (size_t)rounds), "us", bench_median(p50_floor, (size_t)rounds) + 60);
    (void)snprintf(name, sizeof name, "invoke_%u_rate", clients);
    if (clients > 1)
        bench_at_least(bench, name, bench_median(rate, (size_t)rounds), "invokes/s", 15000);
}

/* Memory of the daemon for each of PARKED instances that wait for work. */
static void row_parked(struct bench *bench)
{
    struct bench_daemon daemon;
    unsigned parked = bench->brief ? 100 : PARKED;
    char yaml[8192];
    double files;

    (void)snprintf(yaml, sizeof yaml, "functions:\n  noop: {command: [%s/bench/functions/noop_runtime], scale: {min: 0, max: %u}}\n", bench->build,
                   parked);
    bench_daemon_start_http(bench, &daemon, "parked", yaml);
    double before = bench_rss(&daemon, &files);
    (void)snprintf(yaml, sizeof yaml, "%sfunctions:\n  noop: {command: [%s/bench/functions/noop_runtime], scale: {min: %u, max: %u}}\n",
                   daemon.listen, bench->build, parked, parked);
    FILE *file = fopen(daemon.config, "we");
    if (file == NULL || fputs(yaml, file) < 0 || fclose(file) != 0)
        exit(1);
    free(bench_control(&daemon, "reload", "{}"));
    double start = bench_now(), ready;
    do {
        char *status = bench_control(&daemon, "status", "{}");
        ready = bench_number(status, "\"instances\"", "ready");
        free(status);
        if (bench_now() - start > 300) {
            (void)fprintf(stderr, "bench: %.0f of %u instances are ready after 300 s; see %s\n", ready, parked, daemon.log);
            exit(1);
        }
    } while (ready < parked);
    double each = (bench_rss(&daemon, &files) - before) / parked;
    bench_note(bench, "%u instances ready within %.1f s", parked, bench_now() - start);
    bench_at_most(bench, "parked_instance", each, "B", 2048);
    bench_daemon_stop(&daemon);
}

/* ---- cold starts ---- */

struct runtime {
    const char *name, *interpreter, *bootstrap, *file, *handler, *code;
};
static const struct runtime runtimes[] = {
    { "nodejs", "node", "nodejs/bootstrap.cjs", "index.mjs", "index.handler", "export const handler = async (event) => event;\n" },
    { "python", "python3", "python/bootstrap.py", "app.py", "app.handler", "def handler(event, context):\n    return event\n" },
};

/* The interpreter, with our bootstrap and the same file, without a daemon: from its start until the function has answered. */
static double cold_bare(const struct runtime *runtime, const char *code)
{
    struct bare bare = bare_start();
    int answer = load_send(bare.invoke_port, "/");
    char bootstrap[4200], api[64], handler[64], task_root[600], path[4200];
    pid_t pid;

    (void)snprintf(bootstrap, sizeof bootstrap, "%s/%s", RUNTIMES, runtime->bootstrap);
    (void)snprintf(api, sizeof api, "AWS_LAMBDA_RUNTIME_API=127.0.0.1:%u", bare.runtime_port);
    (void)snprintf(handler, sizeof handler, "_HANDLER=%s", runtime->handler);
    (void)snprintf(task_root, sizeof task_root, "LAMBDA_TASK_ROOT=%s", code);
    (void)snprintf(path, sizeof path, "PATH=%s", getenv("PATH"));
    char *const arguments[] = { (char *)(uintptr_t)runtime->interpreter, bootstrap, NULL };
    char *const environment[] = { api, handler, task_root, path, NULL };
    double start = bench_now();
    if (posix_spawnp(&pid, runtime->interpreter, NULL, NULL, arguments, environment) != 0)
        exit(1);
    load_wait(answer);
    double us = (bench_now() - start) * 1e6;
    (void)kill(pid, SIGKILL);
    (void)waitpid(pid, NULL, 0);
    bare_stop(&bare);
    return us;
}

static void wait_for_none(const struct bench_daemon *daemon)
{
    for (double start = bench_now();;) {
        char *status = bench_control(daemon, "status", "{}");
        double left = bench_number(status, "\"instances\"", "ready") + bench_number(status, "\"instances\"", "busy") +
                      bench_number(status, "\"instances\"", "draining");
        free(status);
        if (left == 0)
            return;
        if (bench_now() - start > 30) {
            (void)fprintf(stderr, "bench: an idle instance is there after 30 s; see %s\n", daemon->log);
            exit(1);
        }
    }
}

static void row_cold(struct bench *bench, const struct runtime *runtime)
{
    struct bench_daemon daemon;
    char yaml[8192], code[400], path[500], name[64];
    double ours[STARTS_MAX], floors[STARTS_MAX];
    size_t starts = bench->brief ? 3 : 21;

    (void)snprintf(code, sizeof code, "%s/%s", bench->directory, runtime->name);
    (void)snprintf(path, sizeof path, "%s/%s", code, runtime->file);
    FILE *file = mkdir(code, 0700) != 0 ? NULL : fopen(path, "we");
    if (file == NULL || fputs(runtime->code, file) < 0 || fclose(file) != 0)
        exit(1);
    (void)snprintf(yaml, sizeof yaml, "functions:\n  cold: {runtime: %s, handler: %s, code: %s, timeout: 60s, scale: {idle: 1ms}}\n", runtime->name,
                   runtime->handler, code);
    bench_daemon_start_http(bench, &daemon, runtime->name, yaml);
    for (size_t i = 0; i < starts; i++) {
        floors[i] = cold_bare(runtime, code);
        wait_for_none(&daemon);
        double start = bench_now();
        load_wait(load_send((uint16_t)daemon.http_port, INVOKE_PATH("cold")));
        ours[i] = (bench_now() - start) * 1e6;
    }
    bench_daemon_stop(&daemon);
    double floor = bench_median(floors, starts);
    bench_note(bench, "%s: bare interpreter p50 %.0f us", runtime->name, floor);
    (void)snprintf(name, sizeof name, "cold_%s_p50", runtime->name);
    bench_at_most(bench, name, bench_median(ours, starts), "us", floor + 3000);
}

/* ---- a peer, in the same run: bench/peers/serverless-offline ---- */

/* SLUICE_PEER="PORT PATH": another server that invokes the same node handler. Its rate, beside ours with `runtime: nodejs`. */
static void rows_of_peer(struct bench *bench, const char *peer)
{
    struct bench_daemon daemon;
    char yaml[8192], code[400], path[500], peer_path[256];
    unsigned port;

    if (sscanf(peer, "%u %255s", &port, peer_path) != 2) {
        (void)fprintf(stderr, "bench: SLUICE_PEER is '%s'; it must be a port and a path\n", peer);
        exit(2);
    }
    (void)snprintf(code, sizeof code, "%s/peer", bench->directory);
    (void)snprintf(path, sizeof path, "%s/index.mjs", code);
    FILE *file = mkdir(code, 0700) != 0 ? NULL : fopen(path, "we");
    if (file == NULL || fputs(runtimes[0].code, file) < 0 || fclose(file) != 0)
        exit(1);
    for (unsigned clients = 1; clients <= CLIENTS_MANY; clients += CLIENTS_MANY - 1) {
        (void)snprintf(yaml, sizeof yaml, "functions:\n  noop: {runtime: nodejs, handler: index.handler, code: %s, timeout: 60s, scale: {max: %u}}\n", code,
                       clients);
        bench_daemon_start_http(bench, &daemon, "beside", yaml);
        (void)load_run((uint16_t)daemon.http_port, INVOKE_PATH("noop"), clients, 1);
        (void)load_run((uint16_t)port, peer_path, clients, 1);
        struct load_result ours = load_run((uint16_t)daemon.http_port, INVOKE_PATH("noop"), clients, 3), theirs = load_run((uint16_t)port, peer_path, clients, 3);
        bench_daemon_stop(&daemon);
        bench_note(bench, "node handler, %u clients: ours %.0f/s p50 %.0f us, the peer %.0f/s p50 %.0f us", clients, ours.per_s, ours.p50_us,
                   theirs.per_s, theirs.p50_us);
        char name[64];
        (void)snprintf(name, sizeof name, "invoke_node_%u_beside_peer", clients);
        bench_rate(bench, name, ours.per_s, "invokes/s", theirs.per_s, 1);
    }
}

int main(int argc, char **argv)
{
    struct bench bench;

    (void)signal(SIGPIPE, SIG_IGN);
    bench_init(&bench, argc, argv, "invoke: RequestResponse beside a bare loop, parked instances, cold starts");
    rows_of(&bench, 1);
    rows_of(&bench, CLIENTS_MANY);
    row_parked(&bench);
    for (size_t i = 0; i < sizeof runtimes / sizeof *runtimes; i++)
        row_cold(&bench, &runtimes[i]);
    if (getenv("SLUICE_PEER") != NULL)
        rows_of_peer(&bench, getenv("SLUICE_PEER"));
    return bench_done(&bench);
}
