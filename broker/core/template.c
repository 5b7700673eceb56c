#include "broker/core/template.h"

#include "broker/base/arena.h"
#include "broker/base/assert.h"
#include "broker/base/vec.h"
#include "broker/core/input.h"
#include "schemas/codec/ids.h"
#include "schemas/codec/json.h"

enum form { FORM_JSON, FORM_TEXT, FORM_NONE };

enum piece_kind { PIECE_LITERAL, PIECE_PATH, PIECE_RULE_ARN, PIECE_RULE_NAME, PIECE_INGESTION_TIME, PIECE_EVENT, PIECE_EVENT_JSON };

struct piece {
    enum piece_kind kind;
    bool in_quotes;
    struct view text;            /* LITERAL: itself; else the placeholder's name */
    struct view path;
};

struct template {
    struct arena *arena;         /* of the texts */
    enum form form;
    VEC(struct piece) pieces;
};

static const struct { const char *name; enum piece_kind kind; } reserved[] = {
    { "aws.events.rule-arn", PIECE_RULE_ARN },
    { "aws.events.rule-name", PIECE_RULE_NAME },
    { "aws.events.event.ingestion-time", PIECE_INGESTION_TIME },
    { "aws.events.event", PIECE_EVENT },
    { "aws.events.event.json", PIECE_EVENT_JSON },
};

/* ---- from text to pieces ---- */

static bool is_name_character(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
}

enum sluice_err template_name_check(struct view name, struct sluice_error *reterr)
{
    int shown = (int)(name.len > 80 ? 80 : name.len);

    if (name.len == 0 || name.len > TEMPLATE_NAME_BYTES_MAX)
        return sluice_fail(reterr, SLUICE_EINVAL, "name '%.*s': it must have 1 to %d characters", shown, name.len == 0 ? "" : name.data,
                           TEMPLATE_NAME_BYTES_MAX);
    for (size_t i = 0; i < name.len; i++) {
        if (!is_name_character(name.data[i]))
            return sluice_fail(reterr, SLUICE_EINVAL, "name '%.*s': only A-Z, a-z, 0-9, '_' and '-' may stand in it", shown, name.data);
    }
    return SLUICE_OK;
}

void template_encode(struct bytes *out, struct view text, const struct template_path *paths, unsigned count)
{
    bytes_put_text(out, "{\"template\":");
    json_put_string(out, text);
    bytes_put_text(out, ",\"paths\":{");
    for (unsigned i = 0; i < count; i++) {
        bytes_put_text(out, i == 0 ? "" : ",");
        json_put_string(out, paths[i].name);
        bytes_put_char(out, ':');
        json_put_string(out, paths[i].path);
    }
    bytes_put_text(out, "}}");
}

/* The string at member `name`, in the arena; absent: not there, or no string. */
static struct view member_text(struct arena *arena, struct view object, struct view name)
{
    struct bytes text = { 0 };
    struct view value, kept = { 0 };

    if (json_member(object, name, &value) && json_string_decode(value, &text))
        kept = arena_dup(arena, text.len == 0 ? VIEW_LITERAL("") : bytes_view(&text));
    bytes_done(&text);
    return kept;
}

/* False: nothing defines it. */
static bool placeholder(struct template *template, struct view name, struct view paths, struct piece *ret_piece)
{
    *ret_piece = (struct piece){ .kind = PIECE_PATH, .text = name };
    for (size_t i = 0; i < sizeof reserved / sizeof reserved[0]; i++) {
        if (view_is(name, reserved[i].name)) {
            ret_piece->kind = reserved[i].kind;
            return true;
        }
    }
    ret_piece->path = member_text(template->arena, paths, name);
    return ret_piece->path.data != NULL && input_path_check(ret_piece->path, NULL) == SLUICE_OK;
}

static enum form form_of(struct view text)
{
    size_t at = 0;

    while (at < text.len && strchr(" \t\r\n", text.data[at]) != NULL && text.data[at] != '\0')
        at++;
    if (at == text.len)
        return FORM_NONE;
    switch (text.data[at]) {
    case '{':
    case '[': return FORM_JSON;
    case '"': return FORM_TEXT;
    default: return FORM_NONE;
    }
}

/* Where the '>' of the placeholder that begins at text.data[at] stands; 0: it is only a '<'. */
static size_t placeholder_end(struct view text, size_t at)
{
    for (size_t end = at + 1; end < text.len && text.data[end] != '<' && text.data[end] != '\n'; end++) {
        if (text.data[end] == '>')
            return end;
    }
    return 0;
}

static void literal_put(struct template *template, struct view text, size_t from, size_t to)
{
    if (to > from)
        VEC_PUSH(&template->pieces, (struct piece){ .text = { .data = text.data + from, .len = to - from } });
}

static enum sluice_err cut(struct template *template, struct view text, struct view paths, size_t *ret_offset, struct sluice_error *reterr)
{
    size_t literal = 0;
    bool in_quotes = false;

