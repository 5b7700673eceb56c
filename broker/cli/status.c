#include "broker/cli/cli.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>

#include "broker/cli/table.h"

/* ---- balance ---- */

static const char *const balance_terms[] = { "accepted", "succeeded", "dead_lettered", "expired", "discarded", "pending" };
enum { BALANCE_TERMS = sizeof balance_terms / sizeof *balance_terms };

/* What is missing on the right side; 0 when it adds up. */
static int64_t balance_missing(const json_t *row)
{
    int64_t missing = member_int(row, balance_terms[0]);
    for (unsigned i = 1; i < BALANCE_TERMS; i++)
        missing -= member_int(row, balance_terms[i]);
    return missing;
}

/* It does not hold and is not told apart by its terms: they add up, and yet differ from the rows that are stored. */
static void balance_name(const json_t *result, const json_t *broken)
{
    size_t index;
    json_t *row;

    json_array_foreach(json_object_get(result, "functions"), index, row) {
        if (json_equal(json_object_get(row, "name"), broken) && balance_missing(row) != 0)
            return;
    }
    (void)cli_failed("the balance of function '%s' does not hold: its terms add up, but its stored dead letters or retries are not "
                     "as many as they say", json_is_string(broken) ? json_string_value(broken) : "?");
}

static void balance_print(const json_t *result)
{
    static const struct column columns[] = {
        { "FUNCTION", false }, { "ACCEPTED", true }, { "SUCCEEDED", true }, { "DEAD LETTERED", true }, { "EXPIRED", true },
        { "DISCARDED", true }, { "PENDING", true },
    };
    struct table table;
    size_t index;
    json_t *row;
    table_open(&table, columns, sizeof columns / sizeof *columns);
    json_array_foreach(json_object_get(result, "functions"), index, row) {
        table_cell(&table, member_text(row, "name"));
        for (unsigned i = 0; i < BALANCE_TERMS; i++)
            table_int(&table, member_int(row, balance_terms[i]));
    }
    table_close(&table);
}

enum cli_exit balance(struct cli *cli)
{
    json_t *result = call(cli, "balance", NULL, 0), *row, *name;
    size_t index;
    if (result == NULL)
        return CLI_FAILED;
    json_t *broken = json_incref(json_object_get(result, "broken"));
    (void)json_object_del(result, "broken"); /* said in words, below */
    bool holds = member_bool(result, "holds"), named = false;
    if (cli->json)
        call_print(result);
    else
        balance_print(result);
    /* The terms are public, so they are added up here once more rather than believed. */
    json_array_foreach(json_object_get(result, "functions"), index, row) {
        int64_t missing = balance_missing(row);
        if (missing == 0)
            continue;
        named = true;
        (void)cli_failed("the balance of function '%s' does not hold: %" PRId64 " deliveries %s", member_text(row, "name").data,
                         missing > 0 ? missing : -missing, missing > 0 ? "are missing" : "too many");
    }
    json_array_foreach(broken, index, name)
        balance_name(result, name);
    json_decref(broken);
    json_decref(result);
    return holds && !named ? CLI_DONE : CLI_FAILED;
}

/* ---- status ---- */

static void status_print_store(struct table *table, const json_t *store, const json_t *commit_us)
{
    table_text(table, "store");
    table_format(table, "%s used, file %s of at most %s, reserve %s", format_bytes(member_int(store, "used_bytes")).text,
                 format_bytes(member_int(store, "file_bytes")).text, format_bytes(member_int(store, "map_bytes")).text,
                 format_bytes(member_int(store, "reserve_bytes")).text);
    if (!member_bool(store, "accepts"))
        table_text(table, "refuses events"), table_cell(table, member_text(store, "reason"));
    table_text(table, "commit");
    if (member_is_null(commit_us, "p50"))
        table_text(table, "none yet");
    else
        table_format(table, "%s at the median, %s at the 99th percentile", format_us(member_int(commit_us, "p50")).text,
                     format_us(member_int(commit_us, "p99")).text);
}

/* Texts of an array, or words "name count", in one line. */
static void status_print_list(struct table *table, const char *title, const json_t *list)
{
    struct bytes text = { 0 };
    const char *name;
    json_t *value;
    size_t index;
    json_array_foreach(list, index, value)
        bytes_put_format(&text, "%s%s", text.len > 0 ? " " : "", json_is_string(value) ? json_string_value(value) : "?");
    json_object_foreach((json_t *)list, name, value)
        bytes_put_format(&text, "%s%s %" PRId64, text.len > 0 ? ", " : "", name, (int64_t)json_integer_value(value));
    table_text(table, title), table_cell(table, bytes_view(&text));
    bytes_done(&text);
}

static void status_print(const json_t *result)
{
    static const struct column columns[] = { { NULL, false }, { NULL, false } };
    static const struct { const char *title, *member; } counts[] = {
        { "events", "events_total" }, { "unmatched", "unmatched" }, { "pending", "pending" }, { "functions", "functions" },
        { "rules", "rules" }, { "producers", "producers" },
    };
    struct table table;
    table_open(&table, columns, 2);
    table_text(&table, "daemon");
    table_format(&table, "pid %" PRId64 ", version %s, up %s", member_int(result, "pid"), member_text(result, "version").data,
                 format_span(member_int(result, "uptime_ms")).text);
    table_text(&table, "configuration"), table_format(&table, "revision %" PRId64, member_int(result, "revision"));
    status_print_list(&table, "listens on", json_object_get(result, "bus"));
    for (unsigned i = 0; i < sizeof counts / sizeof *counts; i++)
        table_text(&table, counts[i].title), table_int(&table, member_int(result, counts[i].member));
    status_print_list(&table, "instances", json_object_get(result, "instances"));
    table_text(&table, "attached"), table_int(&table, member_int(result, "attached"));
    status_print_store(&table, json_object_get(result, "store"), json_object_get(result, "commit_us"));
    if (json_array_size(json_object_get(result, "unsafe")) > 0)
        status_print_list(&table, "UNSAFE", json_object_get(result, "unsafe"));
    table_close(&table);
}

enum cli_exit status(struct cli *cli)
{
    json_t *result = call(cli, "status", NULL, 0);
    if (result == NULL)
        return CLI_FAILED;
    if (cli->json)
        call_print(result);
    else
        status_print(result);
    json_decref(result);
    return CLI_DONE;
}
