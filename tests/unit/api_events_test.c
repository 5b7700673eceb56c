/* The HTTP port: CloudEvents in their three modes, and the page of figures. */
#include "tests/unit/api_fixture.h"

#include <stdlib.h>

#define BINARY "ce-specversion: 1.0\r\nce-id: 1\r\nce-source: /s\r\nce-type: t\r\n"
#define STRUCTURED "Content-Type: application/cloudevents+json; charset=utf-8\r\n"
#define BATCH "Content-Type: application/cloudevents-batch+json\r\n"
#define ATTRIBUTES "\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/s\",\"type\":\"t\""

/* `json`: the event as a function with input cloudevent sees it. */
static const struct {
    const char *label, *headers, *body, *json;
} good[] = {
    { "binary", BINARY "Content-Type: application/json\r\n", "{ \"a\":1.50 }",
      "{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/s\",\"type\":\"t\",\"datacontenttype\":\"application/json\",\"data\":{ \"a\":1.50 }}" },
    { "binary without a type", BINARY, "{}",
      "{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/s\",\"type\":\"t\",\"datacontenttype\":\"application/json\",\"data\":{}}" },
    { "binary without data", BINARY, "",
      "{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/s\",\"type\":\"t\",\"datacontenttype\":\"application/json\",\"data\":{}}" },
    { "all attributes, header names in any case", BINARY "CE-Time: 2020-01-02T03:04:05.678+01:00\r\nce-subject: a%20b\r\nCe-DataSchema: http://x/y\r\n"
      "ce-partitionkey: \"k%c3%A9\"\r\nce-traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n", "{}",
      "{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/s\",\"type\":\"t\",\"time\":\"2020-01-02T02:04:05.678Z\",\"datacontenttype\":\"application/json\","
      "\"subject\":\"a b\",\"dataschema\":\"http://x/y\",\"partitionkey\":\"k\xc3\xa9\","
      "\"traceparent\":\"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\",\"data\":{}}" },
    { "binary text", BINARY "Content-Type: text/plain\r\n", "say \"hi\"",
      "{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/s\",\"type\":\"t\",\"datacontenttype\":\"application/json\","
      "\"data\":{\"datacontenttype\":\"text/plain\",\"data\":\"say \\\"hi\\\"\"}}" },
    { "binary bytes", BINARY "Content-Type: image/png\r\n", "\xff\xfe",
      "{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/s\",\"type\":\"t\",\"datacontenttype\":\"application/json\","
      "\"data\":{\"datacontenttype\":\"image/png\",\"data_base64\":\"//4=\"}}" },
    { "JSON that is no object", BINARY "Content-Type: application/vnd.x+json\r\n", "[1, 2]",
      "{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/s\",\"type\":\"t\",\"datacontenttype\":\"application/json\",\"data\":{\"data\":[1, 2]}}" },
    { "structured", STRUCTURED, "{" ATTRIBUTES ",\"data\":{\"a\" :1},\"n\":-7,\"flag\":true,\"word\":\"w\",\"unset\":null}",
      "{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/s\",\"type\":\"t\",\"datacontenttype\":\"application/json\",\"n\":-7,\"flag\":true,\"word\":\"w\","
      "\"data\":{\"a\" :1}}" },
    { "structured null", STRUCTURED, "{" ATTRIBUTES ",\"data\":null}",
      "{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/s\",\"type\":\"t\",\"datacontenttype\":\"application/json\",\"data\":{\"data\":null}}" },
    { "structured text", STRUCTURED, "{" ATTRIBUTES ",\"datacontenttype\":\"text/xml\",\"data\":\"<a\\u002f>\"}",
      "{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/s\",\"type\":\"t\",\"datacontenttype\":\"application/json\","
      "\"data\":{\"datacontenttype\":\"text/xml\",\"data\":\"<a\\u002f>\"}}" },
    { "structured bytes", STRUCTURED, "{" ATTRIBUTES ",\"data_base64\":\"//4=\",\"datacontenttype\":\"image/png\"}",
      "{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/s\",\"type\":\"t\",\"datacontenttype\":\"application/json\","
      "\"data\":{\"datacontenttype\":\"image/png\",\"data_base64\":\"//4=\"}}" },
    { "structured JSON in base64", STRUCTURED, "{" ATTRIBUTES ",\"data_base64\":\"eyJhIjoxfQ==\",\"datacontenttype\":\"application/json\"}",
      "{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/s\",\"type\":\"t\",\"datacontenttype\":\"application/json\",\"data\":{\"a\":1}}" },
    { "a type in another case", "Content-Type: Application/CloudEvents+JSON\r\n", "{" ATTRIBUTES "}",
      "{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/s\",\"type\":\"t\",\"datacontenttype\":\"application/json\",\"data\":{}}" },
    { "an id that is a UUID", STRUCTURED,
      "{\"specversion\":\"1.0\",\"id\":\"0198c7d2-0000-7000-8000-000000000001\",\"source\":\"/s\",\"type\":\"t\",\"data\":{}}",
      "{\"specversion\":\"1.0\",\"id\":\"0198c7d2-0000-7000-8000-000000000001\",\"source\":\"/s\",\"type\":\"t\",\"datacontenttype\":\"application/json\","
      "\"data\":{}}" },
};

