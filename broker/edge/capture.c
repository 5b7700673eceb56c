#include "broker/edge/capture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "broker/base/assert.h"
#include "broker/edge/instances.h"
#include "broker/edge/log.h"
#include "schemas/codec/ids.h"

enum { CAPTURE_BUCKETS = 256, WRITE_BYTES = 64 << 10, NOTE_BYTES_MAX = 512, LOG_PATH_MAX = 4096 };
static const char cut_mark[] = " [cut]";

struct rotated {                     /* of a function whose oldest log file was removed: kept as long as the daemon runs */
    struct rotated *next;
    uint64_t bytes;
    char function[];
};

struct captures {
    char *directory;
    struct rotated *rotated;         /* few: those that wrote more than all their files hold */
    struct capture *buckets[CAPTURE_BUCKETS];
    void (*on_line)(void *ctx, uint64_t instance, struct view line);
    void *on_line_ctx;
    struct bytes lines;              /* formatted, not written yet */
    struct capture *lines_of;        /* whose they are; NULL: there are none */
    struct bytes head;               /* of the next lines: time and instance */
    size_t time_len;                 /* in head; 0: none yet */
    int64_t time_ms;                 /* which it is: many lines are of one millisecond */
};

struct capture {
    struct captures *all;
    struct capture *next;
    unsigned users;
    int fd;                          /* -1 until the first line, so that silent functions cost nothing */
    size_t file_bytes;
    bool failing;                    /* the last write failed, and this was said */
    char function[];
};

static struct capture **bucket_of(struct captures *captures, const char *function)
{
    uint32_t hash = 2166136261U;

    for (const char *at = function; *at != '\0'; at++)
        hash = (hash ^ (unsigned char)*at) * 16777619U;
    return &captures->buckets[hash % CAPTURE_BUCKETS];
}

enum sluice_err captures_new(const char *directory, struct captures **ret_captures, struct sluice_error *reterr)
{
    if (mkdir(directory, 0700) != 0 && errno != EEXIST)
        return sluice_fail(reterr, SLUICE_EIO, "cannot make the folder for logs '%s': %s", directory, strerror(errno));
    struct captures *captures = calloc(1, sizeof *captures);
    if (captures == NULL || (captures->directory = strdup(directory)) == NULL) {
        free(captures);
        return sluice_fail(reterr, SLUICE_ENOMEM, "out of memory for logs");
    }
    *ret_captures = captures;
    return SLUICE_OK;
}

void captures_free(struct captures *captures)
{
    if (captures == NULL)
        return;
    for (size_t i = 0; i < CAPTURE_BUCKETS; i++)
        ASSERT(captures->buckets[i] == NULL);
    while (captures->rotated != NULL) {
        struct rotated *rotated = captures->rotated;
        captures->rotated = rotated->next;
        free(rotated);
    }
    bytes_done(&captures->lines);
    bytes_done(&captures->head);
    free(captures->directory);
    free(captures);
}

void captures_listen(struct captures *captures, void (*on_line)(void *ctx, uint64_t instance, struct view line), void *ctx)
{
    captures->on_line = on_line;
    captures->on_line_ctx = ctx;
}

struct capture *capture_open(struct captures *captures, const char *function)
{
    struct capture **bucket = bucket_of(captures, function);

    for (struct capture *capture = *bucket; capture != NULL; capture = capture->next)
        if (strcmp(capture->function, function) == 0) {
            capture->users++;
            return capture;
        }
    size_t name_bytes = strlen(function) + 1;
    struct capture *capture = malloc(sizeof *capture + name_bytes);
    if (capture == NULL)
        return NULL;
    *capture = (struct capture){ .all = captures, .next = *bucket, .users = 1, .fd = -1 };
    memcpy(capture->function, function, name_bytes);
    *bucket = capture;
    return capture;
}

void capture_close(struct capture *capture)
{
    ASSERT(capture->users > 0);
    if (--capture->users > 0)
        return;
    if (capture->all->lines_of == capture)
        captures_flush(capture->all);
    struct capture **link = bucket_of(capture->all, capture->function);
    while (*link != capture)
        link = &(*link)->next;
    *link = capture->next;
    if (capture->fd >= 0)
        (void)close(capture->fd); /* a log: its last bytes are the kernel's care */
    free(capture);
}

