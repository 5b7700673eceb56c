/* Bytes that were once written must stay readable, and what we write must not change unseen (schemas/README.md).
 * tests/golden/NAME.hex: the bytes, with comments after '#'. tests/golden/NAME.json: the three JSON shapes, a line each.
 * SLUICE_GOLDEN_WRITE=1 writes the files anew from the samples below; what is committed is the truth. */
#include "schemas/codec/json.h"
#include "schemas/codec/protocol.h"
#include "schemas/codec/record.h"
#include "tests/test.h"

#include <ctype.h>
#include <stdlib.h>

#define T(literal) { .data = (literal), .len = sizeof(literal) - 1 }
#define UUID_SAMPLE "\x01\x98\xc7\xd2\x00\x00\x70\x00\x80\x00\x00\x00\x00\x00\x00\x01"

static bool writing(void)
{
    const char *value = getenv("SLUICE_GOLDEN_WRITE");
    return value != NULL && value[0] != '\0';
}

static const char *golden_path(const char *name, const char *suffix)
{
    static char path[128];
    (void)snprintf(path, sizeof path, "golden/%s.%s", name, suffix);
    return path;
}

static struct bytes read_file(const char *path)
{
    struct bytes text = { 0 };
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        test_fail(__FILE__, __LINE__, "%s: cannot be opened", path);
        return text;
    }
    for (int c; (c = getc(file)) != EOF;)
        bytes_put_char(&text, (char)c);
    (void)fclose(file);
    return text;
}

static struct bytes read_hex(const char *path)
{
    struct bytes text = read_file(path), out = { 0 };
    int high = -1;
    for (size_t i = 0; i < text.len; i++) {
        while (i < text.len && text.data[i] == '#')
            while (i < text.len && text.data[i] != '\n')
                i++;
        if (i >= text.len || !isxdigit((unsigned char)text.data[i]))
            continue;
        char digit[2] = { text.data[i], '\0' };
        int value = (int)strtol(digit, NULL, 16);
        if (high >= 0)
            bytes_put_char(&out, (char)(high << 4 | value));
        high = high >= 0 ? -1 : value;
    }
    bytes_done(&text);
    return out;
}

static void write_hex(const char *path, const char *what, struct view bytes)
{
    FILE *file = fopen(path, "w");
    if (file == NULL) {
        test_fail(__FILE__, __LINE__, "%s: cannot be written", path);
        return;
    }
    (void)fprintf(file, "# %s\n", what);
    for (size_t row = 0; row < bytes.len; row += 16) {
        for (size_t i = row; i < bytes.len && i < row + 16; i++)
            (void)fprintf(file, "%02x ", (uint8_t)bytes.data[i]);
        for (size_t i = bytes.len; i < row + 16; i++)
            (void)fprintf(file, "   ");
        (void)fprintf(file, "# ");
        for (size_t i = row; i < bytes.len && i < row + 16; i++)
            (void)fputc(bytes.data[i] >= 0x20 && bytes.data[i] < 0x7f ? bytes.data[i] : '.', file);
        (void)fputc('\n', file);
    }
    (void)fclose(file);
}

/* `ours` is what we write today; the file is what it must be. Returns the file's bytes, for reading. */
static struct bytes golden(const char *name, const char *what, struct view ours)
{
    const char *path = golden_path(name, "hex");
    if (writing())
        write_hex(path, what, ours);
    struct bytes file = read_hex(path);
    if (!view_equals(bytes_view(&file), ours))
        test_fail(__FILE__, __LINE__, "%s: our bytes differ: a new format needs a new version and a new file", path);
    return file;
}

