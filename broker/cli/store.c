/* Data directories, without a daemon or beside one: LMDB lets any process read what another writes. */
#include "broker/store/store.h"

#include <errno.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "broker/cli/cli.h"
#include "broker/cli/table.h"

/* ---- progress: one line on a terminal, written over and over ---- */

enum { PROGRESS_WIDTH = 60 };

struct progress {
    bool shown;  /* stderr is a terminal */
    int percent; /* last told; -1: nothing yet */
};

static struct progress progress_new(void)
{
    return (struct progress){ .shown = isatty(STDERR_FILENO), .percent = -1 };
}

static void progress_clear(struct progress *progress)
{
    if (progress->shown && progress->percent >= 0)
        fprintf(stderr, "\r%*s\r", PROGRESS_WIDTH, "");
    progress->percent = -1;
}

/* false: nothing has changed that could be seen. */
static bool progress_due(struct progress *progress, uint64_t done, uint64_t total)
{
    int percent = total == 0 ? 100 : (int)(done / (total / 100 + 1));
    if (done >= total)
        percent = 100;
    if (!progress->shown || percent == progress->percent)
        return false;
    progress->percent = percent;
    return true;
}

static void progress_put(const struct progress *progress, const char *text)
{
    fprintf(stderr, "\r%3d %% %-*.*s", progress->percent, PROGRESS_WIDTH - 6, PROGRESS_WIDTH - 6, text);
    (void)fflush(stderr);
}

/* ---- both ---- */

static bool open_for_reading(const char *dir, struct store **ret_store, struct sluice_error *reterr)
{
    struct store_options options = { .read_only = true };
    return store_open(dir, &options, ret_store, reterr) == SLUICE_OK;
}

/* A page that the disk cannot give, or that lies behind the end of a file cut short, is a signal: the file is mapped. */
static void on_bus_error(int number)
{
    static const char text[] =
        "\nsluice: reading stopped: data.mdb is cut short, or the disk cannot read it; restore it from a backup\n";
    (void)number;
    (void)!write(STDERR_FILENO, text, sizeof text - 1);
    _exit(CLI_FAILED);
}

static void watch_bus_errors(void)
{
    struct sigaction action = { .sa_handler = on_bus_error };
    (void)sigaction(SIGBUS, &action, NULL); /* cannot fail for this signal */
}

/* ---- verify ---- */

struct verifying {
    const char *dir;
    struct progress progress;
    json_t *list; /* NULL: findings are printed as they come */
};

static void on_finding(void *ctx, const char *table, const char *text)
{
    struct verifying *verifying = ctx;
    progress_clear(&verifying->progress);
    if (verifying->list != NULL) {
        json_t *row = json_pack("{s:s,s:s}", "table", table, "text", text);
        (void)json_array_append_new(verifying->list, row != NULL ? row : json_null()); /* null: a name in it is not UTF-8 */
        return;
    }
    printf("%s: ", table);
    print_clean(stdout, view_of(text));
    putchar('\n');
}

static void on_verify_progress(void *ctx, const char *table, uint64_t rows, uint64_t rows_total)
{
    struct verifying *verifying = ctx;
    char text[PROGRESS_WIDTH];
    if (!progress_due(&verifying->progress, rows, rows_total))
        return;
    (void)snprintf(text, sizeof text, "of all rows read, now in table %s", table);
    progress_put(&verifying->progress, text);
}

static enum cli_exit verify_end(const struct verifying *verifying, const struct store_verified *counts)
{
    if (verifying->list != NULL) {
        json_t *result = json_pack("{s:b,s:I,s:O,s:I,s:I,s:I,s:I,s:I}", "holds", counts->findings == 0, "findings_count",
                                   (json_int_t)counts->findings, "findings", verifying->list, "rows", (json_int_t)counts->rows,
                                   "records", (json_int_t)counts->records, "events", (json_int_t)counts->events, "deliveries",
                                   (json_int_t)counts->deliveries, "producers", (json_int_t)counts->producers);
        call_print(result);
        json_decref(result);
    } else if (counts->findings == 0) {
        printf("%s is whole: %llu rows read, in the log %llu records with %llu events and %llu deliveries\n", verifying->dir,
               (unsigned long long)counts->rows, (unsigned long long)counts->records, (unsigned long long)counts->events,
               (unsigned long long)counts->deliveries);
    }
    if (counts->findings == 0)
        return CLI_DONE;
    if (counts->findings > VERIFY_LISTED_MAX)
        (void)cli_failed("only the first %d findings are listed", VERIFY_LISTED_MAX);
    return cli_failed("'%s' is damaged: %llu findings; keep a copy, and restore a backup if deliveries matter", verifying->dir,
                      (unsigned long long)counts->findings);
}

