#include "broker/cli/cli.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>

#include "broker/cli/table.h"
#include "broker/core/match.h"

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

/* ---- rule test: no daemon ---- */

enum { TEST_INPUT_BYTES_MAX = 8 << 20 };

/* The text itself, or with @ in front the file's contents. false: it cannot be read, and that was said. */
static bool read_input(const char *what, const char *argument, struct bytes *ret_text)
{
    if (argument[0] != '@') {
        bytes_put_text(ret_text, argument);
        return true;
    }
    char chunk[16 << 10];
    size_t got = 0;
    FILE *file = fopen(argument + 1, "re");
    while (file != NULL && ret_text->len <= TEST_INPUT_BYTES_MAX && (got = fread(chunk, 1, sizeof chunk, file)) > 0)
        bytes_put(ret_text, chunk, got);
    if (file == NULL || ferror(file)) {
        (void)cli_usage("%s: cannot read %s: %s", what, argument + 1, strerror(errno));
    } else if (ret_text->len > TEST_INPUT_BYTES_MAX) {
        (void)cli_usage("%s: %s is larger than %d MiB", what, argument + 1, TEST_INPUT_BYTES_MAX >> 20);
    } else {
        (void)fclose(file); /* only read */
        return true;
    }
    if (file != NULL)
        (void)fclose(file);
    return false;
}

static enum cli_exit test_match(const struct cli *cli, const struct match_set *set, struct view event)
{
    struct match_scratch *scratch = match_scratch_new();
    const uint32_t *ids;
    size_t count = 0;
    struct sluice_error error;
    if (scratch == NULL)
        return cli_usage("out of memory");
    enum sluice_err err = match_json(set, scratch, event, &ids, &count, &error);
    match_scratch_free(scratch);
    if (err != SLUICE_OK)
        return cli_usage("event: %s", error.text);
    if (cli->json)
        printf("{\"match\":%s}\n", count > 0 ? "true" : "false");
    else
        puts(count > 0 ? "match" : "no match");
    return count > 0 ? CLI_DONE : CLI_FAILED;
}

/* 0 match, 1 no match, 2 for all that keeps the question from being answered. */
enum cli_exit rule_test(struct cli *cli)
{
    struct bytes pattern = { 0 }, event = { 0 };
    struct sluice_error error;
    enum cli_exit exit = CLI_USAGE;
    if (read_input("pattern", cli->options[OPTION_PATTERN], &pattern) &&
        read_input("event", cli->options[OPTION_EVENT], &event)) {
        struct match_rule rule = { .pattern = bytes_view(&pattern), .id = 1 };
        struct match_set *set = NULL;
        /* Alone first: its message gives the place in the text. */
        if (pattern_check(rule.pattern, NULL, &error) != SLUICE_OK || match_set_new(&rule, 1, &set, NULL, &error) != SLUICE_OK)
            (void)cli_usage("pattern: %s", error.text);
        else
            exit = test_match(cli, set, bytes_view(&event));
        match_set_free(set);
    }
    bytes_done(&pattern);
    bytes_done(&event);
    return exit;
}
