/* replay.c - libFuzzer's place where there is no clang: runs the target over its corpus and over small damages of each file:
 * cut short at each length, and with bytes changed by a generator whose seed is fixed, so that a failure comes back.
 *
 *   fuzz_json DIR        each file of DIR and its damages
 *   fuzz_json FILE       this input alone: what a search found
 *
 * The input at hand is kept in fuzz_NAME.input in the working directory and removed at the end: after a crash it is the proof. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum {
    INPUT_BYTES_MAX = 1 << 20,
    CUTS_MAX = 512,         /* lengths tried of one file, evenly spread */
    DAMAGES_PER_FILE = 500,
    DAMAGED_BYTES_MAX = 4,  /* at once */
};

static char input_path[NAME_MAX + sizeof ".input"];
static int input_fd;
static uint64_t state = 0x9e3779b97f4a7c15u;

static uint64_t random_next(void) /* xorshift64 */
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static void die(const char *what, const char *which)
{
    (void)fprintf(stderr, "replay: cannot %s %s: %s\n", what, which, strerror(errno));
    exit(1);
}

static size_t input_read(const char *path, uint8_t *ret_data)
{
    FILE *file = fopen(path, "rb");

    if (file == NULL)
        die("open", path);
    size_t len = fread(ret_data, 1, INPUT_BYTES_MAX, file);
    if (ferror(file))
        die("read", path);
    (void)fclose(file); /* it was only read */
    return len;
}

static void run(const uint8_t *data, size_t len)
{
    if (pwrite(input_fd, data, len, 0) != (ssize_t)len || ftruncate(input_fd, (off_t)len) != 0)
        die("write", input_path);
    (void)LLVMFuzzerTestOneInput(data, len);
}

static void run_damages(const uint8_t *data, size_t len, uint8_t *scratch)
{
    size_t step = len / CUTS_MAX + 1;

    for (size_t cut = 0; cut < len; cut += step)
        run(data, cut);
    for (unsigned i = 0; len > 0 && i < DAMAGES_PER_FILE; i++) {
        memcpy(scratch, data, len);
        for (uint64_t left = 1 + random_next() % DAMAGED_BYTES_MAX; left > 0; left--) {
            size_t at = random_next() % len;
            /* a neighbour's byte keeps texts plausible, a random one reaches what they never hold */
            scratch[at] = random_next() % 2 == 0 ? scratch[random_next() % len] : (uint8_t)random_next();
        }
        run(scratch, len);
    }
}

int main(int argc, char **argv)
{
    static uint8_t data[INPUT_BYTES_MAX], scratch[INPUT_BYTES_MAX];
    char path[PATH_MAX];
    struct dirent **names = NULL;
    struct stat info;
    unsigned files = 0;

    if (argc != 2) {
        (void)fprintf(stderr, "usage: %s DIR|FILE\n", argv[0]);
        return 2;
    }
    if (stat(argv[1], &info) != 0)
        die("find", argv[1]);
    if (!S_ISDIR(info.st_mode)) {
        (void)LLVMFuzzerTestOneInput(data, input_read(argv[1], data));
        return 0;
    }

    const char *slash = strrchr(argv[0], '/');
    (void)snprintf(input_path, sizeof input_path, "%s.input", slash == NULL ? argv[0] : slash + 1);
    if ((input_fd = open(input_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)) < 0)
        die("write", input_path);
    int names_count = scandir(argv[1], &names, NULL, alphasort); /* in order, for the generator's sake */
    if (names_count < 0)
        die("list", argv[1]);
    for (int i = 0; i < names_count; i++) {
        if (names[i]->d_name[0] != '.') {
            (void)snprintf(path, sizeof path, "%s/%s", argv[1], names[i]->d_name);
            size_t len = input_read(path, data);
            run(data, len);
            run_damages(data, len, scratch);
            files++;
        }
        free(names[i]);
    }
    free((void *)names);
    (void)close(input_fd);
    (void)unlink(input_path); /* nothing was found: it proves nothing */
    if (files == 0) {
        (void)fprintf(stderr, "replay: %s holds no corpus: what would be tested?\n", argv[1]);
        return 1;
    }
    (void)printf("%u files of %s and their damages: passed\n", files, argv[1]);
    return 0;
}
