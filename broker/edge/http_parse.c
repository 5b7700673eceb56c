#include "broker/edge/http_parse.h"

#include "broker/base/assert.h"
#include "broker/edge/http_guard.h"

void http_parse_init(struct http_parse *parse)
{
    *parse = (struct http_parse){ .state = PARSE_HEAD };
}

static enum http_piece broken(struct http_parsed *ret, struct http_refusal refusal)
{
    ret->status = refusal.status;
    ret->reason = refusal.reason;
    return HTTP_PIECE_BROKEN;
}

/* ---- sections: a head, or trailers ---- */

/* Of lines that the guard has let pass: each has its CRLF and a colon, and the last one is empty. */
static void split_fields(struct http_head *head, struct view lines)
{
    const char *at = lines.data, *end = lines.data + lines.len - 2;

    while (at < end) {
        const char *line_end = memchr(at, '\n', (size_t)(end - at)), *colon = memchr(at, ':', (size_t)(end - at));
        ASSERT(line_end != NULL && colon != NULL && colon < line_end);
        ASSERT(head->count < HTTP_HEADERS_MAX);
        head->fields[head->count++] = (struct http_field){
            .name = { .data = at, .len = (size_t)(colon - at) },
            .value = http_trimmed((struct view){ .data = colon + 1, .len = (size_t)(line_end - 1 - (colon + 1)) }),
        };
        at = line_end + 1;
    }
    ASSERT(at == end);
}

/* All its lines. HEAD, END (of trailers): head->text is its bytes. */
static enum http_piece take_section(struct http_parse *parse, enum http_section_kind kind, struct view input, const struct http_parse_limits *limits,
                                    struct http_parsed *ret)
{
    struct http_refusal refusal = { 0 };
    size_t bytes;

    switch (http_guard_lines(&parse->lines, kind, input, limits, &bytes, &refusal)) {
    case HTTP_LINES_SHORT: return HTTP_PIECE_SHORT;
    case HTTP_LINES_BROKEN: return broken(ret, refusal);
    case HTTP_LINES_WHOLE: break;
    }
    ret->head.text = (struct view){ .data = input.data, .len = bytes };
    ret->consumed += bytes;
    return kind == HTTP_SECTION_HEAD ? HTTP_PIECE_HEAD : HTTP_PIECE_END;
}

static enum http_piece take_head(struct http_parse *parse, struct view input, const struct http_parse_limits *limits, struct http_parsed *ret)
{
    struct http_head *head = &ret->head;

    /* One empty line before a request is forgiven, as RFC 9112 asks: old clients end a body with it. */
    if (parse->lines.scanned == 0 && input.len >= 2 && memcmp(input.data, "\r\n", 2) == 0 && !parse->blank) {
        parse->blank = true;
        ret->consumed = 2;
        input.data += 2;
        input.len -= 2;
    }
    if (parse->lines.scanned == 0 && input.len == 1 && input.data[0] == '\r')
        return HTTP_PIECE_SHORT;
    enum http_piece piece = take_section(parse, HTTP_SECTION_HEAD, input, limits, ret);
    if (piece != HTTP_PIECE_HEAD)
        return piece;
    const char *first_end = memchr(head->text.data, '\n', head->text.len);
    ASSERT(first_end != NULL);
    struct view request_line = { .data = head->text.data, .len = (size_t)(first_end - 1 - head->text.data) };
    split_fields(head, (struct view){ .data = first_end + 1, .len = head->text.len - request_line.len - 2 });
    struct http_refusal refusal = http_guard_head(head, request_line);
    if (refusal.status != 0)
        return broken(ret, refusal);
    ASSERT(!head->chunked || head->length == 0);
    parse->left = head->length;
    parse->state = head->chunked ? PARSE_CHUNK_LINE : parse->left > 0 ? PARSE_LENGTH : PARSE_DONE;
    return HTTP_PIECE_HEAD;
}

