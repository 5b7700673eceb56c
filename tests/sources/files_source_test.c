#include <sys/resource.h>

#include "tests/sources/files_bench.h"

enum { DEADLINE_MS = 20000 };

static bool stop_now;
static unsigned overflows, scans, agains;

static bool stopping(void *ctx)
{
    (void)ctx;
    return stop_now;
}

static void log_line(void *ctx, const char *line)
{
    (void)ctx;
    overflows += strncmp(line, "overflow", 8) == 0;
    scans += strncmp(line, "scanned", 7) == 0;
    agains += strncmp(line, "again", 5) == 0;
    EXPECT(strchr(line, '\n') == NULL);
}

/* What a test wants else; it puts back what was. */
static const char *const *include, *const *exclude;
static int64_t settle_ms;

static struct source *open_source(const struct place *place)
{
    static const char *const ignore[] = { "*.log", NULL };
    static struct source_options options;
    struct source *source = NULL;
    struct sluice_error error = { 0 };

    stop_now = false;
    options = (struct source_options){ .directory = place->watched,
                                       .bucket = "pictures",
                                       .state_path = place->state,
                                       .ignore = ignore,
                                       .include = include,
                                       .exclude = exclude,
                                       .settle_ms = settle_ms,
                                       .stopping = stopping,
                                       .log = log_line };
    EXPECT_EQ(SLUICE_OK, source_open(&options, &source, &error));
    EXPECT_TEXT("", error.text);
    return source;
}

static void start(struct source *source)
{
    struct sluice_error error = { 0 };
    EXPECT_EQ(SLUICE_OK, source_start(source, &error));
    EXPECT_TEXT("", error.text);
}

static struct source *given_started(const struct place *place)
{
    struct source *source = open_source(place);
    start(source);
    return source;
}

/* What was done to the tree before this call is in the kernel's queue by now: one step takes it all. */
static void step(struct source *source)
{
    struct sluice_error error = { 0 };
    EXPECT_EQ(SLUICE_OK, source_step(source, &error));
    EXPECT_TEXT("", error.text);
}

TEST(files_that_lie_there_at_the_start_are_published_once)
{
    struct place place = place_new();

    place_mkdir(&place, "sub");
    place_mkdir(&place, "sub/deep");
    place_write(&place, "a.jpg", "a");
    place_write(&place, "sub/b.jpg", "b");
    place_write(&place, "sub/deep/c.jpg", "c");
    place_write(&place, "sub/.hidden", "no");
    place_write(&place, "x.log", "no");
    source_close(given_started(&place));
    source_close(given_started(&place));
    EXPECT_EQ(3, daemon_events(&place));
    EXPECT_EQ(1, daemon_has_key(&place, "a.jpg"));
    EXPECT_EQ(1, daemon_has_key(&place, "sub/b.jpg"));
    EXPECT_EQ(1, daemon_has_key(&place, "sub/deep/c.jpg"));
}

TEST(a_file_is_published_when_it_is_closed_and_not_before)
{
    struct place place = place_new();
    struct source *source = given_started(&place);

    FILE *file = fopen(place_path(&place, "growing"), "w");
    EXPECT(fputs("half", file) >= 0 && fflush(file) == 0);
    step(source);
    EXPECT_EQ(0, daemon_events(&place));
    EXPECT(fputs(" and half", file) >= 0 && fclose(file) == 0);
    step(source);
    EXPECT_EQ(1, daemon_events(&place));
    EXPECT_EQ(1, daemon_has(&place, "\"size\":13,"));
    step(source);
    EXPECT_EQ(1, daemon_events(&place));
    source_close(source);
}

TEST(a_file_with_two_writers_waits_for_the_last)
{
    struct place place = place_new();
    struct source *source = given_started(&place);

    FILE *one = fopen(place_path(&place, "shared"), "w"), *two = fopen(place_path(&place, "shared"), "a");
    EXPECT(fputs("1", one) >= 0 && fclose(one) == 0);
    step(source);
    EXPECT_EQ(0, daemon_events(&place));
    EXPECT(fputs("2", two) >= 0 && fclose(two) == 0);
    step(source);
    EXPECT_EQ(1, daemon_has(&place, "\"size\":2,"));
    EXPECT_EQ(1, daemon_events(&place));
    source_close(source);
}

