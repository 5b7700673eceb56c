/* InvokeWithResponseStream: frames of the event stream encoding, as they come, at the pace of who reads them. */
#include "tests/unit/api_fixture.h"

#include <stdlib.h>

#include "broker/api/aws/eventstream.h"
#include "broker/base/assert.h"

#define STREAM "POST /2021-11-15/functions/f/response-streaming-invocations"

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
