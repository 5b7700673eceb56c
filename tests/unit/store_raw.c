#include "tests/unit/store_raw.h"

#include <endian.h>
#include <stdio.h>
#include <stdlib.h>

enum { RAW_MORE = 4096 };

static void must(int rc, const char *what)
{
    if (rc != 0) {
        (void)fprintf(stderr, "raw store: %s: %s\n", what, mdb_strerror(rc));
        exit(1);
    }
}

static MDB_env *raw_open(const char *dir, const char *table, unsigned flags, MDB_txn **ret_txn, MDB_dbi *ret_dbi)
{
    MDB_env *env;

    must(mdb_env_create(&env), "create");
    must(mdb_env_set_mapsize(env, (size_t)1 << 30), "map");
    must(mdb_env_set_maxdbs(env, 16), "tables");
    must(mdb_env_open(env, dir, 0, 0600), "open");
    must(mdb_txn_begin(env, NULL, 0, ret_txn), "begin");
    must(mdb_dbi_open(*ret_txn, table, flags, ret_dbi), table);
    return env;
}

void raw_row(const char *dir, const char *table, unsigned flags, struct view key, raw_change *change, void *ctx)
{
    MDB_txn *txn;
    MDB_dbi dbi;
    MDB_env *env = raw_open(dir, table, flags, &txn, &dbi);
    MDB_val row_key = { key.len, (void *)(uintptr_t)key.data }, value;

    int rc = mdb_get(txn, dbi, &row_key, &value);
    if (rc != MDB_NOTFOUND)
        must(rc, "get");
    size_t len = rc == 0 ? value.mv_size : 0;
    char *copy = calloc(1, len + RAW_MORE);
    if (copy == NULL)
        abort();
    if (rc == 0)
        memcpy(copy, value.mv_data, len);
    if (change(ctx, copy, &len)) {
        value = (MDB_val){ len, copy };
        must(mdb_put(txn, dbi, &row_key, &value, 0), "put");
    } else {
        must(mdb_del(txn, dbi, &row_key, NULL), "delete");
    }
    free(copy);
    must(mdb_txn_commit(txn), "commit");
    mdb_env_close(env);
}

void raw_drop(const char *dir, const char *table)
{
    MDB_txn *txn;
    MDB_dbi dbi;
    MDB_env *env = raw_open(dir, table, 0, &txn, &dbi);

    must(mdb_drop(txn, dbi, 1), "drop");
    must(mdb_txn_commit(txn), "commit");
    mdb_env_close(env);
}

static bool change_delete(void *ctx, char *value, size_t *len)
{
    (void)ctx, (void)value, (void)len;
    return false;
}

void raw_delete(const char *dir, const char *table, unsigned flags, struct view key)
{
    raw_row(dir, table, flags, key, change_delete, NULL);
}

static bool change_put(void *ctx, char *value, size_t *len)
{
    struct view *wanted = ctx;

    if (wanted->len > RAW_MORE)
        abort();
    memcpy(value, wanted->data, wanted->len);
    *len = wanted->len;
    return true;
}

void raw_put(const char *dir, const char *table, unsigned flags, struct view key, struct view value)
{
    raw_row(dir, table, flags, key, change_put, &value);
}

struct addition {
    size_t offset;
    int64_t difference;
};

static bool change_add(void *ctx, char *value, size_t *len)
{
    struct addition *addition = ctx;
    uint64_t number;

    if (*len < addition->offset + sizeof number)
        abort();
    memcpy(&number, value + addition->offset, sizeof number);
    number = htole64(le64toh(number) + (uint64_t)addition->difference);
    memcpy(value + addition->offset, &number, sizeof number);
    return true;
}

void raw_add(const char *dir, const char *table, unsigned flags, struct view key, size_t offset, int64_t difference)
{
    struct addition addition = { offset, difference };
    raw_row(dir, table, flags, key, change_add, &addition);
}

void raw_keys(const char *dir, const char *table, unsigned flags, void (*on_key)(void *ctx, struct view key), void *ctx)
{
    MDB_txn *txn;
    MDB_dbi dbi;
    MDB_cursor *cursor;
    MDB_val key, value;
    MDB_env *env = raw_open(dir, table, flags, &txn, &dbi);
    int rc;

    must(mdb_cursor_open(txn, dbi, &cursor), "cursor");
    while ((rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0)
        on_key(ctx, (struct view){ key.mv_data, key.mv_size });
    if (rc != MDB_NOTFOUND)
        must(rc, "next");
    mdb_cursor_close(cursor);
    mdb_txn_abort(txn);
    mdb_env_close(env);
}