TEST(a_new_version_is_a_new_event_and_a_touch_of_nothing_is_none)
{
    struct place place = place_new();
    struct source *source = given_started(&place);

    place_write(&place, "a", "1");
    step(source);
    int fd = open(place_path(&place, "a"), O_WRONLY | O_CLOEXEC); /* opened for writing, nothing written */
    EXPECT(close(fd) == 0);
    step(source);
    EXPECT_EQ(1, daemon_events(&place));
    place_write(&place, "a", "two");
    step(source);
    EXPECT_EQ(2, daemon_has_key(&place, "a"));
    source_close(source);
}

TEST(a_file_moved_or_linked_in_is_published_under_its_final_name_only)
{
    struct place place = place_new();
    struct source *source = given_started(&place);
    char outside[PATH_MAX];

    place_write(&place, "download.part", "x");
    step(source);
    EXPECT_EQ(0, daemon_events(&place));
    place_rename(&place, "download.part", "download.jpg");
    (void)snprintf(outside, sizeof outside, "%s/outside", place.root);
    FILE *file = fopen(outside, "w");
    EXPECT(file != NULL && fputs("y", file) >= 0 && fclose(file) == 0);
    EXPECT(link(outside, place_path(&place, "linked.jpg")) == 0);
    step(source);
    EXPECT_EQ(1, daemon_has_key(&place, "download.jpg"));
    EXPECT_EQ(1, daemon_has_key(&place, "linked.jpg"));
    EXPECT_EQ(2, daemon_events(&place));
    source_close(source);
}

TEST(new_folders_are_watched_however_deep_and_fast_they_come)
{
    struct place place = place_new();
    struct source *source = given_started(&place);

    place_mkdir(&place, "a");
    place_mkdir(&place, "a/b");
    place_mkdir(&place, "a/b/c");
    place_write(&place, "a/b/c/early", "before the folder was watched");
    step(source);
    EXPECT_EQ(1, daemon_has_key(&place, "a/b/c/early"));
    place_write(&place, "a/b/c/late", "after");
    step(source);
    EXPECT_EQ(1, daemon_has_key(&place, "a/b/c/late"));
    EXPECT_EQ(2, daemon_events(&place));
    source_close(source);
}

TEST(a_folder_renamed_in_is_scanned_to_its_depth)
{
    struct place place = place_new();
    struct source *source = given_started(&place);
    char outside[PATH_MAX], inner[PATH_MAX + 16], leaf[PATH_MAX + 32];

    (void)snprintf(outside, sizeof outside, "%s/album", place.root);
    (void)snprintf(inner, sizeof inner, "%s/inner", outside);
    (void)snprintf(leaf, sizeof leaf, "%s/1.jpg", inner);
    EXPECT(mkdir(outside, 0700) == 0 && mkdir(inner, 0700) == 0);
    FILE *file = fopen(leaf, "w");
    EXPECT(file != NULL && fputs("y", file) >= 0 && fclose(file) == 0);
    EXPECT(rename(outside, place_path(&place, "album")) == 0);
    step(source);
    EXPECT_EQ(1, daemon_has_key(&place, "album/inner/1.jpg"));
    place_write(&place, "album/inner/2.jpg", "z");
    step(source);
    EXPECT_EQ(1, daemon_has_key(&place, "album/inner/2.jpg"));
    source_close(source);
}

TEST(a_folder_renamed_within_is_known_by_its_new_name)
{
    struct place place = place_new();
    struct source *source = given_started(&place);

    place_mkdir(&place, "old");
    place_mkdir(&place, "old/sub");
    place_write(&place, "old/sub/1", "1");
    step(source);
    place_rename(&place, "old", "new");
    step(source);
    EXPECT_EQ(1, daemon_has_key(&place, "new/sub/1"));
    place_write(&place, "new/sub/2", "2");
    step(source);
    EXPECT_EQ(1, daemon_has_key(&place, "new/sub/2"));
    EXPECT_EQ(0, daemon_has_key(&place, "old/sub/2"));
    EXPECT_EQ(2, daemon_has_key(&place, "old/sub/1")); /* created, deleted */
    EXPECT_EQ(4, daemon_events(&place));
    source_close(source);
}

