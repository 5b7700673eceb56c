/* control_rules.c - the rules in force, and taking others. */
#include "broker/daemon/control_internal.h"

#include "broker/daemon/reload.h"

static const char *input_text(enum target_input input)
{
    switch (input) {
    case TARGET_INPUT_EVENT: return "event";
    case TARGET_INPUT_PATH: return "path";
    case TARGET_INPUT_CONSTANT: return "constant";
    case TARGET_INPUT_TEMPLATE: return "template";
    }
    return NULL;
}

/* `texts` false: a rule of many long constants would not fit a reply. */
/* NOLINTNEXTLINE(misc-no-recursion): it is jansson that may free a tree, of rows of our own making */
static json_t *rule_row(const struct rule_info *info, bool texts)
{
    const struct config_rule *rule = info->config;
    json_t *targets = json_array();

    for (unsigned i = 0; i < rule->targets_count; i++) {
        const struct config_target *target = &rule->targets[i];
        json_t *row = json_pack("{s:o,s:s,s:o}", "function", json_text(target->function), "input", input_text(target->input), "text",
                                json_text(texts ? target->text : NULL));
        ASSERT(row != NULL);
        (void)json_array_append_new(targets, row);
    }
    json_t *row = json_pack("{s:o,s:o,s:b,s:o,s:o,s:I,s:o,s:I}", "name", json_text(rule->name), "bus", json_text(rule->bus), "enabled",
                            (int)rule->enabled, "pattern", json_text(rule->pattern), "targets", targets, "matched", (json_int_t)info->matched,
                            "file", json_text(rule->file), "line", (json_int_t)rule->line);
    ASSERT(row != NULL);
    if (!texts || json_bytes(row) <= ROW_BYTES_MAX)
        return row;
    json_decref(row);
    return rule_row(info, false);
}

/* The index of the first rule whose name is greater: the configuration is in order of name. */
static size_t rule_after(const struct engine *engine, const char *name)
{
    size_t low = 0, high = engine_rules_count(engine);

    while (low < high) {
        struct rule_info info;
        size_t middle = low + (high - low) / 2;
        engine_rule_info(engine, middle, &info);
        if (strcmp(info.config->name, name) > 0)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

json_t *control_rule_list(struct call *call)
{
    const struct engine *engine = call->control->broker->engine;
    const char *cursor = call_text(call, "cursor");
    struct page page = page_new(call);
    struct rule_info info = { 0 };
    size_t count = engine_rules_count(engine), i = cursor == NULL ? 0 : rule_after(engine, cursor);

    for (; i < count && !page_full(&page); i++) {
        engine_rule_info(engine, i, &info);
        page_put(&page, rule_row(&info, true));
    }
    /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): a full page has a rule in it */
    return page_done(&page, "rules", i < count ? info.config->name : NULL);
}

json_t *control_reload(struct call *call)
{
    if (call_park(call, PARKED_RELOAD), call->error.code == SLUICE_OK)
        call->reload = reload_ask(call->control->broker->reload);
    return NULL;
}

void control_reloaded(struct control *control, uint64_t number, bool loaded, struct view errors)
{
    struct engine_totals totals;

    engine_totals(control->broker->engine, &totals);
    LIST_EACH(at, &control->parked) {
        struct call *call = LIST_OWNER(at, struct call, link);
        if (call->parked_for != PARKED_RELOAD || call->reload != number)
            continue;
        json_t *result = json_pack("{s:b,s:I,s:o}", "loaded", (int)loaded, "revision", (json_int_t)totals.revision, "errors",
                                   json_view(errors.len == 0 ? VIEW_LITERAL("") : errors));
        ASSERT(result != NULL);
        if (loaded)
            call_finish_when_durable(call, result);
        else
            call_finish(call, result);
    }
}
