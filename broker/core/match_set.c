#include "broker/core/match_set.h"

#include <stdlib.h>

#include "broker/base/assert.h"
#include "broker/core/compile.h"

/* ---- parts ---- */

static struct match_part *part_new(const struct image *image, void (*release)(void *ctx), void *ctx)
{
    struct match_part *part = malloc(sizeof *part);

    if (part != NULL)
        *part = (struct match_part){ .image = *image, .release = release, .ctx = ctx, .sets_count = 1 };
    return part;
}

static struct match_part *part_share(struct match_part *part)
{
    (void)__atomic_add_fetch(&part->sets_count, 1, __ATOMIC_RELAXED);
    return part;
}

static void part_free(struct match_part *part)
{
    if (part == NULL || __atomic_sub_fetch(&part->sets_count, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    part->release(part->ctx);
    free(part);
}

/* `order`: indexes of the rules by ascending id. */
static enum sluice_err part_compile(const struct match_rule *rules, const uint32_t *order, size_t count, struct match_part **ret_part,
                                    size_t *ret_rule, struct sluice_error *reterr)
{
    struct compile *compile = compile_new(count);
    enum sluice_err err = compile == NULL ? sluice_fail(reterr, SLUICE_ENOMEM, "out of memory for %zu rules", count) : SLUICE_OK;
    struct image image;
    void *base = NULL;
    size_t bytes = 0;

    for (size_t i = 0; i < count && err == SLUICE_OK; i++) {
        err = compile_add(compile, &rules[order[i]], reterr);
        if (err != SLUICE_OK && ret_rule != NULL)
            *ret_rule = order[i];
    }
    if (err == SLUICE_OK)
        err = compile_finish(compile, &base, &bytes, reterr);
    compile_free(compile);
    if (err != SLUICE_OK)
        return err;
    image_bind_own(base, bytes, &image);
    *ret_part = part_new(&image, free, base);
    if (*ret_part == NULL) {
        free(base);
        return sluice_fail(reterr, SLUICE_ENOMEM, "out of memory for %zu rules", count);
    }
    return SLUICE_OK;
}

/* ---- whole sets ---- */

struct ordered_rule {
    uint32_t id, index;
};

static int compare_rules(const void *left, const void *right)
{
    const struct ordered_rule *a = left, *b = right;

    return (a->id > b->id) - (a->id < b->id);
}

/* Indexes by ascending id; owned. NULL: out of memory. */
static uint32_t *order_of(const struct match_rule *rules, size_t count)
{
    struct ordered_rule *ordered = malloc((count + 1) * sizeof *ordered);
    uint32_t *order = malloc((count + 1) * sizeof *order);
    bool sorted = true;

    if (ordered == NULL || order == NULL) {
        free(ordered);
        free(order);
        return NULL;
    }
    for (size_t i = 0; i < count; i++) {
        ordered[i] = (struct ordered_rule){ .id = rules[i].id, .index = (uint32_t)i };
        sorted &= i == 0 || rules[i - 1].id < rules[i].id;
    }
    if (!sorted)
        qsort(ordered, count, sizeof *ordered, compare_rules);
    for (size_t i = 0; i < count; i++) {
        ASSERT(i == 0 || ordered[i - 1].id != ordered[i].id);
        order[i] = ordered[i].index;
    }
    free(ordered);
    return order;
}

enum sluice_err match_set_new(const struct match_rule *rules, size_t rules_count, struct match_set **ret_set,
                              size_t *ret_rule, struct sluice_error *reterr)
{
    if (rules_count > MATCH_RULES_MAX)
        return sluice_fail(reterr, SLUICE_ELIMIT, "more than %d rules", MATCH_RULES_MAX);
    struct match_set *set = calloc(1, sizeof *set);
    uint32_t *order = order_of(rules, rules_count);
    enum sluice_err err = set == NULL || order == NULL ? sluice_fail(reterr, SLUICE_ENOMEM, "out of memory for %zu rules", rules_count)
                                                       : part_compile(rules, order, rules_count, &set->base, ret_rule, reterr);
    free(order);
    if (err != SLUICE_OK) {
        free(set);
        return err;
    }
    *ret_set = set;
    return SLUICE_OK;
}

struct match_set *match_set_free(struct match_set *set)
{
    if (set == NULL || __atomic_fetch_sub(&set->more_owners, 1, __ATOMIC_ACQ_REL) > 0)
        return NULL;
    part_free(set->base);
    part_free(set->delta);
    arena_free(set->arena);
    free(set->put);
    free(set->dead);
    free(set);
    return NULL;
}

struct match_set *match_set_share(struct match_set *set)
{
    (void)__atomic_add_fetch(&set->more_owners, 1, __ATOMIC_RELAXED);
    return set;
}

/* ---- changes ---- */

/* The place of `id` among the rules of the base. false: it is not there. */
static bool base_find(const struct match_set *set, uint32_t id, uint32_t *ret_rule)
{
    const struct image *image = &set->base->image;
    uint32_t low = 0, high = image->rules_count;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (image->rules[middle] < id)
            low = middle + 1;
        else
            high = middle;
    }
    *ret_rule = low;
    return low < image->rules_count && image->rules[low] == id;
}

/* false: it is not there, or was removed before. */
static bool base_remove(struct match_set *set, uint32_t id)
{
    uint32_t rule;

    if (!base_find(set, id, &rule) || (set->dead[rule / 64] >> rule % 64 & 1) != 0)
        return false;
    set->dead[rule / 64] |= UINT64_C(1) << rule % 64;
    set->dead_count++;
    return true;
}

static bool put_remove(struct match_set *set, uint32_t id)
{
    for (size_t i = 0; i < set->put_count; i++) {
        if (set->put[i].id != id)
            continue;
        memmove(&set->put[i], &set->put[i + 1], (set->put_count - i - 1) * sizeof *set->put);
        set->put_count--;
        return true;
    }
    return false;
}

static enum sluice_err copy_changes(struct match_set *set, const struct match_set *from, size_t more)
{
    enum { ARENA_BLOCK_BYTES = 64 << 10 };
    size_t words = (size_t)from->base->image.rules_count / 64 + 1;

    set->base = part_share(from->base);
    set->arena = arena_new(ARENA_BLOCK_BYTES);
    set->put = malloc((from->put_count + more + 1) * sizeof *set->put);
    set->dead = calloc(words, sizeof *set->dead);
    if (set->put == NULL || set->dead == NULL)
        return SLUICE_ENOMEM;
    if (from->dead != NULL)
        memcpy(set->dead, from->dead, words * sizeof *set->dead);
    set->dead_count = from->dead_count;
    for (; set->put_count < from->put_count; set->put_count++)
        set->put[set->put_count] = (struct match_rule){ .id = from->put[set->put_count].id,
                                                        .pattern = arena_dup(set->arena, from->put[set->put_count].pattern) };
    return SLUICE_OK;
}

static enum sluice_err apply_changes(struct match_set *set, const struct match_rule *put, size_t put_count, const uint32_t *removed,
                                     size_t removed_count, struct sluice_error *reterr)
{
    for (size_t i = 0; i < removed_count; i++)
        if (!put_remove(set, removed[i]) && !base_remove(set, removed[i]))
            return sluice_fail(reterr, SLUICE_ENOTFOUND, "there is no rule number %u to remove", (unsigned)removed[i]);
    for (size_t i = 0; i < put_count; i++) {
        if (!put_remove(set, put[i].id))
            (void)base_remove(set, put[i].id); /* a new one is in neither */
        set->put[set->put_count++] = (struct match_rule){ .id = put[i].id, .pattern = arena_dup(set->arena, put[i].pattern) };
    }
    if (set->put_count > MATCH_DELTA_MAX)
        return sluice_fail(reterr, SLUICE_ELIMIT, "more than %d rules changed since the rule index was made", MATCH_DELTA_MAX);
    if (set->base->image.rules_count - set->dead_count + set->put_count > MATCH_RULES_MAX)
        return sluice_fail(reterr, SLUICE_ELIMIT, "more than %d rules", MATCH_RULES_MAX);
    return SLUICE_OK;
}

enum sluice_err match_set_update(const struct match_set *set, const struct match_rule *put, size_t put_count, const uint32_t *removed,
                                 size_t removed_count, struct match_set **ret_set, struct sluice_error *reterr)
{
    struct match_set *updated = calloc(1, sizeof *updated);
    uint32_t *order = NULL;

    if (updated == NULL || copy_changes(updated, set, put_count) != SLUICE_OK) {
        match_set_free(updated);
        return sluice_fail(reterr, SLUICE_ENOMEM, "out of memory for %zu changed rules", put_count);
    }
    enum sluice_err err = apply_changes(updated, put, put_count, removed, removed_count, reterr);
    if (err == SLUICE_OK && updated->put_count > 0) {
        order = order_of(updated->put, updated->put_count);
        err = order == NULL ? sluice_fail(reterr, SLUICE_ENOMEM, "out of memory for %zu changed rules", put_count)
                            : part_compile(updated->put, order, updated->put_count, &updated->delta, NULL, reterr);
    }
    free(order);
    struct match_cost cost = err == SLUICE_OK ? match_set_cost(updated) : (struct match_cost){ 0 };
    if (cost.price > MATCH_PRICE_MAX || cost.join_steps > MATCH_STEPS_MAX)
        err = sluice_fail(reterr, SLUICE_ELIMIT, "with the changed rules one event could cost more than any may: %llu rules looked at of %d, "
                          "%llu steps to join array items of %d", (unsigned long long)cost.price, MATCH_PRICE_MAX,
                          (unsigned long long)cost.join_steps, MATCH_STEPS_MAX);
    if (err != SLUICE_OK) {
        match_set_free(updated);
        return err;
    }
    *ret_set = updated;
    return SLUICE_OK;
}

/* ---- saving and opening ---- */

enum sluice_err match_set_image(struct match_set *set, struct view *ret_image, struct sluice_error *reterr)
{
    struct image *image = &set->base->image;

    if (set->delta != NULL || set->dead_count > 0)
        return sluice_fail(reterr, SLUICE_EINVAL, "the rule index has changes that are not in its image; make it whole first");
    image_seal(image);
    *ret_image = (struct view){ .data = image->base, .len = image->bytes };
    return SLUICE_OK;
}

enum sluice_err match_set_open(struct view bytes, void (*release)(void *ctx), void *ctx, struct match_set **ret_set,
                               struct sluice_error *reterr)
{
    struct image image;
    enum sluice_err err = image_bind(bytes, &image, reterr);

    if (err != SLUICE_OK)
        return err;
    struct match_set *set = calloc(1, sizeof *set);
    if (set != NULL)
        set->base = part_new(&image, release, ctx);
    if (set == NULL || set->base == NULL) {
        free(set);
        return sluice_fail(reterr, SLUICE_ENOMEM, "out of memory for a rule index");
    }
    *ret_set = set;
    return SLUICE_OK;
}

uint64_t match_set_fingerprint(const struct match_set *set)
{
    return set->base->image.fingerprint;
}

uint64_t match_rules_fingerprint(const struct match_rule *rules, size_t rules_count)
{
    uint64_t fingerprint = 0;

    for (size_t i = 0; i < rules_count; i++) {
        ASSERT(i == 0 || rules[i - 1].id < rules[i].id);
        fingerprint = compile_fingerprint(fingerprint, &rules[i]);
    }
    return fingerprint;
}

struct match_cost match_set_cost(const struct match_set *set)
{
    const struct image *parts[] = { &set->base->image, set->delta == NULL ? NULL : &set->delta->image };
    struct match_cost cost = { .changes = set->dead_count + set->put_count, .bytes = sizeof *set };

    for (size_t i = 0; i < 2 && parts[i] != NULL; i++) {
        cost.rules += parts[i]->rules_count;
        cost.conjunctions += parts[i]->conjunctions_count;
        cost.predicates += parts[i]->predicates_count;
        cost.paths += parts[i]->paths_count;
        cost.bytes += parts[i]->bytes;
        cost.text_bytes += parts[i]->texts_count;
        cost.price += parts[i]->price;
        cost.join_steps += parts[i]->join_steps;
    }
    cost.rules -= set->dead_count;
    return cost;
}
