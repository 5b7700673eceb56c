#include "broker/daemon/rule_index.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "broker/base/assert.h"
#include "broker/daemon/worker.h"
#include "broker/edge/log.h"

enum {
    PATH_ROOM = 4096 + 512,
    SPACE_FACTOR = 8,            /* events come first: save only where this many times the file's size is free */
    NICENESS = 10,
};
static const char suffix[] = ".index";

struct rule_index {
    struct broker *broker;
    struct worker worker;
    struct rules_work *work;     /* NULL: none is under way */
    bool ended;                  /* it is in force, or thrown away; the thread frees what is left, which for a million rules takes longer than
                                  * the loop may wait */
};

static void folder_path(const struct broker *broker, char path[PATH_ROOM])
{
    (void)snprintf(path, PATH_ROOM, "%s/rules", broker->data);
}

static void file_path(const struct broker *broker, const char *bus, char path[PATH_ROOM])
{
    int len = snprintf(path, PATH_ROOM, "%s/rules/", broker->data);

    (void)snprintf(path + len, PATH_ROOM - (size_t)len, "%s%s", bus, suffix);
    for (char *at = path + len; *at != '\0'; at++)
        if (*at == '/')
            *at = '%'; /* which no bus has in its name */
}

/* ---- opening ---- */

struct mapping {
    void *data;
    size_t len;
};

static void mapping_release(void *ctx)
{
    struct mapping *mapping = ctx;

    (void)munmap(mapping->data, mapping->len); /* it was mapped so */
    free(mapping);
}

static bool refused(const char *bus, const char *path, const char *reason)
{
    log_format(LOG_WARN, "event=rule-index-refused bus=%s path=\"%s\" reason=\"%s\"", bus, path, reason);
    return false;
}

/* false: there is none, or it cannot be mapped, which was said. */
static bool file_map(const char *bus, const char *path, struct mapping *ret_mapping)
{
    struct stat status;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

    if (fd < 0)
        return errno == ENOENT ? false : refused(bus, path, strerror(errno));
    if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode) || status.st_size <= 0) {
        (void)close(fd);
        return refused(bus, path, "it is empty, or not a file");
    }
    /* Nobody changes it in place: a new one is renamed over it. */
    void *data = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
    int why = errno;
    (void)close(fd);
    if (data == MAP_FAILED)
        return refused(bus, path, strerror(why));
    *ret_mapping = (struct mapping){ .data = data, .len = (size_t)status.st_size };
    return true;
}

struct match_set *rule_index_open(const struct broker *broker, const char *bus, uint64_t fingerprint)
{
    char path[PATH_ROOM];
    struct sluice_error error;
    struct match_set *set = NULL;
    struct mapping *mapping = malloc(sizeof *mapping);
    struct mono began = clock_now().mono;

    ASSERT(mapping != NULL);
    file_path(broker, bus, path);
    if (!file_map(bus, path, mapping)) {
        free(mapping);
        return NULL;
    }
    struct view image = { .data = mapping->data, .len = mapping->len };
    if (match_set_open(image, mapping_release, mapping, &set, &error) != SLUICE_OK) {
        (void)refused(bus, path, error.text);
        mapping_release(mapping);
        return NULL;
    }
    if (match_set_fingerprint(set) != fingerprint) {
        (void)refused(bus, path, "it was made of other rules than the configuration has now; it is made anew");
        return match_set_free(set);
    }
    log_format(LOG_INFO, "event=rule-index-mapped bus=%s rules=%zu bytes=%zu ms=%lld", bus, match_set_cost(set).rules, image.len,
               (long long)((clock_now().mono.us - began.us) / 1000));
    return set;
}

void rule_index_tidy(const struct broker *broker)
{
    char path[PATH_ROOM];

    folder_path(broker, path);
    DIR *folder = opendir(path);
    for (struct dirent *entry; folder != NULL && (entry = readdir(folder)) != NULL;) {
        char name[sizeof entry->d_name];
        size_t len = strlen(entry->d_name), suffix_len = sizeof suffix - 1;
        if (entry->d_name[0] == '.' || len < suffix_len)
            continue;
        (void)snprintf(name, sizeof name, "%s", entry->d_name);
        for (char *at = name; *at != '\0'; at++)
            if (*at == '%')
                *at = '/';
        bool ours = strcmp(name + len - suffix_len, suffix) == 0;
        if (!ours || !config_bus_known(&broker->config->config, (struct view){ .data = name, .len = len - suffix_len }))
            (void)unlinkat(dirfd(folder), entry->d_name, 0); /* what stays is only space */
    }
    if (folder != NULL)
        (void)closedir(folder);
}

