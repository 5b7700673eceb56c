#include "schemas/codec/envelope.h"
#include "schemas/codec/ids.h"
#include "tests/test.h"

#include <stdlib.h>

#define T(literal) { .data = (literal), .len = sizeof(literal) - 1 }
#define UUID_SAMPLE "\x01\x98\xc7\xd2\x00\x00\x70\x00\x80\x00\x00\x00\x00\x00\x00\x01"

static struct event given_event(void)
{
    return (struct event){
        .id = VIEW_LITERAL(UUID_SAMPLE), .id_is_uuid = true,
        .source = VIEW_LITERAL("shop"), .detail_type = VIEW_LITERAL("paid"),
        .has_time = true, .time_ms = 1795301914123,
        .detail = VIEW_LITERAL("{\"n\":\n 1}"),
    };
}

static enum sluice_err decode(struct view bytes, struct event *event, struct sluice_error *err)
{
    struct mpack_reader reader = mpack_reader_of(bytes);
    enum sluice_err code = envelope_decode(&reader, event, err);
    if (code != SLUICE_EPROTO)
        EXPECT(mpack_at_end(&reader));
    else
        EXPECT(reader.at == (const uint8_t *)bytes.data);
    return code;
}

static void expect_same(const struct event *a, const struct event *b)
{
    EXPECT_EQ(a->kind, b->kind);
    EXPECT(view_equals(a->id, b->id));
    EXPECT_EQ(a->id_is_uuid, b->id_is_uuid);
    EXPECT_EQ(a->has_time, b->has_time);
    EXPECT_EQ(a->time_ms, b->time_ms);
    EXPECT_EQ(a->has_not_before, b->has_not_before);
    EXPECT_EQ(a->not_before_ms, b->not_before_ms);
    EXPECT(view_equals(a->source, b->source));
    EXPECT(view_equals(a->detail_type, b->detail_type));
    EXPECT(view_equals(a->bus, b->bus));
    EXPECT(view_equals(a->account, b->account));
    EXPECT(view_equals(a->region, b->region));
    EXPECT(view_equals(a->content_type, b->content_type));
    EXPECT(view_equals(a->key, b->key));
    EXPECT(view_equals(a->dedup_id, b->dedup_id));
    EXPECT(view_equals(a->traceparent, b->traceparent));
    EXPECT(view_equals(a->resources, b->resources));
    EXPECT(view_equals(a->extensions, b->extensions));
    EXPECT(view_equals(a->detail, b->detail));
    EXPECT_EQ(a->detail_format, b->detail_format);
}

TEST(envelope_survives_encode_and_decode_whole_and_minimal)
{
    struct event events[3] = { given_event(), given_event(), given_event() };
    events[1] = (struct event){ .kind = EVENT_KIND_INVOKE, .detail = VIEW_LITERAL("") };
    events[2].id = VIEW_LITERAL("order-1"), events[2].id_is_uuid = false;
    events[2].bus = VIEW_LITERAL("orders"), events[2].account = VIEW_LITERAL("123456789012"), events[2].region = VIEW_LITERAL("eu-west-1");
    events[2].resources = (struct view)T("\x92\xa1" "a\xa1" "b"), events[2].content_type = VIEW_LITERAL("application/json");
    events[2].key = VIEW_LITERAL("k"), events[2].dedup_id = VIEW_LITERAL("d"), events[2].traceparent = VIEW_LITERAL("00-1-2-01");
    events[2].has_not_before = true, events[2].not_before_ms = -5;
    events[2].extensions = (struct view)T("\x84\xa1" "a\x01\xa1" "b\xc3\xa1" "c\xc4\x01\xff\xa1" "d\xa1" "e");
    events[2].detail = VIEW_LITERAL("\x80"), events[2].detail_format = DETAIL_MPACK;
    for (size_t i = 0; i < 3; i++) {
        struct bytes out = { 0 };
        struct event back = { 0 }, stored = { 0 };
        struct sluice_error err = { 0 };
        envelope_encode(&events[i], &out);
        EXPECT_EQ(SLUICE_OK, decode(bytes_view(&out), &back, &err));
        EXPECT_TEXT("", err.text);
        expect_same(&events[i], &back);
        EXPECT(view_equals(bytes_view(&out), back.encoded));
        EXPECT(envelope_decode_stored(bytes_view(&out), &stored));
        expect_same(&events[i], &stored);
        if (i == 2)
            EXPECT_EQ(2, back.resources_count);
        bytes_done(&out);
    }
}