/* ---- files ---- */

/* Newest is 0. */
static void log_path(const struct captures *captures, const char *function, int age, char ret_path[LOG_PATH_MAX])
{
    if (age == 0)
        (void)snprintf(ret_path, LOG_PATH_MAX, "%s/%s.log", captures->directory, function);
    else
        (void)snprintf(ret_path, LOG_PATH_MAX, "%s/%s.log.%d", captures->directory, function, age);
}

static bool log_open(struct capture *capture)
{
    char path[LOG_PATH_MAX];
    struct stat info;

    log_path(capture->all, capture->function, 0, path);
    capture->fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (capture->fd < 0)
        return false;
    capture->file_bytes = fstat(capture->fd, &info) == 0 ? (size_t)info.st_size : 0;
    return true;
}

/* Its bytes still count for captures_position(). */
static void log_forget(struct captures *captures, const char *function, uint64_t bytes)
{
    struct rotated *rotated = captures->rotated;

    while (rotated != NULL && strcmp(rotated->function, function) != 0)
        rotated = rotated->next;
    if (rotated == NULL) {
        size_t name_bytes = strlen(function) + 1;
        rotated = calloc(1, sizeof *rotated + name_bytes);
        ASSERT(rotated != NULL);
        memcpy(rotated->function, function, name_bytes);
        rotated->next = captures->rotated;
        captures->rotated = rotated;
    }
    rotated->bytes += bytes;
}

static void log_rotate(struct capture *capture)
{
    char from[LOG_PATH_MAX], to[LOG_PATH_MAX];
    struct stat oldest;

    (void)close(capture->fd);
    capture->fd = -1;
    log_path(capture->all, capture->function, LOG_FILES_KEPT - 1, to);
    if (stat(to, &oldest) == 0)
        log_forget(capture->all, capture->function, (uint64_t)oldest.st_size);
    for (int age = LOG_FILES_KEPT - 1; age > 0; age--) {
        log_path(capture->all, capture->function, age - 1, from);
        log_path(capture->all, capture->function, age, to);
        (void)rename(from, to); /* missing at first; if it fails otherwise, the file grows on and is tried again */
    }
}

static bool log_write(struct capture *capture, struct view lines)
{
    if (capture->fd >= 0 && capture->file_bytes > 0 && capture->file_bytes + lines.len > LOG_FILE_BYTES_MAX)
        log_rotate(capture);
    if (capture->fd < 0 && !log_open(capture))
        return false;
    while (lines.len > 0) {
        ssize_t written = write(capture->fd, lines.data, lines.len);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return false;
        capture->file_bytes += (size_t)written;
        lines.data += written;
        lines.len -= (size_t)written;
    }
    return true;
}

void captures_flush(struct captures *captures)
{
    struct capture *capture = captures->lines_of;
    struct bytes *lines = &captures->lines;

    if (capture == NULL)
        return;
    bool written = !lines->failed && log_write(capture, bytes_view(lines));
    if (!written && !capture->failing)
        log_format(LOG_ERROR, "function=%s event=output-lost reason=\"%s\" msg=\"until its log can be written\"", capture->function,
                   lines->failed ? "out of memory" : strerror(errno));
    capture->failing = !written;
    captures->lines_of = NULL;
    bytes_clear(lines);
}

/* ---- lines ---- */

/* The lines of one function wait at a time: theirs stay in order, and mostly one function talks. */
static void line_put(struct capture *capture, struct view text, bool cut)
{
    struct captures *all = capture->all;
    struct bytes *lines = &all->lines;

    if (all->lines_of != capture || lines->len >= WRITE_BYTES)
        captures_flush(all);
    all->lines_of = capture;
    bytes_put_view(lines, bytes_view(&all->head));
    bytes_put_view(lines, text);
    if (cut)
        bytes_put(lines, cut_mark, sizeof cut_mark - 1);
    bytes_put_char(lines, '\n');
}

