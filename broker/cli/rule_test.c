/* rule test and rule cost: the engine without a daemon, on a pattern or on the rules of a configuration. */
#include "broker/cli/cli.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "broker/cli/envelope_line.h"
#include "broker/cli/rule_sets.h"
#include "broker/cli/table.h"
#include "broker/core/explain.h"
#include "broker/edge/config_file.h"
#include "schemas/codec/json.h"

enum { TEST_INPUT_BYTES_MAX = 8 << 20 };

/* ---- what is tested ---- */

/* The rules of a configuration, each bus with a set of its own as in the daemon; one pattern is a configuration of one rule. Ids are places
 * in config->rules. */
struct tested {
    const struct config *config;
    struct config_file *file;     /* NULL: the one pattern */
    struct bytes pattern;         /* its text, with a NUL behind it */
    struct config_rule one_rule;
    const char *one_bus[2];
    struct config one;
    struct match_set **sets;      /* by bus; NULL: not the one asked for */
    uint64_t *matched;            /* events, by rule */
    struct match_scratch *scratch;
    struct bytes texts;           /* of the event at hand */
};

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

static void tested_done(struct tested *tested)
{
    for (size_t b = 0; tested->sets != NULL && b < tested->config->buses_count; b++)
        (void)match_set_free(tested->sets[b]);
    free(tested->sets);
    (void)match_scratch_free(tested->scratch);
    (void)config_file_free(tested->file);
    bytes_done(&tested->pattern);
    bytes_done(&tested->texts);
    free(tested->matched);
}

static bool take_pattern(struct tested *tested, const char *argument)
{
    struct sluice_error error;

    if (!read_input("pattern", argument, &tested->pattern))
        return false;
    if (pattern_check(bytes_view(&tested->pattern), NULL, &error) != SLUICE_OK) { /* its message gives the place in the text */
        (void)cli_usage("pattern: %s", error.text);
        return false;
    }
    bytes_put_char(&tested->pattern, '\0');
    tested->one_bus[0] = EVENT_BUS_DEFAULT;
    tested->one_rule = (struct config_rule){ .name = "pattern", .bus = EVENT_BUS_DEFAULT, .pattern = tested->pattern.data, .enabled = true };
    tested->one = (struct config){ .buses = tested->one_bus, .buses_count = 1, .rules = &tested->one_rule, .rules_count = 1 };
    tested->config = &tested->one;
    return true;
}

/* In config->buses. false: there is none of this name, and the error says so. */
static bool find_bus(const struct config *config, const char *name, size_t *ret_bus, struct sluice_error *reterr)
{
    for (size_t b = 0; b < config->buses_count; b++)
        if (strcmp(config->buses[b], name) == 0) {
            *ret_bus = b;
            return true;
        }
    (void)sluice_fail(reterr, SLUICE_ENOTFOUND, "bus '%s' does not exist; name it under 'buses' in the configuration", name);
    return false;
}

/* Of the one bus asked for, or of each. */
static enum sluice_err make_sets(struct tested *tested, const char *bus_name, struct sluice_error *reterr)
{
    size_t only = SIZE_MAX;
    enum sluice_err err = SLUICE_OK;

    if (bus_name != NULL && !find_bus(tested->config, bus_name, &only, reterr))
        return SLUICE_ENOTFOUND;
    for (size_t b = 0; b < tested->config->buses_count && err == SLUICE_OK; b++)
        if (only == SIZE_MAX || b == only)
            err = rule_set_of_bus(tested->config, tested->config->buses[b], &tested->sets[b], reterr);
    return err;
}

/* false: what was wrong was said. */
static bool tested_open(const struct cli *cli, struct tested *tested)
{
    const char *pattern = cli->options[OPTION_PATTERN], *path = cli->arguments[0], *bus = cli->options[OPTION_BUS];
    struct sluice_error error;

    if (pattern == NULL && path == NULL) {
        (void)cli_usage("rule test needs --pattern PATTERN, or PATH, a configuration");
        return false;
    }
    if (pattern != NULL && path != NULL) {
        (void)cli_usage("both --pattern and a configuration are given; rule test takes one of them");
        return false;
    }
    if (pattern != NULL && bus != NULL) {
        (void)cli_usage("--bus goes with a configuration, not with --pattern");
        return false;
    }
    if (pattern != NULL && !take_pattern(tested, pattern))
        return false;
    if (path != NULL) {
        tested->file = config_file_load(path, NULL, stderr, NULL);
        if (tested->file == NULL)
            return false;
        tested->config = &tested->file->config;
    }
    tested->scratch = match_scratch_new();
    tested->matched = calloc(tested->config->rules_count + 1UL, sizeof *tested->matched);
    tested->sets = calloc(tested->config->buses_count + 1UL, sizeof(struct match_set *));
    bool room = tested->scratch != NULL && tested->matched != NULL && tested->sets != NULL;
    enum sluice_err err = room ? make_sets(tested, bus, &error) : sluice_fail(&error, SLUICE_ENOMEM, "out of memory");
    if (err != SLUICE_OK)
        (void)cli_usage("%s", error.text);
    return err == SLUICE_OK;
}

