/* rules.c - the rules of a configuration become a match set for each bus, and those of one configuration become those of the next.
 *
 * In a match set rules go by *numbers*, which a rule keeps from one configuration to the next, whatever comes before it by name:
 * bus->rules leads from a number to the rule's place in the configuration in force. So a reload that changed a few rules is a small
 * update of the set in force (match_set_update()), whatever the number of rules; one that changed many compiles anew.
 *
 * An updated set costs every event a second walk. Hence the background work: on a thread of the caller's choice the set is made whole,
 * numbers counting from 0 in the order of the configuration, and takes the place of the updated one in no time. When a configuration
 * comes first, what was made of the old one is thrown away and made again. */
#include "broker/core/engine_internal.h"

enum { NUMBER_NONE = UINT32_MAX };

/* ---- which rules a bus has ---- */

/* Places of enabled rules in the configuration, bus by bus. */
struct grouped {
    uint32_t *rules;
    size_t *first;               /* by bus, and the end of the last */
};

static void grouped_done(struct grouped *grouped)
{
    free(grouped->rules);
    free(grouped->first);
}

static struct grouped grouped_of(const struct config *config, const struct ruleset *set)
{
    uint32_t *bus_of = malloc((config->rules_count + 1) * sizeof *bus_of);
    struct grouped grouped = { .rules = malloc((config->rules_count + 1) * sizeof *grouped.rules),
                               .first = calloc(set->buses_count + 2, sizeof *grouped.first) };

    ASSERT(bus_of != NULL && grouped.rules != NULL && grouped.first != NULL);
    for (uint32_t r = 0; r < config->rules_count; r++) {
        const struct config_rule *rule = &config->rules[r];
        bus_of[r] = NUMBER_NONE;
        if (!rule->enabled)
            continue;
        bool known = names_get(&set->bus_ids, view_of(rule->bus), &bus_of[r]);
        ASSERT(known); /* the configuration names every bus that a rule has */
        grouped.first[bus_of[r] + 2]++;
    }
    for (size_t b = 2; b <= set->buses_count + 1; b++)
        grouped.first[b] += grouped.first[b - 1];
    for (uint32_t r = 0; r < config->rules_count; r++)
        if (bus_of[r] != NUMBER_NONE)
            grouped.rules[grouped.first[bus_of[r] + 1]++] = r;
    free(bus_of);
    return grouped;
}

/* ---- whole sets ---- */

static struct match_rule *numbered(const struct config *config, const uint32_t *rules, size_t count)
{
    struct match_rule *list = malloc((count + 1) * sizeof *list);

    ASSERT(list != NULL);
    for (size_t i = 0; i < count; i++)
        list[i] = (struct match_rule){ .pattern = view_of(config->rules[rules[i]].pattern), .id = (uint32_t)i };
    return list;
}

/* A set saved before, if it was made of just these rules. */
static struct match_set *saved_set(const struct engine *engine, const char *bus, const struct match_rule *rules, size_t count)
{
    if (count < RULES_SAVED_MIN || engine->world.rules_open == NULL)
        return NULL;
    uint64_t fingerprint = match_rules_fingerprint(rules, count);
    struct match_set *set = engine->world.rules_open(engine->world.ctx, bus, fingerprint);
    ASSERT(set == NULL || match_set_fingerprint(set) == fingerprint);
    if (set != NULL && match_set_cost(set).rules != count) /* that much is no accident, but it must not lead outside */
        set = match_set_free(set);
    return set;
}

static enum sluice_err bus_make_whole(const struct engine *engine, const struct config *config, const uint32_t *rules, size_t count,
                                      struct bus *bus, struct sluice_error *reterr)
{
    enum sluice_err err = SLUICE_OK;
    struct match_rule *list = numbered(config, rules, count);

