/* One value against all predicates of its path: a few lookups, however many predicates there are. */
#include "broker/core/compile_internal.h"
#include "broker/core/decimal.h"
#include "broker/core/event_state.h"
#include "broker/core/fold.h"
#include "broker/core/ip.h"
#include "broker/core/number.h"
#include "broker/core/text_hash.h"
#include "broker/core/wildcard.h"

/* What is counted (match.h), so that a step is some six nanoseconds at the most, whatever is done in it (bench/match --worst). */
enum {
    LOOKUP_STEPS = 3,          /* for each beyond that: to the line of the table and to the operand */
    GRAMS_STEPS = 6,           /* to note what a text holds, and find the buckets of that */
    WILDCARD_STEPS = 2,        /* to see that it cannot be, by what the text holds */
    MASK_STEPS = 4,            /* to mask an address for one */
    PROBES_A_STEP = 4,         /* entries of a table passed by on the way; mostly it is fewer */
    COMPARED_A_STEP = 32,      /* bytes of a text that are those of an operand */
    WILDCARD_BYTES_A_STEP = 4,
    SLOW_NUMBER_STEPS = 400,
};

/* ---- truth ---- */

static void buts_fail(struct match_scratch *state, uint32_t list)
{
    const uint32_t *buts = state->image->words + list;

    if (state_over(state))
        return;
    state->steps += buts[0];
    for (uint32_t i = 1; i <= buts[0]; i++) {
        struct but_state *but = &state->buts.items[buts[i]];
        if (but->epoch != state->epoch) {
            *but = (struct but_state){ .epoch = state->epoch, .leaf = STATE_NO_ARRAY };
            STATE_PUSH(&state->failed, buts[i]);
        }
        if (but->leaf != state->leaf) { /* two of its others may be true of the same value */
            but->leaf = state->leaf;
            but->fails_count++;
        }
    }
}

static inline void is_true(struct match_scratch *state, uint32_t id)
{
    const struct image_predicate *predicate = &state->image->predicates[id];

    if (state->recording)
        STATE_PUSH(&state->true_of_leaf, id);
    if (predicate->fails != IMAGE_NONE)
        buts_fail(state, predicate->fails);
    if ((predicate->meta & PREDICATE_MARKED) != 0) {
        if (state->predicates.items[id] == state->epoch)
            return;
        state->predicates.items[id] = state->epoch;
    }
    if (predicate->access != IMAGE_NONE)
        STATE_PUSH(&state->triggered, predicate->access);
}

/* `operators`: how many tables it will be looked up in. All that comes with that is counted here at once, what comes beyond where it is met. */
static inline void leaf_begin(struct match_scratch *state, uint32_t path, uint32_t context, uint32_t operators)
{
    struct path_state *at = state_touch(state, path);

    state->leaf = at->leaves_count++;
    state->steps += VALUE_STEPS + operators * OPERATOR_STEPS;
    uint32_t joined = state->image->paths[path].joined;
    state->recording = state->record && joined != PATH_ALONE;
    at->missed |= !state->record && joined != PATH_ALONE;
    state->context = context;
    state->true_first = (uint32_t)state->true_of_leaf.count;
}

/* Where only values that make a predicate true can matter to a join, no others are recorded. */
static inline void leaf_end(struct match_scratch *state, uint32_t path)
{
    uint32_t count = (uint32_t)state->true_of_leaf.count - state->true_first;

    if (!state->recording || (count == 0 && state->image->paths[path].joined == PATH_JOINED_IF_TRUE))
        return;
    struct path_state *at = &state->paths.items[path];
    if (at->count > 0)
        at->disordered |= state->leaves.items[at->first].context > state->context;
    at->first = (uint32_t)state->leaves.count; /* the latest one */
    at->count++;
    STATE_PUSH(&state->leaves, (struct leaf){ .path = path, .context = state->context, .first = state->true_first, .count = count });
}

/* ---- tables ---- */

