/* rules.c - the rules of a configuration become a match set for each bus, and those of one configuration become those of the next.
 *
 * In a match set rules go by *numbers*, which a rule keeps from one configuration to the next, whatever comes before it by name:
 * bus_rules.places leads from a number to the rule's place in the configuration. So a reload that changed a few rules is a small
 * update of the set in force (match_set_update()), whatever the number of rules; one that changed many compiles anew.
 *
 * An updated set costs every event a second walk. Hence the background work: on a thread of the caller's choice the set is made whole,
 * numbers counting from 0 in the order of the configuration, and takes the place of the updated one in no time. When a configuration
 * comes first, what was made of the old one is thrown away and made again.
 *
 * Any number of threads may be at it, one with a merge and others with preparations: what they read never changes and is held by
 * each of them, and only the engine's thread puts a pointer in the place of another. */
#include "broker/core/engine_internal.h"

enum { NUMBER_NONE = UINT32_MAX };

/* ---- one bus's rules, held ---- */

/* Of so many numbers, in order; the places and the set are left to the caller. */
static struct bus_rules *bus_rules_new(size_t count)
{
    struct bus_rules *rules = malloc(sizeof *rules);

    ASSERT(rules != NULL);
    *rules = (struct bus_rules){ .places = malloc((count + 1) * sizeof *rules->places), .count = count, .in_order = true, .holders = 1 };
    ASSERT(rules->places != NULL);
    return rules;
}

struct bus_rules *bus_rules_hold(struct bus_rules *rules)
{
    if (rules != NULL)
        (void)__atomic_add_fetch(&rules->holders, 1, __ATOMIC_RELAXED);
    return rules;
}

