/* config_fuzz.c - a configuration file, as YAML or, when it begins with a brace, as JSON: refused with a message that has a
 * place, or loaded. libfyaml reads bytes that are not text too, so what its events make of them is in this search. */
#include <fcntl.h>
#include <unistd.h>

#include "broker/edge/config_file.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
const char *__lsan_default_suppressions(void);

/* libfyaml 0.7 loses a kilobyte for each scalar with many quotes in a row. That we free what we open, the unit tests see. */
const char *__lsan_default_suppressions(void)
{
    return "leak:libfyaml.so\n";
}

static char folder[64], yaml_path[96], json_path[96];

static void folder_remove(void)
{
    (void)unlink(yaml_path); /* whichever of them was written */
    (void)unlink(json_path);
    (void)rmdir(folder);
}

static void folder_make(void)
{
    (void)snprintf(folder, sizeof(folder), "/tmp/sluice-fuzz-XXXXXX");
    MUST(mkdtemp(folder) != NULL);
    (void)snprintf(yaml_path, sizeof(yaml_path), "%s/sluice.yaml", folder);
    (void)snprintf(json_path, sizeof(json_path), "%s/sluice.json", folder);
    MUST(atexit(folder_remove) == 0);
}

static void file_write(const char *path, const uint8_t *data, size_t len)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    MUST(fd >= 0);
    MUST(write(fd, data, len) == (ssize_t)len);
    MUST(close(fd) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    char *text = NULL;
    size_t text_len = 0;
    unsigned mistakes = 0;

    if (folder[0] == '\0')
        folder_make();
    const char *path = len > 0 && data[0] == '{' ? json_path : yaml_path;
    file_write(path, data, len);
    FILE *errors = open_memstream(&text, &text_len);
    MUST(errors != NULL);
    struct config_file *file = config_file_load(path, folder, errors, &mistakes);
    MUST(fclose(errors) == 0);
    if (file == NULL)
        MUST(mistakes > 0 && strstr(text, "error: ") != NULL);
    else
        MUST(mistakes == 0);
    free(text);
    (void)config_file_free(file);
    return 0;
}
