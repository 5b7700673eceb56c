#include "broker/core/input.h"

#include "broker/base/assert.h"
#include "schemas/codec/json.h"

enum { INDEX_DIGITS_MAX = 9 };

/* One step of a path: into a member or an item. */
struct step {
    bool is_item;
    size_t index;
    struct view name;
};

/* Where a path is being read, and room for a name whose escapes are decoded. */
struct path_reader {
    const char *at, *end;
    char name[INPUT_PATH_BYTES_MAX];
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* `.name`: up to the next step. What means more than a name in other JSONPath dialects is refused, not taken literally. */
static const char *take_dot_name(struct path_reader *reader, struct step *ret_step)
{
    const char *start = reader->at;

    while (reader->at < reader->end && *reader->at != '.' && *reader->at != '[') {
        if ((unsigned char)*reader->at <= ' ' || strchr("*?()@,:'\"]$\\", *reader->at) != NULL)
            return "this character needs the form ['name']; filters and wildcards are not supported";
        reader->at++;
    }
    if (reader->at == start)
        return "a name is needed after the dot";
    *ret_step = (struct step){ .name = { .data = start, .len = (size_t)(reader->at - start) } };
    return NULL;
}

/* `'name']` or `"name"]`; a backslash takes the next character as it is. */
static const char *take_quoted_name(struct path_reader *reader, struct step *ret_step)
{
    char quote = *reader->at++;
    size_t len = 0;

    while (reader->at < reader->end && *reader->at != quote) {
        if (*reader->at == '\\' && reader->end - reader->at > 1)
            reader->at++;
        reader->name[len++] = *reader->at++;
    }
    if (reader->at == reader->end)
        return "the quoted name has no end";
    reader->at++;
    *ret_step = (struct step){ .name = { .data = reader->name, .len = len } };
    return NULL;
}

static const char *take_index(struct path_reader *reader, struct step *ret_step)
{
    const char *start = reader->at;
    size_t index = 0;

    for (; reader->at < reader->end && is_digit(*reader->at); reader->at++) {
        if (reader->at - start == INDEX_DIGITS_MAX)
            return "the index is too large";
        index = index * 10 + (size_t)(*reader->at - '0');
    }
    if (reader->at == start)
        return "an index or a quoted name is needed in brackets; filters and wildcards are not supported";
    *ret_step = (struct step){ .is_item = true, .index = index };
    return NULL;
}

/* NULL, or what is wrong at reader->at. */
static const char *take_step(struct path_reader *reader, struct step *ret_step)
{
    if (*reader->at == '.') {
        reader->at++;
        return take_dot_name(reader, ret_step);
    }
    if (*reader->at != '[')
        return "a step begins with '.' or '['";
    reader->at++;
    bool quoted = reader->at < reader->end && (*reader->at == '\'' || *reader->at == '"');
    const char *mistake = quoted ? take_quoted_name(reader, ret_step) : take_index(reader, ret_step);
    if (mistake != NULL)
        return mistake;
    if (reader->at == reader->end || *reader->at != ']')
        return "a ']' is missing";
    reader->at++;
    return NULL;
}

enum sluice_err input_path_check(struct view path, struct sluice_error *reterr)
{
    struct path_reader reader;
    struct step step;

    if (path.len > INPUT_PATH_BYTES_MAX)
        return sluice_fail(reterr, SLUICE_EINVAL, "input path: longer than %d bytes", INPUT_PATH_BYTES_MAX);
    if (path.len == 0 || path.data[0] != '$')
        return sluice_fail(reterr, SLUICE_EINVAL, "input path '%.*s': it must begin with '$'", (int)path.len > 100 ? 100 : (int)path.len,
                           path.len == 0 ? "" : path.data);
    reader.at = path.data + 1;
    reader.end = path.data + path.len;
    while (reader.at < reader.end) {
        const char *mistake = take_step(&reader, &step);
        if (mistake != NULL)
            return sluice_fail(reterr, SLUICE_EINVAL, "input path '%.*s', column %d: %s", (int)path.len > 100 ? 100 : (int)path.len,
                               path.data, (int)(reader.at - path.data) + 1, mistake);
    }
    return SLUICE_OK;
}

struct view input_find(struct view json, struct view path)
{
    struct path_reader reader = { .at = path.data + 1, .end = path.data + path.len };
    struct step step;

    while (reader.at < reader.end) {
        const char *mistake = take_step(&reader, &step);
        ASSERT(mistake == NULL);
        char kind = json.len == 0 ? '\0' : json.data[0];
        bool found = step.is_item ? kind == '[' && json_item(json, step.index, &json)
                                  : kind == '{' && json_member(json, step.name, &json);
        if (!found)
            return (struct view){ 0 };
    }
    return json;
}

/* The envelope is written to `out` whole, and then the value moved to where it began. */
static void put_found(struct bytes *out, struct view path, const struct event *event)
{
    size_t start = out->len;

    event_put_json(out, event, EVENT_SHAPE_EVENTBRIDGE);
    if (out->failed)
        return;
    struct view found = input_find((struct view){ .data = out->data + start, .len = out->len - start }, path);
    if (found.data != NULL)
        memmove(out->data + start, found.data, found.len);
    out->len = start + found.len;
    if (found.data == NULL)
        bytes_put_text(out, "null");
}

enum sluice_err input_make(enum target_input input, struct view text, enum event_shape shape, const struct event *event,
                           struct bytes *out)
{
    switch (input) {
    case TARGET_INPUT_EVENT: event_put_json(out, event, shape); break;
    case TARGET_INPUT_PATH: put_found(out, text, event); break;
    case TARGET_INPUT_CONSTANT: bytes_put_view(out, text); break;
    case TARGET_INPUT_TEMPLATE: ASSERT(input != TARGET_INPUT_TEMPLATE); break;
    }
    return out->failed ? SLUICE_ENOMEM : SLUICE_OK;
}
