/* The Runtime API over real sockets: sequences of calls -> statuses, bodies, and what the owner is told. */
#include <time.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "broker/base/assert.h"
#include "tests/test.h"
#include "tests/unit/runtime_bench.h"

/* ---- sequences ----
 * A word each:  N next, parked   N=200 next, answered at once   D7 lease 7 is delivered to the oldest parked next, which gets 200
 *               R7=202 response   E7=202 error   I=202 init/error   F7 runtime_forget   X the connection of the oldest parked next closes
 *               L7 as D7, but the connection closes before the answer is read: the hand-over is lost */
static const struct { const char *label; unsigned concurrency; const char *script, *heard; } sequences[] = {
    { "an invocation and the next", 1, "N D7 R7=202 N", "wants ok7:{\"r\":7} wants" },
    { "an error is the end of an invocation, too", 1, "N D7 E7=202 N D8 R8=202", "wants fail7:Oops:{\"errorMessage\":\"m\",\"errorType\":\"Oops\"} wants ok8:{\"r\":8}" },
    { "an id that is not there is 400", 1, "N D7 R8=400 E8=400 R7=202", "wants ok7:{\"r\":7}" },
    { "no invocation at all is 400", 1, "R7=400 E7=400 N R7=400", "wants" },
    { "a second answer is 403 while the id is current", 1, "N D7 R7=202 R7=403 E7=403", "wants ok7:{\"r\":7}" },
    { "and 400 once the next was asked for", 1, "N D7 R7=202 N R7=400", "wants ok7:{\"r\":7} wants" },
    { "the id is checked before the state", 1, "N D7 R7=202 R9=400 R7=403", "wants ok7:{\"r\":7}" },
    { "next gives the current one again", 1, "N D7 N=200 N=200 R7=202 N", "wants ok7:{\"r\":7} wants" },
    { "a lost hand-over is given again", 1, "N L7 N=200 R7=202", "wants ok7:{\"r\":7}" },
    { "init/error only before the first next", 1, "N I=403 D7 I=403 R7=202 I=403", "wants ok7:{\"r\":7}" },
    { "init/error ends it", 1, "I=202 I=403 N=403", "init:Oops:{\"errorMessage\":\"m\",\"errorType\":\"Oops\"}" },
    { "a next that goes away is taken back", 1, "N X N D7 R7=202", "wants cancel wants ok7:{\"r\":7}" },
    { "a second parked next waits for the first's place", 1, "N N D7 R7=202 D8 R8=202", "wants ok7:{\"r\":7} wants ok8:{\"r\":8}" },
    { "and takes it when the first goes away", 1, "N N X D7 R7=202", "wants ok7:{\"r\":7}" },
    { "what is forgotten is no longer current", 1, "N D7 F7 R7=400 N D8 R8=202", "wants wants ok8:{\"r\":8}" },
    { "several at once, in any order", 3, "N N N D7 D8 D9 R8=202 E9=202 R7=202 R8=403",
      "wants wants wants ok8:{\"r\":8} fail9:Oops:{\"errorMessage\":\"m\",\"errorType\":\"Oops\"} ok7:{\"r\":7}" },
    { "no more are asked for than there is room", 2, "N N N D7 D8 R7=202 D9 R9=202 R8=202", "wants wants ok7:{\"r\":7} wants ok9:{\"r\":9} ok8:{\"r\":8}" },
    { "a lost one among several is given again first", 2, "N L7 N=200 N D8 R8=202 R7=202", "wants wants ok8:{\"r\":8} ok7:{\"r\":7}" },
    { "what is late among several is taken, once, and goes nowhere", 2, "N N D7 D8 F7 R7=202 R7=400 R8=202", "wants wants ok8:{\"r\":8}" },
    { "an error, too", 2, "N N D7 D8 F8 E8=202 E8=400 R7=202", "wants wants ok7:{\"r\":7}" },
    { "and its place is not asked for again before its thread does", 2, "N N D7 D8 F7 R8=202 N D9 R9=202 R7=202",
      "wants wants ok8:{\"r\":8} wants ok9:{\"r\":9}" },
    { "an event that is tried again is not its last attempt", 2, "N N D7 E7=202 D7 R7=202 R7=403",
      "wants wants fail7:Oops:{\"errorMessage\":\"m\",\"errorType\":\"Oops\"} ok7:{\"r\":7}" },
    { "with all places taken the last is read again", 2, "N N D7 D8 N=200 R8=202 R7=202", "wants wants ok8:{\"r\":8} ok7:{\"r\":7}" },
};

struct sequence {
    struct bench *bench;
    struct client parked[8];
    unsigned parked_count;
};

static void step_next(struct sequence *sequence, int status)
{
    struct client *client = &sequence->parked[sequence->parked_count++];

    client_open(client, sequence->bench);
    client_request(client, "GET", NEXT_PATH, NULL, (struct view){ 0 });
    bench_pass(sequence->bench);
    if (status == 0)
        return;
    EXPECT_EQ(status, client_answer(client).status);
    client_close(client);
    sequence->parked_count--;
}

static void step_unpark(struct sequence *sequence)
{
    client_close(&sequence->parked[0]);
    memmove(sequence->parked, sequence->parked + 1, --sequence->parked_count * sizeof *sequence->parked);
}

