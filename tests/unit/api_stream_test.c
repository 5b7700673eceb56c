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

/* As it is defined, a bit at a time. */
static uint32_t sum_by_bits(const char *data, size_t len)
{
    uint32_t sum = 0xffffffff;

    for (size_t i = 0; i < len; i++) {
        sum ^= (uint8_t)data[i];
        for (unsigned bit = 0; bit < 8; bit++)
            sum = (sum & 1) != 0 ? sum >> 1 ^ 0xedb88320 : sum >> 1;
    }
    return ~sum;
}

TEST(the_sums_of_frames_are_those_of_zlib)
{
    enum { SHORT_BYTES_MAX = 40, LONG_BYTES = 100003, ALIGNMENTS = 16 };
    char *data = malloc(LONG_BYTES + ALIGNMENTS), label[64];
    uint32_t random = 1;

    EXPECT_EQ(0xcbf43926, eventstream_crc32(0, "123456789", 9));
    EXPECT_EQ(0xcbf43926, sum_by_bits("123456789", 9));
    EXPECT_EQ(0, eventstream_crc32(0, "", 0));
    ASSERT(data != NULL);
    for (size_t i = 0; i < LONG_BYTES + ALIGNMENTS; i++) {
        random = random * 1664525 + 1013904223;
        data[i] = (char)(random >> 24);
    }
    for (size_t from = 0; from < ALIGNMENTS; from++) {
        for (size_t len = 0; len <= SHORT_BYTES_MAX + 1; len++) {
            size_t bytes = len <= SHORT_BYTES_MAX ? len : LONG_BYTES;
            (void)snprintf(label, sizeof label, "%zu bytes from %zu on", bytes, from);
            test_label(label);
            EXPECT_EQ(sum_by_bits(data + from, bytes), eventstream_crc32(0, data + from, bytes));
        }
    }
    /* A sum goes on where another one ended, wherever that was. */
    uint32_t all = sum_by_bits(data, LONG_BYTES);
    for (size_t first = 0; first <= SHORT_BYTES_MAX; first++) {
        (void)snprintf(label, sizeof label, "%zu bytes, then the others", first);
        test_label(label);
        uint32_t sum = eventstream_crc32(0, data, first);
        EXPECT_EQ(sum_by_bits(data, SHORT_BYTES_MAX), eventstream_crc32(sum, data + first, SHORT_BYTES_MAX - first));
        EXPECT_EQ(all, eventstream_crc32(sum, data + first, LONG_BYTES - first));
    }
    test_label(NULL);
    free(data);
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

/* ---- the same request again ---- */

#define SAME "amz-sdk-invocation-id: a\r\n"

static void ask_again(struct client *client, struct bench *bench)
{
    client_open(client, bench);
    client_ask(client, STREAM, SAME, VIEW_LITERAL("{}"));
}

static bool is_closed(void *ctx)
{
    return ((struct client *)ctx)->closed;
}

struct coming { const struct client *client; size_t least; };

static bool has_come(void *ctx)
{
    const struct coming *coming = ctx;
    return coming->client->in.len >= coming->least;
}

static void wait_bytes(const struct client *client, size_t least)
{
    bench_run(client->bench, has_come, &(struct coming){ client, least });
}

static void expect_answer(const char *frames, struct client *client)
{
    struct reply reply;

    client_answer(client, &reply);
    EXPECT_EQ(200, reply.status);
    expect_frames(frames, reply.body);
    reply_done(&reply);
    client_close(client);
}

/* One execution: who asks while it streams, and who asks afterwards, has all of it from its beginning. */
TEST(a_second_try_gets_the_streamed_response_from_its_beginning)
{
    static const struct { const char *label; bool first_leaves, fails; const char *live, *afterwards; } cases[] = {
        { "it ends well", false, false, "PayloadChunk:one ;PayloadChunk:two;InvokeComplete:{};", "PayloadChunk:one two;InvokeComplete:{};" },
        { "the first caller hangs up in the middle", true, false, "PayloadChunk:one ;PayloadChunk:two;InvokeComplete:{};",
          "PayloadChunk:one two;InvokeComplete:{};" },
        { "it breaks", false, true, "PayloadChunk:one ;PayloadChunk:two;InvokeComplete:{\"ErrorCode\":\"Error\",\"ErrorDetails\":\"{}\"};",
          "PayloadChunk:one two;InvokeComplete:{\"ErrorCode\":\"Error\",\"ErrorDetails\":\"{}\"};" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bench bench;
        struct client first, second, third;
        test_label(cases[i].label);
        bench_open(&bench);
        ask_again(&first, &bench);
        bench_wait_invokes(&bench, 1);
        (void)bench_invocation(&bench); /* it runs */
        uint64_t invoke = bench.invokes.items[0];
        EXPECT(api_stream_begin(bench.api, invoke, VIEW_LITERAL("text/plain")));
        EXPECT(api_stream_piece(bench.api, invoke, VIEW_LITERAL("one ")));
        if (cases[i].first_leaves)
            client_close(&first);
        ask_again(&second, &bench);
        wait_bytes(&second, 1);
        EXPECT(api_stream_piece(bench.api, invoke, VIEW_LITERAL("two")));
        if (cases[i].fails)
            bench_fail(&bench, "Error", "broke", "{}");
        else
            bench_answer(&bench, "");
        if (!cases[i].first_leaves)
            expect_answer(cases[i].live, &first);
        expect_answer(cases[i].live, &second);
        ask_again(&third, &bench);
        expect_answer(cases[i].afterwards, &third);
        EXPECT_EQ(0, bench.invokes.count + bench.cancelled.count);
        bench_close(&bench);
    }
    test_label(NULL);
}

/* Better no answer than a second execution. */
TEST(a_streamed_response_that_is_too_long_is_not_given_again_and_not_made_again)
{
    struct bench bench;
    struct client first, again;
    struct reply reply;
    char *piece = calloc(1, 100000);

    ASSERT(piece != NULL);
    bench_open(&bench);
    ask_again(&first, &bench);
    bench_wait_invokes(&bench, 1);
    (void)bench_invocation(&bench);
    uint64_t invoke = bench.invokes.items[0];
    EXPECT(api_stream_begin(bench.api, invoke, (struct view){ 0 }));
    for (unsigned pieces = 0; pieces <= (6 << 20) / 100000; pieces++)
        (void)api_stream_piece(bench.api, invoke, (struct view){ piece, 100000 });
    for (unsigned ended = 0; ended < 2; ended++) {
        ask_again(&again, &bench);
        client_answer(&again, &reply);
        EXPECT_EQ(409, reply.status);
        EXPECT_TEXT("ResourceConflictException", reply_header(&reply, "x-amzn-errortype"));
        reply_done(&reply);
        client_close(&again);
        if (ended == 0)
            bench_answer(&bench, "");
    }
    client_answer(&first, &reply);
    EXPECT(reply.body.len > 6 << 20);
    reply_done(&reply);
    client_close(&first);
    EXPECT_EQ(0, bench.invokes.count);
    free(piece);
    bench_close(&bench);
}

/* The first try's connection is silently broken, which is why there is a second one: it is not to suffer for it. */
TEST(the_latest_reader_sets_the_pace_and_an_older_one_that_does_not_read_is_cut_off)
{
    enum { PIECE_BYTES = 1 << 20, PIECES_MAX = 60 }; /* more at once than the kernel takes */
    struct bench bench;
    struct client broken, reader;
    struct reply reply;
    char *piece = calloc(1, PIECE_BYTES);
    unsigned pieces = 0;

    ASSERT(piece != NULL);
    bench_open(&bench);
    ask_again(&broken, &bench);
    bench_wait_invokes(&bench, 1);
    (void)bench_invocation(&bench);
    uint64_t invoke = bench.invokes.items[0];
    EXPECT(api_stream_begin(bench.api, invoke, (struct view){ 0 }));
    ask_again(&reader, &bench);
    wait_bytes(&reader, 1);
    ev_io_stop(bench.loop, &broken.watcher);
    for (; pieces < PIECES_MAX; pieces++) {
        bench.resumed.count = 0;
        if (!api_stream_piece(bench.api, invoke, (struct view){ piece, PIECE_BYTES }))
            bench_run(&bench, is_resumed, &bench);
    }
    bench_answer(&bench, "");
    client_answer(&reader, &reply);
    EXPECT(reply.body.len > (size_t)PIECES_MAX * PIECE_BYTES);
    reply_done(&reply);
    ev_io_start(bench.loop, &broken.watcher);
    bench_run(&bench, is_closed, &broken);
    EXPECT(broken.in.len < (size_t)PIECES_MAX * PIECE_BYTES);
    client_close(&broken);
    client_close(&reader);
    free(piece);
    bench_close(&bench);
}

/* What had to make room is not executed again, either; what did not is there. */
TEST(an_answer_that_made_room_for_others_is_known_to_have_been_given)
{
    enum { OTHERS = 6, ANSWER_BYTES = 6 << 20 }; /* of 32 MiB */
    struct bench bench;
    struct client client;
    struct reply reply;
    char *answer = malloc(ANSWER_BYTES + 1), id[64];

    ASSERT(answer != NULL);
    memset(answer, '1', ANSWER_BYTES);
    answer[ANSWER_BYTES] = '\0';
    bench_open(&bench);
    client_open(&client, &bench);
    for (unsigned i = 0; i < OTHERS + 2; i++) { /* the others first, then the first and the last again */
        unsigned which = i < OTHERS ? i : i == OTHERS ? 0 : OTHERS - 1;
        (void)snprintf(id, sizeof id, "amz-sdk-invocation-id: %u\r\n", which);
        client_ask(&client, INVOKE, id, VIEW_LITERAL("{}"));
        if (i < OTHERS) {
            bench_wait_invokes(&bench, 1);
            bench_answer(&bench, answer);
        }
        client_answer(&client, &reply);
        EXPECT_EQ(i == OTHERS ? 409 : 200, reply.status);
        EXPECT(i == OTHERS || reply.body.len == ANSWER_BYTES);
        reply_done(&reply);
    }
    EXPECT_EQ(0, bench.invokes.count);
    client_close(&client);
    free(answer);
    bench_close(&bench);
}
