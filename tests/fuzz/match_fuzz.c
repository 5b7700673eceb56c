/* match_fuzz.c - an event, as JSON and as MessagePack bytes, on rules of every operator over a few names: the engine and the oracle
 * must give the same answer, and so must every width of the scan for marks. */
#include "broker/core/structure.h"
#include "tests/fuzz/matchers.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void must_agree(struct view event, bool json)
{
    const uint32_t *ids, *expected;
    size_t count = 0, expected_count = 0;
    enum sluice_err err = json ? match_json(set, scratch, event, &ids, &count, NULL) : match_mpack(set, scratch, event, &ids, &count, NULL);
    enum sluice_err oracle_err = json ? oracle_json(oracle, oracle_scratch, event, &expected, &expected_count, NULL)
                                      : oracle_mpack(oracle, oracle_scratch, event, &expected, &expected_count, NULL);

    if (oracle_err == SLUICE_ELIMIT || err == SLUICE_ELIMIT) /* each counts in its own way */
        return;
    MUST(err == oracle_err);
    if (err == SLUICE_OK)
        MUST(count == expected_count && (count == 0 || memcmp(ids, expected, count * sizeof *ids) == 0));
}

/* Bytes that were never checked may get any answer, but no read goes outside of them. */
static void must_survive_unchecked(struct view event)
{
    struct event whole = { .source = VIEW_LITERAL("s"), .detail_type = VIEW_LITERAL("t"), .id = VIEW_LITERAL("i"), .detail = event };
    const uint32_t *ids;
    size_t count;

    (void)match_json_checked(set, scratch, event, &ids, &count, NULL);
    (void)match_event(set, scratch, &whole, &ids, &count);
    whole.detail_format = DETAIL_MPACK;
    (void)match_event(set, scratch, &whole, &ids, &count);
}

static void must_mark_alike(struct view text)
{
    static const struct structure_names names = { .low = { [1] = 0xFF, [5] = 0x0F, [12] = 0xF0 } };
    struct structure portable, wide;

    structure_init(&portable);
    structure_init(&wide);
    portable.level = STRUCTURE_PORTABLE;
    structure_scan(&portable, text, &names);
    size_t count = portable.count;
    structure_scan_on(&portable, text, &names, SIZE_MAX);
    for (unsigned level = STRUCTURE_PORTABLE + 1; level <= structure_level_max(); level++) {
        wide.level = level;
        structure_scan(&wide, text, &names);
        MUST(wide.count == count);
        structure_scan_on(&wide, text, &names, SIZE_MAX);
        MUST(wide.count == portable.count && wide.escapes == portable.escapes);
        MUST(memcmp(wide.blocks, portable.blocks, wide.count * sizeof *wide.blocks) == 0);
    }
    structure_done(&portable);
    structure_done(&wide);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    char *copy = fuzz_copy(data, len);
    struct view event = { .data = copy, .len = len };

    matchers_make_once();
    must_agree(event, true);
    must_agree(event, false);
    must_survive_unchecked(event);
    must_mark_alike(event);
    free(copy);
    return 0;
}
