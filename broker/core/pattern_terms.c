#include "broker/core/pattern_terms.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

enum { PLACE_BYTES_MAX = 80, QUOTE_BYTES_MAX = 40 };

static int quote_len(struct view text)
{
    return text.len > QUOTE_BYTES_MAX ? QUOTE_BYTES_MAX : (int)text.len;
}

enum sluice_err pattern_fail(struct pattern_reader *reader, const char *at, const char *format, ...)
{
    char reason[SLUICE_ERROR_TEXT_MAX], item[32] = "";
    unsigned long line = 1, column = 1;
    struct view place = bytes_view(&reader->path);
    va_list args;

    for (const char *c = reader->text.data; c < at; c++) {
        column = *c == '\n' ? 1 : column + (((unsigned char)*c & 0xC0) != 0x80);
        line += *c == '\n';
    }
    if (reader->ret_offset != NULL)
        *reader->ret_offset = (size_t)(at - reader->text.data);
    va_start(args, format);
    (void)vsnprintf(reason, sizeof reason, format, args);
    va_end(args);
    if (reader->item != PATTERN_NO_ITEM)
        (void)snprintf(item, sizeof item, "[%zu]", reader->item);
    bool cut = place.len > PLACE_BYTES_MAX;
    if (cut) /* the end of a long path says more than its beginning */
        place = (struct view){ .data = place.data + place.len - PLACE_BYTES_MAX, .len = PLACE_BYTES_MAX };
    sluice_fail(reader->reterr, SLUICE_EINVAL, "Event pattern is not valid. Reason: %.110s at %s%.*s%s (%lu:%lu)", reason,
                cut ? "..." : place.len == 0 ? "the top" : "", (int)place.len, place.len == 0 ? "" : place.data, item, line,
                column);
    for (char *c = reader->reterr == NULL ? NULL : reader->reterr->text; c != NULL && *c != '\0'; c++)
        if ((unsigned char)*c < 0x20)
            *c = ' ';
    return SLUICE_EINVAL;
}

struct view pattern_take_text(struct pattern_reader *reader)
{
    struct scan_string string = scan_take_string(&reader->scan);

    if (!string.escaped)
        return arena_dup(reader->arena, string.raw);
    char *text = arena_alloc(reader->arena, string.raw.len);
    return (struct view){ .data = text, .len = scan_unescape(string.raw, text) };
}

/* The operand of `operator`, which takes one string. */
static enum sluice_err take_string(struct pattern_reader *reader, const char *name, struct view *ret_text)
{
    if (scan_next(&reader->scan) != '"')
        return pattern_fail(reader, reader->scan.at, "%s match pattern must be a string", name);
    *ret_text = pattern_take_text(reader);
    return SLUICE_OK;
}

static enum sluice_err take_number(struct pattern_reader *reader, struct number *ret_number)
{
    const char *at = reader->scan.at;
    struct view text = arena_dup(reader->arena, scan_take_scalar(&reader->scan));
    char first = text.len == 0 ? '\0' : text.data[0];

    if (first != '-' && (first < '0' || first > '9'))
        return pattern_fail(reader, at, "Match value must be String, number, true, false, or null");
    *ret_number = number_of_text(text);
    return SLUICE_OK;
}

/* A number that is compared by order, or by being different, must have a value: its text will not do. */
static enum sluice_err take_comparable(struct pattern_reader *reader, struct number *ret_number)
{
    const char *at = reader->scan.at;
    char c = scan_next(&reader->scan);

    if (c == '"' || c == '{' || c == '[')
        return pattern_fail(reader, at, "A number is needed here");
    enum sluice_err err = take_number(reader, ret_number);
    if (err == SLUICE_OK && !ret_number->comparable)
        return pattern_fail(reader, at, "%.*s is beyond what a double holds exactly (about 15 digits, 1e-308..1e308)",
                            quote_len(ret_number->text), ret_number->text.data);
    return err;
}

static enum sluice_err take_exactly(struct pattern_reader *reader, struct term *ret_term)
{
    ret_term->op = TERM_STRING;
    return take_string(reader, "exactly", &ret_term->text);
}

static enum sluice_err take_ignore_case(struct pattern_reader *reader, struct term *ret_term)
{
    ret_term->op = TERM_IGNORE_CASE;
    return take_string(reader, "equals-ignore-case", &ret_term->text);
}