TEST(a_folder_moved_out_is_no_longer_ours)
{
    struct place place = place_new();
    struct source *source = given_started(&place);
    char outside[PATH_MAX], leaf[PATH_MAX + 16];
    struct source_stats stats = { 0 };

    place_mkdir(&place, "folder");
    place_mkdir(&place, "folder/sub");
    place_mkdir(&place, "folderol"); /* begins with the same letters, stays */
    step(source);
    (void)snprintf(outside, sizeof outside, "%s/away", place.root);
    (void)snprintf(leaf, sizeof leaf, "%s/1", outside);
    EXPECT(rename(place_path(&place, "folder"), outside) == 0);
    step(source);
    FILE *file = fopen(leaf, "w");
    EXPECT(file != NULL && fclose(file) == 0);
    place_write(&place, "folderol/2", "2");
    step(source);
    EXPECT_EQ(1, daemon_events(&place));
    EXPECT_EQ(1, daemon_has_key(&place, "folderol/2"));
    EXPECT_EQ(SLUICE_OK, source_stats(source, &stats, NULL));
    EXPECT_EQ(2, stats.directories); /* the root and folderol: no watch is left behind */
    source_close(source);
}

TEST(an_overflow_of_the_kernels_queue_loses_nothing)
{
    struct place place = place_new();
    char name[64];
    unsigned queue_max = 0, files;
    FILE *limit = fopen("/proc/sys/fs/inotify/max_queued_events", "r");

    EXPECT(limit != NULL && fscanf(limit, "%u", &queue_max) == 1 && fclose(limit) == 0);
    struct source *source = given_started(&place);
    overflows = scans = 0;
    place_write(&place, "first", "1");
    /* Two names in turn, for the kernel merges an event into an equal one before it. */
    for (unsigned i = 0; i < queue_max + 16; i++)
        place_write(&place, i % 2 == 0 ? "even" : "odd", "x");
    for (files = 0; files < 200; files++) {
        (void)snprintf(name, sizeof name, "lost%u", files);
        place_write(&place, name, "x");
    }
    place_mkdir(&place, "lostfolder");
    place_write(&place, "lostfolder/file", "x");
    step(source);
    EXPECT_EQ(1, overflows);
    EXPECT_EQ(1, scans);
    EXPECT_EQ(files, daemon_has(&place, "\"key\":\"lost") - daemon_has(&place, "\"key\":\"lostfolder"));
    EXPECT_EQ(1, daemon_has_key(&place, "lostfolder/file"));
    place_write(&place, "lostfolder/after", "x");
    step(source);
    EXPECT_EQ(1, daemon_has_key(&place, "lostfolder/after"));
    source_close(source);
}

TEST(while_the_daemon_is_away_the_source_waits_and_then_publishes)
{
    struct place place = place_new();

    place_write(&place, "a", "1");
    fake_daemon_away(3);
    struct source *source = given_started(&place);
    EXPECT_EQ(1, daemon_has_key(&place, "a"));
    source_close(source);
}

TEST(stopped_while_the_daemon_is_away_it_publishes_at_the_next_start)
{
    struct place place = place_new();
    struct source_stats stats;
    struct sluice_error error = { 0 };

    place_write(&place, "a", "1");
    fake_daemon_away(-1);
    struct source *source = open_source(&place);
    EXPECT_EQ(SLUICE_OK, source_stats(source, &stats, &error));
    stop_now = true; /* asked for while files are looked at: nothing is gathered */
    EXPECT_EQ(SLUICE_EUNAVAILABLE, source_start(source, &error));
    source_close(source);
    fake_daemon_away(0);
    agains = 0;
    source_close(given_started(&place));
    EXPECT_EQ(0, agains);
    EXPECT_EQ(1, daemon_has_key(&place, "a"));
}

static bool stop_at_the_second_question(void *ctx)
{
    return ++*(unsigned *)ctx >= 2;
}

TEST(an_unanswered_batch_is_published_again_under_its_number_even_if_the_file_is_gone)
{
    struct place place = place_new();
    unsigned questions = 0;
    struct source *source = NULL;
    struct source_stats stats;
    struct sluice_error error = { 0 };
    const struct source_options options = { .directory = place.watched,
                                            .bucket = "pictures",
                                            .state_path = place.state,
                                            .stopping = stop_at_the_second_question,
                                            .log = log_line,
                                            .ctx = &questions };

    place_write(&place, "a", "1");
    fake_daemon_away(-1);
    EXPECT_EQ(SLUICE_OK, source_open(&options, &source, &error));
    EXPECT_EQ(SLUICE_EUNAVAILABLE, source_start(source, &error));
    EXPECT_EQ(SLUICE_OK, source_stats(source, &stats, &error));
    EXPECT_EQ(1, stats.unconfirmed);
    source_close(source);

    EXPECT(unlink(place_path(&place, "a")) == 0);
    fake_daemon_away(0);
    agains = 0;
    source_close(given_started(&place));
    EXPECT_EQ(1, agains);
    EXPECT_EQ(1, daemon_has(&place, "1\t{\"version\""));
    EXPECT_EQ(2, daemon_has_key(&place, "a")); /* and then its deletion */
    EXPECT_EQ(1, daemon_has(&place, "\"reason\":\"PutObject\""));
}