static void step_deliver(struct sequence *sequence, int lease, bool lost)
{
    char payload[32], id[32];

    (void)snprintf(payload, sizeof payload, "{\"n\":%d}", lease);
    (void)snprintf(id, sizeof id, "id-%d", lease);
    bench_deliver(sequence->bench, (uint64_t)lease, payload);
    if (!lost) {
        struct answer answer = client_answer(&sequence->parked[0]);
        EXPECT_EQ(200, answer.status);
        EXPECT_VIEW(payload, answer.body);
        EXPECT_TEXT(id, answer_header(&answer, "Lambda-Runtime-Aws-Request-Id"));
    } else {
        /* With a reset in its way the answer cannot leave. */
        (void)setsockopt(sequence->parked[0].fd, SOL_SOCKET, SO_LINGER, &(struct linger){ .l_onoff = 1 }, sizeof(struct linger));
    }
    step_unpark(sequence);
    bench_pass(sequence->bench);
}

static void step_post(struct sequence *sequence, char kind, int lease, int status)
{
    char path[128], body[64] = "{\"errorMessage\":\"m\",\"errorType\":\"Oops\"}";
    struct client client;

    (void)snprintf(path, sizeof path, kind == 'R' ? RESPONSE_PATH("id-%d") : ERROR_PATH("id-%d"), lease);
    if (kind == 'R')
        (void)snprintf(body, sizeof body, "{\"r\":%d}", lease);
    struct answer answer = ask(&client, sequence->bench, "POST", kind == 'I' ? INIT_ERROR_PATH : path, "Content-Type: application/json\r\n", body);
    EXPECT_EQ(status, answer.status);
    if (status == 202)
        EXPECT_VIEW("{\"status\":\"OK\"}", answer.body);
    if (status == 400)
        EXPECT_VIEW("{\"errorMessage\":\"Invalid request ID\",\"errorType\":\"InvalidRequestID\"}", answer.body);
    if (status == 403)
        EXPECT(memmem(answer.body.data, answer.body.len, "\"errorType\":\"InvalidStateTransition\"", 36) != NULL);
    client_close(&client);
    bench_pass(sequence->bench);
}

TEST(calls_are_taken_in_the_order_of_the_state_machine)
{
    for (size_t i = 0; i < sizeof sequences / sizeof *sequences; i++) {
        struct sequence sequence = { .bench = bench_open((struct bench_options){ .concurrency = sequences[i].concurrency }) };
        char script[256];

        test_label(sequences[i].label);
        (void)snprintf(script, sizeof script, "%s", sequences[i].script);
        for (char *rest = script, *word = strtok_r(script, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest)) {
            const char *equals = strchr(word, '=');
            int status = equals != NULL ? atoi(equals + 1) : 0, lease = atoi(word + 1);
            switch (word[0]) {
            case 'N': step_next(&sequence, status); break;
            case 'D':
            case 'L': step_deliver(&sequence, lease, word[0] == 'L'); break;
            case 'F': runtime_forget(sequence.bench->api, BENCH_INSTANCE, (uint64_t)lease); break;
            case 'X': step_unpark(&sequence), bench_pass(sequence.bench); break;
            default: step_post(&sequence, word[0], lease, status);
            }
        }
        EXPECT_TEXT(sequences[i].heard, bench_heard(sequence.bench));
        while (sequence.parked_count > 0)
            step_unpark(&sequence);
        bench_close(sequence.bench);
    }
    test_label(NULL);
}

/* ---- what a runtime is told ---- */

/* A client with an invocation in its hands. */
static struct bench *given_invocation(struct client *client, unsigned concurrency)
{
    struct bench *bench = bench_open((struct bench_options){ .concurrency = concurrency });

    client_open(client, bench);
    client_request(client, "GET", NEXT_PATH, NULL, (struct view){ 0 });
    EXPECT(bench_until_heard(bench, "wants"));
    (void)bench_heard(bench);
    bench_deliver(bench, 7, "{}");
    EXPECT_EQ(200, client_answer(client).status);
    return bench;
}

TEST(next_carries_the_documented_headers)
{
    struct bench *bench = bench_open((struct bench_options){ 0 });
    struct client client;

    client_open(&client, bench);
    client_request(&client, "GET", NEXT_PATH, NULL, (struct view){ 0 });
    EXPECT(bench_until_heard(bench, "wants"));
    runtime_deliver(bench->api, BENCH_INSTANCE, &(struct runtime_invocation){
        .lease = 1, .request_id = "8476a536-e9f4-11e8-9739-2dfe598c3fcd", .arn = "arn:aws:lambda:us-east-1:000000000000:function:f",
        .deadline_ms = 1542409706888, .payload = VIEW_LITERAL("[1,\n2]"), .client_context = VIEW_LITERAL("{\"a\":\r\n1}"),
    });
    struct answer answer = client_answer(&client);
    EXPECT_EQ(200, answer.status);
    EXPECT_VIEW("[1,\n2]", answer.body);
    EXPECT_TEXT("application/json", answer_header(&answer, "content-type"));
    EXPECT_TEXT("8476a536-e9f4-11e8-9739-2dfe598c3fcd", answer_header(&answer, "lambda-runtime-aws-request-id"));
    EXPECT_TEXT("1542409706888", answer_header(&answer, "lambda-runtime-deadline-ms"));
    EXPECT_TEXT("arn:aws:lambda:us-east-1:000000000000:function:f", answer_header(&answer, "lambda-runtime-invoked-function-arn"));
    EXPECT_TEXT("{\"a\":  1}", answer_header(&answer, "lambda-runtime-client-context")); /* one line, as a header must be */
    EXPECT(answer_header(&answer, "lambda-runtime-cognito-identity") == NULL);
    const char *trace = answer_header(&answer, "lambda-runtime-trace-id");
    unsigned fields[4];
    EXPECT(trace != NULL && strlen(trace) == 74 && sscanf(trace, "Root=1-%8x-%8x%*16[0-9a-f];Parent=%8x%*8[0-9a-f];Sampled=%1u", fields, fields + 1, fields + 2, fields + 3) == 4);
    client_close(&client);
    bench_close(bench);
}

