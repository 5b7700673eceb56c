/* engine.c - the engine's life: restoring what is stored, and the cycle of commits. */
#include "broker/core/engine_internal.h"

#include <stdarg.h>
#include <stdio.h>

#define MAX_AGE_DEFAULT_MS (6LL * 3600 * 1000)

/* ---- small services for the other files ---- */

void function_dirty(struct engine *engine, struct function *function)
{
    if (!function->dirty) {
        function->dirty = true;
        VEC_PUSH(&engine->dirty, function);
    }
}

void function_touch(struct engine *engine, struct function *function)
{
    if (!function->touched) {
        function->touched = true;
        VEC_PUSH(&engine->touched, function);
    }
}

void engine_log(struct engine *engine, enum log_level level, const char *format, ...)
{
    char line[512];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(line, sizeof line, format, args);
    va_end(args);
    engine->world.log(engine->world.ctx, level, line);
}

void function_note(struct engine *engine, struct function *function, enum log_level level, struct now now, const char *format, ...)
{
    char line[512];
    va_list args;

    int head = snprintf(line, sizeof line, "function=%s ", function->name);
    va_start(args, format);
    (void)vsnprintf(line + head, sizeof line - (size_t)head, format, args);
    va_end(args);
    for (char *at = line; *at != '\0'; at++) { /* one fact, one line, whatever a function wrote */
        if ((unsigned char)*at < ' ')
            *at = ' ';
    }
    engine->world.log(engine->world.ctx, level, line);
    if (function->notes == NULL) {
        function->notes = calloc(FUNCTION_NOTES, sizeof *function->notes);
        ASSERT(function->notes != NULL);
    }
    struct function_note *note = &function->notes[function->notes_count++ % FUNCTION_NOTES];
    note->wall_ms = now.wall_ms;
    (void)snprintf(note->text, sizeof note->text, "%s", line + head);
}

/* ---- life ---- */

struct engine *engine_new(const struct engine_options *options, const struct world *world)
{
    struct engine *engine = calloc(1, sizeof *engine);
    ASSERT(engine != NULL);
    engine->options = *options;
    if (engine->options.cores == 0)
        engine->options.cores = 1;
    engine->world = *world;
    engine->chance.state = options->seed;
    engine->names_arena = arena_new(64 << 10);
    engine->matched = calloc(CONFIG_RULES_MAX, sizeof *engine->matched); /* 8 MB, of which only what is used is memory */
    ASSERT(engine->matched != NULL);
    engine->producers = producers_new();
    engine->scratch = match_scratch_new();
    ASSERT(engine->scratch != NULL);
    engine->gathering = commit_new();
    engine->spare = commit_new();
    engine->next_seq = engine->committed_seq = 1;
    list_init(&engine->early);
    return engine;
}

static void function_free(struct function *function)
{
    runs_done(&function->ready);
    map_done(&function->claims);
    VEC_DONE(&function->due);
    VEC_DONE(&function->row.runs);
    free(function->restored_holes);
    free(function->ran);
    free(function->notes);
    free(function);
}

struct engine *engine_free(struct engine *engine)
{
    if (engine == NULL)
        return NULL;
    for (size_t i = 0; i < engine->functions.count; i++) {
        struct function *function = engine->functions.items[i];
        LIST_EACH(at, &function->leases) {
            struct lease *lease = LIST_OWNER(at, struct lease, in_function);
            free(lease->invoke);
            free(lease);
        }
        LIST_EACH(at, &function->invokes)
            free(LIST_OWNER(at, struct invoke, in_function));
        LIST_EACH(at, &function->instances)
            free(LIST_OWNER(at, struct instance, in_function));
        function_free(function);
    }
    LIST_EACH(at, &engine->early)
        free(LIST_OWNER(at, struct early, link));
    VEC_DONE(&engine->functions);
    for (size_t i = 0; i < engine->targets.count; i++)
        template_free(engine->targets.items[i].template);
    VEC_DONE(&engine->targets);
    names_done(&engine->function_ids);
    names_done(&engine->target_ids);
    map_done(&engine->instances);
    map_done(&engine->leases);
    map_done(&engine->invokes);
    ruleset_release(engine->ruleset);
    free(engine->matched);
    arena_free(engine->names_arena);
    producers_free(engine->producers);
    match_scratch_free(engine->scratch);
    commit_free(engine->gathering);
    commit_free(engine->sealed);
    commit_free(engine->spare);
    VEC_DONE(&engine->acks.items);
    VEC_DONE(&engine->acks.refusals);
    VEC_DONE(&engine->sealed_acks.items);
    VEC_DONE(&engine->sealed_acks.refusals);
    bytes_done(&engine->record.body);
    for (size_t i = 0; i < sizeof engine->completed / sizeof *engine->completed; i++)
        bytes_done(&engine->completed[i]);
    bytes_done(&engine->line);
    bytes_done(&engine->inputs);
    VEC_DONE(&engine->record_functions);
    VEC_DONE(&engine->event_targets);
    VEC_DONE(&engine->event_rules);
    VEC_DONE(&engine->dirty);
    VEC_DONE(&engine->touched);
    heap_done(&engine->wakes);
    VEC_DONE(&engine->handovers);
    VEC_DONE(&engine->leasing);
    free(engine);
    return NULL;
}

