#include "broker/base/arena.h"
#include "broker/base/trace_id.h"
#include "broker/base/vec.h"
#include "tests/test.h"

TEST(arena_keeps_what_it_gave_until_reset)
{
    struct arena *arena = arena_new(64);
    struct view first = arena_dup(arena, VIEW_LITERAL("first"));
    char *large = arena_alloc(arena, 1000);
    memset(large, 7, 1000);
    EXPECT_VIEW("first", first);
    EXPECT_TEXT("a1", arena_format(arena, "a%d", 1));
    EXPECT(arena_bytes(arena) >= 1064);
    arena_reset(arena);
    EXPECT(arena_bytes(arena) <= 1024);
    arena_free(arena);
}

TEST(arena_reused_has_room_for_as_much_again)
{
    struct arena *arena = arena_new(64);
    size_t held_bytes = 0;
    arena_reuse(arena); /* there is nothing yet */
    for (int round = 0; round < 4; round++, arena_reuse(arena)) {
        for (size_t len = 1; len < 5000; len *= 3)
            memset(arena_alloc(arena, len), round, len);
        EXPECT(round == 0 || held_bytes == arena_bytes(arena));
        held_bytes = arena_bytes(arena);
    }
    arena_free(arena);
}

TEST(vec_grows_and_keeps_order)
{
    VEC(int) numbers = { 0 };
    for (int i = 0; i < 100; i++)
        VEC_PUSH(&numbers, i);
    EXPECT_EQ(100, numbers.count);
    EXPECT_EQ(0, numbers.items[0]);
    EXPECT_EQ(99, numbers.items[99]);
    VEC_DONE(&numbers);
}

#include "broker/base/heap.h"
#include "broker/base/histogram.h"
#include "broker/base/map.h"

TEST(map_finds_what_was_put_after_any_removals)
{
    struct map map = { 0 };
    uint64_t value;
    for (uint64_t key = 0; key < 2000; key++)
        map_put(&map, key * 7, key);
    for (uint64_t key = 0; key < 2000; key += 3)
        EXPECT(map_remove(&map, key * 7, NULL));
    for (uint64_t key = 0; key < 2000; key++) {
        bool found = map_get(&map, key * 7, &value);
        EXPECT_EQ(key % 3 != 0, found);
        if (found)
            EXPECT_EQ(key, value);
    }
    EXPECT(!map_remove(&map, 0, NULL));
    map_done(&map);
}

TEST(names_tell_equal_hash_slots_apart)
{
    struct names names = { 0 };
    char keys[500][8];
    uint32_t value = 0;
    for (uint32_t i = 0; i < 500; i++) {
        (void)snprintf(keys[i], sizeof keys[i], "k%u", i);
        names_put(&names, view_of(keys[i]), i);
    }
    EXPECT(names_get(&names, VIEW_LITERAL("k499"), &value));
    EXPECT_EQ(499, value);
    EXPECT(!names_get(&names, VIEW_LITERAL("k500"), &value));
    names_done(&names);
}

/* It grows in steps, between which names are in both of its halves. */
TEST(names_finds_all_it_has_and_nothing_else_after_each_put)
{
    enum { KEYS = 3000 };
    static char keys[KEYS + 1][8];
    struct names names = { 0 };
    uint32_t value;

    for (uint32_t i = 0; i <= KEYS; i++)
        (void)snprintf(keys[i], sizeof keys[i], "k%u", i);
    for (uint32_t i = 0; i < KEYS; i++) {
        names_put(&names, view_of(keys[i]), i);
        EXPECT_EQ(i + 1, names.count);
        EXPECT(!names_get(&names, view_of(keys[i + 1]), &value));
        for (uint32_t known = i % 7; known <= i; known += 7) {
            EXPECT(names_get(&names, view_of(keys[known]), &value));
            EXPECT_EQ(known, value);
        }
    }
    EXPECT(names.old == NULL); /* the last growth is over long before the next */
    names_done(&names);
}

