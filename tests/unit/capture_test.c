#include "broker/edge/capture.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/base/assert.h"
#include "tests/test.h"

enum { HEAD = sizeof "2026-11-21T23:14:00.123Z 7 " - 1 };

static struct captures *captures;
static struct bytes text;

static void given_captures(void)
{
    char path[4096];

    (void)snprintf(path, sizeof path, "%s/logs", test_directory());
    ASSERT(captures_new(path, &captures, NULL) == SLUICE_OK);
}

static void done(void)
{
    char path[4096];

    for (const char *const *name = (const char *const[]){ "one.log", "two.log", "", NULL }; *name != NULL; name++) {
        (void)snprintf(path, sizeof path, "%s/logs/%s", test_directory(), *name);
        EXPECT(remove(path) == 0 || errno == ENOENT); /* not every test has both */
    }
    captures_free(captures);
    bytes_done(&text);
}

/* The lines of the function's log file without their heads, each with its line break; "": there is none. */
static struct view written(const char *function)
{
    struct bytes file = { 0 };

    bytes_clear(&text);
    (void)captures_tail(captures, function, 1 << 20, &file);
    for (size_t at = 0; at < file.len;) {
        size_t len = (size_t)((char *)memchr(file.data + at, '\n', file.len - at) - file.data) + 1 - at;
        ASSERT(len > HEAD);
        EXPECT(memcmp(file.data + at + HEAD - 4, "Z 7 ", 4) == 0);
        bytes_put(&text, file.data + at + HEAD, len - HEAD);
        at += len;
    }
    bytes_done(&file);
    return (struct view){ .data = text.len > 0 ? text.data : "", .len = text.len };
}

TEST(lines_wait_for_the_flush_and_keep_their_order)
{
    struct captured stream = { 0 };

    given_captures();
    struct capture *one = capture_open(captures, "one"), *two = capture_open(captures, "two");
    capture_line(one, 7, VIEW_LITERAL("START"));
    capture_feed(one, &stream, 7, VIEW_LITERAL("first\nsec"));
    capture_note(one, 7, "a note of %d", 1);
    capture_feed(one, &stream, 7, VIEW_LITERAL("ond\n"));
    EXPECT_VIEW("", written("one"));
    captures_flush(captures);
    EXPECT_VIEW("START\nfirst\na note of 1\nsecond\n", written("one"));
    capture_lines(two, 7, VIEW_LITERAL("END\nREPORT\n"));
    EXPECT_VIEW("", written("two"));
    captures_flush(captures);
    captures_flush(captures); /* nothing is written twice */
    EXPECT_VIEW("END\nREPORT\n", written("two"));
    capture_close(one);
    capture_close(two);
    captured_done(&stream);
    done();
}

TEST(what_waits_is_written_when_others_talk_and_at_the_end)
{
    given_captures();
    struct capture *one = capture_open(captures, "one"), *two = capture_open(captures, "two");
    capture_line(one, 7, VIEW_LITERAL("of one"));
    capture_line(two, 7, VIEW_LITERAL("of two"));
    EXPECT_VIEW("of one\n", written("one"));
    EXPECT_VIEW("", written("two"));
    capture_close(two);
    EXPECT_VIEW("of two\n", written("two"));
    capture_close(one);
    done();
}

static unsigned heard;

static void on_line(void *ctx, uint64_t instance, struct view line)
{
    EXPECT_EQ(7, instance);
    EXPECT_VIEW(ctx, line);
    heard++;
}

TEST(whole_lines_of_streams_that_are_told_are_heard)
{
    struct captured told = { .told = true }, other = { 0 };

    given_captures();
    struct capture *one = capture_open(captures, "one"), *two = capture_open(captures, "two");
    captures_listen(captures, on_line, (char[]){ "whole" });
    capture_feed(one, &told, 7, VIEW_LITERAL("who"));
    capture_feed(two, &other, 7, VIEW_LITERAL("not heard\n"));
    EXPECT_EQ(0, heard);
    capture_feed(one, &told, 7, VIEW_LITERAL("le\n"));
    EXPECT_EQ(1, heard);
    capture_close(one);
    capture_close(two);
    captured_done(&told);
    captured_done(&other);
    done();
}

TEST(the_end_of_a_log_is_whole_lines_or_the_end_of_the_last_one)
{
    static const char older[] = "older\n", last[] = "the last \xc3\xa4\n";
    enum { OLDER = HEAD + sizeof older - 1, LAST = HEAD + sizeof last - 1 };
    static const struct { const char *label; size_t bytes_max, len; } cases[] = {
        { "more than there is",                   OLDER + LAST + 1, OLDER + LAST },
        { "all there is",                         OLDER + LAST,     OLDER + LAST },
        { "a line that is cut is left out",       OLDER + LAST - 1, LAST },
        { "a byte of the line before",            LAST + 1,         LAST },
        { "just the last line",                   LAST,             LAST },
        { "less than the last line: its end",     LAST - 1,         LAST - 1 },
        { "from the beginning of a character",    3,                3 },
        { "a character that is cut is left out",  2,                1 },
        { "the last byte",                        1,                1 },
    };

    given_captures();
    struct capture *one = capture_open(captures, "one");
    capture_line(one, 7, (struct view){ older, sizeof older - 2 });
    capture_line(one, 7, (struct view){ last, sizeof last - 2 });
    captures_flush(captures);
    struct bytes all = { 0 };
    EXPECT_EQ(SLUICE_OK, captures_tail(captures, "one", 1 << 20, &all));
    EXPECT_EQ(OLDER + LAST, all.len);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bytes end = { 0 };
        test_label(cases[i].label);
        bytes_put_text(&end, "before");
        EXPECT_EQ(SLUICE_OK, captures_tail(captures, "one", cases[i].bytes_max, &end));
        EXPECT_VIEW("before", ((struct view){ end.data, 6 }));
        EXPECT_EQ(cases[i].len, end.len - 6);
        EXPECT(end.len - 6 <= all.len && memcmp(end.data + 6, all.data + all.len - (end.len - 6), end.len - 6) == 0);
        bytes_done(&end);
    }
    test_label(NULL);
    bytes_done(&all);
    capture_close(one);
    done();
}
