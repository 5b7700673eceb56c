#include <sys/wait.h>

#include "producers/sources/files/names.h"
#include "producers/sources/files/object.h"
#include "tests/sources/files_bench.h"

static enum object_result read_it(const struct place *place, const char *name, enum object_seen seen, struct object *object)
{
    struct sluice_error error = { 0 };
    return object_read(place_path(place, name), seen, INT64_MAX, object, &error);
}

TEST(etag_is_the_md5_of_the_content)
{
    static const struct {
        const char *label, *content, *etag;
    } cases[] = {
        { "empty", "", "d41d8cd98f00b204e9800998ecf8427e" },
        { "short", "hello\n", "b1946ac92492d2347c6235b4d2611184" },
    };
    struct place place = place_new();
    struct object object;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        test_label(cases[i].label);
        place_write(&place, "file", cases[i].content);
        EXPECT_EQ(OBJECT_COMPLETE, read_it(&place, "file", OBJECT_SEEN_CLOSED, &object));
        EXPECT_TEXT(cases[i].etag, object.etag);
        EXPECT_EQ(strlen(cases[i].content), object.identity.size);
    }
}

TEST(a_file_larger_than_the_buffer_is_hashed_whole)
{
    struct place place = place_new();
    struct object object;
    FILE *file = fopen(place_path(&place, "large"), "w");

    for (int i = 0; i < 1000000; i++)
        (void)fputc('a', file);
    EXPECT(fclose(file) == 0);
    EXPECT_EQ(OBJECT_COMPLETE, read_it(&place, "large", OBJECT_SEEN_CLOSED, &object));
    EXPECT_TEXT("7707d6ae4e027c70eea2a935c2296f21", object.etag);
}

TEST(a_file_open_for_writing_is_not_complete_however_it_was_seen)
{
    struct place place = place_new();
    struct object object;

    place_write(&place, "file", "first");
    int fd = open(place_path(&place, "file"), O_WRONLY | O_APPEND | O_CLOEXEC);
    EXPECT_EQ(OBJECT_OPEN, read_it(&place, "file", OBJECT_SEEN_LYING, &object));
    EXPECT_EQ(OBJECT_OPEN, read_it(&place, "file", OBJECT_SEEN_CLOSED, &object));
    EXPECT(write(fd, "!", 1) == 1 && close(fd) == 0);
    EXPECT_EQ(OBJECT_COMPLETE, read_it(&place, "file", OBJECT_SEEN_LYING, &object));
    EXPECT_EQ(6, object.identity.size);
}

/* As somebody who is neither the owner nor root, and so learns nothing from the kernel about writers. Exits with the result. */
static enum object_result read_as_nobody(const struct place *place, const char *name, enum object_seen seen, int64_t age_ms)
{
    struct file_identity identity;
    struct object object;
    struct sluice_error error;
    int status = -1;

    EXPECT_EQ(OBJECT_COMPLETE, object_identify(place_path(place, name), &identity, &error));
    pid_t child = fork();
    if (child == 0)
        _exit(setresuid(65534, 65534, 65534) != 0
                  ? 99
                  : (int)object_read(place_path(place, name), seen, identity.mtime_ns / 1000000 + age_ms, &object, &error));
    EXPECT(child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status));
    return (enum object_result)WEXITSTATUS(status);
}

TEST(where_the_kernel_does_not_say_a_close_counts_or_two_quiet_seconds)
{
    struct place place;

    if (geteuid() != 0) {
        test_skip("only root can become somebody else");
        return;
    }
    place = place_new();
    EXPECT(chmod(test_directory(), 0755) == 0 && chmod(place.root, 0755) == 0 && chmod(place.watched, 0755) == 0);
    place_write(&place, "file", "x");
    EXPECT_EQ(OBJECT_COMPLETE, read_as_nobody(&place, "file", OBJECT_SEEN_CLOSED, 0));
    EXPECT_EQ(OBJECT_UNSETTLED, read_as_nobody(&place, "file", OBJECT_SEEN_LYING, OBJECT_QUIET_MS - 1));
    EXPECT_EQ(OBJECT_COMPLETE, read_as_nobody(&place, "file", OBJECT_SEEN_LYING, OBJECT_QUIET_MS));
    EXPECT(chmod(place_path(&place, "file"), 0600) == 0);
    EXPECT_EQ(OBJECT_UNREADABLE, read_as_nobody(&place, "file", OBJECT_SEEN_CLOSED, 0));
}