    bus->set = saved_set(engine, bus->name, list, count);
    if (bus->set == NULL) {
        err = match_set_new(list, count, &bus->set, NULL, reterr);
        bus->unsaved = count >= RULES_SAVED_MIN;
    }
    free(list);
    bus->rules = malloc((count + 1) * sizeof *bus->rules);
    ASSERT(bus->rules != NULL);
    memcpy(bus->rules, rules, count * sizeof *rules);
    bus->rules_count = count;
    bus->in_order = true;
    return err;
}

/* ---- from one configuration to the next ---- */

/* What is known of the configuration in force, by the place of each rule in it. */
struct before {
    uint32_t *numbers;           /* in the set of its bus; NUMBER_NONE: it is in none */
    uint32_t *places;            /* by place in the next configuration: that of the rule of the same name before, or NUMBER_NONE */
};

/* Both are in order of name. Where one is not, rules seem to have gone and come, which is as right and only slower. */
static struct before before_of(const struct engine *engine, const struct config *next)
{
    size_t count = engine->config == NULL ? 0 : engine->config->rules_count;
    struct before before = { .numbers = malloc((count + 1) * sizeof(uint32_t)), .places = malloc((next->rules_count + 1) * sizeof(uint32_t)) };

    ASSERT(before.numbers != NULL && before.places != NULL);
    memset(before.numbers, 0xFF, (count + 1) * sizeof(uint32_t));
    for (size_t b = 0; b < engine->buses_count; b++)
        for (uint32_t n = 0; n < engine->buses[b].rules_count; n++)
            if (engine->buses[b].rules[n] != NUMBER_NONE)
                before.numbers[engine->buses[b].rules[n]] = n;
    for (uint32_t r = 0, old = 0; r < next->rules_count; r++) {
        int order = -1;
        while (old < count && (order = strcmp(engine->config->rules[old].name, next->rules[r].name)) < 0)
            old++;
        before.places[r] = old < count && order == 0 ? old : NUMBER_NONE;
    }
    return before;
}

static void before_done(struct before *before)
{
    free(before->numbers);
    free(before->places);
}

struct changes {
    VEC(struct match_rule) put;
    VEC(uint32_t) removed;
};

/* Numbers the rules of a bus that was there before, and says what has changed. */
static void bus_compare(const struct engine *engine, const struct config *config, const struct before *before, const struct bus *old,
                        const uint32_t *rules, size_t count, struct bus *bus, struct changes *changes)
{
    size_t numbers = old->rules_count;

    bus->rules = malloc((old->rules_count + count + 1) * sizeof *bus->rules);
    ASSERT(bus->rules != NULL);
    memset(bus->rules, 0xFF, (old->rules_count + count + 1) * sizeof *bus->rules);
    for (size_t i = 0; i < count; i++) {
        const struct config_rule *rule = &config->rules[rules[i]];
        uint32_t place = before->places[rules[i]], number = place == NUMBER_NONE ? NUMBER_NONE : before->numbers[place];
        if (number != NUMBER_NONE && strcmp(engine->config->rules[place].bus, rule->bus) != 0)
            number = NUMBER_NONE; /* it has moved here from another bus */
        bool changed = number == NUMBER_NONE || strcmp(engine->config->rules[place].pattern, rule->pattern) != 0;
        if (number == NUMBER_NONE)
            number = (uint32_t)numbers++;
        if (changed)
            VEC_PUSH(&changes->put, (struct match_rule){ .pattern = view_of(rule->pattern), .id = number });
        bus->rules[number] = rules[i];
    }
    for (uint32_t n = 0; n < old->rules_count; n++)
        if (old->rules[n] != NUMBER_NONE && bus->rules[n] == NUMBER_NONE)
            VEC_PUSH(&changes->removed, n);
    bus->rules_count = numbers;
    bus->in_order = true;
    for (uint32_t n = 0, last = 0; n < numbers && bus->in_order; n++) {
        bus->in_order = bus->rules[n] == NUMBER_NONE || bus->rules[n] >= last;
        last = bus->rules[n] == NUMBER_NONE ? last : bus->rules[n];
    }
}