TEST(an_id_may_be_percent_encoded)
{
    struct client client;
    struct bench *bench = given_invocation(&client, 1);

    client_request(&client, "POST", RESPONSE_PATH("%69d%2D7"), NULL, VIEW_LITERAL("1"));
    EXPECT_EQ(202, client_answer(&client).status);
    EXPECT_TEXT("ok7:1", bench_heard(bench));
    client_close(&client);
    bench_close(bench);
}

TEST(what_is_not_there_is_404_and_a_wrong_method_405)
{
    static const struct { const char *method, *path; int status; const char *allow; } cases[] = {
        { "GET", "/", 404, NULL }, { "GET", "/2018-06-01/runtime/invocation/", 404, NULL }, { "POST", RESPONSE_PATH("a/b"), 404, NULL },
        { "GET", RESPONSE_PATH("a/b"), 404, NULL }, { "POST", "/2018-06-01/runtime/invocation/response", 404, NULL },
        { "POST", RESPONSE_PATH(""), 400, NULL }, { "POST", RESPONSE_PATH("%00"), 400, NULL }, { "POST", RESPONSE_PATH("%zz"), 400, NULL },
        { "POST", NEXT_PATH, 405, "GET" }, { "GET", INIT_ERROR_PATH, 405, "POST" },
        { "GET", RESPONSE_PATH("id-7"), 405, "POST" }, { "PUT", "/2018-06-01/runtime/invocation/id-7/error", 405, "POST" },
        { "DELETE", "/2022-07-01/telemetry", 405, "PUT" }, { "GET", "/2018-06-01/ping", 200, NULL },
        /* As on AWS where there is no SnapStart: these paths are not there, whatever the method. */
        { "GET", "/2018-06-01/runtime/restore/next", 404, NULL }, { "POST", "/2018-06-01/runtime/restore/next", 404, NULL },
        { "POST", "/2018-06-01/runtime/restore/error", 404, NULL },
    };
    struct bench *bench = bench_open((struct bench_options){ 0 });

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct client client;
        char label[128];
        (void)snprintf(label, sizeof label, "%s %s", cases[i].method, cases[i].path);
        test_label(label);
        struct answer answer = ask(&client, bench, cases[i].method, cases[i].path, NULL, "x");
        EXPECT_EQ(cases[i].status, answer.status);
        if (cases[i].allow == NULL)
            EXPECT(answer_header(&answer, "allow") == NULL);
        else
            EXPECT_TEXT(cases[i].allow, answer_header(&answer, "allow"));
        client_close(&client);
    }
    test_label(NULL);
    EXPECT_TEXT("", bench_heard(bench));
    bench_close(bench);
}

/* ---- bodies ---- */

static struct view filled(size_t len)
{
    char *data = malloc(len);

    ASSERT(data != NULL);
    memset(data, 'x', len);
    return (struct view){ data, len };
}

#define TOO_LARGE "fail7:Function.ResponseSizeTooLarge:{\"errorMessage\":\"Response payload size exceeded maximum allowed payload size " \
                  "(6291556 bytes).\",\"errorType\":\"Function.ResponseSizeTooLarge\"}"
#define TRUNCATED "fail7:Runtime.TruncatedResponse:{\"errorMessage\":\"The connection was closed before the response was whole\",\"errorType\":\"Runtime.TruncatedResponse\"}"

static void client_chunk(struct client *client, struct view data)
{
    char size[24];

    (void)snprintf(size, sizeof size, "%zx\r\n", data.len);
    client_send_text(client, size);
    client_send(client, data);
    client_send_text(client, "\r\n");
}

#define CHUNKED_RESPONSE "POST " RESPONSE_PATH("id-7") " HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"