/* Whose rules the event is tried on, as in the daemon: those of the bus that it is put on. */
struct bus_choice {
    size_t bus;       /* in config->buses */
    bool assumed;     /* neither the command nor the event says it */
};

static enum sluice_err choose_bus(const struct cli *cli, struct tested *tested, struct view event, struct bus_choice *ret_choice,
                                  struct sluice_error *reterr)
{
    const char *name = cli->options[OPTION_BUS];
    enum sluice_err err = json_check(event, JSON_OBJECT, EVENT_DEPTH_MAX, reterr);

    *ret_choice = (struct bus_choice){ 0 };
    if (err == SLUICE_OK && name == NULL && tested->file != NULL)
        err = envelope_line_bus(event, &tested->texts, &name, reterr);
    if (err != SLUICE_OK)
        return err;
    ret_choice->assumed = name == NULL;
    return find_bus(tested->config, name != NULL ? name : EVENT_BUS_DEFAULT, &ret_choice->bus, reterr) ? SLUICE_OK : SLUICE_ENOTFOUND;
}

static enum sluice_err match_rules(struct tested *tested, size_t bus, struct view event, const uint32_t **ret_rules, size_t *ret_count,
                                   struct sluice_error *reterr)
{
    return match_json_checked(tested->sets[bus], tested->scratch, event, ret_rules, ret_count, reterr);
}

/* Whether rule number `rule` is one of those that an event of `bus` is tried on. */
static bool is_tried(const struct tested *tested, size_t rule, size_t bus)
{
    return tested->config->rules[rule].enabled && strcmp(tested->config->rules[rule].bus, tested->config->buses[bus]) == 0;
}

/* ---- one event ---- */

static enum cli_exit print_rule(const struct cli *cli, const struct tested *tested, const struct config_rule *rule, bool matches, struct view event, bool first)
{
    struct explanation explanation = { .text = "" };
    struct sluice_error error;
    struct bytes line = { 0 };
    bool explain = cli->options[OPTION_EXPLAIN] != NULL;

    if (explain && explain_json(view_of(rule->pattern), event, &explanation, &error) != SLUICE_OK)
        return cli_usage("event: %s", error.text);
    if (cli->json) {
        bytes_put_text(&line, first ? "{" : ",{");
        if (tested->file != NULL) {
            bytes_put_text(&line, "\"rule\":");
            json_put_string(&line, view_of(rule->name));
            bytes_put_char(&line, ',');
        }
        bytes_put_format(&line, "\"match\":%s", matches ? "true" : "false");
        if (explain) {
            bytes_put_text(&line, ",\"why\":");
            json_put_string(&line, view_of(explanation.text));
        }
        bytes_put_char(&line, '}');
        (void)fwrite(line.data, 1, line.len, stdout); /* errors show at the end of main */
        bytes_done(&line);
        return CLI_DONE;
    }
    if (tested->file != NULL)
        printf("%s: ", rule->name);
    fputs(matches ? "match" : "no match", stdout);
    if (explain) {
        fputs(": ", stdout);
        print_clean(stdout, view_of(explanation.text));
    }
    putchar('\n');
    return CLI_DONE;
}

/* 0 match, 1 no match, 2 for all that keeps the question from being answered. Of a configuration the rules that match, and with
 * --explain the others too. */
static enum cli_exit test_event(const struct cli *cli, struct tested *tested, struct view event)
{
    const uint32_t *rules;
    size_t count = 0, next = 0;
    struct bus_choice choice;
    struct sluice_error error;
    bool all = tested->file == NULL || cli->options[OPTION_EXPLAIN] != NULL, first = true;

