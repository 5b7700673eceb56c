/* completion.c - what bash completes after `sluice`, as a script made from the table of commands and options, so that neither can
 * have what the other has not. The script needs nothing but bash: not the bash-completion package, which only finds it.
 *
 * What stands behind an option or as an argument is told by its placeholder in the table: FILE, PATH, PATTERN, EVENT are paths;
 * FUNCTION, RULE, BUS, DELIVERY are asked of the running daemon, for at most a second; COLUMN, COMMAND, VERB are ours. */
#include "broker/cli/cli.h"

#include <stdio.h>

static const char head[] =
    "# bash completion for sluice(1). Made by `sluice help --completion` from its own tables: change those.\n"
    "\n"
    "# The words of column $1 (0 is the first) of what `sluice` prints for the rest, without its line of titles.\n"
    "_sluice_column() {\n"
    "    local column=$1 row\n"
    "    shift\n"
    "    timeout 1 \"${COMP_WORDS[0]}\" \"$@\" \"${url[@]}\" 2>/dev/null </dev/null | {\n"
    "        read -r row\n"
    "        while read -ra row; do printf '%s\\n' \"${row[column]-}\"; done\n"
    "    }\n"
    "}\n"
    "\n"
    "# What can stand for the placeholder $1; the words before it are in `words`.\n"
    "_sluice_values() {\n"
    "    case $1 in\n"
    "    FILE | PATH) compgen -f -- \"$cur\" ;;\n"
    "    PATTERN | EVENT) [[ $cur == @* ]] && compgen -P @ -f -- \"${cur#@}\" ;;\n"
    "    FUNCTION) compgen -W \"$(_sluice_column 0 function list)\" -- \"$cur\" ;;\n"
    "    RULE) compgen -W \"$(_sluice_column 0 rule list)\" -- \"$cur\" ;;\n"
    "    BUS) compgen -W \"$(_sluice_column 1 rule list)\" -- \"$cur\" ;;\n"
    "    DELIVERY) compgen -W \"$(_sluice_column 1 dead-letter list \"${words[2]-}\")\" -- \"$cur\" ;;\n";

static const char middle[] =
    "    esac\n"
    "}\n"
    "\n"
    "_sluice_reply() {\n"
    "    case $1 in FILE | PATH | PATTERN | EVENT) compopt -o filenames 2>/dev/null ;; esac\n"
    "    mapfile -t COMPREPLY < <(_sluice_values \"$1\")\n"
    "}\n"
    "\n"
    "_sluice() {\n"
    "    local cur=${COMP_WORDS[COMP_CWORD]} word value i options='' verbs='' ended=''\n"
    "    local -a words=() url=() placeholders=()\n"
    "    COMPREPLY=()\n"
    "    # Bash takes --name=value for three words.\n"
    "    [[ $cur == '=' ]] && cur=\n"
    "    for ((i = 1; i < COMP_CWORD; i++)); do\n"
    "        word=${COMP_WORDS[i]} value=\n"
    "        if [[ -z $ended ]]; then\n"
    "            case $word in\n"
    "            --) ended=1; continue ;;\n";

static const char tail[] =
    "            esac\n"
    "        fi\n"
    "        if [[ -n $value ]]; then\n"
    "            [[ ${COMP_WORDS[i + 1]-} == '=' ]] && ((i += 1))\n"
    "            if ((i + 1 >= COMP_CWORD)); then\n"
    "                _sluice_reply \"$value\"\n"
    "                return\n"
    "            fi\n"
    "            value=${COMP_WORDS[i += 1]}\n"
    "            # A colon parts words too: ipc:///path.\n"
    "            while ((i + 2 < COMP_CWORD)) && [[ ${COMP_WORDS[i + 1]-} == :* ]]; do\n"
    "                value+=${COMP_WORDS[i + 1]}${COMP_WORDS[i + 2]} i=$((i + 2))\n"
    "            done\n"
    "            [[ $word == --url ]] && url=(--url \"$value\")\n"
    "        elif [[ -n $ended || $word != -?* ]]; then\n"
    "            words+=(\"$word\")\n"
    "        fi\n"
    "    done\n"
    "    _sluice_command\n"
    "    if [[ -z $ended && $cur == -* ]]; then\n"
    "        mapfile -t COMPREPLY < <(compgen -W \"$options\" -- \"$cur\")\n"
    "    elif [[ -n $verbs ]]; then\n"
    "        mapfile -t COMPREPLY < <(compgen -W \"$verbs\" -- \"$cur\")\n"
    "    elif ((${#placeholders[@]} > 0)); then\n"
    "        _sluice_reply \"${placeholders[0]}\"\n"
    "    fi\n"
    "}\n"
    "complete -F _sluice sluice\n";

