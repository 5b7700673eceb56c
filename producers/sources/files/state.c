/* Three tables in one LMDB file:
 *
 *   meta     "head" -> struct state_head; "bucket" -> its name
 *   files    SHA-256 of the path -> struct file_identity, path     (LMDB keys end at 511 bytes, paths do not)
 *   intents  index u32 -> struct intent_head (top bit of path_len: a deletion), path, detail         (empty but while a batch is out)
 *
 * Numbers are in the host's byte order, as LMDB's own are: the file belongs to the machine whose inodes it lists. */
#include "producers/sources/files/state.h"

#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/random.h>
#include <unistd.h>

enum {
    PATH_KEY_BYTES = 32,
    PATH_BYTES_MAX = 4096, /* PATH_MAX */
};
#define INTENT_DELETED (UINT32_C(1) << 31) /* in path_len */
#define STATE_MAP_BYTES (UINT64_C(16) << 30) /* address space, not memory: about 100 million files */

struct state_head {
    uint32_t version, reserved;
    uint8_t producer[16];
    uint64_t epoch, sequence, sequencer;
};
struct intent_head {
    struct file_identity identity;
    int64_t time_ms;
    uint32_t path_len, detail_len;
};
_Static_assert(sizeof(struct state_head) == 48, "no padding: this is what is on the disk");
_Static_assert(sizeof(struct intent_head) == 40, "no padding: this is what is on the disk");

struct state {
    char *path;
    int lock_fd;
    MDB_env *env;
    MDB_dbi meta, files, intents;
    struct state_head head; /* as on disk, but for sequencer, which runs ahead until the next intend */
};

void batch_clear(struct batch *batch)
{
    for (unsigned i = 0; i < batch->count; i++) {
        free(batch->intents[i].path);
        bytes_done(&batch->intents[i].detail);
    }
    batch->count = 0;
}

static enum sluice_err failed(const struct state *state, const char *doing, int rc, struct sluice_error *reterr)
{
    enum sluice_err code = rc == MDB_MAP_FULL || rc == ENOSPC ? SLUICE_ELIMIT
                           : rc == ENOMEM                     ? SLUICE_ENOMEM
                           : rc == MDB_CORRUPTED || rc == MDB_INVALID || rc == MDB_VERSION_MISMATCH || rc == MDB_PAGE_NOTFOUND
                               ? SLUICE_ECORRUPT
                               : SLUICE_EIO;
    return sluice_fail(reterr, code, "state '%s': cannot %s: %s", state->path, doing, mdb_strerror(rc));
}

static MDB_val value_of(const void *data, size_t len)
{
    return (MDB_val){ .mv_data = (void *)(uintptr_t)data, .mv_size = len };
}

static bool path_key(const char *path, uint8_t ret_key[PATH_KEY_BYTES])
{
    unsigned len = 0;
    return EVP_Digest(path, strlen(path), ret_key, &len, EVP_sha256(), NULL) == 1 && len == PATH_KEY_BYTES;
}

static int put_head(struct state *state, MDB_txn *txn, const struct state_head *head)
{
    MDB_val key = value_of("head", 4), value = value_of(head, sizeof *head);
    return mdb_put(txn, state->meta, &key, &value, 0);
}

static enum sluice_err make_new(struct state *state, MDB_txn *txn, const char *bucket, struct sluice_error *reterr)
{
    struct state_head head = { .version = STATE_VERSION, .epoch = 1, .sequence = 1 };
    MDB_val key = value_of("bucket", 6), value = value_of(bucket, strlen(bucket));

    if (getrandom(head.producer, sizeof head.producer, 0) != (ssize_t)sizeof head.producer)
        return sluice_fail(reterr, SLUICE_EIO, "no random bytes for a new state: %m");
    int rc = mdb_put(txn, state->meta, &key, &value, 0);
    if (rc == 0)
        rc = put_head(state, txn, &head);
    if (rc != 0)
        return failed(state, "begin it", rc, reterr);
    state->head = head;
    return SLUICE_OK;
}

