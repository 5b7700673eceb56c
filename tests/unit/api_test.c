/* The HTTP port: which door a request reaches, and what the AWS doors answer. */
#include "tests/unit/api_fixture.h"

#include <stdlib.h>

#include "broker/api/aws/eventstream.h"
#include "broker/base/assert.h"

#define INVOKE "POST /2015-03-31/functions/f/invocations"
#define EVENT "X-Amz-Invocation-Type: Event\r\n"
#define JSON11(operation) "Content-Type: application/x-amz-json-1.1\r\nX-Amz-Target: AWSEvents." operation "\r\n"

/* `has` and `also`: parts of the answer's head and body. */
static const struct {
    const char *label, *line, *headers, *body;
    unsigned status;
    const char *has, *also;
} plain[] = {
    { "health", "GET /healthz", "", "", 200, "ok", NULL },
    { "ready", "GET /readyz", "", "", 200, "ready", NULL },
    { "HEAD of health has no body", "HEAD /healthz", "", "", 200, NULL, NULL },
    { "health is not posted to", "POST /healthz", "", "", 405, "allow: GET, HEAD", NULL },
    { "nothing is there", "GET /nothing", "", "", 404, "nothing is served at '/nothing'", NULL },
    { "a page's own name for 127.0.0.1", "GET /healthz", "Host: evil.example:4566\r\n", "", 403, "evil.example", NULL },
    { "a name that only ends alike", "GET /healthz", "Host: evillocalhost\r\n", "", 403, NULL, NULL },
    { "localhost", "GET /healthz", "Host: LOCALHOST:1\r\n", "", 200, NULL, NULL },
    { "a name under localhost", "GET /healthz", "Host: lambda.localhost:1\r\n", "", 200, NULL, NULL },
    { "a configured name", "GET /healthz", "Host: Proxy.example:80\r\n", "", 200, NULL, NULL },
    { "IPv6", "GET /healthz", "Host: [::1]:1\r\n", "", 200, NULL, NULL },
    { "a request of another origin", INVOKE, "Origin: http://evil.example\r\n", "{}", 403, "origins", NULL },
    { "a request of a page from a file", INVOKE, "Origin: null\r\n", "{}", 403, NULL, NULL },
    { "our own pages", "POST /", JSON11("ListRules") "Host: localhost:4566\r\nOrigin: http://localhost:4566\r\n", "{}", 200, "Rules", NULL },
    { "our own pages behind TLS", "POST /", JSON11("ListRules") "Host: proxy.example\r\nOrigin: https://proxy.example\r\n", "{}", 200, "Rules", NULL },
    { "our own host, another port", "POST /", JSON11("ListRules") "Host: localhost:4566\r\nOrigin: http://localhost:80\r\n", "{}", 403, NULL, NULL },
    { "an event of another origin", "POST /events", "Origin: http://evil.example\r\n", "{}", 403, NULL, NULL },
    { "PutEvents of another origin", "POST /", JSON11("PutEvents") "Origin: http://evil.example\r\n", "{}", 403, NULL, NULL },

    { "no such function", "POST /2015-03-31/functions/none/invocations", "", "{}", 404, "x-amzn-errortype: ResourceNotFoundException",
      "{\"Type\":\"User\",\"Message\":\"Function not found: arn:aws:lambda:us-east-1:000000000000:function:none:$LATEST\"}" },
    { "no such version", "POST /2015-03-31/functions/f/invocations?Qualifier=7", "", "{}", 404, "ResourceNotFoundException", "function:f:7\"" },
    { "no such alias in the name", "POST /2015-03-31/functions/f%3Alive/invocations", "", "{}", 404, NULL, "function:f:live\"" },
    { "two qualifiers", "POST /2015-03-31/functions/f%3A%24LATEST/invocations?Qualifier=7", "", "{}", 400, "InvalidParameterValueException",
      "does not match the specified qualifier" },
    { "not a name", "POST /2015-03-31/functions/a%20b/invocations", "", "{}", 400, "x-amzn-errortype: ValidationException",
      "\"message\":\"1 validation error detected: Value 'a%20b' at 'functionName'" },
    { "a NUL in the name", "POST /2015-03-31/functions/f%00/invocations", "", "{}", 400, "ValidationException", NULL },
    { "a broken escape", "POST /2015-03-31/functions/f%2/invocations", "", "{}", 400, NULL, NULL },
    { "not a qualifier", "POST /2015-03-31/functions/f/invocations?Qualifier=a%2Fb", "", "{}", 400, "ValidationException", "'qualifier'" },
    { "not JSON", INVOKE, "", "{nope}", 400, "x-amzn-errortype: InvalidRequestContentException",
      "{\"Type\":\"User\",\"message\":\"Could not parse request body into json: " },
    { "two JSON texts", INVOKE, "", "{}{}", 400, "InvalidRequestContentException", NULL },
    { "an unknown type", INVOKE, "X-Amz-Invocation-Type: Later\r\n", "{}", 400, "ValidationException", "'invocationType'" },
    { "an unknown log type", INVOKE, "X-Amz-Log-Type: Head\r\n", "{}", 400, "ValidationException", "'logType'" },
    { "a context that is no base64", INVOKE, "X-Amz-Client-Context: {}\r\n", "{}", 400, "InvalidRequestContentException", NULL },
    { "a context that is no object", INVOKE, "X-Amz-Client-Context: MQ==\r\n", "{}", 400, "InvalidRequestContentException", NULL },
    { "dry run", INVOKE, "X-Amz-Invocation-Type: DryRun\r\n", "{}", 204, "x-amzn-requestid: ", NULL },
    { "dry run of nothing", "POST /2015-03-31/functions/none/invocations", "X-Amz-Invocation-Type: DryRun\r\n", "{}", 404, NULL, NULL },
    { "dry run of a stream", "POST /2021-11-15/functions/f/response-streaming-invocations", "X-Amz-Invocation-Type: DryRun\r\n", "", 204, NULL, NULL },
    { "no stream of an event", "POST /2021-11-15/functions/f/response-streaming-invocations", EVENT, "", 400, "InvalidParameterValueException", NULL },

    { "one function", "GET /2015-03-31/functions/f", "", "", 200, "\"State\":\"Active\",\"LastUpdateStatus\":\"Successful\"",
      "{\"Configuration\":{\"FunctionName\":\"f\",\"FunctionArn\":\"arn:aws:lambda:us-east-1:000000000000:function:f\"" },
    { "its configuration", "GET /2015-03-31/functions/f/configuration", "", "", 200, "{\"FunctionName\":\"f\"", "\"Timeout\":3," },
    { "how it logs", "GET /2015-03-31/functions/f/configuration", "", "", 200, "\"LoggingConfig\":{\"LogFormat\":\"Text\",\"LogGroup\":\"/aws/lambda/f\"}", NULL },
    { "JSON", "GET /2015-03-31/functions/g/configuration", "", "", 200,
      "\"LoggingConfig\":{\"LogFormat\":\"JSON\",\"ApplicationLogLevel\":\"DEBUG\",\"SystemLogLevel\":\"INFO\",\"LogGroup\":\"/aws/lambda/g\"}", NULL },
    { "its versions", "GET /2015-03-31/functions/f/versions", "", "", 200, "\"Version\":\"$LATEST\"", "function:f:$LATEST\"" },
    { "its URL", "GET /2021-10-31/functions/f/url", "", "", 200, "{\"FunctionUrl\":\"http://f.lambda-url.localhost:", "\"AuthType\":\"NONE\",\"InvokeMode\":\"BUFFERED\",\"CreationTime\"" },
    { "a URL that streams", "GET /2021-10-31/functions/g/url", "", "", 200, "\"InvokeMode\":\"RESPONSE_STREAM\",",
      "\"Cors\":{\"AllowOrigins\":[\"https://shop.example\"],\"AllowMethods\":[\"PUT\",\"DELETE\"],\"AllowHeaders\":[\"x-a\",\"x-b\"],"
      "\"ExposeHeaders\":[\"x-a\",\"x-b\"],\"MaxAge\":600,\"AllowCredentials\":true}," },
    { "its concurrency", "GET /2019-09-30/functions/f/concurrency", "", "", 200, "{\"ReservedConcurrentExecutions\":4}", NULL },
    { "its policy", "GET /2015-03-31/functions/f/policy", "", "", 404, "ResourceNotFoundException", NULL },
    { "none", "GET /2015-03-31/functions/none", "", "", 404, "ResourceNotFoundException", NULL },
    { "all functions", "GET /2015-03-31/functions/", "", "", 200, "\"FunctionName\":\"f\"", "\"FunctionName\":\"with.dots-and_more\"" },
    { "a page of functions", "GET /2015-03-31/functions?MaxItems=1", "", "", 200, "\"FunctionName\":\"f\"", "\"NextMarker\":\"f\"" },
    { "the last page", "GET /2015-03-31/functions?MaxItems=2&Marker=f", "", "", 200, "{\"Functions\":[{\"FunctionName\":\"g\"",
      "\"FunctionName\":\"with.dots-and_more\"" },
    { "a page of none", "GET /2015-03-31/functions?MaxItems=0", "", "", 400, "InvalidParameterValueException", NULL },
    { "functions are not made here", "POST /2015-03-31/functions", "", "{}", 403, "AccessDeniedException", "configuration files" },
    { "nor changed", "PUT /2015-03-31/functions/f/code", "", "{}", 403, "AccessDeniedException", NULL },
    { "nor removed", "DELETE /2015-03-31/functions/f", "", "", 403, "AccessDeniedException", NULL },
    { "an operation of tomorrow", "GET /2031-01-01/nothing", "", "", 404, "UnknownOperationException", NULL },

    { "an unknown operation", "POST /", JSON11("CreateArchive"), "{}", 400, "x-amzn-errortype: UnknownOperationException",
      "{\"__type\":\"UnknownOperationException\",\"message\":\"AWSEvents.CreateArchive is not served here\"}" },
    { "another service", "POST /", "X-Amz-Target: AmazonSQS.SendMessage\r\n", "{}", 400, "UnknownOperationException", NULL },
    { "a body that is no JSON", "POST /", JSON11("PutEvents"), "{", 400, "SerializationException", NULL },
    { "no entries", "POST /", JSON11("PutEvents"), "{}", 400, "ValidationException", "at 'entries'" },
    { "empty entries", "POST /", JSON11("PutEvents"), "{\"Entries\":[]}", 400, "ValidationException", "greater than or equal to 1" },
    { "eleven entries", "POST /", JSON11("PutEvents"), "{\"Entries\":[1,2,3,4,5,6,7,8,9,10,11]}", 400, "ValidationException",
      "satisfy constraint: Member must have length less than or equal to 10" },
    { "entries that are none", "POST /", JSON11("PutEvents"), "{\"Entries\":[1]}", 400, "SerializationException", NULL },
    { "a source of another type", "POST /", JSON11("PutEvents"), "{\"Entries\":[{\"Source\":1}]}", 400, "SerializationException", "'Source'" },
    { "resources of another type", "POST /", JSON11("PutEvents"), "{\"Entries\":[{\"Resources\":[1]}]}", 400, "SerializationException", NULL },
    { "rules are not put here", "POST /", JSON11("PutRule"), "{}", 400, "OperationDisabledException", "configuration files" },
    { "a pattern that matches", "POST /", JSON11("TestEventPattern"),
      "{\"EventPattern\":\"{\\\"source\\\":[\\\"s\\\"]}\",\"Event\":\"{\\\"id\\\":\\\"1\\\",\\\"account\\\":\\\"1\\\",\\\"source\\\":\\\"s\\\","
      "\\\"time\\\":\\\"t\\\",\\\"region\\\":\\\"r\\\",\\\"detail-type\\\":\\\"d\\\"}\"}", 200, "application/x-amz-json-1.1", "{\"Result\":true}" },
    { "a pattern that does not", "POST /", JSON11("TestEventPattern"),
      "{\"EventPattern\":\"{\\\"source\\\":[\\\"t\\\"]}\",\"Event\":\"{\\\"id\\\":\\\"1\\\",\\\"account\\\":\\\"1\\\",\\\"source\\\":\\\"s\\\","
      "\\\"time\\\":\\\"t\\\",\\\"region\\\":\\\"r\\\",\\\"detail-type\\\":\\\"d\\\"}\"}", 200, NULL, "{\"Result\":false}" },
    { "no pattern", "POST /", JSON11("TestEventPattern"), "{\"EventPattern\":\"{\",\"Event\":\"{}\"}", 400, "InvalidEventPatternException", NULL },
    { "no event", "POST /", JSON11("TestEventPattern"), "{\"EventPattern\":\"{\\\"source\\\":[\\\"s\\\"]}\",\"Event\":\"{}\"}", 400,
      "ValidationException", "Parameter Event is not valid." },
    { "rules of the default bus", "POST /", JSON11("ListRules"), "{}", 200,
      "{\"Rules\":[{\"Name\":\"a\",\"Arn\":\"arn:aws:events:us-east-1:000000000000:rule/a\",\"EventPattern\":\"{\\\"source\\\":[\\\"s\\\"]}\","
      "\"State\":\"ENABLED\",\"EventBusName\":\"default\"},{\"Name\":\"bc\"", NULL },
    { "rules of another bus", "POST /", JSON11("ListRules"), "{\"EventBusName\":\"arn:aws:events:us-east-1:000000000000:event-bus/orders\"}", 200,
      "{\"Rules\":[{\"Name\":\"b\",\"Arn\":\"arn:aws:events:us-east-1:000000000000:rule/orders/b\"", "\"DISABLED\"" },
    { "a page of rules", "POST /", JSON11("ListRules"), "{\"Limit\":1}", 200, "{\"Name\":\"a\"", "\"NextToken\":\"a\"" },
    { "the page after it", "POST /", JSON11("ListRules"), "{\"Limit\":1,\"NextToken\":\"a\"}", 200, "[{\"Name\":\"bc\"", NULL },
    { "rules by their beginning", "POST /", JSON11("ListRules"), "{\"NamePrefix\":\"b\"}", 200, "{\"Rules\":[{\"Name\":\"bc\"", NULL },
    { "a limit out of bounds", "POST /", JSON11("ListRules"), "{\"Limit\":101}", 400, "ValidationException", NULL },
    { "one rule", "POST /", JSON11("DescribeRule"), "{\"Name\":\"a\"}", 200, "\"CreatedBy\":\"000000000000\"", NULL },
    { "no such rule", "POST /", JSON11("DescribeRule"), "{\"Name\":\"x\"}", 400, "ResourceNotFoundException",
      "Rule x does not exist on EventBus default." },
    { "a rule of another bus", "POST /", JSON11("DescribeRule"), "{\"Name\":\"b\"}", 400, "ResourceNotFoundException", NULL },
    { "targets", "POST /", JSON11("ListTargetsByRule"), "{\"Rule\":\"a\"}", 200,
      "{\"Targets\":[{\"Id\":\"1\",\"Arn\":\"arn:aws:lambda:us-east-1:000000000000:function:f\"}", "\"InputPath\":\"$.detail\"" },
    { "buses", "POST /", JSON11("ListEventBuses"), "{}", 200, "{\"EventBuses\":[{\"Name\":\"default\",\"Arn\":", "\"Name\":\"orders\"" },
    { "a bus", "POST /", JSON11("DescribeEventBus"), "{}", 200, "{\"Name\":\"default\",\"Arn\":", NULL },
    { "no such bus", "POST /", JSON11("DescribeEventBus"), "{\"Name\":\"x\"}", 400, "Event bus x does not exist.", NULL },
};

