/* The HTTP port: function URLs and routes, from the request to the function's payload and back to a response. */
#include "tests/unit/api_fixture.h"

#include <stdlib.h>

#include "broker/base/assert.h"
#include "broker/core/route_path.h"
#include "schemas/codec/json.h"

/* ---- paths ---- */

TEST(paths_are_checked)
{
    static const struct {
        const char *path, *says; /* NULL: good */
    } cases[] = {
        { "/", NULL }, { "/a", NULL }, { "/a/", NULL }, { "/a b\xc3\xa9", "a segment is" }, { "/{id}", NULL }, { "/a/{b}/c/{rest+}", NULL },
        { "", "begins with '/'" }, { "a", "begins with '/'" }, { "/{}", "the name in braces" }, { "/{+}", "the name in braces" }, { "/{a b}", "the name in braces" },
        { "/{a+}/b", "must be the last" }, { "/{a}/{a}", "there twice" }, { "/a{b}", "a segment is" }, { "/%41", "a segment is" }, { "/a?b", "a segment is" },
        { "/{a}/{b}/{c}/{d}/{e}/{f}/{g}/{h}/{i}/{j}/{k}/{l}/{m}/{n}/{o}/{p}/{q}", "at most 16 names" },
        { "/1/2/3/4/5/6/7/8/9/1/2/3/4/5/6/7/8/9/1/2/3/4/5/6/7/8/9/1/2/3/4/5/6/7", "at most 32 segments" },
    };
    struct sluice_error error;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        test_label(cases[i].path);
        error.text[0] = '\0';
        EXPECT_EQ(cases[i].says == NULL ? SLUICE_OK : SLUICE_EINVAL, route_path_check(cases[i].path, &error));
        EXPECT(cases[i].says == NULL || strstr(error.text, cases[i].says) != NULL);
    }
    test_label(NULL);
}

TEST(paths_match)
{
    static const struct {
        const char *pattern, *path, *parameters; /* "name=value;"; NULL: no match */
    } cases[] = {
        { "/", "/", "" }, { "/", "/a", NULL }, { "/a", "/a", "" }, { "/a", "/a/", NULL }, { "/a/", "/a/", "" }, { "/a", "/%61", "" }, { "/a", "/b", NULL },
        { "/a", "/aa", NULL }, { "/aa", "/a", NULL }, { "/a", "/%6", NULL }, { "/a/b", "/a%2Fb", NULL },
        { "/{id}", "/7", "id=7;" }, { "/{id}", "/", NULL }, { "/{id}", "/a/b", NULL }, { "/{id}", "/a%2Fb", "id=a%2Fb;" },
        { "/{a}/x/{b}", "/1/x/2", "a=1;b=2;" }, { "/{rest+}", "/a/b/c", "rest=a/b/c;" }, { "/{rest+}", "/", NULL }, { "/a/{rest+}", "/a", NULL },
        { "/a/{rest+}", "/a/b/", "rest=b/;" },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct route_parameter parameters[ROUTE_PARAMETERS_MAX];
        struct bytes text = { 0 };
        unsigned count = 0;
        char label[100];
        (void)snprintf(label, sizeof label, "%s %s", cases[i].pattern, cases[i].path);
        test_label(label);
        EXPECT(bytes_reserve(&text, 1)); /* so that it has an address when it is empty */
        EXPECT_EQ(cases[i].parameters != NULL, route_path_match(cases[i].pattern, view_of(cases[i].path), parameters, &count));
        for (unsigned p = 0; p < count; p++)
            bytes_put_format(&text, "%.*s=%.*s;", VIEW_ARGS(parameters[p].name), VIEW_ARGS(parameters[p].value));
        if (cases[i].parameters != NULL)
            EXPECT_VIEW(cases[i].parameters, bytes_view(&text));
        bytes_done(&text);
    }
    test_label(NULL);
}

