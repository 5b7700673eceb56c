/* invocations.c - synchronous invocations and the calls that wait for them.
 *
 * An invocation has one call, or several when an SDK asks again before the first try was answered (once.h). One that nobody waits for any
 * more is cancelled while it waits for a place; once it runs, it is left to its end if the same request may still come again. */
#include "broker/api/once.h"

#include <stdlib.h>

struct invocation {
    struct api_invocation is;
    struct api *api;
    const struct invoke_form *form;
    struct list calls;
    struct once_entry *once;             /* NULL: the request has no id, or there is no room */
    bool running, streaming;
    bool paused;                         /* its streamed response waits for the peer */
    char bytes[];                        /* what the views point into */
};

static struct invocation *invocation_find(const struct api *api, uint64_t invoke)
{
    uint64_t pointer;
    return map_get(&api->invocations, invoke, &pointer) ? (struct invocation *)(uintptr_t)pointer : NULL;
}

static void invocation_free(struct invocation *invocation)
{
    ASSERT(list_empty(&invocation->calls));
    (void)map_remove(&invocation->api->invocations, invocation->is.invoke, NULL);
    free(invocation);
}

static void invocation_attach(struct invocation *invocation, struct call *call)
{
    ASSERT(call->invocation == NULL);
    call->invocation = invocation;
    list_push(&invocation->calls, &call->waiting);
}

static struct call *invocation_detach(struct call *call)
{
    list_remove(&call->waiting);
    call->invocation = NULL;
    return call;
}

/* NULL when there is none. */
static struct call *first_call(const struct invocation *invocation)
{
    return list_empty(&invocation->calls) ? NULL : LIST_OWNER(invocation->calls.next, struct call, waiting);
}

static struct view keep(char **at, struct view view)
{
    struct view kept = { .data = *at, .len = view.len };

    if (view.data == NULL)
        return view;
    if (view.len > 0)
        memcpy(*at, view.data, view.len);
    (*at)[view.len] = '\0';
    *at += view.len + 1;
    return kept;
}

static struct invocation *invocation_new(struct call *call, const struct invoke_request *request)
{
    size_t len = request->arn.len + request->payload.len + request->client_context.len + request->trace_id.len + 4;
    struct invocation *invocation = malloc(sizeof *invocation + len);
    char *at;

    ASSERT(invocation != NULL);
    *invocation = (struct invocation){
        .is = { .invoke = api_handle(call->api), .function = request->function, .streams = request->streams, .tail = request->tail },
        .api = call->api,
        .form = request->form,
    };
    at = invocation->bytes;
    invocation->is.arn = keep(&at, request->arn).data;
    invocation->is.payload = keep(&at, request->payload);
    invocation->is.client_context = keep(&at, request->client_context);
    invocation->is.trace_id = keep(&at, request->trace_id);
    memcpy(invocation->is.request_id, call_request_id(call), sizeof invocation->is.request_id);
    list_init(&invocation->calls);
    map_put(&call->api->invocations, invocation->is.invoke, (uint64_t)(uintptr_t)invocation);
    return invocation;
}

/* An earlier try of the same request was seen: the call gets its answer, now or as it comes. */
static void call_repeat(struct call *call, const struct invoke_request *request, struct once_entry *entry)
{
    call->api->counts.attached++;
    memcpy(call->request_id, entry->request_id, sizeof call->request_id);
    if (entry->lost) {
        request->form->refused(call, SLUICE_EEXISTS, "this request (amz-sdk-invocation-id) was executed already, and its response was too long to be kept, "
                               "or had to make room for others; to have the function run again, send it as a new request");
        return;
    }
    if (entry->streams) {
        request->form->begin(call, bytes_view(&entry->content_type));
        request->form->piece(call, bytes_view(&entry->stream));
    }
    if (entry->invocation != NULL) {
        invocation_attach(entry->invocation, call);
        return;
    }
    request->form->done(call, &(struct invoke_result){
                                  .failed = entry->failed,
                                  .body = bytes_view(&entry->body),
                                  .type = entry->failed ? bytes_view(&entry->type) : (struct view){ 0 },
                                  .log_tail = bytes_view(&entry->log_tail),
                              });
}

