/* attach.c - consumers: native instances that nobody started, there as long as their connection is.
 *
 *   engine_attach ──> READY <──> BUSY ──────── engine_instance_leaves, reload, stop ────────> DRAINING ──last result──> (freed)
 *                       └──────────┴── engine_attached_lost: what reached it failed, the rest goes back ──┴───────────> (freed)
 *
 * They are leased to, timed and settled like the instances that we start (schedule.c). What differs:
 * - They cannot be started, stopped for want of work or killed: world.stop tells one that it is over, and it is freed with the word;
 *   world.kill closes its connection.
 * - A place is one request for work that is parked, or one lease that is out: what an instance really has to offer, whatever it
 *   announced. It may have `concurrency` of them. The scaler counts places in units of one instance of ours as instances that are
 *   there already, so a consumer that asks for nothing keeps none of ours from being started.
 * - They are served before ours, and take turns. */
#include "broker/core/engine_internal.h"

bool engine_instance_is_attached(const struct engine *engine, uint64_t id)
{
    const struct instance *instance = instance_find(engine, id);
    return instance != NULL && instance->attached;
}

/* ---- for schedule.c: what is counted ---- */

void attached_count(const struct instance *instance, int by)
{
    struct function *function = instance->function;

    if (!instance->attached)
        return;
    function->attached_by_state[instance->state] += (unsigned)by; /* unsigned: adding -1 takes one away */
    if (instance->state != INSTANCE_DRAINING)
        function->attached_places += (unsigned)by * instance->places;
}

void attached_place_add(struct instance *instance)
{
    ASSERT(instance->places < instance->concurrency);
    ASSERT(instance->state != INSTANCE_DRAINING);
    instance->places++;
    instance->function->attached_places++;
}

void attached_place_end(struct instance *instance)
{
    ASSERT(instance->places > 0);
    instance->places--;
    if (instance->state != INSTANCE_DRAINING)
        instance->function->attached_places--;
}

unsigned attached_cover(const struct function *function)
{
    return function->attached_places / function->config->concurrency;
}

/* ---- coming and going ---- */

static enum sluice_err attach_check(const struct engine *engine, const struct attach *attach, struct function **ret_function,
                                    struct sluice_error *reterr)
{
    int name_len = attach->function.len > CONFIG_NAME_BYTES_MAX ? CONFIG_NAME_BYTES_MAX : (int)attach->function.len;
    const char *name = name_len == 0 ? "" : attach->function.data;
    uint32_t id;

    if (engine->draining)
        return sluice_fail(reterr, SLUICE_EUNAVAILABLE, "the daemon stops; attach again when it is back");
    if (!names_get(&engine->function_ids, attach->function, &id) || engine_function(engine, id)->config == NULL)
        return sluice_fail(reterr, SLUICE_ENOTFOUND, "there is no function '%.*s' in the daemon's configuration", name_len, name);
    struct function *function = engine_function(engine, id);
    if (function->config->protocol != PROTOCOL_NATIVE)
        return sluice_fail(reterr, SLUICE_EINVAL, "function '%s' has another protocol; only those with `protocol: native` can be attached to",
                           function->name);
    unsigned attached = 0;
    for (int state = 0; state < INSTANCE_STATES; state++)
        attached += function->attached_by_state[state];
    if (attached >= CONFIG_ATTACHED_MAX)
        return sluice_fail(reterr, SLUICE_ELIMIT, "function '%s' has %u consumers attached, and no more are taken", function->name, attached);
    *ret_function = function;
    return SLUICE_OK;
}

enum sluice_err engine_attach(struct engine *engine, const struct attach *attach, struct now now, struct attached *ret_attached,
                              struct sluice_error *reterr)
{
    struct function *function = NULL;
    enum sluice_err err = attach_check(engine, attach, &function, reterr);

    if (err != SLUICE_OK)
        return err;
    ASSERT(function != NULL);
    struct instance *instance = instance_new(engine, function, now);
    instance->attached = instance->up = true;
    instance->provisioned = false;
    instance->concurrency = attach->concurrency == 0 ? function->config->concurrency : attach->concurrency;
    if (instance->concurrency > CONFIG_CONCURRENCY_MAX)
        instance->concurrency = CONFIG_CONCURRENCY_MAX;
    attached_count(instance, +1);
    instance_set_state(instance, INSTANCE_READY);
    *ret_attached = (struct attached){ .instance = instance->id, .function = function->id, .concurrency = instance->concurrency,
                                       .batch_size = function->config->batch_size, .timeout_ms = function->config->timeout_ms };
    function_note(engine, function, LOG_INFO, now, "event=attached instance=%llu concurrency=%u", (unsigned long long)instance->id,
                  instance->concurrency);
    return SLUICE_OK;
}

enum sluice_err engine_instance_leaves(struct engine *engine, uint64_t id, struct now now)
{
    struct instance *instance = instance_find(engine, id);

    if (instance == NULL || instance->protocol != PROTOCOL_NATIVE)
        return SLUICE_ENOTFOUND;
    struct function *function = instance->function;
    if (instance->attached && instance->state != INSTANCE_DRAINING)
        function_note(engine, function, LOG_INFO, now, "event=detaching instance=%llu leased=%u done=%llu", (unsigned long long)id,
                      instance->leased, (unsigned long long)instance->done);
    instance_drain(engine, instance, "it leaves");
    function_touch(engine, function);
    return SLUICE_OK;
}

void engine_attached_lost(struct engine *engine, uint64_t id, uint64_t lease_reached, struct now now)
{
    struct instance *instance = instance_find(engine, id);
    struct failure failure = { .type = VIEW_LITERAL("Sluice.ConnectionLost"),
                               .message = VIEW_LITERAL("the consumer's connection ended before its result came"),
                               .output = VIEW_LITERAL(""),
                               .at_once = true };

    if (instance == NULL)
        return;
    ASSERT(instance->attached);
    struct function *function = instance->function;
    unsigned leased = instance->leased, untouched = 0;
    while (!list_empty(&instance->leases)) {
        struct lease *lease = LIST_OWNER(instance->leases.next, struct lease, in_instance);
        bool reached = lease->id <= lease_reached;
        untouched += reached ? 0 : lease->count - lease->done;
        lease_lost(engine, lease, reached, &failure, now);
    }
    function_note(engine, function, leased > 0 ? LOG_WARN : LOG_INFO, now,
                  "event=attachment-lost instance=%llu leased=%u untouched=%u done=%llu", (unsigned long long)id, leased, untouched,
                  (unsigned long long)instance->done);
    instance_free(engine, instance);
    function_touch(engine, function);
}
