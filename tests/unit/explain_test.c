#include "broker/core/explain.h"

#include "tests/test.h"

static const struct { const char *pattern, *event, *text; } cases[] = {
    { "{\"a\":[1]}", "{\"a\":1}", "every field of the pattern holds" },
    { "{\"a\":[\"x\"]}", "{}", "a is absent, and the pattern wants \"x\"" },
    { "{\"a\":[\"x\",\"y\",\"z\"]}", "{\"a\":\"w\"}", "a is \"w\", and the pattern wants \"x\", \"y\" or \"z\"" },
    { "{\"a\":[\"1\",\"2\",\"3\",\"4\",\"5\",\"6\"]}", "{\"a\":\"w\"}", "a is \"w\", and the pattern wants \"1\", \"2\", \"3\", \"4\" or 2 others" },
    { "{\"d\":{\"n\":[300]}}", "{\"d\":{\"n\":\"300\"}}", "d.n is the string \"300\", and the pattern wants 300" },
    { "{\"n\":[\"300\"]}", "{\"n\":300}", "n is the number 300, and the pattern wants \"300\"" },
    { "{\"n\":[{\"numeric\":[\">\",10,\"<=\",20.5]}]}", "{\"n\":7}", "n is 7, and the pattern wants a number > 10 and <= 20.5" },
    { "{\"n\":[{\"numeric\":[\"<\",0.1]}]}", "{\"n\":true}", "n is true, and the pattern wants a number < 0.1" },
    { "{\"a\":[{\"prefix\":\"x\"}]}", "{\"a\":[\"b\",1,null,2]}",
      "a has 4 values (\"b\", 1, null, ...), and the pattern wants a string that begins with \"x\"" },
    { "{\"a\":[{\"suffix\":{\"equals-ignore-case\":\".JPG\"}}]}", "{\"a\":\"b.png\"}",
      "a is \"b.png\", and the pattern wants a string that ends with \".JPG\" in any case" },
    { "{\"a\":[{\"wildcard\":\"a*b\\\\*\"}]}", "{\"a\":\"ab\"}", "a is \"ab\", and the pattern wants a string like \"a*b\\\\*\"" },
    { "{\"a\":[{\"cidr\":\"10.0.0.0/8\"}]}", "{\"a\":\"11.0.0.1\"}", "a is \"11.0.0.1\", and the pattern wants an address in 10.0.0.0/8" },
    { "{\"a\":[{\"exists\":false}]}", "{\"a\":5}", "a is 5, and the pattern wants no value" },
    { "{\"a\":[{\"anything-but\":[\"x\",\"y\"]}]}", "{\"a\":\"x\"}", "a is \"x\", and the pattern wants anything but \"x\" or \"y\"" },
    { "{\"a\":[{\"anything-but\":{\"prefix\":\"x\"}}]}", "{\"a\":\"xy\"}",
      "a is \"xy\", and the pattern wants anything but a string that begins with \"x\"" },
    { "{\"b\":[1],\"a\":[2]}", "{\"a\":0,\"b\":0}", "a is 0, and the pattern wants 2" },
    { "{\"l\":{\"a\":[1],\"b\":[2]}}", "{\"l\":[{\"a\":1},{\"b\":2}]}", "no item of one array has all of l.a, l.b as the pattern wants them" },
    { "{\"d\":{\"x\":[1],\"y\":[\"k\"],\"l\":{\"a\":[1],\"b\":[2]}}}", "{\"d\":{\"x\":1,\"y\":\"k\",\"l\":[{\"a\":1},{\"b\":2}]}}",
      "no item of one array has all of d.l.a, d.l.b as the pattern wants them" },
    { "{\"l\":{\"a\":[1],\"m\":{\"b\":[2],\"c\":[3]}}}", "{\"l\":[{\"a\":1,\"m\":[{\"b\":2},{\"c\":3}]}]}",
      "no item of one array has all of l.a, l.m.b, l.m.c as the pattern wants them" },
    { "{\"l\":{\"a\":[1],\"b\":[2]},\"m\":{\"a\":[1],\"b\":[2]}}", "{\"l\":[{\"a\":1},{\"b\":2}],\"m\":[{\"a\":1,\"b\":2}]}",
      "no item of one array has all of l.a, l.b, or none of another all of m.a, m.b as the pattern wants them" },
    { "{\"$or\":[{\"a\":[1]},{\"b\":[2],\"c\":[3]}]}", "{\"b\":2,\"c\":4}",
      "c is 4, and the pattern wants 3 (of 2 $or combinations this one came closest)" },
    { "{\"a\\nb\\ud800\":[\"\\ud800\"]}", "{}", "a b\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD is absent, and the pattern wants \"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\"" },
};

