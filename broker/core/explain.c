/* The engine says whether the rule matches; the values it saw at the rule's paths are then held against the alternatives of each
 * field one by one (operators.h). If every field has a fitting value, it was the arrays: no item has them together. */
#include "broker/core/explain.h"

#include <math.h>
#include <stdio.h>

#include "broker/base/assert.h"
#include "broker/base/vec.h"
#include "broker/core/event_state.h"
#include "broker/core/match_set.h"
#include "broker/core/pattern.h"
#include "broker/core/walk_names.h"
#include "schemas/codec/json.h"
#include "schemas/codec/utf8.h"

enum { VALUES_SHOWN = 3, TERMS_SHOWN = 4, QUOTE_BYTES_MAX = 60, PATH_BYTES_MAX = 200, VALUES_KEPT_MAX = 100000, STEP_TEXT_BYTES = 16 };

struct seen_value {
    struct value value;
    uint32_t path;
};

struct seen {
    struct arena *arena;
    const struct match_scratch *scratch; /* as the match left it */
    VEC(struct seen_value) values;
    uint64_t steps;                      /* alternatives tried, longer texts for more: MATCH_STEPS_MAX */
};

static void see(void *ctx, uint32_t path, const struct value *value)
{
    struct seen *seen = ctx;
    struct seen_value kept = { .value = *value, .path = path };

    if (seen->values.count == VALUES_KEPT_MAX) {
        seen->steps = MATCH_STEPS_MAX + 1;
        return;
    }
    if (value->text.data != NULL)
        kept.value.text = arena_dup(seen->arena, value->text);
    VEC_PUSH(&seen->values, kept);
}

/* ---- words ---- */

/* At most so much of the text, cut at a character. */
static struct view cut(struct view text, size_t most)
{
    if (text.len > most)
        for (text.len = most; text.len > 0 && ((unsigned char)text.data[text.len] & 0xC0) == 0x80; text.len--)
            ;
    return text;
}

/* As JSON. */
static void put_quoted(struct bytes *out, struct view text)
{
    json_put_string(out, cut(text, QUOTE_BYTES_MAX));
    bytes_put_text(out, text.len > QUOTE_BYTES_MAX ? "..." : "");
}

static void put_path(struct bytes *out, struct view path)
{
    bytes_put_view(out, cut(path, PATH_BYTES_MAX));
    bytes_put_text(out, path.len > PATH_BYTES_MAX ? "..." : "");
}

static void put_double(struct bytes *out, double value)
{
    char text[40];
    double back;

    for (int digits = 15; digits <= 17; digits++) { /* the fewest that say it exactly */
        (void)snprintf(text, sizeof text, "%.*g", digits, value);
        if (sscanf(text, "%lf", &back) == 1 && back == value)
            break;
    }
    bytes_put_text(out, text);
}

static void put_number(struct bytes *out, const struct number *number)
{
    if (number->text.data == NULL)
        put_double(out, number->value);
    else if (number->text.len > QUOTE_BYTES_MAX)
        bytes_put_format(out, "%.*s...", QUOTE_BYTES_MAX, number->text.data);
    else
        bytes_put_view(out, number->text);
}

static void put_value(struct bytes *out, const struct value *value)
{
    switch (value->type) {
    case VALUE_STRING: put_quoted(out, value->text); break;
    case VALUE_NUMBER:
        if (value->text.data != NULL)
            put_number(out, &(struct number){ .text = value->text });
        else
            put_number(out, &value->number);
        break;
    case VALUE_TRUE: bytes_put_text(out, "true"); break;
    case VALUE_FALSE: bytes_put_text(out, "false"); break;
    case VALUE_NULL: bytes_put_text(out, "null"); break;
    }
}

static void put_wildcard(struct bytes *out, const struct term *term)
{
    struct bytes text = { 0 };

    for (unsigned i = 0; i < term->segments_count; i++) {
        bytes_put_text(&text, i == 0 ? "" : "*");
        for (size_t at = 0; at < term->segments[i].len; at++) {
            char c = term->segments[i].data[at];
            if (c == '*' || c == '\\')
                bytes_put_char(&text, '\\');
            bytes_put_char(&text, c);
        }
    }
    bytes_put_text(out, "a string like ");
    put_quoted(out, bytes_view(&text));
    bytes_done(&text);
}

