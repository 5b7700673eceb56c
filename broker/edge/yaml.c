/* Events of libfyaml become nodes; open maps and lists are on a stack of fixed depth, and a container learns its span when it ends.
 * The source is kept whole: most scalars are a range of it and cost no memory of their own. */
#include "broker/edge/yaml.h"

#include <errno.h>
#include <fcntl.h>
#include <libfyaml.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "broker/base/assert.h"
#include "broker/base/vec.h"
#include "schemas/codec/utf8.h"

struct builder {
    struct yaml_file *file;
    VEC(struct yaml_node) nodes;
    VEC(const struct yaml_node *) keys; /* of the map that just ended */
    size_t open[YAML_DEPTH_MAX];    /* indices of the containers around the next node */
    unsigned depth;
    unsigned documents;
    bool failed;                    /* reading on would show nothing true */
};

static void complain(struct builder *builder, size_t offset, const char *text)
{
    mistake_at(builder->file->mistakes, &builder->file->source, offset, "%s", text);
    builder->failed = true;
}

/* ---- reading ---- */

/* NULL: the reason has been told. */
static char *read_whole(const char *path, size_t *ret_len, struct mistakes *mistakes)
{
    char *buffer = NULL;
    size_t len = 0, capacity = 0;
    struct stat info;
    const char *reason = NULL;

    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK); /* not held up by a FIFO */
    if (fd < 0 || fstat(fd, &info) != 0) {
        reason = strerror(errno);
    } else if (!S_ISREG(info.st_mode)) {
        reason = "not a regular file";
    }
    while (reason == NULL) {
        if (len == capacity)
            vec_room((void **)&buffer, &capacity, capacity == 0 ? 16384 : capacity + 1, 1);
        ssize_t got = read(fd, buffer + len, capacity - len);
        if (got == 0)
            break;
        if (got < 0 && errno != EINTR)
            reason = strerror(errno);
        if (got > 0)
            len += (size_t)got;
        if (len > YAML_FILE_BYTES_MAX)
            reason = "larger than 512 MiB";
    }
    if (fd >= 0)
        (void)close(fd); /* only read */
    if (reason != NULL) {
        mistake_of_file(mistakes, path, "cannot be read: %s", reason);
        free(buffer);
        return NULL;
    }
    *ret_len = len;
    return buffer;
}

static bool characters_check(struct builder *builder)
{
    const struct view text = builder->file->source.text;
    const uint8_t *bytes = (const uint8_t *)text.data;

    for (size_t i = 0; i < text.len;) {
        size_t len = bytes[i] < 0x80 ? 1 : utf8_sequence(bytes + i, bytes + text.len);
        if (len == 0) {
            complain(builder, i, "not UTF-8");
            return false;
        }
        if ((bytes[i] < 0x20 && bytes[i] != '\t' && bytes[i] != '\n' && bytes[i] != '\r') || bytes[i] == 0x7f) {
            complain(builder, i, "control character; write it as an escape in double quotes");
            return false;
        }
        i += len;
    }
    return true;
}

/* ---- events to nodes ---- */

static size_t event_offset(const struct builder *builder, struct fy_event *event)
{
    const struct fy_mark *mark = fy_event_start_mark(event);
    const struct view text = builder->file->source.text;

    if (mark == NULL) /* a value left out: its key is the last node */
        return builder->nodes.count == 0 ? 0 : builder->nodes.items[builder->nodes.count - 1].offset;
    size_t offset = mark->input_pos <= text.len ? mark->input_pos : text.len;
    if (event->type == FYET_SCALAR && event->scalar.value != NULL) {
        enum fy_scalar_style style = fy_token_scalar_style(event->scalar.value);
        if ((style == FYSS_SINGLE_QUOTED || style == FYSS_DOUBLE_QUOTED) && offset > 0)
            offset--; /* libfyaml's mark is behind the quote */
    }
    return offset;
}

static struct yaml_node *node_add(struct builder *builder, enum yaml_kind kind, size_t offset, struct fy_event *event)
{
    const struct fy_mark *mark = fy_event_start_mark(event);
    uint32_t line = mark != NULL ? (uint32_t)mark->line + 1
                                 : builder->nodes.count == 0 ? 1 : builder->nodes.items[builder->nodes.count - 1].line;

