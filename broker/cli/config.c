#include "broker/cli/cli.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "broker/cli/rule_sets.h"
#include "broker/edge/config_file.h"

/* What the rules of each bus cost together is judged when they are compiled. */
static bool rules_fit(const struct config *config, FILE *errors, unsigned *errors_count)
{
    bool fit = true;

    for (size_t b = 0; config->buses[b] != NULL; b++) {
        struct match_set *set = NULL;
        struct sluice_error error;
        if (rule_set_of_bus(config, config->buses[b], &set, &error) != SLUICE_OK) {
            (void)fprintf(errors, "error: %s\n", error.text);
            ++*errors_count;
            fit = false;
        }
        (void)match_set_free(set);
    }
    return fit;
}

/* No daemon: the same reader and the same checks as the daemon's. */
enum cli_exit config_check(struct cli *cli)
{
    const char *path = cli->arguments[0];
    char *text = NULL;
    size_t text_len = 0;
    unsigned errors_count = 0;
    FILE *errors = open_memstream(&text, &text_len);
    if (errors == NULL)
        return cli_failed("out of memory");
    char runtimes[CONFIG_PATH_BYTES_MAX];
    struct config_file *file = config_file_load(path, config_runtimes_find(runtimes), errors, &errors_count);
    if (file != NULL && !rules_fit(&file->config, errors, &errors_count))
        file = config_file_free(file);
    if (fclose(errors) != 0) {
        free(text);
        config_file_free(file);
        return cli_failed("out of memory");
    }
    fputs(text, stderr);
    if (file == NULL && cli->json) {
        json_t *result = json_pack("{s:b,s:i,s:s}", "valid", 0, "errors_count", (int)errors_count, "errors", text);
        call_print(result);
        json_decref(result);
    } else if (file != NULL && cli->json) {
        printf("{\"valid\":true,\"functions\":%u,\"rules\":%u}\n", file->config.functions_count, file->config.rules_count);
    } else if (file != NULL) {
        printf("%s is valid: functions %u, rules %u\n", path, file->config.functions_count, file->config.rules_count);
    }
    enum cli_exit exit = file != NULL ? CLI_DONE : CLI_FAILED;
    free(text);
    config_file_free(file);
    return exit;
}

enum cli_exit config_reload(struct cli *cli)
{
    json_t *result = call(cli, "reload", NULL, RELOAD_TIMEOUT_MS);
    if (result == NULL)
        return CLI_FAILED;
    bool loaded = member_bool(result, "loaded");
    if (cli->json)
        call_print(result);
    else if (loaded)
        printf("revision %lld is in use\n", (long long)member_int(result, "revision"));
    if (!loaded) {
        fputs(member_text(result, "errors").data, stderr);
        (void)cli_failed("the configuration is refused; revision %lld stays in use", (long long)member_int(result, "revision"));
    }
    json_decref(result);
    return loaded ? CLI_DONE : CLI_FAILED;
}
