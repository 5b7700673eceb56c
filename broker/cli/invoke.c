/* function invoke: one invocation, waited for, or put on the function's queue. */
#include "broker/cli/cli.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    PAYLOAD_BYTES_MAX = 6 << 20,         /* as Lambda's Invoke */
    WAIT_S_DEFAULT = 900 + 30,           /* Lambda's longest timeout, and a start */
    WAIT_S_MAX = 7 * 86400 + 60,         /* of a function's timeout */
};

/* Free with free(). NULL: it was said why. */
static char *file_read(const char *path)
{
    bool from_stdin = strcmp(path, "-") == 0;
    FILE *file = from_stdin ? stdin : fopen(path, "re");
    char *text = malloc(PAYLOAD_BYTES_MAX + 1);

    if (file == NULL || text == NULL) {
        (void)cli_failed("cannot read the payload: %s: %s", path, strerror(errno));
        free(text);
        return NULL;
    }
    size_t len = fread(text, 1, PAYLOAD_BYTES_MAX + 1, file);
    bool broken = ferror(file) != 0;
    if (!from_stdin)
        (void)fclose(file);
    const char *what = from_stdin ? "stdin" : path;
    if (broken)
        (void)cli_failed("cannot read the payload: %s: %s", what, strerror(errno));
    else if (len > PAYLOAD_BYTES_MAX)
        (void)cli_failed("the payload in %s has over %d bytes, the most that an invocation takes", what, PAYLOAD_BYTES_MAX);
    else if (memchr(text, '\0', len) != NULL)
        (void)cli_failed("the payload in %s is no JSON: there is a NUL in it", what);
    else {
        text[len] = '\0';
        return text;
    }
    free(text);
    return NULL;
}

static char *payload_of(const struct cli *cli)
{
    const char *given = cli->options[OPTION_PAYLOAD];

    if (given == NULL)
        return strdup("{}");
    if (strcmp(given, "-") == 0)
        return file_read("-");
    return given[0] == '@' ? file_read(given + 1) : strdup(given);
}

static enum cli_exit invoke_failed(const struct cli *cli, const struct sluice_error *error, int64_t wait_s)
{
    if (error->code != SLUICE_ETIMEDOUT)
        return cli_failed("%s", error->text);
    return cli_failed("function '%s': no answer within %lld s (--timeout); %s", cli->arguments[0], (long long)wait_s,
                      cli->options[OPTION_ASYNC] != NULL ? "the invocation may be on disk or not" : "if it runs, it is left to end");
}

enum cli_exit function_invoke(struct cli *cli)
{
    bool async = cli->options[OPTION_ASYNC] != NULL, log = cli->options[OPTION_LOG] != NULL;
    int64_t wait_s = WAIT_S_DEFAULT;

    if (!cli_number(cli, OPTION_TIMEOUT, 1, WAIT_S_MAX, &wait_s))
        return CLI_USAGE;
    if (async && log)
        return cli_usage("function invoke: --log is of an invocation that is waited for, and --async waits for none");
    char *payload = payload_of(cli);
    if (payload == NULL)
        return CLI_FAILED;
    json_t *arguments = json_pack("{s:s,s:s,s:i,s:i}", "name", cli->arguments[0], "payload", payload, "async", (int)async, "log", (int)log);
    free(payload);
    if (arguments == NULL)
        return cli_failed("the payload is no JSON: it is not UTF-8");
    struct sluice_error error;
    json_t *result = call_try(cli, "function.invoke", arguments, (int)(wait_s * 1000), &error);
    if (result == NULL)
        return invoke_failed(cli, &error, wait_s);
    struct view text = member_text(result, "payload"), log_text = member_text(result, "log"), outcome = member_text(result, "outcome");
    bool failed = view_is(outcome, "failed");
    if (cli->json) {
        call_print(result);
    } else {
        (void)fwrite(log_text.data, 1, log_text.len, stderr);
        if (async)
            (void)printf("%.*s\n", VIEW_ARGS(member_text(result, "request_id")));
        else
            (void)printf("%.*s\n", VIEW_ARGS(text));
    }
    json_decref(result);
    return failed ? CLI_FAILED : CLI_DONE;
}