TEST(an_event_refused_for_good_is_not_asked_again)
{
    struct place place = place_new();
    struct source_stats stats = { 0 };

    place_write(&place, "good", "1");
    place_write(&place, "bad", "1");
    fake_daemon_refuses("\"key\":\"bad\"", SLUICE_EINVAL);
    struct source *source = given_started(&place);
    EXPECT_EQ(SLUICE_OK, source_stats(source, &stats, NULL));
    EXPECT_EQ(1, stats.refused);
    EXPECT_EQ(1, stats.published);
    source_close(source);
    fake_daemon_refuses(NULL, 0);
    source_close(given_started(&place));
    EXPECT_EQ(1, daemon_events(&place));
}

TEST(an_unknown_bus_stops_the_source_and_the_file_is_published_once_it_exists)
{
    struct place place = place_new();
    struct sluice_error error = { 0 };

    place_write(&place, "a", "1");
    fake_daemon_refuses("\"key\":\"a\"", SLUICE_ENOTFOUND);
    struct source *source = open_source(&place);
    EXPECT_EQ(SLUICE_ENOTFOUND, source_start(source, &error));
    EXPECT(strstr(error.text, "'a'") != NULL);
    source_close(source);
    fake_daemon_refuses(NULL, 0);
    source_close(given_started(&place));
    EXPECT_EQ(1, daemon_has_key(&place, "a"));
}

TEST(names_that_are_not_utf8_are_left_out_and_the_rest_goes_on)
{
    struct place place = place_new();

    place_write(&place, "bad\xff\nstopped.jpg", "1"); /* nor does its line break make a line of the log */
    place_write(&place, "g\xc3\xbct.jpg", "1");
    source_close(given_started(&place));
    EXPECT_EQ(1, daemon_events(&place));
    EXPECT_EQ(1, daemon_has_key(&place, "g\xc3\xbct.jpg"));
}

TEST(the_watched_folder_removed_is_an_error_that_names_it)
{
    struct place place = place_new();
    struct sluice_error error = { 0 };
    struct source *source = given_started(&place);

    EXPECT(rmdir(place.watched) == 0);
    EXPECT_EQ(SLUICE_ENOTFOUND, source_step(source, &error));
    EXPECT(strstr(error.text, place.watched) != NULL);
    source_close(source);
}

TEST(what_is_not_a_directory_cannot_be_watched)
{
    struct place place = place_new();
    struct source *source = NULL;
    struct sluice_error error = { 0 };
    struct source_options options = { .directory = place_path(&place, "file"), .bucket = "b", .state_path = place.state };

    EXPECT_EQ(SLUICE_ENOTFOUND, source_open(&options, &source, &error));
    place_write(&place, "file", "x");
    EXPECT_EQ(SLUICE_ENOTFOUND, source_open(&options, &source, &error));
    EXPECT(strstr(error.text, "not a directory") != NULL);
}

TEST(symbolic_links_are_not_followed)
{
    struct place place = place_new();

    place_write(&place, "a", "1");
    EXPECT(symlink(".", place_path(&place, "loop")) == 0);
    EXPECT(symlink("a", place_path(&place, "alias")) == 0);
    source_close(given_started(&place));
    EXPECT_EQ(1, daemon_events(&place));
}

TEST(ten_thousand_files_are_each_published_once)
{
    enum { FILES = 10000, FOLDERS = 100 };
    struct place place = place_new();
    static bool seen[FILES];
    char name[64], *line = NULL;
    size_t capacity = 0;
    unsigned distinct = 0, lines = 0;

    struct source *source = given_started(&place);
    for (unsigned i = 0; i < FILES; i++) {
        if (i < FOLDERS) {
            (void)snprintf(name, sizeof name, "d%u", i);
            place_mkdir(&place, name);
        }
        (void)snprintf(name, sizeof name, "d%u/f%u", i % FOLDERS, i);
        place_write(&place, name, name);
        if (i % 1000 == 0)
            step(source); /* some while they come, as in life */
    }
    step(source);
    source_close(source);
    source_close(given_started(&place));
    FILE *log = fopen(place.log, "r");
    EXPECT(log != NULL);
    while (log != NULL && getline(&line, &capacity, log) > 0) {
        const char *at = strstr(line, "/f");
        unsigned number = at == NULL ? FILES : (unsigned)strtoul(at + 2, NULL, 10);
        lines++;
        if (number < FILES && !seen[number]) {
            seen[number] = true;
            distinct++;
        }
    }
    free(line);
    if (log != NULL)
        (void)fclose(log);
    EXPECT_EQ(FILES, distinct);
    EXPECT_EQ(FILES, lines);
}

