#include "broker/edge/usage.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "broker/base/assert.h"
#include "broker/base/map.h"
#include "broker/base/vec.h"
#include "schemas/codec/bytes.h"
#include "schemas/codec/ids.h"

#define DAY_MS INT64_C(86400000)
#define SUFFIX ".tsv"

enum { USAGE_PATH_MAX = 4096 + 64, SUMS_FIELDS = 8, FILE_BYTES_MAX = 16 << 20 }; /* 10,000 functions are 2 MiB */

struct function {
    char *name;
    struct usage_sums sums;          /* of the present day */
};

/* What a save has in hand. */
struct save {
    int32_t day;
    struct bytes text;               /* empty: none */
    int error_number;                /* 0: on the disk */
};

struct usage {
    char *folder;
    int32_t day;
    VEC(struct function) functions;
    struct names numbers;            /* name -> index */
    bool changed;                    /* the present day, since its last save began */
    struct save closed;              /* a day that is over and not saved yet */
    struct save saving;
    bool in_save;
};

void usage_sum(struct usage_sums *sums, const struct usage_sums *more)
{
    sums->invocations += more->invocations;
    sums->failures += more->failures;
    sums->duration_us += more->duration_us;
    sums->billed_us += more->billed_us;
    sums->memory_mib_us += more->memory_mib_us;
    if (sums->memory_peak_bytes < more->memory_peak_bytes)
        sums->memory_peak_bytes = more->memory_peak_bytes;
    sums->cold_starts += more->cold_starts;
    sums->init_us += more->init_us;
}

/* ---- days ---- */

int32_t usage_day(int64_t wall_ms)
{
    return (int32_t)((wall_ms - (wall_ms < 0 ? DAY_MS - 1 : 0)) / DAY_MS);
}

void usage_day_text(int32_t day, char ret_text[USAGE_DAY_TEXT])
{
    char time[TIME_TEXT_MAX];

    (void)time_to_text((int64_t)day * DAY_MS, false, time);
    memcpy(ret_text, time, USAGE_DAY_TEXT - 1);
    ret_text[USAGE_DAY_TEXT - 1] = '\0';
}

static void day_path(const struct usage *usage, int32_t day, const char *suffix, char ret_path[USAGE_PATH_MAX])
{
    char text[USAGE_DAY_TEXT];

    usage_day_text(day, text);
    (void)snprintf(ret_path, USAGE_PATH_MAX, "%s/%s%s", usage->folder, text, suffix);
}

/* ---- lines ---- */

static void line_put(struct bytes *text, const struct function *function)
{
    const struct usage_sums *sums = &function->sums;

    bytes_put_format(text, "%s\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64 "\n",
                     function->name, sums->invocations, sums->failures, sums->duration_us, sums->billed_us, sums->memory_mib_us,
                     sums->memory_peak_bytes, sums->cold_starts, sums->init_us);
}

static bool number_take(struct view *line, uint64_t *ret_number)
{
    size_t at = 0;
    uint64_t number = 0;

    if (line->len == 0 || line->data[0] != '\t')
        return false;
    for (at = 1; at < line->len && line->data[at] >= '0' && line->data[at] <= '9'; at++)
        if (__builtin_mul_overflow(number, 10, &number) || __builtin_add_overflow(number, (uint64_t)(line->data[at] - '0'), &number))
            return false;
    if (at == 1 || number > INT64_MAX)
        return false;
    *ret_number = number;
    *line = (struct view){ .data = line->data + at, .len = line->len - at };
    return true;
}

/* A line without its end; false: none of ours. */
static bool line_parse(struct view line, struct view *ret_name, struct usage_sums *ret_sums)
{
    const char *tab = memchr(line.data, '\t', line.len);
    uint64_t numbers[SUMS_FIELDS];

    if (tab == NULL || tab == line.data)
        return false;
    *ret_name = (struct view){ .data = line.data, .len = (size_t)(tab - line.data) };
    struct view rest = { .data = tab, .len = line.len - ret_name->len };
    for (unsigned i = 0; i < SUMS_FIELDS; i++)
        if (!number_take(&rest, &numbers[i]))
            return false;
    *ret_sums = (struct usage_sums){ .invocations = numbers[0], .failures = numbers[1], .duration_us = numbers[2], .billed_us = numbers[3],
                                     .memory_mib_us = numbers[4], .memory_peak_bytes = numbers[5], .cold_starts = numbers[6],
                                     .init_us = numbers[7] };
    return rest.len == 0;
}

static bool line_next(struct view *text, struct view *ret_line)
{
    if (text->len == 0)
        return false;
    const char *line_break = memchr(text->data, '\n', text->len);
    size_t len = line_break != NULL ? (size_t)(line_break - text->data) : text->len, taken = len + (line_break != NULL);
    *ret_line = (struct view){ .data = text->data, .len = len };
    *text = (struct view){ .data = text->data + taken, .len = text->len - taken };
    return true;
}

