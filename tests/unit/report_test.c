#include "broker/edge/platform_record.h"

#include "broker/daemon/request_id.h"
#include "tests/test.h"

#include <stdio.h>

#define ID "8d7a9e6a-2b7e-42cc-a646-06afd518441e"
#define MIB INT64_C(1048576)
#define TOOK(us) .duration_us = (us), .billed_us = (us)

static const struct { const char *label; struct report report; const char *text; } lines[] = {
    { "a warm one", { .request_id = ID, TOOK(2900), .init_us = -1, .memory_limit_bytes = 128 * MIB, .memory_used_bytes = 36 * MIB },
      "REPORT RequestId: " ID "\tDuration: 2.90 ms\tBilled Duration: 3 ms\tMemory Size: 128 MB\tMax Memory Used: 36 MB\t" },
    { "a cold start is billed with its init",
      { .request_id = ID, TOOK(2900), .init_us = 120110, .memory_limit_bytes = 128 * MIB, .memory_used_bytes = 36 * MIB },
      "REPORT RequestId: " ID "\tDuration: 2.90 ms\tBilled Duration: 124 ms\tMemory Size: 128 MB\tMax Memory Used: 36 MB\t"
      "Init Duration: 120.11 ms\t" },
    { "what others are billed for is not billed again", { .request_id = ID, .duration_us = 2900, .billed_us = 950, .init_us = -1, .memory_limit_bytes = MIB },
      "REPORT RequestId: " ID "\tDuration: 2.90 ms\tBilled Duration: 1 ms\tMemory Size: 1 MB\tMax Memory Used: 0 MB\t" },
    { "a whole millisecond is not two", { .request_id = ID, TOOK(1000), .init_us = -1, .memory_limit_bytes = MIB },
      "REPORT RequestId: " ID "\tDuration: 1.00 ms\tBilled Duration: 1 ms\tMemory Size: 1 MB\tMax Memory Used: 0 MB\t" },
    { "a microsecond more is", { .request_id = ID, TOOK(1001), .init_us = -1, .memory_limit_bytes = MIB },
      "REPORT RequestId: " ID "\tDuration: 1.00 ms\tBilled Duration: 2 ms\tMemory Size: 1 MB\tMax Memory Used: 0 MB\t" },
    { "nothing is billed as one", { .request_id = ID, .init_us = 0, .memory_limit_bytes = MIB },
      "REPORT RequestId: " ID "\tDuration: 0.00 ms\tBilled Duration: 1 ms\tMemory Size: 1 MB\tMax Memory Used: 0 MB\tInit Duration: 0.00 ms\t" },
    { "without a limit the size is what was used", { .request_id = ID, TOOK(5), .init_us = -1, .memory_used_bytes = 7 * MIB + 1 },
      "REPORT RequestId: " ID "\tDuration: 0.01 ms\tBilled Duration: 1 ms\tMemory Size: 8 MB\tMax Memory Used: 8 MB\t" },
    { "neither limit nor use known", { .request_id = ID, TOOK(5), .init_us = -1 },
      "REPORT RequestId: " ID "\tDuration: 0.01 ms\tBilled Duration: 1 ms\tMemory Size: 1 MB\tMax Memory Used: 0 MB\t" },
    { "a timeout", { .request_id = ID, TOOK(3000000), .init_us = -1, .memory_limit_bytes = MIB, .status = REPORT_TIMEOUT },
      "REPORT RequestId: " ID "\tDuration: 3000.00 ms\tBilled Duration: 3000 ms\tMemory Size: 1 MB\tMax Memory Used: 0 MB\tStatus: timeout\t" },
    { "an error", { .request_id = ID, TOOK(1), .init_us = -1, .memory_limit_bytes = MIB, .status = REPORT_ERROR,
                    .error_type = { "Runtime.ExitError", 17 } },
      "REPORT RequestId: " ID "\tDuration: 0.00 ms\tBilled Duration: 1 ms\tMemory Size: 1 MB\tMax Memory Used: 0 MB\t"
      "Status: error\tError Type: Runtime.ExitError\t" },
    { "the largest", { .request_id = ID, TOOK(INT64_MAX / 4), .init_us = INT64_MAX / 4, .memory_limit_bytes = INT64_MAX,
                       .memory_used_bytes = INT64_MAX, .status = REPORT_TIMEOUT },
      "REPORT RequestId: " ID "\tDuration: 2305843009213693.95 ms\tBilled Duration: 4611686018427388 ms\tMemory Size: 8796093022208 MB\t"
      "Max Memory Used: 8796093022208 MB\tInit Duration: 2305843009213693.95 ms\tStatus: timeout\t" },
};