/* false: so much has changed that the set is better made anew; the bus is as it was. */
static bool bus_update(const struct engine *engine, const struct config *config, const struct before *before, struct bus *old,
                       const uint32_t *rules, size_t count, struct bus *bus, enum sluice_err *ret_err, struct sluice_error *reterr)
{
    struct changes changes = { 0 };
    enum sluice_err err = SLUICE_OK;

    bus_compare(engine, config, before, old, rules, count, bus, &changes);
    bool few = changes.put.count <= MATCH_DELTA_MAX && (changes.put.count + changes.removed.count) * 2 <= count;
    if (few && changes.put.count + changes.removed.count == 0) {
        bus->set = old->set;
        bus->borrowed = true;
        bus->unsaved = old->unsaved;
    } else if (few) {
        err = match_set_update(old->set, changes.put.items, changes.put.count, changes.removed.items, changes.removed.count, &bus->set, reterr);
        few = err != SLUICE_ELIMIT; /* with those since it was last made whole it is too many */
    }
    VEC_DONE(&changes.put);
    VEC_DONE(&changes.removed);
    if (!few) {
        free(bus->rules);
        bus->rules = NULL;
    }
    *ret_err = err;
    return few;
}

void buses_free(struct bus *buses, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!buses[i].borrowed)
            match_set_free(buses[i].set);
        free(buses[i].rules);
    }
}

enum sluice_err ruleset_compile(struct engine *engine, const struct config *config, struct ruleset *set, struct sluice_error *reterr)
{
    enum sluice_err err = SLUICE_OK;

    while (config->buses[set->buses_count] != NULL)
        set->buses_count++;
    set->buses = arena_zalloc(set->arena, (set->buses_count + 1) * sizeof *set->buses);
    for (size_t b = 0; b < set->buses_count; b++) {
        set->buses[b].name = arena_text(set->arena, view_of(config->buses[b]));
        names_put(&set->bus_ids, view_of(set->buses[b].name), (uint32_t)b);
    }
    struct grouped grouped = grouped_of(config, set);
    struct before before = before_of(engine, config);
    for (size_t b = 0; b < set->buses_count && err == SLUICE_OK; b++) {
        struct bus *bus = &set->buses[b];
        const uint32_t *rules = grouped.rules + grouped.first[b];
        size_t count = grouped.first[b + 1] - grouped.first[b];
        uint32_t known;
        struct bus *old = names_get(&engine->bus_ids, view_of(bus->name), &known) ? &engine->buses[known] : NULL;
        if (count == 0)
            continue;
        if (old == NULL || old->set == NULL || !bus_update(engine, config, &before, old, rules, count, bus, &err, reterr))
            err = bus_make_whole(engine, config, rules, count, bus, reterr);
    }
    before_done(&before);
    grouped_done(&grouped);
    return err;
}

/* From here on the sets are the new configuration's. */
void ruleset_adopt(struct engine *engine, struct ruleset *set)
{
    for (size_t b = 0; b < set->buses_count; b++) {
        uint32_t known;
        if (!set->buses[b].borrowed)
            continue;
        bool was_there = names_get(&engine->bus_ids, view_of(set->buses[b].name), &known);
        ASSERT(was_there);
        engine->buses[known].set = NULL;
        set->buses[b].borrowed = false;
    }
    buses_free(engine->buses, engine->buses_count);
    names_done(&engine->bus_ids);
    engine->buses = set->buses;
    engine->buses_count = set->buses_count;
    engine->bus_ids = set->bus_ids;
    engine->rules_settled = false;
}

/* ---- an event's rules ---- */

static int compare_places(const void *left, const void *right)
{
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;

    return (a > b) - (a < b);
}