void invocation_begin(struct call *call, const struct invoke_request *request)
{
    struct api *api = call->api;
    struct sluice_error error = { 0 };
    struct once_entry *entry = NULL;
    struct once_key key;

    ASSERT(request->payload.len > 0);
    bool has_key = request->door != NULL && once_key_of(call, request->door, request->function, request->payload, &key);
    if (has_key)
        entry = once_find(api->once, &key);
    if (entry != NULL) {
        call_repeat(call, request, entry);
        return;
    }
    struct invocation *invocation = invocation_new(call, request);
    invocation_attach(invocation, call);
    if (has_key)
        invocation->once = once_put(api->once, &key);
    if (invocation->once != NULL) {
        invocation->once->invocation = invocation;
        memcpy(invocation->once->request_id, call->request_id, sizeof call->request_id);
    }
    uint64_t invoke = invocation->is.invoke;
    enum sluice_err err = api->hands.invoke(api->hands.ctx, request->function, invoke, &error);
    if (err == SLUICE_OK) /* it may have been answered by now */
        return;
    if (invocation->once != NULL)
        once_forget(api->once, invocation->once);
    (void)invocation_detach(call);
    invocation_free(invocation);
    request->form->refused(call, err, error.text);
}

/* The latest try sets the pace; with nobody left it goes as fast as it can. */
static bool is_clogged(const struct invocation *invocation)
{
    const struct call *latest = list_empty(&invocation->calls) ? NULL : LIST_OWNER(invocation->calls.previous, struct call, waiting);

    return latest != NULL && http_unsent(latest->exchange) >= HTTP_UNSENT_HIGH_BYTES;
}

/* Who tries again has given up its tries before: one of them that does not read is cut off, for it may be a connection that is silently broken. */
static void cut_slow(struct invocation *invocation)
{
    LIST_EACH(at, &invocation->calls) {
        struct call *call = LIST_OWNER(at, struct call, waiting);
        if (at == invocation->calls.previous || http_unsent(call->exchange) < HTTP_UNSENT_HIGH_BYTES)
            continue;
        (void)invocation_detach(call);
        http_abort(call->exchange);
    }
}

static void invocation_look(struct invocation *invocation)
{
    struct api *api = invocation->api;

    if (!invocation->paused || is_clogged(invocation))
        return;
    invocation->paused = false;
    api->hands.resume(api->hands.ctx, invocation->is.invoke);
}

void invocation_leave(struct call *call)
{
    struct invocation *invocation = call->invocation;
    struct api *api = call->api;

    (void)invocation_detach(call);
    invocation_look(invocation);
    if (!list_empty(&invocation->calls) || (invocation->running && invocation->once != NULL))
        return;
    if (invocation->once != NULL)
        once_forget(api->once, invocation->once);
    uint64_t invoke = invocation->is.invoke;
    invocation_free(invocation);
    api->hands.invoke_cancel(api->hands.ctx, invoke);
}

void invocation_drained(struct call *call)
{
    invocation_look(call->invocation);
}

void invocations_close(struct api *api)
{
    for (size_t i = 0; i < api->invocations.capacity; i++) {
        const struct map_slot *slot = &api->invocations.slots[i];
        if ((slot->key & API_HANDLE_BIT) == 0 || slot->key == UINT64_MAX)
            continue;
        struct invocation *invocation = (struct invocation *)(uintptr_t)slot->value;
        ASSERT(list_empty(&invocation->calls)); /* the listener was closed before: what is left runs, and nobody waits for it */
        api->hands.invoke_cancel(api->hands.ctx, slot->key);
        free(invocation);
    }
    map_done(&api->invocations);
}

/* ---- what the daemon says ---- */

const struct api_invocation *api_invocation_find(const struct api *api, uint64_t invoke)
{
    struct invocation *invocation = invocation_find(api, invoke);

    if (invocation == NULL)
        return NULL;
    invocation->running = true;
    return &invocation->is;
}