/* ---- files ---- */

/* Appends; false: there is none, or it cannot be read (then errno is not ENOENT). */
static bool file_read(const char *path, struct bytes *out)
{
    struct stat info;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe with that name is not waited for */

    if (fd < 0)
        return false;
    bool good = fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && info.st_size <= FILE_BYTES_MAX && bytes_reserve(out, (size_t)info.st_size + 1);
    while (good && out->capacity > out->len) {
        ssize_t got = read(fd, out->data + out->len, out->capacity - out->len);
        if (got < 0 && errno == EINTR)
            continue;
        good = got >= 0;
        if (got <= 0)
            break;
        out->len += (size_t)got;
    }
    (void)close(fd);
    return good;
}

static int file_write(const char *path, struct view text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    int err = 0;

    if (fd < 0)
        return errno;
    while (err == 0 && text.len > 0) {
        ssize_t written = write(fd, text.data, text.len);
        if (written < 0 && errno != EINTR)
            err = errno;
        if (written > 0)
            text = (struct view){ .data = text.data + written, .len = text.len - (size_t)written };
    }
    if (err == 0 && fdatasync(fd) != 0)
        err = errno;
    (void)close(fd); /* it is synced, or lost already */
    return err;
}

/* Days that fell out of what is kept, by their names: others' files are left alone. */
static void old_remove(const struct usage *usage, int32_t today)
{
    char day[USAGE_DAY_TEXT], oldest[USAGE_DAY_TEXT + sizeof SUFFIX], path[USAGE_PATH_MAX];
    DIR *directory = opendir(usage->folder);
    const struct dirent *entry;

    if (directory == NULL)
        return;
    usage_day_text(today - USAGE_DAYS_KEPT + 1, day);
    (void)snprintf(oldest, sizeof oldest, "%s" SUFFIX, day);
    while ((entry = readdir(directory)) != NULL) {
        bool ours = strlen(entry->d_name) == strlen(oldest) && strspn(entry->d_name, "0123456789-") == USAGE_DAY_TEXT - 1 &&
                    strcmp(entry->d_name + USAGE_DAY_TEXT - 1, SUFFIX) == 0;
        if (!ours || strcmp(entry->d_name, oldest) >= 0)
            continue;
        (void)snprintf(path, sizeof path, "%s/%.32s", usage->folder, entry->d_name);
        (void)unlink(path); /* tried again tomorrow */
    }
    (void)closedir(directory);
}

/* ---- the present day ---- */

uint32_t usage_function(struct usage *usage, const char *name)
{
    uint32_t number;

    if (names_get(&usage->numbers, view_of(name), &number)) {
        ASSERT(number < usage->functions.count);
        return number;
    }
    struct function function = { .name = strdup(name) };
    ASSERT(function.name != NULL);
    number = (uint32_t)usage->functions.count;
    VEC_PUSH(&usage->functions, function);
    names_put(&usage->numbers, view_of(function.name), number);
    return number;
}

const char *usage_function_name(const struct usage *usage, uint32_t function)
{
    return usage->functions.items[function].name;
}

static void day_parse(struct usage *usage, struct view text)
{
    struct view line, name;
    struct usage_sums sums;
    char name_text[256];

    while (line_next(&text, &line)) {
        if (!line_parse(line, &name, &sums) || name.len >= sizeof name_text)
            continue; /* of a later version, or spoilt: not ours to judge */
        (void)snprintf(name_text, sizeof name_text, "%.*s", VIEW_ARGS(name));
        uint32_t number = usage_function(usage, name_text); /* which may move the items */
        usage_sum(&usage->functions.items[number].sums, &sums);
    }
}

static void day_load(struct usage *usage, int32_t day)
{
    char path[USAGE_PATH_MAX];
    struct bytes text = { 0 };

    for (size_t i = 0; i < usage->functions.count; i++)
        usage->functions.items[i].sums = (struct usage_sums){ 0 };
    usage->day = day;
    usage->changed = false;
    day_path(usage, day, SUFFIX, path);
    if (file_read(path, &text))
        day_parse(usage, bytes_view(&text));
    bytes_done(&text);
}

static void day_render(const struct usage *usage, struct save *save)
{
    save->day = usage->day;
    bytes_clear(&save->text);
    for (size_t i = 0; i < usage->functions.count; i++)
        if (usage->functions.items[i].sums.invocations > 0)
            line_put(&save->text, &usage->functions.items[i]);
    ASSERT(!save->text.failed);
}

/* A day that is not saved yet keeps the next one waiting: what comes until then is booked on it. */
static void day_turn(struct usage *usage, int32_t day)
{
    if (day == usage->day || usage->in_save || usage->closed.text.len > 0)
        return;
    if (usage->changed)
        day_render(usage, &usage->closed);
    day_load(usage, day);
}

