#include "broker/cli/cli.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>

#include "broker/cli/table.h"

/* ---- dead-letter list ---- */

static void list_row(void *ctx, const json_t *row)
{
    struct table *table = ctx;
    struct view reason = member_text(row, "reason"), message = member_text(row, "message");
    table_cell(table, member_text(row, "function"));
    table_cell(table, member_text(row, "delivery"));
    table_cell(table, member_text(row, "id"));
    table_cell(table, member_text(row, "detail_type"));
    table_int(table, member_int(row, "attempts"));
    table_text(table, format_time(member_int(row, "failed_ms")).text);
    table_format(table, "%.*s: %.*s", VIEW_ARGS(reason), VIEW_ARGS(message));
}

static void flush_page(void *ctx)
{
    table_flush(ctx);
}

enum cli_exit dead_letter_list(struct cli *cli)
{
    static const struct column columns[] = {
        { "FUNCTION", false }, { "DELIVERY", false }, { "EVENT", false }, { "DETAIL-TYPE", false }, { "ATTEMPTS", true },
        { "GIVEN UP", false }, { "WHY", false },
    };
    struct table table;
    table_open(&table, columns, sizeof columns / sizeof *columns);
    struct call_list list = {
        .command = "dead-letter.list", .rows_name = "dead_letters", .on_row = list_row, .on_page = flush_page, .ctx = &table,
    };
    json_t *arguments = cli->arguments[0] == NULL ? NULL : json_pack("{s:s}", "function", cli->arguments[0]);
    enum cli_exit exit = call_list(cli, &list, arguments);
    bytes_done(&table.text);
    return exit;
}

/* ---- which dead letter is meant: "SEQ.ORDINAL", or the id of its event ---- */

static bool is_delivery(const char *text)
{
    size_t seq = strspn(text, "0123456789");
    if (seq == 0 || text[seq] != '.')
        return false;
    size_t ordinal = strspn(text + seq + 1, "0123456789");
    return ordinal > 0 && text[seq + 1 + ordinal] == '\0';
}

/* Deliveries as an array of names, to be json_decref'ed; NULL: there is none, and that was said. Two rules may have sent one
 * event to the same function, so an event's id may stand for several. */
static json_t *deliveries_of(const struct cli *cli, const char *function, const char *which)
{
    if (is_delivery(which))
        return json_pack("[s]", which);
    json_t *event = call(cli, "event.show", json_pack("{s:s}", "id", which), 0), *names = json_array(), *row;
    size_t index;
    json_array_foreach(json_object_get(event, "deliveries"), index, row) {
        if (view_is(member_text(row, "function"), function) && view_is(member_text(row, "state"), "dead"))
            json_array_append(names, json_object_get(row, "delivery"));
    }
    if (event != NULL && json_array_size(names) == 0)
        (void)cli_failed("event %s is no dead letter of function '%s'", which, function);
    json_decref(event);
    if (json_array_size(names) > 0)
        return names;
    json_decref(names);
    return NULL;
}

/* ---- dead-letter show ---- */

static void show_dead_letter(const json_t *result)
{
    static const struct column columns[] = { { NULL, false }, { NULL, false } };
    static const struct { const char *title, *member; } texts[] = {
        { "function", "function" }, { "delivery", "delivery" }, { "event id", "id" }, { "bus", "bus" }, { "rule", "rule" },
        { "reason", "reason" }, { "message", "message" }, { "event", "event" },
    };
    struct view output = member_text(result, "output");
    struct table table;
    table_open(&table, columns, 2);
    for (unsigned i = 0; i < sizeof texts / sizeof *texts; i++)
        table_text(&table, texts[i].title), table_cell(&table, member_text(result, texts[i].member));
    table_text(&table, "attempts"), table_int(&table, member_int(result, "attempts"));
    table_text(&table, "accepted"), table_text(&table, format_time(member_int(result, "accepted_ms")).text);
    table_text(&table, "given up"), table_text(&table, format_time(member_int(result, "failed_ms")).text);
    table_close(&table);
    if (output.len == 0)
        return;
    puts("last output:");
    (void)fwrite(output.data, 1, output.len, stdout);
    if (output.data[output.len - 1] != '\n')
        putchar('\n');
}

enum cli_exit dead_letter_show(struct cli *cli)
{
    const char *function = cli->arguments[0];
    json_t *names = deliveries_of(cli, function, cli->arguments[1]), *name;
    enum cli_exit exit = names == NULL ? CLI_FAILED : CLI_DONE;
    size_t index;
    json_array_foreach(names, index, name) {
        json_t *result = call(cli, "dead-letter.show", json_pack("{s:s,s:O}", "function", function, "delivery", name), 0);
        if (result == NULL) {
            exit = CLI_FAILED;
            continue;
        }
        if (cli->json)
            call_print(result);
        else
            show_dead_letter(result);
        json_decref(result);
    }
    json_decref(names);
    return exit;
}

/* ---- dead-letter redrive, dead-letter purge ---- */

/* One or all of a function: the daemon does a bounded number in one call and says where to go on. */
struct change {
    const char *command, *counted;
    int64_t count;
};

static bool change_all(const struct cli *cli, struct change *change)
{
    enum { CHANGE_ROWS = 1000 };
    json_t *arguments = json_pack("{s:s,s:i}", "function", cli->arguments[0], "limit", CHANGE_ROWS), *result;
    bool more = true;
    while (more && (result = call(cli, change->command, json_incref(arguments), 0)) != NULL) {
        change->count += member_int(result, change->counted);
        json_object_set(arguments, "cursor", json_object_get(result, "cursor"));
        more = !member_is_null(result, "cursor");
        json_decref(result);
    }
    json_decref(arguments);
    return !more;
}

static bool change_some(const struct cli *cli, const char *which, struct change *change)
{
    json_t *names = deliveries_of(cli, cli->arguments[0], which), *name;
    bool done = names != NULL;
    size_t index;
    json_array_foreach(names, index, name) {
        json_t *arguments = json_pack("{s:s,s:O}", "function", cli->arguments[0], "delivery", name);
        json_t *result = call(cli, change->command, arguments, 0);
        change->count += member_int(result, change->counted);
        done = done && result != NULL;
        json_decref(result);
    }
    json_decref(names);
    return done;
}

static enum cli_exit change_run(const struct cli *cli, struct change change)
{
    bool done = cli->arguments[1] == NULL ? change_all(cli, &change) : change_some(cli, cli->arguments[1], &change);
    if (!done && change.count == 0)
        return CLI_FAILED; /* said already why; nothing was done that could be counted */
    if (cli->json)
        printf("{\"%s\":%" PRId64 "}\n", change.counted, change.count);
    else
        printf("%" PRId64 " %s\n", change.count, change.counted);
    return done ? CLI_DONE : CLI_FAILED;
}

enum cli_exit dead_letter_redrive(struct cli *cli)
{
    return change_run(cli, (struct change){ .command = "dead-letter.redrive", .counted = "redriven" });
}

enum cli_exit dead_letter_purge(struct cli *cli)
{
    return change_run(cli, (struct change){ .command = "dead-letter.purge", .counted = "purged" });
}
