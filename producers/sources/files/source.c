#include "producers/sources/files/source.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

#include "producers/sources/files/names.h"
#include "producers/sources/files/settling.h"
#include "producers/sources/files/state.h"
#include "producers/sources/files/tree.h"
#include "schemas/codec/json.h"
#include "schemas/codec/mpack.h"
#include "schemas/codec/utf8.h"
#include "sluice/producer.h"

#define EVENT_SOURCE "files"
#define EVENT_TYPE_CREATED "Object Created"
#define EVENT_TYPE_DELETED "Object Deleted"

enum {
    FLUSH_STEP_MS = 200,          /* how soon a wait for the daemon sees that we are to stop */
    WAITING_SAID_AFTER_MS = 5000, /* an unreachable daemon is worth a line, once per wait */
    WINDOW_EVENTS = 16,           /* on their way at once; the daemon commits them together */
};

struct source {
    struct source_options options;
    struct state *state;
    struct tree *tree;
    struct sluice_producer *producer;
    uint8_t producer_id[16];
    struct batch batch; /* gathered; with `intended`, also written down under the state's sequence */
    bool intended;
    bool rescan_due;            /* events were lost */
    bool sweep_due;             /* a folder went away */
    struct settling settling;   /* due times are monotonic */
    int64_t unsettled_until_ms; /* monotonic; 0: none. A file has to be looked at again then */
    uint64_t published, refused, scans;
};

/* The daemon's word on one event. Written by the producer's thread. */
struct answer {
    _Atomic int code;          /* enum sluice_err, or UNANSWERED */
    struct sluice_error error; /* written before code */
};
enum { UNANSWERED = -1 };

static int64_t clock_ms(clockid_t clock)
{
    struct timespec now;
    (void)clock_gettime(clock, &now); /* cannot fail for these clocks */
    return now.tv_sec * INT64_C(1000) + now.tv_nsec / 1000000;
}

