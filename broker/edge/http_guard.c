#include "broker/edge/http_guard.h"

#define REFUSE(status_, reason_) ((struct http_refusal){ .status = (status_), .reason = (reason_) })
#define FINE ((struct http_refusal){ 0 })

/* ---- bytes ---- */

#define IN_TOKEN 1
#define IN_TARGET 2
#define IN_VALUE 4
#define IN_HOST 8
#define EVERYWHERE (IN_TOKEN | IN_TARGET | IN_VALUE | IN_HOST)
#define NOT_IN_HOST (IN_TOKEN | IN_TARGET | IN_VALUE)
#define DELIMITER (IN_TARGET | IN_VALUE | IN_HOST)

/* What each byte may be part of: RFC 9110 5.6.2 and 5.5, RFC 3986 3.2.2; of a target more than RFC 9112 3.2 grants (people put JSON into queries),
 * but never a fragment. Bytes above 127 are text of some kind, in values only. All others end the connection. */
static const uint8_t classes[256] = {
    ['0' ... '9'] = EVERYWHERE, ['A' ... 'Z'] = EVERYWHERE, ['a' ... 'z'] = EVERYWHERE,
    ['!'] = EVERYWHERE, ['$'] = EVERYWHERE, ['%'] = EVERYWHERE, ['&'] = EVERYWHERE, ['\''] = EVERYWHERE, ['*'] = EVERYWHERE, ['+'] = EVERYWHERE,
    ['-'] = EVERYWHERE, ['.'] = EVERYWHERE, ['_'] = EVERYWHERE, ['~'] = EVERYWHERE,
    ['^'] = NOT_IN_HOST, ['`'] = NOT_IN_HOST, ['|'] = NOT_IN_HOST,
    ['('] = DELIMITER, [')'] = DELIMITER, [','] = DELIMITER, [';'] = DELIMITER, ['='] = DELIMITER, [':'] = DELIMITER, ['['] = DELIMITER, [']'] = DELIMITER,
    ['/'] = IN_TARGET | IN_VALUE, ['?'] = IN_TARGET | IN_VALUE, ['@'] = IN_TARGET | IN_VALUE, ['\\'] = IN_TARGET | IN_VALUE,
    ['{'] = IN_TARGET | IN_VALUE, ['}'] = IN_TARGET | IN_VALUE, ['"'] = IN_TARGET | IN_VALUE, ['<'] = IN_TARGET | IN_VALUE, ['>'] = IN_TARGET | IN_VALUE,
    ['#'] = IN_TOKEN | IN_VALUE,
    [' '] = IN_VALUE, ['\t'] = IN_VALUE, [0x80 ... 0xff] = IN_VALUE,
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool all_are(struct view text, unsigned class)
{
    for (size_t i = 0; i < text.len; i++)
        if ((classes[(unsigned char)text.data[i]] & class) == 0)
            return false;
    return true;
}

/* Splits at the first `c`, which goes; false: there is none. */
static bool cut_at(struct view text, char c, struct view *ret_before, struct view *ret_after)
{
    const char *at = text.len > 0 ? memchr(text.data, c, text.len) : NULL;

    if (at == NULL)
        return false;
    *ret_before = (struct view){ .data = text.data, .len = (size_t)(at - text.data) };
    *ret_after = (struct view){ .data = at + 1, .len = text.len - ret_before->len - 1 };
    return true;
}

/* As all_are(value, IN_VALUE); without a table and an early end the compiler does sixteen at a time, and values are the most of a head. */
static bool is_value(struct view value)
{
    unsigned char bad = 0;

    for (size_t i = 0; i < value.len; i++) {
        unsigned char c = (unsigned char)value.data[i];
        bad |= (unsigned char)((c < ' ' && c != '\t') | (c == 0x7f));
    }
    return bad == 0;
}

bool http_field_valid(struct view name, struct view value)
{
    return name.len > 0 && all_are(name, IN_TOKEN) && is_value(value);
}

/* ---- lines, without their CRLF ---- */

static struct http_refusal check_request_line(struct view line)
{
    struct view method, target, version;

    if (!cut_at(line, ' ', &method, &line) || !cut_at(line, ' ', &target, &version))
        return REFUSE(400, "the request line is not METHOD TARGET HTTP/1.1");
    if (method.len == 0 || !all_are(method, IN_TOKEN))
        return REFUSE(400, "the method is no token");
    if (target.len == 0 || !all_are(target, IN_TARGET))
        return REFUSE(400, "the request's target has a byte that must be percent-encoded");
    if (version.len != 8 || memcmp(version.data, "HTTP/", 5) != 0 || version.data[6] != '.' || !is_digit(version.data[5]) || !is_digit(version.data[7]))
        return REFUSE(400, "the request line does not end with HTTP/1.1");
    if (!view_is(version, "HTTP/1.1") && !view_is(version, "HTTP/1.0"))
        return REFUSE(505, "HTTP/1.1 and HTTP/1.0 are spoken here");
    if (view_is(method, "CONNECT"))
        return REFUSE(501, "this is no proxy");
    return FINE;
}

static struct http_refusal check_field_line(struct view line)
{
    struct view name, value;

    if (line.data[0] == ' ' || line.data[0] == '\t')
        return REFUSE(400, "a header goes on in the next line");
    if (!cut_at(line, ':', &name, &value))
        return REFUSE(400, "a header without ':'");
    if (name.len == 0 || !all_are(name, IN_TOKEN))
        return REFUSE(400, "a header's name is no token");
    if (!is_value(value))
        return REFUSE(400, "a header's value has a control byte");
    return FINE;
}

/* `line` from its first byte to its LF. */
static struct http_refusal check_line(const struct http_lines *lines, enum http_section_kind kind, struct view line)
{
    if (line.len < 2 || line.data[line.len - 2] != '\r')
        return REFUSE(400, "a line ends with a bare LF");
    line.len -= 2;
    if (kind == HTTP_SECTION_HEAD && lines->count == 0)
        return check_request_line(line);
    if (line.len == 0)
        return FINE;
    if (lines->count - (kind == HTTP_SECTION_HEAD) == HTTP_HEADERS_MAX)
        return REFUSE(431, "more headers than one request may have");
    return check_field_line(line);
}

static struct http_refusal too_long(const struct http_lines *lines, enum http_section_kind kind)
{
    if (kind == HTTP_SECTION_HEAD && lines->count == 0)
        return REFUSE(414, "the request line is longer than it may be here");
    return REFUSE(431, "a header is longer than it may be here");
}

enum http_lines_result http_guard_lines(struct http_lines *lines, enum http_section_kind kind, struct view input, const struct http_parse_limits *limits,
                                        size_t *ret_bytes, struct http_refusal *ret_refusal)
{
    while (lines->scanned < input.len) {
        const char *start = input.data + lines->line_at, *end = memchr(input.data + lines->scanned, '\n', input.len - lines->scanned);
        size_t end_at = end == NULL ? input.len : (size_t)(end + 1 - input.data);
        struct view line = { .data = start, .len = end_at - lines->line_at };

        *ret_refusal = FINE;
        if (line.len > limits->line_bytes_max)
            *ret_refusal = too_long(lines, kind);
        else if (end_at > limits->section_bytes_max)
            *ret_refusal = REFUSE(431, "the headers together are longer than they may be here");
        else if (end != NULL)
            *ret_refusal = check_line(lines, kind, line);
        if (ret_refusal->status != 0)
            return HTTP_LINES_BROKEN;
        lines->scanned = end_at;
        if (end == NULL)
            break;
        lines->line_at = end_at;
        lines->count++;
        if (line.len == 2) {
            *ret_bytes = end_at;
            return HTTP_LINES_WHOLE;
        }
    }
    return HTTP_LINES_SHORT;
}

struct http_refusal http_guard_chunk_line(struct view line)
{
    size_t digits = 0;

    if (line.len < 2 || line.data[line.len - 2] != '\r')
        return REFUSE(400, "the line of a chunk's size ends with a bare LF");
    line.len -= 2;
    while (digits < line.len && strchr("0123456789abcdefABCDEF", line.data[digits]) != NULL && line.data[digits] != '\0')
        digits++;
    if (digits == 0 || digits > HTTP_CHUNK_DIGITS_MAX)
        return REFUSE(400, "a chunk's size is no hexadecimal number");
    struct view extension = { .data = line.data + digits, .len = line.len - digits };
    if ((extension.len > 0 && extension.data[0] != ';') || !all_are(extension, IN_VALUE))
        return REFUSE(400, "a chunk's size is followed by what is no extension");
    return FINE;
}

/* ---- what the lines mean together ---- */

static struct http_refusal take_length(struct http_head *head, struct view value)
{
    if (value.len == 0 || value.len > HTTP_LENGTH_DIGITS_MAX)
        return REFUSE(400, "Content-Length is no length");
    for (size_t i = 0; i < value.len; i++) {
        if (!is_digit(value.data[i]))
            return REFUSE(400, "Content-Length is no length");
        head->length = head->length * 10 + (unsigned)(value.data[i] - '0');
    }
    return FINE;
}

static struct view without_blanks(struct view text)
{
    while (text.len > 0 && (text.data[0] == ' ' || text.data[0] == '\t'))
        text.data++, text.len--;
    while (text.len > 0 && (text.data[text.len - 1] == ' ' || text.data[text.len - 1] == '\t'))
        text.len--;
    return text;
}

/* RFC 9112 6.1 and 6.3: of a body whose last coding is not chunked nobody knows the end, so that what follows may be anybody's; one that is
 * whole, but coded in ways beside it, could be read by who knows these. */
static struct http_refusal take_coding(struct http_head *head, struct view value)
{
    struct view coding, name, parameters;
    bool others = false;

    if (head->old)
        return REFUSE(400, "Transfer-Encoding in HTTP/1.0");
    while (cut_at(value, ',', &coding, &value)) {
        coding = without_blanks(coding);
        name = cut_at(coding, ';', &name, &parameters) ? without_blanks(name) : coding;
        if (name.len == 0 || !all_are(name, IN_TOKEN))
            return REFUSE(400, "Transfer-Encoding is no list of codings");
        if (http_name_is(name, "chunked"))
            return REFUSE(400, "chunked must be the last transfer coding, and no other one");
        others = true;
    }
    if (!http_name_is(without_blanks(value), "chunked"))
        return REFUSE(400, "the last transfer coding is not chunked, so the body has no end");
    if (others)
        return REFUSE(501, "the one transfer coding taken here is chunked");
    head->chunked = true;
    return FINE;
}

static struct http_refusal take_expect(struct http_head *head, struct view value)
{
    if (head->old)
        return FINE; /* it does not know of it: RFC 9110 10.1.1 */
    if (!http_name_is(value, "100-continue"))
        return REFUSE(417, "the one thing that may be expected is 100-continue");
    head->expects_continue = true;
    return FINE;
}

/* Path and query. An absolute target becomes an origin one; *ret_authority is its host and port. */
static struct http_refusal take_target(struct http_head *head, struct view target, struct view *ret_authority)
{
    if (target.len > 7 && strncasecmp(target.data, "http://", 7) == 0) {
        size_t end = 7;
        while (end < target.len && target.data[end] != '/' && target.data[end] != '?')
            end++;
        *ret_authority = (struct view){ .data = target.data + 7, .len = end - 7 };
        if (ret_authority->len == 0 || !all_are(*ret_authority, IN_HOST))
            return REFUSE(400, "the request's target has no host");
        head->path = (struct view){ .data = target.data + 6, .len = 1 }; /* the '/' before the host: it is as good as any */
        target.data += end;
        target.len -= end;
    }
    if (target.len > 0 && target.data[0] == '/')
        head->path = target;
    else if (ret_authority->data == NULL)
        return REFUSE(400, "the request's target begins neither with '/' nor with http://");
    struct view path;
    if (cut_at(target, '?', &path, &head->query) && path.len > 0)
        head->path = path;
    return FINE;
}

struct http_refusal http_guard_head(struct http_head *head, struct view target)
{
    unsigned hosts = 0, lengths = 0, codings = 0;
    struct view host = { .data = NULL }, authority = { .data = NULL }, rest;

    head->length = 0;
    head->chunked = head->expects_continue = false;
    head->query = (struct view){ .data = NULL };
    if (!cut_at(head->text, ' ', &head->method, &rest))
        return REFUSE(400, "the request line is not METHOD TARGET HTTP/1.1");
    struct http_refusal refusal = take_target(head, target, &authority);
    for (unsigned i = 0; i < head->count && refusal.status == 0; i++) {
        struct view name = head->fields[i].name, value = head->fields[i].value;
        if (http_name_is(name, "host")) {
            hosts++;
            host = value;
        } else if (http_name_is(name, "content-length")) {
            lengths++;
            refusal = take_length(head, value);
        } else if (http_name_is(name, "transfer-encoding")) {
            codings++;
            refusal = take_coding(head, value);
        } else if (http_name_is(name, "expect")) {
            refusal = take_expect(head, value);
        }
        if (lengths > 1)
            refusal = REFUSE(400, "two Content-Lengths");
        if (codings > 1)
            refusal = REFUSE(400, "two Transfer-Encodings");
        if (lengths > 0 && codings > 0)
            refusal = REFUSE(400, "Content-Length and Transfer-Encoding");
    }
    if (refusal.status != 0)
        return refusal;
    if (hosts > 1)
        return REFUSE(400, "two Hosts");
    if (hosts == 0 && !head->old)
        return REFUSE(400, "no Host");
    if (!all_are(host, IN_HOST))
        return REFUSE(400, "Host is no host");
    if (hosts > 0 && (host.len == 0 || host.data[0] == ':')) /* legal where the target has no authority; http has one: RFC 9110 4.2.1 */
        return REFUSE(400, "Host names no host");
    /* Who is asked must be one: the target would win over Host, and who reads only Host must not see another. */
    if (authority.data != NULL && hosts > 0 && (host.len != authority.len || strncasecmp(host.data, authority.data, host.len) != 0))
        return REFUSE(400, "Host is not the target's");
    return FINE;
}

struct http_refusal http_guard_trailers(const struct http_head *trailers)
{
    static const char *const framing[] = { "content-length", "transfer-encoding", "host", "trailer", "connection", "expect" };

    for (unsigned i = 0; i < trailers->count; i++)
        for (size_t j = 0; j < sizeof framing / sizeof *framing; j++)
            if (http_name_is(trailers->fields[i].name, framing[j]))
                return REFUSE(400, "a trailer that may only be a header");
    return FINE;
}
