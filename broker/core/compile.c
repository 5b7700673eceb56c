/* Rules come apart into predicates, fields and conjunctions, each of which is kept once. Everything kept is in flat arrays and
 * one text buffer, so that a million rules are a handful of allocations. */
#include "broker/core/compile.h"

#include <stdlib.h>

#include "broker/base/assert.h"
#include "broker/core/compile_internal.h"
#include "broker/core/decimal.h"
#include "broker/core/fold.h"
#include "broker/core/pattern.h"
#include "broker/core/text_hash.h"
#include "broker/core/wildcard.h"

enum { PATTERN_ARENA_BYTES = 16 << 10, NAMES_ARENA_BYTES = 4 << 10, INDEX_MIN = 64, TEXTS_BYTES_MAX = INT32_MAX };
#define INDEX_OUTSIDE UINT64_C(0)          /* the hash of an item that is in no index */
#define INDEX_INSIDE (UINT64_C(1) << 63)   /* in every other one */

/* ---- things kept once ---- */

static uint64_t hash_of_item(const void *items, size_t item_bytes, size_t item)
{
    uint64_t hash;
    memcpy(&hash, (const char *)items + item * item_bytes, sizeof hash);
    return hash;
}

static void index_resize(struct index *index, const void *items, size_t item_bytes, size_t capacity)
{
    size_t count = index->count;

    free(index->slots);
    index->slots = malloc(capacity * sizeof *index->slots);
    ASSERT(index->slots != NULL);
    memset(index->slots, 0xFF, capacity * sizeof *index->slots);
    index->capacity = capacity;
    for (size_t i = 0; i < count; i++) {
        uint64_t hash = hash_of_item(items, item_bytes, i);
        size_t at = (size_t)hash & (capacity - 1);
        if (hash == INDEX_OUTSIDE)
            continue;
        while (index->slots[at] != IMAGE_NONE)
            at = (at + 1) & (capacity - 1);
        index->slots[at] = (uint32_t)i;
    }
}

uint32_t *index_room(struct index *index, const void *items, size_t item_bytes)
{
    if (index->capacity < INDEX_MIN || (index->count + 1) * 2 > index->capacity)
        index_resize(index, items, item_bytes, index->capacity < INDEX_MIN ? INDEX_MIN : index->capacity * 2);
    return index->slots;
}

static void index_reserve(struct index *index, size_t count)
{
    size_t capacity = INDEX_MIN;

    while (capacity < count * 2)
        capacity *= 2;
    index_resize(index, NULL, 0, capacity);
}

/* ---- life ---- */

struct compile *compile_new(size_t rules_count)
{
    struct compile *compile = calloc(1, sizeof *compile);

    if (compile == NULL)
        return NULL;
    compile->pattern = arena_new(PATTERN_ARENA_BYTES);
    compile->names = arena_new(NAMES_ARENA_BYTES);
    paths_init(&compile->paths);
    index_reserve(&compile->predicate_index, rules_count);
    index_reserve(&compile->field_index, 0);
    index_reserve(&compile->remainder_index, 0);
    VEC_ROOM(&compile->predicates, rules_count + 1);
    VEC_ROOM(&compile->fields, rules_count + 1);
    VEC_ROOM(&compile->conjunctions, rules_count + 1);
    VEC_ROOM(&compile->conjunction_fields, rules_count + 1);
    VEC_ROOM(&compile->rules, rules_count + 1);
    VEC_ROOM(&compile->words, rules_count + 1);
    return compile;
}

struct compile *compile_free(struct compile *compile)
{
    if (compile == NULL)
        return NULL;
    arena_free(compile->pattern);
    arena_free(compile->names);
    paths_done(&compile->paths);
    bytes_done(&compile->texts);
    bytes_done(&compile->operand);
    free(compile->predicate_index.slots);
    free(compile->field_index.slots);
    free(compile->remainder_index.slots);
    VEC_DONE(&compile->leaf_nodes);
    VEC_DONE(&compile->words);
    VEC_DONE(&compile->predicates);
    VEC_DONE(&compile->buts);
    VEC_DONE(&compile->fields);
    VEC_DONE(&compile->remainders);
    VEC_DONE(&compile->conjunctions);
    VEC_DONE(&compile->conjunction_fields);
    VEC_DONE(&compile->rules);
    VEC_DONE(&compile->joined);
    VEC_DONE(&compile->list);
    VEC_DONE(&compile->marks);
    free(compile);
    return NULL;
}

