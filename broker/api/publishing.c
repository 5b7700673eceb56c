/* publishing.c - events on their way to the disk, and the calls that wait for the word that they are there.
 *
 * A peer that hangs up takes nothing back: its events may be in a commit already. An SDK that asks again attaches to what its first try
 * began (once.h). */
#include "broker/api/once.h"

#include <stdlib.h>

void publishing_attach(struct publishing *publishing, struct call *call)
{
    ASSERT(call->publishing == NULL);
    list_push(&publishing->calls, &call->waiting);
    call->publishing = publishing;
}

struct publishing *publishing_new(struct call *call)
{
    struct publishing *publishing = calloc(1, sizeof *publishing);

    ASSERT(publishing != NULL);
    publishing->api = call->api;
    publishing->reply = api_handle(call->api);
    publishing->arena = arena_new(1024);
    list_init(&publishing->calls);
    publishing_attach(publishing, call);
    return publishing;
}

static struct call *publishing_detach(struct call *call)
{
    list_remove(&call->waiting);
    call->publishing = NULL;
    return call;
}

struct publishing *publishing_free(struct publishing *publishing)
{
    while (!list_empty(&publishing->calls))
        (void)publishing_detach(LIST_OWNER(publishing->calls.next, struct call, waiting));
    (void)arena_free(publishing->arena);
    bytes_done(&publishing->events);
    bytes_done(&publishing->answer);
    VEC_DONE(&publishing->entries);
    free(publishing);
    return NULL;
}

void publishing_put(struct publishing *publishing, struct publish_entry *entry, const struct event *event)
{
    struct event named = *event;

    if (entry->id_text.data != NULL) {
        named.id = entry->id_text;
    } else {
        named.id = (struct view){ .data = (const char *)entry->id, .len = sizeof entry->id };
        named.id_is_uuid = true;
    }
    envelope_encode(&named, &publishing->events);
    ASSERT(!publishing->events.failed);
}

static uint32_t published_count(const struct publishing *publishing)
{
    uint32_t count = 0;

    for (size_t i = 0; i < publishing->entries.count; i++)
        count += publishing->entries.items[i].code == NULL;
    return count;
}

static void publishing_tell(struct publishing *publishing, enum sluice_err err, const char *text)
{
    if (err == SLUICE_OK && publishing->answer_put != NULL)
        publishing->answer_put(publishing, &publishing->answer);
    while (!list_empty(&publishing->calls))
        publishing->answered(publishing_detach(LIST_OWNER(publishing->calls.next, struct call, waiting)), publishing, err, text);
}

void publishing_once(struct publishing *publishing, struct once *once, const struct once_key *key)
{
    struct call *call = LIST_OWNER(publishing->calls.next, struct call, waiting);

    publishing->once_of = once;
    publishing->once = once_put(once, key);
    if (publishing->once == NULL)
        return;
    publishing->once->publishing = publishing;
    memcpy(publishing->once->request_id, call_request_id(call), sizeof publishing->once->request_id);
}

static void publishing_once_forget(struct publishing *publishing)
{
    if (publishing->once != NULL)
        once_forget(publishing->once_of, publishing->once);
}

/* What was said of each entry holds for a further try, too: those that were accepted are on disk. Without such an answer a refusal is all that was
 * said, and what was refused shall be tried. */
static void publishing_once_ended(struct publishing *publishing, bool refused)
{
    const struct invoke_result said = { .body = bytes_view(&publishing->answer) };

    if (publishing->once == NULL)
        return;
    if (publishing->answer_put != NULL)
        once_ended(publishing->once_of, publishing->once, &said);
    else if (!refused)
        once_ended(publishing->once_of, publishing->once, NULL);
    else
        once_forget(publishing->once_of, publishing->once);
}

void publishing_begin(struct publishing *publishing)
{
    struct api *api = publishing->api;
    uint32_t count = published_count(publishing);
    size_t len = publishing->events.len;
    enum sluice_err err = count == 0                                    ? SLUICE_OK
                          : api->events_bytes + len > API_EVENTS_BYTES_MAX ? SLUICE_ELIMIT
                          : len > PUBLISH_BATCH_BYTES_MAX               ? SLUICE_EINVAL
                                                                        : SLUICE_OK;

    if (count == 0 || err != SLUICE_OK) {
        publishing_tell(publishing, err, err == SLUICE_ELIMIT ? "too many events wait for the disk" : "the events of one request exceed 4 MiB");
        publishing_once_forget(publishing);
        (void)publishing_free(publishing);
        return;
    }
    api->events_bytes += len;
    map_put(&api->publishings, publishing->reply, (uint64_t)(uintptr_t)publishing);
    api->hands.publish(api->hands.ctx, &(struct publish){
                                           .reply = publishing->reply,
                                           .events = bytes_view(&publishing->events),
                                           .count = count,
                                           .function = publishing->function,
                                       });
}

void publishing_leave(struct call *call)
{
    (void)publishing_detach(call);
}

void publishings_close(struct api *api)
{
    for (size_t i = 0; i < api->publishings.capacity; i++) {
        const struct map_slot *slot = &api->publishings.slots[i];
        if ((slot->key & API_HANDLE_BIT) == 0 || slot->key == UINT64_MAX)
            continue;
        api->hands.publish_cancel(api->hands.ctx, slot->key); /* its bytes go away */
        (void)publishing_free((struct publishing *)(uintptr_t)slot->value);
    }
    map_done(&api->publishings);
}

/* Refusals count only what was published, and come in its order. */
static bool refusals_note(struct publishing *publishing, const struct publish_answer *answer)
{
    size_t next = 0;
    uint32_t index = 0;

    for (size_t i = 0; i < publishing->entries.count; i++) {
        struct publish_entry *entry = &publishing->entries.items[i];
        if (entry->code != NULL)
            continue;
        if (next < answer->refusals_count && answer->refusals[next].index == index) {
            entry->err = answer->refusals[next].error.code;
            entry->text = arena_text(publishing->arena, view_of(answer->refusals[next].error.text));
            next++;
        }
        index++;
    }
    return next > 0;
}

void api_publish_answered(struct api *api, uint64_t reply, const struct publish_answer *answer)
{
    uint64_t pointer;

    if (!map_remove(&api->publishings, reply, &pointer))
        return;
    struct publishing *publishing = (struct publishing *)(uintptr_t)pointer;
    api->events_bytes -= publishing->events.len;
    bool refused = refusals_note(publishing, answer);
    publishing_tell(publishing, answer->code, answer->text != NULL ? answer->text : "");
    if (answer->code == SLUICE_OK)
        publishing_once_ended(publishing, refused);
    else
        publishing_once_forget(publishing);
    (void)publishing_free(publishing);
}
