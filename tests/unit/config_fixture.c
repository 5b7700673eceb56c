#include "tests/unit/config_fixture.h"

#include <stdlib.h>
#include <sys/stat.h>

char printed[PRINTED_BYTES_MAX];

const char *in_directory(const char *name)
{
    static char paths[8][256];
    static unsigned next;
    char *path = paths[next++ % 8];
    (void)snprintf(path, sizeof paths[0], "%s/%s", test_directory(), name);
    return path;
}

void write_file(const char *name, const char *text, size_t len, mode_t mode)
{
    const char *path = in_directory(name);
    FILE *file = fopen(path, "w");
    if (file == NULL || fwrite(text, 1, len, file) != len || fclose(file) != 0) {
        perror(path);
        exit(1);
    }
    (void)chmod(path, mode);
}

void given_programs(void)
{
    static bool done;
    if (done)
        return;
    done = true;
    (void)mkdir(in_directory("code"), 0755);
    write_file("run.sh", "#!/bin/sh\n", 10, 0755);
    write_file("code/handler", "#!/bin/sh\n", 10, 0755);
    write_file("plain.txt", "text\n", 5, 0644);
    write_file("token", "secret\n", 7, 0600);
    (void)mkdir(in_directory("bin"), 0755);
    (void)mkdir(in_directory("runtimes"), 0755);
    (void)mkdir(in_directory("runtimes/nodejs"), 0755);
    (void)mkdir(in_directory("runtimes/python"), 0755);
    write_file("bin/node", "#!/bin/sh\n", 10, 0755);
    write_file("bin/python3", "#!/bin/sh\n", 10, 0755);
    write_file("runtimes/nodejs/bootstrap.cjs", "", 0, 0644);
    write_file("runtimes/python/bootstrap.py", "", 0, 0644);
    write_file("code/bootstrap", "#!/bin/sh\n", 10, 0755);
    (void)mkdir(in_directory("src"), 0755);
    (void)mkdir(in_directory("src/deep"), 0755);
    (void)mkdir(in_directory("node_modules"), 0755);
    (void)mkdir(in_directory("node_modules/pack"), 0755);
    write_file("src/index.js", "", 0, 0644);
    write_file("src/deep/later.mjs", "", 0, 0644);
    write_file("src/old.cjs", "", 0, 0644);
    write_file("src/native.cpython-311-x86_64-linux-gnu.so", "", 0, 0644);
    write_file("src/app.py", "", 0, 0644);
    write_file("a.js", "", 0, 0644);
    write_file("a.py", "", 0, 0644);
    char path[512];
    (void)snprintf(path, sizeof path, "%s:/usr/bin:/bin", in_directory("bin"));
    (void)setenv("PATH", path, 1);
    write_file("token-open", "secret\n", 7, 0644);
    write_file("token-empty", "", 0, 0600);
}

struct config_file *load_path(const char *path, unsigned *count)
{
    char *text = NULL;
    size_t len = 0;
    FILE *errors = open_memstream(&text, &len);
    struct config_file *file = config_file_load(path, in_directory("runtimes"), errors, count);
    (void)fclose(errors);

    char *to = printed;
    const char *directory = test_directory();
    size_t directory_len = strlen(directory);
    for (const char *from = text; *from != '\0' && to < printed + sizeof printed - 1;) {
        if (strncmp(from, directory, directory_len) == 0)
            from += directory_len + (from[directory_len] == '/');
        else
            *to++ = *from++;
    }
    *to = '\0';
    free(text);
    return file;
}

struct config_file *load_text(const char *name, const char *text, unsigned *count)
{
    given_programs();
    write_file(name, text, strlen(text), 0644);
    return load_path(in_directory(name), count);
}

const char *below(const char *path)
{
    const char *directory = test_directory();
    size_t len = strlen(directory);
    return path != NULL && strncmp(path, directory, len) == 0 ? path + len + (path[len] == '/') : path;
}