static enum sluice_err check_existing(struct state *state, MDB_txn *txn, MDB_val head, const char *bucket,
                                      struct sluice_error *reterr)
{
    MDB_val key = value_of("bucket", 6), name;

    if (head.mv_size < sizeof state->head.version)
        return sluice_fail(reterr, SLUICE_ECORRUPT, "state '%s': its head is cut short", state->path);
    memcpy(&state->head.version, head.mv_data, sizeof state->head.version);
    if (state->head.version < 1 || state->head.version > STATE_VERSION || head.mv_size != sizeof state->head)
        return sluice_fail(reterr, SLUICE_ECORRUPT,
                           "state '%s': version %u, this program knows %d: use the program that wrote it, "
                           "or another --state file",
                           state->path, state->head.version, STATE_VERSION);
    memcpy(&state->head, head.mv_data, sizeof state->head);
    state->head.version = STATE_VERSION; /* written with the next head, which comes before the first deletion */
    int rc = mdb_get(txn, state->meta, &key, &name);
    if (rc != 0)
        return failed(state, "read its bucket", rc, reterr);
    if (!view_is((struct view){ .data = name.mv_data, .len = name.mv_size }, bucket))
        return sluice_fail(reterr, SLUICE_EINVAL, "state '%s' is of bucket '%.*s', not '%s': use a --state file for each bucket",
                           state->path, (int)(name.mv_size > 64 ? 64 : name.mv_size), (const char *)name.mv_data, bucket);
    return SLUICE_OK;
}

static enum sluice_err open_tables(struct state *state, const char *bucket, struct sluice_error *reterr)
{
    MDB_txn *txn = NULL;
    MDB_val key = value_of("head", 4), value;
    enum sluice_err err;

    int rc = mdb_txn_begin(state->env, NULL, 0, &txn);
    if (rc != 0)
        return failed(state, "begin a transaction", rc, reterr);
    rc = mdb_dbi_open(txn, "meta", MDB_CREATE, &state->meta);
    if (rc == 0)
        rc = mdb_dbi_open(txn, "files", MDB_CREATE, &state->files);
    if (rc == 0)
        rc = mdb_dbi_open(txn, "intents", MDB_CREATE | MDB_INTEGERKEY, &state->intents);
    if (rc != 0) {
        mdb_txn_abort(txn);
        return failed(state, "open its tables", rc, reterr);
    }
    rc = mdb_get(txn, state->meta, &key, &value);
    if (rc == MDB_NOTFOUND)
        err = make_new(state, txn, bucket, reterr);
    else if (rc == 0)
        err = check_existing(state, txn, value, bucket, reterr);
    else
        err = failed(state, "read its head", rc, reterr);
    if (err != SLUICE_OK) {
        mdb_txn_abort(txn);
        return err;
    }
    rc = mdb_txn_commit(txn);
    return rc == 0 ? SLUICE_OK : failed(state, "write it", rc, reterr);
}

