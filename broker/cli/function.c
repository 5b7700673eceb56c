#include "broker/cli/cli.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <time.h>

#include "broker/cli/table.h"

static const char *const instance_states[] = { "starting", "ready", "busy", "draining" };

static const struct column pair[] = { { NULL, false }, { NULL, false } };

/* ---- function list ---- */

static int64_t instances_count(const json_t *instances)
{
    int64_t count = 0;
    for (unsigned i = 0; i < sizeof instance_states / sizeof *instance_states; i++)
        count += member_int(instances, instance_states[i]);
    return count;
}

static void list_row(void *ctx, const json_t *row)
{
    struct table *table = ctx;
    const json_t *instances = json_object_get(row, "instances");
    table_cell(table, member_text(row, "name"));
    table_cell(table, member_text(row, "protocol"));
    table_int(table, member_int(row, "ready"));
    table_int(table, member_int(row, "leased"));
    table_int(table, member_int(row, "retry"));
    table_int(table, member_int(row, "dead"));
    table_int(table, instances_count(instances));
    table_int(table, member_int(instances, "busy"));
    table_int(table, member_int(row, "target"));
    char attached[32] = "";
    if (member_int(row, "attached") > 0)
        (void)snprintf(attached, sizeof attached, "%" PRId64 " attached ", member_int(row, "attached"));
    table_format(table, "%s%s%s%s", attached, member_bool(row, "orphaned") ? "orphaned " : "", member_bool(row, "paused") ? "paused " : "",
                 view_is(member_text(row, "circuit"), "open") ? "circuit open" : "");
}

static void flush_page(void *ctx)
{
    table_flush(ctx);
}

enum cli_exit function_list(struct cli *cli)
{
    static const struct column columns[] = {
        { "NAME", false }, { "PROTOCOL", false }, { "READY", true }, { "LEASED", true }, { "RETRY", true }, { "DEAD", true },
        { "INSTANCES", true }, { "BUSY", true }, { "TARGET", true }, { "NOTE", false },
    };
    struct table table;
    table_open(&table, columns, sizeof columns / sizeof *columns);
    struct call_list list = {
        .command = "function.list", .rows_name = "functions", .on_row = list_row, .on_page = flush_page, .ctx = &table,
    };
    enum cli_exit exit = call_list(cli, &list, NULL);
    bytes_done(&table.text);
    return exit;
}

/* ---- function show ---- */

static void show_retry(struct table *table, const char *title, const json_t *retry, const char *note)
{
    table_text(table, title);
    table_format(table, "%" PRId64 " attempts, backoff %s to %s, max age %s%s", member_int(retry, "attempts"),
                 format_span(member_int(retry, "backoff_min_ms")).text, format_span(member_int(retry, "backoff_max_ms")).text,
                 format_span(member_int(retry, "max_age_ms")).text, note);
}

/* One line where one policy holds for all that is queued. */
static void show_retries(struct table *table, const json_t *configuration)
{
    const json_t *of_events = json_object_get(configuration, "retry"), *of_invokes = json_object_get(configuration, "retry_invoke");

    if (of_invokes == NULL || json_equal(of_events, of_invokes)) {
        show_retry(table, "retry", of_events, "");
        return;
    }
    show_retry(table, "retry of events", of_events, "");
    show_retry(table, "retry of invokes", of_invokes, ": asynchronous ones, as on Lambda");
}