    if (builder->depth > 0) {
        struct yaml_node *container = &builder->nodes.items[builder->open[builder->depth - 1]];
        bool key = container->kind == YAML_MAP && container->count % 2 == 0;
        if (key && kind != YAML_SCALAR)
            complain(builder, offset, "a key must be text, not a list or a map");
        container->count++; /* of a map: keys and values, halved at its end */
    }
    VEC_PUSH(&builder->nodes, (struct yaml_node){ .kind = (uint8_t)kind, .offset = (uint32_t)offset, .line = line, .span = 1 });
    return &builder->nodes.items[builder->nodes.count - 1];
}

static void scalar_add(struct builder *builder, struct fy_event *event, size_t offset)
{
    static const uint8_t styles[FYSS_MAX] = {
        [FYSS_PLAIN] = YAML_PLAIN, [FYSS_SINGLE_QUOTED] = YAML_QUOTED, [FYSS_DOUBLE_QUOTED] = YAML_QUOTED,
        [FYSS_LITERAL] = YAML_LITERAL, [FYSS_FOLDED] = YAML_FOLDED,
    };
    const struct view source = builder->file->source.text;
    struct yaml_node *node = node_add(builder, YAML_SCALAR, offset, event);
    struct view text = VIEW_LITERAL("");

    if (event->scalar.value != NULL) {
        enum fy_scalar_style style = fy_token_scalar_style(event->scalar.value);
        ASSERT(style >= 0 && style < FYSS_MAX);
        node->style = styles[style];
        text.data = fy_token_get_text(event->scalar.value, &text.len);
        if (text.data == NULL) {
            complain(builder, offset, "cannot be read");
            text = VIEW_LITERAL("");
        }
    }
    /* libfyaml also copies texts that stand in the source as they are; 100,000 rules have a million of them. */
    size_t start = offset + (node->style == YAML_QUOTED);
    bool in_source = start + text.len <= source.len && memcmp(source.data + start, text.data, text.len) == 0;
    node->text = text.len == 0 ? "" : in_source ? source.data + start : arena_text(builder->file->arena, text);
    node->len = (uint32_t)text.len;
}

static void container_begin(struct builder *builder, struct fy_event *event, enum yaml_kind kind, size_t offset)
{
    if (builder->depth == YAML_DEPTH_MAX) {
        mistake_at(builder->file->mistakes, &builder->file->source, offset, "nested deeper than %d", YAML_DEPTH_MAX);
        builder->failed = true;
        return;
    }
    (void)node_add(builder, kind, offset, event);
    builder->open[builder->depth++] = builder->nodes.count - 1;
}

static int keys_compare(const void *left, const void *right)
{
    const struct yaml_node *a = *(const struct yaml_node *const *)left, *b = *(const struct yaml_node *const *)right;
    size_t shorter = a->len < b->len ? a->len : b->len;
    int order = memcmp(a->text, b->text, shorter);

    if (order == 0 && a->len != b->len)
        order = a->len < b->len ? -1 : 1;
    return order != 0 ? order : a < b ? -1 : a > b;
}

static void duplicate_complain(struct builder *builder, const struct yaml_node *first, const struct yaml_node *again)
{
    mistake_at(builder->file->mistakes, &builder->file->source, again->offset,
               "duplicate key '" YAML_SHOWN "'; the first is on line %u",
               YAML_SHOW(again), first->line);
    /* The rest of the file can be judged all the same, but not used. */
}

static void duplicates_find(struct builder *builder, const struct yaml_node *map)
{
    const struct yaml_node *key = yaml_first(map);

    if (map->count < 2)
        return;
    builder->keys.count = 0;
    for (uint32_t i = 0; i < map->count; i++, key = yaml_next(yaml_next(key)))
        VEC_PUSH(&builder->keys, key);
    const struct yaml_node **keys = builder->keys.items;
    qsort(keys, map->count, sizeof *keys, keys_compare);
    for (uint32_t i = 1; i < map->count; i++) {
        if (view_equals(yaml_text(keys[i - 1]), yaml_text(keys[i])))
            duplicate_complain(builder, keys[i - 1], keys[i]);
    }
}

static void container_end(struct builder *builder)
{
    ASSERT(builder->depth > 0);
    size_t index = builder->open[--builder->depth];
    struct yaml_node *node = &builder->nodes.items[index];

    node->span = (uint32_t)(builder->nodes.count - index);
    if (node->kind != YAML_MAP)
        return;
    ASSERT(node->count % 2 == 0);
    node->count /= 2;
    if (!builder->failed)
        duplicates_find(builder, node);
}

