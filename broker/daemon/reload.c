#include "broker/daemon/reload.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "broker/base/assert.h"
#include "broker/daemon/control.h"
#include "broker/daemon/worker.h"
#include "broker/edge/log.h"

enum {
    NICENESS = 5,                /* of the worker: behind the loop and the committer, before merges */
    STAMP_MS = 20,               /* a file's time of change may be that much too early, on a kernel of 100 ticks a second with some to spare */
    AGE_MS_MAX = 1000,
    WATCHES_MAX = 64,            /* files; a folder of more still tells of itself, and a changed file in it needs a SIGHUP */
};
static const double NEXT_S = 0.001; /* until more is bound: what is known already is in no commit whose end would be heard */
static const double STILL_S = 0.3; /* a file is written in pieces: read it again once it has been still for so long */

enum reload_phase { RELOAD_IDLE, RELOAD_PREPARING, RELOAD_BINDING, RELOAD_FREEING };

struct reload {
    struct broker *broker;
    struct worker worker;
    enum reload_phase phase;
    uint64_t number;             /* of the one under way, or the last */
    bool asked;                  /* since it began */
    atomic_bool given_up;        /* the daemon ends: the worker skips what it has not begun */
    struct now began;
    struct mono changed;         /* the last change of a file that was seen */

    /* The worker's while it prepares or frees, else the loop's. */
    struct preparation *preparation;
    struct config_file *file;    /* NULL: refused */
    struct bytes errors;         /* as compilers print them, and as the caller gets them */
    struct sluice_error reason;  /* refused, though nothing is wrong with the files themselves; "" else */
    struct mono prepared;

    int64_t swap_us;             /* the longest that the loop was at it at a time */
    ev_signal hangup;
    ev_timer soon;
    ev_timer next;               /* while it is bound: the turn that goes on with it, if nothing else makes one */
    ev_stat watches[WATCHES_MAX]; /* path NULL: a free place */
};

/* ---- asked ---- */

uint64_t reload_ask(struct reload *reload)
{
    reload->asked = true; /* the turn begins it */
    return reload->number + 1;
}

static void on_next(struct ev_loop *loop, ev_timer *watcher, int events)
{
    (void)loop, (void)watcher, (void)events; /* the turn follows */
}

static void on_hangup(struct ev_loop *loop, ev_signal *watcher, int events)
{
    (void)loop, (void)events;
    (void)reload_ask(watcher->data);
}

static void on_still(struct ev_loop *loop, ev_timer *watcher, int events)
{
    struct reload *reload = watcher->data;

    (void)events;
    ev_timer_stop(loop, watcher);
    if (reload->changed.us >= reload->began.mono.us) /* else somebody has asked since, and got what has changed */
        (void)reload_ask(reload);
}

static int64_t changed_wall_ms(const ev_stat *watch)
{
    return (int64_t)watch->attr.st_ctim.tv_sec * 1000 + watch->attr.st_ctim.tv_nsec / 1000000;
}

/* Somebody who changes a file and asks is often heard before the kernel tells of the file: when it changed is what counts. A change
 * less than STAMP_MS before a reload began counts as one after it, because the clock of the stamps is coarse. */
static void on_changed(struct ev_loop *loop, ev_stat *watcher, int events)
{
    struct reload *reload = watcher->data;
    struct now now = clock_now();
    int64_t age_ms = watcher->attr.st_nlink == 0 ? 0 : now.wall_ms - changed_wall_ms(watcher) - STAMP_MS;

    (void)events;
    if (age_ms < 0 || age_ms > AGE_MS_MAX) /* an old file was moved here, or the clock was set */
        age_ms = 0;
    if (reload->changed.us < now.mono.us - age_ms * 1000)
        reload->changed.us = now.mono.us - age_ms * 1000;
    ev_timer_again(loop, &reload->soon);
}

/* ---- the files watched ---- */

static ev_stat *watch_find(struct reload *reload, const char *path)
{
    for (size_t i = 0; i < WATCHES_MAX; i++)
        if (path == NULL ? reload->watches[i].path == NULL : reload->watches[i].path != NULL && strcmp(reload->watches[i].path, path) == 0)
            return &reload->watches[i];
    return NULL;
}

static void unwatch(struct reload *reload, ev_stat *watch)
{
    ev_stat_stop(reload->broker->loop, watch);
    free((char *)(uintptr_t)watch->path);
    watch->path = NULL;
}

