/* http_hands.c - what the doors of the HTTP port ask of the daemon (struct api_hands). */
#include "broker/daemon/broker.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "broker/api/api.h"
#include "broker/api/runtime/runtime_api.h"
#include "broker/edge/log.h"

static const struct config *hand_config(void *ctx)
{
    return &((struct broker *)ctx)->config->config;
}

static enum sluice_err hand_invoke(void *ctx, uint32_t function, uint64_t invoke, struct sluice_error *reterr)
{
    struct broker *broker = ctx;

    broker_read(broker);
    return engine_invoke(broker->engine, function, invoke, clock_now(), reterr);
}

static void hand_invoke_cancel(void *ctx, uint64_t invoke)
{
    engine_invoke_cancel(((struct broker *)ctx)->engine, invoke);
}

static void hand_publish(void *ctx, const struct publish *publish)
{
    broker_publish(ctx, publish);
}

static void hand_publish_cancel(void *ctx, uint64_t reply)
{
    broker_publish_cancel(ctx, reply);
}

static void hand_resume(void *ctx, uint64_t invoke)
{
    struct broker *broker = ctx;
    uint64_t instance, lease;

    if (engine_invoke_place(broker->engine, invoke, &instance, &lease))
        runtime_resume(broker->runtime, instance, lease);
}

static void hand_look(void *ctx)
{
    broker_read(ctx);
}

/* ---- figures ---- */

static void put_gauge(struct bytes *out, const char *name, const char *help, double value)
{
    bytes_put_format(out, "# HELP %s %s\n# TYPE %s gauge\n%s %.17g\n", name, help, name, name, value);
}

static void hand_metrics(void *ctx, struct bytes *out)
{
    const struct broker *broker = ctx;
    struct store_usage usage;

    store_usage(broker->store, &usage);
    api_put_histogram(out, "sluice_commit_seconds", "From handing a commit to the disk until it is there.", &broker->commits);
    put_gauge(out, "sluice_store_used_bytes", "Of the data file, in use.", (double)usage.used_bytes);
    put_gauge(out, "sluice_store_file_bytes", "Size of the data file.", (double)usage.file_bytes);
    put_gauge(out, "sluice_store_map_bytes", "What the data file may grow to.", (double)usage.map_bytes);
    put_gauge(out, "sluice_uptime_seconds", "Since the daemon was started.", (double)(clock_now().mono.us - broker->started.mono.us) / 1e6);
}

static bool hand_ready(void *ctx, const char **ret_reason)
{
    struct broker *broker = ctx;

    if (broker->stopping) {
        *ret_reason = "the daemon is stopping";
        return false;
    }
    return store_accepts(broker->store, ret_reason);
}

bool broker_open_http(struct broker *broker, struct sluice_error *reterr)
{
    const char *address = broker->config->config.http;
    struct api_hands hands = {
        .ctx = broker,
        .engine = broker->engine,
        .config = hand_config,
        .invoke = hand_invoke,
        .invoke_cancel = hand_invoke_cancel,
        .publish = hand_publish,
        .publish_cancel = hand_publish_cancel,
        .resume = hand_resume,
        .look = hand_look,
        .metrics = hand_metrics,
        .ready = hand_ready,
    };

    if (address == NULL)
        return true;
    if (api_open(broker->loop, address, &hands, &broker->api, reterr) != SLUICE_OK)
        return false;
    /* What was configured, with the port that it has become. */
    const char *colon = strrchr(address, ':');
    int host = colon == NULL ? (int)strlen(address) : (int)(colon - address);
    unsigned port = api_port(broker->api);
    (void)snprintf(broker->http, sizeof broker->http, "%.*s:%u", host, address, port);
    bool any = strncmp(address, "0.0.0.0:", 8) == 0 || strncmp(address, "[::]:", 5) == 0;
    (void)snprintf(broker->http_url, sizeof broker->http_url, "http://%.*s:%u", any ? 9 : host, any ? "127.0.0.1" : address, port);
    return true;
}
