/* Whether every index in an image leads to where it must. What reads an image afterwards has no checks of its own, so all that they
 * rely on is here: ranges within their sections, hash tables with a free slot, lengths ascending, trees whose parents come first. */
#include "broker/core/compile_internal.h"
#include "broker/core/event_state.h"
#include "broker/core/image_internal.h"
#include "broker/core/wildcard.h"

static bool fits(uint64_t first, uint64_t count, uint64_t room)
{
    return first <= room && count <= room - first;
}

static bool text_fits(const struct image *image, uint32_t text)
{
    return fits(text, sizeof(uint32_t), image->texts_count) &&
           fits((uint64_t)text + sizeof(uint32_t), image_text(image, text).len, image->texts_count);
}

/* words[first .. first + count), each below `below`. */
static bool words_below(const struct image *image, uint64_t first, uint64_t count, uint32_t below)
{
    if (!fits(first, count, image->words_count))
        return false;
    for (uint64_t i = first; i < first + count; i++)
        if (image->words[i] >= below)
            return false;
    return true;
}

/* A count and then as many. */
static bool list_below(const struct image *image, uint32_t list, uint32_t below)
{
    return list < image->words_count && words_below(image, (uint64_t)list + 1, image->words[list], below);
}

/* ---- names ---- */

static bool nodes_are_fine(const struct image *image)
{
    if (image->nodes_count == 0)
        return false;
    for (uint32_t n = 0; n < image->nodes_count; n++) {
        const struct image_node *node = &image->nodes[n];
        bool parent = n == 0 ? node->parent == IMAGE_NONE : node->parent < n;
        bool path = node->path == IMAGE_NONE || node->path < image->paths_count;
        bool power = (node->children_count & (node->children_count - 1)) == 0;
        if (!parent || !path || !power || !text_fits(image, node->name) || !fits(node->children, node->children_count, image->children_count))
            return false;
        bool free_slot = node->children_count == 0;
        for (uint32_t i = 0; i < node->children_count; i++) {
            uint32_t child = image->children[node->children + i].node;
            free_slot |= child == IMAGE_NONE;
            if (child != IMAGE_NONE && child >= image->nodes_count)
                return false;
        }
        if (!free_slot)
            return false;
    }
    return true;
}

static bool pairs_are_fine(const struct image *image, uint32_t first, uint32_t count)
{
    if (!fits(first, (uint64_t)count * 2, image->words_count))
        return false;
    for (uint64_t i = first; i < first + (uint64_t)count * 2; i += 2)
        if (image->words[i] >= image->conjunctions_count || image->words[i + 1] >= image->predicates_count)
            return false;
    return true;
}

/* Bits stand for rules that are there. */
static bool bulk_is_fine(const struct image *image, const struct image_path *path)
{
    if (!fits(path->bulk, (uint64_t)path->bulk_count * 3, image->words_count))
        return false;
    for (uint32_t i = 0; i < path->bulk_count; i++) {
        const uint32_t *triple = image->words + path->bulk + (size_t)i * 3;
        uint64_t bits = triple[1] | (uint64_t)triple[2] << 32, rule = (uint64_t)triple[0] * 64;
        if (bits != 0 && rule + 63 - (unsigned)__builtin_clzll(bits) >= image->rules_count)
            return false;
        if (rule >= image->rules_count)
            return false;
    }
    return true;
}

/* The tables of a path lie within the operators, and the one for exact texts is such a one. */
static bool tables_are_fine(const struct image *image, const struct image_path *path)
{
    if (path->string_operators > path->number_operators || path->number_operators > path->operators_end ||
        path->operators_end > image->operators_count)
        return false;
    return path->exact == IMAGE_NONE || (path->exact == path->string_operators && path->exact + 1 == path->number_operators &&
                                         image->operators[path->exact].kind == OPERATOR_EXACT);
}

static bool paths_are_fine(const struct image *image)
{
    for (uint32_t p = 0; p < image->paths_count; p++) {
        const struct image_path *path = &image->paths[p];
        if (!tables_are_fine(image, path) || path->node >= image->nodes_count || !bulk_is_fine(image, path) || path->joined > PATH_JOINED_IF_TRUE ||
            !pairs_are_fine(image, path->weak, path->weak_count) || !pairs_are_fine(image, path->absent, path->absent_count))
            return false;
        for (unsigned i = 0; i < IMAGE_LITERALS; i++)
            if (path->literals[i] != IMAGE_NONE && path->literals[i] >= image->predicates_count)
                return false;
    }
    return true;
}

/* ---- tables ---- */