/* The predicate in the table whose operand begins with `key` at `offset`, and is as long when `whole`. */
static inline uint32_t find_held(struct match_scratch *state, const struct image_operator *operator, uint64_t hash, struct view key,
                            size_t offset, bool whole)
{
    const struct image *image = state->image;
    const struct image_slot *slots = image->slots + operator->slots;
    uint32_t at = image_slot_of(hash, operator->slots_count), tag = (uint32_t)(hash >> 32), id = IMAGE_NONE;
    size_t dear = 0; /* in entries of a table */

    if (state_over(state))
        return IMAGE_NONE;
    for (; slots[at].value != IMAGE_NONE; at = at + 1 == operator->slots_count ? 0 : at + 1, dear++) {
        if (slots[at].tag != tag)
            continue;
        struct view operand = image_text(image, image->predicates[slots[at].value].text);
        if (whole && operand.len != key.len)
            continue;
        dear += key.len / (COMPARED_A_STEP / PROBES_A_STEP);
        if (memcmp(operand.data + offset, key.data, key.len) == 0) {
            id = slots[at].value;
            break;
        }
    }
    state->steps += dear / PROBES_A_STEP;
    return id;
}

static inline uint32_t find(struct match_scratch *state, const struct image_operator *operator, uint64_t hash, struct view key, size_t offset,
                            bool whole)
{
    return image_may_hold(state->image, operator, hash) ? find_held(state, operator, hash, key, offset, whole) : IMAGE_NONE;
}

static inline void find_text(struct match_scratch *state, const struct image_operator *operator, struct view text)
{
    uint32_t id = find(state, operator, text_hash(text.data, text.len), text, 0, true);

    if (id != IMAGE_NONE)
        is_true(state, id);
}

/* For each length there is, ascending: the words below it are hashed once. */
static void find_prefixes(struct match_scratch *state, const struct image_operator *operator, struct view text)
{
    const uint32_t *lengths = state->image->words + operator->list;
    uint64_t hashed = text_hash_begin();
    size_t words = 0;

    for (uint32_t i = 0; i < operator->list_count && lengths[i] <= text.len; i++, state->steps += LOOKUP_STEPS) {
        size_t len = lengths[i];
        for (; words + 8 <= len; words += 8)
            hashed = text_hash_word(hashed, text_load8(text.data + words));
        uint64_t hash = text_hash_end(hashed, text_load_short(text.data + words, len - words), len);
        uint32_t id = find(state, operator, hash, (struct view){ .data = text.data, .len = len }, 0, true);
        if (id != IMAGE_NONE)
            is_true(state, id);
    }
}

static void find_suffixes(struct match_scratch *state, const struct image_operator *operator, struct view text)
{
    const uint32_t *lengths = state->image->words + operator->list;
    const char *end = text.data + text.len;
    uint64_t hashed = text_hash_begin();
    size_t words = 0;

    for (uint32_t i = 0; i < operator->list_count && lengths[i] <= text.len; i++, state->steps += LOOKUP_STEPS) {
        size_t len = lengths[i];
        for (; words + 8 <= len; words += 8)
            hashed = text_hash_word(hashed, text_load8(end - words - 8));
        uint64_t hash = text_hash_end(hashed, text_load_short(end - len, len - words), len);
        uint32_t id = find(state, operator, hash, (struct view){ .data = end - len, .len = len }, 0, true);
        if (id != IMAGE_NONE)
            is_true(state, id);
    }
}

static void find_blocks(struct match_scratch *state, const struct image_operator *operator, const struct ip *ip)
{
    const uint32_t *lengths = state->image->words + operator->list;

    state->steps += (uint64_t)operator->list_count * (MASK_STEPS + LOOKUP_STEPS);
    for (uint32_t i = 0; i < operator->list_count; i++) {
        struct ip network = ip_masked(ip, lengths[i]);
        char key[sizeof network.bytes + 1];
        memcpy(key, network.bytes, sizeof network.bytes);
        key[network.len] = (char)lengths[i];
        find_text(state, operator, (struct view){ .data = key, .len = network.len + 1u });
    }
}

/* ---- wildcards ---- */

/* `set`: the grams of the text, or NULL when they are not known. */
static void try_wildcard(struct match_scratch *state, uint32_t id, struct view text, const uint64_t *set)
{
    struct view operand = image_text(state->image, state->image->predicates[id].text);
    const char *parts = operand.data + WILDCARD_GRAMS * sizeof(uint16_t);
    uint16_t grams[WILDCARD_GRAMS];

    if (state_over(state))
        return;
    state->steps += WILDCARD_STEPS;
    memcpy(grams, operand.data, sizeof grams);
    for (unsigned i = 0; set != NULL && i < WILDCARD_GRAMS && grams[i] != GRAM_NONE; i++)
        if ((set[grams[i] / 64] >> grams[i] % 64 & 1) == 0)
            return;
    state->steps += text.len / WILDCARD_BYTES_A_STEP;
    if (wildcard_matches(parts + sizeof(uint32_t), text_load4(parts), text))
        is_true(state, id);
}

