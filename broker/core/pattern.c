/* One pass over the checked text with an explicit stack. What $or multiplies out is kept as chains of assignments: every
 * branch is a chain, newest first, that shares its tail with the branches made from the same beginning.
 *
 *     {"a": [1], "$or": [{"b": [2]}, {"c": [3]}], "d": [4]}
 *
 *       after a:  a            after the $or:  b -> a        after d:  d -> b -> a
 *                                              c -> a                  d -> c -> a
 *
 * The first assignment of a path on the way down is the one that holds, which is all that "replaces" means. */
#include "broker/core/pattern.h"

#include <stdlib.h>

#include "broker/base/assert.h"
#include "broker/base/vec.h"
#include "broker/core/pattern_terms.h"
#include "schemas/codec/json.h"

struct assignment {
    const struct pattern_field *field;
    unsigned path_index;
    const struct assignment *next;
};

struct chains {
    const struct assignment **items;
    size_t count, capacity;
};

enum frame_kind {
    FRAME_OBJECT,
    FRAME_BRANCH, /* an object that is one branch of a $or */
    FRAME_OR,
};

struct frame {
    enum frame_kind kind;
    bool named;          /* its path has a name: what comes below is joined with a dot */
    size_t path_len;     /* of the reader's path, while this frame is on top */
    size_t items;        /* members, or branches */
    const char *at;
    struct chains base;  /* OR: the branches as they were before it; every branch starts from these */
    struct chains done;  /* OR: what its branches so far have made of them */
};

struct parser {
    struct pattern_reader reader;
    VEC(struct frame) frames;
    VEC(struct view) paths;    /* distinct ones */
    struct chains current;     /* NULL is the end of a chain: one branch without fields to begin with */
    size_t assignments;
};

static struct frame *top(struct parser *parser)
{
    return &parser->frames.items[parser->frames.count - 1];
}

static void chains_copy(struct chains *to, const struct chains *from)
{
    VEC_ROOM(to, from->count);
    if (from->count > 0)
        memcpy(to->items, from->items, from->count * sizeof *from->items);
    to->count = from->count;
}

static enum sluice_err push(struct parser *parser, enum frame_kind kind, bool named, const char *at)
{
    if (parser->frames.count == PATTERN_DEPTH_MAX)
        return pattern_fail(&parser->reader, at, "Nested deeper than %d", PATTERN_DEPTH_MAX);
    VEC_PUSH(&parser->frames,
             (struct frame){ .kind = kind, .named = named, .path_len = parser->reader.path.len, .at = at });
    return SLUICE_OK;
}

static void pop(struct parser *parser)
{
    struct frame *frame = top(parser);

    VEC_DONE(&frame->base);
    VEC_DONE(&frame->done);
    parser->frames.count--;
    if (parser->frames.count > 0)
        parser->reader.path.len = top(parser)->path_len;
}

static enum sluice_err path_index(struct parser *parser, const char *at, unsigned *ret_index)
{
    struct view path = bytes_view(&parser->reader.path);

    for (size_t i = 0; i < parser->paths.count; i++)
        if (view_equals(parser->paths.items[i], path)) {
            *ret_index = (unsigned)i;
            return SLUICE_OK;
        }
    if (parser->paths.count == PATTERN_FIELDS_MAX)
        return pattern_fail(&parser->reader, at, "More than %d fields", PATTERN_FIELDS_MAX);
    *ret_index = (unsigned)parser->paths.count;
    VEC_PUSH(&parser->paths, arena_dup(parser->reader.arena, path));
    return SLUICE_OK;
}

/* `"name": [alternatives]`: the field joins every branch there is. */
static enum sluice_err take_field(struct parser *parser, const char *at)
{
    struct arena *arena = parser->reader.arena;
    struct pattern_field *field = arena_alloc(arena, sizeof *field);
    unsigned index = 0;

    enum sluice_err err = path_index(parser, at, &index);
    if (err == SLUICE_OK)
        err = pattern_take_terms(&parser->reader, &field->terms, &field->terms_count);
    if (err != SLUICE_OK)
        return err;
    field->path = parser->paths.items[index];

