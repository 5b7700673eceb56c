#include "broker/core/input.h"
#include "broker/core/template.h"
#include "tests/test.h"

static const struct template_path paths[] = {
    { VIEW_LITERAL("s"), VIEW_LITERAL("$.detail.s") },      { VIEW_LITERAL("n"), VIEW_LITERAL("$.detail.n") },
    { VIEW_LITERAL("b"), VIEW_LITERAL("$.detail.b") },      { VIEW_LITERAL("z"), VIEW_LITERAL("$.detail.z") },
    { VIEW_LITERAL("o"), VIEW_LITERAL("$.detail.o") },      { VIEW_LITERAL("l"), VIEW_LITERAL("$.detail.l") },
    { VIEW_LITERAL("none"), VIEW_LITERAL("$.detail.none") }, { VIEW_LITERAL("quote"), VIEW_LITERAL("$.detail.quote") },
    { VIEW_LITERAL("line"), VIEW_LITERAL("$.detail.line") }, { VIEW_LITERAL("half"), VIEW_LITERAL("$.detail.half") },
    { VIEW_LITERAL("long_Name-1"), VIEW_LITERAL("$['detail-type']") },
};
enum { PATHS = sizeof paths / sizeof paths[0] };

static const char detail[] = "{\"s\":\"str\",\"n\":1.50,\"b\":true,\"z\":null,\"o\":{\"a\": \"0a\", \"b\": [\"X\", \"Y\"]},\"l\":[1, \"x y\"],"
                             "\"quote\":\"say \\\"hi\\\"\",\"line\":\"a\\nb\\u00e9\",\"half\":\"\\ud800\"}";

