/* http_guard.h - what of HTTP/1.1 we refuse ourselves, byte by byte, before the parser sees it. Parsers forgive: a bare LF, "Host :", two lengths.
 * Two programs that forgive differently see different requests in the same bytes, and that is where smuggling lives; so nothing is forgiven here.
 * Lines are checked as they end, in this order: their length, the whole section's size, their bytes. */
#ifndef SLUICE_EDGE_HTTP_GUARD_H
#define SLUICE_EDGE_HTTP_GUARD_H

#include <strings.h>

#include "broker/edge/http_parse.h"

struct http_refusal {
    unsigned status;             /* 0: none */
    const char *reason;          /* for people; static */
};

enum http_section_kind { HTTP_SECTION_HEAD, HTTP_SECTION_TRAILERS };
enum http_lines_result { HTTP_LINES_SHORT, HTTP_LINES_WHOLE, HTTP_LINES_BROKEN };

/* Reads on in a section that begins at input.data; whole with its empty line, of which *ret_bytes is the end. */
enum http_lines_result http_guard_lines(struct http_lines *lines, enum http_section_kind kind, struct view input, const struct http_parse_limits *limits,
                                        size_t *ret_bytes, struct http_refusal *ret_refusal);
/* The line of a chunk's size, with its CRLF. */
struct http_refusal http_guard_chunk_line(struct view line);
/* What the lines mean together; fills in length, chunked, expects_continue, path and query (of an absolute target, too). */
struct http_refusal http_guard_head(struct http_head *head, struct view target);
struct http_refusal http_guard_trailers(const struct http_head *trailers);

/* Any case. Here, so that the length of a literal is the compiler's to count: a dozen names are compared with each header. */
static inline bool http_name_is(struct view name, const char *expected)
{
    return name.len == strlen(expected) && strncasecmp(name.data, expected, name.len) == 0;
}

#endif