/* "x" or {"equals-ignore-case": "x"}. */
static enum sluice_err take_affix(struct pattern_reader *reader, const char *name, enum term_operator plain,
                                  enum term_operator ignore_case, struct term *ret_term)
{
    ret_term->op = plain;
    if (!scan_take(&reader->scan, '{'))
        return take_string(reader, name, &ret_term->text);
    const char *at = reader->scan.at;
    if (scan_next(&reader->scan) != '"' || !view_is(pattern_take_text(reader), "equals-ignore-case"))
        return pattern_fail(reader, at, "%s takes a string or {\"equals-ignore-case\": string}", name);
    (void)scan_take(&reader->scan, ':');
    ret_term->op = ignore_case;
    enum sluice_err err = take_string(reader, name, &ret_term->text);
    if (err == SLUICE_OK && !scan_take(&reader->scan, '}'))
        return pattern_fail(reader, reader->scan.at, "Only one key allowed in match expression");
    return err;
}

static enum sluice_err take_prefix(struct pattern_reader *reader, struct term *ret_term)
{
    return take_affix(reader, "prefix", TERM_PREFIX, TERM_PREFIX_IGNORE_CASE, ret_term);
}

static enum sluice_err take_suffix(struct pattern_reader *reader, struct term *ret_term)
{
    return take_affix(reader, "suffix", TERM_SUFFIX, TERM_SUFFIX_IGNORE_CASE, ret_term);
}

/* Cuts at the stars; \* and \\ stand for themselves. The segments are written over the decoded text. */
static enum sluice_err take_wildcard(struct pattern_reader *reader, struct term *ret_term)
{
    VEC(struct view) segments = { 0 };
    struct view text;
    const char *at = reader->scan.at;
    enum sluice_err err = take_string(reader, "wildcard", &text);

    if (err != SLUICE_OK)
        return err;
    char *out = arena_alloc(reader->arena, text.len + 1), *start = out;
    bool after_star = false;
    for (size_t i = 0; i < text.len && err == SLUICE_OK; i++) {
        char c = text.data[i];
        if (c == '*') {
            if (after_star)
                err = pattern_fail(reader, at, "Consecutive wildcard characters at pos %zu", i - 1);
            VEC_PUSH(&segments, (struct view){ .data = start, .len = (size_t)(out - start) });
            start = out;
        } else {
            if (c == '\\' && (++i == text.len || (text.data[i] != '*' && text.data[i] != '\\')))
                err = pattern_fail(reader, at, "Invalid escape character at pos %zu", i - 1);
            else
                *out++ = text.data[i];
        }
        after_star = c == '*';
    }
    VEC_PUSH(&segments, (struct view){ .data = start, .len = (size_t)(out - start) });
    struct view *kept = arena_alloc(reader->arena, segments.count * sizeof *kept);
    memcpy(kept, segments.items, segments.count * sizeof *kept);
    ret_term->op = TERM_WILDCARD;
    ret_term->segments = kept;
    ret_term->segments_count = (unsigned)segments.count;
    VEC_DONE(&segments);
    return err;
}

/* ["=", n], one bound, or a lower and then an upper bound. */
static enum sluice_err take_numeric(struct pattern_reader *reader, struct term *ret_term)
{
    struct term_range range = { .low = -INFINITY, .high = INFINITY };
    struct number number;
    unsigned comparisons = 0;
    bool has_low = false, has_high = false;
    const char *list = reader->scan.at;

    if (!scan_take(&reader->scan, '['))
        return pattern_fail(reader, reader->scan.at, "Value of numeric must be an array");
    while (!scan_take(&reader->scan, ']')) {
        if (comparisons > 0)
            (void)scan_take(&reader->scan, ',');
        char c = scan_next(&reader->scan);
        const char *at = reader->scan.at;
        if (c != '"')
            return pattern_fail(reader, at, "Invalid member in numeric match: an operator (=, <, <=, >, >=) is needed");
        struct view name = pattern_take_text(reader);
        if (!scan_take(&reader->scan, ','))
            return pattern_fail(reader, reader->scan.at, "Value of %.*s must be numeric", quote_len(name), name.data);
        (void)scan_next(&reader->scan);
        enum sluice_err err = take_comparable(reader, &number);
        if (err != SLUICE_OK)
            return err;
        bool low = view_is(name, ">") || view_is(name, ">="), high = view_is(name, "<") || view_is(name, "<=");
        if (!low && !high && !view_is(name, "="))
            return pattern_fail(reader, at, "Unrecognized numeric range operator: %.*s", quote_len(name), name.data);
        if (comparisons++ > 0 && !(has_low && !has_high && high))
            return pattern_fail(reader, at, "Too many elements in numeric expression");
        if (low) {
            has_low = true;
            range.low = number.value;
            range.low_included = name.len == 2;
        } else if (high) {
            has_high = true;
            range.high = number.value;
            range.high_included = name.len == 2;
        }
    }
    if (comparisons == 0)
        return pattern_fail(reader, list, "Empty arrays are not allowed");
    if (has_low && has_high && range.low >= range.high)
        return pattern_fail(reader, list, "Bottom must be less than top");
    if (!has_low && !has_high) {
        ret_term->op = TERM_NUMBER;
        ret_term->number = number;
    } else {
        ret_term->op = TERM_RANGE;
        ret_term->range = range;
    }
    return SLUICE_OK;
}