    for (size_t at = 0; at < text.len; at++) {
        char c = text.data[at];
        if (c == '"') {
            in_quotes = !in_quotes;
        } else if (c == '\\' && in_quotes) {
            at++;
        } else if (c == '<') {
            struct piece piece;
            size_t end = placeholder_end(text, at);
            if (end == 0)
                continue;
            struct view name = { .data = text.data + at + 1, .len = end - at - 1 };
            if (!placeholder(template, name, paths, &piece)) {
                *ret_offset = at;
                return sluice_fail(reterr, SLUICE_EINVAL, "placeholder '<%.*s>' is neither in 'input-paths-map' nor a reserved one",
                                   (int)(name.len > 80 ? 80 : name.len), name.data);
            }
            piece.in_quotes = in_quotes;
            literal_put(template, text, literal, at);
            VEC_PUSH(&template->pieces, piece);
            at = end;
            literal = end + 1;
        }
    }
    literal_put(template, text, literal, text.len);
    return SLUICE_OK;
}

static size_t characters(struct view text)
{
    size_t count = 0;

    for (size_t i = 0; i < text.len; i++)
        count += (text.data[i] & 0xC0) != 0x80; /* what is not inside a UTF-8 sequence begins one */
    return count;
}

enum sluice_err template_new(struct view encoded, struct template **ret_template, size_t *ret_offset, struct sluice_error *reterr)
{
    struct view paths, text = { 0 };
    enum sluice_err err = json_check(encoded, JSON_OBJECT, JSON_DEPTH_MAX, NULL);
    struct template *template = calloc(1, sizeof *template);

    ASSERT(template != NULL);
    template->arena = arena_new(1024);
    if (err == SLUICE_OK)
        text = member_text(template->arena, encoded, VIEW_LITERAL("template"));
    if (text.data == NULL || !json_member(encoded, VIEW_LITERAL("paths"), &paths) || paths.data[0] != '{') {
        *ret_offset = 0;
        err = sluice_fail(reterr, SLUICE_ECORRUPT, "the stored template is not one");
    } else if (text.len == 0 || characters(text) > TEMPLATE_CHARACTERS_MAX) {
        *ret_offset = 0;
        err = sluice_fail(reterr, SLUICE_EINVAL, "the template has %zu characters; 1 to %d are taken", characters(text),
                          TEMPLATE_CHARACTERS_MAX);
    } else {
        template->form = form_of(text);
        err = cut(template, text, paths, ret_offset, reterr);
    }
    if (err != SLUICE_OK)
        template_free(template);
    else
        *ret_template = template;
    return err;
}

struct template *template_free(struct template *template)
{
    if (template == NULL)
        return NULL;
    VEC_DONE(&template->pieces);
    arena_free(template->arena);
    free(template);
    return NULL;
}

/* ---- from pieces to the input ---- */

/* One event on its way through a template. */
struct rendering {
    const struct template_context *context;
    struct view envelope;        /* as JSON */
    struct bytes made;           /* a value that is no part of the envelope; of the piece in hand */
};

/* `"id":..,"account":..` and so on, the values as in the envelope; without detail, and in an order of its own, as EventBridge. */
static void put_event_without_detail(struct bytes *out, struct view envelope)
{
    static const struct { const char *shown, *name; } keys[] = {
        { "{\"id\":", "id" },           { ",\"account\":", "account" }, { ",\"detailType\":", "detail-type" },
        { ",\"time\":", "time" },       { ",\"source\":", "source" },   { ",\"region\":", "region" },
        { ",\"resources\":", "resources" }, { ",\"version\":", "version" },
    };

    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        struct view value = VIEW_LITERAL("null");
        (void)json_member(envelope, view_of(keys[i].name), &value);
        bytes_put_text(out, keys[i].shown);
        bytes_put_view(out, value);
    }
    bytes_put_char(out, '}');
}

static struct view text_or(struct view text, const char *otherwise)
{
    return text.data == NULL ? view_of(otherwise) : text;
}

/* arn:aws:events:REGION:ACCOUNT:rule/NAME, and rule/BUS/NAME on any bus but the default one. */
static void put_rule_arn(struct bytes *out, const struct template_context *context)
{
    const struct event *event = context->event;
    struct view bus = text_or(event->bus, EVENT_BUS_DEFAULT);
    struct bytes arn = { 0 };

    bytes_put_text(&arn, "arn:aws:events:");
    bytes_put_view(&arn, text_or(event->region, EVENT_REGION_DEFAULT));
    bytes_put_char(&arn, ':');
    bytes_put_view(&arn, text_or(event->account, EVENT_ACCOUNT_DEFAULT));
    bytes_put_text(&arn, ":rule/");
    if (!view_is(bus, EVENT_BUS_DEFAULT)) {
        bytes_put_view(&arn, bus);
        bytes_put_char(&arn, '/');
    }
    bytes_put_text(&arn, context->rule);
    json_put_string(out, bytes_view(&arn));
    out->failed = out->failed || arn.failed;
    bytes_done(&arn);
}

/* The piece's value as JSON; absent: nothing found. */
static struct view value_of(struct rendering *rendering, const struct piece *piece)
{
    struct bytes *made = &rendering->made;
    char time[TIME_TEXT_MAX];