/* ---- saving: on the thread ---- */

static bool write_all(int fd, struct view bytes)
{
    for (size_t at = 0; at < bytes.len;) {
        ssize_t len = write(fd, bytes.data + at, bytes.len - at);
        if (len < 0 && errno != EINTR)
            return false;
        at += len < 0 ? 0 : (size_t)len;
    }
    return true;
}

/* Not synced: a file that a crash left half written fails its check, and is made anew. */
static bool file_write(const char *folder, const char *path, struct view image, char reason[128])
{
    char partial[PATH_ROOM + 8];
    struct statvfs space;

    (void)snprintf(partial, sizeof partial, "%s.part", path);
    if (mkdir(folder, 0700) != 0 && errno != EEXIST)
        goto failed;
    if (statvfs(folder, &space) != 0)
        goto failed;
    if ((uint64_t)space.f_bavail * space.f_frsize / SPACE_FACTOR < image.len) {
        (void)snprintf(reason, 128, "the disk has too little room");
        return false;
    }
    int fd = open(partial, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        goto failed;
    bool written = write_all(fd, image);
    int why = errno;
    if (close(fd) != 0 || !written || rename(partial, path) != 0) {
        why = written ? errno : why;
        (void)unlink(partial);
        errno = why;
        goto failed;
    }
    return true;
failed:
    (void)snprintf(reason, 128, "%s", strerror(errno));
    return false;
}

static void save(const struct broker *broker, const char *bus, struct match_set *set)
{
    char folder[PATH_ROOM], path[PATH_ROOM], reason[128];
    struct view image;
    struct sluice_error error;

    if (match_set_image(set, &image, &error) != SLUICE_OK) {
        log_format(LOG_WARN, "event=rule-index-not-saved bus=%s reason=\"%s\"", bus, error.text);
        return;
    }
    folder_path(broker, folder);
    file_path(broker, bus, path);
    if (file_write(folder, path, image, reason))
        log_format(LOG_INFO, "event=rule-index-saved bus=%s rules=%zu bytes=%zu", bus, match_set_cost(set).rules, image.len);
    else
        log_format(LOG_WARN, "event=rule-index-not-saved bus=%s path=\"%s\" reason=\"%s\" msg=\"the next start compiles the rules anew\"", bus,
                   path, reason);
}

/* ---- the thread ---- */

static void work(void *ctx)
{
    struct rule_index *index = ctx;
    const char *bus;

    if (index->ended) {
        rules_work_free(index->work);
        index->work = NULL;
        return;
    }
    (void)setpriority(PRIO_PROCESS, 0, NICENESS); /* on Linux of this thread alone; without it the work is only less polite */
    rules_work_run(index->work);
    struct match_set *set = rules_work_saves(index->work, &bus);
    if (set != NULL)
        save(index->broker, bus, set);
}

static void done(void *ctx)
{
    struct rule_index *index = ctx;

    if (index->ended) {
        index->ended = false;
        return;
    }
    engine_rules_work_end(index->broker->engine, index->work);
    index->ended = true;
    bool began = worker_begin(&index->worker);
    ASSERT(began); /* the thread is there */
}

struct rule_index *rule_index_new(struct broker *broker)
{
    struct rule_index *index = calloc(1, sizeof *index);

    ASSERT(index != NULL);
    index->broker = broker;
    worker_init(&index->worker, broker->mailbox, work, done, index);
    return index;
}

struct rule_index *rule_index_free(struct rule_index *index)
{
    if (index == NULL)
        return NULL;
    worker_stop(&index->worker);
    if (index->work != NULL && !index->ended)
        engine_rules_work_end(index->broker->engine, index->work);
    rules_work_free(index->work);
    free(index);
    return NULL;
}

void rule_index_turn(struct rule_index *index)
{
    if (index->worker.running || index->broker->stopping)
        return;
    index->work = engine_rules_work(index->broker->engine);
    if (index->work == NULL)
        return;
    if (!worker_begin(&index->worker)) { /* no thread is to be had: another turn may have one */
        log_format(LOG_WARN, "event=rules-not-merged msg=\"no thread for it; it is tried again\"");
        engine_rules_work_end(index->broker->engine, index->work);
        rules_work_free(index->work);
        index->work = NULL;
    }
}
