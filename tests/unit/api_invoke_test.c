/* Invoke: RequestResponse and what it is answered, Event and its commit, and callers that hang up or try again. */
#include "tests/unit/api_fixture.h"

#include <stdlib.h>

#include "broker/base/assert.h"
#include "broker/base/trace_id.h"

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

/* Of one that came without: the function sees the one that the caller is told, and who asks twice has the same. */
TEST(an_invoke_without_a_trace_id_is_given_one)
{
    struct bench bench;
    struct client client;
    struct reply reply;
    char made[2][128];
    static const char *const headers[] = { "", "X-Amzn-Trace-Id: \r\n" };

    bench_open(&bench);
    client_open(&client, &bench);
    for (unsigned i = 0; i < 2; i++) {
        client_ask(&client, INVOKE, headers[i], VIEW_LITERAL("{}"));
        bench_wait_invokes(&bench, 1);
        (void)snprintf(made[i], sizeof made[i], "%.*s", VIEW_ARGS(bench_invocation(&bench)->trace_id));
        bench_answer(&bench, "1");
        client_answer(&client, &reply);
        EXPECT_EQ(TRACE_ID_LEN, strlen(made[i]));
        EXPECT_TEXT(made[i], reply_header(&reply, "x-amzn-trace-id"));
        reply_done(&reply);
    }
    EXPECT(strcmp(made[0], made[1]) != 0);
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
    struct reply reply, again;

    bench_open(&bench);
    ask_three_times(&bench, INVOKE, EVENT "amz-sdk-invocation-id: a\r\n", VIEW_LITERAL("{}"), &reply, &again);
    EXPECT_EQ(202, reply.status);
    EXPECT_EQ(202, again.status);
    reply_done(&reply);
    reply_done(&again);
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