    bytes_clear(made);
    switch (piece->kind) {
    case PIECE_LITERAL: break;
    case PIECE_PATH: return input_find(rendering->envelope, piece->path);
    case PIECE_EVENT_JSON: return rendering->envelope;
    case PIECE_EVENT: put_event_without_detail(made, rendering->envelope); break;
    case PIECE_RULE_ARN: put_rule_arn(made, rendering->context); break;
    case PIECE_RULE_NAME: json_put_string(made, view_of(rendering->context->rule)); break;
    case PIECE_INGESTION_TIME:
        json_put_string(made, (struct view){ .data = time, .len = time_to_text(rendering->context->accepted_ms, false, time) });
        break;
    }
    ASSERT(!made->failed);
    return bytes_view(made);
}

/* `{"a":"0a", "b":["X\"Y"]}` becomes {a:0a,b:[XY]}: all double quotes go, also those of the data with their backslash; all other
 * escapes stay as they are. */
static void put_without_quotes(struct bytes *out, struct view json)
{
    bool in_string = false;

    for (size_t i = 0; i < json.len; i++) {
        char c = json.data[i];
        if (c == '"') {
            in_string = !in_string;
        } else if (c == '\\') {
            i++; /* checked JSON: there is a next one */
            if (json.data[i] == '"')
                continue;
            bytes_put_char(out, c);
            bytes_put_char(out, json.data[i]);
        } else if (in_string || (unsigned char)c > ' ') {
            bytes_put_char(out, c);
        }
    }
}

static void put_characters(struct bytes *out, struct view string)
{
    size_t len = out->len;

    if (json_string_decode(string, out))
        return;
    out->len = len; /* half a surrogate pair has no character: it stays as it is written */
    bytes_put(out, string.data + 1, string.len - 2);
}

/* False: an object or an array inside quotes of a JSON template. */
static bool put_value(struct bytes *out, enum form form, bool in_quotes, struct view value)
{
    bool bare = form == FORM_JSON && !in_quotes;

    if (value.data == NULL) {
        bytes_put_text(out, bare ? "\"\"" : "");
        return true;
    }
    ASSERT(value.len > 0);
    bool compound = value.data[0] == '{' || value.data[0] == '[';
    if (form == FORM_JSON && in_quotes && compound)
        return false;
    if (bare)
        bytes_put_view(out, value);
    else if (compound)
        put_without_quotes(out, value);
    else if (value.data[0] == '"')
        put_characters(out, value);
    else
        bytes_put_view(out, value);
    return true;
}

static enum sluice_err put_pieces(const struct template *template, struct rendering *rendering, struct bytes *out,
                                  struct sluice_error *reterr)
{
    for (size_t i = 0; i < template->pieces.count; i++) {
        const struct piece *piece = &template->pieces.items[i];
        if (piece->kind == PIECE_LITERAL)
            bytes_put_view(out, piece->text);
        else if (!put_value(out, template->form, piece->in_quotes, value_of(rendering, piece)))
            return sluice_fail(reterr, SLUICE_EINVAL, "the value of <%.*s> is an object or a list, and the template has it inside quotes",
                               (int)(piece->text.len > 80 ? 80 : piece->text.len), piece->text.data);
        if (out->len > TEMPLATE_OUTPUT_BYTES_MAX)
            return sluice_fail(reterr, SLUICE_EINVAL, "the template makes more than %d bytes of this event", TEMPLATE_OUTPUT_BYTES_MAX);
    }
    return SLUICE_OK;
}

enum sluice_err template_render(const struct template *template, const struct template_context *context, struct bytes *out,
                                struct sluice_error *reterr)
{
    struct bytes envelope = { 0 }, input = { 0 };
    struct sluice_error reason = { 0 };

    if (template->form == FORM_NONE)
        return sluice_fail(reterr, SLUICE_EINVAL, "the template begins with neither a quote nor '{' or '['");
    event_put_json(&envelope, context->event, EVENT_SHAPE_EVENTBRIDGE);
    struct rendering rendering = { .context = context, .envelope = bytes_view(&envelope) };
    enum sluice_err err = envelope.failed ? sluice_fail(reterr, SLUICE_EINVAL, "the event cannot be written as JSON")
                                          : put_pieces(template, &rendering, &input, reterr);
    if (err == SLUICE_OK && template->form == FORM_JSON &&
        json_check(bytes_view(&input), JSON_ANY, JSON_DEPTH_MAX, &reason) != SLUICE_OK)
        err = sluice_fail(reterr, SLUICE_EINVAL, "what the template makes of this event is not JSON: %s", reason.text);
    ASSERT(!input.failed);
    if (err == SLUICE_OK && template->form == FORM_JSON)
        json_put_line(out, bytes_view(&input));
    else if (err == SLUICE_OK)
        bytes_put_view(out, bytes_view(&input));
    bytes_done(&rendering.made);
    bytes_done(&input);
    bytes_done(&envelope);
    return err;
}