TEST(a_response_of_the_largest_size_is_taken_and_one_byte_more_is_not)
{
    for (unsigned chunked = 0; chunked < 2; chunked++) {
        for (unsigned over = 0; over < 2; over++) {
            struct client client;
            struct bench *bench = given_invocation(&client, 1);
            struct view body = filled(RUNTIME_RESPONSE_BYTES_MAX + over);

            test_label(chunked ? "chunked" : "with its length");
            if (chunked) {
                client_send_text(&client, CHUNKED_RESPONSE "\r\n");
                client_chunk(&client, body);
                client_send_text(&client, "0\r\n\r\n");
            } else {
                client_request(&client, "POST", RESPONSE_PATH("id-7"), NULL, body);
            }
            struct answer answer = client_answer(&client);
            EXPECT_EQ(over ? 413 : 202, answer.status);
            if (over)
                EXPECT_VIEW("{\"errorMessage\":\"Exceeded maximum allowed payload size (6291556 bytes).\",\"errorType\":\"RequestEntityTooLarge\"}", answer.body);
            EXPECT_TEXT(over ? TOO_LARGE : "ok7:(6291556 bytes)", bench_heard(bench));
            /* The connection goes on, and so may the runtime. */
            client_request(&client, "GET", NEXT_PATH, NULL, (struct view){ 0 });
            EXPECT(bench_until_heard(bench, "wants"));
            free((char *)body.data);
            client_close(&client);
            bench_close(bench);
        }
    }
    test_label(NULL);
}

TEST(a_body_that_is_cut_off_is_a_truncated_response)
{
    static const char *const starts[] = {
        CHUNKED_RESPONSE "\r\n5\r\nhello\r\n",
        "POST " RESPONSE_PATH("id-7") " HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhello",
        "POST " ERROR_PATH("id-7") " HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
    };

    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++) {
        struct client client;
        struct bench *bench = given_invocation(&client, 1);

        client_send_text(&client, starts[i]);
        bench_pass(bench);
        EXPECT_TEXT("", bench_heard(bench));
        client_close(&client);
        EXPECT(bench_until_heard(bench, "fail"));
        EXPECT_TEXT(TRUNCATED, bench_heard(bench));
        bench_close(bench);
    }
}

TEST(a_body_that_is_no_http_is_a_truncated_response_and_400)
{
    struct client client;
    struct bench *bench = given_invocation(&client, 1);

    client_send_text(&client, CHUNKED_RESPONSE "\r\nzz\r\n");
    EXPECT_EQ(400, client_answer(&client).status);
    EXPECT(bench_until_heard(bench, "fail"));
    EXPECT_TEXT(TRUNCATED, bench_heard(bench));
    client_close(&client);
    bench_close(bench);
}

