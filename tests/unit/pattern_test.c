/* What is refused, in which words and where it says the mistake is. */
#include "broker/core/match.h"
#include "schemas/codec/bytes.h"
#include "tests/test.h"

static const struct { const char *pattern, *reason; size_t offset; } refused[] = {
    { "{}", "Empty objects are not allowed at the top (1:1)", 0 },
    { "[1]", "Filter is not an object at the top (1:1)", 0 },
    { "{\"a\":{}}", "Empty objects are not allowed at a (1:6)", 5 },
    { "{\"detail\":\n  {\"size\":[]}}", "Empty arrays are not allowed at detail.size (2:11)", 21 },
    { "{\"a\":\"x\"}", "\"a\" must be an object or an array at a (1:6)", 5 },
    { "{\"a\":[\"x\",[1]]}", "Match value must be String, number, true, false, or null at a[1] (1:11)", 10 },
    { "{\"a\":[{\"foo\":1}]}", "Unrecognized match type foo at a[0] (1:8)", 7 },
    { "{\"a\":[{\"prefix\":\"x\",\"suffix\":\"y\"}]}", "Only one key allowed in match expression at a[0] (1:20)", 19 },
    { "{\"a\":[{}]}", "Empty objects are not allowed at a[0] (1:8)", 7 },
    { "{\"a\":[{\"prefix\":1}]}", "prefix match pattern must be a string at a[0] (1:17)", 16 },
    { "{\"a\":[{\"wildcard\":\"x**\"}]}", "Consecutive wildcard characters at pos 1 at a[0] (1:19)", 18 },
    { "{\"a\":[{\"wildcard\":\"x\\\\y\"}]}", "Invalid escape character at pos 1 at a[0] (1:19)", 18 },
    { "{\"a\":[{\"numeric\":[\"<\",1,\">\",0]}]}", "Too many elements in numeric expression at a[0] (1:25)", 24 },
    { "{\"a\":[{\"numeric\":[\">\",5,\"<\",5]}]}", "Bottom must be less than top at a[0] (1:18)", 17 },
    { "{\"a\":[{\"numeric\":[\"!=\",5]}]}", "Unrecognized numeric range operator: != at a[0] (1:19)", 18 },
    { "{\"a\":[{\"numeric\":[\">\",1e400]}]}",
      "1e400 is beyond what a double holds exactly (about 15 digits, 1e-308..1e308) at a[0] (1:23)", 22 },
    { "{\"a\":[{\"anything-but\":{\"prefix\":\"\"}}]}", "Null prefix/suffix not allowed at a[0] (1:33)", 32 },
    { "{\"a\":[{\"anything-but\":{\"numeric\":[\"=\",1]}}]}", "Unsupported anything-but pattern: numeric at a[0] (1:24)", 23 },
    { "{\"a\":[{\"anything-but\":[]}]}", "Empty arrays are not allowed at a[0] (1:24)", 23 },
    { "{\"a\":[{\"cidr\":\"10.0.0.0/33\"}]}", "IPv4 mask bits must be <= 32: 10.0.0.0/33 at a[0] (1:15)", 14 },
    { "{\"a\":[{\"cidr\":\"10.0.0.1\"}]}", "Malformed CIDR, one '/' required: 10.0.0.1 at a[0] (1:15)", 14 },
    { "{\"a\":[{\"cidr\":\"x/8\"}]}", "Nonstandard IP address: x/8 at a[0] (1:15)", 14 },
    { "{\"a\":[{\"exists\":1}]}", "exists match pattern must be either true or false at a[0] (1:17)", 16 },
    { "{\"$or\":[]}", "There must be at least 2 objects in a $or at the top (1:2)", 1 },
    { "{\"$or\":[{\"a\":[1]}]}", "There must be at least 2 objects in a $or at the top (1:2)", 1 },
    { "{\"$or\":[\"x\"]}", "$or takes a list of objects at the top (1:9)", 8 },
    { "{\"d\":{\"$or\":[{\"a\":[1]},{\"prefix\":[1]}]}}",
      "A $or branch must not have a field named like an operator: prefix at d (1:25)", 24 },
    { "{\"\xC3\xA9\":[{\"foo\":1}]}", "Unrecognized match type foo at \xC3\xA9[0] (1:8)", 8 },
    { "{\"a\\nb\":{}}", "Empty objects are not allowed at a b (1:9)", 8 },
};