void usage_add(struct usage *usage, uint32_t function, int64_t wall_ms, const struct usage_sums *sums)
{
    day_turn(usage, usage_day(wall_ms));
    usage_sum(&usage->functions.items[function].sums, sums);
    usage->changed = true;
}

/* ---- saving ---- */

bool usage_unsaved(const struct usage *usage)
{
    return usage->changed || usage->closed.text.len > 0;
}

bool usage_save_begin(struct usage *usage)
{
    ASSERT(!usage->in_save);
    if (!usage_unsaved(usage))
        return false;
    if (usage->closed.text.len > 0) {
        struct save empty = usage->saving;
        usage->saving = usage->closed;
        usage->closed = empty;
        bytes_clear(&usage->closed.text);
    } else {
        day_render(usage, &usage->saving);
        usage->changed = false;
    }
    usage->in_save = true;
    return true;
}

void usage_save_work(struct usage *usage)
{
    char path[USAGE_PATH_MAX], beside[USAGE_PATH_MAX];
    struct save *save = &usage->saving;

    day_path(usage, save->day, SUFFIX, path);
    day_path(usage, save->day, ".new", beside);
    save->error_number = file_write(beside, bytes_view(&save->text));
    if (save->error_number == 0 && rename(beside, path) != 0)
        save->error_number = errno;
    if (save->error_number != 0)
        (void)unlink(beside);
    old_remove(usage, save->day);
}

enum sluice_err usage_save_done(struct usage *usage, struct sluice_error *reterr)
{
    struct save *save = &usage->saving;

    ASSERT(usage->in_save);
    usage->in_save = false;
    if (save->error_number == 0) {
        bytes_clear(&save->text);
        return SLUICE_OK;
    }
    if (save->day == usage->day) {
        usage->changed = true;
        bytes_clear(&save->text);
    } else { /* day_turn() waits for it */
        struct save empty = usage->closed;
        usage->closed = *save;
        usage->saving = empty;
    }
    return sluice_fail(reterr, SLUICE_EIO, "cannot write to '%s': %s", usage->folder, strerror(save->error_number));
}

/* ---- looking ---- */

bool usage_of(const struct usage *usage, const char *name, int32_t day, struct usage_sums *ret_sums)
{
    char path[USAGE_PATH_MAX];
    struct bytes text = { 0 };
    struct view rest, line, found;
    struct usage_sums sums;
    bool has = false;
    uint32_t number;

    if (day == usage->day) {
        has = names_get(&usage->numbers, view_of(name), &number) && usage->functions.items[number].sums.invocations > 0;
        if (has)
            *ret_sums = usage->functions.items[number].sums;
        return has;
    }
    const struct save *held = usage->closed.text.len > 0 && usage->closed.day == day   ? &usage->closed
                              : usage->in_save && usage->saving.day == day ? &usage->saving
                                                                           : NULL;
    day_path(usage, day, SUFFIX, path);
    if (held == NULL && file_read(path, &text))
        rest = bytes_view(&text);
    else
        rest = held != NULL ? bytes_view(&held->text) : VIEW_LITERAL("");
    while (!has && line_next(&rest, &line))
        has = line_parse(line, &found, &sums) && view_is(found, name);
    if (has)
        *ret_sums = sums;
    bytes_done(&text);
    return has;
}

/* ---- life ---- */

enum sluice_err usage_open(const char *data, int64_t wall_ms, struct usage **ret_usage, struct sluice_error *reterr)
{
    char folder[USAGE_PATH_MAX];
    struct usage *usage = calloc(1, sizeof *usage);

    (void)snprintf(folder, sizeof folder, "%.4096s/usage", data);
    if (usage == NULL || (usage->folder = strdup(folder)) == NULL) {
        free(usage);
        return sluice_fail(reterr, SLUICE_ENOMEM, "out of memory for the usage of functions");
    }
    if (mkdir(folder, 0700) != 0 && errno != EEXIST) {
        int err = errno;
        usage_free(usage);
        return sluice_fail(reterr, SLUICE_EIO, "cannot make the folder for usage '%.160s': %s", folder, strerror(err));
    }
    day_load(usage, usage_day(wall_ms));
    old_remove(usage, usage->day);
    *ret_usage = usage;
    return SLUICE_OK;
}

void usage_free(struct usage *usage)
{
    if (usage == NULL)
        return;
    ASSERT(!usage->in_save);
    for (size_t i = 0; i < usage->functions.count; i++)
        free(usage->functions.items[i].name);
    VEC_DONE(&usage->functions);
    names_done(&usage->numbers);
    bytes_done(&usage->closed.text);
    bytes_done(&usage->saving.text);
    free(usage->folder);
    free(usage);
}