TEST(what_is_no_regular_file_is_left_alone)
{
    struct place place = place_new();
    struct object object;
    struct file_identity identity;
    struct sluice_error error;

    place_mkdir(&place, "folder");
    place_write(&place, "file", "x");
    EXPECT(symlink("file", place_path(&place, "link")) == 0);
    EXPECT(mkfifo(place_path(&place, "pipe"), 0600) == 0);
    EXPECT_EQ(OBJECT_OTHER, object_identify(place_path(&place, "folder"), &identity, &error));
    EXPECT_EQ(OBJECT_OTHER, object_identify(place_path(&place, "link"), &identity, &error));
    EXPECT_EQ(OBJECT_OTHER, read_it(&place, "folder", OBJECT_SEEN_LYING, &object));
    EXPECT_EQ(OBJECT_OTHER, read_it(&place, "link", OBJECT_SEEN_LYING, &object));
    EXPECT_EQ(OBJECT_OTHER, read_it(&place, "pipe", OBJECT_SEEN_LYING, &object));
    EXPECT_EQ(OBJECT_GONE, read_it(&place, "never", OBJECT_SEEN_LYING, &object));
    EXPECT_EQ(OBJECT_GONE, read_it(&place, "file/below", OBJECT_SEEN_LYING, &object));
}

TEST(identity_changes_with_inode_size_and_time)
{
    const struct file_identity base = { .inode = 1, .size = 2, .mtime_ns = 3 };
    EXPECT(file_identity_equals(base, base));
    EXPECT(!file_identity_equals(base, (struct file_identity){ 9, 2, 3 }));
    EXPECT(!file_identity_equals(base, (struct file_identity){ 1, 9, 3 }));
    EXPECT(!file_identity_equals(base, (struct file_identity){ 1, 2, 9 }));
}

TEST(the_detail_has_the_shape_of_an_s3_event)
{
    struct object object = { .identity = { .size = 6 }, .etag = "b1946ac92492d2347c6235b4d2611184" };
    struct bytes out = { 0 };

    object_put_detail(&out, &(struct object_event){ .bucket = "pictures",
                                                    .key = "a \"b\"/ü.jpg",
                                                    .object = &object,
                                                    .sequencer = 0x18a2b3,
                                                    .request_id = 0xC3D13FE58DE4C810 });
    EXPECT_VIEW("{\"version\":\"0\",\"bucket\":{\"name\":\"pictures\"},\"object\":{\"key\":\"a \\\"b\\\"/ü.jpg\",\"size\":6,"
                "\"etag\":\"b1946ac92492d2347c6235b4d2611184\",\"sequencer\":\"000000000018A2B3\"},"
                "\"request-id\":\"C3D13FE58DE4C810\",\"requester\":\"000000000000\",\"source-ip-address\":\"127.0.0.1\","
                "\"reason\":\"PutObject\"}",
                bytes_view(&out));
    bytes_done(&out);
}

TEST(unfinished_names_are_ignored)
{
    static const char *const more[] = { "*.log", "tmp?", NULL };
    static const struct {
        const char *name;
        bool without, with;
    } cases[] = {
        { "a.jpg", false, false }, { ".hidden", true, true }, { "a.txt~", true, true },      { "a.swp", true, true },
        { "a.part", true, true },  { "a.tmp", true, true },   { "partial", false, false },   { "a.log", false, true },
        { "tmp1", false, true },   { "tmp", false, false },   { "a.tmp.jpg", false, false },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        test_label(cases[i].name);
        EXPECT_EQ(cases[i].without, name_ignored(cases[i].name, NULL));
        EXPECT_EQ(cases[i].with, name_ignored(cases[i].name, more));
    }
}
