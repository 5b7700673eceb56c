/* sluice-files: options, signals, the loop. What it does is in source.h; how it is used, in sluice-files(1). */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "producers/sources/files/source.h"

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };
enum { PATTERNS_MAX = 64, DIRECTORIES_MAX = 64, SETTLE_MS_MAX = 24 * 3600000 };

static const char usage_text[] =
    "usage: sluice-files [--url URL] [--bus NAME] [--ignore PATTERN]... [--once]\n"
    "                    {--bucket NAME --state FILE [--include PATTERN]... [--exclude PATTERN]... [--settle TIME] DIR}...\n"
    "Publishes an `Object Created` event for every file that is written into a DIR or below, and `Object Deleted` for every one of\n"
    "them that goes; see sluice-files(1).\n";

struct patterns {
    const char *items[PATTERNS_MAX + 1]; /* NULL-terminated */
    unsigned count;
};

/* One directory, and the options that stood before it. */
struct watched {
    struct patterns include, exclude;
    struct source_options options;
    struct source *source;
};

struct arguments {
    struct patterns ignore;
    const char *url, *bus;
    bool once;
    struct watched watched[DIRECTORIES_MAX];
    unsigned count;
};

static void log_line(void *ctx, const char *line)
{
    (void)ctx;
    (void)fprintf(stderr, "%s\n", line);
}

/* The stop signals are blocked and stay pending until this reads them, so that no thread of a library takes one. */
static bool stop_asked(void *ctx)
{
    static const struct timespec at_once;
    sigset_t *signals = ctx;
    static bool asked;

    asked = asked || sigtimedwait(signals, NULL, &at_once) > 0;
    return asked;
}

static int usage_error(const char *text, const char *what)
{
    (void)fprintf(stderr, "sluice-files: %s%s; try `sluice-files --help`\n", text, what);
    return EXIT_USAGE;
}

static bool pattern_add(struct patterns *patterns, const char *pattern)
{
    if (patterns->count == PATTERNS_MAX)
        return false;
    patterns->items[patterns->count++] = pattern;
    return true;
}

/* 250ms, 5s, 2m: as in the daemon's configuration. */
static bool time_parse(const char *text, int64_t *ret_ms)
{
    static const struct { const char *unit; int64_t ms; } units[] = { { "ms", 1 }, { "s", 1000 }, { "m", 60000 }, { "h", 3600000 } };
    char *end;

    if (*text < '0' || *text > '9')
        return false;
    errno = 0;
    long long number = strtoll(text, &end, 10);
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (strcmp(end, units[i].unit) != 0)
            continue;
        if (errno != 0 || number > SETTLE_MS_MAX / units[i].ms)
            return false;
        *ret_ms = number * units[i].ms;
        return true;
    }
    return false;
}

/* A directory ends the group of its options. */
static int directory_take(struct arguments *arguments, const char *directory)
{
    struct watched *watched = &arguments->watched[arguments->count];

    if (watched->options.bucket == NULL || *watched->options.bucket == '\0')
        return usage_error("--bucket NAME is missing before directory ", directory);
    if (watched->options.state_path == NULL)
        return usage_error("--state FILE is missing before directory ", directory);
    for (unsigned i = 0; i < arguments->count; i++) {
        if (strcmp(arguments->watched[i].options.bucket, watched->options.bucket) == 0)
            return usage_error("two directories have the bucket ", watched->options.bucket);
    }
    watched->options.directory = directory;
    arguments->count++;
    return -1;
}

