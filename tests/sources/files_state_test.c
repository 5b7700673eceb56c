#include "producers/sources/files/state.h"
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

static bool is_odd(void *ctx, const char *path)
{
    (void)ctx;
    return (path[strlen(path) - 1] - '0') % 2 == 1;
}

TEST(a_sweep_forgets_what_is_gone_and_nothing_else)
{
    struct place place = place_new();
    struct state *state = open_state(&place);
    struct batch batch = { .count = 0 };
    uint64_t forgotten = 0, files = 0;
    char name[16];

    for (unsigned i = 0; i < 100; i++) {
        (void)snprintf(name, sizeof name, "%u", i);
        add(&batch, name, i, "{}");
    }
    EXPECT_EQ(SLUICE_OK, state_intend(state, &batch, NULL));
    EXPECT_EQ(SLUICE_OK, state_confirm(state, &batch, forget_none, state_producer(state).sequence + batch.count, NULL));
    EXPECT_EQ(SLUICE_OK, state_sweep(state, is_odd, NULL, &forgotten, NULL));
    EXPECT_EQ(50, forgotten);
    EXPECT_EQ(SLUICE_OK, state_count(state, &files, NULL));
    EXPECT_EQ(50, files);
    EXPECT(knows(state, "42", 42));
    EXPECT(!knows(state, "43", 43));
    batch_clear(&batch);
    state_close(state);
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
