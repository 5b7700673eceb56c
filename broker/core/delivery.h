/* delivery.h - names of deliveries: (sequence, ordinal), and runs of them.
 * `seq` numbers events in commit order from 1, over all buses; `ordinal` is the place in the event's target list. */
#ifndef SLUICE_CORE_DELIVERY_H
#define SLUICE_CORE_DELIVERY_H

#include <stdbool.h>
#include <stdint.h>

struct delivery {
    uint64_t seq;
    uint32_t ordinal;
};

/* The deliveries (seq, ordinal), (seq + 1, ordinal) ... (seq + len - 1, ordinal): the form in which rows, holes,
 * ready queues and leases speak of many at once. len >= 1. A list of runs is sorted by its first delivery; the runs of one
 * list never share a delivery. Where an event has two targets of one function, two runs overlap in sequences and differ in ordinal. */
struct run {
    uint64_t seq;
    uint32_t len;
    uint32_t ordinal;
};

static inline int delivery_compare(struct delivery a, struct delivery b)
{
    if (a.seq != b.seq)
        return a.seq < b.seq ? -1 : 1;
    return a.ordinal < b.ordinal ? -1 : a.ordinal > b.ordinal;
}

#endif
