/* top.c - sluice top: a row per function, again and again, on the terminal; once, when there is none.
 *
 *   sluiced 0.1.0, pid 4711, up 3m12s: 1000 events, 42 pending, commit 1.9ms       what the daemon says of itself
 *   12 functions: 30 ready, 8 leased, ...           by ready, descending           the sum of what is shown, and how
 *   FUNCTION   READY  OLDEST  LEASED  RETRY  DEAD   IN/S  OUT/S  EACH  BUSY  INST  WANT  NOTE
 *
 * IN/S, what arrives, and EACH, what one takes, are the daemon's own smoothed figures; OUT/S is the growth of `succeeded` between
 * two answers, so it needs two. All else is as `function.list` has it. Columns, their names and how they are shown are one table. */
#include "broker/cli/cli.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "broker/base/vec.h"
#include "broker/cli/screen.h"
#include "broker/cli/table.h"

enum { TOP_NAME_MAX = 65, TOP_FILTER_MAX = 64, TOP_NOTE_MAX = 48, TOP_PAGE_ROWS = 1000 };
enum { INTERVAL_S_DEFAULT = 1, INTERVAL_S_MAX = 3600 };

enum top_field { TOP_READY, TOP_OLDEST, TOP_LEASED, TOP_RETRY, TOP_DEAD, TOP_IN, TOP_OUT, TOP_EACH, TOP_BUSY, TOP_INSTANCES, TOP_WANTED, TOP_FIELDS };

struct top_row {
    char name[TOP_NAME_MAX], note[TOP_NOTE_MAX];
    double fields[TOP_FIELDS];   /* NAN: not known; times in milliseconds */
    int64_t succeeded;
    const json_t *json;          /* lives as long as the snapshot */
};

/* What the daemon answered at one moment. Rows in order of name. */
struct snapshot {
    VEC(struct top_row) rows;
    json_t *status, *pages;      /* the rows' json is in `pages` */
    int64_t at_ms;               /* monotonic */
};

enum top_kind { KIND_COUNT, KIND_RATE, KIND_SPAN };

static const struct top_column {
    const char *title, *name;    /* name: of --sort */
    unsigned width;
    enum top_kind kind;
} top_columns[TOP_FIELDS] = {
    [TOP_READY] = { "READY", "ready", 9, KIND_COUNT },       [TOP_OLDEST] = { "OLDEST", "oldest", 7, KIND_SPAN },
    [TOP_LEASED] = { "LEASED", "leased", 6, KIND_COUNT },    [TOP_RETRY] = { "RETRY", "retry", 6, KIND_COUNT },
    [TOP_DEAD] = { "DEAD", "dead", 6, KIND_COUNT },          [TOP_IN] = { "IN/S", "in", 8, KIND_RATE },
    [TOP_OUT] = { "OUT/S", "out", 8, KIND_RATE },            [TOP_EACH] = { "EACH", "each", 7, KIND_SPAN },
    [TOP_BUSY] = { "BUSY", "busy", 5, KIND_COUNT },          [TOP_INSTANCES] = { "INST", "instances", 5, KIND_COUNT },
    [TOP_WANTED] = { "WANT", "wanted", 5, KIND_COUNT },
};
enum { SORT_NAME = TOP_FIELDS, NAME_WIDTH = 20 };

struct top {
    struct cli *cli;
    struct snapshot now;
    VEC(const struct top_row *) shown; /* of `now`: filtered and sorted */
    unsigned sort;               /* enum top_field, or SORT_NAME */
    bool reverse, typing;        /* typing: keys go to the filter */
    char filter[TOP_FILTER_MAX + 1];
    size_t first;                /* of `shown`: the row at the top */
    int64_t interval_ms;
    struct sluice_error trouble; /* why the last call failed; SLUICE_OK: it did not */
};

/* ---- a snapshot ---- */

static void snapshot_done(struct snapshot *snapshot)
{
    VEC_DONE(&snapshot->rows);
    json_decref(snapshot->status);
    json_decref(snapshot->pages);
    *snapshot = (struct snapshot){ 0 };
}