TEST(a_request_reaches_its_door)
{
    struct bench bench;

    bench_open(&bench);
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++) {
        struct reply reply;
        test_label(plain[i].label);
        ask(&bench, plain[i].line, plain[i].headers, view_of(plain[i].body), &reply);
        EXPECT_EQ(plain[i].status, reply.status);
        if (plain[i].has != NULL && strstr(reply.bytes.data, plain[i].has) == NULL)
            test_fail(__FILE__, __LINE__, "no \"%s\" in %s", plain[i].has, reply.bytes.data);
        if (plain[i].also != NULL && strstr(reply.bytes.data, plain[i].also) == NULL)
            test_fail(__FILE__, __LINE__, "no \"%s\" in %s", plain[i].also, reply.bytes.data);
        reply_done(&reply);
    }
    test_label(NULL);
    EXPECT_EQ(0, bench.invokes.count);
    EXPECT_EQ(0, bench.publishes.count);
    bench_close(&bench);
}

TEST(a_request_of_http_1_0_has_no_host)
{
    struct bench bench;
    struct client client;
    struct reply reply;

    bench_open(&bench);
    client_open(&client, &bench);
    client_send(&client, VIEW_LITERAL("GET /healthz HTTP/1.0\r\n\r\n"));
    client_answer(&client, &reply);
    EXPECT_EQ(200, reply.status);
    reply_done(&reply);
    client_close(&client);
    bench_close(&bench);
}