/* The nouns, or (noun given) its verbs, each once, with spaces between. */
static void print_words(const struct command *commands, unsigned count, const char *noun)
{
    const char *last = "";

    for (unsigned i = 0; i < count; i++) {
        const char *word = noun == NULL ? commands[i].noun : commands[i].verb;
        if (word == NULL || (noun != NULL && strcmp(noun, commands[i].noun) != 0) || (noun == NULL && strcmp(last, word) == 0))
            continue;
        printf("%s%s", last[0] == '\0' ? "" : " ", word);
        last = word;
    }
}

/* The cases of _sluice_values() that are about ourselves. */
static void print_own_values(const struct command *commands, unsigned count)
{
    printf("    COLUMN) compgen -W \"");
    for (unsigned i = 0; top_sort_name(i) != NULL; i++)
        printf("%s%s", i == 0 ? "" : " ", top_sort_name(i));
    printf("\" -- \"$cur\" ;;\n    COMMAND) compgen -W \"");
    print_words(commands, count, NULL);
    printf("\" -- \"$cur\" ;;\n    VERB)\n        case ${words[1]-} in\n");
    for (unsigned i = 0; i < count; i++) {
        if (commands[i].verb == NULL || (i > 0 && strcmp(commands[i - 1].noun, commands[i].noun) == 0))
            continue;
        printf("        %s) compgen -W \"", commands[i].noun);
        print_words(commands, count, commands[i].noun);
        printf("\" -- \"$cur\" ;;\n");
    }
    puts("        esac\n        ;;");
}

/* Options with a value, with its placeholder: `--bus) value=BUS ;;`. */
static void print_option_values(const struct completion_option *options)
{
    for (unsigned i = 0; i < OPTIONS; i++) {
        if (options[i].value == NULL)
            continue;
        if (options[i].letter != 0)
            printf("            --%s | -%c) value=%s ;;\n", options[i].name, options[i].letter, options[i].value);
        else
            printf("            --%s) value=%s ;;\n", options[i].name, options[i].value);
    }
}

static void print_options(const struct completion_option *options, uint32_t set)
{
    const char *separator = "";

    printf("options=\"");
    for (unsigned i = 0; i < OPTIONS; i++) {
        if (!(set & 1u << i))
            continue;
        printf("%s--%s", separator, options[i].name);
        separator = " ";
    }
    printf("\"");
}

/* "FUNCTION [DELIVERY]" -> (FUNCTION DELIVERY), without those that are there already. */
static void print_placeholders(const struct command *command)
{
    printf(" placeholders=(");
    for (const char *at = command->arguments; *at != '\0'; at++) {
        if (*at != '[' && *at != ']')
            putchar(*at);
    }
    printf(") taken=%d", command->verb == NULL ? 1 : 2);
}

/* Sets, by the words so far, what may come next. */
static void print_commands(const struct command *commands, unsigned count, const struct completion_option *options, uint32_t common)
{
    puts("_sluice_command() {\n    local taken=0\n    case \"${words[0]-} ${words[1]-}\" in");
    for (unsigned i = 0; i < count; i++) {
        const struct command *command = &commands[i];
        printf(command->verb == NULL ? "    \"%s \"*) " : "    \"%s %s\") ", command->noun, command->verb);
        print_options(options, command->needs | command->takes | common);
        print_placeholders(command);
        puts(" ;;");
    }
    for (unsigned i = 0; i < count; i++) {
        if (commands[i].verb == NULL || (i > 0 && strcmp(commands[i - 1].noun, commands[i].noun) == 0))
            continue;
        printf("    \"%s \") verbs=\"", commands[i].noun);
        print_words(commands, count, commands[i].noun);
        printf("\" options=\"--help\" ;;\n");
    }
    printf("    \" \") verbs=\"");
    print_words(commands, count, NULL);
    puts("\" options=\"--help --version\" ;;\n    esac\n"
         "    placeholders=(\"${placeholders[@]:${#words[@]} - taken}\")\n}\n");
}

void completion_print(const struct command *commands, unsigned commands_count, const struct completion_option *options, uint32_t common)
{
    fputs(head, stdout);
    print_own_values(commands, commands_count);
    fputs(middle, stdout);
    print_option_values(options);
    fputs(tail, stdout);
    putchar('\n');
    print_commands(commands, commands_count, options, common);
}