TEST(cloudevents_become_events)
{
    struct bench bench;
    struct client client;
    struct reply reply;
    struct bytes json = { 0 };

    bench_open(&bench);
    client_open(&client, &bench);
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        test_label(good[i].label);
        client_ask(&client, "POST /events", good[i].headers, view_of(good[i].body));
        bench_wait_publishes(&bench, i + 1);
        struct event event = bench_event(&bench.publishes.items[i], 0);
        bytes_clear(&json);
        event_put_json(&json, &event, EVENT_SHAPE_CLOUDEVENT);
        EXPECT_VIEW(good[i].json, bytes_view(&json));
        EXPECT(event.bus.data == NULL);
        EXPECT_EQ(0, client.in.len);
        bench_committed(&bench);
        client_answer(&client, &reply);
        EXPECT_EQ(202, reply.status);
        EXPECT_VIEW("{\"accepted\":1,\"refused\":[]}\n", reply.body);
        reply_done(&reply);
    }
    test_label(NULL);
    bytes_done(&json);
    client_close(&client);
    bench_close(&bench);
}

static const struct {
    const char *label, *line, *headers, *body;
    unsigned status;
    const char *says;
} bad[] = {
    { "no CloudEvent", "POST /events", "Content-Type: application/json\r\n", "{}", 415, "not a CloudEvent" },
    { "a format that is not JSON", "POST /events", "Content-Type: application/cloudevents+protobuf\r\n", "", 415, "not a CloudEvent" },
    { "another method", "PUT /events", STRUCTURED, "{}", 405, "" },
    { "no bus name", "POST /events?bus=%zz", STRUCTURED, "{}", 400, "'bus'" },
    { "structured that is no JSON", "POST /events", STRUCTURED, "{", 400, "not JSON" },
    { "structured that is no object", "POST /events", STRUCTURED, "[]", 400, "a CloudEvent is a JSON object" },
    { "a batch that is no list", "POST /events", BATCH, "{}", 400, "a batch is a JSON list" },
    { "a batch that is a number", "POST /events", BATCH, "1", 400, "a batch is a JSON list" },
    { "no id", "POST /events", "ce-specversion: 1.0\r\nce-source: s\r\nce-type: t\r\n", "{}", 400, "'id' is missing" },
    { "an empty id", "POST /events", "ce-specversion: 1.0\r\nce-id:\r\nce-source: s\r\nce-type: t\r\n", "{}", 400, "'id' must be text" },
    { "no type", "POST /events", STRUCTURED, "{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"s\"}", 400, "'type' is missing" },
    { "another version", "POST /events", "ce-specversion: 0.3\r\nce-id: 1\r\nce-source: s\r\nce-type: t\r\n", "{}", 400, "must be 1.0, not '0.3'" },
    { "one attribute twice", "POST /events", BINARY "ce-id: 2\r\n", "{}", 400, "'id' is there twice" },
    { "ce-datacontenttype", "POST /events", BINARY "ce-datacontenttype: a\r\n", "{}", 400, "Content-Type" },
    { "ce-data", "POST /events", BINARY "ce-data: a\r\n", "{}", 400, "'data'" },
    { "a header that is no UTF-8", "POST /events", BINARY "ce-word: %ff\r\n", "{}", 400, "'word' is not UTF-8" },
    { "a name that is none", "POST /events", BINARY "ce-my_word: a\r\n", "{}", 400, "'my_word' is not the name" },
    { "a nested extension", "POST /events", STRUCTURED, "{" ATTRIBUTES ",\"a\":{}}", 400, "extension 'a' must be text" },
    { "a broken number", "POST /events", STRUCTURED, "{" ATTRIBUTES ",\"a\":1.5}", 400, "extension 'a' must be text" },
    { "a large number", "POST /events", STRUCTURED, "{" ATTRIBUTES ",\"a\":2147483648}", 400, "extension 'a' must be text" },
    { "an id that is a number", "POST /events", STRUCTURED, "{\"specversion\":\"1.0\",\"id\":1}", 400, "'id' must be text" },
    { "data twice", "POST /events", STRUCTURED, "{" ATTRIBUTES ",\"data\":1,\"data_base64\":\"\"}", 400, "data is there twice" },
    { "no base64", "POST /events", STRUCTURED, "{" ATTRIBUTES ",\"data_base64\":\"a\",\"datacontenttype\":\"application/json\"}", 400, "is not base64" },
    { "data that is no JSON", "POST /events", BINARY "Content-Type: application/json\r\n", "{", 400, "data: " },
    { "a time that is none", "POST /events", BINARY "ce-time: yesterday\r\n", "{}", 400, "'time' must be RFC 3339" },
    { "a reserved source", "POST /events", "ce-specversion: 1.0\r\nce-id: 1\r\nce-source: aws.s3\r\nce-type: t\r\n", "{}", 400, "reserved" },
};

