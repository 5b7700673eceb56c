/* config_check FILE...: one line a file, "good" or "bad"; its mistakes go to stderr. Bootstraps of runtimes are looked for in the current folder.
 * config_check --defaults FILE: what the function `f` of FILE has where it says nothing, a key and a value a line. */
#include <string.h>

#include "broker/edge/config_file.h"

static int defaults_print(const char *path)
{
    struct config_file *file = config_file_load(path, ".", stderr, NULL);
    if (file == NULL)
        return 1;
    const struct config_function *f = config_function_find(&file->config, "f");
    if (f == NULL)
        return 1;
    printf("protocol %s\n", f->protocol == PROTOCOL_LAMBDA ? "lambda" : "another");
    printf("timeout %lld\n", (long long)f->timeout_ms);
    printf("concurrency %u\n", f->concurrency);
    printf("batch.size %u\n", f->batch_size);
    printf("batch.window %lld\n", (long long)f->batch_window_ms);
    printf("batch.partial-failures %s\n", f->batch_partial_failures ? "true" : "false");
    printf("scale.min %u\n", f->scale_min);
    printf("scale.max %u\n", f->scale_max);
    printf("scale.idle %lld\n", (long long)f->idle_ms);
    printf("scale.idle-freeze %s\n", f->idle_freeze ? "true" : "false");
    printf("scale.drain-target %lld\n", (long long)f->drain_target_ms);
    printf("retry.attempts %u\n", f->retry_attempts);
    printf("retry.backoff %lld..%lld\n", (long long)f->backoff_min_ms, (long long)f->backoff_max_ms);
    printf("retry.max-age %lld\n", (long long)f->max_age_ms);
    printf("log.format %s\n", f->log_format == LOG_FORMAT_TEXT ? "text" : "another");
    printf("url.stream %s\n", f->url.stream ? "true" : "false");
    printf("input %s\n", f->input == EVENT_SHAPE_EVENTBRIDGE ? "event" : "another");
    (void)config_file_free(file);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--defaults") == 0)
        return defaults_print(argv[2]);
    for (int i = 1; i < argc; i++) {
        struct config_file *file = config_file_load(argv[i], ".", stderr, NULL);
        puts(file != NULL ? "good" : "bad");
        (void)config_file_free(file);
    }
    return 0;
}