/* -1: go on; else the exit status. */
static int parse(int argc, char **argv, struct arguments *arguments)
{
    enum { DIRECTORY = 1 /* what getopt gives an argument that is no option */, BUCKET = 256, STATE, URL, BUS, IGNORE, INCLUDE, EXCLUDE,
           SETTLE, ONCE, HELP, VERSION };
    static const struct option known[] = {
        { "bucket", required_argument, NULL, BUCKET },
        { "state", required_argument, NULL, STATE },
        { "url", required_argument, NULL, URL },
        { "bus", required_argument, NULL, BUS },
        { "ignore", required_argument, NULL, IGNORE },
        { "include", required_argument, NULL, INCLUDE },
        { "exclude", required_argument, NULL, EXCLUDE },
        { "settle", required_argument, NULL, SETTLE },
        { "once", no_argument, NULL, ONCE },
        { "help", no_argument, NULL, HELP },
        { "version", no_argument, NULL, VERSION },
        { NULL, 0, NULL, 0 },
    };
    int option;

    while ((option = getopt_long(argc, argv, "-", known, NULL)) != -1) {
        if (arguments->count == DIRECTORIES_MAX && (option == DIRECTORY || option == BUCKET))
            return usage_error("too many directories: ", optarg);
        struct watched *watched = &arguments->watched[arguments->count < DIRECTORIES_MAX ? arguments->count : DIRECTORIES_MAX - 1];
        int status = -1;
        switch (option) {
        case DIRECTORY: status = directory_take(arguments, optarg); break;
        case BUCKET: watched->options.bucket = optarg; break;
        case STATE: watched->options.state_path = optarg; break;
        case URL: arguments->url = optarg; break;
        case BUS: arguments->bus = optarg; break;
        case IGNORE:
            if (!pattern_add(&arguments->ignore, optarg))
                return usage_error("too many --ignore patterns: ", optarg);
            break;
        case INCLUDE:
            if (!pattern_add(&watched->include, optarg))
                return usage_error("too many --include patterns: ", optarg);
            break;
        case EXCLUDE:
            if (!pattern_add(&watched->exclude, optarg))
                return usage_error("too many --exclude patterns: ", optarg);
            break;
        case SETTLE:
            if (!time_parse(optarg, &watched->options.settle_ms))
                return usage_error("--settle must be a time from 0ms to 24h, such as 5s, not ", optarg);
            break;
        case ONCE: arguments->once = true; break;
        case HELP: return fputs(usage_text, stdout) < 0 ? EXIT_FAILED : EXIT_DONE;
        case VERSION: return puts("sluice-files " SLUICE_VERSION) < 0 ? EXIT_FAILED : EXIT_DONE;
        default: return EXIT_USAGE; /* getopt said what is wrong */
        }
        if (status >= 0)
            return status;
    }
    for (; optind < argc; optind++) { /* after "--" */
        if (arguments->count == DIRECTORIES_MAX)
            return usage_error("too many directories: ", argv[optind]);
        int status = directory_take(arguments, argv[optind]);
        if (status >= 0)
            return status;
    }
    const struct watched *last = &arguments->watched[arguments->count % DIRECTORIES_MAX];
    if (arguments->count == 0)
        return usage_error("the directory to watch is missing", "");
    if (arguments->count < DIRECTORIES_MAX && last->options.bucket != NULL)
        return usage_error("no directory follows --bucket ", last->options.bucket);
    return -1;
}

static void options_fill(struct arguments *arguments, sigset_t *signals)
{
    for (unsigned i = 0; i < arguments->count; i++) {
        struct watched *watched = &arguments->watched[i];
        watched->options.url = arguments->url;
        watched->options.bus = arguments->bus;
        watched->options.ignore = arguments->ignore.items;
        watched->options.include = watched->include.items;
        watched->options.exclude = watched->exclude.items;
        watched->options.stopping = stop_asked;
        watched->options.log = log_line;
        watched->options.ctx = signals;
    }
}

/* The soonest that any of them has something to do; -1: never. */
static int wait_ms(const struct arguments *arguments)
{
    int soonest = -1;

    for (unsigned i = 0; i < arguments->count; i++) {
        int wait = source_wait_ms(arguments->watched[i].source);
        if (wait >= 0 && (soonest < 0 || wait < soonest))
            soonest = wait;
    }
    return soonest;
}

/* Until stopped; with --once, until nothing has to be looked at again. */
static enum sluice_err serve(struct arguments *arguments, int signal_fd, struct sluice_error *reterr)
{
    struct pollfd fds[DIRECTORIES_MAX + 1] = { { .fd = signal_fd, .events = POLLIN } };

