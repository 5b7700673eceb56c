/* match [--brief | --worst] [--json | --markdown] [--row NAME] [--data DIR] [--write DIR]: events matched per CPU-second, one thread, for every row of rows.c.
 *
 * --brief   few events and at most 10,000 rules: for ./check. Prints the figures, judges only that rows answer at all.
 * --worst   instead, what events made to be dear cost (worst.h).
 * --json    one object a line: name, value, unit, floor, ratio (value by floor), target, met.
 * --markdown  the table of bench/README.md.
 * --row     only rows whose name begins so.
 * --data    where the event files are kept between runs; next to the program unless told otherwise.
 * --write   no measuring: writes events and rules of every row there, for the drivers in bench/peers, and prints a line for each.
 * Exit 1 when a row is below its floor (not with --brief). */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "bench/match/rows.h"
#include "bench/match/worst.h"
#include "schemas/codec/json.h"

enum { BRIEF_EVENTS = 2000, BRIEF_RULES = 10000, PASSES = 7, BRIEF_PASSES = 3 };
static const double pass_seconds = 0.15, brief_seconds = 0.01;

struct options {
    bool brief, worst, json, markdown;
    const char *row, *write;
    char data[PATH_MAX];
};

struct events {
    struct bytes text;
    struct view *lines;
    size_t count;
};

/* ---- events ---- */

static void die(const char *what, const char *which)
{
    fprintf(stderr, "match: %s '%s': %s\n", what, which, strerror(errno));
    exit(2);
}

static void events_split(struct events *events)
{
    size_t capacity = 0;

    for (size_t at = 0; at < events->text.len;) {
        const char *line = events->text.data + at, *end = memchr(line, '\n', events->text.len - at);
        size_t len = end == NULL ? events->text.len - at : (size_t)(end - line);
        if (events->count == capacity) {
            capacity = capacity == 0 ? 1024 : capacity * 2;
            events->lines = realloc(events->lines, capacity * sizeof *events->lines);
            if (events->lines == NULL)
                abort();
        }
        events->lines[events->count++] = (struct view){ .data = line, .len = len };
        at += len + 1;
    }
}

/* Into large pages where there are any: a broker matches what has just come in, so that its lines and pages are at hand; a file of
 * 180 MB gone through from its beginning would measure page walks. */
static void file_read(const char *path, struct bytes *out)
{
    enum { LARGE_PAGE_BYTES = 2 << 20 };
    struct stat status;
    FILE *file = fopen(path, "r");

    if (file == NULL || fstat(fileno(file), &status) != 0)
        die("cannot read", path);
    size_t room = ((size_t)status.st_size + LARGE_PAGE_BYTES) & ~((size_t)LARGE_PAGE_BYTES - 1);
    *out = (struct bytes){ .data = aligned_alloc(LARGE_PAGE_BYTES, room), .capacity = room };
    if (out->data == NULL)
        die("no memory for", path);
    (void)madvise(out->data, room, MADV_HUGEPAGE);
    out->len = fread(out->data, 1, (size_t)status.st_size, file);
    (void)fclose(file);
}

/* Made once by Python and kept. */
static void generated_read(const struct options *options, const char *name, struct bytes *out)
{
    char path[PATH_MAX + 64], partial[PATH_MAX + 80], command[3 * PATH_MAX], count[32] = "";

    if (options->brief)
        (void)snprintf(count, sizeof count, "%d", BRIEF_EVENTS);
    (void)snprintf(path, sizeof path, "%s/%s%s.jsonl", options->data, name, options->brief ? "-brief" : "");
    if (access(path, R_OK) != 0) {
        (void)snprintf(partial, sizeof partial, "%s.part", path);
        (void)snprintf(command, sizeof command, "python3 '%s/%s.py' '%s' %s", GENERATORS, name, partial, count);
        fprintf(stderr, "match: making %s\n", path);
        if (system(command) != 0 || rename(partial, path) != 0)
            die("cannot make", path);
    }
    file_read(path, out);
}

