#include "broker/edge/http_parse.h"

#include "broker/base/assert.h"
#include "broker/edge/http_guard.h"

/* What the library's callbacks write to while it reads a section, which is always fed whole: each name and value comes in one piece. */
struct reading {
    struct http_parsed *parsed;
    struct view target;
    struct view piece;
    bool head_done, message_done, overflow;
};

static int on_url(http_parser *library, const char *at, size_t len)
{
    struct reading *reading = library->data;
    reading->target = (struct view){ .data = at, .len = len };
    return 0;
}

static int on_header_field(http_parser *library, const char *at, size_t len)
{
    struct reading *reading = library->data;
    struct http_head *head = &reading->parsed->head;

    if (head->count == HTTP_HEADERS_MAX) {
        reading->overflow = true;
        return 1;
    }
    head->fields[head->count++] = (struct http_field){ .name = { .data = at, .len = len }, .value = { .data = at + len, .len = 0 } };
    return 0;
}

static struct view trimmed(const char *at, size_t len)
{
    while (len > 0 && (at[len - 1] == ' ' || at[len - 1] == '\t'))
        len--;
    while (len > 0 && (*at == ' ' || *at == '\t'))
        at++, len--;
    return (struct view){ .data = at, .len = len };
}

static int on_header_value(http_parser *library, const char *at, size_t len)
{
    struct reading *reading = library->data;
    struct http_head *head = &reading->parsed->head;

    if (head->count == 0)
        return 1;
    head->fields[head->count - 1].value = trimmed(at, len);
    return 0;
}

static int on_headers_complete(http_parser *library)
{
    struct reading *reading = library->data;

    reading->head_done = true;
    reading->parsed->head.keep_alive = http_should_keep_alive(library) != 0;
    return 0;
}

static int on_body(http_parser *library, const char *at, size_t len)
{
    struct reading *reading = library->data;
    reading->piece = (struct view){ .data = at, .len = len };
    return 0;
}

static int on_message_complete(http_parser *library)
{
    struct reading *reading = library->data;
    reading->message_done = true;
    return 0;
}

static const http_parser_settings callbacks = {
    .on_url = on_url,
    .on_header_field = on_header_field,
    .on_header_value = on_header_value,
    .on_headers_complete = on_headers_complete,
    .on_body = on_body,
    .on_message_complete = on_message_complete,
};

void http_parse_init(struct http_parse *parse)
{
    /* The library's own bound is one number for the whole process, and it counts in 32 bits; ours are a listener's. */
    http_parser_set_max_header_size(UINT32_MAX / 2);
    *parse = (struct http_parse){ .state = PARSE_HEAD };
    http_parser_init(&parse->library, HTTP_REQUEST);
}

static enum http_piece broken(struct http_parsed *ret, unsigned status, const char *reason)
{
    ret->status = status;
    ret->reason = reason;
    return HTTP_PIECE_BROKEN;
}

/* false: refused, as ret says. */
static bool feed(struct http_parse *parse, struct reading *reading, struct view bytes)
{
    struct http_parsed *ret = reading->parsed;

    parse->library.data = reading;
    size_t taken = http_parser_execute(&parse->library, &callbacks, bytes.data, bytes.len);
    enum http_errno problem = HTTP_PARSER_ERRNO(&parse->library);
    parse->library.data = NULL;
    if (reading->overflow)
        (void)broken(ret, 431, "more headers than one request may have");
    else if (problem == HPE_INVALID_METHOD)
        (void)broken(ret, 501, "no such method here");
    else if (problem == HPE_INVALID_TRANSFER_ENCODING) /* as the guard would */
        (void)broken(ret, 400, "the last transfer coding is not chunked, so the body has no end");
    else if (problem != HPE_OK)
        (void)broken(ret, 400, http_errno_description(problem));
    else if (taken != bytes.len)
        (void)broken(ret, 400, "the message ends before its bytes do");
    return ret->status == 0;
}

/* All its lines, which the guard has seen before the library reads them. HEAD, END (of trailers): it is read, and head->text is its bytes. */
static enum http_piece take_section(struct http_parse *parse, enum http_section_kind kind, struct view input, const struct http_parse_limits *limits,
                                    struct reading *reading)
{
    struct http_parsed *ret = reading->parsed;
    struct http_refusal refusal = { 0 };
    size_t bytes;

    switch (http_guard_lines(&parse->lines, kind, input, limits, &bytes, &refusal)) {
    case HTTP_LINES_SHORT:
        return HTTP_PIECE_SHORT;
    case HTTP_LINES_BROKEN:
        return broken(ret, refusal.status, refusal.reason);
    case HTTP_LINES_WHOLE:
        break;
    }
    ret->head.text = (struct view){ .data = input.data, .len = bytes };
    if (!feed(parse, reading, ret->head.text))
        return HTTP_PIECE_BROKEN;
    return kind == HTTP_SECTION_HEAD ? HTTP_PIECE_HEAD : HTTP_PIECE_END;
}