static const struct { const char *label, *template, *input, *error; } cases[] = {
    /* the table of the header, column by column */
    { "bare string", "{\"k\": <s>}", "{\"k\": \"str\"}", NULL },
    { "bare number", "{\"k\": <n>}", "{\"k\": 1.50}", NULL },
    { "bare bool", "{\"k\": <b>}", "{\"k\": true}", NULL },
    { "bare null", "{\"k\": <z>}", "{\"k\": null}", NULL },
    { "bare object", "{\"k\": <o>}", "{\"k\": {\"a\": \"0a\", \"b\": [\"X\", \"Y\"]}}", NULL },
    { "bare array", "[<l>,<l>]", "[[1, \"x y\"],[1, \"x y\"]]", NULL },
    { "bare nothing", "{\"k\": <none>}", "{\"k\": \"\"}", NULL },
    { "bare, a quote in the data", "{\"k\": <quote>}", "{\"k\": \"say \\\"hi\\\"\"}", NULL },
    { "bare, as a key", "{<s>: 1}", "{\"str\": 1}", NULL },
    { "inside quotes, string", "{\"k\": \"x <s> y\"}", "{\"k\": \"x str y\"}", NULL },
    { "inside quotes, number", "{\"k\": \"x <n> y\"}", "{\"k\": \"x 1.50 y\"}", NULL },
    { "inside quotes, bool", "{\"k\": \"x <b> y\"}", "{\"k\": \"x true y\"}", NULL },
    { "inside quotes, nothing", "{\"k\": \"x <none> y\"}", "{\"k\": \"x  y\"}", NULL },
    { "inside quotes, object", "{\"k\": \"x <o> y\"}", NULL, "the value of <o> is an object or a list, and the template has it inside quotes" },
    { "inside quotes, array", "{\"k\": \"<l>\"}", NULL, "the value of <l> is an object or a list, and the template has it inside quotes" },
    { "inside quotes, a quote in the data", "{\"k\": \"<quote>\"}", NULL, "what the template makes of this event is not JSON: " },
    { "inside quotes, a line break in the data", "{\"k\": \"<line>\"}", NULL, "what the template makes of this event is not JSON: " },
    { "inside quotes, half a surrogate pair", "{\"k\": \"<half>\"}", "{\"k\": \"\\ud800\"}", NULL },
    { "text, string", "\"text <s>\"", "\"text str\"", NULL },
    { "text, number and bool", "\"<n> <b>\"", "\"1.50 true\"", NULL },
    { "text, object", "\"text <o>\"", "\"text {a:0a,b:[X,Y]}\"", NULL },
    { "text, array", "\"text <l>\"", "\"text [1,x y]\"", NULL },
    { "text, nothing", "\"text <none>\"", "\"text \"", NULL },
    { "text, a quote in the data", "\"<quote>\"", "\"say \"hi\"\"", NULL },
    { "text, several lines", "\"one <s>\"\n\"two <n>\"", "\"one str\"\n\"two 1.50\"", NULL },
    { "neither a quote nor a bracket", "<l> text", NULL, "the template begins with neither a quote nor '{' or '['" },
    { "a placeholder alone", "<aws.events.event.json>", NULL, "the template begins with neither a quote nor '{' or '['" },
    { "white space only", " ", NULL, "the template begins with neither a quote nor '{' or '['" },
    /* the reserved ones */
    { "rule-arn", "{\"k\":<aws.events.rule-arn>}", "{\"k\":\"arn:aws:events:eu-north-1:123456789012:rule/orders/big\"}", NULL },
    { "rule-arn in text", "\"<aws.events.rule-arn>\"", "\"arn:aws:events:eu-north-1:123456789012:rule/orders/big\"", NULL },
    { "rule-name", "{\"k\":\"<aws.events.rule-name>\"}", "{\"k\":\"big\"}", NULL },
    { "ingestion-time", "{\"k\":<aws.events.event.ingestion-time>}", "{\"k\":\"2023-11-14T22:13:20Z\"}", NULL },
    { "event", "[<aws.events.event>]",
      "[{\"id\":\"e-1\",\"account\":\"123456789012\",\"detailType\":\"Order\",\"time\":\"2001-09-09T01:46:40Z\",\"source\":\"shop\","
      "\"region\":\"eu-north-1\",\"resources\":[],\"version\":\"0\"}]", NULL },
    { "event in text", "\"<aws.events.event>\"",
      "\"{id:e-1,account:123456789012,detailType:Order,time:2001-09-09T01:46:40Z,source:shop,region:eu-north-1,resources:[],version:0}\"",
      NULL },
    { "event inside quotes", "{\"k\":\"<aws.events.event>\"}", NULL,
      "the value of <aws.events.event> is an object or a list, and the template has it inside quotes" },
    /* the form */
    { "white space before", "\n  {\"k\": <n>}\n", "   {\"k\": 1.50} ", NULL },
    { "an escaped quote does not end the quotes", "{\"k\": \"\\\"<s>\"}", "{\"k\": \"\\\"str\"}", NULL },
    { "not JSON by itself", "{\"k\": <s>", NULL, "what the template makes of this event is not JSON: " },
    { "a lone < is itself", "{\"k\": \"a < <n>\"}", "{\"k\": \"a < 1.50\"}", NULL },
    { "nothing to put in", "{\"k\": 1}", "{\"k\": 1}", NULL },
    { "every name character", "[<long_Name-1>]", "[\"Order\"]", NULL },
};

static const struct event event_given = {
    .id = VIEW_LITERAL("e-1"), .source = VIEW_LITERAL("shop"), .detail_type = VIEW_LITERAL("Order"), .bus = VIEW_LITERAL("orders"),
    .account = VIEW_LITERAL("123456789012"), .region = VIEW_LITERAL("eu-north-1"), .has_time = true, .time_ms = 1000000000000,
    .detail = { .data = detail, .len = sizeof detail - 1 },
};

static enum sluice_err compile(struct view text, struct template **ret_template, size_t *ret_offset, struct sluice_error *reterr)
{
    struct bytes encoded = { 0 };

    template_encode(&encoded, text, paths, PATHS);
    enum sluice_err err = template_new(bytes_view(&encoded), ret_template, ret_offset, reterr);
    bytes_done(&encoded);
    return err;
}