TEST(a_daemon_that_is_not_ready_says_why)
{
    struct bench bench;
    struct reply reply;

    bench_open(&bench);
    bench.not_ready = true;
    ask(&bench, "GET /readyz", "", VIEW_LITERAL(""), &reply);
    EXPECT_EQ(503, reply.status);
    EXPECT_VIEW("still recovering\n", reply.body);
    reply_done(&reply);
    bench_close(&bench);
}

/* ---- RequestResponse ---- */

TEST(an_invoke_is_answered_with_what_the_function_returned)
{
    struct bench bench;
    struct client client;
    struct reply reply;

    bench_open(&bench);
    client_open(&client, &bench);
    client_ask(&client, INVOKE, "X-Amzn-Trace-Id: Root=1-5759e988-bd862e3fe1be46a994272793\r\nX-Amz-Client-Context: eyJhIjoxfQ==\r\n",
               VIEW_LITERAL(" {\"a\" : 1}"));
    bench_wait_invokes(&bench, 1);
    const struct api_invocation *invocation = bench_invocation(&bench);
    EXPECT_VIEW(" {\"a\" : 1}", invocation->payload);
    EXPECT_VIEW("{\"a\":1}", invocation->client_context);
    EXPECT_VIEW("Root=1-5759e988-bd862e3fe1be46a994272793", invocation->trace_id);
    EXPECT_TEXT("arn:aws:lambda:us-east-1:000000000000:function:f", invocation->arn);
    EXPECT(!invocation->streams);
    char request_id[37];
    memcpy(request_id, invocation->request_id, sizeof request_id);
    bench_answer(&bench, "{\"b\":  2}");
    client_answer(&client, &reply);
    EXPECT_EQ(200, reply.status);
    EXPECT_VIEW("{\"b\":  2}", reply.body);
    EXPECT_TEXT("$LATEST", reply_header(&reply, "x-amz-executed-version"));
    EXPECT_TEXT(request_id, reply_header(&reply, "x-amzn-requestid"));
    EXPECT_TEXT("Root=1-5759e988-bd862e3fe1be46a994272793", reply_header(&reply, "x-amzn-trace-id"));
    EXPECT_TEXT("", reply_header(&reply, "x-amz-function-error"));
    EXPECT_TEXT("", reply_header(&reply, "x-amz-log-result"));
    reply_done(&reply);
    client_close(&client);
    bench_close(&bench);
}

static const struct {
    const char *path, *arn;
} names[] = {
    { "f", "arn:aws:lambda:us-east-1:000000000000:function:f" },
    { "f:$LATEST", "arn:aws:lambda:us-east-1:000000000000:function:f:$LATEST" },
    { "f%3A%24LATEST", "arn:aws:lambda:us-east-1:000000000000:function:f:$LATEST" },
    { "with.dots-and_more", "arn:aws:lambda:us-east-1:000000000000:function:with.dots-and_more" },
    { "123456789012:function:f", "arn:aws:lambda:us-east-1:123456789012:function:f" },
    { "eu-west-1:123456789012:function:f", "arn:aws:lambda:eu-west-1:123456789012:function:f" },
    { "123456789012:function:f:$LATEST", "arn:aws:lambda:us-east-1:123456789012:function:f:$LATEST" },
    { "arn:aws:lambda:eu-west-1:123456789012:function:f", "arn:aws:lambda:eu-west-1:123456789012:function:f" },
    { "arn%3Aaws%3Alambda%3Aeu-west-1%3A123456789012%3Afunction%3Af%3A%24LATEST", "arn:aws:lambda:eu-west-1:123456789012:function:f:$LATEST" },
};

TEST(a_function_has_many_names)
{
    struct bench bench;
    struct client client;
    struct reply reply;
    char line[200];

    bench_open(&bench);
    client_open(&client, &bench);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        test_label(names[i].path);
        (void)snprintf(line, sizeof line, "POST /2015-03-31/functions/%s/invocations", names[i].path);
        client_ask(&client, line, "", VIEW_LITERAL(""));
        bench_wait_invokes(&bench, 1);
        EXPECT_TEXT(names[i].arn, bench_invocation(&bench)->arn);
        EXPECT_VIEW("{}", bench_invocation(&bench)->payload);
        bench_answer(&bench, "null");
        client_answer(&client, &reply);
        EXPECT_VIEW("null", reply.body);
        reply_done(&reply);
    }
    test_label(NULL);
    client_close(&client);
    bench_close(&bench);
}