static double real(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static struct top_row row_read(const json_t *json, int64_t wall_ms)
{
    const json_t *instances = json_object_get(json, "instances"), *value;
    struct top_row row = { .json = json, .succeeded = member_int(json, "succeeded") };
    const char *state;
    double oldest_ms = real(json, "oldest_ms"), live = 0;

    (void)snprintf(row.name, sizeof row.name, "%s", member_text(json, "name").data);
    (void)snprintf(row.note, sizeof row.note, "%s%s%s", member_bool(json, "orphaned") ? "orphaned " : "",
                   member_bool(json, "paused") ? "paused " : "", view_is(member_text(json, "circuit"), "open") ? "circuit open" : "");
    json_object_foreach((json_t *)(uintptr_t)instances, state, value)
        live += json_number_value(value);
    row.fields[TOP_READY] = real(json, "ready");
    row.fields[TOP_OLDEST] = oldest_ms > (double)wall_ms ? 0 : (double)wall_ms - oldest_ms; /* NAN stays NAN */
    row.fields[TOP_LEASED] = real(json, "leased");
    row.fields[TOP_RETRY] = real(json, "retry");
    row.fields[TOP_DEAD] = real(json, "dead");
    row.fields[TOP_IN] = real(json, "arrivals_per_s");
    row.fields[TOP_OUT] = NAN;
    row.fields[TOP_EACH] = real(json, "service_us") / 1000;
    row.fields[TOP_BUSY] = real(instances, "busy");
    row.fields[TOP_INSTANCES] = live;
    row.fields[TOP_WANTED] = real(json, "target");
    return row;
}

/* Both are in order of name. A counter that went back is a daemon that has another store. */
static void snapshot_rates(struct snapshot *now, const struct snapshot *before)
{
    double seconds = (double)(now->at_ms - before->at_ms) / 1000;
    size_t old = 0;

    for (size_t i = 0; i < now->rows.count && seconds > 0; i++) {
        struct top_row *row = &now->rows.items[i];
        while (old < before->rows.count && strcmp(before->rows.items[old].name, row->name) < 0)
            old++;
        if (old == before->rows.count)
            return;
        int64_t done = row->succeeded - before->rows.items[old].succeeded;
        if (strcmp(before->rows.items[old].name, row->name) == 0 && done >= 0)
            row->fields[TOP_OUT] = (double)done / seconds;
    }
}

static bool snapshot_take(const struct cli *cli, struct snapshot *ret_snapshot, struct sluice_error *reterr)
{
    struct snapshot snapshot = { .pages = json_array(), .status = call_try(cli, "status", NULL, 0, reterr) };
    json_t *cursor = json_null();
    bool more = snapshot.status != NULL;

    while (more) {
        json_t *page = call_try(cli, "function.list", json_pack("{s:i,s:O}", "limit", TOP_PAGE_ROWS, "cursor", cursor), 0, reterr);
        if (page == NULL || json_array_append_new(snapshot.pages, page) != 0)
            break;
        struct timespec wall;
        (void)clock_gettime(CLOCK_REALTIME, &wall);
        size_t index;
        const json_t *row;
        json_array_foreach(json_object_get(page, "functions"), index, row)
            VEC_PUSH(&snapshot.rows, row_read(row, (int64_t)wall.tv_sec * 1000 + wall.tv_nsec / 1000000));
        cursor = json_object_get(page, "cursor");
        more = json_is_string(cursor);
        if (!more) {
            snapshot.at_ms = screen_clock_ms();
            *ret_snapshot = snapshot;
            return true;
        }
    }
    snapshot_done(&snapshot);
    return false;
}

/* ---- what is shown of it ---- */

static int row_compare(const void *a, const void *b, void *ctx)
{
    const struct top *top = ctx;
    const struct top_row *left = *(const struct top_row *const *)a, *right = *(const struct top_row *const *)b;
    int order = strcmp(left->name, right->name);

    if (top->sort == SORT_NAME)
        return top->reverse ? -order : order;
    double x = left->fields[top->sort], y = right->fields[top->sort];
    if (isnan(x) || isnan(y))    /* what is not known comes last, either way round */
        return isnan(x) && isnan(y) ? order : isnan(x) ? 1 : -1;
    if (x == y)
        return order;
    return (x > y) != top->reverse ? -1 : 1;
}

static void top_choose(struct top *top)
{
    top->shown.count = 0;
    for (size_t i = 0; i < top->now.rows.count; i++) {
        if (strstr(top->now.rows.items[i].name, top->filter) != NULL)
            VEC_PUSH(&top->shown, &top->now.rows.items[i]);
    }
    if (top->shown.count > 1)
        qsort_r(top->shown.items, top->shown.count, sizeof *top->shown.items, row_compare, top);
}

static struct format field_text(enum top_kind kind, double value)
{
    struct format format = { "-" };

    if (isnan(value))
        return format;
    switch (kind) {
    case KIND_COUNT: (void)snprintf(format.text, sizeof format.text, "%.0f", value); break;
    case KIND_RATE: (void)snprintf(format.text, sizeof format.text, value < 100 ? "%.1f" : "%.0f", value); break;
    case KIND_SPAN: return value > 0 && value < 10 ? format_us((int64_t)(value * 1000)) : format_span((int64_t)value);
    }
    return format;
}

static void line_fields(struct bytes *line, const struct top_row *row)
{
    bytes_clear(line);
    bytes_put_format(line, "%-*s", NAME_WIDTH, row->name);
    for (unsigned i = 0; i < TOP_FIELDS; i++)
        bytes_put_format(line, " %*s", (int)top_columns[i].width, field_text(top_columns[i].kind, row->fields[i]).text);
    bytes_put_format(line, "  %s", row->note);
}

static void line_titles(struct bytes *line)
{
    bytes_clear(line);
    bytes_put_format(line, "%-*s", NAME_WIDTH, "FUNCTION");
    for (unsigned i = 0; i < TOP_FIELDS; i++)
        bytes_put_format(line, " %*s", (int)top_columns[i].width, top_columns[i].title);
    bytes_put_text(line, "  NOTE");
}

static const char *sort_name(unsigned sort)
{
    return sort == SORT_NAME ? "function" : top_columns[sort].name;
}

static void line_daemon(struct bytes *line, const struct top *top)
{
    const json_t *status = top->now.status, *store = json_object_get(status, "store");
    bytes_clear(line);
    if (status == NULL) {
        bytes_put_format(line, "sluice top: %s", top->trouble.text);
        return;
    }
    bytes_put_format(line, "sluiced %s, pid %" PRId64 ", up %s: %" PRId64 " events, %" PRId64 " pending, commit %s",
                     member_text(status, "version").data, member_int(status, "pid"), format_span(member_int(status, "uptime_ms")).text,
                     member_int(status, "events_total"), member_int(status, "pending"),
                     format_us(member_int(json_object_get(status, "commit_us"), "p50")).text);
    if (json_array_size(json_object_get(status, "unsafe")) > 0)
        bytes_put_text(line, "; UNSAFE");
    if (json_is_false(json_object_get(store, "accepts")))
        bytes_put_format(line, "; REFUSES EVENTS: %s", member_text(store, "reason").data);
}

static void line_sum(struct bytes *line, const struct top *top)
{
    double sums[TOP_FIELDS] = { 0 };
    for (size_t i = 0; i < top->shown.count; i++) {
        for (unsigned field = 0; field < TOP_FIELDS; field++)
            sums[field] += isnan(top->shown.items[i]->fields[field]) ? 0 : top->shown.items[i]->fields[field];
    }
    bytes_clear(line);
    bytes_put_format(line, "%zu of %zu functions: %.0f ready, %.0f leased, %.0f retry, %.0f dead, %.0f instances; by %s%s", top->shown.count,
                     top->now.rows.count, sums[TOP_READY], sums[TOP_LEASED], sums[TOP_RETRY], sums[TOP_DEAD], sums[TOP_INSTANCES],
                     sort_name(top->sort), top->reverse ? ", reversed" : "");
    if (top->filter[0] != '\0')
        bytes_put_format(line, "; with '%s'", top->filter);
}

/* ---- on the terminal ---- */

enum { LINES_AROUND = 4 };       /* daemon, sum, titles; keys at the bottom */

static size_t page_rows(void)
{
    struct screen_size size = screen_size();
    return size.rows > LINES_AROUND ? size.rows - LINES_AROUND : 1;
}

static void line_keys(struct bytes *line, const struct top *top)
{
    bytes_clear(line);
    if (top->typing)
        bytes_put_format(line, "functions with: %s_   (enter: done, escape: all)", top->filter);
    else if (top->trouble.code != SLUICE_OK)
        bytes_put_format(line, "as of %s ago: %s", format_span(screen_clock_ms() - top->now.at_ms).text, top->trouble.text);
    else
        bytes_put_text(line, "q quit  < > sort by  n name  r reverse  / filter  escape: all  arrows scroll  space: now");
}

static bool top_draw(struct top *top)
{
    struct bytes line = { 0 };
    size_t rows = page_rows();

    top_choose(top);
    if (top->first + rows > top->shown.count)
        top->first = top->shown.count > rows ? top->shown.count - rows : 0;
    screen_begin();
    line_daemon(&line, top);
    screen_line(bytes_view(&line), false);
    line_sum(&line, top);
    screen_line(bytes_view(&line), false);
    line_titles(&line);
    screen_line(bytes_view(&line), true);
    for (size_t i = 0; i < rows; i++) {
        bytes_clear(&line);
        if (top->first + i < top->shown.count)
            line_fields(&line, top->shown.items[top->first + i]);
        screen_line(bytes_view(&line), false);
    }
    line_keys(&line, top);
    screen_line(bytes_view(&line), false);
    bytes_done(&line);
    return screen_end();
}

static void top_refresh(struct top *top)
{
    struct snapshot fresh;

    top->trouble = (struct sluice_error){ 0 };
    if (!snapshot_take(top->cli, &fresh, &top->trouble))
        return;                  /* what was shown stays, and the last line says since when */
    if (top->now.at_ms != 0)
        snapshot_rates(&fresh, &top->now);
    snapshot_done(&top->now);
    top->now = fresh;
}

static void filter_key(struct top *top, int key)
{
    size_t len = strlen(top->filter);

    if (key == KEY_ENTER || key == '\n') {
        top->typing = false;
    } else if (key == KEY_ESCAPE) {
        top->typing = false;
        top->filter[0] = '\0';
    } else if ((key == KEY_BACKSPACE || key == '\b') && len > 0) {
        top->filter[len - 1] = '\0';
    } else if (key > ' ' && key < KEY_BACKSPACE && len < TOP_FILTER_MAX) { /* names are ASCII without spaces */
        top->filter[len] = (char)key;
        top->filter[len + 1] = '\0';
    }
}

static void scroll(struct top *top, int key)
{
    size_t rows = page_rows(), last = top->shown.count > rows ? top->shown.count - rows : 0;

    switch (key) {
    case KEY_UP: top->first -= top->first > 0; break;
    case KEY_DOWN: top->first++; break;
    case KEY_PAGE_UP: top->first -= top->first < rows ? top->first : rows; break;
    case KEY_PAGE_DOWN: top->first += rows; break;
    case KEY_HOME: top->first = 0; break;
    case KEY_END: top->first = last; break;
    default: return;
    }
    if (top->first > last)
        top->first = last;
}

/* false: that was the end. */
static bool top_key(struct top *top, int key)
{
    if (key == KEY_GONE)
        return false;
    if (top->typing) {
        filter_key(top, key);
        return true;
    }
    switch (key) {
    case 'q': case 'Q': return false;
    case '>': top->sort = (top->sort + 1) % (SORT_NAME + 1); break;
    case '<': top->sort = (top->sort + SORT_NAME) % (SORT_NAME + 1); break;
    case 'n': top->sort = SORT_NAME; break;
    case 'r': top->reverse = !top->reverse; break;
    case '/': top->typing = true; break;
    case KEY_ESCAPE: top->filter[0] = '\0'; break;
    default: scroll(top, key); break;
    }
    return true;
}

static enum cli_exit top_run(struct top *top)
{
    if (!screen_open())
        return cli_failed("cannot use the terminal: %s", strerror(errno));
    bool drawn = top_draw(top), going = drawn;
    int64_t next_ms = screen_clock_ms() + top->interval_ms;
    while (going) {
        int key = screen_key(next_ms);
        going = key == KEY_NONE || top_key(top, key);
        if (going && (key == KEY_NONE || (key == ' ' && !top->typing))) {
            top_refresh(top);
            next_ms = screen_clock_ms() + top->interval_ms;
        }
        if (going)
            going = drawn = top_draw(top);
    }
    screen_close();
    return drawn ? CLI_DONE : cli_failed("the terminal is gone");
}

/* ---- without a terminal ---- */

static void top_print_json(const struct top *top)
{
    json_t *rows = json_array();
    for (size_t i = 0; i < top->shown.count; i++)
        (void)json_array_append(rows, (json_t *)(uintptr_t)top->shown.items[i]->json);
    json_t *result = json_pack("{s:O,s:o}", "status", top->now.status, "functions", rows);
    call_print(result);
    json_decref(result);
}

static void top_print(const struct top *top)
{
    struct bytes line = { 0 };

    line_daemon(&line, top);
    print_clean(stdout, bytes_view(&line));
    putchar('\n');
    line_titles(&line);
    print_clean(stdout, bytes_view(&line));
    putchar('\n');
    for (size_t i = 0; i < top->shown.count; i++) {
        line_fields(&line, top->shown.items[i]);
        print_clean(stdout, bytes_view(&line));
        putchar('\n');
    }
    bytes_done(&line);
}

/* ---- the command ---- */

static bool top_options(struct top *top)
{
    const char *sort = top->cli->options[OPTION_SORT], *filter = top->cli->options[OPTION_FILTER];
    int64_t interval_s = INTERVAL_S_DEFAULT;

    if (!cli_number(top->cli, OPTION_INTERVAL, 1, INTERVAL_S_MAX, &interval_s))
        return false;
    top->interval_ms = interval_s * 1000;
    if (filter != NULL && strlen(filter) > TOP_FILTER_MAX) {
        (void)cli_usage("--filter: '%s' is longer than a function's name can be, %d", filter, TOP_FILTER_MAX);
        return false;
    }
    (void)snprintf(top->filter, sizeof top->filter, "%s", filter == NULL ? "" : filter);
    for (top->sort = 0; sort != NULL && strcmp(sort_name(top->sort), sort) != 0; top->sort++) {
        if (top->sort == SORT_NAME) {
            (void)cli_usage("--sort: no column '%s'; see man sluice", sort);
            return false;
        }
    }
    return true;
}

enum cli_exit top(struct cli *cli)
{
    struct top top = { .cli = cli };
    enum cli_exit exit = CLI_DONE;

    if (!top_options(&top))
        return CLI_USAGE;
    top_refresh(&top);
    if (top.now.status == NULL) {
        exit = cli_failed("%s", top.trouble.text);
    } else if (!cli->json && screen_possible()) {
        exit = top_run(&top);
    } else {
        top_choose(&top);
        if (cli->json)
            top_print_json(&top);
        else
            top_print(&top);
    }
    snapshot_done(&top.now);
    VEC_DONE(&top.shown);
    return exit;
}

const char *top_sort_name(unsigned index)
{
    return index <= SORT_NAME ? sort_name(index) : NULL;
}