static enum sluice_err render(const struct template *template, const struct event *event, struct bytes *out, struct sluice_error *reterr)
{
    return template_render(template, &(struct template_context){ .event = event, .rule = "big", .accepted_ms = 1700000000000 }, out, reterr);
}

TEST(a_placeholder_becomes_what_its_place_and_its_value_say)
{
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct template *template = NULL;
        struct sluice_error error = { 0 };
        struct bytes out = { 0 };
        size_t offset = 0;
        test_label(cases[i].label);
        EXPECT_EQ(SLUICE_OK, compile(view_of(cases[i].template), &template, &offset, &error));
        EXPECT_TEXT("", error.text);
        if (template == NULL)
            continue;
        bytes_put_text(&out, "before ");
        EXPECT_EQ(cases[i].error == NULL ? SLUICE_OK : SLUICE_EINVAL, render(template, &event_given, &out, &error));
        EXPECT_VIEW(cases[i].input == NULL ? "" : cases[i].input, ((struct view){ .data = out.data + 7, .len = out.len - 7 }));
        if (cases[i].error != NULL)
            EXPECT(strncmp(error.text, cases[i].error, strlen(cases[i].error)) == 0);
        bytes_done(&out);
        template_free(template);
    }
}

TEST(the_complete_event_is_the_envelope_as_a_function_would_see_it)
{
    struct template *template = NULL;
    struct bytes out = { 0 }, envelope = { 0 };
    size_t offset;

    EXPECT_EQ(SLUICE_OK, compile(VIEW_LITERAL("[<aws.events.event.json>]"), &template, &offset, NULL));
    EXPECT_EQ(SLUICE_OK, render(template, &event_given, &out, NULL));
    bytes_put_char(&envelope, '[');
    event_put_json(&envelope, &event_given, EVENT_SHAPE_EVENTBRIDGE);
    bytes_put_char(&envelope, ']');
    EXPECT(view_equals(bytes_view(&envelope), bytes_view(&out)));
    bytes_done(&out);
    bytes_done(&envelope);
    template_free(template);
}

TEST(on_the_default_bus_the_rule_arn_does_not_name_it)
{
    struct event event = event_given;
    struct template *template = NULL;
    struct bytes out = { 0 };
    size_t offset;

    event.bus = event.account = event.region = (struct view){ 0 };
    EXPECT_EQ(SLUICE_OK, compile(VIEW_LITERAL("[<aws.events.rule-arn>]"), &template, &offset, NULL));
    EXPECT_EQ(SLUICE_OK, render(template, &event, &out, NULL));
    EXPECT_VIEW("[\"arn:aws:events:us-east-1:000000000000:rule/big\"]", bytes_view(&out));
    bytes_done(&out);
    template_free(template);
}

static const struct { const char *label, *template; size_t offset; const char *error; } undefined[] = {
    { "a name not in the map", "{\"k\": <s>, \"m\": <t>}", 16, "placeholder '<t>' is neither in 'input-paths-map' nor a reserved one" },
    { "names have cases", "[<S>]", 1, "placeholder '<S>' is neither in 'input-paths-map' nor a reserved one" },
    { "no such reserved name", "\"<aws.events.nope>\"", 1, "placeholder '<aws.events.nope>' is neither in 'input-paths-map' nor a reserved one" },
    { "no name", "\"a <>\"", 3, "placeholder '<>' is neither in 'input-paths-map' nor a reserved one" },
    { "a space in it", "\"< s >\"", 1, "placeholder '< s >' is neither in 'input-paths-map' nor a reserved one" },
};

TEST(an_undefined_placeholder_is_refused_with_its_place)
{
    for (size_t i = 0; i < sizeof undefined / sizeof undefined[0]; i++) {
        struct template *template = NULL;
        struct sluice_error error = { 0 };
        size_t offset = 999;
        test_label(undefined[i].label);
        EXPECT_EQ(SLUICE_EINVAL, compile(view_of(undefined[i].template), &template, &offset, &error));
        EXPECT_EQ(undefined[i].offset, offset);
        EXPECT_TEXT(undefined[i].error, error.text);
        EXPECT(template == NULL);
    }
}

