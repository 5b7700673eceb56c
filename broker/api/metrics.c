/* metrics.c - GET /metrics: what the engine knows, in Prometheus' text format 0.0.4, and the daemon's own figures behind it.
 *
 * All lines of a family stand together, so functions are looked at once and then told family by family. */
#include "broker/api/api_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "broker/edge/log.h"

enum {
    METRICS_FUNCTIONS_MAX = 1000,        /* told one by one; a gauge says how many are left out */
    METRICS_RULES_MAX = 1000,            /* if there are more, only their sum is told */
};

/* ---- histograms ---- */

static void put_family(struct bytes *out, const char *name, const char *type, const char *help)
{
    bytes_put_format(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* The ends of a histogram's lines up to their number. Made once a scrape: there may be two thousand histograms, and the loop waits. */
struct bounds { char texts[HISTOGRAM_BUCKETS][24]; };

static struct bounds bounds_make(void)
{
    struct bounds bounds;

    for (unsigned i = 0; i < HISTOGRAM_BUCKETS - 1; i++)
        (void)snprintf(bounds.texts[i], sizeof bounds.texts[i], "le=\"%g\"} ", histogram_bound_s(i));
    (void)snprintf(bounds.texts[HISTOGRAM_BUCKETS - 1], sizeof bounds.texts[0], "le=\"+Inf\"} ");
    return bounds;
}

/* The samples of one histogram. `labels`: as they stand between the braces; "": none. */
static void put_buckets(struct bytes *out, const char *name, const char *labels, const struct bounds *bounds, const struct histogram *histogram)
{
    bool labelled = labels[0] != '\0';
    const char *open = labelled ? "{" : "", *close = labelled ? "}" : "";
    char head[192];
    uint64_t below = 0;

    (void)snprintf(head, sizeof head, "%s_bucket{%s%s", name, labels, labelled ? "," : "");
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        below += histogram->buckets[i];
        bytes_put_text(out, head);
        bytes_put_text(out, bounds->texts[i]);
        bytes_put_number(out, below, 10);
        bytes_put_char(out, '\n');
    }
    ASSERT(below == histogram->count);
    bytes_put_format(out, "%s_sum%s%s%s %.6f\n%s_count%s%s%s %" PRIu64 "\n", name, open, labels, close, histogram->sum_s, name, open, labels, close,
                     histogram->count);
}

void api_put_histogram(struct bytes *out, const char *name, const char *help, const struct histogram *histogram)
{
    struct bounds bounds = bounds_make();

    put_family(out, name, "histogram", help);
    put_buckets(out, name, "", &bounds, histogram);
}

/* ---- families of functions ---- */

struct told {
    struct bytes *out;
    const struct engine *engine;
    const struct function_info *infos;
    size_t count;
    int64_t now_ms;
};

static uint64_t balance_difference(const struct function_info *info)
{
    return info->counters[QUEUE_ACCEPTED] - info->counters[QUEUE_SUCCEEDED] - info->counters[QUEUE_DEAD_LETTERED] - info->counters[QUEUE_EXPIRED] -
           info->counters[QUEUE_DISCARDED] - info->pending;
}

static double info_accepted(const struct told *told, const struct function_info *info)
{
    (void)told;
    return (double)info->counters[QUEUE_ACCEPTED];
}
static double info_attempts_failed(const struct told *told, const struct function_info *info)
{
    (void)told;
    return (double)info->counters[QUEUE_ATTEMPTS_FAILED];
}
static double info_oldest(const struct told *told, const struct function_info *info)
{
    return info->oldest_ms == 0 || info->oldest_ms > told->now_ms ? 0 : (double)(told->now_ms - info->oldest_ms) / 1e3;
}
static double info_difference(const struct told *told, const struct function_info *info)
{
    (void)told;
    return (double)(int64_t)balance_difference(info);
}
static double info_wanted(const struct told *told, const struct function_info *info)
{
    (void)told;
    return info->target.instances;
}
static double info_arrivals(const struct told *told, const struct function_info *info)
{
    (void)told;
    return info->arrivals_per_s;
}
static double info_service(const struct told *told, const struct function_info *info)
{
    (void)told;
    return info->service_s;
}
static double info_start(const struct told *told, const struct function_info *info)
{
    (void)told;
    return info->start_s;
}
static double info_circuit(const struct told *told, const struct function_info *info)
{
    (void)told;
    return info->circuit_open;
}

static const struct {
    const char *name, *type, *help;
    double (*value)(const struct told *told, const struct function_info *info);
} families[] = {
    { "sluice_deliveries_accepted_total", "counter", "Deliveries promised to the function.", info_accepted },
    { "sluice_attempts_failed_total", "counter", "Attempts that failed.", info_attempts_failed },
    { "sluice_queue_oldest_age_seconds", "gauge", "Age of the oldest ready delivery.", info_oldest },
    { "sluice_balance_difference", "gauge", "accepted - succeeded - dead-lettered - expired - discarded - pending; 0 when the balance holds.",
      info_difference },
    { "sluice_instances_wanted", "gauge", "What the autoscaler aims at.", info_wanted },
    { "sluice_arrivals_per_second", "gauge", "Deliveries becoming ready, smoothed.", info_arrivals },
    { "sluice_service_seconds", "gauge", "Time of one invocation, smoothed.", info_service },
    { "sluice_start_seconds", "gauge", "Time from start to ready, smoothed.", info_start },
    { "sluice_circuit_open", "gauge", "1: no instance is started, after crashes.", info_circuit },
};

static void put_families(const struct told *told)
{
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        put_family(told->out, families[i].name, families[i].type, families[i].help);
        for (size_t f = 0; f < told->count; f++)
            bytes_put_format(told->out, "%s{function=\"%s\"} %.15g\n", families[i].name, told->infos[f].name, families[i].value(told, &told->infos[f]));
    }
}