/* ---- functions and targets: numbers that stay ---- */

static struct function *function_new(struct engine *engine, uint32_t id, struct view name)
{
    struct function *function = calloc(1, sizeof *function);
    ASSERT(function != NULL);
    ASSERT(id == engine->functions.count + 1);
    function->id = id;
    function->name = arena_text(engine->names_arena, name);
    function->max_age_ms = MAX_AGE_DEFAULT_MS;
    list_init(&function->leases);
    list_init(&function->instances);
    list_init(&function->free);
    list_init(&function->free_attached);
    list_init(&function->invokes);
    list_init(&function->silent);
    function->start_deadline_us = MONO_NEVER;
    VEC_PUSH(&engine->functions, function);
    names_put(&engine->function_ids, view_of(function->name), id);
    return function;
}

struct function *engine_function_add(struct engine *engine, struct view name)
{
    uint32_t id;

    if (names_get(&engine->function_ids, name, &id))
        return engine_function(engine, id);
    struct function *function = function_new(engine, (uint32_t)engine->functions.count + 1, name);
    VEC_PUSH(&engine->gathering->functions,
             (struct function_row){ .id = function->id, .name = arena_dup(engine->gathering->arena, name) });
    return function;
}

/* Two targets are the same row when function, rule, and input are the same. */
static struct view target_key(struct arena *arena, const struct target_row *row)
{
    char *key = arena_format(arena, "%u:%u:%zu:%.*s:%.*s", row->function, row->input, row->rule.len, VIEW_ARGS(row->rule),
                             VIEW_ARGS(row->text));
    return view_of(key);
}

static void target_add(struct engine *engine, const struct target_row *row)
{
    ASSERT(row->id == engine->targets.count + 1);
    struct target target = { .row = *row, .is_invoke = row->rule.len == 0 };
    target.row.rule = arena_dup(engine->names_arena, row->rule);
    target.row.text = row->text.data == NULL ? row->text : arena_dup(engine->names_arena, row->text);
    if (row->input == TARGET_INPUT_TEMPLATE) { /* one that is damaged stays NULL: its deliveries become dead letters that say so */
        size_t offset;
        (void)template_new(target.row.text, &target.template, &offset, NULL);
    }
    VEC_PUSH(&engine->targets, target);
    names_put(&engine->target_ids, target_key(engine->names_arena, &target.row), row->id);
}

uint32_t engine_target_id(struct engine *engine, struct target_row *row)
{
    struct arena *arena = arena_new(1024);
    uint32_t id;
    bool known = names_get(&engine->target_ids, target_key(arena, row), &id);
    arena_free(arena);
    if (known)
        return id;
    row->id = (uint32_t)engine->targets.count + 1;
    target_add(engine, row);
    VEC_PUSH(&engine->gathering->targets, engine->targets.items[row->id - 1].row); /* names live as long as the engine */
    return row->id;
}

uint32_t engine_invoke_target(struct engine *engine, struct function *function)
{
    struct target_row row = { .function = function->id, .rule = VIEW_LITERAL(""), .input = TARGET_INPUT_EVENT };

    if (function->invoke_target == 0)
        function->invoke_target = engine_target_id(engine, &row);
    return function->invoke_target;
}

void engine_restore_function(struct engine *engine, const struct function_row *row)
{
    (void)function_new(engine, row->id, row->name);
}

void engine_restore_target(struct engine *engine, const struct target_row *row)
{
    target_add(engine, row);
}