/* ---- deletions ---- */

static unsigned deletions(const struct place *place, const char *key)
{
    char part[PATH_MAX];
    (void)snprintf(part, sizeof part, "\"key\":\"%s\",\"sequencer\"", key); /* no size, no etag */
    return daemon_has(place, part);
}

TEST(a_removed_file_is_a_deletion_in_the_shape_of_s3)
{
    struct place place = place_new();
    struct source *source;

    place_write(&place, "a", "1");
    source = given_started(&place);
    EXPECT(unlink(place_path(&place, "a")) == 0);
    step(source);
    EXPECT_EQ(1, deletions(&place, "a"));
    EXPECT_EQ(1, daemon_has(&place, "\"reason\":\"DeleteObject\",\"deletion-type\":\"Permanently Deleted\"}"));
    EXPECT_EQ(1, daemon_has(&place, "{\"version\":\"0\",\"bucket\":{\"name\":\"pictures\"},\"object\":{\"key\":\"a\",\"sequencer\":\""));
    step(source);
    place_write(&place, "a", "2");
    step(source);
    EXPECT_EQ(1, deletions(&place, "a"));
    EXPECT_EQ(3, daemon_events(&place));
    source_close(source);
}

TEST(a_deletion_while_nobody_looked_is_found_at_the_next_start_and_told_once)
{
    struct place place = place_new();

    place_mkdir(&place, "sub");
    place_write(&place, "sub/a", "1");
    place_write(&place, "b", "1");
    source_close(given_started(&place));
    EXPECT(unlink(place_path(&place, "sub/a")) == 0 && rmdir(place_path(&place, "sub")) == 0);
    source_close(given_started(&place));
    source_close(given_started(&place));
    EXPECT_EQ(1, deletions(&place, "sub/a"));
    EXPECT_EQ(3, daemon_events(&place));
}

TEST(a_rename_is_a_deletion_and_a_new_object_and_a_replaced_file_no_deletion)
{
    struct place place = place_new();
    struct source *source;

    place_write(&place, "old", "1");
    source = given_started(&place);
    place_rename(&place, "old", "new");
    step(source);
    EXPECT_EQ(1, deletions(&place, "old"));
    EXPECT_EQ(1, daemon_has_key(&place, "new"));
    place_write(&place, "other.tmp", "2");
    place_rename(&place, "other.tmp", "new");
    step(source);
    EXPECT_EQ(0, deletions(&place, "new"));
    EXPECT_EQ(2, daemon_has_key(&place, "new"));
    source_close(source);
}

TEST(what_was_in_a_folder_moved_away_is_deleted)
{
    struct place place = place_new();
    struct source *source;
    char outside[PATH_MAX];

    place_mkdir(&place, "folder");
    place_mkdir(&place, "folder/deep");
    place_write(&place, "folder/a", "1");
    place_write(&place, "folder/deep/b", "1");
    place_write(&place, "c", "1");
    source = given_started(&place);
    (void)snprintf(outside, sizeof outside, "%s/outside", place.root);
    EXPECT(rename(place_path(&place, "folder"), outside) == 0);
    step(source);
    EXPECT_EQ(1, deletions(&place, "folder/a"));
    EXPECT_EQ(1, deletions(&place, "folder/deep/b"));
    EXPECT_EQ(5, daemon_events(&place));
    source_close(source);
}

TEST(what_came_and_went_before_it_was_looked_at_is_no_event)
{
    struct place place = place_new();
    struct source *source = given_started(&place);

    place_write(&place, "a", "1");
    EXPECT(unlink(place_path(&place, "a")) == 0);
    step(source);
    EXPECT_EQ(0, daemon_events(&place));
    source_close(source);
}

/* ---- which files count ---- */

