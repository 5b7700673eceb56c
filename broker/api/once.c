#include "broker/api/once.h"

#include <stdlib.h>

#include "broker/edge/log.h"

struct once {
    struct ev_loop *loop;
    ev_timer aging;                      /* runs while there are entries that ended: an idle daemon keeps nothing */
    struct map entries;                  /* hash of the key -> struct once_entry * */
    struct list by_age;
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

void once_forget(struct once *once, struct once_entry *entry)
{
    (void)map_remove(&once->entries, slot_of(&entry->key), NULL);
    list_remove(&entry->link);
    once->count--;
    once->bytes -= entry_bytes(entry);
    bytes_done(&entry->body);
    bytes_done(&entry->type);
    bytes_done(&entry->log_tail);
    bytes_done(&entry->stream);
    bytes_done(&entry->content_type);
    free(entry);
}

/* Those whose time is over; and, while `crowded`, the oldest of those that ended. */
static void once_age(struct once *once, size_t bytes_wanted, size_t entries_wanted)
{
    int64_t old_us = clock_now().mono.us - (int64_t)ONCE_KEPT_MS * 1000;

    LIST_EACH(at, &once->by_age) {
        struct once_entry *entry = LIST_OWNER(at, struct once_entry, link);
        bool crowded = once->bytes + bytes_wanted > ONCE_BYTES_MAX || once->count + entries_wanted > ONCE_ENTRIES_MAX;
        if (entry->ended_us == 0)
            continue;
        if (entry->ended_us > old_us && !crowded)
            return; /* the ended ones are in the order in which they ended */
        once_forget(once, entry);
    }
}

static void on_aging(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct once *once = timer->data;

    (void)events;
    once_age(once, 0, 0);
    if (once->count == 0)
        ev_timer_stop(loop, timer);
}

struct once *once_new(struct ev_loop *loop)
{
    struct once *once = calloc(1, sizeof *once);

    ASSERT(once != NULL);
    once->loop = loop;
    list_init(&once->by_age);
    ev_timer_init(&once->aging, on_aging, ONCE_KEPT_MS / 1e3, ONCE_KEPT_MS / 1e3);
    once->aging.data = once;
    return once;
}

struct once *once_free(struct once *once)
{
    if (once == NULL)
        return NULL;
    ev_timer_stop(once->loop, &once->aging);
    LIST_EACH(at, &once->by_age)
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

    once_age(once, 0, 0);
    if (!map_get(&once->entries, slot_of(key), &pointer))
        return NULL;
    struct once_entry *entry = (struct once_entry *)(uintptr_t)pointer;
    bool same = entry->key.hash == key->hash && entry->key.id_len == key->id_len && memcmp(entry->key.id, key->id, key->id_len) == 0;
    return same ? entry : NULL;
}

struct once_entry *once_put(struct once *once, const struct once_key *key)
{
    once_age(once, 0, 1);
    if (once->count >= ONCE_ENTRIES_MAX || map_get(&once->entries, slot_of(key), NULL))
        return NULL;
    struct once_entry *entry = calloc(1, sizeof *entry);
    ASSERT(entry != NULL);
    entry->key = *key;
    map_put(&once->entries, slot_of(key), (uint64_t)(uintptr_t)entry);
    list_push(&once->by_age, &entry->link);
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
    if (entry->too_long)
        return;
    once_age(once, piece.len, 0);
    entry->too_long = entry->stream.len + piece.len > ONCE_STREAM_BYTES_MAX || once->bytes + piece.len > ONCE_BYTES_MAX;
    once->bytes -= entry_bytes(entry);
    if (!entry->too_long)
        bytes_put_view(&entry->stream, piece);
    entry->too_long |= entry->stream.failed;
    if (entry->too_long)
        bytes_done(&entry->stream);
    once->bytes += entry_bytes(entry);
}

void once_ended(struct once *once, struct once_entry *entry, const struct invoke_result *result)
{
    entry->invocation = NULL;
    entry->publishing = NULL;
    if (result != NULL) {
        once_age(once, result->body.len + result->type.len + result->log_tail.len, 0);
        once->bytes -= entry_bytes(entry);
        bytes_put_view(&entry->body, result->body);
        bytes_put_view(&entry->type, result->type);
        bytes_put_view(&entry->log_tail, result->log_tail);
        entry->failed = result->failed;
        once->bytes += entry_bytes(entry);
        if (once->bytes > ONCE_BYTES_MAX || entry->body.failed || entry->type.failed || entry->log_tail.failed) {
            once_forget(once, entry);
            return;
        }
    }
    entry->ended_us = clock_now().mono.us;
    ev_timer_start(once->loop, &once->aging); /* unless it runs */
    list_remove(&entry->link);
    list_push(&once->by_age, &entry->link);
}
