/* Matching allocates nothing, and frees nothing, once the scratch has grown to the largest event: the second time that the same events
 * come, malloc and its kin are not called, neither by our code nor by the library on its behalf. */
#include <stdlib.h>

#include "broker/core/event_state.h"
#include "tests/conformance/generator.h"
#include "tests/conformance/json_to_mpack.h"
#include "tests/fuzz/rules.h"
#include "tests/test.h"

/* ---- counting ---- */

static unsigned long calls;       /* of malloc, calloc, realloc, aligned_alloc and free */

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
/* The sanitizer's own allocator says it. Debian's gcc comes without the header of it. */
int __sanitizer_install_malloc_and_free_hooks(void (*malloc_hook)(const volatile void *, size_t), void (*free_hook)(const volatile void *));

static void saw_malloc(const volatile void *memory, size_t len)
{
    (void)memory, (void)len;
    calls++;
}

static void saw_free(const volatile void *memory)
{
    (void)memory;
    calls++;
}

__attribute__((constructor)) static void count_calls(void)
{
    (void)__sanitizer_install_malloc_and_free_hooks(saw_malloc, saw_free);
}
#else
/* These take the place of the library's, for the library too; what the library calls its own under other names does the work. */
void *__libc_malloc(size_t len);
void *__libc_calloc(size_t count, size_t len);
void *__libc_realloc(void *memory, size_t len);
void *__libc_memalign(size_t alignment, size_t len);
void __libc_free(void *memory);

void *malloc(size_t len)
{
    calls++;
    return __libc_malloc(len);
}

void *calloc(size_t count, size_t len)
{
    calls++;
    return __libc_calloc(count, len);
}

void *realloc(void *memory, size_t len)
{
    calls++;
    return __libc_realloc(memory, len);
}

void *aligned_alloc(size_t alignment, size_t len)
{
    calls++;
    return __libc_memalign(alignment, len);
}

void free(void *memory)
{
    calls++;
    __libc_free(memory);
}
#endif

TEST(what_is_allocated_is_counted)
{
    unsigned long before = calls;
    char *volatile memory = malloc(10);
    memory = realloc(memory, 100000);
    free(memory);
    EXPECT(calls - before >= 3);
    before = calls;
    free(calloc(3, 3));
    free(aligned_alloc(64, 64));
    EXPECT_EQ(4, calls - before);
}

/* ---- events ---- */

enum { RANDOM_EVENTS = 200, FLAT_EVENTS = 60, EVENTS_MAX = RANDOM_EVENTS + 40 };

struct events {
    struct bytes json[EVENTS_MAX], mpack[EVENTS_MAX]; /* mpack: empty where there is no such form */
    struct view views[EVENTS_MAX];
    struct event envelopes[EVENTS_MAX], packed[EVENTS_MAX];
    const struct event *order[EVENTS_MAX], *packed_order[EVENTS_MAX];
    size_t count, packed_count;
};

static struct bytes *next_event(struct events *events)
{
    return &events->json[events->count++];
}

/* `count` times `item` in an array at `name`. */
static void put_array_event(struct events *events, const char *name, const char *item, unsigned count)
{
    struct bytes *event = next_event(events);

    bytes_put_format(event, "{\"%s\":[", name);
    for (unsigned i = 0; i < count; i++)
        bytes_put_format(event, "%s%s", i == 0 ? "" : ",", item);
    bytes_put_text(event, "],\"detail\":{\"a\":\"x\"}}");
}

