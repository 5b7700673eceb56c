#include "broker/daemon/control.h"

#include <stdlib.h>

#include "broker/base/assert.h"

struct control {
    struct broker *broker;
};

struct control *control_new(struct broker *broker)
{
    struct control *control = calloc(1, sizeof *control);
    ASSERT(control != NULL);
    control->broker = broker;
    return control;
}

struct control *control_free(struct control *control)
{
    free(control);
    return NULL;
}

void control_call(struct control *control, uint64_t request, struct view command, struct view arguments)
{
    (void)command, (void)arguments;
    bus_answer_control(control->broker->bus, request, SLUICE_EINVAL, "unknown command", (struct view){ 0 });
}

void control_gone(struct control *control, uint64_t request)
{
    (void)control, (void)request;
}

void control_committed(struct control *control)
{
    (void)control;
}

void control_instance_gone(struct control *control, uint64_t instance, const struct instance_end *end)
{
    (void)control, (void)instance, (void)end;
}