TEST(the_more_specific_path_goes_first)
{
    static const char *const sorted[] = { "/a", "/a/b", "/a/{x}", "/a/{x}/c", "/a/{rest+}", "/b", "/{y}", "/{y}/b", "/{rest+}" };
    enum { COUNT = sizeof sorted / sizeof *sorted };

    for (size_t i = 0; i < COUNT; i++) {
        for (size_t j = 0; j < COUNT; j++) {
            int order = route_path_compare(sorted[i], sorted[j]);
            test_label(sorted[i]);
            EXPECT_EQ((i > j) - (i < j), (order > 0) - (order < 0));
        }
    }
    test_label(NULL);
    EXPECT_EQ(0, route_path_compare("/a/{x}/{y+}", "/a/{other}/{z+}"));
}

/* ---- requests ---- */

/* Waits for the one invoke and gives its payload; of `skip` the value is not looked at. */
static const char *payload_of(struct bench *bench)
{
    static char text[65536];

    bench_wait_invokes(bench, 1);
    struct view payload = bench_invocation(bench)->payload;
    (void)snprintf(text, sizeof text, "%.*s", VIEW_ARGS(payload));
    return text;
}

static const struct {
    const char *label, *line, *headers, *body;
    const char *has[6];
} requests[] = {
    { "a function's URL by path", "GET /url/f/a%20b/?x=1&y=%2b+&x=2&z", "", "",
      { "{\"version\":\"2.0\",\"routeKey\":\"$default\",\"rawPath\":\"/a%20b/\",\"rawQueryString\":\"x=1&y=%2b+&x=2&z\","
        "\"queryStringParameters\":{\"x\":\"1,2\",\"y\":\"+ \",\"z\":\"\"},\"headers\":{", "\"apiId\":\"f\"", "\"stage\":\"$default\"",
        "\"http\":{\"method\":\"GET\",\"path\":\"/a%20b/\",\"protocol\":\"HTTP/1.1\",\"sourceIp\":\"127.0.0.1\",\"userAgent\":\"\"}", "},\"isBase64Encoded\":false}" } },
    { "the root of a URL", "GET /url/f", "", "", { "\"rawPath\":\"/\",\"rawQueryString\":\"\",\"headers\":" } },
    { "a function's URL by host", "DELETE /events", "Host: with.dots-and_more.lambda-url.localhost:4566\r\n", "",
      { "\"rawPath\":\"/events\"", "\"domainName\":\"with.dots-and_more.lambda-url.localhost\",\"domainPrefix\":\"with\"", "\"method\":\"DELETE\"" } },
    { "headers and cookies", "GET /url/f", "X-Two: a\r\nX-TWO: b, c\r\nCookie: k=v; l=w\r\nX-Amzn-Trace-Id: Root=1-2-3\r\nX-Forwarded-For: 10.0.0.1\r\n", "",
      { "\"cookies\":[\"k=v\",\"l=w\"],\"headers\":{", "\"x-two\":\"a,b, c\"", "\"x-amzn-trace-id\":\"Root=1-2-3\"", "\"x-forwarded-for\":\"10.0.0.1, 127.0.0.1\"",
        "\"x-forwarded-proto\":\"http\"" } },
    { "headers of the connection alone", "POST /url/f", "X-A: 1\r\nConnection: keep-alive, X-Hop ,close-by\r\nKeep-Alive: timeout=5\r\nTE: trailers\r\n"
      "Upgrade: h2c\r\nProxy-Connection: keep-alive\r\nx-HOP: 1\r\nX-Hop-2: 2\r\nTrailer: X-T\r\nX-Z: 9\r\nContent-Type: text/plain\r\n", "hi",
      { "\"x-a\":\"1\",\"x-hop-2\":\"2\",\"x-z\":\"9\",\"content-type\":\"text/plain\"", "\"body\":\"hi\"" } },
    { "names that differ by one bit, and not by case", "GET /url/f", "X^: a\r\nX~: b\r\nx^: c\r\n", "", { "\"x^\":\"a,c\",\"x~\":\"b\"" } },
    { "text", "POST /url/f", "Content-Type: text/plain; charset=utf-8\r\n", "say \"hi\"\n", { "\"body\":\"say \\\"hi\\\"\\n\",\"isBase64Encoded\":false}" } },
    { "JSON", "POST /url/f", "Content-Type: application/vnd.x+json\r\n", "{}", { "\"body\":\"{}\",\"isBase64Encoded\":false}" } },
    { "a form", "POST /url/f", "Content-Type: application/x-www-form-urlencoded\r\n", "a=b", { "\"body\":\"a=b\"" } },
    { "bytes", "POST /url/f", "Content-Type: image/png\r\n", "\xff\xfe", { "\"body\":\"//4=\",\"isBase64Encoded\":true}" } },
    { "text that is not UTF-8", "POST /url/f", "Content-Type: text/plain\r\n", "\xff\xfe", { "\"body\":\"//4=\",\"isBase64Encoded\":true}" } },
    { "no type", "POST /url/f", "", "a", { "\"body\":\"YQ==\",\"isBase64Encoded\":true}" } },
    { "a header that is not UTF-8", "GET /url/f", "X-A: \xff\r\n", "", { "\"x-a\":\"\xef\xbf\xbd\"" } },
    { "a route", "GET /orders/a%20b?q", "", "",
      { "{\"version\":\"2.0\",\"routeKey\":\"GET /orders/{id}\",\"rawPath\":\"/orders/a%20b\"", "\"pathParameters\":{\"id\":\"a b\"}", "\"apiId\":\"one\"" } },
    { "a route of all methods", "PATCH /orders/7/items/8", "", "",
      { "\"routeKey\":\"ANY /orders/{id}/{rest+}\"", "\"pathParameters\":{\"id\":\"7\",\"rest\":\"items/8\"}", "\"method\":\"PATCH\"" } },
    { "an OPTIONS that is no preflight", "OPTIONS /orders/7/x", "", "", { "\"method\":\"OPTIONS\"" } },
    { "a page of another origin may call a URL", "POST /url/f", "Origin: https://other.example\r\n", "", { "\"origin\":\"https://other.example\"" } },
};