static void anchors_and_tags_refuse(struct builder *builder, struct fy_event *event, size_t offset)
{
    const struct fy_token *anchor = event->type == FYET_SCALAR           ? event->scalar.anchor
                                    : event->type == FYET_SEQUENCE_START ? event->sequence_start.anchor
                                                                         : event->mapping_start.anchor;
    if (anchor != NULL)
        complain(builder, offset, "anchors and aliases are not supported; write the value out");
    else if (fy_event_get_tag_token(event) != NULL)
        complain(builder, offset, "tags are not supported; quote the value to make it text");
}

static void event_take(struct builder *builder, struct fy_event *event)
{
    size_t offset = event_offset(builder, event);

    switch (event->type) {
    case FYET_NONE: case FYET_STREAM_START: case FYET_STREAM_END: case FYET_DOCUMENT_END:
        return;
    case FYET_DOCUMENT_START:
        if (++builder->documents > 1)
            complain(builder, offset, "a second document; a configuration is one");
        return;
    case FYET_ALIAS:
        complain(builder, offset, "anchors and aliases are not supported; write the value out");
        return;
    case FYET_SCALAR:
        anchors_and_tags_refuse(builder, event, offset);
        scalar_add(builder, event, offset);
        return;
    case FYET_SEQUENCE_START:
        anchors_and_tags_refuse(builder, event, offset);
        container_begin(builder, event, YAML_LIST, offset);
        return;
    case FYET_MAPPING_START:
        anchors_and_tags_refuse(builder, event, offset);
        container_begin(builder, event, YAML_MAP, offset);
        return;
    case FYET_SEQUENCE_END: case FYET_MAPPING_END:
        container_end(builder);
        return;
    }
}

/* libfyaml's own complaints come with line and column; ours are by byte. */
static void syntax_complain(struct builder *builder, struct fy_diag *diag)
{
    const struct view text = builder->file->source.text;
    struct fy_diag_error *error;
    void *previous = NULL;
    bool said = false;

    while ((error = fy_diag_errors_iterate(diag, &previous)) != NULL) {
        size_t offset = 0;
        for (int line = 1; line < error->line && offset < text.len; line++) {
            const char *end = memchr(text.data + offset, '\n', text.len - offset);
            offset = end != NULL ? (size_t)(end - text.data) + 1 : text.len;
        }
        for (int column = 1; column < error->column && offset < text.len && text.data[offset] != '\n'; column++) {
            offset++;
            while (offset < text.len && ((unsigned char)text.data[offset] & 0xc0) == 0x80)
                offset++;
        }
        complain(builder, offset, error->msg);
        said = true;
    }
    if (!said)
        complain(builder, 0, "not YAML"); /* libfyaml gave no reason */
}

static bool path_is_json(const char *path)
{
    size_t len = strlen(path);
    return len > 5 && strcmp(path + len - 5, ".json") == 0;
}

static void parse(struct builder *builder, struct fy_parser *parser, struct fy_diag *diag)
{
    const struct view text = builder->file->source.text;
    struct fy_event *event;

    if (fy_parser_set_string(parser, text.data, text.len) != 0) {
        syntax_complain(builder, diag);
        return;
    }
    while (!builder->failed && (event = fy_parser_parse(parser)) != NULL) {
        event_take(builder, event);
        fy_parser_event_free(parser, event);
        builder->failed |= mistakes_given_up(builder->file->mistakes);
    }
    if (!builder->failed && fy_parser_get_stream_error(parser))
        syntax_complain(builder, diag);
}

static void document_build(struct builder *builder)
{
    struct fy_diag_cfg diag_config;

    fy_diag_cfg_default(&diag_config);
    diag_config.fp = NULL;
    struct fy_diag *diag = fy_diag_create(&diag_config);
    ASSERT(diag != NULL);
    fy_diag_set_collect_errors(diag, true);
    struct fy_parse_cfg config = {
        .flags = FYPCF_QUIET | FYPCF_DISABLE_DEPTH_LIMIT
                 | (path_is_json(builder->file->source.path) ? FYPCF_JSON_FORCE : FYPCF_JSON_NONE),
        .diag = diag,
    };
    struct fy_parser *parser = fy_parser_create(&config);
    ASSERT(parser != NULL);
    parse(builder, parser, diag);
    fy_parser_destroy(parser);
    fy_diag_destroy(diag);
}

struct yaml_file *yaml_file_read(const char *path, unsigned order, struct mistakes *mistakes)
{
    size_t len = 0;
    char *buffer = read_whole(path, &len, mistakes);
    if (buffer == NULL)
        return NULL;