static void find_shapes(struct match_scratch *state, const struct image_operator *operator, struct view text)
{
    const struct image *image = state->image;
    const struct image_slot *slots = image->slots + operator->slots;
    uint64_t head = text_head(text.data, text.len);
    uint64_t tail = text.len >= 8 ? text_tail(text.data, text.len) : text.len == 0 ? 0 : head << (8 - text.len) * 8;

    state->steps += operator->list_count;
    for (uint32_t i = 0; i < operator->list_count; i++) {
        uint32_t shape = image->words[operator->list + i];
        unsigned head_len = shape & 0xFF, tail_len = shape >> 8;
        if (text.len < head_len || text.len < tail_len)
            continue;
        uint64_t hash = wildcard_ends_hash(head, tail, head_len, tail_len);
        if (!image_may_hold(image, operator, hash))
            continue;
        uint32_t at = image_slot_of(hash, operator->slots_count), tag = (uint32_t)(hash >> 32);
        unsigned probes = 0;
        for (; slots[at].value != IMAGE_NONE; at = at + 1 == operator->slots_count ? 0 : at + 1) {
            state->steps += ++probes % PROBES_A_STEP == 0;
            if (slots[at].tag != tag)
                continue;
            const uint32_t *list = image->words + slots[at].value;
            for (uint32_t w = 1; w <= list[0]; w++)
                try_wildcard(state, list[w], text, NULL);
        }
    }
}

static void find_grams(struct match_scratch *state, const struct image_operator *operator, struct view text)
{
    const uint32_t *used = state->image->words + operator->list, *starts = used + GRAM_WORDS * 2UL, *words = state->image->words;
    uint64_t set[GRAM_WORDS];

    state->steps += GRAMS_STEPS;
    gram_set_of(text, set);
    for (unsigned w = 0; w < GRAM_WORDS; w++) {
        uint64_t both = set[w] & (used[(size_t)w * 2] | (uint64_t)used[(size_t)w * 2 + 1] << 32);
        for (; both != 0; both &= both - 1) {
            unsigned bucket = w * 64 + (unsigned)__builtin_ctzll(both);
            for (uint32_t i = starts[bucket]; i < starts[bucket + 1]; i++)
                try_wildcard(state, words[i], text, set);
        }
    }
}

/* ---- strings ---- */

/* What operators of one path share: worked out when the first of them asks. */
struct string_value {
    struct view text, folded;
    struct ip ip;
    bool folded_known, ip_known, is_ip;
};

static struct view folded_of(struct match_scratch *state, struct string_value *value)
{
    if (!value->folded_known) {
        VEC_ROOM(&state->folded, value->text.len * FOLD_GROWTH_MAX + 1);
        value->folded = (struct view){ .data = state->folded.items, .len = fold_write(value->text, state->folded.items) };
        value->folded_known = true;
    }
    return value->folded;
}

static const struct ip *ip_of(struct string_value *value)
{
    if (!value->ip_known) {
        value->is_ip = ip_of_text(value->text, &value->ip);
        value->ip_known = true;
    }
    return value->is_ip ? &value->ip : NULL;
}

