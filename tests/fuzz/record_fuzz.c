/* record_fuzz.c - a log record as a damaged disk or another program left it: its offsets and counts are not to be trusted. The
 * checksum is not asked, as no search would ever meet it. */
#include "schemas/codec/record.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    char *copy = fuzz_copy(data, len);
    struct view bytes = { .data = copy, .len = len };
    struct record record;
    struct record_event item;
    struct event event;

    (void)record_open(bytes, true, &record);
    if (record_open(bytes, false, &record)) {
        MUST(record.count >= 1 && record.count <= RECORD_EVENTS_MAX);
        for (uint32_t i = 0; i < record.functions_count; i++)
            (void)record_function(&record, i);
        for (uint32_t i = 0; i < record.count; i++) {
            if (!record_event(&record, i, &item))
                continue;
            MUST(item.envelope.data >= copy && item.envelope.data + item.envelope.len <= copy + len);
            for (uint32_t ordinal = 0; ordinal < item.targets_count; ordinal++)
                (void)record_target(&item, ordinal);
            (void)envelope_decode_stored(item.envelope, &event);
        }
        MUST(!record_event(&record, record.count, &item));
    }
    free(copy);
    return 0;
}
