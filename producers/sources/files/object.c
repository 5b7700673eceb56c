#include "producers/sources/files/object.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "schemas/codec/json.h"

#define REQUESTER "000000000000" /* the account, as everywhere in Sluice */

static struct file_identity identity_of(const struct stat *status)
{
    return (struct file_identity){
        .inode = status->st_ino,
        .size = (uint64_t)status->st_size,
        .mtime_ns = status->st_mtim.tv_sec * INT64_C(1000000000) + status->st_mtim.tv_nsec,
    };
}

static enum object_result open_failed(const char *path, const char *doing, struct sluice_error *reterr)
{
    if (errno == ENOENT || errno == ENOTDIR)
        return OBJECT_GONE;
    if (errno == ELOOP) /* became a symbolic link since it was listed */
        return OBJECT_OTHER;
    (void)sluice_fail(reterr, SLUICE_EIO, "cannot %s '%s': %m; no event is published for it", doing, path);
    return OBJECT_UNREADABLE;
}

enum object_result object_identify(const char *path, struct file_identity *ret_identity, struct sluice_error *reterr)
{
    struct stat status;

    if (lstat(path, &status) != 0)
        return open_failed(path, "look at", reterr);
    if (!S_ISREG(status.st_mode))
        return OBJECT_OTHER;
    *ret_identity = identity_of(&status);
    return OBJECT_COMPLETE;
}

int64_t object_settles_in(const char *path, int64_t settle_ms, int64_t now_ms)
{
    struct stat status;

    if (lstat(path, &status) != 0)
        return 0;
    int64_t left = status.st_ctim.tv_sec * INT64_C(1000) + status.st_ctim.tv_nsec / 1000000 + settle_ms - now_ms;
    return left <= 0 ? 0 : left > settle_ms ? settle_ms : left; /* more: the clock went back, or the file is on another machine's */
}

/* A read lease is refused while anyone has the file open for writing: that is the question, the lease itself is not wanted.
 * Should a writer come in this instant, it waits for the line below, and we are sent SIGIO, which main() ignores. */
static enum object_result ask_kernel(int fd, bool *ret_knows)
{
    *ret_knows = true;
    if (fcntl(fd, F_SETLEASE, F_RDLCK) == 0) {
        (void)fcntl(fd, F_SETLEASE, F_UNLCK); /* cannot fail: we hold it, and close() would end it too */
        return OBJECT_COMPLETE;
    }
    if (errno == EAGAIN)
        return OBJECT_OPEN;
    *ret_knows = false; /* EACCES: not our file; EINVAL: not on this file system */
    return OBJECT_COMPLETE;
}

static bool hash_file(int fd, char ret_etag[OBJECT_ETAG_TEXT_LEN + 1])
{
    static const char hex[] = "0123456789abcdef";
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned digest_len = 0;
    char *buffer = malloc(OBJECT_READ_BYTES);
    EVP_MD_CTX *md5 = EVP_MD_CTX_new();
    bool done = buffer != NULL && md5 != NULL && EVP_DigestInit_ex(md5, EVP_md5(), NULL) == 1;

    errno = ENOMEM; /* what remains if libcrypto fails; read() sets its own */
    while (done) {
        ssize_t len = read(fd, buffer, OBJECT_READ_BYTES);
        if (len == 0)
            break;
        if (len < 0 && errno == EINTR)
            continue;
        done = len > 0 && EVP_DigestUpdate(md5, buffer, (size_t)len) == 1;
    }
    done = done && EVP_DigestFinal_ex(md5, digest, &digest_len) == 1 && digest_len * 2 == OBJECT_ETAG_TEXT_LEN;
    EVP_MD_CTX_free(md5);
    free(buffer);
    if (!done)
        return false;
    for (unsigned i = 0; i < digest_len; i++) {
        ret_etag[(size_t)2 * i] = hex[digest[i] >> 4];
        ret_etag[2 * i + 1] = hex[digest[i] & 15];
    }
    ret_etag[OBJECT_ETAG_TEXT_LEN] = '\0';
    return true;
}

static enum object_result read_open_file(int fd, const char *path, enum object_seen seen, int64_t now_ms,
                                         struct object *ret_object, struct sluice_error *reterr)
{
    struct stat before, after;
    struct object object;
    bool kernel_knows;

    if (fstat(fd, &before) != 0)
        return open_failed(path, "look at", reterr);
    if (!S_ISREG(before.st_mode))
        return OBJECT_OTHER;
    if (ask_kernel(fd, &kernel_knows) == OBJECT_OPEN)
        return OBJECT_OPEN;
    object.identity = identity_of(&before);
    if (!kernel_knows && seen == OBJECT_SEEN_LYING && object.identity.mtime_ns / 1000000 > now_ms - OBJECT_QUIET_MS)
        return OBJECT_UNSETTLED;
    if (!hash_file(fd, object.etag)) {
        (void)sluice_fail(reterr, SLUICE_EIO, "cannot read '%s': %m; no event is published for it", path);
        return OBJECT_UNREADABLE;
    }
    if (fstat(fd, &after) != 0)
        return open_failed(path, "look at", reterr);
    /* Somebody wrote while we read; the hash is of neither version. The writer's close will bring us back. */
    if (!file_identity_equals(object.identity, identity_of(&after)))
        return kernel_knows ? OBJECT_OPEN : OBJECT_UNSETTLED;
    *ret_object = object;
    return OBJECT_COMPLETE;
}

enum object_result object_read(const char *path, enum object_seen seen, int64_t now_ms, struct object *ret_object,
                               struct sluice_error *reterr)
{
    /* O_NONBLOCK: should a pipe have taken the file's place, do not wait for its writer. */
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        return open_failed(path, "open", reterr);
    enum object_result result = read_open_file(fd, path, seen, now_ms, ret_object, reterr);
    (void)close(fd); /* read only: nothing to lose */
    return result;
}

static void put_bucket_and_key(struct bytes *out, const struct object_event *event)
{
    bytes_put_text(out, "{\"version\":\"0\",\"bucket\":{\"name\":");
    json_put_string(out, view_of(event->bucket));
    bytes_put_text(out, "},\"object\":{\"key\":");
    json_put_string(out, view_of(event->key));
}

static void put_request(struct bytes *out, const struct object_event *event, const char *reason)
{
    bytes_put_format(out, ",\"sequencer\":\"%016" PRIX64 "\"},\"request-id\":\"%016" PRIX64 "\",\"requester\":\"%s\"", event->sequencer,
                     event->request_id, REQUESTER);
    bytes_put_format(out, ",\"source-ip-address\":\"127.0.0.1\",\"reason\":\"%s\"", reason);
}

void object_put_detail(struct bytes *out, const struct object_event *event)
{
    put_bucket_and_key(out, event);
    bytes_put_format(out, ",\"size\":%" PRIu64 ",\"etag\":\"%s\"", event->object->identity.size, event->object->etag);
    put_request(out, event, "PutObject");
    bytes_put_char(out, '}');
}

void object_put_deleted_detail(struct bytes *out, const struct object_event *event)
{
    put_bucket_and_key(out, event);
    put_request(out, event, "DeleteObject");
    bytes_put_text(out, ",\"deletion-type\":\"Permanently Deleted\"}");
}