static void evaluate_operator(struct match_scratch *state, const struct image_operator *operator, struct string_value *value)
{
    const struct ip *ip;

    switch (operator->kind) {
    case OPERATOR_EXACT: find_text(state, operator, value->text); break;
    case OPERATOR_FOLD_EXACT: find_text(state, operator, folded_of(state, value)); break;
    case OPERATOR_PREFIX: find_prefixes(state, operator, value->text); break;
    case OPERATOR_FOLD_PREFIX: find_prefixes(state, operator, folded_of(state, value)); break;
    case OPERATOR_SUFFIX: find_suffixes(state, operator, value->text); break;
    case OPERATOR_FOLD_SUFFIX: find_suffixes(state, operator, folded_of(state, value)); break;
    case OPERATOR_ADDRESS:
        ip = ip_of(value);
        if (ip != NULL)
            find_text(state, operator, (struct view){ .data = (const char *)ip->bytes, .len = ip->len });
        break;
    case OPERATOR_BLOCKS4:
    case OPERATOR_BLOCKS6:
        ip = ip_of(value);
        if (ip != NULL && ip->len == (operator->kind == OPERATOR_BLOCKS4 ? 4 : 16))
            find_blocks(state, operator, ip);
        break;
    case OPERATOR_SHAPES: find_shapes(state, operator, value->text); break;
    case OPERATOR_GRAMS: find_grams(state, operator, value->text); break;
    case OPERATOR_ANY_STRING: is_true(state, operator->extra); break;
    default: break; /* of numbers */
    }
}

static __attribute__((noinline)) void evaluate_operators(struct match_scratch *state, const struct image_path *tables, struct view text)
{
    struct string_value value;

    value.text = text;
    value.folded_known = value.ip_known = value.is_ip = false; /* what they guard is not cleared: this runs for every value */
    for (uint32_t i = tables->string_operators; i < tables->number_operators && !state_over(state); i++)
        evaluate_operator(state, &state->image->operators[i], &value);
}

void evaluate_tables(struct match_scratch *state, uint32_t path, uint32_t context, struct view text)
{
    const struct image_path *tables = &state->image->paths[path];

    leaf_begin(state, path, context, tables->number_operators - tables->string_operators);
    if (tables->exact != IMAGE_NONE)
        find_text(state, &state->image->operators[tables->exact], text);
    else if (tables->string_operators < tables->number_operators)
        evaluate_operators(state, tables, text);
    leaf_end(state, path);
}

void evaluate_exact(struct match_scratch *state, uint32_t path, uint32_t context, struct view text, uint64_t hash)
{
    leaf_begin(state, path, context, 1);
    uint32_t id = find_held(state, &state->image->operators[state->image->paths[path].exact], hash, text, 0, true);
    if (id != IMAGE_NONE)
        is_true(state, id);
    leaf_end(state, path);
}

/* ---- numbers ---- */

static uint32_t interval_of(const double *bounds, uint32_t count, double value)
{
    uint32_t low = 0;

    while (count > 0) { /* both sides are moves: where a number falls is not predictable */
        uint32_t half = count / 2;
        bool below = bounds[low + half] < value;
        low = below ? low + half + 1 : low;
        count = below ? count - half - 1 : half;
    }
    return low;
}

static uint32_t leaf_of(const struct match_scratch *state, const struct image_operator *operator, double value)
{
    const double *bounds = state->image->numbers + operator->slots;
    uint32_t low = interval_of(bounds, operator->slots_count, value);

    return low < operator->slots_count && bounds[low] == value ? 2 * low + 1 : 2 * low;
}

static void find_ranges(struct match_scratch *state, const struct image_operator *operator, double value)
{
    const uint32_t *starts = state->image->words + operator->list, *words = state->image->words;
    uint32_t interval = leaf_of(state, operator, value);

    for (uint32_t node = operator->extra + interval; node > 0; node /= 2) {
        state->steps += starts[node + 1] - starts[node];
        for (uint32_t i = starts[node]; i < starts[node + 1] && !state_over(state); i++)
            is_true(state, words[i]);
    }
}

/* Whether the exact value of a number of sixteen digits or more, which is dear, could make anything true that is not yet. Its
 * quotient as doubles is off by less than the tolerance; where no bound is as near, that tells the interval. */
static bool ranges_may_change(struct match_scratch *state, const struct image_operator *operator, const struct decimal *decimal)
{
    static const double powers[] = { 1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                     1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22 };
    static const double tolerance = 1e-15;
    const uint32_t *starts = state->image->words + operator->list, *words = state->image->words;

    if (state->recording || decimal->too_long || decimal->exponent > 0 || decimal->exponent < -22)
        return !decimal->too_long;
    double near = (double)decimal->digits / powers[-decimal->exponent], off = near * tolerance;
    const double *bounds = state->image->numbers + operator->slots;
    near = decimal->negative ? -near : near;
    uint32_t low = interval_of(bounds, operator->slots_count, near - off), interval = 2 * low;
    if (low < operator->slots_count && bounds[low] <= near + off)
        return true;
    for (uint32_t node = operator->extra + interval; node > 0; node /= 2)
        for (uint32_t i = starts[node]; i < starts[node + 1]; i++, state->steps++)
            if ((state->image->predicates[words[i]].meta & PREDICATE_MARKED) == 0 || state->predicates.items[words[i]] != state->epoch ||
                state->image->predicates[words[i]].fails != IMAGE_NONE)
                return true;
    return false;
}