static struct events *events_of(const struct options *options, enum row_events kind)
{
    static struct events all[EVENTS_KINDS];
    struct events *events = &all[kind];

    if (events->count > 0)
        return events;
    if (kind == EVENTS_LOTS)
        generated_read(options, "city_lots", &events->text);
    else if (kind == EVENTS_ORDERS)
        generated_read(options, "order_events", &events->text);
    else
        row_events_write(kind, &events->text);
    events_split(events);
    return events;
}

/* ---- measuring ---- */

static double cpu_seconds(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static uint64_t wall_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int compare_doubles(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

static int compare_times(const void *left, const void *right)
{
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    return (a > b) - (a < b);
}

enum mode { MODE_STRUCTURAL, MODE_STRICT };

struct figures {
    double rate, best, strict_rate, matches; /* events per CPU-second: the median pass and the best; rules matched per event */
    double add_us, bytes;              /* per rule */
    double p99_us;
};

static void refused(struct view event)
{
    fprintf(stderr, "match: an event is refused: %.*s\n", (int)(event.len > 200 ? 200 : event.len), event.data);
    exit(2);
}

/* As the broker does: MATCH_BATCH_MAX events in one call. */
static size_t run(const struct match_set *set, struct match_scratch *scratch, const struct events *events, enum mode mode)
{
    size_t matches = 0, count = 0;
    const uint32_t *ids;

    for (size_t i = 0; i < events->count; i += count) {
        struct match_answer answers[MATCH_BATCH_MAX];
        count = events->count - i < MATCH_BATCH_MAX ? events->count - i : MATCH_BATCH_MAX;
        for (size_t e = i; mode == MODE_STRICT && e < i + count; e++)
            if (json_check(events->lines[e], JSON_OBJECT, EVENT_DEPTH_MAX, NULL) != SLUICE_OK)
                refused(events->lines[e]);
        match_json_batch(set, scratch, events->lines + i, count, answers, &ids);
        for (size_t e = 0; e < count; e++) {
            if (answers[e].err != SLUICE_OK)
                refused(events->lines[i + e]);
            matches += answers[e].count;
        }
    }
    return matches;
}

/* The median of several passes, each over all events as often as makes it long enough to be measured. */
static double rate_of(const struct options *options, const struct match_set *set, struct match_scratch *scratch,
                      const struct events *events, enum mode mode, size_t *ret_matches, double *ret_best)
{
    double rates[PASSES];
    int passes = options->brief ? BRIEF_PASSES : PASSES;

    *ret_matches = run(set, scratch, events, mode); /* warm, and counted */
    for (int p = 0; p < passes; p++) {
        double started = cpu_seconds(), seconds;
        size_t rounds = 0;
        do {
            (void)run(set, scratch, events, mode);
            rounds++;
            seconds = cpu_seconds() - started;
        } while (seconds < (options->brief ? brief_seconds : pass_seconds));
        rates[p] = (double)(rounds * events->count) / seconds;
    }
    qsort(rates, (size_t)passes, sizeof rates[0], compare_doubles);
    *ret_best = rates[passes - 1];
    return rates[passes / 2];
}

/* Wall time of each event, the clock's own time included: what a bystander would wait. */
static double p99_of(const struct match_set *set, struct match_scratch *scratch, const struct events *events)
{
    uint32_t *times = malloc(events->count * sizeof *times);
    const uint32_t *ids;
    size_t count;

    if (times == NULL)
        abort();
    for (size_t i = 0; i < events->count; i++) {
        uint64_t started = wall_ns();
        (void)match_json_checked(set, scratch, events->lines[i], &ids, &count, NULL);
        times[i] = (uint32_t)(wall_ns() - started);
    }
    qsort(times, events->count, sizeof *times, compare_times);
    double p99 = times[events->count * 99 / 100] / 1000.0;
    free(times);
    return p99;
}

static struct figures measure(const struct options *options, const struct row *row)
{
    struct figures figures = { 0 };
    const struct events *events = events_of(options, row->events);
    struct match_scratch *scratch = match_scratch_new();
    struct match_set *set = NULL;
    struct rule_list list;
    struct sluice_error error;
    size_t matches;
    double strict_best;

    row_rules(row, options->brief ? BRIEF_RULES : SIZE_MAX, &list);
    double started = cpu_seconds();
    if (scratch == NULL || match_set_new(list.rules, list.count, &set, NULL, &error) != SLUICE_OK) {
        fprintf(stderr, "match: %s: %s\n", row->name, scratch == NULL ? "out of memory" : error.text);
        exit(2);
    }
    figures.add_us = (cpu_seconds() - started) * 1e6 / (double)list.count;
    struct match_cost cost = match_set_cost(set);
    figures.bytes = (double)(cost.bytes - cost.text_bytes) / (double)list.count; /* whatever the engine, the operands' texts are there */
    figures.rate = rate_of(options, set, scratch, events, MODE_STRUCTURAL, &matches, &figures.best);
    figures.matches = (double)matches / (double)events->count;
    figures.strict_rate = rate_of(options, set, scratch, events, MODE_STRICT, &matches, &strict_best);
    figures.p99_us = p99_of(set, scratch, events);
    match_set_free(set);
    match_scratch_free(scratch);
    rule_list_done(&list);
    return figures;
}

/* ---- printing ---- */

static void print_json(const char *section, const char *name, const char *what, double value, const char *unit, double floor, double target,
                       bool met)
{
    printf("{\"name\":\"%s %s%s%s\",\"value\":%.6g,\"unit\":\"%s\",", section, name, *what == '\0' ? "" : ": ", what, value, unit);
    if (floor > 0)
        printf("\"floor\":%.6g,\"ratio\":%.3f,", floor, value / floor);
    else
        printf("\"floor\":null,\"ratio\":null,");
    if (target > 0)
        printf("\"target\":%.6g,\"met\":%s}\n", target, met ? "true" : "false");
    else
        printf("\"target\":null,\"met\":null}\n");
}

static void print_row(const struct options *options, const struct row *row, const struct figures *f)
{
    if (options->json) {
        print_json(row->section, row->name, "", f->rate, "events/CPU-s", row->floor, row->target, f->rate >= row->target);
        print_json(row->section, row->name, "best pass", f->best, "events/CPU-s", row->floor, row->target, f->best >= row->target);
        print_json(row->section, row->name, "strict", f->strict_rate, "events/CPU-s", 0, row->target / 2.5, f->strict_rate >= f->rate / 2.5);
        print_json(row->section, row->name, "p99", f->p99_us, "us", 0, 0, true);
        if (row->count > 0) {
            print_json(row->section, row->name, "add", f->add_us, "us/rule", 0, row->count >= 1000000 ? 1 : 0, f->add_us <= 1);
            print_json(row->section, row->name, "memory", f->bytes, "B/rule", 0, row->bytes_target, f->bytes <= row->bytes_target);
        }
        return;
    }
    if (options->markdown) {
        printf("| %s | %s | %.0f | %.0f | %.0f | ", row->section, row->name, f->rate / 1e3, f->best / 1e3, row->target / 1e3);
        if (row->floor > 0)
            printf("%.0f | ", row->floor / 1e3);
        else
            printf("| ");
        printf("%s | %.0f | %.1f | %.2f | %.2f | ", f->rate < row->floor ? "missed" : f->rate >= row->target ? "met" : "over the floor",
               f->strict_rate / 1e3, f->rate / f->strict_rate, f->matches, f->p99_us);
        if (row->count > 0)
            printf("%.0f | %.2f |\n", f->bytes, f->add_us);
        else
            printf("| |\n");
        return;
    }
    printf("%-3s %-26s %10.1f %9.1f %9.1f %8.1f %6.2fx %9.1f %6.2f %8.2f %8.2f %8.1f %7.2f\n", row->section, row->name, f->rate / 1e3, f->best / 1e3, row->target / 1e3,
           row->floor / 1e3, row->floor > 0 ? f->rate / row->floor : 0, f->strict_rate / 1e3, f->rate / f->strict_rate, f->matches, f->p99_us,
           f->bytes, f->add_us);
}

static void print_head(const struct options *options)
{
    if (options->markdown) {
        printf("| | row | k events/s | best | target | floor | | strict | x | matches | p99, us | B/rule | us/add |\n"
               "|---|---|---:|---:|---:|---:|---|---:|---:|---:|---:|---:|---:|\n");
        return;
    }
    printf("events per CPU-second, thousands, one thread; strict checks the text too, x: how many times slower that is\n");
    printf("%-3s %-26s %10s %9s %9s %8s %7s %9s %6s %8s %8s %8s %7s\n", "", "", "events/s", "best", "target", "floor", "", "strict", "x", "matches", "p99 us",
           "B/rule", "us/add");
}

/* ---- changes ---- */

enum { CHANGE_RULES = 1000000, CHANGES = 50 };
static const double change_us_max = 1000;

/* A set of a million rules with `changed` rules changed since it was made whole: what one change more takes of the processor, the
 * slowest of several kinds and times. */
static double change_us(const struct match_set *set, const struct rule_list *list, size_t changed)
{
    struct match_set *before = NULL, *after = NULL;
    double slowest = 0;

    if (match_set_update(set, list->rules, changed, NULL, 0, &before, NULL) != SLUICE_OK)
        abort();
    for (size_t i = 0; i < CHANGES; i++) {
        uint32_t removed = (uint32_t)(list->count / 2 + i);
        struct match_rule put = list->rules[list->count - 1 - i];
        put.id = i % 3 == 0 ? (uint32_t)(list->count + i) : put.id; /* a new rule; another text for an old one; one less */
        double began = cpu_seconds();
        if (match_set_update(before, &put, i % 3 != 2, &removed, i % 3 == 2, &after, NULL) != SLUICE_OK)
            abort();
        double us = (cpu_seconds() - began) * 1e6;
        slowest = us > slowest ? us : slowest;
        after = match_set_free(after);
    }
    match_set_free(before);
    return slowest;
}

/* Whether every change was made in time. */
static bool measure_changes(const struct options *options)
{
    static const size_t changed[] = { 0, 64, MATCH_DELTA_MAX - 1 };
    static const struct row row = { .generator = "exact", .count = CHANGE_RULES };
    struct rule_list list;
    struct match_set *set = NULL;
    bool met = true;

    row_rules(&row, options->brief ? BRIEF_RULES : SIZE_MAX, &list);
    for (size_t i = 0; i < CHANGES; i++) /* room for new ones below the limit */
        free((char *)(uintptr_t)list.rules[--list.count].pattern.data);
    if (match_set_new(list.rules, list.count, &set, NULL, NULL) != SLUICE_OK)
        abort();
    for (size_t i = 0; i < sizeof changed / sizeof changed[0]; i++) {
        char name[80];
        double us = change_us(set, &list, changed[i]);
        met &= us < change_us_max;
        (void)snprintf(name, sizeof name, "change one of %zu rules, %zu changed before", list.count, changed[i]);
        if (options->json)
            printf("{\"name\":\"%s\",\"value\":%.6g,\"unit\":\"us\",\"floor\":null,\"ratio\":null,\"target\":%g,\"met\":%s}\n", name, us,
                   change_us_max, us < change_us_max ? "true" : "false");
        else
            printf("%s%s: %.0f us, the slowest of %d; limit %.0f us\n", options->markdown ? "\n" : "    ", name, us, CHANGES, change_us_max);
    }
    match_set_free(set);
    rule_list_done(&list);
    return met;
}

/* ---- for the peers ---- */

static void file_write(const char *path, const char *data, size_t len)
{
    FILE *file = fopen(path, "w");

    if (file == NULL || fwrite(data, 1, len, file) != len || fclose(file) != 0)
        die("cannot write", path);
}

static void write_all(const struct options *options)
{
    char path[PATH_MAX + 64];

    for (enum row_events kind = 0; kind < EVENTS_KINDS; kind++) {
        const struct events *events = events_of(options, kind);
        (void)snprintf(path, sizeof path, "%s/events-%d.jsonl", options->write, (int)kind);
        file_write(path, events->text.data, events->text.len);
    }
    for (size_t r = 0; r < rows_count; r++) {
        struct rule_list list;
        struct bytes text = { 0 };
        row_rules(&rows[r], SIZE_MAX, &list);
        for (size_t i = 0; i < list.count; i++) {
            bytes_put_view(&text, list.rules[i].pattern);
            bytes_put_char(&text, '\n');
        }
        (void)snprintf(path, sizeof path, "%s/rules-%02zu.jsonl", options->write, r);
        file_write(path, text.data, text.len);
        printf("%02zu\t%d\t%s\t%s\t%.1f\n", r, (int)rows[r].events, rows[r].section, rows[r].name,
               rows[r].ruler > 0 ? rows[r].floor / rows[r].ruler : 0); /* how many times the peer's rate the floor was, both measured on one machine */
        rule_list_done(&list);
        bytes_done(&text);
    }
}

static void options_read(struct options *options, int argc, char **argv)
{
    ssize_t len = readlink("/proc/self/exe", options->data, sizeof options->data - 32);

    if (len < 0)
        die("cannot find", "/proc/self/exe");
    options->data[len] = '\0';
    strcpy(strrchr(options->data, '/'), "/match-data");
    for (int i = 1; i < argc; i++) {
        bool more = i + 1 < argc;
        if (strcmp(argv[i], "--brief") == 0)
            options->brief = true;
        else if (strcmp(argv[i], "--worst") == 0)
            options->worst = true;
        else if (strcmp(argv[i], "--json") == 0)
            options->json = true;
        else if (strcmp(argv[i], "--markdown") == 0)
            options->markdown = true;
        else if (strcmp(argv[i], "--row") == 0 && more)
            options->row = argv[++i];
        else if (strcmp(argv[i], "--write") == 0 && more)
            options->write = argv[++i];
        else if (strcmp(argv[i], "--data") == 0 && more && strlen(argv[i + 1]) < sizeof options->data)
            strcpy(options->data, argv[++i]);
        else {
            fprintf(stderr, "usage: match [--brief | --worst] [--json | --markdown] [--row NAME] [--data DIR] [--write DIR]\n");
            exit(2);
        }
    }
    (void)mkdir(options->data, 0777); /* it is there, or the first file will say what is wrong */
}

int main(int argc, char **argv)
{
    struct options options = { 0 };
    bool failed = false;

    options_read(&options, argc, argv);
    if (options.write != NULL) {
        write_all(&options);
        return 0;
    }
    if (options.worst) {
        worst_measure(options.row, options.json);
        return 0;
    }
    if (!options.json)
        print_head(&options);
    for (size_t r = 0; r < rows_count; r++) {
        if ((options.row != NULL && strncmp(rows[r].name, options.row, strlen(options.row)) != 0) || (options.brief && !rows[r].brief))
            continue;
        struct figures figures = measure(&options, &rows[r]);
        print_row(&options, &rows[r], &figures);
        (void)fflush(stdout);
        failed |= figures.rate < rows[r].floor;
    }
    if (options.row == NULL || strncmp("change", options.row, strlen(options.row)) == 0)
        failed |= !measure_changes(&options);
    return failed && !options.brief;
}