void engine_restore_queue(struct engine *engine, const struct queue_state *state)
{
    struct function *function = engine_function(engine, state->function);

    function->highest = state->highest;
    memcpy(function->counters, state->counters, sizeof function->counters);
    function->restored_holes_count = state->holes_count;
    if (state->holes_count > 0) {
        function->restored_holes = malloc(state->holes_count * sizeof *state->holes);
        ASSERT(function->restored_holes != NULL);
        memcpy(function->restored_holes, state->holes, state->holes_count * sizeof *state->holes);
    }
}

void engine_restore_producer(struct engine *engine, const struct producer_row *row)
{
    producers_restore(engine->producers, row);
}

void engine_restore_totals(struct engine *engine, uint64_t revision, uint64_t next_seq, uint64_t events_total, uint64_t unmatched_total)
{
    engine->revision = revision;
    engine->next_seq = engine->committed_seq = next_seq < 1 ? 1 : next_seq;
    engine->events_total = events_total;
    engine->unmatched_total = unmatched_total;
}

void engine_recovered(struct engine *engine, struct now now)
{
    (void)now;
    ASSERT(engine->ruleset != NULL);
    for (size_t i = 0; i < engine->functions.count; i++) {
        queue_recover(engine, engine->functions.items[i]);
        function_touch(engine, engine->functions.items[i]);
    }
    engine->recovered = true;
}

/* ---- the turn ---- */

int64_t engine_wake_us(const struct engine *engine)
{
    if (engine->touched.count > 0)
        return 0;
    const struct heap_node *first = heap_first(&engine->wakes);
    int64_t wake_us = first == NULL ? MONO_NEVER : first->key;
    return engine->trim_at_us != 0 && engine->trim_at_us < wake_us ? engine->trim_at_us : wake_us;
}

void engine_tick(struct engine *engine, struct now now)
{
    struct heap_node *first;

    while ((first = heap_first(&engine->wakes)) != NULL && first->key <= now.mono.us) {
        heap_remove(&engine->wakes, first);
        function_touch(engine, (struct function *)(void *)((char *)first - offsetof(struct function, wake)));
    }
    /* A function's turn may touch it again (more to sweep): that is for the next tick, so that one turn ends. */
    size_t count = engine->touched.count;
    for (size_t i = 0; i < count; i++) {
        struct function *function = engine->touched.items[i];
        function->touched = false;
        function_turn(engine, function, now);
    }
    memmove(engine->touched.items, engine->touched.items + count, (engine->touched.count - count) * sizeof(*engine->touched.items));
    engine->touched.count -= count;
    if (engine->trim_at_us != 0 && engine->trim_at_us <= now.mono.us) {
        engine->trim_at_us = 0;
        if (engine->recovered)
            engine_trim(engine); /* if it finds some, there is a commit, and after it another look */
    }
}

void engine_drain(struct engine *engine, struct now now)
{
    engine->draining = true;
    publish_drain(engine);
    for (size_t i = 0; i < engine->functions.count; i++) {
        invokes_answer_waiting(engine, engine->functions.items[i], INVOKE_STOPPED, now);
        LIST_EACH(at, &engine->functions.items[i]->instances)
            instance_drain(engine, LIST_OWNER(at, struct instance, in_function), "the daemon stops");
    }
}

bool engine_drained(const struct engine *engine)
{
    return engine->instances.count == 0;
}

/* ---- commits ---- */

bool engine_has_commit(const struct engine *engine)
{
    return engine->record.count > 0 || engine->dirty.count > 0 || engine->acks.items.count > 0 || !commit_is_empty(engine->gathering);
}

size_t engine_gathered_bytes(const struct engine *engine)
{
    return engine->gathering->log.len + engine->record.body.len + arena_bytes(engine->gathering->arena);
}

uint64_t engine_commit_gathering(const struct engine *engine)
{
    return engine->commits_sealed + 1;
}

uint64_t engine_commit_durable(const struct engine *engine)
{
    return engine->commit_durable;
}

uint64_t engine_watermark(const struct engine *engine)
{
    uint64_t lowest = engine->next_seq;

    for (size_t i = 0; i < engine->functions.count; i++) {
        const struct function *function = engine->functions.items[i];
        if (function_pending(function) == function->counters[QUEUE_EXCEPTIONS])
            continue; /* nothing of it is open in the log */
        uint64_t watermark = queue_watermark(function);
        if (watermark < lowest)
            lowest = watermark;
    }
    return lowest;
}

