/* control_internal.h - what the files of control share; nobody else includes this. */
#ifndef SLUICE_DAEMON_CONTROL_INTERNAL_H
#define SLUICE_DAEMON_CONTROL_INTERNAL_H

#include <jansson.h>

#include "broker/base/assert.h"
#include "broker/base/list.h"
#include "broker/base/map.h"
#include "broker/daemon/control.h"
#include "broker/daemon/worker.h"
#include "broker/edge/log.h"
#include "schemas/codec/protocol.h"

enum {
    PAGE_ROWS_MAX = 1000,
    PAGE_ROWS_DEFAULT = 100,
    PAGE_BYTES_MAX = 1 << 20,            /* JSON text of the rows of one answer, its last row aside */
    ROW_BYTES_MAX = PROTOCOL_MESSAGE_BYTES_MAX - PAGE_BYTES_MAX - (64 << 10), /* a row alone: both fit a reply, and the rest of it */
};

/* What a call waits for. */
enum parked_for {
    PARKED_NOT,
    PARKED_DURABLE,              /* its result is ready; answered when commit `commit` is durable */
    PARKED_COMMIT,               /* run again after each commit, and when its timer says so */
    PARKED_BALANCE,              /* a worker counts for it, or will */
    PARKED_INVOKE,               /* an invocation runs for it, or its event is on its way to the disk */
    PARKED_RELOAD,               /* the reload of its number is under way, or comes next */
    PARKED_SEARCH,               /* a worker reads the log for it, or will: one after the other, in order */
};

struct command;
struct call {
    struct list link;            /* in control.parked */
    struct control *control;
    uint64_t request;
    const struct command *command;
    json_t *arguments;           /* checked: all are known, of their type, in range */
    struct now now;              /* of this run */
    bool again;                  /* it was parked before */
    struct sluice_error error;
    enum parked_for parked_for;
    json_t *result;
    uint64_t commit;             /* the number of the commit that holds all that was asked before the call was parked */
    uint64_t after_seq;          /* event.tail: from where, once it is known */
    ev_timer timer;              /* event.tail: its wait */
    uint64_t reload;             /* reload: the number of the one that answers it */
    bool counting;               /* balance: the thread that runs counts for it */
    struct invocation *invocation; /* function.invoke */
    struct event_found *found;   /* event.show: what a search found, while the call waits for more; NULL: nothing yet */
};

enum argument_type { ARGUMENT_TEXT, ARGUMENT_NUMBER };
struct argument {
    const char *name;            /* NULL ends the list */
    enum argument_type type;
    bool required;
    json_int_t min, max, otherwise; /* of numbers */
};

/* Returns the result (new reference). Or NULL, and has set call->error by call_fail() or call->parked_for by call_park().
 * A result with PARKED_DURABLE is answered later. */
typedef json_t *command_run(struct call *call);
enum effect { LOOKS, CHANGES };  /* CHANGES: something durable; refused at once when it could not be parked */
struct command {
    const char *name;
    enum effect effect;
    struct argument arguments[5];
    command_run *run;
};

struct balance;                  /* control_status.c */
struct searcher;                 /* control_search.c */
struct ends;                     /* control_functions.c */
struct control {
    struct broker *broker;
    struct list parked;
    unsigned parked_count;
    bool stopping;
    struct balance *balance;
    struct searcher *searcher;
    struct ends *ends;
    struct bytes text;           /* of an event or an answer in the making */
};

/* ---- control.c: for commands ---- */
const char *call_text(const struct call *call, const char *name);        /* NULL: absent */
bool call_number_is(const struct call *call, const char *name);          /* given and not null */
json_int_t call_number(const struct call *call, const char *name);       /* or its default */
json_t *call_fail(struct call *call, enum sluice_err code, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* What the call asked is in the commit being gathered: its result is answered when that is durable. */
json_t *call_when_durable(struct call *call, json_t *result);
json_t *call_park(struct call *call, enum parked_for what);
/* As if it had just come: for a call that waited for something else than a commit. */
void call_unpark(struct call *call);
/* A parked call's result or error; frees the call. `result` (may be NULL: see call->error) is taken. */
void call_finish(struct call *call, json_t *result);
/* call_finish() of a parked call, once the commit that is being gathered now is durable. */
void call_finish_when_durable(struct call *call, json_t *result);
/* Runs it (again). */
void call_run(struct call *call);
/* "name": sets *ret_function, or fails with SLUICE_ENOTFOUND. */
bool call_function(struct call *call, const char *argument, uint32_t *ret_function);

/* ---- control_json.c: values ---- */
/* A string; what is not UTF-8 becomes U+FFFD. Absent: null. */
json_t *json_view(struct view view);
json_t *json_text(const char *text);
json_t *json_when(bool there, int64_t value);                             /* a number, or null */
/* An envelope as the text that functions see; null: its bytes are lost, or too many for a reply. */
json_t *json_event(struct control *control, struct view envelope);
json_t *json_delivery(struct delivery delivery);
bool delivery_parse(const char *text, struct delivery *ret_delivery);
size_t json_bytes(const json_t *value);                                   /* of its text */
json_t *json_instances(const unsigned counts[INSTANCE_STATES]);

/* A page being filled: rows until `rows_max`, or until their text is long enough. */
struct page {
    json_t *rows;
    size_t rows_max, bytes;
};
struct page page_new(const struct call *call);                            /* `limit` of its arguments */
bool page_full(const struct page *page);
void page_put(struct page *page, json_t *row);                            /* takes it */
/* {NAME: rows, "cursor": cursor or null}; takes the rows. */
json_t *page_done(struct page *page, const char *name, const char *cursor);
/* All functions known, by name; returns how many. Free *ret_ids. */
size_t functions_by_name(const struct control *control, uint32_t **ret_ids);

/* ---- commands ---- */
command_run control_status, control_balance;
command_run control_event_tail, control_event_show;
command_run control_function_list, control_function_show, control_function_logs;
command_run control_function_invoke;
command_run control_rule_list, control_reload;
command_run control_dead_letter_list, control_dead_letter_show, control_dead_letter_redrive, control_dead_letter_purge;

/* The call is going away: what it waits for is cancelled, if it is not over. */
void invocation_forget(struct call *call);
/* control_usage.c: rows of its last `days` (an argument) on which it ran, newest first. */
json_t *control_usage(const struct call *call, const char *function);

struct balance *balance_new(struct control *control);
struct balance *balance_free(struct balance *balance);
struct searcher *searcher_new(struct control *control);
struct searcher *searcher_free(struct searcher *searcher);
/* Parks the call until the whole store was searched for its argument `id`; then it runs again, with call->found. Or it fails. */
json_t *search_begin(struct call *call);
/* The call is going away, whatever it waits for: gives up its search, frees what was found. */
void search_forget(struct call *call);
struct ends *ends_new(void);
struct ends *ends_free(struct ends *ends);

#endif