/* %s: the request id. */
static const struct {
    const char *label, *type, *message, *result, *body;
} failures[] = {
    { "a handler's error goes through byte for byte", "Runtime.Unknown", "boom", "{\"errorMessage\": \"boom\",\"trace\":[ ]}",
      "{\"errorMessage\": \"boom\",\"trace\":[ ]}" },
    { "a timeout", "Sandbox.Timedout", "Task timed out after 3.00 seconds", "",
      "{\"errorType\":\"Sandbox.Timedout\",\"errorMessage\":\"RequestId: %s Error: Task timed out after 3.00 seconds\"}" },
    { "an exit", "Runtime.ExitError", "Runtime exited with error: exit status 127", "",
      "{\"errorType\":\"Runtime.ExitError\",\"errorMessage\":\"RequestId: %s Error: Runtime exited with error: exit status 127\"}" },
    { "a reason that has its id", "Runtime.ExitError", "RequestId: 1 Error: x", "",
      "{\"errorType\":\"Runtime.ExitError\",\"errorMessage\":\"RequestId: 1 Error: x\"}" },
    { "too large", "Function.ResponseSizeTooLarge", "Response payload size exceeded maximum allowed payload size (6291556 bytes).", "",
      "{\"errorMessage\":\"Response payload size exceeded maximum allowed payload size (6291556 bytes).\","
      "\"errorType\":\"Function.ResponseSizeTooLarge\"}" },
};

TEST(a_function_that_fails_is_still_200)
{
    struct bench bench;
    struct client client;
    struct reply reply;
    char expected[400];

    bench_open(&bench);
    client_open(&client, &bench);
    for (size_t i = 0; i < sizeof failures / sizeof *failures; i++) {
        test_label(failures[i].label);
        client_ask(&client, INVOKE, "X-Amz-Log-Type: Tail\r\n", VIEW_LITERAL("{}"));
        bench_wait_invokes(&bench, 1);
        EXPECT(bench_invocation(&bench)->tail);
        (void)snprintf(expected, sizeof expected, failures[i].body, bench_invocation(&bench)->request_id); /* NOLINT: formats of the table */
        bench_fail(&bench, failures[i].type, failures[i].message, failures[i].result);
        client_answer(&client, &reply);
        EXPECT_EQ(200, reply.status);
        EXPECT_TEXT("Unhandled", reply_header(&reply, "x-amz-function-error"));
        EXPECT_TEXT("b29wcwo=", reply_header(&reply, "x-amz-log-result"));
        EXPECT_VIEW(expected, reply.body);
        reply_done(&reply);
    }
    test_label(NULL);
    client_close(&client);
    bench_close(&bench);
}

TEST(what_the_engine_refuses_has_its_status)
{
    static const struct {
        enum sluice_err err;
        unsigned status;
        const char *type, *body;
    } cases[] = {
        { SLUICE_ELIMIT, 429, "TooManyRequestsException",
          "{\"Reason\":\"ReservedFunctionConcurrentInvocationLimitExceeded\",\"Type\":\"User\",\"message\":\"Rate Exceeded.\"}" },
        { SLUICE_EUNAVAILABLE, 503, "ServiceException", "{\"Type\":\"Service\",\"Message\":\"refused by the test\"}" },
        { SLUICE_ENOTFOUND, 404, "ResourceNotFoundException", "{\"Type\":\"User\",\"Message\":\"refused by the test\"}" },
        { SLUICE_EINVAL, 400, "InvalidParameterValueException", "{\"Type\":\"User\",\"message\":\"refused by the test\"}" },
        { SLUICE_ENOMEM, 500, "ServiceException", "{\"Type\":\"Service\",\"Message\":\"refused by the test\"}" },
    };
    struct bench bench;
    struct reply reply;

    bench_open(&bench);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bench.invoke_err = cases[i].err;
        ask(&bench, INVOKE, "", VIEW_LITERAL("{}"), &reply);
        EXPECT_EQ(cases[i].status, reply.status);
        EXPECT_TEXT(cases[i].type, reply_header(&reply, "x-amzn-errortype"));
        EXPECT_VIEW(cases[i].body, reply.body);
        EXPECT_TEXT(cases[i].status == 429 || cases[i].status == 503 ? "1" : "", reply_header(&reply, "retry-after"));
        reply_done(&reply);
    }
    bench_close(&bench);
}

TEST(an_invoke_that_found_no_place_is_throttled)
{
    static const struct {
        enum invoke_outcome outcome;
        unsigned status;
    } cases[] = { { INVOKE_THROTTLED, 429 }, { INVOKE_STOPPED, 503 } };
    struct bench bench;
    struct client client;
    struct reply reply;

    bench_open(&bench);
    client_open(&client, &bench);
    for (size_t i = 0; i < 2; i++) {
        client_ask(&client, INVOKE, "amz-sdk-invocation-id: 1\r\n", VIEW_LITERAL("{}"));
        bench_wait_invokes(&bench, 1); /* the second too: a refusal is not what a later try gets */
        bench_answer_outcome(&bench, cases[i].outcome);
        client_answer(&client, &reply);
        EXPECT_EQ(cases[i].status, reply.status);
        reply_done(&reply);
    }
    client_close(&client);
    bench_close(&bench);
}

TEST(payloads_have_their_limits)
{
    static const struct {
        const char *headers, *line, *says;
        size_t len;
        bool good;
    } cases[] = {
        { "", INVOKE, "6291457 byte payload is too large for the RequestResponse invocation type (limit 6291456 bytes)", 6291457, false },
        { EVENT, INVOKE, "1048321 byte payload is too large for the Event invocation type (limit 1048320 bytes)", 1048321, false },
        { "", "POST /2014-11-13/functions/f/invoke-async/", "(limit 262144 bytes)", 262145, false },
        { "", INVOKE, "", 6291456, true },
    };
    struct bench bench;
    char *payload = malloc(6291457);

    ASSERT(payload != NULL);
    memset(payload, ' ', 6291457);
    payload[0] = '1';
    bench_open(&bench);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct client client;
        struct reply reply;
        test_label(cases[i].says);
        client_open(&client, &bench);
        client_ask(&client, cases[i].line, cases[i].headers, (struct view){ payload, cases[i].len });
        if (cases[i].good) {
            bench_wait_invokes(&bench, 1);
            EXPECT_EQ(cases[i].len, bench_invocation(&bench)->payload.len);
            bench_answer(&bench, "1");
        }
        client_answer(&client, &reply);
        EXPECT_EQ(cases[i].good ? 200 : 413, reply.status);
        EXPECT(strstr(reply.bytes.data, cases[i].says) != NULL);
        EXPECT_TEXT(cases[i].good ? "" : "RequestEntityTooLargeException", reply_header(&reply, "x-amzn-errortype"));
        reply_done(&reply);
        client_close(&client);
    }
    test_label(NULL);
    free(payload);
    bench_close(&bench);
}