static void put_range(struct bytes *out, const struct term_range *range)
{
    bytes_put_text(out, "a number ");
    if (isfinite(range->low)) {
        bytes_put_text(out, range->low_included ? ">= " : "> ");
        put_double(out, range->low);
    }
    if (isfinite(range->low) && isfinite(range->high))
        bytes_put_text(out, " and ");
    if (isfinite(range->high)) {
        bytes_put_text(out, range->high_included ? "<= " : "< ");
        put_double(out, range->high);
    }
}

static void put_block(struct bytes *out, const struct ip_block *block)
{
    const uint8_t *bytes = block->base.bytes;

    bytes_put_text(out, "an address in ");
    if (block->base.len == 4)
        bytes_put_format(out, "%u.%u.%u.%u", bytes[0], bytes[1], bytes[2], bytes[3]);
    else
        for (unsigned i = 0; i < 16; i += 2)
            bytes_put_format(out, "%s%x", i == 0 ? "" : ":", (unsigned)bytes[i] << 8 | bytes[i + 1]);
    bytes_put_format(out, "/%u", block->bits);
}

/* Any but anything-but. */
static void put_simple_term(struct bytes *out, const struct term *term)
{
    switch (term->op) {
    case TERM_STRING: put_quoted(out, term->text); break;
    case TERM_IP: put_quoted(out, term->address_text); break;
    case TERM_NUMBER: put_number(out, &term->number); break;
    case TERM_TRUE: bytes_put_text(out, "true"); break;
    case TERM_FALSE: bytes_put_text(out, "false"); break;
    case TERM_NULL: bytes_put_text(out, "null"); break;
    case TERM_PREFIX:
    case TERM_PREFIX_IGNORE_CASE:
        bytes_put_text(out, "a string that begins with ");
        put_quoted(out, term->text);
        break;
    case TERM_SUFFIX:
    case TERM_SUFFIX_IGNORE_CASE:
        bytes_put_text(out, "a string that ends with ");
        put_quoted(out, term->text);
        break;
    case TERM_IGNORE_CASE: put_quoted(out, term->text); break;
    case TERM_WILDCARD: put_wildcard(out, term); break;
    case TERM_RANGE: put_range(out, &term->range); break;
    case TERM_CIDR: put_block(out, &term->block); break;
    case TERM_EXISTS: bytes_put_text(out, "any value"); break;
    case TERM_ABSENT: bytes_put_text(out, "no value"); break;
    case TERM_ANYTHING_BUT: ASSERT(term->op != TERM_ANYTHING_BUT); break; /* it does not nest */
    }
    if (term->op == TERM_IGNORE_CASE || term->op == TERM_PREFIX_IGNORE_CASE || term->op == TERM_SUFFIX_IGNORE_CASE)
        bytes_put_text(out, " in any case");
}

static void put_terms(struct bytes *out, const struct term *terms, unsigned count)
{
    for (unsigned i = 0; i < count && i < TERMS_SHOWN; i++) {
        bytes_put_text(out, i == 0 ? "" : i + 1 == count ? " or " : ", ");
        if (terms[i].op != TERM_ANYTHING_BUT) {
            put_simple_term(out, &terms[i]);
            continue;
        }
        bytes_put_text(out, "anything but ");
        for (unsigned o = 0; o < terms[i].others_count && o < TERMS_SHOWN; o++) {
            bytes_put_text(out, o == 0 ? "" : o + 1 == terms[i].others_count ? " or " : ", ");
            put_simple_term(out, &terms[i].others[o]);
        }
        if (terms[i].others_count > TERMS_SHOWN)
            bytes_put_format(out, " or %u others", terms[i].others_count - TERMS_SHOWN);
    }
    if (count > TERMS_SHOWN)
        bytes_put_format(out, " or %u others", count - TERMS_SHOWN);
}

/* ---- fields ---- */

struct field_values {
    struct view path;
    struct value *values[VALUES_SHOWN]; /* the first of them */
    size_t count;
    bool holds;
};

static struct field_values values_of(struct seen *seen, const struct pattern_field *field)
{
    struct field_values values = { .path = field->path };
    const struct image *image = seen->scratch->image;
    uint32_t number = image->nodes[walk_step_dotted(image, 0, field->path)].path; /* the rule was compiled from this pattern */

