#include "schemas/codec/record.h"
#include "tests/test.h"

#include <stdlib.h>

static struct record_writer writer;

/* Two events, for functions 3 and 9: the first has two targets, the second none. */
static struct bytes given_record(void)
{
    static const uint32_t targets[] = { 7, 8 }, functions[] = { 3, 9 };
    struct bytes out = { 0 };
    record_writer_add(&writer, VIEW_LITERAL("envelope one"), targets, 2);
    record_writer_add(&writer, VIEW_LITERAL("two"), NULL, 0);
    record_writer_finish(&writer, 1000, 1795301914123, functions, 2, &out);
    record_seal(out.data, out.len);
    return out;
}

TEST(record_reads_back_as_written)
{
    struct bytes out = given_record();
    struct record record;
    struct record_event event;

    EXPECT(record_open(bytes_view(&out), true, &record));
    EXPECT_EQ(1000, record.first_seq);
    EXPECT_EQ(1795301914123, record.committed_ms);
    EXPECT_EQ(2, record.count);
    EXPECT_EQ(2, record.functions_count);
    EXPECT_EQ(3, record_function(&record, 0));
    EXPECT_EQ(9, record_function(&record, 1));
    EXPECT(record_event(&record, 0, &event));
    EXPECT_VIEW("envelope one", event.envelope);
    EXPECT_EQ(2, event.targets_count);
    EXPECT_EQ(7, record_target(&event, 0));
    EXPECT_EQ(8, record_target(&event, 1));
    EXPECT(record_event(&record, 1, &event));
    EXPECT_VIEW("two", event.envelope);
    EXPECT_EQ(0, event.targets_count);
    EXPECT(!record_event(&record, 2, &event));
    bytes_done(&out);
    bytes_done(&writer.body);
}

TEST(record_writer_is_empty_after_finish_and_appends)
{
    struct bytes out = given_record(), again = { 0 };
    bytes_put_text(&again, "before");
    record_writer_add(&writer, VIEW_LITERAL("x"), NULL, 0);
    record_writer_finish(&writer, 1, 2, NULL, 0, &again);
    EXPECT_EQ(0, writer.count);
    EXPECT_EQ(6 + RECORD_HEADER_BYTES + 4 + 8 + 1, again.len);
    record_seal(again.data + 6, again.len - 6);
    struct record record;
    EXPECT(record_open((struct view){ again.data + 6, again.len - 6 }, true, &record));
    bytes_done(&again);
    bytes_done(&out);
    bytes_done(&writer.body);
}

TEST(record_writer_says_when_it_is_full)
{
    EXPECT(record_writer_fits(&writer, EVENT_BYTES_MAX, 100000)); /* a single event always fits */
    for (int i = 0; i < RECORD_EVENTS_MAX; i++) {
        EXPECT(record_writer_fits(&writer, 1, 0));
        record_writer_add(&writer, VIEW_LITERAL("x"), NULL, 0);
    }
    EXPECT(!record_writer_fits(&writer, 1, 0));
    struct bytes out = { 0 };
    record_writer_finish(&writer, 1, 2, NULL, 0, &out);
    bytes_clear(&out);

    /* Filled by its own answer, a record ends at its size limit, with as many functions as targets. */
    static uint32_t targets[RECORD_FUNCTIONS_MAX];
    static char text[1000];
    uint32_t count = 0;
    while (record_writer_fits(&writer, sizeof text, 7)) {
        record_writer_add(&writer, (struct view){ text, sizeof text }, targets, 7);
        count += 7;
    }
    record_writer_finish(&writer, 1, 2, targets, count, &out);
    EXPECT(out.len <= RECORD_BYTES_MAX);
    EXPECT(out.len > RECORD_BYTES_MAX - 2 * (sizeof text + 100));
    bytes_done(&out);
    bytes_done(&writer.body);
}

TEST(record_checksum_finds_every_flipped_bit)
{
    struct bytes out = given_record();
    struct record record;
    for (size_t bit = 0; bit < out.len * 8; bit++) {
        out.data[bit / 8] ^= (char)(1 << bit % 8);
        EXPECT(!record_open(bytes_view(&out), true, &record));
        out.data[bit / 8] ^= (char)(1 << bit % 8);
    }
    EXPECT(record_open(bytes_view(&out), true, &record));
    bytes_done(&out);
    bytes_done(&writer.body);
}

/* Without the checksum, in memory of the exact size: whatever opens must be readable without leaving it. */
TEST(record_with_hostile_bytes_is_never_read_outside)
{
    struct bytes out = given_record();
    static const uint8_t values[] = { 0x00, 0x01, 0x04, 0x7f, 0x80, 0xf0, 0xff };
    for (size_t len = 0; len <= out.len; len++)
        for (size_t place = 0; place < len; place++)
            for (size_t v = 0; v < sizeof values; v++) {
                char *copy = malloc(len);
                memcpy(copy, out.data, len);
                copy[place] = (char)values[v];
                struct record record;
                struct record_event event;
                volatile uint32_t sum = 0;
                if (record_open((struct view){ copy, len }, false, &record)) {
                    for (uint32_t i = 0; i < record.functions_count; i++)
                        sum += record_function(&record, i);
                    for (uint32_t i = 0; i < record.count; i++)
                        if (record_event(&record, i, &event)) {
                            for (uint32_t t = 0; t < event.targets_count; t++)
                                sum += record_target(&event, t);
                            for (size_t b = 0; b < event.envelope.len; b++)
                                sum += (uint8_t)event.envelope.data[b];
                        }
                }
                free(copy);
            }
    bytes_done(&out);
    bytes_done(&writer.body);
}
