/* rule_index.h - compiled rules kept on disk, and the thread that makes them whole after a reload.
 *
 * DATA/rules holds a file for each bus with many rules (RULES_SAVED_MIN), named after the bus, '%' for '/'. At the start it is mapped
 * when it is whole and of just the rules of the configuration; a damaged or stale one is refused with a line, the rules are compiled
 * anew and saved again. The files are a cache: they may be removed at any time, and a backup goes without them.
 *
 * One piece of work is under way at a time (engine_rules_work()), on a thread of low priority, which also frees what it has taken the
 * place of. A reload (reload.h) may come at any time; what was made of the rules before it is thrown away. */
#ifndef SLUICE_DAEMON_RULE_INDEX_H
#define SLUICE_DAEMON_RULE_INDEX_H

#include "broker/daemon/broker.h"

struct rule_index;
struct rule_index *rule_index_new(struct broker *broker);
/* Waits for the thread. Before engine_free(); NULL is fine; returns NULL. */
struct rule_index *rule_index_free(struct rule_index *index);

/* world.rules_open, of the broker. */
struct match_set *rule_index_open(const struct broker *broker, const char *bus, uint64_t fingerprint);
/* Begins the next piece of work if there is some and the thread is free; once a turn. */
void rule_index_turn(struct rule_index *index);
/* Removes files of buses that are no more. At the start. */
void rule_index_tidy(const struct broker *broker);

#endif
