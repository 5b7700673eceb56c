/* put.c - `event put`: one event from options, or a file of EventBridge envelopes, one a line.
 *
 * Events are published asynchronously; an ack comes on a thread of the library, which only counts it or notes the refusal.
 * What is said about refusals is said by the main thread, between lines and at the end, so a slow terminal slows reading, not
 * acks.
 * Memory: one line, and what the library holds unanswered (buffer_bytes); a refusal is noted only for an event held there. */
#include "broker/cli/cli.h"
#include "broker/cli/envelope_line.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "schemas/codec/ids.h"
#include "schemas/codec/json.h"
#include "sluice/producer.h"

enum {
    LINE_BYTES_MAX = 8 << 20,          /* bigger than any event: JSON may take more bytes than its encoding */
    PUT_TIMEOUT_S_DEFAULT = 30,
    PROGRESS_AFTER_MS = 1000,          /* also the time after which a missing daemon is mentioned */
    CLOSE_MS = 100,                    /* after a flush that failed: nothing more is expected */
};

struct refusal {
    struct refusal *next;
    uint64_t line;
    enum sluice_err code;
    char text[];
};

struct put {
    struct sluice_producer *producer;
    const char *source_name;           /* of the file, in messages; NULL: the event came from options */
    const char *url;
    int64_t timeout_ms;
    int64_t started_ms, shown_ms;
    bool terminal, progress_shown, waiting_said;
    uint64_t sent, refused_here;       /* refused_here: before they were sent */

    pthread_mutex_t lock;              /* what follows is shared with the library's thread */
    pthread_cond_t answered;
    uint64_t acked, refused, lost;     /* lost: no answer before the end */
    struct refusal *refusals, **refusals_end;
};

/* What an ack needs to know of its event. */
struct pending {
    struct put *put;
    uint64_t line;
};

static int64_t mono_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail for this clock */
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- answers: on the library's thread ---- */

static void note_refusal(struct put *put, uint64_t line, enum sluice_err code, const char *text)
{
    size_t text_bytes = strlen(text) + 1;
    struct refusal *refusal = malloc(sizeof *refusal + text_bytes);
    if (refusal == NULL)
        return; /* it is counted all the same, and the exit status says so */
    *refusal = (struct refusal){ .line = line, .code = code };
    memcpy(refusal->text, text, text_bytes);
    *put->refusals_end = refusal;
    put->refusals_end = &refusal->next;
}

static void on_ack(void *user, enum sluice_err code, const struct sluice_error *error)
{
    struct pending *pending = user;
    struct put *put = pending->put;
    pthread_mutex_lock(&put->lock);
    if (code == SLUICE_OK) {
        put->acked++;
    } else if (code == SLUICE_EUNAVAILABLE) {
        put->lost++;
    } else {
        put->refused++;
        note_refusal(put, pending->line, code, error != NULL ? error->text : sluice_err_name(code));
    }
    pthread_cond_signal(&put->answered);
    pthread_mutex_unlock(&put->lock);
    free(pending);
}

/* ---- talk: on the main thread ---- */

static void progress_clear(struct put *put)
{
    if (put->progress_shown)
        fputs("\r\033[K", stderr);
    put->progress_shown = false;
}

static void say_refused(struct put *put, uint64_t line, const char *text)
{
    progress_clear(put);
    fputs("sluice: ", stderr);
    if (put->source_name != NULL)
        fprintf(stderr, "%s:%" PRIu64 ": ", put->source_name, line);
    fprintf(stderr, "refused: %s\n", text);
}

static void say_refusals(struct put *put)
{
    pthread_mutex_lock(&put->lock);
    struct refusal *refusal = put->refusals;
    put->refusals = NULL;
    put->refusals_end = &put->refusals;
    pthread_mutex_unlock(&put->lock);
    while (refusal != NULL) {
        struct refusal *next = refusal->next;
        say_refused(put, refusal->line, refusal->text);
        free(refusal);
        refusal = next;
    }
}

static void refuse(struct put *put, uint64_t line, const char *text)
{
    put->refused_here++;
    say_refused(put, line, text);
}

