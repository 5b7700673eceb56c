/* match_mpack_fuzz.c - MessagePack through the matcher: bytes that pass the door get the oracle's answer, the answer that their JSON gets,
 * and the answer of a batch; bytes that were never checked may get any, but no read goes outside of them. */
#include "schemas/codec/envelope.h"
#include "tests/fuzz/matchers.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

struct answer {
    uint32_t ids[FUZZ_RULES];
    size_t count;
};

static void must_be(const struct answer *answer, const uint32_t *ids, size_t count)
{
    MUST(answer->count == count && (count == 0 || memcmp(answer->ids, ids, count * sizeof *ids) == 0));
}

static void must_agree(struct view map)
{
    struct answer answer = { .count = 0 };
    struct bytes json = { 0 };
    const uint32_t *ids = NULL;
    size_t count = 0;
    enum sluice_err err = match_mpack(set, scratch, map, &ids, &count, NULL);

    MUST(err == SLUICE_OK || err == SLUICE_ELIMIT || mpack_check_detail(map, EVENT_DEPTH_MAX, NULL) != SLUICE_OK);
    if (err != SLUICE_OK)
        return;
    MUST(count <= FUZZ_RULES);
    answer.count = count;
    if (count > 0)
        memcpy(answer.ids, ids, count * sizeof *ids);
    if (oracle_mpack(oracle, oracle_scratch, map, &ids, &count, NULL) == SLUICE_OK)
        must_be(&answer, ids, count);
    MUST(mpack_to_json(map, &json));
    if (match_json(set, scratch, bytes_view(&json), &ids, &count, NULL) == SLUICE_OK)
        must_be(&answer, ids, count);
    bytes_done(&json);
}

static void must_survive_unchecked(struct view bytes)
{
    struct event event = { .source = VIEW_LITERAL("s"), .detail_type = VIEW_LITERAL("t"), .id = VIEW_LITERAL("i"), .detail = bytes,
                           .detail_format = DETAIL_MPACK, .resources = bytes };
    const struct event *events[] = { &event, &event };
    struct match_answer answers[2];
    const uint32_t *ids, *batch_ids;
    size_t count = 0;
    struct answer alone = { .count = 0 };

    if (match_event(set, scratch, &event, &ids, &count) != SLUICE_OK)
        return;
    alone.count = count;
    if (count > 0)
        memcpy(alone.ids, ids, count * sizeof *ids);
    match_events(set, scratch, events, 2, answers, &batch_ids);
    for (int e = 0; e < 2; e++)
        must_be(&alone, batch_ids + answers[e].first, answers[e].count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    char *copy = fuzz_copy(data, len);
    struct view bytes = { .data = copy, .len = len };

    matchers_make_once();
    must_agree(bytes);
    must_survive_unchecked(bytes);
    free(copy);
    return 0;
}