TEST(a_request_becomes_a_payload)
{
    struct bench bench;
    struct client client;
    struct reply reply;
    struct sluice_error error;

    bench_open(&bench);
    client_open(&client, &bench);
    for (size_t i = 0; i < sizeof requests / sizeof *requests; i++) {
        test_label(requests[i].label);
        client_ask(&client, requests[i].line, requests[i].headers, view_of(requests[i].body));
        const char *payload = payload_of(&bench);
        EXPECT_EQ(SLUICE_OK, json_check(view_of(payload), JSON_OBJECT, 10, &error));
        for (size_t p = 0; p < 6 && requests[i].has[p] != NULL; p++) {
            if (strstr(payload, requests[i].has[p]) == NULL)
                test_fail(__FILE__, __LINE__, "no %s in %s", requests[i].has[p], payload);
        }
        char trace_id[128], root[128];
        (void)snprintf(trace_id, sizeof trace_id, "%.*s", VIEW_ARGS(bench_invocation(&bench)->trace_id));
        (void)snprintf(root, sizeof root, "\"x-amzn-trace-id\":\"%.*s\"", (int)strcspn(trace_id, ";"), trace_id);
        EXPECT(strstr(payload, root) != NULL);
        bench_answer(&bench, "{\"statusCode\":204,\"headers\":{\"X-Amzn-Trace-Id\":\"forged\"}}");
        client_answer(&client, &reply);
        EXPECT_EQ(204, reply.status);
        EXPECT_TEXT(trace_id, reply_header(&reply, "x-amzn-trace-id"));
        EXPECT(memmem(reply.head.data, reply.head.len, "forged", 6) == NULL);
        reply_done(&reply);
    }
    test_label(NULL);
    client_close(&client);
    bench_close(&bench);
}