static void find_double(struct match_scratch *state, const struct image_operator *operator, double value)
{
    struct view key = { .data = (const char *)&value, .len = sizeof value };
    uint32_t id = find(state, operator, text_hash(key.data, key.len), key, offsetof(struct number_operand, value), false);

    if (id != IMAGE_NONE)
        is_true(state, id);
}

static void find_decimal(struct match_scratch *state, const struct image_operator *operator, const struct decimal *decimal)
{
    struct number_operand operand = { .digits = decimal->digits, .power = number_power_of(decimal) };
    struct view key = { .data = (const char *)&operand, .len = offsetof(struct number_operand, value) };
    uint32_t id = decimal->too_long ? IMAGE_NONE
                                    : find(state, operator, text_hash(key.data, key.len), key, 0, false);
    if (id != IMAGE_NONE)
        is_true(state, id);
}

void evaluate_number_text(struct match_scratch *state, uint32_t path, uint32_t context, struct view text)
{
    const struct image_path *tables = &state->image->paths[path];
    struct number number = { .comparable = false };
    bool known = false, slow = false;

    if (__builtin_expect(state->attention, 0) && defer_value(state, path, (struct value){ .type = VALUE_NUMBER, .text = text }))
        return;
    leaf_begin(state, path, context, tables->operators_end - tables->number_operators);
    if (tables->number_operators < tables->operators_end && !state_over(state)) {
        struct decimal decimal = decimal_of_text(text);
        for (uint32_t i = tables->number_operators; i < tables->operators_end; i++) {
            const struct image_operator *operator = &state->image->operators[i];
            switch (operator->kind) {
            case OPERATOR_DECIMAL: find_decimal(state, operator, &decimal); break;
            case OPERATOR_NUMBER_TEXT: find_text(state, operator, text); break;
            case OPERATOR_RANGES:
                if (!known && !ranges_may_change(state, operator, &decimal))
                    break;
                if (!known) {
                    number = number_of_decimal(&decimal, text, &slow);
                    if (__builtin_expect(slow, 0))
                        state->steps += SLOW_NUMBER_STEPS;
                }
                known = true;
                if (number.comparable)
                    find_ranges(state, operator, number.value);
                break;
            default: break;
            }
        }
    }
    leaf_end(state, path);
}

void evaluate_double(struct match_scratch *state, uint32_t path, uint32_t context, double value)
{
    const struct image_path *tables = &state->image->paths[path];

    value = value == 0 ? 0 : value; /* no -0 */
    if (__builtin_expect(state->attention, 0) &&
        defer_value(state, path, (struct value){ .type = VALUE_NUMBER, .number_known = true, .number = number_of_double(value) }))
        return;
    leaf_begin(state, path, context, tables->operators_end - tables->number_operators);
    for (uint32_t i = tables->number_operators; i < tables->operators_end; i++) {
        const struct image_operator *operator = &state->image->operators[i];
        if (operator->kind == OPERATOR_DOUBLE)
            find_double(state, operator, value);
        else if (operator->kind == OPERATOR_RANGES)
            find_ranges(state, operator, value);
    }
    leaf_end(state, path);
}

void evaluate_literal(struct match_scratch *state, uint32_t path, uint32_t context, enum literal literal)
{
    static const enum value_type types[] = { [LITERAL_TRUE] = VALUE_TRUE, [LITERAL_FALSE] = VALUE_FALSE, [LITERAL_NULL] = VALUE_NULL };
    uint32_t id = state->image->paths[path].literals[literal];

    if (__builtin_expect(state->attention, 0) && defer_value(state, path, (struct value){ .type = types[literal] }))
        return;
    leaf_begin(state, path, context, 0);
    if (id != IMAGE_NONE)
        is_true(state, id);
    leaf_end(state, path);
}