TEST(only_files_that_are_included_and_not_excluded_count)
{
    static const char *const jpg[] = { "*.jpg", "raw/*", NULL }, *const thumbs[] = { "*-thumb.jpg", "raw/old/*", NULL };
    struct place place = place_new();
    struct source *source;

    include = jpg;
    exclude = thumbs;
    source = given_started(&place);
    place_mkdir(&place, "raw");
    place_mkdir(&place, "raw/old");
    place_write(&place, "a.jpg", "1");
    place_write(&place, "a-thumb.jpg", "1");
    place_write(&place, "a.txt", "1");
    place_write(&place, "raw/b.cr2", "1");
    place_write(&place, "raw/c.jpg", "1");
    place_write(&place, "raw/old/d.jpg", "1");
    step(source);
    EXPECT(unlink(place_path(&place, "a.txt")) == 0 && unlink(place_path(&place, "a-thumb.jpg")) == 0);
    step(source);
    EXPECT_EQ(3, daemon_events(&place));
    EXPECT_EQ(1, daemon_has_key(&place, "a.jpg"));
    EXPECT_EQ(1, daemon_has_key(&place, "raw/b.cr2"));
    EXPECT_EQ(1, daemon_has_key(&place, "raw/c.jpg"));
    source_close(source);
    include = exclude = NULL;
}

TEST(a_known_file_that_does_not_count_any_more_is_forgotten_without_an_event_when_it_goes)
{
    static const char *const texts[] = { "*.txt", NULL };
    struct place place = place_new();
    struct source_stats stats;
    struct source *source;

    place_write(&place, "a.txt", "1");
    source_close(given_started(&place));
    exclude = texts;
    EXPECT(unlink(place_path(&place, "a.txt")) == 0);
    source = given_started(&place);
    EXPECT_EQ(SLUICE_OK, source_stats(source, &stats, NULL));
    EXPECT_EQ(0, stats.known);
    EXPECT_EQ(1, daemon_events(&place));
    source_close(source);
    exclude = NULL;
}

/* ---- settling ---- */

/* Steps until the daemon has `events`, waiting as main() does. */
static void step_until(struct source *source, const struct place *place, unsigned events)
{
    for (unsigned waited_ms = 0; daemon_events(place) < events && waited_ms < DEADLINE_MS; waited_ms++) {
        int wait_ms = source_wait_ms(source);
        struct pollfd fd = { .fd = source_fd(source), .events = POLLIN };
        if (wait_ms < 0)
            break; /* nothing is due: it will never have them */
        waited_ms += (unsigned)wait_ms;
        EXPECT(poll(&fd, 1, wait_ms) >= 0);
        step(source);
    }
    EXPECT_EQ(events, daemon_events(place));
}

TEST(a_file_whose_writer_reopens_is_published_once_when_it_has_settled)
{
    struct place place = place_new();
    struct source *source;

    settle_ms = 300;
    source = given_started(&place);
    for (unsigned i = 0; i < 20; i++) {
        FILE *file = fopen(place_path(&place, "log"), "a");
        EXPECT(file != NULL && fputs("line\n", file) >= 0 && fclose(file) == 0);
        step(source);
    }
    EXPECT_EQ(0, daemon_events(&place));
    EXPECT(source_wait_ms(source) >= 0);
    step_until(source, &place, 1);
    EXPECT_EQ(1, daemon_has(&place, "\"size\":100,"));
    EXPECT_EQ(-1, source_wait_ms(source));
    source_close(source);
    settle_ms = 0;
}

TEST(with_a_settle_time_a_file_that_comes_back_was_never_away)
{
    struct place place = place_new();
    struct source *source;

    settle_ms = 200;
    place_write(&place, "a", "1");
    source = given_started(&place);
    step_until(source, &place, 1);
    EXPECT(unlink(place_path(&place, "a")) == 0);
    step(source);
    place_write(&place, "a", "22");
    step(source);
    step_until(source, &place, 2);
    EXPECT_EQ(0, deletions(&place, "a"));
    EXPECT_EQ(1, daemon_has(&place, "\"size\":2,"));
    EXPECT(unlink(place_path(&place, "a")) == 0);
    step(source);
    EXPECT_EQ(0, deletions(&place, "a"));
    step_until(source, &place, 3);
    EXPECT_EQ(1, deletions(&place, "a"));
    source_close(source);
    settle_ms = 0;
}

TEST(more_files_in_unrest_than_are_kept_by_name_are_found_by_a_scan)
{
    enum { FILES = 4096 + 100 };
    struct place place = place_new();
    struct source *source;
    char name[32];

    settle_ms = 200;
    source = given_started(&place);
    for (unsigned i = 0; i < FILES; i++) {
        (void)snprintf(name, sizeof name, "f%u", i);
        place_write(&place, name, "");
    }
    step(source);
    step_until(source, &place, FILES);
    source_close(source);
    settle_ms = 0;
}