/* For the lines that follow. */
static void head_set(struct captures *captures, uint64_t instance)
{
    struct bytes *head = &captures->head;
    char time[TIME_TEXT_MAX];
    struct timespec now;

    (void)clock_gettime(CLOCK_REALTIME, &now); /* cannot fail with this clock */
    int64_t now_ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
    if (captures->time_len == 0 || captures->time_ms != now_ms) {
        bytes_clear(head);
        bytes_put(head, time, time_to_text(now_ms, true, time));
        captures->time_len = head->len;
        captures->time_ms = now_ms;
    }
    head->len = captures->time_len;
    bytes_put_char(head, ' ');
    bytes_put_number(head, instance, 10);
    bytes_put_char(head, ' ');
}

/* A line of the function's own. */
static void line_take(struct capture *capture, struct captured *captured, uint64_t instance, struct view text, bool cut)
{
    const struct captures *all = capture->all;

    if (captured->told && all->on_line != NULL)
        all->on_line(all->on_line_ctx, instance, text);
    line_put(capture, text, cut);
}

static void line_finish(struct capture *capture, struct captured *captured, uint64_t instance, bool cut)
{
    line_take(capture, captured, instance, bytes_view(&captured->line), cut);
    bytes_clear(&captured->line);
}

/* A part of a line, without its line break. */
static void line_extend(struct capture *capture, struct captured *captured, uint64_t instance, struct view part)
{
    size_t room = LOG_LINE_BYTES_MAX - captured->line.len;

    if (captured->cutting)
        return;
    bytes_put(&captured->line, part.data, part.len < room ? part.len : room);
    if (part.len > room) {
        captured->cutting = true;
        line_finish(capture, captured, instance, true);
    }
}

void capture_feed(struct capture *capture, struct captured *captured, uint64_t instance, struct view data)
{
    const char *at = data.data, *end = data.data + data.len;

    head_set(capture->all, instance);
    tail_put(&captured->tail, data);
    while (at < end) {
        const char *line_break = memchr(at, '\n', (size_t)(end - at));
        struct view part = { .data = at, .len = (size_t)((line_break != NULL ? line_break : end) - at) };
        /* Most lines come whole and are copied once. */
        if (line_break != NULL && captured->line.len == 0 && !captured->cutting && part.len <= LOG_LINE_BYTES_MAX) {
            line_take(capture, captured, instance, part, false);
        } else {
            line_extend(capture, captured, instance, part);
            if (line_break != NULL && !captured->cutting)
                line_finish(capture, captured, instance, false);
            if (line_break != NULL)
                captured->cutting = false;
        }
        at = line_break != NULL ? line_break + 1 : end;
    }
}

void capture_end(struct capture *capture, struct captured *captured, uint64_t instance)
{
    if (captured->line.len > 0) {
        head_set(capture->all, instance);
        line_finish(capture, captured, instance, false);
    }
}

void capture_note(struct capture *capture, uint64_t instance, const char *format, ...)
{
    char text[NOTE_BYTES_MAX];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    capture_line(capture, instance, view_of(text));
}

void capture_line(struct capture *capture, uint64_t instance, struct view line)
{
    head_set(capture->all, instance);
    line_put(capture, line, false);
}

void capture_lines(struct capture *capture, uint64_t instance, struct view lines)
{
    head_set(capture->all, instance);
    for (const char *at = lines.data, *end = at + lines.len; at < end;) {
        const char *line_break = memchr(at, '\n', (size_t)(end - at));
        ASSERT(line_break != NULL);
        line_put(capture, (struct view){ .data = at, .len = (size_t)(line_break - at) }, false);
        at = line_break + 1;
    }
}

void captured_done(struct captured *captured)
{
    bytes_done(&captured->line);
    bytes_done(&captured->tail);
}

/* ---- tails ---- */

void tail_put(struct bytes *tail, struct view data)
{
    if (data.len >= OUTPUT_TAIL_BYTES) {
        data.data += data.len - OUTPUT_TAIL_BYTES;
        data.len = OUTPUT_TAIL_BYTES;
        bytes_clear(tail);
    }
    /* Twice the size, so that moving costs at most one copied byte for each put. */
    if (tail->len + data.len > (size_t)2 * OUTPUT_TAIL_BYTES) {
        memmove(tail->data, tail->data + tail->len - OUTPUT_TAIL_BYTES, OUTPUT_TAIL_BYTES);
        tail->len = OUTPUT_TAIL_BYTES;
    }
    bytes_put_view(tail, data);
}