static bool wildcard_is_fine(const struct image *image, uint32_t id)
{
    uint16_t grams[WILDCARD_GRAMS];
    uint32_t parts;

    if (id >= image->predicates_count || (image->predicates[id].meta & PREDICATE_KIND_MASK) != PREDICATE_PLAIN)
        return false;
    struct view operand = image_text(image, image->predicates[id].text);
    if (operand.len < sizeof grams + sizeof parts)
        return false;
    memcpy(grams, operand.data, sizeof grams);
    for (unsigned i = 0; i < WILDCARD_GRAMS; i++)
        if (grams[i] != GRAM_NONE && grams[i] >= GRAM_BUCKETS)
            return false;
    memcpy(&parts, operand.data + sizeof grams, sizeof parts);
    size_t at = sizeof grams + sizeof parts;
    for (uint32_t i = 0; i < parts; i++) {
        if (!fits(at, sizeof(uint32_t), operand.len) || !fits(at + sizeof(uint32_t), text_load4(operand.data + at), operand.len))
            return false;
        at += sizeof(uint32_t) + text_load4(operand.data + at);
    }
    return parts >= 2;
}

static bool wildcards_are_fine(const struct image *image, uint64_t first, uint64_t count)
{
    if (!fits(first, count, image->words_count))
        return false;
    for (uint64_t i = first; i < first + count; i++)
        if (!wildcard_is_fine(image, image->words[i]))
            return false;
    return true;
}

/* words[first .. first + count] never descend, and end in the words. */
static bool starts_are_fine(const struct image *image, uint64_t first, uint64_t count)
{
    if (!fits(first, count + 1, image->words_count))
        return false;
    for (uint64_t i = first; i < first + count; i++)
        if (image->words[i] > image->words[i + 1])
            return false;
    return image->words[first + count] <= image->words_count;
}

static bool lengths_are_fine(const struct image *image, const struct image_operator *operator, uint32_t most)
{
    if (!fits(operator->list, operator->list_count, image->words_count))
        return false;
    for (uint32_t i = 0; i < operator->list_count; i++)
        if (image->words[operator->list + i] > most || (i > 0 && image->words[operator->list + i - 1] >= image->words[operator->list + i]))
            return false;
    return true;
}

static bool slots_are_fine(const struct image *image, const struct image_operator *operator)
{
    bool number = operator->kind == OPERATOR_DECIMAL || operator->kind == OPERATOR_DOUBLE, free_slot = false;

    if (!fits(operator->slots, operator->slots_count, image->slots_count) || operator->filter_count == 0 ||
        !fits(operator->filter, operator->filter_count, image->words_count))
        return false;
    for (uint32_t i = 0; i < operator->slots_count; i++) {
        uint32_t value = image->slots[operator->slots + i].value;
        if (value == IMAGE_NONE) {
            free_slot = true;
            continue;
        }
        if (operator->kind == OPERATOR_SHAPES) {
            if (value >= image->words_count || !wildcards_are_fine(image, (uint64_t)value + 1, image->words[value]))
                return false;
            continue;
        }
        if (value >= image->predicates_count || (image->predicates[value].meta & PREDICATE_KIND_MASK) != PREDICATE_PLAIN)
            return false;
        if (number && image_text(image, image->predicates[value].text).len != sizeof(struct number_operand))
            return false;
    }
    return free_slot;
}

static bool ranges_are_fine(const struct image *image, const struct image_operator *operator)
{
    uint64_t leaves = operator->extra, starts_count = 2 * leaves + 1;

    if (!fits(operator->slots, operator->slots_count, image->numbers_count) || leaves <= 2 * (uint64_t)operator->slots_count ||
        operator->list_count != starts_count || !starts_are_fine(image, operator->list, starts_count - 1))
        return false;
    uint32_t first = image->words[operator->list], end = image->words[operator->list + starts_count - 1];
    return words_below(image, first, end - first, image->predicates_count);
}

static bool grams_are_fine(const struct image *image, const struct image_operator *operator)
{
    uint64_t starts = (uint64_t)operator->list + GRAM_WORDS * 2ULL;

    if (!fits(operator->list, GRAM_WORDS * 2ULL, image->words_count) || !starts_are_fine(image, starts, GRAM_BUCKETS))
        return false;
    uint32_t first = image->words[starts], end = image->words[starts + GRAM_BUCKETS];
    return wildcards_are_fine(image, first, end - first);
}

static bool shapes_are_fine(const struct image *image, const struct image_operator *operator)
{
    if (!fits(operator->list, operator->list_count, image->words_count))
        return false;
    for (uint32_t i = 0; i < operator->list_count; i++) {
        uint32_t shape = image->words[operator->list + i];
        if ((shape & 0xFF) > WILDCARD_END_BYTES || shape >> 8 > WILDCARD_END_BYTES)
            return false;
    }
    return slots_are_fine(image, operator);
}