    parser->assignments += parser->current.count;
    if (parser->assignments > PATTERN_ASSIGNMENTS_MAX)
        return pattern_fail(&parser->reader, at, "More than %d fields in all $or combinations", PATTERN_ASSIGNMENTS_MAX);
    for (size_t i = 0; i < parser->current.count; i++) {
        struct assignment *assignment = arena_alloc(arena, sizeof *assignment);
        *assignment = (struct assignment){ .field = field, .path_index = index, .next = parser->current.items[i] };
        parser->current.items[i] = assignment;
    }
    return SLUICE_OK;
}

/* {"$or": [{"prefix": "a"}, {"suffix": "b"}]} is a field that happens to be called $or, for the reference engine and so for
 * us: a list of nothing but operators cannot be meant as branches. Every other list is a $or, or a mistake. */
static bool or_is_a_field(const struct pattern_reader *reader)
{
    struct scan ahead = reader->scan;
    size_t items = 0;

    (void)scan_take(&ahead, '[');
    while (scan_next(&ahead) != ']' && ahead.at < ahead.end) {
        struct scan inside = ahead;
        if (!scan_take(&inside, '{') || scan_next(&inside) != '"' || !pattern_is_operator(scan_take_string(&inside).raw))
            return false;
        (void)scan_take_value(&ahead);
        (void)scan_take(&ahead, ',');
        items++;
    }
    return items > 0;
}

static bool name_is_reserved(struct view name)
{
    static const char *const others[] = { "=", "<", "<=", ">", ">=" };

    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        if (view_is(name, others[i]))
            return true;
    return pattern_is_operator(name);
}

static enum sluice_err take_member(struct parser *parser)
{
    struct pattern_reader *reader = &parser->reader;
    struct frame *frame = top(parser);
    const char *at = reader->scan.at;
    struct view name = pattern_take_text(reader);

    frame->items++;
    (void)scan_take(&reader->scan, ':');
    char c = scan_next(&reader->scan);
    if (frame->kind == FRAME_BRANCH && name_is_reserved(name))
        return pattern_fail(reader, at, "A $or branch must not have a field named like an operator: %.40s",
                            arena_text(reader->arena, name));
    if (view_is(name, "$or") && c == '[' && !or_is_a_field(reader)) {
        enum sluice_err err = push(parser, FRAME_OR, frame->named, at);
        if (err != SLUICE_OK)
            return err;
        (void)scan_take(&reader->scan, '[');
        chains_copy(&top(parser)->base, &parser->current);
        return SLUICE_OK;
    }
    if (frame->named)
        bytes_put_char(&reader->path, '.');
    bytes_put_view(&reader->path, name);
    ASSERT(!reader->path.failed);
    if (c == '{') {
        const char *object = reader->scan.at;
        (void)scan_take(&reader->scan, '{');
        return push(parser, FRAME_OBJECT, true, object);
    }
    if (c != '[')
        return pattern_fail(reader, reader->scan.at, "\"%.40s\" must be an object or an array", arena_text(reader->arena, name));
    enum sluice_err err = take_field(parser, at);
    reader->path.len = frame->path_len;
    return err;
}

static enum sluice_err close_object(struct parser *parser)
{
    struct frame *frame = top(parser);

    if (frame->items == 0)
        return pattern_fail(&parser->reader, frame->at, "Empty objects are not allowed");
    bool branch = frame->kind == FRAME_BRANCH;
    pop(parser);
    if (!branch)
        return SLUICE_OK;
    struct frame *or = top(parser);
    if (or->done.count + parser->current.count > PATTERN_BRANCHES_MAX)
        return pattern_fail(&parser->reader, or->at, "$or makes more than %d combinations", PATTERN_BRANCHES_MAX);
    for (size_t i = 0; i < parser->current.count; i++)
        VEC_PUSH(&or->done, parser->current.items[i]);
    return SLUICE_OK;
}

static enum sluice_err take_branch(struct parser *parser)
{
    struct frame *or = top(parser);
    char c = scan_next(&parser->reader.scan);
    const char *at = parser->reader.scan.at;

