/* control.c - one control call: its command found, its arguments checked against the table, run, answered or parked. */
#include "broker/daemon/control_internal.h"

#include <stdarg.h>
#include <stdio.h>

#define NAME_ARGUMENT { .name = "name", .type = ARGUMENT_TEXT, .required = true }
#define FUNCTION_ARGUMENT(must) { .name = "function", .type = ARGUMENT_TEXT, .required = (must) }
#define PAGE_ARGUMENTS \
    { .name = "cursor", .type = ARGUMENT_TEXT }, \
    { .name = "limit", .type = ARGUMENT_NUMBER, .min = 1, .max = PAGE_ROWS_MAX, .otherwise = PAGE_ROWS_DEFAULT }

static const struct command commands[] = {
    { "status", LOOKS, { { 0 } }, control_status },
    { "balance", LOOKS, { { 0 } }, control_balance },
    { "event.tail", LOOKS,
      { { .name = "after_seq", .type = ARGUMENT_NUMBER, .max = INT64_MAX - 1 },
        { .name = "max", .type = ARGUMENT_NUMBER, .min = 1, .max = PAGE_ROWS_MAX, .otherwise = PAGE_ROWS_DEFAULT },
        { .name = "wait_ms", .type = ARGUMENT_NUMBER, .max = 30000 } },
      control_event_tail },
    { "event.show", LOOKS, { { .name = "id", .type = ARGUMENT_TEXT, .required = true } }, control_event_show },
    { "function.list", LOOKS, { PAGE_ARGUMENTS }, control_function_list },
    { "function.show", LOOKS,
      { NAME_ARGUMENT, { .name = "days", .type = ARGUMENT_NUMBER, .min = 1, .max = USAGE_DAYS_KEPT, .otherwise = 7 } },
      control_function_show },
    { "function.logs", LOOKS,
      { NAME_ARGUMENT, { .name = "bytes_max", .type = ARGUMENT_NUMBER, .min = 1, .max = 1 << 20, .otherwise = 64 << 10 } },
      control_function_logs },
    { "function.invoke", LOOKS,
      { NAME_ARGUMENT, { .name = "payload", .type = ARGUMENT_TEXT }, { .name = "async", .type = ARGUMENT_NUMBER, .max = 1 },
        { .name = "log", .type = ARGUMENT_NUMBER, .max = 1 } },
      control_function_invoke },
    { "rule.list", LOOKS, { PAGE_ARGUMENTS }, control_rule_list },
    { "dead-letter.list", LOOKS, { FUNCTION_ARGUMENT(false), PAGE_ARGUMENTS }, control_dead_letter_list },
    { "dead-letter.show", LOOKS,
      { FUNCTION_ARGUMENT(true), { .name = "delivery", .type = ARGUMENT_TEXT, .required = true } },
      control_dead_letter_show },
    { "dead-letter.redrive", CHANGES,
      { FUNCTION_ARGUMENT(true), { .name = "delivery", .type = ARGUMENT_TEXT }, PAGE_ARGUMENTS },
      control_dead_letter_redrive },
    { "dead-letter.purge", CHANGES,
      { FUNCTION_ARGUMENT(true), { .name = "delivery", .type = ARGUMENT_TEXT }, PAGE_ARGUMENTS },
      control_dead_letter_purge },
    { "reload", CHANGES, { { 0 } }, control_reload },
};

/* ---- arguments ---- */

static const struct argument *argument_find(const struct command *command, const char *name)
{
    for (const struct argument *argument = command->arguments; argument->name != NULL; argument++) {
        if (strcmp(argument->name, name) == 0)
            return argument;
    }
    return NULL;
}

const char *call_text(const struct call *call, const char *name)
{
    return json_string_value(json_object_get(call->arguments, name));
}

bool call_number_is(const struct call *call, const char *name)
{
    return json_is_integer(json_object_get(call->arguments, name));
}

json_int_t call_number(const struct call *call, const char *name)
{
    const struct argument *argument = argument_find(call->command, name);

    ASSERT(argument != NULL);
    return call_number_is(call, name) ? json_integer_value(json_object_get(call->arguments, name)) : argument->otherwise;
}

static bool argument_check(struct call *call, const struct argument *argument, const json_t *value)
{
    const char *command = call->command->name, *name = argument->name;

    if (value == NULL || json_is_null(value)) {
        if (argument->required)
            (void)call_fail(call, SLUICE_EINVAL, "%s: argument '%s' is missing", command, name);
        return !argument->required;
    }
    if (argument->type == ARGUMENT_TEXT) {
        if (!json_is_string(value))
            (void)call_fail(call, SLUICE_EINVAL, "%s: argument '%s' must be a string", command, name);
        return json_is_string(value);
    }
    json_int_t number = json_integer_value(value);
    if (!json_is_integer(value) || number < argument->min || number > argument->max) {
        (void)call_fail(call, SLUICE_EINVAL, "%s: argument '%s' must be an integer from %" JSON_INTEGER_FORMAT " to %" JSON_INTEGER_FORMAT,
                        command, name, argument->min, argument->max);
        return false;
    }
    return true;
}

