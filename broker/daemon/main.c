/* sluiced: see sluiced(8). */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "broker/daemon/broker.h"
#include "broker/edge/log.h"

enum { EXIT_USAGE = 2 };

static int usage(const char *what, const char *which)
{
    (void)fprintf(stderr, "sluiced: %s%s; usage: sluiced --config FILE|DIR [--data DIR] [--check] [--verbose]\n", what, which);
    return EXIT_USAGE;
}

static int check(const char *path, const char *runtimes)
{
    struct config_file *file = config_file_load(path, runtimes, stderr, NULL);

    if (file == NULL)
        return 1;
    (void)printf("%s: ok, %u functions, %u rules\n", path, file->config.functions_count, file->config.rules_count);
    config_file_free(file);
    return 0;
}

/* As many descriptors as we may have: each instance takes a few, each producer one. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        { "config", required_argument, NULL, 'c' }, { "data", required_argument, NULL, 'd' },    { "check", no_argument, NULL, 'k' },
        { "spawner", required_argument, NULL, 's' }, { "version", no_argument, NULL, 'v' },       { "help", no_argument, NULL, 'h' },
        { "verbose", no_argument, NULL, 'V' },       { NULL, 0, NULL, 0 },
    };
    static char runtimes[CONFIG_PATH_BYTES_MAX];
    struct broker_options broker_options = { .program = "/proc/self/exe", /* also after the file was replaced */
                                             .runtimes = config_runtimes_find(runtimes) };
    bool only_check = false;
    int option;

    opterr = 0;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 'c': broker_options.config_path = optarg; break;
        case 'd': broker_options.data = optarg; break;
        case 'k': only_check = true; break;
        case 's': return spawner_main(optarg); /* not for people: how the daemon starts its own helper */
        case 'V': log_set_level(LOG_DEBUG); break;
        case 'v': (void)puts("sluiced " SLUICE_VERSION); return 0;
        case 'h': (void)puts("usage: sluiced --config FILE|DIR [--data DIR] [--check] [--verbose]\nsee sluiced(8)"); return 0;
        default: return usage("unknown or incomplete option ", argv[optind - 1]);
        }
    }
    if (optind < argc)
        return usage("unexpected argument ", argv[optind]);
    if (broker_options.config_path == NULL)
        return usage("--config is missing", "");
    if (only_check)
        return check(broker_options.config_path, broker_options.runtimes);
    raise_descriptor_limit();
    struct broker *broker = calloc(1, sizeof *broker);
    if (broker == NULL)
        return 1;
    int status = broker_open(broker, &broker_options) ? broker_run(broker) : 1;
    broker_close(broker);
    free(broker);
    return status;
}