/* Our own lock stands in for LMDB's: one process at a time, so no second file is needed beside this one. */
static enum sluice_err open_locked(struct state *state, struct sluice_error *reterr)
{
    state->lock_fd = open(state->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (state->lock_fd < 0)
        return sluice_fail(reterr, SLUICE_EIO, "state '%s': cannot open it: %m", state->path);
    if (flock(state->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno == EWOULDBLOCK)
            return sluice_fail(reterr, SLUICE_EEXISTS,
                               "state '%s' is in use by another sluice-files: stop it, or use another --state "
                               "file",
                               state->path);
        return sluice_fail(reterr, SLUICE_EIO, "state '%s': cannot lock it: %m", state->path);
    }
    int rc = mdb_env_create(&state->env);
    if (rc == 0)
        rc = mdb_env_set_mapsize(state->env, STATE_MAP_BYTES);
    if (rc == 0)
        rc = mdb_env_set_maxdbs(state->env, 3);
    if (rc == 0)
        rc = mdb_env_open(state->env, state->path, MDB_NOSUBDIR | MDB_NOLOCK, 0600);
    return rc == 0 ? SLUICE_OK : failed(state, "open it as a state file", rc, reterr);
}

enum sluice_err state_open(const char *path, const char *bucket, struct state **ret_state, struct sluice_error *reterr)
{
    struct state *state = calloc(1, sizeof *state);
    if (state != NULL) {
        state->lock_fd = -1;
        state->path = strdup(path);
    }
    if (state == NULL || state->path == NULL) {
        state_close(state);
        return sluice_fail(reterr, SLUICE_ENOMEM, "out of memory opening state '%s'", path);
    }
    enum sluice_err err = open_locked(state, reterr);
    if (err == SLUICE_OK)
        err = open_tables(state, bucket, reterr);
    if (err != SLUICE_OK) {
        state_close(state);
        return err;
    }
    *ret_state = state;
    return SLUICE_OK;
}

struct state *state_close(struct state *state)
{
    if (state == NULL)
        return NULL;
    if (state->env != NULL)
        mdb_env_close(state->env);
    if (state->lock_fd >= 0)
        (void)close(state->lock_fd); /* only a lock */
    free(state->path);
    free(state);
    return NULL;
}

struct state_producer state_producer(const struct state *state)
{
    struct state_producer producer = { .epoch = state->head.epoch, .sequence = state->head.sequence };
    memcpy(producer.id, state->head.producer, sizeof producer.id);
    return producer;
}

uint64_t state_sequencer_next(struct state *state, uint64_t now_ns)
{
    state->head.sequencer = now_ns > state->head.sequencer ? now_ns : state->head.sequencer + 1;
    return state->head.sequencer;
}

/* The row of the path; *ret_has false: none. */
static enum sluice_err known_identity(struct state *state, const char *path, bool *ret_has, struct file_identity *ret_identity,
                                      struct sluice_error *reterr)
{
    uint8_t hash[PATH_KEY_BYTES] = { 0 };
    MDB_val key = value_of(hash, sizeof hash), value;
    MDB_txn *txn = NULL;

    if (!path_key(path, hash))
        return sluice_fail(reterr, SLUICE_ENOMEM, "libcrypto could not hash the path '%s'", path);
    int rc = mdb_txn_begin(state->env, NULL, MDB_RDONLY, &txn);
    if (rc != 0)
        return failed(state, "read it", rc, reterr);
    rc = mdb_get(txn, state->files, &key, &value);
    if (rc == 0 && value.mv_size >= sizeof *ret_identity) {
        memcpy(ret_identity, value.mv_data, sizeof *ret_identity);
        *ret_has = true;
    } else if (rc == 0) {
        rc = MDB_CORRUPTED;
    } else if (rc == MDB_NOTFOUND) {
        *ret_has = false;
        rc = 0;
    }
    mdb_txn_abort(txn);
    return rc == 0 ? SLUICE_OK : failed(state, "read it", rc, reterr);
}

enum sluice_err state_knows(struct state *state, const char *path, struct file_identity identity, bool *ret_known,
                            struct sluice_error *reterr)
{
    struct file_identity known;
    bool has = false;
    enum sluice_err err = known_identity(state, path, &has, &known, reterr);

    if (err == SLUICE_OK)
        *ret_known = has && file_identity_equals(known, identity);
    return err;
}

enum sluice_err state_has(struct state *state, const char *path, bool *ret_has, struct sluice_error *reterr)
{
    struct file_identity known;
    return known_identity(state, path, ret_has, &known, reterr);
}

static int put_intent(struct state *state, MDB_txn *txn, unsigned index, const struct intent *intent)
{
    struct intent_head head = { .identity = intent->identity,
                                .time_ms = intent->time_ms,
                                .path_len = (uint32_t)strlen(intent->path),
                                .detail_len = (uint32_t)intent->detail.len };
    uint32_t path_len = head.path_len;
    MDB_val key = value_of(&index, sizeof index), value = { .mv_size = sizeof head + path_len + head.detail_len };

    int rc = mdb_put(txn, state->intents, &key, &value, MDB_RESERVE);
    if (rc != 0)
        return rc;
    char *at = value.mv_data;
    head.path_len |= intent->deleted ? INTENT_DELETED : 0;
    memcpy(at, &head, sizeof head);
    memcpy(at + sizeof head, intent->path, path_len);
    memcpy(at + sizeof head + path_len, intent->detail.data, head.detail_len);
    return 0;
}

enum sluice_err state_intend(struct state *state, const struct batch *batch, struct sluice_error *reterr)
{
    MDB_txn *txn = NULL;