/* ev_stat uses inotify for what is there; it polls only while a path is missing. */
static void watch_path(struct reload *reload, const char *path, int64_t read_wall_ms)
{
    ev_stat *watch = watch_find(reload, NULL);
    char *owned = watch_find(reload, path) != NULL || watch == NULL ? NULL : strdup(path);

    if (owned == NULL)
        return;
    ev_stat_init(watch, on_changed, owned, 0.);
    watch->data = reload;
    ev_stat_start(reload->broker->loop, watch);
    /* It may have changed since it was read, while nobody watched it. */
    if (watch->attr.st_nlink > 0 && changed_wall_ms(watch) > read_wall_ms)
        on_changed(reload->broker->loop, watch, 0);
}

static bool is_read(const struct reload *reload, const char *path)
{
    const char *const *paths = reload->broker->config->paths;

    for (size_t i = 0; paths[i] != NULL; i++)
        if (strcmp(paths[i], path) == 0)
            return true;
    return strcmp(reload->broker->options.config_path, path) == 0;
}

/* What was given, and each file read. Those watched before stay so: a change between would be missed. */
static void watch_files(struct reload *reload, int64_t read_wall_ms)
{
    const struct broker *broker = reload->broker;

    for (size_t i = 0; i < WATCHES_MAX; i++)
        if (reload->watches[i].path != NULL && !is_read(reload, reload->watches[i].path))
            unwatch(reload, &reload->watches[i]);
    watch_path(reload, broker->options.config_path, read_wall_ms);
    for (size_t i = 0; broker->config->paths[i] != NULL; i++)
        watch_path(reload, broker->config->paths[i], read_wall_ms);
}

void reload_watch(struct reload *reload)
{
    ev_signal_start(reload->broker->loop, &reload->hangup);
    watch_files(reload, reload->broker->started.wall_ms);
}

/* ---- prepared: on the worker ---- */

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

static struct config_file *load(struct reload *reload)
{
    const struct broker_options *options = &reload->broker->options;
    char *text = NULL;
    size_t len = 0;
    FILE *stream = open_memstream(&text, &len);

    ASSERT(stream != NULL);
    struct config_file *file = config_file_load_until(&reload->given_up, options->config_path, options->runtimes, stream, NULL);
    (void)fclose(stream);
    bytes_put(&reload->errors, text, len);
    free(text);
    return file;
}

static void config_release(void *file)
{
    config_file_free(file);
}

/* Nothing else changes broker->config or what is in force meanwhile: only a reload does, and one is under way at a time. */
static void prepare(struct reload *reload)
{
    struct config_file *file = load(reload);

    if (file == NULL || atomic_load(&reload->given_up)) {
        config_file_free(file);
        return;
    }
    const char *key = key_that_needs_a_restart(reload->broker, &file->config);
    if (key != NULL)
        (void)sluice_fail(&reload->reason, SLUICE_EINVAL, "'%s' has changed, which a reload cannot do: restart the daemon, or put it back", key);
    if (key != NULL || preparation_run(reload->preparation, &file->config, config_release, file, &reload->reason) != SLUICE_OK)
        config_file_free(file);
    else
        reload->file = file;
}

static void reload_work(void *ctx)
{
    struct reload *reload = ctx;

    (void)setpriority(PRIO_PROCESS, 0, NICENESS); /* on Linux of this thread alone; without it the work is only less polite */
    if (reload->phase == RELOAD_PREPARING)
        prepare(reload);
    else
        reload->preparation = preparation_free(reload->preparation);
    reload->prepared = clock_now().mono;
}

/* ---- in the loop ---- */

static void free_old(struct reload *reload)
{
    reload->phase = RELOAD_FREEING;
    reload->file = NULL; /* the engine's, or there is none */
    bool began = worker_begin(&reload->worker);
    ASSERT(began); /* the thread is there */
}

static void answer(struct reload *reload, bool loaded)
{
    const struct config *config = &reload->broker->config->config;

    notify_ready(&reload->broker->notify, "%u functions, %u rules%s", config->functions_count, config->rules_count,
                 loaded ? "" : "; the last reload was refused, see the log");
    control_reloaded(reload->broker->control, reload->number, loaded, bytes_view(&reload->errors));
}

static void refuse(struct reload *reload)
{
    const char *path = reload->broker->options.config_path;

    if (reload->errors.len > 0)
        (void)!write(STDERR_FILENO, reload->errors.data, reload->errors.len);
    if (reload->reason.text[0] == '\0') {
        log_format(LOG_ERROR, "event=reload-refused path=\"%s\" msg=\"the old configuration stays\"", path);
    } else {
        log_format(LOG_ERROR, "event=reload-refused path=\"%s\" reason=\"%s\" msg=\"the old configuration stays\"", path, reload->reason.text);
        bytes_put_format(&reload->errors, "%s\n", reload->reason.text);
    }
    answer(reload, false);
}