void rules_of_numbers(const struct bus *bus, const uint32_t *numbers, size_t count, uint32_t *ret_rules)
{
    for (size_t i = 0; i < count; i++) {
        ASSERT(numbers[i] < bus->rules_count);
        ret_rules[i] = bus->rules[numbers[i]];
    }
    if (!bus->in_order && count > 1)
        qsort(ret_rules, count, sizeof *ret_rules, compare_places);
}

/* ---- background work ---- */

struct rules_work {
    const struct config *config;
    char *bus;
    uint64_t revision;
    struct match_set *set;       /* whole; of a save alone a share of the one in force */
    bool merges;
    uint32_t *rules;             /* a merge's: by number */
    size_t rules_count;
    enum sluice_err err;
    struct sluice_error error;
};

struct rules_work *engine_rules_work(struct engine *engine)
{
    if (engine->rules_working || engine->rules_settled) /* asked every turn, and there may be a thousand buses */
        return NULL;
    for (size_t b = 0; b < engine->buses_count; b++) {
        struct bus *bus = &engine->buses[b];
        bool merges = bus->set != NULL && match_set_cost(bus->set).changes > 0 && engine->rules_unmergeable != engine->revision;
        if (bus->set == NULL || (!merges && (!bus->unsaved || engine->world.rules_open == NULL)))
            continue;
        struct rules_work *work = calloc(1, sizeof *work);
        ASSERT(work != NULL);
        *work = (struct rules_work){ .config = engine->config, .bus = strdup(bus->name), .revision = engine->revision, .merges = merges };
        ASSERT(work->bus != NULL);
        if (!merges) {
            bus->unsaved = false; /* once: a disk that refuses it will not be asked again before the next change */
            work->set = match_set_share(bus->set);
            work->rules_count = bus->rules_count;
        }
        engine->rules_working = true;
        return work;
    }
    engine->rules_settled = true;
    return NULL;
}

void rules_work_run(struct rules_work *work)
{
    if (!work->merges)
        return;
    work->rules = malloc((work->config->rules_count + 1) * sizeof *work->rules);
    ASSERT(work->rules != NULL);
    for (uint32_t r = 0; r < work->config->rules_count; r++)
        if (work->config->rules[r].enabled && strcmp(work->config->rules[r].bus, work->bus) == 0)
            work->rules[work->rules_count++] = r;
    struct match_rule *list = numbered(work->config, work->rules, work->rules_count);
    work->err = match_set_new(list, work->rules_count, &work->set, NULL, &work->error);
    free(list);
}

struct match_set *rules_work_saves(const struct rules_work *work, const char **ret_bus)
{
    *ret_bus = work->bus;
    return work->rules_count >= RULES_SAVED_MIN ? work->set : NULL;
}

void engine_rules_work_end(struct engine *engine, struct rules_work *work)
{
    uint32_t index;

    ASSERT(engine->rules_working);
    engine->rules_working = false;
    if (work->merges && work->err != SLUICE_OK) {
        /* The rules are in force in two parts, and stay so. The parts had passed the limits one by one. */
        engine_log(engine, LOG_WARN, "event=rules-not-merged bus=%s reason=\"%s\"", work->bus, work->error.text);
        engine->rules_unmergeable = work->revision;
    } else if (work->merges && work->set != NULL && work->revision == engine->revision && names_get(&engine->bus_ids, view_of(work->bus), &index)) {
        struct bus *bus = &engine->buses[index];
        engine_log(engine, LOG_INFO, "event=rules-merged bus=%s rules=%zu changes=%zu", work->bus, work->rules_count,
                   match_set_cost(bus->set).changes);
        match_set_free(bus->set);
        free(bus->rules);
        *bus = (struct bus){ .name = bus->name, .set = work->set, .rules = work->rules, .rules_count = work->rules_count, .in_order = true };
        work->set = NULL;
        work->rules = NULL;
    }
    match_set_free(work->set);
    free(work->rules);
    free(work->bus);
    free(work);
}
