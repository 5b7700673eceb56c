/* engine_look.c - what can be seen of the engine from outside: functions, instances, rules, totals. Changes nothing. */
#include "broker/core/engine_internal.h"

bool engine_target(const struct engine *engine, uint32_t id, struct target_view *ret_target)
{
    if (id < 1 || id > engine->targets.count)
        return false;
    const struct target_row *row = &engine->targets.items[id - 1].row;
    *ret_target = (struct target_view){
        .function = row->function,
        .rule = row->rule.data,
        .input = (enum target_input)row->input,
        .text = row->text.data,
        .shape = engine_function(engine, row->function)->shape,
    };
    return true;
}

size_t engine_functions_count(const struct engine *engine)
{
    return engine->functions.count;
}

bool engine_function_find(const struct engine *engine, struct view name, uint32_t *ret_function)
{
    return names_get(&engine->function_ids, name, ret_function);
}

const char *engine_function_name(const struct engine *engine, uint32_t id)
{
    return engine_function(engine, id)->name;
}

/* The oldest ready delivery, also of a queue that nobody reads, such as a paused function's, and so is not paged in. */
static bool ready_first(const struct engine *engine, const struct function *function, struct delivery *ret_first)
{
    const struct reader *reader = &engine->world.reader;
    struct batch_row row;

    if (runs_first(&function->ready, ret_first))
        return true;
    if (function->unpaged == 0 || !reader->batch_after(reader->ctx, function->id, function->paged_row, &row) || row.runs_count == 0)
        return false;
    struct run run = reader->batch_run(&row, 0);
    *ret_first = (struct delivery){ run.seq, run.ordinal };
    return true;
}

void engine_function_info(const struct engine *engine, uint32_t id, struct now now, struct function_info *ret_info)
{
    struct function *function = engine_function(engine, id);
    struct delivery first;
    struct stored_event event;

    *ret_info = (struct function_info){
        .id = id,
        .name = function->name,
        .config = function->config,
        .pending = function_pending(function),
        .ready = function->ready.deliveries + function->unpaged,
        .leased = function->leased,
        .retrying = function->counters[QUEUE_EXCEPTIONS] - function->leased_exceptions,
        .invokes_waiting = function->invokes_waiting,
        .invokes_running = function->invokes_running,
        .invokes = function->invoke_counters,
        .target = function->target,
        .arrivals_per_s = rate_now(&function->arrivals, now.mono.us),
        .service_s = function->service_s,
        .start_s = function->start_s,
        .crashes = function->crashes,
        .circuit_open = function->crashes >= CIRCUIT_CRASHES && function->circuit_until.us > now.mono.us,
        .circuit_left_ms = function->circuit_until.us > now.mono.us ? (function->circuit_until.us - now.mono.us) / 1000 : 0,
    };
    memcpy(ret_info->counters, function->counters, sizeof ret_info->counters);
    memcpy(ret_info->instances, function->instances_by_state, sizeof ret_info->instances);
    for (int state = 0; state < INSTANCE_STATES; state++)
        ret_info->attached += function->attached_by_state[state];
    if (ready_first(engine, function, &first) && engine->world.reader.event(engine->world.reader.ctx, first.seq, &event) == SLUICE_OK)
        ret_info->oldest_ms = event.committed_ms;
}

const struct function_ran *engine_function_ran(const struct engine *engine, uint32_t id)
{
    return engine_function(engine, id)->ran;
}

size_t engine_function_notes(const struct engine *engine, uint32_t id, struct function_note *ret_notes, size_t max)
{
    const struct function *function = engine_function(engine, id);
    size_t count = function->notes_count < FUNCTION_NOTES ? function->notes_count : FUNCTION_NOTES;

    if (count > max)
        count = max;
    for (size_t i = 0; i < count; i++)
        ret_notes[i] = function->notes[(function->notes_count - 1 - i) % FUNCTION_NOTES];
    return count;
}