static void note_time(struct reload *reload, struct mono since)
{
    int64_t us = clock_now().mono.us - since.us;

    reload->swap_us = us > reload->swap_us ? us : reload->swap_us;
}

/* What is new gets its rows, a few with each commit; then the new configuration takes the place of the old one. */
static void swap_when_bound(struct reload *reload)
{
    struct broker *broker = reload->broker;
    struct now now = clock_now();

    bool bound = engine_bind(broker->engine, reload->preparation);
    if (bound) {
        enum sluice_err err = engine_configure(broker->engine, reload->preparation, now, &reload->reason);
        ASSERT(err == SLUICE_OK); /* none has come between: see prepare() */
        broker->config = reload->file;
        watch_files(reload, reload->began.wall_ms);
    }
    note_time(reload, now.mono);
    if (!bound) {
        ev_timer_stop(broker->loop, &reload->next);
        ev_timer_set(&reload->next, NEXT_S, 0.);
        ev_timer_start(broker->loop, &reload->next);
        return;
    }
    log_format(LOG_INFO, "event=reloaded path=\"%s\" functions=%u rules=%u prepared_ms=%lld swap_us=%lld", broker->options.config_path,
               broker->config->config.functions_count, broker->config->config.rules_count,
               (long long)(reload->prepared.us - reload->began.mono.us) / 1000, (long long)reload->swap_us);
    answer(reload, true);
    free_old(reload);
}

static void begin(struct reload *reload)
{
    reload->asked = false;
    reload->number++;
    reload->began = clock_now();
    reload->swap_us = 0;
    bytes_clear(&reload->errors);
    reload->reason = (struct sluice_error){ 0 };
    notify_reloading(&reload->broker->notify, reload->began.mono);
    reload->preparation = engine_prepare(reload->broker->engine);
    reload->phase = RELOAD_PREPARING;
    note_time(reload, reload->began.mono);
    if (worker_begin(&reload->worker))
        return;
    (void)sluice_fail(&reload->reason, SLUICE_ENOMEM, "no thread to prepare it on; try again later");
    refuse(reload);
    reload->preparation = preparation_free(reload->preparation);
    reload->phase = RELOAD_IDLE;
}

static void reload_done(void *ctx)
{
    struct reload *reload = ctx;

    if (reload->broker->stopping)
        return; /* who asked was told so; reload_free() does the rest */
    broker_read(reload->broker);
    if (reload->phase == RELOAD_FREEING) {
        reload->phase = RELOAD_IDLE;
    } else if (reload->file != NULL) {
        if (reload->errors.len > 0)
            (void)!write(STDERR_FILENO, reload->errors.data, reload->errors.len);
        reload->phase = RELOAD_BINDING;
    } else {
        refuse(reload);
        free_old(reload);
    }
}

void reload_turn(struct reload *reload)
{
    if (reload->broker->stopping)
        return;
    if (reload->phase == RELOAD_BINDING)
        swap_when_bound(reload);
    if (reload->phase == RELOAD_IDLE && reload->asked)
        begin(reload);
}

/* ---- life ---- */

struct reload *reload_new(struct broker *broker)
{
    struct reload *reload = calloc(1, sizeof *reload);

    ASSERT(reload != NULL);
    reload->broker = broker;
    worker_init(&reload->worker, broker->mailbox, reload_work, reload_done, reload);
    ev_signal_init(&reload->hangup, on_hangup, SIGHUP);
    ev_timer_init(&reload->soon, on_still, 0., STILL_S);
    ev_timer_init(&reload->next, on_next, NEXT_S, 0.);
    reload->hangup.data = reload->soon.data = reload;
    return reload;
}

struct reload *reload_free(struct reload *reload)
{
    if (reload == NULL)
        return NULL;
    atomic_store(&reload->given_up, true);
    worker_stop(&reload->worker);
    preparation_free(reload->preparation); /* with the configuration, if it came to that */
    ev_signal_stop(reload->broker->loop, &reload->hangup);
    ev_timer_stop(reload->broker->loop, &reload->soon);
    ev_timer_stop(reload->broker->loop, &reload->next);
    for (size_t i = 0; i < WATCHES_MAX; i++)
        if (reload->watches[i].path != NULL)
            unwatch(reload, &reload->watches[i]);
    bytes_done(&reload->errors);
    free(reload);
    return NULL;
}
