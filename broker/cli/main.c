/* main.c - sluice: talks to a running sluiced; checks patterns, configurations and stores without one.
 * The two tables below are all there is to know about the command line: parsing, help and the synopsis of sluice(1) come from
 * them. */
#include "broker/cli/cli.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "sluice/producer.h"

static const struct option_spec {
    const char *name;
    char letter;                 /* 0: none */
    const char *value;           /* what stands for its value in help; NULL: a flag */
    const char *help;
} options[OPTIONS] = {
    [OPTION_HELP] = { "help", 'h', NULL, "say how the command is used" },
    [OPTION_JSON] = { "json", 0, NULL, "print JSON" },
    [OPTION_URL] = { "url", 0, "URL", "the daemon's socket; default $SLUICE_URL, else the default socket" },
    [OPTION_SOURCE] = { "source", 0, "SOURCE", "the event's source" },
    [OPTION_TYPE] = { "type", 0, "TYPE", "the event's detail-type" },
    [OPTION_DETAIL] = { "detail", 0, "JSON", "the event's detail, a JSON object" },
    [OPTION_BUS] = { "bus", 0, "BUS", "the bus; for event tail: only this one; for rule test: whose rules are tried" },
    [OPTION_ID] = { "id", 0, "ID", "the event's id; default: a UUIDv7, which is printed" },
    [OPTION_FILE] = { "file", 0, "FILE", "one event a line; - is stdin" },
    [OPTION_TIMEOUT] = { "timeout", 0, "SECONDS", "give up when no answer comes for so long; default 30, of function invoke 930" },
    [OPTION_AFTER] = { "after", 0, "SEQ", "start after this sequence number; default: with the next event" },
    [OPTION_MAX] = { "max", 'n', "COUNT", "end after so many events" },
    [OPTION_DAYS] = { "days", 0, "DAYS", "show the cost of so many days; default 7" },
    [OPTION_FOLLOW] = { "follow", 'f', NULL, "go on printing what comes" },
    [OPTION_BYTES] = { "bytes", 0, "BYTES", "print at most so much of the end; default 65536" },
    [OPTION_PAYLOAD] = { "payload", 0, "JSON", "a JSON text, or @FILE, or - for stdin; default {}" },
    [OPTION_ASYNC] = { "async", 0, NULL, "do not wait: it is on the disk, and tried again until it succeeds" },
    [OPTION_LOG] = { "log", 0, NULL, "print the end of its log on stderr" },
    [OPTION_PATTERN] = { "pattern", 0, "PATTERN", "an EventBridge pattern, or @FILE" },
    [OPTION_EVENT] = { "event", 0, "EVENT", "a JSON object, or @FILE" },
    [OPTION_EXPLAIN] = { "explain", 0, NULL, "say why: the first field that failed, what it is and what the pattern wants" },
    [OPTION_SORT] = { "sort", 0, "COLUMN", "the column to sort by; default ready" },
    [OPTION_FILTER] = { "filter", 0, "TEXT", "only functions with this in their name" },
    [OPTION_INTERVAL] = { "interval", 0, "SECONDS", "ask again after so long; default 1" },
    [OPTION_VERSION] = { "version", 0, NULL, "say the version; needs no command" },
    [OPTION_MDOC] = { "mdoc", 0, NULL, "the synopsis as sluice(1) has it" },
    [OPTION_COMPLETION] = { "completion", 0, NULL, "the script by which bash completes commands" },
};

#define SET(option) (1u << OPTION_##option)
enum { OPTIONS_COMMON = SET(HELP) | SET(JSON) | SET(URL) };
_Static_assert(OPTIONS <= 32, "sets of options are 32 bits wide");

static enum cli_exit help(struct cli *cli);