    for (size_t v = 0; v < seen->values.count && !values.holds && seen->steps <= MATCH_STEPS_MAX; v++) {
        struct seen_value *at = &seen->values.items[v];
        if (at->path != number)
            continue;
        seen->steps += (uint64_t)field->terms_count * (1 + at->value.text.len / STEP_TEXT_BYTES);
        if (values.count < VALUES_SHOWN)
            values.values[values.count] = &at->value;
        values.count++;
        for (unsigned t = 0; t < field->terms_count; t++)
            values.holds |= term_matches(&field->terms[t], &at->value);
    }
    for (unsigned t = 0; t < field->terms_count; t++)
        values.holds |= values.count == 0 && field->terms[t].op == TERM_ABSENT;
    return values;
}

static bool wants_type(const struct pattern_field *field, enum value_type type)
{
    for (unsigned t = 0; t < field->terms_count; t++) {
        enum term_operator op = field->terms[t].op;
        bool number = op == TERM_NUMBER || op == TERM_RANGE, literal = op == TERM_TRUE || op == TERM_FALSE || op == TERM_NULL;
        bool any = op == TERM_EXISTS || op == TERM_ABSENT || op == TERM_ANYTHING_BUT;
        if (any || (type == VALUE_NUMBER ? number : type == VALUE_STRING ? !number && !literal : literal))
            return true;
    }
    return false;
}

static void put_failure(struct bytes *out, const struct pattern_field *field, const struct field_values *values)
{
    put_path(out, field->path);
    if (values->count == 0) {
        bytes_put_text(out, " is absent");
    } else if (values->count == 1) {
        bool other_type = !wants_type(field, values->values[0]->type);
        enum value_type type = values->values[0]->type;
        bytes_put_text(out, !other_type ? " is " : type == VALUE_STRING ? " is the string " : type == VALUE_NUMBER ? " is the number " : " is ");
        put_value(out, values->values[0]);
    } else {
        bytes_put_format(out, " has %zu values (", values->count);
        for (size_t i = 0; i < values->count && i < VALUES_SHOWN; i++) {
            bytes_put_text(out, i == 0 ? "" : ", ");
            put_value(out, values->values[i]);
        }
        bytes_put_text(out, values->count > VALUES_SHOWN ? ", ...)" : ")");
    }
    bytes_put_text(out, ", and the pattern wants ");
    put_terms(out, field->terms, field->terms_count);
}

/* ---- arrays ---- */

static bool is_below(const struct image *image, uint32_t node, uint32_t above)
{
    while (node != above && node != 0)
        node = image->nodes[node].parent;
    return node == above;
}

/* Names the fields below an array that has objects or arrays as its items; none if it is only one. */
static bool put_array(struct bytes *out, const struct pattern_branch *branch, const struct image *image, uint32_t array, const char *before)
{
    unsigned count = 0, put = 0;

    for (unsigned f = 0; f < branch->fields_count; f++)
        count += is_below(image, walk_step_dotted(image, 0, branch->fields[f]->path), array);
    if (count < 2)
        return false;
    bytes_put_text(out, before);
    for (unsigned f = 0; f < branch->fields_count; f++) {
        if (!is_below(image, walk_step_dotted(image, 0, branch->fields[f]->path), array))
            continue;
        bytes_put_text(out, put++ == 0 ? "" : ", ");
        put_path(out, branch->fields[f]->path);
    }
    return true;
}

/* All fields hold by themselves: it was the items of an array. Of arrays in one another the outermost is told. */
static void put_arrays(struct bytes *out, const struct pattern_branch *branch, const struct match_scratch *scratch)
{
    const struct image *image = scratch->image;
    VEC(uint32_t) told = { 0 };

    for (uint32_t node = 0; node < image->nodes_count; node++) { /* those above come first */
        bool inside = scratch->nodes.items[node] != scratch->epoch;
        for (size_t i = 0; i < told.count && !inside; i++)
            inside = is_below(image, node, told.items[i]);
        if (!inside && put_array(out, branch, image, node, told.count == 0 ? "no item of one array has all of " : ", or none of another all of "))
            VEC_PUSH(&told, node);
    }
    VEC_DONE(&told);
    bytes_put_text(out, " as the pattern wants them");
}