/* ---- predicates ---- */

/* The predicate whose operand is in compile->operand. */
static uint32_t predicate_add(struct compile *compile, enum predicate_kind kind, uint32_t path)
{
    struct view operand = bytes_view(&compile->operand);
    uint64_t hash = text_hash_mix(text_hash(operand.data, operand.len), (uint64_t)path << 8 | (uint64_t)kind) | INDEX_INSIDE;
    struct predicate *items = compile->predicates.items;
    uint32_t *slot, len = (uint32_t)operand.len;

    INDEX_FIND(&compile->predicate_index, items, hash,
               items[found].kind == kind && items[found].path == path && view_equals(compile_text(compile, items[found].text), operand),
               slot);
    if (*slot != IMAGE_NONE)
        return *slot;
    uint32_t predicate = (uint32_t)compile->predicates.count;
    VEC_PUSH(&compile->predicates, (struct predicate){ .hash = hash, .kind = kind, .path = path, .text = (uint32_t)compile->texts.len,
                                                       .field = IMAGE_NONE, .access = IMAGE_NONE, .fails = IMAGE_NONE });
    bytes_put(&compile->texts, &len, sizeof len);
    bytes_put_view(&compile->texts, operand);
    *slot = predicate;
    compile->predicate_index.count++;
    return predicate;
}

static uint32_t text_predicate(struct compile *compile, enum predicate_kind kind, uint32_t path, struct view text)
{
    bytes_clear(&compile->operand);
    bytes_put_view(&compile->operand, text);
    return predicate_add(compile, kind, path);
}

static uint32_t folded_predicate(struct compile *compile, enum predicate_kind kind, uint32_t path, struct view text)
{
    bytes_clear(&compile->operand);
    if (bytes_reserve(&compile->operand, text.len * FOLD_GROWTH_MAX + 1))
        compile->operand.len = fold_write(text, compile->operand.data);
    return predicate_add(compile, kind, path);
}

/* Beginning or end with nothing is being a string at all. */
static uint32_t affix_predicate(struct compile *compile, enum predicate_kind kind, uint32_t path, struct view text)
{
    if (text.len == 0)
        return text_predicate(compile, KIND_ANY_STRING, path, text);
    bool folded = kind == KIND_FOLD_PREFIX || kind == KIND_FOLD_SUFFIX;
    return folded ? folded_predicate(compile, kind, path, text) : text_predicate(compile, kind, path, text);
}

static uint32_t number_predicate(struct compile *compile, uint32_t path, const struct number *number)
{
    if (!number->comparable)
        return text_predicate(compile, KIND_NUMBER_TEXT, path, number->text);
    struct decimal decimal = decimal_of_text(number->text);
    struct number_operand operand = { .digits = decimal.digits, .power = number_power_of(&decimal), .value = number->value };
    bytes_clear(&compile->operand);
    bytes_put(&compile->operand, &operand, sizeof operand);
    return predicate_add(compile, KIND_NUMBER, path);
}

static uint32_t range_predicate(struct compile *compile, uint32_t path, const struct term_range *range)
{
    struct range_operand operand = { .low = range->low == 0 ? 0 : range->low, .high = range->high == 0 ? 0 : range->high,
                                     .low_included = range->low_included, .high_included = range->high_included };
    bytes_clear(&compile->operand);
    bytes_put(&compile->operand, &operand, sizeof operand);
    return predicate_add(compile, KIND_RANGE, path);
}

static uint32_t address_predicate(struct compile *compile, uint32_t path, const struct ip *address)
{
    return text_predicate(compile, KIND_ADDRESS, path, (struct view){ .data = (const char *)address->bytes, .len = address->len });
}

static uint32_t block_predicate(struct compile *compile, uint32_t path, const struct ip_block *block)
{
    struct ip network = ip_masked(&block->base, block->bits);

    bytes_clear(&compile->operand);
    bytes_put(&compile->operand, network.bytes, network.len);
    bytes_put_char(&compile->operand, (char)block->bits);
    return predicate_add(compile, KIND_BLOCK, path);
}

