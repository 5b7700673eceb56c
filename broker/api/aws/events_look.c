/* events_look.c - rules, targets and buses as EventBridge's API shows them, and TestEventPattern. All but the last is the configuration's. */
#include "broker/api/aws/json_services.h"
#include "broker/core/match.h"

enum {
    PAGE_MAX = 100,
    PAGE_BYTES_MAX = 1 << 20,
    RULES_LOOKED_MAX = 100000,           /* rules passed over for one page: a page may be short, or empty, and have a NextToken */
    TEST_PATTERN_BYTES_MAX = 4096, TEST_EVENT_BYTES_MAX = EVENT_BYTES_MAX,
};

static const struct config *config_of(const struct call *call)
{
    return call->api->hands.config(call->api->hands.ctx);
}

static struct bytes *answer_begin(struct call *call)
{
    bytes_clear(&call->api->text);
    return &call->api->text;
}

/* ---- what a list is asked for ---- */

struct asked {
    struct bytes texts;
    struct view name, prefix, bus, token;  /* bus: its name, "default" if none is named */
    unsigned limit;
};

/* false: refused. */
static bool asked_read(struct call *call, struct view object, const char *name, struct asked *ret_asked)
{
    struct view limit;

    *ret_asked = (struct asked){ .limit = PAGE_MAX };
    if (!bytes_reserve(&ret_asked->texts, object.len) || !json_text_member(call, object, name, &ret_asked->texts, &ret_asked->name) ||
        !json_text_member(call, object, "NamePrefix", &ret_asked->texts, &ret_asked->prefix) ||
        !json_text_member(call, object, "EventBusName", &ret_asked->texts, &ret_asked->bus) ||
        !json_text_member(call, object, "NextToken", &ret_asked->texts, &ret_asked->token))
        return false;
    ret_asked->bus = ret_asked->bus.len == 0 ? VIEW_LITERAL(EVENT_BUS_DEFAULT) : bus_name_of(ret_asked->bus);
    if (!json_member(object, VIEW_LITERAL("Limit"), &limit) || view_is(limit, "null"))
        return true;
    ret_asked->limit = 0;
    for (size_t i = 0; i < limit.len && limit.data[i] >= '0' && limit.data[i] <= '9' && ret_asked->limit <= PAGE_MAX; i++)
        ret_asked->limit = ret_asked->limit * 10 + (unsigned)(limit.data[i] - '0');
    if (ret_asked->limit >= 1 && ret_asked->limit <= PAGE_MAX)
        return true;
    json_service_refuse(call, 400, "ValidationException", "Limit must be from 1 to %d.", PAGE_MAX);
    return false;
}

static int name_compare(const char *name, struct view text)
{
    size_t len = strlen(name);
    int order = memcmp(name, text.data == NULL ? "" : text.data, len < text.len ? len : text.len);

    return order != 0 ? order : (len > text.len) - (len < text.len);
}