/* false: it would take too long. */
static bool put_no_match(struct bytes *out, const struct pattern *pattern, struct seen *seen)
{
    const struct pattern_branch *best = NULL;
    unsigned best_held = 0;
    struct field_values failed = { 0 };

    for (unsigned b = 0; b < pattern->branches_count; b++) {
        const struct pattern_branch *branch = &pattern->branches[b];
        struct field_values values = { .holds = true };
        unsigned held = 0;
        while (held < branch->fields_count && (values = values_of(seen, branch->fields[held])).holds)
            held++;
        if (best != NULL && held <= best_held)
            continue;
        best = branch;
        best_held = held;
        failed = values;
    }
    ASSERT(best != NULL); /* a pattern has a branch at least */
    if (seen->steps > MATCH_STEPS_MAX)
        return false;
    if (best_held == best->fields_count)
        put_arrays(out, best, seen->scratch);
    else
        put_failure(out, best->fields[best_held], &failed);
    if (pattern->branches_count > 1)
        bytes_put_format(out, " (of %u $or combinations this one came closest)", pattern->branches_count);
    return true;
}

/* ---- all ---- */

/* One line of UTF-8, as far as there is room: names may hold line breaks, and lone surrogates, which are no characters. */
static void finish(struct bytes *text, struct explanation *ret_explanation)
{
    static const char no_character[] = "\xEF\xBF\xBD"; /* U+FFFD */
    const uint8_t *at = (const uint8_t *)text->data, *end = at + text->len;
    size_t len = 0;

    while (at < end) {
        unsigned taken = *at < 0x80 ? 1 : utf8_sequence(at, end);
        const void *put = taken == 0 ? (const void *)no_character : *at < 0x20 ? " " : (const void *)at;
        size_t put_len = taken == 0 ? sizeof no_character - 1 : taken;
        if (put_len >= EXPLANATION_TEXT_MAX - len)
            break;
        memcpy(ret_explanation->text + len, put, put_len);
        len += put_len;
        at += taken == 0 ? 1 : taken;
    }
    ret_explanation->text[len] = '\0';
    bytes_done(text);
}

static enum sluice_err explain(struct view text, const struct event *event, struct view json, struct explanation *ret_explanation,
                               struct sluice_error *reterr)
{
    enum { ARENA_BLOCK_BYTES = 16 << 10 };
    struct seen seen = { .arena = arena_new(ARENA_BLOCK_BYTES) };
    struct match_rule rule = { .pattern = text, .id = 1 };
    struct match_set *set = NULL;
    struct match_scratch *scratch = match_scratch_new();
    struct pattern pattern;
    struct bytes out = { 0 };

    enum sluice_err err = scratch == NULL ? sluice_fail(reterr, SLUICE_ENOMEM, "out of memory") : SLUICE_OK;
    if (err == SLUICE_OK)
        err = match_set_new(&rule, 1, &set, NULL, reterr);
    if (err == SLUICE_OK)
        err = pattern_parse(text, seen.arena, &pattern, NULL, reterr);
    seen.scratch = scratch;
    if (err == SLUICE_OK) {
        err = match_watched(set, scratch, event, json, see, &seen, &ret_explanation->matches);
        if (err != SLUICE_OK)
            (void)sluice_fail(reterr, err, "the event takes more than %d steps to match: its arrays are too large", MATCH_STEPS_MAX);
    }
    if (err == SLUICE_OK) {
        if (ret_explanation->matches)
            bytes_put_text(&out, "every field of the pattern holds");
        else if (!put_no_match(&out, &pattern, &seen))
            err = sluice_fail(reterr, SLUICE_ELIMIT, "it does not match, and to say why would take more than %d steps: the event has too many values at "
                              "the pattern's fields, or these too many alternatives", MATCH_STEPS_MAX);
        finish(&out, ret_explanation);
    }
    VEC_DONE(&seen.values);
    match_set_free(set);
    match_scratch_free(scratch);
    arena_free(seen.arena);
    return err;
}

enum sluice_err explain_json(struct view pattern, struct view object, struct explanation *ret_explanation, struct sluice_error *reterr)
{
    enum sluice_err err = json_check(object, JSON_OBJECT, EVENT_DEPTH_MAX, reterr);

    return err != SLUICE_OK ? err : explain(pattern, NULL, object, ret_explanation, reterr);
}

enum sluice_err explain_event(struct view pattern, const struct event *event, struct explanation *ret_explanation,
                              struct sluice_error *reterr)
{
    return explain(pattern, event, (struct view){ 0 }, ret_explanation, reterr);
}
