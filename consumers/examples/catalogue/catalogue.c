/* A native function: lists every file with its size, kind and, of pictures, width and height, in RESULTS/catalogue.tsv.
 * Events come by the batch; each batch is one append, so that several instances can share the list. An event that comes twice is
 * listed twice: its sequencer, the last column, tells. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sluice/function.h>

struct catalogue {
    const char *files; /* the folder that keys are relative to */
    int list_fd;
};

struct picture {
    const char *kind;
    unsigned width, height;
};

static unsigned big_endian16(const unsigned char *at)
{
    return (unsigned)at[0] << 8 | at[1];
}

/* A JPEG is a chain of segments, each with its length; the one that starts a frame (SOF) holds the size of the picture. */
static struct picture look_at_jpeg(FILE *file)
{
    struct picture picture = { .kind = "jpeg" };
    unsigned char head[9];

    for (long at = 2; fseek(file, at, SEEK_SET) == 0 && fread(head, sizeof head, 1, file) == 1 && head[0] == 0xff;
         at += 2 + (long)big_endian16(head + 2)) {
        unsigned char marker = head[1];
        if (marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc) {
            picture.height = big_endian16(head + 5);
            picture.width = big_endian16(head + 7);
            break;
        }
    }
    return picture;
}

static struct picture look_at(FILE *file)
{
    unsigned char head[24] = { 0 };

    size_t len = fread(head, 1, sizeof head, file);
    if (len >= 3 && memcmp(head, "\xff\xd8\xff", 3) == 0)
        return look_at_jpeg(file);
    if (len == sizeof head && memcmp(head, "\x89PNG\r\n\x1a\n", 8) == 0)
        return (struct picture){ "png", big_endian16(head + 18), big_endian16(head + 22) };
    if (memchr(head, '\0', len) == NULL)
        return (struct picture){ .kind = "text" };
    return (struct picture){ .kind = "other" };
}

static enum sluice_err fail(struct sluice_delivery *delivery, const char *type, const char *message)
{
    sluice_function_fail(delivery, type, message);
    return SLUICE_EIO;
}

static enum sluice_err list_file(const struct catalogue *catalogue, struct sluice_delivery *delivery, const json_t *object,
                                 FILE *out)
{
    const char *key = json_string_value(json_object_get(object, "key"));
    const char *sequencer = json_string_value(json_object_get(object, "sequencer"));
    char path[PATH_MAX];

    if (key == NULL || sequencer == NULL || snprintf(path, sizeof path, "%s/%s", catalogue->files, key) >= (int)sizeof path)
        return fail(delivery, "BadEvent", "not an event of sluice-files: no detail.object.key or sequencer");
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return fail(delivery, "NoSuchFile", strerror(errno));
    struct picture picture = look_at(file);
    (void)fclose(file); /* read only */
    (void)fprintf(out, "%s\t%" JSON_INTEGER_FORMAT "\t%s\t%ux%u\t%s\n", key, json_integer_value(json_object_get(object, "size")),
                  picture.kind, picture.width, picture.height, sequencer);
    return SLUICE_OK;
}

static void handle_batch(void *user, struct sluice_delivery *const *deliveries, size_t count, enum sluice_err *codes)
{
    const struct catalogue *catalogue = user;
    char *lines = NULL;
    size_t lines_len = 0;
    FILE *out = open_memstream(&lines, &lines_len);

    for (size_t i = 0; i < count; i++) {
        json_t *detail = json_loadb(deliveries[i]->detail, deliveries[i]->detail_len, 0, NULL);
        codes[i] = out == NULL ? fail(deliveries[i], "NoMemory", "out of memory")
                               : list_file(catalogue, deliveries[i], json_object_get(detail, "object"), out);
        json_decref(detail);
    }
    if (out == NULL)
        return;
    bool written = fclose(out) == 0 && write(catalogue->list_fd, lines, lines_len) == (ssize_t)lines_len;
    for (size_t i = 0; i < count && !written; i++)
        codes[i] = fail(deliveries[i], "CannotWrite", "cannot append to catalogue.tsv");
    free(lines);
}

int main(void)
{
    const char *files = getenv("FILES"), *results = getenv("RESULTS");
    char path[PATH_MAX];

    if (files == NULL || results == NULL || snprintf(path, sizeof path, "%s/catalogue.tsv", results) >= (int)sizeof path) {
        (void)fprintf(stderr, "catalogue: set FILES and RESULTS in the function's environment\n");
        return 1;
    }
    (void)mkdir(results, 0755); /* if it is there, good; if it cannot be made, the next line says so */
    struct catalogue catalogue = { .files = files, .list_fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644) };
    if (catalogue.list_fd < 0) {
        (void)fprintf(stderr, "catalogue: cannot open '%s': %s\n", path, strerror(errno));
        return 1;
    }
    return sluice_function_run(&(struct sluice_function){ .handle_batch = handle_batch, .user = &catalogue });
}