static enum cli_exit verify_here(struct cli *cli)
{
    struct verifying verifying = { .dir = cli->arguments[0], .progress = progress_new() };
    struct store_verify verify = { .ctx = &verifying, .on_finding = on_finding, .on_progress = on_verify_progress };
    struct store_verified counts;
    struct sluice_error error;
    struct store *store;

    watch_bus_errors();
    if (!open_for_reading(verifying.dir, &store, &error))
        return cli_failed("%s", error.text);
    verifying.list = cli->json ? json_array() : NULL;
    bool read = store_verify(store, &verify, &counts, &error) == SLUICE_OK;
    progress_clear(&verifying.progress);
    enum cli_exit exit = read ? verify_end(&verifying, &counts) : cli_failed("%s", error.text);
    json_decref(verifying.list);
    store_close(store);
    return exit;
}

/* LMDB follows the pages as it finds them, and where those are damaged it may end the process. So another one reads, and its death is a finding. */
enum cli_exit store_verify_directory(struct cli *cli)
{
    int status;
    pid_t reader = fork();

    if (reader < 0)
        return cli_failed("cannot start a process that reads the store: %s", strerror(errno));
    if (reader == 0)
        return verify_here(cli);
    while (waitpid(reader, &status, 0) != reader) {
        if (errno != EINTR)
            return cli_failed("lost sight of the process that reads the store: %s", strerror(errno));
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) <= CLI_USAGE)
        return (enum cli_exit)WEXITSTATUS(status);
    const char *how = WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : "a report of its own"; /* as sanitizers end it */
    if (cli->json)
        printf("{\"holds\":false,\"findings_count\":1,\"findings\":[{\"table\":\"pages\",\"text\":\"reading them ended with: %s\"}]}\n", how);
    else
        printf("pages: reading them ended with: %s\n", how);
    return cli_failed("'%s' is damaged: its pages lead nowhere; restore it from a backup", cli->arguments[0]);
}

/* ---- backup ---- */

static void on_backup_progress(void *ctx, uint64_t bytes, uint64_t bytes_total)
{
    struct progress *progress = ctx;
    char text[2 * FORMAT_TEXT_MAX + 32];
    if (!progress_due(progress, bytes, bytes_total))
        return;
    (void)snprintf(text, sizeof text, "%s of %s copied", format_bytes((int64_t)bytes).text,
                   format_bytes((int64_t)bytes_total).text);
    progress_put(progress, text);
}

enum cli_exit store_backup_directory(struct cli *cli)
{
    const char *data = cli->arguments[0], *target = cli->arguments[1];
    struct progress progress = progress_new();
    struct store_backup backup = { .ctx = &progress, .on_progress = on_backup_progress };
    struct store_backed_up result;
    struct sluice_error error;
    struct store *store;

    watch_bus_errors();
    if (!open_for_reading(data, &store, &error))
        return cli_failed("%s", error.text);
    bool done = store_backup(store, target, &backup, &result, &error) == SLUICE_OK;
    progress_clear(&progress);
    store_close(store);
    if (!done)
        return cli_failed("%s", error.text);
    if (cli->json) {
        json_t *object = json_pack("{s:s,s:I,s:I,s:I}", "target", target, "bytes", (json_int_t)result.bytes, "grown_bytes",
                                   (json_int_t)result.grown_bytes, "next_seq", (json_int_t)result.next_seq);
        if (object == NULL)
            return cli_failed("backed up, but the target's name is not UTF-8: it cannot be printed as JSON");
        call_print(object);
        json_decref(object);
        return CLI_DONE;
    }
    printf("%s: %s, with all events before sequence %llu\n", target, format_bytes((int64_t)result.bytes).text,
           (unsigned long long)result.next_seq);
    if (result.grown_bytes > 0)
        fprintf(stderr, "sluice: meanwhile '%s' grew by %s: a store that is being copied cannot reuse its pages\n", data,
                format_bytes((int64_t)result.grown_bytes).text);
    return CLI_DONE;
}
