/* PutEvents: entries become events, each answered for itself. */
#include "broker/api/once.h"
#include "tests/unit/api_fixture.h"

#include <stdlib.h>

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

/* ---- tries of one request ---- */

#define TRY "POST /", JSON11("PutEvents") "amz-sdk-invocation-id: a\r\n"
#define ONE_ENTRY "{\"Entries\":[{\"Source\":\"s\",\"DetailType\":\"d\",\"Detail\":\"{}\"}]}"
#define TWO_ENTRIES "{\"Entries\":[{\"Source\":\"s\",\"DetailType\":\"d\",\"Detail\":\"{}\"},{\"Source\":\"s\",\"DetailType\":\"d\",\"Detail\":\"{\"}]}"

TEST(a_further_try_is_not_published_again_and_gets_the_same_ids)
{
    static const char *const bodies[] = { ONE_ENTRY, TWO_ENTRIES };

    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        struct bench bench;
        struct reply reply, again;

        test_label(bodies[i]);
        bench_open(&bench);
        ask_three_times(&bench, TRY, view_of(bodies[i]), &reply, &again);
        EXPECT_EQ(200, reply.status);
        EXPECT(strstr(reply.bytes.data, "\"EventId\":\"") != NULL);
        EXPECT_EQ(200, again.status);
        EXPECT_EQ(reply.body.len, again.body.len);
        EXPECT(memcmp(reply.body.data, again.body.data, again.body.len) == 0);
        reply_done(&reply);
        reply_done(&again);
        bench_close(&bench);
    }
    test_label(NULL);
}

TEST(what_the_engine_refused_of_a_request_is_refused_to_its_further_tries)
{
    struct publish_refusal refusal = { .index = 0, .error = { .code = SLUICE_EINVAL, .text = "too deep" } };
    struct bench bench;
    struct client client;
    struct reply reply;

    bench_open(&bench);
    client_open(&client, &bench);
    for (size_t i = 0; i < 2; i++) {
        client_ask(&client, TRY, VIEW_LITERAL(ONE_ENTRY));
        bench_wait_publishes(&bench, 1);
        if (i == 0)
            api_publish_answered(bench.api, bench.publishes.items[0].publish.reply, &(struct publish_answer){ .refusals = &refusal, .refusals_count = 1 });
        client_answer(&client, &reply);
        EXPECT_VIEW("{\"Entries\":[{\"ErrorCode\":\"InvalidArgument\",\"ErrorMessage\":\"too deep\"}],\"FailedEntryCount\":1}", reply.body);
        reply_done(&reply);
    }
    EXPECT_EQ(1, bench.publishes.count);
    client_close(&client);
    bench_close(&bench);
}

TEST(what_was_not_taken_or_is_another_request_is_published)
{
    static const struct {
        const char *label, *headers, *body;
        enum sluice_err code; /* of the first */
    } cases[] = {
        { "throttled", JSON11("PutEvents") "amz-sdk-invocation-id: a\r\n", ONE_ENTRY, SLUICE_ELIMIT },
        { "the daemon stopped", JSON11("PutEvents") "amz-sdk-invocation-id: a\r\n", ONE_ENTRY, SLUICE_EUNAVAILABLE },
        { "another body", JSON11("PutEvents") "amz-sdk-invocation-id: a\r\n", TWO_ENTRIES, SLUICE_OK },
        { "another id", JSON11("PutEvents") "amz-sdk-invocation-id: b\r\n", ONE_ENTRY, SLUICE_OK },
        { "no id", JSON11("PutEvents"), ONE_ENTRY, SLUICE_OK },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bench bench;
        struct client client;
        struct reply reply;

        test_label(cases[i].label);
        bench_open(&bench);
        client_open(&client, &bench);
        client_ask(&client, TRY, VIEW_LITERAL(ONE_ENTRY));
        bench_wait_publishes(&bench, 1);
        api_publish_answered(bench.api, bench.publishes.items[0].publish.reply,
                             &(struct publish_answer){ .code = cases[i].code, .text = "later", .accepted = cases[i].code == SLUICE_OK });
        client_answer(&client, &reply);
        reply_done(&reply);
        client_ask(&client, "POST /", cases[i].headers, view_of(cases[i].body));
        bench_wait_publishes(&bench, 2);
        bench_committed(&bench);
        client_answer(&client, &reply);
        EXPECT_EQ(200, reply.status);
        reply_done(&reply);
        client_close(&client);
        bench_close(&bench);
    }
    test_label(NULL);
}

/* PutEvents of a busy producer are not to push out the answers that callers of functions may come for. */
TEST(many_events_do_not_push_out_an_invocation)
{
    struct bench bench;
    struct client client;
    struct reply reply;
    char headers[200];

    bench_open(&bench);
    client_open(&client, &bench);
    client_ask(&client, "POST /2015-03-31/functions/f/invocations", "amz-sdk-invocation-id: a\r\n", VIEW_LITERAL("{}"));
    bench_wait_invokes(&bench, 1);
    bench_answer(&bench, "1");
    client_answer(&client, &reply);
    reply_done(&reply);
    for (unsigned i = 0; i < ONCE_ENTRIES_MAX + 10; i++) { /* one more than are kept */
        (void)snprintf(headers, sizeof headers, JSON11("PutEvents") "amz-sdk-invocation-id: %u\r\n", i);
        client_ask(&client, "POST /", headers, VIEW_LITERAL(ONE_ENTRY));
        bench_wait_publishes(&bench, i + 1);
        bench_committed(&bench);
        client_answer(&client, &reply);
        reply_done(&reply);
    }
    client_ask(&client, "POST /2015-03-31/functions/f/invocations", "amz-sdk-invocation-id: a\r\n", VIEW_LITERAL("{}"));
    client_answer(&client, &reply);
    EXPECT_VIEW("1", reply.body);
    reply_done(&reply);
    client_ask(&client, "POST /", JSON11("PutEvents") "amz-sdk-invocation-id: 0\r\n", VIEW_LITERAL(ONE_ENTRY)); /* the oldest is gone: memory is bounded */
    bench_wait_publishes(&bench, ONCE_ENTRIES_MAX + 11);
    bench_committed(&bench);
    client_answer(&client, &reply);
    reply_done(&reply);
    client_close(&client);
    bench_close(&bench);
}