static bool operator_is_fine(const struct image *image, const struct image_operator *operator)
{
    enum { V4_BITS = 32, V6_BITS = 128 };

    switch (operator->kind) {
    case OPERATOR_EXACT:
    case OPERATOR_FOLD_EXACT:
    case OPERATOR_ADDRESS:
    case OPERATOR_DECIMAL:
    case OPERATOR_DOUBLE:
    case OPERATOR_NUMBER_TEXT: return slots_are_fine(image, operator);
    case OPERATOR_PREFIX:
    case OPERATOR_FOLD_PREFIX:
    case OPERATOR_SUFFIX:
    case OPERATOR_FOLD_SUFFIX: return slots_are_fine(image, operator) && lengths_are_fine(image, operator, UINT32_MAX);
    case OPERATOR_BLOCKS4: return slots_are_fine(image, operator) && lengths_are_fine(image, operator, V4_BITS);
    case OPERATOR_BLOCKS6: return slots_are_fine(image, operator) && lengths_are_fine(image, operator, V6_BITS);
    case OPERATOR_SHAPES: return shapes_are_fine(image, operator);
    case OPERATOR_GRAMS: return grams_are_fine(image, operator);
    case OPERATOR_ANY_STRING: return operator->extra < image->predicates_count;
    case OPERATOR_RANGES: return ranges_are_fine(image, operator);
    }
    return false;
}

/* ---- predicates, fields, conjunctions ---- */

static bool access_is_fine(const struct image *image, uint32_t access)
{
    if (access == IMAGE_NONE)
        return true;
    if ((access & IMAGE_LIST) != 0)
        return list_below(image, access & ~IMAGE_LIST, image->conjunctions_count);
    return (access & IMAGE_RULE) != 0 ? (access & ~IMAGE_RULE) < image->rules_count : access < image->conjunctions_count;
}

static bool bulk_places_are_fine(const struct image *image, const struct image_but *but)
{
    uint64_t places = (uint64_t)image->paths[but->path].bulk_count * 64;

    return words_below(image, but->bulk, but->bulk_count, places > UINT32_MAX ? UINT32_MAX : (uint32_t)places);
}

static bool predicates_are_fine(const struct image *image)
{
    for (uint32_t p = 0; p < image->predicates_count; p++) {
        const struct image_predicate *predicate = &image->predicates[p];
        bool but = (predicate->meta & PREDICATE_KIND_MASK) == PREDICATE_BUT;
        if (predicate->meta >> PREDICATE_PATH_SHIFT >= image->paths_count || !access_is_fine(image, predicate->access) ||
            (but ? predicate->text >= image->buts_count : !text_fits(image, predicate->text)) ||
            (predicate->fails != IMAGE_NONE && !list_below(image, predicate->fails, image->buts_count)))
            return false;
    }
    for (uint32_t b = 0; b < image->buts_count; b++)
        if (!words_below(image, image->buts[b].others, image->buts[b].others_count, image->predicates_count) ||
            image->buts[b].path >= image->paths_count ||
            (image->buts[b].bulk_count > 0 && !bulk_places_are_fine(image, &image->buts[b])))
            return false;
    return true;
}

static bool join_is_fine(const struct image *image, uint32_t join)
{
    if (join == IMAGE_NONE)
        return true;
    if (join >= image->words_count || !fits((uint64_t)join + 1, (uint64_t)image->words[join] * 2, image->words_count))
        return false;
    for (uint32_t i = 0; i < image->words[join]; i++) {
        uint32_t field = image->words[join + 1 + i * 2], node = image->words[join + 2 + i * 2];
        if (field >= image->fields_count || node >= image->nodes_count ||
            (node != 0 && image->paths[image->fields[field].path].joined == PATH_ALONE)) /* or its values would never be recorded */
            return false;
    }
    return true;
}

static bool rules_are_fine(const struct image *image)
{
    for (uint32_t f = 0; f < image->fields_count; f++)
        if (image->fields[f].path >= image->paths_count ||
            !words_below(image, image->fields[f].predicates, image->fields[f].predicates_count, image->predicates_count))
            return false;
    for (uint32_t r = 0; r < image->remainders_count; r++)
        if (!words_below(image, image->remainders[r].fields, image->remainders[r].fields_count, image->fields_count))
            return false;
    for (uint32_t c = 0; c < image->conjunctions_count; c++) {
        const struct image_conjunction *conjunction = &image->conjunctions[c];
        if (conjunction->rule >= image->rules_count ||
            (conjunction->remainder != IMAGE_NONE && conjunction->remainder >= image->remainders_count) ||
            !join_is_fine(image, conjunction->join))
            return false;
    }
    for (uint32_t r = 1; r < image->rules_count; r++)
        if (image->rules[r - 1] >= image->rules[r])
            return false;
    return words_below(image, image->absent_paths, image->absent_paths_count, image->paths_count) &&
           words_below(image, image->always, image->always_count, image->conjunctions_count);
}

const char *image_check(const struct image *image)
{
    if (!nodes_are_fine(image))
        return "its names lead nowhere";
    if (!paths_are_fine(image))
        return "its paths lead nowhere";
    if (!predicates_are_fine(image))
        return "its predicates lead nowhere";
    if (!rules_are_fine(image))
        return "its rules lead nowhere";
    for (uint32_t o = 0; o < image->operators_count; o++)
        if (!operator_is_fine(image, &image->operators[o]))
            return "its tables lead nowhere";
    return NULL;
}