TEST(expect_100_continue_is_answered_before_the_body)
{
    struct client client;
    struct bench *bench = given_invocation(&client, 1);

    client_send_text(&client, "POST " RESPONSE_PATH("id-7") " HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    EXPECT_EQ(100, client_answer(&client).status);
    client_send_text(&client, "{}");
    EXPECT_EQ(202, client_answer(&client).status);
    EXPECT_TEXT("ok7:{}", bench_heard(bench));
    client_close(&client);
    bench_close(bench);
}

TEST(a_response_after_its_time_finds_no_id)
{
    struct client client;
    struct bench *bench = given_invocation(&client, 1);

    client_send_text(&client, CHUNKED_RESPONSE "\r\n2\r\n{}\r\n");
    bench_pass(bench);
    runtime_forget(bench->api, BENCH_INSTANCE, 7);
    client_send_text(&client, "0\r\n\r\n");
    EXPECT_EQ(400, client_answer(&client).status);
    EXPECT_TEXT("", bench_heard(bench));
    client_close(&client);
    bench_close(bench);
}

TEST(the_owner_may_close_the_instance_from_within_a_result)
{
    static const char *const posts[] = {
        "POST " RESPONSE_PATH("id-7") " HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
        "POST " ERROR_PATH("id-7") " HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
        "POST " RESPONSE_PATH("id-7") " HTTP/1.1\r\nHost: x\r\nContent-Length: 7000000\r\n\r\n{}",
        "POST " RESPONSE_PATH("id-7") " HTTP/1.1\r\nHost: x\r\nLambda-Runtime-Function-Response-Mode: odd\r\nContent-Length: 2\r\n\r\n{}",
    };

    for (size_t i = 0; i < sizeof posts / sizeof *posts; i++) {
        struct client client;
        struct bench *bench = given_invocation(&client, 1);

        bench->close_in_result = true;
        client_send_text(&client, posts[i]);
        EXPECT(client_closed(&client));
        client_close(&client);
        bench_close(bench);
    }
}

TEST(of_two_answers_at_once_the_second_is_in_a_wrong_state)
{
    struct client client, second, next;
    struct bench *bench = given_invocation(&client, 1);

    client_send_text(&client, CHUNKED_RESPONSE "\r\n2\r\n{}\r\n");
    bench_pass(bench);
    struct answer answer = ask(&second, bench, "POST", ERROR_PATH("id-7"), NULL, "{}");
    EXPECT_EQ(403, answer.status);
    EXPECT_VIEW("{\"errorMessage\":\"State transition from InvocationResponse to InvocationErrorResponse failed for runtime. Error: State transition is not allowed\","
                "\"errorType\":\"InvalidStateTransition\"}", answer.body);
    EXPECT_EQ(403, ask(&next, bench, "GET", NEXT_PATH, NULL, "").status); /* nor is it ready for more */
    client_send_text(&client, "0\r\n\r\n");
    EXPECT_EQ(202, client_answer(&client).status);
    EXPECT_TEXT("ok7:{}", bench_heard(bench));
    client_close(&next);
    client_close(&second);
    client_close(&client);
    bench_close(bench);
}

TEST(an_answer_and_the_next_may_come_in_one_piece)
{
    struct client client;
    struct bench *bench = given_invocation(&client, 1);

    client_send_text(&client, "POST " RESPONSE_PATH("id-7") " HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}GET " NEXT_PATH " HTTP/1.1\r\nHost: x\r\n\r\n");
    EXPECT_EQ(202, client_answer(&client).status);
    EXPECT(bench_until_heard(bench, "wants"));
    EXPECT_TEXT("ok7:{} wants", bench_heard(bench));
    bench_deliver(bench, 8, "{}");
    EXPECT_EQ(200, client_answer(&client).status);
    client_close(&client);
    bench_close(bench);
}

TEST(connections_that_say_nothing_do_not_keep_a_runtime_out)
{
    enum { FLOOD = 300 };
    static struct client flood[FLOOD];
    struct client client;
    struct bench *bench = bench_open((struct bench_options){ 0 });

    for (unsigned i = 0; i < FLOOD; i++) {
        client_open(&flood[i], bench);
        bench_pass(bench);
    }
    client_open(&client, bench);
    client_request(&client, "GET", NEXT_PATH, NULL, (struct view){ 0 });
    EXPECT(bench_until_heard(bench, "wants"));
    client_close(&client);
    for (unsigned i = 0; i < FLOOD; i++)
        client_close(&flood[i]);
    bench_close(bench);
}

/* ---- errors ---- */

static const struct { const char *label, *headers, *body, *heard; } errors[] = {
    { "the body's type, where no header says one", NULL, "{\"errorMessage\":\"m\",\"errorType\":\"ValueError\",\"stackTrace\":[]}",
      "fail7:ValueError:{\"errorMessage\":\"m\",\"errorType\":\"ValueError\",\"stackTrace\":[]}" },
    { "a header of the platform's form stays", "Lambda-Runtime-Function-Error-Type: Function.Oops\r\n", "{\"errorType\":\"X\"}", "fail7:Function.Oops:{\"errorType\":\"X\"}" },
    { "one of Function's is unknown", "Lambda-Runtime-Function-Error-Type: Function.oops\r\n", "no JSON", "fail7:Function.Unknown:no JSON" },
    { "any other is unknown", "Lambda-Runtime-Function-Error-Type: Function<ArgumentError>\r\n", "", "fail7:Runtime.Unknown:" },
    { "no type anywhere", NULL, "[1]", "fail7:Runtime.Unknown:[1]" },
    { "the body goes byte for byte", NULL, "{ \"errorType\" : \"A\\u0042\",\n\"trace\":[ ] }", "fail7:AB:{ \"errorType\" : \"A\\u0042\",\n\"trace\":[ ] }" },
    { "the cause is taken out", "Content-Type: application/vnd.aws.lambda.error.cause+json\r\n",
      "{\"errorType\":\"T\",\"errorCause\":{\"x\":1},\"errorMessage\":\"m\",\"more\":2,\"stackTrace\":[\"a\", \"b\"]}",
      "fail7:T:{\"errorMessage\":\"m\",\"errorType\":\"T\",\"stackTrace\":[\"a\", \"b\"]}" },
    { "of fields that are missing, too", "Content-Type: application/vnd.aws.lambda.error.cause+json\r\n", "{\"errorType\":\"T\",\"errorCause\":{}}",
      "fail7:T:{\"errorMessage\":\"\",\"errorType\":\"T\",\"stackTrace\":[]}" },
    { "a cause that cannot be taken out", "Content-Type: application/vnd.aws.lambda.error.cause+json\r\n", "{\"errorType\":", "fail7:Runtime.Unknown:\"Invalid error body\"" },
};

TEST(errors_go_to_the_caller_as_they_were_posted)
{
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        struct client client;
        struct bench *bench = given_invocation(&client, 1);

        test_label(errors[i].label);
        client_request(&client, "POST", ERROR_PATH("id-7"), errors[i].headers, view_of(errors[i].body));
        EXPECT_EQ(202, client_answer(&client).status);
        EXPECT_TEXT(errors[i].heard, bench_heard(bench));
        client_close(&client);
        bench_close(bench);
    }
    test_label(NULL);
}

TEST(an_error_cause_of_one_mebibyte_fits_a_header)
{
    struct client client;
    struct bench *bench = given_invocation(&client, 1);
    struct bytes headers = { 0 };
    struct view cause = filled(RUNTIME_LINE_BYTES_MAX);

    bytes_put_text(&headers, "Lambda-Runtime-Function-XRay-Error-Cause: ");
    bytes_put_view(&headers, cause);
    bytes_put(&headers, "\r\n", 3);
    client_request(&client, "POST", ERROR_PATH("id-7"), headers.data, VIEW_LITERAL("{}"));
    EXPECT_EQ(202, client_answer(&client).status);
    EXPECT_TEXT("fail7:Runtime.Unknown:{}", bench_heard(bench));
    bytes_done(&headers);
    free((char *)cause.data);
    client_close(&client);
    bench_close(bench);
}