static uint32_t wildcard_predicate(struct compile *compile, uint32_t path, const struct term *term)
{
    const struct view *parts = term->segments;
    uint32_t count = term->segments_count;
    uint16_t grams[WILDCARD_GRAMS] = { 0 };

    if (count == 1)
        return text_predicate(compile, KIND_TEXT, path, parts[0]);
    if (count == 2 && parts[1].len == 0)
        return affix_predicate(compile, KIND_PREFIX, path, parts[0]);
    if (count == 2 && parts[0].len == 0)
        return affix_predicate(compile, KIND_SUFFIX, path, parts[1]);
    bytes_clear(&compile->operand);
    bytes_put(&compile->operand, grams, sizeof grams); /* chosen when all are known */
    bytes_put(&compile->operand, &count, sizeof count);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t len = (uint32_t)parts[i].len;
        bytes_put(&compile->operand, &len, sizeof len);
        bytes_put_view(&compile->operand, parts[i]);
    }
    return predicate_add(compile, KIND_WILDCARD, path);
}

static uint32_t simple_predicate(struct compile *compile, uint32_t path, const struct term *term)
{
    const struct view nothing = VIEW_LITERAL("");

    switch (term->op) {
    case TERM_STRING: return text_predicate(compile, KIND_TEXT, path, term->text);
    case TERM_IP: return address_predicate(compile, path, &term->address);
    case TERM_NUMBER: return number_predicate(compile, path, &term->number);
    case TERM_TRUE: return text_predicate(compile, KIND_TRUE, path, nothing);
    case TERM_FALSE: return text_predicate(compile, KIND_FALSE, path, nothing);
    case TERM_NULL: return text_predicate(compile, KIND_NULL, path, nothing);
    case TERM_PREFIX: return affix_predicate(compile, KIND_PREFIX, path, term->text);
    case TERM_SUFFIX: return affix_predicate(compile, KIND_SUFFIX, path, term->text);
    case TERM_IGNORE_CASE: return folded_predicate(compile, KIND_FOLD, path, term->text);
    case TERM_PREFIX_IGNORE_CASE: return affix_predicate(compile, KIND_FOLD_PREFIX, path, term->text);
    case TERM_SUFFIX_IGNORE_CASE: return affix_predicate(compile, KIND_FOLD_SUFFIX, path, term->text);
    case TERM_WILDCARD: return wildcard_predicate(compile, path, term);
    case TERM_RANGE: return range_predicate(compile, path, &term->range);
    case TERM_CIDR: return block_predicate(compile, path, &term->block);
    case TERM_EXISTS: return text_predicate(compile, KIND_EXISTS, path, nothing);
    case TERM_ABSENT: return text_predicate(compile, KIND_ABSENT, path, nothing);
    case TERM_ANYTHING_BUT: break;
    }
    ASSERT(term->op != TERM_ANYTHING_BUT); /* it does not nest */
    return IMAGE_NONE;
}

static int compare_words(const void *left, const void *right)
{
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;

    return (a > b) - (a < b);
}

/* Sorts compile->list from `first` on and drops repetitions. */
static void list_normalise(struct compile *compile, size_t first)
{
    uint32_t *items = compile->list.items + first;
    size_t count = compile->list.count - first, kept = 0;

    if (count > 1)
        qsort(items, count, sizeof *items, compare_words);
    for (size_t i = 0; i < count; i++)
        if (kept == 0 || items[kept - 1] != items[i])
            items[kept++] = items[i];
    compile->list.count = first + kept;
}

static uint32_t words_put(struct compile *compile, const uint32_t *words, size_t count)
{
    uint32_t first = (uint32_t)compile->words.count;

    for (size_t i = 0; i < count; i++)
        VEC_PUSH(&compile->words, words[i]);
    return first;
}

