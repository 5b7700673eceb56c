/* Rows hang in a hash by id and in a list by last use, newest at the end, so that what expires is always at the front. */
#include "broker/core/producers.h"

#include "broker/base/assert.h"
#include "broker/base/list.h"
#include "broker/base/map.h"

struct producer {
    struct list by_use;
    struct producer *next_same_hash;
    struct producer_row row;
};

struct producers {
    struct map by_hash;          /* hash of the id -> struct producer *, chained */
    struct list by_use;
    size_t count;
};

static uint64_t id_hash(const uint8_t id[16])
{
    return hash_bytes(id, 16, 0) >> 1; /* never the map's reserved key */
}

static struct producer *producer_find(const struct producers *producers, const uint8_t id[16])
{
    uint64_t first;

    if (!map_get(&producers->by_hash, id_hash(id), &first))
        return NULL;
    struct producer *producer = (struct producer *)(uintptr_t)first;
    while (producer != NULL && memcmp(producer->row.id, id, 16) != 0)
        producer = producer->next_same_hash;
    return producer;
}

struct producers *producers_new(void)
{
    struct producers *producers = calloc(1, sizeof *producers);
    ASSERT(producers != NULL);
    list_init(&producers->by_use);
    return producers;
}

struct producers *producers_free(struct producers *producers)
{
    if (producers == NULL)
        return NULL;
    LIST_EACH(at, &producers->by_use)
        free(LIST_OWNER(at, struct producer, by_use));
    map_done(&producers->by_hash);
    free(producers);
    return NULL;
}

size_t producers_count(const struct producers *producers)
{
    return producers->count;
}

bool producers_known(const struct producers *producers, const uint8_t id[16])
{
    return producer_find(producers, id) != NULL;
}

static struct producer *producer_add(struct producers *producers, const uint8_t id[16])
{
    struct producer *producer = calloc(1, sizeof *producer);
    ASSERT(producer != NULL);
    uint64_t first = 0;
    (void)map_get(&producers->by_hash, id_hash(id), &first); /* none yet: 0 */
    producer->next_same_hash = (struct producer *)(uintptr_t)first;
    memcpy(producer->row.id, id, 16);
    map_put(&producers->by_hash, id_hash(id), (uint64_t)(uintptr_t)producer);
    list_push(&producers->by_use, &producer->by_use);
    producers->count++;
    return producer;
}

static void producer_remove(struct producers *producers, struct producer *producer)
{
    uint64_t hash = id_hash(producer->row.id), first;
    ASSERT(map_get(&producers->by_hash, hash, &first));
    struct producer **at = NULL, *head = (struct producer *)(uintptr_t)first;
    if (head == producer) {
        if (producer->next_same_hash == NULL)
            (void)map_remove(&producers->by_hash, hash, NULL);
        else
            map_put(&producers->by_hash, hash, (uint64_t)(uintptr_t)producer->next_same_hash);
    } else {
        for (at = &head->next_same_hash; *at != producer; at = &(*at)->next_same_hash)
            ;
        *at = producer->next_same_hash;
    }
    list_remove(&producer->by_use);
    producers->count--;
    free(producer);
}

void producers_restore(struct producers *producers, const struct producer_row *row)
{
    struct producer *producer = producer_add(producers, row->id);
    producer->row = *row;
    /* Rows come in order of id; find the place by last use from the end. */
    struct list *at = producer->by_use.previous;
    while (at != &producers->by_use && LIST_OWNER(at, struct producer, by_use)->row.used_ms > row->used_ms)
        at = at->previous;
    list_remove(&producer->by_use);
    list_insert_after(at, &producer->by_use);
}

static bool row_has(const struct producer_row *row, uint64_t sequence)
{
    if (sequence > row->highest)
        return false;
    uint64_t back = row->highest - sequence;
    return back >= PRODUCER_WINDOW || (row->window[back / 64] >> (back % 64) & 1) != 0;
}

enum producer_verdict producers_judge(const struct producers *producers, const uint8_t id[16], uint64_t epoch, uint64_t sequence,
                                      uint64_t lowest)
{
    ASSERT(sequence >= 1);
    const struct producer *producer = producer_find(producers, id);
    static const struct producer_row nothing;
    const struct producer_row *row = producer == NULL ? &nothing : &producer->row;

    if (producer != NULL && epoch < row->epoch)
        return PRODUCER_STALE;
    if (producer != NULL && epoch > row->epoch)
        row = &nothing;
    if (row != &nothing && row_has(row, sequence))
        return PRODUCER_DUPLICATE;
    /* Everything from `lowest` up to it must be there: walk down from sequence - 1, which is at most a window's length. */
    if (lowest < 1)
        lowest = 1;
    for (uint64_t before = sequence; before > lowest && sequence - before <= PRODUCER_WINDOW; before--) {
        if (row == &nothing || !row_has(row, before - 1))
            return PRODUCER_EARLY;
    }
    return PRODUCER_APPLY;
}

static void row_mark(struct producer_row *row, uint64_t sequence)
{
    if (sequence > row->highest) {
        uint64_t shift = sequence - row->highest;
        for (int word = 15; word >= 0; word--) { /* shift the window up by `shift` bits */
            uint64_t value = 0;
            int64_t from = word - (int64_t)(shift / 64);
            if (shift < PRODUCER_WINDOW && from >= 0) {
                value = row->window[from] << (shift % 64);
                if (shift % 64 != 0 && from > 0)
                    value |= row->window[from - 1] >> (64 - shift % 64);
            }
            row->window[word] = value;
        }
        row->highest = sequence;
    }
    uint64_t back = row->highest - sequence;
    if (back < PRODUCER_WINDOW)
        row->window[back / 64] |= 1ULL << (back % 64);
}

struct producer_row producers_apply(struct producers *producers, const uint8_t id[16], uint64_t epoch, uint64_t sequence,
                                    int64_t wall_ms, struct commit *gone)
{
    struct producer *producer = producer_find(producers, id);

    if (producer == NULL)
        producer = producer_add(producers, id);
    if (producer->row.epoch != epoch || producer->row.highest == 0) {
        ASSERT(producer->row.highest == 0 || epoch > producer->row.epoch);
        memset(producer->row.window, 0, sizeof producer->row.window);
        producer->row.epoch = epoch;
        producer->row.highest = 0;
    }
    row_mark(&producer->row, sequence);
    producer->row.used_ms = wall_ms;
    list_remove(&producer->by_use);
    list_push(&producers->by_use, &producer->by_use);
    for (int dropped = 0; dropped < 4; dropped++) { /* a few a time keeps up with any rate of new ones */
        struct producer *oldest = LIST_OWNER(producers->by_use.next, struct producer, by_use);
        /* NOLINTBEGIN(clang-analyzer-unix.Malloc): the one freed before has left the list */
        if (oldest == producer || (producers->count <= PRODUCERS_MAX && oldest->row.used_ms + PRODUCER_KEEP_MS > wall_ms))
            break;
        VEC_PUSH(&gone->producers_gone, oldest->row);
        producer_remove(producers, oldest);
        /* NOLINTEND(clang-analyzer-unix.Malloc) */
    }
    return producer->row;
}

void producers_undo(struct producers *producers, const uint8_t id[16], uint64_t epoch, uint64_t sequence)
{
    struct producer *producer = producer_find(producers, id);

    if (producer == NULL || producer->row.epoch != epoch || sequence > producer->row.highest)
        return;
    uint64_t back = producer->row.highest - sequence;
    if (back < PRODUCER_WINDOW)
        producer->row.window[back / 64] &= ~(1ULL << (back % 64));
}
