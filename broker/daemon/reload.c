/* reload.c - the configuration read again: on SIGHUP, on a control call, and when its files change. One that is refused leaves the old
 * one in force; what only a restart can change is refused too. */
#include "broker/daemon/broker.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "broker/base/assert.h"
#include "broker/daemon/rule_index.h"
#include "broker/edge/log.h"

/* A file is written in pieces: read it again once it has been still for a moment. */
static void on_config_changed(struct ev_loop *loop, ev_stat *watcher, int events)
{
    struct broker *broker = watcher->data;
    (void)events;
    ev_timer_again(loop, &broker->reload_soon);
}

void broker_unwatch_config(struct broker *broker)
{
    for (unsigned i = 0; i < broker->watches_count; i++) {
        ev_stat_stop(broker->loop, &broker->watches[i]);
        free((char *)(uintptr_t)broker->watches[i].path);
    }
    broker->watches_count = 0;
}

static void watch_path(struct broker *broker, char *owned_path)
{
    const unsigned max = sizeof broker->watches / sizeof *broker->watches;

    if (owned_path == NULL || broker->watches_count == max) {
        free(owned_path); /* a folder of that many files still tells of itself; a changed file in it then needs a SIGHUP */
        return;
    }
    ev_stat *watch = &broker->watches[broker->watches_count++];
    ev_stat_init(watch, on_config_changed, owned_path, 0.);
    watch->data = broker;
    ev_stat_start(broker->loop, watch);
}

/* What was given, and each file read. ev_stat uses inotify for what is there; it polls only while a path is missing. */
void broker_watch_config(struct broker *broker)
{
    watch_path(broker, strdup(broker->options.config_path));
    for (size_t i = 0; broker->config->paths[i] != NULL; i++) {
        if (strcmp(broker->config->paths[i], broker->options.config_path) != 0)
            watch_path(broker, strdup(broker->config->paths[i]));
    }
}

static bool same_text(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

/* What is opened once, at the start, and does not change by a reload: the key that differs, or NULL. */
static const char *key_that_needs_a_restart(const struct broker *broker, const struct config *fresh)
{
    const struct config *old = &broker->config->config;
    size_t i = 0;

    while (old->bus_listeners[i] != NULL && same_text(old->bus_listeners[i], fresh->bus_listeners[i]))
        i++;
    if (old->bus_listeners[i] != NULL || fresh->bus_listeners[i] != NULL)
        return "listen.bus";
    if (!same_text(old->http, fresh->http))
        return "listen.http";
    if (!same_text(old->token_file, fresh->token_file))
        return "listen.token-file";
    return broker->options.data == NULL && !same_text(old->data, fresh->data) ? "data" : NULL;
}

static bool reload_refused(const struct broker *broker, const char *reason, struct bytes *errors)
{
    log_format(LOG_ERROR, "event=reload-refused path=\"%s\" reason=\"%s\" msg=\"the old configuration stays\"", broker->options.config_path,
               reason);
    if (errors != NULL)
        bytes_put_format(errors, "%s\n", reason);
    return false;
}

static bool reload(struct broker *broker, struct bytes *errors)
{
    char *text = NULL;
    size_t len = 0;
    struct sluice_error error;
    FILE *stream = open_memstream(&text, &len);

    ASSERT(stream != NULL);
    struct config_file *file = config_file_load(broker->options.config_path, broker->options.runtimes, stream, NULL);
    (void)fclose(stream);
    if (len > 0) {
        (void)!write(STDERR_FILENO, text, len);
        if (errors != NULL)
            bytes_put(errors, text, len);
    }
    free(text);
    if (file == NULL) {
        log_format(LOG_ERROR, "event=reload-refused path=\"%s\" msg=\"the old configuration stays\"", broker->options.config_path);
        return false;
    }
    const char *key = key_that_needs_a_restart(broker, &file->config);
    if (key != NULL) {
        (void)sluice_fail(&error, SLUICE_EINVAL, "'%s' has changed, which a reload cannot do: restart the daemon, or put it back", key);
        config_file_free(file);
        return reload_refused(broker, error.text, errors);
    }
    broker_read(broker);
    if (engine_configure(broker->engine, &file->config, clock_now(), &error) != SLUICE_OK) {
        config_file_free(file);
        return reload_refused(broker, error.text, errors);
    }
    rule_index_retire(broker->rule_index, broker->config);
    broker->config = file;
    broker_unwatch_config(broker);
    broker_watch_config(broker); /* files may have come */
    log_format(LOG_INFO, "event=reloaded path=\"%s\" functions=%u rules=%u", broker->options.config_path, file->config.functions_count,
               file->config.rules_count);
    return true;
}

bool broker_reload(struct broker *broker, struct bytes *errors)
{
    notify_reloading(&broker->notify, clock_now().mono);
    bool loaded = reload(broker, errors);
    notify_ready(&broker->notify, "%u functions, %u rules%s", broker->config->config.functions_count, broker->config->config.rules_count,
                 loaded ? "" : "; the last reload was refused, see the log");
    return loaded;
}

void broker_on_reload(struct ev_loop *loop, ev_signal *watcher, int events)
{
    (void)loop, (void)events;
    (void)broker_reload(watcher->data, NULL);
}

void broker_on_reload_soon(struct ev_loop *loop, ev_timer *watcher, int events)
{
    (void)events;
    ev_timer_stop(loop, watcher);
    (void)broker_reload(watcher->data, NULL);
}