TEST(heap_gives_keys_in_order_after_moves_and_removals)
{
    struct heap heap = { 0 };
    struct heap_node nodes[100] = { 0 };
    for (int i = 0; i < 100; i++)
        heap_set(&heap, &nodes[i], (i * 37) % 100);
    heap_set(&heap, &nodes[0], 1000);
    heap_remove(&heap, &nodes[1]);
    heap_remove(&heap, &nodes[1]);
    int64_t last = -1;
    for (int left = 99; left > 0; left--) {
        struct heap_node *first = heap_first(&heap);
        EXPECT(first->key >= last);
        last = first->key;
        heap_remove(&heap, first);
    }
    EXPECT_EQ(1000, last);
    EXPECT(heap_first(&heap) == NULL);
    heap_done(&heap);
}

TEST(histogram_counts_each_sample_in_the_bucket_that_bounds_it)
{
    struct histogram histogram = { 0 };
    static const struct { int64_t us; unsigned bucket; } cases[] = {
        { 0, 0 }, { 100, 0 }, { 101, 1 }, { 250, 1 }, { 1000, 3 }, { 1001, 4 }, { 900000000, HISTOGRAM_BUCKETS - 2 },
        { 900000001, HISTOGRAM_BUCKETS - 1 }, { INT64_MAX, HISTOGRAM_BUCKETS - 1 },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint64_t before = histogram.buckets[cases[i].bucket];
        histogram_add(&histogram, cases[i].us, 3);
        EXPECT_EQ(before + 3, histogram.buckets[cases[i].bucket]);
        EXPECT(cases[i].us <= 900000000 || cases[i].bucket == HISTOGRAM_BUCKETS - 1);
    }
    EXPECT_EQ(3 * sizeof cases / sizeof *cases, histogram.count);
    for (unsigned i = 1; i < HISTOGRAM_BUCKETS; i++)
        EXPECT(histogram_bound_s(i) > histogram_bound_s(i - 1));
    struct histogram sums = { 0 };
    histogram_add(&sums, 1500000, 2);
    histogram_sum(&histogram, &sums);
    EXPECT_EQ(3 * sizeof cases / sizeof *cases + 2, histogram.count);
    EXPECT_EQ(2, histogram.buckets[13]);
    EXPECT(sums.sum_s > 2.999 && sums.sum_s < 3.001);
}