TEST(a_refused_pattern_names_the_reason_and_the_place)
{
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        struct sluice_error error = { 0 };
        char expected[SLUICE_ERROR_TEXT_MAX];
        size_t offset = 999;
        (void)snprintf(expected, sizeof expected, "Event pattern is not valid. Reason: %s", refused[i].reason);
        test_label(refused[i].pattern);
        EXPECT_EQ(SLUICE_EINVAL, pattern_check(view_of(refused[i].pattern), &offset, &error));
        EXPECT_TEXT(expected, error.text);
        EXPECT_EQ(refused[i].offset, offset);
    }
}

TEST(text_that_is_not_json_is_refused_with_its_place)
{
    struct sluice_error error = { 0 };
    EXPECT_EQ(SLUICE_EINVAL, pattern_check(VIEW_LITERAL("{\"a\":\n[tru]}"), NULL, &error));
    EXPECT(strstr(error.text, "Event pattern is not valid. Reason: ") == error.text);
    EXPECT(strstr(error.text, "2") != NULL);
}

TEST(the_set_names_the_rule_that_is_wrong)
{
    struct match_rule rules[] = { { VIEW_LITERAL("{\"a\":[1]}"), 1 }, { VIEW_LITERAL("{\"a\":[]}"), 2 } };
    struct match_set *set = NULL;
    size_t rule = 99;
    EXPECT_EQ(SLUICE_EINVAL, match_set_new(rules, 2, &set, &rule, NULL));
    EXPECT_EQ(1, rule);
    EXPECT(set == NULL);
}

static enum sluice_err check(struct bytes *pattern)
{
    enum sluice_err err = pattern_check(bytes_view(pattern), NULL, NULL);
    bytes_done(pattern);
    return err;
}

static struct bytes nested(int depth)
{
    struct bytes pattern = { 0 };
    for (int i = 0; i < depth; i++)
        bytes_put_text(&pattern, "{\"a\":");
    bytes_put_text(&pattern, "[1]");
    for (int i = 0; i < depth; i++)
        bytes_put_char(&pattern, '}');
    return pattern;
}

TEST(nesting_has_its_limit)
{
    struct bytes at = nested(PATTERN_DEPTH_MAX), over = nested(PATTERN_DEPTH_MAX + 1);
    EXPECT_EQ(SLUICE_OK, check(&at));
    EXPECT_EQ(SLUICE_EINVAL, check(&over));
}

static struct bytes wide(int fields)
{
    struct bytes pattern = { 0 };
    for (int i = 0; i < fields; i++)
        bytes_put_format(&pattern, "%s\"f%d\":[1]", i == 0 ? "{" : ",", i);
    bytes_put_text(&pattern, "}");
    return pattern;
}

TEST(fields_have_their_limit)
{
    struct bytes at = wide(PATTERN_FIELDS_MAX), over = wide(PATTERN_FIELDS_MAX + 1);
    EXPECT_EQ(SLUICE_OK, check(&at));
    EXPECT_EQ(SLUICE_EINVAL, check(&over));
}

/* Three factors of 10 make 1,000 combinations; one branch more in the last makes 1,100. */
static struct bytes product(int last)
{
    struct bytes pattern = { 0 };
    for (int factor = 0; factor < 3; factor++) {
        bytes_put_format(&pattern, "%s\"d%d\":{\"$or\":[", factor == 0 ? "{" : ",", factor);
        for (int i = 0; i < (factor == 2 ? last : 10); i++)
            bytes_put_format(&pattern, "%s{\"f%d\":[1]}", i == 0 ? "" : ",", i);
        bytes_put_text(&pattern, "]}");
    }
    bytes_put_text(&pattern, "}");
    return pattern;
}

TEST(or_combinations_have_their_limit)
{
    struct bytes at = product(10), over = product(11);
    EXPECT_EQ(SLUICE_OK, check(&at));
    EXPECT_EQ(SLUICE_EINVAL, check(&over));
}

TEST(a_field_given_again_and_again_after_a_wide_or_ends_at_the_limit)
{
    struct bytes pattern = { 0 };
    bytes_put_text(&pattern, "{\"$or\":[{\"x\":[1]}");
    for (int i = 0; i < 999; i++)
        bytes_put_text(&pattern, ",{\"x\":[1]}");
    bytes_put_text(&pattern, "]");
    for (int i = 0; i < 300; i++)
        bytes_put_text(&pattern, ",\"a\":[1]");
    bytes_put_text(&pattern, "}");
    EXPECT_EQ(SLUICE_EINVAL, check(&pattern));
}

TEST(text_has_its_limit)
{
    struct bytes pattern = { 0 };
    bytes_put_text(&pattern, "{\"a\":[1]}");
    while (pattern.len <= PATTERN_BYTES_MAX)
        bytes_put_char(&pattern, ' ');
    EXPECT_EQ(SLUICE_EINVAL, check(&pattern));
}
