/* consumers.c - consumer daemons at the bus: who is attached as which instance, and how each of them goes.
 *
 *   attach ──> engine_attach, bound to its connection ──> next, results as any native instance (broker.c)
 *   detach ──> engine_instance_leaves ... world.stop ──> answered, unbound
 *   reload, stop of the daemon ──────────> world.stop ──> its parked requests say "unavailable", unbound
 *   connection gone ──────────────────────────────────> engine_attached_lost: its leases go back
 *   timeout ──> world.kill ──> connection cut ──> gone */
#include "broker/daemon/broker.h"

#include <stdlib.h>

#include "broker/base/assert.h"
#include "broker/edge/log.h"

enum { REFUSALS_LOGGED_EVERY_MS = 1000 };

struct consumer {
    struct list link;            /* in broker.consumers_all */
    char *name;
    char from[64];
};

static struct consumer *consumer_find(const struct broker *broker, uint64_t instance)
{
    uint64_t pointer;
    return map_get(&broker->consumers, instance, &pointer) ? (struct consumer *)(uintptr_t)pointer : NULL;
}

static void consumer_free(struct consumer *consumer)
{
    list_remove(&consumer->link);
    free(consumer->name);
    free(consumer);
}

static void consumer_add(struct broker *broker, uint64_t instance, const struct bus_attach *attach)
{
    struct consumer *consumer = calloc(1, sizeof *consumer);

    ASSERT(consumer != NULL);
    consumer->name = strndup(attach->consumer.data, attach->consumer.len);
    ASSERT(consumer->name != NULL);
    memcpy(consumer->from, attach->from, sizeof consumer->from);
    list_push(&broker->consumers_all, &consumer->link);
    map_put(&broker->consumers, instance, (uint64_t)(uintptr_t)consumer);
}

static void consumer_forget(struct broker *broker, uint64_t instance)
{
    struct consumer *consumer = consumer_find(broker, instance);

    (void)map_remove(&broker->consumers, instance, NULL);
    consumer_free(consumer);
}

bool broker_consumer(const struct broker *broker, uint64_t instance, const char **ret_name, const char **ret_from)
{
    const struct consumer *consumer = consumer_find(broker, instance);

    if (consumer == NULL)
        return false;
    *ret_name = consumer->name;
    *ret_from = consumer->from;
    return true;
}

/* Who is refused comes again: what is said of it has its limit. */
static void log_refusal(struct broker *broker, const struct bus_attach *attach, const char *why)
{
    int64_t now_us = clock_now().mono.us;

    if (now_us - broker->attach_refused_logged_us < REFUSALS_LOGGED_EVERY_MS * 1000LL) {
        broker->attach_refused_unlogged++;
        return;
    }
    log_format(LOG_WARN, "event=attach-refused consumer=%.*s from=\"%s\" reason=\"%s\" others=%llu", VIEW_ARGS(attach->consumer), attach->from,
               why, (unsigned long long)broker->attach_refused_unlogged);
    broker->attach_refused_logged_us = now_us;
    broker->attach_refused_unlogged = 0;
}

void broker_on_attach(void *ctx, const struct bus_attach *attach)
{
    struct broker *broker = ctx;
    struct attached attached;
    struct sluice_error error;

    broker_read(broker);
    enum sluice_err err = engine_attach(broker->engine, &(struct attach){ .function = attach->function, .concurrency = attach->concurrency },
                                        clock_now(), &attached, &error);
    if (err != SLUICE_OK) {
        log_refusal(broker, attach, err == SLUICE_ENOTFOUND ? "no such function" : error.text);
        bus_answer_attach(broker->bus, attach->request, &(struct bus_attached){ .code = err, .text = error.text });
        return;
    }
    consumer_add(broker, attached.instance, attach);
    log_format(LOG_INFO, "function=%s event=consumer-attached instance=%llu consumer=%.*s from=\"%s\"",
               engine_function_name(broker->engine, attached.function), (unsigned long long)attached.instance, VIEW_ARGS(attach->consumer),
               attach->from);
    bus_answer_attach(broker->bus, attach->request, &(struct bus_attached){ .code = SLUICE_OK, .instance = attached.instance,
                                                                            .concurrency = attached.concurrency,
                                                                            .batch_size = attached.batch_size,
                                                                            .timeout_ms = attached.timeout_ms });
}

void broker_on_detach(void *ctx, uint64_t request, uint64_t instance)
{
    struct broker *broker = ctx;

    broker_read(broker);
    VEC_PUSH(&broker->leaving, (struct parked_next){ .request = request, .instance = instance });
    enum sluice_err err = engine_instance_leaves(broker->engine, instance, clock_now()); /* may end it, and answer, in here */
    ASSERT(err == SLUICE_OK); /* the door knows who is attached as what */
    broker_release_parked(broker, instance);
}

void broker_detach_gone(struct broker *broker, uint64_t request)
{
    for (size_t i = 0; i < broker->leaving.count; i++) {
        if (broker->leaving.items[i].request != request)
            continue;
        broker->leaving.items[i] = broker->leaving.items[--broker->leaving.count];
        return;
    }
}

void broker_on_lost(void *ctx, uint64_t instance, uint64_t lease_reached)
{
    struct broker *broker = ctx;
    const struct consumer *consumer = consumer_find(broker, instance);

    ASSERT(consumer != NULL);
    log_format(LOG_INFO, "event=consumer-lost instance=%llu consumer=%s from=\"%s\"", (unsigned long long)instance, consumer->name,
               consumer->from);
    consumer_forget(broker, instance);
    broker_read(broker);
    engine_attached_lost(broker->engine, instance, lease_reached, clock_now());
}

void broker_consumer_stopped(struct broker *broker, uint64_t instance, const char *reason)
{
    const struct consumer *consumer = consumer_find(broker, instance);

    ASSERT(consumer != NULL);
    log_format(LOG_INFO, "event=consumer-detached instance=%llu consumer=%s from=\"%s\" reason=\"%s\"", (unsigned long long)instance,
               consumer->name, consumer->from, reason);
    consumer_forget(broker, instance);
    bus_unbind(broker->bus, instance);
    for (size_t i = 0; i < broker->leaving.count;) {
        if (broker->leaving.items[i].instance != instance) {
            i++;
            continue;
        }
        bus_answer_detach(broker->bus, broker->leaving.items[i].request);
        broker->leaving.items[i] = broker->leaving.items[--broker->leaving.count];
    }
}

void broker_consumers_done(struct broker *broker)
{
    LIST_EACH(at, &broker->consumers_all)
        consumer_free(LIST_OWNER(at, struct consumer, link));
    map_done(&broker->consumers);
}