TEST(a_report_is_one_line_of_fields_each_ended_by_a_tab)
{
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        struct bytes text = { 0 };
        test_label(lines[i].label);
        report_put(&lines[i].report, &text);
        EXPECT_VIEW(lines[i].text, bytes_view(&text));
        bytes_done(&text);
    }
    test_label(NULL);
}

static const struct report sample = { .request_id = ID, TOOK(2900), .init_us = 120110, .memory_limit_bytes = 128 * MIB, .memory_used_bytes = 36 * MIB };
static const struct report failed = { .request_id = ID, TOOK(1), .init_us = -1, .memory_limit_bytes = MIB, .status = REPORT_ERROR,
                                      .error_type = { "ValueError", 10 } };
static const struct report timed_out = { .request_id = ID, TOOK(3000000), .init_us = -1, .memory_limit_bytes = MIB, .status = REPORT_TIMEOUT,
                                         .timeout_ms = 3000 };

TEST(a_report_is_also_a_record)
{
    struct bytes out = { 0 };

    platform_record_report(&out, &sample);
    EXPECT_VIEW("{\"requestId\":\"" ID "\",\"status\":\"success\",\"metrics\":{\"durationMs\":2.900,\"billedDurationMs\":124,\"memorySizeMB\":128,"
                "\"maxMemoryUsedMB\":36,\"initDurationMs\":120.110}}", bytes_view(&out));
    bytes_clear(&out);
    platform_record_report(&out, &failed);
    EXPECT_VIEW("{\"requestId\":\"" ID "\",\"status\":\"error\",\"metrics\":{\"durationMs\":0.001,\"billedDurationMs\":1,\"memorySizeMB\":1,"
                "\"maxMemoryUsedMB\":0},\"errorType\":\"Runtime.Unknown\"}", bytes_view(&out));
    bytes_done(&out);
}

TEST(an_init_is_a_record)
{
    static const struct report_init init = { .function = "f", .runtime = RUNTIME_NODEJS }, again = { .function = "f", .provisioned = true, .again = true };
    struct runtime_version version = runtime_version(RUNTIME_NODEJS), other = runtime_version(RUNTIME_PYTHON);
    struct bytes out = { 0 };
    char expected[400];

    EXPECT(strncmp(version.text, "nodejs:sluice.v", 15) == 0);
    EXPECT(strncmp(version.arn, "arn:aws:lambda:us-east-1::runtime:", 34) == 0);
    EXPECT_EQ(34 + 64, strlen(version.arn));
    EXPECT(strcmp(version.arn, other.arn) != 0);
    platform_record_init_start(&out, &init);
    (void)snprintf(expected, sizeof expected, "{\"initializationType\":\"on-demand\",\"phase\":\"init\",\"runtimeVersion\":\"%s\",\"runtimeVersionArn\":\"%s\","
                   "\"functionName\":\"f\",\"functionVersion\":\"$LATEST\"}", version.text, version.arn);
    EXPECT_VIEW(expected, bytes_view(&out));
    bytes_clear(&out);
    platform_record_init_report(&out, &again, "error", VIEW_LITERAL("Runtime.ExitError"), 1500);
    EXPECT_VIEW("{\"initializationType\":\"provisioned-concurrency\",\"phase\":\"invoke\",\"status\":\"error\",\"errorType\":\"Runtime.ExitError\","
                "\"metrics\":{\"durationMs\":1.500}}", bytes_view(&out));
    bytes_done(&out);
}

