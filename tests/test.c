#include "tests/test.h"

#include <ftw.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

static struct test_case *tests, **tests_end = &tests;
static const char *label;
static unsigned failures;
static char skipped[256];        /* why; "": it is not */
static char directory[64];

enum { EXIT_SKIPPED = 77 };

void test_register(struct test_case *test)
{
    *tests_end = test;
    tests_end = &test->next;
}

void test_label(const char *text)
{
    label = text;
}

void test_fail(const char *file, int line, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)fprintf(stderr, "%s:%d: %s%s", file, line, label != NULL ? label : "", label != NULL ? ": " : "");
    (void)vfprintf(stderr, format, args);
    (void)fputc('\n', stderr);
    va_end(args);
    failures++;
}

void test_skip(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(skipped, sizeof skipped, format, args);
    va_end(args);
}

static int remove_entry(const char *path, const struct stat *info, int type, struct FTW *walk)
{
    (void)info, (void)type, (void)walk;
    return remove(path);
}

const char *test_directory(void)
{
    if (directory[0] == '\0') {
        (void)snprintf(directory, sizeof directory, "/tmp/sluice-test.XXXXXX");
        if (mkdtemp(directory) == NULL) {
            perror(directory);
            exit(1);
        }
    }
    return directory;
}

int main(int argc, char **argv)
{
    unsigned failed = 0, ran = 0, left_out = 0;

    for (struct test_case *test = tests; test != NULL; test = test->next) {
        if (argc > 1 && strcmp(argv[1], test->name) != 0)
            continue;
        failures = 0;
        label = NULL;
        skipped[0] = '\0';
        test->run();
        ran++;
        failed += failures != 0;
        left_out += failures == 0 && skipped[0] != '\0';
        if (failures == 0 && skipped[0] != '\0')
            printf("skip %s: %s\n", test->name, skipped);
        else
            printf("%s %s\n", failures == 0 ? "ok  " : "FAIL", test->name);
    }
    if (directory[0] != '\0')
        (void)nftw(directory, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    printf("%u tests, %u failed, %u skipped\n", ran, failed, left_out);
    if (failed != 0 || ran == 0)
        return 1;
    return left_out == ran ? EXIT_SKIPPED : 0;
}