TEST(requests_of_no_route_are_refused)
{
    static const struct {
        const char *label, *line, *headers;
        unsigned status;
        const char *says;
    } cases[] = {
        { "no such function", "GET /url/none/", "", 404, "there is no function 'none'" },
        { "no name", "GET /url/", "", 404, "there is no function ''" },
        { "no such host", "GET /", "Host: none.lambda-url.localhost\r\n", 404, "there is no function 'none'" },
        { "another method", "POST /orders/7", "", 405, "allow: GET" },
        { "other methods", "GET /cart", "", 405, "allow: PUT, DELETE" },
        { "another path", "GET /orders", "", 404, "nothing is served" },
    };
    struct bench bench;
    struct reply reply;

    bench_open(&bench);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        test_label(cases[i].label);
        ask(&bench, cases[i].line, cases[i].headers, VIEW_LITERAL(""), &reply);
        EXPECT_EQ(cases[i].status, reply.status);
        EXPECT(strstr(reply.bytes.data, cases[i].says) != NULL);
        reply_done(&reply);
    }
    test_label("too many parameters");
    struct bytes line = { 0 };
    bytes_put_text(&line, "GET /url/f?");
    for (unsigned i = 0; i <= 1000; i++)
        bytes_put_text(&line, "a&");
    bytes_put_char(&line, '\0');
    ask(&bench, line.data, "", VIEW_LITERAL(""), &reply);
    EXPECT_EQ(400, reply.status);
    reply_done(&reply);
    bytes_done(&line);
    test_label(NULL);
    EXPECT_EQ(0, bench.invokes.count);
    bench_close(&bench);
}

/* ---- responses ---- */

static const struct {
    const char *label, *result;
    unsigned status;
    const char *body, *name, *value;
} results[] = {
    { "all of it", "{\"statusCode\":201,\"headers\":{\"Content-Type\":\"text/html\",\"X-A\":\"1\"},\"body\":\"<a>\\u00e9\"}", 201, "<a>\xc3\xa9", "content-type",
      "text/html" },
    { "a default type", "{\"statusCode\":200,\"body\":\"x\"}", 200, "x", "content-type", "application/json" },
    { "base64", "{\"statusCode\":200,\"body\":\"aGVsbG8=\",\"isBase64Encoded\":true}", 200, "hello", NULL, NULL },
    { "no body", "{\"statusCode\":404}", 404, "", NULL, NULL },
    { "a null body", "{\"statusCode\":404,\"body\":null,\"headers\":null,\"cookies\":null}", 404, "", NULL, NULL },
    { "a body that is no text", "{\"statusCode\":200,\"body\":{\"a\" : 1}}", 200, "{\"a\" : 1}", NULL, NULL },
    { "a status in quotes", "{\"statusCode\":\"202\"}", 202, "", NULL, NULL },
    { "a header that is a number", "{\"statusCode\":200,\"headers\":{\"x-n\":7}}", 200, "", "x-n", "7" },
    { "a header that is a list", "{\"statusCode\":200,\"headers\":{\"x-n\":[\"a\",\"b\"]}}", 200, "", "x-n", "a" },
    { "a cookie", "{\"statusCode\":200,\"cookies\":[\"a=1; Path=/\",\"b=2\"]}", 200, "", "set-cookie", "a=1; Path=/" },
    { "headers of the connection", "{\"statusCode\":200,\"headers\":{\"Content-Length\":\"99\",\"Transfer-Encoding\":\"chunked\",\"Connection\":\"x\"},\"body\":\"y\"}", 200, "y",
      "content-length", "1" },
    { "an object that is no response", "{\"a\": 1}", 200, "{\"a\": 1}", "content-type", "application/json" },
    { "text", "\"hello\"", 200, "hello", "content-type", "application/json" },
    { "a number", " 1.50 ", 200, "1.50", NULL, NULL },
    { "null", "null", 200, "null", NULL, NULL },
    { "a prelude", "{\"statusCode\":203,\"headers\":{\"x-a\":\"b\"}}", 203, "", "x-a", "b" },
    { "no status", "{\"statusCode\":99}", 502, "{\"message\":\"Internal Server Error\"}", NULL, NULL },
    { "no final status", "{\"statusCode\":101}", 502, NULL, NULL, NULL },
    { "a status that is text", "{\"statusCode\":\"ok!\"}", 502, NULL, NULL, NULL },
    { "headers that are none", "{\"statusCode\":200,\"headers\":[]}", 502, NULL, NULL, NULL },
    { "a line break in a value", "{\"statusCode\":200,\"headers\":{\"a\":\"b\\r\\nc: d\"}}", 502, NULL, NULL, NULL },
    { "a line break in a name", "{\"statusCode\":200,\"headers\":{\"a\\r\\nb\":\"c\"}}", 502, NULL, NULL, NULL },
    { "a colon in a name", "{\"statusCode\":200,\"headers\":{\"a:\":\"c\"}}", 502, NULL, NULL, NULL },
    { "a NUL in a name", "{\"statusCode\":200,\"headers\":{\"a\\u0000b\":\"c\"}}", 502, NULL, NULL, NULL },
    { "a line break in a cookie", "{\"statusCode\":200,\"cookies\":[\"a\\nb\"]}", 502, NULL, NULL, NULL },
    { "a nested header", "{\"statusCode\":200,\"headers\":{\"a\":{}}}", 502, NULL, NULL, NULL },
    { "a body that is not base64", "{\"statusCode\":200,\"body\":\"!\",\"isBase64Encoded\":true}", 502, NULL, NULL, NULL },
    { "half a surrogate pair", "{\"statusCode\":200,\"body\":\"\\ud800\"}", 502, NULL, NULL, NULL },
    { "no JSON", "hello", 502, NULL, NULL, NULL },
    { "nothing", "", 502, NULL, NULL, NULL },
};

