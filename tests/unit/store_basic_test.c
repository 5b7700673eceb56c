/* Every table: written, read back, and read back again by the next process that opens the store. */
#include "tests/test.h"
#include "tests/unit/store_fixture.h"

static void expect_event(struct store *store, uint64_t seq, uint32_t target)
{
    struct stored_event stored;
    struct event event;
    char text[64];

    (void)snprintf(text, sizeof text, "{\"n\":%llu,", (unsigned long long)seq);
    EXPECT_EQ(SLUICE_OK, store_event(store, seq, &stored));
    EXPECT_EQ(seq, stored.seq);
    EXPECT(envelope_decode_stored(stored.event.envelope, &event));
    EXPECT(event.detail.len > strlen(text) && memcmp(event.detail.data, text, strlen(text)) == 0);
    EXPECT_EQ(1, stored.event.targets_count);
    EXPECT_EQ(target, record_target(&stored.event, 0));
}

TEST(events_of_several_records_in_one_commit_are_read_back_also_after_reopening)
{
    const char *dir = fixture_directory();
    struct store *store = fixture_open(dir);
    struct commit *commit = commit_new();

    fixture_add_events(commit, (struct fixture_events){ .first_seq = 1, .count = 100, .function = 1, .committed_ms = 5, .bytes = 200 });
    fixture_add_events(commit, (struct fixture_events){ .first_seq = 101, .count = 3, .function = 2, .committed_ms = 5, .bytes = 9000 });
    fixture_commit_durable(store, commit);
    fixture_add_events(commit, (struct fixture_events){ .first_seq = 104, .count = 1, .function = 1, .committed_ms = 6, .bytes = 1 });
    fixture_commit_durable(store, commit);
    for (unsigned round = 0; round < 2; round++) {
        struct stored_event stored;
        store_read_begin(store);
        for (uint64_t seq = 1; seq <= 104; seq++)
            expect_event(store, seq, seq >= 101 && seq <= 103 ? 20 : 10);
        expect_event(store, 1, 10); /* backwards, too */
        EXPECT_EQ(SLUICE_ENOTFOUND, store_event(store, 0, &stored));
        EXPECT_EQ(SLUICE_ENOTFOUND, store_event(store, 105, &stored));
        EXPECT_EQ(SLUICE_ENOTFOUND, store_event(store, UINT64_MAX, &stored));
        store_read_end(store);
        store_close(store);
        store = round == 0 ? fixture_open(dir) : NULL;
    }
    commit_free(commit);
}