TEST(what_is_no_cloudevent_is_told)
{
    struct bench bench;
    struct reply reply;

    bench_open(&bench);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        test_label(bad[i].label);
        ask(&bench, bad[i].line, bad[i].headers, view_of(bad[i].body), &reply);
        EXPECT_EQ(bad[i].status, reply.status);
        if (strstr(reply.bytes.data, bad[i].says) == NULL)
            test_fail(__FILE__, __LINE__, "no \"%s\" in %s", bad[i].says, reply.body.data);
        reply_done(&reply);
    }
    test_label(NULL);
    EXPECT_EQ(0, bench.publishes.count);
    bench_close(&bench);
}

TEST(a_batch_is_answered_event_by_event)
{
    struct publish_refusal refusal = { .index = 1, .error = { .code = SLUICE_ENOTFOUND, .text = "bus 'x' does not exist" } };
    struct bench bench;
    struct client client;
    struct reply reply;

    bench_open(&bench);
    client_open(&client, &bench);
    client_ask(&client, "POST /events?bus=or%64ers", BATCH, VIEW_LITERAL("[{" ATTRIBUTES "},{},{" ATTRIBUTES "},{" ATTRIBUTES "}]"));
    bench_wait_publishes(&bench, 1);
    EXPECT_EQ(3, bench.publishes.items[0].publish.count);
    struct event event = bench_event(&bench.publishes.items[0], 2);
    EXPECT_VIEW("orders", event.bus);
    api_publish_answered(bench.api, bench.publishes.items[0].publish.reply,
                         &(struct publish_answer){ .code = SLUICE_OK, .accepted = 2, .refusals = &refusal, .refusals_count = 1 });
    client_answer(&client, &reply);
    EXPECT_EQ(202, reply.status);
    EXPECT_VIEW("{\"accepted\":2,\"refused\":[{\"index\":1,\"code\":\"SLUICE_EINVAL\",\"message\":\"'specversion' is missing\"},"
                "{\"index\":2,\"code\":\"SLUICE_ENOTFOUND\",\"message\":\"bus 'x' does not exist\"}]}\n", reply.body);
    reply_done(&reply);

    client_ask(&client, "POST /events", BATCH, VIEW_LITERAL("[]"));
    client_answer(&client, &reply);
    EXPECT_EQ(202, reply.status);
    EXPECT_VIEW("{\"accepted\":0,\"refused\":[]}\n", reply.body);
    reply_done(&reply);

    client_ask(&client, "POST /events", STRUCTURED, VIEW_LITERAL("{" ATTRIBUTES "}"));
    bench_wait_publishes(&bench, 2);
    api_publish_answered(bench.api, bench.publishes.items[1].publish.reply, &(struct publish_answer){ .code = SLUICE_ELIMIT, .text = "the disk is full" });
    client_answer(&client, &reply);
    EXPECT_EQ(429, reply.status);
    EXPECT_TEXT("1", reply_header(&reply, "retry-after"));
    EXPECT_VIEW("{\"message\":\"the disk is full\"}\n", reply.body);
    reply_done(&reply);
    client_close(&client);
    bench_close(&bench);
}

TEST(a_webhook_may_ask_first)
{
    struct bench bench;
    struct reply reply;

    bench_open(&bench);
    ask(&bench, "OPTIONS /events", "WebHook-Request-Origin: sender.example\r\n", VIEW_LITERAL(""), &reply);
    EXPECT_EQ(200, reply.status);
    EXPECT_TEXT("sender.example", reply_header(&reply, "webhook-allowed-origin"));
    EXPECT_TEXT("*", reply_header(&reply, "webhook-allowed-rate"));
    reply_done(&reply);
    bench_close(&bench);
}

/* ---- /metrics ---- */