    int rc = mdb_txn_begin(state->env, NULL, 0, &txn);
    if (rc != 0)
        return failed(state, "begin a transaction", rc, reterr);
    for (unsigned i = 0; i < batch->count && rc == 0; i++)
        rc = put_intent(state, txn, i, &batch->intents[i]);
    if (rc == 0)
        rc = put_head(state, txn, &state->head);
    if (rc != 0) {
        mdb_txn_abort(txn);
        return failed(state, "write what is to be published", rc, reterr);
    }
    rc = mdb_txn_commit(txn);
    return rc == 0 ? SLUICE_OK : failed(state, "write what is to be published", rc, reterr);
}

static int take_intent(MDB_val value, struct batch *batch)
{
    struct intent_head head;
    struct intent *intent = &batch->intents[batch->count];
    const char *at = value.mv_data;

    if (batch->count == STATE_BATCH_FILES_MAX || value.mv_size < sizeof head)
        return MDB_CORRUPTED;
    memcpy(&head, at, sizeof head);
    bool deleted = (head.path_len & INTENT_DELETED) != 0;
    head.path_len &= ~INTENT_DELETED;
    if (head.path_len > PATH_BYTES_MAX || value.mv_size != sizeof head + head.path_len + head.detail_len)
        return MDB_CORRUPTED;
    *intent = (struct intent){ .identity = head.identity, .deleted = deleted, .time_ms = head.time_ms };
    intent->path = strndup(at + sizeof head, head.path_len);
    if (intent->path == NULL)
        return ENOMEM;
    batch->count++;
    bytes_put(&intent->detail, at + sizeof head + head.path_len, head.detail_len);
    return intent->detail.failed ? ENOMEM : 0;
}

enum sluice_err state_intended(struct state *state, struct batch *ret_batch, struct sluice_error *reterr)
{
    MDB_txn *txn = NULL;
    MDB_cursor *cursor = NULL;
    MDB_val key, value;