/* Called often; shows something at most once a second. */
static void show_progress(struct put *put)
{
    int64_t now = mono_ms();
    if (now - put->shown_ms < PROGRESS_AFTER_MS)
        return;
    put->shown_ms = now;
    say_refusals(put);
    struct sluice_producer_stats stats;
    sluice_producer_stats(put->producer, &stats);
    if (!stats.connected && !put->waiting_said) {
        progress_clear(put);
        fprintf(stderr, "sluice: no daemon answers at %s yet; waiting for it up to %" PRId64 " s\n", put->url,
                put->timeout_ms / 1000);
        put->waiting_said = true;
    }
    if (!put->terminal || put->source_name == NULL)
        return;
    pthread_mutex_lock(&put->lock);
    uint64_t acked = put->acked, refused = put->refused + put->refused_here;
    pthread_mutex_unlock(&put->lock);
    fprintf(stderr, "\r\033[K%" PRIu64 " sent, %" PRIu64 " acked, %" PRIu64 " refused, %.0f/s", put->sent, acked, refused,
            (double)acked * 1000 / (double)(now - put->started_ms));
    put->progress_shown = true;
}

/* Waits for one more answer than `answers`, at most a second, so that progress stays alive. */
static void wait_for_answer(struct put *put, uint64_t answers)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += 1;
    pthread_mutex_lock(&put->lock);
    while (put->acked + put->refused + put->lost == answers &&
           pthread_cond_clockwait(&put->answered, &put->lock, CLOCK_MONOTONIC, &until) == 0)
        ;
    pthread_mutex_unlock(&put->lock);
}

static uint64_t answers_count(struct put *put)
{
    pthread_mutex_lock(&put->lock);
    uint64_t answers = put->acked + put->refused + put->lost;
    pthread_mutex_unlock(&put->lock);
    return answers;
}

/* ---- sending ---- */

/* false: no answer for the whole timeout while the buffer is full, so there is no point in reading on. */
static bool send_event(struct put *put, const struct sluice_event *event, uint64_t line)
{
    struct pending *pending = malloc(sizeof *pending);
    if (pending == NULL) {
        refuse(put, line, "out of memory");
        return true;
    }
    *pending = (struct pending){ .put = put, .line = line };
    struct sluice_error error;
    int64_t waiting_since = mono_ms();
    for (;;) {
        uint64_t answers = answers_count(put);
        enum sluice_err err = sluice_publish_async(put->producer, event, on_ack, pending, &error);
        if (err == SLUICE_OK) {
            put->sent++;
            show_progress(put);
            return true;
        }
        if (err != SLUICE_ELIMIT) {
            free(pending);
            refuse(put, line, error.text);
            return true;
        }
        wait_for_answer(put, answers);
        if (answers_count(put) != answers)
            waiting_since = mono_ms();
        show_progress(put);
        if (mono_ms() - waiting_since >= put->timeout_ms) {
            free(pending);
            refuse(put, line, "not sent: no answer from the daemon to those before it");
            return false;
        }
    }
}

/* Until every event is answered, or no answer came for the whole timeout. */
static void wait_for_all(struct put *put)
{
    int64_t waiting_since = mono_ms();
    uint64_t answers = answers_count(put);
    while (answers < put->sent && mono_ms() - waiting_since < put->timeout_ms) {
        (void)sluice_producer_flush(put->producer, 0, NULL); /* send what lingers; what has no answer yet is waited for here */
        wait_for_answer(put, answers);
        uint64_t now = answers_count(put);
        if (now != answers)
            waiting_since = mono_ms();
        answers = now;
        show_progress(put);
    }
}

/* ---- a file ---- */

static bool put_line(struct put *put, struct view line, uint64_t number, struct envelope_line *scratch)
{
    struct sluice_event event;
    struct sluice_error error;
    if (envelope_line_read(line, scratch, &event, &error) != SLUICE_OK) {
        refuse(put, number, error.text);
        return true;
    }
    return send_event(put, &event, number);
}

static bool line_is_blank(struct view line)
{
    for (size_t i = 0; i < line.len; i++) {
        char c = line.data[i];
        if (c != ' ' && c != '\t' && c != '\r')
            return false;
    }
    return true;
}

/* Lines, the last one with or without its line break. */
struct line_reader {
    int fd;
    char *buffer;                /* LINE_BYTES_MAX */
    size_t begin, end;           /* what is in it and not yet given out */
    uint64_t number;             /* of the line given out last, from 1 */
    bool at_end, too_long;       /* too_long: the line given out was cut; the rest of it is skipped */
};