/* What the platform says in place of a function that could not. A reason that came with no id gets it, as AWS's have it. */
void api_put_failure(struct bytes *out, const char *request_id, const struct failure *failure)
{
    static const char prefix[] = "RequestId: ";
    struct bytes message = { 0 };
    bool about_process = view_begins(failure->type, "Sandbox.") || view_begins(failure->type, "Runtime.");

    if (about_process && !view_begins(failure->message, prefix)) {
        bytes_put_text(&message, prefix);
        bytes_put_text(&message, request_id);
        bytes_put_text(&message, " Error: ");
    }
    bytes_put_view(&message, failure->message);
    bytes_put_char(out, '{');
    if (about_process)
        put_member(out, "errorType", failure->type);
    put_member(out, "errorMessage", bytes_view(&message));
    if (!about_process)
        put_member(out, "errorType", failure->type);
    put_object_end(out);
    bytes_done(&message);
}

static void invocation_done(struct invocation *invocation, const struct invoke_answer *answer, struct view log_tail)
{
    struct api *api = invocation->api;
    struct invoke_result result = { .failed = answer->outcome == INVOKE_FAILED, .body = answer->result, .log_tail = log_tail };
    struct call *call;

    if (result.log_tail.len > LOG_TAIL_BYTES)
        result.log_tail = (struct view){ log_tail.data + log_tail.len - LOG_TAIL_BYTES, LOG_TAIL_BYTES };
    if (result.failed) {
        ASSERT(answer->failure != NULL);
        result.type = answer->failure->type.len > 0 ? answer->failure->type : VIEW_LITERAL("Unhandled");
        if (result.body.len == 0) {
            bytes_clear(&api->scratch);
            api_put_failure(&api->scratch, invocation->is.request_id, answer->failure);
            result.body = bytes_view(&api->scratch);
        }
    }
    while ((call = first_call(invocation)) != NULL)
        invocation->form->done(invocation_detach(call), &result);
    if (invocation->once != NULL)
        once_ended(api->once, invocation->once, &result);
}

static void invocation_refused(struct invocation *invocation, enum sluice_err why, const char *text)
{
    struct call *call;

    if (invocation->once != NULL)
        once_forget(invocation->api->once, invocation->once);
    while ((call = first_call(invocation)) != NULL)
        invocation->form->refused(invocation_detach(call), why, text);
}

void api_invoke_answered(struct api *api, uint64_t invoke, const struct invoke_answer *answer, struct view log_tail)
{
    struct invocation *invocation = invocation_find(api, invoke);

    if (invocation == NULL)
        return;
    switch (answer->outcome) {
    case INVOKE_DONE:
    case INVOKE_FAILED:
        histogram_add(&api->invoke_waited, answer->waited_us, 1);
        histogram_add(&api->invoke_ran, answer->ran_us, 1);
        invocation_done(invocation, answer, log_tail);
        break;
    case INVOKE_THROTTLED: invocation_refused(invocation, SLUICE_ELIMIT, "no instance became free in time"); break;
    case INVOKE_STOPPED: invocation_refused(invocation, SLUICE_EUNAVAILABLE, "the daemon stops, or the function was removed"); break;
    }
    invocation_free(invocation);
}

bool api_stream_begin(struct api *api, uint64_t invoke, struct view content_type)
{
    struct invocation *invocation = invocation_find(api, invoke);

    if (invocation == NULL || invocation->form->begin == NULL)
        return false;
    ASSERT(invocation->once != NULL || !list_empty(&invocation->calls)); /* else it was cancelled */
    invocation->streaming = true;
    if (invocation->once != NULL)
        once_stream_begin(api->once, invocation->once, content_type);
    LIST_EACH(at, &invocation->calls)
        invocation->form->begin(LIST_OWNER(at, struct call, waiting), content_type);
    return true;
}

bool api_stream_piece(struct api *api, uint64_t invoke, struct view piece)
{
    struct invocation *invocation = invocation_find(api, invoke);

    if (invocation == NULL || !invocation->streaming)
        return true; /* nobody is left: it is dropped, as fast as it comes */
    if (invocation->once != NULL)
        once_stream_piece(api->once, invocation->once, piece);
    LIST_EACH(at, &invocation->calls)
        invocation->form->piece(LIST_OWNER(at, struct call, waiting), piece);
    cut_slow(invocation);
    invocation->paused = is_clogged(invocation);
    return !invocation->paused;
}