TEST(begin_and_end_are_lines_of_either_format)
{
    struct bytes out = { 0 };
    char start[100], end[100];

    report_put_begin(&out, LOG_FORMAT_TEXT, ID, 1500);
    report_put_end(&out, LOG_FORMAT_TEXT, ID, &failed);
    EXPECT_VIEW("START RequestId: " ID " Version: $LATEST\nEND RequestId: " ID "\nREPORT RequestId: " ID "\tDuration: 0.00 ms\tBilled Duration: 1 ms\t"
                "Memory Size: 1 MB\tMax Memory Used: 0 MB\tStatus: error\tError Type: Runtime.Unknown\t\n", bytes_view(&out));
    bytes_clear(&out);
    report_put_begin(&out, LOG_FORMAT_JSON, ID, 1500);
    report_put_end(&out, LOG_FORMAT_JSON, ID, &failed);
    bytes_put_char(&out, '\0');
    /* Each with its own time, of 24 characters. */
    EXPECT_EQ(2, sscanf(out.data, "{\"time\":\"%24[^\"]\",\"type\":\"platform.start\",\"record\":{\"requestId\":\"" ID "\",\"version\":\"$LATEST\"}}"
                                  " {\"time\":\"%24[^\"]\",\"type\":\"platform.report\",\"record\":{\"requestId\"", start, end));
    EXPECT_TEXT("1970-01-01T00:00:01.500Z", start);
    EXPECT(strstr(out.data, "\"$LATEST\"}}\n{") != NULL);
    EXPECT(strstr(out.data, "\"errorType\":\"Runtime.Unknown\"}}\n") != NULL);
    bytes_clear(&out);
    report_put_end(&out, LOG_FORMAT_TEXT, ID, &timed_out);
    bytes_put_char(&out, '\0');
    char id[40], seconds[8];
    EXPECT_EQ(3, sscanf(out.data, "%24s %36s Task timed out after %7s seconds\nEND RequestId: " ID "\nREPORT RequestId: ", start, id, seconds));
    EXPECT_EQ(24, strlen(start));
    EXPECT_TEXT(ID, id);
    EXPECT_TEXT("3.00", seconds);
    EXPECT(strstr(out.data, " seconds\nEND RequestId: " ID "\nREPORT RequestId: ") != NULL);
    EXPECT(strstr(out.data, "\tStatus: timeout\t\n") != NULL);
    bytes_clear(&out);
    report_put_end(&out, LOG_FORMAT_JSON, ID, &timed_out);
    EXPECT(strchr(out.data, '\n') == out.data + out.len - 1); /* a record says it all */
    bytes_clear(&out);
    report_put_end(&out, LOG_FORMAT_JSON, ID, NULL);
    EXPECT_EQ(0, out.len);
    report_put_end(&out, LOG_FORMAT_TEXT, ID, NULL);
    EXPECT_VIEW("END RequestId: " ID "\n", bytes_view(&out));
    bytes_done(&out);
}

#define SIXTY "AbcdefghijAbcdefghijAbcdefghijAbcdefghijAbcdefghijAbcdefghij"

static const struct { const char *type, *shown; } types[] = {
    { "Runtime.ExitError", "Runtime.ExitError" },
    { "Function.ResponseSizeTooLarge", "Function.ResponseSizeTooLarge" },
    { "ValueError", "Runtime.Unknown" },
    { "", "Runtime.Unknown" },
    { "Runtime.", "Runtime.Unknown" },
    { "Runtime.x", "Runtime.Unknown" },
    { "Runtime.Bad\tStatus: ok", "Runtime.Unknown" },
    { "Function.", "Function.Unknown" },
    { "Function.a\nREPORT", "Function.Unknown" },
    { "Function.A1", "Function.Unknown" },
    { "Runtime." SIXTY SIXTY, "Runtime." SIXTY SIXTY },
    { "Runtime." SIXTY SIXTY "A", "Runtime.Unknown" },
};

TEST(error_types_are_shown_as_lambda_shows_them_and_cannot_forge_fields)
{
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        test_label(types[i].type);
        EXPECT_VIEW(types[i].shown, report_error_type(view_of(types[i].type)));
    }
    test_label(NULL);
}

/* Fixed values: an attempt after an update of the daemon must be called as those before it. */
TEST(a_request_id_is_the_same_for_ever_and_another_for_each_delivery)
{
    static const struct { const char *event; struct delivery delivery; const char *id; } cases[] = {
        { "01a2011e-8cfc-75e6-9014-86c0bd2a519a", { 1, 0 }, "9f7eeec8-457c-469a-b15c-a158de53dd1b" },
        { "01a2011e-8cfc-75e6-9014-86c0bd2a519a", { 1, 1 }, "94e31ca1-2d49-4d62-a26d-d2f32197c712" },
        { "01a2011e-8cfc-75e6-9014-86c0bd2a519a", { 2, 0 }, "407c1053-2b81-412f-be44-fb01e6024ded" },
        { "", { 1, 0 }, "56593007-952e-4319-8116-ab9e148282a7" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct request_id id = request_id_of_delivery(view_of(cases[i].event), cases[i].delivery);
        uint8_t bytes[UUID_BYTES];
        test_label(cases[i].id);
        EXPECT_TEXT(cases[i].id, id.text);
        EXPECT(uuid_from_text(view_of(id.text), bytes));
        EXPECT_EQ(4, bytes[6] >> 4);
        EXPECT_EQ(2, bytes[8] >> 6);
    }
    test_label(NULL);
}