/* 1: *ret_line holds until the next call; 0: the end; -1: errno. */
static int line_next(struct line_reader *reader, struct put *put, struct view *ret_line)
{
    bool skipping = false;
    size_t looked_at = reader->begin;
    reader->too_long = false;
    for (;;) {
        struct pollfd readable = { .fd = reader->fd, .events = POLLIN };
        char *start = reader->buffer + reader->begin;
        char *stop = memchr(reader->buffer + looked_at, '\n', reader->end - looked_at);
        if (stop != NULL || (reader->at_end && (skipping || reader->end > reader->begin))) {
            size_t len = (size_t)((stop != NULL ? stop : reader->buffer + reader->end) - start);
            reader->begin += len + (stop != NULL);
            reader->number++;
            reader->too_long = skipping;
            *ret_line = (struct view){ .data = start, .len = len };
            return 1;
        }
        if (reader->at_end)
            return 0;
        memmove(reader->buffer, start, reader->end - reader->begin);
        reader->end -= reader->begin;
        reader->begin = 0;
        if (reader->end == LINE_BYTES_MAX) {
            skipping = true;
            reader->end = 0;
        }
        looked_at = reader->end;
        /* A slow pipe must not hold back what there is to say about the lines before. */
        while (poll(&readable, 1, PROGRESS_AFTER_MS) == 0)
            show_progress(put);
        ssize_t got = read(reader->fd, reader->buffer + reader->end, LINE_BYTES_MAX - reader->end);
        if (got < 0 && errno != EINTR)
            return -1;
        reader->at_end = got == 0;
        reader->end += got > 0 ? (size_t)got : 0;
    }
}

/* false: reading stopped before the end of the file, and why was said. */
static bool put_lines(struct put *put, int fd)
{
    struct line_reader reader = { .fd = fd, .buffer = malloc(LINE_BYTES_MAX) };
    struct envelope_line scratch = { 0 };
    struct view line;
    bool going = true;
    int got = -1;
    if (reader.buffer == NULL)
        errno = ENOMEM;
    while (reader.buffer != NULL && going && (got = line_next(&reader, put, &line)) == 1) {
        if (reader.too_long)
            refuse(put, reader.number, "a line longer than 8 MiB");
        else if (!line_is_blank(line))
            going = put_line(put, line, reader.number, &scratch);
    }
    if (got < 0) {
        progress_clear(put);
        (void)cli_failed("%s: cannot read: %s", put->source_name, strerror(errno));
    }
    bytes_done(&scratch.texts);
    free(reader.buffer);
    return got == 0;
}

/* ---- one event from options ---- */

static bool put_one(struct put *put, const struct cli *cli, const char *id)
{
    struct sluice_event event = {
        .source = cli->options[OPTION_SOURCE], .type = cli->options[OPTION_TYPE], .detail = cli->options[OPTION_DETAIL],
        .bus = cli->options[OPTION_BUS], .id = id,
    };
    struct sluice_error error;
    if (json_check(view_of(event.detail), JSON_OBJECT, JSON_DEPTH_MAX, &error) == SLUICE_OK)
        return send_event(put, &event, 0);
    char text[SLUICE_ERROR_TEXT_MAX + 16];
    (void)snprintf(text, sizeof text, "detail: %s", error.text);
    refuse(put, 0, text);
    return true;
}

/* An id of our own making can be printed, to be looked up with `event show`. */
static bool make_id(char ret_text[UUID_TEXT_LEN + 1])
{
    uint8_t random[UUID_BYTES], uuid[UUID_BYTES];
    struct timespec now;
    if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random || clock_gettime(CLOCK_REALTIME, &now) != 0)
        return false;
    uuid7_make((int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000, random, uuid);
    uuid_to_text(uuid, ret_text);
    return true;
}

/* ---- the command ---- */

/* What came of it: data on stdout, talk on stderr. */
static enum cli_exit put_report(struct put *put, const struct cli *cli, const char *id, bool complete)
{
    uint64_t refused = put->refused + put->refused_here;
    bool all_acked = complete && refused == 0 && put->lost == 0;
    if (cli->json) {
        printf("{\"acked\":%" PRIu64 ",\"refused\":%" PRIu64 ",\"unconfirmed\":%" PRIu64, put->acked, refused, put->lost);
        if (id != NULL) {
            struct bytes text = { 0 };
            json_put_string(&text, view_of(id));
            printf(",\"id\":%.*s", VIEW_ARGS(bytes_view(&text)));
            bytes_done(&text);
        }
        puts("}");
    } else if (id != NULL && all_acked) {
        puts(id);
    }
    if (put->lost > 0)
        (void)cli_failed("%" PRIu64 " events have no answer from the daemon at %s: they may be on disk or not", put->lost,
                         put->url);
    if (put->source_name != NULL && !cli->json && (put->terminal || !all_acked))
        fprintf(stderr, "sluice: %" PRIu64 " events acked, %" PRIu64 " refused, %" PRIu64 " without an answer\n", put->acked,
                refused, put->lost);
    return all_acked ? CLI_DONE : CLI_FAILED;
}

