#include "producers/sources/files/state.h"
#include <lmdb.h>

#include "tests/sources/files_bench.h"

static const bool forget_none[STATE_BATCH_FILES_MAX];

static struct state *open_state(const struct place *place)
{
    struct state *state = NULL;
    struct sluice_error error = { 0 };
    EXPECT_EQ(SLUICE_OK, state_open(place->state, "pictures", &state, &error));
    EXPECT_TEXT("", error.text);
    return state;
}

static void add(struct batch *batch, const char *path, uint64_t inode, const char *detail)
{
    struct intent *intent = &batch->intents[batch->count++];
    *intent = (struct intent){ .path = strdup(path), .identity = { inode, 7, 1234567890123456789 }, .time_ms = 42 };
    bytes_put_text(&intent->detail, detail);
}

static bool knows(struct state *state, const char *path, uint64_t inode)
{
    bool known = false;
    EXPECT_EQ(SLUICE_OK, state_knows(state, path, (struct file_identity){ inode, 7, 1234567890123456789 }, &known, NULL));
    return known;
}

TEST(a_confirmed_file_is_known_after_reopening_and_only_with_its_identity)
{
    struct place place = place_new();
    struct state *state = open_state(&place);
    struct batch batch = { .count = 0 };

    add(&batch, "a/b.jpg", 5, "{}");
    EXPECT_EQ(SLUICE_OK, state_intend(state, &batch, NULL));
    EXPECT(!knows(state, "a/b.jpg", 5));
    EXPECT_EQ(SLUICE_OK, state_confirm(state, &batch, forget_none, state_producer(state).sequence + batch.count, NULL));
    state_close(state);
    state = open_state(&place);
    EXPECT(knows(state, "a/b.jpg", 5));
    EXPECT(!knows(state, "a/b.jpg", 6));
    EXPECT(!knows(state, "a/b.jp", 5));
    batch_clear(&batch);
    state_close(state);
}

TEST(an_intended_batch_comes_back_whole_with_its_number)
{
    struct place place = place_new();
    struct state *state = open_state(&place);
    struct batch batch = { .count = 0 }, again = { .count = 0 };

    uint64_t sequence = state_producer(state).sequence;
    add(&batch, "one", 1, "{\"n\":1}");
    add(&batch, "two", 2, "{\"n\":2}");
    EXPECT_EQ(SLUICE_OK, state_intend(state, &batch, NULL));
    state_close(state);

    state = open_state(&place);
    EXPECT_EQ(sequence, state_producer(state).sequence);
    EXPECT_EQ(SLUICE_OK, state_intended(state, &again, NULL));
    EXPECT_EQ(2, again.count);
    EXPECT_TEXT("two", again.intents[1].path);
    EXPECT_EQ(2, again.intents[1].identity.inode);
    EXPECT_EQ(42, again.intents[1].time_ms);
    EXPECT_VIEW("{\"n\":2}", bytes_view(&again.intents[1].detail));
    EXPECT_EQ(SLUICE_OK, state_confirm(state, &again, forget_none, state_producer(state).sequence + again.count, NULL));
    batch_clear(&again);
    EXPECT_EQ(SLUICE_OK, state_intended(state, &again, NULL));
    EXPECT_EQ(0, again.count);
    EXPECT_EQ(sequence + 2, state_producer(state).sequence);
    batch_clear(&batch);
    state_close(state);
}

TEST(a_full_batch_keeps_its_order)
{
    struct place place = place_new();
    struct state *state = open_state(&place);
    struct batch batch = { .count = 0 }, again = { .count = 0 };
    char name[16];

    for (unsigned i = 0; i < STATE_BATCH_FILES_MAX; i++) {
        (void)snprintf(name, sizeof name, "%u", i);
        add(&batch, name, i, "{}");
    }
    EXPECT_EQ(SLUICE_OK, state_intend(state, &batch, NULL));
    EXPECT_EQ(SLUICE_OK, state_intended(state, &again, NULL));
    EXPECT_EQ(STATE_BATCH_FILES_MAX, again.count);
    for (unsigned i = 0; i < again.count; i++)
        EXPECT_EQ(i, again.intents[i].identity.inode);
    batch_clear(&batch);
    batch_clear(&again);
    state_close(state);
}

