#include "broker/cli/cli.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>

#include "broker/cli/envelope_line.h"
#include "broker/cli/table.h"

enum { TAIL_WAIT_MS = 10000, TAIL_PAGE = 100 };

/* Prints what one call brought; returns how many of them count towards -n. */
static int64_t tail_print(const struct cli *cli, const json_t *result, int64_t left, struct bytes *scratch)
{
    size_t index;
    json_t *row;
    int64_t printed = 0;
    if (member_int(result, "gap") > 0)
        fprintf(stderr, "sluice: %" PRId64 " events are settled and trimmed, and not shown\n", member_int(result, "gap"));
    json_array_foreach(json_object_get(result, "events"), index, row) {
        struct view event = member_text(row, "event");
        if (printed == left)
            break;
        if (cli->options[OPTION_BUS] != NULL && !view_is(member_text(row, "bus"), cli->options[OPTION_BUS]))
            continue;
        printed++;
        if (event.len == 0)
            fprintf(stderr, "sluice: event %" PRId64 " is too large to be shown\n", member_int(row, "seq"));
        else if (cli->json)
            printf("%s\n", event.data);
        else
            envelope_line_print(member_int(row, "seq"), member_text(row, "bus"), event, scratch);
    }
    (void)fflush(stdout); /* checked by the caller with ferror() */
    return printed;
}

enum cli_exit event_tail(struct cli *cli)
{
    int64_t after = -1, left = INT64_MAX;
    if (!cli_number(cli, OPTION_AFTER, 0, INT64_MAX - 1, &after) || !cli_number(cli, OPTION_MAX, 1, INT64_MAX, &left))
        return CLI_USAGE;
    struct bytes scratch = { 0 };
    enum cli_exit exit = CLI_DONE;
    while (left > 0 && exit == CLI_DONE && !ferror(stdout)) {
        int max = left < TAIL_PAGE && cli->options[OPTION_BUS] == NULL ? (int)left : TAIL_PAGE;
        json_t *arguments = json_pack("{s:i,s:i}", "max", max, "wait_ms", TAIL_WAIT_MS);
        if (after >= 0)
            json_object_set_new(arguments, "after_seq", json_integer(after));
        json_t *result = call(cli, "event.tail", arguments, TAIL_WAIT_MS + CALL_TIMEOUT_MS);
        if (result == NULL) {
            exit = CLI_FAILED;
            break;
        }
        left -= tail_print(cli, result, left, &scratch);
        after = member_int(result, "next_seq") - 1;
        json_decref(result);
    }
    bytes_done(&scratch);
    return exit;
}

static void print_deliveries(const json_t *result)
{
    static const struct column columns[] = {
        { "DELIVERY", false }, { "FUNCTION", false }, { "RULE", false }, { "STATE", false }, { "ATTEMPTS", true },
        { "WHEN", false }, { "WHY", false },
    };
    struct table table;
    size_t index;
    json_t *row;
    table_open(&table, columns, sizeof columns / sizeof *columns);
    json_array_foreach(json_object_get(result, "deliveries"), index, row) {
        struct view reason = member_text(row, "reason"), message = member_text(row, "message");
        table_cell(&table, member_text(row, "delivery"));
        table_cell(&table, member_text(row, "function"));
        table_cell(&table, member_text(row, "rule"));
        table_cell(&table, member_text(row, "state"));
        table_int(&table, member_int(row, "attempts"));
        table_text(&table, format_time(member_int(row, "due_ms")).text);
        if (reason.len > 0)
            table_format(&table, "%.*s: %.*s", VIEW_ARGS(reason), VIEW_ARGS(message));
        else if (!member_is_null(row, "instance"))
            table_format(&table, "with instance %" PRId64, member_int(row, "instance"));
        else
            table_text(&table, "");
    }
    table_close(&table);
}

enum cli_exit event_show(struct cli *cli)
{
    static const struct column columns[] = { { NULL, false }, { NULL, false } };
    json_t *result = call(cli, "event.show", json_pack("{s:s}", "id", cli->arguments[0]), 0);
    struct table table;
    if (result == NULL)
        return CLI_FAILED;
    if (cli->json) {
        call_print(result);
        json_decref(result);
        return CLI_DONE;
    }
    table_open(&table, columns, 2);
    table_text(&table, "id"), table_cell(&table, member_text(result, "id"));
    table_text(&table, "sequence"), table_int(&table, member_int(result, "seq"));
    table_text(&table, "bus"), table_cell(&table, member_text(result, "bus"));
    table_text(&table, "on disk since"), table_text(&table, format_time(member_int(result, "committed_ms")).text);
    table_text(&table, "event"), table_cell(&table, member_text(result, "event"));
    table_close(&table);
    if (json_array_size(json_object_get(result, "deliveries")) == 0) {
        puts("no rule matched it");
    } else {
        putchar('\n');
        print_deliveries(result);
    }
    if (member_bool(result, "scanned"))
        fprintf(stderr, "sluice: the event is not where the time in its id points, so the whole log was searched\n");
    json_decref(result);
    return CLI_DONE;
}
