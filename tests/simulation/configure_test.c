/* A configuration takes the place of another while other things happen: in one thread, step by step, and on real threads. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "broker/base/arena.h"
#include "broker/base/assert.h"
#include "tests/simulation/bench.h"

/* ---- configurations ---- */

struct made {
    struct arena *arena;
    struct config config;
};
static atomic_uint made_count, released_count;

static void made_free(void *ctx)
{
    struct made *made = ctx;

    arena_free(made->arena);
    free(made);
    released_count++;
}

/* Rules "r00003" of source "s3", for each number of the list up to 0, in order; all to function "f" of the bench. */
static struct made *made_of(const struct bench *bench, const unsigned *numbers, unsigned count)
{
    static const char *const buses[] = { "default", NULL };
    static const struct config_target target = { .function = "f" };
    struct made *made = malloc(sizeof *made);

    ASSERT(made != NULL);
    *made = (struct made){ .arena = arena_new(4096) };
    struct config_rule *rules = arena_zalloc(made->arena, (count + 1) * sizeof *rules);
    for (unsigned i = 0; i < count; i++)
        rules[i] = (struct config_rule){ .name = arena_format(made->arena, "r%05u", numbers[i]), .bus = "default", .enabled = true,
                                         .pattern = arena_format(made->arena, "{\"source\":[\"s%u\"]}", numbers[i]),
                                         .targets = &target, .targets_count = 1, .file = "test", .line = 1 };
    made->config = (struct config){ .buses = buses, .buses_count = 1, .functions = &bench->function, .functions_count = 1, .rules = rules,
                                    .rules_count = count };
    made_count++;
    return made;
}

static struct made *made_range(const struct bench *bench, unsigned from, unsigned count)
{
    unsigned *numbers = malloc((count + 1) * sizeof *numbers);

    ASSERT(numbers != NULL);
    for (unsigned i = 0; i < count; i++)
        numbers[i] = from + i;
    struct made *made = made_of(bench, numbers, count);
    free(numbers);
    return made;
}

#define LIST(...) (const unsigned[]){ __VA_ARGS__ }, sizeof((const unsigned[]){ __VA_ARGS__ }) / sizeof(unsigned)

static void run(struct preparation *preparation, struct made *made)
{
    EXPECT_EQ(SLUICE_OK, preparation_run(preparation, &made->config, made_free, made, NULL));
}

static void put_in_force(struct bench *bench, struct made *made)
{
    EXPECT_EQ(SLUICE_OK, engine_configure_at_once(bench->engine, &made->config, made_free, made, bench->now, NULL));
}

static enum sluice_err configure(struct bench *bench, struct preparation *preparation)
{
    struct sluice_error error;
    return engine_configure(bench->engine, preparation, bench->now, &error);
}

/* ---- what is in force ---- */

static void publish(struct bench *bench, unsigned number)
{
    struct bytes bytes = { 0 };
    char source[16];

    (void)snprintf(source, sizeof source, "s%u", number);
    envelope_encode(&(struct event){ .source = view_of(source), .detail_type = VIEW_LITERAL("t"), .detail = VIEW_LITERAL("{}") }, &bytes);
    engine_publish(bench->engine, &(struct publish){ .reply = 1, .events = bytes_view(&bytes), .count = 1 }, true, NULL, bench->now);
    bytes_done(&bytes);
}

/* How often the rule has matched; -1: it is not there. */
static long long matched(const struct bench *bench, unsigned number)
{
    char name[16];

    (void)snprintf(name, sizeof name, "r%05u", number);
    for (size_t i = 0; i < engine_rules_count(bench->engine); i++) {
        struct rule_info info;
        engine_rule_info(bench->engine, i, &info);
        if (strcmp(info.config->name, name) == 0)
            return (long long)info.matched;
    }
    return -1;
}

static uint64_t accepted(const struct bench *bench)
{
    struct function_info info;

    engine_function_info(bench->engine, 1, bench->now, &info);
    return info.counters[QUEUE_ACCEPTED];
}

static void open_with(struct bench *bench, const unsigned *numbers, unsigned count)
{
    made_count = released_count = 0;
    bench_open(bench, 1);
    put_in_force(bench, made_of(bench, numbers, count));
}

static void close_all(struct bench *bench)
{
    bench_close(bench);
    EXPECT_EQ(made_count, released_count); /* each once: a second time would be seen by the sanitizer */
}

/* ---- step by step ---- */

TEST(what_comes_before_it_is_in_force_goes_by_the_old_rules)
{
    struct bench bench;
    open_with(&bench, LIST(1, 2));
    struct preparation *preparation = engine_prepare(bench.engine);
    publish(&bench, 1);
    run(preparation, made_of(&bench, LIST(2, 3)));
    publish(&bench, 1);
    publish(&bench, 3);
    commit_all(&bench);
    EXPECT(engine_bind(bench.engine, preparation));
    publish(&bench, 2);
    publish(&bench, 3);
    EXPECT_EQ(3, accepted(&bench));
    EXPECT_EQ(2, matched(&bench, 1));
    EXPECT_EQ(-1, matched(&bench, 3));

    EXPECT_EQ(SLUICE_OK, configure(&bench, preparation));
    preparation_free(preparation);
    publish(&bench, 1);
    publish(&bench, 2);
    publish(&bench, 3);
    EXPECT_EQ(5, accepted(&bench));
    EXPECT_EQ(-1, matched(&bench, 1));
    EXPECT_EQ(2, matched(&bench, 2)); /* once before, once since */
    EXPECT_EQ(1, matched(&bench, 3));
    commit_all(&bench);
    EXPECT(model_store_balance(bench.store, 1).holds);
    close_all(&bench);
}