struct view tail_view(const struct bytes *tail)
{
    size_t len = tail->len < OUTPUT_TAIL_BYTES ? tail->len : OUTPUT_TAIL_BYTES;

    return (struct view){ .data = len > 0 ? tail->data + tail->len - len : "", .len = len };
}

/* Appends the file from `offset`; what is written meanwhile is not waited for. */
static bool file_put(int fd, off_t offset, size_t len, struct bytes *out)
{
    if (!bytes_reserve(out, len))
        return false;
    while (len > 0) {
        ssize_t got = pread(fd, out->data + out->len, len, offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got == 0; /* cut shorter by someone: what is there, is there */
        out->len += (size_t)got;
        offset += got;
        len -= (size_t)got;
    }
    return true;
}

/* Of text with one byte more than is wanted, how much to leave out at its beginning: up to the first whole line, if there is one in
 * what is wanted; else it is the end of a long line, which begins with a whole character. */
static size_t tail_cut(struct view text)
{
    enum { UTF8_FOLLOWING_MAX = 3 };
    const char *line_break = memchr(text.data, '\n', text.len - 1);

    if (line_break != NULL)
        return (size_t)(line_break - text.data) + 1;
    size_t cut = 1;
    while (cut <= UTF8_FOLLOWING_MAX && cut < text.len && ((unsigned char)text.data[cut] & 0xc0) == 0x80)
        cut++;
    return cut;
}

enum sluice_err captures_tail(const struct captures *captures, const char *function, size_t bytes_max, struct bytes *out)
{
    struct { int fd; size_t bytes; } files[LOG_FILES_KEPT];
    size_t wanted = bytes_max + 1, start = out->len; /* the byte before says whether a line begins there */
    int found = 0;
    bool good = true;

    for (int age = 0; age < LOG_FILES_KEPT; age++) {
        char path[LOG_PATH_MAX];
        struct stat info;
        log_path(captures, function, age, path);
        files[age].fd = open(path, O_RDONLY | O_CLOEXEC);
        files[age].bytes = files[age].fd >= 0 && fstat(files[age].fd, &info) == 0 ? (size_t)info.st_size : 0;
        found += files[age].fd >= 0;
    }
    /* Newest first, how much of each; then oldest first, its end. */
    size_t take[LOG_FILES_KEPT];
    for (int age = 0; age < LOG_FILES_KEPT; age++) {
        take[age] = files[age].bytes < wanted ? files[age].bytes : wanted;
        wanted -= take[age];
    }
    for (int age = LOG_FILES_KEPT - 1; age >= 0; age--) {
        if (files[age].fd < 0)
            continue;
        good = good && file_put(files[age].fd, (off_t)(files[age].bytes - take[age]), take[age], out);
        (void)close(files[age].fd);
    }
    if (found == 0)
        return SLUICE_ENOTFOUND;
    if (!good)
        return out->failed ? SLUICE_ENOMEM : SLUICE_EIO;
    if (out->len - start > bytes_max) {
        size_t cut = tail_cut((struct view){ out->data + start, out->len - start });
        memmove(out->data + start, out->data + start + cut, out->len - start - cut);
        out->len -= cut;
    }
    return SLUICE_OK;
}

uint64_t captures_position(const struct captures *captures, const char *function)
{
    uint64_t position = 0;

    for (int age = 0; age < LOG_FILES_KEPT; age++) {
        char path[LOG_PATH_MAX];
        struct stat info;
        log_path(captures, function, age, path);
        if (stat(path, &info) == 0)
            position += (uint64_t)info.st_size;
    }
    for (const struct rotated *rotated = captures->rotated; rotated != NULL; rotated = rotated->next) {
        if (strcmp(rotated->function, function) == 0)
            position += rotated->bytes;
    }
    return position;
}