    if (c != '{')
        return pattern_fail(&parser->reader, at, "$or takes a list of objects");
    (void)scan_take(&parser->reader.scan, '{');
    or->items++;
    chains_copy(&parser->current, &or->base);
    return push(parser, FRAME_BRANCH, or->named, at);
}

static enum sluice_err close_or(struct parser *parser)
{
    struct frame *or = top(parser);

    if (or->items < 2)
        return pattern_fail(&parser->reader, or->at, "There must be at least 2 objects in a $or");
    chains_copy(&parser->current, &or->done);
    pop(parser);
    return SLUICE_OK;
}

static enum sluice_err parse(struct parser *parser)
{
    struct scan *scan = &parser->reader.scan;
    enum sluice_err err;

    if (scan_next(scan) != '{')
        return pattern_fail(&parser->reader, scan->at, "Filter is not an object");
    err = push(parser, FRAME_OBJECT, false, scan->at);
    (void)scan_take(scan, '{');
    VEC_PUSH(&parser->current, NULL);
    while (err == SLUICE_OK && parser->frames.count > 0) {
        struct frame *frame = top(parser);
        bool is_or = frame->kind == FRAME_OR;
        if (scan_take(scan, is_or ? ']' : '}')) {
            err = is_or ? close_or(parser) : close_object(parser);
            continue;
        }
        if (frame->items > 0)
            (void)scan_take(scan, ',');
        (void)scan_next(scan);
        err = is_or ? take_branch(parser) : take_member(parser);
    }
    return err;
}

static int compare_fields(const void *left, const void *right)
{
    struct view a = (*(const struct pattern_field *const *)left)->path, b = (*(const struct pattern_field *const *)right)->path;
    size_t len = a.len < b.len ? a.len : b.len;
    int order = len == 0 ? 0 : memcmp(a.data, b.data, len);

    return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

static void finish(const struct parser *parser, struct pattern *ret_pattern)
{
    struct arena *arena = parser->reader.arena;
    struct pattern_branch *branches = arena_alloc(arena, parser->current.count * sizeof *branches);

    for (size_t i = 0; i < parser->current.count; i++) {
        const struct pattern_field *held[PATTERN_FIELDS_MAX] = { NULL }; /* by path; the newest */
        const struct pattern_field **fields = arena_alloc(arena, parser->paths.count * sizeof *fields);
        unsigned count = 0;
        for (const struct assignment *a = parser->current.items[i]; a != NULL; a = a->next)
            if (held[a->path_index] == NULL)
                fields[count++] = held[a->path_index] = a->field;
        ASSERT(count > 0);
        qsort(fields, count, sizeof *fields, compare_fields);
        branches[i] = (struct pattern_branch){ .fields = fields, .fields_count = count };
    }
    *ret_pattern = (struct pattern){ .branches = branches, .branches_count = (unsigned)parser->current.count };
}

static void parser_done(struct parser *parser)
{
    while (parser->frames.count > 0)
        pop(parser);
    VEC_DONE(&parser->frames);
    VEC_DONE(&parser->paths);
    VEC_DONE(&parser->current);
    bytes_done(&parser->reader.path);
}

enum sluice_err pattern_parse(struct view text, struct arena *arena, struct pattern *ret_pattern, size_t *ret_offset,
                              struct sluice_error *reterr)
{
    struct sluice_error mistake;

    if (ret_offset != NULL)
        *ret_offset = 0;
    if (text.len > PATTERN_BYTES_MAX)
        return sluice_fail(reterr, SLUICE_EINVAL, "Event pattern is not valid. Reason: longer than %d bytes", PATTERN_BYTES_MAX);
    if (json_check(text, JSON_ANY, JSON_DEPTH_MAX, &mistake) != SLUICE_OK)
        return sluice_fail(reterr, SLUICE_EINVAL, "Event pattern is not valid. Reason: %.200s", mistake.text);

    struct parser parser = { .reader = { .scan = scan_of(text), .text = text, .arena = arena, .item = PATTERN_NO_ITEM,
                                         .ret_offset = ret_offset, .reterr = reterr } };
    enum sluice_err err = parse(&parser);
    if (err == SLUICE_OK)
        finish(&parser, ret_pattern);
    parser_done(&parser);
    return err;
}
