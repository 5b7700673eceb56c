/* http_parse.h - requests out of bytes, in pieces of any size. Pulled, not pushed: each call gives the next piece of a message, so that its caller
 * may stop after any of them.
 *
 *   HEAD ──> (BODY ──>)* END ──> http_parse_init(), HEAD ...      SHORT: come again with these bytes and more;  BROKEN: refuse, and close
 *
 * http-parser (2.9, of Debian) decodes, behind six callbacks in http_parse.c that llhttp has too; http_guard.c checks before it what it forgives. */
#ifndef SLUICE_EDGE_HTTP_PARSE_H
#define SLUICE_EDGE_HTTP_PARSE_H

#include <http_parser.h>

#include "broker/edge/http.h"

enum {
    HTTP_CHUNK_LINE_BYTES_MAX = 1024,    /* a chunk's size and its extensions, which nobody uses */
    HTTP_CHUNK_DIGITS_MAX = 15, HTTP_LENGTH_DIGITS_MAX = 18,    /* no sum of such lengths overflows 64 bits */
};

struct http_parse_limits { size_t line_bytes_max, section_bytes_max; };

/* Where the reading of a section of lines stands; offsets from its first byte. */
struct http_lines { size_t scanned, line_at; unsigned count; };

enum http_parse_state { PARSE_HEAD, PARSE_LENGTH, PARSE_CHUNK_LINE, PARSE_CHUNK_DATA, PARSE_CHUNK_END, PARSE_TRAILERS, PARSE_DONE };

struct http_parse {
    http_parser library;
    struct http_lines lines;
    enum http_parse_state state;
    bool blank;                          /* the empty line before a request has been */
};

/* Views into the input. */
struct http_head {
    struct view text;                    /* all of it: every other view here lies in it */
    struct view method, path, query;     /* query.data NULL: none */
    struct http_field fields[HTTP_HEADERS_MAX];
    unsigned count;
    uint64_t length;                     /* of a body that is not chunked */
    bool chunked, expects_continue, keep_alive, old; /* old: HTTP/1.0 */
};

enum http_piece { HTTP_PIECE_SHORT, HTTP_PIECE_HEAD, HTTP_PIECE_BODY, HTTP_PIECE_END, HTTP_PIECE_BROKEN };

struct http_parsed {
    size_t consumed;                     /* of the input; also with SHORT */
    struct view body;                    /* BODY */
    struct http_head head;               /* HEAD; END: the trailers are its fields */
    unsigned status;                     /* BROKEN: what to answer, and why */
    const char *reason;
};

void http_parse_init(struct http_parse *parse);
enum http_piece http_parse_take(struct http_parse *parse, struct view input, const struct http_parse_limits *limits, struct http_parsed *ret);

#endif