TEST(a_template_has_8192_characters_whatever_their_bytes)
{
    struct bytes text = { 0 };
    struct template *template = NULL;
    struct sluice_error error = { 0 };
    size_t offset;

    bytes_put_char(&text, '"');
    for (unsigned i = 0; i < TEMPLATE_CHARACTERS_MAX - 2; i++)
        bytes_put_text(&text, "\xC3\xA9");
    bytes_put_char(&text, '"');
    EXPECT_EQ(SLUICE_OK, compile(bytes_view(&text), &template, &offset, &error));
    template_free(template);
    bytes_put_char(&text, ' ');
    EXPECT_EQ(SLUICE_EINVAL, compile(bytes_view(&text), &template, &offset, &error));
    EXPECT_TEXT("the template has 8193 characters; 1 to 8192 are taken", error.text);
    EXPECT_EQ(SLUICE_EINVAL, compile(VIEW_LITERAL(""), &template, &offset, NULL));
    bytes_done(&text);
}

TEST(an_input_over_the_limit_is_refused_before_it_is_made)
{
    struct bytes text = { 0 }, out = { 0 }, large = { 0 };
    struct event event = event_given;
    struct template *template = NULL;
    struct sluice_error error = { 0 };
    size_t offset;

    bytes_put_text(&large, "{\"s\":\"");
    for (unsigned i = 0; i < 1000000; i++)
        bytes_put_char(&large, 'x');
    bytes_put_text(&large, "\"}");
    event.detail = bytes_view(&large);
    bytes_put_char(&text, '"');
    for (unsigned i = 0; i < 2000; i++)
        bytes_put_text(&text, "<s>");
    bytes_put_char(&text, '"');
    EXPECT_EQ(SLUICE_OK, compile(bytes_view(&text), &template, &offset, NULL));
    EXPECT_EQ(SLUICE_EINVAL, render(template, &event, &out, &error));
    EXPECT_TEXT("the template makes more than 4194304 bytes of this event", error.text);
    EXPECT_EQ(0, out.len);
    bytes_done(&text);
    bytes_done(&out);
    bytes_done(&large);
    template_free(template);
}

TEST(names_are_of_plain_characters_and_bounded)
{
    char name[TEMPLATE_NAME_BYTES_MAX + 1];
    static const struct { const char *name; bool fine; } names[] = {
        { "a", true }, { "A-z_09", true }, { "", false }, { "a.b", false }, { "AWS.x", false }, { "a b", false }, { "caf\xC3\xA9", false },
    };

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        test_label(names[i].name);
        EXPECT_EQ(names[i].fine ? SLUICE_OK : SLUICE_EINVAL, template_name_check(view_of(names[i].name), NULL));
    }
    memset(name, 'a', sizeof name);
    EXPECT_EQ(SLUICE_OK, template_name_check((struct view){ .data = name, .len = TEMPLATE_NAME_BYTES_MAX }, NULL));
    EXPECT_EQ(SLUICE_EINVAL, template_name_check((struct view){ .data = name, .len = TEMPLATE_NAME_BYTES_MAX + 1 }, NULL));
}

TEST(what_is_no_encoded_template_is_corrupt)
{
    static const char *const damaged[] = { "", "x", "[]", "{}", "{\"template\":1,\"paths\":{}}", "{\"template\":\"[]\"}",
                                           "{\"template\":\"[]\",\"paths\":[]}", "{\"template\":\"[]\",\"paths\":{}" };
    for (size_t i = 0; i < sizeof damaged / sizeof damaged[0]; i++) {
        struct template *template = NULL;
        size_t offset;
        test_label(damaged[i]);
        EXPECT_EQ(SLUICE_ECORRUPT, template_new(view_of(damaged[i]), &template, &offset, NULL));
        EXPECT(template == NULL);
    }
}