void bus_rules_release(struct bus_rules *rules)
{
    if (rules == NULL || __atomic_sub_fetch(&rules->holders, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    match_set_free(rules->set);
    free(rules->places);
    free(rules);
}

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
static struct match_set *saved_set(const struct world *world, const char *bus, const struct match_rule *rules, size_t count)
{
    if (count < RULES_SAVED_MIN || world->rules_open == NULL)
        return NULL;
    uint64_t fingerprint = match_rules_fingerprint(rules, count);
    struct match_set *set = world->rules_open(world->ctx, bus, fingerprint);
    ASSERT(set == NULL || match_set_fingerprint(set) == fingerprint);
    if (set != NULL && match_set_cost(set).rules != count) /* that much is no accident, but it must not lead outside */
        set = match_set_free(set);
    return set;
}

static enum sluice_err bus_make_whole(const struct preparation *preparation, const uint32_t *rules, size_t count, struct bus *bus,
                                      struct sluice_error *reterr)
{
    enum sluice_err err = SLUICE_OK;
    struct match_rule *list = numbered(preparation->next->config, rules, count);
    struct match_set *set = saved_set(&preparation->world, bus->name, list, count);

    if (set == NULL) {
        err = match_set_new(list, count, &set, NULL, reterr);
        bus->unsaved = count >= RULES_SAVED_MIN;
    }
    free(list);
    if (err != SLUICE_OK)
        return err;
    bus->rules = bus_rules_new(count);
    bus->rules->set = set;
    memcpy(bus->rules->places, rules, count * sizeof *rules);
    return SLUICE_OK;
}

/* ---- from one configuration to the next ---- */

/* Both are in order of name. Where one is not, rules seem to have gone and come, which is as right and only slower. */
uint32_t *rules_places_before(const struct preparation *preparation)
{
    const struct config *next = preparation->next->config, *base = preparation->base == NULL ? NULL : preparation->base->config;
    uint32_t *places = malloc((next->rules_count + 1) * sizeof *places), count = base == NULL ? 0 : base->rules_count;

    ASSERT(places != NULL);
    for (uint32_t r = 0, old = 0; r < next->rules_count; r++) {
        int order = -1;
        while (old < count && (order = strcmp(base->rules[old].name, next->rules[r].name)) < 0)
            old++;
        places[r] = old < count && order == 0 ? old : NUMBER_NONE;
    }
    return places;
}

/* By place in the base's configuration: the number in the set of its bus; NUMBER_NONE: it is in none. */
static uint32_t *numbers_before(const struct preparation *preparation)
{
    const struct ruleset *base = preparation->base;
    size_t count = base == NULL ? 0 : base->config->rules_count;
    uint32_t *numbers = malloc((count + 1) * sizeof *numbers);

    ASSERT(numbers != NULL);
    memset(numbers, 0xFF, (count + 1) * sizeof *numbers);
    for (size_t b = 0; base != NULL && b < base->buses_count; b++) {
        const struct bus_rules *rules = preparation->before[b].rules;
        for (uint32_t n = 0; rules != NULL && n < rules->count; n++)
            if (rules->places[n] != NUMBER_NONE)
                numbers[rules->places[n]] = n;
    }
    return numbers;
}

/* What is known of the rules before, to compare those of a bus with. */
struct before {
    const struct config *config;
    const uint32_t *places;      /* by place in the next configuration: that of the rule of the same name before, or NUMBER_NONE */
    const uint32_t *numbers;
};

struct changes {
    VEC(struct match_rule) put;
    VEC(uint32_t) removed;
};

/* Numbers the rules of a bus that was there before, and says what has changed. */
static struct bus_rules *bus_compare(const struct config *config, const struct before *before, const struct bus_rules *old, const uint32_t *rules,
                                     size_t count, struct changes *changes)
{
    struct bus_rules *made = bus_rules_new(old->count + count);
    size_t numbers = old->count;

    memset(made->places, 0xFF, (old->count + count + 1) * sizeof *made->places);
    for (size_t i = 0; i < count; i++) {
        const struct config_rule *rule = &config->rules[rules[i]];
        uint32_t place = before->places[rules[i]], number = place == NUMBER_NONE ? NUMBER_NONE : before->numbers[place];
        if (number != NUMBER_NONE && strcmp(before->config->rules[place].bus, rule->bus) != 0)
            number = NUMBER_NONE; /* it has moved here from another bus */
        bool changed = number == NUMBER_NONE || strcmp(before->config->rules[place].pattern, rule->pattern) != 0;
        if (number == NUMBER_NONE)
            number = (uint32_t)numbers++;
        if (changed)
            VEC_PUSH(&changes->put, (struct match_rule){ .pattern = view_of(rule->pattern), .id = number });
        made->places[number] = rules[i];
    }
    for (uint32_t n = 0; n < old->count; n++)
        if (old->places[n] != NUMBER_NONE && made->places[n] == NUMBER_NONE)
            VEC_PUSH(&changes->removed, n);
    made->count = numbers;
    for (uint32_t n = 0, last = 0; n < numbers && made->in_order; n++) {
        made->in_order = made->places[n] == NUMBER_NONE || made->places[n] >= last;
        last = made->places[n] == NUMBER_NONE ? last : made->places[n];
    }
    return made;
}

/* false: so much has changed that the set is better made anew; the bus is as it was. */
static bool bus_update(const struct config *config, const struct before *before, const struct bus *old, const uint32_t *rules, size_t count,
                       struct bus *bus, enum sluice_err *ret_err, struct sluice_error *reterr)
{
    struct changes changes = { 0 };
    enum sluice_err err = SLUICE_OK;
    struct bus_rules *made = bus_compare(config, before, old->rules, rules, count, &changes);
    size_t changed = changes.put.count + changes.removed.count;
    bool few = changes.put.count <= MATCH_DELTA_MAX && changed * 2 <= count;

    if (few && changed == 0) {
        made->set = match_set_share(old->rules->set);
        bus->unsaved = old->unsaved;
    } else if (few) {
        err = match_set_update(old->rules->set, changes.put.items, changes.put.count, changes.removed.items, changes.removed.count, &made->set,
                               reterr);
        few = err != SLUICE_ELIMIT; /* with those since it was last made whole it is too many */
    }
    VEC_DONE(&changes.put);
    VEC_DONE(&changes.removed);
    if (few && err == SLUICE_OK)
        bus->rules = made;
    else
        bus_rules_release(made);
    *ret_err = err;
    return few;
}

enum sluice_err rules_compile(struct preparation *preparation, const uint32_t *places_before, struct sluice_error *reterr)
{
    enum sluice_err err = SLUICE_OK;
    struct ruleset *next = preparation->next, *base = preparation->base;
    const struct config *config = next->config;

    while (config->buses[next->buses_count] != NULL)
        next->buses_count++;
    next->buses = arena_zalloc(next->arena, (next->buses_count + 1) * sizeof *next->buses);
    for (size_t b = 0; b < next->buses_count; b++) {
        next->buses[b].name = arena_text(next->arena, view_of(config->buses[b]));
        names_put(&next->bus_ids, view_of(next->buses[b].name), (uint32_t)b);
    }
    struct grouped grouped = grouped_of(config, next);
    uint32_t *numbers = numbers_before(preparation);
    struct before before = { .config = base == NULL ? NULL : base->config, .places = places_before, .numbers = numbers };
    for (size_t b = 0; b < next->buses_count && err == SLUICE_OK; b++) {
        struct bus *bus = &next->buses[b];
        const uint32_t *rules = grouped.rules + grouped.first[b];
        size_t count = grouped.first[b + 1] - grouped.first[b];
        uint32_t known;
        const struct bus *old = base != NULL && names_get(&base->bus_ids, view_of(bus->name), &known) ? &preparation->before[known] : NULL;
        if (count == 0)
            continue;
        if (old == NULL || old->rules == NULL || !bus_update(config, &before, old, rules, count, bus, &err, reterr))
            err = bus_make_whole(preparation, rules, count, bus, reterr);
    }
    free(numbers);
    grouped_done(&grouped);
    return err;
}

/* ---- an event's rules ---- */

static int compare_places(const void *left, const void *right)
{
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;

    return (a > b) - (a < b);
}

void rules_of_numbers(const struct bus_rules *rules, const uint32_t *numbers, size_t count, uint32_t *ret_rules)
{
    for (size_t i = 0; i < count; i++) {
        ASSERT(numbers[i] < rules->count);
        ret_rules[i] = rules->places[numbers[i]];
    }
    if (!rules->in_order && count > 1)
        qsort(ret_rules, count, sizeof *ret_rules, compare_places);
}

/* ---- background work ---- */

struct rules_work {
    struct ruleset *ruleset;     /* held: in force when it began */
    char *bus;
    uint64_t revision;
    bool merges;
    struct bus_rules *rules;     /* a save's: those in force, held. A merge's: whole; after its end, those it took the place of */
    enum sluice_err err;
    struct sluice_error error;
};

struct rules_work *engine_rules_work(struct engine *engine)
{
    if (engine->rules_working || engine->rules_settled || engine->ruleset == NULL) /* asked every turn, and there may be a thousand buses */
        return NULL;
    for (size_t b = 0; b < engine->ruleset->buses_count; b++) {
        struct bus *bus = &engine->ruleset->buses[b];
        bool merges = bus->rules != NULL && match_set_cost(bus->rules->set).changes > 0 && engine->rules_unmergeable != engine->revision;
        if (bus->rules == NULL || (!merges && (!bus->unsaved || engine->world.rules_open == NULL)))
            continue;
        struct rules_work *work = malloc(sizeof *work);
        ASSERT(work != NULL);
        *work = (struct rules_work){ .ruleset = ruleset_hold(engine->ruleset), .bus = strdup(bus->name), .revision = engine->revision,
                                     .merges = merges };
        ASSERT(work->bus != NULL);
        if (!merges) {
            bus->unsaved = false; /* once: a disk that refuses it will not be asked again before the next change */
            work->rules = bus_rules_hold(bus->rules);
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
    const struct config *config = work->ruleset->config;
    struct bus_rules *rules = bus_rules_new(config->rules_count);
    rules->count = 0;
    for (uint32_t r = 0; r < config->rules_count; r++)
        if (config->rules[r].enabled && strcmp(config->rules[r].bus, work->bus) == 0)
            rules->places[rules->count++] = r;
    struct match_rule *list = numbered(config, rules->places, rules->count);
    work->err = match_set_new(list, rules->count, &rules->set, NULL, &work->error);
    free(list);
    if (work->err == SLUICE_OK)
        work->rules = rules;
    else
        bus_rules_release(rules);
}

struct match_set *rules_work_saves(const struct rules_work *work, const char **ret_bus)
{
    *ret_bus = work->bus;
    return work->rules != NULL && work->rules->count >= RULES_SAVED_MIN ? work->rules->set : NULL;
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
    } else if (work->merges && work->rules != NULL && work->ruleset == engine->ruleset) {
        bool known = names_get(&engine->ruleset->bus_ids, view_of(work->bus), &index);
        ASSERT(known);
        struct bus *bus = &engine->ruleset->buses[index];
        struct bus_rules *before = bus->rules;
        engine_log(engine, LOG_INFO, "event=rules-merged bus=%s rules=%zu changes=%zu", work->bus, work->rules->count,
                   match_set_cost(before->set).changes);
        bus->rules = work->rules;
        bus->unsaved = false; /* the work's own thread has done so, or could not */
        work->rules = before;
    }
}

void rules_work_free(struct rules_work *work)
{
    if (work == NULL)
        return;
    bus_rules_release(work->rules);
    ruleset_release(work->ruleset);
    free(work->bus);
    free(work);
}