/* Log records that lie wholly below the watermark go, a few with each commit: more than come in, never a bulk. */
void engine_trim(struct engine *engine)
{
    const struct reader *reader = &engine->world.reader;
    uint64_t watermark = engine_watermark(engine);
    struct record record, next;

    for (unsigned i = 0; i < TRIMS_PER_COMMIT; i++) {
        if (engine->trim_after >= watermark || !reader->record_after(reader->ctx, engine->trim_after, &record))
            return;
        uint64_t end = record.first_seq + record.count;
        if (record.count == 0) /* it fails its check: it reaches to the next one */
            end = reader->record_after(reader->ctx, record.first_seq, &next) ? next.first_seq : UINT64_MAX;
        if (end > watermark)
            return;
        VEC_PUSH(&engine->gathering->trims, record.first_seq);
        engine->trim_after = record.first_seq;
    }
}

/* A producer that came back since is not gone: its row is put by this commit, or by one before it. */
static void gone_filter(const struct engine *engine, struct commit *commit)
{
    size_t kept = 0;

    for (size_t i = 0; i < commit->producers_gone.count; i++) {
        if (!producers_known(engine->producers, commit->producers_gone.items[i].id))
            commit->producers_gone.items[kept++] = commit->producers_gone.items[i];
    }
    commit->producers_gone.count = kept;
}

struct commit *engine_seal(struct engine *engine, struct now now)
{
    struct commit *commit = engine->gathering;
    struct run_builder holes = { 0 };

    ASSERT(engine->sealed == NULL);
    record_finish(engine, now);
    for (size_t i = 0; i < engine->dirty.count; i++) {
        struct function *function = engine->dirty.items[i];
        struct queue_state state = { .function = function->id, .highest = function->highest };
        memcpy(state.counters, function->counters, sizeof state.counters);
        queue_holes(function, &holes);
        struct run *runs = arena_alloc(commit->arena, holes.runs.count * sizeof *runs);
        if (holes.runs.count > 0)
            memcpy(runs, holes.runs.items, holes.runs.count * sizeof *runs);
        state.holes = runs;
        state.holes_count = (uint32_t)holes.runs.count;
        VEC_PUSH(&commit->queues, state);
        function->dirty = false;
    }
    VEC_DONE(&holes.runs);
    engine->dirty.count = 0;
    engine_trim(engine);
    gone_filter(engine, commit);
    commit->next_seq = engine->next_seq;
    commit->events_total = engine->events_total;
    commit->unmatched_total = engine->unmatched_total;

    struct acks acks = engine->sealed_acks;
    engine->sealed_acks = engine->acks;
    engine->acks = acks;
    engine->acks.items.count = engine->acks.refusals.count = 0;
    engine->sealed = commit;
    engine->commits_sealed++;
    engine->gathering = engine->spare;
    engine->spare = NULL;
    return commit;
}

static void acks_release(struct engine *engine, struct acks *acks, enum sluice_err code, const char *text)
{
    for (size_t i = 0; i < acks->items.count; i++) {
        const struct ack *ack = &acks->items.items[i];
        struct publish_answer answer = { .code = code, .text = text };
        if (code == SLUICE_OK) {
            answer.accepted = ack->accepted;
            answer.duplicate = ack->duplicate;
            answer.refusals = acks->refusals.items + ack->refusals_first;
            answer.refusals_count = ack->refusals_count;
        }
        engine->world.publish_answered(engine->world.ctx, ack->reply, &answer);
    }
    acks->items.count = acks->refusals.count = 0;
}

static void commit_took_effect(struct engine *engine, struct commit *commit, struct now now)
{
    for (size_t i = 0; i < commit->batches.count; i++) {
        const struct commit_batch *batch = &commit->batches.items[i];
        struct function *function = engine_function(engine, batch->function);
        ASSERT(function->uncommitted >= batch->count);
        function->uncommitted -= batch->count;
        function->unpaged += batch->count;
        rate_add(&function->arrivals, batch->count, now.mono.us);
        function_touch(engine, function);
    }
    for (size_t i = 0; i < commit->exceptions.count; i++) {
        const struct commit_exception *op = &commit->exceptions.items[i];
        struct function *function = engine_function(engine, op->row.function);
        (void)map_remove(&function->claims, claim_key(op->row.delivery), NULL);
        function->due_stale = true;
        function_touch(engine, function);
    }
}

static struct view moved(struct arena *arena, struct view view)
{
    return view.data == NULL ? view : arena_dup(arena, view);
}