#define HEAD "\x02\xa1s\x03\xa1t"      /* source, detail-type */
#define DETAIL "\x09\xa2{}"

TEST(envelope_faults_name_the_field)
{
    static const struct { struct view bytes; enum sluice_err code; const char *text; } cases[] = {
        { T("\x83" HEAD DETAIL), SLUICE_OK, "" },
        { T("\x82\x01\x01" DETAIL), SLUICE_OK, "" },
        { T("\x81\x01\x01"), SLUICE_EINVAL, "event: 'detail' (key 9) is missing" },
        { T("\x80"), SLUICE_EINVAL, "event: 'detail' (key 9) is missing" },
        { T("\x82\x03\xa1t" DETAIL), SLUICE_EINVAL, "event: 'source' (key 2) is missing" },
        { T("\x82\x02\xa1s" DETAIL), SLUICE_EINVAL, "event: 'detail-type' (key 3) is missing" },
        { T("\x84" HEAD DETAIL "\x10\x01"), SLUICE_EINVAL, "event: key 16 is not one that this version knows" },
        { T("\x84" HEAD DETAIL "\xa1k\x01"), SLUICE_EINVAL, "event: a key of the envelope is not a small integer" },
        { T("\x84\x02\xa1s\x02\xa1s\x03\xa1t" DETAIL), SLUICE_EINVAL, "event: 'source' (key 2) stands twice, or its key is out of order" },
        { T("\x83\x03\xa1t\x02\xa1s" DETAIL), SLUICE_EINVAL, "event: 'source' (key 2) stands twice, or its key is out of order" },
        { T("\x84\x00\xc4\x02xx" HEAD DETAIL), SLUICE_EINVAL, "event: 'id' (key 0) must be 16 bytes of a UUID, or UTF-8 text of 1 to 256 bytes" },
        { T("\x84\x00\xa0" HEAD DETAIL), SLUICE_EINVAL, "event: 'id' (key 0) must be 16 bytes of a UUID, or UTF-8 text of 1 to 256 bytes" },
        { T("\x84\x00\x05" HEAD DETAIL), SLUICE_EINVAL, "event: 'id' (key 0) must be 16 bytes of a UUID, or UTF-8 text of 1 to 256 bytes" },
        { T("\x84\x01\x02" HEAD DETAIL), SLUICE_EINVAL, "event: 'kind' (key 1) must be 0 (event) or 1 (invoke)" },
        { T("\x83\x02\xa0\x03\xa1t" DETAIL), SLUICE_EINVAL, "event: 'source' (key 2) must be UTF-8 text of 1 to 256 bytes" },
        { T("\x83\x02\xa1\xff\x03\xa1t" DETAIL), SLUICE_EINVAL, "event: 'source' (key 2) must be UTF-8 text of 1 to 256 bytes" },
        { T("\x83\x02\x01\x03\xa1t" DETAIL), SLUICE_EINVAL, "event: 'source' (key 2) must be UTF-8 text of 1 to 256 bytes" },
        { T("\x84" HEAD "\x04\xa1" "1" DETAIL), SLUICE_EINVAL, "event: 'time' (key 4) must be whole milliseconds since 1970, within the years 1 to 9999" },
        { T("\x84" HEAD "\x04\xcf\x7f\xff\xff\xff\xff\xff\xff\xff" DETAIL), SLUICE_EINVAL, "event: 'time' (key 4) must be whole milliseconds since 1970, within the years 1 to 9999" },
        { T("\x84" HEAD "\x08\x01" DETAIL), SLUICE_EINVAL, "event: 'resources' (key 8) must be an array" },
        { T("\x84" HEAD "\x08\x91\x01" DETAIL), SLUICE_EINVAL, "event: 'resources' (key 8) must hold UTF-8 text only" },
        { T("\x83" HEAD "\x09\x80"), SLUICE_EINVAL, "event: 'detail' (key 9) must be text (JSON) or bytes (MessagePack)" },
        { T("\x84" HEAD DETAIL "\x0f\x90"), SLUICE_EINVAL, "event: 'extensions' (key 15) must be a map of at most 64 members" },
        { T("\x84" HEAD DETAIL "\x0f\x81\xa1" "A\x01"), SLUICE_EINVAL, "event: 'extensions' (key 15) names must be lower-case letters and digits, and not CloudEvents' own" },
        { T("\x84" HEAD DETAIL "\x0f\x81\xa2id\x01"), SLUICE_EINVAL, "event: 'extensions' (key 15) names must be lower-case letters and digits, and not CloudEvents' own" },
        { T("\x84" HEAD DETAIL "\x0f\x82\xa1" "a\x01\xa1" "a\x02"), SLUICE_EINVAL, "event: 'extensions' (key 15) has one name twice" },
        { T("\x84" HEAD DETAIL "\x0f\x81\xa1" "a\xc0"), SLUICE_EINVAL, "event: 'extensions' (key 15) values must be text, integers, booleans or bytes" },
        { T("\x91\x01"), SLUICE_EPROTO, "event: not a MessagePack map" },
        { T(""), SLUICE_EPROTO, "event: not a MessagePack map" },
        { T("\x83" HEAD "\x09\xa5{}"), SLUICE_EPROTO, "event: the MessagePack is cut off, broken or nested deeper than 1000" },
        { T("\xdf\xff\xff\xff\xff\x02\xa1s"), SLUICE_EPROTO, "event: not a MessagePack map" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct event event;
        struct sluice_error err = { 0 };
        char label[16];
        (void)snprintf(label, sizeof label, "case %zu", i);
        test_label(label);
        EXPECT_EQ(cases[i].code, decode(cases[i].bytes, &event, &err));
        EXPECT_TEXT(cases[i].text, err.text);
    }
}

TEST(envelope_limits_are_exact)
{
    static char long_text[EVENT_BYTES_MAX];
    memset(long_text, 'x', sizeof long_text);
    for (size_t over = 0; over < 2; over++) {
        struct bytes out = { 0 };
        struct event event = given_event(), back;
        event.source = (struct view){ long_text, ENVELOPE_FIELD_BYTES_MAX + over };
        envelope_encode(&event, &out);
        EXPECT_EQ(over == 0 ? SLUICE_OK : SLUICE_EINVAL, decode(bytes_view(&out), &back, NULL));

        bytes_clear(&out);
        struct bytes resources = { 0 };
        mpack_put_array(&resources, ENVELOPE_RESOURCES_MAX + (uint32_t)over);
        for (size_t i = 0; i < ENVELOPE_RESOURCES_MAX + over; i++)
            mpack_put_str(&resources, VIEW_LITERAL("r"));
        event = given_event();
        event.resources = bytes_view(&resources);
        envelope_encode(&event, &out);
        EXPECT_EQ(over == 0 ? SLUICE_OK : SLUICE_EINVAL, decode(bytes_view(&out), &back, NULL));
        bytes_done(&resources);

        bytes_clear(&out);
        event = (struct event){ .kind = EVENT_KIND_INVOKE, .detail = { long_text, EVENT_BYTES_MAX - 9 + over } };
        envelope_encode(&event, &out);
        EXPECT_EQ(EVENT_BYTES_MAX + over, out.len);
        EXPECT_EQ(over == 0 ? SLUICE_OK : SLUICE_EINVAL, decode(bytes_view(&out), &back, NULL));
        bytes_done(&out);
    }
}

TEST(a_refused_event_does_not_hide_the_next)
{
    static const struct view two = T("\x81\x20\x92\x01\x81\x01\x02\x83" HEAD DETAIL);
    struct mpack_reader reader = mpack_reader_of(two);
    struct event event;
    EXPECT_EQ(SLUICE_EINVAL, envelope_decode(&reader, &event, NULL));
    EXPECT_EQ(SLUICE_OK, envelope_decode(&reader, &event, NULL));
    EXPECT_VIEW("t", event.detail_type);
    EXPECT(mpack_at_end(&reader));
}

/* Every prefix and every single changed byte of a full envelope: any answer, no read outside. */
TEST(envelope_decode_stays_inside_hostile_bytes)
{
    static const struct view whole =
        T("\x86\x00\xc4\x10" UUID_SAMPLE "\x02\xa1s\x03\xa1t\x08\x92\xa1" "a\xa1" "b\x09\xa7{\"a\":1}\x0f\x81\xa1" "a\xa1" "b");
    for (size_t len = 0; len <= whole.len; len++)
        for (unsigned value = 0; value < 256; value += len == whole.len ? 1 : 255)
            for (size_t place = 0; place < len; place++) {
                char *copy = malloc(len);
                memcpy(copy, whole.data, len);
                if (len == whole.len)
                    copy[place] = (char)value;
                struct view view = { copy, len };
                struct mpack_reader reader = mpack_reader_of(view);
                struct event event;
                struct bytes out = { 0 };
                if (envelope_decode(&reader, &event, NULL) == SLUICE_OK && envelope_check_detail(&event, NULL) == SLUICE_OK)
                    event_put_json(&out, &event, EVENT_SHAPE_CLOUDEVENT);
                if (envelope_decode_stored(view, &event) && event.detail_format == DETAIL_JSON)
                    event_put_json(&out, &event, EVENT_SHAPE_EVENTBRIDGE);
                bytes_done(&out);
                free(copy);
            }
}

TEST(envelope_detail_is_checked_by_kind_and_format)
{
    static const struct { enum event_kind kind; enum detail_type_of format; struct view detail; const char *text; } cases[] = {
        { EVENT_KIND_EVENT, DETAIL_JSON, T("{}"), "" },
        { EVENT_KIND_EVENT, DETAIL_JSON, T("[]"), "detail: JSON line 1, column 1: expected an object" },
        { EVENT_KIND_EVENT, DETAIL_JSON, T("{\"a\":\xff}"), "detail: JSON line 1, column 6: not the start of a value" },
        { EVENT_KIND_EVENT, DETAIL_MPACK, T("\x80"), "" },
        { EVENT_KIND_EVENT, DETAIL_MPACK, T("\x90"), "detail: byte 0: a detail in MessagePack must be one map" },
        { EVENT_KIND_INVOKE, DETAIL_JSON, T("[1]"), "" },
        { EVENT_KIND_INVOKE, DETAIL_JSON, T("\"x\""), "" },
        { EVENT_KIND_INVOKE, DETAIL_JSON, T(""), "detail: JSON line 1, column 1: expected a value (the text ends here)" },
        { EVENT_KIND_INVOKE, DETAIL_MPACK, T("\xff\x00"), "" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct event event = { .kind = cases[i].kind, .detail = cases[i].detail, .detail_format = cases[i].format };
        struct sluice_error err = { 0 };
        EXPECT_EQ(cases[i].text[0] == '\0' ? SLUICE_OK : SLUICE_EINVAL, envelope_check_detail(&event, &err));
        EXPECT_TEXT(cases[i].text, err.text);
    }
}

TEST(event_json_has_defaults_and_stays_on_one_line)
{
    struct event event = given_event();
    struct bytes out = { 0 };
    event_put_json(&out, &event, EVENT_SHAPE_EVENTBRIDGE);
    EXPECT_VIEW("{\"version\":\"0\",\"id\":\"0198c7d2-0000-7000-8000-000000000001\",\"detail-type\":\"paid\",\"source\":\"shop\","
                "\"account\":\"000000000000\",\"time\":\"2026-11-21T22:58:34Z\",\"region\":\"us-east-1\",\"resources\":[],"
                "\"detail\":{\"n\":  1}}", bytes_view(&out));
    bytes_clear(&out);
    event_put_json(&out, &event, EVENT_SHAPE_CLOUDEVENT);
    EXPECT_VIEW("{\"specversion\":\"1.0\",\"id\":\"0198c7d2-0000-7000-8000-000000000001\",\"source\":\"shop\",\"type\":\"paid\","
                "\"time\":\"2026-11-21T22:58:34.123Z\",\"datacontenttype\":\"application/json\",\"data\":{\"n\":  1}}", bytes_view(&out));
    bytes_clear(&out);
    event_put_json(&out, &event, EVENT_SHAPE_DETAIL);
    EXPECT_VIEW("{\"n\":  1}", bytes_view(&out));
    bytes_clear(&out);
    event.kind = EVENT_KIND_INVOKE;
    event_put_json(&out, &event, EVENT_SHAPE_EVENTBRIDGE);
    EXPECT_VIEW("{\"n\":  1}", bytes_view(&out));
    bytes_done(&out);
}

TEST(event_id_text_is_the_uuid_or_the_text_itself)
{
    char buffer[ENVELOPE_FIELD_BYTES_MAX + 1];
    struct event event = given_event();
    EXPECT_VIEW("0198c7d2-0000-7000-8000-000000000001", event_id_text(&event, buffer));
    event.id = VIEW_LITERAL("order-1"), event.id_is_uuid = false;
    EXPECT_VIEW("order-1", event_id_text(&event, buffer));
    EXPECT_TEXT("order-1", buffer);
    event.id = (struct view){ 0 };
    EXPECT_VIEW("", event_id_text(&event, buffer));
}
