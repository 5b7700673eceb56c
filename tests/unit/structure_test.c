/* Every width of the scan marks what a loop over single bytes marks. */
#include "broker/core/structure.h"

#include <stdlib.h>

#include "tests/test.h"

enum { ROUNDS = 4000, TEXT_MAX = 400 };
static const char *const level_names[STRUCTURE_LEVELS] = { "portable", "SSE2", "AVX2", "AVX-512" };

static bool begins_name(const struct structure_names *names, char c)
{
    unsigned char byte = (unsigned char)c;
    return byte >= 0x80 || (names->low[byte & 15] >> (byte >> 4) & 1) != 0;
}

/* The text is padded with spaces to whole blocks; what a quote at the end of a block begins is not known there. */
static void mark_slowly(const char *text, size_t len, const struct structure_names *names, struct structure_block *blocks)
{
    bool in_string = false, escaped = false;

    memset(blocks, 0, (len / STRUCTURE_BLOCK_BYTES + 1) * sizeof *blocks);
    for (size_t i = 0; i < len; i++) {
        struct structure_block *block = &blocks[i / STRUCTURE_BLOCK_BYTES];
        uint64_t bit = UINT64_C(1) << i % STRUCTURE_BLOCK_BYTES;
        bool escape = escaped; /* of a quote or another backslash; outside of strings there are none in JSON */
        escaped = text[i] == '\\' && !escape;
        switch (text[i]) {
        case '"':
            if (escape)
                break;
            block->quotes |= bit;
            in_string = !in_string;
            if (in_string && (i % STRUCTURE_BLOCK_BYTES == STRUCTURE_BLOCK_BYTES - 1 || begins_name(names, i + 1 < len ? text[i + 1] : ' ')))
                block->marks |= bit;
            break;
        case '{': case '[':
            block->opens |= in_string ? 0 : bit;
            break;
        case '}': case ']':
            block->closes |= in_string ? 0 : bit;
            break;
        }
        block->marks |= block->opens | block->closes;
    }
}

/* Blocks up to the last one with a quote that a name in use may follow, escaped or not. */
static size_t count_slowly(const char *text, size_t len, const struct structure_names *names)
{
    size_t count = 1;

    for (size_t i = 0; i < len; i++)
        if (text[i] == '"' && begins_name(names, i + 1 < len ? text[i + 1] : ' '))
            count = i / STRUCTURE_BLOCK_BYTES + 1;
    return count;
}

static void expect_marks(const char *text, size_t len, const struct structure_names *names)
{
    struct structure_block expected[TEXT_MAX / STRUCTURE_BLOCK_BYTES + 1];
    size_t whole = len / STRUCTURE_BLOCK_BYTES + 1, count = count_slowly(text, len, names);

    mark_slowly(text, len, names, expected);
    for (unsigned level = 0; level <= structure_level_max(); level++) {
        struct structure structure;
        char *exact = malloc(len == 0 ? 1 : len); /* so that a read behind the end is seen */
        memcpy(exact, text, len);
        struct view view = { .data = exact, .len = len };
        structure_init(&structure);
        structure.level = level;
        structure_scan(&structure, view, names);
        EXPECT_EQ(count, structure.count);
        EXPECT_EQ(memchr(text, '\\', len < count * STRUCTURE_BLOCK_BYTES ? len : count * STRUCTURE_BLOCK_BYTES) != NULL, structure.escapes);
        for (size_t upto = count; upto <= whole + 1; upto += 2)
            structure_scan_on(&structure, view, names, upto);
        structure_scan_on(&structure, view, names, SIZE_MAX);
        structure_scan_on(&structure, view, names, 0); /* that many are there: nothing happens */
        EXPECT_EQ(whole, structure.count);
        EXPECT_EQ(memchr(text, '\\', len) != NULL, structure.escapes);
        if (memcmp(expected, structure.blocks, structure.count * sizeof expected[0]) != 0)
            test_fail(__FILE__, __LINE__, "%s differs for %.*s", level_names[level], (int)len, text);
        structure_done(&structure);
        free(exact);
    }
}

TEST(every_width_marks_the_same)
{
    static const char letters[] = "\"\"\"\\\\{}[]:, ax1\xC3\xA9";
    char text[TEXT_MAX];
    uint64_t random = 99;

    for (int round = 0; round < ROUNDS; round++) {
        size_t len = (size_t)round % TEXT_MAX;
        unsigned rare = 1 + (unsigned)round % 7; /* from dense to mostly plain */
        for (size_t i = 0; i < len; i++) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            unsigned pick = (unsigned)(random >> 33);
            text[i] = pick % rare == 0 ? letters[pick / 8 % (sizeof letters - 1)] : 'b';
        }
        struct structure_names names = { .low = { 0 } };
        for (size_t n = 0; n < sizeof names.low && round % 3 > 0; n++)
            names.low[n] = (uint8_t)(round % 3 == 1 ? 0xFF : random >> n);
        expect_marks(text, len, &names);
    }
}

TEST(a_run_of_backslashes_over_the_edge_of_a_block_escapes_what_follows_an_odd_one)
{
    for (size_t before = 55; before < 70; before++)
        for (size_t run = 0; run < 70; run++) {
            char text[TEXT_MAX];
            memset(text, 'a', before);
            text[0] = '"';
            memset(text + before, '\\', run);
            memcpy(text + before + run, "\"[\"]", 4);
            expect_marks(text, before + run + 4, &(struct structure_names){ .low = { 0 } });
        }
}