/* ---- streaming ---- */

#define STREAMED_RESPONSE CHUNKED_RESPONSE "Lambda-Runtime-Function-Response-Mode: streaming\r\nContent-Type: text/event-stream\r\n" \
                          "Trailer: Lambda-Runtime-Function-Error-Type\r\nTrailer: Lambda-Runtime-Function-Error-Body\r\n\r\n"
#define FAILED_TRAILERS "Lambda-Runtime-Function-Error-Type: Error\r\nLambda-Runtime-Function-Error-Body: eyJlcnJvclR5cGUiOiJCb29tIn0=\r\n"

static struct bench *given_streamed(struct client *client)
{
    struct bench *bench = bench_open((struct bench_options){ 0 });

    client_open(client, bench);
    client_request(client, "GET", NEXT_PATH, NULL, (struct view){ 0 });
    EXPECT(bench_until_heard(bench, "wants"));
    (void)bench_heard(bench);
    bench_deliver_streamed(bench, 7, "{}");
    EXPECT_EQ(200, client_answer(client).status);
    return bench;
}

static const struct { const char *label; bool streams; const char *request, *heard; int status; } streams[] = {
    { "pieces as they come, then the end", true, STREAMED_RESPONSE "5\r\nhello\r\n0\r\n\r\n", "begin7:text/event-stream piece7:hello ok7:[text/event-stream]", 202 },
    { "an error in the trailers", true, STREAMED_RESPONSE "5\r\nhello\r\n0\r\n" FAILED_TRAILERS "\r\n",
      "begin7:text/event-stream piece7:hello fail7:Boom:{\"errorType\":\"Boom\"}", 202 },
    { "chunks without the mode's header, as Go sends what it reads", true, CHUNKED_RESPONSE "Content-Type: application/octet-stream\r\n\r\n5\r\nhello\r\n0\r\n" FAILED_TRAILERS "\r\n",
      "begin7:application/octet-stream piece7:hello fail7:Boom:{\"errorType\":\"Boom\"}", 202 },
    { "but JSON, which Go has whole, comes whole", true, CHUNKED_RESPONSE "Content-Type: application/json\r\n\r\n1\r\n[\r\n1\r\n]\r\n0\r\n\r\n",
      "ok7:[]", 202 },
    { "a caller of a whole response gets it whole", false, STREAMED_RESPONSE "5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n", "ok7:[text/event-stream]hello!", 202 },
    { "or the error, and nothing before it", false, STREAMED_RESPONSE "5\r\nhello\r\n0\r\n" FAILED_TRAILERS "\r\n", "fail7:Boom:{\"errorType\":\"Boom\"}", 202 },
    { "trailers count without the mode's header, as Go sends them", false, CHUNKED_RESPONSE "\r\n1\r\nx\r\n0\r\n" FAILED_TRAILERS "\r\n", "fail7:Boom:{\"errorType\":\"Boom\"}", 202 },
    { "a trailer that is no base64", false, CHUNKED_RESPONSE "\r\n0\r\nLambda-Runtime-Function-Error-Type: Function.Bad\r\nLambda-Runtime-Function-Error-Body: {!}\r\n\r\n",
      "fail7:Function.Bad:{\"errorMessage\":\"\",\"errorType\":\"Function.Bad\"}", 202 },
    { "another mode is none", true, "POST " RESPONSE_PATH("id-7") " HTTP/1.1\r\nHost: x\r\nLambda-Runtime-Function-Response-Mode: fast\r\nContent-Length: 2\r\n\r\n{}",
      "fail7:Runtime.InvalidResponseModeHeader:{\"errorMessage\":\"Invalid function response mode\",\"errorType\":\"Runtime.InvalidResponseModeHeader\"}", 400 },
};

TEST(a_streamed_response_reaches_its_caller_in_the_callers_way)
{
    for (size_t i = 0; i < sizeof streams / sizeof *streams; i++) {
        struct client client;
        struct bench *bench = streams[i].streams ? given_streamed(&client) : given_invocation(&client, 1);

        test_label(streams[i].label);
        client_send_text(&client, streams[i].request);
        struct answer answer = client_answer(&client);
        EXPECT_EQ(streams[i].status, answer.status);
        EXPECT_TEXT(streams[i].heard, bench_heard(bench));
        if (answer.status == 400)
            EXPECT_VIEW("{\"errorMessage\":\"Invalid function response mode\",\"errorType\":\"InvalidFunctionResponseMode\"}", answer.body);
        client_close(&client);
        bench_close(bench);
    }
    test_label(NULL);
}

/* Sends as much as is taken, without waiting. */
static void send_some(struct client *client, struct view *left)
{
    ssize_t sent = send(client->fd, left->data, left->len, MSG_NOSIGNAL);

    EXPECT(sent > 0);
    left->data += sent > 0 ? sent : 0;
    left->len -= sent > 0 ? (size_t)sent : 0;
}