    int rc = mdb_txn_begin(state->env, NULL, MDB_RDONLY, &txn);
    if (rc != 0)
        return failed(state, "read it", rc, reterr);
    rc = mdb_cursor_open(txn, state->intents, &cursor);
    while (rc == 0) {
        rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
        if (rc == 0)
            rc = take_intent(value, ret_batch);
    }
    if (cursor != NULL)
        mdb_cursor_close(cursor);
    mdb_txn_abort(txn);
    if (rc == MDB_NOTFOUND)
        return SLUICE_OK;
    batch_clear(ret_batch);
    return failed(state, "read what was to be published", rc, reterr);
}

static int put_known(struct state *state, MDB_txn *txn, const struct intent *intent)
{
    uint8_t hash[PATH_KEY_BYTES] = { 0 };
    size_t path_len = strlen(intent->path);
    MDB_val key = value_of(hash, sizeof hash), value = { .mv_size = sizeof intent->identity + path_len };

    if (!path_key(intent->path, hash))
        return ENOMEM;
    int rc = mdb_put(txn, state->files, &key, &value, MDB_RESERVE);
    if (rc != 0)
        return rc;
    memcpy(value.mv_data, &intent->identity, sizeof intent->identity);
    memcpy((char *)value.mv_data + sizeof intent->identity, intent->path, path_len);
    return 0;
}

static int delete_known(struct state *state, MDB_txn *txn, const char *path)
{
    uint8_t hash[PATH_KEY_BYTES] = { 0 };
    MDB_val key = value_of(hash, sizeof hash);

    if (!path_key(path, hash))
        return ENOMEM;
    int rc = mdb_del(txn, state->files, &key, NULL);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

enum sluice_err state_confirm(struct state *state, const struct batch *batch, const bool forget[STATE_BATCH_FILES_MAX],
                              uint64_t sequence_next, struct sluice_error *reterr)
{
    MDB_txn *txn = NULL;
    struct state_head head = state->head;

    int rc = mdb_txn_begin(state->env, NULL, 0, &txn);
    if (rc != 0)
        return failed(state, "begin a transaction", rc, reterr);
    for (unsigned i = 0; i < batch->count && rc == 0; i++) {
        if (!forget[i])
            rc = batch->intents[i].deleted ? delete_known(state, txn, batch->intents[i].path) : put_known(state, txn, &batch->intents[i]);
    }
    if (rc == 0)
        rc = mdb_drop(txn, state->intents, 0);
    head.sequence = sequence_next;
    if (rc == 0)
        rc = put_head(state, txn, &head);
    if (rc != 0) {
        mdb_txn_abort(txn);
        return failed(state, "write what was published", rc, reterr);
    }
    rc = mdb_txn_commit(txn);
    if (rc != 0)
        return failed(state, "write what was published", rc, reterr);
    state->head = head;
    return SLUICE_OK;
}

static int take_path(MDB_val key, MDB_val value, struct state_cursor *cursor, char ret_path[STATE_PATH_BYTES])
{
    size_t len = value.mv_size - sizeof(struct file_identity);

    if (value.mv_size < sizeof(struct file_identity) || len > PATH_BYTES_MAX || key.mv_size != sizeof cursor->last)
        return MDB_CORRUPTED;
    memcpy(ret_path, (const char *)value.mv_data + sizeof(struct file_identity), len);
    ret_path[len] = '\0';
    memcpy(cursor->last, key.mv_data, sizeof cursor->last);
    cursor->began = true;
    return 0;
}

enum sluice_err state_next(struct state *state, struct state_cursor *cursor, char ret_path[STATE_PATH_BYTES], bool *ret_found,
                           struct sluice_error *reterr)
{
    MDB_txn *txn = NULL;
    MDB_cursor *at = NULL;
    uint8_t last[STATE_CURSOR_BYTES] = { 0 };
    MDB_val key = value_of(last, sizeof last), value;

    memcpy(last, cursor->last, sizeof last);
    int rc = mdb_txn_begin(state->env, NULL, MDB_RDONLY, &txn);
    if (rc != 0)
        return failed(state, "read it", rc, reterr);
    rc = mdb_cursor_open(txn, state->files, &at);
    if (rc == 0) {
        rc = mdb_cursor_get(at, &key, &value, MDB_SET_RANGE);
        if (rc == 0 && cursor->began && memcmp(key.mv_data, last, sizeof last) == 0)
            rc = mdb_cursor_get(at, &key, &value, MDB_NEXT);
        *ret_found = rc == 0;
        rc = rc == 0 ? take_path(key, value, cursor, ret_path) : rc == MDB_NOTFOUND ? 0 : rc;
        mdb_cursor_close(at);
    }
    mdb_txn_abort(txn);
    return rc == 0 ? SLUICE_OK : failed(state, "read it", rc, reterr);
}

enum sluice_err state_forget(struct state *state, const char *path, struct sluice_error *reterr)
{
    MDB_txn *txn = NULL;

    int rc = mdb_txn_begin(state->env, NULL, 0, &txn);
    if (rc != 0)
        return failed(state, "begin a transaction", rc, reterr);
    rc = delete_known(state, txn, path);
    if (rc != 0)
        mdb_txn_abort(txn);
    else
        rc = mdb_txn_commit(txn);
    return rc == 0 ? SLUICE_OK : failed(state, "forget a file", rc, reterr);
}

enum sluice_err state_count(struct state *state, uint64_t *ret_files, struct sluice_error *reterr)
{
    MDB_txn *txn = NULL;
    MDB_stat stat;

    int rc = mdb_txn_begin(state->env, NULL, MDB_RDONLY, &txn);
    if (rc == 0) {
        rc = mdb_stat(txn, state->files, &stat);
        mdb_txn_abort(txn);
    }
    if (rc != 0)
        return failed(state, "count its files", rc, reterr);
    *ret_files = stat.ms_entries;
    return SLUICE_OK;
}