static struct instance_info instance_info_of(const struct instance *instance)
{
    struct instance_info info = { .id = instance->id,
                                  .state = instance->state,
                                  .pid = instance->pid,
                                  .started_wall_ms = instance->started_wall_ms,
                                  .since = instance->started,
                                  .leased = instance->leased,
                                  .parked = instance->wants,
                                  .done = instance->done,
                                  .provisioned = instance->provisioned,
                                  .repeats_init = instance->repeats_init,
                                  .attached = instance->attached,
                                  .concurrency = instance->concurrency };

    if (instance->state == INSTANCE_READY)
        info.since = instance->idle_since;
    else if (instance->state == INSTANCE_BUSY && !list_empty(&instance->leases))
        info.since = LIST_OWNER(instance->leases.next, struct lease, in_instance)->since;
    return info;
}

void engine_each_instance(const struct engine *engine, uint32_t id, void (*each)(void *ctx, const struct instance_info *info), void *ctx)
{
    struct function *function = engine_function(engine, id);

    LIST_EACH(at, &function->instances) {
        struct instance_info info = instance_info_of(LIST_OWNER(at, struct instance, in_function));
        each(ctx, &info);
    }
}

bool engine_instance_find(const struct engine *engine, uint64_t id, uint32_t *ret_function, struct instance_info *ret_info)
{
    uint64_t found;

    if (!map_get(&engine->instances, id, &found))
        return false;
    const struct instance *instance = (const struct instance *)(uintptr_t)found;
    *ret_function = instance->function->id;
    *ret_info = instance_info_of(instance);
    return true;
}

bool engine_delivery_leased(const struct engine *engine, uint32_t id, struct delivery delivery, uint64_t *ret_instance)
{
    struct function *function = engine_function(engine, id);

    LIST_EACH(at, &function->leases) {
        const struct lease *lease = LIST_OWNER(at, struct lease, in_function);
        for (unsigned i = 0; i < lease->count; i++) {
            if (!lease->items[i].done && delivery_compare(lease->items[i].delivery, delivery) == 0) {
                *ret_instance = lease->instance->id;
                return true;
            }
        }
    }
    return false;
}

static bool run_has(struct run run, struct delivery delivery)
{
    return run.ordinal == delivery.ordinal && delivery.seq >= run.seq && delivery.seq - run.seq < run.len;
}

bool engine_delivery_ready(const struct engine *engine, uint32_t id, struct delivery delivery)
{
    const struct function *function = engine_function(engine, id);
    const struct reader *reader = &engine->world.reader;
    struct batch_row row;

    for (size_t i = function->ready.head; i < function->ready.count; i++) {
        if (run_has(function->ready.items[i], delivery))
            return true;
    }
    if (!reader->batch_at(reader->ctx, id, delivery.seq, &row) || row.first_seq <= function->paged_row)
        return false;
    for (uint32_t i = 0; i < row.runs_count; i++) {
        if (run_has(reader->batch_run(&row, i), delivery))
            return true;
    }
    return false;
}

size_t engine_rules_count(const struct engine *engine)
{
    return engine->ruleset == NULL ? 0 : engine->ruleset->config->rules_count;
}

void engine_rule_info(const struct engine *engine, size_t index, struct rule_info *ret_info)
{
    ASSERT(index < engine_rules_count(engine));
    const struct rule *rule = &engine->ruleset->rules[index];
    *ret_info = (struct rule_info){ .config = rule->config, .matched = engine->matched[rule->counter] };
}

void engine_totals(const struct engine *engine, struct engine_totals *ret_totals)
{
    *ret_totals = (struct engine_totals){
        .committed_seq = engine->committed_seq,
        .revision = engine->revision,
        .next_seq = engine->next_seq,
        .events_total = engine->events_total,
        .unmatched_total = engine->unmatched_total,
        .producers = producers_count(engine->producers),
        .oldest_open_seq = engine_watermark(engine),
    };
    for (size_t i = 0; i < engine->functions.count; i++) {
        const struct function *function = engine->functions.items[i];
        ret_totals->pending += function_pending(function);
        for (int state = 0; state < INSTANCE_STATES; state++) {
            ret_totals->instances[state] += function->instances_by_state[state];
            ret_totals->attached += function->attached_by_state[state];
        }
    }
}