TEST(payloads_may_come_in_chunks)
{
    static const char head[] = "POST /2015-03-31/functions/f/invocations HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n";
    struct bench bench;
    struct client client;
    struct reply reply;
    struct bytes request = { 0 };

    bench_open(&bench);
    client_open(&client, &bench);
    bytes_put_format(&request, "%s\r\n4\r\n{\"a\"\r\n3\r\n:1}\r\n0\r\n\r\n", head);
    client_send(&client, bytes_view(&request));
    bench_wait_invokes(&bench, 1);
    EXPECT_VIEW("{\"a\":1}", bench_invocation(&bench)->payload);
    bench_answer(&bench, "1");
    client_answer(&client, &reply);
    EXPECT_EQ(200, reply.status);
    reply_done(&reply);
    client_close(&client);

    client_open(&client, &bench); /* no length is announced: it is refused when it is over */
    bytes_clear(&request);
    bytes_put_format(&request, "%s" EVENT "\r\n", head);
    for (unsigned i = 0; i < 17; i++) {
        bytes_put_text(&request, "10000\r\n");
        for (unsigned j = 0; j < 0x10000; j++)
            bytes_put_char(&request, ' ');
        bytes_put_text(&request, "\r\n");
    }
    client_send(&client, bytes_view(&request));
    client_answer(&client, &reply);
    EXPECT_EQ(413, reply.status);
    EXPECT_EQ(0, bench.publishes.count);
    reply_done(&reply);
    client_close(&client);
    bytes_done(&request);
    bench_close(&bench);
}

/* What a request brings is told again in its answer: nothing that HTTP took may be what HTTP refuses. */
TEST(odd_bytes_in_headers_come_back)
{
    struct bench bench;
    struct client client;
    struct reply reply;

    bench_open(&bench);
    client_open(&client, &bench);
    client_ask(&client, INVOKE, "X-Amzn-Trace-Id: a\tb\xff\"\r\n", VIEW_LITERAL("{}"));
    bench_wait_invokes(&bench, 1);
    bench_answer(&bench, "1");
    client_answer(&client, &reply);
    EXPECT_TEXT("a\tb\xff\"", reply_header(&reply, "x-amzn-trace-id"));
    reply_done(&reply);
    client_ask(&client, "OPTIONS /events", "WebHook-Request-Origin: \xff\t\r\n", VIEW_LITERAL(""));
    client_answer(&client, &reply);
    EXPECT_EQ(200, reply.status);
    reply_done(&reply);
    client_ask(&client, "OPTIONS /live", "Origin: \xff\ta\r\nAccess-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: \t\xff \x80\r\n",
               VIEW_LITERAL(""));
    client_answer(&client, &reply);
    EXPECT_EQ(204, reply.status);
    reply_done(&reply);
    client_close(&client);
    bench_close(&bench);
}

/* ---- hang-ups and second tries ---- */

TEST(a_caller_that_hangs_up_is_forgotten)
{
    struct bench bench;
    struct client client;

    bench_open(&bench);
    client_open(&client, &bench);
    client_ask(&client, INVOKE, "", VIEW_LITERAL("{}"));
    bench_wait_invokes(&bench, 1);
    uint64_t invoke = bench.invokes.items[0];
    (void)bench_invocation(&bench); /* it runs */
    client_close(&client);
    bench_wait_cancelled(&bench, 1);
    EXPECT_EQ(invoke, bench.cancelled.items[0]);
    EXPECT(api_invocation_find(bench.api, invoke) == NULL);
    api_invoke_answered(bench.api, invoke, &(struct invoke_answer){ .outcome = INVOKE_DONE, .result = VIEW_LITERAL("1") }, VIEW_LITERAL(""));
    bench_close(&bench);
}

TEST(a_second_try_gets_the_answer_of_the_first)
{
    struct bench bench;
    struct client first, second, third;
    struct reply reply;
    char id[40];

    bench_open(&bench);
    client_open(&first, &bench);
    client_open(&second, &bench);
    client_open(&third, &bench);
    client_ask(&first, INVOKE, "amz-sdk-invocation-id: a\r\n", VIEW_LITERAL("{}"));
    bench_wait_invokes(&bench, 1);
    (void)bench_invocation(&bench); /* it runs: it is not cancelled, for the same request may come again */
    client_close(&first);
    client_ask(&second, INVOKE, "amz-sdk-invocation-id: a\r\namz-sdk-request: attempt=2; max=5\r\n", VIEW_LITERAL("{}"));
    client_ask(&third, INVOKE, "amz-sdk-invocation-id: a\r\n", VIEW_LITERAL("{\"another\":1}"));
    bench_wait_invokes(&bench, 2); /* the same id with another payload is another request */
    EXPECT_EQ(0, bench.cancelled.count);
    bench_answer(&bench, "{\"n\":1}");
    client_answer(&second, &reply);
    EXPECT_VIEW("{\"n\":1}", reply.body);
    (void)snprintf(id, sizeof id, "%s", reply_header(&reply, "x-amzn-requestid"));
    reply_done(&reply);
    bench_answer(&bench, "{\"n\":2}");
    client_answer(&third, &reply);
    EXPECT_VIEW("{\"n\":2}", reply.body);
    reply_done(&reply);
    /* After the answer too: it may have been lost. */
    client_ask(&second, INVOKE, "amz-sdk-invocation-id: a\r\n", VIEW_LITERAL("{}"));
    client_answer(&second, &reply);
    EXPECT_VIEW("{\"n\":1}", reply.body);
    EXPECT_TEXT(id, reply_header(&reply, "x-amzn-requestid"));
    reply_done(&reply);
    EXPECT_EQ(0, bench.invokes.count);
    client_close(&second);
    client_close(&third);
    bench_close(&bench);
}

TEST(streamed_responses_are_not_given_twice)
{
    struct bench bench;
    struct client first, second;

    bench_open(&bench);
    client_open(&first, &bench);
    client_open(&second, &bench);
    client_ask(&first, "POST /2021-11-15/functions/f/response-streaming-invocations", "amz-sdk-invocation-id: a\r\n", VIEW_LITERAL("{}"));
    client_ask(&second, "POST /2021-11-15/functions/f/response-streaming-invocations", "amz-sdk-invocation-id: a\r\n", VIEW_LITERAL("{}"));
    bench_wait_invokes(&bench, 2);
    client_close(&first);
    bench_wait_cancelled(&bench, 1);
    client_close(&second);
    bench_close(&bench);
}

TEST(what_waits_for_a_place_is_cancelled_though_it_may_come_again)
{
    struct bench bench;
    struct client client;

    bench_open(&bench);
    client_open(&client, &bench);
    client_ask(&client, INVOKE, "amz-sdk-invocation-id: a\r\n", VIEW_LITERAL("{}"));
    bench_wait_invokes(&bench, 1);
    client_close(&client);
    bench_wait_cancelled(&bench, 1);
    client_open(&client, &bench);
    client_ask(&client, INVOKE, "amz-sdk-invocation-id: a\r\n", VIEW_LITERAL("{}"));
    bench_wait_invokes(&bench, 1);
    client_close(&client);
    bench_close(&bench);
}

/* ---- Event ---- */