TEST(what_the_daemon_did_not_take_is_not_remembered)
{
    struct place place = place_new();
    struct state *state = open_state(&place);
    struct batch batch = { .count = 0 };
    bool forget[STATE_BATCH_FILES_MAX] = { false, true };

    add(&batch, "taken", 1, "{}");
    add(&batch, "left", 2, "{}");
    EXPECT_EQ(SLUICE_OK, state_intend(state, &batch, NULL));
    EXPECT_EQ(SLUICE_OK, state_confirm(state, &batch, forget, state_producer(state).sequence + batch.count, NULL));
    EXPECT(knows(state, "taken", 1));
    EXPECT(!knows(state, "left", 2));
    batch_clear(&batch);
    state_close(state);
}

static bool has(struct state *state, const char *path)
{
    bool known = false;
    EXPECT_EQ(SLUICE_OK, state_has(state, path, &known, NULL));
    return known;
}

static void intend_and_confirm(struct state *state, struct batch *batch)
{
    EXPECT_EQ(SLUICE_OK, state_intend(state, batch, NULL));
    EXPECT_EQ(SLUICE_OK, state_confirm(state, batch, forget_none, state_producer(state).sequence + batch->count, NULL));
    batch_clear(batch);
}

TEST(a_deleted_file_is_known_until_its_deletion_is_confirmed)
{
    struct place place = place_new();
    struct state *state = open_state(&place);
    struct batch batch = { .count = 0 }, again = { .count = 0 };

    add(&batch, "stays", 1, "{}");
    add(&batch, "goes", 2, "{}");
    intend_and_confirm(state, &batch);
    add(&batch, "goes", 0, "{\"gone\":1}");
    batch.intents[0].deleted = true;
    EXPECT_EQ(SLUICE_OK, state_intend(state, &batch, NULL));
    batch_clear(&batch);
    state_close(state);

    state = open_state(&place);
    EXPECT(has(state, "goes"));
    EXPECT_EQ(SLUICE_OK, state_intended(state, &again, NULL));
    EXPECT_EQ(1, again.count);
    EXPECT(again.intents[0].deleted);
    EXPECT_TEXT("goes", again.intents[0].path);
    EXPECT_VIEW("{\"gone\":1}", bytes_view(&again.intents[0].detail));
    EXPECT_EQ(SLUICE_OK, state_confirm(state, &again, forget_none, state_producer(state).sequence + 1, NULL));
    EXPECT(!has(state, "goes"));
    EXPECT(has(state, "stays"));
    batch_clear(&again);
    state_close(state);
}

TEST(within_a_batch_the_last_word_on_a_path_holds)
{
    struct place place = place_new();
    struct state *state = open_state(&place);
    struct batch batch = { .count = 0 };

    add(&batch, "a", 1, "{}");
    add(&batch, "a", 0, "{}");
    batch.intents[1].deleted = true;
    add(&batch, "b", 0, "{}");
    batch.intents[2].deleted = true;
    add(&batch, "b", 2, "{}");
    intend_and_confirm(state, &batch);
    EXPECT(!has(state, "a"));
    EXPECT(knows(state, "b", 2));
    state_close(state);
}

TEST(a_walk_meets_each_known_file_once_though_some_are_forgotten_on_the_way)
{
    struct place place = place_new();
    struct state *state = open_state(&place);
    struct batch batch = { .count = 0 };
    struct state_cursor cursor = { 0 };
    char path[STATE_PATH_BYTES];
    bool found = true, met[100] = { false };
    uint64_t files = 0;

    for (unsigned i = 0; i < 100; i++) {
        (void)snprintf(path, sizeof path, "%u", i);
        add(&batch, path, i, "{}");
    }
    intend_and_confirm(state, &batch);
    for (;;) {
        EXPECT_EQ(SLUICE_OK, state_next(state, &cursor, path, &found, NULL));
        if (!found)
            break;
        unsigned number = (unsigned)atoi(path);
        EXPECT(!met[number]);
        met[number] = true;
        if (number % 2 == 1)
            EXPECT_EQ(SLUICE_OK, state_forget(state, path, NULL));
    }
    for (unsigned i = 0; i < 100; i++)
        EXPECT(met[i]);
    EXPECT_EQ(SLUICE_OK, state_count(state, &files, NULL));
    EXPECT_EQ(50, files);
    EXPECT(knows(state, "42", 42));
    EXPECT(!knows(state, "43", 43));
    EXPECT_EQ(SLUICE_OK, state_forget(state, "43", NULL));
    state_close(state);
}