TEST(one_that_was_prepared_of_what_is_no_longer_in_force_is_refused)
{
    struct bench bench;
    struct engine_totals before, after;
    open_with(&bench, LIST(1));
    struct preparation *first = engine_prepare(bench.engine), *second = engine_prepare(bench.engine), *third = engine_prepare(bench.engine);
    run(first, made_of(&bench, LIST(1, 2)));
    run(second, made_of(&bench, LIST(1, 3)));
    EXPECT_EQ(SLUICE_OK, configure(&bench, second));
    run(third, made_of(&bench, LIST(1, 4))); /* what it holds is there, though not in force */
    engine_totals(bench.engine, &before);
    EXPECT_EQ(SLUICE_ESTALE, configure(&bench, first));
    EXPECT_EQ(SLUICE_ESTALE, configure(&bench, third));
    engine_totals(bench.engine, &after);
    EXPECT_EQ(before.revision, after.revision);
    EXPECT_EQ(2, engine_rules_count(bench.engine));
    EXPECT_EQ(0, matched(&bench, 3));
    preparation_free(second);
    preparation_free(first);
    publish(&bench, 2);
    publish(&bench, 3);
    publish(&bench, 4);
    EXPECT_EQ(1, accepted(&bench));
    engine_free(bench.engine); /* a preparation may stay longer than the engine */
    bench.engine = NULL;
    preparation_free(third);
    close_all(&bench);
}

TEST(a_rule_that_stays_keeps_its_count_and_one_that_comes_begins_at_zero)
{
    struct bench bench;
    open_with(&bench, LIST(1, 2, 3));
    publish(&bench, 1);
    publish(&bench, 2);
    publish(&bench, 2);
    put_in_force(&bench, made_of(&bench, LIST(0, 2, 3, 4))); /* 1 has gone: somebody gets its place */
    EXPECT_EQ(0, matched(&bench, 0));
    EXPECT_EQ(2, matched(&bench, 2));
    EXPECT_EQ(0, matched(&bench, 4));
    publish(&bench, 0);
    publish(&bench, 4);
    put_in_force(&bench, made_of(&bench, LIST(0, 1, 2, 3, 4)));
    EXPECT_EQ(1, matched(&bench, 0));
    EXPECT_EQ(0, matched(&bench, 1));
    EXPECT_EQ(2, matched(&bench, 2));
    EXPECT_EQ(1, matched(&bench, 4));
    close_all(&bench);
}

TEST(the_targets_of_many_new_rules_are_written_a_few_with_each_commit)
{
    enum { NEW = 2000 };
    struct bench bench;
    open_with(&bench, LIST(1));
    commit_all(&bench);
    size_t before = bench.store->targets.count;
    unsigned commits = 0;
    struct preparation *preparation = engine_prepare(bench.engine);
    run(preparation, made_range(&bench, 1, 1 + NEW));
    while (!engine_bind(bench.engine, preparation)) {
        size_t written = bench.store->targets.count;
        EXPECT(!engine_bind(bench.engine, preparation)); /* this commit has enough */
        publish(&bench, 1);
        publish(&bench, 2);
        commit_all(&bench);
        commits++;
        EXPECT(bench.store->targets.count > written);
        EXPECT(bench.store->targets.count <= written + 512);
        EXPECT_EQ(1, engine_rules_count(bench.engine));
        EXPECT_EQ(commits, accepted(&bench)); /* of number 1 alone */
    }
    EXPECT(commits >= NEW / 512);
    EXPECT_EQ(SLUICE_OK, configure(&bench, preparation));
    preparation_free(preparation);
    publish(&bench, 2);
    EXPECT_EQ(commits + 1, accepted(&bench));
    commit_all(&bench);
    EXPECT_EQ(before + NEW, bench.store->targets.count);
    close_all(&bench);
}

TEST(a_target_that_stays_keeps_its_number_and_one_that_returns_gets_it_again)
{
    struct bench bench;
    open_with(&bench, LIST(1, 2));
    commit_all(&bench);
    size_t before = bench.store->targets.count;
    put_in_force(&bench, made_of(&bench, LIST(2)));
    put_in_force(&bench, made_of(&bench, LIST(1, 2)));
    commit_all(&bench);
    EXPECT_EQ(before, bench.store->targets.count);
    close_all(&bench);
}

