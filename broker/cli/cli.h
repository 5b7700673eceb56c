/* cli.h - what the files of the `sluice` tool share: the command table's types, control calls, and how things are said.
 *
 *   main.c    the table of commands and options; parses, dispatches, prints help
 *   call.c    a control call to the daemon, page by page where there are pages
 *   table.c   aligned columns, readable times and sizes
 *   envelope_line.c    an EventBridge envelope on one line, read and shown
 *   put.c event.c function.c invoke.c rule.c rule_test.c dead_letter.c status.c config.c store.c    the commands, a file a noun
 *   top.c     the functions on the terminal, again and again; screen.c is that terminal
 *   completion.c       the script for bash, from the table
 *
 * A command finds its options and arguments parsed and counted. It prints data to stdout and talks on stderr, and returns one of
 * the three exit statuses. With --json it prints what schemas/control.md says the daemon answers; an event, which travels there
 * as a string, is printed as the JSON object it is. */
#ifndef SLUICE_CLI_H
#define SLUICE_CLI_H

#include "schemas/codec/view.h"
#include "sluice/error.h"

/* jansson.h's. It cannot stand beside schemas/codec/json.h in one file: both say JSON_OBJECT. */
typedef struct json_t json_t;

enum cli_exit { CLI_DONE = 0, CLI_FAILED = 1, CLI_USAGE = 2 };

enum option {
    OPTION_HELP, OPTION_JSON, OPTION_URL,                                       /* of every command */
    OPTION_SOURCE, OPTION_TYPE, OPTION_DETAIL, OPTION_BUS, OPTION_ID, OPTION_FILE, OPTION_TIMEOUT, /* event put */
    OPTION_AFTER, OPTION_MAX,                                                   /* event tail */
    OPTION_DAYS,                                                                /* function show */
    OPTION_FOLLOW, OPTION_BYTES,                                                /* function logs */
    OPTION_PAYLOAD, OPTION_ASYNC, OPTION_LOG,                                   /* function invoke */
    OPTION_PATTERN, OPTION_EVENT, OPTION_EXPLAIN,                               /* rule test */
    OPTION_SORT, OPTION_FILTER, OPTION_INTERVAL,                                /* top */
    OPTION_MDOC, OPTION_COMPLETION, OPTION_VERSION,                                                /* help */
    OPTIONS
};

enum { CLI_ARGUMENTS_MAX = 2 };

struct cli {
    const struct command *command;
    bool json;
    const char *url;                               /* NULL: the default */
    const char *options[OPTIONS];                  /* the value given; "" for a flag; NULL: not given */
    const char *arguments[CLI_ARGUMENTS_MAX + 1];  /* NULL-terminated */
};

struct command {
    const char *noun, *verb;                       /* verb NULL: a command of one word */
    const char *arguments;                         /* as in a synopsis: "FUNCTION [DELIVERY]"; "" for none */
    uint32_t needs, takes;                         /* sets of options, 1u << enum option */
    const char *summary;
    enum cli_exit (*run)(struct cli *cli);
};

enum cli_exit event_put(struct cli *cli);
enum cli_exit event_tail(struct cli *cli);
enum cli_exit event_show(struct cli *cli);
enum cli_exit function_list(struct cli *cli);
enum cli_exit function_show(struct cli *cli);
enum cli_exit function_logs(struct cli *cli);
enum cli_exit function_invoke(struct cli *cli);
enum cli_exit rule_list(struct cli *cli);
enum cli_exit rule_test(struct cli *cli);
enum cli_exit rule_cost(struct cli *cli);
enum cli_exit dead_letter_list(struct cli *cli);
enum cli_exit dead_letter_show(struct cli *cli);
enum cli_exit dead_letter_redrive(struct cli *cli);
enum cli_exit dead_letter_purge(struct cli *cli);
enum cli_exit balance(struct cli *cli);
enum cli_exit status(struct cli *cli);
enum cli_exit top(struct cli *cli);
enum cli_exit config_check(struct cli *cli);
enum cli_exit config_reload(struct cli *cli);
enum cli_exit store_verify_directory(struct cli *cli);
enum cli_exit store_backup_directory(struct cli *cli);

/* "sluice: " and the text on stderr, one line; returns CLI_FAILED or CLI_USAGE for `return cli_failed(...)`. */
enum cli_exit cli_failed(const char *format, ...) __attribute__((format(printf, 1, 2)));
enum cli_exit cli_usage(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* A whole number in min..max as the value of `option`; *ret_value stays as it is when the option was not given.
 * false: it is not one, and that was said. */
bool cli_number(const struct cli *cli, enum option option, int64_t min, int64_t max, int64_t *ret_value);

/* What `top --sort` takes, by index; NULL after the last. */
const char *top_sort_name(unsigned index);

/* ---- completion.c ---- */
/* A row of the command table as completion sees it. */
struct completion_option { const char *name; char letter; const char *value; };
/* Prints the script for bash: commands, verbs and options from the tables, names from the running daemon. */
void completion_print(const struct command *commands, unsigned commands_count, const struct completion_option *options, uint32_t common);

/* ---- call.c ---- */
enum {
    CALL_TIMEOUT_MS = 30000,     /* for the daemon and the wire; where the daemon parks a call by agreement, that comes on top */
    RELOAD_TIMEOUT_MS = 600000,  /* one reload may be under way, and a million rules take half a minute each */
};
/* Calls the daemon and waits `timeout_ms` for the answer, no longer; 0: CALL_TIMEOUT_MS. `arguments` is taken over (NULL: none). The
 * result is an object, to be json_decref'ed; NULL: it failed, and the reason was said. call_try() says nothing but fills the error,
 * for callers that expect one; SLUICE_ETIMEDOUT: the time has passed. */
json_t *call(const struct cli *cli, const char *command, json_t *arguments, int timeout_ms);
json_t *call_try(const struct cli *cli, const char *command, json_t *arguments, int timeout_ms, struct sluice_error *reterr);

/* All pages of a list. With --json one object {"rows_name":[...]} is printed as the pages come, so that a list of any length
 * takes the memory of one page; else `on_row` is called for each row and `on_page` after each page. */
struct call_list {
    const char *command, *rows_name;
    void (*on_row)(void *ctx, const json_t *row);
    void (*on_page)(void *ctx);
    void *ctx;
};
enum cli_exit call_list(const struct cli *cli, const struct call_list *list, json_t *arguments);

/* Prints a result as one line of JSON; the string member "event", if there is one, as the object that it holds. */
void call_print(const json_t *result);

/* Members of a result. A member that is absent, null or of another type is 0, "" or false: a daemon of another version is shown
 * as far as it is understood. */
int64_t member_int(const json_t *object, const char *name);
bool member_bool(const json_t *object, const char *name);
struct view member_text(const json_t *object, const char *name);   /* NUL-terminated; may hold NULs before its end */
bool member_is_null(const json_t *object, const char *name);       /* absent or null */

#endif
