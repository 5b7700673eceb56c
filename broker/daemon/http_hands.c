/* http_hands.c - what the doors of the HTTP port ask of the daemon (struct api_hands). */
#include "broker/daemon/broker.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "broker/api/api.h"
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
        .metrics = broker_put_metrics,
        .ready = hand_ready,
    };

    if (address == NULL)
        return true;
    if (api_open(broker->loop, address, &hands, &broker->api, reterr) != SLUICE_OK)
        return false;
    /* What was configured, with the port that it has become. */
    const char *colon = strrchr(address, ':');
    int host = colon == NULL ? (int)strlen(address) : (int)(colon - address);
    (void)snprintf(broker->http, sizeof broker->http, "%.*s:%u", host, address, (unsigned)api_port(broker->api));
    return true;
}