static bool arguments_check(struct call *call, struct view arguments)
{
    json_error_t error;
    const char *name;
    json_t *value;

    size_t bytes_max = call->command->run == control_function_invoke ? PROTOCOL_CONTROL_BYTES_MAX : CONTROL_ARGUMENTS_BYTES_MAX;
    if (arguments.len > bytes_max) {
        (void)call_fail(call, SLUICE_EINVAL, "%s: %zu bytes of arguments; at most %zu are taken", call->command->name, arguments.len, bytes_max);
        return false;
    }
    call->arguments = arguments.len == 0 ? json_object() : json_loadb(arguments.data, arguments.len, JSON_REJECT_DUPLICATES, &error);
    if (!json_is_object(call->arguments)) {
        (void)call_fail(call, SLUICE_EINVAL, "%s: the arguments are not a JSON object%s%s", call->command->name,
                        call->arguments == NULL ? ": " : "", call->arguments == NULL ? error.text : "");
        return false;
    }
    json_object_foreach(call->arguments, name, value) {
        if (argument_find(call->command, name) == NULL) {
            (void)call_fail(call, SLUICE_EINVAL, "%s: unknown argument '%.64s'", call->command->name, name);
            return false;
        }
    }
    for (const struct argument *argument = call->command->arguments; argument->name != NULL; argument++) {
        if (!argument_check(call, argument, json_object_get(call->arguments, argument->name)))
            return false;
    }
    return true;
}

bool call_function(struct call *call, const char *argument, uint32_t *ret_function)
{
    const char *name = call_text(call, argument);

    if (engine_function_find(call->control->broker->engine, view_of(name), ret_function))
        return true;
    (void)call_fail(call, SLUICE_ENOTFOUND, "no function '%.64s'; see sluice function list", name);
    return false;
}

/* ---- answers ---- */

json_t *call_fail(struct call *call, enum sluice_err code, const char *format, ...)
{
    va_list args;

    call->error.code = code;
    va_start(args, format);
    (void)vsnprintf(call->error.text, sizeof call->error.text, format, args);
    va_end(args);
    return NULL;
}

static int bytes_put_json(const char *text, size_t len, void *bytes)
{
    bytes_put(bytes, text, len);
    return 0;
}

void call_unpark(struct call *call)
{
    if (call->parked_for == PARKED_NOT)
        return;
    list_remove(&call->link);
    call->control->parked_count--;
    call->parked_for = PARKED_NOT;
    call->again = false;
}

static void call_free(struct call *call)
{
    call_unpark(call);
    search_forget(call);
    invocation_forget(call);
    ev_timer_stop(call->control->broker->loop, &call->timer);
    json_decref(call->arguments);
    json_decref(call->result);
    free(call);
}

void call_finish(struct call *call, json_t *result)
{
    struct control *control = call->control;
    struct bytes *text = &control->text;
    size_t bytes_max = call->command != NULL && call->command->run == control_function_invoke ? PROTOCOL_CONTROL_BYTES_MAX : PROTOCOL_MESSAGE_BYTES_MAX;

    bytes_clear(text);
    if (result != NULL && (json_dump_callback(result, bytes_put_json, text, JSON_COMPACT) != 0 || text->failed))
        (void)call_fail(call, SLUICE_ENOMEM, "%s: out of memory for the answer", call->command->name);
    else if (text->len > bytes_max - 64)
        (void)call_fail(call, SLUICE_ELIMIT, "%s: the answer has %zu bytes, a reply at most %zu", call->command->name, text->len, bytes_max);
    bool good = call->error.code == SLUICE_OK;
    bus_answer_control(control->broker->bus, call->request, call->error.code, good ? NULL : call->error.text,
                       good ? bytes_view(text) : (struct view){ 0 });
    json_decref(result);
    call_free(call);
}

/* ---- parking ---- */

static bool call_may_park(struct call *call)
{
    struct control *control = call->control;

    if (control->stopping)
        (void)call_fail(call, SLUICE_EUNAVAILABLE, "the daemon is shutting down");
    else if (call->parked_for == PARKED_NOT && control->parked_count == CONTROL_PARKED_MAX)
        (void)call_fail(call, SLUICE_ELIMIT, "%d control calls wait already; try again later", CONTROL_PARKED_MAX);
    return call->error.code == SLUICE_OK;
}