/* New events are forgotten, and their producers told to come again. */
static void publishes_roll_back(struct engine *engine, struct commit *commit, const struct acks *acks)
{
    size_t kept = 0;

    for (size_t i = 0; i < commit->records.count; i++) {
        struct record record;
        const struct commit_record *at = &commit->records.items[i];
        bool whole = record_open((struct view){ commit->log.data + at->offset, at->len }, false, &record);
        ASSERT(whole);
        engine->events_total -= record.count;
    }
    engine->unmatched_total -= commit->unmatched;
    for (size_t i = 0; i < commit->batches.count; i++) {
        struct function *function = engine_function(engine, commit->batches.items[i].function);
        function->counters[QUEUE_ACCEPTED] -= commit->batches.items[i].count;
        function->uncommitted -= commit->batches.items[i].count;
    }
    for (size_t i = 0; i < commit->exceptions.count; i++) {
        const struct commit_exception *op = &commit->exceptions.items[i];
        if (!op->of_publish) {
            commit->exceptions.items[kept++] = *op;
            continue;
        }
        struct function *function = engine_function(engine, op->row.function);
        function->counters[QUEUE_ACCEPTED]--;
        function->counters[QUEUE_EXCEPTIONS]--;
        (void)map_remove(&function->claims, claim_key(op->row.delivery), NULL);
    }
    commit->exceptions.count = kept;
    for (size_t i = 0; i < acks->items.count; i++) {
        const struct ack *ack = &acks->items.items[i];
        if (ack->has_producer)
            producers_undo(engine->producers, ack->producer, ack->epoch, ack->sequence);
    }
    bytes_clear(&commit->log);
    commit->records.count = commit->batches.count = commit->producers.count = 0;
    commit->unmatched = 0;
}

/* There was no room. What was published goes, also what has been gathered since: it came after what is forgotten now, a producer's
 * batches apply in order, and it may answer for a batch that is no longer there. What settles old events goes to the front of the
 * commit being gathered. */
static void commit_roll_back(struct engine *engine, struct commit *commit, struct now now)
{
    struct commit *into = engine->gathering;
    VEC(struct commit_exception) exceptions = { 0 };

    record_finish(engine, now);
    publishes_roll_back(engine, into, &engine->acks);
    publishes_roll_back(engine, commit, &engine->sealed_acks);
    for (size_t i = 0; i < commit->exceptions.count; i++) {
        struct commit_exception op = commit->exceptions.items[i];
        op.row.reason = moved(into->arena, op.row.reason);
        op.row.message = moved(into->arena, op.row.message);
        op.row.output = moved(into->arena, op.row.output);
        op.row.envelope = moved(into->arena, op.row.envelope);
        VEC_PUSH(&exceptions, op);
    }
    for (size_t i = 0; i < into->exceptions.count; i++)
        VEC_PUSH(&exceptions, into->exceptions.items[i]);
    VEC_DONE(&into->exceptions);
    into->exceptions.items = exceptions.items;
    into->exceptions.count = exceptions.count;
    into->exceptions.capacity = exceptions.capacity;
    for (size_t i = 0; i < commit->queues.count; i++)
        function_dirty(engine, engine_function(engine, commit->queues.items[i].function));
    for (size_t i = 0; i < commit->trims.count; i++)
        VEC_PUSH(&into->trims, commit->trims.items[i]);
    for (size_t i = 0; i < commit->producers_gone.count; i++)
        VEC_PUSH(&into->producers_gone, commit->producers_gone.items[i]);
    for (size_t i = 0; i < commit->functions.count; i++) {
        struct function_row row = commit->functions.items[i];
        row.name = moved(into->arena, row.name);
        VEC_PUSH(&into->functions, row);
    }
    for (size_t i = 0; i < commit->targets.count; i++)
        VEC_PUSH(&into->targets, commit->targets.items[i]);
    if (into->revision == 0)
        into->revision = commit->revision;
}

void engine_committed(struct engine *engine, struct commit *commit, bool durable, struct now now)
{
    static const char full_text[] = "the disk is full; free some space, then send again";

    ASSERT(commit == engine->sealed);
    if (durable) {
        commit_took_effect(engine, commit, now);
        engine->commit_durable = engine->commits_sealed; /* one is out at a time */
        engine->committed_seq = commit->next_seq;
        engine->trim_at_us = mono_after(now, TRIM_IDLE_MS);
        acks_release(engine, &engine->sealed_acks, SLUICE_OK, NULL);
    } else {
        commit_roll_back(engine, commit, now);
        acks_release(engine, &engine->sealed_acks, SLUICE_ELIMIT, full_text);
        acks_release(engine, &engine->acks, SLUICE_ELIMIT, full_text);
    }
    commit_reset(commit);
    engine->sealed = NULL;
    engine->spare = commit;
}
