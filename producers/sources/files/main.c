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
enum { IGNORE_MAX = 64 };

static const char usage_text[] =
    "usage: sluice-files --bucket NAME --state FILE [--url URL] [--bus NAME] [--ignore PATTERN]... [--once] DIR\n"
    "Publishes an `Object Created` event for every file that is written into DIR or below; see sluice-files(1).\n";

struct arguments {
    struct source_options source;
    const char *ignore[IGNORE_MAX + 1];
    bool once;
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

/* -1: go on; else the exit status. */
static int parse(int argc, char **argv, struct arguments *arguments)
{
    enum { BUCKET = 256, STATE, URL, BUS, IGNORE, ONCE, HELP, VERSION };
    static const struct option known[] = {
        { "bucket", required_argument, NULL, BUCKET },
        { "state", required_argument, NULL, STATE },
        { "url", required_argument, NULL, URL },
        { "bus", required_argument, NULL, BUS },
        { "ignore", required_argument, NULL, IGNORE },
        { "once", no_argument, NULL, ONCE },
        { "help", no_argument, NULL, HELP },
        { "version", no_argument, NULL, VERSION },
        { NULL, 0, NULL, 0 },
    };
    unsigned ignored = 0;
    int option;

    while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
        switch (option) {
        case BUCKET: arguments->source.bucket = optarg; break;
        case STATE: arguments->source.state_path = optarg; break;
        case URL: arguments->source.url = optarg; break;
        case BUS: arguments->source.bus = optarg; break;
        case IGNORE:
            if (ignored == IGNORE_MAX)
                return usage_error("too many --ignore patterns: ", optarg);
            arguments->ignore[ignored++] = optarg;
            break;
        case ONCE: arguments->once = true; break;
        case HELP: return fputs(usage_text, stdout) < 0 ? EXIT_FAILED : EXIT_DONE;
        case VERSION: return puts("sluice-files " SLUICE_VERSION) < 0 ? EXIT_FAILED : EXIT_DONE;
        default: return EXIT_USAGE; /* getopt said what is wrong */
        }
    }
    if (arguments->source.bucket == NULL || *arguments->source.bucket == '\0')
        return usage_error("--bucket NAME is missing", "");
    if (arguments->source.state_path == NULL)
        return usage_error("--state FILE is missing", "");
    if (optind + 1 != argc)
        return usage_error(optind == argc ? "the directory to watch is missing" : "one directory only: ",
                           optind == argc ? "" : argv[optind + 1]);
    arguments->source.directory = argv[optind];
    arguments->source.ignore = arguments->ignore;
    return -1;
}

static enum sluice_err serve(struct source *source, int signal_fd, struct sluice_error *reterr)
{
    struct pollfd fds[] = { { .fd = source_fd(source), .events = POLLIN }, { .fd = signal_fd, .events = POLLIN } };

    for (;;) {
        int ready = poll(fds, 2, source_wait_ms(source));
        if (ready < 0 && errno != EINTR)
            return sluice_fail(reterr, SLUICE_EIO, "cannot wait for files: %m");
        if (ready > 0 && fds[1].revents != 0)
            return SLUICE_OK;
        enum sluice_err err = source_step(source, reterr);
        if (err != SLUICE_OK)
            return err;
    }
}

static enum sluice_err run(struct source *source, const struct arguments *arguments, int signal_fd, struct sluice_error *reterr)
{
    struct source_stats stats;

    enum sluice_err err = source_start(source, reterr);
    if (err == SLUICE_OK)
        err = source_stats(source, &stats, reterr);
    if (err != SLUICE_OK || arguments->once)
        return err;
    (void)fprintf(stderr, "watching directories=%u known=%" PRIu64 " bucket=%s\n", stats.directories, stats.known,
                  arguments->source.bucket);
    return serve(source, signal_fd, reterr);
}

/* What was done, in one line, and the exit status. */
static int farewell(struct source *source, enum sluice_err err, bool stopped, const struct sluice_error *why)
{
    struct source_stats stats;
    struct sluice_error error;

    if (source_stats(source, &stats, &error) == SLUICE_OK)
        (void)fprintf(stderr, "stopped published=%" PRIu64 " refused=%" PRIu64 " unconfirmed=%u known=%" PRIu64 "\n",
                      stats.published, stats.refused, stats.unconfirmed, stats.known);
    if (err == SLUICE_OK || stopped)
        return EXIT_DONE;
    (void)fprintf(stderr, "sluice-files: %s\n", why->text);
    return EXIT_FAILED;
}

int main(int argc, char **argv)
{
    static struct arguments arguments;
    struct source *source = NULL;
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
    arguments.source.stopping = stop_asked;
    arguments.source.log = log_line;
    arguments.source.ctx = &signals;

    enum sluice_err err = source_open(&arguments.source, &source, &error);
    if (err != SLUICE_OK) {
        (void)fprintf(stderr, "sluice-files: %s\n", error.text);
        return EXIT_FAILED;
    }
    err = run(source, &arguments, signal_fd, &error);
    status = farewell(source, err, err == SLUICE_EUNAVAILABLE && stop_asked(&signals), &error);
    source_close(source);
    (void)close(signal_fd);
    return status;
}