TEST(a_result_becomes_a_response)
{
    struct bench bench;
    struct client client;
    struct reply reply;

    bench_open(&bench);
    client_open(&client, &bench);
    for (size_t i = 0; i < sizeof results / sizeof *results; i++) {
        test_label(results[i].label);
        client_ask(&client, "GET /url/f", "", VIEW_LITERAL(""));
        bench_wait_invokes(&bench, 1);
        bench_answer(&bench, results[i].result);
        client_answer(&client, &reply);
        EXPECT_EQ(results[i].status, reply.status);
        if (results[i].body != NULL)
            EXPECT_VIEW(results[i].body, reply.body);
        if (results[i].name != NULL)
            EXPECT_TEXT(results[i].value, reply_header(&reply, results[i].name));
        if (strstr(results[i].label, "cookie") != NULL && results[i].status == 200)
            EXPECT(strstr(reply.bytes.data, "\r\nset-cookie: b=2\r\n") != NULL);
        if (strstr(results[i].label, "is a list") != NULL)
            EXPECT(strstr(reply.bytes.data, "\r\nx-n: b\r\n") != NULL);
        reply_done(&reply);
    }
    test_label(NULL);
    client_close(&client);
    bench_close(&bench);
}

TEST(a_function_that_fails_is_a_bad_gateway)
{
    struct bench bench;
    struct client client;
    struct reply reply;

    bench_open(&bench);
    client_open(&client, &bench);
    client_ask(&client, "GET /url/f", "", VIEW_LITERAL(""));
    bench_wait_invokes(&bench, 1);
    bench_fail(&bench, "Error", "secret", "{\"errorMessage\":\"secret\"}");
    client_answer(&client, &reply);
    EXPECT_EQ(502, reply.status);
    EXPECT(strstr(reply.bytes.data, "secret") == NULL);
    reply_done(&reply);
    client_ask(&client, "GET /url/f", "", VIEW_LITERAL(""));
    bench_wait_invokes(&bench, 1);
    bench_answer_outcome(&bench, INVOKE_THROTTLED);
    client_answer(&client, &reply);
    EXPECT_EQ(429, reply.status);
    EXPECT_TEXT("1", reply_header(&reply, "retry-after"));
    reply_done(&reply);
    client_close(&client);
    bench_close(&bench);
}

/* ---- CORS ---- */

