/* test.h - the smallest harness that reads well: TEST(behaviour_as_a_sentence) { EXPECT...; }
 * Every test of the program runs; a failed expectation prints file:line and both values, and the program exits 1. It exits 77, which
 * ctest calls skipped, if all that it ran were skipped; else those are in its output by name, for `check` to name. */
#ifndef SLUICE_TEST_H
#define SLUICE_TEST_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

struct test_case {
    const char *name;
    void (*run)(void);
    struct test_case *next;
};
void test_register(struct test_case *test);
void test_fail(const char *file, int line, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* The machine lacks what the test needs: it returns behind this, and is counted apart, not among those that passed. */
void test_skip(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* A label printed with failures inside table-driven loops; NULL ends it. */
void test_label(const char *label);
/* A fresh directory, removed when the program ends. */
const char *test_directory(void);

#define TEST(name_)                                                                          \
    static void test_##name_(void);                                                          \
    static struct test_case test_case_##name_ = { .name = #name_, .run = test_##name_ };     \
    __attribute__((constructor)) static void test_add_##name_(void) { test_register(&test_case_##name_); } \
    static void test_##name_(void)

#define EXPECT(condition) \
    do { if (!(condition)) test_fail(__FILE__, __LINE__, "expected: %s", #condition); } while (0)
#define EXPECT_EQ(expected, actual)                                                          \
    do {                                                                                     \
        long long expected_ = (long long)(expected), actual_ = (long long)(actual);          \
        if (expected_ != actual_)                                                            \
            test_fail(__FILE__, __LINE__, "%s: expected %lld, got %lld", #actual, expected_, actual_); \
    } while (0)
#define EXPECT_TEXT(expected, actual)                                                        \
    do {                                                                                     \
        const char *expected_ = (expected), *actual_ = (actual);                             \
        if (actual_ == NULL || strcmp(expected_, actual_) != 0)                              \
            test_fail(__FILE__, __LINE__, "%s: expected \"%s\", got \"%s\"", #actual, expected_, actual_ ? actual_ : "(null)"); \
    } while (0)
#define EXPECT_VIEW(expected, actual_view)                                                   \
    do {                                                                                     \
        const char *expected_ = (expected);                                                  \
        struct view actual_ = (actual_view);                                                 \
        if (strlen(expected_) != actual_.len || memcmp(expected_, actual_.data, actual_.len) != 0) \
            test_fail(__FILE__, __LINE__, "%s: expected \"%s\", got \"%.*s\"", #actual_view, expected_, (int)actual_.len, actual_.data); \
    } while (0)

#endif