static uint32_t but_predicate(struct compile *compile, uint32_t path, const struct term *term)
{
    size_t first = compile->list.count;

    for (unsigned i = 0; i < term->others_count; i++) {
        uint32_t other = simple_predicate(compile, path, &term->others[i]);
        VEC_PUSH(&compile->list, other);
    }
    list_normalise(compile, first);
    const uint32_t *others = compile->list.items + first;
    size_t count = compile->list.count - first, known = compile->predicates.count;
    uint32_t predicate = text_predicate(compile, KIND_BUT, path,
                                        (struct view){ .data = (const char *)others, .len = count * sizeof *others });
    if (predicate == known) {
        compile->predicates.items[predicate].but = (uint32_t)compile->buts.count;
        uint32_t words = words_put(compile, others, count);
        VEC_PUSH(&compile->buts, (struct image_but){ .others = words, .others_count = (uint32_t)count, .path = path });
        for (size_t i = 0; i < count; i++)
            compile->predicates.items[others[i]].fails_count++;
    }
    compile->list.count = first;
    return predicate;
}

/* ---- fields and conjunctions ---- */

/* A field of one predicate is found by that, for most are such, and a million of them would each wait for a line of the index. */
static uint32_t field_add(struct compile *compile, uint32_t path, const uint32_t *predicates, uint32_t count)
{
    uint32_t *known = count == 1 ? &compile->predicates.items[predicates[0]].field : NULL;
    struct field field = { .hash = INDEX_OUTSIDE, .path = path, .predicates_count = count };

    if (known == NULL) {
        struct field *items = compile->fields.items;
        field.hash = text_hash((const char *)predicates, count * sizeof *predicates) | INDEX_INSIDE;
        INDEX_FIND(&compile->field_index, items, field.hash,
                   items[found].predicates_count == count &&
                       memcmp(compile->words.items + items[found].predicates, predicates, count * sizeof *predicates) == 0,
                   known);
    }
    if (*known != IMAGE_NONE)
        return *known;
    for (uint32_t i = 0; i < count; i++)
        field.may_be_absent |= compile->predicates.items[predicates[i]].kind == KIND_ABSENT;
    field.predicates = words_put(compile, predicates, count);
    *known = (uint32_t)compile->fields.count;
    compile->field_index.count++;
    VEC_PUSH(&compile->fields, field);
    return (uint32_t)compile->fields.count - 1;
}

uint32_t compile_remainder(struct compile *compile, const uint32_t *fields, uint32_t count)
{
    uint64_t hash = text_hash((const char *)fields, count * sizeof *fields) | INDEX_INSIDE;
    struct remainder *items = compile->remainders.items;
    uint32_t *slot;

    INDEX_FIND(&compile->remainder_index, items, hash,
               items[found].fields_count == count &&
                   memcmp(compile->words.items + items[found].fields, fields, count * sizeof *fields) == 0,
               slot);
    if (*slot != IMAGE_NONE)
        return *slot;
    uint32_t words = words_put(compile, fields, count);
    *slot = (uint32_t)compile->remainders.count;
    compile->remainder_index.count++;
    VEC_PUSH(&compile->remainders, (struct remainder){ .hash = hash, .fields = words, .fields_count = count });
    return (uint32_t)compile->remainders.count - 1;
}

static uint32_t add_field(struct compile *compile, const struct pattern_field *from)
{
    uint32_t node = paths_add(&compile->paths, compile->names, from->path);
    uint32_t path = compile->paths.nodes.items[node].leaf;

    if (path == compile->leaf_nodes.count) {
        VEC_PUSH(&compile->leaf_nodes, node);
        VEC_PUSH(&compile->joined, 0);
    }
    compile->list.count = 0;
    for (unsigned i = 0; i < from->terms_count; i++) {
        const struct term *term = &from->terms[i];
        uint32_t predicate = term->op == TERM_ANYTHING_BUT ? but_predicate(compile, path, term) : simple_predicate(compile, path, term);
        VEC_PUSH(&compile->list, predicate);
    }
    list_normalise(compile, 0);
    return field_add(compile, path, compile->list.items, (uint32_t)compile->list.count);
}

/* Two fields of a conjunction share an array if it is met at a node above or at both. Writes the join list (image.h) when there
 * is such a node, which is known from how many fields each node is above of. */
