/* journal FOLDER: a consumer daemon that keeps a copy of every event, a line of JSON each, in one file a day (UTC, of the event's time).
 *
 * Each batch is on the disk before it is acknowledged. An event may come twice, for a connection can be lost between the two: its id
 * tells. Started by the daemon as the `command` of a function, or on its own, here or on another host (SLUICE_FUNCTION); see README.md. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <sluice/function.h>

enum { DAY_TEXT_LEN = 10 };      /* 2026-11-22 */

static void day_of(int64_t time_ms, char ret_day[DAY_TEXT_LEN + 1])
{
    time_t seconds = (time_t)(time_ms / 1000);
    struct tm fields;

    if (gmtime_r(&seconds, &fields) == NULL || fields.tm_year > 9999 - 1900 || fields.tm_year < 1970 - 1900 ||
        strftime(ret_day, DAY_TEXT_LEN + 1, "%Y-%m-%d", &fields) != DAY_TEXT_LEN)
        (void)snprintf(ret_day, DAY_TEXT_LEN + 1, "0000-00-00"); /* a time that no calendar has */
}

/* All or nothing is not promised by a write, but that it is there afterwards: what is torn is written once more. */
static bool append(const char *folder, const char *day, const char *lines, size_t len)
{
    char path[4096];

    if (snprintf(path, sizeof path, "%s/%s.jsonl", folder, day) >= (int)sizeof path)
        return false;
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
    if (fd < 0)
        return false;
    bool written = write(fd, lines, len) == (ssize_t)len && fdatasync(fd) == 0;
    return close(fd) == 0 && written;
}

static void fail_from(struct sluice_delivery *const *deliveries, size_t from, size_t to, enum sluice_err *codes, const char *why)
{
    for (size_t i = from; i < to; i++) {
        codes[i] = SLUICE_EIO;
        sluice_function_fail(deliveries[i], "CannotWrite", why);
    }
}

/* Deliveries from..to are of one day: one append. */
static void keep(const char *folder, struct sluice_delivery *const *deliveries, size_t from, size_t to, const char *day,
                 enum sluice_err *codes)
{
    char *lines = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&lines, &len);

    for (size_t i = from; i < to && out != NULL; i++)
        (void)fprintf(out, "%s\n", deliveries[i]->envelope_json(deliveries[i])); /* fclose tells */
    if (out == NULL || fclose(out) != 0 || !append(folder, day, lines, len))
        fail_from(deliveries, from, to, codes, strerror(errno));
    free(lines);
}

static void handle_batch(void *user, struct sluice_delivery *const *deliveries, size_t count, enum sluice_err *codes)
{
    size_t from = 0;

    while (from < count) {
        char day[DAY_TEXT_LEN + 1], next[DAY_TEXT_LEN + 1];
        size_t to = from + 1;
        day_of(deliveries[from]->time_ms, day);
        for (; to < count; to++) {
            day_of(deliveries[to]->time_ms, next);
            if (strcmp(day, next) != 0)
                break;
        }
        keep(user, deliveries, from, to, day, codes);
        from = to;
    }
}

int main(int argc, char **argv)
{
    if (argc != 2 || access(argv[1], W_OK | X_OK) != 0) {
        (void)fprintf(stderr, argc != 2 ? "usage: sluice-example-journal FOLDER\n" : "sluice-example-journal: %s: %s\n", argv[1],
                      strerror(errno));
        return argc != 2 ? 2 : 1;
    }
    return sluice_function_run(&(struct sluice_function){ .handle_batch = handle_batch, .user = argv[1] });
}
