/* control_search.c - an event that is not where its id says. Finding it takes as long as reading the store, so a worker does that
 * with a snapshot of its own, for one call after the other, while the loop goes on. What it found is a copy; where the deliveries
 * stand is looked up on the loop afterwards, when the call runs again. */
#include "broker/daemon/control_internal.h"

#include <stdatomic.h>

#include "schemas/codec/ids.h"

struct searcher {
    struct control *control;
    struct worker worker;
    struct call *call; /* whom it searches for; NULL: nobody, or one that went away */
    atomic_bool cancelled;
    struct bytes id; /* this and what follows: the worker's while that runs */
    bool id_is_uuid;
    struct event_found found;
    enum sluice_err err;
    struct sluice_error error;
};

static void search_work(void *ctx)
{
    struct searcher *searcher = ctx;
    struct event_search search = { .id = bytes_view(&searcher->id),
                                   .id_is_uuid = searcher->id_is_uuid,
                                   .cancelled = &searcher->cancelled };

    searcher->err = store_event_search(searcher->control->broker->store, &search, &searcher->found, &searcher->error);
}

static bool search_start(struct searcher *searcher, struct call *call)
{
    uint8_t uuid[UUID_BYTES];
    struct view text = view_of(call_text(call, "id"));

    searcher->id_is_uuid = uuid_from_text(text, uuid);
    bytes_clear(&searcher->id);
    bytes_put_view(&searcher->id, searcher->id_is_uuid ? (struct view){ (const char *)uuid, sizeof uuid } : text);
    ASSERT(!searcher->id.failed);
    searcher->found = (struct event_found){ 0 };
    atomic_store(&searcher->cancelled, false);
    searcher->call = worker_begin(&searcher->worker) ? call : NULL;
    return searcher->call != NULL;
}

static json_t *search_no_thread(struct call *call)
{
    return call_fail(call, SLUICE_ENOMEM, "event.show: no thread to search on; try again later");
}

static void search_next(struct searcher *searcher)
{
    LIST_EACH(at, &searcher->control->parked)
    {
        struct call *call = LIST_OWNER(at, struct call, link);
        if (call->parked_for != PARKED_SEARCH)
            continue;
        if (search_start(searcher, call))
            return;
        call_finish(call, search_no_thread(call));
    }
}

static void search_done(void *ctx)
{
    struct searcher *searcher = ctx;
    struct call *call = searcher->call;

    searcher->call = NULL;
    if (call == NULL) { /* it went away meanwhile */
        bytes_done(&searcher->found.envelope);
    } else if (searcher->err == SLUICE_OK) {
        call->found = malloc(sizeof *call->found);
        ASSERT(call->found != NULL);
        *call->found = searcher->found;
        searcher->found = (struct event_found){ 0 };
        call_unpark(call);
        broker_read(searcher->control->broker);
        call_run(call);
    } else {
        if (searcher->err == SLUICE_ENOTFOUND)
            (void)call_fail(call, SLUICE_ENOTFOUND,
                            "no event '%.200s': it never came here, or is settled by all its functions and trimmed",
                            call_text(call, "id"));
        else
            (void)call_fail(call, searcher->err, "event.show: %s", searcher->error.text);
        call_finish(call, NULL);
    }
    search_next(searcher);
}

json_t *search_begin(struct call *call)
{
    struct searcher *searcher = call->control->searcher;

    (void)call_park(call, PARKED_SEARCH);
    if (call->error.code == SLUICE_OK && !searcher->worker.running && !search_start(searcher, call))
        return search_no_thread(call);
    return NULL;
}

void search_forget(struct call *call)
{
    struct searcher *searcher = call->control->searcher;

    if (searcher != NULL && searcher->call == call) {
        searcher->call = NULL;
        atomic_store(&searcher->cancelled, true); /* the next one begins when it has ended */
    }
    if (call->found != NULL)
        bytes_done(&call->found->envelope);
    free(call->found);
    call->found = NULL;
}

struct searcher *searcher_new(struct control *control)
{
    struct searcher *searcher = calloc(1, sizeof *searcher);

    ASSERT(searcher != NULL);
    searcher->control = control;
    worker_init(&searcher->worker, control->broker->mailbox, search_work, search_done, searcher);
    return searcher;
}

struct searcher *searcher_free(struct searcher *searcher)
{
    if (searcher == NULL)
        return NULL;
    atomic_store(&searcher->cancelled, true);
    worker_stop(&searcher->worker);
    bytes_done(&searcher->found.envelope);
    bytes_done(&searcher->id);
    free(searcher);
    return NULL;
}
