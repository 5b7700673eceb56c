#include "broker/core/runs.h"

#include <string.h>

#include "broker/base/assert.h"

void runs_done(struct runs *runs)
{
    free(runs->items);
    *runs = (struct runs){ 0 };
}

void runs_clear(struct runs *runs)
{
    runs->head = runs->count = 0;
    runs->deliveries = 0;
}

static struct delivery run_first(struct run run)
{
    return (struct delivery){ .seq = run.seq, .ordinal = run.ordinal };
}

void runs_push(struct runs *runs, struct run run)
{
    ASSERT(run.len >= 1);
    ASSERT(runs_empty(runs) || delivery_compare(run_first(runs->items[runs->count - 1]), run_first(run)) < 0);
    if (runs->head > 64 && runs->head * 2 > runs->count) { /* give the taken front back */
        memmove(runs->items, runs->items + runs->head, (runs->count - runs->head) * sizeof *runs->items);
        runs->count -= runs->head;
        runs->head = 0;
    }
    vec_room((void **)&runs->items, &runs->capacity, runs->count + 1, sizeof *runs->items);
    runs->items[runs->count++] = run;
    runs->deliveries += run.len;
}

static bool run_continues(struct run run, struct delivery delivery)
{
    return run.ordinal == delivery.ordinal && run.seq + run.len == delivery.seq;
}

void runs_insert(struct runs *runs, struct delivery delivery)
{
    size_t low = runs->head, high = runs->count; /* the place of the first run that starts after `delivery` */
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (delivery_compare(run_first(runs->items[middle]), delivery) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    runs->deliveries++;
    if (low > runs->head && run_continues(runs->items[low - 1], delivery)) {
        runs->items[low - 1].len++;
        return;
    }
    struct run *next = low < runs->count ? &runs->items[low] : NULL;
    if (next != NULL && next->ordinal == delivery.ordinal && next->seq == delivery.seq + 1) {
        next->seq--;
        next->len++;
        return;
    }
    if (low == runs->head && runs->head > 0) { /* a returned lease most often goes back to the very front */
        runs->items[--runs->head] = (struct run){ .seq = delivery.seq, .len = 1, .ordinal = delivery.ordinal };
        return;
    }
    vec_room((void **)&runs->items, &runs->capacity, runs->count + 1, sizeof *runs->items);
    memmove(&runs->items[low + 1], &runs->items[low], (runs->count - low) * sizeof *runs->items);
    runs->items[low] = (struct run){ .seq = delivery.seq, .len = 1, .ordinal = delivery.ordinal };
    runs->count++;
}

bool runs_first(const struct runs *runs, struct delivery *ret_delivery)
{
    if (runs_empty(runs))
        return false;
    *ret_delivery = run_first(runs->items[runs->head]);
    return true;
}

/* After the pop the shortened run may start behind its follower (two ordinals over the same sequences): order by first delivery
 * is kept by letting the rest of the run sink to its place. */
void runs_pop(struct runs *runs)
{
    ASSERT(!runs_empty(runs));
    struct run rest = runs->items[runs->head];
    rest.seq++;
    rest.len--;
    runs->deliveries--;
    if (rest.len == 0) {
        runs->head++;
        return;
    }
    size_t at = runs->head;
    while (at + 1 < runs->count && delivery_compare(run_first(runs->items[at + 1]), run_first(rest)) < 0) {
        runs->items[at] = runs->items[at + 1];
        at++;
    }
    runs->items[at] = rest;
}

void run_builder_add(struct run_builder *builder, struct delivery delivery)
{
    builder->deliveries++;
    /* Several targets of one function interleave: look a few runs back. */
    size_t back = builder->runs.count < 8 ? builder->runs.count : 8;
    for (size_t i = 1; i <= back; i++) {
        struct run *run = &builder->runs.items[builder->runs.count - i];
        if (run_continues(*run, delivery)) {
            run->len++;
            return;
        }
    }
    VEC_PUSH(&builder->runs, (struct run){ .seq = delivery.seq, .len = 1, .ordinal = delivery.ordinal });
}

/* How many deliveries of `run` are below `highest`. */
static uint32_t run_below(struct run run, struct delivery highest)
{
    if (run.seq > highest.seq)
        return 0;
    uint64_t below = highest.seq - run.seq + (run.ordinal < highest.ordinal ? 1 : 0);
    return below > run.len ? run.len : (uint32_t)below;
}

void run_builder_add_below(struct run_builder *builder, struct run run, struct delivery highest)
{
    uint32_t below = run_below(run, highest);
    if (below == 0)
        return;
    VEC_PUSH(&builder->runs, (struct run){ .seq = run.seq, .len = below, .ordinal = run.ordinal });
    builder->deliveries += below;
}

bool run_above(struct run run, struct delivery highest, struct run *ret_run)
{
    /* `highest` itself is settled: skip it too when the run holds it. */
    uint32_t skip = run_below(run, highest);
    if (skip < run.len && run.seq + skip == highest.seq && run.ordinal == highest.ordinal)
        skip++;
    if (skip == run.len)
        return false;
    *ret_run = (struct run){ .seq = run.seq + skip, .len = run.len - skip, .ordinal = run.ordinal };
    return true;
}
