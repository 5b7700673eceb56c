#include "broker/cli/cli.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>

#include "broker/cli/table.h"

/* ---- rule list ---- */

static void list_row(void *ctx, const json_t *row)
{
    struct table *table = ctx;
    struct bytes targets = { 0 };
    size_t index;
    json_t *target;
    json_array_foreach(json_object_get(row, "targets"), index, target) {
        bytes_put_text(&targets, index > 0 ? "," : "");
        bytes_put_view(&targets, member_text(target, "function"));
    }
    table_cell(table, member_text(row, "name"));
    table_cell(table, member_text(row, "bus"));
    table_text(table, member_bool(row, "enabled") ? "yes" : "no");
    table_int(table, member_int(row, "matched"));
    table_cell(table, bytes_view(&targets));
    table_cell(table, member_text(row, "pattern"));
    bytes_done(&targets);
}

static void flush_page(void *ctx)
{
    table_flush(ctx);
}

enum cli_exit rule_list(struct cli *cli)
{
    static const struct column columns[] = {
        { "NAME", false }, { "BUS", false }, { "ENABLED", false }, { "MATCHED", true }, { "TARGETS", false },
        { "PATTERN", false },
    };
    struct table table;
    table_open(&table, columns, sizeof columns / sizeof *columns);
    struct call_list list = {
        .command = "rule.list", .rows_name = "rules", .on_row = list_row, .on_page = flush_page, .ctx = &table,
    };
    enum cli_exit exit = call_list(cli, &list, NULL);
    bytes_done(&table.text);
    return exit;
}