    if (choose_bus(cli, tested, event, &choice, &error) != SLUICE_OK ||
        match_rules(tested, choice.bus, event, &rules, &count, &error) != SLUICE_OK)
        return cli_usage("event: %s", error.text);
    if (cli->json && tested->file != NULL)
        fputs("{\"rules\":[", stdout);
    for (size_t r = 0; r < tested->config->rules_count; r++) {
        bool matches = next < count && rules[next] == r;
        next += matches;
        if (!matches && (!all || !is_tried(tested, r, choice.bus)))
            continue;
        enum cli_exit exit = print_rule(cli, tested, &tested->config->rules[r], matches, event, first);
        if (exit != CLI_DONE)
            return exit;
        first = false;
    }
    if (cli->json)
        puts(tested->file != NULL ? "]}" : "");
    if (count == 0 && choice.assumed && tested->config->buses_count > 1)
        fputs("sluice: the event names no bus, so the rules of bus '" EVENT_BUS_DEFAULT "' were tried; --bus says another\n", stderr);
    return count > 0 ? CLI_DONE : CLI_FAILED;
}

/* ---- a file of events ---- */

enum { MISTAKES_SAID_MAX = 10 };

struct file_counts {
    uint64_t events, matched, wrong; /* wrong: lines that are no JSON object, or whose bus there is not */
};

static void count_line(const struct cli *cli, struct tested *tested, struct view line, uint64_t number, struct file_counts *counts)
{
    const uint32_t *rules;
    size_t count = 0;
    struct bus_choice choice;
    struct sluice_error error;

    if (choose_bus(cli, tested, line, &choice, &error) != SLUICE_OK ||
        match_rules(tested, choice.bus, line, &rules, &count, &error) != SLUICE_OK) {
        if (counts->wrong++ < MISTAKES_SAID_MAX)
            (void)cli_usage("line %" PRIu64 ": %s", number, error.text);
        return;
    }
    counts->events++;
    counts->matched += count > 0;
    for (size_t i = 0; i < count; i++)
        tested->matched[rules[i]]++;
}

/* Those of all buses, or of the one that was asked for. */
static bool is_counted(const struct cli *cli, const struct config_rule *rule)
{
    const char *bus = cli->options[OPTION_BUS];

    return rule->enabled && (bus == NULL || strcmp(rule->bus, bus) == 0);
}

static void print_counts(const struct cli *cli, const struct tested *tested, const struct file_counts *counts)
{
    static const struct column columns[] = { { "RULE", false }, { "MATCHED", true } };
    struct table table;
    bool first = true;

    if (cli->json) {
        struct bytes line = { 0 };
        bytes_put_format(&line, "{\"events\":%" PRIu64 ",\"matched\":%" PRIu64 ",\"wrong\":%" PRIu64 ",\"rules\":[", counts->events,
                         counts->matched, counts->wrong);
        for (size_t r = 0; r < tested->config->rules_count; r++) {
            if (!is_counted(cli, &tested->config->rules[r]))
                continue;
            bytes_put_text(&line, first ? "{\"rule\":" : ",{\"rule\":");
            json_put_string(&line, view_of(tested->config->rules[r].name));
            first = false;
            bytes_put_format(&line, ",\"matched\":%" PRIu64 "}", tested->matched[r]);
        }
        bytes_put_text(&line, "]}\n");
        (void)fwrite(line.data, 1, line.len, stdout); /* errors show at the end of main */
        bytes_done(&line);
        return;
    }
    table_open(&table, columns, sizeof columns / sizeof *columns);
    for (size_t r = 0; r < tested->config->rules_count; r++) {
        if (!is_counted(cli, &tested->config->rules[r]))
            continue;
        table_text(&table, tested->config->rules[r].name);
        table_int(&table, (int64_t)tested->matched[r]);
    }
    table_close(&table);
    printf("%" PRIu64 " of %" PRIu64 " events match a rule\n", counts->matched, counts->events);
}

/* 0: some event matched a rule; 1: none did; 2: a line is no event. */
static enum cli_exit test_file(const struct cli *cli, struct tested *tested)
{
    const char *path = cli->options[OPTION_FILE];
    bool from_stdin = strcmp(path, "-") == 0;
    FILE *file = from_stdin ? stdin : fopen(path, "re");
    struct file_counts counts = { 0 };
    char *line = NULL;
    size_t capacity = 0;
    ssize_t len;

    if (file == NULL)
        return cli_usage("cannot read %s: %s", path, strerror(errno));
    for (uint64_t number = 1; (len = getline(&line, &capacity, file)) >= 0; number++)
        if (strspn(line, " \t\r\n") < (size_t)len)
            count_line(cli, tested, (struct view){ .data = line, .len = (size_t)len }, number, &counts);
    bool failed = ferror(file) != 0;
    free(line);
    if (!from_stdin)
        (void)fclose(file); /* only read */
    if (failed)
        return cli_usage("cannot read %s: %s", path, strerror(errno));
    print_counts(cli, tested, &counts);
    if (counts.wrong > 0)
        return cli_usage("%" PRIu64 " lines are no events", counts.wrong);
    return counts.matched > 0 ? CLI_DONE : CLI_FAILED;
}

