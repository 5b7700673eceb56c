#include "broker/edge/usage.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/test.h"

#define DAY INT64_C(86400000)
#define NOON (20779 * DAY + DAY / 2)         /* 2026-11-22 */

static const struct usage_sums once = { .invocations = 1, .failures = 1, .duration_us = 2900, .billed_us = 124000, .memory_mib_us = 15872000,
                                        .memory_peak_bytes = 37748736, .cold_starts = 1, .init_us = 120110 };

static const char *data(void)
{
    static char path[512];
    static unsigned count;

    (void)snprintf(path, sizeof path, "%s/%u", test_directory(), count++);
    EXPECT_EQ(0, mkdir(path, 0700));
    return path;
}

static const char *day_file(const char *folder, const char *day)
{
    static char path[600];

    (void)snprintf(path, sizeof path, "%s/usage/%s.tsv", folder, day);
    return path;
}

static struct usage *opened(const char *folder, int64_t wall_ms)
{
    struct usage *usage = NULL;
    struct sluice_error error;

    if (usage_open(folder, wall_ms, &usage, &error) != SLUICE_OK)
        test_fail(__FILE__, __LINE__, "%s", error.text);
    return usage;
}

static enum sluice_err save(struct usage *usage)
{
    struct sluice_error error;

    if (!usage_save_begin(usage))
        return SLUICE_ENOTFOUND;
    usage_save_work(usage);
    return usage_save_done(usage, &error);
}

static void put_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    EXPECT_EQ((ssize_t)strlen(text), write(fd, text, strlen(text)));
    (void)close(fd);
}

static void expect_sums(struct usage_sums expected, const struct usage *usage, const char *function, int64_t wall_ms)
{
    struct usage_sums sums = { 0 };

    (void)usage_of(usage, function, usage_day(wall_ms), &sums);
    EXPECT_EQ(expected.invocations, sums.invocations);
    EXPECT_EQ(expected.failures, sums.failures);
    EXPECT_EQ(expected.duration_us, sums.duration_us);
    EXPECT_EQ(expected.billed_us, sums.billed_us);
    EXPECT_EQ(expected.memory_mib_us, sums.memory_mib_us);
    EXPECT_EQ(expected.memory_peak_bytes, sums.memory_peak_bytes);
    EXPECT_EQ(expected.cold_starts, sums.cold_starts);
    EXPECT_EQ(expected.init_us, sums.init_us);
}

static struct usage_sums times(unsigned count)
{
    struct usage_sums sums = { 0 };

    while (count-- > 0)
        usage_sum(&sums, &once);
    return sums;
}

TEST(sums_survive_a_restart)
{
    const char *folder = data();
    struct usage *usage = opened(folder, NOON);
    uint32_t f = usage_function(usage, "f"), g = usage_function(usage, "g.h-i_j");

    EXPECT_EQ(f, usage_function(usage, "f"));
    EXPECT(!usage_unsaved(usage));
    usage_add(usage, f, NOON, &once);
    usage_add(usage, f, NOON + 1, &once);
    usage_add(usage, g, NOON + 2, &once);
    EXPECT(usage_unsaved(usage));
    EXPECT_EQ(SLUICE_OK, save(usage));
    EXPECT(!usage_unsaved(usage));
    usage_free(usage);
    usage = opened(folder, NOON + 5);
    expect_sums(times(2), usage, "f", NOON);
    usage_add(usage, usage_function(usage, "f"), NOON + 6, &once);
    EXPECT_EQ(SLUICE_OK, save(usage));
    usage_free(usage);
    usage = opened(folder, NOON + DAY); /* tomorrow it is read from its file */
    expect_sums(times(3), usage, "f", NOON);
    expect_sums(times(1), usage, "g.h-i_j", NOON);
    expect_sums(times(0), usage, "g", NOON);
    expect_sums(times(0), usage, "f", NOON + DAY);
    usage_free(usage);
}

TEST(midnight_begins_a_day_and_the_one_before_is_kept)
{
    const char *folder = data();
    struct usage *usage = opened(folder, NOON);
    uint32_t f = usage_function(usage, "f");
    int64_t midnight = NOON + DAY / 2;

    usage_add(usage, f, midnight - 1, &once);
    usage_add(usage, f, midnight, &once);
    usage_add(usage, f, midnight + 1, &once);
    expect_sums(times(1), usage, "f", NOON);           /* not on the disk yet */
    expect_sums(times(2), usage, "f", midnight);
    EXPECT(access(day_file(folder, "2026-11-22"), F_OK) != 0);
    EXPECT_EQ(SLUICE_OK, save(usage));
    EXPECT_EQ(0, access(day_file(folder, "2026-11-22"), F_OK));
    EXPECT_EQ(SLUICE_OK, save(usage));
    EXPECT_EQ(0, access(day_file(folder, "2026-11-23"), F_OK));
    EXPECT_EQ(SLUICE_ENOTFOUND, save(usage));
    expect_sums(times(1), usage, "f", NOON);
    usage_add(usage, f, NOON, &once);                  /* the clock was set back */
    expect_sums(times(2), usage, "f", NOON);
    expect_sums(times(2), usage, "f", midnight);
    usage_free(usage);
}

