/* Protocol stdio-lines: a resident filter. One line in, one line out, in order, many of them ahead.
 * Answers that came in one read and belong to one lease are reported as one run, so that a fast filter costs one callback for thousands
 * of lines. */
#include "broker/edge/instance.h"

#include <signal.h>

#include "schemas/codec/json.h"

enum { ANSWER_KEPT_BYTES = 1 << 20, LEASES_COMPACT_COUNT = 256, DROPPED_SHOWN_BYTES = 200 };

static struct leased *lease_first(struct instance *instance)
{
    return instance->stdio->leases_at < instance->stdio->leases.count ? &instance->stdio->leases.items[instance->stdio->leases_at] : NULL;
}

static void lease_advance(struct instance *instance, unsigned count)
{
    struct leased *leased = lease_first(instance);

    leased->done += count;
    if (leased->done == leased->count)
        instance->stdio->leases_at++;
    if (instance->stdio->leases_at == instance->stdio->leases.count) {
        instance->stdio->leases.count = instance->stdio->leases_at = 0;
    } else if (instance->stdio->leases_at >= LEASES_COMPACT_COUNT) {
        instance->stdio->leases.count -= instance->stdio->leases_at;
        memmove(instance->stdio->leases.items, instance->stdio->leases.items + instance->stdio->leases_at, instance->stdio->leases.count * sizeof *leased);
        instance->stdio->leases_at = 0;
    }
}

/* Reports the next `count` outstanding inputs of the first lease. The callback may deliver more to this very instance. */
static void report_result(struct instance *instance, unsigned count, const struct invocation_failure *failure, struct view result)
{
    const struct instances_events *events = instance_events(instance);

    if (count == 0)
        return;
    struct leased leased = *lease_first(instance);
    lease_advance(instance, count);
    events->on_result(events->ctx, instance->id, leased.lease, leased.done, count, failure, result);
}

static void report(struct instance *instance, unsigned count, const struct invocation_failure *failure)
{
    report_result(instance, count, failure, (struct view){ 0 });
}

/* Whether `line` is {"error":{...}}; its bytes `"error"` are looked for first, as nearly no answer has them. */
static bool error_find(struct view line, struct view *ret_error)
{
    static const char key[] = "\"error\"";
    struct view error;

    if (memmem(line.data, line.len, key, sizeof key - 1) == NULL)
        return false;
    if (json_check(line, JSON_OBJECT, JSON_DEPTH_MAX, NULL) != SLUICE_OK || !json_member(line, VIEW_LITERAL("error"), &error))
        return false;
    if (error.len == 0 || error.data[0] != '{')
        return false;
    *ret_error = error;
    return true;
}

/* The decoded string at `name`, or `otherwise`. */
static struct view text_of(struct view object, const char *name, struct view otherwise, struct bytes *decoded)
{
    struct view value;

    if (!json_member(object, view_of(name), &value) || !json_string_decode(value, decoded) || decoded->failed)
        return otherwise;
    return bytes_view(decoded);
}

static void report_error(struct instance *instance, struct view line, struct view error)
{
    struct bytes type = { 0 }, message = { 0 };
    struct view line_end = line;

    if (line_end.len > OUTPUT_TAIL_BYTES)
        line_end.len = OUTPUT_TAIL_BYTES;
    struct invocation_failure failure = {
        .type = text_of(error, "type", VIEW_LITERAL("Unhandled"), &type),
        .message = text_of(error, "message", VIEW_LITERAL(""), &message),
        .output = instance_output(instance, line_end),
    };
    report(instance, 1, &failure);
    bytes_done(&type);
    bytes_done(&message);
}

/* What one read brought and was not reported yet. */
struct read_tally {
    unsigned successes;              /* answers of the first lease */
    unsigned dropped;                /* lines that answer no input */
};

static void answer_too_large(struct instance *instance, struct read_tally *tally)
{
    struct invocation_failure failure = failure_too_large(instance_output(instance, VIEW_LITERAL("")));

    instance->stdio->too_large = true;
    bytes_done(&instance->stdio->answer);
    report(instance, tally->successes, NULL);
    tally->successes = 0;
    capture_note(instance->capture, instance->id, "sluice: an answer line is over %d bytes: killed", RESULT_BYTES_MAX);
    if (lease_first(instance) != NULL)
        report(instance, 1, &failure);
    instance_signal(instance, SIGKILL);
}

static void answer_line(struct instance *instance, struct view line, struct read_tally *tally)
{
    const struct leased *leased = lease_first(instance);
    struct view error;

    if (leased == NULL) {
        if (tally->dropped++ == 0)
            capture_note(instance->capture, instance->id, "sluice: dropped a line that answers no input: %.*s",
                         line.len < DROPPED_SHOWN_BYTES ? (int)line.len : DROPPED_SHOWN_BYTES, line.data);
        return;
    }
    if (error_find(line, &error)) {
        report(instance, tally->successes, NULL);
        tally->successes = 0;
        report_error(instance, line, error);
        return;
    }
    if (leased->done + ++tally->successes == leased->count) {
        report_result(instance, tally->successes, NULL, leased->result_wanted ? line : (struct view){ 0 });
        tally->successes = 0;
    }
}

void stdio_lines_read(struct instance *instance, struct view data)
{
    const char *at = data.data, *end = data.data + data.len;
    struct read_tally tally = { 0 };

    while (at < end && !instance->stdio->too_large) {
        const char *line_break = memchr(at, '\n', (size_t)(end - at));
        struct view part = { .data = at, .len = (size_t)((line_break != NULL ? line_break : end) - at) };
        at = line_break != NULL ? line_break + 1 : end;
        if (instance->stdio->answer.len + part.len > RESULT_BYTES_MAX) {
            answer_too_large(instance, &tally);
        } else if (line_break == NULL) {
            bytes_put_view(&instance->stdio->answer, part);
        } else if (instance->stdio->answer.len == 0) {
            answer_line(instance, part, &tally);
        } else {
            bytes_put_view(&instance->stdio->answer, part);
            answer_line(instance, bytes_view(&instance->stdio->answer), &tally);
            bytes_clear(&instance->stdio->answer);
            if (instance->stdio->answer.capacity > ANSWER_KEPT_BYTES)
                bytes_done(&instance->stdio->answer);
        }
        if (instance->stdio->answer.failed)
            answer_too_large(instance, &tally); /* too large for this machine */
    }
    report(instance, tally.successes, NULL);
    if (tally.dropped > 1)
        capture_note(instance->capture, instance->id, "sluice: dropped %u more lines that answer no input", tally.dropped - 1);
}

void stdio_lines_closed(struct instance *instance)
{
    /* Many programs close it on their way out: they get the time to say how they end. */
    if (instance->state == INSTANCE_RUNNING)
        instance_grace_start(instance);
}

void stdio_lines_exited(struct instance *instance)
{
    if (instance->stdio->answer.len > 0)
        capture_note(instance->capture, instance->id, "sluice: ended within a line of %zu bytes, which answers nothing",
                     instance->stdio->answer.len);
}
