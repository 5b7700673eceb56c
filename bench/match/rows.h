/* rows.h - what bench/match measures: rules and events of each row, and what is asked of it. */
#ifndef SLUICE_BENCH_MATCH_ROWS_H
#define SLUICE_BENCH_MATCH_ROWS_H

#include "broker/core/match.h"
#include "schemas/codec/bytes.h"

struct rule_list {
    struct match_rule *rules; /* owned, like the texts of their patterns */
    size_t count;
};

enum row_events { EVENTS_LOTS, EVENTS_ORDERS, EVENTS_LETTERS, EVENTS_ITEMS_100, EVENTS_ITEMS_1000, EVENTS_ITEMS_5000, EVENTS_KINDS };

struct row {
    const char *section, *name;
    enum row_events events;
    const char *generator;   /* of rules; its number is the count, or for classes unused */
    size_t count;
    double target;           /* events per CPU-second; 0: none */
    double bytes_target;     /* per rule, operand texts apart; 0: none */
    double ruler, quamina;   /* measured by their drivers (bench/peers) on a machine like the project's; 0: cannot */
    double floor;            /* below it the engine has failed; 0: none */
    bool brief;              /* in the short form too */
};

extern const struct row rows[];
extern const size_t rows_count;

void row_rules(const struct row *row, size_t most, struct rule_list *ret_list);
void rule_list_done(struct rule_list *list);
/* Lines of EVENTS_LETTERS and EVENTS_ITEMS_*; the others are made by Python (city_lots.py, order_events.py). */
void row_events_write(enum row_events events, struct bytes *out);

#endif