TEST(a_stream_waits_for_its_caller)
{
    struct client client;
    struct bench *bench = given_streamed(&client);
    struct view all = filled(8 << 20), much = all;

    bench->piece_refused = true;
    client_send_text(&client, STREAMED_RESPONSE "800000\r\n");
    send_some(&client, &much);
    EXPECT(bench_until_heard(bench, "piece7"));
    size_t before = bench->pieces_bytes;
    bench_pass(bench);
    EXPECT(before > 0);
    EXPECT_EQ(before, bench->pieces_bytes); /* nothing is read while the caller takes nothing */
    bench->piece_refused = false;
    runtime_resume(bench->api, BENCH_INSTANCE, 7);
    client_send(&client, much);
    client_send_text(&client, "\r\n0\r\n\r\n");
    EXPECT_EQ(202, client_answer(&client).status);
    EXPECT_EQ(8 << 20, bench->pieces_bytes);
    free((char *)all.data);
    client_close(&client);
    bench_close(bench);
}

TEST(a_stream_whose_caller_is_gone_is_read_to_its_end)
{
    struct client client;
    struct bench *bench = given_streamed(&client);

    bench->begin_refused = true;
    client_send_text(&client, STREAMED_RESPONSE "5\r\nhello\r\n0\r\n\r\n");
    EXPECT_EQ(202, client_answer(&client).status);
    EXPECT_TEXT("begin7:text/event-stream ok7:[text/event-stream]", bench_heard(bench));
    client_close(&client);
    bench_close(bench);
}

TEST(a_stream_that_is_forgotten_while_it_waits_is_read_to_its_end)
{
    struct client client;
    struct bench *bench = given_streamed(&client);

    bench->piece_refused = true;
    client_send_text(&client, STREAMED_RESPONSE "5\r\nhello\r\n");
    EXPECT(bench_until_heard(bench, "piece7"));
    runtime_forget(bench->api, BENCH_INSTANCE, 7);
    client_send_text(&client, "5\r\nhello\r\n0\r\n\r\n");
    EXPECT_EQ(400, client_answer(&client).status);
    EXPECT_TEXT("begin7:text/event-stream piece7:hello", bench_heard(bench));
    client_close(&client);
    bench_close(bench);
}

TEST(a_stream_whose_runtime_does_not_call_it_one_ends_where_whole_responses_do)
{
    struct client client;
    struct bench *bench = given_streamed(&client);
    struct view most = filled(RUNTIME_RESPONSE_BYTES_MAX);

    client_send_text(&client, CHUNKED_RESPONSE "\r\n");
    client_chunk(&client, most);
    bench_pass(bench);
    EXPECT(memmem(bench->heard.data, bench->heard.len, "fail7", 5) == NULL);
    client_send_text(&client, "1\r\nx\r\n0\r\n\r\n");
    EXPECT_EQ(413, client_answer(&client).status);
    EXPECT(bench_until_heard(bench, TOO_LARGE));
    EXPECT_EQ(RUNTIME_RESPONSE_BYTES_MAX, bench->pieces_bytes);
    free((char *)most.data);
    client_close(&client);
    bench_close(bench);
}

/* What was posted whole before is as it was; a parked request is none of this. */
TEST(what_a_process_was_posting_as_it_ended_is_not_whole)
{
    static const struct { const char *label, *request, *heard; bool streams; } cases[] = {
        { "nothing", "", "", false },
        { "a response", "POST " RESPONSE_PATH("id-7") " HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhello", TRUNCATED, false },
        { "an error", "POST " ERROR_PATH("id-7") " HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhello", TRUNCATED, false },
        { "in chunks", CHUNKED_RESPONSE "\r\n5\r\nhello\r\n", TRUNCATED, false },
        { "streamed", STREAMED_RESPONSE "5\r\nhello\r\n", TRUNCATED, true },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct client client;
        struct bench *bench = cases[i].streams ? given_streamed(&client) : given_invocation(&client, 1);
        test_label(cases[i].label);
        client_send_text(&client, cases[i].request);
        bench_pass(bench);
        (void)bench_heard(bench);
        runtime_cut(bench->api, BENCH_INSTANCE);
        EXPECT_TEXT(cases[i].heard, bench_heard(bench));
        runtime_cut(bench->api, BENCH_INSTANCE);
        client_close(&client);
        bench_pass(bench);
        EXPECT_TEXT("", bench_heard(bench)); /* once */
        bench_close(bench);
    }
    test_label(NULL);
}

TEST(a_stream_ends_at_two_hundred_mebibytes)
{
    struct client client;
    struct bench *bench = given_streamed(&client);
    struct view mebibyte = filled(1 << 20);

    client_send_text(&client, STREAMED_RESPONSE);
    for (unsigned i = 0; i < RUNTIME_STREAM_BYTES_MAX >> 20; i++)
        client_chunk(&client, mebibyte);
    bench_pass(bench);
    EXPECT(memmem(bench->heard.data, bench->heard.len, "fail7", 5) == NULL);
    client_send_text(&client, "1\r\nx\r\n0\r\n\r\n");
    EXPECT_EQ(413, client_answer(&client).status);
    EXPECT(bench_until_heard(bench, "fail7:Function.ResponseSizeTooLarge:"));
    EXPECT_EQ(RUNTIME_STREAM_BYTES_MAX, bench->pieces_bytes);
    free((char *)mebibyte.data);
    client_close(&client);
    bench_close(bench);
}