/* The place of the first of `count` sorted names behind `token`, or at `prefix`. */
static unsigned page_first(const struct asked *asked, unsigned count, const char *(*name_at)(const struct config *config, unsigned index),
                           const struct config *config)
{
    bool behind = asked->token.data != NULL && (asked->prefix.data == NULL || asked->token.len >= asked->prefix.len);
    unsigned low = 0, high = count;

    while (low < high) {
        unsigned middle = low + (high - low) / 2;
        int order = name_compare(name_at(config, middle), behind ? asked->token : asked->prefix);
        if (order < 0 || (behind && order == 0))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static const char *rule_name_at(const struct config *config, unsigned index)
{
    return config->rules[index].name;
}

static const char *bus_name_at(const struct config *config, unsigned index)
{
    return config->buses[index];
}

/* ---- rules ---- */

static void put_rule(struct bytes *out, const struct config_rule *rule)
{
    bool is_default = strcmp(rule->bus, EVENT_BUS_DEFAULT) == 0;

    put_member(out, "Name", view_of(rule->name));
    bytes_put_format(out, "\"Arn\":\"arn:aws:events:" EVENT_REGION_DEFAULT ":" EVENT_ACCOUNT_DEFAULT ":rule/%s%s%s\",",
                     is_default ? "" : rule->bus, is_default ? "" : "/", rule->name); /* names need no escapes */
    put_member(out, "EventPattern", view_of(rule->pattern));
    put_member(out, "State", view_of(rule->enabled ? "ENABLED" : "DISABLED"));
    put_member(out, "EventBusName", view_of(rule->bus));
}

void events_list_rules(struct call *call, struct view object)
{
    const struct config *config = config_of(call);
    struct bytes *out = answer_begin(call);
    struct asked asked;
    unsigned shown = 0, looked = 0;

    if (!asked_read(call, object, "Name", &asked)) {
        bytes_done(&asked.texts);
        return;
    }
    unsigned at = page_first(&asked, config->rules_count, rule_name_at, config);
    bytes_put_text(out, "{\"Rules\":[");
    for (; at < config->rules_count && shown < asked.limit && looked < RULES_LOOKED_MAX && out->len < PAGE_BYTES_MAX; at++, looked++) {
        const struct config_rule *rule = &config->rules[at];
        if (asked.prefix.len > 0 && strncmp(rule->name, asked.prefix.data, asked.prefix.len) != 0)
            at = config->rules_count - 1; /* they are sorted: none is left */
        else if (view_is(asked.bus, rule->bus)) {
            bytes_put_text(out, shown++ > 0 ? ",{" : "{");
            put_rule(out, rule);
            put_object_end(out);
        }
    }
    bytes_put_text(out, "],");
    if (at > 0 && at < config->rules_count)
        put_member(out, "NextToken", view_of(config->rules[at - 1].name));
    put_object_end(out);
    bytes_done(&asked.texts);
    json_service_respond(call, bytes_view(out));
}

/* The rule that `member` names on the bus that is asked for; NULL: refused. */
static const struct config_rule *rule_asked(struct call *call, struct view object, const char *member)
{
    char name[CONFIG_NAME_BYTES_MAX + 1] = "";
    const struct config_rule *rule = NULL;
    struct asked asked;

    if (asked_read(call, object, member, &asked)) {
        if (asked.name.len <= CONFIG_NAME_BYTES_MAX && asked.name.len > 0)
            memcpy(name, asked.name.data, asked.name.len);
        rule = config_rule_find(config_of(call), name);
        if (rule == NULL || !view_is(asked.bus, rule->bus)) {
            rule = NULL;
            json_service_refuse(call, 400, "ResourceNotFoundException", "Rule %.*s does not exist on EventBus %.*s.",
                                asked.name.len > 256 ? 256 : (int)asked.name.len, asked.name.data == NULL ? "" : asked.name.data,
                                asked.bus.len > 256 ? 256 : (int)asked.bus.len, asked.bus.data);
        }
    }
    bytes_done(&asked.texts);
    return rule;
}

void events_describe_rule(struct call *call, struct view object)
{
    const struct config_rule *rule = rule_asked(call, object, "Name");

    if (rule == NULL)
        return;
    struct bytes *out = answer_begin(call);
    bytes_put_char(out, '{');
    put_rule(out, rule);
    put_member(out, "CreatedBy", VIEW_LITERAL(EVENT_ACCOUNT_DEFAULT));
    put_object_end(out);
    json_service_respond(call, bytes_view(out));
}

void events_list_targets(struct call *call, struct view object)
{
    const struct config_rule *rule = rule_asked(call, object, "Rule");

    if (rule == NULL)
        return;
    struct bytes *out = answer_begin(call);
    bytes_put_text(out, "{\"Targets\":[");
    for (unsigned i = 0; i < rule->targets_count; i++) {
        const struct config_target *target = &rule->targets[i];
        struct function_name name = { .name = view_of(target->function) };
        bytes_put_format(out, "%s{\"Id\":\"%u\",\"Arn\":\"", i > 0 ? "," : "", i + 1);
        function_arn_put(out, &name);
        bytes_put_text(out, "\",");
        if (target->input == TARGET_INPUT_PATH)
            put_member(out, "InputPath", view_of(target->text));
        else if (target->input == TARGET_INPUT_CONSTANT)
            put_member(out, "Input", view_of(target->text));
        put_object_end(out);
    }
    bytes_put_text(out, "]}");
    json_service_respond(call, bytes_view(out));
}

/* ---- buses ---- */

static void put_bus(struct bytes *out, const char *name)
{
    put_member(out, "Name", view_of(name));
    bytes_put_text(out, "\"Arn\":\"arn:aws:events:" EVENT_REGION_DEFAULT ":" EVENT_ACCOUNT_DEFAULT ":event-bus/");
    bytes_put_text(out, name);
    bytes_put_text(out, "\"}");
}

void events_list_buses(struct call *call, struct view object)
{
    const struct config *config = config_of(call);
    struct bytes *out = answer_begin(call);
    struct asked asked;
    unsigned shown = 0;

    if (!asked_read(call, object, "Name", &asked)) {
        bytes_done(&asked.texts);
        return;
    }
    unsigned at = page_first(&asked, config->buses_count, bus_name_at, config);
    bytes_put_text(out, "{\"EventBuses\":[");
    for (; at < config->buses_count && shown < asked.limit; at++, shown++) {
        if (asked.prefix.len > 0 && strncmp(config->buses[at], asked.prefix.data, asked.prefix.len) != 0)
            break;
        bytes_put_text(out, shown > 0 ? ",{" : "{");
        put_bus(out, config->buses[at]);
    }
    bytes_put_text(out, "],");
    if (shown == asked.limit && at < config->buses_count)
        put_member(out, "NextToken", view_of(config->buses[at - 1]));
    put_object_end(out);
    bytes_done(&asked.texts);
    json_service_respond(call, bytes_view(out));
}

void events_describe_bus(struct call *call, struct view object)
{
    struct asked asked;
    struct bytes *out = answer_begin(call);
    char name[CONFIG_BUS_NAME_BYTES_MAX + 1] = EVENT_BUS_DEFAULT;

    if (asked_read(call, object, "Name", &asked)) {
        struct view bus = asked.name.len > 0 ? bus_name_of(asked.name) : VIEW_LITERAL(EVENT_BUS_DEFAULT);
        if (config_bus_known(config_of(call), bus)) {
            memcpy(name, bus.data, bus.len);
            name[bus.len] = '\0';
            bytes_put_char(out, '{');
            put_bus(out, name);
            json_service_respond(call, bytes_view(out));
        } else {
            json_service_refuse(call, 400, "ResourceNotFoundException", "Event bus %.*s does not exist.", bus.len > 256 ? 256 : (int)bus.len,
                                bus.data);
        }
    }
    bytes_done(&asked.texts);
}

/* ---- TestEventPattern ---- */

/* EventBridge wants the fields that its own events have. */
static bool event_is_whole(struct view event)
{
    static const char *const fields[] = { "id", "account", "source", "time", "region", "detail-type" };
    struct view value;

    if (event.len > TEST_EVENT_BYTES_MAX || json_check(event, JSON_OBJECT, EVENT_DEPTH_MAX, NULL) != SLUICE_OK)
        return false;
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        if (!json_member(event, view_of(fields[i]), &value))
            return false;
    }
    return true;
}

static void pattern_test(struct call *call, struct view pattern, struct view event)
{
    struct api *api = call->api;
    struct match_set *set;
    struct sluice_error error;
    const uint32_t *ids;
    size_t count;

    if (pattern.len > TEST_PATTERN_BYTES_MAX) {
        json_service_refuse(call, 400, "ValidationException", "Event pattern is longer than %d bytes.", TEST_PATTERN_BYTES_MAX);
        return;
    }
    if (match_set_new(&(struct match_rule){ .pattern = pattern, .id = 1 }, 1, &set, NULL, &error) != SLUICE_OK) {
        json_service_refuse(call, 400, "InvalidEventPatternException", "Event pattern is not valid. Reason: %s", error.text);
        return;
    }
    if (api->match == NULL)
        api->match = match_scratch_new();
    enum sluice_err err = !event_is_whole(event) || api->match == NULL ? SLUICE_EINVAL
                                                                       : match_json_checked(set, api->match, event, &ids, &count, &error);
    if (err != SLUICE_OK)
        json_service_refuse(call, 400, "ValidationException", "Parameter Event is not valid.");
    else
        json_service_respond(call, count > 0 ? VIEW_LITERAL("{\"Result\":true}") : VIEW_LITERAL("{\"Result\":false}"));
    (void)match_set_free(set);
}

void events_test_pattern(struct call *call, struct view object)
{
    struct bytes texts = { 0 };
    struct view pattern, event;

    if (bytes_reserve(&texts, object.len) && json_text_member(call, object, "EventPattern", &texts, &pattern) &&
        json_text_member(call, object, "Event", &texts, &event)) {
        if (pattern.data == NULL || event.data == NULL)
            json_service_refuse(call, 400, "ValidationException", "EventPattern and Event are required.");
        else
            pattern_test(call, pattern, event);
    }
    bytes_done(&texts);
}