static enum sluice_err take_cidr(struct pattern_reader *reader, struct term *ret_term)
{
    struct view text;
    const char *at = reader->scan.at;
    enum sluice_err err = take_string(reader, "cidr", &text);

    if (err != SLUICE_OK)
        return err;
    const char *mistake = ip_block_of_text(text, &ret_term->block);
    if (mistake != NULL)
        return pattern_fail(reader, at, "%s: %.*s", mistake, quote_len(text), text.data);
    ret_term->op = TERM_CIDR;
    return SLUICE_OK;
}

static enum sluice_err take_exists(struct pattern_reader *reader, struct term *ret_term)
{
    char c = scan_next(&reader->scan);
    const char *at = reader->scan.at;
    struct view text = c == '"' || c == '{' || c == '[' ? VIEW_LITERAL("") : scan_take_scalar(&reader->scan);

    if (!view_is(text, "true") && !view_is(text, "false"))
        return pattern_fail(reader, at, "exists match pattern must be either true or false");
    ret_term->op = view_is(text, "true") ? TERM_EXISTS : TERM_ABSENT;
    return SLUICE_OK;
}

/* One value that anything-but excludes: a string or a number, or an operand of `inner` when there is one. */
static enum sluice_err take_other(struct pattern_reader *reader, enum sluice_err (*inner)(struct pattern_reader *, struct term *),
                                  struct term *ret_term)
{
    char c = scan_next(&reader->scan);
    const char *at = reader->scan.at;

    if (inner != NULL) {
        if (c != '"')
            return pattern_fail(reader, at, "Unsupported anything-but pattern: a string is needed");
        enum sluice_err err = inner(reader, ret_term);
        bool affix = ret_term->op == TERM_PREFIX || ret_term->op == TERM_SUFFIX;
        if (err == SLUICE_OK && affix && ret_term->text.len == 0)
            return pattern_fail(reader, at, "Null prefix/suffix not allowed");
        return err;
    }
    if (c == '"')
        return take_exactly(reader, ret_term);
    if (c == '-' || (c >= '0' && c <= '9')) {
        ret_term->op = TERM_NUMBER;
        return take_comparable(reader, &ret_term->number);
    }
    return pattern_fail(reader, at, "Unsupported anything-but pattern: it takes strings or numbers");
}

/* A value, a list of strings, a list of numbers, or {operator: string or list of strings}. */
static enum sluice_err take_anything_but(struct pattern_reader *reader, struct term *ret_term)
{
    static const struct { const char *name; enum sluice_err (*take)(struct pattern_reader *, struct term *); } inners[] = {
        { "prefix", take_prefix }, { "suffix", take_suffix }, { "equals-ignore-case", take_ignore_case }, { "wildcard", take_wildcard },
    };
    enum sluice_err (*inner)(struct pattern_reader *, struct term *) = NULL;
    VEC(struct term) others = { 0 };
    enum sluice_err err = SLUICE_OK;

    bool object = scan_take(&reader->scan, '{');
    if (object) {
        char c = scan_next(&reader->scan);
        const char *at = reader->scan.at;
        struct view name = c == '"' ? pattern_take_text(reader) : VIEW_LITERAL("");
        for (size_t i = 0; i < sizeof inners / sizeof inners[0]; i++)
            if (view_is(name, inners[i].name))
                inner = inners[i].take;
        if (inner == NULL)
            return pattern_fail(reader, at, "Unsupported anything-but pattern: %.*s", quote_len(name), name.data);
        (void)scan_take(&reader->scan, ':');
    }
    bool list = scan_take(&reader->scan, '[');
    const char *at = reader->scan.at;
    do {
        if (list && scan_take(&reader->scan, ']')) {
            if (others.count == 0)
                err = pattern_fail(reader, at, "Empty arrays are not allowed");
            break;
        }
        if (others.count > 0)
            (void)scan_take(&reader->scan, ',');
        struct term other = { .op = TERM_STRING };
        (void)scan_next(&reader->scan);
        at = reader->scan.at;
        err = take_other(reader, inner, &other);
        if (err == SLUICE_OK && others.count > 0 && other.op != others.items[0].op)
            err = pattern_fail(reader, at, "Inside anything-but list, either all values are number or string, mixed type is not supported");
        VEC_PUSH(&others, other);
    } while (list && err == SLUICE_OK);
    if (err == SLUICE_OK && object && !scan_take(&reader->scan, '}'))
        err = pattern_fail(reader, reader->scan.at, "Only one key allowed in match expression");

