/* control_status.c - the daemon at a glance, and the balance of every function. */
#include "broker/daemon/control_internal.h"

#include <stdio.h>
#include <unistd.h>

/* ---- status ---- */

static json_t *status_bus(const struct broker *broker)
{
    json_t *urls = json_array();

    for (size_t i = 0; broker->listeners[i] != NULL; i++)
        (void)json_array_append_new(urls, json_text(broker->listeners[i]));
    return urls;
}

static json_t *status_store(const struct broker *broker, const struct store_usage *usage)
{
    const char *reason = NULL;
    bool accepts = store_accepts(broker->store, &reason);

    return json_pack("{s:I,s:I,s:I,s:I,s:b,s:o}", "used_bytes", (json_int_t)usage->used_bytes, "file_bytes", (json_int_t)usage->file_bytes,
                     "map_bytes", (json_int_t)usage->map_bytes, "reserve_bytes", (json_int_t)usage->reserve_bytes, "accepts", (int)accepts,
                     "reason", json_text(accepts ? NULL : reason));
}

json_t *control_status(struct call *call)
{
    const struct broker *broker = call->control->broker;
    struct engine_totals totals;
    struct store_usage usage;

    engine_totals(broker->engine, &totals);
    store_usage(broker->store, &usage);
    json_t *commit = json_pack("{s:o,s:o}", "p50", json_when(usage.commits > 0, (int64_t)usage.commit_us_p50), "p99",
                               json_when(usage.commits > 0, (int64_t)usage.commit_us_p99));
    json_t *bytes = json_pack("{s:o}", "p50", json_when(usage.commits > 0, (int64_t)usage.commit_bytes_p50));
    json_t *result = json_pack(
        "{s:i,s:s,s:I,s:I,s:I,s:I,s:I,s:o,s:o,s:o,s:o,s:I,s:I,s:o,s:I,s:I,s:[]}", "pid", (int)getpid(), "version", SLUICE_VERSION, "uptime_ms",
        (json_int_t)((call->now.mono.us - broker->started.mono.us) / 1000), "revision", (json_int_t)totals.revision, "events_total",
        (json_int_t)totals.events_total, "unmatched", (json_int_t)totals.unmatched_total, "pending", (json_int_t)totals.pending, "commit_us",
        commit, "commit_bytes", bytes, "store", status_store(broker, &usage), "bus", status_bus(broker), "functions",
        (json_int_t)broker->config->config.functions_count, "rules", (json_int_t)broker->config->config.rules_count, "instances",
        json_instances(totals.instances), "attached", (json_int_t)totals.attached, "producers", (json_int_t)totals.producers, "unsafe");
    ASSERT(result != NULL);
    return result;
}

/* ---- balance ----
 * Counting reads every row that is open, which takes seconds on a large store: a thread does it, with a snapshot of its own. One at a
 * time; calls that come while it runs are counted anew after it, for they ask about a later state. */

struct balance {
    struct control *control;
    struct worker worker;
    struct arena *names;         /* it and what follows: the worker's while that runs */
    VEC(struct balance_row) rows;
    enum sluice_err err;
    struct sluice_error error;
};

static void balance_on_row(void *ctx, const struct balance_row *row)
{
    struct balance *balance = ctx;
    struct balance_row kept = *row;

    kept.name = arena_dup(balance->names, row->name);
    VEC_PUSH(&balance->rows, kept);
}

static void balance_work(void *ctx)
{
    struct balance *balance = ctx;

    balance->err = store_balance(balance->control->broker->store, balance_on_row, balance, &balance->error);
}

static int compare_rows(const void *a, const void *b)
{
    const struct balance_row *left = a, *right = b;
    size_t len = left->name.len < right->name.len ? left->name.len : right->name.len;
    int order = memcmp(left->name.data, right->name.data, len);

    return order != 0 ? order : (left->name.len > right->name.len) - (left->name.len < right->name.len);
}

