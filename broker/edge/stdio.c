/* Protocol stdio: one process per invocation. Its lines on stdin, then EOF; exit 0 is success, stdout the result. */
#include "broker/edge/instance.h"

#include <signal.h>
#include <stdio.h>

struct invocation_failure failure_too_large(struct view output)
{
    return (struct invocation_failure){
        .type = VIEW_LITERAL("Function.ResponseSizeTooLarge"),
        .message = VIEW_LITERAL("Response payload size exceeded maximum allowed payload size (6291556 bytes)."),
        .output = output,
    };
}
_Static_assert(RESULT_BYTES_MAX == 6291556, "the message above says it");

static bool result_wanted(const struct instance *instance)
{
    return instance->stdio->leases.count > 0 && instance->stdio->leases.items[0].result_wanted;
}

struct view stdio_tail(const struct instance *instance)
{
    struct view all = bytes_view(&instance->stdio->answer);

    if (!result_wanted(instance))
        return tail_view(&instance->stdio->answer);
    return all.len <= OUTPUT_TAIL_BYTES ? all : (struct view){ .data = all.data + all.len - OUTPUT_TAIL_BYTES, .len = OUTPUT_TAIL_BYTES };
}

void stdio_read(struct instance *instance, struct view data)
{
    instance->stdio->answer_bytes += data.len;
    if (!result_wanted(instance))
        tail_put(&instance->stdio->answer, data);
    else if (instance->stdio->answer_bytes <= RESULT_BYTES_MAX)
        bytes_put_view(&instance->stdio->answer, data);
    if (instance->stdio->answer_bytes > RESULT_BYTES_MAX && !instance->stdio->too_large) {
        instance->stdio->too_large = true;
        instance_signal(instance, SIGKILL);
    }
}

/* A death by signal is nobody's answer: the lease is lost, and the engine decides. */
void stdio_exited(struct instance *instance, const struct instance_end *end)
{
    const struct instances_events *events = instance_events(instance);
    struct view output = instance_output(instance, stdio_tail(instance));
    char message[64];

    if (instance->stdio->leases.count == 0)
        return;
    const struct leased *leased = &instance->stdio->leases.items[0];
    if (instance->stdio->too_large) {
        struct invocation_failure failure = failure_too_large(output);
        events->on_result(events->ctx, instance->id, leased->lease, 0, leased->count, &failure, (struct view){ 0 });
    } else if (end->reason == END_EXITED && end->code == 0) {
        events->on_result(events->ctx, instance->id, leased->lease, 0, leased->count, NULL,
                          leased->result_wanted ? bytes_view(&instance->stdio->answer) : (struct view){ 0 });
    } else if (end->reason == END_EXITED) {
        (void)snprintf(message, sizeof message, end->out_of_memory ? "Runtime exited with error: signal: killed"
                                                                    : "Runtime exited with error: exit status %d", end->code);
        struct invocation_failure failure = {
            .type = VIEW_LITERAL("Runtime.ExitError"), .message = view_of(message), .output = output };
        events->on_result(events->ctx, instance->id, leased->lease, 0, leased->count, &failure, (struct view){ 0 });
    }
}