static void make_large_events(struct events *events)
{
    put_array_event(events, "a", "\"\\u0061b\\n\"", 20000);
    put_array_event(events, "a", "\"10.1.2.3\",\"2001:db8::5\",\"\\u00c9T\",\"abcxyz\"", 2000);
    put_array_event(events, "a", "1,2.50,-3e7,9007199254740993,123456789012345678901234567890e-7,true,null", 2000);
    put_array_event(events, "l", "{\"a\":1,\"b\":2,\"c\":4,\"m\":[{\"a\":1},{\"b\":2}],\"z\":3}", 1500);
    put_array_event(events, "l", "[{\"a\":1},{\"b\":2}],{\"a\":[1,2]},7", 1500);
    /* Deeper items before shallower ones: values come in no order of their places. */
    put_array_event(events, "l", "[[{\"a\":1}]],{\"m\":[[{\"a\":1}],{\"b\":2}],\"a\":1,\"a\":[[1],1]},[{\"b\":2}]", 1000);
    put_array_event(events, "\\u006c", "{\"\\u0061\":1,\"\\u0062\":2,\"other\\tname\":\"\\u0000\"}", 3000);
    put_array_event(events, "l.m", "{\"a\":1,\"b.c\":2}", 2000);
    for (unsigned len = 1000; len < 500000; len *= 4) { /* one long text for every operator */
        struct bytes *event = next_event(events);
        bytes_put_text(event, "{\"a\":\"\\t");
        for (unsigned i = 0; i < len; i++)
            bytes_put_char(event, "abcdqrxyz"[i * 7 % 9]);
        bytes_put_text(event, "yz\"}");
    }
}

static void finish_event(struct events *events, size_t i)
{
    events->views[i] = bytes_view(&events->json[i]);
    events->envelopes[i] = (struct event){ .source = VIEW_LITERAL("s"), .detail_type = VIEW_LITERAL("t"), .id = VIEW_LITERAL("i"), .has_time = true,
                                           .detail = events->views[i] };
    events->order[i] = &events->envelopes[i];
    if (!json_to_mpack(events->views[i], &events->mpack[i])) {
        bytes_clear(&events->mpack[i]);
        return;
    }
    struct event *packed = &events->packed[events->packed_count];
    *packed = events->envelopes[i];
    packed->detail = bytes_view(&events->mpack[i]);
    packed->detail_format = DETAIL_MPACK;
    events->packed_order[events->packed_count++] = packed;
}

static void make_events(struct events *events)
{
    struct generator generator = { .state = 20261122 };

    for (unsigned i = 0; i < RANDOM_EVENTS; i++)
        generate_event(&generator, next_event(events));
    make_large_events(events);
    for (size_t i = 0; i < events->count; i++)
        finish_event(events, i);
}

/* Without arrays, and most of them with texts that have to be decoded, some of these long. */
static void make_flat_events(struct events *events)
{
    for (unsigned i = 0; i < FLAT_EVENTS; i++) {
        struct bytes *event = next_event(events);
        bytes_put_format(event, "{\"a\":\"\\u0078\",\"b\":\"v%u\",\"c\":\"%s", i * 3, i % 4 == 0 ? "" : "\\n");
        for (unsigned len = i % 8 * 10000; len > 0; len--)
            bytes_put_char(event, 'x');
        bytes_put_text(event, "\",\"l\":{\"a\":1,\"b\":2},\"d\":1.5}");
        finish_event(events, i);
    }
}

static void events_done(struct events *events)
{
    for (size_t i = 0; i < events->count; i++) {
        bytes_done(&events->json[i]);
        bytes_done(&events->mpack[i]);
    }
}

/* ---- passes ---- */

static size_t match_one_by_one(const struct match_set *set, struct match_scratch *scratch, const struct events *events)
{
    const uint32_t *ids;
    size_t hits = 0, count = 0;

    for (size_t i = 0; i < events->count; i++) {
        if (match_json(set, scratch, events->views[i], &ids, &count, NULL) == SLUICE_OK)
            hits += count;
        if (events->mpack[i].len > 0 && match_mpack(set, scratch, bytes_view(&events->mpack[i]), &ids, &count, NULL) == SLUICE_OK)
            hits += count;
        if (match_event(set, scratch, events->order[i], &ids, &count) == SLUICE_OK)
            hits += count;
    }
    for (size_t i = 0; i < events->packed_count; i++)
        if (match_event(set, scratch, events->packed_order[i], &ids, &count) == SLUICE_OK)
            hits += count;
    return hits;
}