/* Functions of a configuration whose commit is under way have no rows yet: they took nothing. */
static void balance_add_configured(struct balance *balance)
{
    const struct engine *engine = balance->control->broker->engine;
    const struct config *config = &balance->control->broker->config->config;
    struct map counted = { 0 };
    uint32_t id;

    for (size_t i = 0; i < balance->rows.count; i++)
        map_put(&counted, balance->rows.items[i].function, 1);
    for (unsigned i = 0; i < config->functions_count; i++) {
        struct view name = view_of(config->functions[i].name);
        if (engine_function_find(engine, name, &id) && !map_get(&counted, id, NULL))
            VEC_PUSH(&balance->rows, (struct balance_row){ .function = id, .name = arena_dup(balance->names, name), .holds = true });
    }
    map_done(&counted);
}

static json_t *balance_result(struct balance *balance)
{
    const struct config *config = &balance->control->broker->config->config;
    json_t *rows = json_array(), *broken = json_array();

    balance_add_configured(balance);
    if (balance->rows.count > 1)
        qsort(balance->rows.items, balance->rows.count, sizeof *balance->rows.items, compare_rows);
    for (size_t i = 0; i < balance->rows.count; i++) {
        const struct balance_row *row = &balance->rows.items[i];
        if (!row->holds)
            (void)json_array_append_new(broken, json_view(row->name));
        if (row->holds && row->accepted == 0 && config_function_find(config, row->name.data) == NULL)
            continue; /* was configured once, and never took anything */
        json_t *object = json_pack("{s:o,s:I,s:I,s:I,s:I,s:I,s:I}", "name", json_view(row->name), "accepted", (json_int_t)row->accepted,
                                   "succeeded", (json_int_t)row->succeeded, "dead_lettered", (json_int_t)row->dead_lettered, "expired",
                                   (json_int_t)row->expired, "discarded", (json_int_t)row->discarded, "pending", (json_int_t)row->pending);
        ASSERT(object != NULL);
        (void)json_array_append_new(rows, object);
    }
    return json_pack("{s:b,s:o,s:o}", "holds", (int)(json_array_size(broken) == 0), "broken", broken, "functions", rows);
}

static bool balance_begin(struct balance *balance)
{
    arena_reset(balance->names);
    balance->rows.count = 0;
    return worker_begin(&balance->worker);
}

static void balance_done(void *ctx)
{
    struct balance *balance = ctx;
    struct control *control = balance->control;
    bool others = false;

    json_t *result = balance->err == SLUICE_OK ? balance_result(balance) : NULL;
    LIST_EACH(at, &control->parked) {
        struct call *call = LIST_OWNER(at, struct call, link);
        if (call->parked_for != PARKED_BALANCE)
            continue;
        if (!call->counting) {
            call->counting = others = true;
            continue;
        }
        if (result == NULL)
            (void)call_fail(call, balance->err, "%s", balance->error.text);
        call_finish(call, json_incref(result));
    }
    json_decref(result);
    if (!others || balance_begin(balance))
        return;
    LIST_EACH(at, &control->parked) {
        struct call *call = LIST_OWNER(at, struct call, link);
        if (call->parked_for != PARKED_BALANCE)
            continue;
        (void)call_fail(call, SLUICE_ENOMEM, "balance: no thread to count on; try again later");
        call_finish(call, NULL);
    }
}

json_t *control_balance(struct call *call)
{
    struct balance *balance = call->control->balance;
    bool waits = balance->worker.running;

    (void)call_park(call, PARKED_BALANCE);
    if (call->error.code != SLUICE_OK || waits)
        return NULL;
    call->counting = true;
    if (!balance_begin(balance))
        return call_fail(call, SLUICE_ENOMEM, "balance: no thread to count on; try again later");
    return NULL;
}

struct balance *balance_new(struct control *control)
{
    struct balance *balance = calloc(1, sizeof *balance);

    ASSERT(balance != NULL);
    balance->control = control;
    worker_init(&balance->worker, control->broker->mailbox, balance_work, balance_done, balance);
    balance->names = arena_new(16 << 10);
    return balance;
}

struct balance *balance_free(struct balance *balance)
{
    if (balance == NULL)
        return NULL;
    worker_stop(&balance->worker);
    arena_free(balance->names);
    VEC_DONE(&balance->rows);
    free(balance);
    return NULL;
}
