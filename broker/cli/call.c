#include "broker/cli/cli.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "sluice/producer.h"

json_t *call_try(const struct cli *cli, const char *command, json_t *arguments, int timeout_ms, struct sluice_error *reterr)
{
    char *arguments_text = arguments == NULL ? NULL : json_dumps(arguments, JSON_COMPACT);
    bool no_memory = arguments != NULL && arguments_text == NULL;
    json_decref(arguments);
    if (no_memory) {
        (void)sluice_fail(reterr, SLUICE_ENOMEM, "out of memory for the arguments of %s", command);
        return NULL;
    }
    char *text;
    enum sluice_err err = sluice_control(cli->url, command, arguments_text == NULL ? "{}" : arguments_text,
                                         timeout_ms == 0 ? CALL_TIMEOUT_MS : timeout_ms, &text, reterr);
    free(arguments_text);
    if (err != SLUICE_OK)
        return NULL;
    /* Captured output may hold NULs. */
    json_error_t error;
    json_t *result = json_loads(text, JSON_ALLOW_NUL, &error);
    free(text);
    if (json_is_object(result))
        return result;
    json_decref(result);
    (void)sluice_fail(reterr, SLUICE_EPROTO, "the daemon's answer to %s is not a JSON object: %s", command, error.text);
    return NULL;
}

json_t *call(const struct cli *cli, const char *command, json_t *arguments, int timeout_ms)
{
    struct sluice_error error;
    json_t *result = call_try(cli, command, arguments, timeout_ms, &error);
    if (result == NULL)
        (void)cli_failed("%s", error.text);
    return result;
}

enum cli_exit call_list(const struct cli *cli, const struct call_list *list, json_t *arguments)
{
    enum { PAGE_ROWS = 1000 };
    enum cli_exit exit = CLI_DONE;
    size_t rows_count = 0, pages_count = 0;
    bool more = true;
    if (arguments == NULL)
        arguments = json_object();
    json_object_set_new(arguments, "limit", json_integer(PAGE_ROWS));
    while (more) {
        json_t *page = call(cli, list->command, json_incref(arguments), 0);
        if (page == NULL) {
            exit = CLI_FAILED;
            break;
        }
        size_t index;
        json_t *row;
        if (cli->json && pages_count++ == 0)
            printf("{\"%s\":[", list->rows_name);
        json_array_foreach(json_object_get(page, list->rows_name), index, row) {
            if (!cli->json) {
                list->on_row(list->ctx, row);
                continue;
            }
            if (rows_count++ > 0)
                putchar(',');
            (void)json_dumpf(row, stdout, JSON_COMPACT); /* stdout is checked once, at the end of main */
        }
        if (!cli->json)
            list->on_page(list->ctx);
        more = !member_is_null(page, "cursor");
        if (more)
            json_object_set(arguments, "cursor", json_object_get(page, "cursor"));
        json_decref(page);
    }
    if (cli->json && exit == CLI_DONE)
        puts("]}");
    json_decref(arguments);
    return exit;
}

void call_print(const json_t *result)
{
    const char *name;
    json_t *value;
    const char *separator = "{";
    json_object_foreach((json_t *)result, name, value) {
        printf("%s\"%s\":", separator, name); /* our own names: nothing in them to escape */
        if (strcmp(name, "event") == 0 && json_is_string(value))
            (void)fwrite(json_string_value(value), 1, json_string_length(value), stdout);
        else
            (void)json_dumpf(value, stdout, JSON_COMPACT | JSON_ENCODE_ANY);
        separator = ",";
    }
    puts(separator[0] == '{' ? "{}" : "}");
}

int64_t member_int(const json_t *object, const char *name)
{
    return json_integer_value(json_object_get(object, name));
}

bool member_bool(const json_t *object, const char *name)
{
    return json_is_true(json_object_get(object, name));
}

struct view member_text(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);
    if (!json_is_string(value))
        return VIEW_LITERAL("");
    return (struct view){ .data = json_string_value(value), .len = json_string_length(value) };
}

bool member_is_null(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);
    return value == NULL || json_is_null(value);
}