    if (err == SLUICE_OK) {
        struct term *kept = arena_alloc(reader->arena, others.count * sizeof *kept);
        memcpy(kept, others.items, others.count * sizeof *kept);
        ret_term->op = TERM_ANYTHING_BUT;
        ret_term->others = kept;
        ret_term->others_count = (unsigned)others.count;
    }
    VEC_DONE(&others);
    return err;
}

static const struct operator_row {
    const char *name;
    enum sluice_err (*take)(struct pattern_reader *reader, struct term *ret_term);
} operators[] = {
    { "exactly", take_exactly },
    { "prefix", take_prefix },
    { "suffix", take_suffix },
    { "equals-ignore-case", take_ignore_case },
    { "wildcard", take_wildcard },
    { "numeric", take_numeric },
    { "cidr", take_cidr },
    { "exists", take_exists },
    { "anything-but", take_anything_but },
};

static const struct operator_row *operator_find(struct view name)
{
    for (size_t i = 0; i < sizeof operators / sizeof operators[0]; i++)
        if (view_is(name, operators[i].name))
            return &operators[i];
    return NULL;
}

bool pattern_is_operator(struct view name)
{
    return operator_find(name) != NULL;
}

/* {"operator": operand}; the cursor stands behind the brace. */
static enum sluice_err take_operator(struct pattern_reader *reader, struct term *ret_term)
{
    if (scan_next(&reader->scan) == '}')
        return pattern_fail(reader, reader->scan.at, "Empty objects are not allowed");
    const char *at = reader->scan.at;
    struct view name = pattern_take_text(reader);
    const struct operator_row *row = operator_find(name);
    if (row == NULL)
        return pattern_fail(reader, at, "Unrecognized match type %.*s", quote_len(name), name.data);
    (void)scan_take(&reader->scan, ':');
    (void)scan_next(&reader->scan);
    enum sluice_err err = row->take(reader, ret_term);
    if (err == SLUICE_OK && !scan_take(&reader->scan, '}'))
        return pattern_fail(reader, reader->scan.at, "Only one key allowed in match expression");
    return err;
}

static enum sluice_err take_term(struct pattern_reader *reader, struct term *ret_term)
{
    char c = scan_next(&reader->scan);
    const char *at = reader->scan.at;

    if (c == '[')
        return pattern_fail(reader, at, "Match value must be String, number, true, false, or null");
    if (scan_take(&reader->scan, '{'))
        return take_operator(reader, ret_term);
    if (c == '"') {
        struct view text = pattern_take_text(reader);
        if (ip_of_text(text, &ret_term->address)) {
            ret_term->op = TERM_IP;
            ret_term->address_text = text;
        } else {
            ret_term->op = TERM_STRING;
            ret_term->text = text;
        }
        return SLUICE_OK;
    }
    if (c == 't' || c == 'f' || c == 'n') {
        (void)scan_take_scalar(&reader->scan);
        ret_term->op = c == 't' ? TERM_TRUE : c == 'f' ? TERM_FALSE : TERM_NULL;
        return SLUICE_OK;
    }
    ret_term->op = TERM_NUMBER;
    return take_number(reader, &ret_term->number);
}

enum sluice_err pattern_take_terms(struct pattern_reader *reader, const struct term **ret_terms, unsigned *ret_count)
{
    VEC(struct term) terms = { 0 };
    enum sluice_err err = SLUICE_OK;
    const char *list = reader->scan.at;

    (void)scan_take(&reader->scan, '[');
    while (err == SLUICE_OK && !scan_take(&reader->scan, ']')) {
        struct term term = { .op = TERM_NULL };
        if (terms.count > 0)
            (void)scan_take(&reader->scan, ',');
        reader->item = terms.count;
        err = take_term(reader, &term);
        VEC_PUSH(&terms, term);
    }
    if (err == SLUICE_OK)
        reader->item = PATTERN_NO_ITEM;
    if (err == SLUICE_OK && terms.count == 0)
        err = pattern_fail(reader, list, "Empty arrays are not allowed");
    if (err == SLUICE_OK) {
        struct term *kept = arena_alloc(reader->arena, terms.count * sizeof *kept);
        memcpy(kept, terms.items, terms.count * sizeof *kept);
        *ret_terms = kept;
        *ret_count = (unsigned)terms.count;
    }
    VEC_DONE(&terms);
    return err;
}