static const struct { const char *name, *what; struct event event; } envelopes[] = {
    { "envelope_json", "an event with every field, its detail JSON over two lines",
      { .id = T(UUID_SAMPLE), .id_is_uuid = true, .source = T("com.example.shop"), .detail_type = T("Order \"paid\""),
        .has_time = true, .time_ms = 1795301914123, .bus = T("orders"), .account = T("123456789012"), .region = T("eu-west-1"),
        .resources = T("\x92\xa7order/1\xa8" "buyer/\xc3\xa9"), .resources_count = 2,
        .detail = T("{\"total\": 12.50,\r\n\t\"items\":[\"a\\nb\"]}"),
        .content_type = T("application/json"), .key = T("buyer-7"), .dedup_id = T("order-1-paid"),
        .has_not_before = true, .not_before_ms = 1795301915000,
        .traceparent = T("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        .extensions = T("\x84\xa5" "count\x05\xa4last\xc3\xa6" "digest\xc4\x02\x01\x02\xa6tenant\xa4" "acme") } },
    { "envelope_mpack", "the least an event may be, its detail MessagePack",
      { .id = T("order-1"), .source = T("shop"), .detail_type = T("paid"), .has_time = true, .time_ms = 0,
        .detail = T("\x84\xa1" "n\xcb\x3f\xb9\x99\x99\x99\x99\x99\x9a\xa1" "i\xcf\xff\xff\xff\xff\xff\xff\xff\xff"
                    "\xa1" "b\xc4\x03" "abc\xa1" "l\x92\xc0\xc2"),
        .detail_format = DETAIL_MPACK } },
    { "envelope_invoke", "an asynchronous Invoke: any JSON, for one function",
      { .kind = EVENT_KIND_INVOKE, .id = T(UUID_SAMPLE), .id_is_uuid = true, .has_time = true, .time_ms = 1795301914123,
        .detail = T("[1,\n\"two\"]") } },
};
enum { ENVELOPES = sizeof envelopes / sizeof envelopes[0] };

TEST(golden_envelopes_are_read_and_written_as_ever)
{
    for (size_t i = 0; i < ENVELOPES; i++) {
        struct bytes ours = { 0 }, json = { 0 };
        test_label(envelopes[i].name);
        envelope_encode(&envelopes[i].event, &ours);
        struct bytes file = golden(envelopes[i].name, envelopes[i].what, bytes_view(&ours));

        struct mpack_reader reader = mpack_reader_of(bytes_view(&file));
        struct event event = { 0 };
        struct sluice_error err = { 0 };
        EXPECT_EQ(SLUICE_OK, envelope_decode(&reader, &event, &err));
        EXPECT_EQ(SLUICE_OK, envelope_check_detail(&event, &err));
        EXPECT_TEXT("", err.text);
        for (int shape = EVENT_SHAPE_EVENTBRIDGE; shape <= EVENT_SHAPE_DETAIL; shape++) {
            size_t start = json.len;
            event_put_json(&json, &event, (enum event_shape)shape);
            struct view shaped = { .data = json.data + start, .len = json.len - start };
            EXPECT_EQ(SLUICE_OK, json_check(shaped, JSON_ANY, JSON_DEPTH_MAX, &err));
            bytes_put_char(&json, '\n');
        }
        const char *path = golden_path(envelopes[i].name, "json");
        if (writing()) {
            FILE *out = fopen(path, "w");
            EXPECT(out != NULL && fwrite(json.data, 1, json.len, out) == json.len);
            if (out != NULL)
                (void)fclose(out);
        }
        struct bytes expected = read_file(path);
        bytes_put_char(&expected, '\0');
        EXPECT_VIEW(expected.data, bytes_view(&json));
        bytes_done(&expected);
        bytes_done(&json);
        bytes_done(&file);
        bytes_done(&ours);
    }
}

TEST(golden_record_is_read_and_written_as_ever)
{
    static struct record_writer writer;
    static const uint32_t first[] = { 7, 8 }, second[] = { 7 }, functions[] = { 2, 5 };
    static const uint32_t *const targets[ENVELOPES] = { first, second, NULL };
    static const uint32_t counts[ENVELOPES] = { 2, 1, 0 };
    struct bytes ours = { 0 }, envelope = { 0 };

    for (size_t i = 0; i < ENVELOPES; i++) {
        bytes_clear(&envelope);
        envelope_encode(&envelopes[i].event, &envelope);
        record_writer_add(&writer, bytes_view(&envelope), targets[i], counts[i]);
    }
    record_writer_finish(&writer, 41, 1795301914200, functions, 2, &ours);
    record_seal(ours.data, ours.len);
    struct bytes file = golden("record_v1", "a log record: the three envelopes from sequence 41, with 2, 1 and no targets",
                               bytes_view(&ours));

    struct record record = { 0 };
    EXPECT(record_open(bytes_view(&file), true, &record));
    EXPECT_EQ(41, record.first_seq);
    EXPECT_EQ(ENVELOPES, record.count);
    EXPECT_EQ(2, record.functions_count);
    EXPECT_EQ(5, record.functions_count == 2 ? record_function(&record, 1) : 0);
    for (uint32_t i = 0; i < record.count; i++) {
        struct record_event stored = { 0 };
        struct event event = { 0 };
        EXPECT(record_event(&record, i, &stored));
        EXPECT_EQ(counts[i], stored.targets_count);
        EXPECT(envelope_decode_stored(stored.envelope, &event));
        EXPECT(view_equals(envelopes[i].event.detail, event.detail));
    }
    bytes_done(&file);
    bytes_done(&ours);
    bytes_done(&envelope);
    bytes_done(&writer.body);
}

static void put_hello(struct bytes *out)
{
    mpack_put_array(out, 4);
    mpack_put_uint(out, PROTOCOL_VERSION);
    mpack_put_uint(out, CALL_HELLO);
    mpack_put_str(out, VIEW_LITERAL("libsluice/0.1"));
    mpack_put_nil(out);
}

static void put_hello_reply(struct bytes *out)
{
    mpack_put_array(out, 8);
    mpack_put_uint(out, PROTOCOL_VERSION);
    mpack_put_uint(out, SLUICE_OK);
    mpack_put_nil(out);
    mpack_put_uint(out, PUBLISH_WINDOW_BATCHES_MAX);
    mpack_put_uint(out, PUBLISH_BATCH_BYTES_MAX);
    mpack_put_uint(out, PUBLISH_BATCH_EVENTS_MAX);
    mpack_put_uint(out, EVENT_BYTES_MAX);
    mpack_put_str(out, VIEW_LITERAL("sluiced/0.1"));
}

static void put_publish(struct bytes *out)
{
    mpack_put_array(out, 7);
    mpack_put_uint(out, PROTOCOL_VERSION);
    mpack_put_uint(out, CALL_PUBLISH);
    mpack_put_bin(out, VIEW_LITERAL(UUID_SAMPLE));
    mpack_put_uint(out, 1795301914);
    mpack_put_uint(out, 12);
    mpack_put_uint(out, 11);
    size_t events = mpack_put_array_open(out);
    envelope_encode(&envelopes[1].event, out);
    envelope_encode(&envelopes[2].event, out);
    mpack_put_array_close(out, events, 2);
}

static void put_publish_reply(struct bytes *out)
{
    mpack_put_array(out, 7);
    mpack_put_uint(out, PROTOCOL_VERSION);
    mpack_put_uint(out, SLUICE_OK);
    mpack_put_nil(out);
    mpack_put_uint(out, 1);
    mpack_put_bool(out, false);
    mpack_put_uint(out, 15);
    mpack_put_array(out, 1);
    mpack_put_array(out, 3);
    mpack_put_uint(out, 1);
    mpack_put_uint(out, SLUICE_EINVAL);
    mpack_put_str(out, VIEW_LITERAL("event: 'detail' (key 9) is missing"));
}

static void put_next(struct bytes *out)
{
    mpack_put_array(out, 5);
    mpack_put_uint(out, PROTOCOL_VERSION);
    mpack_put_uint(out, CALL_NEXT);
    mpack_put_str(out, VIEW_LITERAL("resize/3"));
    mpack_put_uint(out, 100);
    mpack_put_array(out, 2);
    mpack_put_array(out, 3); /* lease 70: all succeeded, no output */
    mpack_put_uint(out, 70);
    mpack_put_nil(out);
    mpack_put_nil(out);
    mpack_put_array(out, 3); /* lease 71: its item 4 failed */
    mpack_put_uint(out, 71);
    mpack_put_array(out, 1);
    mpack_put_array(out, 3);
    mpack_put_uint(out, 4);
    mpack_put_str(out, VIEW_LITERAL("Resize.Failed"));
    mpack_put_str(out, VIEW_LITERAL("not a picture"));
    mpack_put_bin(out, VIEW_LITERAL("done"));
}

static void put_next_reply(struct bytes *out)
{
    mpack_put_array(out, 6);
    mpack_put_uint(out, PROTOCOL_VERSION);
    mpack_put_uint(out, SLUICE_OK);
    mpack_put_nil(out);
    mpack_put_uint(out, 72);
    mpack_put_int(out, 3000);
    mpack_put_array(out, 2);
    mpack_put_array(out, 3);
    mpack_put_uint(out, 1);
    mpack_put_uint(out, NEXT_ENVELOPE);
    envelope_encode(&envelopes[1].event, out);
    mpack_put_array(out, 3);
    mpack_put_uint(out, 2);
    mpack_put_uint(out, NEXT_JSON);
    mpack_put_bin(out, VIEW_LITERAL("{\"constant\":true}"));
}

static void put_attach(struct bytes *out)
{
    mpack_put_array(out, 5);
    mpack_put_uint(out, PROTOCOL_VERSION);
    mpack_put_uint(out, CALL_ATTACH);
    mpack_put_str(out, VIEW_LITERAL("journal"));
    mpack_put_str(out, VIEW_LITERAL("journald@host-7:4711"));
    mpack_put_uint(out, 8);
}

static void put_attach_reply(struct bytes *out)
{
    mpack_put_array(out, 7);
    mpack_put_uint(out, PROTOCOL_VERSION);
    mpack_put_uint(out, SLUICE_OK);
    mpack_put_nil(out);
    mpack_put_str(out, VIEW_LITERAL("41"));
    mpack_put_uint(out, 8);
    mpack_put_uint(out, 100);
    mpack_put_uint(out, 3000);
}

static void put_detach(struct bytes *out)
{
    mpack_put_array(out, 3);
    mpack_put_uint(out, PROTOCOL_VERSION);
    mpack_put_uint(out, CALL_DETACH);
    mpack_put_str(out, VIEW_LITERAL("41"));
}

static void put_detach_reply(struct bytes *out)
{
    mpack_put_array(out, 3);
    mpack_put_uint(out, PROTOCOL_VERSION);
    mpack_put_uint(out, SLUICE_OK);
    mpack_put_nil(out);
}

TEST(golden_frames_are_written_as_ever_and_are_whole_messages)
{
    static const struct { const char *name, *what; void (*put)(struct bytes *out); } frames[] = {
        { "frame_hello", "hello, request: version 1, call 1, client, no token", put_hello },
        { "frame_hello_reply", "hello, reply: credit and limits", put_hello_reply },
        { "frame_publish", "publish, request: producer, epoch, seq 12, lowest 11, two events", put_publish },
        { "frame_publish_reply", "publish, reply: one accepted, the event of index 1 refused", put_publish_reply },
        { "frame_next", "next, request: results of leases 70 and 71, room for 100 events", put_next },
        { "frame_next_reply", "next, reply: lease 72, one envelope and one JSON input", put_next_reply },
        { "frame_attach", "attach, request: function, consumer, eight places", put_attach },
        { "frame_attach_reply", "attach, reply: instance 41, eight places, batches of 100, 3 s", put_attach_reply },
        { "frame_detach", "detach, request: instance 41", put_detach },
        { "frame_detach_reply", "detach, reply: all that it held is settled", put_detach_reply },
    };
    for (size_t i = 0; i < sizeof frames / sizeof frames[0]; i++) {
        struct bytes ours = { 0 };
        test_label(frames[i].name);
        frames[i].put(&ours);
        struct bytes file = golden(frames[i].name, frames[i].what, bytes_view(&ours));
        struct mpack_reader reader = mpack_reader_of(bytes_view(&file));
        EXPECT(mpack_skip(&reader, PROTOCOL_DEPTH_MAX, NULL));
        EXPECT(mpack_at_end(&reader));
        bytes_done(&file);
        bytes_done(&ours);
    }
}

TEST(golden_publish_frame_is_decoded)
{
    struct bytes file = read_hex("golden/frame_publish.hex");
    struct mpack_reader reader = mpack_reader_of(bytes_view(&file));
    uint32_t count = 0;
    uint64_t version = 0, call = 0, epoch = 0, seq = 0, lowest = 0;
    struct view producer = { 0 };
    struct event event = { 0 };

    EXPECT(mpack_read_array(&reader, &count));
    EXPECT_EQ(7, count);
    EXPECT(mpack_read_uint(&reader, UINT64_MAX, &version) && mpack_read_uint(&reader, UINT64_MAX, &call));
    EXPECT_EQ(1, version);
    EXPECT_EQ(CALL_PUBLISH, call);
    EXPECT(mpack_read_bin(&reader, &producer));
    EXPECT_EQ(16, producer.len);
    EXPECT(mpack_read_uint(&reader, UINT64_MAX, &epoch) && mpack_read_uint(&reader, UINT64_MAX, &seq)
           && mpack_read_uint(&reader, seq, &lowest));
    EXPECT_EQ(12, seq);
    EXPECT_EQ(11, lowest);
    EXPECT(mpack_read_array(&reader, &count));
    EXPECT_EQ(2, count);
    EXPECT_EQ(SLUICE_OK, envelope_decode(&reader, &event, NULL));
    EXPECT_VIEW("shop", event.source);
    EXPECT_EQ(SLUICE_OK, envelope_decode(&reader, &event, NULL));
    EXPECT_EQ(EVENT_KIND_INVOKE, event.kind);
    EXPECT(mpack_at_end(&reader));
    bytes_done(&file);
}