static const struct {
    const char *label, *line, *headers;
    unsigned status;
    const char *origin, *methods, *allowed;
} preflights[] = {
    { "the origin of the route", "OPTIONS /cart", "Origin: https://shop.example\r\nAccess-Control-Request-Method: PUT\r\n", 204, "https://shop.example", "PUT,DELETE",
      "x-a,x-b" },
    { "another origin", "OPTIONS /cart", "Origin: https://evil.example\r\nAccess-Control-Request-Method: PUT\r\n", 204, "", "", "" },
    { "no method of the route", "OPTIONS /cart", "Origin: https://shop.example\r\nAccess-Control-Request-Method: GET\r\n", 405, "", "", "" },
    { "all origins", "OPTIONS /live", "Origin: https://any.example\r\nAccess-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: a, b\r\n", 204, "*", "GET",
      "a, b" },
    { "a function's URL", "OPTIONS /url/g/a", "Origin: https://shop.example\r\nAccess-Control-Request-Method: PUT\r\n", 204, "https://shop.example", "PUT,DELETE",
      "x-a,x-b" },
    { "a function's URL by host", "OPTIONS /events", "Host: g.lambda-url.localhost\r\nOrigin: https://shop.example\r\nAccess-Control-Request-Method: PUT\r\n", 204,
      "https://shop.example", "PUT,DELETE", "x-a,x-b" },
    { "no method of the URL", "OPTIONS /url/g", "Origin: https://shop.example\r\nAccess-Control-Request-Method: GET\r\n", 204, "https://shop.example", "", "" },
    { "another origin for a URL", "OPTIONS /url/g", "Origin: https://evil.example\r\nAccess-Control-Request-Method: PUT\r\n", 204, "", "", "" },
};

TEST(preflights_are_answered_here)
{
    struct bench bench;
    struct reply reply;

    bench_open(&bench);
    for (size_t i = 0; i < sizeof preflights / sizeof *preflights; i++) {
        test_label(preflights[i].label);
        ask(&bench, preflights[i].line, preflights[i].headers, VIEW_LITERAL(""), &reply);
        EXPECT_EQ(preflights[i].status, reply.status);
        EXPECT_TEXT(preflights[i].origin, reply_header(&reply, "access-control-allow-origin"));
        EXPECT_TEXT(preflights[i].methods, reply_header(&reply, "access-control-allow-methods"));
        EXPECT_TEXT(preflights[i].allowed, reply_header(&reply, "access-control-allow-headers"));
        if (i == 0) {
            EXPECT_TEXT("600", reply_header(&reply, "access-control-max-age"));
            EXPECT_TEXT("true", reply_header(&reply, "access-control-allow-credentials"));
            EXPECT_TEXT("Origin", reply_header(&reply, "vary"));
        }
        reply_done(&reply);
    }
    test_label(NULL);
    EXPECT_EQ(0, bench.invokes.count);
    bench_close(&bench);
}

static const char *const speaking[] = { "PUT /cart", "PUT /url/g/cart" };

TEST(a_route_or_url_with_cors_speaks_for_the_function)
{
    static const char result[] = "{\"statusCode\":200,\"headers\":{\"Access-Control-Allow-Origin\":\"*\"}}";
    struct bench bench;
    struct client client;
    struct reply reply;

    bench_open(&bench);
    client_open(&client, &bench);
    for (size_t i = 0; i < sizeof speaking / sizeof *speaking; i++) {
        test_label(speaking[i]);
        client_ask(&client, speaking[i], "Origin: https://shop.example\r\n", VIEW_LITERAL(""));
        bench_wait_invokes(&bench, 1);
        bench_answer(&bench, result);
        client_answer(&client, &reply);
        EXPECT_TEXT("https://shop.example", reply_header(&reply, "access-control-allow-origin"));
        EXPECT_TEXT("x-a,x-b", reply_header(&reply, "access-control-expose-headers"));
        reply_done(&reply);
        client_ask(&client, speaking[i], "Origin: https://evil.example\r\n", VIEW_LITERAL(""));
        bench_wait_invokes(&bench, 1);
        bench_answer(&bench, result);
        client_answer(&client, &reply);
        EXPECT_EQ(200, reply.status);
        EXPECT_TEXT("", reply_header(&reply, "access-control-allow-origin"));
        EXPECT_TEXT("Origin", reply_header(&reply, "vary"));
        reply_done(&reply);
    }
    test_label(NULL);
    client_ask(&client, "GET /url/f", "Origin: https://evil.example\r\n", VIEW_LITERAL("")); /* its own affair */
    bench_wait_invokes(&bench, 1);
    bench_answer(&bench, result);
    client_answer(&client, &reply);
    EXPECT_TEXT("*", reply_header(&reply, "access-control-allow-origin"));
    reply_done(&reply);
    client_close(&client);
    bench_close(&bench);
}

