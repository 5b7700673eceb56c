/* The HTTP port: which door a request reaches, and who is let in at all. */
#include "tests/unit/api_fixture.h"

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
