#include "broker/core/input.h"
#include "tests/test.h"

static const struct { const char *path; bool fine; } paths[] = {
    { "$", true },
    { "$.detail", true },
    { "$.detail-type", true },
    { "$.detail.a[0].b", true },
    { "$['a b']", true },
    { "$.detail[\"x\"][12]", true },
    { "$['it\\'s']", true },
    { "", false },
    { "detail", false },
    { "$detail", false },
    { "$.", false },
    { "$..a", false },
    { "$.a.", false },
    { "$.*", false },
    { "$.a[*]", false },
    { "$.a[-1]", false },
    { "$.a[?(@.b)]", false },
    { "$.a[0", false },
    { "$.a['b'", false },
    { "$.a['b", false },
    { "$.a[1234567890]", false },
    { "$.a b", false },
    { "$.a[0:2]", false },
};

TEST(paths_outside_the_subset_are_refused)
{
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        struct sluice_error error = { 0 };
        test_label(paths[i].path);
        EXPECT_EQ(paths[i].fine ? SLUICE_OK : SLUICE_EINVAL, input_path_check(view_of(paths[i].path), &error));
        EXPECT((error.text[0] == '\0') == paths[i].fine);
    }
}

TEST(the_message_of_a_bad_path_names_the_column)
{
    struct sluice_error error = { 0 };
    EXPECT_EQ(SLUICE_EINVAL, input_path_check(VIEW_LITERAL("$.a..b"), &error));
    EXPECT_TEXT("input path '$.a..b', column 5: a name is needed after the dot", error.text);
}

TEST(a_path_over_the_limit_is_refused)
{
    char path[INPUT_PATH_BYTES_MAX + 2];
    memset(path, 'a', sizeof path);
    memcpy(path, "$.", 2);
    EXPECT_EQ(SLUICE_OK, input_path_check((struct view){ .data = path, .len = INPUT_PATH_BYTES_MAX }, NULL));
    EXPECT_EQ(SLUICE_EINVAL, input_path_check((struct view){ .data = path, .len = INPUT_PATH_BYTES_MAX + 1 }, NULL));
}

static const struct { const char *path, *detail, *value; } values[] = {
    { "$.source", "{}", "\"shop\"" },
    { "$.detail-type", "{}", "\"Order\"" },
    { "$['detail-type']", "{}", "\"Order\"" },
    { "$.version", "{}", "\"0\"" },
    { "$.resources", "{}", "[]" },
    { "$.detail", "{\"a\":\n 1}", "{\"a\":  1}" },
    { "$.detail.a.b", "{\"a\":{\"b\":1.50}}", "1.50" },
    { "$.detail.a[1]", "{\"a\":[1,[2, 3],4]}", "[2, 3]" },
    { "$.detail.a[1][0]", "{\"a\":[1,[2,3],4]}", "2" },
    { "$.detail['it\\'s']", "{\"it's\":true}", "true" },
    { "$.detail.caf\xC3\xA9", "{\"caf\\u00e9\":\"x\"}", "\"x\"" },
    { "$.detail.a", "{\"a\":1,\"a\":2}", "2" },
    { "$.detail.none", "{}", "null" },
    { "$.detail.a.b", "{\"a\":[{\"b\":1}]}", "null" },
    { "$.detail.a[3]", "{\"a\":[1,2,3]}", "null" },
    { "$.detail[0]", "{\"0\":1}", "null" },
    { "$.none", "{}", "null" },
};

static struct event event_of(const char *detail)
{
    return (struct event){ .source = VIEW_LITERAL("shop"), .detail_type = VIEW_LITERAL("Order"), .id = VIEW_LITERAL("i"),
                           .detail = view_of(detail) };
}

TEST(a_path_gives_its_value_as_it_stands_in_the_envelope_or_null)
{
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        struct event event = event_of(values[i].detail);
        struct bytes out = { 0 };
        test_label(values[i].path);
        EXPECT_EQ(SLUICE_OK, input_path_check(view_of(values[i].path), NULL));
        bytes_put_text(&out, "before ");
        EXPECT_EQ(SLUICE_OK, input_make(TARGET_INPUT_PATH, view_of(values[i].path), EVENT_SHAPE_DETAIL, &event, &out));
        EXPECT_VIEW("before ", ((struct view){ .data = out.data, .len = 7 }));
        EXPECT_VIEW(values[i].value, ((struct view){ .data = out.data + 7, .len = out.len - 7 }));
        bytes_done(&out);
    }
}

TEST(the_whole_path_gives_the_envelope_whatever_the_function_asks_for)
{
    struct event event = event_of("{\"n\":1}");
    struct bytes by_path = { 0 }, envelope = { 0 };
    EXPECT_EQ(SLUICE_OK, input_make(TARGET_INPUT_PATH, VIEW_LITERAL("$"), EVENT_SHAPE_DETAIL, &event, &by_path));
    event_put_json(&envelope, &event, EVENT_SHAPE_EVENTBRIDGE);
    EXPECT(view_equals(bytes_view(&by_path), bytes_view(&envelope)));
    bytes_done(&by_path);
    bytes_done(&envelope);
}

TEST(without_a_target_input_the_function_gets_its_own_shape)
{
    struct event event = event_of("{\"n\":1}");
    struct bytes out = { 0 };
    EXPECT_EQ(SLUICE_OK, input_make(TARGET_INPUT_EVENT, (struct view){ 0 }, EVENT_SHAPE_DETAIL, &event, &out));
    EXPECT_VIEW("{\"n\":1}", bytes_view(&out));
    bytes_done(&out);
}

TEST(a_constant_is_passed_as_it_is)
{
    struct event event = event_of("{\"n\":1}");
    struct bytes out = { 0 };
    EXPECT_EQ(SLUICE_OK, input_make(TARGET_INPUT_CONSTANT, VIEW_LITERAL("{ \"fixed\": [1] }"), EVENT_SHAPE_EVENTBRIDGE, &event, &out));
    EXPECT_VIEW("{ \"fixed\": [1] }", bytes_view(&out));
    bytes_done(&out);
}