/* ---- streamed ---- */

static uint64_t stream_begun_by(struct bench *bench, struct client *client, const char *line, const char *type)
{
    client_ask(client, line, "Origin: https://any.example\r\n", VIEW_LITERAL(""));
    bench_wait_invokes(bench, 1);
    EXPECT(bench_invocation(bench)->streams);
    uint64_t invoke = bench->invokes.items[0];
    EXPECT(api_stream_begin(bench->api, invoke, view_of(type)));
    return invoke;
}

static uint64_t stream_begun(struct bench *bench, struct client *client, const char *type)
{
    return stream_begun_by(bench, client, "GET /live", type);
}

#define PRELUDE "application/vnd.awslambda.http-integration-response"

TEST(a_streamed_response_is_passed_on_as_it_comes)
{
    static const char prelude[] = "{\"statusCode\":207,\"headers\":{\"x-a\":\"b\"},\"cookies\":[\"c=d\"]}\0\0\0\0\0\0\0\0one ";
    struct bench bench;
    struct client client;
    struct reply reply;

    bench_open(&bench);
    client_open(&client, &bench);
    uint64_t invoke = stream_begun(&bench, &client, PRELUDE);
    for (size_t i = 0; i < sizeof prelude - 1; i++)
        EXPECT(api_stream_piece(bench.api, invoke, (struct view){ prelude + i, 1 }));
    EXPECT(api_stream_piece(bench.api, invoke, VIEW_LITERAL("two")));
    bench_answer(&bench, "");
    client_answer(&client, &reply);
    EXPECT_EQ(207, reply.status);
    EXPECT_VIEW("one two", reply.body);
    EXPECT_TEXT("b", reply_header(&reply, "x-a"));
    EXPECT_TEXT("c=d", reply_header(&reply, "set-cookie"));
    EXPECT_TEXT("*", reply_header(&reply, "access-control-allow-origin"));
    EXPECT_TEXT("application/octet-stream", reply_header(&reply, "content-type"));
    reply_done(&reply);

    invoke = stream_begun(&bench, &client, "text/event-stream");
    EXPECT(api_stream_piece(bench.api, invoke, VIEW_LITERAL("data: 1\n\n")));
    bench_answer(&bench, "");
    client_answer(&client, &reply);
    EXPECT_EQ(200, reply.status);
    EXPECT_TEXT("text/event-stream", reply_header(&reply, "content-type"));
    EXPECT_VIEW("data: 1\n\n", reply.body);
    reply_done(&reply);

    client_ask(&client, "GET /live", "", VIEW_LITERAL("")); /* of a function that does not stream */
    bench_wait_invokes(&bench, 1);
    bench_answer(&bench, "\"whole\"");
    client_answer(&client, &reply);
    EXPECT_VIEW("whole", reply.body);
    reply_done(&reply);
    client_close(&client);
    bench_close(&bench);
}

