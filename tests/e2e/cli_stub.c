/* cli_stub.c - stands in for libsluice in a second build of the `sluice` tool, so that what it asks and prints can be tested
 * without a daemon. $CLI_STUB names a folder:
 *   COMMAND     what the control call answers: the n-th call of the process gets the n-th line, the last line repeats;
 *               "!CODE TEXT" is an error
 *   calls       is written: a line "COMMAND ARGUMENTS" per control call
 *   published   is written: a line per event that was taken
 * The bus of an event says what becomes of it: "nosuch" is refused, "full" is ELIMIT every second time, "silent" gets no
 * answer. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sluice/producer.h"

enum { STUB_SILENT_MAX = 16, STUB_COMMANDS_MAX = 8 };

struct sluice_producer {
    FILE *published;
    bool full_once;
    struct { sluice_ack *ack; void *user; } silent[STUB_SILENT_MAX];
    unsigned silent_count;
    uint64_t acked;
};

static FILE *stub_open(const char *name, const char *mode)
{
    char path[4096];
    const char *folder = getenv("CLI_STUB");
    (void)snprintf(path, sizeof path, "%s/%s", folder == NULL ? "." : folder, name);
    return fopen(path, mode);
}

/* The n-th line of the file, without its line break; malloc'ed. NULL: no file. */
static char *stub_line(const char *name, unsigned n)
{
    FILE *file = stub_open(name, "r");
    char *line = NULL;
    size_t capacity = 0;
    ssize_t len;
    if (file == NULL)
        return NULL;
    for (unsigned i = 0; i <= n && (len = getline(&line, &capacity, file)) > 0; i++) {
        if (line[len - 1] == '\n')
            line[len - 1] = '\0';
    }
    (void)fclose(file);
    return line;
}

static unsigned stub_calls_count(const char *command)
{
    static struct { char name[64]; unsigned count; } commands[STUB_COMMANDS_MAX];
    for (unsigned i = 0; i < STUB_COMMANDS_MAX; i++) {
        if (commands[i].name[0] == '\0')
            (void)snprintf(commands[i].name, sizeof commands[i].name, "%s", command);
        if (strcmp(commands[i].name, command) == 0)
            return commands[i].count++;
    }
    abort();
}

enum sluice_err sluice_control(const char *url, const char *command, const char *arguments, int timeout_ms, char **ret_result,
                               struct sluice_error *reterr)
{
    (void)url;
    (void)timeout_ms;
    FILE *calls = stub_open("calls", "a");
    if (calls != NULL) {
        fprintf(calls, "%s %s\n", command, arguments);
        (void)fclose(calls);
    }
    char *line = stub_line(command, stub_calls_count(command)), *text;
    if (line == NULL)
        return sluice_fail(reterr, SLUICE_EUNAVAILABLE, "no daemon at stub");
    if (line[0] != '!') {
        *ret_result = line;
        return SLUICE_OK;
    }
    enum sluice_err err = (enum sluice_err)strtol(line + 1, &text, 10);
    err = sluice_fail(reterr, err, "%s", text + 1);
    free(line);
    return err;
}

size_t sluice_url_default(char *buffer, size_t buffer_len)
{
    return (size_t)snprintf(buffer, buffer_len, "ipc:///stub");
}

enum sluice_err sluice_producer_open(const struct sluice_producer_options *options, struct sluice_producer **ret_producer,
                                     struct sluice_error *reterr)
{
    (void)options;
    struct sluice_producer *producer = calloc(1, sizeof *producer);
    if (producer == NULL || (producer->published = stub_open("published", "a")) == NULL) {
        free(producer);
        return sluice_fail(reterr, SLUICE_EIO, "no $CLI_STUB folder");
    }
    *ret_producer = producer;
    return SLUICE_OK;
}

static const char *or_dash(const char *text)
{
    return text == NULL ? "-" : text;
}

static void stub_write(FILE *out, const struct sluice_event *event)
{
    fprintf(out, "source=%s type=%s bus=%s id=%s time=%" PRId64 " account=%s region=%s key=%s not-before=%" PRId64 " resources=",
            event->source, event->type, or_dash(event->bus), or_dash(event->id), event->time_ms, or_dash(event->account),
            or_dash(event->region), or_dash(event->key), event->not_before_ms);
    for (unsigned i = 0; event->resources != NULL && event->resources[i] != NULL; i++)
        fprintf(out, "%s%s", i == 0 ? "" : ",", event->resources[i]);
    fprintf(out, " detail=%.*s\n", (int)(event->detail_len == 0 ? strlen(event->detail) : event->detail_len), event->detail);
}

enum sluice_err sluice_publish_async(struct sluice_producer *producer, const struct sluice_event *event, sluice_ack *ack,
                                     void *user, struct sluice_error *reterr)
{
    const char *bus = or_dash(event->bus);
    struct sluice_error error;
    if (strcmp(bus, "full") == 0 && (producer->full_once = !producer->full_once))
        return sluice_fail(reterr, SLUICE_ELIMIT, "the buffer is full");
    if (strcmp(bus, "nosuch") == 0) {
        ack(user, sluice_fail(&error, SLUICE_ENOTFOUND, "no bus 'nosuch'"), &error);
        return SLUICE_OK;
    }
    stub_write(producer->published, event);
    if (strcmp(bus, "silent") == 0 && producer->silent_count < STUB_SILENT_MAX) {
        producer->silent[producer->silent_count].ack = ack;
        producer->silent[producer->silent_count++].user = user;
        return SLUICE_OK;
    }
    producer->acked++;
    ack(user, SLUICE_OK, NULL);
    return SLUICE_OK;
}

enum sluice_err sluice_producer_flush(struct sluice_producer *producer, int timeout_ms, uint64_t *ret_unconfirmed)
{
    (void)timeout_ms;
    if (ret_unconfirmed != NULL)
        *ret_unconfirmed = producer->silent_count;
    return producer->silent_count == 0 ? SLUICE_OK : SLUICE_ETIMEDOUT;
}

enum sluice_err sluice_producer_close(struct sluice_producer *producer, int timeout_ms, uint64_t *ret_unconfirmed)
{
    struct sluice_error error;
    enum sluice_err err = sluice_producer_flush(producer, timeout_ms, ret_unconfirmed);
    for (unsigned i = 0; i < producer->silent_count; i++)
        producer->silent[i].ack(producer->silent[i].user, sluice_fail(&error, SLUICE_EUNAVAILABLE, "closed"), &error);
    (void)fclose(producer->published);
    free(producer);
    return err;
}

void sluice_producer_stats(struct sluice_producer *producer, struct sluice_producer_stats *ret_stats)
{
    *ret_stats = (struct sluice_producer_stats){ .acked = producer->acked, .connected = true };
}