TEST(an_event_invoke_is_answered_after_its_commit)
{
    struct bench bench;
    struct client client;
    struct reply reply;
    char id[ENVELOPE_FIELD_BYTES_MAX + 1];
    uint32_t function = 0;

    bench_open(&bench);
    client_open(&client, &bench);
    client_ask(&client, INVOKE, EVENT, VIEW_LITERAL("[1,  2]"));
    bench_wait_publishes(&bench, 1);
    EXPECT_EQ(0, client.in.len);
    EXPECT(engine_function_find(bench.engine, VIEW_LITERAL("f"), &function));
    EXPECT_EQ(function, bench.publishes.items[0].publish.function);
    EXPECT_EQ(1, bench.publishes.items[0].publish.count);
    struct event event = bench_event(&bench.publishes.items[0], 0);
    EXPECT_EQ(EVENT_KIND_INVOKE, event.kind);
    EXPECT_VIEW("[1,  2]", event.detail);
    (void)event_id_text(&event, id);
    bench_committed(&bench);
    client_answer(&client, &reply);
    EXPECT_EQ(202, reply.status);
    EXPECT_EQ(0, reply.body.len);
    EXPECT_TEXT(id, reply_header(&reply, "x-amzn-requestid"));
    EXPECT_TEXT("", reply_header(&reply, "x-amz-executed-version"));
    reply_done(&reply);
    client_ask(&client, "POST /2014-11-13/functions/f/invoke-async", "", VIEW_LITERAL("{}"));
    bench_wait_publishes(&bench, 2);
    bench_committed(&bench);
    client_answer(&client, &reply);
    EXPECT_EQ(202, reply.status);
    reply_done(&reply);
    client_close(&client);
    bench_close(&bench);
}

TEST(the_second_try_of_an_event_is_one_event)
{
    struct bench bench;
    struct client first, second;
    struct reply reply, again;

    bench_open(&bench);
    client_open(&first, &bench);
    client_open(&second, &bench);
    client_ask(&first, INVOKE, EVENT "amz-sdk-invocation-id: a\r\n", VIEW_LITERAL("{}"));
    bench_wait_publishes(&bench, 1);
    client_close(&first); /* its event is on its way all the same */
    client_ask(&second, INVOKE, EVENT "amz-sdk-invocation-id: a\r\n", VIEW_LITERAL("{}"));
    client_open(&first, &bench);
    client_ask(&first, "GET /healthz", "", VIEW_LITERAL("")); /* behind it on the loop */
    client_answer(&first, &reply);
    reply_done(&reply);
    bench_committed(&bench);
    client_answer(&second, &reply);
    EXPECT_EQ(202, reply.status);
    client_ask(&second, INVOKE, EVENT "amz-sdk-invocation-id: a\r\n", VIEW_LITERAL("{}"));
    client_answer(&second, &again);
    EXPECT_EQ(202, again.status);
    char id[40];
    (void)snprintf(id, sizeof id, "%s", reply_header(&reply, "x-amzn-requestid"));
    EXPECT_TEXT(id, reply_header(&again, "x-amzn-requestid"));
    EXPECT_EQ(1, bench.publishes.count);
    reply_done(&reply);
    reply_done(&again);
    client_close(&first);
    client_close(&second);
    bench_close(&bench);
}

TEST(an_event_that_has_no_room_is_told_to_come_later)
{
    static const struct {
        enum sluice_err code;
        unsigned status;
        const char *type;
    } cases[] = { { SLUICE_ELIMIT, 429, "TooManyRequestsException" }, { SLUICE_EUNAVAILABLE, 503, "ServiceException" } };
    struct bench bench;
    struct client client;
    struct reply reply;

    bench_open(&bench);
    client_open(&client, &bench);
    for (size_t i = 0; i < 2; i++) {
        client_ask(&client, INVOKE, EVENT "amz-sdk-invocation-id: a\r\n", VIEW_LITERAL("{}"));
        bench_wait_publishes(&bench, i + 1);
        api_publish_answered(bench.api, bench.publishes.items[i].publish.reply, &(struct publish_answer){ .code = cases[i].code, .text = "the disk is full" });
        client_answer(&client, &reply);
        EXPECT_EQ(cases[i].status, reply.status);
        EXPECT_TEXT(cases[i].type, reply_header(&reply, "x-amzn-errortype"));
        EXPECT(strstr(reply.bytes.data, "the disk is full") != NULL);
        EXPECT_TEXT("1", reply_header(&reply, "retry-after"));
        reply_done(&reply);
    }
    client_close(&client);
    bench_close(&bench);
}

TEST(closing_takes_back_what_is_not_answered)
{
    struct bench bench;
    struct client event, sync, running;

    bench_open(&bench);
    client_open(&event, &bench);
    client_open(&sync, &bench);
    client_open(&running, &bench);
    client_ask(&event, INVOKE, EVENT, VIEW_LITERAL("{}"));
    client_ask(&running, INVOKE, "amz-sdk-invocation-id: a\r\n", VIEW_LITERAL("{}"));
    bench_wait_invokes(&bench, 1);
    (void)bench_invocation(&bench);
    client_ask(&sync, INVOKE, "", VIEW_LITERAL("{}"));
    bench_wait_publishes(&bench, 1);
    bench_wait_invokes(&bench, 2);
    api_close(bench.api);
    bench.api = NULL;
    EXPECT(bench.publishes.items[0].cancelled);
    EXPECT_EQ(0, bench.invokes.count);
    client_close(&event);
    client_close(&sync);
    client_close(&running);
    bench_close(&bench);
}

/* ---- InvokeWithResponseStream ---- */