/* ---- the end of an instance ---- */

TEST(shutdown_leaves_next_parked_and_takes_what_is_still_posted)
{
    struct client busy, parked, late;
    struct bench *bench = given_invocation(&busy, 2);

    client_open(&parked, bench);
    client_request(&parked, "GET", NEXT_PATH, NULL, (struct view){ 0 });
    EXPECT(bench_until_heard(bench, "wants"));
    (void)bench_heard(bench);
    EXPECT(!runtime_shutdown(bench->api, BENCH_INSTANCE, "spindown", 0));
    EXPECT(client_waits(&parked));
    client_request(&busy, "POST", RESPONSE_PATH("id-7"), NULL, VIEW_LITERAL("{}"));
    EXPECT_EQ(202, client_answer(&busy).status);
    client_open(&late, bench);
    client_request(&late, "GET", NEXT_PATH, NULL, (struct view){ 0 });
    EXPECT(client_waits(&late));
    EXPECT(client_waits(&parked));
    EXPECT_TEXT("ok7:{}", bench_heard(bench)); /* and no word of the parked ones: the engine asked for the end */
    runtime_close(bench->api, BENCH_INSTANCE);
    EXPECT(client_closed(&late));
    EXPECT(client_closed(&parked));
    client_close(&parked);
    client_close(&busy);
    client_close(&late);
    bench_close(bench);
}

TEST(a_connection_from_before_the_process_is_known_waits_for_it)
{
    struct bench *bench = bench_open((struct bench_options){ .not_started = true });
    struct client client;

    client_open(&client, bench);
    client_request(&client, "GET", NEXT_PATH, NULL, (struct view){ 0 });
    bench_pass(bench);
    EXPECT_TEXT("", bench_heard(bench));
    runtime_started(bench->api, BENCH_INSTANCE, getpid());
    EXPECT(bench_until_heard(bench, "wants"));
    client_close(&client);
    bench_close(bench);
}

/* ---- connections ---- */

/* Both ends of a thousand are this process's. */
static void allow_descriptors(void)
{
    struct rlimit files;

    EXPECT_EQ(0, getrlimit(RLIMIT_NOFILE, &files));
    files.rlim_cur = files.rlim_max;
    EXPECT_EQ(0, setrlimit(RLIMIT_NOFILE, &files));
}

TEST(an_instance_may_open_two_connections_for_each_invocation_at_once_and_no_end_of_them)
{
    static const struct { unsigned concurrency, most; } cases[] = { { 1, 36 }, { 56, 256 }, { 112, 256 }, { 300, 632 } };
    static struct client clients[632];
    struct client over;

    allow_descriptors();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bench *bench = bench_open((struct bench_options){ .concurrency = cases[i].concurrency });
        for (unsigned opened = 0; opened < cases[i].most; opened++) {
            client_open(&clients[opened], bench);
            if (opened == cases[i].most - 1) { /* when it is answered, all before it are known to be at something */
                client_request(&clients[opened], "GET", "/2018-06-01/ping", NULL, (struct view){ 0 });
                EXPECT_EQ(200, client_answer(&clients[opened]).status);
            }
            client_send_text(&clients[opened], "GET /2018-06-01/"); /* nobody makes room for another in the middle of a request */
        }
        bench_pass(bench);
        client_open(&over, bench);
        EXPECT_EQ(503, client_answer(&over).status);
        for (unsigned opened = 0; opened < cases[i].most; opened++) {
            client_send_text(&clients[opened], "ping HTTP/1.1\r\nHost: localhost\r\n\r\n");
            EXPECT_EQ(200, client_answer(&clients[opened]).status);
            client_close(&clients[opened]);
        }
        client_close(&over);
        bench_close(bench);
    }
}

/* Whose process connects is found by looking through its descriptors. A function with many of them that connects again and again, each time far from
 * the last, is not to have the time of all others: beyond its share of a second its port rests until the next. */
TEST(a_storm_of_connections_from_a_process_with_many_descriptors_waits_for_its_share)
{
    enum { OPENED = 900, CONNECTIONS = 6 * RUNTIME_LOOKS_PER_S / OPENED };
    static int opened[OPENED];
    struct bench *bench = bench_open((struct bench_options){ 0 });
    struct timespec from, to;

    for (unsigned i = 0; i < OPENED; i++)
        opened[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
    EXPECT(opened[OPENED - 1] >= 0);
    (void)clock_gettime(CLOCK_MONOTONIC, &from);
    for (unsigned i = 0; i < CONNECTIONS; i++) {
        struct client client;
        if (i % 2 == 0)
            (void)close(opened[0]); /* the lowest that is free is the next connection's */
        EXPECT_EQ(200, ask(&client, bench, "GET", "/2018-06-01/ping", NULL, NULL).status);
        client_close(&client);
        if (i % 2 == 0)
            opened[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
    }
    (void)clock_gettime(CLOCK_MONOTONIC, &to);
    EXPECT((to.tv_sec - from.tv_sec) * 1000 + (to.tv_nsec - from.tv_nsec) / 1000000 >= 1000);
    for (unsigned i = 0; i < OPENED; i++)
        (void)close(opened[i]);
    bench_close(bench);
}