    struct yaml_file *file = calloc(1, sizeof *file);
    struct builder *builder = calloc(1, sizeof *builder);
    ASSERT(file != NULL);
    ASSERT(builder != NULL);
    file->source = (struct source){ .path = path, .text = { buffer, len }, .order = order };
    file->buffer = buffer;
    file->mistakes = mistakes;
    file->arena = arena_new(1 << 16);
    builder->file = file;
    if (characters_check(builder))
        document_build(builder);
    file->nodes = builder->nodes.items;
    file->nodes_count = builder->nodes.count;
    bool failed = builder->failed;
    VEC_DONE(&builder->keys);
    free(builder);
    return failed ? yaml_file_free(file) : file;
}

struct yaml_file *yaml_file_free(struct yaml_file *file)
{
    if (file != NULL) {
        free(file->nodes);
        free(file->buffer);
        (void)arena_free(file->arena);
        free(file);
    }
    return NULL;
}

bool yaml_is_empty(const struct yaml_node *node)
{
    return node->kind == YAML_SCALAR && node->style == YAML_PLAIN && (node->len == 0 || view_is(yaml_text(node), "null"));
}

static bool digit(struct view text, size_t at)
{
    return at < text.len && text.data[at] >= '0' && text.data[at] <= '9';
}

/* RFC 8259: -? (0 | [1-9][0-9]*) (\.[0-9]+)? ([eE][+-]?[0-9]+)? */
static bool json_number(struct view text)
{
    size_t at = text.len > 0 && text.data[0] == '-';

    if (!digit(text, at))
        return false;
    if (text.data[at] == '0') {
        at++;
    } else {
        while (digit(text, at))
            at++;
    }
    if (at < text.len && text.data[at] == '.') {
        if (!digit(text, ++at))
            return false;
        while (digit(text, at))
            at++;
    }
    if (at < text.len && (text.data[at] == 'e' || text.data[at] == 'E')) {
        at++;
        at += at < text.len && (text.data[at] == '+' || text.data[at] == '-');
        if (!digit(text, at))
            return false;
        while (digit(text, at))
            at++;
    }
    return at == text.len;
}

bool yaml_is_json_literal(const struct yaml_node *node)
{
    struct view text = yaml_text(node);
    return node->kind == YAML_SCALAR && node->style == YAML_PLAIN
           && (view_is(text, "true") || view_is(text, "false") || view_is(text, "null") || json_number(text));
}

/* The line of the text that `at` is in, found again in the source: there it stands behind the block's indentation. */
static size_t literal_offset(const struct view source, const struct yaml_node *scalar, size_t at)
{
    size_t line = scalar->offset, text_line = 0;

    for (const char *end; (end = memchr(scalar->text + text_line, '\n', at - text_line)) != NULL;) {
        text_line = (size_t)(end - scalar->text) + 1;
        const char *next = memchr(source.data + line, '\n', source.len - line);
        if (next == NULL)
            return scalar->offset;
        line = (size_t)(next - source.data) + 1;
    }
    size_t text_end = text_line, end = line;
    while (text_end < scalar->len && scalar->text[text_end] != '\n')
        text_end++;
    while (end < source.len && source.data[end] != '\n' && source.data[end] != '\r')
        end++;
    size_t text_len = text_end - text_line, len = end - line;
    if (len < text_len || memcmp(source.data + end - text_len, scalar->text + text_line, text_len) != 0)
        return scalar->offset;
    return end - text_len + (at - text_line);
}

size_t yaml_offset_of(const struct yaml_file *file, const struct yaml_node *scalar, size_t at)
{
    const struct view source = file->source.text;

    if (scalar->kind != YAML_SCALAR || at > scalar->len || scalar->len == 0)
        return scalar->offset;
    if (scalar->style == YAML_LITERAL)
        return literal_offset(source, scalar, at);
    if (scalar->text >= source.data && scalar->text + scalar->len <= source.data + source.len)
        return (size_t)(scalar->text - source.data) + at;
    return scalar->offset;
}

int yaml_shown_len(const struct yaml_node *scalar)
{
    uint32_t len = scalar->len;

    if (len > YAML_SHOWN_BYTES_MAX) {
        len = YAML_SHOWN_BYTES_MAX;
        while (len > 0 && ((unsigned char)scalar->text[len] & 0xc0) == 0x80)
            len--;
    }
    return (int)len;
}

void yaml_mistake(const struct yaml_file *file, const struct yaml_node *node, const char *format, ...)
{
    char text[512];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    mistake_at(file->mistakes, &file->source, node->offset, "%s", text);
}