static enum http_piece take_head(struct http_parse *parse, struct view input, const struct http_parse_limits *limits, struct http_parsed *ret)
{
    struct reading reading = { .parsed = ret };
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
    enum http_piece piece = take_section(parse, HTTP_SECTION_HEAD, input, limits, &reading);
    if (piece != HTTP_PIECE_HEAD)
        return piece;
    /* Of the guard's lines one is the request's, one is empty. */
    if (!reading.head_done || head->count + 2 != parse->lines.count)
        return broken(ret, 400, "the head cannot be read in one way only");
    head->old = parse->library.http_minor == 0;
    struct http_refusal refusal = http_guard_head(head, reading.target);
    if (refusal.status != 0)
        return broken(ret, refusal.status, refusal.reason);
    /* Two readers of one head that disagree on its length are what smuggling is made of. */
    bool has_body = head->chunked || head->length > 0;
    if (reading.message_done == has_body || ((parse->library.flags & F_CHUNKED) != 0) != head->chunked ||
        (head->length > 0 && parse->library.content_length != head->length))
        return broken(ret, 400, "the body's length cannot be read in one way only");
    parse->state = !has_body ? PARSE_DONE : head->chunked ? PARSE_CHUNK_LINE : PARSE_LENGTH;
    ret->consumed += head->text.len;
    return HTTP_PIECE_HEAD;
}

/* Of a body with a length, or of a chunk: no more than belongs to it. */
static enum http_piece take_data(struct http_parse *parse, struct view input, struct http_parsed *ret)
{
    struct reading reading = { .parsed = ret };
    uint64_t left = parse->library.content_length;

    if (input.len == 0)
        return HTTP_PIECE_SHORT;
    ASSERT(left > 0);
    if (input.len > left)
        input.len = (size_t)left;
    if (!feed(parse, &reading, input))
        return HTTP_PIECE_BROKEN;
    if (reading.piece.len != input.len)
        return broken(ret, 400, "the body cannot be read in one way only");
    if (input.len == left)
        parse->state = parse->state == PARSE_LENGTH ? PARSE_DONE : PARSE_CHUNK_END;
    ASSERT(reading.message_done == (parse->state == PARSE_DONE));
    ret->body = input;
    ret->consumed += input.len;
    return HTTP_PIECE_BODY;
}

static enum http_piece take_chunk_line(struct http_parse *parse, struct view input, struct http_parsed *ret)
{
    struct reading reading = { .parsed = ret };
    size_t bounded = input.len < HTTP_CHUNK_LINE_BYTES_MAX ? input.len : HTTP_CHUNK_LINE_BYTES_MAX;
    const char *end = bounded > 0 ? memchr(input.data, '\n', bounded) : NULL;

    if (end == NULL && input.len < HTTP_CHUNK_LINE_BYTES_MAX)
        return HTTP_PIECE_SHORT;
    if (end == NULL)
        return broken(ret, 400, "the line of a chunk's size is too long");
    struct view line = { .data = input.data, .len = (size_t)(end + 1 - input.data) };
    struct http_refusal refusal = http_guard_chunk_line(line);
    if (refusal.status != 0)
        return broken(ret, refusal.status, refusal.reason);
    if (!feed(parse, &reading, line))
        return HTTP_PIECE_BROKEN;
    parse->lines = (struct http_lines){ 0 };
    parse->state = parse->library.content_length > 0 ? PARSE_CHUNK_DATA : PARSE_TRAILERS;
    ret->consumed += line.len;
    return HTTP_PIECE_BODY; /* of no bytes: read on */
}

static enum http_piece take_chunk_end(struct http_parse *parse, struct view input, struct http_parsed *ret)
{
    struct reading reading = { .parsed = ret };

    if ((input.len >= 1 && input.data[0] != '\r') || (input.len >= 2 && input.data[1] != '\n'))
        return broken(ret, 400, "a chunk is longer than its size says");
    if (input.len < 2)
        return HTTP_PIECE_SHORT;
    if (!feed(parse, &reading, (struct view){ .data = input.data, .len = 2 }))
        return HTTP_PIECE_BROKEN;
    parse->state = PARSE_CHUNK_LINE;
    ret->consumed += 2;
    return HTTP_PIECE_BODY;
}

static enum http_piece take_trailers(struct http_parse *parse, struct view input, const struct http_parse_limits *limits, struct http_parsed *ret)
{
    struct reading reading = { .parsed = ret };
    struct http_head *head = &ret->head;

    enum http_piece piece = take_section(parse, HTTP_SECTION_TRAILERS, input, limits, &reading);
    if (piece != HTTP_PIECE_END)
        return piece;
    if (!reading.message_done || head->count + 1 != parse->lines.count)
        return broken(ret, 400, "the trailers cannot be read in one way only");
    struct http_refusal refusal = http_guard_trailers(head);
    if (refusal.status != 0)
        return broken(ret, refusal.status, refusal.reason);
    parse->state = PARSE_DONE;
    ret->consumed += head->text.len;
    return HTTP_PIECE_END;
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
