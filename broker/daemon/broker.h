/* broker.h - the daemon's parts and the turn that drives them. One of these, built by main.
 *
 *   ev loop ── callbacks of the edges ── engine (inside the turn's store read) ── before the loop sleeps: broker_turn()
 *                                                                                   take waiting publishes, tick, seal, commit
 *   committer thread ── mailbox ── broker_committed(): acks leave, queues grow, turn again
 *   workers (worker.h) ── mailbox ── what takes longer than a turn may: a configuration read again (reload.h), rules merged and saved
 *                                    (rule_index.h), the store counted or searched for a control call
 */
#ifndef SLUICE_DAEMON_BROKER_H
#define SLUICE_DAEMON_BROKER_H

#include <ev.h>

#include "broker/base/histogram.h"
#include "broker/base/list.h"
#include "broker/base/map.h"
#include "broker/core/engine.h"
#include "broker/daemon/invocations.h"
#include "broker/edge/bus_door.h"
#include "broker/edge/config_file.h"
#include "broker/edge/instances.h"
#include "broker/edge/mailbox.h"
#include "broker/edge/notify.h"
#include "broker/store/store.h"

struct api;
struct arena;
struct control;
struct reload;
struct runtime_api;
struct rule_index;

struct broker_options {
    const char *config_path;
    const char *data;            /* NULL: what the configuration says */
    const char *program;         /* our own binary, for the spawner */
    const char *runtimes;        /* where the bootstraps of Lambda functions lie */
};

struct parked_next {             /* a native instance's request for work */
    uint64_t request, instance;
};

struct broker {
    struct broker_options options;
    struct ev_loop *loop;
    struct mailbox *mailbox;
    struct store *store;
    struct engine *engine;
    struct instances *instances;
    struct invocations *invocations;
    struct bus_door *bus;
    struct api *api;             /* NULL: no HTTP port is configured */
    struct runtime_api *runtime;
    VEC(uint64_t) idle;          /* Lambda instances that have asked for work and are frozen if this turn has none: see lambda_freeze_idle() */
    struct arena *environment;   /* of the Lambda function that is started now */
    struct control *control;
    struct rule_index *rule_index;
    struct reload *reload;
    struct config_file *config;  /* in force */
    bool config_taken;           /* it is the engine's, which frees it when another has come */
    char data[4096];
    char *listeners[CONFIG_LISTENERS_MAX + 1]; /* NULL-terminated; our own: the configuration they came from is freed by a reload */
    char http[300], http_url[320]; /* the HTTP port's "HOST:PORT", and its URL for processes of this machine; "": there is none */
    struct now started;

    struct mail committed;       /* posted by the committer */
    struct commit *commit;       /* the one on the disk */
    enum commit_outcome outcome;
    char outcome_text[256];
    bool committing, reading, stopping, fatal;
    struct mono commit_began;
    struct histogram commits;    /* how long they took */
    struct notify notify;

    VEC(struct publish) publishes; /* arrived, not taken yet: the gathering commit is full, or it is not their turn */
    size_t publishes_head;
    VEC(struct parked_next) parked;
    VEC(struct parked_next) leaving; /* detach calls: answered when the instance has settled what it holds */
    struct map consumers;        /* attached instance -> struct consumer * */
    struct list consumers_all;
    int64_t attach_refused_logged_us; /* the last one; and how many were not since */
    uint64_t attach_refused_unlogged;
    struct bytes handover;       /* input lines and frames in the making */
    struct bytes invocation_log; /* for a caller that asked for it */
    uint64_t gone;               /* the instance whose end is being told, and its last output; 0: none */
    struct view gone_log;
    VEC(struct view) inputs;

    ev_prepare turn;
    ev_timer wake, start_again, machine, watchdog;
    ev_signal term, interrupt;
};

/* Opens everything; on an error says why on stderr and returns false. */
bool broker_open(struct broker *broker, const struct broker_options *options);
/* Serves until TERM or INT, drains. Returns the exit status. */
int broker_run(struct broker *broker);
void broker_close(struct broker *broker);

/* For control.c: begins the turn's read if it is not begun. */
void broker_read(struct broker *broker);
struct reader broker_reader(struct broker *broker);

/* For doors: taken by the turn, answered by world.publish_answered(); `publish->events` must stay until then. */
void broker_publish(struct broker *broker, const struct publish *publish);
void broker_publish_cancel(struct broker *broker, uint64_t reply);

/* Handles of publishes and invocations say which door asked: the HTTP port's have API_HANDLE_BIT, those of control calls this one. */
#define CONTROL_HANDLE_BIT (UINT64_C(1) << 62)

/* http_hands.c */
bool broker_open_http(struct broker *broker, struct sluice_error *reterr); /* if it is configured */

/* hands.c */
void broker_put_input(struct broker *broker, const struct handover *handover, struct bytes *out); /* of one delivery, on one line, appended */
struct world broker_world(struct broker *broker);
void broker_release_parked(struct broker *broker, uint64_t instance); /* answers its parked requests: it is to end */
/* consumers.c */
/* Who is attached as this instance, for people; false: nobody. */
bool broker_consumer(const struct broker *broker, uint64_t instance, const char **ret_name, const char **ret_from);
void broker_on_attach(void *ctx, const struct bus_attach *attach);
void broker_on_detach(void *ctx, uint64_t request, uint64_t instance);
void broker_on_lost(void *ctx, uint64_t instance, uint64_t lease_reached);
void broker_detach_gone(struct broker *broker, uint64_t request); /* the peer of a detach call went away */
void broker_consumer_stopped(struct broker *broker, uint64_t instance, const char *reason);
void broker_consumers_done(struct broker *broker);

#endif