TEST(the_first_field_that_failed_is_named_with_what_is_there_and_what_is_wanted)
{
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct explanation explanation = { .matches = false };
        struct sluice_error error = { 0 };
        test_label(cases[i].pattern);
        EXPECT_EQ(SLUICE_OK, explain_json(view_of(cases[i].pattern), view_of(cases[i].event), &explanation, &error));
        EXPECT_TEXT(cases[i].text, explanation.text);
        EXPECT_EQ(i == 0, explanation.matches);
    }
}

TEST(a_long_name_leaves_room_for_what_is_there)
{
    struct bytes pattern = { 0 };
    struct explanation explanation;

    bytes_put_text(&pattern, "{\"");
    for (int i = 0; i < 300; i++)
        bytes_put_text(&pattern, "\xC3\xA9");
    bytes_put_text(&pattern, "\":[1]}");
    EXPECT_EQ(SLUICE_OK, explain_json(bytes_view(&pattern), VIEW_LITERAL("{}"), &explanation, NULL));
    EXPECT(strstr(explanation.text, "\xC3\xA9... is absent, and the pattern wants 1") != NULL);
    bytes_done(&pattern);
}

TEST(an_event_of_a_bus_is_explained_too)
{
    struct event event = { .source = VIEW_LITERAL("shop"), .detail_type = VIEW_LITERAL("Order"), .id = VIEW_LITERAL("7"),
                           .detail = VIEW_LITERAL("\x81\xA1n\x07"), .detail_format = DETAIL_MPACK };
    struct explanation explanation;
    EXPECT_EQ(SLUICE_OK, explain_event(VIEW_LITERAL("{\"detail\":{\"n\":[8]},\"source\":[\"shop\"]}"), &event, &explanation, NULL));
    EXPECT_TEXT("detail.n is 7, and the pattern wants 8", explanation.text);
    EXPECT_EQ(SLUICE_OK, explain_event(VIEW_LITERAL("{\"source\":[\"bank\"]}"), &event, &explanation, NULL));
    EXPECT_TEXT("source is \"shop\", and the pattern wants \"bank\"", explanation.text);
}

TEST(a_wrong_pattern_or_event_is_refused)
{
    struct explanation explanation;
    EXPECT_EQ(SLUICE_EINVAL, explain_json(VIEW_LITERAL("{}"), VIEW_LITERAL("{}"), &explanation, NULL));
    EXPECT_EQ(SLUICE_EINVAL, explain_json(VIEW_LITERAL("{\"a\":[1]}"), VIEW_LITERAL("[1]"), &explanation, NULL));
}

TEST(what_would_take_too_long_to_explain_is_refused)
{
    struct bytes pattern = { 0 }, event = { 0 };
    struct explanation explanation;
    struct sluice_error error;

    for (unsigned i = 0; i < 5000; i++) {
        bytes_put_format(&pattern, "%s\"p%u\"", i == 0 ? "{\"a\":[" : ",", i);
        bytes_put_format(&event, "%s\"e%u\"", i == 0 ? "{\"a\":[" : ",", i);
    }
    bytes_put_text(&pattern, "]}");
    bytes_put_text(&event, "]}");
    EXPECT_EQ(SLUICE_ELIMIT, explain_json(bytes_view(&pattern), bytes_view(&event), &explanation, &error));
    EXPECT(strstr(error.text, "it does not match, and to say why") != NULL);
    bytes_done(&pattern);
    bytes_done(&event);
}