enum cli_exit rule_test(struct cli *cli)
{
    struct tested tested = { 0 };
    struct bytes event = { 0 };
    enum cli_exit exit = CLI_USAGE;
    bool has_event = cli->options[OPTION_EVENT] != NULL, has_file = cli->options[OPTION_FILE] != NULL;

    if (tested_open(cli, &tested)) {
        if (has_event == has_file)
            (void)cli_usage(has_event ? "both --event and --file are given; rule test takes one of them"
                                      : "rule test needs --event EVENT, or --file FILE with an event a line");
        else if (has_file && cli->options[OPTION_EXPLAIN] != NULL)
            (void)cli_usage("--explain goes with --event, not with a file");
        else if (has_file)
            exit = test_file(cli, &tested);
        else if (read_input("event", cli->options[OPTION_EVENT], &event))
            exit = test_event(cli, &tested, bytes_view(&event));
    }
    bytes_done(&event);
    tested_done(&tested);
    return exit;
}

/* ---- rule cost ---- */

static void cost_row(const struct cli *cli, struct table *table, struct bytes *json, const char *bus, const struct match_cost *cost)
{
    if (cli->json) {
        bytes_put_text(json, json->len == 0 ? "{\"bus\":" : ",{\"bus\":");
        json_put_string(json, view_of(bus));
        bytes_put_format(json, ",\"rules\":%zu,\"combinations\":%zu,\"fields\":%zu,\"predicates\":%zu,\"bytes\":%zu,\"text_bytes\":%zu,"
                         "\"price\":%" PRIu64 ",\"price_max\":%d,\"join_steps\":%" PRIu64 ",\"join_steps_max\":%d}", cost->rules, cost->conjunctions, cost->paths, cost->predicates,
                         cost->bytes, cost->text_bytes, cost->price, MATCH_PRICE_MAX, cost->join_steps, MATCH_STEPS_MAX);
        return;
    }
    table_text(table, bus);
    table_int(table, (int64_t)cost->rules);
    table_int(table, (int64_t)cost->conjunctions);
    table_int(table, (int64_t)cost->paths);
    table_int(table, (int64_t)cost->predicates);
    table_text(table, format_bytes((int64_t)cost->bytes).text);
    table_int(table, (int64_t)cost->price);
    table_format(table, "%.1f%%", (double)cost->price * 100 / MATCH_PRICE_MAX);
    table_int(table, (int64_t)cost->join_steps);
    table_format(table, "%.1f%%", (double)cost->join_steps * 100 / MATCH_STEPS_MAX);
}

/* Each bus has a rule index of its own. */
enum cli_exit rule_cost(struct cli *cli)
{
    static const struct column columns[] = {
        { "BUS", false }, { "RULES", true }, { "COMBINATIONS", true }, { "FIELDS", true }, { "PREDICATES", true }, { "MEMORY", true },
        { "PRICE", true }, { "OF LIMIT", true }, { "JOIN STEPS", true }, { "OF LIMIT", true },
    };
    struct config_file *file = config_file_load(cli->arguments[0], NULL, stderr, NULL);
    struct table table;
    struct bytes json = { 0 };
    struct sluice_error error;
    enum cli_exit exit = CLI_DONE;

    if (file == NULL)
        return CLI_USAGE;
    table_open(&table, columns, sizeof columns / sizeof *columns);
    for (size_t b = 0; file->config.buses[b] != NULL && exit == CLI_DONE; b++) {
        struct match_set *set = NULL;
        if (rule_set_of_bus(&file->config, file->config.buses[b], &set, &error) != SLUICE_OK) {
            exit = cli_failed("%s", error.text);
        } else {
            struct match_cost cost = match_set_cost(set);
            cost_row(cli, &table, &json, file->config.buses[b], &cost);
        }
        (void)match_set_free(set);
    }
    if (!cli->json)
        table_flush(&table);
    else if (exit == CLI_DONE)
        printf("{\"buses\":[%.*s]}\n", (int)json.len, json.data == NULL ? "" : json.data);
    bytes_done(&table.text);
    bytes_done(&json);
    (void)config_file_free(file);
    return exit;
}