static void put_outcomes(const struct told *told)
{
    static const struct {
        enum queue_counter counter;
        const char *name;
    } outcomes[] = { { QUEUE_SUCCEEDED, "succeeded" }, { QUEUE_DEAD_LETTERED, "dead_lettered" }, { QUEUE_EXPIRED, "expired" }, { QUEUE_DISCARDED, "discarded" } };

    put_family(told->out, "sluice_deliveries_total", "counter", "Deliveries that are over, by outcome.");
    for (size_t f = 0; f < told->count; f++) {
        for (size_t i = 0; i < sizeof outcomes / sizeof *outcomes; i++)
            bytes_put_format(told->out, "sluice_deliveries_total{function=\"%s\",outcome=\"%s\"} %" PRIu64 "\n", told->infos[f].name, outcomes[i].name,
                             told->infos[f].counters[outcomes[i].counter]);
    }
}

static void put_queues(const struct told *told)
{
    put_family(told->out, "sluice_queue_deliveries", "gauge", "Open deliveries: ready, leased to an instance, or waiting for their next attempt.");
    for (size_t f = 0; f < told->count; f++) {
        const struct function_info *info = &told->infos[f];
        const uint64_t values[] = { info->ready, info->leased, info->retrying };
        static const char *const names[] = { "ready", "leased", "retrying" };
        for (size_t i = 0; i < sizeof values / sizeof *values; i++)
            bytes_put_format(told->out, "sluice_queue_deliveries{function=\"%s\",state=\"%s\"} %" PRIu64 "\n", info->name, names[i], values[i]);
    }
}

static void put_instances(const struct told *told)
{
    put_family(told->out, "sluice_instances", "gauge", "Processes, by state.");
    for (size_t f = 0; f < told->count; f++) {
        for (int state = 0; state < INSTANCE_STATES; state++)
            bytes_put_format(told->out, "sluice_instances{function=\"%s\",state=\"%s\"} %u\n", told->infos[f].name,
                             instance_state_text((enum instance_state)state), told->infos[f].instances[state]);
    }
}