/* One line as Prometheus' format has them: a comment that declares a family, or a sample of the family declared last. */
static bool line_is_good(const char *line, char family[128])
{
    char name[128], rest[256], word[16];
    int name_len = 0;

    if (sscanf(line, "# HELP %127s %255[^\n]", name, rest) == 2)
        return true;
    if (sscanf(line, "# TYPE %127s %15s", name, word) == 2) {
        bool known = strcmp(word, "counter") == 0 || strcmp(word, "gauge") == 0 || strcmp(word, "histogram") == 0;
        bool counter = strcmp(word, "counter") == 0, total = strlen(name) > 6 && strcmp(name + strlen(name) - 6, "_total") == 0;
        (void)snprintf(family, 128, "%s", name);
        return known && counter == total;
    }
    while ((line[name_len] >= 'a' && line[name_len] <= 'z') || line[name_len] == '_')
        name_len++;
    if (name_len < (int)strlen(family) || strncmp(line, family, strlen(family)) != 0)
        return false;
    const char *at = line + name_len;
    if (*at == '{') {
        at = strchr(at, '}');
        if (at == NULL)
            return false;
        at++;
    }
    char *end;
    if (*at++ != ' ')
        return false;
    (void)strtod(at, &end);
    return end != at && *end == '\0';
}

TEST(the_figures_have_the_format_of_prometheus)
{
    struct bench bench;
    struct reply reply;
    char family[128] = "";

    bench_open(&bench);
    ask(&bench, "GET /metrics", "", VIEW_LITERAL(""), &reply);
    EXPECT_EQ(200, reply.status);
    EXPECT_TEXT("text/plain; version=0.0.4; charset=utf-8", reply_header(&reply, "content-type"));
    static const char *const there[] = {
        "sluice_events_total 0\n", "sluice_deliveries_total{function=\"f\",outcome=\"succeeded\"} 0\n", "sluice_queue_oldest_age_seconds{function=\"g\"} 0\n",
        "sluice_instances{function=\"f\",state=\"busy\"} 0\n", "sluice_rule_matches_total{rule=\"a\",bus=\"default\"} 0\n",
        "sluice_balance_difference{function=\"f\"} 0\n", "sluice_invoke_run_seconds_bucket{le=\"+Inf\"} 0\n", "sluice_test_total 7\n",
        "sluice_http_requests_total{status=\"2xx\"} 0\n", "sluice_function_runs_total{function=\"g\",kind=\"delivery\",outcome=\"failed\"} 0\n",
        "# TYPE sluice_function_run_seconds histogram\n# HELP", /* of what has run */ "sluice_delivery_run_seconds_bucket{le=\"0.00025\"} 0\n",
    };
    for (size_t i = 0; i < sizeof there / sizeof *there; i++) {
        if (strstr(reply.body.data, there[i]) == NULL)
            test_fail(__FILE__, __LINE__, "no \"%s\"", there[i]);
    }
    EXPECT_EQ('\n', reply.body.data[reply.body.len - 1]);
    char *text = strndup(reply.body.data, reply.body.len), *rest = text;
    for (char *line; (line = strsep(&rest, "\n")) != NULL && rest != NULL;) {
        if (!line_is_good(line, family))
            test_fail(__FILE__, __LINE__, "not a line of the format: %s", line);
    }
    free(text);
    reply_done(&reply);
    bench_close(&bench);
}

TEST(invocations_are_counted_by_their_duration)
{
    struct bench bench;
    struct client client;
    struct reply reply;

    bench_open(&bench);
    client_open(&client, &bench);
    client_ask(&client, "POST /2015-03-31/functions/f/invocations", "", VIEW_LITERAL("{}"));
    bench_wait_invokes(&bench, 1);
    uint64_t invoke = bench.invokes.items[0];
    bench.invokes.count = 0;
    api_invoke_answered(bench.api, invoke, &(struct invoke_answer){ .outcome = INVOKE_DONE, .result = VIEW_LITERAL("1"), .waited_us = 400, .ran_us = 2000000 },
                        VIEW_LITERAL(""));
    client_answer(&client, &reply);
    reply_done(&reply);
    client_ask(&client, "GET /metrics", "", VIEW_LITERAL(""));
    client_answer(&client, &reply);
    EXPECT(strstr(reply.body.data, "sluice_invoke_wait_seconds_bucket{le=\"0.0005\"} 1\n") != NULL);
    EXPECT(strstr(reply.body.data, "sluice_invoke_run_seconds_bucket{le=\"1\"} 0\n") != NULL);
    EXPECT(strstr(reply.body.data, "sluice_invoke_run_seconds_bucket{le=\"2.5\"} 1\n") != NULL);
    EXPECT(strstr(reply.body.data, "sluice_invoke_run_seconds_sum 2.000000\nsluice_invoke_run_seconds_count 1\n") != NULL);
    reply_done(&reply);
    client_close(&client);
    bench_close(&bench);
}
