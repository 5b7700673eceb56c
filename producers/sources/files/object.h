/* object.h - one file as an object: who it is, whether it is complete, and the event that tells of it.
 *
 * Complete means: nobody has the file open for writing. The kernel knows (it grants a read lease only then), but tells only the
 * file's owner and root, and not every file system can. Where it does not say, a file is complete when its close was seen, or
 * when it has not changed for QUIET_MS.
 * Pure towards the outside: reads files, keeps nothing, logs nothing. */
#ifndef SLUICE_FILES_OBJECT_H
#define SLUICE_FILES_OBJECT_H

#include "schemas/codec/bytes.h"
#include "sluice/error.h"

enum {
    OBJECT_ETAG_TEXT_LEN = 32, /* MD5 in hex, as S3 has it for what was put in one piece */
    OBJECT_QUIET_MS = 2000,
    OBJECT_READ_BYTES = 64 << 10, /* memory for hashing, whatever the file's size */
};

/* What makes a file this file and not its next version. */
struct file_identity {
    uint64_t inode, size;
    int64_t mtime_ns;
};
static inline bool file_identity_equals(struct file_identity a, struct file_identity b)
{
    return a.inode == b.inode && a.size == b.size && a.mtime_ns == b.mtime_ns;
}

struct object {
    struct file_identity identity;
    char etag[OBJECT_ETAG_TEXT_LEN + 1];
};

/* How we came to the file: its close or its arrival was seen, or it was found there. */
enum object_seen { OBJECT_SEEN_CLOSED, OBJECT_SEEN_LYING };

enum object_result {
    OBJECT_COMPLETE,
    OBJECT_OPEN,       /* being written; its close will be seen, so nothing is to be done */
    OBJECT_UNSETTLED,  /* changed a moment ago, and the kernel does not say whether it is open: look again in OBJECT_QUIET_MS */
    OBJECT_GONE,       /* not there any more */
    OBJECT_OTHER,      /* not a regular file */
    OBJECT_UNREADABLE, /* reterr says why */
};

/* Milliseconds until nothing of the file (content, name, permissions) has changed for `settle_ms`; 0: that is so now, or it is not
 * there. By its time of change, which no program can set. `now_ms` is wall time. */
int64_t object_settles_in(const char *path, int64_t settle_ms, int64_t now_ms);
/* OBJECT_COMPLETE here only means: a regular file, with this identity. */
enum object_result object_identify(const char *path, struct file_identity *ret_identity, struct sluice_error *reterr);
/* Reads the whole file. `now_ms` is wall time, for OBJECT_UNSETTLED. */
enum object_result object_read(const char *path, enum object_seen seen, int64_t now_ms, struct object *ret_object,
                               struct sluice_error *reterr);

/* Appends the event's detail, in the shape of S3's "Object Created". `key` must be UTF-8. */
struct object_event {
    const char *bucket, *key;
    const struct object *object;
    uint64_t sequencer; /* grows with every event: tells the order of two events of one key */
    uint64_t request_id;
};
void object_put_detail(struct bytes *out, const struct object_event *event);
/* The same of "Object Deleted"; `object` is not read. */
void object_put_deleted_detail(struct bytes *out, const struct object_event *event);

#endif