TEST(what_ends_while_a_day_is_being_saved_is_not_lost)
{
    const char *folder = data();
    struct usage *usage = opened(folder, NOON);
    struct sluice_error error;
    uint32_t f = usage_function(usage, "f");

    usage_add(usage, f, NOON, &once);
    EXPECT(usage_save_begin(usage));
    usage_add(usage, f, NOON, &once);
    usage_add(usage, f, NOON + DAY, &once); /* the day waits for the save: booked on this one */
    usage_save_work(usage);
    EXPECT_EQ(SLUICE_OK, usage_save_done(usage, &error));
    EXPECT(usage_unsaved(usage));
    expect_sums(times(3), usage, "f", NOON);
    EXPECT_EQ(SLUICE_OK, save(usage));
    usage_add(usage, f, NOON + DAY, &once);
    expect_sums(times(3), usage, "f", NOON);
    expect_sums(times(1), usage, "f", NOON + DAY);
    usage_free(usage);
}

TEST(a_save_that_fails_is_said_and_tried_again)
{
    const char *folder = data();
    struct usage *usage = opened(folder, NOON);
    char beside[600];
    uint32_t f = usage_function(usage, "f");

    (void)snprintf(beside, sizeof beside, "%s/usage/2026-11-22.new", folder);
    EXPECT_EQ(0, mkdir(beside, 0700)); /* a folder where its file is to be */
    usage_add(usage, f, NOON, &once);
    EXPECT_EQ(SLUICE_EIO, save(usage));
    EXPECT(usage_unsaved(usage));
    usage_add(usage, f, NOON + DAY, &once);
    EXPECT_EQ(SLUICE_EIO, save(usage)); /* of the day that is over, now */
    expect_sums(times(1), usage, "f", NOON);
    EXPECT_EQ(0, rmdir(beside));
    EXPECT_EQ(SLUICE_OK, save(usage));
    EXPECT_EQ(SLUICE_OK, save(usage));
    expect_sums(times(1), usage, "f", NOON);
    expect_sums(times(1), usage, "f", NOON + DAY);
    usage_free(usage);
}

TEST(lines_that_are_none_of_ours_are_skipped)
{
    const char *folder = data();
    usage_free(opened(folder, NOON));
    put_file(day_file(folder, "2026-11-22"),
             "\n\t1\t1\t1\t1\t1\t1\t1\t1\nf\nf\t1\t2\t3\nf\t1\t2\t3\t4\t5\t6\t7\tx\nf\t1\t2\t3\t4\t5\t6\t7\t8\t9\n"
             "f\t99999999999999999999\t2\t3\t4\t5\t6\t7\t8\nf\t-1\t2\t3\t4\t5\t6\t7\t8\n"
             "f\t9223372036854775808\t2\t3\t4\t5\t6\t7\t8\ng\t1\t2\t3\t4\t5\t6\t7\t8");
    struct usage *usage = opened(folder, NOON);
    expect_sums(times(0), usage, "f", NOON);
    expect_sums((struct usage_sums){ 1, 2, 3, 4, 5, 6, 7, 8 }, usage, "g", NOON);
    usage_free(usage);
}

TEST(days_too_old_are_removed_and_other_files_left)
{
    const char *folder = data();
    usage_free(opened(folder, NOON));
    put_file(day_file(folder, "2025-10-18"), "f\t1\t0\t0\t0\t0\t0\t0\t0\n"); /* 400 days before */
    put_file(day_file(folder, "2025-10-19"), "f\t1\t0\t0\t0\t0\t0\t0\t0\n");
    put_file(day_file(folder, "notes"), "mine\n");
    put_file(day_file(folder, "2001-01-01-mine"), "mine\n");
    usage_free(opened(folder, NOON));
    EXPECT(access(day_file(folder, "2025-10-18"), F_OK) != 0);
    EXPECT_EQ(0, access(day_file(folder, "2025-10-19"), F_OK));
    EXPECT_EQ(0, access(day_file(folder, "notes"), F_OK));
    EXPECT_EQ(0, access(day_file(folder, "2001-01-01-mine"), F_OK));
}