TEST(a_functions_url_streams_too)
{
    static const char *const lines[] = { "GET /url/g/a", "POST /url/g" };
    struct bench bench;
    struct client client;
    struct reply reply;

    bench_open(&bench);
    client_open(&client, &bench);
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        test_label(lines[i]);
        uint64_t invoke = stream_begun_by(&bench, &client, lines[i], "text/event-stream");
        EXPECT(api_stream_piece(bench.api, invoke, VIEW_LITERAL("data: 1\n\n")));
        bench_answer(&bench, "");
        client_answer(&client, &reply);
        EXPECT_EQ(200, reply.status);
        EXPECT_TEXT("text/event-stream", reply_header(&reply, "content-type"));
        EXPECT_TEXT("Origin", reply_header(&reply, "vary"));
        EXPECT_VIEW("data: 1\n\n", reply.body);
        reply_done(&reply);
    }
    test_label(NULL);
    client_close(&client);
    bench_close(&bench);
}

TEST(a_stream_that_breaks_is_not_ended)
{
    struct bench bench;
    struct client client;
    struct reply reply;

    bench_open(&bench);
    client_open(&client, &bench);
    uint64_t invoke = stream_begun(&bench, &client, "text/plain");
    EXPECT(api_stream_piece(bench.api, invoke, VIEW_LITERAL("half")));
    bench_fail(&bench, "Error", "broke", "{}");
    client_answer(&client, &reply);
    EXPECT_EQ(0, reply.status); /* closed before the last chunk */
    reply_done(&reply);
    client_close(&client);
    bench_close(&bench);
}

TEST(a_prelude_that_is_none_is_a_bad_gateway)
{
    static const struct {
        const char *label, *piece;
        size_t len;
    } cases[] = {
        { "no JSON", "hello\0\0\0\0\0\0\0\0", 13 },
        { "no status", "{\"statusCode\":7}\0\0\0\0\0\0\0\0", 24 },
        { "a line break", "{\"headers\":{\"a\":\"b\\nc\"}}\0\0\0\0\0\0\0\0", 33 },
        { "cut off", "{\"statusCode\":200}\0\0\0", 21 },
    };
    struct bench bench;
    struct reply reply;

    bench_open(&bench);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct client client;
        test_label(cases[i].label);
        client_open(&client, &bench);
        uint64_t invoke = stream_begun(&bench, &client, PRELUDE);
        EXPECT(api_stream_piece(bench.api, invoke, (struct view){ cases[i].piece, cases[i].len }));
        EXPECT(api_stream_piece(bench.api, invoke, VIEW_LITERAL("more")));
        bench_answer(&bench, "");
        client_answer(&client, &reply);
        EXPECT_EQ(502, reply.status);
        reply_done(&reply);
        client_close(&client);
    }
    test_label("too long");
    struct client client;
    char *spaces = calloc(1, 17000);
    memset(spaces, ' ', 17000);
    client_open(&client, &bench);
    uint64_t invoke = stream_begun(&bench, &client, PRELUDE);
    EXPECT(api_stream_piece(bench.api, invoke, (struct view){ spaces, 17000 }));
    client_answer(&client, &reply);
    EXPECT_EQ(502, reply.status);
    reply_done(&reply);
    free(spaces);
    client_close(&client);
    test_label(NULL);
    bench_close(&bench);
}

TEST(a_prelude_in_a_whole_response_is_taken_apart)
{
    static const char result[] = "{\"statusCode\":207,\"headers\":{\"Content-Type\":\"text/plain\"}}\0\0\0\0\0\0\0\0body";
    struct bench bench;
    struct client client;
    struct reply reply;

    bench_open(&bench);
    client_open(&client, &bench);
    client_ask(&client, "GET /url/f", "", VIEW_LITERAL(""));
    bench_wait_invokes(&bench, 1);
    uint64_t invoke = bench.invokes.items[0];
    bench.invokes.count = bench.functions.count = 0;
    api_invoke_answered(bench.api, invoke, &(struct invoke_answer){ .outcome = INVOKE_DONE, .result = { result, sizeof result - 1 } }, VIEW_LITERAL(""));
    client_answer(&client, &reply);
    EXPECT_EQ(207, reply.status);
    EXPECT_VIEW("body", reply.body);
    EXPECT_TEXT("text/plain", reply_header(&reply, "content-type"));
    reply_done(&reply);
    client_close(&client);
    bench_close(&bench);
}