TEST(a_merge_and_a_preparation_do_not_disturb_each_other)
{
    for (unsigned merge_begins = 0; merge_begins < 3; merge_begins++) {
        for (unsigned merge_ends = merge_begins; merge_ends < 4; merge_ends++) {
            struct bench bench;
            char label[32];
            (void)snprintf(label, sizeof label, "begins %u, ends %u", merge_begins, merge_ends);
            test_label(label);
            open_with(&bench, NULL, 0);
            put_in_force(&bench, made_range(&bench, 1, 40));
            put_in_force(&bench, made_range(&bench, 1, 41)); /* now it is in two parts */
            struct rules_work *work = NULL;
            struct preparation *preparation = NULL;
            for (unsigned step = 0; step < 4; step++) {
                if (step == merge_begins) {
                    work = engine_rules_work(bench.engine);
                    EXPECT(work != NULL);
                    rules_work_run(work);
                }
                if (step == merge_ends) {
                    engine_rules_work_end(bench.engine, work);
                    rules_work_free(work);
                }
                switch (step) {
                case 0: preparation = engine_prepare(bench.engine); break;
                case 1: run(preparation, made_range(&bench, 2, 41)); break;
                case 2: EXPECT_EQ(SLUICE_OK, configure(&bench, preparation)); break;
                default: preparation_free(preparation); break;
                }
                for (unsigned number = 0; number <= 43; number++)
                    publish(&bench, number);
                EXPECT_EQ(41 * (step + 1), accepted(&bench));
                EXPECT_EQ(step < 2 ? -1 : (int)step - 1, matched(&bench, 42));
            }
            close_all(&bench);
        }
    }
    test_label(NULL);
}

TEST(a_configuration_that_cannot_be_compiled_stays_the_callers)
{
    struct bench bench;
    struct sluice_error error;
    open_with(&bench, LIST(1));
    struct made *made = made_of(&bench, LIST(1, 2));
    ((struct config_rule *)(uintptr_t)made->config.rules)[1].pattern = "{\"source\":[{\"prefix\":7}]}";
    struct preparation *preparation = engine_prepare(bench.engine);
    EXPECT_EQ(SLUICE_EINVAL, preparation_run(preparation, &made->config, made_free, made, &error));
    preparation_free(preparation);
    EXPECT_EQ(0, released_count);
    made_free(made);
    publish(&bench, 1);
    EXPECT_EQ(1, matched(&bench, 1));
    close_all(&bench);
}

/* ---- on threads ---- */

struct side {
    pthread_t thread;
    struct preparation *preparation; /* or a merge */
    struct made *made;
    struct rules_work *work;
    atomic_bool done;
};

static void *side_main(void *ctx)
{
    struct side *side = ctx;

    if (side->preparation != NULL)
        run(side->preparation, side->made);
    else
        rules_work_run(side->work);
    side->done = true;
    return NULL;
}

static void side_start(struct side *side)
{
    side->done = false;
    EXPECT_EQ(0, pthread_create(&side->thread, NULL, side_main, side));
}

static void *free_main(void *ctx)
{
    preparation_free(ctx);
    return NULL;
}

/* Two preparations, of which one comes too late, and a merge on threads of their own, while events are matched. Run it under
 * ThreadSanitizer: what is wrong here seldom shows otherwise. */
TEST(events_are_matched_while_threads_prepare_merge_and_free)
{
    enum { RULES = 600, ROUNDS = 12 };
    struct bench bench;
    uint64_t expected = 0;
    open_with(&bench, NULL, 0);
    put_in_force(&bench, made_range(&bench, 0, RULES));
    for (unsigned round = 1; round <= ROUNDS; round++) {
        struct side early = { .preparation = engine_prepare(bench.engine), .made = made_range(&bench, round, RULES) };
        struct side late = { .preparation = engine_prepare(bench.engine), .made = made_range(&bench, RULES, RULES) };
        struct side merge = { .work = engine_rules_work(bench.engine) };
        pthread_t freeing;
        side_start(&early);
        side_start(&late);
        if (merge.work != NULL)
            side_start(&merge);
        do {
            publish(&bench, round - 1); /* the old rules have it, the next have not */
            publish(&bench, RULES / 2);
            expected += 2;
            commit_all(&bench);
        } while (!early.done || !late.done);
        (void)pthread_join(early.thread, NULL);
        (void)pthread_join(late.thread, NULL);
        if (merge.work != NULL && round % 2 == 0) {
            (void)pthread_join(merge.thread, NULL);
            engine_rules_work_end(bench.engine, merge.work);
        }
        EXPECT_EQ(SLUICE_OK, configure(&bench, early.preparation));
        EXPECT_EQ(0, pthread_create(&freeing, NULL, free_main, early.preparation));
        EXPECT_EQ(SLUICE_ESTALE, configure(&bench, late.preparation));
        publish(&bench, round - 1);
        publish(&bench, RULES / 2);
        expected++;
        EXPECT_EQ(expected, accepted(&bench));
        preparation_free(late.preparation);
        if (merge.work != NULL && round % 2 != 0) {
            (void)pthread_join(merge.thread, NULL);
            engine_rules_work_end(bench.engine, merge.work);
        }
        rules_work_free(merge.work);
        (void)pthread_join(freeing, NULL);
    }
    EXPECT(ROUNDS <= matched(&bench, RULES / 2));
    close_all(&bench);
}