static uint32_t add_join(struct compile *compile, const uint32_t *fields, uint32_t count)
{
    const struct path_node *nodes = compile->paths.nodes.items;
    uint32_t *marks;
    bool shares = false;

    VEC_ROOM(&compile->marks, compile->paths.nodes.count);
    while (compile->marks.count < compile->paths.nodes.count)
        compile->marks.items[compile->marks.count++] = 0;
    marks = compile->marks.items;
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t node = compile->leaf_nodes.items[compile->fields.items[fields[i]].path]; node != PATHS_ROOT; node = nodes[node].parent)
            shares |= ++marks[node] > 1;
    uint32_t join = IMAGE_NONE;
    if (shares) {
        join = words_put(compile, &count, 1);
        for (uint32_t i = 0; i < count; i++) {
            struct field *field = &compile->fields.items[fields[i]];
            uint32_t pair[2] = { fields[i], compile->leaf_nodes.items[field->path] };
            while (pair[1] != PATHS_ROOT && marks[pair[1]] == 1)
                pair[1] = nodes[pair[1]].parent;
            if (pair[1] != PATHS_ROOT)
                compile->joined.items[field->path] = 1;
            field->judged = true;
            (void)words_put(compile, pair, 2);
        }
    }
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t node = compile->leaf_nodes.items[compile->fields.items[fields[i]].path]; node != PATHS_ROOT; node = nodes[node].parent)
            marks[node] = 0;
    return join;
}

static void add_branch(struct compile *compile, uint32_t rule, const struct pattern_branch *branch)
{
    struct conjunction conjunction = { .rule = rule, .fields = (uint32_t)compile->conjunction_fields.count,
                                       .fields_count = branch->fields_count, .join = IMAGE_NONE, .remainder = IMAGE_NONE };

    for (unsigned i = 0; i < branch->fields_count; i++) {
        uint32_t field = add_field(compile, branch->fields[i]);
        VEC_PUSH(&compile->conjunction_fields, field);
    }
    if (branch->fields_count > 1)
        conjunction.join = add_join(compile, compile->conjunction_fields.items + conjunction.fields, branch->fields_count);
    VEC_PUSH(&compile->conjunctions, conjunction);
}

uint64_t compile_fingerprint(uint64_t before, const struct match_rule *rule)
{
    return text_hash_mix(before ^ text_hash(rule->pattern.data, rule->pattern.len), rule->id);
}

enum sluice_err compile_crowded(struct sluice_error *reterr)
{
    return sluice_fail(reterr, SLUICE_ELIMIT, "texts or names of the patterns fall into the same place of a table, as if they had been chosen to: "
                       "finding one could take over %d steps; leave out rules with many texts that look made up", PROBES_MAX);
}

enum sluice_err compile_add(struct compile *compile, const struct match_rule *rule, struct sluice_error *reterr)
{
    struct pattern pattern;

    arena_reset(compile->pattern);
    enum sluice_err err = pattern_parse(rule->pattern, compile->pattern, &pattern, NULL, reterr);
    if (err != SLUICE_OK)
        return err;
    ASSERT(compile->rules.count == 0 || compile->rules.items[compile->rules.count - 1] < rule->id);
    if (compile->conjunctions.count + pattern.branches_count > MATCH_CONJUNCTIONS_MAX)
        return sluice_fail(reterr, SLUICE_ELIMIT, "the rules have more than %d $or combinations together", MATCH_CONJUNCTIONS_MAX);
    for (unsigned i = 0; i < pattern.branches_count; i++)
        add_branch(compile, (uint32_t)compile->rules.count, &pattern.branches[i]);
    VEC_PUSH(&compile->rules, rule->id);
    compile->fingerprint = compile_fingerprint(compile->fingerprint, rule);
    if (compile->predicate_index.crowded || compile->field_index.crowded || compile->remainder_index.crowded || compile->paths.crowded)
        return compile_crowded(reterr);
    if (compile->texts.failed || compile->operand.failed || compile->texts.len > TEXTS_BYTES_MAX)
        return sluice_fail(reterr, SLUICE_ELIMIT, "the patterns hold more than %d bytes of text together", TEXTS_BYTES_MAX);
    return SLUICE_OK;
}
