/* reload.h - the configuration read again: on SIGHUP, on a control call, and when its files change.
 *
 *   asked ──> prepared, on the worker ──> bound and put in force, in the loop ──> answered ──> the old one freed, on the worker ──┐
 *     ^                      └── refused: the old one stays ─────────────────────────^                                            │
 *     └───────────────────────── asked meanwhile: once more, with the files as they are then ─────────────────────────────────────┘
 *
 * With a million rules preparing takes seconds and freeing a part of one; the loop serves on meanwhile and has microseconds of work
 * with it (core/configure.c). What only a restart can change is refused. */
#ifndef SLUICE_DAEMON_RELOAD_H
#define SLUICE_DAEMON_RELOAD_H

#include "broker/daemon/broker.h"

struct reload;
struct reload *reload_new(struct broker *broker);
/* Waits for the step that the worker is at. Before engine_free(); NULL is fine; returns NULL. */
struct reload *reload_free(struct reload *reload);

/* A reload that begins after this call; returns its number, by which control_reloaded() tells how it ended. Numbers ascend; all who ask
 * while one is under way share the next. */
uint64_t reload_ask(struct reload *reload);
/* Inside the turn's store read, before the turn's commit is sealed. */
void reload_turn(struct reload *reload);

/* The files of the configuration that the daemon has started with; later reloads see to it themselves. */
void reload_watch(struct reload *reload);

#endif
