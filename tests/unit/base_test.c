#include "broker/base/arena.h"
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