/* The version is the first number of the head, in the host's byte order. */
static void write_version(const struct place *place, uint32_t version)
{
    MDB_env *env = NULL;
    MDB_txn *txn = NULL;
    MDB_dbi meta;
    MDB_val key = { 4, "head" }, value;
    char head[256];

    EXPECT(mdb_env_create(&env) == 0 && mdb_env_set_maxdbs(env, 3) == 0);
    EXPECT(mdb_env_open(env, place->state, MDB_NOSUBDIR | MDB_NOLOCK, 0600) == 0 && mdb_txn_begin(env, NULL, 0, &txn) == 0);
    EXPECT(mdb_dbi_open(txn, "meta", 0, &meta) == 0 && mdb_get(txn, meta, &key, &value) == 0 && value.mv_size < sizeof head);
    memcpy(head, value.mv_data, value.mv_size);
    memcpy(head, &version, sizeof version);
    value.mv_data = head;
    EXPECT(mdb_put(txn, meta, &key, &value, 0) == 0 && mdb_txn_commit(txn) == 0);
    mdb_env_close(env);
}

TEST(a_state_of_version_1_is_read_and_a_newer_one_refused)
{
    struct place place = place_new();
    struct state *state = open_state(&place);
    struct batch batch = { .count = 0 };
    struct sluice_error error = { 0 };

    add(&batch, "a", 1, "{}");
    intend_and_confirm(state, &batch);
    state_close(state);
    write_version(&place, 1);
    state = open_state(&place);
    EXPECT(knows(state, "a", 1));
    state_close(state);
    write_version(&place, STATE_VERSION + 1);
    state = NULL;
    EXPECT_EQ(SLUICE_ECORRUPT, state_open(place.state, "pictures", &state, &error));
    EXPECT(strstr(error.text, "version 3") != NULL);
}

TEST(sequencers_grow_even_when_the_clock_goes_back)
{
    struct place place = place_new();
    struct state *state = open_state(&place);
    struct batch batch = { .count = 0 };

    EXPECT_EQ(1000, state_sequencer_next(state, 1000));
    EXPECT_EQ(1001, state_sequencer_next(state, 1000));
    EXPECT_EQ(1002, state_sequencer_next(state, 5));
    add(&batch, "a", 1, "{}");
    EXPECT_EQ(SLUICE_OK, state_intend(state, &batch, NULL));
    state_close(state);
    state = open_state(&place);
    EXPECT_EQ(1003, state_sequencer_next(state, 5));
    batch_clear(&batch);
    state_close(state);
}

TEST(a_state_in_use_is_refused_and_names_itself)
{
    struct place place = place_new();
    struct state *state = open_state(&place), *second = NULL;
    struct sluice_error error = { 0 };

    EXPECT_EQ(SLUICE_EEXISTS, state_open(place.state, "pictures", &second, &error));
    EXPECT(strstr(error.text, place.state) != NULL);
    state_close(state);
    state = open_state(&place);
    state_close(state);
}

TEST(a_state_of_another_bucket_is_refused)
{
    struct place place = place_new();
    struct state *state = NULL;
    struct sluice_error error = { 0 };

    state_close(open_state(&place));
    EXPECT_EQ(SLUICE_EINVAL, state_open(place.state, "music", &state, &error));
    EXPECT(strstr(error.text, "'pictures'") != NULL && strstr(error.text, "'music'") != NULL);
}

TEST(a_file_that_is_no_state_is_refused_and_left_as_it_is)
{
    struct place place = place_new();
    struct state *state = NULL;
    struct sluice_error error = { 0 };
    char text[64] = "", filler[8192];
    FILE *file = fopen(place.state, "w");

    memset(filler, 'x', sizeof filler);
    EXPECT(fwrite(filler, 1, sizeof filler, file) == sizeof filler && fclose(file) == 0);
    EXPECT_EQ(SLUICE_ECORRUPT, state_open(place.state, "pictures", &state, &error));
    file = fopen(place.state, "r");
    EXPECT(fread(text, 1, 8, file) == 8 && fclose(file) == 0);
    EXPECT_TEXT("xxxxxxxx", text);
}

TEST(a_path_longer_than_an_lmdb_key_is_known_too)
{
    struct place place = place_new();
    struct state *state = open_state(&place);
    struct batch batch = { .count = 0 };
    char path[3000];

    memset(path, 'p', sizeof path - 1);
    path[sizeof path - 1] = '\0';
    add(&batch, path, 1, "{}");
    EXPECT_EQ(SLUICE_OK, state_intend(state, &batch, NULL));
    EXPECT_EQ(SLUICE_OK, state_confirm(state, &batch, forget_none, state_producer(state).sequence + batch.count, NULL));
    EXPECT(knows(state, path, 1));
    path[2000] = 'q';
    EXPECT(!knows(state, path, 1));
    batch_clear(&batch);
    state_close(state);
}
