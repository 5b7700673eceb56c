/* harness.h - what every bench needs: a daemon of its own, a clock, the machine's line, rows.
 *
 * A row is a measured value beside its floor, both of the same run; ratio is bigger-is-better: value / floor for rates, limit / value
 * for times (then `floor` holds the limit). Printed as a table, or with --json one object a line. */
#ifndef SLUICE_BENCH_HARNESS_H
#define SLUICE_BENCH_HARNESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct bench {
    bool json, brief;            /* --json; --brief: a short form for ./check */
    int rounds;                  /* runs per row, the median counts; --rounds N */
    char directory[256];         /* fresh, on the disk that TMPDIR (default /var/tmp) names; removed by bench_done() */
    char build[4096];            /* the build tree, found from our own path */
};

struct bench_daemon {
    pid_t pid;
    char url[512], data[512], config[512], log[512];
    char listen[1024];           /* its `listen:` line, for a configuration to be reloaded */
    unsigned http_port;          /* 0: it has none */
    double ready_s;              /* from exec to the line `ready` */
};

void bench_init(struct bench *bench, int argc, char **argv, const char *what);
int bench_done(struct bench *bench); /* exit status: 1 if a row was below half its target */

double bench_now(void); /* seconds, monotonic */
double bench_median(double *values, size_t count);
double bench_percentile(double *values, size_t count, double percent);

/* Rates: ratio = value / floor; met when ratio >= target. */
void bench_rate(struct bench *bench, const char *name, double value, const char *unit, double floor, double target);
/* Rates with an absolute target. */
void bench_at_least(struct bench *bench, const char *name, double value, const char *unit, double target);
/* Times and sizes: at most `limit`. */
void bench_at_most(struct bench *bench, const char *name, double value, const char *unit, double limit);
void bench_note(struct bench *bench, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Starts sluiced with `yaml` (after `listen:`), waits until it is ready; exits with a message if it is not within 30 s. */
void bench_daemon_start(struct bench *bench, struct bench_daemon *daemon, const char *name, const char *yaml);
/* The same with an HTTP port, any free one: daemon->http_port. */
void bench_daemon_start_http(struct bench *bench, struct bench_daemon *daemon, const char *name, const char *yaml);
void bench_daemon_again(struct bench *bench, struct bench_daemon *daemon, const char *yaml); /* on the same data */
void bench_daemon_stop(struct bench_daemon *daemon);
/* A control call; the result must be freed. */
char *bench_control(const struct bench_daemon *daemon, const char *command, const char *arguments);
/* The number after "name": in the first place it is found in JSON text from `from` on; -1: not there. */
double bench_number(const char *json, const char *from, const char *name);
/* RssAnon + RssShmem of the daemon, bytes; RssFile in *ret_file. */
double bench_rss(const struct bench_daemon *daemon, double *ret_file);

/* The floor of every durable rate: `block` bytes appended to a growing file and fdatasync'ed, one at a time. */
struct bench_floor {
    double per_s, p50_s;
};
struct bench_floor bench_fdatasync(struct bench *bench, size_t block, double seconds);
/* The floor of every process: posix_spawn of argv with stdin and stdout on pipes, waited for; rate with `parallel` at once. */
double bench_spawn_rate(char *const argv[], unsigned parallel, double seconds);

#endif