static void show_configuration(struct table *table, const json_t *configuration)
{
    const json_t *scale = json_object_get(configuration, "scale");
    const json_t *batch = json_object_get(configuration, "batch");
    size_t index;
    json_t *word;
    struct bytes command = { 0 };
    json_array_foreach(json_object_get(configuration, "command"), index, word) {
        bytes_put_text(&command, index > 0 ? " " : "");
        bytes_put_text(&command, json_is_string(word) ? json_string_value(word) : "?");
    }
    if (command.len == 0)
        bytes_put_text(&command, "none: consumers attach");
    table_text(table, "command"), table_cell(table, bytes_view(&command));
    bytes_done(&command);
    table_text(table, "directory"), table_cell(table, member_text(configuration, "directory"));
    table_text(table, "protocol"), table_cell(table, member_text(configuration, "protocol"));
    if (!member_is_null(configuration, "runtime"))
        table_text(table, "runtime"), table_cell(table, member_text(configuration, "runtime"));
    if (!member_is_null(configuration, "handler"))
        table_text(table, "handler"), table_cell(table, member_text(configuration, "handler"));
    table_text(table, "timeout"), table_text(table, format_span(member_int(configuration, "timeout_ms")).text);
    table_text(table, "memory");
    if (member_is_null(configuration, "memory_bytes"))
        table_text(table, "no limit");
    else
        table_text(table, format_bytes(member_int(configuration, "memory_bytes")).text);
    table_text(table, "concurrency"), table_int(table, member_int(configuration, "concurrency"));
    table_text(table, "batch");
    table_format(table, "up to %" PRId64 ", waiting %s", member_int(batch, "size"),
                 format_span(member_int(batch, "window_ms")).text);
    table_text(table, "scale");
    table_format(table, "%" PRId64 " to %" PRId64 ", idle %s, drain target %s", member_int(scale, "min"),
                 member_int(scale, "max"), format_span(member_int(scale, "idle_ms")).text,
                 format_span(member_int(scale, "drain_target_ms")).text);
    show_retries(table, configuration);
}

static void show_counts(struct table *table, const char *title, const json_t *counts)
{
    struct bytes text = { 0 };
    const char *name;
    json_t *count;
    json_object_foreach((json_t *)counts, name, count)
        bytes_put_format(&text, "%s%s %" PRId64, text.len > 0 ? ", " : "", name, (int64_t)json_integer_value(count));
    table_text(table, title);
    table_cell(table, bytes_view(&text));
    bytes_done(&text);
}

static void show_circuit(struct table *table, const json_t *circuit)
{
    if (!view_is(member_text(circuit, "state"), "open"))
        return;
    table_text(table, "circuit");
    table_format(table, "open after %" PRId64 " failed starts; next try %s", member_int(circuit, "failures"),
                 format_time(member_int(circuit, "until_ms")).text);
    table_text(table, "last output"), table_cell(table, member_text(circuit, "text"));
}

static void show_instances(const json_t *instances)
{
    static const struct column columns[] = {
        { "INSTANCE", true }, { "STATE", false }, { "SINCE", false }, { "LEASED", true }, { "PID", false },
        { "CONSUMER", false }, { "FROM", false }, { "DONE", true },
    };
    enum { COLUMNS_OF_OURS = 5 };
    struct table table;
    size_t index;
    json_t *row;
    if (json_array_size(instances) == 0)
        return;
    bool attached = false;
    json_array_foreach(instances, index, row)
        attached |= !member_is_null(row, "consumer");
    putchar('\n');
    table_open(&table, columns, attached ? sizeof columns / sizeof *columns : COLUMNS_OF_OURS);
    json_array_foreach(instances, index, row) {
        table_int(&table, member_int(row, "instance"));
        table_cell(&table, member_text(row, "state"));
        table_text(&table, format_time(member_int(row, "since_ms")).text);
        table_int(&table, member_int(row, "leased"));
        if (member_is_null(row, "pid"))
            table_text(&table, "");
        else
            table_int(&table, member_int(row, "pid"));
        if (!attached)
            continue;
        table_cell(&table, member_text(row, "consumer"));
        table_cell(&table, member_text(row, "from"));
        table_int(&table, member_int(row, "done"));
    }
    table_close(&table);
}

