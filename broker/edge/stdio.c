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

void stdio_read(struct instance *instance, struct view data)
{
    bool wanted = instance->leases.count > 0 && instance->leases.items[0].answer_wanted;

    instance->answer_bytes += data.len;
    if (wanted && instance->answer_bytes <= RESULT_BYTES_MAX)
        bytes_put_view(&instance->answer, data);
    else if (!wanted)
        tail_put(&instance->answer, data);
    if ((instance->answer_bytes > RESULT_BYTES_MAX || instance->answer.failed) && !instance->too_large) { /* too large for this machine, too */
        instance->too_large = true;
        instance_signal(instance, SIGKILL);
    }
}

/* A death by signal is nobody's answer: the lease is lost, and the engine decides. */
void stdio_exited(struct instance *instance, const struct instance_end *end)
{
    const struct instances_events *events = instance_events(instance);
    struct view output = instance_output(instance, tail_view(&instance->answer));
    char message[64];

    if (instance->leases.count == 0)
        return;
    const struct leased *leased = &instance->leases.items[0];
    if (instance->too_large) {
        struct invocation_failure failure = failure_too_large(output);
        events->on_result(events->ctx, instance->id, leased->lease, 0, leased->count, &failure, (struct view){ 0 });
    } else if (end->reason == END_EXITED && end->code == 0) {
        events->on_result(events->ctx, instance->id, leased->lease, 0, leased->count, NULL,
                          leased->answer_wanted ? bytes_view(&instance->answer) : (struct view){ 0 });
    } else if (end->reason == END_EXITED) {
        (void)snprintf(message, sizeof message, "Runtime exited with error: exit status %d", end->code);
        struct invocation_failure failure = {
            .type = VIEW_LITERAL("Runtime.ExitError"), .message = view_of(message), .output = output };
        events->on_result(events->ctx, instance->id, leased->lease, 0, leased->count, &failure, (struct view){ 0 });
    }
}
