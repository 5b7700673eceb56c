#include "broker/edge/capture.h"

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
        EXPECT_EQ(0, remove(path));
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