static void show_ends(const json_t *ends)
{
    static const struct column columns[] = { { "ENDED", true }, { "AT", false }, { "WHY", false } };
    struct table table;
    size_t index;
    json_t *row;
    if (json_array_size(ends) == 0)
        return;
    putchar('\n');
    table_open(&table, columns, sizeof columns / sizeof *columns);
    json_array_foreach(ends, index, row) {
        table_int(&table, member_int(row, "instance"));
        table_text(&table, format_time(member_int(row, "at_ms")).text);
        table_cell(&table, member_text(row, "text"));
    }
    table_close(&table);
}

/* ---- what it cost ---- */

enum { USAGE_DAYS_DEFAULT = 7, USAGE_DAYS_MAX = 400 };

struct usage {
    int64_t invocations, failures, billed_ms, memory_peak_bytes, cold_starts;
    double duration_ms, gb_seconds, init_ms;
};

static struct usage usage_read(const json_t *row)
{
    return (struct usage){
        .invocations = member_int(row, "invocations"),
        .failures = member_int(row, "failures"),
        .billed_ms = member_int(row, "billed_ms"),
        .memory_peak_bytes = member_int(row, "memory_peak_bytes"),
        .cold_starts = member_int(row, "cold_starts"),
        .duration_ms = json_number_value(json_object_get(row, "duration_ms")),
        .gb_seconds = json_number_value(json_object_get(row, "gb_seconds")),
        .init_ms = json_number_value(json_object_get(row, "init_ms")),
    };
}

static void usage_sum(struct usage *sum, const struct usage *day)
{
    sum->invocations += day->invocations;
    sum->failures += day->failures;
    sum->billed_ms += day->billed_ms;
    if (sum->memory_peak_bytes < day->memory_peak_bytes)
        sum->memory_peak_bytes = day->memory_peak_bytes;
    sum->cold_starts += day->cold_starts;
    sum->duration_ms += day->duration_ms;
    sum->gb_seconds += day->gb_seconds;
    sum->init_ms += day->init_ms;
}

static void usage_put(struct table *table, struct view name, const struct usage *usage)
{
    table_cell(table, name);
    table_int(table, usage->invocations);
    table_int(table, usage->failures);
    table_text(table, format_span((int64_t)usage->duration_ms).text);
    table_text(table, format_span(usage->billed_ms).text);
    table_format(table, "%.3f", usage->gb_seconds);
    table_text(table, format_bytes(usage->memory_peak_bytes).text);
    table_int(table, usage->cold_starts);
    table_text(table, format_span((int64_t)usage->init_ms).text);
}

/* A row a day, and the sum of those shown. */
static void show_usage(const json_t *days)
{
    static const struct column columns[] = {
        { "DAY (UTC)", false }, { "INVOCATIONS", true }, { "FAILED", true }, { "DURATION", true }, { "BILLED", true },
        { "GB-SECONDS", true }, { "MAX MEMORY", true }, { "COLD STARTS", true }, { "INIT", true },
    };
    struct usage sum = { 0 };
    struct table table;
    size_t index;
    json_t *row;
    if (json_array_size(days) == 0)
        return;
    putchar('\n');
    table_open(&table, columns, sizeof columns / sizeof *columns);
    json_array_foreach(days, index, row) {
        struct usage day = usage_read(row);
        usage_put(&table, member_text(row, "day"), &day);
        usage_sum(&sum, &day);
    }
    usage_put(&table, VIEW_LITERAL("all"), &sum);
    table_close(&table);
}