static const struct command commands[] = {
    { "event", "put", "[-]", 0, SET(SOURCE) | SET(TYPE) | SET(DETAIL) | SET(BUS) | SET(ID) | SET(FILE) | SET(TIMEOUT),
      "publish one event, or a file of them", event_put },
    { "event", "tail", "", 0, SET(BUS) | SET(AFTER) | SET(MAX), "print events as they are committed", event_tail },
    { "event", "show", "ID", 0, 0, "show an event and where its deliveries stand", event_show },
    { "function", "list", "", 0, 0, "list functions with queues and instances", function_list },
    { "function", "show", "FUNCTION", 0, SET(DAYS), "show a function: configuration, queue, instances, cost, scaling and why", function_show },
    { "function", "logs", "FUNCTION", 0, SET(FOLLOW) | SET(BYTES),
      "print the end of a function's captured output", function_logs },
    { "function", "invoke", "FUNCTION", 0, SET(PAYLOAD) | SET(ASYNC) | SET(LOG) | SET(TIMEOUT),
      "invoke a function and print what it returns", function_invoke },
    { "rule", "list", "", 0, 0, "list rules with their targets", rule_list },
    { "rule", "test", "[PATH]", 0, SET(PATTERN) | SET(EVENT) | SET(FILE) | SET(BUS) | SET(EXPLAIN),
      "does a pattern, or which rules of a configuration, match an event or a file of them? needs no daemon", rule_test },
    { "rule", "cost", "PATH", 0, 0, "what the rules of a configuration cost the matching; needs no daemon", rule_cost },
    { "dead-letter", "list", "[FUNCTION]", 0, 0, "list deliveries that were given up", dead_letter_list },
    { "dead-letter", "show", "FUNCTION DELIVERY", 0, 0, "show one with its event, reason and last output", dead_letter_show },
    { "dead-letter", "redrive", "FUNCTION [DELIVERY]", 0, 0,
      "put one, or all of a function, back on the queue", dead_letter_redrive },
    { "dead-letter", "purge", "FUNCTION [DELIVERY]", 0, 0, "throw one, or all of a function, away", dead_letter_purge },
    { "config", "check", "PATH", 0, 0, "check a configuration; needs no daemon", config_check },
    { "config", "reload", "", 0, 0, "have the daemon read its configuration again", config_reload },
    { "store", "verify", "DIR", 0, 0, "check every record, counter and table of a data directory; needs no daemon", store_verify_directory },
    { "store", "backup", "DATA TARGET", 0, 0, "copy a data directory, in use or not; needs no daemon", store_backup_directory },
    { "balance", NULL, "", 0, 0, "prove from stored state that no delivery is missing", balance },
    { "status", NULL, "", 0, 0, "the daemon at a glance", status },
    { "top", NULL, "", 0, SET(SORT) | SET(FILTER) | SET(INTERVAL), "watch queues and instances on the terminal", top },
    { "help", NULL, "[COMMAND] [VERB]", 0, SET(VERSION) | SET(MDOC) | SET(COMPLETION), "say how commands are used", help },
};
enum { COMMANDS = sizeof commands / sizeof *commands };

/* ---- talk ---- */

