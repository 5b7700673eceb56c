/* What bytes are a request, what they mean, and what is refused with which status: each row sent whole, cut in two anywhere, and byte by byte, for
 * where a read ends must change nothing. */
#include <sys/socket.h>

#include "tests/test.h"
#include "tests/unit/http_fixture.h"

static const struct {
    const char *label, *request;
    unsigned status;
    const char *seen;           /* "METHOD path?query"; NULL: on_head was not called */
    const char *body;           /* of the answer; NULL: any */
} cases[] = {
    /* ---- what is taken ---- */
    { "a plain request", "GET /x HTTP/1.1\r\n" H "\r\n", 200, "GET /x", "" },
    { "a query", "GET /x?a=b&c=%20 HTTP/1.1\r\n" H "\r\n", 200, "GET /x?a=b&c=%20", "" },
    { "an empty query", "GET /x? HTTP/1.1\r\n" H "\r\n", 200, "GET /x?", "" },
    { "a question mark in a query", "GET /x?a?b HTTP/1.1\r\n" H "\r\n", 200, "GET /x?a?b", "" },
    { "a colon in a path, as in an ARN", "GET /f/arn:aws:lambda:x:1:function:f HTTP/1.1\r\n" H "\r\n", 200, "GET /f/arn:aws:lambda:x:1:function:f", "" },
    { "JSON in a query", "GET /x?q={\"a\":[1]} HTTP/1.1\r\n" H "\r\n", 200, "GET /x?q={\"a\":[1]}", "" },
    { "an escaped path stays as it came", "GET /%2e%2e/%00 HTTP/1.1\r\n" H "\r\n", 200, "GET /%2e%2e/%00", "" },
    { "one empty line before it", "\r\nGET /x HTTP/1.1\r\n" H "\r\n", 200, "GET /x", "" },
    { "an absolute target", "GET http://a/x?y HTTP/1.1\r\n" H "\r\n", 200, "GET /x?y", "" },
    { "an absolute target without a path", "GET http://a HTTP/1.1\r\n" H "\r\n", 200, "GET /", "" },
    { "an absolute target with a query only", "GET http://a?q HTTP/1.1\r\n" H "\r\n", 200, "GET /?q", "" },
    { "an absolute target with a port, any case", "GET HTTP://A:80/x HTTP/1.1\r\nHost: a:80\r\n\r\n", 200, "GET /x", "" },
    { "a host with a port", "GET /x HTTP/1.1\r\nHost: 127.0.0.1:9001\r\n\r\n", 200, "GET /x", "" },
    { "an IPv6 host", "GET /x HTTP/1.1\r\nHost: [::1]:9001\r\n\r\n", 200, "GET /x", "" },
    { "a header's name in any case", "GET /x HTTP/1.1\r\nhOsT: a\r\n\r\n", 200, "GET /x", "" },
    { "blanks around a value", "GET /fields HTTP/1.1\r\nHost:\t a \t\r\nX:\r\nY: b c\r\n\r\n", 200, "GET /fields", "Host=a\nX=\nY=b c\n" },
    { "UTF-8 in a value", "GET /fields HTTP/1.1\r\n" H "X: \xc3\xa9\r\n\r\n", 200, "GET /fields", "Host=a\nX=\xc3\xa9\n" },
    { "two headers of one name", "GET /fields HTTP/1.1\r\n" H "X: 1\r\nX: 2\r\n\r\n", 200, "GET /fields", "Host=a\nX=1\nX=2\n" },
    { "the first header of a name", "GET /header HTTP/1.1\r\n" H "Y: 1\r\nX-t: 2\r\nX-T: 3\r\n\r\n", 200, "GET /header", "2" },
    { "a header that is not there", "GET /header HTTP/1.1\r\n" H "X-T2: 2\r\nX: 3\r\n\r\n", 200, "GET /header", "none" },
    { "a body with a length", "POST /echo HTTP/1.1\r\n" H "Content-Length: 3\r\n\r\nabc", 200, "POST /echo", "abc" },
    { "a length with zeros before it", "POST /echo HTTP/1.1\r\n" H "Content-Length: 0003\r\n\r\nabc", 200, "POST /echo", "abc" },
    { "an empty body", "POST /echo HTTP/1.1\r\n" H "Content-Length: 0\r\n\r\n", 200, "POST /echo", "" },
    { "no body and no length", "POST /echo HTTP/1.1\r\n" H "\r\n", 200, "POST /echo", "" },
    { "a body of a GET", "GET /echo HTTP/1.1\r\n" H "Content-Length: 3\r\n\r\nabc", 200, "GET /echo", "abc" },
    { "chunks", "POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n", 200, "POST /echo", "abc0123456789" },
    { "a chunk's size in zeros and small letters", "POST /echo HTTP/1.1\r\n" H "transfer-encoding: CHUNKED\r\n\r\n00a\r\n0123456789\r\n000\r\n\r\n", 200,
      "POST /echo", "0123456789" },
    { "a chunk's extension", "POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n3;a=\"b\"\r\nabc\r\n0;x\r\n\r\n", 200, "POST /echo", "abc" },
    { "no chunk but the last", "POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 200, "POST /echo", "" },
    { "CRLF in a chunk", "POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n7\r\n0\r\n\r\nab\r\n0\r\n\r\n", 200, "POST /echo", "0\r\n\r\nab" },
    { "trailers", "POST /trailer HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n1\r\na\r\n0\r\nX-Other: 1\r\nx-t: yes \r\n\r\n", 200,
      "POST /trailer", "yes" },
    { "declared trailers that do not come", "POST /trailer HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n0\r\n\r\n", 200, "POST /trailer",
      "none" },
    { "a header is no trailer", "POST /trailer HTTP/1.1\r\n" H "X-T: no\r\nContent-Length: 1\r\n\r\na", 200, "POST /trailer", "none" },
    { "an upgrade is not taken up", "GET /x HTTP/1.1\r\n" H "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n", 200, "GET /x",
      "" },
    { "HTTP/1.0 without a Host", "GET /x HTTP/1.0\r\n\r\n", 200, "GET /x", "" },
    { "HTTP/1.0 with a body", "POST /echo HTTP/1.0\r\nContent-Length: 2\r\n\r\nab", 200, "POST /echo", "ab" },
    { "HTTP/1.0 knows no Expect", "POST /echo HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nab", 200, "POST /echo", "ab" },
    { "methods of the library's list", "PROPFIND /x HTTP/1.1\r\n" H "\r\n", 200, "PROPFIND /x", "" },

    /* ---- where smuggling begins ---- */
    { "Content-Length and Transfer-Encoding", "POST /x HTTP/1.1\r\n" H "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, NULL, NULL },
    { "Transfer-Encoding and Content-Length", "POST /x HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 400, NULL, NULL },
    { "two lengths that differ", "POST /x HTTP/1.1\r\n" H "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400, NULL, NULL },
    { "two lengths that agree", "POST /x HTTP/1.1\r\n" H "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400, NULL, NULL },
    { "two lengths in one", "POST /x HTTP/1.1\r\n" H "Content-Length: 3, 3\r\n\r\nabc", 400, NULL, NULL },
    { "a signed length", "POST /x HTTP/1.1\r\n" H "Content-Length: +3\r\n\r\nabc", 400, NULL, NULL },
    { "a negative length", "POST /x HTTP/1.1\r\n" H "Content-Length: -3\r\n\r\n", 400, NULL, NULL },
    { "a hexadecimal length", "POST /x HTTP/1.1\r\n" H "Content-Length: 0x3\r\n\r\nabc", 400, NULL, NULL },
    { "an empty length", "POST /x HTTP/1.1\r\n" H "Content-Length:\r\n\r\n", 400, NULL, NULL },
    { "a length with a blank in it", "POST /x HTTP/1.1\r\n" H "Content-Length: 1 2\r\n\r\n", 400, NULL, NULL },
    { "a length beyond 64 bits", "POST /x HTTP/1.1\r\n" H "Content-Length: 18446744073709551619\r\n\r\nabc", 400, NULL, NULL },
    { "a length of nineteen digits", "POST /x HTTP/1.1\r\n" H "Content-Length: 0000000000000000003\r\n\r\nabc", 400, NULL, NULL },
    { "Content-Length with a blank before its colon", "POST /x HTTP/1.1\r\n" H "Content-Length : 3\r\n\r\nabc", 400, NULL, NULL },
    { "two Transfer-Encodings", "POST /x HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, NULL, NULL },
    { "chunked twice", "POST /x HTTP/1.1\r\n" H "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 400, NULL, NULL },
    { "chunked twice with another between", "POST /x HTTP/1.1\r\n" H "Transfer-Encoding: chunked, gzip, chunked\r\n\r\n0\r\n\r\n", 400, NULL, NULL },
    { "another coding", "POST /x HTTP/1.1\r\n" H "Transfer-Encoding: gzip\r\n\r\n0\r\n\r\n", 400, NULL, NULL },
    { "another coding before chunked", "POST /x HTTP/1.1\r\n" H "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501, NULL, NULL },
    { "another coding before chunked, no blank, any case", "POST /x HTTP/1.1\r\n" H "Transfer-Encoding: GZIP,Chunked\r\n\r\n0\r\n\r\n", 501, NULL, NULL },
    { "another coding with a parameter before chunked", "POST /x HTTP/1.1\r\n" H "Transfer-Encoding: gzip;q=1, chunked\r\n\r\n0\r\n\r\n", 501, NULL, NULL },
    { "another coding after chunked", "POST /x HTTP/1.1\r\n" H "Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", 400, NULL, NULL },
    { "another coding after chunked, without a blank", "POST /x HTTP/1.1\r\n" H "Transfer-Encoding: chunked,gzip\r\n\r\n0\r\n\r\n", 400, NULL, NULL },
    { "identity", "POST /x HTTP/1.1\r\n" H "Transfer-Encoding: identity\r\n\r\n0\r\n\r\n", 400, NULL, NULL },
    { "nearly chunked", "POST /x HTTP/1.1\r\n" H "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400, NULL, NULL },
    { "chunked with a parameter", "POST /x HTTP/1.1\r\n" H "Transfer-Encoding: chunked;a=b\r\n\r\n0\r\n\r\n", 400, NULL, NULL },
    { "chunked in quotes", "POST /x HTTP/1.1\r\n" H "Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n", 400, NULL, NULL },
    { "chunked in quotes before chunked", "POST /x HTTP/1.1\r\n" H "Transfer-Encoding: \"chunked\", chunked\r\n\r\n0\r\n\r\n", 400, NULL, NULL },
    { "a comma before chunked", "POST /x HTTP/1.1\r\n" H "Transfer-Encoding: , chunked\r\n\r\n0\r\n\r\n", 400, NULL, NULL },
    { "a comma after chunked", "POST /x HTTP/1.1\r\n" H "Transfer-Encoding: chunked,\r\n\r\n0\r\n\r\n", 400, NULL, NULL },
    { "a blank in a coding before chunked", "POST /x HTTP/1.1\r\n" H "Transfer-Encoding: g zip, chunked\r\n\r\n0\r\n\r\n", 400, NULL, NULL },
    { "chunked after a vertical tab", "POST /x HTTP/1.1\r\n" H "Transfer-Encoding: \x0b" "chunked\r\n\r\n0\r\n\r\n", 400, NULL, NULL },
    { "no coding", "POST /x HTTP/1.1\r\n" H "Transfer-Encoding:\r\n\r\n0\r\n\r\n", 400, NULL, NULL },
    { "a coding in HTTP/1.0", "POST /x HTTP/1.0\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400, NULL, NULL },
    { "Transfer-Encoding with a blank before its colon", "POST /x HTTP/1.1\r\n" H "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400, NULL, NULL },
    { "chunks in HTTP/1.0", "POST /x HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, NULL, NULL },
    { "a bare LF after the request line", "GET /x HTTP/1.1\n" H "\r\n", 400, NULL, NULL },
    { "a bare LF after a header", "GET /x HTTP/1.1\r\nHost: a\nX: 1\r\n\r\n", 400, NULL, NULL },
    { "a bare LF as the empty line", "GET /x HTTP/1.1\r\n" H "\n", 400, NULL, NULL },
    { "a bare LF before it", "\nGET /x HTTP/1.1\r\n" H "\r\n", 400, NULL, NULL },
    { "a bare CR in a value", "GET /x HTTP/1.1\r\n" H "X: a\rb\r\n\r\n", 400, NULL, NULL },
    { "two CRs", "GET /x HTTP/1.1\r\r\n" H "\r\n", 400, NULL, NULL },
    { "two empty lines before it", "\r\n\r\nGET /x HTTP/1.1\r\n" H "\r\n", 400, NULL, NULL },
    { "a folded value", "GET /x HTTP/1.1\r\n" H "X: a\r\n b\r\n\r\n", 400, NULL, NULL },
    { "a value folded with a tab", "GET /x HTTP/1.1\r\n" H "X: a\r\n\tb\r\n\r\n", 400, NULL, NULL },
    { "a blank before the first header", "GET /x HTTP/1.1\r\n Host: a\r\n\r\n", 400, NULL, NULL },
    { "Host with a blank before its colon", "GET /x HTTP/1.1\r\nHost : a\r\n\r\n", 400, NULL, NULL },
    { "Host with a tab before its colon", "GET /x HTTP/1.1\r\nHost\t: a\r\n\r\n", 400, NULL, NULL },
    { "no Host", "GET /x HTTP/1.1\r\n\r\n", 400, NULL, NULL },
    { "an empty Host", "GET /x HTTP/1.1\r\nHost:\r\n\r\n", 400, NULL, NULL },
    { "a Host of blanks", "GET /x HTTP/1.1\r\nHost: \t\r\n\r\n", 400, NULL, NULL },
    { "a Host that is a port", "GET /x HTTP/1.1\r\nHost: :4566\r\n\r\n", 400, NULL, NULL },
    { "an empty Host in HTTP/1.0", "GET /x HTTP/1.0\r\nHost:\r\n\r\n", 400, NULL, NULL },
    { "a target whose host is a port", "GET http://:80/x HTTP/1.1\r\nHost: :80\r\n\r\n", 400, NULL, NULL },
    { "two Hosts", "GET /x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, NULL, NULL },
    { "two Hosts that agree", "GET /x HTTP/1.1\r\nHost: a\r\nHOST: a\r\n\r\n", 400, NULL, NULL },
    { "two Hosts in HTTP/1.0", "GET /x HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400, NULL, NULL },
    { "two hosts in one", "GET /x HTTP/1.1\r\nHost: a b\r\n\r\n", 400, NULL, NULL },
    { "a path in Host", "GET /x HTTP/1.1\r\nHost: a/b\r\n\r\n", 400, NULL, NULL },
    { "a user in Host", "GET /x HTTP/1.1\r\nHost: a@b\r\n\r\n", 400, NULL, NULL },
    { "a target for another host than Host", "GET http://b/x HTTP/1.1\r\n" H "\r\n", 400, NULL, NULL },
    { "a user in the target", "GET http://u@a/x HTTP/1.1\r\nHost: u@a\r\n\r\n", 400, NULL, NULL },

    /* ---- lines that are none ---- */
    { "a control byte in a value", "GET /x HTTP/1.1\r\n" H "X: a\x01" "b\r\n\r\n", 400, NULL, NULL },
    { "DEL in a value", "GET /x HTTP/1.1\r\n" H "X: a\x7f\r\n\r\n", 400, NULL, NULL },
    { "a header without a colon", "GET /x HTTP/1.1\r\n" H "X\r\n\r\n", 400, NULL, NULL },
    { "a header without a name", "GET /x HTTP/1.1\r\n" H ": a\r\n\r\n", 400, NULL, NULL },
    { "a name in parentheses", "GET /x HTTP/1.1\r\n" H "(X): a\r\n\r\n", 400, NULL, NULL },
    { "a name in UTF-8", "GET /x HTTP/1.1\r\n" H "X\xc3\xa9: a\r\n\r\n", 400, NULL, NULL },
    { "no target", "GET HTTP/1.1\r\n" H "\r\n", 400, NULL, NULL },
    { "two blanks before the target", "GET  /x HTTP/1.1\r\n" H "\r\n", 400, NULL, NULL },
    { "two blanks after the target", "GET /x  HTTP/1.1\r\n" H "\r\n", 400, NULL, NULL },
    { "a blank in the target", "GET /x y HTTP/1.1\r\n" H "\r\n", 400, NULL, NULL },
    { "a tab in the request line", "GET\t/x HTTP/1.1\r\n" H "\r\n", 400, NULL, NULL },
    { "a blank at the line's end", "GET /x HTTP/1.1 \r\n" H "\r\n", 400, NULL, NULL },
    { "a blank at the line's start", " GET /x HTTP/1.1\r\n" H "\r\n", 400, NULL, NULL },
    { "a fragment", "GET /x#y HTTP/1.1\r\n" H "\r\n", 400, NULL, NULL },
    { "UTF-8 in the target", "GET /\xc3\xa9 HTTP/1.1\r\n" H "\r\n", 400, NULL, NULL },
    { "a target without a slash", "GET x HTTP/1.1\r\n" H "\r\n", 400, NULL, NULL },
    { "a star", "OPTIONS * HTTP/1.1\r\n" H "\r\n", 400, NULL, NULL },
    { "another scheme", "GET https://a/x HTTP/1.1\r\n" H "\r\n", 400, NULL, NULL },
    { "a scheme and no host", "GET http:///x HTTP/1.1\r\nHost:\r\n\r\n", 400, NULL, NULL },
    { "a tunnel", "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", 501, NULL, NULL },
    { "a method nobody knows", "BREW /x HTTP/1.1\r\n" H "\r\n", 501, NULL, NULL },
    { "a method in small letters", "get /x HTTP/1.1\r\n" H "\r\n", 501, NULL, NULL },
    { "a method that is no token", "G@T /x HTTP/1.1\r\n" H "\r\n", 400, NULL, NULL },
    { "HTTP/0.9", "GET /x\r\n", 400, NULL, NULL },
    { "HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, NULL, NULL },
    { "HTTP/1.2", "GET /x HTTP/1.2\r\n" H "\r\n", 505, NULL, NULL },
    { "HTTP/1.10", "GET /x HTTP/1.10\r\n" H "\r\n", 400, NULL, NULL },
    { "http/1.1", "GET /x http/1.1\r\n" H "\r\n", 400, NULL, NULL },
    { "TLS", "\x16\x03\x01\x02\n\x01\x01", 400, NULL, NULL },
    { "another expectation", "POST /x HTTP/1.1\r\n" H "Expect: 200-ok\r\nContent-Length: 1\r\n\r\na", 417, NULL, NULL },

    /* ---- bodies that are none ---- */
    { "a chunk without a size", "POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n\r\nabc\r\n0\r\n\r\n", 400, "POST /echo", NULL },
    { "a chunk's size of no digits", "POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\nxyz\r\nabc\r\n0\r\n\r\n", 400, "POST /echo", NULL },
    { "a chunk's size with 0x", "POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n", 400, "POST /echo", NULL },
    { "a negative chunk", "POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n-3\r\nabc\r\n0\r\n\r\n", 400, "POST /echo", NULL },
    { "a chunk's size with a blank before it", "POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n 3\r\nabc\r\n0\r\n\r\n", 400, "POST /echo", NULL },
    { "a chunk's size with a blank after it", "POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n3 \r\nabc\r\n0\r\n\r\n", 400, "POST /echo", NULL },
    { "a chunk's size beyond 64 bits", "POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n10000000000000003\r\nabc\r\n0\r\n\r\n", 400, "POST /echo",
      NULL },
    { "a chunk's size with a bare LF", "POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n", 400, "POST /echo", NULL },
    { "a bare LF hidden in an extension", "POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n3;a\nabc\r\n0\r\n\r\n", 400, "POST /echo", NULL },
    { "a bare CR hidden in an extension", "POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n3;a\rb\r\nabc\r\n0\r\n\r\n", 400, "POST /echo", NULL },
    { "a chunk longer than its size", "POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n", 400, "POST /echo", NULL },
    { "a chunk that ends with a bare LF", "POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\n0\r\n\r\n", 400, "POST /echo", NULL },
    { "a chunk that ends with two CRs", "POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\r0\r\n\r\n", 400, "POST /echo", NULL },
    { "trailers that end with a bare LF", "POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n0\r\n\n", 400, "POST /echo", NULL },
    { "a trailer with a blank before its colon", "POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n0\r\nX : 1\r\n\r\n", 400, "POST /echo", NULL },
    { "a folded trailer", "POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n0\r\nX: 1\r\n 2\r\n\r\n", 400, "POST /echo", NULL },
    { "a length among the trailers", "POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 5\r\n\r\nabcde", 400, "POST /echo", NULL },
    { "a coding among the trailers", "POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "POST /echo",
      NULL },
    { "a Host among the trailers", "POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n0\r\nHost: b\r\n\r\n", 400, "POST /echo", NULL },
};
enum { CASES = sizeof cases / sizeof *cases, WHOLE = -1, DRIBBLED = -2 };

static void run_case(struct owner *owner, unsigned i, int cut)
{
    size_t len = strlen(cases[i].request);
    unsigned heads = owner->heads, ended = owner->ended;
    char label[128];
    struct peer peer;

    (void)snprintf(label, sizeof label, "%s (cut %d)", cases[i].label, cut);
    test_label(label);
    if (!peer_open(&peer, owner))
        return test_fail(__FILE__, __LINE__, "no connection");
    if (cut == WHOLE) {
        (void)peer_send(&peer, cases[i].request, len);
    } else if (cut == DRIBBLED) {
        (void)peer_dribble(&peer, cases[i].request, len); /* it may be refused before its end */
    } else {
        (void)peer_send(&peer, cases[i].request, (size_t)cut);
        (void)peer_send(&peer, cases[i].request + cut, len - (size_t)cut);
    }
    struct reply reply = peer_reply(&peer);
    EXPECT_EQ(cases[i].status, reply.status);
    EXPECT_EQ(cases[i].seen != NULL, owner->heads - heads);
    if (cases[i].seen != NULL)
        EXPECT_VIEW(cases[i].seen, bytes_view(&owner->last));
    if (cases[i].body != NULL && reply.status != 0)
        EXPECT_VIEW(cases[i].body, reply.body);
    if (cases[i].status != 200) {
        EXPECT_VIEW("close", reply_field(reply, "Connection"));
        (void)shutdown(peer.fd, SHUT_WR);
        EXPECT(peer_waits_for_end(&peer));
        EXPECT_EQ(peer.at, peer.got.len); /* one answer, whatever came behind it */
    }
    peer_close(&peer);
    UNTIL(owner, owner->ended - ended == owner->heads - heads);
    test_label(NULL);
}

TEST(each_request_has_its_status_however_it_is_cut)
{
    struct owner owner;

    if (!owner_open(&owner, "127.0.0.1:0", NULL))
        return test_fail(__FILE__, __LINE__, "no listener");
    for (unsigned i = 0; i < CASES; i++) {
        int len = (int)strlen(cases[i].request);
        run_case(&owner, i, WHOLE);
        run_case(&owner, i, DRIBBLED);
        for (int cut = 1 + (int)i % 7; cut < len; cut += 7)
            run_case(&owner, i, cut);
    }
    owner_done(&owner);
    EXPECT_EQ(0, owner.mistakes);
}

/* C strings end at a NUL, so these have their own lengths. */
TEST(a_nul_anywhere_in_a_head_is_refused)
{
    static const char request[] = "GET /x?y HTTP/1.1\r\n" H "Name: value\r\n\r\n";
    struct owner owner;

    if (!owner_open(&owner, "127.0.0.1:0", NULL))
        return test_fail(__FILE__, __LINE__, "no listener");
    for (size_t at = 0; at < sizeof request - 1; at++) {
        char damaged[sizeof request];
        char label[32];
        struct peer peer;
        memcpy(damaged, request, sizeof request);
        damaged[at] = '\0';
        (void)snprintf(label, sizeof label, "NUL at %zu", at);
        test_label(label);
        if (!peer_open(&peer, &owner))
            return test_fail(__FILE__, __LINE__, "no connection");
        EXPECT(peer_send(&peer, damaged, sizeof request - 1));
        EXPECT(peer_say(&peer, "\r\n\r\n")); /* where an LF went */
        EXPECT_EQ(400, peer_reply(&peer).status);
        peer_close(&peer);
    }
    EXPECT_EQ(0, owner.heads);
    owner_done(&owner);
}

TEST(the_line_of_a_chunks_size_is_bounded)
{
    char extension[2000];

    memset(extension, 'x', sizeof extension - 1);
    extension[sizeof extension - 1] = '\0';
    for (unsigned whole = 0; whole < 2; whole++) {
        struct owner owner;
        struct peer peer;
        OPEN(owner, 0);
        CONNECT(peer, owner);
        EXPECT(peer_say(&peer, "POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n3;"));
        (void)peer_say(&peer, extension);
        if (whole)
            (void)peer_say(&peer, "\r\nabc\r\n0\r\n\r\n");
        EXPECT_EQ(400, peer_reply(&peer).status);
        peer_close(&peer);
        DONE(owner);
    }
}

/* What follows a message is the next one, to the byte; where that cannot be known, there is none. */
TEST(after_each_good_request_the_next_one_is_found)
{
    struct owner owner;

    if (!owner_open(&owner, "127.0.0.1:0", NULL))
        return test_fail(__FILE__, __LINE__, "no listener");
    for (unsigned i = 0; i < CASES; i++) {
        struct bytes two = { 0 };
        struct peer peer;
        if (cases[i].status != 200 || strstr(cases[i].request, "HTTP/1.0") != NULL)
            continue;
        test_label(cases[i].label);
        bytes_put_text(&two, cases[i].request);
        bytes_put_text(&two, "GET /second HTTP/1.1\r\n" H "\r\n");
        if (!peer_open(&peer, &owner))
            return test_fail(__FILE__, __LINE__, "no connection");
        EXPECT(peer_send(&peer, two.data, two.len));
        EXPECT_EQ(200, peer_reply(&peer).status);
        EXPECT_EQ(200, peer_reply(&peer).status);
        EXPECT_VIEW("GET /second", bytes_view(&owner.last));
        peer_close(&peer);
        bytes_done(&two);
    }
    test_label(NULL);
    owner_done(&owner);
    EXPECT_EQ(0, owner.mistakes);
}

/* ---- texts ---- */

TEST(escapes_become_bytes_and_bad_ones_are_refused)
{
    static const struct { const char *text, *bytes; } rows[] = {
        { "", "" }, { "a", "a" }, { "%41", "A" }, { "%2f%2F", "//" }, { "a%20b", "a b" }, { "%c3%a9", "\xc3\xa9" }, { "%25", "%" }, { "+", "+" },
        { "%", NULL }, { "%4", NULL }, { "%4g", NULL }, { "%g4", NULL }, { "%00", NULL }, { "a%", NULL }, { "%%41", NULL },
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct bytes out = { 0 };
        test_label(rows[i].text);
        EXPECT_EQ(rows[i].bytes != NULL, http_unescape(view_of(rows[i].text), &out));
        bytes_put_char(&out, '\0');
        if (rows[i].bytes != NULL)
            EXPECT_TEXT(rows[i].bytes, out.data);
        bytes_done(&out);
    }
    struct bytes out = { 0 };
    EXPECT(!http_unescape((struct view){ .data = "a\0b", .len = 3 }, &out));
    bytes_done(&out);
}

TEST(a_query_gives_the_first_value_of_a_name)
{
    static const struct { const char *query, *name, *value; } rows[] = {
        { "a=1&b=2", "a", "1" }, { "a=1&b=2", "b", "2" }, { "a=1&a=2", "a", "1" }, { "ab=1&a=2", "a", "2" }, { "a", "a", "" }, { "a&b", "b", "" },
        { "a=", "a", "" }, { "a=b=c", "a", "b=c" }, { "&&a=1", "a", "1" }, { "a=1", "b", NULL }, { "", "a", NULL }, { "ab", "a", NULL }, { "A=1", "a", NULL },
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        test_label(rows[i].query);
        struct view value = http_query_value(view_of(rows[i].query), rows[i].name);
        EXPECT_EQ(rows[i].value != NULL, value.data != NULL);
        if (rows[i].value != NULL && value.data != NULL)
            EXPECT_VIEW(rows[i].value, value);
    }
    EXPECT(http_query_value((struct view){ .data = NULL }, "a").data == NULL);
}

TEST(a_field_of_an_answer_is_one_line)
{
    EXPECT(http_field_valid(VIEW_LITERAL("X-A"), VIEW_LITERAL("b c\t\xc3\xa9")));
    EXPECT(http_field_valid(VIEW_LITERAL("X-A"), VIEW_LITERAL("")));
    EXPECT(!http_field_valid(VIEW_LITERAL(""), VIEW_LITERAL("b")));
    EXPECT(!http_field_valid(VIEW_LITERAL("X A"), VIEW_LITERAL("b")));
    EXPECT(!http_field_valid(VIEW_LITERAL("X:"), VIEW_LITERAL("b")));
    EXPECT(!http_field_valid(VIEW_LITERAL("X"), VIEW_LITERAL("a\r\nb")));
    EXPECT(!http_field_valid(VIEW_LITERAL("X"), VIEW_LITERAL("a\0b")));
}