static void say(const struct source *source, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(const struct source *source, const char *format, ...)
{
    char line[PATH_MAX + 512];
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    for (char *c = line; *c != '\0'; c++) { /* a file's name may hold a line break: it shall not make a line */
        if ((unsigned char)*c < ' ' || *c == '\x7f')
            *c = '?';
    }
    source->options.log(source->options.ctx, line);
}

/* ---- publishing ---- */

static void answered(void *user, enum sluice_err code, const struct sluice_error *error)
{
    struct answer *answer = user;
    if (error != NULL)
        answer->error = *error;
    atomic_store_explicit(&answer->code, (int)code, memory_order_release);
}

/* *ret_sent: how many got a sequence number. An event that is refused here gets none, now or when it is published again. */
static enum sluice_err send_all(struct source *source, struct answer *answers, unsigned *ret_sent)
{
    unsigned sent = 0;

    for (unsigned i = 0; i < source->batch.count; i++) {
        const struct intent *intent = &source->batch.intents[i];
        struct sluice_event event = {
            .source = EVENT_SOURCE,
            .type = intent->deleted ? EVENT_TYPE_DELETED : EVENT_TYPE_CREATED,
            .bus = source->options.bus,
            .time_ms = intent->time_ms,
            .detail = intent->detail.data,
            .detail_len = intent->detail.len,
        };
        atomic_init(&answers[i].code, UNANSWERED);
        enum sluice_err err = sluice_publish_async(source->producer, &event, answered, &answers[i], &answers[i].error);
        if (err == SLUICE_EINVAL)
            answered(&answers[i], err, NULL);
        else if (err != SLUICE_OK)
            return err;
        else
            sent++;
    }
    *ret_sent = sent;
    return SLUICE_OK;
}

static bool all_answered(const struct source *source, struct answer *answers)
{
    for (unsigned i = 0; i < source->batch.count; i++) {
        if (atomic_load_explicit(&answers[i].code, memory_order_acquire) == UNANSWERED)
            return false;
    }
    return true;
}

static enum sluice_err wait_answers(struct source *source, struct answer *answers, struct sluice_error *reterr)
{
    int64_t began_ms = clock_ms(CLOCK_MONOTONIC);
    bool said = false;

    for (;;) {
        enum sluice_err err = sluice_producer_flush(source->producer, FLUSH_STEP_MS, NULL);
        if (err == SLUICE_OK && all_answered(source, answers))
            return SLUICE_OK;
        if (err != SLUICE_OK && err != SLUICE_ETIMEDOUT)
            return sluice_fail(reterr, err, "publishing failed: %s; what has no answer is published again at the next start",
                               sluice_err_name(err));
        if (source->options.stopping(source->options.ctx))
            return sluice_fail(reterr, SLUICE_EUNAVAILABLE,
                               "stopped while %u events had no answer; they are published again at the next start",
                               source->batch.count);
        if (!said && clock_ms(CLOCK_MONOTONIC) - began_ms > WAITING_SAID_AFTER_MS) {
            said = true;
            say(source, "waiting for=daemon unconfirmed=%u", source->batch.count);
        }
    }
}

/* Marks what must not be remembered; the error is of the first event that makes going on pointless. */
static enum sluice_err judge(struct source *source, struct answer *answers, bool forget[STATE_BATCH_FILES_MAX],
                             struct sluice_error *reterr)
{
    enum sluice_err stop = SLUICE_OK;

    for (unsigned i = 0; i < source->batch.count; i++) {
        enum sluice_err code = (enum sluice_err)atomic_load_explicit(&answers[i].code, memory_order_acquire);
        forget[i] = code != SLUICE_OK && code != SLUICE_EINVAL;
        if (code == SLUICE_OK) {
            source->published++;
        } else if (code == SLUICE_EINVAL) {
            source->refused++; /* for good: to remember it is not to ask for ever */
            say(source, "refused key='%s' reason='%s'", source->batch.intents[i].path, answers[i].error.text);
        } else if (stop == SLUICE_OK) {
            stop = sluice_fail(reterr, code, "the daemon does not take '%s': %s", source->batch.intents[i].path,
                               answers[i].error.text);
        }
    }
    return stop;
}

/* The batch as it is intended: sent, answered, confirmed, emptied. */
static enum sluice_err publish_intended(struct source *source, struct sluice_error *reterr)
{
    static const struct sluice_error no_reason;
    struct sluice_producer_stats stats;
    bool forget[STATE_BATCH_FILES_MAX] = { false };
    unsigned sent = 0;
    /* On the heap: should we stop before the answers, the producer's thread may still write here until the producer is closed. */
    struct answer *answers = calloc(STATE_BATCH_FILES_MAX, sizeof *answers);

    if (answers == NULL)
        return sluice_fail(reterr, SLUICE_ENOMEM, "out of memory publishing");
    for (unsigned i = 0; i < STATE_BATCH_FILES_MAX; i++)
        answers[i].error = no_reason;
    enum sluice_err err = send_all(source, answers, &sent);
    if (err != SLUICE_OK)
        (void)sluice_fail(reterr, err, "cannot publish: %s", sluice_err_name(err));
    else
        err = wait_answers(source, answers, reterr);
    if (err != SLUICE_OK) {
        (void)sluice_producer_close(source->producer, 0, NULL); /* its acks end here; only then may the answers go */
        source->producer = NULL;
        free(answers);
        return err;
    }
    sluice_producer_stats(source->producer, &stats);
    err = judge(source, answers, forget, reterr);
    free(answers);
    if (stats.sequence_next != state_producer(source->state).sequence + sent)
        return sluice_fail(reterr, SLUICE_EPROTO,
                           "%u events took the sequence numbers up to %" PRIu64 ": repeats cannot be told apart", sent,
                           stats.sequence_next);
    struct sluice_error state_error;
    enum sluice_err state_err = state_confirm(source->state, &source->batch, forget, stats.sequence_next, &state_error);
    if (state_err != SLUICE_OK)
        return sluice_fail(reterr, state_err, "%s", state_error.text);
    source->intended = false;
    batch_clear(&source->batch);
    return err;
}

static enum sluice_err publish_gathered(struct source *source, struct sluice_error *reterr)
{
    if (source->batch.count == 0)
        return SLUICE_OK;
    enum sluice_err err = state_intend(source->state, &source->batch, reterr);
    if (err != SLUICE_OK)
        return err;
    source->intended = true;
    return publish_intended(source, reterr);
}

/* ---- gathering ---- */

/* What the batch says of the path last; NULL: nothing, so the state's word holds. */
static const struct intent *last_gathered(const struct source *source, const char *path)
{
    for (unsigned i = source->batch.count; i > 0; i--) {
        if (strcmp(source->batch.intents[i - 1].path, path) == 0)
            return &source->batch.intents[i - 1];
    }
    return NULL;
}

static enum sluice_err known_or_gathered(struct source *source, const char *path, struct file_identity identity, bool *ret_known,
                                         struct sluice_error *reterr)
{
    const struct intent *intent = last_gathered(source, path);

    if (intent == NULL)
        return state_knows(source->state, path, identity, ret_known, reterr);
    *ret_known = !intent->deleted && file_identity_equals(intent->identity, identity);
    return SLUICE_OK;
}

/* `object` NULL: the file is gone. */
static enum sluice_err gather(struct source *source, const char *path, const struct object *object, struct sluice_error *reterr)
{
    struct intent *intent = &source->batch.intents[source->batch.count];
    struct timespec now;
    uint64_t request_id;

    (void)clock_gettime(CLOCK_REALTIME, &now); /* cannot fail for this clock */
    if (getrandom(&request_id, sizeof request_id, 0) != (ssize_t)sizeof request_id)
        return sluice_fail(reterr, SLUICE_EIO, "no random bytes for a request id: %m");
    *intent = (struct intent){ .path = strdup(path), .deleted = object == NULL };
    if (intent->path == NULL)
        return sluice_fail(reterr, SLUICE_ENOMEM, "out of memory gathering '%s'", path);
    source->batch.count++; /* from here batch_clear() frees it */
    intent->time_ms = now.tv_sec * INT64_C(1000) + now.tv_nsec / 1000000;
    uint64_t now_ns = (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
    const struct object_event event = { .bucket = source->options.bucket,
                                        .key = path,
                                        .object = object,
                                        .sequencer = state_sequencer_next(source->state, now_ns),
                                        .request_id = request_id };
    if (object == NULL) {
        object_put_deleted_detail(&intent->detail, &event);
    } else {
        intent->identity = object->identity;
        object_put_detail(&intent->detail, &event);
    }
    if (intent->detail.failed)
        return sluice_fail(reterr, SLUICE_ENOMEM, "out of memory gathering '%s'", path);
    return source->batch.count == STATE_BATCH_FILES_MAX ? publish_gathered(source, reterr) : SLUICE_OK;
}

static bool full_path(const struct source *source, const char *path, char ret_full[PATH_MAX])
{
    int len = snprintf(ret_full, PATH_MAX, "%s/%s", tree_root(source->tree), path);
    return len > 0 && len < PATH_MAX;
}

/* Of a file that is not there: an event, if one told of its coming. */
static enum sluice_err look_gone(struct source *source, const char *path, struct sluice_error *reterr)
{
    const struct intent *intent = last_gathered(source, path);
    bool has = intent != NULL && !intent->deleted;

    if (intent == NULL) {
        enum sluice_err err = state_has(source->state, path, &has, reterr);
        if (err != SLUICE_OK)
            return err;
    }
    return has ? gather(source, path, NULL, reterr) : SLUICE_OK;
}

/* Where more are in unrest than we keep, they are found by a scan. The earliest time stands, or a steady stream of files would put it
 * off for ever. */
static void look_again_by_scan(struct source *source, int64_t in_ms)
{
    int64_t due_ms = clock_ms(CLOCK_MONOTONIC) + in_ms;

    if (source->unsettled_until_ms == 0 || due_ms < source->unsettled_until_ms)
        source->unsettled_until_ms = due_ms;
}

static void look_again(struct source *source, const char *path, int64_t in_ms)
{
    if (!settling_put(&source->settling, path, clock_ms(CLOCK_MONOTONIC) + in_ms))
        look_again_by_scan(source, in_ms);
}

static enum sluice_err look(struct source *source, const char *path, enum object_seen seen, struct sluice_error *reterr)
{
    char full[PATH_MAX];
    struct file_identity identity;
    struct object object;
    struct sluice_error reason;
    bool known = false;

    if (source->options.stopping(source->options.ctx))
        return sluice_fail(reterr, SLUICE_EUNAVAILABLE,
                           "stopped while looking at files; the rest is published at the next start");
    if (!full_path(source, path, full)) {
        say(source, "skipped reason='path of %d bytes or more' key='%s'", PATH_MAX, path);
        return SLUICE_OK;
    }
    enum object_result result = object_identify(full, &identity, &reason);
    if (result == OBJECT_COMPLETE) {
        enum sluice_err err = known_or_gathered(source, path, identity, &known, reterr);
        if (err != SLUICE_OK || known)
            return err;
        if (!utf8_valid(view_of(path))) {
            say(source, "skipped reason='its name is not UTF-8, so no event can carry it' key='%s'", path);
            return SLUICE_OK;
        }
        int64_t now_ms = clock_ms(CLOCK_REALTIME), left_ms = object_settles_in(full, source->options.settle_ms, now_ms);
        if (source->options.settle_ms > 0 && left_ms > 0) {
            look_again(source, path, left_ms);
            return SLUICE_OK;
        }
        result = object_read(full, seen, now_ms, &object, &reason);
    }
    switch (result) {
    case OBJECT_COMPLETE: return gather(source, path, &object, reterr);
    case OBJECT_UNSETTLED: look_again(source, path, OBJECT_QUIET_MS); return SLUICE_OK;
    case OBJECT_UNREADABLE: say(source, "skipped reason='%s'", reason.text); return SLUICE_OK;
    case OBJECT_GONE:
    case OBJECT_OTHER: return look_gone(source, path, reterr);
    case OBJECT_OPEN: return SLUICE_OK;
    }
    return SLUICE_OK;
}

static enum sluice_err on_file(void *ctx, const char *path, enum object_seen seen, struct sluice_error *reterr)
{
    struct source *source = ctx;
    bool selected = name_selected(path, source->options.include, source->options.exclude);
    return selected ? look(source, path, seen, reterr) : SLUICE_OK;
}

/* With a settle time a file that comes back within it was never away. */
static enum sluice_err on_gone(void *ctx, const char *path, struct sluice_error *reterr)
{
    struct source *source = ctx;

    if (!name_selected(path, source->options.include, source->options.exclude))
        return SLUICE_OK;
    if (source->options.settle_ms == 0)
        return look(source, path, OBJECT_SEEN_LYING, reterr);
    look_again(source, path, source->options.settle_ms);
    return SLUICE_OK;
}

static void on_folder_gone(void *ctx)
{
    ((struct source *)ctx)->sweep_due = true;
}

static void on_skipped(void *ctx, const char *text)
{
    say(ctx, "skipped reason='%s'", text);
}

static bool is_gone(const struct source *source, const char *path)
{
    char full[PATH_MAX];
    struct file_identity identity;

    if (!full_path(source, path, full))
        return true;
    enum object_result result = object_identify(full, &identity, NULL);
    return result == OBJECT_GONE || result == OBJECT_OTHER;
}

/* Looks for every file that is known. One that is gone is a deletion, or forgotten if it is not selected any more. */
static enum sluice_err sweep(struct source *source, uint64_t *forgotten, struct sluice_error *reterr)
{
    char path[STATE_PATH_BYTES];
    struct state_cursor cursor = { 0 };
    bool found = true;

    source->sweep_due = false;
    for (;;) {
        enum sluice_err err = state_next(source->state, &cursor, path, &found, reterr);
        if (err != SLUICE_OK || !found)
            return err == SLUICE_OK ? publish_gathered(source, reterr) : err;
        if (!is_gone(source, path))
            continue;
        if (name_ignored_anywhere(path, source->options.ignore) ||
            !name_selected(path, source->options.include, source->options.exclude)) {
            err = state_forget(source->state, path, reterr);
            ++*forgotten;
        } else {
            err = on_gone(source, path, reterr);
        }
        if (err != SLUICE_OK)
            return err;
    }
}

static enum sluice_err scan(struct source *source, struct sluice_error *reterr)
{
    uint64_t forgotten = 0, published = source->published;

    source->rescan_due = false;
    source->unsettled_until_ms = 0;
    source->scans++;
    enum sluice_err err = tree_scan(source->tree, reterr);
    if (err == SLUICE_OK)
        err = publish_gathered(source, reterr);
    if (err == SLUICE_OK)
        err = sweep(source, &forgotten, reterr);
    if (err == SLUICE_OK)
        say(source, "scanned directories=%u published=%" PRIu64 " forgotten=%" PRIu64, tree_directories(source->tree),
            source->published - published, forgotten);
    return err;
}

static enum sluice_err look_at_settled(struct source *source, struct sluice_error *reterr)
{
    enum sluice_err err = SLUICE_OK;
    int64_t now_ms = clock_ms(CLOCK_MONOTONIC); /* once: what is put again meanwhile is for the next step */
    char *path;

    while (err == SLUICE_OK && (path = settling_take(&source->settling, now_ms)) != NULL) {
        err = look(source, path, OBJECT_SEEN_LYING, reterr);
        free(path);
    }
    return err;
}

/* ---- life ---- */

static enum sluice_err open_producer(struct source *source, struct sluice_error *reterr)
{
    struct state_producer durable = state_producer(source->state);

    memcpy(source->producer_id, durable.id, sizeof source->producer_id);
    /* One event a batch of the protocol: which number an event gets then depends on nothing but its place, also in a repeat. */
    return sluice_producer_open(&(struct sluice_producer_options){ .url = source->options.url,
                                                                   .name = "sluice-files",
                                                                   .window_batches = WINDOW_EVENTS,
                                                                   .batch_events = 1,
                                                                   .id = source->producer_id,
                                                                   .epoch = durable.epoch,
                                                                   .sequence = durable.sequence },
                                &source->producer, reterr);
}

enum sluice_err source_open(const struct source_options *options, struct source **ret_source, struct sluice_error *reterr)
{
    struct source *source = calloc(1, sizeof *source);
    if (source == NULL)
        return sluice_fail(reterr, SLUICE_ENOMEM, "out of memory opening '%s'", options->directory);
    source->options = *options;
    enum sluice_err err = tree_open(&(struct tree_options){ .directory = options->directory,
                                                            .ignore = options->ignore,
                                                            .on_file = on_file,
                                                            .on_gone = on_gone,
                                                            .on_folder_gone = on_folder_gone,
                                                            .on_skipped = on_skipped,
                                                            .ctx = source },
                                    &source->tree, reterr);
    if (err == SLUICE_OK)
        err = state_open(options->state_path, options->bucket, &source->state, reterr);
    if (err == SLUICE_OK)
        err = open_producer(source, reterr);
    if (err != SLUICE_OK) {
        source_close(source);
        return err;
    }
    *ret_source = source;
    return SLUICE_OK;
}

struct source *source_close(struct source *source)
{
    if (source == NULL)
        return NULL;
    /* Nothing is queued here that the state does not hold: what has no answer is published again at the next start. */
    if (source->producer != NULL)
        (void)sluice_producer_close(source->producer, 0, NULL);
    batch_clear(&source->batch);
    settling_done(&source->settling);
    state_close(source->state);
    tree_close(source->tree);
    free(source);
    return NULL;
}

enum sluice_err source_start(struct source *source, struct sluice_error *reterr)
{
    enum sluice_err err = state_intended(source->state, &source->batch, reterr);
    if (err == SLUICE_OK && source->batch.count > 0) {
        say(source, "again sequence=%" PRIu64 " events=%u", state_producer(source->state).sequence, source->batch.count);
        source->intended = true;
        err = publish_intended(source, reterr);
    }
    return err == SLUICE_OK ? scan(source, reterr) : err;
}

enum sluice_err source_step(struct source *source, struct sluice_error *reterr)
{
    bool more = true, overflowed = false;
    enum sluice_err err = SLUICE_OK;

    while (err == SLUICE_OK && more) {
        err = tree_read(source->tree, &more, &overflowed, reterr);
        source->rescan_due = source->rescan_due || overflowed;
    }
    if (err == SLUICE_OK)
        err = look_at_settled(source, reterr);
    if (err == SLUICE_OK)
        err = publish_gathered(source, reterr);
    if (err != SLUICE_OK)
        return err;
    if (source->rescan_due)
        say(source, "overflow reason='more happened than the kernel queues for us' next=scan");
    if (source->rescan_due || (source->unsettled_until_ms != 0 && source->unsettled_until_ms <= clock_ms(CLOCK_MONOTONIC)))
        return scan(source, reterr);
    uint64_t forgotten = 0;
    return source->sweep_due ? sweep(source, &forgotten, reterr) : SLUICE_OK;
}

int source_fd(const struct source *source)
{
    return tree_fd(source->tree);
}

int source_wait_ms(const struct source *source)
{
    int64_t due_ms = settling_due_ms(&source->settling);

    if (source->unsettled_until_ms != 0 && (due_ms < 0 || source->unsettled_until_ms < due_ms))
        due_ms = source->unsettled_until_ms;
    if (due_ms < 0)
        return -1;
    int64_t left_ms = due_ms - clock_ms(CLOCK_MONOTONIC);
    return left_ms <= 0 ? 0 : (int)left_ms;
}

enum sluice_err source_stats(struct source *source, struct source_stats *ret_stats, struct sluice_error *reterr)
{
    struct source_stats stats = { .published = source->published,
                                  .refused = source->refused,
                                  .scans = source->scans,
                                  .directories = tree_directories(source->tree),
                                  .unconfirmed = source->intended ? source->batch.count : 0 };
    enum sluice_err err = state_count(source->state, &stats.known, reterr);
    if (err == SLUICE_OK)
        *ret_stats = stats;
    return err;
}