/* ---- how functions run ---- */

static const struct function_ran ran_nothing;

static const struct function_ran *told_ran(const struct told *told, size_t index)
{
    const struct function_ran *ran = engine_function_ran(told->engine, told->infos[index].id);

    return ran == NULL ? &ran_nothing : ran;
}

/* What Lambda's users know as Invocations, Errors and Throttles. */
static void put_runs(const struct told *told)
{
    put_family(told->out, "sluice_function_runs_total", "counter",
               "Synchronous invocations (kind invoke) and attempts of deliveries (kind delivery), by outcome, since the start.");
    for (size_t f = 0; f < told->count; f++) {
        const struct invoke_counters *invokes = &told->infos[f].invokes;
        const struct function_ran *ran = told_ran(told, f);
        const struct { const char *labels; uint64_t count; } rows[] = {
            { "kind=\"invoke\",outcome=\"succeeded\"} ", invokes->done },
            { "kind=\"invoke\",outcome=\"failed\"} ", invokes->failed },
            { "kind=\"invoke\",outcome=\"throttled\"} ", invokes->throttled },
            { "kind=\"delivery\",outcome=\"succeeded\"} ", ran->attempts.count - ran->attempts_failed },
            { "kind=\"delivery\",outcome=\"failed\"} ", ran->attempts_failed },
        };
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
            bytes_put_text(told->out, "sluice_function_runs_total{function=\"");
            bytes_put_text(told->out, told->infos[f].name);
            bytes_put_text(told->out, "\",");
            bytes_put_text(told->out, rows[i].labels);
            bytes_put_number(told->out, rows[i].count, 10);
            bytes_put_char(told->out, '\n');
        }
    }
}

/* Only of what has run: of ten thousand functions, most are there for a rare event. */
static void put_durations(const struct told *told)
{
    struct bounds bounds = bounds_make();

    put_family(told->out, "sluice_function_run_seconds", "histogram",
               "From the hand-over to the result, of those that succeeded or failed, by kind; 0 where no instance could be started.");
    for (size_t f = 0; f < told->count; f++) {
        const struct function_ran *ran = told_ran(told, f);
        const struct { const char *kind; const struct histogram *histogram; } rows[] = { { "invoke", &ran->invokes }, { "delivery", &ran->attempts } };
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
            char labels[CONFIG_NAME_BYTES_MAX + sizeof "function=\"\",kind=\"delivery\""];
            if (rows[i].histogram->count == 0)
                continue;
            (void)snprintf(labels, sizeof labels, "function=\"%s\",kind=\"%s\"", told->infos[f].name, rows[i].kind);
            put_buckets(told->out, "sluice_function_run_seconds", labels, &bounds, rows[i].histogram);
        }
    }
}

/* Of all functions, also those that are not told one by one. */
static void put_deliveries(struct bytes *out, const struct engine *engine)
{
    struct histogram sum = { 0 };

    for (size_t id = 1; id <= engine_functions_count(engine); id++) {
        const struct function_ran *ran = engine_function_ran(engine, (uint32_t)id);
        if (ran != NULL)
            histogram_sum(&sum, &ran->attempts);
    }
    api_put_histogram(out, "sluice_delivery_run_seconds", "Attempts of deliveries, those of asynchronous invocations too: from the hand-over to the result.",
                      &sum);
}

/* ---- the rest ---- */

static void put_number(struct bytes *out, const char *name, const char *type, const char *help, uint64_t value)
{
    put_family(out, name, type, help);
    bytes_put_format(out, "%s %" PRIu64 "\n", name, value);
}

