/* publisher FILE: publishes bursts on command and keeps its own book of what was acked: the judge of the kill loop.
 *
 *   stdin   "burst N"  -> N events more, numbered on from the last      "flush" -> waits for all answers, says "flushed UNCONFIRMED"
 *   FILE    two u64, mapped by the test: submitted, acked (so that it can kill at a moment of its choice)
 *   FILE.acked   the number of each acked event, a line each, in order of acks; complete when the program ends
 * Event n goes to the function that detail.to names: see event_to(). */
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <sluice/producer.h>

struct counts {
    _Atomic uint64_t submitted, acked, refused;
};
static struct counts *counts;
static FILE *acked_file;

static void on_ack(void *user, enum sluice_err code, const struct sluice_error *error)
{
    if (code != SLUICE_OK) {
        (void)fprintf(stderr, "event %ju: %s\n", (uintmax_t)(uintptr_t)user, error->text);
        counts->refused++;
        return;
    }
    (void)fprintf(acked_file, "%ju\n", (uintmax_t)(uintptr_t)user); /* acks come one at a time */
    counts->acked++;
}

/* Most are quick lines; some go to functions that are slow, native, or always fail. */
static const char *event_to(uint64_t number)
{
    if (number % 1000 == 7)
        return "slow";
    if (number % 1000 == 13)
        return "fails";
    return number % 4 == 1 ? "native" : "lines";
}

int main(int argc, char **argv)
{
    struct sluice_producer *producer;
    struct sluice_error error;
    char path[4096], command[64], detail[128];
    uint64_t number = 0;

    if (argc != 2) {
        (void)fprintf(stderr, "usage: publisher FILE\n");
        return 2;
    }
    int fd = open(argv[1], O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, sizeof *counts) != 0 ||
        (counts = mmap(NULL, sizeof *counts, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)) == MAP_FAILED) {
        perror(argv[1]);
        return 1;
    }
    (void)snprintf(path, sizeof path, "%s.acked", argv[1]);
    acked_file = fopen(path, "we");
    if (acked_file == NULL) {
        perror(path);
        return 1;
    }
    struct sluice_producer_options options = { .batch_events = 100, .window_batches = 16 };
    if (sluice_producer_open(&options, &producer, &error) != SLUICE_OK) {
        (void)fprintf(stderr, "%s\n", error.text);
        return 1;
    }
    while (fgets(command, sizeof command, stdin) != NULL) {
        unsigned long long burst;
        if (sscanf(command, "burst %llu", &burst) == 1) {
            for (uint64_t last = number + burst; number < last;) {
                number++;
                (void)snprintf(detail, sizeof detail, "{\"n\":%ju,\"to\":\"%s\"}", (uintmax_t)number, event_to(number));
                struct sluice_event event = { .source = "kill.loop", .type = "numbered", .detail = detail };
                if (sluice_publish_async(producer, &event, on_ack, (void *)(uintptr_t)number, &error) != SLUICE_OK) {
                    (void)fprintf(stderr, "%s\n", error.text);
                    return 1;
                }
                counts->submitted++;
            }
        } else {
            uint64_t unconfirmed = 0;
            (void)sluice_producer_flush(producer, 60000, &unconfirmed);
            (void)fflush(acked_file);
            (void)printf("flushed %ju\n", (uintmax_t)unconfirmed);
            (void)fflush(stdout);
        }
    }
    uint64_t unconfirmed = 0;
    (void)sluice_producer_close(producer, 10000, &unconfirmed);
    return fclose(acked_file) != 0 || unconfirmed != 0;
}