static void show_function(const json_t *result)
{
    const json_t *configuration = json_object_get(result, "configuration"), *scaling = json_object_get(result, "scaling");
    struct view reason = member_text(scaling, "reason");
    struct table table;
    table_open(&table, pair, 2);
    table_text(&table, "name"), table_cell(&table, member_text(result, "name"));
    if (json_is_object(configuration))
        show_configuration(&table, configuration);
    else
        table_text(&table, "orphaned"), table_text(&table, "not in the configuration any more; its deliveries are kept");
    show_counts(&table, "queue", json_object_get(result, "queue"));
    show_counts(&table, "counters", json_object_get(result, "counters"));
    if (!member_is_null(result, "invokes"))
        show_counts(&table, "invocations", json_object_get(result, "invokes"));
    table_text(&table, "instances wanted");
    table_format(&table, "%" PRId64 "%s%.*s", member_int(scaling, "target"), reason.len > 0 ? ": " : "", VIEW_ARGS(reason));
    show_circuit(&table, json_object_get(result, "circuit"));
    table_close(&table);
    show_instances(json_object_get(result, "instances"));
    show_usage(json_object_get(result, "usage"));
    show_ends(json_object_get(result, "ends"));
}

enum cli_exit function_show(struct cli *cli)
{
    int64_t days = USAGE_DAYS_DEFAULT;
    if (!cli_number(cli, OPTION_DAYS, 1, USAGE_DAYS_MAX, &days))
        return CLI_USAGE;
    json_t *result = call(cli, "function.show", json_pack("{s:s,s:I}", "name", cli->arguments[0], "days", (json_int_t)days), 0);
    if (result == NULL)
        return CLI_FAILED;
    if (cli->json)
        call_print(result);
    else
        show_function(result);
    json_decref(result);
    return CLI_DONE;
}

/* ---- function logs ---- */

enum {
    LOGS_BYTES_DEFAULT = 64 << 10,
    LOGS_BYTES_MAX = 1 << 20,
    LOGS_POLL_MS = 250,
};

/* The part of the answer that was not printed before. `position` counts bytes as captured; `text` may have grown where they were
 * not UTF-8, so what is new is cut from its end and may then start a little late, never twice. */
static struct view logs_new(const json_t *result, int64_t printed)
{
    struct view text = member_text(result, "text");
    int64_t position = member_int(result, "position"), fresh = position - printed;
    if (printed < 0 || fresh < 0) /* the first answer, or a daemon that was started anew */
        return text;
    if (fresh > (int64_t)text.len) {
        fprintf(stderr, "sluice: %" PRId64 " bytes of output were missed\n", fresh - (int64_t)text.len);
        return text;
    }
    return (struct view){ .data = text.data + text.len - fresh, .len = (size_t)fresh };
}

enum cli_exit function_logs(struct cli *cli)
{
    int64_t bytes = LOGS_BYTES_DEFAULT, printed = -1;
    bool follow = cli->options[OPTION_FOLLOW] != NULL;
    if (!cli_number(cli, OPTION_BYTES, 1, LOGS_BYTES_MAX, &bytes))
        return CLI_USAGE;
    if (follow && cli->json)
        return cli_usage("function logs: --follow prints text as it comes and does not go with --json");
    do {
        struct sluice_error error;
        /* After the first answer only what is new matters, however much it is. */
        json_int_t bytes_max = printed < 0 ? bytes : LOGS_BYTES_MAX;
        json_t *arguments = json_pack("{s:s,s:I}", "name", cli->arguments[0], "bytes_max", bytes_max);
        json_t *result = call_try(cli, "function.logs", arguments, 0, &error);
        if (result == NULL)
            return cli_failed("%s", error.text);
        struct view text = logs_new(result, printed);
        if (!follow && !cli->json && text.len == 0 && member_int(result, "position") == 0) {
            json_decref(result);
            return cli_failed("function '%s' has written nothing yet", cli->arguments[0]);
        }
        if (cli->json)
            call_print(result);
        else
            (void)fwrite(text.data, 1, text.len, stdout);
        (void)fflush(stdout); /* checked below */
        printed = member_int(result, "position");
        json_decref(result);
        if (follow)
            (void)nanosleep(&(struct timespec){ .tv_nsec = LOGS_POLL_MS * 1000000L }, NULL); /* a signal only shortens it */
    } while (follow && !ferror(stdout));
    return CLI_DONE;
}