    for (unsigned i = 0; i < arguments->count; i++)
        fds[i + 1] = (struct pollfd){ .fd = source_fd(arguments->watched[i].source), .events = POLLIN };
    while (!arguments->once || wait_ms(arguments) >= 0) {
        int ready = poll(fds, arguments->count + 1, wait_ms(arguments));
        if (ready < 0 && errno != EINTR)
            return sluice_fail(reterr, SLUICE_EIO, "cannot wait for files: %m");
        if (ready > 0 && fds[0].revents != 0)
            return SLUICE_OK;
        for (unsigned i = 0; i < arguments->count; i++) {
            struct source *source = arguments->watched[i].source;
            if ((ready <= 0 || fds[i + 1].revents == 0) && source_wait_ms(source) != 0)
                continue;
            enum sluice_err err = source_step(source, reterr);
            if (err != SLUICE_OK)
                return err;
        }
    }
    return SLUICE_OK;
}

static enum sluice_err run(struct arguments *arguments, int signal_fd, struct sluice_error *reterr)
{
    struct source_stats stats;

    for (unsigned i = 0; i < arguments->count; i++) {
        struct source *source = arguments->watched[i].source;
        enum sluice_err err = source_start(source, reterr);
        if (err == SLUICE_OK)
            err = source_stats(source, &stats, reterr);
        if (err != SLUICE_OK)
            return err;
        if (!arguments->once)
            (void)fprintf(stderr, "watching directories=%u known=%" PRIu64 " bucket=%s\n", stats.directories, stats.known,
                          arguments->watched[i].options.bucket);
    }
    return serve(arguments, signal_fd, reterr);
}

/* What was done, a line for each directory. */
static void farewell(const struct arguments *arguments)
{
    struct source_stats stats;
    struct sluice_error error;

    for (unsigned i = 0; i < arguments->count; i++) {
        if (source_stats(arguments->watched[i].source, &stats, &error) == SLUICE_OK)
            (void)fprintf(stderr, "stopped published=%" PRIu64 " refused=%" PRIu64 " unconfirmed=%u known=%" PRIu64 " bucket=%s\n",
                          stats.published, stats.refused, stats.unconfirmed, stats.known, arguments->watched[i].options.bucket);
    }
}

static void sources_close(struct arguments *arguments)
{
    for (unsigned i = 0; i < arguments->count; i++)
        arguments->watched[i].source = source_close(arguments->watched[i].source);
}

/* All are opened before the first publishes: a wrong argument is told at once. */
static enum sluice_err sources_open(struct arguments *arguments, struct sluice_error *reterr)
{
    enum sluice_err err = SLUICE_OK;

    for (unsigned i = 0; i < arguments->count && err == SLUICE_OK; i++)
        err = source_open(&arguments->watched[i].options, &arguments->watched[i].source, reterr);
    if (err != SLUICE_OK)
        sources_close(arguments);
    return err;
}

int main(int argc, char **argv)
{
    static struct arguments arguments;
    struct sluice_error error;
    sigset_t signals;

    int status = parse(argc, argv, &arguments);
    if (status >= 0)
        return status;
    (void)signal(SIGIO, SIG_IGN); /* of a lease that a writer broke, see object.c */
    (void)signal(SIGPIPE, SIG_IGN);
    (void)sigemptyset(&signals);
    (void)sigaddset(&signals, SIGTERM);
    (void)sigaddset(&signals, SIGINT);
    (void)sigprocmask(SIG_BLOCK, &signals, NULL); /* before the producer starts its threads: they inherit it */
    int signal_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
    if (signal_fd < 0) {
        (void)fprintf(stderr, "sluice-files: cannot wait for signals: %s\n", strerror(errno));
        return EXIT_FAILED;
    }
    options_fill(&arguments, &signals);
    enum sluice_err err = sources_open(&arguments, &error);
    if (err == SLUICE_OK) {
        err = run(&arguments, signal_fd, &error);
        farewell(&arguments);
        if (err == SLUICE_EUNAVAILABLE && stop_asked(&signals))
            err = SLUICE_OK;
        sources_close(&arguments);
    }
    if (err != SLUICE_OK)
        (void)fprintf(stderr, "sluice-files: %s\n", error.text);
    (void)close(signal_fd);
    return err == SLUICE_OK ? EXIT_DONE : EXIT_FAILED;
}