TEST(a_trace_id_follows_from_the_request_id)
{
    static const struct { const char *label, *id; int64_t unix_ms; const char *begin; } cases[] = {
        { "version 7 has its own time", "01234567-89ab-7fff-bfff-ffffffffffff", 5000, "Root=1-4a90be58-" }, /* 0x0123456789ab ms */
        { "version 4 has none", "01234567-89ab-4fff-bfff-ffffffffffff", 5000, "Root=1-00000005-" },
        { "nor has what is no UUID", "", 1732500000000, "Root=1-6743da20-" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[TRACE_ID_LEN + 1], again[TRACE_ID_LEN + 1];
        unsigned fields[5], sampled;
        int end = 0;
        test_label(cases[i].label);
        trace_id_make(view_of(cases[i].id), cases[i].unix_ms, text);
        trace_id_make(view_of(cases[i].id), cases[i].unix_ms, again);
        EXPECT_TEXT(text, again);
        EXPECT_EQ(0, strncmp(text, cases[i].begin, strlen(cases[i].begin)));
        EXPECT_EQ(6, sscanf(text, "Root=1-%*8x-%8x%8x%8x;Parent=%8x%8x;Sampled=%1u%n", fields, fields + 1, fields + 2, fields + 3, fields + 4, &sampled, &end));
        EXPECT_EQ(TRACE_ID_LEN, end);
        EXPECT_EQ(';', text[TRACE_ID_ROOT_LEN]);
        EXPECT_EQ(0, sampled);
        EXPECT(fields[0] != fields[3] && fields[0] != fields[1] && fields[2] != 0);
        char other_id[64], other[TRACE_ID_LEN + 1];
        (void)snprintf(other_id, sizeof other_id, "%s1", cases[i].id);
        trace_id_make(view_of(other_id), cases[i].unix_ms, other);
        EXPECT(strcmp(text, other) != 0);
    }
    test_label(NULL);
}

TEST(a_trace_id_and_its_w3c_form_are_one_another)
{
    static const char id[] = "01234567-89ab-7fff-bfff-ffffffffffff";
    static const struct { const char *label, *trace_id, *traceparent; } cases[] = {
        { "whole", "Root=1-6743a1b2-0123456789abcdef01234567;Parent=0123456789abcdef;Sampled=1", "00-6743a1b20123456789abcdef01234567-0123456789abcdef-01" },
        { "in another order, with more", "Self=1-2-3; Sampled=0; Parent=fedcba9876543210;Root=1-6743a1b2-0123456789abcdef01234567;Lineage=a:0",
          "00-6743a1b20123456789abcdef01234567-fedcba9876543210-00" },
        { "sampled is 1 or not", "Root=1-6743a1b2-0123456789abcdef01234567;Parent=0123456789abcdef;Sampled=?", "00-6743a1b20123456789abcdef01234567-0123456789abcdef-00" },
        { "no root", "Parent=0123456789abcdef;Sampled=1", NULL },
        { "nothing", "", NULL },
        { "only a name", "Root=", NULL },
        { "version 2", "Root=2-6743a1b2-0123456789abcdef01234567", NULL },
        { "short", "Root=1-6743a1b2-0123456789abcdef0123456", NULL },
        { "long", "Root=1-6743a1b2-0123456789abcdef012345678", NULL },
        { "capitals", "Root=1-6743A1B2-0123456789abcdef01234567", NULL },
        { "no number", "Root=1-6743a1b2-0123456789abcdef0123456g", NULL },
        { "zeros", "Root=1-00000000-000000000000000000000000", NULL },
        { "a dash that is none", "Root=1-6743a1b2+0123456789abcdef01234567", NULL },
    };
    static const char *const none[] = {
        "", "00-6743a1b20123456789abcdef01234567-0123456789abcdef-0", "00-6743a1b20123456789abcdef01234567-0123456789abcdef-011",
        "01-6743a1b20123456789abcdef01234567-0123456789abcdef-01", "00-6743A1b20123456789abcdef01234567-0123456789abcdef-01",
        "00-6743a1b20123456789abcdef01234567_0123456789abcdef-01", "00-6743a1b20123456789abcdef01234567-0123456789abcdef_01",
        "00-6743a1b20123456789abcdef01234567-0000000000000000-01", "00-6743a1b20123456789abcdef01234567-0123456789abcdef-0x",
        "00-6743a1b20123456789abcdef01234567-0123456789abcdef-11", "00-00000000000000000000000000000000-0123456789abcdef-01",
    };
    char text[TRACE_ID_LEN + 1], made[TRACE_ID_LEN + 1], traceparent[TRACEPARENT_LEN + 1], again[TRACEPARENT_LEN + 1];

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        test_label(cases[i].label);
        EXPECT_EQ(cases[i].traceparent != NULL, trace_id_to_traceparent(view_of(cases[i].trace_id), view_of(id), traceparent));
        if (cases[i].traceparent == NULL)
            continue;
        EXPECT_TEXT(cases[i].traceparent, traceparent);
        EXPECT(trace_id_from_traceparent(view_of(traceparent), text));
        EXPECT(trace_id_to_traceparent(view_of(text), view_of(id), again));
        EXPECT_TEXT(traceparent, again);
    }
    test_label("without a parent it has the request's");
    EXPECT(trace_id_to_traceparent(view_of("Root=1-6743a1b2-0123456789abcdef01234567"), view_of(id), traceparent));
    EXPECT(trace_id_from_traceparent(view_of(traceparent), text));
    trace_id_make(view_of(id), 0, made);
    EXPECT_EQ(0, strncmp(text, "Root=1-6743a1b2-0123456789abcdef01234567", TRACE_ID_ROOT_LEN));
    EXPECT_TEXT(made + TRACE_ID_ROOT_LEN, text + TRACE_ID_ROOT_LEN);
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        test_label(none[i]);
        EXPECT(!trace_id_from_traceparent(view_of(none[i]), text));
    }
    test_label(NULL);
}