static enum http_piece take_trailers(struct http_parse *parse, struct view input, const struct http_parse_limits *limits, struct http_parsed *ret)
{
    struct http_head *head = &ret->head;
    enum http_piece piece = take_section(parse, HTTP_SECTION_TRAILERS, input, limits, ret);

    if (piece != HTTP_PIECE_END)
        return piece;
    split_fields(head, head->text);
    struct http_refusal refusal = http_guard_trailers(head);
    if (refusal.status != 0)
        return broken(ret, refusal);
    parse->state = PARSE_DONE;
    return HTTP_PIECE_END;
}

/* ---- bodies ---- */

/* Of a body with a length, or of a chunk: no more than belongs to it. */
static enum http_piece take_data(struct http_parse *parse, struct view input, struct http_parsed *ret)
{
    if (input.len == 0)
        return HTTP_PIECE_SHORT;
    ASSERT(parse->left > 0);
    if (input.len > parse->left)
        input.len = (size_t)parse->left;
    parse->left -= input.len;
    if (parse->left == 0)
        parse->state = parse->state == PARSE_LENGTH ? PARSE_DONE : PARSE_CHUNK_END;
    ret->body = input;
    ret->consumed += input.len;
    return HTTP_PIECE_BODY;
}

static enum http_piece take_chunk_line(struct http_parse *parse, struct view input, struct http_parsed *ret)
{
    size_t bounded = input.len < HTTP_CHUNK_LINE_BYTES_MAX ? input.len : HTTP_CHUNK_LINE_BYTES_MAX;
    const char *end = bounded > 0 ? memchr(input.data, '\n', bounded) : NULL;

    if (end == NULL && input.len < HTTP_CHUNK_LINE_BYTES_MAX)
        return HTTP_PIECE_SHORT;
    if (end == NULL)
        return broken(ret, (struct http_refusal){ 400, "the line of a chunk's size is too long" });
    struct view line = { .data = input.data, .len = (size_t)(end + 1 - input.data) };
    struct http_refusal refusal = http_guard_chunk_line(line, &parse->left);
    if (refusal.status != 0)
        return broken(ret, refusal);
    parse->lines = (struct http_lines){ 0 };
    parse->state = parse->left > 0 ? PARSE_CHUNK_DATA : PARSE_TRAILERS;
    ret->consumed += line.len;
    return HTTP_PIECE_BODY; /* of no bytes: read on */
}

static enum http_piece take_chunk_end(struct http_parse *parse, struct view input, struct http_parsed *ret)
{
    if ((input.len >= 1 && input.data[0] != '\r') || (input.len >= 2 && input.data[1] != '\n'))
        return broken(ret, (struct http_refusal){ 400, "a chunk is longer than its size says" });
    if (input.len < 2)
        return HTTP_PIECE_SHORT;
    parse->state = PARSE_CHUNK_LINE;
    ret->consumed += 2;
    return HTTP_PIECE_BODY;
}

enum http_piece http_parse_take(struct http_parse *parse, struct view input, const struct http_parse_limits *limits, struct http_parsed *ret)
{
    enum http_piece piece = HTTP_PIECE_END;

    ret->consumed = 0;
    ret->body = (struct view){ .data = NULL };
    ret->head.count = 0;
    ret->status = 0;
    ret->reason = NULL;
    do { /* a chunk's size and its CRLF are no piece: on to what is */
        struct view rest = { .data = input.data + ret->consumed, .len = input.len - ret->consumed };
        switch (parse->state) {
        case PARSE_HEAD:       piece = take_head(parse, rest, limits, ret); break;
        case PARSE_LENGTH:
        case PARSE_CHUNK_DATA: piece = take_data(parse, rest, ret); break;
        case PARSE_CHUNK_LINE: piece = take_chunk_line(parse, rest, ret); break;
        case PARSE_CHUNK_END:  piece = take_chunk_end(parse, rest, ret); break;
        case PARSE_TRAILERS:   piece = take_trailers(parse, rest, limits, ret); break;
        case PARSE_DONE:       piece = HTTP_PIECE_END; break;
        }
    } while (piece == HTTP_PIECE_BODY && ret->body.len == 0);
    return piece;
}
