/* PutEvents: entries become events, each answered for itself. */
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