json_t *call_park(struct call *call, enum parked_for what)
{
    struct control *control = call->control;
    const struct engine *engine = control->broker->engine;

    if (!call_may_park(call))
        return NULL;
    if (call->parked_for == PARKED_NOT) {
        control->parked_count++;
        list_push(&control->parked, &call->link);
        call->commit = engine_commit_gathering(engine) - (engine_has_commit(engine) ? 0 : 1);
    }
    call->parked_for = what;
    return NULL;
}

json_t *call_when_durable(struct call *call, json_t *result)
{
    ASSERT(call->command->effect == CHANGES);
    if (engine_has_commit(call->control->broker->engine))
        (void)call_park(call, PARKED_DURABLE);
    ASSERT(call->error.code == SLUICE_OK); /* asked before it was run */
    return result;
}

void call_finish_when_durable(struct call *call, json_t *result)
{
    ASSERT(call->parked_for != PARKED_NOT);
    ASSERT(engine_has_commit(call->control->broker->engine));
    call->commit = engine_commit_gathering(call->control->broker->engine);
    call->parked_for = PARKED_DURABLE;
    call->result = result;
}

void call_run(struct call *call)
{
    call->now = clock_now();
    json_t *result = call->command->run(call);
    if (result != NULL && call->parked_for == PARKED_DURABLE) {
        call->result = result;
    } else if (result == NULL && call->error.code == SLUICE_OK) {
        ASSERT(call->parked_for != PARKED_NOT);
        call->again = true;
    } else {
        call_finish(call, result);
    }
}

void control_call(struct control *control, uint64_t request, struct view name, struct view arguments)
{
    struct call *call = calloc(1, sizeof *call);

    ASSERT(call != NULL);
    call->control = control;
    call->request = request;
    ev_timer_init(&call->timer, NULL, 0., 0.);
    list_init(&call->link);
    for (size_t i = 0; i < sizeof commands / sizeof *commands && call->command == NULL; i++) {
        if (view_is(name, commands[i].name))
            call->command = &commands[i];
    }
    if (call->command == NULL)
        (void)call_fail(call, SLUICE_EINVAL, "unknown command '%.*s'; this daemon knows those of schemas/control.md",
                        (int)(name.len > 64 ? 64 : name.len), name.data);
    if (call->command == NULL || !arguments_check(call, arguments) || (call->command->effect == CHANGES && !call_may_park(call)))
        call_finish(call, NULL);
    else
        call_run(call);
}

void control_gone(struct control *control, uint64_t request)
{
    LIST_EACH(at, &control->parked) {
        struct call *call = LIST_OWNER(at, struct call, link);
        if (call->request == request) {
            call_free(call);
            return;
        }
    }
}

void control_committed(struct control *control)
{
    uint64_t durable = engine_commit_durable(control->broker->engine);

    LIST_EACH(at, &control->parked) {
        struct call *call = LIST_OWNER(at, struct call, link);
        switch (call->parked_for) {
        case PARKED_DURABLE:
            if (durable >= call->commit) {
                json_t *result = call->result;
                call->result = NULL;
                call_finish(call, result);
            }
            break;
        case PARKED_COMMIT: call_run(call); break;
        case PARKED_NOT:
        case PARKED_BALANCE:
        case PARKED_INVOKE:
        case PARKED_RELOAD:
        case PARKED_SEARCH: break;
        }
    }
}

void control_stop(struct control *control)
{
    control->stopping = true;
    LIST_EACH(at, &control->parked) {
        struct call *call = LIST_OWNER(at, struct call, link);
        if (call->parked_for == PARKED_DURABLE)
            continue; /* the last commit is waited for */
        if (call->parked_for == PARKED_INVOKE)
            continue; /* what runs may finish, what waits is answered by the engine */
        (void)call_fail(call, SLUICE_EUNAVAILABLE, "the daemon is shutting down");
        call_finish(call, NULL);
    }
}

/* ---- life ---- */

struct control *control_new(struct broker *broker)
{
    struct control *control = calloc(1, sizeof *control);

    ASSERT(control != NULL);
    control->broker = broker;
    list_init(&control->parked);
    control->balance = balance_new(control);
    control->searcher = searcher_new(control);
    control->ends = ends_new();
    return control;
}

struct control *control_free(struct control *control)
{
    if (control == NULL)
        return NULL;
    control->balance = balance_free(control->balance);
    while (!list_empty(&control->parked))
        /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): call_free() takes it out of the list */
        call_free(LIST_OWNER(control->parked.next, struct call, link));
    control->searcher = searcher_free(control->searcher);
    control->ends = ends_free(control->ends);
    bytes_done(&control->text);
    free(control);
    return NULL;
}