static enum cli_exit put_run(struct put *put, const struct cli *cli, int fd, const char *id)
{
    struct sluice_producer_options options = { .url = cli->url, .name = "sluice event put", .buffer_full_fails = true };
    struct sluice_error error;
    if (sluice_producer_open(&options, &put->producer, &error) != SLUICE_OK)
        return cli_failed("%s", error.text);
    put->refusals_end = &put->refusals;
    put->started_ms = put->shown_ms = mono_ms();
    put->terminal = isatty(STDERR_FILENO);
    bool complete = fd < 0 ? put_one(put, cli, id) : put_lines(put, fd);
    wait_for_all(put);
    /* Its count is that of the acks with SLUICE_EUNAVAILABLE, which put->lost has. No ack comes after it. */
    (void)sluice_producer_close(put->producer, answers_count(put) == put->sent ? CLOSE_MS : 0, NULL);
    progress_clear(put);
    say_refusals(put);
    return put_report(put, cli, id, complete);
}

/* Which of its three forms was meant. On success *ret_path is a file or "-", or it is NULL and the options are complete. */
static enum cli_exit put_form(const struct cli *cli, const char **ret_path)
{
    static const enum option one_event[] = { OPTION_SOURCE, OPTION_TYPE, OPTION_DETAIL };
    const char *file = cli->options[OPTION_FILE], *argument = cli->arguments[0];
    if (argument != NULL && strcmp(argument, "-") != 0)
        return cli_usage("event put: unexpected argument '%s'; a file is given with --file", argument);
    if (argument != NULL && file != NULL)
        return cli_usage("event put: both --file and -; give one");
    *ret_path = file != NULL ? file : argument;
    bool any = cli->options[OPTION_BUS] != NULL || cli->options[OPTION_ID] != NULL, all = true;
    for (unsigned i = 0; i < 3; i++) {
        any = any || cli->options[one_event[i]] != NULL;
        all = all && cli->options[one_event[i]] != NULL;
    }
    if (*ret_path != NULL && any)
        return cli_usage("event put: --source, --type, --detail, --bus and --id do not go with a file: its lines say it");
    if (*ret_path == NULL && !all)
        return cli_usage("event put: needs --source, --type and --detail, or --file, or - for stdin");
    return CLI_DONE;
}

enum cli_exit event_put(struct cli *cli)
{
    int64_t timeout_s = PUT_TIMEOUT_S_DEFAULT;
    const char *path = NULL, *id = cli->options[OPTION_ID];
    char id_made[UUID_TEXT_LEN + 1], url[256];
    if (!cli_number(cli, OPTION_TIMEOUT, 1, 86400, &timeout_s))
        return CLI_USAGE;
    enum cli_exit exit = put_form(cli, &path);
    if (exit != CLI_DONE)
        return exit;
    if (path == NULL && id == NULL) {
        if (!make_id(id_made))
            return cli_failed("cannot make an event id: %s", strerror(errno));
        id = id_made;
    }
    bool from_stdin = path != NULL && strcmp(path, "-") == 0;
    int fd = from_stdin ? STDIN_FILENO : path != NULL ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (path != NULL && fd < 0)
        return cli_failed("%s: %s", path, strerror(errno));
    (void)sluice_url_default(url, sizeof url); /* for messages; cut when longer */
    struct put put = {
        .url = cli->url != NULL ? cli->url : url, .source_name = from_stdin ? "stdin" : path, .timeout_ms = timeout_s * 1000,
        .lock = PTHREAD_MUTEX_INITIALIZER, .answered = PTHREAD_COND_INITIALIZER,
    };
    exit = put_run(&put, cli, fd, path == NULL ? id : NULL);
    if (fd > STDIN_FILENO)
        (void)close(fd); /* only read */
    return exit;
}