static void say(const char *format, va_list arguments)
{
    (void)fflush(stdout); /* so that both streams on one terminal stay in order; errors show at the end of main */
    fputs("sluice: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
}

enum cli_exit cli_failed(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    say(format, arguments);
    va_end(arguments);
    return CLI_FAILED;
}

enum cli_exit cli_usage(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    say(format, arguments);
    va_end(arguments);
    return CLI_USAGE;
}

bool cli_number(const struct cli *cli, enum option option, int64_t min, int64_t max, int64_t *ret_value)
{
    const char *text = cli->options[option];
    char *end;
    if (text == NULL)
        return true;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (errno == 0 && end != text && *end == '\0' && value >= min && value <= max) {
        *ret_value = value;
        return true;
    }
    if (max == INT64_MAX || max == INT64_MAX - 1)
        (void)cli_usage("--%s: '%s' is not a whole number from %" PRId64 " up", options[option].name, text, min);
    else
        (void)cli_usage("--%s: '%s' is not a whole number from %" PRId64 " to %" PRId64, options[option].name, text, min, max);
    return false;
}

/* "event put", or "status". */
struct command_name { char text[64]; };

static struct command_name command_name(const struct command *command)
{
    struct command_name name;
    const char *verb = command->verb == NULL ? "" : command->verb;
    (void)snprintf(name.text, sizeof name.text, "%s%s%s", command->noun, verb[0] == '\0' ? "" : " ", verb);
    return name;
}

/* ---- help ---- */

/* The next word of an `arguments` text: "[FUNCTION]" or "FUNCTION". NULL: no more. */
static const char *argument_next(const char *text, struct view *ret_word, bool *ret_optional)
{
    while (*text == ' ')
        text++;
    if (*text == '\0')
        return NULL;
    size_t len = strcspn(text, " ");
    *ret_optional = text[0] == '[';
    *ret_word = *ret_optional ? (struct view){ text + 1, len - 2 } : (struct view){ text, len };
    return text + len;
}

static void print_usage_option(const struct option_spec *option, bool needed)
{
    const char *value = option->value == NULL ? "" : option->value;
    printf(needed ? " --%s%s%s" : " [--%s%s%s]", option->name, value[0] == '\0' ? "" : " ", value);
}

static void print_usage(const struct command *command)
{
    printf("sluice %s", command_name(command).text);
    for (unsigned i = 0; i < OPTIONS; i++) {
        if ((command->needs | command->takes) & 1u << i)
            print_usage_option(&options[i], command->needs & 1u << i);
    }
    printf("%s%s\n", command->arguments[0] == '\0' ? "" : " ", command->arguments);
}

/* The same as lines of mdoc, for the man page; a test compares the page with it. */
static void print_mdoc(const struct command *command)
{
    struct view word;
    bool optional;
    printf(".Nm\n.Cm %s\n", command_name(command).text);
    for (unsigned i = 0; i < OPTIONS; i++) {
        if (!((command->needs | command->takes) & 1u << i))
            continue;
        printf(".%sFl -%s", command->needs & 1u << i ? "" : "Op ", options[i].name);
        printf(options[i].value == NULL ? "\n" : " Ar %s\n", options[i].value);
    }
    for (const char *text = command->arguments; (text = argument_next(text, &word, &optional)) != NULL;) {
        if (view_is(word, "-"))
            puts(".Op Fl"); /* mdoc's way to write a lone dash */
        else
            printf(".%sAr %.*s\n", optional ? "Op " : "", VIEW_ARGS(word));
    }
}

static void print_options(uint32_t set)
{
    for (unsigned i = 0; i < OPTIONS; i++) {
        char name[64];
        if (!(set & 1u << i))
            continue;
        (void)snprintf(name, sizeof name, "--%s%s%s", options[i].name, options[i].value == NULL ? "" : " ",
                       options[i].value == NULL ? "" : options[i].value);
        if (options[i].letter != 0)
            printf("  -%c, %-22s %s\n", options[i].letter, name, options[i].help);
        else
            printf("      %-22s %s\n", name, options[i].help);
    }
}

static void print_help_command(const struct command *command)
{
    print_usage(command);
    printf("  %s\n\n", command->summary);
    print_options(command->needs | command->takes | OPTIONS_COMMON);
}

static void print_help_all(void)
{
    puts("sluice: Lambda and EventBridge on your own machine: the tool to a running sluiced\n");
    for (unsigned i = 0; i < COMMANDS; i++)
        printf("  %-20s %s\n", command_name(&commands[i]).text, commands[i].summary);
    puts("\nWith every command:");
    print_options(OPTIONS_COMMON);
    puts("\nExit status: 0 done, 1 failed, 2 wrong usage. `sluice help event put` says more; so does man sluice.");
}

/* `verb` NULL: all commands of the noun. Returns how many there are. */
static unsigned print_help_matching(const char *noun, const char *verb)
{
    unsigned count = 0;
    for (unsigned i = 0; i < COMMANDS; i++) {
        const struct command *command = &commands[i];
        if (strcmp(command->noun, noun) != 0 || (verb != NULL && (command->verb == NULL || strcmp(command->verb, verb) != 0)))
            continue;
        if (count++ > 0)
            putchar('\n');
        print_help_command(command);
    }
    return count;
}

static void print_completion(void)
{
    struct completion_option rows[OPTIONS];
    for (unsigned i = 0; i < OPTIONS; i++)
        rows[i] = (struct completion_option){ .name = options[i].name, .letter = options[i].letter, .value = options[i].value };
    completion_print(commands, COMMANDS, rows, OPTIONS_COMMON);
}

static enum cli_exit help(struct cli *cli)
{
    if (cli->options[OPTION_VERSION] != NULL) {
        puts("sluice " SLUICE_VERSION);
        return CLI_DONE;
    }
    if (cli->options[OPTION_MDOC] != NULL) {
        for (unsigned i = 0; i < COMMANDS; i++)
            print_mdoc(&commands[i]);
        return CLI_DONE;
    }
    if (cli->options[OPTION_COMPLETION] != NULL) {
        print_completion();
        return CLI_DONE;
    }
    if (cli->arguments[0] == NULL) {
        print_help_all();
        return CLI_DONE;
    }
    if (print_help_matching(cli->arguments[0], cli->arguments[1]) > 0)
        return CLI_DONE;
    return cli_usage("no command '%s%s%s'; see sluice help", cli->arguments[0], cli->arguments[1] == NULL ? "" : " ",
                     cli->arguments[1] == NULL ? "" : cli->arguments[1]);
}

/* ---- parsing ---- */

enum { WORDS_MAX = 2 + CLI_ARGUMENTS_MAX };

/* The words that are no options: noun, verb, arguments. One more than fits is kept, to be named as the one too many. */
struct words {
    const char *items[WORDS_MAX + 2];
    unsigned count;
};

static const struct option_spec *option_find(const char *word)
{
    for (unsigned i = 0; i < OPTIONS; i++) {
        size_t len = strlen(options[i].name);
        if (word[1] != '-' && word[1] == options[i].letter)
            return &options[i];
        if (strncmp(word + 2, options[i].name, len) == 0 && word[1] == '-' && (word[2 + len] == '\0' || word[2 + len] == '='))
            return &options[i];
    }
    return NULL;
}

/* Takes the option at argv[index] and its value; returns the index after it, or 0: wrong, and that was said. */
static int parse_option(struct cli *cli, char **argv, int index)
{
    const char *word = argv[index], *value = NULL;
    const struct option_spec *option = option_find(word);
    if (option == NULL) {
        (void)cli_usage("no option '%s'; see sluice help", word);
        return 0;
    }
    /* --name=value, --name value, -nvalue, -n value */
    if (word[1] == '-' && strchr(word, '=') != NULL)
        value = strchr(word, '=') + 1;
    else if (word[1] != '-' && word[2] != '\0')
        value = word + 2;
    if (option->value == NULL && value != NULL) {
        (void)cli_usage("--%s takes no value, but got '%s'", option->name, value);
        return 0;
    }
    index++;
    if (option->value != NULL && value == NULL)
        value = argv[index] == NULL ? NULL : argv[index++];
    if (option->value != NULL && value == NULL) {
        (void)cli_usage("--%s needs a value: %s", option->name, option->value);
        return 0;
    }
    if (cli->options[option - options] != NULL) {
        (void)cli_usage("--%s is given twice", option->name);
        return 0;
    }
    cli->options[option - options] = value == NULL ? "" : value;
    return index;
}

static bool parse_words(struct cli *cli, char **argv, struct words *words)
{
    bool options_end = false;
    for (int index = 1; argv[index] != NULL;) {
        const char *word = argv[index];
        if (!options_end && strcmp(word, "--") == 0) {
            options_end = true;
            index++;
        } else if (!options_end && word[0] == '-' && word[1] != '\0') {
            index = parse_option(cli, argv, index);
            if (index == 0)
                return false;
        } else {
            if (words->count <= WORDS_MAX)
                words->items[words->count++] = word;
            index++;
        }
    }
    return true;
}

/* Says what could have stood there; NULL always. */
static const struct command *unknown_command(const struct words *words)
{
    char verbs[128] = "";
    for (unsigned i = 0; i < COMMANDS; i++) {
        size_t len = strlen(verbs);
        if (strcmp(commands[i].noun, words->items[0]) == 0)
            (void)snprintf(verbs + len, sizeof verbs - len, "%s%s", len == 0 ? "" : ", ", commands[i].verb);
    }
    if (verbs[0] == '\0')
        (void)cli_usage("no command '%s'; see sluice help", words->items[0]);
    else if (words->count == 1)
        (void)cli_usage("'%s' needs a verb: %s", words->items[0], verbs);
    else
        (void)cli_usage("no command '%s %s'; the verbs are %s", words->items[0], words->items[1], verbs);
    return NULL;
}

static const struct command *command_find(const struct words *words)
{
    for (unsigned i = 0; i < COMMANDS; i++) {
        if (strcmp(commands[i].noun, words->items[0]) != 0)
            continue;
        if (commands[i].verb == NULL || (words->count > 1 && strcmp(commands[i].verb, words->items[1]) == 0))
            return &commands[i];
    }
    return unknown_command(words);
}

static bool check_options(const struct cli *cli)
{
    const struct command *command = cli->command;
    for (unsigned i = 0; i < OPTIONS; i++) {
        if (cli->options[i] != NULL && !((command->needs | command->takes | OPTIONS_COMMON) & 1u << i)) {
            (void)cli_usage("%s takes no --%s", command_name(command).text, options[i].name);
            return false;
        }
        if (cli->options[i] == NULL && command->needs & 1u << i) {
            (void)cli_usage("%s needs --%s %s", command_name(command).text, options[i].name, options[i].value);
            return false;
        }
    }
    return true;
}

static bool take_arguments(struct cli *cli, const struct words *words)
{
    unsigned at = cli->command->verb == NULL ? 1 : 2, count = 0;
    struct view word;
    bool optional;
    for (const char *text = cli->command->arguments; (text = argument_next(text, &word, &optional)) != NULL; count++) {
        if (at < words->count) {
            cli->arguments[count] = words->items[at++];
        } else if (!optional) {
            (void)cli_usage("%s needs %.*s", command_name(cli->command).text, VIEW_ARGS(word));
            return false;
        }
    }
    if (at == words->count)
        return true;
    (void)cli_usage("%s: unexpected argument '%s'", command_name(cli->command).text, words->items[at]);
    return false;
}

static enum cli_exit run(char **argv)
{
    struct cli cli = { 0 };
    struct words words = { 0 };
    if (!parse_words(&cli, argv, &words))
        return CLI_USAGE;
    if (cli.options[OPTION_HELP] != NULL && words.count == 0) {
        print_help_all();
        return CLI_DONE;
    }
    if (cli.options[OPTION_VERSION] != NULL && words.count == 0) {
        puts("sluice " SLUICE_VERSION);
        return CLI_DONE;
    }
    if (words.count == 0)
        return cli_usage("no command; see sluice help");
    if (cli.options[OPTION_HELP] != NULL && words.count == 1 && print_help_matching(words.items[0], NULL) > 0)
        return CLI_DONE;
    cli.command = command_find(&words);
    if (cli.command == NULL)
        return CLI_USAGE;
    if (cli.options[OPTION_HELP] != NULL) {
        print_help_command(cli.command);
        return CLI_DONE;
    }
    if (!check_options(&cli) || !take_arguments(&cli, &words))
        return CLI_USAGE;
    cli.json = cli.options[OPTION_JSON] != NULL;
    cli.url = cli.options[OPTION_URL];
    return cli.command->run(&cli);
}

int main(int argc, char **argv)
{
    (void)argc;
    enum cli_exit exit = run(argv);
    /* Data that did not get where it was sent is a failure, whatever the command made of it. */
    if (fflush(stdout) != 0 || ferror(stdout))
        return exit == CLI_DONE ? cli_failed("cannot write to stdout: %s", strerror(errno)) : exit;
    return exit;
}