static void put_rules(struct bytes *out, const struct engine *engine)
{
    size_t count = engine_rules_count(engine);
    struct rule_info info;
    uint64_t sum = 0;

    for (size_t i = 0; i < count; i++) {
        engine_rule_info(engine, i, &info);
        sum += info.matched;
    }
    put_number(out, "sluice_matches_total", "counter", "Events matched by rules, since the start.", sum);
    if (count > METRICS_RULES_MAX)
        return;
    put_family(out, "sluice_rule_matches_total", "counter", "Events matched by the rule, since the start.");
    for (size_t i = 0; i < count; i++) {
        engine_rule_info(engine, i, &info);
        bytes_put_format(out, "sluice_rule_matches_total{rule=\"%s\",bus=\"%s\"} %" PRIu64 "\n", info.config->name, info.config->bus, info.matched);
    }
}

static void put_port(struct bytes *out, const struct api *api)
{
    static const char *const classes[] = { "cut_off", "1xx", "2xx", "3xx", "4xx", "5xx" };

    put_family(out, "sluice_http_requests_total", "counter", "Requests of the HTTP port, by class of status.");
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++)
        bytes_put_format(out, "sluice_http_requests_total{status=\"%s\"} %" PRIu64 "\n", classes[i], api->counts.requests[i]);
    put_number(out, "sluice_http_connections", "gauge", "Connections of the HTTP port.", http_listener_connections(api->listener));
    put_number(out, "sluice_http_repeated_requests_total", "counter", "Second tries of SDKs that got the answer of the first.", api->counts.attached);
    put_number(out, "sluice_http_events_unknown_bus_total", "counter", "Events of PutEvents dropped for naming a bus that is not there.",
               api->counts.unknown_bus);
    api_put_histogram(out, "sluice_invoke_wait_seconds", "Synchronous invocations: until a place was found.", &api->invoke_waited);
    api_put_histogram(out, "sluice_invoke_run_seconds", "Synchronous invocations: from then on.", &api->invoke_ran);
}

static void put_functions(struct bytes *out, struct api *api, struct now now)
{
    size_t count = engine_functions_count(api->hands.engine), told_count = count > METRICS_FUNCTIONS_MAX ? METRICS_FUNCTIONS_MAX : count;
    struct function_info *infos = calloc(told_count + 1, sizeof *infos);

    ASSERT(infos != NULL);
    for (size_t i = 0; i < told_count; i++)
        engine_function_info(api->hands.engine, (uint32_t)i + 1, now, &infos[i]);
    struct told told = { .out = out, .engine = api->hands.engine, .infos = infos, .count = told_count, .now_ms = now.wall_ms };
    put_families(&told);
    put_outcomes(&told);
    put_queues(&told);
    put_instances(&told);
    put_runs(&told);
    put_durations(&told);
    free(infos);
    put_number(out, "sluice_functions_left_out", "gauge", "Functions beyond the first 1000, which are not told here.", count - told_count);
    put_deliveries(out, api->hands.engine);
}

static void serve(struct call *call)
{
    struct api *api = call->api;
    struct answer answer = { .count = 0 };
    struct engine_totals totals;
    struct bytes *out = &api->text;

    api->hands.look(api->hands.ctx);
    bytes_clear(out);
    engine_totals(api->hands.engine, &totals);
    put_number(out, "sluice_events_total", "counter", "Events taken.", totals.events_total);
    put_number(out, "sluice_events_unmatched_total", "counter", "Events that no rule matched.", totals.unmatched_total);
    put_number(out, "sluice_pending_deliveries", "gauge", "Open deliveries of all functions.", totals.pending);
    put_rules(out, api->hands.engine);
    put_functions(out, api, clock_now());
    put_port(out, api);
    api->hands.metrics(api->hands.ctx, out);
    answer_put(&answer, "content-type", VIEW_LITERAL("text/plain; version=0.0.4; charset=utf-8"));
    if (out->failed)
        call_refuse(call, 500, "out of memory");
    else
        call_respond(call, 200, &answer, bytes_view(out));
}

void metrics_head(struct call *call)
{
    struct view method = http_method(call->exchange);

    if (!view_is(method, "GET") && !view_is(method, "HEAD"))
        call_refuse_method(call, "GET, HEAD");
    else
        serve(call);
}