static size_t match_in_batches(const struct match_set *set, struct match_scratch *scratch, const struct events *events)
{
    struct match_answer answers[MATCH_BATCH_MAX];
    const uint32_t *ids;
    size_t hits = 0;

    for (size_t i = 0; i < events->count; i += MATCH_BATCH_MAX) {
        size_t count = events->count - i < MATCH_BATCH_MAX ? events->count - i : MATCH_BATCH_MAX;
        match_json_batch(set, scratch, events->views + i, count, answers, &ids);
        for (size_t a = 0; a < count; a++)
            hits += answers[a].count;
        match_events(set, scratch, events->order + i, count, answers, &ids);
        for (size_t a = 0; a < count; a++)
            hits += answers[a].count;
    }
    for (size_t i = 0; i < events->packed_count; i += MATCH_BATCH_MAX) {
        size_t count = events->packed_count - i < MATCH_BATCH_MAX ? events->packed_count - i : MATCH_BATCH_MAX;
        match_events(set, scratch, events->packed_order + i, count, answers, &ids);
        for (size_t a = 0; a < count; a++)
            hits += answers[a].count;
    }
    return hits;
}

typedef size_t match_pass(const struct match_set *set, struct match_scratch *scratch, const struct events *events);

static void expect_no_call(const struct match_set *set, match_pass *pass, void make(struct events *events))
{
    static struct events events;
    struct match_scratch *scratch = match_scratch_new();

    events = (struct events){ .count = 0 };
    make(&events);
    size_t hits = pass(set, scratch, &events);
    unsigned long before = calls;
    size_t again = pass(set, scratch, &events);
    unsigned long after = calls;
    EXPECT_EQ(0, after - before);
    EXPECT_EQ(hits, again);
    EXPECT(hits > events.count);
    EXPECT_EQ(make == make_flat_events, scratch->deferred.capacity > 0);
    match_scratch_free(scratch);
    events_done(&events);
}

static struct match_set *set_of_every_operator(void)
{
    struct match_rule rules[FUZZ_RULES];
    struct match_set *set = NULL;

    fuzz_rules(rules);
    EXPECT_EQ(SLUICE_OK, match_set_new(rules, FUZZ_RULES, &set, NULL, NULL));
    return set;
}

TEST(events_one_by_one_allocate_nothing)
{
    struct match_set *set = set_of_every_operator();
    expect_no_call(set, match_one_by_one, make_events);
    match_set_free(set);
}

TEST(events_in_batches_allocate_nothing)
{
    struct match_set *set = set_of_every_operator();
    expect_no_call(set, match_in_batches, make_events);
    match_set_free(set);
}

TEST(a_set_that_was_changed_allocates_nothing)
{
    struct match_set *set = set_of_every_operator(), *changed = NULL;
    const struct match_rule put[] = { { .pattern = VIEW_LITERAL("{\"l\":{\"a\":[1],\"b\":[2]}}"), .id = 1000 },
                                      { .pattern = VIEW_LITERAL("{\"a\":[{\"exists\":true}]}"), .id = 3 } };
    const uint32_t removed[] = { 7 };
    EXPECT_EQ(SLUICE_OK, match_set_update(set, put, 2, removed, 1, &changed, NULL));
    expect_no_call(changed, match_one_by_one, make_events);
    expect_no_call(changed, match_in_batches, make_events);
    match_set_free(changed);
    match_set_free(set);
}

/* On a set of many rules a batch keeps the values of all its events, and texts with escapes, until it has looked at all (match_batch.c). */
TEST(batches_on_a_large_set_allocate_nothing)
{
    enum { RULES = 60, VALUES = 4000 };
    struct match_rule rules[FUZZ_RULES + RULES];
    struct bytes patterns[RULES] = { 0 };
    struct match_set *set = NULL;

    fuzz_rules(rules);
    for (uint32_t r = 0; r < RULES; r++) {
        bytes_put_format(&patterns[r], "{\"%c\":[\"v%u\"", "bcd"[r % 3], r * VALUES);
        for (uint32_t v = 1; v < VALUES; v++)
            bytes_put_format(&patterns[r], ",\"v%u\"", r * VALUES + v);
        bytes_put_text(&patterns[r], "]}");
        rules[FUZZ_RULES + r] = (struct match_rule){ .pattern = bytes_view(&patterns[r]), .id = FUZZ_RULES + r };
    }
    EXPECT_EQ(SLUICE_OK, match_set_new(rules, FUZZ_RULES + RULES, &set, NULL, NULL));
    expect_no_call(set, match_in_batches, make_flat_events);
    match_set_free(set);
    for (unsigned r = 0; r < RULES; r++)
        bytes_done(&patterns[r]);
}
