#include "broker/api/once.h"

#include <stdlib.h>

#include "broker/edge/log.h"

struct once {
    struct ev_loop *loop;
    ev_timer aging;                      /* runs while there are entries that ended: an idle daemon keeps nothing */
    struct map entries;                  /* hash of the key -> struct once_entry * */
    struct list running, ended, kept;    /* ended: the oldest first; kept: those of them that have an answer, likewise */
    size_t count, bytes;
};

static uint64_t slot_of(const struct once_key *key)
{
    return hash_bytes(key->id, key->id_len, key->hash) & ~(UINT64_C(1) << 63); /* the map does not take all ones */
}

static size_t entry_bytes(const struct once_entry *entry)
{
    return entry->body.len + entry->type.len + entry->log_tail.len + entry->stream.len + entry->content_type.len;
}

/* That it was executed is known still. */
static void answer_drop(struct once *once, struct once_entry *entry)
{
    once->bytes -= entry_bytes(entry);
    bytes_done(&entry->body);
    bytes_done(&entry->type);
    bytes_done(&entry->log_tail);
    bytes_done(&entry->stream);
    bytes_done(&entry->content_type);
    list_remove(&entry->kept);
    entry->lost = true;
}

void once_forget(struct once *once, struct once_entry *entry)
{
    answer_drop(once, entry);
    (void)map_remove(&once->entries, slot_of(&entry->key), NULL);
    list_remove(&entry->link);
    once->count--;
    free(entry);
}

static struct once_entry *oldest_ended(const struct once *once)
{
    return list_empty(&once->ended) ? NULL : LIST_OWNER(once->ended.next, struct once_entry, link);
}

static void forget_old(struct once *once)
{
    int64_t old_us = clock_now().mono.us - (int64_t)ONCE_KEPT_MS * 1000;
    struct once_entry *oldest;

    while ((oldest = oldest_ended(once)) != NULL && oldest->ended_us <= old_us)
        once_forget(once, oldest);
}

static void make_room(struct once *once, size_t bytes)
{
    while (once->bytes + bytes > ONCE_BYTES_MAX && !list_empty(&once->kept))
        answer_drop(once, LIST_OWNER(once->kept.next, struct once_entry, kept));
}

static void on_aging(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct once *once = timer->data;

    (void)events;
    forget_old(once);
    if (list_empty(&once->ended))
        ev_timer_stop(loop, timer);
}

struct once *once_new(struct ev_loop *loop)
{
    struct once *once = calloc(1, sizeof *once);

    ASSERT(once != NULL);
    once->loop = loop;
    list_init(&once->running);
    list_init(&once->ended);
    list_init(&once->kept);
    ev_timer_init(&once->aging, on_aging, ONCE_KEPT_MS / 1e3, ONCE_KEPT_MS / 1e3);
    once->aging.data = once;
    return once;
}

struct once *once_free(struct once *once)
{
    if (once == NULL)
        return NULL;
    ev_timer_stop(once->loop, &once->aging);
    LIST_EACH(at, &once->running)
        once_forget(once, LIST_OWNER(at, struct once_entry, link));
    LIST_EACH(at, &once->ended)
        once_forget(once, LIST_OWNER(at, struct once_entry, link));
    map_done(&once->entries);
    free(once);
    return NULL;
}

bool once_key_of(const struct call *call, const char *door, uint32_t function, struct view payload, struct once_key *ret_key)
{
    struct view id = http_header(call->exchange, "amz-sdk-invocation-id");

    if (id.data == NULL || id.len < 1 || id.len > ONCE_ID_BYTES_MAX)
        return false;
    *ret_key = (struct once_key){ .id_len = id.len, .hash = hash_bytes(payload.data, payload.len, hash_bytes(door, strlen(door), function)) };
    memcpy(ret_key->id, id.data, id.len);
    return true;
}

struct once_entry *once_find(struct once *once, const struct once_key *key)
{
    uint64_t pointer;

    forget_old(once);
    if (!map_get(&once->entries, slot_of(key), &pointer))
        return NULL;
    struct once_entry *entry = (struct once_entry *)(uintptr_t)pointer;
    bool same = entry->key.hash == key->hash && entry->key.id_len == key->id_len && memcmp(entry->key.id, key->id, key->id_len) == 0;
    return same ? entry : NULL;
}

struct once_entry *once_put(struct once *once, const struct once_key *key)
{
    if (map_get(&once->entries, slot_of(key), NULL) || (once->count >= ONCE_ENTRIES_MAX && oldest_ended(once) == NULL))
        return NULL;
    if (once->count >= ONCE_ENTRIES_MAX)
        once_forget(once, oldest_ended(once));
    struct once_entry *entry = calloc(1, sizeof *entry);
    ASSERT(entry != NULL);
    entry->key = *key;
    map_put(&once->entries, slot_of(key), (uint64_t)(uintptr_t)entry);
    list_push(&once->running, &entry->link);
    list_init(&entry->kept);
    once->count++;
    return entry;
}

void once_stream_begin(struct once *once, struct once_entry *entry, struct view content_type)
{
    entry->streams = true;
    once->bytes -= entry_bytes(entry);
    bytes_put_view(&entry->content_type, content_type);
    once->bytes += entry_bytes(entry);
}

void once_stream_piece(struct once *once, struct once_entry *entry, struct view piece)
{
    ASSERT(entry->streams);
    if (entry->lost)
        return;
    make_room(once, piece.len);
    bool fits = entry->stream.len + piece.len <= ONCE_STREAM_BYTES_MAX && once->bytes + piece.len <= ONCE_BYTES_MAX;
    once->bytes -= entry_bytes(entry);
    if (fits)
        bytes_put_view(&entry->stream, piece);
    once->bytes += entry_bytes(entry);
    if (!fits || entry->stream.failed)
        answer_drop(once, entry);
}

static void answer_keep(struct once *once, struct once_entry *entry, const struct invoke_result *result)
{
    size_t len = result->body.len + result->type.len + result->log_tail.len;

    make_room(once, len);
    bool fits = once->bytes + len <= ONCE_BYTES_MAX;
    once->bytes -= entry_bytes(entry);
    if (fits) {
        bytes_put_view(&entry->body, result->body);
        bytes_put_view(&entry->type, result->type);
        bytes_put_view(&entry->log_tail, result->log_tail);
    }
    once->bytes += entry_bytes(entry);
    entry->failed = result->failed;
    if (!fits || entry->body.failed || entry->type.failed || entry->log_tail.failed)
        answer_drop(once, entry);
    else
        list_push(&once->kept, &entry->kept);
}

void once_ended(struct once *once, struct once_entry *entry, const struct invoke_result *result)
{
    entry->invocation = NULL;
    entry->publishing = NULL;
    if (result != NULL && !entry->lost)
        answer_keep(once, entry, result);
    entry->ended_us = clock_now().mono.us;
    ev_timer_start(once->loop, &once->aging); /* unless it runs */
    list_remove(&entry->link);
    list_push(&once->ended, &entry->link);
}