static uint32_t u32_at(const char *at)
{
    const uint8_t *bytes = (const uint8_t *)at;
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

/* Checks the sums of the first frame, cuts it off and appends "type:payload;" to `out`. */
static bool frame_next(struct view *stream, struct bytes *out)
{
    static const char mark[] = ":event-type\x07\x00";

    if (stream->len < 16)
        return false;
    uint32_t total = u32_at(stream->data), headers = u32_at(stream->data + 4);
    if (total > stream->len || headers + 16 > total || u32_at(stream->data + 8) != eventstream_crc32(0, stream->data, 8) ||
        u32_at(stream->data + total - 4) != eventstream_crc32(0, stream->data, total - 4))
        return false;
    const char *type = memmem(stream->data + 12, headers, mark, sizeof mark - 1);
    if (type == NULL)
        return false;
    type += sizeof mark - 1;
    bytes_put(out, type + 1, (uint8_t)*type);
    bytes_put_char(out, ':');
    bytes_put(out, stream->data + 12 + headers, total - headers - 16);
    bytes_put_char(out, ';');
    *stream = (struct view){ stream->data + total, stream->len - total };
    return true;
}

static void expect_frames(const char *expected, struct view body)
{
    struct bytes frames = { 0 };

    while (body.len > 0 && frame_next(&body, &frames))
        continue;
    EXPECT_EQ(0, body.len);
    EXPECT_VIEW(expected, bytes_view(&frames));
    bytes_done(&frames);
}

TEST(the_sums_of_frames_are_those_of_zlib)
{
    EXPECT_EQ(0xcbf43926, eventstream_crc32(0, "123456789", 9));
    EXPECT_EQ(0, eventstream_crc32(0, "", 0));
}

#define STREAM "POST /2021-11-15/functions/f/response-streaming-invocations"

TEST(a_streamed_response_comes_in_frames)
{
    struct bench bench;
    struct client client;
    struct reply reply;

    bench_open(&bench);
    client_open(&client, &bench);
    client_ask(&client, STREAM, "X-Amz-Log-Type: Tail\r\n", VIEW_LITERAL("{}"));
    bench_wait_invokes(&bench, 1);
    uint64_t invoke = bench.invokes.items[0];
    EXPECT(bench_invocation(&bench)->streams);
    EXPECT(api_stream_begin(bench.api, invoke, VIEW_LITERAL("text/plain")));
    EXPECT(api_stream_piece(bench.api, invoke, VIEW_LITERAL("one ")));
    EXPECT(api_stream_piece(bench.api, invoke, VIEW_LITERAL("two")));
    bench_answer(&bench, "");
    client_answer(&client, &reply);
    EXPECT_EQ(200, reply.status);
    EXPECT_TEXT("application/vnd.amazon.eventstream", reply_header(&reply, "content-type"));
    expect_frames("PayloadChunk:one ;PayloadChunk:two;InvokeComplete:{\"LogResult\":\"U1RBUlQKaGVsbG8KUkVQT1JUCg==\"};", reply.body);
    reply_done(&reply);

    client_ask(&client, STREAM, "", VIEW_LITERAL("{}")); /* of a function that does not stream */
    bench_wait_invokes(&bench, 1);
    bench_answer(&bench, "{\"a\":1}");
    client_answer(&client, &reply);
    expect_frames("PayloadChunk:{\"a\":1};InvokeComplete:{};", reply.body);
    reply_done(&reply);

    client_ask(&client, STREAM, "", VIEW_LITERAL("{}"));
    bench_wait_invokes(&bench, 1);
    invoke = bench.invokes.items[0];
    EXPECT(api_stream_begin(bench.api, invoke, (struct view){ 0 }));
    EXPECT(api_stream_piece(bench.api, invoke, VIEW_LITERAL("half")));
    bench_fail(&bench, "Error", "broke", "{\"errorMessage\":\"broke\"}");
    client_answer(&client, &reply);
    expect_frames("PayloadChunk:half;InvokeComplete:{\"ErrorCode\":\"Error\",\"ErrorDetails\":\"{\\\"errorMessage\\\":\\\"broke\\\"}\"};", reply.body);
    reply_done(&reply);

    client_ask(&client, STREAM, "", VIEW_LITERAL("{}"));
    bench_wait_invokes(&bench, 1);
    bench_answer_outcome(&bench, INVOKE_THROTTLED);
    client_answer(&client, &reply);
    EXPECT_EQ(429, reply.status);
    reply_done(&reply);
    client_close(&client);
    bench_close(&bench);
}

static bool is_resumed(void *ctx)
{
    return ((struct bench *)ctx)->resumed.count > 0;
}

TEST(a_slow_reader_slows_the_function)
{
    struct bench bench;
    struct client client;
    struct reply reply;
    char *piece = calloc(1, 200000);
    unsigned pieces = 0;
    uint64_t resumed;

    ASSERT(piece != NULL);
    bench_open(&bench);
    client_open(&client, &bench);
    client_ask(&client, STREAM, "", VIEW_LITERAL("{}"));
    bench_wait_invokes(&bench, 1);
    uint64_t invoke = bench.invokes.items[0];
    EXPECT(api_stream_begin(bench.api, invoke, (struct view){ 0 }));
    while (pieces < 1000 && api_stream_piece(bench.api, invoke, (struct view){ piece, 200000 }))
        pieces++;
    EXPECT(pieces < 1000);
    bench_run(&bench, is_resumed, &bench);
    resumed = bench.resumed.items[0];
    EXPECT_EQ(invoke, resumed);
    bench_answer(&bench, "");
    client_answer(&client, &reply);
    EXPECT(reply.body.len > (size_t)(pieces + 1) * 200000);
    reply_done(&reply);
    client_close(&client);
    free(piece);
    bench_close(&bench);
}

TEST(a_stream_without_a_reader_is_dropped)
{
    struct bench bench;
    struct client client;

    bench_open(&bench);
    client_open(&client, &bench);
    client_ask(&client, STREAM, "", VIEW_LITERAL("{}"));
    bench_wait_invokes(&bench, 1);
    uint64_t invoke = bench.invokes.items[0];
    EXPECT(api_stream_begin(bench.api, invoke, (struct view){ 0 }));
    client_close(&client);
    bench_wait_cancelled(&bench, 1);
    EXPECT(api_stream_piece(bench.api, invoke, VIEW_LITERAL("more")));
    EXPECT(!api_stream_begin(bench.api, invoke, (struct view){ 0 }));
    bench_close(&bench);
}

/* ---- PutEvents ---- */

#define PUT "POST /", JSON11("PutEvents")

TEST(put_events_keeps_the_bytes_of_details)
{
    struct bench bench;
    struct client client;
    struct reply reply;

    bench_open(&bench);
    client_open(&client, &bench);
    client_ask(&client, PUT,
               VIEW_LITERAL("{\"Entries\":[{\"Source\":\"s\",\"DetailType\":\"d\",\"Detail\":\"{ \\\"a\\\": 1.50, \\\"b\\\":\\\"\\\\u00e9\\u00e9\\\" }\","
                            "\"Time\":1767323045.678,\"Resources\":[\"r1\",\"r2\"],\"EventBusName\":\"arn:aws:events:us-east-1:000000000000:event-bus/orders\"},"
                            "{\"Source\":\"s\",\"DetailType\":\"d\",\"Detail\":\"{}\",\"Time\":1767323045}]}"));
    bench_wait_publishes(&bench, 1);
    EXPECT_EQ(0, bench.publishes.items[0].publish.function);
    EXPECT_EQ(2, bench.publishes.items[0].publish.count);
    struct event event = bench_event(&bench.publishes.items[0], 0);
    EXPECT_VIEW("{ \"a\": 1.50, \"b\":\"\\u00e9\xc3\xa9\" }", event.detail);
    EXPECT_VIEW("s", event.source);
    EXPECT_VIEW("d", event.detail_type);
    EXPECT_VIEW("orders", event.bus);
    EXPECT_EQ(2, event.resources_count);
    EXPECT_EQ(1767323045678, event.time_ms);
    char id[ENVELOPE_FIELD_BYTES_MAX + 1], expected[200];
    (void)event_id_text(&event, id);
    event = bench_event(&bench.publishes.items[0], 1);
    EXPECT_EQ(1767323045000, event.time_ms);
    EXPECT(event.bus.data == NULL);
    char second[ENVELOPE_FIELD_BYTES_MAX + 1];
    (void)event_id_text(&event, second);
    (void)snprintf(expected, sizeof expected, "{\"Entries\":[{\"EventId\":\"%.36s\"},{\"EventId\":\"%.36s\"}],\"FailedEntryCount\":0}", id, second);
    EXPECT_EQ(0, client.in.len);
    bench_committed(&bench);
    client_answer(&client, &reply);
    EXPECT_EQ(200, reply.status);
    EXPECT_VIEW(expected, reply.body);
    reply_done(&reply);
    client_close(&client);
    bench_close(&bench);
}

static const struct {
    const char *label, *entry, *answer;
} bad_entries[] = {
    { "no source", "{\"DetailType\":\"d\",\"Detail\":\"{}\"}",
      "{\"ErrorCode\":\"InvalidArgument\",\"ErrorMessage\":\"Parameter Source is not valid. Reason: Source is a required argument.\"}" },
    { "null is none", "{\"Source\":null,\"DetailType\":\"d\",\"Detail\":\"{}\"}", "Source is a required argument." },
    { "no type", "{\"Source\":\"s\",\"Detail\":\"{}\"}", "Parameter DetailType is not valid. Reason: DetailType is a required argument." },
    { "no detail", "{\"Source\":\"s\",\"DetailType\":\"d\"}", "Parameter Detail is not valid. Reason: Detail is a required argument." },
    { "a detail that is no JSON", "{\"Source\":\"s\",\"DetailType\":\"d\",\"Detail\":\"{\"}",
      "{\"ErrorCode\":\"MalformedDetail\",\"ErrorMessage\":\"Detail is malformed.\"}" },
    { "a detail that is no object", "{\"Source\":\"s\",\"DetailType\":\"d\",\"Detail\":\"[]\"}", "MalformedDetail" },
    { "a reserved source", "{\"Source\":\"aws.s3\",\"DetailType\":\"d\",\"Detail\":\"{}\"}", "NotAuthorizedForSourceException" },
    { "a time that is none", "{\"Source\":\"s\",\"DetailType\":\"d\",\"Detail\":\"{}\",\"Time\":\"x\"}", "Parameter Time is not valid." },
    { "a time out of bounds", "{\"Source\":\"s\",\"DetailType\":\"d\",\"Detail\":\"{}\",\"Time\":1e300}", "Parameter Time is not valid." },
    { "a long type", "{\"Source\":\"s\",\"Detail\":\"{}\",\"DetailType\":\"ddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd"
                     "dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd\"}", "Parameter DetailType is not valid." },
};

TEST(one_bad_entry_does_not_keep_the_others_back)
{
    struct bench bench;
    struct client client;
    struct reply reply;
    struct bytes body = { 0 };
    unsigned published = 0;

    bench_open(&bench);
    client_open(&client, &bench);
    for (size_t i = 0; i < sizeof bad_entries / sizeof *bad_entries; i++) {
        test_label(bad_entries[i].label);
        bytes_clear(&body);
        bytes_put_format(&body, "{\"Entries\":[%s,{\"Source\":\"s\",\"DetailType\":\"d\",\"Detail\":\"{}\"}]}", bad_entries[i].entry);
        client_ask(&client, PUT, bytes_view(&body));
        bench_wait_publishes(&bench, ++published);
        EXPECT_EQ(1, bench.publishes.items[published - 1].publish.count);
        bench_committed(&bench);
        client_answer(&client, &reply);
        EXPECT_EQ(200, reply.status);
        EXPECT(strstr(reply.body.data, "},{\"EventId\":\"") != NULL);
        EXPECT(strstr(reply.body.data, "\"FailedEntryCount\":1}") != NULL);
        if (strstr(reply.body.data, bad_entries[i].answer) == NULL)
            test_fail(__FILE__, __LINE__, "no \"%s\" in %s", bad_entries[i].answer, reply.body.data);
        reply_done(&reply);
    }
    test_label("alone");
    bytes_clear(&body);
    bytes_put_text(&body, "{\"Entries\":[{\"Source\":\"s\"}]}");
    client_ask(&client, PUT, bytes_view(&body)); /* nothing is left to publish */
    client_answer(&client, &reply);
    EXPECT_EQ(200, reply.status);
    EXPECT_EQ(published, bench.publishes.count);
    reply_done(&reply);
    test_label(NULL);
    bytes_done(&body);
    client_close(&client);
    bench_close(&bench);
}

TEST(what_the_engine_refuses_of_a_batch_is_told_by_entry)
{
    struct publish_refusal refusals[] = {
        { .index = 0, .error = { .code = SLUICE_ENOTFOUND, .text = "bus 'x' does not exist" } },
        { .index = 2, .error = { .code = SLUICE_EINVAL, .text = "too costly" } },
    };
    struct bench bench;
    struct client client;
    struct reply reply;

    bench_open(&bench);
    client_open(&client, &bench);
    client_ask(&client, PUT,
               VIEW_LITERAL("{\"Entries\":[{\"Source\":\"s\",\"DetailType\":\"d\",\"Detail\":\"{}\",\"EventBusName\":\"x\"},"
                            "{\"Source\":\"s\"},{\"Source\":\"s\",\"DetailType\":\"d\",\"Detail\":\"{}\"},{\"Source\":\"s\",\"DetailType\":\"d\",\"Detail\":\"{}\"}]}"));
    bench_wait_publishes(&bench, 1);
    EXPECT_EQ(3, bench.publishes.items[0].publish.count);
    api_publish_answered(bench.api, bench.publishes.items[0].publish.reply,
                         &(struct publish_answer){ .code = SLUICE_OK, .accepted = 1, .refusals = refusals, .refusals_count = 2 });
    client_answer(&client, &reply);
    /* An unknown bus is no error to EventBridge: the event is dropped. */
    EXPECT(strncmp(reply.body.data, "{\"Entries\":[{\"EventId\":", 23) == 0);
    EXPECT(strstr(reply.body.data, "},{\"ErrorCode\":\"InvalidArgument\",\"ErrorMessage\":\"too costly\"}],\"FailedEntryCount\":2}") != NULL);
    reply_done(&reply);
    client_ask(&client, PUT, VIEW_LITERAL("{\"Entries\":[{\"Source\":\"s\",\"DetailType\":\"d\",\"Detail\":\"{}\"}]}"));
    bench_wait_publishes(&bench, 2);
    api_publish_answered(bench.api, bench.publishes.items[1].publish.reply, &(struct publish_answer){ .code = SLUICE_ELIMIT, .text = "full" });
    client_answer(&client, &reply);
    EXPECT_EQ(400, reply.status);
    EXPECT_VIEW("{\"__type\":\"ThrottlingException\",\"message\":\"Rate exceeded: full\"}", reply.body);
    reply_done(&reply);
    client_close(&client);
    bench_close(&bench);
}

TEST(entries_have_their_limit_together)
{
    struct bench bench;
    struct reply reply;
    struct bytes body = { 0 };

    bench_open(&bench);
    bytes_put_text(&body, "{\"Entries\":[");
    for (unsigned i = 0; i < 2; i++) {
        bytes_put_text(&body, i > 0 ? ",{\"Source\":\"s\",\"DetailType\":\"d\",\"Detail\":\"{" : "{\"Source\":\"s\",\"DetailType\":\"d\",\"Detail\":\"{");
        for (unsigned j = 0; j < 1 << 19; j++)
            bytes_put_char(&body, ' ');
        bytes_put_text(&body, "}\"}");
    }
    bytes_put_text(&body, "]}");
    ask(&bench, PUT, bytes_view(&body), &reply);
    EXPECT_EQ(400, reply.status);
    EXPECT(strstr(reply.body.data, "Total size of the entries in the request is over the limit.") != NULL);
    EXPECT_EQ(0, bench.publishes.count);
    reply_done(&reply);
    bytes_done(&body);
    bench_close(&bench);
}
